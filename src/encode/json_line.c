#include "encode/json_line.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "encode/float_text.h"
#include "encode/json_keys.h"

#define NUMBER_DIGITS_MAX 38  // of a NUMBER, so of an exact number in a VARIANT
#define NUMBER_SCALE_MAX 37
#define DOUBLE_DIGITS_MAX 17  // no double needs more

struct cursor {
    uint8_t *text;
    size_t size;
    size_t position;
    uint32_t depth;
    enum json_line_fit fit;
    bool has_keys;  // keys are looked at
    struct json_keys keys;
    size_t string_start;  // the newest string, in case that it is a key
    size_t string_size;
};

static void note(struct cursor *cursor, enum json_line_fit fit)
{
    if (fit > cursor->fit)
        cursor->fit = fit;
}

// A JSON number as digits (no zeros at either end) times a power of ten.
struct number {
    char digits[DOUBLE_DIGITS_MAX + 1];  // the first of them
    size_t digit_count;
    int64_t exponent;
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

// Counts a digit; zeros are held back until a digit other than zero follows, so none stands at the end.
static void number_take_digit(struct number *number, size_t *zeros, uint8_t digit)
{
    if (digit == '0') {
        if (number->digit_count > 0)
            (*zeros)++;
        return;
    }
    for (; *zeros > 0; (*zeros)--, number->digit_count++) {
        if (number->digit_count < DOUBLE_DIGITS_MAX)
            number->digits[number->digit_count] = '0';
    }
    if (number->digit_count < DOUBLE_DIGITS_MAX)
        number->digits[number->digit_count] = (char)digit;
    number->digit_count++;
}

static bool read_exponent(const uint8_t *text, size_t size, size_t *position, int64_t *out_exponent)
{
    size_t at = *position + 1;
    bool is_negative = at < size && text[at] == '-';
    if (at < size && (text[at] == '-' || text[at] == '+'))
        at++;
    if (at >= size || !is_digit(text[at]))
        return false;
    int64_t exponent = 0;
    for (; at < size && is_digit(text[at]); at++) {
        if (exponent < 1000000)  // beyond any number that could be held
            exponent = exponent * 10 + (text[at] - '0');
    }
    *out_exponent = is_negative ? -exponent : exponent;
    *position = at;
    return true;
}

static bool number_read(const uint8_t *text, size_t size, size_t *position, struct number *number)
{
    size_t zeros = 0;
    int64_t written_exponent = 0;
    size_t at = *position;
    if (at < size && text[at] == '-')
        at++;
    size_t first = at;
    for (; at < size && is_digit(text[at]); at++)
        number_take_digit(number, &zeros, text[at]);
    if (at == first || (at - first > 1 && text[first] == '0'))
        return false;
    if (at < size && text[at] == '.') {
        size_t point = at++;
        for (; at < size && is_digit(text[at]); at++, number->exponent--)
            number_take_digit(number, &zeros, text[at]);
        if (at == point + 1)
            return false;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        if (!read_exponent(text, size, &at, &written_exponent))
            return false;
    }
    number->exponent += written_exponent + (int64_t)zeros;
    *position = at;
    return true;
}

// Exact as NUMBER(38, s)?
static bool is_exact_decimal(const struct number *number)
{
    int64_t digits = (int64_t)number->digit_count;
    if (number->exponent >= 0)
        return digits + number->exponent <= NUMBER_DIGITS_MAX;
    return number->exponent >= -NUMBER_SCALE_MAX && digits <= NUMBER_DIGITS_MAX;
}

// Else a VARIANT holds it as a double: fine if that prints the same digits again.
static bool is_exact_double(const struct number *number)
{
    if (number->digit_count > DOUBLE_DIGITS_MAX || number->exponent < -400 || number->exponent > 400)
        return false;
    char text[DOUBLE_DIGITS_MAX + 16];
    memcpy(text, number->digits, number->digit_count);
    size_t size = number->digit_count;
    text[size++] = 'e';
    if (number->exponent < 0)
        text[size++] = '-';
    uint32_t exponent = (uint32_t)(number->exponent < 0 ? -number->exponent : number->exponent);
    text[size++] = (char)('0' + exponent / 100);
    text[size++] = (char)('0' + exponent / 10 % 10);
    text[size++] = (char)('0' + exponent % 10);
    text[size] = '\0';

    double value = strtod(text, NULL);
    if (!isfinite(value) || value == 0)
        return false;
    struct float_decimal shortest = float8_shortest(value);
    uint64_t digits = 0;
    for (size_t i = 0; i < number->digit_count; i++)
        digits = digits * 10 + (uint64_t)(number->digits[i] - '0');
    return shortest.digits == digits && shortest.exponent == number->exponent;
}

bool json_number_is_double(const uint8_t *text, size_t size)
{
    struct number number = {.digit_count = 0};
    size_t position = 0;
    return number_read(text, size, &position, &number) && position == size &&
           (number.digit_count == 0 || is_exact_double(&number));
}

static bool scan_number(struct cursor *cursor)
{
    struct number number = {.digit_count = 0};
    if (!number_read(cursor->text, cursor->size, &cursor->position, &number))
        return false;
    if (number.digit_count > 0 && !is_exact_decimal(&number) && !is_exact_double(&number))
        note(cursor, JSON_LINE_INEXACT);
    return true;
}

static bool read_hex4(const uint8_t *text, uint32_t *out_code)
{
    uint32_t code = 0;
    for (size_t i = 0; i < 4; i++) {
        uint8_t byte = text[i];
        uint8_t letter = byte | 0x20;
        if (is_digit(byte))
            code = code << 4 | (uint32_t)(byte - '0');
        else if (letter >= 'a' && letter <= 'f')
            code = code << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return false;
    }
    *out_code = code;
    return true;
}

// At the backslash. A \u escape that is half of a surrogate pair is overwritten by that of U+FFFD, which is as long.
static bool scan_escape(struct cursor *cursor)
{
    uint8_t *at = cursor->text + cursor->position;
    size_t left = cursor->size - cursor->position;
    if (left < 2)
        return false;
    if (at[1] != 'u') {
        cursor->position += 2;
        return at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL;
    }
    uint32_t code;
    uint32_t second;
    if (left < 6 || !read_hex4(at + 2, &code))
        return false;
    cursor->position += 6;
    if (code < 0xD800 || code > 0xDFFF)
        return true;
    if (code <= 0xDBFF && left >= 12 && at[6] == '\\' && at[7] == 'u' && read_hex4(at + 8, &second) &&
        second >= 0xDC00 && second <= 0xDFFF) {
        cursor->position += 6;
        return true;
    }
    memcpy(at + 2, "fffd", 4);
    note(cursor, JSON_LINE_REPAIRED);
    return true;
}

// Behind the opening quote.
static bool scan_string(struct cursor *cursor)
{
    while (cursor->position < cursor->size) {
        uint8_t *at = cursor->text + cursor->position;
        cursor->position += utf8_plain_run(at, cursor->size - cursor->position);
        if (cursor->position == cursor->size)
            return false;
        uint8_t byte = cursor->text[cursor->position];
        if (byte == '\\') {
            if (!scan_escape(cursor))
                return false;
        } else if (byte < 0x20) {
            return false;
        } else {
            cursor->position++;
            if (byte == '"')
                return true;
        }
    }
    return false;
}

static bool scan_word(struct cursor *cursor)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t size = strlen(words[i]);
        if (cursor->size - cursor->position >= size && memcmp(cursor->text + cursor->position, words[i], size) == 0) {
            cursor->position += size;
            return true;
        }
    }
    return false;
}

