#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/encoding.h"
#include "encode/typemap.h"
#include "unit/encode_tables.h"

static struct err error;

static const char *sql_of(const struct column *column, bool in_landing, bool *out_wants_text)
{
    static char text[64];
    struct typemap_options options = {0};
    struct column_encoder encoder;
    struct buf out;
    assert_true(typemap_choose(column, encoding_find("UTF8"), &options, &encoder, &error));
    buf_init(&out, 1000);
    typemap_format_sql(&encoder.target, in_landing, &out);
    snprintf(text, sizeof text, "%s", buf_text(&out));
    if (out_wants_text != NULL)
        *out_wants_text = encoder.wants_text;
    buf_deinit(&out);
    typemap_encoder_deinit(&encoder);
    return text;
}

static const char *type_sql(uint32_t oid)
{
    struct column column = make_column("c", oid, 1, -1);
    return sql_of(&column, false, NULL);
}

static const char *numeric_sql(int precision, int scale)
{
    struct column column = make_column("c", OID_NUMERIC, 1, -1);
    column.base_modifier = ((precision << 16) | (scale & 0x7FF)) + 4;
    return sql_of(&column, false, NULL);
}

static void types_as_documented(void **state)
{
    (void)state;
    assert_string_equal(type_sql(OID_BOOL), "BOOLEAN");
    assert_string_equal(type_sql(OID_INT8), "NUMBER(38,0)");
    assert_string_equal(type_sql(OID_FLOAT8), "FLOAT");
    assert_string_equal(type_sql(OID_TEXT), "VARCHAR(16777216)");
    assert_string_equal(type_sql(OID_UUID), "VARCHAR(36)");
    assert_string_equal(type_sql(OID_BYTEA), "BINARY(8388608)");
    assert_string_equal(type_sql(OID_DATE), "DATE");
    assert_string_equal(type_sql(1083), "TIME(6)");
    assert_string_equal(type_sql(1114), "TIMESTAMP_NTZ(6)");
    assert_string_equal(type_sql(OID_TIMESTAMPTZ), "TIMESTAMP_TZ(6)");
    assert_string_equal(type_sql(OID_JSONB), "VARIANT");
    assert_string_equal(type_sql(OID_INT4_ARRAY), "ARRAY");
    assert_string_equal(type_sql(1186), "VARCHAR(16777216)");  // interval
    assert_string_equal(type_sql(99999), "VARCHAR(16777216)");
    struct column column = make_column("c", OID_BYTEA, 1, -1);
    assert_string_equal(sql_of(&column, true, NULL), "VARCHAR(11184812)");  // base64
}

static void numeric_by_its_modifier(void **state)
{
    (void)state;
    assert_string_equal(type_sql(OID_NUMERIC), "NUMBER(38,9)");
    assert_string_equal(numeric_sql(10, 2), "NUMBER(10,2)");
    assert_string_equal(numeric_sql(38, 37), "NUMBER(38,37)");
    assert_string_equal(numeric_sql(38, 38), "VARCHAR(16777216)");
    assert_string_equal(numeric_sql(39, 0), "VARCHAR(16777216)");
    assert_string_equal(numeric_sql(1000, 500), "VARCHAR(16777216)");
    assert_string_equal(numeric_sql(5, -3), "NUMBER(8,0)");
    assert_string_equal(numeric_sql(36, -3), "VARCHAR(16777216)");
    assert_string_equal(numeric_sql(2, 5), "NUMBER(5,5)");
}

static bool wants_text(struct column column)
{
    bool answer;
    (void)sql_of(&column, false, &answer);
    return answer;
}

static void text_is_wanted_where_binary_is_not_decoded(void **state)
{
    (void)state;
    assert_false(wants_text(make_column("c", OID_NUMERIC, 1, -1)));
    assert_false(wants_text(make_column("c", OID_INT4_ARRAY, 1, -1)));
    assert_true(wants_text(make_column("c", 1186, 1, -1)));
    assert_true(wants_text(make_column("c", 99999, 1, -1)));
    struct column column = make_column("c", 99999, 1, -1);
    column.is_enum = true;
    assert_false(wants_text(column));
    column.has_binary_send = false;
    assert_true(wants_text(column));
    column = make_column("c", 99999, 1, -1);
    memcpy(&column.type_name, &(const char *){"ext.citext"}, sizeof(char *));
    assert_false(wants_text(column));
    memcpy(&column.type_name, &(const char *){"notcitext"}, sizeof(char *));
    assert_true(wants_text(column));
}

static void arrays_of_what_is_not_decoded(void **state)
{
    (void)state;
    struct column column = make_column("c", 1187, 1, -1);  // interval[]: separated by commas
    column.element_oid = 1186;
    assert_string_equal(sql_of(&column, false, NULL), "ARRAY");
    assert_true(wants_text(column));
    column = make_column("c", 1020, 1, -1);  // box[]: separated by semicolons
    column.element_oid = 603;
    assert_string_equal(sql_of(&column, false, NULL), "VARCHAR(16777216)");
    column = make_column("c", 99999, 1, -1);
    column.element_oid = 99998;
    assert_string_equal(sql_of(&column, false, NULL), "VARCHAR(16777216)");
    column.element_is_enum = true;
    assert_string_equal(sql_of(&column, false, NULL), "ARRAY");
    assert_false(wants_text(column));
    column = make_column("c", 22, 1, -1);  // int2vector has an element type and is no array
    column.element_oid = 21;
    assert_string_equal(sql_of(&column, false, NULL), "VARCHAR(16777216)");
}

static void options_set_the_lengths(void **state)
{
    (void)state;
    struct typemap_options options = {.varchar_length_max = 134217728, .binary_length_max = 67108864};
    struct column column = make_column("c", OID_TEXT, 1, -1);
    struct column_encoder encoder;
    assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
    assert_int_equal(encoder.target.length, 134217728);
    typemap_encoder_deinit(&encoder);
    column = make_column("c", OID_BYTEA, 1, -1);
    assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
    assert_int_equal(encoder.target.length, 67108864);
    typemap_encoder_deinit(&encoder);
}

static void keys_are_the_landing_columns_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *key;
    } cases[] = {{"order_id", "\"ORDER_ID\":"}, {"Größe\n\"x", "\"GRößE\\n\\\"X\":"}};
    for (size_t i = 0; i < 2; i++) {
        struct typemap_options options = {0};
        struct column column = make_column(cases[i].name, OID_TEXT, 1, -1);
        struct column_encoder encoder;
        assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
        assert_int_equal(encoder.key_size, strlen(cases[i].key));
        assert_memory_equal(encoder.key, cases[i].key, encoder.key_size);
        typemap_encoder_deinit(&encoder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_as_documented),
        cmocka_unit_test(numeric_by_its_modifier),
        cmocka_unit_test(text_is_wanted_where_binary_is_not_decoded),
        cmocka_unit_test(arrays_of_what_is_not_decoded),
        cmocka_unit_test(options_set_the_lengths),
        cmocka_unit_test(keys_are_the_landing_columns_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
