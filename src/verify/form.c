#include "verify/form.h"

#include "pg/pg_catalog.h"
#include "sinks/snowflake/sf_names.h"

bool form_is_exact(const struct column_encoder *encoder)
{
    switch (encoder->target.kind) {
    case TARGET_BOOLEAN:
    case TARGET_NUMBER:
    case TARGET_VARCHAR:
    case TARGET_BINARY:
    case TARGET_DATE:
    case TARGET_TIME:
    case TARGET_TIMESTAMP_NTZ:
    case TARGET_TIMESTAMP_TZ: return true;
    case TARGET_FLOAT:
    case TARGET_VARIANT:
    case TARGET_ARRAY: break;
    }
    return false;
}

bool form_is_keyed(const struct form *form)
{
    const struct table *table = form->table;
    if (table->key_count == 0 || table_is_multiset(table))
        return false;
    for (uint16_t i = 0; i < table->key_count; i++)
        if (!form_is_exact(&form->encoders[table->key_columns[i]]))
            return false;
    return true;
}

// Of a text of tokens: of the place those of the key, of the row all. Where rows are not told apart by a key the place is of all
// columns that are exact: whether others are NULL in the target is not known at the source (JSON that VARIANT does not take is).
static uint16_t text_count(const struct form *form, bool is_place)
{
    return is_place && form_is_keyed(form) ? form->table->key_count : form->table->column_count;
}

// The column at an index below text_count; false: it is left out.
static bool text_column(const struct form *form, bool is_place, uint16_t index, uint16_t *out_column)
{
    bool is_key = is_place && form_is_keyed(form);
    *out_column = is_key ? form->table->key_columns[index] : index;
    return is_key || !is_place || form_is_exact(&form->encoders[index]);
}

// ---- the source's tokens

// Digits as the target has them: rounded to its scale; NULL for what it cannot hold.
static void source_number(const struct column_encoder *encoder, const char *c, struct buf *out)
{
    if (encoder->value->kind != KIND_NUMERIC) {
        buf_appendf(out, "%s::text", c);
        return;
    }
    unsigned scale = encoder->target.scale, whole = (unsigned)encoder->target.precision - scale;
    // NaN is greater than all numbers; rounding a number as large as numeric can be would fail.
    buf_appendf(out,
                "CASE WHEN abs(%s) < 1e%u THEN CASE WHEN abs(round(%s, %u)) < 1e%u THEN round(%s, %u)::text END END", c,
                whole, c, scale, whole, c, scale);
}

// concat() calls the type's output function, as the stream does; IS DISTINCT FROM, because a composite of NULLs IS NULL.
static void source_token(const struct form *form, uint16_t index, struct buf *out)
{
    const struct column_encoder *encoder = &form->encoders[index];
    struct buf name;
    buf_init(&name, 1024);
    pg_append_identifier(&name, form->table->columns[index].name);
    const char *c = buf_text(&name);
    buf_append_text(out, "coalesce(");
    switch (encoder->target.kind) {
    case TARGET_BOOLEAN: buf_appendf(out, "CASE WHEN %s THEN 't' WHEN NOT %s THEN 'f' END", c, c); break;
    case TARGET_NUMBER: source_number(encoder, c, out); break;
    case TARGET_VARCHAR:
        buf_appendf(out,
                    form->converts ? "CASE WHEN %s IS DISTINCT FROM NULL THEN md5(convert_to(concat(%s), 'UTF8')) END"
                                   : "CASE WHEN %s IS DISTINCT FROM NULL THEN md5(concat(%s)) END",
                    c, c);
        break;
    case TARGET_BINARY:
        buf_appendf(out, "CASE WHEN octet_length(%s) <= %u THEN md5(upper(encode(%s, 'hex'))) END", c,
                    encoder->target.length, c);
        break;
    case TARGET_DATE:
        buf_appendf(out, "CASE WHEN %s BETWEEN '0001-01-01' AND '9999-12-31' THEN to_char(%s, 'YYYY-MM-DD') END", c, c);
        break;
    case TARGET_TIME: buf_appendf(out, "CASE WHEN %s < '24:00' THEN to_char(%s, 'HH24:MI:SS.US') END", c, c); break;
    case TARGET_TIMESTAMP_NTZ:
    case TARGET_TIMESTAMP_TZ:
        // TimeZone is UTC on our connections.
        buf_appendf(out,
                    "CASE WHEN %s >= '0001-01-01' AND %s < '10000-01-01' THEN to_char(%s, 'YYYY-MM-DD "
                    "HH24:MI:SS.US%s') END",
                    c, c, c, encoder->target.kind == TARGET_TIMESTAMP_TZ ? "\"+0000\"" : "");
        break;
    case TARGET_FLOAT:
    case TARGET_VARIANT:
    case TARGET_ARRAY: buf_appendf(out, "CASE WHEN %s IS DISTINCT FROM NULL THEN '+' END", c); break;
    }
    buf_append_text(out, ", '-')");
    out->failed |= name.failed;
    buf_deinit(&name);
}

