// The HTTP client against a real server that can misbehave (http_server.py) and a getaddrinfo of the test's own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/breaker_meter.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "io/metric_registry.h"
#include "unit/http_calls.h"
#include "unit/onlooker.h"

// ---- what is sent and what comes back

static void test_http_client_get(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    const struct http_header headers[] = {{"Authorization", "Bearer abc", true}, {"X-Empty", "", false}};
    int ports[] = {server.tls_port, server.plain_port};
    for (int i = 0; i < 2; i++) {
        call_init(&call, fixture, ports[i], "/echo");
        call.request.headers = headers;
        call.request.header_count = 2;
        call_run(&call);
        assert_int_equal(call.request.status, 200);
        expect_in_answer(&call, "\"method\": \"GET\"");
        expect_in_answer(&call, "\"Authorization\": \"Bearer abc\"");
        expect_in_answer(&call, "\"X-Empty\": \"\"");
        assert_null(strstr(call_answer(&call), "Expect"));
        assert_int_equal(call.request.retry_after_s, 0);
        http_request_deinit(&call.request);
    }
    assert_int_equal(http_client_stats(fixture->client)->requests, 2);
    assert_int_equal(http_client_stats(fixture->client)->failures, 0);
}

static void test_http_client_upload(void **state)
{
    struct fixture *fixture = *state;
    static const char *const methods[] = {"POST", "PUT", "DELETE"};
    static const size_t sizes[] = {0, 5, 65536, 70000, 4 << 20};
    uint8_t *body = malloc(4 << 20);
    assert_non_null(body);
    memset(body, 'z', 4 << 20);
    uint64_t sent_bytes = 0;
    for (size_t m = 0; m < 3; m++) {
        for (size_t s = 0; s < 5; s++) {
            struct call call;
            char expected[64];
            call_init(&call, fixture, server.tls_port, "/echo");
            call.request.method = methods[m];
            call.request.body = body;
            call.request.body_size = sizes[s];
            call_run(&call);
            snprintf(expected, sizeof expected, "\"method\": \"%s\"", methods[m]);
            expect_in_answer(&call, expected);
            snprintf(expected, sizeof expected, "\"Content-Length\": \"%zu\"", sizes[s]);
            expect_in_answer(&call, expected);
            snprintf(expected, sizeof expected, "\"sum\": %zu", sizes[s] * 'z' % 65521);
            expect_in_answer(&call, expected);
            assert_null(strstr(call_answer(&call), "Expect"));
            assert_null(strstr(call_answer(&call), "Content-Type\""));
            assert_null(strstr(call_answer(&call), "Transfer-Encoding"));
            expect_in_answer(&call, "\"connections\"");
            sent_bytes += sizes[s];
            http_request_deinit(&call.request);
        }
    }
    assert_true(http_client_stats(fixture->client)->bytes_sent == sent_bytes);
    free(body);
}

static void test_http_client_status_is_an_answer(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    call_init(&call, fixture, server.tls_port, "/status?code=503&retry_after=7");
    call_run(&call);
    assert_true(call.is_ok);
    assert_int_equal(call.request.status, 503);
    assert_int_equal(call.request.retry_after_s, 7);
    assert_string_equal(call_answer(&call), "told");

    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/status?code=429&retry_in=3600", server.tls_port);
    call_run(&call);  // the same struct again
    assert_int_equal(call.request.status, 429);
    assert_in_range(call.request.retry_after_s, 3000, 3600);  // less what a busy machine took for the answer

    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/status?code=500&retry_in=-60", server.tls_port);
    call_run(&call);
    assert_int_equal(call.request.retry_after_s, 0);

    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/redirect", server.tls_port);
    call_run(&call);
    assert_int_equal(call.request.status, 302);
    http_request_deinit(&call.request);
}

