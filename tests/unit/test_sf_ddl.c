// The statements that make landing, target and state tables, and the names that are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "encode/encoding.h"
#include "sinks/snowflake/sf_ddl.h"
#include "unit/encode_tables.h"

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void check_layout(const char *const names[], uint16_t count, const char *code)
{
    struct column columns[4] = {0};
    struct column_encoder encoders[4] = {0};
    struct table table = {.schema_name = text_of("public"), .table_name = text_of("t"), .columns = columns};
    struct sf_table_layout layout;
    struct err error = {0};
    table.column_count = count;
    for (uint16_t i = 0; i < count; i++)
        columns[i].name = text_of(names[i]);
    bool is_good = sf_layout_init(&layout, &table, encoders, "D", "S", "L", &(struct sf_naming){0}, &error);
    assert_int_equal(is_good, code == NULL);
    assert_string_equal(error.code, code == NULL ? "" : code);
    assert_int_equal(error.kind, code == NULL ? ERR_NONE : ERR_CONFIG);
    if (is_good)
        sf_layout_deinit(&layout);
    assert_null(layout.target_name);
    sf_layout_deinit(&layout);
}

static void test_sf_layout_refuses_names(void **state)
{
    (void)state;
    char long_name[257];
    memset(long_name, 'x', 256);
    long_name[256] = '\0';
    check_layout((const char *[]){"id", "Name", "etl_seq", "_et"}, 4, NULL);
    check_layout((const char *[]){"id"}, 0, "no_columns");
    check_layout((const char *[]){"id", "ID"}, 2, "column_collision");
    check_layout((const char *[]){"a", "Id", "b", "iD"}, 4, "column_collision");
    check_layout((const char *[]){"_etl_seq"}, 1, "column_reserved");
    check_layout((const char *[]){"id", "_Etl_anything"}, 2, "column_reserved");
    check_layout((const char *[]){"straße", "STRASSE"}, 2, NULL);
    check_layout((const char *[]){"ä", "Ä"}, 2, NULL);  // only ASCII letters are folded
    check_layout((const char *[]){long_name}, 1, "name_size");
    check_layout((const char *[]){long_name + 1}, 1, NULL);
}

// The encoder writes the landing column's name into every line: both must fold alike.
static void test_sf_layout_names_are_the_encoders(void **state)
{
    (void)state;
    static const char *const names[] = {"id", "straße", "Mixed_1$", "a\"b\\c'"};
    static const char *const keys[] = {"\"ID\":", "\"STRAßE\":", "\"MIXED_1$\":", "\"A\\\"B\\\\C'\":"};
    static const char *const folded[] = {"ID", "STRAßE", "MIXED_1$", "A\"B\\C'"};
    const struct encoding *encoding = encoding_find("UTF8");
    struct typemap_options options = {0};
    struct err error = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct column column = {.name = text_of(names[i]),
                                .type_name = text_of("text"),
                                .type_oid = 25,
                                .type = base_type(OID_TEXT, -1),
                                .key_position = -1};
        struct table table = {
            .schema_name = text_of("s"), .table_name = text_of("t"), .columns = &column, .column_count = 1};
        struct column_encoder encoder;
        struct sf_table_layout layout;
        assert_true(typemap_choose(&column, encoding, &options, &encoder, &error));
        assert_true(sf_layout_init(&layout, &table, &encoder, "D", "S", "L", &(struct sf_naming){0}, &error));
        assert_string_equal(layout.column_names[0], folded[i]);
        assert_int_equal(encoder.key_size, strlen(keys[i]));
        assert_memory_equal(encoder.key, keys[i], encoder.key_size);
        sf_layout_deinit(&layout);
        typemap_encoder_deinit(&encoder);
    }
}

