// The first copy of tables: runs beside the stream, which it never has to meet. What makes its snapshot safe is pg_copy's;
// here its rows go to the sink and its tables from state to state.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/pipeline_private.h"

#define COPY_RETRY_US 1000000

static bool is_copy_full(struct pipeline *pipeline)
{
    return pipeline->sink->operations->is_full(pipeline->sink);
}

static void copy_retry_later(struct pipeline *pipeline)
{
    loop_timer_set(pipeline->loop, &pipeline->copy_timer, COPY_RETRY_US);
}

static void on_copy_due(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    if (pipeline->state == PIPELINE_RUNNING && pipeline->copy == NULL)
        copy_begin(pipeline, false);
}

// --- the snapshot ------------------------------------------------------------------------------------------------

// A copy's LSN is strictly above any earlier one of the same table, so that its rows win over what an earlier attempt left behind.
static bool is_snapshot_above(const struct pipeline *pipeline, lsn_t lsn)
{
    for (uint32_t i = 0; i < pipeline->copy_count; i++)
        if (pipeline->copy_items[i]->record.copy_lsn >= lsn && pipeline->copy_items[i]->record.copy_lsn != LSN_NONE)
            return false;
    return true;
}

static void on_snapshot(void *context, lsn_t lsn)
{
    struct pipeline *pipeline = context;
    struct err error = {0};
    if (pipeline->record.is_slot_made && !is_snapshot_above(pipeline, lsn)) {
        err_set(&error, ERR_TRANSIENT, "snapshot_too_old", "the snapshot's LSN is not above that of an earlier copy");
        log_line(LOG_INFO, &pipeline->scope, "copy_again", "%s; another one is taken", error.text);
        pipeline->is_reap_copy = true;
        loop_defer(pipeline->loop, &pipeline->reap);
        copy_retry_later(pipeline);
        return;
    }
    log_line(LOG_INFO, &pipeline->scope, "snapshot", "copying %u tables as of " LSN_FORMAT, pipeline->copy_count,
             LSN_ARGUMENTS(lsn));
    pipeline->copy_lsn = lsn;
    pipeline->copy_began_us = loop_now_us(pipeline->loop);
    if (!pipeline->record.is_slot_made) {
        pipeline->record.is_slot_made = true;
        pipeline->record.floor_lsn = pipeline->record.received_lsn = pipeline->record.merged_lsn = lsn;
        pipeline->saved_lsn = pipeline->committed_lsn = pipeline->received_lsn = pipeline->merged_lsn = lsn;
        pipeline->is_record_dirty = true;
    }
    for (uint32_t i = 0; i < pipeline->copy_count; i++) {
        struct pipeline_table *table = pipeline->copy_items[i];
        table->record.state = CATALOG_TABLE_COPYING;
        table->record.copy_lsn = lsn;
        table->record.copied_rows = 0;
        table->is_record_dirty = true;
    }
    pipeline->is_copy_waiting = true;
    pipeline->is_snapshot_dirty = true;
    progress_save_soon(pipeline);  // copy_snapshot_saved follows
}

static void copy_go_if_ready(struct pipeline *pipeline)
{
    if (pipeline->copy == NULL || !pipeline->is_copy_waiting)
        return;
    for (uint32_t i = 0; i < pipeline->copy_count; i++)
        if (pipeline->copy_items[i]->is_in_copy && !pipeline->copy_items[i]->is_copy_open)
            return;
    pipeline->is_copy_waiting = false;
    pipeline->is_copy_paused = false;
    pg_copy_continue(pipeline->copy);
}

// Slot, floor and the tables' snapshot are durable: channels may be opened now.
void copy_snapshot_saved(struct pipeline *pipeline)
{
    if (pipeline->copy == NULL || !pipeline->is_copy_waiting)
        return;
    for (uint32_t i = 0; i < pipeline->copy_count; i++) {
        struct pipeline_table *table = pipeline->copy_items[i];
        if (table->is_in_copy && !table->is_copy_open && table->sink_table != NULL && !table->is_copy_opening) {
            table->is_copy_opening = true;
            pipeline->sink->operations->copy_open(table->sink_table, pipeline->record.epoch, pipeline->copy_lsn, 0);
        }
    }
    copy_go_if_ready(pipeline);
}

