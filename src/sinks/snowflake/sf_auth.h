// Tokens of one account and user: the key-pair JWT (signed once, reused until shortly before it ends), the ingest host,
// and the scoped token with its renewal ahead of time. Shared by all channels and statements of a worker.
//
// A token has a generation, which its user notes when it sends a request: an answer of 401 then says which token was
// refused. A token that was refused is renewed once; when its successor is refused as well, before anything took it, it
// is the operator's turn.
//
// A login that was accepted once and is refused now may be accepted again: a key that is being replaced, a user who is
// locked for a while, a network policy, a proxy. Who has something to lose (tries_max 0) waits for that without end.
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
    uint32_t tries_max;  // requests that may fail while it waits before it is told so; 0: it waits without end
    uint32_t tries;      // the others are sf_auth's
    struct sf_auth_waiter *next;
    bool is_waiting, is_over;
};

// Borrows all; take_key is owned (and freed when NULL is returned: out of memory).
struct sf_auth *sf_auth_new(struct loop *loop, struct http_client *http, const struct sf_config *config,
                            struct sf_key *take_key);
void sf_auth_free(struct sf_auth *auth);
// "Bearer …" with the JWT for SQL API requests, signing a new one if need be. Valid until the loop's turn ends.
const char *sf_auth_jwt_bearer(struct sf_auth *auth, struct err *out_error);
// Calls waiter->on_ready (later) when ingest host and scoped token are there and not about to end. What may pass is tried
// again inside, with back-off, and logged, up to the waiter's own tries_max. A refusal ends the waiting of all (ERR_CONFIG)
// when the login never was accepted; else of those with a tries_max only.
void sf_auth_wait_ingest(struct sf_auth *auth, struct sf_auth_waiter *waiter);
void sf_auth_cancel(struct sf_auth *auth, struct sf_auth_waiter *waiter);
bool sf_auth_has_ingest(const struct sf_auth *auth);
const char *sf_auth_ingest_bearer(const struct sf_auth *auth);  // NULL: wait first
const char *sf_auth_ingest_base(const struct sf_auth *auth);    // "https://host[:port]"
const char *sf_auth_account_base(const struct sf_auth *auth);
uint32_t sf_auth_generation(const struct sf_auth *auth, bool is_ingest);  // of the token that is in use now
// The token of that generation was taken by Snowflake (any answer but 401).
void sf_auth_accepted(struct sf_auth *auth, bool is_ingest, uint32_t generation);
// A 401 was answered to the token of that generation: renews it, or does nothing when that has happened already. False
// when a fresh one was refused as well: stop.
bool sf_auth_refused(struct sf_auth *auth, bool is_ingest, uint32_t generation);
bool sf_auth_was_accepted(const struct sf_auth *auth);  // an ingest token of this login was taken once
// A fresh ingest token was refused: asks for another one after a back-off, once for all who say so of the same. message:
// Snowflake's.
void sf_auth_renew_later(struct sf_auth *auth, uint32_t generation, const char *message);
// Asks for another ingest token than that of the generation; the old one goes on being used until it comes.
void sf_auth_renew(struct sf_auth *auth, uint32_t generation);
// Why those who wait for a token get none; NULL: nothing went wrong.
const struct err *sf_auth_trouble(const struct sf_auth *auth);
// The error to stop with then: who was refused, by which key, and what to compare. message: Snowflake's.
void sf_auth_refusal_error(const struct sf_auth *auth, bool is_ingest, const char *message, struct err *out_error);
// What requests have told of the way there.
struct sf_auth_facts {
    uint64_t host_us, token_us;  // how long the newest hostname and token request took; 0: there was none
    bool has_clock;
    int64_t clock_ahead_s;  // by how much this machine's clock is ahead of Snowflake's
};
const struct sf_auth_facts *sf_auth_facts(const struct sf_auth *auth);
void sf_auth_note_date(struct sf_auth *auth, int64_t date_s);  // of an answer (http_request.date_s)
// The statement that registers our key with Snowflake: ALTER USER "…" SET RSA_PUBLIC_KEY = '…'.
bool sf_auth_append_register(const struct sf_auth *auth, struct buf *out, struct err *out_error);
// Of the destination: every request to it, whoever sends it, counts (http_request.breaker).
struct breaker *sf_auth_breaker(struct sf_auth *auth);
// Begins *out_request as one to this destination: its breaker, its meter and its CA file (all borrowed from auth).
// operation: the name of the kind of request in metrics, borrowed, or NULL: set before each start. on_done, context, timeout
// and the largest answer in bytes (0: the client's default) as in http_client.h. The caller ends it by http_request_deinit.
void sf_auth_request_init(struct sf_auth *auth, struct http_request *out_request, const char *operation,
                          uint32_t timeout_ms, size_t answer_bytes_max,
                          void (*on_done)(struct http_request *request, const struct err *error), void *context);
void sf_auth_host_moved(struct sf_auth *auth);  // 410: ask for host and token again

#endif
