#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/status_watch.h"

#define WATCH_INTERVAL_MS 1000
#define NEVER_STARTED "never_started"

enum { STATUS_STATE, STATUS_JSON, STATUS_WATCH, STATUS_HELP, STATUS_OPTION_COUNT };

static const struct option_spec options[STATUS_OPTION_COUNT] = {
    [STATUS_STATE] = COMMAND_STATE_OPTION,
    [STATUS_JSON] = {"json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "one JSON document for machines"},
    [STATUS_WATCH] = {"watch", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "show it again every second until Ctrl-C"},
    [STATUS_HELP] = {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

struct status {
    const char *name;  // NULL: all
    bool is_served;
    struct catalog_config *config;  // NULL: could not be read
    json_t *pipelines;
    struct status_watch watch;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

// Nothing was ever said of it: what is configured tells what would begin it.
static void put_never_started(json_t *object, const struct catalog_object *configured, bool is_served)
{
    char remedy[ERR_TEXT_SIZE];
    if (!configured->is_wanted)
        (void)snprintf(remedy, sizeof remedy,
                       "etl-stream check %s looks at both ends, etl-stream pipeline start %s starts it",
                       configured->name, configured->name);
    else
        (void)snprintf(remedy, sizeof remedy, "%s",
                       is_served ? "the running service begins with it at its next look"
                                 : "no service runs here; etl-stream run is one, and begins with it");
    json_object_set_new(object, "state", json_string(NEVER_STARTED));
    json_object_set_new(object, "remedy", json_string(remedy));
}

static bool is_never_started(const json_t *pipeline)
{
    return strcmp(text_of(pipeline, "state"), NEVER_STARTED) == 0;
}

static void collect(void *context, const char *pipeline, const char *json, int64_t updated_ms)
{
    struct status *status = context;
    json_error_t ignored;
    if (status->name != NULL && strcmp(status->name, pipeline) != 0)
        return;
    json_t *object = json != NULL ? json_loads(json, 0, &ignored) : NULL;
    if (!json_is_object(object)) {
        json_decref(object);
        object = json_object();
    }
    CHECK(object != NULL);
    const struct catalog_object *configured =
        status->config != NULL ? catalog_config_find(status->config, CATALOG_PIPELINE, pipeline) : NULL;
    if (json_object_get(object, "state") == NULL && configured != NULL)
        put_never_started(object, configured, status->is_served);
    if (configured != NULL && json_object_get(object, "source") == NULL) {
        json_object_set_new(object, "source", json_string(configured->source));
        json_object_set_new(object, "destination", json_string(configured->destination));
    }
    if (configured != NULL)
        json_object_set_new(object, "wanted", json_string(configured->is_wanted ? "START" : "PAUSE"));
    int64_t now_ms = clock_system.wall_us(clock_system.context) / 1000;
    json_object_set_new(object, "pipeline", json_string(pipeline));
    json_object_set_new(object, "is_running", json_boolean(status->is_served && !is_never_started(object)));
    json_object_set_new(object, "age_seconds", json_real(updated_ms > 0 ? (double)(now_ms - updated_ms) / 1000 : -1));
    json_array_append_new(status->pipelines, object);
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_table(const json_t *table)
{
    const json_t *copy = json_object_get(table, "copy");
    printf("    %-8s %s.%s: %" PRId64 " copied, %" PRId64 " streamed", text_of(table, "state"),
           text_of(table, "schema"), text_of(table, "table"), number_of(table, "rows_copied"),
           number_of(table, "rows_streamed"));
    if (number_of(table, "values_coerced") > 0)
        printf(", %" PRId64 " values coerced", number_of(table, "values_coerced"));
    if (copy != NULL)
        printf(", %" PRId64 " of about %" PRId64 " rows in copy, %" PRId64 " of %" PRId64 " ranges",
               number_of(copy, "rows"), number_of(copy, "rows_expected"), number_of(copy, "ranges_read"),
               number_of(copy, "ranges"));
    printf("\n");
    const json_t *retry = json_object_get(table, "retry");
    if (json_object_get(table, "trouble") != NULL)
        printf("             %s\n", text_of(table, "trouble"));
    if (json_object_get(table, "reason") != NULL)
        printf("             %s\n", text_of(table, "reason"));
    if (retry != NULL)
        printf("             failed %" PRId64 " times since %s (parked after %" PRId64 "), next try %s: %s\n",
               number_of(retry, "failures"), text_of(retry, "since"), number_of(retry, "parked_after"),
               text_of(retry, "next_try"), text_of(retry, "error"));
    if (json_object_get(table, "remedy") != NULL)
        printf("             remedy: %s\n", text_of(table, "remedy"));
}

static void print_trouble(const json_t *pipeline)
{
    const json_t *retry = json_object_get(pipeline, "retry"), *circuit = json_object_get(pipeline, "circuit");
    if (json_object_get(circuit, "next_try") != NULL)
        printf("  destination: %s, next try %s\n", text_of(circuit, "reason"), text_of(circuit, "next_try"));
    if (json_object_get(pipeline, "held_back") != NULL)
        printf("  %s\n", text_of(pipeline, "held_back"));
    if (is_never_started(pipeline))
        printf("  %s\n", text_of(pipeline, "remedy"));
    if (json_object_get(pipeline, "error") == NULL)
        return;
    printf("  error: %s\n", text_of(pipeline, "error"));
    if (retry != NULL) {
        bool is_once = number_of(retry, "failures") == 1, is_waiting = json_object_get(retry, "next_try") != NULL;
        printf("  failed %" PRId64 " time%s since %s%s%s\n", number_of(retry, "failures"), is_once ? "" : "s",
               text_of(retry, "since"), is_waiting ? ", next try " : "", is_waiting ? text_of(retry, "next_try") : "");
    }
    if (json_object_get(pipeline, "remedy") != NULL)
        printf("  remedy: %s\n", text_of(pipeline, "remedy"));
}

// Only what a person would ask for: one that runs long, waits, or has trouble.
static void print_merge(const json_t *merge)
{
    const char *state = text_of(merge, "state");
    if (strcmp(state, "running") == 0)
        printf("  merging %" PRId64 " table%s up to %s since %s (%" PRId64 " s), %" PRId64 " for the first time\n",
               number_of(merge, "tables"), number_of(merge, "tables") == 1 ? "" : "s", text_of(merge, "up_to"),
               text_of(merge, "since"), number_of(merge, "seconds"), number_of(merge, "first_merges"));
    else if (strcmp(state, "waiting") == 0)
        printf("  merges wait for their time of day, the next may begin at %s\n", text_of(merge, "next"));
    else if (strcmp(state, "searching") == 0)
        printf("  looking for the table that makes merges fail\n");
    else if (strcmp(state, "resolving") == 0)
        printf("  asking how the last merge ended; it may still be under way\n");
}

static void print_following(const json_t *following)
{
    const json_t *tables = json_object_get(following, "tables");
    if (following != NULL)
        printf("  following the changed definition of %s%s: since %s nothing is read, it waits for %s\n",
               json_array_size(tables) > 0 ? json_string_value(json_array_get(tables, 0)) : "a table",
               json_array_size(tables) > 1 ? " and others" : "", text_of(following, "since"),
               text_of(following, "waits_for"));
}

static void print_copy(const json_t *copy)
{
    printf("  copying: %" PRId64 " of about %" PRId64 " rows, %" PRId64 " of %" PRId64 " tables, %" PRId64
           " of %" PRId64 " ranges on %" PRId64 " connections, %.0f rows/s, %.1f MB/s",
           number_of(copy, "rows"), number_of(copy, "rows_expected"), number_of(copy, "tables_read"),
           number_of(copy, "tables"), number_of(copy, "ranges_read"), number_of(copy, "ranges"),
           number_of(copy, "connections"), json_number_value(json_object_get(copy, "rows_per_second")),
           json_number_value(json_object_get(copy, "bytes_per_second")) / 1e6);
    if (json_object_get(copy, "seconds_left") != NULL)
        printf(", about %" PRId64 " s left", number_of(copy, "seconds_left"));
    printf("\n");
}

static void print_lag(const json_t *lag)
{
    const json_t *bytes = json_object_get(lag, "bytes"), *seconds = json_object_get(lag, "seconds");
    if (json_is_integer(bytes) && json_is_number(seconds))
        printf("  lag: %.1f MB of WAL, %.1f s\n", json_number_value(bytes) / 1e6, json_number_value(seconds));
    else if (json_is_integer(bytes))
        printf("  lag: %.1f MB of WAL when it was last connected\n", json_number_value(bytes) / 1e6);
}

static void print_pipeline(const json_t *pipeline)
{
    size_t index;
    json_t *table;
    const json_t *positions = json_object_get(pipeline, "positions"), *copy = json_object_get(pipeline, "copy");
    bool is_running = json_is_true(json_object_get(pipeline, "is_running"));
    if (is_never_started(pipeline))
        printf("%s: never started\n", text_of(pipeline, "pipeline"));
    else
        printf("%s: %s%s\n", text_of(pipeline, "pipeline"), is_running ? "" : "not running, last seen ",
               text_of(pipeline, "state"));
    if (json_object_get(pipeline, "source") != NULL)
        printf("  %s -> %s\n", text_of(pipeline, "source"), text_of(pipeline, "destination"));
    if (is_running && json_object_get(pipeline, "process") != NULL && strcmp(text_of(pipeline, "state"), "paused") != 0)
        printf("  run by %s\n", text_of(pipeline, "process"));
    if (positions != NULL)
        printf("  received %s, committed %s, confirmed %s, merged %s\n", text_of(positions, "received"),
               text_of(positions, "committed"), text_of(positions, "confirmed"), text_of(positions, "merged"));
    print_lag(json_object_get(pipeline, "lag"));
    if (copy != NULL)
        print_copy(copy);
    print_merge(json_object_get(pipeline, "merge"));
    print_following(json_object_get(pipeline, "following"));
    print_trouble(pipeline);
    json_array_foreach(json_object_get(pipeline, "tables"), index, table) print_table(table);
}

// Of several services on one catalog each pipeline has its own: that some service runs says nothing of this one. What is not
// wanted to run waits for nobody.
static void tell_running(struct catalog *catalog, const struct status *status)
{
    size_t index;
    json_t *pipeline;
    if (!status->is_served || !catalog_is_postgres(catalog))
        return;
    json_array_foreach(status->pipelines, index, pipeline)
    {
        bool is_paused = strcmp(text_of(pipeline, "state"), "paused") == 0;
        bool is_running = is_paused || catalog_is_claimed(catalog, text_of(pipeline, "pipeline"));
        json_object_set_new(pipeline, "is_running", json_boolean(is_running));
    }
}

// Its row was deleted, and nobody runs it any more: what is left of it is the service's to tell (left_behind). What run --from
// --to ran is in no table of pipelines, and is shown all the same.
static bool is_removed(struct catalog *catalog, const json_t *pipeline)
{
    return json_object_get(pipeline, "wanted") == NULL && json_is_true(json_object_get(pipeline, "takes_commands")) &&
           !catalog_is_claimed(catalog, text_of(pipeline, "pipeline"));
}

static void leave_out_removed(struct catalog *catalog, const struct status *status)
{
    if (status->config == NULL)
        return;
    for (size_t i = json_array_size(status->pipelines); i > 0; i--)
        if (is_removed(catalog, json_array_get(status->pipelines, i - 1)))
            json_array_remove(status->pipelines, i - 1);
}

static int print_all(const struct status *status, bool is_json)
{
    size_t index;
    json_t *pipeline;
    if (is_json) {
        json_t *document =
            json_pack("{s:b, s:O, s:O, s:O}", "is_running", status->is_served, "pipelines", status->pipelines,
                      "sources", status->watch.sources, "alerts", status->watch.alerts);
        CHECK(document != NULL);
        json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
        printf("\n");
        json_decref(document);
        return EXIT_DONE;
    }
    json_array_foreach(status->pipelines, index, pipeline) print_pipeline(pipeline);
    if (json_array_size(status->pipelines) == 0)
        printf("there is no pipeline; etl-stream help pipeline add shows how to add one\n");
    status_watch_print(&status->watch);
    return EXIT_DONE;
}

static int show(struct catalog *catalog, const char *name, const struct option_value *values)
{
    struct err error = {0}, ignored = {0};
    struct status status = {.name = name, .is_served = catalog_is_served(catalog), .pipelines = json_array()};
    CHECK(status.pipelines != NULL);
    if (!catalog_config_read(catalog, &status.config, &ignored))
        status.config = NULL;
    int exit_code = EXIT_DONE;
    status_watch_init(&status.watch, name);
    bool is_read =
        catalog_each_status(catalog, collect, &status, &error) && status_watch_read(&status.watch, catalog, &error);
    leave_out_removed(catalog, &status);
    if (!is_read) {
        exit_code = command_fail(&error, EXIT_FAILED);
    } else if (status.name != NULL && json_array_size(status.pipelines) == 0) {
        err_set(&error, ERR_CONFIG, "pipeline", "there is no pipeline \"%s\" in %s", status.name,
                catalog_text(catalog));
        exit_code = command_fail(&error, EXIT_FAILED);
    } else {
        tell_running(catalog, &status);
        if (values[STATUS_WATCH].flag && isatty(STDOUT_FILENO) == 1)
            printf("\033[H\033[J");  // from the top of a cleared screen
        print_all(&status, values[STATUS_JSON].flag);
        fflush(stdout);
    }
    json_decref(status.pipelines);
    status_watch_deinit(&status.watch);
    catalog_config_free(status.config);
    return exit_code;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[STATUS_OPTION_COUNT];
    const char *name = NULL;
    size_t operand_count = 0;
    struct err error = {0};
    if (!options_parse(options, STATUS_OPTION_COUNT, count, arguments, values, &name, 1, &operand_count, &error))
        return command_fail(&error, EXIT_USAGE);
    if (values[STATUS_HELP].flag) {
        command_print_help(command);
        return EXIT_DONE;
    }
    struct catalog *catalog = command_catalog_open(&values[STATUS_STATE], CATALOG_READER, &error);
    if (catalog == NULL)
        return command_fail(&error, EXIT_FAILED);
    int exit_code = EXIT_DONE;
    do {
        exit_code = show(catalog, operand_count > 0 ? name : NULL, values);
    } while (values[STATUS_WATCH].flag && exit_code == EXIT_DONE && poll(NULL, 0, WATCH_INTERVAL_MS) == 0);
    catalog_close(catalog);
    return exit_code;
}

const struct command command_status = {
    .name = "status",
    .summary = "show pipelines, tables, progress, errors, the sources' WAL and alerts",
    .usage = "status [NAME] [OPTION…]",
    .details = "Examples:\n  etl-stream status\n  etl-stream status shop --watch\n  etl-stream status --json\n",
    .options = options,
    .option_count = STATUS_OPTION_COUNT,
    .run = run,
};
