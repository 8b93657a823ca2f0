// The only source of time. Tests put their own behind it.
#ifndef ETL_BASE_CLOCK_H
#define ETL_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

struct clock {
    uint64_t (*monotonic_us)(void *context);
    int64_t (*wall_us)(void *context);  // since 1970-01-01 UTC
    void *context;
};

extern const struct clock clock_system;

// RFC 3339 in UTC with milliseconds, "2026-11-23T22:30:00.123Z"; size at least 25.
void clock_format(int64_t wall_us, char *out, size_t out_size);

#endif
