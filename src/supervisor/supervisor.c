#include "supervisor/supervisor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "encode/zstd_frame.h"
#include "io/http_client.h"
#include "io/mailbox.h"
#include "io/resolver.h"
#include "sinks/snowflake/sf_auth.h"

#define ZSTD_LEVEL 1
#define COMMANDS_MAX 16
#define PROGRESS_INTERVAL_US 500000
#define MERGE_LOCK_TIMEOUT_S 60

enum worker_event { WORKER_ENDED = 1, WORKER_LIVE };
enum worker_command { WORKER_STOP = 1 };

// A message is one of these constants as a pointer; what belongs to it is in the worker, which main reads after the thread has ended.
static void *as_message(intptr_t value)
{
    return (void *)value;
}

struct supervisor;

struct worker {
    struct supervisor *supervisor;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *commands;
    struct resolver *resolver;
    struct http_client *http;
    struct zstd_worker *zstd;
    struct sf_auth *auth;
    struct pipeline *pipeline;
    struct loop_timer progress_timer;
    struct err error;  // why the pipeline ended
    bool has_failed;
};

struct supervisor {
    const struct supervisor_options *options;
    struct loop *loop;
    struct mailbox *events;
    struct loop_watch signal_watch;
    int signal_fd;
    uint32_t signal_count;
    bool has_ended;
    struct worker worker;
};

// --- the worker's thread -----------------------------------------------------------------------------------------

static struct sink *sink_new(void *context, const char *identity, const struct sink_events *events)
{
    struct worker *worker = context;
    const struct supervisor_options *options = worker->supervisor->options;
    const struct destination_tools tools = {
        .loop = worker->loop, .http = worker->http, .zstd = worker->zstd, .auth = worker->auth};
    const struct destination_sink_options sink_options = {.pipeline = options->pipeline.name,
                                                          .identity = identity,
                                                          .budget_bytes = options->memory_bytes,
                                                          .batch_rows_max = options->batch_rows_max,
                                                          .batch_fill_ms_max = options->batch_fill_ms_max,
                                                          .merge_timeout_s = options->merge_timeout_s,
                                                          .merge_lock_timeout_s = MERGE_LOCK_TIMEOUT_S};
    return destination_sink_new(options->destination, &tools, &sink_options, events);
}

static void on_pipeline_live(void *context)
{
    struct worker *worker = context;
    mailbox_send(worker->supervisor->events, as_message(WORKER_LIVE));
}

static void on_pipeline_ended(void *context, const struct err *error)
{
    struct worker *worker = context;
    worker->has_failed = error != NULL;
    if (error != NULL)
        worker->error = *error;
    log_status_line("");
    loop_stop(worker->loop);
}

static void on_progress(struct loop_timer *timer)
{
    struct worker *worker = timer->context;
    char line[256];
    pipeline_describe(worker->pipeline, line, sizeof line);
    log_status_line(line);
    loop_timer_set(worker->loop, timer, PROGRESS_INTERVAL_US);
}

static void on_command(void *context, void *message)
{
    struct worker *worker = context;
    CHECK(message == as_message(WORKER_STOP));
    pipeline_stop(worker->pipeline);
}

static void discard_nothing(void *message)
{
    (void)message;
}

static bool worker_open(struct worker *worker, struct err *out_error)
{
    const struct supervisor_options *options = worker->supervisor->options;
    worker->resolver = resolver_new(worker->loop, out_error);
    worker->http = http_client_new(worker->loop, out_error);
    worker->zstd = zstd_worker_new(ZSTD_LEVEL);
    if (worker->resolver == NULL || worker->http == NULL)
        return false;
    if (worker->zstd == NULL)
        return err_set(out_error, ERR_INTERNAL, "memory", "no memory for compression");
    if (destination_wants_key(options->destination))
        worker->auth = sf_auth_new(worker->loop, worker->http, &options->destination->snowflake, options->take_key);
    struct pipeline_options pipeline_options = options->pipeline;
    struct pipeline_events events = {.on_live = on_pipeline_live, .on_ended = on_pipeline_ended, .context = worker};
    pipeline_options.sink_new = sink_new;
    pipeline_options.sink_context = worker;
    worker->pipeline = pipeline_new(worker->loop, worker->resolver, &pipeline_options, &events, out_error);
    return worker->pipeline != NULL;
}

static void worker_close(struct worker *worker)
{
    loop_timer_stop(worker->loop, &worker->progress_timer);
    pipeline_free(worker->pipeline);
    if (worker->auth != NULL)
        sf_auth_free(worker->auth);
    if (worker->http != NULL)
        http_client_free(worker->http);
    if (worker->resolver != NULL)
        resolver_free(worker->resolver);
    if (worker->zstd != NULL)
        zstd_worker_free(worker->zstd);
}

