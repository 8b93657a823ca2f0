#include "verify/value.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "encode/datetime.h"
#include "encode/float_text.h"

#define NUMBER_DIGITS_MAX 38
#define NUMBER_SCALE_MAX 37
#define DIGITS_KEPT_MAX 200000  // of one number in JSON, which PostgreSQL bounds by about as many
#define DEPTH_MAX 20000
#define UNIX_EPOCH_DAYS 10957  // 2000-01-01 in days since 1970-01-01
#define SECOND_US INT64_C(1000000)

// ---- numbers

// A decimal number as JSON and Snowflake write it: ±digits × 10^exponent.
struct number {
    bool is_negative;
    char *digits;  // without zeros at either end; owned
    size_t count;
    long exponent;  // of the last digit
};

static bool number_read(const uint8_t *text, size_t size, struct number *out)
{
    size_t at = 0;
    bool has_point = false, has_digit = false;
    *out = (struct number){.digits = malloc(size + 1)};
    CHECK(out->digits != NULL);
    if (at < size && (text[at] == '-' || text[at] == '+'))
        out->is_negative = text[at++] == '-';
    for (; at < size && (isdigit(text[at]) || (text[at] == '.' && !has_point)); at++) {
        if (text[at] == '.') {
            has_point = true;
            continue;
        }
        has_digit = true;
        out->exponent -= has_point;
        if (out->count > 0 || text[at] != '0')
            out->digits[out->count++] = (char)text[at];
    }
    if (has_digit && at < size && (text[at] == 'e' || text[at] == 'E')) {
        char power[16] = {0}, *end = NULL;
        size_t length = size - at - 1;
        if (length == 0 || length >= sizeof power)
            return false;
        memcpy(power, text + at + 1, length);
        out->exponent += strtol(power, &end, 10);
        at = *end == '\0' ? size : at;
    }
    while (out->count > 0 && out->digits[out->count - 1] == '0') {
        out->count--;
        out->exponent++;
    }
    if (out->count == 0) {
        out->exponent = 0;
        out->is_negative = false;
    }
    return has_digit && at == size;
}

// Whether NUMBER(38, 37) holds it exactly.
static bool number_is_exact(const struct number *number)
{
    long whole = number->exponent > 0 ? number->exponent : 0;
    return (long)number->count + whole <= NUMBER_DIGITS_MAX && -number->exponent <= NUMBER_SCALE_MAX;
}

static void number_append_plain(const struct number *number, struct buf *out)
{
    long point = (long)number->count + number->exponent;  // digits before it
    if (number->is_negative)
        buf_append_byte(out, '-');
    if (point <= 0) {
        buf_append_text(out, number->count == 0 ? "0" : "0.");
        for (long i = point; number->count > 0 && i < 0; i++)
            buf_append_byte(out, '0');
        buf_append(out, number->digits, number->count);
        return;
    }
    size_t before = (size_t)point < number->count ? (size_t)point : number->count;
    buf_append(out, number->digits, before);
    for (long i = (long)before; i < point; i++)
        buf_append_byte(out, '0');
    if (before < number->count) {
        buf_append_byte(out, '.');
        buf_append(out, number->digits + before, number->count - before);
    }
}

static bool append_number(const uint8_t *text, size_t size, struct buf *out)
{
    struct number number;
    bool is_good = number_read(text, size, &number) && labs(number.exponent) < 1000;
    if (is_good)
        number_append_plain(&number, out);
    free(number.digits);
    return is_good;
}

static double read_double(const uint8_t *text, size_t size, bool *out_good)
{
    char *copy = malloc(size + 1), *end = NULL;
    CHECK(copy != NULL);
    memcpy(copy, text, size);
    copy[size] = '\0';
    double number = strtod(copy, &end);
    *out_good = size > 0 && *end == '\0';
    free(copy);
    return number;
}

static bool append_float(const uint8_t *text, size_t size, struct buf *out)
{
    char shown[FLOAT_TEXT_SIZE_MAX];
    bool is_good = false;
    double number = read_double(text, size, &is_good);
    if (is_good)
        buf_append(out, shown, float8_format(number == 0 ? 0.0 : number, shown));
    return is_good;
}

static bool append_json_number(const uint8_t *text, size_t size, struct buf *out)
{
    struct number number;
    bool is_good = size <= DIGITS_KEPT_MAX && number_read(text, size, &number);
    if (size > DIGITS_KEPT_MAX)
        return false;
    if (is_good && number_is_exact(&number))
        number_append_plain(&number, out);
    else if (is_good)
        buf_appendf(out, "%.14e", read_double(text, size, &is_good));
    free(number.digits);
    return is_good;
}

