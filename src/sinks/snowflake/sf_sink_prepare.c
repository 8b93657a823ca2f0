// Preparing tables side by side: landing and target exist, are ours, and have the columns that options ask for. What is in
// the way and not ours is left alone, or renamed aside where existing_tables says so.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_sink_private.h"

#define WHEN_SIZE 20  // 20261125T141508Z

static const struct sf_sql_options metadata_options = {.needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S};

static void prepare_step(struct sf_setup_slot *slot);

// --- schemas that are known to exist ---------------------------------------------------------------------------------

static bool is_schema_known(const struct sf_sink *sink, const char *name)
{
    for (uint32_t i = 0; i < sink->known_schema_count; i++)
        if (strcmp(sink->known_schemas[i], name) == 0)
            return true;
    return false;
}

static void schema_note(struct sf_sink *sink, const char *name)
{
    if (is_schema_known(sink, name))
        return;
    sink->known_schemas = reallocarray(sink->known_schemas, sink->known_schema_count + 1, sizeof(char *));
    CHECK(sink->known_schemas != NULL);
    sink->known_schemas[sink->known_schema_count] = strdup(name);
    CHECK(sink->known_schemas[sink->known_schema_count] != NULL);
    sink->known_schema_count++;
}

void sf_sink_prepare_deinit(struct sf_sink *sink)
{
    for (uint32_t i = 0; i < sink->known_schema_count; i++)
        free(sink->known_schemas[i]);
    free(sink->known_schemas);
}

// --- steps -------------------------------------------------------------------------------------------------------------

static enum sf_prepare_step first_step(const struct sf_sink_table *table)
{
    bool has_own_schema = table->layout.names.schema != NULL && !is_schema_known(table->sink, table->layout.schema);
    return has_own_schema ? SF_PREPARE_SHOW_SCHEMA : SF_PREPARE_SHOW_LANDING;
}

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
        table->is_schema_absent = false;
        table->prepare_step = first_step(table);
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

static bool is_landing_step(enum sf_prepare_step step)
{
    return step == SF_PREPARE_SHOW_LANDING || step == SF_PREPARE_RENAME_LANDING || step == SF_PREPARE_CREATE_LANDING;
}

static const char *step_schema(const struct sf_sink_table *table)
{
    return is_landing_step(table->prepare_step) ? table->layout.landing_schema : table->layout.schema;
}

static const char *step_name(const struct sf_sink_table *table)
{
    return is_landing_step(table->prepare_step) ? table->layout.landing_name : table->layout.target_name;
}

// Why a table that exists is not the one we write to.
static void explain_owner(const struct sf_sink_table *table, enum sf_owner owner, const char *comment,
                          struct err *out_error)
{
    const char *database = table->layout.database, *schema = step_schema(table), *name = step_name(table);
    if (owner == SF_OWNER_OTHER_PIPELINE)
        err_set(
            out_error, ERR_CONFIG, "table_of_other_pipeline",
            "table \"%s\".\"%s\".\"%s\" belongs to another pipeline (its comment: %s); two pipelines cannot write to "
            "one table: choose another schema, or another target_naming",
            database, schema, name, comment);
    else
        err_set(out_error, ERR_CONFIG, "table_not_ours",
                "table \"%s\".\"%s\".\"%s\" exists and %s; move it out of the way with: ALTER TABLE "
                "\"%s\".\"%s\".\"%s\" RENAME TO \"%s\".\"%s\".\"%s_OLD\"; or let existing_tables = replace do that",
                database, schema, name,
                owner == SF_OWNER_OTHER_TABLE ? "was made for another table of the source"
                                              : "was not made by etl-stream",
                database, schema, name, database, schema, name);
}

