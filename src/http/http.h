// The HTTP side: metrics, probes, the API, the page. One thread, which reads what others publish on the board and never
// waits for anybody: a health check takes as long with a thousand pipelines as with one.
//
//   http_open    sockets listen: a busy or malformed address ends the program before anything else was done
//   http_start   the thread answers
//   http_stop    it ends; nothing is asked of the catalog any more, which may close now
//   http_free    once the catalog has closed, whose threads may still answer until then
#ifndef ETL_HTTP_HTTP_H
#define ETL_HTTP_HTTP_H

#include "base/err.h"
#include "catalog/catalog.h"
#include "http/guard.h"
#include "io/board.h"

struct http;

struct http_options {
    const char *metrics_address, *health_address;  // as http/address.h; NULL: off
    const char *metrics_origin, *health_origin;    // how a message calls them, "METRICS_ADDR"
    const struct http_token *token;                // copied; NULL: none
};

// NULL with an error: ERR_CONFIG names the origin, the address and what is allowed. NULL without one: both are off.
struct http *http_open(const struct http_options *options, struct err *out_error);
// All of these are harmless with NULL. catalog: started; NULL: there is none to give commands to.
bool http_start(struct http *http, struct board *board, struct catalog *catalog, struct err *out_error);
void http_stop(struct http *http);
void http_free(struct http *http);

#endif
