#include "verify/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "verify/value.h"

#define GROUP_BYTES_MAX ((size_t)1 << 30)
#define TELL_EVERY 4096
#define NULL_MARK 0xFFFFFFFFU

// A row in an arena: its size, then a value a column and that of _ETL_COERCED, each a size of 4 bytes (NULL_MARK: NULL) and its bytes. So
// rows are equal when their bytes are.
struct group {
    struct buf bytes;
    size_t *starts;
    uint32_t count, capacity;
};

struct side {
    char place[FORM_PLACE_SIZE + 1];  // of the row that is there and not taken yet
    bool has_row, is_over;
    uint64_t rows;
    struct group group;
    struct buf row;  // the row that is there
};

struct comparer {
    struct source *source;
    struct target *target;
    const struct rows_options *options;
    const struct form *form;
    struct side sides[2];  // source, target
    struct rows_counts *counts;
    struct buf image, coerced, part;
    struct rows_value *values[2];
    uint32_t value_count;
    struct err error;
};

enum { SOURCE_SIDE, TARGET_SIDE };

// ---- reading

static void put_size(struct buf *row, uint32_t size)
{
    buf_append(row, &size, sizeof size);
}

// Appends a value whose bytes `write` appends; its size is filled in afterwards.
static size_t begin_value(struct buf *row)
{
    put_size(row, 0);
    return row->size;
}

static void end_value(struct buf *row, size_t start)
{
    uint32_t size = (uint32_t)(row->size - start);
    if (!row->failed)
        memcpy(row->data + start - sizeof size, &size, sizeof size);
}

// `"KEY":"original"` among those of the row.
static void add_coerced(struct comparer *comparer, const struct column_encoder *encoder)
{
    buf_append_byte(&comparer->coerced, comparer->coerced.size == 0 ? '{' : ',');
    buf_append(&comparer->coerced, encoder->key, encoder->key_size);
    buf_append(&comparer->coerced, comparer->part.data, comparer->part.size);
}

static bool source_value(struct comparer *comparer, uint16_t index, const struct value *value)
{
    const struct column_encoder *encoder = &comparer->form->encoders[index];
    const struct column *column = &comparer->form->table->columns[index];
    struct buf *row = &comparer->sides[SOURCE_SIDE].row;
    struct value text = *value;
    if (value->state == VALUE_NULL) {
        put_size(row, NULL_MARK);
        return true;
    }
    if (encoder->wants_text)
        text.state = VALUE_TEXT;
    buf_reset(&comparer->image);
    buf_reset(&comparer->part);
    switch (column_encode(encoder, &text, &comparer->image, &comparer->part)) {
    case VALUE_WRITTEN: break;
    case VALUE_COERCED: add_coerced(comparer, encoder); break;
    case VALUE_OVERSIZED:
        return err_set(&comparer->error, ERR_DATA, "oversized",
                       "column %s holds a value that is too large for the target", column->name);
    case VALUE_MALFORMED:
        return err_set(&comparer->error, ERR_DATA, "malformed_value", "column %s: the server's value is not of type %s",
                       column->name, column->type_name);
    }
    if (comparer->image.size == 0 && !comparer->image.failed) {
        put_size(row, NULL_MARK);
        return true;
    }
    size_t start = begin_value(row);
    if (!value_of_source(&encoder->target, comparer->image.data, comparer->image.size, row))
        return err_set(&comparer->error, ERR_INTERNAL, "value", "column %s: its value cannot be brought to a form",
                       column->name);
    end_value(row, start);
    return true;
}

// Rows that are always there would keep the loop from turning, and the lease from being renewed. False: stopped.
static bool breathe(const struct comparer *comparer, uint64_t rows)
{
    if (rows % TELL_EVERY == 0) {
        loop_turn(comparer->options->wait->loop, 0);
        comparer->options->on_rows(comparer->options->context, rows);
    }
    return !err_is_set(&comparer->options->wait->stopped);
}

