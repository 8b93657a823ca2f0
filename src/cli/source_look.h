// What commands do at a source itself: look at it, and make a publication. Each with a connection and a loop of its own.
#ifndef ETL_CLI_SOURCE_LOOK_H
#define ETL_CLI_SOURCE_LOOK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "catalog/config.h"

// Warns, on standard error, of everything that a pipeline from there would miss; also that it cannot be reached.
void source_warn(const struct catalog_object *source);
// tables: "schema.table,table,…", NULL: all. out_sql, of the caller: the statement that was run. False: ERR_CONFIG (there is
// one already, no such table, no privilege) or what went wrong.
bool source_create_publication(const struct catalog_object *source, const char *tables, struct buf *out_sql,
                               struct err *out_error);

#endif
