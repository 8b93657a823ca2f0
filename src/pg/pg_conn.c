#include "pg/pg_conn.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/trap.h"
#include "base/wipe.h"
#include "io/lock.h"
#include "pg/pg_error.h"

#define PARAMETERS_MAX 48
#define DESCRIPTION_SIZE 320
// A read that brought this much has filled libpq's buffer (16 kB, of which it keeps 8 kB free): there is more.
#define READ_IS_FULL_BYTES 8192

// What PQconnectStartParams is given. Later values of a name win.
struct parameters {
    const char *names[PARAMETERS_MAX + 2];  // with room for hostaddr and the NULL at the end
    char *values[PARAMETERS_MAX + 2];
    size_t count;
    bool failed;
};

struct pg_conn {
    struct loop *loop;
    struct resolver *resolver;
    struct pg_conn_events events;
    enum pg_conn_state state;
    bool is_in_notice;  // libpq is calling: the connection must not be closed
    PGconn *pg;
    struct loop_watch watch;
    struct loop_timer timer;  // the time-out of an attempt to connect, or of a query
    struct loop_deferred again;
    struct err last_fatal;  // of a message that came outside a query: why the connection ends
    char description[DESCRIPTION_SIZE];
    int server_version;
    int backend_pid;
    char server_encoding[32];

    // Until on_open.
    bool is_opening;
    struct resolver_request lookup;
    struct parameters parameters;
    char *addresses;  // comma separated; NULL: a socket's directory, one attempt without
    char *address_next;
    uint64_t deadline_us;
    uint32_t timeout_ms;

    // A query.
    pg_on_result on_result;
    void *result_context;
    PGresult *result;
    struct err result_error;
    uint32_t query_timeout_ms;

    // Copy.
    void (*on_readable)(void *context);
    void *readable_context;
    char *message;      // libpq's memory
    size_t read_bytes;  // messages taken since the last read
    bool may_read;      // the socket was not read yet since it was reported
    bool is_paused;
    bool is_ending;        // the data is over, the results are awaited
    bool has_read_failed;  // the rest of what was received is still to be taken
    bool is_flushing;
};

// ---- parameters

static void parameters_add(struct parameters *parameters, const char *name, const char *value)
{
    if (value == NULL || parameters->failed)
        return;
    if (parameters->count == PARAMETERS_MAX || (parameters->values[parameters->count] = strdup(value)) == NULL) {
        parameters->failed = true;
        return;
    }
    parameters->names[parameters->count++] = name;
}

static void parameters_deinit(struct parameters *parameters)
{
    for (size_t i = 0; i < parameters->count; i++)
        wipe_free(parameters->values[i]);
    *parameters = (struct parameters){0};
}

// The libpq parameters that a target carries as text, but for "options", which is handed out: ours go behind it.
static bool parameters_add_conninfo(struct parameters *parameters, const char *conninfo, struct buf *out_options,
                                    struct err *out_error)
{
    if (conninfo == NULL)
        return true;
    char *message = NULL;
    PQconninfoOption *found = PQconninfoParse(conninfo, &message);
    PQfreemem(message);  // not shown: it quotes the text, which may hold anything
    if (found == NULL)
        return err_set(out_error, ERR_CONFIG, "options", "the source's further libpq parameters cannot be read");
    // Those that make sense beside a URL; the others are ours to set.
    static const char *const allowed[] = {"application_name",
                                          "channel_binding",
                                          "gssencmode",
                                          "krbsrvname",
                                          "sslcert",
                                          "sslkey",
                                          "sslcrl",
                                          "sslcrldir",
                                          "sslsni",
                                          "ssl_min_protocol_version",
                                          "ssl_max_protocol_version",
                                          "target_session_attrs",
                                          "passfile",
                                          "requirepeer"};
    bool is_good = true;
    for (PQconninfoOption *option = found; option->keyword != NULL && is_good; option++) {
        if (option->val == NULL)
            continue;
        if (strcmp(option->keyword, "options") == 0) {
            buf_append_text(out_options, option->val);
            buf_append_text(out_options, " ");
            continue;
        }
        size_t i = 0;
        while (i < sizeof allowed / sizeof *allowed && strcmp(allowed[i], option->keyword) != 0)
            i++;
        is_good = i < sizeof allowed / sizeof *allowed;
        if (is_good)
            parameters_add(parameters, allowed[i], option->val);
        else
            err_set(out_error, ERR_CONFIG, "options", "the libpq parameter %s cannot be set for a source",
                    option->keyword);
    }
    PQconninfoFree(found);
    return is_good;
}

