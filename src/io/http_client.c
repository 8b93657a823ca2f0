#include "io/http_client.h"

#include <curl/curl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "io/breaker_meter.h"
#include "io/lock.h"
#include "io/resolver.h"

// Facts about libcurl 7.88.1 (its sources and manual pages), which this file rests on:
// - curl_multi_add_handle does no I/O: it arms the timer with 0. Inside a socket or timer callback no libcurl function may be
//   called (CURLM_RECURSIVE_API_CALL); nothing here does.
// - A socket is taken from us by CURL_POLL_REMOVE before it is closed, also the pair that the name look-up's thread writes to.
// - A request that ends while its name is being looked up waits for the look-up's thread, hanging our loop, unless
//   CURLOPT_QUICK_EXIT is set; the thread is detached then (asyn-thread.c, Curl_resolver_kill).
// - The store of trusted certificates is parsed once a day and multi handle, not once per connection, only while there is no
//   CURLOPT_CAPATH (vtls/openssl.c, Curl_ssl_setup_x509_store), and Debian sets one. The system's list takes tens of
//   milliseconds: the first connection costs the loop that much, once.
// - Secrets: the request (headers and a body below 64 KiB) is put together in a buffer of libcurl's, and what is sent over TLS is
//   copied through an upload buffer; both are freed, not cleared, when sent or when the request ends. So all of libcurl's memory goes
//   through the functions below, which clear what is freed. OpenSSL encrypts in place; its buffer of received
//   bytes holds the last answer in clear until the connection is idle (SSL_MODE_RELEASE_BUFFERS) and is freed by OpenSSL's own functions.
// - On a reused connection that turns out to be dead before any byte of the answer, libcurl sends the request again on a
//   new one, POST too. Whoever must not be heard twice says so in the request (a continuation token, a request id).
// - HTTP/2 is left out: an append would share one connection's window with the others', and 7.88.1 is the release before
//   its uploads were mended (a busy loop, flow control: d9ccc75b99, 06f65f771b, both in 8.1.0).

enum {
    CONNECT_MS_MAX = 15000,      // within timeout_ms: the rest of it is for the answer
    IDLE_CONNECTIONS_MAX = 256,  // kept for reuse
    RETRY_AFTER_S_MAX = 86400,
    HOST_SIZE = 256
};

static const size_t ANSWER_BYTES_MAX_DEFAULT = (size_t)64 << 20;

// One descriptor of libcurl's.
struct http_socket {
    struct http_client *client;
    struct loop_watch watch;
    struct http_socket *next;
    struct http_socket *previous;
};

// One request under way: request->handle.
struct transfer {
    struct http_client *client;
    struct http_request *request;
    CURL *easy;
    struct transfer *next;
    struct transfer *previous;
    size_t answer_bytes_max;
    bool is_answer_too_large;
    bool is_doomed;
    bool is_refused;         // by the breaker: was not sent
    struct err early_error;  // an error that waits for the look-up which tells its kind
    struct resolver_request diagnosis;
    char *ca_file;              // NULL: the system's
    char host[HOST_SIZE];       // of the URL, for messages
    char host_port[HOST_SIZE];  // likewise; an IPv6 address in brackets
    char cause[CURL_ERROR_SIZE];
    size_t header_size;  // of what follows header_block, cleared at the end
    char *header_block;  // header_count + 2 list nodes, then their text
};

struct http_client {
    struct loop *loop;
    struct resolver *resolver;
    CURLM *multi;
    CURLSH *share;
    struct loop_timer timer;
    struct http_socket *sockets;
    struct transfer *transfers;
    struct loop_deferred refuse;
    bool is_delivering;
    struct http_client_stats stats;
    struct http_meter meter;
};

// ---- libcurl's memory

static void free_cleared(void *memory)
{
    if (memory != NULL) {
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
    }
}

static void *realloc_cleared(void *memory, size_t size)
{
    if (memory == NULL)
        return malloc(size);
    size_t size_before = malloc_usable_size(memory);
    void *moved = malloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, memory, size < size_before ? size : size_before);
    free_cleared(memory);
    return moved;
}

static bool is_global_ready;

