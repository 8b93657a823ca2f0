#include "cli/verify_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/json_put.h"

#define SHOWN_BYTES_MAX 200  // of a value, in lines
#define COERCED_NAME "_ETL_COERCED"

static const char *const kinds[] = {"missing", "extra", "changed"};
static const char *const states[] = {"equal", "different", "not compared"};

static uint64_t now_us(void)
{
    return clock_system.monotonic_us(clock_system.context);
}

void verify_report_init(struct verify_report *report, const char *pipeline)
{
    report->pipeline = pipeline;
    report->rows = json_array();
    report->tables = json_array();
    report->began_us = now_us();
    CHECK(report->rows != NULL && report->tables != NULL);
}

void verify_report_deinit(struct verify_report *report)
{
    json_decref(report->rows);
    json_decref(report->tables);
}

// ---- progress

static void show_progress(const struct verify_report *report, const char *more)
{
    char line[400];
    if (!report->shows_progress)
        return;
    (void)snprintf(line, sizeof line, "%s%s", report->progress, more);
    log_status_line(line);
}

static void on_waiting(void *context, const char *why)
{
    struct verify_report *report = context;
    (void)snprintf(report->progress, sizeof report->progress, "%s", why);
    show_progress(report, "");
}

static void on_position(void *context, lsn_t lsn, uint32_t table_count)
{
    struct verify_report *report = context;
    (void)snprintf(report->position, sizeof report->position, LSN_FORMAT, LSN_ARGUMENTS(lsn));
    (void)snprintf(report->progress, sizeof report->progress, "%" PRIu32 " tables at %s", table_count,
                   report->position);
    show_progress(report, "");
}

// What is left by what is done: tables are as long as they are large.
static void format_left(const struct verify_report *report, char *out, size_t out_size)
{
    uint64_t took_us = now_us() - report->began_us;
    out[0] = '\0';
    if (report->bytes_before == 0 || report->bytes_all <= report->bytes_before)
        return;
    double left_s =
        (double)took_us / 1e6 * (double)(report->bytes_all - report->bytes_before) / (double)report->bytes_before;
    (void)snprintf(out, out_size, left_s < 120 ? ", about %.0f s left" : ", about %.0f min left",
                   left_s < 120 ? left_s : left_s / 60);
}

static void on_table_begin(void *context, const struct table *table, uint32_t number, uint32_t count,
                           uint64_t bytes_before, uint64_t bytes_all)
{
    struct verify_report *report = context;
    char left[64];
    report->table_began_us = now_us();
    report->bytes_before = bytes_before;
    report->bytes_all = bytes_all;
    report->row_count = 0;
    json_array_clear(report->rows);
    format_left(report, left, sizeof left);
    (void)snprintf(report->progress, sizeof report->progress, "table %" PRIu32 " of %" PRIu32 ": %.60s.%.60s", number,
                   count, table->schema_name, table->table_name);
    show_progress(report, left);
}

static void on_rows(void *context, uint64_t source_rows)
{
    const struct verify_report *report = context;
    char more[160], left[64];
    double seconds = (double)(now_us() - report->table_began_us) / 1e6;
    format_left(report, left, sizeof left);
    (void)snprintf(more, sizeof more, ", %" PRIu64 " rows, %.0f a second%s", source_rows,
                   seconds > 0 ? (double)source_rows / seconds : 0, left);
    show_progress(report, more);
}

// ---- rows

static json_t *value_json(const struct rows_value *value)
{
    return value->text != NULL ? json_text_sized(value->text, value->size) : json_null();
}

static bool is_same(const struct rows_value *a, const struct rows_value *b)
{
    return (a->text == NULL) == (b->text == NULL) &&
           (a->text == NULL || (a->size == b->size && memcmp(a->text, b->text, a->size) == 0));
}

static json_t *key_json(const struct table *table, const struct rows_value *values)
{
    json_t *key = json_object();
    CHECK(key != NULL);
    for (uint16_t i = 0; i < table->key_count; i++)
        json_object_set_new(key, table->columns[table->key_columns[i]].name,
                            value_json(&values[table->key_columns[i]]));
    return key;
}

static const char *value_name(const struct table *table, uint16_t index)
{
    return index < table->column_count ? table->columns[index].name : COERCED_NAME;
}

static json_t *columns_json(const struct table *table, const struct rows_found *found)
{
    json_t *columns = json_array();
    CHECK(columns != NULL);
    for (uint16_t i = 0; i <= table->column_count; i++)
        if (!is_same(&found->source[i], &found->target[i]))
            json_array_append_new(columns, json_string(value_name(table, i)));
    return columns;
}

