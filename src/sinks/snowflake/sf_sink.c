#include "sinks/snowflake/sf_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trap.h"
#include "io/metric_registry.h"
#include "sinks/snowflake/sf_merge.h"
#include "sinks/snowflake/sf_sink_private.h"

struct sf_sink_table *sf_sink_table_of(struct sink_table *table)
{
    return (struct sf_sink_table *)table;
}

static const struct sf_sink_table *table_of_const(const struct sink_table *table)
{
    return (const struct sf_sink_table *)table;
}

struct sf_sink *sf_sink_of(struct sink *sink)
{
    return (struct sf_sink *)sink;
}

// Events are noted as flags and told from a deferred call: a channel's callback must not lead to the channel's end.
void sf_sink_notify(struct sf_sink *sink)
{
    loop_defer(sink->options.loop, &sink->notify);
}

void sf_sink_table_fail(struct sf_sink_table *table, const struct err *error)
{
    if (table->events & SF_EVENT_FAILED)
        return;
    table->failure = *error;
    table->events |= SF_EVENT_FAILED;
    sf_sink_notify(table->sink);
}

static void table_free_all(struct sf_sink_table *table)
{
    sf_stream_close(table);
    sf_sink_copy_free_all(table);
    sf_sink_leftovers_free(table);
    if (table->pipe != NULL)
        sf_pipe_free(table->pipe);
    sf_layout_deinit(&table->layout);
    row_encoder_deinit(&table->encoder);
    append_meter_deinit(&table->meter);
    metric_put(table->meter_prepared);
    free(table->column_as_text);
    free(table->pipe_name);
    sf_evolution_deinit(&table->evolution);
    sf_evolution_deinit(&table->shadow_evolution);
    free(table);
}

static void table_tell(struct sf_sink_table *table)
{
    const struct sink_events *events = &table->sink->sink.events;
    unsigned told = table->events;
    table->events = 0;
    if (told & SF_EVENT_FAILED) {
        events->on_table_failed(events->context, table->context, &table->failure);
        if (table->is_stopped)
            return;
    }
    if (told & SF_EVENT_COPY_FAILED)
        events->on_copy_failed(events->context, table->context, &table->copy_failure);
    if (told & SF_EVENT_PREPARED)
        events->on_prepared(events->context, table->context,
                            err_is_set(&table->prepare_error) ? &table->prepare_error : NULL);
    if ((told & SF_EVENT_PUBLISHED) && !table->is_stopped)
        events->on_published(events->context, table->context);
    if ((told & SF_EVENT_REWIND) && !table->is_stopped)
        events->on_rewind(events->context, table->context, &table->rewind_reason);
    if (told & SF_EVENT_GROWTH_FAILED)
        sf_stream_growth_failed(table);
    if ((told & SF_EVENT_STREAM_CHANGED) && !table->is_stopped)
        events->on_stream_changed(events->context, table->context);
    if ((told & SF_EVENT_STREAM_OPENED) && !table->is_stopped)
        events->on_stream_opened(events->context, table->context);
    if (told & SF_EVENT_COPY)
        sf_sink_copy_tell(table);
    if (told & SF_EVENT_LEFTOVER)
        sf_sink_leftovers_tell(table);
}

static void reap_stopped(struct sf_sink *sink)
{
    struct sf_sink_table **link = &sink->tables;
    while (*link != NULL) {
        struct sf_sink_table *table = *link;
        if (table->is_stopped && !table->is_preparing) {
            *link = table->next;
            table_free_all(table);
        } else {
            link = &table->next;
        }
    }
}

