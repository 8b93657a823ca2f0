#include "pg/pg_stream.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/trap.h"
#include "embedded_sql.h"
#include "pg/pg_catalog.h"
#include "pg/pg_error.h"

#define CONNECT_TIMEOUT_MS 20000
#define QUERY_TIMEOUT_MS 60000
#define TURN_BYTES_MAX (256 * 1024)
#define TURN_MESSAGES_MAX 1000
// So much within LAZY_WAIT_US means that the server sends without pause.
#define LAZY_BYTES_MIN UINT64_C(8192)
#define LAZY_MESSAGES_MIN UINT64_C(16)
#define LAZY_WAIT_US UINT64_C(1000)
// The server pauses while it reads WAL or a spilled transaction: that alone does not end a backlog.
#define BACKLOG_LASTS_US 10000
#define STATUS_INTERVAL_US_MAX 10000000
#define STATUS_INTERVAL_US_MIN 50000
#define CONFIRM_INTERVAL_US 100000
#define STATUS_SIZE 34
#define WARNINGS_MAX 4
#define EPOCH_OFFSET_US (INT64_C(946684800) * 1000000)  // 2000-01-01, where PostgreSQL's time begins

enum stream_state {
    STREAM_STOPPED,   // ended by pg_stream_start
    STREAM_OPENING,   // ended by the connection
    STREAM_CHECKING,  // ended by the answer about the slot
    STREAM_STARTING,  // ended by the answer to START_REPLICATION
    STREAM_RUNNING    // ended by an error or pg_stream_stop
};

struct warning {
    char sqlstate[6];
    char text[256];
};

struct pg_stream {
    struct loop *loop;
    struct pg_conn *conn;
    enum stream_state state;
    struct pg_stream_events events;
    struct pg_stream_stats stats;
    char *slot;
    bool makes_temporary_slot;
    char *publication;  // UTF-8
    char description[320];
    lsn_t start_lsn;
    bool is_text_only;  // an error made us doubt binary

    lsn_t confirmed_lsn;  // what the owner said
    lsn_t sent_lsn;       // what the server was told
    uint64_t status_interval_us;
    uint64_t last_status_us;
    struct loop_timer status_timer;

    // Reasons not to read; reading goes on when both are clear.
    bool is_paused;   // the owner's
    bool is_waiting;  // lazily, until lazy_timer
    struct loop_timer lazy_timer;
    uint64_t backlog_until_us;
    uint64_t window_start_us;  // the rate is measured since
    uint64_t window_messages;
    uint64_t window_bytes;

    // Warnings arrive inside libpq's calls, where nothing may be closed; they are told right after.
    struct warning warnings[WARNINGS_MAX];
    uint32_t warning_count;
};

static void on_status_due(struct loop_timer *timer);
static void on_lazy_due(struct loop_timer *timer);

struct pg_stream *pg_stream_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_stream *stream = calloc(1, sizeof *stream);
    CHECK(stream != NULL);
    stream->loop = loop;
    stream->conn = pg_conn_new(loop, resolver);
    stream->status_timer = (struct loop_timer){.on_due = on_status_due, .context = stream};
    stream->lazy_timer = (struct loop_timer){.on_due = on_lazy_due, .context = stream};
    return stream;
}

void pg_stream_stop(struct pg_stream *stream)
{
    loop_timer_stop(stream->loop, &stream->status_timer);
    loop_timer_stop(stream->loop, &stream->lazy_timer);
    pg_conn_close(stream->conn);
    stream->state = STREAM_STOPPED;
    stream->warning_count = 0;
    free(stream->slot);
    free(stream->publication);
    stream->slot = NULL;
    stream->publication = NULL;
}

void pg_stream_free(struct pg_stream *stream)
{
    if (stream == NULL)
        return;
    pg_stream_stop(stream);
    pg_conn_free(stream->conn);
    free(stream);
}

const struct pg_stream_stats *pg_stream_stats(const struct pg_stream *stream)
{
    return &stream->stats;
}

static void end_stream(struct pg_stream *stream, const struct err *error)
{
    struct err told = *error;
    pg_stream_stop(stream);
    stream->events.on_ended(stream->events.context, &told);
}

