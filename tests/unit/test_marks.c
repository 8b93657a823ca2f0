// What a look at the source's catalog means: the same words, fresh parts, and what makes a table copy itself anew.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pipeline/marks.h"

static const char known[] = "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ p6=60 e1=aa+";

static void check(const char *before, const char *now, enum marks_change expected)
{
    const char *why = NULL;
    assert_int_equal(marks_compare(before, now, &why), expected);
    assert_int_equal(why[0] == '\0', expected == MARKS_SAME);
}

static void test_marks_that_mean_nothing(void **state)
{
    (void)state;
    check(known, known, MARKS_SAME);
    check("", known, MARKS_SAME);                                                 // a catalog of before
    check(known, "m=9.1.0 s=aa i=d1 f=101 a=77 p5=50 p6=60 e1=aa+", MARKS_SAME);  // VACUUM FULL
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=78 p5=50 p6=60 e1=aa+", MARKS_SAME);  // SET STATISTICS
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50 p6=60+ p7=70+ e1=aa+ e2=bb+", MARKS_SAME);
}

static void test_marks_that_make_a_table_copy_itself_anew(void **state)
{
    (void)state;
    check(known, "m=9.2.0 s=bb i=d1 f=100 a=77 p5=50+ p6=60 e1=aa+", MARKS_MEMBERSHIP);
    check(known, "m=9.1.0 s=bb i=d1 f=100 a=78 p5=50+ p6=60 e1=aa+", MARKS_SHAPE);
    check(known, "m=9.1.0 s=bb i=f1 f=100 a=77 p5=50+ p6=60 e1=aa+", MARKS_IDENTITY);
    check(known, "m=9.1.0 s=aa i=d1 f=101 a=78 p5=50+ p6=60 e1=aa+", MARKS_REWRITTEN);
    check(known, "m=9.1.0 s=bb i=d1 f=101 a=78 p5=50+ p6=60 e1=aa+", MARKS_REWRITTEN);
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ e1=aa+", MARKS_PARTITIONS);              // dropped or detached
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=51+ p6=60 e1=aa+", MARKS_PARTITIONS);        // truncated
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ p6=60 p7=70 e1=aa+", MARKS_PARTITIONS);  // attached
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ p6=60 e1=ab+", MARKS_LABELS);
}

static void test_marks_value_of_a_word(void **state)
{
    char out[4];
    (void)state;
    assert_true(marks_value("m=9 s=ab f=100", "f=", out, sizeof out));
    assert_string_equal(out, "100");
    assert_false(marks_value("m=9 s=ab f=1000", "f=", out, sizeof out));
    assert_false(marks_value("m=9 s=ab", "f=", out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks_value_of_a_word),
        cmocka_unit_test(test_marks_that_mean_nothing),
        cmocka_unit_test(test_marks_that_make_a_table_copy_itself_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
