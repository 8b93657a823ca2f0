// What sf_sink.c (tables, events), sf_sink_stream.c (the stream), sf_sink_copy.c (copied rows), sf_sink_sql.c (set-up) and sf_sink_merge.c share.
#ifndef ETL_SINKS_SNOWFLAKE_SF_SINK_PRIVATE_H
#define ETL_SINKS_SNOWFLAKE_SF_SINK_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "encode/ndjson.h"
#include "io/loop.h"
#include "sinks/append_meter.h"
#include "sinks/sink.h"
#include "sinks/snowflake/sf_channel.h"
#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_evolve.h"
#include "sinks/snowflake/sf_merge.h"
#include "sinks/snowflake/sf_names.h"
#include "sinks/snowflake/sf_sink.h"
#include "sinks/snowflake/sf_sql.h"

#define SF_SETUP_TIMEOUT_S 120
#define SF_CODE_ABSENT "002043"  // SQL compilation error: object does not exist or operation cannot be performed
#define SF_CODE_COLUMN_EXISTS "001430"
#define SF_STATUS_INTERVAL_MS 500
#define SF_SETUP_STATEMENTS_MAX 8  // tables are prepared side by side
#define SF_STATEMENT_BYTES_MAX (2U << 20)

enum sf_event {
    SF_EVENT_OPENED = 1,
    SF_EVENT_STATE = 2,
    SF_EVENT_PREPARED = 4,
    SF_EVENT_STREAM_OPENED = 8,
    SF_EVENT_COPY = 16,  // some range's events are not 0
    SF_EVENT_REWIND = 128,
    SF_EVENT_FAILED = 256,
    SF_EVENT_COMMITTED = 512,
    SF_EVENT_ROOM = 1024,
    SF_EVENT_MERGED = 2048,
    SF_EVENT_STREAM_CHANGED = 4096,
    SF_EVENT_GROWTH_FAILED = 8192,
    SF_EVENT_CLEANED = 16384,
    SF_EVENT_PUBLISHED = 32768,
    SF_EVENT_LEFTOVER = 65536,  // some are over
    SF_EVENT_COPY_FAILED = 131072
};

enum sf_copy_event { SF_COPY_OPENED = 1, SF_COPY_COMMITTED = 2, SF_COPY_DROPPED = 4 };

enum sf_prepare_step {
    SF_PREPARE_NONE,
    SF_PREPARE_SHOW_SCHEMA,  // of a target that has a schema of its own
    SF_PREPARE_CREATE_SCHEMA,
    SF_PREPARE_SHOW_LANDING,
    SF_PREPARE_RENAME_LANDING,  // what is in the way
    SF_PREPARE_CREATE_LANDING,
    SF_PREPARE_DESCRIBE_LANDING,
    SF_PREPARE_EVOLVE_LANDING,  // columns of a definition that changed, statement by statement
    SF_PREPARE_EXTEND_LANDING,  // columns that an option asks for
    SF_PREPARE_COMMENT_LANDING,
    SF_PREPARE_SHOW_TARGET,
    SF_PREPARE_RENAME_TARGET,
    SF_PREPARE_CREATE_TARGET,
    SF_PREPARE_DESCRIBE_TARGET,
    SF_PREPARE_ASK_TARGET,  // whether rows keep a change from being followed; wakes a warehouse
    SF_PREPARE_EVOLVE_TARGET,
    SF_PREPARE_COERCED_TARGET,  // _ETL_COERCED, which the comment tells of
    SF_PREPARE_EXTEND_TARGET,
    SF_PREPARE_COMMENT_TARGET,
    // Where the target cannot get a type as it is; and what an earlier try left behind.
    SF_PREPARE_SHOW_SHADOW,
    SF_PREPARE_DROP_SHADOW,
    SF_PREPARE_TELL_SHADOW,  // in the target's comment, before it is made
    SF_PREPARE_CREATE_SHADOW,
    SF_PREPARE_EVOLVE_SHADOW,
    SF_PREPARE_COMMENT_SHADOW,
    SF_PREPARE_UNTELL_SHADOW,
    // publish
    SF_PREPARE_SWAP_SHADOW,
    SF_PREPARE_DROP_SWAPPED,
    SF_PREPARE_UNTELL_SWAPPED,
    SF_PREPARE_DONE
};

