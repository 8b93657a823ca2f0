#include "model/table.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

bool table_is_multiset(const struct table *table)
{
    return table->identity == IDENTITY_FULL && table->key_count == 0;
}

void table_cut(struct table *table, uint16_t count)
{
    for (uint16_t i = count; i < table->column_count; i++) {
        CHECK(table->columns[i].key_position < 0);
        free(table->columns[i].name);
        free(table->columns[i].former_name);
        free(table->columns[i].type_name);
        free(table->columns[i].missing_text);
        source_types_deinit(&table->columns[i].types);
    }
    table->column_count = count < table->column_count ? count : table->column_count;
}

void table_forget_left(struct table *table)
{
    for (uint16_t i = 0; i < table->left_count; i++)
        free(table->left_names[i]);
    free(table->left_names);
    table->left_names = NULL;
    table->left_count = 0;
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    for (uint16_t i = 0; i < table->column_count; i++)
        table->columns[i].key_position = -1;
    table_cut(table, 0);
    table_forget_left(table);
    free(table->columns);
    free(table->key_columns);
    free(table->schema_name);
    free(table->table_name);
    free(table->former_schema_name);
    free(table->former_table_name);
    free(table->odd_partition);
    free(table->unsent_partitions);
    free(table);
}

void table_format_name(const struct table *table, char *out, uint32_t out_size)
{
    (void)snprintf(out, out_size, "%s.%s", table->schema_name, table->table_name);
}
