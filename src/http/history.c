#include "http/history.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"

#define HOUR_US 3600000000LL
#define POINT_TEXT_BYTES_MAX 128
#define BYTES_UNKNOWN (-1)

struct point {
    int64_t wall_us;
    int64_t lag_bytes;  // BYTES_UNKNOWN
    double lag_seconds;
};

// Of one pipeline: the newest `count` points, the oldest of them at `first`.
struct series {
    struct series *next;  // in the order of their names
    bool is_seen;         // in this round
    uint32_t first, count;
    struct point points[HISTORY_POINTS_MAX];
    char name[];
};

struct history {
    struct series *series;
    struct series **cursor;  // in a round: behind the series that was seen last
    int64_t wall_us;         // of the round
};

struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof *history);
    CHECK(history != NULL);
    return history;
}

void history_free(struct history *history)
{
    if (history == NULL)
        return;
    while (history->series != NULL) {
        struct series *next = history->series->next;
        free(history->series);
        history->series = next;
    }
    free(history);
}

void history_begin(struct history *history, int64_t wall_us)
{
    history->wall_us = wall_us;
    history->cursor = &history->series;
    for (struct series *series = history->series; series != NULL; series = series->next)
        series->is_seen = false;
}

// Names come in order, so a round goes through the list once, however many there are.
static struct series *series_get(struct history *history, const char *name)
{
    while (*history->cursor != NULL && strcmp((*history->cursor)->name, name) < 0)
        history->cursor = &(*history->cursor)->next;
    struct series *series = *history->cursor;
    if (series == NULL || strcmp(series->name, name) != 0) {
        size_t size = strlen(name) + 1;
        series = calloc(1, sizeof *series + size);
        CHECK(series != NULL);
        memcpy(series->name, name, size);
        series->next = *history->cursor;
        *history->cursor = series;
    }
    history->cursor = &series->next;
    CHECK(!series->is_seen);
    series->is_seen = true;
    return series;
}

static void series_add(struct series *series, const struct point *point)
{
    series->points[(series->first + series->count) % HISTORY_POINTS_MAX] = *point;
    if (series->count < HISTORY_POINTS_MAX)
        series->count++;
    else
        series->first = (series->first + 1) % HISTORY_POINTS_MAX;
}

// A status can be long, and there may be hundreds each round, so only the little object is read. Within a JSON string a quote
// stands behind a backslash: the text searched for can be nothing but the member's name, as long as our documents have no
// blanks between their parts (JSON_COMPACT) and only one "lag".
static bool lag_read(const char *status_json, struct point *out)
{
    static const char member[] = "\"lag\":{";
    const char *found = strstr(status_json, member);
    if (found == NULL)
        return false;
    json_t *lag = json_loads(found + strlen(member) - 1, JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *bytes = json_object_get(lag, "bytes"), *seconds = json_object_get(lag, "seconds");
    bool is_known = json_is_number(seconds);
    if (is_known) {
        out->lag_seconds = json_number_value(seconds);
        out->lag_bytes = json_is_integer(bytes) ? json_integer_value(bytes) : BYTES_UNKNOWN;
    }
    json_decref(lag);
    return is_known;
}

void history_see(struct history *history, const char *name, const char *status_json)
{
    struct series *series = series_get(history, name);
    struct point point = {.wall_us = history->wall_us};
    if (lag_read(status_json, &point))
        series_add(series, &point);
}

void history_end(struct history *history)
{
    struct series **place = &history->series;
    while (*place != NULL) {
        struct series *series = *place;
        if (series->is_seen) {
            place = &series->next;
            continue;
        }
        *place = series->next;
        free(series);
    }
    history->cursor = NULL;
}

uint32_t history_series_count(const struct history *history)
{
    uint32_t count = 0;
    for (const struct series *series = history->series; series != NULL; series = series->next)
        count++;
    return count;
}

static void append_points(struct buf *out, const struct series *series, int64_t wall_us)
{
    bool is_first = true;
    for (uint32_t i = 0; i < series->count; i++) {
        const struct point *point = &series->points[(series->first + i) % HISTORY_POINTS_MAX];
        char when[32];
        if (point->wall_us < wall_us - HOUR_US)
            continue;
        clock_format(point->wall_us, when, sizeof when);
        buf_appendf(out, "%s{\"at\":\"%s\",\"lag_bytes\":", is_first ? "" : ",", when);
        if (point->lag_bytes == BYTES_UNKNOWN)
            buf_append_text(out, "null");
        else
            buf_appendf(out, "%" PRId64, point->lag_bytes);
        buf_appendf(out, ",\"lag_seconds\":%.3f}", point->lag_seconds);
        is_first = false;
    }
}

char *history_json(const struct history *history, const char *name, int64_t wall_us)
{
    struct buf out;
    const struct series *series = history->series;
    while (series != NULL && strcmp(series->name, name) != 0)
        series = series->next;
    buf_init(&out, (HISTORY_POINTS_MAX + 1) * POINT_TEXT_BYTES_MAX);
    buf_appendf(&out, "{\"interval_seconds\":%d,\"points\":[", HISTORY_INTERVAL_S);
    if (series != NULL)
        append_points(&out, series, wall_us);
    buf_append_text(&out, "]}");
    buf_append_byte(&out, '\0');
    if (!out.failed)
        return (char *)out.data;
    buf_deinit(&out);
    return NULL;
}
