// One source: its configuration, its looks, and what is published of it.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "io/json_put.h"
#include "io/metric_registry.h"
#include "monitor/monitor_private.h"

#define POOL "wal_monitor"

// --- what is shown -----------------------------------------------------------------------------------------------

static void set_facts(json_t *object, const struct monitor_settings *settings, const struct wal_facts *facts)
{
    json_object_set_new(object, "server_version", json_integer(facts->server_version));
    json_object_set_new(object, "is_standby", json_boolean(facts->is_standby));
    json_put_text(object, "position", facts->position);
    json_object_set_new(object, "max_slot_wal_keep_size_bytes",
                        facts->wal_keep_bytes >= 0 ? json_integer(facts->wal_keep_bytes) : json_null());
    if (facts->hint[0] != '\0')
        json_put_text(object, "hint", facts->hint);
    if (facts->wal_bytes == WAL_UNKNOWN) {
        json_put_text(object, "level", "unknown");
        return;
    }
    json_object_set_new(object, "wal_size_bytes", json_integer(facts->wal_bytes));
    json_object_set_new(object, "wal_size_mb", json_real((double)facts->wal_bytes / MONITOR_MB));
    json_put_text(object, "level", alert_level_name(rules_wal_level(settings, facts->wal_bytes)));
}

void watched_source_publish(struct watched_source *source)
{
    const struct wal_facts *facts = source_check_facts(source->check);
    char key[512];
    json_t *object = json_object(), *slots = json_array();
    CHECK(object != NULL && slots != NULL);
    json_put_text(object, "source", source->name);
    json_object_set_new(object, "up", source->was_checked ? json_boolean(source->is_up) : json_null());
    if (source->checked_wall_us != 0)
        json_put_time(object, "checked_at", source->checked_wall_us);
    if (err_is_set(&source->error))
        json_put_text(object, "error", source->error.text);
    // Of a source that does not answer now, what was found last.
    if (facts->position[0] != '\0')
        set_facts(object, &source->monitor->settings, facts);
    for (const struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next)
        if (pipeline->slot.name[0] != '\0')
            json_array_append_new(slots, rules_slot_json(pipeline, loop_now_us(source->monitor->loop)));
    json_object_set_new(object, "slots", slots);
    char *text = json_take_line(object);
    char *kept = strdup(text);
    CHECK(kept != NULL);
    keep_put(source->monitor->keep, KEEP_SOURCE, source->name, kept);
    (void)snprintf(key, sizeof key, "wal/%s", source->name);
    board_put(source->monitor->board, key, text);
}

// A figure that is not known is absent, not old.
static void set_bytes(struct metric *take_metric, int64_t bytes)
{
    if (bytes == WAL_UNKNOWN) {
        metric_drop(take_metric);
        return;
    }
    metric_set(take_metric, (double)bytes);
    metric_put(take_metric);
}

static void slot_metrics_forget(const struct watched_source *source, struct watched_pipeline *pipeline)
{
    if (pipeline->has_slot_metrics)
        metric_forget_both("source_name", source->name, "slot", pipeline->slot_name);
    pipeline->has_slot_metrics = false;
}

static void slot_metrics(const struct watched_source *source, struct watched_pipeline *pipeline, uint64_t now_us)
{
    static const char *const states[] = {"reserved", "extended", "unreserved", "lost"};
    const struct wal_slot *slot = &pipeline->slot;
    if (!slot->is_found) {
        slot_metrics_forget(source, pipeline);
        return;
    }
    pipeline->has_slot_metrics = true;
    set_bytes(metric_get(METRIC_SLOT_RETAINED, source->name, pipeline->slot_name), slot->held_bytes);
    set_bytes(metric_get(METRIC_SLOT_SAFE, source->name, pipeline->slot_name), slot->safe_bytes);
    metric_set_to(METRIC_SLOT_ACTIVE, slot->is_active ? 1 : 0, source->name, pipeline->slot_name);
    metric_set_to(METRIC_SLOT_INACTIVE, (double)watched_pipeline_inactive_us(pipeline, now_us) / 1e6, source->name,
                  pipeline->slot_name);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        metric_set_to(METRIC_SLOT_WAL_STATUS, strcmp(slot->wal_status, states[i]) == 0 ? 1 : 0, source->name,
                      pipeline->slot_name, states[i]);
}

