#include "supervisor/supervisor.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "catalog/requests.h"
#include "io/mailbox.h"
#include "supervisor/crew.h"
#include "supervisor/hold_command.h"
#include "supervisor/job.h"
#include "supervisor/report.h"
#include "supervisor/resync_command.h"
#include "supervisor/signals.h"

#define ANSWERS_MAX 64
#define REPORT_INTERVAL_US 250000

struct supervisor {
    struct loop *loop;
    struct crew *crew;
    struct signals signals;
    uint64_t id;
    char pipeline[CATALOG_NAME_SIZE];
    struct catalog *catalog;
    struct mailbox *answers;       // of the catalog
    uint32_t asked_count;          // requests under way
    struct loop_timer poll_timer;  // for commands
    uint64_t poll_interval_us;
    struct loop_timer report_timer;
    struct report report;
    struct job job;  // the one pipeline, as a service would list it
    bool has_ended, has_failed;
    struct err error;
};

static void on_live(void *context, uint64_t id)
{
    (void)context;
    (void)id;
}

// --- commands, which the catalog carries -------------------------------------------------------------------------

static void stop_if_done(const struct supervisor *supervisor)
{
    if (supervisor->has_ended && supervisor->asked_count == 0)
        loop_stop(supervisor->loop);
}

static void on_hold_answered(void *context, int64_t command_id, bool has_failed, const char *text)
{
    const struct supervisor *supervisor = context;
    catalog_command_answer(supervisor->catalog, command_id, has_failed, text);
}

static void on_resync_taken(void *context, uint64_t id, int64_t command_id, uint32_t table_count)
{
    const struct supervisor *supervisor = context;
    char text[96];
    (void)id;
    bool is_taken = resync_command_answer(table_count, text, sizeof text);
    catalog_command_answer(supervisor->catalog, command_id, !is_taken, text);
}

static void resync_do(struct supervisor *supervisor, const struct catalog_command *command)
{
    char **names = NULL;
    uint32_t count = 0;
    if (!resync_command_read(command, &names, &count))
        catalog_command_answer(supervisor->catalog, command->id, true, "its arguments cannot be read");
    else if (!crew_resync(supervisor->crew, supervisor->id, command->id, names, count))
        catalog_command_answer(supervisor->catalog, command->id, true, "the pipeline has just stopped");
}

static void command_do(struct supervisor *supervisor, const struct catalog_command *command)
{
    struct pipeline_hold_order order;
    struct err error = {0};
    if (resync_command_is(command))
        resync_do(supervisor, command);
    else if (!hold_command_is(command))
        catalog_command_answer(supervisor->catalog, command->id, true,
                               "a pipeline that runs by run --from --to does not know the command");
    else if (!hold_command_read(command, &order, &error))
        catalog_command_answer(supervisor->catalog, command->id, true, error.text);
    else if (supervisor->has_ended || !crew_hold(supervisor->crew, supervisor->id, &order))
        catalog_command_answer(supervisor->catalog, command->id, true, "the pipeline has just stopped");
}

static void on_answer(void *context, void *message)
{
    struct supervisor *supervisor = context;
    struct catalog_request *request = message;
    supervisor->asked_count--;
    report_answered(&supervisor->report, &request->error, loop_now_us(supervisor->loop),
                    loop_wall_us(supervisor->loop));
    for (uint32_t i = 0; i < request->command_count; i++)
        command_do(supervisor, &request->commands[i]);
    catalog_request_free(request);
    stop_if_done(supervisor);
}

static void on_poll(struct loop_timer *timer)
{
    struct supervisor *supervisor = timer->context;
    struct catalog_request *request = catalog_request_new(CATALOG_ASK_COMMANDS, supervisor->pipeline);
    log_held_back_tell();
    request->reply_to = supervisor->answers;
    if (catalog_ask(supervisor->catalog, request)) {
        supervisor->asked_count++;
        report_asked(&supervisor->report, loop_now_us(supervisor->loop));
    } else {
        catalog_request_free(request);  // the next poll asks again
    }
    loop_timer_set(supervisor->loop, timer, supervisor->poll_interval_us);
}

static void report_now(struct supervisor *supervisor)
{
    report_jobs(&supervisor->report, &supervisor->job);
    report_publish(&supervisor->report, loop_now_us(supervisor->loop), loop_wall_us(supervisor->loop));
}

