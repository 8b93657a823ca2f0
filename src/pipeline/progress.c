// Positions and saves: what is committed, and what of it is durable.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "pipeline/pipeline_private.h"

#define TICK_ACTIVE_US 100000
#define TICK_IDLE_US 1000000
#define TICK_GRID_US 100000      // ticks of a worker's idle pipelines fall together: a wake-up costs more than a tick
#define SAVE_RETRY_US 1000000    // while the catalog is away
#define SAVE_INTERVAL_US 200000  // while rows flow
// While only keepalives move the position, the WAL that could be freed is not worth a transaction each time: twice as long after
// every such save, unless a whole segment of WAL waits. (Where the catalog is on the source's server, each save is WAL for all.)
#define SAVE_IDLE_INTERVAL_US UINT64_C(5000000)
#define SAVE_IDLE_DOUBLINGS_MAX 1
// The longer of the two ends with a round number of seconds of the process's clock, so that all pipelines that rest save together: in a
// few transactions instead of hundreds, each of which would make every walsender of that server wake up its pipeline.
#define SAVE_GRID_US UINT64_C(10000000)
#define SAVE_IDLE_BYTES (UINT64_C(16) << 20)
#define STATUS_INTERVAL_US 1000000
#define STATUS_WAITING_INTERVAL_US 10000000
#define STATUS_IDLE_INTERVAL_US 60000000  // nothing but positions has changed; each save has them too

static void progress_check(const struct pipeline *pipeline)
{
    CHECK(pipeline->saved_lsn <= pipeline->committed_lsn);
}

void progress_init(struct pipeline *pipeline)
{
    pipeline->tick = (struct loop_timer){.on_due = progress_tick, .context = pipeline};
}

void progress_deinit(struct pipeline *pipeline)
{
    CHECK(pipeline->save_inflight == NULL);
    loop_timer_stop(pipeline->loop, &pipeline->tick);
    loop_timer_stop(pipeline->loop, &pipeline->copy_timer);
    loop_timer_stop(pipeline->loop, &pipeline->turn_timer);
    merge_deinit(pipeline);
}

// --- positions ---------------------------------------------------------------------------------------------------

void progress_update(struct pipeline *pipeline)
{
    const struct sink_operations *operations = pipeline->sink->operations;
    lsn_t position = pipeline->received_lsn;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        if (table->sink_table == NULL || trap_is_set("only_committed_rows_are_confirmed"))
            continue;
        lsn_t uncommitted_lsn = operations->uncommitted_lsn(table->sink_table);
        if (uncommitted_lsn < position)
            position = uncommitted_lsn;
    }
    if (position > pipeline->committed_lsn) {
        pipeline->committed_lsn = position;
        meter_committed(pipeline);
    }
    progress_check(pipeline);
}

// --- saves -------------------------------------------------------------------------------------------------------

static struct pipeline_channel *channel_find(struct pipeline_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->channel_count; i++)
        if (strcmp(table->channels[i].record.name, name) == 0)
            return &table->channels[i];
    return NULL;
}

static struct pipeline_channel *channel_add(struct pipeline_table *table)
{
    table->channels = reallocarray(table->channels, (size_t)table->channel_count + 1, sizeof *table->channels);
    CHECK(table->channels != NULL);
    struct pipeline_channel *channel = &table->channels[table->channel_count++];
    memset(channel, 0, sizeof *channel);
    return channel;
}

// oid is the table's of now: one that was made again under its name has the channels of the one before.
void progress_channels_know(struct pipeline_table *table, const struct catalog_known *known, uint32_t oid)
{
    for (uint32_t i = 0; i < known->channel_count; i++) {
        if (known->channels[i].table_oid != table->record.oid)
            continue;
        struct pipeline_channel *channel = channel_add(table);
        channel->record = known->channels[i];
        channel->is_dirty = channel->record.table_oid != oid;
        channel->record.table_oid = oid;
    }
}

void progress_channels_forget(struct pipeline_table *table)
{
    for (uint32_t i = 0; i < table->channel_count; i++)
        table->channels[i].record.is_gone = table->channels[i].is_dirty = true;
}

