// The catalog in a PostgreSQL database. libpq's blocking calls, each with an end: connecting by connect_timeout, statements by
// statement_timeout at the server and tcp_user_timeout where the server is not heard of any more.
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/db.h"
#include "pg/pg_error.h"

#define CONNECT_TIMEOUT_US 10000000
#define PARAMETERS_MAX 32
#define COLUMNS_MAX 64
// synchronous_commit: a role or database may have turned it off, and a commit that comes back must be durable.
#define SESSION_OPTIONS                                                                                          \
    "-c statement_timeout=15s -c lock_timeout=10s -c idle_in_transaction_session_timeout=20s "                   \
    "-c synchronous_commit=on -c client_min_messages=warning -c standard_conforming_strings=on -c TimeZone=UTC " \
    "-c DateStyle=ISO -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off"

struct db_postgres {
    struct db db;
    PGconn *conn;
    bool is_changed;
};

static struct db_postgres *postgres_of(struct db *db)
{
    return (struct db_postgres *)db;
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
}

// The source's advice would mislead here: these are the catalog's.
static const char *advice_for(const char *code)
{
    if (strcmp(code, "28P01") == 0 || strcmp(code, "28000") == 0)
        return "; mend CONFIG_DB_USERNAME and CONFIG_DB_PASSWORD, or the server's pg_hba.conf";
    if (strcmp(code, "3D000") == 0)
        return "; create it with CREATE DATABASE, or name another with CONFIG_DB_DATABASE";
    if (strcmp(code, "42501") == 0)
        return "; the catalog's user needs CREATE on the schema that its tables go to, and all rights on the tables";
    return "";
}

static void set_location(struct db_postgres *postgres, struct err *error)
{
    // What pg_error adds in brackets is said for a source.
    char *advice = strrchr(error->text, '(');
    const char *mend = advice_for(error->code);
    if (*mend != '\0' && advice != NULL && advice > error->text && advice[-1] == ' ')
        advice[-1] = '\0';
    struct err told = *error;
    err_set(error, told.kind, told.code, "%s: %s%s", postgres->db.location->text, told.text, mend);
}

static bool fail_result(struct db_postgres *postgres, PGresult *result, struct err *out_error)
{
    pg_error_from_result(result, out_error);
    if (PQstatus(postgres->conn) != CONNECTION_OK)
        out_error->kind = ERR_TRANSIENT;
    set_location(postgres, out_error);
    PQclear(result);
    return false;
}

static void look_for_notifications(struct db_postgres *postgres)
{
    PGnotify *notification;
    while ((notification = PQnotifies(postgres->conn)) != NULL) {
        postgres->is_changed = true;
        PQfreemem(notification);
    }
}

