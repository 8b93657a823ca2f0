#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/endpoints.h"
#include "cli/findings.h"
#include "cli/objects.h"
#include "io/http_client.h"
#include "io/resolver.h"
#include "pipeline/inspect.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"

#define CHECK_BUDGET_BYTES (1U << 20)
#define TIMINGS_BYTES_MAX 4096

#define SHOWN_OF_A_KIND_MAX 5  // to people; errors are shown all

enum { CHECK_FROM, CHECK_TO, CHECK_NAME, CHECK_STATE, CHECK_JSON, CHECK_ASK_PASSWORD, CHECK_OPTION_COUNT };

static const struct option_spec options[CHECK_OPTION_COUNT] = {
    [CHECK_FROM] = {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL, "the source, as for run"},
    [CHECK_TO] = {"to", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL,
                  "the destination, as for run; without it only the source is looked at"},
    [CHECK_NAME] = {"name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL, "the pipeline's name, as for run"},
    [CHECK_STATE] = COMMAND_STATE_OPTION,
    [CHECK_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines"},
    [CHECK_ASK_PASSWORD] = ENDPOINTS_ASK_PASSWORD_OPTION,
};

// A finding that was told, kept until all are there.
struct kept_finding {
    enum finding_severity severity;
    size_t place;  // in the order of their telling
    char *code, *where, *what, *statement;
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
    bool is_coloured, is_json;
    bool is_destination_usable;
    struct kept_finding *findings;
    size_t finding_count;
    unsigned counts[FINDING_NOTE + 1];
    json_t *good, *timings;
    struct buf timings_text;
};

// --- what was found --------------------------------------------------------------------------------------------------

static char *copy(const char *text)
{
    char *made = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || made != NULL);
    return made;
}

static void on_finding(void *context, const struct finding *finding)
{
    struct checker *checker = context;
    size_t size = sizeof *checker->findings;
    checker->findings = reallocarray(checker->findings, checker->finding_count + 1, size);
    CHECK(checker->findings != NULL);
    checker->findings[checker->finding_count] = (struct kept_finding){.severity = finding->severity,
                                                                      .place = checker->finding_count,
                                                                      .code = copy(finding->error->code),
                                                                      .where = copy(finding->where),
                                                                      .what = copy(finding->what),
                                                                      .statement = copy(finding->statement)};
    checker->finding_count++;
    checker->counts[finding->severity]++;
}

static void tell_error(struct checker *checker, const char *code, const char *where, const struct err *error)
{
    const struct finding_teller teller = {on_finding, checker, where};
    struct err told = *error;
    (void)snprintf(told.code, sizeof told.code, "%s", code);
    finding_tell_error(&teller, FINDING_ERROR, &told);
}

static void on_good(void *context, const char *text)
{
    const struct checker *checker = context;
    json_array_append_new(checker->good, json_string(text));
}

static void on_timing(void *context, const char *name, uint64_t us)
{
    struct checker *checker = context;
    json_object_set_new(checker->timings, name, json_real((double)us / 1000));
    buf_appendf(&checker->timings_text, "%s", checker->timings_text.size > 0 ? ", " : "");
    for (const char *at = name; *at != '\0'; at++)
        buf_append_byte(&checker->timings_text, (uint8_t)(*at == '_' ? ' ' : *at));
    buf_appendf(&checker->timings_text, " %.1f ms", (double)us / 1000);
}

static int by_gravity(const void *left, const void *right)
{
    const struct kept_finding *a = left, *b = right;
    if (a->severity != b->severity)
        return a->severity < b->severity ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static void print_word(const struct checker *checker, const char *colour, const char *word, const char *text)
{
    if (checker->is_coloured)
        printf("\033[%sm%-7s\033[0m %s\n", colour, word, text);
    else
        printf("%-7s %s\n", word, text);
}

static void print_finding(const struct checker *checker, const struct kept_finding *finding)
{
    static const char *const words[] = {"missing", "warning", "note"}, *const colours[] = {"31", "33", "36"};
    const struct finding_kind *kind = finding_kind_find(finding->code);
    print_word(checker, colours[finding->severity], words[finding->severity], finding->what);
    printf("        where: %s\n        why:   %s\n", finding->where, kind->why);
    if (finding->statement != NULL)
        printf("        mend:  %s\n        as:    %s\n", finding->statement,
               kind->run_as != NULL ? kind->run_as : "somebody who may");
    printf("        see:   docs/check.md#%s\n", kind->code);
}

static void print_findings(const struct checker *checker)
{
    const json_t *text;
    size_t place;
    json_array_foreach(checker->good, place, text) print_word(checker, "32", "ok", json_string_value(text));
    if (checker->timings_text.size > 0) {
        struct buf line = checker->timings_text;
        printf("%-7s round trips: %.*s\n", "ok", (int)line.size, (const char *)line.data);
    }
    for (size_t i = 0; i < checker->finding_count; i++) {
        const struct kept_finding *finding = &checker->findings[i];
        size_t before = 0, after = 0;
        for (size_t k = 0; k < checker->finding_count; k++)
            if (strcmp(checker->findings[k].code, finding->code) == 0 &&
                checker->findings[k].severity == finding->severity)
                *(k < i ? &before : &after) += 1;
        if (finding->severity == FINDING_ERROR || before < SHOWN_OF_A_KIND_MAX)
            print_finding(checker, finding);
        else if (before == SHOWN_OF_A_KIND_MAX)
            printf("        … and %zu more of %s: --json shows all\n", after, finding->code);
    }
    printf("%u missing, %u warnings, %u notes\n", checker->counts[FINDING_ERROR], checker->counts[FINDING_WARNING],
           checker->counts[FINDING_NOTE]);
}

static json_t *finding_json(const struct kept_finding *finding)
{
    const struct finding_kind *kind = finding_kind_find(finding->code);
    json_t *json = json_object();
    char doc[96];
    (void)snprintf(doc, sizeof doc, "docs/check.md#%s", kind->code);
    json_object_set_new(json, "severity", json_string(finding_severity_name(finding->severity)));
    json_object_set_new(json, "code", json_string(finding->code));
    json_object_set_new(json, "where", json_string(finding->where));
    json_object_set_new(json, "what", json_string(finding->what));
    json_object_set_new(json, "why", json_string(kind->why));
    json_object_set_new(json, "statement", finding->statement != NULL ? json_string(finding->statement) : json_null());
    json_object_set_new(json, "run_as",
                        finding->statement != NULL && kind->run_as != NULL ? json_string(kind->run_as) : json_null());
    json_object_set_new(json, "doc", json_string(doc));
    return json;
}

static json_t *checker_json(const struct checker *checker)
{
    json_t *json = json_object(), *findings = json_array();
    CHECK(json != NULL && findings != NULL);
    for (size_t i = 0; i < checker->finding_count; i++)
        json_array_append_new(findings, finding_json(&checker->findings[i]));
    json_object_set_new(json, "name", json_string(checker->endpoints->name));
    json_object_set_new(json, "source", json_string(checker->endpoints->source_text));
    json_object_set_new(json, "destination",
                        checker->endpoints->has_destination ? json_string(checker->endpoints->destination.text)
                                                            : json_null());
    json_object_set_new(json, "is_good", json_boolean(checker->counts[FINDING_ERROR] == 0));
    json_object_set_new(json, "errors", json_integer(checker->counts[FINDING_ERROR]));
    json_object_set_new(json, "warnings", json_integer(checker->counts[FINDING_WARNING]));
    json_object_set_new(json, "notes", json_integer(checker->counts[FINDING_NOTE]));
    json_object_set(json, "good", checker->good);
    json_object_set(json, "round_trips_ms", checker->timings);
    json_object_set_new(json, "findings", findings);
    return json;
}

// --- looking ---------------------------------------------------------------------------------------------------------

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
        tell_error(checker, "key", destination->text, &error);
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

static void look(struct checker *checker, const struct catalog_pipeline *known)
{
    const struct endpoints *endpoints = checker->endpoints;
    open_destination(checker);
    struct inspect_options inspect_options = {.slot = endpoints->slot,
                                              .publication = endpoints->publication,
                                              .tables = checker->settings->tables,
                                              .source = &endpoints->source,
                                              .source_text = endpoints->source_text,
                                              .destination_text =
                                                  endpoints->has_destination ? endpoints->destination.text : NULL,
                                              .sink_new = checker->is_destination_usable ? sink_new : NULL,
                                              .sink_context = checker,
                                              .known = known,
                                              .decoding_work_mem_kb = checker->settings->decoding_work_mem_kb,
                                              .workers = checker->settings->max_table_sync_workers};
    struct inspect_events events = {
        .on_finding = on_finding, .on_good = on_good, .on_timing = on_timing, .on_done = on_done, .context = checker};
    struct inspect *inspect = inspect_new(checker->loop, checker->resolver, &inspect_options, &events);
    inspect_start(inspect);
    loop_run(checker->loop);
    inspect_free(inspect);
}

// Adds to out_pipelines, or prints. False: something is missing.
static bool check(struct checker *checker, const struct option_value *state, json_t *out_pipelines)
{
    struct err error = {0};
    struct catalog_pipeline known;
    checker->good = json_array();
    checker->timings = json_object();
    CHECK(checker->good != NULL && checker->timings != NULL);
    buf_init(&checker->timings_text, TIMINGS_BYTES_MAX);
    bool is_open = open_all(checker, &error);
    bool is_known = is_open && read_known(state, checker->endpoints->name, &known, &error);
    if (err_is_set(&error) && strcmp(error.code, CATALOG_ERROR_NONE) != 0)
        tell_error(checker, is_open ? "catalog" : "other", is_open ? "the catalog" : "this machine", &error);
    if (is_open)
        look(checker, is_known ? &known : NULL);
    close_all(checker);
    if (checker->finding_count > 0)
        qsort(checker->findings, checker->finding_count, sizeof *checker->findings, by_gravity);
    if (checker->is_json)
        json_array_append_new(out_pipelines, checker_json(checker));
    else
        print_findings(checker);
    for (size_t i = 0; i < checker->finding_count; i++) {
        free(checker->findings[i].code);
        free(checker->findings[i].where);
        free(checker->findings[i].what);
        free(checker->findings[i].statement);
    }
    free(checker->findings);
    json_decref(checker->good);
    json_decref(checker->timings);
    buf_deinit(&checker->timings_text);
    return checker->counts[FINDING_ERROR] == 0;
}

static bool read_urls(const struct option_value *values, struct checker *checker, struct endpoints *endpoints,
                      struct pipeline_settings *settings, struct err *out_error)
{
    if (!endpoints_read(values[CHECK_FROM].text, values[CHECK_TO].text, values[CHECK_NAME].text, endpoints, out_error))
        return false;
    endpoints_warn(endpoints);
    if (!endpoints_ask_password(&values[CHECK_ASK_PASSWORD], endpoints, out_error)) {
        endpoints_deinit(endpoints);
        return false;
    }
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

// One pipeline of the catalog. False: something is missing.
static bool check_named(const char *name, const struct objects *objects, const struct option_value *values,
                        json_t *pipelines, int *out_exit_code)
{
    struct endpoints endpoints;
    struct pipeline_settings settings;
    struct err error = {0};
    struct checker checker = {.endpoints = &endpoints,
                              .settings = &settings,
                              .is_json = values[CHECK_JSON].flag,
                              .is_coloured = command_is_coloured()};
    if (!(objects != NULL ? read_catalog(name, objects, &checker, &endpoints, &settings, &error)
                          : read_urls(values, &checker, &endpoints, &settings, &error))) {
        *out_exit_code = command_fail_kind(&error);
        return false;
    }
    bool is_good = check(&checker, &values[CHECK_STATE], pipelines);
    pipeline_settings_deinit(&settings);
    endpoints_deinit(&endpoints);
    return is_good;
}

// Looking takes a while: meanwhile nobody shall read a password among our arguments.
static char *take_secret(struct option_value *value)
{
    char *text = copy(value->text);
    value->text = text;
    return text;
}

static void free_secret(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

static int check_all(const struct objects *objects, const struct option_value *values, json_t *pipelines)
{
    const struct catalog_config *config = objects->config;
    int exit_code = EXIT_DONE;
    for (uint32_t i = 0; i < config->counts[CATALOG_PIPELINE]; i++) {
        int failed = EXIT_FAILED;
        const char *name = config->objects[CATALOG_PIPELINE][i].name;
        if (!values[CHECK_JSON].flag)
            printf("%spipeline %s\n", i > 0 ? "\n" : "", name);
        if (!check_named(name, objects, values, pipelines, &failed) && failed > exit_code)
            exit_code = failed;
    }
    return exit_code;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct objects objects = {.catalog = NULL};
    struct err error = {0};
    const char *name = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    if (!command_parse(command, count, arguments, values, &name, 1, &operand_count, &exit_code))
        return exit_code;
    bool has_urls = values[CHECK_FROM].text != NULL;
    if (has_urls ? operand_count > 0 : values[CHECK_TO].text != NULL) {
        err_set(&error, ERR_CONFIG, "usage",
                "check needs the NAME of a pipeline, or --from URL, and --to URL to look at the destination as well");
        return command_fail(&error, EXIT_USAGE);
    }
    // Before anything uses OpenSSL, which a catalog in PostgreSQL does.
    if (!has_urls && (!sf_key_process_init(&error) || !objects_open(&objects, &values[CHECK_STATE], false, &exit_code)))
        return err_is_set(&error) ? command_fail_kind(&error) : exit_code;
    bool is_all = !has_urls && operand_count == 0;
    if (is_all && objects.config->counts[CATALOG_PIPELINE] == 0) {
        err_set(&error, ERR_CONFIG, "usage",
                "there is no pipeline yet: check needs the NAME of a pipeline, or --from URL, and --to URL to look at "
                "the destination as well");
        objects_close(&objects);
        return command_fail(&error, EXIT_USAGE);
    }
    char *from = take_secret(&values[CHECK_FROM]), *to = take_secret(&values[CHECK_TO]);
    endpoints_hide_passwords(count, arguments);
    json_t *pipelines = json_array(), *document = json_object();
    CHECK(pipelines != NULL && document != NULL);
    json_object_set_new(document, "pipelines", pipelines);
    if (is_all) {
        exit_code = check_all(&objects, values, pipelines);
    } else {
        int failed = EXIT_FAILED;
        if (!check_named(name, has_urls ? NULL : &objects, values, pipelines, &failed))
            exit_code = failed;
    }
    free_secret(from);
    free_secret(to);
    if (values[CHECK_JSON].flag && exit_code != EXIT_USAGE) {
        json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    }
    json_decref(document);
    if (!has_urls)
        objects_close(&objects);
    return exit_code;
}

const struct command command_check = {
    .name = "check",
    .summary = "look at both ends: what is missing, and the statement that mends it",
    .usage = "check [NAME | --from URL [--to URL]] [OPTION…]",
    .details =
        "Looks at one pipeline, at all of the catalog, or at what is in none. Changes nothing. What is found comes "
        "by\n"
        "gravity, each with the statement that mends it and who has to run it; etl-stream help findings explains "
        "all.\n"
        "Exit code 0: nothing is missing; warnings tell what will hurt later.\n\n"
        "Examples:\n"
        "  etl-stream check\n"
        "  etl-stream check shop --json\n"
        "  etl-stream check --from 'postgres://etl@db.example.com/shop?publication=etl' \\\n"
        "    --to 'snowflake://ETL@MYORG-ACCOUNT/SHOP/PUBLIC?warehouse=ETL_WH&key_file=/etc/etl-stream/key.p8'\n",
    .options = options,
    .option_count = CHECK_OPTION_COUNT,
    .has_settings = true,
    .settings_kind = CATALOG_PIPELINE,
    .run = run,
};
