// The statements that set up the Snowflake destination: opening, and its state.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_sink_private.h"

#define SF_OPEN_TRIES_MAX 2  // then it is the pipeline's to try again, or, at a first start, the person's who is there

static const struct sf_sql_options open_options = {
    .needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S, .tries_max = SF_OPEN_TRIES_MAX};

static void open_next(struct sf_sink *sink);

// --- opening -----------------------------------------------------------------------------------------------------

static void open_done(struct sf_sink *sink, const struct err *error)
{
    err_clear(&sink->open_error);
    if (error != NULL)
        sink->open_error = *error;
    sink->open_step = SF_OPEN_DONE;
    sink->pending_events |= SF_EVENT_OPENED;
    sf_sink_notify(sink);
}

// SHOW … LIKE matches without case and reads % and _ as wildcards: the exact name is looked for in the answer.
bool sf_sink_result_has_name(const struct sf_sql_result *result, const char *name, size_t *out_row)
{
    int column = sf_sql_column(result, "name");
    for (size_t row = 0; column >= 0 && row < result->row_count; row++) {
        const char *found = sf_sql_value(result, row, (size_t)column);
        if (found != NULL && strcmp(found, name) == 0) {
            if (out_row != NULL)
                *out_row = row;
            return true;
        }
    }
    return false;
}

const char *sf_sink_role_text(const struct sf_config *config)
{
    return config->role != NULL ? config->role : "(the user's default)";
}

static void open_check_login(struct sf_sink *sink, const struct sf_sql_result *result, struct err *out_error)
{
    const struct sf_config *config = sink->options.config;
    int column = sf_sql_column(result, "DEFAULT_WAREHOUSE");
    const char *warehouse = column < 0 ? NULL : sf_sql_value(result, 0, (size_t)column);
    if (config->warehouse == NULL && (warehouse == NULL || *warehouse == '\0'))
        err_set(out_error, ERR_CONFIG, "warehouse_missing",
                "the destination names no warehouse, and Snowflake's user %s has no default one; mend it with "
                "warehouse=NAME in the destination",
                config->user);
}

static void open_check_schema(struct sf_sink *sink, const struct sf_sql_result *result, struct err *out_error)
{
    const struct sf_config *config = sink->options.config;
    if (sink->options.naming.target == SF_NAMING_SCHEMA)
        return;  // targets are in schemas of their own, which are looked at with their tables
    if (!sf_sink_result_has_name(result, config->schema, NULL))
        err_set(out_error, ERR_CONFIG, "schema_missing",
                "Snowflake schema \"%s\".\"%s\" does not exist, or role %s may not see it; mend it with: CREATE SCHEMA "
                "\"%s\".\"%s\"; "
                "GRANT USAGE, CREATE TABLE ON SCHEMA \"%s\".\"%s\" TO ROLE …",
                config->database, config->schema, sf_sink_role_text(config), config->database, config->schema,
                config->database, config->schema);
}

static void open_check_warehouse(struct sf_sink *sink, const struct sf_sql_result *result, struct err *out_error)
{
    const struct sf_config *config = sink->options.config;
    if (!sf_sink_result_has_name(result, config->warehouse, NULL))
        err_set(out_error, ERR_CONFIG, "warehouse_missing",
                "Snowflake warehouse \"%s\" does not exist, or role %s may not use it; mend it with: GRANT USAGE ON "
                "WAREHOUSE \"%s\" TO ROLE …",
                config->warehouse, sf_sink_role_text(config), config->warehouse);
}

// Snowflake's own codes are numbers; the others tell what failed on the way there.
static bool is_snowflakes(const struct err *error)
{
    return (error->code[0] >= '0' && error->code[0] <= '9') || strcmp(error->code, "refused") == 0;
}

void sf_sink_explain_login(const struct sf_config *config, const struct err *error, struct err *out_problem)
{
    *out_problem = *error;
    if (error->kind != ERR_INTERNAL && !is_snowflakes(error))
        err_prefix(out_problem,
                   "cannot sign in to Snowflake's account %s (check its name, or host= and ca_file= of the "
                   "destination)",
                   config->account);
}