// One range of a table's copy on its way.
struct sf_copy {
    struct sf_sink_table *table;
    struct sf_channel *channel;
    struct seq seq;
    struct sf_token token;  // of its newest row
    uint64_t rows;          // taken
    unsigned events;        // sf_copy_event, not told yet
    uint16_t range;
    bool is_filling;           // rows came and more may come: it has a share of the budget
    bool is_waiting_for_room;  // its reader was told to stop
    bool is_finished, is_told;
    bool is_dirty;  // rows were added since the last flush
    struct sf_copy *next_dirty;
};

enum sf_growth {
    SF_GROWTH_WATCH,    // ended when the channels in force are held back
    SF_GROWTH_OPENING,  // ended by the last new channel's opening, or by one that fails
    SF_GROWTH_SAVING,   // ended by stream_saved
    SF_GROWTH_FAILED    // ended when the new channels are freed
};

// Invariant: is_open: channels[0 … in force) are open; while growth is not WATCH there are more, which no row takes
// before growth is SAVING. channel_count > spread_channel_count only in OPENING and FAILED.
struct sf_stream {
    struct spread spread;
    struct sf_channel *channels[SPREAD_CHANNELS_MAX];
    uint32_t channel_count, opening_count;
    uint8_t epoch;
    bool is_open;
    enum sf_growth growth;
    uint64_t grow_at_us;                   // not before
    uint64_t watched_us, watched_held_us;  // when the channels were looked at last, and sf_channel_held_us of all then
};

struct sf_sink_table {
    struct sf_sink *sink;
    void *context;  // the pipeline's
    struct row_encoder encoder;
    struct append_meter meter;
    struct metric *meter_prepared;  // etl_snowflake_tables_initialized_total
    struct sf_table_layout layout;
    bool *column_as_text;
    char *pipe_name;
    struct sf_pipe *pipe;
    struct sf_stream stream;
    struct sf_copy **copies;  // by range; NULL where none is open
    uint32_t copy_count;
    struct sf_leftover *leftovers;  // channels of earlier copies that are being dropped
    uint64_t rows;
    bool is_rewinding;  // on_rewind was told, rewound has not come
    bool is_stopped;    // freed at the next reaping
    enum sink_prepare prepare_mode;
    bool is_schema_absent;  // seen while it was prepared
    bool is_preparing;      // a statement of it is under way: freed after it
    bool is_dirty;          // rows were added since the last flush
    enum sf_prepare_step prepare_step;
    enum sf_prepare_step step_after_coerced, step_after_evolve;
    struct sf_evolution evolution, shadow_evolution;
    size_t evolution_next;
    unsigned evolve_tries;
    bool is_landing_altered,
        is_target_altered;  // it may have some of the new columns by now, while a change is followed
    bool is_shadow_told;    // the target's comment tells of a shadow …
    bool is_swap_told;      // … or that it was one, and the former target may be there still
    bool is_publishing;     // the slot's work is publish, not prepare
    bool wants_coerced;     // its landing rows tell of values that did not fit, and the target has no column for that
    unsigned events;
    struct err failure, copy_failure, prepare_error, rewind_reason;
    struct sf_sink_table *next, *next_dirty, *next_waiting;
};

// One of the statements that run side by side while tables are prepared.
struct sf_setup_slot {
    struct sf_sink *sink;
    struct sf_sql *sql;
    struct sf_sink_table *table;  // NULL: free
};

enum sf_open_step { SF_OPEN_LOGIN, SF_OPEN_SCHEMA, SF_OPEN_WAREHOUSE, SF_OPEN_INGEST, SF_OPEN_DONE };
enum sf_state_step { SF_STEP_SCHEMA, SF_STEP_TABLE, SF_STEP_ROW, SF_STEP_FENCE, SF_STEP_READ };

