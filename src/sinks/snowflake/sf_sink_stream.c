// The stream of a table on its way to Snowflake: through one channel at first, through more when these hold it back.
//
// Which channel a row takes is told by its sequence and the steps of the spread (model/spread.h). Each channel is in order
// and drops what its own high token covers, so nothing has to drain when their number changes. Growth:
//
//   SF_GROWTH_WATCH    at the end of reading turns: did full batches wait in the channels for most of the time?
//   SF_GROWTH_OPENING  new channels are opened, with the durable floor as their offset token; rows go on as before
//   SF_GROWTH_SAVING   a step is set: from a sequence X on, which is above every row that any channel has taken, there are
//                      more channels. Rows from X on are taken, but every channel of the table holds them back until the
//                      catalog has the step and the new channels' records
//
// Why every channel: rows from X on that an old channel sent would raise its committed token above rows that go to a new
// one; after a crash without the step those would belong to the old channel, count as had, and be lost.
//
// The number never falls within an epoch: a channel that is not needed costs nothing.
// A rewind, a failure or another identity of any one channel is the table's. Only a new channel that cannot be opened is
// not: the growth ends, and the table goes on with those it has.
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trap.h"
#include "sinks/snowflake/sf_sink_private.h"

static const uint64_t WATCH_US = 300000;                           // what is measured at a time
static const uint64_t WATCH_HELD_PARTS = 3, WATCH_PARTS = 4;       // this much of it, on average over the channels
static const uint32_t GROWTH_FACTOR = 4;                           // an unused channel costs nothing, a step takes time
static const uint64_t SETTLE_US = 300000;                          // new channels fill before it is measured again
static const uint64_t TRY_AGAIN_US = UINT64_C(10) * 60 * 1000000;  // after new ones could not be opened

static void seq_token_format(const struct seq *seq, struct sf_token *out_token)
{
    seq_format(seq, out_token->text);
    out_token->text[SEQ_TEXT_SIZE] = '\0';
}

static bool token_seq(const struct sf_token *token, struct seq *out_seq)
{
    return seq_parse(token->text, strlen(token->text), out_seq);
}

static uint64_t now_us(const struct sf_sink_table *table)
{
    return loop_now_us(table->sink->options.loop);
}

static struct log_scope scope_of(const struct sf_sink_table *table)
{
    return (struct log_scope){table->sink->options.pipeline, table->layout.target_name};
}

// --- opening -----------------------------------------------------------------------------------------------------

static void growth_step(struct sf_sink_table *table);

static void on_opened(void *context)
{
    struct sf_sink_table *table = context;
    struct sf_stream *stream = &table->stream;
    if (stream->growth == SF_GROWTH_FAILED || --stream->opening_count > 0)
        return;
    if (stream->is_open) {
        growth_step(table);
        return;
    }
    stream->is_open = true;
    table->events |= SF_EVENT_STREAM_OPENED;
    sf_sink_notify(table->sink);
}

static void on_committed(void *context)
{
    struct sf_sink_table *table = context;
    table->sink->pending_events |= SF_EVENT_COMMITTED;
    sf_sink_notify(table->sink);
}

static void on_rewind(void *context, const struct err *why)
{
    struct sf_sink_table *table = context;
    table->rewind_reason = *why;
    table->is_rewinding = true;
    table->events |= SF_EVENT_REWIND;
    sf_sink_notify(table->sink);
}

static bool is_any_failed(const struct sf_stream *stream, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        if (sf_channel_state(stream->channels[i]) == SF_CHANNEL_FAILED)
            return true;
    return false;
}

