#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/endpoints.h"
#include "cli/objects.h"
#include "io/http_client.h"
#include "io/resolver.h"
#include "pipeline/inspect.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"

#define CHECK_BUDGET_BYTES (1U << 20)

enum { CHECK_FROM, CHECK_TO, CHECK_NAME, CHECK_STATE, CHECK_OPTION_COUNT };

static const struct option_spec options[CHECK_OPTION_COUNT] = {
    [CHECK_FROM] = {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL, "the source, as for run"},
    [CHECK_TO] = {"to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                  "the destination, as for run; without it only the source is looked at"},
    [CHECK_NAME] = {"name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "the pipeline's name, as for run"},
    [CHECK_STATE] = COMMAND_STATE_OPTION,
};

struct checker {
    struct loop *loop;
    struct resolver *resolver;
    struct http_client *http;
    struct sf_auth *auth;
    struct zstd_worker *zstd;
    struct endpoints *endpoints;
    const struct pipeline_settings *settings;
    const struct catalog_object *destination;  // of the catalog, which may hold the key's passphrase; NULL: of --to
    bool is_coloured;
    bool is_destination_usable;
    unsigned error_count, warning_count;
};

static void print(const struct checker *checker, const char *colour, const char *word, const char *text)
{
    if (checker->is_coloured)
        printf("\033[%sm%-7s\033[0m %s\n", colour, word, text);
    else
        printf("%-7s %s\n", word, text);
}

static void on_finding(void *context, enum judge_severity severity, const struct err *finding)
{
    struct checker *checker = context;
    if (severity == JUDGE_ERROR) {
        checker->error_count++;
        print(checker, "31", "missing", finding->text);
    } else {
        checker->warning_count++;
        print(checker, "33", "warning", finding->text);
    }
}

static void on_good(void *context, const char *text)
{
    print(context, "32", "ok", text);
}

static void on_done(void *context)
{
    struct checker *checker = context;
    loop_stop(checker->loop);
}

static struct sink *sink_new(void *context, const char *identity, const struct sink_events *events,
                             struct err *out_error)
{
    struct checker *checker = context;
    const struct destination_tools tools = {
        .loop = checker->loop, .http = checker->http, .zstd = checker->zstd, .auth = checker->auth};
    const struct destination_sink_options sink_options = {.pipeline = checker->endpoints->name,
                                                          .identity = identity,
                                                          .budget_bytes = CHECK_BUDGET_BYTES,
                                                          .target_naming = checker->settings->target_naming,
                                                          .identifier_case = checker->settings->identifier_case,
                                                          .existing_tables = checker->settings->existing_tables,
                                                          .soft_deletes = checker->settings->soft_deletes,
                                                          .batch_rows_max = 1,
                                                          .batch_fill_ms_max = 1,
                                                          .channels_per_table = 1};
    return destination_sink_new(&checker->endpoints->destination, &tools, &sink_options, events, out_error);
}

static bool open_all(struct checker *checker, struct err *out_error)
{
    // Before anything uses OpenSSL: the memory for secrets is set up first.
    if (checker->endpoints->has_destination && !sf_key_process_init(out_error))
        return false;
    checker->loop = loop_new(&clock_system, out_error);
    if (checker->loop == NULL)
        return false;
    checker->resolver = resolver_new(checker->loop, out_error);
    checker->http = http_client_new(checker->loop, out_error);
    checker->zstd = zstd_worker_new(1);
    return checker->resolver != NULL && checker->http != NULL && checker->zstd != NULL;
}

// Without a key only the source is looked at: everything that is missing is told at once.
static void open_destination(struct checker *checker)
{
    struct err error = {0};
    const struct destination *destination = &checker->endpoints->destination;
    checker->is_destination_usable = checker->endpoints->has_destination;
    if (!checker->endpoints->has_destination || !destination_wants_key(destination))
        return;
    struct key_ring *ring = key_ring_new();
    struct sf_key *key = NULL;
    (void)configure_key(ring, checker->destination, destination, &key, &error);
    key_ring_free(ring);
    checker->is_destination_usable = key != NULL;
    if (key == NULL)
        on_finding(checker, JUDGE_ERROR, &error);
    else
        checker->auth = sf_auth_new(checker->loop, checker->http, &destination->snowflake, key);
}

static void close_all(struct checker *checker)
{
    if (checker->auth != NULL)
        sf_auth_free(checker->auth);
    if (checker->http != NULL)
        http_client_free(checker->http);
    if (checker->resolver != NULL)
        resolver_free(checker->resolver);
    if (checker->zstd != NULL)
        zstd_worker_free(checker->zstd);
    if (checker->loop != NULL)
        loop_free(checker->loop);
}

// A catalog that is not there yet is no fault: nothing was started.
static bool read_known(const struct option_value *state, const char *name, struct catalog_pipeline *out_known,
                       struct err *out_error)
{
    struct catalog_known known;
    struct catalog *catalog = command_catalog_open(state, CATALOG_READER, out_error);
    if (catalog == NULL)
        return false;
    bool is_found = catalog_load(catalog, name, &known, out_error) && known.is_found;
    *out_known = known.pipeline;
    catalog_known_deinit(&known);
    catalog_close(catalog);
    return is_found;
}

static int check(struct checker *checker, const struct option_value *state)
{
    struct err error = {0};
    struct catalog_pipeline known;
    bool is_open = open_all(checker, &error);
    bool is_known = is_open && read_known(state, checker->endpoints->name, &known, &error);
    if (is_open && err_is_set(&error) && strcmp(error.code, CATALOG_ERROR_NONE) != 0)
        on_finding(checker, JUDGE_ERROR, &error);
    if (!is_open) {
        on_finding(checker, JUDGE_ERROR, &error);
    } else {
        open_destination(checker);
        struct inspect_options inspect_options = {.slot = checker->endpoints->slot,
                                                  .publication = checker->endpoints->publication,
                                                  .tables = checker->settings->tables,
                                                  .source = &checker->endpoints->source,
                                                  .source_text = checker->endpoints->source_text,
                                                  .sink_new = checker->is_destination_usable ? sink_new : NULL,
                                                  .sink_context = checker,
                                                  .known = is_known ? &known : NULL};
        struct inspect_events events = {
            .on_finding = on_finding, .on_good = on_good, .on_done = on_done, .context = checker};
        struct inspect *inspect = inspect_new(checker->loop, checker->resolver, &inspect_options, &events);
        inspect_start(inspect);
        loop_run(checker->loop);
        inspect_free(inspect);
    }
    close_all(checker);
    printf("%u missing, %u warnings\n", checker->error_count, checker->warning_count);
    return checker->error_count > 0 ? EXIT_FAILED : EXIT_DONE;
}

static bool read_urls(const struct option_value *values, struct checker *checker, struct endpoints *endpoints,
                      struct pipeline_settings *settings, struct err *out_error)
{
    if (!endpoints_read(values[CHECK_FROM].text, values[CHECK_TO].text, values[CHECK_NAME].text, endpoints, out_error))
        return false;
    pipeline_settings_from_options(values + CHECK_OPTION_COUNT, settings);
    checker->destination = NULL;
    if (settings->slot == NULL || endpoints_set_slot(endpoints, settings->slot, out_error))
        return true;
    pipeline_settings_deinit(settings);
    endpoints_deinit(endpoints);
    return false;
}

static bool read_catalog(const char *name, const struct objects *objects, struct checker *checker,
                         struct endpoints *endpoints, struct pipeline_settings *settings, struct err *out_error)
{
    const struct catalog_object *pipeline = catalog_config_find(objects->config, CATALOG_PIPELINE, name);
    if (pipeline == NULL)
        return catalog_config_fail_missing(objects->config, CATALOG_PIPELINE, name, out_error);
    checker->destination = catalog_config_find(objects->config, CATALOG_DESTINATION, pipeline->destination);
    return endpoints_from_catalog(objects->config, pipeline, endpoints, settings, out_error);
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct endpoints endpoints;
    struct pipeline_settings settings;
    struct objects objects = {.catalog = NULL};
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    struct checker checker = {.endpoints = &endpoints,
                              .settings = &settings,
                              .is_coloured = isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == NULL};
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code))
        return exit_code;
    bool has_urls = values[CHECK_FROM].text != NULL;
    if (has_urls == (operand_count > 0)) {
        err_set(&error, ERR_CONFIG, "usage",
                "check needs the NAME of a pipeline, or --from URL, and --to URL to look at the destination as well");
        return command_fail(&error, EXIT_USAGE);
    }
    // Before anything uses OpenSSL, which a catalog in PostgreSQL does.
    if (!has_urls && (!sf_key_process_init(&error) || !objects_open(&objects, &values[CHECK_STATE], false, &exit_code)))
        return err_is_set(&error) ? command_fail_kind(&error) : exit_code;
    bool is_good = has_urls ? read_urls(values, &checker, &endpoints, &settings, &error)
                            : read_catalog(name, &objects, &checker, &endpoints, &settings, &error);
    endpoints_hide_passwords(count, arguments);
    if (is_good) {
        exit_code = check(&checker, &values[CHECK_STATE]);
        pipeline_settings_deinit(&settings);
        endpoints_deinit(&endpoints);
    } else {
        exit_code = command_fail_kind(&error);
    }
    objects_close(&objects);
    return exit_code;
}

const struct command command_check = {
    .name = "check",
    .summary = "look at both ends: what is missing, and the statement that mends it",
    .usage = "check NAME | --from URL [--to URL] [OPTION…]",
    .details = "Changes nothing. Exit code 0: nothing is missing; warnings tell what will hurt later.\n",
    .options = options,
    .option_count = CHECK_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = run,
};
