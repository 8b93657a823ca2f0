#include "sinks/snowflake/sf_remove.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/check.h"
#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_http.h"
#include "sinks/snowflake/sf_names.h"
#include "sinks/snowflake/sf_sql.h"

#define STATEMENT_TIMEOUT_S 120
#define TRIES_MAX 4
#define REQUEST_TIMEOUT_MS 30000
#define TEXT_BYTES_MAX (64U << 10)
#define CODE_ABSENT "002043"  // SQL compilation error: object does not exist or operation cannot be performed

enum step { STEP_SHOW, STEP_SHOW_CHANNELS, STEP_CHANNELS, STEP_LANDING, STEP_STATE, STEP_DONE };

// Rows that were accepted before the pipeline ended may be committed a moment later; a channel with such rows is not dropped.
static const struct backoff_policy channel_policy = {
    .delay_first_ms = 500, .delay_min_ms = 250, .delay_max_ms = 5000, .tries_max = 20};

struct landing {
    char *name;
    char *comment;
};

struct sf_remove {
    struct sf_remove_options options;
    struct sf_remove_events events;
    struct sf_sql *sql;
    enum step step;
    struct landing *landings;
    uint32_t landing_count, next_landing;
    struct sf_remove_channel
        *channels;  // those of the options, and behind them what SHOW CHANNELS has found (names owned)
    uint32_t channel_count;
    uint32_t next_channel, dropped_channels, absent_channels;
    struct http_request request;
    struct sf_request_id request_id;
    uint32_t generation;
    struct sf_auth_waiter waiter;
    struct loop_timer timer;
    struct backoff backoff;
    struct buf text, url;
};

static const struct sf_sql_options statement_options = {
    .needs_warehouse = false, .timeout_s = STATEMENT_TIMEOUT_S, .tries_max = TRIES_MAX};

static void go(struct sf_remove *remove);

static void fail(struct sf_remove *remove, const struct err *error)
{
    remove->step = STEP_DONE;
    remove->events.on_done(remove->events.context, error);
}

static void tell(struct sf_remove *remove, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct sf_remove *remove, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    remove->events.on_step(remove->events.context, text);
}

static void step_next(struct sf_remove *remove)
{
    remove->step++;
    go(remove);
}

static void run(struct sf_remove *remove, sf_sql_on_done on_done)
{
    struct err error = {0};
    if (!sf_sql_run(remove->sql, buf_text(&remove->text), &statement_options, on_done, remove, &error))
        fail(remove, &error);
}

// --- landing tables ----------------------------------------------------------------------------------------------

// Of whichever of the pipeline's tables, also of one that the catalog has forgotten.
static bool is_ours(const struct sf_remove *remove, const char *comment)
{
    static char nobody[] = "";
    const struct table none = {.schema_name = nobody, .table_name = nobody};
    enum sf_owner owner = sf_marker_owner(comment, remove->options.pipeline, &none);
    // Targets carry our marker as well, and may be in the same schema.
    return (owner == SF_OWNER_US || owner == SF_OWNER_OTHER_TABLE) && strstr(comment, " role=landing") != NULL;
}

static void on_shown(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_remove *remove = context;
    if (error != NULL && strcmp(error->code, CODE_ABSENT) != 0) {
        fail(remove, error);
        return;
    }
    // Without the landing schema there is nothing of ours.
    int name = error == NULL ? sf_sql_column(result, "name") : -1;
    int comment = error == NULL ? sf_sql_column(result, "comment") : -1;
    for (size_t row = 0; name >= 0 && comment >= 0 && row < result->row_count; row++) {
        const char *text = sf_sql_value(result, row, (size_t)comment);
        const char *table = sf_sql_value(result, row, (size_t)name);
        if (text == NULL || table == NULL || !is_ours(remove, text))
            continue;
        remove->landings =
            reallocarray(remove->landings, (size_t)remove->landing_count + 1, sizeof remove->landings[0]);
        CHECK(remove->landings != NULL);
        struct landing *landing = &remove->landings[remove->landing_count++];
        landing->name = strdup(table);
        landing->comment = strdup(text);
        CHECK(landing->name != NULL && landing->comment != NULL);
    }
    step_next(remove);
}

