// One request as its route sees it, and how it is answered: exactly once, at once or later, on the http thread. A route
// never blocks: it reads the board, or asks the catalog by mailbox and answers when its answer comes.
//
// A new route is a line in routes.c and a function like those of probes.c; files that are compiled in are served by
// http_answer_file.
#ifndef ETL_HTTP_REQUEST_H
#define ETL_HTTP_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "catalog/catalog.h"
#include "http/history.h"
#include "io/board.h"
#include "io/loop.h"

#define HTTP_BODY_BYTES_MAX 16384
#define HTTP_NAME_SIZE 256

struct http;
struct http_exchange;  // the server's side of it

struct http_request {
    struct http *http;
    const char *path;           // decoded
    char name[HTTP_NAME_SIZE];  // what stands where the route has {name}
    bool is_post;               // else GET or HEAD, which need no difference: the body of an answer to HEAD is not sent
    struct buf body;            // of a POST: at most HTTP_BODY_BYTES_MAX
    struct http_exchange *exchange;
    void *context;                                    // the route's, while it waits
    void (*on_cancel)(struct http_request *request);  // while it waits: the service ends; answer now
};

// The request ends with the answer: it is not to be touched afterwards. take_text: heap, size bytes.
void http_answer(struct http_request *request, unsigned status, const char *content_type, char *take_text, size_t size);
void http_answer_text(struct http_request *request, unsigned status, const char *text);  // text/plain, copied
void http_answer_json(struct http_request *request, unsigned status, json_t *take_object);
void http_answer_json_text(struct http_request *request, unsigned status, char *take_json);
// {"error": …, "allowed": …}; allowed may be NULL.
void http_answer_error(struct http_request *request, unsigned status, const char *allowed, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// bytes: static, for the life of the program.
void http_answer_file(struct http_request *request, const char *content_type, const void *bytes, size_t size);
// The answer comes later: the route has set context and on_cancel. To be called by the route before it returns.
void http_wait(struct http_request *request);

// What a route may use. The thread's own loop, for timers; what is published; where commands go, and the mailbox to which
// the catalog's answers come (http_ask in control.c).
struct loop *http_loop(struct http *http);
struct board *http_board(struct http *http);
struct catalog *http_catalog(struct http *http);
struct mailbox *http_answers(struct http *http);
int64_t http_started_us(const struct http *http);  // wall clock
bool http_takes_changes(const struct http *http);  // there is a token
const struct history *http_history(const struct http *http);
void http_account(struct http *http);  // after each answer, and now and then: urgency.h

#endif
