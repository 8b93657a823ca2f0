// Merges: when one is due, which tables take part, and what became of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "pipeline/pipeline_private.h"

#define STATE_RETRY_US 2000000

// Of merges that failed: the first after two seconds, then less and less often, without end.
static const struct backoff_policy merge_backoff_policy = {
    .delay_first_ms = 2000, .delay_min_ms = 1000, .delay_max_ms = 300000, .tries_max = 0};

void merge_init(struct pipeline *pipeline)
{
    backoff_init(&pipeline->merge_backoff, &merge_backoff_policy, (uint64_t)loop_wall_us(pipeline->loop) | 1);
    pipeline->merge_suspect = UINT32_MAX;
}

bool merge_may_wake(const struct pipeline *pipeline)
{
    return day_windows_is_open(&pipeline->options.merge_windows, loop_wall_us(pipeline->loop));
}

static bool is_first_of_epoch(const struct pipeline *pipeline)
{
    return pipeline->record.state_epoch != pipeline->record.epoch;
}

static bool table_joins(const struct pipeline *pipeline, const struct pipeline_table *table)
{
    if (table->sink_table == NULL)
        return false;
    if (table->record.state == CATALOG_TABLE_COPIED)
        return table->record.copy_lsn <= hold_bound(pipeline);
    return table->record.state == CATALOG_TABLE_LIVE &&
           pipeline->sink->operations->committed_row_lsn(table->sink_table) >= pipeline->merged_lsn;
}

// A copy that was committed when all that the source has was merged already comes in at that position: there may not be another for
// as long as nothing is written at the source.
static bool is_copy_left(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->record.state == CATALOG_TABLE_COPIED && table_joins(pipeline, pipeline->tables[i]))
            return pipeline->committed_lsn == pipeline->merged_lsn;
    return false;
}

bool merge_has_rows(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (table_joins(pipeline, pipeline->tables[i]))
            return true;
    return false;
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

static bool is_publishing(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->is_publishing && pipeline->tables[i]->sink_table != NULL)
            return true;
    return false;
}

static bool is_due(const struct pipeline *pipeline)
{
    uint64_t now_us = loop_now_us(pipeline->loop);
    if (is_publishing(pipeline) || evolve_is_switching(pipeline))
        return false;
    if (pipeline->is_merging || pipeline->is_merge_resolving || pipeline->is_search_wanted || pipeline->is_trying ||
        pipeline->search.phase != MERGE_SEARCH_OFF || pipeline->state != PIPELINE_RUNNING ||
        now_us < pipeline->merge_retry_us ||
        !(merge_may_wake(pipeline) || (hold_is_on(pipeline) && pipeline->hold.may_wake)))
        return false;
    if (hold_is_on(pipeline))  // exactly one merge, at once, when everything below its position is committed
        return !is_first_of_epoch(pipeline) && !hold_is_settled(pipeline) &&
               hold_bound(pipeline) > pipeline->merged_lsn;
    if (is_first_of_epoch(pipeline))
        return !is_table_missing(pipeline);
    return (pipeline->committed_lsn > pipeline->merged_lsn || is_copy_left(pipeline)) &&
           (now_us - pipeline->merge_began_us >= (uint64_t)pipeline->options.merge_interval_ms * 1000 ||
            !pipeline->was_merge_told || pipeline->is_merge_now);
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

// Which tables had their first merge in it: of a merge that was not done, or never sent.
static void forget_parts(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        pipeline->tables[i]->is_record_dirty |= pipeline->tables[i]->record.is_in_merge;
        pipeline->tables[i]->record.is_in_merge = false;
    }
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
    pipeline->merge_below_lsn = hold_bound(pipeline);
    forget_parts(pipeline);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        bool is_window_empty =
            table->record.state == CATALOG_TABLE_LIVE && pipeline->merge_below_lsn == pipeline->merged_lsn;
        if (table_joins(pipeline, table) && !is_window_empty)
            add_table(pipeline, table);
    }
    if (pipeline->merge_table_count == 0) {
        err_clear(&pipeline->merge_error);  // what it was of has left
        return;
    }
    // The intent is durable before the statement is sent: a crash in between is resolved by the destination's state.
    pipeline->record.merge_intent_lsn = pipeline->merge_below_lsn;
    pipeline->is_record_dirty = true;
    pipeline->is_merging = true;
    pipeline->merge_began_us = loop_now_us(pipeline->loop);
    progress_save_now(pipeline);
    pipeline->is_merge_saving = true;
}

