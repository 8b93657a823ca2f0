// What commands share that tell a running service something.
#ifndef ETL_CLI_CONTROL_H
#define ETL_CLI_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"

// Who runs the pipeline without taking commands (run --from --to): "process N on HOST". False: nobody, as far as its newest status
// tells; a service does what it is asked.
bool control_is_run_alone(struct catalog *catalog, const char *pipeline, char *out_process, size_t process_size);
// Sets the pipeline's status to PAUSE and waits until the running service has ended it. False: error says why.
bool control_pause(struct catalog *catalog, const char *pipeline, uint32_t patience_ms, struct err *out_error);
// Whether "schema.table" or "table" is one of the pipeline's.
// Whether each of the names is "schema.table" or "table" of one of the pipeline's. False: ERR_CONFIG, with the nearest name.
bool control_check_tables(const struct catalog_known *known, const char *pipeline, const char *const *names,
                          size_t count, struct err *out_error);
bool control_is_table_named(const struct catalog_known *known, const char *name);

#endif
