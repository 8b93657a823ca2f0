// Names in Snowflake by target_naming and identifier_case, and what keeps two tables apart.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_naming.h"

static struct table table_of(const char *schema, const char *name)
{
    return (struct table){.schema_name = (char *)(uintptr_t)schema, .table_name = (char *)(uintptr_t)name};
}

static void assert_names(enum sf_target_naming target, bool preserves_case, const char *schema, const char *name,
                         const char *landing)
{
    const struct sf_naming naming = {.target = target, .preserves_case = preserves_case};
    const struct table table = table_of("sales", "Order é");
    struct sf_table_names names;
    sf_naming_tables(&naming, &table, &names);
    if (schema == NULL)
        assert_null(names.schema);
    else
        assert_string_equal(names.schema, schema);
    assert_string_equal(names.target, name);
    assert_string_equal(names.landing, landing);
    sf_table_names_deinit(&names);
}

static void test_names(void **state)
{
    (void)state;
    assert_names(SF_NAMING_TABLE, false, NULL, "ORDER é", "LANDING_ORDER é");
    assert_names(SF_NAMING_TABLE, true, NULL, "Order é", "LANDING_Order é");
    assert_names(SF_NAMING_SCHEMA_TABLE, false, NULL, "SALES_ORDER é", "LANDING_SALES_ORDER é");
    assert_names(SF_NAMING_SCHEMA_TABLE, true, NULL, "sales_Order é", "LANDING_sales_Order é");
    assert_names(SF_NAMING_SCHEMA, false, "SALES", "ORDER é", "LANDING_SALES_ORDER é");
    assert_names(SF_NAMING_SCHEMA, true, "sales", "Order é", "LANDING_sales_Order é");
}

// advice NULL: nothing helps; "": they do not collide.
static void assert_advice(struct sf_naming naming, const char *schema_a, const char *name_a, const char *schema_b,
                          const char *name_b, const char *advice)
{
    const struct table a = table_of(schema_a, name_a), b = table_of(schema_b, name_b);
    struct buf out;
    buf_init(&out, 1000);
    bool collides = sf_naming_collide(&naming, &a, &b);
    assert_int_equal(collides, sf_naming_collide(&naming, &b, &a));
    assert_int_equal(collides, advice == NULL || *advice != '\0');
    if (collides)
        assert_int_equal(sf_naming_advise(&naming, &a, &b, &out), advice != NULL);
    assert_string_equal(buf_text(&out), advice != NULL ? advice : "");
    buf_deinit(&out);
}

static void test_advice(void **state)
{
    (void)state;
    const struct sf_naming plain = {0}, joined = {.target = SF_NAMING_SCHEMA_TABLE},
                           apart = {.target = SF_NAMING_SCHEMA};
    const struct sf_naming exact = {.preserves_case = true};
    assert_advice(plain, "a", "t", "b", "t", "target_naming = schema_table");
    assert_advice(plain, "a", "t", "a", "T", "identifier_case = preserve");
    assert_advice(plain, "a", "t", "b", "u", "");
    assert_advice(plain, "a", "t", "A", "t", "target_naming = schema_table with identifier_case = preserve");
    assert_advice(exact, "a", "t", "a", "T", "");
    assert_advice(exact, "a", "t", "A", "t", "target_naming = schema_table");
    assert_advice(joined, "a_b", "c", "a", "b_c", "target_naming = table");
    assert_advice(joined, "a", "t", "b", "t", "");
    assert_advice(apart, "a", "t", "b", "t", "");
    assert_advice(apart, "a_b", "c", "a", "b_c", "target_naming = table");  // their landing tables
    assert_advice(joined, "a_b", "c", "A_B", "C", "identifier_case = preserve");
}

static void test_aside(void **state)
{
    (void)state;
    struct buf out;
    char longest[4 * 255 + 1];
    buf_init(&out, 10000);
    sf_ddl_rename_aside("D", "S", "a\"b", "20261125T141508Z", &out);
    assert_string_equal(buf_text(&out), "ALTER TABLE \"D\".\"S\".\"a\"\"b\" RENAME TO "
                                        "\"D\".\"S\".\"a\"\"b_BEFORE_20261125T141508Z\"");
    // 255 characters of four bytes each: 231 of them leave room for the rest.
    for (size_t i = 0; i < 255; i++)
        memcpy(longest + 4 * i, "\xF0\x9F\x98\x80", 4);
    longest[4 * 255] = '\0';
    buf_reset(&out);
    sf_ddl_rename_aside("D", "S", longest, "20261125T141508Z", &out);
    const char *to = strstr(buf_text(&out), " RENAME TO ");
    assert_non_null(to);
    const char *name = strrchr(to, '.') + 2;
    assert_int_equal(strlen(name), 231 * 4 + strlen("_BEFORE_20261125T141508Z") + 1);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_advice),
        cmocka_unit_test(test_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
