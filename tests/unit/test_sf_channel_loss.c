// What goes wrong with a channel, and that no row is lost or doubled by it: every way out of an append, of an opening,
// and of a status, with the rule that decides it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_channel.h"
#include "sinks/snowflake/sf_channel.h"

// Runs one step per way in which an append's answer can be lost, each on a fresh channel.
static void fail_append(int way)
{
    static const uint32_t statuses[] = {500, 502, 503, 504, 408, 409, 404, 410};
    if (way < 8)
        answer(statuses[way], way == 2 ? "{\"code\":\"ReceiverSaturated\"}" : "<html>");
    else if (way == 8)
        fake_fail(one.snowflake.http, ERR_TRANSIENT, "connection reset");
    else if (way == 9)
        fake_fail(one.snowflake.http, ERR_CONFIG, "no such host");  // it was there before
    else if (way == 10)
        answer(200, "{}");  // no continuation token: no way on
    else
        answer(200, "not JSON");
    settle();
}
enum { WAYS = 12 };

static void reopen_is_due(int way)
{
    assert_state(SF_CHANNEL_REOPENING);
    advance_ms(300);
    if (way == 7) {  // 410: the pipe is elsewhere
        wanted("GET", "/hostname");
        fake_sign_in(&one.snowflake, "b", 80000);
    }
}

static void each_way(void **state, void (*step)(int way))
{
    for (int way = 0; way < WAYS; way++) {
        if (way > 0)
            set_up(state);
        step(way);
        if (way + 1 < WAYS)
            tear_down(state);
    }
}

// ---- an append whose answer is lost

static void lost_answer_of_a_taken_append(int way)
{
    open_channel();
    send_accepted("t01");
    advance_ms(200);
    add("t02");
    send("t03");
    add("t04");
    fail_append(way);
    reopen_is_due(way);
    struct fake_request *request = wanted("PUT", "/channels/ETL_C?");
    assert_string_equal((const char *)request->body, "{\"fail_on_uncommitted_rows\":true}");
    answer(409, "{\"code\":\"ERR_CHANNEL_HAS_UNCOMMITTED_DATA\",\"message\":\"wait\"}");
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
    advance_ms(5000);
    answer_open("t03");
    assert_append("t04", "t04", NULL);  // t02 and t03 were taken: not again
    assert_int_equal(one.committed, 1);
    assert_int_equal(one.rewound, 0);
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t04");
}

static void test_taken_append_is_not_sent_again(void **state)
{
    each_way(state, lost_answer_of_a_taken_append);
}

static void lost_answer_of_an_append_not_taken(int way)
{
    open_channel();
    add("t02");
    send("t03");
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(one.snowflake.http), "requestId"));
    size_t body_size = fake_oldest(one.snowflake.http)->body_size;
    add("t04");
    fail_append(way);
    reopen_is_due(way);
    answer_open(NULL);
    assert_append("t02", "t03", NULL);
    struct fake_request *request = fake_oldest(one.snowflake.http);
    assert_int_equal(request->body_size, body_size);
    assert_string_not_equal(parameter_of(request, "requestId"),
                            id);  // another request: it has another continuation token
    answer_append("n");
    assert_append("t04", "t04", "n");
    assert_int_equal(one.rewound, 0);
    assert_int_equal(sf_channel_stats(one.channel)->reopens, 1);
}

static void test_append_that_was_not_taken_is_sent_again(void **state)
{
    each_way(state, lost_answer_of_an_append_not_taken);
}

// Accepted rows that are gone after the opening: nothing of ours holds them, so they are read again.
static void accepted_rows_are_gone(int way)
{
    open_channel();
    send_accepted("t01");
    send_accepted("t02");
    advance_ms(200);
    send("t03");
    add("t04");
    fail_append(way);
    reopen_is_due(way);
    answer_open("t01");
    assert_int_equal(one.rewound, 1);
    assert_int_equal(one.error.kind, ERR_TRANSIENT);
    assert_non_null(strstr(one.error.text, "after offset token t01"));
    assert_int_equal(one.committed, 0);  // the news is the rewind
    wanted_nothing();
    assert_int_equal(one.budget.used_bytes, 0);
    // Until the old reading has stopped: every row counts as had, what comes all the same is not taken, and t02 is owed.
    assert_true(strcmp(sf_channel_high_token(one.channel)->text, "t99") > 0);
    add("t05");
    assert_int_equal(sf_channel_batch(one.channel)->size, 0);
    assert_true(sf_channel_has_uncommitted(one.channel));
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t02");
    sf_channel_pump(one.channel);
    wanted_nothing();
    sf_channel_rewound(one.channel);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t01");
    assert_false(sf_channel_has_uncommitted(one.channel));
    send("t02");
    assert_append("t02", "t02", NULL);
}

