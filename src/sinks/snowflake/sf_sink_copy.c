// Copied rows on their way to Snowflake: through channels of their own, which end with the copy.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "sinks/snowflake/sf_sink_private.h"

// Copy tokens: 'C', the snapshot's LSN (16 hex digits), the range (4), the row's number in it (12): they sort in the
// order of the rows, and a later copy's sort after an earlier one's, because its LSN is higher.
static void copy_token_format(lsn_t copy_lsn, uint64_t row_number, struct sf_token *out_token)
{
    (void)snprintf(out_token->text, sizeof out_token->text, "C%016" PRIX64 "%04X%012" PRIX64, copy_lsn, 0U, row_number);
}

// The copy channel has served when its last row is committed; it is dropped in Snowflake and freed here.
void sf_sink_copy_close(struct sf_sink_table *table)
{
    sf_pipe_remove(table->pipe, table->copy_channel);
    sf_channel_free(table->copy_channel);
    table->copy_channel = NULL;
}

static void on_copy_opened(void *context)
{
    struct sf_sink_table *table = context;
    table->events |= SF_EVENT_COPY_OPENED;
    sf_sink_notify(table->sink);
}

static void copy_check_done(struct sf_sink_table *table)
{
    if (!table->is_copy_finished || table->is_copy_told || sf_channel_has_uncommitted(table->copy_channel))
        return;
    table->is_copy_told = true;
    table->events |= SF_EVENT_COPY_COMMITTED;
    sf_sink_notify(table->sink);
    sf_channel_drop(table->copy_channel);
}

static void on_copy_channel_committed(void *context)
{
    copy_check_done(context);
}

// A copy's accepted rows are gone: the table is read again in a new snapshot; that is the pipeline's to decide.
static void on_copy_rewind(void *context, const struct err *why)
{
    struct err error = *why;
    error.kind = ERR_TRANSIENT;
    err_prefix(&error, "copied rows were lost at the destination, the copy starts again");
    sf_sink_table_fail(context, &error);
}

static void on_copy_dropped(void *context, const struct err *error)
{
    struct sf_sink_table *table = context;
    if (error != NULL) {
        struct log_scope scope = {table->sink->options.pipeline, table->layout.target_name};
        log_line(LOG_WARNING, &scope, "copy_channel_left", "the copy's channel %s could not be dropped: %s",
                 sf_channel_name(table->copy_channel), error->text);
    }
    table->events |= SF_EVENT_COPY_DROPPED;
    sf_sink_notify(table->sink);
}

void sf_sink_copy_open(struct sink_table *sink_table, uint8_t epoch, lsn_t copy_lsn)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    if (table->copy_channel != NULL)
        sf_sink_copy_close(table);
    table->copy_seq = (struct seq){.commit_lsn = copy_lsn, .ordinal = 0, .epoch = epoch};
    table->copied_rows = 0;
    table->is_copy_finished = table->is_copy_told = false;
    const struct sf_channel_events events = {.on_opened = on_copy_opened,
                                             .on_committed = on_copy_channel_committed,
                                             .on_room = sf_sink_on_channel_room,
                                             .on_rewind = on_copy_rewind,
                                             .on_failed = sf_sink_on_channel_failed,
                                             .on_dropped = on_copy_dropped,
                                             .context = table};
    table->copy_channel = sf_sink_channel_new(table, 'C', 0, epoch, NULL, NULL, &events);
    sf_channel_open(table->copy_channel);
}

enum sink_append_outcome sf_sink_copy_append(struct sink_table *sink_table, const struct row_view *row,
                                             struct err *out_error)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct row_change change = {.op = 'C', .seq = table->copy_seq, .new_row = *row};
    struct sf_token token;
    copy_token_format(table->copy_seq.commit_lsn, table->copied_rows + 1, &token);
    enum sink_append_outcome outcome = sf_sink_append_line(table, table->copy_channel, &token, &change, out_error);
    if (outcome == SINK_APPENDED)
        table->copied_rows++;
    return outcome;
}

void sf_sink_copy_finish(struct sink_table *sink_table)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    table->is_copy_finished = true;
    sf_channel_pump(table->copy_channel);
    copy_check_done(table);
}
