// Drives the transport to Snowflake alone: rows 1 … N of a table of its own, through one channel, as the program would.
// A state file holds what the catalog would hold (the channel's record, and how far is committed), so that the process
// may be killed at any instant and started again. It tells what happens, one event a line.
//
// Usage: sf_transport TO STATE ROWS ROWS_A_SECOND [bad-row=N] [no-setup] [hold]
//   bad-row: that row does not convert.   hold: stays when all is committed, and goes on with "more N" on standard input.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_channel.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_key.h"
#include "sinks/snowflake/sf_sql.h"

enum { TICK_US = 2000, BUDGET_BYTES = 32 << 20, LATENCIES_MAX = 100000 };

static struct {
    struct loop *loop;
    struct http_client *http;
    struct sf_config config;
    struct sf_auth *auth;
    struct zstd_worker *zstd;
    struct budget budget;
    uint64_t accepted_us;
    struct sf_pipe *pipe;
    struct sf_channel *channel;
    struct sf_sql *sql;
    struct loop_timer tick;
    struct loop_watch input;
    const char *state_path;
    uint64_t rows, next_row, bad_row, rows_per_second;
    uint64_t begin_us;
    uint64_t paced_from;
    bool is_told, is_holding, is_setting_up;
    int exit_code;
    uint32_t rewinds;
} app;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void end(int exit_code)
{
    app.exit_code = exit_code;
    loop_stop(app.loop);
}

static void end_with(const char *what, const struct err *error)
{
    say("%s %s %s", what, err_kind_name(error->kind), error->text);
    end(1);
}

// ---- state

static void state_write(void)
{
    struct sf_channel_record record;
    char text[256];
    char path[512];
    sf_channel_record_get(app.channel, &record);
    int size = snprintf(text, sizeof text, "%s %" PRId64 " %" PRIu64 "\n",
                        record.committed.text[0] == '\0' ? "-" : record.committed.text, record.created_on_ms,
                        record.error_count);
    (void)snprintf(path, sizeof path, "%s.new", app.state_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, (size_t)size) == size);
    close(fd);
    CHECK(rename(path, app.state_path) == 0);
}

static void state_read(struct sf_channel_record *record)
{
    char token[SF_TOKEN_SIZE_MAX + 1] = "";
    FILE *file = fopen(app.state_path, "re");
    if (file == NULL)
        return;
    if (fscanf(file, "%40s %" SCNd64 " %" SCNu64, token, &record->created_on_ms, &record->error_count) == 3) {
        record->is_known = true;
        if (strcmp(token, "-") != 0)
            (void)snprintf(record->committed.text, sizeof record->committed.text, "%s", token);
    }
    fclose(file);
}

// ---- rows

static void add_row(uint64_t row)
{
    struct sf_token token;
    struct buf *batch = sf_channel_batch(app.channel);
    size_t size_before = batch->size;
    (void)snprintf(token.text, sizeof token.text, "%020" PRIu64, row);
    if (strcmp(token.text, sf_channel_high_token(app.channel)->text) <= 0)
        return;
    if (row == app.bad_row)
        buf_append_text(batch, "{\"ID\":\"no number\"}\n");
    else
        buf_appendf(batch, "{\"ID\":%" PRIu64 ",\"NAME\":\"row %" PRIu64 " of a table that is written by a test\"}\n",
                    row, row);
    sf_channel_row_added(app.channel, &token, batch->size - size_before);
}

static void report(void)
{
    const struct sf_channel_stats *stats = sf_channel_stats(app.channel);
    say("stats rows=%" PRIu64 " appends=%" PRIu64 " raw_bytes=%" PRIu64 " wire_bytes=%" PRIu64 " retries=%" PRIu64
        " reopens=%" PRIu64 " rewinds=%u append_us=%" PRIu64 " commit_us=%" PRIu64 " seconds=%.2f budget=%zu peak=%zu",
        stats->rows, stats->appends, stats->raw_bytes, stats->wire_bytes, stats->retries, stats->reopens, app.rewinds,
        stats->last_append_latency_us, stats->last_commit_latency_us,
        (double)(loop_now_us(app.loop) - app.begin_us) / 1e6, app.budget.used_bytes, app.budget.used_bytes_peak);
}