// An array takes any number of tokens; a chain of || would nest as deep as there are columns.
static void source_text(const struct form *form, bool is_place, struct buf *out)
{
    uint16_t column, count = text_count(form, is_place);
    const char *joint = "";
    buf_append_text(out, "array_to_string(ARRAY[");
    for (uint16_t i = 0; i < count; i++) {
        if (!text_column(form, is_place, i, &column))
            continue;
        buf_append_text(out, joint);
        source_token(form, column, out);
        joint = ", ";
    }
    buf_append_text(out, "]::text[], ',')");
}

static void source_place(const struct form *form, struct buf *out)
{
    buf_append_text(out, "md5(");
    source_text(form, true, out);
    buf_append_byte(out, ')');
}

// ---- the target's tokens

static void target_token(const struct form *form, uint16_t index, struct buf *out)
{
    struct buf name;
    buf_init(&name, 1024);
    sf_append_identifier(&name, form->target_columns[index]);
    const char *c = buf_text(&name);
    buf_append_text(out, "COALESCE(");
    switch (form->encoders[index].target.kind) {
    case TARGET_BOOLEAN: buf_appendf(out, "CASE WHEN %s THEN 't' WHEN NOT %s THEN 'f' END", c, c); break;
    case TARGET_NUMBER: buf_appendf(out, "TO_CHAR(%s)", c); break;
    case TARGET_VARCHAR: buf_appendf(out, "MD5(%s)", c); break;
    case TARGET_BINARY: buf_appendf(out, "MD5(HEX_ENCODE(%s))", c); break;
    case TARGET_DATE: buf_appendf(out, "TO_CHAR(%s, 'YYYY-MM-DD')", c); break;
    case TARGET_TIME: buf_appendf(out, "TO_CHAR(%s, 'HH24:MI:SS.FF6')", c); break;
    case TARGET_TIMESTAMP_NTZ: buf_appendf(out, "TO_CHAR(%s, 'YYYY-MM-DD HH24:MI:SS.FF6')", c); break;
    case TARGET_TIMESTAMP_TZ: buf_appendf(out, "TO_CHAR(%s, 'YYYY-MM-DD HH24:MI:SS.FF6TZHTZM')", c); break;
    case TARGET_FLOAT:
    case TARGET_VARIANT:
    case TARGET_ARRAY: buf_appendf(out, "CASE WHEN %s IS NOT NULL THEN '+' END", c); break;
    }
    buf_append_text(out, ", '-')");
    out->failed |= name.failed;
    buf_deinit(&name);
}

static void target_text(const struct form *form, bool is_place, struct buf *out)
{
    uint16_t column, count = text_count(form, is_place);
    const char *joint = ", ";
    buf_append_text(out, "CONCAT(''");
    for (uint16_t i = 0; i < count; i++) {
        if (!text_column(form, is_place, i, &column))
            continue;
        buf_append_text(out, joint);
        target_token(form, column, out);
        joint = ", ',', ";
    }
    buf_append_byte(out, ')');
}

static void target_place(const struct form *form, struct buf *out)
{
    buf_append_text(out, "MD5(");
    target_text(form, true, out);
    buf_append_byte(out, ')');
}

// ---- digests

// bigint has a sign, Snowflake's MD5_NUMBER_… has none. OFFSET 0 keeps the MD5 from being computed for each use of it.
void form_source_digest(const struct form *form, unsigned digits, struct buf *out)
{
    static const char sum[] =
        ", coalesce(sum(%s), 0) + 18446744073709551616 * count(*) FILTER (WHERE %s < 0) AS sum_%s";
    buf_appendf(out, "SELECT left(k, %u) AS name, count(*) AS rows", digits);
    buf_appendf(out, sum, "upper", "upper", "upper");
    buf_appendf(out, sum, "lower", "lower", "lower");
    buf_append_text(out, " FROM (SELECT k, ('x' || left(r, 16))::bit(64)::bigint AS upper, ('x' || right(r, "
                         "16))::bit(64)::bigint AS lower FROM (SELECT ");
    source_place(form, out);
    buf_append_text(out, " AS k, md5(");
    source_text(form, false, out);
    buf_appendf(out, ") AS r FROM %s", form->source);
    if (form->source_filter != NULL)
        buf_appendf(out, " WHERE (%s)", form->source_filter);
    buf_append_text(out, " OFFSET 0) AS rows) AS numbers GROUP BY 1");
}

