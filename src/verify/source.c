#include "verify/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/copy_binary.h"
#include "pg/pg_copy.h"

#define CONNECT_TIMEOUT_MS 20000
#define QUERY_TIMEOUT_MS 60000
#define LOCK_TRIES 100
#define LOCK_PAUSE_US 100000
#define RANGE_BYTES (UINT64_C(1) << 40)  // tables are not cut: the copy reads none

struct source {
    struct wait *wait;
    const struct pg_target *target;
    void (*on_waiting)(void *context, const char *why);
    void *context;
    struct pg_conn *conn;
    struct pg_copy *copy;
    struct table *const *tables;
    uint32_t table_count;
    struct err *table_errors;
    // The newest answer.
    bool is_answered;
    struct err error;
    void (*take)(struct source *source, const PGresult *result);
    struct loop_timer pause_timer;
    bool is_paused;
    // Of source_look
    struct pg_source_facts *facts;
    struct pg_publication_look *look;  // and of source_marks
    struct table ***out_tables;
    uint32_t *out_count;
    // The copy
    bool has_snapshot, is_planned, has_copy_ended;
    lsn_t lsn;
    struct err copy_error;
    // Digest
    struct source_range *ranges;
    uint32_t range_count;
    // Rows
    struct copy_binary decoder;
    const uint8_t *message;
    size_t message_size, message_at;
    bool is_readable, is_reading;
    struct value values[ROW_COLUMNS_MAX];
};

static void on_pause_over(struct loop_timer *timer)
{
    struct source *source = timer->context;
    source->is_paused = false;
}

struct source *source_new(struct wait *wait, struct resolver *resolver, const struct pg_target *target,
                          void (*on_waiting)(void *context, const char *why), void *context)
{
    struct source *source = calloc(1, sizeof *source);
    CHECK(source != NULL);
    source->wait = wait;
    source->target = target;
    source->on_waiting = on_waiting;
    source->context = context;
    source->conn = pg_conn_new(wait->loop, resolver);
    source->copy = pg_copy_new(wait->loop, resolver);
    source->pause_timer = (struct loop_timer){.on_due = on_pause_over, .context = source};
    return source;
}

void source_free(struct source *source)
{
    if (source == NULL)
        return;
    loop_timer_stop(source->wait->loop, &source->pause_timer);
    pg_conn_free(source->conn);
    pg_copy_free(source->copy);
    free(source->table_errors);
    free(source->ranges);
    free(source);
}

// ---- its connection

static void on_result(void *context, const PGresult *result, const struct err *error)
{
    struct source *source = context;
    source->is_answered = true;
    if (error != NULL)
        source->error = *error;
    else if (source->take != NULL)
        source->take(source, result);
}

static void on_open(void *context, const struct err *error)
{
    on_result(context, NULL, error);
}

static void on_broken(void *context, const struct err *error)
{
    struct source *source = context;
    source->wait->stopped = *error;
    err_prefix(&source->wait->stopped, "reading the source");
}

static void send(struct source *source, const char *sql, int count, const char *const *parameters, uint32_t timeout_ms,
                 void (*take)(struct source *source, const PGresult *result))
{
    source->is_answered = false;
    source->take = take;
    err_clear(&source->error);
    if (pg_conn_state(source->conn) != PG_CONN_IDLE) {
        err_set(&source->error, ERR_TRANSIENT, "connection", "the connection to the source was lost");
        source->is_answered = true;
    } else if (!pg_conn_query(source->conn, sql, count, parameters, timeout_ms, on_result, source, &source->error)) {
        source->is_answered = true;
    }
}

static bool await(struct source *source, struct err *out_error)
{
    if (!wait_until(source->wait, &source->is_answered, out_error))
        return false;
    if (err_is_set(&source->error))
        *out_error = source->error;
    return !err_is_set(&source->error);
}

static bool ask(struct source *source, const char *sql, struct err *out_error)
{
    send(source, sql, 0, NULL, QUERY_TIMEOUT_MS, NULL);
    return await(source, out_error);
}

