// The process' series of base/metric.h: made when first asked for, found again by the same labels, rendered for Prometheus.
//
// A lock is held to make, find, forget or list series, never while a text is written or a file read. Counting takes none: ask
// for a handle once (per pipeline, table, connection) and keep it.
//
// A series outlives its handles: a counter of a pipeline that restarts goes on. It ends when its thing ended, by metric_drop or
// metric_forget. There are at most METRIC_SERIES_MAX; beyond that metric_get gives NULL, which every metric function takes, says
// so in the log and counts in etl_metrics_series_refused_total.
#ifndef ETL_IO_METRIC_REGISTRY_H
#define ETL_IO_METRIC_REGISTRY_H

#include <stddef.h>

#include "base/buf.h"
#include "base/metric.h"

#define METRIC_SERIES_MAX 100000

// A handle of the series with these label values, in the order of the family's labels: metric_get(METRIC_TABLE_ROWS, "p", "public.t").
// The number of values must be the family's. Whoever got it gives it back.
#define metric_get(id, ...) metric_get_values((id), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
struct metric *metric_get_values(enum metric_id id, const char *const *values);
void metric_put(struct metric *take_metric);   // the series stays, with its value
void metric_drop(struct metric *take_metric);  // the series ends with the last handle that is given back

// Where no handle is worth keeping (a few times a minute): find, change, give back.
#define metric_add_to(id, amount, ...) \
    metric_add_to_values((id), (amount), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define metric_set_to(id, value, ...) \
    metric_set_to_values((id), (value), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
void metric_add_to_values(enum metric_id id, uint64_t amount, const char *const *values);
void metric_set_to_values(enum metric_id id, double value, const char *const *values);

// Ends every series of every family with label=value ("pipeline_name", "orders"). Handles stay good, but nobody sees what they count.
void metric_forget(const char *label, const char *value);
// Ends the series with these two, of the families that have both labels ("source_name", "a", "slot", "b").
void metric_forget_both(const char *label, const char *value, const char *other_label, const char *other_value);

// Everything in Prometheus' text format, the process' and system's values read from /proc now. Families in the table's order,
// series by their labels. Any thread; out->failed when memory ran out.
void metric_render(struct buf *out);

// For tests: forgets everything; no handle may be out.
void metric_reset(void);

#endif
