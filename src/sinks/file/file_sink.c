#include "sinks/file/file_sink.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "io/mailbox.h"
#include "sinks/file/file_store.h"
#include "sinks/line_sink.h"

#define BATCH_BYTES_MAX ((size_t)4 << 20)
#define INFLIGHT_MAX 64
#define JOBS_MAX 1024
#define TIDYING_JOBS_MAX (JOBS_MAX - INFLIGHT_MAX - 16)  // the rest is for those that something waits for
#define SETTLE_INTERVAL_US 1000000

static const struct backoff_policy retry_policy = {
    .delay_first_ms = 250, .delay_min_ms = 100, .delay_max_ms = 15000, .tries_max = 0};

enum file_job_kind {
    FILE_JOB_OPEN,
    FILE_JOB_CLAIM,
    FILE_JOB_LANE_OPEN,
    FILE_JOB_WRITE,
    FILE_JOB_FINISH,
    FILE_JOB_PUBLISH,
    FILE_JOB_SETTLE,
    FILE_JOB_CLOSE,  // frees the lane's files
    FILE_JOB_STOP    // not answered: the thread ends
};

struct file_job {
    enum file_job_kind kind;
    struct line_lane *lane;   // for the answer, but of SETTLE and CLOSE; not looked into by the thread
    struct file_lane *files;  // the thread's
    enum line_lane_kind lane_kind;
    uint16_t range;
    struct seq first, last;  // WRITE; LANE_OPEN: the floor, or the copy's sequence; SETTLE: what is saved
    struct sink_channel_record kept;
    const void *data;  // WRITE: the batch's, which stays until the answer
    size_t size;
    // The answer.
    struct err error;
    uint8_t epoch;
    struct file_position position;
    struct file_job *next;  // of those that could not be sent
};

// What the loop knows of a stream's files.
struct carried {
    struct file_lane *files;
    struct file_position position;  // durable
    struct seq recorded, saved;     // what the catalog was given last, and what of it is on disk there
    uint64_t made_us;               // when the current file was begun or resumed, about; 0: there is none
    bool is_unsettled;              // files may have ended whose rows are saved by now, or soon
};

struct file_sink {
    struct line_sink lines;  // first
    struct file_sink_options options;
    struct mailbox *answers;
    struct loop_timer settle_timer;
    // The thread's.
    pthread_t thread;
    bool is_started;
    struct loop *loop;
    struct mailbox *jobs;
    struct file_store *store;
    uint32_t tidying_count;   // SETTLE and CLOSE that are not answered
    struct file_job *unsent;  // closings that wait for room
};

static struct file_sink *file_sink_of(struct line_sink *sink)
{
    return (struct file_sink *)sink;
}

// --- the thread --------------------------------------------------------------------------------------------------

static int64_t now_s(const struct file_sink *sink)
{
    return loop_wall_us(sink->loop) / 1000000;
}

static void settle(struct file_sink *sink, struct file_job *job)
{
    // A failure only delays a rename: it is tried again at the next settling.
    if (!file_lane_settle(job->files, &job->last, now_s(sink), &job->error))
        log_line(LOG_WARNING, &(struct log_scope){.pipeline = sink->options.pipeline}, "file_not_completed", "%s",
                 job->error.text);
}

static void work(struct file_sink *sink, struct file_job *job)
{
    switch (job->kind) {
    case FILE_JOB_OPEN: file_store_check(sink->store, &job->error); break;
    case FILE_JOB_CLAIM: file_store_claim(sink->store, &job->epoch, &job->error); break;
    case FILE_JOB_LANE_OPEN:
        if (job->lane_kind == LINE_COPY)
            file_lane_open_copy(job->files, &job->first, job->range, &job->error);
        else
            file_lane_open_stream(job->files, &job->kept, &job->first, &job->position, &job->error);
        break;
    case FILE_JOB_WRITE:
        file_lane_write(job->files, job->data, job->size, &job->first, &job->last, now_s(sink), &job->position,
                        &job->error);
        break;
    case FILE_JOB_FINISH: file_lane_finish_copy(job->files, &job->error); break;
    case FILE_JOB_PUBLISH: file_lane_publish(job->files, &job->first, &job->error); break;
    case FILE_JOB_SETTLE: settle(sink, job); break;
    case FILE_JOB_CLOSE: file_lane_free(job->files); break;
    case FILE_JOB_STOP: loop_stop(sink->loop); break;
    }
}

