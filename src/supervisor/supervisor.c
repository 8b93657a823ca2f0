#include "supervisor/supervisor.h"

#include "base/check.h"
#include "supervisor/crew.h"
#include "supervisor/signals.h"

struct supervisor {
    struct loop *loop;
    struct crew *crew;
    struct signals signals;
    uint64_t id;
    bool has_ended, has_failed;
    struct err error;
};

static void on_live(void *context, uint64_t id)
{
    (void)context;
    (void)id;
}

static void on_resync_taken(void *context, uint64_t id, int64_t command_id, uint32_t table_count)
{
    (void)context;
    (void)id;
    (void)command_id;
    (void)table_count;
}

static void on_ended(void *context, uint64_t id, const struct err *error, char **status)
{
    (void)status;
    struct supervisor *supervisor = context;
    CHECK(id == supervisor->id);
    supervisor->has_ended = true;
    supervisor->has_failed = error != NULL;
    if (error != NULL)
        supervisor->error = *error;
    loop_stop(supervisor->loop);
}

static void on_signal(void *context, unsigned count)
{
    struct supervisor *supervisor = context;
    if (count == 1)
        crew_stop(supervisor->crew, supervisor->id);
    else
        loop_stop(supervisor->loop);  // the second one ends at once
}

enum supervisor_outcome supervisor_run(struct plan *take_plan, struct err *out_error)
{
    struct supervisor supervisor = {0};
    struct crew_events events = {
        .on_live = on_live, .on_ended = on_ended, .on_resync_taken = on_resync_taken, .context = &supervisor};
    supervisor.loop = loop_new(&clock_system, out_error);
    if (supervisor.loop != NULL &&
        signals_open(&supervisor.signals, supervisor.loop, on_signal, &supervisor, out_error))
        supervisor.crew = crew_new(supervisor.loop, 1, &events, out_error);
    if (supervisor.crew != NULL) {
        supervisor.id = crew_start(supervisor.crew, take_plan);
        loop_run(supervisor.loop);
        if (!supervisor.has_ended)
            return SUPERVISOR_INTERRUPTED;  // the worker still runs: the process ends with it, nothing is freed under it
        crew_free(supervisor.crew);
        if (supervisor.has_failed)
            *out_error = supervisor.error;
    } else {
        plan_free(take_plan);
    }
    signals_close(&supervisor.signals);
    if (supervisor.loop != NULL)
        loop_free(supervisor.loop);
    return supervisor.has_ended && !supervisor.has_failed ? SUPERVISOR_STOPPED : SUPERVISOR_FAILED;
}
