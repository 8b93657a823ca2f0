#include "sinks/snowflake/sf_merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/check.h"
#include "base/duration.h"
#include "base/trap.h"
#include "embedded_sql.h"
#include "sinks/snowflake/sf_merge_private.h"
#include "sinks/snowflake/sf_names.h"

#define EXCEPTION_FENCED 20001
#define EXCEPTION_FIRST 20010  // of the tables' exceptions: no two of a block should share a number
#define EXCEPTION_LAST 20999
#define PROCEDURE_FRAME_SIZE 2048  // of a procedure without its tables, at most

// --- placeholders of the block -----------------------------------------------------------------------------------

static void append_quoted(const struct merge_text *text, const char *plain)
{
    sf_append_literal(text->out, plain);
}

static void write_lock_timeout(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_appendf(text->out, "%u", (unsigned)text->window->lock_timeout_s);
}

static void write_state(struct merge_text *text, const char *argument)
{
    (void)argument;
    const struct sf_merge_window *window = text->window;
    sf_ddl_append_state(window->database, window->landing_schema, window->pipeline, text->out);
}

static void write_pipeline(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->window->pipeline);
}

static void write_writer(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->window->writer);
}

static void write_state_from(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->window->state_from);
}

static void write_below(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->below);
}

static void append_wall_time(struct buf *out, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    CHECK(gmtime_r(&seconds, &parts) != NULL);
    buf_appendf(out, "'%04d-%02d-%02d %02d:%02d:%02d.%06d +00:00'::VARIANT::TIMESTAMP_TZ(6)", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, (int)(wall_us % 1000000));
}

// {commit_at}: the source's commit time at the bound, never a later one, or NULL; {commit_at:NOW}: or this very time.
// By way of VARIANT, which reads it in automatic format whatever the account's TIMESTAMP_INPUT_FORMAT is.
void sf_merge_write_commit_at(struct merge_text *text, const char *argument)
{
    if (text->window->commit_wall_us > 0)
        append_wall_time(text->out, text->window->commit_wall_us);
    else
        buf_append_text(text->out, *argument == '\0' ? "NULL" : "CURRENT_TIMESTAMP()::TIMESTAMP_TZ(6)");
}

// A message may not hold double quotes (sql-reference/snowflake-scripting/declare); line breaks are not worth having.
static void append_exception(struct merge_text *text, const char *word, bool is_of_table, const char *what)
{
    const struct sf_merge_window *window = text->window;
    struct buf message;
    char name[64];
    int number = EXCEPTION_FENCED;
    buf_init(&message, SIZE_MAX);
    if (is_of_table) {
        const struct table *source = text->table->layout->table;
        (void)snprintf(name, sizeof name, "etl_%s_%u", word, (unsigned)text->index);
        buf_appendf(&message, "%s: table %s.%s: %s", name, source->schema_name, source->table_name, what);
        number = text->exception_last < EXCEPTION_LAST ? ++text->exception_last : EXCEPTION_LAST;
    } else {
        (void)snprintf(name, sizeof name, "etl_%s", word);
        buf_appendf(&message, "%s: pipeline %s: %s %s", name, window->pipeline, what, window->state_from);
    }
    for (size_t i = 0; i < message.size; i++) {
        if (message.data[i] == '"')
            message.data[i] = '\'';
        else if (message.data[i] < ' ')
            message.data[i] = ' ';
    }
    buf_appendf(text->out, "  %s EXCEPTION (-%d, ", name, number);
    append_quoted(text, buf_text(&message));
    buf_append_text(text->out, ");\n");
    buf_deinit(&message);
}

static bool has_guard(const struct merge_text *text)
{
    struct seq seq;
    const char *highest = text->table->highest_committed;
    return seq_parse(highest, strlen(highest), &seq) && seq.ordinal > 0 && strcmp(highest, text->from) > 0;
}

static bool can_be_behind(const struct merge_text *text)
{
    return text->table->is_first || has_guard(text);
}

static bool can_be_unresolved(const struct merge_text *text)
{
    return merge_is_lacking(text->table) || !merge_is_keyed(text->table);
}

static bool has_hint(const struct merge_text *text)
{
    return merge_is_keyed(text->table) && !(text->table->may_have_moved && text->table->may_have_unchanged);
}

