#include "supervisor/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/process.h"
#include "io/resolver.h"
#include "supervisor/sink_bench.h"

#define ORDERS_MAX 1024
#define NEWS_RETRY_US 20000
#define PROGRESS_INTERVAL_US 500000
#define MERGE_LOCK_TIMEOUT_S 60

struct actor {
    struct worker *worker;
    uint64_t id;
    struct plan *plan;
    struct sink_seat *seat;
    struct pipeline *pipeline;
    struct loop_timer progress_timer;
    bool has_ended;
    int64_t *command_ids;  // of resyncs that are not durable yet, in order
    uint32_t command_count;
    struct actor *next;
};

struct worker {
    uint32_t number;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *orders;
    struct mailbox *news;  // the main thread's
    // The thread's own:
    struct resolver *resolver;
    struct sink_bench *bench;
    struct actor *actors;
    struct loop_deferred reap;
    struct worker_news *unsent, *unsent_last;  // the main thread's mailbox was full; in order
    struct loop_timer news_timer;
    bool is_ending;
};

struct worker_order *worker_order_new(enum worker_order_kind kind, uint64_t id)
{
    struct worker_order *order = calloc(1, sizeof *order);
    CHECK(order != NULL);
    order->kind = kind;
    order->id = id;
    return order;
}

void worker_order_free(struct worker_order *order)
{
    if (order == NULL)
        return;
    plan_free(order->plan);
    for (uint32_t i = 0; i < order->name_count; i++)
        free(order->names[i]);
    free(order->names);
    free(order);
}

void worker_news_free(struct worker_news *news)
{
    if (news == NULL)
        return;
    free(news->status);
    free(news);
}

// --- news --------------------------------------------------------------------------------------------------------

static void news_flush(struct worker *worker)
{
    while (worker->unsent != NULL) {
        struct worker_news *news = worker->unsent, *next = news->next;
        if (!mailbox_send(worker->news, news)) {
            loop_timer_set(worker->loop, &worker->news_timer, NEWS_RETRY_US);
            return;
        }
        worker->unsent = next;
    }
    worker->unsent_last = NULL;
}

static void on_news_due(struct loop_timer *timer)
{
    struct worker *worker = timer->context;
    news_flush(worker);
    loop_defer(worker->loop, &worker->reap);
}

static struct worker_news *news_new(enum worker_news_kind kind, uint64_t id, const struct err *error)
{
    struct worker_news *news = calloc(1, sizeof *news);
    CHECK(news != NULL);
    news->kind = kind;
    news->id = id;
    news->has_failed = error != NULL;
    if (error != NULL)
        news->error = *error;
    return news;
}

static void tell(struct worker *worker, struct worker_news *news)
{
    if (worker->unsent_last != NULL)
        worker->unsent_last->next = news;
    else
        worker->unsent = news;
    worker->unsent_last = news;
    news_flush(worker);
}

// --- actors ------------------------------------------------------------------------------------------------------

static void on_pipeline_live(void *context)
{
    const struct actor *actor = context;
    tell(actor->worker, news_new(WORKER_PIPELINE_LIVE, actor->id, NULL));
}

static void on_resync_taken(void *context, uint32_t table_count)
{
    struct actor *actor = context;
    struct worker_news *news = news_new(WORKER_RESYNC_TAKEN, actor->id, NULL);
    CHECK(actor->command_count > 0);
    news->command_id = actor->command_ids[0];
    news->table_count = table_count;
    memmove(actor->command_ids, actor->command_ids + 1, --actor->command_count * sizeof actor->command_ids[0]);
    tell(actor->worker, news);
}

static void hold_answered(struct worker *worker, uint64_t id, int64_t command_id, bool has_failed, const char *text)
{
    struct worker_news *news = news_new(WORKER_HOLD_ANSWERED, id, NULL);
    news->command_id = command_id;
    news->has_failed = has_failed;
    err_set(&news->error, ERR_CONFIG, "", "%s", text);
    tell(worker, news);
}

static void on_hold_answered(void *context, int64_t command_id, bool has_failed, const char *text)
{
    const struct actor *actor = context;
    hold_answered(actor->worker, actor->id, command_id, has_failed, text);
}

