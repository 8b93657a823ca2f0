// A destination as the pipeline sees it. Everything is asynchronous: calls return at once, outcomes arrive as events on the
// pipeline's loop, never inside the call that caused them. A sink owns what it sent until it is committed; the
// pipeline owns positions.
//
// The way of a table:  add → prepare → stream_open → append… (for good)
//              for each range of a copy → copy_open → copy_append… → copy_finish → on_copy_committed
// Any table may fail by itself (on_table_failed): the pipeline stops it (table_stop) and the others run on.
#ifndef ETL_SINKS_SINK_H
#define ETL_SINKS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/finding.h"
#include "encode/encoding.h"
#include "encode/ndjson.h"
#include "model/lsn.h"
#include "model/seq.h"
#include "model/spread.h"
#include "model/table.h"

#define SINK_TOKEN_SIZE_MAX 40
#define SINK_CHANNEL_NAME_SIZE 64
#define SINK_POSITION_NONE UINT64_MAX

struct sink;
struct sink_table;

// What the catalog keeps of a channel between runs.
struct sink_channel_record {
    char name[SINK_CHANNEL_NAME_SIZE];
    char token[SINK_TOKEN_SIZE_MAX + 1];
    int64_t created_on_ms;
    uint64_t error_count;
};

// What the catalog keeps of a table's stream, written in one transaction with the floor. A channel is in it before its
// first row is sent, and so is the step of the spread that a row goes by.
struct sink_stream_record {
    struct spread spread;
    uint32_t channel_count;  // 0: nothing is known
    struct sink_channel_record channels[SPREAD_CHANNELS_MAX];
};

// What the destination remembers of this pipeline; read by read_state.
struct sink_state {
    bool exists;
    char writer[17];  // our name at the destination from now on: merges under another one fail
    uint8_t epoch;
    lsn_t merged_lsn;  // everything below it is merged
};

enum sink_append_outcome {
    SINK_APPENDED,
    SINK_ALREADY,  // the destination has it, or it is on its way
    SINK_FAILED    // this table cannot take it; the error says why
};

struct sink_events {
    void (*on_opened)(void *context, const struct err *error);
    void (*on_state)(void *context, const struct sink_state *state, const struct err *error);
    void (*on_prepared)(void *context, void *table_context, const struct err *error);
    void (*on_stream_opened)(void *context, void *table_context);
    void (*on_copy_opened)(void *context, void *table_context, uint16_t range);
    void (*on_copy_committed)(void *context, void *table_context, uint16_t range, uint64_t row_count);
    // stream_record has a new step. Rows that go by it are taken, but not sent until it is durable: stream_saved.
    void (*on_stream_changed)(void *context, void *table_context);
    void (*on_committed)(void *context);  // some table's committed rows moved on
    void (*on_room)(void *context);       // the budget, or a copy's share of it, gave bytes back: ask again
    // Rows that had been taken are gone at the destination: stop reading, call rewound, and read the slot again from the
    // floor (rows that are safe are told by SINK_ALREADY). Until then the table takes nothing: a later row would hide them.
    void (*on_rewind)(void *context, void *table_context, const struct err *why);
    void (*on_table_failed)(void *context, void *table_context, const struct err *error);
    // Its copy only: rows that were taken are gone, and it is to be copied again; the stream is as it was.
    void (*on_copy_failed)(void *context, void *table_context, const struct err *error);
    // error NULL: done. Otherwise table_context is the table that seems to be the cause, or NULL. What its kind asks for:
    // TRANSIENT, another try; DATA and CONFIG, finding the table; LOST, nothing (its table was told to fail); FENCED, read_state.
    void (*on_merged)(void *context, void *table_context, const struct err *error);
    void (*on_published)(void *context, void *table_context);  // or on_table_failed
    // rows: how many landing rows went; error set: none did for certain.
    void (*on_cleaned)(void *context, void *table_context, uint64_t rows, bool has_more, const struct err *error);
    void *context;
};