void progress_stream_kept(const struct pipeline_table *table, struct sink_stream_record *out_record)
{
    memset(out_record, 0, sizeof *out_record);
    out_record->spread = table->record.spread;
    for (uint32_t i = 0; i < table->channel_count; i++) {
        const struct catalog_channel *from = &table->channels[i].record;
        if (from->is_gone || out_record->channel_count == SPREAD_CHANNELS_MAX)
            continue;
        struct sink_channel_record *to = &out_record->channels[out_record->channel_count++];
        (void)snprintf(to->name, sizeof to->name, "%s", from->name);
        (void)snprintf(to->token, sizeof to->token, "%s", from->token);
        to->created_on_ms = from->created_on_ms;
        to->error_count = from->error_count;
    }
}

static void channel_refresh(struct pipeline_table *table, const struct sink_channel_record *from)
{
    struct pipeline_channel *channel = channel_find(table, from->name);
    if (channel == NULL) {
        channel = channel_add(table);
        (void)snprintf(channel->record.name, sizeof channel->record.name, "%s", from->name);
        channel->record.table_oid = table->record.oid;
        channel->is_dirty = true;
    }
    struct catalog_channel *to = &channel->record;
    channel->is_dirty |= to->is_gone || strcmp(to->token, from->token) != 0 || to->error_count != from->error_count ||
                         to->created_on_ms != from->created_on_ms;
    to->is_gone = false;
    (void)snprintf(to->token, sizeof to->token, "%s", from->token);
    to->created_on_ms = from->created_on_ms;
    to->error_count = from->error_count;
}

// Tokens, error counts and spread, as they belong to the position that is saved with them.
static void records_refresh(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        struct sink_stream_record record;
        if (table->sink_table == NULL)
            continue;
        pipeline->sink->operations->stream_record(table->sink_table, &record);
        if (record.channel_count == 0)
            continue;
        if (!spread_is_same(&record.spread, &table->record.spread)) {
            table->record.spread = record.spread;
            table->is_record_dirty = true;
        }
        for (uint32_t k = 0; k < record.channel_count; k++)
            channel_refresh(table, &record.channels[k]);
        for (uint32_t k = 0; k < table->channel_count; k++) {
            struct pipeline_channel *channel = &table->channels[k];
            bool is_there = false;
            for (uint32_t m = 0; m < record.channel_count && !is_there; m++)
                is_there = strcmp(channel->record.name, record.channels[m].name) == 0;
            channel->is_dirty |= !is_there && !channel->record.is_gone;  // of an epoch that is over
            channel->record.is_gone = !is_there;
        }
    }
}

static uint32_t count_dirty_channels(const struct pipeline *pipeline)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        for (uint32_t k = 0; k < pipeline->tables[i]->channel_count; k++)
            count += pipeline->tables[i]->channels[k].is_dirty;
    return count;
}

static uint32_t count_dirty(const struct pipeline *pipeline)
{
    uint32_t count = pipeline->gone_count;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        count += pipeline->tables[i]->is_record_dirty;
    return count;
}

static void tables_put(struct pipeline *pipeline, struct catalog_save *save)
{
    uint32_t count = 0, channel_count = 0;
    // First, so that a name that is somebody's again is written after it was deleted.
    for (uint32_t i = 0; i < pipeline->gone_count; i++)
        save->tables[count++] = pipeline->gone[i];
    pipeline->gone_saving_count = pipeline->gone_count;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->is_record_dirty)
            catalog_table_copy(&table->record, &save->tables[count++]);
        for (uint32_t k = 0; k < table->channel_count; k++) {
            if (table->channels[k].is_dirty)
                save->channels[channel_count++] = table->channels[k].record;
            table->channels[k].is_dirty = false;
        }
        table->is_record_dirty = false;
        table->is_stream_saving = table->is_stream_changed;
        table->is_stream_changed = false;
    }
}

static bool is_moving(const struct pipeline *pipeline)
{
    return pipeline->committed_lsn > pipeline->saved_lsn && pipeline->row_lsn >= pipeline->saved_lsn;
}