static struct sink_merge merge_of(const struct pipeline *pipeline, const struct sink_merge_table *tables,
                                  uint32_t count)
{
    int64_t commit_wall_us = pipeline->merged_commit_us;
    (void)lag_newest_below(&pipeline->unmerged, pipeline->merge_below_lsn, &commit_wall_us);
    struct sink_merge merge = {.epoch = pipeline->record.epoch,
                               .state_epoch = pipeline->record.state_epoch,
                               .state_lsn = pipeline->record.state_lsn,
                               .from_lsn = pipeline->merged_lsn,
                               .below_lsn = pipeline->merge_below_lsn,
                               .commit_wall_us = commit_wall_us,
                               .tables = tables,
                               .table_count = count};
    (void)snprintf(merge.writer, sizeof merge.writer, "%s", pipeline->record.writer);
    return merge;
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
    const struct sink_merge merge = merge_of(pipeline, pipeline->merge_tables, count);
    if (!pipeline->sink->operations->merge(pipeline->sink, &merge, &error))
        merge_ended(pipeline, NULL, &error);
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

// --- cleaning up -------------------------------------------------------------------------------------------------

// Rides along with a merge, whose warehouse is awake. Live tables, for what was copied and not merged yet stays, and tables that
// have left: were they followed again they would be copied anew. A parked one keeps its rows, which tell what went wrong, until it
// is live again, and so does one that left before they were merged.
static void clean_next(struct pipeline *pipeline)
{
    struct err error = {0};
    pipeline->is_cleaning = false;
    for (; pipeline->clean_next < pipeline->table_count; pipeline->clean_next++) {
        struct pipeline_table *table = pipeline->tables[pipeline->clean_next];
        if (pipeline->state != PIPELINE_RUNNING || !merge_may_wake(pipeline))
            return;  // the next merge begins where this one stopped
        bool has_left = table->sink_table == NULL && table->record.state == CATALOG_TABLE_UNPUBLISHED &&
                        strcmp(table->record.reason_code, LEFT_UNMERGED) != 0;
        if (!has_left && (table->sink_table == NULL || table->record.state != CATALOG_TABLE_LIVE))
            continue;
        pipeline->is_cleaning = has_left ? pipeline->sink->operations->clean_left(pipeline->sink, table->table, &error)
                                         : pipeline->sink->operations->clean(table->sink_table, &error);
        if (!pipeline->is_cleaning)
            log_line(LOG_WARNING, &pipeline->scope, "clean_up", "%s", error.text);
        return;
    }
    pipeline->clean_next = 0;
    pipeline->sink->operations->cleaned_all(pipeline->sink);
}

void merge_cleaned(struct pipeline *pipeline, struct pipeline_table *table, uint64_t rows, bool has_more,
                   const struct err *error)
{
    pipeline->rows_cleaned += rows;
    pipeline->is_cleaning = false;
    if (error != NULL) {
        log_line(LOG_WARNING, &pipeline->scope, "clean_up",
                 "landing rows could not be deleted, the next merge tries again: %s", error->text);
        return;
    }
    if (table != NULL && rows > 0) {
        struct log_scope scope = {pipeline->options.name, table->table->table_name};
        table->rows_cleaned += rows;
        log_line(LOG_DEBUG, &scope, "cleaned", "%" PRIu64 " merged landing rows of %s.%s deleted", rows,
                 table->table->schema_name, table->table->table_name);
    }
    pipeline->clean_next += has_more ? 0 : 1;
    clean_next(pipeline);
}

void merge_tell_live(struct pipeline *pipeline)
{
    if (pipeline->was_merge_told)
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->record.state != CATALOG_TABLE_LIVE &&
            pipeline->tables[i]->record.state != CATALOG_TABLE_PARKED &&
            pipeline->tables[i]->record.state != CATALOG_TABLE_UNPUBLISHED)
            return;
    pipeline->was_merge_told = true;
    log_line(LOG_INFO, &pipeline->scope, "live", "every table is copied%s",
             pipeline->sink->operations->has_merge ? " and merged" : "");
    pipeline->events.on_live(pipeline->events.context);
}