static void show(struct sf_remove *remove)
{
    buf_reset(&remove->text);
    buf_append_text(&remove->text, "SHOW TABLES IN SCHEMA ");
    sf_append_identifier(&remove->text, remove->options.config->database);
    buf_append_byte(&remove->text, '.');
    sf_append_identifier(&remove->text, remove->options.config->landing_schema);
    run(remove, on_shown);
}

static void on_landing_dropped(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_remove *remove = context;
    (void)result;
    if (error != NULL) {
        fail(remove, error);
        return;
    }
    remove->next_landing++;
    go(remove);
}

static void landing_next(struct sf_remove *remove)
{
    const struct sf_config *config = remove->options.config;
    bool is_one = remove->landing_count == 1;
    if (!remove->options.drops_landing) {
        if (remove->landing_count > 0)
            tell(remove, "%" PRIu32 " landing table%s in \"%s\".\"%s\" stay%s (--drop-landing drops %s)",
                 remove->landing_count, is_one ? "" : "s", config->database, config->landing_schema, is_one ? "s" : "",
                 is_one ? "it" : "them");
        step_next(remove);
        return;
    }
    if (remove->next_landing == remove->landing_count) {
        tell(remove, "%" PRIu32 " landing table%s in \"%s\".\"%s\" dropped", remove->landing_count, is_one ? "" : "s",
             config->database, config->landing_schema);
        step_next(remove);
        return;
    }
    buf_reset(&remove->text);
    buf_append_text(&remove->text, "DROP TABLE IF EXISTS ");
    sf_append_qualified(&remove->text, config->database, config->landing_schema,
                        remove->landings[remove->next_landing].name);
    run(remove, on_landing_dropped);
}

// --- channels ----------------------------------------------------------------------------------------------------

static bool is_listed(const struct sf_remove *remove, const char *name)
{
    for (uint32_t i = 0; i < remove->channel_count; i++)
        if (strcmp(remove->channels[i].channel, name) == 0)
            return true;
    return false;
}

static void list_channel(struct sf_remove *remove, const char *name)
{
    uint8_t epoch;
    char kind;
    uint32_t n;
    for (uint32_t i = 0; i < remove->options.table_count && !is_listed(remove, name); i++) {
        const struct sf_remove_table *table = &remove->options.tables[i];
        if (!sf_channel_name_parse(name, remove->options.identity, table->schema_name, table->table_name, &epoch, &kind,
                                   &n))
            continue;
        remove->channels =
            reallocarray(remove->channels, (size_t)remove->channel_count + 1, sizeof remove->channels[0]);
        char *copy = strdup(name);
        CHECK(remove->channels != NULL && copy != NULL);
        remove->channels[remove->channel_count++] = (struct sf_remove_channel){
            .schema_name = table->schema_name, .table_name = table->table_name, .channel = copy};
    }
}

// Those that the catalog knows are dropped all the same where the others cannot be asked for.
static void on_channels_shown(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_remove *remove = context;
    int name = error == NULL ? sf_sql_column(result, "name") : -1;
    if (error != NULL && strcmp(error->code, CODE_ABSENT) != 0)
        tell(remove, "channels of copies that were given up may stay, as SHOW CHANNELS failed: %s", error->text);
    for (size_t row = 0; name >= 0 && row < result->row_count; row++) {
        const char *text = sf_sql_value(result, row, (size_t)name);
        if (text != NULL)
            list_channel(remove, text);
    }
    step_next(remove);
}

static void channels_show(struct sf_remove *remove)
{
    buf_reset(&remove->text);
    sf_append_show_channels(&remove->text, remove->options.config->database, remove->options.config->landing_schema);
    run(remove, on_channels_shown);
}

// The landing table whose comment names the channel's table; NULL: it is gone, and its channels with it.
static const struct landing *landing_of(const struct sf_remove *remove, const struct sf_remove_channel *channel)
{
    struct table table = {.schema_name = (char *)(uintptr_t)channel->schema_name,
                          .table_name = (char *)(uintptr_t)channel->table_name};
    struct buf marker;
    const struct landing *found = NULL;
    buf_init(&marker, SF_MARKER_SIZE_MAX);
    sf_marker_append(&marker, remove->options.pipeline, &table, "landing");
    const char *text = buf_text(&marker);
    size_t size = strlen(text);
    for (uint32_t i = 0; found == NULL && i < remove->landing_count; i++)
        if (strncmp(remove->landings[i].comment, text, size) == 0 &&
            (remove->landings[i].comment[size] == '\0' || remove->landings[i].comment[size] == ' '))
            found = &remove->landings[i];
    buf_deinit(&marker);
    return found;
}

