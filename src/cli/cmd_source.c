#include <stdio.h>
#include <string.h>

#include "cli/objects.h"
#include "cli/source_look.h"

enum {
    ADD_URL,
    ADD_ASK_PASSWORD,
    ADD_CREATE_PUBLICATION,
    ADD_TABLES,
    ADD_NO_CHECK,
    ADD_STATE,
    ADD_JSON,
    ADD_OPTION_COUNT
};
enum { EDIT_URL, EDIT_ASK_PASSWORD, EDIT_UNSET, EDIT_NAME, EDIT_STATE, EDIT_JSON, EDIT_OPTION_COUNT };

#define URL_OPTION                                                                                                       \
    {                                                                                                                    \
        "url", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,                                                               \
            "all at once: postgres://USER@HOST:PORT/DATABASE?publication=NAME[&sslmode=…][&sslrootcert=…]; single\n" \
            "options win over it"                                                                                        \
    }
#define ASK_OPTION                                                                                         \
    {                                                                                                      \
        "ask-password", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,                                         \
            "ask for the password, without echo (or read a line from standard input), and keep it in the " \
            "catalog"                                                                                      \
    }

static const struct option_spec add_options[ADD_OPTION_COUNT] = {
    [ADD_URL] = URL_OPTION,
    [ADD_ASK_PASSWORD] = ASK_OPTION,
    [ADD_CREATE_PUBLICATION] = {"create-publication", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                                "make the publication on the source, of all tables or of those of --tables"},
    [ADD_TABLES] = {"tables", NULL, OPTION_TEXT, "LIST", NULL, 0, 0, NULL,
                    "with --create-publication: SCHEMA.TABLE,… (the schema public may be left out)"},
    [ADD_NO_CHECK] = {"no-check", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "do not look at the source first"},
    [ADD_STATE] = COMMAND_STATE_OPTION,
    [ADD_JSON] = COMMAND_JSON_OPTION,
};

static const struct option_spec edit_options[EDIT_OPTION_COUNT] = {
    [EDIT_URL] = URL_OPTION,
    [EDIT_ASK_PASSWORD] = ASK_OPTION,
    [EDIT_UNSET] = {"unset", NULL, OPTION_TEXT, "LIST", NULL, 0, 0, NULL, "settings that go back to their defaults"},
    [EDIT_NAME] = OBJECTS_NAME_OPTION,
    [EDIT_STATE] = COMMAND_STATE_OPTION,
    [EDIT_JSON] = COMMAND_JSON_OPTION,
};

static bool ask_password(const char *name, struct changes *changes, struct err *out_error)
{
    char question[256];
    (void)snprintf(question, sizeof question, "password of source %s: ", name);
    return objects_ask_secret(question, "pg_password", changes, out_error);
}

static bool create_publication(const struct option_value *values, const struct catalog_object *source, json_t *steps,
                               struct err *out_error)
{
    struct buf sql;
    bool is_done = source_create_publication(source, values[ADD_TABLES].text, &sql, out_error);
    if (is_done)
        command_step(steps, "done on the source: %s", buf_text(&sql));
    buf_deinit(&sql);
    return is_done;
}

// What was asked for is made on the source, and warned of what is wrong there; neither needs the catalog.
static bool look(const struct option_value *values, const char *name, const struct changes *changes, json_t *steps,
                 struct err *out_error)
{
    bool is_creating = values[ADD_CREATE_PUBLICATION].flag;
    if (values[ADD_NO_CHECK].flag && !is_creating)
        return true;
    struct catalog_object *source = catalog_object_with(NULL, CATALOG_SOURCE, name, changes->list, changes->count);
    bool is_good =
        object_check(source, out_error) && (!is_creating || create_publication(values, source, steps, out_error));
    if (is_good && !values[ADD_NO_CHECK].flag)
        source_warn(source);
    catalog_object_free(source);
    return is_good;
}

static int add_source(const struct option_value *values, const char *name, const struct changes *changes)
{
    struct objects objects;
    struct err error = {0};
    struct command_answer answer = {
        .is_json = values[ADD_JSON].flag, .is_done = true, .kind = "source", .name = name, .steps = NULL};
    int exit_code = EXIT_DONE;
    if (!objects_open(&objects, &values[ADD_STATE], true, &exit_code))
        return exit_code;
    if (answer.is_json && values[ADD_CREATE_PUBLICATION].flag)
        answer.steps = json_array();
    if (objects_is_new(&objects, CATALOG_SOURCE, name, &error) && look(values, name, changes, answer.steps, &error))
        exit_code = objects_write(&objects, CATALOG_ADD, CATALOG_SOURCE, name, changes);
    else
        exit_code = command_fail_kind(&error);
    if (exit_code == EXIT_DONE)
        command_tell(&answer, "source %s is added", name);
    json_decref(answer.steps);
    objects_close(&objects);
    return exit_code;
}

