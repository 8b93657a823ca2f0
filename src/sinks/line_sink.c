#include "sinks/line_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/line_sink_private.h"

#define SPARE_BYTES_MAX ((size_t)1 << 20)  // of the empty batch that is kept
#define RECORD_OF_TABLE "_T"               // behind what a carrier calls a stream in its record, with the table's oid
#define ROW_BYTES_MAX \
    ((size_t)1 << 30)  // a buffer's limit: far above what PostgreSQL's 1 GB row becomes with the budget's stop

enum line_event {
    LINE_EVENT_OPENED = 1,
    LINE_EVENT_STATE = 2,
    LINE_EVENT_PREPARED = 4,
    LINE_EVENT_STREAM_OPENED = 8,
    LINE_EVENT_COPY_OPENED = 16,
    LINE_EVENT_FINISHED = 32,
    LINE_EVENT_FAILED = 64,
    LINE_EVENT_COMMITTED = 128,
    LINE_EVENT_ROOM = 256
};

static const struct line_table *table_of_const(const struct sink_table *table)
{
    return (const struct line_table *)table;
}

static void notify(struct line_sink *sink, unsigned events)
{
    sink->pending_events |= events;
    loop_defer(sink->options.loop, &sink->notify);
}

static void table_note(struct line_table *table, unsigned events)
{
    table->events |= events;
    notify(table->sink, 0);
}

static struct log_scope scope_of(const struct line_table *table)
{
    return (struct log_scope){table->sink->options.pipeline, table->table->table_name};
}

// --- batches -----------------------------------------------------------------------------------------------------

static struct line_batch *batch_get(struct line_sink *sink)
{
    struct line_batch *batch = sink->spare;
    sink->spare = NULL;
    if (batch == NULL) {
        batch = calloc(1, sizeof *batch);
        CHECK(batch != NULL);
        buf_init(&batch->data, ROW_BYTES_MAX);
    }
    batch->rows = 0;
    batch->next = NULL;
    return batch;
}

static void batch_put(struct line_sink *sink, struct line_batch *batch)
{
    budget_give(&sink->budget, batch->budget_bytes);
    batch->budget_bytes = 0;
    if (sink->spare == NULL && batch->data.capacity <= SPARE_BYTES_MAX) {
        buf_reset(&batch->data);
        sink->spare = batch;
    } else {
        buf_deinit(&batch->data);
        free(batch);
    }
    if (sink->is_waiting_for_room && budget_has_room(&sink->budget)) {
        sink->is_waiting_for_room = false;
        notify(sink, LINE_EVENT_ROOM);
    }
}

// A range that is being read holds its fair share of the budget, one share more being left to the streams.
void line_lane_set_filling(struct line_lane *lane, bool is_filling)
{
    if (lane->is_filling == is_filling)
        return;
    lane->is_filling = is_filling;
    if (is_filling)
        lane->table->sink->filling_count++;
    else
        lane->table->sink->filling_count--;
}

size_t line_share_bytes(const struct line_sink *sink)
{
    return sink->budget.bytes_max / ((size_t)sink->filling_count + 1);
}

static void lane_drop_first(struct line_lane *lane)
{
    struct line_sink *sink = lane->table->sink;
    struct line_batch *batch = lane->first;
    lane->held_bytes -= batch->budget_bytes;
    size_t share = line_share_bytes(sink);
    if (lane->is_waiting_for_room && lane->held_bytes <= share - share / 4) {
        lane->is_waiting_for_room = false;
        notify(sink, LINE_EVENT_ROOM);
    }
    lane->first = batch->next;
    if (lane->first == NULL)
        lane->last = NULL;
    batch_put(lane->table->sink, batch);
}

// --- lanes -------------------------------------------------------------------------------------------------------

static void on_retry_due(struct loop_timer *timer)
{
    struct line_lane *lane = timer->context;
    line_lane_queue(lane);
    line_dispatch(lane->table->sink);
}

struct line_lane *line_lane_new(struct line_table *table, enum line_lane_kind kind, uint8_t epoch)
{
    struct line_lane *lane = calloc(1, sizeof *lane);
    CHECK(lane != NULL);
    lane->table = table;
    lane->kind = kind;
    lane->epoch = epoch;
    lane->retry_timer = (struct loop_timer){.on_due = on_retry_due, .context = lane};
    backoff_init(&lane->backoff, table->sink->options.retry_policy,
                 (uint64_t)loop_wall_us(table->sink->options.loop) | 1);
    lane->next = table->lanes;
    table->lanes = lane;
    return lane;
}

