#include "supervisor/resync_command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

bool resync_command_is(const struct catalog_command *command)
{
    return strcmp(command->word, "resync") == 0;
}

bool resync_command_read(const struct catalog_command *command, char ***out_names, uint32_t *out_count)
{
    json_t *object = json_loads(command->arguments, 0, NULL), *name;
    const json_t *tables = json_object_get(object, "tables");
    char **names = calloc(json_array_size(tables) + 1, sizeof(char *));
    uint32_t count = 0;
    size_t index;
    CHECK(names != NULL);
    json_array_foreach(tables, index, name)
    {
        if (!json_is_string(name))
            continue;
        names[count] = strdup(json_string_value(name));
        CHECK(names[count++] != NULL);
    }
    bool is_good = json_is_object(object) && count == json_array_size(tables);
    json_decref(object);
    while (!is_good && count > 0)
        free(names[--count]);
    if (!is_good)
        free(names);
    *out_names = is_good ? names : NULL;
    *out_count = count;
    return is_good;
}

bool resync_command_answer(uint32_t table_count, char *out_text, size_t text_size)
{
    if (table_count == 0)
        (void)snprintf(out_text, text_size, "it has no such table, or it ended before it could begin: see its status");
    else
        (void)snprintf(out_text, text_size, "%" PRIu32 " table%s copied anew", table_count,
                       table_count == 1 ? " is" : "s are");
    return table_count > 0;
}
