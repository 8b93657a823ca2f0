// One named channel of one pipe: open, batches, appends, commits. Appends on a channel are strictly serial.
//
//   rows → open batch → (seal: compress the front) → in flight → 200: accepted → committed token passes it → gone
//
// Tokens are strings of at most 40 characters that sort (strcmp) in the order of the rows of this channel.
//   high token       rows at or below it are in the open batch, in flight, accepted or committed: not to be added again
//   committed token  what Snowflake has in the table for good
// Invariant: committed <= last accepted <= last in flight <= high.
// The bytes of an append are kept until its 200. After an ambiguous failure the channel is reopened, and its committed
// token decides: the kept append is sent again if everything accepted before it is committed; otherwise rows are gone:
// batch and append are dropped, high = committed, and on_rewind asks the owner to read the slot again from the floor.
#ifndef ETL_SINKS_SNOWFLAKE_SF_CHANNEL_H
#define ETL_SINKS_SNOWFLAKE_SF_CHANNEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "encode/zstd_frame.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/append_meter.h"
#include "sinks/snowflake/sf_auth.h"

#define SF_TOKEN_SIZE_MAX 40
// Snowflake: 4 MB an append as sent over the wire, 10 requests a second and 20 MB a second before compression a channel.
#define SF_APPEND_WIRE_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define SF_APPENDS_PER_SECOND_MAX 10
#define SF_RAW_BYTES_PER_SECOND_MAX ((size_t)20 * 1000 * 1000)
// Bulk status has a limit that is not documented (ERR_GET_CHANNEL_STATUS_TOO_MANY_CHANNELS).
#define SF_STATUS_CHANNELS_MAX 100

struct sf_token {
    char text[SF_TOKEN_SIZE_MAX + 1];  // "": none
};

// What the catalog keeps of a channel, and what is compared when it is opened again. To be kept when on_opened comes,
// before rows are added: rows refused in a life that nobody recorded go unseen.
struct sf_channel_record {
    bool is_known;              // opened before
    struct sf_token committed;  // as Snowflake told it last
    int64_t created_on_ms;      // 0: not told
    uint64_t error_count;       // rows_error_count at that time, from the same answer as the token
};

enum sf_channel_state {
    SF_CHANNEL_CLOSED,     // ended by sf_channel_open
    SF_CHANNEL_OPENING,    // ended by the answer; 409 (uncommitted rows): waits up to two minutes with true, then false
    SF_CHANNEL_READY,      // ended by sf_channel_pump with rows, or sf_channel_drop
    SF_CHANNEL_SENDING,    // an append is in flight; ended by its answer
    SF_CHANNEL_WAITING,    // backing off before the same append is sent again (429); ended by a timer
    SF_CHANNEL_REOPENING,  // after an ambiguous failure, a stale token or a refusal; ended by the open's answer
    SF_CHANNEL_DROPPING,   // ended by the answer: closed
    SF_CHANNEL_FAILED      // ended by sf_channel_free
};

struct sf_channel;

struct sf_channel_events {
    void (*on_opened)(void *context);
    void (*on_committed)(void *context);  // the committed token has moved
    void (*on_room)(void *context);       // budget was given back
    // Accepted rows are gone (reopened with a lower committed token than what was accepted): read again from the floor.
    // Nothing can be added, and every row counts as had, until the owner has stopped its old reading and calls
    // sf_channel_rewound: a later row of the old reading would hide the ones that are gone.
    void (*on_rewind)(void *context, const struct err *why);
    // For good: ERR_FENCED (another writer), ERR_CONFIG (privilege, no such object), ERR_DATA (rows refused: error count
    // grew; text has the offset range and Snowflake's message; or a row too large), ERR_LOST (token vanished or went
    // back, identity changed). What may be everybody's (the login refused, 403) is waited out by a channel that was open.
    void (*on_failed)(void *context, const struct err *error);
    void (*on_dropped)(void *context, const struct err *error);  // NULL: it is gone
    void *context;
};

struct sf_channel_shared {  // what a worker shares among channels; borrowed
    struct loop *loop;
    struct http_client *http;
    struct sf_auth *auth;
    struct zstd_worker *zstd;
    struct budget *budget;
    uint64_t *accepted_us;  // when an append to any channel of the same owner was accepted last; theirs to write
};

