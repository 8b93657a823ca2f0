// What a running service is told: start, pause, resync. The catalog carries it; the service hears of it within its poll
// interval. Without a service it takes effect when the next one runs.
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "catalog/requests.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/control.h"

#define LOOK_INTERVAL_MS 250
#define OPERANDS_MAX 1000

enum { CONTROL_STATE, CONTROL_NO_WAIT, CONTROL_TIMEOUT, CONTROL_JSON, CONTROL_OPTION_COUNT };

static const struct option_spec options[CONTROL_OPTION_COUNT] = {
    [CONTROL_STATE] = COMMAND_STATE_OPTION,
    [CONTROL_NO_WAIT] = {"no-wait", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                         "do not wait until the running service has done it"},
    [CONTROL_TIMEOUT] = {"timeout", NULL, OPTION_NUMBER, "SECONDS", "120", 1, 86400, NULL,
                         "how long to wait for the running service"},
    [CONTROL_JSON] = COMMAND_JSON_OPTION,
};

struct control {
    struct catalog *catalog;
    const char *name;
    int64_t since_ms;  // what is older was said before
    int64_t deadline_ms;
    json_t *status;  // the newest of the pipeline; NULL: none
    int64_t updated_ms;
    char shown[64];  // the state that was printed last
    bool is_json;
};

static int64_t now_ms(void)
{
    return clock_system.wall_us(clock_system.context) / 1000;
}

static void on_status(void *context, const char *pipeline, const char *json, int64_t updated_ms)
{
    struct control *control = context;
    if (json == NULL || strcmp(pipeline, control->name) != 0)
        return;
    json_decref(control->status);
    control->status = json_loads(json, 0, NULL);
    control->updated_ms = updated_ms;
}

static const char *text_of(const struct control *control, const char *key)
{
    const char *text = json_string_value(json_object_get(control->status, key));
    return text != NULL ? text : "";
}

// What came of it. is_done: it is so now; else it will be.
__attribute__((format(printf, 3, 4))) static int tell(const struct control *control, bool is_done, const char *format,
                                                      ...)
{
    char message[ERR_TEXT_SIZE];
    const struct command_answer answer = {.is_json = control->is_json,
                                          .is_done = is_done,
                                          .kind = "pipeline",
                                          .name = control->name,
                                          .state = text_of(control, "state")};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return command_tell(&answer, "%s", message);
}

static bool look(struct control *control, struct err *out_error)
{
    if (!catalog_each_status(control->catalog, on_status, control, out_error))
        return false;
    const char *state = text_of(control, "state");
    if (control->updated_ms >= control->since_ms && strcmp(state, control->shown) != 0 && *state != '\0') {
        (void)snprintf(control->shown, sizeof control->shown, "%s", state);
        if (isatty(STDOUT_FILENO) == 1 && !control->is_json) {
            printf("%s: %s\n", control->name, state);
            fflush(stdout);
        }
    }
    return true;
}

// Between two sentences: a person gets two lines, a message is one.
static const char *separator(const struct control *control)
{
    return control->is_json ? "; " : "\n";
}

static bool is_one_of(const char *state, const char *const *states)
{
    for (; *states != NULL; states++)
        if (strcmp(state, *states) == 0)
            return true;
    return false;
}

static const char *const running_states[] = {"running", NULL};
static const char *const paused_states[] = {"paused", NULL};
static const char *const failed_states[] = {"failed", "fenced", "waiting", "claimed_elsewhere", NULL};

// Waits until the service says that the pipeline is in one of the states.
static int wait_for(struct control *control, const char *const *states, bool ends_at_failure)
{
    struct err error = {0};
    while (now_ms() < control->deadline_ms) {
        if (!look(control, &error))
            return command_fail(&error, EXIT_FAILED);
        const char *state = text_of(control, "state");
        bool is_new = control->updated_ms >= control->since_ms;
        if (is_new && is_one_of(state, states)) {
            const char *held_back = states == paused_states ? text_of(control, "held_back") : "";
            return tell(control, true, "pipeline %s is %s%s%s", control->name,
                        states == running_states ? "running" : "paused", *held_back != '\0' ? separator(control) : "",
                        held_back);
        }
        if (is_new && ends_at_failure && is_one_of(state, failed_states) && *text_of(control, "error") != '\0') {
            err_set(&error, ERR_CONFIG, "failed", "pipeline %s does not run, and is tried again: %s", control->name,
                    text_of(control, "error"));
            return command_fail(&error, EXIT_FAILED);
        }
        (void)poll(NULL, 0, LOOK_INTERVAL_MS);
    }
    err_set(&error, ERR_TRANSIENT, "timeout",
            "the running service has not done it yet (pipeline %s is %s); it goes on by itself: etl-stream status %s",
            control->name, *text_of(control, "state") != '\0' ? text_of(control, "state") : "unknown", control->name);
    return command_fail(&error, EXIT_FAILED);
}