static void on_pipeline_ended(void *context, const struct err *error)
{
    struct actor *actor = context;
    actor->has_ended = true;
    if (actor->plan->shows_progress)
        log_status_line("");
    loop_timer_stop(actor->worker->loop, &actor->progress_timer);
    while (actor->command_count > 0)
        on_resync_taken(actor, 0);  // it ended before they were done
    struct worker_news *news = news_new(WORKER_PIPELINE_ENDED, actor->id, error);
    news->status = pipeline_status(actor->pipeline);
    tell(actor->worker, news);
    loop_defer(actor->worker->loop, &actor->worker->reap);
}

static void resync(struct actor *actor, struct worker_order *order)
{
    actor->command_ids =
        reallocarray(actor->command_ids, (size_t)actor->command_count + 1, sizeof actor->command_ids[0]);
    CHECK(actor->command_ids != NULL);
    actor->command_ids[actor->command_count++] = order->command_id;
    pipeline_resync(actor->pipeline, order->names, order->name_count);
    order->names = NULL;
    order->name_count = 0;
}

static void on_progress(struct loop_timer *timer)
{
    const struct actor *actor = timer->context;
    char line[256];
    pipeline_describe(actor->pipeline, line, sizeof line);
    log_status_line(line);
    loop_timer_set(actor->worker->loop, timer, PROGRESS_INTERVAL_US);
}

static void actor_free(struct actor *actor)
{
    loop_timer_stop(actor->worker->loop, &actor->progress_timer);
    pipeline_free(actor->pipeline);
    sink_seat_give_back(actor->seat);
    plan_free(actor->plan);
    free(actor->command_ids);
    free(actor);
}

static void start(struct worker *worker, uint64_t id, struct plan *take_plan)
{
    struct actor *actor = calloc(1, sizeof *actor);
    struct err error = {0};
    CHECK(actor != NULL);
    actor->worker = worker;
    actor->id = id;
    actor->plan = take_plan;
    const struct destination_sink_options sink_options = {.pipeline = take_plan->name,
                                                          .budget_bytes = take_plan->memory_bytes,
                                                          .batch_rows_max = take_plan->batch_rows_max,
                                                          .batch_fill_ms_max = take_plan->batch_fill_ms_max,
                                                          .channels_per_table = take_plan->channels_per_table,
                                                          .merge_timeout_s = take_plan->merge_timeout_s,
                                                          .target_naming = take_plan->target_naming,
                                                          .identifier_case = take_plan->identifier_case,
                                                          .existing_tables = take_plan->existing_tables,
                                                          .landing_retention_s = take_plan->landing_retention_s,
                                                          .soft_deletes = take_plan->soft_deletes,
                                                          .landing_commit_time = take_plan->landing_commit_time,
                                                          .merge_lock_timeout_s = MERGE_LOCK_TIMEOUT_S};
    actor->seat = sink_seat_take(worker->bench, &take_plan->destination, take_plan->key, &sink_options);
    struct pipeline_options options = take_plan->pipeline;
    options.sink_new = sink_seat_sink_new;
    options.sink_context = actor->seat;
    struct pipeline_events events = {.on_live = on_pipeline_live,
                                     .on_resync_taken = on_resync_taken,
                                     .on_hold_answered = on_hold_answered,
                                     .on_ended = on_pipeline_ended,
                                     .context = actor};
    actor->pipeline = pipeline_new(worker->loop, worker->resolver, &options, &events, &error);
    if (actor->pipeline == NULL) {
        tell(worker, news_new(WORKER_PIPELINE_ENDED, id, &error));
        actor_free(actor);
        return;
    }
    actor->next = worker->actors;
    worker->actors = actor;
    actor->progress_timer = (struct loop_timer){.on_due = on_progress, .context = actor};
    if (take_plan->shows_progress)
        loop_timer_set(worker->loop, &actor->progress_timer, PROGRESS_INTERVAL_US);
    pipeline_start(actor->pipeline);
}

static struct actor *find(const struct worker *worker, uint64_t id)
{
    struct actor *actor = worker->actors;
    while (actor != NULL && actor->id != id)
        actor = actor->next;
    return actor;
}

