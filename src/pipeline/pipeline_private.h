// What the pipeline's files share: lifecycle (pipeline.c), start-up checks (start.c), stream (stream.c), copies (copy.c),
// and what is shown of them (copy_progress.c), positions and saves (progress.c), merges (merge.c), status (status.c).
//
//   received_lsn    every commit below it was read from the slot; an open transaction bounds it by its own commit LSN
//   committed_lsn   every row of every table that is not parked, of commits below it, is committed at the destination
//   saved_lsn       the floor that is durable in the catalog; the only thing ever confirmed to the source
//   merged_lsn      the targets hold exactly the commits below it
// Invariant (progress_check): saved <= committed <= received (after a rewind received goes back to saved; committed never does).
#ifndef ETL_PIPELINE_PIPELINE_PRIVATE_H
#define ETL_PIPELINE_PIPELINE_PRIVATE_H

#include "base/backoff.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/rate.h"
#include "io/mailbox.h"
#include "model/table_choice.h"
#include "pg/pg_catalog.h"
#include "pg/pg_copy.h"
#include "pg/pg_stream.h"
#include "pg/pgoutput.h"
#include "pipeline/lag.h"
#include "pipeline/merge_search.h"
#include "pipeline/meter.h"
#include "pipeline/pipeline.h"

#define LEFT_UNMERGED "left_unmerged"      // reason_code of a table that left: its landing rows are not deleted
#define POSTGRES_EPOCH_US 946684800000000  // 2000-01-01 in microseconds since 1970-01-01

enum pipeline_state {
    PIPELINE_IDLE,       // ended by pipeline_start
    PIPELINE_CHECKING,   // source facts and tables; ended by their answers
    PIPELINE_OPENING,    // the sink; ended by on_opened
    PIPELINE_PREPARING,  // tables at the destination; ended by the last on_prepared
    PIPELINE_SNAPSHOT,   // first start: slot and snapshot; ended by on_snapshot and its save
    PIPELINE_CHANNELS,   // stream channels open; ended by the last one
    PIPELINE_RUNNING,    // ended by stop, a failure, or a rewind
    PIPELINE_WAITING,    // backing off before it starts again; ended by a timer
    PIPELINE_STOPPING,   // as told; ended by the last commit or the deadline
    PIPELINE_ENDED       // ended by pipeline_free
};

struct pipeline_channel {
    struct catalog_channel record;
    bool is_dirty;
};

struct pipeline_table {
    struct pipeline *pipeline;
    struct table *table;            // owned
    struct sink_table *sink_table;  // NULL: parked
    struct catalog_table record;
    bool is_record_dirty;
    struct pipeline_channel *channels;  // what is in the catalog, or will be; those that are gone until that is saved
    uint32_t channel_count;
    bool is_stream_changed, is_stream_saving;  // the sink waits until the stream's new step is in the catalog
    bool is_preparing, is_stream_opening;      // asked of the sink; ended by its answer
    bool is_prepared;
    bool is_stream_open;
    bool is_joined;                  // takes rows: its channel is open and in the catalog
    bool is_relation_checked;        // in this run of the stream the newest description fits ours
    bool is_marked;                  // record.marks are of a look since it became NEW: its definition may be read
    struct pipeline_change *change;  // of its definition, which is being followed in place; NULL: none
    lsn_t row_lsn;                   // commit LSN of its newest row that was read
    uint32_t awaited_oid;            // the table that still has the name that this one has at the source; 0: none
    lsn_t left_lsn;                  // as of there the publication held it no more; LSN_NONE: it does
    bool is_last_merge_owed;         // since then: what was committed before is to be merged
    uint32_t try_count;              // failures of its own since it was last well; more than table_retry_max park it
    uint64_t retry_us;
    int64_t trouble_since_us;        // wall clock
    struct err trouble;              // not set: none
    uint32_t misfit_count;           // copies begun because a row did not fit this definition
    struct table_copy *copy;         // its copy under way; NULL: none
    bool is_publishing;              // on_published is awaited (destinations without a merge)
    lsn_t unchanged_lsn, moved_lsn;  // newest commit that brought such a row; UINT64_MAX after a restart: not known …
    lsn_t observed_from_lsn;         // … until everything up to here is merged: committed rows are not seen again
    uint64_t rows_streamed, rows_cleaned;
    struct table_meter meter;
};

struct pipeline_transaction {
    bool is_open;
    lsn_t commit_lsn;
    int64_t commit_time_us;   // since 2000-01-01
    uint32_t xid;             // of the source
    uint32_t message_number;  // of its changes, over all tables, before any filter of ours; from 1
};

