// Preparing tables side by side: landing and target exist, are ours, and have the columns that options ask for. What is in
// the way and not ours is left alone, or renamed aside where existing_tables says so.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "io/metric_registry.h"
#include "sinks/snowflake/sf_sink_private.h"

#define EVOLVE_TRIES_MAX 5

static const struct sf_sql_options metadata_options = {.needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S};
static const struct sf_sql_options question_options = {.needs_warehouse = true, .timeout_s = SF_SETUP_TIMEOUT_S};

static void prepare_step(struct sf_setup_slot *slot);

// RFC 3339 without what a name need not have.
static void format_when(const struct sf_sink *sink, char out[SF_EVOLVE_WHEN_SIZE])
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
    if (table->is_publishing)
        return SF_PREPARE_SWAP_SHADOW;
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
        if (!table->is_publishing)
            table->is_shadow_told = table->is_swap_told = table->layout.is_reshaping = false;
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
    sf_evolution_deinit(&table->evolution);
    sf_evolution_deinit(&table->shadow_evolution);
    table->prepare_step = SF_PREPARE_NONE;
    table->is_preparing = false;
    if (!table->is_publishing && error == NULL && table->prepare_mode != SINK_PREPARE_CHECK)
        metric_add(table->meter_prepared, 1);
    if (!table->is_publishing)
        table->events |= SF_EVENT_PREPARED;
    else if (error == NULL)
        table->events |= SF_EVENT_PUBLISHED;
    else
        sf_sink_table_fail(table, error);
    table->is_publishing = false;
    sf_sink_notify(slot->sink);
    slot_take_next(slot);
}

static bool is_landing_step(enum sf_prepare_step step)
{
    return step == SF_PREPARE_SHOW_LANDING || step == SF_PREPARE_RENAME_LANDING || step == SF_PREPARE_CREATE_LANDING ||
           step == SF_PREPARE_EVOLVE_LANDING;
}

static const char *step_schema(const struct sf_sink_table *table)
{
    return is_landing_step(table->prepare_step) ? table->layout.landing_schema : table->layout.schema;
}

static const char *step_name(const struct sf_sink_table *table)
{
    if (table->prepare_step == SF_PREPARE_SHOW_SHADOW)
        return table->layout.shadow_name;
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
                "\"%s\".\"%s\".\"%s\" RENAME TO \"%s\".\"%s\".\"%s_OLD\"; or let existing_tables = replace do that; "
                "etl-stream "
                "migrate does it for all that the first etl-stream has left",
                database, schema, name,
                owner == SF_OWNER_OTHER_TABLE ? "was made for another table of the source"
                                              : "was not made by etl-stream",
                database, schema, name, database, schema, name);
}

// The source table was called otherwise when it was made (it moved to another schema, say): it is still that table's.
static bool is_of_former_name(const struct sf_sink_table *table, const char *comment)
{
    const struct table *definition = table->layout.table;
    const struct table former = {.schema_name = definition->former_schema_name,
                                 .table_name = definition->former_table_name};
    return former.schema_name != NULL && former.table_name != NULL &&
           sf_marker_owner(comment, table->sink->options.pipeline, &former) == SF_OWNER_US;
}

