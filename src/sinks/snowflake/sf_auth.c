#include "sinks/snowflake/sf_auth.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/check.h"
#include "base/log.h"
#include "io/breaker_meter.h"
#include "sinks/snowflake/sf_http.h"

enum {
    CLOCK_SKEW_S = 30,      // the JWT is dated back by this: a clock that is ahead of Snowflake's is not refused
    JWT_LIFETIME_S = 3570,  // within Snowflake's limit of an hour
    JWT_RENEW_AHEAD_S = 300,
    TOKEN_LIFETIME_S = 600,  // of a scoped token that does not tell
    TOKEN_LIFETIME_S_MAX = 86400,
    REQUEST_TIMEOUT_MS = 30000,
    ANSWER_BYTES_MAX = 64 * 1024,
    HOST_SIZE_MAX = 300
};
static const json_int_t TIME_CLAIM_IN_MS_FROM = 100000000000;  // in seconds it would be the year 5138
static const char grant_type[] = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

static const struct backoff_policy retry_policy = {
    .delay_first_ms = 1000, .delay_min_ms = 200, .delay_max_ms = 60000, .tries_max = 0};

enum auth_state {
    AUTH_IDLE,     // ended by the first waiter
    AUTH_HOST,     // the host is asked for; ended by the answer
    AUTH_TOKEN,    // the token is asked for; ended by the answer
    AUTH_BACKOFF,  // ended by the timer
    AUTH_READY     // ended by the timer (renewal), a refusal, a move
};

struct token {
    struct buf bearer;  // "Bearer …"; empty: none
    uint32_t generation;
    bool is_accepted;       // Snowflake has taken it at least once
    bool is_after_refusal;  // it was made because its predecessor was refused
    uint64_t until_us;      // monotonic: not to be used from here on
};

struct sf_auth {
    struct breaker breaker;
    struct sf_auth_facts facts;
    struct loop *loop;
    struct http_client *http;
    const struct sf_config *config;
    struct sf_key *key;
    char account_claim[300];
    char user_claim[300];
    char account_base[HOST_SIZE_MAX + 10];

    struct token jwt;
    struct token ingest;
    struct buf ingest_host;  // empty: not known
    char ingest_base[HOST_SIZE_MAX + 10];

    enum auth_state state;
    bool was_ready;            // so account and host are right, and what fails now will pass
    bool was_accepted;         // an ingest token was taken
    bool was_login_refused;    // the JWT before the one in use was refused by hostname or token request
    bool is_renewing_refused;  // the token that is asked for follows one that was refused
    struct http_request request;
    struct sf_request_id request_id;
    struct buf url, body, assertion;
    struct loop_timer timer;
    struct backoff backoff;  // reset by a token; by one that follows a refusal, when it is taken
    struct err trouble;      // what the newest failure was; cleared likewise

    struct sf_auth_waiter *waiters;     // to be called when it is ready, or when they are over
    struct sf_auth_waiter *delivering;  // being called
    struct loop_deferred deliver;
    struct err failure;  // for those that are over
};

static void ask(struct sf_auth *auth);

// ---- waiters

// Takes those out of the list whose waiting has ended, in their order.
static struct sf_auth_waiter *take_ended(struct sf_auth *auth, bool is_ready)
{
    struct sf_auth_waiter *ended = NULL;
    struct sf_auth_waiter **end = &ended;
    struct sf_auth_waiter **link = &auth->waiters;
    while (*link != NULL) {
        struct sf_auth_waiter *waiter = *link;
        if (!is_ready && !waiter->is_over) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = NULL;
        *end = waiter;
        end = &waiter->next;
    }
    return ended;
}

static void on_deliver(struct loop_deferred *deferred)
{
    struct sf_auth *auth = deferred->context;
    CHECK(auth->delivering == NULL);
    const struct err failure = auth->failure;
    err_clear(&auth->failure);
    auth->delivering = take_ended(auth, sf_auth_has_ingest(auth));
    if (auth->waiters != NULL)
        ask(auth);  // what they waited for was refused or moved since, or they are more patient: they wait on
    while (auth->delivering != NULL) {
        struct sf_auth_waiter *waiter = auth->delivering;
        auth->delivering = waiter->next;
        waiter->next = NULL;
        waiter->is_waiting = false;
        waiter->on_ready(waiter, waiter->is_over ? &failure : NULL);
    }
}

