#include "encode/scalar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "encode/datetime.h"
#include "encode/decimal.h"
#include "encode/encoding.h"
#include "encode/json_line.h"
#include "encode/scalar_read.h"
#include "encode/server_text.h"

static bool is_oversized(const struct value_encoder *encoder, size_t size)
{
    return encoder->size_max != 0 && size > encoder->size_max;
}

// Binary: one byte, 0 or 1. Text: t or f.
static enum value_outcome encode_bool(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    (void)encoder;
    (void)coerced;
    if (value->size != 1)
        return VALUE_MALFORMED;
    uint8_t byte = value->data[0];
    if (value->state == VALUE_TEXT && byte != 't' && byte != 'f')
        return VALUE_MALFORMED;
    bool is_true = value->state == VALUE_TEXT ? byte == 't' : byte != 0;
    buf_append(out, is_true ? "true" : "false", is_true ? 4 : 5);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_int2(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    (void)encoder;
    (void)coerced;
    int64_t number;
    if (!scalar_read_integer(KIND_INT2, value, &number))
        return VALUE_MALFORMED;
    decimal_append_i64_json(number, out);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_int4(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    (void)encoder;
    (void)coerced;
    int64_t number;
    if (!scalar_read_integer(KIND_INT4, value, &number))
        return VALUE_MALFORMED;
    decimal_append_i64_json(number, out);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_int8(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    (void)encoder;
    (void)coerced;
    int64_t number;
    if (!scalar_read_integer(KIND_INT8, value, &number))
        return VALUE_MALFORMED;
    decimal_append_i64_json(number, out);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_unsigned(const struct value_encoder *encoder, const struct value *value,
                                          struct buf *out, struct buf *coerced)
{
    (void)coerced;
    uint64_t number;
    if (!scalar_read_unsigned(encoder->kind, value, &number))
        return VALUE_MALFORMED;
    decimal_append_u64_json(number, out);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_numeric(const struct value_encoder *encoder, const struct value *value,
                                         struct buf *out, struct buf *coerced)
{
    size_t start = out->size;
    if (!scalar_append_numeric(value, out))
        return VALUE_MALFORMED;
    switch (decimal_finish_json(out, start, encoder->target.precision, encoder->target.scale)) {
    case DECIMAL_FITS: return VALUE_WRITTEN;
    case DECIMAL_ROUNDED:
    case DECIMAL_OUTSIDE: return server_text_coerce(encoder, value, coerced);
    case DECIMAL_MALFORMED: return VALUE_MALFORMED;
    }
    check_failed("a known fit of a numeric", __FILE__, __LINE__);
}

// No NUMBER is wide enough: the digits as a string, NaN and Infinity too.
static enum value_outcome encode_numeric_text(const struct value_encoder *encoder, const struct value *value,
                                              struct buf *out, struct buf *coerced)
{
    size_t quote = out->size;
    buf_append_byte(out, '"');
    size_t start = out->size;
    if (!scalar_append_numeric(value, out))
        return VALUE_MALFORMED;
    size_t size = out->size - start;
    if (is_oversized(encoder, size)) {
        out->size = quote;
        return server_text_coerce_oversized(encoder, size, coerced);
    }
    for (size_t i = start; i < out->size; i++) {
        uint8_t byte = out->data[i];
        uint8_t letter = byte | 0x20;
        if ((byte < '0' || byte > '9') && (letter < 'a' || letter > 'z') && byte != '.' && byte != '-')
            return VALUE_MALFORMED;
    }
    buf_append_byte(out, '"');
    return VALUE_WRITTEN;
}

// JSON has no NaN and no Infinity; Snowflake takes them as strings.
static void append_float_json(const char *text, size_t size, struct buf *out)
{
    bool is_word = text[size - 1] == 'N' || text[size - 1] == 'y';
    if (is_word)
        buf_append_byte(out, '"');
    buf_append(out, text, size);
    if (is_word)
        buf_append_byte(out, '"');
}

static enum value_outcome encode_float(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                       struct buf *coerced)
{
    (void)coerced;
    char text[FLOAT_TEXT_SIZE_MAX];
    size_t size = scalar_format_float(encoder->kind, value, text);
    if (size == 0)
        return VALUE_MALFORMED;
    append_float_json(text, size, out);
    return VALUE_WRITTEN;
}

// The nearest double. The value is coerced unless that prints the same digits again, and is nothing beyond a double's range.
static enum value_outcome encode_numeric_float(const struct value_encoder *encoder, const struct value *value,
                                               struct buf *out, struct buf *coerced)
{
    char text[FLOAT_TEXT_SIZE_MAX];
    size_t start = out->size;
    if (!scalar_append_numeric(value, out))
        return VALUE_MALFORMED;
    buf_append_byte(out, '\0');
    if (out->failed)
        return VALUE_WRITTEN;  // the row's writer sees the failure
    const char *digits = (const char *)out->data + start;
    size_t size = out->size - start - 1;
    bool is_exact = json_number_is_double(out->data + start, size);
    if (size < sizeof text && (strcmp(digits, "NaN") == 0 || strcmp(digits + (*digits == '-'), "Infinity") == 0)) {
        memcpy(text, digits, size);
        is_exact = true;
    } else {
        char *end;
        double number = strtod(digits, &end);
        if (end != digits + size || size == 0)
            return VALUE_MALFORMED;
        size = isfinite(number) ? float8_format(number, text) : 0;
    }
    out->size = start;
    if (size > 0)
        append_float_json(text, size, out);
    return is_exact ? VALUE_WRITTEN : server_text_coerce(encoder, value, coerced);
}

// The text is too long. Where the options say so, its longest beginning of whole characters stays: out->data[start ..) is a
// JSON string as we write it.
static enum value_outcome shorten_text(const struct value_encoder *encoder, size_t text_size, size_t start,
                                       struct buf *out, struct buf *coerced)
{
    if (!encoder->truncates_oversized) {
        out->size = start;
        return server_text_coerce_oversized(encoder, text_size, coerced);
    }
    size_t position = start + 1;
    for (size_t bytes = 0; position < out->size - 1;) {
        size_t json_size;
        size_t character = utf8_json_character(out->data + position, &json_size);
        if (character > encoder->size_max - bytes)
            break;
        bytes += character;
        position += json_size;
    }
    out->data[position] = '"';
    out->size = position + 1;
    return server_text_coerce_oversized(encoder, text_size, coerced);
}

enum value_outcome scalar_encode_text(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    size_t start = out->size;
    if (encoding_is_utf8(encoder->encoding) && is_oversized(encoder, value->size) && !encoder->truncates_oversized)
        return server_text_coerce_oversized(encoder, value->size, coerced);
    buf_append_byte(out, '"');
    bool is_valid = encoding_append_json(encoder->encoding, value->data, value->size, out);
    buf_append_byte(out, '"');
    // Escapes and other encodings make the sizes differ: only where the JSON is long is the text behind it measured.
    if (!out->failed && is_oversized(encoder, out->size - start - 2)) {
        size_t text_size = utf8_json_text_size(out->data + start + 1, out->size - start - 2);
        if (is_oversized(encoder, text_size))
            return shorten_text(encoder, text_size, start, out, coerced);
    }
    if (is_valid)
        return VALUE_WRITTEN;
    scalar_append_original(encoder, value->data, value->size, coerced);
    return VALUE_COERCED;
}

static enum value_outcome encode_server_text(const struct value_encoder *encoder, const struct value *value,
                                             struct buf *out, struct buf *coerced)
{
    return value->state == VALUE_TEXT ? scalar_encode_text(encoder, value, out, coerced) : VALUE_MALFORMED;
}

// "char": binary is the byte itself, 0 for the empty string. Text is that byte, or (from 16 on, above ASCII) \ooo, which we write in every
// case, as such a byte alone is text in no encoding.
static enum value_outcome encode_char(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    if (value->size != 1)
        return value->state == VALUE_TEXT ? scalar_encode_text(encoder, value, out, coerced) : VALUE_MALFORMED;
    uint8_t byte = value->data[0];
    if (byte == 0) {
        buf_append(out, "\"\"", 2);
        return VALUE_WRITTEN;
    }
    if (byte < 0x80)
        return scalar_encode_text(encoder, value, out, coerced);
    char escape[7] = {
        '"', '\\', '\\', (char)('0' + (byte >> 6)), (char)('0' + (byte >> 3 & 7)), (char)('0' + (byte & 7)), '"'};
    buf_append(out, escape, sizeof escape);
    return VALUE_WRITTEN;
}

static void append_base64(const uint8_t *bytes, size_t size, struct buf *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!buf_reserve(out, size / 3 * 4 + 4))
        return;
    uint8_t *to = out->data + out->size;
    size_t i = 0;
    for (; size - i >= 3; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
        *to++ = (uint8_t)letters[group >> 18];
        *to++ = (uint8_t)letters[group >> 12 & 63];
        *to++ = (uint8_t)letters[group >> 6 & 63];
        *to++ = (uint8_t)letters[group & 63];
    }
    if (i < size) {
        bool has_two = size - i == 2;
        uint32_t group = (uint32_t)bytes[i] << 16 | (has_two ? (uint32_t)bytes[i + 1] << 8 : 0);
        *to++ = (uint8_t)letters[group >> 18];
        *to++ = (uint8_t)letters[group >> 12 & 63];
        *to++ = has_two ? (uint8_t)letters[group >> 6 & 63] : '=';
        *to++ = '=';
    }
    out->size = (size_t)(to - out->data);
}

// bytea_output = hex, which our connections pin: \x6162ff. Decoded in pieces of a multiple of three bytes, so that base64 needs no padding
// between them.
static bool append_base64_of_hex(const uint8_t *text, size_t size, struct buf *out)
{
    uint8_t piece[768];
    size_t filled = 0;
    for (size_t i = 0; i < size; i += 2) {
        int high = scalar_hex_digit(text[i]);
        int low = scalar_hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        piece[filled++] = (uint8_t)(high << 4 | low);
        if (filled == sizeof piece) {
            append_base64(piece, filled, out);
            filled = 0;
        }
    }
    append_base64(piece, filled, out);
    return true;
}

static enum value_outcome encode_bytea(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                       struct buf *coerced)
{
    size_t size = value->size;
    if (value->state == VALUE_TEXT) {
        if (size < 2 || size % 2 != 0 || value->data[0] != '\\' || value->data[1] != 'x')
            return VALUE_MALFORMED;
        size = size / 2 - 1;
    }
    if (is_oversized(encoder, size))
        return server_text_coerce_oversized(encoder, size, coerced);
    buf_append_byte(out, '"');
    if (value->state == VALUE_BINARY)
        append_base64(value->data, size, out);
    else if (!append_base64_of_hex(value->data + 2, 2 * size, out))
        return VALUE_MALFORMED;
    buf_append_byte(out, '"');
    return VALUE_WRITTEN;
}

static enum value_outcome encode_date(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    int32_t days;
    if (!scalar_read_date(value, &days))
        return VALUE_MALFORMED;
    if (!datetime_date_fits(days))
        return server_text_coerce(encoder, value, coerced);
    char text[DATETIME_TEXT_SIZE_MAX] = "\"";
    size_t size = 1 + datetime_format_date(days, text + 1);
    text[size++] = '"';
    buf_append(out, text, size);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_time(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    int64_t us;
    if (!scalar_read_time(value, &us))
        return VALUE_MALFORMED;
    if (us == DATETIME_DAY_US)
        return server_text_coerce(encoder, value, coerced);
    char text[DATETIME_TEXT_SIZE_MAX] = "\"";
    size_t size = 1 + datetime_format_time(us, text + 1);
    text[size++] = '"';
    buf_append(out, text, size);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_timestamp(const struct value_encoder *encoder, const struct value *value,
                                           struct buf *out, struct buf *coerced)
{
    int64_t us;
    if (!scalar_read_timestamp(encoder->kind, value, &us))
        return VALUE_MALFORMED;
    if (!datetime_timestamp_fits(us))
        return server_text_coerce(encoder, value, coerced);
    char text[DATETIME_TEXT_SIZE_MAX] = "\"";
    size_t size = 1 + datetime_format_timestamp(us, encoder->kind == KIND_TIMESTAMPTZ, text + 1);
    text[size++] = '"';
    buf_append(out, text, size);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_uuid(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    (void)encoder;
    (void)coerced;
    char text[SCALAR_UUID_TEXT_SIZE + 2] = "\"";
    if (!scalar_format_uuid(value, text + 1))
        return VALUE_MALFORMED;
    text[SCALAR_UUID_TEXT_SIZE + 1] = '"';
    buf_append(out, text, sizeof text);
    return VALUE_WRITTEN;
}

static enum value_outcome encode_json(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    struct value text;
    size_t start = out->size;
    if (!scalar_read_json(encoder->kind, value, &text))
        return VALUE_MALFORMED;
    // In other encodings than UTF-8 what counts is the UTF-8 that it becomes, of which no encoding takes twice as much.
    if (is_oversized(encoder, encoding_is_utf8(encoder->encoding) ? text.size : text.size / 2))
        return server_text_coerce_oversized(encoder, text.size, coerced);
    bool is_valid = encoding_append_utf8(encoder->encoding, text.data, text.size, out);
    if (out->failed)
        return VALUE_WRITTEN;  // the row's writer sees the failure
    size_t size = out->size - start;
    if (is_oversized(encoder, size)) {
        out->size = start;
        return server_text_coerce_oversized(encoder, size, coerced);
    }
    // The keys of a jsonb differ, but not for certain any more when they are converted: bytes that are no text become equal, and some
    // characters of EUC_JP are the same in Unicode.
    bool may_repeat_keys = encoder->kind == KIND_JSON || !is_valid || !encoding_is_utf8(encoder->encoding);
    struct buf *keys = may_repeat_keys ? encoder->scratch : NULL;
    enum json_line_fit fit = json_line_make(out->data + start, out->size - start, keys);
    if (keys != NULL && keys->failed) {
        out->failed = true;
        return VALUE_WRITTEN;
    }
    switch (fit) {
    case JSON_LINE_FITS:
        if (is_valid)
            return VALUE_WRITTEN;
        break;
    case JSON_LINE_REPAIRED: break;
    case JSON_LINE_INEXACT: out->size = start; break;
    case JSON_LINE_MALFORMED: return VALUE_MALFORMED;
    }
    scalar_append_original(encoder, text.data, text.size, coerced);
    return VALUE_COERCED;
}

value_encode scalar_encode_of(enum value_kind kind, enum target_kind target)
{
    switch (kind) {
    case KIND_SERVER_TEXT: return encode_server_text;
    case KIND_BOOL: return encode_bool;
    case KIND_INT2: return encode_int2;
    case KIND_INT4: return encode_int4;
    case KIND_INT8: return encode_int8;
    case KIND_OID:
    case KIND_XID8: return encode_unsigned;
    case KIND_NUMERIC:
        return target == TARGET_VARCHAR ? encode_numeric_text
               : target == TARGET_FLOAT ? encode_numeric_float
                                        : encode_numeric;
    case KIND_FLOAT4:
    case KIND_FLOAT8: return encode_float;
    case KIND_TEXT: return scalar_encode_text;
    case KIND_CHAR: return encode_char;
    case KIND_BYTEA: return encode_bytea;
    case KIND_DATE: return encode_date;
    case KIND_TIME: return encode_time;
    case KIND_TIMESTAMP:
    case KIND_TIMESTAMPTZ: return encode_timestamp;
    case KIND_UUID: return encode_uuid;
    case KIND_JSON:
    case KIND_JSONB: return encode_json;
    default: check_failed("a kind of value that is not made of others", __FILE__, __LINE__);
    }
}
