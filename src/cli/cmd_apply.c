// A file says what is to be configured; what differs is shown, then changed in one transaction.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/objects.h"

#define WORD_SIZE 64
#define TEXT_SIZE 2048

enum { APPLY_DRY_RUN, APPLY_PRUNE, APPLY_YES, APPLY_STATE, APPLY_JSON, APPLY_OPTION_COUNT };

static const struct option_spec options[APPLY_OPTION_COUNT] = {
    [APPLY_DRY_RUN] = {"dry-run", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "show the difference and change nothing"},
    [APPLY_PRUNE] = {"prune", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                     "remove from the catalog what is not in the file"},
    [APPLY_YES] = {"yes", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "with --prune: do not ask"},
    [APPLY_STATE] = COMMAND_STATE_OPTION,
    [APPLY_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "with --dry-run: the difference as JSON"},
};

static const char *const sections[] = {"sources", "destinations", "pipelines"};

struct planned {
    enum catalog_edit_action action;
    enum catalog_kind kind;
    const char *name;  // of the document, or of the configuration
    struct changes changes;
};

struct apply {
    struct objects objects;
    json_t *document;
    struct planned *planned;
    uint32_t planned_count, removal_count;
};

static struct planned *plan(struct apply *apply, enum catalog_edit_action action, enum catalog_kind kind,
                            const char *name)
{
    apply->planned = reallocarray(apply->planned, apply->planned_count + 1, sizeof *apply->planned);
    CHECK(apply->planned != NULL);
    struct planned *planned = &apply->planned[apply->planned_count++];
    *planned = (struct planned){.action = action, .kind = kind, .name = name};
    return planned;
}

static void apply_close(struct apply *apply)
{
    for (uint32_t i = 0; i < apply->planned_count; i++)
        changes_deinit(&apply->planned[i].changes);
    free(apply->planned);
    json_decref(apply->document);
    objects_close(&apply->objects);
}

// --- reading ---------------------------------------------------------------------------------------------------------

static bool read_document(const char *path, json_t **out_document, struct err *out_error)
{
    json_error_t problem;
    bool is_stdin = strcmp(path, "-") == 0;
    const char *key;
    json_t *section;
    *out_document = is_stdin ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &problem)
                             : json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    if (*out_document == NULL && problem.line < 0)
        return err_set(out_error, ERR_CONFIG, "file", "%s", problem.text);
    if (*out_document == NULL)
        return err_set(out_error, ERR_CONFIG, "file", "%s, line %d, column %d: %s", is_stdin ? "standard input" : path,
                       problem.line, problem.column, problem.text);
    if (!json_is_object(*out_document))
        return err_set(out_error, ERR_CONFIG, "file", "%s holds no JSON object; etl-stream export shows the form",
                       path);
    if (json_integer_value(json_object_get(*out_document, "version")) != 1)
        return err_set(out_error, ERR_CONFIG, "file", "%s: \"version\" must be 1", path);
    json_object_foreach(*out_document, key, section)
    {
        bool is_known = strcmp(key, "version") == 0;
        for (size_t i = 0; i < CATALOG_KIND_COUNT; i++)
            is_known |= strcmp(key, sections[i]) == 0 && json_is_object(section);
        if (!is_known)
            return err_set(
                out_error, ERR_CONFIG, "file",
                "%s: \"%s\" is not known here; allowed are version, and the objects sources, destinations and "
                "pipelines",
                path, key);
    }
    return true;
}

