// What the catalog keeps of a table's definition, and whether it is still so at the source. A change makes the table copy itself
// anew with the definition of now; the destination evolves its tables to it while readers keep what they see.
//
// Why no change is missed: marks are read before the definition, the definition before the snapshot that the table is copied in.
// What changed before the marks is in all of them; what changes later makes the next look's marks differ.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/change_plan.h"
#include "pipeline/marks.h"
#include "pipeline/pipeline_private.h"

#define COLUMNS_BYTES_MAX (1U << 20)
#define NUMBER_OF_SCHEMA 0
#define NUMBER_OF_TABLE (-1)

static void set_text(struct pipeline_table *table, char **text, const char *now)
{
    if (strcmp(*text != NULL ? *text : "", now) == 0)
        return;
    free(*text);
    *text = strdup(now);
    CHECK(*text != NULL);
    table->is_record_dirty = true;
}

void definition_mark(struct pipeline_table *table, const char *marks)
{
    set_text(table, &table->record.marks, marks);
}

bool definition_has_changed(struct pipeline_table *table, const char *marks, struct err *out_why)
{
    static const char *const codes[] = {[MARKS_SAME] = "",
                                        [MARKS_MEMBERSHIP] = "published_again",
                                        [MARKS_LEFT_OUT] = "published_again",
                                        [MARKS_SHAPE] = "schema_changed",
                                        [MARKS_IDENTITY] = "identity_changed",
                                        [MARKS_REWRITTEN] = "rewritten",
                                        [MARKS_PARTITIONS] = "partitions_changed",
                                        [MARKS_LABELS] = "labels_changed"};
    const char *known = table->record.marks != NULL ? table->record.marks : "", *why = "";
    enum marks_change change = marks_compare(known, marks, &why);
    definition_mark(table, marks);
    if (change == MARKS_SAME)
        return false;
    err_set(out_why, ERR_LOST, codes[change], "%s", why);
    return true;
}

// --- columns by their numbers ------------------------------------------------------------------------------------
//
// What is kept are lines: "NUMBER NAME" of each column, then "tNUMBER OID MODIFIER", its type as declared.

// The name in a line "number name" of that number, in out; false: there is none.
static bool former_name(const char *columns, int number, struct buf *out)
{
    for (const char *line = columns; *line != '\0';) {
        char *name;
        size_t size = strcspn(line, "\n");
        long found = strtol(line, &name, 10);
        if (found == number && *name == ' ') {
            buf_reset(out);
            buf_append(out, name + 1, size - (size_t)(name + 1 - line));
            return true;
        }
        line += size + (line[size] == '\n');
    }
    return false;
}

static const struct column *find_number(const struct table *definition, long number)
{
    for (uint16_t i = 0; i < definition->column_count; i++)
        if (definition->columns[i].attribute_number == number)
            return &definition->columns[i];
    return NULL;
}

static void recall(const char *columns, int number, const char *name, char **out_former)
{
    struct buf former;
    free(*out_former);
    *out_former = NULL;
    buf_init(&former, COLUMNS_BYTES_MAX);
    if (columns != NULL && former_name(columns, number, &former) && strcmp(buf_text(&former), name) != 0) {
        *out_former = strdup(buf_text(&former));
        CHECK(*out_former != NULL);
    }
    buf_deinit(&former);
}

// Those whose numbers are not there any more.
static void recall_left(const char *columns, struct table *definition)
{
    table_forget_left(definition);
    for (const char *line = columns; *line != '\0';) {
        char *name;
        size_t size = strcspn(line, "\n");
        long number = strtol(line, &name, 10);
        if (number > 0 && *name == ' ' && find_number(definition, number) == NULL) {
            definition->left_names =
                reallocarray(definition->left_names, definition->left_count + 1U, sizeof *definition->left_names);
            CHECK(definition->left_names != NULL);
            definition->left_names[definition->left_count] = strndup(name + 1, size - (size_t)(name + 1 - line));
            CHECK(definition->left_names[definition->left_count] != NULL);
            definition->left_count++;
        }
        line += size + (line[size] == '\n');
    }
}

