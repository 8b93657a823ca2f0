#include "verify/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_names.h"
#include "sinks/snowflake/sf_row.h"
#include "verify/form.h"

#define ROWS_A_RANGE 1000    // about so many; what is read again where a range differs
#define RANGES_AT_A_TIME 64  // that differ and are read row by row in one pass
#define STATEMENT_BYTES_MAX ((size_t)16 << 20)

struct comparison {
    const struct table_compare_options *options;
    struct row_encoder encoder, limited;
    struct sf_table_layout layout;
    struct form form;
    struct buf source_from, target_name;
    struct form_ranges different;
    struct verify_table told;
    const char **null_only;
    bool has_deleted_at;
};

// ---- the target table

// Its comment says that it is ours, and which columns of ours it has.
static bool look_at_target(struct comparison *comparison, struct err *out_error)
{
    const struct table_compare_options *options = comparison->options;
    const struct sf_table_layout *layout = &comparison->layout;
    struct buf sql;
    struct target_row row;
    bool is_end = false, is_found = false;
    buf_init(&sql, STATEMENT_BYTES_MAX);
    sf_ddl_show_table(layout->database, layout->schema, layout->target_name, &sql);
    target_begin(options->target, buf_text(&sql), false);
    buf_deinit(&sql);
    while (!is_end) {
        if (!target_next(options->target, &row, &is_end, out_error))
            return false;
        int name = target_column(options->target, "name"), comment = target_column(options->target, "comment");
        if (is_end || name < 0 || comment < 0 || row.texts[name] == NULL || row.texts[comment] == NULL ||
            strcmp(row.texts[name], layout->target_name) != 0)
            continue;
        is_found = sf_marker_owner(row.texts[comment], options->pipeline, options->table) == SF_OWNER_US;
        comparison->has_deleted_at = sf_marker_has(row.texts[comment], SF_MARKER_DELETED_AT);
        comparison->form.has_coerced = sf_marker_has(row.texts[comment], SF_MARKER_COERCED);
    }
    return is_found || err_set(out_error, ERR_CONFIG, "target", "there is no target table %s of this pipeline",
                               buf_text(&comparison->target_name));
}

// ---- life

static bool comparison_init(struct comparison *comparison, struct err *out_error)
{
    const struct table_compare_options *options = comparison->options;
    const struct sf_config *config = options->snowflake;
    struct typemap_options types = sf_config_types(config);
    types.preserves_case = options->naming->preserves_case;
    buf_init(&comparison->source_from, 4096);
    buf_init(&comparison->target_name, 4096);
    if (options->encoding == NULL)
        return err_set(out_error, ERR_CONFIG, "encoding", "this machine does not know the source's encoding %s",
                       options->encoding_name);
    if (!row_encoder_init(&comparison->encoder, options->table, options->encoding, &types, out_error) ||
        !sf_layout_init(&comparison->layout, options->table, comparison->encoder.columns, config->database,
                        config->schema, config->landing_schema, options->naming, out_error) ||
        !row_encoder_init(&comparison->limited, options->table, options->encoding, &types, out_error))
        return false;
    row_encoder_limit_values(&comparison->limited, SF_ROW_VALUE_BYTES_LAST);
    const struct sf_table_layout *layout = &comparison->layout;
    sf_append_qualified(&comparison->target_name, layout->database, layout->schema, layout->target_name);
    struct form *form = &comparison->form;
    form->table = options->table;
    form->encoders = comparison->encoder.columns;
    form->target_columns = layout->column_names;
    form->converts = !encoding_is_utf8(options->encoding);
    source_from(options->source, options->index, &comparison->source_from, &form->source_filter);
    form->source = buf_text(&comparison->source_from);
    form->target = buf_text(&comparison->target_name);
    return source_lock(options->source, options->index, out_error) && look_at_target(comparison, out_error);
}

static void comparison_deinit(struct comparison *comparison)
{
    sf_layout_deinit(&comparison->layout);
    if (comparison->encoder.columns != NULL)
        row_encoder_deinit(&comparison->encoder);
    if (comparison->limited.columns != NULL)
        row_encoder_deinit(&comparison->limited);
    buf_deinit(&comparison->source_from);
    buf_deinit(&comparison->target_name);
    free(comparison->different.names);
    free(comparison->null_only);
}

static void list_null_only(struct comparison *comparison)
{
    const struct table *table = comparison->options->table;
    comparison->null_only = calloc((size_t)table->column_count + 1, sizeof *comparison->null_only);
    CHECK(comparison->null_only != NULL);
    comparison->told.null_only = comparison->null_only;
    for (uint16_t i = 0; i < table->column_count; i++)
        if (!form_is_exact(&comparison->form.encoders[i]))
            comparison->null_only[comparison->told.null_only_count++] = table->columns[i].name;
}

// ---- rows

