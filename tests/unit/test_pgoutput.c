#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "pg/pgoutput.h"

static struct pgoutput_scratch scratch;

// A message being built, field by field.
static struct buf message;

static void put_u8(int byte)
{
    buf_append_byte(&message, (uint8_t)byte);
}

static void put_u16(uint32_t number)
{
    put_u8((int)(number >> 8));
    put_u8((int)(number & 0xFF));
}

static void put_u32(uint64_t number)
{
    put_u16((uint32_t)(number >> 16 & 0xFFFF));
    put_u16((uint32_t)(number & 0xFFFF));
}

static void put_u64(uint64_t number)
{
    put_u32(number >> 32);
    put_u32(number & 0xFFFFFFFF);
}

static void put_string(const char *text)
{
    buf_append(&message, text, strlen(text) + 1);
}

static void put_value(char kind, const char *text)
{
    put_u8(kind);
    if (kind == 't' || kind == 'b') {
        put_u32(strlen(text));
        buf_append_text(&message, text);
    }
}

static void begin(char kind)
{
    buf_reset(&message);
    put_u8(kind);
}

static bool decode(struct pgoutput_message *out)
{
    struct err error;
    bool is_decoded = pgoutput_decode(message.data, message.size, &scratch, out, &error);
    if (!is_decoded)
        assert_int_equal(error.kind, ERR_DATA);
    return is_decoded;
}

// Each message is decodable in full only: every shorter prefix and every longer one must be refused, reading nothing outside.
static void check_every_length(void)
{
    struct pgoutput_message decoded;
    struct err error;
    assert_true(decode(&decoded));
    for (size_t size = 0; size < message.size; size++) {
        uint8_t *exact = malloc(size > 0 ? size : 1);  // so that a sanitizer sees a read past the end
        assert_non_null(exact);
        memcpy(exact, message.data, size);
        assert_false(pgoutput_decode(exact, size, &scratch, &decoded, &error));
        assert_int_equal(error.kind, ERR_DATA);
        free(exact);
    }
    put_u8(0);
    assert_false(decode(&decoded));
    message.size--;
}

static void begin_and_commit(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    begin('B');
    put_u64(0x16B374D848);
    put_u64((uint64_t)-5);
    put_u32(4000000000);
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_BEGIN);
    assert_true(decoded.begin.commit_lsn == 0x16B374D848);
    assert_true(decoded.begin.commit_time_us == -5);
    assert_int_equal(decoded.begin.xid, 4000000000);

    begin('C');
    put_u8(0);
    put_u64(0x10);
    put_u64(0x20);
    put_u64(123);
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_COMMIT);
    assert_true(decoded.commit.commit_lsn == 0x10 && decoded.commit.end_lsn == 0x20 &&
                decoded.commit.commit_time_us == 123);
    message.data[1] = 1;
    assert_false(decode(&decoded));
}

static void put_relation(char identity)
{
    begin('R');
    put_u32(16385);
    put_string("public");
    put_string("orders");
    put_u8(identity);
    put_u16(2);
    put_u8(1);
    put_string("id");
    put_u32(20);
    put_u32(UINT32_MAX);
    put_u8(0);
    put_string("what");
    put_u32(1043);
    put_u32(24);
}

static void relation(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    put_relation('d');
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_RELATION);
    assert_int_equal(decoded.relation_oid, 16385);
    assert_string_equal(decoded.relation.schema_name, "public");
    assert_string_equal(decoded.relation.table_name, "orders");
    assert_int_equal(decoded.relation.replica_identity, 'd');
    assert_int_equal(decoded.relation.column_count, 2);
    assert_string_equal(decoded.relation.columns[0].name, "id");
    assert_true(decoded.relation.columns[0].is_key);
    assert_int_equal(decoded.relation.columns[0].type_modifier, -1);
    assert_false(decoded.relation.columns[1].is_key);
    assert_int_equal(decoded.relation.columns[1].type_oid, 1043);
    assert_int_equal(decoded.relation.columns[1].type_modifier, 24);
    put_relation('x');
    assert_false(decode(&decoded));
}

static void put_tuple(void)
{
    put_u16(4);
    put_value('t', "12");
    put_value('n', NULL);
    put_value('u', NULL);
    put_value('b', "");
}

static void insert(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    begin('I');
    put_u32(7);
    put_u8('N');
    put_tuple();
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_INSERT);
    assert_int_equal(decoded.relation_oid, 7);
    assert_int_equal(decoded.change.old, PGOUTPUT_OLD_NONE);
    assert_int_equal(decoded.change.old_row.count, 0);
    const struct row_view *row = &decoded.change.new_row;
    assert_int_equal(row->count, 4);
    assert_int_equal(row->values[0].state, VALUE_TEXT);
    assert_int_equal(row->values[0].size, 2);
    assert_memory_equal(row->values[0].data, "12", 2);
    assert_int_equal(row->values[1].state, VALUE_NULL);
    assert_int_equal(row->values[2].state, VALUE_UNCHANGED);
    assert_int_equal(row->values[3].state, VALUE_BINARY);
    assert_int_equal(row->values[3].size, 0);
}

