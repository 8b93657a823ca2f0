// What sf_channel.c (states and answers), sf_channel_open.c, sf_channel_refused.c, sf_channel_batch.c (rows and bytes) and sf_pipe.c share.
#ifndef ETL_SINKS_SNOWFLAKE_SF_CHANNEL_PRIVATE_H
#define ETL_SINKS_SNOWFLAKE_SF_CHANNEL_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/buf.h"
#include "base/err.h"
#include "sinks/snowflake/sf_channel.h"
#include "sinks/snowflake/sf_http.h"

// Some 64 kB of lines that are sent together or not at all.
struct sf_cut {
    struct sf_token first, last;
    uint32_t rows;
    int64_t oldest_wall_ms;
};

// Rows before they are an append. cut_offsets[k] is the end of cuts[k] in data; the last one is the end of all.
// Cuts from ready_count on wait for sf_channel_release; without a hold it is SIZE_MAX. No cut has rows of both sides.
// Invariant: cut_count is 0 only when data is empty; budget_bytes is what the shared budget holds for data.
struct sf_batch {
    struct buf data;
    struct sf_cut *cuts;
    size_t *cut_offsets;
    size_t cut_count, cut_capacity, ready_count;
    size_t rows;
    size_t budget_bytes;
};

// The one append that is in flight, or kept to be sent (again).
struct sf_append {
    bool is_kept;
    struct sf_token first, last;
    uint32_t rows;
    size_t raw_bytes;
    int64_t oldest_wall_ms;
    struct buf wire;
};

struct sf_accepted {
    struct sf_token first, last;
    uint64_t accepted_us;
};

// Appends that are accepted and not committed, oldest first; grows, never shrinks.
struct sf_ring {
    struct sf_accepted *items;
    size_t capacity, first, count;
};

// The appends of the last second, by when their answer came: as they are serial, no second at Snowflake can hold more.
struct sf_rate {
    uint64_t ended_us[SF_APPENDS_PER_SECOND_MAX];
    size_t raw_bytes[SF_APPENDS_PER_SECOND_MAX];
    uint32_t next;
    uint64_t credit_us, credit_at_us;  // spreads them over the second, but for a few that may go at once
};

// One entry of a bulk status answer, or the status in an open's answer.
struct sf_status {
    char code[SF_ANSWER_CODE_SIZE];
    const char *committed, *error_offset, *error_message;  // "" when it is not there; borrowed from the answer
    int64_t created_on_ms;                                 // 0: not told
    bool has_error_count;
    uint64_t error_count;
};

struct sf_channel {
    struct sf_channel_shared shared;
    struct sf_channel_events events;
    char *database, *schema, *pipe_name, *name;  // one block, at database
    struct sf_pipe *pipe;                        // NULL: in none
    enum sf_channel_state state;
    uint32_t batch_rows_max;

    // What Snowflake told last, and what follows from it.
    struct sf_channel_record record;
    struct sf_token initial, committed, high;
    bool is_rewinding;
    struct sf_token owed;  // oldest row that was dropped (rewind, failure) and is not committed; "": none

    struct sf_batch batch;
    uint64_t held_us, held_since_us;  // since: 0 when no full batch waits
    struct sf_append append;
    struct sf_ring accepted;
    struct sf_rate rate;

    struct http_request request;
    struct sf_request_id request_id;
    uint32_t generation;  // of the token that the request under way carries
    struct buf url, body, continuation;
    struct sf_auth_waiter auth_waiter;
    struct loop_timer retry_timer, rate_timer;
    struct loop_deferred later;  // failure, room, drop: what must not happen inside the owner's call
    struct backoff backoff;      // of appends and reopenings; reset by an append that was accepted
    bool is_room_due, is_drop_wanted;
    bool outlasts_refusals;
    struct err failure;
    struct err trouble;  // of the newest request, if it failed and is sent again

    // Of an opening under way.
    bool is_first_look;            // asks whether the channel exists before it is opened with the initial token
    bool is_new;                   // it does not
    bool is_forced;                // fail_on_uncommitted_rows:false
    bool is_stall_probe;           // a 409 is the good answer: what was accepted is still on its way
    uint64_t uncommitted_from_us;  // when 409 was answered first; 0: not yet
    uint32_t missing_count, unhealthy_count, refused_count;
    uint64_t forbidden_from_us;  // the first 403 of those without an append that was accepted between; 0: none
    char reopen_reason[160];

