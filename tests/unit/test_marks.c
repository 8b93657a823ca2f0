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
    check("", known, MARKS_SAME);  // a catalog of before
    check("m=9.0.2 s=aa", "m=9.0.2 s=aa d=700", MARKS_SAME);
    check(known, "m=9.1.0 s=aa i=d1 f=101 a=77 p5=50 p6=60 e1=aa+", MARKS_SAME);  // VACUUM FULL
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=78 p5=50 p6=60 e1=aa+", MARKS_SAME);  // SET STATISTICS
    check("m=9.0.2 f=100 u=70", "m=9.0.2 f=101 u=70", MARKS_SAME);                // VACUUM FULL
    check("m=9.0.2 f=100 u=0", "m=9.0.2 f=100 u=70", MARKS_SAME);                 // got its TOAST table
    check("p5=50+ p6=60", "p5=50.700 p6=60.700.690+", MARKS_SAME);                // a catalog of before
    check("m=9.0.2 f=100 u=70", "m=9.0.2 f=101", MARKS_SAME);                     // there is pg_repack now
    check("m=9.0.2 f=100", "m=9.0.2 f=101 u=71", MARKS_SAME);                     // a catalog of before
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50 p6=60+ p7=70+ e1=aa+ e2=bb+", MARKS_SAME);
}

static void test_marks_that_make_a_table_copy_itself_anew(void **state)
{
    (void)state;
    check(known, "m=9.2.0 s=bb i=d1 f=100 a=77 p5=50+ p6=60 e1=aa+", MARKS_MEMBERSHIP);
    check(known, "m=9.1.0 s=bb i=d1 f=100 a=78 p5=50+ p6=60 e1=aa+", MARKS_SHAPE);
    check(known, "m=9.1.0 s=bb i=f1 f=100 a=77 p5=50+ p6=60 e1=aa+", MARKS_IDENTITY);
    check(known, "m=9.1.0 s=aa i=d1 f=101 a=78 p5=50+ p6=60 e1=aa+", MARKS_REWRITTEN);
    check("m=9.0.2 s=aa d=700", "m=9.0.2 s=aa d=701", MARKS_MEMBERSHIP);  // to another schema and back
    check("m=9.0.2 s=aa d=700", "m=9.0.2 s=bb d=701",
          MARKS_MEMBERSHIP);  // and got a column: not to be followed in place
    check("m=9.0.2 s=aa h=700", "m=9.0.2 s=bb h=701", MARKS_MEMBERSHIP);
    check("s=aa p5=50.700 p6=60.700+", "s=bb p5=50.701 p6=60.700", MARKS_PARTITIONS);  // detached and attached again
    check("m=9.0.2 s=aa f=100 u=70", "m=9.0.2 s=aa f=101 u=71", MARKS_REWRITTEN);      // UNLOGGED and LOGGED again
    check("m=9.0.2 s=aa f=100 u=70", "m=9.0.2 s=bb f=101 u=71", MARKS_REWRITTEN);
    check(known, "m=9.1.0 s=bb i=d1 f=101 a=78 p5=50+ p6=60 e1=aa+", MARKS_REWRITTEN);
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ e1=aa+", MARKS_PARTITIONS);              // dropped or detached
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=51+ p6=60 e1=aa+", MARKS_PARTITIONS);        // truncated
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ p6=60 p7=70 e1=aa+", MARKS_PARTITIONS);  // attached
    check(known, "m=9.1.0 s=aa i=d1 f=100 a=77 p5=50+ p6=60 e1=ab+", MARKS_LABELS);
}

static void test_marks_of_what_the_publication_sends(void **state)
{
    static const char all[] = "m=9.1.0 o=iudt.t.10.n.700 s=aa";
    (void)state;
    check("m=9.1.0 s=aa", all, MARKS_SAME);                      // a catalog of before
    check(all, "m=9.1.0 o=id.t.10.n.701 s=aa", MARKS_SAME);      // missing from now on
    check("m=9.1.0 o=id.t.10.n.701 s=aa", all, MARKS_LEFT_OUT);  // and now to be made good
    check("m=9.1.0 o=i.t.10.n.701 s=aa", "m=9.1.0 o=u.t.10.n.702 s=aa", MARKS_LEFT_OUT);
    check("m=9.1.0 o=.t.10.n.701 s=aa", "m=9.1.0 o=t.t.10.n.702 s=aa", MARKS_LEFT_OUT);
    check(all, "m=9.1.0 o=iudt.t.10.n.702 s=aa", MARKS_LEFT_OUT);  // away and back between two looks
    check(all, "m=9.1.0 o=iudt.f.10.n.702 s=aa", MARKS_SAME);      // publish_via_partition_root
    check(all, "m=9.1.0 o=iudt.t.11.n.702 s=aa", MARKS_SAME);      // another owner
    check(all, "m=9.1.0 o=iudt.t.10.s.702 s=bb", MARKS_SHAPE);     // generated columns
    check("m=9.1.0 o=iud.t.10.n.701 s=aa", "m=9.1.0 o=iudt.t.10.n.702 s=bb", MARKS_LEFT_OUT);
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
        cmocka_unit_test(test_marks_of_what_the_publication_sends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
