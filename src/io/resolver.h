// Name resolution on threads of its own, because getaddrinfo blocks. Answers arrive on the asking loop. One name
// server that hangs does not hold up other names: a look-up that finds all threads busy gets another, up to a limit.
#ifndef ETL_IO_RESOLVER_H
#define ETL_IO_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"

struct resolver;

struct resolver_request {
    // addresses: numeric, comma separated in the resolver's order, borrowed for the call; NULL with error set
    // (ERR_CONFIG: the name does not exist, ERR_TRANSIENT: no name server answered). Runs in the loop's thread, in a later
    // call than resolver_start, with the request idle again: it may be started anew or freed.
    void (*on_done)(struct resolver_request *request, const char *addresses, const struct err *error);
    void *context;
    struct resolver_request *next;  // the resolver's own
    uint64_t id;                    // the resolver's own; 0: idle
};

struct resolver *resolver_new(struct loop *loop, struct err *out_error);
// Not inside on_done. Does not wait for a hanging look-up: its thread cleans up after itself. What was asked is cancelled.
void resolver_free(struct resolver *resolver);
// host is copied. There is no time-out here: whoever asks has one for the whole of connecting.
bool resolver_start(struct resolver *resolver, struct resolver_request *request, const char *host,
                    struct err *out_error);
// on_done will not be called. Harmless when idle.
void resolver_cancel(struct resolver *resolver, struct resolver_request *request);

#endif
