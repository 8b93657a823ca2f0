#include "supervisor/sink_bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/breaker_meter.h"
#include "sinks/snowflake/sf_auth.h"

#define ZSTD_LEVEL 1

// Tokens of one account, user, role and key; every pipeline at the bench with that login uses them.
struct login {
    struct sf_config config;
    struct sf_key *key;  // the auth's, borrowed: to tell a key that was replaced
    struct sf_auth *auth;
    uint32_t users;
    struct login *next;
};

// Who takes posts at one URL; every pipeline at the bench that posts there leaves it alone when it fails.
struct receiver {
    char *url;
    struct breaker breaker;
    uint32_t users;
    struct receiver *next;
};

struct sink_bench {
    struct loop *loop;
    struct http_client *http;
    struct zstd_worker *zstd;
    struct login *logins;
    struct receiver *receivers;
};

struct sink_seat {
    struct sink_bench *bench;
    const struct destination *destination;
    struct destination_sink_options options;
    struct login *login;        // NULL: none is wanted
    struct receiver *receiver;  // likewise
};

// --- logins ------------------------------------------------------------------------------------------------------

static struct login *login_take(struct sink_bench *bench, const struct sf_config *config, struct sf_key *key)
{
    for (struct login *login = bench->logins; login != NULL; login = login->next) {
        if (login->key == key && sf_config_is_same_login(&login->config, config)) {
            login->users++;
            return login;
        }
    }
    struct login *login = calloc(1, sizeof *login);
    CHECK(login != NULL && sf_config_copy(config, &login->config));
    login->key = key;
    login->auth = sf_auth_new(bench->loop, bench->http, &login->config, sf_key_share(key));
    CHECK(login->auth != NULL);
    login->users = 1;
    login->next = bench->logins;
    bench->logins = login;
    return login;
}

static void login_give_back(struct sink_bench *bench, struct login *login)
{
    if (--login->users > 0)
        return;
    struct login **link = &bench->logins;
    while (*link != login)
        link = &(*link)->next;
    *link = login->next;
    sf_auth_free(login->auth);
    sf_config_deinit(&login->config);
    free(login);
}

// --- receivers ---------------------------------------------------------------------------------------------------

static struct receiver *receiver_take(struct sink_bench *bench, const struct http_sink_config *config)
{
    for (struct receiver *receiver = bench->receivers; receiver != NULL; receiver = receiver->next) {
        if (strcmp(receiver->url, config->url) == 0) {
            receiver->users++;
            return receiver;
        }
    }
    struct receiver *receiver = calloc(1, sizeof *receiver);
    CHECK(receiver != NULL);
    receiver->url = strdup(config->url);
    CHECK(receiver->url != NULL);
    receiver->users = 1;
    receiver->next = bench->receivers;
    bench->receivers = receiver;
    breaker_meter_open(&receiver->breaker, config->text);
    return receiver;
}

static void receiver_give_back(struct sink_bench *bench, struct receiver *receiver)
{
    if (--receiver->users > 0)
        return;
    struct receiver **link = &bench->receivers;
    while (*link != receiver)
        link = &(*link)->next;
    *link = receiver->next;
    breaker_meter_close(&receiver->breaker);
    free(receiver->url);
    free(receiver);
}

// --- the bench ---------------------------------------------------------------------------------------------------

struct sink_bench *sink_bench_new(struct loop *loop, struct err *out_error)
{
    struct sink_bench *bench = calloc(1, sizeof *bench);
    CHECK(bench != NULL);
    bench->loop = loop;
    bench->http = http_client_new(loop, out_error);
    if (bench->http != NULL) {
        bench->zstd = zstd_worker_new(ZSTD_LEVEL);
        if (bench->zstd != NULL)
            return bench;
        err_set(out_error, ERR_INTERNAL, "memory", "no memory for compression");
    }
    sink_bench_free(bench);
    return NULL;
}

void sink_bench_free(struct sink_bench *bench)
{
    if (bench == NULL)
        return;
    CHECK(bench->logins == NULL && bench->receivers == NULL);
    if (bench->http != NULL)
        http_client_free(bench->http);
    if (bench->zstd != NULL)
        zstd_worker_free(bench->zstd);
    free(bench);
}

struct sink_seat *sink_seat_take(struct sink_bench *bench, const struct destination *destination, struct sf_key *key,
                                 const struct destination_sink_options *options)
{
    struct sink_seat *seat = calloc(1, sizeof *seat);
    CHECK(seat != NULL);
    seat->bench = bench;
    seat->destination = destination;
    seat->options = *options;
    if (destination_wants_key(destination))
        seat->login = login_take(bench, &destination->snowflake, key);
    if (destination->kind == DESTINATION_HTTP)
        seat->receiver = receiver_take(bench, &destination->http);
    return seat;
}

void sink_seat_give_back(struct sink_seat *seat)
{
    if (seat == NULL)
        return;
    if (seat->login != NULL)
        login_give_back(seat->bench, seat->login);
    if (seat->receiver != NULL)
        receiver_give_back(seat->bench, seat->receiver);
    free(seat);
}

struct sink *sink_seat_sink_new(void *context, const char *identity, const struct sink_events *events,
                                struct err *out_error)
{
    const struct sink_seat *seat = context;
    const struct destination_tools tools = {.loop = seat->bench->loop,
                                            .http = seat->bench->http,
                                            .zstd = seat->bench->zstd,
                                            .auth = seat->login != NULL ? seat->login->auth : NULL,
                                            .breaker = seat->receiver != NULL ? &seat->receiver->breaker : NULL};
    struct destination_sink_options options = seat->options;
    options.identity = identity;
    return destination_sink_new(seat->destination, &tools, &options, events, out_error);
}