static void init_global(void)
{
    is_global_ready =
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, free_cleared, realloc_cleared, strdup, calloc) == CURLE_OK;
    // CURLOPT_NOSIGNAL leaves SIGPIPE to us, and OpenSSL writes with write(). (Without the option libcurl would change the
    // process's signal handling around every step, which is no good among threads.)
    struct sigaction before;
    if (sigaction(SIGPIPE, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

// ---- sockets and the timer

static void end_finished(struct http_client *client);
static void fail_all(struct http_client *client, const char *cause);

static void act(struct http_client *client, curl_socket_t fd, int curl_events)
{
    lock_check_none();
    int running_count;
    CURLMcode code = curl_multi_socket_action(client->multi, fd, curl_events, &running_count);
    end_finished(client);
    if (code != CURLM_OK)
        fail_all(client, curl_multi_strerror(code));
}

static void on_socket_ready(struct loop_watch *watch, unsigned events)
{
    struct http_socket *socket = watch->context;
    int curl_events =
        ((events & LOOP_READ) != 0 ? CURL_CSELECT_IN : 0) | ((events & LOOP_WRITE) != 0 ? CURL_CSELECT_OUT : 0);
    // Reading or writing finds the cause of an error; CURL_CSELECT_ERR would only say that there was one.
    act(socket->client, watch->fd, curl_events != 0 ? curl_events : CURL_CSELECT_ERR);
}

static void on_timer_due(struct loop_timer *timer)
{
    act(timer->context, CURL_SOCKET_TIMEOUT, 0);
}

static void socket_free(struct http_socket *socket)
{
    struct http_client *client = socket->client;
    // May be called from inside this watch's own callback: the loop does not look at a stopped watch again.
    loop_watch_stop(client->loop, &socket->watch);
    if (socket->previous != NULL)
        socket->previous->next = socket->next;
    else
        client->sockets = socket->next;
    if (socket->next != NULL)
        socket->next->previous = socket->previous;
    free(socket);
}

// CURLMOPT_SOCKETFUNCTION. -1 makes libcurl give up all transfers of the multi handle.
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
    (void)easy;
    struct http_client *client = context;
    struct http_socket *socket = socket_context;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL)
            socket_free(socket);
        return 0;
    }
    if (socket == NULL) {
        socket = calloc(1, sizeof *socket);
        if (socket == NULL)
            return -1;
        socket->client = client;
        socket->watch = (struct loop_watch){.on_ready = on_socket_ready, .context = socket, .fd = -1};
        socket->next = client->sockets;
        if (socket->next != NULL)
            socket->next->previous = socket;
        client->sockets = socket;
        // The one function that is allowed here.
        if (curl_multi_assign(client->multi, fd, socket) != CURLM_OK) {
            socket_free(socket);
            return -1;
        }
    }
    unsigned events = ((what & CURL_POLL_IN) != 0 ? (unsigned)LOOP_READ : 0) |
                      ((what & CURL_POLL_OUT) != 0 ? (unsigned)LOOP_WRITE : 0);
    struct err error;
    return loop_watch_set(client->loop, &socket->watch, fd, events, &error) ? 0 : -1;
}

// CURLMOPT_TIMERFUNCTION. 0 is "in the next turn": libcurl must not be called from inside this function.
static int on_curl_timer(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct http_client *client = context;
    if (timeout_ms < 0)
        loop_timer_stop(client->loop, &client->timer);
    else
        loop_timer_set(client->loop, &client->timer, (uint64_t)timeout_ms * 1000);
    return 0;
}

// ---- one request: what libcurl asks while it runs

