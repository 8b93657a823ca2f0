// What the service's main thread tells the WAL monitor: the sources as they are configured, with their pipelines and slots.
// Never waits: what the monitor cannot take now is sent at the next tick, the newest in place of older ones.
#ifndef ETL_SUPERVISOR_WATCHING_H
#define ETL_SUPERVISOR_WATCHING_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/config.h"
#include "io/board.h"
#include "monitor/monitor.h"

struct watching {
    struct monitor *monitor;        // NULL: nothing is watched
    struct monitor_config *unsent;  // the newest, when the monitor's mailbox was full
};

// settings NULL: nothing is watched, and true.
bool watching_open(struct watching *watching, const struct monitor_settings *settings, struct board *board,
                   struct err *out_error);
void watching_close(struct watching *watching);  // harmless when it was not opened
void watching_apply(struct watching *watching, const struct catalog_config *config);
void watching_tick(struct watching *watching);

// Passwords from the catalog or the environment, as pipelines read them. A source that is configured wrongly carries the error.
struct monitor_config *watching_config(const struct catalog_config *config);

#endif
