// What is kept of a pipeline between two looks, as a look alone does not tell: since when it fails, when it last got further,
// since when nobody reads its slot. Pure: the time comes from the caller.
#ifndef ETL_MONITOR_WATCHED_H
#define ETL_MONITOR_WATCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/pipeline_facts.h"
#include "monitor/wal_facts.h"

struct watched_pipeline {
    char *name, *slot_name;  // owned
    bool is_wanted;          // its status is START
    // From its status.
    struct pipeline_facts facts;
    uint64_t status_version;  // the board's, of the newest that was read; 0: none
    bool is_elsewhere;        // another process runs it: its status comes from the catalog
    int64_t elsewhere_ms;     // when that process saved the newest that was read; 0: none
    // It had an error and has not been running without one since, however often it was started anew meanwhile.
    bool is_failing;
    char *error, *reason, *remedy;  // the newest of them; reason and remedy may be NULL
    uint64_t progress_us;           // when it last got further, was idle, or was begun to be watched
    bool has_progressed;            // it got further between two statuses that say that it runs
    // From the look at its source.
    struct wal_slot slot;        // name "": no look yet
    bool was_slot_found;         // in any look
    bool has_slot_metrics;       // are there: to take them away costs a look at every series of the process
    uint64_t inactive_since_us;  // monotonic, our own clock; 0: it is read, or not known
    uint64_t slot_moved_us;      // when its confirmed position last moved
    struct watched_pipeline *next;
};

struct watched_pipeline *watched_pipeline_new(const char *name, const char *slot_name, uint64_t now_us);
void watched_pipeline_free(struct watched_pipeline *pipeline);
// status_json NULL: nothing is published (it never ran).
void watched_pipeline_take_status(struct watched_pipeline *pipeline, const char *status_json, uint64_t now_us);
// The same of what this process publishes of it; what it says of one that another process runs is only that, and tells nothing new.
void watched_pipeline_take_published(struct watched_pipeline *pipeline, const char *status_json, uint64_t now_us);
void watched_pipeline_take_slot(struct watched_pipeline *pipeline, const struct wal_slot *slot, uint64_t now_us);
void watched_pipeline_set_slot_name(struct watched_pipeline *pipeline, const char *slot_name);  // another one: all anew
// How long nobody has read the slot, by the server's word or else by our own clock; 0: it is read.
uint64_t watched_pipeline_inactive_us(const struct watched_pipeline *pipeline, uint64_t now_us);

#endif