static void test_accepted_rows_that_are_gone_are_read_again(void **state)
{
    each_way(state, accepted_rows_are_gone);
}

static void test_append_committed_in_part_is_read_again(void **state)
{
    (void)state;
    open_channel();
    add("t01");
    send("t03");
    answer(500, "");
    advance_ms(300);
    answer_open("t02");
    assert_int_equal(one.rewound, 1);
    sf_channel_rewound(one.channel);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t02");
}

// Rows of the batch that somebody else has written meanwhile are not written twice.
static void test_token_beyond_what_was_sent(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    answer_status("t05");
    assert_state(SF_CHANNEL_REOPENING);
    add("t02");
    advance_ms(300);
    answer_open("t05");
    assert_int_equal(one.rewound, 1);
    sf_channel_rewound(one.channel);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t05");
    const struct sf_token had = {.text = "t05"}, next = {.text = "t06"};
    assert_false(sf_channel_may_add(one.channel, &had));
    assert_true(sf_channel_may_add(one.channel, &next));
}

static void test_throttled_append_is_repeated_unchanged(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    struct fake_request *request = wanted("POST", "/rows?");
    char id[64];
    char continuation[64];
    snprintf(id, sizeof id, "%s", parameter_of(request, "requestId"));
    snprintf(continuation, sizeof continuation, "%s", parameter_of(request, "continuationToken"));
    for (int i = 1; i <= 12; i++) {
        answer(429, "{\"code\":\"ReceiverSaturated\"}");
        assert_state(SF_CHANNEL_WAITING);
        wanted_nothing();
        advance_ms(31000);
        request = wanted("POST", "/rows?");
        assert_string_equal(parameter_of(request, "requestId"), id);
        assert_string_equal(parameter_of(request, "continuationToken"), continuation);
        assert_int_equal(atoi(parameter_of(request, "retryCount")), i);
        assert_int_equal(sf_channel_trouble(one.channel) != NULL, i >= 3);
    }
    assert_non_null(strstr(sf_channel_trouble(one.channel)->text, "HTTP 429 ReceiverSaturated"));
    answer_append("n");
    assert_null(sf_channel_trouble(one.channel));
    assert_int_equal(sf_channel_stats(one.channel)->reopens, 0);
    assert_int_equal(sf_channel_stats(one.channel)->retries, 12);
}

static void test_repeated_append_keeps_to_the_rate(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    uint64_t sent_us[64];
    int count = 0;
    for (int ms = 0; ms < 3000 && count < 64; ms++) {
        if (fake_oldest(one.snowflake.http) != NULL) {
            sent_us[count++] = fake_now_us;
            answer(429, "");
        }
        advance_ms(1);
    }
    for (int i = 0; i + 10 < count; i++)
        assert_true(sent_us[i + 10] - sent_us[i] > 1000000);
}

// ---- stale tokens

static const char stale[] = "{\"code\":\"STALE_CONTINUATION_TOKEN_SEQUENCER\",\"message\":\"Please reopen\"}";

static void test_stale_token_reopens_once(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    answer(400, stale);
    answer_open(NULL);  // at once
    assert_append("t01", "t01", NULL);
    answer_append("n");
    advance_ms(61000);
    answer_status("t01");
    send("t02");
    answer(400,
           "\"STALE_CONTINUATION_TOKEN_SEQUENCER\"");  // a bare string; a minute later it counts as the first again
    answer_open("t01");
    assert_append("t02", "t02", NULL);
    // Twice within a minute: somebody else is alive.
    answer(400, stale);
    assert_failed(ERR_FENCED, "another program writes to channel ETL_C");
    assert_int_equal(one.rewound, 0);
}

static void test_stale_in_other_forms(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    answer(200, "{\"status_code\":7,\"message\":\"STALE_CONTINUATION_TOKEN_SEQUENCER: reopen\"}");
    answer_open(NULL);
    assert_append("t01", "t01", NULL);
    answer_append("n");
    advance_ms(250);
    answer_status_as("ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER", NULL, 77, 0);
    assert_failed(ERR_FENCED, "another program");
}

