// 3. The readers: the guard's connection and the workers', each at one range at a time. Who reads what is decided in one
// deferred call (on_assign), so that no callback of the owner finds a reader half way.
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "pg/pg_catalog.h"
#include "pg/pg_copy_private.h"

#define TURN_BYTES_MAX (256 * 1024)
#define TURN_ROWS_MAX 1000
#define CONTENDED_US 2000000
#define RANGE_TRIES_MAX 5
// Workers wait for nothing long: what they cannot lock is left to the guard's connection.
#define WORKER_LOCK_WAIT "10s"

static const struct backoff_policy worker_backoff = {
    .delay_first_ms = 250, .delay_min_ms = 50, .delay_max_ms = 10000, .tries_max = 12};

static void on_worker_due(struct loop_timer *timer);
static void on_assign(struct loop_deferred *deferred);
static void on_rate_due(struct loop_timer *timer);
static void on_again_due(struct loop_timer *timer);

static bool is_guards(const struct copy_reader *reader)
{
    return reader == &reader->copy->readers[0];
}

// ---- life

void pg_copy_readers_init(struct pg_copy *copy, struct resolver *resolver)
{
    for (uint32_t i = 0; i < PG_COPY_CONNECTIONS_MAX; i++) {
        struct copy_reader *reader = &copy->readers[i];
        reader->copy = copy;
        reader->conn = pg_conn_new(copy->loop, resolver);
        reader->timer = (struct loop_timer){.on_due = on_worker_due, .context = reader};
        backoff_init(&reader->backoff, &worker_backoff, (loop_fresh_us(copy->loop) + i) | 1);
    }
    copy->assign = (struct loop_deferred){.call = on_assign, .context = copy};
    copy->rate_timer = (struct loop_timer){.on_due = on_rate_due, .context = copy};
    copy->again_timer = (struct loop_timer){.on_due = on_again_due, .context = copy};
}

static void reader_reset(struct copy_reader *reader)
{
    loop_timer_stop(reader->copy->loop, &reader->timer);
    reader->state = READER_CLOSED;
    reader->range = NULL;
    reader->is_in_transaction = reader->is_checking = false;
    reader->pauses = 0;
}

void pg_copy_readers_close(struct pg_copy *copy)
{
    for (uint32_t i = 0; i < PG_COPY_CONNECTIONS_MAX; i++) {
        reader_reset(&copy->readers[i]);
        pg_conn_close(copy->readers[i].conn);
        backoff_reset(&copy->readers[i].backoff);
        copy->readers[i].is_given_up = false;
    }
    loop_defer_stop(copy->loop, &copy->assign);
    loop_timer_stop(copy->loop, &copy->rate_timer);
    loop_timer_stop(copy->loop, &copy->again_timer);
    copy->stats.connections = 0;
}

void pg_copy_assign_soon(struct pg_copy *copy)
{
    if (copy->state == COPY_READING)
        loop_defer(copy->loop, &copy->assign);
}

static void on_again_due(struct loop_timer *timer)
{
    pg_copy_assign_soon(timer->context);
}

// ---- the end of a try

// The range of a reader that does not read it any more. One whose rows have no lasting order, and were told in part, cannot be
// read again: its table takes another snapshot.
static void range_put_back(struct copy_reader *reader, const struct err *error)
{
    struct pg_copy *copy = reader->copy;
    struct copy_range *range = reader->range;
    reader->range = NULL;
    reader->pauses = 0;
    if (range == NULL)
        return;
    range->told.is_reading = false;
    if (range->state != RANGE_READING)
        return;
    range->state = RANGE_READY;
    copy->stats.ranges_again++;
    if (copy->parts[range->part].is_whole && range->told.rows > 0) {
        struct err failed = *error;
        failed.kind = ERR_TRANSIENT;
        pg_copy_fail_table(copy, range->told.table_index, &failed);
    }
    range->told.rows = range->told.bytes = 0;
    pg_copy_assign_soon(copy);
}