// A number, a boolean or a text as the catalog keeps it. False: something else.
static bool value_text(const json_t *value, char out[TEXT_SIZE])
{
    if (json_is_integer(value))
        (void)snprintf(out, TEXT_SIZE, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        (void)snprintf(out, TEXT_SIZE, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_string(value) && strlen(json_string_value(value)) < TEXT_SIZE)
        (void)snprintf(out, TEXT_SIZE, "%s", json_string_value(value));
    else
        return false;
    return true;
}

// {"env": "VARIABLE"}: the secret itself stands in no file.
static bool secret_text(const json_t *value, const char **out_text, struct err *out_error)
{
    const char *variable = json_string_value(json_object_get(value, "env"));
    if (variable == NULL || json_object_size(value) != 1)
        return err_set(out_error, ERR_CONFIG, "secret",
                       "a secret is not read from a file; {\"env\": \"VARIABLE\"} names where it is");
    *out_text = getenv(variable);
    return *out_text != NULL ||
           err_set(out_error, ERR_CONFIG, "secret", "the environment variable %s is not set", variable);
}

static bool take_own_key(const char *key, const json_t *value, enum catalog_kind kind, struct changes *changes,
                         bool *out_is_own, struct err *out_error)
{
    *out_is_own = kind == CATALOG_PIPELINE &&
                  (strcmp(key, "source") == 0 || strcmp(key, "destination") == 0 || strcmp(key, "status") == 0);
    const char *text = json_string_value(value);
    if (!*out_is_own)
        return true;
    if (text == NULL)
        return err_set(out_error, ERR_CONFIG, "value", "%s must be a text", key);
    if (strcmp(key, "status") == 0 && strcmp(text, "START") != 0 && strcmp(text, "PAUSE") != 0)
        return err_set(out_error, ERR_CONFIG, "value", "status is \"%s\"; allowed is START or PAUSE", text);
    changes_set(changes,
                strcmp(key, "source") == 0   ? "source"
                : strcmp(key, "status") == 0 ? "status"
                                             : "destination",
                text);
    return true;
}

static bool take_key(const char *key, const json_t *value, enum catalog_kind kind, struct changes *changes,
                     struct err *out_error)
{
    const struct setting *setting = setting_find_word(kind, key);
    struct option_value ignored;
    char scratch[TEXT_SIZE];
    const char *text = scratch, *nearest = setting_nearest_word(kind, key);
    if (setting == NULL)
        return err_set(out_error, ERR_CONFIG, "key", "a %s has no setting \"%s\"%s%s%s", catalog_kind_name(kind), key,
                       nearest != NULL ? "; did you mean \"" : "; etl-stream export shows the form",
                       nearest != NULL ? nearest : "", nearest != NULL ? "\"?" : "");
    if (json_is_null(value)) {
        changes_set(changes, setting->name, NULL);
        return true;
    }
    if (setting->is_secret && !secret_text(value, &text, out_error))
        return false;
    if (!setting->is_secret && !value_text(value, scratch))
        return err_set(out_error, ERR_CONFIG, "value", "%s must be a text, a number, true, false or null", key);
    if (!setting->is_secret && !options_read_value(&setting->option, key, text, &ignored, out_error))
        return false;
    changes_set(changes, setting->name, text);
    return true;
}

// The file says all: what it does not name holds as when nothing is set; but secrets, and whether a pipeline runs, stay.
static bool take_object(const char *name, json_t *object, enum catalog_kind kind, struct changes *changes,
                        struct err *out_error)
{
    const char *key;
    json_t *value;
    const struct setting *setting;
    bool is_good = true, is_own = false;
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++)
        if (!setting->is_secret)
            changes_set(changes, setting->name, NULL);
    if (!json_is_object(object))
        return err_set(out_error, ERR_CONFIG, "value", "%s \"%s\" must be an object", catalog_kind_name(kind), name);
    json_object_foreach(object, key, value)
    {
        is_good = is_good && take_own_key(key, value, kind, changes, &is_own, out_error) &&
                  (is_own || take_key(key, value, kind, changes, out_error));
    }
    if (!is_good)
        err_prefix(out_error, "%s \"%s\"", catalog_kind_name(kind), name);
    return is_good;
}

// --- comparing -------------------------------------------------------------------------------------------------------

static const char *text_before(const struct catalog_object *object, const char *name)
{
    if (object == NULL)
        return NULL;
    if (object->kind == CATALOG_PIPELINE && strcmp(name, "source") == 0)
        return object->source;
    if (object->kind == CATALOG_PIPELINE && strcmp(name, "destination") == 0)
        return object->destination;
    if (object->kind == CATALOG_PIPELINE && strcmp(name, "status") == 0)
        return object->is_wanted ? "START" : "PAUSE";
    return catalog_object_get(object, name);
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

// Leaves only what differs from what is there.
static void keep_differences(struct changes *changes, enum catalog_kind kind, const struct catalog_object *before)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < changes->count; i++) {
        const struct setting *setting = setting_find(kind, changes->list[i].name);
        const char *usual = setting != NULL ? setting->option.default_value : NULL;
        const char *old = text_before(before, changes->list[i].name), *new = changes->list[i].text;
        struct changes dropped = {.list = {changes->list[i]}, .count = 1};
        // What a new one is given is written, also where it is the default.
        if (before == NULL ? new == NULL : is_same(old != NULL ? old : usual, new != NULL ? new : usual))
            changes_deinit(&dropped);
        else
            changes->list[kept++] = changes->list[i];
    }
    changes->count = kept;
}

// What a pipeline names is in the file or in the catalog.
static bool check_end(const struct apply *apply, enum catalog_kind kind, const char *name, struct err *out_error)
{
    return name == NULL || json_object_get(json_object_get(apply->document, sections[kind]), name) != NULL ||
           catalog_config_find(apply->objects.config, kind, name) != NULL ||
           catalog_config_fail_missing(apply->objects.config, kind, name, out_error);
}

