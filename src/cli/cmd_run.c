#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/endpoints.h"
#include "supervisor/signals.h"
#include "supervisor/supervisor.h"

#define STOP_DEADLINE_MS 20000

enum {
    RUN_FROM,
    RUN_TO,
    RUN_NAME,
    RUN_STATE,
    RUN_MERGE_INTERVAL,
    RUN_MERGE_TIMEOUT,
    RUN_BATCH_ROWS,
    RUN_BATCH_FILL,
    RUN_MEMORY,
    RUN_SLOT_LOST,
    RUN_DECODING_MEMORY,
    RUN_HELP,
    RUN_OPTION_COUNT
};

static const struct option_spec options[RUN_OPTION_COUNT] = {
    [RUN_FROM] =
        {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
         "the source: postgres://USER@HOST:PORT/DATABASE?publication=NAME[&slot=NAME][&sslmode=…][&sslrootcert=…];\n"
         "the password comes from PGPASSWORD or the password file, not from the command line"},
    [RUN_TO] = {"to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                "the destination: snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&key_file=PATH[&role=NAME]\n"
                "[&landing_schema=NAME][&key_env=VARIABLE][&passphrase_env=VARIABLE][&host=HOST:PORT][&ca_file=PATH]"},
    [RUN_NAME] = {"name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL,
                  "the pipeline's name; made of database and publication when not given"},
    [RUN_STATE] = {"state", "ETL_STATE", OPTION_TEXT, "FILE", "etl-stream.db", 0, 0, NULL,
                   "the state file: positions and tables; keep it"},
    [RUN_MERGE_INTERVAL] = {"merge-interval-seconds", "ETL_MERGE_INTERVAL_SECONDS", OPTION_NUMBER, "N", "3600", 0,
                            86400, NULL,
                            "how often landing rows are merged into the targets; each merge wakes the warehouse;\n"
                            "0 merges one after the other"},
    [RUN_MERGE_TIMEOUT] = {"merge-timeout-seconds", "ETL_MERGE_TIMEOUT_SECONDS", OPTION_NUMBER, "N", "3600", 10, 172800,
                           NULL, "after how long Snowflake ends a merge, which is then tried again"},
    [RUN_BATCH_ROWS] = {"batch-max-size", NULL, OPTION_NUMBER, "ROWS", "1000", 1, 1000000, NULL,
                        "rows at which a batch is sent at the latest"},
    [RUN_BATCH_FILL] = {"batch-max-fill-ms", NULL, OPTION_NUMBER, "MS", "5000", 1, 600000, NULL,
                        "age at which a batch is sent at the latest"},
    [RUN_MEMORY] = {"memory-mb", "ETL_MEMORY_MB", OPTION_NUMBER, "MB", "32", 8, 65536, NULL,
                    "what rows on their way may hold; when it is full, reading from PostgreSQL waits"},
    [RUN_SLOT_LOST] = {"on-slot-lost", NULL, OPTION_CHOICE, "WHAT", "stop", 0, 0, "stop|resync",
                       "when the replication slot or its WAL is gone: stop and say so, or copy all tables anew"},
    [RUN_DECODING_MEMORY] =
        {"decoding-work-mem-kb", NULL, OPTION_NUMBER, "KB", "0", 0, 1048576, NULL,
         "logical_decoding_work_mem on our connection; the source's memory; 0 leaves the server's own"},
    [RUN_HELP] = {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

struct run {
    struct option_value values[RUN_OPTION_COUNT];
    struct endpoints endpoints;
    struct plan *plan;
    struct catalog *catalog;
    bool is_state_new;  // the file was made by this run
};

static void plan_set_options(struct plan *plan, const struct option_value *values)
{
    plan->pipeline.merge_interval_ms = (uint32_t)values[RUN_MERGE_INTERVAL].number * 1000;
    plan->pipeline.stop_deadline_ms = STOP_DEADLINE_MS;
    plan->pipeline.resync_on_slot_lost = strcmp(values[RUN_SLOT_LOST].text, "resync") == 0;
    plan->pipeline.decoding_work_mem_kb = (uint32_t)values[RUN_DECODING_MEMORY].number;
    plan->memory_bytes = (size_t)values[RUN_MEMORY].number << 20;
    plan->batch_rows_max = (uint32_t)values[RUN_BATCH_ROWS].number;
    plan->batch_fill_ms_max = (uint32_t)values[RUN_BATCH_FILL].number;
    plan->merge_timeout_s = (uint32_t)values[RUN_MERGE_TIMEOUT].number;
    plan->shows_progress = isatty(STDERR_FILENO) == 1;
}

static bool plan_set_ends(struct plan *plan, const struct endpoints *endpoints, struct err *out_error)
{
    plan->name = strdup(endpoints->name);
    plan->slot = strdup(endpoints->slot);
    plan->publication = strdup(endpoints->publication);
    (void)snprintf(plan->source_text, sizeof plan->source_text, "%s", endpoints->source_text);
    CHECK(plan->name != NULL && plan->slot != NULL && plan->publication != NULL);
    CHECK(pg_target_copy(&endpoints->source, &plan->source));
    CHECK(destination_copy(&endpoints->destination, &plan->destination));
    if (!destination_wants_key(&plan->destination))
        return true;
    plan->key = sf_key_load_configured(&plan->destination.snowflake, out_error);
    return plan->key != NULL;
}

static bool run_prepare(struct run *run, struct err *out_error)
{
    const char *state = run->values[RUN_STATE].text;
    struct plan *plan = run->plan = plan_new();
    signals_block();
    if (!sf_key_process_init(out_error) || !plan_set_ends(plan, &run->endpoints, out_error))
        return false;
    plan_set_options(plan, run->values);
    run->is_state_new = access(state, F_OK) != 0;
    run->catalog = catalog_open(state, true, out_error);
    if (run->catalog == NULL || !catalog_load(run->catalog, plan->name, &plan->known, out_error) ||
        !catalog_start(run->catalog, out_error))
        return false;
    plan->pipeline.catalog = run->catalog;
    plan_finish(plan);
    return true;
}

// A start that failed before anything was kept leaves no file behind.
static void state_remove_if_unused(const struct run *run)
{
    struct err ignored = {0};
    struct catalog_known known = {.is_found = true};
    const char *state = run->values[RUN_STATE].text;
    struct catalog *catalog = catalog_open(state, true, &ignored);
    bool is_unused = catalog != NULL && catalog_load(catalog, run->endpoints.name, &known, &ignored) && !known.is_found;
    catalog_known_deinit(&known);
    catalog_close(catalog);
    if (is_unused)
        unlink(state);
}

static void run_close(struct run *run, bool has_failed)
{
    bool was_open = run->catalog != NULL;
    catalog_close(run->catalog);
    if (has_failed && was_open && run->is_state_new)
        state_remove_if_unused(run);
    plan_free(run->plan);
    endpoints_deinit(&run->endpoints);
}

static int run_service(struct run *run)
{
    struct err error = {0};
    struct plan *plan = run->plan;
    run->plan = NULL;
    enum supervisor_outcome outcome = supervisor_run(plan, &error);
    if (outcome == SUPERVISOR_INTERRUPTED)
        _exit(EXIT_INTERRUPTED);  // the worker still runs; what it did is safe at any instant
    run_close(run, outcome == SUPERVISOR_FAILED);
    if (outcome == SUPERVISOR_FAILED)
        return command_fail(&error, error.kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    return EXIT_DONE;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct run state = {0};
    struct err error = {0};
    size_t operand_count = 0;
    if (!options_parse(options, RUN_OPTION_COUNT, count, arguments, state.values, NULL, 0, &operand_count, &error))
        return command_fail(&error, EXIT_USAGE);
    if (state.values[RUN_HELP].flag) {
        command_print_help(command);
        return EXIT_DONE;
    }
    if (state.values[RUN_FROM].text == NULL || state.values[RUN_TO].text == NULL) {
        err_set(&error, ERR_CONFIG, "usage", "run needs --from URL and --to URL; etl-stream help run shows how");
        return command_fail(&error, EXIT_USAGE);
    }
    if (!endpoints_read(state.values[RUN_FROM].text, state.values[RUN_TO].text, state.values[RUN_NAME].text,
                        &state.endpoints, &error))
        return command_fail(&error, EXIT_USAGE);
    endpoints_hide_passwords(count, arguments);
    if (!run_prepare(&state, &error)) {
        run_close(&state, true);
        return command_fail(&error, error.kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    }
    log_line(LOG_INFO, NULL, "starting", "etl-stream " ETL_VERSION ": %s to %s", state.endpoints.source_text,
             state.endpoints.destination.text);
    return run_service(&state);
}

const struct command command_run = {
    .name = "run",
    .summary = "copy the tables of a publication into Snowflake and keep them current",
    .usage = "run --from URL --to URL [OPTION…]",
    .details =
        "Runs until it is told to stop (SIGTERM, Ctrl-C): it then finishes what is in flight and exits with 0.\n"
        "A second Ctrl-C ends it at once; nothing is lost either way.\n\n"
        "Example:\n"
        "  etl-stream run --from 'postgres://etl@db.example.com/shop?publication=etl' \\\n"
        "    --to "
        "'snowflake://ETL@MYORG-ACCOUNT/SHOP/PUBLIC?warehouse=ETL_WH&role=ETL&key_file=/etc/etl-stream/key.p8'\n",
    .options = options,
    .option_count = RUN_OPTION_COUNT,
    .run = run,
};
