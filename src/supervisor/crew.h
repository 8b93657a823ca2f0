// The workers as the main thread sees them: pipelines are started on the one with the fewest, told to stop, and heard
// of when they end. Never waits for a worker; an order that a worker's mailbox refuses is kept and sent later.
#ifndef ETL_SUPERVISOR_CREW_H
#define ETL_SUPERVISOR_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "supervisor/worker.h"

struct crew;

struct crew_events {
    void (*on_live)(void *context, uint64_t id);
    void (*on_ended)(void *context, uint64_t id, const struct err *error);  // NULL: as told
    void *context;
};

// worker_count 0: one a core.
struct crew *crew_new(struct loop *loop, uint32_t worker_count, const struct crew_events *events,
                      struct err *out_error);
// Its number from now on; each start gets another. on_ended follows in any case.
uint64_t crew_start(struct crew *crew, struct plan *take_plan);
void crew_stop(struct crew *crew, uint64_t id);  // clean end; harmless when it has ended
uint32_t crew_running_count(const struct crew *crew);
// Nothing runs any more: ends and joins the threads. Not inside an event.
void crew_free(struct crew *crew);

#endif
