// HTTP(S) requests on the loop: libcurl's multi socket interface. One client per worker thread: it shares connections, TLS sessions and
// DNS answers among all its users. Certificates are verified always. Redirects are not followed. HTTP proxies as
// the environment says (https_proxy, no_proxy), which libcurl reads.
#ifndef ETL_IO_HTTP_CLIENT_H
#define ETL_IO_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/breaker.h"
#include "io/http_meter.h"
#include "io/loop.h"

struct http_client;

// bytes: of bodies on the wire, without headers. failures: requests that got no answer.
struct http_client_stats {
    uint64_t requests, failures, bytes_sent, bytes_received;
};

struct http_header {
    const char *name;
    const char *value;
    bool
        is_secret;  // never shown; our copy and libcurl's are cleared when the request ends, as those of all headers and bodies are
};

struct http_request {
    // Asked for; borrowed until http_client_start returns, but for body, which is borrowed until on_done.
    const char *method;  // GET POST PUT DELETE
    const char *url;
    const struct http_header *headers;
    size_t header_count;
    const uint8_t *body;
    size_t body_size;
    bool body_is_secret;  // as is_secret; the caller clears its own
    // Reaches the server at most once a start. libcurl sends a request again by itself when the connection that it used anew
    // dies before an answer; where the server could not tell that from another request, it gets a connection of its own.
    bool is_sent_once;
    uint32_t timeout_ms;      // of the whole request
    const char *ca_file;      // NULL: the system's
    size_t answer_bytes_max;  // 0: 64 MiB; more is an error
    // The destination's, borrowed until the request is idle; NULL: none. While it is open nothing is sent, and on_done says so
    // (ERR_TRANSIENT, code "circuit_open"). No answer and 5xx count as failures, any other answer as a success.
    struct breaker *breaker;
    enum http_meter_kind meter;  // where it is counted
    const char *operation;       // static; what it is, in etl_snowflake_errors_total; NULL: a failure is none

    // Called exactly once per started request, by the loop, never inside http_client_start; not after a cancel. The request is
    // idle again by then: it may be started anew, and others started or cancelled. Free the client elsewhere.
    // error NULL: an HTTP answer came, of whatever status, in request->status and ->answer.
    // error set: no answer (ERR_TRANSIENT: connection, time-out, TLS hiccup; ERR_CONFIG: the certificate is not trusted, the host is unknown).
    void (*on_done)(struct http_request *request, const struct err *error);
    void *context;

    // Answer; valid in on_done and until the request is started again or deinit.
    uint32_t status;
    struct buf answer;       // NUL-terminated beyond size
    uint32_t retry_after_s;  // from Retry-After, 0: none
    int64_t date_s;          // the server's clock, from Date; 0: it does not tell
    uint64_t sent_us;        // monotonic: when the request was handed to the socket layer
    uint64_t done_us;

    void *handle;  // the client's own; NULL: idle
};

struct http_client *http_client_new(struct loop *loop, struct err *out_error);
void http_client_free(struct http_client *client);  // cancels what runs
const struct http_client_stats *http_client_stats(const struct http_client *client);

void http_request_init(struct http_request *request);
void http_request_deinit(struct http_request *request);  // must be idle
bool http_client_start(struct http_client *client, struct http_request *request, struct err *out_error);
void http_client_cancel(struct http_client *client, struct http_request *request);  // harmless when idle
// Percent-encodes one URL segment into out (everything but A-Z a-z 0-9 - . _ ~).
void http_append_segment(struct buf *out, const char *text);

#endif