static bool lane_has_work(const struct line_lane *lane)
{
    return !lane->is_open || lane->first != NULL || (lane->is_finish_wanted && !lane->is_finished);
}

// Waits for its turn, if there is something to do and nothing forbids it.
void line_lane_queue(struct line_lane *lane)
{
    struct line_sink *sink = lane->table->sink;
    if (lane->is_queued || lane->is_busy || lane->is_closed || lane->table->is_stopped ||
        lane->retry_timer.heap_index != 0 || !lane_has_work(lane))
        return;
    lane->is_queued = true;
    lane->next_queued = NULL;
    if (sink->queued_last != NULL)
        sink->queued_last->next_queued = lane;
    else
        sink->queued_first = lane;
    sink->queued_last = lane;
}

static void lane_unqueue(struct line_lane *lane)
{
    struct line_sink *sink = lane->table->sink;
    struct line_lane *previous = NULL;
    if (!lane->is_queued)
        return;
    for (struct line_lane *at = sink->queued_first; at != lane; at = at->next_queued)
        previous = at;
    if (previous != NULL)
        previous->next_queued = lane->next_queued;
    else
        sink->queued_first = lane->next_queued;
    if (sink->queued_last == lane)
        sink->queued_last = previous;
    lane->is_queued = false;
}

static bool is_table_busy(const struct line_table *table)
{
    for (const struct line_lane *lane = table->lanes; lane != NULL; lane = lane->next)
        if (lane->is_busy)
            return true;
    return false;
}

// The first lane whose table may have another operation under way.
static struct line_lane *next_queued(const struct line_sink *sink)
{
    struct line_lane *lane = sink->queued_first;
    while (lane != NULL && sink->options.carrier->is_table_serial && is_table_busy(lane->table))
        lane = lane->next_queued;
    return lane;
}

static void lane_begin(struct line_lane *lane)
{
    lane->is_busy = true;
    lane->table->sink->inflight_count++;
    lane->sent_us = loop_fresh_us(lane->table->sink->options.loop);
}

static void lane_end(struct line_lane *lane)
{
    CHECK(lane->is_busy && lane->table->sink->inflight_count > 0);
    lane->is_busy = false;
    lane->table->sink->inflight_count--;
    if (lane->is_closed || lane->table->is_stopped)
        notify(lane->table->sink, 0);  // reaped there
}

// Carriers may answer at once: a loop, not a recursion.
void line_dispatch(struct line_sink *sink)
{
    if (sink->is_dispatching)
        return;
    sink->is_dispatching = true;
    struct line_lane *lane;
    while (sink->inflight_count < sink->options.inflight_max && (lane = next_queued(sink)) != NULL) {
        lane_unqueue(lane);
        lane_begin(lane);
        if (!lane->is_open) {
            sink->options.carrier->lane_open(lane, &lane->kept);
        } else if (lane->first != NULL) {
            sink->options.carrier->lane_send(lane, lane->first);
        } else {
            lane->is_finishing = true;
            sink->options.carrier->lane_finish(lane);
        }
    }
    sink->is_dispatching = false;
}

// Closes a lane: its rows are dropped, and it is freed when nothing of it is under way.
void line_lane_close(struct line_lane *lane)
{
    struct line_sink *sink = lane->table->sink;
    lane_unqueue(lane);
    loop_timer_stop(sink->options.loop, &lane->retry_timer);
    lane->is_closed = true;
    line_lane_set_filling(lane, false);
    if (lane->table->stream == lane)
        lane->table->stream = NULL;
    if (lane->table->copy == lane)
        lane->table->copy = NULL;
    if (lane->is_busy && sink->options.carrier->lane_cancel(lane))
        lane_end(lane);
    notify(sink, 0);
}

static void lane_free(struct line_lane *lane)
{
    CHECK(!lane->is_busy && lane->is_closed);
    lane->table->sink->options.carrier->lane_close(lane);
    while (lane->first != NULL)
        lane_drop_first(lane);
    free(lane);
}

