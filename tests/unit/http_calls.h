// Requests of a test of the HTTP client, and the name server that the test is. For one test program: all static.
#ifndef ETL_TEST_UNIT_HTTP_CALLS_H
#define ETL_TEST_UNIT_HTTP_CALLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "unit/http_server.h"

// ---- the name server that the test is: libcurl's look-ups come here too, being calls from another library

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static bool is_gate_open;
static int hanging_count;

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out_found)
{
    if (name != NULL && strcmp(name, "hang.test") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0) {
        pthread_mutex_lock(&gate);
        hanging_count++;
        while (!is_gate_open)
            pthread_cond_wait(&gate_moved, &gate);
        hanging_count--;
        pthread_cond_broadcast(&gate_moved);
        pthread_mutex_unlock(&gate);
        return EAI_AGAIN;
    }
    if (name != NULL && strcmp(name, "none.test") == 0)
        return EAI_NONAME;
    if (name != NULL && strcmp(name, "again.test") == 0)
        return (hints->ai_flags & AI_NUMERICHOST) != 0 ? EAI_NONAME : EAI_AGAIN;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)(&real) = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, hints, out_found);
}

// ---- requests of the tests

static struct http_server server;

struct fixture {
    struct loop *loop;
    struct http_client *client;
};

struct call {
    struct http_request request;
    struct fixture *fixture;
    struct call *cancel_other;
    struct call *start_other;
    bool start_again;
    bool is_starting;
    char url[256];
    int calls;
    bool is_ok;
    struct err error;
};

static void call_start(struct call *call)
{
    call->is_starting = true;
    if (!http_client_start(call->fixture->client, &call->request, &call->error))
        fail_msg("%s", call->error.text);
    call->is_starting = false;
}

static void on_done(struct http_request *request, const struct err *error)
{
    struct call *call = request->context;
    CHECK(!call->is_starting);
    CHECK(request->handle == NULL);
    CHECK(request->done_us >= request->sent_us);
    CHECK(error != NULL || (request->sent_us > 0 && request->answer.data[request->answer.size] == '\0'));
    call->calls++;
    call->is_ok = error == NULL;
    if (error != NULL)
        call->error = *error;
    if (call->cancel_other != NULL)
        http_client_cancel(call->fixture->client, &call->cancel_other->request);
    if (call->start_other != NULL) {
        struct call *other = call->start_other;
        call->start_other = NULL;
        call_start(other);
    }
    if (call->start_again) {
        call->start_again = false;
        call_start(call);
    }
}

static void call_init(struct call *call, struct fixture *fixture, int port, const char *path)
{
    memset(call, 0, sizeof *call);
    call->fixture = fixture;
    http_request_init(&call->request);
    snprintf(call->url, sizeof call->url, "%s://127.0.0.1:%d%s", port == server.plain_port ? "http" : "https", port,
             path);
    call->request.method = "GET";
    call->request.url = call->url;
    call->request.timeout_ms = 20000;
    call->request.ca_file = server.ca_file;
    call->request.on_done = on_done;
    call->request.context = call;
}

static void call_wait(struct call *call, int calls)
{
    while (call->calls < calls)
        loop_turn(call->fixture->loop, -1);
}

static void call_run(struct call *call)
{
    call_start(call);
    call_wait(call, call->calls + 1);
}

static const char *call_answer(struct call *call)
{
    return (const char *)call->request.answer.data;
}

static void expect_in_answer(struct call *call, const char *text)
{
    if (!call->is_ok)
        fail_msg("%s", call->error.text);
    if (strstr(call_answer(call), text) == NULL)
        fail_msg("%s is not in %s", text, call_answer(call));
}

// Runs it and compares the error's kind and code, and that its text names the host.
static void expect_error(struct call *call, enum err_kind kind, const char *code, const char *text)
{
    call_run(call);
    assert_false(call->is_ok);
    print_message("    %s: %s\n", err_kind_name(call->error.kind), call->error.text);
    assert_int_equal(call->error.kind, kind);
    assert_string_equal(call->error.code, code);
    assert_non_null(strstr(call->error.text, text));
    assert_true(strstr(call->error.text, "127.0.0.1") != NULL || strstr(call->error.text, ".test") != NULL);
    http_request_deinit(&call->request);
}

static int setup(void **state)
{
    struct err error;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    CHECK(fixture != NULL);
    fixture->loop = loop_new(&clock_system, &error);
    CHECK(fixture->loop != NULL);
    fixture->client = http_client_new(fixture->loop, &error);
    CHECK(fixture->client != NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_client_free(fixture->client);
    loop_free(fixture->loop);
    free(fixture);
    return 0;
}

#endif
