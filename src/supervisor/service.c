#include "supervisor/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "catalog/requests.h"
#include "io/metric_registry.h"
#include "supervisor/configure.h"
#include "supervisor/crew.h"
#include "supervisor/hold_command.h"
#include "supervisor/job.h"
#include "supervisor/left_behind.h"
#include "supervisor/report.h"
#include "supervisor/resync_command.h"
#include "supervisor/signals.h"
#include "supervisor/watching.h"

#define ANSWERS_MAX 4096
#define HEALTHY_US 600000000  // a life of that length clears the count of failures
#define ASK_AGAIN_US 250000
#define AWAY_POLL_US 5000000  // while the catalog fails it is asked again this soon at the latest
#define CLAIM_AGAIN_US_MAX \
    5000000  // a pipeline of a process that died stands still no longer, whatever the poll interval

struct service {
    const struct service_options *options;
    struct loop *loop;
    struct mailbox *answers;
    struct signals signals;
    struct crew *crew;
    struct key_ring *keys;
    struct catalog_config *config;  // as it was read last
    struct job *jobs;
    struct report report;
    struct watching watching;
    struct loop_timer poll_timer, tick_timer;
    bool is_config_asked, is_config_wanted;
    bool is_look_asked, is_look_wanted;  // for commands that wait
    bool is_left_asked, is_left_due;     // for pipelines whose rows were deleted
    uint32_t asked_count;                // requests under way, of whatever kind
    bool is_stopping, is_stopped;
};

static void advance(struct service *service, struct job *job);
static void command_do(struct service *service, const struct catalog_command *command);

// --- requests ----------------------------------------------------------------------------------------------------

static bool ask(struct service *service, enum catalog_request_kind kind, const char *pipeline)
{
    struct catalog_request *request = catalog_request_new(kind, pipeline);
    request->reply_to = service->answers;
    request->context = service;
    if (catalog_ask(service->options->catalog, request)) {
        service->asked_count++;
        return true;
    }
    catalog_request_free(request);  // too many are under way: the tick tries again
    return false;
}

static void config_ask(struct service *service)
{
    if (service->is_stopping)
        return;
    if (service->is_config_asked)
        service->is_config_wanted = true;
    else
        service->is_config_asked = ask(service, CATALOG_ASK_CONFIG, "");
    if (service->is_config_asked)
        report_asked(&service->report, loop_now_us(service->loop));
}

// One question for all pipelines; those that something waits for are asked for it one by one.
static void commands_look(struct service *service)
{
    if (service->is_stopping)
        return;
    if (service->is_look_asked)
        service->is_look_wanted = true;
    else
        service->is_look_asked = ask(service, CATALOG_ASK_WAITING, "");
}

// What pipelines that were removed with plain SQL have left, once they have ended.
static void left_look(struct service *service)
{
    if (!service->is_left_due || service->is_left_asked || service->is_stopping || service->config == NULL)
        return;
    for (const struct job *job = service->jobs; job != NULL; job = job->next)
        if (job->is_gone)
            return;
    service->is_left_asked = ask(service, CATALOG_ASK_LEFT, "");
    service->is_left_due = !service->is_left_asked;
}

// --- jobs --------------------------------------------------------------------------------------------------------

static struct job *find(const struct service *service, const char *name)
{
    struct job *job = service->jobs;
    while (job != NULL && strcmp(job->name, name) != 0)
        job = job->next;
    return job;
}

static struct job *find_run(const struct service *service, uint64_t id)
{
    struct job *job = service->jobs;
    while (job != NULL && (job->run_id != id || (job->state != JOB_RUNNING && job->state != JOB_STOPPING)))
        job = job->next;
    return job;
}

static void show(struct service *service, const struct job *job)
{
    job_show(job, service->options->board, loop_now_us(service->loop), loop_wall_us(service->loop));
}

static void publish(struct service *service, const struct job *job)
{
    show(service, job);
    // While it runs the pipeline speaks for itself, and of one that another process runs that process does. While it is
    // claimed nobody knows which of the two it is.
    if (job->state == JOB_RUNNING || job->state == JOB_CLAIMING || job->is_elsewhere || job->is_gone ||
        (job->state == JOB_IDLE && job->is_asked))
        return;
    struct catalog_save *save = catalog_save_new(0, 0);
    (void)snprintf(save->pipeline.name, sizeof save->pipeline.name, "%s", job->name);
    save->claim = job->claim;
    save->status_json = job_status(job, loop_now_us(service->loop), loop_wall_us(service->loop));
    if (!catalog_send(service->options->catalog, save))
        catalog_save_free(save);
}

