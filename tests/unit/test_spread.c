// Which channel a row takes, and the steps by which that changes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/spread.h"

static struct seq seq_of(lsn_t commit_lsn, uint32_t ordinal)
{
    return (struct seq){.epoch = 1, .commit_lsn = commit_lsn, .ordinal = ordinal};
}

static uint32_t channel_of(const struct spread *spread, lsn_t commit_lsn, uint32_t ordinal)
{
    struct seq seq = seq_of(commit_lsn, ordinal);
    return spread_channel(spread, &seq);
}

static struct spread sample(void)
{
    struct spread spread = {0};
    struct seq first = seq_of(0, 0), second = seq_of(0x50000, 4097), third = seq_of(0x90000, 0);
    assert_true(spread_add(&spread, &first, 1));
    assert_true(spread_add(&spread, &second, 2));
    assert_true(spread_add(&spread, &third, 4));
    return spread;
}

static void without_a_step_there_is_one_channel(void **state)
{
    (void)state;
    struct spread spread = {0};
    assert_int_equal(spread_channel_count(&spread), 1);
    assert_int_equal(channel_of(&spread, UINT64_MAX, UINT32_MAX), 0);
}

static void the_step_in_force_at_a_sequence_decides(void **state)
{
    (void)state;
    struct spread spread = sample();
    assert_int_equal(spread_channel_count(&spread), 4);
    assert_int_equal(channel_of(&spread, 0x10000, 0), 0);
    assert_int_equal(channel_of(&spread, 0x50000, 4096), 0);  // (5 + 1) mod 1
    assert_int_equal(channel_of(&spread, 0x50000, 4097), 0);  // (5 + 1) mod 2
    assert_int_equal(channel_of(&spread, 0x50000, 8192), 1);  // (5 + 2) mod 2
    assert_int_equal(channel_of(&spread, 0x8FFFF, 0), 0);     // 8 mod 2
    assert_int_equal(channel_of(&spread, 0x90000, 0), 1);     // 9 mod 4
    assert_int_equal(channel_of(&spread, 0xB0000, 2 * 4096 + 4095), 1);
}

// 2,048 changes (ordinals are 2 x their number) stay together, then comes the next channel.
static void a_large_transaction_takes_every_channel_in_turn(void **state)
{
    (void)state;
    struct spread spread = {0};
    struct seq from = seq_of(1, 0);
    uint32_t rows[4] = {0};
    assert_true(spread_add(&spread, &from, 4));
    for (uint32_t number = 1; number <= 8 * 2048; number++)
        rows[channel_of(&spread, 0x70000, 2 * number)]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(rows[i], 2 * 2048 - 1, 2 * 2048 + 1);
}

static void steps_only_rise(void **state)
{
    (void)state;
    struct spread spread = sample();
    struct seq same = seq_of(0x90000, 0), later = seq_of(0x90000, 1), other = later;
    other.epoch = 2;
    assert_false(spread_add(&spread, &same, 8));
    assert_false(spread_add(&spread, &later, 4));
    assert_false(spread_add(&spread, &later, SPREAD_CHANNELS_MAX + 1));
    assert_false(spread_add(&spread, &other, 8));
    assert_int_equal(spread.step_count, 3);
    assert_true(spread_add(&spread, &later, 5));
    for (uint32_t i = 1; i <= 4; i++) {
        later.ordinal++;
        assert_true(spread_add(&spread, &later, 5 + i));
    }
    later.ordinal++;
    assert_false(spread_add(&spread, &later, 16));  // no room
    struct seq floor = seq_of(0x90000, 1);
    spread_trim(&spread, &floor);
    assert_true(spread_add(&spread, &later, 16));
}

// Trimmed at every possible floor, every row from that floor on takes the channel that it took before.
static void trimming_changes_no_row_that_may_be_read_again(void **state)
{
    (void)state;
    static const struct {
        lsn_t lsn;
        uint32_t ordinal;
    } points[] = {{0, 0},          {0x40000, 2},    {0x50000, 0},    {0x50000, 4096}, {0x50000, 4097},
                  {0x50000, 8192}, {0x60000, 9000}, {0x8FFFF, 4096}, {0x90000, 0},    {0x90000, 2},
                  {0x90000, 5000}, {0xA0000, 0},    {0xB0000, 4096}, {0xC0000, 9999}, {UINT64_MAX, 12}};
    size_t count = sizeof points / sizeof points[0];
    const struct spread whole = sample();
    for (size_t i = 0; i < count; i++) {
        struct spread trimmed = whole;
        struct seq floor = seq_of(points[i].lsn, points[i].ordinal);
        spread_trim(&trimmed, &floor);
        assert_true(trimmed.step_count >= 1);
        assert_int_equal(spread_channel_count(&trimmed), 4);
        for (size_t k = i; k < count; k++)
            assert_int_equal(channel_of(&trimmed, points[k].lsn, points[k].ordinal),
                             channel_of(&whole, points[k].lsn, points[k].ordinal));
    }
    struct spread last = whole;
    struct seq floor = seq_of(0x90000, 0);
    spread_trim(&last, &floor);
    assert_int_equal(last.step_count, 1);
    assert_false(spread_is_same(&last, &whole));
    assert_true(spread_is_same(&whole, &whole));
}

static void assert_is_written(const char *text, struct spread *out_spread)
{
    char again[SPREAD_TEXT_SIZE];
    assert_true(spread_parse(text, out_spread));
    spread_format(out_spread, again);
    assert_string_equal(again, text);
}

static void it_is_read_as_it_is_written(void **state)
{
    (void)state;
    char text[SPREAD_TEXT_SIZE];
    struct spread spread = sample(), again;
    spread_format(&spread, text);
    assert_string_equal(text, "01000000000000000000000000:1 01000000000005000000001001:2 01000000000009000000000000:4");
    assert_is_written(text, &again);
    struct seq seq = {.epoch = 255, .commit_lsn = UINT64_MAX - 8, .ordinal = UINT32_MAX};
    struct spread longest = {0};
    for (uint32_t i = 0; i < SPREAD_STEPS_MAX; i++) {
        seq.commit_lsn++;
        assert_true(spread_add(&longest, &seq, 9 + i));
    }
    spread_format(&longest, text);
    assert_is_written(text, &again);
    assert_int_equal(again.step_count, SPREAD_STEPS_MAX);
    assert_true(spread_parse("", &again));
    assert_int_equal(again.step_count, 0);
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        " ",
        "1",
        "01000000000000000000000000",
        "01000000000000000000000000:",
        "01000000000000000000000000:0",
        "01000000000000000000000000:01",
        "01000000000000000000000000:17",
        "01000000000000000000000000:100",
        "00000000000000000000000000:1",
        "0100000000000000000000000a:1",
        "01000000000000000000000000:1 ",
        "01000000000000000000000000:1,01000000000005000000001001:2",
        "01000000000000000000000000:1  01000000000005000000001001:2",
        "01000000000005000000001001:2 01000000000000000000000000:4",
        "01000000000000000000000000:2 01000000000005000000001001:2",
    };
    struct spread spread;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(spread_parse(bad[i], &spread));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_step_there_is_one_channel),
        cmocka_unit_test(the_step_in_force_at_a_sequence_decides),
        cmocka_unit_test(a_large_transaction_takes_every_channel_in_turn),
        cmocka_unit_test(steps_only_rise),
        cmocka_unit_test(trimming_changes_no_row_that_may_be_read_again),
        cmocka_unit_test(it_is_read_as_it_is_written),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
