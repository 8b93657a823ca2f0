#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/remedy.h"

static const struct remedy_subject pipeline = {.pipeline = "shop"};
static const struct remedy_subject table = {.pipeline = "shop", .table = "public.orders"};

static const char *remedy_of(enum err_kind kind, const char *code, const char *text,
                             const struct remedy_subject *subject)
{
    static char out[ERR_TEXT_SIZE];
    struct err error = {0};
    err_set(&error, kind, code, "%s", text);
    remedy_format(&error, subject, out, sizeof out);
    return out;
}

static void test_remedy_takes_what_the_error_names(void **state)
{
    (void)state;
    assert_string_equal(remedy_of(ERR_CONFIG, "x", "no such thing; mend it with: CREATE THING", &pipeline),
                        "CREATE THING");
    assert_string_equal(remedy_of(ERR_CONFIG, "x", "in the way; move it out of the way with: ALTER TABLE", &table),
                        "ALTER TABLE");
}

static void test_remedy_knows_codes(void **state)
{
    (void)state;
    const char *lost = remedy_of(ERR_LOST, "slot_lost", "the slot is gone", &pipeline);
    assert_non_null(strstr(lost, "pipeline edit shop --on-slot-lost resync"));
    assert_non_null(strstr(remedy_of(ERR_FENCED, "fenced", "another one", &pipeline), "pipeline start shop"));
    assert_non_null(strstr(remedy_of(ERR_CONFIG, "28P01", "password", &pipeline), "source edit"));
    assert_non_null(strstr(remedy_of(ERR_DATA, "schema_changed", "changed", &table), "resync shop public.orders"));
}

static void test_remedy_is_never_empty(void **state)
{
    (void)state;
    for (int kind = ERR_TRANSIENT; kind <= ERR_INTERNAL; kind++) {
        assert_true(*remedy_of((enum err_kind)kind, "", "something", &pipeline) != '\0');
        assert_true(*remedy_of((enum err_kind)kind, "", "something", &table) != '\0');
    }
    char small[8];
    struct err error = {0};
    err_set(&error, ERR_LOST, "slot_lost", "gone");
    remedy_format(&error, &pipeline, small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remedy_takes_what_the_error_names),
        cmocka_unit_test(test_remedy_knows_codes),
        cmocka_unit_test(test_remedy_is_never_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
