// What others may see of a pipeline: a JSON document for the catalog (status, status --json) and one line for a terminal.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/process.h"
#include "io/json_put.h"
#include "pipeline/pipeline_private.h"
#include "pipeline/remedy.h"

#define SHOW_INTERVAL_US 900000          // a bit less than the idle tick's second
#define SHOW_IDLE_INTERVAL_US 5000000    // where only positions move
#define SHOW_STILL_INTERVAL_US 30000000  // where nothing does

static void format_lsn(lsn_t lsn, char out[20])
{
    (void)snprintf(out, 20, LSN_FORMAT, LSN_ARGUMENTS(lsn));
}

static void set_lsn(json_t *object, const char *key, lsn_t lsn)
{
    char text[20];
    format_lsn(lsn, text);
    json_object_set_new(object, key, json_string(text));
}

static void set_count(json_t *object, const char *key, uint64_t count)
{
    json_object_set_new(object, key, json_integer((json_int_t)count));
}

static const char *merge_kind(const struct table *table)
{
    if (table->identity == IDENTITY_NOTHING)
        return "append-only";
    return table_is_multiset(table) ? "multiset" : "key";
}

static json_t *retry_json(const struct pipeline_table *table)
{
    const struct pipeline *pipeline = table->pipeline;
    uint64_t now_us = loop_now_us(pipeline->loop);
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "error", table->trouble.text);
    json_put_text(object, "code", table->trouble.code);
    set_count(object, "failures", table->try_count);
    set_count(object, "parked_after", pipeline->options.table_retry_max + 1);
    json_put_time(object, "since", table->trouble_since_us);
    if (table->retry_us > now_us)
        json_put_time(object, "next_try", loop_wall_us(pipeline->loop) + (int64_t)(table->retry_us - now_us));
    return object;
}

static void set_table_remedy(json_t *object, const struct pipeline_table *table)
{
    char remedy[ERR_TEXT_SIZE], name[320];
    struct err error = table->trouble;
    const struct remedy_subject subject = {.pipeline = table->pipeline->options.name, .table = name};
    (void)snprintf(name, sizeof name, "%s.%s", table->table->schema_name, table->table->table_name);
    if (table->record.state == CATALOG_TABLE_PARKED)
        err_set(&error, ERR_DATA, "", "%s", table->record.reason);
    if (!err_is_set(&error))
        return;
    remedy_format(&error, &subject, remedy, sizeof remedy);
    if (table->record.state == CATALOG_TABLE_PARKED && strstr(remedy, "pipeline resync") == NULL) {
        size_t size = strlen(remedy);
        (void)snprintf(remedy + size, sizeof remedy - size, "; then: etl-stream pipeline resync %s %s",
                       table->pipeline->options.name, name);
    }
    json_put_text(object, "remedy", remedy);
}

// Why the destination does not take its rows; NULL: it does.
static const struct err *sink_trouble(const struct pipeline_table *table)
{
    const struct sink_operations *operations = table->pipeline->sink->operations;
    return table->sink_table != NULL && operations->table_trouble != NULL ? operations->table_trouble(table->sink_table)
                                                                          : NULL;
}

static uint64_t values_coerced(const struct pipeline_table *table)
{
    const struct sink_operations *operations = table->pipeline->sink->operations;
    return table->sink_table != NULL ? operations->table_encoder(table->sink_table)->coerced_values : 0;
}

