// Whether a table can go on from one definition to another as it is, its rows kept; else it is copied anew. Pure.
//
//   a column added        without a default, or with a constant one (what older rows show is known)
//   varchar, numeric      longer, more digits: nothing was rewritten, and each value is written as before
//
// A column that was dropped is not among them: what the target's column _ETL_COERCED tells of it would stay behind in the rows.
//
// The column numbers of a table are given once and never again, so their highest tells that no column came and went in between. Whether
// rows were rewritten is not seen here: marks.h tells of that.
#ifndef ETL_PIPELINE_CHANGE_PLAN_H
#define ETL_PIPELINE_CHANGE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/table.h"

struct change_plan {
    uint16_t added_count, widened_count;
    bool has_defaults;  // older rows show a value in a new column: the target has to be where the change was made
};

// True: it can, and now->columns[].is_added is set. False: out_why says why not (ERR_LOST).
bool change_plan(const struct table *known, struct table *now, struct change_plan *out_plan, struct err *out_why);
// "2 column(s) added, 1 widened" into out, cut if need be.
void change_plan_format(const struct change_plan *plan, char *out, size_t out_size);

#endif