// What follows a look at a table: it is made, or gets the columns that options ask for, or is good as it is. comment:
// NULL if there is no such table.
static enum sf_prepare_step step_after_show(struct sf_sink_table *table, bool is_landing, const char *comment,
                                            struct err *out_problem)
{
    const enum sf_prepare_step after = is_landing ? SF_PREPARE_SHOW_TARGET : SF_PREPARE_DONE;
    bool may_make = table->prepare_mode == SINK_PREPARE_MAKE;
    bool is_followed = table->prepare_mode == SINK_PREPARE_FOLLOW;
    bool is_wanted = is_landing ? table->layout.has_commit_at : table->layout.marks_deletes;
    if (comment == NULL && (table->prepare_mode == SINK_PREPARE_KNOWN || is_followed))
        err_set(out_problem, ERR_LOST, "table_gone", "table \"%s\".\"%s\".\"%s\" is not there (any more)",
                table->layout.database, step_schema(table), step_name(table));
    if (comment == NULL)
        return !may_make ? after : is_landing ? SF_PREPARE_CREATE_LANDING : SF_PREPARE_CREATE_TARGET;
    enum sf_owner owner = sf_marker_owner(comment, table->sink->options.pipeline, table->layout.table);
    bool is_renamed = owner == SF_OWNER_OTHER_TABLE && is_of_former_name(table, comment);
    if (owner != SF_OWNER_US && !is_renamed) {
        if (owner != SF_OWNER_OTHER_PIPELINE && table->sink->options.replaces_existing &&
            table->prepare_mode != SINK_PREPARE_KNOWN && !is_followed)
            return !may_make ? after : is_landing ? SF_PREPARE_RENAME_LANDING : SF_PREPARE_RENAME_TARGET;
        explain_owner(table, owner, comment, out_problem);
        return after;
    }
    bool is_there = sf_marker_has(comment, is_landing ? SF_MARKER_COMMIT_AT : SF_MARKER_DELETED_AT);
    // Deletes were marked once: rows that come back have to lose the mark, also when deletes are done by now.
    if (!is_landing && is_there)
        table->layout.has_deleted_at = true;
    if (!is_landing) {
        table->is_shadow_told = sf_marker_has(comment, SF_MARKER_SHADOW);
        table->is_swap_told = sf_marker_has(comment, SF_MARKER_SWAPPED);
    }
    enum sf_prepare_step next = after;
    if (!is_there && is_wanted && table->prepare_mode != SINK_PREPARE_CHECK)
        next = is_landing ? SF_PREPARE_EXTEND_LANDING : SF_PREPARE_EXTEND_TARGET;
    else if (is_renamed && may_make)
        next = is_landing ? SF_PREPARE_COMMENT_LANDING : SF_PREPARE_COMMENT_TARGET;
    if (!is_landing && sf_marker_has(comment, SF_MARKER_COERCED)) {
        table->layout.has_coerced = true;
        if (table->prepare_mode != SINK_PREPARE_CHECK) {
            table->step_after_coerced = next;
            next = SF_PREPARE_COERCED_TARGET;
        }
    }
    if (!may_make && !is_followed && table->prepare_mode != SINK_PREPARE_CHECK)
        return next;
    table->step_after_evolve = next;
    return is_landing ? SF_PREPARE_DESCRIBE_LANDING : SF_PREPARE_DESCRIBE_TARGET;
}

static const char *described(const struct sf_sql_result *result, size_t row, const char *name)
{
    int column = sf_sql_column(result, name);
    const char *text = column < 0 ? NULL : sf_sql_value(result, row, (size_t)column);
    return text != NULL ? text : "";
}

static const char *described_default(const struct sf_sql_result *result, size_t row)
{
    const char *text = described(result, row, "default");
    return *text != '\0' ? text : NULL;
}

static enum sf_prepare_step step_after_plan(const struct sf_sink_table *table, bool is_landing)
{
    if (table->evolution.count == 0)
        return table->step_after_evolve;
    return is_landing ? SF_PREPARE_EVOLVE_LANDING : SF_PREPARE_EVOLVE_TARGET;
}

static enum sf_prepare_step step_after_question(const struct sf_sink_table *table, const struct sf_sql_result *result,
                                                struct err *out_problem)
{
    const char *rows = result->row_count == 1 ? sf_sql_value(result, 0, 0) : NULL;
    if (rows == NULL || strcmp(rows, "0") != 0)
        err_set(
            out_problem, ERR_LOST, "schema_changed",
            "its definition changed, and cannot be followed in place: _ETL_COERCED of the target tells in %s row(s) "
            "of columns that were renamed or dropped",
            rows != NULL ? rows : "some");
    return step_after_plan(table, false);
}

