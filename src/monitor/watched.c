#include "monitor/watched.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void replace(char **target, const char *text)
{
    free(*target);
    *target = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || *target != NULL);
}

struct watched_pipeline *watched_pipeline_new(const char *name, const char *slot_name, uint64_t now_us)
{
    struct watched_pipeline *pipeline = calloc(1, sizeof *pipeline);
    CHECK(pipeline != NULL);
    replace(&pipeline->name, name);
    replace(&pipeline->slot_name, slot_name);
    pipeline->progress_us = pipeline->slot_moved_us = now_us;
    return pipeline;
}

void watched_pipeline_free(struct watched_pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    pipeline_facts_deinit(&pipeline->facts);
    free(pipeline->name);
    free(pipeline->slot_name);
    free(pipeline->error);
    free(pipeline->reason);
    free(pipeline->remedy);
    free(pipeline);
}

static void take_error(struct watched_pipeline *pipeline)
{
    const struct pipeline_facts *facts = &pipeline->facts;
    if (facts->error != NULL) {
        pipeline->is_failing = true;
        replace(&pipeline->error, facts->error);
        replace(&pipeline->reason, facts->reason);
        replace(&pipeline->remedy, facts->remedy);
    } else if (!pipeline_facts_is_starting(facts)) {
        // Running, paused, or elsewhere. One that is only being started again has shown nothing yet.
        pipeline->is_failing = false;
    }
}

void watched_pipeline_take_status(struct watched_pipeline *pipeline, const char *status_json, uint64_t now_us)
{
    struct pipeline_facts before = pipeline->facts;
    pipeline->facts = (struct pipeline_facts){0};
    if (status_json != NULL)
        pipeline_facts_read(&pipeline->facts, status_json);
    const struct pipeline_facts *now = &pipeline->facts;
    // A large transaction that is still being read commits nothing, but its rows go out. When reading goes on and nothing is
    // committed, that is no progress.
    bool is_sending = now->received_lsn == before.received_lsn && now->rows_sent != before.rows_sent;
    if (!now->is_known || !before.is_known || now->progress_mark != before.progress_mark || is_sending)
        pipeline->progress_us = now_us;
    pipeline->has_progressed |= now->progress_mark != before.progress_mark && pipeline_facts_is_running(now) &&
                                pipeline_facts_is_running(&before);
    pipeline_facts_deinit(&before);
    if (now->is_known)
        take_error(pipeline);
    else
        pipeline->is_failing = false;
}

void watched_pipeline_take_published(struct watched_pipeline *pipeline, const char *status_json, uint64_t now_us)
{
    struct pipeline_facts facts = {0};
    if (status_json != NULL)
        pipeline_facts_read(&facts, status_json);
    bool was_elsewhere = pipeline->is_elsewhere;
    pipeline->is_elsewhere = pipeline_facts_is_elsewhere(&facts);
    pipeline_facts_deinit(&facts);
    if (pipeline->is_elsewhere != was_elsewhere)
        pipeline->elsewhere_ms = 0;
    if (!pipeline->is_elsewhere)
        watched_pipeline_take_status(pipeline, status_json, now_us);
    else if (!was_elsewhere)
        watched_pipeline_take_status(pipeline, NULL, now_us);  // what it was here is history
}

void watched_pipeline_take_slot(struct watched_pipeline *pipeline, const struct wal_slot *slot, uint64_t now_us)
{
    if (strcmp(slot->confirmed_lsn, pipeline->slot.confirmed_lsn) != 0)
        pipeline->slot_moved_us = now_us;
    pipeline->slot = *slot;
    pipeline->was_slot_found |= slot->is_found;
    if (!slot->is_found || slot->is_active)
        pipeline->inactive_since_us = 0;
    else if (pipeline->inactive_since_us == 0)
        pipeline->inactive_since_us = now_us;
}

void watched_pipeline_set_slot_name(struct watched_pipeline *pipeline, const char *slot_name)
{
    if (strcmp(pipeline->slot_name, slot_name) == 0)
        return;
    replace(&pipeline->slot_name, slot_name);
    memset(&pipeline->slot, 0, sizeof pipeline->slot);
    pipeline->was_slot_found = false;
    pipeline->inactive_since_us = 0;
}

uint64_t watched_pipeline_inactive_us(const struct watched_pipeline *pipeline, uint64_t now_us)
{
    if (pipeline->inactive_since_us == 0)
        return 0;
    uint64_t own_us = now_us - pipeline->inactive_since_us;
    uint64_t told_us = pipeline->slot.inactive_s > 0 ? (uint64_t)pipeline->slot.inactive_s * 1000000 : 0;
    return told_us > own_us ? told_us : own_us;
}