bool control_is_run_alone(struct catalog *catalog, const char *pipeline, char *out_process, size_t process_size)
{
    struct control control = {.catalog = catalog, .name = pipeline, .since_ms = INT64_MAX};
    struct err ignored = {0};
    bool is_alone = catalog_is_claimed(catalog, pipeline) && look(&control, &ignored) &&
                    json_is_false(json_object_get(control.status, "takes_commands"));
    (void)snprintf(out_process, process_size, "%s", text_of(&control, "process"));
    json_decref(control.status);
    return is_alone;
}

// Not configured, but known: a pipeline of run --from --to, which has no status to set.
static bool fail_unconfigured(struct control *control, const struct catalog_config *config, const char *status,
                              struct err *out_error)
{
    char process[128];
    bool is_start = strcmp(status, "START") == 0;
    if (!control_is_run_alone(control->catalog, control->name, process, sizeof process))
        return catalog_config_fail_missing(config, CATALOG_PIPELINE, control->name, out_error);
    return err_set(out_error, ERR_CONFIG, "run_alone", "pipeline %s is run by %s (etl-stream run --from … --to …)%s",
                   control->name, process,
                   is_start ? ": it runs already"
                            : ", which ends with it; stop that process to pause it, and run it again to go on");
}

static bool set_status(struct control *control, const char *status, bool *out_was_so, struct err *out_error)
{
    struct catalog_config *config = NULL;
    const struct catalog_change change = {.name = "status", .text = status};
    const struct catalog_edit edit = {
        .action = CATALOG_EDIT, .kind = CATALOG_PIPELINE, .name = control->name, .changes = &change, .change_count = 1};
    if (!catalog_config_read(control->catalog, &config, out_error))
        return false;
    const struct catalog_object *pipeline = catalog_config_find(config, CATALOG_PIPELINE, control->name);
    bool is_there = pipeline != NULL || fail_unconfigured(control, config, status, out_error);
    *out_was_so = is_there && pipeline->is_wanted == (strcmp(status, "START") == 0);
    catalog_config_free(config);
    return is_there && (*out_was_so || catalog_edit(control->catalog, &edit, 1, out_error));
}

bool control_pause(struct catalog *catalog, const char *pipeline, uint32_t patience_ms, struct err *out_error)
{
    struct control control = {.catalog = catalog, .name = pipeline, .since_ms = now_ms()};
    bool was_paused = false, is_paused = false, is_good = set_status(&control, "PAUSE", &was_paused, out_error);
    if (was_paused)
        control.since_ms = 0;
    control.deadline_ms = now_ms() + patience_ms;
    while (is_good && !is_paused && now_ms() < control.deadline_ms) {
        is_good = look(&control, out_error);
        is_paused = control.updated_ms >= control.since_ms && is_one_of(text_of(&control, "state"), paused_states);
        is_paused |= !catalog_is_claimed(catalog, pipeline);
        if (is_good && !is_paused)
            (void)poll(NULL, 0, LOOK_INTERVAL_MS);
    }
    json_decref(control.status);
    if (is_good && !is_paused)
        err_set(out_error, ERR_TRANSIENT, "timeout", "the running service did not stop pipeline %s in time", pipeline);
    return is_good && is_paused;
}

static bool control_open(const struct command *command, int count, char *const *arguments, struct control *control,
                         struct option_value *values, const char **operands, size_t operand_max,
                         size_t *out_operand_count, int *out_exit_code)
{
    struct err error = {0};
    memset(control, 0, sizeof *control);
    if (!command_parse(command, count, arguments, values, operands, operand_max, out_operand_count, out_exit_code))
        return false;
    if (*out_operand_count == 0) {
        err_set(&error, ERR_CONFIG, "usage", "%s needs the pipeline's name; etl-stream help %s shows how",
                command->name, command->name);
        *out_exit_code = command_fail(&error, EXIT_USAGE);
        return false;
    }
    control->name = operands[0];
    control->since_ms = now_ms();
    control->deadline_ms = control->since_ms + values[CONTROL_TIMEOUT].number * 1000;
    control->is_json = values[CONTROL_JSON].flag;
    control->catalog = command_catalog_open(&values[CONTROL_STATE], CATALOG_EDITOR, &error);
    if (control->catalog == NULL)
        *out_exit_code = command_fail_kind(&error);
    return control->catalog != NULL;
}

static int control_close(struct control *control, int exit_code)
{
    json_decref(control->status);
    catalog_close(control->catalog);
    return exit_code;
}

static int no_service(const struct control *control, const char *what)
{
    return tell(control, false, "no service runs on %s: pipeline %s %s when the next one starts (etl-stream run)",
                catalog_text(control->catalog), control->name, what);
}

