// Positions, saves and merges: what is committed, what of it is durable, and up to where the targets are merged.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "pipeline/pipeline_private.h"

#define TICK_ACTIVE_US 100000
#define TICK_IDLE_US 1000000
#define SAVE_INTERVAL_US 200000        // while rows flow
#define SAVE_IDLE_INTERVAL_US 5000000  // while only keepalives move the position
#define STATUS_INTERVAL_US 1000000
#define STATUS_IDLE_INTERVAL_US 10000000
#define MERGE_RETRY_US 2000000
#define POSTGRES_EPOCH_US 946684800000000  // 2000-01-01 in microseconds since 1970-01-01

static void merge_run(struct pipeline *pipeline);

static void progress_check(const struct pipeline *pipeline)
{
    CHECK(pipeline->saved_lsn <= pipeline->committed_lsn);
}

void progress_init(struct pipeline *pipeline)
{
    pipeline->tick = (struct loop_timer){.on_due = progress_tick, .context = pipeline};
}

void progress_deinit(struct pipeline *pipeline)
{
    CHECK(pipeline->save_inflight == NULL);
    loop_timer_stop(pipeline->loop, &pipeline->tick);
    loop_timer_stop(pipeline->loop, &pipeline->copy_timer);
    free(pipeline->merge_tables);
    free(pipeline->merge_items);
}

// --- positions ---------------------------------------------------------------------------------------------------

void progress_update(struct pipeline *pipeline)
{
    const struct sink_operations *operations = pipeline->sink->operations;
    lsn_t position = pipeline->received_lsn;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        if (table->sink_table == NULL || trap_is_set("only_committed_rows_are_confirmed"))
            continue;
        lsn_t uncommitted_lsn = operations->uncommitted_lsn(table->sink_table);
        if (uncommitted_lsn < position)
            position = uncommitted_lsn;
    }
    if (position > pipeline->committed_lsn)
        pipeline->committed_lsn = position;
    progress_check(pipeline);
}

// --- saves -------------------------------------------------------------------------------------------------------

// The channel's token and error count, as they belong to the position that is saved with them.
static void records_refresh(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        struct sink_channel_record record;
        if (table->sink_table == NULL)
            continue;
        pipeline->sink->operations->table_record(table->sink_table, &record);
        if (record.name[0] == '\0' ||
            (strcmp(record.name, table->record.channel) == 0 && strcmp(record.token, table->record.token) == 0 &&
             record.error_count == table->record.error_count && record.created_on_ms == table->record.created_on_ms))
            continue;
        (void)snprintf(table->record.channel, sizeof table->record.channel, "%s", record.name);
        (void)snprintf(table->record.token, sizeof table->record.token, "%s", record.token);
        table->record.created_on_ms = record.created_on_ms;
        table->record.error_count = record.error_count;
        table->is_record_dirty = true;
    }
}

static uint32_t count_dirty(const struct pipeline *pipeline)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        count += pipeline->tables[i]->is_record_dirty;
    return count;
}

static void save_send(struct pipeline *pipeline)
{
    struct catalog_pipeline *record = &pipeline->record;
    progress_update(pipeline);
    records_refresh(pipeline);
    struct catalog_save *save = catalog_save_new(count_dirty(pipeline));
    if (pipeline->committed_lsn > record->floor_lsn)
        record->floor_lsn = pipeline->committed_lsn;
    if (pipeline->received_lsn > record->received_lsn)
        record->received_lsn = pipeline->received_lsn;
    save->pipeline = *record;
    save->has_pipeline = true;
    save->reply_to = pipeline->replies;
    save->status_json = status_json(pipeline);
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        if (pipeline->tables[i]->is_record_dirty)
            save->tables[count++] = pipeline->tables[i]->record;
        pipeline->tables[i]->is_record_dirty = false;
    }
    pipeline->is_record_dirty = pipeline->is_save_wanted = false;
    pipeline->is_snapshot_saving = pipeline->is_snapshot_dirty;
    pipeline->is_channels_saving = pipeline->is_channels_dirty;
    pipeline->is_snapshot_dirty = pipeline->is_channels_dirty = false;
    pipeline->saved_us = pipeline->status_us = loop_now_us(pipeline->loop);
    pipeline->save_inflight = save;
    CHECK(catalog_send(pipeline->options.catalog, save));  // one save a pipeline in flight: the queue has room
}

