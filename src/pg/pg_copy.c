#include "pg/pg_copy.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/trap.h"
#include "embedded_sql.h"
#include "pg/copy_binary.h"
#include "pg/pg_blockers.h"
#include "pg/pg_catalog.h"

#define CONNECT_TIMEOUT_MS 20000
#define QUERY_TIMEOUT_MS 60000
#define XID_POLL_US 50000
#define XID_TELL_US 2000000
#define TURN_BYTES_MAX (256 * 1024)
#define TURN_ROWS_MAX 1000
#define SQL_BYTES_MAX (1024 * 1024)

enum copy_state {
    COPY_STOPPED,          // ended by pg_copy_start
    COPY_MAKING_SNAPSHOT,  // ended by the answer to CREATE_REPLICATION_SLOT
    COPY_AWAITING_GO,      // ended by pg_copy_continue
    COPY_OPENING_GUARD,    // ended by the guard transaction's snapshot
    COPY_OPENING_DATA,     // ended by the connection
    COPY_AWAITING_XIDS,    // ended by the answer that none is left
    COPY_LOCKING,          // ended by the last table's lock and check
    COPY_READING           // ended by the last table
};

struct copy_table {
    char *row_filter;  // SQL, or NULL
    bool is_partitioned;
    bool has_failed;  // told; not read
};

struct pg_copy {
    struct loop *loop;
    enum copy_state state;
    struct pg_target target;
    struct pg_copy_events events;
    struct pg_copy_stats stats;
    char description[320];

    // options
    char slot[64];
    bool is_temporary;
    bool is_failover;
    char client_encoding[32];  // "": UTF8
    char *publication;         // NULL: no row filters
    struct table *const *tables;
    const bool *const *column_as_text;
    uint32_t table_count;
    struct copy_table *state_of;  // per table

    struct pg_conn *snapshot_conn;
    struct pg_conn *guard_conn;
    struct pg_conn *data_conn;
    struct pg_blockers *blockers;
    struct loop_timer xid_timer;
    uint64_t xid_since_us;
    bool has_told_xids;
    char snapshot_name[64];
    char *snapshot_xids;  // pg_current_snapshot() inside of it

    uint32_t table_index;  // being locked, or being read
    bool is_paused;
    struct copy_binary decoder;
    struct value values[ROW_COLUMNS_MAX];
};

static void on_xid_poll(struct loop_timer *timer);
static void lock_next(struct pg_copy *copy);
static void read_next(struct pg_copy *copy);

struct pg_copy *pg_copy_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_copy *copy = calloc(1, sizeof *copy);
    CHECK(copy != NULL);
    copy->loop = loop;
    copy->snapshot_conn = pg_conn_new(loop, resolver);
    copy->guard_conn = pg_conn_new(loop, resolver);
    copy->data_conn = pg_conn_new(loop, resolver);
    copy->blockers = pg_blockers_new(loop, resolver);
    copy->xid_timer = (struct loop_timer){.on_due = on_xid_poll, .context = copy};
    return copy;
}

static void stop_copy(struct pg_copy *copy)
{
    loop_timer_stop(copy->loop, &copy->xid_timer);
    pg_blockers_stop(copy->blockers);
    pg_conn_close(copy->data_conn);
    pg_conn_close(copy->guard_conn);
    pg_conn_close(copy->snapshot_conn);
    for (uint32_t i = 0; copy->state_of != NULL && i < copy->table_count; i++)
        free(copy->state_of[i].row_filter);
    free(copy->state_of);
    free(copy->publication);
    free(copy->snapshot_xids);
    copy->state_of = NULL;
    copy->publication = NULL;
    copy->snapshot_xids = NULL;
    pg_target_deinit(&copy->target);
    copy->state = COPY_STOPPED;
}

void pg_copy_free(struct pg_copy *copy)
{
    if (copy == NULL)
        return;
    stop_copy(copy);
    pg_conn_free(copy->snapshot_conn);
    pg_conn_free(copy->guard_conn);
    pg_conn_free(copy->data_conn);
    pg_blockers_free(copy->blockers);
    free(copy);
}