static void select_table(struct merge_text *text, uint32_t index)
{
    const struct sf_merge_table *table = &text->tables[index];
    const struct sf_merge_window *window = text->window;
    struct seq copied = {.commit_lsn = table->copy_lsn, .ordinal = 0, .epoch = window->epoch};
    text->table = table;
    text->index = index;
    text->is_check = false;
    seq_format_position(window->epoch, table->is_first ? table->copy_lsn : window->from, text->from);
    memset(text->copied, 0, sizeof text->copied);
    if (table->is_first)
        seq_format(&copied, text->copied);
}

static const char *unresolved_text(const struct sf_merge_table *table)
{
    if (merge_is_append_only(table))
        return "it has no key, and the landing table holds updates or deletes";
    if (merge_is_multiset(table))
        return "it has no key, and rows were removed that the target does not hold, or were not sent whole; it must be "
               "copied again";
    return "a value that the source did not send is neither in the landing table nor in the target; it must be copied "
           "again";
}

static void write_exceptions(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_exception(text, "fenced", false,
                     "another merge was faster, or another program merges it; the state table does not hold");
    for (uint32_t i = text->first; i < text->end; i++) {
        select_table(text, i);
        if (can_be_behind(text))
            append_exception(text, "behind", true, "rows that are committed are not in the landing table");
        if (can_be_unresolved(text))
            append_exception(text, "unresolved", true, unresolved_text(text->table));
        if (has_hint(text))
            append_exception(text, "hint", true, "the landing table holds kinds of rows that were ruled out");
        if (!text->table->layout->has_coerced)
            append_exception(text, "coerced", true,
                             "values do not fit their types, and the target has no _ETL_COERCED yet");
    }
}

static void write_variables(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint32_t i = text->first; i < text->end; i++)
        if (merge_marks(&text->tables[i])) {
            buf_append_text(text->out, "  etl_at TIMESTAMP_TZ(6);\n");
            return;
        }
}

// A first merge and a truncate leave no row of before: it is deleted, or marked as deleted.
static void append_emptying(struct merge_text *text)
{
    const struct sf_merge_table *table = text->table;
    if (merge_marks(table)) {
        sf_merge_append_expanded(text, table->layout->has_commit_at ? sql_sinks_snowflake_merge_marked_at
                                                                    : "  SELECT {commit_at:NOW} INTO :etl_at;\n");
        if (table->is_first)
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_marked_keys);
    }
    if (table->is_first)
        sf_merge_append_expanded(text, "  {emptying};\n");
    else
        sf_merge_append_expanded(text, "  IF (etl_from <> '') THEN\n    {emptying};\n  END IF;\n");
}

// The number of the line that comes next; the block begins behind a line break of its own ("$$\n").
static uint32_t next_line(struct merge_text *text)
{
    for (; text->lines_size < text->out->size; text->lines_size++)
        text->lines += text->out->data[text->lines_size] == '\n';
    return text->lines + 2;
}

static bool is_kept_forever(const struct merge_text *text)
{
    return text->window->landing_retention_s == DURATION_FOREVER;
}

// What was marked long enough ago may be deleted from the landing tables, and this merge's bound is marked in its place. So
// rows are kept for one to two times as long as they have to be.
static void write_retention(struct merge_text *text, const char *argument)
{
    int64_t now_us = text->window->now_wall_us;
    (void)argument;
    if (is_kept_forever(text))
        return;
    struct buf is_fresh;
    buf_init(&is_fresh, SIZE_MAX);
    buf_append_text(&is_fresh, "IFF(\"MARKED_AT\" > ");
    append_wall_time(&is_fresh, now_us - (int64_t)text->window->landing_retention_s * 1000000);
    buf_appendf(text->out, ",\n         \"CLEAN_POSITION\" = %s, \"CLEAN_POSITION\", \"MARK_POSITION\")",
                buf_text(&is_fresh));
    buf_appendf(text->out, ",\n         \"MARK_POSITION\" = %s, \"MARK_POSITION\", ", buf_text(&is_fresh));
    append_quoted(text, text->below);
    buf_appendf(text->out, "),\n         \"MARKED_AT\" = %s, \"MARKED_AT\", ", buf_text(&is_fresh));
    append_wall_time(text->out, now_us);
    buf_append_byte(text->out, ')');
    buf_deinit(&is_fresh);
}

