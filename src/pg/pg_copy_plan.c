// What is read, in which pieces and by which statements.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/pg_catalog.h"
#include "pg/pg_copy_private.h"

// ---- parts

static struct copy_part *part_new(struct pg_copy *copy, uint32_t table_index)
{
    if (copy->part_count == copy->part_capacity) {
        copy->part_capacity = copy->part_capacity == 0 ? 64 : 2 * copy->part_capacity;
        copy->parts = reallocarray(copy->parts, copy->part_capacity, sizeof *copy->parts);
        CHECK(copy->parts != NULL);
    }
    struct copy_part *part = &copy->parts[copy->part_count++];
    *part = (struct copy_part){.table_index = table_index};
    return part;
}

static uint64_t number_at(const PGresult *check, int row, const char *name)
{
    const char *text = pg_copy_field(check, row, name);
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static bool is_true_at(const PGresult *check, int row, const char *name)
{
    const char *text = pg_copy_field(check, row, name);
    return text != NULL && text[0] == 't';
}

static char *table_name(const struct table *table)
{
    struct buf name;
    buf_init(&name, 1024);
    pg_copy_append_table(&name, table);
    char *text = strdup(buf_text(&name));
    CHECK(text != NULL && !name.failed);
    buf_deinit(&name);
    return text;
}

// A partitioned table is read leaf by leaf, if the user may: the right to read the root alone does not reach to them, and
// row level security of theirs would count that does not count through the root.
void pg_copy_plan_table(struct pg_copy *copy, uint32_t table_index, const PGresult *check)
{
    struct copy_table *state = &copy->state_of[table_index];
    const char *relkind = pg_copy_field(check, 0, "relkind");
    if (copy->is_planned || state->has_parts)
        return;
    state->has_parts = true;
    state->is_tree = relkind != NULL && relkind[0] == 'p';
    bool is_by_leaf =
        !state->is_tree || (is_true_at(check, 0, "may_read_parts") && PQntuples(check) <= PG_COPY_RANGES_MAX);
    if (pg_copy_field(check, 0, "part_oid") == NULL)
        is_by_leaf = false;
    for (int row = 0; is_by_leaf && row < PQntuples(check); row++) {
        struct copy_part *part = part_new(copy, table_index);
        part->oid = (uint32_t)number_at(check, row, "part_oid");
        part->is_whole = !is_true_at(check, row, "is_heap");
        part->blocks = (uint32_t)number_at(check, row, "part_blocks");
        part->bytes = number_at(check, row, "part_bytes");
        part->name =
            state->is_tree ? strdup(pg_copy_field(check, row, "part_name")) : table_name(copy->tables[table_index]);
        CHECK(part->name != NULL);
        state->bytes += part->bytes;
        state->has_whole_part |= part->is_whole;
    }
    if (is_by_leaf)
        return;
    struct copy_part *whole = part_new(copy, table_index);
    whole->name = table_name(copy->tables[table_index]);
    whole->is_whole = true;
    whole->is_tree = state->is_tree;
    state->has_whole_part = true;
    for (int row = 0; row < PQntuples(check); row++) {
        whole->blocks += (uint32_t)number_at(check, row, "part_blocks");
        whole->bytes += number_at(check, row, "part_bytes");
    }
    state->bytes = whole->bytes;
}

// ---- ranges

// How many ranges a part is cut into: about range_bytes each, and then as many as keep all readers busy to the end.
static uint32_t count_ranges(const struct pg_copy *copy, const struct copy_part *part, uint32_t count_max)
{
    if (part->is_whole || part->bytes <= copy->range_bytes || part->blocks < 2)
        return 1;
    uint64_t count = (part->bytes + copy->range_bytes - 1) / copy->range_bytes;
    count = (count + copy->connections_max - 1) / copy->connections_max * copy->connections_max;
    if (count > part->blocks)
        count = part->blocks;
    return count > count_max ? count_max : (uint32_t)count;
}

// Large, and cannot be cut: whoever reads it should begin early, or the others would end long before.
static bool is_long(const struct pg_copy *copy, uint32_t table_index)
{
    const struct copy_table *state = &copy->state_of[table_index];
    return state->has_whole_part && state->bytes > copy->range_bytes;
}

// The order of reading: that of the stack of locks, from its top; what is long comes before it.
static uint32_t order_tables(const struct pg_copy *copy, uint32_t *order)
{
    uint32_t count = 0;
    for (int is_rest = 0; is_rest < 2; is_rest++)
        for (uint32_t i = copy->lock_count; i-- > 0;)
            if (is_long(copy, copy->lock_order[i]) != (is_rest == 1))
                order[count++] = copy->lock_order[i];
    return count;
}

static void add_ranges(struct pg_copy *copy, uint32_t table_index, uint32_t part_index, uint32_t count)
{
    struct copy_table *state = &copy->state_of[table_index];
    const struct copy_part *part = &copy->parts[part_index];
    uint32_t first_block = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t end_block = (uint32_t)((uint64_t)part->blocks * (i + 1) / count);
        struct copy_range *range = &copy->ranges[copy->range_count++];
        *range =
            (struct copy_range){.told = {.table_index = table_index,
                                         .number = (uint16_t)state->range_count++,
                                         .blocks = end_block - first_block},
                                .part = part_index,
                                .first_block = first_block,
                                // The last one is open: what was added at the end since is not seen, but costs nothing.
                                .end_block = i + 1 < count ? end_block : 0};
        first_block = end_block;
    }
}

