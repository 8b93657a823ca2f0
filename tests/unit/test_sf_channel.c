// The way of rows through a channel: opening, appends as they go over the wire, commits, limits, dropping.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_channel.h"
#include "sinks/snowflake/sf_channel.h"

// ---- opening

static void test_new_channel_is_opened_with_the_floor(void **state)
{
    (void)state;
    new_channel(NULL, "t05");
    wanted("GET", "/hostname");
    fake_sign_in(&one.snowflake, "a", 1000);
    struct fake_request *request =
        wanted("POST", "https://ingest-1.example.com/v2/streaming/databases/%22DB%22/schemas/"
                       "%22RAW%22/pipes/%22LANDING_T-STREAMING%22:bulk-channel-status?requestId=");
    assert_string_equal((const char *)request->body, "{\"channel_names\":[\"ETL_C\"]}");
    assert_non_null(strstr(request->headers, "X-Snowflake-Authorization-Token-Type: OAUTH\n"));
    answer(404, "{\"code\":\"ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED\"}");  // made at the first opening
    request = wanted("PUT", "https://ingest-1.example.com/v2/streaming/databases/%22DB%22/schemas/%22RAW%22/pipes/"
                            "%22LANDING_T-STREAMING%22/channels/ETL_C?requestId=");
    assert_string_equal((const char *)request->body, "{\"fail_on_uncommitted_rows\":true,\"offset_token\":\"t05\"}");
    answer_open("t05");
    assert_int_equal(one.opened, 1);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t05");
    assert_string_equal(sf_channel_committed_token(one.channel)->text, "t05");
    assert_false(sf_channel_has_uncommitted(one.channel));
    struct sf_channel_record record;
    sf_channel_record_get(one.channel, &record);
    assert_true(record.is_known);
    assert_string_equal(record.committed.text, "t05");
    assert_int_equal(record.created_on_ms, 77);
    wanted_nothing();
}

// Its record was never kept (a crash); what it has committed counts, and no token of ours is forced on it.
static void test_unknown_channel_that_exists_keeps_its_token(void **state)
{
    (void)state;
    new_channel(NULL, "t05");
    fake_sign_in(&one.snowflake, "a", 1000);
    char body[1024];
    snprintf(body, sizeof body, "{\"channel_statuses\":{\"ETL_C\":%s}}", status_text("SUCCESS", "t09", 77, 0));
    answer(200, body);
    assert_string_equal((const char *)wanted("PUT", "/channels/ETL_C?")->body, "{\"fail_on_uncommitted_rows\":true}");
    answer_open("t09");
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t09");
}

static void test_offset_token_that_is_not_taken_is_left_out(void **state)
{
    (void)state;
    new_channel(NULL, "t05");
    fake_sign_in(&one.snowflake, "a", 1000);
    answer(200, "{\"channel_statuses\":{}}");
    answer(400, "{\"code\":\"ERR_OFFSET_TOKEN_OF_EXISTING_CHANNEL\"}");
    advance_ms(1000);
    assert_string_equal((const char *)wanted("PUT", "/channels/ETL_C?")->body, "{\"fail_on_uncommitted_rows\":true}");
    answer_open(NULL);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t05");  // rows at or below it are had all the same
    struct sf_channel_record record;
    sf_channel_record_get(one.channel, &record);
    assert_string_equal(record.committed.text, "");  // as Snowflake told it
}

static void test_known_channel_is_opened_at_once(void **state)
{
    (void)state;
    const struct sf_channel_record kept = {
        .is_known = true, .committed.text = "t03", .created_on_ms = 77, .error_count = 2};
    new_channel(&kept, "t05");
    fake_sign_in(&one.snowflake, "a", 1000);
    answer_open_as("ACTIVE", "t08", 77, 2);
    assert_int_equal(one.opened, 1);
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t08");
}