// --- start and pause -------------------------------------------------------------------------------------------------

static int start(struct control *control, const struct option_value *values)
{
    struct err error = {0};
    bool was_started = false;
    int64_t id = 0;
    if (!set_status(control, "START", &was_started, &error))
        return command_fail_kind(&error);
    if (!catalog_is_served(control->catalog))
        return no_service(control, "starts");
    // One that waits after a failure, or was fenced, is tried at once.
    if (was_started && !catalog_command_add(control->catalog, control->name, "start", "{}", &id, &error))
        return command_fail_kind(&error);
    if (values[CONTROL_NO_WAIT].flag)
        return tell(control, false, "pipeline %s will be started by the running service", control->name);
    if (was_started)
        control->since_ms = 0;  // it may run already, and has nothing new to say
    return wait_for(control, running_states, !was_started);
}

static int run_start(const struct command *command, int count, char *const *arguments)
{
    struct control control;
    struct option_value values[COMMAND_OPTIONS_MAX];
    const char *operands[1];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!control_open(command, count, arguments, &control, values, operands, 1, &operand_count, &exit_code))
        return exit_code;
    return control_close(&control, start(&control, values));
}

static int pause_pipeline(struct control *control, const struct option_value *values)
{
    struct err error = {0};
    bool was_paused = false;
    if (!set_status(control, "PAUSE", &was_paused, &error))
        return command_fail_kind(&error);
    if (!catalog_is_served(control->catalog))
        return tell(control, true, "no service runs on %s; pipeline %s stays paused when one starts",
                    catalog_text(control->catalog), control->name);
    if (values[CONTROL_NO_WAIT].flag)
        return tell(control, false, "pipeline %s will be paused by the running service", control->name);
    if (was_paused)
        control->since_ms = 0;
    return wait_for(control, paused_states, false);
}

static int run_pause(const struct command *command, int count, char *const *arguments)
{
    struct control control;
    struct option_value values[COMMAND_OPTIONS_MAX];
    const char *operands[1];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!control_open(command, count, arguments, &control, values, operands, 1, &operand_count, &exit_code))
        return exit_code;
    return control_close(&control, pause_pipeline(&control, values));
}

// --- resync ------------------------------------------------------------------------------------------------------------

bool control_is_table_named(const struct catalog_known *known, const char *name)
{
    for (uint32_t i = 0; i < known->table_count; i++) {
        char full[2 * CATALOG_NAME_SIZE];
        (void)snprintf(full, sizeof full, "%s.%s", known->tables[i].schema_name, known->tables[i].table_name);
        if (strcmp(known->tables[i].table_name, name) == 0 || strcmp(full, name) == 0)
            return true;
    }
    return false;
}

// Of full names where the word has a dot, else of tables alone.
static const char *nearest_table(const struct catalog_known *known, const char *name, char *out, size_t out_size)
{
    const char *nearest = NULL;
    for (uint32_t i = 0; i < known->table_count && nearest == NULL; i++) {
        const char *one = known->tables[i].table_name;
        char full[2 * CATALOG_NAME_SIZE];
        (void)snprintf(full, sizeof full, "%s.%s", known->tables[i].schema_name, known->tables[i].table_name);
        if (strchr(name, '.') != NULL)
            one = full;
        if (options_nearest(name, &one, 1) == NULL)
            continue;
        (void)snprintf(out, out_size, "%s", one);
        nearest = out;
    }
    return nearest;
}

bool control_check_tables(const struct catalog_known *known, const char *pipeline, const char *const *names,
                          size_t count, struct err *out_error)
{
    char nearest[2 * CATALOG_NAME_SIZE];
    for (size_t i = 0; i < count; i++) {
        if (control_is_table_named(known, names[i]))
            continue;
        if (nearest_table(known, names[i], nearest, sizeof nearest) != NULL)
            return err_set(out_error, ERR_CONFIG, "table", "pipeline %s has no table \"%s\"; did you mean \"%s\"?",
                           pipeline, names[i], nearest);
        return err_set(out_error, ERR_CONFIG, "table",
                       "pipeline %s has no table \"%s\"; etl-stream status %s lists them (SCHEMA.TABLE or TABLE)",
                       pipeline, names[i], pipeline);
    }
    return true;
}

// Every name must be one of the pipeline's tables: a misspelt one would do nothing.
static bool tables_check(struct control *control, const char **names, size_t count, struct err *out_error)
{
    struct catalog_known known = {0};
    struct catalog_config *config = NULL;
    bool is_good = catalog_config_read(control->catalog, &config, out_error) &&
                   catalog_load(control->catalog, control->name, &known, out_error);
    // Known, but not configured: run --from --to runs it, or ran it.
    if (is_good && !known.is_found && catalog_config_find(config, CATALOG_PIPELINE, control->name) == NULL)
        is_good = catalog_config_fail_missing(config, CATALOG_PIPELINE, control->name, out_error);
    catalog_config_free(config);
    is_good = is_good && control_check_tables(&known, control->name, names, count, out_error);
    catalog_known_deinit(&known);
    return is_good;
}

