#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/metric.h"
#include "cli/command.h"
#include "cli/findings.h"
#include "cli/manual.h"
#include "cli/reference.h"

#define HELP_BYTES_MAX 65536
#define PAGE_BYTES_MAX (1 << 20)
#define COMMANDS_MAX 48
#define COMMAND_NAME_SIZE 32

// In the order of the overview.
const struct command *const commands[] = {&command_run,
                                          &command_source_add,
                                          &command_source_list,
                                          &command_source_show,
                                          &command_source_edit,
                                          &command_source_remove,
                                          &command_destination_add,
                                          &command_destination_list,
                                          &command_destination_show,
                                          &command_destination_edit,
                                          &command_destination_remove,
                                          &command_pipeline_add,
                                          &command_pipeline_list,
                                          &command_pipeline_show,
                                          &command_pipeline_edit,
                                          &command_pipeline_start,
                                          &command_pipeline_pause,
                                          &command_pipeline_resync,
                                          &command_pipeline_remove,
                                          &command_status,
                                          &command_check,
                                          &command_verify,
                                          &command_tail,
                                          &command_export,
                                          &command_apply,
                                          &command_migrate,
                                          &command_keygen,
                                          &command_completion,
                                          &command_version,
                                          &command_help};
const size_t command_count = sizeof commands / sizeof commands[0];

int command_fail(const struct err *error, int exit_code)
{
    fprintf(stderr, "etl-stream: %s\n", error->text);
    return exit_code;
}

bool command_is_coloured(void)
{
    const char *no_colour = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) == 1 && (no_colour == NULL || *no_colour == '\0');
}

const struct command *command_find(int count, char *const *arguments, int *out_words)
{
    for (size_t i = 0; i < command_count; i++) {
        const char *second = strchr(commands[i]->name, ' ');
        size_t first_size = second != NULL ? (size_t)(second - commands[i]->name) : strlen(commands[i]->name);
        *out_words = second != NULL ? 2 : 1;
        if (count >= *out_words && strlen(arguments[0]) == first_size &&
            memcmp(arguments[0], commands[i]->name, first_size) == 0 &&
            (second == NULL || strcmp(arguments[1], second + 1) == 0))
            return commands[i];
    }
    return NULL;
}

// "source" of "source add", "source list" …
static bool is_group(const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i < command_count; i++)
        if (strncmp(commands[i]->name, word, size) == 0 && commands[i]->name[size] == ' ')
            return true;
    return false;
}

static void print_group(const char *group);

static int fail_unknown_in_group(const char *group, const char *word)
{
    struct err error = {0};
    const char *names[COMMANDS_MAX];
    size_t count = 0, size = strlen(group);
    char allowed[256] = "";
    for (size_t i = 0; i < command_count; i++) {
        if (strncmp(commands[i]->name, group, size) != 0 || commands[i]->name[size] != ' ')
            continue;
        names[count++] = commands[i]->name + size + 1;
        size_t used = strlen(allowed);
        (void)snprintf(allowed + used, sizeof allowed - used, "%s%s", used > 0 ? ", " : "", names[count - 1]);
    }
    const char *nearest = word != NULL ? options_nearest(word, names, count) : NULL;
    if (word == NULL)
        err_set(&error, ERR_CONFIG, "usage", "%s needs one of %s; etl-stream help %s says more", group, allowed, group);
    else if (nearest != NULL)
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s %s\"; did you mean %s %s?", group, word, group,
                nearest);
    else
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s %s\"; allowed is one of %s", group, word,
                allowed);
    return command_fail(&error, EXIT_USAGE);
}

int command_fail_unknown(int count, char *const *arguments)
{
    struct err error = {0};
    char firsts[COMMANDS_MAX][32];
    const char *names[COMMANDS_MAX], *word = arguments[0];
    if (is_group(word) && count > 1 && (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0)) {
        print_group(word);
        return EXIT_DONE;
    }
    if (is_group(word))
        return fail_unknown_in_group(word, count > 1 ? arguments[1] : NULL);
    CHECK(command_count <= COMMANDS_MAX);
    for (size_t i = 0; i < command_count; i++) {
        (void)snprintf(firsts[i], sizeof firsts[i], "%.*s", (int)strcspn(commands[i]->name, " "), commands[i]->name);
        names[i] = firsts[i];
    }
    const char *nearest = options_nearest(word, names, command_count);
    if (nearest != NULL)
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; did you mean %s?", word, nearest);
    else
        err_set(&error, ERR_CONFIG, "usage", "there is no command \"%s\"; etl-stream help lists the commands", word);
    return command_fail(&error, EXIT_USAGE);
}

size_t command_all_options(const struct command *command, struct option_spec *out)
{
    struct option_spec of_settings[SETTINGS_OPTIONS_MAX];
    size_t count = command->has_settings ? settings_options(command->settings_kind, of_settings) : 0;
    CHECK(command->option_count + count <= COMMAND_OPTIONS_MAX);
    if (command->option_count > 0)
        memcpy(out, command->options, command->option_count * sizeof *out);
    memcpy(out + command->option_count, of_settings, count * sizeof *out);
    return command->option_count + count;
}

