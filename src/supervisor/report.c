#include "supervisor/report.h"

#include <jansson.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/process.h"
#include "io/json_put.h"

#define PATIENCE_POLLS 3
#define PATIENCE_MAX_S 15

void report_init(struct report *report, struct board *board, const char *catalog_text, uint32_t poll_interval_s,
                 int64_t wall_us)
{
    uint32_t patience_s = poll_interval_s * PATIENCE_POLLS;
    *report = (struct report){.board = board, .catalog_text = catalog_text, .started_us = wall_us};
    report->patience_us = (uint64_t)(patience_s < PATIENCE_MAX_S ? patience_s : PATIENCE_MAX_S) * 1000000;
}

void report_asked(struct report *report, uint64_t now_us)
{
    if (report->asked_us == 0)
        report->asked_us = now_us;
}

void report_answered(struct report *report, const struct err *error, uint64_t now_us, int64_t wall_us)
{
    report->asked_us = 0;
    if (!err_is_set(error)) {
        report->answered_wall_us = wall_us;
        report->failing_since_us = 0;
        report->failing_wall_us = 0;
        report->failures = 0;
        err_clear(&report->error);
        return;
    }
    if (report->failures++ == 0) {
        report->failing_since_us = now_us;
        report->failing_wall_us = wall_us;
    }
    report->error = *error;
}

bool report_is_catalog_healthy(const struct report *report, uint64_t now_us)
{
    bool is_failing = report->failing_since_us != 0 && now_us - report->failing_since_us > report->patience_us;
    bool is_silent = report->asked_us != 0 && now_us - report->asked_us > report->patience_us;
    return !is_failing && !is_silent;
}

static json_t *catalog_json(const struct report *report, uint64_t now_us)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    bool is_healthy = report_is_catalog_healthy(report, now_us);
    json_put_text(object, "text", report->catalog_text);
    json_object_set_new(object, "healthy", json_boolean(is_healthy));
    if (report->answered_wall_us != 0)
        json_put_time(object, "answered", report->answered_wall_us);
    if (report->failures > 0) {
        json_put_text(object, "error", report->error.text);
        json_put_time(object, "failing_since", report->failing_wall_us);
        json_object_set_new(object, "failures", json_integer(report->failures));
    } else if (!is_healthy) {
        json_put_text(object, "error", "it does not answer");
    }
    return object;
}

void report_jobs(struct report *report, const struct job *jobs)
{
    uint64_t marks = HASH_START;
    report->counts = (struct report_counts){0};
    for (const struct job *job = jobs; job != NULL; job = job->next) {
        report->counts.configured += !job->is_gone;
        report->counts.wanted += job->is_wanted && !job->is_gone;
        report->counts.active += job->state == JOB_RUNNING || job->state == JOB_STOPPING;
        report->counts.failed += job->state == JOB_WAITING || job->state == JOB_FENCED;
        report->counts.elsewhere += job->is_elsewhere;
        for (const char *at = job->name; *at != '\0'; at++)
            marks = hash_mix(marks, (uint8_t)*at);
        marks = hash_mix(marks, 256 + (uint64_t)job->state * 4 + (uint64_t)job->is_wanted * 2 + job->is_elsewhere);
    }
    if (report->board == NULL || (report->has_jobs && marks == report->jobs_marks))
        return;
    json_t *array = json_array();
    CHECK(array != NULL);
    for (const struct job *job = jobs; job != NULL; job = job->next) {
        json_t *object = json_object();
        CHECK(object != NULL);
        json_put_text(object, "pipeline", job->name);
        json_put_text(object, "state", job_state_word(job));
        json_object_set_new(object, "wanted", json_boolean(job->is_wanted));
        json_array_append_new(array, object);
    }
    char *text = json_dumps(array, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(array);
    board_put(report->board, "jobs", text);
    report->has_jobs = true;
    report->jobs_marks = marks;
}

static json_t *counts_json(const struct report_counts *counts)
{
    json_t *object = json_pack("{s:I, s:I, s:I, s:I, s:I}", "configured", (json_int_t)counts->configured, "wanted",
                               (json_int_t)counts->wanted, "active", (json_int_t)counts->active, "failed",
                               (json_int_t)counts->failed, "elsewhere", (json_int_t)counts->elsewhere);
    CHECK(object != NULL);
    return object;
}

void report_publish(const struct report *report, uint64_t now_us, int64_t wall_us)
{
    char process[PROCESS_TEXT_SIZE];
    if (report->board == NULL)
        return;
    json_t *object = json_object();
    CHECK(object != NULL);
    process_describe(process);
    json_put_time(object, "at", wall_us);
    json_put_text(object, "state", report->is_stopping ? "stopping" : report->is_ready ? "running" : "starting");
    json_object_set_new(object, "is_ready", json_boolean(report->is_ready && !report->is_stopping));
    json_put_text(object, "process", process);
    json_put_text(object, "version", ETL_VERSION);
    json_put_time(object, "started", report->started_us);
    json_object_set_new(object, "uptime_seconds",
                        json_integer(wall_us > report->started_us ? (wall_us - report->started_us) / 1000000 : 0));
    json_object_set_new(object, "catalog", catalog_json(report, now_us));
    json_object_set_new(object, "pipelines", counts_json(&report->counts));
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    board_put(report->board, "service", text);
}
