// The command by which tables of a running pipeline are copied anew, as the catalog carries it:
//
//   resync   {"tables": ["schema.table", "table", …]}   none: all of them
#ifndef ETL_SUPERVISOR_RESYNC_COMMAND_H
#define ETL_SUPERVISOR_RESYNC_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/requests.h"

bool resync_command_is(const struct catalog_command *command);  // by its word
// *out_names: heap strings in a heap array, as pipeline_resync takes them. False: its arguments cannot be read; nothing is
// left to free.
bool resync_command_read(const struct catalog_command *command, char ***out_names, uint32_t *out_count);
// What is answered once it is durable that so many tables are copied anew. False: none, which is a failure.
bool resync_command_answer(uint32_t table_count, char *out_text, size_t text_size);

#endif
