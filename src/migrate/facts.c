#include "migrate/facts.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_names.h"

static char *copy(const char *text)
{
    char *out = strdup(text);
    CHECK(out != NULL);
    return out;
}

static void *grown(void *items, uint32_t count, size_t item_size)
{
    void *more = reallocarray(items, (size_t)count + 1, item_size);
    CHECK(more != NULL);
    return more;
}

void facts_add_table(struct facts *facts, const char *schema, const char *name, const char *comment, const char *rows)
{
    facts->seen_tables = grown(facts->seen_tables, facts->seen_table_count, sizeof *facts->seen_tables);
    facts->seen_tables[facts->seen_table_count++] =
        (struct facts_table){copy(schema), copy(name), copy(comment), copy(rows)};
}

void facts_add_task(struct facts *facts, const char *schema, const char *name, const char *state, const char *schedule,
                    const char *definition)
{
    facts->tasks = grown(facts->tasks, facts->task_count, sizeof *facts->tasks);
    facts->tasks[facts->task_count++] =
        (struct facts_task){copy(schema), copy(name), copy(state), copy(schedule), copy(definition)};
}

void facts_add_grant(struct facts *facts, const char *schema, const char *table, const char *privilege,
                     const char *granted_to, const char *grantee, bool has_option)
{
    facts->grants = grown(facts->grants, facts->grant_count, sizeof *facts->grants);
    facts->grants[facts->grant_count++] =
        (struct facts_grant){copy(schema), copy(table), copy(privilege), copy(granted_to), copy(grantee), has_option};
}

void facts_add_slot(struct facts *facts, const char *name, const char *reader, const char *held, bool is_ours)
{
    facts->slots = grown(facts->slots, facts->slot_count, sizeof *facts->slots);
    facts->slots[facts->slot_count++] =
        (struct facts_slot){copy(name), reader != NULL ? copy(reader) : NULL, copy(held), is_ours};
}

void facts_clear(struct facts *facts)
{
    for (uint32_t i = 0; i < facts->table_count; i++)
        table_free(facts->tables[i]);
    for (uint32_t i = 0; i < facts->seen_table_count; i++) {
        struct facts_table *table = &facts->seen_tables[i];
        free(table->schema), free(table->name), free(table->comment), free(table->rows);
    }
    for (uint32_t i = 0; i < facts->task_count; i++) {
        struct facts_task *task = &facts->tasks[i];
        free(task->schema), free(task->name), free(task->state), free(task->schedule), free(task->definition);
    }
    for (uint32_t i = 0; i < facts->grant_count; i++) {
        struct facts_grant *grant = &facts->grants[i];
        free(grant->schema), free(grant->table), free(grant->privilege), free(grant->granted_to), free(grant->grantee);
    }
    for (uint32_t i = 0; i < facts->slot_count; i++)
        free(facts->slots[i].name), free(facts->slots[i].reader), free(facts->slots[i].held);
    free(facts->tables);
    free(facts->seen_tables);
    free(facts->tasks);
    free(facts->grants);
    free(facts->slots);
    facts->tables = NULL;
    facts->seen_tables = NULL;
    facts->tasks = NULL;
    facts->grants = NULL;
    facts->slots = NULL;
    facts->table_count = facts->seen_table_count = facts->task_count = facts->grant_count = facts->slot_count = 0;
}

const struct facts_table *facts_find_table(const struct facts *facts, const char *schema, const char *name)
{
    for (uint32_t i = 0; i < facts->seen_table_count; i++)
        if (strcmp(facts->seen_tables[i].schema, schema) == 0 && strcmp(facts->seen_tables[i].name, name) == 0)
            return &facts->seen_tables[i];
    return NULL;
}

bool facts_is_ours(const struct facts_table *table)
{
    static char nobody[] = "";
    const struct table none = {.schema_name = nobody, .table_name = nobody};
    return sf_marker_owner(table->comment, "", &none) != SF_OWNER_NOBODY;
}
