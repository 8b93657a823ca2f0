#include "sinks/snowflake/sf_merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/check.h"
#include "base/trap.h"
#include "embedded_sql.h"
#include "sinks/snowflake/sf_merge_private.h"
#include "sinks/snowflake/sf_names.h"

#define EXCEPTION_FENCED 20001
#define EXCEPTION_FIRST 20010  // of the tables' exceptions: no two of a block should share a number
#define EXCEPTION_LAST 20999

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

// {commit_at}: the source's commit time at the bound, or NULL; {commit_at:NOW}: or this very time.
// By way of VARIANT, which reads it in automatic format whatever the account's TIMESTAMP_INPUT_FORMAT is.
void sf_merge_write_commit_at(struct merge_text *text, const char *argument)
{
    int64_t wall_us = text->window->commit_wall_us;
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    if (wall_us <= 0 || gmtime_r(&seconds, &parts) == NULL) {
        buf_append_text(text->out, *argument == '\0' ? "NULL" : "CURRENT_TIMESTAMP()::TIMESTAMP_TZ(6)");
        return;
    }
    buf_appendf(text->out, "'%04d-%02d-%02d %02d:%02d:%02d.%06d +00:00'::VARIANT::TIMESTAMP_TZ(6)",
                parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                (int)(wall_us % 1000000));
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
    for (uint32_t i = 0; i < text->table_count; i++) {
        select_table(text, i);
        if (can_be_behind(text))
            append_exception(text, "behind", true, "rows that are committed are not in the landing table");
        if (can_be_unresolved(text))
            append_exception(text, "unresolved", true, unresolved_text(text->table));
        if (has_hint(text))
            append_exception(text, "hint", true, "the landing table holds kinds of rows that were ruled out");
    }
}

static void write_variables(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint32_t i = 0; i < text->table_count; i++)
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

static void write_end(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_append_text(text->out,
                    text->window->is_trial ? "  ROLLBACK;\n  RETURN 'tried';\n" : "  COMMIT;\n  RETURN 'merged';\n");
}

static void write_tables(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint32_t i = 0; i < text->table_count; i++) {
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
    sf_append_qualified(text->out, layout->database, layout->schema, layout->target_name);
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
    {"pipeline", write_pipeline},
    {"state", write_state},
    {"state_from", write_state_from},
    {"tables", write_tables},
    {"target", write_target},
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

static void append_block(struct buf *body, struct buf *out)
{
    buf_append_text(out, "EXECUTE IMMEDIATE ");
    if (memmem(body->data, body->size, "$$", 2) != NULL) {
        sf_append_literal(out, buf_text(body));
    } else {
        buf_append_text(out, "$$\n");
        buf_append(out, body->data, body->size);
        buf_append_text(out, "$$");
    }
}

bool sf_merge_build(const struct sf_merge_window *window, const struct sf_merge_table *tables, uint32_t table_count,
                    uint32_t *out_lines, struct buf *out, struct err *out_error)
{
    struct buf body;
    struct merge_text text = {.out = &body,
                              .window = window,
                              .tables = tables,
                              .table_count = table_count,
                              .out_lines = out_lines,
                              .exception_last = EXCEPTION_FIRST - 1};
    size_t size_before = out->size;
    check_tables(window, tables, table_count);
    seq_format_position(window->epoch, window->below, text.below);
    buf_init(&body, 2 * SF_MERGE_TEXT_SIZE_MAX);  // buf_text needs room for its NUL
    sf_merge_append_expanded(&text, sql_sinks_snowflake_merge_block);
    bool is_small = !body.failed && body.size <= SF_MERGE_TEXT_SIZE_MAX;
    if (is_small) {
        append_block(&body, out);
        is_small = !out->failed && out->size - size_before <= SF_MERGE_TEXT_SIZE_MAX;
    }
    buf_deinit(&body);
    if (is_small)
        return true;
    out->size = size_before;
    return err_set(out_error, ERR_DATA, "merge_text_size",
                   "the merge of pipeline %s with %u tables is longer than the %d bytes that Snowflake takes",
                   window->pipeline, (unsigned)table_count, SF_MERGE_TEXT_SIZE_MAX);
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
