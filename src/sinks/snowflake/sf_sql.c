#include "sinks/snowflake/sf_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/backoff.h"
#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_http.h"

enum {
    // Snowflake answers a synchronous request after 45 s at the latest, with 202 when it is not done by then.
    SYNCHRONOUS_TIMEOUT_S_MAX = 45,
    REQUEST_TIMEOUT_MS = 90000,
    POLL_FIRST_MS = 50,
    POLL_MAX_MS = 2000,
    HANDLE_SIZE_MAX = 100,
    PART_BYTES_MAX = 512 << 20,  // of a result's part; Snowflake's are of some ten megabytes
    KEPT_BYTES_MAX = 256 * 1024  // a text larger than this is not kept as a buffer for the next one
};

static const struct backoff_policy retry_policy = {
    .delay_first_ms = 500, .delay_min_ms = 100, .delay_max_ms = 30000, .tries_max = 0};

enum sql_state {
    SQL_IDLE,          // ended by sf_sql_run
    SQL_SUBMITTING,    // ended by the answer
    SQL_POLLING,       // ended by the answer
    SQL_POLL_PAUSE,    // running in Snowflake; ended by the timer
    SQL_RETRY_SUBMIT,  // ended by the timer
    SQL_RETRY_POLL     // ended by the timer
};

struct sf_sql {
    struct loop *loop;
    struct http_client *http;
    struct sf_auth *auth;
    const struct sf_config *config;
    enum sql_state state;
    struct http_request request;
    struct sf_request_id id;  // of the submission: the same for all its tries
    char handle[HANDLE_SIZE_MAX + 1];
    bool is_asynchronous;
    bool takes_parts;
    size_t part, part_count;  // being asked for; of the result
    bool is_reading;          // it changes nothing, however often it runs
    bool was_submitted;       // a try may have reached Snowflake
    uint32_t timeout_s;
    uint32_t generation;  // of the token that the request under way carries
    uint32_t poll_delay_ms;
    uint32_t tries, tries_max;
    struct buf url, body;
    struct loop_timer timer;
    struct loop_deferred fail_later;
    struct err late_error;
    struct backoff backoff;
    sf_sql_on_done on_done;
    void *context;
};

static void submit(struct sf_sql *sql);
static void poll_status(struct sf_sql *sql);

// ---- results

const char *sf_sql_value(const struct sf_sql_result *result, size_t row, size_t column)
{
    return json_string_value(json_array_get(json_array_get(json_object_get(result->answer, "data"), row), column));
}

static const json_t *row_types(const json_t *answer)
{
    return json_object_get(json_object_get(answer, "resultSetMetaData"), "rowType");
}

int sf_sql_column(const struct sf_sql_result *result, const char *name)
{
    const json_t *types = row_types(result->answer);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *found = json_string_value(json_object_get(json_array_get(types, i), "name"));
        if (found != NULL && strcasecmp(found, name) == 0)
            return (int)i;
    }
    return -1;
}

// ---- errors

// How Snowflake reports them: an exception of ours that no handler ended is code -20001, SQLSTATE P0001, message
// "Uncaught exception of type 'ETL_FENCED' on line 12 at position 4 : etl-stream: …" (documentation of RAISE). A statement
// that fails inside a block keeps its own code and SQLSTATE behind "Uncaught exception of type 'STATEMENT_ERROR' …".
static bool is_exception(const char *code, const char *message, long number, const char *type)
{
    char *end = NULL;
    long value = labs(strtol(code, &end, 10));
    char quoted[32];
    (void)snprintf(quoted, sizeof quoted, "type '%s'", type);
    return (code[0] != '\0' && *end == '\0' && value == number) || strcasestr(message, quoted) != NULL;
}

struct code_kind {
    const char *code;
    enum err_kind kind;
};