void copy_channel_opened(struct pipeline_table *table)
{
    table->is_copy_open = table->is_in_copy;
    table->is_copy_opening = false;
    copy_go_if_ready(table->pipeline);
}

// --- rows --------------------------------------------------------------------------------------------------------

static bool on_row(void *context, uint32_t table_index, const struct row_view *row)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = pipeline->copy_items[table_index];
    struct err error = {0};
    if (table->sink_table == NULL || !table->is_in_copy)
        return true;  // parked meanwhile: its rows are read past
    if (pipeline->sink->operations->copy_append(table->sink_table, 0, table->rows_copied + 1, row, &error) ==
        SINK_FAILED) {
        pipeline_park(table, &error);
        return true;
    }
    table->rows_copied++;
    if (!pipeline->is_copy_paused && is_copy_full(pipeline)) {
        pipeline->is_copy_paused = true;
        pg_copy_pause(pipeline->copy);
    }
    return true;
}

static void on_turn_end(void *context)
{
    struct pipeline *pipeline = context;
    pipeline->sink->operations->flush(pipeline->sink);
}

static void on_table_done(void *context, uint32_t table_index, uint64_t row_count)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = pipeline->copy_items[table_index];
    (void)row_count;
    if (table->sink_table == NULL || !table->is_in_copy)
        return;
    table->is_copy_read = true;
    pipeline->sink->operations->copy_finish(table->sink_table, 0);
}

void copy_committed(struct pipeline_table *table, uint64_t row_count)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = {pipeline->options.name, table->table->table_name};
    if (table->record.state != CATALOG_TABLE_COPYING || !table->is_copy_read)
        return;
    table->is_in_copy = table->is_copy_open = table->is_copy_read = false;
    table->record.state = CATALOG_TABLE_COPIED;
    table->record.copied_rows = row_count;
    table->is_record_dirty = true;
    log_line(LOG_INFO, &scope, "copied", "%s.%s: %" PRIu64 " rows copied and committed", table->table->schema_name,
             table->table->table_name, row_count);
    progress_save_soon(pipeline);
    progress_update(pipeline);
}

void copy_table_failed(struct pipeline_table *table, const struct err *error)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = {pipeline->options.name, table->table->table_name};
    log_line(LOG_WARNING, &scope, "copy_again", "the copy of %s.%s starts again: %s", table->table->schema_name,
             table->table->table_name, error->text);
    if (table->sink_table != NULL)
        pipeline->sink->operations->copy_drop(table->sink_table);
    copy_table_gone(table);
    copy_retry_later(pipeline);
}

void copy_table_gone(struct pipeline_table *table)
{
    table->is_in_copy = table->is_copy_open = table->is_copy_read = table->is_copy_opening = false;
    copy_go_if_ready(table->pipeline);
}

// Its stream takes rows already, or will before the copy reads anything (the first start): no commit falls in between.
static bool may_copy(const struct pipeline_table *table)
{
    return table->is_joined || table->pipeline->state == PIPELINE_SNAPSHOT;
}

void copy_retry_if_needed(struct pipeline *pipeline)
{
    for (uint32_t i = 0; pipeline->state == PIPELINE_RUNNING && i < pipeline->table_count; i++) {
        if (pipeline_table_needs_copy(pipeline->tables[i]) && !pipeline->tables[i]->is_copy_read &&
            may_copy(pipeline->tables[i])) {
            copy_retry_later(pipeline);
            return;
        }
    }
}

static void on_table_failed(void *context, uint32_t table_index, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = pipeline->copy_items[table_index];
    if (error->kind == ERR_TRANSIENT)
        copy_table_failed(table, error);
    else
        join_trouble(table, error);
}

static void on_waiting(void *context, const char *why)
{
    struct pipeline *pipeline = context;
    log_line(LOG_WARNING, &pipeline->scope, "copy_waits", "%s", why);
}

static void on_ended(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    pipeline->is_reap_copy = true;
    loop_defer(pipeline->loop, &pipeline->reap);
    if (error == NULL)
        return;
    if (pipeline->state == PIPELINE_SNAPSHOT || error->kind != ERR_TRANSIENT) {
        pipeline_fail(pipeline, error);
        return;
    }
    log_line(LOG_WARNING, &pipeline->scope, "copy_again", "the copy starts again with a new snapshot: %s", error->text);
    copy_retry_later(pipeline);
}

