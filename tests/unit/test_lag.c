#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>

#include "pipeline/lag.h"

static void test_lag_is_the_oldest_pending_commit(void **state)
{
    (void)state;
    struct lag lag = {0};
    int64_t time_us = 0;
    assert_false(lag_oldest(&lag, 100, &time_us));
    lag_note(&lag, 100, 1000);
    lag_note(&lag, 200, 2000);
    lag_note(&lag, 300, 3000);
    assert_true(lag_oldest(&lag, 100, &time_us));  // positions are exclusive: 100 itself is not committed
    assert_int_equal(time_us, 1000);
    assert_true(lag_oldest(&lag, 101, &time_us));
    assert_int_equal(time_us, 2000);
    lag_note(&lag, 200, 2000);  // read again after a rewind
    lag_note(&lag, 300, 3000);
    assert_true(lag_oldest(&lag, 250, &time_us));
    assert_int_equal(time_us, 3000);
    assert_false(lag_oldest(&lag, 301, &time_us));
    lag_note(&lag, 400, 4000);
    assert_true(lag_oldest(&lag, 301, &time_us));
    assert_int_equal(time_us, 4000);
}

// Against a model that keeps everything: never too small, and exact while what is pending fits.
static void test_lag_is_never_too_small(void **state)
{
    (void)state;
    enum { COMMITS = 5000 };
    unsigned seed = 20261125;
    struct lag lag = {0};
    lsn_t committed_lsn = 1;
    for (unsigned i = 1; i <= COMMITS; i++) {
        int64_t time_us = -1;
        lag_note(&lag, (lsn_t)i * 10, (int64_t)i * 1000);
        assert_in_range(lag.count, 1, LAG_RUNS_MAX);
        unsigned behind = (unsigned)rand_r(&seed) % (i < 300 ? i : 300);
        lsn_t reached_lsn = (lsn_t)(i - behind) * 10 + 1;
        if (rand_r(&seed) % 200 == 0 && reached_lsn > committed_lsn)
            committed_lsn = reached_lsn;
        lsn_t oldest = (committed_lsn + 9) / 10;  // the model: commit k is at 10 k
        bool is_pending = lag_oldest(&lag, committed_lsn, &time_us);
        assert_true(is_pending == (oldest <= i));
        if (is_pending)
            assert_true(time_us <= (int64_t)oldest * 1000);
    }
}

// Against the same model: never too late, exact while what is pending fits, and near even where it does not.
static void test_lag_newest_below_is_never_too_late(void **state)
{
    (void)state;
    enum { COMMITS = 5000 };
    unsigned seed = 20261126;
    struct lag lag = {0};
    struct lag_run run;
    lsn_t merged_lsn = 1;
    int64_t time_us = -1;
    assert_false(lag_newest_below(&lag, 1000, &time_us));
    assert_int_equal(time_us, -1);
    for (unsigned i = 1; i <= COMMITS; i++) {
        lag_note(&lag, (lsn_t)i * 10, (int64_t)i * 1000);
        unsigned behind = (unsigned)rand_r(&seed) % (i < 300 ? i : 300);
        lsn_t bound_lsn = (lsn_t)(i - behind) * 10 + 1;  // commits are below it up to this one
        if (bound_lsn <= merged_lsn)
            continue;
        bool is_exact = lag.count > 0 && (bound_lsn - merged_lsn) / 10 + behind < LAG_RUNS_MAX / 2;
        bool is_known = lag_newest_below(&lag, bound_lsn, &time_us);
        if (is_known)
            assert_true(time_us <= (int64_t)(i - behind) * 1000);
        if (is_exact || behind == 0) {
            assert_true(is_known);
            assert_int_equal(time_us, (int64_t)(i - behind) * 1000);
        }
        if (rand_r(&seed) % 20 == 0) {
            merged_lsn = bound_lsn;
            lag = (struct lag){.count = 0};
            for (unsigned k = i - behind + 1; k <= i; k++)
                lag_note(&lag, (lsn_t)k * 10, (int64_t)k * 1000);
        }
    }
    while (lag_take(&lag, UINT64_MAX, &run)) {
    }
    assert_false(lag_newest_below(&lag, UINT64_MAX, &time_us));
}

// However many commits become one run, each is told once, with a time that is at most its own.
static void test_lag_take_tells_every_commit_once(void **state)
{
    (void)state;
    enum { COMMITS = 1000 };
    struct lag lag = {0};
    struct lag_run run;
    uint64_t told = 0;
    for (unsigned i = 1; i <= COMMITS; i++) {
        lag_note(&lag, (lsn_t)i * 10, (int64_t)i * 1000);
        assert_false(lag_take(&lag, 10, &run));
    }
    for (lsn_t committed_lsn = 5; committed_lsn <= COMMITS * 10 + 1; committed_lsn += 7) {
        while (lag_take(&lag, committed_lsn, &run)) {
            assert_true(run.last_lsn < committed_lsn);
            assert_true(run.first_time_us <= (int64_t)(told + 1) * 1000);
            told += run.commits;
            assert_int_equal(run.last_lsn, told * 10);
        }
    }
    while (lag_take(&lag, COMMITS * 10 + 1, &run))
        told += run.commits;
    assert_int_equal(told, COMMITS);
    assert_int_equal(lag.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lag_is_the_oldest_pending_commit),
        cmocka_unit_test(test_lag_is_never_too_small),
        cmocka_unit_test(test_lag_newest_below_is_never_too_late),
        cmocka_unit_test(test_lag_take_tells_every_commit_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
