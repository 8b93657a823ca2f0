#include "encode/ndjson.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "encode/decimal.h"
#include "encode/scalar.h"

#define SCRATCH_BYTES_MAX (256U << 20)

// _ETL_COERCED is one VARIANT: originals are written while there is room for the sizes of all the others.
static void limit_coerced(struct row_encoder *encoder, uint32_t variant_size_max)
{
    size_t sizes = 2;  // braces
    for (uint16_t i = 0; i < encoder->table->column_count; i++)
        sizes += (size_t)encoder->columns[i].key_size + 1 + SCALAR_SIZE_TEXT_MAX;
    for (uint16_t i = 0; i < encoder->table->column_count; i++)
        typemap_encoder_limit_coerced(&encoder->columns[i],
                                      sizes < variant_size_max ? variant_size_max - (uint32_t)sizes : 0);
}

bool row_encoder_init(struct row_encoder *encoder, const struct table *table, const struct encoding *encoding,
                      const struct typemap_options *options, struct err *out_error)
{
    *encoder = (struct row_encoder){.table = table};
    buf_init(&encoder->coerced, SCRATCH_BYTES_MAX);
    buf_init(&encoder->key_old, SCRATCH_BYTES_MAX);
    buf_init(&encoder->key_new, SCRATCH_BYTES_MAX);
    encoder->columns = calloc(table->column_count > 0 ? table->column_count : 1, sizeof *encoder->columns);
    if (encoder->columns == NULL)
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "out of memory for the columns of %s.%s",
                       table->schema_name, table->table_name);
    for (uint16_t i = 0; i < table->column_count; i++) {
        if (!typemap_choose(&table->columns[i], encoding, options, &encoder->columns[i], out_error)) {
            row_encoder_deinit(encoder);
            return false;
        }
        encoder->columns[i].index = i;
    }
    limit_coerced(encoder, typemap_variant_size_max(options));
    return true;
}

void row_encoder_deinit(struct row_encoder *encoder)
{
    for (uint16_t i = 0; encoder->columns != NULL && i < encoder->table->column_count; i++)
        typemap_encoder_deinit(&encoder->columns[i]);
    free(encoder->columns);
    encoder->columns = NULL;
    buf_deinit(&encoder->coerced);
    buf_deinit(&encoder->key_old);
    buf_deinit(&encoder->key_new);
}

bool row_encoder_wants_text(const struct row_encoder *encoder)
{
    for (uint16_t i = 0; i < encoder->table->column_count; i++) {
        if (encoder->columns[i].wants_text)
            return true;
    }
    return false;
}

bool row_encoder_fails_oversized(const struct row_encoder *encoder)
{
    return encoder->table->column_count > 0 && encoder->columns[0].value->fails_oversized;
}

void row_encoder_limit_values(struct row_encoder *encoder, uint32_t bytes_max)
{
    encoder->is_limited = bytes_max > 0;
    for (uint16_t i = 0; i < encoder->table->column_count; i++)
        if (encoder->table->columns[i].key_position < 0)
            typemap_encoder_limit(&encoder->columns[i], bytes_max);
}

// One line being written. What fails is noted in error and ends it.
struct line {
    struct row_encoder *encoder;
    const struct row_change *change;
    struct buf *out;
    struct err *error;
    bool has_unchanged;
    bool is_moved;
    uint32_t coerced_values;
};

static bool fail(const struct line *line, const char *code, uint16_t column, const char *what)
{
    const struct table *table = line->encoder->table;
    const struct column *described = &table->columns[column];
    return err_set(line->error, ERR_DATA, code, "table %s.%s, column %s (%s): %s", table->schema_name,
                   table->table_name, described->name, described->type_name, what);
}

static bool has_row(const struct row_view *row)
{
    return row->count > 0;
}