static void channel_done(struct sf_remove *remove, bool was_there)
{
    remove->dropped_channels += was_there;
    remove->absent_channels += !was_there;
    remove->next_channel++;
    backoff_reset(&remove->backoff);
    sf_request_id_new(&remove->request_id);
    go(remove);
}

static void channel_retry(struct sf_remove *remove, const struct err *error)
{
    uint32_t delay_ms = 0;
    if (!backoff_next(&remove->backoff, &delay_ms)) {
        fail(remove, error);
        return;
    }
    remove->request_id.retry_count++;
    loop_timer_set(remove->options.loop, &remove->timer, (uint64_t)delay_ms * 1000);
}

static void on_channel_answer(struct http_request *request, const struct err *error)
{
    struct sf_remove *remove = request->context;
    struct sf_answer answer;
    struct err problem = {0};
    char what[160];
    if (error != NULL) {
        channel_retry(remove, error);
        return;
    }
    (void)snprintf(what, sizeof what, "dropping channel %s", remove->channels[remove->next_channel].channel);
    sf_answer_init(&answer, request);
    if (answer.signal != SF_SIGNAL_UNAUTHORIZED)
        sf_auth_accepted(remove->options.auth, true, remove->generation);
    sf_answer_err(&answer, request, ERR_TRANSIENT, what, &problem);
    switch (answer.signal) {
    case SF_SIGNAL_DONE: channel_done(remove, true); break;
    case SF_SIGNAL_MISSING: channel_done(remove, false); break;
    case SF_SIGNAL_UNAUTHORIZED:
        if (!sf_auth_refused(remove->options.auth, true, remove->generation)) {
            fail(remove, &problem);
            break;
        }
        channel_retry(remove, &problem);
        break;
    case SF_SIGNAL_FORBIDDEN:
    case SF_SIGNAL_REFUSED: fail(remove, &problem); break;
    default: channel_retry(remove, &problem); break;
    }
    sf_answer_deinit(&answer);
}

static void channel_send(struct sf_remove *remove, const struct landing *landing)
{
    const struct sf_remove_channel *channel = &remove->channels[remove->next_channel];
    const struct sf_config *config = remove->options.config;
    struct sf_headers headers;
    struct err error = {0};
    char pipe[SF_NAME_SIZE_MAX * 4 + 16];
    (void)snprintf(pipe, sizeof pipe, "%s-STREAMING", landing->name);
    buf_reset(&remove->url);
    buf_appendf(&remove->url, "%s/v2/streaming", sf_auth_ingest_base(remove->options.auth));
    sf_append_pipe_path(&remove->url, config->database, config->landing_schema, pipe);
    buf_append_text(&remove->url, "/channels/");
    sf_append_url_identifier(&remove->url, channel->channel);
    buf_append_byte(&remove->url, '?');
    sf_append_request_id(&remove->url, &remove->request_id);
    sf_headers_begin(&headers, sf_auth_ingest_bearer(remove->options.auth), true);
    remove->generation = sf_auth_generation(remove->options.auth, true);
    remove->request.method = "DELETE";
    remove->request.url = buf_text(&remove->url);
    remove->request.headers = headers.items;
    remove->request.header_count = headers.count;
    if (!http_client_start(remove->options.http, &remove->request, &error))
        fail(remove, &error);
}

static void channel_next(struct sf_remove *remove)
{
    // Before the tables: whether a dropped one takes its channels with it, Snowflake's documentation does not say.
    while (remove->next_channel < remove->channel_count) {
        const struct landing *landing = landing_of(remove, &remove->channels[remove->next_channel]);
        if (landing == NULL) {
            remove->absent_channels++;
            remove->next_channel++;
            continue;
        }
        if (!sf_auth_has_ingest(remove->options.auth)) {
            sf_auth_wait_ingest(remove->options.auth, &remove->waiter);
            return;
        }
        channel_send(remove, landing);
        return;
    }
    tell(remove, "%" PRIu32 " channel%s dropped%s", remove->dropped_channels, remove->dropped_channels == 1 ? "" : "s",
         remove->absent_channels > 0 ? " (others were gone already)" : "");
    step_next(remove);
}

