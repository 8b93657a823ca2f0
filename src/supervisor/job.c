#include "supervisor/job.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/process.h"
#include "base/trap.h"
#include "io/json_put.h"
#include "io/metric_registry.h"
#include "pipeline/remedy.h"

static const struct backoff_policy job_backoff = {
    .delay_first_ms = 2000, .delay_min_ms = 1000, .delay_max_ms = 300000, .tries_max = 0};

struct job *job_new(const char *name, uint64_t seed)
{
    struct job *job = calloc(1, sizeof *job);
    CHECK(job != NULL);
    (void)snprintf(job->name, sizeof job->name, "%s", name);
    backoff_init(&job->backoff, &job_backoff, seed | 1);
    return job;
}

void job_free(struct job *job)
{
    for (uint32_t i = 0; i < job->held_count; i++)
        free(job->held[i].arguments);
    free(job->held);
    free(job->last_status);
    metric_drop(job->state_metric);
    free(job);
}

const char *job_state_word(const struct job *job)
{
    switch (job->state) {
    case JOB_IDLE: return job->is_elsewhere ? "claimed_elsewhere" : job->is_wanted ? "starting" : "paused";
    case JOB_CLAIMING:
    case JOB_READING: return "starting";
    case JOB_RUNNING: return "running";
    case JOB_STOPPING: return "stopping";
    case JOB_WAITING: return "failed";
    case JOB_FENCED: return "fenced";
    }
    CHECK(false);
    return "";
}

void job_meter(struct job *job)
{
    bool is_ours = job->state != JOB_RUNNING && job->state != JOB_STOPPING && !job->is_elsewhere && !job->is_gone;
    const char *word = is_ours ? job_state_word(job) : NULL;
    if (word == job->metric_word)
        return;
    metric_drop(job->state_metric);
    job->state_metric = word != NULL ? metric_get(METRIC_PIPELINE_STATE, job->name, word) : NULL;
    metric_set(job->state_metric, 1);
    job->metric_word = word;
}

static void set_trouble(json_t *object, const struct job *job, uint64_t now_us, int64_t wall_us)
{
    char remedy[ERR_TEXT_SIZE];
    struct remedy_subject subject = {.pipeline = job->name};
    remedy_format(&job->error, &subject, remedy, sizeof remedy);
    json_put_text(object, "error", job->error.text);
    json_put_text(object, "reason", job->error.code[0] != '\0' ? job->error.code : err_kind_name(job->error.kind));
    json_put_text(object, "remedy", remedy);
    json_t *retry = json_object();
    CHECK(retry != NULL);
    json_object_set_new(retry, "failures", json_integer(job->failure_count));
    if (job->failing_since_us != 0)
        json_put_time(retry, "since", job->failing_since_us);
    if (job->state == JOB_WAITING)
        json_put_time(retry, "next_try", wall_us + (job->retry_us > now_us ? (int64_t)(job->retry_us - now_us) : 0));
    json_object_set_new(object, "retry", retry);
}

// The slot stays, and with it the WAL from what was confirmed last. False: there is none.
static bool format_held_back(const json_t *status, char *out, size_t out_size)
{
    const json_t *confirmed = json_object_get(json_object_get(status, "positions"), "confirmed");
    const json_t *slot = json_object_get(status, "slot");
    if (!json_is_string(confirmed) || !json_is_string(slot))
        return false;
    (void)snprintf(out, out_size,
                   "slot %s is kept: the source keeps its WAL from %s on, which grows until the pipeline is started or "
                   "removed",
                   json_string_value(slot), json_string_value(confirmed));
    return true;
}

static void set_held_back(json_t *object, const struct job *job)
{
    char text[256];
    if (!format_held_back(object, text, sizeof text))
        return;
    json_put_text(object, "held_back", text);
    if (job->paused_us != 0)
        json_put_time(object, "paused_since", job->paused_wall_us);
}

// A test of the running program cannot wait for an hour.
static uint64_t pause_hour_us(void)
{
    return trap_is_set("monitor_seconds") ? JOB_PAUSE_HOUR_US / 1800 : JOB_PAUSE_HOUR_US;
}

