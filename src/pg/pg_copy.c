#include "pg/pg_copy.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/trap.h"
#include "pg/pg_catalog.h"
#include "pg/pg_copy_private.h"

#define CLIENT_CHECK_INTERVAL "2s"

struct pg_copy *pg_copy_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_copy *copy = calloc(1, sizeof *copy);
    CHECK(copy != NULL);
    copy->loop = loop;
    copy->snapshot_conn = pg_conn_new(loop, resolver);
    copy->blockers = pg_blockers_new(loop, resolver);
    pg_copy_readers_init(copy, resolver);
    pg_copy_guard_init(copy);
    return copy;
}

static void stop_copy(struct pg_copy *copy)
{
    loop_timer_stop(copy->loop, &copy->guard_timer);
    pg_blockers_stop(copy->blockers);
    pg_copy_readers_close(copy);
    pg_conn_close(copy->snapshot_conn);
    pg_copy_plan_deinit(copy);
    free(copy->publication);
    free(copy->snapshot_xids);
    free(copy->lock_order);
    copy->publication = NULL;
    copy->snapshot_xids = NULL;
    copy->lock_order = NULL;
    pg_target_deinit(&copy->target);
    copy->guard = GUARD_CLOSED;
    copy->state = COPY_STOPPED;
}

void pg_copy_free(struct pg_copy *copy)
{
    if (copy == NULL)
        return;
    stop_copy(copy);
    pg_conn_free(copy->snapshot_conn);
    for (uint32_t i = 0; i < PG_COPY_CONNECTIONS_MAX; i++)
        pg_conn_free(copy->readers[i].conn);
    pg_blockers_free(copy->blockers);
    free(copy);
}

const struct pg_copy_stats *pg_copy_stats(const struct pg_copy *copy)
{
    return &copy->stats;
}

void pg_copy_end(struct pg_copy *copy, const struct err *error)
{
    struct err told = {.kind = ERR_NONE};
    if (copy->state == COPY_STOPPED)
        return;
    if (error != NULL) {
        told = *error;
        err_prefix(&told, "copy from %s", copy->description);
    }
    stop_copy(copy);
    copy->events.on_ended(copy->events.context, error != NULL ? &told : NULL);
}

void pg_copy_tell_waiting(void *context, const char *why)
{
    struct pg_copy *copy = context;
    if (copy->events.on_waiting != NULL)
        copy->events.on_waiting(copy->events.context, why);
}

// The table failed for reasons of its own: the others go on.
void pg_copy_fail_table(struct pg_copy *copy, uint32_t table_index, const struct err *error)
{
    char name[160];
    struct err told = *error;
    if (copy->state_of[table_index].has_failed)
        return;
    table_format_name(copy->tables[table_index], name, sizeof name);
    err_prefix(&told, "table %s", name);
    pg_copy_abandon_ranges(copy, table_index);
    copy->events.on_table_failed(copy->events.context, table_index, &told);
}

// ---- statements

bool pg_copy_send(struct pg_copy *copy, struct pg_conn *conn, struct buf *sql, uint32_t timeout_ms,
                  pg_on_result on_result, void *context, struct err *out_error)
{
    (void)copy;
    bool is_sent =
        !sql->failed && pg_conn_query(conn, buf_text(sql), 0, NULL, timeout_ms, on_result, context, out_error);
    if (sql->failed)
        err_set(out_error, ERR_INTERNAL, "", "a statement is longer than %d bytes", PG_COPY_SQL_BYTES_MAX);
    buf_deinit(sql);
    return is_sent;
}

