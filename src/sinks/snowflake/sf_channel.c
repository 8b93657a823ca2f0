#include "sinks/snowflake/sf_channel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_channel_private.h"

enum {
    REQUEST_TIMEOUT_MS = 60000,
    ANSWER_BYTES_MAX = 1 << 20,
    REFUSED_COUNT_MAX = 3,
    MISSING_COUNT_MAX = 6,
    UNHEALTHY_COUNT_MAX = 5,
    DROP_TRIES_MAX = 6,
    TROUBLE_TRIES = 3
};
static const size_t BATCH_BYTES_MAX = (size_t)2 << 30;          // a row of PostgreSQL's has at most 1 GB
static const size_t BATCH_BYTES_AT_ONCE = (size_t)1000 * 1000;  // sent in the middle of a reading turn
static const uint64_t STALL_US = UINT64_C(60) * 1000000;        // accepted rows that nothing is heard of for so long

// The first delay is short: most failures are a connection that was closed.
static const struct backoff_policy retry_policy = {
    .delay_first_ms = 250, .delay_min_ms = 20, .delay_max_ms = 30000, .tries_max = 0};
// Above every token: counts every row as had.
static const struct sf_token token_above_all = {.text = "\x7f\x7f\x7f\x7f"};
static const struct sf_token token_none;

// ---- what the owner sees

const struct sf_token *sf_channel_high_token(const struct sf_channel *channel)
{
    return channel->is_rewinding ? &token_above_all : &channel->high;
}

const struct sf_token *sf_channel_committed_token(const struct sf_channel *channel)
{
    return &channel->committed;
}

const struct sf_token *sf_channel_oldest_uncommitted(const struct sf_channel *channel)
{
    const struct sf_accepted *accepted = sf_ring_front(&channel->accepted);
    if (channel->owed.text[0] != '\0')
        return &channel->owed;
    if (accepted != NULL)
        return &accepted->first;
    if (channel->append.is_kept)
        return &channel->append.first;
    return channel->batch.cut_count > 0 ? &channel->batch.cuts[0].first : &token_none;
}

bool sf_channel_has_uncommitted(const struct sf_channel *channel)
{
    return sf_channel_oldest_uncommitted(channel)->text[0] != '\0';
}

enum sf_channel_state sf_channel_state(const struct sf_channel *channel)
{
    return channel->state;
}

void sf_channel_record_get(const struct sf_channel *channel, struct sf_channel_record *out_record)
{
    *out_record = channel->record;
}

const struct sf_channel_stats *sf_channel_stats(const struct sf_channel *channel)
{
    return &channel->stats;
}

size_t sf_channel_held_bytes(const struct sf_channel *channel)
{
    return channel->batch.budget_bytes + (channel->append.is_kept ? channel->append.wire.size : 0);
}

const char *sf_channel_name(const struct sf_channel *channel)
{
    return channel->name;
}

const struct err *sf_channel_trouble(const struct sf_channel *channel)
{
    if (channel->state == SF_CHANNEL_FAILED || channel->state == SF_CHANNEL_DROPPING)
        return NULL;
    if (channel->auth_waiter.is_waiting && sf_auth_trouble(channel->shared.auth) != NULL)
        return sf_auth_trouble(channel->shared.auth);
    return channel->backoff.tries >= TROUBLE_TRIES && err_is_set(&channel->trouble) ? &channel->trouble : NULL;
}

bool sf_channel_may_add(const struct sf_channel *channel, const struct sf_token *token)
{
    return channel->state == SF_CHANNEL_FAILED || channel->is_rewinding || sf_token_compare(token, &channel->high) > 0;
}

struct buf *sf_channel_batch(struct sf_channel *channel)
{
    return &channel->batch.data;
}

// ---- events that must not come inside the owner's call

static void on_later(struct loop_deferred *deferred)
{
    struct sf_channel *channel = deferred->context;
    bool is_room_due = channel->is_room_due;
    channel->is_room_due = false;
    if (err_is_set(&channel->failure)) {
        const struct err failure = channel->failure;
        err_clear(&channel->failure);
        channel->events.on_failed(channel->events.context, &failure);
    }
    if (is_room_due)
        channel->events.on_room(channel->events.context);
    if (channel->is_drop_wanted)
        sf_channel_pump(channel);
}