bool job_pause_note(struct job *job, uint64_t now_us, int64_t wall_us)
{
    if (job->state != JOB_IDLE || job->is_wanted || job->is_gone || job->is_elsewhere) {
        job->paused_us = 0;
        job->pause_warnings = 0;
        return false;
    }
    if (job->paused_us == 0) {
        job->paused_us = now_us;
        job->paused_wall_us = wall_us;
    }
    uint64_t hours = 1 + (uint64_t)job->pause_warnings * JOB_PAUSE_AGAIN_HOURS;
    return now_us - job->paused_us >= hours * pause_hour_us() && job->last_status != NULL;
}

bool job_pause_tell(struct job *job, uint64_t now_us, int64_t held_bytes, char *out_text, size_t text_size)
{
    char held_back[256], bytes[64] = "";
    json_t *status = json_loads(job->last_status, 0, NULL);
    bool is_held = format_held_back(status, held_back, sizeof held_back);
    json_decref(status);
    job->pause_warnings++;
    if (held_bytes >= 0)
        (void)snprintf(bytes, sizeof bytes, "; now it is %.1f MB", (double)held_bytes / 1e6);
    uint64_t hours = (now_us - job->paused_us) / pause_hour_us();
    if (is_held)
        (void)snprintf(out_text, text_size, "it has been paused for %" PRIu64 " hour%s: %s%s", hours,
                       hours == 1 ? "" : "s", held_back, bytes);
    return is_held;
}

static void set_lsn(json_t *object, const char *key, lsn_t lsn)
{
    char text[20];
    (void)snprintf(text, sizeof text, LSN_FORMAT, LSN_ARGUMENTS(lsn));
    json_put_text(object, key, text);
}

char *job_known_status(const struct catalog_known *known)
{
    if (!known->is_found)
        return NULL;
    json_t *object = json_object(), *positions = json_object(), *tables = json_array();
    CHECK(object != NULL && positions != NULL && tables != NULL);
    json_put_text(object, "source", known->pipeline.source);
    json_put_text(object, "destination", known->pipeline.destination);
    json_put_text(object, "slot", known->pipeline.slot);
    set_lsn(positions, "received", known->pipeline.received_lsn);
    set_lsn(positions, "committed", known->pipeline.floor_lsn);
    set_lsn(positions, "confirmed", known->pipeline.floor_lsn);
    set_lsn(positions, "merged", known->pipeline.merged_lsn);
    json_object_set_new(object, "positions", positions);
    for (uint32_t i = 0; i < known->table_count; i++) {
        const struct catalog_table *from = &known->tables[i];
        json_t *table = json_object();
        CHECK(table != NULL);
        json_put_text(table, "schema", from->schema_name);
        json_put_text(table, "table", from->table_name);
        json_put_text(table, "state", catalog_table_state_name(from->state));
        if (from->reason[0] != '\0')
            json_put_text(table, "reason", from->reason);
        if (from->reason_code[0] != '\0')
            json_put_text(table, "reason_code", from->reason_code);
        json_object_set_new(table, "rows_copied", json_integer((json_int_t)from->copied_rows));
        json_array_append_new(tables, table);
    }
    json_object_set_new(object, "tables", tables);
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

char *job_status(const struct job *job, uint64_t now_us, int64_t wall_us)
{
    char process[PROCESS_TEXT_SIZE];
    json_t *object = job->last_status != NULL ? json_loads(job->last_status, 0, NULL) : NULL;
    if (!json_is_object(object)) {
        json_decref(object);
        object = json_object();
    }
    CHECK(object != NULL);
    json_put_text(object, "pipeline", job->name);
    json_put_text(object, "state", job_state_word(job));
    json_put_time(object, "at", wall_us);
    process_describe(process);
    json_put_text(object, "process", process);
    json_object_set_new(object, "takes_commands", json_true());
    json_object_del(object, "copy");
    // How many bytes of WAL were behind what it had confirmed is true of when it ended; what time that is grows unseen.
    if (json_object_get(object, "lag") != NULL)
        json_object_set_new(json_object_get(object, "lag"), "seconds", json_null());
    if (err_is_set(&job->error))
        set_trouble(object, job, now_us, wall_us);
    if (job->state == JOB_IDLE && !job->is_wanted)
        set_held_back(object, job);
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

void job_show(const struct job *job, struct board *board, uint64_t now_us, int64_t wall_us)
{
    char key[16 + CATALOG_NAME_SIZE];
    if (board == NULL || job->state == JOB_RUNNING || job->state == JOB_STOPPING)
        return;
    (void)snprintf(key, sizeof key, "pipeline/%s", job->name);
    board_put(board, key, job->is_gone ? NULL : job_status(job, now_us, wall_us));
}