const struct pg_copy_stats *pg_copy_stats(const struct pg_copy *copy)
{
    return &copy->stats;
}

// error NULL: done.
static void end_copy(struct pg_copy *copy, const struct err *error)
{
    struct err told = {.kind = ERR_NONE};
    if (error != NULL) {
        told = *error;
        err_prefix(&told, "copy from %s", copy->description);
    }
    stop_copy(copy);
    copy->events.on_ended(copy->events.context, error != NULL ? &told : NULL);
}

static void on_conn_broken(void *context, const struct err *error)
{
    end_copy(context, error);
}

static void tell_waiting(void *context, const char *why)
{
    struct pg_copy *copy = context;
    if (copy->events.on_waiting != NULL)
        copy->events.on_waiting(copy->events.context, why);
}

static void append_table(struct buf *out, const struct table *table)
{
    pg_append_identifier(out, table->schema_name);
    buf_append_text(out, ".");
    pg_append_identifier(out, table->table_name);
}

static const char *field(const PGresult *result, const char *name)
{
    int column = PQfnumber(result, name);
    CHECK(column >= 0);
    return PQntuples(result) == 0 || PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

// Sends a statement on one of the connections; a failure to send ends the copy. Empties sql.
static void send(struct pg_copy *copy, struct pg_conn *conn, struct buf *sql, uint32_t timeout_ms,
                 pg_on_result on_result)
{
    struct err error;
    bool is_sent = !sql->failed && pg_conn_query(conn, buf_text(sql), 0, NULL, timeout_ms, on_result, copy, &error);
    if (sql->failed)
        err_set(&error, ERR_INTERNAL, "", "a statement is longer than %d bytes", SQL_BYTES_MAX);
    buf_deinit(sql);
    if (!is_sent)
        end_copy(copy, &error);
}

static void send_with(struct pg_copy *copy, struct pg_conn *conn, const char *sql, int parameter_count,
                      const char *const *parameters, pg_on_result on_result)
{
    struct err error;
    if (!pg_conn_query(conn, sql, parameter_count, parameters, QUERY_TIMEOUT_MS, on_result, copy, &error))
        end_copy(copy, &error);
}

static void open_conn(struct pg_copy *copy, struct pg_conn *conn, bool is_replication,
                      void (*on_open)(void *context, const struct err *error),
                      void (*on_broken)(void *context, const struct err *error))
{
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = copy};
    struct err error;
    if (!pg_conn_open(conn, &copy->target, is_replication, NULL, NULL, CONNECT_TIMEOUT_MS, &events, &error))
        end_copy(copy, &error);
}

// ---- 3. reading

// The table failed for reasons of its own: the others go on.
static void fail_table(struct pg_copy *copy, const struct err *error)
{
    char name[160];
    struct err told = *error;
    table_format_name(copy->tables[copy->table_index], name, sizeof name);
    err_prefix(&told, "table %s", name);
    copy->state_of[copy->table_index].has_failed = true;
    copy->events.on_table_failed(copy->events.context, copy->table_index, &told);
}

// Whether a statement's error concerns one table only. What is worth another try is so for the whole copy.
static bool is_of_table(const struct pg_conn *conn, const struct err *error)
{
    return pg_conn_state(conn) == PG_CONN_IDLE && error->kind != ERR_TRANSIENT && error->code[0] != '\0';
}

static void on_read_rolled_back(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    copy->table_index++;
    read_next(copy);
}

static void read_failed(struct pg_copy *copy, const struct err *error)
{
    if (!is_of_table(copy->guard_conn, error)) {
        end_copy(copy, error);
        return;
    }
    fail_table(copy, error);
    if (copy->state != COPY_READING)
        return;
    struct buf sql;
    buf_init(&sql, 256);
    buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_table");
    send(copy, copy->guard_conn, &sql, QUERY_TIMEOUT_MS, on_read_rolled_back);
}

