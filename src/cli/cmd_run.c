#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/trap.h"
#include "catalog/catalog.h"
#include "catalog/requests.h"
#include "cli/api_token.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/endpoints.h"
#include "http/http.h"
#include "io/board.h"
#include "monitor/settings.h"
#include "supervisor/service.h"
#include "supervisor/signals.h"
#include "supervisor/supervisor.h"
#include "supervisor/watching.h"

#define STOP_DEADLINE_MS 20000

#define WAL_MB_MAX 1000000000

enum {
    RUN_FROM,
    RUN_TO,
    RUN_NAME,
    RUN_STATE,
    RUN_MEMORY,
    RUN_POLL_INTERVAL,
    RUN_WORKERS,
    RUN_METRICS_ADDRESS,
    RUN_HEALTH_ADDRESS,
    RUN_TOKEN_FILE,
    RUN_WAL_POLL_INTERVAL,
    RUN_WAL_WARNING,
    RUN_WAL_DANGER,
    RUN_WAL_CHECKS,
    RUN_WAL_CONNECTIONS,
    RUN_ALERT_URL,
    RUN_ALERT_CA_FILE,
    RUN_ALERT_AFTER,
    RUN_SLOT_WARNING,
    RUN_SLOT_DANGER,
    RUN_SLOT_SAFE,
    RUN_SLOT_INACTIVE,
    RUN_STUCK,
    RUN_ASK_PASSWORD,
    RUN_OPTION_COUNT
};

