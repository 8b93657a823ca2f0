// Where the rows of a table's merge come from: the newest event of each key, and values that were not sent.
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "embedded_sql.h"
#include "sinks/snowflake/sf_merge_private.h"
#include "sinks/snowflake/sf_names.h"

// PostgreSQL leaves a value out when it is stored out of line, which only types of variable size are. The column's
// storage does not tell: SET STORAGE PLAIN leaves the values that are there where they are. A type that is not in the
// list counts as variable; that costs some text and nothing else.
static bool has_fixed_size(const struct column *column)
{
    static const uint32_t oids[] = {
        16,    // bool
        18,    // "char"
        19,    // name
        20,    // int8
        21,    // int2
        23,    // int4
        26,    // oid
        700,   // float4
        701,   // float8
        790,   // money
        1082,  // date
        1083,  // time
        1114,  // timestamp
        1184,  // timestamptz
        1186,  // interval
        1266,  // timetz
        2950,  // uuid
        5069,  // xid8
    };
    for (size_t i = 0; i < sizeof oids / sizeof oids[0]; i++)
        if (column->type->oid == oids[i])
            return true;
    return column->type->kind == SOURCE_ENUM;
}

// The encoder sends key columns always.
static bool can_be_unchanged(const struct merge_text *text, uint16_t column)
{
    const struct column *source = &text->table->layout->table->columns[column];
    return source->key_position < 0 && !has_fixed_size(source);
}

// The columns that tell rows apart: the key, or all of them in a multiset.
static bool is_key(const struct merge_text *text, uint16_t column)
{
    return merge_is_multiset(text->table) || text->table->layout->table->columns[column].key_position >= 0;
}

static uint16_t column_count(const struct merge_text *text)
{
    return text->table->layout->table->column_count;
}

static const struct target_type *type_of(const struct merge_text *text, uint16_t column)
{
    return &text->table->layout->encoders[column].target;
}

// --- small pieces ------------------------------------------------------------------------------------------------

static void append_column(const struct merge_text *text, const char *alias, uint16_t column)
{
    if (*alias != '\0')
        buf_appendf(text->out, "%s.", alias);
    sf_append_identifier(text->out, text->table->layout->column_names[column]);
}

// VARIANT and ARRAY are compared as their text. 0 and -0 are equal, but nothing is said of their hashes and groups.
static void append_comparable(const struct merge_text *text, const char *alias, uint16_t column)
{
    enum target_kind kind = type_of(text, column)->kind;
    bool is_json = kind == TARGET_VARIANT || kind == TARGET_ARRAY;
    if (kind == TARGET_FLOAT) {
        buf_append_text(text->out, "IFF(");
        append_column(text, alias, column);
        buf_append_text(text->out, " = 0, 0, ");
        append_column(text, alias, column);
        buf_append_byte(text->out, ')');
        return;
    }
    buf_append_text(text->out, is_json ? "TO_JSON(" : "");
    append_column(text, alias, column);
    buf_append_text(text->out, is_json ? ")" : "");
}

static void append_separator(const struct merge_text *text, bool *is_first, const char *separator)
{
    if (!*is_first)
        buf_append_text(text->out, separator);
    *is_first = false;
}

// The columns that {source} carries. A check needs keys and nothing else.
static bool is_carried(const struct merge_text *text, uint16_t column)
{
    return !text->is_check || is_key(text, column);
}

// Besides the source's columns the target may have _ETL_COERCED, which comes with the values of its row.
static bool carries_coerced(const struct merge_text *text)
{
    return text->table->layout->has_coerced && !text->is_check;
}

static void append_coerced(const struct merge_text *text, const char *alias)
{
    if (carries_coerced(text))
        buf_appendf(text->out, ", %s%s\"_ETL_COERCED\"", alias, *alias == '\0' ? "" : ".");
}

static void append_sent(const struct merge_text *text, uint16_t column, const char *alias)
{
    int number = text->table->layout->table->columns[column].attribute_number;
    buf_appendf(text->out, "%s%s\"_ETL_Q%d\"", alias, *alias == '\0' ? "" : ".", number);
}

// --- columns and keys ---------------------------------------------------------------------------------------------