static void table_done(struct pg_copy *copy)
{
    if (!copy->decoder.has_trailer) {
        struct err error;
        err_set(&error, ERR_DATA, "copy_binary", "the data ended without its trailer");
        end_copy(copy, &error);
        return;
    }
    copy->events.on_table_done(copy->events.context, copy->table_index, copy->stats.table_rows);
    if (copy->state != COPY_READING)
        return;
    copy->table_index++;
    read_next(copy);
}

// Hands over the rows of one message. False: the copy is over.
static bool take_rows(struct pg_copy *copy, const uint8_t *data, size_t size)
{
    uint32_t index = copy->table_index;
    const struct table *table = copy->tables[index];
    const bool *as_text = copy->column_as_text != NULL ? copy->column_as_text[index] : NULL;
    struct row_view row = {.values = copy->values, .count = table->column_count};
    size_t offset = 0;
    copy->stats.bytes += size;
    copy->stats.table_bytes += size;
    for (;;) {
        struct err error;
        enum copy_binary_outcome outcome = copy_binary_next(&copy->decoder, data, size, &offset, copy->values, &error);
        if (outcome == COPY_BINARY_MORE)
            return true;
        if (outcome == COPY_BINARY_ERROR) {
            end_copy(copy, &error);
            return false;
        }
        // What was asked for as text has the type text: its binary form is the text itself.
        for (uint16_t i = 0; as_text != NULL && i < table->column_count; i++)
            if (as_text[i] && copy->values[i].state == VALUE_BINARY)
                copy->values[i].state = VALUE_TEXT;
        copy->stats.rows++;
        copy->stats.table_rows++;
        if (!copy->events.on_row(copy->events.context, index, &row))
            stop_copy(copy);
        if (copy->state != COPY_READING)
            return false;
    }
}

static void on_readable(void *context)
{
    struct pg_copy *copy = context;
    uint64_t rows_before = copy->stats.rows;
    size_t turn_bytes = 0;
    enum pg_copy_outcome outcome = PG_COPY_MESSAGE;
    struct err error;
    while (!copy->is_paused && turn_bytes < TURN_BYTES_MAX && copy->stats.rows - rows_before < TURN_ROWS_MAX) {
        const uint8_t *data;
        size_t size;
        outcome = pg_conn_copy_next(copy->guard_conn, &data, &size, &error);
        if (outcome != PG_COPY_MESSAGE)
            break;
        turn_bytes += size;
        if (!take_rows(copy, data, size))
            return;
    }
    if (copy->stats.rows != rows_before && copy->events.on_turn_end != NULL) {
        copy->events.on_turn_end(copy->events.context);
        if (copy->state != COPY_READING)
            return;
    }
    if (outcome == PG_COPY_END)
        table_done(copy);
    else if (outcome == PG_COPY_ERROR)
        read_failed(copy, &error);
    else if (outcome == PG_COPY_MESSAGE && !copy->is_paused)
        pg_conn_copy_continue(copy->guard_conn);
}

static void on_copy_started(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        read_failed(copy, error);
        return;
    }
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
        struct err unexpected;
        err_set(&unexpected, ERR_INTERNAL, "copy", "no data in answer to COPY");
        end_copy(copy, &unexpected);
        return;
    }
    copy_binary_init(&copy->decoder, copy->tables[copy->table_index]->column_count);
    pg_conn_copy_start(copy->guard_conn, on_readable, copy);
    if (copy->is_paused)
        pg_conn_copy_pause(copy->guard_conn);
}

// concat() calls the type's output function, as the stream does; a cast to text may give something else (inet, bpchar,
// boolean). IS DISTINCT FROM NULL, because a composite value of NULLs IS NULL as well.
static void append_column(struct buf *sql, const struct column *column, bool is_text)
{
    if (!is_text) {
        pg_append_identifier(sql, column->name);
        return;
    }
    buf_append_text(sql, "CASE WHEN ");
    pg_append_identifier(sql, column->name);
    buf_append_text(sql, " IS DISTINCT FROM NULL THEN pg_catalog.concat(");
    pg_append_identifier(sql, column->name);
    buf_append_text(sql, ") END");
}

