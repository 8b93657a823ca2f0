// Wiring only: which command, and its exit code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/command.h"

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
    return command_fail_unknown(word);
}
