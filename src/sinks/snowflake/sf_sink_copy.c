// Copied rows on their way to Snowflake: each range of a table's copy through a channel of its own, which ends with it.
//
// Back-pressure: what the channels of ranges that are being read hold in memory is their fair share of the budget, one share
// more being left to the streams: a range whose channel is at Snowflake's limits stops only itself.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_sink_private.h"

#define ROW_AT 21
#define ROW_DIGITS 12

// Copy tokens: 'C', the snapshot's LSN (16 hex digits), the range (4), the row's number in it (12): they sort in the
// order of the rows, and a later copy's sort after an earlier one's, because its LSN is higher.
static void token_init(struct sf_token *token, lsn_t copy_lsn, uint16_t range)
{
    (void)snprintf(token->text, sizeof token->text, "C%016" PRIX64 "%04X%012X", copy_lsn, (unsigned)range, 0U);
}

static void token_set_row(struct sf_token *token, uint64_t row_number)
{
    CHECK(row_number >> (4 * ROW_DIGITS) == 0);
    for (int i = ROW_DIGITS - 1; i >= 0; i--, row_number >>= 4)
        token->text[ROW_AT + i] = "0123456789ABCDEF"[row_number & 15];
}

static struct sf_copy *copy_of(const struct sink_table *sink_table, uint16_t range)
{
    const struct sf_sink_table *table = (const struct sf_sink_table *)sink_table;
    return range < table->copy_count ? table->copies[range] : NULL;
}

static void note(struct sf_copy *copy, unsigned event)
{
    copy->events |= event;
    copy->table->events |= SF_EVENT_COPY;
    sf_sink_notify(copy->table->sink);
}

// ---- the shares

static void set_filling(struct sf_copy *copy, bool is_filling)
{
    if (copy->is_filling == is_filling)
        return;
    copy->is_filling = is_filling;
    if (is_filling)
        copy->table->sink->filling_copies++;
    else
        copy->table->sink->filling_copies--;
}

static size_t share_bytes(const struct sf_sink *sink)
{
    return sink->budget.bytes_max / ((size_t)sink->filling_copies + 1);
}

bool sf_sink_copy_is_full(const struct sink_table *sink_table, uint16_t range)
{
    struct sf_copy *copy = copy_of(sink_table, range);
    struct sf_sink *sink = copy->table->sink;
    if (budget_is_full(&sink->budget)) {
        sink->is_waiting_for_room = true;
        return true;
    }
    if (sf_channel_held_bytes(copy->channel) < share_bytes(sink))
        return false;
    copy->is_waiting_for_room = true;
    return true;
}

static void on_copy_room(void *context)
{
    struct sf_copy *copy = context;
    struct sf_sink *sink = copy->table->sink;
    size_t share = share_bytes(sink);
    if (copy->is_waiting_for_room && sf_channel_held_bytes(copy->channel) <= share - share / 4) {
        copy->is_waiting_for_room = false;
        sink->pending_events |= SF_EVENT_ROOM;
        sf_sink_notify(sink);
    }
    sf_sink_on_channel_room(copy->table);
}

// ---- the channel's end

static void unlink_dirty(struct sf_copy *copy)
{
    for (struct sf_copy **link = &copy->table->sink->dirty_copies; *link != NULL; link = &(*link)->next_dirty) {
        if (*link == copy) {
            *link = copy->next_dirty;
            break;
        }
    }
    copy->is_dirty = false;
}

static void copy_free(struct sf_copy *copy)
{
    struct sf_sink_table *table = copy->table;
    set_filling(copy, false);
    if (copy->is_dirty)
        unlink_dirty(copy);
    sf_sink_add_stats(copy->channel, &table->sink->ended_stats);
    sf_pipe_remove(table->pipe, copy->channel);
    sf_channel_free(copy->channel);
    table->copies[copy->range] = NULL;
    free(copy);
}