// The other writer's rows end up committed or not; ours that were accepted before are gone when its opening discarded them.
static void test_stale_token_with_accepted_rows_lost(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    send("t02");
    answer(400, stale);
    answer_open(NULL);
    assert_int_equal(one.rewound, 1);
}

// ---- refusals

static void test_refused_append_is_believed_after_reopening(void **state)
{
    (void)state;
    open_channel();
    add("t01");
    send("t02");
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            answer(200, "{\"status_code\":12,\"message\":\"bad body\"}");
        else
            answer(400, "{\"error_code\":\"ERR_X\",\"message\":\"bad body\"}");
        if (i < 2) {
            advance_ms(1000);
            answer_open(NULL);
            assert_append("t01", "t02", NULL);
        }
    }
    assert_failed(ERR_DATA, "from offset token t01 to t02");
    assert_non_null(strstr(one.error.text, "bad body"));
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
}

static void test_append_that_is_too_large(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    answer(413, "{\"code\":\"ERR_PAYLOAD_TOO_LARGE\"}");
    assert_failed(ERR_DATA, "t01");
}

static const char no_grant[] = "{\"code\":\"390189\",\"message\":\"not authorized\"}";

// A proxy, a network policy, a user who is locked: nothing is lost by it, and it passes.
static void test_append_that_may_not_be_for_a_while(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    add("t02");
    answer(403, no_grant);
    wanted("POST", "/oauth/token");
    answer(200, fake_token("b", 80000));
    for (int i = 0; i < 30; i++) {
        assert_state(SF_CHANNEL_REOPENING);
        advance_ms(31000);
        wanted("PUT", "/channels/ETL_C?");
        if (i % 3 == 2)
            answer_open(NULL);  // and again at the append
        answer(403, no_grant);
        wanted_nothing();
    }
    assert_non_null(strstr(sf_channel_trouble(one.channel)->text, "needs OWNERSHIP"));
    advance_ms(31000);
    answer_open(NULL);
    assert_append("t01", "t01", NULL);
    answer_append("n");
    assert_append("t02", "t02", "n");
    assert_null(sf_channel_trouble(one.channel));
    assert_int_equal(one.failed + one.rewound, 0);
}

// It lasts, and others' appends are taken: the table must not hold them up.
static void test_table_that_may_not_be_written_to(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    uint64_t began_us = fake_now_us;
    answer(403, no_grant);
    answer(200, fake_token("b", 80000));
    one.accepted_us = fake_now_us + 1;
    while (one.failed == 0) {
        assert_true(fake_now_us - began_us < 180000000);
        advance_ms(1000);
        if (fake_oldest(one.snowflake.http) != NULL)
            answer(403, no_grant);
    }
    assert_true(fake_now_us - began_us >= 120000000);
    assert_failed(ERR_CONFIG, "needs OWNERSHIP");
}

// Gone for a moment, or gone: after some openings it is said.
static void test_missing_table_is_believed_in_the_end(void **state)
{
    (void)state;
    open_channel();
    send("t01");
    answer(404, "{\"code\":\"ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED\",\"message\":\"no table\"}");
    for (int i = 0; i < 6; i++) {
        assert_state(SF_CHANNEL_REOPENING);
        advance_ms(31000);
        wanted("PUT", "/channels/ETL_C?");
        answer(404, "{\"code\":\"ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED\",\"message\":\"no table\"}");
    }
    assert_failed(ERR_CONFIG, "no table");
}

// ---- opening again

static void test_uncommitted_rows_are_waited_for_two_minutes_then_forced(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    send("t02");
    answer(500, "");
    uint64_t begin_us = fake_now_us;
    int tries = 0;
    for (;;) {
        advance_ms(1000);
        struct fake_request *request = fake_oldest(one.snowflake.http);
        if (request == NULL)
            continue;
        bool is_forced = strstr((const char *)request->body, "\"fail_on_uncommitted_rows\":false") != NULL;
        if (is_forced)
            break;
        tries++;
        answer(409, tries % 2 == 0 ? "{\"code\":\"ERR_CHANNEL_HAS_UNCOMMITTED_DATA\"}" : "<html>");
    }
    assert_true(tries > 4);
    assert_in_range(fake_now_us - begin_us, 120000000, 180000000);
    // What was uncommitted is thrown away by it: not silently.
    answer_open(NULL);
    assert_int_equal(one.rewound, 1);
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
}

