// What is shown of copies: rows, bytes and ranges of how many, at what rate, and how long still.
#include <jansson.h>
#include <stdio.h>

#include "base/check.h"
#include "io/json_put.h"
#include "pipeline/copy_private.h"

struct progress {
    uint64_t rows, rows_expected, bytes;
    uint32_t tables_read, tables;
    uint32_t ranges_read, ranges, connections;
    double rows_per_second, bytes_per_second;
    uint64_t seconds_left;  // UINT64_MAX: not known
};

struct table_progress {
    uint64_t rows, rows_expected, bytes;
    uint64_t blocks, blocks_read;
};

static const struct pg_copy_range *range_under_way(const struct pipeline_table *table, uint32_t number)
{
    const struct table_copy *copy = table->copy;
    return copy->run == NULL ? NULL : pg_copy_range(copy->run->pg, copy->index, (uint16_t)number);
}

// A table that was read is known exactly. Where nobody has counted the rows, or more came than were counted, ranges that were read
// tell how many the others may have.
static void table_progress_get(const struct pipeline_table *table, struct table_progress *out)
{
    const struct table_copy *copy = table->copy;
    uint64_t rows_of_read = 0;
    double estimate = table->table->rows_estimate;
    *out = (struct table_progress){.rows = copy->rows_taken};
    for (uint32_t i = 0; i < copy->range_count; i++) {
        const struct copy_item_range *range = &copy->ranges[i];
        const struct pg_copy_range *reading = range->is_read ? NULL : range_under_way(table, i);
        out->blocks += range->blocks;
        out->bytes += range->is_read ? range->bytes : reading != NULL ? reading->bytes : 0;
        if (range->is_read) {
            out->blocks_read += range->blocks;
            rows_of_read += range->rows;
        }
    }
    if (copy_is_read(table))
        out->rows_expected = out->rows;
    else if (estimate > (double)out->rows)
        out->rows_expected = (uint64_t)estimate;
    else if (out->blocks_read > 0)
        out->rows_expected = (uint64_t)((double)rows_of_read * (double)out->blocks / (double)out->blocks_read);
    if (out->rows_expected < out->rows)
        out->rows_expected = out->rows;
}

static void progress_get(const struct pipeline *pipeline, struct progress *out)
{
    *out = (struct progress){.seconds_left = UINT64_MAX};
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        if (table->copy != NULL) {
            struct table_progress one;
            table_progress_get(table, &one);
            out->tables++;
            out->tables_read += copy_is_read(table);
            out->rows += one.rows;
            out->rows_expected += one.rows_expected;
            out->bytes += one.bytes;
            out->ranges += table->copy->range_count;
            out->ranges_read += table->copy->read_count;
        } else if (table->record.state == CATALOG_TABLE_COPIED) {
            out->tables++;
            out->tables_read++;
            out->rows += table->record.copied_rows;
            out->rows_expected += table->record.copied_rows;
        }
    }
    for (const struct copy_run *run = pipeline->copies; run != NULL; run = run->next)
        out->connections += pg_copy_stats(run->pg)->connections;
    rate_window_get(&pipeline->copy_rate, loop_now_us(pipeline->loop), pipeline->copied_rows, pipeline->copied_bytes,
                    &out->rows_per_second, &out->bytes_per_second);
    if (out->rows_per_second > 0)
        out->seconds_left = (uint64_t)((double)(out->rows_expected - out->rows) / out->rows_per_second + 0.5);
}

// A table that was read whole is in copy until its last row is committed.
bool copy_is_shown(const struct pipeline *pipeline)
{
    bool is_shown = false;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        is_shown |= pipeline->tables[i]->copy != NULL && pipeline->tables[i]->copy->range_count > 0;
    return is_shown;
}

bool copy_expected(const struct pipeline_table *table, uint64_t *out_rows, uint64_t *out_rows_expected)
{
    struct table_progress progress;
    if (table->copy == NULL || table->copy->range_count == 0)
        return false;
    table_progress_get(table, &progress);
    *out_rows = progress.rows;
    *out_rows_expected = progress.rows_expected;
    return true;
}