// True when the stream goes on.
static bool tell_warnings(struct pg_stream *stream)
{
    while (stream->warning_count > 0) {
        struct warning first = stream->warnings[0];
        stream->warning_count--;
        memmove(stream->warnings, stream->warnings + 1, stream->warning_count * sizeof first);
        enum stream_state state = stream->state;
        stream->events.on_warning(stream->events.context, first.sqlstate, first.text);
        if (stream->state != state)
            return false;
    }
    return true;
}

static void on_notice(void *context, const char *severity, const char *sqlstate, const char *text)
{
    struct pg_stream *stream = context;
    if (strcmp(severity, "WARNING") != 0 || stream->events.on_warning == NULL)
        return;
    // 18 repeats the warning about a publication for every change that it leaves out: once is enough.
    for (uint32_t i = 0; i < stream->warning_count; i++)
        if (strcmp(stream->warnings[i].text, text) == 0)
            return;
    if (stream->warning_count == WARNINGS_MAX)
        return;
    struct warning *warning = &stream->warnings[stream->warning_count++];
    (void)snprintf(warning->sqlstate, sizeof warning->sqlstate, "%s", sqlstate);
    (void)snprintf(warning->text, sizeof warning->text, "%s", text);
}

// ---- status

static void put_u64(uint8_t *out, uint64_t value)
{
    uint64_t big_endian = htobe64(value);
    memcpy(out, &big_endian, sizeof big_endian);
}

// Standby status update: 'r' | Int64 written | Int64 flushed | Int64 applied | Int64 time, since 2000 | Byte 1: reply, please
// https://www.postgresql.org/docs/current/protocol-replication.html. What is flushed is what the slot may forget;
// 0 leaves the slot as it is.
static bool put_status(struct pg_stream *stream, lsn_t written_lsn, lsn_t flushed_lsn)
{
    uint8_t message[STATUS_SIZE] = {'r'};
    struct err error;
    put_u64(message + 1, written_lsn);
    put_u64(message + 9, flushed_lsn);
    put_u64(message + 17, flushed_lsn);
    put_u64(message + 25, (uint64_t)(loop_wall_us(stream->loop) - EPOCH_OFFSET_US));
    return pg_conn_copy_put(stream->conn, message, sizeof message, &error);
}

// The highest position that may be confirmed: what the owner said, but never beyond what this server told of.
static lsn_t flushed_lsn(const struct pg_stream *stream)
{
    lsn_t received_lsn = stream->stats.received_lsn;
    return stream->confirmed_lsn < received_lsn ? stream->confirmed_lsn : received_lsn;
}

static void send_status(struct pg_stream *stream)
{
    stream->last_status_us = loop_fresh_us(stream->loop);
    loop_timer_set(stream->loop, &stream->status_timer, stream->status_interval_us);
    if (pg_conn_copy_is_flushing(stream->conn))
        return;  // the last one still waits for the socket
    lsn_t received_lsn = stream->stats.received_lsn;
    lsn_t flushed = flushed_lsn(stream);
    if (!put_status(stream, received_lsn, flushed))
        return;  // reading tells why
    stream->sent_lsn = flushed;
    // At shutdown the server waits until what it sent is flushed, or, with flushed = 0, until it is written.
    if (flushed != LSN_NONE && flushed < received_lsn && !trap_is_set("second_status"))
        (void)put_status(stream, received_lsn, LSN_NONE);
}

static void on_status_due(struct loop_timer *timer)
{
    struct pg_stream *stream = timer->context;
    if (trap_is_set("status_unasked") && flushed_lsn(stream) <= stream->sent_lsn)
        return;
    send_status(stream);
}

// There is more to confirm: soon, but not for every commit.
static void send_status_soon(struct pg_stream *stream)
{
    if (stream->state != STREAM_RUNNING || flushed_lsn(stream) <= stream->sent_lsn)
        return;
    uint64_t now_us = loop_fresh_us(stream->loop);
    uint64_t due_us = stream->last_status_us + CONFIRM_INTERVAL_US;
    if (stream->status_timer.heap_index == 0 || stream->status_timer.due_us > due_us)
        loop_timer_set(stream->loop, &stream->status_timer, due_us > now_us ? due_us - now_us : 0);
}

void pg_stream_confirm(struct pg_stream *stream, lsn_t confirmed_lsn)
{
    if (confirmed_lsn <= stream->confirmed_lsn)
        return;
    stream->confirmed_lsn = confirmed_lsn;
    send_status_soon(stream);
}

