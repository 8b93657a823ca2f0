#include "pipeline/pipeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/pipeline_private.h"

#define REPLIES_MAX 16
#define FIRST_START_TRIES_MAX 4
#define FIRST_START_PATIENCE_US 10000000  // for ends that do not answer
#define NAME_SCRATCH_BYTES_MAX (1U << 20)

const struct backoff_policy pipeline_backoff = {
    .delay_first_ms = 250, .delay_min_ms = 100, .delay_max_ms = 30000, .tries_max = 0};

static void on_reap(struct loop_deferred *deferred);

const char *pipeline_state_name(enum pipeline_state state)
{
    static const char *const names[] = {"idle",    "checking", "opening",  "preparing", "snapshot", "opening_channels",
                                        "running", "waiting",  "stopping", "ended"};
    CHECK((unsigned)state < sizeof names / sizeof names[0]);
    return names[state];
}

void pipeline_set_state(struct pipeline *pipeline, enum pipeline_state state)
{
    CHECK((unsigned)state <= PIPELINE_ENDED);
    CHECK(pipeline->state != PIPELINE_ENDED);
    if (pipeline->state == state)
        return;
    log_line(LOG_DEBUG, &pipeline->scope, "state", "%s -> %s", pipeline_state_name(pipeline->state),
             pipeline_state_name(state));
    pipeline->state = state;
    meter_state(pipeline);
    pipeline->pending_count = 0;
    pipeline->status_us = 0;  // publish it
    if (state != PIPELINE_ENDED)
        loop_timer_set(pipeline->loop, &pipeline->tick, 1);
}

bool pipeline_table_needs_copy(const struct pipeline_table *table)
{
    return table->sink_table != NULL &&
           (table->record.state == CATALOG_TABLE_NEW || table->record.state == CATALOG_TABLE_COPYING);
}

// --- failing, restarting, ending ---------------------------------------------------------------------------------

void pipeline_end(struct pipeline *pipeline, const struct err *error)
{
    if (pipeline->is_end_wanted)
        return;
    pipeline->is_end_wanted = true;
    err_clear(&pipeline->end_error);
    if (error != NULL) {
        pipeline->end_error = *error;
        meter_error(pipeline, error);
    }
    loop_defer(pipeline->loop, &pipeline->reap);
}

void pipeline_restart(struct pipeline *pipeline, const struct err *error)
{
    if (!err_is_set(&pipeline->last_error))
        pipeline->trouble_since_us = loop_wall_us(pipeline->loop);
    pipeline->last_error = *error;
    pipeline->is_restart_wanted = true;
    loop_defer(pipeline->loop, &pipeline->reap);
}

static bool is_worth_another_try(const struct pipeline *pipeline, const struct err *error)
{
    if (error->kind == ERR_LOST && pipeline->options.resync_on_slot_lost)
        return true;  // a new epoch begins
    if (!pipeline->options.is_attended)
        return error->kind == ERR_TRANSIENT || error->kind == ERR_CONFIG;
    bool is_early = pipeline->state == PIPELINE_CHECKING || pipeline->state == PIPELINE_OPENING;
    bool is_late = loop_now_us(pipeline->loop) - pipeline->started_us > FIRST_START_PATIENCE_US;
    if (error->kind == ERR_TRANSIENT && pipeline->is_first_start)
        return pipeline->backoff.tries < FIRST_START_TRIES_MAX && !(is_early && is_late);
    if (error->kind == ERR_TRANSIENT)
        return true;
    // What worked before may be mended at the other end while we wait; at a first start the person is there to read the error.
    return error->kind == ERR_CONFIG && !pipeline->is_first_start && pipeline->has_run;
}