// ---- strings

static bool read_hex4(const uint8_t *text, size_t size, uint32_t *out)
{
    *out = 0;
    if (size < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        uint8_t c = text[i];
        if (!isxdigit(c))
            return false;
        *out = *out * 16 + (uint32_t)(isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return true;
}

static void append_utf8(uint32_t code, struct buf *out)
{
    if (code < 0x80) {
        buf_append_byte(out, (uint8_t)code);
    } else if (code < 0x800) {
        buf_append_byte(out, (uint8_t)(0xC0 | code >> 6));
        buf_append_byte(out, (uint8_t)(0x80 | (code & 0x3F)));
    } else if (code < 0x10000) {
        buf_append_byte(out, (uint8_t)(0xE0 | code >> 12));
        buf_append_byte(out, (uint8_t)(0x80 | (code >> 6 & 0x3F)));
        buf_append_byte(out, (uint8_t)(0x80 | (code & 0x3F)));
    } else {
        buf_append_byte(out, (uint8_t)(0xF0 | code >> 18));
        buf_append_byte(out, (uint8_t)(0x80 | (code >> 12 & 0x3F)));
        buf_append_byte(out, (uint8_t)(0x80 | (code >> 6 & 0x3F)));
        buf_append_byte(out, (uint8_t)(0x80 | (code & 0x3F)));
    }
}

// text[0] is the backslash. *out_used: how long the escape is; a pair of surrogates is one.
static bool append_unescaped(const uint8_t *text, size_t size, struct buf *out, size_t *out_used)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    uint32_t code = 0, low = 0;
    if (size < 2)
        return false;
    const char *found = text[1] != '\0' ? strchr(letters, text[1]) : NULL;
    *out_used = 2;
    if (found != NULL) {
        buf_append_byte(out, (uint8_t)meant[found - letters]);
        return true;
    }
    if (text[1] != 'u' || !read_hex4(text + 2, size - 2, &code))
        return false;
    *out_used = 6;
    if (code >= 0xD800 && code < 0xDC00 && size >= 12 && text[6] == '\\' && text[7] == 'u' &&
        read_hex4(text + 8, size - 8, &low) && low >= 0xDC00 && low < 0xE000) {
        *out_used = 12;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(code, out);
    return true;
}

// text: a JSON string with its quotes → what it says. *in_out_at: where it begins, then behind it.
static bool append_string(const uint8_t *text, size_t size, size_t *in_out_at, struct buf *out)
{
    size_t at = *in_out_at;
    if (at >= size || text[at++] != '"')
        return false;
    while (at < size && text[at] != '"') {
        size_t used = 1;
        if (text[at] != '\\')
            buf_append_byte(out, text[at]);
        else if (!append_unescaped(text + at, size - at, out, &used))
            return false;
        at += used;
    }
    if (at >= size)
        return false;
    *in_out_at = at + 1;
    return true;
}

static void append_quoted(const uint8_t *text, size_t size, struct buf *out)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] < 0x20)
            buf_appendf(out, "\\u%04x", text[i]);
        else if (text[i] == '"' || text[i] == '\\')
            buf_appendf(out, "\\%c", text[i]);
        else
            buf_append_byte(out, text[i]);
    }
    buf_append_byte(out, '"');
}

// ---- JSON

struct json_reader {
    const uint8_t *text;
    size_t size, at;
    struct buf *out;
    struct buf scratch;
    unsigned depth;
};

struct member {
    size_t start, key_size, size;  // in out; the key with its quotes
};

static bool read_json(struct json_reader *reader);

static void skip_blanks(struct json_reader *reader)
{
    while (reader->at < reader->size && strchr(" \t\r\n", reader->text[reader->at]) != NULL &&
           reader->text[reader->at] != '\0')
        reader->at++;
}

static bool take(struct json_reader *reader, uint8_t byte)
{
    skip_blanks(reader);
    if (reader->at >= reader->size || reader->text[reader->at] != byte)
        return false;
    reader->at++;
    return true;
}

static bool read_string(struct json_reader *reader)
{
    buf_reset(&reader->scratch);
    if (!append_string(reader->text, reader->size, &reader->at, &reader->scratch))
        return false;
    append_quoted(reader->scratch.data, reader->scratch.size, reader->out);
    return true;
}

static int compare_members(const void *a, const void *b, void *context)
{
    const uint8_t *data = context;
    const struct member *left = a, *right = b;
    size_t size = left->key_size < right->key_size ? left->key_size : right->key_size;
    int order = memcmp(data + left->start, data + right->start, size);
    return order != 0 ? order : (left->key_size > right->key_size) - (left->key_size < right->key_size);
}