static bool unlink_waiter(struct sf_auth_waiter **list, struct sf_auth_waiter *waiter)
{
    while (*list != NULL && *list != waiter)
        list = &(*list)->next;
    if (*list == NULL)
        return false;
    *list = waiter->next;
    return true;
}

void sf_auth_cancel(struct sf_auth *auth, struct sf_auth_waiter *waiter)
{
    if (!waiter->is_waiting)
        return;
    CHECK(unlink_waiter(&auth->waiters, waiter) || unlink_waiter(&auth->delivering, waiter));
    waiter->next = NULL;
    waiter->is_waiting = false;
}

void sf_auth_wait_ingest(struct sf_auth *auth, struct sf_auth_waiter *waiter)
{
    if (waiter->is_waiting)
        return;
    struct sf_auth_waiter **end = &auth->waiters;
    while (*end != NULL)
        end = &(*end)->next;
    *end = waiter;
    waiter->next = NULL;
    waiter->is_waiting = true;
    waiter->is_over = false;
    waiter->tries = 0;
    if (sf_auth_has_ingest(auth))
        loop_defer(auth->loop, &auth->deliver);
    else
        ask(auth);
}

// ---- the key-pair JWT

static void buf_clear(struct buf *buf)
{
    if (buf->data != NULL)
        OPENSSL_cleanse(buf->data, buf->capacity);
    buf_reset(buf);
}

static void token_clear(struct token *token)
{
    buf_clear(&token->bearer);
}

static void token_take(struct token *token, bool is_after_refusal)
{
    token->generation++;
    token->is_accepted = false;
    token->is_after_refusal = is_after_refusal;
}

static bool sign(struct sf_auth *auth, const char *role, struct buf *out, struct err *out_error)
{
    int64_t now_s = loop_wall_us(auth->loop) / 1000000;
    return sf_key_sign_jwt(auth->key, auth->account_claim, auth->user_claim, role, now_s - CLOCK_SKEW_S, JWT_LIFETIME_S,
                           out, out_error);
}

const char *sf_auth_jwt_bearer(struct sf_auth *auth, struct err *out_error)
{
    struct token *jwt = &auth->jwt;
    uint64_t now_us = loop_now_us(auth->loop);
    if (jwt->bearer.size > 0 && now_us < jwt->until_us)
        return buf_text(&jwt->bearer);
    // is_after_refusal was set by the refusal that emptied it.
    bool is_after_refusal = jwt->bearer.size == 0 && jwt->is_after_refusal;
    token_clear(jwt);
    buf_append_text(&jwt->bearer, "Bearer ");
    if (!sign(auth, NULL, &jwt->bearer, out_error)) {
        token_clear(jwt);
        return NULL;
    }
    token_take(jwt, is_after_refusal);
    jwt->until_us = now_us + (uint64_t)(JWT_LIFETIME_S - CLOCK_SKEW_S - JWT_RENEW_AHEAD_S) * 1000000;
    return buf_text(&jwt->bearer);
}

// ---- outcomes

static void end_waiter(struct sf_auth *auth, struct sf_auth_waiter *waiter, const struct err *error)
{
    waiter->is_over = true;
    auth->failure = *error;
    loop_defer(auth->loop, &auth->deliver);
}

// Their waiting ends with the error: of all, or of those who do not wait without end.
static void end_waiting(struct sf_auth *auth, const struct err *error, bool is_for_all)
{
    for (struct sf_auth_waiter *waiter = auth->waiters; waiter != NULL; waiter = waiter->next) {
        if (is_for_all || waiter->tries_max > 0)
            end_waiter(auth, waiter, error);
    }
}

static void fail(struct sf_auth *auth, const struct err *error)
{
    auth->state = AUTH_IDLE;
    auth->was_login_refused = false;
    backoff_reset(&auth->backoff);
    if (auth->waiters == NULL)
        log_line(LOG_ERROR, NULL, "snowflake_login", "%s", error->text);
    end_waiting(auth, error, true);
}

static bool has_patient_waiters(const struct sf_auth *auth)
{
    for (const struct sf_auth_waiter *waiter = auth->waiters; waiter != NULL; waiter = waiter->next)
        if (!waiter->is_over)
            return true;
    return false;
}