// Readers see it at once, or when the destination has put it in its place: until then nothing else is merged, so that its rows and
// those of the others stay at one position. After a crash in between its first merge comes again.
static void first_merge_done(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    const struct sink_operations *operations = pipeline->sink->operations;
    if (table->sink_table != NULL && operations->is_hidden != NULL && operations->is_hidden(table->sink_table)) {
        table->is_publishing = true;
        operations->publish(table->sink_table, pipeline->record.epoch, table->record.copy_lsn,
                            table->record.copied_rows);
        return;
    }
    table->record.state = CATALOG_TABLE_LIVE;
    table->is_record_dirty = true;
}

static void done(struct pipeline *pipeline, lsn_t below_lsn)
{
    struct lag_run merged;
    pipeline->is_merging = false;
    pipeline->record.merge_intent_lsn = LSN_NONE;
    pipeline->record.state_epoch = pipeline->record.epoch;
    pipeline->record.state_lsn = pipeline->record.merged_lsn = pipeline->merged_lsn = below_lsn;
    pipeline->is_record_dirty = true;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->record.is_in_merge && table->record.state == CATALOG_TABLE_COPIED)
            first_merge_done(table);
        table->record.is_in_merge = false;
        if (table->unchanged_lsn == UINT64_MAX && table->is_stream_open && below_lsn > table->observed_from_lsn)
            table->unchanged_lsn = table->moved_lsn = pipeline->received_lsn;  // what came since counts as perhaps such
    }
    (void)lag_newest_below(&pipeline->unmerged, below_lsn, &pipeline->merged_commit_us);
    while (lag_take(&pipeline->unmerged, below_lsn, &merged)) {
    }
    err_clear(&pipeline->merge_error);
    backoff_reset(&pipeline->merge_backoff);
    pipeline->merge_failures = 0;
    pipeline->merge_accused = NULL;
    pipeline->is_merge_now = false;
    pipeline->merge_count++;
    pipeline->merge_ended_us = loop_now_us(pipeline->loop);
    if (pipeline->merge_began_us != 0)
        pipeline->merge_took_us = pipeline->merge_ended_us - pipeline->merge_began_us;
    meter_merged(pipeline, true);
    log_line(LOG_DEBUG, &pipeline->scope, "merged", "%u tables merged up to " LSN_FORMAT, pipeline->merge_table_count,
             LSN_ARGUMENTS(below_lsn));
    merge_tell_live(pipeline);
    progress_save_soon(pipeline);
    if (!pipeline->is_cleaning && pipeline->sink->operations->has_clean(pipeline->sink))
        clean_next(pipeline);
}

// --- failures ----------------------------------------------------------------------------------------------------

static void retry_later(struct pipeline *pipeline)
{
    uint32_t delay_ms = 0;
    backoff_next(&pipeline->merge_backoff, &delay_ms);
    pipeline->merge_retry_us = loop_now_us(pipeline->loop) + (uint64_t)delay_ms * 1000;
    pipeline->is_merge_now = true;  // whatever the interval
}

static void failed(struct pipeline *pipeline, const struct pipeline_table *suspect, const struct err *error)
{
    log_line(LOG_ERROR, &pipeline->scope, "merge_failed", "%s", error->text);
    pipeline->merge_error = *error;
    pipeline->is_merging = false;
    meter_merged(pipeline, false);
    // Whether it was done all the same is asked: an answer may be lost.
    pipeline->is_merge_resolving = true;
    retry_later(pipeline);
    if (error->kind == ERR_LOST || error->kind == ERR_FENCED || strcmp(error->code, SINK_CODE_HINT) == 0)
        return;
    pipeline->merge_failures++;
    pipeline->merge_suspect = UINT32_MAX;
    for (uint32_t i = 0; i < pipeline->merge_table_count; i++)
        if (pipeline->merge_items[i] == suspect)
            pipeline->merge_suspect = i;
    pipeline->is_search_wanted =
        error->kind != ERR_TRANSIENT || pipeline->merge_failures > pipeline->options.table_retry_max;
}

