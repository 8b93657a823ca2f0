// The commands: each takes its own arguments (after the command's name) and answers with an exit code.
// 0 done, 1 failed, 2 wrong usage or configuration; what was wrong stands on one line of standard error.
#ifndef ETL_CLI_COMMAND_H
#define ETL_CLI_COMMAND_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/options.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

struct command {
    const char *name;
    const char *summary;
    const char *usage;    // after "etl-stream "
    const char *details;  // paragraphs and examples for --help
    const struct option_spec *options;
    size_t option_count;
    int (*run)(const struct command *command, int count, char *const *arguments);
};

extern const struct command command_run, command_status, command_check, command_tail, command_version, command_help;
extern const struct command *const commands[];
extern const size_t command_count;

void command_print_help(const struct command *command);
// "etl-stream: text" on standard error; returns the exit code.
int command_fail(const struct err *error, int exit_code);
int command_fail_unknown(const char *word);  // no such command; perhaps a similar one is meant

#endif
