#include <string.h>

#include "base/check.h"
#include "encode/datetime.h"
#include "encode/decimal.h"
#include "encode/encoding.h"
#include "encode/scalar.h"
#include "encode/scalar_read.h"

void scalar_append_size(size_t size, struct buf *coerced)
{
    if (coerced == NULL)
        return;
    char digits[20];
    buf_append_byte(coerced, '"');
    buf_append(coerced, digits, decimal_format_u64(size, digits));
    buf_append_text(coerced, " bytes\"");
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

void scalar_append_original(const struct column_encoder *encoder, const uint8_t *text, size_t size, struct buf *coerced)
{
    if (coerced == NULL)
        return;
    size_t start = coerced->size;
    buf_append_byte(coerced, '"');
    if (!encoding_append_json(encoder->encoding, text, size, coerced) && !coerced->failed) {
        coerced->size = start + 1;
        buf_append_text(coerced, "\\\\x");  // a backslash, escaped, and x
        append_hex(text, size, coerced);
    }
    buf_append_byte(coerced, '"');
}

static bool append_integer(enum scalar_kind kind, const struct value *value, struct buf *out)
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

static bool append_unsigned(enum scalar_kind kind, const struct value *value, struct buf *out)
{
    uint64_t number;
    char digits[20];
    if (!scalar_read_unsigned(kind, value, &number))
        return false;
    buf_append(out, digits, decimal_format_u64(number, digits));
    return true;
}

static bool append_datetime(enum scalar_kind kind, const struct value *value, struct buf *out)
{
    char text[DATETIME_TEXT_SIZE_MAX];
    int32_t days;
    int64_t us;
    size_t size;
    if (kind == SCALAR_DATE) {
        if (!scalar_read_date(value, &days))
            return false;
        size = datetime_print_date(days, text);
    } else if (kind == SCALAR_TIME) {
        if (!scalar_read_time(value, &us))
            return false;
        size = datetime_print_time(us, text);
    } else {
        if (!scalar_read_timestamp(kind, value, &us))
            return false;
        size = datetime_print_timestamp(us, kind == SCALAR_TIMESTAMPTZ, text);
    }
    buf_append(out, text, size);
    return true;
}

static bool append_other(enum scalar_kind kind, const struct value *value, struct buf *out)
{
    char float_text[FLOAT_TEXT_SIZE_MAX];
    char uuid_text[SCALAR_UUID_TEXT_SIZE];
    struct value json;
    size_t size;
    switch (kind) {
    case SCALAR_FLOAT4:
    case SCALAR_FLOAT8:
        size = scalar_format_float(kind, value, float_text);
        buf_append(out, float_text, size);
        return size > 0;
    case SCALAR_UUID:
        if (!scalar_format_uuid(value, uuid_text))
            return false;
        buf_append(out, uuid_text, sizeof uuid_text);
        return true;
    case SCALAR_JSON:
    case SCALAR_JSONB:
        if (!scalar_read_json(kind, value, &json))
            return false;
        buf_append(out, json.data, json.size);
        return true;
    default: return false;  // the server's text has no binary form
    }
}

bool scalar_append_text(enum scalar_kind kind, const struct value *value, struct buf *out)
{
    CHECK(value->state == VALUE_BINARY);
    switch (kind) {
    case SCALAR_BOOL:
        if (value->size != 1)
            return false;
        buf_append_byte(out, value->data[0] != 0 ? 't' : 'f');
        return true;
    case SCALAR_INT2:
    case SCALAR_INT4:
    case SCALAR_INT8: return append_integer(kind, value, out);
    case SCALAR_OID:
    case SCALAR_XID8: return append_unsigned(kind, value, out);
    case SCALAR_NUMERIC: return scalar_append_numeric(value, out);
    case SCALAR_CHAR:
        if (value->size != 1)
            return false;
        buf_append(out, value->data, value->data[0] != 0);
        return true;
    case SCALAR_TEXT: buf_append(out, value->data, value->size); return true;
    case SCALAR_BYTEA:
        buf_append_text(out, "\\x");
        append_hex(value->data, value->size, out);
        return true;
    case SCALAR_DATE:
    case SCALAR_TIME:
    case SCALAR_TIMESTAMP:
    case SCALAR_TIMESTAMPTZ: return append_datetime(kind, value, out);
    default: return append_other(kind, value, out);
    }
}