void pg_copy_plan_ranges(struct pg_copy *copy)
{
    uint32_t *order = calloc((size_t)copy->table_count + 1, sizeof *order);
    uint32_t *first_parts = calloc((size_t)copy->table_count + 1, sizeof *first_parts);
    uint64_t capacity = 0;
    CHECK(order != NULL && first_parts != NULL);
    for (uint32_t i = 0; i < copy->part_count; i++)
        capacity += count_ranges(copy, &copy->parts[i], PG_COPY_RANGES_MAX);
    uint32_t table_count = order_tables(copy, order);
    // The parts of a table are neighbours: they were added by one check.
    for (uint32_t i = copy->part_count; i-- > 0;)
        first_parts[copy->parts[i].table_index] = i;
    copy->ranges = calloc(capacity + 1, sizeof *copy->ranges);
    CHECK(copy->ranges != NULL);
    for (uint32_t i = 0; i < table_count; i++) {
        struct copy_table *state = &copy->state_of[order[i]];
        if (state->has_failed || !state->has_parts)
            continue;
        state->first_range = copy->range_count;
        uint32_t part_end = first_parts[order[i]];
        while (part_end < copy->part_count && copy->parts[part_end].table_index == order[i])
            part_end++;
        for (uint32_t part = first_parts[order[i]]; part < part_end; part++) {
            uint32_t left = PG_COPY_RANGES_MAX - state->range_count - (part_end - 1 - part);
            add_ranges(copy, order[i], part, count_ranges(copy, &copy->parts[part], left));
        }
        state->ranges_left = state->range_count;
    }
    free(order);
    free(first_parts);
}

void pg_copy_plan_deinit(struct pg_copy *copy)
{
    for (uint32_t i = 0; i < copy->part_count; i++)
        free(copy->parts[i].name);
    for (uint32_t i = 0; copy->state_of != NULL && i < copy->table_count; i++)
        free(copy->state_of[i].row_filter);
    free(copy->parts);
    free(copy->ranges);
    free(copy->state_of);
    copy->parts = NULL;
    copy->ranges = NULL;
    copy->state_of = NULL;
    copy->part_count = copy->part_capacity = copy->range_count = 0;
}

struct copy_range *pg_copy_find_range(const struct pg_copy *copy, uint32_t table_index, uint16_t number)
{
    if (copy->state == COPY_STOPPED || !copy->is_planned)
        return NULL;
    const struct copy_table *state = &copy->state_of[table_index];
    return number < state->range_count ? &copy->ranges[state->first_range + number] : NULL;
}

uint32_t pg_copy_range_count(const struct pg_copy *copy, uint32_t table_index)
{
    return copy->state == COPY_STOPPED ? 0 : copy->state_of[table_index].range_count;
}

const struct pg_copy_range *pg_copy_range(const struct pg_copy *copy, uint32_t table_index, uint16_t number)
{
    const struct copy_range *range = pg_copy_find_range(copy, table_index, number);
    return range != NULL ? &range->told : NULL;
}

// ---- statements

