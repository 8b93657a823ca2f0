// What the program counts and measures, for Prometheus. One table declares every family: its name, type, labels, buckets and
// help; docs/metrics.md comes from it (`etl-stream help metrics`). The registry that makes, finds, forgets and renders series
// is io/metric_registry.h, which most users include.
//
// A series (struct metric) is one family with one set of label values. Whoever counts holds a handle; counting is a relaxed
// atomic operation: no lock, no allocation, any thread. Readers may see one value newer than another: each is right by itself.
// Every function here takes NULL for a handle and then does nothing: the registry gives none when it is full.
#ifndef ETL_BASE_METRIC_H
#define ETL_BASE_METRIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_LABELS_MAX 3
#define METRIC_BUCKETS_MAX 20

struct metric_family {
    const char *name;
    enum metric_type type;
    const char *labels[METRIC_LABELS_MAX + 1];  // NULL behind the last
    const double *buckets;  // METRIC_HISTOGRAM: upper bounds, ascending, 0 behind the last; +Inf is implied
    const char *help;
    const char *detail;  // one or two sentences for docs/metrics.md: what it measures here, when it moves
    bool is_contract;    // a name that dashboards of the first etl-stream use
};

enum metric_id {
    // The contract's.
    METRIC_PIPELINE_ACTIVE,
    METRIC_PIPELINE_STARTS,
    METRIC_PIPELINE_STOPS,
    METRIC_PIPELINE_ERRORS,
    METRIC_EVENTS_PROCESSED,
    METRIC_EVENTS_BYTES,
    METRIC_EVENTS_BATCH_SIZE,
    METRIC_EVENTS_DURATION,
    METRIC_SOURCE_STATUS,
    METRIC_SOURCE_WAL_SIZE,
    METRIC_POOL_SIZE,
    METRIC_POOL_CLEANUP,
    METRIC_BREAKER_STATE,
    METRIC_BREAKER_CHANGES,
    METRIC_BREAKER_REJECTED,
    METRIC_HTTP_REQUESTS,
    METRIC_HTTP_RETRIES,
    METRIC_HTTP_DURATION,
    METRIC_SNOWFLAKE_REQUESTS,
    METRIC_SNOWFLAKE_DURATION,
    METRIC_SNOWFLAKE_ROWS,
    METRIC_SNOWFLAKE_BYTES,
    METRIC_SNOWFLAKE_TABLES,
    METRIC_SNOWFLAKE_ERRORS,
    METRIC_SCHEMA_CACHE_HITS,
    METRIC_SCHEMA_CACHE_MISSES,
    METRIC_PROCESS_CPU,
    METRIC_PROCESS_MEMORY,
    METRIC_PROCESS_VIRTUAL_MEMORY,
    METRIC_PROCESS_DISK_READ,
    METRIC_PROCESS_DISK_WRITTEN,
    METRIC_SYSTEM_UPTIME,
    METRIC_SYSTEM_MEMORY_USED,
    METRIC_SYSTEM_MEMORY_TOTAL,
    METRIC_SYSTEM_LOAD_1M,
    METRIC_SYSTEM_LOAD_5M,
    METRIC_SYSTEM_LOAD_15M,
    // Ours.
    METRIC_BUILD_INFO,
    METRIC_PIPELINE_STATE,
    METRIC_PIPELINE_LAG_BYTES,
    METRIC_PIPELINE_LAG_SECONDS,
    METRIC_PIPELINE_TABLES,
    METRIC_PIPELINE_MEMORY,
    METRIC_PIPELINE_MEMORY_LIMIT,
    METRIC_COMMIT_TO_COMMITTED,
    METRIC_APPEND_ROWS,
    METRIC_APPEND_BYTES,
    METRIC_APPEND_DURATION,
    METRIC_MERGES,
    METRIC_MERGE_DURATION,
    METRIC_MERGED_AT,
    METRIC_TABLE_ROWS,
    METRIC_TABLE_BYTES,
    METRIC_TABLE_COERCED,
    METRIC_TABLE_PARKED,
    METRIC_TABLE_COPY_ROWS,
    METRIC_TABLE_COPY_ROWS_ESTIMATED,
    METRIC_CATALOG_HEALTHY,
    METRIC_CATALOG_SAVE_DURATION,
    METRIC_SLOT_RETAINED,
    METRIC_SLOT_SAFE,
    METRIC_SLOT_ACTIVE,
    METRIC_SLOT_INACTIVE,
    METRIC_SLOT_WAL_STATUS,
    METRIC_ALERTS_ACTIVE,
    METRIC_ALERTS_SENT,
    METRIC_ALERTS_FAILED,
    METRIC_PROCESS_OPEN_FDS,
    METRIC_PROCESS_THREADS,
    METRIC_SERIES,
    METRIC_SERIES_REFUSED,
    METRIC_ID_COUNT
};

extern const struct metric_family metric_families[METRIC_ID_COUNT];

// One series. Its members are the registry's business; only the values below change after it was made.
struct metric {
    const struct metric_family *family;
    char *labels;                    // `a="x",b="y"`, escaped; "" without labels
    uint64_t hash;                   // of family and labels
    struct metric *next;             // of the same hash slot; when it is gone: of those to be freed
    size_t index;                    // among all that are rendered
    uint32_t holders;                // handles that were given out and not given back
    bool is_forgotten;               // neither found nor rendered any more; freed with the last handle
    atomic_uint_fast64_t value;      // counter: the number; gauge: the bits of a double; histogram: the bits of the sum
    atomic_uint_fast64_t buckets[];  // histogram: observations between two bounds, not yet cumulated; the last is +Inf
};

// Counter: `amount` more.
static inline void metric_add(struct metric *metric, uint64_t amount)
{
    if (metric != NULL)
        atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

// Counter that follows a total counted elsewhere; a smaller total than before changes nothing.
void metric_raise(struct metric *metric, uint64_t total);
void metric_set(struct metric *metric, double value);          // gauge
void metric_adjust(struct metric *metric, double difference);  // gauge, from several threads
void metric_observe(struct metric *metric, double value);      // histogram
// The same as `times` observations of one value.
void metric_observe_times(struct metric *metric, double value, uint64_t times);

// What it stands at: the number, the gauge, or how many were observed. For tests and for rendering.
double metric_value(const struct metric *metric);

struct metric_bounds {
    size_t count;
    char texts[METRIC_BUCKETS_MAX + 1][24];  // the last is +Inf
};

size_t metric_label_count(const struct metric_family *family);
size_t metric_bucket_count(const struct metric_family *family);  // without +Inf
// `a="x",b="y"`: backslash, quote and line break escaped, bytes that are no UTF-8 replaced.
void metric_append_labels(struct buf *out, const struct metric_family *family, const char *const *values);
// The shortest decimal form that reads back as the same double; +Inf, -Inf, NaN.
void metric_append_number(struct buf *out, double number);
// The two comment lines of a family, and the lines of a series, in Prometheus' text format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
void metric_append_head(struct buf *out, const struct metric_family *family);
void metric_append_series(struct buf *out, const struct metric *metric, const struct metric_bounds *bounds);
// The upper bounds as text, once for all series of a histogram's family; of another one nothing.
void metric_bounds_format(const struct metric_family *family, struct metric_bounds *out_bounds);
// docs/metrics.md.
void metric_append_reference(struct buf *out);

#endif
