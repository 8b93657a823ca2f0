// A channel on a scripted Snowflake, for test_sf_channel.c (the way of rows) and test_sf_channel_loss.c (what goes wrong).
#ifndef ETL_TESTS_FAKE_CHANNEL_H
#define ETL_TESTS_FAKE_CHANNEL_H

#include <zstd.h>

#include "fake_snowflake.h"
#include "sinks/snowflake/sf_channel.h"

static struct {
    struct fake_snowflake snowflake;
    struct zstd_worker *zstd;
    struct budget budget;
    uint64_t accepted_us;
    struct sf_channel_shared shared;
    struct sf_pipe *pipe;
    struct sf_channel *channel;
    uint32_t opened, committed, room, rewound, failed, dropped;
    struct err error;
    bool is_drop_at_commit;
} one;

static void on_opened(void *context)
{
    (void)context;
    one.opened++;
}

static void on_committed(void *context)
{
    (void)context;
    one.committed++;
    if (one.is_drop_at_commit && !sf_channel_has_uncommitted(one.channel))
        sf_channel_drop(one.channel);
}

static void on_room(void *context)
{
    (void)context;
    one.room++;
}

static void on_rewind(void *context, const struct err *why)
{
    (void)context;
    one.rewound++;
    one.error = *why;
}

static void on_failed(void *context, const struct err *error)
{
    (void)context;
    one.failed++;
    one.error = *error;
}

static void on_dropped(void *context, const struct err *error)
{
    (void)context;
    one.dropped++;
    one.error = (struct err){0};
    if (error != NULL)
        one.error = *error;
}

static const struct sf_channel_events events = {.on_opened = on_opened,
                                                .on_committed = on_committed,
                                                .on_room = on_room,
                                                .on_rewind = on_rewind,
                                                .on_failed = on_failed,
                                                .on_dropped = on_dropped};

