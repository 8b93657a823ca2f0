#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/completion.h"

#define SCRIPT_BYTES_MAX (1 << 18)

static const struct shell {
    const char *name;
    void (*write)(struct buf *out);
} shells[] = {{"bash", completion_write_bash}, {"zsh", completion_write_zsh}, {"fish", completion_write_fish}};

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code))
        return exit_code;
    for (size_t i = 0; name != NULL && i < sizeof shells / sizeof shells[0]; i++) {
        struct buf script;
        if (strcmp(name, shells[i].name) != 0)
            continue;
        buf_init(&script, SCRIPT_BYTES_MAX);
        shells[i].write(&script);
        CHECK(!script.failed);
        fputs(buf_text(&script), stdout);
        buf_deinit(&script);
        return EXIT_DONE;
    }
    if (name == NULL)
        err_set(&error, ERR_CONFIG, "usage", "completion needs a shell: bash, zsh or fish");
    else
        err_set(&error, ERR_CONFIG, "usage", "there is no completion for \"%s\"; allowed is one of bash, zsh, fish",
                name);
    return command_fail(&error, EXIT_USAGE);
}

static const struct option_spec options[] = {
    {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

const struct command command_completion = {
    .name = "completion",
    .summary = "print a completion script for a shell",
    .usage = "completion bash|zsh|fish",
    .details = "Commands, options, their values, and the names in the catalog are completed.\n\n"
               "Examples:\n"
               "  etl-stream completion bash > /etc/bash_completion.d/etl-stream\n"
               "  etl-stream completion zsh > \"${fpath[1]}/_etl-stream\"\n"
               "  etl-stream completion fish > ~/.config/fish/completions/etl-stream.fish\n",
    .options = options,
    .option_count = 1,
    .run = run,
};