void progress_save_now(struct pipeline *pipeline)
{
    struct catalog_pipeline *record = &pipeline->record;
    progress_update(pipeline);
    records_refresh(pipeline);
    bool is_idle = !pipeline->is_save_wanted && !pipeline->is_record_dirty && !is_moving(pipeline);
    pipeline->idle_saves = !is_idle                                         ? 0
                           : pipeline->idle_saves < SAVE_IDLE_DOUBLINGS_MAX ? pipeline->idle_saves + 1
                                                                            : SAVE_IDLE_DOUBLINGS_MAX;
    struct catalog_save *save = catalog_save_new(count_dirty(pipeline), count_dirty_channels(pipeline));
    if (pipeline->committed_lsn > record->floor_lsn)
        record->floor_lsn = pipeline->committed_lsn;
    if (pipeline->received_lsn > record->received_lsn)
        record->received_lsn = pipeline->received_lsn;
    pipeline->saving_lsn = record->floor_lsn;
    save->pipeline = *record;
    save->claim = pipeline->options.claim;
    save->has_pipeline = true;
    save->reply_to = pipeline->replies;
    save->status_json = status_take(pipeline);
    pipeline->status_marks = status_marks(pipeline);
    tables_put(pipeline, save);
    pipeline->is_record_dirty = pipeline->is_save_wanted = false;
    pipeline->is_snapshot_saving = pipeline->is_snapshot_dirty;
    pipeline->is_resync_saving |= pipeline->is_resync_dirty;
    pipeline->is_resync_dirty = false;
    copy_snapshot_saving(pipeline);
    hold_saving(pipeline);
    pipeline->is_channels_saving = pipeline->is_channels_dirty;
    pipeline->is_snapshot_dirty = pipeline->is_channels_dirty = false;
    pipeline->saved_us = pipeline->status_us = loop_now_us(pipeline->loop);
    pipeline->save_inflight = save;
    CHECK(catalog_send(pipeline->options.catalog, save));  // one save a pipeline in flight: the queue has room
}

static void save_failed(struct pipeline *pipeline, const struct err *error)
{
    // Nothing is confirmed beyond what is durable, so waiting loses nothing. Everything is written again.
    if (!pipeline->has_save_failed || strcmp(error->text, pipeline->save_error.text) != 0)
        log_line(LOG_ERROR, &pipeline->scope, "save_failed", "%s", error->text);
    pipeline->has_save_failed = true;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        table->is_record_dirty = true;
        for (uint32_t k = 0; k < table->channel_count; k++)
            table->channels[k].is_dirty = true;
        table->is_stream_changed |= table->is_stream_saving;
        table->is_stream_saving = false;
    }
    pipeline->is_record_dirty = true;
    pipeline->is_snapshot_dirty |= pipeline->is_snapshot_saving;
    pipeline->is_channels_dirty |= pipeline->is_channels_saving;
    pipeline->is_snapshot_saving = pipeline->is_channels_saving = false;
    pipeline->is_resync_dirty |= pipeline->is_resync_saving;
    pipeline->is_resync_saving = false;
    merge_intent_failed(pipeline);
    hold_saved(pipeline, true);
    pipeline->is_save_wanted = true;
    pipeline->save_error = *error;
}

// What was saved: records of channels that are gone are not kept any longer, and steps of the spread may be used.
static void tables_saved(struct pipeline *pipeline)
{
    const struct sink_operations *operations = pipeline->sink->operations;
    operations->floor_saved(pipeline->sink, pipeline->saved_lsn);
    for (uint32_t i = pipeline->gone_saving_count; i < pipeline->gone_count; i++)
        pipeline->gone[i - pipeline->gone_saving_count] = pipeline->gone[i];
    pipeline->gone_count -= pipeline->gone_saving_count;
    pipeline->gone_saving_count = 0;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        uint32_t kept = 0;
        for (uint32_t k = 0; k < table->channel_count; k++)
            if (!table->channels[k].record.is_gone || table->channels[k].is_dirty)
                table->channels[kept++] = table->channels[k];
        table->channel_count = kept;
        if (table->is_stream_saving && table->sink_table != NULL)
            operations->stream_saved(table->sink_table);
        table->is_stream_saving = false;
    }
}