static void write_end(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (text->window->is_trial)
        buf_append_text(text->out, "  ROLLBACK;\n  RETURN 'tried';\n");
    else
        sf_merge_append_expanded(text, is_kept_forever(text) ? "  COMMIT;\n  RETURN 'merged';\n"
                                                             : sql_sinks_snowflake_merge_end);
}

// What a procedure is called with, and was made for: another program of the same pipeline may have replaced it in between.
static void write_token(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_appendf(text->out, "'%s %s %s %s'", text->window->writer, text->window->state_from, text->below,
                text->window->is_trial ? "trial" : "merge");
}

static void append_procedure(const struct sf_merge_window *window, uint32_t number, struct buf *out)
{
    struct buf name;
    buf_init(&name, SIZE_MAX);
    buf_appendf(&name, "_ETL_MERGE_%u_", (unsigned)number);
    if (name.size + strlen(window->pipeline) <= SF_NAME_SIZE_MAX)
        buf_append_text(&name, window->pipeline);
    else
        sf_append_name_hash(&name, window->pipeline);
    sf_append_qualified(out, window->database, window->landing_schema, buf_text(&name));
    buf_deinit(&name);
}

static void write_calls(struct merge_text *text)
{
    for (uint32_t i = 0; i < text->procedure_count; i++) {
        buf_append_text(text->out, "  CALL ");
        append_procedure(text->window, i, text->out);
        buf_append_byte(text->out, '(');
        write_token(text, "");
        buf_append_text(text->out, ");\n");
    }
}

static void write_tables(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (text->procedure_count > 0)
        write_calls(text);
    for (uint32_t i = text->first; i < text->end; i++) {
        select_table(text, i);
        const struct sf_merge_table *table = text->table;
        if (text->out_lines != NULL)
            text->out_lines[i] = next_line(text);
        sf_merge_append_expanded(text, sql_sinks_snowflake_merge_guard);
        append_emptying(text);
        if (merge_is_multiset(table))
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_multiset_check);
        if (merge_is_lacking(table)) {
            text->is_check = true;
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_check);
            text->is_check = false;
        }
        if (merge_is_append_only(table))
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_append);
        else if (merge_is_multiset(table))
            sf_merge_append_expanded(text, table->is_first ? sql_sinks_snowflake_merge_multiset_first
                                                           : sql_sinks_snowflake_merge_multiset);
        else if (merge_marks(table))
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_keyed_marked);
        else if (table->is_first)
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_keyed_first);
        else
            sf_merge_append_expanded(text, sql_sinks_snowflake_merge_keyed);
        // Only for the test that shows that readers of such a build see mixtures of two positions.
        if (trap_is_set("merge_is_one_transaction"))
            buf_append_text(text->out, "  COMMIT;\n  BEGIN TRANSACTION;\n");
    }
}

// --- placeholders of a table -------------------------------------------------------------------------------------

static void write_landing(struct merge_text *text, const char *argument)
{
    (void)argument;
    const struct sf_table_layout *layout = text->table->layout;
    sf_append_qualified(text->out, layout->database, layout->landing_schema, layout->landing_name);
}

static void write_target(struct merge_text *text, const char *argument)
{
    (void)argument;
    const struct sf_table_layout *layout = text->table->layout;
    sf_append_qualified(text->out, layout->database, layout->schema, sf_layout_merge_name(layout));
}

static void write_emptying(struct merge_text *text, const char *argument)
{
    bool is_marking = merge_marks(text->table);
    buf_append_text(text->out, is_marking ? "UPDATE " : "DELETE FROM ");
    write_target(text, argument);
    if (is_marking)
        buf_append_text(text->out, " SET \"_ETL_DELETED_AT\" = :etl_at WHERE \"_ETL_DELETED_AT\" IS NULL");
}

static void write_from(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->from);
}

static void write_copied(struct merge_text *text, const char *argument)
{
    (void)argument;
    append_quoted(text, text->copied);
}

static void write_index(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_appendf(text->out, "%u", (unsigned)text->index);
}

