// migrate: takes over from the first etl-stream. It shows what it would do, asks, and does that; what has to wait until our
// pipelines are live is done when the command is given again, or by --wait.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "catalog/location.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/objects.h"
#include "migrate/migrate.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"

#define OPERANDS_MAX 1000
#define LOOK_INTERVAL_MS 1000
#define CODE_PRIVILEGES "003001"  // Snowflake: insufficient privileges to operate on …
// The first etl-stream wrote one for each table into its working directory, with the private key in plain text
// (github.com/dwickyfp/etl-stream, etl-snowflake-py/etl_snowflake/client.py).
#define PROFILE_FOLDER "profile_json"

enum { OPTION_DRY_RUN, OPTION_YES, OPTION_WAIT, OPTION_TIMEOUT, OPTION_JSON, OPTION_STATE, OPTION_COUNT };

static const struct option_spec options[OPTION_COUNT] = {
    [OPTION_DRY_RUN] = {"dry-run", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "show the plan and change nothing"},
    [OPTION_YES] = {"yes", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "do it without asking"},
    [OPTION_WAIT] = {"wait", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                     "wait until the pipelines are live, which the service makes them, and do the rest as well"},
    [OPTION_TIMEOUT] = {"timeout", NULL, OPTION_NUMBER, "SECONDS", "86400", 1, 2592000, NULL, "how long --wait waits"},
    [OPTION_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines, at the end"},
    [OPTION_STATE] = COMMAND_STATE_OPTION,
};

struct one {
    const struct catalog_object *pipeline;
    struct migrate *migrate;
    struct catalog_known known;
    struct migrate_state state;
    json_t *done;  // steps that were carried out: as in the document
};

struct migrating {
    const struct option_value *values;
    struct catalog_location location;
    struct catalog_config *config;
    struct key_ring *ring;
    struct one *ones;
    size_t one_count;
    json_t *shown;    // the statements that a person has seen and agreed to
    bool has_failed;  // something that others need not wait for
};

static bool is_text(const struct migrating *migrating)
{
    return !migrating->values[OPTION_JSON].flag;
}

// --- the catalog -----------------------------------------------------------------------------------------------------

// NULL without an error: a database that holds the contract's tables at most, so nothing of ours has run yet.
static struct catalog *open_catalog(const struct migrating *migrating, struct err *out_error)
{
    struct catalog *catalog = catalog_open(&migrating->location, CATALOG_READER, out_error);
    if (catalog == NULL && migrating->location.is_postgres && strcmp(out_error->code, CATALOG_ERROR_NONE) == 0)
        err_clear(out_error);
    return catalog;
}

static bool read_config(struct migrating *migrating, struct err *out_error)
{
    struct catalog *catalog = open_catalog(migrating, out_error);
    bool is_read = false;
    if (catalog != NULL)
        is_read = catalog_config_read(catalog, &migrating->config, out_error);
    else if (!err_is_set(out_error))
        is_read = catalog_config_foresee(&migrating->location, &migrating->config, out_error);
    else if (!migrating->location.is_postgres)
        err_prefix(out_error,
                   "the first etl-stream's configuration is in the PostgreSQL database that CONFIG_DB_HOST and "
                   "its like name, and none of these variables is set");
    catalog_close(catalog);
    if (is_read && migrating->config->counts[CATALOG_PIPELINE] == 0)
        return err_set(out_error, ERR_CONFIG, "empty",
                       "%s holds no pipeline; CONFIG_DB_HOST, CONFIG_DB_PORT and CONFIG_DB_DATABASE have to name the "
                       "first etl-stream's configuration database",
                       migrating->location.text);
    return is_read;
}

static bool is_same_text(const struct catalog_object *a, const struct catalog_object *b, const char *setting)
{
    const char *one = catalog_object_get(a, setting), *other = catalog_object_get(b, setting);
    return one == other || (one != NULL && other != NULL && strcmp(one, other) == 0);
}

static bool shares_slot(const struct migrating *migrating, const struct catalog_object *a,
                        const struct catalog_object *b)
{
    const struct catalog_object *of_a = catalog_config_find(migrating->config, CATALOG_SOURCE, a->source);
    const struct catalog_object *of_b = catalog_config_find(migrating->config, CATALOG_SOURCE, b->source);
    return a != b && a->first_id == b->first_id && of_a != NULL && of_b != NULL &&
           is_same_text(of_a, of_b, "pg_host") && is_same_text(of_a, of_b, "pg_port") &&
           is_same_text(of_a, of_b, "pg_database");
}

// Another pipeline that had the same slot and is not live; NULL: none.
static bool find_other_of_slot(const struct migrating *migrating, struct catalog *catalog, struct one *one,
                               struct err *out_error)
{
    const struct catalog_config *config = migrating->config;
    bool is_good = true;
    one->state.other_of_slot = NULL;
    for (uint32_t i = 0; is_good && one->state.other_of_slot == NULL && i < config->counts[CATALOG_PIPELINE]; i++) {
        const struct catalog_object *other = &config->objects[CATALOG_PIPELINE][i];
        struct catalog_known known = {0};
        if (!shares_slot(migrating, one->pipeline, other))
            continue;
        is_good = catalog == NULL || catalog_load(catalog, other->name, &known, out_error);
        if (is_good && !migrate_is_live(&known))
            one->state.other_of_slot = other->name;
        catalog_known_deinit(&known);
    }
    return is_good;
}

static bool read_states(struct migrating *migrating, struct err *out_error)
{
    struct catalog *catalog = open_catalog(migrating, out_error);
    bool is_good = catalog != NULL || !err_is_set(out_error);
    for (size_t i = 0; is_good && i < migrating->one_count; i++) {
        struct one *one = &migrating->ones[i];
        catalog_known_deinit(&one->known);
        one->state.known = &one->known;
        is_good = (catalog == NULL || catalog_load(catalog, one->pipeline->name, &one->known, out_error)) &&
                  find_other_of_slot(migrating, catalog, one, out_error);
        one->state.is_running = catalog != NULL && catalog_is_claimed(catalog, one->pipeline->name);
    }
    catalog_close(catalog);
    return is_good;
}

// --- what is shown ---------------------------------------------------------------------------------------------------

static void print_steps(const struct migrate_plan *plan, uint32_t from, uint32_t to, uint32_t number)
{
    for (uint32_t i = from; i < to; i++)
        printf("  %2u. %s\n      %s\n", (unsigned)(number + i - from), plan->steps[i].what, plan->steps[i].statement);
}

static void print_plan(const struct one *one)
{
    const struct migrate_plan *plan = migrate_plan(one->migrate);
    uint32_t due = migrate_plan_due(plan);
    printf("pipeline %s: from %s to %s\n", one->pipeline->name, migrate_source_text(one->migrate),
           migrate_destination_text(one->migrate));
    print_steps(plan, 0, due, 1);
    if (plan->waits_for != NULL) {
        printf("  later, when %s:\n", plan->waits_for);
        print_steps(plan, due, plan->step_count, due + 1);
    }
    if (plan->step_count == 0)
        printf("  nothing to do%s\n", plan->is_live ? ", it is live" : "");
    for (uint32_t i = 0; i < plan->notes.count; i++)
        printf("  note: %s\n", plan->notes.texts[i]);
    fflush(stdout);
}

static json_t *texts_json(const struct migrate_texts *list)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->texts[i]));
    return array;
}

