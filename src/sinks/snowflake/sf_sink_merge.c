// The merge of the Snowflake destination: its statement, and what its failures mean.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trap.h"
#include "sinks/snowflake/sf_merge.h"
#include "sinks/snowflake/sf_sink_private.h"

#define CLEAN_TRIES_MAX 3  // then the next merge's turn
#define PROCEDURE_TIMEOUT_S 120
#define EXTENSION_TIMEOUT_S 120
#define TRAP_TEXT_BYTES_MAX 9000  // only for the test that shows merges beyond Snowflake's limit

static const struct sf_sql_options procedure_options = {
    .needs_warehouse = false, .timeout_s = PROCEDURE_TIMEOUT_S, .query_tag = "etl-stream merge"};

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
    case SF_MERGE_FAILURE_COERCED:
        if (sink->merge_suspect != NULL)
            sink->merge_suspect->wants_coerced = true;
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

static void merge_finish(struct sf_sink *sink)
{
    sf_merge_parts_deinit(&sink->merge_parts);
    sink->merge_table_count = 0;
    sink->pending_events |= SF_EVENT_MERGED;
    sf_sink_notify(sink);
}

static void merge_fail(struct sf_sink *sink, const struct err *error)
{
    sink->merge_error = *error;
    merge_judge(sink);
    merge_finish(sink);
}

// Procedures that are left behind are harmless (a call names what it was made for), and replaced by the next ones.
static void drop_next_procedure(struct sf_sink *sink);

static void on_dropped(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    (void)result;
    if (error != NULL)
        log_line(LOG_WARNING, NULL, "merge_procedure", "a procedure of the merge is left behind: %s", error->text);
    drop_next_procedure(sink);
}

static void drop_next_procedure(struct sf_sink *sink)
{
    struct err error = {0};
    if (sink->merge_part_next == sink->merge_parts.procedure_count) {
        merge_finish(sink);
        return;
    }
    buf_reset(&sink->text);
    sf_merge_build_drop(&sink->merge_window, sink->merge_part_next++, &sink->text);
    if (!sf_sql_run(sink->merge_sql, buf_text(&sink->text), &procedure_options, on_dropped, sink, &error))
        merge_finish(sink);
}

static void on_merge_done(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    char position[SEQ_POSITION_TEXT_SIZE + 1];
    if (error != NULL) {
        merge_fail(sink, error);
        return;
    }
    if (sf_merge_read_answer(sf_sql_value(result, 0, 0), position))
        memcpy(sink->clean_position, position, sizeof position);
    sink->merge_part_next = 0;
    if (sink->merge_window.is_trial)
        merge_finish(sink);
    else
        drop_next_procedure(sink);
}

static bool run_next_part(struct sf_sink *sink, struct err *out_error);

static void on_procedure_made(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    struct err problem = {0};
    (void)result;
    if (error != NULL) {
        problem = *error;
        err_prefix(
            &problem,
            "a merge of this size is made of procedures (GRANT CREATE PROCEDURE ON SCHEMA \"%s\".\"%s\" TO ROLE …)",
            sink->options.config->database, sink->options.config->landing_schema);
        problem.kind = ERR_TRANSIENT;  // no table is to blame
        merge_fail(sink, &problem);
    } else if (!run_next_part(sink, &problem)) {
        merge_fail(sink, &problem);
    }
}

// The procedures one after the other, then the block.
static bool run_next_part(struct sf_sink *sink, struct err *out_error)
{
    const struct sf_sql_options block_options = {
        .needs_warehouse = true, .timeout_s = sink->options.merge_timeout_s, .query_tag = "etl-stream merge"};
    if (sink->merge_part_next < sink->merge_parts.procedure_count)
        return sf_sql_run(sink->merge_sql, buf_text(&sink->merge_parts.procedures[sink->merge_part_next++]),
                          &procedure_options, on_procedure_made, sink, out_error);
    return sf_sql_run(sink->merge_sql, buf_text(&sink->merge_parts.block), &block_options, on_merge_done, sink,
                      out_error);
}

// What the channels committed last, of the window or beyond it; the texts have their NULs already.
static void guard_fill(const struct sf_sink_table *table, lsn_t window_from, struct sf_merge_table *out)
{
    struct seq committed[SPREAD_CHANNELS_MAX];
    uint32_t count = sf_stream_committed(table, window_from, committed);
    if (count == 0)
        return;
    seq_format(&committed[0], out->highest_committed);
    for (uint32_t i = 1; i < count; i++)
        seq_format(&committed[i], out->also_committed[out->also_committed_count++]);
}