    bool is_reopen_wanted;  // as soon as the append in flight is answered
    uint64_t stale_us;      // when a token was stale last; 0: never
    uint64_t progress_us;   // when rows were accepted first, or committed last
    uint32_t open_generation, asked_generation;
    bool is_status_asked;
    struct sf_channel_stats stats;
    const struct append_meter *meter;
};

// What became of a request: Snowflake's answer, or (no answer: SF_SIGNAL_TRANSIENT) the transport's error.
struct sf_outcome {
    struct sf_answer answer;
    struct err error;         // one line for messages and logs, ERR_TRANSIENT
    enum err_kind transport;  // ERR_NONE: there was an answer
};

// ---- sf_channel.c
void sf_channel_fail(struct sf_channel *channel, const struct err *error);
void sf_channel_fail_or_end_drop(struct sf_channel *channel,
                                 const struct err *error);  // while it is dropped: it is left
void sf_channel_send(struct sf_channel *channel);           // the request that the state wants, when there is a token
void sf_channel_send_later(struct sf_channel *channel, uint32_t retry_after_s);  // after a back-off
void sf_channel_note_room(struct sf_channel *channel);
void sf_channel_recovered(struct sf_channel *channel);  // Snowflake takes what it has
// operation: static; see http_request.operation.
bool sf_channel_start(struct sf_channel *channel, const char *operation, const char *method, struct sf_headers *headers,
                      const struct buf *body);
void sf_channel_append_path(struct sf_channel *channel, const char *prefix);  // into channel->url
bool sf_channel_commit_to(struct sf_channel *channel, const char *token);     // true: the committed token has moved
void sf_channel_drop_rows(struct sf_channel *channel);  // all that is not committed; the oldest of it is owed
void sf_channel_take_status(struct sf_channel *channel, const struct sf_status *status);
bool sf_channel_has_new_errors(struct sf_channel *channel, const struct sf_status *status);  // true: it has failed

// ---- sf_channel_refused.c
// A 401: a new token is fetched, and the same request goes out again.
void sf_channel_renew_token(struct sf_channel *channel, const struct sf_outcome *outcome);
void sf_channel_forbidden(struct sf_channel *channel, const struct sf_outcome *outcome);  // a 403
void sf_channel_not_there(struct sf_channel *channel, const struct sf_outcome *outcome);  // for good

// ---- sf_channel_open.c
void sf_channel_send_open(struct sf_channel *channel);
void sf_channel_on_open_answer(struct sf_channel *channel, const struct sf_outcome *outcome);
void sf_channel_reopen(struct sf_channel *channel, const char *why, bool is_at_once);
void sf_channel_on_stale(struct sf_channel *channel, const char *why);

// ---- sf_channel_batch.c
bool sf_batch_add(struct sf_batch *batch, const struct sf_token *token, size_t line_bytes, const struct loop *loop);
size_t sf_batch_ready(const struct sf_batch *batch);  // cuts that may be sent
void sf_batch_drop(struct sf_channel *channel);       // and gives its budget back
void sf_append_drop(struct sf_channel *channel);      // likewise
// Compresses the front of the batch, at most raw_bytes_max of it but one cut at least, into the append.
bool sf_batch_seal(struct sf_channel *channel, size_t raw_bytes_max, struct err *out_error);
void sf_buffers_shrink(struct sf_channel *channel);  // gives large buffers of an idle channel back
bool sf_ring_push(struct sf_ring *ring, const struct sf_accepted *item);
const struct sf_accepted *sf_ring_front(const struct sf_ring *ring);  // NULL: empty
const struct sf_accepted *sf_ring_back(const struct sf_ring *ring);
void sf_ring_pop(struct sf_ring *ring);
void sf_rate_init(struct sf_rate *rate, uint64_t now_us);
// How long an append of first_bytes at least, all_bytes at best, must wait; 0: not, and it may have *out_raw_bytes_max.
uint64_t sf_rate_wait_us(struct sf_rate *rate, uint64_t now_us, size_t first_bytes, size_t all_bytes,
                         size_t *out_raw_bytes_max);
void sf_rate_sent(struct sf_rate *rate);
void sf_rate_ended(struct sf_rate *rate, uint64_t now_us, size_t raw_bytes);
bool sf_status_parse(const json_t *json, struct sf_status *out_status);
bool sf_status_is_healthy(const struct sf_status *status);
int sf_token_compare(const struct sf_token *a, const struct sf_token *b);
void sf_token_set(struct sf_token *token, const char *text);

#endif