// Settings in the startup message outrank ALTER ROLE … SET and ALTER DATABASE … SET. jit: compiling a query of the catalog takes
// several times as long as running it.
static void append_settings(struct buf *out, const char *session_options)
{
    buf_append_text(out,
                    "-c jit=off -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"
                    " -c TimeZone=UTC -c lc_monetary=C -c search_path= -c standard_conforming_strings=on"
                    " -c quote_all_identifiers=off"
                    " -c client_min_messages=warning -c row_security=off -c statement_timeout=0 -c lock_timeout=0"
                    " -c idle_session_timeout=0");
    // The connection that exported a snapshot counts as idle in transaction; the time-out would end the snapshot.
    if (!trap_is_set("timeouts_pinned"))
        buf_append_text(out, " -c idle_in_transaction_session_timeout=0");
    if (session_options != NULL) {
        buf_append_text(out, " ");
        buf_append_text(out, session_options);
    }
}

static bool parameters_build(struct parameters *parameters, const struct pg_target *target, bool is_replication,
                             const char *client_encoding, const char *session_options, struct err *out_error)
{
    struct buf options;
    buf_init(&options, 8192);
    parameters_add(parameters, "gssencmode", "disable");  // it would ask a Kerberos server, blocking
    parameters_add(parameters, "application_name", "etl-stream");
    parameters_add(parameters, "application_name", target->application_name);  // of several the last one holds
    bool is_good = parameters_add_conninfo(parameters, target->options, &options, out_error);
    append_settings(&options, session_options);
    parameters_add(parameters, "options", buf_text(&options));
    parameters_add(parameters, "host", target->host);
    parameters_add(parameters, "port", target->port);
    parameters_add(parameters, "user", target->user);
    parameters_add(parameters, "dbname", target->database);
    parameters_add(parameters, "password", target->password);
    parameters_add(parameters, "sslmode", target->tls_mode);
    parameters_add(parameters, "sslrootcert", target->tls_root_cert);
    parameters_add(parameters, "client_encoding", client_encoding != NULL ? client_encoding : "UTF8");
    if (is_replication)
        parameters_add(parameters, "replication", "database");
    parameters_add(parameters, "keepalives", "1");
    parameters_add(parameters, "keepalives_idle", "15");
    parameters_add(parameters, "keepalives_interval", "5");
    parameters_add(parameters, "keepalives_count", "3");
    parameters_add(parameters, "tcp_user_timeout", "60000");
    if (is_good && (parameters->failed || options.failed))
        is_good = err_set(out_error, ERR_INTERNAL, "", "out of memory for a connection's parameters");
    buf_deinit(&options);
    return is_good;
}

// ---- the end of a connection

static void on_socket_ready(struct loop_watch *watch, unsigned events);
static void on_timeout(struct loop_timer *timer);
static void on_again(struct loop_deferred *deferred);
static void on_resolved(struct resolver_request *request, const char *addresses, const struct err *error);
static void opened(struct pg_conn *conn);

static void release(struct pg_conn *conn)
{
    CHECK(!conn->is_in_notice);
    loop_watch_stop(conn->loop, &conn->watch);
    loop_timer_stop(conn->loop, &conn->timer);
    loop_defer_stop(conn->loop, &conn->again);
    resolver_cancel(conn->resolver, &conn->lookup);
    parameters_deinit(&conn->parameters);
    free(conn->addresses);
    conn->addresses = NULL;
    PQfreemem(conn->message);
    conn->message = NULL;
    PQclear(conn->result);
    conn->result = NULL;
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->is_opening = false;
    conn->is_flushing = false;
    conn->has_read_failed = false;
    conn->is_ending = false;
}