static json_t *step_json(const struct migrate_step *step, const char *state)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "action", migrate_action_name(step->action), "what", step->what,
                     "statement", step->statement, "state", state);
}

static json_t *one_json(const struct one *one)
{
    const struct migrate_plan *plan = migrate_plan(one->migrate);
    json_t *steps = json_copy(one->done);
    for (uint32_t i = 0; i < plan->step_count; i++)
        json_array_append_new(steps, step_json(&plan->steps[i], plan->steps[i].is_waiting ? "waiting" : "due"));
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:o, s:o?, s:o, s:o}", "pipeline", one->pipeline->name, "source",
                     migrate_source_text(one->migrate), "destination", migrate_destination_text(one->migrate), "live",
                     plan->is_live, "nothing_to_do", plan->step_count == 0, "steps", steps, "waits_for",
                     plan->waits_for != NULL ? json_string(plan->waits_for) : NULL, "refused",
                     texts_json(&plan->refusals), "notes", texts_json(&plan->notes));
}

static void print_json(const struct migrating *migrating)
{
    json_t *pipelines = json_array();
    for (size_t i = 0; i < migrating->one_count; i++)
        json_array_append_new(pipelines, one_json(&migrating->ones[i]));
    json_t *document = json_pack("{s:o}", "pipelines", pipelines);
    char *text = json_dumps(document, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    CHECK(text != NULL);
    printf("%s\n", text);
    free(text);
    json_decref(document);
}

// --- looking and doing -----------------------------------------------------------------------------------------------

static bool look_at_all(struct migrating *migrating, struct err *out_error)
{
    for (size_t i = 0; i < migrating->one_count; i++) {
        struct one *one = &migrating->ones[i];
        if (!migrate_look(one->migrate, &one->state, out_error)) {
            err_prefix(out_error, "pipeline %s", one->pipeline->name);
            return false;
        }
    }
    return true;
}

static bool tell_refusals(const struct migrating *migrating)
{
    bool is_refused = false;
    for (size_t i = 0; i < migrating->one_count; i++) {
        const struct migrate_texts *refusals = &migrate_plan(migrating->ones[i].migrate)->refusals;
        for (uint32_t j = 0; j < refusals->count; j++)
            fprintf(stderr, "etl-stream: pipeline %s: %s\n", migrating->ones[i].pipeline->name, refusals->texts[j]);
        is_refused |= refusals->count > 0;
    }
    return is_refused;
}

static uint32_t count_steps(const struct migrating *migrating, bool counts_waiting)
{
    uint32_t count = 0;
    for (size_t i = 0; i < migrating->one_count; i++) {
        const struct migrate_plan *plan = migrate_plan(migrating->ones[i].migrate);
        count += counts_waiting ? plan->step_count - migrate_plan_due(plan) : migrate_plan_due(plan);
    }
    return count;
}

static void remember_shown(struct migrating *migrating)
{
    for (size_t i = 0; i < migrating->one_count; i++) {
        const struct migrate_plan *plan = migrate_plan(migrating->ones[i].migrate);
        for (uint32_t j = 0; j < plan->step_count; j++)
            json_object_set_new(migrating->shown, plan->steps[j].statement, json_true());
    }
}

static void explain_privileges(const struct migrate_step *step, struct err *error)
{
    struct err whole = {0};
    err_set(&whole, error->kind, error->code, "%s; %s", error->text, step->remedy);
    *error = whole;
}

static bool do_step(struct migrating *migrating, struct one *one, const struct migrate_step *step,
                    struct err *out_error)
{
    struct err error = {0};
    if (json_object_get(migrating->shown, step->statement) == NULL)
        return err_set(out_error, ERR_TRANSIENT, "changed",
                       "pipeline %s: something has changed since the plan was shown, which did not have: %s; nothing "
                       "more was done, give the command again",
                       one->pipeline->name, step->statement);
    bool is_done = migrate_do(one->migrate, step, &error);
    json_array_append_new(one->done, step_json(step, is_done ? "done" : "failed"));
    if (is_done) {
        if (is_text(migrating))
            printf("done: %s\n", step->what);
        fflush(stdout);
        return true;
    }
    if (step->remedy != NULL && strcmp(error.code, CODE_PRIVILEGES) == 0)
        explain_privileges(step, &error);
    err_prefix(&error, "pipeline %s: %s", one->pipeline->name, step->statement);
    // A grant may need another role, and nothing else depends on it.
    if (step->action != MIGRATE_GRANT) {
        *out_error = error;
        return false;
    }
    migrating->has_failed = true;
    fprintf(stderr, "etl-stream: %s\n", error.text);
    return true;
}

// What was planned is planned anew just before it is done: a person may have thought about it for long, and what two
// pipelines share is done once.
static bool do_due(struct migrating *migrating, bool is_fresh, struct err *out_error)
{
    if (!is_fresh && !read_states(migrating, out_error))
        return false;
    for (size_t i = 0; i < migrating->one_count; i++) {
        struct one *one = &migrating->ones[i];
        if ((i > 0 || !is_fresh) && !migrate_look(one->migrate, &one->state, out_error))
            return false;
        const struct migrate_plan *plan = migrate_plan(one->migrate);
        if (plan->refusals.count > 0)
            return err_set(out_error, ERR_CONFIG, "refused", "pipeline %s: %s", one->pipeline->name,
                           plan->refusals.texts[0]);
        uint32_t due = migrate_plan_due(plan);
        for (uint32_t j = 0; j < due; j++)
            if (!do_step(migrating, one, &plan->steps[j], out_error))
                return false;
    }
    return look_at_all(migrating, out_error);
}

static bool are_live(const struct migrating *migrating)
{
    for (size_t i = 0; i < migrating->one_count; i++)
        if (migrate_plan(migrating->ones[i].migrate)->waits_for != NULL &&
            (!migrate_is_live(&migrating->ones[i].known) || migrating->ones[i].state.other_of_slot != NULL))
            return false;
    return true;
}

static bool wait_and_do(struct migrating *migrating, struct err *out_error)
{
    int64_t deadline_us =
        clock_system.wall_us(clock_system.context) + migrating->values[OPTION_TIMEOUT].number * 1000000;
    if (is_text(migrating))
        printf("waiting until the pipelines are live\n");
    fflush(stdout);
    while (count_steps(migrating, true) > 0) {
        while (!are_live(migrating)) {
            if (clock_system.wall_us(clock_system.context) > deadline_us)
                return err_set(out_error, ERR_TRANSIENT, "timeout",
                               "the pipelines are not live yet; etl-stream status shows how far they are, and migrate "
                               "does the rest when it is given again");
            (void)poll(NULL, 0, LOOK_INTERVAL_MS);
            if (!read_states(migrating, out_error))
                return false;
        }
        if (!do_due(migrating, false, out_error))
            return false;
        (void)poll(NULL, 0, LOOK_INTERVAL_MS);  // a table that was published this moment is not known yet
        if (!read_states(migrating, out_error))
            return false;
    }
    return true;
}

static void say_what_is_left(const struct migrating *migrating)
{
    uint32_t left = count_steps(migrating, true);
    if (!is_text(migrating))
        return;
    for (size_t i = 0; left > 0 && i < migrating->one_count; i++)
        if (migrate_plan(migrating->ones[i].migrate)->waits_for != NULL)
            print_plan(&migrating->ones[i]);
    if (left > 0)
        printf("give this command again then, or with --wait\n");
}

static int carry_out(struct migrating *migrating)
{
    struct err error = {0};
    int exit_code = EXIT_DONE;
    uint32_t due = count_steps(migrating, false);
    if (due > 0 && !objects_may_remove("do this now?", migrating->values[OPTION_YES].flag, &exit_code))
        return exit_code;
    remember_shown(migrating);
    bool is_good = due == 0 || do_due(migrating, migrating->values[OPTION_YES].flag, &error);
    if (is_good && migrating->values[OPTION_WAIT].flag && count_steps(migrating, true) > 0)
        is_good = wait_and_do(migrating, &error);
    else if (is_good && due > 0)
        say_what_is_left(migrating);
    if (!is_text(migrating))
        print_json(migrating);
    if (!is_good)
        return command_fail(&error, EXIT_FAILED);
    return migrating->has_failed ? EXIT_FAILED : EXIT_DONE;
}

static int migrate_all(struct migrating *migrating)
{
    struct err error = {0};
    if (!read_states(migrating, &error) || !look_at_all(migrating, &error))
        return command_fail_kind(&error);
    for (size_t i = 0; is_text(migrating) && i < migrating->one_count; i++)
        print_plan(&migrating->ones[i]);
    if (is_text(migrating) && access(PROFILE_FOLDER, F_OK) == 0)
        printf("note: the folder " PROFILE_FOLDER
               " here is the first etl-stream's and holds private keys in plain text; "
               "delete it, and give the user another key if anybody else may have read it\n");
    fflush(stdout);
    bool is_refused = tell_refusals(migrating);
    if (is_refused || migrating->values[OPTION_DRY_RUN].flag) {
        if (!is_text(migrating))
            print_json(migrating);
        return is_refused ? EXIT_FAILED : EXIT_DONE;
    }
    return carry_out(migrating);
}

// --- the command -----------------------------------------------------------------------------------------------------

static bool add_one(struct migrating *migrating, const struct catalog_object *pipeline, struct err *out_error)
{
    struct one *one = &migrating->ones[migrating->one_count];
    one->pipeline = pipeline;
    one->done = json_array();
    one->migrate = migrate_new(migrating->config, pipeline, migrating->ring, out_error);
    migrating->one_count++;
    return one->migrate != NULL;
}

static bool select_pipelines(struct migrating *migrating, const char *const *names, size_t name_count,
                             struct err *out_error)
{
    const struct catalog_config *config = migrating->config;
    uint32_t all = config->counts[CATALOG_PIPELINE];
    migrating->ones = calloc((name_count > 0 ? name_count : all) + 1, sizeof *migrating->ones);
    CHECK(migrating->ones != NULL);
    for (uint32_t i = 0; name_count == 0 && i < all; i++)
        if (!add_one(migrating, &config->objects[CATALOG_PIPELINE][i], out_error))
            return false;
    for (size_t i = 0; i < name_count; i++) {
        const struct catalog_object *pipeline = catalog_config_find(config, CATALOG_PIPELINE, names[i]);
        if (pipeline == NULL)
            return catalog_config_fail_missing(config, CATALOG_PIPELINE, names[i], out_error);
        if (!add_one(migrating, pipeline, out_error))
            return false;
    }
    return true;
}

static void close_all(struct migrating *migrating)
{
    for (size_t i = 0; i < migrating->one_count; i++) {
        migrate_free(migrating->ones[i].migrate);
        catalog_known_deinit(&migrating->ones[i].known);
        json_decref(migrating->ones[i].done);
    }
    free(migrating->ones);
    json_decref(migrating->shown);
    key_ring_free(migrating->ring);
    catalog_config_free(migrating->config);
    catalog_location_deinit(&migrating->location);
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct migrating migrating = {.values = values};
    struct err error = {0};
    const char *names[OPERANDS_MAX];
    size_t name_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, names, OPERANDS_MAX, &name_count, &exit_code))
        return exit_code;
    if (values[OPTION_DRY_RUN].flag && (values[OPTION_YES].flag || values[OPTION_WAIT].flag)) {
        err_set(&error, ERR_CONFIG, "usage",
                "--dry-run changes nothing and waits for nothing: leave --yes and --wait out");
        return command_fail(&error, EXIT_USAGE);
    }
    // Before anything uses OpenSSL, which a catalog in PostgreSQL does.
    if (!sf_key_process_init(&error) ||
        !catalog_location_read(values[OPTION_STATE].text, values[OPTION_STATE].is_given, &migrating.location, &error))
        return command_fail_kind(&error);
    migrating.ring = key_ring_new();
    migrating.shown = json_object();
    if (read_config(&migrating, &error) && select_pipelines(&migrating, names, name_count, &error))
        exit_code = migrate_all(&migrating);
    else
        exit_code = command_fail_kind(&error);
    close_all(&migrating);
    return exit_code;
}

const struct command command_migrate = {
    .name = "migrate",
    .summary = "take over from the first etl-stream: its tasks, tables and slots",
    .usage = "migrate [NAME…] [--dry-run | --yes] [OPTION…]",
    .details = "For every pipeline of the first etl-stream's configuration database (CONFIG_DB_HOST and its like), or "
               "those named:\n"
               "suspends its tasks, renames its targets and landing tables to …_BEFORE_ETL_STREAM, and, once ours is "
               "live, grants\n"
               "readers what they had and drops its replication slot. Shows each step with its statement first, and "
               "asks. Drops no\n"
               "table, and touches nothing of ours. May be given again at any time: it does what is left, or says that "
               "nothing is.\n\n"
               "Stop the first etl-stream before, start etl-stream run after. docs/migration.md goes through it step "
               "by step.\n\n"
               "Examples:\n"
               "  etl-stream migrate --dry-run      what it would do\n"
               "  etl-stream migrate                show it, ask, do it\n"
               "  etl-stream migrate --yes --wait   do it, wait until the service has brought the pipelines live, and "
               "do the rest\n\n"
               "Exit code 0: done, or nothing is to be done now. 1: refused or failed; it says what remains. 2: wrong "
               "usage or\n"
               "configuration.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .run = run,
};
