#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "encode/encoding.h"
#include "encode/ndjson.h"
#include "unit/encode_tables.h"

// orders(id int8, note text, at date, price numeric), the key set by each test
#define COLUMNS 4
static struct column columns[COLUMNS];
static uint16_t key_columns[2];
static struct table table;
static struct row_encoder encoder;
static struct err error;
static struct buf out;

static void set_up(enum table_identity identity, uint16_t key_count, uint16_t first, uint16_t second)
{
    static char schema_name[] = "public";
    static char table_name[] = "orders";
    struct typemap_options options = {0};
    columns[0] = make_column("id", OID_INT8, 1, -1);
    columns[1] = make_column("note", OID_TEXT, 2, -1);
    columns[2] = make_column("at", OID_DATE, 4, -1);  // attribute 3 was dropped
    columns[3] = make_column("price", OID_NUMERIC, 5, -1);
    key_columns[0] = first;
    key_columns[1] = second;
    for (uint16_t i = 0; i < key_count; i++)
        columns[key_columns[i]].key_position = (int16_t)i;
    table = (struct table){.schema_name = schema_name,
                           .table_name = table_name,
                           .identity = identity,
                           .columns = columns,
                           .column_count = COLUMNS,
                           .key_count = key_count,
                           .key_columns = key_columns};
    assert_true(row_encoder_init(&encoder, &table, encoding_find("UTF8"), &options, &error));
    buf_init(&out, 1 << 20);
}

static int tear_down(void **state)
{
    (void)state;
    row_encoder_deinit(&encoder);
    buf_deinit(&out);
    return 0;
}

static struct row_change change_of(char op, const struct value *new_values, const struct value *old_values)
{
    return (struct row_change){
        .op = op,
        .seq = {.epoch = 1, .commit_lsn = 0x10, .ordinal = 2},
        .new_row = {.values = new_values, .count = new_values != NULL ? COLUMNS : 0},
        .old_row = {.values = old_values, .count = old_values != NULL ? COLUMNS : 0},
    };
}

#define HEAD(op) "{\"_ETL_OP\":\"" op "\",\"_ETL_SEQ\":\"01000000000000001000000002\""

static void check(char op, const struct value *new_values, const struct value *old_values, const char *expected)
{
    struct row_change change = change_of(op, new_values, old_values);
    buf_reset(&out);
    if (!ndjson_append_change(&encoder, &change, &out, &error))
        fail_msg("%s", error.text);
    assert_string_equal(buf_text(&out), expected);
    json_t *line = json_loads(buf_text(&out), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    json_decref(line);
}

static void check_fails(char op, const struct value *new_values, const struct value *old_values, const char *code)
{
    struct row_change change = change_of(op, new_values, old_values);
    buf_reset(&out);
    buf_append_text(&out, "what was there");
    assert_false(ndjson_append_change(&encoder, &change, &out, &error));
    assert_string_equal(error.code, code);
    assert_string_equal(buf_text(&out), "what was there");
    assert_false(out.failed);
}

static void inserts_leave_nulls_out(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), text_value("a\"b"), null_value(), text_value("1.50")};
    check('I', row, NULL, HEAD("I") ",\"ID\":7,\"NOTE\":\"a\\\"b\",\"PRICE\":1.50}\n");
    check('C', row, NULL, HEAD("C") ",\"ID\":7,\"NOTE\":\"a\\\"b\",\"PRICE\":1.50}\n");
    check('T', NULL, NULL, HEAD("T") "}\n");
    assert_false(row_encoder_wants_text(&encoder));
}

static void deletes_hold_the_key_only(void **state)
{
    (void)state;
    set_up(IDENTITY_FULL, 1, 0, 0);
    struct value row[] = {text_value("7"), text_value("x"), null_value(), text_value("1")};
    check('D', NULL, row, HEAD("D") ",\"ID\":7}\n");
}

static void deletes_without_a_key_hold_every_value(void **state)
{
    (void)state;
    set_up(IDENTITY_FULL, 0, 0, 0);
    struct value row[] = {text_value("7"), text_value("x"), null_value(), text_value("1")};
    check('D', NULL, row, HEAD("D") ",\"ID\":7,\"NOTE\":\"x\",\"PRICE\":1}\n");
}

