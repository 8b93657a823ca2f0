// Which statements bring tables that exist into the form of a changed definition.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "sinks/snowflake/sf_evolve.h"

#define T "ALTER TABLE \"D\".\"S\".\"T\" "
#define S "ALTER TABLE \"D\".\"S\".\"_ETL_NEW_T\" "
#define L "ALTER TABLE \"D\".\"L\".\"LANDING_T\" "

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static const struct target_type number = {.kind = TARGET_NUMBER, .precision = 12, .scale = 2};
static const struct target_type text_type = {.kind = TARGET_VARCHAR, .length = 100};
static const struct target_type bytes = {.kind = TARGET_BINARY, .length = 30};

// The definition: id NUMBER(12,2), note VARCHAR(100) formerly `former`, raw BINARY(30).
static void check(enum sf_evolve_role role, const char *former, const struct sf_described_column *columns, size_t count,
                  bool needs_shadow, const char *const *expected)
{
    struct column of_table[] = {
        {.name = text_of("id")}, {.name = text_of("note"), .former_name = text_of(former)}, {.name = text_of("raw")}};
    struct table table = {
        .schema_name = text_of("public"), .table_name = text_of("t"), .columns = of_table, .column_count = 3};
    struct column_encoder encoders[] = {{.target = number}, {.target = text_type}, {.target = bytes}};
    const struct sf_naming naming = {0};
    struct sf_table_layout layout;
    struct sf_evolution plan;
    struct err error = {0};
    size_t statements = 0;
    assert_true(sf_layout_init(&layout, &table, encoders, "D", "S", "L", &naming, &error));
    sf_evolve_plan(&layout, &naming, role, SF_EVOLVE_REPLACE, columns, count, "20260101T000000Z", &plan);
    for (; expected[statements] != NULL; statements++) {
        assert_true(statements < plan.count);
        assert_string_equal(plan.statements[statements], expected[statements]);
    }
    assert_int_equal(plan.count, statements);
    assert_int_equal(plan.needs_shadow, needs_shadow);
    sf_evolution_deinit(&plan);
    sf_layout_deinit(&layout);
}