uint64_t copy_rows_of(const struct pipeline_table *table)
{
    return table->copy != NULL ? table->copy->rows_taken : table->record.copied_rows;
}

// --- JSON --------------------------------------------------------------------------------------------------------

static void set_count(json_t *object, const char *key, uint64_t count)
{
    json_object_set_new(object, key, json_integer((json_int_t)count));
}

static json_t *reading_json(const struct pipeline *pipeline)
{
    json_t *reading = json_array();
    CHECK(reading != NULL);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        for (uint32_t k = 0; table->copy != NULL && k < table->copy->range_count; k++) {
            const struct pg_copy_range *range = table->copy->ranges[k].is_read ? NULL : range_under_way(table, k);
            if (range == NULL || !range->is_reading)
                continue;
            char name[160];
            table_format_name(table->table, name, sizeof name);
            json_t *one = json_object();
            CHECK(one != NULL);
            json_put_text(one, "table", name);
            set_count(one, "range", k);
            set_count(one, "rows", range->rows);
            set_count(one, "bytes", range->bytes);
            set_count(one, "blocks", range->blocks);
            json_array_append_new(reading, one);
        }
    }
    return reading;
}

json_t *copy_json(const struct pipeline *pipeline)
{
    struct progress progress;
    json_t *object = json_object();
    CHECK(object != NULL);
    progress_get(pipeline, &progress);
    set_count(object, "tables", progress.tables);
    set_count(object, "tables_read", progress.tables_read);
    set_count(object, "ranges", progress.ranges);
    set_count(object, "ranges_read", progress.ranges_read);
    set_count(object, "connections", progress.connections);
    set_count(object, "rows", progress.rows);
    set_count(object, "rows_expected", progress.rows_expected);
    set_count(object, "bytes", progress.bytes);
    json_object_set_new(object, "rows_per_second", json_real(progress.rows_per_second));
    json_object_set_new(object, "bytes_per_second", json_real(progress.bytes_per_second));
    if (progress.seconds_left != UINT64_MAX)
        set_count(object, "seconds_left", progress.seconds_left);
    json_object_set_new(object, "reading", reading_json(pipeline));
    return object;
}

json_t *copy_table_json(const struct pipeline_table *table)
{
    struct table_progress progress;
    json_t *object = json_object();
    CHECK(object != NULL);
    table_progress_get(table, &progress);
    set_count(object, "ranges", table->copy->range_count);
    set_count(object, "ranges_read", table->copy->read_count);
    set_count(object, "ranges_committed", table->copy->committed_count);
    set_count(object, "rows", progress.rows);
    set_count(object, "rows_expected", progress.rows_expected);
    set_count(object, "bytes", progress.bytes);
    set_count(object, "blocks", progress.blocks);
    set_count(object, "blocks_read", progress.blocks_read);
    return object;
}

// --- a line for a terminal ---------------------------------------------------------------------------------------

void copy_describe(const struct pipeline *pipeline, char *out, size_t out_size)
{
    struct progress progress;
    char left[48] = "";
    progress_get(pipeline, &progress);
    if (progress.ranges_read == progress.ranges)
        (void)snprintf(left, sizeof left, ", all is read and the last commits are awaited");
    else if (progress.seconds_left != UINT64_MAX)
        (void)snprintf(left, sizeof left, ", about %" PRIu64 " s left", progress.seconds_left);
    (void)snprintf(out, out_size,
                   "%s: copying, %" PRIu64 " of about %" PRIu64
                   " rows, %u of %u tables, %u of %u ranges on %u connections, %.0f rows/s, %.1f MB/s%s",
                   pipeline->options.name, progress.rows, progress.rows_expected, progress.tables_read, progress.tables,
                   progress.ranges_read, progress.ranges, progress.connections, progress.rows_per_second,
                   progress.bytes_per_second / 1e6, left);
}
