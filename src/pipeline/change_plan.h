// Whether a table can go on from one definition to another as it is, its rows kept; else it is copied anew. Pure.
//
//   a column added        without a default, or with a constant one (what older rows show is known)
//   a column renamed      also one of the key
//   a column dropped      not of the key
//   varchar, numeric      longer, more digits: nothing was rewritten, and each value is written as before
//
// Every name that comes has to be a new one. Then no definition that is reached describes itself in the stream like the one that is
// known: the names that stay keep their order, new ones are among them or fewer are left. So no row of the new definition is
// ever taken for one of the old. (Columns that take each other's names would, and so would one dropped and added again.)
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
    uint16_t added_count, renamed_count, dropped_count, widened_count;
    // The target has to be where the change was made: older rows show a value in a new column, or are landed under names that the
    // merge does not look for afterwards.
    bool needs_merge;
};

// True: it can, and now->columns[].is_added is set. False: out_why says why not (ERR_LOST).
bool change_plan(const struct table *known, struct table *now, struct change_plan *out_plan, struct err *out_why);
// "2 column(s) added, 1 renamed, 0 dropped, 1 widened" into out, cut if need be.
void change_plan_format(const struct change_plan *plan, char *out, size_t out_size);
// Whether each value of a column of the one type, as declared, is one of the other and is written as before.
bool change_is_wider(uint32_t known_oid, int32_t known_modifier, uint32_t now_oid, int32_t now_modifier);

#endif