static bool resync_ask(struct control *control, const char **names, size_t count, int64_t *out_id,
                       struct err *out_error)
{
    json_t *object = json_object(), *tables = json_array();
    CHECK(object != NULL && tables != NULL);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(tables, json_string(names[i]));
    json_object_set_new(object, "tables", tables);
    char *arguments = json_dumps(object, JSON_COMPACT);
    CHECK(arguments != NULL);
    bool is_added = catalog_command_add(control->catalog, control->name, "resync", arguments, out_id, out_error);
    free(arguments);
    json_decref(object);
    return is_added;
}

static int resync_wait(struct control *control, int64_t id)
{
    struct err error = {0};
    enum catalog_command_state state = CATALOG_COMMAND_WAITING;
    char answer[ERR_TEXT_SIZE];
    while (now_ms() < control->deadline_ms) {
        if (!look(control, &error) || !catalog_command_look(control->catalog, id, &state, answer, &error))
            return command_fail(&error, EXIT_FAILED);
        if (state == CATALOG_COMMAND_DONE)
            return tell(control, true,
                        "pipeline %s: %s; readers keep the old content until the new is complete (etl-stream status %s "
                        "--watch)",
                        control->name, answer, control->name);
        if (state == CATALOG_COMMAND_FAILED) {
            err_set(&error, ERR_CONFIG, "resync", "pipeline %s: %s", control->name, answer);
            return command_fail(&error, EXIT_FAILED);
        }
        (void)poll(NULL, 0, LOOK_INTERVAL_MS);
    }
    err_set(&error, ERR_TRANSIENT, "timeout",
            "the running service has not done it yet (pipeline %s is %s); it will when the pipeline runs",
            control->name, *text_of(control, "state") != '\0' ? text_of(control, "state") : "unknown");
    return command_fail(&error, EXIT_FAILED);
}

static int resync(struct control *control, const struct option_value *values, const char **names, size_t count)
{
    struct err error = {0};
    int64_t id = 0;
    if (!tables_check(control, names, count, &error) || !resync_ask(control, names, count, &id, &error))
        return command_fail_kind(&error);
    if (!catalog_is_served(control->catalog))
        return no_service(control, "copies its tables anew");
    if (values[CONTROL_NO_WAIT].flag)
        return tell(control, false, "pipeline %s will copy its tables anew", control->name);
    return resync_wait(control, id);
}

static int run_resync(const struct command *command, int count, char *const *arguments)
{
    struct control control;
    struct option_value values[COMMAND_OPTIONS_MAX];
    const char *operands[OPERANDS_MAX];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!control_open(command, count, arguments, &control, values, operands, OPERANDS_MAX, &operand_count, &exit_code))
        return exit_code;
    return control_close(&control, resync(&control, values, operands + 1, operand_count - 1));
}

const struct command command_pipeline_start = {
    .name = "pipeline start",
    .summary = "let a running service run a pipeline",
    .usage = "pipeline start NAME [OPTION…]",
    .details =
        "Sets the pipeline's status to START and waits until it runs. One that waits after a failure is tried at "
        "once.\nWithout a running service it starts with the next one.\n\n"
        "Example:\n  etl-stream pipeline start shop\n",
    .options = options,
    .option_count = CONTROL_OPTION_COUNT,
    .run = run_start,
};

const struct command command_pipeline_pause = {
    .name = "pipeline pause",
    .summary = "stop a pipeline cleanly; its slot is kept",
    .usage = "pipeline pause NAME [OPTION…]",
    .details =
        "Sets the pipeline's status to PAUSE and waits until it has finished what was in flight. Its slot is kept, so\n"
        "that nothing is lost, and the source keeps its WAL from there on: do not leave it paused for ever.\n\n"
        "Example:\n  etl-stream pipeline pause shop\n",
    .options = options,
    .option_count = CONTROL_OPTION_COUNT,
    .run = run_pause,
};

const struct command command_pipeline_resync = {
    .name = "pipeline resync",
    .summary = "copy a pipeline's tables anew, parked ones too",
    .usage = "pipeline resync NAME [TABLE…] [OPTION…]",
    .details =
        "All tables, or those named (SCHEMA.TABLE or TABLE). Each is copied in a snapshot of its own while the others "
        "run on;\nreaders keep the old content until the new is complete. A parked table is followed again.\n\n"
        "Examples:\n  etl-stream pipeline resync shop\n  etl-stream pipeline resync shop public.orders\n",
    .options = options,
    .option_count = CONTROL_OPTION_COUNT,
    .run = run_resync,
};