void sf_sink_copy_free_all(struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->copy_count; i++)
        if (table->copies[i] != NULL)
            copy_free(table->copies[i]);
    free(table->copies);
    table->copies = NULL;
    table->copy_count = 0;
    table->events &= ~(unsigned)(SF_EVENT_COPY | SF_EVENT_COPY_FAILED);
}

void sf_sink_copy_drop(struct sink_table *sink_table)
{
    sf_sink_copy_free_all(sf_sink_table_of(sink_table));
}

// ---- what the channel tells

static void on_copy_opened(void *context)
{
    note(context, SF_COPY_OPENED);
}

static void check_done(struct sf_copy *copy)
{
    if (!copy->is_finished || copy->is_told || sf_channel_has_uncommitted(copy->channel))
        return;
    copy->is_told = true;
    note(copy, SF_COPY_COMMITTED);
    sf_channel_drop(copy->channel);
}

static void on_copy_channel_committed(void *context)
{
    check_done(context);
}

// Of the copy alone: the table's stream is as it was.
static void copy_fail(struct sf_sink_table *table, const struct err *error)
{
    table->copy_failure = *error;
    table->events |= SF_EVENT_COPY_FAILED;
    sf_sink_notify(table->sink);
}

// A copy's accepted rows are gone: the table is read again in a new snapshot; that is the pipeline's to decide.
static void on_copy_rewind(void *context, const struct err *why)
{
    struct sf_copy *copy = context;
    struct err error = *why;
    error.kind = ERR_TRANSIENT;
    err_prefix(&error, "copied rows were lost at the destination, the copy starts again");
    copy_fail(copy->table, &error);
}

static void on_copy_failed(void *context, const struct err *error)
{
    struct sf_sink_table *table = ((struct sf_copy *)context)->table;
    if (error->kind == ERR_TRANSIENT)
        copy_fail(table, error);
    else
        sf_sink_table_fail(table, error);
}

static void on_copy_dropped(void *context, const struct err *error)
{
    struct sf_copy *copy = context;
    if (error != NULL) {
        struct log_scope scope = {copy->table->sink->options.pipeline, copy->table->layout.target_name};
        log_line(LOG_WARNING, &scope, "copy_channel_left", "the copy's channel %s could not be dropped: %s",
                 sf_channel_name(copy->channel), error->text);
    }
    note(copy, SF_COPY_DROPPED);
}

// The owner may give up the copy, or stop the table, inside of any of these calls.
void sf_sink_copy_tell(struct sf_sink_table *table)
{
    const struct sink_events *events = &table->sink->sink.events;
    for (uint32_t i = 0; i < table->copy_count && !table->is_stopped; i++) {
        struct sf_copy *copy = table->copies[i];
        unsigned told = copy != NULL ? copy->events : 0;
        if (told == 0)
            continue;
        copy->events = 0;
        uint64_t rows = copy->rows;
        if (told & SF_COPY_DROPPED)
            copy_free(copy);
        if (told & SF_COPY_OPENED)
            events->on_copy_opened(events->context, table->context, (uint16_t)i);
        if ((told & SF_COPY_COMMITTED) && !table->is_stopped)
            events->on_copy_committed(events->context, table->context, (uint16_t)i, rows);
    }
}

// ---- the owner's calls

void sf_sink_copy_open(struct sink_table *sink_table, uint8_t epoch, lsn_t copy_lsn, uint16_t range)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_copy *copy = calloc(1, sizeof *copy);
    CHECK(copy != NULL);
    if (range >= table->copy_count) {
        table->copies = reallocarray(table->copies, (size_t)range + 1, sizeof(struct sf_copy *));
        CHECK(table->copies != NULL);
        for (uint32_t i = table->copy_count; i <= range; i++)
            table->copies[i] = NULL;
        table->copy_count = (uint32_t)range + 1;
    }
    CHECK(table->copies[range] == NULL);
    sf_sink_leftover_forget(table, epoch, range);
    table->copies[range] = copy;
    sf_sink_leftovers_want(table->sink);
    copy->table = table;
    copy->range = range;
    copy->seq = (struct seq){.commit_lsn = copy_lsn, .ordinal = 0, .epoch = epoch};
    token_init(&copy->token, copy_lsn, range);
    const struct sf_channel_events events = {.on_opened = on_copy_opened,
                                             .on_committed = on_copy_channel_committed,
                                             .on_room = on_copy_room,
                                             .on_rewind = on_copy_rewind,
                                             .on_failed = on_copy_failed,
                                             .on_dropped = on_copy_dropped,
                                             .context = copy};
    copy->channel = sf_sink_channel_new(table, 'C', range, epoch, NULL, NULL, &events);
    sf_channel_open(copy->channel);
}