// The statement itself failed: what that means at this step.
static void open_explain(const struct sf_sink *sink, const struct err *error, struct err *out_problem)
{
    const struct sf_config *config = sink->options.config;
    *out_problem = *error;
    if (sink->open_step == SF_OPEN_SCHEMA && strcmp(error->code, SF_CODE_ABSENT) == 0) {
        err_set(out_problem, ERR_CONFIG, "database_missing",
                "Snowflake database \"%s\" does not exist, or role %s may not see it; mend it with: CREATE DATABASE "
                "\"%s\"; GRANT USAGE ON DATABASE \"%s\" TO ROLE …",
                config->database, sf_sink_role_text(config), config->database, config->database);
    } else if (sink->open_step == SF_OPEN_LOGIN) {
        sf_sink_explain_login(config, error, out_problem);
    }
}

static void on_open_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    struct err problem = {0};
    if (error != NULL)
        open_explain(sink, error, &problem);
    else if (sink->open_step == SF_OPEN_LOGIN)
        open_check_login(sink, result, &problem);
    else if (sink->open_step == SF_OPEN_SCHEMA)
        open_check_schema(sink, result, &problem);
    else if (sink->open_step == SF_OPEN_WAREHOUSE)
        open_check_warehouse(sink, result, &problem);
    if (err_is_set(&problem)) {
        open_done(sink, &problem);
        return;
    }
    sink->open_step++;
    if (sink->open_step == SF_OPEN_WAREHOUSE && sink->options.config->warehouse == NULL)
        sink->open_step++;
    open_next(sink);
}

static void on_ingest_ready(struct sf_auth_waiter *waiter, const struct err *error)
{
    open_done(waiter->context, error);
}

static void open_statement_text(struct sf_sink *sink, struct buf *text)
{
    const struct sf_config *config = sink->options.config;
    switch (sink->open_step) {
    case SF_OPEN_LOGIN: buf_append_text(text, "SELECT CURRENT_WAREHOUSE() AS DEFAULT_WAREHOUSE"); break;
    case SF_OPEN_SCHEMA: sf_ddl_show_schema(config->database, config->schema, text); break;
    case SF_OPEN_WAREHOUSE:
        buf_append_text(text, "SHOW WAREHOUSES LIKE ");
        sf_append_literal(text, config->warehouse);
        break;
    case SF_OPEN_INGEST:
    case SF_OPEN_DONE: break;
    }
}

static void open_next(struct sf_sink *sink)
{
    struct err error = {0};
    if (sink->open_step == SF_OPEN_INGEST) {
        sf_auth_wait_ingest(sink->options.auth, &sink->ingest_waiter);
        return;
    }
    buf_reset(&sink->text);
    open_statement_text(sink, &sink->text);
    if (!sf_sql_run(sink->state_sql, buf_text(&sink->text), &open_options, on_open_statement, sink, &error))
        open_done(sink, &error);
}

void sf_sink_open(struct sink *base)
{
    struct sf_sink *sink = sf_sink_of(base);
    sink->open_step = SF_OPEN_LOGIN;
    open_next(sink);
}

// --- the state table ---------------------------------------------------------------------------------------------

// 2 hex digits of epoch, 16 of LSN. Epoch 0 stands for a pipeline that has not merged yet.
static bool position_parse(const char *text, uint8_t *out_epoch, lsn_t *out_lsn)
{
    char epoch[3] = {0};
    if (text == NULL || strlen(text) != SEQ_POSITION_TEXT_SIZE ||
        strspn(text, "0123456789ABCDEF") != SEQ_POSITION_TEXT_SIZE)
        return false;
    memcpy(epoch, text, 2);
    *out_epoch = (uint8_t)strtoul(epoch, NULL, 16);
    *out_lsn = strtoull(text + 2, NULL, 16);
    return true;
}

static void state_done(struct sf_sink *sink, const struct err *error)
{
    err_clear(&sink->state_error);
    if (error != NULL)
        sink->state_error = *error;
    sink->pending_events |= SF_EVENT_STATE;
    sf_sink_notify(sink);
}