void definition_recall_names(struct pipeline_table *table)
{
    struct table *definition = table->table;
    recall(table->record.columns, NUMBER_OF_SCHEMA, "", &definition->former_schema_name);
    recall(table->record.columns, NUMBER_OF_TABLE, "", &definition->former_table_name);
    for (uint16_t i = 0; i < definition->column_count; i++)
        recall(table->record.columns, definition->columns[i].attribute_number, definition->columns[i].name,
               &definition->columns[i].former_name);
    recall_left(table->record.columns != NULL ? table->record.columns : "", definition);
}

// A line break in a name would end its line: such a column counts as another one when it is renamed.
void definition_keep(struct pipeline_table *table)
{
    struct buf text;
    buf_init(&text, COLUMNS_BYTES_MAX);
    for (uint16_t i = 0; i < table->table->column_count; i++) {
        const struct column *column = &table->table->columns[i];
        if (strchr(column->name, '\n') == NULL)
            buf_appendf(&text, "%d %s\n", column->attribute_number, column->name);
    }
    for (uint16_t i = 0; i < table->table->column_count; i++) {
        const struct column *column = &table->table->columns[i];
        buf_appendf(&text, "t%d %u %d\n", column->attribute_number, column->type_oid, column->type_modifier);
    }
    set_text(table, &table->record.columns, text.failed ? "" : buf_text(&text));
    buf_deinit(&text);
}

// --- the definition that was kept --------------------------------------------------------------------------------

struct kept_type {
    uint32_t oid;
    int32_t modifier;
};