static void on_job(void *context, void *take_message)
{
    struct file_sink *sink = context;
    struct file_job *job = take_message;
    work(sink, job);
    if (job->kind == FILE_JOB_STOP)
        free(job);
    else
        CHECK(mailbox_send(sink->answers, job));  // as many as jobs
}

static void discard_job(void *take_message)
{
    free(take_message);
}

static void *file_thread(void *context)
{
    struct file_sink *sink = context;
    loop_run(sink->loop);
    return NULL;
}

// --- jobs and answers --------------------------------------------------------------------------------------------

static struct file_job *job_new(enum file_job_kind kind, struct line_lane *lane)
{
    struct file_job *job = calloc(1, sizeof *job);
    CHECK(job != NULL);
    job->kind = kind;
    job->lane = lane;
    if (lane != NULL) {
        job->files = ((struct carried *)lane->carried)->files;
        job->lane_kind = lane->kind;
        job->range = lane->range;
    }
    return job;
}

static void job_send(struct file_sink *sink, struct file_job *take_job)
{
    CHECK(mailbox_send(sink->jobs, take_job));  // INFLIGHT_MAX of lanes, TIDYING_JOBS_MAX, and two of the sink's
}

static bool has_room_for_tidying(const struct file_sink *sink)
{
    return sink->tidying_count < TIDYING_JOBS_MAX;
}

static void tidying_send(struct file_sink *sink, struct file_job *take_job)
{
    sink->tidying_count++;
    job_send(sink, take_job);
}

static void tidied(struct file_sink *sink)
{
    struct file_job *waiting = sink->unsent;
    sink->tidying_count--;
    if (waiting == NULL)
        return;
    sink->unsent = waiting->next;
    tidying_send(sink, waiting);
}

static const struct err *error_of(const struct file_job *job)
{
    return err_is_set(&job->error) ? &job->error : NULL;
}

static void written(struct file_sink *sink, struct line_lane *lane, const struct file_job *job)
{
    struct carried *carried = lane->carried;
    if (error_of(job) == NULL && lane->kind == LINE_STREAM) {
        bool is_new_file = seq_compare(&job->position.file, &carried->position.file) != 0;
        carried->is_unsettled |= is_new_file && carried->made_us != 0;
        if (is_new_file || carried->made_us == 0)
            carried->made_us = loop_now_us(sink->options.loop) | 1;
        carried->position = job->position;
    }
    line_lane_sent(lane, job->size, 0, error_of(job));
}

static void lane_opened(struct file_sink *sink, struct line_lane *lane, const struct file_job *job)
{
    struct carried *carried = lane->carried;
    if (error_of(job) == NULL && lane->kind == LINE_STREAM) {
        carried->position = job->position;
        carried->recorded = carried->saved = job->position.last;
        carried->made_us = job->position.offset > 0 ? loop_now_us(sink->options.loop) | 1 : 0;
    }
    line_lane_opened(lane, lane->kind == LINE_STREAM ? &carried->position.last : NULL, error_of(job));
}

static void on_answer(void *context, void *take_message)
{
    struct file_sink *sink = context;
    struct file_job *job = take_message;
    struct sink_state state = {.exists = job->epoch > 0, .epoch = job->epoch};
    switch (job->kind) {
    case FILE_JOB_OPEN: line_sink_opened(&sink->lines, error_of(job)); break;
    case FILE_JOB_CLAIM: line_sink_state_read(&sink->lines, &state, error_of(job)); break;
    case FILE_JOB_LANE_OPEN: lane_opened(sink, job->lane, job); break;
    case FILE_JOB_WRITE: written(sink, job->lane, job); break;
    case FILE_JOB_FINISH:
    case FILE_JOB_PUBLISH: line_lane_finished(job->lane, 0, error_of(job)); break;
    case FILE_JOB_SETTLE:
    case FILE_JOB_CLOSE: tidied(sink); break;
    case FILE_JOB_STOP: CHECK(false);
    }
    free(job);
}