// One table's trouble stays its own: it is parked, or copied anew where that mends it, and the others merge without it.
static void blame(struct pipeline *pipeline, struct pipeline_table *table, const struct err *error)
{
    struct err reason = *error;
    if (table->sink_table == NULL)
        return;
    if (strcmp(error->code, SINK_CODE_ROWS_MISSING) == 0) {
        pipeline_resync_table(table, error);
        return;
    }
    err_set(&reason, error->kind, error->code,
            "its merge fails: %s; mend the cause, then copy the table anew: etl-stream pipeline resync %s %s.%s",
            error->text, pipeline->options.name, table->table->schema_name, table->table->table_name);
    pipeline_park(table, &reason);
}

// What may pass by itself has to be found twice in a row: the first time may have been anybody's.
static void found(struct pipeline *pipeline, struct pipeline_table *table)
{
    if (pipeline->merge_error.kind == ERR_TRANSIENT && pipeline->merge_accused != table) {
        pipeline->merge_accused = table;
        pipeline->merge_failures = pipeline->options.table_retry_max;  // the next failure begins another search
        retry_later(pipeline);
        return;
    }
    pipeline->merge_accused = NULL;
    pipeline->merge_failures = 0;
    pipeline->merge_retry_us = 0;
    blame(pipeline, table, &pipeline->merge_error);
}

static void search_end(struct pipeline *pipeline)
{
    merge_search_end(&pipeline->search);
    pipeline->is_search_wanted = false;
}

static void search_try(struct pipeline *pipeline)
{
    struct err error = {0};
    uint32_t count = 0;
    if (!merge_may_wake(pipeline)) {
        merge_search_end(&pipeline->search);  // it begins anew when a warehouse may wake again
        return;
    }
    struct sink_merge_table *tables = calloc((size_t)pipeline->search.tried + 1, sizeof *tables);
    CHECK(tables != NULL);
    for (uint32_t i = 0; i < pipeline->search.tried; i++) {
        uint32_t item = pipeline->search.order[i];
        enum catalog_table_state state = pipeline->merge_items[item]->record.state;
        bool is_first = pipeline->merge_tables[item].is_first;
        if (pipeline->merge_items[item]->sink_table == NULL ||
            state != (is_first ? CATALOG_TABLE_COPIED : CATALOG_TABLE_LIVE))
            continue;  // parked meanwhile, or to be copied anew
        tables[count] = pipeline->merge_tables[item];
        tables[count++].table = pipeline->merge_items[item]->sink_table;
    }
    struct sink_merge merge = merge_of(pipeline, tables, count);
    merge.is_trial = true;
    pipeline->is_trying = true;
    bool is_sent = pipeline->sink->operations->merge(pipeline->sink, &merge, &error);
    free(tables);
    if (!is_sent) {
        pipeline->is_trying = false;
        search_end(pipeline);
        retry_later(pipeline);
    }
}

static void search_begin(struct pipeline *pipeline)
{
    log_line(LOG_WARNING, &pipeline->scope, "merge_search", "looking for the table that makes the merge fail, among %u",
             pipeline->merge_table_count);
    merge_search_begin(&pipeline->search, pipeline->merge_table_count, pipeline->merge_suspect);
    search_try(pipeline);
}

static void tried(struct pipeline *pipeline, const struct err *error)
{
    pipeline->is_trying = false;
    if (pipeline->search.phase == MERGE_SEARCH_OFF)
        return;
    if (pipeline->state != PIPELINE_RUNNING ||
        (error != NULL && (error->kind == ERR_LOST || error->kind == ERR_FENCED))) {
        pipeline->is_merge_resolving |= error != NULL && error->kind == ERR_FENCED;
        search_end(pipeline);
        return;
    }
    if (error != NULL)
        pipeline->merge_error = *error;
    switch (merge_search_answer(&pipeline->search, error != NULL)) {
    case MERGE_SEARCH_TRY: search_try(pipeline); return;
    case MERGE_SEARCH_FOUND: found(pipeline, pipeline->merge_items[pipeline->search.order[0]]); break;
    case MERGE_SEARCH_COMMON:
        log_line(LOG_WARNING, &pipeline->scope, "merge_search",
                 "no table is to blame, a merge of none fails as well: %s", pipeline->merge_error.text);
        pipeline->merge_failures = 0;
        retry_later(pipeline);
        break;
    case MERGE_SEARCH_PASSED:
        log_line(LOG_INFO, &pipeline->scope, "merge_search", "no table makes the merge fail any more");
        pipeline->merge_failures = 0;
        pipeline->merge_retry_us = 0;
        break;
    }
    search_end(pipeline);
}