static void test_http_client_bodies(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    call_init(&call, fixture, server.tls_port, "/gzip");
    call_run(&call);
    assert_int_equal(call.request.answer.size, 1000);
    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/drip", server.tls_port);
    call_run(&call);
    assert_string_equal(call_answer(&call), "dddddddddd");
    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/large?size=5000000", server.tls_port);
    call_run(&call);
    assert_int_equal(call.request.answer.size, 5000000);
    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/large?size=1000", server.tls_port);
    call.request.answer_bytes_max = 1000;
    call_run(&call);
    assert_true(call.is_ok);
    call.request.answer_bytes_max = 999;
    expect_error(&call, ERR_DATA, "answer_too_large", "999 bytes");
}

// ---- connections

// How many connections the server has taken so far, this request's included.
static int connection_count(struct fixture *fixture)
{
    struct call call;
    call_init(&call, fixture, server.tls_port, "/echo");
    call_run(&call);
    const char *found = strstr(call_answer(&call), "\"connections\": ");
    assert_non_null(found);
    int count = atoi(found + strlen("\"connections\": "));
    http_request_deinit(&call.request);
    return count;
}

static void test_http_client_reuses_connections(void **state)
{
    struct fixture *fixture = *state;
    int before = connection_count(fixture);
    struct call call;
    call_init(&call, fixture, server.tls_port, "/status?code=200");
    uint64_t begin_us = loop_fresh_us(fixture->loop);
    for (int i = 0; i < 1000; i++) {
        call_run(&call);
        assert_true(call.is_ok);
    }
    uint64_t took_us = loop_fresh_us(fixture->loop) - begin_us;
    print_message("    1,000 requests one after the other: %llu us each\n", (unsigned long long)(took_us / 1000));
    assert_int_equal(connection_count(fixture), before);
    http_request_deinit(&call.request);
}

static void test_http_client_64_in_parallel(void **state)
{
    struct fixture *fixture = *state;
    static struct call calls[64];
    int before = connection_count(fixture);
    int after_first = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            call_init(&calls[i], fixture, server.tls_port, "/slow?ms=100");
            call_start(&calls[i]);
        }
        for (int i = 0; i < 64; i++) {
            call_wait(&calls[i], 1);
            if (!calls[i].is_ok)
                fail_msg("%s", calls[i].error.text);
            assert_string_equal(call_answer(&calls[i]), "slow");
            http_request_deinit(&calls[i].request);
        }
        if (round == 0)
            after_first = connection_count(fixture);
    }
    // One each at most, and 192 requests made no more of them. (Fewer where a loaded machine spreads them over time.)
    assert_true(after_first > before);
    assert_true(connection_count(fixture) <= before + 63);
}

static void test_http_client_outlives_closed_connections(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    call_init(&call, fixture, server.tls_port, "/close");
    for (int i = 0; i < 3; i++) {
        call_run(&call);
        assert_true(call.is_ok);
    }
    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/close_unannounced", server.tls_port);
    uint8_t body[100] = {0};
    call.request.method = "POST";
    call.request.body = body;
    call.request.body_size = sizeof body;
    for (int i = 0; i < 10; i++) {
        call_run(&call);
        if (!call.is_ok)
            fail_msg("%s", call.error.text);
    }
    http_request_deinit(&call.request);
}

// ---- trust

static void test_http_client_verifies(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    call_init(&call, fixture, server.tls_port, "/echo");
    call.request.ca_file = server.other_ca_file;
    expect_error(&call, ERR_CONFIG, "tls_certificate", server.other_ca_file);
    call_init(&call, fixture, server.tls_port, "/echo");
    call.request.ca_file = NULL;  // the system's: does not know the test's
    expect_error(&call, ERR_CONFIG, "tls_certificate", "certificate");
    call_init(&call, fixture, server.wrong_name_port, "/echo");
    call.request.ca_file = server.other_ca_file;
    expect_error(&call, ERR_CONFIG, "tls_certificate", "127.0.0.1");
    call_init(&call, fixture, server.tls_port, "/echo");
    char *borrowed = strdup("/nonexistent/ca.pem");  // until the start is over
    call.request.ca_file = borrowed;
    call_start(&call);
    free(borrowed);
    call_wait(&call, 1);
    assert_string_equal(call.error.code, "ca_file");
    assert_non_null(strstr(call.error.text, "/nonexistent/ca.pem"));
    http_request_deinit(&call.request);
    call_init(&call, fixture, server.old_tls_port, "/echo");
    expect_error(&call, ERR_TRANSIENT, "tls", "handshake");
    call_init(&call, fixture, server.tls_port, "/echo");
    call_run(&call);  // and after all that a good one
    assert_true(call.is_ok);
    http_request_deinit(&call.request);
}

