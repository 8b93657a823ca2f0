#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_channel_private.h"

// Bulk status of the channels of one pipe. One request at a time, of at most SF_STATUS_CHANNELS_MAX names; a channel whose
// rows are all committed is not asked for, and with none left nothing is asked at all.

enum { REQUEST_TIMEOUT_MS = 30000, ANSWER_BYTES_MAX = 4 << 20, REFUSED_COUNT_MAX = 3, TROUBLE_TRIES = 3 };

static const struct backoff_policy retry_policy = {
    .delay_first_ms = 500, .delay_min_ms = 100, .delay_max_ms = 30000, .tries_max = 0};

struct sf_pipe {
    struct sf_channel_shared shared;
    char *database, *schema, *name;  // one block, at database
    uint32_t status_interval_ms;

    struct sf_channel **channels;  // NULL where one was removed while the list is walked
    size_t count, capacity;
    bool is_walking;
    size_t next;                  // where the next request begins
    size_t asked_from, asked_to;  // what the request under way covers
    size_t names_max;
    bool has_more;  // channels beyond the request under way wait for their turn in this round

    struct http_request request;
    struct sf_request_id request_id;
    uint32_t generation;
    struct buf url, body;
    struct sf_auth_waiter auth_waiter;
    struct loop_timer timer;
    struct backoff backoff;
    uint32_t refused_count;
    struct err trouble;  // of the newest request, if it failed and is sent again
    bool is_retry;       // the next request repeats one that failed: it keeps the id
};

static void ask(struct sf_pipe *pipe);

static bool is_idle(const struct sf_pipe *pipe)
{
    return pipe->request.handle == NULL && pipe->timer.heap_index == 0 && !pipe->auth_waiter.is_waiting;
}

void sf_pipe_wake(struct sf_pipe *pipe)
{
    if (is_idle(pipe) && !pipe->is_walking)
        loop_timer_set(pipe->shared.loop, &pipe->timer, (uint64_t)pipe->status_interval_ms * 1000 / 4);
}

const struct err *sf_pipe_trouble(const struct sf_pipe *pipe)
{
    if (pipe->auth_waiter.is_waiting && sf_auth_trouble(pipe->shared.auth) != NULL)
        return sf_auth_trouble(pipe->shared.auth);
    return pipe->backoff.tries >= TROUBLE_TRIES && err_is_set(&pipe->trouble) ? &pipe->trouble : NULL;
}

// ---- the list

void sf_pipe_add(struct sf_pipe *pipe, struct sf_channel *channel)
{
    CHECK(channel->pipe == NULL);
    if (pipe->count == pipe->capacity) {
        size_t capacity = pipe->capacity == 0 ? 8 : pipe->capacity * 2;
        struct sf_channel **channels = realloc(pipe->channels, capacity * sizeof *channels);
        CHECK(channels != NULL);  // a channel nobody asks for would never be committed
        pipe->channels = channels;
        pipe->capacity = capacity;
    }
    pipe->channels[pipe->count++] = channel;
    channel->pipe = pipe;
}

void sf_pipe_remove(struct sf_pipe *pipe, struct sf_channel *channel)
{
    if (channel->pipe != pipe)
        return;
    size_t i = 0;
    while (i < pipe->count && pipe->channels[i] != channel)
        i++;
    CHECK(i < pipe->count);
    channel->pipe = NULL;
    pipe->channels[i] = NULL;
}

static void compact(struct sf_pipe *pipe)
{
    size_t used = 0;
    for (size_t i = 0; i < pipe->count; i++) {
        if (i == pipe->next)
            pipe->next = used;
        if (pipe->channels[i] != NULL)
            pipe->channels[used++] = pipe->channels[i];
    }
    if (pipe->next > used)
        pipe->next = used;
    pipe->count = used;
}

// ---- the answer

static void go_on(struct sf_pipe *pipe)
{
    backoff_reset(&pipe->backoff);
    err_clear(&pipe->trouble);
    pipe->refused_count = 0;
    pipe->is_retry = false;
    if (pipe->has_more) {
        ask(pipe);
        return;
    }
    bool is_wanted = false;
    for (size_t i = 0; i < pipe->count; i++)
        is_wanted = is_wanted || (pipe->channels[i] != NULL && sf_channel_wants_status(pipe->channels[i]));
    pipe->next = 0;
    if (is_wanted)
        loop_timer_set(pipe->shared.loop, &pipe->timer, (uint64_t)pipe->status_interval_ms * 1000);
}

static void try_later(struct sf_pipe *pipe, uint32_t retry_after_s)
{
    uint32_t delay_ms = 0;
    backoff_next(&pipe->backoff, &delay_ms);
    if (retry_after_s > 60)
        retry_after_s = 60;
    if (delay_ms < retry_after_s * 1000)
        delay_ms = retry_after_s * 1000;
    pipe->next = pipe->asked_from;
    pipe->is_retry = true;
    loop_timer_set(pipe->shared.loop, &pipe->timer, (uint64_t)delay_ms * 1000);
}