static void *worker_run(void *context)
{
    struct worker *worker = context;
    if (worker_open(worker, &worker->error)) {
        worker->progress_timer = (struct loop_timer){.on_due = on_progress, .context = worker};
        if (worker->supervisor->options->shows_progress)
            loop_timer_set(worker->loop, &worker->progress_timer, PROGRESS_INTERVAL_US);
        pipeline_start(worker->pipeline);
        loop_run(worker->loop);
    } else {
        worker->has_failed = true;
    }
    worker_close(worker);
    CHECK(mailbox_send(worker->supervisor->events, as_message(WORKER_ENDED)));
    return NULL;
}

// --- the main thread ---------------------------------------------------------------------------------------------

static void on_event(void *context, void *message)
{
    struct supervisor *supervisor = context;
    if (message == as_message(WORKER_ENDED)) {
        supervisor->has_ended = true;
        loop_stop(supervisor->loop);
    }
}

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct supervisor *supervisor = watch->context;
    struct signalfd_siginfo info;
    (void)events;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        supervisor->signal_count++;
        if (supervisor->signal_count > 1)
            loop_stop(supervisor->loop);  // the second one ends at once
        else if (!mailbox_send(supervisor->worker.commands, as_message(WORKER_STOP)))
            loop_stop(supervisor->loop);
    }
}

static void signals_of_interest(sigset_t *out_signals)
{
    sigemptyset(out_signals);
    sigaddset(out_signals, SIGTERM);
    sigaddset(out_signals, SIGINT);
}

void supervisor_block_signals(void)
{
    sigset_t signals;
    signals_of_interest(&signals);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

static bool signals_open(struct supervisor *supervisor, struct err *out_error)
{
    sigset_t signals;
    signals_of_interest(&signals);
    supervisor->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (supervisor->signal_fd < 0)
        return err_set(out_error, ERR_INTERNAL, "signalfd", "signals cannot be received: %s", strerror(errno));
    supervisor->signal_watch = (struct loop_watch){.on_ready = on_signal, .context = supervisor, .fd = -1};
    return loop_watch_set(supervisor->loop, &supervisor->signal_watch, supervisor->signal_fd, LOOP_READ, out_error);
}

static bool supervisor_open(struct supervisor *supervisor, struct err *out_error)
{
    struct worker *worker = &supervisor->worker;
    worker->supervisor = supervisor;
    supervisor->signal_fd = -1;
    supervisor->loop = loop_new(&clock_system, out_error);
    worker->loop = supervisor->loop != NULL ? loop_new(&clock_system, out_error) : NULL;
    if (worker->loop == NULL || !signals_open(supervisor, out_error))
        return false;
    supervisor->events = mailbox_new(supervisor->loop, COMMANDS_MAX, on_event, supervisor, out_error);
    if (supervisor->events != NULL)
        worker->commands = mailbox_new(worker->loop, COMMANDS_MAX, on_command, worker, out_error);
    if (worker->commands == NULL)
        return false;
    if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0)
        return err_set(out_error, ERR_INTERNAL, "thread", "the worker's thread cannot be started");
    return true;
}

static void supervisor_close(struct supervisor *supervisor)
{
    struct worker *worker = &supervisor->worker;
    if (supervisor->signal_fd >= 0) {
        loop_watch_stop(supervisor->loop, &supervisor->signal_watch);
        close(supervisor->signal_fd);
    }
    if (worker->commands != NULL)
        mailbox_free(worker->commands, discard_nothing);
    if (supervisor->events != NULL)
        mailbox_free(supervisor->events, discard_nothing);
    if (worker->loop != NULL)
        loop_free(worker->loop);
    if (supervisor->loop != NULL)
        loop_free(supervisor->loop);
}

enum supervisor_outcome supervisor_run(const struct supervisor_options *options, struct err *out_error)
{
    struct supervisor supervisor = {.options = options};
    if (!supervisor_open(&supervisor, out_error)) {
        supervisor_close(&supervisor);
        return SUPERVISOR_FAILED;
    }
    loop_run(supervisor.loop);
    if (!supervisor.has_ended)
        return SUPERVISOR_INTERRUPTED;  // the worker still runs: the process ends with it, nothing is freed under it
    pthread_join(supervisor.worker.thread, NULL);
    bool has_failed = supervisor.worker.has_failed;
    if (has_failed)
        *out_error = supervisor.worker.error;
    supervisor_close(&supervisor);
    return has_failed ? SUPERVISOR_FAILED : SUPERVISOR_STOPPED;
}