static const struct option_spec options[RUN_OPTION_COUNT] = {
    [RUN_FROM] =
        {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
         "the source: postgres://USER@HOST:PORT/DATABASE?publication=NAME[&slot=NAME][&sslmode=…][&sslrootcert=…];\n"
         "the password comes from PGPASSWORD or the password file, not from the command line"},
    [RUN_ASK_PASSWORD] = ENDPOINTS_ASK_PASSWORD_OPTION,
    [RUN_TO] = {"to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                "the destination: snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&key_file=PATH[&role=NAME]\n"
                "[&landing_schema=NAME][&key_env=VARIABLE][&passphrase_env=VARIABLE][&host=HOST:PORT][&ca_file=PATH]\n"
                "[&numeric_unbounded=number|varchar|float][&oversized=null|truncate|fail],\n"
                "or file:DIRECTORY[?rotate_mb=N&rotate_seconds=N] for NDJSON files,\n"
                "or https://HOST/PATH[?compression=none|gzip|zstd&token_env=VARIABLE&ca_file=PATH&http_timeout_ms=N&\n"
                "http_retry_attempts=N] for NDJSON posted to a service"},
    [RUN_NAME] = {"name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL,
                  "the pipeline's name; made of database and publication when not given"},
    [RUN_STATE] = COMMAND_STATE_OPTION,
    [RUN_MEMORY] =
        {"memory-mb", "ETL_MEMORY_MB", OPTION_NUMBER, "MB", "32", 8, 65536, NULL,
         "what rows on their way may hold, in each pipeline; when it is full, reading from PostgreSQL waits"},
    [RUN_POLL_INTERVAL] =
        {"poll-interval-seconds", "PIPELINE_POLL_INTERVAL_SECS", OPTION_NUMBER, "N", "5", 1, 3600, NULL,
         "how often the catalog is looked at for changes, and publications for tables that come and go"},
    [RUN_WORKERS] = {"workers", "ETL_WORKERS", OPTION_NUMBER, "N", "0", 0, 256, NULL,
                     "threads that run the service's pipelines; 0: one a core"},
    [RUN_METRICS_ADDRESS] = {"metrics-addr", "METRICS_ADDR", OPTION_TEXT, "HOST:PORT", "[::]:9000", 0, 0, NULL,
                             "where Prometheus finds /metrics; [::] is every address, IPv4 too, and off is none. With "
                             "--from and --to nothing\n"
                             "listens unless this is given"},
    [RUN_HEALTH_ADDRESS] =
        {"health-addr", "HEALTH_ADDR", OPTION_TEXT, "HOST:PORT", "[::]:8080", 0, 0, NULL,
         "where probes find /health, /ready and /liveness, people the page at /, and programs /api/v1; likewise"},
    [RUN_TOKEN_FILE] =
        {"api-token-file", "ETL_API_TOKEN_FILE", OPTION_TEXT, "PATH", NULL, 0, 0, NULL,
         "a file with the token that the page and the API ask for: of readers from elsewhere, and for every change. "
         "The\n"
         "token may be in the variable ETL_API_TOKEN instead, or in the systemd credential etl_api_token"},
    [RUN_WAL_POLL_INTERVAL] = {"wal-poll-interval-seconds", "WAL_POLL_INTERVAL_SECS", OPTION_NUMBER, "N", "60", 10,
                               86400, NULL,
                               "how often the WAL monitor looks at each source. With --from and --to it watches when "
                               "this or any of the\noptions below is given"},
    [RUN_WAL_WARNING] = {"wal-warning-mb", "WARNING_WAL", OPTION_NUMBER, "MB", "3000", 1, WAL_MB_MAX, NULL,
                         "size of a source's pg_wal from which on a warning is sent"},
    [RUN_WAL_DANGER] = {"wal-danger-mb", "DANGER_WAL", OPTION_NUMBER, "MB", "6000", 1, WAL_MB_MAX, NULL,
                        "size from which on it is a danger; greater than the warning's"},
    [RUN_WAL_CHECKS] = {"wal-max-concurrent-checks", "WAL_MAX_CONCURRENT_CHECKS", OPTION_NUMBER, "N", "20", 1, 10000,
                        NULL, "sources that are looked at at a time"},
    [RUN_WAL_CONNECTIONS] = {"wal-max-connection-pools", "WAL_MAX_CONNECTION_POOLS", OPTION_NUMBER, "N", "50", 1, 10000,
                             NULL,
                             "monitoring connections that are kept open at a time, at most one a source;\n"
                             "the least recently used is closed first"},
    [RUN_ALERT_URL] = {"alert-url", "ALERT_WAL_URL", OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                       "where alerts are posted, http or https; without it they are logged and shown only"},
    [RUN_ALERT_CA_FILE] = {"alert-ca-file", "ETL_ALERT_CA_FILE", OPTION_TEXT, "PATH", NULL, 0, 0, NULL,
                           "certificates that the receiver of alerts is checked by; the system's when not given"},
    [RUN_ALERT_AFTER] = {"alert-after-minutes", "TIME_CHECK_NOTIFICATION", OPTION_NUMBER, "N", "10", 1, 1440, NULL,
                         "how long a level lasts before an alert is sent"},
    [RUN_SLOT_WARNING] = {"slot-warning-mb", "ETL_SLOT_WARNING_MB", OPTION_NUMBER, "MB", "3000", 0, WAL_MB_MAX, NULL,
                          "WAL that a pipeline's slot keeps from which on a warning is sent;\n0: never"},
    [RUN_SLOT_DANGER] = {"slot-danger-mb", "ETL_SLOT_DANGER_MB", OPTION_NUMBER, "MB", "6000", 0, WAL_MB_MAX, NULL,
                         "the same for danger; 0: never"},
    [RUN_SLOT_SAFE] =
        {"slot-safe-mb", "ETL_SLOT_SAFE_MB", OPTION_NUMBER, "MB", "1024", 0, WAL_MB_MAX, NULL,
         "an alert is sent when the source may write less than this until it gives a slot up (safe_wal_size), or less\n"
         "than a fifth of max_slot_wal_keep_size where that is less; 0: never"},
    [RUN_SLOT_INACTIVE] = {"slot-inactive-minutes", "ETL_SLOT_INACTIVE_MINUTES", OPTION_NUMBER, "N", "60", 0, 525600,
                           NULL,
                           "an alert is sent when nobody has read a pipeline's slot for so long, paused or not; 0: "
                           "never"},
    [RUN_STUCK] = {"stuck-minutes", "ETL_STUCK_MINUTES", OPTION_NUMBER, "N", "15", 0, 1440, NULL,
                   "an alert is sent when a pipeline has failed, or has got no further, for so long; 0: never"},
};

struct run {
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct pipeline_settings settings;
    struct endpoints endpoints;
    struct plan *plan;
    struct catalog *catalog;
    struct board *board;  // what runs is published here
    struct http *http;    // NULL: nothing listens
    struct monitor_settings monitor;
    struct watching watching;  // of run --from --to, where it is asked for
    bool is_state_new;         // the file was made by this run
};

