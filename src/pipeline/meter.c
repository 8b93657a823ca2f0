#include "pipeline/meter.h"

#include <stdio.h>

#include "base/check.h"
#include "io/metric_registry.h"
#include "pipeline/pipeline_private.h"

#define SHOW_INTERVAL_US 900000  // a bit less than the idle tick's second
#define TABLE_NAME_SIZE 512

static const char *const event_names[METER_EVENTS] = {
    [PGOUTPUT_BEGIN] = "begin",       [PGOUTPUT_COMMIT] = "commit",   [PGOUTPUT_ORIGIN] = "origin",
    [PGOUTPUT_RELATION] = "relation", [PGOUTPUT_TYPE] = "type",       [PGOUTPUT_INSERT] = "insert",
    [PGOUTPUT_UPDATE] = "update",     [PGOUTPUT_DELETE] = "delete",   [PGOUTPUT_TRUNCATE] = "truncate",
    [PGOUTPUT_ABORT] = "abort",       [PGOUTPUT_MESSAGE] = "message", [METER_EVENT_COPY] = "copy",
};

// --- life --------------------------------------------------------------------------------------------------------

void meter_begin(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    const char *name = pipeline->options.name;
    CHECK(!meter->is_on);
    *meter = (struct pipeline_meter){
        .is_on = true,
        .copied_rows = pipeline->copied_rows,
        .copied_bytes = pipeline->copied_bytes,
        .active = metric_get(METRIC_PIPELINE_ACTIVE),
        .memory_stream = metric_get(METRIC_PIPELINE_MEMORY, name, "stream"),
        .memory_copy = metric_get(METRIC_PIPELINE_MEMORY, name, "copy"),
        .memory_limit = metric_get(METRIC_PIPELINE_MEMORY_LIMIT, name),
        .batch_size = metric_get(METRIC_EVENTS_BATCH_SIZE),
        .turn_duration = metric_get(METRIC_EVENTS_DURATION),
        .relation_hits = metric_get(METRIC_SCHEMA_CACHE_HITS, "relation"),
        .relation_misses = metric_get(METRIC_SCHEMA_CACHE_MISSES, "relation"),
        .commit_to_committed = metric_get(METRIC_COMMIT_TO_COMMITTED, name),
        .merges_done = metric_get(METRIC_MERGES, name, "done"),
        .merges_failed = metric_get(METRIC_MERGES, name, "failed"),
        .merge_duration = metric_get(METRIC_MERGE_DURATION, name),
        .save_duration = metric_get(METRIC_CATALOG_SAVE_DURATION),
    };
    for (int i = 0; i < METER_EVENTS; i++) {
        meter->events[i] = metric_get(METRIC_EVENTS_PROCESSED, event_names[i]);
        meter->event_bytes[i] = metric_get(METRIC_EVENTS_BYTES, event_names[i]);
    }
    metric_adjust(meter->active, 1);
    metric_add_to(METRIC_PIPELINE_STARTS, 1, name);
    metric_add_to(METRIC_PIPELINE_STOPS, 0, name);  // it is there from the first start on
    meter_state(pipeline);
}

static void counters_put(const struct pipeline_meter *meter)
{
    struct metric *const counters[] = {meter->active,        meter->batch_size,      meter->turn_duration,
                                       meter->relation_hits, meter->relation_misses, meter->commit_to_committed,
                                       meter->merges_done,   meter->merges_failed,   meter->merge_duration,
                                       meter->save_duration};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        metric_put(counters[i]);
    for (int i = 0; i < METER_EVENTS; i++) {
        metric_put(meter->events[i]);
        metric_put(meter->event_bytes[i]);
    }
}

static void gauge_drop(struct metric **gauge)
{
    metric_drop(*gauge);
    *gauge = NULL;
}