struct sf_sink {
    struct sink sink;  // first
    struct sf_sink_options options;
    struct sf_channel_shared channel_shared;
    struct budget budget;
    uint64_t accepted_us;  // of the channels, see there
    lsn_t floor_lsn;       // durable
    bool is_waiting_for_room;
    struct sf_sink_table *tables;
    struct sf_sink_table *dirty;
    struct sf_copy *dirty_copies;
    uint32_t filling_copies;                             // how many share the budget
    struct sink_stats ended_stats;                       // of copies that are over
    struct sf_sink_table *waiting_first, *waiting_last;  // to be prepared, in order
    struct sf_setup_slot slots[SF_SETUP_STATEMENTS_MAX];
    char **known_schemas;  // of targets; owned
    uint32_t known_schema_count;
    struct sf_sql *merge_sql;
    struct sf_sql *clean_sql;
    struct sf_sql *leftover_sql;
    bool are_leftovers_wanted;         // looked for after the next merge …
    uint64_t leftovers_due_us;         // … that ends then or later
    struct backoff leftover_backoff;   // of looks after one that failed, or a channel that could not be dropped
    char *left_landing, *left_marker;  // of the table that is not in the sink any more and is cleaned; owned
    struct sf_sink_table *cleaning;    // whose landing rows are being deleted; NULL: none, or it is gone
    // Landing rows below it may go: by the newest merge; in the round under way ("": none); in the last whole round.
    char clean_position[SEQ_POSITION_TEXT_SIZE + 1], round_position[SEQ_POSITION_TEXT_SIZE + 1],
        cleaned_position[SEQ_POSITION_TEXT_SIZE + 1];
    uint64_t clean_rows;  // of the last statement
    struct err clean_error;
    struct sf_look *look;                 // what only etl-stream check asks; NULL: it does not
    struct sf_sql *state_sql;             // opening and the state table, also while a merge runs
    struct sf_sink_table **merge_tables;  // of the merge under way, in its order
    struct sf_merge_parts merge_parts;    // statements of the merge under way
    struct sf_merge_window merge_window;  // … and what they were made of
    uint32_t merge_part_next;             // procedures: which is made next, or dropped
    uint32_t *merge_lines;                // … and the line of the statement at which each begins
    uint32_t merge_table_count;
    struct sf_sink_table *merge_suspect;  // which one the last failure seems to name, or NULL
    bool is_merge_cautious;               // a hint was wrong once: hints are not used any more
    struct sf_auth_waiter ingest_waiter;
    enum sf_open_step open_step;
    enum sf_state_step state_step;
    struct loop_deferred notify;
    unsigned pending_events;
    struct err open_error, state_error, merge_error;
    struct sink_state state;
    struct buf text;                // statement under construction
    uint32_t merge_extended_count;  // of merge_tables: those that were looked at for that
    bool is_extension_told;         // the comment of the next of them tells of the column already
};

struct sf_sink *sf_sink_of(struct sink *sink);
struct sf_sink_table *sf_sink_table_of(struct sink_table *table);
void sf_sink_notify(struct sf_sink *sink);
void sf_sink_table_fail(struct sf_sink_table *table, const struct err *error);

// kept: what the catalog knows of the table's channels, by name; NULL nothing.
struct sf_channel *sf_sink_channel_new(struct sf_sink_table *table, char kind, uint32_t number, uint8_t epoch,
                                       const struct sf_token *initial_token, const struct sink_stream_record *kept,
                                       const struct sf_channel_events *events);
void sf_sink_on_channel_room(void *context);
enum sink_append_outcome sf_sink_append_line(struct sf_sink_table *table, struct sf_channel *channel,
                                             const struct sf_token *token, const struct row_change *change,
                                             struct err *out_error);

void sf_sink_add_stats(const struct sf_channel *channel, struct sink_stats *stats);

// sf_sink_stream.c; what is in the table of operations is explained in sink.h
void sf_stream_open(struct sink_table *table, uint8_t epoch, lsn_t floor_lsn, const struct sink_stream_record *kept);
void sf_stream_close(struct sf_sink_table *table);          // frees its channels
void sf_stream_growth_failed(struct sf_sink_table *table);  // frees those that could not be opened
void sf_stream_saved(struct sink_table *table);
enum sink_append_outcome sf_stream_append(struct sink_table *table, const struct row_change *change,
                                          struct err *out_error);
