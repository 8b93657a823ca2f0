// Merges: when one is due, which tables take part, and what became of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "pipeline/pipeline_private.h"

#define MERGE_RETRY_US 2000000
#define POSTGRES_EPOCH_US 946684800000000  // 2000-01-01 in microseconds since 1970-01-01

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

static bool is_due(const struct pipeline *pipeline)
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

static void add_table(struct pipeline *pipeline, struct pipeline_table *table)
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
static void begin(struct pipeline *pipeline)
{
    pipeline->merge_tables =
        reallocarray(pipeline->merge_tables, (size_t)pipeline->table_count + 1, sizeof *pipeline->merge_tables);
    pipeline->merge_items =
        reallocarray(pipeline->merge_items, (size_t)pipeline->table_count + 1, sizeof(struct pipeline_table *));
    CHECK(pipeline->merge_tables != NULL && pipeline->merge_items != NULL);
    pipeline->merge_table_count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (table_joins(pipeline, pipeline->tables[i]))
            add_table(pipeline, pipeline->tables[i]);
    if (pipeline->merge_table_count == 0)
        return;
    // The intent is durable before the statement is sent: a crash in between is resolved by the destination's state.
    pipeline->merge_below_lsn = pipeline->committed_lsn;
    pipeline->record.merge_intent_lsn = pipeline->merge_below_lsn;
    pipeline->is_record_dirty = true;
    pipeline->is_merging = true;
    pipeline->merge_began_us = loop_now_us(pipeline->loop);
    progress_save_now(pipeline);
    pipeline->is_merge_saving = true;
}

static void run(struct pipeline *pipeline)
{
    struct err error = {0};
    uint32_t count = 0;
    // A table that was parked, or began anew, between the intent and now is left out.
    for (uint32_t i = 0; i < pipeline->merge_table_count; i++) {
        const struct pipeline_table *table = pipeline->merge_items[i];
        if (table->sink_table == NULL ||
            (table->record.state != CATALOG_TABLE_COPIED && table->record.state != CATALOG_TABLE_LIVE))
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
        merge_ended(pipeline, &error);
}

void merge_intent_saved(struct pipeline *pipeline)
{
    if (!pipeline->is_merge_saving)
        return;
    pipeline->is_merge_saving = false;
    run(pipeline);
}

void merge_intent_failed(struct pipeline *pipeline)
{
    if (!pipeline->is_merge_saving)
        return;
    pipeline->is_merge_saving = pipeline->is_merging = false;  // the statement was not sent
    pipeline->record.merge_intent_lsn = LSN_NONE;
}

static void live_tell(struct pipeline *pipeline)
{
    if (pipeline->was_merge_told)
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->record.state != CATALOG_TABLE_LIVE &&
            pipeline->tables[i]->record.state != CATALOG_TABLE_PARKED &&
            pipeline->tables[i]->record.state != CATALOG_TABLE_UNPUBLISHED)
            return;
    pipeline->was_merge_told = true;
    log_line(LOG_INFO, &pipeline->scope, "live", "every table is copied and merged");
    pipeline->events.on_live(pipeline->events.context);
}

static void done(struct pipeline *pipeline, lsn_t below_lsn)
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

void merge_ended(struct pipeline *pipeline, const struct err *error)
{
    if (error == NULL) {
        done(pipeline, pipeline->merge_below_lsn);
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
void merge_writer_set(struct pipeline *pipeline, const struct sink_state *state)
{
    (void)snprintf(pipeline->record.writer, sizeof pipeline->record.writer, "%s", state->writer);
    pipeline->is_record_dirty = true;
}

void merge_state_read(struct pipeline *pipeline, const struct sink_state *state, const struct err *error)
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
    merge_writer_set(pipeline, state);
    if (state->epoch == pipeline->record.epoch && state->merged_lsn == pipeline->record.merge_intent_lsn) {
        log_line(LOG_INFO, &pipeline->scope, "merge_resolved", "the merge up to " LSN_FORMAT " had been done",
                 LSN_ARGUMENTS(state->merged_lsn));
        done(pipeline, state->merged_lsn);
    } else if (state->epoch == pipeline->record.state_epoch && state->merged_lsn == pipeline->record.state_lsn) {
        pipeline->record.merge_intent_lsn = LSN_NONE;
        pipeline->is_record_dirty = true;
        for (uint32_t i = 0; i < pipeline->table_count; i++)
            pipeline->tables[i]->record.is_in_merge = false;
    } else {
        state_is_foreign(pipeline, state);
    }
}

void merge_tick(struct pipeline *pipeline)
{
    if (pipeline->save_inflight == NULL && is_due(pipeline))
        begin(pipeline);
    if (pipeline->is_merge_resolving && !pipeline->is_merge_asked && pipeline->state == PIPELINE_RUNNING &&
        loop_now_us(pipeline->loop) >= pipeline->merge_retry_us) {
        pipeline->is_merge_asked = true;
        pipeline->sink->operations->read_state(pipeline->sink);
    }
}

void merge_deinit(struct pipeline *pipeline)
{
    free(pipeline->merge_tables);
    free(pipeline->merge_items);
}