static void report_now(struct service *service)
{
    for (struct job *job = service->jobs; job != NULL; job = job->next)
        job_meter(job);
    metric_set_to(METRIC_CATALOG_HEALTHY, report_is_catalog_healthy(&service->report, loop_now_us(service->loop)),
                  catalog_is_postgres(service->options->catalog) ? "postgres" : "sqlite");
    report_jobs(&service->report, service->jobs);
    report_publish(&service->report, loop_now_us(service->loop), loop_wall_us(service->loop));
}

static void set_state(struct service *service, struct job *job, enum job_state state)
{
    struct log_scope scope = {.pipeline = job->name};
    if (job->state == state)
        return;
    job->state = state;
    log_line(LOG_DEBUG, &scope, "job", "%s", job_state_word(job));
    report_now(service);  // first: whoever sees the pipeline's new state finds it counted
    publish(service, job);
}

static void job_failed(struct service *service, struct job *job, const struct err *error)
{
    struct log_scope scope = {.pipeline = job->name};
    uint32_t delay_ms = 0;
    if (job->failing_since_us == 0)
        job->failing_since_us = loop_wall_us(service->loop);
    job->failure_count++;
    job->error = *error;
    if (error->kind == ERR_FENCED) {
        log_line(LOG_ERROR, &scope, "fenced", "it stays stopped until it is started again: %s", error->text);
        set_state(service, job, JOB_FENCED);
        return;
    }
    backoff_next(&job->backoff, &delay_ms);
    job->retry_us = loop_now_us(service->loop) + (uint64_t)delay_ms * 1000;
    log_line(LOG_ERROR, &scope, "pipeline_failed", "it is started again in %" PRIu32 " s: %s", (delay_ms + 999) / 1000,
             error->text);
    set_state(service, job, JOB_WAITING);
}

static void job_forgive(struct job *job)
{
    backoff_reset(&job->backoff);
    job->failing_since_us = 0;
    job->failure_count = 0;
    err_clear(&job->error);
}

static void commands_ask(struct service *service, struct job *job)
{
    if ((job->state == JOB_RUNNING || job->state == JOB_WAITING || job->state == JOB_FENCED) && !service->is_stopping)
        ask(service, CATALOG_ASK_COMMANDS, job->name);
}

static void job_start(struct service *service, struct job *job, struct catalog_request *answer)
{
    struct err error = {0};
    const struct catalog_object *object = catalog_config_find(service->config, CATALOG_PIPELINE, job->name);
    job->is_changed = false;  // also where no plan can be made of it as it is now: that waits like any failure
    struct plan *plan = object != NULL ? configure_plan(service->config, object, service->keys, &error) : NULL;
    if (object == NULL) {
        set_state(service, job, JOB_IDLE);
        return;
    }
    if (plan == NULL) {
        job_failed(service, job, &error);
        return;
    }
    plan->known = answer->known;
    memset(&answer->known, 0, sizeof answer->known);
    plan->pipeline.catalog = service->options->catalog;
    plan->pipeline.board = service->options->board;
    plan->pipeline.claim = job->claim;
    plan->pipeline.takes_commands = true;
    plan->pipeline.stop_deadline_ms = service->options->stop_deadline_ms;
    plan->pipeline.look_interval_ms = service->options->poll_interval_s * 1000;
    plan->memory_bytes = service->options->memory_bytes;
    plan_finish(plan);
    job->started_us = loop_now_us(service->loop);
    job->run_id = crew_start(service->crew, plan);
    set_state(service, job, JOB_RUNNING);
    for (uint32_t i = 0; i < job->held_count; i++) {
        command_do(service, &job->held[i]);
        free(job->held[i].arguments);
    }
    job->held_count = 0;
    commands_ask(service, job);
}

static void claim_give_back(struct service *service, struct job *job)
{
    if (job->has_claim && ask(service, CATALOG_ASK_RELEASE, job->name))
        job->has_claim = false;
}

static bool is_startable(const struct service *service, const struct job *job)
{
    return job->is_wanted && !job->is_gone && !service->is_stopping;
}