enum sink_prepare {
    SINK_PREPARE_MAKE,   // tables exist afterwards, are ours and have the table's columns; readers keep what they see
    SINK_PREPARE_CHECK,  // what exists is ours; nothing is made
    SINK_PREPARE_KNOWN,  // rows are in them already: they exist and are ours (ERR_LOST: they are gone)
    SINK_PREPARE_FOLLOW  // KNOWN, and they get the table's columns, where rows that are there show what the source's show
    // (missing_text); ERR_LOST if that cannot be. May be asked for again after a transient error. has_merge only
};

struct sink_table_options {
    const struct table *table;        // borrowed until table_stop
    const struct encoding *encoding;  // of the source database
    void *context;                    // passed back in events
};

struct sink_merge_table {
    struct sink_table *table;
    bool is_first;         // replaces the target's content
    lsn_t copy_lsn;        // is_first
    uint64_t copied_rows;  // is_first
    bool may_have_unchanged, may_have_moved;
};

struct sink_merge {
    uint8_t epoch;
    uint8_t state_epoch;  // what the destination's state holds now: epoch and position
    lsn_t state_lsn;
    char writer[17];  // as read_state told it last
    lsn_t from_lsn;   // rows from it on (0 where the state is of another epoch)
    lsn_t below_lsn;  // … and below it
    int64_t commit_wall_us;
    bool is_trial;  // everything is done and rolled back: does it fail?
    const struct sink_merge_table *tables;
    uint32_t table_count;
};

// Of on_merged: committed rows are not at the destination. Another try may find them; if it stays, the table has to be copied anew.
#define SINK_CODE_ROWS_MISSING "rows_missing"
// A hint was wrong (may_have_…): the next merge does without.
#define SINK_CODE_HINT "hint"

struct sink_stats {
    uint64_t rows, appends, raw_bytes, wire_bytes, retries;
    uint64_t append_latency_us, commit_latency_us;  // the newest
    // What rows hold now, those of copies among it, and the budget at which reading stops.
    size_t held_bytes, held_copy_bytes, held_bytes_max;
    const char *circuit;       // of the destination: "closed", "half_open", "open"; NULL: it has none
    uint64_t circuit_open_us;  // how long it stays open still; 0: it is not
};

// Of look: callbacks, with context first.
struct sink_look {
    finding_on on_finding;
    void (*on_timing)(void *context, const char *name, uint64_t us);  // how long a round trip took
    void (*on_done)(void *context, bool may_open);                    // false: open would fail for what was told
    void *context;
    uint32_t table_count;  // of the pipeline
};