void sf_channel_note_room(struct sf_channel *channel)
{
    if (channel->is_room_due)
        loop_defer(channel->shared.loop, &channel->later);
}

void sf_channel_drop_rows(struct sf_channel *channel)
{
    channel->owed = *sf_channel_oldest_uncommitted(channel);
    sf_batch_drop(channel);
    sf_append_drop(channel);
    channel->accepted.count = 0;
    sf_buffers_shrink(channel);
    sf_channel_note_room(channel);
}

void sf_channel_fail(struct sf_channel *channel, const struct err *error)
{
    if (channel->state == SF_CHANNEL_FAILED)
        return;
    channel->state = SF_CHANNEL_FAILED;
    channel->is_drop_wanted = false;
    http_client_cancel(channel->shared.http, &channel->request);
    sf_auth_cancel(channel->shared.auth, &channel->auth_waiter);
    loop_timer_stop(channel->shared.loop, &channel->retry_timer);
    loop_timer_stop(channel->shared.loop, &channel->rate_timer);
    sf_channel_drop_rows(channel);
    channel->failure = *error;
    loop_defer(channel->shared.loop, &channel->later);
}

// ---- requests

void sf_channel_append_path(struct sf_channel *channel, const char *prefix)
{
    struct buf *url = &channel->url;
    buf_reset(url);
    buf_appendf(url, "%s%s", sf_auth_ingest_base(channel->shared.auth), prefix);
    sf_append_pipe_path(url, channel->database, channel->schema, channel->pipe_name);
}

bool sf_channel_start(struct sf_channel *channel, const char *operation, const char *method, struct sf_headers *headers,
                      const struct buf *body)
{
    struct http_request *request = &channel->request;
    struct err error;
    request->operation = operation;
    request->method = method;
    request->url = buf_text(&channel->url);
    request->headers = headers->items;
    request->header_count = headers->count;
    request->body = body == NULL ? NULL : body->data;
    request->body_size = body == NULL ? 0 : body->size;
    channel->generation = sf_auth_generation(channel->shared.auth, true);
    if (channel->url.failed || channel->body.failed)
        err_set(&error, ERR_INTERNAL, "", "out of memory sending to Snowflake");
    else if (http_client_start(channel->shared.http, request, &error))
        return true;
    sf_channel_fail(channel, &error);
    return false;
}

static void append_channel(struct sf_channel *channel)
{
    buf_append_text(&channel->url, "/channels/");
    http_append_segment(&channel->url, channel->name);
}

static void append_offset(struct buf *url, const char *name, const char *value)
{
    buf_append_text(url, name);
    http_append_segment(url, value);
}

// POST …/rows: the tokens in the order in which Snowflake's own SDK has them.
static void send_append(struct sf_channel *channel)
{
    const struct sf_append *append = &channel->append;
    struct buf *url = &channel->url;
    char raw_bytes[32];
    char oldest_ms[32];
    struct sf_headers headers;
    sf_channel_append_path(channel, "/v2/streaming/data");
    append_channel(channel);
    append_offset(url, "/rows?startOffsetToken=", append->first.text);
    append_offset(url, "&endOffsetToken=", append->last.text);
    append_offset(url, "&continuationToken=", buf_text(&channel->continuation));
    buf_append_byte(url, '&');
    sf_append_request_id(url, &channel->request_id);
    (void)snprintf(raw_bytes, sizeof raw_bytes, "%zu", append->raw_bytes);
    (void)snprintf(oldest_ms, sizeof oldest_ms, "%" PRId64, append->oldest_wall_ms);
    sf_headers_begin(&headers, sf_auth_ingest_bearer(channel->shared.auth), true);
    sf_headers_add(&headers, "Content-Type", "application/x-ndjson");
    sf_headers_add(&headers, "Content-Encoding", "zstd");
    sf_headers_add(&headers, "x-snowflake-uncompressed-content-length", raw_bytes);
    sf_headers_add(&headers, "x-snowflake-min-append-timestamp-ms", oldest_ms);
    sf_rate_sent(&channel->rate);
    sf_channel_start(channel, "append", "POST", &headers, &append->wire);
}