// The one way into BROKEN. Tells whoever waits: the opener, the query, or else on_broken. `error` may be conn's own.
static void break_connection(struct pg_conn *conn, const struct err *error)
{
    struct err told = *error;
    enum pg_conn_state state = conn->state;
    bool was_opening = conn->is_opening;
    release(conn);
    conn->state = PG_CONN_BROKEN;
    if (was_opening) {
        if (strcmp(told.code, "42704") == 0)  // a setting of ours that the server does not know
            err_set(&told, ERR_CONFIG, told.code, "%s (PostgreSQL 14 or later is needed)", told.text);
        err_prefix(&told, "cannot connect to %s", conn->description);
        conn->events.on_open(conn->events.context, &told);
    } else if (state == PG_CONN_BUSY) {
        conn->on_result(conn->result_context, NULL, &told);
    } else {
        CHECK(state == PG_CONN_IDLE || state == PG_CONN_COPY_OUT || state == PG_CONN_COPY_BOTH);
        conn->events.on_broken(conn->events.context, &told);
    }
}

static void break_from_libpq(struct pg_conn *conn)
{
    struct err error;
    if (err_is_set(&conn->last_fatal))
        error = conn->last_fatal;
    else
        pg_error_from_message(PQerrorMessage(conn->pg), &error);
    break_connection(conn, &error);
}

struct pg_conn *pg_conn_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_conn *conn = calloc(1, sizeof *conn);
    CHECK(conn != NULL);
    conn->loop = loop;
    conn->resolver = resolver;
    conn->state = PG_CONN_CLOSED;
    conn->watch = (struct loop_watch){.on_ready = on_socket_ready, .context = conn, .fd = -1};
    conn->timer = (struct loop_timer){.on_due = on_timeout, .context = conn};
    conn->again = (struct loop_deferred){.call = on_again, .context = conn};
    conn->lookup = (struct resolver_request){.on_done = on_resolved, .context = conn};
    return conn;
}

void pg_conn_close(struct pg_conn *conn)
{
    if (conn->state == PG_CONN_CLOSED)
        return;
    release(conn);
    conn->state = PG_CONN_CLOSED;
}

void pg_conn_free(struct pg_conn *conn)
{
    if (conn == NULL)
        return;
    pg_conn_close(conn);
    free(conn);
}

// Watches the socket for what the state needs. False: the connection broke, and everybody was told.
static bool watch_socket(struct pg_conn *conn)
{
    // libpq closes the socket where reading fails, which sending does as well when the socket is full; what it received before is still
    // taken, turn by turn. At once: the next descriptor that anybody opens may have the same number.
    if (PQsocket(conn->pg) < 0) {
        loop_watch_stop(conn->loop, &conn->watch);
        return true;
    }
    bool is_copy = conn->state == PG_CONN_COPY_OUT || conn->state == PG_CONN_COPY_BOTH;
    unsigned events = is_copy && conn->is_paused ? 0 : LOOP_READ;
    if (conn->is_flushing)
        events |= LOOP_WRITE;
    struct err error;
    if (loop_watch_set(conn->loop, &conn->watch, PQsocket(conn->pg), events, &error))
        return true;
    break_connection(conn, &error);
    return false;
}

// Sends what libpq has queued, as far as the socket takes it. A failure is not told here: libpq keeps it until
// everything that the server sent before was read, as that says why.
static bool flush(struct pg_conn *conn)
{
    conn->is_flushing = PQflush(conn->pg) == 1;
    return watch_socket(conn);
}

// ---- connecting