const char *pg_copy_field(const PGresult *result, int row, const char *name)
{
    int column = PQfnumber(result, name);
    CHECK(column >= 0);
    return row >= PQntuples(result) || PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

void pg_copy_append_table(struct buf *out, const struct table *table)
{
    pg_append_identifier(out, table->schema_name);
    buf_append_text(out, ".");
    pg_append_identifier(out, table->table_name);
}

void pg_copy_append_join(struct buf *out, const char *snapshot)
{
    buf_append_text(out, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ");
    pg_append_literal(out, snapshot);
}

// ---- 1. the snapshot

static void on_exporter_broken(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    copy->is_exporter_lost = true;
    // The guard, once it has the snapshot, exports it as well.
    if (copy->guard == GUARD_LOCKING || copy->guard == GUARD_HOLDING)
        pg_conn_close(copy->snapshot_conn);
    else
        pg_copy_end(copy, error);
}

// Sends a statement to the exporting connection; without it there is no copy. Empties sql.
static void exporter_send(struct pg_copy *copy, struct buf *sql, uint32_t timeout_ms, pg_on_result on_result)
{
    struct err failed;
    if (!pg_copy_send(copy, copy->snapshot_conn, sql, timeout_ms, on_result, copy, &failed))
        pg_copy_end(copy, &failed);
}

// Which slot a wait or a failure is about: the one that the owner knows, if there is one.
static const char *told_slot(const struct pg_copy *copy)
{
    return copy->slot[0] != '\0' ? copy->slot : copy->snapshot_slot;
}

static void slot_failed(struct pg_copy *copy, const struct err *error)
{
    struct err failed = *error;
    if (strcmp(failed.code, "42710") == 0)
        err_set(&failed, ERR_CONFIG, failed.code,
                "replication slot \"%s\" exists already; choose another name with slot=, or drop it: SELECT "
                "pg_drop_replication_slot('%s')",
                copy->slot, copy->slot);
    else
        err_prefix(&failed, "replication slot \"%s\" cannot be made", told_slot(copy));
    pg_copy_end(copy, &failed);
}

static void snapshot_made(struct pg_copy *copy)
{
    copy->state = COPY_AWAITING_GO;
    copy->events.on_snapshot(copy->events.context, copy->lsn);
}

static void on_failover_set(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL)
        slot_failed(copy, error);
    else
        snapshot_made(copy);
}

// A slot's copy has not this property of it.
static void failover_set(struct pg_copy *copy)
{
    struct buf sql;
    buf_init(&sql, 256);
    buf_append_text(&sql, "ALTER_REPLICATION_SLOT ");
    pg_append_identifier(&sql, copy->slot);
    buf_append_text(&sql, " (FAILOVER 'true')");
    exporter_send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_failover_set);
}

static void on_exported(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    const char *snapshot = error == NULL ? pg_copy_field(result, 0, "snapshot") : NULL;
    if (error != NULL) {
        slot_failed(copy, error);
        return;
    }
    CHECK(snapshot != NULL && strlen(snapshot) < sizeof copy->snapshot_name);
    (void)snprintf(copy->snapshot_name, sizeof copy->snapshot_name, "%s", snapshot);
    if (copy->slot[0] != '\0' && copy->is_failover && pg_conn_server_version(copy->snapshot_conn) >= 170000)
        failover_set(copy);
    else
        snapshot_made(copy);
}

// The snapshot is the transaction's from now on: its slot would only hold back WAL. The permanent slot is made of the first one here, when
// nothing is waited for any more; until then all goes with the connection.
static void snapshot_export(struct pg_copy *copy)
{
    struct buf sql;
    buf_init(&sql, 1024);
    buf_append_text(&sql, "SELECT pg_export_snapshot() AS snapshot, pg_drop_replication_slot(");
    pg_append_literal(&sql, copy->snapshot_slot);
    if (copy->slot[0] != '\0') {
        buf_append_text(&sql, "), pg_copy_logical_replication_slot(");
        pg_append_literal(&sql, copy->stream_slot);
        buf_append_text(&sql, ", ");
        pg_append_literal(&sql, copy->slot);
        buf_append_text(&sql, ", false), pg_drop_replication_slot(");
        pg_append_literal(&sql, copy->stream_slot);
    }
    buf_append_text(&sql, ")");
    exporter_send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_exported);
}

// In the form that 14 knows as well.
static void slot_make(struct pg_copy *copy, const char *slot, bool has_snapshot, pg_on_result on_made)
{
    struct buf sql;
    char what[160];
    buf_init(&sql, 1024);
    buf_append_text(&sql, "CREATE_REPLICATION_SLOT ");
    pg_append_identifier(&sql, slot);
    buf_appendf(&sql, " TEMPORARY LOGICAL pgoutput %s", has_snapshot ? "USE_SNAPSHOT" : "NOEXPORT_SNAPSHOT");
    (void)snprintf(what, sizeof what, "making replication slot \"%s\"", told_slot(copy));
    pg_blockers_watch(copy->blockers, &copy->target, pg_conn_backend_pid(copy->snapshot_conn), what,
                      pg_copy_tell_waiting, copy);
    exporter_send(copy, &sql, 0, on_made);
}

static void on_snapshot_slot(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    pg_blockers_stop(copy->blockers);
    if (error != NULL) {
        slot_failed(copy, error);
        return;
    }
    const char *point = pg_copy_field(result, 0, "consistent_point");
    if (point == NULL || !lsn_parse(point, &copy->lsn)) {
        struct err failed;
        err_set(&failed, ERR_INTERNAL, "slot", "the server made a slot without a position");
        pg_copy_end(copy, &failed);
        return;
    }
    snapshot_export(copy);
}

static void on_transaction_begun(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL)
        pg_copy_end(copy, error);
    else
        slot_make(copy, copy->snapshot_slot, true, on_snapshot_slot);
}

