// Rows that a channel holds back until it is told, and for how long full batches waited in it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_channel.h"
#include "sinks/snowflake/sf_channel.h"

#define MEGABYTE 1000000

static void add_large(const char *token, size_t size)
{
    char *line = calloc(1, size);
    assert_non_null(line);
    memset(line, 'x', size);
    line[size - 1] = '\n';
    add_line(token, line, size);
    free(line);
}

static void test_rows_of_after_the_hold_wait_for_the_release(void **state)
{
    (void)state;
    open_channel();
    add("t01");
    add("t02");
    sf_channel_hold(one.channel);
    add("t03");
    add("t04");
    sf_channel_pump(one.channel);
    assert_append("t01", "t02", NULL);  // those of before are sent
    answer_append("n1");
    assert_state(SF_CHANNEL_READY);
    wanted_nothing();
    advance_ms(249);
    wanted_nothing();
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t04");
    advance_ms(1);
    answer_status("t02");
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t03");
    advance_ms(60000);
    wanted_nothing();
    add("t05");
    sf_channel_release(one.channel);
    assert_append("t03", "t05", "n1");
    answer_append("n2");
    send("t06");
    assert_append("t06", "t06", "n2");
}

// An append that has to be repeated is of before the hold: it may go.
static void test_an_append_in_flight_is_repeated_during_a_hold(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    sf_channel_hold(one.channel);
    add("t02");
    wanted("POST", "/rows?");
    answer(503, "");
    advance_ms(1000);
    answer_open(NULL);
    assert_append("t01", "t01", NULL);
    answer_append("n1");
    wanted_nothing();
    sf_channel_release(one.channel);
    assert_append("t02", "t02", "n1");
}

// The rows of before are gone with those of after it; what is read again waits as well.
static void test_a_rewind_during_a_hold_keeps_it(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    send("t02");
    sf_channel_hold(one.channel);
    add("t03");
    wanted("POST", "/rows?");
    answer(503, "");
    advance_ms(1000);
    answer_open(NULL);
    assert_int_equal(one.rewound, 1);
    sf_channel_rewound(one.channel);
    add("t01");
    add("t02");
    sf_channel_pump(one.channel);
    wanted_nothing();
    sf_channel_release(one.channel);
    assert_append("t01", "t02", NULL);
}

// The position must not pass rows that were held and are gone.
static void test_a_failure_during_a_hold_owes_its_rows(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    sf_channel_hold(one.channel);
    add("t02");
    advance_ms(250);
    answer_status_as("SUCCESS", "t01", 77, 1);
    assert_failed(ERR_DATA, "refused 1 row(s)");
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
    sf_channel_release(one.channel);
    wanted_nothing();
    assert_true(sf_channel_has_uncommitted(one.channel));
}

static void test_rows_are_held_without_any_before(void **state)
{
    (void)state;
    open_channel();
    sf_channel_hold(one.channel);
    add_large("t01", MEGABYTE);  // would be sent at once
    add_large("t02", MEGABYTE);
    wanted_nothing();
    assert_int_equal(sf_channel_held_us(one.channel), 0);  // it is not the channel that holds them back
    sf_channel_release(one.channel);
    assert_append("t01", "t02", NULL);
}

static void test_time_counts_while_a_full_batch_waits(void **state)
{
    (void)state;
    open_channel();
    sf_pipe_remove(one.pipe, one.channel);  // statuses are another matter
    send("t01");
    advance_ms(500);
    assert_int_equal(sf_channel_held_us(one.channel), 0);  // nothing waits
    add_large("t02", MEGABYTE / 2);
    advance_ms(500);
    assert_int_equal(sf_channel_held_us(one.channel), 0);  // not a full batch
    add_large("t03", MEGABYTE / 2);
    advance_ms(300);
    assert_int_equal(sf_channel_held_us(one.channel), 300000);  // behind the append in flight
    answer_append("n1");
    advance_ms(100);
    assert_int_equal(sf_channel_held_us(one.channel), 300000);  // all of it went out
    answer_append("n2");

    // More than the limit of a second: the rest waits for it.
    for (int i = 4; i < 34; i++) {
        char token[8];
        snprintf(token, sizeof token, "t%02d", i);
        add_large(token, MEGABYTE);
    }
    uint64_t before_us = sf_channel_held_us(one.channel);
    for (int i = 0; i < 40; i++) {
        if (sf_channel_state(one.channel) == SF_CHANNEL_SENDING)
            answer_append("n");
        advance_ms(20);
    }
    assert_in_range(sf_channel_held_us(one.channel) - before_us, 790000, 800000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_of_after_the_hold_wait_for_the_release, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_append_in_flight_is_repeated_during_a_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_rewind_during_a_hold_keeps_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failure_during_a_hold_owes_its_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows_are_held_without_any_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_counts_while_a_full_batch_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
