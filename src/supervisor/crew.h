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
    // error NULL: as told. status: what the pipeline published last, to take (set NULL) or leave; may be NULL.
    void (*on_ended)(void *context, uint64_t id, const struct err *error, char **status);
    void (*on_resync_taken)(void *context, uint64_t id, int64_t command_id, uint32_t table_count);
    void (*on_hold_answered)(void *context, int64_t command_id, bool has_failed, const char *text);
    void *context;
};

// worker_count 0: one a core.
struct crew *crew_new(struct loop *loop, uint32_t worker_count, const struct crew_events *events,
                      struct err *out_error);
// Its number from now on; each start gets another. on_ended follows in any case.
uint64_t crew_start(struct crew *crew, struct plan *take_plan);
void crew_stop(struct crew *crew, uint64_t id);                            // clean end; harmless when it has ended
void crew_abort(struct crew *crew, uint64_t id, const struct err *error);  // at once; harmless when it has ended
// False: it has ended. take_names: heap strings in a heap array; none: all tables.
bool crew_resync(struct crew *crew, uint64_t id, int64_t command_id, char **take_names, uint32_t name_count);
bool crew_hold(struct crew *crew, uint64_t id, const struct pipeline_hold_order *hold);  // false: it has ended
uint32_t crew_running_count(const struct crew *crew);
// Nothing runs any more: ends and joins the threads. Not inside an event.
void crew_free(struct crew *crew);

#endif