static void note_notice(void *context, const PGresult *result)
{
    struct pg_conn *conn = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (severity == NULL)
        severity = "WARNING";
    if (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0 || strcmp(severity, "ERROR") == 0) {
        pg_error_from_result(result, &conn->last_fatal);
        return;
    }
    if (conn->events.on_notice == NULL)
        return;
    char text[ERR_TEXT_SIZE];
    pg_error_tidy_text(message != NULL ? message : "", text, sizeof text);
    conn->is_in_notice = true;
    conn->events.on_notice(conn->events.context, severity, code != NULL ? code : "", text);
    conn->is_in_notice = false;
}

static void watch_connecting(struct pg_conn *conn, PostgresPollingStatusType wanted)
{
    struct err error;
    unsigned events = wanted == PGRES_POLLING_READING ? LOOP_READ : LOOP_WRITE;
    if (!loop_watch_set(conn->loop, &conn->watch, PQsocket(conn->pg), events, &error))
        break_connection(conn, &error);
}

// Begins at the next address; false when there is none left or libpq refuses at once, with the error set.
static bool start_attempt(struct pg_conn *conn, struct err *out_error)
{
    uint64_t now_us = loop_fresh_us(conn->loop);
    uint64_t left_us = conn->deadline_us > now_us ? conn->deadline_us - now_us : 0;
    struct parameters *parameters = &conn->parameters;
    size_t count = parameters->count;
    if (conn->addresses != NULL) {
        // libpq would give the whole time to the first of several addresses, so each is an attempt of its own.
        uint32_t addresses_left = 1;
        for (const char *at = conn->address_next; (at = strchr(at, ',')) != NULL; at++)
            addresses_left++;
        left_us /= addresses_left;
        char *address = strsep(&conn->address_next, ",");
        parameters->names[count] = "hostaddr";
        parameters->values[count] = address;
    }
    PQfinish(conn->pg);
    conn->pg = PQconnectStartParams(parameters->names, (const char *const *)parameters->values, 0);
    parameters->names[count] = NULL;
    parameters->values[count] = NULL;
    conn->state = PG_CONN_CONNECTING;
    if (conn->pg == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a connection");
    PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(conn->pg, note_notice, conn);
    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        pg_error_from_message(PQerrorMessage(conn->pg), out_error);
        return false;
    }
    if (!loop_watch_set(conn->loop, &conn->watch, PQsocket(conn->pg), LOOP_WRITE, out_error))
        return false;
    loop_timer_set(conn->loop, &conn->timer, left_us);
    return true;
}

// Another address may do where the network was at fault, not where a server answered.
static void attempt_failed(struct pg_conn *conn, const struct err *error)
{
    struct err last = *error;
    loop_watch_stop(conn->loop, &conn->watch);
    while (last.kind == ERR_TRANSIENT && (last.code[0] == '\0' || strcmp(last.code, "timeout") == 0) &&
           conn->addresses != NULL && conn->address_next != NULL)
        if (start_attempt(conn, &last))
            return;
    break_connection(conn, &last);
}

static void on_time_limit_pinned(void *context, const PGresult *result, const struct err *error)
{
    struct pg_conn *conn = context;
    (void)result;
    if (error != NULL)
        break_connection(conn, error);
    else
        opened(conn);
}

// The connection stands. From 17 on there is one more time-out that has to be 0; older servers refuse its name, so that
// it cannot be in the startup message.
static void connected(struct pg_conn *conn)
{
    conn->server_version = PQserverVersion(conn->pg);
    conn->backend_pid = PQbackendPID(conn->pg);
    const char *encoding = PQparameterStatus(conn->pg, "server_encoding");
    (void)snprintf(conn->server_encoding, sizeof conn->server_encoding, "%s", encoding != NULL ? encoding : "");
    PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn->pg, 1) != 0) {
        break_from_libpq(conn);
        return;
    }
    conn->state = PG_CONN_IDLE;
    struct err error;
    if (conn->server_version < 170000)
        opened(conn);
    else if (!pg_conn_query(conn, "SET transaction_timeout = 0", 0, NULL, 0, on_time_limit_pinned, conn, &error))
        break_connection(conn, &error);
}

