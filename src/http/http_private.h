// What the thread's files share.
#ifndef ETL_HTTP_HTTP_PRIVATE_H
#define ETL_HTTP_HTTP_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/address.h"
#include "http/http.h"
#include "http/server.h"
#include "http/urgency.h"
#include "io/loop.h"
#include "io/mailbox.h"

#define HTTP_SERVERS_MAX (2 * HTTP_ADDRESS_SOCKETS_MAX)

struct control;

struct http_listener {
    int fd;  // -1: the server's
    bool is_metrics_only;
};

struct http {
    struct http_token token;
    struct http_listener listeners[HTTP_SERVERS_MAX];
    uint32_t listener_count;
    struct loop *loop;
    struct mailbox *orders;   // of the main thread: its one order is to end
    struct mailbox *answers;  // of the catalog
    struct board *board;
    struct catalog *catalog;
    int64_t started_us;
    struct history *history;
    struct loop_timer history_timer;
    struct server *servers[HTTP_SERVERS_MAX];
    uint32_t server_count;
    struct control *controls;  // requests that wait (control.c)
    struct urgency urgency;
    pthread_t thread;
    bool is_started;
    bool is_ending;
};

// control.c
void control_answered(struct http *http, void *take_message);  // by the catalog
void control_cancel_all(struct http *http);

#endif