static void lanes_reap(struct line_table *table)
{
    struct line_lane **link = &table->lanes;
    while (*link != NULL) {
        struct line_lane *lane = *link;
        if (lane->is_closed && !lane->is_busy) {
            *link = lane->next;
            lane_free(lane);
        } else {
            link = &lane->next;
        }
    }
}

// Tried again after a pause; what is wrong shows until then.
static void lane_retry(struct line_lane *lane, uint32_t retry_after_ms, const struct err *error)
{
    struct line_sink *sink = lane->table->sink;
    uint32_t delay_ms = 0;
    backoff_next(&lane->backoff, &delay_ms);
    if (delay_ms < retry_after_ms)
        delay_ms = retry_after_ms;
    sink->stats.retries++;
    bool was_shown = err_is_set(&lane->trouble);
    if (lane->backoff.tries > sink->options.quiet_tries) {
        struct log_scope scope = scope_of(lane->table);
        lane->trouble = *error;
        log_line(was_shown ? LOG_DEBUG : LOG_WARNING, &scope, "destination_trouble",
                 "%s; its rows wait and are sent again until that is mended", error->text);
    }
    loop_timer_set(sink->options.loop, &lane->retry_timer, (uint64_t)delay_ms * 1000);
}

static void lane_recovered(struct line_lane *lane)
{
    backoff_reset(&lane->backoff);
    if (!err_is_set(&lane->trouble))
        return;
    struct log_scope scope = scope_of(lane->table);
    err_clear(&lane->trouble);
    log_line(LOG_INFO, &scope, "destination_mended", "rows are taken again");
}

// --- answers -----------------------------------------------------------------------------------------------------

void line_sink_opened(struct line_sink *sink, const struct err *error)
{
    err_clear(&sink->open_error);
    if (error != NULL)
        sink->open_error = *error;
    notify(sink, LINE_EVENT_OPENED);
}

void line_sink_state_read(struct line_sink *sink, const struct sink_state *state, const struct err *error)
{
    err_clear(&sink->state_error);
    if (error != NULL)
        sink->state_error = *error;
    else
        sink->state = *state;
    notify(sink, LINE_EVENT_STATE);
}

static void line_table_prepared(struct line_table *table, const struct err *error)
{
    table->is_preparing = false;
    err_clear(&table->prepare_error);
    if (error != NULL)
        table->prepare_error = *error;
    table_note(table, LINE_EVENT_PREPARED);
}

void line_table_fail(struct line_table *table, const struct err *error)
{
    if (table->events & LINE_EVENT_FAILED)
        return;
    table->failure = *error;
    table_note(table, LINE_EVENT_FAILED);
}

void line_lane_opened(struct line_lane *lane, const struct seq *had, const struct err *error)
{
    struct line_table *table = lane->table;
    lane_end(lane);
    if (lane->is_closed || table->is_stopped)
        return;
    if (error != NULL) {
        if (error->kind == ERR_TRANSIENT)
            lane_retry(lane, 0, error);
        else
            line_table_fail(table, error);
        line_dispatch(table->sink);
        return;
    }
    lane_recovered(lane);
    if (had != NULL)
        lane->committed = *had;
    if (had != NULL && seq_compare(had, &lane->high) > 0)
        lane->high = *had;
    lane->is_open = true;
    if (lane->kind == LINE_STREAM)
        table_note(table, LINE_EVENT_STREAM_OPENED);
    else if (lane->kind == LINE_COPY)
        table_note(table, LINE_EVENT_COPY_OPENED);
    line_lane_queue(lane);
    line_dispatch(table->sink);
}

void line_lane_sent(struct line_lane *lane, size_t wire_bytes, uint32_t retry_after_ms, const struct err *error)
{
    struct line_table *table = lane->table;
    struct line_sink *sink = table->sink;
    lane_end(lane);
    if (lane->is_closed || table->is_stopped)
        return;
    if (error != NULL && error->kind != ERR_TRANSIENT) {
        line_table_fail(table, error);
    } else if (error != NULL) {
        lane_retry(lane, retry_after_ms, error);
    } else {
        lane_recovered(lane);
        sink->stats.appends++;
        sink->stats.rows += lane->first->rows;
        sink->stats.raw_bytes += lane->first->data.size;
        sink->stats.wire_bytes += wire_bytes;
        sink->stats.append_latency_us = loop_fresh_us(sink->options.loop) - lane->sent_us;
        sink->stats.commit_latency_us = sink->stats.append_latency_us;
        append_meter_note(&table->meter, lane->first->rows, lane->first->data.size, sink->stats.append_latency_us);
        if (lane->kind == LINE_STREAM)
            lane->committed = lane->first->last;
        lane_drop_first(lane);
        notify(sink, lane->kind == LINE_STREAM ? LINE_EVENT_COMMITTED : 0);
        line_lane_queue(lane);
    }
    line_dispatch(sink);
}

