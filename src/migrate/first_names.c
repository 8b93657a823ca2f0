#include "migrate/first_names.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/check.h"
#include "sinks/snowflake/sf_names.h"

#define TASK_PREFIX "ETL_MERGE_"
#define TASK_SUFFIX "_TASK"
#define ASIDE_SUFFIX "_BEFORE_ETL_STREAM"

static char *taken(struct buf *text)
{
    buf_append_byte(text, 0);
    CHECK(!text->failed);
    return (char *)text->data;
}

static char *made(const char *prefix, const char *table, const char *suffix)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, prefix);
    sf_append_folded(&text, table);
    buf_append_text(&text, suffix);
    return taken(&text);
}

char *first_target_name(const char *table)
{
    return made("", table, "");
}

char *first_landing_name(const char *table)
{
    return made("LANDING_", table, "");
}

char *first_task_name(const char *table)
{
    return made(TASK_PREFIX, table, TASK_SUFFIX);
}

char *first_aside_name(const char *name, unsigned number)
{
    char suffix[sizeof ASIDE_SUFFIX + 12] = ASIDE_SUFFIX;
    struct buf text;
    if (number > 1)
        (void)snprintf(suffix, sizeof suffix, ASIDE_SUFFIX "_%u", number);
    size_t room = SF_NAME_SIZE_MAX - strlen(suffix);
    const char *end = name;
    while (*end != '\0' && room > 0) {  // Snowflake counts characters
        do
            end++;
        while (((uint8_t)*end & 0xC0) == 0x80);
        room--;
    }
    buf_init(&text, SIZE_MAX);
    buf_append(&text, name, (size_t)(end - name));
    buf_append_text(&text, suffix);
    return taken(&text);
}

bool first_is_slot(const char *slot, int64_t id_pipeline)
{
    char name[96];
    (void)snprintf(name, sizeof name, "supabase_etl_apply_%" PRId64, id_pipeline);
    if (strcmp(slot, name) == 0)
        return true;
    (void)snprintf(name, sizeof name, "supabase_etl_table_sync_%" PRId64 "_", id_pipeline);
    size_t size = strlen(name);
    return strncmp(slot, name, size) == 0 && slot[size] != '\0' &&
           strspn(slot + size, "0123456789") == strlen(slot + size);
}

bool first_is_task_name(const char *task)
{
    size_t size = strlen(task), prefix = strlen(TASK_PREFIX), suffix = strlen(TASK_SUFFIX);
    return size > prefix + suffix && strncmp(task, TASK_PREFIX, prefix) == 0 &&
           strcmp(task + size - suffix, TASK_SUFFIX) == 0;
}

static bool is_of_identifier(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (uint8_t)c >= 0x80;
}

bool first_sql_names(const char *sql, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = sql; size > 0 && *at != '\0'; at++)
        if (strncasecmp(at, name, size) == 0 && (at == sql || !is_of_identifier(at[-1])) && !is_of_identifier(at[size]))
            return true;
    return false;
}