void pipeline_fail(struct pipeline *pipeline, const struct err *error)
{
    if (pipeline->state == PIPELINE_ENDED || pipeline->is_end_wanted || pipeline->is_restart_wanted)
        return;
    if (pipeline->state == PIPELINE_STOPPING) {
        pipeline_end(pipeline, NULL);  // what was not confirmed is read again at the next start
        return;
    }
    if (is_worth_another_try(pipeline, error)) {
        pipeline->is_history_lost |= error->kind == ERR_LOST;
        log_line(LOG_WARNING, &pipeline->scope, "retrying", "%s", error->text);
        meter_error(pipeline, error);
        pipeline_restart(pipeline, error);
        return;
    }
    pipeline_end(pipeline, error);
}

void pipeline_rewind(struct pipeline *pipeline, const struct err *why)
{
    log_line(LOG_WARNING, &pipeline->scope, "rewind", "reading the slot again from " LSN_FORMAT ": %s",
             LSN_ARGUMENTS(pipeline->saved_lsn), why->text);
    pipeline->received_lsn = pipeline->saved_lsn;
    meter_error(pipeline, why);
    if (pipeline->state == PIPELINE_RUNNING || pipeline->state == PIPELINE_CHANNELS)
        pipeline_restart(pipeline, why);
}

static void on_restart_due(struct loop_timer *timer)
{
    start_check(timer->context);
}

static void close_stream(struct pipeline *pipeline)
{
    evolve_end(pipeline);
    join_end(pipeline);
    stream_end(pipeline);
    if (pipeline->check_conn != NULL) {
        pg_conn_free(pipeline->check_conn);
        pipeline->check_conn = NULL;
    }
}

static void close_source(struct pipeline *pipeline)
{
    close_stream(pipeline);
    copy_end(pipeline);
}

static void do_end(struct pipeline *pipeline)
{
    struct err error = pipeline->end_error;
    close_source(pipeline);
    loop_timer_stop(pipeline->loop, &pipeline->tick);
    loop_timer_stop(pipeline->loop, &pipeline->restart_timer);
    loop_timer_stop(pipeline->loop, &pipeline->stop_timer);
    if (pipeline->save_inflight != NULL) {
        loop_defer(pipeline->loop, &pipeline->reap);  // the catalog's thread will answer into our mailbox: wait for it
        return;
    }
    pipeline_set_state(pipeline, PIPELINE_ENDED);
    hold_deinit(pipeline);
    progress_ended(pipeline);
    meter_end(pipeline);
    pipeline->events.on_ended(pipeline->events.context, err_is_set(&error) ? &error : NULL);
}

// Everything that ended within a callback is freed here, outside of it.
static void on_reap(struct loop_deferred *deferred)
{
    struct pipeline *pipeline = deferred->context;
    if (pipeline->state == PIPELINE_ENDED)
        return;
    if (pipeline->is_end_wanted) {
        do_end(pipeline);
        return;
    }
    if (pipeline->is_reap_check && pipeline->check_conn != NULL) {
        pg_conn_free(pipeline->check_conn);
        pipeline->check_conn = NULL;
    }
    pipeline->is_reap_check = false;
    if (pipeline->is_reap_copy)
        copy_reap(pipeline);
    pipeline->is_reap_copy = false;
    if (pipeline->is_restart_wanted) {
        uint32_t delay_ms = 0;
        pipeline->is_restart_wanted = false;
        // Copies have connections of their own and outlive a restart of the stream, but not one of the first start.
        if (pipeline->has_run)
            close_stream(pipeline);
        else
            close_source(pipeline);
        backoff_next(&pipeline->backoff, &delay_ms);
        pipeline_set_state(pipeline, PIPELINE_WAITING);
        loop_timer_set(pipeline->loop, &pipeline->restart_timer, (uint64_t)delay_ms * 1000);
    }
}

// --- tables ------------------------------------------------------------------------------------------------------

struct pipeline_table *pipeline_find_table(struct pipeline *pipeline, uint32_t oid)
{
    uint32_t low = 0, high = pipeline->table_count;
    if (pipeline->last_table != NULL && pipeline->last_table->table->oid == oid)
        return pipeline->last_table;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pipeline->tables[middle]->table->oid < oid)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == pipeline->table_count || pipeline->tables[low]->table->oid != oid)
        return NULL;
    pipeline->last_table = pipeline->tables[low];
    return pipeline->last_table;
}