static void refuse(struct fixture *fixture, const char *url, const char *header_value, const char *code)
{
    struct call call;
    const struct http_header header = {"X-Test", header_value, true};
    call_init(&call, fixture, server.tls_port, "/echo");
    call.request.url = url;
    call.request.headers = &header;
    call.request.header_count = 1;
    struct err error;
    assert_false(http_client_start(fixture->client, &call.request, &error));
    print_message("    %s\n", error.text);
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(error.code, code);
    assert_null(strstr(error.text, "hunter2"));
    assert_null(call.request.handle);
    http_request_deinit(&call.request);
}

static void test_http_client_refuses_what_cannot_be_sent(void **state)
{
    struct fixture *fixture = *state;
    refuse(fixture, "ftp://127.0.0.1/x", "a", "url");
    refuse(fixture, "file:///etc/passwd", "a", "url");
    refuse(fixture, "https://user:hunter2@:99999999/", "a", "url");
    refuse(fixture, "", "a", "url");
    refuse(fixture, "https://127.0.0.1/", "hunter2\r\nX-Other: b", "header");
    char url[600] = "https://";
    memset(url + 8, 'h', 500);
    refuse(fixture, url, "a", "url");
    loop_turn(fixture->loop, 0);
    assert_int_equal(http_client_stats(fixture->client)->requests, 0);
}

// ---- errors on the way

static void test_http_client_broken_connections(void **state)
{
    struct fixture *fixture = *state;
    static const char *const paths[] = {"/reset", "/reset_in_body", "/cut", "/nothing"};
    struct call call;
    for (int i = 0; i < 4; i++) {
        call_init(&call, fixture, server.tls_port, paths[i]);
        expect_error(&call, ERR_TRANSIENT, "connection", "127.0.0.1");
        call_init(&call, fixture, server.plain_port, paths[i]);
        expect_error(&call, ERR_TRANSIENT, "connection", "127.0.0.1");
    }
    call_init(&call, fixture, server.tls_port, "/nonsense");
    expect_error(&call, ERR_TRANSIENT, "not_http", "does not speak HTTP");
    assert_int_equal(http_client_stats(fixture->client)->failures, 9);
}

static void test_http_client_unreachable(void **state)
{
    struct fixture *fixture = *state;
    // A port that nobody listens on, held by a socket that is bound only.
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    struct call call;
    call_init(&call, fixture, ntohs(address.sin_port), "/");
    expect_error(&call, ERR_TRANSIENT, "connect", "Connection refused");
    close(fd);
    call_init(&call, fixture, server.tls_port, "/");
    call.request.url = "https://none.test/";
    expect_error(&call, ERR_CONFIG, "unknown_host", "none.test");
    call_init(&call, fixture, server.tls_port, "/");
    call.request.url = "https://again.test/";
    expect_error(&call, ERR_TRANSIENT, "name_resolution", "again.test");
}

// ---- hanging in every phase

struct ticker {
    struct loop_timer timer;
    struct loop *loop;
    uint64_t expected_us;
    uint64_t late_us_max;
};

static void ticker_arm(struct ticker *ticker)
{
    ticker->expected_us = loop_fresh_us(ticker->loop) + 2000;
    loop_timer_set(ticker->loop, &ticker->timer, 2000);
}

