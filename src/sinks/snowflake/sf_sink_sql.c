// The statements that set up the Snowflake destination: opening, its state, preparing tables side by side.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_sink_private.h"

#define SF_SETUP_TIMEOUT_S 120
#define SF_OPEN_TRIES_MAX 2  // then it is the pipeline's to try again, or, at a first start, the person's who is there
#define SF_CODE_ABSENT "002043"  // SQL compilation error: object does not exist or operation cannot be performed

static const struct sf_sql_options metadata_options = {.needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S};

static const struct sf_sql_options open_options = {
    .needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S, .tries_max = SF_OPEN_TRIES_MAX};

static void open_next(struct sf_sink *sink);
static void prepare_step(struct sf_setup_slot *slot);

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
static bool result_has_name(const struct sf_sql_result *result, const char *name, size_t *out_row)
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

static const char *role_text(const struct sf_config *config)
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
    if (!result_has_name(result, config->schema, NULL))
        err_set(out_error, ERR_CONFIG, "schema_missing",
                "Snowflake schema \"%s\".\"%s\" does not exist, or role %s may not see it; mend it with: CREATE SCHEMA "
                "\"%s\".\"%s\"; "
                "GRANT USAGE, CREATE TABLE ON SCHEMA \"%s\".\"%s\" TO ROLE …",
                config->database, config->schema, role_text(config), config->database, config->schema, config->database,
                config->schema);
}

static void open_check_warehouse(struct sf_sink *sink, const struct sf_sql_result *result, struct err *out_error)
{
    const struct sf_config *config = sink->options.config;
    if (!result_has_name(result, config->warehouse, NULL))
        err_set(out_error, ERR_CONFIG, "warehouse_missing",
                "Snowflake warehouse \"%s\" does not exist, or role %s may not use it; mend it with: GRANT USAGE ON "
                "WAREHOUSE \"%s\" TO ROLE …",
                config->warehouse, role_text(config), config->warehouse);
}

// Snowflake's own codes are numbers; the others tell what failed on the way there.
static bool is_snowflakes(const struct err *error)
{
    return (error->code[0] >= '0' && error->code[0] <= '9') || strcmp(error->code, "refused") == 0;
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
                config->database, role_text(config), config->database, config->database);
    } else if (sink->open_step == SF_OPEN_LOGIN && error->kind != ERR_INTERNAL && !is_snowflakes(error)) {
        err_prefix(out_problem,
                   "cannot sign in to Snowflake's account %s (check its name, or host= and ca_file= of the "
                   "destination)",
                   config->account);
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
    case SF_OPEN_SCHEMA:
        buf_append_text(text, "SHOW SCHEMAS LIKE ");
        sf_append_literal(text, config->schema);
        buf_append_text(text, " IN DATABASE ");
        sf_append_identifier(text, config->database);
        break;
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
    if (!sf_sql_run(sink->merge_sql, buf_text(&sink->text), &open_options, on_open_statement, sink, &error))
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
    if (!sf_sql_run(sink->merge_sql, buf_text(&sink->text), &options, on_state_statement, sink, &error))
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

// --- preparing tables --------------------------------------------------------------------------------------------

static void slot_take_next(struct sf_setup_slot *slot)
{
    struct sf_sink *sink = slot->sink;
    slot->table = NULL;
    while (sink->waiting_first != NULL) {
        struct sf_sink_table *table = sink->waiting_first;
        sink->waiting_first = table->next_waiting;
        if (sink->waiting_first == NULL)
            sink->waiting_last = NULL;
        if (table->is_stopped) {
            table->is_preparing = false;
            sf_sink_notify(sink);
            continue;
        }
        slot->table = table;
        table->prepare_step = SF_PREPARE_SHOW_LANDING;
        prepare_step(slot);
        return;
    }
}

static void prepare_done(struct sf_setup_slot *slot, const struct err *error)
{
    struct sf_sink_table *table = slot->table;
    err_clear(&table->prepare_error);
    if (error != NULL)
        table->prepare_error = *error;
    table->prepare_step = SF_PREPARE_NONE;
    table->is_preparing = false;
    table->events |= SF_EVENT_PREPARED;
    sf_sink_notify(slot->sink);
    slot_take_next(slot);
}

// A table of that name is ours if its comment says so; anything else is not touched.
static bool check_is_ours(struct sf_sink_table *table, const char *schema, const char *name, const char *comment,
                          struct err *out_error)
{
    bool is_other_pipeline = false;
    const char *database = table->sink->options.config->database;
    if (sf_marker_is_ours(comment, table->sink->options.pipeline, &is_other_pipeline))
        return true;
    if (is_other_pipeline)
        return err_set(out_error, ERR_CONFIG, "table_of_other_pipeline",
                       "table \"%s\".\"%s\".\"%s\" belongs to another pipeline (its comment: %s); two pipelines cannot "
                       "write to one table: choose another schema",
                       database, schema, name, comment);
    return err_set(out_error, ERR_CONFIG, "table_not_ours",
                   "table \"%s\".\"%s\".\"%s\" exists and was not made by etl-stream; move it out of the way with: "
                   "ALTER TABLE \"%s\".\"%s\".\"%s\" RENAME TO \"%s\".\"%s\".\"%s_OLD\"",
                   database, schema, name, database, schema, name, database, schema, name);
}

// What follows a look at a table: it is made, or gets the columns that options ask for, or is good as it is. comment:
// NULL if there is no such table.
static enum sf_prepare_step step_after_show(struct sf_sink_table *table, bool is_landing, const char *comment)
{
    const enum sf_prepare_step after = is_landing ? SF_PREPARE_SHOW_TARGET : SF_PREPARE_DONE;
    bool is_wanted = is_landing ? table->layout.has_commit_at : table->layout.marks_deletes;
    if (comment == NULL)
        return table->is_only_check ? after : is_landing ? SF_PREPARE_CREATE_LANDING : SF_PREPARE_CREATE_TARGET;
    bool is_there = sf_marker_has(comment, is_landing ? SF_MARKER_COMMIT_AT : SF_MARKER_DELETED_AT);
    // Deletes were marked once: rows that come back have to lose the mark, also when deletes are done by now.
    if (!is_landing && is_there)
        table->layout.has_deleted_at = true;
    if (is_there || !is_wanted || table->is_only_check)
        return after;
    return is_landing ? SF_PREPARE_EXTEND_LANDING : SF_PREPARE_EXTEND_TARGET;
}

static enum sf_prepare_step step_after(enum sf_prepare_step step)
{
    if (step == SF_PREPARE_CREATE_LANDING)
        return SF_PREPARE_SHOW_TARGET;
    return step == SF_PREPARE_CREATE_TARGET ? SF_PREPARE_DONE : step + 1;
}

static void on_prepare_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_setup_slot *slot = context;
    struct sf_sink_table *table = slot->table;
    const struct sf_config *config = slot->sink->options.config;
    struct err problem = {0};
    bool is_landing = table->prepare_step == SF_PREPARE_SHOW_LANDING;
    // The landing schema is made at the first start only; while looking, its absence means that nothing is in the way.
    bool is_schema_absent =
        error != NULL && is_landing && table->is_only_check && strcmp(error->code, SF_CODE_ABSENT) == 0;
    if (error != NULL && !is_schema_absent) {
        prepare_done(slot, error);
        return;
    }
    if (is_landing || table->prepare_step == SF_PREPARE_SHOW_TARGET) {
        const char *name = is_landing ? table->layout.landing_name : table->layout.target_name;
        const char *comment = NULL;
        size_t row = 0;
        if (!is_schema_absent && result_has_name(result, name, &row)) {
            int column = sf_sql_column(result, "comment");
            comment = column < 0 ? NULL : sf_sql_value(result, row, (size_t)column);
            comment = comment == NULL ? "" : comment;
            if (!check_is_ours(table, is_landing ? config->landing_schema : config->schema, name, comment, &problem)) {
                prepare_done(slot, &problem);
                return;
            }
        }
        table->prepare_step = step_after_show(table, is_landing, comment);
    } else {
        table->prepare_step = step_after(table->prepare_step);
    }
    if (table->prepare_step == SF_PREPARE_DONE)
        prepare_done(slot, NULL);
    else
        prepare_step(slot);
}

