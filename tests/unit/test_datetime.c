#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/datetime.h"

static const char *date_text(int32_t days)
{
    static char text[DATETIME_TEXT_SIZE_MAX + 1];
    text[datetime_print_date(days, text)] = '\0';
    return text;
}

static const char *timestamp_text(int64_t us, bool has_zone)
{
    static char text[DATETIME_TEXT_SIZE_MAX + 1];
    text[datetime_print_timestamp(us, has_zone, text)] = '\0';
    return text;
}

static bool parse_date(const char *text, int32_t *out_days)
{
    return datetime_parse_date((const uint8_t *)text, strlen(text), out_days);
}

static bool parse_timestamp(const char *text, bool has_zone, int64_t *out_us)
{
    return datetime_parse_timestamp((const uint8_t *)text, strlen(text), has_zone, out_us);
}

// The C library's calendar is the witness.
static void dates_agree_with_the_library(void **state)
{
    (void)state;
    for (int32_t days = -730119; days <= 2921939; days += 17) {
        struct tm utc;
        time_t seconds = ((time_t)days + 10957) * 86400;
        char expected[48];
        char text[DATETIME_TEXT_SIZE_MAX];
        int32_t again;
        assert_non_null(gmtime_r(&seconds, &utc));
        snprintf(expected, sizeof expected, "%04d-%02d-%02d", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
        size_t size = datetime_format_date(days, text);
        assert_int_equal(size, 10);
        assert_memory_equal(text, expected, 10);
        assert_true(datetime_parse_date((const uint8_t *)text, size, &again));
        assert_int_equal(again, days);
    }
}

static void the_targets_range_is_years_1_to_9999(void **state)
{
    (void)state;
    int32_t days;
    int64_t us;
    assert_true(parse_date("0001-01-01", &days) && datetime_date_fits(days));
    assert_false(datetime_date_fits(days - 1));
    assert_true(parse_date("9999-12-31", &days) && datetime_date_fits(days));
    assert_false(datetime_date_fits(days + 1));
    assert_true(parse_timestamp("0001-01-01 00:00:00", false, &us) && datetime_timestamp_fits(us));
    assert_false(datetime_timestamp_fits(us - 1));
    assert_true(parse_timestamp("9999-12-31 23:59:59.999999", false, &us) && datetime_timestamp_fits(us));
    assert_false(datetime_timestamp_fits(us + 1));
    assert_false(datetime_timestamp_fits(INT64_MAX) || datetime_timestamp_fits(INT64_MIN));
    assert_false(datetime_date_fits(INT32_MAX) || datetime_date_fits(INT32_MIN));
}

static void beyond_it_the_text_is_postgresqls(void **state)
{
    (void)state;
    assert_string_equal(date_text(INT32_MAX), "infinity");
    assert_string_equal(date_text(INT32_MIN), "-infinity");
    assert_string_equal(date_text(-730120), "0001-12-31 BC");
    assert_string_equal(date_text(2921940), "10000-01-01");
    assert_string_equal(timestamp_text(INT64_MIN, true), "-infinity");
    int64_t us;
    static const char *const texts[] = {"0044-03-15 12:00:00.5 BC", "294276-12-31 23:59:59.999999",
                                        "4713-11-24 00:00:00 BC", "0001-12-31 23:59:59.000001 BC"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(parse_timestamp(texts[i], false, &us));
        assert_string_equal(timestamp_text(us, false), texts[i]);
    }
    assert_true(parse_timestamp("0044-03-15 00:00:00+00 BC", true, &us));
    assert_string_equal(timestamp_text(us, true), "0044-03-15 00:00:00+00 BC");
}

static void zones_are_taken_off(void **state)
{
    (void)state;
    static const char *const texts[] = {"2026-11-23 22:30:00+00", "2026-11-24 04:00:00+05:30", "2026-11-23 14:30:00-08",
                                        "2026-11-24 00:05:20+01:35:20"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t us;
        char text[DATETIME_TEXT_SIZE_MAX + 1];
        assert_true(parse_timestamp(texts[i], true, &us));
        text[datetime_format_timestamp(us, true, text)] = '\0';
        assert_string_equal(text, "2026-11-23 22:30:00.000000Z");
        assert_false(parse_timestamp(texts[i], false, &us));
    }
}

static void times(void **state)
{
    (void)state;
    int64_t us;
    char text[DATETIME_TEXT_SIZE_MAX + 1];
    assert_true(datetime_parse_time((const uint8_t *)"23:59:59.9", 10, &us));
    text[datetime_format_time(us, text)] = '\0';
    assert_string_equal(text, "23:59:59.900000");
    text[datetime_print_time(us, text)] = '\0';
    assert_string_equal(text, "23:59:59.9");
    assert_true(datetime_parse_time((const uint8_t *)"24:00:00", 8, &us));
    assert_true(us == DATETIME_DAY_US);
    assert_false(datetime_parse_time((const uint8_t *)"24:00:00.000001", 15, &us));
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const dates[] = {"",
                                        "2026",
                                        "2026-1-01",
                                        "2026-13-01",
                                        "2026-00-01",
                                        "2026-02-29",
                                        "2026-04-31",
                                        "2026-01-00",
                                        "0000-01-01",
                                        "2026-01-01x",
                                        "2026-01-01 AD",
                                        "23-11-2026",
                                        "99999999-01-01",
                                        "Infinity",
                                        "2026-01-01  BC",
                                        "-2026-01-01"};
    static const char *const timestamps[] = {
        "2026-01-01",          "2026-01-01 25:00:00",  "2026-01-01 00:60:00",         "2026-01-01 00:00:60",
        "2026-01-01T00:00:00", "2026-01-01 00:00:00.", "2026-01-01 00:00:00.1234567", "9999999-01-01 00:00:00",
        "2026-01-01 00:00"};
    int32_t days;
    int64_t us;
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++)
        assert_false(parse_date(dates[i], &days));
    for (size_t i = 0; i < sizeof timestamps / sizeof timestamps[0]; i++)
        assert_false(parse_timestamp(timestamps[i], false, &us));
    assert_false(parse_timestamp("2026-01-01 00:00:00+99", true, &us));
    assert_false(parse_timestamp("2026-01-01 00:00:00", true, &us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_agree_with_the_library),
        cmocka_unit_test(the_targets_range_is_years_1_to_9999),
        cmocka_unit_test(beyond_it_the_text_is_postgresqls),
        cmocka_unit_test(zones_are_taken_off),
        cmocka_unit_test(times),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