static void on_failed(void *context, const struct err *error)
{
    struct sf_sink_table *table = context;
    struct sf_stream *stream = &table->stream;
    uint32_t in_force = spread_channel_count(&stream->spread);
    bool is_growths = stream->growth == SF_GROWTH_OPENING && !is_any_failed(stream, 0, in_force) &&
                      is_any_failed(stream, in_force, stream->channel_count);
    if (stream->growth == SF_GROWTH_FAILED)
        return;
    if (!is_growths || error->kind == ERR_FENCED || error->kind == ERR_INTERNAL) {
        sf_sink_table_fail(table, error);
        return;
    }
    const struct log_scope scope = scope_of(table);
    log_line(LOG_WARNING, &scope, "spread_failed",
             "the stream of %s goes on over %u channel(s), more cannot be opened: %s", table->layout.target_name,
             in_force, error->text);
    stream->growth = SF_GROWTH_FAILED;
    stream->grow_at_us = now_us(table) + TRY_AGAIN_US;
    table->events |= SF_EVENT_GROWTH_FAILED;  // freed there, not inside their callbacks
    sf_sink_notify(table->sink);
}

static void on_dropped(void *context, const struct err *error)
{
    (void)context;
    (void)error;  // stream channels are dropped with their pipeline only
}

// Opens channels up to `count`.
static void open_up_to(struct sf_sink_table *table, uint32_t count, lsn_t floor_lsn,
                       const struct sink_stream_record *kept)
{
    struct sf_stream *stream = &table->stream;
    struct seq floor = {.commit_lsn = floor_lsn, .ordinal = 0, .epoch = stream->epoch};
    struct sf_token token;
    if (trap_is_set("copy_lsn_is_exclusive"))
        floor.ordinal = SEQ_ORDINAL_MAX;
    seq_token_format(&floor, &token);
    const struct sf_channel_events events = {.on_opened = on_opened,
                                             .on_committed = on_committed,
                                             .on_room = sf_sink_on_channel_room,
                                             .on_rewind = on_rewind,
                                             .on_failed = on_failed,
                                             .on_dropped = on_dropped,
                                             .context = table};
    uint32_t first = stream->channel_count;
    for (; stream->channel_count < count; stream->channel_count++)
        stream->channels[stream->channel_count] =
            sf_sink_channel_new(table, 'S', stream->channel_count, stream->epoch, &token, kept, &events);
    stream->opening_count = count - first;
    for (uint32_t i = first; i < count; i++)
        sf_channel_open(stream->channels[i]);
}

void sf_stream_open(struct sink_table *sink_table, uint8_t epoch, lsn_t floor_lsn,
                    const struct sink_stream_record *kept)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_stream *stream = &table->stream;
    CHECK(stream->channel_count == 0);
    stream->epoch = epoch;
    if (kept->spread.step_count > 0 && kept->spread.steps[0].from.epoch == epoch) {
        stream->spread = kept->spread;
    } else {
        const struct seq first = {.epoch = epoch};
        CHECK(spread_add(&stream->spread, &first, 1));
    }
    open_up_to(table, spread_channel_count(&stream->spread), floor_lsn, kept);
}

static void close_from(struct sf_sink_table *table, uint32_t first)
{
    struct sf_stream *stream = &table->stream;
    while (stream->channel_count > first) {
        struct sf_channel *channel = stream->channels[--stream->channel_count];
        sf_pipe_remove(table->pipe, channel);
        sf_channel_free(channel);
    }
}

void sf_stream_close(struct sf_sink_table *table)
{
    close_from(table, 0);
}

// --- growth ------------------------------------------------------------------------------------------------------

void sf_stream_growth_failed(struct sf_sink_table *table)
{
    struct sf_stream *stream = &table->stream;
    if (stream->growth != SF_GROWTH_FAILED)
        return;
    close_from(table, spread_channel_count(&stream->spread));
    stream->opening_count = 0;
    stream->growth = SF_GROWTH_WATCH;
}

static struct seq seq_after(const struct seq *seq)
{
    struct seq next = *seq;
    if (next.ordinal++ == SEQ_ORDINAL_MAX)
        next.commit_lsn++;
    return next;
}