static json_t *table_json(const struct pipeline_table *table)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "schema", table->table->schema_name);
    json_put_text(object, "table", table->table->table_name);
    json_put_text(object, "state", catalog_table_state_name(table->record.state));
    bool is_told = table->record.state == CATALOG_TABLE_PARKED || table->record.state == CATALOG_TABLE_UNPUBLISHED;
    if (is_told && table->record.reason[0] != '\0')
        json_put_text(object, "reason", table->record.reason);
    if (is_told && table->record.reason_code[0] != '\0')
        json_put_text(object, "reason_code", table->record.reason_code);
    json_put_text(object, "merge", merge_kind(table->table));
    if (table->awaited_oid != 0 && err_is_set(&table->trouble))
        json_put_text(object, "trouble", table->trouble.text);
    else if (err_is_set(&table->trouble))
        json_object_set_new(object, "retry", retry_json(table));
    set_table_remedy(object, table);
    set_count(object, "rows_copied", copy_rows_of(table));
    if (table->table->rows_estimate >= 0)
        set_count(object, "rows_estimate", (uint64_t)table->table->rows_estimate);
    if (table->copy != NULL)
        json_object_set_new(object, "copy", copy_table_json(table));
    set_count(object, "rows_streamed", table->rows_streamed);
    set_count(object, "channels", spread_channel_count(&table->record.spread));
    set_count(object, "landing_rows_deleted", table->rows_cleaned);
    if (table->sink_table != NULL)
        set_count(object, "values_coerced", values_coerced(table));
    if (sink_trouble(table) != NULL)
        json_put_text(object, "trouble", sink_trouble(table)->text);
    return object;
}

static const char *merge_state(const struct pipeline *pipeline)
{
    if (pipeline->is_merging)
        return "running";
    if (pipeline->is_trying || pipeline->search.phase != MERGE_SEARCH_OFF || pipeline->is_search_wanted)
        return "searching";  // for the table that makes it fail
    if (pipeline->is_merge_resolving)
        return "resolving";                                // an earlier one may still be under way
    return merge_may_wake(pipeline) ? "idle" : "waiting";  // for the time of day
}

static json_t *merge_json(const struct pipeline *pipeline)
{
    uint64_t now_us = loop_now_us(pipeline->loop);
    int64_t wall_us = loop_wall_us(pipeline->loop);
    uint32_t first_count = 0;
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "state", merge_state(pipeline));
    set_count(object, "count", pipeline->merge_count);
    set_count(object, "failures", pipeline->merge_failures);
    set_count(object, "landing_rows_deleted", pipeline->rows_cleaned);
    if (pipeline->is_merging) {
        for (uint32_t i = 0; i < pipeline->merge_table_count; i++)
            first_count += pipeline->merge_tables[i].is_first;
        json_put_time(object, "since", wall_us - (int64_t)(now_us - pipeline->merge_began_us));
        set_count(object, "seconds", (now_us - pipeline->merge_began_us) / 1000000);
        set_lsn(object, "up_to", pipeline->merge_below_lsn);
        set_count(object, "tables", pipeline->merge_table_count);
        set_count(object, "first_merges", first_count);
    }
    if (pipeline->merge_ended_us != 0)
        json_put_time(object, "last", wall_us - (int64_t)(now_us - pipeline->merge_ended_us));
    if (!merge_may_wake(pipeline))
        json_put_time(object, "next", day_windows_next_us(&pipeline->options.merge_windows, wall_us));
    return object;
}

// What is wrong now, the gravest first; NULL: nothing.
static const struct err *error_of(const struct pipeline *pipeline)
{
    const struct err *const errors[] = {
        &pipeline->end_error,         &pipeline->last_error,  &pipeline->save_error,       &pipeline->copy_error,
        &pipeline->merge_state_error, &pipeline->merge_error, &pipeline->publication_error};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (err_is_set(errors[i]))
            return errors[i];
    return NULL;
}

static void set_error(json_t *object, const struct pipeline *pipeline, const struct err *error)
{
    char remedy[ERR_TEXT_SIZE];
    const struct remedy_subject subject = {.pipeline = pipeline->options.name};
    remedy_format(error, &subject, remedy, sizeof remedy);
    json_put_text(object, "error", error->text);
    json_put_text(object, "reason", error->code[0] != '\0' ? error->code : err_kind_name(error->kind));
    json_put_text(object, "remedy", remedy);
    if (pipeline->state != PIPELINE_WAITING)
        return;
    json_t *retry = json_object();
    CHECK(retry != NULL);
    uint64_t now_us = loop_now_us(pipeline->loop), due_us = pipeline->restart_timer.due_us;
    set_count(retry, "failures", pipeline->backoff.tries);
    json_put_time(retry, "since", pipeline->trouble_since_us);
    json_put_time(retry, "next_try", loop_wall_us(pipeline->loop) + (due_us > now_us ? (int64_t)(due_us - now_us) : 0));
    json_object_set_new(object, "retry", retry);
}

