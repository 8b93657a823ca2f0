// One worker: a thread with a loop, on which pipelines are actors side by side. It shares HTTP connections and logins
// among them. The main thread speaks to it by orders and hears of it by news; both are messages that pass ownership.
//
//   main thread    ── order: start, stop, resync, end ──►   worker's loop
//                  ◄── news: live, ended ────────────────
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

enum worker_order_kind { WORKER_START, WORKER_STOP, WORKER_END };

struct worker_order {
    enum worker_order_kind kind;
    uint64_t id;        // of the pipeline, as the main thread counts starts
    struct plan *plan;  // WORKER_START: owned
    struct worker_order *next;
};

enum worker_news_kind { WORKER_PIPELINE_LIVE, WORKER_PIPELINE_ENDED };

struct worker_news {
    enum worker_news_kind kind;
    uint64_t id;
    bool has_failed;  // ENDED: by itself, and error says why; false: as told
    struct err error;
    struct worker_news *next;
};

struct worker_order *worker_order_new(enum worker_order_kind kind, uint64_t id);
void worker_order_free(struct worker_order *order);

// Starts the thread. news: struct worker_news, the receiver's to free(); the mailbox must outlive the worker.
struct worker *worker_new(uint32_t number, struct mailbox *news, struct err *out_error);
bool worker_send(struct worker *worker, struct worker_order *take_order);  // false: full, order still the caller's
// After WORKER_END was sent: waits for the thread, which ends when its last pipeline has.
void worker_free(struct worker *worker);

#endif