void pipeline_table_free(struct pipeline_table *table)
{
    copy_table_free(table);
    meter_table_end(&table->meter);
    catalog_table_deinit(&table->record);
    table_free(table->table);
    free(table->channels);
    free(table);
}

void pipeline_retire_definition(struct pipeline *pipeline, struct table *take_definition)
{
    pipeline->retired = reallocarray(pipeline->retired, pipeline->retired_count + 1, sizeof(struct table *));
    CHECK(pipeline->retired != NULL);
    pipeline->retired[pipeline->retired_count++] = take_definition;
}

// --- the sink's events -------------------------------------------------------------------------------------------

static bool has_stopped(const struct pipeline *pipeline)
{
    return pipeline->state == PIPELINE_ENDED || pipeline->is_end_wanted;
}

// What was copied is there, or the table is copied anew before anything is made in its place.
static enum sink_prepare prepare_mode(const struct pipeline *pipeline, const struct pipeline_table *table)
{
    bool is_known = table->record.state == CATALOG_TABLE_COPIED || table->record.state == CATALOG_TABLE_LIVE;
    if (pipeline->is_check_only)
        return SINK_PREPARE_CHECK;
    return is_known ? SINK_PREPARE_KNOWN : SINK_PREPARE_MAKE;
}

static void prepare_check_done(struct pipeline *pipeline);

static void prepare_begin(struct pipeline *pipeline)
{
    pipeline_set_state(pipeline, PIPELINE_PREPARING);
    err_clear(&pipeline->start_error);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->sink_table == NULL || table->is_prepared)
            continue;
        pipeline->pending_count++;
        table->is_preparing = true;
        pipeline->sink->operations->table_prepare(table->sink_table, prepare_mode(pipeline, table));
    }
    prepare_check_done(pipeline);  // all may be: a first start that failed later, and whose slot is not made yet
}

// Also called when the sink was open already: a restart within the process.
static void after_sink_open(struct pipeline *pipeline)
{
    pipeline_set_state(pipeline, PIPELINE_OPENING);
    if (pipeline->record.epoch == 0)
        pipeline->record.epoch = 1;
    pipeline->is_check_only = !pipeline->record.is_slot_made;  // names are looked at before anything is made
    // How a merge of an earlier life ended is asked while the pipeline runs: it may be under way for hours yet.
    if (pipeline->sink->operations->has_merge && pipeline->record.merge_intent_lsn != LSN_NONE && !pipeline->is_merging)
        pipeline->is_merge_resolving = true;
    prepare_begin(pipeline);
}

static void on_sink_opened(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    if (has_stopped(pipeline))
        return;
    if (error != NULL) {
        pipeline_fail(pipeline, error);
        return;
    }
    pipeline->is_sink_open = true;
    after_sink_open(pipeline);
}

// The state's epoch decides ours at a first start: landing rows of an earlier life have lower ones.
static void on_sink_state(void *context, const struct sink_state *state, const struct err *error)
{
    struct pipeline *pipeline = context;
    bool is_wanted = pipeline->is_start_state_wanted;
    if (has_stopped(pipeline))
        return;
    pipeline->is_state_asked = pipeline->is_start_state_wanted = false;
    if (!is_wanted) {
        merge_state_read(pipeline, state, error);
        return;
    }
    if (pipeline->state != PIPELINE_OPENING)
        return;  // of a start that failed meanwhile: the next one asks again
    if (error != NULL) {
        pipeline_fail(pipeline, error);
        return;
    }
    if (pipeline->record.epoch <= state->epoch) {
        if (state->epoch == UINT8_MAX) {
            struct err full = {0};
            err_set(&full, ERR_CONFIG, "epochs_used_up",
                    "pipeline %s has used up its 255 epochs at the destination; give it another name (--name)",
                    pipeline->options.name);
            pipeline_end(pipeline, &full);
            return;
        }
        pipeline->record.epoch = (uint8_t)(state->epoch + 1);
    }
    merge_writer_set(pipeline, state);
    pipeline->record.state_epoch = state->epoch;
    pipeline->record.state_lsn = state->merged_lsn;
    pipeline->is_record_dirty = true;
    prepare_begin(pipeline);
}