// Rows that must not be in the window, by the hints or because the table has no key.
static void write_seen(struct merge_text *text, const char *argument)
{
    (void)argument;
    const struct sf_merge_table *table = text->table;
    if (!has_guard(text) || table->also_committed_count == 0) {
        buf_append_text(text->out, "MAX(\"_ETL_SEQ\")");
        return;
    }
    buf_append_text(text->out, "IFF(COUNT(DISTINCT IFF(\"_ETL_SEQ\" IN (");
    for (uint32_t i = 0; i < table->also_committed_count; i++) {
        buf_append_text(text->out, i == 0 ? "" : ", ");
        append_quoted(text, table->also_committed[i]);
    }
    buf_appendf(text->out, "), \"_ETL_SEQ\", NULL)) = %u, MAX(\"_ETL_SEQ\"), NULL)", table->also_committed_count);
}

static void write_odd(struct merge_text *text, const char *argument)
{
    (void)argument;
    const struct sf_merge_table *table = text->table;
    if (!has_hint(text) && merge_is_keyed(table)) {
        buf_append_text(text->out, "FALSE");
        return;
    }
    buf_append_text(text->out, "\"_ETL_SEQ\" < ");
    append_quoted(text, text->below);
    if (merge_is_append_only(table))
        buf_append_text(text->out, " AND \"_ETL_OP\" IN ('U', 'D')");
    else if (merge_is_multiset(table))
        buf_append_text(text->out, " AND (\"_ETL_OP\" = 'U' OR \"_ETL_UNCHANGED\" IS NOT NULL)");
    else if (table->may_have_moved)
        buf_append_text(text->out, " AND \"_ETL_UNCHANGED\" IS NOT NULL");
    else if (table->may_have_unchanged)
        buf_append_text(text->out, " AND \"_ETL_OLD_KEY\" IS NOT NULL");
    else
        buf_append_text(text->out, " AND (\"_ETL_UNCHANGED\" IS NOT NULL OR \"_ETL_OLD_KEY\" IS NOT NULL)");
}

static void append_check(const struct merge_text *text, const char *condition, const char *word)
{
    buf_appendf(text->out, "  IF (%s) THEN\n    RAISE etl_%s_%u;\n  END IF;\n", condition, word, (unsigned)text->index);
}

static void write_checks(struct merge_text *text, const char *argument)
{
    (void)argument;
    char condition[128];
    if (has_guard(text)) {
        (void)snprintf(condition, sizeof condition, "etl_seen IS NULL OR etl_seen < '%s'",
                       text->table->highest_committed);
        append_check(text, condition, "behind");
    }
    if (text->table->is_first) {
        (void)snprintf(condition, sizeof condition, "etl_count <> %llu", (unsigned long long)text->table->copied_rows);
        append_check(text, condition, "behind");
    }
    if (!merge_is_keyed(text->table))
        append_check(text, "etl_odd > 0", "unresolved");
    else if (has_hint(text))
        append_check(text, "etl_odd > 0", "hint");
    if (!text->table->layout->has_coerced)
        append_check(text, "etl_coerced > 0", "coerced");
}

// Stream rows of the window; at a first merge the copied rows as well, whatever the bound. Copied rows of earlier
// attempts have a lower LSN and lose.
static void write_window(struct merge_text *text, const char *argument)
{
    (void)argument;
    const char *operations = merge_is_append_only(text->table) ? "\"_ETL_OP\" = 'I'" : "\"_ETL_OP\" IN ('I', 'U', 'D')";
    buf_appendf(text->out, "\"_ETL_SEQ\" >= '%s' AND ", text->from);
    if (text->table->is_first)
        buf_appendf(text->out, "(\"_ETL_SEQ\" < '%s' AND %s OR \"_ETL_SEQ\" = '%s' AND \"_ETL_OP\" = 'C')", text->below,
                    operations, text->copied);
    else
        buf_appendf(text->out, "\"_ETL_SEQ\" < '%s' AND %s", text->below, operations);
    // What a truncate ended in the window leaves its marks too: the target must not depend on where windows are cut.
    if (!merge_marks(text->table))
        buf_append_text(text->out, " AND \"_ETL_SEQ\" > :etl_from");
}

// --- templates ---------------------------------------------------------------------------------------------------