static void on_tick(struct loop_timer *timer)
{
    struct ticker *ticker = timer->context;
    uint64_t now_us = loop_fresh_us(ticker->loop);
    uint64_t late_us = now_us > ticker->expected_us ? now_us - ticker->expected_us : 0;
    ticker->late_us_max = late_us > ticker->late_us_max ? late_us : ticker->late_us_max;
    ticker_arm(ticker);
}

// A listening socket whose queue is full: the kernel drops further SYNs, so connecting hangs.
static int make_full_listener(int out_fds[4])
{
    out_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(out_fds[0], (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(out_fds[0], 0), 0);
    assert_int_equal(getsockname(out_fds[0], (struct sockaddr *)&address, &size), 0);
    for (int i = 1; i < 4; i++) {
        out_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(out_fds[i], (struct sockaddr *)&address, size);
    }
    return ntohs(address.sin_port);
}

static void gate_open_and_wait(void)
{
    pthread_mutex_lock(&gate);
    is_gate_open = true;
    pthread_cond_broadcast(&gate_moved);
    while (hanging_count > 0)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

enum { PHASES = 7 };

static void start_hanging(struct fixture *fixture, struct call calls[PHASES], const int ports[PHASES],
                          const uint8_t *body, size_t body_size)
{
    static const char *const paths[PHASES] = {
        "/", "/", "/", "/hang_before_body", "/hang", "/hang_in_headers", "/hang_in_body"};
    for (int i = 0; i < PHASES; i++) {
        call_init(&calls[i], fixture, ports[i], paths[i]);
        calls[i].request.timeout_ms = 6000;  // a busy machine gets each to its phase in that time
        if (i == 0)
            calls[i].request.url = "https://hang.test/";
        if (i == 3 || i == 4) {
            calls[i].request.method = "POST";
            calls[i].request.body = body;
            calls[i].request.body_size = i == 3 ? body_size : 100;
        }
        call_start(&calls[i]);
    }
}

// All of them time out. Returns whether each did in its phase.
static bool expect_time_outs(struct call calls[PHASES])
{
    static const char *const phases[PHASES] = {
        "looking up the host name", "connecting",         "in the TLS handshake", "sending the request",
        "waiting for the answer",   "reading the answer", "reading the answer"};
    bool is_each_in_its_phase = true;
    for (int i = 0; i < PHASES; i++) {
        call_wait(&calls[i], 1);
        assert_false(calls[i].is_ok);
        print_message("    %s\n", calls[i].error.text);
        assert_int_equal(calls[i].error.kind, ERR_TRANSIENT);
        assert_string_equal(calls[i].error.code, "timeout");
        is_each_in_its_phase = is_each_in_its_phase && strstr(calls[i].error.text, phases[i]) != NULL;
        http_request_deinit(&calls[i].request);
    }
    return is_each_in_its_phase;
}

static void test_http_client_hangs_do_not_hold_the_loop(void **state)
{
    struct fixture *fixture = *state;
    int full_fds[4];
    int ports[PHASES] = {443,
                         make_full_listener(full_fds),
                         server.silent_port,
                         server.tls_port,
                         server.tls_port,
                         server.tls_port,
                         server.tls_port};
    static struct call calls[PHASES];
    size_t body_size = (size_t)256 << 20;  // more than the buffers between the two ends hold; never touched
    uint8_t *body = calloc(1, body_size);
    assert_non_null(body);
    bool is_each_in_its_phase = false;
    // A round in which this process or its server stood still, so that a phase was not come to in time, shows nothing.
    for (int round = 0; !is_each_in_its_phase; round++) {
        assert_true(round < 5);
        is_gate_open = false;
        struct ticker ticker = {.timer = {.on_due = on_tick, .context = &ticker}, .loop = fixture->loop};
        struct onlooker onlooker;
        onlooker_start(&onlooker);
        ticker_arm(&ticker);
        start_hanging(fixture, calls, ports, body, body_size);
        // A bystander's request goes through meanwhile.
        struct call bystander;
        call_init(&bystander, fixture, server.tls_port, "/echo");
        call_run(&bystander);
        assert_true(bystander.is_ok);
        http_request_deinit(&bystander.request);
        is_each_in_its_phase = expect_time_outs(calls);
        loop_timer_stop(fixture->loop, &ticker.timer);
        onlooker_stop(&onlooker);
        print_message("    a timer of 2 ms was late by %llu us at most, a sleep by %llu us\n",
                      (unsigned long long)ticker.late_us_max, (unsigned long long)onlooker.late_us_max);
        // Half of any hang: nothing was waited for.
        assert_true(ticker.late_us_max < 3000000 + onlooker.late_us_max);
        gate_open_and_wait();
    }
    free(body);
    for (int i = 0; i < 4; i++)
        close(full_fds[i]);
}

static void test_http_client_free_does_not_wait_for_a_hanging_name(void **state)
{
    struct fixture *fixture = *state;
    struct err error;
    is_gate_open = false;
    struct http_client *client = http_client_new(fixture->loop, &error);
    assert_non_null(client);
    struct call call;
    call_init(&call, fixture, 443, "/");
    call.request.url = "https://hang.test/";
    assert_true(http_client_start(client, &call.request, &error));
    for (int count = 0; count == 0;) {
        loop_turn(fixture->loop, 1000);
        pthread_mutex_lock(&gate);
        count = hanging_count;
        pthread_mutex_unlock(&gate);
    }
    uint64_t begin_us = loop_fresh_us(fixture->loop);
    http_client_free(client);
    assert_true(loop_fresh_us(fixture->loop) - begin_us < 20000000);  // the name hangs until the gate is opened
    assert_null(call.request.handle);
    assert_int_equal(call.calls, 0);
    http_request_deinit(&call.request);
    gate_open_and_wait();
}

// ---- cancelling and starting in callbacks

static void test_http_client_cancel_anywhere(void **state)
{
    struct fixture *fixture = *state;
    static const char *const paths[] = {"/echo", "/hang", "/hang_in_body", "/large?size=30000000"};
    for (int i = 0; i < 4; i++) {
        // After so many turns, at whatever point it is then.
        for (int turns = 0; turns < 12; turns++) {
            struct call call;
            call_init(&call, fixture, server.tls_port, paths[i]);
            call_start(&call);
            for (int turn = 0; turn < turns && call.calls == 0; turn++)
                loop_turn(fixture->loop, 3000);
            int calls = call.calls;
            http_client_cancel(fixture->client, &call.request);
            http_client_cancel(fixture->client, &call.request);
            loop_turn(fixture->loop, 0);
            assert_int_equal(call.calls, calls);
            http_request_deinit(&call.request);
        }
    }
    // While its error waits for the second look-up.
    struct call call;
    call_init(&call, fixture, server.tls_port, "/");
    call.request.url = "https://again.test/";
    for (int turns = 0; turns < 6; turns++) {
        int calls = call.calls;
        call_start(&call);
        for (int turn = 0; turn < turns && call.calls == calls; turn++)
            loop_turn(fixture->loop, 1000);
        http_client_cancel(fixture->client, &call.request);
    }
    http_request_deinit(&call.request);
}

static void test_http_client_start_and_cancel_in_callback(void **state)
{
    struct fixture *fixture = *state;
    struct call first;
    struct call hanging;
    struct call next;
    call_init(&first, fixture, server.tls_port, "/status?code=200");
    call_init(&hanging, fixture, server.tls_port, "/hang");
    call_init(&next, fixture, server.tls_port, "/status?code=201");
    call_start(&hanging);
    first.cancel_other = &hanging;
    first.start_again = true;
    first.start_other = &next;
    call_start(&first);
    call_wait(&first, 2);
    call_wait(&next, 1);
    assert_int_equal(hanging.calls, 0);
    if (!next.is_ok)
        fail_msg("%s", next.error.text);
    assert_int_equal(next.request.status, 201);

    // Many that end in the same turn, each cancelling its neighbour: what was told and what was cancelled add up.
    static struct call calls[32];
    for (int i = 0; i < 32; i++) {
        call_init(&calls[i], fixture, server.plain_port, "/slow?ms=60");
        calls[i].cancel_other = &calls[i ^ 1];
        call_start(&calls[i]);
    }
    for (int i = 0; i < 32; i += 2) {
        while (calls[i].calls + calls[i + 1].calls == 0)
            loop_turn(fixture->loop, -1);
    }
    usleep(100000);
    loop_turn(fixture->loop, 0);
    for (int i = 0; i < 32; i += 2)
        assert_int_equal(calls[i].calls + calls[i + 1].calls, 1);
    for (int i = 0; i < 32; i++)
        http_request_deinit(&calls[i].request);
    http_request_deinit(&first.request);
    http_request_deinit(&hanging.request);
    http_request_deinit(&next.request);
}

static void test_http_client_free_cancels(void **state)
{
    struct fixture *fixture = *state;
    static struct call calls[8];
    for (int i = 0; i < 8; i++) {
        call_init(&calls[i], fixture, i % 2 == 0 ? server.tls_port : server.plain_port, "/hang");
        call_start(&calls[i]);
    }
    for (int turn = 0; turn < 10; turn++)
        loop_turn(fixture->loop, 5000);
    http_client_free(fixture->client);
    fixture->client = NULL;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(calls[i].calls, 0);
        assert_null(calls[i].request.handle);
        http_request_deinit(&calls[i].request);
    }
}

// ---- secrets

// A sanitizer's shadow is terabytes of memory, and it keeps freed blocks: the search is for plain builds.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#if defined(IS_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static void test_http_client_clears_secrets(void **state)
{
    (void)state;
    skip();
}

#else

// The secret's bytes, one at a time, so that it is nowhere in memory but where the test puts it.
static char secret_byte(size_t index)
{
    return (char)('A' + (((uint32_t)index + 1) * 2654435761u >> 13) % 26);
}

enum { SECRET_SIZE = 40 };

// How often the secret is in this process's writable memory.
static int count_secret(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    int count = 0;
    char line[512];
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin;
        unsigned long end;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3 || strncmp(rights, "rw", 2) != 0 ||
            strstr(line, "[v") != NULL)
            continue;
        for (const char *at = (const char *)begin; at + SECRET_SIZE <= (const char *)end; at++) {
            size_t same = 0;
            while (same < SECRET_SIZE && at[same] == secret_byte(same))
                same++;
            count += same >= SECRET_SIZE / 2;
        }
    }
    fclose(maps);
    return count;
}