// Invariant: until_us 0: nothing is held, and all the rest is zero.
struct pipeline_hold {
    char holder[HOLD_HOLDER_SIZE];
    uint64_t until_us;
    lsn_t lsn;  // merge exactly up to it; LSN_NONE: begin no merge
    bool may_wake;
    int64_t command_id;              // to be answered; 0: none
    bool is_settled;                 // the targets stand as was asked, and it was told
    bool is_save_wanted, is_saving;  // it is true, and answered once that is durable
};

struct pipeline_resync_request {
    char **names;  // none: all tables
    uint32_t name_count;
    bool is_applied;
    uint32_t table_count;  // is_applied: how many tables that is
    struct pipeline_resync_request *next;
};

#define PIPELINE_SOURCE_NAME_SIZE 64
#define PIPELINE_SHAPE_SIZE 40

struct pipeline {
    struct loop *loop;
    struct resolver *resolver;
    struct pipeline_options options;
    struct pipeline_events events;
    struct pg_target source;  // options.source points here
    struct log_scope scope;
    enum pipeline_state state;
    struct catalog_pipeline record;
    bool is_record_dirty;
    bool is_first_start;  // nothing was ever saved: errors end it instead of being retried
    bool has_run;         // reached RUNNING once in this process
    struct sink *sink;
    bool is_sink_open;
    bool is_check_only;  // preparing: names are looked at before anything is made
    struct pg_source_facts facts;
    const struct encoding *encoding;

    struct table_choice choice;
    struct pipeline_excluded {
        uint32_t oid;
        char shape[PIPELINE_SHAPE_SIZE];  // of its marks: another one may be another name
    } * excluded;                         // published and not chosen, as of the newest reading of definitions
    uint32_t excluded_count;
    struct pipeline_table **tables;  // sorted by oid
    uint32_t table_count;
    struct pipeline_table *last_table;  // newest look-up
    uint32_t pending_count;             // answers awaited in this state
    struct err start_error;             // first failure among them

    struct pg_conn *check_conn;
    struct pg_publication_look look;  // of a start, until its tables are known
    struct table **left;              // definitions of tables that left while nothing ran, likewise
    uint32_t left_count;
    int check_step;
    struct pg_stream *stream;
    bool is_stream_started;
    bool is_stream_paused, is_stream_barred;  // until the sink has room; until a changed definition is followed
    int64_t barred_since_us;                  // wall clock
    bool is_text;                             // binary is not possible, or caused an error
    bool was_binary_refused;
    lsn_t undecoded_lsn;  // received when the server failed to decode what follows, until more comes; or LSN_NONE
    struct pgoutput_scratch *scratch;
    struct pipeline_transaction transaction;
    struct buf name_scratch;
    struct err stop_reason;  // set by a callback that answered false

    struct pipeline_resync_request *resyncs;  // asked for and not durable yet, in order
    struct pg_conn *look_conn;
    struct loop_timer look_timer;
    bool is_looking, is_look_wanted, is_look_broken;
    bool is_look_after_save;            // another look when a save has been made
    struct err publication_error;       // what the newest look found wrong
    struct stream_relation *relations;  // descriptions that fit no joined table of ours
    uint32_t relation_count;
    struct catalog_table *gone;  // names that are nobody's any more: their records are deleted with the next save
    uint32_t gone_count, gone_saving_count;
    uint64_t look_count;     // looks begun, of the publication
    uint32_t change_count;   // tables with a change
    struct table **retired;  // definitions that a stopped sink table may still read
    uint32_t retired_count;

    struct copy_run *copies;       // under way
    struct loop_timer copy_timer;  // another try
    struct backoff copy_backoff;
    struct err copy_error;         // what ended a run, until one is known to get further than that
    struct rate_limit copy_limit;  // over all of them
    struct rate_window copy_rate;
    uint64_t copied_rows, copied_bytes;