static void worker_lost(struct copy_reader *reader, const struct err *error)
{
    struct pg_copy *copy = reader->copy;
    uint32_t delay_ms;
    char why[ERR_TEXT_SIZE];
    bool is_refused = reader->state == READER_OPENING && strcmp(error->code, "53300") == 0;
    bool was_reading = reader->range != NULL;
    range_put_back(reader, error);
    reader_reset(reader);
    pg_conn_close(reader->conn);
    if (copy->state != COPY_READING)
        return;
    if (is_refused || !backoff_next(&reader->backoff, &delay_ms)) {
        reader->is_given_up = true;
        uint32_t given_up = 0;
        for (uint32_t i = 0; i < copy->connections_max; i++)
            given_up += copy->readers[i].is_given_up;
        (void)snprintf(why, sizeof why,
                       "the copy goes on with %u of %u connections, as the server takes no more: %.500s",
                       copy->connections_max - given_up, copy->connections_max, error->text);
    } else {
        loop_timer_set(copy->loop, &reader->timer, (uint64_t)delay_ms * 1000);
        (void)snprintf(why, sizeof why, "%s: %.500s",
                       was_reading ? "a connection of the copy was lost, its range is read again"
                                   : "a connection of the copy was lost",
                       error->text);
    }
    pg_copy_tell_waiting(copy, why);
    pg_copy_assign_soon(copy);
}

static void reader_lost(struct copy_reader *reader, const struct err *error)
{
    if (is_guards(reader))
        pg_copy_guard_lost(reader->copy, error);
    else
        worker_lost(reader, error);
}

void pg_copy_guard_reader_lost(struct pg_copy *copy)
{
    struct err error;
    err_set(&error, ERR_TRANSIENT, "guard_lost", "the connection that read it was lost");
    range_put_back(&copy->readers[0], &error);
    reader_reset(&copy->readers[0]);
}

void pg_copy_guard_reader_opened(struct pg_copy *copy)
{
    CHECK(copy->readers[0].state == READER_CLOSED);
    copy->readers[0].state = READER_IDLE;
    pg_copy_assign_soon(copy);
}

void pg_copy_abandon_ranges(struct pg_copy *copy, uint32_t table_index)
{
    struct copy_table *state = &copy->state_of[table_index];
    state->has_failed = true;
    state->ranges_left = 0;
    for (uint32_t i = 0; copy->is_planned && i < state->range_count; i++) {
        struct copy_range *range = &copy->ranges[state->first_range + i];
        if (range->state != RANGE_READ)
            range->state = RANGE_ABANDONED;
        pg_copy_range_continue(copy, table_index, (uint16_t)i);  // to be read past
    }
    pg_copy_assign_soon(copy);
}

void pg_copy_abandon(struct pg_copy *copy, uint32_t table_index)
{
    if (copy->state != COPY_STOPPED)
        pg_copy_abandon_ranges(copy, table_index);
}

// ---- leaving a transaction

static void on_left(void *context, const PGresult *result, const struct err *error)
{
    struct copy_reader *reader = context;
    (void)result;
    if (error != NULL) {
        reader_lost(reader, error);
        return;
    }
    reader->state = READER_IDLE;
    pg_copy_assign_soon(reader->copy);
}

static void leave(struct copy_reader *reader, const char *statement)
{
    struct err error;
    reader->state = READER_LEAVING;
    reader->is_in_transaction = false;
    if (!pg_conn_query(reader->conn, statement, 0, NULL, PG_COPY_QUERY_TIMEOUT_MS, on_left, reader, &error))
        reader_lost(reader, &error);
}

static void leave_failed(struct copy_reader *reader)
{
    leave(reader, is_guards(reader) ? "ROLLBACK TO SAVEPOINT etl_range; RELEASE SAVEPOINT etl_range" : "ROLLBACK");
}

// A statement that reads failed, and the connection may have with it.
static void read_failed(struct copy_reader *reader, const struct err *error)
{
    struct pg_copy *copy = reader->copy;
    struct copy_range *range = reader->range;
    if (pg_conn_state(reader->conn) != PG_CONN_IDLE) {
        reader_lost(reader, error);
        return;
    }
    bool is_locked_out = strcmp(error->code, "55P03") == 0;
    bool is_for_good = (error->kind != ERR_TRANSIENT && error->code[0] != '\0') || ++range->tries >= RANGE_TRIES_MAX;
    if (is_locked_out)
        copy->parts[range->part].contended_until_us = loop_now_us(copy->loop) + CONTENDED_US;
    else if (is_for_good && range->state == RANGE_READING)
        pg_copy_fail_table(copy, range->told.table_index, error);
    range_put_back(reader, error);
    leave_failed(reader);
}

// ---- rows

