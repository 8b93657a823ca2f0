// What is wrong now, since when, and what the receiver of alerts has been told of it. Pure: the time comes from the caller,
// nothing is sent from here.
//
// A subject is what an alert is about: its type, source, pipeline, table. Whoever looks at the facts goes through all of them in
// rounds and says what it finds:
//
//   alert_book_begin ─► alert_book_see (one of a subject) … ─► alert_book_end      what was not seen in a round is over
//   alert_book_next ─► post the body ─► alert_book_posted                           one message of a subject at a time
//
// A subject's way:
//
//   seen ─► PENDING ─ its level has lasted hold_us ─► RAISED, told ─ not seen ─► over: "resolved" is told, if anything was
//              ▲                                        │
//              └───────────── another level ────────────┘     the clock starts anew; a level that was told is not told again
//
// The contract's wal_alert has no "resolved": when the level is normal again it is forgotten, and the next time told again.
// A message that the receiver did not take is tried again while it holds, once in retry_us. Memory is bounded: at most
// ALERTS_MAX subjects, each with at most one message on its way and one waiting.
//
// The book outlives its process: what alert_book_kept gave is taken up by alert_book_restore, with levels, clocks and messages that
// nobody is known to have taken. Only catalog_down is each process's own, and is never kept.
#ifndef ETL_MONITOR_ALERT_BOOK_H
#define ETL_MONITOR_ALERT_BOOK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define ALERTS_MAX 2000
#define ALERT_RESOLVED_ROUNDS_MAX 6  // after that nobody is told any more that it is over

enum alert_type {
    ALERT_WAL,              // wal_alert: the size of pg_wal, as the contract has it
    ALERT_SOURCE_DOWN,      // source_down: a source cannot be asked
    ALERT_SLOT_HELD_BACK,   // slot_held_back: WAL that one of our slots keeps
    ALERT_SLOT_AT_RISK,     // slot_at_risk: the server is about to give the slot up
    ALERT_SLOT_LOST,        // slot_lost: it has, or the slot is gone
    ALERT_SLOT_INACTIVE,    // slot_inactive: of a started pipeline, nobody reads it
    ALERT_PIPELINE_PAUSED,  // pipeline_paused: for long, and its slot keeps WAL
    ALERT_PIPELINE_FAILING,
    ALERT_PIPELINE_STUCK,
    ALERT_TABLE_PARKED,
    ALERT_CATALOG_DOWN,  // catalog_down: of the service itself
    ALERT_ROWS_REFUSED,  // rows_refused: parked because Snowflake dropped rows
    ALERT_TYPE_COUNT
};

enum alert_level { ALERT_NORMAL, ALERT_WARNING, ALERT_DANGER };

const char *alert_type_name(enum alert_type type);     // "wal_alert"
const char *alert_level_name(enum alert_level level);  // "warning"

struct alert_condition {
    enum alert_type type;
    enum alert_level level;
    const char *source, *pipeline, *table;  // NULL: not about one
    uint64_t hold_us;                       // how long the level lasts before it is told; 0: at once
    const char *message, *remedy;
    const json_t *details;  // further members of the payload; NULL: none
    // Nothing new is known (the source does not answer): what is told stays, what is pending waits, nothing begins.
    bool is_stale;
};

enum alert_delivery {
    ALERT_UNSENT,     // nothing to send: pending, or there is no receiver
    ALERT_QUEUED,     // alert_book_next hands it out
    ALERT_SENDING,    // ended by alert_book_posted
    ALERT_DELIVERED,  // the receiver has taken it
    ALERT_FAILED      // it has not; tried again when retry_us is due
};

struct alert {
    enum alert_type type;
    enum alert_level level;
    char *source, *pipeline, *table;  // NULL: not about one
    char *message, *remedy;
    json_t *details;
    uint64_t hold_us;
    uint64_t since_us;      // of this level; monotonic
    int64_t since_wall_us;  // since anything is wrong with the subject
    enum alert_level told;  // the level of the newest message; ALERT_NORMAL: none was made
    bool is_seen;           // in this round
    bool is_over;           // not seen: only its "resolved" is still to be told
    bool was_posted;        // a message may have reached the receiver
    bool is_kept;           // taken up: another process, or an earlier run, saw it first
    bool is_dropped;        // it is another process's now, and goes when its post has ended
    enum alert_delivery delivery;
    char *body;            // QUEUED, FAILED: the message; SENDING: one that came meanwhile, or NULL
    char *sending_body;    // SENDING
    uint64_t retry_at_us;  // FAILED
    uint32_t failed_rounds;
    struct alert *next;
};

struct alert_book_events {
    void (*on_raised)(void *context, const struct alert *alert);
    void (*on_resolved)(void *context, const struct alert *alert);  // of one that was raised
    void *context;
};

struct alert_book {
    struct alert *alerts, **end;  // the oldest first
    uint32_t count;
    uint64_t left_out;  // subjects that came when there were ALERTS_MAX
    bool has_receiver;
    uint64_t minute_us, retry_us;
    uint64_t now_us;  // of the round
    int64_t wall_us;
    bool is_changed;  // something that is shown or kept; whoever shows and keeps it sets it back
    struct alert_book_events events;
    bool (*may_send)(void *context, const struct alert *alert);  // NULL: always
    void *may_send_context;
};

void alert_book_init(struct alert_book *book, bool has_receiver, uint64_t minute_us, uint64_t retry_us,
                     const struct alert_book_events *events);
void alert_book_deinit(struct alert_book *book);  // nothing is being sent
void alert_book_begin(struct alert_book *book, uint64_t now_us, int64_t wall_us);
void alert_book_see(struct alert_book *book, const struct alert_condition *condition);
void alert_book_end(struct alert_book *book);
// The oldest alert with a message to post now, SENDING from here on with the text in sending_body; NULL: none.
struct alert *alert_book_next(struct alert_book *book, uint64_t now_us);
void alert_book_posted(struct alert_book *book, struct alert *alert, bool is_taken, uint64_t now_us);
// may_send is asked before each post: while it answers false the alert's messages wait.
void alert_book_set_gate(struct alert_book *book, bool (*may_send)(void *context, const struct alert *alert),
                         void *context);
bool alert_book_may_send(const struct alert_book *book, const struct alert *alert);
// One that is SENDING waits again; nobody has taken it.
void alert_book_withdrawn(struct alert_book *book, struct alert *alert);
// What was taken up of this subject and still holds, or NULL. table NULL: not about one.
const struct alert *alert_book_find_kept(const struct alert_book *book, enum alert_type type, const char *source,
                                         const char *pipeline);
// A JSON array of all that has to outlive the process, for alert_book_restore.
json_t *alert_book_kept(const struct alert_book *book);
// Into a book that holds nothing but this process's own. What is not understood is left out.
void alert_book_restore(struct alert_book *book, const json_t *kept, uint64_t now_us, int64_t wall_us);
// Another process tells from here on: without a word all but this process's own goes.
void alert_book_drop(struct alert_book *book);
bool alert_is_raised(const struct alert *alert);
bool alert_is_own(const struct alert *alert);             // of each process by itself, as nobody else can know
json_t *alert_book_shown(const struct alert_book *book);  // a JSON array of what is raised

#endif