// {columns}, {columns:alias}, {columns:key}: the last is the key alone.
static void write_columns(struct merge_text *text, const char *argument)
{
    bool is_first = true;
    bool is_key_only = strcmp(argument, "key") == 0;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (is_key_only ? !is_key(text, i) : !is_carried(text, i))
            continue;
        append_separator(text, &is_first, ", ");
        append_column(text, is_key_only ? "" : argument, i);
    }
    if (!is_key_only)
        append_coerced(text, argument);
}

static void write_key(struct merge_text *text, const char *argument)
{
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_key(text, i))
            continue;
        append_separator(text, &is_first, ", ");
        append_column(text, argument, i);
    }
}

// The landing's columns as the target's types.
static void write_landing_columns(struct merge_text *text, const char *argument)
{
    (void)argument;
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_carried(text, i))
            continue;
        append_separator(text, &is_first, ", ");
        if (type_of(text, i)->kind == TARGET_BINARY) {
            buf_append_text(text->out, "BASE64_DECODE_BINARY(");
            append_column(text, "", i);
            buf_append_text(text->out, ") AS ");
        }
        append_column(text, "", i);
    }
    append_coerced(text, "");
}

static void append_old_key(const struct merge_text *text, uint16_t column)
{
    const struct target_type *type = type_of(text, column);
    int position = text->table->layout->table->columns[column].key_position;
    if (type->kind == TARGET_BINARY) {
        buf_appendf(text->out, "BASE64_DECODE_BINARY(\"_ETL_OLD_KEY\"[%d]::VARCHAR)", position);
        return;
    }
    buf_appendf(text->out, "\"_ETL_OLD_KEY\"[%d]", position);
    if (type->kind != TARGET_VARIANT) {
        buf_append_text(text->out, "::");
        typemap_format_sql(type, false, text->out);
    }
}

// The event that takes a moved row from its old key: that key, and NULL in all other columns.
static void write_old_row(struct merge_text *text, const char *argument)
{
    (void)argument;
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_carried(text, i))
            continue;
        append_separator(text, &is_first, ", ");
        if (is_key(text, i))
            append_old_key(text, i);
        else
            buf_append_text(text->out, "NULL");
    }
    buf_append_text(text->out, carries_coerced(text) ? ", NULL" : "");
}

static void write_partition(struct merge_text *text, const char *argument)
{
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_key(text, i))
            continue;
        append_separator(text, &is_first, ", ");
        append_comparable(text, argument, i);
    }
    if (merge_is_multiset(text->table) && carries_coerced(text))
        buf_appendf(text->out, ", TO_JSON(%s%s\"_ETL_COERCED\")", argument, *argument == '\0' ? "" : ".");
}

// "a,b" → left is "a"; the answer is "b".
static const char *split_argument(const char *argument, char left[MERGE_PLACEHOLDER_SIZE_MAX])
{
    const char *comma = strchr(argument, ',');
    CHECK(comma != NULL);
    (void)snprintf(left, MERGE_PLACEHOLDER_SIZE_MAX, "%.*s", (int)(comma - argument), argument);
    return comma + 1;
}

// {match:a,b}: the keys are equal. No key column is ever NULL.
static void write_match(struct merge_text *text, const char *argument)
{
    char left[MERGE_PLACEHOLDER_SIZE_MAX];
    const char *right = split_argument(argument, left);
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_key(text, i))
            continue;
        append_separator(text, &is_first, " AND ");
        append_comparable(text, left, i);
        buf_append_text(text->out, " = ");
        append_comparable(text, right, i);
    }
}

// {hash:a}: of a multiset's row. Equal rows have the same one, which no NULL in them makes NULL.
static void write_hash(struct merge_text *text, const char *argument)
{
    buf_append_text(text->out, "HASH(");
    write_partition(text, argument);
    buf_append_byte(text->out, ')');
}

// {same:a,b}: the rows are equal in all columns. The hashes are there for a join that looks up instead of trying all pairs.
static void write_same(struct merge_text *text, const char *argument)
{
    char left[MERGE_PLACEHOLDER_SIZE_MAX];
    const char *right = split_argument(argument, left);
    write_hash(text, left);
    buf_appendf(text->out, " = %s.\"_ETL_HASH\"", right);
    for (uint16_t i = 0; i < column_count(text); i++) {
        buf_append_text(text->out, " AND EQUAL_NULL(");
        append_comparable(text, left, i);
        buf_append_text(text->out, ", ");
        append_comparable(text, right, i);
        buf_append_byte(text->out, ')');
    }
    if (carries_coerced(text))
        buf_appendf(text->out, " AND EQUAL_NULL(TO_JSON(%s.\"_ETL_COERCED\"), TO_JSON(%s.\"_ETL_COERCED\"))", left,
                    right);
}