static json_t *positions_json(const struct pipeline *pipeline)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    set_lsn(object, "received", pipeline->received_lsn);
    set_lsn(object, "committed", pipeline->committed_lsn);
    // A status that is saved is saved in one transaction with the position that it tells.
    set_lsn(object, "confirmed",
            pipeline->saving_lsn > pipeline->saved_lsn ? pipeline->saving_lsn : pipeline->saved_lsn);
    set_lsn(object, "merged", pipeline->merged_lsn);
    return object;
}

static bool is_streaming(const struct pipeline *pipeline)
{
    return pipeline->stream != NULL && pipeline->is_stream_started && !pipeline->is_stream_barred &&
           pg_stream_stats(pipeline->stream)->received_lsn != LSN_NONE;
}

// Whether commits are pending, and what the source told of its WAL.
static void lag_update(struct pipeline *pipeline)
{
    int64_t pending_us = 0;
    if (pipeline->stream != NULL && pg_stream_stats(pipeline->stream)->received_lsn > pipeline->server_lsn)
        pipeline->server_lsn = pg_stream_stats(pipeline->stream)->received_lsn;
    pipeline->pending_us = lag_oldest(&pipeline->lag, pipeline->committed_lsn, &pending_us) ? pending_us : 0;
    if (pipeline->pending_us == 0 && is_streaming(pipeline))
        pipeline->caught_up_us = loop_wall_us(pipeline->loop);
}

void status_lag(const struct pipeline *pipeline, struct pipeline_lag *out_lag)
{
    int64_t since_us = pipeline->pending_us, now_us = loop_wall_us(pipeline->loop);
    *out_lag = (struct pipeline_lag){.has_bytes = pipeline->server_lsn != LSN_NONE,
                                     .has_seconds = since_us != 0 || is_streaming(pipeline)};
    if (!is_streaming(pipeline) && pipeline->caught_up_us != 0 &&
        (since_us == 0 || pipeline->caught_up_us < since_us)) {
        since_us = pipeline->caught_up_us;
        out_lag->has_seconds = true;
    }
    if (pipeline->server_lsn > pipeline->saved_lsn)
        out_lag->bytes = pipeline->server_lsn - pipeline->saved_lsn;
    if (since_us != 0 && now_us > since_us)
        out_lag->seconds = (double)(now_us - since_us) / 1e6;
}

static json_t *lag_json(const struct pipeline *pipeline)
{
    struct pipeline_lag lag;
    json_t *object = json_object();
    CHECK(object != NULL);
    status_lag(pipeline, &lag);
    json_object_set_new(object, "bytes", lag.has_bytes ? json_integer((json_int_t)lag.bytes) : json_null());
    json_object_set_new(object, "seconds", lag.has_seconds ? json_real(lag.seconds) : json_null());
    return object;
}

// The circuit breaker of the destination, as this pipeline's worker sees it.
static json_t *circuit_json(const struct pipeline *pipeline, const struct sink_stats *stats)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "state", stats->circuit);
    if (stats->circuit_open_us > 0) {
        json_put_time(object, "next_try", loop_wall_us(pipeline->loop) + (int64_t)stats->circuit_open_us);
        json_put_text(object, "reason", "the destination failed five times in a row and is left alone for 30 seconds");
        json_put_text(object, "remedy", "nothing: it is tried again by itself; if it lasts: etl-stream check");
    }
    return object;
}

// By an etl-stream verify.
static json_t *held_json(const struct pipeline *pipeline)
{
    json_t *object = json_object();
    uint64_t now_us = loop_now_us(pipeline->loop);
    CHECK(object != NULL);
    if (pipeline->hold.lsn != LSN_NONE)
        set_lsn(object, "at", pipeline->hold.lsn);
    json_put_text(object, "by", "etl-stream verify");
    json_put_time(object, "until",
                  loop_wall_us(pipeline->loop) +
                      (pipeline->hold.until_us > now_us ? (int64_t)(pipeline->hold.until_us - now_us) : 0));
    return object;
}

