// How tables that exist get the columns of a definition that changed. Pure: what DESCRIBE TABLE told goes in, ALTER statements come out.
//
//                      landing table                            target, or its shadow
//   a new column       added                                    added
//   one that left      stays, is not written any more           stays, NULL from the table's copy on
//   another name       a new column                             renamed
//   a wider type       widened                                  widened
//   another type       the old column is renamed aside,         not possible while readers use it: needs_shadow;
//                      a new one added                          in the shadow, which has no rows: likewise, then dropped
//
// When a change is followed in place the rows stay, and readers go on reading them: nothing steps aside and no shadow is made (obstacle says
// what would have to), a new column or name must not be there yet, as it would hold something else, and in the target a new column gets the value that the
// source's older rows show in it, as its default: ADD COLUMN … DEFAULT gives it to the rows that are there. Such a default stays with its
// column for good (sql-reference/sql/alter-table-column: DROP DEFAULT is not allowed for what ALTER TABLE defined). So when the column leaves
// the source, it is dropped and added without it, or rows that come later would show it; in place that is an obstacle.
//
// _ETL_COERCED tells of columns by their names, so what it tells of one that was renamed or left would be wrong in the rows that
// stay. Whether it does in any row is asked first: `question`.
//
// Wider is what Snowflake changes in place: VARCHAR and BINARY get longer, NUMBER more digits with the same scale (docs.snowflake.com,
// sql-reference/sql/alter-table-column; the scale of a number, a shorter text and another kind of type are refused there).
#ifndef ETL_SINKS_SNOWFLAKE_SF_EVOLVE_H
#define ETL_SINKS_SNOWFLAKE_SF_EVOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "sinks/snowflake/sf_ddl.h"
#include "sinks/snowflake/sf_naming.h"

#define SF_EVOLVE_WHEN_SIZE 24  // 20261125T141508Z, for columns with the milliseconds behind it

enum sf_evolve_role { SF_EVOLVE_LANDING, SF_EVOLVE_TARGET, SF_EVOLVE_SHADOW };

struct sf_described_column {
    const char *name;
    const char *type;          // as DESCRIBE TABLE spells it: NUMBER(38,0)
    const char *default_text;  // NULL: none
};

struct sf_evolution {
    char **statements;  // in order; each may run again after a crash, as the next plan is made of what is there then
    size_t count;
    bool needs_shadow;   // of a target: no statement brings it there
    char obstacle[160];  // why a change cannot be followed in place; "": it can
    char *question;      // a query for the number of rows that keep it from being followed; NULL: there can be none
};

enum sf_evolve_purpose {
    SF_EVOLVE_REPLACE,  // the content is about to be replaced by a copy
    SF_EVOLVE_FOLLOW,   // it stays
    SF_EVOLVE_RESUME    // likewise, and an earlier try may have done some of it
};

// naming tells what a column's former name was there. when: for the names of columns that are renamed aside.
void sf_evolve_plan(const struct sf_table_layout *layout, const struct sf_naming *naming, enum sf_evolve_role role,
                    enum sf_evolve_purpose purpose, const struct sf_described_column *columns, size_t count,
                    const char *when, struct sf_evolution *out_plan);
void sf_evolution_deinit(struct sf_evolution *plan);  // one of zeros is fine

#endif
