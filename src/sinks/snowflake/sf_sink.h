// The Snowflake destination behind sink.h.
#ifndef ETL_SINKS_SNOWFLAKE_SF_SINK_H
#define ETL_SINKS_SNOWFLAKE_SF_SINK_H

#include "base/budget.h"
#include "encode/zstd_frame.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/sink.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_naming.h"

struct sf_sink_options {
    struct loop *loop;
    struct http_client *http;
    struct zstd_worker *zstd;
    struct sf_auth *auth;            // of the account and user, shared by the worker; borrowed
    const struct sf_config *config;  // borrowed
    const char *pipeline;            // name, borrowed
    const char *identity;  // random, kept in the catalog: channel names of another catalog's life never meet ours
    size_t budget_bytes;   // what batches and appends in flight may hold
    uint32_t batch_rows_max, batch_fill_ms_max;
    uint32_t channels_per_table;  // that a table's stream may be spread over, at most SPREAD_CHANNELS_MAX
    struct sf_naming naming;
    bool replaces_existing;  // a table in the way is renamed aside, not left alone
    uint32_t merge_timeout_s, lock_timeout_s;
    uint32_t landing_retention_s;  // how long merged landing rows are kept; DURATION_FOREVER
    bool soft_deletes;             // deleted rows stay in the targets, marked
    bool landing_commit_time;      // landing rows hold their commit's time
};

struct sink *sf_sink_new(const struct sf_sink_options *options, const struct sink_events *events);

#endif