// The stream stands until changed definitions are followed.
static json_t *following_json(const struct pipeline *pipeline)
{
    json_t *object = json_object(), *tables = json_array();
    CHECK(object != NULL && tables != NULL);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        char name[320];
        const struct table *table = pipeline->tables[i]->table;
        if (!evolve_is_waited_for(pipeline->tables[i]))
            continue;
        (void)snprintf(name, sizeof name, "%s.%s", table->schema_name, table->table_name);
        json_array_append_new(tables, json_string(name));
    }
    json_object_set_new(object, "tables", tables);
    json_put_time(object, "since", pipeline->barred_since_us);
    json_put_text(object, "waits_for", evolve_waits_for(pipeline));
    return object;
}

char *pipeline_status(const struct pipeline *pipeline)
{
    struct sink_stats stats;
    char when[32], process[PROCESS_TEXT_SIZE];
    json_t *object = json_object(), *tables = json_array();
    CHECK(object != NULL && tables != NULL);
    pipeline->sink->operations->stats(pipeline->sink, &stats);
    clock_format(loop_wall_us(pipeline->loop), when, sizeof when);
    json_put_text(object, "pipeline", pipeline->options.name);
    json_put_text(object, "state", pipeline_state_name(pipeline->state));
    json_put_text(object, "at", when);
    process_describe(process);
    json_put_text(object, "process", process);
    json_object_set_new(object, "takes_commands", json_boolean(pipeline->options.takes_commands));
    json_put_text(object, "source", pipeline->options.source_text);
    json_put_text(object, "destination", pipeline->options.destination_text);
    json_put_text(object, "slot", pipeline->options.slot);
    json_put_text(object, "publication", pipeline->options.publication);
    set_count(object, "epoch", pipeline->record.epoch);
    json_object_set_new(object, "is_live", json_boolean(pipeline->was_merge_told));
    json_object_set_new(object, "positions", positions_json(pipeline));
    json_object_set_new(object, "lag", lag_json(pipeline));
    set_count(object, "rows_streamed", pipeline->rows_streamed);
    set_count(object, "rows_sent", stats.rows);
    set_count(object, "appends", stats.appends);
    set_count(object, "bytes_sent", stats.wire_bytes);
    set_count(object, "bytes_uncompressed", stats.raw_bytes);
    set_count(object, "append_latency_us", stats.append_latency_us);
    set_count(object, "commit_latency_us", stats.commit_latency_us);
    set_count(object, "merges", pipeline->merge_count);
    set_count(object, "merge_took_us", pipeline->merge_took_us);
    if (pipeline->sink->operations->has_merge)
        json_object_set_new(object, "merge", merge_json(pipeline));
    if (hold_is_on(pipeline))
        json_object_set_new(object, "merge_held", held_json(pipeline));
    if (evolve_waits_for(pipeline) != NULL)
        json_object_set_new(object, "following", following_json(pipeline));
    if (stats.circuit != NULL)
        json_object_set_new(object, "circuit", circuit_json(pipeline, &stats));
    if (copy_is_shown(pipeline))
        json_object_set_new(object, "copy", copy_json(pipeline));
    if (error_of(pipeline) != NULL)
        set_error(object, pipeline, error_of(pipeline));
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        json_array_append_new(tables, table_json(pipeline->tables[i]));
    json_object_set_new(object, "tables", tables);
    return json_take_line(object);
}

// --- the board ---------------------------------------------------------------------------------------------------

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        hash = hash_mix(hash, (uint8_t)*at);
    return hash_mix(hash, 0);
}

// NULL: as one that is not set.
static uint64_t mix_error(uint64_t hash, const struct err *error)
{
    bool is_set = error != NULL && err_is_set(error);
    return mix_text(hash_mix(hash, is_set ? error->kind : 0), is_set ? error->text : "");
}