void line_lane_finished(struct line_lane *lane, uint32_t retry_after_ms, const struct err *error)
{
    struct line_table *table = lane->table;
    lane->is_finishing = false;
    lane_end(lane);
    if (lane->is_closed || table->is_stopped)
        return;
    if (error != NULL && error->kind != ERR_TRANSIENT) {
        line_table_fail(table, error);
    } else if (error != NULL) {
        lane_retry(lane, retry_after_ms, error);
    } else {
        lane_recovered(lane);
        lane->is_finished = true;  // told and closed by table_tell
        table_note(table, LINE_EVENT_FINISHED);
    }
    line_dispatch(table->sink);
}

// --- telling -----------------------------------------------------------------------------------------------------

// What became of ranges and of a publishing; lanes that have served are closed. The owner may give up the copy, or stop the
// table, inside of any of these calls: lanes are freed only by reap.
static void lanes_tell(struct line_table *table)
{
    const struct sink_events *events = &table->sink->sink.events;
    for (struct line_lane *lane = table->lanes; lane != NULL && !table->is_stopped; lane = lane->next) {
        if (lane->is_closed || lane->kind == LINE_STREAM)
            continue;
        if (lane->kind == LINE_COPY && lane->is_open && !lane->is_told) {
            lane->is_told = true;
            events->on_copy_opened(events->context, table->context, lane->range);
        }
        if (!lane->is_finished || lane->is_closed || table->is_stopped)
            continue;
        line_lane_close(lane);
        if (lane->kind == LINE_COPY)
            events->on_copy_committed(events->context, table->context, lane->range, lane->rows);
        else
            events->on_published(events->context, table->context);
    }
}

static void table_tell(struct line_table *table)
{
    const struct sink_events *events = &table->sink->sink.events;
    unsigned told = table->events;
    table->events = 0;
    if (told & LINE_EVENT_FAILED) {
        events->on_table_failed(events->context, table->context, &table->failure);
        return;  // nothing else of a table that failed matters
    }
    if (told & LINE_EVENT_PREPARED)
        events->on_prepared(events->context, table->context,
                            err_is_set(&table->prepare_error) ? &table->prepare_error : NULL);
    if ((told & LINE_EVENT_STREAM_OPENED) && !table->is_stopped)
        events->on_stream_opened(events->context, table->context);
    if ((told & (LINE_EVENT_COPY_OPENED | LINE_EVENT_FINISHED)) && !table->is_stopped)
        lanes_tell(table);
}

static void table_free_all(struct line_table *table)
{
    CHECK(table->lanes == NULL);
    append_meter_deinit(&table->meter);
    row_encoder_deinit(&table->encoder);
    free(table->column_as_text);
    free(table->target);
    free(table);
}

static void reap(struct line_sink *sink)
{
    struct line_table **link = &sink->tables;
    while (*link != NULL) {
        struct line_table *table = *link;
        lanes_reap(table);
        if (table->is_stopped && !table->is_preparing && table->lanes == NULL) {
            *link = table->next;
            table_free_all(table);
        } else {
            link = &table->next;
        }
    }
}

// Events are noted as flags and told from a deferred call: never inside of the call that caused them.
static void on_notify(struct loop_deferred *deferred)
{
    struct line_sink *sink = deferred->context;
    const struct sink_events *events = &sink->sink.events;
    unsigned told = sink->pending_events;
    sink->pending_events = 0;
    if (told & LINE_EVENT_OPENED)
        events->on_opened(events->context, err_is_set(&sink->open_error) ? &sink->open_error : NULL);
    if (told & LINE_EVENT_STATE)
        events->on_state(events->context, &sink->state, err_is_set(&sink->state_error) ? &sink->state_error : NULL);
    for (struct line_table *table = sink->tables; table != NULL; table = table->next)
        if (table->events != 0 && !table->is_stopped)
            table_tell(table);
    if (told & LINE_EVENT_COMMITTED)
        events->on_committed(events->context);
    if (told & LINE_EVENT_ROOM)
        events->on_room(events->context);
    reap(sink);
}