static void opened(struct pg_conn *conn)
{
    loop_timer_stop(conn->loop, &conn->timer);
    parameters_deinit(&conn->parameters);
    free(conn->addresses);
    conn->addresses = NULL;
    conn->is_opening = false;
    if (!watch_socket(conn))
        return;
    conn->events.on_open(conn->events.context, NULL);
}

static void go_on_connecting(struct pg_conn *conn)
{
    // libpq may close the socket and open another inside PQconnectPoll.
    loop_watch_stop(conn->loop, &conn->watch);
    PostgresPollingStatusType wanted = PQconnectPoll(conn->pg);
    if (wanted == PGRES_POLLING_OK) {
        connected(conn);
    } else if (wanted == PGRES_POLLING_FAILED) {
        struct err error;
        pg_error_from_message(PQerrorMessage(conn->pg), &error);
        attempt_failed(conn, &error);
    } else {
        watch_connecting(conn, wanted);
    }
}

static void on_resolved(struct resolver_request *request, const char *addresses, const struct err *error)
{
    struct pg_conn *conn = request->context;
    if (addresses == NULL) {
        break_connection(conn, error);
        return;
    }
    struct err failed;
    conn->addresses = strdup(addresses);
    conn->address_next = conn->addresses;
    if (conn->addresses == NULL) {
        err_set(&failed, ERR_INTERNAL, "", "out of memory for a connection");
        break_connection(conn, &failed);
    } else if (!start_attempt(conn, &failed)) {
        attempt_failed(conn, &failed);
    }
}

static bool is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

bool pg_conn_open(struct pg_conn *conn, const struct pg_target *target, bool is_replication,
                  const char *client_encoding, const char *session_options, uint32_t timeout_ms,
                  const struct pg_conn_events *events, struct err *out_error)
{
    CHECK(conn->state == PG_CONN_CLOSED);
    lock_check_none();
    conn->events = *events;
    err_clear(&conn->last_fatal);
    pg_target_describe(target, conn->description, sizeof conn->description);
    conn->timeout_ms = timeout_ms;
    conn->deadline_us = loop_fresh_us(conn->loop) + (uint64_t)timeout_ms * 1000;
    bool is_good =
        parameters_build(&conn->parameters, target, is_replication, client_encoding, session_options, out_error);
    if (is_good && !pg_target_is_socket(target) && !is_address(target->host)) {
        conn->state = PG_CONN_RESOLVING;
        loop_timer_set(conn->loop, &conn->timer, (uint64_t)timeout_ms * 1000);
        is_good = resolver_start(conn->resolver, &conn->lookup, target->host, out_error);
    } else if (is_good) {
        is_good = start_attempt(conn, out_error);
    }
    conn->is_opening = is_good;
    if (is_good)
        return true;
    release(conn);
    conn->state = PG_CONN_CLOSED;
    err_prefix(out_error, "cannot connect to %s", conn->description);
    return false;
}

enum pg_conn_state pg_conn_state(const struct pg_conn *conn)
{
    return conn->state;
}

int pg_conn_server_version(const struct pg_conn *conn)
{
    return conn->server_version;
}

int pg_conn_backend_pid(const struct pg_conn *conn)
{
    return conn->backend_pid;
}

const char *pg_conn_server_encoding(const struct pg_conn *conn)
{
    return conn->server_encoding;
}

static void on_timeout(struct loop_timer *timer)
{
    struct pg_conn *conn = timer->context;
    struct err error;
    switch (conn->state) {
    case PG_CONN_RESOLVING:
        err_set(&error, ERR_TRANSIENT, "timeout", "its name was not resolved within %u ms", conn->timeout_ms);
        break_connection(conn, &error);
        break;
    case PG_CONN_CONNECTING:
        err_set(&error, ERR_TRANSIENT, "timeout", "no answer within %u ms", conn->timeout_ms);
        attempt_failed(conn, &error);
        break;
    default:
        CHECK(conn->state == PG_CONN_BUSY);
        if (conn->is_opening)
            err_set(&error, ERR_TRANSIENT, "timeout", "no answer within %u ms", conn->timeout_ms);
        else
            err_set(&error, ERR_TRANSIENT, "timeout", "%s did not answer a query within %u ms", conn->description,
                    conn->query_timeout_ms);
        break_connection(conn, &error);
    }
}

