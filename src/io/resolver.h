// Name resolution on a thread of its own, because getaddrinfo blocks. Answers arrive on the asking loop.
#ifndef ETL_IO_RESOLVER_H
#define ETL_IO_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"

struct resolver;
struct resolver_request {
    // addresses: numeric, comma separated in the resolver's order; NULL with error set. Runs in the loop's thread.
    void (*on_done)(struct resolver_request *request, const char *addresses, const struct err *error);
    void *context;
    struct resolver_request *next;  // the resolver's own
    uint64_t id;                    // the resolver's own; 0: idle
};

struct resolver *resolver_new(struct loop *loop, struct err *out_error);
void resolver_free(
    struct resolver *resolver);  // does not wait for a hanging look-up: its thread cleans up after itself
bool resolver_start(struct resolver *resolver, struct resolver_request *request, const char *host,
                    struct err *out_error);
void resolver_cancel(struct resolver *resolver, struct resolver_request *request);  // on_done will not be called

#endif