// Source and tables are known and the sink may be open or not.
void pipeline_checked(struct pipeline *pipeline)
{
    pipeline_set_state(pipeline, PIPELINE_OPENING);
    if (!pipeline->is_sink_open)
        pipeline->sink->operations->open(pipeline->sink);
    else
        after_sink_open(pipeline);
}

static void prepare_check_done(struct pipeline *pipeline)
{
    if (pipeline->state != PIPELINE_PREPARING || pipeline->pending_count > 0)
        return;
    if (err_is_set(&pipeline->start_error)) {
        pipeline_fail(pipeline, &pipeline->start_error);
        return;
    }
    if (pipeline->is_check_only) {
        pipeline->is_check_only = false;
        pipeline_set_state(pipeline, PIPELINE_OPENING);
        pipeline->is_start_state_wanted = true;
        merge_state_ask(pipeline);
        return;
    }
    if (pipeline->record.is_slot_made) {
        pipeline_channels_begin(pipeline);
        return;
    }
    // The intent is durable before the slot is: a slot that a crash leaves behind is known as ours.
    pipeline_set_state(pipeline, PIPELINE_SNAPSHOT);
    pipeline->is_record_dirty = true;
    progress_save_soon(pipeline);
}

static void on_prepared(void *context, void *table_context, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = table_context;
    if (has_stopped(pipeline))
        return;
    table->is_preparing = false;
    if (pipeline->state != PIPELINE_PREPARING) {
        join_prepared(table, error);
        return;
    }
    if (error == NULL) {
        table->is_prepared = !pipeline->is_check_only;
        if (table->is_prepared)
            definition_keep(table);
    } else if (error->kind == ERR_TRANSIENT || (pipeline->is_first_start && pipeline->options.is_attended)) {
        if (!err_is_set(&pipeline->start_error))
            pipeline->start_error = *error;
    } else if (error->kind == ERR_LOST) {
        pipeline_resync_table(table, error);
    } else {
        join_trouble(table, error);
    }
    pipeline->pending_count--;
    prepare_check_done(pipeline);
}

static void channels_check_done(struct pipeline *pipeline)
{
    struct err why = {0};
    if (pipeline->state != PIPELINE_CHANNELS || pipeline->pending_count > 0)
        return;
    if (!start_branch_fits(pipeline, &why)) {
        pipeline->is_history_lost = true;  // the next start begins a new epoch
        pipeline_restart(pipeline, &why);
        return;
    }
    // A channel is in the catalog before its first row: rows refused in a life that nobody recorded would go unseen.
    pipeline->is_channels_dirty = true;
    progress_save_soon(pipeline);
}

void pipeline_answer_missed(struct pipeline *pipeline)
{
    CHECK(pipeline->pending_count > 0);
    pipeline->pending_count--;
    prepare_check_done(pipeline);
    channels_check_done(pipeline);
}

void pipeline_channels_saved(struct pipeline *pipeline)
{
    if (pipeline->state == PIPELINE_RUNNING)
        join_channels_saved(pipeline);
    if (pipeline->state != PIPELINE_CHANNELS || pipeline->pending_count > 0)
        return;
    pipeline_set_state(pipeline, PIPELINE_RUNNING);
    pipeline->has_run = true;
    pipeline->is_first_start = false;
    join_begin(pipeline);
    stream_begin(pipeline);
    copy_begin(pipeline, false);
}