// The members stand in out one after the other from `start` on: puts them in the order of their keys, with commas.
static void sort_members(struct buf *out, size_t start, struct member *members, size_t count)
{
    size_t size = out->size - start;
    uint8_t *copy = malloc(size + 1);
    CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, out->data + start, size);
    for (size_t i = 0; i < count; i++)
        members[i].start -= start;
    if (count > 1)
        qsort_r(members, count, sizeof *members, compare_members, copy);
    out->size = start;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append(out, copy + members[i].start, members[i].size);
    }
    free(copy);
}

static bool read_object(struct json_reader *reader)
{
    struct member *members = NULL;
    size_t count = 0, capacity = 0;
    bool is_good = true, is_first = true;
    buf_append_byte(reader->out, '{');
    size_t start = reader->out->size;
    while (is_good && !take(reader, '}')) {
        is_good = is_first || take(reader, ',');
        is_first = false;
        skip_blanks(reader);
        if (count == capacity) {
            capacity = 2 * capacity + 8;
            members = reallocarray(members, capacity, sizeof *members);
            CHECK(members != NULL);
        }
        struct member *member = &members[count++];
        member->start = reader->out->size;
        is_good = is_good && read_string(reader);
        member->key_size = reader->out->size - member->start;
        buf_append_byte(reader->out, ':');
        is_good = is_good && take(reader, ':') && read_json(reader);
        member->size = reader->out->size - member->start;
    }
    if (is_good && !reader->out->failed) {
        sort_members(reader->out, start, members, count);
        buf_append_byte(reader->out, '}');
    }
    free(members);
    return is_good;
}

static bool read_array(struct json_reader *reader)
{
    bool is_good = true, is_first = true;
    buf_append_byte(reader->out, '[');
    while (is_good && !take(reader, ']')) {
        is_good = is_first || take(reader, ',');
        if (!is_first)
            buf_append_byte(reader->out, ',');
        is_first = false;
        is_good = is_good && read_json(reader);
    }
    buf_append_byte(reader->out, ']');
    return is_good;
}

static bool read_json(struct json_reader *reader)
{
    static const char *const words[] = {"null", "true", "false"};
    skip_blanks(reader);
    if (reader->at >= reader->size || reader->depth == DEPTH_MAX)
        return false;
    const uint8_t *text = reader->text + reader->at;
    size_t left = reader->size - reader->at, size = 0;
    if (*text == '"')
        return read_string(reader);
    if (*text == '{' || *text == '[') {
        reader->at++;
        reader->depth++;
        bool is_good = *text == '{' ? read_object(reader) : read_array(reader);
        reader->depth--;
        return is_good;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i]);
        if (left >= length && memcmp(text, words[i], length) == 0) {
            buf_append_text(reader->out, words[i]);
            reader->at += length;
            return true;
        }
    }
    while (size < left && text[size] != '\0' && strchr("+-.0123456789eE", text[size]) != NULL)
        size++;
    reader->at += size;
    return size > 0 && append_json_number(text, size, reader->out);
}

bool value_append_json(const uint8_t *json, size_t size, struct buf *out)
{
    struct json_reader reader = {.text = json, .size = size, .out = out};
    size_t start = out->size;
    buf_init(&reader.scratch, SIZE_MAX);
    bool is_good = read_json(&reader);
    skip_blanks(&reader);
    buf_deinit(&reader.scratch);
    if (is_good && reader.at == size)
        return true;
    out->size = start;
    return false;
}

// ---- bytes and moments

static bool append_base64_as_hex(const uint8_t *text, size_t size, struct buf *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char hex[] = "0123456789ABCDEF";
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size && text[i] != '='; i++) {
        const char *found = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;
        if (found == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(found - alphabet);
        count += 6;
        if (count >= 8) {
            count -= 8;
            uint8_t byte = (uint8_t)(bits >> count);
            buf_append_byte(out, (uint8_t)hex[byte >> 4]);
            buf_append_byte(out, (uint8_t)hex[byte & 15]);
        }
    }
    return true;
}

// "-62135596800.000000000" → microseconds since 1970; *out_beyond: what is finer than that, as digits.
static bool read_seconds(const char *text, size_t size, int64_t *out_us, const char **out_beyond, size_t *out_size)
{
    bool is_negative = size > 0 && text[0] == '-';
    size_t at = is_negative, digits = 0;
    int64_t us = 0;
    for (; at < size && isdigit((unsigned char)text[at]) && us < INT64_MAX / 10000000; at++, digits++)
        us = us * 10 + (text[at] - '0');
    at += at < size && text[at] == '.';
    for (int i = 0; i < 6; i++)
        us = us * 10 + (at < size && isdigit((unsigned char)text[at]) ? text[at++] - '0' : 0);
    *out_us = is_negative ? -us : us;
    *out_beyond = text + at;
    while (size > at && text[size - 1] == '0')
        size--;
    *out_size = size - at;
    return digits > 0 && strspn(text + at, "0123456789") >= size - at;
}

