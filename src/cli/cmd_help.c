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

int command_fail_unknown(const char *word)
{
    struct err error = {0};
    const char *names[16];
    CHECK(command_count <= sizeof names / sizeof names[0]);
    for (size_t i = 0; i < command_count; i++)
        names[i] = commands[i]->name;
    const char *nearest = options_nearest(word, names, command_count);
    if (nearest != NULL)
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; did you mean %s?", word, nearest);
    else
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; etl-stream help lists the commands", word);
    return command_fail(&error, EXIT_USAGE);
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

// Commands without operands and options of their own.
static bool read_help(const struct command *command, int count, char *const *arguments, const char **out_operand,
                      size_t operand_max, int *out_exit_code)
{
    struct option_value value;
    struct err error = {0};
    size_t operand_count = 0;
    *out_exit_code = EXIT_DONE;
    if (!options_parse(command->options, command->option_count, count, arguments, &value, out_operand, operand_max,
                       &operand_count, &error))
        *out_exit_code = command_fail(&error, EXIT_USAGE);
    else if (value.flag)
        command_print_help(command);
    else
        return true;
    return false;
}

static int run_help(const struct command *command, int count, char *const *arguments)
{
    const char *name = NULL;
    int exit_code = EXIT_DONE;
    if (!read_help(command, count, arguments, &name, 1, &exit_code))
        return exit_code;
    if (name == NULL) {
        print_overview();
        return EXIT_DONE;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(name, commands[i]->name) == 0) {
            command_print_help(commands[i]);
            return EXIT_DONE;
        }
    }
    return command_fail_unknown(name);
}

static int run_version(const struct command *command, int count, char *const *arguments)
{
    const char *nothing = NULL;
    int exit_code = EXIT_DONE;
    if (read_help(command, count, arguments, &nothing, 0, &exit_code))
        printf("etl-stream " ETL_VERSION "\n");
    return exit_code;
}

static const struct option_spec help_option[] = {
    {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

const struct command command_version = {.name = "version",
                                        .summary = "print the version",
                                        .usage = "version",
                                        .options = help_option,
                                        .option_count = 1,
                                        .run = run_version};

const struct command command_help = {.name = "help",
                                     .summary = "explain the commands and their options",
                                     .usage = "help [COMMAND]",
                                     .options = help_option,
                                     .option_count = 1,
                                     .run = run_help};
