#include <stdio.h>
#include <string.h>

#include "cli/objects.h"

enum { ADD_SOURCE, ADD_DESTINATION, ADD_START, ADD_STATE, ADD_JSON, ADD_OPTION_COUNT };
enum { EDIT_SOURCE, EDIT_DESTINATION, EDIT_UNSET, EDIT_NAME, EDIT_STATE, EDIT_JSON, EDIT_OPTION_COUNT };

static const struct option_spec add_options[ADD_OPTION_COUNT] = {
    [ADD_SOURCE] = {"source", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "which source it copies"},
    [ADD_DESTINATION] = {"destination", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "and to which destination"},
    [ADD_START] = {"start", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                   "let it run at once, where a service runs; otherwise etl-stream pipeline start does"},
    [ADD_STATE] = COMMAND_STATE_OPTION,
    [ADD_JSON] = COMMAND_JSON_OPTION,
};
static const struct option_spec edit_options[EDIT_OPTION_COUNT] = {
    [EDIT_SOURCE] = {"source", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL,
                     "another source; of another cluster everything is copied anew"},
    [EDIT_DESTINATION] = {"destination", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "another destination"},
    [EDIT_UNSET] = {"unset", NULL, OPTION_TEXT, "LIST", NULL, 0, 0, NULL, "settings that go back to their defaults"},
    [EDIT_NAME] = OBJECTS_NAME_OPTION,
    [EDIT_STATE] = COMMAND_STATE_OPTION,
    [EDIT_JSON] = COMMAND_JSON_OPTION,
};

static void set_ends(struct changes *changes, const char *source, const char *destination)
{
    if (source != NULL)
        changes_set(changes, "source", source);
    if (destination != NULL)
        changes_set(changes, "destination", destination);
}

static int add(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct changes changes = {.count = 0};
    struct objects objects;
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code) ||
        !objects_name(command, operand_count, &exit_code) ||
        !objects_open(&objects, &values[ADD_STATE], true, &exit_code))
        return exit_code;
    const struct command_answer answer = {
        .is_json = values[ADD_JSON].flag, .is_done = true, .kind = "pipeline", .name = name};
    set_ends(&changes, values[ADD_SOURCE].text, values[ADD_DESTINATION].text);
    changes_set(&changes, "status", values[ADD_START].flag ? "START" : "PAUSE");
    changes_add_options(&changes, CATALOG_PIPELINE, values + ADD_OPTION_COUNT);
    exit_code = objects_write(&objects, CATALOG_ADD, CATALOG_PIPELINE, name, &changes);
    if (exit_code == EXIT_DONE && values[ADD_START].flag)
        command_tell(&answer,
                     "pipeline %s is added and started; a running service begins with it, etl-stream run is one", name);
    else if (exit_code == EXIT_DONE)
        command_tell(
            &answer,
            "pipeline %s is added and paused; etl-stream check %s looks at both ends, etl-stream pipeline start "
            "%s starts it",
            name, name, name);
    objects_close(&objects);
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
    set_ends(&changes, values[EDIT_SOURCE].text, values[EDIT_DESTINATION].text);
    bool is_good =
        objects_keeps_name(&values[EDIT_NAME], &error) &&
        (values[EDIT_UNSET].text == NULL || changes_unset(&changes, CATALOG_PIPELINE, values[EDIT_UNSET].text, &error));
    changes_add_options(&changes, CATALOG_PIPELINE, values + EDIT_OPTION_COUNT);
    exit_code = is_good ? objects_edit(CATALOG_PIPELINE, name, &changes, &values[EDIT_STATE], &values[EDIT_JSON])
                        : command_fail_kind(&error);
    changes_deinit(&changes);
    return exit_code;
}

static int list(const struct command *command, int count, char *const *arguments)
{
    return objects_list(CATALOG_PIPELINE, command, count, arguments);
}

static int show(const struct command *command, int count, char *const *arguments)
{
    return objects_show(CATALOG_PIPELINE, command, count, arguments);
}

const struct command command_pipeline_add = {
    .name = "pipeline add",
    .summary = "add a pipeline: a source, a destination, and how it is done",
    .usage = "pipeline add NAME --source NAME --destination NAME [--start] [OPTION…]",
    .details = "Example:\n  etl-stream pipeline add shop --source shop --destination sf --merge-interval-seconds 300\n",
    .options = add_options,
    .option_count = ADD_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = add,
};
const struct command command_pipeline_list = {.name = "pipeline list",
                                              .summary = "list the pipelines; status shows how they are",
                                              .usage = "pipeline list [--json]",
                                              .details = "Example:\n  etl-stream pipeline list --json\n",
                                              .options = objects_list_options,
                                              .option_count = LIST_OPTION_COUNT,
                                              .run = list};
const struct command command_pipeline_show = {.name = "pipeline show",
                                              .summary = "show a pipeline's settings",
                                              .usage = "pipeline show NAME [--json]",
                                              .details = "Example:\n  etl-stream pipeline show shop\n",
                                              .options = objects_list_options,
                                              .option_count = LIST_OPTION_COUNT,
                                              .run = show};
const struct command command_pipeline_edit = {
    .name = "pipeline edit",
    .summary = "change a pipeline; one that runs starts again with the change",
    .usage = "pipeline edit NAME [OPTION…]",
    .details = "Only what is given changes. etl-stream pipeline start and pause let it run and stop it.\n\n"
               "Example:\n  etl-stream pipeline edit shop --merge-interval-seconds 60\n",
    .options = edit_options,
    .option_count = EDIT_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = edit,
};
