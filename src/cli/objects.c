#include "cli/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/prompt.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"

#define WORD_SIZE 64
#define TEXT_SIZE 320

const struct option_spec objects_list_options[LIST_OPTION_COUNT] = {
    [LIST_STATE] = COMMAND_STATE_OPTION,
    [LIST_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines"},
};
const struct option_spec objects_remove_options[REMOVE_OPTION_COUNT] = {
    [REMOVE_STATE] = COMMAND_STATE_OPTION,
    [REMOVE_YES] = {"yes", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "do not ask"},
    [REMOVE_JSON] = COMMAND_JSON_OPTION,
};

bool objects_open(struct objects *objects, const struct option_value *state, bool is_editing, int *out_exit_code)
{
    struct err error = {0};
    *objects = (struct objects){.state = state};
    objects->catalog = command_catalog_open(state, CATALOG_READER, &error);
    if (objects->catalog == NULL && strcmp(error.code, CATALOG_ERROR_NONE) == 0) {
        err_clear(&error);
        if (!command_config_foresee(state, &objects->config, &error) && err_is_set(&error)) {
            *out_exit_code = command_fail_kind(&error);
            return false;
        }
        if (objects->config == NULL)
            objects->config = calloc(1, sizeof *objects->config);
        CHECK(objects->config != NULL);
        return true;
    }
    if (objects->catalog == NULL && is_editing && strcmp(error.code, CATALOG_ERROR_VERSION) == 0) {
        err_clear(&error);
        (void)objects_editor(objects, &error);
    }
    if (objects->catalog != NULL && catalog_config_read(objects->catalog, &objects->config, &error))
        return true;
    *out_exit_code = command_fail_kind(&error);
    objects_close(objects);
    return false;
}

struct catalog *objects_editor(struct objects *objects, struct err *out_error)
{
    if (objects->is_editor)
        return objects->catalog;
    catalog_close(objects->catalog);
    objects->catalog = command_catalog_open(objects->state, CATALOG_EDITOR, out_error);
    objects->is_editor = objects->catalog != NULL;
    return objects->catalog;
}

void objects_close(struct objects *objects)
{
    catalog_config_free(objects->config);
    catalog_close(objects->catalog);
    *objects = (struct objects){0};
}

int objects_write(struct objects *objects, enum catalog_edit_action action, enum catalog_kind kind, const char *name,
                  const struct changes *changes)
{
    struct err error = {0};
    const struct catalog_object *base = catalog_config_find(objects->config, kind, name);
    const struct catalog_edit edit = {action, kind, name, changes->list, changes->count};
    if (action == CATALOG_EDIT && base == NULL) {
        catalog_config_fail_missing(objects->config, kind, name, &error);
        return command_fail_kind(&error);
    }
    struct catalog_object *object =
        catalog_object_with(action == CATALOG_EDIT ? base : NULL, kind, name, changes->list, changes->count);
    bool is_done = (action != CATALOG_ADD || objects_is_new(objects, kind, name, &error)) &&
                   object_check(object, &error) && objects_editor(objects, &error) != NULL &&
                   catalog_edit(objects->catalog, &edit, 1, &error);
    catalog_object_free(object);
    return is_done ? EXIT_DONE : command_fail_kind(&error);
}

int objects_edit(enum catalog_kind kind, const char *name, const struct changes *changes,
                 const struct option_value *state, const struct option_value *is_json)
{
    const struct command_answer answer = {
        .is_json = is_json->flag, .is_done = true, .kind = catalog_kind_name(kind), .name = name};
    struct objects objects;
    struct err error = {0};
    int exit_code = EXIT_DONE;
    if (changes->count == 0) {
        err_set(&error, ERR_CONFIG, "usage", "nothing is to be changed; etl-stream help %s edit lists what can be",
                catalog_kind_name(kind));
        return command_fail(&error, EXIT_USAGE);
    }
    if (!objects_open(&objects, state, true, &exit_code))
        return exit_code;
    exit_code = objects_write(&objects, CATALOG_EDIT, kind, name, changes);
    if (exit_code == EXIT_DONE)
        command_tell(&answer, "%s %s is changed", answer.kind, name);
    objects_close(&objects);
    return exit_code;
}

bool objects_is_new(const struct objects *objects, enum catalog_kind kind, const char *name, struct err *out_error)
{
    const char *word = catalog_kind_name(kind);
    return catalog_name_check(kind, name, out_error) &&
           (catalog_config_find(objects->config, kind, name) == NULL ||
            err_set(out_error, ERR_CONFIG, "exists",
                    "there is a %s \"%s\" already; etl-stream %s edit changes it, another name adds another one", word,
                    name, word));
}

bool objects_ask_secret(const char *question, const char *setting_name, struct changes *changes, struct err *out_error)
{
    struct sf_secret secret;
    if (!sf_key_process_init(out_error) || !prompt_secret_or_line(question, &secret, out_error))
        return false;
    changes_set(changes, setting_name, secret.text);
    sf_secret_deinit(&secret);
    return true;
}

bool objects_keeps_name(const struct option_value *name, struct err *out_error)
{
    return !name->is_given ||
           err_set(out_error, ERR_CONFIG, "name",
                   "a name cannot be changed: everything that is known of it is kept under that name; add another one "
                   "and remove this one");
}

static const char *text_or(const struct catalog_object *object, const char *name, const char *otherwise)
{
    const char *text = catalog_object_get(object, name);
    return text != NULL ? text : otherwise;
}

void object_describe(const struct catalog_object *object, char *out, size_t out_size)
{
    struct destination destination;
    struct err ignored = {0};
    switch (object->kind) {
    case CATALOG_SOURCE:
        (void)snprintf(out, out_size, "%s@%s:%s/%s", text_or(object, "pg_username", "?"),
                       text_or(object, "pg_host", "?"), text_or(object, "pg_port", "5432"),
                       text_or(object, "pg_database", "?"));
        return;
    case CATALOG_DESTINATION:
        if (configure_destination(object, &destination, &ignored)) {
            (void)snprintf(out, out_size, "%s", destination.text);
            destination_deinit(&destination);
        } else {
            (void)snprintf(out, out_size, "%s", text_or(object, "destination_type", "?"));
        }
        return;
    case CATALOG_PIPELINE: (void)snprintf(out, out_size, "%s to %s", object->source, object->destination); return;
    }
    CHECK(false);
}

// --- JSON ------------------------------------------------------------------------------------------------------------

static json_t *value_json(const struct setting *setting, const char *text)
{
    char *end = NULL;
    long long number = strtoll(text, &end, 10);
    if (setting->option.kind == OPTION_FLAG)
        return json_boolean(strcmp(text, "true") == 0);
    if (setting->option.kind == OPTION_NUMBER && *text != '\0' && *end == '\0')
        return json_integer(number);
    return json_string(text);
}

static bool is_of_its_type(const struct catalog_object *object, const struct setting *setting)
{
    const char *type = catalog_object_get(object, "destination_type");
    return setting_is_of(setting, type != NULL ? type : "snowflake");
}

json_t *object_json(const struct catalog_object *object, bool is_plain)
{
    json_t *json = json_object(), *settings = is_plain ? json_incref(json) : json_object(), *secrets = json_array();
    char word[WORD_SIZE];
    CHECK(json != NULL && settings != NULL && secrets != NULL);
    if (!is_plain)
        json_object_set_new(json, "name", json_string(object->name));
    if (object->kind == CATALOG_PIPELINE) {
        json_object_set_new(json, "source", json_string(object->source));
        json_object_set_new(json, "destination", json_string(object->destination));
        json_object_set_new(json, "status", json_string(object->is_wanted ? "START" : "PAUSE"));
    }
    for (uint32_t i = 0; i < object->value_count; i++) {
        const struct setting *setting = object->values[i].setting;
        const char *text = object->values[i].text;
        setting_word(setting, false, word, sizeof word);
        if (text == NULL || !is_of_its_type(object, setting))
            continue;
        if (setting->is_secret)
            json_array_append_new(secrets, json_string(word));
        else
            json_object_set_new(settings, word, value_json(setting, text));
    }
    if (!is_plain) {
        json_object_set(json, "settings", settings);
        json_object_set(json, "secrets", secrets);
    }
    json_decref(settings);
    json_decref(secrets);
    return json;
}

static void print_json(json_t *take_json)
{
    CHECK(take_json != NULL);
    json_dumpf(take_json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(take_json);
}

// --- list ------------------------------------------------------------------------------------------------------------

static void print_list(const struct catalog_config *config, enum catalog_kind kind)
{
    int width = 4;
    char text[TEXT_SIZE];
    if (config->counts[kind] == 0) {
        printf("there is no %s yet; etl-stream help %s add shows how to add one\n", catalog_kind_name(kind),
               catalog_kind_name(kind));
        return;
    }
    for (uint32_t i = 0; i < config->counts[kind]; i++)
        if ((int)strlen(config->objects[kind][i].name) > width)
            width = (int)strlen(config->objects[kind][i].name);
    for (uint32_t i = 0; i < config->counts[kind]; i++) {
        const struct catalog_object *object = &config->objects[kind][i];
        object_describe(object, text, sizeof text);
        printf("%-*s  %s%s", width, object->name,
               kind == CATALOG_PIPELINE ? (object->is_wanted ? "START  " : "PAUSE  ") : "", text);
        if (kind == CATALOG_SOURCE)
            printf("  publication %s", text_or(object, "publication_name", "?"));
        printf("\n");
    }
}

int objects_list(enum catalog_kind kind, const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct objects objects;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, NULL, 0, &operand_count, &exit_code) ||
        !objects_open(&objects, &values[LIST_STATE], false, &exit_code))
        return exit_code;
    if (values[LIST_JSON].flag) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < objects.config->counts[kind]; i++)
            json_array_append_new(list, object_json(&objects.config->objects[kind][i], false));
        print_json(list);
    } else {
        print_list(objects.config, kind);
    }
    objects_close(&objects);
    return EXIT_DONE;
}