// What a table looks like that is only looked at.
static void judge_described(const struct sf_sink_table *table, bool is_landing, const struct sf_sql_result *result,
                            struct err *out_problem)
{
    const struct sf_table_layout *layout = &table->layout;
    for (size_t row = 0; row < result->row_count; row++) {
        const char *name = described(result, row, "name");
        const char *collation = strstr(described(result, row, "type"), "COLLATE ");
        for (uint16_t i = 0; collation != NULL && i < layout->table->column_count; i++)
            if (strcmp(layout->column_names[i], name) == 0)
                err_set(out_problem, ERR_CONFIG, "collation",
                        "column \"%s\" of table \"%s\".\"%s\".\"%s\" has a collation (%s): by it texts that differ "
                        "may be equal, and of two rows whose keys are one is lost; etl-stream pipeline resync %s %s.%s "
                        "copies the table anew, into columns without one",
                        name, layout->database, is_landing ? layout->landing_schema : layout->schema,
                        is_landing ? layout->landing_name : layout->target_name, collation,
                        table->sink->options.pipeline, layout->table->schema_name, layout->table->table_name);
    }
}

// A table that exists gets the columns that it lacks, and those of other types.
static enum sf_prepare_step step_after_describe(struct sf_sink_table *table, const struct sf_sql_result *result,
                                                struct err *out_problem)
{
    bool is_landing = table->prepare_step == SF_PREPARE_DESCRIBE_LANDING;
    bool *is_altered = is_landing ? &table->is_landing_altered : &table->is_target_altered;
    const struct sf_naming *naming = &table->sink->options.naming;
    struct sf_described_column *columns = calloc(result->row_count + 1, sizeof *columns);
    char when[SF_EVOLVE_WHEN_SIZE];
    if (table->prepare_mode == SINK_PREPARE_CHECK) {
        free(columns);
        judge_described(table, is_landing, result, out_problem);
        return table->step_after_evolve;
    }
    CHECK(columns != NULL);
    format_when(table->sink, when);
    size_t length = strlen(when);
    (void)snprintf(when + length, sizeof when - length, "_%03u",
                   (unsigned)(loop_wall_us(table->sink->options.loop) / 1000 % 1000));
    for (size_t row = 0; row < result->row_count; row++)
        columns[row] = (struct sf_described_column){.name = described(result, row, "name"),
                                                    .type = described(result, row, "type"),
                                                    .default_text = described_default(result, row)};
    const enum sf_evolve_purpose purpose = table->prepare_mode != SINK_PREPARE_FOLLOW ? SF_EVOLVE_REPLACE
                                           : *is_altered                              ? SF_EVOLVE_RESUME
                                                                                      : SF_EVOLVE_FOLLOW;
    sf_evolution_deinit(&table->evolution);  // the landing table's, or that of an earlier try
    sf_evolve_plan(&table->layout, naming, is_landing ? SF_EVOLVE_LANDING : SF_EVOLVE_TARGET, purpose, columns,
                   result->row_count, when, &table->evolution);
    if (table->evolution.obstacle[0] != '\0')
        err_set(out_problem, ERR_LOST, "schema_changed", "its definition changed, and cannot be followed in place: %s",
                table->evolution.obstacle);
    *is_altered = purpose != SF_EVOLVE_REPLACE && table->evolution.obstacle[0] == '\0';
    if (table->evolution.needs_shadow) {
        // Readers keep the target as it is: what can be done to it is done to the shadow as well.
        sf_evolution_deinit(&table->evolution);
        sf_evolution_deinit(&table->shadow_evolution);
        sf_evolve_plan(&table->layout, naming, SF_EVOLVE_SHADOW, purpose, columns, result->row_count, when,
                       &table->shadow_evolution);
        table->shadow_evolution.needs_shadow = true;
    }
    free(columns);
    table->evolution_next = 0;
    return table->evolution.question != NULL ? SF_PREPARE_ASK_TARGET : step_after_plan(table, is_landing);
}

// After the target itself: what an earlier try left behind goes, and a shadow is made where it has to be one.
static enum sf_prepare_step step_after_target(const struct sf_sink_table *table)
{
    if (table->prepare_mode == SINK_PREPARE_CHECK)
        return SF_PREPARE_DONE;
    return table->shadow_evolution.needs_shadow || table->is_shadow_told || table->is_swap_told ? SF_PREPARE_SHOW_SHADOW
                                                                                                : SF_PREPARE_DONE;
}