// DELETE …: without a body, as Snowflake's own SDK sends it.
static void send_drop(struct sf_channel *channel)
{
    struct sf_headers headers;
    sf_channel_append_path(channel, "/v2/streaming");
    append_channel(channel);
    buf_append_byte(&channel->url, '?');
    sf_append_request_id(&channel->url, &channel->request_id);
    sf_headers_begin(&headers, sf_auth_ingest_bearer(channel->shared.auth), true);
    sf_channel_start(channel, "drop", "DELETE", &headers, NULL);
}

void sf_channel_send(struct sf_channel *channel)
{
    if (!sf_auth_has_ingest(channel->shared.auth)) {
        sf_auth_wait_ingest(channel->shared.auth, &channel->auth_waiter);
        return;
    }
    switch (channel->state) {
    case SF_CHANNEL_OPENING:
    case SF_CHANNEL_REOPENING: sf_channel_send_open(channel); return;
    case SF_CHANNEL_SENDING: send_append(channel); return;
    case SF_CHANNEL_DROPPING: send_drop(channel); return;
    default: CHECK(false);  // no other state sends
    }
}

void sf_channel_send_later(struct sf_channel *channel, uint32_t retry_after_s)
{
    uint32_t delay_ms = 0;
    backoff_next(&channel->backoff, &delay_ms);
    if (retry_after_s > 60)
        retry_after_s = 60;
    uint64_t delay_us = (uint64_t)delay_ms * 1000;
    if (delay_us < (uint64_t)retry_after_s * 1000000)
        delay_us = (uint64_t)retry_after_s * 1000000;
    channel->stats.retries++;
    loop_timer_set(channel->shared.loop, &channel->retry_timer, delay_us);
}

static void on_retry_due(struct loop_timer *timer)
{
    struct sf_channel *channel = timer->context;
    if (channel->state == SF_CHANNEL_WAITING) {
        size_t raw_bytes = channel->append.raw_bytes;
        uint64_t wait_us =
            sf_rate_wait_us(&channel->rate, loop_now_us(channel->shared.loop), raw_bytes, raw_bytes, &raw_bytes);
        if (wait_us > 0) {
            loop_timer_set(channel->shared.loop, &channel->retry_timer, wait_us);
            return;
        }
        channel->state = SF_CHANNEL_SENDING;
    }
    channel->request_id.retry_count++;
    sf_channel_send(channel);
}

void sf_channel_recovered(struct sf_channel *channel)
{
    channel->missing_count = channel->refused_count = 0;
    channel->forbidden_from_us = 0;
    backoff_reset(&channel->backoff);
    err_clear(&channel->trouble);
}

void sf_channel_fail_or_end_drop(struct sf_channel *channel, const struct err *error)
{
    if (channel->state != SF_CHANNEL_DROPPING) {
        sf_channel_fail(channel, error);
        return;
    }
    channel->state = SF_CHANNEL_CLOSED;  // a channel that is left over loses nothing
    channel->events.on_dropped(channel->events.context, error);
}

static void on_auth_ready(struct sf_auth_waiter *waiter, const struct err *error)
{
    struct sf_channel *channel = waiter->context;
    if (error != NULL)
        sf_channel_fail_or_end_drop(channel, error);
    else
        sf_channel_send(channel);
}

// ---- rows in, appends out

// Called whenever one of its conditions may have changed.
static void note_held(struct sf_channel *channel)
{
    bool is_waiting = channel->state == SF_CHANNEL_SENDING ||
                      (channel->state == SF_CHANNEL_READY && channel->rate_timer.heap_index != 0);
    bool is_held = is_waiting && channel->batch.data.size >= BATCH_BYTES_AT_ONCE;
    if (is_held == (channel->held_since_us != 0))
        return;
    uint64_t now_us = loop_now_us(channel->shared.loop);
    if (!is_held)
        channel->held_us += now_us - channel->held_since_us;
    channel->held_since_us = is_held ? now_us : 0;
}

uint64_t sf_channel_held_us(const struct sf_channel *channel)
{
    uint64_t since_us = channel->held_since_us;
    return channel->held_us + (since_us == 0 ? 0 : loop_now_us(channel->shared.loop) - since_us);
}