void sf_stream_flush(struct sf_sink_table *table);
void sf_stream_rewound(struct sf_sink_table *table);
bool sf_stream_is_busy(const struct sf_sink_table *table);
lsn_t sf_stream_uncommitted_lsn(const struct sink_table *table);
lsn_t sf_stream_committed_row_lsn(const struct sink_table *table);
// The newest row of each channel that Snowflake told to be committed, if it is of from_lsn or later; the highest is first.
uint32_t sf_stream_committed(const struct sf_sink_table *table, lsn_t from_lsn,
                             struct seq out_seqs[SPREAD_CHANNELS_MAX]);
void sf_stream_record(const struct sink_table *table, struct sink_stream_record *out_record);
const struct err *sf_stream_trouble(const struct sf_sink_table *table);

// sf_sink_copy.c
void sf_sink_copy_open(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint16_t range);
enum sink_append_outcome sf_sink_copy_append(struct sink_table *table, uint16_t range, uint64_t row_number,
                                             const struct row_view *row, struct err *out_error);
void sf_sink_copy_finish(struct sink_table *table, uint16_t range);
bool sf_sink_copy_is_full(const struct sink_table *table, uint16_t range);
void sf_sink_copy_drop(struct sink_table *table);
void sf_sink_copy_free_all(struct sf_sink_table *table);  // frees the copy's channels
void sf_sink_copy_tell(struct sf_sink_table *table);      // its events, outside of the channels' callbacks
void sf_sink_copy_flush(struct sf_sink *sink);
bool sf_sink_copy_has_inflight(const struct sf_sink_table *table);
const struct err *sf_sink_copy_trouble(const struct sf_sink_table *table);
void sf_sink_copy_stats(const struct sf_sink_table *table, struct sink_stats *stats);

// sf_sink_sql.c
void sf_sink_setup_init(struct sf_sink *sink);
void sf_sink_setup_deinit(struct sf_sink *sink);
void sf_sink_open(struct sink *sink);
void sf_sink_read_state(struct sink *sink);
bool sf_sink_result_has_name(const struct sf_sql_result *result, const char *name, size_t *out_row);
void sf_sink_explain_login(const struct sf_config *config, const struct err *error, struct err *out_problem);
const char *sf_sink_role_text(const struct sf_config *config);

// sf_sink_look.c
void sf_sink_look(struct sink *sink, const struct sink_look *look);
void sf_sink_look_deinit(struct sf_sink *sink);

// sf_sink_prepare.c
void sf_sink_table_prepare(struct sink_table *table, enum sink_prepare mode);
bool sf_sink_is_hidden(const struct sink_table *table);
void sf_sink_publish(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint64_t copied_rows);
void sf_sink_prepare_deinit(struct sf_sink *sink);

// sf_sink_merge.c
bool sf_sink_merge(struct sink *sink, const struct sink_merge *merge, struct err *out_error);
bool sf_sink_has_clean(const struct sink *sink);
bool sf_sink_clean(struct sink_table *table, struct err *out_error);
void sf_sink_left_deinit(struct sf_sink *sink);
bool sf_sink_clean_left(struct sink *sink, const struct table *table, struct err *out_error);
void sf_sink_cleaned_all(struct sink *sink);

// sf_sink_leftover.c
void sf_sink_leftovers_want(struct sf_sink *sink);  // after the next merge, whatever failed before
void sf_sink_leftovers_look(struct sf_sink *sink);  // after a merge; does nothing while tables are copied
void sf_sink_leftovers_tell(struct sf_sink_table *table);
void sf_sink_leftovers_free(struct sf_sink_table *table);
void sf_sink_leftover_forget(struct sf_sink_table *table, uint8_t epoch, uint32_t range);

// sf_row.c
// Appends the change's line. A row that no append can hold is shortened: its largest values are treated as oversized ones, by the
// destination's option. False with ERR_DATA: it cannot be, or the option forbids it (row_too_large); batch is as it was.
bool sf_row_append(struct sf_sink_table *table, const struct row_change *change, struct buf *batch,
                   struct err *out_error);

#endif