static bool open_conn(struct source *source, struct err *out_error)
{
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = source};
    source->is_answered = false;
    source->take = NULL;
    err_clear(&source->error);
    return pg_conn_open(source->conn, source->target, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events, out_error) &&
           await(source, out_error);
}

bool source_is_alive(const struct source *source)
{
    return pg_conn_state(source->conn) == PG_CONN_IDLE && !source->has_copy_ended;
}

// ---- what there is

static void take_facts(struct source *source, const PGresult *result)
{
    (void)pg_catalog_read_facts(result, source->facts, &source->error);
}

static void take_tables(struct source *source, const PGresult *result)
{
    (void)pg_catalog_read_tables_as_they_are(result, source->out_tables, source->out_count, &source->error);
}

bool source_look(struct source *source, const char *publication, struct pg_source_facts *out_facts,
                 struct table ***out_tables, uint32_t *out_count, struct err *out_error)
{
    const char *parameters[] = {publication, ""};
    source->facts = out_facts;
    source->out_tables = out_tables;
    source->out_count = out_count;
    if (!open_conn(source, out_error))
        return false;
    send(source, pg_catalog_facts_sql(), 2, parameters, QUERY_TIMEOUT_MS, take_facts);
    if (!await(source, out_error))
        return false;
    if (!out_facts->publication_exists)
        return err_set(out_error, ERR_CONFIG, "publication_missing", "publication \"%s\" does not exist at the source",
                       publication);
    send(source, pg_catalog_tables_sql(), 1, parameters, QUERY_TIMEOUT_MS, take_tables);
    return await(source, out_error);
}

// ---- the snapshot

static void on_snapshot(void *context, lsn_t lsn)
{
    struct source *source = context;
    source->lsn = lsn;
    source->has_snapshot = true;
}

static void on_planned(void *context)
{
    struct source *source = context;
    source->is_planned = true;
}

static void on_table_failed(void *context, uint32_t table_index, const struct err *error)
{
    struct source *source = context;
    source->table_errors[table_index] = *error;
}

static void on_waiting(void *context, const char *why)
{
    const struct source *source = context;
    source->on_waiting(source->context, why);
}

static void on_copy_ended(void *context, const struct err *error)
{
    struct source *source = context;
    source->has_copy_ended = source->has_snapshot = source->is_planned = true;
    if (error == NULL)
        return;  // no table could be read: each has said why
    source->copy_error = *error;
    source->wait->stopped = *error;
    err_prefix(&source->wait->stopped, "the source's snapshot is gone, give the command again");
}

static void ignore_range(void *context, uint32_t table_index, uint16_t range)
{
    (void)context;
    (void)table_index;
    (void)range;
}

static void ignore_row(void *context, uint32_t table_index, uint16_t range, uint64_t row_number,
                       const struct row_view *row)
{
    (void)row;
    (void)row_number;
    ignore_range(context, table_index, range);
}

static void ignore_range_done(void *context, uint32_t table_index, uint16_t range, uint64_t row_count)
{
    (void)row_count;
    ignore_range(context, table_index, range);
}

static void ignore_turn(void *context)
{
    (void)context;
}

bool source_snapshot(struct source *source, const char *publication, struct table *const *tables, uint32_t count,
                     lsn_t *out_lsn, struct err *out_error)
{
    const struct pg_copy_events events = {.on_snapshot = on_snapshot,
                                          .on_planned = on_planned,
                                          .on_range_wanted = ignore_range,
                                          .on_row = ignore_row,
                                          .on_turn_end = ignore_turn,
                                          .on_range_done = ignore_range_done,
                                          .on_table_failed = on_table_failed,
                                          .on_waiting = on_waiting,
                                          .on_ended = on_copy_ended,
                                          .context = source};
    const struct pg_copy_options options = {.publication = publication,
                                            .tables = tables,
                                            .table_count = count,
                                            .connections_max = 1,
                                            .range_bytes = RANGE_BYTES};
    source->tables = tables;
    source->table_count = count;
    source->table_errors = calloc((size_t)count + 1, sizeof *source->table_errors);
    CHECK(source->table_errors != NULL);
    if (!pg_copy_start(source->copy, source->target, &options, &events, out_error) ||
        !wait_until(source->wait, &source->has_snapshot, out_error))
        return false;
    *out_lsn = source->lsn;
    return true;
}