static void updates_without_a_key_are_split_in_two(void **state)
{
    (void)state;
    set_up(IDENTITY_FULL, 0, 0, 0);
    struct value old_row[] = {text_value("7"), text_value("long"), null_value(), text_value("1")};
    struct value new_row[] = {text_value("7"), unchanged_value(), null_value(), text_value("2")};
    struct row_change update = change_of('U', new_row, old_row), removed, added;
    assert_true(ndjson_splits(&encoder, &update));
    check_fails('U', new_row, old_row, "not_split");
    ndjson_split(&update, &removed, &added);
    buf_reset(&out);
    assert_true(ndjson_append_change(&encoder, &removed, &out, &error));
    assert_true(ndjson_append_change(&encoder, &added, &out, &error));
    const char *expected = HEAD("D") ",\"ID\":7,\"NOTE\":\"long\",\"PRICE\":1}\n";
    assert_int_equal(strncmp(buf_text(&out), expected, strlen(expected)), 0);
    assert_non_null(strstr(buf_text(&out) + strlen(expected), ",\"ID\":7,\"NOTE\":\"long\",\"PRICE\":2}\n"));
    assert_int_equal(seq_compare(&removed.seq, &update.seq), 0);
    assert_int_equal(added.seq.ordinal, update.seq.ordinal + 1);
    assert_int_equal(encoder.unchanged_rows, 0);

    struct row_change insert = change_of('I', old_row, NULL);
    assert_false(ndjson_splits(&encoder, &insert));
}

static void rows_of_the_stream_may_carry_their_commit_time(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    encoder.has_commit_at = true;
    struct value row[] = {text_value("7"), null_value(), null_value(), null_value()};
    check('I', row, NULL, HEAD("I") ",\"_ETL_COMMIT_AT\":\"2000-01-01 00:00:00.000000Z\",\"ID\":7}\n");
    check('T', NULL, NULL, HEAD("T") ",\"_ETL_COMMIT_AT\":\"2000-01-01 00:00:00.000000Z\"}\n");
    check('C', row, NULL, HEAD("C") ",\"ID\":7}\n");
    struct row_change change = change_of('I', row, NULL);
    change.commit_time_us = 86400000001;
    buf_reset(&out);
    assert_true(ndjson_append_change(&encoder, &change, &out, &error));
    assert_string_equal(buf_text(&out), HEAD("I") ",\"_ETL_COMMIT_AT\":\"2000-01-02 00:00:00.000001Z\",\"ID\":7}\n");
}

static void updates_tell_a_changed_key(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 2, 1, 0);  // in the key's order, not the table's
    struct value old_row[] = {text_value("7"), text_value("x"), null_value(), null_value()};
    struct value same[] = {text_value("7"), text_value("x"), text_value("2026-11-23"), null_value()};
    struct value moved[] = {text_value("8"), text_value("x"), null_value(), null_value()};
    check('U', same, NULL, HEAD("U") ",\"ID\":7,\"NOTE\":\"x\",\"AT\":\"2026-11-23\"}\n");
    check('U', same, old_row, HEAD("U") ",\"ID\":7,\"NOTE\":\"x\",\"AT\":\"2026-11-23\"}\n");
    assert_int_equal(encoder.moved_rows, 0);
    check('U', moved, old_row, HEAD("U") ",\"ID\":8,\"NOTE\":\"x\",\"_ETL_OLD_KEY\":[\"x\",7]}\n");
    assert_int_equal(encoder.moved_rows, 1);
}

static void a_key_is_the_same_in_text_and_binary(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    static const uint8_t seven[8] = {0, 0, 0, 0, 0, 0, 0, 7};
    struct value old_row[] = {binary_value(seven, 8), null_value(), null_value(), null_value()};
    struct value new_row[] = {text_value("7"), null_value(), null_value(), null_value()};
    check('U', new_row, old_row, HEAD("U") ",\"ID\":7}\n");
}

static void unchanged_values_are_listed_by_attribute_number(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value new_row[] = {text_value("7"), unchanged_value(), null_value(), unchanged_value()};
    check('U', new_row, NULL, HEAD("U") ",\"ID\":7,\"_ETL_UNCHANGED\":[2,5]}\n");
    // A key tuple has NULL outside the key: that is not the value.
    struct value old_row[] = {text_value("6"), null_value(), null_value(), null_value()};
    check('U', new_row, old_row, HEAD("U") ",\"ID\":7,\"_ETL_OLD_KEY\":[6],\"_ETL_UNCHANGED\":[2,5]}\n");
    assert_int_equal(encoder.unchanged_rows, 2);
}

static void unchanged_key_columns_are_taken_from_the_old_key(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 2, 0, 1);
    struct value new_row[] = {text_value("8"), unchanged_value(), null_value(), null_value()};
    struct value old_row[] = {text_value("7"), text_value("long"), null_value(), null_value()};
    check('U', new_row, old_row, HEAD("U") ",\"ID\":8,\"NOTE\":\"long\",\"_ETL_OLD_KEY\":[7,\"long\"]}\n");
    check_fails('U', new_row, NULL, "key_not_sent");
}