static void on_reap(struct loop_deferred *deferred)
{
    struct worker *worker = deferred->context;
    for (struct actor **link = &worker->actors; *link != NULL;) {
        struct actor *actor = *link;
        if (actor->has_ended) {
            *link = actor->next;
            actor_free(actor);
        } else {
            link = &actor->next;
        }
    }
    if (worker->is_ending && worker->actors == NULL && worker->unsent == NULL)
        loop_stop(worker->loop);
}

static void on_order(void *context, void *message)
{
    struct worker *worker = context;
    struct worker_order *order = message;
    struct actor *actor = find(worker, order->id);
    switch (order->kind) {
    case WORKER_START:
        CHECK(actor == NULL && order->plan != NULL);
        start(worker, order->id, order->plan);
        order->plan = NULL;
        break;
    case WORKER_STOP:
        // It may have ended meanwhile: the news of it is on its way.
        if (actor != NULL && !actor->has_ended)
            pipeline_stop(actor->pipeline);
        break;
    case WORKER_ABORT:
        if (actor != NULL && !actor->has_ended)
            pipeline_abort(actor->pipeline, &order->error);
        break;
    case WORKER_RESYNC:
        // Of one that has ended nobody says that it was taken: it is asked for again.
        if (actor != NULL && !actor->has_ended)
            resync(actor, order);
        break;
    case WORKER_HOLD:
        if (actor != NULL && !actor->has_ended)
            pipeline_hold(actor->pipeline, &order->hold);
        else
            hold_answered(worker, order->id, order->hold.command_id, true, "the pipeline has just stopped");
        break;
    case WORKER_END:
        worker->is_ending = true;
        loop_defer(worker->loop, &worker->reap);
        break;
    }
    worker_order_free(order);
}

// --- the thread --------------------------------------------------------------------------------------------------

static void *run(void *context)
{
    const struct worker *worker = context;
    char name[16];
    (void)snprintf(name, sizeof name, "worker %u", worker->number);
    process_name_thread(name);
    loop_run(worker->loop);
    return NULL;
}

static void discard_order(void *message)
{
    worker_order_free(message);
}

static void close_all(struct worker *worker)
{
    CHECK(worker->actors == NULL && worker->unsent == NULL);
    if (worker->orders != NULL)
        mailbox_free(worker->orders, discard_order);
    sink_bench_free(worker->bench);
    if (worker->resolver != NULL)
        resolver_free(worker->resolver);
    if (worker->loop != NULL) {
        loop_defer_stop(worker->loop, &worker->reap);
        loop_timer_stop(worker->loop, &worker->news_timer);
        loop_free(worker->loop);
    }
    free(worker);
}

static bool open_all(struct worker *worker, struct err *out_error)
{
    worker->loop = loop_new(&clock_system, out_error);
    if (worker->loop != NULL)
        worker->resolver = resolver_new(worker->loop, out_error);
    if (worker->resolver != NULL)
        worker->bench = sink_bench_new(worker->loop, out_error);
    if (worker->bench != NULL)
        worker->orders = mailbox_new(worker->loop, ORDERS_MAX, on_order, worker, out_error);
    return worker->orders != NULL;
}

struct worker *worker_new(uint32_t number, struct mailbox *news, struct err *out_error)
{
    struct worker *worker = calloc(1, sizeof *worker);
    CHECK(worker != NULL);
    worker->number = number;
    worker->news = news;
    worker->reap = (struct loop_deferred){.call = on_reap, .context = worker};
    worker->news_timer = (struct loop_timer){.on_due = on_news_due, .context = worker};
    // What is made here is the thread's from its start on, and this thread's again after it was joined.
    if (!open_all(worker, out_error)) {
        close_all(worker);
        return NULL;
    }
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
        err_set(out_error, ERR_INTERNAL, "thread", "worker thread %u cannot be started", number);
        close_all(worker);
        return NULL;
    }
    return worker;
}

bool worker_send(struct worker *worker, struct worker_order *take_order)
{
    return mailbox_send(worker->orders, take_order);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_join(worker->thread, NULL);
    close_all(worker);
}
