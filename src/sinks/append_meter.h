// What a destination's appends of one table count in metrics. Handles are asked for when the table comes, so that an append costs a
// few atomic additions.
#ifndef ETL_SINKS_APPEND_METER_H
#define ETL_SINKS_APPEND_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "model/table.h"

struct metric;

// All zeros: counts nowhere.
struct append_meter {
    struct metric *rows, *bytes, *duration;  // histograms, of the pipeline
    struct metric *table_rows, *table_bytes;
    struct metric *snowflake_rows, *snowflake_bytes;  // NULL: another destination
};

void append_meter_init(struct append_meter *meter, const char *pipeline, const struct table *table, bool is_snowflake);
void append_meter_deinit(struct append_meter *meter);
// The destination took an append. bytes: before compression; took_us: until its answer, 0: not known. meter may be NULL.
void append_meter_note(const struct append_meter *meter, uint64_t rows, uint64_t bytes, uint64_t took_us);

#endif
