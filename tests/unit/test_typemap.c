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
    column.type = base_type(OID_NUMERIC, ((precision << 16) | (scale & 0x7FF)) + 4);
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

static struct column column_of(const struct source_type *type)
{
    struct column column = make_column("c", OID_TEXT, 1, -1);
    column.type = type;
    return column;
}

static const struct source_type *extension_type(const char *extension, const char *name)
{
    struct source_type *type = new_type(SOURCE_BASE, 99999, -1);
    memcpy(&type->name, &name, sizeof name);
    memcpy(&type->extension, &extension, sizeof extension);
    return type;
}

static void text_is_wanted_where_binary_is_not_decoded(void **state)
{
    (void)state;
    assert_false(wants_text(make_column("c", OID_NUMERIC, 1, -1)));
    assert_false(wants_text(make_column("c", OID_INT4_ARRAY, 1, -1)));
    assert_false(wants_text(make_column("c", 1186, 1, -1)));
    assert_true(wants_text(make_column("c", 3615, 1, -1)));  // tsquery
    assert_true(wants_text(make_column("c", 99999, 1, -1)));
    struct source_type *type = new_type(SOURCE_ENUM, 99999, -1);
    assert_false(wants_text(column_of(type)));
    type->has_binary_send = false;
    assert_true(wants_text(column_of(type)));
}

static void types_of_extensions_go_by_name_and_extension(void **state)
{
    (void)state;
    static const struct {
        const char *extension, *name, *sql;
        bool wants_text;
    } types[] = {
        {"citext", "citext", "VARCHAR(16777216)", false},
        {"hstore", "hstore", "VARIANT", false},
        {"ltree", "ltree", "VARCHAR(16777216)", false},
        {"vector", "vector", "ARRAY", false},
        {"vector", "halfvec", "ARRAY", false},
        {"vector", "sparsevec", "VARCHAR(16777216)", true},
        {"", "hstore", "VARCHAR(16777216)", true},
        {"postgis", "geometry", "VARCHAR(16777216)", true},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct column column = column_of(extension_type(types[i].extension, types[i].name));
        bool answer;
        assert_string_equal(sql_of(&column, false, &answer), types[i].sql);
        assert_int_equal(answer, types[i].wants_text);
    }
}

static void arrays_and_composites_are_as_good_as_their_parts(void **state)
{
    (void)state;
    struct column column = column_of(array_type(base_type(3615, -1)));  // tsquery[]
    assert_string_equal(sql_of(&column, false, NULL), "ARRAY");
    assert_true(wants_text(column));
    struct source_type *composite = new_type(SOURCE_COMPOSITE, 99999, -1);
    add_part(composite, "a", base_type(OID_INT4, -1));
    column = column_of(array_type(composite));
    assert_string_equal(sql_of(&column, false, NULL), "ARRAY");
    assert_false(wants_text(column));
    column = column_of(composite);
    assert_string_equal(sql_of(&column, false, NULL), "VARIANT");
    assert_false(wants_text(column));
    add_part(composite, "b", base_type(3615, -1));
    assert_true(wants_text(column));
    struct source_type *range = new_type(SOURCE_RANGE, 99998, -1);
    add_part(range, "", base_type(OID_NUMERIC, -1));
    column = column_of(range);
    assert_string_equal(sql_of(&column, false, NULL), "VARCHAR(16777216)");
    assert_false(wants_text(column));
    column = make_column("c", 22, 1, -1);  // int2vector is no array
    assert_string_equal(sql_of(&column, false, NULL), "VARCHAR(16777216)");
}

// Composites in composites, each twice in the next: as many encoders as types, and too deep ones become text.
static void deep_types_stay_small_and_flat(void **state)
{
    (void)state;
    const struct source_type *inner = base_type(OID_INT4, -1);
    for (uint32_t i = 1; i <= 100; i++) {
        struct source_type *composite = new_type(SOURCE_COMPOSITE, 100000 + i, -1);
        add_part(composite, "a", inner);
        add_part(composite, "b", inner);
        inner = composite;
        struct column column = column_of(composite);
        struct column_encoder encoder;
        struct typemap_options options = {0};
        assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
        assert_int_equal(encoder.type_count, i + 1);
        assert_int_equal(encoder.wants_text, i > 32);
        typemap_encoder_deinit(&encoder);
    }
}

static void numeric_without_precision_by_the_option(void **state)
{
    (void)state;
    static const char *const sql[] = {"NUMBER(38,9)", "VARCHAR(16777216)", "FLOAT"};
    for (size_t i = 0; i < 3; i++) {
        struct typemap_options options = {.numeric_unbounded = (enum numeric_unbounded)i};
        struct column column = make_column("c", OID_NUMERIC, 1, -1);
        struct column_encoder encoder;
        struct buf text;
        buf_init(&text, 100);
        assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
        typemap_format_sql(&encoder.target, false, &text);
        assert_string_equal(buf_text(&text), sql[i]);
        typemap_encoder_deinit(&encoder);
        buf_deinit(&text);
    }
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
        cmocka_unit_test(types_of_extensions_go_by_name_and_extension),
        cmocka_unit_test(arrays_and_composites_are_as_good_as_their_parts),
        cmocka_unit_test(deep_types_stay_small_and_flat),
        cmocka_unit_test(numeric_without_precision_by_the_option),
        cmocka_unit_test(options_set_the_lengths),
        cmocka_unit_test(keys_are_the_landing_columns_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