static void update(void **state)
{
    (void)state;
    static const struct {
        char part;
        enum pgoutput_old old;
    } forms[] = {{0, PGOUTPUT_OLD_NONE}, {'K', PGOUTPUT_OLD_KEY}, {'O', PGOUTPUT_OLD_ROW}};
    struct pgoutput_message decoded;
    for (size_t i = 0; i < 3; i++) {
        begin('U');
        put_u32(7);
        if (forms[i].part != 0) {
            put_u8(forms[i].part);
            put_tuple();
        }
        put_u8('N');
        put_tuple();
        check_every_length();
        assert_true(decode(&decoded));
        assert_int_equal(decoded.change.old, forms[i].old);
        assert_int_equal(decoded.change.old_row.count, forms[i].part == 0 ? 0 : 4);
        assert_int_equal(decoded.change.new_row.count, 4);
    }
    begin('U');  // an old tuple of another width
    put_u32(7);
    put_u8('K');
    put_u16(1);
    put_value('n', NULL);
    put_u8('N');
    put_tuple();
    assert_false(decode(&decoded));
}

static void delete_row(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    begin('D');
    put_u32(7);
    put_u8('K');
    put_tuple();
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_DELETE);
    assert_int_equal(decoded.change.old, PGOUTPUT_OLD_KEY);
    assert_int_equal(decoded.change.old_row.count, 4);
    assert_int_equal(decoded.change.new_row.count, 0);
    message.data[5] = 'N';
    assert_false(decode(&decoded));
}

static void truncate_names_any_number_of_relations(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    begin('T');
    put_u32(2);
    put_u8(3);
    put_u32(11);
    put_u32(12);
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_TRUNCATE);
    assert_int_equal(decoded.truncate.relation_count, 2);
    assert_int_equal(pgoutput_truncated(&decoded, 0), 11);
    assert_int_equal(pgoutput_truncated(&decoded, 1), 12);
    assert_true(decoded.truncate.is_cascade && decoded.truncate.restarts_identity);

    // A root with more partitions than a table may have columns, which are published one by one.
    const uint32_t many = 5000;
    begin('T');
    put_u32(many);
    put_u8(0);
    for (uint32_t i = 0; i < many; i++)
        put_u32(70000 + i);
    assert_true(decode(&decoded));
    assert_int_equal(decoded.truncate.relation_count, many);
    assert_int_equal(pgoutput_truncated(&decoded, many - 1), 70000 + many - 1);
    struct err error;
    assert_false(pgoutput_decode(message.data, message.size - 1, &scratch, &decoded, &error));
    assert_non_null(strstr(error.text, "an oid for each relation"));
}

static void messages_that_are_only_checked(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    begin('O');
    put_u64(1);
    put_string("origin");
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_ORIGIN);
    begin('Y');
    put_u32(1);
    put_string("public");
    put_string("mood");
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_TYPE);
    begin('A');
    put_u32(7);
    put_u32(8);
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_ABORT);
    begin('M');
    put_u8(1);
    put_u64(5);
    put_string("prefix");
    put_u32(3);
    buf_append_text(&message, "abc");
    check_every_length();
    assert_true(decode(&decoded));
    assert_int_equal(decoded.kind, PGOUTPUT_MESSAGE);
}

static void surprises_are_named(void **state)
{
    (void)state;
    struct pgoutput_message decoded;
    struct err error;
    assert_false(pgoutput_decode(NULL, 0, &scratch, &decoded, &error));
    assert_false(pgoutput_decode((const uint8_t *)"S", 1, &scratch, &decoded,
                                 &error));  // streaming: protocol 2, never asked for
    assert_string_equal(error.text, "replication message 'S' of 1 bytes: expected a message of protocol version 1 "
                                    "(B C O R Y I U D T M) at byte 0");
    begin('I');
    put_u32(7);
    put_u8('N');
    put_u16(1);
    put_u8('t');
    put_u32(UINT32_MAX);
    assert_false(pgoutput_decode(message.data, message.size, &scratch, &decoded, &error));
    assert_string_equal(error.text, "replication message 'I' of 13 bytes: expected a column's bytes at byte 13");
    message.data[8] = 'x';
    assert_false(pgoutput_decode(message.data, message.size, &scratch, &decoded, &error));
    assert_string_equal(error.text,
                        "replication message 'I' of 13 bytes: expected a column's kind (n, u, t or b) at byte 8");
    begin('I');
    put_u32(7);
    put_u8('N');
    put_u16(ROW_COLUMNS_MAX + 1);
    for (int i = 0; i <= ROW_COLUMNS_MAX; i++)
        put_u8('n');
    assert_false(decode(&decoded));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_and_commit),
        cmocka_unit_test(relation),
        cmocka_unit_test(insert),
        cmocka_unit_test(update),
        cmocka_unit_test(delete_row),
        cmocka_unit_test(truncate_names_any_number_of_relations),
        cmocka_unit_test(messages_that_are_only_checked),
        cmocka_unit_test(surprises_are_named),
    };
    buf_init(&message, 1 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&message);
    return failed;
}