// --- the carrier -------------------------------------------------------------------------------------------------

static void open_sink(struct line_sink *lines)
{
    job_send(file_sink_of(lines), job_new(FILE_JOB_OPEN, NULL));
}

static void read_state(struct line_sink *lines)
{
    job_send(file_sink_of(lines), job_new(FILE_JOB_CLAIM, NULL));
}

static void table_add(struct line_table *table)
{
    const char *schema = table->table->schema_name, *name = table->table->table_name;
    size_t size = strlen(schema) + strlen(name) + 2;
    table->target = malloc(size);
    CHECK(table->target != NULL);
    (void)snprintf(table->target, size, "%s/%s", schema, name);
}

static void lane_open(struct line_lane *lane, const struct sink_channel_record *kept)
{
    struct file_sink *sink = file_sink_of(lane->table->sink);
    struct carried *carried = lane->carried;
    if (carried == NULL) {
        carried = calloc(1, sizeof *carried);
        CHECK(carried != NULL);
        carried->files = file_lane_new(sink->store, lane->table->table->schema_name, lane->table->table->table_name);
        lane->carried = carried;
    }
    if (lane->kind == LINE_PUBLISH) {
        line_lane_opened(lane, NULL, NULL);
        return;
    }
    struct file_job *job = job_new(FILE_JOB_LANE_OPEN, lane);
    job->first = lane->kind == LINE_COPY ? lane->copy_seq : lane->high;
    job->kept = *kept;
    job_send(sink, job);
}

static void lane_send(struct line_lane *lane, const struct line_batch *batch)
{
    struct file_job *job = job_new(FILE_JOB_WRITE, lane);
    job->data = batch->data.data;
    job->size = batch->data.size;
    job->first = batch->first;
    job->last = batch->last;
    job_send(file_sink_of(lane->table->sink), job);
}

static void lane_finish(struct line_lane *lane)
{
    struct file_job *job = job_new(lane->kind == LINE_COPY ? FILE_JOB_FINISH : FILE_JOB_PUBLISH, lane);
    job->first = lane->copy_seq;
    job_send(file_sink_of(lane->table->sink), job);
}

static bool lane_cancel(struct line_lane *lane)
{
    (void)lane;
    return false;  // the thread has it; its answer comes
}

static void lane_close(struct line_lane *lane)
{
    struct file_sink *sink = file_sink_of(lane->table->sink);
    if (lane->carried == NULL)
        return;
    struct file_job *job = job_new(FILE_JOB_CLOSE, lane);
    if (sink->jobs != NULL && has_room_for_tidying(sink)) {
        tidying_send(sink, job);
    } else {
        job->next = sink->unsent;
        sink->unsent = job;
    }
    free(lane->carried);
    lane->carried = NULL;
}

static void lane_record(const struct line_lane *lane, struct sink_channel_record *out_record)
{
    struct carried *carried = lane->carried;
    file_position_format(&carried->position, out_record);
    carried->recorded = carried->position.last;
}

static void lane_settle(struct line_lane *lane)
{
    struct file_sink *sink = file_sink_of(lane->table->sink);
    struct carried *carried = lane->carried;
    bool is_due = carried->made_us != 0 && loop_now_us(sink->options.loop) - carried->made_us >=
                                               (uint64_t)sink->options.config->rotate_s * 1000000;
    if (!is_due && !carried->is_unsettled)
        return;
    if (!has_room_for_tidying(sink))
        return;  // next time
    struct file_job *job = job_new(FILE_JOB_SETTLE, lane);
    job->last = carried->saved;
    tidying_send(sink, job);
    if (is_due)
        carried->made_us = 0;
    carried->is_unsettled = seq_compare(&carried->saved, &carried->position.last) < 0;
}

static void lane_saved(struct line_lane *lane)
{
    struct carried *carried = lane->carried;
    carried->saved = carried->recorded;
    if (carried->is_unsettled)
        lane_settle(lane);
}

