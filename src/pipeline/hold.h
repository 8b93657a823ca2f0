// What a pipeline is told by somebody who compares source and target: merge up to one position and stay there. It is a
// lease: it ends by itself when it is not renewed, so whoever asked for it may die.
#ifndef ETL_PIPELINE_HOLD_H
#define ETL_PIPELINE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "model/lsn.h"

#define HOLD_HOLDER_SIZE 33
// How an answer begins that says no for a reason that is soon over: whoever asked may ask again.
#define HOLD_FOLLOWING "the changed definition of a table is being followed"

struct pipeline_hold_order {
    char holder[HOLD_HOLDER_SIZE];  // a random word of whoever holds: only it renews and ends the lease
    int64_t command_id;             // the catalog's, passed back with the answer
    uint32_t lease_ms;              // from now on
    lsn_t lsn;      // exclusive: merge exactly the commits below it; LSN_NONE: begin no merge, wherever the targets are
    bool may_wake;  // merges up to there may run outside of the merge windows
    bool is_release;  // the lease ends
};

#endif