static bool plan_object(struct apply *apply, enum catalog_kind kind, const char *name, json_t *object,
                        struct err *out_error)
{
    const struct catalog_object *before = catalog_config_find(apply->objects.config, kind, name);
    struct planned *planned = plan(apply, before == NULL ? CATALOG_ADD : CATALOG_EDIT, kind, name);
    if ((before == NULL && !catalog_name_check(kind, name, out_error)) ||
        !take_object(name, object, kind, &planned->changes, out_error))
        return false;
    if (before == NULL && kind == CATALOG_DESTINATION && changes_get(&planned->changes, "destination_type") == NULL)
        changes_set(&planned->changes, "destination_type", "snowflake");
    struct catalog_object *after =
        catalog_object_with(before, kind, name, planned->changes.list, planned->changes.count);
    bool is_good = object_check(after, out_error);
    if (is_good && (!check_end(apply, CATALOG_SOURCE, after->source, out_error) ||
                    !check_end(apply, CATALOG_DESTINATION, after->destination, out_error))) {
        err_prefix(out_error, "pipeline \"%s\"", name);
        is_good = false;
    }
    catalog_object_free(after);
    if (!is_good)
        return false;
    keep_differences(&planned->changes, kind, before);
    if (before != NULL && planned->changes.count == 0)
        apply->planned_count--;
    return true;
}

// One that ran has a slot on the source and channels at the destination, which only its own removal takes along.
static bool check_never_ran(struct apply *apply, const char *pipeline, struct err *out_error)
{
    struct catalog_known known;
    bool is_read = catalog_load(apply->objects.catalog, pipeline, &known, out_error);
    bool has_run = is_read && known.is_found;
    catalog_known_deinit(&known);
    return is_read && (!has_run || err_set(out_error, ERR_CONFIG, "has_run",
                                           "pipeline \"%s\" is not in the file and has run; remove it with: etl-stream "
                                           "pipeline remove %s, which drops its slot as well",
                                           pipeline, pipeline));
}

static bool plan_all(struct apply *apply, bool is_pruning, struct err *out_error)
{
    const char *name;
    json_t *object;
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++) {
        bool is_good = true;
        json_object_foreach(json_object_get(apply->document, sections[kind]), name, object)
        {
            is_good = is_good && plan_object(apply, kind, name, object, out_error);
        }
        if (!is_good)
            return false;
    }
    static const enum catalog_kind order[] = {CATALOG_PIPELINE, CATALOG_DESTINATION, CATALOG_SOURCE};
    for (size_t k = 0; is_pruning && k < CATALOG_KIND_COUNT; k++) {
        const struct catalog_config *config = apply->objects.config;
        for (uint32_t i = 0; i < config->counts[order[k]]; i++) {
            const char *there = config->objects[order[k]][i].name;
            if (json_object_get(json_object_get(apply->document, sections[order[k]]), there) != NULL)
                continue;
            if (order[k] == CATALOG_PIPELINE && !check_never_ran(apply, there, out_error))
                return false;
            plan(apply, CATALOG_REMOVE, order[k], there);
            apply->removal_count++;
        }
    }
    return true;
}

// --- showing and doing -----------------------------------------------------------------------------------------------

static void print_change(const struct planned *planned, const struct catalog_change *change,
                         const struct catalog_object *before)
{
    const struct setting *setting = setting_find(planned->kind, change->name);
    char word[WORD_SIZE];
    (void)snprintf(word, sizeof word, "%s", change->name);
    if (setting != NULL)
        setting_word(setting, false, word, sizeof word);
    const char *old = text_before(before, change->name), *new = change->text;
    const char *usual = setting != NULL ? setting->option.default_value : NULL;
    if (setting != NULL && setting->is_secret)
        printf("    %s: another one\n", word);
    else if (planned->action == CATALOG_ADD && new != NULL)
        printf("    %s: %s\n", word, new);
    else if (planned->action == CATALOG_EDIT)
        printf("    %s: %s -> %s\n", word, old != NULL ? old : "(not set)",
               new != NULL     ? new
               : usual != NULL ? usual
                               : "(not set)");
}

static void print_plan(const struct apply *apply)
{
    static const char *const signs[] = {"+", "~", "-"};
    for (uint32_t i = 0; i < apply->planned_count; i++) {
        const struct planned *planned = &apply->planned[i];
        const struct catalog_object *before = catalog_config_find(apply->objects.config, planned->kind, planned->name);
        printf("%s %s %s\n", signs[planned->action], catalog_kind_name(planned->kind), planned->name);
        for (uint32_t k = 0; k < planned->changes.count; k++)
            print_change(planned, &planned->changes.list[k], before);
    }
    fflush(stdout);
}