static bool take_rows(struct copy_reader *reader, const uint8_t *data, size_t size)
{
    struct pg_copy *copy = reader->copy;
    struct copy_range *range = reader->range;
    uint32_t index = range->told.table_index;
    const struct table *table = copy->tables[index];
    const bool *as_text = copy->column_as_text != NULL ? copy->column_as_text[index] : NULL;
    struct row_view row = {.values = copy->values, .count = table->column_count};
    size_t offset = 0;
    copy->stats.bytes += size;
    range->told.bytes += size;
    while (range->state == RANGE_READING) {
        struct err error;
        enum copy_binary_outcome outcome =
            copy_binary_next(&reader->decoder, data, size, &offset, copy->values, &error);
        if (outcome == COPY_BINARY_MORE)
            return true;
        if (outcome == COPY_BINARY_ERROR) {
            pg_copy_end(copy, &error);
            return false;
        }
        // What was asked for as text has the type text: its binary form is the text itself.
        for (uint16_t i = 0; as_text != NULL && i < table->column_count; i++)
            if (as_text[i] && copy->values[i].state == VALUE_BINARY)
                copy->values[i].state = VALUE_TEXT;
        copy->stats.rows++;
        range->told.rows++;
        copy->events.on_row(copy->events.context, index, range->told.number, range->told.rows, &row);
    }
    return true;  // given up: the rest is read past
}

static void range_done(struct copy_reader *reader)
{
    struct pg_copy *copy = reader->copy;
    struct copy_range *range = reader->range;
    struct err error;
    if (range->state == RANGE_READING && !reader->decoder.has_trailer) {
        err_set(&error, ERR_DATA, "copy_binary", "the data ended without its trailer");
        pg_copy_end(copy, &error);
        return;
    }
    reader->range = NULL;
    reader->pauses = 0;
    reader->state = READER_IDLE;
    range->told.is_reading = false;
    pg_copy_assign_soon(copy);
    if (range->state != RANGE_READING)
        return;
    range->state = RANGE_READ;
    range->told.is_read = true;
    copy->state_of[range->told.table_index].ranges_left--;
    copy->events.on_range_done(copy->events.context, range->told.table_index, range->told.number, range->told.rows);
}

static void set_pause(struct copy_reader *reader, unsigned reason, bool is_set)
{
    unsigned before = reader->pauses;
    reader->pauses = is_set ? before | reason : before & ~reason;
    if (reader->state != READER_READING || (before != 0) == (reader->pauses != 0))
        return;
    if (reader->pauses != 0)
        pg_conn_copy_pause(reader->conn);
    else
        pg_conn_copy_continue(reader->conn);
}

// What the limit lets through now; 0: the reader waits.
static uint64_t turn_bytes_max(struct copy_reader *reader)
{
    struct pg_copy *copy = reader->copy;
    uint64_t wait_us = 0;
    if (copy->rate_limit == NULL)
        return TURN_BYTES_MAX;
    uint64_t available = rate_limit_available(copy->rate_limit, loop_fresh_us(copy->loop), &wait_us);
    if (available == 0) {
        set_pause(reader, PAUSE_RATE, true);
        if (copy->rate_timer.heap_index == 0)
            loop_timer_set(copy->loop, &copy->rate_timer, wait_us);
    }
    return available < TURN_BYTES_MAX ? available : TURN_BYTES_MAX;
}

// Another reader than last time goes first: with a low limit the first one may take all there is.
static void on_rate_due(struct loop_timer *timer)
{
    struct pg_copy *copy = timer->context;
    uint32_t first = copy->turn_first++;
    for (uint32_t i = 0; i < copy->connections_max; i++)
        set_pause(&copy->readers[(first + i) % copy->connections_max], PAUSE_RATE, false);
}

static void on_readable(void *context)
{
    struct copy_reader *reader = context;
    struct pg_copy *copy = reader->copy;
    uint64_t rows_before = copy->stats.rows, bytes_before = copy->stats.bytes;
    uint64_t bytes_max = turn_bytes_max(reader);
    enum pg_copy_outcome outcome = PG_COPY_MESSAGE;
    struct err error;
    while (reader->pauses == 0 && copy->stats.bytes - bytes_before < bytes_max &&
           copy->stats.rows - rows_before < TURN_ROWS_MAX) {
        const uint8_t *data;
        size_t size;
        outcome = pg_conn_copy_next(reader->conn, &data, &size, &error);
        if (outcome != PG_COPY_MESSAGE)
            break;
        if (!take_rows(reader, data, size))
            return;
    }
    if (copy->rate_limit != NULL)
        rate_limit_take(copy->rate_limit, copy->stats.bytes - bytes_before);
    if (copy->stats.rows != rows_before && copy->events.on_turn_end != NULL)
        copy->events.on_turn_end(copy->events.context);
    if (outcome == PG_COPY_END)
        range_done(reader);
    else if (outcome == PG_COPY_ERROR)
        read_failed(reader, &error);
    else if (outcome == PG_COPY_MESSAGE && reader->pauses == 0)
        pg_conn_copy_continue(reader->conn);
}