static size_t on_curl_answer(char *data, size_t one, size_t size, void *context)
{
    (void)one;  // always 1
    struct transfer *transfer = context;
    struct buf *answer = &transfer->request->answer;
    if (size > transfer->answer_bytes_max - answer->size) {
        transfer->is_answer_too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    buf_append(answer, data, size);
    return answer->failed ? CURL_WRITEFUNC_ERROR : size;
}

// CURLOPT_PREREQFUNCTION: the connection stands, the request is written next.
static int on_curl_send(void *context, char *primary_ip, char *local_ip, int primary_port, int local_port)
{
    (void)primary_ip;
    (void)local_ip;
    (void)primary_port;
    (void)local_port;
    struct transfer *transfer = context;
    transfer->request->sent_us = loop_fresh_us(transfer->client->loop);
    return CURL_PREREQFUNC_OK;
}

// ---- the end of a request

static void transfer_free(struct transfer *transfer)
{
    struct http_client *client = transfer->client;
    if (transfer->easy != NULL) {
        lock_check_none();
        curl_multi_remove_handle(client->multi, transfer->easy);
        curl_easy_cleanup(transfer->easy);
    }
    if (transfer->header_block != NULL) {
        explicit_bzero(transfer->header_block, transfer->header_size);
        free(transfer->header_block);
    }
    free(transfer->ca_file);
    if (transfer->previous != NULL)
        transfer->previous->next = transfer->next;
    else if (client->transfers == transfer)
        client->transfers = transfer->next;
    if (transfer->next != NULL)
        transfer->next->previous = transfer->previous;
    free(transfer);
}

static uint64_t info_bytes(CURL *easy, CURLINFO info)
{
    curl_off_t bytes = 0;
    return curl_easy_getinfo(easy, info, &bytes) == CURLE_OK && bytes > 0 ? (uint64_t)bytes : 0;
}

static int64_t answer_date_s(CURL *easy)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return 0;
    time_t date_s = curl_getdate(header->value, NULL);
    return date_s > 0 ? (int64_t)date_s : 0;
}

static uint64_t info_long(CURL *easy, CURLINFO info)
{
    long value = 0;
    return curl_easy_getinfo(easy, info, &value) == CURLE_OK && value > 0 ? (uint64_t)value : 0;
}

// How far it came. libcurl's times are no measure: the one of connecting is 0 until the TLS handshake is done, the one of
// the answer's first byte is set when an upload begins.
static const char *phase_of(const struct transfer *transfer)
{
    CURL *easy = transfer->easy;
    if (transfer->request->sent_us == 0) {
        if (info_bytes(easy, CURLINFO_NAMELOOKUP_TIME_T) == 0)
            return "looking up the host name";
        if (info_long(easy, CURLINFO_NUM_CONNECTS) == 0)
            return "connecting";
        return "in the TLS handshake";
    }
    if (info_bytes(easy, CURLINFO_SIZE_UPLOAD_T) < transfer->request->body_size)
        return "sending the request";
    if (info_long(easy, CURLINFO_HEADER_SIZE) == 0)
        return "waiting for the answer";
    return "reading the answer";
}

static void describe(const struct transfer *transfer, CURLcode code, struct err *out_error)
{
    const char *where = transfer->host_port;
    const char *cause = transfer->cause[0] != '\0' ? transfer->cause : curl_easy_strerror(code);
    int system_error = (int)info_long(transfer->easy, CURLINFO_OS_ERRNO);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        err_set(out_error, ERR_TRANSIENT, "timeout", "%s: no answer in time, %s (%s)", where, phase_of(transfer),
                cause);
        return;
    case CURLE_COULDNT_RESOLVE_PROXY:
        err_set(out_error, ERR_TRANSIENT, "proxy", "%s: cannot look up the proxy's host name (%s)", where, cause);
        return;
    case CURLE_COULDNT_RESOLVE_HOST:
        err_set(out_error, ERR_TRANSIENT, "name_resolution", "cannot look up the host name \"%s\" now", transfer->host);
        return;
    case CURLE_COULDNT_CONNECT:
        err_set(out_error, ERR_TRANSIENT, "connect", "%s: cannot connect: %s", where,
                system_error != 0 ? strerror(system_error) : cause);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        err_set(out_error, ERR_CONFIG, "tls_certificate", "%s: the server's certificate is not trusted: %s%s%s", where,
                cause, transfer->ca_file != NULL ? "; trusted is what is in " : "",
                transfer->ca_file != NULL ? transfer->ca_file : "");
        return;
    case CURLE_SSL_CACERT_BADFILE:
        err_set(out_error, ERR_CONFIG, "ca_file", "%s: cannot read trusted certificates from %s", where,
                transfer->ca_file != NULL ? transfer->ca_file : "the system's list (ca-certificates)");
        return;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
        err_set(out_error, ERR_TRANSIENT, "tls", "%s: the TLS handshake failed: %s", where, cause);
        return;
    case CURLE_WRITE_ERROR:
        if (transfer->is_answer_too_large)
            err_set(out_error, ERR_DATA, "answer_too_large", "%s: the answer is larger than %zu bytes", where,
                    transfer->answer_bytes_max);
        else
            err_set(out_error, ERR_INTERNAL, "", "%s: out of memory for the answer", where);
        return;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_NOT_BUILT_IN: err_set(out_error, ERR_INTERNAL, "", "%s: %s", where, cause); return;
    case CURLE_UNSUPPORTED_PROTOCOL:  // the URL's scheme was looked at before: this is an answer without a status line
    case CURLE_WEIRD_SERVER_REPLY:
        err_set(out_error, ERR_TRANSIENT, "not_http", "%s: what answers does not speak HTTP (%s)", where, cause);
        return;
    default:
        if (info_long(transfer->easy, CURLINFO_HTTP_CONNECTCODE) == 407)
            err_set(out_error, ERR_CONFIG, "proxy", "%s: the proxy asks for a user and password", where);
        else
            err_set(out_error, ERR_TRANSIENT, "connection", "%s: the connection broke, %s: %s", where,
                    phase_of(transfer), cause);
    }
}

