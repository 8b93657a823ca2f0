// What a pipeline counts and measures for metrics (docs/metrics.md). Handles are asked for when it starts; on the way of a row it
// counts in ordinary numbers, which are handed over at the end of each reading turn.
#ifndef ETL_PIPELINE_METER_H
#define ETL_PIPELINE_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "pg/pgoutput.h"

struct metric;
struct pipeline;
struct pipeline_table;

#define METER_EVENT_COPY (PGOUTPUT_MESSAGE + 1)
#define METER_EVENTS (METER_EVENT_COPY + 1)
#define METER_TABLE_STATES (CATALOG_TABLE_UNPUBLISHED + 1)

struct pipeline_meter {
    bool is_on;  // between meter_begin and meter_end
    // Of the reading turn under way.
    uint64_t counts[PGOUTPUT_MESSAGE + 1], bytes[PGOUTPUT_MESSAGE + 1];
    uint64_t turn_messages, turn_began_us;
    uint64_t copied_rows, copied_bytes;  // handed over
    uint64_t shown_us;                   // when gauges were set last
    struct metric *active, *state, *lag_bytes, *lag_seconds, *merged_at;
    struct metric *memory_stream, *memory_copy, *memory_limit;
    struct metric *tables[METER_TABLE_STATES];
    struct metric *events[METER_EVENTS], *event_bytes[METER_EVENTS], *batch_size, *turn_duration;
    struct metric *relation_hits, *relation_misses;
    struct metric *commit_to_committed, *merges_done, *merges_failed, *merge_duration, *save_duration;
};

// Of a table; handles are there while they are needed.
struct table_meter {
    uint64_t coerced;  // handed over, of those that the encoder has counted
    struct metric *coerced_total, *parked, *copy_rows, *copy_rows_estimated;
};

void meter_begin(struct pipeline *pipeline);
void meter_end(struct pipeline *pipeline);  // what says how it stands goes; counters stay. Harmless a second time
void meter_state(struct pipeline *pipeline);
void meter_error(const struct pipeline *pipeline, const struct err *error);
void meter_table_end(struct table_meter *meter);
// It is not followed any more under that name: its series end, counters too.
void meter_table_forget(const struct pipeline *pipeline, const char *schema_name, const char *table_name);
void meter_table_leaves(struct pipeline_table *table);  // before it loses its place at the destination, if it has one

// On the way of a row: one message of the stream.
static inline bool meter_message(struct pipeline_meter *meter, enum pgoutput_kind kind, uint64_t size)
{
    meter->counts[kind]++;
    meter->bytes[kind] += size;
    return meter->turn_messages++ == 0;  // the turn's first: note when it began
}

void meter_turn_end(struct pipeline *pipeline);
void meter_copied(struct pipeline *pipeline);     // a copy's reading turn is over
void meter_committed(struct pipeline *pipeline);  // the committed position moved
void meter_merged(struct pipeline *pipeline, bool is_done);
void meter_saved(struct pipeline *pipeline);  // the catalog answered
void meter_tick(struct pipeline *pipeline);   // gauges, at most about once a second

#endif
