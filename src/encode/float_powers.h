// Powers of ten as 128-bit significands: 10^k scaled by a power of two into [2^127, 2^128) and rounded up.
#ifndef ETL_ENCODE_FLOAT_POWERS_H
#define ETL_ENCODE_FLOAT_POWERS_H

#include <stdint.h>

#define FLOAT_POWER_FIRST (-292)
#define FLOAT_POWER_LAST 324

struct float_power {
    uint64_t high;
    uint64_t low;
};

extern const struct float_power float_powers[FLOAT_POWER_LAST - FLOAT_POWER_FIRST + 1];

#endif
