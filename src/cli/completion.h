// Completion scripts for shells, made from the tables of commands and options: etl-stream completion SHELL prints them.
#ifndef ETL_CLI_COMPLETION_H
#define ETL_CLI_COMPLETION_H

#include "base/buf.h"

void completion_write_bash(struct buf *out);
void completion_write_zsh(struct buf *out);  // the same functions, by bashcompinit
void completion_write_fish(struct buf *out);

#endif
