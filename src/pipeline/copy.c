// Copies of tables: they run beside the stream, which they never have to meet. What makes a snapshot safe and how it is read is
// pg_copy's; here rows go to the sink, range by range, and tables go from state to state.
//
// A run copies all tables that need it in one snapshot. A table that comes to need it later (retried, resynchronised, added) does
// not wait for a long run: one more may run beside it, on a single connection. A run outlives restarts of the stream.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/copy_private.h"

#define COPY_RUNS_MAX 2

// Its stream takes rows already, or will before the copy reads anything (the first start): no commit falls in between.
static bool may_copy(const struct pipeline_table *table)
{
    return table->is_joined || table->pipeline->state == PIPELINE_SNAPSHOT;
}

static struct copy_run *run_of(const struct pipeline_table *table)
{
    return table->copy != NULL ? table->copy->run : NULL;
}

bool copy_is_running(const struct pipeline *pipeline)
{
    return pipeline->copies != NULL;
}

bool copy_may_forget(const struct pipeline_table *table)
{
    for (const struct copy_run *run = table->pipeline->copies; run != NULL; run = run->next)
        for (uint32_t i = 0; i < run->count; i++)
            if (run->items[i] == table)
                return false;
    return table->copy == NULL;
}

static void copy_retry_later(struct pipeline *pipeline)
{
    uint32_t delay_ms = 0;
    if (pipeline->copy_timer.heap_index != 0)
        return;
    backoff_next(&pipeline->copy_backoff, &delay_ms);
    loop_timer_set(pipeline->loop, &pipeline->copy_timer, (uint64_t)delay_ms * 1000);
}

static void on_copy_due(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    if (pipeline->state == PIPELINE_RUNNING)
        copy_begin(pipeline, false);
}

void copy_init(struct pipeline *pipeline)
{
    pipeline->copy_timer = (struct loop_timer){.on_due = on_copy_due, .context = pipeline};
    backoff_init(&pipeline->copy_backoff, &pipeline_backoff, (uint64_t)loop_wall_us(pipeline->loop) | 1);
    rate_limit_init(&pipeline->copy_limit, pipeline->options.copy_bytes_per_second, loop_now_us(pipeline->loop));
}

// --- a table's copy ----------------------------------------------------------------------------------------------

static void table_copy_free(struct pipeline_table *table)
{
    if (table->copy == NULL)
        return;
    free(table->copy->ranges);
    free(table->copy);
    table->copy = NULL;
}

static void paused_forget_table(struct copy_run *run, uint32_t index)
{
    for (uint32_t i = run->paused_count; i-- > 0;)
        if (run->paused[i].index == index)
            run->paused[i] = run->paused[--run->paused_count];
}

// A run that began after the newest failure got further, or nothing is to be copied any more.
static void trouble_passed(struct copy_run *run)
{
    if (!run->is_older)
        err_clear(&run->pipeline->copy_error);
}

// Nothing more of it is read, and what was taken of it counts for nothing.
static void give_up(struct pipeline_table *table)
{
    struct copy_run *run = run_of(table);
    if (table->copy == NULL)
        return;
    if (run != NULL && !run->is_over) {
        pg_copy_abandon(run->pg, table->copy->index);
        paused_forget_table(run, table->copy->index);
    }
    if (table->sink_table != NULL)
        table->pipeline->sink->operations->copy_drop(table->sink_table);
    table_copy_free(table);
}

void copy_table_gone(struct pipeline_table *table)
{
    give_up(table);
}

void copy_table_failed(struct pipeline_table *table, const struct err *error)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = {pipeline->options.name, table->table->table_name};
    log_line(LOG_WARNING, &scope, "copy_again", "the copy of %s.%s starts again: %s", table->table->schema_name,
             table->table->table_name, error->text);
    give_up(table);
    copy_retry_later(pipeline);
}

// The table that a run reads at this index, or NULL when the run has no business with it any more.
static struct pipeline_table *table_at(const struct copy_run *run, uint32_t index)
{
    struct pipeline_table *table = run->items[index];
    return run_of(table) == run && table->sink_table != NULL ? table : NULL;
}

// --- the snapshot ------------------------------------------------------------------------------------------------

