// A pipeline as an actor on one loop: it owns its connections to the source, its sink and its positions, and shares
// nothing. It starts, restarts after transient failures with back-off, and ends when told or when it must.
#ifndef ETL_PIPELINE_PIPELINE_H
#define ETL_PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/day_windows.h"
#include "base/err.h"
#include "catalog/catalog.h"
#include "io/board.h"
#include "io/loop.h"
#include "io/resolver.h"
#include "pg/pg_conn.h"
#include "pipeline/hold.h"
#include "sinks/sink.h"

struct pipeline;

struct pipeline_options {
    const char *name;  // all strings borrowed for the pipeline's life
    const char *slot;
    const char *publication;
    const char *tables;  // patterns that choose among its tables (model/table_choice.h); NULL: all
    const struct pg_target *source;
    const char *source_text;  // for people, without secrets
    const char *destination_text;
    // Makes the destination; identity is the catalog's random name for this pipeline's life.
    struct sink *(*sink_new)(void *context, const char *identity, const struct sink_events *events,
                             struct err *out_error);
    void *sink_context;
    uint32_t merge_interval_ms;
    struct day_windows merge_windows;  // times of day at which a warehouse may wake
    uint32_t stop_deadline_ms;         // how long a clean end may take
    bool resync_on_slot_lost;
    uint32_t decoding_work_mem_kb;  // 0: the server's
    uint32_t look_interval_ms;      // how often the publication is looked at for tables that come and go
    uint32_t table_retry_max;       // how often a table that fails by itself is tried again before it is parked
    uint32_t table_retry_delay_ms;
    bool takes_commands;  // a service runs it, which does what commands ask through the catalog
    bool is_attended;     // a person waits for the first start: what is wrong then ends it instead of being tried again
    uint32_t copy_connections_max;      // that read tables in one snapshot
    uint64_t copy_range_bytes;          // larger tables are cut
    uint64_t copy_bytes_per_second;     // 0: no limit
    struct catalog *catalog;            // started
    struct board *board;                // where its status is published, under "pipeline/NAME"; NULL: nowhere
    uint64_t claim;                     // of the catalog, for saves; 0: none
    const struct catalog_known *known;  // what catalog_load found, or NULL
};

struct pipeline_events {
    void (*on_live)(void *context);  // every table is copied and merged for the first time
    // What the oldest pipeline_resync asked for is durable: so many tables are copied anew.
    void (*on_resync_taken)(void *context, uint32_t table_count);
    // Of a pipeline_hold: it was refused (has_failed, text says why), or text is the position at which the targets stand
    // still, as the destination's state has it: epoch (2 hex digits) and LSN (16).
    void (*on_hold_answered)(void *context, int64_t command_id, bool has_failed, const char *text);
    // It has ended, by itself (error) or as told (NULL). Free it (deferred).
    void (*on_ended)(void *context, const struct err *error);
    void *context;
};

struct pipeline *pipeline_new(struct loop *loop, struct resolver *resolver, const struct pipeline_options *options,
                              const struct pipeline_events *events, struct err *out_error);
void pipeline_start(struct pipeline *pipeline);
void pipeline_stop(
    struct pipeline *pipeline);  // stop reading, finish what is in flight within the deadline, confirm, end
// Copies tables anew, parked ones too: "schema.table" or "table"; none: all. One that does not run yet does it when it runs.
// → on_resync_taken, in the order of the calls. take_names: heap strings in a heap array.
void pipeline_resync(struct pipeline *pipeline, char **take_names, uint32_t name_count);
// Merges up to a position and stays there for the lease; or gives it back. → on_hold_answered, at once or when it is so.
void pipeline_hold(struct pipeline *pipeline, const struct pipeline_hold_order *order);
// At once, with nothing confirmed any more: what was not is read again at the next start.
void pipeline_abort(struct pipeline *pipeline, const struct err *error);
void pipeline_free(struct pipeline *pipeline);           // not inside its callbacks
char *pipeline_status(const struct pipeline *pipeline);  // what it publishes, a JSON document; heap
// One line for a person at a terminal: copy progress with rate and time left, or lag.
void pipeline_describe(const struct pipeline *pipeline, char *out, size_t out_size);

#endif
