// What destinations that take NDJSON lines and acknowledge them batch by batch have in common: tables, batches, the budget,
// what is had and what is committed, retries, events. A carrier (file/, http/) brings batches to their place.
//
// A table has a lane for its stream and, while it is copied, one for each range of the copy under way. A lane's batches are carried strictly one
// after the other; the newest batch takes rows until it is full, while older ones wait or are under way:
//
//     first (under way) → … → last (takes rows)
//
// A batch that could not be carried stays the first one and is tried again: nothing is dropped but by table_stop.
// Invariants: a batch in the list has at least one row; the budget holds exactly the bytes of all batches in lists.
#ifndef ETL_SINKS_LINE_SINK_H
#define ETL_SINKS_LINE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "encode/ndjson.h"
#include "io/loop.h"
#include "sinks/append_meter.h"
#include "sinks/sink.h"

struct line_sink;
struct line_table;

struct line_batch {
    struct buf data;  // whole lines
    struct seq first, last;
    uint32_t rows;
    size_t budget_bytes;
    struct line_batch *next;
};

enum line_lane_kind {
    LINE_STREAM,
    LINE_COPY,    // a range of a copy
    LINE_PUBLISH  // no rows: opened and finished to publish a copy
};

struct line_lane {
    struct line_table *table;
    enum line_lane_kind kind;
    uint8_t epoch;
    struct sink_channel_record kept;  // stream: what the catalog knew of it; name "": nothing
    struct seq copy_seq;              // not stream: the sequence of all the copy's rows
    uint16_t range;                   // copy: which part of the table
    struct seq high;                  // stream: the newest row that is had or on its way
    struct seq committed;             // stream: the newest row that is committed; ordinal 0: none yet
    uint64_t rows;                    // taken in this lane's life; LINE_PUBLISH: of the whole copy
    struct line_batch *first, *last;
    bool is_open;           // the carrier has answered lane_open
    bool is_busy;           // the carrier has an operation of this lane under way
    bool is_queued;         // waits for its turn
    bool is_finish_wanted;  // not stream: every row was taken
    bool is_finishing, is_finished;
    bool is_told;     // copy: that it is open
    bool is_filling;  // copy: rows are still to come
    bool is_waiting_for_room;
    size_t held_bytes;  // of all batches
    bool is_closed;     // freed as soon as it is not busy
    uint64_t sent_us;
    struct err trouble;  // why the first batch is still here, tried again
    struct backoff backoff;
    struct loop_timer retry_timer;
    struct line_lane *next;  // of the table
    struct line_lane *next_queued;
    void *carried;  // the carrier's own
};

struct line_table {
    struct line_sink *sink;
    const struct table *table;  // borrowed
    void *context;              // the pipeline's
    struct append_meter meter;
    char *target;  // name at the destination; set by the carrier's table_add, freed here
    struct row_encoder encoder;
    bool *column_as_text;
    struct line_lane *lanes;
    struct line_lane *stream, *copy;  // among lanes: the stream's, and the copy's that was asked for last; NULL: none
    bool is_preparing, is_stopped;
    unsigned events;
    struct err failure, prepare_error;
    struct line_table *next;
};

// Everything is asynchronous: an operation is answered by the call that its arrow names, from the loop, also directly inside
// the operation. One operation a lane is under way at a time. Errors: ERR_TRANSIENT is tried again (lane_send, lane_finish),
// anything else fails the table.
struct line_carrier {
    const char *opened_text;                      // see sink.h
    bool is_table_serial;                         // a table's lanes take turns
    void (*open)(struct line_sink *sink);         // → line_sink_opened
    void (*read_state)(struct line_sink *sink);   // → line_sink_state_read; NULL: the destination remembers nothing
    void (*table_add)(struct line_table *table);  // names the target
    // → line_lane_opened. kept: stream only; what the catalog knows of it, name "" if nothing.
    void (*lane_open)(struct line_lane *lane, const struct sink_channel_record *kept);
    void (*lane_send)(struct line_lane *lane, const struct line_batch *batch);  // → line_lane_sent
    // → line_lane_finished. A range of a copy: all of it was sent. LINE_PUBLISH: publishes, may come again (see sink.h).
    void (*lane_finish)(struct line_lane *lane);
    bool (*lane_cancel)(struct line_lane *lane);  // true: what is under way is dropped and will not be answered
    void (*lane_close)(struct line_lane *lane);   // frees carried; not busy
    void (*lane_record)(const struct line_lane *lane, struct sink_channel_record *out_record);  // stream
    void (*lane_saved)(struct line_lane *lane);  // stream: what lane_record told last is durable in the catalog; NULL
    void (*add_stats)(const struct line_sink *sink, struct sink_stats *stats);  // what it knows beside; NULL: nothing
    void (*free)(struct line_sink *sink);                                       // ends with free(sink)
};

struct line_sink_options {
    struct loop *loop;
    const struct line_carrier *carrier;
    const char *pipeline;  // borrowed
    size_t budget_bytes;
    size_t batch_bytes_max;  // a batch that has them is full
    uint32_t inflight_max;   // operations of all tables' lanes at a time
    const struct backoff_policy *retry_policy;
    bool preserves_case;   // of column names
    bool has_commit_at;    // stream rows carry their commit's time
    uint32_t quiet_tries;  // so many failures in a row are not shown yet
};

// First member of a carrier's sink.
struct line_sink {
    struct sink sink;  // first
    struct line_sink_options options;
    struct budget budget;
    bool is_waiting_for_room;
    struct line_table *tables;
    struct line_lane *queued_first, *queued_last;
    uint32_t inflight_count;
    uint32_t filling_count;  // copy lanes that rows are still to come for
    bool is_dispatching;
    struct line_batch *spare;  // an empty batch with its memory
    struct loop_deferred notify;
    unsigned pending_events;
    struct err open_error, state_error;
    struct sink_state state;
    struct sink_stats stats;
};

void line_sink_init(struct line_sink *sink, const struct line_sink_options *options, const struct sink_events *events);
// By the carrier's free, when nothing is answered any more: closes all lanes.
void line_sink_deinit(struct line_sink *sink);

// Answers of the carrier. error NULL: done.
void line_sink_opened(struct line_sink *sink, const struct err *error);
void line_sink_state_read(struct line_sink *sink, const struct sink_state *state, const struct err *error);
// had: the newest row that the destination has, NULL if it has none of this epoch.
void line_lane_opened(struct line_lane *lane, const struct seq *had, const struct err *error);
// retry_after_ms: at least so long until the next try; wire_bytes: what was carried.
void line_lane_sent(struct line_lane *lane, size_t wire_bytes, uint32_t retry_after_ms, const struct err *error);
void line_lane_finished(struct line_lane *lane, uint32_t retry_after_ms, const struct err *error);
void line_table_fail(struct line_table *table, const struct err *error);

static inline struct line_sink *line_sink_of(struct sink *sink)
{
    return (struct line_sink *)sink;
}

#endif