// The new channels are open. Their own high tokens count as well: one may be left from a growth that a crash cut off.
static void growth_step(struct sf_sink_table *table)
{
    struct sf_stream *stream = &table->stream;
    if (stream->growth != SF_GROWTH_OPENING || stream->opening_count > 0 || table->is_rewinding ||
        (table->events & SF_EVENT_FAILED))
        return;
    struct seq highest = stream->spread.steps[stream->spread.step_count - 1].from;
    for (uint32_t i = 0; i < stream->channel_count; i++) {
        struct seq high;
        if (token_seq(sf_channel_high_token(stream->channels[i]), &high) && seq_compare(&high, &highest) > 0)
            highest = high;
    }
    const struct seq from = seq_after(&highest);
    CHECK(spread_add(&stream->spread, &from, stream->channel_count));
    for (uint32_t i = 0; i < stream->channel_count; i++)
        if (!trap_is_set("spread_is_saved_first"))
            sf_channel_hold(stream->channels[i]);
    stream->growth = SF_GROWTH_SAVING;
    struct sf_token token;
    seq_token_format(&from, &token);
    const struct log_scope scope = scope_of(table);
    log_line(LOG_INFO, &scope, "spread", "the stream of %s takes %u channels from sequence %s on",
             table->layout.target_name, stream->channel_count, token.text);
    table->events |= SF_EVENT_STREAM_CHANGED;
    sf_sink_notify(table->sink);
}

void sf_stream_saved(struct sink_table *sink_table)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_stream *stream = &table->stream;
    if (stream->growth != SF_GROWTH_SAVING)
        return;
    stream->growth = SF_GROWTH_WATCH;
    stream->grow_at_us = now_us(table) + SETTLE_US;
    for (uint32_t i = 0; i < stream->channel_count; i++)
        sf_channel_release(stream->channels[i]);
}

// Most of the time since it was looked at last, full batches waited in the channels.
static bool is_held_back(struct sf_sink_table *table)
{
    struct sf_stream *stream = &table->stream;
    uint64_t now = now_us(table), since_us = now - stream->watched_us, held_us = 0;
    if (now >= stream->grow_at_us && since_us < WATCH_US)
        return false;
    for (uint32_t i = 0; i < stream->channel_count; i++)
        held_us += sf_channel_held_us(stream->channels[i]);
    uint64_t newly_us = held_us - stream->watched_held_us;
    stream->watched_us = now;
    stream->watched_held_us = held_us;
    return now >= stream->grow_at_us && newly_us * WATCH_PARTS >= since_us * stream->channel_count * WATCH_HELD_PARTS;
}

static void watch(struct sf_sink_table *table)
{
    struct sf_stream *stream = &table->stream;
    uint32_t count = stream->channel_count, count_max = table->sink->options.channels_per_table;
    const struct seq floor = {.commit_lsn = table->sink->floor_lsn, .epoch = stream->epoch};
    if (!stream->is_open || stream->growth != SF_GROWTH_WATCH || count >= count_max || table->is_rewinding ||
        !is_held_back(table))
        return;
    spread_trim(&stream->spread, &floor);
    if (stream->spread.step_count == SPREAD_STEPS_MAX)
        return;  // until the floor has moved on
    stream->growth = SF_GROWTH_OPENING;
    open_up_to(table, count < count_max / GROWTH_FACTOR ? GROWTH_FACTOR * count : count_max, table->sink->floor_lsn,
               NULL);
}

// --- rows --------------------------------------------------------------------------------------------------------

enum sink_append_outcome sf_stream_append(struct sink_table *sink_table, const struct row_change *change,
                                          struct err *out_error)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_channel *channel = table->stream.channels[spread_channel(&table->stream.spread, &change->seq)];
    struct sf_token token;
    seq_token_format(&change->seq, &token);
    if (strcmp(token.text, sf_channel_high_token(channel)->text) <= 0)
        return SINK_ALREADY;
    return sf_sink_append_line(table, channel, &token, change, out_error);
}