static void test_http_client_clears_secrets(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(count_secret(), 0);
    char *value = malloc(SECRET_SIZE + 1);
    assert_non_null(value);
    for (size_t i = 0; i < SECRET_SIZE; i++)
        value[i] = secret_byte(i);
    value[SECRET_SIZE] = '\0';
    const struct http_header header = {"Authorization", value, true};
    static const char *const paths[] = {"/status?code=200", "/reset"};
    for (int i = 0; i < 4; i++) {
        struct call call;
        call_init(&call, fixture, i < 2 ? server.tls_port : server.plain_port, paths[i % 2]);
        call.request.headers = &header;
        call.request.header_count = 1;
        call.request.method = "POST";
        call.request.body = (const uint8_t *)value;
        call.request.body_size = SECRET_SIZE;
        call_start(&call);
        assert_true(count_secret() > 1);  // the search finds what is there
        call_wait(&call, 1);
        assert_int_equal(count_secret(), 1);
        http_request_deinit(&call.request);
    }
    explicit_bzero(value, SECRET_SIZE);
    assert_int_equal(count_secret(), 0);
    free(value);
}

#endif

static double counted(enum metric_id id, const char *label)
{
    struct metric *metric = label != NULL ? metric_get(id, label) : metric_get(id);
    double value = metric_value(metric);
    metric_put(metric);
    return value;
}