// A copy's LSN is strictly above any earlier one of the same table, so that its rows win over what an earlier attempt left behind.
static bool is_snapshot_above(const struct copy_run *run, lsn_t lsn)
{
    for (uint32_t i = 0; i < run->count; i++)
        if (run->items[i]->record.copy_lsn >= lsn && run->items[i]->record.copy_lsn != LSN_NONE)
            return false;
    return true;
}

static void run_over(struct copy_run *run)
{
    run->is_over = true;
    run->pipeline->is_reap_copy = true;
    loop_defer(run->pipeline->loop, &run->pipeline->reap);
}

static void on_snapshot(void *context, lsn_t lsn)
{
    struct copy_run *run = context;
    struct pipeline *pipeline = run->pipeline;
    if (pipeline->record.is_slot_made && !is_snapshot_above(run, lsn)) {
        log_line(LOG_INFO, &pipeline->scope, "copy_again",
                 "the snapshot's LSN is not above that of an earlier copy; another one is taken");
        run_over(run);
        copy_retry_later(pipeline);
        return;
    }
    log_line(LOG_INFO, &pipeline->scope, "snapshot", "copying %u table%s as of " LSN_FORMAT, run->count,
             run->count == 1 ? "" : "s", LSN_ARGUMENTS(lsn));
    run->lsn = lsn;
    if (!pipeline->record.is_slot_made) {
        pipeline->record.is_slot_made = true;
        pipeline->record.floor_lsn = pipeline->record.received_lsn = pipeline->record.merged_lsn = lsn;
        pipeline->saved_lsn = pipeline->committed_lsn = pipeline->received_lsn = pipeline->merged_lsn = lsn;
        pipeline->lag.count = pipeline->unmerged.count = 0;  // positions of before may be another server's
        pipeline->merged_commit_us = 0;
        pipeline->row_lsn = pipeline->undecoded_lsn = LSN_NONE;
        pipeline->server_lsn = lsn;
        pipeline->is_record_dirty = true;
    }
    for (uint32_t i = 0; i < run->count; i++) {
        struct pipeline_table *table = table_at(run, i);
        if (table == NULL)
            continue;
        table->record.state = CATALOG_TABLE_COPYING;
        table->record.copy_lsn = lsn;
        table->record.copied_rows = 0;
        table->is_record_dirty = true;
    }
    run->is_waiting = true;
    pipeline->is_snapshot_dirty = true;
    progress_save_soon(pipeline);  // copy_snapshot_saved follows
}

void copy_snapshot_saving(struct pipeline *pipeline)
{
    for (struct copy_run *run = pipeline->copies; run != NULL; run = run->next)
        run->is_saving = run->is_waiting;
}

// Slot, floor and the tables' snapshot are durable: channels may be opened now.
void copy_snapshot_saved(struct pipeline *pipeline)
{
    for (struct copy_run *run = pipeline->copies; run != NULL; run = run->next) {
        if (!run->is_saving || run->is_over)
            continue;
        run->is_waiting = run->is_saving = false;
        pg_copy_continue(run->pg);
    }
}

// --- ranges ------------------------------------------------------------------------------------------------------

static void on_planned(void *context)
{
    struct copy_run *run = context;
    uint32_t range_count = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        struct pipeline_table *table = table_at(run, i);
        uint32_t count = pg_copy_range_count(run->pg, i);
        if (table == NULL || count == 0)
            continue;
        table->copy->ranges = calloc(count, sizeof *table->copy->ranges);
        CHECK(table->copy->ranges != NULL);
        table->copy->range_count = count;
        for (uint32_t k = 0; k < count; k++)
            table->copy->ranges[k].blocks = pg_copy_range(run->pg, i, (uint16_t)k)->blocks;
        range_count += count;
    }
    log_line(LOG_INFO, &run->pipeline->scope, "copy_planned", "%u table%s in %u range%s", run->count,
             run->count == 1 ? "" : "s", range_count, range_count == 1 ? "" : "s");
}

static void on_range_wanted(void *context, uint32_t table_index, uint16_t range)
{
    struct copy_run *run = context;
    struct pipeline_table *table = table_at(run, table_index);
    if (table == NULL) {
        pg_copy_abandon(run->pg, table_index);
        return;
    }
    run->pipeline->sink->operations->copy_open(table->sink_table, run->pipeline->record.epoch, run->lsn, range);
}

