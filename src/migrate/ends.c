#include "migrate/ends.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "io/resolver.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_sql.h"

#define CONNECT_TIMEOUT_MS 15000
#define QUERY_TIMEOUT_MS 120000
#define STATEMENT_TIMEOUT_S 120
#define TRIES_MAX 4

struct ends {
    struct loop *loop;
    struct resolver *resolver;
    struct http_client *http;
    struct pg_conn *conn;
    struct sf_auth *auth;
    struct sf_sql *sql;
    // Of what is asked now.
    bool is_answered;
    struct err error;
    struct err broken;  // the connection to the source, between two questions
    bool (*read)(void *context, const PGresult *result, struct err *out_error);
    void *read_context;
    struct ends_answer *answer;
    size_t part_count;
};

static const struct sf_sql_options statement_options = {
    .timeout_s = STATEMENT_TIMEOUT_S, .tries_max = TRIES_MAX, .query_tag = "etl-stream migrate", .takes_parts = true};

struct ends *ends_new(struct err *out_error)
{
    struct ends *ends = calloc(1, sizeof *ends);
    CHECK(ends != NULL);
    ends->loop = loop_new(&clock_system, out_error);
    if (ends->loop != NULL)
        ends->resolver = resolver_new(ends->loop, out_error);
    if (ends->resolver != NULL)
        ends->http = http_client_new(ends->loop, out_error);
    if (ends->http != NULL)
        return ends;
    ends_free(ends);
    return NULL;
}

void ends_free(struct ends *ends)
{
    if (ends == NULL)
        return;
    sf_sql_free(ends->sql);
    if (ends->auth != NULL)
        sf_auth_free(ends->auth);
    if (ends->conn != NULL)
        pg_conn_free(ends->conn);
    if (ends->http != NULL)
        http_client_free(ends->http);
    if (ends->resolver != NULL)
        resolver_free(ends->resolver);
    if (ends->loop != NULL)
        loop_free(ends->loop);
    free(ends);
}

static bool wait_for_answer(struct ends *ends, struct err *out_error)
{
    while (!ends->is_answered)
        loop_turn(ends->loop, -1);
    if (err_is_set(&ends->error))
        *out_error = ends->error;
    return !err_is_set(&ends->error);
}

static void begin(struct ends *ends)
{
    ends->is_answered = false;
    err_clear(&ends->error);
}

// --- the source ------------------------------------------------------------------------------------------------------

static void on_open(void *context, const struct err *error)
{
    struct ends *ends = context;
    if (error != NULL)
        ends->error = *error;
    ends->is_answered = true;
}

// Between two questions: the next one tells.
static void on_broken(void *context, const struct err *error)
{
    struct ends *ends = context;
    ends->broken = *error;
}

bool ends_open_source(struct ends *ends, const struct pg_target *target, struct err *out_error)
{
    const struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = ends};
    ends->conn = pg_conn_new(ends->loop, ends->resolver);
    CHECK(ends->conn != NULL);
    begin(ends);
    return pg_conn_open(ends->conn, target, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events, out_error) &&
           wait_for_answer(ends, out_error);
}

static void on_source_answer(void *context, const PGresult *result, const struct err *error)
{
    struct ends *ends = context;
    ends->is_answered = true;
    if (error != NULL)
        ends->error = *error;
    else if (ends->read != NULL)
        (void)ends->read(ends->read_context, result, &ends->error);
}

bool ends_ask_source(struct ends *ends, const char *sql, int parameter_count, const char *const *parameters,
                     bool (*read)(void *context, const PGresult *result, struct err *out_error), void *context,
                     struct err *out_error)
{
    if (pg_conn_state(ends->conn) != PG_CONN_IDLE) {
        if (err_is_set(&ends->broken))
            *out_error = ends->broken;
        else
            err_set(out_error, ERR_TRANSIENT, "connection", "the connection to the source broke");
        return false;
    }
    begin(ends);
    ends->read = read;
    ends->read_context = context;
    return pg_conn_query(ends->conn, sql, parameter_count, parameters, QUERY_TIMEOUT_MS, on_source_answer, ends,
                         out_error) &&
           wait_for_answer(ends, out_error);
}

// --- Snowflake -------------------------------------------------------------------------------------------------------

void ends_open_snowflake(struct ends *ends, const struct sf_config *config, struct sf_key *take_key)
{
    ends->auth = sf_auth_new(ends->loop, ends->http, config, take_key);
    CHECK(ends->auth != NULL);
    ends->sql = sf_sql_new(ends->loop, ends->http, ends->auth, config);
    CHECK(ends->sql != NULL);
}

static char *copy_or_null(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

static void take_names(struct ends_answer *answer, const struct sf_sql_result *result)
{
    const json_t *types = json_object_get(json_object_get(result->answer, "resultSetMetaData"), "rowType");
    answer->column_count = (uint32_t)result->column_count;
    answer->names = calloc(result->column_count + 1, sizeof *answer->names);
    CHECK(answer->names != NULL);
    for (size_t i = 0; i < result->column_count; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(types, i), "name"));
        answer->names[i] = copy_or_null(name != NULL ? name : "");
    }
}

static void on_snowflake_answer(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct ends *ends = context;
    struct ends_answer *answer = ends->answer;
    ends->is_answered = true;
    if (error != NULL) {
        ends->error = *error;
        return;
    }
    if (answer == NULL)
        return;
    if (answer->names == NULL) {  // the first part
        take_names(answer, result);
        ends->part_count = result->part_count;
    }
    size_t columns = answer->column_count;
    answer->texts =
        reallocarray(answer->texts, (answer->row_count + result->row_count) * columns + 1, sizeof *answer->texts);
    CHECK(answer->texts != NULL);
    for (size_t row = 0; row < result->row_count; row++)
        for (size_t column = 0; column < columns; column++)
            answer->texts[(answer->row_count + row) * columns + column] =
                copy_or_null(sf_sql_value(result, row, column));
    answer->row_count += (uint32_t)result->row_count;
}

bool ends_ask_snowflake(struct ends *ends, const char *sql, struct ends_answer *out_answer, struct err *out_error)
{
    begin(ends);
    ends->answer = out_answer;
    ends->part_count = 1;
    if (out_answer != NULL)
        *out_answer = (struct ends_answer){0};
    bool is_done = sf_sql_run(ends->sql, sql, &statement_options, on_snowflake_answer, ends, out_error) &&
                   wait_for_answer(ends, out_error);
    for (size_t part = 1; is_done && part < ends->part_count; part++) {
        begin(ends);
        sf_sql_part(ends->sql, part, on_snowflake_answer, ends);
        is_done = wait_for_answer(ends, out_error);
    }
    return is_done;
}

void ends_answer_deinit(struct ends_answer *answer)
{
    for (uint32_t i = 0; answer->names != NULL && i < answer->column_count; i++)
        free(answer->names[i]);
    for (size_t i = 0; answer->texts != NULL && i < (size_t)answer->row_count * answer->column_count; i++)
        free(answer->texts[i]);
    free(answer->names);
    free(answer->texts);
    *answer = (struct ends_answer){0};
}

const char *ends_answer_text(const struct ends_answer *answer, uint32_t row, const char *column)
{
    for (uint32_t i = 0; i < answer->column_count; i++) {
        if (strcasecmp(answer->names[i], column) != 0)
            continue;
        const char *text = answer->texts[(size_t)row * answer->column_count + i];
        return text != NULL ? text : "";
    }
    return "";
}