// *out_http NULL: nothing listens.
static bool listen_open(const struct option_value *values, struct http **out_http, struct err *out_error)
{
    struct http_token token = {0};
    bool is_one = values[RUN_FROM].text != NULL;
    const struct option_value *metrics = &values[RUN_METRICS_ADDRESS], *health = &values[RUN_HEALTH_ADDRESS];
    // One pipeline, or several on one machine, run for a person: a port of their own nobody asked for.
    const struct http_options http = {
        .metrics_address = is_one && metrics->text == options[RUN_METRICS_ADDRESS].default_value ? NULL : metrics->text,
        .health_address = is_one && health->text == options[RUN_HEALTH_ADDRESS].default_value ? NULL : health->text,
        .metrics_origin = metrics->is_given ? "--metrics-addr" : options[RUN_METRICS_ADDRESS].variable,
        .health_origin = health->is_given ? "--health-addr" : options[RUN_HEALTH_ADDRESS].variable,
        .token = &token};
    if (!api_token_read(values[RUN_TOKEN_FILE].text, &token, out_error))
        return false;
    *out_http = http_open(&http, out_error);
    return *out_http != NULL || !err_is_set(out_error);
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

// Claims the pipeline, then reads what is known: nobody else changes it from here on.
static bool plan_claim(struct plan *plan, struct catalog *catalog, struct err *out_error)
{
    struct catalog_request *claim = catalog_request_new(CATALOG_ASK_CLAIM, plan->name);
    struct catalog_request *known = catalog_request_new(CATALOG_ASK_KNOWN, plan->name);
    bool is_claimed = catalog_ask_and_wait(catalog, claim, out_error);
    bool is_known = is_claimed && catalog_ask_and_wait(catalog, known, out_error);
    plan->pipeline.claim = claim->claim;
    if (is_known) {
        plan->known = known->known;
        memset(&known->known, 0, sizeof known->known);
    }
    catalog_request_free(claim);
    catalog_request_free(known);
    return is_known;
}

static bool monitor_settings_read(const struct option_value *values, struct monitor_settings *out_settings,
                                  struct err *out_error)
{
    // Tests cannot wait for minutes: a hundredth of a second for each second there.
    bool is_hurried = trap_is_set("monitor_seconds");
    *out_settings = (struct monitor_settings){.second_us = is_hurried ? 10000 : 1000000,
                                              .check_timeout_ms = 10000,
                                              .poll_interval_s = (uint32_t)values[RUN_WAL_POLL_INTERVAL].number,
                                              .checks_max = (uint32_t)values[RUN_WAL_CHECKS].number,
                                              .connections_max = (uint32_t)values[RUN_WAL_CONNECTIONS].number,
                                              .wal_warning_mb = (uint32_t)values[RUN_WAL_WARNING].number,
                                              .wal_danger_mb = (uint32_t)values[RUN_WAL_DANGER].number,
                                              .notify_after_min = (uint32_t)values[RUN_ALERT_AFTER].number,
                                              .alert_url = values[RUN_ALERT_URL].text,
                                              .alert_ca_file = values[RUN_ALERT_CA_FILE].text,
                                              .slot_warning_mb = (uint32_t)values[RUN_SLOT_WARNING].number,
                                              .slot_danger_mb = (uint32_t)values[RUN_SLOT_DANGER].number,
                                              .slot_safe_mb = (uint32_t)values[RUN_SLOT_SAFE].number,
                                              .slot_inactive_min = (uint32_t)values[RUN_SLOT_INACTIVE].number,
                                              .stuck_min = (uint32_t)values[RUN_STUCK].number};
    return monitor_settings_check(out_settings, out_error);
}

// One pipeline that runs for a person is watched when any of the options that say how is given, here or in the environment.
static bool is_watching_asked(const struct option_value *values)
{
    for (int i = RUN_WAL_POLL_INTERVAL; i <= RUN_STUCK; i++)
        if (values[i].text != options[i].default_value)
            return true;
    return false;
}

static bool watching_start(struct run *run, struct err *out_error)
{
    const struct plan *plan = run->plan;
    if (!is_watching_asked(run->values))
        return true;
    if (!watching_open(&run->watching, &run->monitor, run->board, run->catalog, plan->name, out_error))
        return false;
    watching_apply_one(&run->watching, plan->name, plan->slot, &plan->source);
    return true;
}

static bool run_prepare(struct run *run, struct err *out_error)
{
    struct plan *plan = run->plan = plan_new();
    run->board = board_new(&clock_system);
    signals_block();
    if (!sf_key_process_init(out_error) || !listen_open(run->values, &run->http, out_error) ||
        !plan_set_ends(plan, &run->endpoints, out_error))
        return false;
    plan_set_settings(plan, &run->settings);
    plan->pipeline.stop_deadline_ms = STOP_DEADLINE_MS;
    plan->pipeline.look_interval_ms = (uint32_t)run->values[RUN_POLL_INTERVAL].number * 1000;
    plan->pipeline.is_attended = true;
    plan->memory_bytes = (size_t)run->values[RUN_MEMORY].number << 20;
    plan->shows_progress = isatty(STDERR_FILENO) == 1;
    run->is_state_new = access(run->values[RUN_STATE].text, F_OK) != 0;
    run->catalog = command_catalog_open(&run->values[RUN_STATE], CATALOG_SERVICE, out_error);
    if (run->catalog == NULL || !catalog_start(run->catalog, out_error) || !plan_claim(plan, run->catalog, out_error))
        return false;
    plan->pipeline.catalog = run->catalog;
    plan->pipeline.board = run->board;
    plan_finish(plan);
    return watching_start(run, out_error) && http_start(run->http, run->board, run->catalog, out_error);
}

static bool is_config_empty(struct catalog *catalog)
{
    struct catalog_config *config = NULL;
    struct err ignored = {0};
    bool is_empty = catalog_config_read(catalog, &config, &ignored) &&
                    config->counts[CATALOG_SOURCE] + config->counts[CATALOG_DESTINATION] == 0;
    catalog_config_free(config);
    return is_empty;
}

// A start that failed before anything was kept leaves no file behind.
static void state_remove_if_unused(const struct run *run)
{
    struct err ignored = {0};
    struct catalog_known known = {.is_found = true};
    struct catalog *catalog = command_catalog_open(&run->values[RUN_STATE], CATALOG_SERVICE, &ignored);
    bool is_unused = catalog != NULL && !catalog_is_postgres(catalog) && is_config_empty(catalog) &&
                     catalog_load(catalog, run->endpoints.name, &known, &ignored) && !known.is_found;
    catalog_known_deinit(&known);
    catalog_close(catalog);
    if (is_unused)
        unlink(run->values[RUN_STATE].text);
}

static void run_close(struct run *run, bool has_failed)
{
    bool was_open = run->catalog != NULL;
    watching_stop(&run->watching);
    catalog_close(run->catalog);
    watching_close(&run->watching);
    if (has_failed && was_open && run->is_state_new)
        state_remove_if_unused(run);
    http_free(run->http);
    plan_free(run->plan);
    board_free(run->board);
    endpoints_deinit(&run->endpoints);
    pipeline_settings_deinit(&run->settings);
}

static int run_service(struct run *run)
{
    struct err error = {0};
    struct plan *plan = run->plan;
    run->plan = NULL;
    enum supervisor_outcome outcome = supervisor_run(plan, &error);
    if (outcome == SUPERVISOR_INTERRUPTED)
        _exit(EXIT_INTERRUPTED);  // the worker still runs; what it did is safe at any instant
    http_stop(run->http);
    run_close(run, outcome == SUPERVISOR_FAILED);
    if (outcome == SUPERVISOR_FAILED)
        return command_fail(&error, error.kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    return EXIT_DONE;
}

static bool on_started(void *context, struct err *out_error)
{
    const struct run *run = context;
    return http_start(run->http, run->board, run->catalog, out_error);
}

static void on_closing(void *context)
{
    const struct run *run = context;
    http_stop(run->http);
}

// Every pipeline of the catalog, until a signal.
static int run_all(struct run *run)
{
    struct err error = {0};
    signals_block();
    if (sf_key_process_init(&error) && listen_open(run->values, &run->http, &error))
        run->catalog = command_catalog_open(&run->values[RUN_STATE], CATALOG_SERVICE, &error);
    if (run->catalog == NULL) {
        http_free(run->http);
        return command_fail(&error, error.kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    }
    log_line(LOG_INFO, NULL, "starting", "etl-stream " ETL_VERSION ": pipelines of %s", catalog_text(run->catalog));
    run->board = board_new(&clock_system);
    const struct service_options service = {.catalog = run->catalog,
                                            .board = run->board,
                                            .on_started = on_started,
                                            .on_closing = on_closing,
                                            .context = run,
                                            .monitor = &run->monitor,
                                            .poll_interval_s = (uint32_t)run->values[RUN_POLL_INTERVAL].number,
                                            .worker_count = (uint32_t)run->values[RUN_WORKERS].number,
                                            .memory_bytes = (size_t)run->values[RUN_MEMORY].number << 20,
                                            .stop_deadline_ms = STOP_DEADLINE_MS,
                                            .shows_progress = isatty(STDERR_FILENO) == 1};
    enum supervisor_outcome outcome = service_run(&service, &error);
    if (outcome == SUPERVISOR_INTERRUPTED)
        _exit(EXIT_INTERRUPTED);
    http_free(run->http);
    board_free(run->board);
    if (outcome == SUPERVISOR_FAILED)
        return command_fail(&error, error.kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    return EXIT_DONE;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct run state = {0};
    struct err error = {0};
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, state.values, NULL, 0, &operand_count, &exit_code))
        return exit_code;
    if (!monitor_settings_read(state.values, &state.monitor, &error))
        return command_fail(&error, EXIT_USAGE);
    if (state.values[RUN_FROM].text == NULL && state.values[RUN_TO].text == NULL)
        return run_all(&state);
    if (state.values[RUN_FROM].text == NULL || state.values[RUN_TO].text == NULL) {
        err_set(
            &error, ERR_CONFIG, "usage",
            "run needs both --from URL and --to URL, or none of them to run the catalog's pipelines; etl-stream help "
            "run shows how");
        return command_fail(&error, EXIT_USAGE);
    }
    if (!endpoints_read(state.values[RUN_FROM].text, state.values[RUN_TO].text, state.values[RUN_NAME].text,
                        &state.endpoints, &error))
        return command_fail(&error, EXIT_USAGE);
    endpoints_hide_passwords(count, arguments);
    if (state.endpoints.has_password_in_url)
        log_line(LOG_WARNING, NULL, "password_on_command_line", ENDPOINTS_PASSWORD_WARNING);
    if (!endpoints_ask_password(&state.values[RUN_ASK_PASSWORD], &state.endpoints, &error)) {
        endpoints_deinit(&state.endpoints);
        return command_fail(&error, EXIT_USAGE);
    }
    pipeline_settings_from_options(state.values + RUN_OPTION_COUNT, &state.settings);
    if (!pipeline_settings_check(&state.settings, &error)) {
        run_close(&state, true);
        return command_fail(&error, EXIT_USAGE);
    }
    if (state.settings.slot != NULL && !endpoints_set_slot(&state.endpoints, state.settings.slot, &error)) {
        run_close(&state, true);
        return command_fail(&error, EXIT_USAGE);
    }
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
    .usage = "run [--from URL --to URL] [OPTION…]",
    .details =
        "With --from and --to it runs one pipeline with nothing else set up. Without them it is the service: it runs "
        "every\n"
        "pipeline of the catalog that is started, and follows what is changed there (etl-stream pipeline, or SQL).\n\n"
        "Runs until it is told to stop (SIGTERM, Ctrl-C): it then finishes what is in flight and exits with 0.\n"
        "A second Ctrl-C ends it at once; nothing is lost either way.\n\n"
        "Example:\n"
        "  etl-stream run --from 'postgres://etl@db.example.com/shop?publication=etl' \\\n"
        "    --to "
        "'snowflake://ETL@MYORG-ACCOUNT/SHOP/PUBLIC?warehouse=ETL_WH&role=ETL&key_file=/etc/etl-stream/key.p8'\n",
    .options = options,
    .option_count = RUN_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = run,
};