static enum sf_prepare_step step_after_shadow_is_gone(const struct sf_sink_table *table)
{
    return table->shadow_evolution.needs_shadow ? SF_PREPARE_TELL_SHADOW : SF_PREPARE_UNTELL_SHADOW;
}

static enum sf_prepare_step step_after_shadow(struct sf_sink_table *table, const char *comment, struct err *out_problem)
{
    if (table->prepare_mode == SINK_PREPARE_KNOWN && !table->is_swap_told) {
        if (comment == NULL)
            err_set(out_problem, ERR_LOST, "table_gone", "table \"%s\".\"%s\".\"%s\" is not there (any more)",
                    table->layout.database, table->layout.schema, table->layout.shadow_name);
        table->layout.is_reshaping = true;
        return SF_PREPARE_DONE;
    }
    enum sf_owner owner = comment == NULL || *comment == '\0'
                              ? SF_OWNER_US  // not there, or made and not marked yet
                              : sf_marker_owner(comment, table->sink->options.pipeline, table->layout.table);
    if (owner == SF_OWNER_NOBODY || owner == SF_OWNER_OTHER_PIPELINE) {
        if (table->is_swap_told && !table->shadow_evolution.needs_shadow)
            return SF_PREPARE_UNTELL_SHADOW;  // the former target is gone, and the name somebody else's
        explain_owner(table, owner, comment, out_problem);
    }
    return comment != NULL ? SF_PREPARE_DROP_SHADOW : step_after_shadow_is_gone(table);
}

static bool has_next_statement(struct sf_sink_table *table, const struct sf_evolution *evolution)
{
    return ++table->evolution_next < evolution->count;
}

static enum sf_prepare_step step_after(struct sf_sink_table *table)
{
    enum sf_prepare_step step = table->prepare_step;
    switch (step) {
    case SF_PREPARE_COERCED_TARGET: return table->step_after_coerced;
    case SF_PREPARE_CREATE_LANDING:
    case SF_PREPARE_COMMENT_LANDING: return SF_PREPARE_SHOW_TARGET;
    case SF_PREPARE_CREATE_TARGET:
    case SF_PREPARE_COMMENT_TARGET:
    case SF_PREPARE_COMMENT_SHADOW:
    case SF_PREPARE_UNTELL_SHADOW: return SF_PREPARE_DONE;
    case SF_PREPARE_EVOLVE_LANDING:
    case SF_PREPARE_EVOLVE_TARGET:
        return has_next_statement(table, &table->evolution) ? step : table->step_after_evolve;
    case SF_PREPARE_EVOLVE_SHADOW:
        return has_next_statement(table, &table->shadow_evolution) ? step : SF_PREPARE_COMMENT_SHADOW;
    case SF_PREPARE_DROP_SHADOW: return step_after_shadow_is_gone(table);
    case SF_PREPARE_CREATE_SHADOW:
        table->layout.is_reshaping = true;
        table->evolution_next = 0;
        return SF_PREPARE_EVOLVE_SHADOW;
    case SF_PREPARE_SWAP_SHADOW: table->layout.is_reshaping = false; return step + 1;
    default: return step + 1;
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
        (table->prepare_step == SF_PREPARE_EVOLVE_LANDING || table->prepare_step >= SF_PREPARE_EVOLVE_TARGET ||
         table->prepare_step == SF_PREPARE_CREATE_SCHEMA || table->prepare_step == SF_PREPARE_RENAME_LANDING ||
         table->prepare_step == SF_PREPARE_RENAME_TARGET))
        out_problem->kind = ERR_CONFIG;  // a privilege, most likely
    if (is_refused && table->prepare_step == SF_PREPARE_ASK_TARGET) {
        out_problem->kind = ERR_LOST;  // a copy does without the answer
        err_prefix(out_problem, "its definition changed, and cannot be followed in place: the target cannot be asked");
    }
    if (table->prepare_step == SF_PREPARE_CREATE_SCHEMA && is_refused)
        err_prefix(out_problem,
                   "schema \"%s\".\"%s\" is missing and cannot be made; mend it with: CREATE SCHEMA \"%s\".\"%s\"; "
                   "GRANT USAGE, CREATE TABLE ON SCHEMA \"%s\".\"%s\" TO ROLE %s",
                   config->database, table->layout.schema, config->database, table->layout.schema, config->database,
                   table->layout.schema, sf_sink_role_text(config));
    else if (table->prepare_step == SF_PREPARE_EVOLVE_LANDING || table->prepare_step == SF_PREPARE_EVOLVE_TARGET ||
             table->prepare_step == SF_PREPARE_EVOLVE_SHADOW || table->prepare_step == SF_PREPARE_CREATE_SHADOW)
        err_prefix(out_problem, "table \"%s\".\"%s\".\"%s\" cannot get the columns of the changed definition",
                   config->database, step_schema(table), step_name(table));
    else if (table->prepare_step == SF_PREPARE_RENAME_LANDING || table->prepare_step == SF_PREPARE_RENAME_TARGET)
        err_prefix(out_problem, "table \"%s\".\"%s\".\"%s\" cannot be renamed aside (existing_tables = replace)",
                   config->database, step_schema(table), step_name(table));
    return true;
}