static bool source_next(struct comparer *comparer)
{
    struct side *side = &comparer->sides[SOURCE_SIDE];
    const struct value *values = NULL;
    if (!source_rows_next(comparer->source, &values, &side->is_over, &comparer->error))
        return false;
    side->has_row = !side->is_over;
    if (side->is_over)
        return true;
    CHECK(values[0].state != VALUE_NULL && values[0].size == FORM_PLACE_SIZE);
    memcpy(side->place, values[0].data, FORM_PLACE_SIZE);
    buf_reset(&side->row);
    buf_reset(&comparer->coerced);
    for (uint16_t i = 0; i < comparer->form->table->column_count; i++)
        if (!source_value(comparer, i, &values[i + 1]))
            return false;
    if (comparer->coerced.size == 0) {
        put_size(&side->row, NULL_MARK);
    } else {
        buf_append_byte(&comparer->coerced, '}');
        size_t start = begin_value(&side->row);
        if (!value_append_json(comparer->coerced.data, comparer->coerced.size, &side->row))
            return err_set(&comparer->error, ERR_INTERNAL, "coerced", "originals cannot be brought to a form");
        end_value(&side->row, start);
    }
    side->rows++;
    if (!breathe(comparer, side->rows)) {
        comparer->error = comparer->options->wait->stopped;
        return false;
    }
    return !side->row.failed || err_set(&comparer->error, ERR_INTERNAL, "memory", "a row needs too much memory");
}

static bool target_value(struct comparer *comparer, uint16_t index, const char *text, size_t size)
{
    struct buf *row = &comparer->sides[TARGET_SIDE].row;
    if (text == NULL) {
        put_size(row, NULL_MARK);
        return true;
    }
    size_t start = begin_value(row);
    bool is_coerced = index == comparer->form->table->column_count;
    if (is_coerced ? !value_append_json((const uint8_t *)text, size, row)
                   : !value_of_target(&comparer->form->encoders[index].target, text, size, row))
        return err_set(&comparer->error, ERR_DATA, "target_type",
                       "column %s of the target is of another type than this pipeline gives it",
                       is_coerced ? "_ETL_COERCED" : comparer->form->target_columns[index]);
    end_value(row, start);
    return true;
}

static bool target_next_row(struct comparer *comparer)
{
    struct side *side = &comparer->sides[TARGET_SIDE];
    struct target_row row;
    uint16_t count = comparer->form->table->column_count;
    if (!target_next(comparer->target, &row, &side->is_over, &comparer->error))
        return false;
    side->has_row = !side->is_over;
    if (side->is_over)
        return true;
    if (row.column_count != 1U + count + comparer->form->has_coerced || row.texts[0] == NULL ||
        row.sizes[0] != FORM_PLACE_SIZE)
        return err_set(&comparer->error, ERR_DATA, "answer", "Snowflake answered other columns than it was asked for");
    memcpy(side->place, row.texts[0], FORM_PLACE_SIZE);
    buf_reset(&side->row);
    for (uint16_t i = 0; i < count + comparer->form->has_coerced; i++)
        if (!target_value(comparer, i, row.texts[i + 1], row.sizes[i + 1]))
            return false;
    if (!comparer->form->has_coerced)
        put_size(&side->row, NULL_MARK);
    side->rows++;
    return !side->row.failed || err_set(&comparer->error, ERR_INTERNAL, "memory", "a row needs too much memory");
}

static bool next(struct comparer *comparer, int which)
{
    return which == SOURCE_SIDE ? source_next(comparer) : target_next_row(comparer);
}

// ---- groups

static bool group_add(struct comparer *comparer, struct side *side)
{
    struct group *group = &side->group;
    uint32_t size = (uint32_t)side->row.size;
    if (group->count == group->capacity) {
        group->capacity = 2 * group->capacity + 16;
        group->starts = reallocarray(group->starts, group->capacity, sizeof *group->starts);
        CHECK(group->starts != NULL);
    }
    group->starts[group->count++] = group->bytes.size;
    buf_append(&group->bytes, &size, sizeof size);
    buf_append(&group->bytes, side->row.data, side->row.size);
    return !group->bytes.failed ||
           err_set(&comparer->error, ERR_CONFIG, "too_alike",
                   "too many of its rows differ in nothing that both sides can put them in order by; give it a "
                   "primary key to have it compared");
}