static void test_sf_ddl_tables(void **state)
{
    (void)state;
    struct column columns[] = {{.name = text_of("id")}, {.name = text_of("the \"body\"")}, {.name = text_of("raw")}};
    struct column_encoder encoders[] = {{.target = {.kind = TARGET_NUMBER, .precision = 38}},
                                        {.target = {.kind = TARGET_VARIANT}},
                                        {.target = {.kind = TARGET_BINARY}}};
    struct table table = {
        .schema_name = text_of("public"), .table_name = text_of("Order's"), .columns = columns, .column_count = 3};
    struct sf_table_layout layout;
    struct err error = {0};
    struct buf out;
    buf_init(&out, 100000);
    assert_true(sf_layout_init(&layout, &table, encoders, "D", "S", "L", &(struct sf_naming){0}, &error));
    assert_string_equal(layout.target_name, "ORDER'S");
    assert_string_equal(layout.landing_name, "LANDING_ORDER'S");
    assert_string_equal(layout.column_names[1], "THE \"BODY\"");

    sf_ddl_create_landing(&layout, "p", &out);
    const char *landing = buf_text(&out);
    assert_non_null(strstr(landing, "CREATE TRANSIENT TABLE \"D\".\"L\".\"LANDING_ORDER'S\" (\"ID\" NUMBER(38,0), "
                                    "\"THE \"\"BODY\"\"\" VARIANT, \"RAW\" VARCHAR("));
    assert_non_null(strstr(landing, "\"_ETL_OP\" VARCHAR(1), \"_ETL_SEQ\" VARCHAR(26), \"_ETL_OLD_KEY\" ARRAY, "
                                    "\"_ETL_UNCHANGED\" ARRAY, \"_ETL_COERCED\" VARIANT) "));
    assert_non_null(strstr(landing, "DATA_RETENTION_TIME_IN_DAYS = 1 ENABLE_SCHEMA_EVOLUTION = TRUE "
                                    "ERROR_LOGGING = TRUE DEFAULT_DDL_COLLATION = '' COMMENT = 'etl-stream: pipeline=p "
                                    "table=public.Order%27s role=landing'"));
    buf_reset(&out);
    sf_ddl_create_target(&layout, "p", &out);
    const char *target = buf_text(&out);
    assert_non_null(strstr(target, "CREATE TABLE \"D\".\"S\".\"ORDER'S\" (\"ID\" NUMBER(38,0), "));
    assert_non_null(strstr(target, "\"RAW\" BINARY("));
    assert_non_null(strstr(target, ") DEFAULT_DDL_COLLATION = '' COMMENT = 'etl-stream: pipeline=p "));
    assert_null(strstr(target, "_ETL_"));
    assert_null(strstr(target, "ERROR_LOGGING"));

    layout.has_commit_at = layout.has_deleted_at = true;
    buf_reset(&out);
    sf_ddl_create_landing(&layout, "p", &out);
    assert_non_null(strstr(buf_text(&out), "\"_ETL_COERCED\" VARIANT, \"_ETL_COMMIT_AT\" TIMESTAMP_TZ(6)) DATA"));
    assert_non_null(strstr(buf_text(&out), "role=landing has=commit_at'"));
    buf_reset(&out);
    sf_ddl_create_target(&layout, "p", &out);
    assert_non_null(strstr(buf_text(&out), ", \"_ETL_DELETED_AT\" TIMESTAMP_TZ(6)) DEFAULT_DDL_COLLATION = ''"));
    assert_non_null(strstr(buf_text(&out), "role=target has=deleted_at'"));
    buf_reset(&out);
    sf_ddl_add_commit_at(&layout, &out);
    assert_string_equal(buf_text(&out), "ALTER TABLE \"D\".\"L\".\"LANDING_ORDER'S\" ADD COLUMN IF NOT EXISTS "
                                        "\"_ETL_COMMIT_AT\" TIMESTAMP_TZ(6)");
    buf_reset(&out);
    sf_ddl_comment_target(&layout, "p", &out);
    assert_string_equal(buf_text(&out), "ALTER TABLE \"D\".\"S\".\"ORDER'S\" SET COMMENT = 'etl-stream: pipeline=p "
                                        "table=public.Order%27s role=target has=deleted_at'");
    // What takes the target's place tells so, so that the former one is looked for until it is dropped.
    buf_reset(&out);
    layout.is_reshaping = true;
    sf_ddl_comment_target(&layout, "p", &out);
    assert_string_equal(buf_text(&out),
                        "ALTER TABLE \"D\".\"S\".\"_ETL_NEW_ORDER'S\" SET COMMENT = 'etl-stream: pipeline=p "
                        "table=public.Order%27s role=target has=deleted_at has=swapped'");
    sf_layout_deinit(&layout);
    buf_deinit(&out);
}

static void test_sf_ddl_state(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 100000);
    sf_ddl_init_state("D", "L", "it's", "000000000000000000", &out);
    assert_string_equal(buf_text(&out),
                        "INSERT INTO \"D\".\"L\".\"_ETL_STATE_it's\" (\"PIPELINE\", \"POSITION\") SELECT 'it''s', "
                        "'000000000000000000' WHERE NOT EXISTS (SELECT 1 FROM \"D\".\"L\".\"_ETL_STATE_it's\" WHERE "
                        "\"PIPELINE\" = 'it''s')");
    buf_reset(&out);
    sf_ddl_read_state("D", "L", "p", &out);
    assert_string_equal(buf_text(&out), "SELECT \"POSITION\", \"COMMIT_AT\", \"MERGED_AT\" FROM "
                                        "\"D\".\"L\".\"_ETL_STATE_p\" WHERE \"PIPELINE\" = 'p'");
    buf_reset(&out);
    sf_ddl_fence_state("D", "L", "p", "00000000000000AA", &out);
    assert_string_equal(buf_text(&out), "UPDATE \"D\".\"L\".\"_ETL_STATE_p\" SET \"WRITER\" = '00000000000000AA' "
                                        "WHERE \"PIPELINE\" = 'p'");
    buf_reset(&out);
    sf_ddl_create_state("D", "L", "p", &out);
    assert_non_null(strstr(buf_text(&out), "CREATE TABLE IF NOT EXISTS \"D\".\"L\".\"_ETL_STATE_p\" ("));
    buf_deinit(&out);
}

static void test_sf_ddl_show_table(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    sf_ddl_show_table("D", "S", "IT'S_A\\B", &out);
    assert_string_equal(buf_text(&out), "SHOW TABLES LIKE 'IT''S_A_B' IN SCHEMA \"D\".\"S\"");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sf_layout_refuses_names), cmocka_unit_test(test_sf_layout_names_are_the_encoders),
        cmocka_unit_test(test_sf_ddl_tables),           cmocka_unit_test(test_sf_ddl_state),
        cmocka_unit_test(test_sf_ddl_show_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