// --- show ------------------------------------------------------------------------------------------------------------

static void print_dependents(const struct catalog_config *config, const struct catalog_object *object)
{
    for (uint32_t i = 0; i < config->counts[CATALOG_PIPELINE]; i++) {
        const struct catalog_object *pipeline = &config->objects[CATALOG_PIPELINE][i];
        if (strcmp(object->kind == CATALOG_SOURCE ? pipeline->source : pipeline->destination, object->name) == 0)
            printf("  used by pipeline %s\n", pipeline->name);
    }
}

static void print_object(const struct catalog_config *config, const struct catalog_object *object)
{
    char word[WORD_SIZE], text[TEXT_SIZE];
    object_describe(object, text, sizeof text);
    printf("%s %s: %s\n", catalog_kind_name(object->kind), object->name, text);
    if (object->kind == CATALOG_PIPELINE)
        printf("  %-32s %s\n", "status", object->is_wanted ? "START" : "PAUSE");
    for (uint32_t i = 0; i < object->value_count; i++) {
        const struct setting *setting = object->values[i].setting;
        const char *value = object->values[i].text, *usual = setting->option.default_value;
        setting_word(setting, false, word, sizeof word);
        if (!is_of_its_type(object, setting) || (value == NULL && usual == NULL))
            continue;
        if (setting->is_secret)
            printf("  %-32s (set)\n", word);
        else
            printf("  %-32s %s%s\n", word, value != NULL ? value : usual,
                   value == NULL || (usual != NULL && strcmp(value, usual) == 0) ? " (default)" : "");
    }
    if (object->kind != CATALOG_PIPELINE)
        print_dependents(config, object);
}

