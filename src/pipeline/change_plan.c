#include "pipeline/change_plan.h"

#include <stdio.h>
#include <string.h>

#define TYPE_VARCHAR 1043
#define TYPE_TEXT 25
#define TYPE_NUMERIC 1700
#define MODIFIER_HEADER 4         // of varchar(n) and numeric(p,s): the modifier is the number and this
#define NUMERIC_PRECISION_MAX 38  // of Snowflake's NUMBER: beyond it another type is chosen

static bool refuse(struct err *out_why, const char *column, const char *what)
{
    return err_set(out_why, ERR_LOST, "schema_changed",
                   "its definition changed, and cannot be followed in place: %s%s%s", column != NULL ? column : "",
                   column != NULL ? " " : "", what);
}

static const struct column *find_number(const struct table *table, int16_t attribute_number)
{
    for (uint16_t i = 0; i < table->column_count; i++)
        if (table->columns[i].attribute_number == attribute_number)
            return &table->columns[i];
    return NULL;
}

static bool has_name(const struct table *table, const char *name)
{
    for (uint16_t i = 0; i < table->column_count; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return true;
    return false;
}

static bool is_same_type(const struct column *a, const struct column *b)
{
    return a->type_oid == b->type_oid && a->type_modifier == b->type_modifier &&
           source_types_are_same(&a->types, &b->types);
}

static bool is_text(uint32_t type_oid)
{
    return type_oid == TYPE_VARCHAR || type_oid == TYPE_TEXT;
}

static int32_t numeric_precision(int32_t modifier)
{
    return (modifier - MODIFIER_HEADER) >> 16 & 0xFFFF;
}

// The scale is the lower half.
static int32_t numeric_scale(int32_t modifier)
{
    return (modifier - MODIFIER_HEADER) & 0xFFFF;
}

// What PostgreSQL changes without looking at the rows (src/backend/utils/adt, varchar_support and numeric_support), and what is
// written alike before and after.
bool change_is_wider(uint32_t known_oid, int32_t known_modifier, uint32_t now_oid, int32_t now_modifier)
{
    if (is_text(known_oid) && is_text(now_oid))
        return now_modifier < 0 || (known_modifier >= 0 && now_modifier >= known_modifier);
    return known_oid == TYPE_NUMERIC && now_oid == TYPE_NUMERIC && known_modifier >= 0 && now_modifier >= 0 &&
           numeric_scale(known_modifier) == numeric_scale(now_modifier) &&
           numeric_precision(known_modifier) <= numeric_precision(now_modifier) &&
           numeric_precision(now_modifier) <= NUMERIC_PRECISION_MAX;
}

static bool is_same_key(const struct table *known, const struct table *now)
{
    if (known->identity != now->identity || known->key_count != now->key_count)
        return false;
    for (uint16_t i = 0; i < known->key_count; i++) {
        const struct column *a = &known->columns[known->key_columns[i]], *b = &now->columns[now->key_columns[i]];
        if (a->attribute_number != b->attribute_number || !is_same_type(a, b))
            return false;
    }
    return true;
}

static bool plan_known(const struct column *column, const struct table *known, const struct table *now,
                       struct change_plan *plan, struct err *out_why)
{
    const struct column *other = find_number(now, column->attribute_number);
    if (other == NULL) {
        plan->dropped_count++;
        // The catalog does not keep such a name (definition.c), so the destination would not hear of it.
        return strchr(column->name, '\n') == NULL ||
               refuse(out_why, NULL, "a column with a line break in its name was dropped");
    }
    if (strcmp(column->name, other->name) != 0) {
        plan->renamed_count++;
        if (has_name(known, other->name))
            return refuse(out_why, column->name, "has taken a name that another column had");
    }
    if (is_same_type(column, other))
        return true;
    plan->widened_count++;
    return change_is_wider(column->type_oid, column->type_modifier, other->type_oid, other->type_modifier) ||
           refuse(out_why, column->name, "has another type");
}

static bool plan_added(struct column *column, const struct table *known, struct change_plan *plan, struct err *out_why)
{
    if (column->attribute_number <= (int16_t)known->attribute_count)
        return refuse(out_why, column->name, "was there and not published");
    if (has_name(known, column->name))
        return refuse(out_why, column->name, "is another column now than the one that had this name");
    column->is_added = true;
    plan->added_count++;
    plan->needs_merge |= column->has_missing;
    return !column->has_missing || column->missing_text != NULL ||
           refuse(out_why, column->name, "has a default that older rows show, which its partitions keep");
}

bool change_plan(const struct table *known, struct table *now, struct change_plan *out_plan, struct err *out_why)
{
    *out_plan = (struct change_plan){0};
    if (strcmp(known->schema_name, now->schema_name) != 0 || strcmp(known->table_name, now->table_name) != 0)
        return refuse(out_why, NULL, "it was renamed");
    if (!is_same_key(known, now))
        return refuse(out_why, NULL, "its replica identity or primary key changed");
    for (uint16_t i = 0; i < known->column_count; i++)
        if (!plan_known(&known->columns[i], known, now, out_plan, out_why))
            return false;
    out_plan->needs_merge = out_plan->renamed_count + out_plan->dropped_count > 0;
    for (uint16_t i = 0; i < now->column_count; i++)
        if (find_number(known, now->columns[i].attribute_number) == NULL &&
            !plan_added(&now->columns[i], known, out_plan, out_why))
            return false;
    if (now->attribute_count != known->attribute_count + out_plan->added_count)
        return refuse(out_why, NULL, "columns came and went in between");
    if (out_plan->added_count + out_plan->renamed_count + out_plan->dropped_count + out_plan->widened_count == 0)
        return refuse(out_why, NULL, "it is not known what changed");
    return true;
}

void change_plan_format(const struct change_plan *plan, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%u column(s) added, %u renamed, %u dropped, %u widened", plan->added_count,
                   plan->renamed_count, plan->dropped_count, plan->widened_count);
}