static bool group_read(struct comparer *comparer, int which, const char *place)
{
    struct side *side = &comparer->sides[which];
    buf_reset(&side->group.bytes);
    side->group.count = 0;
    while (side->has_row && strcmp(side->place, place) == 0)
        if (!group_add(comparer, side) || !next(comparer, which))
            return false;
    return true;
}

static uint32_t row_size(const struct group *group, uint32_t index)
{
    uint32_t size = 0;
    memcpy(&size, group->bytes.data + group->starts[index], sizeof size);
    return size;
}

static const uint8_t *row_bytes(const struct group *group, uint32_t index)
{
    return group->bytes.data + group->starts[index] + sizeof(uint32_t);
}

static int compare_rows(const struct group *a, uint32_t i, const struct group *b, uint32_t j)
{
    uint32_t left = row_size(a, i), right = row_size(b, j);
    int order = memcmp(row_bytes(a, i), row_bytes(b, j), left < right ? left : right);
    return order != 0 ? order : (left > right) - (left < right);
}

static int compare_starts(const void *a, const void *b, void *context)
{
    struct group *group = context;
    struct group left = {.bytes = group->bytes, .starts = (size_t *)(uintptr_t)a};
    struct group right = {.bytes = group->bytes, .starts = (size_t *)(uintptr_t)b};
    return compare_rows(&left, 0, &right, 0);
}

static void group_sort(struct group *group)
{
    if (group->count > 1)
        qsort_r(group->starts, group->count, sizeof *group->starts, compare_starts, group);
}

static void unpack(struct comparer *comparer, int which, uint32_t index)
{
    const uint8_t *at = row_bytes(&comparer->sides[which].group, index);
    for (uint32_t i = 0; i < comparer->value_count; i++) {
        uint32_t size = 0;
        memcpy(&size, at, sizeof size);
        at += sizeof size;
        comparer->values[which][i] = size == NULL_MARK ? (struct rows_value){.text = NULL}
                                                       : (struct rows_value){.text = (const char *)at, .size = size};
        at += size == NULL_MARK ? 0 : size;
    }
}

static void tell(struct comparer *comparer, enum rows_difference kind, const char *place, uint64_t count)
{
    const struct rows_found found = {.kind = kind,
                                     .place = place,
                                     .count = count,
                                     .source = kind == ROWS_EXTRA ? NULL : comparer->values[SOURCE_SIDE],
                                     .target = kind == ROWS_MISSING ? NULL : comparer->values[TARGET_SIDE]};
    comparer->counts->missing += kind == ROWS_MISSING ? count : 0;
    comparer->counts->extra += kind == ROWS_EXTRA ? count : 0;
    comparer->counts->changed += kind == ROWS_CHANGED;
    comparer->options->on_found(comparer->options->context, &found);
}

static void one_sided(struct comparer *comparer, int which, uint32_t index, uint64_t count, const char *place)
{
    unpack(comparer, which, index);
    tell(comparer, which == SOURCE_SIDE ? ROWS_MISSING : ROWS_EXTRA, place, count);
}

// Equal rows stand side by side: as many as the one side has more than the other are told as one.
static void group_compare(struct comparer *comparer, const char *place)
{
    struct group *source = &comparer->sides[SOURCE_SIDE].group, *target = &comparer->sides[TARGET_SIDE].group;
    if (source->count == 1 && target->count == 1 && form_is_keyed(comparer->form)) {
        if (compare_rows(source, 0, target, 0) == 0)
            return;
        unpack(comparer, SOURCE_SIDE, 0);
        unpack(comparer, TARGET_SIDE, 0);
        tell(comparer, ROWS_CHANGED, place, 1);
        return;
    }
    group_sort(source);
    group_sort(target);
    for (uint32_t i = 0, j = 0; i < source->count || j < target->count;) {
        int order = i == source->count ? 1 : j == target->count ? -1 : compare_rows(source, i, target, j);
        uint32_t first_source = i, first_target = j;
        for (i += order <= 0;
             i > first_source && i < source->count && compare_rows(source, i, source, first_source) == 0;)
            i++;
        for (j += order >= 0;
             j > first_target && j < target->count && compare_rows(target, j, target, first_target) == 0;)
            j++;
        uint32_t source_count = i - first_source, target_count = j - first_target;
        if (source_count > target_count)
            one_sided(comparer, SOURCE_SIDE, first_source, source_count - target_count, place);
        else if (target_count > source_count)
            one_sided(comparer, TARGET_SIDE, first_target, target_count - source_count, place);
    }
}