// By status and duration where the request says; failures by operation; what the breaker holds back is no request.
static void test_http_client_counts(void **state)
{
    struct fixture *fixture = *state;
    struct call call;
    struct breaker breaker = {0};
    call_init(&call, fixture, server.tls_port, "/echo");
    call_run(&call);  // counted nowhere
    call.request.meter = HTTP_METER_HTTP;
    call_run(&call);
    assert_true(counted(METRIC_HTTP_REQUESTS, "200") == 1);
    assert_true(counted(METRIC_HTTP_DURATION, NULL) == 1);
    call.request.meter = HTTP_METER_SNOWFLAKE;
    call.request.operation = "append";
    call.request.breaker = &breaker;
    breaker_meter_open(&breaker, "test");
    call_run(&call);
    snprintf(call.url, sizeof call.url, "https://127.0.0.1:%d/status?code=503", server.tls_port);
    call_run(&call);
    call.request.operation = NULL;
    call_run(&call);
    assert_true(counted(METRIC_SNOWFLAKE_REQUESTS, "200") == 1);
    assert_true(counted(METRIC_SNOWFLAKE_REQUESTS, "503") == 2);
    assert_true(counted(METRIC_SNOWFLAKE_DURATION, NULL) == 3);
    assert_true(counted(METRIC_SNOWFLAKE_ERRORS, "append") == 1);
    snprintf(call.url, sizeof call.url, "https://none.test/");
    call.request.operation = "open";
    for (int i = 0; i < 3; i++)
        call_run(&call);
    assert_true(counted(METRIC_SNOWFLAKE_REQUESTS, "error") == 3);
    assert_true(counted(METRIC_SNOWFLAKE_ERRORS, "open") == 3);
    assert_true(counted(METRIC_BREAKER_STATE, "test") == 1);
    call_run(&call);
    assert_string_equal(call.error.code, "circuit_open");
    assert_true(counted(METRIC_SNOWFLAKE_REQUESTS, "error") == 3);
    assert_true(counted(METRIC_BREAKER_REJECTED, "test") == 1);
    assert_true(counted(METRIC_HTTP_REQUESTS, "200") == 1);
    breaker_meter_close(&breaker);
    http_request_deinit(&call.request);
}