static void test_channel_that_is_not_what_it_was_fails(void **state)
{
    (void)state;
    const struct sf_channel_record kept = {
        .is_known = true, .committed.text = "t03", .created_on_ms = 77, .error_count = 2};
    struct {
        const char *committed;
        int64_t created_on_ms;
        uint64_t errors;
        enum err_kind kind;
        const char *part;
    } cases[] = {
        {NULL, 77, 2, ERR_LOST, "had committed offset token t03 and now has none"},
        {"t02", 77, 2, ERR_LOST, "t02"},
        {"t03", 78, 2, ERR_LOST, "another one"},
        // Grown since it was kept, not since it is open: refused while nobody looked.
        {"t09", 77, 5, ERR_DATA, "refused 3 row(s) of channel ETL_C, between offset tokens (t03, t07]: bad date"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (i > 0)
            set_up(state);
        new_channel(&kept, "");
        fake_sign_in(&one.snowflake, "a", 1000);
        answer_open_as("SUCCESS", cases[i].committed, cases[i].created_on_ms, cases[i].errors);
        assert_failed(cases[i].kind, cases[i].part);
        assert_int_equal(one.opened, 0);
        struct sf_channel_record record;
        sf_channel_record_get(one.channel, &record);  // as it was kept: it fails again until somebody mends it
        assert_string_equal(record.committed.text, "t03");
        assert_int_equal(record.error_count, 2);
        if (i + 1 < sizeof cases / sizeof cases[0])
            tear_down(state);
    }
}

// ---- appends and commits

static void test_append_over_the_wire(void **state)
{
    (void)state;
    open_channel();
    add("t01");
    add("t02");
    assert_string_equal(sf_channel_high_token(one.channel)->text, "t02");
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
    size_t raw_bytes = one.budget.used_bytes;
    sf_channel_pump(one.channel);
    // In this very turn: nothing had to be waited for.
    struct fake_request *request = wanted(
        "POST",
        "https://ingest-1.example.com/v2/streaming/data/databases/%22DB%22/schemas/%22RAW%22/pipes/"
        "%22LANDING_T-STREAMING%22/channels/ETL_C/rows?startOffsetToken=t01&endOffsetToken=t02&continuationToken=o");
    assert_int_equal(strlen(parameter_of(request, "requestId")), 36);
    assert_string_equal(parameter_of(request, "retryCount"), "0");
    assert_non_null(strstr(request->headers, "Content-Type: application/x-ndjson\n"));
    assert_non_null(strstr(request->headers, "Content-Encoding: zstd\n"));
    assert_non_null(strstr(request->headers, "X-Snowflake-Authorization-Token-Type: OAUTH\n"));
    assert_non_null(strstr(request->headers, "Accept: application/json\n"));
    char header[128];
    snprintf(header, sizeof header, "x-snowflake-uncompressed-content-length: %zu\n", raw_bytes);
    assert_non_null(strstr(request->headers, header));
    snprintf(header, sizeof header, "x-snowflake-min-append-timestamp-ms: %lld\n", (long long)(fake_wall_us / 1000));
    assert_non_null(strstr(request->headers, header));
    char text[256];
    size_t size = ZSTD_decompress(text, sizeof text, request->body, request->body_size);
    assert_int_equal(size, raw_bytes);
    assert_memory_equal(text, "{\"A\":\"t01\"}\n{\"A\":\"t02\"}\n", size);
    assert_int_equal(one.budget.used_bytes, request->body_size);

    // The next rows wait: appends on a channel are serial.
    add("t03");
    sf_channel_pump(one.channel);
    answer_append("n1");
    assert_append("t03", "t03", "n1");
    answer_append("n2");
    assert_int_equal(one.budget.used_bytes, 0);
    assert_true(one.room > 0);
    assert_true(sf_channel_has_uncommitted(one.channel));
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");

    wanted_nothing();
    advance_ms(250);
    answer_status("t02");
    assert_int_equal(one.committed, 1);
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t03");
    wanted_nothing();
    advance_ms(1000);
    answer_status("t02");
    assert_int_equal(one.committed, 1);  // it has not moved
    advance_ms(1000);
    answer_status("t03");
    assert_int_equal(one.committed, 2);
    assert_false(sf_channel_has_uncommitted(one.channel));
    advance_ms(10000);
    wanted_nothing();  // nobody waits, nothing is asked
    const struct sf_channel_stats *stats = sf_channel_stats(one.channel);
    assert_int_equal(stats->rows, 3);
    assert_int_equal(stats->appends, 2);
    assert_int_equal(stats->retries, 0);
    assert_int_equal(stats->reopens, 0);
    assert_int_equal(stats->last_commit_latency_us, 2250000);
}

// The commit is told before the append's own answer comes.
static void test_status_overtakes_the_answer_of_an_append(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    send("t02");
    answer_status("t02");
    assert_int_equal(one.committed, 1);
    assert_true(sf_channel_has_uncommitted(one.channel));
    answer_append("n2");
    assert_int_equal(one.committed, 2);
    assert_false(sf_channel_has_uncommitted(one.channel));
    advance_ms(10000);
    wanted_nothing();
    send("t03");
    answer_append("n3");
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t03");
}

static void test_rows_of_a_full_batch_go_in_the_middle_of_a_turn(void **state)
{
    (void)state;
    open_channel();
    for (int i = 1; i < 1000; i++) {
        char token[16];
        snprintf(token, sizeof token, "t%04d", i);
        add(token);
    }
    wanted_nothing();
    add("t1000");
    assert_append("t0001", "t1000", NULL);
}

// No second sees more than ten appends, and they are spread over it but for the first two.
static void test_requests_a_second(void **state)
{
    (void)state;
    open_channel();
    uint64_t sent_us[64];
    int count = 0;
    uint64_t begin_us = fake_now_us;
    for (int i = 0; i < 4000; i++) {
        char token[16];
        snprintf(token, sizeof token, "t%05d", i);
        add(token);
        sf_channel_pump(one.channel);
        struct fake_request *request = fake_oldest(one.snowflake.http);
        if (request != NULL && strstr(request->url, "/rows?") != NULL) {
            sent_us[count++] = fake_now_us;
            answer_append("n");
        } else if (request != NULL) {
            answer_status(NULL);
        }
        advance_ms(1);
    }
    assert_in_range(count, 30, 36);
    assert_int_equal(sent_us[0], begin_us);
    assert_in_range(sent_us[1] - begin_us, 0, 2000);
    for (int i = 0; i < count; i++)
        for (int k = i + 10; k < count; k++)
            assert_true(sent_us[k] - sent_us[i] > 1000000);
    for (int i = 2; i < count; i++)
        assert_in_range(sent_us[i] - sent_us[i - 1], 120000, 140000);
}

static void test_idle_channel_sends_the_first_row_at_once_again(void **state)
{
    (void)state;
    open_channel();
    for (int i = 0; i < 3; i++) {
        char token[16];
        snprintf(token, sizeof token, "t%02d", i);
        send_accepted(token);
        advance_ms(250);
        answer_status(token);
        advance_ms(5000);
    }
}

static char *random_text(size_t size, uint64_t seed)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    char *text = malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        text[i] = alphabet[seed >> 58];
    }
    text[size - 1] = '\n';
    text[size] = '\0';
    return text;
}

