// Every timing rule of alerts, with a clock of the test's own; the contract's payload byte for byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "monitor/alert_book.h"

#define MINUTE UINT64_C(60000000)
// 2026-11-25T12:00:00Z at the monotonic clock's 0.
#define NOON INT64_C(1795608000000000)

struct seen {
    int raised, resolved;
};

static void on_raised(void *context, const struct alert *alert)
{
    (void)alert;
    ((struct seen *)context)->raised++;
}

static void on_resolved(void *context, const struct alert *alert)
{
    (void)alert;
    ((struct seen *)context)->resolved++;
}

static void book_init(struct alert_book *book, bool has_receiver, struct seen *seen)
{
    const struct alert_book_events events = {on_raised, on_resolved, seen};
    *seen = (struct seen){0};
    alert_book_init(book, has_receiver, MINUTE, 10 * MINUTE, &events);
}

static char *shown_text(const struct alert_book *book)
{
    json_t *array = alert_book_shown(book);
    char *text = json_dumps(array, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(array);
    return text;
}

static void round_at(struct alert_book *book, uint64_t now_us, const struct alert_condition *condition)
{
    alert_book_begin(book, now_us, NOON + (int64_t)now_us);
    if (condition != NULL)
        alert_book_see(book, condition);
    alert_book_end(book);
}

static struct alert_condition wal(enum alert_level level, json_t *details)
{
    return (struct alert_condition){.type = ALERT_WAL,
                                    .level = level,
                                    .source = "shop",
                                    .hold_us = 10 * MINUTE,
                                    .message = "large",
                                    .remedy = "look",
                                    .details = details};
}

static struct alert_condition parked(void)
{
    return (struct alert_condition){.type = ALERT_TABLE_PARKED,
                                    .level = ALERT_WARNING,
                                    .source = "shop",
                                    .pipeline = "p",
                                    .table = "public.orders",
                                    .message = "it is parked",
                                    .remedy = "resync"};
}

// The message that is due, which must be this text, or none when it is NULL; the receiver takes it.
static void takes(struct alert_book *book, uint64_t now_us, const char *text)
{
    struct alert *alert = alert_book_next(book, now_us);
    if (text == NULL) {
        assert_null(alert);
        return;
    }
    assert_non_null(alert);
    assert_string_equal(alert->sending_body, text);
    alert_book_posted(book, alert, true, now_us);
    assert_null(alert_book_next(book, now_us));
}

static void test_alert_book_wal_alert_is_the_contracts(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    json_t *details = json_pack("{s:f, s:i}", "wal_size_mb", 3200.5, "threshold_mb", 3000);
    struct alert_condition warning = wal(ALERT_WARNING, details);
    book_init(&book, true, &seen);
    for (uint64_t minute = 0; minute < 10; minute++) {
        round_at(&book, minute * MINUTE, &warning);
        takes(&book, minute * MINUTE, NULL);
    }
    round_at(&book, 10 * MINUTE, &warning);
    assert_int_equal(seen.raised, 1);
    takes(&book, 10 * MINUTE,
          "{\"type\":\"wal_alert\",\"source_name\":\"shop\",\"status\":\"warning\",\"wal_size_mb\":3200.5,"
          "\"threshold_mb\":3000,\"duration_mins\":10,\"timestamp\":\"2026-11-25T12:10:00.000Z\"}");
    // Once for the level, however long it lasts.
    for (uint64_t minute = 11; minute < 100; minute++)
        round_at(&book, minute * MINUTE, &warning);
    takes(&book, 99 * MINUTE, NULL);
    // Back to normal clears it without a word, and the clock starts at nothing.
    round_at(&book, 100 * MINUTE, NULL);
    takes(&book, 100 * MINUTE, NULL);
    assert_int_equal(book.count, 0);
    round_at(&book, 101 * MINUTE, &warning);
    round_at(&book, 110 * MINUTE, &warning);
    takes(&book, 110 * MINUTE, NULL);
    round_at(&book, 111 * MINUTE, &warning);
    assert_int_equal(seen.raised, 2);
    alert_book_deinit(&book);
    json_decref(details);
}

static void test_alert_book_a_change_of_level_starts_the_clock_anew(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    json_t *details = json_pack("{s:f, s:i, s:[]}", "wal_size_mb", 6000.0, "threshold_mb", 6000, "slots");
    struct alert_condition warning = wal(ALERT_WARNING, details), danger = wal(ALERT_DANGER, details);
    book_init(&book, true, &seen);
    round_at(&book, 0, &warning);
    round_at(&book, 9 * MINUTE, &danger);
    round_at(&book, 18 * MINUTE, &danger);
    takes(&book, 18 * MINUTE, NULL);
    round_at(&book, 19 * MINUTE, &danger);
    // What is ours stands behind what is the contract's.
    takes(&book, 19 * MINUTE,
          "{\"type\":\"wal_alert\",\"source_name\":\"shop\",\"status\":\"danger\",\"wal_size_mb\":6000.0,"
          "\"threshold_mb\":6000,\"duration_mins\":10,\"timestamp\":\"2026-11-25T12:19:00.000Z\",\"slots\":[]}");
    // Down to warning: told too, after its own ten minutes.
    round_at(&book, 20 * MINUTE, &warning);
    round_at(&book, 29 * MINUTE, &warning);
    takes(&book, 29 * MINUTE, NULL);
    round_at(&book, 30 * MINUTE, &warning);
    assert_int_equal(seen.raised, 2);
    struct alert *alert = alert_book_next(&book, 30 * MINUTE);
    assert_non_null(strstr(alert->sending_body, "\"status\":\"warning\""));
    alert_book_posted(&book, alert, true, 30 * MINUTE);
    // A danger that does not last, and warning again, which the receiver knows.
    round_at(&book, 31 * MINUTE, &danger);
    round_at(&book, 32 * MINUTE, &warning);
    round_at(&book, 60 * MINUTE, &warning);
    takes(&book, 60 * MINUTE, NULL);
    assert_int_equal(seen.raised, 2);
    alert_book_deinit(&book);
    json_decref(details);
}

static void test_alert_book_ours_are_told_at_once_and_when_they_are_over(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    struct alert_condition condition = parked();
    book_init(&book, true, &seen);
    round_at(&book, 0, &condition);
    takes(&book, 0,
          "{\"type\":\"table_parked\",\"status\":\"warning\",\"source_name\":\"shop\",\"pipeline_name\":\"p\","
          "\"table\":\"public.orders\",\"message\":\"it is parked\",\"remedy\":\"resync\","
          "\"since\":\"2026-11-25T12:00:00.000Z\",\"duration_mins\":0,\"timestamp\":\"2026-11-25T12:00:00.000Z\"}");
    round_at(&book, MINUTE, &condition);
    takes(&book, MINUTE, NULL);
    char *shown = shown_text(&book);
    assert_non_null(strstr(shown, "\"delivery\":\"delivered\""));
    free(shown);
    round_at(&book, 7 * MINUTE, NULL);
    assert_int_equal(seen.resolved, 1);
    shown = shown_text(&book);
    assert_string_equal(shown, "[]");
    free(shown);
    takes(&book, 7 * MINUTE,
          "{\"type\":\"table_parked\",\"status\":\"resolved\",\"source_name\":\"shop\",\"pipeline_name\":\"p\","
          "\"table\":\"public.orders\",\"message\":\"it is parked\",\"since\":\"2026-11-25T12:00:00.000Z\","
          "\"duration_mins\":7,\"timestamp\":\"2026-11-25T12:07:00.000Z\"}");
    assert_int_equal(book.count, 0);
    alert_book_deinit(&book);
}

static void test_alert_book_what_nobody_was_told_is_not_told_to_be_over(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    struct alert_condition condition = parked();
    book_init(&book, true, &seen);
    round_at(&book, 0, &condition);
    round_at(&book, MINUTE, NULL);
    takes(&book, MINUTE, NULL);
    assert_int_equal(book.count, 0);
    // On its way when it ends: the receiver may get it, so it hears of the end.
    round_at(&book, 2 * MINUTE, &condition);
    struct alert *alert = alert_book_next(&book, 2 * MINUTE);
    round_at(&book, 3 * MINUTE, NULL);
    assert_null(alert_book_next(&book, 3 * MINUTE));
    alert_book_posted(&book, alert, false, 3 * MINUTE);
    alert = alert_book_next(&book, 3 * MINUTE);
    assert_non_null(strstr(alert->sending_body, "resolved"));
    // And it is back before that was taken.
    round_at(&book, 4 * MINUTE, &condition);
    alert_book_posted(&book, alert, true, 4 * MINUTE);
    alert = alert_book_next(&book, 4 * MINUTE);
    assert_non_null(strstr(alert->sending_body, "\"status\":\"warning\""));
    assert_non_null(strstr(alert->sending_body, "\"since\":\"2026-11-25T12:04:00.000Z\""));
    alert_book_posted(&book, alert, true, 4 * MINUTE);
    assert_int_equal(book.count, 1);
    alert_book_deinit(&book);
}

static void test_alert_book_what_was_not_taken_is_tried_again_while_it_holds(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    struct alert_condition condition = parked();
    book_init(&book, true, &seen);
    round_at(&book, 0, &condition);
    struct alert *alert = alert_book_next(&book, 0);
    alert_book_posted(&book, alert, false, MINUTE);
    char *shown = shown_text(&book);
    assert_non_null(strstr(shown, "\"delivery\":\"undelivered\""));
    free(shown);
    assert_null(alert_book_next(&book, 11 * MINUTE - 1));
    alert = alert_book_next(&book, 11 * MINUTE);
    assert_non_null(alert);
    alert_book_posted(&book, alert, false, 11 * MINUTE);
    // That it is over is tried a few times, and then forgotten.
    round_at(&book, 12 * MINUTE, NULL);
    int tries = 0;
    for (uint64_t minute = 12; minute < 1000; minute++) {
        alert = alert_book_next(&book, minute * MINUTE);
        if (alert == NULL)
            continue;
        assert_non_null(strstr(alert->sending_body, "resolved"));
        alert_book_posted(&book, alert, false, minute * MINUTE);
        tries++;
    }
    assert_int_equal(tries, ALERT_RESOLVED_ROUNDS_MAX);
    assert_int_equal(book.count, 0);
    alert_book_deinit(&book);
}

static void test_alert_book_while_nothing_is_known_nothing_changes(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    struct alert_condition condition = wal(ALERT_WARNING, NULL), stale = condition;
    stale.is_stale = true;
    book_init(&book, true, &seen);
    round_at(&book, 0, &stale);
    assert_int_equal(book.count, 0);
    round_at(&book, MINUTE, &condition);
    round_at(&book, 20 * MINUTE, &stale);
    assert_int_equal(seen.raised, 0);
    round_at(&book, 21 * MINUTE, &condition);
    assert_int_equal(seen.raised, 1);
    round_at(&book, 22 * MINUTE, &stale);
    assert_int_equal(seen.resolved, 0);
    round_at(&book, 23 * MINUTE, NULL);
    assert_int_equal(seen.resolved, 1);
    alert_book_deinit(&book);
}

static void test_alert_book_is_bounded_and_does_without_a_receiver(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    char table[32];
    book_init(&book, false, &seen);
    alert_book_begin(&book, 0, NOON);
    for (int i = 0; i < ALERTS_MAX + 5; i++) {
        struct alert_condition condition = parked();
        snprintf(table, sizeof table, "public.t%d", i);
        condition.table = table;
        alert_book_see(&book, &condition);
    }
    alert_book_end(&book);
    assert_int_equal(book.count, ALERTS_MAX);
    assert_int_equal(book.left_out, 5);
    assert_int_equal(seen.raised, ALERTS_MAX);
    assert_null(alert_book_next(&book, 0));
    char *shown = shown_text(&book);
    assert_non_null(strstr(shown, "\"delivery\":\"no receiver\""));
    free(shown);
    round_at(&book, MINUTE, NULL);
    assert_int_equal(book.count, 0);
    assert_int_equal(seen.resolved, ALERTS_MAX);
    struct alert_condition condition = parked();
    round_at(&book, 2 * MINUTE, &condition);
    assert_int_equal(book.count, 1);
    alert_book_deinit(&book);
}

// What `book` would leave in the catalog, taken up at that time by another process, whose monotonic clock is another one.
#define OTHER_CLOCK UINT64_C(7)

static void hand_over(struct alert_book *book, struct alert_book *next, struct seen *seen, uint64_t now_us)
{
    json_t *kept = alert_book_kept(book);
    char *text = json_dumps(kept, JSON_COMPACT);
    json_decref(kept);
    alert_book_deinit(book);
    book_init(next, true, seen);
    kept = json_loads(text, 0, NULL);
    assert_non_null(kept);
    alert_book_restore(next, kept, OTHER_CLOCK, NOON + (int64_t)now_us);
    json_decref(kept);
    free(text);
}

static void other_round_at(struct alert_book *book, uint64_t since_us, const struct alert_condition *condition)
{
    alert_book_begin(book, OTHER_CLOCK + since_us, NOON + (int64_t)(20 * MINUTE + since_us));
    if (condition != NULL)
        alert_book_see(book, condition);
    alert_book_end(book);
}

static void test_alert_book_outlives_its_process(void **state)
{
    (void)state;
    struct alert_book book, next;
    struct seen seen;
    const struct alert_condition condition = parked();
    book_init(&book, true, &seen);
    round_at(&book, 0, &condition);
    struct alert *alert = alert_book_next(&book, 0);
    alert_book_posted(&book, alert, true, 0);
    // It holds still: nothing is told again, and it shows since when.
    hand_over(&book, &next, &seen, 20 * MINUTE);
    other_round_at(&next, 0, &condition);
    assert_int_equal(seen.raised, 0);
    assert_null(alert_book_next(&next, OTHER_CLOCK));
    char *shown = shown_text(&next);
    assert_non_null(strstr(shown, "\"since\":\"2026-11-25T12:00:00.000Z\""));
    assert_non_null(strstr(shown, "\"delivery\":\"delivered\""));
    free(shown);
    // It is over: the receiver that was told hears of it.
    other_round_at(&next, MINUTE, NULL);
    assert_int_equal(seen.resolved, 1);
    alert = alert_book_next(&next, OTHER_CLOCK + MINUTE);
    assert_non_null(alert);
    assert_non_null(strstr(alert->sending_body, "\"status\":\"resolved\""));
    assert_non_null(strstr(alert->sending_body, "\"duration_mins\":21"));
    // The process ends before the receiver has answered: the next one tells it.
    book = next;
    book.end = &book.alerts->next;
    alert_book_posted(&book, book.alerts, false, OTHER_CLOCK + MINUTE);
    hand_over(&book, &next, &seen, 22 * MINUTE);
    alert = alert_book_next(&next, OTHER_CLOCK);
    assert_non_null(alert);
    assert_non_null(strstr(alert->sending_body, "\"status\":\"resolved\""));
    alert_book_posted(&next, alert, true, OTHER_CLOCK);
    assert_int_equal(next.count, 0);
    alert_book_deinit(&next);
}

static void test_alert_book_the_clock_of_a_level_goes_on_in_the_next_process(void **state)
{
    (void)state;
    struct alert_book book, next;
    struct seen seen;
    const struct alert_condition condition = wal(ALERT_WARNING, NULL);
    book_init(&book, true, &seen);
    round_at(&book, 12 * MINUTE, &condition);  // of ten minutes eight have passed at 20
    assert_int_equal(seen.raised, 0);
    hand_over(&book, &next, &seen, 20 * MINUTE);
    other_round_at(&next, MINUTE, &condition);
    assert_int_equal(seen.raised, 0);
    other_round_at(&next, 2 * MINUTE, &condition);
    assert_int_equal(seen.raised, 1);
    struct alert *alert = alert_book_next(&next, OTHER_CLOCK + 2 * MINUTE);
    assert_non_null(strstr(alert->sending_body, "\"duration_mins\":10,"));
    alert_book_posted(&next, alert, true, OTHER_CLOCK + 2 * MINUTE);
    alert_book_deinit(&next);
}

static bool is_open;

static bool may_send(void *context, const struct alert *alert)
{
    (void)context;
    return is_open || alert_is_own(alert);
}

static void test_alert_book_another_process_tells(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    const struct alert_condition conditions[] = {
        parked(), {.type = ALERT_CATALOG_DOWN, .level = ALERT_DANGER, .message = "away", .remedy = "wait"}};
    book_init(&book, true, &seen);
    alert_book_set_gate(&book, may_send, NULL);
    is_open = false;
    alert_book_begin(&book, 0, NOON);
    alert_book_see(&book, &conditions[0]);
    alert_book_see(&book, &conditions[1]);
    alert_book_end(&book);
    // Whether it may tell is not known; what only this process knows it tells.
    struct alert *own = alert_book_next(&book, 0);
    assert_int_equal(own->type, ALERT_CATALOG_DOWN);
    assert_null(alert_book_next(&book, 0));
    is_open = true;
    struct alert *alert = alert_book_next(&book, 0);
    assert_int_equal(alert->type, ALERT_TABLE_PARKED);
    // Between two tries it turns out that another process tells: it waits, and goes with all but our own without a word.
    is_open = false;
    assert_false(alert_book_may_send(&book, alert));
    alert_book_withdrawn(&book, alert);
    assert_null(alert_book_next(&book, 0));
    json_t *kept = alert_book_kept(&book);
    assert_int_equal(json_array_size(kept), 1);
    json_decref(kept);
    alert_book_drop(&book);
    assert_int_equal(book.count, 1);
    assert_int_equal(seen.resolved, 0);
    kept = alert_book_kept(&book);
    assert_int_equal(json_array_size(kept), 0);
    json_decref(kept);
    alert_book_posted(&book, own, true, 0);
    // One that is on its way goes when it has ended.
    is_open = true;
    alert_book_begin(&book, MINUTE, NOON);
    alert_book_see(&book, &conditions[0]);
    alert_book_see(&book, &conditions[1]);
    alert_book_end(&book);
    alert = alert_book_next(&book, MINUTE);
    assert_int_equal(alert->type, ALERT_TABLE_PARKED);
    alert_book_drop(&book);
    assert_int_equal(book.count, 2);
    assert_false(alert_book_may_send(&book, alert));
    alert_book_posted(&book, alert, false, MINUTE);
    assert_int_equal(book.count, 1);
    alert_book_deinit(&book);
}

static void test_alert_book_what_is_not_understood_is_left_out(void **state)
{
    (void)state;
    struct alert_book book;
    struct seen seen;
    static const char *const texts[] = {"null", "{}", "[1, null, {}]",
                                        "[{\"type\": \"of_tomorrow\", \"level\": \"danger\", \"told\": \"danger\"}]",
                                        "[{\"type\": \"wal_alert\", \"level\": \"worse\", \"told\": \"danger\"}]"};
    book_init(&book, true, &seen);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        json_t *kept = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        assert_non_null(kept);
        alert_book_restore(&book, kept, 0, NOON);
        json_decref(kept);
        assert_int_equal(book.count, 0);
    }
    alert_book_restore(&book, NULL, 0, NOON);
    assert_int_equal(book.count, 0);
    alert_book_deinit(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert_book_wal_alert_is_the_contracts),
        cmocka_unit_test(test_alert_book_a_change_of_level_starts_the_clock_anew),
        cmocka_unit_test(test_alert_book_ours_are_told_at_once_and_when_they_are_over),
        cmocka_unit_test(test_alert_book_what_nobody_was_told_is_not_told_to_be_over),
        cmocka_unit_test(test_alert_book_what_was_not_taken_is_tried_again_while_it_holds),
        cmocka_unit_test(test_alert_book_while_nothing_is_known_nothing_changes),
        cmocka_unit_test(test_alert_book_is_bounded_and_does_without_a_receiver),
        cmocka_unit_test(test_alert_book_outlives_its_process),
        cmocka_unit_test(test_alert_book_the_clock_of_a_level_goes_on_in_the_next_process),
        cmocka_unit_test(test_alert_book_another_process_tells),
        cmocka_unit_test(test_alert_book_what_is_not_understood_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