void pipeline_channels_begin(struct pipeline *pipeline)
{
    pipeline_set_state(pipeline, PIPELINE_CHANNELS);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        struct sink_stream_record kept;
        if (table->sink_table == NULL || table->is_stream_open)
            continue;
        progress_stream_kept(table, &kept);
        pipeline->pending_count++;
        table->is_stream_opening = true;
        pipeline->sink->operations->stream_open(table->sink_table, pipeline->record.epoch, pipeline->saved_lsn, &kept);
    }
    channels_check_done(pipeline);
}

static void on_stream_opened(void *context, void *table_context)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = table_context;
    if (has_stopped(pipeline))
        return;
    table->is_stream_opening = false;
    table->is_stream_open = true;
    table->is_record_dirty = true;
    table->observed_from_lsn = pipeline->sink->operations->committed_row_lsn(table->sink_table);
    if (pipeline->state == PIPELINE_CHANNELS) {
        pipeline->pending_count--;
        channels_check_done(pipeline);
    } else if (pipeline->state == PIPELINE_RUNNING) {
        join_stream_opened(table);
    }
}

static void on_stream_changed(void *context, void *table_context)
{
    struct pipeline_table *table = table_context;
    table->is_stream_changed = true;
    progress_save_soon(context);
}

static void on_copy_opened(void *context, void *table_context, uint16_t range)
{
    if (!has_stopped(context))
        copy_range_opened(table_context, range);
}

static void on_copy_committed(void *context, void *table_context, uint16_t range, uint64_t row_count)
{
    if (has_stopped(context))
        return;
    join_recovered(table_context);
    copy_range_committed(table_context, range, row_count);
}

static void on_committed(void *context)
{
    progress_update(context);
}

static void on_room(void *context)
{
    struct pipeline *pipeline = context;
    if (pipeline->is_stream_paused) {
        pipeline->is_stream_paused = false;
        stream_continue(pipeline);
    }
    copy_room(pipeline);
}

static void on_rewind(void *context, void *table_context, const struct err *why)
{
    (void)table_context;
    if (!has_stopped(context))
        pipeline_rewind(context, why);
}

static void on_table_failed(void *context, void *table_context, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct pipeline_table *table = table_context;
    if (has_stopped(pipeline))
        return;
    if (error->kind == ERR_FENCED || error->kind == ERR_INTERNAL) {
        pipeline_end(pipeline, error);
        return;
    }
    if (error->kind == ERR_LOST) {
        pipeline_resync_table(table, error);
        return;
    }
    join_trouble(table, error);
}

static void on_copy_failed(void *context, void *table_context, const struct err *error)
{
    if (!has_stopped(context) && pipeline_table_needs_copy(table_context))
        copy_table_failed(table_context, error);
}

static void on_merged(void *context, void *table_context, const struct err *error)
{
    if (!has_stopped(context))
        merge_ended(context, table_context, error);
}

static void on_published(void *context, void *table_context)
{
    if (!has_stopped(context))
        follow_published(table_context);
}

static void on_cleaned(void *context, void *table_context, uint64_t rows, bool has_more, const struct err *error)
{
    if (!has_stopped(context))
        merge_cleaned(context, table_context, rows, has_more, error);
}

// --- life --------------------------------------------------------------------------------------------------------

static void on_stop_check(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    uint64_t now_us = loop_now_us(pipeline->loop);
    bool is_late = now_us >= pipeline->stop_timer.due_us &&
                   now_us - pipeline->started_us >= (uint64_t)pipeline->options.stop_deadline_ms * 1000;
    if (progress_is_settled(pipeline) || is_late) {
        if (pipeline->stream != NULL) {
            pg_stream_confirm(pipeline->stream, pipeline->saved_lsn);
            pg_stream_flush_status(pipeline->stream);
        }
        if (!progress_is_settled(pipeline))
            log_line(LOG_WARNING, &pipeline->scope, "stop_deadline",
                     "not everything was committed within the deadline; it will be read from the slot again at the "
                     "next start");
        pipeline_end(pipeline, NULL);
        return;
    }
    progress_save_soon(pipeline);
    loop_timer_set(pipeline->loop, &pipeline->stop_timer, 20000);
}

