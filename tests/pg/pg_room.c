// Drives the PostgreSQL room alone, for tests/integration/test_pg_room.py: one command, events as lines on standard
// output, orders as lines on standard input.
//
//   pg_room URL query SQL             the first value of the result
//   pg_room URL facts                 name=value
//   pg_room URL tables                a line per table and column
//   pg_room URL stream [option…]      --binary, --encoding E, --quiet, --follow (confirm what keepalives tell), --held (paused)
//   pg_room URL copy [option…]        --encoding E, --text COLUMN, --temporary, --hold (wait for an order), --quiet,
//                                     --connections N, --range-kb N, --rate-kb N (a second)
//
// Orders: go, pause, continue, continue TABLE RANGE (numbers, from 0), stats, confirm X/X, flush, restart, stop.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "io/loop.h"
#include "io/resolver.h"
#include "pg/pg_catalog.h"
#include "pg/pg_conn.h"
#include "pg/pg_copy.h"
#include "pg/pg_stream.h"
#include "pg/pg_url.h"

struct room {
    struct loop *loop;
    struct resolver *resolver;
    struct loop_watch orders;
    struct loop_deferred restart;
    char line[256];
    size_t line_size;
    struct pg_target target;
    char *publication;
    char *slot;
    const char *command;
    const char *sql;
    const char *encoding;
    const char *text_column;
    bool is_binary, is_quiet, follows, starts_held, holds, is_temporary, is_copy_paused;
    uint32_t connections;
    uint64_t range_kb, rate_kb;
    struct rate_limit rate_limit;

    struct pg_conn *conn;
    struct pg_stream *stream;
    struct pg_copy *copy;
    struct table **tables;
    uint32_t table_count;
    bool **column_as_text;
    uint64_t changes;  // rows, in a stream's data messages
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
    (void)fflush(stdout);
}

static void say_error(const char *event, const struct err *error)
{
    if (error == NULL)
        say("%s", event);
    else
        say("%s %s %s %s", event, err_kind_name(error->kind), error->code[0] != '\0' ? error->code : "-", error->text);
}

static void say_value(const struct value *value, struct buf *out)
{
    if (value->state == VALUE_NULL) {
        buf_append_text(out, "null");
    } else if (value->state == VALUE_TEXT) {
        buf_append_text(out, "text:");
        buf_append(out, value->data, value->size);
    } else {
        buf_append_text(out, "binary:");
        for (uint32_t i = 0; i < value->size; i++)
            buf_appendf(out, "%02x", value->data[i]);
    }
}

// ---- stream

static void on_started(void *context)
{
    struct room *room = context;
    say("started %s", pg_stream_stats(room->stream)->is_binary ? "binary" : "text");
}

static bool on_message(void *context, const uint8_t *data, size_t size, lsn_t wal_start)
{
    struct room *room = context;
    room->changes += size > 0 && strchr("IUD", data[0]) != NULL;
    if (!room->is_quiet)
        say("message %c %zu " LSN_FORMAT, size > 0 ? data[0] : '?', size, LSN_ARGUMENTS(wal_start));
    return true;
}

static void on_keepalive(void *context, lsn_t lsn)
{
    struct room *room = context;
    if (!room->is_quiet)
        say("keepalive " LSN_FORMAT, LSN_ARGUMENTS(lsn));
    if (room->follows)
        pg_stream_confirm(room->stream, lsn);
}

static void on_turn_end(void *context)
{
    struct room *room = context;
    if (room->follows && room->stream != NULL)
        pg_stream_confirm(room->stream, pg_stream_stats(room->stream)->received_lsn);
}

static void on_warning(void *context, const char *sqlstate, const char *text)
{
    (void)context;
    say("warning %s %s", sqlstate, text);
}

static void on_ended(void *context, const struct err *error)
{
    (void)context;
    say_error("ended", error);
}