static void count_try(struct sf_auth *auth, const struct err *error)
{
    for (struct sf_auth_waiter *waiter = auth->waiters; waiter != NULL; waiter = waiter->next) {
        waiter->tries++;
        if (waiter->tries_max > 0 && waiter->tries >= waiter->tries_max)
            end_waiter(auth, waiter, error);
    }
}

// The next request, after a back-off.
static void back_off(struct sf_auth *auth, const struct err *error)
{
    uint32_t delay_ms = 0;
    backoff_next(&auth->backoff, &delay_ms);
    auth->trouble = *error;
    auth->state = AUTH_BACKOFF;
    loop_timer_set(auth->loop, &auth->timer, (uint64_t)delay_ms * 1000);
    log_line(LOG_WARNING, NULL, "snowflake_login", "%s; trying again in %u ms", error->text, delay_ms);
}

static void retry_later(struct sf_auth *auth, const struct err *error)
{
    bool is_asked_for = auth->waiters != NULL;
    count_try(auth, error);
    if (is_asked_for && !has_patient_waiters(auth)) {
        fail(auth, error);
        return;
    }
    back_off(auth, error);
}

// An operator has to change something. But a login that was good may be good again: it is tried on for who waits for that.
static void refused(struct sf_auth *auth, const struct err *error)
{
    if (!auth->was_ready) {
        fail(auth, error);
        return;
    }
    end_waiting(auth, error, false);
    retry_later(auth, error);
}

void sf_auth_refusal_error(const struct sf_auth *auth, bool is_ingest, const char *message, struct err *out_error)
{
    char now[32];
    if (is_ingest) {
        err_set(out_error, ERR_CONFIG, "refused",
                "%s refuses a token that Snowflake has just given to user %s in account %s (%s): is the user still "
                "allowed to "
                "sign in, also from this network?",
                auth->ingest_base, auth->user_claim, auth->account_claim, message[0] == '\0' ? "HTTP 401" : message);
        return;
    }
    clock_format(loop_wall_us(auth->loop), now, sizeof now);
    err_set(
        out_error, ERR_CONFIG, "refused",
        "Snowflake refuses the key of user %s in account %s (%s): compare the key's fingerprint %s with "
        "RSA_PUBLIC_KEY_FP of DESCRIBE USER, check the user's and the account's names, and this machine's clock (%s)",
        auth->user_claim, auth->account_claim, message[0] == '\0' ? "HTTP 401" : message, sf_key_fingerprint(auth->key),
        now);
}

static void on_refused_login(struct sf_auth *auth, const struct sf_answer *answer)
{
    if (!auth->was_login_refused) {
        auth->was_login_refused = true;
        token_clear(&auth->jwt);
        ask(auth);
        return;
    }
    struct err error;
    token_clear(&auth->jwt);
    sf_auth_refusal_error(auth, false, answer->message, &error);
    refused(auth, &error);
}

static void on_forbidden_login(struct sf_auth *auth, const struct sf_answer *answer)
{
    const struct sf_config *config = auth->config;
    struct err error;
    char host[HOST_SIZE_MAX];
    sf_config_account_host(config, host, sizeof host);
    if (auth->state == AUTH_HOST)
        err_set(&error, ERR_CONFIG, answer->code,
                "%s does not answer as Snowflake's account %s (HTTP %s%s%s): check the account identifier, or host=",
                host, config->account, answer->signal == SF_SIGNAL_MISSING ? "404" : "403",
                answer->message[0] == '\0' ? "" : ", ", answer->message);
    else if (config->role != NULL)
        err_set(&error, ERR_CONFIG, answer->code,
                "Snowflake refuses role %s to user %s (%s): GRANT ROLE \"%s\" TO USER \"%s\"", config->role,
                auth->user_claim, answer->message, config->role, auth->user_claim);
    else
        err_set(&error, ERR_CONFIG, answer->code,
                "Snowflake refuses user %s a token for streaming (%s): name a role with role=", auth->user_claim,
                answer->message);
    fail(auth, &error);
}

