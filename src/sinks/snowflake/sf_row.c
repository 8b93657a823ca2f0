// One row into a channel's batch, such that it can be sent: an append holds 4 MiB as it goes over the wire, and a row cannot be
// divided. (Snowflake's documentation, "Limitations of Snowpipe Streaming with high-performance architecture": REST payload limit.)
#include "sinks/snowflake/sf_row.h"

#include "base/check.h"
#include "sinks/snowflake/sf_sink_private.h"

// The limits that are tried for the row's values, from the first down by halves. Powers of two, so that a row gets the same one
// whenever it is written.
#define VALUE_BYTES_FIRST (2U << 20)

// Alone in an append, as a row of that length is sent.
static bool fits(const struct sf_sink_table *table, const uint8_t *line, size_t size, struct err *out_error)
{
    struct buf wire;
    size_t last;
    if (size <= SF_ROW_SURE_BYTES)
        return true;
    buf_init(&wire, SF_APPEND_WIRE_BYTES_MAX);
    bool is_small = zstd_compress_front(table->sink->channel_shared.zstd, line, &size, 1, SF_APPEND_WIRE_BYTES_MAX,
                                        &wire, &last, out_error);
    buf_deinit(&wire);
    return is_small;
}

static bool fail(const struct sf_sink_table *table, size_t size, const char *why, struct err *out_error)
{
    const struct table *of = table->layout.table;
    return err_set(out_error, ERR_DATA, "row_too_large",
                   "table %s.%s: a row of %zu bytes does not fit the %zu bytes that Snowflake takes at a time, "
                   "compressed; %s",
                   of->schema_name, of->table_name, size, SF_APPEND_WIRE_BYTES_MAX, why);
}

static bool shorten(struct sf_sink_table *table, const struct row_change *change, struct buf *batch, size_t start,
                    struct err *out_error)
{
    struct row_encoder *encoder = &table->encoder;
    size_t size = batch->size - start;
    bool is_written = true, is_small = false;
    if (row_encoder_fails_oversized(encoder))
        return fail(table, size, "oversized=null or oversized=truncate would shorten its largest values", out_error);
    // Equal rows are counted: what is added and what is removed later would have to be shortened alike to the byte.
    if (table_is_multiset(table->layout.table))
        return fail(table, size, "a table without a key is compared by all its values, so that none can be left out",
                    out_error);
    for (uint32_t limit = VALUE_BYTES_FIRST; is_written && !is_small && limit >= SF_ROW_VALUE_BYTES_LAST; limit /= 2) {
        batch->size = start;
        row_encoder_limit_values(encoder, limit);
        is_written = ndjson_append_change(encoder, change, batch, out_error);
        is_small = is_written && fits(table, batch->data + start, batch->size - start, out_error);
    }
    row_encoder_limit_values(encoder, 0);
    if (is_written && !is_small && out_error->kind == ERR_DATA)
        fail(table, size, "its key, or the number of its columns, is too large for that", out_error);
    return is_small;
}

bool sf_row_append(struct sf_sink_table *table, const struct row_change *change, struct buf *batch,
                   struct err *out_error)
{
    size_t start = batch->size;
    uint64_t coerced_before = table->encoder.coerced_values;
    if (!ndjson_append_change(&table->encoder, change, batch, out_error))
        return false;
    if (fits(table, batch->data + start, batch->size - start, out_error))
        return true;
    bool is_done = out_error->kind == ERR_DATA;
    if (is_done) {
        table->encoder.coerced_values = coerced_before;
        is_done = shorten(table, change, batch, start, out_error);
    }
    if (!is_done)
        batch->size = start;
    return is_done;
}