static void append_copy(struct buf *sql, const struct pg_copy *copy, uint32_t index)
{
    const struct table *table = copy->tables[index];
    const struct copy_table *state = &copy->state_of[index];
    buf_append_text(sql, "COPY (SELECT ");
    for (uint16_t i = 0; i < table->column_count; i++) {
        if (i > 0)
            buf_append_text(sql, ", ");
        append_column(sql, &table->columns[i], copy->column_as_text != NULL && copy->column_as_text[index][i]);
    }
    // Children by plain inheritance are tables of the publication themselves; the partitions of one that is published as
    // a whole are not.
    buf_append_text(sql, state->is_partitioned ? " FROM " : " FROM ONLY ");
    append_table(sql, table);
    if (state->row_filter != NULL) {
        buf_append_text(sql, " WHERE ");
        buf_append_text(sql, state->row_filter);
    }
    buf_append_text(sql, ") TO STDOUT (FORMAT binary)");
}

// Reads the table at table_index, or the next that has not failed; at the end the copy is done.
static void read_next(struct pg_copy *copy)
{
    while (copy->table_index < copy->table_count && copy->state_of[copy->table_index].has_failed)
        copy->table_index++;
    if (copy->table_index == copy->table_count) {
        end_copy(copy, NULL);
        return;
    }
    copy->stats.table_index = copy->table_index;
    copy->stats.table_rows = 0;
    copy->stats.table_bytes = 0;
    struct buf sql;
    buf_init(&sql, SQL_BYTES_MAX);
    buf_append_text(&sql, "SAVEPOINT etl_table; ");
    // Our names are UTF-8, so the statement is; its data comes in the database's own encoding. The server reads the whole
    // line before it obeys the first part.
    if (copy->client_encoding[0] != '\0') {
        buf_append_text(&sql, "SET LOCAL client_encoding TO ");
        pg_append_literal(&sql, copy->client_encoding);
        buf_append_text(&sql, "; ");
    }
    append_copy(&sql, copy, copy->table_index);
    if (copy->client_encoding[0] != '\0')
        buf_append_text(&sql, "; SET LOCAL client_encoding TO 'UTF8'");
    buf_append_text(&sql, "; RELEASE SAVEPOINT etl_table");
    send(copy, copy->guard_conn, &sql, 0, on_copy_started);
}

