// Channels that earlier attempts at a copy have left in Snowflake: of ranges that were given up, of a process that was killed, of an
// earlier epoch. Another copy uses the names again as far as it has as many ranges; what is left when all copies are over is looked
// for after the next merge, opened (which tells whether rows of it are still on their way) and dropped. Their rows count for
// nothing, whether they come or not: a later copy's sequence is higher. What cannot be dropped is looked for again, ever more rarely:
// a channel that stays costs nothing but its place among those that a table may have.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "sinks/snowflake/sf_http.h"
#include "sinks/snowflake/sf_sink_private.h"

struct sf_leftover {
    struct sf_sink_table *table;
    struct sf_leftover *next;
    struct sf_channel *channel;
    uint8_t epoch;
    uint32_t range;
    bool is_over;  // freed at the next telling
};

static const struct sf_sql_options show_options = {
    .needs_warehouse = false, .timeout_s = SF_SETUP_TIMEOUT_S, .tries_max = 1};

static const struct backoff_policy again_policy = {
    .delay_first_ms = 5000, .delay_min_ms = 1000, .delay_max_ms = 3600000};

void sf_sink_leftovers_want(struct sf_sink *sink)
{
    sink->are_leftovers_wanted = true;
    sink->leftovers_due_us = 0;
    backoff_init(&sink->leftover_backoff, &again_policy, sf_random());
}

// Counts a failure of this look once, however many channels it left.
static void look_again(struct sf_sink *sink)
{
    uint32_t delay_ms;
    if (sink->are_leftovers_wanted)
        return;
    sink->are_leftovers_wanted = backoff_next(&sink->leftover_backoff, &delay_ms);
    sink->leftovers_due_us = loop_now_us(sink->options.loop) + (uint64_t)delay_ms * 1000;
}

static void leftover_free(struct sf_leftover *leftover)
{
    sf_pipe_remove(leftover->table->pipe, leftover->channel);
    sf_channel_free(leftover->channel);
    free(leftover);
}

void sf_sink_leftovers_free(struct sf_sink_table *table)
{
    while (table->leftovers != NULL) {
        struct sf_leftover *leftover = table->leftovers;
        table->leftovers = leftover->next;
        leftover_free(leftover);
    }
    table->events &= ~(unsigned)SF_EVENT_LEFTOVER;
}

void sf_sink_leftovers_tell(struct sf_sink_table *table)
{
    for (struct sf_leftover **link = &table->leftovers; *link != NULL;) {
        struct sf_leftover *leftover = *link;
        if (!leftover->is_over) {
            link = &leftover->next;
            continue;
        }
        *link = leftover->next;
        leftover_free(leftover);
    }
}

// The name is used again by a copy.
void sf_sink_leftover_forget(struct sf_sink_table *table, uint8_t epoch, uint32_t range)
{
    for (struct sf_leftover **link = &table->leftovers; *link != NULL; link = &(*link)->next) {
        struct sf_leftover *leftover = *link;
        if (leftover->epoch != epoch || leftover->range != range)
            continue;
        *link = leftover->next;
        leftover_free(leftover);
        return;
    }
}

// ---- what the channel tells

static void over(struct sf_leftover *leftover, const struct err *error)
{
    struct sf_sink *sink = leftover->table->sink;
    struct log_scope scope = {sink->options.pipeline, leftover->table->layout.target_name};
    if (error != NULL)
        log_line(LOG_WARNING, &scope, "copy_channel_left", "channel %s of an earlier copy could not be dropped: %s",
                 sf_channel_name(leftover->channel), error->text);
    else
        log_line(LOG_DEBUG, &scope, "copy_channel_dropped", "channel %s of an earlier copy is dropped",
                 sf_channel_name(leftover->channel));
    if (error != NULL)
        look_again(sink);
    leftover->is_over = true;
    leftover->table->events |= SF_EVENT_LEFTOVER;
    sf_sink_notify(sink);
}

static void on_opened(void *context)
{
    sf_channel_drop(((struct sf_leftover *)context)->channel);
}

static void on_dropped(void *context, const struct err *error)
{
    over(context, error);
}

static void on_rewind(void *context, const struct err *why)
{
    over(context, why);  // nothing is sent by it, so nothing can be gone
}

static void on_nothing(void *context)
{
    (void)context;
}

// ---- looking for them

static void open_leftover(struct sf_sink_table *table, uint8_t epoch, uint32_t range)
{
    struct sf_leftover *leftover = calloc(1, sizeof *leftover);
    CHECK(leftover != NULL);
    *leftover = (struct sf_leftover){.table = table, .next = table->leftovers, .epoch = epoch, .range = range};
    const struct sf_channel_events events = {.on_opened = on_opened,
                                             .on_committed = on_nothing,
                                             .on_room = on_nothing,
                                             .on_rewind = on_rewind,
                                             .on_failed = on_dropped,
                                             .on_dropped = on_dropped,
                                             .context = leftover};
    leftover->channel = sf_sink_channel_new(table, 'C', range, epoch, NULL, NULL, &events);
    table->leftovers = leftover;
    sf_channel_open(leftover->channel);
}

static bool has_copies(const struct sf_sink_table *table)
{
    for (uint32_t i = 0; i < table->copy_count; i++)
        if (table->copies[i] != NULL)
            return true;
    return false;
}

static void look_at(struct sf_sink *sink, const char *name)
{
    uint8_t epoch;
    char kind;
    uint32_t range;
    for (struct sf_sink_table *table = sink->tables; table != NULL; table = table->next) {
        const struct table *of = table->layout.table;
        if (table->is_stopped || !sf_channel_name_parse(name, sink->options.identity, of->schema_name, of->table_name,
                                                        &epoch, &kind, &range))
            continue;
        // A copy that has begun meanwhile takes care of its own.
        if (kind == 'C' && !has_copies(table))
            open_leftover(table, epoch, range);
        return;
    }
}

static void on_shown(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_sink *sink = context;
    const struct log_scope scope = {sink->options.pipeline, NULL};
    if (error != NULL) {
        log_line(LOG_DEBUG, &scope, "copy_channels_left", "channels of earlier copies cannot be asked for: %s",
                 error->text);
        look_again(sink);
        return;
    }
    int name = sf_sql_column(result, "name");
    for (size_t row = 0; name >= 0 && row < result->row_count; row++) {
        const char *text = sf_sql_value(result, row, (size_t)name);
        if (text != NULL)
            look_at(sink, text);
    }
}

void sf_sink_leftovers_look(struct sf_sink *sink)
{
    struct err ignored;
    if (!sink->are_leftovers_wanted || loop_now_us(sink->options.loop) < sink->leftovers_due_us ||
        sf_sql_is_busy(sink->leftover_sql))
        return;
    for (const struct sf_sink_table *table = sink->tables; table != NULL; table = table->next)
        if (has_copies(table) || table->leftovers != NULL)
            return;
    sink->are_leftovers_wanted = false;
    buf_reset(&sink->text);
    sf_append_show_channels(&sink->text, sink->options.config->database, sink->options.config->landing_schema);
    (void)sf_sql_run(sink->leftover_sql, buf_text(&sink->text), &show_options, on_shown, sink, &ignored);
}
