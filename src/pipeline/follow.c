// Destinations without a merge: a table is live when its copy is committed, the stream has passed the copy's position, and
// the copy is published to readers.
#include "base/check.h"
#include "pipeline/pipeline_private.h"

static bool is_publish_due(const struct pipeline *pipeline, const struct pipeline_table *table)
{
    // The catalog knows that the copy is whole: after a crash it is published again, not copied again.
    return table->sink_table != NULL && table->record.state == CATALOG_TABLE_COPIED && !table->is_publishing &&
           !table->is_record_dirty && pipeline->save_inflight == NULL &&
           table->record.copy_lsn <= pipeline->committed_lsn;
}

void follow_tick(struct pipeline *pipeline)
{
    if (pipeline->state != PIPELINE_RUNNING)
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (!is_publish_due(pipeline, table))
            continue;
        table->is_publishing = true;
        pipeline->sink->operations->publish(table->sink_table, pipeline->record.epoch, table->record.copy_lsn,
                                            table->record.copied_rows);
    }
    // What is committed is what readers see.
    pipeline->merged_lsn = pipeline->record.merged_lsn = pipeline->committed_lsn;
    pipeline->record.state_epoch = pipeline->record.epoch;
    pipeline->record.state_lsn = pipeline->committed_lsn;
    merge_tell_live(pipeline);
}

void follow_published(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    if (table->record.state != CATALOG_TABLE_COPIED)
        return;
    table->is_publishing = false;
    table->record.state = CATALOG_TABLE_LIVE;
    table->is_record_dirty = true;
    progress_save_soon(pipeline);
    merge_tell_live(pipeline);
}
