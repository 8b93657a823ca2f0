#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/decimal.h"

static struct buf out;

static const char *integer_json(int64_t number)
{
    buf_reset(&out);
    decimal_append_i64_json(number, &out);
    return buf_text(&out);
}

static void integers(void **state)
{
    (void)state;
    assert_string_equal(integer_json(0), "0");
    assert_string_equal(integer_json(-7), "-7");
    assert_string_equal(integer_json(999999999999999), "999999999999999");
    assert_string_equal(integer_json(1000000000000000), "\"1000000000000000\"");
    assert_string_equal(integer_json(INT64_MIN), "\"-9223372036854775808\"");
    assert_string_equal(integer_json(INT64_MAX), "\"9223372036854775807\"");
    for (uint64_t number = 1; number < UINT64_MAX / 7; number = number * 7 + 3) {
        char expected[24];
        char text[24];
        snprintf(expected, sizeof expected, "%llu", (unsigned long long)number);
        text[decimal_format_u64(number, text)] = '\0';
        assert_string_equal(text, expected);
    }
}

static const char *numeric_text(const uint16_t *words, size_t count)
{
    uint8_t bytes[64];
    for (size_t i = 0; i < count; i++) {
        bytes[2 * i] = (uint8_t)(words[i] >> 8);
        bytes[2 * i + 1] = (uint8_t)words[i];
    }
    buf_reset(&out);
    return decimal_append_text(bytes, 2 * count, &out) ? buf_text(&out) : NULL;
}
#define NUMERIC(...) numeric_text((const uint16_t[]){__VA_ARGS__}, sizeof((uint16_t[]){__VA_ARGS__}) / 2)

static void binary_becomes_the_servers_text(void **state)
{
    (void)state;
    assert_string_equal(NUMERIC(0, 0, 0, 0), "0");
    assert_string_equal(NUMERIC(0, 0, 0, 3), "0.000");
    assert_string_equal(NUMERIC(1, 0, 0, 0, 7), "7");
    assert_string_equal(NUMERIC(2, 1, 0x4000, 0, 1, 2345), "-12345");
    assert_string_equal(NUMERIC(1, 2, 0, 0, 10), "1000000000");
    assert_string_equal(NUMERIC(3, 0, 0, 6, 12, 3456, 7800), "12.345678");
    assert_string_equal(NUMERIC(1, 0xFFFF, 0, 1, 5000), "0.5");
    assert_string_equal(NUMERIC(1, 0xFFFE, 0, 10, 12), "0.0000001200");
    assert_string_equal(NUMERIC(0, 0, 0xC000, 0), "NaN");
    assert_string_equal(NUMERIC(0, 0, 0xD000, 0), "Infinity");
    assert_string_equal(NUMERIC(0, 0, 0xF000, 0), "-Infinity");
    assert_string_equal(NUMERIC(2, 1, 0, 0, 0, 5), "5");  // not as the server sends it, but still a number
    assert_null(NUMERIC(1, 0, 0, 0));                     // a group is missing
    assert_null(NUMERIC(1, 0, 0, 0, 10000));
    assert_null(NUMERIC(0, 0, 0x1234, 0));
    assert_null(NUMERIC(0, 0, 0, 0x4000));
    assert_null(NUMERIC(0, 0, 0));
}

static void check(const char *text, uint8_t precision, uint8_t scale, enum decimal_fit fit, const char *json)
{
    buf_reset(&out);
    buf_append_text(&out, "before");
    buf_append_text(&out, text);
    assert_int_equal(decimal_finish_json(&out, 6, precision, scale), fit);
    if (json != NULL)
        assert_string_equal(buf_text(&out) + 6, json);
}

static void json_is_bare_up_to_15_digits(void **state)
{
    (void)state;
    check("0", 38, 9, DECIMAL_FITS, "0");
    check("-1.50", 38, 9, DECIMAL_FITS, "-1.50");
    check("123456789012345", 38, 0, DECIMAL_FITS, "123456789012345");
    check("1234567890.12345", 38, 9, DECIMAL_FITS, "1234567890.12345");
    check("1234567890.123456", 38, 9, DECIMAL_FITS, "\"1234567890.123456\"");
    check("-1234567890123456", 38, 0, DECIMAL_FITS, "\"-1234567890123456\"");
    check("99999999999999999999999999999999999999", 38, 0, DECIMAL_FITS, "\"99999999999999999999999999999999999999\"");
    check("0.0000000000000000000000000000000000001", 38, 37, DECIMAL_FITS,
          "\"0.0000000000000000000000000000000000001\"");
    check("0.50", 2, 2, DECIMAL_FITS, "0.50");
}

static void what_does_not_fit_is_rounded_or_left_out(void **state)
{
    (void)state;
    check("1.0000000000000", 38, 9, DECIMAL_FITS, "1.000000000");  // zeros are no part of the value
    check("0.12345678949", 38, 9, DECIMAL_ROUNDED, "0.123456789");
    check("0.1234567895", 38, 9, DECIMAL_ROUNDED, "0.123456790");
    check("-0.9999999999", 38, 9, DECIMAL_ROUNDED, "-1.000000000");
    check("-9.9999999999", 38, 9, DECIMAL_ROUNDED, "-10.000000000");
    check("-0.0000000004", 38, 9, DECIMAL_ROUNDED, "0.000000000");
    check("0.0000000005", 38, 9, DECIMAL_ROUNDED, "0.000000001");
    check("99999999999999999999999999999.9999999994", 38, 9, DECIMAL_ROUNDED,
          "\"99999999999999999999999999999.999999999\"");
    check("99999999999999999999999999999.9999999995", 38, 9, DECIMAL_OUTSIDE, "");
    check("100000000000000000000000000000", 38, 9, DECIMAL_OUTSIDE, "");
    check("9.5", 1, 0, DECIMAL_OUTSIDE, "");
    check("8.5", 1, 0, DECIMAL_ROUNDED, "9");
    check("NaN", 38, 9, DECIMAL_OUTSIDE, "");
    check("-Infinity", 38, 9, DECIMAL_OUTSIDE, "");
}

static void anything_else_is_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "-",     ".5", "5.",  "1e5", "+1", "007",
                                      "1,5", "1.2.3", " 1", "nan", "--1", "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check(bad[i], 38, 9, DECIMAL_MALFORMED, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(binary_becomes_the_servers_text),
        cmocka_unit_test(json_is_bare_up_to_15_digits),
        cmocka_unit_test(what_does_not_fit_is_rounded_or_left_out),
        cmocka_unit_test(anything_else_is_malformed),
    };
    buf_init(&out, 1 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&out);
    return failed;
}