static void append_join(struct buf *sql, const struct pg_copy *copy)
{
    buf_append_text(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ");
    pg_append_literal(sql, copy->snapshot_name);
}

// The rows are read on the guard's own connection: another one would queue for its lock behind a TRUNCATE that waits for the
// guard, and neither would ever end.
static void read_tables(struct pg_copy *copy)
{
    copy->state = COPY_READING;
    copy->table_index = 0;
    read_next(copy);
}

// ---- 2. the guard

// A rewrite between the snapshot and the lock leaves a file that is empty for the snapshot, and nothing is streamed for
// it. (VACUUM FULL changes the file too, and loses nothing; it is not told apart.)
static bool is_unrewritten(const PGresult *check)
{
    const char *is_same_file = field(check, "is_same_file");
    return (field(check, "relkind") != NULL && is_same_file != NULL && is_same_file[0] == 't') ||
           trap_is_set("relfilenode_guard");
}

static void lock_done(struct pg_copy *copy)
{
    pg_blockers_stop(copy->blockers);
    copy->table_index++;
    lock_next(copy);
}

static void on_filter(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    const char *filter = field(result, "row_filter");
    if (filter != NULL) {
        copy->state_of[copy->table_index].row_filter = strdup(filter);
        CHECK(copy->state_of[copy->table_index].row_filter != NULL);
    }
    lock_done(copy);
}

static void on_table_checked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    char name[160];
    struct err failed;
    const struct table *table = copy->tables[copy->table_index];
    const char *is_same_table = field(result, "is_same_table");
    const char *relkind = field(result, "relkind");
    const char *has_row_security = field(result, "has_row_security");
    table_format_name(table, name, sizeof name);
    if (is_same_table == NULL || is_same_table[0] != 't' || !is_unrewritten(result)) {
        err_set(&failed, ERR_TRANSIENT, "again",
                "table %s was rewritten or replaced after the snapshot was made: it takes a new snapshot", name);
        end_copy(copy, &failed);
        return;
    }
    if (has_row_security != NULL && has_row_security[0] == 't') {
        err_set(&failed, ERR_CONFIG, "row_security",
                "row level security would hide rows from the copy; give the source's user BYPASSRLS");
        fail_table(copy, &failed);
        if (copy->state == COPY_LOCKING)
            lock_done(copy);
        return;
    }
    copy->state_of[copy->table_index].is_partitioned = relkind != NULL && relkind[0] == 'p';
    if (copy->publication == NULL || pg_conn_server_version(copy->guard_conn) < 150000) {
        lock_done(copy);
        return;
    }
    char oid[16];
    (void)snprintf(oid, sizeof oid, "%u", table->oid);
    const char *parameters[] = {oid, copy->publication};
    send_with(copy, copy->guard_conn, sql_pg_copy_row_filter, 2, parameters, on_filter);
}

static void check_table(struct pg_copy *copy)
{
    const struct table *table = copy->tables[copy->table_index];
    char oid[16];
    struct buf name;
    buf_init(&name, 1024);
    append_table(&name, table);
    (void)snprintf(oid, sizeof oid, "%u", table->oid);
    const char *parameters[] = {oid, buf_text(&name)};
    send_with(copy, copy->guard_conn, sql_pg_copy_table_check, 2, parameters, on_table_checked);
    buf_deinit(&name);
}

static void on_lock_rolled_back(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL)
        end_copy(copy, error);
    else
        lock_done(copy);
}

static void on_locked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error == NULL) {
        check_table(copy);
        return;
    }
    if (!is_of_table(copy->guard_conn, error)) {
        end_copy(copy, error);
        return;
    }
    fail_table(copy, error);
    if (copy->state != COPY_LOCKING)
        return;
    struct buf sql;
    buf_init(&sql, 256);
    buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_table");
    send(copy, copy->guard_conn, &sql, QUERY_TIMEOUT_MS, on_lock_rolled_back);
}

// Until the transaction ends nobody can rewrite, truncate or drop the table. Without ONLY: the leaves of a partitioned
// table are read as well.
static void append_lock(struct buf *sql, const struct table *table)
{
    if (trap_is_set("guard_lock")) {
        buf_append_text(sql, "SELECT 1");
        return;
    }
    buf_append_text(sql, "LOCK TABLE ");
    append_table(sql, table);
    buf_append_text(sql, " IN ACCESS SHARE MODE");
}

static void lock_next(struct pg_copy *copy)
{
    if (copy->table_index == copy->table_count) {
        read_tables(copy);
        return;
    }
    const struct table *table = copy->tables[copy->table_index];
    char name[100];
    char what[160];
    table_format_name(table, name, sizeof name);
    (void)snprintf(what, sizeof what, "the lock on table %s, which the copy needs,", name);
    pg_blockers_watch(copy->blockers, &copy->target, pg_conn_backend_pid(copy->guard_conn), what, tell_waiting, copy);
    struct buf sql;
    buf_init(&sql, 4096);
    buf_append_text(&sql, "SAVEPOINT etl_table; ");
    append_lock(&sql, table);
    buf_append_text(&sql, "; RELEASE SAVEPOINT etl_table");
    send(copy, copy->guard_conn, &sql, 0, on_locked);
}

static void lock_tables(struct pg_copy *copy)
{
    copy->state = COPY_LOCKING;
    copy->table_index = 0;
    lock_next(copy);
}