// concat() calls the type's output function, as the stream does; a cast to text may give something else (inet, bpchar,
// boolean). IS DISTINCT FROM NULL, because a composite value of NULLs IS NULL as well.
static void append_column(struct buf *sql, const struct column *column, bool is_text)
{
    if (!is_text) {
        pg_append_identifier(sql, column->name);
        return;
    }
    buf_append_text(sql, "CASE WHEN ");
    pg_append_identifier(sql, column->name);
    buf_append_text(sql, " IS DISTINCT FROM NULL THEN pg_catalog.concat(");
    pg_append_identifier(sql, column->name);
    buf_append_text(sql, ") END");
}

static void append_copy(struct buf *sql, const struct pg_copy *copy, const struct copy_range *range)
{
    uint32_t index = range->told.table_index;
    const struct table *table = copy->tables[index];
    const struct copy_part *part = &copy->parts[range->part];
    const char *filter = copy->state_of[index].row_filter;
    buf_append_text(sql, "COPY (SELECT ");
    for (uint16_t i = 0; i < table->column_count; i++) {
        if (i > 0)
            buf_append_text(sql, ", ");
        append_column(sql, &table->columns[i], copy->column_as_text != NULL && copy->column_as_text[index][i]);
    }
    // Children by plain inheritance are tables of the publication themselves; the partitions of one that is published as
    // a whole are parts of it.
    buf_appendf(sql, part->is_tree ? " FROM %s" : " FROM ONLY %s", part->name);
    const char *joint = " WHERE ";
    if (!part->is_whole) {
        buf_appendf(sql, " WHERE ctid >= '(%" PRIu32 ",0)'", range->first_block);
        if (range->end_block > 0)
            buf_appendf(sql, " AND ctid < '(%" PRIu32 ",0)'", range->end_block);
        joint = " AND ";
    }
    if (filter != NULL)
        buf_appendf(sql, "%s(%s)", joint, filter);
    buf_append_text(sql, ") TO STDOUT (FORMAT binary)");
}

// The file of the part, which is locked, must still be the one that the snapshot has: the guard may be lost without our
// knowing it yet, and what it held back may have happened.
void pg_copy_append_file_check(struct buf *sql, const struct copy_part *part)
{
    buf_appendf(sql,
                "SAVEPOINT etl_check; SELECT relkind NOT IN ('r', 'm', 't') OR relfilenode IS NOT DISTINCT FROM "
                "pg_catalog.pg_relation_filenode(oid) AS is_same_file FROM pg_catalog.pg_class WHERE oid = %" PRIu32,
                part->oid);
}

// Our names are UTF-8, so the statement is; its data comes in the database's own encoding. The server reads the whole text
// before it obeys the first part. What planning locks, and the settings, end with the savepoint.
void pg_copy_append_read(struct buf *sql, const struct pg_copy *copy, const struct copy_range *range)
{
    buf_append_text(sql, "SAVEPOINT etl_range; SET LOCAL synchronize_seqscans TO off;"
                         " SET LOCAL max_parallel_workers_per_gather TO 0; ");
    if (!copy->parts[range->part].is_whole)
        buf_append_text(sql, "SET LOCAL enable_tidscan TO on; SET LOCAL enable_seqscan TO off;"
                             " SET LOCAL enable_indexscan TO off; SET LOCAL enable_indexonlyscan TO off;"
                             " SET LOCAL enable_bitmapscan TO off; ");
    if (copy->client_encoding[0] != '\0') {
        buf_append_text(sql, "SET LOCAL client_encoding TO ");
        pg_append_literal(sql, copy->client_encoding);
        buf_append_text(sql, "; ");
    }
    append_copy(sql, copy, range);
    buf_append_text(sql, "; ROLLBACK TO SAVEPOINT etl_range; RELEASE SAVEPOINT etl_range");
}

// ---- for an owner who reads by himself

void pg_copy_append_enter(const struct pg_copy *copy, struct buf *out)
{
    pg_copy_append_join(out, copy->guard_snapshot);
}

void pg_copy_append_from(const struct pg_copy *copy, uint32_t table_index, struct buf *out, const char **out_filter)
{
    const struct copy_table *state = &copy->state_of[table_index];
    *out_filter = state->row_filter;
    if (!state->is_tree)
        buf_append_text(out, "ONLY ");
    pg_copy_append_table(out, copy->tables[table_index]);
}
