// Wiring only: which command, and its exit code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/command.h"

static int fail_unknown(const char *word)
{
    struct err error = {0};
    const char *names[16];
    for (size_t i = 0; i < command_count; i++)
        names[i] = commands[i]->name;
    const char *nearest = options_nearest(word, names, command_count);
    if (nearest != NULL)
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; did you mean %s?", word, nearest);
    else
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; etl-stream help lists the commands", word);
    return command_fail(&error, EXIT_USAGE);
}

int main(int argument_count, char **arguments)
{
    log_init();
    if (argument_count < 2) {
        (void)command_help.run(&command_help, 0, arguments);
        return EXIT_USAGE;
    }
    const char *word = arguments[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        word = "version";
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(word, commands[i]->name) == 0)
            return commands[i]->run(commands[i], argument_count - 2, arguments + 2);
    return fail_unknown(word);
}
