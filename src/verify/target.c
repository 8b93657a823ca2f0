#include "verify/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_sql.h"

#define STATEMENT_TIMEOUT_S (24 * 3600)
#define TRIES_MAX 8

struct target {
    struct wait *wait;
    const struct sf_config *config;
    struct sf_sql *sql;
    bool is_under_way, is_answered;
    struct err error;
    json_t *answer;  // the part that is being read
    json_t *types;   // of the first part
    size_t part, part_count, row, row_count;
    const char **texts;
    size_t *sizes;
    size_t column_capacity;
};

struct target *target_new(struct wait *wait, struct http_client *http, struct sf_auth *auth,
                          const struct sf_config *config)
{
    struct target *target = calloc(1, sizeof *target);
    CHECK(target != NULL);
    target->wait = wait;
    target->config = config;
    target->sql = sf_sql_new(wait->loop, http, auth, config);
    CHECK(target->sql != NULL);
    return target;
}

void target_free(struct target *target)
{
    if (target == NULL)
        return;
    sf_sql_free(target->sql);
    json_decref(target->answer);
    json_decref(target->types);
    free(target->texts);
    free(target->sizes);
    free(target);
}

static void on_done(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct target *target = context;
    target->is_answered = true;
    if (error != NULL) {
        target->error = *error;
        return;
    }
    json_decref(target->answer);
    target->answer = json_incref(result->answer);
    target->row = 0;
    target->row_count = result->row_count;
    if (target->part > 0)
        return;
    target->part_count = result->part_count;
    json_decref(target->types);
    target->types = json_incref(json_object_get(json_object_get(result->answer, "resultSetMetaData"), "rowType"));
}

void target_begin(struct target *target, const char *sql, bool needs_warehouse)
{
    const struct sf_sql_options options = {.needs_warehouse = needs_warehouse,
                                           .timeout_s = STATEMENT_TIMEOUT_S,
                                           .tries_max = TRIES_MAX,
                                           .query_tag = "etl-stream verify",
                                           .takes_parts = true};
    CHECK(!target->is_under_way);
    target->is_under_way = true;
    target->is_answered = false;
    target->part = 0;
    err_clear(&target->error);
    if (!sf_sql_run(target->sql, sql, &options, on_done, target, &target->error))
        target->is_answered = true;
}

static bool end(struct target *target)
{
    target->is_under_way = false;
    json_decref(target->answer);
    target->answer = NULL;
    return true;
}

void target_drop(struct target *target)
{
    struct err ignored;
    if (target->is_under_way && !target->is_answered)
        (void)wait_until(target->wait, &target->is_answered, &ignored);
    (void)end(target);
}

static void take_row(struct target *target, struct target_row *out_row)
{
    const json_t *row = json_array_get(json_object_get(target->answer, "data"), target->row++);
    size_t count = json_array_size(row);
    if (count > target->column_capacity) {
        target->texts = reallocarray(target->texts, count, sizeof *target->texts);
        target->sizes = reallocarray(target->sizes, count, sizeof *target->sizes);
        CHECK(target->texts != NULL && target->sizes != NULL);
        target->column_capacity = count;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *cell = json_array_get(row, i);
        target->texts[i] = json_string_value(cell);
        target->sizes[i] = json_string_length(cell);
    }
    *out_row = (struct target_row){.column_count = count, .texts = target->texts, .sizes = target->sizes};
}

bool target_next(struct target *target, struct target_row *out_row, bool *out_end, struct err *out_error)
{
    *out_end = false;
    CHECK(target->is_under_way);
    for (;;) {
        if (!wait_until(target->wait, &target->is_answered, out_error))
            return false;
        if (err_is_set(&target->error)) {
            *out_error = target->error;
            (void)end(target);
            return false;
        }
        if (target->row < target->row_count) {
            take_row(target, out_row);
            return true;
        }
        if (target->part + 1 >= target->part_count) {
            *out_end = true;
            return end(target);
        }
        json_decref(target->answer);
        target->answer = NULL;
        target->row = target->row_count = 0;
        target->is_answered = false;
        sf_sql_part(target->sql, ++target->part, on_done, target);
    }
}

int target_column(const struct target *target, const char *name)
{
    for (size_t i = 0; i < json_array_size(target->types); i++) {
        const char *found = json_string_value(json_object_get(json_array_get(target->types, i), "name"));
        if (found != NULL && strcmp(found, name) == 0)
            return (int)i;
    }
    return -1;
}

bool target_position(struct target *target, const char *pipeline, char out_position[19], struct err *out_error)
{
    struct buf sql;
    struct target_row row;
    bool is_end = false;
    buf_init(&sql, (size_t)64 << 10);
    sf_ddl_read_state(target->config->database, target->config->landing_schema, pipeline, &sql);
    target_begin(target, buf_text(&sql), true);
    buf_deinit(&sql);
    if (!target_next(target, &row, &is_end, out_error))
        return false;
    if (is_end || row.column_count == 0 || row.texts[0] == NULL)
        return err_set(out_error, ERR_DATA, "state_table", "the state table holds no row for pipeline %s", pipeline);
    (void)snprintf(out_position, 19, "%s", row.texts[0]);
    target_drop(target);
    return true;
}