static const struct code_kind code_kinds[] = {
    {"000606", ERR_CONFIG},     // no active warehouse
    {"000605", ERR_CONFIG},     // no current database or warehouse of that name
    {"001757", ERR_CONFIG},     // the database does not exist or is not authorized
    {"002003", ERR_CONFIG},     // object does not exist or is not authorized
    {"002043", ERR_CONFIG},     // object does not exist, or the operation cannot be done
    {"003001", ERR_CONFIG},     // insufficient privileges
    {"003540", ERR_CONFIG},     // the same for a schema's objects
    {"090073", ERR_CONFIG},     // the warehouse's resource monitor has no credit left
    {"090105", ERR_CONFIG},     // no current database
    {"090106", ERR_CONFIG},     // no current schema
    {"000603", ERR_TRANSIENT},  // internal error
    {"000604", ERR_TRANSIENT},  // cancelled
    {"000610", ERR_TRANSIENT},  // cancelled
    {"000625", ERR_TRANSIENT},  // waited too long for a lock
    {"000630", ERR_TRANSIENT},  // statement time-out
};

static enum err_kind kind_of(const char *code, const char *sql_state)
{
    for (size_t i = 0; i < sizeof code_kinds / sizeof code_kinds[0]; i++)
        if (strcmp(code_kinds[i].code, code) == 0)
            return code_kinds[i].kind;
    // SQLSTATE classes: connection, transaction rolled back, resources, operator, internal; then privileges, names.
    static const char *const transient[] = {"08", "40", "53", "57", "58", "XX"};
    for (size_t i = 0; i < sizeof transient / sizeof transient[0]; i++)
        if (strncmp(sql_state, transient[i], 2) == 0)
            return ERR_TRANSIENT;
    if (strcmp(sql_state, "42501") == 0 || strcmp(sql_state, "42S02") == 0)
        return ERR_CONFIG;
    return ERR_DATA;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

static void statement_error(const struct sf_sql *sql, const json_t *json, const char *code, struct err *out_error)
{
    const char *message = text_of(json, "message");
    const char *sql_state = text_of(json, "sqlState");
    if (is_exception(code, message, 20001, "ETL_FENCED")) {
        err_set(out_error, ERR_FENCED, SF_SQL_CODE_FENCED, "%s", message);
        return;
    }
    if (is_exception(code, message, 20002, "ETL_BEHIND")) {
        err_set(out_error, ERR_TRANSIENT, SF_SQL_CODE_BEHIND, "%s", message);
        return;
    }
    const char *mend = "";
    if (strcmp(code, "000606") == 0)
        mend = sql->config->warehouse == NULL ? "; name a warehouse in the destination: warehouse=NAME"
                                              : "; GRANT USAGE ON WAREHOUSE … to the role";
    if (strcmp(code, "390189") == 0)
        mend = "; name another with role=, or GRANT ROLE … TO USER …";
    err_set(out_error, kind_of(code, sql_state), code, "Snowflake: %s (code %s, SQLSTATE %s)%s", message, code,
            sql_state, mend);
}

// ---- outcomes

static void finish(struct sf_sql *sql, const struct sf_sql_result *result, const struct err *error)
{
    sql->state = SQL_IDLE;
    if (sql->body.capacity > KEPT_BYTES_MAX) {
        size_t capacity_max = sql->body.capacity_max;
        buf_deinit(&sql->body);
        buf_init(&sql->body, capacity_max);
    }
    sql->on_done(sql->context, result, error);
}

static void retry_later(struct sf_sql *sql, const struct err *error)
{
    uint32_t delay_ms = 0;
    sql->tries++;
    if (sql->tries_max > 0 && sql->tries >= sql->tries_max) {
        finish(sql, NULL, error);
        return;
    }
    backoff_next(&sql->backoff, &delay_ms);
    sql->state = sql->state == SQL_POLLING ? SQL_RETRY_POLL : SQL_RETRY_SUBMIT;
    loop_timer_set(sql->loop, &sql->timer, (uint64_t)delay_ms * 1000);
    log_line(LOG_WARNING, NULL, "snowflake_statement", "%s; trying again in %u ms", error->text, delay_ms);
}

static void pause_poll(struct sf_sql *sql)
{
    sql->state = SQL_POLL_PAUSE;
    loop_timer_set(sql->loop, &sql->timer, (uint64_t)sql->poll_delay_ms * 1000);
    sql->poll_delay_ms += sql->poll_delay_ms / 2;
    if (sql->poll_delay_ms > POLL_MAX_MS)
        sql->poll_delay_ms = POLL_MAX_MS;
}

static void on_running(struct sf_sql *sql, const struct sf_answer *answer)
{
    const char *handle = text_of(answer->json, "statementHandle");
    size_t size = strlen(handle);
    if (size > 0 && size <= HANDLE_SIZE_MAX)
        memcpy(sql->handle, handle, size + 1);
    if (sql->handle[0] == '\0') {
        struct err error;
        err_set(&error, ERR_TRANSIENT, "", "Snowflake runs a statement without telling its handle");
        retry_later(sql, &error);
        return;
    }
    backoff_reset(&sql->backoff);
    pause_poll(sql);
}

static void on_result(struct sf_sql *sql, const struct sf_answer *answer)
{
    struct err error;
    if (!json_is_object(answer->json)) {
        // Done, but what came is cut or not JSON: the same request id brings the same result again.
        err_set(&error, ERR_TRANSIENT, "", "Snowflake's answer to a statement is not JSON");
        retry_later(sql, &error);
        return;
    }
    const json_t *partitions = json_object_get(json_object_get(answer->json, "resultSetMetaData"), "partitionInfo");
    if (sql->part == 0)
        sql->part_count = json_array_size(partitions) > 1 ? json_array_size(partitions) : 1;
    if (sql->part_count > 1 && !sql->takes_parts) {
        err_set(&error, ERR_DATA, "partitions", "a result of Snowflake's came in %zu parts, which is more than is read",
                sql->part_count);
        finish(sql, NULL, &error);
        return;
    }
    const char *handle = text_of(answer->json, "statementHandle");
    if (sql->part == 0 && *handle != '\0' && strlen(handle) <= HANDLE_SIZE_MAX)
        memcpy(sql->handle, handle, strlen(handle) + 1);
    const struct sf_sql_result result = {.answer = answer->json,
                                         .part_count = sql->part_count,
                                         .row_count = json_array_size(json_object_get(answer->json, "data")),
                                         .column_count = json_array_size(row_types(answer->json))};
    finish(sql, &result, NULL);
}

static void on_refused(struct sf_sql *sql, const struct sf_answer *answer)
{
    if (sf_auth_refused(sql->auth, false, sql->generation)) {
        if (sql->state == SQL_POLLING)
            poll_status(sql);
        else
            submit(sql);
        return;
    }
    struct err error;
    sf_auth_refusal_error(sql->auth, false, answer->message, &error);
    finish(sql, NULL, &error);
}

static void on_failure(struct sf_sql *sql, const struct sf_answer *answer)
{
    struct err error;
    bool has_code = json_is_object(answer->json) && json_object_get(answer->json, "sqlState") != NULL;
    if (sql->request.status == 408 && text_of(answer->json, "statementHandle")[0] != '\0') {
        err_set(&error, ERR_TRANSIENT, answer->code,
                "Snowflake stopped a statement at its time-out of %u s: %s (code %s)", sql->timeout_s, answer->message,
                answer->code);
        finish(sql, NULL, &error);
        return;
    }
    switch (answer->signal) {
    case SF_SIGNAL_THROTTLED:
    case SF_SIGNAL_TRANSIENT:
    case SF_SIGNAL_MOVED:
        sf_answer_err(answer, &sql->request, ERR_TRANSIENT, "running a statement in Snowflake", &error);
        retry_later(sql, &error);
        return;
    case SF_SIGNAL_FORBIDDEN:
        sf_answer_err(answer, &sql->request, ERR_CONFIG, "Snowflake refuses to run a statement", &error);
        break;
    case SF_SIGNAL_MISSING:
        // Of a poll: the statement's result is no longer kept. Of a submission: this is not Snowflake's account.
        sf_answer_err(answer, &sql->request, sql->state == SQL_POLLING ? ERR_TRANSIENT : ERR_CONFIG,
                      "running a statement in Snowflake", &error);
        break;
    default:
        if (has_code)
            statement_error(sql, answer->json, answer->code, &error);
        else
            sf_answer_err(answer, &sql->request, ERR_DATA, "Snowflake refuses a statement", &error);
        break;
    }
    finish(sql, NULL, &error);
}

static void on_answer(struct http_request *request, const struct err *error)
{
    struct sf_sql *sql = request->context;
    if (error != NULL) {
        struct err problem = *error;
        err_prefix(&problem, "running a statement in Snowflake");
        if (error->kind == ERR_TRANSIENT)
            retry_later(sql, &problem);
        else
            finish(sql, NULL, &problem);
        return;
    }
    sf_auth_note_date(sql->auth, request->date_s);
    struct sf_answer answer;
    sf_answer_init(&answer, request);
    if (answer.signal != SF_SIGNAL_UNAUTHORIZED)
        sf_auth_accepted(sql->auth, false, sql->generation);
    if (request->status == 202)
        on_running(sql, &answer);
    else if (answer.signal == SF_SIGNAL_DONE)
        on_result(sql, &answer);
    else if (answer.signal == SF_SIGNAL_UNAUTHORIZED)
        on_refused(sql, &answer);
    else
        on_failure(sql, &answer);
    sf_answer_deinit(&answer);
}

// ---- requests

static void on_fail_later(struct loop_deferred *deferred)
{
    struct sf_sql *sql = deferred->context;
    struct err error = sql->late_error;
    finish(sql, NULL, &error);
}

static void start(struct sf_sql *sql, const char *method, enum sql_state state)
{
    struct http_request *request = &sql->request;
    struct sf_headers headers;
    const char *bearer = sf_auth_jwt_bearer(sql->auth, &sql->late_error);
    bool has_body = state == SQL_SUBMITTING;
    sql->state = state;
    if (bearer != NULL) {
        sql->generation = sf_auth_generation(sql->auth, false);
        sf_headers_begin(&headers, bearer, false);
        if (has_body)
            sf_headers_add(&headers, "Content-Type", "application/json");
        request->method = method;
        // Snowflake takes it for the same statement only with retry=true, of which libcurl knows nothing.
        request->is_sent_once = has_body && !sql->is_reading;
        request->url = buf_text(&sql->url);
        request->headers = headers.items;
        request->header_count = headers.count;
        request->body = has_body ? sql->body.data : NULL;
        request->body_size = has_body ? sql->body.size : 0;
        if (http_client_start(sql->http, request, &sql->late_error))
            return;
    }
    loop_defer(sql->loop, &sql->fail_later);
}

static void submit(struct sf_sql *sql)
{
    buf_reset(&sql->url);
    buf_appendf(&sql->url, "%s/api/v2/statements?requestId=%s", sf_auth_account_base(sql->auth), sql->id.uuid);
    if (sql->is_asynchronous)
        buf_append_text(&sql->url, "&async=true");
    if (sql->was_submitted)
        buf_append_text(&sql->url, "&retry=true");
    sql->was_submitted = true;
    start(sql, "POST", SQL_SUBMITTING);
}

static void poll_status(struct sf_sql *sql)
{
    struct sf_request_id id;
    sf_request_id_new(&id);
    buf_reset(&sql->url);
    buf_appendf(&sql->url, "%s/api/v2/statements/", sf_auth_account_base(sql->auth));
    http_append_segment(&sql->url, sql->handle);
    buf_appendf(&sql->url, "?requestId=%s", id.uuid);
    if (sql->part > 0)
        buf_appendf(&sql->url, "&partition=%zu", sql->part);
    start(sql, "GET", SQL_POLLING);
}

static void on_timer(struct loop_timer *timer)
{
    struct sf_sql *sql = timer->context;
    if (sql->state == SQL_RETRY_SUBMIT)
        submit(sql);
    else
        poll_status(sql);
}

static void append_json(struct buf *out, const char *text)
{
    buf_append_byte(out, '"');
    for (const char *run = text;; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(out, run, (size_t)(text - run));
        if (c == '\0')
            break;
        if (c < 0x20)
            buf_appendf(out, "\\u%04x", c);
        else
            buf_appendf(out, "\\%c", c);
        run = text + 1;
    }
    buf_append_byte(out, '"');
}

static void append_member(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_appendf(out, ",\"%s\":", name);
    append_json(out, value);
}

static void build_body(struct sf_sql *sql, const char *statement, const struct sf_sql_options *options)
{
    struct buf *body = &sql->body;
    buf_reset(body);
    buf_append_text(body, "{\"statement\":");
    append_json(body, statement);
    if (options->timeout_s > 0)
        buf_appendf(body, ",\"timeout\":%u", options->timeout_s);
    append_member(body, "database", sql->config->database);
    append_member(body, "warehouse", options->needs_warehouse ? sql->config->warehouse : NULL);
    append_member(body, "role", options->omits_role ? NULL : sql->config->role);
    buf_append_text(body, ",\"parameters\":{\"QUERY_TAG\":");
    append_json(body, options->query_tag == NULL ? "etl-stream" : options->query_tag);
    // 0: whole results, whatever the account or the user has. docs/snowflake.md lists which parameters do not matter and why.
    buf_append_text(body, ",\"ROWS_PER_RESULTSET\":\"0\"}}");
}

bool sf_sql_run(struct sf_sql *sql, const char *statement, const struct sf_sql_options *options, sf_sql_on_done on_done,
                void *context, struct err *out_error)
{
    CHECK(sql->state == SQL_IDLE);
    build_body(sql, statement, options);
    if (sql->body.failed)
        return err_set(out_error, ERR_INTERNAL, "", "no memory for a statement of %zu bytes", strlen(statement));
    sf_request_id_new(&sql->id);
    backoff_reset(&sql->backoff);
    err_clear(&sql->late_error);
    sql->on_done = on_done;
    sql->context = context;
    sql->handle[0] = '\0';
    sql->takes_parts = options->takes_parts;
    sql->part = 0;
    sql->request.answer_bytes_max = options->takes_parts ? PART_BYTES_MAX : 0;
    sql->is_reading = strncmp(statement, "SHOW ", 5) == 0 || strncmp(statement, "SELECT ", 7) == 0;
    sql->was_submitted = false;
    sql->timeout_s = options->timeout_s;
    sql->is_asynchronous = options->timeout_s == 0 || options->timeout_s > SYNCHRONOUS_TIMEOUT_S_MAX;
    sql->poll_delay_ms = POLL_FIRST_MS;
    sql->tries = 0;
    sql->tries_max = options->tries_max;
    submit(sql);
    return true;
}

void sf_sql_part(struct sf_sql *sql, size_t part, sf_sql_on_done on_done, void *context)
{
    CHECK(sql->state == SQL_IDLE && part > 0 && part < sql->part_count);
    backoff_reset(&sql->backoff);
    err_clear(&sql->late_error);
    sql->on_done = on_done;
    sql->context = context;
    sql->part = part;
    sql->tries = 0;
    poll_status(sql);
}

// ---- life

struct sf_sql *sf_sql_new(struct loop *loop, struct http_client *http, struct sf_auth *auth,
                          const struct sf_config *config)
{
    struct sf_sql *sql = calloc(1, sizeof *sql);
    if (sql == NULL)
        return NULL;
    sql->loop = loop;
    sql->http = http;
    sql->auth = auth;
    sql->config = config;
    buf_init(&sql->url, (size_t)4096);
    buf_init(&sql->body, (size_t)16 << 20);
    sf_auth_request_init(auth, &sql->request, "sql", REQUEST_TIMEOUT_MS, 0, on_answer, sql);
    sql->timer = (struct loop_timer){.on_due = on_timer, .context = sql};
    sql->fail_later = (struct loop_deferred){.call = on_fail_later, .context = sql};
    backoff_init(&sql->backoff, &retry_policy, sf_random());
    return sql;
}

void sf_sql_free(struct sf_sql *sql)
{
    if (sql == NULL)
        return;
    http_client_cancel(sql->http, &sql->request);
    http_request_deinit(&sql->request);
    loop_timer_stop(sql->loop, &sql->timer);
    loop_defer_stop(sql->loop, &sql->fail_later);
    buf_deinit(&sql->url);
    buf_deinit(&sql->body);
    free(sql);
}

bool sf_sql_is_busy(const struct sf_sql *sql)
{
    return sql->state != SQL_IDLE;
}

uint32_t sf_sql_tries(const struct sf_sql *sql)
{
    return sql->tries;
}
