// The commands: each takes its own arguments (after the command's name) and answers with an exit code.
// 0 done, 1 failed, 2 wrong usage or configuration; what was wrong stands on one line of standard error.
#ifndef ETL_CLI_COMMAND_H
#define ETL_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/options.h"
#include "catalog/settings.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

#define COMMAND_OPTIONS_MAX 64

struct command {
    const char *name;  // one word, or two: "pipeline add"
    const char *summary;
    const char *usage;    // after "etl-stream "
    const char *details;  // paragraphs and examples for --help
    const struct option_spec *options;
    size_t option_count;
    bool has_settings;  // takes every setting of settings_kind as well, behind its own options
    enum catalog_kind settings_kind;
    // What stands behind the command's name.
    int (*run)(const struct command *command, int count, char *const *arguments);
};

extern const struct command command_run, command_status, command_check, command_tail, command_version, command_help;
extern const struct command command_export, command_apply, command_keygen, command_verify, command_completion,
    command_migrate;
extern const struct command command_source_add, command_source_list, command_source_show, command_source_edit,
    command_source_remove;
extern const struct command command_destination_add, command_destination_list, command_destination_show,
    command_destination_edit, command_destination_remove;
extern const struct command command_pipeline_add, command_pipeline_list, command_pipeline_show, command_pipeline_edit,
    command_pipeline_start, command_pipeline_pause, command_pipeline_resync, command_pipeline_remove;
extern const struct command *const commands[];
extern const size_t command_count;

// The command that arguments begin with, or NULL. *out_words: how many of them its name takes.
const struct command *command_find(int count, char *const *arguments, int *out_words);
// Reads the arguments by the command's options and settings. values has COMMAND_OPTIONS_MAX entries: first the command's own
// options, then from option_count on the settings. False: the command ends here with *out_exit_code, --help was printed or
// the error told.
bool command_parse(const struct command *command, int count, char *const *arguments, struct option_value *values,
                   const char **operands, size_t operand_max, size_t *out_operand_count, int *out_exit_code);
// The command's own options and its settings. out has COMMAND_OPTIONS_MAX entries; how many there are.
size_t command_all_options(const struct command *command, struct option_spec *out);
// Standard output is a terminal, and NO_COLOR (https://no-color.org) is not set to anything.
bool command_is_coloured(void);
void command_print_help(const struct command *command);
// "etl-stream: text" on standard error; returns the exit code.
int command_fail(const struct err *error, int exit_code);
// No such command; perhaps a similar one is meant.
int command_fail_unknown(int count, char *const *arguments);

#endif
