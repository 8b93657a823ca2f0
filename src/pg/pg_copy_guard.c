// 2. The guard: waits until the snapshot may be read, takes the locks, checks the files. It may be lost and replaced while the
// connection that exported the snapshot lives: workers end the range they are at and begin no other until the new guard holds.
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "embedded_sql.h"
#include "pg/pg_catalog.h"
#include "pg/pg_copy_private.h"

#define XID_POLL_US 50000
#define XID_TELL_US 2000000
// The first lock may be waited for this long; the table is then left to a later copy, and the others go on.
#define LOCK_WAIT "60s"
// Each level of the stack of locks is a subtransaction, which costs the server some kilobytes.
#define LOCK_LEVELS_MAX 256

static const struct backoff_policy guard_backoff_policy = {
    .delay_first_ms = 250, .delay_min_ms = 50, .delay_max_ms = 5000, .tries_max = 20};

static void lock_next(struct pg_copy *copy);
static void ask_xids(struct pg_copy *copy);
static void lock_begin(struct pg_copy *copy);

static struct pg_conn *guard_conn(const struct pg_copy *copy)
{
    return copy->readers[0].conn;
}

static struct table *table_at(const struct pg_copy *copy)
{
    return copy->tables[copy->lock_order[copy->lock_at]];
}

// Whether a statement's error concerns one table only. What is worth another try is so for the whole copy.
static bool is_of_table(const struct pg_conn *conn, const struct err *error)
{
    return pg_conn_state(conn) == PG_CONN_IDLE && error->kind != ERR_TRANSIENT && error->code[0] != '\0';
}

static bool is_lock_refused(const struct pg_conn *conn, const struct err *error)
{
    return pg_conn_state(conn) == PG_CONN_IDLE && strcmp(error->code, "55P03") == 0;
}

static bool send(struct pg_copy *copy, struct buf *sql, uint32_t timeout_ms, pg_on_result on_result)
{
    struct err error;
    if (pg_copy_send(copy, guard_conn(copy), sql, timeout_ms, on_result, copy, &error))
        return true;
    pg_copy_guard_lost(copy, &error);
    return false;
}

// ---- its connection

static void on_guard_due(struct loop_timer *timer)
{
    struct pg_copy *copy = timer->context;
    if (copy->guard == GUARD_AWAITING_XIDS)
        ask_xids(copy);
    else if (copy->guard == GUARD_CLOSED)
        pg_copy_guard_open(copy);
}

void pg_copy_guard_init(struct pg_copy *copy)
{
    copy->guard = GUARD_CLOSED;
    copy->guard_timer = (struct loop_timer){.on_due = on_guard_due, .context = copy};
    backoff_init(&copy->guard_backoff, &guard_backoff_policy, loop_fresh_us(copy->loop) | 1);
}

// Another guard can take its place while the exporting connection, or nothing that was read, depends on the old one.
void pg_copy_guard_lost(struct pg_copy *copy, const struct err *error)
{
    uint32_t delay_ms;
    struct err told = *error;
    pg_blockers_stop(copy->blockers);
    loop_timer_stop(copy->loop, &copy->guard_timer);
    copy->guard = GUARD_CLOSED;
    pg_copy_guard_reader_lost(copy);
    pg_conn_close(guard_conn(copy));
    if (copy->is_exporter_lost || error->kind != ERR_TRANSIENT || !backoff_next(&copy->guard_backoff, &delay_ms)) {
        if (copy->is_exporter_lost)
            told.kind = ERR_TRANSIENT;
        pg_copy_end(copy, &told);
        return;
    }
    char why[ERR_TEXT_SIZE];
    (void)snprintf(why, sizeof why, "the copy's guard was lost and is replaced: %.600s", error->text);
    pg_copy_tell_waiting(copy, why);
    if (copy->state != COPY_STOPPED)
        loop_timer_set(copy->loop, &copy->guard_timer, (uint64_t)delay_ms * 1000);
}

static void on_guard_broken(void *context, const struct err *error)
{
    pg_copy_guard_lost(context, error);
}