static json_t *values_json(const struct table *table, const struct rows_found *found)
{
    json_t *values = json_object();
    CHECK(values != NULL);
    for (uint16_t i = 0; i <= table->column_count; i++) {
        const struct rows_value *one = found->source != NULL ? &found->source[i] : &found->target[i];
        const char *name = value_name(table, i);
        if (found->kind != ROWS_CHANGED) {
            if (i < table->column_count || one->text != NULL)
                json_object_set_new(values, name, value_json(one));
        } else if (!is_same(&found->source[i], &found->target[i])) {
            json_object_set_new(values, name,
                                json_pack("{s:o,s:o}", "source", value_json(&found->source[i]), "target",
                                          value_json(&found->target[i])));
        }
    }
    return values;
}

static void on_row(void *context, const struct verify_row *row)
{
    struct verify_report *report = context;
    const struct rows_found *found = row->found;
    if (report->row_count++ >= report->rows_max)
        return;
    json_t *object = json_object();
    CHECK(object != NULL);
    json_object_set_new(object, "difference", json_string(kinds[found->kind]));
    if (row->table->key_count > 0 && !table_is_multiset(row->table))
        json_object_set_new(object, "key", key_json(row->table, found->source != NULL ? found->source : found->target));
    else
        json_object_set_new(object, "row", json_string(found->place));
    if (found->kind == ROWS_CHANGED)
        json_object_set_new(object, "columns", columns_json(row->table, found));
    else if (found->count > 1)
        json_object_set_new(object, "count", json_integer((json_int_t)found->count));
    if (report->shows_values)
        json_object_set_new(object, "values", values_json(row->table, found));
    json_array_append_new(report->rows, object);
}

// ---- lines

static void print_text(const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL) {
        printf("NULL");
        return;
    }
    size_t size = strlen(text), shown = size > SHOWN_BYTES_MAX ? SHOWN_BYTES_MAX : size;
    while (shown < size && shown > 0 && ((unsigned char)text[shown] & 0xC0) == 0x80)
        shown--;  // whole characters
    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7F)
            printf("\\x%02x", byte);
        else
            putchar(byte);
    }
    if (shown < size)
        printf("… (%zu bytes)", size);
}

static void print_values(const json_t *values, const char *between)
{
    const char *name, *before = "";
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)values, name, value)
    {
        printf("%s%s", before, name);
        if (json_is_object(value)) {
            printf(": source ");
            print_text(json_object_get(value, "source"));
            printf(", target ");
            print_text(json_object_get(value, "target"));
        } else {
            printf(" = ");
            print_text(value);
        }
        before = between;
    }
}

static void print_row(const json_t *row)
{
    static const char *const words[] = {"only in the source", "only in the target", "changed"};
    const char *kind = json_string_value(json_object_get(row, "difference"));
    const json_t *key = json_object_get(row, "key"), *columns = json_object_get(row, "columns");
    const json_t *values = json_object_get(row, "values");
    json_int_t count = json_integer_value(json_object_get(row, "count"));
    size_t index;
    json_t *column;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i], kind) == 0)
            printf("    %s: ", words[i]);
    if (key != NULL)
        print_values(key, ", ");
    else
        printf("row %s", json_string_value(json_object_get(row, "row")));
    if (count > 1)
        printf(", %" JSON_INTEGER_FORMAT " times", count);
    json_array_foreach(columns, index, column) printf("%s%s", index == 0 ? " (" : ", ", json_string_value(column));
    printf("%s\n", columns != NULL ? ")" : "");
    if (values != NULL) {
        printf("        ");
        print_values(values, "\n        ");
        printf("\n");
    }
}

