#include "supervisor/crew.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "io/mailbox.h"

#define NEWS_MAX 1024
#define WORKERS_MAX 256
#define ORDER_RETRY_US 20000

struct member {
    struct worker *worker;
    uint32_t running;                           // started and not yet heard of as ended
    struct worker_order *unsent, *unsent_last;  // its mailbox was full; in order
};

struct placement {
    uint64_t id;
    struct member *member;
    struct placement *next;
};

struct crew {
    struct loop *loop;
    struct mailbox *news;
    struct crew_events events;
    struct loop_timer order_timer;
    uint64_t last_id;
    struct placement *placements;
    uint32_t member_count;
    struct member members[];
};

// --- orders ------------------------------------------------------------------------------------------------------

static bool member_flush(struct member *member)
{
    while (member->unsent != NULL) {
        struct worker_order *order = member->unsent, *next = order->next;
        if (!worker_send(member->worker, order))
            return false;
        member->unsent = next;
    }
    member->unsent_last = NULL;
    return true;
}

static void flush(struct crew *crew)
{
    bool is_flushed = true;
    for (uint32_t i = 0; i < crew->member_count; i++)
        is_flushed = member_flush(&crew->members[i]) && is_flushed;
    if (!is_flushed)
        loop_timer_set(crew->loop, &crew->order_timer, ORDER_RETRY_US);
}

static void on_order_due(struct loop_timer *timer)
{
    flush(timer->context);
}

static void order(struct crew *crew, struct member *member, struct worker_order *take_order)
{
    if (member->unsent_last != NULL)
        member->unsent_last->next = take_order;
    else
        member->unsent = take_order;
    member->unsent_last = take_order;
    flush(crew);
}

static struct placement **find(struct crew *crew, uint64_t id)
{
    struct placement **link = &crew->placements;
    while (*link != NULL && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

uint64_t crew_start(struct crew *crew, struct plan *take_plan)
{
    struct member *least = &crew->members[0];
    for (uint32_t i = 1; i < crew->member_count; i++)
        if (crew->members[i].running < least->running)
            least = &crew->members[i];
    struct placement *placement = calloc(1, sizeof *placement);
    CHECK(placement != NULL);
    placement->id = ++crew->last_id;
    placement->member = least;
    placement->next = crew->placements;
    crew->placements = placement;
    least->running++;
    struct worker_order *start = worker_order_new(WORKER_START, placement->id);
    start->plan = take_plan;
    order(crew, least, start);
    return placement->id;
}

void crew_stop(struct crew *crew, uint64_t id)
{
    const struct placement *placement = *find(crew, id);
    if (placement != NULL)
        order(crew, placement->member, worker_order_new(WORKER_STOP, id));
}

void crew_abort(struct crew *crew, uint64_t id, const struct err *error)
{
    const struct placement *placement = *find(crew, id);
    if (placement == NULL)
        return;
    struct worker_order *abort_order = worker_order_new(WORKER_ABORT, id);
    abort_order->error = *error;
    order(crew, placement->member, abort_order);
}

bool crew_resync(struct crew *crew, uint64_t id, int64_t command_id, char **take_names, uint32_t name_count)
{
    const struct placement *placement = *find(crew, id);
    struct worker_order *resync = worker_order_new(WORKER_RESYNC, id);
    resync->command_id = command_id;
    resync->names = take_names;
    resync->name_count = name_count;
    if (placement == NULL)
        worker_order_free(resync);
    else
        order(crew, placement->member, resync);
    return placement != NULL;
}

bool crew_hold(struct crew *crew, uint64_t id, const struct pipeline_hold_order *hold)
{
    const struct placement *placement = *find(crew, id);
    if (placement == NULL)
        return false;
    struct worker_order *hold_order = worker_order_new(WORKER_HOLD, id);
    hold_order->hold = *hold;
    order(crew, placement->member, hold_order);
    return true;
}

uint32_t crew_running_count(const struct crew *crew)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < crew->member_count; i++)
        count += crew->members[i].running;
    return count;
}

// --- news --------------------------------------------------------------------------------------------------------

static void on_news(void *context, void *message)
{
    struct crew *crew = context;
    struct worker_news *news = message;
    switch (news->kind) {
    case WORKER_PIPELINE_LIVE: crew->events.on_live(crew->events.context, news->id); break;
    case WORKER_PIPELINE_ENDED: {
        struct placement **link = find(crew, news->id), *placement = *link;
        CHECK(placement != NULL && placement->member->running > 0);
        placement->member->running--;
        *link = placement->next;
        free(placement);
        crew->events.on_ended(crew->events.context, news->id, news->has_failed ? &news->error : NULL, &news->status);
        break;
    }
    case WORKER_RESYNC_TAKEN:
        crew->events.on_resync_taken(crew->events.context, news->id, news->command_id, news->table_count);
        break;
    case WORKER_HOLD_ANSWERED:
        crew->events.on_hold_answered(crew->events.context, news->command_id, news->has_failed, news->error.text);
        break;
    }
    worker_news_free(news);
}

static void discard_news(void *message)
{
    worker_news_free(message);
}

// --- life --------------------------------------------------------------------------------------------------------

struct crew *crew_new(struct loop *loop, uint32_t worker_count, const struct crew_events *events, struct err *out_error)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (worker_count == 0)
        worker_count = cores < 1 ? 1 : (uint32_t)cores;
    if (worker_count > WORKERS_MAX)
        worker_count = WORKERS_MAX;
    struct crew *crew = calloc(1, sizeof *crew + worker_count * sizeof crew->members[0]);
    CHECK(crew != NULL);
    crew->loop = loop;
    crew->events = *events;
    crew->order_timer = (struct loop_timer){.on_due = on_order_due, .context = crew};
    crew->news = mailbox_new(loop, NEWS_MAX, on_news, crew, out_error);
    while (crew->news != NULL && crew->member_count < worker_count) {
        struct worker *worker = worker_new(crew->member_count + 1, crew->news, out_error);
        if (worker == NULL)
            break;
        crew->members[crew->member_count++].worker = worker;
    }
    if (crew->member_count == worker_count)
        return crew;
    crew_free(crew);
    return NULL;
}

void crew_free(struct crew *crew)
{
    if (crew == NULL)
        return;
    CHECK(crew->placements == NULL);
    loop_timer_stop(crew->loop, &crew->order_timer);
    for (uint32_t i = 0; i < crew->member_count; i++) {
        struct member *member = &crew->members[i];
        struct worker_order *end = worker_order_new(WORKER_END, 0);
        // Nothing runs, so what is left are orders to pipelines that have ended, and a worker that only takes orders takes
        // these at once: the mailbox has room, or will have within a turn of its loop.
        while (!member_flush(member) || !worker_send(member->worker, end))
            sched_yield();
        worker_free(member->worker);
    }
    if (crew->news != NULL)
        mailbox_free(crew->news, discard_news);
    free(crew);
}
