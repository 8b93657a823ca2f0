// Times of day in which something may happen: "08:00-20:00", "22:00-02:00,12:00-12:30 +02:00", "08:00-20:00 local". Pure but
// for the local zone, which is the process's (TZ), with its summer time.
#ifndef ETL_BASE_DAY_WINDOWS_H
#define ETL_BASE_DAY_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define DAY_WINDOWS_MAX 16
#define DAY_WINDOWS_SYNTAX "HH:MM-HH:MM[,HH:MM-HH:MM…][ UTC|+HH:MM|-HH:MM|local]"

// count 0: always.
struct day_windows {
    struct day_window {
        uint16_t from_minute,
            to_minute;  // of the day, 0 … 1440; the second is exclusive, and below the first: past midnight
    } windows[DAY_WINDOWS_MAX];
    uint8_t count;
    bool is_local;
    int16_t offset_minutes;  // east of UTC; unless is_local
};

// Text as DAY_WINDOWS_SYNTAX; without a zone it is UTC. "" is always. False (ERR_CONFIG): what is wrong and what is allowed;
// name is the setting's, for the message.
bool day_windows_parse(const char *text, const char *name, struct day_windows *out, struct err *out_error);
bool day_windows_is_open(const struct day_windows *windows, int64_t wall_us);  // microseconds since 1970-01-01
// When it is open next, to the minute; wall_us itself if it is open.
int64_t day_windows_next_us(const struct day_windows *windows, int64_t wall_us);

#endif