struct sink_operations {
    const char *name;
    bool has_merge;                   // else read_state may tell an epoch only, and merge is NULL
    void (*open)(struct sink *sink);  // → on_opened: can it be reached, may we use it, is all there; makes nothing
    // Tells all at once that is missing at the destination or will hurt later; before open, once. NULL: open tells it.
    void (*look)(struct sink *sink, const struct sink_look *look);
    const char *(*opened_text)(const struct sink *sink);  // what open has looked at when it succeeds, for people
    void (*read_state)(
        struct sink
            *sink);  // → on_state; makes what keeps the state if missing, and fences: a merge that is under way ends
    // first, one that comes later fails. Wakes a warehouse
    struct sink_table *(*table_add)(struct sink *sink, const struct sink_table_options *options, struct err *out_error);
    bool (*table_wants_text)(const struct sink_table *table,
                             const bool **out_column_as_text);                // types that binary does not serve
    void (*table_prepare)(struct sink_table *table, enum sink_prepare mode);  // → on_prepared
    // Whether the two would be one at the destination; out_error says so, and which option keeps them apart. NULL: never.
    bool (*tables_collide)(const struct sink_table *table, const struct sink_table *other, struct err *out_error);
    void (*table_stop)(struct sink_table *table);  // frees it; no event follows
    // → on_stream_opened or on_table_failed. kept: what the catalog knows; each channel's rows at or below its token are
    // had. A spread or channels of another epoch say nothing of this one.
    void (*stream_open)(struct sink_table *table, uint8_t epoch, lsn_t floor_lsn,
                        const struct sink_stream_record *kept);
    void (*stream_saved)(struct sink_table *table);  // answers on_stream_changed: what stream_record told is durable
    void (*floor_saved)(struct sink *sink, lsn_t floor_lsn);  // durable: nothing below is read again in this epoch
    enum sink_append_outcome (*append)(struct sink_table *table, const struct row_change *change,
                                       struct err *out_error);
    void (*rewound)(struct sink *sink);  // the old reading has stopped: answers on_rewind, for all tables
    // A table is copied in ranges, one or more, several side by side; each is opened, filled in order and finished by itself.
    // → on_copy_opened, or on_copy_failed, or on_table_failed.
    void (*copy_open)(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint16_t range);
    // row_number counts the range's rows from 1. A range that was cut off is read again from its beginning, in the same
    // order: SINK_ALREADY for the rows that were taken before.
    enum sink_append_outcome (*copy_append)(struct sink_table *table, uint16_t range, uint64_t row_number,
                                            const struct row_view *row, struct err *out_error);
    void (*copy_finish)(struct sink_table *table,
                        uint16_t range);  // → on_copy_committed when all of it is committed
    // Stop reading this range until on_room: it holds its fair share of the budget, or the budget is full.
    bool (*copy_is_full)(const struct sink_table *table, uint16_t range);
    void (*copy_drop)(struct sink_table *table);  // gives up the table's copy; no event of it follows
    void (*flush)(struct sink *sink);             // end of a reading turn: send what may be sent
    bool (*is_full)(const struct sink *sink);     // stop reading until on_room
    lsn_t (*uncommitted_lsn)(
        const struct sink_table
            *table);  // commit LSN of the oldest stream row not yet committed; SINK_POSITION_NONE: none
    lsn_t (*committed_row_lsn)(
        const struct sink_table *table);  // commit LSN of the newest committed stream row; 0 none
    void (*stream_record)(const struct sink_table *table, struct sink_stream_record *out_record);
    const struct row_encoder *(*table_encoder)(const struct sink_table *table);
    const char *(*table_target)(const struct sink_table *table);  // name at the destination, for messages
    bool (*merge)(struct sink *sink, const struct sink_merge *merge,
                  struct err *out_error);  // → on_merged; one at a time (ERR_TRANSIENT while another one runs)
    // → on_published, or on_table_failed. Without has_merge: the copy at copy_lsn is committed as a whole and the catalog knows
    // it: readers may see it from now on. With it, only where is_hidden: the first merge is done. Comes again after a restart
    // (there after the first merge came again), when it is not known whether it was done.
    void (*publish)(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint64_t copied_rows);
    // What the table's first merge writes cannot be seen until publish: it is written beside the target, whose columns could not be
    // brought into the new form as they are. NULL: never.
    bool (*is_hidden)(const struct sink_table *table);
    const struct err *(*table_trouble)(
        const struct sink_table
            *table);  // why rows wait and are sent again and again; NULL: nothing is wrong. May be missing
    // Rows that were merged longer ago than they are kept: has_clean says after a merge that there are such, of any table, until
    // cleaned_all. clean deletes some of one live table → on_cleaned; one at a time. It wakes a warehouse if none is awake.
    bool (*has_clean)(const struct sink *sink);
    bool (*clean)(struct sink_table *table, struct err *out_error);
    // The same of a table that was followed once and is not in the sink any more → on_cleaned, table_context NULL.
    bool (*clean_left)(struct sink *sink, const struct table *table, struct err *out_error);
    void (*cleaned_all)(struct sink *sink);
    bool (*has_inflight)(
        const struct sink *sink);  // anything buffered or sent and not answered (a clean end waits for it)
    void (*stats)(const struct sink *sink, struct sink_stats *out_stats);
    void (*free)(struct sink *sink);
};

// First member of every sink.
struct sink {
    const struct sink_operations *operations;
    struct sink_events events;
};

#endif