static void pool_metrics(const struct monitor *monitor, uint64_t closed_count)
{
    metric_set_to(METRIC_POOL_SIZE, (double)monitor->schedule.connection_count, POOL);
    metric_add_to(METRIC_POOL_CLEANUP, closed_count, POOL);
}

// --- looks -------------------------------------------------------------------------------------------------------

static void take_facts(struct watched_source *source)
{
    const struct wal_facts *facts = source_check_facts(source->check);
    uint64_t now_us = loop_now_us(source->monitor->loop);
    for (struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next) {
        for (uint32_t i = 0; i < facts->slot_count; i++)
            if (strcmp(facts->slots[i].name, pipeline->slot_name) == 0)
                watched_pipeline_take_slot(pipeline, &facts->slots[i], now_us);
        slot_metrics(source, pipeline, now_us);
    }
    if (facts->wal_bytes != WAL_UNKNOWN)
        metric_set_to(METRIC_SOURCE_WAL_SIZE, (double)facts->wal_bytes / MONITOR_MB, source->name);
    else
        metric_drop(metric_get(METRIC_SOURCE_WAL_SIZE, source->name));
    // Once, not at every look.
    if (strcmp(source->hint, facts->hint) != 0 && facts->hint[0] != '\0')
        log_line(LOG_WARNING, NULL, "wal_size_unknown", "source %s: %s", source->name, facts->hint);
    (void)snprintf(source->hint, sizeof source->hint, "%s", facts->hint);
}

static void set_outcome(struct watched_source *source, const struct err *error)
{
    bool was_up = source->is_up, was_checked = source->was_checked;
    source->was_checked = true;
    source->is_up = error == NULL;
    source->checked_wall_us = loop_wall_us(source->monitor->loop);
    if (error != NULL && (was_up || !was_checked))
        log_line(LOG_WARNING, NULL, "source_down", "source %s cannot be looked at: %s", source->name, error->text);
    else if (error == NULL && was_checked && !was_up)
        log_line(LOG_INFO, NULL, "source_up", "source %s answers again", source->name);
    if (error != NULL)
        source->error = *error;
    else
        err_clear(&source->error);
    metric_set_to(METRIC_SOURCE_STATUS, error == NULL ? 1 : 0, source->name);
}

static void on_done(void *context, const struct err *error)
{
    struct watched_source *source = context;
    struct monitor *monitor = source->monitor;
    if (++monitor->check_count % 1000 == 0)
        log_line(LOG_DEBUG, NULL, "monitor_looks", "%" PRIu64 " looks at sources", monitor->check_count);
    schedule_end(&monitor->schedule, &source->entry, error == NULL, source_check_is_open(source->check));
    set_outcome(source, error);
    if (error == NULL)
        take_facts(source);
    pool_metrics(monitor, !source->entry.has_connection);
    watched_source_publish(source);
    // Not from inside the connection's callback: its next look may be due already.
    loop_defer(monitor->loop, &monitor->pump_again);
}

static void on_lost(void *context)
{
    struct watched_source *source = context;
    schedule_connection_lost(&source->monitor->schedule, &source->entry);
    pool_metrics(source->monitor, 1);
}

void watched_source_look(struct watched_source *source)
{
    pool_metrics(source->monitor, 0);
    source_check_start(source->check, &source->target, source->monitor->settings.check_timeout_ms);
}

void watched_source_close_connection(struct watched_source *source)
{
    source_check_close(source->check);
    pool_metrics(source->monitor, 1);
}

// --- configuration -----------------------------------------------------------------------------------------------

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool is_same_target(const struct pg_target *a, const struct pg_target *b)
{
    return is_same_text(a->host, b->host) && is_same_text(a->port, b->port) && is_same_text(a->user, b->user) &&
           is_same_text(a->database, b->database) && is_same_text(a->password, b->password) &&
           is_same_text(a->tls_mode, b->tls_mode) && is_same_text(a->tls_root_cert, b->tls_root_cert) &&
           is_same_text(a->options, b->options);
}