// ---- queries

bool pg_conn_query(struct pg_conn *conn, const char *sql, int parameter_count, const char *const *parameters,
                   uint32_t timeout_ms, pg_on_result on_result, void *context, struct err *out_error)
{
    CHECK(conn->state == PG_CONN_IDLE);
    lock_check_none();
    int is_sent = parameter_count == 0
                      ? PQsendQuery(conn->pg, sql)
                      : PQsendQueryParams(conn->pg, sql, parameter_count, NULL, parameters, NULL, NULL, 0);
    if (is_sent == 0) {
        pg_error_from_message(PQerrorMessage(conn->pg), out_error);
        if (err_is_set(&conn->last_fatal))
            *out_error = conn->last_fatal;
        bool was_opening = conn->is_opening;
        if (!was_opening) {
            release(conn);
            conn->state = PG_CONN_BROKEN;
        }
        return false;
    }
    conn->state = PG_CONN_BUSY;
    conn->on_result = on_result;
    conn->result_context = context;
    conn->query_timeout_ms = timeout_ms;
    err_clear(&conn->result_error);
    if (timeout_ms > 0)
        loop_timer_set(conn->loop, &conn->timer, (uint64_t)timeout_ms * 1000);
    conn->is_flushing = PQflush(conn->pg) == 1;
    unsigned events = LOOP_READ | (conn->is_flushing ? (unsigned)LOOP_WRITE : 0);
    if (loop_watch_set(conn->loop, &conn->watch, PQsocket(conn->pg), events, out_error))
        return true;
    if (!conn->is_opening) {
        release(conn);
        conn->state = PG_CONN_BROKEN;
    }
    return false;
}

// Reads the socket. OpenSSL may hold the rest of a record that the socket no longer shows.
static void read_socket(struct pg_conn *conn)
{
    lock_check_none();
    bool is_good = true;
    do {
        is_good = PQconsumeInput(conn->pg) == 1;
    } while (is_good && PQsslInUse(conn->pg) && SSL_pending(PQsslStruct(conn->pg, "OpenSSL")) > 0);
    if (!is_good)
        conn->has_read_failed = true;
    // At once: the next descriptor that anybody opens may have the same number.
    if (PQsocket(conn->pg) < 0)
        loop_watch_stop(conn->loop, &conn->watch);
}

static bool is_failure(ExecStatusType status)
{
    return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE || status == PGRES_NONFATAL_ERROR;
}

// Takes one result: the first error of a series of statements counts, else the last result.
static void keep_result(struct pg_conn *conn, PGresult *take_result)
{
    if (is_failure(PQresultStatus(take_result))) {
        if (!err_is_set(&conn->result_error))
            pg_error_from_result(take_result, &conn->result_error);
        PQclear(take_result);
        return;
    }
    PQclear(conn->result);
    conn->result = take_result;
}

static void deliver(struct pg_conn *conn)
{
    if (!conn->is_opening)
        loop_timer_stop(conn->loop, &conn->timer);
    PGresult *result = conn->result;
    conn->result = NULL;
    bool has_failed = err_is_set(&conn->result_error);
    struct err error = conn->result_error;
    conn->on_result(conn->result_context, has_failed ? NULL : result, has_failed ? &error : NULL);
    PQclear(result);
}