void copy_range_opened(struct pipeline_table *table, uint16_t range)
{
    struct copy_run *run = run_of(table);
    if (run == NULL || range >= table->copy->range_count)
        return;
    table->copy->ranges[range].is_opened = true;
    pg_copy_range_ready(run->pg, table->copy->index, range);
}

static void pause(struct copy_run *run, uint32_t index, uint16_t range)
{
    for (uint32_t i = 0; i < run->paused_count; i++)
        if (run->paused[i].index == index && run->paused[i].range == range)
            return;
    // No more than there are readers, and a few whose connection was lost meanwhile.
    CHECK(run->paused_count < sizeof run->paused / sizeof run->paused[0]);
    run->paused[run->paused_count++] = (struct copy_paused){index, range};
    pg_copy_range_pause(run->pg, index, range);
}

static void paused_forget(struct copy_run *run, uint32_t index, uint16_t range)
{
    for (uint32_t i = run->paused_count; i-- > 0;)
        if (run->paused[i].index == index && run->paused[i].range == range)
            run->paused[i] = run->paused[--run->paused_count];
}

// Bytes were given back: those that waited for it are looked at again.
void copy_room(struct pipeline *pipeline)
{
    for (struct copy_run *run = pipeline->copies; run != NULL; run = run->next) {
        for (uint32_t i = run->paused_count; i-- > 0;) {
            struct copy_paused paused = run->paused[i];
            struct pipeline_table *table = table_at(run, paused.index);
            if (table != NULL && pipeline->sink->operations->copy_is_full(table->sink_table, paused.range))
                continue;
            run->paused[i] = run->paused[--run->paused_count];
            pg_copy_range_continue(run->pg, paused.index, paused.range);
        }
    }
}

static void on_row(void *context, uint32_t table_index, uint16_t range, uint64_t row_number, const struct row_view *row)
{
    struct copy_run *run = context;
    struct pipeline_table *table = table_at(run, table_index);
    const struct sink_operations *operations = run->pipeline->sink->operations;
    struct err error = {0};
    if (table == NULL) {
        pg_copy_abandon(run->pg, table_index);
        return;
    }
    switch (operations->copy_append(table->sink_table, range, row_number, row, &error)) {
    case SINK_FAILED: join_refused(table, &error); return;
    case SINK_ALREADY: return;  // read again
    case SINK_APPENDED: break;
    }
    table->copy->rows_taken++;
    run->pipeline->copied_rows++;
    if (operations->copy_is_full(table->sink_table, range))
        pause(run, table_index, range);
}

static void on_turn_end(void *context)
{
    struct copy_run *run = context;
    struct pipeline *pipeline = run->pipeline;
    uint64_t bytes = pg_copy_stats(run->pg)->bytes;
    pipeline->copied_bytes += bytes - run->bytes_seen;
    run->bytes_seen = bytes;
    meter_copied(pipeline);
    rate_window_note(&pipeline->copy_rate, loop_now_us(pipeline->loop), pipeline->copied_rows, pipeline->copied_bytes);
    pipeline->sink->operations->flush(pipeline->sink);
}

static void on_range_done(void *context, uint32_t table_index, uint16_t range, uint64_t row_count)
{
    struct copy_run *run = context;
    struct pipeline_table *table = table_at(run, table_index);
    paused_forget(run, table_index, range);
    trouble_passed(run);
    if (table == NULL)
        return;
    struct copy_item_range *item = &table->copy->ranges[range];
    item->is_read = true;
    item->rows = row_count;
    item->bytes = pg_copy_range(run->pg, table_index, range)->bytes;
    table->copy->read_count++;
    run->pipeline->sink->operations->copy_finish(table->sink_table, range);
}

bool copy_is_read(const struct pipeline_table *table)
{
    return table->copy != NULL && table->copy->range_count > 0 && table->copy->read_count == table->copy->range_count;
}