static void start_stream(struct room *room)
{
    struct pg_stream_options options = {.slot = room->slot,
                                        .publication = room->publication,
                                        .is_binary = room->is_binary,
                                        .client_encoding = room->encoding};
    struct pg_stream_events events = {.on_started = on_started,
                                      .on_message = on_message,
                                      .on_keepalive = on_keepalive,
                                      .on_turn_end = on_turn_end,
                                      .on_ended = on_ended,
                                      .on_warning = on_warning,
                                      .context = room};
    struct err error;
    if (!pg_stream_start(room->stream, &room->target, &options, &events, &error))
        say_error("ended", &error);
    else if (room->starts_held)
        pg_stream_pause(room->stream);
}

// ---- copy

static void on_snapshot(void *context, lsn_t lsn)
{
    struct room *room = context;
    say("snapshot " LSN_FORMAT, LSN_ARGUMENTS(lsn));
    if (!room->holds)
        pg_copy_continue(room->copy);
}

static void pause_all(struct room *room, bool is_paused)
{
    room->is_copy_paused = is_paused;
    for (uint32_t i = 0; room->command != NULL && strcmp(room->command, "copy") == 0 && i < room->table_count; i++)
        for (uint32_t k = 0; k < pg_copy_range_count(room->copy, i); k++)
            (is_paused ? pg_copy_range_pause : pg_copy_range_continue)(room->copy, i, (uint16_t)k);
}

static void on_planned(void *context)
{
    struct room *room = context;
    for (uint32_t i = 0; i < room->table_count; i++)
        say("planned %s %u", room->tables[i]->table_name, pg_copy_range_count(room->copy, i));
    if (room->is_copy_paused)
        pause_all(room, true);
}

static void on_range_wanted(void *context, uint32_t table_index, uint16_t range)
{
    struct room *room = context;
    pg_copy_range_ready(room->copy, table_index, range);
}

// Rows that were told before, when their range is read again, are told once only; they must be the same in number.
static void on_row(void *context, uint32_t table_index, uint16_t range, uint64_t row_number, const struct row_view *row)
{
    struct room *room = context;
    (void)range;
    (void)row_number;
    if (room->is_quiet)
        return;
    struct buf line;
    buf_init(&line, 1 << 20);
    for (uint16_t i = 0; i < row->count; i++) {
        buf_append_text(&line, i > 0 ? "|" : "");
        say_value(&row->values[i], &line);
    }
    printf("row %s ", room->tables[table_index]->table_name);
    (void)fwrite(line.data, 1, line.size, stdout);
    say("%s", "");
    buf_deinit(&line);
}

static void on_range_done(void *context, uint32_t table_index, uint16_t range, uint64_t row_count)
{
    struct room *room = context;
    uint64_t rows = 0;
    const char *name = room->tables[table_index]->table_name;
    uint32_t count = pg_copy_range_count(room->copy, table_index);
    if (count > 1)
        say("range %s %u %llu", name, range, (unsigned long long)row_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct pg_copy_range *one = pg_copy_range(room->copy, table_index, (uint16_t)i);
        if (!one->is_read)
            return;
        rows += one->rows;
    }
    say("done %s %llu", name, (unsigned long long)rows);
}

static void on_table_failed(void *context, uint32_t table_index, const struct err *error)
{
    struct room *room = context;
    (void)table_index;
    (void)room;
    say_error("failed", error);
}

static void on_waiting(void *context, const char *why)
{
    (void)context;
    say("waiting %s", why);
}

static void on_copy_ended(void *context, const struct err *error)
{
    struct room *room = context;
    say_error("ended", error);
    loop_stop(room->loop);
}