static void breaker_note(const struct http_request *request, const struct err *error)
{
    struct breaker *breaker = request->breaker;
    if (breaker == NULL)
        return;
    if (error == NULL && request->status < 500) {
        breaker_succeeded(breaker);
        return;
    }
    if (error != NULL)
        (void)snprintf(breaker->reason, sizeof breaker->reason, "%s", error->text);
    else
        (void)snprintf(breaker->reason, sizeof breaker->reason, "it answered HTTP %u", request->status);
    breaker_failed(breaker, request->done_us);
}

static void meter_note(struct http_client *client, const struct http_request *request)
{
    uint64_t took_us =
        request->sent_us > 0 && request->done_us > request->sent_us ? request->done_us - request->sent_us : 0;
    http_meter_note(&client->meter, request->meter, request->operation, request->status, took_us);
}

// Frees the transfer and tells. The request is idle before on_done, which may start it again or free it.
static void deliver(struct transfer *take_transfer, const struct err *error)
{
    struct http_client *client = take_transfer->client;
    struct http_request *request = take_transfer->request;
    CURL *easy = take_transfer->easy;
    bool is_refused = take_transfer->is_refused;
    if (!is_refused) {
        client->stats.bytes_sent += info_bytes(easy, CURLINFO_SIZE_UPLOAD_T);
        client->stats.bytes_received += info_bytes(easy, CURLINFO_SIZE_DOWNLOAD_T);
    }
    if (error != NULL) {
        client->stats.failures++;
    } else {
        uint64_t retry_after_s = info_bytes(easy, CURLINFO_RETRY_AFTER);
        request->status = (uint32_t)info_long(easy, CURLINFO_RESPONSE_CODE);
        request->date_s = answer_date_s(easy);
        request->retry_after_s = retry_after_s > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX : (uint32_t)retry_after_s;
    }
    request->done_us = loop_fresh_us(client->loop);
    request->handle = NULL;
    if (!is_refused) {
        breaker_note(request, error);
        meter_note(client, request);
    }
    if (request->breaker != NULL)
        breaker_meter_note(request->breaker);
    transfer_free(take_transfer);
    client->is_delivering = true;
    request->on_done(request, error);
    client->is_delivering = false;
}

// libcurl does not say whether a name does not exist or no name server answered, and only the first is the operator's
// to mend: the name is looked up once more, by someone who knows.
static void on_diagnosed(struct resolver_request *diagnosis, const char *addresses, const struct err *error)
{
    (void)addresses;
    struct transfer *transfer = diagnosis->context;
    struct err told = error != NULL ? *error : transfer->early_error;
    deliver(transfer, &told);
}