static void take_results(struct pg_conn *conn)
{
    while (PQisBusy(conn->pg) == 0) {
        PGresult *result = PQgetResult(conn->pg);
        ExecStatusType status = result != NULL ? PQresultStatus(result) : PGRES_COMMAND_OK;
        if (result == NULL) {
            if (PQstatus(conn->pg) == CONNECTION_BAD) {
                if (err_is_set(&conn->result_error))
                    break_connection(conn, &conn->result_error);
                else
                    break_from_libpq(conn);
                return;
            }
            conn->state = PG_CONN_IDLE;
            if (flush(conn))
                deliver(conn);
            return;
        }
        keep_result(conn, result);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            conn->state = status == PGRES_COPY_OUT ? PG_CONN_COPY_OUT : PG_CONN_COPY_BOTH;
            conn->is_paused = true;  // until pg_conn_copy_start
            conn->is_ending = false;
            conn->read_bytes = 0;
            if (watch_socket(conn))
                deliver(conn);
            return;
        }
        if (status == PGRES_COPY_IN) {
            struct err error;
            err_set(&error, ERR_INTERNAL, "copy_in", "the server asks for data that nobody sends");
            break_connection(conn, &error);
            return;
        }
    }
}

static void on_socket_ready(struct loop_watch *watch, unsigned events)
{
    struct pg_conn *conn = watch->context;
    lock_check_none();
    if (conn->state == PG_CONN_CONNECTING) {
        go_on_connecting(conn);
        return;
    }
    if (conn->is_flushing && (events & LOOP_WRITE) != 0 && !flush(conn))
        return;
    bool is_copy = conn->state == PG_CONN_COPY_OUT || conn->state == PG_CONN_COPY_BOTH;
    if (is_copy) {
        // A hang-up while paused waits: what was received before it is still to be read.
        if (!conn->is_paused && (events & (LOOP_READ | LOOP_HANGUP)) != 0) {
            conn->may_read = true;
            conn->on_readable(conn->readable_context);
        }
        return;
    }
    read_socket(conn);
    if (conn->state == PG_CONN_BUSY) {
        if (flush(conn))
            take_results(conn);
        return;
    }
    CHECK(conn->state == PG_CONN_IDLE);
    (void)PQisBusy(conn->pg);  // parses: notices and the reason why the server ends the connection
    PGnotify *notification;
    while ((notification = PQnotifies(conn->pg)) != NULL)
        PQfreemem(notification);
    if (conn->has_read_failed || PQstatus(conn->pg) == CONNECTION_BAD)
        break_from_libpq(conn);
}

// ---- copy

static void on_again(struct loop_deferred *deferred)
{
    struct pg_conn *conn = deferred->context;
    if (conn->is_paused || (conn->state != PG_CONN_COPY_OUT && conn->state != PG_CONN_COPY_BOTH))
        return;
    conn->may_read = true;
    conn->on_readable(conn->readable_context);
}

void pg_conn_copy_start(struct pg_conn *conn, void (*on_readable)(void *context), void *context)
{
    CHECK(conn->state == PG_CONN_COPY_OUT || conn->state == PG_CONN_COPY_BOTH);
    conn->on_readable = on_readable;
    conn->readable_context = context;
    pg_conn_copy_continue(conn);
}

void pg_conn_copy_pause(struct pg_conn *conn)
{
    if (conn->state != PG_CONN_COPY_OUT && conn->state != PG_CONN_COPY_BOTH)
        return;
    conn->is_paused = true;
    loop_defer_stop(conn->loop, &conn->again);
    (void)watch_socket(conn);
}

void pg_conn_copy_continue(struct pg_conn *conn)
{
    if (conn->state != PG_CONN_COPY_OUT && conn->state != PG_CONN_COPY_BOTH)
        return;
    conn->is_paused = false;
    loop_defer(conn->loop, &conn->again);
    (void)watch_socket(conn);
}

bool pg_conn_copy_is_flushing(const struct pg_conn *conn)
{
    return conn->is_flushing;
}

