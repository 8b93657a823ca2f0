// pipeline remove: what it will do, a question, and then exactly that: slot, channels, state, landing tables if asked, and
// what is configured. Never a target.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/catalog.h"
#include "catalog/config.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/objects.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/removal.h"

enum {
    REMOVAL_STATE,
    REMOVAL_DROP_LANDING,
    REMOVAL_KEEP_SLOT,
    REMOVAL_FORCE,
    REMOVAL_YES,
    REMOVAL_JSON,
    REMOVAL_OPTION_COUNT
};

#define STOP_PATIENCE_MS 90000

static const struct option_spec options[REMOVAL_OPTION_COUNT] = {
    [REMOVAL_STATE] = COMMAND_STATE_OPTION,
    [REMOVAL_DROP_LANDING] = {"drop-landing", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                              "drop the landing tables as well, with the changes that they hold"},
    [REMOVAL_KEEP_SLOT] = {"keep-slot", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                           "leave the replication slot; it keeps WAL until somebody drops it"},
    [REMOVAL_FORCE] = {"force", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                       "remove it from the catalog even if something remains at an end that cannot be reached"},
    [REMOVAL_YES] = {"yes", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "do not ask"},
    [REMOVAL_JSON] = COMMAND_JSON_OPTION,
};

struct remover {
    struct catalog *catalog;
    struct catalog_config *config;
    const struct catalog_object *pipeline;
    struct catalog_known known;
    const struct option_value *values;
    struct removal_options removal;
    char slot[64];
    json_t *steps;  // NULL: told as they are done
};

static void say_plan(const struct remover *remover)
{
    const struct catalog_known *known = &remover->known;
    FILE *out = remover->steps != NULL ? stderr : stdout;
    if (remover->steps != NULL && remover->values[REMOVAL_YES].flag)
        return;  // nobody is asked
    fprintf(out, "pipeline %s will be removed:\n", remover->pipeline->name);
    if (!known->is_found) {
        fprintf(out, "  it never ran: its configuration is all there is\n");
        fflush(out);
        return;
    }
    fprintf(out, "  source %s: slot %s is %s\n", remover->pipeline->source, remover->slot,
            remover->values[REMOVAL_KEEP_SLOT].flag ? "kept" : "dropped");
    fprintf(out, "  destination %s: channels and state table are dropped, landing tables are %s, targets stay\n",
            remover->pipeline->destination, remover->values[REMOVAL_DROP_LANDING].flag ? "dropped" : "kept");
    fprintf(out, "  catalog: its configuration, positions and %" PRIu32 " table%s are forgotten\n", known->table_count,
            known->table_count == 1 ? "" : "s");
    fflush(out);
}

static void on_step(void *context, const char *text)
{
    const struct remover *remover = context;
    command_step(remover->steps, "%s%s", remover->steps != NULL ? "" : "  ", text);
}

// Whoever runs it must have let go of slot and channels first.
static bool stop_running(struct remover *remover, struct err *out_error)
{
    char process[128];
    if (!catalog_is_claimed(remover->catalog, remover->pipeline->name))
        return true;
    if (control_is_run_alone(remover->catalog, remover->pipeline->name, process, sizeof process))
        return err_set(out_error, ERR_CONFIG, "run_alone",
                       "pipeline %s is run by %s (etl-stream run --from … --to …), which cannot be paused; stop that "
                       "process, then remove the pipeline, or remove it from the catalog all the same with --force",
                       remover->pipeline->name, process);
    on_step(remover, "stopping it in the running service");
    return control_pause(remover->catalog, remover->pipeline->name, STOP_PATIENCE_MS, out_error);
}

static void say_remains(const struct remover *remover, const struct err *source_error,
                        const struct err *destination_error)
{
    const char *landing_schema = NULL, *database = NULL;
    const struct catalog_object *destination =
        catalog_config_find(remover->config, CATALOG_DESTINATION, remover->pipeline->destination);
    if (destination != NULL) {
        landing_schema = catalog_object_get(destination, "snowflake_landing_schema");
        database = catalog_object_get(destination, "snowflake_database");
    }
    if (err_is_set(source_error))
        fprintf(stderr,
                "etl-stream: the slot remains on source %s: %s\n"
                "  by hand, in its database: SELECT pg_drop_replication_slot('%s')\n",
                remover->pipeline->source, source_error->text, remover->slot);
    if (err_is_set(destination_error))
        fprintf(stderr,
                "etl-stream: channels and state table remain in destination %s: %s\n"
                "  by hand: DROP TABLE the tables of schema %s.%s whose comment names pipeline %s\n",
                remover->pipeline->destination, destination_error->text, database != NULL ? database : "…",
                landing_schema != NULL ? landing_schema : "ETL_SCHEMA", remover->pipeline->name);
}

// In this order: a service that finds a deleted row with a record tells of what is left behind, and who is interrupted in between
// can give the command again.
static bool forget(const struct remover *remover, struct err *out_error)
{
    const struct catalog_edit edit = {
        .action = CATALOG_REMOVE, .kind = CATALOG_PIPELINE, .name = remover->pipeline->name};
    return catalog_forget(remover->catalog, remover->pipeline->name, out_error) &&
           catalog_edit(remover->catalog, &edit, 1, out_error);
}

