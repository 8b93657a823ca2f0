// The file destination behind sink.h: NDJSON files, each batch synced before it counts as committed. Exactly once.
//
//   pipeline's loop                      file thread (one a sink)
//   jobs ─────── ownership ───────────►  write, fsync, rename (file_store.h)
//   answers ◄─── ownership ────────────  with the position that is durable now
#ifndef ETL_SINKS_FILE_FILE_SINK_H
#define ETL_SINKS_FILE_FILE_SINK_H

#include <stddef.h>

#include "base/err.h"
#include "io/loop.h"
#include "sinks/file/file_config.h"
#include "sinks/sink.h"

struct file_sink_options {
    struct loop *loop;
    const struct file_config *config;  // borrowed
    const char *pipeline;              // name, borrowed
    const char *identity;              // of the catalog's life; borrowed
    size_t budget_bytes;
    bool preserves_case;  // of column names
    bool has_commit_at;   // rows carry their commit's time
};

// NULL: the thread cannot be started. Freeing it waits for what the thread has begun: a write and its fsync at most.
struct sink *file_sink_new(const struct file_sink_options *options, const struct sink_events *events,
                           struct err *out_error);

#endif
