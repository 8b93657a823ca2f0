// One table compared: by digest of its ranges, and by rows where those differ; or all of its rows.
#ifndef ETL_VERIFY_TABLE_H
#define ETL_VERIFY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "encode/encoding.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_naming.h"
#include "verify/source.h"
#include "verify/target.h"
#include "verify/verify.h"

struct table_compare_options {
    struct wait *wait;
    struct source *source;
    struct target *target;
    const struct table *table;
    uint32_t index;  // of the source's tables
    const struct encoding *encoding;
    const char *encoding_name;
    const struct sf_config *snowflake;
    const struct sf_naming *naming;
    const char *pipeline;
    bool is_full;
    const struct verify_events *events;
};

// Tells on_row and on_table. False: the comparison as a whole cannot go on; what concerns this table only is told by
// on_table (NOT_COMPARED).
bool table_compare(const struct table_compare_options *options, struct err *out_error);

#endif
