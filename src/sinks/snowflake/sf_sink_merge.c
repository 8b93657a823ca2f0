// The merge of the Snowflake destination: its statement, and what its failures mean.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_merge.h"
#include "sinks/snowflake/sf_sink_private.h"

// What a failure means, and whose it is. One that names its table (an exception of ours) is that table's for certain; where a
// statement failed, the line tells. A value that cannot be resolved makes its table be copied anew.
static void merge_judge(struct sf_sink *sink)
{
    struct err *error = &sink->merge_error;
    uint32_t index = UINT32_MAX;
    enum sf_merge_failure failure = sf_merge_failure_of(error->text, &index);
    if (failure == SF_MERGE_FAILURE_OTHER)
        index = sf_merge_suspect_of(error->text, sink->merge_lines, sink->merge_table_count);
    else if (failure != SF_MERGE_FAILURE_FENCED && sink->merge_table_count == 1)
        index = 0;
    sink->merge_suspect = index < sink->merge_table_count ? sink->merge_tables[index] : NULL;
    switch (failure) {
    case SF_MERGE_FAILURE_OTHER:
    case SF_MERGE_FAILURE_FENCED: break;
    case SF_MERGE_FAILURE_HINT:
        sink->is_merge_cautious = true;
        error->kind = ERR_TRANSIENT;
        (void)snprintf(error->code, sizeof error->code, "%s", SINK_CODE_HINT);
        break;
    case SF_MERGE_FAILURE_BEHIND:
        error->kind = ERR_TRANSIENT;
        (void)snprintf(error->code, sizeof error->code, "%s", SINK_CODE_ROWS_MISSING);
        break;
    case SF_MERGE_FAILURE_UNRESOLVED:
        if (sink->merge_suspect == NULL)
            break;  // of which table is still to be found
        error->kind = ERR_LOST;
        struct err lost = *error;
        err_prefix(&lost, "a value that the source did not send is not known at the destination either");
        sf_sink_table_fail(sink->merge_suspect, &lost);
        break;
    }
}

static void on_merge_done(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    (void)result;
    err_clear(&sink->merge_error);
    sink->merge_suspect = NULL;
    if (error != NULL) {
        sink->merge_error = *error;
        merge_judge(sink);
    }
    sink->merge_table_count = 0;
    sink->pending_events |= SF_EVENT_MERGED;
    sf_sink_notify(sink);
}

static void merge_table_fill(const struct sink_merge *merge, const struct sink_merge_table *from,
                             struct sf_merge_table *out)
{
    const struct sf_sink_table *table = sf_sink_table_of(from->table);
    lsn_t window_from = from->is_first ? from->copy_lsn : merge->from_lsn;
    *out = (struct sf_merge_table){.layout = &table->layout,
                                   .is_first = from->is_first,
                                   .copy_lsn = from->copy_lsn,
                                   .copied_rows = from->copied_rows,
                                   .may_have_unchanged = from->may_have_unchanged || table->sink->is_merge_cautious,
                                   .may_have_moved = from->may_have_moved || table->sink->is_merge_cautious};
    struct seq committed;
    if (sf_stream_newest_committed(table, &committed) && committed.commit_lsn >= window_from)
        seq_format(&committed, out->highest_committed);  // the NUL is there already
}

bool sf_sink_merge(struct sink *base, const struct sink_merge *merge, struct err *out_error)
{
    struct sf_sink *sink = sf_sink_of(base);
    const struct sf_config *config = sink->options.config;
    if (sf_sql_is_busy(sink->merge_sql))
        return err_set(out_error, ERR_TRANSIENT, "merge_runs", "an earlier merge has not ended yet");
    struct sf_merge_table *tables = calloc((size_t)merge->table_count + 1, sizeof *tables);
    sink->merge_tables =
        reallocarray(sink->merge_tables, (size_t)merge->table_count + 1, sizeof(struct sf_sink_table *));
    sink->merge_lines = reallocarray(sink->merge_lines, (size_t)merge->table_count + 1, sizeof *sink->merge_lines);
    CHECK(tables != NULL && sink->merge_tables != NULL && sink->merge_lines != NULL);
    sink->merge_table_count = merge->table_count;
    for (uint32_t i = 0; i < merge->table_count; i++) {
        merge_table_fill(merge, &merge->tables[i], &tables[i]);
        sink->merge_tables[i] = sf_sink_table_of(merge->tables[i].table);
    }
    struct sf_merge_window window = {.database = config->database,
                                     .landing_schema = config->landing_schema,
                                     .pipeline = sink->options.pipeline,
                                     .epoch = merge->epoch,
                                     .from = merge->from_lsn,
                                     .below = merge->below_lsn,
                                     .commit_wall_us = merge->commit_wall_us,
                                     .lock_timeout_s = sink->options.lock_timeout_s,
                                     .is_trial = merge->is_trial};
    seq_format_position(merge->state_epoch, merge->state_lsn, window.state_from);
    (void)snprintf(window.writer, sizeof window.writer, "%s", merge->writer);
    buf_reset(&sink->text);
    bool is_built = sf_merge_build(&window, tables, merge->table_count, sink->merge_lines, &sink->text, out_error);
    free(tables);
    const struct sf_sql_options options = {
        .needs_warehouse = true, .timeout_s = sink->options.merge_timeout_s, .query_tag = "etl-stream merge"};
    return is_built && sf_sql_run(sink->merge_sql, buf_text(&sink->text), &options, on_merge_done, sink, out_error);
}