// --- marks of deleted rows ------------------------------------------------------------------------------------------

// {event_at}: the time of a landing row.
static void write_event_at(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (!merge_marks(text->table))
        return;
    bool is_known = text->table->layout->has_commit_at;
    buf_append_text(text->out, is_known ? ", COALESCE(\"_ETL_COMMIT_AT\", " : ", ");
    sf_merge_write_commit_at(text, "NOW");
    buf_append_text(text->out, is_known ? ") AS \"_ETL_AT\"" : " AS \"_ETL_AT\"");
}

static void write_at(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_append_text(text->out, merge_marks(text->table) ? ", \"_ETL_AT\"" : "");
}

static void append_last(struct merge_text *text, const char *column)
{
    buf_appendf(text->out, "FIRST_VALUE(\"%s\") OVER (PARTITION BY ", column);
    write_partition(text, "");
    buf_append_text(text->out, " ORDER BY \"_ETL_SEQ\" DESC, \"_ETL_DO\" DESC)");
}

// {deleted_at}: when the key's row went, by its own end or by a truncate behind it; NULL if it lives.
static void write_deleted_at(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (!merge_marks(text->table))
        return;
    buf_append_text(text->out, ",\n             CASE WHEN ");
    append_last(text, "_ETL_DO");
    buf_append_text(text->out, " = 'D' THEN ");
    append_last(text, "_ETL_AT");
    buf_append_text(text->out, "\n                  WHEN ");
    append_last(text, "_ETL_SEQ");
    buf_append_text(text->out, " < :etl_from THEN :etl_at END AS \"_ETL_DELETED_AT\"");
}

// The newest event of a key; where deleted rows stay its newest row, whatever became of it: an end has no values.
static void write_newest_first(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_append_text(text->out, merge_marks(text->table) ? "\"_ETL_DO\" DESC, \"_ETL_SEQ\" DESC"
                                                        : "\"_ETL_SEQ\" DESC, \"_ETL_DO\" DESC");
}

static void write_marked(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_append_text(text->out, merge_marks(text->table) ? ", h.\"_ETL_DELETED_AT\"" : "");
}

static void write_multiset(struct merge_text *text, const char *argument)
{
    (void)argument;
    sf_merge_append_expanded(text, sql_sinks_snowflake_merge_multiset_rows);
}

static void write_surplus(struct merge_text *text, const char *argument)
{
    (void)argument;
    sf_merge_append_expanded(text, text->table->is_first ? sql_sinks_snowflake_merge_multiset_surplus_first
                                                         : sql_sinks_snowflake_merge_multiset_surplus);
}

// Where deletes are marked, or were once, a row that is put loses the mark or gets it.
static void write_update(struct merge_text *text, const char *argument)
{
    static const char begin[] = "  WHEN MATCHED THEN UPDATE SET ";
    (void)argument;
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (is_key(text, i))
            continue;
        buf_append_text(text->out, is_first ? begin : ", ");
        is_first = false;
        append_column(text, "", i);
        buf_append_text(text->out, " = ");
        append_column(text, "s", i);
    }
    if (carries_coerced(text)) {
        buf_append_text(text->out, is_first ? begin : ", ");
        buf_append_text(text->out, "\"_ETL_COERCED\" = s.\"_ETL_COERCED\"");
        is_first = false;
    }
    if (text->table->layout->has_deleted_at) {
        buf_append_text(text->out, is_first ? begin : ", ");
        buf_appendf(text->out, "\"_ETL_DELETED_AT\" = %s", merge_marks(text->table) ? "s.\"_ETL_DELETED_AT\"" : "NULL");
        is_first = false;
    }
    buf_append_text(text->out, is_first ? "" : "\n");  // a table may consist of its key
}

static void write_source(struct merge_text *text, const char *argument)
{
    (void)argument;
    sf_merge_append_expanded(text, merge_is_lacking(text->table) ? sql_sinks_snowflake_merge_lineage
                                                                 : sql_sinks_snowflake_merge_newest);
}