// The columns that targets lack, one table after the other, then the merge. DDL would end the merge's transaction.
static bool extend_next(struct sf_sink *sink, struct err *out_error);

static void on_extended(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    struct sf_sink_table *table = sink->merge_tables[sink->merge_extended_count];
    struct err problem = {0};
    (void)result;
    if (error != NULL) {
        if (table != NULL)
            table->layout.has_coerced = false;
        sink->merge_suspect = table;
        sink->merge_error = *error;
        err_prefix(&sink->merge_error, "the target cannot get its column _ETL_COERCED");
        merge_finish(sink);
        return;
    }
    if (sink->is_extension_told) {
        if (table != NULL)
            table->wants_coerced = false;
        sink->merge_extended_count++;
    }
    sink->is_extension_told = !sink->is_extension_told;
    if (!extend_next(sink, &problem))
        merge_fail(sink, &problem);
}

// First the comment that tells of the column, then the column: a start makes up for one that is told of and missing.
static bool extend(struct sf_sink *sink, const struct sf_sink_table *table, struct err *out_error)
{
    const struct sf_sql_options options = {.needs_warehouse = false, .timeout_s = EXTENSION_TIMEOUT_S};
    struct buf text;
    buf_init(&text, SF_STATEMENT_BYTES_MAX);
    if (sink->is_extension_told)
        sf_ddl_add_coerced(&table->layout, &text);
    else
        sf_ddl_comment_target(&table->layout, sink->options.pipeline, &text);
    bool is_sent = sf_sql_run(sink->merge_sql, buf_text(&text), &options, on_extended, sink, out_error);
    buf_deinit(&text);
    return is_sent;
}

static bool extend_next(struct sf_sink *sink, struct err *out_error)
{
    while (sink->merge_extended_count < sink->merge_table_count) {
        const struct sf_sink_table *table = sink->merge_tables[sink->merge_extended_count];
        if (table != NULL && table->wants_coerced)
            return extend(sink, table, out_error);
        sink->is_extension_told = false;
        sink->merge_extended_count++;
    }
    return run_next_part(sink, out_error);
}

// A table whose values did not fit, now or (the merge noticed) in an earlier life, gets the column that tells of them.
static void want_coerced(struct sf_sink_table *table)
{
    if (!table->layout.has_coerced && table->encoder.coerced_values > 0)
        table->wants_coerced = true;
    if (table->wants_coerced)
        table->layout.has_coerced = true;  // when the merge is sent
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
    guard_fill(table, window_from, out);
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
        sink->merge_tables[i] = sf_sink_table_of(merge->tables[i].table);
        want_coerced(sink->merge_tables[i]);
        merge_table_fill(merge, &merge->tables[i], &tables[i]);
    }
    sink->merge_window =
        (struct sf_merge_window){.database = config->database,
                                 .landing_schema = config->landing_schema,
                                 .pipeline = sink->options.pipeline,
                                 .epoch = merge->epoch,
                                 .from = merge->from_lsn,
                                 .below = merge->below_lsn,
                                 .commit_wall_us = merge->commit_wall_us,
                                 .lock_timeout_s = sink->options.lock_timeout_s,
                                 .now_wall_us = loop_wall_us(sink->options.loop),
                                 .landing_retention_s = sink->options.landing_retention_s,
                                 .text_size_max = trap_is_set("merge_text_fits") ? TRAP_TEXT_BYTES_MAX : 0,
                                 .is_trial = merge->is_trial};
    seq_format_position(merge->state_epoch, merge->state_lsn, sink->merge_window.state_from);
    (void)snprintf(sink->merge_window.writer, sizeof sink->merge_window.writer, "%s", merge->writer);
    err_clear(&sink->merge_error);
    sink->merge_suspect = NULL;
    sink->merge_part_next = 0;
    sink->merge_extended_count = 0;
    sink->is_extension_told = false;
    bool is_built = sf_merge_build(&sink->merge_window, tables, merge->table_count, sink->merge_lines,
                                   &sink->merge_parts, out_error);
    free(tables);
    if (is_built && extend_next(sink, out_error))
        return true;
    sf_merge_parts_deinit(&sink->merge_parts);
    sink->merge_table_count = 0;
    return false;
}

// --- landing rows that are not kept any longer --------------------------------------------------------------------

