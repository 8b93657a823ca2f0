// What all requests to Snowflake have in common: headers, request ids, names in URLs, and what an answer means.
#ifndef ETL_SINKS_SNOWFLAKE_SF_HTTP_H
#define ETL_SINKS_SNOWFLAKE_SF_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/http_client.h"

#define SF_UUID_SIZE 36
#define SF_HEADERS_MAX 8
#define SF_ANSWER_CODE_SIZE 96
#define SF_ANSWER_MESSAGE_SIZE 400

// A request's identity: a retry keeps the id and raises the count. It goes into every URL as requestId and retryCount.
struct sf_request_id {
    char uuid[SF_UUID_SIZE + 1];
    uint32_t retry_count;
};

struct sf_headers {
    struct http_header items[SF_HEADERS_MAX];
    size_t count;
};

// What an answer asks for, from its status and code; one place decides.
enum sf_signal {
    SF_SIGNAL_DONE,          // 2xx
    SF_SIGNAL_THROTTLED,     // 429: not taken; later again
    SF_SIGNAL_TRANSIENT,     // 408, 5xx, codes of back-pressure: what was sent may have been taken
    SF_SIGNAL_STALE,         // the continuation token belongs to an earlier opening
    SF_SIGNAL_UNCOMMITTED,   // 409: rows of an earlier opening are not committed yet
    SF_SIGNAL_CONFLICT,      // any other 409
    SF_SIGNAL_UNAUTHORIZED,  // 401
    SF_SIGNAL_FORBIDDEN,     // 403
    SF_SIGNAL_MISSING,       // 404
    SF_SIGNAL_MOVED,         // 410: the pipe is elsewhere now
    SF_SIGNAL_REFUSED        // anything else: as it was sent it is not taken
};

struct sf_answer {
    enum sf_signal signal;
    json_t *json;  // NULL: the body is not JSON
    char code[SF_ANSWER_CODE_SIZE];
    char message[SF_ANSWER_MESSAGE_SIZE];  // printable; of a body that is not JSON its beginning
};

uint64_t sf_random(void);  // never 0
void sf_request_id_new(struct sf_request_id *id);
// "requestId=…&retryCount=…", without the '?' or '&' before it.
void sf_append_request_id(struct buf *url, const struct sf_request_id *id);
// "…" in quotes and percent-encoded: names in URLs are SQL identifiers, and unquoted ones would fold to upper case.
void sf_append_url_identifier(struct buf *url, const char *name);
// "/databases/…/schemas/…/pipes/…"
void sf_append_pipe_path(struct buf *url, const char *database, const char *schema, const char *pipe);

// User-Agent, Accept, Authorization and the token's type. bearer: "Bearer …".
void sf_headers_begin(struct sf_headers *headers, const char *bearer, bool is_scoped);
void sf_headers_add(struct sf_headers *headers, const char *name, const char *value);

void sf_answer_init(struct sf_answer *answer, const struct http_request *request);
void sf_answer_deinit(struct sf_answer *answer);
// "<what>: HTTP 400 CODE: message" of the kind given.
void sf_answer_err(const struct sf_answer *answer, const struct http_request *request, enum err_kind kind,
                   const char *what, struct err *out_error);
// The string that a hostname or token answer consists of: plain text, a JSON string, or member `name` of an object.
// Copied without surrounding blanks; false when there is none, it does not fit, or it holds blanks or control characters.
bool sf_answer_text(const struct sf_answer *answer, const struct http_request *request, const char *name,
                    struct buf *out);

#endif