// A snapshot that cannot be taken over is gone with its connection, which may not have told us yet.
static void join_failed(struct pg_copy *copy, const struct err *error)
{
    struct err told = *error;
    told.kind = ERR_TRANSIENT;
    pg_copy_guard_lost(copy, pg_conn_state(guard_conn(copy)) == PG_CONN_IDLE ? &told : error);
}

static void on_joined(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        join_failed(copy, error);
        return;
    }
    (void)snprintf(copy->guard_snapshot, sizeof copy->guard_snapshot, "%s", PQgetvalue(result, 0, 0));
    lock_begin(copy);
}

static void join(struct pg_copy *copy)
{
    struct buf sql;
    buf_init(&sql, 1024);
    copy->guard = GUARD_JOINING;
    if (copy->snapshot_xids != NULL && !copy->are_xids_over)
        buf_append_text(&sql, "COMMIT; ");
    copy->are_xids_over = true;
    pg_copy_append_join(&sql, copy->snapshot_name);
    buf_append_text(&sql, "; SELECT pg_export_snapshot()");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_joined);
}

static void on_xids(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        pg_copy_guard_lost(copy, error);
        return;
    }
    const char *xids = pg_copy_field(result, 0, "xids");
    if (xids == NULL) {
        copy->are_xids_over = true;
        join(copy);
        return;
    }
    if (!copy->has_told_xids && loop_fresh_us(copy->loop) - copy->xid_since_us >= XID_TELL_US) {
        char why[200];
        (void)snprintf(why, sizeof why,
                       "the copy waits for transactions that the snapshot has as committed to be over: %.80s", xids);
        copy->has_told_xids = true;
        pg_copy_tell_waiting(copy, why);
        if (copy->guard != GUARD_AWAITING_XIDS)
            return;
    }
    loop_timer_set(copy->loop, &copy->guard_timer, XID_POLL_US);
}

// A commit first writes its WAL record, then its mark in the commit log. Older servers make a snapshot in between that
// has the transaction as committed; whoever reads by it before the mark is there takes the rows for aborted, and writes
// that down as a hint: they are lost at the source as well. So nothing, not even pg_class, is read by the snapshot before.
static void ask_xids(struct pg_copy *copy)
{
    const char *parameters[] = {copy->snapshot_xids};
    struct err error;
    if (!pg_conn_query(guard_conn(copy), sql_pg_copy_pending_xids, 1, parameters, PG_COPY_QUERY_TIMEOUT_MS, on_xids,
                       copy, &error))
        pg_copy_guard_lost(copy, &error);
}

static void on_left_to_ask(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL) {
        pg_copy_guard_lost(copy, error);
        return;
    }
    copy->guard = GUARD_AWAITING_XIDS;
    copy->xid_since_us = loop_fresh_us(copy->loop);
    copy->has_told_xids = false;
    ask_xids(copy);
}

// What the snapshot shows is asked inside of it, whether that is over outside: so it is left once more.
static void on_looked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    struct buf sql;
    if (error != NULL) {
        join_failed(copy, error);
        return;
    }
    free(copy->snapshot_xids);
    copy->snapshot_xids = strdup(PQgetvalue(result, 0, 0));
    CHECK(copy->snapshot_xids != NULL);
    if (trap_is_set("snapshot_wait")) {
        join(copy);
        return;
    }
    buf_init(&sql, 64);
    buf_append_text(&sql, "COMMIT");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_left_to_ask);
}

static void on_guard_open(void *context, const struct err *error)
{
    struct pg_copy *copy = context;
    struct buf sql;
    if (error != NULL) {
        pg_copy_guard_lost(copy, error);
        return;
    }
    if (copy->are_xids_over) {
        join(copy);
        return;
    }
    buf_init(&sql, 1024);
    copy->guard = GUARD_LOOKING;
    pg_copy_append_join(&sql, copy->snapshot_name);
    buf_append_text(&sql, "; SELECT pg_current_snapshot()::text");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_looked);
}

void pg_copy_guard_open(struct pg_copy *copy)
{
    struct pg_conn_events events = {.on_open = on_guard_open, .on_broken = on_guard_broken, .context = copy};
    struct err error;
    copy->guard = GUARD_OPENING;
    if (!pg_conn_open(guard_conn(copy), &copy->target, false, NULL, NULL, PG_COPY_CONNECT_TIMEOUT_MS, &events, &error))
        pg_copy_guard_lost(copy, &error);
}

