#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/breaker.h"
#include "io/breaker_meter.h"
#include "io/metric_registry.h"

#define SECOND UINT64_C(1000000)

static void fail_times(struct breaker *breaker, int count, uint64_t from_us, uint64_t step_us)
{
    for (int i = 0; i < count; i++) {
        assert_true(breaker_may_send(breaker, from_us + (uint64_t)i * step_us));
        breaker_failed(breaker, from_us + (uint64_t)i * step_us);
    }
}

static void test_breaker_opens_after_five_failures(void **state)
{
    (void)state;
    struct breaker breaker = {0};
    fail_times(&breaker, 4, 10 * SECOND, SECOND);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    fail_times(&breaker, 1, 14 * SECOND, 0);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker_open_us(&breaker, 15 * SECOND), 29 * SECOND);
    assert_int_equal(breaker_open_us(&breaker, 44 * SECOND), 0);
    assert_false(breaker_may_send(&breaker, 15 * SECOND));
    assert_false(breaker_may_send(&breaker, 44 * SECOND - 1));
    assert_int_equal(breaker.rejected_count, 2);
    assert_true(breaker_may_send(&breaker, 44 * SECOND));
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
}

static void test_breaker_forgets_failures_that_are_old_or_followed_by_a_success(void **state)
{
    (void)state;
    struct breaker breaker = {0};
    fail_times(&breaker, 12, SECOND, 16 * SECOND);  // five of them span 64 s
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    breaker = (struct breaker){0};
    for (int i = 0; i < 10; i++) {
        fail_times(&breaker, 4, SECOND, 1);
        breaker_succeeded(&breaker);
    }
    assert_int_equal(breaker.state, BREAKER_CLOSED);
}

static void test_breaker_closes_after_two_successes_one_trial_at_a_time(void **state)
{
    (void)state;
    struct breaker breaker = {0};
    fail_times(&breaker, 5, SECOND, 1);
    assert_true(breaker_may_send(&breaker, 40 * SECOND));
    assert_false(breaker_may_send(&breaker, 40 * SECOND));
    breaker_succeeded(&breaker);
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_true(breaker_may_send(&breaker, 41 * SECOND));
    breaker_succeeded(&breaker);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_true(breaker_may_send(&breaker, 41 * SECOND));
    assert_true(breaker_may_send(&breaker, 41 * SECOND));
}

static void test_breaker_opens_again_when_the_trial_fails(void **state)
{
    (void)state;
    struct breaker breaker = {0};
    fail_times(&breaker, 5, SECOND, 1);
    assert_true(breaker_may_send(&breaker, 40 * SECOND));
    breaker_failed(&breaker, 41 * SECOND);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_false(breaker_may_send(&breaker, 70 * SECOND));
    assert_true(breaker_may_send(&breaker, 71 * SECOND));
    breaker_abandoned(&breaker);  // whoever asked is gone: the next one may try
    assert_true(breaker_may_send(&breaker, 71 * SECOND));
    breaker_failed(&breaker, 72 * SECOND);
    breaker_failed(&breaker, 73 * SECOND);  // an answer of before: changes nothing
    assert_int_equal(breaker.opened_count, 3);
    assert_true(breaker_may_send(&breaker, 102 * SECOND));
}

// Two workers' breakers of one name are one series, the worse of them.
static void test_breaker_meter_shows_the_worst(void **state)
{
    (void)state;
    struct breaker one = {0}, two = {0}, other = {0};
    breaker_meter_open(&one, "snowflake:A/U");
    breaker_meter_open(&two, "snowflake:A/U");
    breaker_meter_open(&other, "snowflake:B/U");
    struct metric *gauge = metric_get(METRIC_BREAKER_STATE, "snowflake:A/U");
    struct metric *opened = metric_get(METRIC_BREAKER_CHANGES, "snowflake:A/U", "open");
    struct metric *halved = metric_get(METRIC_BREAKER_CHANGES, "snowflake:A/U", "half_open");
    struct metric *closed = metric_get(METRIC_BREAKER_CHANGES, "snowflake:A/U", "closed");
    struct metric *rejected = metric_get(METRIC_BREAKER_REJECTED, "snowflake:A/U");
    assert_true(metric_value(gauge) == 0);
    fail_times(&one, 5, SECOND, 1);
    breaker_meter_note(&one);
    breaker_meter_note(&two);
    assert_true(metric_value(gauge) == 1 && metric_value(opened) == 1);
    assert_false(breaker_may_send(&one, SECOND));
    assert_false(breaker_may_send(&one, SECOND));
    breaker_meter_note(&one);
    assert_true(metric_value(rejected) == 2);
    assert_true(breaker_may_send(&one, 40 * SECOND));
    breaker_meter_note(&one);
    assert_true(metric_value(gauge) == 0.5 && metric_value(halved) == 1);
    fail_times(&two, 5, 40 * SECOND, 1);
    breaker_meter_note(&two);
    assert_true(metric_value(gauge) == 1 && metric_value(opened) == 2);
    breaker_meter_close(&two);
    assert_true(metric_value(gauge) == 0.5);
    breaker_succeeded(&one);
    assert_true(breaker_may_send(&one, 41 * SECOND));
    breaker_succeeded(&one);
    breaker_meter_note(&one);
    assert_true(metric_value(gauge) == 0 && metric_value(closed) == 1);
    breaker_meter_close(&one);
    breaker_meter_close(&one);
    breaker_meter_close(&other);
    metric_put(gauge);
    metric_put(opened);
    metric_put(halved);
    metric_put(closed);
    metric_put(rejected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breaker_opens_after_five_failures),
        cmocka_unit_test(test_breaker_forgets_failures_that_are_old_or_followed_by_a_success),
        cmocka_unit_test(test_breaker_closes_after_two_successes_one_trial_at_a_time),
        cmocka_unit_test(test_breaker_opens_again_when_the_trial_fails),
        cmocka_unit_test(test_breaker_meter_shows_the_worst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