void pg_stream_flush_status(struct pg_stream *stream)
{
    if (stream->state == STREAM_RUNNING)
        send_status(stream);
}

// ---- reading

static uint64_t read_u64(const uint8_t *data)
{
    uint64_t big_endian;
    memcpy(&big_endian, data, sizeof big_endian);
    return be64toh(big_endian);
}

static void note_received(struct pg_stream *stream, lsn_t lsn)
{
    if (lsn > stream->stats.received_lsn)
        stream->stats.received_lsn = lsn;
}

// XLogData:  'w' | Int64 start of the WAL data | Int64 end of WAL on the server | Int64 time | data
// Keepalive: 'k' | Int64 end of WAL that was sent | Int64 time | Byte 1: reply at once
// False: the stream is over, and was ended here or by the owner.
static bool take_message(struct pg_stream *stream, const uint8_t *data, size_t size)
{
    if (size >= 25 && data[0] == 'w') {
        lsn_t wal_start = read_u64(data + 1);
        note_received(stream, wal_start);
        note_received(stream, read_u64(data + 9));
        stream->stats.messages++;
        stream->stats.bytes += size;
        stream->stats.last_message_us = loop_now_us(stream->loop);
        if (size > stream->stats.largest_message)
            stream->stats.largest_message = size;
        if (!stream->events.on_message(stream->events.context, data + 25, size - 25, wal_start))
            pg_stream_stop(stream);
        return stream->state == STREAM_RUNNING;
    }
    if (size == 18 && data[0] == 'k') {
        bool is_asking = data[17] != 0;
        note_received(stream, read_u64(data + 1));
        stream->events.on_keepalive(stream->events.context, read_u64(data + 1));
        if (stream->state != STREAM_RUNNING)
            return false;
        if (is_asking)
            send_status(stream);
        else
            send_status_soon(stream);
        return true;
    }
    struct err error;
    err_set(&error, ERR_DATA, "replication", "%s sent an unknown replication message (type %u, %zu bytes)",
            stream->description, size > 0 ? data[0] : 0, size);
    end_stream(stream, &error);
    return false;
}

// The socket is empty. Under backlog it is left alone for a moment, so that the server fills it without waking us for
// every message (it sends each by itself, and the waking costs it a third of its time); else the next message is taken the
// moment it comes. Backlog is a matter of rate, not of full reads: a reader that is faster than the server never sees one.
static void wait_for_more(struct pg_stream *stream)
{
    uint64_t now_us = loop_fresh_us(stream->loop);
    uint64_t elapsed_us = now_us - stream->window_start_us;
    if (elapsed_us >= LAZY_WAIT_US) {
        if (stream->window_messages * LAZY_WAIT_US >= LAZY_MESSAGES_MIN * elapsed_us ||
            stream->window_bytes * LAZY_WAIT_US >= LAZY_BYTES_MIN * elapsed_us)
            stream->backlog_until_us = now_us + BACKLOG_LASTS_US;
        stream->window_start_us = now_us;
        stream->window_messages = 0;
        stream->window_bytes = 0;
    }
    if (now_us >= stream->backlog_until_us)
        return;
    stream->is_waiting = true;
    stream->stats.lazy_waits++;
    pg_conn_copy_pause(stream->conn);
    loop_timer_set(stream->loop, &stream->lazy_timer, LAZY_WAIT_US);
}

static void on_lazy_due(struct loop_timer *timer)
{
    struct pg_stream *stream = timer->context;
    stream->is_waiting = false;
    if (!stream->is_paused)
        pg_conn_copy_continue(stream->conn);
}

void pg_stream_pause(struct pg_stream *stream)
{
    stream->is_paused = true;
    if (stream->state == STREAM_RUNNING)
        pg_conn_copy_pause(stream->conn);
}

void pg_stream_continue(struct pg_stream *stream)
{
    stream->is_paused = false;
    if (stream->state == STREAM_RUNNING && !stream->is_waiting)
        pg_conn_copy_continue(stream->conn);
}

static void tell_stream_error(struct pg_stream *stream, const struct err *error, bool is_running);

