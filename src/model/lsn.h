// PostgreSQL's log sequence numbers. Every position in this program is exclusive: position P stands for
// the commits whose LSN is below P (a keepalive's LSN can equal the next commit's).
#ifndef ETL_MODEL_LSN_H
#define ETL_MODEL_LSN_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

typedef uint64_t lsn_t;

#define LSN_NONE ((lsn_t)0)
#define LSN_FORMAT "%" PRIX32 "/%" PRIX32
#define LSN_ARGUMENTS(lsn) (uint32_t)((lsn) >> 32), (uint32_t)(lsn)

bool lsn_parse(const char *text, lsn_t *out_lsn);  // "16/B374D848"; false if it is anything else

#endif