// --- operations --------------------------------------------------------------------------------------------------

static void open_sink(struct sink *base)
{
    struct line_sink *sink = line_sink_of(base);
    sink->options.carrier->open(sink);
}

static const char *opened_text(const struct sink *base)
{
    return ((const struct line_sink *)base)->options.carrier->opened_text;
}

static void read_state(struct sink *base)
{
    struct line_sink *sink = line_sink_of(base);
    struct sink_state nothing = {0};
    if (sink->options.carrier->read_state != NULL)
        sink->options.carrier->read_state(sink);
    else
        line_sink_state_read(sink, &nothing, NULL);
}

// Two columns under one key would be one to most readers.
static bool check_keys(const struct line_table *table, struct err *out_error)
{
    const struct column_encoder *columns = table->encoder.columns;
    for (uint16_t i = 0; i < table->table->column_count; i++)
        for (uint16_t j = 0; j < i; j++)
            if (columns[i].key_size == columns[j].key_size &&
                memcmp(columns[i].key, columns[j].key, columns[i].key_size) == 0)
                return err_set(out_error, ERR_CONFIG, "column_collision",
                               "table %s.%s: columns %s and %s would both be %.*s; identifier_case = preserve keeps "
                               "them apart, or rename one, or leave it out of the publication",
                               table->table->schema_name, table->table->table_name, table->table->columns[j].name,
                               table->table->columns[i].name, (int)columns[i].key_size - 1, columns[i].key);
    return true;
}

static struct sink_table *table_add(struct sink *base, const struct sink_table_options *options, struct err *out_error)
{
    struct line_sink *sink = line_sink_of(base);
    struct typemap_options types = {.preserves_case = sink->options.preserves_case};
    struct line_table *table = calloc(1, sizeof *table);
    CHECK(table != NULL);
    table->sink = sink;
    table->table = options->table;
    table->context = options->context;
    if (!row_encoder_init(&table->encoder, options->table, options->encoding, &types, out_error)) {
        free(table);
        return NULL;
    }
    table->encoder.has_commit_at = sink->options.has_commit_at;
    table->encoder.pipeline = sink->options.pipeline;
    append_meter_init(&table->meter, sink->options.pipeline, options->table, false);
    table->column_as_text = calloc((size_t)options->table->column_count + 1, sizeof *table->column_as_text);
    CHECK(table->column_as_text != NULL);
    for (uint16_t i = 0; i < options->table->column_count; i++)
        table->column_as_text[i] = table->encoder.columns[i].wants_text;
    if (!check_keys(table, out_error)) {
        table_free_all(table);
        return NULL;
    }
    sink->options.carrier->table_add(table);
    CHECK(table->target != NULL);
    table->next = sink->tables;
    sink->tables = table;
    return (struct sink_table *)table;
}

static bool table_wants_text(const struct sink_table *sink_table, const bool **out_column_as_text)
{
    const struct line_table *table = table_of_const(sink_table);
    *out_column_as_text = table->column_as_text;
    return row_encoder_wants_text(&table->encoder);
}

static void table_prepare(struct sink_table *sink_table, enum sink_prepare mode)
{
    struct line_table *table = line_table_of(sink_table);
    table->is_preparing = true;
    (void)mode;  // what they need is made when the lanes open, which also finds what is gone
    line_table_prepared(table, NULL);
}

static void table_stop(struct sink_table *sink_table)
{
    struct line_table *table = line_table_of(sink_table);
    table->is_stopped = true;
    for (struct line_lane *lane = table->lanes; lane != NULL; lane = lane->next)
        if (!lane->is_closed)
            line_lane_close(lane);
    notify(table->sink, 0);  // reaped there
}

static void stream_open(struct sink_table *sink_table, uint8_t epoch, lsn_t floor_lsn,
                        const struct sink_stream_record *kept)
{
    struct line_table *table = line_table_of(sink_table);
    CHECK(table->stream == NULL);
    table->stream = line_lane_new(table, LINE_STREAM, epoch);
    table->stream->high = table->stream->committed = (struct seq){.commit_lsn = floor_lsn, .epoch = epoch};
    if (kept->channel_count > 0) {
        table->stream->kept = kept->channels[0];
        char *of_table = strstr(table->stream->kept.name, RECORD_OF_TABLE);
        if (of_table != NULL)
            *of_table = '\0';
    }
    line_lane_queue(table->stream);
    line_dispatch(table->sink);
}