// ---- locks

// The table at lock_at needs no lock any more.
static void lock_drop(struct pg_copy *copy)
{
    copy->lock_count--;
    memmove(copy->lock_order + copy->lock_at, copy->lock_order + copy->lock_at + 1,
            (copy->lock_count - copy->lock_at) * sizeof *copy->lock_order);
}

static void on_rolled_back(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL)
        pg_copy_guard_lost(copy, error);
    else
        lock_next(copy);
}

// The table fails by itself: its lock is let go, the others' stay.
static void fail_at(struct pg_copy *copy, const struct err *error)
{
    struct buf sql;
    uint32_t table_index = copy->lock_order[copy->lock_at];
    lock_drop(copy);
    pg_copy_fail_table(copy, table_index, error);
    if (copy->guard != GUARD_LOCKING)
        return;
    buf_init(&sql, 256);
    buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_table; RELEASE SAVEPOINT etl_table");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_rolled_back);
}

static void lock_done(struct pg_copy *copy)
{
    struct buf sql;
    copy->lock_at++;
    buf_init(&sql, 256);
    // What was read of the catalog to check the table is let go with the savepoint: its locks would stay as well.
    buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_check; RELEASE SAVEPOINT etl_table");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_rolled_back);
}

static void on_filter(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    if (error != NULL) {
        pg_copy_guard_lost(copy, error);
        return;
    }
    struct copy_table *state = &copy->state_of[copy->lock_order[copy->lock_at]];
    const char *filter = pg_copy_field(result, 0, "row_filter");
    free(state->row_filter);
    state->row_filter = filter != NULL ? strdup(filter) : NULL;
    CHECK(filter == NULL || state->row_filter != NULL);
    lock_done(copy);
}

static bool is_true(const PGresult *check, const char *name)
{
    const char *text = pg_copy_field(check, 0, name);
    return text != NULL && text[0] == 't';
}

// A rewrite between the snapshot and the lock leaves a file that is empty for the snapshot, and nothing is streamed for
// it. (VACUUM FULL changes the file too, and loses nothing; it is not told apart.) A partition that was attached or detached
// meanwhile brings or takes rows that nothing is streamed for either.
static bool table_is_good(const PGresult *check, struct err *out_error)
{
    bool is_unrewritten = (pg_copy_field(check, 0, "relkind") != NULL && is_true(check, "is_same_file")) ||
                          trap_is_set("relfilenode_guard");
    if (!is_true(check, "is_same_table") || !is_unrewritten)
        return err_set(out_error, ERR_TRANSIENT, "again",
                       "it was rewritten or replaced after the snapshot was made: it takes a new snapshot");
    if (!is_true(check, "is_same_tree") && !trap_is_set("relfilenode_guard"))
        return err_set(out_error, ERR_TRANSIENT, "again",
                       "its partitions changed after the snapshot was made: it takes a new snapshot");
    if (is_true(check, "has_row_security"))
        return err_set(out_error, ERR_CONFIG, "row_security",
                       "row level security would hide rows from the copy; give the source's user BYPASSRLS");
    if (!is_true(check, "is_same_shape") && !trap_is_set("relfilenode_guard"))
        return err_set(out_error, ERR_LOST, "schema_changed", "its columns changed after its definition was read");
    return true;
}

static void on_table_checked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    struct err failed;
    uint32_t table_index = copy->lock_order[copy->lock_at];
    if (error != NULL && is_of_table(guard_conn(copy), error)) {
        fail_at(copy, error);
        return;
    }
    if (error != NULL) {
        pg_copy_guard_lost(copy, error);
        return;
    }
    if (!table_is_good(result, &failed)) {
        fail_at(copy, &failed);
        return;
    }
    pg_copy_plan_table(copy, table_index, result);
    if (copy->publication == NULL || pg_conn_server_version(guard_conn(copy)) < 150000) {
        lock_done(copy);
        return;
    }
    char oid[16];
    (void)snprintf(oid, sizeof oid, "%u", copy->tables[table_index]->oid);
    const char *parameters[] = {oid, copy->publication};
    if (!pg_conn_query(guard_conn(copy), sql_pg_copy_row_filter, 2, parameters, PG_COPY_QUERY_TIMEOUT_MS, on_filter,
                       copy, &failed))
        pg_copy_guard_lost(copy, &failed);
}

