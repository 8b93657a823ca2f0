// The copy of tables in one exported snapshot: makes the snapshot, waits until it is safe to read, holds the guard, and
// reads table after table. Order of what happens (each step's reason: docs/architecture.md, "Copying"):
//
//   1. snapshot connection (replication): CREATE_REPLICATION_SLOT … (SNAPSHOT 'export'), permanent or temporary: L and a name.
//      It stays idle, its time-outs pinned to 0. An open prepared transaction that blocks it is named after some seconds.
//   2. guard connection: BEGIN REPEATABLE READ, SET TRANSACTION SNAPSHOT; waits until no transaction that the snapshot shows as committed
//      is still in progress by pg_xact_status (asked on the data connection, which is not in the snapshot yet); LOCK TABLE … IN ACCESS
//      SHARE MODE; then relfilenode as the snapshot sees it must equal pg_relation_filenode() now, of every leaf of a partitioned
//      table too, else the copy ends with code "again" (a new snapshot is needed).
//   3. data connection: the same snapshot; COPY (SELECT columns FROM ONLY table WHERE row filter) TO STDOUT (FORMAT binary); columns
//      that are asked for as text come by their output function, as the stream sends them. A partitioned table is read as a whole.
#ifndef ETL_PG_PG_COPY_H
#define ETL_PG_PG_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "model/lsn.h"
#include "model/row.h"
#include "model/table.h"
#include "pg/pg_conn.h"

struct pg_copy;

struct pg_copy_options {
    const char *slot;             // permanent slot to create, or NULL: a temporary one of a unique name
    bool is_failover;             // ask for a failover slot (server 17 on)
    const char *client_encoding;  // the database's own
    const char *publication;      // its row filters hold for the copy too; NULL: none do
    struct table *const *tables;  // borrowed for the copy's life; copied in this order
    uint32_t table_count;
    const bool *const
        *column_as_text;  // per table, per column: by its output function (VALUE_TEXT arrives); NULL: none
};

struct pg_copy_events {
    // The snapshot exists and (options.slot) the slot with it. Called before anything is read; the copy goes on by pg_copy_continue.
    void (*on_snapshot)(void *context, lsn_t lsn);
    // False stops the copy, and on_ended is not called: the owner has noted why.
    bool (*on_row)(void *context, uint32_t table_index, const struct row_view *row);
    void (*on_turn_end)(void *context);
    void (*on_table_done)(void *context, uint32_t table_index, uint64_t row_count);
    // One table failed for reasons of its own (dropped, no privilege): the others go on.
    void (*on_table_failed)(void *context, uint32_t table_index, const struct err *error);
    void (*on_waiting)(void *context,
                       const char *why);  // a line that says what it waits for (prepared transaction 'x', xids …)
    // NULL: every table was read (or failed). ERR_TRANSIENT: try again with a new snapshot; the permanent slot, if made, is
    // kept, so that the next try takes a temporary one. Code "again": read the catalog's tables anew before. All is closed.
    void (*on_ended)(void *context, const struct err *error);
    void *context;
};

struct pg_copy_stats {
    uint64_t rows, bytes;              // of all tables so far; bytes as received
    uint64_t table_rows, table_bytes;  // of the table being read
    uint32_t table_index;
};

struct pg_copy *pg_copy_new(struct loop *loop, struct resolver *resolver);
void pg_copy_free(
    struct pg_copy *copy);  // closes all; a temporary slot goes with its connection; not inside its callbacks
bool pg_copy_start(struct pg_copy *copy, const struct pg_target *target, const struct pg_copy_options *options,
                   const struct pg_copy_events *events, struct err *out_error);
void pg_copy_pause(struct pg_copy *copy);     // back-pressure
void pg_copy_continue(struct pg_copy *copy);  // also the go-ahead after on_snapshot
const struct pg_copy_stats *pg_copy_stats(const struct pg_copy *copy);

#endif