bool pg_conn_copy_put(struct pg_conn *conn, const void *data, size_t size, struct err *out_error)
{
    CHECK(conn->state == PG_CONN_COPY_BOTH);
    CHECK(size <= INT32_MAX);
    lock_check_none();
    // Queues; 0 means that there is no memory for it, as libpq's buffer grows as needed.
    if (PQputCopyData(conn->pg, data, (int)size) != 1)
        return err_set(out_error, ERR_TRANSIENT, "", "cannot send to %s: %s", conn->description,
                       PQerrorMessage(conn->pg));
    conn->is_flushing = PQflush(conn->pg) == 1;
    (void)watch_socket(conn);
    return true;
}

// The copy's data is over. Its results may not be there yet, and PQgetResult would wait for them.
static enum pg_copy_outcome take_copy_end(struct pg_conn *conn, struct err *out_error)
{
    while (PQisBusy(conn->pg) == 0) {
        PGresult *result = PQgetResult(conn->pg);
        bool is_over = result == NULL || PQresultStatus(result) == PGRES_COPY_IN;
        if (PQresultStatus(result) == PGRES_COPY_IN)
            PQclear(result);  // the server ended its half of COPY_BOTH and waits for ours
        else if (result != NULL)
            keep_result(conn, result);
        if (!is_over)
            continue;
        struct err error = conn->result_error;
        bool is_broken = conn->state == PG_CONN_COPY_BOTH || PQstatus(conn->pg) == CONNECTION_BAD;
        if (is_broken && !err_is_set(&error) && PQstatus(conn->pg) == CONNECTION_BAD)
            pg_error_from_message(PQerrorMessage(conn->pg), &error);
        if (is_broken) {
            release(conn);
            conn->state = PG_CONN_BROKEN;
        } else {
            PQclear(conn->result);
            conn->result = NULL;
            conn->state = PG_CONN_IDLE;
            loop_defer_stop(conn->loop, &conn->again);
            if (!loop_watch_set(conn->loop, &conn->watch, PQsocket(conn->pg), LOOP_READ, &error)) {
                release(conn);
                conn->state = PG_CONN_BROKEN;
            }
        }
        *out_error = error;
        return err_is_set(&error) ? PG_COPY_ERROR : PG_COPY_END;
    }
    return PG_COPY_MORE;
}

static enum pg_copy_outcome copy_broke(struct pg_conn *conn, struct err *out_error)
{
    *out_error = conn->last_fatal;
    if (!err_is_set(out_error))
        pg_error_from_message(PQerrorMessage(conn->pg), out_error);
    release(conn);
    conn->state = PG_CONN_BROKEN;
    return PG_COPY_ERROR;
}

// Whether the socket is worth another read: it was not read since it was reported, or the last read left something there.
static bool has_more_to_read(const struct pg_conn *conn)
{
    int unread_bytes = 0;
    return conn->may_read || conn->read_bytes >= READ_IS_FULL_BYTES ||
           (ioctl(PQsocket(conn->pg), FIONREAD, &unread_bytes) == 0 && unread_bytes > 0);
}

enum pg_copy_outcome pg_conn_copy_next(struct pg_conn *conn, const uint8_t **out_data, size_t *out_size,
                                       struct err *out_error)
{
    CHECK(conn->state == PG_CONN_COPY_OUT || conn->state == PG_CONN_COPY_BOTH);
    PQfreemem(conn->message);
    conn->message = NULL;
    for (;;) {
        if (!conn->is_ending) {
            int size = PQgetCopyData(conn->pg, &conn->message, 1);
            if (size > 0) {
                conn->read_bytes += (size_t)size;
                *out_data = (const uint8_t *)conn->message;
                *out_size = (size_t)size;
                return PG_COPY_MESSAGE;
            }
            if (size == -2)
                return copy_broke(conn, out_error);
            conn->is_ending = size == -1;
        }
        if (conn->is_ending) {
            enum pg_copy_outcome outcome = take_copy_end(conn, out_error);
            if (outcome != PG_COPY_MORE)
                return outcome;
        }
        if (conn->has_read_failed)
            return copy_broke(conn, out_error);
        if (!has_more_to_read(conn))
            return PG_COPY_MORE;
        conn->may_read = false;
        conn->read_bytes = 0;
        read_socket(conn);
    }
}
