// Three tries, one and two seconds apart, ten seconds each, given up four seconds after the third: with a clock that the test
// turns and a receiver that it plays.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_http.h"
#include "monitor/alert_post.h"

struct bench {
    struct loop *loop;
    struct http_client *client;
    struct alert_book book;
    struct alert_post *post;
    struct monitor_settings settings;
    int delivered, failed;
    char error[ERR_TEXT_SIZE];
};

static void on_event(void *context, const struct alert *alert)
{
    (void)context;
    (void)alert;
}

static void on_posted(void *context, const struct alert *alert, const struct err *error)
{
    struct bench *bench = context;
    assert_non_null(alert->sending_body);
    bench->delivered += error == NULL;
    bench->failed += error != NULL;
    snprintf(bench->error, sizeof bench->error, "%s", error != NULL ? error->text : "");
}

static void bench_open(struct bench *bench)
{
    struct err error = {0};
    const struct alert_book_events events = {on_event, on_event, NULL};
    const struct alert_post_events post_events = {on_posted, bench};
    *bench =
        (struct bench){.settings = {.second_us = 1000000, .alert_url = "https://u:p@host/x", .alert_ca_file = "ca"}};
    bench->loop = loop_new(&fake_clock, &error);
    bench->client = http_client_new(bench->loop, &error);
    alert_book_init(&bench->book, true, 60000000, 600000000, &events);
    bench->post = alert_post_new(bench->loop, bench->client, &bench->book, &bench->settings, &post_events);
}

static void bench_close(struct bench *bench)
{
    alert_post_free(bench->post);
    alert_book_deinit(&bench->book);
    http_client_free(bench->client);
    loop_free(bench->loop);
}

// `count` tables are parked from here on.
static void raise_alerts(struct bench *bench, int count)
{
    char table[32];
    alert_book_begin(&bench->book, fake_now_us, fake_wall_us);
    for (int i = 0; i < count; i++) {
        snprintf(table, sizeof table, "t%d", i);
        const struct alert_condition condition = {.type = ALERT_TABLE_PARKED,
                                                  .level = ALERT_WARNING,
                                                  .pipeline = "p",
                                                  .table = table,
                                                  .message = "m",
                                                  .remedy = "r"};
        alert_book_see(&bench->book, &condition);
    }
    alert_book_end(&bench->book);
    alert_post_pump(bench->post);
}

static void test_alert_post_sends_what_the_contract_says(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    raise_alerts(&bench, 1);
    const struct fake_request *sent = fake_oldest(bench.client);
    assert_string_equal(sent->method, "POST");
    assert_string_equal(sent->url, "https://u:p@host/x");
    assert_non_null(strstr(sent->headers, "Content-Type: application/json\n"));
    assert_int_equal(sent->request->timeout_ms, 10000);
    assert_string_equal(sent->request->ca_file, "ca");
    assert_memory_equal(sent->body, "{\"type\":\"table_parked\"", 22);
    fake_answer(bench.client, 204, "");
    fake_settle(bench.loop);
    assert_int_equal(bench.delivered, 1);
    assert_null(fake_oldest(bench.client));
    fake_advance_ms(bench.loop, 100000);
    assert_null(fake_oldest(bench.client));
    bench_close(&bench);
}

static void test_alert_post_third_try_is_taken(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    raise_alerts(&bench, 1);
    char *first = strdup((const char *)fake_oldest(bench.client)->body);
    fake_answer(bench.client, 500, "");
    fake_advance_ms(bench.loop, 999);
    assert_null(fake_oldest(bench.client));
    fake_advance_ms(bench.loop, 1);
    assert_non_null(fake_oldest(bench.client));
    fake_fail(bench.client, ERR_TRANSIENT, "reset");
    fake_advance_ms(bench.loop, 1999);
    assert_null(fake_oldest(bench.client));
    fake_advance_ms(bench.loop, 1);
    assert_string_equal((const char *)fake_oldest(bench.client)->body, first);  // the same message each time
    fake_answer(bench.client, 200, "ok");
    fake_settle(bench.loop);
    assert_int_equal(bench.delivered, 1);
    assert_int_equal(bench.failed, 0);
    free(first);
    bench_close(&bench);
}

static void test_alert_post_is_given_up_four_seconds_after_the_third_and_tried_again_later(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    raise_alerts(&bench, 1);
    fake_answer(bench.client, 302, "");
    fake_advance_ms(bench.loop, 1000);
    bench.client->is_refusing = true;  // not even begun
    fake_answer(bench.client, 404, "");
    fake_advance_ms(bench.loop, 2000);
    assert_null(fake_oldest(bench.client));
    fake_advance_ms(bench.loop, 3999);
    assert_int_equal(bench.failed, 0);
    fake_advance_ms(bench.loop, 1);
    assert_int_equal(bench.failed, 1);
    assert_string_equal(bench.error, "refused by the test");
    bench.client->is_refusing = false;
    fake_advance_ms(bench.loop, 599999);
    alert_post_pump(bench.post);
    assert_null(fake_oldest(bench.client));
    fake_advance_ms(bench.loop, 1);
    alert_post_pump(bench.post);
    assert_non_null(fake_oldest(bench.client));
    fake_answer(bench.client, 200, "");
    fake_settle(bench.loop);
    assert_int_equal(bench.delivered, 1);
    bench_close(&bench);
}

static void test_alert_post_a_receiver_that_hangs_holds_up_four_and_no_more_are_begun(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    raise_alerts(&bench, 100);
    assert_int_equal(bench.client->count, 4);
    fake_advance_ms(bench.loop, 9000);
    raise_alerts(&bench, 100);
    assert_int_equal(bench.client->count, 4);
    assert_int_equal(bench.book.count, 100);
    // It comes back: everything goes out.
    for (int i = 0; i < 100; i++) {
        fake_answer(bench.client, 200, "");
        fake_settle(bench.loop);
    }
    assert_int_equal(bench.delivered, 100);
    assert_null(fake_oldest(bench.client));
    // It hangs when the monitor ends: nothing waits for it.
    raise_alerts(&bench, 0);
    assert_int_equal(bench.client->count, 4);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert_post_sends_what_the_contract_says),
        cmocka_unit_test(test_alert_post_third_try_is_taken),
        cmocka_unit_test(test_alert_post_is_given_up_four_seconds_after_the_third_and_tried_again_later),
        cmocka_unit_test(test_alert_post_a_receiver_that_hangs_holds_up_four_and_no_more_are_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