    lsn_t received_lsn, committed_lsn, saved_lsn, merged_lsn;
    lsn_t server_lsn;          // the end of the source's WAL as it was told last; LSN_NONE: not yet
    struct lag lag;            // commits that were read and are not committed
    struct lag unmerged;       // and those that are not merged
    int64_t merged_commit_us;  // commit time (1970) of the newest known below merged_lsn; 0: none is
    lsn_t
        branch_lsn;  // where the source's timeline left the one of ours, until all channels are open; LSN_NONE: it did not
    int64_t pending_us;    // commit time (1970) of the oldest of them; 0: none
    int64_t caught_up_us;  // wall clock: when none was pending last while the stream ran; 0: it was not yet seen so
    lsn_t giant_lsn;       // commit LSN of a giant message whose buffer libpq still holds; LSN_NONE: none
    bool is_destination_changed;  // it is of another kind than at the last start: everything is copied anew
    bool is_history_lost;         // what the slot still has to bring is gone: the next start copies everything anew
    lsn_t row_lsn;                // commit LSN of the newest row that was handed to the sink
    struct mailbox *replies;
    struct catalog_save *save_inflight;
    lsn_t saving_lsn;  // the floor in it; LSN_NONE: none is in flight
    bool is_save_wanted;
    bool has_save_failed;                        // the newest one: another try after a while
    struct err save_error;                       // of that one
    bool is_channels_dirty, is_channels_saving;  // the stream waits until its channels are in the catalog
    bool is_resync_dirty, is_resync_saving;      // on_resync_taken waits until what was asked for is durable
    bool is_snapshot_dirty, is_snapshot_saving;  // a copy waits until its LSN is durable
    uint64_t saved_us, status_us;
    uint32_t idle_saves;               // in a row, of a position that only keepalives moved
    uint64_t status_marks;             // of the status that was sent to the catalog last
    uint64_t shown_us;                 // when it was published on the board …
    uint64_t shown_marks;              // … and what it depended on then,
    uint64_t shown_positions;          // positions aside, which move with every keepalive
    bool is_merging, is_merge_saving;  // saving: the intent, before the merge itself
    bool is_merge_resolving;           // how a merge ended is not known: the destination's state tells
    bool is_state_asked;               // one answer of read_state is awaited …
    bool is_start_state_wanted;        // … by a start that goes on with it
    bool is_merge_now;                 // do not wait for the interval
    uint64_t merge_retry_us;
    struct sink_merge_table *merge_tables;
    struct pipeline_table **merge_items;
    uint32_t merge_table_count;
    bool was_merge_told;  // on_live
    lsn_t merge_below_lsn;
    uint64_t merge_began_us, merge_ended_us, merge_took_us, merge_count;
    struct err merge_error;
    struct err merge_state_error;  // why it is still not known how a merge ended
    struct backoff merge_backoff;
    uint32_t merge_failures;  // in a row, those aside that ask for nothing but another try
    bool is_cleaning;         // landing rows that are not kept any longer are being deleted
    uint32_t clean_next;      // the table that comes next
    uint64_t rows_cleaned;
    struct pipeline_hold hold;
    struct merge_search search;            // for the table that makes merges fail
    uint32_t merge_suspect;                // among merge_items, or UINT32_MAX
    struct pipeline_table *merge_accused;  // found by the last search, for something that may pass by itself
    bool is_search_wanted, is_trying;
    struct loop_timer tick;                                   // positions, saves, merges, status
    struct loop_timer restart_timer, stop_timer, turn_timer;  // turn: what has to leave a callback first
    struct backoff backoff;
    struct err last_error;      // why it was started again, until its stream runs
    int64_t trouble_since_us;   // wall clock of the first of the failures that last_error is the newest of
    struct loop_deferred reap;  // frees what ended, outside its own callbacks
    bool is_reap_copy, is_reap_check, is_restart_wanted;
    struct err restart_error;
    bool is_end_wanted;
    struct err end_error;
    uint64_t rows_streamed, started_us;
    struct pipeline_meter meter;
};

// pipeline.c
// What our connections are called at the source: "etl-stream IDENTITY CLAIM", where claims are numbered.
void pipeline_source_name(const char *identity, uint64_t claim, char out[PIPELINE_SOURCE_NAME_SIZE]);
void pipeline_set_state(struct pipeline *pipeline, enum pipeline_state state);
const char *pipeline_state_name(enum pipeline_state state);
void pipeline_fail(struct pipeline *pipeline,
                   const struct err *error);  // decides by its kind: restart with back-off, or end
void pipeline_end(struct pipeline *pipeline, const struct err *error);
void pipeline_restart(struct pipeline *pipeline, const struct err *error);  // after a back-off
void pipeline_rewind(struct pipeline *pipeline, const struct err *why);
void pipeline_channels_begin(struct pipeline *pipeline);
void pipeline_channels_saved(struct pipeline *pipeline);
void pipeline_answer_missed(struct pipeline *pipeline);  // a table that was awaited in this state will not answer
void pipeline_retire_definition(struct pipeline *pipeline, struct table *take_definition);
void pipeline_table_free(struct pipeline_table *table);
bool pipeline_table_needs_copy(const struct pipeline_table *table);
extern const struct backoff_policy pipeline_backoff;