// A batch larger than the wire takes goes out in parts, each below 4 MiB and 20 MB a second, in order and whole.
static void test_large_batch_goes_in_parts(void **state)
{
    (void)state;
    enum { LINES = 2600, LINE_BYTES = 10000 };
    open_channel();
    send("t00000");  // in flight, so that all the rest gathers
    for (int i = 1; i <= LINES; i++) {
        char token[16];
        char *text = random_text(LINE_BYTES, (uint64_t)i);
        snprintf(token, sizeof token, "t%05d", i);
        memcpy(text, token, 6);
        add_line(token, text, LINE_BYTES);
        free(text);
    }
    answer_append("n0");
    char *raw = malloc((size_t)LINES * LINE_BYTES);
    size_t total = 0;
    char last[64] = "t00000";
    uint64_t window_us[64];
    size_t window_bytes[64];
    int count = 0;
    while (sf_channel_batch(one.channel)->size > 0 || sf_channel_state(one.channel) == SF_CHANNEL_SENDING) {
        struct fake_request *request = fake_oldest(one.snowflake.http);
        if (request == NULL) {
            advance_ms(10);
        } else if (strstr(request->url, "/rows?") == NULL) {
            answer_status(NULL);
        } else {
            assert_true(request->body_size <= SF_APPEND_WIRE_BYTES_MAX);
            assert_true(strcmp(parameter_of(request, "startOffsetToken"), last) > 0);
            snprintf(last, sizeof last, "%s", parameter_of(request, "endOffsetToken"));
            size_t size =
                ZSTD_decompress(raw + total, (size_t)LINES * LINE_BYTES - total, request->body, request->body_size);
            assert_false(ZSTD_isError(size));
            total += size;
            window_us[count] = fake_now_us;
            window_bytes[count++] = size;
            answer_append("n");
        }
    }
    assert_int_equal(total, (size_t)LINES * LINE_BYTES);
    for (int i = 1; i <= LINES; i++) {
        char token[16];
        snprintf(token, sizeof token, "t%05d", i);
        assert_memory_equal(raw + (size_t)(i - 1) * LINE_BYTES, token, 6);
    }
    free(raw);
    assert_true(count > 4);
    for (int i = 0; i < count; i++) {
        size_t bytes = 0;
        for (int k = i; k < count && window_us[k] - window_us[i] <= 1000000; k++)
            bytes += window_bytes[k];
        assert_true(bytes <= SF_RAW_BYTES_PER_SECOND_MAX);
    }
    advance_ms(1000);
    answer_status("t02600");
    assert_true(sf_channel_batch(one.channel)->capacity <= 1 << 20);  // an idle channel gives its memory back
}