static void on_bad_answer(struct sf_auth *auth, const struct sf_answer *answer)
{
    const char *what =
        auth->state == AUTH_HOST ? "asking Snowflake for the ingest host" : "asking Snowflake for a token";
    struct err error;
    switch (answer->signal) {
    case SF_SIGNAL_UNAUTHORIZED: on_refused_login(auth, answer); return;
    case SF_SIGNAL_FORBIDDEN:
    case SF_SIGNAL_MISSING:
        if (!auth->was_ready) {
            on_forbidden_login(auth, answer);
            return;
        }
        break;
    case SF_SIGNAL_REFUSED:
        sf_answer_err(answer, &auth->request, ERR_CONFIG, what, &error);
        refused(auth, &error);
        return;
    default: break;
    }
    sf_answer_err(answer, &auth->request, ERR_TRANSIENT, what, &error);
    retry_later(auth, &error);
}

// ---- the ingest host

static bool is_host(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]");
    return size > 0 && size < HOST_SIZE_MAX && text[size] == '\0';
}

static void on_host(struct sf_auth *auth, const struct sf_answer *answer)
{
    struct buf *host = &auth->ingest_host;
    buf_reset(host);
    bool is_good = sf_answer_text(answer, &auth->request, "hostname", host);
    for (size_t i = 0; i < host->size; i++)
        if (host->data[i] == '_')  // no character of a host name; Snowflake answers under the name with '-' too
            host->data[i] = '-';
    if (!is_good || !is_host(buf_text(host))) {
        struct err error;
        buf_reset(host);
        err_set(&error, ERR_TRANSIENT, "", "Snowflake's answer to /v2/streaming/hostname is not a host name");
        retry_later(auth, &error);
        return;
    }
    (void)snprintf(auth->ingest_base, sizeof auth->ingest_base, "https://%s", buf_text(host));
    ask(auth);
}

// ---- the scoped token

static int base64url_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

// The claims of a JWT, without a look at its signature. NULL: it is none.
static json_t *jwt_claims(const char *token)
{
    const char *claims = strchr(token, '.');
    const char *end = claims == NULL ? NULL : strchr(claims + 1, '.');
    if (end == NULL)
        return NULL;
    struct buf text;
    buf_init(&text, ANSWER_BYTES_MAX);
    uint32_t bits = 0;
    int bit_count = 0;
    for (claims++; claims < end; claims++) {
        int value = base64url_value((unsigned char)*claims);
        if (value < 0)
            break;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            buf_append_byte(&text, (uint8_t)(bits >> bit_count));
        }
    }
    json_t *json = text.failed || text.size == 0 ? NULL : json_loadb((const char *)text.data, text.size, 0, NULL);
    buf_wipe(&text);
    return json;
}

static bool time_claim(const json_t *claims, const char *name, int64_t *out_s)
{
    const json_t *value = json_object_get(claims, name);
    if (!json_is_number(value))
        return false;
    double number = json_number_value(value);
    if (!(number > 0 && number < 1e15))
        return false;
    *out_s = number >= (double)TIME_CLAIM_IN_MS_FROM ? (int64_t)(number / 1000) : (int64_t)number;
    return true;
}

// How long the token lives from now on. By its own two times where it has them, so that clocks that differ do no harm.
static uint64_t token_lifetime_us(const struct sf_auth *auth, const char *token)
{
    json_t *claims = jwt_claims(token);
    int64_t expires_s = 0;
    int64_t issued_s = 0;
    int64_t lifetime_s = TOKEN_LIFETIME_S;
    if (time_claim(claims, "exp", &expires_s))
        lifetime_s = expires_s - (time_claim(claims, "iat", &issued_s) ? issued_s : loop_wall_us(auth->loop) / 1000000);
    json_decref(claims);
    lifetime_s--;  // the times are cut to whole seconds
    if (lifetime_s < 1)
        lifetime_s = 1;
    if (lifetime_s > TOKEN_LIFETIME_S_MAX)
        lifetime_s = TOKEN_LIFETIME_S_MAX;
    return (uint64_t)lifetime_s * 1000000;
}

static void recovered(struct sf_auth *auth)
{
    backoff_reset(&auth->backoff);
    err_clear(&auth->trouble);
}

