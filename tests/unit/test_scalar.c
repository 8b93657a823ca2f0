// One value at a time, where tests against a real server cannot reach: malformed bytes, limits, failing memory.
// That binary and text agree is shown by tests/integration/test_types_binary_text.py.
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
static struct buf out;
static struct buf coerced;

static enum value_outcome encode_with(const struct typemap_options *options, struct column column, struct value value,
                                      const char *encoding)
{
    struct column_encoder encoder;
    assert_true(typemap_choose(&column, encoding_find(encoding), options, &encoder, &error));
    buf_reset(&out);
    buf_reset(&coerced);
    // In a block of exactly its size, so that a sanitizer sees a read past the end.
    uint8_t *exact = malloc(value.size > 0 ? value.size : 1);
    assert_non_null(exact);
    if (value.size > 0)
        memcpy(exact, value.data, value.size);
    value.data = exact;
    enum value_outcome outcome = column_encode(&encoder, &value, &out, &coerced);
    free(exact);
    typemap_encoder_deinit(&encoder);
    return outcome;
}

static enum value_outcome encode(uint32_t oid, struct value value)
{
    struct typemap_options options = {0};
    return encode_with(&options, make_column("c", oid, 1, -1), value, "UTF8");
}

static void values_of_a_wrong_size_are_malformed(void **state)
{
    (void)state;
    static const struct {
        uint32_t oid;
        size_t size;
    } types[] = {{OID_BOOL, 1},  {OID_INT8, 8},   {OID_INT4, 4}, {21, 2},   {26, 4},   {5069, 8},
                 {700, 4},       {OID_FLOAT8, 8}, {OID_DATE, 4}, {1083, 8}, {1114, 8}, {OID_TIMESTAMPTZ, 8},
                 {OID_UUID, 16}, {18, 1}};
    static const uint8_t zeros[32];
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (size_t size = 0; size < sizeof zeros; size++) {
            enum value_outcome expected = size == types[i].size ? VALUE_WRITTEN : VALUE_MALFORMED;
            assert_int_equal(encode(types[i].oid, binary_value(zeros, size)), expected);
        }
    }
}

