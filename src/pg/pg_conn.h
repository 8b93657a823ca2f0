// One PostgreSQL connection on the loop: connecting is a state machine (resolve, PQconnectPoll), queries are sent and
// their results arrive by callback. Never blocks. Cancelling is closing.
#ifndef ETL_PG_PG_CONN_H
#define ETL_PG_PG_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "io/resolver.h"

// Where and how to connect. Parsed once from a URL; the password is wiped by deinit and shown nowhere.
struct pg_target {
    char *host;  // a name, an address, or a socket's directory
    char *port;
    char *user;
    char *database;
    char *password;          // NULL: PGPASSWORD, passfile, as libpq finds it
    char *tls_mode;          // libpq's sslmode, NULL: prefer
    char *tls_root_cert;     // NULL: libpq's default
    char *options;           // other libpq parameters "a=b c=d" in conninfo form, or NULL
    char *application_name;  // what the server shows; NULL: etl-stream. One in options outranks it
};

void pg_target_deinit(struct pg_target *target);
bool pg_target_copy(const struct pg_target *target, struct pg_target *out_copy);  // false: no memory
bool pg_target_is_socket(const struct pg_target *target);                         // a directory, or none named
// "user@host:port/database", for messages: without password.
void pg_target_describe(const struct pg_target *target, char *out, size_t out_size);

enum pg_conn_state {
    PG_CONN_CLOSED,      // ended by pg_conn_open
    PG_CONN_RESOLVING,   // ended by the resolver's answer or the time-out
    PG_CONN_CONNECTING,  // ended by PQconnectPoll or the time-out
    PG_CONN_IDLE,        // ended by pg_conn_query
    PG_CONN_BUSY,        // ended by the last result
    PG_CONN_COPY_OUT,    // ended by the end of the data
    PG_CONN_COPY_BOTH,   // ended by the server or pg_conn_close
    PG_CONN_BROKEN       // ended by pg_conn_close
};

struct pg_conn;

struct pg_conn_events {
    void (*on_open)(void *context, const struct err *error);  // NULL: connected
    // The connection broke outside a query (server closed it, administrator, time-out). Close it.
    void (*on_broken)(void *context, const struct err *error);
    // WARNING and NOTICE messages of the server: severity, SQLSTATE, text. May be NULL. Must not close the connection: libpq
    // is in the middle of its work.
    void (*on_notice)(void *context, const char *severity, const char *sqlstate, const char *text);
    void *context;
};

struct pg_conn *pg_conn_new(struct loop *loop, struct resolver *resolver);
void pg_conn_free(struct pg_conn *conn);  // closes; not inside its own callbacks (defer it)
// Starts connecting; target is copied, a name with several addresses is tried at each. False: nothing was started, and
// on_open is not called. is_replication: replication=database, which takes statements without parameters only.
// client_encoding: NULL = UTF8 (catalog work); for data the caller learns the database's own first and passes its name.
// Pinned on every connection, so that ALTER ROLE and ALTER DATABASE … SET change nothing for us: DateStyle ISO, IntervalStyle
// iso_8601, extra_float_digits 3, bytea_output hex, TimeZone UTC, lc_monetary C, search_path empty, quoting rules
// (also of names, which regclass prints),
// row_security off (a read that it would filter fails), client_min_messages, all time-outs 0.
// session_options: more "-c name=value" settings, or NULL.
bool pg_conn_open(struct pg_conn *conn, const struct pg_target *target, bool is_replication,
                  const char *client_encoding, const char *session_options, uint32_t timeout_ms,
                  const struct pg_conn_events *events, struct err *out_error);
void pg_conn_close(struct pg_conn *conn);  // any state; no callback follows
enum pg_conn_state pg_conn_state(const struct pg_conn *conn);
int pg_conn_server_version(const struct pg_conn *conn);  // 150018
int pg_conn_backend_pid(const struct pg_conn *conn);
const char *pg_conn_server_encoding(const struct pg_conn *conn);

// One statement (or several by ';' without parameters) at a time; CHECKs state IDLE. on_result is called once, with the last
// result (borrowed for the call) or an error (its code is the SQLSTATE, or "timeout"). The state is then IDLE again, or
// BROKEN: a time-out (0: none) breaks the connection too. COPY … TO STDOUT: on_result with PGRES_COPY_OUT, then state
// COPY_OUT. START_REPLICATION: PGRES_COPY_BOTH, then state COPY_BOTH. False: not sent, state BROKEN.
typedef void (*pg_on_result)(void *context, const PGresult *result, const struct err *error);
bool pg_conn_query(struct pg_conn *conn, const char *sql, int parameter_count, const char *const *parameters,
                   uint32_t timeout_ms, pg_on_result on_result, void *context, struct err *out_error);

// COPY_OUT and COPY_BOTH: the owner pulls. on_readable is called whenever data may be there; the owner then takes messages by pg_conn_copy_next until
// it answers MORE, or stops early (bounded work; then it asks for another call by pg_conn_copy_continue).
enum pg_copy_outcome {
    PG_COPY_MESSAGE,
    PG_COPY_MORE,  // the socket is empty; on_readable follows when it is not
    PG_COPY_END,   // complete; COPY_OUT: state IDLE, COPY_BOTH: state BROKEN
    PG_COPY_ERROR  // the statement failed (state IDLE) or the connection did (state BROKEN)
};
void pg_conn_copy_start(struct pg_conn *conn, void (*on_readable)(void *context), void *context);
// MESSAGE: *out_data (borrowed until the next call) and *out_size.
enum pg_copy_outcome pg_conn_copy_next(struct pg_conn *conn, const uint8_t **out_data, size_t *out_size,
                                       struct err *out_error);
void pg_conn_copy_pause(struct pg_conn *conn);     // stops watching for reads (back-pressure, lazy reading)
void pg_conn_copy_continue(struct pg_conn *conn);  // on_readable will be called next turn and when data comes
// CopyData out, flushed as the socket allows. A connection that broke is told by pg_conn_copy_next, behind what was received.
bool pg_conn_copy_put(struct pg_conn *conn, const void *data, size_t size, struct err *out_error);
bool pg_conn_copy_is_flushing(
    const struct pg_conn *conn);  // what was put waits for the socket: put no more of what can wait

#endif