static void test_first_opening_waits_for_a_predecessor_s_rows(void **state)
{
    (void)state;
    const struct sf_channel_record kept = {.is_known = true, .committed.text = "t01", .created_on_ms = 77};
    new_channel(&kept, "t01");
    fake_sign_in(&one.snowflake, "a", 80000);
    answer(409, "{\"code\":\"ERR_CHANNEL_HAS_UNCOMMITTED_DATA\"}");
    advance_ms(5000);
    answer(409, "{\"code\":\"ERR_OPEN_CHANNEL_IN_PROGRESS\"}");
    advance_ms(5000);
    answer(503, "");
    advance_ms(5000);
    fake_fail(one.snowflake.http, ERR_TRANSIENT, "reset");
    advance_ms(31000);
    answer(200, "{\"next_continuation_token\":\"n\"}");  // without a status
    advance_ms(31000);
    answer_open("t04");
    assert_int_equal(one.opened, 1);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t04");
}

static void test_opening_that_may_not_be(void **state)
{
    (void)state;
    static const struct {
        uint32_t status;
        const char *body, *part;
    } cases[] = {{403, "{\"message\":\"no grant\"}", "no grant"},
                 {400, "{\"code\":\"ERR_X\",\"message\":\"what\"}", "what"}};
    for (size_t i = 0; i < 2; i++) {
        if (i > 0)
            set_up(state);
        new_channel(NULL, "");
        fake_sign_in(&one.snowflake, "a", 80000);
        answer(cases[i].status, cases[i].body);
        assert_failed(ERR_CONFIG, cases[i].part);
        if (i == 0)
            tear_down(state);
    }
}

// Its rows stand on it: it is waited for, but not without end, as all others wait at a start.
static void test_known_channel_that_may_not_be_opened(void **state)
{
    (void)state;
    const struct sf_channel_record kept = {.is_known = true, .committed.text = "t01", .created_on_ms = 77};
    for (int round = 0; round < 2; round++) {
        if (round > 0) {
            tear_down(state);
            set_up(state);
        }
        new_channel(&kept, "t01");
        fake_sign_in(&one.snowflake, "a", 80000);
        uint64_t began_us = fake_now_us;
        answer(403, no_grant);
        answer(200, fake_token("b", 80000));
        while (one.failed == 0 && (round > 0 || fake_now_us - began_us < 90000000)) {
            advance_ms(1000);
            if (fake_oldest(one.snowflake.http) != NULL)
                answer(403, no_grant);
        }
        if (round > 0) {
            assert_in_range(fake_now_us - began_us, 120000000, 180000000);
            assert_failed(ERR_CONFIG, "not authorized");
            break;
        }
        advance_ms(31000);
        answer_open("t04");
        assert_int_equal(one.opened, 1);
    }
}

static void test_reopened_channel_that_is_another(void **state)
{
    (void)state;
    struct {
        const char *committed;
        int64_t created_on_ms;
        uint64_t errors;
        enum err_kind kind;
    } cases[] = {{"t01", 78, 0, ERR_LOST}, {NULL, 77, 0, ERR_LOST}, {"t00", 77, 0, ERR_LOST}, {"t02", 77, 1, ERR_DATA}};
    for (size_t i = 0; i < 4; i++) {
        if (i > 0)
            set_up(state);
        open_channel();
        send_accepted("t01");
        advance_ms(250);
        answer_status("t01");
        send("t02");
        answer(500, "");
        advance_ms(300);
        answer_open_as("SUCCESS", cases[i].committed, cases[i].created_on_ms, cases[i].errors);
        assert_failed(cases[i].kind, "ETL_C");
        assert_int_equal(one.rewound, 0);
        assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t02");
        if (i < 3)
            tear_down(state);
    }
}

// ---- statuses

static void test_unhealthy_status_reopens(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    answer_status_as("ERR_CHANNEL_MUST_BE_REOPENED", NULL, 77, 0);
    assert_state(SF_CHANNEL_REOPENING);
    advance_ms(300);
    answer_open(NULL);
    assert_int_equal(one.rewound, 1);  // a healthy channel again, but its rows are gone
    sf_channel_rewound(one.channel);
    send_accepted("t01");
    advance_ms(2000);
    answer_status("t01");
    assert_int_equal(one.committed, 1);
}