static bool compare_all(struct comparer *comparer)
{
    struct side *source = &comparer->sides[SOURCE_SIDE], *target = &comparer->sides[TARGET_SIDE];
    if (!next(comparer, SOURCE_SIDE) || !next(comparer, TARGET_SIDE))
        return false;
    while (source->has_row || target->has_row) {
        char place[FORM_PLACE_SIZE + 1];
        bool is_source = source->has_row && (!target->has_row || strcmp(source->place, target->place) <= 0);
        memcpy(place, is_source ? source->place : target->place, sizeof place);
        if (!group_read(comparer, SOURCE_SIDE, place) || !group_read(comparer, TARGET_SIDE, place))
            return false;
        group_compare(comparer, place);
    }
    return true;
}

// ---- life

static void comparer_init(struct comparer *comparer)
{
    comparer->value_count = comparer->form->table->column_count + 1U;
    buf_init(&comparer->image, GROUP_BYTES_MAX);
    buf_init(&comparer->coerced, GROUP_BYTES_MAX);
    buf_init(&comparer->part, GROUP_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        buf_init(&comparer->sides[i].row, GROUP_BYTES_MAX);
        buf_init(&comparer->sides[i].group.bytes, GROUP_BYTES_MAX);
        comparer->values[i] = calloc(comparer->value_count, sizeof *comparer->values[i]);
        CHECK(comparer->values[i] != NULL);
    }
}

static void comparer_deinit(struct comparer *comparer)
{
    buf_deinit(&comparer->image);
    buf_deinit(&comparer->coerced);
    buf_deinit(&comparer->part);
    for (int i = 0; i < 2; i++) {
        buf_deinit(&comparer->sides[i].row);
        buf_deinit(&comparer->sides[i].group.bytes);
        free(comparer->sides[i].group.starts);
        free(comparer->values[i]);
    }
}

// Whatever one side still has to bring is taken, so that the next statement finds its connection free.
static bool drain(struct comparer *comparer, struct err *out_error)
{
    const struct value *values = NULL;
    bool is_over = comparer->sides[SOURCE_SIDE].is_over;
    uint64_t rows = comparer->sides[SOURCE_SIDE].rows;
    struct err ignored;
    target_drop(comparer->target);
    while (!is_over && source_rows_are_open(comparer->source) && breathe(comparer, rows++))
        if (!source_rows_next(comparer->source, &values, &is_over, &ignored))
            break;
    *out_error = comparer->error;
    return false;
}

bool rows_compare(struct source *source, struct target *target, const struct rows_options *options,
                  struct rows_counts *out_counts, struct err *out_error)
{
    struct comparer comparer = {
        .source = source, .target = target, .options = options, .form = options->form, .counts = out_counts};
    struct buf sql;
    *out_counts = (struct rows_counts){0};
    comparer_init(&comparer);
    buf_init(&sql, (size_t)64 << 20);
    form_target_rows(options->form, options->ranges, &sql);
    target_begin(target, buf_text(&sql), true);
    buf_reset(&sql);
    form_source_rows(options->form, options->ranges, &sql);
    bool is_done = source_rows_begin(source, buf_text(&sql), options->client_encoding,
                                     (uint16_t)(options->form->table->column_count + 1), &comparer.error) &&
                   compare_all(&comparer);
    buf_deinit(&sql);
    if (!is_done)
        is_done = drain(&comparer, out_error);
    out_counts->source_rows = comparer.sides[SOURCE_SIDE].rows;
    out_counts->target_rows = comparer.sides[TARGET_SIDE].rows;
    comparer_deinit(&comparer);
    return is_done;
}