// A save that was on its way when an epoch began says nothing of it.
static bool is_of_this_epoch(const struct pipeline *pipeline, const struct catalog_save *save)
{
    return save->pipeline.epoch == pipeline->record.epoch &&
           save->pipeline.is_slot_made == pipeline->record.is_slot_made;
}

static void saved_in_snapshot_state(struct pipeline *pipeline, bool is_intent_saved)
{
    if (!copy_is_running(pipeline)) {
        if (is_intent_saved)
            copy_begin(pipeline, true);  // the intent is durable: make the slot
    } else if (pipeline->is_snapshot_saving) {
        pipeline_channels_begin(pipeline);
        copy_snapshot_saved(pipeline);
    }
}

void progress_on_reply(void *context, void *message)
{
    struct pipeline *pipeline = context;
    struct catalog_save *save = message;
    CHECK(save == pipeline->save_inflight);
    pipeline->save_inflight = NULL;
    pipeline->saving_lsn = LSN_NONE;
    meter_saved(pipeline);
    if (err_is_set(&save->error)) {
        struct err error = save->error;
        save_failed(pipeline, &error);
        catalog_save_free(save);
        // Another process has claimed the pipeline: nothing that is done here can be kept.
        if (error.kind == ERR_FENCED && !pipeline->is_end_wanted && pipeline->state != PIPELINE_ENDED)
            pipeline_fail(pipeline, &error);
        return;
    }
    pipeline->has_save_failed = false;
    err_clear(&pipeline->save_error);
    if (save->pipeline.floor_lsn > pipeline->saved_lsn)
        pipeline->saved_lsn = save->pipeline.floor_lsn;
    bool is_intent_saved = is_of_this_epoch(pipeline, save);
    catalog_save_free(save);
    progress_check(pipeline);
    if (pipeline->is_end_wanted || pipeline->state == PIPELINE_ENDED)
        return;
    tables_saved(pipeline);
    if (pipeline->stream != NULL && pipeline->is_stream_started)
        pg_stream_confirm(pipeline->stream, pipeline->saved_lsn);
    stream_renew_after_giant(pipeline);
    if (pipeline->state == PIPELINE_SNAPSHOT)
        saved_in_snapshot_state(pipeline, is_intent_saved);
    else if (pipeline->is_snapshot_saving)
        copy_snapshot_saved(pipeline);
    if (pipeline->is_channels_saving)
        pipeline_channels_saved(pipeline);
    pipeline->is_snapshot_saving = pipeline->is_channels_saving = false;
    merge_intent_saved(pipeline);
    hold_saved(pipeline, false);
    if (pipeline->is_resync_saving && !pipeline->is_resync_dirty) {
        pipeline->is_resync_saving = false;
        join_resyncs_saved(pipeline);
    }
    join_saved(pipeline);
    if (pipeline->is_save_wanted)
        progress_save_soon(pipeline);  // asked for meanwhile
}

void progress_save_soon(struct pipeline *pipeline)
{
    pipeline->is_save_wanted = true;
    if (pipeline->save_inflight == NULL && pipeline->state != PIPELINE_ENDED && !pipeline->is_end_wanted)
        loop_timer_set(pipeline->loop, &pipeline->tick, 1);
}

static bool is_save_due(const struct pipeline *pipeline)
{
    uint64_t since_us = loop_now_us(pipeline->loop) - pipeline->saved_us;
    // Before the first snapshot there is nothing to keep but the intent, which asks for itself: a start that fails leaves no trace.
    if (pipeline->save_inflight != NULL ||
        (pipeline->is_first_start && pipeline->state != PIPELINE_SNAPSHOT && !pipeline->record.is_slot_made))
        return false;
    if (pipeline->has_save_failed)
        return since_us >= SAVE_RETRY_US;
    if (pipeline->is_save_wanted)
        return true;
    if (is_moving(pipeline) || pipeline->is_record_dirty || count_dirty(pipeline) > 0 ||
        count_dirty_channels(pipeline) > 0)
        return since_us >= SAVE_INTERVAL_US;
    if (pipeline->committed_lsn <= pipeline->saved_lsn || since_us < SAVE_IDLE_INTERVAL_US)
        return false;
    uint64_t round_us = loop_now_us(pipeline->loop) - loop_now_us(pipeline->loop) % SAVE_GRID_US;
    return pipeline->idle_saves < SAVE_IDLE_DOUBLINGS_MAX || round_us > pipeline->saved_us ||
           pipeline->committed_lsn - pipeline->saved_lsn >= SAVE_IDLE_BYTES;
}