static void save_failed(struct pipeline *pipeline, const struct err *error)
{
    // Nothing is confirmed beyond what is durable, so waiting loses nothing. Everything is written again.
    log_line(LOG_ERROR, &pipeline->scope, "save_failed", "%s", error->text);
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        pipeline->tables[i]->is_record_dirty = true;
    pipeline->is_record_dirty = true;
    pipeline->is_snapshot_dirty |= pipeline->is_snapshot_saving;
    pipeline->is_channels_dirty |= pipeline->is_channels_saving;
    pipeline->is_snapshot_saving = pipeline->is_channels_saving = false;
    if (pipeline->is_merge_saving) {
        pipeline->is_merge_saving = pipeline->is_merging = false;  // the statement was not sent
        pipeline->record.merge_intent_lsn = LSN_NONE;
    }
    pipeline->is_save_wanted = true;
    pipeline->last_error = *error;
}

static void saved_in_snapshot_state(struct pipeline *pipeline)
{
    if (pipeline->copy == NULL) {
        copy_begin(pipeline, true);  // the intent is durable: make the slot
    } else if (pipeline->is_snapshot_saving) {
        pipeline_channels_begin(pipeline);
        copy_snapshot_saved(pipeline);
    }
}

void progress_on_reply(void *context, void *message)
{
    struct pipeline *pipeline = context;
    struct catalog_save *save = message;
    CHECK(save == pipeline->save_inflight);
    pipeline->save_inflight = NULL;
    if (err_is_set(&save->error)) {
        save_failed(pipeline, &save->error);
        catalog_save_free(save);
        return;
    }
    if (save->pipeline.floor_lsn > pipeline->saved_lsn)
        pipeline->saved_lsn = save->pipeline.floor_lsn;
    catalog_save_free(save);
    progress_check(pipeline);
    if (pipeline->is_end_wanted || pipeline->state == PIPELINE_ENDED)
        return;
    if (pipeline->stream != NULL && pipeline->is_stream_started)
        pg_stream_confirm(pipeline->stream, pipeline->saved_lsn);
    stream_renew_after_giant(pipeline);
    if (pipeline->state == PIPELINE_SNAPSHOT)
        saved_in_snapshot_state(pipeline);
    else if (pipeline->is_snapshot_saving)
        copy_snapshot_saved(pipeline);
    if (pipeline->is_channels_saving)
        pipeline_channels_saved(pipeline);
    pipeline->is_snapshot_saving = pipeline->is_channels_saving = false;
    if (pipeline->is_merge_saving) {
        pipeline->is_merge_saving = false;
        merge_run(pipeline);
    }
}

void progress_save_soon(struct pipeline *pipeline)
{
    pipeline->is_save_wanted = true;
    if (pipeline->save_inflight == NULL && pipeline->state != PIPELINE_ENDED && !pipeline->is_end_wanted)
        loop_timer_set(pipeline->loop, &pipeline->tick, 1);
}

static bool is_moving(const struct pipeline *pipeline)
{
    return pipeline->committed_lsn > pipeline->saved_lsn && pipeline->row_lsn >= pipeline->saved_lsn;
}

static bool is_save_due(const struct pipeline *pipeline)
{
    uint64_t since_us = loop_now_us(pipeline->loop) - pipeline->saved_us;
    // Before the first snapshot there is nothing to keep but the intent, which asks for itself: a start that fails leaves no trace.
    if (pipeline->save_inflight != NULL ||
        (pipeline->is_first_start && pipeline->state != PIPELINE_SNAPSHOT && !pipeline->record.is_slot_made))
        return false;
    if (pipeline->is_save_wanted)
        return true;
    if (is_moving(pipeline) || pipeline->is_record_dirty || count_dirty(pipeline) > 0)
        return since_us >= SAVE_INTERVAL_US;
    return pipeline->committed_lsn > pipeline->saved_lsn && since_us >= SAVE_IDLE_INTERVAL_US;
}