void meter_end(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    if (!meter->is_on)
        return;
    meter_turn_end(pipeline);
    meter_copied(pipeline);
    metric_add_to(METRIC_PIPELINE_STOPS, 1, pipeline->options.name);
    metric_adjust(meter->active, -1);
    struct metric **const gauges[] = {&meter->state,       &meter->lag_bytes,     &meter->lag_seconds,
                                      &meter->merged_at,   &meter->memory_stream, &meter->memory_copy,
                                      &meter->memory_limit};
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        gauge_drop(gauges[i]);
    for (int i = 0; i < METER_TABLE_STATES; i++)
        gauge_drop(&meter->tables[i]);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        meter_table_leaves(pipeline->tables[i]);
        meter_table_end(&pipeline->tables[i]->meter);
    }
    counters_put(meter);
    *meter = (struct pipeline_meter){0};
}

void meter_table_end(struct table_meter *meter)
{
    metric_put(meter->coerced_total);
    meter->coerced_total = NULL;
    gauge_drop(&meter->parked);
    gauge_drop(&meter->copy_rows);
    gauge_drop(&meter->copy_rows_estimated);
}

void meter_table_forget(const struct pipeline *pipeline, const char *schema_name, const char *table_name)
{
    char name[TABLE_NAME_SIZE];
    (void)snprintf(name, sizeof name, "%s.%s", schema_name, table_name);
    metric_forget_both("pipeline_name", pipeline->options.name, "table", name);
}

void meter_state(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    if (!meter->is_on)
        return;
    gauge_drop(&meter->state);
    meter->state = metric_get(METRIC_PIPELINE_STATE, pipeline->options.name, pipeline_state_name(pipeline->state));
    metric_set(meter->state, 1);
}

void meter_error(const struct pipeline *pipeline, const struct err *error)
{
    metric_add_to(METRIC_PIPELINE_ERRORS, 1, pipeline->options.name, err_kind_name(error->kind));
}

// --- what happens ------------------------------------------------------------------------------------------------

void meter_turn_end(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    if (meter->turn_messages == 0)
        return;
    metric_observe(meter->batch_size, (double)meter->turn_messages);
    metric_observe(meter->turn_duration, (double)(loop_fresh_us(pipeline->loop) - meter->turn_began_us) / 1e6);
    meter->turn_messages = 0;
    for (int i = 0; i <= PGOUTPUT_MESSAGE; i++) {
        if (meter->counts[i] == 0)
            continue;
        metric_add(meter->events[i], meter->counts[i]);
        metric_add(meter->event_bytes[i], meter->bytes[i]);
        meter->counts[i] = meter->bytes[i] = 0;
    }
}

void meter_copied(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    metric_add(meter->events[METER_EVENT_COPY], pipeline->copied_rows - meter->copied_rows);
    metric_add(meter->event_bytes[METER_EVENT_COPY], pipeline->copied_bytes - meter->copied_bytes);
    meter->copied_rows = pipeline->copied_rows;
    meter->copied_bytes = pipeline->copied_bytes;
}

void meter_committed(struct pipeline *pipeline)
{
    struct lag_run run;
    int64_t now_us = loop_wall_us(pipeline->loop);
    while (lag_take(&pipeline->lag, pipeline->committed_lsn, &run)) {
        int64_t took_us = now_us > run.first_time_us ? now_us - run.first_time_us : 0;
        metric_observe_times(pipeline->meter.commit_to_committed, (double)took_us / 1e6, run.commits);
    }
}

void meter_merged(struct pipeline *pipeline, bool is_done)
{
    struct pipeline_meter *meter = &pipeline->meter;
    metric_add(is_done ? meter->merges_done : meter->merges_failed, 1);
    if (!is_done)
        return;
    if (pipeline->merge_began_us != 0)
        metric_observe(meter->merge_duration, (double)pipeline->merge_took_us / 1e6);
    if (meter->merged_at == NULL && meter->is_on)
        meter->merged_at = metric_get(METRIC_MERGED_AT, pipeline->options.name);
    metric_set(meter->merged_at, (double)loop_wall_us(pipeline->loop) / 1e6);
}

void meter_saved(struct pipeline *pipeline)
{
    metric_observe(pipeline->meter.save_duration, (double)(loop_fresh_us(pipeline->loop) - pipeline->saved_us) / 1e6);
}

// --- how it stands -----------------------------------------------------------------------------------------------