static int set_up(void **state)
{
    (void)state;
    memset(&one, 0, sizeof one);
    fake_snowflake_init(&one.snowflake, "");
    one.zstd = zstd_worker_new(1);
    budget_init(&one.budget, (size_t)64 << 20);
    one.shared = (struct sf_channel_shared){.loop = one.snowflake.loop,
                                            .http = one.snowflake.http,
                                            .auth = one.snowflake.auth,
                                            .zstd = one.zstd,
                                            .budget = &one.budget,
                                            .accepted_us = &one.accepted_us};
    one.pipe = sf_pipe_new(&one.shared, "DB", "RAW", "LANDING_T-STREAMING", 1000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sf_channel_free(one.channel);
    assert_int_equal(one.budget.used_bytes, 0);
    sf_pipe_free(one.pipe);
    zstd_worker_free(one.zstd);
    fake_snowflake_deinit(&one.snowflake);
    return 0;
}

static void settle(void)
{
    fake_settle(one.snowflake.loop);
}

static void advance_ms(uint64_t ms)
{
    fake_advance_ms(one.snowflake.loop, ms);
}

static void answer(uint32_t status, const char *body)
{
    fake_answer(one.snowflake.http, status, body);
    settle();
}

static struct fake_request *wanted(const char *method, const char *url_part)
{
    return expect(&one.snowflake, method, url_part);
}

static void wanted_nothing(void)
{
    expect_nothing(&one.snowflake);
}

static void assert_state(enum sf_channel_state state)
{
    assert_int_equal(sf_channel_state(one.channel), state);
}

static void assert_failed(enum err_kind kind, const char *part)
{
    assert_state(SF_CHANNEL_FAILED);
    assert_int_equal(one.failed, 1);
    assert_string_equal(err_kind_name(one.error.kind), err_kind_name(kind));
    if (strstr(one.error.text, part) == NULL)
        fail_msg("'%s' lacks '%s'", one.error.text, part);
    wanted_nothing();
}

// The fields of a status; committed NULL: null.
static const char *status_text(const char *code, const char *committed, int64_t created_on_ms, uint64_t errors)
{
    static char text[640];
    char token[64] = "null";
    if (committed != NULL)
        snprintf(token, sizeof token, "\"%s\"", committed);
    snprintf(text, sizeof text,
             "{\"channel_status_code\":\"%s\",\"last_committed_offset_token\":%s,\"created_on_ms\":%lld,"
             "\"rows_error_count\":%llu,\"last_error_offset_upper_bound\":\"t07\",\"last_error_message\":\"bad date\"}",
             code, token, (long long)created_on_ms, (unsigned long long)errors);
    return text;
}

static void answer_open_as(const char *code, const char *committed, int64_t created_on_ms, uint64_t errors)
{
    static uint32_t count;
    char body[1024];
    snprintf(body, sizeof body, "{\"next_continuation_token\":\"o%u\",\"channel_status\":%s}", ++count,
             status_text(code, committed, created_on_ms, errors));
    wanted("PUT", "/channels/ETL_C?");
    answer(200, body);
}

static void answer_open(const char *committed)
{
    answer_open_as("SUCCESS", committed, 77, 0);
}

static void answer_append(const char *continuation)
{
    char body[128];
    snprintf(body, sizeof body, "{\"next_continuation_token\":\"%s\"}", continuation);
    wanted("POST", "/rows?");
    answer(200, body);
}

static void answer_status_as(const char *code, const char *committed, int64_t created_on_ms, uint64_t errors)
{
    char body[1024];
    snprintf(body, sizeof body, "{\"channel_statuses\":{\"ETL_C\":%s}}",
             status_text(code, committed, created_on_ms, errors));
    wanted("POST", ":bulk-channel-status?");
    answer(200, body);
}

static void answer_status(const char *committed)
{
    answer_status_as("SUCCESS", committed, 77, 0);
}

static void new_channel(const struct sf_channel_record *kept, const char *initial)
{
    struct sf_channel_options options = {.database = "DB",
                                         .schema = "RAW",
                                         .pipe = "LANDING_T-STREAMING",
                                         .channel = "ETL_C",
                                         .batch_rows_max = 1000,
                                         .batch_fill_ms_max = 5000};
    if (kept != NULL)
        options.kept = *kept;
    snprintf(options.initial_token.text, sizeof options.initial_token.text, "%s", initial);
    one.channel = sf_channel_new(&one.shared, &options, &events);
    assert_non_null(one.channel);
    sf_pipe_add(one.pipe, one.channel);
    sf_channel_open(one.channel);
}

// A channel that is open, with nothing committed, signed in for a long time.
static void open_channel(void)
{
    new_channel(NULL, "");
    fake_sign_in(&one.snowflake, "a", 80000);
    answer_open(NULL);
    assert_state(SF_CHANNEL_READY);
    assert_int_equal(one.opened, 1);
}

static void add_line(const char *token, const char *line, size_t size)
{
    struct sf_token text;
    snprintf(text.text, sizeof text.text, "%s", token);
    buf_append(sf_channel_batch(one.channel), line, size);
    sf_channel_row_added(one.channel, &text, size);
}

static void add(const char *token)
{
    char line[64];
    snprintf(line, sizeof line, "{\"A\":\"%s\"}\n", token);
    add_line(token, line, strlen(line));
}

static void send(const char *token)
{
    add(token);
    sf_channel_pump(one.channel);
    assert_state(SF_CHANNEL_SENDING);
}

// Sent and accepted.
static void send_accepted(const char *token)
{
    send(token);
    answer_append(token);
    assert_state(SF_CHANNEL_READY);
}

static void assert_append(const char *first, const char *last, const char *continuation)
{
    struct fake_request *request = wanted("POST", "/rows?");
    assert_string_equal(parameter_of(request, "startOffsetToken"), first);
    assert_string_equal(parameter_of(request, "endOffsetToken"), last);
    if (continuation != NULL)
        assert_string_equal(parameter_of(request, "continuationToken"), continuation);
}

#endif
