// Runs pipelines: the main thread takes signals and waits for events, a worker thread owns the loop on which pipelines are
// actors. For now one pipeline and one worker.
//
//   main thread (signals) ──── stop ────►  worker (loop, HTTP connections, tokens, pipeline)
//                         ◄── ended ─────
#ifndef ETL_SUPERVISOR_SUPERVISOR_H
#define ETL_SUPERVISOR_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pipeline/pipeline.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/destination.h"

struct supervisor_options {
    struct pipeline_options pipeline;  // without sink_new, which the supervisor adds
    const struct destination *destination;
    struct sf_key *take_key;  // destination_wants_key, else NULL
    size_t memory_bytes;      // what batches and appends in flight may hold
    uint32_t batch_rows_max, batch_fill_ms_max;
    uint32_t merge_timeout_s;
    bool shows_progress;  // a person watches standard error
};

enum supervisor_outcome {
    SUPERVISOR_STOPPED,
    SUPERVISOR_FAILED,
    SUPERVISOR_INTERRUPTED /* a second signal: at once */
};

// Before any thread is started: a signal that another thread could take would end the process.
void supervisor_block_signals(void);
// Until a signal or the pipeline's end. FAILED: out_error says why.
enum supervisor_outcome supervisor_run(const struct supervisor_options *options, struct err *out_error);

#endif
