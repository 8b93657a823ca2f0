#include "encode/scalar_read.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "encode/datetime.h"
#include "encode/decimal.h"

static uint32_t load_u32(const uint8_t *bytes)
{
    uint32_t big_endian;
    memcpy(&big_endian, bytes, sizeof big_endian);
    return be32toh(big_endian);
}

static uint64_t load_u64(const uint8_t *bytes)
{
    uint64_t big_endian;
    memcpy(&big_endian, bytes, sizeof big_endian);
    return be64toh(big_endian);
}

static bool is_text(const struct value *value, const char *text)
{
    return value->size == strlen(text) && memcmp(value->data, text, value->size) == 0;
}

static bool parse_u64(const uint8_t *text, size_t size, uint64_t number_max, uint64_t *out_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (number > (number_max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *out_number = number;
    return size > 0;
}

static bool parse_i64(const uint8_t *text, size_t size, int64_t number_max, int64_t *out_number)
{
    uint64_t magnitude;
    bool is_negative = size > 0 && text[0] == '-';
    uint64_t magnitude_max = (uint64_t)number_max + is_negative;
    if (!parse_u64(text + is_negative, size - is_negative, magnitude_max, &magnitude))
        return false;
    *out_number = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return true;
}

// Big-endian, two's complement.
bool scalar_read_integer(enum value_kind kind, const struct value *value, int64_t *out_number)
{
    bool is_binary = value->state == VALUE_BINARY;
    switch (kind) {
    case KIND_INT2:
        if (!is_binary)
            return parse_i64(value->data, value->size, INT16_MAX, out_number);
        if (value->size != 2)
            return false;
        *out_number = (int16_t)(value->data[0] << 8 | value->data[1]);
        return true;
    case KIND_INT4:
        if (!is_binary)
            return parse_i64(value->data, value->size, INT32_MAX, out_number);
        if (value->size != 4)
            return false;
        *out_number = (int32_t)load_u32(value->data);
        return true;
    default:
        if (!is_binary)
            return parse_i64(value->data, value->size, INT64_MAX, out_number);
        if (value->size != 8)
            return false;
        *out_number = (int64_t)load_u64(value->data);
        return true;
    }
}

bool scalar_read_unsigned(enum value_kind kind, const struct value *value, uint64_t *out_number)
{
    uint64_t number_max = kind == KIND_OID ? UINT32_MAX : UINT64_MAX;
    if (value->state == VALUE_TEXT)
        return parse_u64(value->data, value->size, number_max, out_number);
    if (value->size != (kind == KIND_OID ? 4U : 8U))
        return false;
    *out_number = kind == KIND_OID ? load_u32(value->data) : load_u64(value->data);
    return true;
}

bool scalar_append_numeric(const struct value *value, struct buf *out)
{
    if (value->state == VALUE_BINARY)
        return decimal_append_text(value->data, value->size, out);
    buf_append(out, value->data, value->size);
    return true;
}

// Digits, point and exponent as PostgreSQL prints a float; strtod alone would take more ("0x1p3", " 1", "nan(7)").
static bool is_float_text(const uint8_t *text, size_t size)
{
    if (size == 0 || size > 64)
        return false;
    for (size_t i = 0; i < size; i++) {
        if ((text[i] < '0' || text[i] > '9') && memchr("+-.e", text[i], 4) == NULL)
            return false;
    }
    return true;
}

static bool parse_float(const struct value *value, bool is_float4, double *out_double, float *out_float)
{
    static const struct {
        const char *text;
        double number;
    } words[] = {{"NaN", (double)NAN}, {"Infinity", (double)INFINITY}, {"-Infinity", (double)-INFINITY}};
    for (size_t i = 0; i < 3; i++) {
        if (is_text(value, words[i].text)) {
            *out_double = words[i].number;
            *out_float = (float)words[i].number;
            return true;
        }
    }
    char text[65];
    char *end;
    if (!is_float_text(value->data, value->size))
        return false;
    memcpy(text, value->data, value->size);
    text[value->size] = '\0';
    if (is_float4)
        *out_float = strtof(text, &end);
    else
        *out_double = strtod(text, &end);
    // A process that set LC_NUMERIC to a decimal comma would stop at the point: malformed, not half a number.
    return end == text + value->size && isfinite(is_float4 ? (double)*out_float : *out_double);
}

size_t scalar_format_float(enum value_kind kind, const struct value *value, char out_text[FLOAT_TEXT_SIZE_MAX])
{
    double number8 = 0;
    float number4 = 0;
    bool is_float4 = kind == KIND_FLOAT4;
    if (value->state == VALUE_TEXT) {
        if (!parse_float(value, is_float4, &number8, &number4))
            return 0;
    } else if (value->size != (is_float4 ? 4U : 8U)) {
        return 0;
    } else if (is_float4) {
        uint32_t bits = load_u32(value->data);
        memcpy(&number4, &bits, sizeof bits);
    } else {
        uint64_t bits = load_u64(value->data);
        memcpy(&number8, &bits, sizeof bits);
    }
    return is_float4 ? float4_format(number4, out_text) : float8_format(number8, out_text);
}

int scalar_hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    uint8_t letter = byte | 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

bool scalar_read_date(const struct value *value, int32_t *out_days)
{
    if (value->state == VALUE_TEXT)
        return datetime_parse_date(value->data, value->size, out_days);
    if (value->size != 4)
        return false;
    *out_days = (int32_t)load_u32(value->data);
    return true;
}

bool scalar_read_time(const struct value *value, int64_t *out_us)
{
    if (value->state == VALUE_TEXT)
        return datetime_parse_time(value->data, value->size, out_us);
    if (value->size != 8)
        return false;
    *out_us = (int64_t)load_u64(value->data);
    return *out_us >= 0 && *out_us <= DATETIME_DAY_US;
}

bool scalar_read_timestamp(enum value_kind kind, const struct value *value, int64_t *out_us)
{
    if (value->state == VALUE_TEXT)
        return datetime_parse_timestamp(value->data, value->size, kind == KIND_TIMESTAMPTZ, out_us);
    if (value->size != 8)
        return false;
    *out_us = (int64_t)load_u64(value->data);
    return true;
}

static bool is_uuid_dash(size_t position)
{
    return position == 8 || position == 13 || position == 18 || position == 23;
}

static void format_uuid_bytes(const uint8_t *bytes, char out_text[SCALAR_UUID_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    size_t position = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out_text[position++] = '-';
        out_text[position++] = hex[bytes[i] >> 4];
        out_text[position++] = hex[bytes[i] & 15];
    }
}

bool scalar_format_uuid(const struct value *value, char out_text[SCALAR_UUID_TEXT_SIZE])
{
    if (value->state == VALUE_BINARY) {
        if (value->size != 16)
            return false;
        format_uuid_bytes(value->data, out_text);
        return true;
    }
    if (value->size != SCALAR_UUID_TEXT_SIZE)
        return false;
    for (size_t i = 0; i < SCALAR_UUID_TEXT_SIZE; i++) {
        int digit = scalar_hex_digit(value->data[i]);
        if (is_uuid_dash(i) ? value->data[i] != '-' : digit < 0)
            return false;
        out_text[i] = is_uuid_dash(i) ? '-' : "0123456789abcdef"[digit];
    }
    return true;
}

// jsonb_send: one byte of version (1), then the text. json is its text.
bool scalar_read_json(enum value_kind kind, const struct value *value, struct value *out_text)
{
    *out_text = *value;
    if (kind != KIND_JSONB || value->state == VALUE_TEXT)
        return true;
    if (value->size < 1 || value->data[0] != 1)
        return false;
    out_text->data++;
    out_text->size--;
    return true;
}
