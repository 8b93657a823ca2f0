// Names of what the first etl-stream leaves, and whether a statement names one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/first_names.h"

static void assert_named(char *name, const char *expected)
{
    assert_string_equal(name, expected);
    free(name);
}

static void test_first_names(void **state)
{
    (void)state;
    assert_named(first_target_name("Order_lines"), "ORDER_LINES");
    assert_named(first_landing_name("Order_lines"), "LANDING_ORDER_LINES");
    assert_named(first_task_name("Order_lines"), "ETL_MERGE_ORDER_LINES_TASK");
    assert_true(first_is_task_name("ETL_MERGE_ORDERS_TASK"));
    assert_false(first_is_task_name("ETL_MERGE__TASK"));
    assert_false(first_is_task_name("MY_ETL_MERGE_ORDERS_TASK"));
}

static void test_first_aside_name(void **state)
{
    (void)state;
    char name[300 * 2 + 1] = "", expected[300 * 2 + 40];
    assert_named(first_aside_name("ORDERS", 1), "ORDERS_BEFORE_ETL_STREAM");
    assert_named(first_aside_name("ORDERS", 12), "ORDERS_BEFORE_ETL_STREAM_12");
    // 255 characters, whatever their bytes: the suffix has 18 of them.
    for (int i = 0; i < 255; i++)
        strcat(name, "é");
    strcpy(expected, name);
    strcpy(expected + (size_t)2 * (255 - 18), "_BEFORE_ETL_STREAM");
    assert_named(first_aside_name(name, 1), expected);
}

static void test_first_is_slot(void **state)
{
    (void)state;
    assert_true(first_is_slot("supabase_etl_apply_7", 7));
    assert_false(first_is_slot("supabase_etl_apply_70", 7));
    assert_false(first_is_slot("supabase_etl_apply_7", 70));
    assert_true(first_is_slot("supabase_etl_table_sync_7_16400", 7));
    assert_false(first_is_slot("supabase_etl_table_sync_7_", 7));
    assert_false(first_is_slot("supabase_etl_table_sync_7_16400x", 7));
    assert_false(first_is_slot("supabase_etl_table_sync_71_16400", 7));
    assert_false(first_is_slot("etl_shop", 0));
}

static void test_first_sql_names(void **state)
{
    (void)state;
    assert_true(first_sql_names("DELETE FROM \"DB\".\"S\".\"LANDING_ORDERS\" WHERE 1 = 1", "LANDING_ORDERS"));
    assert_true(first_sql_names("delete from landing_orders", "LANDING_ORDERS"));
    assert_true(first_sql_names("select * from s.Landing_Orders;", "LANDING_ORDERS"));
    assert_false(first_sql_names("select * from LANDING_ORDERS_OLD", "LANDING_ORDERS"));
    assert_false(first_sql_names("select * from MY_LANDING_ORDERS", "LANDING_ORDERS"));
    assert_true(first_sql_names("select * from LANDING_ORDERS_OLD, LANDING_ORDERS", "LANDING_ORDERS"));
    assert_false(first_sql_names("", "LANDING_ORDERS"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_names),
        cmocka_unit_test(test_first_aside_name),
        cmocka_unit_test(test_first_is_slot),
        cmocka_unit_test(test_first_sql_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