static void on_copy_started(void *context, const PGresult *result, const struct err *error)
{
    struct copy_reader *reader = context;
    struct err unexpected;
    if (error != NULL) {
        read_failed(reader, error);
        return;
    }
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
        err_set(&unexpected, ERR_INTERNAL, "copy", "no data in answer to COPY");
        pg_copy_end(reader->copy, &unexpected);
        return;
    }
    backoff_reset(&reader->backoff);
    reader->state = READER_READING;
    copy_binary_init(&reader->decoder, reader->copy->tables[reader->range->told.table_index]->column_count);
    pg_conn_copy_start(reader->conn, on_readable, reader);
    if (reader->pauses != 0)
        pg_conn_copy_pause(reader->conn);
}

// ---- beginning a range

static void start_copy(struct copy_reader *reader)
{
    struct buf sql;
    struct err error;
    buf_init(&sql, PG_COPY_SQL_BYTES_MAX);
    reader->state = READER_STARTING;
    if (reader->is_checking)
        buf_append_text(&sql, "ROLLBACK TO SAVEPOINT etl_check; RELEASE SAVEPOINT etl_check; ");
    reader->is_checking = false;
    pg_copy_append_read(&sql, reader->copy, reader->range);
    if (!pg_copy_send(reader->copy, reader->conn, &sql, 0, on_copy_started, reader, &error))
        reader_lost(reader, &error);
}

static void worker_locked(struct copy_reader *reader, const PGresult *check)
{
    const char *is_same_file = pg_copy_field(check, 0, "is_same_file");
    uint32_t table_index = reader->range->told.table_index;
    struct err error;
    if ((is_same_file != NULL && is_same_file[0] == 't') || trap_is_set("workers_check_files")) {
        reader->is_in_transaction = reader->is_checking = true;
        reader->locked_part = reader->range->part;
        start_copy(reader);
        return;
    }
    err_set(&error, ERR_TRANSIENT, "again",
            "it was rewritten or replaced after the snapshot was made: it takes a new snapshot");
    pg_copy_fail_table(reader->copy, table_index, &error);
    range_put_back(reader, &error);
    leave(reader, "ROLLBACK");
}

// What a server says of an exported snapshot whose transaction is over (snapmgr.c, procarray.c).
static bool is_snapshot_gone(const struct err *error)
{
    return strcmp(error->code, "22023") == 0 || strcmp(error->code, "42704") == 0 || strcmp(error->code, "55000") == 0;
}

static void on_worker_locked(void *context, const PGresult *result, const struct err *error)
{
    struct copy_reader *reader = context;
    struct pg_copy *copy = reader->copy;
    struct err guard_error;
    if (error == NULL) {
        worker_locked(reader, result);
        return;
    }
    if (pg_conn_state(reader->conn) == PG_CONN_IDLE && strcmp(error->code, "55P03") == 0) {
        copy->parts[reader->range->part].contended_until_us = loop_now_us(copy->loop) + CONTENDED_US;
        range_put_back(reader, error);
        leave(reader, "ROLLBACK");
        return;
    }
    if (pg_conn_state(reader->conn) == PG_CONN_IDLE && is_snapshot_gone(error)) {
        range_put_back(reader, error);
        leave(reader, "ROLLBACK");
        if (copy->guard == GUARD_HOLDING) {
            err_set(&guard_error, ERR_TRANSIENT, "guard_lost", "its snapshot is gone: %s", error->text);
            pg_copy_guard_lost(copy, &guard_error);
        }
        return;
    }
    // The guard holds the table, so whatever else is wrong is this connection's.
    worker_lost(reader, error);
}

