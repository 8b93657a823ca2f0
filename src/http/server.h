// One listening socket and its connections, on the http thread's loop (libmicrohttpd, driven by epoll from outside).
//
// Slow clients: a connection has SERVER_PATIENCE_S to bring a request and take its answer; at most SERVER_PEERS_MAX are open
// at a time, and the one that has been silent longest makes way for a new one. So whoever opens connections and lets them
// wait, or sends a byte now and then, holds up nobody.
#ifndef ETL_HTTP_SERVER_H
#define ETL_HTTP_SERVER_H

#include <stdbool.h>

#include "base/err.h"
#include "http/guard.h"
#include "http/request.h"

#define SERVER_PEERS_MAX 128
#define SERVER_PATIENCE_S 30

struct server;

// take_fd: a socket that listens; libmicrohttpd's from here on. is_metrics_only: serves what METRICS_ADDR
// serves. token: borrowed. Before its thread runs.
struct server *server_new(struct http *http, struct loop *loop, int take_fd, bool is_metrics_only,
                          const struct http_token *token, struct err *out_error);
// Closes all connections; on the http thread, or once it has ended. Nobody waits any more for an answer of ours.
void server_free(struct server *server);

#endif
