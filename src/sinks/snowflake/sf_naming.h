// How tables and columns are called in Snowflake: target_naming and identifier_case. Pure.
//
//   target_naming   target                       landing table
//   table           SCHEMA."ORDERS"              LANDING_ORDERS
//   schema_table    SCHEMA."SALES_ORDERS"        LANDING_SALES_ORDERS
//   schema          "SALES"."ORDERS"             LANDING_SALES_ORDERS
//
// SCHEMA is the destination's. identifier_case: upper folds ASCII letters, preserve leaves names as the source has them.
#ifndef ETL_SINKS_SNOWFLAKE_SF_NAMING_H
#define ETL_SINKS_SNOWFLAKE_SF_NAMING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "model/table.h"

// In the order of the setting's choices.
enum sf_target_naming { SF_NAMING_TABLE, SF_NAMING_SCHEMA_TABLE, SF_NAMING_SCHEMA };

// All zero is the default.
struct sf_naming {
    enum sf_target_naming target;
    bool preserves_case;
};

// Heap; by sf_table_names_deinit.
struct sf_table_names {
    char *schema;  // of the target; NULL: the destination's
    char *target, *landing;
};

void sf_naming_tables(const struct sf_naming *naming, const struct table *table, struct sf_table_names *out_names);
void sf_table_names_deinit(struct sf_table_names *names);
char *sf_naming_column(const struct sf_naming *naming, const char *name);  // heap
// Whether the two would have a target or a landing table in common.
bool sf_naming_collide(const struct sf_naming *naming, const struct table *a, const struct table *b);
// Appends the settings that would keep them apart ("target_naming = schema_table"), nearest to the present ones first.
// False: none does.
bool sf_naming_advise(const struct sf_naming *naming, const struct table *a, const struct table *b, struct buf *out);

#endif