void pipeline_stop(struct pipeline *pipeline)
{
    if (pipeline->state == PIPELINE_STOPPING || has_stopped(pipeline))
        return;
    bool was_running = pipeline->state == PIPELINE_RUNNING;
    log_line(LOG_INFO, &pipeline->scope, "stopping", "finishing what is in flight");
    pipeline_set_state(pipeline, PIPELINE_STOPPING);
    if (!was_running) {
        pipeline_end(pipeline, NULL);
        return;
    }
    copy_end(pipeline);  // copies begin anew at the next start
    if (pipeline->stream != NULL)
        pg_stream_pause(pipeline->stream);
    pipeline->is_stream_paused = false;  // no on_room sets it going again
    pipeline->sink->operations->flush(pipeline->sink);
    pipeline->started_us = loop_now_us(pipeline->loop);
    loop_timer_set(pipeline->loop, &pipeline->stop_timer, 1);
}

void pipeline_abort(struct pipeline *pipeline, const struct err *error)
{
    if (!has_stopped(pipeline))
        pipeline_end(pipeline, error);
}

static void random_identity(char out[17])
{
    unsigned char bytes[8] = {0};
    FILE *file = fopen("/dev/urandom", "rbe");
    CHECK(file != NULL && fread(bytes, 1, sizeof bytes, file) == sizeof bytes);
    fclose(file);
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(out + 2 * i, 3, "%02X", bytes[i]);
}

// The scheme of a destination's description; https is http.
static size_t kind_size(const char *destination_text)
{
    return strncmp(destination_text, "https:", 6) == 0 ? 4 : strcspn(destination_text, ":");
}

static bool is_same_kind(const char *a_destination, const char *b_destination)
{
    size_t size = kind_size(a_destination);
    return size == kind_size(b_destination) && memcmp(a_destination, b_destination, size) == 0;
}

static void record_init(struct pipeline *pipeline)
{
    struct catalog_pipeline *record = &pipeline->record;
    if (pipeline->options.known != NULL) {
        *record = pipeline->options.known->pipeline;
    } else {
        (void)snprintf(record->name, sizeof record->name, "%s", pipeline->options.name);
        random_identity(record->identity);
    }
    // What another kind of destination has says nothing of this one.
    pipeline->is_destination_changed = record->is_slot_made && record->destination[0] != '\0' &&
                                       !is_same_kind(record->destination, pipeline->options.destination_text);
    (void)snprintf(record->slot, sizeof record->slot, "%s", pipeline->options.slot);
    (void)snprintf(record->source, sizeof record->source, "%s", pipeline->options.source_text);
    (void)snprintf(record->destination, sizeof record->destination, "%s", pipeline->options.destination_text);
    pipeline->is_first_start = !record->is_slot_made;
    pipeline->saved_lsn = pipeline->committed_lsn = pipeline->received_lsn = record->floor_lsn;
    pipeline->merged_lsn = record->merged_lsn;
}

void pipeline_source_name(const char *identity, uint64_t claim, char out[PIPELINE_SOURCE_NAME_SIZE])
{
    (void)snprintf(out, PIPELINE_SOURCE_NAME_SIZE, "etl-stream %s %016" PRIX64, identity, claim);
}

// With a name at the source by which a later run can tell our connections from its own.
static void source_init(struct pipeline *pipeline)
{
    char name[PIPELINE_SOURCE_NAME_SIZE];
    CHECK(pg_target_copy(pipeline->options.source, &pipeline->source));
    pipeline->options.source = &pipeline->source;
    if (pipeline->options.claim == 0)
        return;
    pipeline_source_name(pipeline->record.identity, pipeline->options.claim, name);
    free(pipeline->source.application_name);
    pipeline->source.application_name = strdup(name);
    CHECK(pipeline->source.application_name != NULL);
}