static void on_tick(struct loop_timer *timer)
{
    uint64_t now_us = loop_now_us(app.loop);
    uint64_t allowed = app.paced_from + (now_us - app.begin_us) * app.rows_per_second / 1000000;
    loop_timer_set(app.loop, timer, TICK_US);
    while (app.next_row <= app.rows && app.next_row <= allowed && !budget_is_full(&app.budget))
        add_row(app.next_row++);
    sf_channel_pump(app.channel);
    if (app.next_row > app.rows && !sf_channel_has_uncommitted(app.channel) && !app.is_told) {
        app.is_told = true;
        report();
        say("done %s", sf_channel_committed_token(app.channel)->text);
        if (!app.is_holding)
            end(0);
    }
}

static void begin_reading(uint64_t row)
{
    app.next_row = row;
    app.begin_us = loop_now_us(app.loop);
    app.paced_from = row;
    loop_timer_set(app.loop, &app.tick, 0);
}

static void on_opened(void *context)
{
    (void)context;
    const char *high = sf_channel_high_token(app.channel)->text;
    say("opened %s", high[0] == '\0' ? "-" : high);
    state_write();
    begin_reading(1);
}

static void on_committed(void *context)
{
    (void)context;
    state_write();
    say("committed %s", sf_channel_committed_token(app.channel)->text);
}

static void on_room(void *context)
{
    (void)context;
}

static void on_rewind(void *context, const struct err *why)
{
    (void)context;
    app.rewinds++;
    say("rewind %s", why->text);
    state_write();
    sf_channel_rewound(app.channel);
    begin_reading(1);  // rows that are had are passed over by their tokens
}

static void on_failed(void *context, const struct err *error)
{
    (void)context;
    report();
    end_with("failed", error);
}

static void on_dropped(void *context, const struct err *error)
{
    (void)context;
    (void)error;
}

static void open_channel(void)
{
    static const struct sf_channel_events events = {.on_opened = on_opened,
                                                    .on_committed = on_committed,
                                                    .on_room = on_room,
                                                    .on_rewind = on_rewind,
                                                    .on_failed = on_failed,
                                                    .on_dropped = on_dropped};
    const struct sf_channel_shared shared = {.loop = app.loop,
                                             .http = app.http,
                                             .auth = app.auth,
                                             .zstd = app.zstd,
                                             .budget = &app.budget,
                                             .accepted_us = &app.accepted_us};
    struct sf_channel_options options = {.database = app.config.database,
                                         .schema = app.config.landing_schema,
                                         .pipe = "LANDING_t-STREAMING",
                                         .channel = "ETL_TRANSPORT",
                                         .initial_token.text = "00000000000000000000",
                                         .batch_rows_max = 1000};
    state_read(&options.kept);
    app.pipe = sf_pipe_new(&shared, options.database, options.schema, options.pipe, 250);
    app.channel = sf_channel_new(&shared, &options, &events);
    CHECK(app.pipe != NULL && app.channel != NULL);
    sf_pipe_add(app.pipe, app.channel);
    sf_channel_open(app.channel);
}

// ---- set-up

static uint32_t step;

static void next_statement(void);

static void on_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    (void)context;
    if (error != NULL) {
        end_with("statement", error);
        return;
    }
    if (step == 1)
        say("user %s", sf_sql_value(result, 0, 1));
    next_statement();
}