void sf_stream_flush(struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->stream.channel_count; i++)
        sf_channel_pump(table->stream.channels[i]);
    watch(table);
}

void sf_stream_rewound(struct sf_sink_table *table)
{
    if (!table->is_rewinding)
        return;
    table->is_rewinding = false;
    table->events &= ~(unsigned)SF_EVENT_REWIND;
    for (uint32_t i = 0; i < table->stream.channel_count; i++)
        sf_channel_rewound(table->stream.channels[i]);
    growth_step(table);
}

bool sf_stream_is_busy(const struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->stream.channel_count; i++)
        if (sf_channel_has_uncommitted(table->stream.channels[i]))
            return true;
    return false;
}

// --- positions ---------------------------------------------------------------------------------------------------

lsn_t sf_stream_uncommitted_lsn(const struct sink_table *sink_table)
{
    const struct sf_sink_table *table = (const struct sf_sink_table *)sink_table;
    lsn_t lowest = SINK_POSITION_NONE;
    if (table->is_rewinding || (table->events & SF_EVENT_FAILED))
        return LSN_NONE;  // rows are gone and the pipeline does not know it yet: no position may pass them
    for (uint32_t i = 0; i < table->stream.channel_count; i++) {
        const struct sf_channel *channel = table->stream.channels[i];
        struct seq seq;
        if (!sf_channel_has_uncommitted(channel))
            continue;
        CHECK(token_seq(sf_channel_oldest_uncommitted(channel), &seq));
        if (seq.commit_lsn < lowest)
            lowest = seq.commit_lsn;
    }
    return lowest;
}

uint32_t sf_stream_committed(const struct sf_sink_table *table, lsn_t from_lsn,
                             struct seq out_seqs[SPREAD_CHANNELS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->stream.channel_count; i++) {
        struct sf_channel_record record;
        struct seq seq;
        sf_channel_record_get(table->stream.channels[i], &record);
        // Ordinal 0 is the token that the channel was opened with: no row.
        if (!token_seq(&record.committed, &seq) || seq.ordinal == 0 || seq.commit_lsn < from_lsn)
            continue;
        out_seqs[count++] = seq;
        if (seq_compare(&seq, &out_seqs[0]) > 0) {
            out_seqs[count - 1] = out_seqs[0];
            out_seqs[0] = seq;
        }
    }
    return count;
}

lsn_t sf_stream_committed_row_lsn(const struct sink_table *sink_table)
{
    struct seq seqs[SPREAD_CHANNELS_MAX];
    return sf_stream_committed((const struct sf_sink_table *)sink_table, LSN_NONE, seqs) > 0 ? seqs[0].commit_lsn
                                                                                             : LSN_NONE;
}

// Channels that no step of the spread counts yet have no row and are not kept.
void sf_stream_record(const struct sink_table *sink_table, struct sink_stream_record *out_record)
{
    const struct sf_sink_table *table = (const struct sf_sink_table *)sink_table;
    const struct sf_stream *stream = &table->stream;
    memset(out_record, 0, sizeof *out_record);
    if (!stream->is_open)
        return;
    out_record->spread = stream->spread;
    out_record->channel_count = spread_channel_count(&stream->spread);
    for (uint32_t i = 0; i < out_record->channel_count; i++) {
        struct sink_channel_record *out = &out_record->channels[i];
        struct sf_channel_record record;
        sf_channel_record_get(stream->channels[i], &record);
        (void)snprintf(out->name, sizeof out->name, "%s", sf_channel_name(stream->channels[i]));
        (void)snprintf(out->token, sizeof out->token, "%s", record.committed.text);
        out->created_on_ms = record.created_on_ms;
        out->error_count = record.error_count;
    }
}

const struct err *sf_stream_trouble(const struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->stream.channel_count; i++)
        if (sf_channel_trouble(table->stream.channels[i]) != NULL)
            return sf_channel_trouble(table->stream.channels[i]);
    return NULL;
}
