// The part of `etl-stream status` that the WAL monitors of the services have kept in the catalog: what they found at the sources, and
// the alerts that stand; each with the process that saw it, and how old it is.
#ifndef ETL_CLI_STATUS_WATCH_H
#define ETL_CLI_STATUS_WATCH_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "catalog/catalog.h"

struct status_watch {
    const char *pipeline;      // NULL: everything; else what concerns this one
    json_t *sources, *alerts;  // arrays, owned: as /api/v1/status has them, with process and age_seconds
};

void status_watch_init(struct status_watch *watch, const char *pipeline);
void status_watch_deinit(struct status_watch *watch);
bool status_watch_read(struct status_watch *watch, struct catalog *catalog, struct err *out_error);
void status_watch_print(const struct status_watch *watch);  // for people, to standard output

#endif