static void next_statement(void)
{
    const struct sf_sql_options options = {.timeout_s = 60};
    char text[1024];
    struct err error;
    switch (step++) {
    case 0: (void)snprintf(text, sizeof text, "SELECT CURRENT_ACCOUNT(), CURRENT_USER(), CURRENT_ROLE()"); break;
    case 1:
        (void)snprintf(text, sizeof text, "CREATE SCHEMA IF NOT EXISTS \"%s\".\"%s\" COMMENT = 'a test'",
                       app.config.database, app.config.landing_schema);
        break;
    case 2:
        (void)snprintf(
            text, sizeof text,
            "CREATE TRANSIENT TABLE IF NOT EXISTS \"%s\".\"%s\".\"LANDING_t\" (\"ID\" NUMBER(38,0), \"NAME\" "
            "VARCHAR(1000)) DATA_RETENTION_TIME_IN_DAYS = 1 ENABLE_SCHEMA_EVOLUTION = TRUE ERROR_LOGGING = TRUE "
            "COMMENT = 'a test'",
            app.config.database, app.config.landing_schema);
        break;
    default: open_channel(); return;
    }
    if (!sf_sql_run(app.sql, text, &options, on_statement, NULL, &error))
        end_with("statement", &error);
}

static void on_input(struct loop_watch *watch, unsigned events)
{
    char line[64] = "";
    (void)events;
    ssize_t size = read(watch->fd, line, sizeof line - 1);
    if (size <= 0) {
        loop_watch_stop(app.loop, watch);
        end(0);
        return;
    }
    unsigned long long more = 0;
    if (sscanf(line, "more %llu", &more) == 1) {
        app.rows += more;
        app.is_told = false;
        begin_reading(app.next_row);
    }
}

static void read_arguments(int count, char **arguments)
{
    app.state_path = arguments[2];
    app.rows = strtoull(arguments[3], NULL, 10);
    app.rows_per_second = strtoull(arguments[4], NULL, 10);
    app.is_setting_up = true;
    for (int i = 5; i < count; i++) {
        if (strncmp(arguments[i], "bad-row=", 8) == 0)
            app.bad_row = strtoull(arguments[i] + 8, NULL, 10);
        app.is_setting_up = app.is_setting_up && strcmp(arguments[i], "no-setup") != 0;
        app.is_holding = app.is_holding || strcmp(arguments[i], "hold") == 0;
    }
}

int main(int argument_count, char **arguments)
{
    struct err error;
    if (argument_count < 5)
        return 2;
    read_arguments(argument_count, arguments);
    log_init();
    struct sf_key *key = NULL;
    if (!sf_key_process_init(&error) || !sf_config_parse(arguments[1], &app.config, &error) ||
        (key = sf_key_load_configured(&app.config, &error)) == NULL ||
        (app.loop = loop_new(&clock_system, &error)) == NULL ||
        (app.http = http_client_new(app.loop, &error)) == NULL) {
        say("start %s %s", err_kind_name(error.kind), error.text);
        sf_config_deinit(&app.config);
        return 2;
    }
    app.zstd = zstd_worker_new(1);
    app.auth = sf_auth_new(app.loop, app.http, &app.config, key);
    app.sql = sf_sql_new(app.loop, app.http, app.auth, &app.config);
    CHECK(app.zstd != NULL && app.auth != NULL && app.sql != NULL);
    budget_init(&app.budget, BUDGET_BYTES);
    app.tick = (struct loop_timer){.on_due = on_tick};
    app.input = (struct loop_watch){.on_ready = on_input, .fd = -1};
    if (app.is_holding)
        CHECK(loop_watch_set(app.loop, &app.input, STDIN_FILENO, LOOP_READ, &error));
    step = app.is_setting_up ? 0 : 3;
    next_statement();
    loop_run(app.loop);

    loop_watch_stop(app.loop, &app.input);
    loop_timer_stop(app.loop, &app.tick);
    sf_channel_free(app.channel);
    sf_pipe_free(app.pipe);
    CHECK(app.budget.used_bytes == 0);
    sf_sql_free(app.sql);
    sf_auth_free(app.auth);
    http_client_free(app.http);
    zstd_worker_free(app.zstd);
    loop_free(app.loop);
    sf_config_deinit(&app.config);
    return app.exit_code;
}