bool sf_sink_has_clean(const struct sink *base)
{
    const struct sf_sink *sink = (const struct sf_sink *)base;
    return strcmp(sink->clean_position, sink->cleaned_position) > 0 && !sf_sql_is_busy(sink->clean_sql);
}

void sf_sink_cleaned_all(struct sink *base)
{
    struct sf_sink *sink = sf_sink_of(base);
    memcpy(sink->cleaned_position, sink->round_position, sizeof sink->cleaned_position);
    sink->round_position[0] = '\0';
}

static void on_clean_done(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    const char *rows = error == NULL ? sf_sql_value(result, 0, 0) : NULL;
    err_clear(&sink->clean_error);
    if (error != NULL)
        sink->clean_error = *error;
    sink->clean_rows = rows != NULL ? strtoull(rows, NULL, 10) : 0;
    sink->pending_events |= SF_EVENT_CLEANED;
    sf_sink_notify(sink);
}

static bool clean(struct sf_sink *sink, const char *landing_name, struct err *out_error)
{
    const struct sf_sql_options options = {.needs_warehouse = true,
                                           .timeout_s = sink->options.merge_timeout_s,
                                           .tries_max = CLEAN_TRIES_MAX,
                                           .query_tag = "etl-stream clean-up"};
    buf_reset(&sink->text);
    if (sink->round_position[0] == '\0')
        memcpy(sink->round_position, sink->clean_position, sizeof sink->round_position);
    const struct sf_table_layout layout = {.database = sink->options.config->database,
                                           .landing_schema = sink->options.config->landing_schema,
                                           .landing_name = landing_name};
    sf_merge_build_clean(&layout, sink->round_position, &sink->text);
    return sf_sql_run(sink->clean_sql, buf_text(&sink->text), &options, on_clean_done, sink, out_error);
}

bool sf_sink_clean(struct sink_table *sink_table, struct err *out_error)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    CHECK(!sf_sql_is_busy(table->sink->clean_sql));
    table->sink->cleaning = table;
    return clean(table->sink, table->layout.landing_name, out_error);
}

// Only a table that is there and carries our marker for just this one of the source.
static bool is_left_ours(const struct sf_sink *sink, const struct sf_sql_result *result)
{
    size_t row = 0, size = strlen(sink->left_marker);
    int column = sf_sql_column(result, "comment");
    const char *comment = column >= 0 && sf_sink_result_has_name(result, sink->left_landing, &row)
                              ? sf_sql_value(result, row, (size_t)column)
                              : NULL;
    return comment != NULL && strncmp(comment, sink->left_marker, size) == 0 &&
           (comment[size] == '\0' || comment[size] == ' ');
}

static void on_left_shown(void *context, const struct sf_sql_result *result, const struct err *error)
{
    static const struct sf_sql_result nothing = {.row_count = 0};
    struct sf_sink *sink = context;
    struct err problem = {0};
    if (error != NULL)
        on_clean_done(sink, NULL, error);
    else if (!is_left_ours(sink, result))
        on_clean_done(sink, &nothing, NULL);
    else if (!clean(sink, sink->left_landing, &problem))
        on_clean_done(sink, NULL, &problem);
}

void sf_sink_left_deinit(struct sf_sink *sink)
{
    free(sink->left_landing);
    free(sink->left_marker);
    sink->left_landing = sink->left_marker = NULL;
}

bool sf_sink_clean_left(struct sink *base, const struct table *table, struct err *out_error)
{
    static const struct sf_sql_options options = {
        .needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S, .tries_max = CLEAN_TRIES_MAX};
    struct sf_sink *sink = sf_sink_of(base);
    const struct sf_config *config = sink->options.config;
    struct sf_table_names names;
    struct buf marker;
    CHECK(!sf_sql_is_busy(sink->clean_sql));
    sf_sink_left_deinit(sink);
    sf_naming_tables(&sink->options.naming, table, &names);
    buf_init(&marker, SF_MARKER_SIZE_MAX);
    sf_marker_append(&marker, sink->options.pipeline, table, "landing");
    sink->left_landing = strdup(names.landing);
    sink->left_marker = strdup(buf_text(&marker));
    CHECK(!marker.failed && sink->left_landing != NULL && sink->left_marker != NULL);
    buf_deinit(&marker);
    sf_table_names_deinit(&names);
    sink->cleaning = NULL;
    buf_reset(&sink->text);
    sf_ddl_show_table(config->database, config->landing_schema, sink->left_landing, &sink->text);
    return sf_sql_run(sink->clean_sql, buf_text(&sink->text), &options, on_left_shown, sink, out_error);
}