static void lock_part(struct copy_reader *reader)
{
    const struct copy_part *part = &reader->copy->parts[reader->range->part];
    struct buf sql;
    struct err error;
    buf_init(&sql, 8192);
    reader->state = READER_LOCKING;
    if (reader->is_in_transaction)
        buf_append_text(&sql, "COMMIT; ");
    reader->is_in_transaction = false;
    // From the guard's own export: it can be taken over only while the guard lives.
    bool trusts_guard = trap_is_set("workers_join_the_guard") || trap_is_set("workers_check_files");
    pg_copy_append_join(&sql, trusts_guard ? reader->copy->snapshot_name : reader->copy->guard_snapshot);
    bool may_wait = trap_is_set("workers_do_not_wait");
    buf_appendf(&sql, "; SET LOCAL lock_timeout TO '%s'; LOCK TABLE ONLY %s IN ACCESS SHARE MODE%s; ",
                may_wait ? "0" : WORKER_LOCK_WAIT, part->name, may_wait ? "" : " NOWAIT");
    pg_copy_append_file_check(&sql, part);
    if (!pg_copy_send(reader->copy, reader->conn, &sql, PG_COPY_QUERY_TIMEOUT_MS, on_worker_locked, reader, &error))
        reader_lost(reader, &error);
}

static void begin(struct copy_reader *reader, struct copy_range *range)
{
    range->state = RANGE_READING;
    range->told.is_reading = true;
    range->told.rows = range->told.bytes = 0;
    reader->range = range;
    reader->pauses = range->is_paused ? PAUSE_OWNER : 0;
    if (is_guards(reader) || (reader->is_in_transaction && reader->locked_part == range->part))
        start_copy(reader);
    else
        lock_part(reader);
}

// ---- who reads what

static bool is_contended(const struct pg_copy *copy, const struct copy_range *range)
{
    return copy->parts[range->part].contended_until_us > loop_now_us(copy->loop);
}

static bool is_pending(const struct copy_range *range)
{
    return range->state == RANGE_WAITING || range->state == RANGE_WANTED || range->state == RANGE_READY;
}

// How many ranges are prepared ahead of their reading.
static uint32_t window_size(const struct pg_copy *copy)
{
    return 2 * copy->connections_max + 2;
}

static void want_ahead(struct pg_copy *copy)
{
    uint32_t seen = 0;
    for (uint32_t i = copy->first_open; i < copy->range_count && seen < window_size(copy); i++) {
        struct copy_range *range = &copy->ranges[i];
        if (!is_pending(range))
            continue;
        seen += !is_contended(copy, range);
        if (range->state != RANGE_WAITING)
            continue;
        range->state = RANGE_WANTED;
        copy->events.on_range_wanted(copy->events.context, range->told.table_index, range->told.number);
    }
}

// A worker goes on with the table whose lock it has, and leaves alone what others wait for; the guard's connection, which holds
// all locks, takes just that first.
static struct copy_range *choose(const struct copy_reader *reader)
{
    const struct pg_copy *copy = reader->copy;
    struct copy_range *first = NULL;
    uint32_t seen = 0;
    for (uint32_t i = copy->first_open; i < copy->range_count && seen < window_size(copy); i++) {
        struct copy_range *range = &copy->ranges[i];
        bool is_left_alone = is_contended(copy, range) || copy->parts[range->part].is_tree;
        seen += is_pending(range) && !is_left_alone;
        if (range->state != RANGE_READY)
            continue;
        bool is_locked = reader->is_in_transaction && reader->locked_part == range->part;
        if (is_guards(reader) ? is_left_alone : is_locked)
            return range;
        if (first == NULL && (is_guards(reader) || !is_left_alone))
            first = range;
    }
    return first;
}

static void give(struct copy_reader *reader)
{
    char release[128];
    if (is_guards(reader) && pg_copy_guard_release(reader->copy, release, sizeof release)) {
        leave(reader, release);
        return;
    }
    struct copy_range *range = reader->copy->guard == GUARD_HOLDING ? choose(reader) : NULL;
    if (range != NULL)
        begin(reader, range);
    else if (reader->is_in_transaction)
        leave(reader, "COMMIT");
}

static void on_worker_open(void *context, const struct err *error)
{
    struct copy_reader *reader = context;
    if (error != NULL) {
        worker_lost(reader, error);
        return;
    }
    reader->state = READER_IDLE;
    pg_copy_assign_soon(reader->copy);
}

