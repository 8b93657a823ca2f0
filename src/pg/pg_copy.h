// The copy of tables in one exported snapshot: makes the snapshot, waits until it is safe to read, holds the guard, cuts the
// tables into ranges and reads them on several connections. Order of what happens (each step's reason: docs/architecture.md,
// "Copying"):
//
//   1. exporting connection (replication): a temporary slot without a snapshot, if a permanent one is to be made. Then BEGIN REPEATABLE
//      READ, another temporary slot with USE_SNAPSHOT: L. In one statement: pg_export_snapshot: a name; the permanent slot as a copy
//      of the first; and the temporary ones are dropped. It stays idle, its time-outs pinned to 0. An open transaction that blocks it is
//      named after some seconds.
//   2. guard connection: learns from the snapshot which transactions it shows as committed, and waits until none of them is
//      still in progress by pg_xact_status. Then BEGIN REPEATABLE READ, SET TRANSACTION SNAPSHOT, pg_export_snapshot: from now
//      on either of the two connections may be lost. LOCK TABLE … IN ACCESS SHARE MODE; then relfilenode as the snapshot sees it
//      must equal pg_relation_filenode() now, the partition tree be the same and the columns those that the owner knows; else the
//      table fails, by itself, with code "again" or "schema_changed".
//   3. readers: the guard's own connection and up to connections_max - 1 more in the same snapshot, a range at a time:
//      COPY (SELECT columns FROM ONLY part WHERE ctid >= … AND ctid < … AND row filter) TO STDOUT (FORMAT binary); columns that
//      are asked for as text come by their output function, as the stream sends them.
//
// Why there are two slots. The server makes one by looking at what is in progress: it waits for the transactions of a first look, then for
// those of a second; at the third the slot is consistent. Who streams from it reads from its beginning again, and then nobody knows what a
// transaction did to the catalog between the first and the second look, if it was committed between the second and the third. One that was
// begun after the second look and is open at the third is decoded by that catalog: a table that was truncated cannot be found (XX000, could
// not map filenode), and the slot is of no use any more. (PostgreSQL's snapbuild.c keeps nothing of what it reads in state
// BUILDING_SNAPSHOT, and where no snapshot is exported it tracks only transactions that it knows to have changed the catalog. Shown on 14.23,
// 15.20 and 18.4 by test_new_slots.py.) The second slot waits for all that were open when the first became consistent. They are committed
// before its position, L, at which the stream begins, and are not decoded any more.
//
// Why nothing waits for ever. A TRUNCATE or ALTER TABLE that comes meanwhile queues for its lock behind the guard, and whoever
// comes after it queues behind it, another connection of ours as well: PostgreSQL sees no cycle, as the guard waits for that
// connection only in our head. Therefore:
//   - the guard waits for a table's lock with empty hands only: the first lock may be waited for, all others are taken NOWAIT; if
//     one is not to be had, everything is let go and that table becomes the first. So it is in no deadlock with anybody's
//     transaction either, which could make the server end that one.
//   - a reader takes its table's lock NOWAIT, or leaves the table to the others for a while; the guard's connection needs no lock,
//     so it can read everything by itself. With the lock it checks the file once more: a guard may be lost without our knowing it
//     yet.
//   - locks on anything else (a table's indexes, which planning takes) are held while one range is read, which ends by itself,
//     and are let go with a savepoint: a REINDEX gets its turn between two ranges.
//   - the guard's locks end when their tables are read, not with the run: they are a stack of savepoints, and tables are read in the
//     order in which it can be taken down. What somebody waits for is read first; a table's lock outlives its reading only while
//     one that was begun before it (a smaller one, as a rule) is still being read, or the guard's connection is at a range.
//   - a reader without work ends its transaction. When the guard is lost, nobody begins a range until another guard holds all
//     locks and has checked the files again.
// Why a range can be read again from its beginning. The snapshot is the same, and a TID range scan reads by block and line: a
// visible tuple keeps its place as long as the table's lock is held. The plan is pinned (no sequential, index or parallel scan
// that could give another order; synchronize_seqscans off). So the n-th row is the n-th row in every try.
#ifndef ETL_PG_PG_COPY_H
#define ETL_PG_PG_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rate.h"
#include "io/loop.h"
#include "model/lsn.h"
#include "model/row.h"
#include "model/table.h"
#include "pg/pg_conn.h"

#define PG_COPY_CONNECTIONS_MAX 64
#define PG_COPY_RANGES_MAX 65535  // of a table

struct pg_copy;