static void state_take(struct sf_sink *sink, const struct sf_sql_result *result)
{
    struct err problem = {0};
    int column = sf_sql_column(result, "POSITION");
    if (column < 0 || result->row_count != 1 ||
        !position_parse(sf_sql_value(result, 0, (size_t)column), &sink->state.epoch, &sink->state.merged_lsn))
        err_set(&problem, ERR_DATA, "state_table",
                "the state table in \"%s\".\"%s\" holds %zu readable rows for pipeline %s instead of one",
                sink->options.config->database, sink->options.config->landing_schema, result->row_count,
                sink->options.pipeline);
    sink->state.exists = !err_is_set(&problem) && sink->state.epoch > 0;
    state_done(sink, err_is_set(&problem) ? &problem : NULL);
}

// A pipeline that was never here gets a row of epoch 0, from which its first merge moves on by compare-and-set.
static void state_statement_text(struct sf_sink *sink, struct buf *text)
{
    const struct sf_config *config = sink->options.config;
    char position[SEQ_POSITION_TEXT_SIZE + 1] = {0};
    switch (sink->state_step) {
    case SF_STEP_SCHEMA:
        buf_append_text(text, "CREATE SCHEMA IF NOT EXISTS ");
        sf_append_identifier(text, config->database);
        buf_append_byte(text, '.');
        sf_append_identifier(text, config->landing_schema);
        buf_append_text(text, " COMMENT = 'etl-stream: landing tables'");
        break;
    case SF_STEP_TABLE:
        sf_ddl_create_state(config->database, config->landing_schema, sink->options.pipeline, text);
        break;
    case SF_STEP_ROW:
        seq_format_position(0, LSN_NONE, position);
        sf_ddl_init_state(config->database, config->landing_schema, sink->options.pipeline, position, text);
        break;
    case SF_STEP_FENCE:
        sf_ddl_fence_state(config->database, config->landing_schema, sink->options.pipeline, sink->state.writer, text);
        break;
    case SF_STEP_READ: sf_ddl_read_state(config->database, config->landing_schema, sink->options.pipeline, text); break;
    }
}

static void state_next(struct sf_sink *sink);

static void on_state_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    if (error != NULL) {
        state_done(sink, error);
    } else if (sink->state_step == SF_STEP_READ) {
        state_take(sink, result);
    } else {
        sink->state_step++;
        state_next(sink);
    }
}

static void state_next(struct sf_sink *sink)
{
    struct err error = {0};
    const struct sf_sql_options options = {.needs_warehouse = sink->state_step >= SF_STEP_ROW,
                                           .timeout_s = SF_SETUP_TIMEOUT_S};
    buf_reset(&sink->text);
    state_statement_text(sink, &sink->text);
    if (!sf_sql_run(sink->state_sql, buf_text(&sink->text), &options, on_state_statement, sink, &error))
        state_done(sink, &error);
}

static void writer_make(char out_writer[17])
{
    uint64_t random = 0;
    CHECK(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    (void)snprintf(out_writer, 17, "%016" PRIX64, random);
}

void sf_sink_read_state(struct sink *base)
{
    struct sf_sink *sink = sf_sink_of(base);
    memset(&sink->state, 0, sizeof sink->state);
    writer_make(sink->state.writer);
    sink->state_step = SF_STEP_SCHEMA;
    state_next(sink);
}

void sf_sink_setup_init(struct sf_sink *sink)
{
    for (size_t i = 0; i < SF_SETUP_STATEMENTS_MAX; i++) {
        sink->slots[i].sink = sink;
        sink->slots[i].sql =
            sf_sql_new(sink->options.loop, sink->options.http, sink->options.auth, sink->options.config);
        CHECK(sink->slots[i].sql != NULL);
    }
    sink->ingest_waiter.on_ready = on_ingest_ready;
    sink->ingest_waiter.context = sink;
    sink->ingest_waiter.tries_max = SF_OPEN_TRIES_MAX;
}

void sf_sink_setup_deinit(struct sf_sink *sink)
{
    sf_auth_cancel(sink->options.auth, &sink->ingest_waiter);
    for (size_t i = 0; i < SF_SETUP_STATEMENTS_MAX; i++)
        sf_sql_free(sink->slots[i].sql);
}
