// What the service's main thread tells the WAL monitor: the sources as they are configured, with their pipelines and slots.
// Never waits: what the monitor cannot take now is sent at the next tick, the newest in place of older ones.
#ifndef ETL_SUPERVISOR_WATCHING_H
#define ETL_SUPERVISOR_WATCHING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/config.h"
#include "io/board.h"
#include "monitor/monitor.h"

struct watching {
    struct monitor *monitor;        // NULL: nothing is watched
    struct monitor_config *unsent;  // the newest, when the monitor's mailbox was full
};

// settings NULL: nothing is watched, and true. catalog: started, used until watching_stop. scope: as monitor_new has it.
bool watching_open(struct watching *watching, const struct monitor_settings *settings, struct board *board,
                   struct catalog *catalog, const char *scope, struct err *out_error);
void watching_stop(struct watching *watching);   // before the catalog is closed; harmless when it was not opened
void watching_close(struct watching *watching);  // after it was; likewise
// The one pipeline of run --from --to, with its source, which has no name of its own and is called as it.
void watching_apply_one(struct watching *watching, const char *pipeline, const char *slot,
                        const struct pg_target *target);
void watching_apply(struct watching *watching, const struct catalog_config *config);
void watching_tick(struct watching *watching);

// What the monitor's newest look at the source has found that the pipeline's slot keeps; below 0: it is not known.
int64_t watching_held_bytes(struct board *board, const char *source, const char *pipeline);

// Passwords from the catalog or the environment, as pipelines read them. A source that is configured wrongly carries the error.
struct monitor_config *watching_config(const struct catalog_config *config);

#endif
