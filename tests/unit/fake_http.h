// A scripted stand-in for io/http_client.h and a clock that stands still: requests are taken out of a queue and answered
// by the test. It defines http_client.h's functions, so a test that includes it (once, in its only file) is linked with
// these: the linker takes an object out of the room's static library only for a symbol that nobody has defined yet.
// That is also why this is a header: a .c file beside the tests would be linked into all of them.
#ifndef ETL_TESTS_FAKE_HTTP_H
#define ETL_TESTS_FAKE_HTTP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/http_client.h"
#include "io/loop.h"

enum { FAKE_PENDING_MAX = 64 };

// A started request, copied, so that the test sees what would have gone over the wire.
struct fake_request {
    struct http_request *request;  // NULL: it was cancelled
    char method[8];
    char *url;
    char headers[4096];  // "Name: value\n"…
    uint8_t *body;
    size_t body_size;
};

struct http_client {
    struct fake_request pending[FAKE_PENDING_MAX];
    uint32_t first, count;
    bool is_refusing;  // http_client_start fails
    struct http_client_stats stats;
};

struct http_client *http_client_new(struct loop *loop, struct err *out_error)
{
    (void)loop;
    (void)out_error;
    return calloc(1, sizeof(struct http_client));
}

static void fake_request_free(struct fake_request *fake)
{
    free(fake->url);
    free(fake->body);
    memset(fake, 0, sizeof *fake);
}

void http_client_free(struct http_client *client)
{
    for (; client->count > 0; client->count--, client->first++)
        fake_request_free(&client->pending[client->first % FAKE_PENDING_MAX]);
    free(client);
}

const struct http_client_stats *http_client_stats(const struct http_client *client)
{
    return &client->stats;
}

void http_request_init(struct http_request *request)
{
    memset(request, 0, sizeof *request);
    buf_init(&request->answer, (size_t)64 << 20);
}

void http_request_deinit(struct http_request *request)
{
    assert_null(request->handle);
    buf_deinit(&request->answer);
}

bool http_client_start(struct http_client *client, struct http_request *request, struct err *out_error)
{
    if (client->is_refusing)
        return err_set(out_error, ERR_INTERNAL, "", "refused by the test");
    assert_null(request->handle);
    assert_true(client->count < FAKE_PENDING_MAX);
    struct fake_request *fake = &client->pending[(client->first + client->count++) % FAKE_PENDING_MAX];
    memset(fake, 0, sizeof *fake);
    fake->request = request;
    request->handle = fake;
    snprintf(fake->method, sizeof fake->method, "%s", request->method);
    fake->url = strdup(request->url);
    size_t used = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        int size = snprintf(fake->headers + used, sizeof fake->headers - used, "%s: %s\n", request->headers[i].name,
                            request->headers[i].value);
        assert_true(size > 0 && (size_t)size < sizeof fake->headers - used);
        used += (size_t)size;
    }
    fake->body_size = request->body_size;
    fake->body = calloc(1, request->body_size + 1);
    if (request->body_size > 0)
        memcpy(fake->body, request->body, request->body_size);
    client->stats.requests++;
    return true;
}

void http_client_cancel(struct http_client *client, struct http_request *request)
{
    (void)client;
    if (request->handle != NULL)
        ((struct fake_request *)request->handle)->request = NULL;
    request->handle = NULL;
}

void http_append_segment(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL)
            buf_append_byte(out, c);
        else
            buf_appendf(out, "%%%02X", c);
    }
}

// ---- the test's side

// The request that has waited longest. NULL: none.
static struct fake_request *fake_oldest(struct http_client *client)
{
    while (client->count > 0 && client->pending[client->first % FAKE_PENDING_MAX].request == NULL) {
        fake_request_free(&client->pending[client->first % FAKE_PENDING_MAX]);
        client->first++;
        client->count--;
    }
    return client->count == 0 ? NULL : &client->pending[client->first % FAKE_PENDING_MAX];
}

static struct http_request *fake_take(struct http_client *client)
{
    struct fake_request *fake = fake_oldest(client);
    assert_non_null(fake);
    struct http_request *request = fake->request;
    request->handle = NULL;
    request->retry_after_s = 0;
    buf_reset(&request->answer);
    fake_request_free(fake);
    client->first++;
    client->count--;
    return request;
}

static void fake_answer(struct http_client *client, uint32_t status, const char *body)
{
    struct http_request *request = fake_take(client);
    request->status = status;
    buf_append_text(&request->answer, body);
    (void)buf_text(&request->answer);
    request->on_done(request, NULL);
}

static __attribute__((unused)) void fake_fail(struct http_client *client, enum err_kind kind, const char *text)
{
    struct http_request *request = fake_take(client);
    struct err error;
    err_set(&error, kind, "", "%s", text);
    request->on_done(request, &error);
}

static uint64_t fake_now_us = 1000000;
static int64_t fake_wall_us = INT64_C(1700000000000000);

static uint64_t fake_monotonic(void *context)
{
    (void)context;
    return fake_now_us;
}

static int64_t fake_wall(void *context)
{
    (void)context;
    return fake_wall_us;
}

static const struct clock fake_clock = {.monotonic_us = fake_monotonic, .wall_us = fake_wall};

// Turns until the deferred calls of deferred calls have run.
static void fake_settle(struct loop *loop)
{
    for (int i = 0; i < 4; i++)
        loop_turn(loop, 0);
}

static void fake_advance_ms(struct loop *loop, uint64_t ms)
{
    fake_now_us += ms * 1000;
    fake_wall_us += (int64_t)ms * 1000;
    fake_settle(loop);
}

#endif
