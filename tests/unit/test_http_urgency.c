// How urgently the HTTP thread wants a processor: its budget, and what the kernel makes of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <stdint.h>

#include "base/process.h"
#include "http/urgency.h"

static void test_little_is_always_urgent(void **state)
{
    struct urgency urgency = {.window_us = 1000};
    uint64_t cpu_us = 0;
    (void)state;
    for (uint64_t now_us = 1000; now_us < 30000000; now_us += 10000)
        assert_true(urgency_wants_first(&urgency, now_us, cpu_us += 400));  // 4 % of a processor
}

static void test_the_budget_is_of_a_second(void **state)
{
    struct urgency urgency = {.window_us = 5000000, .window_cpu_us = 700000};
    (void)state;
    assert_true(urgency_wants_first(&urgency, 5010000, 700000 + URGENCY_BUDGET_US));
    assert_false(urgency_wants_first(&urgency, 5020000, 700001 + URGENCY_BUDGET_US));
    assert_false(urgency_wants_first(&urgency, 5999999, 700001 + URGENCY_BUDGET_US));
    assert_true(urgency_wants_first(&urgency, 6000000, 700002 + URGENCY_BUDGET_US));
    // The new window counts from there.
    assert_true(urgency_wants_first(&urgency, 6000001, 700002 + 2 * URGENCY_BUDGET_US));
    assert_false(urgency_wants_first(&urgency, 6000002, 700003 + 2 * URGENCY_BUDGET_US));
    // One answer that takes long, after a long silence.
    assert_true(urgency_wants_first(&urgency, 90000000, 1000000));
    assert_false(urgency_wants_first(&urgency, 90900000, 1900000));
}

// Both ways, whether the test may do it or not.
static void test_the_kernel_is_asked(void **state)
{
    bool was_ordinary = process_thread_is_ordinary();
    int policy_before = sched_getscheduler(0);
    (void)state;
    if (process_thread_first()) {
        assert_int_equal(sched_getscheduler(0), SCHED_RR);
        assert_false(process_thread_is_ordinary());
        assert_true(process_thread_prompt());
        assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
        assert_true(process_thread_is_ordinary());
    } else {
        assert_int_equal(sched_getscheduler(0), policy_before);
        assert_int_equal(process_thread_is_ordinary(), was_ordinary);
    }
}

// Spent and had again, by what the thread really uses.
static void test_who_spends_it_is_as_others(void **state)
{
    struct urgency urgency;
    (void)state;
    urgency_begin(&urgency, 1000000);
    bool may_be_first = urgency.is_first;
    assert_true(urgency.is_ours == may_be_first);
    uint64_t until_us = process_thread_cpu_us() + URGENCY_BUDGET_US + 1000;
    while (process_thread_cpu_us() < until_us)
        continue;
    urgency_look(&urgency, 1500000);
    assert_false(urgency.is_first);
    assert_true(!may_be_first || sched_getscheduler(0) == SCHED_OTHER);
    urgency_look(&urgency, 2000000);
    assert_true(urgency.is_first == may_be_first);
    if (may_be_first)
        assert_true(process_thread_prompt());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_is_always_urgent), cmocka_unit_test(test_the_budget_is_of_a_second),
        cmocka_unit_test(test_the_kernel_is_asked), cmocka_unit_test(test_who_spends_it_is_as_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