static void append_array(struct buf *out, const struct table *table, int which)
{
    buf_append_byte(out, '{');
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        long long value = which == 0   ? column->attribute_number
                          : which == 1 ? (long long)column->type_oid
                                       : column->type_modifier;
        buf_appendf(out, "%s%lld", i > 0 ? "," : "", value);
    }
    buf_append_byte(out, '}');
}

static void check_table(struct pg_copy *copy)
{
    const struct table *table = table_at(copy);
    char oid[16], attribute_count[16];
    struct buf texts[4];
    const char *parameters[6] = {oid, [5] = attribute_count};
    struct err error;
    (void)snprintf(oid, sizeof oid, "%u", table->oid);
    (void)snprintf(attribute_count, sizeof attribute_count, "%u", table->attribute_count);
    for (int i = 0; i < 4; i++) {
        buf_init(&texts[i], 65536);
        if (i == 0)
            pg_copy_append_table(&texts[i], table);
        else
            append_array(&texts[i], table, i - 1);
        parameters[i + 1] = buf_text(&texts[i]);
        CHECK(!texts[i].failed);
    }
    bool is_sent = pg_conn_query(guard_conn(copy), sql_pg_copy_table_check, 6, parameters, PG_COPY_QUERY_TIMEOUT_MS,
                                 on_table_checked, copy, &error);
    for (int i = 0; i < 4; i++)
        buf_deinit(&texts[i]);
    if (!is_sent)
        pg_copy_guard_lost(copy, &error);
}

// Lets go of everything, and begins with the table that could not be had, which may be waited for now.
static void lock_again(struct pg_copy *copy)
{
    struct buf sql;
    uint32_t table_index = copy->lock_order[copy->lock_at];
    memmove(copy->lock_order + 1, copy->lock_order, copy->lock_at * sizeof *copy->lock_order);
    copy->lock_order[0] = table_index;
    copy->lock_at = copy->level_count = 0;
    buf_init(&sql, 256);
    buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_locks");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_rolled_back);
}

static void on_locked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    struct err late;
    (void)result;
    pg_blockers_stop(copy->blockers);
    if (error == NULL) {
        check_table(copy);
        return;
    }
    bool is_refused = is_lock_refused(guard_conn(copy), error);
    if (is_refused && copy->lock_at > 0) {
        lock_again(copy);
    } else if (is_refused) {
        err_set(&late, ERR_TRANSIENT, "locked", "its lock was not to be had within " LOCK_WAIT "; it is copied later");
        fail_at(copy, &late);
    } else if (is_of_table(guard_conn(copy), error)) {
        fail_at(copy, error);
    } else {
        pg_copy_guard_lost(copy, error);
    }
}

// Until the transaction ends nobody can rewrite, truncate or drop the table. Without ONLY: the leaves of a partitioned
// table are read as well.
static void append_lock(struct buf *sql, const struct table *table, bool may_wait)
{
    if (trap_is_set("guard_lock")) {
        buf_append_text(sql, "SELECT 1");
        return;
    }
    buf_append_text(sql, "LOCK TABLE ");
    pg_copy_append_table(sql, table);
    buf_append_text(sql, may_wait ? " IN ACCESS SHARE MODE" : " IN ACCESS SHARE MODE NOWAIT");
}