// What follows a look at a table: it is made, or gets the columns that options ask for, or is good as it is. comment:
// NULL if there is no such table.
static enum sf_prepare_step step_after_show(struct sf_sink_table *table, bool is_landing, const char *comment,
                                            struct err *out_problem)
{
    const enum sf_prepare_step after = is_landing ? SF_PREPARE_SHOW_TARGET : SF_PREPARE_DONE;
    bool may_make = table->prepare_mode == SINK_PREPARE_MAKE;
    bool is_wanted = is_landing ? table->layout.has_commit_at : table->layout.marks_deletes;
    if (comment == NULL && table->prepare_mode == SINK_PREPARE_KNOWN)
        err_set(out_problem, ERR_LOST, "table_gone", "table \"%s\".\"%s\".\"%s\" is not there (any more)",
                table->layout.database, step_schema(table), step_name(table));
    if (comment == NULL)
        return !may_make ? after : is_landing ? SF_PREPARE_CREATE_LANDING : SF_PREPARE_CREATE_TARGET;
    enum sf_owner owner = sf_marker_owner(comment, table->sink->options.pipeline, table->layout.table);
    if (owner != SF_OWNER_US) {
        if (owner != SF_OWNER_OTHER_PIPELINE && table->sink->options.replaces_existing &&
            table->prepare_mode != SINK_PREPARE_KNOWN)
            return !may_make ? after : is_landing ? SF_PREPARE_RENAME_LANDING : SF_PREPARE_RENAME_TARGET;
        explain_owner(table, owner, comment, out_problem);
        return after;
    }
    bool is_there = sf_marker_has(comment, is_landing ? SF_MARKER_COMMIT_AT : SF_MARKER_DELETED_AT);
    // Deletes were marked once: rows that come back have to lose the mark, also when deletes are done by now.
    if (!is_landing && is_there)
        table->layout.has_deleted_at = true;
    enum sf_prepare_step next = after;
    if (!is_there && is_wanted && table->prepare_mode != SINK_PREPARE_CHECK)
        next = is_landing ? SF_PREPARE_EXTEND_LANDING : SF_PREPARE_EXTEND_TARGET;
    if (is_landing || !sf_marker_has(comment, SF_MARKER_COERCED))
        return next;
    table->layout.has_coerced = true;
    if (table->prepare_mode == SINK_PREPARE_CHECK)
        return next;
    table->step_after_coerced = next;
    return SF_PREPARE_COERCED_TARGET;
}

static enum sf_prepare_step step_after(const struct sf_sink_table *table)
{
    switch (table->prepare_step) {
    case SF_PREPARE_COERCED_TARGET: return table->step_after_coerced;
    case SF_PREPARE_CREATE_LANDING: return SF_PREPARE_SHOW_TARGET;
    case SF_PREPARE_CREATE_TARGET: return SF_PREPARE_DONE;
    default: return table->prepare_step + 1;
    }
}

static enum sf_prepare_step step_after_schema(struct sf_sink_table *table, const struct sf_sql_result *result,
                                              struct err *out_problem)
{
    if (sf_sink_result_has_name(result, table->layout.schema, NULL)) {
        schema_note(table->sink, table->layout.schema);
        return SF_PREPARE_SHOW_LANDING;
    }
    table->is_schema_absent = true;
    if (table->prepare_mode == SINK_PREPARE_KNOWN)
        err_set(out_problem, ERR_LOST, "table_gone", "schema \"%s\".\"%s\" is not there (any more)",
                table->layout.database, table->layout.schema);
    return table->prepare_mode == SINK_PREPARE_MAKE ? SF_PREPARE_CREATE_SCHEMA : SF_PREPARE_SHOW_LANDING;
}

// A statement failed: what that means at this step. False: nothing, the table is simply not there.
static bool explain(const struct sf_sink_table *table, const struct err *error, struct err *out_problem)
{
    const struct sf_config *config = table->sink->options.config;
    bool is_absent = strcmp(error->code, SF_CODE_ABSENT) == 0;
    // The landing schema is made at the first start only; while looking, its absence means that nothing is in the way.
    if (is_absent && table->prepare_mode == SINK_PREPARE_CHECK && table->prepare_step == SF_PREPARE_SHOW_LANDING)
        return false;
    *out_problem = *error;
    bool is_refused = error->kind != ERR_TRANSIENT;
    if (is_refused &&
        (table->prepare_step == SF_PREPARE_CREATE_SCHEMA || table->prepare_step == SF_PREPARE_RENAME_LANDING ||
         table->prepare_step == SF_PREPARE_RENAME_TARGET))
        out_problem->kind = ERR_CONFIG;  // a privilege, most likely
    if (table->prepare_step == SF_PREPARE_CREATE_SCHEMA && is_refused)
        err_prefix(out_problem,
                   "schema \"%s\".\"%s\" is missing and cannot be made; mend it with: CREATE SCHEMA \"%s\".\"%s\"; "
                   "GRANT USAGE, CREATE TABLE ON SCHEMA \"%s\".\"%s\" TO ROLE %s",
                   config->database, table->layout.schema, config->database, table->layout.schema, config->database,
                   table->layout.schema, sf_sink_role_text(config));
    else if (table->prepare_step == SF_PREPARE_RENAME_LANDING || table->prepare_step == SF_PREPARE_RENAME_TARGET)
        err_prefix(out_problem, "table \"%s\".\"%s\".\"%s\" cannot be renamed aside (existing_tables = replace)",
                   config->database, step_schema(table), step_name(table));
    return true;
}