bool progress_is_settled(const struct pipeline *pipeline)
{
    return pipeline->save_inflight == NULL && !pipeline->is_save_wanted &&
           pipeline->saved_lsn == pipeline->committed_lsn && !pipeline->is_merging &&
           !pipeline->sink->operations->has_inflight(pipeline->sink);
}

// --- merges ------------------------------------------------------------------------------------------------------

static bool is_first_of_epoch(const struct pipeline *pipeline)
{
    return pipeline->record.state_epoch != pipeline->record.epoch;
}

static bool table_joins(const struct pipeline *pipeline, const struct pipeline_table *table)
{
    if (table->sink_table == NULL)
        return false;
    if (table->record.state == CATALOG_TABLE_COPIED)
        return table->record.copy_lsn <= pipeline->committed_lsn;
    return table->record.state == CATALOG_TABLE_LIVE &&
           pipeline->sink->operations->committed_row_lsn(table->sink_table) >= pipeline->merged_lsn;
}

static bool is_table_missing(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        if (table->record.state == CATALOG_TABLE_NEW || table->record.state == CATALOG_TABLE_COPYING)
            return true;
    }
    return false;
}

static bool is_merge_due(const struct pipeline *pipeline)
{
    uint64_t now_us = loop_now_us(pipeline->loop);
    if (!pipeline->sink->operations->has_merge || pipeline->is_merging || pipeline->is_merge_resolving ||
        pipeline->state != PIPELINE_RUNNING || now_us < pipeline->merge_retry_us)
        return false;
    if (is_first_of_epoch(pipeline))
        return !is_table_missing(pipeline);
    return pipeline->committed_lsn > pipeline->merged_lsn &&
           (now_us - pipeline->merge_began_us >= (uint64_t)pipeline->options.merge_interval_ms * 1000 ||
            !pipeline->was_merge_told);
}

static void merge_add(struct pipeline *pipeline, struct pipeline_table *table)
{
    bool is_first = table->record.state == CATALOG_TABLE_COPIED;
    lsn_t window_lsn = is_first ? table->record.copy_lsn : pipeline->merged_lsn;
    pipeline->merge_items[pipeline->merge_table_count] = table;
    pipeline->merge_tables[pipeline->merge_table_count++] =
        (struct sink_merge_table){.table = table->sink_table,
                                  .is_first = is_first,
                                  .copy_lsn = table->record.copy_lsn,
                                  .copied_rows = table->record.copied_rows,
                                  .may_have_unchanged = table->unchanged_lsn >= window_lsn,
                                  .may_have_moved = table->moved_lsn >= window_lsn};
    table->record.is_in_merge = is_first;
    table->is_record_dirty |= is_first;
}

// Tables with new rows take part; with none, no statement is sent and no warehouse wakes.
static void merge_begin(struct pipeline *pipeline)
{
    pipeline->merge_tables =
        reallocarray(pipeline->merge_tables, (size_t)pipeline->table_count + 1, sizeof *pipeline->merge_tables);
    pipeline->merge_items =
        reallocarray(pipeline->merge_items, (size_t)pipeline->table_count + 1, sizeof(struct pipeline_table *));
    CHECK(pipeline->merge_tables != NULL && pipeline->merge_items != NULL);
    pipeline->merge_table_count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (table_joins(pipeline, pipeline->tables[i]))
            merge_add(pipeline, pipeline->tables[i]);
    if (pipeline->merge_table_count == 0)
        return;
    // The intent is durable before the statement is sent: a crash in between is resolved by the destination's state.
    pipeline->merge_below_lsn = pipeline->committed_lsn;
    pipeline->record.merge_intent_lsn = pipeline->merge_below_lsn;
    pipeline->is_record_dirty = true;
    pipeline->is_merging = true;
    pipeline->merge_began_us = loop_now_us(pipeline->loop);
    save_send(pipeline);
    pipeline->is_merge_saving = true;
}