static void on_token(struct sf_auth *auth, const struct sf_answer *answer)
{
    struct token *token = &auth->ingest;
    token_clear(token);
    buf_append_text(&token->bearer, "Bearer ");
    const char *member = json_object_get(answer->json, "token") != NULL ? "token" : "access_token";
    if (!sf_answer_text(answer, &auth->request, member, &token->bearer)) {
        struct err error;
        token_clear(token);
        err_set(&error, ERR_TRANSIENT, "", "Snowflake's answer to /oauth/token holds no token");
        retry_later(auth, &error);
        return;
    }
    uint64_t lifetime_us = token_lifetime_us(auth, buf_text(&token->bearer) + strlen("Bearer "));
    token_take(token, auth->is_renewing_refused);
    if (!auth->is_renewing_refused)
        recovered(auth);
    auth->is_renewing_refused = false;
    token->until_us = loop_now_us(auth->loop) + lifetime_us - lifetime_us / 20;
    auth->state = AUTH_READY;
    auth->was_ready = true;
    auth->was_login_refused = false;
    // Ahead of the end, so that no append ever waits for a token.
    loop_timer_set(auth->loop, &auth->timer, lifetime_us - lifetime_us / 5);
    loop_defer(auth->loop, &auth->deliver);
}

// ---- requests

static void on_answer(struct http_request *request, const struct err *error)
{
    struct sf_auth *auth = request->context;
    buf_clear(&auth->body);
    buf_clear(&auth->assertion);
    if (error != NULL) {
        struct err problem = *error;
        err_prefix(&problem, "signing in to Snowflake");
        // A host that was reached before is not wrong now; what looks so is an outage.
        if (error->kind == ERR_TRANSIENT || auth->was_ready)
            retry_later(auth, &problem);
        else
            fail(auth, &problem);
        return;
    }
    sf_auth_note_date(auth, request->date_s);
    uint64_t *took_us = auth->state == AUTH_HOST ? &auth->facts.host_us : &auth->facts.token_us;
    *took_us = request->done_us - request->sent_us;
    struct sf_answer answer;
    sf_answer_init(&answer, request);
    if (answer.signal != SF_SIGNAL_DONE)
        on_bad_answer(auth, &answer);
    else if (auth->state == AUTH_HOST)
        on_host(auth, &answer);
    else
        on_token(auth, &answer);
    sf_answer_deinit(&answer);
    if (request->answer.data != NULL)
        OPENSSL_cleanse(request->answer.data, request->answer.capacity);
}

static bool build_token_request(struct sf_auth *auth, struct err *out_error)
{
    // The form that the documentation shows (assertion, role in the scope) together with what Snowflake's own SDK sends
    // (the JWT in the header, role as a claim): each server finds what it reads.
    const char *role = auth->config->role;
    buf_reset(&auth->assertion);
    buf_append_text(&auth->assertion, "Bearer ");
    if (!sign(auth, role, &auth->assertion, out_error))
        return false;
    buf_appendf(&auth->url, "%s/oauth/token?", auth->account_base);
    buf_appendf(&auth->body, "grant_type=%s&scope=", grant_type);
    http_append_segment(&auth->body, buf_text(&auth->ingest_host));
    if (role != NULL) {
        buf_append_text(&auth->body, "%20session%3Arole%3A");
        http_append_segment(&auth->body, role);
    }
    buf_append_text(&auth->body, "&assertion=");
    buf_append_text(&auth->body, buf_text(&auth->assertion) + strlen("Bearer "));
    return true;
}

static bool start(struct sf_auth *auth, struct err *out_error)
{
    struct http_request *request = &auth->request;
    bool is_token = auth->ingest_host.size > 0;
    struct sf_headers headers;
    buf_reset(&auth->url);
    buf_reset(&auth->body);
    if (is_token) {
        if (!build_token_request(auth, out_error))
            return false;
        sf_headers_begin(&headers, buf_text(&auth->assertion), false);
        sf_headers_add(&headers, "Content-Type", "application/x-www-form-urlencoded");
    } else {
        const char *bearer = sf_auth_jwt_bearer(auth, out_error);
        if (bearer == NULL)
            return false;
        buf_appendf(&auth->url, "%s/v2/streaming/hostname?", auth->account_base);
        sf_headers_begin(&headers, bearer, false);
    }
    sf_append_request_id(&auth->url, &auth->request_id);
    auth->request_id.retry_count++;
    request->method = is_token ? "POST" : "GET";
    request->operation = is_token ? "token" : "hostname";
    request->url = buf_text(&auth->url);
    request->headers = headers.items;
    request->header_count = headers.count;
    request->body = is_token ? auth->body.data : NULL;
    request->body_size = is_token ? auth->body.size : 0;
    request->body_is_secret = true;
    if (auth->url.failed || auth->body.failed || auth->assertion.failed)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory signing in to Snowflake");
    auth->state = is_token ? AUTH_TOKEN : AUTH_HOST;
    return http_client_start(auth->http, request, out_error);
}

