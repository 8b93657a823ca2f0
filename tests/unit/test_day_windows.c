// Times of day: how they are written, and when they are.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/day_windows.h"

#define DAY_S INT64_C(86400)

// 2026-11-25 at that time, UTC, in microseconds.
static int64_t at(int hour, int minute)
{
    return (INT64_C(20782) * DAY_S + hour * 3600 + minute * 60) * 1000000;
}

static struct day_windows parsed(const char *text)
{
    struct day_windows windows;
    struct err error = {0};
    if (!day_windows_parse(text, "merge_windows", &windows, &error))
        fail_msg("%s", error.text);
    return windows;
}

static void test_day_windows_are_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"8:00-20:00",         "08:00",       "08:00-08:00",
                                      "25:00-26:00",        "08:60-09:00", "08:00-20:00 CET",
                                      "08:00-20:00,",       "x",           " ",
                                      "08:00-24:01",        "24:00-01:00", "08:00-20:00 +2",
                                      "08:00 -20:00",       "08:00-20:0",  "08:00-20:00 +15:00",
                                      "08:00-20:00 +02:00x"};
    struct day_windows windows;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err error = {0};
        if (day_windows_parse(bad[i], "merge_windows", &windows, &error))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(error.kind, ERR_CONFIG);
        assert_non_null(strstr(error.text, "merge_windows is \""));
        assert_non_null(strstr(error.text, "such as"));
        assert_int_equal(windows.count, 0);
    }
    windows = parsed("22:00-02:00,12:00-12:30 -03:30");
    assert_int_equal(windows.count, 2);
    assert_int_equal(windows.offset_minutes, -210);
    assert_int_equal(parsed("").count, 0);
}

static void test_day_windows_open_and_close(void **state)
{
    (void)state;
    struct day_windows day = parsed("08:00-20:00"), night = parsed("22:00-02:00,12:00-12:30 UTC"), always = parsed("");
    assert_false(day_windows_is_open(&day, at(7, 59)));
    assert_true(day_windows_is_open(&day, at(8, 0)));
    assert_true(day_windows_is_open(&day, at(19, 59) + 59999999));
    assert_false(day_windows_is_open(&day, at(20, 0)));
    assert_true(day_windows_is_open(&night, at(23, 0)));
    assert_true(day_windows_is_open(&night, at(1, 59)));
    assert_false(day_windows_is_open(&night, at(2, 0)));
    assert_true(day_windows_is_open(&night, at(12, 29)));
    assert_false(day_windows_is_open(&night, at(12, 30)));
    assert_true(day_windows_is_open(&always, at(3, 3)));
    struct day_windows whole = parsed("00:00-24:00");
    assert_true(day_windows_is_open(&whole, at(0, 0)));
    assert_true(day_windows_is_open(&whole, at(23, 59)));
}

static void test_day_windows_know_zones(void **state)
{
    (void)state;
    struct day_windows east = parsed("08:00-20:00 +02:00"), west = parsed("08:00-20:00 -05:00");
    assert_true(day_windows_is_open(&east, at(6, 0)));
    assert_false(day_windows_is_open(&east, at(18, 0)));
    assert_false(day_windows_is_open(&west, at(12, 59)));
    assert_true(day_windows_is_open(&west, at(0, 30)));
    // The process's zone, with its summer time.
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    struct day_windows local = parsed("08:00-20:00 local");
    assert_false(day_windows_is_open(&local, at(6, 59)));
    assert_true(day_windows_is_open(&local, at(7, 0)));
    int64_t july = at(6, 0) - 140 * DAY_S * 1000000;
    assert_true(day_windows_is_open(&local, july));
}

static void test_day_windows_tell_the_next_time(void **state)
{
    (void)state;
    struct day_windows day = parsed("08:00-20:00"), night = parsed("22:00-02:00 +01:00"), always = parsed("");
    assert_int_equal(day_windows_next_us(&day, at(7, 59) + 30000000), at(8, 0));
    assert_int_equal(day_windows_next_us(&day, at(20, 0)), at(32, 0));
    assert_int_equal(day_windows_next_us(&day, at(9, 0) + 7), at(9, 0) + 7);
    assert_int_equal(day_windows_next_us(&night, at(1, 0)), at(21, 0));
    assert_int_equal(day_windows_next_us(&always, at(1, 0)), at(1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_day_windows_are_read),
        cmocka_unit_test(test_day_windows_open_and_close),
        cmocka_unit_test(test_day_windows_know_zones),
        cmocka_unit_test(test_day_windows_tell_the_next_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