static void test_row_that_fits_no_append_is_named(void **state)
{
    (void)state;
    open_channel();
    size_t size = (size_t)6 << 20;
    char *text = random_text(size, 7);
    add("t01");
    add_line("t02", text, size);
    free(text);
    assert_append("t01", "t01", NULL);  // a large line has an append of its own; what is before it goes
    add("t03");
    answer_append("n");
    assert_failed(ERR_DATA, "offset token t02 has 6291456 bytes");
    // t01 is accepted and not known to be committed, the others are gone: all of them are owed.
    assert_true(sf_channel_has_uncommitted(one.channel));
    assert_string_equal(sf_channel_oldest_uncommitted(one.channel)->text, "t01");
    add("t04");  // the owner hears of the failure later; nothing is kept meanwhile
    assert_int_equal(sf_channel_batch(one.channel)->size, 0);
    assert_int_equal(one.budget.used_bytes, 0);
}

static void test_token_is_waited_for_and_renewed(void **state)
{
    (void)state;
    new_channel(NULL, "");
    fake_sign_in(&one.snowflake, "a", 100);
    answer_open(NULL);
    send("t01");
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(one.snowflake.http), "requestId"));
    answer(401, "{\"code\":\"390318\",\"message\":\"OAuth access token expired.\"}");
    wanted("POST", "/oauth/token");
    answer(200, fake_token("b", 100));
    struct fake_request *request = wanted("POST", "/rows?");  // the same append: it was not taken
    assert_string_equal(parameter_of(request, "requestId"), id);
    assert_string_equal(parameter_of(request, "retryCount"), "1");
    // A fresh one is refused as well, as long as it is: nothing is given up.
    for (int i = 0; i < 12; i++) {
        answer(401, "{\"code\":\"390303\",\"message\":\"Invalid OAuth access token.\"}");
        assert_state(SF_CHANNEL_REOPENING);
        wanted_nothing();
        advance_ms(61000);
        assert_non_null(strstr(sf_channel_trouble(one.channel)->text, "Invalid OAuth access token."));
        wanted("POST", "/oauth/token");
        answer(200, fake_token("c", 80000));
        wanted("PUT", "/channels/ETL_C?");
    }
    assert_int_equal(one.failed, 0);
    answer_open(NULL);
    assert_append("t01", "t01", NULL);
    answer_append("n");
    assert_null(sf_channel_trouble(one.channel));
    assert_int_equal(one.rewound, 0);
}

// Of a login that never was good there is nothing to wait for.
static void test_token_that_was_never_taken(void **state)
{
    (void)state;
    new_channel(NULL, "");
    fake_sign_in(&one.snowflake, "a", 100);
    answer(401, "{\"code\":\"390303\",\"message\":\"Invalid OAuth access token.\"}");
    answer(200, fake_token("b", 100));
    answer(401, "{\"code\":\"390303\",\"message\":\"Invalid OAuth access token.\"}");
    assert_failed(ERR_CONFIG, "Invalid OAuth access token.");
}

// ---- dropping

static void test_drop_inside_a_commit(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    one.is_drop_at_commit = true;
    answer_status("t01");
    struct fake_request *request = wanted("DELETE", "/v2/streaming/databases/%22DB%22/schemas/%22RAW%22/pipes/"
                                                    "%22LANDING_T-STREAMING%22/channels/ETL_C?requestId=");
    assert_int_equal(request->body_size, 0);
    answer(503, "");
    assert_int_equal(one.dropped, 0);
    advance_ms(31000);
    wanted("DELETE", "/channels/ETL_C?");
    answer(200, "");
    assert_int_equal(one.dropped, 1);
    assert_false(err_is_set(&one.error));
    assert_state(SF_CHANNEL_CLOSED);
}

static void test_drop_of_what_is_gone_or_refused(void **state)
{
    (void)state;
    open_channel();
    sf_channel_drop(one.channel);
    settle();
    answer(404, "{\"code\":\"ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED\"}");
    assert_int_equal(one.dropped, 1);
    assert_false(err_is_set(&one.error));
    sf_channel_open(one.channel);
    answer_open(NULL);
    sf_channel_drop(one.channel);
    settle();
    answer(403, "{\"message\":\"no\"}");
    assert_int_equal(one.dropped, 2);
    assert_true(err_is_set(&one.error));
    sf_channel_open(one.channel);
    answer_open(NULL);
    sf_channel_drop(one.channel);
    settle();
    answer(401, "");
    answer(200, fake_token("b", 80000));
    answer(401, "");
    assert_int_equal(one.dropped, 3);
    assert_true(err_is_set(&one.error));
    assert_int_equal(one.failed, 0);  // it is left over, and that is all
}