// The value that the line shall hold: with a whole old row an unchanged column has its value there; a key column has it in
// either form of old row. Of a partitioned table the server calls an old row whole where the table has FULL, and sends what the
// partition's own identity has, with NULL for the rest (PostgreSQL, logicalrep_write_update and ExtractReplicaIdentity).
static const struct value *new_value(const struct line *line, uint16_t index)
{
    const struct value *value = &line->change->new_row.values[index];
    if (value->state != VALUE_UNCHANGED || !has_row(&line->change->old_row))
        return value;
    const struct table *table = line->encoder->table;
    bool is_whole = table->identity == IDENTITY_FULL && (!table->is_partitioned || table->key_count == 0);
    bool old_has_it = is_whole || table->columns[index].key_position >= 0;
    return old_has_it ? &line->change->old_row.values[index] : value;
}

void ndjson_insert_coerced_key(struct buf *coerced, size_t start, const struct column_encoder *column)
{
    size_t key_size = (size_t)column->key_size + (start > 0);  // and a comma between entries
    size_t text_size = coerced->size - start;
    if (!buf_reserve(coerced, key_size))
        return;
    memmove(coerced->data + start + key_size, coerced->data + start, text_size);
    coerced->size = start;
    if (start > 0)
        buf_append_byte(coerced, ',');
    buf_append(coerced, column->key, column->key_size);
    coerced->size += text_size;
}

static void tell_coerced(const struct line *line, uint16_t index)
{
    const struct row_encoder *encoder = line->encoder;
    const struct table *table = encoder->table;
    if (encoder->columns[index].was_coerced || encoder->pipeline == NULL)
        return;
    encoder->columns[index].was_coerced = true;
    struct buf type;
    buf_init(&type, 64);
    typemap_format_sql(&encoder->columns[index].target, false, &type);
    struct log_scope scope = {encoder->pipeline, table->table_name};
    log_line(LOG_WARNING, &scope, "value_coerced",
             "%s.%s.%s (%s): a value does not fit %s; the target has NULL or the nearest value, and the original is in "
             "_ETL_COERCED; said once for this column",
             table->schema_name, table->table_name, table->columns[index].name, table->columns[index].type_name,
             encoder->is_limited ? "what may be sent at a time" : buf_text(&type));
    buf_deinit(&type);
}

static bool append_column(struct line *line, uint16_t index, const struct value *value)
{
    struct row_encoder *encoder = line->encoder;
    const struct column_encoder *column = &encoder->columns[index];
    bool is_key = encoder->table->columns[index].key_position >= 0;
    if (value->state == VALUE_NULL)
        return !is_key || fail(line, "null_key", index, "is part of the key and NULL");
    if (value->state == VALUE_UNCHANGED) {
        line->has_unchanged = true;
        return !is_key || fail(line, "key_not_sent", index, "is part of the key and was not sent");
    }

    struct buf *out = line->out;
    struct buf *coerced = &encoder->coerced;
    size_t line_start = out->size;
    size_t coerced_start = coerced->size;
    buf_append_byte(out, ',');
    buf_append(out, column->key, column->key_size);
    size_t value_start = out->size;
    switch (column_encode(column, value, out, coerced)) {
    case VALUE_WRITTEN: return true;
    case VALUE_COERCED: break;
    case VALUE_OVERSIZED:
        return fail(line, "oversized", index,
                    "holds a value that is too large for the target, and oversized=fail is set");
    case VALUE_MALFORMED:
        return fail(line, "malformed_value", index,
                    value->state == VALUE_TEXT ? "the server's text is not of this type"
                                               : "the server's binary value is not of this type");
    }
    if (is_key)
        return fail(line, "coerced_key", index,
                    "is part of the key and holds a value that the target's type cannot hold; merging by it could "
                    "join different rows");
    if (out->size == value_start)
        out->size = line_start;
    ndjson_insert_coerced_key(coerced, coerced_start, column);
    line->coerced_values++;
    tell_coerced(line, index);
    return true;
}

static void append_unchanged(struct line *line)
{
    const struct table *table = line->encoder->table;
    buf_append_text(line->out, ",\"_ETL_UNCHANGED\":");
    uint8_t before = '[';
    for (uint16_t i = 0; i < table->column_count; i++) {
        if (new_value(line, i)->state != VALUE_UNCHANGED)
            continue;
        char digits[20];
        buf_append_byte(line->out, before);
        buf_append(line->out, digits, decimal_format_u64((uint64_t)table->columns[i].attribute_number, digits));
        before = ',';
    }
    buf_append_byte(line->out, ']');
}

