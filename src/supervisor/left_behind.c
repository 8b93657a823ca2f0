#include "supervisor/left_behind.h"

#include <stdio.h>

#include "supervisor/destination.h"

bool left_behind_format(const struct catalog_known *known, char *out, size_t out_size)
{
    const struct catalog_pipeline *pipeline = &known->pipeline;
    char at_destination[512] = "";
    if (!known->is_found)
        return false;
    if (destination_is_snowflake(pipeline->destination))
        (void)snprintf(at_destination, sizeof at_destination,
                       "; at %s the landing tables and the state table, whose comments name the pipeline, stay beside "
                       "the targets",
                       pipeline->destination);
    (void)snprintf(
        out, out_size,
        "it is not configured any more, as its row was deleted; slot %s at %s stays, and the source keeps its "
        "WAL from " LSN_FORMAT " on, until its disk is full: SELECT pg_drop_replication_slot('%s') there%s. "
        "Inserted again under its name it goes on where it stopped",
        pipeline->slot, pipeline->source, LSN_ARGUMENTS(pipeline->floor_lsn), pipeline->slot, at_destination);
    return true;
}
