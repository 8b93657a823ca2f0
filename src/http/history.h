// Lag of every pipeline over the last hour: a point each ten seconds, in memory of a fixed size per pipeline, forgotten with
// the pipeline. Pure: names, status documents and times come in, JSON goes out; the http thread owns it and calls it.
//
//   history_begin ─► history_see (one a pipeline, in the order of the names' bytes) … ─► history_end
//
// What was not seen in a round is forgotten at its end. A pipeline whose lag is not known in a round (it is paused, or has not
// begun to stream) keeps its earlier points and gets none, so that there is a gap and not a line that nobody measured.
#ifndef ETL_HTTP_HISTORY_H
#define ETL_HTTP_HISTORY_H

#include <stdint.h>

#define HISTORY_INTERVAL_S 10
#define HISTORY_POINTS_MAX 360

struct history;

struct history *history_new(void);
void history_free(struct history *history);
void history_begin(struct history *history, int64_t wall_us);
// status_json: what the pipeline published (pipeline/status.c); of it only "lag" is read.
void history_see(struct history *history, const char *name, const char *status_json);
void history_end(struct history *history);
uint32_t history_series_count(const struct history *history);  // pipelines that it remembers
// {"interval_seconds": 10, "points": [{"at": RFC 3339, "lag_bytes": n or null, "lag_seconds": x}, …]}, the oldest first, those of
// the hour before wall_us. Heap; without points where nothing is known of that name; NULL: no memory for it.
char *history_json(const struct history *history, const char *name, int64_t wall_us);

#endif