bool source_enter(struct source *source, struct err *out_error)
{
    pg_copy_continue(source->copy);
    if (!wait_until(source->wait, &source->is_planned, out_error))
        return false;
    if (source->has_copy_ended)
        return true;
    struct buf sql;
    buf_init(&sql, 4096);
    pg_copy_append_enter(source->copy, &sql);
    bool is_in = ask(source, buf_text(&sql), out_error);
    buf_deinit(&sql);
    return is_in;
}

static void take_marks(struct source *source, const PGresult *result)
{
    (void)pg_catalog_read_look(result, source->look, &source->error);
}

bool source_marks(struct source *source, const char *publication, struct pg_publication_look *out_look,
                  struct err *out_error)
{
    const char *parameters[] = {publication};
    source->look = out_look;
    send(source, pg_catalog_look_sql(), 1, parameters, QUERY_TIMEOUT_MS, take_marks);
    return await(source, out_error);
}

const struct err *source_table_error(const struct source *source, uint32_t index)
{
    return err_is_set(&source->table_errors[index]) ? &source->table_errors[index] : NULL;
}

void source_from(const struct source *source, uint32_t index, struct buf *out, const char **out_filter)
{
    pg_copy_append_from(source->copy, index, out, out_filter);
}

static bool pause(struct source *source, struct err *out_error)
{
    bool is_over = false;
    source->is_paused = true;
    loop_timer_set(source->wait->loop, &source->pause_timer, LOCK_PAUSE_US);
    while (source->is_paused && !err_is_set(&source->wait->stopped))
        loop_turn(source->wait->loop, -1);
    is_over = true;
    return wait_until(source->wait, &is_over, out_error);
}

// Never waited for: whoever waits for the guard's lock would wait behind us, and we behind him.
bool source_lock(struct source *source, uint32_t index, struct err *out_error)
{
    struct buf sql;
    bool is_locked = false;
    buf_init(&sql, 4096);
    buf_append_text(&sql, "SAVEPOINT etl_lock; LOCK TABLE ");
    pg_append_identifier(&sql, source->tables[index]->schema_name);
    buf_append_byte(&sql, '.');
    pg_append_identifier(&sql, source->tables[index]->table_name);
    buf_append_text(&sql, " IN ACCESS SHARE MODE NOWAIT; RELEASE SAVEPOINT etl_lock");
    for (unsigned i = 0; i < LOCK_TRIES && !is_locked; i++) {
        struct err ignored;
        is_locked = ask(source, buf_text(&sql), out_error);
        if (is_locked || strcmp(out_error->code, "55P03") != 0 ||
            !ask(source, "ROLLBACK TO SAVEPOINT etl_lock", &ignored))
            break;
        struct err refused = *out_error;
        if (!pause(source, out_error))
            break;
        *out_error = refused;
    }
    buf_deinit(&sql);
    return is_locked;
}

// ---- digests

static void take_ranges(struct source *source, const PGresult *result)
{
    source->range_count = (uint32_t)PQntuples(result);
    source->ranges = calloc((size_t)source->range_count + 1, sizeof *source->ranges);
    CHECK(source->ranges != NULL);
    for (uint32_t i = 0; i < source->range_count; i++) {
        struct source_range *range = &source->ranges[i];
        (void)snprintf(range->name, sizeof range->name, "%s", PQgetvalue(result, (int)i, 0));
        range->rows = strtoull(PQgetvalue(result, (int)i, 1), NULL, 10);
        (void)snprintf(range->upper, sizeof range->upper, "%s", PQgetvalue(result, (int)i, 2));
        (void)snprintf(range->lower, sizeof range->lower, "%s", PQgetvalue(result, (int)i, 3));
    }
}

void source_digest_begin(struct source *source, const char *sql)
{
    struct err ignored;
    CHECK(source->ranges == NULL);
    if (ask(source, "SAVEPOINT etl_read", &ignored))
        send(source, sql, 0, NULL, 0, take_ranges);
}