static void on_readable(void *context)
{
    struct pg_stream *stream = context;
    size_t turn_bytes = 0;
    uint32_t turn_messages = 0;
    enum pg_copy_outcome outcome = PG_COPY_MESSAGE;
    struct err error;
    while (!stream->is_paused && turn_bytes < TURN_BYTES_MAX && turn_messages < TURN_MESSAGES_MAX) {
        const uint8_t *data;
        size_t size;
        outcome = pg_conn_copy_next(stream->conn, &data, &size, &error);
        if (stream->warning_count > 0 && !tell_warnings(stream))
            return;
        if (outcome != PG_COPY_MESSAGE)
            break;
        turn_bytes += size;
        turn_messages++;
        if (!take_message(stream, data, size))
            return;
    }
    stream->window_messages += turn_messages;
    stream->window_bytes += turn_bytes;
    if (turn_messages > 0) {
        stream->stats.turns++;
        stream->events.on_turn_end(stream->events.context);
        if (stream->state != STREAM_RUNNING)
            return;
    }
    if (outcome == PG_COPY_END)
        err_set(&error, ERR_TRANSIENT, "", "the server ended the stream");
    if (outcome == PG_COPY_END || outcome == PG_COPY_ERROR)
        tell_stream_error(stream, &error, true);
    else if (stream->is_paused)
        return;
    else if (outcome == PG_COPY_MORE)
        wait_for_more(stream);
    else
        pg_conn_copy_continue(stream->conn);
}

// ---- starting

static bool has_class(const struct err *error, const char *sqlstate_class)
{
    return strncmp(error->code, sqlstate_class, strlen(sqlstate_class)) == 0;
}

// What a SQLSTATE means on a stream, beyond its general meaning.
static void tell_stream_error(struct pg_stream *stream, const struct err *error, bool is_running)
{
    struct err told = *error;
    bool is_of_data =
        has_class(&told, "22") || has_class(&told, "42") || has_class(&told, "0A") || has_class(&told, "XX");
    if (has_class(&told, "42704") && is_running) {
        told.kind = ERR_LOST;
        err_prefix(
            &told,
            "the WAL that slot \"%s\" still has to decode was written while the publication did not exist, and its "
            "changes are lost; to copy all tables anew, start with --on-slot-lost=resync",
            stream->slot);
    } else if (has_class(&told, "42704")) {
        told.kind = ERR_LOST;
    } else if (has_class(&told, "55000") &&
               (strstr(told.text, "can no longer") != NULL || strstr(told.text, "invalidated") != NULL ||
                strstr(told.text, "cannot read from") != NULL)) {
        told.kind = ERR_LOST;
    } else if (is_running && stream->stats.is_binary && is_of_data && told.code[0] != '\0') {
        // A type without binary output, or one whose output fails: text has to show whether it was that.
        stream->is_text_only = !trap_is_set("binary_falls_back");
        told.kind = ERR_TRANSIENT;
        err_prefix(&told, "the stream goes on in text after an error that asking for binary may have caused");
    } else if (is_running && is_of_data && told.code[0] != '\0') {
        err_set(&told, told.kind, "decoding_failed",
                "the server fails at a change that slot \"%s\" still has to decode: %s (%s); should that stay, nothing "
                "behind it can be had: drop the slot, then --on-slot-lost=resync copies all tables anew",
                stream->slot, error->text, error->code);
    }
    err_prefix(&told, "stream from %s", stream->description);
    end_stream(stream, &told);
}

static void on_started(void *context, const PGresult *result, const struct err *error)
{
    struct pg_stream *stream = context;
    if (error != NULL) {
        tell_stream_error(stream, error, false);
        return;
    }
    if (PQresultStatus(result) != PGRES_COPY_BOTH) {
        struct err unexpected;
        err_set(&unexpected, ERR_INTERNAL, "replication", "no stream in answer to START_REPLICATION");
        tell_stream_error(stream, &unexpected, false);
        return;
    }
    stream->state = STREAM_RUNNING;
    stream->last_status_us = loop_fresh_us(stream->loop);
    loop_timer_set(stream->loop, &stream->status_timer, stream->status_interval_us);
    stream->events.on_started(stream->events.context);
    if (stream->state != STREAM_RUNNING)
        return;
    pg_conn_copy_start(stream->conn, on_readable, stream);
    if (stream->is_paused)
        pg_conn_copy_pause(stream->conn);
}