static void start_copy(struct room *room)
{
    room->column_as_text = calloc(room->table_count + 1, sizeof(bool *));
    CHECK(room->column_as_text != NULL);
    for (uint32_t i = 0; i < room->table_count; i++) {
        const struct table *table = room->tables[i];
        room->column_as_text[i] = calloc((size_t)table->column_count + 1, sizeof(bool));
        CHECK(room->column_as_text[i] != NULL);
        for (uint16_t j = 0; j < table->column_count; j++)
            room->column_as_text[i][j] =
                !table->columns[j].type->has_binary_send ||
                (room->text_column != NULL && strcmp(table->columns[j].name, room->text_column) == 0);
    }
    struct pg_copy_options options = {.slot = room->is_temporary ? NULL : room->slot,
                                      .client_encoding = room->encoding,
                                      .publication = room->publication,
                                      .tables = room->tables,
                                      .table_count = room->table_count,
                                      .column_as_text = (const bool *const *)room->column_as_text,
                                      .connections_max = room->connections > 0 ? room->connections : 1,
                                      .range_bytes = room->range_kb > 0 ? room->range_kb << 10 : 1ULL << 40,
                                      .rate_limit = room->rate_kb > 0 ? &room->rate_limit : NULL};
    rate_limit_init(&room->rate_limit, room->rate_kb << 10, loop_now_us(room->loop));
    struct pg_copy_events events = {.on_snapshot = on_snapshot,
                                    .on_planned = on_planned,
                                    .on_range_wanted = on_range_wanted,
                                    .on_row = on_row,
                                    .on_range_done = on_range_done,
                                    .on_table_failed = on_table_failed,
                                    .on_waiting = on_waiting,
                                    .on_ended = on_copy_ended,
                                    .context = room};
    struct err error;
    if (!pg_copy_start(room->copy, &room->target, &options, &events, &error))
        on_copy_ended(room, &error);
}

// ---- queries

static void say_facts(const PGresult *result)
{
    struct pg_source_facts facts;
    struct err error;
    if (!pg_catalog_read_facts(result, &facts, &error)) {
        say_error("ended", &error);
        return;
    }
    say("database=%s user=%s encoding=%s wal_level=%s system_identifier=%s timeline=%u version=%d", facts.database,
        facts.user, facts.encoding, facts.wal_level, facts.system_identifier, facts.timeline, facts.server_version);
    say("slots=%d/%d senders=%d/%d timeout=%d keep=%lld may_replicate=%d recovery=%d prepared=%d",
        facts.replication_slots_used, facts.max_replication_slots, facts.wal_senders_used, facts.max_wal_senders,
        facts.wal_sender_timeout_ms, (long long)facts.max_slot_wal_keep_size_mb, facts.may_replicate, facts.in_recovery,
        facts.prepared_transactions);
    say("publication=%d inserts=%d updates=%d deletes=%d truncates=%d via_root=%d", facts.publication_exists,
        facts.publication_inserts, facts.publication_updates, facts.publication_deletes, facts.publication_truncates,
        facts.publication_via_root);
    say("slot=%d active=%d here=%d plugin=%s status=%s confirmed=" LSN_FORMAT " current=" LSN_FORMAT, facts.slot_exists,
        facts.slot_is_active, facts.slot_is_logical_here, facts.slot_plugin, facts.slot_wal_status,
        LSN_ARGUMENTS(facts.slot_confirmed_lsn), LSN_ARGUMENTS(facts.current_lsn));
}

static void say_tables(const struct room *room)
{
    static const char *const identities[] = {"key", "full", "nothing"};
    for (uint32_t i = 0; i < room->table_count; i++) {
        const struct table *table = room->tables[i];
        say("table %s.%s identity=%s keys=%u file=%d bytes=%d", table->schema_name, table->table_name,
            identities[table->identity], table->key_count, table->relfilenode != 0, table->bytes_estimate > 0);
        for (uint16_t j = 0; j < table->column_count; j++) {
            const struct column *column = &table->columns[j];
            const struct source_type *type = column->type;
            const struct source_type *element = type->kind == SOURCE_ARRAY ? type->parts[0].type : NULL;
            say("column %s.%s type=%s oid=%u/%d base=%u/%d element=%u/%d enum=%d%d toast=%d notnull=%d send=%d at=%d "
                "key=%d",
                table->table_name, column->name, column->type_name, column->type_oid, column->type_modifier, type->oid,
                type->modifier, element != NULL ? element->oid : 0, element != NULL ? element->modifier : -1,
                type->kind == SOURCE_ENUM, element != NULL && element->kind == SOURCE_ENUM, column->is_toastable,
                column->is_not_null, type->has_binary_send, column->attribute_number, column->key_position);
        }
    }
}