static void end_transfer(struct transfer *transfer, CURLcode code)
{
    struct http_request *request = transfer->request;
    if (code == CURLE_OK) {
        buf_text(&request->answer);
        if (!request->answer.failed) {
            deliver(transfer, NULL);
            return;
        }
        code = CURLE_OUT_OF_MEMORY;
    }
    struct err error;
    describe(transfer, code, &error);
    if (code == CURLE_COULDNT_RESOLVE_HOST) {
        transfer->early_error = error;
        transfer->diagnosis = (struct resolver_request){.on_done = on_diagnosed, .context = transfer};
        if (resolver_start(transfer->client->resolver, &transfer->diagnosis, transfer->host, &error))
            return;
    }
    deliver(transfer, &error);
}

static void end_finished(struct http_client *client)
{
    // An on_done may cancel any other request: that takes its message from libcurl's list too.
    int left_count;
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left_count)) != NULL;) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;  // the message does not outlive the handle
        char *transfer = NULL;
        CHECK(curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer) == CURLE_OK && transfer != NULL);
        end_transfer((struct transfer *)(void *)transfer, code);
    }
}

static struct transfer *next_doomed(const struct http_client *client)
{
    for (struct transfer *transfer = client->transfers; transfer != NULL; transfer = transfer->next) {
        if (transfer->is_doomed)
            return transfer;
    }
    return NULL;
}

// The multi handle is broken (out of memory, no more watches): it takes new requests once all that it has are gone.
static void fail_all(struct http_client *client, const char *cause)
{
    // Marked first, and looked for anew after each: an on_done may start requests and cancel others.
    for (struct transfer *transfer = client->transfers; transfer != NULL; transfer = transfer->next)
        transfer->is_doomed = transfer->diagnosis.id == 0;
    for (struct transfer *transfer; (transfer = next_doomed(client)) != NULL;) {
        struct err error;
        err_set(&error, ERR_INTERNAL, "", "%s: %s", transfer->host_port, cause);
        deliver(transfer, &error);
    }
}

// Requests that the breaker refused hear of it outside of http_client_start.
static void on_refuse(struct loop_deferred *deferred)
{
    struct http_client *client = deferred->context;
    struct transfer *transfer = client->transfers;
    while (transfer != NULL) {
        struct err error;
        if (!transfer->is_refused) {
            transfer = transfer->next;
            continue;
        }
        uint64_t now_us = loop_now_us(client->loop), until_us = transfer->request->breaker->open_until_us;
        err_set(&error, ERR_TRANSIENT, "circuit_open",
                "%s (the destination failed several times in a row and is left alone; it is tried again in %u s)",
                transfer->request->breaker->reason,
                (unsigned)(until_us > now_us ? (until_us - now_us) / 1000000 + 1 : 1));
        deliver(transfer, &error);
        transfer = client->transfers;  // on_done may have started and cancelled others
    }
}

static bool refuse(struct http_client *client, struct http_request *request, struct err *out_error)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a request");
    transfer->client = client;
    transfer->request = request;
    transfer->is_refused = true;
    transfer->next = client->transfers;
    if (transfer->next != NULL)
        transfer->next->previous = transfer;
    client->transfers = transfer;
    request->handle = transfer;
    loop_defer(client->loop, &client->refuse);
    return true;
}

// ---- the start of a request