struct pg_copy_options {
    const char *slot;             // permanent slot to create, or NULL: a temporary one of a unique name
    bool is_failover;             // ask for a failover slot (server 17 on)
    const char *client_encoding;  // the database's own
    const char *publication;      // its row filters hold for the copy too; NULL: none do
    struct table *const *tables;  // borrowed for the copy's life
    uint32_t table_count;
    const bool *const
        *column_as_text;            // per table, per column: by its output function (VALUE_TEXT arrives); NULL: none
    uint32_t connections_max;       // that read, the guard's among them: 1 … PG_COPY_CONNECTIONS_MAX
    uint64_t range_bytes;           // larger tables are cut into ranges of about so many (their TOAST counted)
    struct rate_limit *rate_limit;  // of what is read, shared with other copies; borrowed; NULL: none
};

struct pg_copy_range {
    uint32_t table_index;
    uint16_t number;  // within the table, from 0
    uint32_t blocks;  // of the table's main files, as large as they were
    uint64_t rows;    // read so far; a range that is read again counts from 0
    uint64_t bytes;   // as received
    bool is_reading, is_read;
};

struct pg_copy_events {
    // The snapshot exists and (options.slot) the permanent slot, which is consistent somewhat before lsn. Called before anything is
    // read; the copy goes on by pg_copy_continue.
    void (*on_snapshot)(void *context, lsn_t lsn);
    // Every table that has not failed is locked, checked and cut: pg_copy_range_count tells into how many ranges.
    void (*on_planned)(void *context);
    // The range will be read soon: pg_copy_range_ready as soon as its rows can be taken, at once or later. Told once.
    void (*on_range_wanted)(void *context, uint32_t table_index, uint16_t range);
    // row_number counts from 1, and again from 1 when the range is read again after its connection was lost.
    void (*on_row)(void *context, uint32_t table_index, uint16_t range, uint64_t row_number,
                   const struct row_view *row);
    void (*on_turn_end)(void *context);
    void (*on_range_done)(void *context, uint32_t table_index, uint16_t range, uint64_t row_count);
    // One table failed for reasons of its own (dropped, no privilege; ERR_TRANSIENT: another snapshot may do): the others go on.
    void (*on_table_failed)(void *context, uint32_t table_index, const struct err *error);
    // A line that says what it waits for (prepared transaction 'x', xids …), or that the server takes fewer connections.
    void (*on_waiting)(void *context, const char *why);
    // NULL: every table was read (or failed). ERR_TRANSIENT: the snapshot is gone, try again with a new one; the permanent slot,
    // if made, is kept, so that the next try takes a temporary one. All is closed.
    void (*on_ended)(void *context, const struct err *error);
    void *context;
};

struct pg_copy_stats {
    uint64_t rows, bytes;   // read so far, all tries counted; bytes as received
    uint32_t connections;   // that are open to read, the guard's among them
    uint32_t ranges_again;  // ranges that were begun again
};

struct pg_copy *pg_copy_new(struct loop *loop, struct resolver *resolver);
// Closes all; a temporary slot goes with its connection; not inside its callbacks.
void pg_copy_free(struct pg_copy *copy);
bool pg_copy_start(struct pg_copy *copy, const struct pg_target *target, const struct pg_copy_options *options,
                   const struct pg_copy_events *events, struct err *out_error);
void pg_copy_continue(struct pg_copy *copy);  // the go-ahead after on_snapshot
void pg_copy_range_ready(struct pg_copy *copy, uint32_t table_index, uint16_t range);
// Back-pressure: stops and continues whoever reads the range. Harmless when nobody does.
void pg_copy_range_pause(struct pg_copy *copy, uint32_t table_index, uint16_t range);
void pg_copy_range_continue(struct pg_copy *copy, uint32_t table_index, uint16_t range);
// The table's rows are not wanted any more: nothing of it is told from now on.
void pg_copy_abandon(struct pg_copy *copy, uint32_t table_index);
uint32_t pg_copy_range_count(const struct pg_copy *copy, uint32_t table_index);  // from on_planned on
const struct pg_copy_range *pg_copy_range(const struct pg_copy *copy, uint32_t table_index, uint16_t range);
// For an owner who reads by himself what the guard holds, on a connection of his own, from on_planned on: the statements that enter
// the snapshot; and what FROM has to name for all of a table's rows, with the publication's row filter (SQL; NULL: none).
struct buf;
void pg_copy_append_enter(const struct pg_copy *copy, struct buf *out);
void pg_copy_append_from(const struct pg_copy *copy, uint32_t table_index, struct buf *out, const char **out_filter);
const struct pg_copy_stats *pg_copy_stats(const struct pg_copy *copy);

#endif
