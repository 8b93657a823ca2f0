// What line_sink.c (tables, lanes, batches, events) and line_sink_copy.c (copies) share.
#ifndef ETL_SINKS_LINE_SINK_PRIVATE_H
#define ETL_SINKS_LINE_SINK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sinks/line_sink.h"

static inline struct line_table *line_table_of(struct sink_table *table)
{
    return (struct line_table *)table;
}

// line_sink.c
struct line_lane *line_lane_new(struct line_table *table, enum line_lane_kind kind, uint8_t epoch);
void line_lane_close(struct line_lane *lane);  // its rows are dropped; freed when nothing of it is under way
void line_lane_queue(struct line_lane *lane);  // waits for its turn, if there is something to do
void line_dispatch(struct line_sink *sink);    // begins what may begin
enum sink_append_outcome line_lane_append(struct line_lane *lane, const struct row_change *change,
                                          struct err *out_error);
// A range that is being read holds its fair share of the budget, one share more being left to the streams.
void line_lane_set_filling(struct line_lane *lane, bool is_filling);
size_t line_share_bytes(const struct line_sink *sink);

// line_sink_copy.c: see sink.h
void line_copy_open(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint16_t range);
enum sink_append_outcome line_copy_append(struct sink_table *table, uint16_t range, uint64_t row_number,
                                          const struct row_view *row, struct err *out_error);
void line_copy_finish(struct sink_table *table, uint16_t range);
bool line_copy_is_full(const struct sink_table *table, uint16_t range);
void line_copy_drop(struct sink_table *table);
void line_publish(struct sink_table *table, uint8_t epoch, lsn_t copy_lsn, uint64_t copied_rows);

#endif