bool command_parse(const struct command *command, int count, char *const *arguments, struct option_value *values,
                   const char **operands, size_t operand_max, size_t *out_operand_count, int *out_exit_code)
{
    struct option_spec options[COMMAND_OPTIONS_MAX];
    size_t option_count = command_all_options(command, options);
    struct err error = {0};
    for (int i = 0; i < count; i++) {
        if (strcmp(arguments[i], "--") == 0)
            break;
        if (strcmp(arguments[i], "--help") != 0 && strcmp(arguments[i], "-h") != 0)
            continue;
        command_print_help(command);
        *out_exit_code = EXIT_DONE;
        return false;
    }
    if (options_parse(options, option_count, count, arguments, values, operands, operand_max, out_operand_count,
                      &error))
        return true;
    *out_exit_code = command_fail(&error, EXIT_USAGE);
    return false;
}

void command_print_help(const struct command *command)
{
    struct option_spec options[COMMAND_OPTIONS_MAX];
    size_t option_count = command_all_options(command, options);
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    buf_appendf(&text, "usage: etl-stream %s\n\n%s.\n", command->usage, command->summary);
    if (command->details != NULL)
        buf_appendf(&text, "\n%s", command->details);
    if (option_count > 0) {
        buf_append_text(&text, "\nOptions (range) [default] {environment variable}:\n");
        options_help(options, option_count, &text);
    }
    CHECK(!text.failed);
    fputs(buf_text(&text), stdout);
    buf_deinit(&text);
}

static void print_commands(const char *group)
{
    int width = 0;
    for (size_t i = 0; i < command_count; i++)
        width = (int)strlen(commands[i]->name) > width ? (int)strlen(commands[i]->name) : width;
    for (size_t i = 0; i < command_count; i++)
        if (group == NULL || strncmp(commands[i]->name, group, strlen(group)) == 0)
            printf("  %-*s  %s\n", width, commands[i]->name, commands[i]->summary);
    printf("\netl-stream help COMMAND, or COMMAND --help, says more.\n");
}

static void print_group(const char *group)
{
    char prefix[COMMAND_NAME_SIZE];
    (void)snprintf(prefix, sizeof prefix, "%s ", group);
    printf("usage: etl-stream %s COMMAND [OPTION…]\n\nCommands:\n", group);
    print_commands(prefix);
}

static void print_overview(void)
{
    printf("usage: etl-stream COMMAND [OPTION…]\n\n"
           "Copies PostgreSQL tables into Snowflake and keeps them current.\n\nCommands:\n");
    print_commands(NULL);
}

// Documents that are made from the tables of options and of metrics.
static const struct page {
    const char *name;
    void (*write)(struct buf *out);
} pages[] = {{"configuration", reference_write},
             {"manual", manual_write},
             {"findings", findings_write},
             {"metrics", metric_append_reference}};

static void print_page(void (*write)(struct buf *out))
{
    struct buf text;
    buf_init(&text, PAGE_BYTES_MAX);
    write(&text);
    CHECK(!text.failed);
    fputs(buf_text(&text), stdout);
    buf_deinit(&text);
}

static int run_help(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    const char *names[2];
    size_t name_count = 0;
    int exit_code = EXIT_DONE, word_count = 0;
    if (!command_parse(command, count, arguments, values, names, 2, &name_count, &exit_code))
        return exit_code;
    if (name_count == 0) {
        print_overview();
        return EXIT_DONE;
    }
    for (size_t i = 0; name_count == 1 && i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(names[0], pages[i].name) == 0) {
            print_page(pages[i].write);
            return EXIT_DONE;
        }
    }
    char *const words[] = {(char *)(uintptr_t)names[0], (char *)(uintptr_t)(name_count > 1 ? names[1] : NULL)};
    const struct command *found = command_find((int)name_count, words, &word_count);
    if (found != NULL && word_count == (int)name_count) {
        command_print_help(found);
        return EXIT_DONE;
    }
    if (name_count == 1 && is_group(words[0])) {
        print_group(words[0]);
        return EXIT_DONE;
    }
    return command_fail_unknown((int)name_count, words);
}

enum { VERSION_HELP, VERSION_JSON, VERSION_OPTION_COUNT };

static int run_version(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, NULL, 0, &operand_count, &exit_code))
        return exit_code;
    if (values[VERSION_JSON].flag)
        printf("{\"name\": \"etl-stream\", \"version\": \"" ETL_VERSION "\"}\n");
    else
        printf("etl-stream " ETL_VERSION "\n");
    return EXIT_DONE;
}

static const struct option_spec help_option[] = {
    {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

static const struct option_spec version_options[VERSION_OPTION_COUNT] = {
    [VERSION_HELP] = {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
    [VERSION_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines"},
};

const struct command command_version = {.name = "version",
                                        .summary = "print the version",
                                        .usage = "version [--json]",
                                        .details = "Example:\n  etl-stream version --json\n",
                                        .options = version_options,
                                        .option_count = VERSION_OPTION_COUNT,
                                        .run = run_version};

const struct command command_help = {.name = "help",
                                     .summary = "explain the commands and their options",
                                     .details =
                                         "Examples:\n  etl-stream help pipeline add\n  etl-stream help findings\n",
                                     .usage = "help [COMMAND | configuration | findings | manual | metrics]",
                                     .options = help_option,
                                     .option_count = 1,
                                     .run = run_help};