static int remove_pipeline(struct remover *remover)
{
    struct err error = {0}, source_error = {0}, destination_error = {0};
    const struct command_answer answer = {.is_json = remover->steps != NULL,
                                          .is_done = true,
                                          .kind = "pipeline",
                                          .name = remover->pipeline->name,
                                          .steps = remover->steps};
    char question[256];
    int exit_code = EXIT_DONE;
    say_plan(remover);
    (void)snprintf(question, sizeof question, "remove pipeline %.200s?", remover->pipeline->name);
    if (!objects_may_remove(question, remover->values[REMOVAL_YES].flag, &exit_code))
        return exit_code;
    if (!stop_running(remover, &error) && !remover->values[REMOVAL_FORCE].flag)
        return command_fail(&error, EXIT_FAILED);
    // What it did until it stopped counts too.
    catalog_known_deinit(&remover->known);
    if (!catalog_load(remover->catalog, remover->pipeline->name, &remover->known, &error))
        return command_fail(&error, EXIT_FAILED);
    if (remover->known.is_found)  // else it never ran, and left nothing
        removal_run(&remover->removal, &source_error, &destination_error);
    bool remains = err_is_set(&source_error) || err_is_set(&destination_error);
    if (remains)
        say_remains(remover, &source_error, &destination_error);
    if (remains && !remover->values[REMOVAL_FORCE].flag) {
        err_set(&error, ERR_TRANSIENT, "remains",
                "pipeline %s stays in the catalog, paused; try again, or let go of what remains with --force",
                remover->pipeline->name);
        return command_fail(&error, EXIT_FAILED);
    }
    if (!forget(remover, &error))
        return command_fail_kind(&error);
    command_tell(&answer, "pipeline %s is removed", remover->pipeline->name);
    return remains ? EXIT_FAILED : EXIT_DONE;
}

// Known, but not configured: run --from --to ran it, and only its command line knew both ends; or its row was deleted.
static bool fail_missing(struct remover *remover, const char *name, struct err *out_error)
{
    if (catalog_load(remover->catalog, name, &remover->known, out_error) && remover->known.is_found)
        return err_set(
            out_error, ERR_CONFIG, "not_configured",
            "pipeline %s has run but is not configured here: it was run by etl-stream run --from … --to …, or "
            "its row was deleted; etl-stream source add, destination add and pipeline add %s make both ends "
            "known, then it can be removed; its slot alone, in the source's database: SELECT "
            "pg_drop_replication_slot('%s')",
            name, name, remover->known.pipeline.slot);
    return !err_is_set(out_error) && catalog_config_fail_missing(remover->config, CATALOG_PIPELINE, name, out_error);
}

static bool remover_open(struct remover *remover, const char *name, struct err *out_error)
{
    remover->catalog = command_catalog_open(&remover->values[REMOVAL_STATE], CATALOG_EDITOR, out_error);
    if (remover->catalog == NULL || !catalog_config_read(remover->catalog, &remover->config, out_error))
        return false;
    remover->pipeline = catalog_config_find(remover->config, CATALOG_PIPELINE, name);
    if (remover->pipeline == NULL)
        return fail_missing(remover, name, out_error);
    if (!catalog_load(remover->catalog, name, &remover->known, out_error) || !sf_key_process_init(out_error))
        return false;
    remover->removal = (struct removal_options){.config = remover->config,
                                                .pipeline = remover->pipeline,
                                                .known = &remover->known,
                                                .drops_landing = remover->values[REMOVAL_DROP_LANDING].flag,
                                                .keeps_slot = remover->values[REMOVAL_KEEP_SLOT].flag,
                                                .on_step = on_step,
                                                .context = remover};
    removal_slot(&remover->removal, remover->slot, sizeof remover->slot);
    return true;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct remover remover = {.values = values};
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code))
        return exit_code;
    if (operand_count == 0) {
        err_set(&error, ERR_CONFIG, "usage", "pipeline remove needs the pipeline's name; etl-stream status lists them");
        return command_fail(&error, EXIT_USAGE);
    }
    if (values[REMOVAL_JSON].flag)
        remover.steps = json_array();
    if (remover_open(&remover, name, &error))
        exit_code = remove_pipeline(&remover);
    else
        exit_code = command_fail_kind(&error);
    catalog_known_deinit(&remover.known);
    catalog_config_free(remover.config);
    catalog_close(remover.catalog);
    json_decref(remover.steps);
    return exit_code;
}

const struct command command_pipeline_remove = {
    .name = "pipeline remove",
    .summary = "remove a pipeline: its slot, channels and state; never a target",
    .usage = "pipeline remove NAME [OPTION…]",
    .details =
        "Stops it in a running service, drops its slot on the source, its channels and its state table in the\n"
        "destination, with --drop-landing its landing tables, and forgets it. Targets and the publication stay.\n"
        "It says what it will do and asks first.\n\n"
        "Example:\n  etl-stream pipeline remove shop --drop-landing\n",
    .options = options,
    .option_count = REMOVAL_OPTION_COUNT,
    .run = run,
};