static void on_notify(struct loop_deferred *deferred)
{
    struct sf_sink *sink = deferred->context;
    const struct sink_events *events = &sink->sink.events;
    unsigned told = sink->pending_events;
    sink->pending_events = 0;
    if (told & SF_EVENT_OPENED)
        events->on_opened(events->context, err_is_set(&sink->open_error) ? &sink->open_error : NULL);
    if (told & SF_EVENT_STATE)
        events->on_state(events->context, &sink->state, err_is_set(&sink->state_error) ? &sink->state_error : NULL);
    for (struct sf_sink_table *table = sink->tables; table != NULL; table = table->next)
        if (table->events != 0 && !table->is_stopped)
            table_tell(table);
    if (told & SF_EVENT_COMMITTED)
        events->on_committed(events->context);
    if (told & SF_EVENT_ROOM)
        events->on_room(events->context);
    if ((told & SF_EVENT_MERGED) && !err_is_set(&sink->merge_error))
        sf_sink_leftovers_look(sink);
    if (told & SF_EVENT_MERGED)
        events->on_merged(events->context, sink->merge_suspect != NULL ? sink->merge_suspect->context : NULL,
                          err_is_set(&sink->merge_error) ? &sink->merge_error : NULL);
    if (told & SF_EVENT_CLEANED)
        events->on_cleaned(events->context, sink->cleaning != NULL ? sink->cleaning->context : NULL, sink->clean_rows,
                           sink->clean_rows >= SF_CLEAN_ROWS,
                           err_is_set(&sink->clean_error) ? &sink->clean_error : NULL);
    reap_stopped(sink);
}

// --- channels ----------------------------------------------------------------------------------------------------

void sf_sink_on_channel_room(void *context)
{
    struct sf_sink_table *table = context;
    if (table->sink->is_waiting_for_room && budget_has_room(&table->sink->budget)) {
        table->sink->is_waiting_for_room = false;
        table->sink->pending_events |= SF_EVENT_ROOM;
        sf_sink_notify(table->sink);
    }
}

static const struct sink_channel_record *find_kept(const struct sink_stream_record *kept, const char *name)
{
    for (uint32_t i = 0; kept != NULL && i < kept->channel_count; i++)
        if (strcmp(kept->channels[i].name, name) == 0)
            return &kept->channels[i];
    return NULL;
}

struct sf_channel *sf_sink_channel_new(struct sf_sink_table *table, char kind, uint32_t number, uint8_t epoch,
                                       const struct sf_token *initial_token, const struct sink_stream_record *kept,
                                       const struct sf_channel_events *events)
{
    struct sf_sink *sink = table->sink;
    char name[SINK_CHANNEL_NAME_SIZE];
    sf_channel_name_format(sink->options.identity, table->layout.table->schema_name, table->layout.table->table_name,
                           epoch, kind, number, name);
    struct sf_channel_options options = {.database = sink->options.config->database,
                                         .schema = sink->options.config->landing_schema,
                                         .pipe = table->pipe_name,
                                         .channel = name,
                                         .batch_rows_max = sink->options.batch_rows_max,
                                         .meter = &table->meter,
                                         .batch_fill_ms_max = sink->options.batch_fill_ms_max,
                                         .outlasts_refusals = kind == 'C'};
    if (initial_token != NULL)
        options.initial_token = *initial_token;
    // A record of another name (an earlier epoch) says nothing of this channel.
    const struct sink_channel_record *record = find_kept(kept, name);
    if (record != NULL) {
        options.kept.is_known = true;
        (void)snprintf(options.kept.committed.text, sizeof options.kept.committed.text, "%s", record->token);
        options.kept.created_on_ms = record->created_on_ms;
        options.kept.error_count = record->error_count;
    }
    struct sf_channel *channel = sf_channel_new(&sink->channel_shared, &options, events);
    CHECK(channel != NULL);
    sf_pipe_add(table->pipe, channel);
    return channel;
}

static void rewound(struct sink *base)
{
    for (struct sf_sink_table *table = sf_sink_of(base)->tables; table != NULL; table = table->next)
        if (!table->is_stopped)
            sf_stream_rewound(table);
}

static void floor_saved(struct sink *base, lsn_t floor_lsn)
{
    sf_sink_of(base)->floor_lsn = floor_lsn;
}

static void mark_dirty(struct sf_sink_table *table)
{
    if (table->is_dirty)
        return;
    table->is_dirty = true;
    table->next_dirty = table->sink->dirty;
    table->sink->dirty = table;
}

enum sink_append_outcome sf_sink_append_line(struct sf_sink_table *table, struct sf_channel *channel,
                                             const struct sf_token *token, const struct row_change *change,
                                             struct err *out_error)
{
    struct buf *batch = sf_channel_batch(channel);
    size_t size_before = batch->size;
    if (!sf_row_append(table, change, batch, out_error))
        return SINK_FAILED;
    sf_channel_row_added(channel, token, batch->size - size_before);
    table->rows++;
    mark_dirty(table);
    return SINK_APPENDED;
}

