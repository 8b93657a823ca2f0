#include "http/http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/process.h"
#include "catalog/requests.h"
#include "http/http_private.h"

#define ANSWERS_MAX 256
#define ORDERS_MAX 4

static char end_order;

struct loop *http_loop(struct http *http)
{
    return http->loop;
}

struct board *http_board(struct http *http)
{
    return http->board;
}

struct catalog *http_catalog(struct http *http)
{
    return http->catalog;
}

struct mailbox *http_answers(struct http *http)
{
    return http->answers;
}

int64_t http_started_us(const struct http *http)
{
    return http->started_us;
}

bool http_takes_changes(const struct http *http)
{
    return http->token.is_set;
}

void http_account(struct http *http)
{
    urgency_look(&http->urgency, loop_fresh_us(http->loop));
}

const struct history *http_history(const struct http *http)
{
    return http->history;
}

// --- sockets -----------------------------------------------------------------------------------------------------

static bool listen_at(struct http *http, const char *origin, const char *text, bool is_metrics_only,
                      struct err *out_error)
{
    struct http_address address;
    int fds[HTTP_ADDRESS_SOCKETS_MAX];
    uint32_t count = 0;
    if (text == NULL)
        return true;
    if (!http_address_parse(origin, text, &address, out_error))
        return false;
    if (address.is_off)
        return true;
    if (!http_address_listen(&address, origin, text, fds, &count, out_error))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        char where[HTTP_ADDRESS_TEXT_SIZE];
        http->listeners[http->listener_count++] = (struct http_listener){fds[i], is_metrics_only};
        http_address_format(fds[i], where);
        log_line(LOG_INFO, NULL, "listening", "%s on http://%s (%s)",
                 is_metrics_only ? "metrics" : "metrics, probes, API and page", where, origin);
    }
    return true;
}

struct http *http_open(const struct http_options *options, struct err *out_error)
{
    struct http *http = calloc(1, sizeof *http);
    CHECK(http != NULL);
    if (options->token != NULL)
        http->token = *options->token;
    // Both at one address: what HEALTH_ADDR serves has the metrics too. (At port 0 each gets one of its own.)
    const char *metrics = options->metrics_address, *health = options->health_address;
    const char *port = metrics != NULL ? strrchr(metrics, ':') : NULL;
    bool is_one = port != NULL && health != NULL && strcmp(metrics, health) == 0 && strcmp(port, ":0") != 0;
    bool is_open = (is_one || listen_at(http, options->metrics_origin, metrics, true, out_error)) &&
                   listen_at(http, options->health_origin, health, false, out_error);
    if (is_open && http->listener_count > 0)
        return http;
    http_free(http);
    return NULL;
}

// --- lag of the last hour ----------------------------------------------------------------------------------------

static void on_pipeline(void *context, const struct board_text *text)
{
    history_see(context, text->key + strlen("pipeline/"), text->text);
}

static void on_history_due(struct loop_timer *timer)
{
    struct http *http = timer->context;
    history_begin(http->history, loop_wall_us(http->loop));
    board_each(http->board, "pipeline/", on_pipeline, http->history);
    history_end(http->history);
    loop_timer_set(http->loop, timer, HISTORY_INTERVAL_S * 1000000ULL);
}

// --- the thread --------------------------------------------------------------------------------------------------

static void end(struct http *http)
{
    http->is_ending = true;
    control_cancel_all(http);
    while (http->server_count > 0)
        server_free(http->servers[--http->server_count]);
    loop_stop(http->loop);
}

static void on_order(void *context, void *message)
{
    CHECK(message == &end_order);
    end(context);
}

static void on_answer(void *context, void *message)
{
    struct http *http = context;
    if (http->is_ending)
        catalog_request_free(message);  // whoever asked was told that it ends
    else
        control_answered(http, message);
}

static void *run(void *context)
{
    struct http *http = context;
    process_name_thread("http");
    urgency_begin(&http->urgency, loop_now_us(http->loop));
    loop_run(http->loop);
    return NULL;
}

static bool open_all(struct http *http, struct err *out_error)
{
    http->loop = loop_new(&clock_system, out_error);
    if (http->loop == NULL)
        return false;
    http->started_us = loop_wall_us(http->loop);
    http->orders = mailbox_new(http->loop, ORDERS_MAX, on_order, http, out_error);
    http->answers = mailbox_new(http->loop, ANSWERS_MAX, on_answer, http, out_error);
    if (http->orders == NULL || http->answers == NULL)
        return false;
    http->history = history_new();
    http->history_timer = (struct loop_timer){.on_due = on_history_due, .context = http};
    loop_timer_set(http->loop, &http->history_timer, HISTORY_INTERVAL_S * 1000000ULL);
    for (uint32_t i = 0; i < http->listener_count; i++) {
        struct http_listener *listener = &http->listeners[i];
        struct server *server =
            server_new(http, http->loop, listener->fd, listener->is_metrics_only, &http->token, out_error);
        listener->fd = -1;
        if (server == NULL)
            return false;
        http->servers[http->server_count++] = server;
    }
    return true;
}

bool http_start(struct http *http, struct board *board, struct catalog *catalog, struct err *out_error)
{
    if (http == NULL)
        return true;
    http->board = board;
    http->catalog = catalog;
    if (!open_all(http, out_error))
        return false;
    if (pthread_create(&http->thread, NULL, run, http) != 0)
        return err_set(out_error, ERR_INTERNAL, "thread", "the HTTP thread cannot be started");
    http->is_started = true;
    return true;
}

void http_stop(struct http *http)
{
    if (http == NULL || !http->is_started)
        return;
    CHECK(mailbox_send(http->orders, &end_order));
    pthread_join(http->thread, NULL);
    http->is_started = false;
}

static void discard_order(void *message)
{
    (void)message;
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    CHECK(!http->is_started);
    while (http->server_count > 0)
        server_free(http->servers[--http->server_count]);
    for (uint32_t i = 0; i < http->listener_count; i++)
        if (http->listeners[i].fd >= 0)
            close(http->listeners[i].fd);
    if (http->orders != NULL)
        mailbox_free(http->orders, discard_order);
    if (http->answers != NULL)
        mailbox_free(http->answers, catalog_request_discard);
    if (http->loop != NULL) {
        loop_timer_stop(http->loop, &http->history_timer);
        loop_free(http->loop);
    }
    history_free(http->history);
    free(http);
}
