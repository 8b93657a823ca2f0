// One pipeline as the service keeps it on the main thread, and what others are told of it.
#ifndef ETL_SUPERVISOR_JOB_H
#define ETL_SUPERVISOR_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/err.h"
#include "catalog/catalog.h"
#include "catalog/requests.h"
#include "io/board.h"

enum job_state {
    JOB_IDLE,      // ended by being wanted
    JOB_CLAIMING,  // ended by the catalog's answer
    JOB_READING,   // what is known of it; ended by the catalog's answer
    JOB_RUNNING,   // in a worker; ended by its end or by JOB_STOPPING
    JOB_STOPPING,  // told to end; ended by its end
    JOB_WAITING,   // failed; ended by retry_us, a change, or by being wanted no more
    JOB_FENCED     // another writer has taken over; ended by a change, or by a pause and a start
};

struct job {
    struct job *next;
    char name[CATALOG_NAME_SIZE];
    enum job_state state;
    bool is_wanted;   // START
    bool is_gone;     // not configured any more
    bool is_changed;  // configured otherwise than what runs
    bool is_asked;    // a request to the catalog is under way
    bool has_claim;
    bool was_looked_up;  // what the catalog knows of it was asked for
    bool is_elsewhere;   // another process has claimed it
    uint64_t claim;
    uint64_t claim_retry_us;  // IDLE: not claimed before
    uint64_t run_id;          // RUNNING, STOPPING
    uint64_t started_us;
    struct backoff backoff;
    uint64_t retry_us;         // WAITING
    int64_t failing_since_us;  // wall clock; 0: it is well
    uint32_t failure_count;
    struct err error;
    char *last_status;        // what the pipeline published at its end, or what the catalog knows; NULL: nothing yet
    uint64_t paused_us;       // seen paused since; 0: it is not
    int64_t paused_wall_us;   // the same instant
    uint32_t pause_warnings;  // so often it was said what the pause holds back
    struct catalog_command *held;  // given while it did not run: done when it does
    uint32_t held_count;
    struct metric
        *state_metric;  // etl_pipeline_state, while nothing of it runs; what it shows: a word of job_state_word
    const char *metric_word;
};

#define JOB_PAUSE_HOUR_US UINT64_C(3600000000)
#define JOB_PAUSE_AGAIN_HOURS 24  // after the first

struct job *job_new(const char *name, uint64_t seed);
void job_free(struct job *job);
// Keeps etl_pipeline_state right while no worker runs the pipeline; one that runs shows its own.
void job_meter(struct job *job);
// Of a pipeline that has not run in this process: what a status can say of it. Heap; NULL: it was never started.
char *job_known_status(const struct catalog_known *known);
const char *job_state_word(const struct job *job);  // for people: "waiting", "paused" …
// What to show of a job that does not run: what the pipeline said last, with state, reason, remedy and when it is tried
// again. Heap. now_us: monotonic, wall_us: the same instant.
char *job_status(const struct job *job, uint64_t now_us, int64_t wall_us);
// Publishes that on the board, but for a pipeline that runs (it speaks for itself until it has ended) and one that is gone,
// whose key is removed.
// Notes whether it is paused, from time to time. True: it has been for an hour, or for another day since that was said.
bool job_pause_note(struct job *job, uint64_t now_us, int64_t wall_us);
// What to say then, once. held_bytes: what its slot was found to keep, below 0: not known. False: nothing, as it has no slot.
bool job_pause_tell(struct job *job, uint64_t now_us, int64_t held_bytes, char *out_text, size_t text_size);
void job_show(const struct job *job, struct board *board, uint64_t now_us, int64_t wall_us);

#endif