bool objects_name(const struct command *command, size_t operand_count, int *out_exit_code)
{
    struct err error = {0};
    if (operand_count > 0)
        return true;
    err_set(&error, ERR_CONFIG, "usage", "%s needs a NAME; etl-stream help %s says more", command->name, command->name);
    *out_exit_code = command_fail(&error, EXIT_USAGE);
    return false;
}

int objects_show(enum catalog_kind kind, const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct objects objects;
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code) ||
        !objects_name(command, operand_count, &exit_code) ||
        !objects_open(&objects, &values[LIST_STATE], false, &exit_code))
        return exit_code;
    const struct catalog_object *object = catalog_config_find(objects.config, kind, name);
    if (object == NULL) {
        catalog_config_fail_missing(objects.config, kind, name, &error);
        exit_code = command_fail_kind(&error);
    } else if (values[LIST_JSON].flag) {
        print_json(object_json(object, false));
    } else {
        print_object(objects.config, object);
    }
    objects_close(&objects);
    return exit_code;
}

// --- remove ----------------------------------------------------------------------------------------------------------

bool objects_may_remove(const char *question, bool is_yes, int *out_exit_code)
{
    struct err error = {0};
    if (is_yes)
        return true;
    if (!prompt_is_possible()) {
        err_set(&error, ERR_CONFIG, "usage", "nobody can be asked here; --yes says that it is meant");
        *out_exit_code = command_fail(&error, EXIT_USAGE);
        return false;
    }
    if (prompt_yes(question))
        return true;
    fprintf(stderr, "nothing was changed\n");
    *out_exit_code = EXIT_FAILED;
    return false;
}

int objects_remove(enum catalog_kind kind, const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct objects objects;
    struct err error = {0};
    const char *name = NULL;
    char question[TEXT_SIZE], text[TEXT_SIZE];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code) ||
        !objects_name(command, operand_count, &exit_code) ||
        !objects_open(&objects, &values[REMOVE_STATE], true, &exit_code))
        return exit_code;
    const struct catalog_object *object = catalog_config_find(objects.config, kind, name);
    const struct catalog_edit edit = {CATALOG_REMOVE, kind, name, NULL, 0};
    const struct command_answer answer = {
        .is_json = values[REMOVE_JSON].flag, .is_done = true, .kind = catalog_kind_name(kind), .name = name};
    if (object == NULL) {
        catalog_config_fail_missing(objects.config, kind, name, &error);
        exit_code = command_fail_kind(&error);
    } else {
        object_describe(object, text, sizeof text);
        (void)snprintf(question, sizeof question, "remove %s %s (%.200s)?", catalog_kind_name(kind), name, text);
        if (objects_may_remove(question, values[REMOVE_YES].flag, &exit_code)) {
            if (objects_editor(&objects, &error) != NULL && catalog_edit(objects.catalog, &edit, 1, &error))
                command_tell(&answer, "%s %s is removed", answer.kind, name);
            else
                exit_code = command_fail_kind(&error);
        }
    }
    objects_close(&objects);
    return exit_code;
}