static void unchanged_values_are_taken_from_a_whole_old_row(void **state)
{
    (void)state;
    set_up(IDENTITY_FULL, 1, 0, 0);
    struct value new_row[] = {text_value("7"), unchanged_value(), unchanged_value(), text_value("2")};
    struct value old_row[] = {text_value("7"), text_value("long"), null_value(), text_value("1")};
    check('U', new_row, old_row, HEAD("U") ",\"ID\":7,\"NOTE\":\"long\",\"PRICE\":2}\n");
    assert_int_equal(encoder.unchanged_rows, 0);
}

// Of a partition whose identity is its primary key, under a table with FULL: NULL stands outside of the key for what is not told.
static void unchanged_values_are_not_taken_from_a_partitions_old_row(void **state)
{
    (void)state;
    struct value new_row[] = {text_value("8"), unchanged_value(), unchanged_value(), text_value("2")};
    struct value old_row[] = {text_value("7"), null_value(), null_value(), null_value()};
    set_up(IDENTITY_FULL, 1, 0, 0);
    table.is_partitioned = true;
    check('U', new_row, old_row, HEAD("U") ",\"ID\":8,\"PRICE\":2,\"_ETL_OLD_KEY\":[7],\"_ETL_UNCHANGED\":[2,4]}\n");
}

static void only_inserts_of_a_table_without_identity(void **state)
{
    (void)state;
    struct value row[] = {text_value("7"), text_value("x"), null_value(), text_value("1")};
    set_up(IDENTITY_NOTHING, 0, 0, 0);
    check('I', row, NULL, HEAD("I") ",\"ID\":7,\"NOTE\":\"x\",\"PRICE\":1}\n");
    check_fails('U', row, row, "partition_identity");
    check_fails('U', row, NULL, "partition_identity");
    check_fails('D', NULL, row, "partition_identity");
}

static void coerced_values_keep_their_text(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), text_value("a\xFF"), text_value("infinity"), text_value("0.12345678951")};
    check('I', row, NULL,
          HEAD("I") ",\"ID\":7,\"NOTE\":\"a\xEF\xBF\xBD\",\"PRICE\":0.123456790,\"_ETL_COERCED\":"
                    "{\"NOTE\":\"\\\\x61ff\",\"AT\":\"infinity\",\"PRICE\":\"0.12345678951\"}}\n");
    assert_int_equal(encoder.coerced_values, 3);
    static const uint8_t nan[] = {0, 0, 0, 0, 0xC0, 0, 0, 0};
    struct value binary[] = {text_value("7"), null_value(), null_value(), binary_value(nan, sizeof nan)};
    check('I', binary, NULL, HEAD("I") ",\"ID\":7,\"_ETL_COERCED\":{\"PRICE\":\"NaN\"}}\n");
}

// All originals of a row are in one VARIANT.
static void originals_beyond_a_variant_leave_their_sizes(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    // Without the sizes that all columns may leave (143 bytes) it holds 120.
    struct typemap_options options = {.varchar_length_max = 263};
    row_encoder_deinit(&encoder);
    assert_true(row_encoder_init(&encoder, &table, encoding_find("UTF8"), &options, &error));
    struct value row[] = {text_value("7"), text_value("0123456789012345678901234567890123\xFF"), text_value("infinity"),
                          text_value("1234567890123456789012345678901.125")};
    check('I', row, NULL,
          HEAD("I") ",\"ID\":7,\"NOTE\":\"0123456789012345678901234567890123\xEF\xBF\xBD\",\"_ETL_COERCED\":{\"NOTE\":"
                    "\"\\\\x30313233343536373839303132333435363738393031323334353637383930313233ff\","
                    "\"AT\":\"infinity\",\"PRICE\":\"35 bytes\"}}\n");
    row[2] = null_value();
    row[3] = text_value("123456789012345678901234567890.125");
    check('I', row, NULL,
          HEAD("I") ",\"ID\":7,\"NOTE\":\"0123456789012345678901234567890123\xEF\xBF\xBD\",\"_ETL_COERCED\":{\"NOTE\":"
                    "\"\\\\x30313233343536373839303132333435363738393031323334353637383930313233ff\","
                    "\"PRICE\":\"123456789012345678901234567890.125\"}}\n");
}

