// Which definitions a table can go on to with the rows that it has.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "pipeline/change_plan.h"

#define INT4 23
#define INT8 20
#define TEXT 25
#define VARCHAR 1043
#define NUMERIC 1700
#define MODIFIER(precision, scale) (((precision) << 16 | (scale)) + 4)

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static struct column column(int16_t number, const char *name, uint32_t type, int32_t modifier)
{
    return (struct column){.name = text_of(name),
                           .type_oid = type,
                           .type_modifier = modifier,
                           .attribute_number = number,
                           .key_position = number == 1 ? 0 : -1};
}

static uint16_t first_is_key[] = {0};

static struct table table(struct column *columns, uint16_t count, uint16_t attribute_count)
{
    return (struct table){.schema_name = text_of("public"),
                          .table_name = text_of("t"),
                          .columns = columns,
                          .column_count = count,
                          .attribute_count = attribute_count,
                          .identity = IDENTITY_KEY,
                          .key_count = 1,
                          .key_columns = first_is_key};
}

// What is known: id, name varchar(10), amount numeric(10,2); four numbers were given, so one was dropped earlier.
static bool plan(struct column *columns, uint16_t count, uint16_t attribute_count, struct change_plan *out_plan,
                 struct err *out_why)
{
    struct column known[] = {column(1, "id", INT4, -1), column(2, "name", VARCHAR, 14),
                             column(3, "amount", NUMERIC, MODIFIER(10, 2))};
    struct table before = table(known, 3, 4), now = table(columns, count, attribute_count);
    *out_why = (struct err){0};
    return change_plan(&before, &now, out_plan, out_why);
}

static void refused(struct column *columns, uint16_t count, uint16_t attribute_count, const char *words)
{
    struct change_plan of;
    struct err why;
    assert_false(plan(columns, count, attribute_count, &of, &why));
    assert_int_equal(why.kind, ERR_LOST);
    assert_non_null(strstr(why.text, words));
}

static void test_change_plan_added(void **state)
{
    (void)state;
    struct change_plan of;
    struct err why;
    struct column now[] = {column(1, "id", INT4, -1), column(2, "name", VARCHAR, 14),
                           column(3, "amount", NUMERIC, MODIFIER(10, 2)), column(5, "extra", INT4, -1)};
    assert_true(plan(now, 4, 5, &of, &why));
    assert_int_equal(of.added_count, 1);
    assert_false(of.needs_merge);
    assert_true(now[3].is_added);
    assert_false(now[2].is_added);
    now[3].has_missing = true;
    refused(now, 4, 5, "partitions");
    now[3].missing_text = text_of("42");
    assert_true(plan(now, 4, 5, &of, &why));
    assert_true(of.needs_merge);
    refused(now, 4, 6, "came and went");
    now[3].attribute_number = 4;
    refused(now, 4, 4, "not published");
}

static void test_change_plan_dropped(void **state)
{
    (void)state;
    struct change_plan of;
    struct err why;
    struct column now[] = {column(1, "id", INT4, -1), column(3, "amount", NUMERIC, MODIFIER(10, 2)),
                           column(5, "name", INT4, -1)};
    assert_true(plan(now, 2, 4, &of, &why));
    assert_int_equal(of.dropped_count, 1);
    assert_true(of.needs_merge);
    refused(now, 3, 5, "name is another column now");
    refused(now, 2, 5, "came and went");
    now[2] = column(5, "remark", INT4, -1);
    assert_true(plan(now, 3, 5, &of, &why));
    assert_int_equal(of.added_count, 1);
}

static void test_change_plan_renamed(void **state)
{
    (void)state;
    struct change_plan of;
    struct err why;
    struct column now[] = {column(1, "number", INT4, -1), column(2, "title", TEXT, -1),
                           column(3, "amount", NUMERIC, MODIFIER(10, 2)), column(5, "extra", INT4, -1)};
    assert_true(plan(now, 4, 5, &of, &why));
    assert_int_equal(of.renamed_count, 2);
    assert_int_equal(of.widened_count, 1);
    assert_int_equal(of.added_count, 1);
    assert_true(of.needs_merge);
    assert_false(now[1].is_added);
    now[3].name = text_of("name");  // under a name that another one had
    refused(now, 4, 5, "name is another column now");
    now[1].name = text_of("amount");
    now[2].name = text_of("name");
    refused(now, 3, 4, "has taken a name");
}

static void test_change_plan_types(void **state)
{
    (void)state;
    struct change_plan of;
    struct err why;
    struct column now[] = {column(1, "id", INT4, -1), column(2, "name", TEXT, -1),
                           column(3, "amount", NUMERIC, MODIFIER(12, 2))};
    assert_true(plan(now, 3, 4, &of, &why));
    assert_int_equal(of.widened_count, 2);
    now[1] = column(2, "name", VARCHAR, 24);
    assert_true(plan(now, 3, 4, &of, &why));
    now[1] = column(2, "name", VARCHAR, 12);
    refused(now, 3, 4, "another type");
    now[1] = column(2, "name", INT8, -1);
    refused(now, 3, 4, "another type");
    now[1] = column(2, "name", VARCHAR, 14);
    now[2] = column(3, "amount", NUMERIC, MODIFIER(12, 3));
    refused(now, 3, 4, "another type");
    now[2] = column(3, "amount", NUMERIC, MODIFIER(39, 2));
    refused(now, 3, 4, "another type");
    now[2] = column(3, "amount", NUMERIC, -1);
    refused(now, 3, 4, "another type");
}

static void test_change_plan_what_is_copied(void **state)
{
    (void)state;
    struct column now[] = {column(1, "id", INT4, -1), column(2, "name", VARCHAR, 14),
                           column(3, "amount", NUMERIC, MODIFIER(10, 2))};
    refused(now, 3, 4, "not known what changed");
    now[0] = column(1, "id", INT8, -1);
    refused(now, 3, 4, "key");
    now[0] = column(4, "id", INT4, -1);
    refused(now, 3, 4, "key");
}

static void test_change_plan_without_a_key(void **state)
{
    (void)state;
    struct change_plan of;
    struct err why = {0};
    struct column known[] = {column(1, "a", INT4, -1), column(2, "b", INT4, -1)};
    struct column now[] = {column(1, "a", INT4, -1), column(2, "b", INT4, -1), column(3, "c", INT4, -1)};
    struct table before = table(known, 2, 2), after = table(now, 3, 3);
    before.identity = after.identity = IDENTITY_FULL;
    before.key_count = after.key_count = 0;
    assert_true(change_plan(&before, &after, &of, &why));
    after.column_count = 1;
    after.attribute_count = 2;
    assert_true(change_plan(&before, &after, &of, &why));
    known[1].name = text_of("b\n");
    assert_false(change_plan(&before, &after, &of, &why));
    assert_non_null(strstr(why.text, "line break"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_plan_added),          cmocka_unit_test(test_change_plan_dropped),
        cmocka_unit_test(test_change_plan_renamed),        cmocka_unit_test(test_change_plan_types),
        cmocka_unit_test(test_change_plan_what_is_copied), cmocka_unit_test(test_change_plan_without_a_key)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
