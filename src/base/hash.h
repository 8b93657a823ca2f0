// A hash of numbers by which a change is noticed, in the manner of FNV-1a (64 bits); not for keys that somebody else chooses.
#ifndef ETL_BASE_HASH_H
#define ETL_BASE_HASH_H

#include <stdint.h>

#define HASH_START UINT64_C(14695981039346656037)

static inline uint64_t hash_mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(1099511628211);
}

#endif