// What is_secret says nothing of, but that it changes.
static json_t *change_json(const struct planned *planned, const struct catalog_change *change,
                           const struct catalog_object *before)
{
    const struct setting *setting = setting_find(planned->kind, change->name);
    const char *old = text_before(before, change->name);
    bool is_secret = setting != NULL && setting->is_secret;
    char word[WORD_SIZE];
    json_t *json = json_object();
    (void)snprintf(word, sizeof word, "%s", change->name);
    if (setting != NULL)
        setting_word(setting, false, word, sizeof word);
    json_object_set_new(json, "name", json_string(word));
    json_object_set_new(json, "is_secret", json_boolean(is_secret));
    json_object_set_new(json, "before", is_secret || old == NULL ? json_null() : json_string(old));
    json_object_set_new(json, "after", is_secret || change->text == NULL ? json_null() : json_string(change->text));
    return json;
}

static void print_plan_json(const struct apply *apply)
{
    static const char *const actions[] = {"add", "edit", "remove"};
    json_t *document = json_object(), *list = json_array();
    CHECK(document != NULL && list != NULL);
    for (uint32_t i = 0; i < apply->planned_count; i++) {
        const struct planned *planned = &apply->planned[i];
        const struct catalog_object *before = catalog_config_find(apply->objects.config, planned->kind, planned->name);
        json_t *json = json_object(), *settings = json_array();
        for (uint32_t k = 0; k < planned->changes.count; k++)
            json_array_append_new(settings, change_json(planned, &planned->changes.list[k], before));
        json_object_set_new(json, "action", json_string(actions[planned->action]));
        json_object_set_new(json, "kind", json_string(catalog_kind_name(planned->kind)));
        json_object_set_new(json, "name", json_string(planned->name));
        json_object_set_new(json, "settings", settings);
        json_array_append_new(list, json);
    }
    json_object_set_new(document, "differences", list);
    json_dumpf(document, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(document);
}

static bool do_plan(struct apply *apply, struct err *out_error)
{
    struct catalog_edit *edits = calloc(apply->planned_count + 1, sizeof *edits);
    CHECK(edits != NULL);
    for (uint32_t i = 0; i < apply->planned_count; i++) {
        const struct planned *planned = &apply->planned[i];
        edits[i] = (struct catalog_edit){planned->action, planned->kind, planned->name, planned->changes.list,
                                         planned->changes.count};
    }
    bool is_done = objects_editor(&apply->objects, out_error) != NULL &&
                   catalog_edit(apply->objects.catalog, edits, apply->planned_count, out_error);
    free(edits);
    return is_done;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct apply apply = {.document = NULL};
    struct err error = {0};
    const char *path = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &path, 1, &operand_count, &exit_code))
        return exit_code;
    if (operand_count == 0) {
        err_set(&error, ERR_CONFIG, "usage",
                "apply needs a FILE, or - for standard input; etl-stream export makes one");
        return command_fail(&error, EXIT_USAGE);
    }
    if (values[APPLY_JSON].flag && !values[APPLY_DRY_RUN].flag) {
        err_set(&error, ERR_CONFIG, "usage", "--json is for --dry-run: it shows the difference and changes nothing");
        return command_fail(&error, EXIT_USAGE);
    }
    if (!objects_open(&apply.objects, &values[APPLY_STATE], !values[APPLY_DRY_RUN].flag, &exit_code))
        return exit_code;
    if (!read_document(path, &apply.document, &error) || !plan_all(&apply, values[APPLY_PRUNE].flag, &error)) {
        exit_code = command_fail_kind(&error);
    } else if (values[APPLY_JSON].flag) {
        print_plan_json(&apply);
    } else if (apply.planned_count == 0) {
        printf("nothing differs\n");
    } else {
        print_plan(&apply);
        bool is_meant = !values[APPLY_DRY_RUN].flag &&
                        (apply.removal_count == 0 ||
                         objects_may_remove("remove what is marked with - ?", values[APPLY_YES].flag, &exit_code));
        if (is_meant && !do_plan(&apply, &error))
            exit_code = command_fail_kind(&error);
        else if (is_meant)
            printf("done\n");
    }
    apply_close(&apply);
    return exit_code;
}

const struct command command_apply = {
    .name = "apply",
    .summary = "make sources, destinations and pipelines as a file says",
    .usage = "apply FILE|- [--dry-run [--json]] [--prune]",
    .details =
        "The file has the form of etl-stream export. What differs is shown (+ added, ~ changed, - removed), then "
        "changed,\n"
        "all or nothing. A setting that the file does not name goes back to its default; secrets stay as they are, or\n"
        "come from a variable: \"password\": {\"env\": \"VARIABLE\"}; a pipeline without \"status\" stays started or "
        "paused.\n\n"
        "Examples:\n  etl-stream apply etl-stream.json --dry-run\n  etl-stream apply - --prune < etl-stream.json\n",
    .options = options,
    .option_count = APPLY_OPTION_COUNT,
    .run = run,
};