static void test_channel_that_stays_unhealthy_is_said(void **state)
{
    (void)state;
    open_channel();
    for (int i = 0; i < 6; i++) {
        advance_ms(1000);
        char token[16];
        snprintf(token, sizeof token, "t%02d", i);
        send_accepted(token);
        advance_ms(1000);
        answer_status_as("ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", NULL, 77, 0);
        if (i == 5)
            break;
        advance_ms(300);
        answer_open(NULL);
        sf_channel_rewound(one.channel);
    }
    assert_failed(ERR_CONFIG, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED");
}

// An append is in flight: the opening waits for its answer, and what statuses tell until then is no news.
static void test_unhealthy_statuses_before_the_opening_count_once(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    send("t02");
    json_t *status = json_loads(status_text("ERR_CHANNEL_MUST_BE_REOPENED", NULL, 77, 0), 0, NULL);
    for (int i = 0; i < 12; i++) {
        sf_channel_status_asked(one.channel);
        sf_channel_apply_status(one.channel, status);
        assert_state(SF_CHANNEL_SENDING);
    }
    json_decref(status);
    answer_append("n");
    assert_state(SF_CHANNEL_REOPENING);
    advance_ms(300);
    answer_open("t02");
    assert_int_equal(one.committed, 1);
}

static void test_refused_rows_are_seen(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    answer_status("t01");
    send_accepted("t02");
    advance_ms(250);
    answer_status_as("SUCCESS", "t02", 77, 4);
    assert_failed(ERR_DATA, "refused 4 row(s) of channel ETL_C, between offset tokens (t01, t07]: bad date");
    struct sf_channel_record record;
    sf_channel_record_get(one.channel, &record);  // token and count stay those of one answer
    assert_string_equal(record.committed.text, "t01");
    assert_int_equal(record.error_count, 0);
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t02");
}

static void test_doubtful_statuses_are_decided_by_an_opening(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            set_up(state);
        open_channel();
        send_accepted("t02");
        advance_ms(250);
        answer_status("t02");
        send_accepted("t03");
        advance_ms(250);
        if (i == 0)
            answer_status("t01");
        else if (i == 1)
            answer_status_as("SUCCESS", "t02", 99, 0);
        else if (i == 2)
            answer_status(NULL);
        else
            answer(200, "{\"channel_statuses\":{}}");
        assert_state(SF_CHANNEL_REOPENING);
        advance_ms(300);
        if (i % 2 == 0) {
            answer_open("t01");
            assert_failed(ERR_LOST, "t01");
        } else {
            answer_open("t03");  // an old answer it was
            assert_state(SF_CHANNEL_READY);
            assert_int_equal(one.committed, 2);
            assert_false(sf_channel_has_uncommitted(one.channel));
        }
        if (i < 3)
            tear_down(state);
    }
}

// Asked before the channel was opened again, answered after it: says nothing.
static void test_status_from_before_an_opening_is_passed_over(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    wanted("POST", ":bulk-channel-status?");
    send("t02");
    struct http_request *append =
        one.snowflake.http->pending[(one.snowflake.http->first + 1) % FAKE_PENDING_MAX].request;
    assert_non_null(append);
    struct fake_request *status = fake_oldest(one.snowflake.http);
    // The append's answer overtakes the status.
    struct fake_request kept = *status;
    *status = one.snowflake.http->pending[(one.snowflake.http->first + 1) % FAKE_PENDING_MAX];
    one.snowflake.http->pending[(one.snowflake.http->first + 1) % FAKE_PENDING_MAX] = kept;
    answer(400, stale);
    kept = *fake_oldest(one.snowflake.http);
    one.snowflake.http->pending[one.snowflake.http->first % FAKE_PENDING_MAX] =
        one.snowflake.http->pending[(one.snowflake.http->first + 1) % FAKE_PENDING_MAX];
    one.snowflake.http->pending[(one.snowflake.http->first + 1) % FAKE_PENDING_MAX] = kept;
    answer_open("t01");
    wanted("POST", ":bulk-channel-status?");
    answer_status_as("ERR_CHANNEL_MUST_BE_REOPENED", NULL, 55, 9);
    assert_state(SF_CHANNEL_SENDING);
    assert_append("t02", "t02", NULL);
}

