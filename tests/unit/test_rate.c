// Rate limit and sliding window, with a clock that the test turns.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rate.h"

#define SECOND_US 1000000

// Readers that take pieces of at most piece_max whenever they may. Returns what passed from `from_us` to `to_us`.
static uint64_t pass(struct rate_limit *limit, uint64_t *now_us, uint64_t to_us, uint64_t piece_max, unsigned seed)
{
    uint64_t passed = 0;
    srand(seed);
    while (*now_us < to_us) {
        uint64_t wait_us = 0;
        uint64_t available = rate_limit_available(limit, *now_us, &wait_us);
        if (available == 0) {
            assert_true(wait_us > 0);
            *now_us += wait_us;
            continue;
        }
        // A message may be larger than what is there.
        uint64_t bytes = (uint64_t)rand() % piece_max + 1;
        rate_limit_take(limit, bytes);
        passed += bytes;
        *now_us += (uint64_t)rand() % 50;
    }
    return passed;
}

static void test_limit_is_kept_over_every_second(void **state)
{
    (void)state;
    static const uint64_t limits[] = {200000, 2000000, 50000000, UINT64_C(5000000000)};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        for (unsigned seed = 1; seed <= 5; seed++) {
            struct rate_limit limit;
            uint64_t now_us = 77;
            uint64_t piece_max = limits[i] / 200;
            rate_limit_init(&limit, limits[i], now_us);
            for (int second = 0; second < 10; second++) {
                uint64_t end_us = 77 + (uint64_t)(second + 1) * SECOND_US;
                uint64_t start_us = now_us;
                double passed = (double)pass(&limit, &now_us, end_us, piece_max, seed + (unsigned)second);
                double wanted = (double)limits[i] * (double)(now_us - start_us) / SECOND_US;
                if (passed < 0.97 * wanted || passed > 1.03 * wanted)
                    print_message("limit %lu, seed %u, second %d: %.0f bytes instead of %.0f\n",
                                  (unsigned long)limits[i], seed, second, passed, wanted);
                assert_true(passed >= 0.97 * wanted && passed <= 1.03 * wanted);
            }
        }
    }
}

static void test_what_was_not_taken_is_not_saved_for_long(void **state)
{
    (void)state;
    struct rate_limit limit;
    uint64_t wait_us;
    rate_limit_init(&limit, 1000000, 0);
    assert_true(rate_limit_available(&limit, 3600ULL * SECOND_US, &wait_us) <= 50001);
}

static void test_a_debt_is_paid_back_first(void **state)
{
    (void)state;
    struct rate_limit limit;
    uint64_t wait_us;
    rate_limit_init(&limit, 1000, 0);
    rate_limit_take(&limit, 5000);  // one row of five seconds' bytes
    assert_int_equal(rate_limit_available(&limit, SECOND_US, &wait_us), 0);
    assert_true(wait_us > 4 * (uint64_t)SECOND_US && wait_us < 4100000);
    assert_int_equal(rate_limit_available(&limit, 5 * SECOND_US, &wait_us), 0);
    assert_true(rate_limit_available(&limit, 5 * SECOND_US + 20000, &wait_us) > 0);
}

static void test_no_limit(void **state)
{
    (void)state;
    struct rate_limit limit;
    uint64_t wait_us = 1;
    rate_limit_init(&limit, 0, 5);
    rate_limit_take(&limit, 1ULL << 40);
    assert_true(rate_limit_available(&limit, 5, &wait_us) == UINT64_MAX);
    assert_int_equal(wait_us, 0);
}

static void test_window_forgets_what_is_old(void **state)
{
    (void)state;
    struct rate_window window = {0};
    double rows, bytes;
    uint64_t count = 0, now_us = SECOND_US;
    rate_window_get(&window, now_us, 0, 0, &rows, &bytes);
    assert_true(rows == 0 && bytes == 0);
    for (int i = 0; i < 600; i++) {  // a minute of 1000 rows a second
        rate_window_note(&window, now_us, count, 10 * count);
        now_us += SECOND_US / 10;
        count += 100;
    }
    rate_window_get(&window, now_us, count, 10 * count, &rows, &bytes);
    assert_true(rows > 999 && rows < 1001 && bytes > 9990 && bytes < 10010);
    for (int i = 0; i < 200; i++) {  // then twenty seconds of 100 rows a second
        rate_window_note(&window, now_us, count, 10 * count);
        now_us += SECOND_US / 10;
        count += 10;
    }
    rate_window_get(&window, now_us, count, 10 * count, &rows, &bytes);
    assert_true(rows > 99 && rows < 101);
    rate_window_get(&window, now_us + 40ULL * SECOND_US, count, 10 * count, &rows, &bytes);  // nothing moves any more
    assert_true(rows < 2);
    rate_window_note(&window, now_us, 5, 50);  // another copy begins
    now_us += SECOND_US;
    rate_window_get(&window, now_us, 25, 250, &rows, &bytes);
    assert_true(rows > 19 && rows < 21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_is_kept_over_every_second),
        cmocka_unit_test(test_what_was_not_taken_is_not_saved_for_long),
        cmocka_unit_test(test_a_debt_is_paid_back_first),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_window_forgets_what_is_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