static void ask_xids(struct pg_copy *copy);

static void on_xids(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    const char *xids = field(result, "xids");
    if (xids == NULL) {
        lock_tables(copy);
        return;
    }
    if (!copy->has_told_xids && loop_fresh_us(copy->loop) - copy->xid_since_us >= XID_TELL_US) {
        char why[200];
        (void)snprintf(why, sizeof why,
                       "the copy waits for transactions that the snapshot has as committed to be over: %.80s", xids);
        copy->has_told_xids = true;
        tell_waiting(copy, why);
        if (copy->state != COPY_AWAITING_XIDS)
            return;
    }
    loop_timer_set(copy->loop, &copy->xid_timer, XID_POLL_US);
}

static void on_xid_poll(struct loop_timer *timer)
{
    ask_xids(timer->context);
}

// A commit first writes its WAL record, then its mark in the commit log. Older servers make a snapshot in between that
// has the transaction as committed; whoever reads by it before the mark is there takes the rows for aborted, and writes
// that down as a hint: they are lost at the source as well. So nothing, not even pg_class, is read by the snapshot before.
static void ask_xids(struct pg_copy *copy)
{
    if (trap_is_set("snapshot_wait")) {
        lock_tables(copy);
        return;
    }
    const char *parameters[] = {copy->snapshot_xids};
    send_with(copy, copy->data_conn, sql_pg_copy_pending_xids, 1, parameters, on_xids);
}

static void on_data_open(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    copy->state = COPY_AWAITING_XIDS;
    copy->xid_since_us = loop_fresh_us(copy->loop);
    copy->has_told_xids = false;
    ask_xids(copy);
}

static void on_guard_joined(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    copy->snapshot_xids = strdup(PQgetvalue(result, 0, 0));
    CHECK(copy->snapshot_xids != NULL);
    copy->state = COPY_OPENING_DATA;
    open_conn(copy, copy->data_conn, false, on_data_open, on_conn_broken);
}

static void on_guard_open(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    struct buf sql;
    buf_init(&sql, 1024);
    append_join(&sql, copy);
    buf_append_text(&sql, "; SELECT pg_current_snapshot()::text");
    send(copy, copy->guard_conn, &sql, QUERY_TIMEOUT_MS, on_guard_joined);
}

// ---- 1. the snapshot

static void on_snapshot_broken(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    // Once both transactions have the snapshot, they keep it without the connection that exported it.
    if (copy->state == COPY_READING)
        pg_conn_close(copy->snapshot_conn);
    else
        end_copy(copy, error);
}

static void on_slot_made(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    pg_blockers_stop(copy->blockers);
    struct err failed;
    if (error != NULL) {
        failed = *error;
        if (strcmp(failed.code, "42710") == 0)
            err_set(&failed, ERR_CONFIG, failed.code,
                    "replication slot \"%s\" exists already; choose another name with slot=, or drop it: SELECT "
                    "pg_drop_replication_slot('%s')",
                    copy->slot, copy->slot);
        else
            err_prefix(&failed, "replication slot \"%s\" cannot be made", copy->slot);
        end_copy(copy, &failed);
        return;
    }
    const char *point = field(result, "consistent_point");
    const char *snapshot = field(result, "snapshot_name");
    lsn_t lsn;
    if (point == NULL || snapshot == NULL || !lsn_parse(point, &lsn) ||
        strlen(snapshot) >= sizeof copy->snapshot_name) {
        err_set(&failed, ERR_INTERNAL, "slot", "the server made a slot without a usable snapshot");
        end_copy(copy, &failed);
        return;
    }
    (void)snprintf(copy->snapshot_name, sizeof copy->snapshot_name, "%s", snapshot);
    copy->state = COPY_AWAITING_GO;
    copy->events.on_snapshot(copy->events.context, lsn);
}