// join.c: tables that come, go, fail by themselves or are copied anew while the pipeline runs
void join_init(struct pipeline *pipeline);
void join_deinit(struct pipeline *pipeline);
void join_resyncs_saved(struct pipeline *pipeline);  // what was asked for is durable
void join_begin(struct pipeline *pipeline);          // RUNNING begins
void join_end(struct pipeline *pipeline);            // the source's connections close
void join_look_soon(struct pipeline *pipeline);
void join_saved(struct pipeline *pipeline);
// The table goes on without a place at the destination: what it had there stays, nothing is added.
void join_detach(struct pipeline_table *table);
void join_prepared(struct pipeline_table *table, const struct err *error);
void join_stream_opened(struct pipeline_table *table);
void join_channels_saved(struct pipeline *pipeline);
bool join_wants_text(const struct pipeline_table *table);  // it has a column of a type that is read as text only
// The table failed for reasons of its own: it is tried again after a while, copied anew, or parked when that helps no more.
void join_trouble(struct pipeline_table *table, const struct err *error);
void join_recovered(struct pipeline_table *table);
// The destination cannot take a row of it. Where a type may have changed the table is copied anew, else it is parked.
void join_refused(struct pipeline_table *table, const struct err *error);
void pipeline_park(struct pipeline_table *table, const struct err *error);
// Copied anew by its own snapshot while the stream goes on; readers keep the old content until then.
void pipeline_resync_table(struct pipeline_table *table, const struct err *why);

void join_stop(struct pipeline_table *table);  // it leaves the sink; everything else stays as it is

// evolve.c: changed definitions that are followed in place
bool evolve_is_barred(const struct pipeline *pipeline);  // the stream waits for one
const char *evolve_waits_for(
    const struct pipeline *pipeline);  // as what it then waits for: words for people; NULL: it is not
bool evolve_is_waited_for(const struct pipeline_table *table);  // its change is one of those
bool evolve_is_switching(const struct pipeline *pipeline);      // and nothing may be merged
// The stream describes the table otherwise. True: it is barred there, and the change followed; false: the table is copied anew.
bool evolve_told(struct pipeline_table *table);
// A look found these marks. True: they are of a change that is followed, and kept by us until that is done.
bool evolve_sees(struct pipeline_table *table, const char *marks, lsn_t look_lsn);
bool evolve_wants_definition(const struct pipeline_table *table);
void evolve_describe(struct pipeline_table *table, struct table *take_definition);  // it wants one
// At the first start: its definition changed since, in a way that is followed. It becomes the former one again, and its marks stay.
bool evolve_go_back(struct pipeline_table *table, const char *marks);
// At a start within the process: what the table has may stay until the stream brings the change.
bool evolve_may_follow(const struct pipeline_table *table, const char *marks, struct table *definition);
void evolve_tick(struct pipeline *pipeline);
bool evolve_prepared(struct pipeline_table *table, const struct err *error);  // true: nothing else follows from it
void evolve_joined(struct pipeline_table *table);
void evolve_forget(struct pipeline_table *table);
void evolve_give_up(struct pipeline_table *table, const char *text);  // a change is copied instead, because of this
void evolve_end(struct pipeline *pipeline);                           // the stream ends

// definition.c: what is kept of a table's definition, and whether it is still so
void definition_mark(struct pipeline_table *table, const char *marks);
// Compares with what is kept, and keeps marks. True: its rows may not be what was copied and streamed, out_why says why.
bool definition_has_changed(struct pipeline_table *table, const char *marks, struct err *out_why);
void definition_recall_names(struct pipeline_table *table);  // former names of its columns, for the destination
void definition_keep(
    struct pipeline_table *table);  // names and types of its columns: the destination is ready for them
void definition_append_numbers(const char *columns, struct buf *out);  // of the columns that are kept, "1, 2"
// Its definition becomes what was kept, when no column had a number above attribute_count. False: that was another one in more than
// names, longer types and columns that were added since; the definition is as it was.
bool definition_go_back(struct pipeline_table *table, uint16_t attribute_count);
void definition_rename(struct pipeline_table *table,
                       const struct table *definition);  // its record is that name's from now on
void definition_was_named(struct pipeline_table *table, const struct catalog_table *former);
// Says so, and lets the catalog forget the record of the former name.
void definition_tell_renamed(struct pipeline *pipeline, const struct catalog_table *former,
                             const struct table *definition, bool is_parked);