// `publication` is in the connection's encoding: as the server gave it.
static bool send_start(struct pg_stream *stream, const char *publication, struct err *out_error)
{
    struct buf quoted, sql;
    buf_init(&quoted, 1024);
    buf_init(&sql, 4096);
    // The option's value is a list of identifiers, inside a literal.
    pg_append_identifier(&quoted, publication);
    buf_append_text(&sql, "START_REPLICATION SLOT ");
    pg_append_identifier(&sql, stream->slot);
    buf_appendf(&sql, " LOGICAL " LSN_FORMAT " (proto_version '1', publication_names ",
                LSN_ARGUMENTS(stream->start_lsn));
    pg_append_literal(&sql, buf_text(&quoted));
    buf_append_text(&sql, stream->stats.is_binary ? ", binary 'true')" : ")");
    stream->state = STREAM_STARTING;
    bool is_sent =
        !sql.failed && !quoted.failed &&
        pg_conn_query(stream->conn, buf_text(&sql), 0, NULL, QUERY_TIMEOUT_MS, on_started, stream, out_error);
    if (sql.failed || quoted.failed)
        err_set(out_error, ERR_INTERNAL, "", "out of memory for START_REPLICATION");
    buf_deinit(&quoted);
    buf_deinit(&sql);
    return is_sent;
}

