// Lengths of time as people write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/duration.h"

static void test_duration_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t seconds;
    } good[] = {{"0s", 0},
                {"90s", 90},
                {"15m", 900},
                {"24h", 86400},
                {"7d", 604800},
                {"3650d", DURATION_SECONDS_MAX},
                {"forever", DURATION_FOREVER}};
    static const char *const bad[] = {"",    "d",     "7",           "7 d",     "-1d", "1w",
                                      "1dd", "3651d", "9999999999s", "Forever", "1.5h"};
    struct err error = {0};
    uint32_t seconds = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(duration_parse(good[i].text, "landing_retention", &seconds, &error));
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (duration_parse(bad[i], "landing_retention", &seconds, &error))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(error.kind, ERR_CONFIG);
        assert_non_null(strstr(error.text, "landing_retention is \""));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_duration_parse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