bool progress_is_settled(const struct pipeline *pipeline)
{
    return pipeline->save_inflight == NULL && !pipeline->is_save_wanted &&
           pipeline->saved_lsn == pipeline->committed_lsn && !pipeline->is_merging &&
           !pipeline->sink->operations->has_inflight(pipeline->sink);
}

// --- the tick ----------------------------------------------------------------------------------------------------

static void status_save(struct pipeline *pipeline)
{
    struct catalog_save *save = catalog_save_new(0, 0);
    (void)snprintf(save->pipeline.name, sizeof save->pipeline.name, "%s", pipeline->options.name);
    save->claim = pipeline->options.claim;
    save->status_json = status_take(pipeline);
    pipeline->status_marks = status_marks(pipeline);
    if (!catalog_send(pipeline->options.catalog, save))
        catalog_save_free(save);
}

void progress_ended(struct pipeline *pipeline)
{
    if (pipeline->record.is_slot_made || !pipeline->is_first_start)
        status_save(pipeline);
    else
        free(status_take(pipeline));  // for the board; nothing is in the catalog yet
}

static void status_send(struct pipeline *pipeline)
{
    uint64_t since_us = loop_now_us(pipeline->loop) - pipeline->status_us;
    bool is_busy = pipeline->is_merging || is_moving(pipeline) || copy_is_running(pipeline) ||
                   status_marks(pipeline) != pipeline->status_marks;
    uint64_t interval_us = is_busy                               ? STATUS_INTERVAL_US
                           : pipeline->state != PIPELINE_RUNNING ? STATUS_WAITING_INTERVAL_US
                                                                 : STATUS_IDLE_INTERVAL_US;
    if (pipeline->save_inflight != NULL || since_us < interval_us)
        return;
    if (!pipeline->record.is_slot_made && pipeline->is_first_start && pipeline->options.is_attended)
        return;  // nothing is in the catalog yet
    pipeline->status_us = loop_now_us(pipeline->loop);
    status_save(pipeline);
}

// How long to wait at rest: to a point of the grid, and not past one at which all save.
static uint64_t idle_tick_us(uint64_t now_us)
{
    uint64_t save_us = SAVE_GRID_US - now_us % SAVE_GRID_US;
    uint64_t tick_us = TICK_IDLE_US - (now_us + TICK_IDLE_US) % TICK_GRID_US;
    return save_us < tick_us ? save_us : tick_us;
}

void progress_tick(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    if (pipeline->state == PIPELINE_ENDED || pipeline->is_end_wanted)
        return;
    progress_update(pipeline);
    if (is_save_due(pipeline))
        progress_save_now(pipeline);
    evolve_tick(pipeline);
    merge_tick(pipeline);
    status_send(pipeline);
    status_tick(pipeline);
    meter_tick(pipeline);
    bool is_active = is_moving(pipeline) || copy_is_running(pipeline) || pipeline->is_save_wanted ||
                     pipeline->is_merging || pipeline->is_trying || pipeline->change_count > 0 ||
                     pipeline->hold.command_id != 0 || (pipeline->is_merge_resolving && merge_may_wake(pipeline)) ||
                     (pipeline->state == PIPELINE_RUNNING && !pipeline->was_merge_told);
    uint64_t next_us = is_active ? TICK_ACTIVE_US : TICK_IDLE_US;
    if (pipeline->options.merge_interval_ms < next_us / 1000)
        next_us = TICK_ACTIVE_US;
    else if (!is_active)
        next_us = idle_tick_us(loop_now_us(pipeline->loop));
    loop_timer_set(pipeline->loop, &pipeline->tick, next_us);
}