static void write_moved_out(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (merge_is_moving(text->table))
        sf_merge_append_expanded(text, merge_is_lacking(text->table) ? sql_sinks_snowflake_merge_lineage_moved
                                                                     : sql_sinks_snowflake_merge_newest_moved);
}

// --- placeholders where values may be unchanged ------------------------------------------------------------------

static void write_with(struct merge_text *text, const char *argument)
{
    (void)argument;
    buf_append_text(text->out, merge_is_moving(text->table) ? "WITH RECURSIVE" : "WITH");
}

static void write_path(struct merge_text *text, const char *argument)
{
    (void)argument;
    sf_merge_append_expanded(text, merge_is_moving(text->table) ? sql_sinks_snowflake_merge_path_moved
                                                                : sql_sinks_snowflake_merge_path);
}

// At a first merge the target is empty: nothing was before.
static void write_before(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (!text->table->is_first)
        sf_merge_append_expanded(text, sql_sinks_snowflake_merge_before);
}

static void write_join_before(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (!text->table->is_first)
        buf_append_text(text->out, " LEFT JOIN z ON z.\"_ETL_HEAD\" = h.\"_ETL_SEQ\"");
}

static void write_not_found(struct merge_text *text, const char *argument)
{
    (void)argument;
    if (!text->table->is_first)
        buf_append_text(text->out, " AND z.\"_ETL_FOUND\" IS NULL");
}

static void write_result(struct merge_text *text, const char *argument)
{
    (void)argument;
    sf_merge_append_expanded(text, text->is_check ? sql_sinks_snowflake_merge_unresolved
                                                  : sql_sinks_snowflake_merge_resolved);
}

static void write_sent(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!can_be_unchanged(text, i))
            continue;
        buf_appendf(text->out,
                    ",\n             IFF(\"_ETL_OP\" <> 'D' AND NOT COALESCE(ARRAY_CONTAINS(%d::VARIANT, "
                    "\"_ETL_UNCHANGED\"), FALSE), \"_ETL_SEQ\", NULL) AS ",
                    text->table->layout->table->columns[i].attribute_number);
        append_sent(text, i, "");
    }
}

static void write_nothing_sent(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++)
        if (can_be_unchanged(text, i))
            buf_append_text(text->out, ", NULL");
}

// What _ETL_COERCED tells of a column.
static void append_original(const struct merge_text *text, uint16_t column, const char *alias)
{
    buf_appendf(text->out, "GET(%s.\"_ETL_COERCED\", ", alias);
    sf_append_literal(text->out, text->table->layout->column_names[column]);
    buf_append_byte(text->out, ')');
}

static void write_newest_sent(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!can_be_unchanged(text, i))
            continue;
        buf_append_text(text->out, ", MAX(");
        append_sent(text, i, "g");
        buf_append_text(text->out, ") AS ");
        append_sent(text, i, "");
        if (text->is_check)
            continue;
        buf_append_text(text->out, ", MAX_BY(");
        append_column(text, "g", i);
        buf_append_text(text->out, ", ");
        append_sent(text, i, "g");
        buf_append_text(text->out, ") AS ");
        append_column(text, "", i);
        if (!carries_coerced(text))
            continue;
        buf_append_text(text->out, ", MAX_BY(");
        append_original(text, i, "g");
        buf_append_text(text->out, ", ");
        append_sent(text, i, "g");
        buf_appendf(text->out, ") AS \"_ETL_ORIGINAL_%u\"", (unsigned)i);
    }
}

static void write_target_values(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (text->is_check || !can_be_unchanged(text, i))
            continue;
        buf_append_text(text->out, ", ");
        append_column(text, "x", i);
    }
    append_coerced(text, "x");
}

// {left_key}: columns of l that name the key which the row left; {left_key_names}: their use.
static void write_left_key(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!is_key(text, i))
            continue;
        buf_append_text(text->out, ", ");
        append_column(text, "b", i);
        buf_appendf(text->out, " AS \"_ETL_LEFT_%u\"", (unsigned)i);
    }
}

static void write_left_key_names(struct merge_text *text, const char *argument)
{
    (void)argument;
    for (uint16_t i = 0; i < column_count(text); i++)
        if (is_key(text, i))
            buf_appendf(text->out, ", l.\"_ETL_LEFT_%u\"", (unsigned)i);
}