static void on_answer(void *context, const PGresult *result, const struct err *error)
{
    struct room *room = context;
    struct err failed;
    if (error != NULL) {
        say_error("ended", error);
        loop_stop(room->loop);
        return;
    }
    if (strcmp(room->command, "query") == 0) {
        say("value %s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    } else if (strcmp(room->command, "facts") == 0) {
        say_facts(result);
    } else if (!pg_catalog_read_tables(result, NULL, &room->tables, &room->table_count, &failed)) {
        say_error("ended", &failed);
        loop_stop(room->loop);
        return;
    }
    if (strcmp(room->command, "copy") == 0) {
        start_copy(room);
        return;
    }
    if (strcmp(room->command, "tables") == 0)
        say_tables(room);
    if (!room->holds)
        loop_stop(room->loop);
}

static void on_open(void *context, const struct err *error)
{
    struct room *room = context;
    if (error != NULL) {
        say_error("ended", error);
        loop_stop(room->loop);
        return;
    }
    const char *parameters[] = {room->publication, room->slot};
    bool is_query = strcmp(room->command, "query") == 0;
    bool is_facts = strcmp(room->command, "facts") == 0;
    const char *sql = is_query ? room->sql : is_facts ? pg_catalog_facts_sql() : pg_catalog_tables_sql();
    struct err failed;
    if (!pg_conn_query(room->conn, sql, is_query ? 0 : is_facts ? 2 : 1, parameters, 20000, on_answer, room, &failed)) {
        say_error("ended", &failed);
        loop_stop(room->loop);
    }
}

static void on_broken(void *context, const struct err *error)
{
    struct room *room = context;
    say_error("broken", error);
    loop_stop(room->loop);
}

static void on_notice(void *context, const char *severity, const char *sqlstate, const char *text)
{
    (void)context;
    say("notice %s %s %s", severity, sqlstate, text);
}

static void start(struct room *room)
{
    if (strcmp(room->command, "stream") == 0) {
        start_stream(room);
        return;
    }
    struct pg_conn_events events = {
        .on_open = on_open, .on_broken = on_broken, .on_notice = on_notice, .context = room};
    struct err error;
    if (!pg_conn_open(room->conn, &room->target, false, NULL, NULL, 30000, &events, &error)) {
        say_error("ended", &error);
        loop_stop(room->loop);
    }
}

// ---- orders

static void say_stats(const struct room *room)
{
    const struct pg_stream_stats *stream = pg_stream_stats(room->stream);
    const struct pg_copy_stats *copy = pg_copy_stats(room->copy);
    say("stats messages=%llu changes=%llu turns=%llu lazy=%llu largest=%llu rows=%llu "
        "bytes=%llu connections=%u again=%u",
        (unsigned long long)stream->messages, (unsigned long long)room->changes, (unsigned long long)stream->turns,
        (unsigned long long)stream->lazy_waits, (unsigned long long)stream->largest_message,
        (unsigned long long)copy->rows, (unsigned long long)copy->bytes, copy->connections, copy->ranges_again);
}

static void on_restart(struct loop_deferred *deferred)
{
    struct room *room = deferred->context;
    pg_stream_stop(room->stream);
    start_stream(room);
}

static void obey(struct room *room, const char *order)
{
    lsn_t lsn;
    unsigned table_index, range;
    if (strcmp(order, "go") == 0) {
        pg_copy_continue(room->copy);
    } else if (strcmp(order, "pause") == 0) {
        pg_stream_pause(room->stream);
        pause_all(room, true);
    } else if (strcmp(order, "continue") == 0) {
        pg_stream_continue(room->stream);
        pause_all(room, false);
    } else if (sscanf(order, "continue %u %u", &table_index, &range) == 2) {
        pg_copy_range_continue(room->copy, table_index, (uint16_t)range);
    } else if (strcmp(order, "stats") == 0) {
        say_stats(room);
    } else if (strncmp(order, "confirm ", 8) == 0 && lsn_parse(order + 8, &lsn)) {
        pg_stream_confirm(room->stream, lsn);
    } else if (strcmp(order, "flush") == 0) {
        pg_stream_flush_status(room->stream);
    } else if (strcmp(order, "restart") == 0) {
        loop_defer(room->loop, &room->restart);
    } else if (strcmp(order, "stop") == 0) {
        loop_stop(room->loop);
    }
}

static void on_orders(struct loop_watch *watch, unsigned events)
{
    struct room *room = watch->context;
    (void)events;
    ssize_t count = read(STDIN_FILENO, room->line + room->line_size, sizeof room->line - 1 - room->line_size);
    if (count <= 0) {
        loop_stop(room->loop);
        return;
    }
    room->line_size += (size_t)count;
    char *end;
    while ((end = memchr(room->line, '\n', room->line_size)) != NULL) {
        *end = '\0';
        obey(room, room->line);
        size_t used = (size_t)(end + 1 - room->line);
        memmove(room->line, room->line + used, room->line_size - used);
        room->line_size -= used;
    }
}

static bool read_arguments(struct room *room, int count, char **arguments)
{
    if (count < 3)
        return false;
    room->command = arguments[2];
    int i = 3;
    if (strcmp(room->command, "query") == 0 && count > 3)
        room->sql = arguments[i++];
    for (; i < count; i++) {
        const char *option = arguments[i];
        if (strcmp(option, "--binary") == 0)
            room->is_binary = true;
        else if (strcmp(option, "--quiet") == 0)
            room->is_quiet = true;
        else if (strcmp(option, "--follow") == 0)
            room->follows = true;
        else if (strcmp(option, "--held") == 0)
            room->starts_held = true;
        else if (strcmp(option, "--hold") == 0)
            room->holds = true;
        else if (strcmp(option, "--temporary") == 0)
            room->is_temporary = true;
        else if (strcmp(option, "--encoding") == 0 && i + 1 < count)
            room->encoding = arguments[++i];
        else if (strcmp(option, "--text") == 0 && i + 1 < count)
            room->text_column = arguments[++i];
        else if (strcmp(option, "--connections") == 0 && i + 1 < count)
            room->connections = (uint32_t)strtoul(arguments[++i], NULL, 10);
        else if (strcmp(option, "--range-kb") == 0 && i + 1 < count)
            room->range_kb = strtoull(arguments[++i], NULL, 10);
        else if (strcmp(option, "--rate-kb") == 0 && i + 1 < count)
            room->rate_kb = strtoull(arguments[++i], NULL, 10);
        else
            return false;
    }
    return true;
}

int main(int count, char **arguments)
{
    static struct room room;
    struct err error;
    if (!read_arguments(&room, count, arguments)) {
        (void)fputs("usage: pg_room URL query|facts|tables|stream|copy [option…]\n", stderr);
        return 2;
    }
    if (!pg_url_parse(arguments[1], &room.target, &room.publication, &room.slot, &error)) {
        say_error("ended", &error);
        return 1;
    }
    room.loop = loop_new(&clock_system, &error);
    CHECK(room.loop != NULL);
    room.resolver = resolver_new(room.loop, &error);
    CHECK(room.resolver != NULL);
    room.conn = pg_conn_new(room.loop, room.resolver);
    room.stream = pg_stream_new(room.loop, room.resolver);
    room.copy = pg_copy_new(room.loop, room.resolver);
    room.restart = (struct loop_deferred){.call = on_restart, .context = &room};
    room.orders = (struct loop_watch){.on_ready = on_orders, .context = &room, .fd = -1};
    CHECK(loop_watch_set(room.loop, &room.orders, STDIN_FILENO, LOOP_READ, &error));
    start(&room);
    loop_run(room.loop);

    loop_watch_stop(room.loop, &room.orders);
    loop_defer_stop(room.loop, &room.restart);
    pg_stream_free(room.stream);
    pg_copy_free(room.copy);
    pg_conn_free(room.conn);
    resolver_free(room.resolver);
    loop_free(room.loop);
    for (uint32_t i = 0; i < room.table_count; i++) {
        if (room.column_as_text != NULL)
            free(room.column_as_text[i]);
        table_free(room.tables[i]);
    }
    free(room.column_as_text);
    free(room.tables);
    pg_target_deinit(&room.target);
    free(room.publication);
    free(room.slot);
    return 0;
}
