// Prints what the program would send to Snowflake: for each line of JSON on standard input (a window and its tables, see
// tests/integration/merge_tool.py) one line of JSON with the merge and the DDL.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_merge.h"
#include "unit/encode_tables.h"

#define TABLES_MAX 128
#define TEXT_SIZE_MAX (4U << 20)

struct described {
    struct table table;
    struct column_encoder *encoders;
    struct sf_table_layout layout;
    bool has_layout;
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    CHECK(text != NULL);
    return text;
}

static int64_t number_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static char *name_at(const json_t *object, const char *key)
{
    return (char *)(uintptr_t)text_at(object, key);
}

static enum target_kind kind_of(const char *name)
{
    static const char *const names[] = {[TARGET_BOOLEAN] = "BOOLEAN",
                                        [TARGET_NUMBER] = "NUMBER",
                                        [TARGET_FLOAT] = "FLOAT",
                                        [TARGET_VARCHAR] = "VARCHAR",
                                        [TARGET_BINARY] = "BINARY",
                                        [TARGET_DATE] = "DATE",
                                        [TARGET_TIME] = "TIME",
                                        [TARGET_TIMESTAMP_NTZ] = "TIMESTAMP_NTZ",
                                        [TARGET_TIMESTAMP_TZ] = "TIMESTAMP_TZ",
                                        [TARGET_VARIANT] = "VARIANT",
                                        [TARGET_ARRAY] = "ARRAY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return (enum target_kind)i;
    CHECK(false);
    return TARGET_VARCHAR;
}

static void describe(const json_t *from, struct described *out)
{
    const json_t *columns = json_object_get(from, "columns");
    uint16_t count = (uint16_t)json_array_size(columns);
    const char *identity = text_at(from, "identity");
    struct table *table = &out->table;
    table->schema_name = name_at(from, "schema");
    table->table_name = name_at(from, "table");
    table->identity = strcmp(identity, "nothing") == 0 ? IDENTITY_NOTHING
                      : strcmp(identity, "full") == 0  ? IDENTITY_FULL
                                                       : IDENTITY_KEY;
    table->column_count = count;
    table->columns = calloc((size_t)count + 1, sizeof *table->columns);
    out->encoders = calloc((size_t)count + 1, sizeof *out->encoders);
    CHECK(table->columns != NULL && out->encoders != NULL);
    for (uint16_t i = 0; i < count; i++) {
        const json_t *column = json_array_get(columns, i);
        table->columns[i].name = name_at(column, "name");
        table->columns[i].type = base_type((uint32_t)number_at(column, "oid"), -1);
        table->columns[i].attribute_number = (int16_t)number_at(column, "number");
        table->columns[i].key_position = (int16_t)number_at(column, "key_position");
        if (table->columns[i].key_position >= 0)
            table->key_count++;
        out->encoders[i].target.kind = kind_of(text_at(column, "kind"));
        out->encoders[i].target.precision = (uint8_t)number_at(column, "precision");
        out->encoders[i].target.scale = (uint8_t)number_at(column, "scale");
        out->encoders[i].target.length = out->encoders[i].target.kind == TARGET_BINARY ? 8388608 : 16777216;
    }
}

static void undescribe(struct described *one)
{
    if (one->has_layout)
        sf_layout_deinit(&one->layout);
    free(one->encoders);
    free(one->table.columns);
}

static void copy_text(char *out, size_t out_size, const char *text)
{
    CHECK(strlen(text) < out_size);
    (void)snprintf(out, out_size, "%s", text);
}

static void merge_table_fill(const json_t *from, const struct described *described, struct sf_merge_table *out)
{
    *out = (struct sf_merge_table){.layout = &described->layout,
                                   .is_first = json_is_true(json_object_get(from, "is_first")),
                                   .copy_lsn = (lsn_t)number_at(from, "copy_lsn"),
                                   .copied_rows = (uint64_t)number_at(from, "copied_rows"),
                                   .may_have_unchanged = json_is_true(json_object_get(from, "may_have_unchanged")),
                                   .may_have_moved = json_is_true(json_object_get(from, "may_have_moved"))};
    copy_text(out->highest_committed, sizeof out->highest_committed, text_at(from, "highest_committed"));
    const json_t *also = json_object_get(from, "also_committed");
    CHECK(json_array_size(also) < SPREAD_CHANNELS_MAX);
    for (size_t i = 0; i < json_array_size(also); i++)
        copy_text(out->also_committed[out->also_committed_count++], sizeof out->also_committed[0],
                  json_string_value(json_array_get(also, i)));
}

static void window_fill(const json_t *from, struct sf_merge_window *out)
{
    *out = (struct sf_merge_window){.database = text_at(from, "database"),
                                    .landing_schema = text_at(from, "landing_schema"),
                                    .pipeline = text_at(from, "pipeline"),
                                    .epoch = (uint8_t)number_at(from, "epoch"),
                                    .from = (lsn_t)number_at(from, "from"),
                                    .below = (lsn_t)number_at(from, "below"),
                                    .now_wall_us = number_at(from, "now_wall_us"),
                                    .landing_retention_s = (uint32_t)number_at(from, "landing_retention_s"),
                                    .text_size_max = (size_t)number_at(from, "text_size_max"),
                                    .commit_wall_us = number_at(from, "commit_wall_us"),
                                    .lock_timeout_s = (uint32_t)number_at(from, "lock_timeout_s")};
    copy_text(out->state_from, sizeof out->state_from, text_at(from, "state_from"));
    copy_text(out->writer, sizeof out->writer, text_at(from, "writer"));
}

static void answer_add(json_t *list, struct buf *text)
{
    CHECK(json_array_append_new(list, json_string(buf_text(text))) == 0);
    buf_reset(text);
}

static void answer_set(json_t *object, const char *key, struct buf *text)
{
    CHECK(json_object_set_new(object, key, json_string(buf_text(text))) == 0);
    buf_reset(text);
}

static json_t *answer(const json_t *request)
{
    const json_t *tables = json_object_get(request, "tables");
    uint32_t count = (uint32_t)json_array_size(tables);
    struct described described[TABLES_MAX] = {0};
    struct sf_merge_table merge_tables[TABLES_MAX];
    struct sf_merge_window window;
    struct err error = {0};
    struct buf text;
    json_t *ddl = json_array();
    json_t *clean = json_array();
    json_t *procedures = json_array();
    json_t *result = json_object();
    bool is_good = true;
    CHECK(count <= TABLES_MAX);
    buf_init(&text, TEXT_SIZE_MAX);
    window_fill(request, &window);
    sf_ddl_create_state(window.database, window.landing_schema, window.pipeline, &text);
    answer_set(result, "state", &text);
    sf_ddl_init_state(window.database, window.landing_schema, window.pipeline, window.state_from, &text);
    answer_set(result, "init", &text);
    sf_ddl_fence_state(window.database, window.landing_schema, window.pipeline, window.writer, &text);
    answer_set(result, "fence", &text);
    for (uint32_t i = 0; is_good && i < count; i++) {
        const json_t *table = json_array_get(tables, i);
        describe(table, &described[i]);
        is_good =
            sf_layout_init(&described[i].layout, &described[i].table, described[i].encoders, window.database,
                           text_at(table, "target_schema"), window.landing_schema, &(struct sf_naming){0}, &error);
        described[i].has_layout = is_good;
        described[i].layout.marks_deletes = json_is_true(json_object_get(table, "marks_deletes"));
        described[i].layout.has_deleted_at = json_is_true(json_object_get(table, "has_deleted_at"));
        described[i].layout.has_coerced = json_is_true(json_object_get(table, "has_coerced"));
        described[i].layout.has_commit_at = json_is_true(json_object_get(table, "has_commit_at"));
        if (!is_good)
            break;
        sf_ddl_create_landing(&described[i].layout, window.pipeline, &text);
        answer_add(ddl, &text);
        sf_ddl_create_target(&described[i].layout, window.pipeline, &text);
        answer_add(ddl, &text);
        sf_merge_build_clean(&described[i].layout, text_at(request, "clean_position"), &text);
        answer_add(clean, &text);
        merge_table_fill(table, &described[i], &merge_tables[i]);
    }
    struct sf_merge_parts parts = {.procedures = NULL};
    if (is_good && sf_merge_build(&window, merge_tables, count, NULL, &parts, &error)) {
        for (uint32_t i = 0; i < parts.procedure_count; i++)
            json_array_append_new(procedures, json_string(buf_text(&parts.procedures[i])));
        json_object_set_new(result, "merge", json_string(buf_text(&parts.block)));
        sf_merge_parts_deinit(&parts);
    } else {
        json_object_set_new(result, "error", json_string(error.code));
    }
    json_object_set_new(result, "procedures", procedures);
    json_object_set_new(result, "ddl", ddl);
    json_object_set_new(result, "clean", clean);
    for (uint32_t i = 0; i < count; i++)
        undescribe(&described[i]);
    buf_deinit(&text);
    return result;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_error_t problem;
        json_t *request = json_loads(line, 0, &problem);
        CHECK(request != NULL);
        json_t *result = answer(request);
        CHECK(json_dumpf(result, stdout, JSON_COMPACT) == 0);
        putchar('\n');
        (void)fflush(stdout);
        json_decref(result);
        json_decref(request);
    }
    free(line);
    return 0;
}