void form_target_digest(const struct form *form, unsigned digits, struct buf *out)
{
    if (digits == 0)
        buf_append_text(out, "SELECT ''");
    else
        buf_appendf(out, "SELECT SUBSTR(\"_ETL_K\", 1, %u)", digits);
    buf_append_text(out, " AS \"_ETL_NAME\", COUNT(*) AS \"_ETL_ROWS\", SUM(MD5_NUMBER_UPPER64(\"_ETL_R\")) AS "
                         "\"_ETL_UPPER\", SUM(MD5_NUMBER_LOWER64(\"_ETL_R\")) AS \"_ETL_LOWER\" FROM (SELECT ");
    target_place(form, out);
    buf_append_text(out, " AS \"_ETL_K\", ");
    target_text(form, false, out);
    buf_appendf(out, " AS \"_ETL_R\" FROM %s", form->target);
    if (form->target_filter != NULL)
        buf_appendf(out, " WHERE %s", form->target_filter);
    buf_append_byte(out, ')');
    if (digits > 0)
        buf_appendf(out, " GROUP BY SUBSTR(\"_ETL_K\", 1, %u)", digits);
}

// ---- rows

static void append_names(const struct form_ranges *ranges, struct buf *out)
{
    buf_append_text(out, " IN (");
    for (uint32_t i = 0; i < ranges->count; i++)
        buf_appendf(out, i > 0 ? ", '%s'" : "'%s'", ranges->names[i]);
    buf_append_byte(out, ')');
}

static bool is_some(const struct form_ranges *ranges)
{
    return ranges != NULL && ranges->digits > 0;
}

static void source_column(const struct form *form, uint16_t index, struct buf *out)
{
    const char *name = form->table->columns[index].name;
    buf_append_text(out, ", ");
    if (form->encoders[index].wants_text) {
        buf_append_text(out, "CASE WHEN ");
        pg_append_identifier(out, name);
        buf_append_text(out, " IS DISTINCT FROM NULL THEN concat(");
        pg_append_identifier(out, name);
        buf_append_text(out, ") END");
    } else {
        pg_append_identifier(out, name);
    }
}

void form_source_rows(const struct form *form, const struct form_ranges *ranges, struct buf *out)
{
    buf_append_text(out, "COPY (SELECT ");
    source_place(form, out);
    buf_append_text(out, " COLLATE \"C\"");
    for (uint16_t i = 0; i < form->table->column_count; i++)
        source_column(form, i, out);
    buf_appendf(out, " FROM %s", form->source);
    const char *joint = " WHERE ";
    if (form->source_filter != NULL) {
        buf_appendf(out, " WHERE (%s)", form->source_filter);
        joint = " AND ";
    }
    if (is_some(ranges)) {
        buf_appendf(out, "%sleft(", joint);
        source_place(form, out);
        buf_appendf(out, ", %u)", ranges->digits);
        append_names(ranges, out);
    }
    buf_append_text(out, " ORDER BY 1) TO STDOUT (FORMAT binary)");
}

void form_target_rows(const struct form *form, const struct form_ranges *ranges, struct buf *out)
{
    buf_append_text(out, "SELECT ");
    target_place(form, out);
    buf_append_text(out, " AS \"_ETL_K\"");
    for (uint16_t i = 0; i < form->table->column_count; i++) {
        // How bytes are written is the session's BINARY_OUTPUT_FORMAT.
        bool is_binary = form->encoders[i].target.kind == TARGET_BINARY;
        buf_append_text(out, is_binary ? ", HEX_ENCODE(" : ", ");
        sf_append_identifier(out, form->target_columns[i]);
        buf_append_text(out, is_binary ? ")" : "");
    }
    if (form->has_coerced)
        buf_append_text(out, ", \"_ETL_COERCED\"");
    buf_appendf(out, " FROM %s", form->target);
    const char *joint = " WHERE ";
    if (form->target_filter != NULL) {
        buf_appendf(out, " WHERE %s", form->target_filter);
        joint = " AND ";
    }
    if (is_some(ranges)) {
        buf_appendf(out, "%sSUBSTR(", joint);
        target_place(form, out);
        buf_appendf(out, ", 1, %u)", ranges->digits);
        append_names(ranges, out);
    }
    buf_append_text(out, " ORDER BY \"_ETL_K\"");
}