// A gauge that is there only while its value is known.
static void gauge_show(struct pipeline *pipeline, struct metric **gauge, enum metric_id id, bool is_known, double value)
{
    if (!is_known) {
        gauge_drop(gauge);
        return;
    }
    if (*gauge == NULL)
        *gauge = metric_get(id, pipeline->options.name);
    metric_set(*gauge, value);
}

static void table_gauge_show(const struct pipeline_table *table, struct metric **gauge, enum metric_id id,
                             bool is_known, double value)
{
    if (!is_known) {
        gauge_drop(gauge);
        return;
    }
    if (*gauge == NULL) {
        char name[TABLE_NAME_SIZE];
        table_format_name(table->table, name, sizeof name);
        *gauge = metric_get(id, table->pipeline->options.name, name);
    }
    metric_set(*gauge, value);
}

// The encoder counts for itself, on the way of a row. The series is there before anything is counted: what Prometheus sees first is
// no increase to it.
static void coerced_show(struct pipeline_table *table)
{
    struct table_meter *meter = &table->meter;
    if (table->sink_table == NULL)
        return;
    uint64_t coerced = table->pipeline->sink->operations->table_encoder(table->sink_table)->coerced_values;
    if (meter->coerced_total == NULL) {
        char name[TABLE_NAME_SIZE];
        table_format_name(table->table, name, sizeof name);
        meter->coerced_total = metric_get(METRIC_TABLE_COERCED, table->pipeline->options.name, name);
    }
    metric_add(meter->coerced_total, coerced - meter->coerced);
    meter->coerced = coerced;
}

void meter_table_leaves(struct pipeline_table *table)
{
    coerced_show(table);
    metric_put(table->meter.coerced_total);
    table->meter.coerced_total = NULL;
    table->meter.coerced = 0;  // its next encoder begins anew
}

static void table_show(struct pipeline_table *table)
{
    struct table_meter *meter = &table->meter;
    uint64_t rows = 0, rows_expected = 0;
    bool is_copied = table->copy != NULL && copy_expected(table, &rows, &rows_expected);
    table_gauge_show(table, &meter->parked, METRIC_TABLE_PARKED, table->record.state == CATALOG_TABLE_PARKED, 1);
    table_gauge_show(table, &meter->copy_rows, METRIC_TABLE_COPY_ROWS, is_copied, (double)rows);
    table_gauge_show(table, &meter->copy_rows_estimated, METRIC_TABLE_COPY_ROWS_ESTIMATED, is_copied,
                     (double)rows_expected);
    coerced_show(table);
}

static void tables_show(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    uint32_t counts[METER_TABLE_STATES] = {0};
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        counts[pipeline->tables[i]->record.state]++;
        table_show(pipeline->tables[i]);
    }
    for (int i = 0; i < METER_TABLE_STATES; i++) {
        const char *state = catalog_table_state_name((enum catalog_table_state)i);
        if (meter->tables[i] == NULL)
            meter->tables[i] = metric_get(METRIC_PIPELINE_TABLES, pipeline->options.name, state);
        metric_set(meter->tables[i], counts[i]);
    }
}

void meter_tick(struct pipeline *pipeline)
{
    struct pipeline_meter *meter = &pipeline->meter;
    uint64_t now_us = loop_now_us(pipeline->loop);
    struct sink_stats stats = {0};
    struct pipeline_lag lag;
    if (!meter->is_on || now_us - meter->shown_us < SHOW_INTERVAL_US)
        return;
    meter->shown_us = now_us;
    status_lag(pipeline, &lag);
    gauge_show(pipeline, &meter->lag_bytes, METRIC_PIPELINE_LAG_BYTES, lag.has_bytes, (double)lag.bytes);
    gauge_show(pipeline, &meter->lag_seconds, METRIC_PIPELINE_LAG_SECONDS, lag.has_seconds, lag.seconds);
    pipeline->sink->operations->stats(pipeline->sink, &stats);
    metric_set(meter->memory_copy, (double)stats.held_copy_bytes);
    metric_set(meter->memory_stream, (double)(stats.held_bytes - stats.held_copy_bytes));
    metric_set(meter->memory_limit, (double)stats.held_bytes_max);
    tables_show(pipeline);
}