static void on_found(void *context, const struct rows_found *found)
{
    const struct comparison *comparison = context;
    const struct verify_row row = {.table = comparison->options->table, .found = found};
    comparison->options->events->on_row(comparison->options->events->context, &row);
}

static void on_rows(void *context, uint64_t source_rows)
{
    const struct comparison *comparison = context;
    comparison->options->events->on_rows(comparison->options->events->context, source_rows);
}

static bool compare_rows(struct comparison *comparison, const struct form_ranges *ranges,
                         struct rows_counts *out_counts, struct err *out_error)
{
    const struct table_compare_options *options = comparison->options;
    bool is_utf8 = strcmp(options->encoding_name, "UTF8") == 0;
    bool may_shorten = comparison->form.has_coerced && !row_encoder_fails_oversized(&comparison->encoder);
    const struct rows_options rows = {.form = &comparison->form,
                                      .ranges = ranges,
                                      .is_partial = ranges != NULL && ranges->count < comparison->different.count,
                                      .limited = may_shorten ? &comparison->limited : NULL,
                                      .client_encoding = is_utf8 ? "" : options->encoding_name,
                                      .wait = options->wait,
                                      .on_found = on_found,
                                      .on_rows = on_rows,
                                      .context = comparison};
    return rows_compare(options->source, options->target, &rows, out_counts, out_error);
}

static bool compare_full(struct comparison *comparison, struct err *out_error)
{
    struct verify_table *told = &comparison->told;
    if (!compare_rows(comparison, NULL, &told->counts, out_error))
        return false;
    told->is_full = true;
    told->null_only_count = 0;
    return true;
}

// ---- digests

static int compare_ranges(const void *a, const void *b)
{
    return strcmp(((const struct source_range *)a)->name, ((const struct source_range *)b)->name);
}

static bool is_same_range(const struct source_range *a, const struct source_range *b)
{
    return a->rows == b->rows && strcmp(a->upper, b->upper) == 0 && strcmp(a->lower, b->lower) == 0;
}

static void note_different(struct comparison *comparison, const char *name)
{
    struct form_ranges *different = &comparison->different;
    if ((different->count & (different->count - 1)) == 0) {
        different->names = reallocarray(different->names, different->count == 0 ? 1 : 2 * (size_t)different->count,
                                        sizeof *different->names);
        CHECK(different->names != NULL);
    }
    memset(different->names[different->count], 0, sizeof *different->names);
    memcpy(different->names[different->count++], name, strnlen(name, FORM_DIGITS_MAX));
}

// A range that has no rows is not there; one range that is all has zero rows, and sums that are NULL.
static void take_target_range(const struct target_row *row, struct source_range *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->name, row->texts[0], strnlen(row->texts[0], FORM_DIGITS_MAX));
    out->rows = strtoull(row->texts[1], NULL, 10);
    (void)snprintf(out->upper, sizeof out->upper, "%s", row->texts[2] != NULL ? row->texts[2] : "0");
    (void)snprintf(out->lower, sizeof out->lower, "%s", row->texts[3] != NULL ? row->texts[3] : "0");
}

static bool read_target_ranges(struct comparison *comparison, struct source_range **out_ranges, uint32_t *out_count,
                               struct err *out_error)
{
    struct target *target = comparison->options->target;
    struct source_range *ranges = NULL;
    uint32_t count = 0, capacity = 0;
    bool is_end = false, is_good = true;
    while (is_good && !is_end) {
        struct target_row row;
        is_good = target_next(target, &row, &is_end, out_error);
        if (!is_good || is_end)
            break;
        if (count == capacity) {
            capacity = 2 * capacity + 64;
            ranges = reallocarray(ranges, capacity, sizeof *ranges);
            CHECK(ranges != NULL);
        }
        is_good = (row.column_count == 4 && row.texts[0] != NULL && row.texts[1] != NULL) ||
                  err_set(out_error, ERR_DATA, "answer", "Snowflake answered other columns than it was asked for");
        if (!is_good)
            target_drop(target);
        else
            take_target_range(&row, &ranges[count]);
        count += is_good && ranges[count].rows > 0;
    }
    *out_ranges = ranges;
    *out_count = count;
    return is_good;
}

static void join_ranges(struct comparison *comparison, struct source_range *source, uint32_t source_count,
                        struct source_range *target, uint32_t target_count)
{
    struct rows_counts *counts = &comparison->told.counts;
    if (source_count > 1)
        qsort(source, source_count, sizeof *source, compare_ranges);
    if (target_count > 1)
        qsort(target, target_count, sizeof *target, compare_ranges);
    for (uint32_t i = 0, j = 0; i < source_count || j < target_count;) {
        int order = i == source_count ? 1 : j == target_count ? -1 : compare_ranges(&source[i], &target[j]);
        if (order != 0 || !is_same_range(&source[i], &target[j]))
            note_different(comparison, order <= 0 ? source[i].name : target[j].name);
        counts->source_rows += order <= 0 ? source[i].rows : 0;
        counts->target_rows += order >= 0 ? target[j].rows : 0;
        i += order <= 0;
        j += order >= 0;
    }
}