static void on_worker_broken(void *context, const struct err *error)
{
    worker_lost(context, error);
}

static void open_worker(struct copy_reader *reader)
{
    struct pg_conn_events events = {.on_open = on_worker_open, .on_broken = on_worker_broken, .context = reader};
    struct err error;
    reader->state = READER_OPENING;
    if (!pg_conn_open(reader->conn, &reader->copy->target, false, NULL, NULL, PG_COPY_CONNECT_TIMEOUT_MS, &events,
                      &error))
        worker_lost(reader, &error);
}

static void on_worker_due(struct loop_timer *timer)
{
    struct copy_reader *reader = timer->context;
    pg_copy_assign_soon(reader->copy);
}

// As many workers as there is work for beside the guard's connection; those without any are closed.
static void adjust_workers(struct pg_copy *copy)
{
    uint32_t work = 0, readers = 0;
    for (uint32_t i = copy->first_open; i < copy->range_count && work < PG_COPY_CONNECTIONS_MAX; i++)
        work += is_pending(&copy->ranges[i]) || copy->ranges[i].told.is_reading;
    for (uint32_t i = 0; i < copy->connections_max; i++)
        readers += i == 0 || copy->readers[i].state != READER_CLOSED || copy->readers[i].timer.heap_index != 0;
    for (uint32_t i = 1; i < copy->connections_max && copy->state == COPY_READING; i++) {
        struct copy_reader *reader = &copy->readers[i];
        bool is_free = reader->state == READER_CLOSED && reader->timer.heap_index == 0 && !reader->is_given_up;
        if (readers < work && is_free && copy->guard == GUARD_HOLDING) {
            open_worker(reader);
            readers++;
        } else if (readers > work && reader->state == READER_IDLE && !reader->is_in_transaction) {
            reader_reset(reader);
            pg_conn_close(reader->conn);
            readers--;
        }
    }
    copy->stats.connections = copy->guard == GUARD_HOLDING;
    for (uint32_t i = 1; i < copy->connections_max; i++)
        copy->stats.connections += copy->readers[i].state > READER_OPENING;
}

static void on_assign(struct loop_deferred *deferred)
{
    struct pg_copy *copy = deferred->context;
    bool is_left_alone = false;
    if (copy->state != COPY_READING)
        return;
    while (copy->first_open < copy->range_count && (copy->ranges[copy->first_open].state == RANGE_READ ||
                                                    copy->ranges[copy->first_open].state == RANGE_ABANDONED))
        copy->first_open++;
    if (copy->first_open == copy->range_count) {
        pg_copy_end(copy, NULL);
        return;
    }
    want_ahead(copy);
    for (uint32_t i = 0; i < copy->connections_max && copy->state == COPY_READING; i++)
        if (copy->readers[i].state == READER_IDLE)
            give(&copy->readers[i]);
    if (copy->state != COPY_READING)
        return;
    adjust_workers(copy);
    for (uint32_t i = copy->first_open; i < copy->range_count && !is_left_alone; i++)
        is_left_alone = copy->ranges[i].state == RANGE_READY && is_contended(copy, &copy->ranges[i]);
    if (is_left_alone && copy->again_timer.heap_index == 0)
        loop_timer_set(copy->loop, &copy->again_timer, CONTENDED_US);
}

// ---- the owner's calls

void pg_copy_range_ready(struct pg_copy *copy, uint32_t table_index, uint16_t number)
{
    struct copy_range *range = pg_copy_find_range(copy, table_index, number);
    if (range == NULL || range->state != RANGE_WANTED)
        return;
    range->state = RANGE_READY;
    pg_copy_assign_soon(copy);
}

static void pause_range(struct pg_copy *copy, uint32_t table_index, uint16_t number, bool is_paused)
{
    struct copy_range *range = pg_copy_find_range(copy, table_index, number);
    if (range == NULL)
        return;
    range->is_paused = is_paused;
    for (uint32_t i = 0; i < copy->connections_max; i++)
        if (copy->readers[i].range == range)
            set_pause(&copy->readers[i], PAUSE_OWNER, is_paused);
}

void pg_copy_range_pause(struct pg_copy *copy, uint32_t table_index, uint16_t number)
{
    pause_range(copy, table_index, number, true);
}

void pg_copy_range_continue(struct pg_copy *copy, uint32_t table_index, uint16_t number)
{
    pause_range(copy, table_index, number, false);
}