// Rows of the old definition that were still on their way made Snowflake add the column that had just been renamed aside: the table is
// looked at again.
static bool has_evolved_itself(struct sf_sink_table *table, const struct err *error)
{
    return table->prepare_step == SF_PREPARE_EVOLVE_LANDING && strcmp(error->code, SF_CODE_COLUMN_EXISTS) == 0 &&
           table->evolve_tries++ < EVOLVE_TRIES_MAX;
}

static void on_prepare_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_setup_slot *slot = context;
    struct sf_sink_table *table = slot->table;
    struct err problem = {0};
    enum sf_prepare_step step = table->prepare_step;
    bool is_landing = step == SF_PREPARE_SHOW_LANDING, is_shadow = step == SF_PREPARE_SHOW_SHADOW;
    if (error != NULL && has_evolved_itself(table, error)) {
        sf_evolution_deinit(&table->evolution);
        table->prepare_step = SF_PREPARE_DESCRIBE_LANDING;
        prepare_step(slot);
        return;
    }
    if (error != NULL && explain(table, error, &problem)) {
        prepare_done(slot, &problem);
        return;
    }
    if (table->is_stopped) {
        prepare_done(slot, NULL);
        return;
    }
    if (step == SF_PREPARE_SHOW_SCHEMA) {
        table->prepare_step = step_after_schema(table, result, &problem);
    } else if (step == SF_PREPARE_DESCRIBE_LANDING || step == SF_PREPARE_DESCRIBE_TARGET) {
        table->prepare_step = step_after_describe(table, result, &problem);
    } else if (step == SF_PREPARE_ASK_TARGET) {
        table->prepare_step = step_after_question(table, result, &problem);
    } else if (is_landing || is_shadow || step == SF_PREPARE_SHOW_TARGET) {
        const char *comment = NULL;
        size_t row = 0;
        if (error == NULL && sf_sink_result_has_name(result, step_name(table), &row)) {
            int column = sf_sql_column(result, "comment");
            comment = column < 0 ? NULL : sf_sql_value(result, row, (size_t)column);
            comment = comment == NULL ? "" : comment;
        }
        table->prepare_step = is_shadow ? step_after_shadow(table, comment, &problem)
                                        : step_after_show(table, is_landing, comment, &problem);
    } else {
        if (step == SF_PREPARE_CREATE_SCHEMA)
            schema_note(table->sink, table->layout.schema);
        table->prepare_step = step_after(table);
    }
    // A target in a schema that is not there: only looked at, there is nothing to see.
    if (table->prepare_step == SF_PREPARE_SHOW_TARGET && table->is_schema_absent &&
        !is_schema_known(table->sink, table->layout.schema))
        table->prepare_step = SF_PREPARE_DONE;
    if (table->prepare_step == SF_PREPARE_DONE && step < SF_PREPARE_SHOW_SHADOW)
        table->prepare_step = step_after_target(table);
    if (err_is_set(&problem) || table->prepare_step == SF_PREPARE_DONE)
        prepare_done(slot, err_is_set(&problem) ? &problem : NULL);
    else
        prepare_step(slot);
}

