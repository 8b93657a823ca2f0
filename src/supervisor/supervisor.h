// Runs one pipeline until a signal or its end (run --from --to): a crew of one worker, and the main thread that takes
// signals. The service of many pipelines is service.h.
#ifndef ETL_SUPERVISOR_SUPERVISOR_H
#define ETL_SUPERVISOR_SUPERVISOR_H

#include <stdbool.h>

#include "base/err.h"
#include "supervisor/plan.h"

enum supervisor_outcome {
    SUPERVISOR_STOPPED,
    SUPERVISOR_FAILED,
    SUPERVISOR_INTERRUPTED /* a second signal: at once. Threads run on: leave by _exit */
};

// signals_block was called. FAILED: out_error says why.
enum supervisor_outcome supervisor_run(struct plan *take_plan, struct err *out_error);

#endif