static bool is_same(const struct value *a, const struct value *b)
{
    return a->state == b->state && a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static bool append_key_part(struct line *line, uint16_t index, const struct value *value, struct buf *out)
{
    const struct column_encoder *column = &line->encoder->columns[index];
    if (out->size > 0)
        buf_append_byte(out, ',');
    if (value->state == VALUE_NULL || value->state == VALUE_UNCHANGED)
        return fail(line, "null_key", index, "is part of the key and has no value in the old row");
    switch (column_encode(column, value, out, NULL)) {
    case VALUE_WRITTEN: return true;
    case VALUE_COERCED:
    case VALUE_OVERSIZED:
        return fail(line, "coerced_key", index,
                    "is part of the key, and its old value is one that the target's type cannot hold");
    case VALUE_MALFORMED: return fail(line, "malformed_value", index, "the old key's value is not of this type");
    }
    check_failed("a known outcome", __FILE__, __LINE__);
}

// Different bytes may be the same key in JSON: the same datum as text and as binary.
static bool append_old_key(struct line *line)
{
    struct row_encoder *encoder = line->encoder;
    const struct table *table = encoder->table;
    const struct row_change *change = line->change;
    bool is_moved = false;
    for (uint16_t i = 0; i < table->key_count && !is_moved; i++) {
        uint16_t index = table->key_columns[i];
        is_moved = !is_same(&change->old_row.values[index], new_value(line, index));
    }
    if (!is_moved)
        return true;

    buf_reset(&encoder->key_old);
    buf_reset(&encoder->key_new);
    for (uint16_t i = 0; i < table->key_count; i++) {
        uint16_t index = table->key_columns[i];
        if (!append_key_part(line, index, &change->old_row.values[index], &encoder->key_old) ||
            !append_key_part(line, index, new_value(line, index), &encoder->key_new))
            return false;
    }
    if (encoder->key_old.failed || encoder->key_new.failed) {
        line->out->failed = true;
        return true;
    }
    if (encoder->key_old.size == encoder->key_new.size &&
        memcmp(encoder->key_old.data, encoder->key_new.data, encoder->key_old.size) == 0)
        return true;
    buf_append_text(line->out, ",\"_ETL_OLD_KEY\":[");
    buf_append(line->out, encoder->key_old.data, encoder->key_old.size);
    buf_append_byte(line->out, ']');
    line->is_moved = true;
    return true;
}

static bool append_new_row(struct line *line)
{
    const struct table *table = line->encoder->table;
    for (uint16_t i = 0; i < table->column_count; i++) {
        if (!append_column(line, i, new_value(line, i)))
            return false;
    }
    if (line->change->op == 'U' && has_row(&line->change->old_row) && table->key_count > 0)
        return append_old_key(line);
    return true;
}

// The key is enough to delete a row by. Where there is none (a multiset), every value tells which row it was.
static bool append_deleted_row(struct line *line)
{
    const struct table *table = line->encoder->table;
    for (uint16_t i = 0; i < table->column_count; i++) {
        bool is_wanted = table->key_count == 0 || table->columns[i].key_position >= 0;
        if (is_wanted && !append_column(line, i, &line->change->old_row.values[i]))
            return false;
    }
    return true;
}

// All rows of a transaction have the same text, so it is made once.
static void append_commit_at(struct row_encoder *encoder, int64_t commit_time_us, struct buf *out)
{
    static const char key[] = ",\"_ETL_COMMIT_AT\":\"";
    if (encoder->commit_at_size == 0 || encoder->commit_time_us != commit_time_us) {
        if (!datetime_timestamp_fits(commit_time_us))
            return;
        encoder->commit_time_us = commit_time_us;
        encoder->commit_at_size = (uint8_t)datetime_format_timestamp(commit_time_us, true, encoder->commit_at);
    }
    buf_append(out, key, sizeof key - 1);
    buf_append(out, encoder->commit_at, encoder->commit_at_size);
    buf_append_byte(out, '"');
}

static bool append_line(struct line *line)
{
    struct buf *out = line->out;
    char head[27 + SEQ_TEXT_SIZE + 1] = "{\"_ETL_OP\":\"?\",\"_ETL_SEQ\":\"";
    head[12] = line->change->op;
    seq_format(&line->change->seq, head + 27);
    head[27 + SEQ_TEXT_SIZE] = '"';
    buf_append(out, head, sizeof head);
    if (line->encoder->has_commit_at && line->change->op != 'C')
        append_commit_at(line->encoder, line->change->commit_time_us, out);

    const struct row_view *wanted = line->change->op == 'D' ? &line->change->old_row : &line->change->new_row;
    if (has_row(wanted)) {
        bool is_complete = line->change->op == 'D' ? append_deleted_row(line) : append_new_row(line);
        if (!is_complete)
            return false;
    }
    if (line->has_unchanged)
        append_unchanged(line);
    struct buf *coerced = &line->encoder->coerced;
    if (coerced->size > 0) {
        buf_append_text(out, ",\"_ETL_COERCED\":{");
        buf_append(out, coerced->data, coerced->size);
        buf_append_byte(out, '}');
    }
    buf_append(out, "}\n", 2);
    return true;
}

bool ndjson_splits(const struct row_encoder *encoder, const struct row_change *change)
{
    return change->op == 'U' && table_is_multiset(encoder->table);
}

void ndjson_split(const struct row_change *update, struct row_change *out_removed, struct row_change *out_added)
{
    CHECK(update->op == 'U' && update->seq.ordinal < SEQ_ORDINAL_MAX);
    *out_removed = *update;
    out_removed->op = 'D';
    out_removed->new_row = (struct row_view){0};
    *out_added = *update;
    out_added->op = 'I';
    out_added->seq.ordinal++;
}

static bool check_counts(const struct line *line)
{
    const struct row_change *change = line->change;
    const struct table *table = line->encoder->table;
    bool wants_new = change->op == 'I' || change->op == 'U' || change->op == 'C';
    bool new_fits = change->new_row.count == (wants_new ? table->column_count : 0);
    bool old_fits = change->old_row.count == table->column_count || (change->op != 'D' && change->old_row.count == 0);
    CHECK(wants_new || change->op == 'D' || change->op == 'T');
    if (table->identity == IDENTITY_NOTHING && (change->op == 'U' || change->op == 'D'))
        return err_set(line->error, ERR_DATA, "partition_identity",
                       "table %s.%s is append-only as it has no replica identity, and a partition with one has sent an "
                       "update or a delete; give both the same one",
                       table->schema_name, table->table_name);
    if (ndjson_splits(line->encoder, change))
        return err_set(line->error, ERR_DATA, "not_split",
                       "table %s.%s: an update of a table without a key is two changes", table->schema_name,
                       table->table_name);
    if (new_fits && old_fits)
        return true;
    return err_set(line->error, ERR_DATA, "column_count",
                   "table %s.%s: a row has %u columns (old row: %u), the table as it is known has %u",
                   table->schema_name, table->table_name, change->new_row.count, change->old_row.count,
                   table->column_count);
}

bool ndjson_append_change(struct row_encoder *encoder, const struct row_change *change, struct buf *out,
                          struct err *out_error)
{
    struct line line = {.encoder = encoder, .change = change, .out = out, .error = out_error};
    size_t start = out->size;
    if (out->failed)
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "the batch has failed already");
    buf_reset(&encoder->coerced);
    bool is_complete = check_counts(&line) && append_line(&line);
    if (is_complete && (out->failed || encoder->coerced.failed))
        is_complete =
            err_set(out_error, ERR_INTERNAL, "out_of_memory",
                    "table %s.%s: a row does not fit the batch's buffer (%zu of at most %zu bytes are in use)",
                    encoder->table->schema_name, encoder->table->table_name, start, out->capacity_max);
    if (!is_complete) {
        // As it was before: the rows that are in it already can still be sent.
        out->size = start;
        out->failed = false;
        out->is_over = false;
        return false;
    }
    encoder->coerced_values += line.coerced_values;
    encoder->unchanged_rows += line.has_unchanged;
    encoder->moved_rows += line.is_moved;
    return true;
}
