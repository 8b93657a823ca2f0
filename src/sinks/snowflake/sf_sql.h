// Statements over the SQL API: submit (asynchronously when it may run long), poll, retry with the same request id after
// an ambiguous failure, so that a statement runs once. One statement a struct at a time.
#ifndef ETL_SINKS_SNOWFLAKE_SF_SQL_H
#define ETL_SINKS_SNOWFLAKE_SF_SQL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/snowflake/sf_auth.h"

// Codes of the exceptions that our own scripting blocks raise: etl_fenced EXCEPTION (-20001, …), another program has
// merged meanwhile (ERR_FENCED); etl_behind EXCEPTION (-20002, …), the landing tables lack rows (ERR_TRANSIENT).
#define SF_SQL_CODE_FENCED "etl_fenced"
#define SF_SQL_CODE_BEHIND "etl_behind"

struct sf_sql;

// A result: rows of strings, as the API gives them (NULL for SQL NULL). Borrowed for the callback.
struct sf_sql_result {
    json_t *answer;
    size_t row_count, column_count;  // of this part
    size_t part_count;               // of the whole result: at least 1
};

const char *sf_sql_value(const struct sf_sql_result *result, size_t row, size_t column);
// -1: no such column. Names as Snowflake gives them ("name", "comment" in SHOW; upper case elsewhere), compared without
// case.
int sf_sql_column(const struct sf_sql_result *result, const char *name);

// error->code: SF_SQL_CODE_… for our own exceptions, else Snowflake's code ("100090", "002003"); code and SQLSTATE are in
// the text as well. Kinds: ERR_CONFIG (no such object or no privilege, no warehouse, login), ERR_DATA (a value, a
// statement that is wrong), ERR_TRANSIENT (time-outs, locks, what Snowflake calls an internal error), ERR_FENCED.
typedef void (*sf_sql_on_done)(void *context, const struct sf_sql_result *result, const struct err *error);

struct sf_sql_options {
    bool needs_warehouse;   // names the configured warehouse in the request; without it no warehouse may wake
    uint32_t timeout_s;     // statement time-out on the server; 0: the account's
    uint32_t tries_max;     // requests that may fail before the statement does (ERR_TRANSIENT); 0: without end
    bool omits_role;        // as the user's default role, whatever the configuration says
    const char *query_tag;  // NULL: "etl-stream"
    bool
        takes_parts;  // a large result comes in parts: this is the first, sf_sql_part brings the others. Else that is an error
};

struct sf_sql *sf_sql_new(struct loop *loop, struct http_client *http, struct sf_auth *auth,
                          const struct sf_config *config);
// Stops waiting; not inside on_done. What runs in Snowflake runs on to its end or its time-out.
void sf_sql_free(struct sf_sql *sql);
bool sf_sql_is_busy(const struct sf_sql *sql);
// statement is copied. Transient failures of the way there are retried inside with back-off, without end unless
// the options say otherwise, and visible through sf_sql_tries() and the log. May be called inside on_done.
bool sf_sql_run(struct sf_sql *sql, const char *statement, const struct sf_sql_options *options, sf_sql_on_done on_done,
                void *context, struct err *out_error);
// Part 1 … part_count - 1 of the newest statement's result, which Snowflake keeps for a day → on_done, with sf_sql_value but
// without columns' names. tries_max as it was said of the statement.
void sf_sql_part(struct sf_sql *sql, size_t part, sf_sql_on_done on_done, void *context);
uint32_t sf_sql_tries(const struct sf_sql *sql);  // of the running statement: requests that failed so far

#endif