static bool find_type(const char *columns, int number, struct kept_type *out_type)
{
    int found;
    for (const char *line = columns; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
        if (sscanf(line, "t%d %" SCNu32 " %" SCNd32, &found, &out_type->oid, &out_type->modifier) == 3 &&
            found == number)
            return true;
    return false;
}

void definition_append_numbers(const char *columns, struct buf *out)
{
    const char *separator = "";
    int number;
    for (const char *line = columns; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (sscanf(line, "t%d ", &number) != 1)
            continue;
        buf_appendf(out, "%s%d", separator, number);
        separator = ", ";
    }
}

static uint16_t count_types(const char *columns)
{
    uint16_t count = 0;
    for (const char *line = columns; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
        count = (uint16_t)(count + (*line == 't'));
    return count;
}

// Its attributes may have changed under the same number.
static bool has_composite(const struct source_types *types)
{
    for (uint16_t i = 0; i < types->count; i++)
        if (types->types[i].kind == SOURCE_COMPOSITE)
            return true;
    return false;
}

bool definition_has_composite(const struct table *definition)
{
    for (uint16_t i = 0; i < definition->column_count; i++)
        if (has_composite(&definition->columns[i].types))
            return true;
    return false;
}

// Rows of then are read by the type of now: that is the same, or takes each value as it was.
static bool may_go_back(const char *columns, const struct column *column, struct buf *name, struct kept_type *type)
{
    return former_name(columns, column->attribute_number, name) && find_type(columns, column->attribute_number, type) &&
           !has_composite(&column->types) &&
           ((type->oid == column->type_oid && type->modifier == column->type_modifier) ||
            change_is_wider(type->oid, type->modifier, column->type_oid, column->type_modifier));
}

bool definition_go_back(struct pipeline_table *table, uint16_t attribute_count)
{
    struct table *definition = table->table;
    const char *kept = table->record.columns != NULL ? table->record.columns : "";
    struct kept_type type;
    struct buf name;
    uint16_t count = 0;
    bool may = true;
    while (count < definition->column_count && definition->columns[count].attribute_number <= (int)attribute_count)
        count++;
    for (uint16_t i = count; i < definition->column_count; i++)
        may &= definition->columns[i].key_position < 0;
    if (!may || count == 0 || count != count_types(kept) ||
        definition->attribute_count != attribute_count + definition->column_count - count)
        return false;
    buf_init(&name, COLUMNS_BYTES_MAX);
    for (uint16_t i = 0; i < count && may; i++)
        may = may_go_back(kept, &definition->columns[i], &name, &type);
    for (uint16_t i = 0; i < count && may; i++) {
        struct column *column = &definition->columns[i];
        CHECK(may_go_back(kept, column, &name, &type));
        free(column->name);
        column->name = strdup(buf_text(&name));
        CHECK(column->name != NULL);
        column->type_oid = type.oid;
        column->type_modifier = type.modifier;
    }
    buf_deinit(&name);
    if (!may)
        return false;
    table_cut(definition, count);
    definition->attribute_count = attribute_count;
    return true;
}

// --- the table's own name ------------------------------------------------------------------------------------------

static void forget_record(struct pipeline *pipeline, const struct catalog_table *record)
{
    pipeline->gone = reallocarray(pipeline->gone, (size_t)pipeline->gone_count + 1, sizeof *pipeline->gone);
    CHECK(pipeline->gone != NULL);
    struct catalog_table *gone = &pipeline->gone[pipeline->gone_count++];
    *gone = (struct catalog_table){.oid = record->oid, .is_gone = true};
    (void)snprintf(gone->schema_name, sizeof gone->schema_name, "%s", record->schema_name);
    (void)snprintf(gone->table_name, sizeof gone->table_name, "%s", record->table_name);
}

void definition_was_named(struct pipeline_table *table, const struct catalog_table *former)
{
    struct buf text;
    buf_init(&text, COLUMNS_BYTES_MAX);
    if (strchr(former->schema_name, '\n') == NULL && strchr(former->table_name, '\n') == NULL)
        buf_appendf(&text, "%d %s\n%d %s\n", NUMBER_OF_SCHEMA, former->schema_name, NUMBER_OF_TABLE,
                    former->table_name);
    buf_append_text(&text, former->columns != NULL ? former->columns : "");
    set_text(table, &table->record.columns, text.failed ? "" : buf_text(&text));
    buf_deinit(&text);
}

void definition_tell_renamed(struct pipeline *pipeline, const struct catalog_table *former,
                             const struct table *definition, bool is_parked)
{
    struct log_scope scope = {pipeline->options.name, definition->table_name};
    log_line(LOG_WARNING, &scope, "table_renamed",
             "%s.%s is %s.%s now and %s to the target of that name; the target of its old name stays as it is",
             former->schema_name, former->table_name, definition->schema_name, definition->table_name,
             is_parked ? "stays parked; a resynchronisation copies it" : "is copied");
    forget_record(pipeline, former);
    meter_table_forget(pipeline, former->schema_name, former->table_name);
}

void definition_rename(struct pipeline_table *table, const struct table *definition)
{
    struct catalog_table *record = &table->record;
    if (strcmp(record->schema_name, definition->schema_name) == 0 &&
        strcmp(record->table_name, definition->table_name) == 0)
        return;
    definition_tell_renamed(table->pipeline, record, definition, record->state == CATALOG_TABLE_PARKED);
    meter_table_end(&table->meter);  // what it shows from here on bears its new name
    definition_was_named(table, record);
    (void)snprintf(record->schema_name, sizeof record->schema_name, "%s", definition->schema_name);
    (void)snprintf(record->table_name, sizeof record->table_name, "%s", definition->table_name);
    table->is_record_dirty = true;
}

struct pipeline_table *definition_holder(const struct pipeline *pipeline, const struct table *definition)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct catalog_table *record = &pipeline->tables[i]->record;
        if (pipeline->tables[i]->table->oid != definition->oid &&
            strcmp(record->schema_name, definition->schema_name) == 0 &&
            strcmp(record->table_name, definition->table_name) == 0)
            return pipeline->tables[i];
    }
    return NULL;
}