static void flush(struct sink *base)
{
    struct sf_sink *sink = sf_sink_of(base);
    while (sink->dirty != NULL) {
        struct sf_sink_table *table = sink->dirty;
        sink->dirty = table->next_dirty;
        table->is_dirty = false;
        sf_stream_flush(table);
    }
    sf_sink_copy_flush(sink);
}

static bool is_full(const struct sink *base)
{
    struct sf_sink *sink = (struct sf_sink *)(uintptr_t)base;
    if (!budget_is_full(&sink->budget))
        return false;
    sink->is_waiting_for_room = true;  // whoever asked stops reading until on_room
    return true;
}

// --- tables ------------------------------------------------------------------------------------------------------

// What the options ask of a table. False (ERR_CONFIG) where it cannot be.
static bool table_set_options(struct sf_sink_table *table, const struct table *source, struct err *out_error)
{
    const struct sf_sink_options *options = &table->sink->options;
    table->encoder.has_commit_at = table->layout.has_commit_at = options->landing_commit_time;
    if (!options->soft_deletes)
        return true;
    if (table_is_multiset(source))
        return err_set(
            out_error, ERR_CONFIG, "soft_deletes",
            "table %s.%s has REPLICA IDENTITY FULL and no immediate primary key: its rows cannot be marked as "
            "deleted, as nothing tells equal ones apart; give it a primary key, or run without --soft-deletes",
            source->schema_name, source->table_name);
    if (source->identity == IDENTITY_NOTHING)
        log_line(LOG_WARNING, NULL, "soft_deletes",
                 "table %s.%s is append-only: --soft-deletes does not apply to it, a TRUNCATE empties its target",
                 source->schema_name, source->table_name);
    else
        table->layout.marks_deletes = table->layout.has_deleted_at = true;
    return true;
}

static struct sink_table *table_add(struct sink *base, const struct sink_table_options *options, struct err *out_error)
{
    struct sf_sink *sink = sf_sink_of(base);
    const struct sf_config *config = sink->options.config;
    struct sf_sink_table *table = calloc(1, sizeof *table);
    struct typemap_options types = sf_config_types(config);
    CHECK(table != NULL);
    types.preserves_case = sink->options.naming.preserves_case;
    table->sink = sink;
    table->context = options->context;
    if (!row_encoder_init(&table->encoder, options->table, options->encoding, &types, out_error)) {
        free(table);
        return NULL;
    }
    table->encoder.pipeline = sink->options.pipeline;
    if (!sf_layout_init(&table->layout, options->table, table->encoder.columns, config->database, config->schema,
                        config->landing_schema, &sink->options.naming, out_error) ||
        !table_set_options(table, options->table, out_error)) {
        sf_layout_deinit(&table->layout);
        row_encoder_deinit(&table->encoder);
        free(table);
        return NULL;
    }
    table->column_as_text = calloc((size_t)options->table->column_count + 1, sizeof *table->column_as_text);
    CHECK(table->column_as_text != NULL);
    for (uint16_t i = 0; i < options->table->column_count; i++)
        table->column_as_text[i] = table->encoder.columns[i].wants_text;
    size_t name_size = strlen(table->layout.landing_name) + sizeof "-STREAMING";
    table->pipe_name = malloc(name_size);
    CHECK(table->pipe_name != NULL);
    (void)snprintf(table->pipe_name, name_size, "%s-STREAMING", table->layout.landing_name);
    table->pipe = sf_pipe_new(&sink->channel_shared, config->database, config->landing_schema, table->pipe_name,
                              SF_STATUS_INTERVAL_MS);
    char name[512];
    table_format_name(options->table, name, sizeof name);
    append_meter_init(&table->meter, sink->options.pipeline, options->table, true);
    table->meter_prepared = metric_get(METRIC_SNOWFLAKE_TABLES, name);
    table->next = sink->tables;
    sink->tables = table;
    return (struct sink_table *)table;
}

static bool table_wants_text(const struct sink_table *sink_table, const bool **out_column_as_text)
{
    const struct sf_sink_table *table = table_of_const(sink_table);
    *out_column_as_text = table->column_as_text;
    return row_encoder_wants_text(&table->encoder);
}

