#include "monitor/monitor.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/process.h"
#include "base/wipe.h"
#include "io/json_put.h"
#include "io/metric_registry.h"
#include "monitor/monitor_private.h"

#define MESSAGES_MAX 8
#define ROUND_S 2  // how often the rules are gone through

// --- what is configured ------------------------------------------------------------------------------------------

struct monitor_config *monitor_config_new(uint32_t source_count)
{
    struct monitor_config *config = calloc(1, sizeof *config + source_count * sizeof config->sources[0]);
    CHECK(config != NULL);
    config->source_count = source_count;
    return config;
}

void monitor_config_free(struct monitor_config *config)
{
    if (config == NULL)
        return;
    for (uint32_t i = 0; i < config->source_count; i++) {
        struct monitor_source *source = &config->sources[i];
        for (uint32_t p = 0; p < source->pipeline_count; p++) {
            free(source->pipelines[p].name);
            free(source->pipelines[p].slot);
        }
        free(source->pipelines);
        free(source->name);
        pg_target_deinit(&source->target);
    }
    free(config);
}

static struct watched_source *find(const struct monitor *monitor, const char *name)
{
    struct watched_source *source = monitor->sources;
    while (source != NULL && strcmp(source->name, name) != 0)
        source = source->next;
    return source;
}

static bool is_configured(const struct monitor_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->source_count; i++)
        if (strcmp(config->sources[i].name, name) == 0)
            return true;
    return false;
}

static bool is_watched(void *context, const char *name)
{
    return find(context, name) != NULL;
}

static void configure(struct monitor *monitor, struct monitor_config *config)
{
    for (struct watched_source **link = &monitor->sources; *link != NULL;) {
        struct watched_source *source = *link;
        if (is_configured(config, source->name)) {
            link = &source->next;
        } else {
            *link = source->next;
            keep_put(monitor->keep, KEEP_SOURCE, source->name, NULL);
            watched_source_free(source);
        }
    }
    for (uint32_t i = 0; i < config->source_count; i++) {
        struct watched_source *source = find(monitor, config->sources[i].name);
        if (source == NULL) {
            source = watched_source_new(monitor, config->sources[i].name);
            source->next = monitor->sources;
            monitor->sources = source;
        }
        watched_source_configure(source, &config->sources[i]);
    }
    if (!monitor->is_configured || monitor->source_count != config->source_count)
        log_line(LOG_DEBUG, NULL, "monitor_configured", "%" PRIu32 " sources are watched", config->source_count);
    monitor->is_configured = true;
    keep_forget(monitor->keep, is_watched, monitor);
    monitor->source_count = config->source_count;
    monitor_pump(monitor);
}

// A message is a configuration; without any source and marked so, the end (its address is the mark).
static struct monitor_config the_end;

static void on_message(void *context, void *message)
{
    struct monitor *monitor = context;
    if (message == &the_end) {
        loop_stop(monitor->loop);
        return;
    }
    configure(monitor, message);
    monitor_config_free(message);
}

static void discard_message(void *message)
{
    if (message != &the_end)
        monitor_config_free(message);
}

// --- looks -------------------------------------------------------------------------------------------------------

void monitor_pump(struct monitor *monitor)
{
    struct schedule_entry *entry = NULL, *closed = NULL;
    while ((entry = schedule_begin(&monitor->schedule, loop_now_us(monitor->loop), &closed)) != NULL) {
        if (closed != NULL)
            watched_source_close_connection(closed->context);
        watched_source_look(entry->context);
    }
    uint64_t now_us = loop_now_us(monitor->loop), next_us = schedule_next_us(&monitor->schedule, now_us);
    if (next_us == UINT64_MAX)
        loop_timer_stop(monitor->loop, &monitor->schedule_timer);
    else
        loop_timer_set(monitor->loop, &monitor->schedule_timer, next_us - now_us);
}

static void on_schedule(struct loop_timer *timer)
{
    monitor_pump(timer->context);
}

static void on_pump_again(struct loop_deferred *deferred)
{
    monitor_pump(deferred->context);
}

// --- rounds ------------------------------------------------------------------------------------------------------

static void read_statuses(struct monitor *monitor, struct watched_source *source)
{
    uint64_t now_us = loop_now_us(monitor->loop);
    char key[512];
    for (struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next) {
        (void)snprintf(key, sizeof key, "pipeline/%s", pipeline->name);
        const struct board_text *text = board_get(monitor->board, key);
        uint64_t version = text != NULL ? text->version : 0;
        if (version != pipeline->status_version) {
            watched_pipeline_take_published(pipeline, text != NULL ? text->text : NULL, now_us);
            pipeline->status_version = version;
        }
        board_text_release(text);
    }
}