void merge_ended(struct pipeline *pipeline, struct pipeline_table *suspect, const struct err *error)
{
    if (pipeline->is_trying)
        tried(pipeline, error);
    else if (!pipeline->is_merging)
        return;  // of an epoch that is over
    else if (error == NULL)
        done(pipeline, pipeline->merge_below_lsn);
    else
        failed(pipeline, suspect, error);
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

void merge_state_ask(struct pipeline *pipeline)
{
    if (pipeline->is_state_asked)
        return;
    pipeline->is_state_asked = true;
    pipeline->sink->operations->read_state(pipeline->sink);
}

// Nothing is merged until it is read.
static void state_is_unread(struct pipeline *pipeline, const struct err *error)
{
    struct err *shown = &pipeline->merge_state_error;
    bool is_news = !err_is_set(shown) || strcmp(shown->code, error->code) != 0;
    *shown = *error;
    err_prefix(shown,
               "nothing is merged while the state table cannot be read, which tells how the merge up to " LSN_FORMAT
               " ended",
               LSN_ARGUMENTS(pipeline->record.merge_intent_lsn));
    if (is_news)
        log_line(LOG_ERROR, &pipeline->scope, "merge_unresolved", "%s", shown->text);
}

void merge_state_read(struct pipeline *pipeline, const struct sink_state *state, const struct err *error)
{
    if (!pipeline->is_merge_resolving)
        return;  // an epoch began meanwhile
    if (error != NULL) {
        // It waits for a merge that is under way, up to the statement's time-out.
        pipeline->merge_retry_us = loop_now_us(pipeline->loop) + STATE_RETRY_US;
        state_is_unread(pipeline, error);
        return;
    }
    // Of one that left the position as it was the state tells nothing. It held first merges only, and they may be done twice.
    bool is_told = is_first_of_epoch(pipeline) || pipeline->record.merge_intent_lsn != pipeline->record.state_lsn;
    pipeline->is_merge_resolving = false;
    err_clear(&pipeline->merge_state_error);
    merge_writer_set(pipeline, state);
    if (is_told && state->epoch == pipeline->record.epoch && state->merged_lsn == pipeline->record.merge_intent_lsn) {
        log_line(LOG_INFO, &pipeline->scope, "merge_resolved", "the merge up to " LSN_FORMAT " had been done",
                 LSN_ARGUMENTS(state->merged_lsn));
        done(pipeline, state->merged_lsn);
    } else if (state->epoch == pipeline->record.state_epoch && state->merged_lsn == pipeline->record.state_lsn) {
        pipeline->record.merge_intent_lsn = LSN_NONE;
        pipeline->is_record_dirty = true;
        forget_parts(pipeline);
    } else {
        state_is_foreign(pipeline, state);
    }
}

void merge_tick(struct pipeline *pipeline)
{
    bool is_idle = !pipeline->is_trying && pipeline->state == PIPELINE_RUNNING && merge_may_wake(pipeline);
    if (!pipeline->sink->operations->has_merge) {
        follow_tick(pipeline);
        return;
    }
    if (pipeline->save_inflight == NULL && is_due(pipeline))
        begin(pipeline);
    if (pipeline->is_search_wanted && pipeline->search.phase == MERGE_SEARCH_OFF && !pipeline->is_merge_resolving &&
        is_idle)
        search_begin(pipeline);
    hold_tick(pipeline);
    if (pipeline->is_merge_resolving && is_idle && loop_now_us(pipeline->loop) >= pipeline->merge_retry_us)
        merge_state_ask(pipeline);
}

void merge_deinit(struct pipeline *pipeline)
{
    merge_search_end(&pipeline->search);
    free(pipeline->merge_tables);
    free(pipeline->merge_items);
}