static void merge_run(struct pipeline *pipeline)
{
    struct err error = {0};
    uint32_t count = 0;
    // A table that was parked between the intent and now is left out.
    for (uint32_t i = 0; i < pipeline->merge_table_count; i++) {
        if (pipeline->merge_items[i]->sink_table == NULL)
            continue;
        pipeline->merge_items[count] = pipeline->merge_items[i];
        pipeline->merge_tables[count] = pipeline->merge_tables[i];
        pipeline->merge_tables[count++].table = pipeline->merge_items[i]->sink_table;
    }
    pipeline->merge_table_count = count;
    struct sink_merge merge = {.epoch = pipeline->record.epoch,
                               .state_epoch = pipeline->record.state_epoch,
                               .state_lsn = pipeline->record.state_lsn,
                               .from_lsn = pipeline->merged_lsn,
                               .below_lsn = pipeline->merge_below_lsn,
                               .commit_wall_us = pipeline->received_commit_time_us == 0
                                                     ? 0
                                                     : pipeline->received_commit_time_us + POSTGRES_EPOCH_US,
                               .tables = pipeline->merge_tables,
                               .table_count = count};
    (void)snprintf(merge.writer, sizeof merge.writer, "%s", pipeline->record.writer);
    if (!pipeline->sink->operations->merge(pipeline->sink, &merge, &error))
        progress_merged(pipeline, &error);
}

static void live_tell(struct pipeline *pipeline)
{
    if (pipeline->was_merge_told)
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->record.state != CATALOG_TABLE_LIVE &&
            pipeline->tables[i]->record.state != CATALOG_TABLE_PARKED)
            return;
    pipeline->was_merge_told = true;
    log_line(LOG_INFO, &pipeline->scope, "live", "every table is copied and merged");
    pipeline->events.on_live(pipeline->events.context);
}

static void merge_done(struct pipeline *pipeline, lsn_t below_lsn)
{
    pipeline->is_merging = false;
    pipeline->record.merge_intent_lsn = LSN_NONE;
    pipeline->record.state_epoch = pipeline->record.epoch;
    pipeline->record.state_lsn = pipeline->record.merged_lsn = pipeline->merged_lsn = below_lsn;
    pipeline->is_record_dirty = true;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->record.is_in_merge && table->record.state == CATALOG_TABLE_COPIED) {
            table->record.state = CATALOG_TABLE_LIVE;
            table->is_record_dirty = true;
        }
        table->record.is_in_merge = false;
        if (table->unchanged_lsn == UINT64_MAX && table->is_stream_open && below_lsn > table->observed_from_lsn)
            table->unchanged_lsn = table->moved_lsn = pipeline->received_lsn;  // what came since counts as perhaps such
    }
    err_clear(&pipeline->merge_error);
    pipeline->merge_count++;
    pipeline->merge_ended_us = loop_now_us(pipeline->loop);
    if (pipeline->merge_began_us != 0)
        pipeline->merge_took_us = pipeline->merge_ended_us - pipeline->merge_began_us;
    log_line(LOG_DEBUG, &pipeline->scope, "merged", "%u tables merged up to " LSN_FORMAT, pipeline->merge_table_count,
             LSN_ARGUMENTS(below_lsn));
    live_tell(pipeline);
    progress_save_soon(pipeline);
}

void progress_merged(struct pipeline *pipeline, const struct err *error)
{
    if (error == NULL) {
        merge_done(pipeline, pipeline->merge_below_lsn);
        return;
    }
    log_line(LOG_ERROR, &pipeline->scope, "merge_failed", "%s", error->text);
    pipeline->merge_error = *error;
    pipeline->is_merging = false;
    pipeline->is_merge_resolving = true;
    pipeline->is_merge_asked = false;
    pipeline->merge_retry_us = loop_now_us(pipeline->loop) + MERGE_RETRY_US;
}

static void state_is_foreign(struct pipeline *pipeline, const struct sink_state *state)
{
    struct err error = {0};
    err_set(&error, ERR_FENCED, "fenced",
            "the destination's state for pipeline %s stands at epoch %u, " LSN_FORMAT
            " and ours at epoch %u, " LSN_FORMAT
            ": another etl-stream writes to these tables; stop it, or give this pipeline another name (--name)",
            pipeline->options.name, state->epoch, LSN_ARGUMENTS(state->merged_lsn), pipeline->record.state_epoch,
            LSN_ARGUMENTS(pipeline->record.state_lsn));
    pipeline_end(pipeline, &error);
}