static void try_start(struct sf_auth *auth)
{
    struct err error;
    loop_timer_stop(auth->loop, &auth->timer);
    if (start(auth, &error))
        return;
    if (auth->was_ready && error.kind != ERR_INTERNAL)
        retry_later(auth, &error);
    else
        fail(auth, &error);
}

// Asks for what is missing, host or token, unless a request or a back-off is under way.
static void ask(struct sf_auth *auth)
{
    if (auth->request.handle != NULL || auth->state == AUTH_BACKOFF)
        return;
    sf_request_id_new(&auth->request_id);
    try_start(auth);
}

static void on_timer(struct loop_timer *timer)
{
    struct sf_auth *auth = timer->context;
    if (auth->state == AUTH_READY)  // time to renew; the old token goes on being used meanwhile
        ask(auth);
    else if (auth->state == AUTH_BACKOFF)
        try_start(auth);
}

// ---- what others see

struct sf_auth *sf_auth_new(struct loop *loop, struct http_client *http, const struct sf_config *config,
                            struct sf_key *take_key)
{
    struct sf_auth *auth = calloc(1, sizeof *auth);
    if (auth == NULL) {
        sf_key_free(take_key);
        return NULL;
    }
    auth->loop = loop;
    auth->http = http;
    auth->config = config;
    auth->key = take_key;
    sf_config_account_claim(config, auth->account_claim, sizeof auth->account_claim);
    sf_config_user_claim(config, auth->user_claim, sizeof auth->user_claim);
    char host[HOST_SIZE_MAX];
    sf_config_account_host(config, host, sizeof host);
    (void)snprintf(auth->account_base, sizeof auth->account_base, "https://%s", host);
    buf_init(&auth->jwt.bearer, ANSWER_BYTES_MAX);
    buf_init(&auth->ingest.bearer, ANSWER_BYTES_MAX);
    buf_init(&auth->ingest_host, ANSWER_BYTES_MAX);
    buf_init(&auth->url, ANSWER_BYTES_MAX);
    buf_init(&auth->body, ANSWER_BYTES_MAX);
    buf_init(&auth->assertion, ANSWER_BYTES_MAX);
    sf_auth_request_init(auth, &auth->request, NULL, REQUEST_TIMEOUT_MS, ANSWER_BYTES_MAX, on_answer, auth);
    char name[2 * HOST_SIZE_MAX + 16];
    (void)snprintf(name, sizeof name, "snowflake:%.*s/%s", HOST_SIZE_MAX, config->account, auth->user_claim);
    breaker_meter_open(&auth->breaker, name);
    auth->timer = (struct loop_timer){.on_due = on_timer, .context = auth};
    auth->deliver = (struct loop_deferred){.call = on_deliver, .context = auth};
    backoff_init(&auth->backoff, &retry_policy, sf_random());
    return auth;
}

void sf_auth_free(struct sf_auth *auth)
{
    if (auth == NULL)
        return;
    CHECK(auth->waiters == NULL && auth->delivering == NULL);
    http_client_cancel(auth->http, &auth->request);
    if (auth->request.answer.data != NULL)
        OPENSSL_cleanse(auth->request.answer.data, auth->request.answer.capacity);
    http_request_deinit(&auth->request);
    loop_timer_stop(auth->loop, &auth->timer);
    loop_defer_stop(auth->loop, &auth->deliver);
    breaker_meter_close(&auth->breaker);
    buf_wipe(&auth->jwt.bearer);
    buf_wipe(&auth->ingest.bearer);
    buf_wipe(&auth->assertion);
    buf_wipe(&auth->body);
    buf_deinit(&auth->ingest_host);
    buf_deinit(&auth->url);
    sf_key_free(auth->key);
    free(auth);
}

bool sf_auth_has_ingest(const struct sf_auth *auth)
{
    return auth->ingest_host.size > 0 && auth->ingest.bearer.size > 0 &&
           loop_now_us(auth->loop) < auth->ingest.until_us;
}