void copy_range_committed(struct pipeline_table *table, uint16_t range, uint64_t row_count)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = {pipeline->options.name, table->table->table_name};
    struct table_copy *copy = table->copy;
    if (table->record.state != CATALOG_TABLE_COPYING || copy == NULL || range >= copy->range_count ||
        !copy->ranges[range].is_read || copy->ranges[range].is_committed)
        return;
    CHECK(row_count == copy->ranges[range].rows);
    copy->ranges[range].is_committed = true;
    copy->committed_count++;
    copy->rows_committed += row_count;
    if (copy->committed_count < copy->range_count)
        return;
    table->record.state = CATALOG_TABLE_COPIED;
    table->record.copied_rows = copy->rows_committed;
    table->is_record_dirty = true;
    log_line(LOG_INFO, &scope, "copied", "%s.%s: %" PRIu64 " rows copied and committed, in %u range%s",
             table->table->schema_name, table->table->table_name, copy->rows_committed, copy->range_count,
             copy->range_count == 1 ? "" : "s");
    table_copy_free(table);
    backoff_reset(&pipeline->copy_backoff);
    progress_save_soon(pipeline);
    progress_update(pipeline);
}

// --- what goes wrong ---------------------------------------------------------------------------------------------

// The table or a column of it is not there by that name any more: it changed after its definition was read.
static bool is_of_definition(const struct err *error)
{
    return strcmp(error->code, "42P01") == 0 || strcmp(error->code, "42703") == 0 || strcmp(error->code, "3F000") == 0;
}

static void on_table_failed(void *context, uint32_t table_index, const struct err *error)
{
    struct copy_run *run = context;
    struct pipeline_table *table = table_at(run, table_index);
    if (table == NULL)
        return;
    if (error->kind == ERR_TRANSIENT)
        copy_table_failed(table, error);
    else if (error->kind == ERR_LOST || is_of_definition(error))
        pipeline_resync_table(table, error);
    else
        join_trouble(table, error);
}

static void on_waiting(void *context, const char *why)
{
    log_line(LOG_WARNING, &((struct copy_run *)context)->pipeline->scope, "copy_waits", "%s", why);
}

static void on_ended(void *context, const struct err *error)
{
    struct copy_run *run = context;
    struct pipeline *pipeline = run->pipeline;
    run_over(run);
    if (error == NULL) {
        trouble_passed(run);
        return;
    }
    bool is_worth_another_try =
        error->kind == ERR_TRANSIENT || (error->kind == ERR_CONFIG && pipeline->state == PIPELINE_RUNNING);
    if (pipeline->state == PIPELINE_SNAPSHOT || !is_worth_another_try) {
        pipeline_fail(pipeline, error);
        return;
    }
    // The stream runs on; what an operator has to mend shows in the status meanwhile.
    pipeline->copy_error = *error;
    for (struct copy_run *other = pipeline->copies; other != NULL; other = other->next)
        other->is_older = true;
    log_line(LOG_WARNING, &pipeline->scope, "copy_again", "what was not read yet is copied in a new snapshot: %s",
             error->text);
    copy_retry_later(pipeline);
}

void copy_retry_if_needed(struct pipeline *pipeline)
{
    for (uint32_t i = 0; pipeline->state == PIPELINE_RUNNING && i < pipeline->table_count; i++) {
        if (pipeline_table_needs_copy(pipeline->tables[i]) && pipeline->tables[i]->copy == NULL &&
            may_copy(pipeline->tables[i])) {
            copy_retry_later(pipeline);
            return;
        }
    }
}

// --- beginning and end -------------------------------------------------------------------------------------------

static struct copy_run *run_new(struct pipeline *pipeline)
{
    struct copy_run *run = calloc(1, sizeof *run);
    size_t capacity = (size_t)pipeline->table_count + 1;
    CHECK(run != NULL);
    run->pipeline = pipeline;
    run->tables = calloc(capacity, sizeof(struct table *));
    run->items = calloc(capacity, sizeof(struct pipeline_table *));
    run->as_text = calloc(capacity, sizeof(bool *));
    CHECK(run->tables != NULL && run->items != NULL && run->as_text != NULL);
    run->pg = pg_copy_new(pipeline->loop, pipeline->resolver);
    run->next = pipeline->copies;
    pipeline->copies = run;
    return run;
}

// What it has not read whole is to be copied again; the rest only waits for its commit.
static void run_free(struct copy_run *run)
{
    struct pipeline *pipeline = run->pipeline;
    struct copy_run **link = &pipeline->copies;
    while (*link != run)
        link = &(*link)->next;
    *link = run->next;
    pg_copy_free(run->pg);
    run->is_over = true;
    for (uint32_t i = 0; i < run->count; i++) {
        struct pipeline_table *table = run->items[i];
        if (run_of(table) != run)
            continue;
        if (copy_is_read(table))
            table->copy->run = NULL;
        else
            give_up(table);
    }
    for (uint32_t i = 0; i < run->count; i++)
        free(run->as_text[i]);
    free(run->tables);
    free(run->items);
    free(run->as_text);
    free(run);
}