// Takes the URL apart for messages, and refuses what is not to be spoken to.
static bool read_url(struct transfer *transfer, const char *url, bool *out_is_tls, struct err *out_error)
{
    char *scheme = NULL;
    char *host = NULL;
    char *port = NULL;
    bool is_good = false;
    CURLU *parts = curl_url();
    if (parts == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a request");
    CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_HOST, &host, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    // The URL is not shown: it may hold a password.
    if (code != CURLUE_OK) {
        err_set(out_error, ERR_CONFIG, "url", "the URL cannot be understood: %s", curl_url_strerror(code));
    } else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0) {
        err_set(out_error, ERR_CONFIG, "url", "the URL begins with \"%s:\", allowed are https: and http:", scheme);
    } else {
        int host_size = snprintf(transfer->host, sizeof transfer->host, "%s", host);
        int size = snprintf(transfer->host_port, sizeof transfer->host_port, "%s:%s", host, port);
        is_good = host_size > 0 && size > 0 && size < (int)sizeof transfer->host_port;
        if (!is_good)
            err_set(out_error, ERR_CONFIG, "url", "the URL's host name is too long");
        *out_is_tls = strcmp(scheme, "https") == 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return is_good;
}

static bool has_line_break(const char *text)
{
    return strpbrk(text, "\r\n") != NULL;
}

// libcurl borrows the list it is given, so it is built here, in one block that can be cleared as a whole.
static bool build_headers(struct transfer *transfer, struct err *out_error)
{
    // A colon without a value takes out what libcurl would put in by itself: waiting a second for "100 Continue" before a
    // body over 1 MB, and a form's content type.
    static const char no_expect[] = "Expect:";
    static const char no_content_type[] = "Content-Type:";
    const struct http_request *request = transfer->request;
    size_t node_count = request->header_count + 2;
    size_t size = node_count * sizeof(struct curl_slist) + sizeof no_expect + sizeof no_content_type;
    bool has_content_type = false;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        if (has_line_break(header->name) || has_line_break(header->value))
            return err_set(out_error, ERR_CONFIG, "header", "%s: a request header has a line break in it",
                           transfer->host_port);
        size += strlen(header->name) + strlen(header->value) + sizeof ": ";
        has_content_type = has_content_type || strcasecmp(header->name, "Content-Type") == 0;
    }
    transfer->header_block = calloc(1, size);
    if (transfer->header_block == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a request");
    transfer->header_size = size;

    struct curl_slist *nodes = (struct curl_slist *)(void *)transfer->header_block;
    char *text = transfer->header_block + node_count * sizeof *nodes;
    char *end = transfer->header_block + size;
    size_t used = 0;
    nodes[used++].data = text;
    text += snprintf(text, (size_t)(end - text), "%s", no_expect) + 1;
    if (!has_content_type) {
        nodes[used++].data = text;
        text += snprintf(text, (size_t)(end - text), "%s", no_content_type) + 1;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        nodes[used++].data = text;
        // An empty value is written with a semicolon (CURLOPT_HTTPHEADER).
        int written = header->value[0] == '\0'
                          ? snprintf(text, (size_t)(end - text), "%s;", header->name)
                          : snprintf(text, (size_t)(end - text), "%s: %s", header->name, header->value);
        CHECK(written > 0 && written < end - text);
        text += written + 1;
    }
    for (size_t i = 0; i + 1 < used; i++)
        nodes[i].next = &nodes[i + 1];
    return true;
}

// The first refusal of an option is kept.
struct option_setter {
    CURL *easy;
    CURLcode code;
};

static void set_long(struct option_setter *setter, CURLoption option, long value)
{
    if (setter->code == CURLE_OK)
        setter->code = curl_easy_setopt(setter->easy, option, value);
}

// libcurl copies text, but for CURLOPT_POSTFIELDS and CURLOPT_ERRORBUFFER, which it borrows.
static void set_pointer(struct option_setter *setter, CURLoption option, const void *value)
{
    if (setter->code == CURLE_OK)
        setter->code = curl_easy_setopt(setter->easy, option, value);
}

static void set_connection_options(struct option_setter *setter, const struct transfer *transfer, bool is_tls)
{
    const struct http_request *request = transfer->request;
    set_pointer(setter, CURLOPT_URL, request->url);
    set_pointer(setter, CURLOPT_PROTOCOLS_STR, is_tls ? "https" : "http");
    set_long(setter, CURLOPT_FOLLOWLOCATION, 0);
    set_long(setter, CURLOPT_HTTP09_ALLOWED, 0);
    set_long(setter, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    set_long(setter, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);  // and anything newer
    set_long(setter, CURLOPT_SSL_VERIFYPEER, 1);
    set_long(setter, CURLOPT_SSL_VERIFYHOST, 2);
    set_pointer(setter, CURLOPT_CAPATH, NULL);
    if (transfer->ca_file != NULL)
        set_pointer(setter, CURLOPT_CAINFO, transfer->ca_file);
    set_long(setter, CURLOPT_FRESH_CONNECT, request->is_sent_once);
    set_long(setter, CURLOPT_NOSIGNAL, 1);
    set_long(setter, CURLOPT_QUICK_EXIT, 1);
    set_long(setter, CURLOPT_TCP_NODELAY, 1);
    set_long(setter, CURLOPT_TCP_KEEPALIVE, 1);
    set_long(setter, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    set_long(setter, CURLOPT_CONNECTTIMEOUT_MS,
             request->timeout_ms < CONNECT_MS_MAX ? (long)request->timeout_ms : CONNECT_MS_MAX);
    set_pointer(setter, CURLOPT_SHARE, transfer->client->share);
}

static void set_request_options(struct option_setter *setter, struct transfer *transfer)
{
    const struct http_request *request = transfer->request;
    bool is_get = strcmp(request->method, "GET") == 0;
    bool has_body = request->body_size > 0;
    if (is_get && !has_body) {
        set_long(setter, CURLOPT_HTTPGET, 1);
    } else {
        // A body from memory, borrowed, with Content-Length, and sent again from its start by libcurl where it has to be:
        // also for PUT and DELETE, so that no read function and no rewinding are needed.
        set_long(setter, CURLOPT_POST, 1);
        if (setter->code == CURLE_OK)
            setter->code = curl_easy_setopt(setter->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
        set_pointer(setter, CURLOPT_POSTFIELDS, has_body ? (const void *)request->body : "");
        if (strcmp(request->method, "POST") != 0)
            set_pointer(setter, CURLOPT_CUSTOMREQUEST, request->method);
    }
    set_pointer(setter, CURLOPT_HTTPHEADER, transfer->header_block);
    set_pointer(setter, CURLOPT_ACCEPT_ENCODING, "gzip");
    set_pointer(setter, CURLOPT_ERRORBUFFER, transfer->cause);
    set_pointer(setter, CURLOPT_PRIVATE, transfer);
    set_pointer(setter, CURLOPT_WRITEDATA, transfer);
    set_pointer(setter, CURLOPT_PREREQDATA, transfer);
    if (setter->code == CURLE_OK)
        setter->code = curl_easy_setopt(setter->easy, CURLOPT_WRITEFUNCTION, on_curl_answer);
    if (setter->code == CURLE_OK)
        setter->code = curl_easy_setopt(setter->easy, CURLOPT_PREREQFUNCTION, on_curl_send);
}

static bool send_request(struct http_client *client, struct http_request *request, struct err *out_error)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a request");
    transfer->client = client;
    transfer->request = request;
    transfer->answer_bytes_max = request->answer_bytes_max != 0 ? request->answer_bytes_max : ANSWER_BYTES_MAX_DEFAULT;
    if (request->ca_file != NULL) {
        transfer->ca_file = strdup(request->ca_file);
        if (transfer->ca_file == NULL) {
            transfer_free(transfer);
            return err_set(out_error, ERR_INTERNAL, "", "out of memory for a request");
        }
    }
    bool is_tls = false;
    if (!read_url(transfer, request->url, &is_tls, out_error) || !build_headers(transfer, out_error)) {
        transfer_free(transfer);
        return false;
    }
    transfer->easy = curl_easy_init();
    struct option_setter setter = {.easy = transfer->easy,
                                   .code = transfer->easy != NULL ? CURLE_OK : CURLE_OUT_OF_MEMORY};
    set_connection_options(&setter, transfer, is_tls);
    set_request_options(&setter, transfer);
    if (setter.code != CURLE_OK) {
        err_set(out_error, ERR_INTERNAL, "", "%s: cannot set up a request: %s", transfer->host_port,
                curl_easy_strerror(setter.code));
        transfer_free(transfer);
        return false;
    }
    CURLMcode code = curl_multi_add_handle(client->multi, transfer->easy);
    if (code != CURLM_OK) {
        err_set(out_error, ERR_INTERNAL, "", "%s: cannot start a request: %s", transfer->host_port,
                curl_multi_strerror(code));
        transfer_free(transfer);
        return false;
    }
    transfer->next = client->transfers;
    if (transfer->next != NULL)
        transfer->next->previous = transfer;
    client->transfers = transfer;
    client->stats.requests++;
    request->handle = transfer;
    return true;
}

bool http_client_start(struct http_client *client, struct http_request *request, struct err *out_error)
{
    CHECK(request->handle == NULL);
    CHECK(request->method != NULL && request->url != NULL && request->on_done != NULL && request->timeout_ms > 0);
    request->status = 0;
    request->retry_after_s = 0;
    request->sent_us = 0;
    request->done_us = 0;
    buf_reset(&request->answer);
    if (request->breaker != NULL && !breaker_may_send(request->breaker, loop_now_us(client->loop)))
        return refuse(client, request, out_error);
    bool is_sent = send_request(client, request, out_error);
    if (!is_sent && request->breaker != NULL)
        breaker_abandoned(request->breaker);
    if (request->breaker != NULL)
        breaker_meter_note(request->breaker);  // a trial begins
    return is_sent;
}

void http_client_cancel(struct http_client *client, struct http_request *request)
{
    struct transfer *transfer = request->handle;
    if (transfer == NULL)
        return;
    CHECK(transfer->client == client && transfer->request == request);
    request->handle = NULL;
    if (request->breaker != NULL && !transfer->is_refused)
        breaker_abandoned(request->breaker);
    resolver_cancel(client->resolver, &transfer->diagnosis);
    transfer_free(transfer);
}

// ---- the client

static bool set_multi_options(struct http_client *client)
{
    CURLM *multi = client->multi;
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
           // The default is four times the handles at work, so one request alone would close most of the idle connections.
           curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX) == CURLM_OK &&
           // Connections and DNS answers are the multi handle's by themselves, TLS sessions would be each easy handle's.
           curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

struct http_client *http_client_new(struct loop *loop, struct err *out_error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, init_global) == 0);
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL || !is_global_ready) {
        err_set(out_error, ERR_INTERNAL, "", "libcurl could not be initialised");
        free(client);
        return NULL;
    }
    client->loop = loop;
    client->timer = (struct loop_timer){.on_due = on_timer_due, .context = client};
    client->refuse = (struct loop_deferred){.call = on_refuse, .context = client};
    client->resolver = resolver_new(loop, out_error);
    if (client->resolver == NULL) {
        free(client);
        return NULL;
    }
    client->multi = curl_multi_init();
    client->share = curl_share_init();
    if (client->multi == NULL || client->share == NULL || !set_multi_options(client)) {
        err_set(out_error, ERR_INTERNAL, "", "libcurl could not be initialised");
        http_client_free(client);
        return NULL;
    }
    http_meter_init(&client->meter);
    return client;
}

