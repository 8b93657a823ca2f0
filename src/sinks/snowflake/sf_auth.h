// Tokens of one account and user: the key-pair JWT (signed once, reused until shortly before it ends), the ingest host, and the scoped token
// with its renewal ahead of time. Shared by all channels and statements of a worker.
#ifndef ETL_SINKS_SNOWFLAKE_SF_AUTH_H
#define ETL_SINKS_SNOWFLAKE_SF_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_key.h"

struct sf_auth;

struct sf_auth_waiter {
    void (*on_ready)(struct sf_auth_waiter *waiter, const struct err *error);  // NULL: tokens are there
    void *context;
    struct sf_auth_waiter *next;
    bool is_waiting;
};

// Borrows all; take_key is owned.
struct sf_auth *sf_auth_new(struct loop *loop, struct http_client *http, const struct sf_config *config, struct sf_key *take_key);
void sf_auth_free(struct sf_auth *auth);
// "Bearer …" with the JWT for SQL API requests, signing a new one if need be. Valid until the loop's turn ends.
const char *sf_auth_jwt_bearer(struct sf_auth *auth, struct err *out_error);
// Calls waiter->on_ready (later) when ingest host and scoped token are there and not about to end.
void sf_auth_wait_ingest(struct sf_auth *auth, struct sf_auth_waiter *waiter);
void sf_auth_cancel(struct sf_auth *auth, struct sf_auth_waiter *waiter);
bool sf_auth_has_ingest(const struct sf_auth *auth);
const char *sf_auth_ingest_bearer(const struct sf_auth *auth);  // NULL: wait first
const char *sf_auth_ingest_base(const struct sf_auth *auth);    // "https://host[:port]"
const char *sf_auth_account_base(const struct sf_auth *auth);
// A 401 was answered with this token: renew (once per token value; returns false when a fresh one was refused as well: stop).
bool sf_auth_refused(struct sf_auth *auth, bool is_ingest);
void sf_auth_host_moved(struct sf_auth *auth);  // 410: ask for host and token again

#endif