static void pipelines_free(struct watched_source *source, struct watched_pipeline *pipelines)
{
    while (pipelines != NULL) {
        struct watched_pipeline *next = pipelines->next;
        slot_metrics_forget(source, pipelines);
        watched_pipeline_free(pipelines);
        pipelines = next;
    }
}

// Out of *list, or NULL.
static struct watched_pipeline *take_pipeline(struct watched_pipeline **list, const char *name)
{
    while (*list != NULL && strcmp((*list)->name, name) != 0)
        list = &(*list)->next;
    struct watched_pipeline *found = *list;
    if (found != NULL)
        *list = found->next;
    return found;
}

static void configure_pipelines(struct watched_source *source, const struct monitor_source *configured)
{
    uint64_t now_us = loop_now_us(source->monitor->loop);
    struct watched_pipeline *before = source->pipelines, **end = &source->pipelines;
    const char **slots = calloc((size_t)configured->pipeline_count + 1, sizeof *slots);
    CHECK(slots != NULL);
    source->pipelines = NULL;
    for (uint32_t i = 0; i < configured->pipeline_count; i++) {
        const struct monitor_pipeline *from = &configured->pipelines[i];
        struct watched_pipeline *pipeline = take_pipeline(&before, from->name);
        if (pipeline == NULL)
            pipeline = watched_pipeline_new(from->name, from->slot, now_us);
        if (strcmp(pipeline->slot_name, from->slot) != 0) {
            slot_metrics_forget(source, pipeline);
            watched_pipeline_set_slot_name(pipeline, from->slot);
        }
        pipeline->is_wanted = from->is_wanted;
        pipeline->next = NULL;
        *end = pipeline;
        end = &pipeline->next;
        slots[i] = pipeline->slot_name;
    }
    source_check_set_slots(source->check, slots, configured->pipeline_count);
    free(slots);
    pipelines_free(source, before);
}

void watched_source_configure(struct watched_source *source, struct monitor_source *configured)
{
    struct schedule *schedule = &source->monitor->schedule;
    uint64_t now_us = loop_now_us(source->monitor->loop);
    configure_pipelines(source, configured);
    bool is_other = !is_same_target(&source->target, &configured->target);
    bool is_wrong = err_is_set(&configured->error);
    if (is_other) {
        bool was_open = source->entry.has_connection;
        source_check_close(source->check);
        if (source->entry.is_checking)
            schedule_end(schedule, &source->entry, false, false);
        else if (was_open)
            schedule_connection_lost(schedule, &source->entry);
        pool_metrics(source->monitor, was_open);
        pg_target_deinit(&source->target);
        source->target = configured->target;
        configured->target = (struct pg_target){0};
    }
    if (source->is_scheduled && is_wrong)
        schedule_remove(schedule, &source->entry);
    else if (!source->is_scheduled && !is_wrong)
        schedule_add(schedule, &source->entry, now_us);
    else if (source->is_scheduled && is_other)
        schedule_hurry(schedule, &source->entry, now_us);
    source->is_scheduled = !is_wrong;
    bool is_told = !is_wrong || (source->was_checked && strcmp(source->error.text, configured->error.text) == 0);
    if (!is_told)
        set_outcome(source, &configured->error);
    if (is_other || !is_told)
        watched_source_publish(source);
}

struct watched_source *watched_source_new(struct monitor *monitor, const char *name)
{
    struct watched_source *source = calloc(1, sizeof *source);
    CHECK(source != NULL);
    const struct source_check_events events = {.on_done = on_done, .on_lost = on_lost, .context = source};
    source->monitor = monitor;
    source->name = strdup(name);
    CHECK(source->name != NULL);
    source->entry.context = source;
    source->check = source_check_new(monitor->loop, monitor->resolver, &events);
    return source;
}

void watched_source_free(struct watched_source *source)
{
    char key[512];
    bool was_open = source->entry.has_connection;
    if (source->is_scheduled)
        schedule_remove(&source->monitor->schedule, &source->entry);
    source_check_free(source->check);
    pipelines_free(source, source->pipelines);
    pool_metrics(source->monitor, was_open);
    (void)snprintf(key, sizeof key, "wal/%s", source->name);
    board_put(source->monitor->board, key, NULL);
    metric_forget("source_name", source->name);
    pg_target_deinit(&source->target);
    free(source->name);
    free(source);
}
