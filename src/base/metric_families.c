// The table of families. Help is one line for Prometheus, detail goes to docs/metrics.md.
#include "base/metric.h"

#define CONTRACT(name_, type_, help_, detail_, ...)                                                                    \
    {                                                                                                                  \
        .name = name_, .type = type_, .help = help_, .detail = detail_, .is_contract = true, .labels = { __VA_ARGS__ } \
    }
#define OURS(name_, type_, help_, detail_, ...)                                                   \
    {                                                                                             \
        .name = name_, .type = type_, .help = help_, .detail = detail_, .labels = { __VA_ARGS__ } \
    }
#define HISTOGRAM(name_, is_contract_, buckets_, help_, detail_, ...)                                   \
    {                                                                                                   \
        .name = name_, .type = METRIC_HISTOGRAM, .buckets = buckets_, .help = help_, .detail = detail_, \
        .is_contract = is_contract_, .labels = {                                                        \
            __VA_ARGS__                                                                                 \
        }                                                                                               \
    }

// From what a local network answers in to what a time-out ends.
static const double request_seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 0};
static const double turn_seconds[] = {0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 0};
static const double merge_seconds[] = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 0};
static const double delay_seconds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 0};
static const double batch_rows[] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 0};
static const double batch_bytes[] = {1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6, 16e6, 0};

