// What a pipeline leaves behind at both ends, taken away: its slot on the source, its channels and state in the destination,
// and, if asked, its landing tables. Never a target. For a command line: runs a loop of its own until it is done.
#ifndef ETL_SUPERVISOR_REMOVAL_H
#define ETL_SUPERVISOR_REMOVAL_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "catalog/config.h"

struct removal_options {
    const struct catalog_config *config;
    const struct catalog_object *pipeline;
    const struct catalog_known *known;  // what the catalog knows of it
    bool drops_landing, keeps_slot;
    void (*on_step)(void *context, const char *text);  // what was done, a line for a person
    void *context;
};

// Each end is tried whatever becomes of the other. An error is set where something remains.
void removal_run(const struct removal_options *options, struct err *out_source_error,
                 struct err *out_destination_error);
// The pipeline's slot, by its record or by its settings.
void removal_slot(const struct removal_options *options, char *out_slot, size_t out_size);

#endif