// ---- many channels on one pipe

static struct sf_channel *many[250];

static void open_many(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "ETL_%03u", i);
        const struct sf_channel_options options = {
            .database = "DB", .schema = "RAW", .pipe = "LANDING_T-STREAMING", .channel = name};
        many[i] = sf_channel_new(&one.shared, &options, &events);
        sf_pipe_add(one.pipe, many[i]);
        sf_channel_open(many[i]);
        if (i == 0)
            fake_sign_in(&one.snowflake, "a", 80000);
        answer(200, "{\"next_continuation_token\":\"o\",\"channel_status\":{\"channel_status_code\":0,"
                    "\"last_committed_offset_token\":null}}");
        struct sf_token token = {.text = "t1"};
        buf_append_text(sf_channel_batch(many[i]), "{}\n");
        sf_channel_row_added(many[i], &token, 3);
        sf_channel_pump(many[i]);
        answer(200, "{\"next_continuation_token\":\"n\"}");
    }
}

static size_t names_asked(void)
{
    struct fake_request *request = wanted("POST", ":bulk-channel-status?");
    json_t *body = json_loads((const char *)request->body, 0, NULL);
    size_t count = json_array_size(json_object_get(body, "channel_names"));
    json_decref(body);
    return count;
}

static void answer_all(uint32_t from, uint32_t to)
{
    json_t *statuses = json_object();
    for (uint32_t i = from; i < to; i++) {
        char name[16];
        snprintf(name, sizeof name, "ETL_%03u", i);
        json_object_set_new(statuses, name,
                            json_pack("{s:s,s:s}", "channel_status_code", "0", "last_committed_offset_token", "t1"));
    }
    json_t *body = json_pack("{s:o}", "channel_statuses", statuses);
    char *text = json_dumps(body, 0);
    answer(200, text);
    free(text);
    json_decref(body);
}

static void test_status_is_asked_in_chunks(void **state)
{
    (void)state;
    open_many(250);
    advance_ms(250);
    assert_int_equal(names_asked(), 100);
    answer_all(0, 100);
    assert_int_equal(one.committed, 100);
    assert_int_equal(names_asked(), 100);
    sf_channel_free(many[150]);  // while its status is asked for
    many[150] = NULL;
    answer_all(100, 200);
    assert_int_equal(names_asked(), 50);
    answer(400, "{\"code\":\"ERR_GET_CHANNEL_STATUS_TOO_MANY_CHANNELS\"}");
    assert_int_equal(names_asked(), 50);
    answer_all(200, 250);
    assert_int_equal(one.committed, 249);
    advance_ms(10000);
    wanted_nothing();
    for (uint32_t i = 0; i < 250; i++)
        sf_channel_free(many[i]);
}

static void test_status_that_fails_is_asked_again(void **state)
{
    (void)state;
    open_channel();
    send_accepted("t01");
    advance_ms(250);
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(one.snowflake.http), "requestId"));
    answer(503, "");
    advance_ms(31000);
    struct fake_request *request = wanted("POST", ":bulk-channel-status?");
    assert_string_equal(parameter_of(request, "requestId"), id);
    assert_string_equal(parameter_of(request, "retryCount"), "1");
    fake_fail(one.snowflake.http, ERR_TRANSIENT, "reset");
    advance_ms(31000);
    answer(401, "{\"message\":\"expired\"}");
    answer(200, fake_token("b", 1000));
    answer_status("t01");
    assert_int_equal(one.committed, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_new_channel_is_opened_with_the_floor),
        CASE(test_unknown_channel_that_exists_keeps_its_token),
        CASE(test_offset_token_that_is_not_taken_is_left_out),
        CASE(test_known_channel_is_opened_at_once),
        CASE(test_channel_that_is_not_what_it_was_fails),
        CASE(test_append_over_the_wire),
        CASE(test_status_overtakes_the_answer_of_an_append),
        CASE(test_rows_of_a_full_batch_go_in_the_middle_of_a_turn),
        CASE(test_requests_a_second),
        CASE(test_idle_channel_sends_the_first_row_at_once_again),
        CASE(test_large_batch_goes_in_parts),
        CASE(test_row_that_fits_no_append_is_named),
        CASE(test_token_is_waited_for_and_renewed),
        CASE(test_token_that_was_never_taken),
        CASE(test_drop_inside_a_commit),
        CASE(test_drop_of_what_is_gone_or_refused),
        CASE(test_status_is_asked_in_chunks),
        CASE(test_status_that_fails_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