void sf_channel_row_added(struct sf_channel *channel, const struct sf_token *token, size_t line_bytes)
{
    struct sf_batch *batch = &channel->batch;
    CHECK(line_bytes > 0 && line_bytes <= batch->data.size);
    if (channel->state == SF_CHANNEL_FAILED || channel->is_rewinding) {
        batch->data.size -= line_bytes;
        if (channel->owed.text[0] == '\0')
            channel->owed = *token;
        return;
    }
    CHECK(channel->state != SF_CHANNEL_CLOSED && channel->state != SF_CHANNEL_OPENING);
    CHECK(sf_token_compare(token, &channel->high) > 0);
    budget_take(channel->shared.budget, line_bytes);
    batch->budget_bytes += line_bytes;
    if (!sf_batch_add(batch, token, line_bytes, channel->shared.loop)) {
        struct err error;
        err_set(&error, ERR_INTERNAL, "", "out of memory for a batch of channel %s", channel->name);
        sf_channel_fail(channel, &error);
        return;
    }
    channel->high = *token;
    channel->stats.rows++;
    if ((batch->rows >= channel->batch_rows_max || batch->data.size >= BATCH_BYTES_AT_ONCE) &&
        channel->state == SF_CHANNEL_READY && channel->rate_timer.heap_index == 0)
        sf_channel_pump(channel);
    else if (channel->held_since_us == 0 && batch->data.size >= BATCH_BYTES_AT_ONCE)
        note_held(channel);
}

void sf_channel_hold(struct sf_channel *channel)
{
    channel->batch.ready_count = channel->batch.cut_count;
}

void sf_channel_release(struct sf_channel *channel)
{
    channel->batch.ready_count = SIZE_MAX;
    sf_channel_pump(channel);
}

static void begin_drop(struct sf_channel *channel)
{
    channel->is_drop_wanted = false;
    channel->state = SF_CHANNEL_DROPPING;
    backoff_reset(&channel->backoff);
    sf_request_id_new(&channel->request_id);
    sf_channel_send(channel);
}

static void pump(struct sf_channel *channel)
{
    struct sf_batch *batch = &channel->batch;
    struct sf_append *append = &channel->append;
    if (channel->state != SF_CHANNEL_READY)
        return;
    if (channel->is_reopen_wanted) {
        sf_channel_reopen(channel, channel->reopen_reason, channel->is_stall_probe);
        return;
    }
    size_t ready_count = sf_batch_ready(batch);
    if (!append->is_kept && ready_count == 0) {
        if (channel->is_drop_wanted)
            begin_drop(channel);
        return;
    }
    size_t first_bytes = append->is_kept ? append->raw_bytes : batch->cut_offsets[0];
    size_t all_bytes = append->is_kept ? append->raw_bytes : batch->cut_offsets[ready_count - 1];
    size_t raw_bytes_max = 0;
    uint64_t wait_us =
        sf_rate_wait_us(&channel->rate, loop_now_us(channel->shared.loop), first_bytes, all_bytes, &raw_bytes_max);
    if (wait_us > 0) {
        if (channel->rate_timer.heap_index == 0)
            loop_timer_set(channel->shared.loop, &channel->rate_timer, wait_us);
        return;
    }
    struct err error;
    if (!append->is_kept && !sf_batch_seal(channel, raw_bytes_max, &error)) {
        sf_channel_fail(channel, &error);
        return;
    }
    sf_channel_note_room(channel);
    channel->state = SF_CHANNEL_SENDING;
    sf_request_id_new(&channel->request_id);
    sf_channel_send(channel);
}

void sf_channel_pump(struct sf_channel *channel)
{
    pump(channel);
    note_held(channel);
}

static void on_rate_due(struct loop_timer *timer)
{
    sf_channel_pump(timer->context);
}

void sf_channel_rewound(struct sf_channel *channel)
{
    channel->is_rewinding = false;
    if (channel->state != SF_CHANNEL_FAILED)
        channel->owed = token_none;
}

void sf_channel_drop(struct sf_channel *channel)
{
    CHECK(!sf_channel_has_uncommitted(channel));
    channel->is_drop_wanted = true;
    loop_defer(channel->shared.loop, &channel->later);
}

// ---- what Snowflake says of commits