// The table that the catalog knows by the definition's name, if that is another one; else NULL.
struct pipeline_table *definition_holder(const struct pipeline *pipeline, const struct table *definition);
bool definition_has_composite(const struct table *definition);  // a column's type is one, or made of one

// start.c: facts, tables, epoch; calls pipeline_checked when all is well
void start_check(struct pipeline *pipeline);
// All channels are open. False: rows are at the destination that the source's new timeline does not have.
bool start_branch_fits(struct pipeline *pipeline, struct err *out_why);
// Frees those of the definitions that are not chosen and closes the gaps; *in_out_count: how many there are.
void start_choose(struct pipeline *pipeline, struct table **definitions, uint32_t *in_out_count);
bool start_is_excluded(const struct pipeline *pipeline, uint32_t oid);
// And its name is the one by which it was not chosen, as far as a look tells.
bool start_is_still_excluded(const struct pipeline *pipeline, const struct pg_published_table *published);
void pipeline_checked(struct pipeline *pipeline);
bool start_attach(struct pipeline_table *table);  // gives it a place at the sink; false: it is in trouble or parked
// The definition that the source has now, of a table without a place at the sink. What the stream brings under an older one
// is of before the copy.
void start_redefine(struct pipeline_table *table, struct table *take_definition);
struct pipeline_table *start_table_add(struct pipeline *pipeline, struct table *take_definition);
// A table of the same name and another oid is still being followed. One that is not any more gives its place.
bool start_name_is_leaving(struct pipeline *pipeline, const struct table *definition);
// It is not followed any more, and nothing under way speaks of it.
bool start_may_forget(const struct pipeline_table *table);
void start_forget(struct pipeline_table *table);  // it may
// With the parameters written in as literals. False: it could not be sent, and the start has failed.
bool start_query(struct pipeline *pipeline, const char *sql, int count, const char *const *parameters,
                 pg_on_result on_result);
void start_failed(struct pipeline *pipeline, const struct err *error);
void start_tables_known(struct pipeline *pipeline);  // also those that left_ask has added

// left.c: tables that left while nothing ran
#define PIPELINE_LEFT_BYTES_MAX (1U << 20)
bool left_ask(struct pipeline *pipeline);  // of those with a last merge to come, then start_tables_known. False: none
void left_note_missing(struct pipeline *pipeline);
void left_deinit(struct pipeline *pipeline);
// It is not followed any more: says so, and why. is_unmerged: what was to be merged of it never will be.
void left_tell(struct pipeline_table *table, bool is_unmerged);

// stream.c
void stream_begin(struct pipeline *pipeline);
void stream_end(struct pipeline *pipeline);
void stream_deinit(struct pipeline *pipeline);
void stream_continue(struct pipeline *pipeline);  // unless something else holds it
bool stream_relation_fits(struct pipeline_table *table,
                          const struct table *definition);  // the one that fitted no table
void stream_relation_recall(struct pipeline_table *table);  // it joined: does the newest description fit it?
bool stream_describes_alike(const struct table *a, const struct table *b);  // a description fits both or neither
void stream_renew_after_giant(struct pipeline *pipeline);  // the giant row's commit is durable: give its memory back

// copy.c
void copy_init(struct pipeline *pipeline);
void copy_begin(struct pipeline *pipeline, bool makes_slot);  // of all tables that need it; nothing when there is none
void copy_end(struct pipeline *pipeline);
void copy_reap(struct pipeline *pipeline);  // frees what is over; what needs it is tried again later
bool copy_is_running(const struct pipeline *pipeline);
bool copy_may_forget(const struct pipeline_table *table);  // no run speaks of it
void copy_snapshot_saving(struct pipeline *pipeline);      // a save is sent
void copy_snapshot_saved(struct pipeline *pipeline);       // and was answered
void copy_range_opened(struct pipeline_table *table, uint16_t range);
void copy_range_committed(struct pipeline_table *table, uint16_t range, uint64_t row_count);
void copy_room(struct pipeline *pipeline);
void copy_retry_if_needed(struct pipeline *pipeline);  // a table waits for its copy: soon
void copy_table_failed(struct pipeline_table *table, const struct err *error);
void copy_table_gone(struct pipeline_table *table);  // parked: nobody waits for it
void copy_table_free(struct pipeline_table *table);
bool copy_is_read(const struct pipeline_table *table);  // every row was read; commits are awaited

