// Copied rows in destinations of lines: a lane for each range, and one that publishes the whole.
#include <stdlib.h>

#include "base/check.h"
#include "sinks/line_sink_private.h"

static struct line_lane *copy_find(struct line_table *table, uint16_t range)
{
    struct line_lane *lane = table->copy;
    if (lane != NULL && lane->range == range)
        return lane;
    for (lane = table->lanes; lane != NULL; lane = lane->next)
        if (lane->kind == LINE_COPY && !lane->is_closed && lane->range == range)
            break;
    table->copy = lane;
    return lane;
}

bool line_copy_is_full(const struct sink_table *sink_table, uint16_t range)
{
    struct line_table *table = (struct line_table *)(uintptr_t)sink_table;
    struct line_sink *sink = table->sink;
    struct line_lane *lane = copy_find(table, range);
    if (budget_is_full(&sink->budget)) {
        sink->is_waiting_for_room = true;
        return true;
    }
    if (lane->held_bytes < line_share_bytes(sink))
        return false;
    lane->is_waiting_for_room = true;
    return true;
}

void line_copy_drop(struct sink_table *sink_table)
{
    for (struct line_lane *lane = line_table_of(sink_table)->lanes; lane != NULL; lane = lane->next)
        if (lane->kind == LINE_COPY && !lane->is_closed)
            line_lane_close(lane);
}

void line_copy_open(struct sink_table *sink_table, uint8_t epoch, lsn_t copy_lsn, uint16_t range)
{
    struct line_table *table = line_table_of(sink_table);
    struct line_lane *earlier = copy_find(table, range);
    if (earlier != NULL)
        line_lane_close(earlier);
    struct line_lane *lane = line_lane_new(table, LINE_COPY, epoch);
    lane->copy_seq = (struct seq){.commit_lsn = copy_lsn, .ordinal = 0, .epoch = epoch};
    lane->range = range;
    line_lane_set_filling(lane, true);
    line_lane_queue(lane);
    line_dispatch(table->sink);
}

enum sink_append_outcome line_copy_append(struct sink_table *sink_table, uint16_t range, uint64_t row_number,
                                          const struct row_view *row, struct err *out_error)
{
    struct line_lane *lane = copy_find(line_table_of(sink_table), range);
    struct row_change change = {.op = 'C', .seq = lane->copy_seq, .new_row = *row};
    if (row_number <= lane->rows)
        return SINK_ALREADY;
    CHECK(row_number == lane->rows + 1);
    return line_lane_append(lane, &change, out_error);
}

void line_copy_finish(struct sink_table *sink_table, uint16_t range)
{
    struct line_lane *lane = copy_find(line_table_of(sink_table), range);
    lane->is_finish_wanted = true;
    line_lane_set_filling(lane, false);
    line_lane_queue(lane);
    line_dispatch(lane->table->sink);
}

void line_publish(struct sink_table *sink_table, uint8_t epoch, lsn_t copy_lsn, uint64_t copied_rows)
{
    struct line_table *table = line_table_of(sink_table);
    struct line_lane *lane = line_lane_new(table, LINE_PUBLISH, epoch);
    lane->copy_seq = (struct seq){.commit_lsn = copy_lsn, .ordinal = 0, .epoch = epoch};
    lane->rows = copied_rows;
    lane->is_finish_wanted = true;
    line_lane_queue(lane);
    line_dispatch(table->sink);
}
