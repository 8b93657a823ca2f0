#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/check.h"

static uint64_t system_monotonic_us(void *context)
{
    (void)context;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

static int64_t system_wall_us(void *context)
{
    (void)context;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000000 + (int64_t)now.tv_nsec / 1000;
}

const struct clock clock_system = {.monotonic_us = system_monotonic_us, .wall_us = system_wall_us};

void clock_format(int64_t wall_us, char *out, size_t out_size)
{
    int64_t seconds = wall_us / 1000000;
    int64_t rest_us = wall_us % 1000000;
    if (rest_us < 0) {  // before 1970: C's division rounds towards zero
        rest_us += 1000000;
        seconds--;
    }

    struct tm utc;
    time_t time = (time_t)seconds;
    if (gmtime_r(&time, &utc) == NULL) {  // a year that does not fit an int
        (void)snprintf(out, out_size, "?");
        return;
    }
    char day_and_time[48];
    (void)strftime(day_and_time, sizeof day_and_time, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(out, out_size, "%s.%03dZ", day_and_time, (int)(rest_us / 1000));
}