static void held_refuse(struct service *service, struct job *job, const char *why)
{
    for (uint32_t i = 0; i < job->held_count; i++) {
        catalog_command_answer(service->options->catalog, job->held[i].id, true, why);
        free(job->held[i].arguments);
    }
    job->held_count = 0;
}

// What follows from a job's state and from what is wanted of it.
static void advance(struct service *service, struct job *job)
{
    bool is_startable_now = is_startable(service, job);
    // What waits for it to run waits for nothing any more; a service that ends says so at its end.
    if (job->held_count > 0 && job->is_gone)
        held_refuse(service, job, "the pipeline was removed before it ran again");
    else if (job->held_count > 0 && !job->is_wanted)
        held_refuse(service, job, "the pipeline was paused before it ran again; start it, and give the command again");
    switch (job->state) {
    case JOB_IDLE:
        if (!is_startable_now) {
            claim_give_back(service, job);
            // Not run in this process, and paused: what it holds back is known to the catalog.
            if (job->last_status == NULL && !job->was_looked_up && !job->is_gone && !service->is_stopping)
                job->was_looked_up = job->is_asked = ask(service, CATALOG_ASK_KNOWN, job->name);
        } else if (loop_now_us(service->loop) < job->claim_retry_us)
            break;
        else if (!job->is_asked && ask(service, job->has_claim ? CATALOG_ASK_KNOWN : CATALOG_ASK_CLAIM, job->name)) {
            job->is_asked = true;
            set_state(service, job, job->has_claim ? JOB_READING : JOB_CLAIMING);
        }
        break;
    case JOB_CLAIMING:
    case JOB_READING:
    case JOB_STOPPING: break;
    case JOB_RUNNING:
        if (is_startable_now && !job->is_changed)
            break;
        crew_stop(service->crew, job->run_id);
        set_state(service, job, JOB_STOPPING);
        break;
    case JOB_WAITING:
    case JOB_FENCED:
        if (!is_startable_now || job->is_changed ||
            (job->state == JOB_WAITING && loop_now_us(service->loop) >= job->retry_us)) {
            if (!job->is_wanted || job->is_changed)
                job_forgive(job);
            job->is_changed = false;
            set_state(service, job, JOB_IDLE);
            advance(service, job);
        }
        break;
    }
}

// Frees jobs that are gone and idle; ends the service when nothing is left to do.
static void settle(struct service *service)
{
    for (struct job **link = &service->jobs; *link != NULL;) {
        struct job *job = *link;
        if (job->is_gone && job->state == JOB_IDLE && !job->is_asked && !job->has_claim) {
            *link = job->next;
            show(service, job);
            metric_forget("pipeline_name", job->name);
            service->is_left_due |= !job->is_elsewhere;
            job_free(job);
        } else {
            link = &job->next;
        }
    }
    bool is_busy = crew_running_count(service->crew) > 0 || service->asked_count > 0;
    for (const struct job *job = service->jobs; job != NULL; job = job->next)
        is_busy |= job->state == JOB_RUNNING || job->state == JOB_STOPPING;
    if (service->is_stopping && !is_busy) {
        service->is_stopped = true;
        loop_stop(service->loop);
    }
}

static void advance_all(struct service *service)
{
    for (struct job *job = service->jobs; job != NULL; job = job->next)
        advance(service, job);
    settle(service);
}

// --- what is configured ------------------------------------------------------------------------------------------

static bool is_same(const struct catalog_config *a, const struct catalog_config *b, enum catalog_kind kind,
                    const char *name)
{
    const struct catalog_object *left = catalog_config_find(a, kind, name);
    const struct catalog_object *right = catalog_config_find(b, kind, name);
    return left != NULL && right != NULL && catalog_object_is_same(left, right);
}

static bool is_changed(const struct catalog_config *before, const struct catalog_config *now,
                       const struct catalog_object *pipeline)
{
    return before != NULL && catalog_config_find(before, CATALOG_PIPELINE, pipeline->name) != NULL &&
           !(is_same(before, now, CATALOG_PIPELINE, pipeline->name) &&
             is_same(before, now, CATALOG_SOURCE, pipeline->source) &&
             is_same(before, now, CATALOG_DESTINATION, pipeline->destination));
}

