// Lengths of time as people write them: "90s", "15m", "24h", "7d".
#ifndef ETL_BASE_DURATION_H
#define ETL_BASE_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define DURATION_FOREVER UINT32_MAX
#define DURATION_SECONDS_MAX (3650U * 86400U)

// A number and a unit, or "forever" (DURATION_FOREVER). False (ERR_CONFIG): what is wrong and what is allowed; name is the
// setting's, for the message.
bool duration_parse(const char *text, const char *name, uint32_t *out_seconds, struct err *out_error);

#endif