static int add(const struct command *command, int count, char *const *arguments)
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
    bool is_good = values[ADD_URL].text == NULL || changes_add_source_url(&changes, values[ADD_URL].text, &error);
    if (is_good)
        changes_add_options(&changes, CATALOG_SOURCE, values + ADD_OPTION_COUNT);
    hide_secrets(count, arguments);
    if (is_good && values[ADD_TABLES].text != NULL && !values[ADD_CREATE_PUBLICATION].flag)
        is_good = err_set(&error, ERR_CONFIG, "usage",
                          "--tables says what --create-publication is to publish; which "
                          "tables of a publication a pipeline copies is the pipeline's");
    is_good = is_good && (!values[ADD_ASK_PASSWORD].flag || ask_password(name, &changes, &error));
    exit_code = is_good ? add_source(values, name, &changes) : command_fail_kind(&error);
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
        (values[EDIT_URL].text == NULL || changes_add_source_url(&changes, values[EDIT_URL].text, &error)) &&
        (values[EDIT_UNSET].text == NULL || changes_unset(&changes, CATALOG_SOURCE, values[EDIT_UNSET].text, &error));
    if (is_good)
        changes_add_options(&changes, CATALOG_SOURCE, values + EDIT_OPTION_COUNT);
    hide_secrets(count, arguments);
    is_good = is_good && (!values[EDIT_ASK_PASSWORD].flag || ask_password(name, &changes, &error));
    exit_code = is_good ? objects_edit(CATALOG_SOURCE, name, &changes, &values[EDIT_STATE], &values[EDIT_JSON])
                        : command_fail_kind(&error);
    changes_deinit(&changes);
    return exit_code;
}

static int list(const struct command *command, int count, char *const *arguments)
{
    return objects_list(CATALOG_SOURCE, command, count, arguments);
}

static int show(const struct command *command, int count, char *const *arguments)
{
    return objects_show(CATALOG_SOURCE, command, count, arguments);
}

static int drop(const struct command *command, int count, char *const *arguments)
{
    return objects_remove(CATALOG_SOURCE, command, count, arguments);
}

const struct command command_source_add = {
    .name = "source add",
    .summary = "add a source: a PostgreSQL database and a publication in it",
    .usage = "source add NAME --url URL | --host HOST --database NAME --username NAME --publication NAME [OPTION…]",
    .details = "The source is looked at first; what is wrong there is told, and the source is added all the same.\n\n"
               "Example:\n"
               "  etl-stream source add shop --url 'postgres://etl@db.example.com/shop?publication=etl' \\\n"
               "    --password-env SHOP_PASSWORD --create-publication --tables customers,orders\n",
    .options = add_options,
    .option_count = ADD_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_SOURCE,
    .run = add,
};
const struct command command_source_list = {.name = "source list",
                                            .summary = "list the sources",
                                            .usage = "source list [--json]",
                                            .details = "Example:\n  etl-stream source list --json\n",
                                            .options = objects_list_options,
                                            .option_count = LIST_OPTION_COUNT,
                                            .run = list};
const struct command command_source_show = {.name = "source show",
                                            .summary = "show a source and what uses it",
                                            .usage = "source show NAME [--json]",
                                            .details = "Example:\n  etl-stream source show shop\n",
                                            .options = objects_list_options,
                                            .option_count = LIST_OPTION_COUNT,
                                            .run = show};
const struct command command_source_edit = {
    .name = "source edit",
    .summary = "change a source; pipelines that run with it start again with the change",
    .usage = "source edit NAME [OPTION…]",
    .details = "Only what is given changes.\n\n"
               "Example:\n  etl-stream source edit shop --host db2.example.com\n",
    .options = edit_options,
    .option_count = EDIT_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_SOURCE,
    .run = edit,
};
const struct command command_source_remove = {
    .name = "source remove",
    .summary = "remove a source that no pipeline uses",
    .usage = "source remove NAME [--yes] [--json]",
    .details = "Removes it from the catalog; nothing is done to the database, its publication stays.\n\n"
               "Example:\n  etl-stream source remove shop\n",
    .options = objects_remove_options,
    .option_count = REMOVE_OPTION_COUNT,
    .run = drop};