// Tokens of a later copy are higher, so another process has copied the table since this snapshot.
static void fence(struct sf_copy *copy)
{
    struct err error;
    err_set(&error, ERR_FENCED, "copy_token",
            "another program copies into channel %s (it has committed offset token %s, which is beyond what was sent); "
            "stop it, or this pipeline",
            sf_channel_name(copy->channel), sf_channel_committed_token(copy->channel)->text);
    sf_sink_table_fail(copy->table, &error);
}

enum sink_append_outcome sf_sink_copy_append(struct sink_table *sink_table, uint16_t range, uint64_t row_number,
                                             const struct row_view *row, struct err *out_error)
{
    struct sf_copy *copy = copy_of(sink_table, range);
    struct sf_sink_table *table = copy->table;
    if (row_number <= copy->rows)
        return SINK_ALREADY;
    CHECK(row_number == copy->rows + 1 && !copy->is_finished);
    token_set_row(&copy->token, row_number);
    if (!sf_channel_may_add(copy->channel, &copy->token)) {
        copy->rows = row_number;
        fence(copy);
        return SINK_ALREADY;
    }
    struct row_change change = {.op = 'C', .seq = copy->seq, .new_row = *row};
    struct buf *batch = sf_channel_batch(copy->channel);
    size_t size_before = batch->size;
    if (!sf_row_append(table, &change, batch, out_error))
        return SINK_FAILED;
    set_filling(copy, true);
    sf_channel_row_added(copy->channel, &copy->token, batch->size - size_before);
    copy->rows = row_number;
    table->rows++;
    if (!copy->is_dirty) {
        copy->is_dirty = true;
        copy->next_dirty = table->sink->dirty_copies;
        table->sink->dirty_copies = copy;
    }
    return SINK_APPENDED;
}

void sf_sink_copy_flush(struct sf_sink *sink)
{
    while (sink->dirty_copies != NULL) {
        struct sf_copy *copy = sink->dirty_copies;
        sink->dirty_copies = copy->next_dirty;
        copy->is_dirty = false;
        sf_channel_pump(copy->channel);
    }
}

void sf_sink_copy_finish(struct sink_table *sink_table, uint16_t range)
{
    struct sf_copy *copy = copy_of(sink_table, range);
    copy->is_finished = true;
    set_filling(copy, false);
    sf_channel_pump(copy->channel);
    check_done(copy);
}

// ---- the sink's

bool sf_sink_copy_has_inflight(const struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->copy_count; i++)
        if (table->copies[i] != NULL && sf_channel_has_uncommitted(table->copies[i]->channel))
            return true;
    return false;
}

const struct err *sf_sink_copy_trouble(const struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->copy_count; i++)
        if (table->copies[i] != NULL && sf_channel_trouble(table->copies[i]->channel) != NULL)
            return sf_channel_trouble(table->copies[i]->channel);
    return NULL;
}

void sf_sink_copy_stats(const struct sf_sink_table *table, struct sink_stats *stats)
{
    for (uint32_t i = 0; i < table->copy_count; i++)
        if (table->copies[i] != NULL) {
            sf_sink_add_stats(table->copies[i]->channel, stats);
            stats->held_copy_bytes += sf_channel_held_bytes(table->copies[i]->channel);
        }
}
