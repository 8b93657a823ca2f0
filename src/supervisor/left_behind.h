// What a pipeline that was removed with plain SQL has left at both ends, told once: nothing of that is taken away without being asked
// for, as a row that is inserted again may go on where the deleted one stopped. `pipeline remove` takes it away (removal.h).
#ifndef ETL_SUPERVISOR_LEFT_BEHIND_H
#define ETL_SUPERVISOR_LEFT_BEHIND_H

#include <stdbool.h>
#include <stddef.h>

#include "catalog/catalog.h"

#define LEFT_BEHIND_TEXT_SIZE 1536

// One line for a log. False: nothing, as it never ran.
bool left_behind_format(const struct catalog_known *known, char *out, size_t out_size);

#endif