const struct metric_family metric_families[METRIC_ID_COUNT] = {
    [METRIC_PIPELINE_ACTIVE] = CONTRACT("etl_pipeline_active", METRIC_GAUGE, "Pipelines that run in this process",
                                        "From the start of a pipeline's actor to its end, whatever its state"),
    [METRIC_PIPELINE_STARTS] = CONTRACT("etl_pipeline_starts_total", METRIC_COUNTER, "Starts of a pipeline",
                                        "By command, after a failure, after a change of its configuration. A run that "
                                        "interrupts itself and goes on is no new start",
                                        "pipeline_name"),
    [METRIC_PIPELINE_STOPS] = CONTRACT(
        "etl_pipeline_stops_total", METRIC_COUNTER, "Ends of a pipeline's run",
        "Whatever ended it: a pause, a failure, another configuration, the end of the process", "pipeline_name"),
    [METRIC_PIPELINE_ERRORS] = CONTRACT("etl_pipeline_errors_total", METRIC_COUNTER, "Errors of a pipeline",
                                        "error_type is `transient`, `config`, `lost`, `fenced`, `data` or `internal`: "
                                        "what ended a run, interrupted the stream, made a table try again or parked it",
                                        "pipeline_name", "error_type"),
    [METRIC_EVENTS_PROCESSED] = CONTRACT(
        "etl_events_processed_total", METRIC_COUNTER, "Replication messages and copied rows processed",
        "event_type is `begin`, `commit`, `relation`, `insert`, `update`, `delete`, `truncate`, `origin`, "
        "`type`, `abort`, `message`, or `copy` for rows of copies; over all pipelines. What is read again after "
        "an interruption counts again",
        "event_type"),
    [METRIC_EVENTS_BYTES] =
        CONTRACT("etl_events_bytes_processed_total", METRIC_COUNTER, "Bytes of what etl_events_processed_total counts",
                 "As PostgreSQL sent them", "event_type"),
    [METRIC_EVENTS_BATCH_SIZE] =
        HISTOGRAM("etl_events_batch_size", true, batch_rows, "Messages that one reading turn took from the source",
                  "A turn reads what the socket has, up to 1,000 messages or 256 KiB"),
    [METRIC_EVENTS_DURATION] =
        HISTOGRAM("etl_events_processing_duration_seconds", true, turn_seconds, "Time that one reading turn took",
                  "From the first message to the handover of the batches: decoding, encoding, compressing"),
    [METRIC_SOURCE_STATUS] = CONTRACT("etl_pg_source_status", METRIC_GAUGE, "1: the source answers, 0: it does not",
                                      "As the WAL monitor found at its newest check", "source_name"),
    [METRIC_SOURCE_WAL_SIZE] = CONTRACT(
        "etl_pg_source_wal_size_mb", METRIC_GAUGE, "Size of the source's pg_wal in MiB",
        "As the WAL monitor found at its newest check; it needs the privilege for `pg_ls_waldir`", "source_name"),
    [METRIC_POOL_SIZE] =
        CONTRACT("etl_connection_pool_size", METRIC_GAUGE, "Connections that are open",
                 "pool is `wal_monitor`: at most one for each source, `WAL_MAX_CONNECTION_POOLS` in all", "pool"),
    [METRIC_POOL_CLEANUP] = CONTRACT(
        "etl_connection_pool_cleanup_total", METRIC_COUNTER, "Connections closed by the pool",
        "Because their source is gone or failed, or to make room for another; the least recently used goes first",
        "pool"),
    [METRIC_BREAKER_STATE] = CONTRACT("etl_circuit_breaker_state", METRIC_GAUGE, "0: closed, 0.5: half open, 1: open",
                                      "breaker is `snowflake:ACCOUNT/USER`, or an http destination's URL without its "
                                      "query. Every worker thread has one of its own; this is the worst of them",
                                      "breaker"),
    [METRIC_BREAKER_CHANGES] =
        CONTRACT("etl_circuit_breaker_state_changes_total", METRIC_COUNTER, "Times that a circuit breaker took a state",
                 "state is `closed`, `half_open` or `open`", "breaker", "state"),
    [METRIC_BREAKER_REJECTED] =
        CONTRACT("etl_circuit_breaker_rejected_total", METRIC_COUNTER, "Requests that an open breaker held back",
                 "They are tried again later; none is lost", "breaker"),
    [METRIC_HTTP_REQUESTS] =
        CONTRACT("etl_http_requests_total", METRIC_COUNTER, "Requests to destinations of type http",
                 "status is the answer's code, or `error` where there was none", "status"),
    [METRIC_HTTP_RETRIES] =
        CONTRACT("etl_http_retries_total", METRIC_COUNTER, "Requests to http destinations tried again",
                 "After an answer that was no success, or none"),
    [METRIC_HTTP_DURATION] = HISTOGRAM("etl_http_request_duration_seconds", true, request_seconds,
                                       "Time until an http destination's answer", "Failed requests too"),
    [METRIC_SNOWFLAKE_REQUESTS] =
        CONTRACT("etl_snowflake_requests_total", METRIC_COUNTER, "Requests to Snowflake",
                 "Streaming, SQL and login. status is the answer's code, or `error` where there was none", "status"),
    [METRIC_SNOWFLAKE_DURATION] = HISTOGRAM(
        "etl_snowflake_request_duration_seconds", true, request_seconds, "Time until Snowflake's answer",
        "Streaming, SQL and login, failed requests too. A merge that Snowflake works on is asked for several times"),
    [METRIC_SNOWFLAKE_ROWS] =
        CONTRACT("etl_snowflake_rows_inserted_total", METRIC_COUNTER, "Rows that Snowflake took by Snowpipe Streaming",
                 "table is the source's, as `schema.table`, over all pipelines. Rows that are sent again count again, "
                 "but those that Snowflake turned out to have",
                 "table"),
    [METRIC_SNOWFLAKE_BYTES] = CONTRACT("etl_snowflake_bytes_processed_total", METRIC_COUNTER,
                                        "Bytes of the rows that Snowflake took", "NDJSON, before compression"),
    [METRIC_SNOWFLAKE_TABLES] = CONTRACT(
        "etl_snowflake_tables_initialized_total", METRIC_COUNTER, "Times that a table was prepared in Snowflake",
        "At every start of its pipeline, when it joins and when it is copied anew", "table"),
    [METRIC_SNOWFLAKE_ERRORS] =
        CONTRACT("etl_snowflake_errors_total", METRIC_COUNTER, "Requests to Snowflake that failed",
                 "operation is `token`, `hostname`, `open`, `append`, `status`, `drop` or `sql`. No answer, or a "
                 "status from 400 on that is no ordinary one",
                 "operation"),
    [METRIC_SCHEMA_CACHE_HITS] = CONTRACT(
        "etl_schema_cache_hits_total", METRIC_COUNTER, "Descriptions of tables that were known already",
        "type is `relation`: PostgreSQL describes a table after each connecting and each change nearby", "type"),
    [METRIC_SCHEMA_CACHE_MISSES] =
        CONTRACT("etl_schema_cache_misses_total", METRIC_COUNTER, "Descriptions of tables that were new or had changed",
                 "type is `relation`", "type"),
    [METRIC_PROCESS_CPU] = CONTRACT("etl_process_cpu_usage_percent", METRIC_GAUGE, "Processor time of this process",
                                    "100 is one core. Since the scrape before, at the first one since the start"),
    [METRIC_PROCESS_MEMORY] =
        CONTRACT("etl_process_memory_used_bytes", METRIC_GAUGE, "Resident memory of this process", "VmRSS"),
    [METRIC_PROCESS_VIRTUAL_MEMORY] =
        CONTRACT("etl_process_virtual_memory_bytes", METRIC_GAUGE, "Virtual memory of this process", "VmSize"),
    [METRIC_PROCESS_DISK_READ] =
        CONTRACT("etl_process_disk_read_bytes_total", METRIC_COUNTER, "Bytes that this process made the disk read",
                 "The kernel's count; reads from its cache are none"),
    [METRIC_PROCESS_DISK_WRITTEN] = CONTRACT("etl_process_disk_written_bytes_total", METRIC_COUNTER,
                                             "Bytes that this process made the disk write", "The kernel's count"),
    [METRIC_SYSTEM_UPTIME] =
        CONTRACT("etl_system_uptime_seconds", METRIC_GAUGE, "Time since the machine started", "/proc/uptime"),
    [METRIC_SYSTEM_MEMORY_USED] = CONTRACT("etl_system_memory_used_bytes", METRIC_GAUGE, "Memory in use on the machine",
                                           "MemTotal less MemAvailable of /proc/meminfo"),
    [METRIC_SYSTEM_MEMORY_TOTAL] =
        CONTRACT("etl_system_memory_total_bytes", METRIC_GAUGE, "Memory of the machine", "MemTotal of /proc/meminfo"),
    [METRIC_SYSTEM_LOAD_1M] =
        CONTRACT("etl_system_load_avg_1m", METRIC_GAUGE, "Load average of one minute", "/proc/loadavg"),
    [METRIC_SYSTEM_LOAD_5M] =
        CONTRACT("etl_system_load_avg_5m", METRIC_GAUGE, "Load average of five minutes", "/proc/loadavg"),
    [METRIC_SYSTEM_LOAD_15M] =
        CONTRACT("etl_system_load_avg_15m", METRIC_GAUGE, "Load average of fifteen minutes", "/proc/loadavg"),

    [METRIC_BUILD_INFO] =
        OURS("etl_build_info", METRIC_GAUGE, "1, with the version as a label", "For dashboards", "version"),
    [METRIC_PIPELINE_STATE] = OURS("etl_pipeline_state", METRIC_GAUGE, "1, with the state that the pipeline is in",
                                   "state as `etl-stream status` shows it; there is one series a pipeline at a time",
                                   "pipeline_name", "state"),
    [METRIC_PIPELINE_LAG_BYTES] =
        OURS("etl_pipeline_lag_bytes", METRIC_GAUGE, "WAL from the confirmed position to the end of the source's WAL",
             "As the server told it last; absent until it has", "pipeline_name"),
    [METRIC_PIPELINE_LAG_SECONDS] = OURS(
        "etl_pipeline_lag_seconds", METRIC_GAUGE, "Age of the oldest change that is not committed in the destination",
        "Since the commit of the oldest transaction that was read and is not committed at the destination; 0 when "
        "there is none. While the stream is interrupted, or waits for a changed definition to be followed, since "
        "nothing was "
        "pending last; absent until the stream ran",
        "pipeline_name"),
    [METRIC_PIPELINE_TABLES] = OURS("etl_pipeline_tables", METRIC_GAUGE, "Tables of a pipeline by state",
                                    "state as `etl-stream status` shows it", "pipeline_name", "state"),
    [METRIC_PIPELINE_MEMORY] =
        OURS("etl_pipeline_memory_bytes", METRIC_GAUGE, "Memory that a pipeline holds, by what uses it",
             "user is `stream` or `copy`: rows in batches and in appends under way. Together they are what the budget "
             "counts",
             "pipeline_name", "user"),
    [METRIC_PIPELINE_MEMORY_LIMIT] =
        OURS("etl_pipeline_memory_limit_bytes", METRIC_GAUGE, "The budget at which a pipeline stops reading",
             "`memory_limit_mb`", "pipeline_name"),
    [METRIC_COMMIT_TO_COMMITTED] =
        HISTOGRAM("etl_commit_to_committed_seconds", false, delay_seconds,
                  "From the commit at the source to committed in the destination",
                  "Every transaction of the stream, by the source's clock and ours, when all its rows are committed. "
                  "Where more than 64 wait, neighbours count as the oldest of them",
                  "pipeline_name"),
    [METRIC_APPEND_ROWS] = HISTOGRAM("etl_append_rows", false, batch_rows, "Rows of an append",
                                     "Those the destination took", "pipeline_name"),
    [METRIC_APPEND_BYTES] =
        HISTOGRAM("etl_append_bytes", false, batch_bytes, "Bytes of an append's rows before compression",
                  "Those the destination took", "pipeline_name"),
    [METRIC_APPEND_DURATION] =
        HISTOGRAM("etl_append_duration_seconds", false, request_seconds, "From sending an append to its answer",
                  "Those the destination took", "pipeline_name"),
    [METRIC_MERGES] =
        OURS("etl_merges_total", METRIC_COUNTER, "Merges into the targets",
             "outcome is `done` or `failed`; while nothing is new there is none", "pipeline_name", "outcome"),
    [METRIC_MERGE_DURATION] = HISTOGRAM("etl_merge_duration_seconds", false, merge_seconds, "Time that a merge took",
                                        "From the statement to its outcome", "pipeline_name"),
    [METRIC_MERGED_AT] = OURS("etl_pipeline_merged_timestamp_seconds", METRIC_GAUGE, "When the newest merge was done",
                              "Seconds since 1970, by our clock", "pipeline_name"),
    [METRIC_TABLE_ROWS] = OURS("etl_table_rows_total", METRIC_COUNTER, "Rows of a table that the destination took",
                               "Stream and copies; rows that are sent again count again", "pipeline_name", "table"),
    [METRIC_TABLE_BYTES] =
        OURS("etl_table_bytes_total", METRIC_COUNTER, "Bytes of a table's rows that the destination took",
             "NDJSON, before compression", "pipeline_name", "table"),
    [METRIC_TABLE_COERCED] =
        OURS("etl_table_coerced_values_total", METRIC_COUNTER, "Values that the target's type cannot hold as they are",
             "Their original text is in `_ETL_COERCED`", "pipeline_name", "table"),
    [METRIC_TABLE_PARKED] = OURS("etl_table_parked", METRIC_GAUGE, "1: the table is parked",
                                 "There while it is parked; `etl-stream status` says why", "pipeline_name", "table"),
    [METRIC_TABLE_COPY_ROWS] = OURS("etl_table_copy_rows", METRIC_GAUGE, "Rows that a table's copy has read",
                                    "While the copy runs", "pipeline_name", "table"),
    [METRIC_TABLE_COPY_ROWS_ESTIMATED] =
        OURS("etl_table_copy_rows_estimated", METRIC_GAUGE, "Rows that a table has, as its source estimates",
             "While the copy runs", "pipeline_name", "table"),
    [METRIC_CATALOG_HEALTHY] =
        OURS("etl_catalog_healthy", METRIC_GAUGE, "1: the catalog answers, 0: it does not",
             "As the service's newest question found; catalog is `sqlite` or `postgres`", "catalog"),
    [METRIC_CATALOG_SAVE_DURATION] =
        HISTOGRAM("etl_catalog_save_duration_seconds", false, request_seconds,
                  "Time until positions are on the catalog's disk", "One transaction each"),
    [METRIC_SLOT_RETAINED] = OURS("etl_pg_slot_retained_bytes", METRIC_GAUGE, "WAL that a slot holds back",
                                  "From its restart_lsn to the end of WAL", "source_name", "slot"),
    [METRIC_SLOT_SAFE] =
        OURS("etl_pg_slot_safe_wal_bytes", METRIC_GAUGE, "WAL that may be written until the slot is lost",
             "`safe_wal_size`; absent without `max_slot_wal_keep_size`", "source_name", "slot"),
    [METRIC_SLOT_ACTIVE] = OURS("etl_pg_slot_active", METRIC_GAUGE, "1: somebody reads the slot, 0: nobody does",
                                "`active`", "source_name", "slot"),
    [METRIC_SLOT_INACTIVE] = OURS("etl_pg_slot_inactive_seconds", METRIC_GAUGE, "Time since somebody read the slot",
                                  "0 while it is read", "source_name", "slot"),
    [METRIC_SLOT_WAL_STATUS] =
        OURS("etl_pg_slot_wal_status", METRIC_GAUGE, "1 for the slot's wal_status, 0 for those it had",
             "status is `reserved`, `extended`, `unreserved` or `lost`", "source_name", "slot", "status"),
    [METRIC_ALERTS_ACTIVE] =
        OURS("etl_alerts_active", METRIC_GAUGE, "Alerts that stand", "type as in their payload", "type"),
    [METRIC_ALERTS_SENT] = OURS("etl_alerts_sent_total", METRIC_COUNTER, "Alerts that their receiver took",
                                "Those that say it is over, too", "type"),
    [METRIC_ALERTS_FAILED] = OURS("etl_alerts_failed_total", METRIC_COUNTER, "Alerts that their receiver did not take",
                                  "After the last try", "type"),
    [METRIC_PROCESS_OPEN_FDS] =
        OURS("etl_process_open_fds", METRIC_GAUGE, "Descriptors that are open", "/proc/self/fd"),
    [METRIC_PROCESS_THREADS] =
        OURS("etl_process_threads", METRIC_GAUGE, "Threads of this process", "/proc/self/status"),
    [METRIC_SERIES] = OURS("etl_metrics_series", METRIC_GAUGE, "Series that this page has", "At most 100,000"),
    [METRIC_SERIES_REFUSED] =
        OURS("etl_metrics_series_refused_total", METRIC_COUNTER,
             "Series that were not made because there were too many", "What they would show is missing"),
};
