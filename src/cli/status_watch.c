#include "cli/status_watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/requests.h"
#include "io/json_put.h"
#include "monitor/keep.h"
#include "monitor/wal_facts.h"

// --- reading -----------------------------------------------------------------------------------------------------

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

static bool is_text(const json_t *object, const char *key, const char *text)
{
    const char *found = json_string_value(json_object_get(object, key));
    return found != NULL && strcmp(found, text) == 0;
}

static bool is_source_of(const json_t *source, const char *pipeline)
{
    size_t index;
    json_t *slot;
    json_array_foreach(json_object_get(source, "slots"), index, slot)
    {
        if (is_text(slot, "pipeline_name", pipeline))
            return true;
    }
    return false;
}

static void add(json_t *array, json_t *object, const struct catalog_watch_row *row)
{
    int64_t now_ms = clock_system.wall_us(clock_system.context) / 1000;
    json_put_text(object, "process", row->process);
    json_object_set_new(object, "age_seconds", json_real((double)(now_ms - row->seen_ms) / 1000));
    json_array_append(array, object);
}

static void on_row(void *context, const char *scope, const struct catalog_watch_row *row)
{
    const struct status_watch *watch = context;
    size_t index;
    json_t *alert, *json = json_loads(row->json, 0, NULL);
    (void)scope;
    if (strcmp(row->kind, KEEP_SOURCE) == 0) {
        if (json_is_object(json) && (watch->pipeline == NULL || is_source_of(json, watch->pipeline)))
            add(watch->sources, json, row);
    } else if (strcmp(row->kind, KEEP_ALERTS) == 0) {
        json_array_foreach(json_object_get(json, "shown"), index, alert) add(watch->alerts, alert, row);
    }
    json_decref(json);
}

// Of one pipeline: its own, and those of its source.
static bool concerns(const struct status_watch *watch, const json_t *alert)
{
    size_t index;
    json_t *source;
    if (json_object_get(alert, "pipeline_name") != NULL)
        return is_text(alert, "pipeline_name", watch->pipeline);
    json_array_foreach(watch->sources, index, source)
    {
        if (is_text(alert, "source_name", text_of(source, "source")))
            return true;
    }
    return false;
}

bool status_watch_read(struct status_watch *watch, struct catalog *catalog, struct err *out_error)
{
    if (!catalog_each_watched(catalog, on_row, watch, out_error))
        return false;
    for (size_t i = json_array_size(watch->alerts); watch->pipeline != NULL && i > 0; i--)
        if (!concerns(watch, json_array_get(watch->alerts, i - 1)))
            json_array_remove(watch->alerts, i - 1);
    return true;
}

void status_watch_init(struct status_watch *watch, const char *pipeline)
{
    *watch = (struct status_watch){.pipeline = pipeline, .sources = json_array(), .alerts = json_array()};
    CHECK(watch->sources != NULL && watch->alerts != NULL);
}

void status_watch_deinit(struct status_watch *watch)
{
    json_decref(watch->sources);
    json_decref(watch->alerts);
}

// --- showing -----------------------------------------------------------------------------------------------------

static void print_bytes(const char *before, const json_t *bytes, const char *behind)
{
    char text[32];
    if (!json_is_integer(bytes))
        return;
    wal_format_bytes(json_integer_value(bytes), text, sizeof text);
    printf("%s%s%s", before, text, behind);
}

static void print_slot(const json_t *slot)
{
    printf("  slot %s of pipeline %s:", text_of(slot, "slot"), text_of(slot, "pipeline_name"));
    if (!json_is_true(json_object_get(slot, "exists"))) {
        printf(" not there\n");
        return;
    }
    int64_t inactive = json_integer_value(json_object_get(slot, "inactive_seconds"));
    print_bytes(" keeps ", json_object_get(slot, "held_back_bytes"), " of WAL,");
    printf(" wal_status %s", text_of(slot, "wal_status"));
    print_bytes(", ", json_object_get(slot, "safe_wal_size_bytes"), " until the server gives it up");
    if (json_is_string(json_object_get(slot, "invalidation_reason")))
        printf(" (%s)", text_of(slot, "invalidation_reason"));
    if (json_is_true(json_object_get(slot, "active")))
        printf(", read\n");
    else
        printf(", read by nobody for %" PRId64 " s\n", inactive);
}

static void print_age(const json_t *object)
{
    printf(" (%.0f s ago, by %s)\n", json_number_value(json_object_get(object, "age_seconds")),
           text_of(object, "process"));
}

static void print_source(const json_t *source)
{
    size_t index;
    json_t *slot;
    const json_t *up = json_object_get(source, "up");
    printf("source %s: %s", text_of(source, "source"),
           json_is_true(up)    ? "answers"
           : json_is_false(up) ? "does not answer"
                               : "was not looked at yet");
    print_bytes(", pg_wal ", json_object_get(source, "wal_size_bytes"), "");
    if (json_object_get(source, "wal_size_bytes") != NULL)
        printf(" (%s)", text_of(source, "level"));
    print_age(source);
    if (json_object_get(source, "error") != NULL)
        printf("  error: %s\n", text_of(source, "error"));
    if (json_object_get(source, "hint") != NULL)
        printf("  %s\n", text_of(source, "hint"));
    json_array_foreach(json_object_get(source, "slots"), index, slot) print_slot(slot);
}

static void print_alert(const json_t *alert)
{
    printf("alert %s (%s) since %s, %s: %s", text_of(alert, "type"), text_of(alert, "status"), text_of(alert, "since"),
           text_of(alert, "delivery"), text_of(alert, "message"));
    print_age(alert);
    if (text_of(alert, "remedy")[0] != '\0')
        printf("  remedy: %s\n", text_of(alert, "remedy"));
}

void status_watch_print(const struct status_watch *watch)
{
    size_t index;
    json_t *object;
    json_array_foreach(watch->sources, index, object) print_source(object);
    json_array_foreach(watch->alerts, index, object) print_alert(object);
}