static const struct merge_placeholder placeholders[] = {
    {"below", write_below},
    {"checks", write_checks},
    {"commit_at", sf_merge_write_commit_at},
    {"copied", write_copied},
    {"end", write_end},
    {"emptying", write_emptying},
    {"exceptions", write_exceptions},
    {"from", write_from},
    {"index", write_index},
    {"landing", write_landing},
    {"lock_timeout", write_lock_timeout},
    {"odd", write_odd},
    {"seen", write_seen},
    {"pipeline", write_pipeline},
    {"retention", write_retention},
    {"state", write_state},
    {"state_from", write_state_from},
    {"tables", write_tables},
    {"target", write_target},
    {"token", write_token},
    {"variables", write_variables},
    {"window", write_window},
    {"writer", write_writer},
};

static const struct merge_placeholder *find_placeholder(const struct merge_placeholder *from, size_t count,
                                                        const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(from[i].name, name) == 0)
            return &from[i];
    return NULL;
}

static void write_placeholder(struct merge_text *text, const char *inside, size_t size)
{
    char word[MERGE_PLACEHOLDER_SIZE_MAX];
    CHECK(size < sizeof word);
    (void)snprintf(word, sizeof word, "%.*s", (int)size, inside);
    char *argument = strchr(word, ':');
    if (argument != NULL)
        *argument++ = '\0';
    const struct merge_placeholder *found =
        find_placeholder(placeholders, sizeof placeholders / sizeof placeholders[0], word);
    if (found == NULL)
        found = find_placeholder(sf_merge_source_placeholders, sf_merge_source_placeholder_count, word);
    CHECK(found != NULL);
    found->write(text, argument != NULL ? argument : "");
}

// A line that consists of one placeholder ends with what that wrote: an empty one leaves no line.
static void append_line(struct merge_text *text, const char *line, size_t size)
{
    const char *end = line + size;
    size_t size_before = text->out->size;
    for (const char *c = line; c < end; c++) {
        if (*c != '{') {
            buf_append_byte(text->out, (uint8_t)*c);
            continue;
        }
        const char *close = memchr(c, '}', (size_t)(end - c));
        CHECK(close != NULL);
        write_placeholder(text, c + 1, (size_t)(close - c - 1));
        c = close;
    }
    bool is_open = text->out->size > size_before && text->out->data[text->out->size - 1] != '\n';
    if (is_open)
        buf_append_byte(text->out, '\n');
}

void sf_merge_append_expanded(struct merge_text *text, const char *template)
{
    while (*template != '\0') {
        size_t size = strcspn(template, "\n");
        if (strncmp(template, "--", 2) != 0)
            append_line(text, template, size);
        template += size + (template[size] == '\n' ? 1 : 0);
    }
}

// --- the block ---------------------------------------------------------------------------------------------------

static void check_tables(const struct sf_merge_window *window, const struct sf_merge_table *tables,
                         uint32_t table_count)
{
    CHECK(window->from <= window->below);
    for (uint32_t i = 0; i < table_count; i++) {
        CHECK(!tables[i].is_first || tables[i].copy_lsn <= window->below);
        CHECK(tables[i].layout->table->identity != IDENTITY_KEY || tables[i].layout->table->key_count > 0);
    }
}

static void append_body(struct buf *body, struct buf *out)
{
    if (memmem(body->data, body->size, "$$", 2) != NULL) {
        sf_append_literal(out, buf_text(body));
    } else {
        buf_append_text(out, "$$\n");
        buf_append(out, body->data, body->size);
        buf_append_text(out, "$$");
    }
}

static size_t size_max_of(const struct sf_merge_window *window)
{
    return window->text_size_max > 0 ? window->text_size_max : SF_MERGE_TEXT_SIZE_MAX;
}

// Appends the statement `begin`, whose text is the template with the tables from text->first to text->end.
// False, with out as it was, when it is too long.
static bool append_statement(struct merge_text *text, const char *begin, const char *template, struct buf *out)
{
    struct buf body;
    size_t size_before = out->size, size_max = size_max_of(text->window);
    buf_init(&body, 2 * size_max + (1U << 16));  // buf_text needs room for its NUL
    text->out = &body;
    text->exception_last = EXCEPTION_FIRST - 1;
    text->lines = 0;
    text->lines_size = 0;
    sf_merge_append_expanded(text, template);
    bool is_small = !body.failed && body.size <= size_max;
    if (is_small) {
        buf_append_text(out, begin);
        append_body(&body, out);
        is_small = !out->failed && out->size - size_before <= size_max;
    }
    buf_deinit(&body);
    if (!is_small)
        out->size = size_before;
    return is_small;
}