static const char *field(const PGresult *result, const char *name)
{
    int column = PQfnumber(result, name);
    CHECK(column >= 0);
    return PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

// START_REPLICATION would say most of this too, but in the server's language and with one SQLSTATE for several things.
static bool check_source(const struct pg_stream *stream, const PGresult *answer, struct err *out_error)
{
    const char *slot = stream->slot;
    const char *database = field(answer, "database");
    const char *plugin = field(answer, "plugin");
    const char *slot_database = field(answer, "slot_database");
    const char *active_pid = field(answer, "active_pid");
    const char *wal_status = field(answer, "wal_status");
    const char *reason = field(answer, "invalidation_reason");
    const char *wal_level = field(answer, "wal_level");
    if (strcmp(wal_level, "logical") != 0)
        return err_set(out_error, ERR_CONFIG, "55000",
                       "wal_level is %s but must be logical: ALTER SYSTEM SET wal_level = logical, then restart the "
                       "server",
                       wal_level);
    if (field(answer, "slot_name") == NULL)
        return err_set(out_error, ERR_LOST, "42704", "replication slot \"%s\" does not exist", slot);
    if (plugin == NULL || strcmp(plugin, "pgoutput") != 0)
        return err_set(out_error, ERR_CONFIG, "55000",
                       "slot \"%s\" is not ours: it is for %s, not pgoutput; choose another name with slot=", slot,
                       plugin != NULL ? plugin : "physical replication");
    if (slot_database == NULL || strcmp(slot_database, database) != 0)
        return err_set(out_error, ERR_CONFIG, "55000",
                       "slot \"%s\" belongs to database %s, not %s; choose another name with slot=", slot,
                       slot_database != NULL ? slot_database : "none", database);
    if (reason != NULL || (wal_status != NULL && strcmp(wal_status, "lost") == 0))
        return err_set(out_error, ERR_LOST, "55000", "slot \"%s\" was invalidated by the server (%s)", slot,
                       reason != NULL ? reason : "its WAL was removed; see max_slot_wal_keep_size");
    if (active_pid != NULL)
        return err_set(out_error, ERR_TRANSIENT, "55006", "slot \"%s\" is in use by the server's process %s", slot,
                       active_pid);
    if (field(answer, "publication") == NULL)
        return err_set(out_error, ERR_CONFIG, "42704",
                       "publication \"%s\" does not exist in database %s; create it: CREATE PUBLICATION … FOR TABLE …",
                       stream->publication, database);
    return true;
}

static void on_checked(void *context, const PGresult *result, const struct err *error)
{
    struct pg_stream *stream = context;
    struct err failed;
    if (error != NULL) {
        tell_stream_error(stream, error, false);
        return;
    }
    const char *timeout = field(result, "wal_sender_timeout_ms");
    uint64_t timeout_us = timeout != NULL ? strtoull(timeout, NULL, 10) * 1000 : 0;
    // Four in the server's patience, so that one that comes late does not matter. 0: it waits for ever.
    stream->status_interval_us = timeout_us / 4;
    if (timeout_us == 0 || stream->status_interval_us > STATUS_INTERVAL_US_MAX)
        stream->status_interval_us = STATUS_INTERVAL_US_MAX;
    if (stream->status_interval_us < STATUS_INTERVAL_US_MIN)
        stream->status_interval_us = STATUS_INTERVAL_US_MIN;
    if (!check_source(stream, result, &failed)) {
        err_prefix(&failed, "stream from %s", stream->description);
        end_stream(stream, &failed);
    } else if (!send_start(stream, field(result, "publication"), &failed)) {
        tell_stream_error(stream, &failed, false);
    }
}

static void check(struct pg_stream *stream)
{
    struct buf hexadecimal, sql;
    buf_init(&hexadecimal, 4096);
    buf_init(&sql, 16384);
    for (const char *byte = stream->publication; *byte != '\0'; byte++)
        buf_appendf(&hexadecimal, "%02x", (unsigned char)*byte);
    const char *parameters[] = {stream->slot, buf_text(&hexadecimal)};
    pg_append_statement(&sql, sql_pg_stream_preflight, 2, parameters);
    stream->state = STREAM_CHECKING;
    struct err failed;
    bool is_sent = pg_conn_query(stream->conn, buf_text(&sql), 0, NULL, QUERY_TIMEOUT_MS, on_checked, stream, &failed);
    buf_deinit(&hexadecimal);
    buf_deinit(&sql);
    if (!is_sent)
        tell_stream_error(stream, &failed, false);
}

static void on_slot_made(void *context, const PGresult *result, const struct err *error)
{
    (void)result;
    if (error != NULL)
        tell_stream_error(context, error, false);
    else
        check(context);
}

// CREATE_REPLICATION_SLOT in the form that 14 knows as well.
static void make_temporary_slot(struct pg_stream *stream)
{
    struct buf sql;
    struct err failed;
    buf_init(&sql, 256);
    buf_append_text(&sql, "CREATE_REPLICATION_SLOT ");
    pg_append_identifier(&sql, stream->slot);
    buf_append_text(&sql, " TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT");
    bool is_sent =
        pg_conn_query(stream->conn, buf_text(&sql), 0, NULL, QUERY_TIMEOUT_MS, on_slot_made, stream, &failed);
    buf_deinit(&sql);
    if (!is_sent)
        tell_stream_error(stream, &failed, false);
}

static void on_open(void *context, const struct err *error)
{
    struct pg_stream *stream = context;
    if (error != NULL)
        end_stream(stream, error);
    else if (stream->makes_temporary_slot)
        make_temporary_slot(stream);
    else
        check(stream);
}

static void on_broken(void *context, const struct err *error)
{
    struct pg_stream *stream = context;
    tell_stream_error(stream, error, stream->state == STREAM_RUNNING);
}

bool pg_stream_start(struct pg_stream *stream, const struct pg_target *target, const struct pg_stream_options *options,
                     const struct pg_stream_events *events, struct err *out_error)
{
    CHECK(stream->state == STREAM_STOPPED);
    char settings[80] = "";
    if (options->decoding_work_mem_kb > 0)
        (void)snprintf(settings, sizeof settings, "-c logical_decoding_work_mem=%ukB", options->decoding_work_mem_kb);
    stream->events = *events;
    stream->slot = strdup(options->slot);
    stream->publication = strdup(options->publication);
    CHECK(stream->slot != NULL && stream->publication != NULL);
    stream->makes_temporary_slot = options->makes_temporary_slot;
    stream->start_lsn = options->start_lsn;
    stream->confirmed_lsn = options->start_lsn;
    stream->sent_lsn = LSN_NONE;
    stream->is_paused = false;
    stream->is_waiting = false;
    stream->backlog_until_us = 0;
    stream->window_start_us = 0;
    stream->window_messages = 0;
    stream->window_bytes = 0;
    stream->stats.is_binary = options->is_binary && !stream->is_text_only;
    stream->stats.received_lsn = LSN_NONE;
    stream->stats.largest_message = 0;
    pg_target_describe(target, stream->description, sizeof stream->description);
    struct pg_conn_events conn_events = {
        .on_open = on_open, .on_broken = on_broken, .on_notice = on_notice, .context = stream};
    stream->state = STREAM_OPENING;
    // A byte that the server cannot convert would end the stream at the same place every time: it is not to convert.
    const char *encoding = trap_is_set("own_encoding") ? NULL : options->client_encoding;
    if (pg_conn_open(stream->conn, target, true, encoding, settings[0] != '\0' ? settings : NULL, CONNECT_TIMEOUT_MS,
                     &conn_events, out_error))
        return true;
    pg_stream_stop(stream);
    return false;
}
