// What copy.c (runs, their rows and ends) and copy_progress.c (what is shown of them) share.
#ifndef ETL_PIPELINE_COPY_PRIVATE_H
#define ETL_PIPELINE_COPY_PRIVATE_H

#include "pipeline/pipeline_private.h"

// One range of a table's copy, from its reading until all of it is committed at the destination.
struct copy_item_range {
    uint64_t rows, bytes;  // of a range that was read; while it is read its run knows
    uint32_t blocks;
    bool is_opened;  // at the destination
    bool is_read, is_committed;
};

// A table's copy under way. Its run ends when all is read; the ranges stay until the last is committed.
struct table_copy {
    struct copy_run *run;  // NULL: it is over
    uint32_t index;        // of the table in the run
    struct copy_item_range *ranges;
    uint32_t range_count, read_count, committed_count;
    uint64_t rows_taken;      // by the destination
    uint64_t rows_committed;  // of ranges that are committed
};

// Copies of several tables in one snapshot.
struct copy_run {
    struct pipeline *pipeline;
    struct copy_run *next;
    struct pg_copy *pg;
    struct table **tables;
    struct pipeline_table **items;  // an item whose table has another run, or none, is given up
    bool **as_text;                 // per table and column
    uint32_t count;
    lsn_t lsn;
    bool is_waiting, is_saving;  // for its LSN to be durable
    bool is_over;                // freed at the next reaping
    bool is_older;               // than the newest failure of a run: how it goes says nothing of that
    uint64_t bytes_seen;
    struct copy_paused {
        uint32_t index;
        uint16_t range;
    } paused[2 * PG_COPY_CONNECTIONS_MAX];  // for the destination's sake
    uint32_t paused_count;
};

#endif
