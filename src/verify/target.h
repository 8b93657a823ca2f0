// The target's side: statements through the SQL API, one at a time, their results row by row, a part of them in memory at a time.
#ifndef ETL_VERIFY_TARGET_H
#define ETL_VERIFY_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/http_client.h"
#include "model/lsn.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_config.h"
#include "verify/wait.h"

struct target;

struct target_row {
    size_t column_count;
    const char *const *texts;  // NULL: SQL NULL; borrowed until the next row
    const size_t *sizes;
};

// All borrowed.
struct target *target_new(struct wait *wait, struct http_client *http, struct sf_auth *auth,
                          const struct sf_config *config);
void target_free(struct target *target);
// Sends the statement; needs_warehouse: it reads data. The answer is awaited by the first target_next.
void target_begin(struct target *target, const char *sql, bool needs_warehouse);
// *out_end: no more rows. After an error or the end another statement may begin.
bool target_next(struct target *target, struct target_row *out_row, bool *out_end, struct err *out_error);
// A statement whose rows are not wanted any more.
void target_drop(struct target *target);
// Of the first part: -1: no such column.
int target_column(const struct target *target, const char *name);
// Where the pipeline's state table stands: its POSITION, epoch (2 hex digits) and LSN (16).
bool target_position(struct target *target, const char *pipeline, char out_position[19], struct err *out_error);

#endif