static bool postgres_query(struct db *db, struct db_query *query, struct err *out_error)
{
    struct db_postgres *postgres = postgres_of(db);
    const char *values[COLUMNS_MAX];
    PGresult *result =
        PQexecParams(postgres->conn, query->sql, (int)query->parameter_count, NULL, query->parameters, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    look_for_notifications(postgres);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        return fail_result(postgres, result, out_error);
    int column_count = PQnfields(result);
    CHECK(column_count <= COLUMNS_MAX);
    bool is_wanted = query->on_row != NULL;
    for (int row = 0; is_wanted && row < PQntuples(result); row++) {
        for (int i = 0; i < column_count; i++)
            values[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
        is_wanted = query->on_row(query->context, values);
    }
    query->changed_count = strtoull(PQcmdTuples(result), NULL, 10);
    PQclear(result);
    return true;
}

static bool postgres_script(struct db *db, const char *sql, struct err *out_error)
{
    struct db_postgres *postgres = postgres_of(db);
    PGresult *result = PQexec(postgres->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    look_for_notifications(postgres);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        return fail_result(postgres, result, out_error);
    // A COMMIT of a transaction that has failed answers ROLLBACK, without an error.
    bool is_rolled_back = strncmp(sql, "COMMIT", strlen("COMMIT")) == 0 && strcmp(PQcmdStatus(result), "ROLLBACK") == 0;
    PQclear(result);
    return !is_rolled_back ||
           err_set(out_error, ERR_TRANSIENT, "catalog", "%s: the transaction was rolled back", db->location->text);
}

static bool postgres_begin(struct db *db, bool is_read_only, struct err *out_error)
{
    return postgres_script(db, is_read_only ? "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY" : "BEGIN", out_error);
}

static bool set_version(void *context, const char *const *values)
{
    int *version = context;
    *version = values[0] != NULL ? (int)strtol(values[0], NULL, 10) : 0;
    return true;
}

static bool postgres_version(struct db *db, int *out_version, struct err *out_error)
{
    struct db_query exists = {.sql = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('etl_catalog')",
                              .on_row = set_version,
                              .context = out_version};
    struct db_query query = {.sql = "SELECT version FROM etl_catalog", .on_row = set_version, .context = out_version};
    *out_version = 0;
    return postgres_query(db, &exists, out_error) && (*out_version == 0 || postgres_query(db, &query, out_error));
}

static bool postgres_notify(struct db *db, struct err *out_error)
{
    return postgres_script(db, "NOTIFY " DB_NOTIFY_CHANNEL, out_error);
}

static bool postgres_is_open(const struct db *db)
{
    return PQstatus(((const struct db_postgres *)db)->conn) == CONNECTION_OK;
}

static bool postgres_is_changed(struct db *db)
{
    struct db_postgres *postgres = postgres_of(db);
    if (PQconsumeInput(postgres->conn) == 1)
        look_for_notifications(postgres);
    bool is_changed = postgres->is_changed;
    postgres->is_changed = false;
    return is_changed;
}

static int postgres_descriptor(const struct db *db)
{
    return PQsocket(((const struct db_postgres *)db)->conn);
}

static void postgres_close(struct db *db)
{
    PQfinish(postgres_of(db)->conn);
    free(db);
}

static const struct db_operations operations = {.query = postgres_query,
                                                .script = postgres_script,
                                                .begin = postgres_begin,
                                                .notify = postgres_notify,
                                                .version = postgres_version,
                                                .is_open = postgres_is_open,
                                                .is_changed = postgres_is_changed,
                                                .descriptor = postgres_descriptor,
                                                .close = postgres_close};

// What PQconnectdb does, but verbose: only so does libpq tell the SQLSTATE of a refused connection; and with an end of ours.
static bool wait_until_open(PGconn *conn)
{
    uint64_t deadline_us = clock_system.monotonic_us(clock_system.context) + CONNECT_TIMEOUT_US;
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    while (PQstatus(conn) != CONNECTION_BAD && wanted != PGRES_POLLING_OK) {
        uint64_t now_us = clock_system.monotonic_us(clock_system.context);
        struct pollfd ready = {.fd = PQsocket(conn), .events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        if (now_us >= deadline_us)
            return false;
        if (poll(&ready, 1, (int)((deadline_us - now_us) / 1000) + 1) > 0 &&
            (wanted = PQconnectPoll(conn)) == PGRES_POLLING_FAILED)
            return false;
    }
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    return PQstatus(conn) == CONNECTION_OK;
}

struct db *db_postgres_open(const struct catalog_location *location, const char *session_options, struct err *out_error)
{
    struct {
        const char *names[PARAMETERS_MAX], *values[PARAMETERS_MAX];
    } all = {{NULL}, {NULL}};
    char options[1024];
    size_t count = 0;
    (void)snprintf(options, sizeof options, "%s %s", SESSION_OPTIONS, session_options != NULL ? session_options : "");
    const char *const pairs[][2] = {{"host", location->host},
                                    {"port", location->port},
                                    {"dbname", location->database},
                                    {"user", location->username},
                                    {"password", location->password},
                                    {"options", options},
                                    {"application_name", "etl-stream catalog"},
                                    {"client_encoding", "UTF8"},
                                    {"keepalives", "1"},
                                    {"keepalives_idle", "5"},
                                    {"keepalives_interval", "2"},
                                    {"keepalives_count", "3"},
                                    {"tcp_user_timeout", "10000"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (pairs[i][1] == NULL)
            continue;
        all.names[count] = pairs[i][0];
        all.values[count++] = pairs[i][1];
    }
    struct db_postgres *postgres = calloc(1, sizeof *postgres);
    CHECK(postgres != NULL && count < PARAMETERS_MAX);
    postgres->db = (struct db){.operations = &operations, .location = location};
    postgres->conn = PQconnectStartParams(all.names, all.values, 0);
    CHECK(postgres->conn != NULL);
    PQsetNoticeReceiver(postgres->conn, ignore_notice, NULL);
    if (wait_until_open(postgres->conn))
        return &postgres->db;
    const char *message = PQerrorMessage(postgres->conn);
    pg_error_from_message(*message != '\0' ? message : "no answer within 10 seconds", out_error);
    set_location(postgres, out_error);
    if (out_error->code[0] == '\0') {  // nobody who speaks PostgreSQL was reached
        struct err told = *out_error;
        err_set(out_error, told.kind, told.code, "%s (its place: CONFIG_DB_HOST and CONFIG_DB_PORT)", told.text);
    }
    postgres_close(&postgres->db);
    return NULL;
}