struct sf_channel_options {
    const char *database, *schema, *pipe, *channel;  // names as they are (not quoted); copied
    // Rows at or below it are had, whatever Snowflake knows; a channel that does not exist yet is opened with it. "": none.
    struct sf_token initial_token;
    struct sf_channel_record kept;
    uint32_t batch_rows_max;           // batch_max_size: sent at the latest then, also in the middle of a reading turn
    const struct append_meter *meter;  // where its appends are counted; borrowed; NULL: nowhere
    uint32_t batch_fill_ms_max;        // batch_max_fill_ms: a batch waits for the rate limit only, which is far shorter
    bool outlasts_refusals;            // also its first opening waits when it is refused (403), as an open channel does
};

struct sf_channel_stats {
    uint64_t rows, appends, raw_bytes, wire_bytes, retries, reopens;
    uint64_t last_append_latency_us, last_commit_latency_us;
};

// NULL: out of memory.
struct sf_channel *sf_channel_new(const struct sf_channel_shared *shared, const struct sf_channel_options *options,
                                  const struct sf_channel_events *events);
void sf_channel_free(struct sf_channel *channel);  // gives its budget back; not inside its callbacks
void sf_channel_open(struct sf_channel *channel);
enum sf_channel_state sf_channel_state(const struct sf_channel *channel);

// The open batch: the encoder appends one line to it, then sf_channel_row_added is told how the buffer grew. Budget is
// taken. The token must be above the high token.
struct buf *sf_channel_batch(struct sf_channel *channel);
void sf_channel_row_added(struct sf_channel *channel, const struct sf_token *token, size_t line_bytes);
// Seals and sends when nothing is in flight and the rate limit (10 requests/s, 20 MB/s uncompressed) allows; arms a timer
// when the limit does not. Called at the end of a reading turn; the channel calls it itself after an answer.
void sf_channel_pump(struct sf_channel *channel);
void sf_channel_rewound(struct sf_channel *channel);  // answers on_rewind
// Rows that are added from now on are kept in the batch until the release; those before are sent.
void sf_channel_hold(struct sf_channel *channel);
void sf_channel_release(struct sf_channel *channel);  // and sends
// For how long in its life a full batch (a megabyte) waited behind the append in flight or for the rate limit.
uint64_t sf_channel_held_us(const struct sf_channel *channel);

const struct sf_token *sf_channel_high_token(const struct sf_channel *channel);
const struct sf_token *sf_channel_committed_token(const struct sf_channel *channel);
// First row not committed; "" when all are.
const struct sf_token *sf_channel_oldest_uncommitted(const struct sf_channel *channel);
bool sf_channel_has_uncommitted(const struct sf_channel *channel);
void sf_channel_record_get(const struct sf_channel *channel, struct sf_channel_record *out_record);
const struct sf_channel_stats *sf_channel_stats(const struct sf_channel *channel);
size_t sf_channel_held_bytes(const struct sf_channel *channel);  // what it has taken of the budget
const char *sf_channel_name(const struct sf_channel *channel);
// Why its rows wait: what became of its newest request, after several that failed, or why there is no token. NULL: nothing.
const struct err *sf_channel_trouble(const struct sf_channel *channel);
// False: the channel has rows at or beyond the token that were not added here: another writer's.
bool sf_channel_may_add(const struct sf_channel *channel, const struct sf_token *token);
// Deletes it in Snowflake; all must be committed. → on_dropped. May be called inside on_committed.
void sf_channel_drop(struct sf_channel *channel);

// A status that is asked for now tells nothing of a channel that is opened meanwhile: sf_channel_status_asked before the
// request is sent, sf_channel_apply_status with its entry of the bulk status answer (NULL: it was absent).
void sf_channel_status_asked(struct sf_channel *channel);
void sf_channel_apply_status(struct sf_channel *channel, const json_t *status);
bool sf_channel_wants_status(const struct sf_channel *channel);  // accepted rows wait for their commit
// Snowflake does not answer status requests for it any more: reopens, and lets the open's answer tell why.
void sf_channel_doubt(struct sf_channel *channel, const char *why);

// The channels of one pipe, for the bulk status: asks while any has accepted rows that are not committed, first after a
// quarter of status_interval_ms, then every status_interval_ms.
struct sf_pipe;
struct sf_pipe *sf_pipe_new(const struct sf_channel_shared *shared, const char *database, const char *schema,
                            const char *pipe, uint32_t status_interval_ms);
void sf_pipe_free(struct sf_pipe *pipe);  // its channels must be gone
void sf_pipe_add(struct sf_pipe *pipe, struct sf_channel *channel);
void sf_pipe_remove(struct sf_pipe *pipe, struct sf_channel *channel);  // harmless when it is not in it
void sf_pipe_wake(struct sf_pipe *pipe);                                // rows were accepted: status will be asked
const struct err *sf_pipe_trouble(const struct sf_pipe *pipe);          // as sf_channel_trouble, of statuses

#endif