static void lock_next(struct pg_copy *copy)
{
    // Tables that the owner has given up meanwhile.
    while (copy->lock_at < copy->lock_count && copy->state_of[copy->lock_order[copy->lock_at]].has_failed)
        lock_drop(copy);
    if (copy->lock_at == copy->lock_count) {
        copy->guard = GUARD_HOLDING;
        backoff_reset(&copy->guard_backoff);
        if (!copy->is_planned) {
            copy->is_planned = true;
            pg_copy_plan_ranges(copy);
            copy->state = COPY_READING;
            copy->events.on_planned(copy->events.context);
        }
        if (copy->state == COPY_READING)
            pg_copy_guard_reader_opened(copy);
        return;
    }
    char name[100];
    char what[160];
    bool may_wait = copy->lock_at == 0 || trap_is_set("empty_hands");
    table_format_name(table_at(copy), name, sizeof name);
    (void)snprintf(what, sizeof what, "the lock on table %s, which the copy needs,", name);
    if (may_wait)
        pg_blockers_watch(copy->blockers, &copy->target, pg_conn_backend_pid(guard_conn(copy)), what,
                          pg_copy_tell_waiting, copy);
    struct buf sql;
    buf_init(&sql, 4096);
    if (copy->lock_at == copy->level_count * copy->level_tables)
        buf_appendf(&sql, "SAVEPOINT etl_level_%u; ", copy->level_count++);
    buf_append_text(&sql, "SAVEPOINT etl_table; ");
    append_lock(&sql, table_at(copy), may_wait);
    buf_append_text(&sql, "; SAVEPOINT etl_check");
    send(copy, &sql, 0, on_locked);
}

static void on_lock_begun(void *context, const PGresult *result, const struct err *error)
{
    struct pg_copy *copy = context;
    (void)result;
    if (error != NULL)
        pg_copy_guard_lost(copy, error);
    else
        lock_next(copy);
}

// The smaller a table is held to be, the earlier it is read and the later it is locked; tables that nobody has counted are at the
// bottom. So a table that somebody waits for, which the guard's connection has to read alone, holds up only larger ones.
static int compare_for_stack(const void *a, const void *b, void *context)
{
    struct table *const *tables = ((struct pg_copy *)context)->tables;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    double rows_x = tables[x]->rows_estimate, rows_y = tables[y]->rows_estimate;
    bool is_x_unknown = rows_x < 0, is_y_unknown = rows_y < 0;
    if (is_x_unknown != is_y_unknown)
        return is_x_unknown ? -1 : 1;
    if (!is_x_unknown && rows_x != rows_y)
        return rows_x > rows_y ? -1 : 1;
    return x > y ? -1 : x < y;
}

// Another guard locks what is still to be read, in the same order: that of reading is decided by then.
static void order_locks(struct pg_copy *copy)
{
    uint32_t count = copy->is_planned ? copy->lock_count : copy->table_count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = copy->is_planned ? copy->lock_order[i] : i;
        const struct copy_table *state = &copy->state_of[index];
        if (!state->has_failed && (!copy->is_planned || state->ranges_left > 0))
            copy->lock_order[kept++] = index;
    }
    copy->lock_count = kept;
    if (!copy->is_planned)
        qsort_r(copy->lock_order, kept, sizeof *copy->lock_order, compare_for_stack, copy);
    copy->level_tables = kept / LOCK_LEVELS_MAX + 1;
    copy->lock_at = copy->level_count = 0;
}

static bool is_level_read(const struct pg_copy *copy, uint32_t level)
{
    uint32_t end = (level + 1) * copy->level_tables;
    for (uint32_t i = level * copy->level_tables; i < end && i < copy->lock_count; i++)
        if (copy->state_of[copy->lock_order[i]].ranges_left > 0)
            return false;
    return true;
}

bool pg_copy_guard_release(struct pg_copy *copy, char *out_statement, size_t statement_size)
{
    uint32_t kept = copy->level_count;
    if (copy->guard != GUARD_HOLDING || trap_is_set("locks_end_with_their_table"))
        return false;
    while (kept > 0 && is_level_read(copy, kept - 1))
        kept--;
    if (kept == copy->level_count)
        return false;
    copy->level_count = kept;
    (void)snprintf(out_statement, statement_size, "ROLLBACK TO SAVEPOINT etl_level_%u; RELEASE SAVEPOINT etl_level_%u",
                   kept, kept);
    return true;
}

static void lock_begin(struct pg_copy *copy)
{
    struct buf sql;
    copy->guard = GUARD_LOCKING;
    order_locks(copy);
    buf_init(&sql, 256);
    buf_append_text(&sql, "SET LOCAL lock_timeout TO '" LOCK_WAIT "'; SAVEPOINT etl_locks");
    send(copy, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_lock_begun);
}