static void print_table(const struct verify_report *report, const struct verify_table *table)
{
    size_t index;
    json_t *row;
    if (table->state == VERIFY_NOT_COMPARED) {
        printf("%s.%s: not compared: %s\n", table->schema_name, table->table_name, table->reason.text);
        return;
    }
    printf("%s.%s: %" PRIu64 " rows, %s", table->schema_name, table->table_name, table->counts.source_rows,
           table->state == VERIFY_EQUAL ? "equal" : "DIFFERENT");
    if (table->counts.source_rows != table->counts.target_rows)
        printf(" (%" PRIu64 " in the target)", table->counts.target_rows);
    if (table->state == VERIFY_DIFFERENT)
        printf(": %s%" PRIu64 " only in the source, %" PRIu64 " only in the target, %" PRIu64 " changed",
               table->is_at_least ? "at least " : "", table->counts.missing, table->counts.extra,
               table->counts.changed);
    printf("\n");
    json_array_foreach(report->rows, index, row) print_row(row);
    if (report->row_count > json_array_size(report->rows))
        printf("    … and %" PRIu64 " more (--limit)\n", report->row_count - json_array_size(report->rows));
    for (uint32_t i = 0; i < table->null_only_count; i++)
        printf("%s%s%s", i == 0 ? "    only whether they are NULL was compared of: " : ", ", table->null_only[i],
               i + 1 == table->null_only_count ? " (--full compares their values)\n" : "");
}

static void add_table(struct verify_report *report, const struct verify_table *table)
{
    json_t *object = json_object(), *null_only = json_array();
    CHECK(object != NULL && null_only != NULL);
    json_object_set_new(object, "schema", json_string(table->schema_name));
    json_object_set_new(object, "table", json_string(table->table_name));
    json_object_set_new(object, "state", json_string(states[table->state]));
    if (table->state == VERIFY_NOT_COMPARED) {
        json_object_set_new(object, "reason", json_string(table->reason.text));
        json_object_set_new(object, "code", json_string(table->reason.code));
        json_decref(null_only);
        json_array_append_new(report->tables, object);
        return;
    }
    for (uint32_t i = 0; i < table->null_only_count; i++)
        json_array_append_new(null_only, json_string(table->null_only[i]));
    json_object_set_new(object, "compared_by", json_string(table->method));
    json_object_set_new(object, "is_full", json_boolean(table->is_full));
    json_object_set_new(object, "only_nulls_compared", null_only);
    json_object_set_new(object, "source_rows", json_integer((json_int_t)table->counts.source_rows));
    json_object_set_new(object, "target_rows", json_integer((json_int_t)table->counts.target_rows));
    json_object_set_new(object, "missing", json_integer((json_int_t)table->counts.missing));
    json_object_set_new(object, "extra", json_integer((json_int_t)table->counts.extra));
    json_object_set_new(object, "changed", json_integer((json_int_t)table->counts.changed));
    json_object_set_new(object, "ranges_different", json_integer(table->ranges_different));
    json_object_set_new(object, "is_at_least", json_boolean(table->is_at_least));
    json_object_set_new(object, "rows", json_deep_copy(report->rows));
    json_array_append_new(report->tables, object);
}

static void on_table(void *context, const struct verify_table *table)
{
    struct verify_report *report = context;
    report->equal += table->state == VERIFY_EQUAL;
    report->different += table->state == VERIFY_DIFFERENT;
    report->not_compared += table->state == VERIFY_NOT_COMPARED;
    report->failed += table->state == VERIFY_NOT_COMPARED && table->has_failed;
    if (report->shows_progress)
        log_status_line("");
    if (report->is_json)
        add_table(report, table);
    else
        print_table(report, table);
    fflush(stdout);
}

struct verify_events verify_report_events(struct verify_report *report)
{
    return (struct verify_events){.on_waiting = on_waiting,
                                  .on_position = on_position,
                                  .on_table_begin = on_table_begin,
                                  .on_rows = on_rows,
                                  .on_row = on_row,
                                  .on_table = on_table,
                                  .context = report};
}

void verify_report_end(struct verify_report *report, const struct err *error)
{
    const char *result = error != NULL           ? (strcmp(error->code, "void") == 0 ? "void" : "failed")
                         : report->different > 0 ? "different"
                         : report->equal > 0     ? "equal"
                                                 : "nothing compared";
    if (report->shows_progress)
        log_status_line("");
    if (!report->is_json) {
        if (error == NULL)
            printf("%s: %" PRIu32 " equal, %" PRIu32 " different, %" PRIu32 " not compared%s%s\n", report->pipeline,
                   report->equal, report->different, report->not_compared, report->position[0] != '\0' ? ", at " : "",
                   report->position);
        return;
    }
    json_t *object = json_object();
    CHECK(object != NULL);
    json_object_set_new(object, "pipeline", json_string(report->pipeline));
    json_object_set_new(object, "result", json_string(result));
    json_object_set_new(object, "position", report->position[0] != '\0' ? json_string(report->position) : json_null());
    if (error != NULL)
        json_object_set_new(object, "error", json_string(error->text));
    json_object_set(object, "tables", report->tables);
    json_dumpf(object, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(object);
}
