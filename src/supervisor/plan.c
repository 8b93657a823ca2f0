#include "supervisor/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/day_windows.h"
#include "base/duration.h"

#define LANDING_RETENTION_S 86400

struct plan *plan_new(void)
{
    struct plan *plan = calloc(1, sizeof *plan);
    CHECK(plan != NULL);
    return plan;
}

void plan_set_settings(struct plan *plan, const struct pipeline_settings *settings)
{
    plan->pipeline.merge_interval_ms = settings->merge_interval_seconds * 1000;
    plan->pipeline.resync_on_slot_lost = settings->on_slot_lost == ON_SLOT_LOST_RESYNC;
    plan->pipeline.decoding_work_mem_kb = settings->decoding_work_mem_kb;
    plan->pipeline.table_retry_max = settings->table_error_retry_max_attempts;
    plan->pipeline.table_retry_delay_ms = settings->table_error_retry_delay_ms;
    plan->pipeline.copy_connections_max = settings->max_table_sync_workers;
    plan->pipeline.copy_range_bytes = (uint64_t)settings->copy_range_mb << 20;
    plan->pipeline.copy_bytes_per_second = (uint64_t)settings->copy_rate_limit * 1000000;
    plan->batch_rows_max = settings->batch_max_size;
    plan->batch_fill_ms_max = settings->batch_max_fill_ms;
    plan->channels_per_table = settings->channels_per_table;
    plan->merge_timeout_s = settings->merge_timeout_seconds;
    free(plan->tables);
    plan->tables = settings->tables != NULL ? strdup(settings->tables) : NULL;
    CHECK((plan->tables == NULL) == (settings->tables == NULL));
    plan->target_naming = settings->target_naming;
    plan->identifier_case = settings->identifier_case;
    plan->existing_tables = settings->existing_tables;
    struct err ignored;  // pipeline_settings_check has seen it
    CHECK(settings->merge_windows == NULL ||
          day_windows_parse(settings->merge_windows, "merge_windows", &plan->pipeline.merge_windows, &ignored));
    plan->landing_retention_s = LANDING_RETENTION_S;
    CHECK(settings->landing_retention == NULL ||
          duration_parse(settings->landing_retention, "landing_retention", &plan->landing_retention_s, &ignored));
    plan->soft_deletes = settings->soft_deletes;
    plan->landing_commit_time = settings->landing_commit_time;
}

void plan_finish(struct plan *plan)
{
    struct pipeline_options *options = &plan->pipeline;
    options->name = plan->name;
    options->slot = plan->slot;
    options->publication = plan->publication;
    options->tables = plan->tables;
    options->source = &plan->source;
    options->source_text = plan->source_text;
    options->destination_text = plan->destination.text;
    options->known = plan->known.is_found ? &plan->known : NULL;
}

void plan_free(struct plan *plan)
{
    if (plan == NULL)
        return;
    pg_target_deinit(&plan->source);
    destination_deinit(&plan->destination);
    sf_key_free(plan->key);
    free(plan->name);
    free(plan->slot);
    free(plan->publication);
    free(plan->tables);
    catalog_known_deinit(&plan->known);
    free(plan);
}