// Runs callbacks of the owner, which may add channels and remove them.
static void apply(struct sf_pipe *pipe, const json_t *statuses, const char *doubt)
{
    pipe->is_walking = true;
    for (size_t i = pipe->asked_from; i < pipe->asked_to; i++) {
        struct sf_channel *channel = pipe->channels[i];
        if (channel == NULL || !channel->is_status_asked)
            continue;
        if (doubt != NULL) {
            channel->is_status_asked = false;
            sf_channel_doubt(channel, doubt);
        } else {
            sf_channel_apply_status(channel, json_object_get(statuses, channel->name));
        }
    }
    pipe->is_walking = false;
}

static void on_refused(struct sf_pipe *pipe, const struct sf_answer *answer)
{
    if (strstr(answer->code, "TOO_MANY_CHANNELS") != NULL && pipe->names_max > 1) {
        pipe->names_max /= 2;
        pipe->next = pipe->asked_from;
        ask(pipe);
        return;
    }
    if (++pipe->refused_count < REFUSED_COUNT_MAX) {
        try_later(pipe, 0);
        return;
    }
    // Each channel finds out for itself: the answer to its opening says what is wrong.
    apply(pipe, NULL, pipe->trouble.text);
    go_on(pipe);
}

static void on_unauthorized(struct sf_pipe *pipe, const struct sf_answer *answer)
{
    if (sf_auth_refused(pipe->shared.auth, true, pipe->generation)) {
        pipe->next = pipe->asked_from;
        pipe->is_retry = true;
        ask(pipe);
        return;
    }
    sf_auth_renew_later(pipe->shared.auth, pipe->generation, answer->message);
    apply(pipe, NULL, pipe->trouble.text);  // they are refused as well, and say so
    go_on(pipe);
}

static void note_trouble(struct sf_pipe *pipe, const struct err *error)
{
    const struct log_scope scope = {.table = pipe->name};
    pipe->trouble = *error;
    log_line(LOG_WARNING, &scope, "channel_status", "%s", error->text);
}

static void on_bad_answer(struct sf_pipe *pipe, const struct sf_answer *answer, const char *what)
{
    struct err error;
    sf_answer_err(answer, &pipe->request, ERR_TRANSIENT, what, &error);
    note_trouble(pipe, &error);
    switch (answer->signal) {
    case SF_SIGNAL_UNAUTHORIZED: on_unauthorized(pipe, answer); return;
    case SF_SIGNAL_FORBIDDEN:
    case SF_SIGNAL_MISSING:
    case SF_SIGNAL_STALE:
    case SF_SIGNAL_REFUSED: on_refused(pipe, answer); return;
    case SF_SIGNAL_MOVED:
        sf_auth_host_moved(pipe->shared.auth);
        apply(pipe, NULL, error.text);
        go_on(pipe);
        return;
    default: try_later(pipe, pipe->request.retry_after_s); return;
    }
}

static void on_answer(struct http_request *request, const struct err *error)
{
    struct sf_pipe *pipe = request->context;
    struct err problem;
    char what[200];
    (void)snprintf(what, sizeof what, "asking for the status of channels of \"%s\"", pipe->name);
    if (error != NULL) {
        problem = *error;
        err_prefix(&problem, "%s", what);
        note_trouble(pipe, &problem);
        try_later(pipe, 0);
        return;
    }
    struct sf_answer answer;
    sf_answer_init(&answer, request);
    if (answer.signal != SF_SIGNAL_UNAUTHORIZED)
        sf_auth_accepted(pipe->shared.auth, true, pipe->generation);
    const json_t *statuses = json_object_get(answer.json, "channel_statuses");
    if (answer.signal != SF_SIGNAL_DONE) {
        on_bad_answer(pipe, &answer, what);
    } else if (!json_is_object(statuses)) {
        err_set(&problem, ERR_TRANSIENT, "", "%s: HTTP %u without channel_statuses", what, request->status);
        note_trouble(pipe, &problem);
        on_refused(pipe, &answer);
    } else {
        apply(pipe, statuses, NULL);
        go_on(pipe);
    }
    sf_answer_deinit(&answer);
}

// ---- the request