static void keys_that_cannot_be_merged_by_are_refused(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 2, 0);
    struct value coerced_key[] = {text_value("7"), null_value(), text_value("infinity"), null_value()};
    struct value null_key[] = {text_value("7"), null_value(), null_value(), null_value()};
    struct value good_key[] = {text_value("7"), null_value(), text_value("2026-11-23"), null_value()};
    check_fails('I', coerced_key, NULL, "coerced_key");
    assert_non_null(strstr(error.text, "table public.orders, column at (type): "));
    check_fails('U', good_key, coerced_key, "coerced_key");
    check_fails('D', NULL, coerced_key, "coerced_key");
    check_fails('I', null_key, NULL, "null_key");
    check_fails('D', NULL, null_key, "null_key");
    check_fails('U', good_key, null_key, "null_key");
    assert_int_equal(encoder.coerced_values, 0);
}

static void a_limit_holds_for_values_outside_of_the_key(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), text_value("abcdef"), null_value(), text_value("1.50")};
    row_encoder_limit_values(&encoder, 5);
    check('I', row, NULL, HEAD("I") ",\"ID\":7,\"PRICE\":1.50,\"_ETL_COERCED\":{\"NOTE\":\"6 bytes\"}}\n");
    row_encoder_limit_values(&encoder, 6);
    check('I', row, NULL, HEAD("I") ",\"ID\":7,\"NOTE\":\"abcdef\",\"PRICE\":1.50}\n");
    row_encoder_limit_values(&encoder, 1);
    row_encoder_limit_values(&encoder, 0);
    check('I', row, NULL, HEAD("I") ",\"ID\":7,\"NOTE\":\"abcdef\",\"PRICE\":1.50}\n");
    assert_int_equal(encoder.coerced_values, 1);
    assert_false(row_encoder_fails_oversized(&encoder));
}

static void malformed_values_name_their_column(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), null_value(), null_value(), text_value("twelve")};
    check_fails('I', row, NULL, "malformed_value");
    assert_string_equal(error.text, "table public.orders, column price (type): the server's text is not of this type");
}

static void rows_of_another_width_are_refused(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), null_value(), null_value(), null_value()};
    struct row_change change = change_of('I', row, NULL);
    change.new_row.count = 3;
    assert_false(ndjson_append_change(&encoder, &change, &out, &error));
    assert_string_equal(error.code, "column_count");
    check_fails('D', NULL, NULL, "column_count");
}

static void a_full_batch_stays_usable(void **state)
{
    (void)state;
    set_up(IDENTITY_KEY, 1, 0, 0);
    struct value row[] = {text_value("7"), text_value("a text of some length"), null_value(), null_value()};
    struct row_change change = change_of('I', row, NULL);
    struct buf small;
    buf_init(&small, 300);
    size_t lines = 0;
    while (ndjson_append_change(&encoder, &change, &small, &error))
        lines++;
    assert_int_equal(error.kind, ERR_INTERNAL);
    assert_int_equal(lines, 3);
    assert_false(small.failed);
    assert_int_equal(small.data[small.size - 1], '\n');
    buf_deinit(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(inserts_leave_nulls_out, tear_down),
        cmocka_unit_test_teardown(deletes_hold_the_key_only, tear_down),
        cmocka_unit_test_teardown(deletes_without_a_key_hold_every_value, tear_down),
        cmocka_unit_test_teardown(updates_without_a_key_are_split_in_two, tear_down),
        cmocka_unit_test_teardown(rows_of_the_stream_may_carry_their_commit_time, tear_down),
        cmocka_unit_test_teardown(updates_tell_a_changed_key, tear_down),
        cmocka_unit_test_teardown(a_key_is_the_same_in_text_and_binary, tear_down),
        cmocka_unit_test_teardown(unchanged_values_are_listed_by_attribute_number, tear_down),
        cmocka_unit_test_teardown(unchanged_key_columns_are_taken_from_the_old_key, tear_down),
        cmocka_unit_test_teardown(unchanged_values_are_taken_from_a_whole_old_row, tear_down),
        cmocka_unit_test_teardown(unchanged_values_are_not_taken_from_a_partitions_old_row, tear_down),
        cmocka_unit_test_teardown(only_inserts_of_a_table_without_identity, tear_down),
        cmocka_unit_test_teardown(coerced_values_keep_their_text, tear_down),
        cmocka_unit_test_teardown(originals_beyond_a_variant_leave_their_sizes, tear_down),
        cmocka_unit_test_teardown(a_limit_holds_for_values_outside_of_the_key, tear_down),
        cmocka_unit_test_teardown(keys_that_cannot_be_merged_by_are_refused, tear_down),
        cmocka_unit_test_teardown(malformed_values_name_their_column, tear_down),
        cmocka_unit_test_teardown(rows_of_another_width_are_refused, tear_down),
        cmocka_unit_test_teardown(a_full_batch_stays_usable, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