static void prepare_step(struct sf_setup_slot *slot)
{
    struct sf_sink *sink = slot->sink;
    struct sf_sink_table *table = slot->table;
    const struct sf_config *config = sink->options.config;
    struct err error = {0};
    buf_reset(&sink->text);
    switch (table->prepare_step) {
    case SF_PREPARE_SHOW_LANDING:
        sf_ddl_show_table(config->database, config->landing_schema, table->layout.landing_name, &sink->text);
        break;
    case SF_PREPARE_CREATE_LANDING: sf_ddl_create_landing(&table->layout, sink->options.pipeline, &sink->text); break;
    case SF_PREPARE_SHOW_TARGET:
        sf_ddl_show_table(config->database, config->schema, table->layout.target_name, &sink->text);
        break;
    case SF_PREPARE_CREATE_TARGET: sf_ddl_create_target(&table->layout, sink->options.pipeline, &sink->text); break;
    case SF_PREPARE_EXTEND_LANDING: sf_ddl_add_commit_at(&table->layout, &sink->text); break;
    case SF_PREPARE_COMMENT_LANDING: sf_ddl_comment_landing(&table->layout, sink->options.pipeline, &sink->text); break;
    case SF_PREPARE_EXTEND_TARGET: sf_ddl_add_deleted_at(&table->layout, &sink->text); break;
    case SF_PREPARE_COMMENT_TARGET: sf_ddl_comment_target(&table->layout, sink->options.pipeline, &sink->text); break;
    case SF_PREPARE_NONE:
    case SF_PREPARE_DONE: CHECK(false);
    }
    if (!sf_sql_run(slot->sql, buf_text(&sink->text), &metadata_options, on_prepare_statement, slot, &error))
        prepare_done(slot, &error);
}

void sf_sink_table_prepare(struct sink_table *sink_table, bool only_check)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_sink *sink = table->sink;
    table->is_preparing = true;
    table->is_only_check = only_check;
    table->next_waiting = NULL;
    if (sink->waiting_last != NULL)
        sink->waiting_last->next_waiting = table;
    else
        sink->waiting_first = table;
    sink->waiting_last = table;
    for (size_t i = 0; i < SF_SETUP_STATEMENTS_MAX; i++) {
        if (sink->slots[i].table == NULL) {
            slot_take_next(&sink->slots[i]);
            return;
        }
    }
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