// copy_progress.c
bool copy_is_shown(const struct pipeline *pipeline);
uint64_t copy_rows_of(const struct pipeline_table *table);
// Of a copy under way: rows that were read, and how many there seem to be. False: it was not cut into ranges yet.
bool copy_expected(const struct pipeline_table *table, uint64_t *out_rows, uint64_t *out_rows_expected);
struct json_t *copy_json(const struct pipeline *pipeline);
struct json_t *copy_table_json(const struct pipeline_table *table);  // of a table whose copy is under way
void copy_describe(const struct pipeline *pipeline, char *out, size_t out_size);

// progress.c
void progress_init(struct pipeline *pipeline);
void progress_deinit(struct pipeline *pipeline);
void progress_update(struct pipeline *pipeline);  // positions moved
void progress_save_soon(struct pipeline *pipeline);
bool progress_is_settled(const struct pipeline *pipeline);  // nothing in flight, all saved: a clean end may happen
void progress_save_now(struct pipeline *pipeline);          // no save may be in flight
void progress_on_reply(void *context, void *message);
void progress_tick(struct loop_timer *timer);
void progress_channels_know(struct pipeline_table *table, const struct catalog_known *known, uint32_t oid);
void progress_channels_forget(struct pipeline_table *table);  // nothing is compared with them any more
void progress_stream_kept(const struct pipeline_table *table, struct sink_stream_record *out_record);
void progress_ended(struct pipeline *pipeline);  // status tells why it ended

// merge.c
void merge_init(struct pipeline *pipeline);
void merge_tick(struct pipeline *pipeline);
void merge_intent_saved(
    struct pipeline *pipeline);  // a save was answered: if it held a merge's intent, the merge is sent
void merge_intent_failed(struct pipeline *pipeline);
// suspect: the table that seems to be the cause, or NULL.
void merge_ended(struct pipeline *pipeline, struct pipeline_table *suspect, const struct err *error);
void merge_state_ask(struct pipeline *pipeline);       // read_state, unless it is under way
bool merge_may_wake(const struct pipeline *pipeline);  // by the time of day
void merge_cleaned(struct pipeline *pipeline, struct pipeline_table *table, uint64_t rows, bool has_more,
                   const struct err *error);
void merge_writer_set(struct pipeline *pipeline, const struct sink_state *state);
void merge_state_read(struct pipeline *pipeline, const struct sink_state *state, const struct err *error);
void merge_deinit(struct pipeline *pipeline);
bool merge_has_rows(const struct pipeline *pipeline);  // some table has anything to merge

// hold.c
bool hold_is_on(const struct pipeline *pipeline);
bool hold_is_settled(const struct pipeline *pipeline);  // nothing is merged any more until it ends
// Up to where a merge may go: what is committed, or the position of a hold once everything below it is; LSN_NONE: nowhere.
lsn_t hold_bound(const struct pipeline *pipeline);
void hold_break(struct pipeline *pipeline, const char *why);  // merging has to go on
void hold_tick(struct pipeline *pipeline);
void hold_saving(struct pipeline *pipeline);  // a save is sent
void hold_saved(struct pipeline *pipeline, bool has_failed);
void hold_deinit(struct pipeline *pipeline);

void merge_tell_live(struct pipeline *pipeline);  // once, when every table that is not parked is live

// follow.c: in merge.c's place where the destination has no merge
void follow_tick(struct pipeline *pipeline);
void follow_published(struct pipeline_table *table);

// status.c
// pipeline_status with positions and lag as of now, published on the board as well. Heap.
uint64_t status_marks(const struct pipeline *pipeline);  // another one when the status has changed, positions aside
char *status_take(struct pipeline *pipeline);
// bytes: from what is confirmed to the end of the source's WAL, as the stream or a look told it last; not known before. seconds:
// since the commit of the oldest transaction that was read and is not committed at the destination; 0 when there is none. While
// the stream does not run, or waits for a change to be followed, nobody knows what was committed at the source: then since nothing
// was pending last, so that it grows until the stream runs again; not known before it ran. The commit's time is the source's
// clock, now is ours.
struct pipeline_lag {
    bool has_bytes, has_seconds;
    uint64_t bytes;
    double seconds;
};
void status_lag(const struct pipeline *pipeline, struct pipeline_lag *out_lag);
void status_tick(
    struct pipeline *pipeline);  // publishes on the board when something has changed, at most once a second

struct pipeline_table *pipeline_find_table(struct pipeline *pipeline, uint32_t oid);

#endif