// --- beginning and end -------------------------------------------------------------------------------------------

static void collect(struct pipeline *pipeline)
{
    pipeline->copy_tables = calloc((size_t)pipeline->table_count + 1, sizeof(struct table *));
    pipeline->copy_items = calloc((size_t)pipeline->table_count + 1, sizeof(struct pipeline_table *));
    pipeline->copy_as_text = calloc((size_t)pipeline->table_count + 1, sizeof(bool *));
    CHECK(pipeline->copy_tables != NULL && pipeline->copy_items != NULL && pipeline->copy_as_text != NULL);
    pipeline->copy_count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (!pipeline_table_needs_copy(table) || table->is_copy_read || !may_copy(table))
            continue;
        table->is_in_copy = true;
        table->is_copy_open = table->is_copy_read = table->is_copy_opening = false;
        table->rows_copied = 0;
        pipeline->sink->operations->copy_drop(table->sink_table);
        pipeline->copy_tables[pipeline->copy_count] = table->table;
        pipeline->copy_items[pipeline->copy_count] = table;
        pipeline->sink->operations->table_wants_text(table->sink_table, &pipeline->copy_as_text[pipeline->copy_count]);
        pipeline->copy_count++;
    }
}

// makes_slot: the pipeline's own slot, whose making exports the snapshot; else a temporary one.
void copy_begin(struct pipeline *pipeline, bool makes_slot)
{
    struct pg_copy_events events = {.on_snapshot = on_snapshot,
                                    .on_row = on_row,
                                    .on_turn_end = on_turn_end,
                                    .on_table_done = on_table_done,
                                    .on_table_failed = on_table_failed,
                                    .on_waiting = on_waiting,
                                    .on_ended = on_ended,
                                    .context = pipeline};
    struct err error = {0};
    CHECK(pipeline->copy == NULL);
    collect(pipeline);
    if (pipeline->copy_count == 0 && !makes_slot) {
        copy_end(pipeline);
        return;
    }
    struct pg_copy_options options = {.slot = makes_slot ? pipeline->options.slot : NULL,
                                      .is_failover = pipeline->facts.server_version >= 170000,
                                      .client_encoding = pipeline->facts.encoding,
                                      .publication = pipeline->options.publication,
                                      .tables = pipeline->copy_tables,
                                      .table_count = pipeline->copy_count,
                                      .column_as_text = pipeline->copy_as_text};
    pipeline->copy_timer = (struct loop_timer){.on_due = on_copy_due, .context = pipeline};
    pipeline->copy_lsn = LSN_NONE;
    pipeline->is_copy_paused = pipeline->is_copy_waiting = false;
    pipeline->copy = pg_copy_new(pipeline->loop, pipeline->resolver);
    CHECK(pipeline->copy != NULL);
    if (!pg_copy_start(pipeline->copy, pipeline->options.source, &options, &events, &error)) {
        if (makes_slot)
            pipeline_fail(pipeline, &error);
        else
            on_ended(pipeline, &error);
    }
}

void copy_end(struct pipeline *pipeline)
{
    if (pipeline->copy != NULL)
        pg_copy_free(pipeline->copy);
    pipeline->copy = NULL;
    for (uint32_t i = 0; i < pipeline->copy_count; i++) {
        struct pipeline_table *table = pipeline->copy_items[i];
        if (!table->is_copy_read)  // what was read whole only waits for its commit
            table->is_in_copy = table->is_copy_open = table->is_copy_opening = false;
    }
    free(pipeline->copy_tables);
    free(pipeline->copy_items);
    free(pipeline->copy_as_text);
    pipeline->copy_tables = NULL;
    pipeline->copy_items = NULL;
    pipeline->copy_as_text = NULL;
    pipeline->copy_count = 0;
    if (pipeline->state == PIPELINE_ENDED || pipeline->is_end_wanted || pipeline->is_restart_wanted ||
        pipeline->state == PIPELINE_STOPPING)
        loop_timer_stop(pipeline->loop, &pipeline->copy_timer);
}