static void on_settle_due(struct loop_timer *timer)
{
    struct file_sink *sink = timer->context;
    for (struct line_table *table = sink->lines.tables; table != NULL; table = table->next)
        if (table->stream != NULL && table->stream->is_open && !table->is_stopped)
            lane_settle(table->stream);
    loop_timer_set(sink->options.loop, timer, SETTLE_INTERVAL_US);
}

// --- life --------------------------------------------------------------------------------------------------------

static void thread_end(struct file_sink *sink)
{
    if (!sink->is_started)
        return;
    struct file_job *stop = job_new(FILE_JOB_STOP, NULL);
    while (!mailbox_send(sink->jobs, stop))
        sched_yield();  // full: the thread is working it off
    CHECK(pthread_join(sink->thread, NULL) == 0);
    sink->is_started = false;
}

static void free_sink(struct line_sink *lines)
{
    struct file_sink *sink = file_sink_of(lines);
    thread_end(sink);
    loop_timer_stop(sink->options.loop, &sink->settle_timer);
    if (sink->jobs != NULL)
        mailbox_free(sink->jobs, discard_job);
    sink->jobs = NULL;
    line_sink_deinit(lines);  // its closings have no thread any more
    while (sink->unsent != NULL) {
        struct file_job *job = sink->unsent;
        sink->unsent = job->next;
        file_lane_free(job->files);
        free(job);
    }
    if (sink->answers != NULL)
        mailbox_free(sink->answers, discard_job);
    if (sink->loop != NULL)
        loop_free(sink->loop);
    if (sink->store != NULL)
        file_store_free(sink->store);
    free(sink);
}

static const struct line_carrier carrier = {
    .opened_text = "the directory can be written to",
    .is_table_serial = false,
    .open = open_sink,
    .read_state = read_state,
    .table_add = table_add,
    .lane_open = lane_open,
    .lane_send = lane_send,
    .lane_finish = lane_finish,
    .lane_cancel = lane_cancel,
    .lane_close = lane_close,
    .lane_record = lane_record,
    .lane_saved = lane_saved,
    .free = free_sink,
};

static bool thread_begin(struct file_sink *sink, struct err *out_error)
{
    sink->loop = loop_new(&clock_system, out_error);
    if (sink->loop == NULL)
        return false;
    sink->jobs = mailbox_new(sink->loop, JOBS_MAX, on_job, sink, out_error);
    sink->answers = mailbox_new(sink->options.loop, JOBS_MAX, on_answer, sink, out_error);
    if (sink->jobs == NULL || sink->answers == NULL)
        return false;
    // Signals belong to the main thread's loop.
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    sink->is_started = pthread_create(&sink->thread, NULL, file_thread, sink) == 0;
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return sink->is_started || err_set(out_error, ERR_INTERNAL, "thread", "the file thread cannot be started");
}

struct sink *file_sink_new(const struct file_sink_options *options, const struct sink_events *events,
                           struct err *out_error)
{
    struct file_sink *sink = calloc(1, sizeof *sink);
    CHECK(sink != NULL);
    sink->options = *options;
    struct line_sink_options line_options = {.loop = options->loop,
                                             .carrier = &carrier,
                                             .pipeline = options->pipeline,
                                             .preserves_case = options->preserves_case,
                                             .has_commit_at = options->has_commit_at,
                                             .budget_bytes = options->budget_bytes,
                                             .batch_bytes_max = BATCH_BYTES_MAX,
                                             .inflight_max = INFLIGHT_MAX,
                                             .retry_policy = &retry_policy};
    line_sink_init(&sink->lines, &line_options, events);
    sink->store = file_store_new(options->config, options->pipeline, options->identity);
    sink->settle_timer = (struct loop_timer){.on_due = on_settle_due, .context = sink};
    if (!thread_begin(sink, out_error)) {
        free_sink(&sink->lines);
        return NULL;
    }
    loop_timer_set(options->loop, &sink->settle_timer, SETTLE_INTERVAL_US);
    return &sink->lines.sink;
}