static void scan_bracket(struct cursor *cursor, uint8_t byte)
{
    if (byte == '{' && cursor->has_keys)
        json_keys_open(&cursor->keys);
    if (byte == '}' && cursor->has_keys && json_keys_close(&cursor->keys))
        note(cursor, JSON_LINE_INEXACT);
    if (byte == '{' || byte == '[')
        cursor->depth++;
    else
        cursor->depth--;
}

// One token. Order and pairing of the tokens are the server's work; that none is cut and no line breaks is ours.
static bool scan_token(struct cursor *cursor)
{
    uint8_t *at = cursor->text + cursor->position;
    switch (*at) {
    case '\n':
    case '\r':
    case '\t': *at = ' '; break;
    case ' ':
    case ',': break;
    case ':':
        if (cursor->has_keys)
            json_keys_add(&cursor->keys, cursor->string_start, cursor->string_size);
        break;
    case '}':
    case ']':
        if (cursor->depth == 0)
            return false;
        scan_bracket(cursor, *at);
        break;
    case '{':
    case '[': scan_bracket(cursor, *at); break;
    case '"':
        cursor->string_start = ++cursor->position;
        if (!scan_string(cursor))
            return false;
        cursor->string_size = cursor->position - 1 - cursor->string_start;
        return true;
    default:
        if (*at == '-' || is_digit(*at))
            return scan_number(cursor);
        return scan_word(cursor);
    }
    cursor->position++;
    return true;
}

enum json_line_fit json_line_make(uint8_t *text, size_t size, struct buf *keys)
{
    struct cursor cursor = {.text = text, .size = size, .fit = JSON_LINE_FITS, .has_keys = keys != NULL};
    if (keys != NULL)
        json_keys_init(&cursor.keys, text, keys);
    while (cursor.position < size) {
        if (!scan_token(&cursor))
            return JSON_LINE_MALFORMED;
    }
    return cursor.depth == 0 && size > 0 ? cursor.fit : JSON_LINE_MALFORMED;
}
