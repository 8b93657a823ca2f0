// Lines of one kind are limited, and what is held back is counted and told, whatever comes next. The clock is a number.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log_limit.h"

static struct log_limit limit;
static uint64_t now_us;
static uint32_t told_lines, carried;  // by log_limit_over and displacement; by the next line

static bool say(unsigned level, const char *event, const char *pipeline, const char *text)
{
    const struct log_limit_line line = {.level = level, .event = event, .pipeline = pipeline, .text = text};
    struct log_limit_told displaced[2];
    uint32_t held_back = 0;
    bool is_admitted = log_limit_admit(&limit, &line, now_us, &held_back, displaced);
    carried += held_back;
    told_lines += displaced[0].held_back + displaced[1].held_back;
    return is_admitted;
}

static uint32_t say_often(uint32_t count, const char *event, const char *pipeline, const char *text)
{
    uint32_t admitted = 0;
    for (uint32_t i = 0; i < count; i++)
        admitted += say(2, event, pipeline, text);
    return admitted;
}

static int setup(void **state)
{
    (void)state;
    log_limit_init(&limit);
    now_us = 5000000;
    told_lines = carried = 0;
    return 0;
}

static void the_next_line_carries_the_count(void **state)
{
    (void)state;
    assert_int_equal(say_often(100, "storm", "p", "x"), LOG_LIMIT_LINES);
    now_us += LOG_LIMIT_WINDOW_US - 1;
    assert_false(say(2, "storm", "p", "x"));
    now_us++;
    assert_true(say(2, "storm", "p", "x"));
    assert_int_equal(carried, 100 - LOG_LIMIT_LINES + 1);
    // A window of its own begins: nothing is carried twice, and nothing is told besides.
    struct log_limit_told told;
    assert_int_equal(say_often(LOG_LIMIT_LINES, "storm", "p", "x"), LOG_LIMIT_LINES - 1);
    assert_int_equal(carried, 100 - LOG_LIMIT_LINES + 1);
    now_us += LOG_LIMIT_WINDOW_US;
    assert_true(log_limit_over(&limit, now_us, false, &told));
    assert_int_equal(told.held_back, 1);
    assert_false(log_limit_over(&limit, now_us, false, &told));
}

static void what_falls_silent_is_told_when_its_window_is_over(void **state)
{
    (void)state;
    struct log_limit_told told;
    say_often(25, "storm", "p", "x");
    now_us += 3000000;
    say_often(30, "rain", NULL, "y");
    assert_false(log_limit_over(&limit, now_us, false, &told));
    now_us += LOG_LIMIT_WINDOW_US - 3000000;
    assert_true(log_limit_over(&limit, now_us, false, &told));
    assert_string_equal(told.event, "storm");
    assert_string_equal(told.pipeline, "p");
    assert_int_equal(told.held_back, 5);
    assert_int_equal(told.level, 2);
    assert_false(log_limit_over(&limit, now_us, false, &told));
    // At the end open windows are told as well.
    assert_true(log_limit_over(&limit, now_us, true, &told));
    assert_string_equal(told.event, "rain");
    assert_int_equal(told.held_back, 10);
    assert_false(log_limit_over(&limit, now_us, true, &told));
}

static void an_error_never_hides_another(void **state)
{
    (void)state;
    assert_int_equal(say_often(50, "retrying", "p", "connection refused (tried 17 times)"), LOG_LIMIT_LINES);
    assert_true(say(2, "retrying", "p", "password wrong"));
    assert_true(say(2, "retrying", "q", "connection refused (tried 17 times)"));
    assert_true(say(2, "parked", "p", "connection refused (tried 17 times)"));
    // Numbers make no other kind, or a counter in the text would be a way around the limit.
    assert_false(say(2, "retrying", "p", "connection refused (tried 4711 times)"));
    // Neither do texts that all differ.
    uint32_t admitted = 0;
    for (char text[] = "aaaa"; text[0] <= 'z'; text[0]++)
        for (text[1] = 'a'; text[1] <= 'z'; text[1]++)
            admitted += say(2, "flood", "p", text);
    assert_int_equal(admitted, LOG_LIMIT_LINES * LOG_LIMIT_EVENT_FACTOR);
}

static void lines_without_a_text_are_one_kind(void **state)
{
    (void)state;
    uint32_t admitted = 0;
    for (uint32_t i = 0; i < 100; i++)
        admitted += say(1, "merged", "p", NULL);
    assert_int_equal(admitted, LOG_LIMIT_LINES);
}

// Whatever is said when, of however many kinds: each line goes out or is counted, and each count is told once.
static void nothing_is_lost_among_more_kinds_than_there_is_room_for(void **state)
{
    (void)state;
    unsigned seed = getenv("CI") != NULL ? 17442 : (unsigned)getpid();
    const char *given = getenv("SEED");
    if (given != NULL)
        seed = (unsigned)strtoul(given, NULL, 10);
    printf("seed %u\n", seed);
    uint32_t said = 0, admitted = 0;
    struct log_limit_told told;
    for (uint32_t i = 0; i < 300000; i++) {
        char pipeline[16], text[32];
        uint32_t which = (uint32_t)rand_r(&seed) % 3000;
        (void)snprintf(pipeline, sizeof pipeline, "p%u", which % 7 == 0 ? which : which % 5);
        (void)snprintf(text, sizeof text, "%c%c", (char)('a' + which % 3), (char)('a' + which % 11));
        said++;
        admitted += say(2, which % 2 == 0 ? "even" : "odd", pipeline, which % 13 == 0 ? NULL : text);
        now_us += (uint64_t)rand_r(&seed) % 500;
        if (which % 97 == 0)
            while (log_limit_over(&limit, now_us, false, &told))
                told_lines += told.held_back;
    }
    while (log_limit_over(&limit, now_us, true, &told))
        told_lines += told.held_back;
    assert_true(admitted < said);
    assert_int_equal(admitted + carried + told_lines, said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_next_line_carries_the_count, setup),
        cmocka_unit_test_setup(what_falls_silent_is_told_when_its_window_is_over, setup),
        cmocka_unit_test_setup(an_error_never_hides_another, setup),
        cmocka_unit_test_setup(lines_without_a_text_are_one_kind, setup),
        cmocka_unit_test_setup(nothing_is_lost_among_more_kinds_than_there_is_room_for, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
