// All that a pipeline runs by, in one piece that belongs to whoever holds it: made by the main thread, handed to a worker,
// never changed. Another configuration is another plan and a new start.
#ifndef ETL_SUPERVISOR_PLAN_H
#define ETL_SUPERVISOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/catalog.h"
#include "catalog/settings.h"
#include "pg/pg_conn.h"
#include "pipeline/pipeline.h"
#include "supervisor/destination.h"

#define PLAN_TEXT_SIZE 256

struct plan {
    // Strings, source and what is known inside are set by plan_finish to what the plan owns; sink_new by the worker.
    struct pipeline_options pipeline;
    struct pg_target source;
    struct destination destination;
    struct sf_key *key;  // shared by its owners (sf_key_share); NULL: the destination wants none
    char *name, *slot, *publication, *tables;
    char source_text[PLAN_TEXT_SIZE];  // for people, without secrets
    size_t memory_bytes;               // what batches and appends in flight may hold
    uint32_t batch_rows_max, batch_fill_ms_max;
    uint32_t channels_per_table;
    uint32_t merge_timeout_s;
    uint32_t landing_retention_s;
    bool soft_deletes, landing_commit_time;
    unsigned target_naming, identifier_case, existing_tables;  // enums of settings.h
    bool shows_progress;                                       // a person watches standard error
    struct catalog_known known;                                // what the catalog remembers of an earlier life
};

// Everything but what plan_set_settings sets is the caller's to fill in: name, slot and publication by heap strings, source by pg_target_copy,
// destination by destination_copy, known by catalog_load.
struct plan *plan_new(void);
// What the settings table says of a pipeline.
void plan_set_settings(struct plan *plan, const struct pipeline_settings *settings);
// Lets the options point into the plan. After that it must not be copied or changed.
void plan_finish(struct plan *plan);
void plan_free(struct plan *plan);

#endif