static bool append_target_moment(enum target_kind kind, const char *text, size_t size, struct buf *out)
{
    const char *beyond = NULL, *blank = memchr(text, ' ', size);
    size_t beyond_size = 0;
    int64_t us = 0;
    char shown[DATETIME_TEXT_SIZE_MAX];
    if (blank != NULL && kind == TARGET_TIMESTAMP_TZ)
        size = (size_t)(blank - text);
    if (!read_seconds(text, size, &us, &beyond, &beyond_size))
        return false;
    if (kind == TARGET_TIME)
        buf_append(out, shown, us >= 0 && us < DATETIME_DAY_US ? datetime_format_time(us, shown) : 0);
    else
        us -= (int64_t)UNIX_EPOCH_DAYS * DATETIME_DAY_US;
    if (kind != TARGET_TIME && !datetime_timestamp_fits(us))
        buf_append(out, text, size);
    else if (kind != TARGET_TIME)
        buf_append(out, shown, datetime_format_timestamp(us, false, shown));
    buf_append(out, beyond, beyond_size);
    return true;
}

static bool append_target_date(const char *text, size_t size, struct buf *out)
{
    char shown[DATETIME_TEXT_SIZE_MAX], *end = NULL;
    long days = strtol(text, &end, 10);
    if (size == 0 || *end != '\0' || days < -800000 || days > 3000000)
        return false;
    int32_t since_2000 = (int32_t)days - UNIX_EPOCH_DAYS;
    if (datetime_date_fits(since_2000))
        buf_append(out, shown, datetime_format_date(since_2000, shown));
    else
        buf_append(out, text, size);
    return true;
}

// ---- values

bool value_of_source(const struct target_type *type, const uint8_t *json, size_t size, struct buf *out)
{
    size_t at = 0;
    bool is_string = size > 0 && json[0] == '"';
    struct buf text;
    buf_init(&text, SIZE_MAX);
    bool is_good = !is_string || (append_string(json, size, &at, &text) && at == size);
    const uint8_t *plain = is_string ? text.data : json;
    size_t plain_size = is_string ? text.size : size;
    switch (type->kind) {
    case TARGET_NUMBER: is_good = is_good && append_number(plain, plain_size, out); break;
    case TARGET_FLOAT: is_good = is_good && append_float(plain, plain_size, out); break;
    case TARGET_BINARY: is_good = is_good && append_base64_as_hex(plain, plain_size, out); break;
    case TARGET_VARIANT:
    case TARGET_ARRAY: is_good = is_good && value_append_json(json, size, out); break;
    case TARGET_TIMESTAMP_TZ:
        is_good = is_good && plain_size > 0 && plain[plain_size - 1] == 'Z';
        buf_append(out, plain, is_good ? plain_size - 1 : 0);
        break;
    case TARGET_BOOLEAN:
    case TARGET_VARCHAR:
    case TARGET_DATE:
    case TARGET_TIME:
    case TARGET_TIMESTAMP_NTZ: buf_append(out, plain, is_good ? plain_size : 0); break;
    }
    buf_deinit(&text);
    return is_good;
}

bool value_of_target(const struct target_type *type, const char *text, size_t size, struct buf *out)
{
    const uint8_t *bytes = (const uint8_t *)text;
    switch (type->kind) {
    case TARGET_NUMBER: return append_number(bytes, size, out);
    case TARGET_FLOAT: return append_float(bytes, size, out);
    case TARGET_DATE: return append_target_date(text, size, out);
    case TARGET_TIME:
    case TARGET_TIMESTAMP_NTZ:
    case TARGET_TIMESTAMP_TZ: return append_target_moment(type->kind, text, size, out);
    case TARGET_VARIANT:
    case TARGET_ARRAY: return value_append_json(bytes, size, out);
    case TARGET_BINARY:
        for (size_t i = 0; i < size; i++)
            buf_append_byte(out, (uint8_t)toupper((unsigned char)text[i]));
        return true;
    case TARGET_BOOLEAN:
        for (size_t i = 0; i < size; i++)
            buf_append_byte(out, (uint8_t)tolower((unsigned char)text[i]));
        return true;
    case TARGET_VARCHAR: buf_append(out, text, size); return true;
    }
    check_failed("a known kind", __FILE__, __LINE__);
}
