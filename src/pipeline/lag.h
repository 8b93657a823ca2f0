// When commits that were read were made: of those that are not committed at the destination yet, which tell how far behind a
// pipeline is, and of those that are not merged yet. A bounded ring. Pure.
//
// Entries are runs of commits in the order of their LSNs. When the ring is full, neighbours become one run, which keeps the
// time of its first, and LSN and time of its last: the lag that is told may then be too large by a run, never too small, and
// the time of the newest commit below a position too early by a run, never too late.
#ifndef ETL_PIPELINE_LAG_H
#define ETL_PIPELINE_LAG_H

#include <stdbool.h>
#include <stdint.h>

#include "model/lsn.h"

#define LAG_RUNS_MAX 64

struct lag_run {
    lsn_t last_lsn;         // commit LSN of its last commit
    int64_t first_time_us;  // commit time of its first
    int64_t last_time_us;
    uint64_t commits;
};

struct lag {
    uint32_t count;
    struct lag_run runs[LAG_RUNS_MAX];  // runs[0]: the oldest
};

// A transaction begins to be read. One that was noted already (it is read again after a rewind) changes nothing.
void lag_note(struct lag *lag, lsn_t commit_lsn, int64_t commit_time_us);
// Every commit below committed_lsn is committed. False: nothing that was noted is pending; else the commit time of the
// oldest that is.
bool lag_oldest(struct lag *lag, lsn_t committed_lsn, int64_t *out_commit_time_us);
// The commit time of the newest below the position. False, and nothing is given: it is not known.
bool lag_newest_below(const struct lag *lag, lsn_t lsn, int64_t *out_commit_time_us);
// Takes the oldest run out if all of it is committed; false: there is none.
bool lag_take(struct lag *lag, lsn_t committed_lsn, struct lag_run *out_run);

#endif