bool sf_channel_commit_to(struct sf_channel *channel, const char *token)
{
    const struct sf_accepted *oldest = sf_ring_front(&channel->accepted);
    uint64_t now_us = loop_now_us(channel->shared.loop);
    if (strcmp(token, channel->committed.text) <= 0)
        return false;
    sf_token_set(&channel->committed, token);
    for (; oldest != NULL && sf_token_compare(&oldest->last, &channel->committed) <= 0;
         oldest = sf_ring_front(&channel->accepted)) {
        channel->stats.last_commit_latency_us = now_us - oldest->accepted_us;
        sf_ring_pop(&channel->accepted);
    }
    channel->progress_us = now_us;
    channel->missing_count = channel->unhealthy_count = 0;
    if (sf_token_compare(&channel->high, &channel->committed) < 0)
        channel->high = channel->committed;
    if (!sf_channel_has_uncommitted(channel))
        sf_buffers_shrink(channel);
    return true;
}

void sf_channel_take_status(struct sf_channel *channel, const struct sf_status *status)
{
    struct sf_channel_record *record = &channel->record;
    sf_token_set(&record->committed, status->committed);
    if (status->created_on_ms != 0)
        record->created_on_ms = status->created_on_ms;
    if (status->has_error_count)
        record->error_count = status->error_count;
    record->is_known = true;
}

bool sf_channel_has_new_errors(struct sf_channel *channel, const struct sf_status *status)
{
    const struct sf_channel_record *record = &channel->record;
    if (!record->is_known || !status->has_error_count || status->error_count <= record->error_count)
        return false;
    struct err error;
    err_set(&error, ERR_DATA, "rows_refused",
            "Snowflake refused %" PRIu64 " row(s) of channel %s, between offset tokens (%s, %s]: %s",
            status->error_count - record->error_count, channel->name,
            record->committed.text[0] == '\0' ? "start" : record->committed.text,
            status->error_offset[0] == '\0' ? status->committed : status->error_offset,
            status->error_message[0] == '\0' ? "no message" : status->error_message);
    sf_channel_fail(channel, &error);
    return true;
}

void sf_channel_doubt(struct sf_channel *channel, const char *why)
{
    bool is_open = channel->state == SF_CHANNEL_READY || channel->state == SF_CHANNEL_SENDING ||
                   channel->state == SF_CHANNEL_WAITING;
    if (!is_open)
        return;
    (void)snprintf(channel->reopen_reason, sizeof channel->reopen_reason, "%s", why);
    channel->is_reopen_wanted = true;
    channel->is_stall_probe = false;
    if (channel->state != SF_CHANNEL_SENDING)
        sf_channel_reopen(channel, why, false);
}

void sf_channel_status_asked(struct sf_channel *channel)
{
    channel->asked_generation = channel->open_generation;
    channel->is_status_asked = true;
}

bool sf_channel_wants_status(const struct sf_channel *channel)
{
    bool is_open = channel->state == SF_CHANNEL_READY || channel->state == SF_CHANNEL_SENDING ||
                   channel->state == SF_CHANNEL_WAITING;
    return is_open && channel->accepted.count > 0;
}

static void on_unhealthy(struct sf_channel *channel, const struct sf_status *status)
{
    // As it was told before; the opening waits for the append in flight.
    if (channel->is_reopen_wanted && !channel->is_stall_probe)
        return;
    if (++channel->unhealthy_count > UNHEALTHY_COUNT_MAX) {
        struct err error;
        err_set(&error, ERR_CONFIG, status->code, "channel %s stays in status %s, also after it was opened again",
                channel->name, status->code);
        sf_channel_fail(channel, &error);
    } else if (strstr(status->code, "INVALID_CLIENT_SEQUENCER") != NULL && channel->state != SF_CHANNEL_SENDING) {
        sf_channel_on_stale(channel, status->code);
    } else {
        sf_channel_doubt(channel, status->code);
    }
}

// Then another program has written to the channel.
static bool is_beyond_what_was_sent(const struct sf_channel *channel, const char *token)
{
    const struct sf_accepted *newest = sf_ring_back(&channel->accepted);
    const struct sf_token *sent = &channel->committed;
    if (channel->append.is_kept)
        sent = &channel->append.last;
    else if (newest != NULL)
        sent = &newest->last;
    return strcmp(token, sent->text) > 0;
}