struct pipeline *pipeline_new(struct loop *loop, struct resolver *resolver, const struct pipeline_options *options,
                              const struct pipeline_events *events, struct err *out_error)
{
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    CHECK(pipeline != NULL);
    pipeline->loop = loop;
    pipeline->resolver = resolver;
    pipeline->options = *options;
    pipeline->events = *events;
    pipeline->scope.pipeline = options->name;
    pipeline->scratch = malloc(sizeof *pipeline->scratch);
    CHECK(pipeline->scratch != NULL);
    record_init(pipeline);
    source_init(pipeline);
    buf_init(&pipeline->name_scratch, NAME_SCRATCH_BYTES_MAX);
    pipeline->reap = (struct loop_deferred){.call = on_reap, .context = pipeline};
    pipeline->restart_timer = (struct loop_timer){.on_due = on_restart_due, .context = pipeline};
    pipeline->stop_timer = (struct loop_timer){.on_due = on_stop_check, .context = pipeline};
    backoff_init(&pipeline->backoff, &pipeline_backoff, (uint64_t)loop_wall_us(loop) | 1);
    progress_init(pipeline);
    join_init(pipeline);
    merge_init(pipeline);
    copy_init(pipeline);
    if (!table_choice_parse(options->tables, &pipeline->choice, out_error)) {
        pipeline_free(pipeline);
        return NULL;
    }
    pipeline->replies = mailbox_new(loop, REPLIES_MAX, progress_on_reply, pipeline, out_error);
    struct sink_events sink_events = {.on_opened = on_sink_opened,
                                      .on_state = on_sink_state,
                                      .on_prepared = on_prepared,
                                      .on_stream_opened = on_stream_opened,
                                      .on_stream_changed = on_stream_changed,
                                      .on_copy_opened = on_copy_opened,
                                      .on_copy_committed = on_copy_committed,
                                      .on_committed = on_committed,
                                      .on_room = on_room,
                                      .on_rewind = on_rewind,
                                      .on_table_failed = on_table_failed,
                                      .on_copy_failed = on_copy_failed,
                                      .on_merged = on_merged,
                                      .on_published = on_published,
                                      .on_cleaned = on_cleaned,
                                      .context = pipeline};
    if (pipeline->replies != NULL)
        pipeline->sink = options->sink_new(options->sink_context, pipeline->record.identity, &sink_events, out_error);
    if (pipeline->sink == NULL) {
        pipeline_free(pipeline);
        return NULL;
    }
    return pipeline;
}

void pipeline_start(struct pipeline *pipeline)
{
    CHECK(pipeline->state == PIPELINE_IDLE);
    pipeline->started_us = loop_now_us(pipeline->loop);
    meter_begin(pipeline);
    loop_timer_set(pipeline->loop, &pipeline->tick, 1);
    start_check(pipeline);
}

static void discard_reply(void *message)
{
    catalog_save_free(message);
}

void pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    close_source(pipeline);
    meter_end(pipeline);
    progress_deinit(pipeline);
    loop_timer_stop(pipeline->loop, &pipeline->restart_timer);
    loop_timer_stop(pipeline->loop, &pipeline->stop_timer);
    loop_defer_stop(pipeline->loop, &pipeline->reap);
    if (pipeline->sink != NULL)
        pipeline->sink->operations->free(pipeline->sink);
    if (pipeline->replies != NULL)
        mailbox_free(pipeline->replies, discard_reply);
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        pipeline_table_free(pipeline->tables[i]);
    free(pipeline->tables);
    for (uint32_t i = 0; i < pipeline->retired_count; i++)
        table_free(pipeline->retired[i]);
    free(pipeline->retired);
    free(pipeline->gone);
    stream_deinit(pipeline);
    table_choice_deinit(&pipeline->choice);
    free(pipeline->excluded);
    left_deinit(pipeline);
    join_deinit(pipeline);
    buf_deinit(&pipeline->name_scratch);
    pg_target_deinit(&pipeline->source);
    free(pipeline->scratch);
    free(pipeline);
}
