#include "http/server.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"
#include "http/address.h"
#include "http/routes.h"
#include "io/json_put.h"
#include "io/lock.h"

#define PEERS_HARD_MAX (SERVER_PEERS_MAX + 64)  // those that were told to close and have not yet
#define PEER_MEMORY_BYTES 32768                 // of libmicrohttpd, a connection: headers above it are refused
#define SWEEP_INTERVAL_US 1000000

// A connection. In the list of its server, the one that has been silent longest first.
struct peer {
    struct server *server;
    struct peer *next, *previous;
    int fd;
    uint64_t since_us;  // monotonic: when it was opened, or its last answer was taken
    bool is_closing;    // shut down; libmicrohttpd closes it
    bool is_waiting;    // for us
};

struct http_exchange {
    struct http_request request;
    struct MHD_Connection *connection;
    struct peer *peer;
    const struct http_route *route;
    char *path;
    bool is_answered, is_waiting, is_too_large;
};

struct server {
    struct http *http;
    struct loop *loop;
    struct loop_watch watch;
    struct loop_timer turn_timer, sweep_timer;
    struct MHD_Daemon *daemon;
    const struct http_token *token;
    bool is_metrics_only;
    struct peer *first, *last;
    uint32_t peer_count;
};

// --- connections -------------------------------------------------------------------------------------------------

static void unlink_peer(struct peer *peer)
{
    struct server *server = peer->server;
    *(peer->previous != NULL ? &peer->previous->next : &server->first) = peer->next;
    *(peer->next != NULL ? &peer->next->previous : &server->last) = peer->previous;
    peer->next = peer->previous = NULL;
}

static void link_last(struct peer *peer)
{
    struct server *server = peer->server;
    peer->previous = server->last;
    *(server->last != NULL ? &server->last->next : &server->first) = peer;
    server->last = peer;
}

// libmicrohttpd sees the end of the stream and closes.
static void hang_up(struct peer *peer)
{
    if (peer->is_closing)
        return;
    peer->is_closing = true;
    (void)shutdown(peer->fd, SHUT_RDWR);
}

static void make_room(const struct server *server)
{
    uint32_t open_count = 0;
    for (const struct peer *peer = server->first; peer != NULL; peer = peer->next)
        open_count += !peer->is_closing;
    for (struct peer *peer = server->first; peer != NULL && open_count > SERVER_PEERS_MAX; peer = peer->next) {
        if (peer->is_closing || peer->is_waiting)
            continue;
        hang_up(peer);
        open_count--;
    }
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *server = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct peer *peer = calloc(1, sizeof *peer);
        CHECK(peer != NULL);
        peer->server = server;
        peer->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        peer->since_us = loop_now_us(server->loop);
        link_last(peer);
        server->peer_count++;
        *socket_context = peer;
        make_room(server);
        return;
    }
    struct peer *peer = *socket_context;
    unlink_peer(peer);
    server->peer_count--;
    free(peer);
    *socket_context = NULL;
}

static void on_sweep(struct loop_timer *timer)
{
    const struct server *server = timer->context;
    uint64_t now_us = loop_now_us(server->loop);
    for (struct peer *peer = server->first; peer != NULL; peer = peer->next)
        if (!peer->is_waiting && now_us - peer->since_us > SERVER_PATIENCE_S * 1000000ULL)
            hang_up(peer);
    http_account(server->http);
    loop_timer_set(server->loop, timer, SWEEP_INTERVAL_US);
}

// --- answers -----------------------------------------------------------------------------------------------------

static void add_headers(struct MHD_Response *response, const char *content_type)
{
    static const char *const headers[][2] = {
        {"Cache-Control", "no-store"},
        {"Content-Security-Policy",
         "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
         "require-trusted-types-for 'script'"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Referrer-Policy", "no-referrer"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
    };
    CHECK(MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        CHECK(MHD_add_response_header(response, headers[i][0], headers[i][1]) == MHD_YES);
}

static void send_response(struct http_exchange *exchange, unsigned status, struct MHD_Response *response)
{
    CHECK(!exchange->is_answered);
    exchange->is_answered = true;
    // Not taken: the connection is about to close.
    (void)MHD_queue_response(exchange->connection, status, response);
    MHD_destroy_response(response);
    if (!exchange->is_waiting)
        return;
    exchange->is_waiting = exchange->peer->is_waiting = false;
    exchange->request.on_cancel = NULL;
    struct server *server = exchange->peer->server;
    MHD_resume_connection(exchange->connection);
    loop_timer_set(server->loop, &server->turn_timer, 0);  // not from within: the caller may be in one of its callbacks
}

void http_answer(struct http_request *request, unsigned status, const char *content_type, char *take_text, size_t size)
{
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(size, take_text, free);
    CHECK(response != NULL);
    add_headers(response, content_type);
    send_response(request->exchange, status, response);
}

void http_answer_file(struct http_request *request, const char *content_type, const void *bytes, size_t size)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_PERSISTENT);
    CHECK(response != NULL);
    add_headers(response, content_type);
    send_response(request->exchange, MHD_HTTP_OK, response);
}

