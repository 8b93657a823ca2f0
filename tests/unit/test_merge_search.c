// The search for the table that makes a merge fail, against tables of which it is known.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "pipeline/merge_search.h"

#define TABLES_MAX 300

// Merges what the search wants until it ends. is_bad says which tables fail; is_common: everything does.
static enum merge_search_step search_through(struct merge_search *search, const bool *is_bad, bool is_common,
                                             uint32_t *out_tries)
{
    enum merge_search_step step = MERGE_SEARCH_TRY;
    for (*out_tries = 0; step == MERGE_SEARCH_TRY; (*out_tries)++) {
        bool has_failed = is_common;
        for (uint32_t i = 0; i < search->tried; i++)
            has_failed |= is_bad[search->order[i]];
        step = merge_search_answer(search, has_failed);
    }
    assert_int_equal(search->phase, MERGE_SEARCH_OFF);
    return step;
}

static void test_merge_search_finds_any_table(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 70; count++)
        for (uint32_t bad = 0; bad < count; bad++) {
            bool is_bad[TABLES_MAX] = {0};
            struct merge_search search = {0};
            uint32_t tries;
            is_bad[bad] = true;
            merge_search_begin(&search, count, UINT32_MAX);
            assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_FOUND);
            assert_int_equal(search.order[0], bad);
            assert_true(tries <= 9);  // none, seven halves, the last
            merge_search_end(&search);
        }
}

static void test_merge_search_asks_a_suspect_first(void **state)
{
    (void)state;
    bool is_bad[TABLES_MAX] = {[7] = true};
    struct merge_search search = {0};
    uint32_t tries;
    merge_search_begin(&search, 200, 7);
    assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_FOUND);
    assert_int_equal(search.order[0], 7);
    assert_int_equal(tries, 2);
    merge_search_begin(&search, 200, 11);  // a wrong one
    assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_FOUND);
    assert_int_equal(search.order[0], 7);
    merge_search_end(&search);
}

static void test_merge_search_blames_nobody(void **state)
{
    (void)state;
    bool is_bad[TABLES_MAX] = {0};
    struct merge_search search = {0};
    uint32_t tries;
    merge_search_begin(&search, 200, UINT32_MAX);
    assert_int_equal(search_through(&search, is_bad, true, &tries), MERGE_SEARCH_COMMON);
    assert_int_equal(tries, 1);
    merge_search_begin(&search, 200, 3);
    assert_int_equal(search_through(&search, is_bad, true, &tries), MERGE_SEARCH_COMMON);
    merge_search_begin(&search, 200, 3);
    assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_PASSED);
    merge_search_begin(&search, 0, UINT32_MAX);
    assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_PASSED);
    merge_search_end(&search);
}

static void test_merge_search_finds_one_of_several(void **state)
{
    (void)state;
    unsigned seed = getenv("CI") != NULL ? 1795707346 : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 500; round++) {
        bool is_bad[TABLES_MAX] = {0};
        struct merge_search search = {0};
        uint32_t tries, count = 1 + (uint32_t)rand() % TABLES_MAX;
        for (int i = 0; i < 3; i++)
            is_bad[(uint32_t)rand() % count] = true;
        merge_search_begin(&search, count, (uint32_t)rand() % (2 * count));
        assert_int_equal(search_through(&search, is_bad, false, &tries), MERGE_SEARCH_FOUND);
        assert_true(is_bad[search.order[0]]);
        merge_search_end(&search);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_search_finds_any_table),
        cmocka_unit_test(test_merge_search_asks_a_suspect_first),
        cmocka_unit_test(test_merge_search_blames_nobody),
        cmocka_unit_test(test_merge_search_finds_one_of_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
