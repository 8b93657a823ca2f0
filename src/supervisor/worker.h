// One worker: a thread with a loop, on which pipelines are actors side by side. It shares HTTP connections and logins
// among them. The main thread speaks to it by orders and hears of it by news; both are messages that pass ownership.
//
//   main thread    ── order: start, stop, resync, hold, end ──►   worker's loop
//                  ◄── news: live, ended, answers ──────────────
//
// Nobody waits for the other: a full mailbox refuses, and whoever could not send tries again later.
#ifndef ETL_SUPERVISOR_WORKER_H
#define ETL_SUPERVISOR_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/mailbox.h"
#include "supervisor/plan.h"

struct worker;

enum worker_order_kind {
    WORKER_START,
    WORKER_STOP,    // finish what is in flight, confirm, end
    WORKER_ABORT,   // end at once, with the error
    WORKER_RESYNC,  // copy tables anew
    WORKER_HOLD,    // merge up to a position and stay there, or go on
    WORKER_END      // the thread, once nothing runs
};

struct worker_order {
    enum worker_order_kind kind;
    uint64_t id;         // of the pipeline, as the main thread counts starts
    struct plan *plan;   // WORKER_START: owned
    struct err error;    // WORKER_ABORT
    int64_t command_id;  // WORKER_RESYNC: the catalog's, passed back
    char **names;        // WORKER_RESYNC: owned; none: all tables
    uint32_t name_count;
    struct pipeline_hold_order hold;  // WORKER_HOLD
    struct worker_order *next;
};

enum worker_news_kind { WORKER_PIPELINE_LIVE, WORKER_PIPELINE_ENDED, WORKER_RESYNC_TAKEN, WORKER_HOLD_ANSWERED };

struct worker_news {
    enum worker_news_kind kind;
    uint64_t id;
    bool has_failed;  // ENDED: by itself, and error says why; false: as told
    struct err error;
    char *status;        // ENDED: what it published last; owned, may be NULL
    int64_t command_id;  // RESYNC_TAKEN, and how many tables that is; HOLD_ANSWERED, and error.text is the answer
    uint32_t table_count;
    struct worker_news *next;
};

struct worker_order *worker_order_new(enum worker_order_kind kind, uint64_t id);
void worker_order_free(struct worker_order *order);
void worker_news_free(struct worker_news *news);

// Starts the thread. news: struct worker_news, the receiver's to free by worker_news_free; the mailbox must outlive the worker.
struct worker *worker_new(uint32_t number, struct mailbox *news, struct err *out_error);
bool worker_send(struct worker *worker, struct worker_order *take_order);  // false: full, order still the caller's
// After WORKER_END was sent: waits for the thread, which ends when its last pipeline has.
void worker_free(struct worker *worker);

#endif