// A status may be a moment old, so what looks like a loss in it is only a doubt: the answer to an opening decides.
void sf_channel_apply_status(struct sf_channel *channel, const json_t *json)
{
    const struct sf_channel_record *record = &channel->record;
    struct sf_status status;
    bool is_open = channel->state == SF_CHANNEL_READY || channel->state == SF_CHANNEL_SENDING ||
                   channel->state == SF_CHANNEL_WAITING;
    bool is_asked = channel->is_status_asked && channel->asked_generation == channel->open_generation;
    channel->is_status_asked = false;
    if (!is_open || !is_asked)
        return;
    if (json == NULL) {
        sf_channel_doubt(channel, "Snowflake does not know it any more");
        return;
    }
    if (!sf_status_parse(json, &status)) {
        sf_channel_doubt(channel, "its status cannot be read");
        return;
    }
    if (sf_channel_has_new_errors(channel, &status))
        return;
    if (!sf_status_is_healthy(&status)) {
        on_unhealthy(channel, &status);
        return;
    }
    if (status.created_on_ms != 0 && record->created_on_ms != 0 && status.created_on_ms != record->created_on_ms) {
        sf_channel_doubt(channel, "it was created anew");
        return;
    }
    if (strcmp(status.committed, record->committed.text) < 0) {
        sf_channel_doubt(channel, "its committed offset token went back");
        return;
    }
    if (is_beyond_what_was_sent(channel, status.committed)) {
        sf_channel_doubt(channel, "its committed offset token is beyond what was sent");
        return;
    }
    sf_channel_take_status(channel, &status);
    if (sf_channel_commit_to(channel, status.committed)) {
        channel->events.on_committed(channel->events.context);
        return;
    }
    uint64_t now_us = loop_now_us(channel->shared.loop);
    if (channel->accepted.count == 0 || now_us - channel->progress_us < STALL_US || channel->is_reopen_wanted)
        return;
    (void)snprintf(channel->reopen_reason, sizeof channel->reopen_reason, "nothing was committed for a minute");
    channel->is_reopen_wanted = channel->is_stall_probe = true;
    sf_channel_pump(channel);
}

// ---- answers

static void on_accepted(struct sf_channel *channel, const char *continuation)
{
    const struct sf_append *append = &channel->append;
    uint64_t now_us = loop_now_us(channel->shared.loop);
    const struct sf_accepted item = {.first = append->first, .last = append->last, .accepted_us = now_us};
    // A status may overtake this answer and tell that its rows are committed: nothing more would be heard of them.
    bool is_committed = sf_token_compare(&item.last, &channel->committed) <= 0;
    if (channel->accepted.count == 0)
        channel->progress_us = now_us;
    buf_reset(&channel->continuation);
    buf_append_text(&channel->continuation, continuation);
    if ((!is_committed && !sf_ring_push(&channel->accepted, &item)) || channel->continuation.failed) {
        struct err error;
        err_set(&error, ERR_INTERNAL, "", "out of memory for the appends of channel %s", channel->name);
        sf_channel_fail(channel, &error);
        return;
    }
    channel->stats.appends++;
    channel->stats.raw_bytes += append->raw_bytes;
    channel->stats.wire_bytes += append->wire.size;
    channel->stats.last_append_latency_us = channel->request.done_us - channel->request.sent_us;
    append_meter_note(channel->meter, append->rows, append->raw_bytes, channel->stats.last_append_latency_us);
    sf_channel_recovered(channel);
    *channel->shared.accepted_us = now_us;
    sf_append_drop(channel);
    sf_channel_note_room(channel);
    channel->state = SF_CHANNEL_READY;
    if (channel->pipe != NULL)
        sf_pipe_wake(channel->pipe);
    sf_channel_pump(channel);
    if (is_committed)
        channel->events.on_committed(channel->events.context);
}

// The same bytes would be refused again; but the refusal may be the channel's, so it is opened anew before that is believed.
static void on_append_refused(struct sf_channel *channel, const char *why)
{
    if (strstr(why, "STALE_CONTINUATION_TOKEN") != NULL) {
        sf_channel_on_stale(channel, why);
        return;
    }
    if (channel->request.status == 413 || ++channel->refused_count >= REFUSED_COUNT_MAX) {
        struct err error;
        err_set(&error, ERR_DATA, "append_refused",
                "Snowflake refuses the rows of channel %s from offset token %s to %s: %s", channel->name,
                channel->append.first.text, channel->append.last.text, why);
        sf_channel_fail(channel, &error);
        return;
    }
    sf_channel_reopen(channel, why, false);
}

