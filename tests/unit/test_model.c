// LSNs, sequences, tables.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/lsn.h"
#include "model/seq.h"
#include "model/table.h"

static void lsn_is_read_as_it_is_written(void **state)
{
    (void)state;
    lsn_t lsn = 1;
    char text[24];
    assert_true(lsn_parse("16/B374D848", &lsn));
    assert_true(lsn == UINT64_C(0x16B374D848));
    snprintf(text, sizeof text, LSN_FORMAT, LSN_ARGUMENTS(lsn));
    assert_string_equal(text, "16/B374D848");
    assert_true(lsn_parse("ffffffff/FFFFFFFF", &lsn));
    assert_true(lsn == UINT64_MAX);
    assert_true(lsn_parse("0/0", &lsn));
    assert_true(lsn == LSN_NONE);
}

static void lsn_refuses_anything_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "/",           "1",           "1/",  "/1",   "1/2 ", " 1/2",
                                      "1/2/3", "123456789/1", "1/123456789", "g/1", "-1/1", "0x1/1"};
    lsn_t lsn;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(lsn_parse(bad[i], &lsn));
}

static void seq_sorts_as_text_as_it_compares(void **state)
{
    (void)state;
    static const struct seq seqs[] = {
        {.epoch = 1, .commit_lsn = 0, .ordinal = 0},
        {.epoch = 1, .commit_lsn = 0, .ordinal = 1},
        {.epoch = 1, .commit_lsn = 9, .ordinal = 0},
        {.epoch = 1, .commit_lsn = 10, .ordinal = 0},
        {.epoch = 1, .commit_lsn = UINT64_C(0xFFFFFFFF), .ordinal = SEQ_ORDINAL_MAX},
        {.epoch = 1, .commit_lsn = UINT64_C(0x100000000), .ordinal = 3},
        {.epoch = 2, .commit_lsn = 1, .ordinal = 0},
        {.epoch = 255, .commit_lsn = UINT64_MAX, .ordinal = SEQ_ORDINAL_MAX},
    };
    size_t count = sizeof seqs / sizeof seqs[0];
    char texts[8][SEQ_TEXT_SIZE];
    for (size_t i = 0; i < count; i++) {
        struct seq again;
        seq_format(&seqs[i], texts[i]);
        assert_true(seq_parse(texts[i], SEQ_TEXT_SIZE, &again));
        assert_int_equal(seq_compare(&seqs[i], &again), 0);
        for (size_t j = 0; j < i; j++) {
            assert_true(memcmp(texts[j], texts[i], SEQ_TEXT_SIZE) < 0);
            assert_true(seq_compare(&seqs[j], &seqs[i]) < 0);
            assert_true(seq_compare(&seqs[i], &seqs[j]) > 0);
        }
    }
    char text[SEQ_TEXT_SIZE];
    seq_format(&(struct seq){.epoch = 1, .commit_lsn = UINT64_C(0x16B374D848), .ordinal = 0xAB}, text);
    assert_memory_equal(text, "0100000016B374D848000000AB", SEQ_TEXT_SIZE);
}

// "Below P" is a comparison of texts: no row at P may sort before P's text, none below it after.
static void position_text_is_exclusive(void **state)
{
    (void)state;
    char position[SEQ_POSITION_TEXT_SIZE + 1] = "";
    char below[SEQ_TEXT_SIZE + 1] = "";
    char at[SEQ_TEXT_SIZE + 1] = "";
    seq_format_position(3, 0x1000, position);
    seq_format(&(struct seq){.epoch = 3, .commit_lsn = 0xFFF, .ordinal = SEQ_ORDINAL_MAX}, below);
    seq_format(&(struct seq){.epoch = 3, .commit_lsn = 0x1000, .ordinal = 0}, at);
    assert_true(strcmp(below, position) < 0);
    assert_true(strcmp(at, position) > 0);
}

static void seq_parse_is_strict(void **state)
{
    (void)state;
    struct seq seq;
    assert_true(seq_parse("0100000016B374D848000000AB", 26, &seq));
    assert_false(seq_parse("0100000016b374d848000000ab", 26, &seq));
    assert_false(seq_parse("0100000016B374D848000000A", 25, &seq));
    assert_false(seq_parse("0100000016B374D848000000ABC", 27, &seq));
    assert_false(seq_parse("0000000016B374D848000000AB", 26, &seq));  // epochs begin at 1
    assert_false(seq_parse("01000000 6B374D848000000AB", 26, &seq));
}

static void table_name_is_cut_and_free_takes_null(void **state)
{
    (void)state;
    struct table *table = calloc(1, sizeof *table);
    assert_non_null(table);
    table->schema_name = strdup("public");
    table->table_name = strdup("orders");
    table->columns = calloc(1, sizeof *table->columns);
    table->column_count = 1;
    table->columns[0].name = strdup("id");
    char text[16];
    table_format_name(table, text, sizeof text);
    assert_string_equal(text, "public.orders");
    table_format_name(table, text, 8);
    assert_string_equal(text, "public.");
    table_free(table);
    table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lsn_is_read_as_it_is_written),
        cmocka_unit_test(lsn_refuses_anything_else),
        cmocka_unit_test(seq_sorts_as_text_as_it_compares),
        cmocka_unit_test(position_text_is_exclusive),
        cmocka_unit_test(seq_parse_is_strict),
        cmocka_unit_test(table_name_is_cut_and_free_takes_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
