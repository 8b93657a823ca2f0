// The small parts of base/: errors, buffers, clock, back-off, budget.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/backoff.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

static void err_is_one_line_and_cut_behind_a_character(void **state)
{
    (void)state;
    struct err error;
    err_clear(&error);
    assert_false(err_is_set(&error));
    assert_false(err_set(&error, ERR_CONFIG, "28P01", "no\nway, %s\x7f", "José"));
    assert_true(err_is_set(&error));
    assert_string_equal(error.code, "28P01");
    assert_string_equal(error.text, "no way, José ");

    err_prefix(&error, "source %d", 7);
    assert_string_equal(error.text, "source 7: no way, José ");
    err_set(&error, ERR_DATA, NULL, "again: %s", error.text);  // an argument may be the error's own text
    assert_string_equal(error.text, "again: source 7: no way, José ");
    assert_string_equal(error.code, "");

    char wide[3 * ERR_TEXT_SIZE + 1];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(wide, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof wide; i += 3)
            memcpy(wide + i, "€", 3);
        wide[sizeof wide - 4] = '\0';
        err_set(&error, ERR_DATA, NULL, "%s", wide);
        size_t size = strlen(error.text);
        assert_true(size > ERR_TEXT_SIZE - 8 && size < ERR_TEXT_SIZE);
        assert_string_equal(error.text + size - 3, "...");
        assert_memory_equal(error.text + size - 6, "€", 3);
    }
    err_prefix(&error, "%s", wide);
    assert_string_equal(error.text + strlen(error.text) - 3, "...");
}

static void err_kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(err_kind_name(ERR_FENCED), "fenced");
    assert_string_equal(err_kind_name(ERR_NONE), "none");
}

static void buf_grows_and_keeps_its_content(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    for (int i = 0; i < 1000; i++)
        buf_append_byte(&buf, (uint8_t)i);
    buf_append_text(&buf, "text");
    buf_appendf(&buf, "%d-%s", 42, "x");
    buf_check(&buf);
    assert_int_equal(buf.size, 1000 + 4 + 4);
    assert_string_equal(buf_text(&buf) + 1000, "text42-x");
    buf_consume(&buf, 1000);
    assert_string_equal(buf_text(&buf), "text42-x");
    buf_trim(&buf, 100);
    assert_int_equal(buf.capacity, 108);
    buf_trim(&buf, 1000);  // never grows
    assert_int_equal(buf.capacity, 108);
    assert_string_equal(buf_text(&buf), "text42-x");
    buf_check(&buf);
    buf_consume(&buf, 8);
    assert_string_equal(buf_text(&buf), "");
    buf_wipe(&buf);
    assert_null(buf.data);
    buf_deinit(&buf);
}

static void buf_failure_sticks_until_reset(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 300);
    char bytes[300] = {1};
    buf_append(&buf, bytes, 299);
    buf_append(&buf, bytes, 2);
    assert_true(buf.failed);
    assert_int_equal(buf.size, 299);
    buf_append_byte(&buf, 1);
    buf_appendf(&buf, "%d", 1);
    assert_int_equal(buf.size, 299);
    assert_false(buf_reserve(&buf, 0));
    assert_string_equal(buf_text(&buf), "");
    buf_check(&buf);
    buf_reset(&buf);
    assert_true(buf_reserve(&buf, 300));
    assert_false(buf_reserve(&buf, SIZE_MAX));
    buf_deinit(&buf);
}

static void buf_append_may_overlap_no_bytes(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    buf_append(&buf, NULL, 0);
    assert_false(buf.failed);
    assert_int_equal(buf.size, 0);
    buf_deinit(&buf);
}

static void clock_formats_rfc_3339(void **state)
{
    (void)state;
    char text[32];
    clock_format(0, text, sizeof text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format(1795473000123999, text, sizeof text);
    assert_string_equal(text, "2026-11-23T22:30:00.123Z");
    clock_format(-1, text, sizeof text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    clock_format(INT64_MAX, text,
                 sizeof text);  // a year that is not of this world is cut or unknown, never beyond the end
    assert_true(strlen(text) < sizeof text);
    uint64_t before = clock_system.monotonic_us(clock_system.context);
    assert_true(clock_system.monotonic_us(clock_system.context) >= before);
    assert_true(clock_system.wall_us(clock_system.context) > 1700000000000000);
}

static void backoff_stays_within_its_bounds(void **state)
{
    (void)state;
    static const struct backoff_policy policy = {.delay_first_ms = 100, .delay_min_ms = 20, .delay_max_ms = 5000};
    struct backoff backoff;
    backoff_init(&backoff, &policy, 0);
    uint64_t sum_ms = 0;
    uint32_t delay_ms = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        assert_true(backoff_next(&backoff, &delay_ms));
        uint64_t ceiling_ms = i < 6 ? 100U << i : 5000;
        assert_true(delay_ms >= 20 && delay_ms <= ceiling_ms);
        sum_ms += delay_ms;
    }
    assert_in_range(sum_ms / 4000, 2300, 2700);  // full jitter: half the ceiling on average
    backoff_reset(&backoff);
    assert_true(backoff_next(&backoff, &delay_ms));
    assert_true(delay_ms <= 100);
}

static void backoff_ends_when_tries_are_limited(void **state)
{
    (void)state;
    static const struct backoff_policy policy = {.delay_first_ms = 1, .delay_max_ms = 10, .tries_max = 3};
    struct backoff backoff;
    uint32_t delay_ms;
    backoff_init(&backoff, &policy, 7);
    for (int i = 0; i < 3; i++)
        assert_true(backoff_next(&backoff, &delay_ms));
    assert_false(backoff_next(&backoff, &delay_ms));
    backoff_reset(&backoff);
    assert_true(backoff_next(&backoff, &delay_ms));
}

static void budget_has_hysteresis(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 1000);
    assert_true(budget_has_room(&budget));
    budget_take(&budget, 999);
    assert_false(budget_is_full(&budget));
    budget_take(&budget, 500);  // a row may pass the ceiling
    assert_true(budget_is_full(&budget));
    budget_give(&budget, 700);
    assert_false(budget_is_full(&budget));
    assert_false(budget_has_room(&budget));
    budget_give(&budget, 49);
    assert_true(budget_has_room(&budget));
    assert_int_equal(budget.used_bytes_peak, 1499);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_is_one_line_and_cut_behind_a_character),
        cmocka_unit_test(err_kinds_have_names),
        cmocka_unit_test(buf_grows_and_keeps_its_content),
        cmocka_unit_test(buf_failure_sticks_until_reset),
        cmocka_unit_test(buf_append_may_overlap_no_bytes),
        cmocka_unit_test(clock_formats_rfc_3339),
        cmocka_unit_test(backoff_stays_within_its_bounds),
        cmocka_unit_test(backoff_ends_when_tries_are_limited),
        cmocka_unit_test(budget_has_hysteresis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