static void stream_saved(struct sink_table *sink_table)
{
    (void)sink_table;  // one lane: on_stream_changed is never told
}

enum sink_append_outcome line_lane_append(struct line_lane *lane, const struct row_change *change,
                                          struct err *out_error)
{
    struct line_sink *sink = lane->table->sink;
    struct line_batch *batch = lane->last;
    // The first batch may be under way: it takes no more rows.
    bool is_new = batch == NULL || batch->data.size >= sink->options.batch_bytes_max ||
                  (batch == lane->first && (lane->is_busy || err_is_set(&lane->trouble) || lane->backoff.tries > 0));
    if (is_new)
        batch = batch_get(sink);
    size_t size_before = batch->data.size;
    if (!ndjson_append_change(&lane->table->encoder, change, &batch->data, out_error)) {
        if (is_new)
            batch_put(sink, batch);
        return SINK_FAILED;
    }
    if (is_new) {
        batch->first = change->seq;
        if (lane->last != NULL)
            lane->last->next = batch;
        else
            lane->first = batch;
        lane->last = batch;
    }
    batch->last = change->seq;
    batch->rows++;
    lane->rows++;
    size_t bytes = batch->data.size - size_before;
    budget_take(&sink->budget, bytes);
    batch->budget_bytes += bytes;
    lane->held_bytes += bytes;
    line_lane_queue(lane);
    return SINK_APPENDED;
}

static enum sink_append_outcome append(struct sink_table *sink_table, const struct row_change *change,
                                       struct err *out_error)
{
    struct line_lane *lane = line_table_of(sink_table)->stream;
    if (seq_compare(&change->seq, &lane->high) <= 0)
        return SINK_ALREADY;
    enum sink_append_outcome outcome = line_lane_append(lane, change, out_error);
    if (outcome == SINK_APPENDED)
        lane->high = change->seq;
    return outcome;
}

static void rewound(struct sink *base)
{
    (void)base;  // what a carrier has taken is not lost again: on_rewind is never told
}

static void flush(struct sink *base)
{
    line_dispatch(line_sink_of(base));
}

static bool is_full(const struct sink *base)
{
    struct line_sink *sink = (struct line_sink *)(uintptr_t)base;
    if (!budget_is_full(&sink->budget))
        return false;
    sink->is_waiting_for_room = true;  // whoever asked stops reading until on_room
    return true;
}

static lsn_t uncommitted_lsn(const struct sink_table *sink_table)
{
    const struct line_table *table = table_of_const(sink_table);
    if (table->events & LINE_EVENT_FAILED)
        return LSN_NONE;  // the pipeline does not know it yet: no position may pass its rows
    if (table->stream == NULL || table->stream->first == NULL)
        return SINK_POSITION_NONE;
    return table->stream->first->first.commit_lsn;
}

static lsn_t committed_row_lsn(const struct sink_table *sink_table)
{
    const struct line_table *table = table_of_const(sink_table);
    return table->stream != NULL && table->stream->committed.ordinal > 0 ? table->stream->committed.commit_lsn
                                                                         : LSN_NONE;
}

static void stream_record(const struct sink_table *sink_table, struct sink_stream_record *out_record)
{
    const struct line_table *table = table_of_const(sink_table);
    memset(out_record, 0, sizeof *out_record);
    if (table->stream == NULL || !table->stream->is_open)
        return;
    out_record->channel_count = 1;
    struct sink_channel_record *record = &out_record->channels[0];
    table->sink->options.carrier->lane_record(table->stream, record);
    // Carriers name what they know of the stream, and two tables may be at the same place; in the catalog a name is one table's.
    size_t size = strlen(record->name);
    (void)snprintf(record->name + size, sizeof record->name - size, RECORD_OF_TABLE "%u", table->table->oid);
}