static void on_auth_ready(struct sf_auth_waiter *waiter, const struct err *error)
{
    struct sf_remove *remove = waiter->context;
    if (error != NULL)
        fail(remove, error);
    else
        go(remove);
}

static void on_due(struct loop_timer *timer)
{
    go(timer->context);
}

// --- the state table ---------------------------------------------------------------------------------------------

static void on_state_dropped(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_remove *remove = context;
    (void)result;
    if (error != NULL && strcmp(error->code, CODE_ABSENT) != 0) {
        fail(remove, error);
        return;
    }
    tell(remove, "state table in \"%s\".\"%s\" dropped", remove->options.config->database,
         remove->options.config->landing_schema);
    step_next(remove);
}

static void state_drop(struct sf_remove *remove)
{
    buf_reset(&remove->text);
    buf_append_text(&remove->text, "DROP TABLE IF EXISTS ");
    sf_ddl_append_state(remove->options.config->database, remove->options.config->landing_schema,
                        remove->options.pipeline, &remove->text);
    run(remove, on_state_dropped);
}

// --- life --------------------------------------------------------------------------------------------------------

static void go(struct sf_remove *remove)
{
    switch (remove->step) {
    case STEP_SHOW: show(remove); break;
    case STEP_SHOW_CHANNELS: channels_show(remove); break;
    case STEP_CHANNELS: channel_next(remove); break;
    case STEP_LANDING: landing_next(remove); break;
    case STEP_STATE: state_drop(remove); break;
    case STEP_DONE: remove->events.on_done(remove->events.context, NULL); break;
    }
}

struct sf_remove *sf_remove_new(const struct sf_remove_options *options, const struct sf_remove_events *events)
{
    struct sf_remove *remove = calloc(1, sizeof *remove);
    CHECK(remove != NULL);
    remove->options = *options;
    remove->events = *events;
    remove->channel_count = options->channel_count;
    remove->channels = calloc((size_t)options->channel_count + 1, sizeof remove->channels[0]);
    CHECK(remove->channels != NULL);
    for (uint32_t i = 0; i < options->channel_count; i++)
        remove->channels[i] = options->channels[i];
    remove->sql = sf_sql_new(options->loop, options->http, options->auth, options->config);
    CHECK(remove->sql != NULL);
    buf_init(&remove->text, TEXT_BYTES_MAX);
    buf_init(&remove->url, TEXT_BYTES_MAX);
    sf_auth_request_init(options->auth, &remove->request, "drop", REQUEST_TIMEOUT_MS, TEXT_BYTES_MAX, on_channel_answer,
                         remove);
    remove->waiter = (struct sf_auth_waiter){.on_ready = on_auth_ready, .context = remove, .tries_max = TRIES_MAX};
    remove->timer = (struct loop_timer){.on_due = on_due, .context = remove};
    backoff_init(&remove->backoff, &channel_policy, sf_random());
    sf_request_id_new(&remove->request_id);
    return remove;
}

void sf_remove_start(struct sf_remove *remove)
{
    CHECK(remove->step == STEP_SHOW);
    go(remove);
}

void sf_remove_free(struct sf_remove *remove)
{
    if (remove == NULL)
        return;
    sf_sql_free(remove->sql);
    sf_auth_cancel(remove->options.auth, &remove->waiter);
    http_client_cancel(remove->options.http, &remove->request);
    http_request_deinit(&remove->request);
    loop_timer_stop(remove->options.loop, &remove->timer);
    buf_deinit(&remove->text);
    buf_deinit(&remove->url);
    for (uint32_t i = 0; i < remove->landing_count; i++) {
        free(remove->landings[i].name);
        free(remove->landings[i].comment);
    }
    for (uint32_t i = remove->options.channel_count; i < remove->channel_count; i++)
        free((char *)(uintptr_t)remove->channels[i].channel);
    free(remove->channels);
    free(remove->landings);
    free(remove);
}
