#include "base/day_windows.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINUTE_US INT64_C(60000000)
#define DAY_MINUTES 1440
#define OFFSET_MINUTES_MAX 840  // no zone is further from UTC

// "HH:MM" at *text, which moves behind it. 24:00 is the end of a day.
static bool read_time(const char **text, int hours_max, int *out_minutes)
{
    const char *t = *text;
    for (int i = 0; i < 5; i++)
        if (i == 2 ? t[i] != ':' : t[i] < '0' || t[i] > '9')
            return false;
    int hours = (t[0] - '0') * 10 + t[1] - '0', minutes = (t[3] - '0') * 10 + t[4] - '0';
    *out_minutes = hours * 60 + minutes;
    *text += 5;
    return minutes < 60 && *out_minutes <= hours_max * 60;
}

static bool read_zone(const char *text, struct day_windows *out)
{
    int minutes = 0;
    if (strcmp(text, "UTC") == 0 || *text == '\0')
        return true;
    if (strcmp(text, "local") == 0) {
        out->is_local = true;
        return true;
    }
    bool is_west = *text == '-';
    if (*text++ != (is_west ? '-' : '+') || !read_time(&text, OFFSET_MINUTES_MAX / 60, &minutes) || *text != '\0')
        return false;
    out->offset_minutes = (int16_t)(is_west ? -minutes : minutes);
    return true;
}

static bool read_windows(const char *text, struct day_windows *out)
{
    for (;;) {
        int from = 0, to = 0;
        if (out->count == DAY_WINDOWS_MAX || !read_time(&text, 24, &from) || *text++ != '-' ||
            !read_time(&text, 24, &to) || from == to || from == DAY_MINUTES)
            return false;
        out->windows[out->count++] = (struct day_window){(uint16_t)from, (uint16_t)to};
        if (*text != ',')
            break;
        text++;
    }
    while (*text == ' ')
        text++;
    return read_zone(text, out);
}

bool day_windows_parse(const char *text, const char *name, struct day_windows *out, struct err *out_error)
{
    *out = (struct day_windows){0};
    if (*text == '\0' || read_windows(text, out))
        return true;
    *out = (struct day_windows){0};
    return err_set(out_error, ERR_CONFIG, "usage",
                   "%s is \"%s\"; times of day are given as " DAY_WINDOWS_SYNTAX ", at most %d of them, such as "
                   "08:00-20:00 or 22:00-02:00,12:00-12:30 +02:00",
                   name, text, DAY_WINDOWS_MAX);
}

static int minute_of_day(const struct day_windows *windows, int64_t wall_us)
{
    int64_t minutes = wall_us / MINUTE_US;
    if (windows->is_local) {
        time_t seconds = (time_t)(wall_us / 1000000);
        struct tm parts;
        if (localtime_r(&seconds, &parts) != NULL)
            return parts.tm_hour * 60 + parts.tm_min;
    } else {
        minutes += windows->offset_minutes;
    }
    return (int)(((minutes % DAY_MINUTES) + DAY_MINUTES) % DAY_MINUTES);
}

bool day_windows_is_open(const struct day_windows *windows, int64_t wall_us)
{
    int minute = minute_of_day(windows, wall_us);
    for (uint8_t i = 0; i < windows->count; i++) {
        const struct day_window *one = &windows->windows[i];
        bool is_within = one->from_minute < one->to_minute ? minute >= one->from_minute && minute < one->to_minute
                                                           : minute >= one->from_minute || minute < one->to_minute;
        if (is_within)
            return true;
    }
    return windows->count == 0;
}

int64_t day_windows_next_us(const struct day_windows *windows, int64_t wall_us)
{
    int64_t next_us = wall_us;
    // A window that summer time leaps over comes the day after.
    for (int tries = 0; !day_windows_is_open(windows, next_us) && tries < 3 * DAY_MINUTES; tries++)
        next_us = (next_us / MINUTE_US + 1) * MINUTE_US;
    return next_us;
}