static void snapshot_begin(struct pg_copy *copy)
{
    struct buf sql;
    buf_init(&sql, 128);
    buf_append_text(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    exporter_send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_transaction_begun);
}

static void on_stream_slot(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    pg_blockers_stop(copy->blockers);
    if (error != NULL)
        slot_failed(copy, error);
    else
        snapshot_begin(copy);
}

static void slots_make(struct pg_copy *copy)
{
    if (copy->slot[0] != '\0')
        slot_make(copy, copy->stream_slot, false, on_stream_slot);
    else
        snapshot_begin(copy);
}

// A server without the setting (before 14, or where it cannot be watched) refuses it; then the old process waits.
static void on_watched(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL && pg_conn_state(copy->snapshot_conn) != PG_CONN_IDLE)
        pg_copy_end(copy, error);
    else
        slots_make(copy);
}

// A process that waits for other transactions to end does not look at its socket: were we gone, it would go on waiting, and its
// slot hold back vacuum. It looks from time to time if it is asked to; the timer is armed by the statement after the setting, and
// goes on in a replication command, which arms none (PostgreSQL's postgres.c: start_xact_command, ProcessInterrupts).
static void on_exporter_open(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    struct buf sql;
    if (error != NULL) {
        pg_copy_end(copy, error);
        return;
    }
    if (trap_is_set("exporter_is_watched")) {
        slots_make(copy);
        return;
    }
    buf_init(&sql, 128);
    buf_append_text(&sql, "SET client_connection_check_interval TO '" CLIENT_CHECK_INTERVAL "'; SELECT 1");
    exporter_send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_watched);
}

// ---- the owner's calls

static void name_slots(struct pg_copy *copy, const char *slot)
{
    uint32_t random = 0;
    CHECK(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    (void)snprintf(copy->slot, sizeof copy->slot, "%s", slot != NULL ? slot : "");
    (void)snprintf(copy->stream_slot, sizeof copy->stream_slot, "etl_stream_%ld_%08x", (long)getpid(), random);
    (void)snprintf(copy->snapshot_slot, sizeof copy->snapshot_slot, "etl_copy_%ld_%08x", (long)getpid(), random);
}

static void take_options(struct pg_copy *copy, const struct pg_copy_options *options)
{
    name_slots(copy, options->slot);
    copy->is_failover = options->is_failover;
    bool is_utf8 = options->client_encoding == NULL || strcmp(options->client_encoding, "UTF8") == 0 ||
                   trap_is_set("own_encoding");
    (void)snprintf(copy->client_encoding, sizeof copy->client_encoding, "%s", is_utf8 ? "" : options->client_encoding);
    copy->tables = options->tables;
    copy->table_count = options->table_count;
    copy->column_as_text = options->column_as_text;
    copy->connections_max = options->connections_max;
    copy->range_bytes = options->range_bytes;
    copy->rate_limit = options->rate_limit;
    copy->state_of = calloc((size_t)options->table_count + 1, sizeof *copy->state_of);
    copy->lock_order = calloc((size_t)options->table_count + 1, sizeof *copy->lock_order);
    CHECK(copy->state_of != NULL && copy->lock_order != NULL);
    copy->publication = options->publication != NULL ? strdup(options->publication) : NULL;
    CHECK(options->publication == NULL || copy->publication != NULL);
}

bool pg_copy_start(struct pg_copy *copy, const struct pg_target *target, const struct pg_copy_options *options,
                   const struct pg_copy_events *events, struct err *out_error)
{
    CHECK(copy->state == COPY_STOPPED);
    CHECK(options->slot == NULL || strlen(options->slot) < sizeof copy->slot);
    CHECK(options->connections_max >= 1 && options->connections_max <= PG_COPY_CONNECTIONS_MAX);
    CHECK(options->range_bytes > 0);
    copy->events = *events;
    copy->stats = (struct pg_copy_stats){0};
    copy->is_exporter_lost = copy->are_xids_over = copy->is_planned = false;
    copy->first_open = copy->turn_first = 0;
    pg_target_describe(target, copy->description, sizeof copy->description);
    if (!pg_target_copy(target, &copy->target))
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a copy of %u tables", options->table_count);
    take_options(copy, options);
    copy->state = COPY_MAKING_SNAPSHOT;
    struct pg_conn_events conn_events = {.on_open = on_exporter_open, .on_broken = on_exporter_broken, .context = copy};
    if (pg_conn_open(copy->snapshot_conn, target, true, NULL, NULL, PG_COPY_CONNECT_TIMEOUT_MS, &conn_events,
                     out_error))
        return true;
    stop_copy(copy);
    return false;
}

void pg_copy_continue(struct pg_copy *copy)
{
    if (copy->state != COPY_AWAITING_GO)
        return;
    copy->state = COPY_PLANNING;
    pg_copy_guard_open(copy);
}