static void on_append_done(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    const json_t *json = outcome->answer.json;
    const json_t *code = json_object_get(json, "status_code");
    const char *continuation = json_string_value(json_object_get(json, "next_continuation_token"));
    const char *message = json_string_value(json_object_get(json, "message"));
    bool is_refused = json_is_integer(code) && json_integer_value(code) != 0;
    if (is_refused)  // some deployments refuse with 200
        on_append_refused(channel, message == NULL ? "status_code without a message" : message);
    else if (continuation == NULL || continuation[0] == '\0')
        sf_channel_reopen(channel, "an append was answered without a continuation token", false);
    else
        on_accepted(channel, continuation);
}

// Not taken: the same append, with the same continuation token.
static void on_throttled(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    const struct log_scope scope = {.table = channel->pipe_name};
    if (channel->request_id.retry_count == 0)
        log_line(LOG_WARNING, &scope, "append_throttled", "%s; it is sent again until it is taken",
                 outcome->error.text);
    channel->state = SF_CHANNEL_WAITING;
    sf_channel_send_later(channel, channel->request.retry_after_s);
}

static void on_append_answer(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    sf_rate_ended(&channel->rate, loop_now_us(channel->shared.loop), channel->append.raw_bytes);
    switch (outcome->answer.signal) {
    case SF_SIGNAL_DONE: on_append_done(channel, outcome); return;
    case SF_SIGNAL_THROTTLED: on_throttled(channel, outcome); return;
    case SF_SIGNAL_STALE: sf_channel_on_stale(channel, outcome->error.text); return;
    case SF_SIGNAL_UNAUTHORIZED: sf_channel_renew_token(channel, outcome); return;
    case SF_SIGNAL_FORBIDDEN: sf_channel_forbidden(channel, outcome); return;
    case SF_SIGNAL_REFUSED: on_append_refused(channel, outcome->error.text); return;
    case SF_SIGNAL_MISSING:
        if (++channel->missing_count > MISSING_COUNT_MAX) {
            sf_channel_not_there(channel, outcome);
            return;
        }
        break;
    case SF_SIGNAL_MOVED: sf_auth_host_moved(channel->shared.auth); break;
    case SF_SIGNAL_TRANSIENT:
    case SF_SIGNAL_UNCOMMITTED:
    case SF_SIGNAL_CONFLICT: break;
    }
    // It may have been taken: the committed token after an opening tells.
    sf_channel_reopen(channel, outcome->error.text, false);
}

static void on_drop_answer(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    enum sf_signal signal = outcome->answer.signal;
    if (signal == SF_SIGNAL_UNAUTHORIZED) {
        sf_channel_renew_token(channel, outcome);
        return;
    }
    bool is_gone = signal == SF_SIGNAL_DONE || signal == SF_SIGNAL_MISSING;
    bool is_final = signal == SF_SIGNAL_FORBIDDEN || signal == SF_SIGNAL_REFUSED;
    if (signal == SF_SIGNAL_MOVED)
        sf_auth_host_moved(channel->shared.auth);
    if (!is_gone && !is_final && channel->backoff.tries < DROP_TRIES_MAX) {
        sf_channel_send_later(channel, channel->request.retry_after_s);
        return;
    }
    channel->state = SF_CHANNEL_CLOSED;
    channel->events.on_dropped(channel->events.context, is_gone ? NULL : &outcome->error);
}

static const char *what_was_asked(const struct sf_channel *channel)
{
    switch (channel->state) {
    case SF_CHANNEL_SENDING: return "appending to";
    case SF_CHANNEL_DROPPING: return "dropping";
    default: return "opening";
    }
}

