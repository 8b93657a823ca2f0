#include "verify/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "encode/ndjson.h"
#include "sinks/snowflake/sf_row.h"
#include "verify/value.h"

#define GROUP_BYTES_MAX ((size_t)1 << 30)
#define TELL_EVERY 4096
#define NULL_MARK 0xFFFFFFFFU

// Rows in an arena, each: its size, then a value a column and that of _ETL_COERCED, each a size of 4 bytes (NULL_MARK: NULL) and its
// bytes. So rows are equal when their bytes are. Behind them what else is known of the row: see entry_at.
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
    // Rows that the other side does not have at their place and may have at another: the target holds a value in another form than
    // the source, and says so in _ETL_COERCED. They are looked at when all were read.
    struct group left;
};

struct comparer {
    struct source *source;
    struct target *target;
    const struct rows_options *options;
    const struct form *form;
    struct side sides[2];  // source, target
    struct rows_counts *counts;
    struct buf image, part;
    // The inside of _ETL_COERCED, made as the row's line has it: what is in it already tells what is left out. And the same in braces.
    struct buf coerced, object;
    // Of the source's row, two values a column: what _ETL_COERCED says of it as it is, and if it was shortened as its row is too large
    // for an append. Empty: no value can have been.
    struct buf parts;
    struct buf short_image, short_part;
    uint64_t json_bytes;  // of the row's values
    bool is_shortenable;
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

static void put_part(struct buf *parts, const struct column_encoder *encoder, const struct buf *part)
{
    size_t start = begin_value(parts);
    buf_append(parts, encoder->key, encoder->key_size);
    buf_append(parts, part->data, part->size);
    end_value(parts, start);
}

// value: NULL for SQL NULL. Its form is in image already, and in part what is said of it.
static void note_parts(struct comparer *comparer, uint16_t index, const struct value *value, bool is_coerced)
{
    const struct row_encoder *limited = comparer->options->limited;
    if (limited == NULL)
        return;
    if (is_coerced)
        put_part(&comparer->parts, &limited->columns[index], &comparer->part);
    else
        put_size(&comparer->parts, NULL_MARK);
    bool is_short = value != NULL && comparer->image.size > SF_ROW_VALUE_BYTES_LAST;
    if (is_short) {
        buf_reset(&comparer->short_image);
        buf_reset(&comparer->short_part);
        is_short = column_encode(&limited->columns[index], value, &comparer->short_image, &comparer->short_part) ==
                   VALUE_COERCED;
    }
    if (is_short)
        put_part(&comparer->parts, &limited->columns[index], &comparer->short_part);
    else
        put_size(&comparer->parts, NULL_MARK);
    comparer->is_shortenable |= is_short;
    comparer->json_bytes += value != NULL ? comparer->image.size : 0;
}

static bool source_value(struct comparer *comparer, uint16_t index, const struct value *value)
{
    const struct column_encoder *encoder = &comparer->form->encoders[index];
    const struct column *column = &comparer->form->table->columns[index];
    struct buf *row = &comparer->sides[SOURCE_SIDE].row;
    struct value text = *value;
    if (value->state == VALUE_NULL) {
        put_size(row, NULL_MARK);
        note_parts(comparer, index, NULL, false);
        return true;
    }
    if (encoder->wants_text)
        text.state = VALUE_TEXT;
    buf_reset(&comparer->image);
    size_t coerced_start = comparer->coerced.size;
    enum value_outcome outcome = column_encode(encoder, &text, &comparer->image, &comparer->coerced);
    buf_reset(&comparer->part);
    buf_append(&comparer->part, comparer->coerced.data + coerced_start, comparer->coerced.size - coerced_start);
    switch (outcome) {
    case VALUE_WRITTEN: break;
    case VALUE_COERCED: ndjson_insert_coerced_key(&comparer->coerced, coerced_start, encoder); break;
    case VALUE_OVERSIZED:
        return err_set(&comparer->error, ERR_DATA, "oversized",
                       "column %s holds a value that is too large for the target", column->name);
    case VALUE_MALFORMED:
        return err_set(&comparer->error, ERR_DATA, "malformed_value", "column %s: the server's value is not of type %s",
                       column->name, column->type_name);
    }
    note_parts(comparer, index, &text, outcome == VALUE_COERCED);
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
    buf_reset(&comparer->parts);
    comparer->json_bytes = 0;
    comparer->is_shortenable = false;
    for (uint16_t i = 0; i < comparer->form->table->column_count; i++)
        if (!source_value(comparer, i, &values[i + 1]))
            return false;
    // Without a key a row comes once, and whole: one that is far from too large was not shortened.
    if (!comparer->is_shortenable || (!form_is_keyed(comparer->form) && comparer->json_bytes < SF_ROW_SURE_BYTES / 2))
        buf_reset(&comparer->parts);
    if (comparer->coerced.size == 0) {
        put_size(&side->row, NULL_MARK);
    } else {
        buf_reset(&comparer->object);
        buf_append_byte(&comparer->object, '{');
        buf_append(&comparer->object, comparer->coerced.data, comparer->coerced.size);
        buf_append_byte(&comparer->object, '}');
        size_t start = begin_value(&side->row);
        if (!value_append_json(comparer->object.data, comparer->object.size, &side->row))
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

struct entry {
    const uint8_t *row, *parts;
    uint32_t row_size, parts_size;
    char place[FORM_PLACE_SIZE + 1];
    uint64_t count;  // of equal rows
};

static struct entry entry_at(const struct group *group, uint32_t index)
{
    struct entry entry = {.count = 0};
    const uint8_t *at = group->bytes.data + group->starts[index];
    memcpy(&entry.row_size, at, sizeof entry.row_size);
    entry.row = at + sizeof entry.row_size;
    at = entry.row + entry.row_size;
    memcpy(&entry.parts_size, at, sizeof entry.parts_size);
    entry.parts = at + sizeof entry.parts_size;
    at = entry.parts + entry.parts_size;
    memcpy(entry.place, at, FORM_PLACE_SIZE);
    memcpy(&entry.count, at + FORM_PLACE_SIZE, sizeof entry.count);
    return entry;
}

static void entry_set_count(struct group *group, uint32_t index, uint64_t count)
{
    const struct entry entry = entry_at(group, index);
    size_t at = (size_t)(entry.parts - group->bytes.data) + entry.parts_size + FORM_PLACE_SIZE;
    memcpy(group->bytes.data + at, &count, sizeof count);
}

static bool group_add(struct comparer *comparer, struct group *group, const struct entry *entry)
{
    if (group->count == group->capacity) {
        group->capacity = 2 * group->capacity + 16;
        group->starts = reallocarray(group->starts, group->capacity, sizeof *group->starts);
        CHECK(group->starts != NULL);
    }
    group->starts[group->count++] = group->bytes.size;
    put_size(&group->bytes, entry->row_size);
    buf_append(&group->bytes, entry->row, entry->row_size);
    put_size(&group->bytes, entry->parts_size);
    if (entry->parts_size > 0)
        buf_append(&group->bytes, entry->parts, entry->parts_size);
    buf_append(&group->bytes, entry->place, FORM_PLACE_SIZE);
    buf_append(&group->bytes, &entry->count, sizeof entry->count);
    return !group->bytes.failed ||
           err_set(&comparer->error, ERR_CONFIG, "too_alike",
                   "too many of its rows differ in nothing that both sides can put them in order by; give it a "
                   "primary key to have it compared");
}

static bool group_read(struct comparer *comparer, int which, const char *place)
{
    struct side *side = &comparer->sides[which];
    const struct buf none = {0}, *parts = which == SOURCE_SIDE ? &comparer->parts : &none;
    buf_reset(&side->group.bytes);
    side->group.count = 0;
    while (side->has_row && strcmp(side->place, place) == 0) {
        struct entry entry = {.row = side->row.data,
                              .row_size = (uint32_t)side->row.size,
                              .parts = parts->data,
                              .parts_size = (uint32_t)parts->size,
                              .count = 1};
        memcpy(entry.place, side->place, sizeof entry.place);
        if (!group_add(comparer, &side->group, &entry) || !next(comparer, which))
            return false;
    }
    return true;
}

static int compare_rows(const struct group *a, uint32_t i, const struct group *b, uint32_t j)
{
    const struct entry left = entry_at(a, i), right = entry_at(b, j);
    int order = memcmp(left.row, right.row, left.row_size < right.row_size ? left.row_size : right.row_size);
    return order != 0 ? order : (left.row_size > right.row_size) - (left.row_size < right.row_size);
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

static const uint8_t *take_value(const uint8_t *at, struct rows_value *out)
{
    uint32_t size = 0;
    memcpy(&size, at, sizeof size);
    at += sizeof size;
    *out = size == NULL_MARK ? (struct rows_value){.text = NULL}
                             : (struct rows_value){.text = (const char *)at, .size = size};
    return at + out->size;
}

static void unpack(struct comparer *comparer, int which, const struct group *group, uint32_t index)
{
    const uint8_t *at = entry_at(group, index).row;
    for (uint32_t i = 0; i < comparer->value_count; i++)
        at = take_value(at, &comparer->values[which][i]);
}

static bool is_coerced(const struct comparer *comparer, int which)
{
    return comparer->values[which][comparer->value_count - 1].text != NULL;
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

// ---- rows whose values the target holds in another form

static bool is_same_value(const struct rows_value *a, const struct rows_value *b)
{
    return (a->text == NULL) == (b->text == NULL) && a->size == b->size &&
           (a->size == 0 || memcmp(a->text, b->text, a->size) == 0);
}

static bool is_left_of(const struct column_encoder *encoder, const struct rows_value *whole,
                       const struct rows_value *found)
{
    if (found->text == NULL)
        return true;
    return encoder->target.kind == TARGET_VARCHAR && encoder->value->truncates_oversized && whole->text != NULL &&
           found->size < whole->size && (found->size == 0 || memcmp(found->text, whole->text, found->size) == 0);
}

// Whether the target holds the row as it is when it was too large for an append: values are NULL or cut off, and _ETL_COERCED tells of
// each. Which of them depends on how the row came to be (an update leaves large values unsent), so any will do.
static bool is_shortened(struct comparer *comparer, const struct group *source, uint32_t i, const struct group *target,
                         uint32_t j)
{
    const struct entry row = entry_at(source, i);
    const uint8_t *at = row.parts;
    struct buf *said = &comparer->coerced, *form = &comparer->image;
    if (row.parts_size == 0)
        return false;
    unpack(comparer, SOURCE_SIDE, source, i);
    unpack(comparer, TARGET_SIDE, target, j);
    const struct rows_value *whole = comparer->values[SOURCE_SIDE], *found = comparer->values[TARGET_SIDE];
    if (!is_coerced(comparer, TARGET_SIDE))
        return false;
    buf_reset(said);
    for (uint16_t k = 0; k < comparer->form->table->column_count; k++) {
        struct rows_value own, shortened;
        at = take_value(take_value(at, &own), &shortened);
        bool is_whole = is_same_value(&whole[k], &found[k]);
        if (!is_whole && (shortened.text == NULL || !is_left_of(&comparer->form->encoders[k], &whole[k], &found[k])))
            return false;
        const struct rows_value *part = is_whole ? &own : &shortened;
        if (part->text == NULL)
            continue;
        buf_append_byte(said, said->size == 0 ? '{' : ',');
        buf_append(said, part->text, part->size);
    }
    buf_append_byte(said, '}');
    buf_reset(form);
    const struct rows_value *told = &found[comparer->value_count - 1];
    return value_append_json(said->data, said->size, form) && form->size == told->size &&
           memcmp(form->data, told->text, told->size) == 0;
}

static bool one_sided(struct comparer *comparer, int which, uint32_t index, uint64_t count, const char *place)
{
    struct side *side = &comparer->sides[which];
    struct entry entry = entry_at(&side->group, index);
    bool has_other = comparer->sides[which == SOURCE_SIDE ? TARGET_SIDE : SOURCE_SIDE].group.count > 0;
    unpack(comparer, which, &side->group, index);
    bool is_left =
        comparer->form->has_coerced &&
        (is_coerced(comparer, which) || (entry.parts_size > 0 && (has_other || !form_is_keyed(comparer->form))));
    if (!is_left) {
        tell(comparer, which == SOURCE_SIDE ? ROWS_MISSING : ROWS_EXTRA, place, count);
        return true;
    }
    entry.count = count;
    return group_add(comparer, &side->left, &entry);
}

// Takes rows i and j for the same; which of them has none left.
static void pair(struct comparer *comparer, uint32_t i, uint32_t j)
{
    struct group *source = &comparer->sides[SOURCE_SIDE].left, *target = &comparer->sides[TARGET_SIDE].left;
    uint64_t of_source = entry_at(source, i).count, of_target = entry_at(target, j).count;
    uint64_t count = of_source < of_target ? of_source : of_target;
    entry_set_count(source, i, of_source - count);
    entry_set_count(target, j, of_target - count);
}

static void tell_left(struct comparer *comparer, int which)
{
    const struct group *left = &comparer->sides[which].left;
    for (uint32_t i = 0; i < left->count; i++) {
        const struct entry entry = entry_at(left, i);
        if (entry.count == 0)
            continue;
        unpack(comparer, which, left, i);
        tell(comparer, which == SOURCE_SIDE ? ROWS_MISSING : ROWS_EXTRA, entry.place, entry.count);
    }
}

// Where only some ranges were read, what has no other half may have it in another one: nothing is said of it.
static void compare_left(struct comparer *comparer)
{
    struct group *source = &comparer->sides[SOURCE_SIDE].left, *target = &comparer->sides[TARGET_SIDE].left;
    group_sort(source);
    group_sort(target);
    for (uint32_t i = 0, j = 0; i < source->count && j < target->count;) {
        int order = compare_rows(source, i, target, j);
        if (order == 0)
            pair(comparer, i, j);
        bool is_source_over = order < 0 || (order == 0 && entry_at(source, i).count == 0);
        bool is_target_over = order > 0 || (order == 0 && entry_at(target, j).count == 0);
        i += is_source_over;
        j += is_target_over;
    }
    for (uint32_t i = 0; i < source->count; i++)
        for (uint32_t j = 0; j < target->count && entry_at(source, i).count > 0; j++)
            if (entry_at(target, j).count > 0 && is_shortened(comparer, source, i, target, j))
                pair(comparer, i, j);
    if (comparer->options->is_partial)
        return;
    tell_left(comparer, SOURCE_SIDE);
    tell_left(comparer, TARGET_SIDE);
}

// ---- place by place

// Equal rows stand side by side: as many as the one side has more than the other are told as one.
static bool group_compare(struct comparer *comparer, const char *place)
{
    struct group *source = &comparer->sides[SOURCE_SIDE].group, *target = &comparer->sides[TARGET_SIDE].group;
    if (source->count == 1 && target->count == 1 && form_is_keyed(comparer->form)) {
        if (compare_rows(source, 0, target, 0) == 0 || is_shortened(comparer, source, 0, target, 0))
            return true;
        unpack(comparer, SOURCE_SIDE, source, 0);
        unpack(comparer, TARGET_SIDE, target, 0);
        tell(comparer, ROWS_CHANGED, place, 1);
        return true;
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
        if (source_count > target_count &&
            !one_sided(comparer, SOURCE_SIDE, first_source, source_count - target_count, place))
            return false;
        if (target_count > source_count &&
            !one_sided(comparer, TARGET_SIDE, first_target, target_count - source_count, place))
            return false;
    }
    return true;
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
        if (!group_read(comparer, SOURCE_SIDE, place) || !group_read(comparer, TARGET_SIDE, place) ||
            !group_compare(comparer, place))
            return false;
    }
    compare_left(comparer);
    return true;
}

// ---- life

static void comparer_init(struct comparer *comparer)
{
    comparer->value_count = comparer->form->table->column_count + 1U;
    buf_init(&comparer->image, GROUP_BYTES_MAX);
    buf_init(&comparer->coerced, GROUP_BYTES_MAX);
    buf_init(&comparer->part, GROUP_BYTES_MAX);
    buf_init(&comparer->parts, GROUP_BYTES_MAX);
    buf_init(&comparer->short_image, GROUP_BYTES_MAX);
    buf_init(&comparer->short_part, GROUP_BYTES_MAX);
    buf_init(&comparer->object, GROUP_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        buf_init(&comparer->sides[i].row, GROUP_BYTES_MAX);
        buf_init(&comparer->sides[i].group.bytes, GROUP_BYTES_MAX);
        buf_init(&comparer->sides[i].left.bytes, GROUP_BYTES_MAX);
        comparer->values[i] = calloc(comparer->value_count, sizeof *comparer->values[i]);
        CHECK(comparer->values[i] != NULL);
    }
}

static void comparer_deinit(struct comparer *comparer)
{
    buf_deinit(&comparer->image);
    buf_deinit(&comparer->coerced);
    buf_deinit(&comparer->part);
    buf_deinit(&comparer->parts);
    buf_deinit(&comparer->short_image);
    buf_deinit(&comparer->short_part);
    buf_deinit(&comparer->object);
    for (int i = 0; i < 2; i++) {
        buf_deinit(&comparer->sides[i].row);
        buf_deinit(&comparer->sides[i].group.bytes);
        free(comparer->sides[i].group.starts);
        buf_deinit(&comparer->sides[i].left.bytes);
        free(comparer->sides[i].left.starts);
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
