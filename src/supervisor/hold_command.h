// The commands by which etl-stream verify has a running pipeline hold its merge, as the catalog carries them:
//
//   hold     {"holder": "…", "lease_ms": 120000, "lsn": "0/1A2B", "may_wake": true}   without lsn: begin no merge
//   release  {"holder": "…"}
#ifndef ETL_SUPERVISOR_HOLD_COMMAND_H
#define ETL_SUPERVISOR_HOLD_COMMAND_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/requests.h"
#include "pipeline/hold.h"

#define HOLD_LEASE_MS_MAX (3600 * 1000)

bool hold_command_is(const struct catalog_command *command);  // by its word
// False: ERR_DATA, its arguments cannot be read.
bool hold_command_read(const struct catalog_command *command, struct pipeline_hold_order *out_order,
                       struct err *out_error);
// The other way round; heap. *out_word: static.
char *hold_command_write(const struct pipeline_hold_order *order, const char **out_word);

#endif
