// The environment's complement from a file: NAME=value lines, as containers and the first etl-stream read them. What the
// environment has already wins.
//
//   # comment
//   export NAME=value          the blanks around it are not part of it; a # behind a blank begins a comment
//   NAME="two words\n"         escapes: \n \r \t \\ \" \$ ; may go over several lines
//   NAME='as it stands'        no escapes; may go over several lines
//
// Nothing is substituted ($NAME stays as it is).
#ifndef ETL_BASE_DOTENV_H
#define ETL_BASE_DOTENV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

// Before there are threads. A file that is missing is no fault. False: ERR_CONFIG naming file and line, never what stands
// there.
bool dotenv_load(const char *path, struct err *out_error);
// The same from memory; text is changed. path: for messages.
bool dotenv_read(char *text, const char *path, struct err *out_error);

#endif