const char *sf_auth_ingest_bearer(const struct sf_auth *auth)
{
    // token_take's buffer was closed with a NUL when its lifetime was read.
    return sf_auth_has_ingest(auth) ? (const char *)auth->ingest.bearer.data : NULL;
}

const char *sf_auth_ingest_base(const struct sf_auth *auth)
{
    return auth->ingest_base;
}

const char *sf_auth_account_base(const struct sf_auth *auth)
{
    return auth->account_base;
}

uint32_t sf_auth_generation(const struct sf_auth *auth, bool is_ingest)
{
    return is_ingest ? auth->ingest.generation : auth->jwt.generation;
}

void sf_auth_accepted(struct sf_auth *auth, bool is_ingest, uint32_t generation)
{
    struct token *token = is_ingest ? &auth->ingest : &auth->jwt;
    if (token->generation != generation)
        return;
    if (is_ingest && !token->is_accepted && token->is_after_refusal)
        recovered(auth);
    token->is_accepted = true;
    auth->was_accepted = auth->was_accepted || is_ingest;
}

bool sf_auth_refused(struct sf_auth *auth, bool is_ingest, uint32_t generation)
{
    struct token *token = is_ingest ? &auth->ingest : &auth->jwt;
    if (token->generation != generation || token->bearer.size == 0)
        return true;  // it is being replaced, or was
    if (token->is_after_refusal && !token->is_accepted)
        return false;
    token_clear(token);
    if (is_ingest) {
        auth->is_renewing_refused = true;
        ask(auth);
    } else {
        token->is_after_refusal = true;
    }
    return true;
}

bool sf_auth_was_accepted(const struct sf_auth *auth)
{
    return auth->was_accepted;
}

void sf_auth_renew_later(struct sf_auth *auth, uint32_t generation, const char *message)
{
    struct err error;
    if (auth->ingest.generation != generation || auth->ingest.bearer.size == 0)
        return;
    token_clear(&auth->ingest);
    auth->is_renewing_refused = true;
    if (auth->request.handle != NULL || auth->state == AUTH_BACKOFF)
        return;
    sf_auth_refusal_error(auth, true, message, &error);
    sf_request_id_new(&auth->request_id);
    back_off(auth, &error);
}

void sf_auth_renew(struct sf_auth *auth, uint32_t generation)
{
    if (auth->ingest.generation == generation && auth->ingest.bearer.size > 0)
        ask(auth);
}

const struct err *sf_auth_trouble(const struct sf_auth *auth)
{
    return err_is_set(&auth->trouble) ? &auth->trouble : NULL;
}

const struct sf_auth_facts *sf_auth_facts(const struct sf_auth *auth)
{
    return &auth->facts;
}

void sf_auth_note_date(struct sf_auth *auth, int64_t date_s)
{
    if (date_s == 0)
        return;
    auth->facts.has_clock = true;
    auth->facts.clock_ahead_s = loop_wall_us(auth->loop) / 1000000 - date_s;
}

bool sf_auth_append_register(const struct sf_auth *auth, struct buf *out, struct err *out_error)
{
    buf_appendf(out, "ALTER USER \"%s\" SET RSA_PUBLIC_KEY = '", auth->user_claim);
    bool is_made = sf_key_public(auth->key, out, out_error);
    buf_append_byte(out, '\'');
    return is_made;
}

struct breaker *sf_auth_breaker(struct sf_auth *auth)
{
    return &auth->breaker;
}

void sf_auth_request_init(struct sf_auth *auth, struct http_request *out_request, const char *operation,
                          uint32_t timeout_ms, size_t answer_bytes_max,
                          void (*on_done)(struct http_request *request, const struct err *error), void *context)
{
    http_request_init(out_request);
    out_request->breaker = &auth->breaker;
    out_request->meter = HTTP_METER_SNOWFLAKE;
    out_request->operation = operation;
    out_request->ca_file = auth->config->ca_file;
    out_request->timeout_ms = timeout_ms;
    out_request->answer_bytes_max = answer_bytes_max;
    out_request->on_done = on_done;
    out_request->context = context;
}

void sf_auth_host_moved(struct sf_auth *auth)
{
    if (auth->ingest_host.size == 0)
        return;  // is being asked for
    http_client_cancel(auth->http, &auth->request);
    buf_reset(&auth->ingest_host);
    token_clear(&auth->ingest);
    if (auth->state != AUTH_BACKOFF)
        ask(auth);
}
