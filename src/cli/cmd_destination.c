#include <stdio.h>
#include <string.h>

#include "cli/objects.h"

enum { ADD_TO, ADD_ASK_PASSPHRASE, ADD_STATE, ADD_JSON, ADD_OPTION_COUNT };
enum { EDIT_TO, EDIT_ASK_PASSPHRASE, EDIT_UNSET, EDIT_NAME, EDIT_STATE, EDIT_JSON, EDIT_OPTION_COUNT };

#define TO_OPTION                                                                                                   \
    {                                                                                                               \
        "to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,                                                           \
            "all at once, as for run: snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&key_file=PATH, …; " \
            "single\n"                                                                                              \
            "options win over it"                                                                                   \
    }
#define ASK_OPTION                                                                                                   \
    {                                                                                                                \
        "ask-passphrase", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,                                                 \
            "ask for the private key's passphrase, without echo (or read a line from standard input), and keep it\n" \
            "in the catalog"                                                                                         \
    }

static const struct option_spec add_options[ADD_OPTION_COUNT] = {
    [ADD_TO] = TO_OPTION,
    [ADD_ASK_PASSPHRASE] = ASK_OPTION,
    [ADD_STATE] = COMMAND_STATE_OPTION,
    [ADD_JSON] = COMMAND_JSON_OPTION,
};
static const struct option_spec edit_options[EDIT_OPTION_COUNT] = {
    [EDIT_TO] = TO_OPTION,
    [EDIT_ASK_PASSPHRASE] = ASK_OPTION,
    [EDIT_UNSET] = {"unset", NULL, OPTION_TEXT, "LIST", NULL, 0, 0, NULL, "settings that go back to their defaults"},
    [EDIT_NAME] = OBJECTS_NAME_OPTION,
    [EDIT_STATE] = COMMAND_STATE_OPTION,
    [EDIT_JSON] = COMMAND_JSON_OPTION,
};

static bool collect(const char *name, const struct option_value *to, const struct option_value *is_asking,
                    const struct option_value *settings, struct changes *changes, struct err *out_error)
{
    char question[256];
    if (to->text != NULL && !changes_add_destination_url(changes, to->text, out_error))
        return false;
    changes_add_options(changes, CATALOG_DESTINATION, settings);
    if (!is_asking->flag)
        return true;
    (void)snprintf(question, sizeof question, "passphrase of the private key of destination %s: ", name);
    return objects_ask_secret(question, "snowflake_private_key_passphrase", changes, out_error);
}

static int add(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct changes changes = {.count = 0};
    struct objects objects;
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code) ||
        !objects_name(command, operand_count, &exit_code))
        return exit_code;
    changes_set(&changes, "destination_type", "snowflake");
    bool is_good =
        collect(name, &values[ADD_TO], &values[ADD_ASK_PASSPHRASE], values + ADD_OPTION_COUNT, &changes, &error);
    hide_secrets(count, arguments);
    if (!is_good) {
        exit_code = command_fail_kind(&error);
    } else if (objects_open(&objects, &values[ADD_STATE], true, &exit_code)) {
        const struct command_answer answer = {
            .is_json = values[ADD_JSON].flag, .is_done = true, .kind = "destination", .name = name};
        exit_code = objects_write(&objects, CATALOG_ADD, CATALOG_DESTINATION, name, &changes);
        if (exit_code == EXIT_DONE)
            command_tell(&answer, "destination %s is added", name);
        objects_close(&objects);
    }
    changes_deinit(&changes);
    return exit_code;
}

static int edit(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct changes changes = {.count = 0};
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code) ||
        !objects_name(command, operand_count, &exit_code))
        return exit_code;
    bool is_good =
        objects_keeps_name(&values[EDIT_NAME], &error) &&
        (values[EDIT_UNSET].text == NULL ||
         changes_unset(&changes, CATALOG_DESTINATION, values[EDIT_UNSET].text, &error)) &&
        collect(name, &values[EDIT_TO], &values[EDIT_ASK_PASSPHRASE], values + EDIT_OPTION_COUNT, &changes, &error);
    hide_secrets(count, arguments);
    exit_code = is_good ? objects_edit(CATALOG_DESTINATION, name, &changes, &values[EDIT_STATE], &values[EDIT_JSON])
                        : command_fail_kind(&error);
    changes_deinit(&changes);
    return exit_code;
}

static int list(const struct command *command, int count, char *const *arguments)
{
    return objects_list(CATALOG_DESTINATION, command, count, arguments);
}

static int show(const struct command *command, int count, char *const *arguments)
{
    return objects_show(CATALOG_DESTINATION, command, count, arguments);
}

static int drop(const struct command *command, int count, char *const *arguments)
{
    return objects_remove(CATALOG_DESTINATION, command, count, arguments);
}

const struct command command_destination_add = {
    .name = "destination add",
    .summary = "add a destination: where rows go",
    .usage = "destination add NAME --to URL | --account … --user … --database … --schema … [OPTION…]",
    .details = "Example:\n"
               "  etl-stream destination add sf --key-file /etc/etl-stream/key.p8 \\\n"
               "    --to 'snowflake://ETL@MYORG-ACCOUNT/SHOP/PUBLIC?warehouse=ETL_WH&role=ETL'\n",
    .options = add_options,
    .option_count = ADD_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_DESTINATION,
    .run = add,
};
const struct command command_destination_list = {.name = "destination list",
                                                 .summary = "list the destinations",
                                                 .usage = "destination list [--json]",
                                                 .details = "Example:\n  etl-stream destination list --json\n",
                                                 .options = objects_list_options,
                                                 .option_count = LIST_OPTION_COUNT,
                                                 .run = list};
const struct command command_destination_show = {.name = "destination show",
                                                 .summary = "show a destination and what uses it",
                                                 .usage = "destination show NAME [--json]",
                                                 .details = "Example:\n  etl-stream destination show sf\n",
                                                 .options = objects_list_options,
                                                 .option_count = LIST_OPTION_COUNT,
                                                 .run = show};
const struct command command_destination_edit = {
    .name = "destination edit",
    .summary = "change a destination; pipelines that run with it start again with the change",
    .usage = "destination edit NAME [OPTION…]",
    .details = "Only what is given changes.\n\n"
               "Example:\n  etl-stream destination edit sf --warehouse ETL_WH2\n",
    .options = edit_options,
    .option_count = EDIT_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_DESTINATION,
    .run = edit,
};
const struct command command_destination_remove = {
    .name = "destination remove",
    .summary = "remove a destination that no pipeline uses",
    .usage = "destination remove NAME [--yes] [--json]",
    .details = "Removes it from the catalog; what is at the destination stays.\n\n"
               "Example:\n  etl-stream destination remove sf\n",
    .options = objects_remove_options,
    .option_count = REMOVE_OPTION_COUNT,
    .run = drop};