static void on_snapshot_open(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        end_copy(copy, error);
        return;
    }
    int version = pg_conn_server_version(copy->snapshot_conn);
    struct buf sql;
    buf_init(&sql, 1024);
    buf_append_text(&sql, "CREATE_REPLICATION_SLOT ");
    pg_append_identifier(&sql, copy->slot);
    buf_append_text(&sql, copy->is_temporary ? " TEMPORARY LOGICAL pgoutput " : " LOGICAL pgoutput ");
    if (version < 150000)
        buf_append_text(&sql, "EXPORT_SNAPSHOT");
    else if (version >= 170000 && copy->is_failover && !copy->is_temporary)
        buf_append_text(&sql, "(SNAPSHOT 'export', FAILOVER 'true')");
    else
        buf_append_text(&sql, "(SNAPSHOT 'export')");
    char what[160];
    (void)snprintf(what, sizeof what, "making replication slot \"%s\"", copy->slot);
    pg_blockers_watch(copy->blockers, &copy->target, pg_conn_backend_pid(copy->snapshot_conn), what, tell_waiting,
                      copy);
    send(copy, copy->snapshot_conn, &sql, 0, on_slot_made);
}

// ---- the owner's calls

static void name_slot(struct pg_copy *copy, const char *slot)
{
    copy->is_temporary = slot == NULL;
    uint32_t random = 0;
    if (slot != NULL) {
        (void)snprintf(copy->slot, sizeof copy->slot, "%s", slot);
        return;
    }
    CHECK(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    (void)snprintf(copy->slot, sizeof copy->slot, "etl_copy_%ld_%08x", (long)getpid(), random);
}

bool pg_copy_start(struct pg_copy *copy, const struct pg_target *target, const struct pg_copy_options *options,
                   const struct pg_copy_events *events, struct err *out_error)
{
    CHECK(copy->state == COPY_STOPPED);
    CHECK(options->slot == NULL || strlen(options->slot) < sizeof copy->slot);
    copy->events = *events;
    copy->stats = (struct pg_copy_stats){0};
    name_slot(copy, options->slot);
    copy->is_failover = options->is_failover;
    bool is_utf8 = options->client_encoding == NULL || strcmp(options->client_encoding, "UTF8") == 0 ||
                   trap_is_set("own_encoding");
    (void)snprintf(copy->client_encoding, sizeof copy->client_encoding, "%s", is_utf8 ? "" : options->client_encoding);
    copy->tables = options->tables;
    copy->table_count = options->table_count;
    copy->column_as_text = options->column_as_text;
    copy->is_paused = false;
    copy->state_of = calloc((size_t)options->table_count + 1, sizeof *copy->state_of);
    copy->publication = options->publication != NULL ? strdup(options->publication) : NULL;
    pg_target_describe(target, copy->description, sizeof copy->description);
    if (copy->state_of == NULL || (options->publication != NULL && copy->publication == NULL) ||
        !pg_target_copy(target, &copy->target)) {
        stop_copy(copy);
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a copy of %u tables", options->table_count);
    }
    copy->state = COPY_MAKING_SNAPSHOT;
    struct pg_conn_events conn_events = {.on_open = on_snapshot_open, .on_broken = on_snapshot_broken, .context = copy};
    if (pg_conn_open(copy->snapshot_conn, target, true, NULL, NULL, CONNECT_TIMEOUT_MS, &conn_events, out_error))
        return true;
    stop_copy(copy);
    return false;
}

void pg_copy_pause(struct pg_copy *copy)
{
    copy->is_paused = true;
    if (copy->state == COPY_READING)
        pg_conn_copy_pause(copy->guard_conn);  // harmless between two tables
}

void pg_copy_continue(struct pg_copy *copy)
{
    copy->is_paused = false;
    if (copy->state == COPY_AWAITING_GO) {
        copy->state = COPY_OPENING_GUARD;
        open_conn(copy, copy->guard_conn, false, on_guard_open, on_conn_broken);
    } else if (copy->state == COPY_READING) {
        pg_conn_copy_continue(copy->guard_conn);
    }
}