static void expect_channel_finds_out(unsigned status, const char *body)
{
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    for (int i = 0; i < 3; i++) {
        wanted("POST", ":bulk-channel-status?");
        answer(status, body);
        advance_ms(i < 2 ? 31000 : 300);
    }
    answer_open("t01");
    assert_int_equal(one.committed, 1);
}

static void test_status_that_is_refused_lets_the_channel_find_out(void **state)
{
    (void)state;
    expect_channel_finds_out(404, "{\"code\":\"ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED\"}");
}

// A proxy that answers in Snowflake's place.
static void test_status_without_statuses_lets_the_channel_find_out(void **state)
{
    (void)state;
    expect_channel_finds_out(200, "<html>");
}

// Nothing is committed for a minute: asked by an opening that fails while rows are uncommitted, and so changes nothing then.
static void test_stalled_commit_is_probed_without_loss(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    for (int i = 0; i < 61; i++) {
        advance_ms(1000);
        if (strstr(fake_oldest(one.snowflake.http)->url, "status") == NULL)
            break;
        answer_status(NULL);
    }
    wanted("PUT", "/channels/ETL_C?");
    answer(409, "{\"code\":\"ERR_CHANNEL_HAS_UNCOMMITTED_DATA\"}");
    assert_state(SF_CHANNEL_READY);
    send("t02");
    assert_append("t02", "t02", "t01");  // the continuation token is still good
    answer_append("n");
    int probes = 0;
    for (int i = 0; i < 200 && one.rewound == 0; i++) {
        advance_ms(1000);
        struct fake_request *request = fake_oldest(one.snowflake.http);
        if (request == NULL)
            continue;
        if (strcmp(request->method, "PUT") != 0)
            answer_status(NULL);
        else if (++probes == 2)
            answer_open(NULL);  // it holds nothing: the rows were thrown away while every append was answered with 200
        else
            answer(409, "{\"code\":\"ERR_CHANNEL_HAS_UNCOMMITTED_DATA\"}");
    }
    assert_int_equal(one.rewound, 1);
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
}

static void test_free_in_every_state(void **state)
{
    for (int i = 0; i < 7; i++) {
        if (i > 0)
            set_up(state);
        if (i == 0)
            new_channel(NULL, "t01");
        else
            open_channel();
        if (i >= 2 && i != 5)
            send("t01");
        if (i == 3)
            answer(429, "");
        else if (i == 4)
            answer(503, "");
        else if (i == 5)
            sf_channel_drop(one.channel);
        else if (i == 6)
            fake_answer(one.snowflake.http, 413, "");  // freed before the failure is told
        if (i < 6)
            tear_down(state);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_taken_append_is_not_sent_again),
        CASE(test_append_that_was_not_taken_is_sent_again),
        CASE(test_accepted_rows_that_are_gone_are_read_again),
        CASE(test_append_committed_in_part_is_read_again),
        CASE(test_token_beyond_what_was_sent),
        CASE(test_throttled_append_is_repeated_unchanged),
        CASE(test_repeated_append_keeps_to_the_rate),
        CASE(test_stale_token_reopens_once),
        CASE(test_stale_in_other_forms),
        CASE(test_stale_token_with_accepted_rows_lost),
        CASE(test_refused_append_is_believed_after_reopening),
        CASE(test_append_that_is_too_large),
        CASE(test_append_that_may_not_be_for_a_while),
        CASE(test_table_that_may_not_be_written_to),
        CASE(test_missing_table_is_believed_in_the_end),
        CASE(test_uncommitted_rows_are_waited_for_two_minutes_then_forced),
        CASE(test_first_opening_waits_for_a_predecessor_s_rows),
        CASE(test_opening_that_may_not_be),
        CASE(test_known_channel_that_may_not_be_opened),
        CASE(test_reopened_channel_that_is_another),
        CASE(test_unhealthy_status_reopens),
        CASE(test_channel_that_stays_unhealthy_is_said),
        CASE(test_unhealthy_statuses_before_the_opening_count_once),
        CASE(test_refused_rows_are_seen),
        CASE(test_doubtful_statuses_are_decided_by_an_opening),
        CASE(test_status_from_before_an_opening_is_passed_over),
        CASE(test_status_that_is_refused_lets_the_channel_find_out),
        CASE(test_status_without_statuses_lets_the_channel_find_out),
        CASE(test_stalled_commit_is_probed_without_loss),
        CASE(test_free_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
