// Rows that are too large for an append: what is known of them outside of the sink.
#ifndef ETL_SINKS_SNOWFLAKE_SF_ROW_H
#define ETL_SINKS_SNOWFLAKE_SF_ROW_H

#include "sinks/snowflake/sf_channel.h"

// A line that is shorter fits an append even if nothing about it can be compressed; only a longer one is shortened.
#define SF_ROW_SURE_BYTES (SF_APPEND_WIRE_BYTES_MAX - (64U << 10))
// Values of no more bytes stay as they are.
#define SF_ROW_VALUE_BYTES_LAST 1024U

#endif
