// The logical replication stream of one slot: START_REPLICATION, keepalives, status updates, lazy reading.
// It hands over XLogData payloads; what they mean is the owner's (pgoutput.h).
//
// Status is sent unasked, at least twice in wal_sender_timeout, also while reading is paused: the server's own question
// waits behind the data that we do not read. After each real status a second one with write = received and flush = 0
// follows, so that a server can shut down while we lag.
#ifndef ETL_PG_PG_STREAM_H
#define ETL_PG_PG_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "model/lsn.h"
#include "pg/pg_conn.h"

struct pg_stream;

struct pg_stream_options {
    const char *slot;
    bool makes_temporary_slot;  // on this connection, gone with it; start_lsn 0
    const char *publication;    // one name; quoted inside
    lsn_t start_lsn;            // our durable floor
    bool is_binary;
    const char *client_encoding;    // the database's own
    uint32_t decoding_work_mem_kb;  // 0: the server's
};

struct pg_stream_events {
    void (*on_started)(void *context);
    // One XLogData payload; data is valid for the call. wal_start as the header says. False stops the stream, and on_ended is
    // not called: the owner has noted why.
    bool (*on_message)(void *context, const uint8_t *data, size_t size, lsn_t wal_start);
    // "everything below lsn has been sent".
    void (*on_keepalive)(void *context, lsn_t lsn);
    // After the last message of a turn: seal what may be sealed.
    void (*on_turn_end)(void *context);
    // The stream is over and the connection closed. ERR_TRANSIENT: connection, slot in use, or an error that asking for
    // binary may have caused (the next start of this struct asks for text, whatever the options say); ERR_LOST: the slot
    // or a publication in the WAL is gone; ERR_CONFIG; code = SQLSTATE. Free or restart it (deferred).
    void (*on_ended)(void *context, const struct err *error);
    // The server warned; comes before the messages that it sent later. 55000 with "skipped loading publication" (18 on):
    // changes were left out of the stream for good. The stream may be stopped in it.
    void (*on_warning)(void *context, const char *sqlstate, const char *text);
    void *context;
};

struct pg_stream_stats {
    uint64_t messages, bytes;
    uint64_t turns;            // calls to on_turn_end
    uint64_t lazy_waits;       // pauses of a millisecond under backlog
    bool is_binary;            // what was asked for at the last start
    uint64_t largest_message;  // bytes; libpq's buffer stays as large as this asked for: reconnect after a giant one
    lsn_t received_lsn;        // highest wal position the server told
    uint64_t last_message_us;
};

struct pg_stream *pg_stream_new(struct loop *loop, struct resolver *resolver);
void pg_stream_free(struct pg_stream *stream);  // not inside its callbacks
bool pg_stream_start(struct pg_stream *stream, const struct pg_target *target, const struct pg_stream_options *options,
                     const struct pg_stream_events *events, struct err *out_error);
void pg_stream_stop(struct pg_stream *stream);  // closes; on_ended is not called
// What may be confirmed: durable and committed in the target. Rises only; sent soon (at most every 100 ms) and on time.
void pg_stream_confirm(struct pg_stream *stream, lsn_t confirmed_lsn);
void pg_stream_flush_status(struct pg_stream *stream);  // now: before a clean end
void pg_stream_pause(struct pg_stream *stream);         // back-pressure; status goes on
void pg_stream_continue(struct pg_stream *stream);
const struct pg_stream_stats *pg_stream_stats(const struct pg_stream *stream);

#endif
