#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/day_windows.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/endpoints.h"
#include "cli/objects.h"
#include "cli/verify_report.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"
#include "verify/verify.h"

#define OPERANDS_MAX 1000

enum {
    VERIFY_FULL,
    VERIFY_SHOW_VALUES,
    VERIFY_LIMIT,
    VERIFY_JSON,
    VERIFY_OUTSIDE_WINDOWS,
    VERIFY_TIMEOUT,
    VERIFY_LEASE,
    VERIFY_FROM,
    VERIFY_TO,
    VERIFY_NAME,
    VERIFY_STATE,
    VERIFY_ASK_PASSWORD,
    VERIFY_OPTION_COUNT
};

static const struct option_spec options[VERIFY_OPTION_COUNT] = {
    [VERIFY_FULL] = {"full", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                     "compare every value of every row: reads both sides whole, and sorts each table at the source"},
    [VERIFY_SHOW_VALUES] = {"show-values", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                            "show the values of rows that differ, not only their keys and columns"},
    [VERIFY_LIMIT] = {"limit", NULL, OPTION_NUMBER, "N", "20", 0, 1000000, NULL,
                      "how many of the differing rows of a table are shown"},
    [VERIFY_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines, at the end"},
    [VERIFY_OUTSIDE_WINDOWS] = {"outside-merge-windows", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                                "compare although the pipeline's merge_windows are closed: it wakes the warehouse"},
    [VERIFY_TIMEOUT] = {"timeout", NULL, OPTION_NUMBER, "SECONDS", "600", 1, 86400, NULL,
                        "how long to wait until the running pipeline has merged up to the position"},
    [VERIFY_LEASE] = {"lease-seconds", NULL, OPTION_NUMBER, "SECONDS", "120", 5, 3600, NULL,
                      "after how long merging goes on by itself if this command dies; it renews the lease three times "
                      "as often, which the service hears of at its poll interval"},
    [VERIFY_FROM] = {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                     "the source, as for run: of a pipeline that runs by run --from --to"},
    [VERIFY_TO] = {"to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL, "the destination, as for run"},
    [VERIFY_NAME] = {"name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "with --from and --to: as for run"},
    [VERIFY_STATE] = COMMAND_STATE_OPTION,
    [VERIFY_ASK_PASSWORD] = ENDPOINTS_ASK_PASSWORD_OPTION,
};

struct verifying {
    const struct option_value *values;
    struct endpoints endpoints;
    struct pipeline_settings settings;
    const struct catalog_object *destination;  // of the catalog; NULL: of --to
    bool is_paused;
    const char *const *names;
    size_t name_count;
};

static bool check_windows(const struct verifying *verifying, struct err *out_error)
{
    struct day_windows windows = {0};
    const char *text = verifying->settings.merge_windows;
    if (text == NULL || verifying->values[VERIFY_OUTSIDE_WINDOWS].flag)
        return true;
    if (!day_windows_parse(text, "merge_windows", &windows, out_error))
        return false;
    return day_windows_is_open(&windows, clock_system.wall_us(clock_system.context)) ||
           err_set(out_error, ERR_CONFIG, "merge_windows",
                   "pipeline %s may wake no warehouse now (merge_windows = %s), and comparing needs one; give the "
                   "command again then, or with --outside-merge-windows",
                   verifying->endpoints.name, text);
}

// What can be known before anything is asked of the running pipeline.
static bool check_pipeline(const struct verifying *verifying, struct catalog *catalog, struct err *out_error)
{
    struct catalog_known known = {0};
    const char *pipeline = verifying->endpoints.name;
    bool is_good = catalog_load(catalog, pipeline, &known, out_error);
    if (is_good && !known.is_found)
        is_good = err_set(out_error, ERR_CONFIG, "unknown",
                          "%s knows no pipeline %s that was ever started; etl-stream status lists them",
                          catalog_text(catalog), pipeline);
    is_good = is_good && control_check_tables(&known, pipeline, verifying->names, verifying->name_count, out_error);
    catalog_known_deinit(&known);
    if (is_good && verifying->is_paused)
        return err_set(out_error, ERR_TRANSIENT, "not_running",
                       "pipeline %s is paused, and only a running pipeline can merge up to the position that is "
                       "compared; start it first: etl-stream pipeline start %s",
                       pipeline, pipeline);
    if (is_good && !catalog_is_claimed(catalog, pipeline))
        is_good = err_set(out_error, ERR_TRANSIENT, "not_running",
                          "pipeline %s does not run, and only a running pipeline can merge up to the position that is "
                          "compared; start it first: %s",
                          pipeline,
                          verifying->destination == NULL ? "etl-stream run --from URL --to URL"
                                                         : "etl-stream run (the service), etl-stream pipeline start");
    return is_good;
}

static bool load_key(const struct verifying *verifying, struct sf_key **out_key, struct err *out_error)
{
    struct key_ring *ring = key_ring_new();
    bool is_loaded = configure_key(ring, verifying->destination, &verifying->endpoints.destination, out_key, out_error);
    key_ring_free(ring);
    return is_loaded;
}

static int exit_code_of(const struct verifying *verifying, const struct verify_report *report)
{
    bool is_named = verifying->name_count > 0;
    if (report->different > 0 || report->failed > 0 || report->equal == 0 || (is_named && report->not_compared > 0))
        return EXIT_FAILED;
    return EXIT_DONE;
}

static int verify_with(const struct verifying *verifying, struct catalog *catalog, struct sf_key *take_key)
{
    struct err error = {0};
    const struct option_value *values = verifying->values;
    const struct pipeline_settings *settings = &verifying->settings;
    struct verify_report report = {.is_json = values[VERIFY_JSON].flag,
                                   .shows_values = values[VERIFY_SHOW_VALUES].flag,
                                   .shows_progress = isatty(STDERR_FILENO) == 1,
                                   .rows_max = (uint32_t)values[VERIFY_LIMIT].number};
    const struct verify_options verify_options = {
        .source = &verifying->endpoints.source,
        .source_text = verifying->endpoints.source_text,
        .publication = verifying->endpoints.publication,
        .tables = settings->tables,
        .snowflake = &verifying->endpoints.destination.snowflake,
        .take_key = take_key,
        .naming = {.target = (enum sf_target_naming)settings->target_naming,
                   .preserves_case = settings->identifier_case == IDENTIFIER_CASE_PRESERVE},
        .pipeline = verifying->endpoints.name,
        .catalog = catalog,
        .names = verifying->names,
        .name_count = verifying->name_count,
        .is_full = values[VERIFY_FULL].flag,
        .may_wake = values[VERIFY_OUTSIDE_WINDOWS].flag,
        .lease_ms = (uint32_t)values[VERIFY_LEASE].number * 1000,
        .patience_ms = (uint32_t)values[VERIFY_TIMEOUT].number * 1000};
    verify_report_init(&report, verifying->endpoints.name);
    const struct verify_events events = verify_report_events(&report);
    bool is_done = verify_run(&verify_options, &events, &error);
    verify_report_end(&report, is_done ? NULL : &error);
    int exit_code = is_done ? exit_code_of(verifying, &report) : command_fail(&error, EXIT_FAILED);
    verify_report_deinit(&report);
    return exit_code;
}

static int verify(const struct verifying *verifying)
{
    struct err error = {0};
    struct sf_key *key = NULL;
    if (verifying->endpoints.destination.kind != DESTINATION_SNOWFLAKE) {
        err_set(&error, ERR_CONFIG, "destination",
                "only a Snowflake destination can be compared, and pipeline %s leads to %s", verifying->endpoints.name,
                verifying->endpoints.destination.text);
        return command_fail(&error, EXIT_USAGE);
    }
    if (!check_windows(verifying, &error))
        return command_fail_kind(&error);
    struct catalog *catalog = command_catalog_open(&verifying->values[VERIFY_STATE], CATALOG_EDITOR, &error);
    if (catalog == NULL)
        return command_fail_kind(&error);
    int exit_code = EXIT_FAILED;
    if (check_pipeline(verifying, catalog, &error) && load_key(verifying, &key, &error))
        exit_code = verify_with(verifying, catalog, key);
    else
        exit_code = command_fail_kind(&error);
    catalog_close(catalog);
    return exit_code;
}

static bool read_urls(const struct option_value *values, struct verifying *verifying, struct err *out_error)
{
    if (!endpoints_read(values[VERIFY_FROM].text, values[VERIFY_TO].text, values[VERIFY_NAME].text,
                        &verifying->endpoints, out_error))
        return false;
    pipeline_settings_from_options(values + VERIFY_OPTION_COUNT, &verifying->settings);
    if (pipeline_settings_check(&verifying->settings, out_error))
        return true;
    pipeline_settings_deinit(&verifying->settings);
    endpoints_deinit(&verifying->endpoints);
    return false;
}

static bool read_catalog(const char *name, const struct objects *objects, struct verifying *verifying,
                         struct err *out_error)
{
    const struct catalog_object *pipeline = catalog_config_find(objects->config, CATALOG_PIPELINE, name);
    if (pipeline == NULL)
        return catalog_config_fail_missing(objects->config, CATALOG_PIPELINE, name, out_error);
    verifying->is_paused = !pipeline->is_wanted;
    verifying->destination = catalog_config_find(objects->config, CATALOG_DESTINATION, pipeline->destination);
    return endpoints_from_catalog(objects->config, pipeline, &verifying->endpoints, &verifying->settings, out_error);
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct verifying verifying = {.values = values};
    struct objects objects = {.catalog = NULL};
    struct err error = {0};
    const char *operands[OPERANDS_MAX];
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, operands, OPERANDS_MAX, &operand_count, &exit_code))
        return exit_code;
    bool has_urls = values[VERIFY_FROM].text != NULL && values[VERIFY_TO].text != NULL;
    bool has_one_url = !has_urls && (values[VERIFY_FROM].text != NULL || values[VERIFY_TO].text != NULL);
    if (has_one_url || (!has_urls && operand_count == 0)) {
        err_set(&error, ERR_CONFIG, "usage",
                "verify needs the NAME of a pipeline, or both --from URL and --to URL of one that runs by run --from "
                "--to; etl-stream help verify shows how");
        return command_fail(&error, EXIT_USAGE);
    }
    verifying.names = operands + !has_urls;
    verifying.name_count = operand_count - !has_urls;
    // Before anything uses OpenSSL, which a catalog in PostgreSQL does.
    if (!sf_key_process_init(&error))
        return command_fail_kind(&error);
    if (!has_urls && !objects_open(&objects, &values[VERIFY_STATE], false, &exit_code))
        return exit_code;
    bool is_good =
        has_urls ? read_urls(values, &verifying, &error) : read_catalog(operands[0], &objects, &verifying, &error);
    endpoints_hide_passwords(count, arguments);
    if (is_good && has_urls) {
        endpoints_warn(&verifying.endpoints);
        is_good = endpoints_ask_password(&values[VERIFY_ASK_PASSWORD], &verifying.endpoints, &error);
        if (!is_good) {
            pipeline_settings_deinit(&verifying.settings);
            endpoints_deinit(&verifying.endpoints);
        }
    }
    if (is_good) {
        exit_code = verify(&verifying);
        pipeline_settings_deinit(&verifying.settings);
        endpoints_deinit(&verifying.endpoints);
    } else {
        exit_code = command_fail_kind(&error);
    }
    objects_close(&objects);
    return exit_code;
}

const struct command command_verify = {
    .name = "verify",
    .summary = "compare source and target at one position while writes go on",
    .usage = "verify NAME [TABLE…] [OPTION…] | verify --from URL --to URL [TABLE…] [OPTION…]",
    .details =
        "All tables of a running pipeline, or those named (SCHEMA.TABLE or TABLE). A snapshot of the source is taken, "
        "the\n"
        "pipeline merges exactly what is in it and stays there, while rows go on to land; then both sides compute "
        "digests of\n"
        "ranges of rows. Where two differ, their rows are compared and the keys of those that differ are shown.\n"
        "Merging goes on when the command ends, also if it is killed.\n\n"
        "Exit code 0: equal. 1: something differs, or could not be compared; a table that is not live (copying, "
        "parked)\n"
        "counts as such only if it was named. 2: wrong usage or configuration.\n\n"
        "Examples:\n  etl-stream verify shop\n  etl-stream verify shop public.orders --full --json\n",
    .options = options,
    .option_count = VERIFY_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = run,
};