void http_answer_text(struct http_request *request, unsigned status, const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    http_answer(request, status, "text/plain; charset=utf-8", copy, strlen(copy));
}

void http_answer_json_text(struct http_request *request, unsigned status, char *take_json)
{
    http_answer(request, status, "application/json", take_json, strlen(take_json));
}

void http_answer_json(struct http_request *request, unsigned status, json_t *take_object)
{
    http_answer_json_text(request, status, json_take_line(take_object));
}

static json_t *error_json(const char *error, const char *allowed)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "error", error);
    if (allowed != NULL)
        json_object_set_new(object, "allowed", json_string(allowed));
    return object;
}

void http_answer_error(struct http_request *request, unsigned status, const char *allowed, const char *format, ...)
{
    struct err error = {0};
    va_list arguments;
    va_start(arguments, format);
    err_set_va(&error, ERR_CONFIG, "", format, arguments);
    va_end(arguments);
    http_answer_json(request, status, error_json(error.text, allowed));
}

// With a header of its own.
static void refuse(struct http_exchange *exchange, unsigned status, const char *error, const char *allowed,
                   const char *header, const char *value)
{
    json_t *object = error_json(error, allowed);
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(strlen(text), text, free);
    CHECK(response != NULL);
    add_headers(response, "application/json");
    if (header != NULL)
        CHECK(MHD_add_response_header(response, header, value) == MHD_YES);
    send_response(exchange, status, response);
}

void http_wait(struct http_request *request)
{
    struct http_exchange *exchange = request->exchange;
    CHECK(!exchange->is_answered && !exchange->is_waiting && request->on_cancel != NULL);
    exchange->is_waiting = exchange->peer->is_waiting = true;
    MHD_suspend_connection(exchange->connection);
}

// --- requests ----------------------------------------------------------------------------------------------------