// What is shown is the book's, or what the process that tells has kept with what only this one knows.
static json_t *shown_alerts(const struct monitor *monitor)
{
    json_t *array = alert_book_shown(&monitor->book);
    if (monitor->others != NULL)
        json_array_extend(array, monitor->others);
    return array;
}

static void publish_alerts(struct monitor *monitor)
{
    uint32_t counts[ALERT_TYPE_COUNT] = {0};
    for (const struct alert *alert = monitor->book.alerts; alert != NULL; alert = alert->next)
        counts[alert->type] += alert_is_raised(alert);
    for (size_t type = 0; type < ALERT_TYPE_COUNT; type++) {
        const char *name = alert_type_name((enum alert_type)type);
        metric_set_to(METRIC_ALERTS_ACTIVE, counts[type], name);
        metric_add_to(METRIC_ALERTS_FAILED, 0,
                      name);  // from the start on: what Prometheus sees first is no increase to it
    }
    board_put(monitor->board, "alerts", json_take_line(shown_alerts(monitor)));
    if (keep_is_mine(monitor->keep))
        keep_put(monitor->keep, KEEP_ALERTS, "",
                 json_take_line(json_pack("{s:o, s:o}", "shown", alert_book_shown(&monitor->book), "book",
                                          alert_book_kept(&monitor->book))));
    monitor->book.is_changed = false;
}

static void see_all(struct monitor *monitor)
{
    const struct board_text *service = board_get(monitor->board, "service");
    alert_book_begin(&monitor->book, loop_now_us(monitor->loop), loop_wall_us(monitor->loop));
    if (service != NULL)
        rules_see_service(&monitor->book, &monitor->settings, service->text);
    board_text_release(service);
    for (struct watched_source *source = monitor->sources; keep_is_mine(monitor->keep) && source != NULL;
         source = source->next) {
        const struct rules_source facts = {.name = source->name,
                                           .was_checked = source->was_checked,
                                           .is_up = source->is_up,
                                           .error = source->error.text,
                                           .facts = source_check_facts(source->check),
                                           .pipelines = source->pipelines};
        rules_see(&monitor->book, &monitor->settings, &facts);
    }
    alert_book_end(&monitor->book);
}

static void round_of_rules(struct monitor *monitor)
{
    for (struct watched_source *source = monitor->sources; source != NULL; source = source->next)
        read_statuses(monitor, source);
    // Before that nobody knows whether what was kept is about anything that there is.
    if (monitor->is_configured)
        see_all(monitor);
    if (monitor->book.left_out != monitor->left_out_told) {
        if (monitor->left_out_told == 0)
            log_line(LOG_ERROR, NULL, "alerts_left_out",
                     "more than %d things are wrong at a time; further ones make no alert", ALERTS_MAX);
        monitor->left_out_told = monitor->book.left_out;
    }
    if (monitor->post != NULL)
        alert_post_pump(monitor->post);
    if (monitor->book.is_changed)
        publish_alerts(monitor);
}

static void on_round(struct loop_timer *timer)
{
    struct monitor *monitor = timer->context;
    round_of_rules(monitor);
    loop_timer_set(monitor->loop, timer, ROUND_S * monitor->settings.second_us);
}

static void on_raised(void *context, const struct alert *alert)
{
    const struct log_scope scope = {.pipeline = alert->pipeline, .table = alert->table};
    (void)context;
    log_line(alert->level == ALERT_DANGER ? LOG_ERROR : LOG_WARNING, &scope, "alert", "%s (%s): %s; remedy: %s",
             alert_type_name(alert->type), alert_level_name(alert->level), alert->message, alert->remedy);
}

static void on_resolved(void *context, const struct alert *alert)
{
    const struct log_scope scope = {.pipeline = alert->pipeline, .table = alert->table};
    (void)context;
    log_line(LOG_INFO, &scope, "alert_resolved", "%s: it is over: %s", alert_type_name(alert->type), alert->message);
}

static void on_posted(void *context, const struct alert *alert, const struct err *error)
{
    const struct monitor *monitor = context;
    const struct log_scope scope = {.pipeline = alert->pipeline, .table = alert->table};
    metric_add_to(error == NULL ? METRIC_ALERTS_SENT : METRIC_ALERTS_FAILED, 1, alert_type_name(alert->type));
    if (error != NULL)
        log_line(LOG_ERROR, &scope, "alert_undelivered",
                 "an alert (%s) was not taken by %s in %d tries, and is posted again in %" PRIu32
                 " minutes if it still holds: %s",
                 alert_type_name(alert->type), monitor->alert_text, ALERT_POST_TRIES,
                 monitor->settings.notify_after_min, error->text);
}