static void config_apply(struct service *service, struct catalog_config *take_config)
{
    // Mostly, as it is asked for every few seconds. What is due by itself is on_tick's.
    if (service->config != NULL && catalog_config_is_same(service->config, take_config)) {
        catalog_config_free(take_config);
        return;
    }
    for (struct job *job = service->jobs; job != NULL; job = job->next)
        job->is_gone = catalog_config_find(take_config, CATALOG_PIPELINE, job->name) == NULL;
    for (uint32_t i = 0; i < take_config->counts[CATALOG_PIPELINE]; i++) {
        const struct catalog_object *pipeline = &take_config->objects[CATALOG_PIPELINE][i];
        struct job *job = find(service, pipeline->name);
        bool is_new = job == NULL;
        if (is_new) {
            job = job_new(pipeline->name, (uint64_t)loop_wall_us(service->loop) + i);
            job->next = service->jobs;
            service->jobs = job;
        }
        struct log_scope scope = {.pipeline = job->name};
        if (is_changed(service->config, take_config, pipeline)) {
            log_line(LOG_INFO, &scope, "changed", "its configuration changed");
            job->is_changed = true;
        }
        bool is_news = is_new || job->is_wanted != pipeline->is_wanted;
        job->is_wanted = pipeline->is_wanted;
        if (is_news)
            show(service, job);
    }
    watching_apply(&service->watching, take_config);
    catalog_config_free(service->config);
    service->config = take_config;
    advance_all(service);
}

// --- commands ----------------------------------------------------------------------------------------------------

static void command_hold(struct job *job, const struct catalog_command *command)
{
    job->held = reallocarray(job->held, job->held_count + 1, sizeof *job->held);
    CHECK(job->held != NULL);
    job->held[job->held_count] = *command;
    job->held[job->held_count].arguments = strdup(command->arguments);
    CHECK(job->held[job->held_count++].arguments != NULL);
}

static void hold_do(struct service *service, const struct job *job, const struct catalog_command *command)
{
    struct pipeline_hold_order order;
    struct err error = {0};
    if (!hold_command_read(command, &order, &error))
        catalog_command_answer(service->options->catalog, command->id, true, error.text);
    else if (job == NULL || job->state != JOB_RUNNING || !crew_hold(service->crew, job->run_id, &order))
        catalog_command_answer(service->options->catalog, command->id, true,
                               "the pipeline does not run now; see its status");
}

static void command_do(struct service *service, const struct catalog_command *command)
{
    struct log_scope scope = {.pipeline = command->pipeline};
    struct job *job = find(service, command->pipeline);
    char **names = NULL;
    uint32_t count = 0;
    if (strcmp(command->word, "start") == 0) {
        bool is_again = job != NULL && (job->state == JOB_WAITING || job->state == JOB_FENCED);
        if (is_again) {
            job_forgive(job);
            set_state(service, job, JOB_IDLE);
            advance(service, job);
        }
        catalog_command_answer(service->options->catalog, command->id, false,
                               is_again ? "it is started again" : "it runs already");
        return;
    }
    if (hold_command_is(command)) {
        hold_do(service, job, command);
        return;
    }
    if (!resync_command_is(command)) {
        catalog_command_answer(service->options->catalog, command->id, true,
                               "this service does not know the command; it may be an older one");
        return;
    }
    // About to run: at first, again after a failure, or with a changed configuration.
    if (job != NULL && job->state != JOB_RUNNING && is_startable(service, job)) {
        command_hold(job, command);
        return;
    }
    if (job == NULL || job->state != JOB_RUNNING) {
        catalog_command_answer(service->options->catalog, command->id, true,
                               "the pipeline has just stopped; give the command again");
        return;
    }
    if (!resync_command_read(command, &names, &count)) {
        catalog_command_answer(service->options->catalog, command->id, true, "its arguments cannot be read");
        return;
    }
    log_line(LOG_INFO, &scope, "command", "resync of %" PRIu32 "%s tables", count, count == 0 ? " (all)" : "");
    if (!crew_resync(service->crew, job->run_id, command->id, names, count))
        catalog_command_answer(service->options->catalog, command->id, true,
                               "the pipeline has just stopped; give the command again");
}

static void on_resync_taken(void *context, uint64_t id, int64_t command_id, uint32_t table_count)
{
    const struct service *service = context;
    char text[96];
    (void)id;
    bool is_taken = resync_command_answer(table_count, text, sizeof text);
    catalog_command_answer(service->options->catalog, command_id, !is_taken, text);
}

