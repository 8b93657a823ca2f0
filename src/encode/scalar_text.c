#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "encode/datetime.h"
#include "encode/decimal.h"
#include "encode/encoding.h"
#include "encode/scalar.h"
#include "encode/scalar_read.h"

static void append_size(const char *before, size_t size, struct buf *coerced)
{
    if (coerced == NULL)
        return;
    char digits[20];
    buf_append_text(coerced, before);
    buf_append(coerced, digits, decimal_format_u64(size, digits));
    buf_append_text(coerced, " bytes\"");
}

void scalar_append_size(size_t size, struct buf *coerced)
{
    append_size("\"", size, coerced);
}

void scalar_append_size_above(size_t size, struct buf *coerced)
{
    append_size("\"more than ", size, coerced);
}

static void append_hex(const uint8_t *bytes, size_t size, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    if (!buf_reserve(out, 2 * size))
        return;
    for (size_t i = 0; i < size; i++) {
        out->data[out->size++] = (uint8_t)hex[bytes[i] >> 4];
        out->data[out->size++] = (uint8_t)hex[bytes[i] & 15];
    }
}

// Before it is written: what is longer stays longer.
static bool original_may_fit(const struct value_encoder *encoder, size_t size)
{
    return (encoder->size_max == 0 || size <= encoder->size_max) &&
           (size <= SCALAR_SIZE_TEXT_MAX || size <= encoder->coerced_size_max);
}

// The original was written to coerced from `start` on. What is as short as a size stays in any case.
static bool original_fits(const struct value_encoder *encoder, const struct buf *coerced, size_t start)
{
    size_t size = coerced->size - start - 2;  // without its quotes
    if (encoder->size_max != 0 && size > encoder->size_max &&
        utf8_json_text_size(coerced->data + start + 1, size) > encoder->size_max)
        return false;
    return size + 2 <= SCALAR_SIZE_TEXT_MAX || coerced->size <= encoder->coerced_size_max ||
           utf8_json_text_size(coerced->data, coerced->size) <= encoder->coerced_size_max;
}

void scalar_append_original(const struct value_encoder *encoder, const uint8_t *text, size_t size, struct buf *coerced)
{
    if (coerced == NULL)
        return;
    size_t start = coerced->size;
    bool fits = original_may_fit(encoder, size);
    if (fits) {
        buf_append_byte(coerced, '"');
        if (!encoding_append_json(encoder->encoding, text, size, coerced) && !coerced->failed) {
            coerced->size = start + 1;
            buf_append_text(coerced, "\\\\x");  // a backslash, escaped, and x
            append_hex(text, size, coerced);
        }
        buf_append_byte(coerced, '"');
        fits = coerced->failed || original_fits(encoder, coerced, start);
    }
    if (!fits) {
        coerced->size = start;
        scalar_append_size(size, coerced);
    }
}

static bool append_integer(enum value_kind kind, const struct value *value, struct buf *out)
{
    int64_t number;
    char digits[20];
    if (!scalar_read_integer(kind, value, &number))
        return false;
    if (number < 0)
        buf_append_byte(out, '-');
    buf_append(out, digits, decimal_format_u64(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, digits));
    return true;
}

static bool append_unsigned(enum value_kind kind, const struct value *value, struct buf *out)
{
    uint64_t number;
    char digits[20];
    if (!scalar_read_unsigned(kind, value, &number))
        return false;
    buf_append(out, digits, decimal_format_u64(number, digits));
    return true;
}

static bool append_datetime(enum value_kind kind, const struct value *value, struct buf *out)
{
    char text[DATETIME_TEXT_SIZE_MAX];
    int32_t days;
    int64_t us;
    size_t size;
    if (kind == KIND_DATE) {
        if (!scalar_read_date(value, &days))
            return false;
        size = datetime_print_date(days, text);
    } else if (kind == KIND_TIME) {
        if (!scalar_read_time(value, &us))
            return false;
        size = datetime_print_time(us, text);
    } else {
        if (!scalar_read_timestamp(kind, value, &us))
            return false;
        size = datetime_print_timestamp(us, kind == KIND_TIMESTAMPTZ, text);
    }
    buf_append(out, text, size);
    return true;
}

static bool append_other(enum value_kind kind, const struct value *value, struct buf *out)
{
    char float_text[FLOAT_TEXT_SIZE_MAX];
    char uuid_text[SCALAR_UUID_TEXT_SIZE];
    struct value json;
    size_t size;
    switch (kind) {
    case KIND_FLOAT4:
    case KIND_FLOAT8:
        size = scalar_format_float(kind, value, float_text);
        buf_append(out, float_text, size);
        return size > 0;
    case KIND_UUID:
        if (!scalar_format_uuid(value, uuid_text))
            return false;
        buf_append(out, uuid_text, sizeof uuid_text);
        return true;
    case KIND_JSON:
    case KIND_JSONB:
        if (!scalar_read_json(kind, value, &json))
            return false;
        buf_append(out, json.data, json.size);
        return true;
    default: return false;  // the server's text has no binary form
    }
}

// As servers from 16 on print it.
static void append_char(uint8_t byte, struct buf *out)
{
    char escape[4] = {'\\', (char)('0' + (byte >> 6)), (char)('0' + (byte >> 3 & 7)), (char)('0' + (byte & 7))};
    if (byte >= 0x80)
        buf_append(out, escape, sizeof escape);
    else if (byte != 0)
        buf_append_byte(out, byte);
}

bool scalar_append_text(enum value_kind kind, const struct value *value, struct buf *out)
{
    CHECK(value->state == VALUE_BINARY);
    switch (kind) {
    case KIND_BOOL:
        if (value->size != 1)
            return false;
        buf_append_byte(out, value->data[0] != 0 ? 't' : 'f');
        return true;
    case KIND_INT2:
    case KIND_INT4:
    case KIND_INT8: return append_integer(kind, value, out);
    case KIND_OID:
    case KIND_XID8: return append_unsigned(kind, value, out);
    case KIND_NUMERIC: return scalar_append_numeric(value, out);
    case KIND_CHAR:
        if (value->size != 1)
            return false;
        append_char(value->data[0], out);
        return true;
    case KIND_TEXT: buf_append(out, value->data, value->size); return true;
    case KIND_BYTEA:
        buf_append_text(out, "\\x");
        append_hex(value->data, value->size, out);
        return true;
    case KIND_DATE:
    case KIND_TIME:
    case KIND_TIMESTAMP:
    case KIND_TIMESTAMPTZ: return append_datetime(kind, value, out);
    default: return append_other(kind, value, out);
    }
}
