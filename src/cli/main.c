// Wiring only: which command, and its exit code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dotenv.h"
#include "base/log.h"
#include "cli/command.h"

int main(int argument_count, char **arguments)
{
    struct err error = {0};
    if (!dotenv_load(".env", &error))
        return command_fail(&error, EXIT_USAGE);
    log_init();
    if (argument_count < 2) {
        (void)command_help.run(&command_help, 0, arguments);
        return EXIT_USAGE;
    }
    static char help[] = "help", version[] = "version";
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0)
        arguments[1] = help;
    else if (strcmp(arguments[1], "--version") == 0 || strcmp(arguments[1], "-V") == 0)
        arguments[1] = version;
    int word_count = 0;
    const struct command *command = command_find(argument_count - 1, arguments + 1, &word_count);
    if (command == NULL)
        return command_fail_unknown(argument_count - 1, arguments + 1);
    int exit_code = command->run(command, argument_count - 1 - word_count, arguments + 1 + word_count);
    log_end();
    return exit_code;
}