static void texts_that_are_not_of_the_type_are_malformed(void **state)
{
    (void)state;
    static const struct {
        uint32_t oid;
        const char *text;
    } bad[] = {{OID_BOOL, "true"},
               {OID_BOOL, "x"},
               {21, "32768"},
               {OID_INT4, "-2147483649"},
               {OID_INT8, "9223372036854775808"},
               {OID_INT4, ""},
               {OID_INT4, "-"},
               {OID_INT4, "+1"},
               {OID_INT4, "1.0"},
               {26, "-1"},
               {26, "4294967296"},
               {OID_FLOAT8, ""},
               {OID_FLOAT8, "0x10"},
               {OID_FLOAT8, "nan"},
               {OID_FLOAT8, "1e"},
               {OID_FLOAT8, "1e999"},
               {OID_FLOAT8, "1,5"},
               {OID_FLOAT8, " 1"},
               {OID_BYTEA, "abc"},
               {OID_BYTEA, "\\x1"},
               {OID_BYTEA, "\\xzz"},
               {OID_UUID, "a0eebc999c0b4ef8bb6d6bb9bd380a11"},
               {OID_UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"},
               {OID_UUID, "a0eebc99x9c0b-4ef8-bb6d-6bb9bd380a11"},
               {OID_DATE, "tomorrow"},
               {1083, "12:00"},
               {OID_NUMERIC, "1e5"},
               {OID_JSONB, "{"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(encode(bad[i].oid, text_value(bad[i].text)), VALUE_MALFORMED);
    assert_int_equal(encode(OID_JSONB, binary_value("\2{}", 3)), VALUE_MALFORMED);  // another version of jsonb
    assert_int_equal(encode(OID_JSONB, binary_value("", 0)), VALUE_MALFORMED);
    static const uint8_t late[8] = {0, 0, 0, 0x14, 0x1D, 0xD7, 0x60, 0x01};  // a microsecond after 24:00
    assert_int_equal(encode(1083, binary_value(late, 8)), VALUE_MALFORMED);
    assert_int_equal(encode(3615, binary_value("x", 1)), VALUE_MALFORMED);  // binary of a type that is not decoded
}

static void floats_of_older_servers_have_more_digits(void **state)
{
    (void)state;
    assert_int_equal(encode(OID_FLOAT8, text_value("0.10000000000000001")), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "0.1");
    assert_int_equal(encode(700, text_value("0.100000001")), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "0.1");
}

static void single_byte_char_above_ascii_is_octal(void **state)
{
    (void)state;
    assert_int_equal(encode(18, binary_value("\xE4", 1)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "\"\\\\344\"");
    assert_int_equal(encode(18, text_value("\xE4")), VALUE_WRITTEN);  // servers before 16
    assert_string_equal(buf_text(&out), "\"\\\\344\"");
    assert_int_equal(encode(18, text_value("\\344")), VALUE_WRITTEN);  // from 16 on
    assert_string_equal(buf_text(&out), "\"\\\\344\"");
    assert_int_equal(encode(18, binary_value("\0", 1)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "\"\"");
}

// A part of more than the scratch takes (64 MB), with an escape in it, so that it cannot be read in place. What is made of the binary form is
// the same.
static void parts_beyond_any_size_leave_no_more_than_that(void **state)
{
    (void)state;
    const size_t part_size = (64U << 20) + 10;
    struct source_type *composite = new_type(SOURCE_COMPOSITE, 99999, -1);
    add_part(composite, "a", base_type(OID_TEXT, -1));
    const struct source_type *types[] = {array_type(base_type(OID_TEXT, -1)), composite};
    static const char *const brackets[] = {"{}", "()"};
    // An array of one dimension, one text; a composite of one text. Then the text's length, part_size.
    static const uint8_t array_head[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 4, 0, 0, 10};
    static const uint8_t composite_head[] = {0, 0, 0, 1, 0, 0, 0, 25, 4, 0, 0, 10};
    const uint8_t *const heads[] = {array_head, composite_head};
    const size_t head_sizes[] = {sizeof array_head, sizeof composite_head};
    uint8_t *text = malloc(part_size + sizeof array_head);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        memset(text, 'x', part_size + sizeof array_head);
        text[0] = (uint8_t)brackets[i][0];
        memcpy(text + 1, "\"\\\\", 3);
        text[part_size + 4] = '"';
        text[part_size + 5] = (uint8_t)brackets[i][1];
        struct value value = {.data = text, .size = (uint32_t)(part_size + 6), .state = VALUE_TEXT};
        struct column column = make_column("c", OID_TEXT, 1, -1);
        column.type = types[i];
        struct typemap_options options = {.oversized = OVERSIZED_NULL};
        assert_int_equal(encode_with(&options, column, value, "UTF8"), VALUE_COERCED);
        assert_int_equal(out.size, 0);
        assert_string_equal(buf_text(&coerced), "\"more than 67108864 bytes\"");
        options.oversized = OVERSIZED_FAIL;
        assert_int_equal(encode_with(&options, column, value, "UTF8"), VALUE_OVERSIZED);
        memcpy(text, heads[i], head_sizes[i]);
        struct value binary = binary_value(text, head_sizes[i] + part_size);
        assert_int_equal(encode_with(&options, column, binary, "UTF8"), VALUE_OVERSIZED);
        options.oversized = OVERSIZED_NULL;
        assert_int_equal(encode_with(&options, column, binary, "UTF8"), VALUE_COERCED);
        assert_int_equal(out.size, 0);
        assert_string_equal(buf_text(&coerced), "\"more than 67108864 bytes\"");
        // A smaller one afterwards is judged by itself.
        value.data = (const uint8_t *)"{\"";
        value.size = 2;
        assert_int_equal(encode_with(&options, column, value, "UTF8"), VALUE_MALFORMED);
    }
    free(text);
}

static void an_original_beyond_a_variant_leaves_its_size(void **state)
{
    (void)state;
    struct typemap_options options = {.varchar_length_max = 10};
    struct column column = make_column("c", OID_TEXT, 1, -1);
    column.type = array_type(base_type(OID_TEXT, -1));
    assert_int_equal(encode_with(&options, column, text_value("{01234567890,a}"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&out), "[null,\"a\"]");
    assert_string_equal(buf_text(&coerced), "\"15 bytes\"");
    // What counts is what would be written: hex of bytes that are no text is twice as long, Latin-1 may become so.
    struct column text = make_column("c", OID_TEXT, 1, -1);
    assert_int_equal(encode_with(&options, text, text_value("abc\xFF"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&coerced), "\"\\\\x616263ff\"");
    assert_int_equal(encode_with(&options, text, text_value("abcd\xFF"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&out), "\"abcd\xEF\xBF\xBD\"");
    assert_string_equal(buf_text(&coerced), "\"5 bytes\"");
    struct column json = make_column("c", OID_JSONB, 1, -1);
    assert_int_equal(encode_with(&options, json, text_value("[\"\xFF\"]"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&coerced), "\"5 bytes\"");
    column.type = array_type(base_type(OID_DATE, -1));
    assert_int_equal(encode_with(&options, column, text_value("{infinity}"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&coerced), "\"{infinity}\"");
    assert_int_equal(encode_with(&options, column, text_value("{-infinity}"), "UTF8"), VALUE_COERCED);
    assert_string_equal(buf_text(&coerced), "\"11 bytes\"");
}

static void oversized_values_leave_their_size(void **state)
{
    (void)state;
    struct typemap_options options = {.varchar_length_max = 10, .binary_length_max = 3};
    static const struct {
        uint32_t oid;
        const char *text;
        bool fits;
    } cases[] = {{OID_TEXT, "0123456789", true},           {OID_TEXT, "0123456789a", false},
                 {OID_TEXT, "\n\n\n\n\n\n\n\n\n\n", true}, {OID_BYTEA, "\\x010203", true},
                 {OID_BYTEA, "\\x01020304", false},        {OID_JSONB, "[1, 2, 34]", true},
                 {OID_JSONB, "[1, 2, 345]", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct column column = make_column("c", cases[i].oid, 1, -1);
        enum value_outcome outcome = encode_with(&options, column, text_value(cases[i].text), "UTF8");
        assert_int_equal(outcome, cases[i].fits ? VALUE_WRITTEN : VALUE_COERCED);
        if (!cases[i].fits) {
            assert_int_equal(out.size, 0);
            assert_string_equal(buf_text(&coerced), cases[i].oid == OID_BYTEA ? "\"4 bytes\"" : "\"11 bytes\"");
        }
    }
    // In other encodings what counts is the UTF-8 that it becomes: six bytes of Latin-1 are twelve.
    struct column column = make_column("c", OID_TEXT, 1, -1);
    assert_int_equal(encode_with(&options, column, text_value("\xE4\xE4\xE4\xE4\xE4"), "LATIN1"), VALUE_WRITTEN);
    assert_int_equal(encode_with(&options, column, text_value("\xE4\xE4\xE4\xE4\xE4\xE4"), "LATIN1"), VALUE_COERCED);
    assert_string_equal(buf_text(&coerced), "\"12 bytes\"");
    struct column json = make_column("c", OID_JSONB, 1, -1);
    assert_int_equal(encode_with(&options, json, text_value("[\"\xE4\xE4\xE4\"]"), "LATIN1"), VALUE_WRITTEN);
    assert_int_equal(encode_with(&options, json, text_value("[\"\xE4\xE4\xE4\xE4\"]"), "LATIN1"), VALUE_COERCED);
    assert_int_equal(out.size, 0);
    assert_string_equal(buf_text(&coerced), "\"12 bytes\"");
    struct column array = make_column("c", OID_INT4_ARRAY, 1, -1);
    assert_int_equal(encode_with(&options, array, text_value("{1,2,3,4}"), "UTF8"), VALUE_WRITTEN);
    assert_int_equal(encode_with(&options, array, text_value("{1,2,3,4,5}"), "UTF8"), VALUE_COERCED);
}

// A jsonb's keys may become the same when they are converted, and a VARIANT cannot hold one twice.
static void keys_that_become_equal_are_not_written(void **state)
{
    (void)state;
    static const struct {
        const char *encoding, *text, *original;
    } cases[] = {{"SQL_ASCII", "{\"\xE4\": 1, \"\xFF\": 2}", "\"\\\\x7b22e4223a20312c2022ff223a20327d\""},
                 {"WIN1252", "{\"\x81\": 1, \"\x8D\": 2}", "\"\\\\x7b2281223a20312c20228d223a20327d\""},
                 {"EUC_JP", "{\"\xA2\xE2\": 1, \"\xAD\xF0\": 2}", "\"{\\\"≒\\\": 1, \\\"≒\\\": 2}\""}};
    struct typemap_options options = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct column column = make_column("c", OID_JSONB, 1, -1);
        assert_int_equal(encode_with(&options, column, text_value(cases[i].text), cases[i].encoding), VALUE_COERCED);
        assert_int_equal(out.size, 0);
        assert_string_equal(buf_text(&coerced), cases[i].original);
    }
    assert_int_equal(encode(OID_JSONB, text_value("{\"\xFF\": 1, \"b\": {\"\xFF\": 2}}")), VALUE_COERCED);
    assert_string_equal(buf_text(&out), "{\"\xEF\xBF\xBD\": 1, \"b\": {\"\xEF\xBF\xBD\": 2}}");
}

static void json_with_bad_bytes_is_kept_and_noted(void **state)
{
    (void)state;
    assert_int_equal(encode(OID_JSONB, text_value("[\"a\xFF\"]")), VALUE_COERCED);
    assert_string_equal(buf_text(&out), "[\"a\xEF\xBF\xBD\"]");
    assert_string_equal(buf_text(&coerced), "\"\\\\x5b2261ff225d\"");
}

static void malformed_arrays_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",        "{",      "}",      "{1",     "{1,}", "{,1}",
                                        "{1}{2}",  "{1}x",   "{\"1}",  "{\"1\\", "1",    "[0:1]{1}",
                                        "[x]={1}", "{1{2}}", "{{1}2}", "{{1},}", "{a}",  "{{{{{{{1}}}}}}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(encode(OID_INT4_ARRAY, text_value(texts[i])), VALUE_MALFORMED);

    static const uint8_t array[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0,    0,    0,    2,
                                    0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7,  0xFF, 0xFF, 0xFF, 0xFF};
    assert_int_equal(encode(OID_INT4_ARRAY, binary_value(array, sizeof array)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "[7,null]");
    for (size_t size = 0; size < sizeof array; size++)
        assert_int_equal(encode(OID_INT4_ARRAY, binary_value(array, size)), VALUE_MALFORMED);
    static const uint8_t huge[] = {0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 23, 0, 1, 0, 0, 0, 0,
                                   0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1,  0, 0, 0, 0, 0, 1};
    assert_int_equal(encode(OID_INT4_ARRAY, binary_value(huge, sizeof huge)), VALUE_MALFORMED);
    static const uint8_t deep[] = {0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 23};
    assert_int_equal(encode(OID_INT4_ARRAY, binary_value(deep, sizeof deep)), VALUE_MALFORMED);
}

static enum value_outcome encode_type(const struct source_type *type, struct value value)
{
    struct typemap_options options = {0};
    struct column column = make_column("c", OID_TEXT, 1, -1);
    column.type = type;
    return encode_with(&options, column, value, "UTF8");
}

static const struct source_type *pgvector_type(const char *name)
{
    const char *extension = "vector";
    struct source_type *type = new_type(SOURCE_BASE, 99999, -1);
    memcpy(&type->name, &name, sizeof name);
    memcpy(&type->extension, &extension, sizeof extension);
    return type;
}

// Bytes by hand, after pgvector's vector_send and halfvec_send.
static void vectors_are_arrays_of_numbers(void **state)
{
    (void)state;
    static const uint8_t vector[] = {0, 4, 0,    0,    0x3F, 0x80, 0, 0, 0xC0, 0x20,
                                     0, 0, 0x3D, 0xCC, 0xCC, 0xCD, 0, 0, 0,    0};
    static const uint8_t halfvec[] = {0, 5, 0, 0, 0x3C, 0x00, 0xC1, 0x00, 0x2E, 0x66, 0x7B, 0xFF, 0x00, 0x01};
    const struct source_type *type = pgvector_type("vector");
    assert_int_equal(encode_type(type, binary_value(vector, sizeof vector)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "[1,-2.5,0.1,0]");
    assert_int_equal(encode_type(type, text_value("[1,-2.5,0.1,0]")), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "[1,-2.5,0.1,0]");
    for (size_t size = 0; size < sizeof vector; size++)
        assert_int_equal(encode_type(type, binary_value(vector, size)), VALUE_MALFORMED);
    static const char *const bad[] = {"", "[", "[1", "1]", "[1,]", "[,1]", "[1,,2]", "[NaN]", "[a]", "[1],2", "{1}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(encode_type(type, text_value(bad[i])), VALUE_MALFORMED);

    type = pgvector_type("halfvec");
    assert_int_equal(encode_type(type, binary_value(halfvec, sizeof halfvec)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "[1,-2.5,0.099975586,65504,5.9604645e-08]");
    assert_int_equal(encode_type(type, text_value("[1,-2.5,0.099975586,65504,5.9604645e-08]")), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "[1,-2.5,0.099975586,65504,5.9604645e-08]");
    for (size_t size = 0; size < sizeof halfvec; size++)
        assert_int_equal(encode_type(type, binary_value(halfvec, size)), VALUE_MALFORMED);
    static const uint8_t infinite[] = {0, 1, 0, 0, 0x7C, 0};
    assert_int_equal(encode_type(type, binary_value(infinite, sizeof infinite)), VALUE_MALFORMED);
}

static void malformed_composites_are_refused(void **state)
{
    (void)state;
    struct source_type *composite = new_type(SOURCE_COMPOSITE, 99998, -1);
    add_part(composite, "a", base_type(OID_INT4, -1));
    add_part(composite, "b", base_type(OID_TEXT, -1));
    static const char *const bad[] = {"",           "(",      "()",      "(1)",     "(1,2",
                                      "(1,2))",     "(1,2)x", "(1,2,3)", "1,2)",    "(1,\"2)",
                                      "(1,2\"3\")", "(x,2)",  "(1,(2)",  "(1\\,2)", "(,,)"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(encode_type(composite, text_value(bad[i])), VALUE_MALFORMED);
    assert_int_equal(encode_type(composite, text_value("(,)")), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "{\"a\":null,\"b\":null}");
    static const uint8_t good[] = {0, 0, 0, 2, 0, 0, 0, 23, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 25, 255, 255, 255, 255};
    assert_int_equal(encode_type(composite, binary_value(good, sizeof good)), VALUE_WRITTEN);
    assert_string_equal(buf_text(&out), "{\"a\":7,\"b\":null}");
    for (size_t size = 0; size < sizeof good; size++)
        assert_int_equal(encode_type(composite, binary_value(good, size)), VALUE_MALFORMED);
    // As many attributes as the catalog told when the table was learnt, and of their types: else the type has changed.
    static const uint8_t other[] = {0, 0, 0, 2, 0, 0, 0, 23, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 17, 0, 0, 0, 1, 'x'};
    assert_int_equal(encode_type(composite, binary_value(other, sizeof other)), VALUE_MALFORMED);
    add_part(composite, "c", base_type(OID_TEXT, -1));
    assert_int_equal(encode_type(composite, binary_value(good, sizeof good)), VALUE_MALFORMED);
}

static void malformed_binaries_of_printed_types_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t oid;
        const char *bytes;
        size_t size;
    } good[] = {
        {1186, "\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\1", 16},
        {790, "\0\0\0\0\0\0\0\1", 8},
        {1266, "\0\0\0\0\0\0\0\1\0\0\0\1", 12},
        {869, "\2\40\0\4\1\2\3\4", 8},
        {829, "\1\2\3\4\5\6", 6},
        {1560, "\0\0\0\11\377\200", 6},
        {600, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16},
        {602, "\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21},
        {3614, "\0\0\0\1a\0\0\1\300\1", 10},
        {3220, "\0\0\0\0\0\0\0\1", 8},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(encode(good[i].oid, binary_value(good[i].bytes, good[i].size)), VALUE_WRITTEN);
        for (size_t size = 0; size < good[i].size; size++)
            assert_int_equal(encode(good[i].oid, binary_value(good[i].bytes, size)), VALUE_MALFORMED);
    }
    assert_int_equal(encode(869, binary_value("\2\41\0\4\1\2\3\4", 8)), VALUE_MALFORMED);  // 33 bits of an IPv4 address
    assert_int_equal(encode(869, binary_value("\1\40\0\4\1\2\3\4", 8)), VALUE_MALFORMED);  // no such family
    assert_int_equal(encode(1560, binary_value("\377\377\377\377\0", 5)), VALUE_MALFORMED);  // bits beyond any memory
    assert_int_equal(encode(4072, binary_value("\2$", 2)), VALUE_MALFORMED);                 // another version
}

static void failing_memory_is_left_to_the_row(void **state)
{
    (void)state;
    static const uint32_t oids[] = {OID_TEXT, OID_BYTEA, OID_NUMERIC, OID_JSONB, OID_INT8};
    static const char *const texts[] = {"some text", "\\x0102", "123.45", "[1, 2]", "12"};
    struct typemap_options options = {0};
    for (size_t i = 0; i < 5; i++) {
        struct column column = make_column("c", oids[i], 1, -1);
        struct column_encoder encoder;
        struct value value = text_value(texts[i]);
        struct buf tiny;
        buf_init(&tiny, 1);
        assert_true(typemap_choose(&column, encoding_find("UTF8"), &options, &encoder, &error));
        assert_int_equal(column_encode(&encoder, &value, &tiny, &coerced), VALUE_WRITTEN);
        assert_true(tiny.failed);
        buf_deinit(&tiny);
        typemap_encoder_deinit(&encoder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_a_wrong_size_are_malformed),
        cmocka_unit_test(texts_that_are_not_of_the_type_are_malformed),
        cmocka_unit_test(floats_of_older_servers_have_more_digits),
        cmocka_unit_test(single_byte_char_above_ascii_is_octal),
        cmocka_unit_test(oversized_values_leave_their_size),
        cmocka_unit_test(keys_that_become_equal_are_not_written),
        cmocka_unit_test(parts_beyond_any_size_leave_no_more_than_that),
        cmocka_unit_test(an_original_beyond_a_variant_leaves_its_size),
        cmocka_unit_test(json_with_bad_bytes_is_kept_and_noted),
        cmocka_unit_test(malformed_arrays_are_refused),
        cmocka_unit_test(vectors_are_arrays_of_numbers),
        cmocka_unit_test(malformed_composites_are_refused),
        cmocka_unit_test(malformed_binaries_of_printed_types_are_refused),
        cmocka_unit_test(failing_memory_is_left_to_the_row),
    };
    buf_init(&out, 1 << 20);
    buf_init(&coerced, 1 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&out);
    buf_deinit(&coerced);
    return failed;
}
