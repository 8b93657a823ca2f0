// Questions to a person at a terminal.
#ifndef ETL_CLI_PROMPT_H
#define ETL_CLI_PROMPT_H

#include <stdbool.h>

#include "base/err.h"
#include "sinks/snowflake/sf_secret.h"

bool prompt_has_terminal(void);  // there is somebody to ask
bool prompt_is_possible(void);   // somebody sits at standard input
// "question [y/N] " on standard error, answered at standard input. True: yes.
bool prompt_yes(const char *question);
// A secret for the catalog: asked for where somebody sits at standard input, else its first line. After
// sf_key_process_init. False: ERR_CONFIG; empty is refused.
bool prompt_secret_or_line(const char *question, struct sf_secret *out_secret, struct err *out_error);
// Asks on the process's terminal without echo; what is typed goes straight into the secure heap. False: ERR_CONFIG (no
// terminal, or the input ended). The empty answer is one.
bool prompt_secret(const char *question, struct sf_secret *out_secret, struct err *out_error);

#endif
