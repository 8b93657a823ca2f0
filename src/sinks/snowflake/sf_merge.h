// Text of the merge: one Snowflake Scripting block, one transaction, one exclusive position for all live tables. Pure: the
// window and the tables go in, SQL comes out. The statements live in sql/merge_*.sql; docs/merge.md explains them.
#ifndef ETL_SINKS_SNOWFLAKE_SF_MERGE_H
#define ETL_SINKS_SNOWFLAKE_SF_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/lsn.h"
#include "model/seq.h"
#include "model/spread.h"
#include "sinks/snowflake/sf_ddl.h"

// Snowflake takes statements of about 1 MB (user-guide/query-size-limits).
#define SF_MERGE_TEXT_SIZE_MAX 1000000

struct sf_merge_table {
    const struct sf_table_layout *layout;
    bool is_first;         // first merge after a copy: replaces the target's content
    lsn_t copy_lsn;        // is_first: copied rows have exactly this LSN with ordinal 0; stream rows count from it on
    uint64_t copied_rows;  // is_first: how many there must be
    // Guard: the newest committed row of the stream channels. MAX("_ETL_SEQ") over the landing's rows from the window's
    // start on, WITHOUT its upper bound, must have reached it (it may lie beyond the bound). "" no guard. A sequence
    // below the window's start guards nothing (its rows are merged and may be cleaned up); neither does one of ordinal
    // 0, which stands for no row (the token that a channel was opened with).
    char highest_committed[SEQ_TEXT_SIZE + 1];
    // The newest committed row of each other channel, where it is in the window or beyond: one channel's rows may be
    // seen before another's, and the highest sequence says nothing of that, so these very rows must be there.
    char also_committed[SPREAD_CHANNELS_MAX - 1][SEQ_TEXT_SIZE + 1];
    uint32_t also_committed_count;
    // Hints that make the text shorter and the merge quicker. When one says no and the window holds such a row, the
    // merge fails with etl_hint instead of losing something.
    bool may_have_unchanged;  // some row of the window may lack values (_ETL_UNCHANGED)
    bool may_have_moved;      // some row of the window may have _ETL_OLD_KEY
};

struct sf_merge_window {
    const char *database, *landing_schema, *pipeline;
    uint8_t epoch;
    char state_from[SEQ_POSITION_TEXT_SIZE + 1];  // compare-and-set: what the state table must hold
    char writer[17];                              // … and whose merges it takes: ours, or we were fenced off
    lsn_t from;                                   // last merged position; rows from it on …
    lsn_t below;                                  // … and below this one
    int64_t commit_wall_us;  // source's commit time at the bound, 0 unknown; kept in the state table
    uint32_t lock_timeout_s;
    int64_t now_wall_us;
    uint32_t landing_retention_s;  // how long merged landing rows are kept; DURATION_FOREVER
    size_t text_size_max;          // of a statement; 0: SF_MERGE_TEXT_SIZE_MAX
    bool is_trial;                 // ends with a rollback: to see whether it fails
};

// A merge as statements: the block, and, where it would be longer than Snowflake takes, procedures that have to be made before.
// Each procedure merges some of the tables, within the block's transaction.
struct sf_merge_parts {
    struct buf block;
    struct buf *procedures;
    uint32_t procedure_count;
};

// out_lines, unless NULL, gets for each table the line of the block at which its part begins, from 1; UINT32_MAX if it is in a
// procedure. False: ERR_DATA "merge_text_size" when one table alone passes the limit; out_parts is empty then. Else deinit it.
bool sf_merge_build(const struct sf_merge_window *window, const struct sf_merge_table *tables, uint32_t table_count,
                    uint32_t *out_lines, struct sf_merge_parts *out_parts, struct err *out_error);
void sf_merge_parts_deinit(struct sf_merge_parts *parts);
// The statement that removes the procedure of that number, made by a merge of this pipeline.
void sf_merge_build_drop(const struct sf_merge_window *window, uint32_t procedure, struct buf *out);

// What the block of a merge that was done answers: "merged", or "merged <position>": landing rows below it are not kept any
// longer. out_position gets it, or "". False: it is no such answer.
bool sf_merge_read_answer(const char *text, char out_position[SEQ_POSITION_TEXT_SIZE + 1]);
// One statement that deletes landing rows of a live table below the position, the oldest, and hardly more than SF_CLEAN_ROWS
// (copied rows share their sequence and go together).
#define SF_CLEAN_ROWS 1000000
void sf_merge_build_clean(const struct sf_table_layout *layout, const char *position, struct buf *out);

// What a failed merge's message says. The exceptions of the block are named etl_fenced, etl_behind_<table>, …
enum sf_merge_failure {
    SF_MERGE_FAILURE_OTHER,       // none of ours
    SF_MERGE_FAILURE_FENCED,      // the state table is not where this merge starts: somebody else merges this pipeline
    SF_MERGE_FAILURE_BEHIND,      // committed rows are not in the landing table (yet)
    SF_MERGE_FAILURE_UNRESOLVED,  // a value that the source did not send is nowhere: the table must be copied again
    SF_MERGE_FAILURE_HINT,        // a hint was wrong: merge again without it
    SF_MERGE_FAILURE_COERCED  // the landing tells of values that did not fit, and the target has no column for that yet
};

// *out_table is the index in sf_merge_build's tables, UINT32_MAX if the message does not tell (an account that limits
// recursion, and a row that lacks a value and moved more often than that in one window: merge tables one by one to find it).
enum sf_merge_failure sf_merge_failure_of(const char *message, uint32_t *out_table);

// "… on line 12 at position 4 …" names a statement of the block, and with it a table; how Snowflake counts lines is not
// documented to the letter, so this is a suspicion. UINT32_MAX: none.
uint32_t sf_merge_suspect_of(const char *message, const uint32_t *lines, uint32_t table_count);

#endif
