// What the main thread tells of itself on the board, under "service", at every tick (a quarter of a second), so that how old
// it is says whether the main thread turns: readers never ask it.
//
//   {"at": RFC 3339, "state": "starting|running|stopping", "is_ready": true, "process": …, "version": …, "started": …,
//    "uptime_seconds": n,
//    "catalog": {"text": …, "healthy": true, "answered": …, "error": …, "failing_since": …, "failures": n},
//    "pipelines": {"configured": n, "wanted": n, "active": n, "failed": n, "elsewhere": n}}
//
// "answered", "error", "failing_since" and "failures" are there when there is something to say. No secrets.
//
// And under "jobs", when one of them changes: [{"pipeline": …, "state": …, "wanted": true}, …]. It is apart, so that what
// every health check reads stays as small with a thousand pipelines as with one.
#ifndef ETL_SUPERVISOR_REPORT_H
#define ETL_SUPERVISOR_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/board.h"
#include "supervisor/job.h"

struct report_counts {
    uint32_t configured, wanted;
    uint32_t active;     // run in this process
    uint32_t failed;     // wait for another try, or for a person
    uint32_t elsewhere;  // another process runs them
};

struct report {
    struct board *board;       // NULL: nobody reads it
    const char *catalog_text;  // where it is, without secrets; borrowed
    uint64_t patience_us;  // how long the catalog may fail, or leave a request unanswered, and still counts as healthy
    int64_t started_us;    // wall clock
    bool is_ready;         // what is configured was read, and it does not stop
    bool is_stopping;
    struct report_counts counts;
    bool has_jobs;        // they were published …
    uint64_t jobs_marks;  // … and this is what they were then
    // The catalog's health, by report_asked and report_answered.
    uint64_t asked_us, failing_since_us;        // monotonic; 0: no request is under way, or it does not fail
    int64_t answered_wall_us, failing_wall_us;  // wall clock; 0: never
    uint32_t failures;                          // in a row
    struct err error;
};

// poll_interval_s: how often the catalog is asked.
void report_init(struct report *report, struct board *board, const char *catalog_text, uint32_t poll_interval_s,
                 int64_t wall_us);
// The catalog was asked something, and answered: error not set: it is well. now_us: monotonic, wall_us: the same instant.
void report_asked(struct report *report, uint64_t now_us);
void report_answered(struct report *report, const struct err *error, uint64_t now_us, int64_t wall_us);
bool report_is_catalog_healthy(const struct report *report, uint64_t now_us);
void report_jobs(struct report *report,
                 const struct job *jobs);  // counts them, and publishes what changed; first of a list
void report_publish(const struct report *report, uint64_t now_us, int64_t wall_us);

#endif