static void table_stop(struct sink_table *sink_table)
{
    struct sf_sink_table *table = sf_sink_table_of(sink_table);
    struct sf_sink *sink = table->sink;
    table->is_stopped = true;
    if (sink->cleaning == table)
        sink->cleaning = NULL;
    if (sink->merge_suspect == table)
        sink->merge_suspect = NULL;
    for (uint32_t i = 0; i < sink->merge_table_count; i++)
        if (sink->merge_tables[i] == table)
            sink->merge_tables[i] = NULL;
    for (struct sf_sink_table **link = &sink->dirty; *link != NULL; link = &(*link)->next_dirty) {
        if (*link == table) {
            *link = table->next_dirty;
            table->is_dirty = false;
            break;
        }
    }
    sf_sink_notify(sink);  // reaped there
}

static const struct row_encoder *table_encoder(const struct sink_table *sink_table)
{
    return &table_of_const(sink_table)->encoder;
}

static const char *table_target(const struct sink_table *sink_table)
{
    return table_of_const(sink_table)->layout.target_name;
}

static const struct err *table_trouble(const struct sink_table *sink_table)
{
    const struct sf_sink_table *table = table_of_const(sink_table);
    const struct err *trouble = sf_stream_trouble(table);
    if (trouble == NULL)
        trouble = sf_sink_copy_trouble(table);
    return trouble != NULL ? trouble : sf_pipe_trouble(table->pipe);
}

static bool has_inflight(const struct sink *base)
{
    const struct sf_sink *sink = (const struct sf_sink *)base;
    for (const struct sf_sink_table *table = sink->tables; table != NULL; table = table->next)
        if (sf_stream_is_busy(table) || sf_sink_copy_has_inflight(table))
            return true;
    return sf_sql_is_busy(sink->merge_sql);
}

void sf_sink_add_stats(const struct sf_channel *channel, struct sink_stats *stats)
{
    if (channel == NULL)
        return;
    const struct sf_channel_stats *from = sf_channel_stats(channel);
    stats->rows += from->rows;
    stats->appends += from->appends;
    stats->raw_bytes += from->raw_bytes;
    stats->wire_bytes += from->wire_bytes;
    stats->retries += from->retries;
    if (from->last_append_latency_us > stats->append_latency_us)
        stats->append_latency_us = from->last_append_latency_us;
    if (from->last_commit_latency_us > stats->commit_latency_us)
        stats->commit_latency_us = from->last_commit_latency_us;
}

static void stats(const struct sink *base, struct sink_stats *out_stats)
{
    const struct sf_sink *sink = (const struct sf_sink *)base;
    *out_stats = sink->ended_stats;
    out_stats->append_latency_us = out_stats->commit_latency_us = 0;
    for (const struct sf_sink_table *table = sink->tables; table != NULL; table = table->next) {
        for (uint32_t i = 0; i < table->stream.channel_count; i++)
            sf_sink_add_stats(table->stream.channels[i], out_stats);
        sf_sink_copy_stats(table, out_stats);
    }
    out_stats->held_bytes = sink->budget.used_bytes;
    out_stats->held_bytes_max = sink->budget.bytes_max;
    const struct breaker *breaker = sf_auth_breaker(sink->options.auth);
    out_stats->circuit = breaker_state_name(breaker->state);
    out_stats->circuit_open_us = breaker_open_us(breaker, loop_now_us(sink->options.loop));
}

static void free_sink(struct sink *base)
{
    struct sf_sink *sink = sf_sink_of(base);
    sf_sink_look_deinit(sink);
    sf_sink_setup_deinit(sink);
    sf_sink_prepare_deinit(sink);
    sf_sql_free(sink->merge_sql);
    sf_sql_free(sink->state_sql);
    sf_sql_free(sink->clean_sql);
    sf_sql_free(sink->leftover_sql);
    sf_sink_left_deinit(sink);
    while (sink->tables != NULL) {
        struct sf_sink_table *table = sink->tables;
        sink->tables = table->next;
        table_free_all(table);
    }
    loop_defer_stop(sink->options.loop, &sink->notify);
    buf_deinit(&sink->text);
    free(sink->merge_tables);
    free(sink->merge_lines);
    sf_merge_parts_deinit(&sink->merge_parts);
    free(sink);
}