static void on_report_due(struct loop_timer *timer)
{
    struct supervisor *supervisor = timer->context;
    report_now(supervisor);
    loop_timer_set(supervisor->loop, timer, REPORT_INTERVAL_US);
}

static void report_open(struct supervisor *supervisor, const struct plan *plan)
{
    (void)snprintf(supervisor->job.name, sizeof supervisor->job.name, "%s", plan->name);
    supervisor->job.is_wanted = true;
    supervisor->job.state = JOB_RUNNING;
    supervisor->report_timer = (struct loop_timer){.on_due = on_report_due, .context = supervisor};
    report_init(&supervisor->report, plan->pipeline.board, catalog_text(plan->pipeline.catalog),
                plan->pipeline.look_interval_ms / 1000, loop_wall_us(supervisor->loop));
    supervisor->report.is_ready = true;
    report_now(supervisor);
    loop_timer_set(supervisor->loop, &supervisor->report_timer, REPORT_INTERVAL_US);
}

static bool commands_open(struct supervisor *supervisor, const struct plan *plan, struct err *out_error)
{
    (void)snprintf(supervisor->pipeline, sizeof supervisor->pipeline, "%s", plan->name);
    supervisor->catalog = plan->pipeline.catalog;
    supervisor->poll_interval_us = (uint64_t)plan->pipeline.look_interval_ms * 1000;
    supervisor->poll_timer = (struct loop_timer){.on_due = on_poll, .context = supervisor};
    supervisor->answers = mailbox_new(supervisor->loop, ANSWERS_MAX, on_answer, supervisor, out_error);
    return supervisor->answers != NULL;
}

// --- the one pipeline --------------------------------------------------------------------------------------------

static void on_ended(void *context, uint64_t id, const struct err *error, char **status)
{
    (void)status;
    struct supervisor *supervisor = context;
    CHECK(id == supervisor->id);
    supervisor->has_ended = true;
    supervisor->job.state = JOB_IDLE;
    supervisor->has_failed = error != NULL;
    if (error != NULL)
        supervisor->error = *error;
    loop_timer_stop(supervisor->loop, &supervisor->poll_timer);
    stop_if_done(supervisor);
}

static void on_signal(void *context, unsigned count)
{
    struct supervisor *supervisor = context;
    supervisor->report.is_stopping = true;
    report_now(supervisor);
    if (count == 1)
        crew_stop(supervisor->crew, supervisor->id);
    else
        loop_stop(supervisor->loop);  // the second one ends at once
}

enum supervisor_outcome supervisor_run(struct plan *take_plan, struct err *out_error)
{
    struct supervisor supervisor = {0};
    struct crew_events events = {.on_live = on_live,
                                 .on_ended = on_ended,
                                 .on_resync_taken = on_resync_taken,
                                 .on_hold_answered = on_hold_answered,
                                 .context = &supervisor};
    supervisor.loop = loop_new(&clock_system, out_error);
    if (supervisor.loop != NULL &&
        signals_open(&supervisor.signals, supervisor.loop, on_signal, &supervisor, out_error) &&
        commands_open(&supervisor, take_plan, out_error))
        supervisor.crew = crew_new(supervisor.loop, 1, &events, out_error);
    if (supervisor.crew != NULL) {
        report_open(&supervisor, take_plan);
        supervisor.id = crew_start(supervisor.crew, take_plan);
        loop_timer_set(supervisor.loop, &supervisor.poll_timer, supervisor.poll_interval_us);
        loop_run(supervisor.loop);
        if (!supervisor.has_ended)
            return SUPERVISOR_INTERRUPTED;  // the worker still runs: the process ends with it, nothing is freed under it
        crew_free(supervisor.crew);
        if (supervisor.has_failed)
            *out_error = supervisor.error;
        loop_timer_stop(supervisor.loop, &supervisor.report_timer);
    } else {
        plan_free(take_plan);
    }
    signals_close(&supervisor.signals);
    if (supervisor.answers != NULL)
        mailbox_free(supervisor.answers, catalog_request_discard);
    if (supervisor.loop != NULL)
        loop_free(supervisor.loop);
    return supervisor.has_ended && !supervisor.has_failed ? SUPERVISOR_STOPPED : SUPERVISOR_FAILED;
}
