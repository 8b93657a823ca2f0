// The method is Raffaello Giulietti's "The Schubfach way to render doubles" (2020): of the decimals inside the interval that
// rounds to the number, one of at most two candidates a power of ten apart is the shortest, and 128-bit arithmetic with a
// table of powers decides exactly which. The interval is taken open, as PostgreSQL does (src/common/d2s.c, acceptBounds = false):
// then no reader's rounding of ties matters.
#include "encode/float_text.h"

#include <math.h>
#include <string.h>

#include "encode/float_powers.h"

// floor(log10(2^exponent)), and of 3/4 of it where the lower neighbour is closer. Right for |exponent| <= 1500.
static int floor_log10_of_power2(int exponent, bool lower_is_closer)
{
    return (exponent * 1262611 - (lower_is_closer ? 524031 : 0)) >> 22;
}

// floor(log2(10^exponent)). Right for |exponent| <= 1233.
static int floor_log2_of_power10(int exponent)
{
    return (exponent * 1741647) >> 19;
}

// The product's top 64 bits, its lowest one set if anything below was not zero.
static uint64_t multiply_round_to_odd(struct float_power power, uint64_t factor)
{
    __uint128_t low = (__uint128_t)power.low * factor;
    __uint128_t high = (__uint128_t)power.high * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

// The number is significand * 2^exponent.
static struct float_decimal shortest(uint64_t significand, int exponent, bool lower_is_closer)
{
    int k = floor_log10_of_power2(exponent, lower_is_closer);
    int shift = exponent + floor_log2_of_power10(-k) + 1;
    struct float_power power = float_powers[-k - FLOAT_POWER_FIRST];

    // Four times the number and its interval's ends, in units of 10^k.
    uint64_t lower = multiply_round_to_odd(power, (4 * significand - 2 + lower_is_closer) << shift) + 1;
    uint64_t middle = multiply_round_to_odd(power, (4 * significand) << shift);
    uint64_t upper = multiply_round_to_odd(power, (4 * significand + 2) << shift) - 1;

    uint64_t unit = middle / 4;
    if (unit >= 10) {
        uint64_t ten = unit / 10;
        bool lower_ten_fits = lower <= 40 * ten;
        bool upper_ten_fits = 40 * ten + 40 <= upper;
        if (lower_ten_fits != upper_ten_fits)
            return (struct float_decimal){.digits = ten + upper_ten_fits, .exponent = k + 1};
    }
    bool lower_fits = lower <= 4 * unit;
    bool upper_fits = 4 * unit + 4 <= upper;
    if (lower_fits != upper_fits)
        return (struct float_decimal){.digits = unit + upper_fits, .exponent = k};

    // Both or neither: the closer one, the even one of two that are as close.
    uint64_t half = 4 * unit + 2;
    bool rounds_up = middle > half || (middle == half && (unit & 1) != 0);
    return (struct float_decimal){.digits = unit + rounds_up, .exponent = k};
}

static struct float_decimal without_trailing_zeros(struct float_decimal decimal)
{
    while (decimal.digits != 0 && decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    return decimal;
}

// fraction and exponent as IEEE 754 stores them, with `bits` of fraction and the exponent's bias counted to the fraction's end.
static struct float_decimal shortest_of_parts(uint64_t fraction, int stored_exponent, int bits, int bias)
{
    uint64_t significand = fraction;
    int exponent = 1 - bias;
    if (stored_exponent != 0) {
        significand |= UINT64_C(1) << bits;
        exponent = stored_exponent - bias;
    }
    if (significand == 0)
        return (struct float_decimal){.digits = 0};

    // A whole number that the format holds exactly is printed as it is.
    if (exponent <= 0 && exponent >= -bits && (significand & ((UINT64_C(1) << -exponent) - 1)) == 0)
        return without_trailing_zeros((struct float_decimal){.digits = significand >> -exponent});
    return without_trailing_zeros(shortest(significand, exponent, fraction == 0 && stored_exponent > 1));
}

struct float_decimal float8_shortest(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return shortest_of_parts(bits & ((UINT64_C(1) << 52) - 1), (int)(bits >> 52 & 0x7FF), 52, 1023 + 52);
}

struct float_decimal float4_shortest(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return shortest_of_parts(bits & ((UINT32_C(1) << 23) - 1), (int)(bits >> 23 & 0xFF), 23, 127 + 23);
}

static size_t text_put(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return size;
}

// 0.0012, 12.5, 1200
static size_t format_fixed(const char *digits, int count, int point, char *out)
{
    size_t size = 0;
    if (point <= 0) {
        size = text_put(out, "0.");
        for (int i = point; i < 0; i++)
            out[size++] = '0';
    }
    for (int i = 0; i < count; i++) {
        if (i == point && point > 0)
            out[size++] = '.';
        out[size++] = digits[i];
    }
    for (int i = count; i < point; i++)
        out[size++] = '0';
    return size;
}

// 1.25e+20, 1e-07: at least two digits of exponent
static size_t format_scientific(const char *digits, int count, int exponent, char *out)
{
    size_t size = 0;
    out[size++] = digits[0];
    if (count > 1) {
        out[size++] = '.';
        memcpy(out + size, digits + 1, (size_t)count - 1);
        size += (size_t)count - 1;
    }
    out[size++] = 'e';
    out[size++] = exponent < 0 ? '-' : '+';
    int magnitude = exponent < 0 ? -exponent : exponent;
    if (magnitude >= 100)
        out[size++] = (char)('0' + magnitude / 100);
    out[size++] = (char)('0' + magnitude / 10 % 10);
    out[size++] = (char)('0' + magnitude % 10);
    return size;
}

// fixed_below: the scientific exponent from which on PostgreSQL prints an exponent (15 for float8, 6 for float4).
static size_t format(struct float_decimal decimal, bool is_negative, int fixed_below, char *out)
{
    char digits[20];
    int count = 0;
    for (uint64_t rest = decimal.digits; rest != 0; rest /= 10)
        digits[sizeof digits - 1 - (size_t)count++] = (char)('0' + rest % 10);
    const char *first = digits + sizeof digits - (size_t)count;

    size_t size = 0;
    if (is_negative)
        out[size++] = '-';
    if (count == 0) {
        out[size++] = '0';
        return size;
    }
    int exponent = decimal.exponent + count - 1;
    if (exponent >= -4 && exponent < fixed_below)
        return size + format_fixed(first, count, exponent + 1, out + size);
    return size + format_scientific(first, count, exponent, out + size);
}

size_t float8_format(double number, char out[FLOAT_TEXT_SIZE_MAX])
{
    if (isnan(number))
        return text_put(out, "NaN");
    if (isinf(number))
        return text_put(out, number < 0 ? "-Infinity" : "Infinity");
    return format(float8_shortest(number), signbit(number) != 0, 15, out);
}

size_t float4_format(float number, char out[FLOAT_TEXT_SIZE_MAX])
{
    if (isnan(number))
        return text_put(out, "NaN");
    if (isinf(number))
        return text_put(out, number < 0 ? "-Infinity" : "Infinity");
    return format(float4_shortest(number), signbit(number) != 0, 6, out);
}