// A hash of what the status of an idle pipeline depends on, which is cheaper than the status; but for positions, which move
// with every keepalive as long as anybody writes to the server.
uint64_t status_marks(const struct pipeline *pipeline)
{
    uint64_t hash = HASH_START;
    struct sink_stats stats;
    pipeline->sink->operations->stats(pipeline->sink, &stats);
    const uint64_t marks[] = {pipeline->state,          pipeline->merged_lsn,    pipeline->record.epoch,
                              pipeline->was_merge_told, pipeline->rows_streamed, pipeline->merge_count,
                              pipeline->merge_failures, pipeline->rows_cleaned,  pipeline->hold.lsn,
                              pipeline->hold.until_us,  pipeline->table_count,   (uint64_t)pipeline->pending_us};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        hash = hash_mix(hash, marks[i]);
    const char *waits_for = evolve_waits_for(pipeline);
    hash = mix_text(hash, waits_for != NULL ? waits_for : "");
    hash = mix_text(hash, merge_state(pipeline));
    hash = mix_text(hash, stats.circuit != NULL ? stats.circuit : "");
    hash = mix_error(hash, error_of(pipeline));
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        const uint64_t table_marks[] = {
            table->record.oid,    table->record.state, table->record.copied_rows,
            table->rows_streamed, table->try_count,    table->rows_cleaned,
            table->retry_us,      table->copy != NULL, spread_channel_count(&table->record.spread),
            values_coerced(table)};
        for (size_t k = 0; k < sizeof table_marks / sizeof table_marks[0]; k++)
            hash = hash_mix(hash, table_marks[k]);
        hash = mix_text(hash, table->record.reason);
        hash = mix_error(hash, &table->trouble);
        hash = mix_error(hash, sink_trouble(table));
    }
    return hash;
}

static uint64_t position_marks(const struct pipeline *pipeline)
{
    uint64_t hash = hash_mix(HASH_START, pipeline->received_lsn);
    hash = hash_mix(hash, pipeline->committed_lsn);
    hash = hash_mix(hash, pipeline->saved_lsn);
    return hash_mix(hash, pipeline->server_lsn);
}

char *status_take(struct pipeline *pipeline)
{
    char key[16 + CATALOG_NAME_SIZE];
    lag_update(pipeline);
    char *status = pipeline_status(pipeline);
    if (pipeline->options.board == NULL)
        return status;
    char *shown = strdup(status);
    CHECK(shown != NULL);
    (void)snprintf(key, sizeof key, "pipeline/%s", pipeline->options.name);
    board_put(pipeline->options.board, key, shown);
    pipeline->shown_us = loop_now_us(pipeline->loop);
    pipeline->shown_marks = status_marks(pipeline);
    pipeline->shown_positions = position_marks(pipeline);
    return status;
}

void status_tick(struct pipeline *pipeline)
{
    lag_update(pipeline);
    uint64_t since_us = loop_now_us(pipeline->loop) - pipeline->shown_us;
    if (pipeline->options.board == NULL || since_us < SHOW_INTERVAL_US)
        return;
    bool is_busy = pipeline->is_merging || pipeline->pending_us != 0 || copy_is_shown(pipeline);
    bool is_still = is_streaming(pipeline) && position_marks(pipeline) == pipeline->shown_positions;
    if (is_busy || since_us >= (is_still ? SHOW_STILL_INTERVAL_US : SHOW_IDLE_INTERVAL_US) ||
        status_marks(pipeline) != pipeline->shown_marks)
        free(status_take(pipeline));
}

void pipeline_describe(const struct pipeline *pipeline, char *out, size_t out_size)
{
    char merged[20], received[20];
    if (copy_is_shown(pipeline)) {
        copy_describe(pipeline, out, out_size);
        return;
    }
    format_lsn(pipeline->merged_lsn, merged);
    format_lsn(pipeline->received_lsn, received);
    (void)snprintf(
        out, out_size, "%s: %s, %" PRIu64 " rows streamed, received %s, merged %s, %" PRIu64 " bytes of WAL between",
        pipeline->options.name, pipeline_state_name(pipeline->state), pipeline->rows_streamed, received, merged,
        pipeline->received_lsn > pipeline->merged_lsn ? pipeline->received_lsn - pipeline->merged_lsn : 0);
}