// --- who tells ---------------------------------------------------------------------------------------------------

static char *copy_text(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

static void forget_others(struct monitor *monitor)
{
    json_decref(monitor->others);
    free(monitor->others_text);
    monitor->others = NULL;
    monitor->others_text = NULL;
}

static void on_mine(void *context, const char *alerts_json)
{
    struct monitor *monitor = context;
    json_t *kept = alerts_json != NULL ? json_loads(alerts_json, 0, NULL) : NULL;
    forget_others(monitor);
    alert_book_drop(&monitor->book);
    alert_book_restore(&monitor->book, json_object_get(kept, "book"), loop_now_us(monitor->loop),
                       loop_wall_us(monitor->loop));
    json_decref(kept);
    if (monitor->is_configured)
        keep_forget(monitor->keep, is_watched, monitor);
}

static void on_lost(void *context)
{
    struct monitor *monitor = context;
    alert_book_drop(&monitor->book);
}

static void on_shown(void *context, const char *alerts_json, const char *process)
{
    struct monitor *monitor = context;
    size_t index;
    json_t *alert;
    bool is_same = alerts_json == NULL ? monitor->others_text == NULL
                                       : monitor->others_text != NULL && strcmp(alerts_json, monitor->others_text) == 0;
    if (is_same)
        return;
    forget_others(monitor);
    monitor->book.is_changed = true;
    if (alerts_json == NULL)
        return;
    json_t *kept = json_loads(alerts_json, 0, NULL);
    monitor->others_text = copy_text(alerts_json);
    monitor->others = json_incref(json_object_get(kept, "shown"));
    json_decref(kept);
    json_array_foreach(monitor->others, index, alert) json_put_text(alert, "process", process);
}

static bool on_known(void *context, json_t *known)
{
    const struct monitor *monitor = context;
    char number[24];
    for (const struct watched_source *source = monitor->sources; source != NULL; source = source->next) {
        for (const struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next) {
            (void)snprintf(number, sizeof number, "%" PRId64, pipeline->elsewhere_ms);
            if (pipeline->is_elsewhere)
                json_object_set_new(known, pipeline->name, json_string(number));
        }
    }
    return json_object_size(known) > 0;
}

static void on_status(void *context, const char *name, const char *status_json, int64_t saved_ms)
{
    const struct monitor *monitor = context;
    for (const struct watched_source *source = monitor->sources; source != NULL; source = source->next) {
        for (struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next) {
            if (!pipeline->is_elsewhere || strcmp(pipeline->name, name) != 0)
                continue;
            watched_pipeline_take_status(pipeline, status_json, loop_now_us(monitor->loop));
            pipeline->elsewhere_ms = saved_ms;
        }
    }
}

// That its own catalog is away no other process can know; of the rest, one tells.
static bool may_send(void *context, const struct alert *alert)
{
    const struct monitor *monitor = context;
    return alert_is_own(alert) || keep_may_tell(monitor->keep);
}

static bool keep_open(struct monitor *monitor, struct catalog *catalog, const char *scope, struct err *out_error)
{
    const struct keep_events events = {.on_mine = on_mine,
                                       .on_lost = on_lost,
                                       .on_shown = on_shown,
                                       .on_known = on_known,
                                       .on_status = on_status,
                                       .context = monitor};
    monitor->keep = keep_new(monitor->loop, catalog, scope, &events, out_error);
    alert_book_set_gate(&monitor->book, may_send, monitor);
    return monitor->keep != NULL;
}

// --- life --------------------------------------------------------------------------------------------------------

static void *run(void *context)
{
    struct monitor *monitor = context;
    process_name_thread("monitor");
    loop_run(monitor->loop);
    return NULL;
}

static bool open_all(struct monitor *monitor, struct catalog *catalog, const char *scope, struct err *out_error)
{
    const struct alert_book_events book_events = {
        .on_raised = on_raised, .on_resolved = on_resolved, .context = monitor};
    const struct alert_post_events post_events = {.on_posted = on_posted, .context = monitor};
    const struct monitor_settings *settings = &monitor->settings;
    uint64_t minute_us = 60 * settings->second_us;
    schedule_init(&monitor->schedule, settings->poll_interval_s * settings->second_us, settings->checks_max,
                  settings->connections_max);
    alert_book_init(&monitor->book, settings->alert_url != NULL, minute_us, settings->notify_after_min * minute_us,
                    &book_events);
    monitor->loop = loop_new(&clock_system, out_error);
    if (monitor->loop == NULL)
        return false;
    monitor->resolver = resolver_new(monitor->loop, out_error);
    monitor->mailbox = mailbox_new(monitor->loop, MESSAGES_MAX, on_message, monitor, out_error);
    if (monitor->resolver == NULL || monitor->mailbox == NULL || !keep_open(monitor, catalog, scope, out_error))
        return false;
    if (settings->alert_url != NULL) {
        monitor->client = http_client_new(monitor->loop, out_error);
        if (monitor->client == NULL)
            return false;
        monitor->post = alert_post_new(monitor->loop, monitor->client, &monitor->book, settings, &post_events);
        monitor_url_describe(settings->alert_url, monitor->alert_text, sizeof monitor->alert_text);
        log_line(LOG_INFO, NULL, "alerts_on", "alerts are posted to %s", monitor->alert_text);
    }
    loop_timer_set(monitor->loop, &monitor->round_timer, 1);
    publish_alerts(monitor);
    return true;
}

// Nothing of it runs any more. What was being posted is kept as not taken.
static void end_all(struct monitor *monitor)
{
    alert_post_free(monitor->post);
    monitor->post = NULL;
    if (monitor->keep == NULL)
        return;
    if (monitor->book.is_changed)
        publish_alerts(monitor);
    keep_stop(monitor->keep);
    while (monitor->sources != NULL) {
        struct watched_source *source = monitor->sources;
        monitor->sources = source->next;
        watched_source_free(source);
    }
}

static void close_all(struct monitor *monitor)
{
    alert_book_deinit(&monitor->book);
    forget_others(monitor);
    keep_free(monitor->keep);
    if (monitor->client != NULL)
        http_client_free(monitor->client);
    if (monitor->mailbox != NULL)
        mailbox_free(monitor->mailbox, discard_message);
    if (monitor->resolver != NULL)
        resolver_free(monitor->resolver);
    if (monitor->loop != NULL) {
        loop_timer_stop(monitor->loop, &monitor->round_timer);
        loop_timer_stop(monitor->loop, &monitor->schedule_timer);
        loop_defer_stop(monitor->loop, &monitor->pump_again);
        loop_free(monitor->loop);
    }
    wipe_free(monitor->alert_url);
    free(monitor->alert_ca_file);
    free(monitor);
}

struct monitor *monitor_new(const struct monitor_settings *settings, struct board *board, struct catalog *catalog,
                            const char *scope, struct err *out_error)
{
    struct monitor *monitor = calloc(1, sizeof *monitor);
    CHECK(monitor != NULL);
    monitor->board = board;
    monitor->settings = *settings;
    monitor->settings.alert_url = monitor->alert_url = copy_text(settings->alert_url);
    monitor->settings.alert_ca_file = monitor->alert_ca_file = copy_text(settings->alert_ca_file);
    monitor->round_timer = (struct loop_timer){.on_due = on_round, .context = monitor};
    monitor->pump_again = (struct loop_deferred){.call = on_pump_again, .context = monitor};
    monitor->schedule_timer = (struct loop_timer){.on_due = on_schedule, .context = monitor};
    // What is made here is the thread's from its start on, and this thread's again after it was joined.
    bool is_open = open_all(monitor, catalog, scope, out_error);
    if (is_open && pthread_create(&monitor->thread, NULL, run, monitor) != 0)
        is_open = err_set(out_error, ERR_INTERNAL, "thread", "the WAL monitor's thread cannot be started");
    if (is_open)
        return monitor;
    end_all(monitor);
    close_all(monitor);
    return NULL;
}

bool monitor_send(struct monitor *monitor, struct monitor_config *take_config)
{
    return mailbox_send(monitor->mailbox, take_config);
}

void monitor_stop(struct monitor *monitor)
{
    // Full only as long as the thread has not had a turn.
    while (!mailbox_send(monitor->mailbox, &the_end))
        sched_yield();
    pthread_join(monitor->thread, NULL);
    log_line(LOG_INFO, NULL, "monitor_ended", "the WAL monitor ended after %" PRIu64 " looks at sources",
             monitor->check_count);
    end_all(monitor);
}

void monitor_free(struct monitor *monitor)
{
    if (monitor != NULL)
        close_all(monitor);
}
