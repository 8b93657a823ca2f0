// Text of the merge: one Snowflake Scripting block, one transaction, one exclusive position for all live tables. Pure: the window and
// the tables go in, SQL comes out. Parts of the SQL that do not depend on columns live in src/sinks/snowflake/sql/*.sql where that reads better.
#ifndef ETL_SINKS_SNOWFLAKE_SF_MERGE_H
#define ETL_SINKS_SNOWFLAKE_SF_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/lsn.h"
#include "model/seq.h"
#include "sinks/snowflake/sf_ddl.h"

struct sf_merge_table {
    const struct sf_table_layout *layout;
    bool is_first;         // first merge after a copy: replaces the target's content
    lsn_t copy_lsn;        // is_first: copied rows have exactly this LSN with ordinal 0; stream rows count from it on
    uint64_t copied_rows;  // is_first: how many there must be
    char highest_committed
        [SEQ_TEXT_SIZE +
         1];  // guard: the stream channels' newest committed token; MAX("_ETL_SEQ") over the landing's rows from the window's
              // start on, WITHOUT its upper bound, must have reached it (it may lie beyond the bound); "" no guard
    bool may_have_unchanged;  // some row of the window may lack values (TOAST)
    bool may_have_moved;      // some row of the window may have _ETL_OLD_KEY
};

struct sf_merge_window {
    const char *database, *landing_schema, *pipeline;
    uint8_t epoch;
    char state_from[SEQ_POSITION_TEXT_SIZE + 1];  // compare-and-set: what the state table must hold
    lsn_t from;                                   // last merged position; rows from it on …
    lsn_t below;                                  // … and below this one
    int64_t commit_wall_us;  // source's commit time at the bound, 0 unknown; kept in the state table
    uint32_t lock_timeout_s;
};

// Appends EXECUTE IMMEDIATE …. False: ERR_DATA when the text would pass Snowflake's limit (1 MB).
bool sf_merge_build(const struct sf_merge_window *window, const struct sf_merge_table *tables, uint32_t table_count,
                    struct buf *out, struct err *out_error);

#endif