// Our name at the destination is saved with the next merge's intent, before that merge is sent. If we die earlier, the next merge fails
// under the old name and is resolved like any other whose end is not known.
void progress_writer_set(struct pipeline *pipeline, const struct sink_state *state)
{
    (void)snprintf(pipeline->record.writer, sizeof pipeline->record.writer, "%s", state->writer);
    pipeline->is_record_dirty = true;
}

void progress_state_read(struct pipeline *pipeline, const struct sink_state *state, const struct err *error)
{
    pipeline->is_merge_asked = false;
    if (error != NULL) {
        pipeline->merge_retry_us = loop_now_us(pipeline->loop) + MERGE_RETRY_US;
        if (pipeline->state == PIPELINE_OPENING) {
            pipeline->is_merge_resolving = false;
            pipeline_fail(pipeline, error);
        }
        return;
    }
    pipeline->is_merge_resolving = false;
    progress_writer_set(pipeline, state);
    if (state->epoch == pipeline->record.epoch && state->merged_lsn == pipeline->record.merge_intent_lsn) {
        log_line(LOG_INFO, &pipeline->scope, "merge_resolved", "the merge up to " LSN_FORMAT " had been done",
                 LSN_ARGUMENTS(state->merged_lsn));
        merge_done(pipeline, state->merged_lsn);
    } else if (state->epoch == pipeline->record.state_epoch && state->merged_lsn == pipeline->record.state_lsn) {
        pipeline->record.merge_intent_lsn = LSN_NONE;
        pipeline->is_record_dirty = true;
        for (uint32_t i = 0; i < pipeline->table_count; i++)
            pipeline->tables[i]->record.is_in_merge = false;
    } else {
        state_is_foreign(pipeline, state);
    }
}

// --- the tick ----------------------------------------------------------------------------------------------------

static void status_save(struct pipeline *pipeline)
{
    struct catalog_save *save = catalog_save_new(0);
    (void)snprintf(save->pipeline.name, sizeof save->pipeline.name, "%s", pipeline->options.name);
    save->status_json = status_json(pipeline);
    if (!catalog_send(pipeline->options.catalog, save))
        catalog_save_free(save);
}

void progress_ended(struct pipeline *pipeline)
{
    if (pipeline->record.is_slot_made || !pipeline->is_first_start)
        status_save(pipeline);
}

static void status_send(struct pipeline *pipeline)
{
    uint64_t since_us = loop_now_us(pipeline->loop) - pipeline->status_us;
    bool is_busy = is_moving(pipeline) || pipeline->copy != NULL || pipeline->state != PIPELINE_RUNNING;
    if (pipeline->save_inflight != NULL || since_us < (is_busy ? STATUS_INTERVAL_US : STATUS_IDLE_INTERVAL_US))
        return;
    if (!pipeline->record.is_slot_made && pipeline->is_first_start)
        return;  // nothing is in the catalog yet
    pipeline->status_us = loop_now_us(pipeline->loop);
    status_save(pipeline);
}

void progress_tick(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    if (pipeline->state == PIPELINE_ENDED || pipeline->is_end_wanted)
        return;
    progress_update(pipeline);
    if (is_save_due(pipeline))
        save_send(pipeline);
    if (pipeline->save_inflight == NULL && is_merge_due(pipeline))
        merge_begin(pipeline);
    if (pipeline->is_merge_resolving && !pipeline->is_merge_asked && pipeline->state == PIPELINE_RUNNING &&
        loop_now_us(pipeline->loop) >= pipeline->merge_retry_us) {
        pipeline->is_merge_asked = true;
        pipeline->sink->operations->read_state(pipeline->sink);
    }
    status_send(pipeline);
    bool is_active = is_moving(pipeline) || pipeline->copy != NULL || pipeline->is_save_wanted ||
                     pipeline->is_merging || pipeline->is_merge_resolving || pipeline->state != PIPELINE_RUNNING ||
                     !pipeline->was_merge_told;
    uint64_t next_us = is_active ? TICK_ACTIVE_US : TICK_IDLE_US;
    if (pipeline->options.merge_interval_ms < next_us / 1000)
        next_us = TICK_ACTIVE_US;
    loop_timer_set(pipeline->loop, &pipeline->tick, next_us);
}
