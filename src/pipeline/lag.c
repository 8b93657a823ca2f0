#include "pipeline/lag.h"

#include <string.h>

static void merge_neighbours(struct lag *lag)
{
    for (uint32_t i = 0; i < LAG_RUNS_MAX / 2; i++)
        lag->runs[i] = (struct lag_run){.last_lsn = lag->runs[2 * i + 1].last_lsn,
                                        .first_time_us = lag->runs[2 * i].first_time_us,
                                        .last_time_us = lag->runs[2 * i + 1].last_time_us,
                                        .commits = lag->runs[2 * i].commits + lag->runs[2 * i + 1].commits};
    lag->count = LAG_RUNS_MAX / 2;
}

void lag_note(struct lag *lag, lsn_t commit_lsn, int64_t commit_time_us)
{
    if (lag->count > 0 && commit_lsn <= lag->runs[lag->count - 1].last_lsn)
        return;
    if (lag->count == LAG_RUNS_MAX)
        merge_neighbours(lag);
    lag->runs[lag->count++] = (struct lag_run){
        .last_lsn = commit_lsn, .first_time_us = commit_time_us, .last_time_us = commit_time_us, .commits = 1};
}

bool lag_take(struct lag *lag, lsn_t committed_lsn, struct lag_run *out_run)
{
    if (lag->count == 0 || lag->runs[0].last_lsn >= committed_lsn)
        return false;
    *out_run = lag->runs[0];
    lag->count--;
    memmove(lag->runs, lag->runs + 1, lag->count * sizeof lag->runs[0]);
    return true;
}

bool lag_oldest(struct lag *lag, lsn_t committed_lsn, int64_t *out_commit_time_us)
{
    struct lag_run done;
    while (lag_take(lag, committed_lsn, &done)) {
    }
    if (lag->count == 0)
        return false;
    *out_commit_time_us = lag->runs[0].first_time_us;
    return true;
}

bool lag_newest_below(const struct lag *lag, lsn_t lsn, int64_t *out_commit_time_us)
{
    for (uint32_t i = lag->count; i > 0; i--)
        if (lag->runs[i - 1].last_lsn < lsn) {
            *out_commit_time_us = lag->runs[i - 1].last_time_us;
            return true;
        }
    return false;
}