static void test_sf_evolve_what_fits(void **state)
{
    (void)state;
    const struct sf_described_column target[] = {{"GONE", "DATE", NULL},
                                                 {"ID", "NUMBER(12,2)", NULL},
                                                 {"NOTE", "VARCHAR(100)", NULL},
                                                 {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column landing[] = {{"ID", "NUMBER(12,2)", NULL},
                                                  {"NOTE", "VARCHAR(200)", NULL},
                                                  {"RAW", "VARCHAR(40)", NULL},
                                                  {"_ETL_OP", "VARCHAR(1)", NULL}};
    check(SF_EVOLVE_TARGET, NULL, target, 4, false, (const char *[]){NULL});
    check(SF_EVOLVE_LANDING, NULL, landing, 4, false, (const char *[]){NULL});
}

static void test_sf_evolve_adds_and_widens(void **state)
{
    (void)state;
    const struct sf_described_column target[] = {{"ID", "NUMBER(10,2)", NULL}, {"RAW", "BINARY(20)", NULL}};
    const struct sf_described_column landing[] = {{"ID", "NUMBER(10,2)", NULL}, {"NOTE", "VARCHAR(10)", NULL}};
    check(SF_EVOLVE_TARGET, NULL, target, 2, false,
          (const char *[]){T "ALTER COLUMN \"ID\" SET DATA TYPE NUMBER(12,2)",
                           T "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''",
                           T "ALTER COLUMN \"RAW\" SET DATA TYPE BINARY(30)", NULL});
    check(SF_EVOLVE_LANDING, NULL, landing, 2, false,
          (const char *[]){L "ALTER COLUMN \"ID\" SET DATA TYPE NUMBER(12,2)",
                           L "ALTER COLUMN \"NOTE\" SET DATA TYPE VARCHAR(100)",
                           L "ADD COLUMN \"RAW\" VARCHAR(40) COLLATE ''", NULL});
}

static void test_sf_evolve_renames(void **state)
{
    (void)state;
    const struct sf_described_column plain[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"OLD", "VARCHAR(100)", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column taken[] = {{"ID", "NUMBER(12,2)", NULL},
                                                {"OLD", "VARCHAR(100)", NULL},
                                                {"NOTE", "VARCHAR(100)", NULL},
                                                {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column other_type[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"OLD", "DATE", NULL}, {"RAW", "BINARY(30)", NULL}};
    check(SF_EVOLVE_TARGET, "old", plain, 3, false, (const char *[]){T "RENAME COLUMN \"OLD\" TO \"NOTE\"", NULL});
    check(SF_EVOLVE_TARGET, "old", taken, 4, false, (const char *[]){NULL});  // a column of before has the name
    check(SF_EVOLVE_TARGET, "id", plain, 3, false,
          (const char *[]){T "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", NULL});
    check(SF_EVOLVE_SHADOW, "old", other_type, 3, false,
          (const char *[]){S "RENAME COLUMN \"OLD\" TO \"NOTE\"",
                           S "RENAME COLUMN \"NOTE\" TO \"_ETL_WAS_20260101T000000Z_NOTE\"",
                           S "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''",
                           S "DROP COLUMN \"_ETL_WAS_20260101T000000Z_NOTE\"", NULL});
}

static void test_sf_evolve_types_that_cannot_be_changed(void **state)
{
    (void)state;
    const struct sf_described_column target[] = {
        {"ID", "NUMBER(12,4)", NULL}, {"NOTE", "VARCHAR(100)", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column shorter[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(200)", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column landing[] = {
        {"ID", "FLOAT", NULL}, {"NOTE", "ARRAY", NULL}, {"RAW", "VARCHAR(40)", NULL}};
    check(SF_EVOLVE_TARGET, NULL, target, 3, true, (const char *[]){NULL});
    check(SF_EVOLVE_TARGET, NULL, shorter, 3, true, (const char *[]){NULL});
    check(SF_EVOLVE_SHADOW, NULL, target, 3, false,
          (const char *[]){S "RENAME COLUMN \"ID\" TO \"_ETL_WAS_20260101T000000Z_ID\"",
                           S "ADD COLUMN \"ID\" NUMBER(12,2)", S "DROP COLUMN \"_ETL_WAS_20260101T000000Z_ID\"", NULL});
    check(SF_EVOLVE_LANDING, NULL, landing, 3, false,
          (const char *[]){L "RENAME COLUMN \"ID\" TO \"_ETL_WAS_20260101T000000Z_ID\"",
                           L "ADD COLUMN \"ID\" NUMBER(12,2)",
                           L "RENAME COLUMN \"NOTE\" TO \"_ETL_WAS_20260101T000000Z_NOTE\"",
                           L "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", NULL});
}

// Made where a schema has a default collation: equality is the source's again when the table was copied anew.
static void test_sf_evolve_does_away_with_collations(void **state)
{
    (void)state;
    const struct sf_described_column target[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(100) COLLATE 'en-ci'", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column landing[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(200) COLLATE 'en-ci'", NULL}, {"RAW", "VARCHAR(40)", NULL}};
    check(SF_EVOLVE_TARGET, NULL, target, 3, true, (const char *[]){NULL});
    check(SF_EVOLVE_SHADOW, NULL, target, 3, false,
          (const char *[]){S "RENAME COLUMN \"NOTE\" TO \"_ETL_WAS_20260101T000000Z_NOTE\"",
                           S "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''",
                           S "DROP COLUMN \"_ETL_WAS_20260101T000000Z_NOTE\"", NULL});
    check(SF_EVOLVE_LANDING, NULL, landing, 3, false,
          (const char *[]){L "RENAME COLUMN \"NOTE\" TO \"_ETL_WAS_20260101T000000Z_NOTE\"",
                           L "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", NULL});
}

// The same definition without the former name, note being new; what has to be in the way, or NULL.
static void follow(enum sf_evolve_role role, enum sf_evolve_purpose purpose, const struct sf_described_column *columns,
                   size_t count, const char *obstacle, const char *const *expected)
{
    struct column of_table[] = {
        {.name = text_of("id")}, {.name = text_of("note"), .is_added = true}, {.name = text_of("raw")}};
    struct table table = {
        .schema_name = text_of("public"), .table_name = text_of("t"), .columns = of_table, .column_count = 3};
    struct column_encoder encoders[] = {{.target = number}, {.target = text_type}, {.target = bytes}};
    const struct sf_naming naming = {0};
    struct sf_table_layout layout;
    struct sf_evolution plan;
    struct err error = {0};
    size_t statements = 0;
    assert_true(sf_layout_init(&layout, &table, encoders, "D", "S", "L", &naming, &error));
    sf_evolve_plan(&layout, &naming, role, purpose, columns, count, "20260101T000000Z", &plan);
    if (obstacle != NULL)
        assert_non_null(strstr(plan.obstacle, obstacle));
    else
        assert_string_equal(plan.obstacle, "");
    for (; obstacle == NULL && expected[statements] != NULL; statements++) {
        assert_true(statements < plan.count);
        assert_string_equal(plan.statements[statements], expected[statements]);
    }
    if (obstacle == NULL)
        assert_int_equal(plan.count, statements);
    assert_false(plan.needs_shadow && purpose != SF_EVOLVE_REPLACE);
    sf_evolution_deinit(&plan);
    sf_layout_deinit(&layout);
}

static void test_sf_evolve_follows_in_place(void **state)
{
    (void)state;
    const struct sf_described_column before[] = {{"ID", "NUMBER(10,2)", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column taken[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(100)", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column other[] = {{"ID", "FLOAT", NULL}, {"RAW", "BINARY(30)", NULL}};
    const struct sf_described_column missing[] = {{"ID", "NUMBER(12,2)", NULL}};
    const struct sf_described_column landing[] = {{"ID", "NUMBER(12,2)", NULL}, {"RAW", "VARCHAR(40)", NULL}};
    const char *const widened[] = {T "ALTER COLUMN \"ID\" SET DATA TYPE NUMBER(12,2)",
                                   T "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", NULL};
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, before, 2, NULL, widened);
    follow(SF_EVOLVE_LANDING, SF_EVOLVE_FOLLOW, landing, 2, NULL,
           (const char *[]){L "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", NULL});
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, taken, 3, "NOTE of the target is there already", NULL);
    follow(SF_EVOLVE_LANDING, SF_EVOLVE_FOLLOW, taken, 3, "NOTE of the landing table is there already", NULL);
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_RESUME, taken, 3, NULL, (const char *[]){NULL});
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, other, 2, "ID of the target cannot get its new type", NULL);
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, missing, 1, "RAW of the target is missing", NULL);
}

static void test_sf_evolve_defaults_of_columns_that_left(void **state)
{
    (void)state;
    const struct sf_described_column target[] = {
        {"ID", "NUMBER(12,2)", NULL}, {"GONE", "NUMBER(5,0)", "42"}, {"RAW", "BINARY(30)", NULL}};
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, target, 3, "GONE of the target left the source", NULL);
    follow(SF_EVOLVE_TARGET, SF_EVOLVE_REPLACE, target, 3, NULL,
           (const char *[]){T "ADD COLUMN \"NOTE\" VARCHAR(100) COLLATE ''", T "DROP COLUMN \"GONE\"",
                            T "ADD COLUMN \"GONE\" NUMBER(5,0)", NULL});
}

// id was called "number" and is new under its name, "gone" left; _ETL_COERCED may tell of both.
static void plan_renamed(enum sf_evolve_role role, enum sf_evolve_purpose purpose,
                         const struct sf_described_column *columns, size_t count, struct sf_evolution *out_plan)
{
    char *left[] = {text_of("gone")};
    struct column of_table[] = {{.name = text_of("id"), .former_name = text_of("number")}, {.name = text_of("note")}};
    struct table table = {.schema_name = text_of("public"),
                          .table_name = text_of("t"),
                          .columns = of_table,
                          .column_count = 2,
                          .left_names = left,
                          .left_count = 1};
    struct column_encoder encoders[] = {{.target = number}, {.target = text_type}};
    const struct sf_naming naming = {0};
    struct sf_table_layout layout;
    struct err error = {0};
    assert_true(sf_layout_init(&layout, &table, encoders, "D", "S", "L", &naming, &error));
    sf_evolve_plan(&layout, &naming, role, purpose, columns, count, "20260101T000000Z", out_plan);
    sf_layout_deinit(&layout);
}

static void test_sf_evolve_follows_names(void **state)
{
    (void)state;
    struct sf_evolution plan;
    const struct sf_described_column before[] = {
        {"NUMBER", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(100)", NULL}, {"GONE", "DATE", NULL}};
    const struct sf_described_column coerced[] = {{"NUMBER", "NUMBER(12,2)", NULL},
                                                  {"NOTE", "VARCHAR(100)", NULL},
                                                  {"GONE", "DATE", NULL},
                                                  {"_ETL_COERCED", "VARIANT", NULL}};
    const struct sf_described_column after[] = {{"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(100)", NULL}};
    const struct sf_described_column both[] = {
        {"NUMBER", "NUMBER(12,2)", NULL}, {"ID", "NUMBER(12,2)", NULL}, {"NOTE", "VARCHAR(100)", NULL}};
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, before, 3, &plan);
    assert_string_equal(plan.obstacle, "");
    assert_null(plan.question);
    assert_int_equal(plan.count, 1);
    assert_string_equal(plan.statements[0], T "RENAME COLUMN \"NUMBER\" TO \"ID\"");
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, coerced, 4, &plan);
    assert_string_equal(plan.question,
                        "SELECT COUNT(*) FROM \"D\".\"S\".\"T\" WHERE GET(\"_ETL_COERCED\", 'NUMBER') IS NOT NULL OR "
                        "GET(\"_ETL_COERCED\", 'GONE') IS NOT NULL");
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_REPLACE, coerced, 4, &plan);
    assert_null(plan.question);  // all rows are written anew
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_LANDING, SF_EVOLVE_FOLLOW, before, 3, &plan);
    assert_string_equal(plan.obstacle, "");
    assert_int_equal(plan.count, 1);
    assert_string_equal(plan.statements[0], L "ADD COLUMN \"ID\" NUMBER(12,2)");
    sf_evolution_deinit(&plan);
    // Done by an earlier try; by nobody knows whom; and the name is another column's.
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_RESUME, after, 2, &plan);
    assert_string_equal(plan.obstacle, "");
    assert_int_equal(plan.count, 0);
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, after, 2, &plan);
    assert_non_null(strstr(plan.obstacle, "ID of the target cannot get this name"));
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_TARGET, SF_EVOLVE_FOLLOW, both, 3, &plan);
    assert_non_null(strstr(plan.obstacle, "ID of the target cannot get this name"));
    sf_evolution_deinit(&plan);
    plan_renamed(SF_EVOLVE_LANDING, SF_EVOLVE_FOLLOW, both, 3, &plan);
    assert_non_null(strstr(plan.obstacle, "ID of the landing table is there already"));
    sf_evolution_deinit(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sf_evolve_follows_in_place),
        cmocka_unit_test(test_sf_evolve_defaults_of_columns_that_left),
        cmocka_unit_test(test_sf_evolve_what_fits),
        cmocka_unit_test(test_sf_evolve_follows_names),
        cmocka_unit_test(test_sf_evolve_adds_and_widens),
        cmocka_unit_test(test_sf_evolve_renames),
        cmocka_unit_test(test_sf_evolve_types_that_cannot_be_changed),
        cmocka_unit_test(test_sf_evolve_does_away_with_collations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