static unsigned digits_for(const struct table *table)
{
    unsigned digits = 0;
    double rows = table->rows_estimate > 0 ? table->rows_estimate : (double)table->bytes_estimate / 100;
    for (double ranges = 1; digits < FORM_DIGITS_MAX && ranges * ROWS_A_RANGE < rows; ranges *= 16)
        digits++;
    return digits;
}

// Both sides compute at the same time. *out_source_failed: the source cannot write some value in the form, and is as it was.
static bool compare_digests(struct comparison *comparison, bool *out_source_failed, struct err *out_error)
{
    const struct table_compare_options *options = comparison->options;
    struct source_range *source = NULL, *target = NULL;
    uint32_t source_count = 0, target_count = 0;
    struct err target_error = {0};
    struct buf sql;
    unsigned digits = comparison->different.digits = digits_for(options->table);
    buf_init(&sql, STATEMENT_BYTES_MAX);
    form_target_digest(&comparison->form, digits, &sql);
    target_begin(options->target, buf_text(&sql), true);
    buf_reset(&sql);
    form_source_digest(&comparison->form, digits, &sql);
    source_digest_begin(options->source, buf_text(&sql));
    buf_deinit(&sql);
    bool is_good = source_digest_end(options->source, &source, &source_count, out_error);
    *out_source_failed = !is_good;
    bool is_target_good = read_target_ranges(comparison, &target, &target_count, &target_error);
    if (is_good && !is_target_good)
        *out_error = target_error;
    is_good = is_good && is_target_good;
    if (is_good)
        join_ranges(comparison, source, source_count, target, target_count);
    comparison->told.ranges_different = comparison->different.count;
    free(source);
    free(target);
    return is_good;
}

static bool has_difference(const struct rows_counts *counts)
{
    return counts->missing + counts->extra + counts->changed > 0;
}

// Rows decide: a range may differ although all its rows are equal, where the form writes a value otherwise than Snowflake does.
static bool narrow(struct comparison *comparison, struct err *out_error)
{
    struct form_ranges some = comparison->different;
    struct rows_counts counts, *told = &comparison->told.counts;
    if (some.count > RANGES_AT_A_TIME)
        some.count = RANGES_AT_A_TIME;
    if (!compare_rows(comparison, &some, &counts, out_error))
        return false;
    bool is_rest = some.count < comparison->different.count;
    if (is_rest && !has_difference(&counts))
        return compare_full(comparison, out_error);
    told->missing = counts.missing;
    told->extra = counts.extra;
    told->changed = counts.changed;
    comparison->told.is_at_least = is_rest;
    return true;
}

static bool compare(struct comparison *comparison, struct err *out_error)
{
    bool has_source_failed = false;
    if (!comparison_init(comparison, out_error))
        return false;
    list_null_only(comparison);
    comparison->form.target_filter = comparison->has_deleted_at ? "\"_ETL_DELETED_AT\" IS NULL" : NULL;
    (void)snprintf(comparison->told.method, sizeof comparison->told.method, "%s",
                   form_is_keyed(&comparison->form) ? "key" : "multiset");
    if (comparison->options->is_full)
        return compare_full(comparison, out_error);
    if (!compare_digests(comparison, &has_source_failed, out_error)) {
        if (!has_source_failed || !source_is_alive(comparison->options->source) ||
            err_is_set(&comparison->options->wait->stopped))
            return false;
        struct log_scope scope = {comparison->options->pipeline, comparison->told.table_name};
        log_line(LOG_WARNING, &scope, "verify",
                 "the source cannot compute the digests of %s.%s, so all of its rows are compared: %s",
                 comparison->told.schema_name, comparison->told.table_name, out_error->text);
        return compare_full(comparison, out_error);
    }
    return comparison->different.count == 0 || narrow(comparison, out_error);
}

bool table_compare(const struct table_compare_options *options, struct err *out_error)
{
    struct err reason = {0};
    struct comparison comparison = {
        .options = options,
        .told = {.schema_name = options->table->schema_name, .table_name = options->table->table_name}};
    bool is_done = compare(&comparison, &reason);
    bool goes_on = !err_is_set(&options->wait->stopped) && (is_done || source_is_alive(options->source));
    comparison.told.state = !is_done                                  ? VERIFY_NOT_COMPARED
                            : has_difference(&comparison.told.counts) ? VERIFY_DIFFERENT
                                                                      : VERIFY_EQUAL;
    comparison.told.reason = reason;
    comparison.told.has_failed = !is_done;
    if (goes_on)
        options->events->on_table(options->events->context, &comparison.told);
    else
        *out_error = err_is_set(&options->wait->stopped) ? options->wait->stopped : reason;
    comparison_deinit(&comparison);
    return goes_on;
}