// The floor and the streams' records are saved in one transaction, and one save is under way at a time: so what
// stream_record told last is durable now.
static void floor_saved(struct sink *base, lsn_t floor_lsn)
{
    struct line_sink *sink = line_sink_of(base);
    (void)floor_lsn;
    if (sink->options.carrier->lane_saved == NULL)
        return;
    for (struct line_table *table = sink->tables; table != NULL; table = table->next)
        if (table->stream != NULL && table->stream->is_open && !table->is_stopped)
            sink->options.carrier->lane_saved(table->stream);
}

static const struct err *table_trouble(const struct sink_table *sink_table)
{
    for (const struct line_lane *lane = table_of_const(sink_table)->lanes; lane != NULL; lane = lane->next)
        if (!lane->is_closed && err_is_set(&lane->trouble))
            return &lane->trouble;
    return NULL;
}

static const struct row_encoder *table_encoder(const struct sink_table *sink_table)
{
    return &table_of_const(sink_table)->encoder;
}

static const char *table_target(const struct sink_table *sink_table)
{
    return table_of_const(sink_table)->target;
}

static bool has_inflight(const struct sink *base)
{
    const struct line_sink *sink = (const struct line_sink *)base;
    if (sink->inflight_count > 0)
        return true;
    for (const struct line_table *table = sink->tables; table != NULL; table = table->next)
        for (const struct line_lane *lane = table->lanes; lane != NULL; lane = lane->next)
            if (lane->first != NULL)
                return true;
    return false;
}

static void stats(const struct sink *base, struct sink_stats *out_stats)
{
    const struct line_sink *sink = (const struct line_sink *)base;
    *out_stats = sink->stats;
    out_stats->held_bytes = sink->budget.used_bytes;
    out_stats->held_bytes_max = sink->budget.bytes_max;
    for (const struct line_table *table = sink->tables; table != NULL; table = table->next)
        for (const struct line_lane *lane = table->lanes; lane != NULL; lane = lane->next)
            if (lane->kind == LINE_COPY)
                out_stats->held_copy_bytes += lane->held_bytes;
    if (sink->options.carrier->add_stats != NULL)
        sink->options.carrier->add_stats(sink, out_stats);
}

static void free_sink(struct sink *base)
{
    struct line_sink *sink = line_sink_of(base);
    sink->options.carrier->free(sink);
}

static const struct sink_operations operations = {
    .name = "lines",
    .has_merge = false,
    .open = open_sink,
    .opened_text = opened_text,
    .read_state = read_state,
    .table_add = table_add,
    .table_wants_text = table_wants_text,
    .table_prepare = table_prepare,
    .table_stop = table_stop,
    .stream_open = stream_open,
    .append = append,
    .rewound = rewound,
    .copy_open = line_copy_open,
    .copy_append = line_copy_append,
    .copy_finish = line_copy_finish,
    .copy_is_full = line_copy_is_full,
    .copy_drop = line_copy_drop,
    .flush = flush,
    .is_full = is_full,
    .uncommitted_lsn = uncommitted_lsn,
    .committed_row_lsn = committed_row_lsn,
    .stream_record = stream_record,
    .stream_saved = stream_saved,
    .floor_saved = floor_saved,
    .publish = line_publish,
    .table_trouble = table_trouble,
    .table_encoder = table_encoder,
    .table_target = table_target,
    .has_inflight = has_inflight,
    .stats = stats,
    .free = free_sink,
};

void line_sink_init(struct line_sink *sink, const struct line_sink_options *options, const struct sink_events *events)
{
    memset(sink, 0, sizeof *sink);
    sink->sink.operations = &operations;
    sink->sink.events = *events;
    sink->options = *options;
    budget_init(&sink->budget, options->budget_bytes);
    sink->notify = (struct loop_deferred){.call = on_notify, .context = sink};
}

void line_sink_deinit(struct line_sink *sink)
{
    while (sink->tables != NULL) {
        struct line_table *table = sink->tables;
        for (struct line_lane *lane = table->lanes; lane != NULL; lane = lane->next) {
            line_lane_close(lane);
            if (lane->is_busy)
                lane_end(lane);  // the carrier answers nothing any more
        }
        lanes_reap(table);
        sink->tables = table->next;
        table_free_all(table);
    }
    loop_defer_stop(sink->options.loop, &sink->notify);
    if (sink->spare != NULL) {
        buf_deinit(&sink->spare->data);
        free(sink->spare);
    }
    sink->spare = NULL;
}