static void on_hold_answered(void *context, int64_t command_id, bool has_failed, const char *text)
{
    const struct service *service = context;
    catalog_command_answer(service->options->catalog, command_id, has_failed, text);
}

// --- answers of the catalog ----------------------------------------------------------------------------------------

// Another process has it, or the catalog cannot be asked: neither is a failure of the pipeline, nor a reason to wait ever longer.
static void claim_refused(struct service *service, struct job *job, const struct err *error)
{
    struct log_scope scope = {.pipeline = job->name};
    uint64_t wait_us = (uint64_t)service->options->poll_interval_s * 1000000;
    bool is_held = error->kind == ERR_FENCED;
    if (is_held && !job->is_elsewhere)
        log_line(LOG_INFO, &scope, "claimed_elsewhere", "%s", error->text);
    else if (!is_held)
        log_line(LOG_WARNING, &scope, "not_claimed", "%s", error->text);
    if (is_held)
        job_forgive(job);
    else
        job->error = *error;
    job->is_elsewhere = is_held;
    job->claim_retry_us = loop_now_us(service->loop) + (wait_us < CLAIM_AGAIN_US_MAX ? wait_us : CLAIM_AGAIN_US_MAX);
    job->state = JOB_IDLE;
    show(service, job);
}

static void claim_answered(struct service *service, struct job *job, const struct catalog_request *request)
{
    job->is_asked = false;
    if (err_is_set(&request->error)) {
        claim_refused(service, job, &request->error);
        return;
    }
    job->is_elsewhere = false;
    job->claim_retry_us = 0;
    job->has_claim = true;
    job->claim = request->claim;
    job->state = JOB_IDLE;
    advance(service, job);
}

static void known_answered(struct service *service, struct job *job, struct catalog_request *request)
{
    job->is_asked = false;
    if (err_is_set(&request->error)) {
        job_failed(service, job, &request->error);
    } else if (is_startable(service, job) && !job->has_claim) {
        job->state = JOB_IDLE;  // it was lost meanwhile, and what was read may be history
        advance(service, job);
    } else if (is_startable(service, job)) {
        job_start(service, job, request);
    } else {
        if (job->last_status == NULL)
            job->last_status = job_known_status(&request->known);
        job->state = JOB_IDLE;
        publish(service, job);
        advance(service, job);
    }
}

static void config_answered(struct service *service, struct catalog_request *request)
{
    service->is_config_asked = false;
    report_answered(&service->report, &request->error, loop_now_us(service->loop), loop_wall_us(service->loop));
    if (err_is_set(&request->error)) {
        if (service->options->poll_interval_s > AWAY_POLL_US / 1000000)
            loop_timer_set(service->loop, &service->poll_timer, AWAY_POLL_US);
        log_line(LOG_WARNING, NULL, "catalog_away", "what runs goes on as it was configured: %s", request->error.text);
    } else if (!service->is_stopping) {
        struct catalog_config *config = request->config;
        request->config = NULL;
        config_apply(service, config);
        service->is_left_due = true;
        service->report.is_ready = true;
    }
    if (service->is_config_wanted) {
        service->is_config_wanted = false;
        config_ask(service);
    }
}

static void look_answered(struct service *service, const struct catalog_request *request)
{
    service->is_look_asked = false;
    for (uint32_t i = 0; i < request->command_count; i++) {
        struct job *job = find(service, request->commands[i].pipeline);
        if (job != NULL)
            commands_ask(service, job);
    }
    if (service->is_look_wanted) {
        service->is_look_wanted = false;
        commands_look(service);
    }
}

static void left_answered(struct service *service, const struct catalog_request *request)
{
    char text[LEFT_BEHIND_TEXT_SIZE];
    struct log_scope scope = {.pipeline = request->pipeline};
    service->is_left_asked = false;
    if (err_is_set(&request->error) || request->pipeline[0] == '\0')
        return;  // the next poll asks again
    service->is_left_due |= request->was_so;
    if (left_behind_format(&request->known, text, sizeof text))
        log_line(LOG_WARNING, &scope, "left_behind", "%s", text);
    else
        log_line(LOG_INFO, &scope, "removed", "it is not configured any more, and left nothing behind");
}