static bool tables_collide(const struct sink_table *a_table, const struct sink_table *b_table, struct err *out_error)
{
    const struct sf_sink_table *a = table_of_const(a_table), *b = table_of_const(b_table);
    const struct sf_naming *naming = &a->sink->options.naming;
    const struct table *of_a = a->layout.table, *of_b = b->layout.table;
    struct buf advice;
    if (!sf_naming_collide(naming, of_a, of_b))
        return false;
    buf_init(&advice, SF_STATEMENT_BYTES_MAX);
    if (sf_naming_advise(naming, of_a, of_b, &advice))
        buf_append_text(&advice, " keeps them apart, or leave one of them out");
    else
        buf_append_text(&advice, "no option keeps them apart: rename one of them, or leave it out");
    err_set(out_error, ERR_CONFIG, "name_collision",
            "%s.%s and %s.%s would both become \"%s\" with landing table \"%s\"; %s", of_a->schema_name,
            of_a->table_name, of_b->schema_name, of_b->table_name, a->layout.target_name, a->layout.landing_name,
            buf_text(&advice));
    buf_deinit(&advice);
    return true;
}

static const char *opened_text(const struct sink *base)
{
    (void)base;
    return "signed in, database, schemas and warehouse are there, streaming answers";
}

static const struct sink_operations operations = {
    .name = "snowflake",
    .has_merge = true,
    .opened_text = opened_text,
    .tables_collide = tables_collide,
    .open = sf_sink_open,
    .look = sf_sink_look,
    .read_state = sf_sink_read_state,
    .table_add = table_add,
    .table_wants_text = table_wants_text,
    .table_prepare = sf_sink_table_prepare,
    .table_stop = table_stop,
    .stream_open = sf_stream_open,
    .stream_saved = sf_stream_saved,
    .floor_saved = floor_saved,
    .append = sf_stream_append,
    .rewound = rewound,
    .copy_open = sf_sink_copy_open,
    .copy_append = sf_sink_copy_append,
    .copy_finish = sf_sink_copy_finish,
    .copy_is_full = sf_sink_copy_is_full,
    .copy_drop = sf_sink_copy_drop,
    .flush = flush,
    .is_full = is_full,
    .uncommitted_lsn = sf_stream_uncommitted_lsn,
    .committed_row_lsn = sf_stream_committed_row_lsn,
    .stream_record = sf_stream_record,
    .table_encoder = table_encoder,
    .table_target = table_target,
    .table_trouble = table_trouble,
    .merge = sf_sink_merge,
    .is_hidden = sf_sink_is_hidden,
    .publish = sf_sink_publish,
    .has_clean = sf_sink_has_clean,
    .clean = sf_sink_clean,
    .clean_left = sf_sink_clean_left,
    .cleaned_all = sf_sink_cleaned_all,
    .has_inflight = has_inflight,
    .stats = stats,
    .free = free_sink,
};

struct sink *sf_sink_new(const struct sf_sink_options *options, const struct sink_events *events)
{
    struct sf_sink *sink = calloc(1, sizeof *sink);
    CHECK(sink != NULL);
    sink->sink.operations = &operations;
    sink->sink.events = *events;
    sink->options = *options;
    budget_init(&sink->budget, options->budget_bytes);
    sink->channel_shared = (struct sf_channel_shared){.loop = options->loop,
                                                      .http = options->http,
                                                      .auth = options->auth,
                                                      .zstd = options->zstd,
                                                      .budget = &sink->budget,
                                                      .accepted_us = &sink->accepted_us};
    sink->notify.call = on_notify;
    sink->notify.context = sink;
    buf_init(&sink->text, SF_STATEMENT_BYTES_MAX);
    sink->merge_sql = sf_sql_new(options->loop, options->http, options->auth, options->config);
    sink->state_sql = sf_sql_new(options->loop, options->http, options->auth, options->config);
    sink->clean_sql = sf_sql_new(options->loop, options->http, options->auth, options->config);
    sink->leftover_sql = sf_sql_new(options->loop, options->http, options->auth, options->config);
    CHECK(sink->merge_sql != NULL && sink->state_sql != NULL && sink->clean_sql != NULL && sink->leftover_sql != NULL);
    sf_sink_leftovers_want(sink);
    sf_sink_setup_init(sink);
    return &sink->sink;
}