static void on_prepare_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_setup_slot *slot = context;
    struct sf_sink_table *table = slot->table;
    struct err problem = {0};
    bool is_landing = table->prepare_step == SF_PREPARE_SHOW_LANDING;
    if (error != NULL && explain(table, error, &problem)) {
        prepare_done(slot, &problem);
        return;
    }
    if (table->prepare_step == SF_PREPARE_SHOW_SCHEMA) {
        table->prepare_step = step_after_schema(table, result, &problem);
    } else if (is_landing || table->prepare_step == SF_PREPARE_SHOW_TARGET) {
        const char *comment = NULL;
        size_t row = 0;
        if (error == NULL && sf_sink_result_has_name(result, step_name(table), &row)) {
            int column = sf_sql_column(result, "comment");
            comment = column < 0 ? NULL : sf_sql_value(result, row, (size_t)column);
            comment = comment == NULL ? "" : comment;
        }
        table->prepare_step = step_after_show(table, is_landing, comment, &problem);
    } else {
        if (table->prepare_step == SF_PREPARE_CREATE_SCHEMA)
            schema_note(table->sink, table->layout.schema);
        table->prepare_step = step_after(table);
    }
    // A target in a schema that is not there: only looked at, there is nothing to see.
    if (table->prepare_step == SF_PREPARE_SHOW_TARGET && table->is_schema_absent &&
        !is_schema_known(table->sink, table->layout.schema))
        table->prepare_step = SF_PREPARE_DONE;
    if (err_is_set(&problem) || table->prepare_step == SF_PREPARE_DONE)
        prepare_done(slot, err_is_set(&problem) ? &problem : NULL);
    else
        prepare_step(slot);
}

// RFC 3339 without what a name need not have.
static void format_when(const struct sf_sink *sink, char out[WHEN_SIZE])
{
    char text[32];
    size_t length = 0;
    clock_format(loop_wall_us(sink->options.loop), text, sizeof text);
    for (const char *c = text; *c != '\0' && *c != '.'; c++)
        if (isalnum((unsigned char)*c))
            out[length++] = *c;
    out[length++] = 'Z';
    out[length] = '\0';
}

static void rename_text(struct sf_sink *sink, const struct sf_sink_table *table)
{
    char when[WHEN_SIZE];
    struct log_scope scope = {sink->options.pipeline, table->layout.target_name};
    format_when(sink, when);
    sf_ddl_rename_aside(table->layout.database, step_schema(table), step_name(table), when, &sink->text);
    log_line(LOG_WARNING, &scope, "renamed_aside", "%s (it was not made for this table; existing_tables = replace)",
             buf_text(&sink->text));
}

static void prepare_step(struct sf_setup_slot *slot)
{
    struct sf_sink *sink = slot->sink;
    struct sf_sink_table *table = slot->table;
    const struct sf_table_layout *layout = &table->layout;
    const char *pipeline = sink->options.pipeline;
    struct err error = {0};
    buf_reset(&sink->text);
    switch (table->prepare_step) {
    case SF_PREPARE_SHOW_SCHEMA: sf_ddl_show_schema(layout->database, layout->schema, &sink->text); break;
    case SF_PREPARE_CREATE_SCHEMA: sf_ddl_create_schema(layout->database, layout->schema, pipeline, &sink->text); break;
    case SF_PREPARE_SHOW_LANDING:
    case SF_PREPARE_SHOW_TARGET:
        sf_ddl_show_table(layout->database, step_schema(table), step_name(table), &sink->text);
        break;
    case SF_PREPARE_RENAME_LANDING:
    case SF_PREPARE_RENAME_TARGET: rename_text(sink, table); break;
    case SF_PREPARE_CREATE_LANDING: sf_ddl_create_landing(layout, pipeline, &sink->text); break;
    case SF_PREPARE_CREATE_TARGET: sf_ddl_create_target(layout, pipeline, &sink->text); break;
    case SF_PREPARE_EXTEND_LANDING: sf_ddl_add_commit_at(layout, &sink->text); break;
    case SF_PREPARE_COMMENT_LANDING: sf_ddl_comment_landing(layout, pipeline, &sink->text); break;
    case SF_PREPARE_COERCED_TARGET: sf_ddl_add_coerced(layout, &sink->text); break;
    case SF_PREPARE_EXTEND_TARGET: sf_ddl_add_deleted_at(layout, &sink->text); break;
    case SF_PREPARE_COMMENT_TARGET: sf_ddl_comment_target(layout, pipeline, &sink->text); break;
    case SF_PREPARE_NONE:
    case SF_PREPARE_DONE: CHECK(false);
    }
    if (!sf_sql_run(slot->sql, buf_text(&sink->text), &metadata_options, on_prepare_statement, slot, &error))
        prepare_done(slot, &error);
}

void sf_sink_table_prepare(struct sink_table *sink_table, enum sink_prepare mode)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_sink *sink = table->sink;
    table->is_preparing = true;
    table->prepare_mode = mode;
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
