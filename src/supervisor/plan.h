// All that a pipeline runs by, in one piece that belongs to whoever holds it: made by the main thread, handed to a worker,
// never changed. Another configuration is another plan and a new start.
#ifndef ETL_SUPERVISOR_PLAN_H
#define ETL_SUPERVISOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/catalog.h"
#include "pg/pg_conn.h"
#include "pipeline/pipeline.h"
#include "supervisor/destination.h"

#define PLAN_TEXT_SIZE 256

struct plan {
    // Strings, source and known tables inside are set by plan_finish to what the plan owns; sink_new by the worker.
    struct pipeline_options pipeline;
    struct pg_target source;
    struct destination destination;
    struct sf_key *key;  // shared by its owners (sf_key_share); NULL: the destination wants none
    char *name, *slot, *publication;
    char source_text[PLAN_TEXT_SIZE];  // for people, without secrets
    size_t memory_bytes;               // what batches and appends in flight may hold
    uint32_t batch_rows_max, batch_fill_ms_max;
    uint32_t merge_timeout_s;
    bool shows_progress;  // a person watches standard error
    // What the catalog remembers of an earlier life.
    bool is_known;
    struct catalog_pipeline known;
    struct catalog_table *known_tables;
    uint32_t known_table_count;
};

// Everything is the caller's to fill in: name, slot and publication by heap strings, source by pg_target_copy,
// destination by destination_copy, known_tables by what catalog_load gave.
struct plan *plan_new(void);
// Lets the options point into the plan. After that it must not be copied or changed.
void plan_finish(struct plan *plan);
void plan_free(struct plan *plan);

#endif
