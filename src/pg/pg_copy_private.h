// What pg_copy.c (life, snapshot), pg_copy_guard.c (locks, checks, guard's replacement), pg_copy_plan.c (ranges, statements) and
// pg_copy_read.c (readers) share.
#ifndef ETL_PG_PG_COPY_PRIVATE_H
#define ETL_PG_PG_COPY_PRIVATE_H

#include "base/backoff.h"
#include "base/buf.h"
#include "pg/copy_binary.h"
#include "pg/pg_blockers.h"
#include "pg/pg_copy.h"

#define PG_COPY_CONNECT_TIMEOUT_MS 20000
#define PG_COPY_QUERY_TIMEOUT_MS 60000
#define PG_COPY_SQL_BYTES_MAX (1024 * 1024)

enum copy_state {
    COPY_STOPPED,          // ended by pg_copy_start
    COPY_MAKING_SNAPSHOT,  // ended by the answer to CREATE_REPLICATION_SLOT
    COPY_AWAITING_GO,      // ended by pg_copy_continue
    COPY_PLANNING,         // ended by the guard's last lock and check
    COPY_READING           // ended by the last range
};

enum guard_state {
    GUARD_CLOSED,         // ended by its opening, at once or after a back-off
    GUARD_OPENING,        // ended by the connection
    GUARD_LOOKING,        // which transactions the snapshot has; ended by the answer
    GUARD_AWAITING_XIDS,  // ended by the answer that none of them is under way
    GUARD_JOINING,        // ended by its transaction's being in the snapshot
    GUARD_LOCKING,        // ended by the last table's lock and check
    GUARD_HOLDING         // ended by the loss of its connection
};

// Something that is read by itself: a table, or a leaf of a partitioned one.
struct copy_part {
    uint32_t table_index;
    uint32_t oid;
    char *name;     // quoted, with its schema
    bool is_whole;  // read without conditions on ctid: its rows have no lasting order, so it is not read again
    bool is_tree;   // a partitioned table through its root
    uint32_t blocks;
    uint64_t bytes;               // with TOAST
    uint64_t contended_until_us;  // somebody waits for a lock on it: left to those that hold theirs
};

enum range_state {
    RANGE_WAITING,   // ended by on_range_wanted
    RANGE_WANTED,    // ended by pg_copy_range_ready
    RANGE_READY,     // ended by a reader
    RANGE_READING,   // ended by its last row (READ), or the loss of its connection (READY)
    RANGE_READ,      // for good
    RANGE_ABANDONED  // for good; a reader may still be reading past its rows
};

struct copy_range {
    struct pg_copy_range told;
    enum range_state state;
    uint32_t part;                    // index into parts
    uint32_t first_block, end_block;  // end_block 0: to the end
    uint32_t tries;                   // that failed
    bool is_paused;                   // by the owner
};

struct copy_table {
    char *row_filter;  // SQL, or NULL
    bool has_failed;   // told, or abandoned; not read
    bool has_parts;
    bool is_tree;  // partitioned
    bool has_whole_part;
    uint32_t first_range, range_count, ranges_left;
    uint64_t bytes;
};

enum reader_state {
    READER_CLOSED,    // ended by its opening, at once or after a back-off
    READER_OPENING,   // ended by the connection
    READER_IDLE,      // ended by a range, or by closing it
    READER_LOCKING,   // ended by the lock, or the refusal
    READER_STARTING,  // ended by COPY's answer
    READER_READING,   // ended by the last message
    READER_LEAVING    // ended by the answer to the end of its transaction, or of the guard's savepoint
};

enum pause_reason { PAUSE_OWNER = 1, PAUSE_RATE = 2 };

struct copy_reader {
    struct pg_copy *copy;
    struct pg_conn *conn;  // the first reader's is the guard's
    enum reader_state state;
    bool is_in_transaction;  // workers: it holds the lock of locked_part
    bool is_checking;        // workers: the savepoint of the check is still to be left
    uint32_t locked_part;
    struct copy_range *range;  // LOCKING, STARTING, READING; and LEAVING never
    unsigned pauses;           // of enum pause_reason
    bool is_given_up;          // the server takes no more connections
    struct copy_binary decoder;
    struct loop_timer timer;  // back-off
    struct backoff backoff;
};

struct pg_copy {
    struct loop *loop;
    enum copy_state state;
    struct pg_target target;
    struct pg_copy_events events;
    struct pg_copy_stats stats;
    char description[320];