static void rename_text(struct sf_sink *sink, const struct sf_sink_table *table)
{
    char when[SF_EVOLVE_WHEN_SIZE];
    struct log_scope scope = {sink->options.pipeline, table->layout.target_name};
    format_when(sink, when);
    sf_ddl_rename_aside(table->layout.database, step_schema(table), step_name(table), when, &sink->text);
    log_line(LOG_WARNING, &scope, "renamed_aside", "%s (it was not made for this table; existing_tables = replace)",
             buf_text(&sink->text));
}

static void evolve_text(struct sf_sink *sink, const struct sf_sink_table *table, const struct sf_evolution *evolution)
{
    struct log_scope scope = {sink->options.pipeline, table->layout.target_name};
    CHECK(table->evolution_next < evolution->count);
    buf_append_text(&sink->text, evolution->statements[table->evolution_next]);
    log_line(LOG_INFO, &scope, "evolve", "%s", buf_text(&sink->text));
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
    case SF_PREPARE_SHOW_SHADOW:
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
    case SF_PREPARE_DESCRIBE_LANDING: sf_ddl_describe(layout, true, &sink->text); break;
    case SF_PREPARE_DESCRIBE_TARGET: sf_ddl_describe(layout, false, &sink->text); break;
    case SF_PREPARE_ASK_TARGET: buf_append_text(&sink->text, table->evolution.question); break;
    case SF_PREPARE_EVOLVE_LANDING:
    case SF_PREPARE_EVOLVE_TARGET: evolve_text(sink, table, &table->evolution); break;
    case SF_PREPARE_EVOLVE_SHADOW: evolve_text(sink, table, &table->shadow_evolution); break;
    case SF_PREPARE_TELL_SHADOW: sf_ddl_comment_shadowed(layout, pipeline, &sink->text); break;
    case SF_PREPARE_CREATE_SHADOW: sf_ddl_create_shadow(layout, &sink->text); break;
    case SF_PREPARE_COMMENT_SHADOW:
    case SF_PREPARE_UNTELL_SHADOW:
    case SF_PREPARE_UNTELL_SWAPPED: sf_ddl_comment_target(layout, pipeline, &sink->text); break;
    case SF_PREPARE_SWAP_SHADOW: sf_ddl_swap_shadow(layout, &sink->text); break;
    case SF_PREPARE_DROP_SHADOW:
    case SF_PREPARE_DROP_SWAPPED: sf_ddl_drop_shadow(layout, &sink->text); break;
    case SF_PREPARE_NONE:
    case SF_PREPARE_DONE: CHECK(false);
    }
    bool is_question = table->prepare_step == SF_PREPARE_ASK_TARGET;
    if (!sf_sql_run(slot->sql, buf_text(&sink->text), is_question ? &question_options : &metadata_options,
                    on_prepare_statement, slot, &error))
        prepare_done(slot, &error);
}

static void queue(struct sf_sink_table *table, enum sink_prepare mode)
{
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

void sf_sink_table_prepare(struct sink_table *sink_table, enum sink_prepare mode)
{
    queue(sf_sink_table_of(sink_table), mode);
}

// --- readers see it ----------------------------------------------------------------------------------------------------

bool sf_sink_is_hidden(const struct sink_table *sink_table)
{
    return ((const struct sf_sink_table *)sink_table)->layout.is_reshaping;
}

void sf_sink_publish(struct sink_table *sink_table, uint8_t epoch, lsn_t copy_lsn, uint64_t copied_rows)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    (void)epoch;
    (void)copy_lsn;
    (void)copied_rows;
    CHECK(table->layout.is_reshaping && !table->is_preparing);
    table->is_publishing = true;
    queue(table, SINK_PREPARE_KNOWN);
}