static const char *header(const struct http_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

static bool is_allowed(struct http_exchange *exchange, const struct server *server)
{
    const struct sockaddr *address =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    const struct guard_request request = {
        .is_loopback = http_address_is_loopback(address),
        .is_forwarded = header(exchange, "Forwarded") != NULL || header(exchange, "X-Forwarded-For") != NULL ||
                        header(exchange, "X-Real-IP") != NULL || header(exchange, "Via") != NULL,
        .host = header(exchange, "Host"),
        .origin = header(exchange, "Origin"),
        .fetch_site = header(exchange, "Sec-Fetch-Site"),
        .authorization = header(exchange, "Authorization"),
        .content_type = header(exchange, "Content-Type")};
    struct guard_verdict verdict = guard_judge(&request, server->token, exchange->route->access);
    if (verdict.status == MHD_HTTP_OK)
        return true;
    refuse(exchange, verdict.status, verdict.error, verdict.allowed,
           verdict.authenticate != NULL ? "WWW-Authenticate" : NULL, verdict.authenticate);
    return false;
}

// Headers are here: what can be refused without the body is.
static void begin(struct http_exchange *exchange, const struct server *server, const char *method)
{
    struct http_request *request = &exchange->request;
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0, is_known = false;
    request->is_post = strcmp(method, "POST") == 0;
    exchange->route =
        http_route_find(request->path, request->is_post, server->is_metrics_only, request->name, &is_known);
    if (exchange->route != NULL && (is_get || request->is_post)) {
        const char *length = header(exchange, "Content-Length");
        if (is_allowed(exchange, server) && length != NULL && strtoull(length, NULL, 10) > HTTP_BODY_BYTES_MAX)
            http_answer_error(request, 413, NULL, "the content is too large; allowed are %d bytes",
                              HTTP_BODY_BYTES_MAX);
        return;
    }
    if (!is_known) {
        refuse(exchange, 404, "there is no such path",
               server->is_metrics_only ? "/metrics" : "/, /health, /ready, /liveness, /metrics, /api/v1/…", NULL, NULL);
        return;
    }
    bool is_change = exchange->route == NULL ? !request->is_post : exchange->route->is_post;
    refuse(exchange, 405, "the path does not know the method", is_change ? "POST" : "GET, HEAD", "Allow",
           is_change ? "POST" : "GET, HEAD");
}

static struct http_exchange *exchange_new(const struct server *server, struct MHD_Connection *connection,
                                          const char *url)
{
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    CHECK(exchange != NULL);
    exchange->path = strdup(url);
    CHECK(exchange->path != NULL);
    exchange->connection = connection;
    exchange->peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    exchange->request = (struct http_request){.http = server->http, .path = exchange->path, .exchange = exchange};
    buf_init(&exchange->request.body, HTTP_BODY_BYTES_MAX + 1);
    return exchange;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **exchange_at)
{
    struct server *server = context;
    struct http_exchange *exchange = *exchange_at;
    (void)version;
    lock_check_none();
    if (exchange == NULL) {
        *exchange_at = exchange = exchange_new(server, connection, url);
        begin(exchange, server, method);
        return MHD_YES;
    }
    if (*upload_size > 0) {
        if (exchange->request.body.size + *upload_size > HTTP_BODY_BYTES_MAX)
            exchange->is_too_large = true;
        else
            buf_append(&exchange->request.body, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (exchange->is_answered || exchange->is_waiting)
        return MHD_YES;
    if (exchange->is_too_large)
        http_answer_error(&exchange->request, 413, NULL, "the content is too large; allowed are %d bytes",
                          HTTP_BODY_BYTES_MAX);
    else
        exchange->route->answer(&exchange->request);
    CHECK(exchange->is_answered || exchange->is_waiting);
    return MHD_YES;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **exchange_at,
                         enum MHD_RequestTerminationCode code)
{
    const struct server *server = context;
    struct http_exchange *exchange = *exchange_at;
    (void)connection;
    (void)code;
    if (exchange == NULL)
        return;
    CHECK(!exchange->is_waiting);
    exchange->peer->since_us = loop_now_us(server->loop);
    unlink_peer(exchange->peer);
    link_last(exchange->peer);
    http_account(server->http);
    buf_deinit(&exchange->request.body);
    free(exchange->path);
    free(exchange);
    *exchange_at = NULL;
}

// --- turns -------------------------------------------------------------------------------------------------------

static void run(struct server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    lock_check_none();
    (void)MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        loop_timer_set(server->loop, &server->turn_timer, (uint64_t)wait_ms * 1000);
    else
        loop_timer_stop(server->loop, &server->turn_timer);
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    (void)events;
    run(watch->context);
}

static void on_turn(struct loop_timer *timer)
{
    run(timer->context);
}

// What libmicrohttpd says is of connections that broke, which is nobody's trouble.
__attribute__((format(printf, 2, 0))) static void on_log(void *context, const char *format, va_list arguments)
{
    char text[256];
    (void)context;
    if (!log_enabled(LOG_DEBUG))
        return;
    (void)vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_line(LOG_DEBUG, NULL, "http", "%s", text);
}

struct server *server_new(struct http *http, struct loop *loop, int take_fd, bool is_metrics_only,
                          const struct http_token *token, struct err *out_error)
{
    struct server *server = calloc(1, sizeof *server);
    CHECK(server != NULL);
    server->http = http;
    server->loop = loop;
    server->token = token;
    server->is_metrics_only = is_metrics_only;
    server->watch = (struct loop_watch){.on_ready = on_ready, .context = server, .fd = -1};
    server->turn_timer = (struct loop_timer){.on_due = on_turn, .context = server};
    server->sweep_timer = (struct loop_timer){.on_due = on_sweep, .context = server};
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    server->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                         MHD_OPTION_LISTEN_SOCKET, take_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)PEERS_HARD_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVER_PATIENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)PEER_MEMORY_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
    if (server->daemon == NULL) {
        err_set(out_error, ERR_INTERNAL, "http", "the HTTP server cannot be started");
        free(server);
        return NULL;
    }
    int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (!loop_watch_set(loop, &server->watch, epoll_fd, LOOP_READ, out_error)) {
        server_free(server);
        return NULL;
    }
    loop_timer_set(loop, &server->sweep_timer, SWEEP_INTERVAL_US);
    return server;
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    loop_watch_stop(server->loop, &server->watch);
    loop_timer_stop(server->loop, &server->sweep_timer);
    (void)MHD_run(server->daemon);    // answers that were given meanwhile
    MHD_stop_daemon(server->daemon);  // closes the socket too
    loop_timer_stop(server->loop, &server->turn_timer);
    CHECK(server->peer_count == 0);
    free(server);
}