static void on_answer(struct http_request *request, const struct err *error)
{
    struct sf_channel *channel = request->context;
    struct sf_outcome outcome = {.answer.signal = SF_SIGNAL_TRANSIENT};
    char what[200];
    (void)snprintf(what, sizeof what, "%s channel %s", what_was_asked(channel), channel->name);
    if (error != NULL) {
        outcome.transport = error->kind;
        err_set(&outcome.error, ERR_TRANSIENT, error->code, "%s: %s", what, error->text);
    } else {
        sf_answer_init(&outcome.answer, request);
        sf_answer_err(&outcome.answer, request, ERR_TRANSIENT, what, &outcome.error);
        if (outcome.answer.signal != SF_SIGNAL_UNAUTHORIZED)
            sf_auth_accepted(channel->shared.auth, true, channel->generation);
    }
    if (outcome.answer.signal != SF_SIGNAL_DONE)
        channel->trouble = outcome.error;
    if (channel->state == SF_CHANNEL_SENDING)
        on_append_answer(channel, &outcome);
    else if (channel->state == SF_CHANNEL_DROPPING)
        on_drop_answer(channel, &outcome);
    else
        sf_channel_on_open_answer(channel, &outcome);
    sf_answer_deinit(&outcome.answer);
    note_held(channel);
}

// ---- life

static bool copy_names(struct sf_channel *channel, const struct sf_channel_options *options)
{
    const char *const names[] = {options->database, options->schema, options->pipe, options->channel};
    char **const copies[] = {&channel->database, &channel->schema, &channel->pipe_name, &channel->name};
    size_t size = 0;
    for (size_t i = 0; i < 4; i++)
        size += strlen(names[i]) + 1;
    char *next = malloc(size);
    if (next == NULL)
        return false;
    for (size_t i = 0; i < 4; i++) {
        size_t name_size = strlen(names[i]) + 1;
        memcpy(next, names[i], name_size);
        *copies[i] = next;
        next += name_size;
    }
    return true;
}

struct sf_channel *sf_channel_new(const struct sf_channel_shared *shared, const struct sf_channel_options *options,
                                  const struct sf_channel_events *events)
{
    struct sf_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL || !copy_names(channel, options)) {
        free(channel);
        return NULL;
    }
    channel->shared = *shared;
    channel->events = *events;
    channel->record = options->kept;
    channel->initial = options->initial_token;
    channel->outlasts_refusals = options->outlasts_refusals;
    channel->batch_rows_max = options->batch_rows_max == 0 ? UINT32_MAX : options->batch_rows_max;
    buf_init(&channel->batch.data, BATCH_BYTES_MAX);
    channel->batch.ready_count = SIZE_MAX;
    buf_init(&channel->append.wire, SF_APPEND_WIRE_BYTES_MAX);
    buf_init(&channel->url, ANSWER_BYTES_MAX);
    buf_init(&channel->body, ANSWER_BYTES_MAX);
    buf_init(&channel->continuation, ANSWER_BYTES_MAX);
    sf_auth_request_init(shared->auth, &channel->request, NULL, REQUEST_TIMEOUT_MS, ANSWER_BYTES_MAX, on_answer,
                         channel);
    channel->meter = options->meter;
    channel->auth_waiter = (struct sf_auth_waiter){.on_ready = on_auth_ready, .context = channel};
    channel->retry_timer = (struct loop_timer){.on_due = on_retry_due, .context = channel};
    channel->rate_timer = (struct loop_timer){.on_due = on_rate_due, .context = channel};
    channel->later = (struct loop_deferred){.call = on_later, .context = channel};
    backoff_init(&channel->backoff, &retry_policy, sf_random());
    sf_rate_init(&channel->rate, loop_now_us(shared->loop));
    return channel;
}

void sf_channel_free(struct sf_channel *channel)
{
    if (channel == NULL)
        return;
    if (channel->pipe != NULL)
        sf_pipe_remove(channel->pipe, channel);
    http_client_cancel(channel->shared.http, &channel->request);
    sf_auth_cancel(channel->shared.auth, &channel->auth_waiter);
    loop_timer_stop(channel->shared.loop, &channel->retry_timer);
    loop_timer_stop(channel->shared.loop, &channel->rate_timer);
    sf_batch_drop(channel);
    sf_append_drop(channel);
    loop_defer_stop(channel->shared.loop, &channel->later);
    http_request_deinit(&channel->request);
    buf_deinit(&channel->batch.data);
    buf_deinit(&channel->append.wire);
    buf_deinit(&channel->url);
    buf_deinit(&channel->body);
    buf_deinit(&channel->continuation);
    free(channel->batch.cuts);
    free(channel->batch.cut_offsets);
    free(channel->accepted.items);
    free(channel->database);
    free(channel);
}