static void claim_lost(struct service *service, struct job *job)
{
    struct err error = {0};
    err_set(&error, ERR_TRANSIENT, "claim_lost",
            "the claim on the pipeline was lost (the catalog was away too long, or this process stood still); another "
            "process may run it now");
    job->has_claim = false;
    if (job->state == JOB_RUNNING || job->state == JOB_STOPPING) {
        crew_abort(service->crew, job->run_id, &error);
    } else if (job->state == JOB_FENCED) {
        // Whoever has the claim is the other writer, and not one that nobody knows: it is ours again when that process ends.
        job_forgive(job);
        set_state(service, job, JOB_IDLE);
        advance(service, job);
    }
}

static void on_answer(void *context, void *message)
{
    struct service *service = context;
    struct catalog_request *request = message;
    struct job *job = find(service, request->pipeline);
    bool is_told = request->kind == CATALOG_TOLD_CHANGED || request->kind == CATALOG_TOLD_CLAIM_LOST;
    service->asked_count -= !is_told;
    switch (request->kind) {
    case CATALOG_ASK_CONFIG: config_answered(service, request); break;
    case CATALOG_ASK_CLAIM:
        if (job != NULL)
            claim_answered(service, job, request);
        break;
    case CATALOG_ASK_KNOWN:
        if (job != NULL)
            known_answered(service, job, request);
        break;
    case CATALOG_ASK_WAITING: look_answered(service, request); break;
    case CATALOG_ASK_COMMANDS:
        for (uint32_t i = 0; i < request->command_count; i++)
            command_do(service, &request->commands[i]);
        break;
    case CATALOG_ASK_LEFT: left_answered(service, request); break;
    // Until its claim is free a pipeline that is gone counts as one that somebody runs.
    case CATALOG_ASK_RELEASE: service->is_left_due = true; break;
    case CATALOG_ASK_ANSWER:
    case CATALOG_ASK_FORGET:
    case CATALOG_ASK_CONTROL:
    case CATALOG_ASK_WATCH_LOAD:
    case CATALOG_ASK_WATCH_SAVE:
    case CATALOG_ASK_STATUSES:
    case CATALOG_ASK_COMMAND: break;
    case CATALOG_TOLD_CHANGED:
        config_ask(service);
        commands_look(service);
        break;
    case CATALOG_TOLD_CLAIM_LOST:
        if (job != NULL)
            claim_lost(service, job);
        break;
    }
    catalog_request_free(request);
    settle(service);
}

// --- news of the crew --------------------------------------------------------------------------------------------

static void on_live(void *context, uint64_t id)
{
    struct job *job = find_run(context, id);
    if (job != NULL)
        job_forgive(job);
}

static void on_ended(void *context, uint64_t id, const struct err *error, char **status)
{
    struct service *service = context;
    struct job *job = find_run(service, id);
    if (job == NULL)
        return;
    free(job->last_status);
    job->last_status = *status;
    *status = NULL;
    if (loop_now_us(service->loop) - job->started_us > HEALTHY_US)
        job_forgive(job);
    if (error != NULL && !service->is_stopping) {
        job_failed(service, job, error);
    } else {
        set_state(service, job, JOB_IDLE);
        // A pause or an edit; the same claim goes on when it starts again at once.
        advance(service, job);
    }
    settle(service);
}

// --- time --------------------------------------------------------------------------------------------------------

static void on_poll(struct loop_timer *timer)
{
    struct service *service = timer->context;
    config_ask(service);
    commands_look(service);
    loop_timer_set(service->loop, timer, (uint64_t)service->options->poll_interval_s * 1000000);
}

static void line_show(const struct service *service)
{
    uint32_t wanted = 0, running = 0, failed = 0;
    char line[128];
    for (const struct job *job = service->jobs; job != NULL; job = job->next) {
        wanted += job->is_wanted;
        running += job->state == JOB_RUNNING;
        failed += job->state == JOB_WAITING || job->state == JOB_FENCED;
    }
    (void)snprintf(line, sizeof line, "%" PRIu32 " of %" PRIu32 " pipelines run, %" PRIu32 " failed; etl-stream status",
                   running, wanted, failed);
    log_status_line(line);
}

static void pauses_note(struct service *service)
{
    char text[512];
    uint64_t now_us = loop_now_us(service->loop);
    for (struct job *job = service->jobs; job != NULL; job = job->next) {
        struct log_scope scope = {.pipeline = job->name};
        if (!job_pause_note(job, now_us, loop_wall_us(service->loop)))
            continue;
        const struct catalog_object *object = catalog_config_find(service->config, CATALOG_PIPELINE, job->name);
        int64_t held_bytes =
            object != NULL ? watching_held_bytes(service->options->board, object->source, job->name) : -1;
        if (job_pause_tell(job, now_us, held_bytes, text, sizeof text))
            log_line(LOG_WARNING, &scope, "paused_long", "%s", text);
    }
}

