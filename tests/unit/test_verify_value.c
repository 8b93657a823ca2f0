// Values of source and target brought to one text: what is equal has the same, what is not has another.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "verify/value.h"

static void check(enum target_kind kind, const char *json, const char *target, const char *expected)
{
    const struct target_type type = {.kind = kind};
    struct buf one, other;
    buf_init(&one, SIZE_MAX);
    buf_init(&other, SIZE_MAX);
    assert_true(value_of_source(&type, (const uint8_t *)json, strlen(json), &one));
    assert_true(value_of_target(&type, target, strlen(target), &other));
    assert_string_equal(buf_text(&one), expected);
    assert_string_equal(buf_text(&other), expected);
    buf_deinit(&one);
    buf_deinit(&other);
}

static void check_refused(enum target_kind kind, const char *target)
{
    const struct target_type type = {.kind = kind};
    struct buf out;
    buf_init(&out, SIZE_MAX);
    assert_false(value_of_target(&type, target, strlen(target), &out));
    buf_deinit(&out);
}

static void test_verify_value_numbers(void **state)
{
    (void)state;
    check(TARGET_NUMBER, "1.5", "1.50", "1.5");
    check(TARGET_NUMBER, "-0", "0.00", "0");
    check(TARGET_NUMBER, "\"12345678901234567890\"", "12345678901234567890", "12345678901234567890");
    check(TARGET_NUMBER, "-0.05", "-0.050", "-0.05");
    check(TARGET_NUMBER, "100", "100", "100");
    check(TARGET_FLOAT, "1e15", "1000000000000000", "1e+15");
    check(TARGET_FLOAT, "0.1", "0.1", "0.1");
    check(TARGET_FLOAT, "-0", "0", "0");
    check(TARGET_FLOAT, "\"NaN\"", "NaN", "NaN");
    check(TARGET_FLOAT, "\"-Infinity\"", "-inf", "-Infinity");
    check_refused(TARGET_NUMBER, "x");
    check_refused(TARGET_NUMBER, "");
    check_refused(TARGET_NUMBER, "1.2.3");
    check_refused(TARGET_FLOAT, "1e");
}

static void test_verify_value_texts_and_bytes(void **state)
{
    (void)state;
    check(TARGET_VARCHAR, "\"a\\\"\\u00e4\\ud83d\\ude00\\n\"", "a\"\xc3\xa4\xf0\x9f\x98\x80\n",
          "a\"\xc3\xa4\xf0\x9f\x98\x80\n");
    check(TARGET_VARCHAR, "\"\"", "", "");
    check(TARGET_BOOLEAN, "true", "TRUE", "true");
    check(TARGET_BINARY, "\"AP8Q\"", "00ff10", "00FF10");
    check(TARGET_BINARY, "\"AA==\"", "00", "00");
    check(TARGET_BINARY, "\"\"", "", "");
}

static void test_verify_value_moments(void **state)
{
    (void)state;
    check(TARGET_DATE, "\"1970-01-01\"", "0", "1970-01-01");
    check(TARGET_DATE, "\"0001-01-01\"", "-719162", "0001-01-01");
    check(TARGET_DATE, "\"9999-12-31\"", "2932896", "9999-12-31");
    check(TARGET_TIME, "\"22:30:00.500000\"", "81000.500000000", "22:30:00.500000");
    check(TARGET_TIMESTAMP_NTZ, "\"1969-12-31 23:59:59.999999\"", "-0.000001000", "1969-12-31 23:59:59.999999");
    check(TARGET_TIMESTAMP_TZ, "\"2026-11-23 22:30:00.123456Z\"", "1795473000.123456000 1440",
          "2026-11-23 22:30:00.123456");
    check_refused(TARGET_DATE, "2026-01-01");
    check_refused(TARGET_TIMESTAMP_NTZ, "yesterday");

    // Finer than a microsecond is never equal to what the source can hold.
    const struct target_type type = {.kind = TARGET_TIMESTAMP_NTZ};
    struct buf out;
    buf_init(&out, SIZE_MAX);
    assert_true(value_of_target(&type, "0.000000001", 11, &out));
    assert_string_not_equal(buf_text(&out), "1970-01-01 00:00:00.000000");
    buf_deinit(&out);
}

static void test_verify_value_json(void **state)
{
    (void)state;
    check(TARGET_VARIANT, "{\"b\":[1,2.50,null],\"a\":\"\\u00e4\"}",
          "{\n  \"a\": \"\xc3\xa4\",\n  \"b\": [ 1, 2.5, null ]\n}", "{\"a\":\"\xc3\xa4\",\"b\":[1,2.5,null]}");
    check(TARGET_VARIANT, "null", "null", "null");
    check(TARGET_VARIANT, "1e300", "1.000000000000000e+300", "1.00000000000000e+300");
    check(TARGET_VARIANT, "1e10", "10000000000", "10000000000");
    check(TARGET_ARRAY, "[]", "[\n]", "[]");
    check(TARGET_VARIANT, "{\"ab\":1,\"a\":2,\"\":{}}", "{\"\":{},\"a\":2,\"ab\":1}", "{\"\":{},\"a\":2,\"ab\":1}");
    check(TARGET_VARIANT, "\"x\\\\\\\"\\u0001\"", "\"x\\\\\\\"\\u0001\"", "\"x\\\\\\\"\\u0001\"");
    static const char *const broken[] = {"", "{", "[1,", "{\"a\"}", "{\"a\":1,}", "\"x", "tru", "1 2", "[1]]"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        check_refused(TARGET_VARIANT, broken[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_value_numbers), cmocka_unit_test(test_verify_value_texts_and_bytes),
        cmocka_unit_test(test_verify_value_moments), cmocka_unit_test(test_verify_value_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