// --- procedures --------------------------------------------------------------------------------------------------

// How long a table's part becomes when it is quoted.
static size_t measured(struct merge_text *text, uint32_t index, struct buf *scratch)
{
    size_t quoted = 0;
    buf_reset(scratch);
    text->out = scratch;
    text->first = index;
    text->end = index + 1;
    sf_merge_append_expanded(text, "{exceptions}{tables}");
    for (size_t i = 0; i < scratch->size; i++)
        quoted += scratch->data[i] == '\'' || scratch->data[i] == '\\';
    return scratch->failed ? SIZE_MAX : scratch->size + quoted;
}

static void append_procedure_begin(const struct sf_merge_window *window, uint32_t number, struct buf *out)
{
    struct buf comment;
    buf_init(&comment, SIZE_MAX);
    buf_appendf(&comment, "etl-stream: a part of the merge of pipeline %s", window->pipeline);
    buf_append_text(out, "CREATE OR REPLACE PROCEDURE ");
    append_procedure(window, number, out);
    buf_append_text(out, "(etl_token VARCHAR) RETURNS VARCHAR LANGUAGE SQL COMMENT = ");
    sf_append_literal(out, buf_text(&comment));
    buf_append_text(out, " EXECUTE AS CALLER AS ");
    buf_deinit(&comment);
}

static bool add_procedure(struct merge_text *text, struct sf_merge_parts *parts)
{
    struct buf begin;
    parts->procedures = reallocarray(parts->procedures, parts->procedure_count + 1, sizeof *parts->procedures);
    CHECK(parts->procedures != NULL);
    struct buf *procedure = &parts->procedures[parts->procedure_count];
    buf_init(procedure, 2 * size_max_of(text->window) + (1U << 16));
    buf_init(&begin, SIZE_MAX);
    append_procedure_begin(text->window, parts->procedure_count, &begin);
    parts->procedure_count++;
    bool is_small = append_statement(text, buf_text(&begin), sql_sinks_snowflake_merge_procedure, procedure);
    buf_deinit(&begin);
    return is_small;
}

// As many tables a procedure as fit, in their order.
static bool build_procedures(struct merge_text *text, struct sf_merge_parts *parts)
{
    struct buf scratch;
    size_t size_max = size_max_of(text->window), size = PROCEDURE_FRAME_SIZE;
    uint32_t begin = 0;
    bool is_small = true;
    buf_init(&scratch, 2 * size_max + (1U << 16));
    for (uint32_t i = 0; is_small && i < text->table_count; i++) {
        size_t one = measured(text, i, &scratch);
        is_small = one <= size_max;
        if (is_small && i > begin && size + one > size_max) {
            text->first = begin;
            text->end = i;
            is_small = add_procedure(text, parts);
            begin = i;
            size = PROCEDURE_FRAME_SIZE;
        }
        size += one;
    }
    buf_deinit(&scratch);
    text->first = begin;
    text->end = text->table_count;
    return is_small && add_procedure(text, parts);
}

void sf_merge_parts_deinit(struct sf_merge_parts *parts)
{
    for (uint32_t i = 0; i < parts->procedure_count; i++)
        buf_deinit(&parts->procedures[i]);
    free(parts->procedures);
    buf_deinit(&parts->block);
    *parts = (struct sf_merge_parts){.procedures = NULL};
    buf_init(&parts->block, SIZE_MAX);
}

void sf_merge_build_drop(const struct sf_merge_window *window, uint32_t procedure, struct buf *out)
{
    buf_append_text(out, "DROP PROCEDURE IF EXISTS ");
    append_procedure(window, procedure, out);
    buf_append_text(out, "(VARCHAR)");
}