// Retries that are due, requests that the catalog's full mailbox refused, and what has to be said again.
static void on_tick(struct loop_timer *timer)
{
    struct service *service = timer->context;
    advance_all(service);
    report_now(service);
    pauses_note(service);
    left_look(service);
    log_held_back_tell();
    watching_tick(&service->watching);
    if (service->options->shows_progress)
        line_show(service);
    loop_timer_set(service->loop, timer, ASK_AGAIN_US);
}

static void on_signal(void *context, unsigned count)
{
    struct service *service = context;
    if (count > 1) {
        loop_stop(service->loop);  // the second one ends at once
        return;
    }
    log_line(LOG_INFO, NULL, "stopping", "%" PRIu32 " pipelines finish what is in flight",
             crew_running_count(service->crew));
    if (service->options->shows_progress)
        log_status_line("");
    service->is_stopping = service->report.is_stopping = true;
    report_now(service);
    advance_all(service);
}

// --- life --------------------------------------------------------------------------------------------------------

static bool service_open(struct service *service, struct err *out_error)
{
    struct crew_events events = {.on_live = on_live,
                                 .on_ended = on_ended,
                                 .on_resync_taken = on_resync_taken,
                                 .on_hold_answered = on_hold_answered,
                                 .context = service};
    service->keys = key_ring_new();
    service->loop = loop_new(&clock_system, out_error);
    if (service->loop == NULL)
        return false;
    service->poll_timer = (struct loop_timer){.on_due = on_poll, .context = service};
    service->tick_timer = (struct loop_timer){.on_due = on_tick, .context = service};
    service->answers = mailbox_new(service->loop, ANSWERS_MAX, on_answer, service, out_error);
    if (service->answers == NULL || !signals_open(&service->signals, service->loop, on_signal, service, out_error))
        return false;
    catalog_listen(service->options->catalog, service->answers);
    if (!catalog_start(service->options->catalog, out_error))
        return false;
    service->crew = crew_new(service->loop, service->options->worker_count, &events, out_error);
    if (service->crew == NULL || !watching_open(&service->watching, service->options->monitor, service->options->board,
                                                service->options->catalog, CATALOG_WATCH_SCOPE, out_error))
        return false;
    report_init(&service->report, service->options->board, catalog_text(service->options->catalog),
                service->options->poll_interval_s, loop_wall_us(service->loop));
    report_now(service);
    loop_timer_set(service->loop, &service->poll_timer, 1);
    loop_timer_set(service->loop, &service->tick_timer, ASK_AGAIN_US);
    return service->options->on_started == NULL || service->options->on_started(service->options->context, out_error);
}

static void service_close(struct service *service)
{
    crew_free(service->crew);
    watching_stop(&service->watching);
    if (service->options->on_closing != NULL)
        service->options->on_closing(service->options->context);
    for (struct job *job = service->jobs; job != NULL; job = job->next)
        held_refuse(service, job, "the service ended before the pipeline ran; give the command again");
    catalog_close(service->options->catalog);
    watching_close(&service->watching);
    signals_close(&service->signals);
    if (service->loop != NULL) {
        loop_timer_stop(service->loop, &service->poll_timer);
        loop_timer_stop(service->loop, &service->tick_timer);
    }
    if (service->answers != NULL)
        mailbox_free(service->answers, catalog_request_discard);
    while (service->jobs != NULL) {
        struct job *job = service->jobs;
        service->jobs = job->next;
        job_free(job);
    }
    catalog_config_free(service->config);
    key_ring_free(service->keys);
    if (service->loop != NULL)
        loop_free(service->loop);
}

enum supervisor_outcome service_run(const struct service_options *options, struct err *out_error)
{
    struct service service = {.options = options};
    bool is_open = service_open(&service, out_error);
    if (is_open) {
        loop_run(service.loop);
        if (!service.is_stopped)
            return SUPERVISOR_INTERRUPTED;  // workers still run: the process ends with them, nothing is freed under them
    }
    service_close(&service);
    return is_open ? SUPERVISOR_STOPPED : SUPERVISOR_FAILED;
}
