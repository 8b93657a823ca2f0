// docs/etl-stream.1, the manual page, made from the tables of commands and options: etl-stream help manual prints it.
#ifndef ETL_CLI_MANUAL_H
#define ETL_CLI_MANUAL_H

#include "base/buf.h"

void manual_write(struct buf *out);

#endif