bool sf_merge_build(const struct sf_merge_window *window, const struct sf_merge_table *tables, uint32_t table_count,
                    uint32_t *out_lines, struct sf_merge_parts *out_parts, struct err *out_error)
{
    static const char begin[] = "EXECUTE IMMEDIATE ";
    struct merge_text text = {
        .window = window, .tables = tables, .table_count = table_count, .end = table_count, .out_lines = out_lines};
    check_tables(window, tables, table_count);
    seq_format_position(window->epoch, window->below, text.below);
    *out_parts = (struct sf_merge_parts){.procedures = NULL};
    buf_init(&out_parts->block, 2 * size_max_of(window) + (1U << 16));
    if (append_statement(&text, begin, sql_sinks_snowflake_merge_block, &out_parts->block))
        return true;
    for (uint32_t i = 0; out_lines != NULL && i < table_count; i++)
        out_lines[i] = UINT32_MAX;
    text.out_lines = NULL;
    if (build_procedures(&text, out_parts)) {
        text.procedure_count = out_parts->procedure_count;
        text.first = text.end = 0;
        if (append_statement(&text, begin, sql_sinks_snowflake_merge_block, &out_parts->block))
            return true;
    }
    sf_merge_parts_deinit(out_parts);
    return err_set(
        out_error, ERR_DATA, "merge_text_size",
        "the merge of a table of pipeline %s is longer than the %zu bytes that Snowflake takes; leave columns "
        "out of the publication",
        window->pipeline, size_max_of(window));
}

enum sf_merge_failure sf_merge_failure_of(const char *message, uint32_t *out_table)
{
    static const struct {
        const char *word;
        enum sf_merge_failure failure;
    } words[] = {{"etl_fenced", SF_MERGE_FAILURE_FENCED},
                 {"etl_behind_", SF_MERGE_FAILURE_BEHIND},
                 {"etl_unresolved_", SF_MERGE_FAILURE_UNRESOLVED},
                 {"etl_hint_", SF_MERGE_FAILURE_HINT},
                 {"etl_coerced_", SF_MERGE_FAILURE_COERCED},
                 // 100189, from accounts that limit recursion: a row moved too often in one window.
                 {"recursion exceeded", SF_MERGE_FAILURE_UNRESOLVED}};
    const char *first = NULL;
    enum sf_merge_failure failure = SF_MERGE_FAILURE_OTHER;
    *out_table = UINT32_MAX;
    // "Uncaught exception of type 'ETL_BEHIND_3' on line …": the first word counts, names follow it.
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *found = strcasestr(message, words[i].word);
        if (found == NULL || (first != NULL && found > first))
            continue;
        first = found;
        failure = words[i].failure;
        const char *digits = found + strlen(words[i].word);
        char *end;
        unsigned long number = strtoul(digits, &end, 10);
        *out_table =
            failure != SF_MERGE_FAILURE_FENCED && end != digits && number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
    }
    return failure;
}

uint32_t sf_merge_suspect_of(const char *message, const uint32_t *lines, uint32_t table_count)
{
    const char *found = strcasestr(message, "on line ");
    uint32_t suspect = UINT32_MAX;
    unsigned long line = found != NULL ? strtoul(found + strlen("on line "), NULL, 10) : 0;
    for (uint32_t i = 0; i < table_count && lines[i] <= line; i++)
        suspect = i;
    return suspect;
}

bool sf_merge_read_answer(const char *text, char out_position[SEQ_POSITION_TEXT_SIZE + 1])
{
    static const char word[] = "merged";
    out_position[0] = '\0';
    if (text == NULL || strncmp(text, word, sizeof word - 1) != 0)
        return false;
    text += sizeof word - 1;
    text += *text == ' ';
    if (*text == '\0')
        return true;
    if (strlen(text) != SEQ_POSITION_TEXT_SIZE || strspn(text, "0123456789ABCDEF") != SEQ_POSITION_TEXT_SIZE)
        return false;
    memcpy(out_position, text, SEQ_POSITION_TEXT_SIZE + 1);
    return true;
}

void sf_merge_build_clean(const struct sf_table_layout *layout, const char *position, struct buf *out)
{
    struct buf landing;
    buf_init(&landing, SIZE_MAX);
    sf_append_qualified(&landing, layout->database, layout->landing_schema, layout->landing_name);
    buf_appendf(out,
                "DELETE FROM %s WHERE \"_ETL_SEQ\" < '%s' AND \"_ETL_SEQ\" <= (SELECT MAX(\"_ETL_SEQ\") FROM (SELECT "
                "\"_ETL_SEQ\" FROM %s WHERE \"_ETL_SEQ\" < '%s' ORDER BY \"_ETL_SEQ\" LIMIT %d))",
                buf_text(&landing), position, buf_text(&landing), position, SF_CLEAN_ROWS);
    buf_deinit(&landing);
}
