// docs/configuration.md, made from the tables of options and settings: etl-stream help configuration prints it.
#ifndef ETL_CLI_REFERENCE_H
#define ETL_CLI_REFERENCE_H

#include "base/buf.h"

void reference_write(struct buf *out);

#endif