// An original goes with its value: from the newest event, from an earlier one, or from the target's row. OBJECT_CONSTRUCT
// leaves out what is NULL.
static void append_resolved_coerced(const struct merge_text *text)
{
    buf_append_text(text->out, ", PARSE_JSON(NULLIF(TO_JSON(OBJECT_CONSTRUCT(");
    for (uint16_t i = 0; i < column_count(text); i++) {
        buf_append_text(text->out, i == 0 ? "" : ", ");
        sf_append_literal(text->out, text->table->layout->column_names[i]);
        buf_append_text(text->out, ", ");
        if (!can_be_unchanged(text, i)) {
            append_original(text, i, "h");
            continue;
        }
        buf_append_text(text->out, "CASE WHEN ");
        append_sent(text, i, "h");
        buf_append_text(text->out, " IS NOT NULL THEN ");
        append_original(text, i, "h");
        if (!text->table->is_first) {
            buf_append_text(text->out, " WHEN ");
            append_sent(text, i, "r");
            buf_append_text(text->out, " IS NULL THEN ");
            append_original(text, i, "z");
        }
        buf_appendf(text->out, " ELSE r.\"_ETL_ORIGINAL_%u\" END", (unsigned)i);
    }
    buf_append_text(text->out, ")), '{}')) AS \"_ETL_COERCED\"");
}

static void write_resolved(struct merge_text *text, const char *argument)
{
    (void)argument;
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        append_separator(text, &is_first, ", ");
        if (!can_be_unchanged(text, i)) {
            append_column(text, "h", i);
            continue;
        }
        buf_append_text(text->out, "CASE WHEN ");
        append_sent(text, i, "h");
        buf_append_text(text->out, " IS NOT NULL THEN ");
        append_column(text, "h", i);
        if (!text->table->is_first) {
            buf_append_text(text->out, " WHEN ");
            append_sent(text, i, "r");
            buf_append_text(text->out, " IS NULL THEN ");
            append_column(text, "z", i);
        }
        buf_append_text(text->out, " ELSE ");
        append_column(text, "r", i);
        buf_append_text(text->out, " END AS ");
        append_column(text, "", i);
    }
    if (carries_coerced(text))
        append_resolved_coerced(text);
}

// Some column that neither the newest event nor anything before it sent; or one of which we did not know that it can be
// left out (the list of fixed sizes would be wrong).
static void write_lacking(struct merge_text *text, const char *argument)
{
    (void)argument;
    bool is_first = true;
    for (uint16_t i = 0; i < column_count(text); i++) {
        if (!can_be_unchanged(text, i))
            continue;
        append_separator(text, &is_first, " OR ");
        append_sent(text, i, "h");
        buf_append_text(text->out, " IS NULL AND ");
        append_sent(text, i, "r");
        buf_append_text(text->out, " IS NULL");
    }
    buf_append_text(text->out, is_first ? "h.\"_ETL_UNCHANGED\" IS NOT NULL" : "");
}

const struct merge_placeholder sf_merge_source_placeholders[] = {
    {"at", write_at},
    {"before", write_before},
    {"columns", write_columns},
    {"deleted_at", write_deleted_at},
    {"event_at", write_event_at},
    {"hash", write_hash},
    {"join_before", write_join_before},
    {"key", write_key},
    {"lacking", write_lacking},
    {"landing_columns", write_landing_columns},
    {"left_key", write_left_key},
    {"left_key_names", write_left_key_names},
    {"marked", write_marked},
    {"match", write_match},
    {"moved_out", write_moved_out},
    {"multiset", write_multiset},
    {"newest_first", write_newest_first},
    {"newest_sent", write_newest_sent},
    {"not_found", write_not_found},
    {"nothing_sent", write_nothing_sent},
    {"old_row", write_old_row},
    {"partition", write_partition},
    {"path", write_path},
    {"resolved", write_resolved},
    {"result", write_result},
    {"same", write_same},
    {"sent", write_sent},
    {"source", write_source},
    {"surplus", write_surplus},
    {"target_values", write_target_values},
    {"update", write_update},
    {"with", write_with},
};

const size_t sf_merge_source_placeholder_count =
    sizeof sf_merge_source_placeholders / sizeof sf_merge_source_placeholders[0];
