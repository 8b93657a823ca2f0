#include "encode/decimal.h"

#include <string.h>

#define SIGN_NEGATIVE 0x4000
#define SIGN_NAN 0xC000
#define SIGN_INFINITY 0xD000
#define SIGN_MINUS_INFINITY 0xF000
#define HEADER_SIZE 8
#define BARE_LIMIT INT64_C(1000000000000000)  // 10^DECIMAL_BARE_DIGITS_MAX

static const char two_digits[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546"
    "4748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293"
    "949596979899";

size_t decimal_format_u64(uint64_t number, char *out)
{
    char digits[20];
    size_t at = sizeof digits;
    while (number >= 100) {
        at -= 2;
        memcpy(digits + at, two_digits + 2 * (number % 100), 2);
        number /= 100;
    }
    if (number >= 10) {
        at -= 2;
        memcpy(digits + at, two_digits + 2 * number, 2);
    } else {
        digits[--at] = (char)('0' + number);
    }
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

static void append_integer(uint64_t magnitude, bool is_negative, struct buf *out)
{
    char text[24];
    size_t size = 0;
    bool is_bare = magnitude < (uint64_t)BARE_LIMIT;
    if (!is_bare)
        text[size++] = '"';
    if (is_negative)
        text[size++] = '-';
    size += decimal_format_u64(magnitude, text + size);
    if (!is_bare)
        text[size++] = '"';
    buf_append(out, text, size);
}

void decimal_append_i64_json(int64_t number, struct buf *out)
{
    // In unsigned arithmetic: the smallest number has no positive counterpart.
    append_integer(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0, out);
}

void decimal_append_u64_json(uint64_t number, struct buf *out)
{
    append_integer(number, false, out);
}

static uint16_t load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void put_group(char *out, uint16_t group)
{
    memcpy(out, two_digits + 2 * (group / 100), 2);
    memcpy(out + 2, two_digits + 2 * (group % 100), 2);
}

// Four digits at a time from position `first` (0: the group with the weight) on; groups that are not stored are 0.
struct groups {
    const uint8_t *stored;
    int32_t count;
    int32_t weight;
};

static uint16_t group_at(const struct groups *groups, int32_t index)
{
    return index >= 0 && index < groups->count ? load_u16(groups->stored + 2 * (size_t)index) : 0;
}

static size_t put_integer_part(const struct groups *groups, char *out)
{
    int32_t index = 0;
    while (index < groups->weight && group_at(groups, index) == 0)
        index++;
    if (groups->weight < 0) {
        out[0] = '0';
        return 1;
    }
    size_t size = decimal_format_u64(group_at(groups, index), out);
    for (index++; index <= groups->weight; index++, size += 4)
        put_group(out + size, group_at(groups, index));
    return size;
}

static size_t put_fraction(const struct groups *groups, uint16_t digits, char *out)
{
    size_t size = 0;
    out[size++] = '.';
    int32_t index = groups->weight + 1;
    uint16_t left = digits;
    for (; left >= 4; left = (uint16_t)(left - 4), size += 4)
        put_group(out + size, group_at(groups, index++));
    char last[4];
    put_group(last, group_at(groups, index));
    memcpy(out + size, last, left);
    return size + left;
}

// numeric_send: Int16 count of groups | Int16 weight of the first group | Int16 sign | Int16 digits behind the point | groups,
// each 0 … 9999, the highest first (PostgreSQL, src/backend/utils/adt/numeric.c)
bool decimal_append_text(const uint8_t *data, size_t size, struct buf *out)
{
    if (size < HEADER_SIZE)
        return false;
    uint16_t sign = load_u16(data + 4);
    uint16_t scale = load_u16(data + 6);
    struct groups groups = {
        .stored = data + HEADER_SIZE, .count = load_u16(data), .weight = (int16_t)load_u16(data + 2)};
    if ((size_t)groups.count * 2 != size - HEADER_SIZE)
        return false;
    if (sign == SIGN_NAN || sign == SIGN_INFINITY || sign == SIGN_MINUS_INFINITY) {
        buf_append_text(out, sign == SIGN_NAN ? "NaN" : sign == SIGN_INFINITY ? "Infinity" : "-Infinity");
        return true;
    }
    if ((sign != 0 && sign != SIGN_NEGATIVE) || scale > 0x3FFF)
        return false;
    for (int32_t i = 0; i < groups.count; i++) {
        if (group_at(&groups, i) > 9999)
            return false;
    }

    size_t integer_groups = groups.weight >= 0 ? (size_t)groups.weight + 1 : 1;
    if (!buf_reserve(out, 1 + 4 * integer_groups + 1 + scale + 4))
        return true;  // out says that it failed
    char *text = (char *)out->data + out->size;
    size_t written = 0;
    if (sign == SIGN_NEGATIVE)
        text[written++] = '-';
    written += put_integer_part(&groups, text + written);
    if (scale > 0)
        written += put_fraction(&groups, scale, text + written);
    out->size += written;
    return true;
}

// A numeric's text in parts; pointers into the buffer.
struct parts {
    bool is_negative;
    uint8_t *integer;
    size_t integer_size;  // without leading zeros, so 0 for 0.5
    uint8_t *fraction;
    size_t fraction_size;
};

static size_t digits_run(const uint8_t *text, size_t size)
{
    size_t run = 0;
    while (run < size && text[run] >= '0' && text[run] <= '9')
        run++;
    return run;
}

static bool parts_read(uint8_t *text, size_t size, struct parts *out_parts)
{
    struct parts parts = {.is_negative = size > 0 && text[0] == '-'};
    if (parts.is_negative) {
        text++;
        size--;
    }
    size_t run = digits_run(text, size);
    if (run == 0 || (run > 1 && text[0] == '0'))  // "007": no numeric prints so, and JSON does not allow it
        return false;
    parts.integer = text;
    parts.integer_size = run;
    if (text[0] == '0') {
        parts.integer++;
        parts.integer_size = 0;
    }
    text += run;
    size -= run;
    parts.fraction = text;
    if (size > 0) {
        if (text[0] != '.' || size == 1 || digits_run(text + 1, size - 1) != size - 1)
            return false;
        parts.fraction = text + 1;
        parts.fraction_size = size - 1;
    }
    *out_parts = parts;
    return true;
}

// Cuts the fraction to `scale` digits, the nearest value, halves away from zero. Returns the carry into a digit before the first
// one (9.99 → 10.0), which the caller has to write.
static bool parts_round(struct parts *parts, size_t scale)
{
    bool rounds_up = parts->fraction[scale] >= '5';
    parts->fraction_size = scale;
    for (size_t i = scale; rounds_up && i > 0; i--) {
        rounds_up = parts->fraction[i - 1] == '9';
        parts->fraction[i - 1] = rounds_up ? '0' : (uint8_t)(parts->fraction[i - 1] + 1);
    }
    for (size_t i = parts->integer_size; rounds_up && i > 0; i--) {
        rounds_up = parts->integer[i - 1] == '9';
        parts->integer[i - 1] = rounds_up ? '0' : (uint8_t)(parts->integer[i - 1] + 1);
    }
    return rounds_up;
}

static bool is_zero(const struct parts *parts, bool has_carry)
{
    for (size_t i = 0; i < parts->fraction_size; i++) {
        if (parts->fraction[i] != '0')
            return false;
    }
    return !has_carry && parts->integer_size == 0;
}

// Writes the parts again from `start`. They lie behind it in the same buffer and are of at most 38 digits here, so they are built aside.
static void rewrite(struct buf *out, size_t start, const struct parts *parts, bool has_carry)
{
    char text[48];
    size_t size = 0;
    size_t digits = parts->integer_size + has_carry;
    digits = (digits == 0 ? 1 : digits) + parts->fraction_size;
    bool is_bare = digits <= DECIMAL_BARE_DIGITS_MAX;
    if (!is_bare)
        text[size++] = '"';
    if (parts->is_negative && !is_zero(parts, has_carry))
        text[size++] = '-';
    if (has_carry)
        text[size++] = '1';
    else if (parts->integer_size == 0)
        text[size++] = '0';
    memcpy(text + size, parts->integer, parts->integer_size);
    size += parts->integer_size;
    if (parts->fraction_size > 0) {
        text[size++] = '.';
        memcpy(text + size, parts->fraction, parts->fraction_size);
        size += parts->fraction_size;
    }
    if (!is_bare)
        text[size++] = '"';
    out->size = start;
    buf_append(out, text, size);
}

static bool text_is(const uint8_t *text, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

enum decimal_fit decimal_finish_json(struct buf *out, size_t start, uint8_t precision, uint8_t scale)
{
    if (out->failed)
        return DECIMAL_FITS;  // the row's writer sees the failure
    uint8_t *text = out->data + start;
    size_t size = out->size - start;
    if (text_is(text, size, "NaN") || text_is(text, size, "Infinity") || text_is(text, size, "-Infinity")) {
        out->size = start;
        return DECIMAL_OUTSIDE;
    }
    struct parts parts;
    if (!parts_read(text, size, &parts))
        return DECIMAL_MALFORMED;

    // Zeros at the end of a fraction that is too long are no part of the value.
    while (parts.fraction_size > scale && parts.fraction[parts.fraction_size - 1] == '0')
        parts.fraction_size--;
    bool fits = parts.fraction_size <= scale;
    size_t integer_max = (size_t)precision - scale;
    bool has_carry = false;
    if (parts.integer_size <= integer_max && !fits)
        has_carry = parts_round(&parts, scale);
    if (parts.integer_size + has_carry > integer_max) {
        out->size = start;
        return DECIMAL_OUTSIDE;
    }
    rewrite(out, start, &parts, has_carry);
    return fits ? DECIMAL_FITS : DECIMAL_ROUNDED;
}