static void test_http_client_segment(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    http_append_segment(&out, "Az09-._~ /\"%\xc3\xa4");
    assert_string_equal(buf_text(&out), "Az09-._~%20%2F%22%25%C3%A4");
    buf_deinit(&out);
}

static int start_server(void **state)
{
    (void)state;
    unsetenv("http_proxy");
    unsetenv("https_proxy");
    unsetenv("HTTPS_PROXY");
    unsetenv("all_proxy");
    unsetenv("ALL_PROXY");
    http_server_start(&server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    http_server_stop(&server);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_http_client_get),
        TEST(test_http_client_upload),
        TEST(test_http_client_status_is_an_answer),
        TEST(test_http_client_bodies),
        TEST(test_http_client_reuses_connections),
        TEST(test_http_client_64_in_parallel),
        TEST(test_http_client_outlives_closed_connections),
        TEST(test_http_client_verifies),
        TEST(test_http_client_refuses_what_cannot_be_sent),
        TEST(test_http_client_broken_connections),
        TEST(test_http_client_unreachable),
        TEST(test_http_client_hangs_do_not_hold_the_loop),
        TEST(test_http_client_free_does_not_wait_for_a_hanging_name),
        TEST(test_http_client_cancel_anywhere),
        TEST(test_http_client_start_and_cancel_in_callback),
        TEST(test_http_client_free_cancels),
        TEST(test_http_client_counts),
        TEST(test_http_client_clears_secrets),
        cmocka_unit_test(test_http_client_segment),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