// Names from `next` on; false: no channel there wants a status.
static bool build_body(struct sf_pipe *pipe)
{
    struct buf *body = &pipe->body;
    size_t names = 0;
    buf_reset(body);
    buf_append_text(body, "{\"channel_names\":[");
    pipe->asked_from = pipe->next;
    pipe->has_more = false;
    size_t i = pipe->next;
    for (; i < pipe->count; i++) {
        struct sf_channel *channel = pipe->channels[i];
        if (!sf_channel_wants_status(channel))
            continue;
        if (names == pipe->names_max) {
            pipe->has_more = true;
            break;
        }
        buf_appendf(body, "%s\"%s\"", names++ == 0 ? "" : ",", channel->name);
        sf_channel_status_asked(channel);
    }
    buf_append_text(body, "]}");
    pipe->asked_to = pipe->next = i;
    return names > 0;
}

static void ask(struct sf_pipe *pipe)
{
    struct http_request *request = &pipe->request;
    struct sf_headers headers;
    struct err error;
    if (!sf_auth_has_ingest(pipe->shared.auth)) {
        sf_auth_wait_ingest(pipe->shared.auth, &pipe->auth_waiter);
        return;
    }
    compact(pipe);
    if (!build_body(pipe)) {
        pipe->next = 0;
        return;
    }
    if (pipe->is_retry && pipe->request_id.uuid[0] != '\0')
        pipe->request_id.retry_count++;
    else
        sf_request_id_new(&pipe->request_id);
    pipe->is_retry = false;
    buf_reset(&pipe->url);
    buf_appendf(&pipe->url, "%s/v2/streaming", sf_auth_ingest_base(pipe->shared.auth));
    sf_append_pipe_path(&pipe->url, pipe->database, pipe->schema, pipe->name);
    buf_append_text(&pipe->url, ":bulk-channel-status?");
    sf_append_request_id(&pipe->url, &pipe->request_id);
    sf_headers_begin(&headers, sf_auth_ingest_bearer(pipe->shared.auth), true);
    sf_headers_add(&headers, "Content-Type", "application/json");
    pipe->generation = sf_auth_generation(pipe->shared.auth, true);
    request->method = "POST";
    request->url = buf_text(&pipe->url);
    request->headers = headers.items;
    request->header_count = headers.count;
    request->body = pipe->body.data;
    request->body_size = pipe->body.size;
    if (pipe->url.failed || pipe->body.failed || !http_client_start(pipe->shared.http, request, &error))
        try_later(pipe, 0);
}

static void on_due(struct loop_timer *timer)
{
    ask(timer->context);
}

static void on_auth_ready(struct sf_auth_waiter *waiter, const struct err *error)
{
    struct sf_pipe *pipe = waiter->context;
    if (error == NULL) {
        ask(pipe);
        return;
    }
    // The channels are told the same by the same; here it is tried again as long as any of them lives.
    try_later(pipe, 0);
}

// ---- life

struct sf_pipe *sf_pipe_new(const struct sf_channel_shared *shared, const char *database, const char *schema,
                            const char *pipe_name, uint32_t status_interval_ms)
{
    struct sf_pipe *pipe = calloc(1, sizeof *pipe);
    size_t database_size = strlen(database) + 1;
    size_t schema_size = strlen(schema) + 1;
    size_t name_size = strlen(pipe_name) + 1;
    if (pipe == NULL || (pipe->database = malloc(database_size + schema_size + name_size)) == NULL) {
        free(pipe);
        return NULL;
    }
    pipe->schema = pipe->database + database_size;
    pipe->name = pipe->schema + schema_size;
    memcpy(pipe->database, database, database_size);
    memcpy(pipe->schema, schema, schema_size);
    memcpy(pipe->name, pipe_name, name_size);
    pipe->shared = *shared;
    pipe->status_interval_ms = status_interval_ms;
    pipe->names_max = SF_STATUS_CHANNELS_MAX;
    buf_init(&pipe->url, ANSWER_BYTES_MAX);
    buf_init(&pipe->body, ANSWER_BYTES_MAX);
    sf_auth_request_init(shared->auth, &pipe->request, "status", REQUEST_TIMEOUT_MS, ANSWER_BYTES_MAX, on_answer, pipe);
    pipe->auth_waiter = (struct sf_auth_waiter){.on_ready = on_auth_ready, .context = pipe};
    pipe->timer = (struct loop_timer){.on_due = on_due, .context = pipe};
    backoff_init(&pipe->backoff, &retry_policy, sf_random());
    return pipe;
}

void sf_pipe_free(struct sf_pipe *pipe)
{
    if (pipe == NULL)
        return;
    for (size_t i = 0; i < pipe->count; i++)
        CHECK(pipe->channels[i] == NULL);
    http_client_cancel(pipe->shared.http, &pipe->request);
    sf_auth_cancel(pipe->shared.auth, &pipe->auth_waiter);
    loop_timer_stop(pipe->shared.loop, &pipe->timer);
    http_request_deinit(&pipe->request);
    buf_deinit(&pipe->url);
    buf_deinit(&pipe->body);
    free(pipe->channels);
    free(pipe->database);
    free(pipe);
}
