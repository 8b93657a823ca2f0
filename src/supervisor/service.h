// The service: runs every pipeline whose status in the catalog is START, on a crew of workers, and follows what is changed
// there, by our commands or with plain SQL, within the poll interval. A pipeline that fails starts again with back-off, one
// whose configuration is wrong says so in its status, and the others never notice.
//
// A pipeline's way (a job, on the main thread), which never waits for anybody:
//
//   IDLE ─ wanted ─► CLAIMING ─► READING what is known ─► RUNNING ─ paused, changed, gone ─► STOPPING ─► IDLE
//                       └ another process has it            └ failed ─► WAITING ─ due ─► IDLE
#ifndef ETL_SUPERVISOR_SERVICE_H
#define ETL_SUPERVISOR_SERVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "io/board.h"
#include "monitor/settings.h"
#include "supervisor/supervisor.h"

struct service_options {
    struct catalog *catalog;  // opened as a service, not started
    struct board *board;      // where pipelines and the service itself are published
    // Called when the catalog answers and before anything runs; false: the service ends with that error. May be NULL.
    bool (*on_started)(void *context, struct err *out_error);
    // Called when nothing runs any more and the catalog is about to close: nobody may ask it after that. May be NULL.
    void (*on_closing)(void *context);
    void *context;
    const struct monitor_settings *monitor;  // of the WAL monitor and its alerts; NULL: sources are not watched
    uint32_t poll_interval_s;
    uint32_t worker_count;  // 0: one a core
    size_t memory_bytes;    // of each pipeline: what batches and appends in flight may hold
    uint32_t stop_deadline_ms;
    bool shows_progress;  // a person watches standard error
};

// Until a signal. signals_block and sf_key_process_init were called. The catalog is closed when it is STOPPED or FAILED.
enum supervisor_outcome service_run(const struct service_options *options, struct err *out_error);

#endif