    // options
    char slot[64];  // permanent; "": none
    bool is_failover;
    char client_encoding[32];  // "": UTF8
    char *publication;         // NULL: no row filters
    struct table *const *tables;
    const bool *const *column_as_text;
    uint32_t table_count;
    uint32_t connections_max;  // less than asked for when the server refuses more
    uint64_t range_bytes;
    struct rate_limit *rate_limit;

    struct pg_conn *snapshot_conn;
    char stream_slot[64], snapshot_slot[64];  // temporary: what the permanent one is made of, and the snapshot's
    lsn_t lsn;                                // of the snapshot
    bool is_exporter_lost;
    struct pg_blockers *blockers;
    char snapshot_name[64];   // the exporter's
    char guard_snapshot[64];  // the guard's own export of it

    enum guard_state guard;
    struct loop_timer guard_timer;  // polling of xids, back-off of another guard
    struct backoff guard_backoff;
    uint64_t xid_since_us;
    bool has_told_xids, are_xids_over;
    char *snapshot_xids;  // pg_current_snapshot() inside of it
    // The guard's locks are a stack: what is locked last is read first, so that it can be let go first (a savepoint gives back
    // what was locked since, and nothing else gives back a lock before its transaction ends). Level l of the stack is savepoint
    // etl_level_<l>, and holds the tables lock_order[l * level_tables …].
    uint32_t *lock_order;  // indexes of the tables to lock, from bottom to top
    uint32_t lock_count, lock_at;
    uint32_t level_count, level_tables;
    bool is_planned;

    struct copy_table *state_of;  // per table
    struct copy_part *parts;
    uint32_t part_count, part_capacity;
    struct copy_range *ranges;  // in the order of reading, a table's side by side
    uint32_t range_count;
    uint32_t first_open;  // all ranges before it are over

    struct copy_reader readers[PG_COPY_CONNECTIONS_MAX];
    uint32_t turn_first;  // whose turn it is to be continued first
    struct loop_deferred assign;
    struct loop_timer rate_timer, again_timer;  // again: ranges that were left alone for a while
    struct value values[ROW_COLUMNS_MAX];
};

// pg_copy.c
// error NULL: done. Everything is closed; the copy may not be used after it, but for pg_copy_start and pg_copy_free.
void pg_copy_end(struct pg_copy *copy, const struct err *error);
void pg_copy_tell_waiting(void *context, const char *why);
void pg_copy_fail_table(struct pg_copy *copy, uint32_t table_index, const struct err *error);
// Sends a statement, or several; a failure to send ends the copy, or (a reader's) leaves the reader to be opened again. Empties sql.
bool pg_copy_send(struct pg_copy *copy, struct pg_conn *conn, struct buf *sql, uint32_t timeout_ms,
                  pg_on_result on_result, void *context, struct err *out_error);
const char *pg_copy_field(const PGresult *result, int row, const char *name);  // NULL: none
void pg_copy_append_table(struct buf *out, const struct table *table);
void pg_copy_append_join(struct buf *out, const char *snapshot);

// pg_copy_guard.c
void pg_copy_guard_init(struct pg_copy *copy);
void pg_copy_guard_open(struct pg_copy *copy);
void pg_copy_guard_lost(struct pg_copy *copy, const struct err *error);
// The statement that lets go of the locks of tables that are read, and of which nothing above in the stack is still to be read;
// false: there is none to let go. For the guard's connection when it reads nothing.
bool pg_copy_guard_release(struct pg_copy *copy, char *out_statement, size_t statement_size);

// pg_copy_plan.c
// Takes the parts that the check of a locked table found. Only at the first time; a new guard keeps the plan.
void pg_copy_plan_table(struct pg_copy *copy, uint32_t table_index, const PGresult *check);
void pg_copy_plan_ranges(struct pg_copy *copy);  // all tables are locked and known: cuts them
void pg_copy_plan_deinit(struct pg_copy *copy);
void pg_copy_append_file_check(struct buf *sql, const struct copy_part *part);
void pg_copy_append_read(struct buf *sql, const struct pg_copy *copy, const struct copy_range *range);
struct copy_range *pg_copy_find_range(const struct pg_copy *copy, uint32_t table_index, uint16_t number);

// pg_copy_read.c
void pg_copy_readers_init(struct pg_copy *copy, struct resolver *resolver);
void pg_copy_readers_close(struct pg_copy *copy);
void pg_copy_assign_soon(struct pg_copy *copy);
void pg_copy_abandon_ranges(struct pg_copy *copy, uint32_t table_index);
void pg_copy_guard_reader_lost(struct pg_copy *copy);  // its range is read by somebody else
void pg_copy_guard_reader_opened(struct pg_copy *copy);

#endif