void http_client_free(struct http_client *client)
{
    if (client == NULL)
        return;
    CHECK(!client->is_delivering);
    while (client->transfers != NULL)
        http_client_cancel(client, client->transfers->request);
    lock_check_none();
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi);  // closes the idle connections
    if (client->share != NULL)
        curl_share_cleanup(client->share);
    while (client->sockets != NULL)
        socket_free(client->sockets);
    loop_timer_stop(client->loop, &client->timer);
    loop_defer_stop(client->loop, &client->refuse);
    resolver_free(client->resolver);
    http_meter_deinit(&client->meter);
    free(client);
}

const struct http_client_stats *http_client_stats(const struct http_client *client)
{
    return &client->stats;
}

void http_request_init(struct http_request *request)
{
    *request = (struct http_request){0};
    // The request's own answer_bytes_max is looked at as bytes arrive; it may change from one start to the next.
    buf_init(&request->answer, SIZE_MAX / 2);
}

void http_request_deinit(struct http_request *request)
{
    CHECK(request->handle == NULL);
    buf_deinit(&request->answer);
}

void http_append_segment(struct buf *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const unsigned char *next = (const unsigned char *)text; *next != '\0'; next++) {
        bool is_plain = (*next >= 'A' && *next <= 'Z') || (*next >= 'a' && *next <= 'z') ||
                        (*next >= '0' && *next <= '9') || strchr("-._~", *next) != NULL;
        if (is_plain) {
            buf_append_byte(out, *next);
        } else {
            buf_append_byte(out, '%');
            buf_append_byte(out, (uint8_t)digits[*next >> 4]);
            buf_append_byte(out, (uint8_t)digits[*next & 15]);
        }
    }
}
