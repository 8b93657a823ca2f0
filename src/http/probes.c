// What is asked by machines: whether the program lives, is ready, is healthy, and what it counts.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/health.h"
#include "http/routes.h"
#include "io/metric_registry.h"

#define METRICS_BYTES_MAX (256U << 20)

static struct health look(struct http_request *request)
{
    struct board *board = http_board(request->http);
    const struct board_text *service = board_get(board, "service");
    int64_t now_us = loop_wall_us(http_loop(request->http));
    struct health health =
        health_read(service != NULL ? service->text : NULL,
                    service != NULL ? service->published_us : http_started_us(request->http), now_us);
    board_text_release(service);
    return health;
}

void probe_health(struct http_request *request)
{
    struct health health = look(request);
    bool is_healthy = health.is_database_healthy && health.is_fresh;
    json_t *body =
        json_pack("{s:s, s:{s:{s:b, s:s}, s:{s:I, s:b}}}", "status", is_healthy ? "healthy" : "unhealthy", "checks",
                  "database", "healthy", health.is_database_healthy, "message", health.database_message, "pipelines",
                  "active", (json_int_t)health.active, "healthy", health.is_fresh);
    CHECK(body != NULL);
    http_answer_json(request, is_healthy ? 200 : 503, body);
}

void probe_ready(struct http_request *request)
{
    bool is_ready = look(request).is_ready;
    http_answer_text(request, is_ready ? 200 : 503, is_ready ? "ready" : "not ready");
}

void probe_liveness(struct http_request *request)
{
    http_answer_text(request, 200, "alive");
}

void probe_metrics(struct http_request *request)
{
    struct buf out;
    buf_init(&out, METRICS_BYTES_MAX);
    metric_render(&out);
    if (out.failed) {
        buf_deinit(&out);
        http_answer_error(request, 500, NULL, "out of memory for the metrics");
        return;
    }
    http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", (char *)out.data, out.size);
}
