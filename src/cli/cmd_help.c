#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/command.h"

#define HELP_BYTES_MAX 65536

const struct command *const commands[] = {&command_run,  &command_status,  &command_check,
                                          &command_tail, &command_version, &command_help};
const size_t command_count = sizeof commands / sizeof commands[0];

int command_fail(const struct err *error, int exit_code)
{
    fprintf(stderr, "etl-stream: %s\n", error->text);
    return exit_code;
}

void command_print_help(const struct command *command)
{
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    buf_appendf(&text, "usage: etl-stream %s\n\n%s.\n", command->usage, command->summary);
    if (command->details != NULL)
        buf_appendf(&text, "\n%s", command->details);
    if (command->option_count > 0) {
        buf_append_text(&text, "\nOptions (range) [default] {environment variable}:\n");
        options_help(command->options, command->option_count, &text);
    }
    CHECK(!text.failed);
    fputs(buf_text(&text), stdout);
    buf_deinit(&text);
}

static void print_overview(void)
{
    printf("usage: etl-stream COMMAND [OPTION…]\n\n"
           "Copies PostgreSQL tables into Snowflake and keeps them current.\n\nCommands:\n");
    for (size_t i = 0; i < command_count; i++)
        printf("  %-8s  %s\n", commands[i]->name, commands[i]->summary);
    printf("\netl-stream help COMMAND, or COMMAND --help, says more.\n");
}

static int run_help(const struct command *command, int count, char *const *arguments)
{
    struct err error = {0};
    (void)command;
    if (count == 0 || arguments[0][0] == '-') {
        print_overview();
        return EXIT_DONE;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(arguments[0], commands[i]->name) == 0) {
            command_print_help(commands[i]);
            return EXIT_DONE;
        }
    }
    err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; etl-stream help lists the commands",
            arguments[0]);
    return command_fail(&error, EXIT_USAGE);
}

static int run_version(const struct command *command, int count, char *const *arguments)
{
    (void)command;
    (void)count;
    (void)arguments;
    printf("etl-stream " ETL_VERSION "\n");
    return EXIT_DONE;
}

const struct command command_version = {
    .name = "version", .summary = "print the version", .usage = "version", .run = run_version};

const struct command command_help = {
    .name = "help", .summary = "explain the commands and their options", .usage = "help [COMMAND]", .run = run_help};