// The run's own: a table may leave the sink before its rows are read past.
static bool *as_text_of(const struct pipeline_table *table)
{
    const bool *as_text = NULL;
    bool *copy = calloc((size_t)table->table->column_count + 1, sizeof *copy);
    CHECK(copy != NULL);
    table->pipeline->sink->operations->table_wants_text(table->sink_table, &as_text);
    memcpy(copy, as_text, table->table->column_count * sizeof *copy);
    return copy;
}

static void collect(struct copy_run *run)
{
    struct pipeline *pipeline = run->pipeline;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (!pipeline_table_needs_copy(table) || table->copy != NULL || !may_copy(table))
            continue;
        table->copy = calloc(1, sizeof *table->copy);
        CHECK(table->copy != NULL);
        table->copy->run = run;
        table->copy->index = run->count;
        pipeline->sink->operations->copy_drop(table->sink_table);
        run->tables[run->count] = table->table;
        run->items[run->count] = table;
        run->as_text[run->count] = as_text_of(table);
        run->count++;
    }
}

static uint32_t count_runs(const struct pipeline *pipeline)
{
    uint32_t count = 0;
    for (const struct copy_run *run = pipeline->copies; run != NULL; run = run->next)
        count++;
    return count;
}

// makes_slot: the pipeline's own slot, whose making exports the snapshot; else a temporary one.
void copy_begin(struct pipeline *pipeline, bool makes_slot)
{
    struct err error = {0};
    uint32_t runs = count_runs(pipeline);
    if (runs >= COPY_RUNS_MAX)
        return;  // copy_retry_if_needed is asked when one is over
    struct copy_run *run = run_new(pipeline);
    collect(run);
    if (run->count == 0 && !makes_slot) {
        run_free(run);
        if (runs == 0)
            err_clear(&pipeline->copy_error);
        return;
    }
    struct pg_copy_events events = {.on_snapshot = on_snapshot,
                                    .on_planned = on_planned,
                                    .on_range_wanted = on_range_wanted,
                                    .on_row = on_row,
                                    .on_turn_end = on_turn_end,
                                    .on_range_done = on_range_done,
                                    .on_table_failed = on_table_failed,
                                    .on_waiting = on_waiting,
                                    .on_ended = on_ended,
                                    .context = run};
    struct pg_copy_options options = {.slot = makes_slot ? pipeline->options.slot : NULL,
                                      .is_failover = pipeline->facts.server_version >= 170000,
                                      .client_encoding = pipeline->facts.encoding,
                                      .publication = pipeline->options.publication,
                                      .tables = run->tables,
                                      .table_count = run->count,
                                      .column_as_text = (const bool *const *)run->as_text,
                                      .connections_max = runs == 0 ? pipeline->options.copy_connections_max : 1,
                                      .range_bytes = pipeline->options.copy_range_bytes,
                                      .rate_limit =
                                          pipeline->options.copy_bytes_per_second > 0 ? &pipeline->copy_limit : NULL};
    if (runs == 0)
        memset(&pipeline->copy_rate, 0, sizeof pipeline->copy_rate);
    rate_window_note(&pipeline->copy_rate, loop_now_us(pipeline->loop), pipeline->copied_rows, pipeline->copied_bytes);
    if (!pg_copy_start(run->pg, pipeline->options.source, &options, &events, &error)) {
        if (makes_slot) {
            run_over(run);
            pipeline_fail(pipeline, &error);
        } else {
            on_ended(run, &error);
        }
    }
}

void copy_reap(struct pipeline *pipeline)
{
    struct copy_run *next;
    for (struct copy_run *run = pipeline->copies; run != NULL; run = next) {
        next = run->next;
        if (run->is_over)
            run_free(run);
    }
    copy_retry_if_needed(pipeline);
}

void copy_end(struct pipeline *pipeline)
{
    while (pipeline->copies != NULL)
        run_free(pipeline->copies);
    loop_timer_stop(pipeline->loop, &pipeline->copy_timer);
    err_clear(&pipeline->copy_error);
}

void copy_table_free(struct pipeline_table *table)
{
    table_copy_free(table);
}