static bool leave(struct source *source, bool is_good, struct err *out_error)
{
    struct err problem = {0};
    bool has_left = ask(
        source, is_good ? "RELEASE SAVEPOINT etl_read" : "ROLLBACK TO SAVEPOINT etl_read; RELEASE SAVEPOINT etl_read",
        &problem);
    if (!has_left && is_good)
        *out_error = problem;
    return has_left && is_good;
}

bool source_digest_end(struct source *source, struct source_range **out_ranges, uint32_t *out_count,
                       struct err *out_error)
{
    bool is_good = await(source, out_error);
    is_good = leave(source, is_good, out_error);
    *out_ranges = source->ranges;
    *out_count = source->range_count;
    source->ranges = NULL;
    if (!is_good) {
        free(*out_ranges);
        *out_ranges = NULL;
        *out_count = 0;
    }
    return is_good;
}

// ---- rows

static void on_readable(void *context)
{
    struct source *source = context;
    source->is_readable = true;
}

bool source_rows_begin(struct source *source, const char *sql, const char *encoding, uint16_t column_count,
                       struct err *out_error)
{
    struct buf set;
    buf_init(&set, 256);
    buf_append_text(&set, "SAVEPOINT etl_read");
    if (*encoding != '\0') {
        buf_append_text(&set, "; SET LOCAL client_encoding TO ");
        pg_append_literal(&set, encoding);
    }
    // The statement is UTF-8, as our names are: the setting must not come before it in the same text.
    struct buf text;
    buf_init(&text, (size_t)64 << 20);
    buf_append_text(&text, buf_text(&set));
    buf_append_text(&text, "; ");
    buf_append_text(&text, sql);
    CHECK(!text.failed && column_count <= ROW_COLUMNS_MAX);
    copy_binary_init(&source->decoder, column_count);
    source->message_size = source->message_at = 0;
    send(source, buf_text(&text), 0, NULL, 0, NULL);
    buf_deinit(&set);
    buf_deinit(&text);
    if (!await(source, out_error)) {
        if (pg_conn_state(source->conn) == PG_CONN_IDLE)
            (void)leave(source, false, out_error);
        return false;
    }
    source->is_readable = true;
    source->is_reading = true;
    pg_conn_copy_start(source->conn, on_readable, source);
    return true;
}

static bool rows_end(struct source *source, bool is_good, struct err *out_error)
{
    source->is_reading = false;
    if (pg_conn_state(source->conn) != PG_CONN_IDLE)
        return is_good;
    // client_encoding goes back with the savepoint.
    struct err problem = {0};
    bool has_left = ask(source, "ROLLBACK TO SAVEPOINT etl_read; RELEASE SAVEPOINT etl_read", &problem);
    if (is_good && !has_left)
        *out_error = problem;
    return is_good && has_left;
}

bool source_rows_are_open(const struct source *source)
{
    return source->is_reading && !err_is_set(&source->wait->stopped);
}

bool source_rows_next(struct source *source, const struct value **out_values, bool *out_end, struct err *out_error)
{
    *out_end = false;
    *out_values = source->values;
    for (;;) {
        if (source->message_at < source->message_size) {
            switch (copy_binary_next(&source->decoder, source->message, source->message_size, &source->message_at,
                                     source->values, out_error)) {
            case COPY_BINARY_ROW: return true;
            case COPY_BINARY_MORE: source->message_at = source->message_size; break;
            case COPY_BINARY_ERROR: return rows_end(source, false, out_error);
            }
        }
        switch (pg_conn_copy_next(source->conn, &source->message, &source->message_size, out_error)) {
        case PG_COPY_MESSAGE: source->message_at = 0; break;
        case PG_COPY_MORE:
            source->message_size = source->message_at = 0;
            source->is_readable = false;
            if (!wait_until(source->wait, &source->is_readable, out_error))
                return false;
            break;
        case PG_COPY_END: *out_end = true; return rows_end(source, true, out_error);
        case PG_COPY_ERROR: return rows_end(source, false, out_error);
        }
    }
}
