// From the replication stream to the sink: messages are decoded in place and handed over as views.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/trap.h"
#include "io/metric_registry.h"
#include "pipeline/pipeline_private.h"

#define GIANT_MESSAGE_BYTES (8U << 20)
#define MESSAGES_PER_TRANSACTION_MAX (SEQ_ORDINAL_MAX / 2)

static void runs_well(struct pipeline *pipeline)
{
    pipeline->undecoded_lsn = LSN_NONE;
    backoff_reset(&pipeline->backoff);
    err_clear(&pipeline->last_error);
}

// What is received is bounded by an open transaction's own commit LSN: a keepalive's LSN may lie above it.
static void received_raise(struct pipeline *pipeline, lsn_t lsn)
{
    if (pipeline->transaction.is_open && lsn > pipeline->transaction.commit_lsn)
        lsn = pipeline->transaction.commit_lsn;
    if (lsn > pipeline->received_lsn)
        pipeline->received_lsn = lsn;
    if (pipeline->undecoded_lsn != LSN_NONE && lsn > pipeline->undecoded_lsn)
        runs_well(pipeline);
}

static bool stop_with(struct pipeline *pipeline, enum err_kind kind, const char *code, const char *text)
{
    err_set(&pipeline->stop_reason, kind, code, "%s", text);
    return false;
}

// --- relations ---------------------------------------------------------------------------------------------------

static bool is_name(struct pipeline *pipeline, const char *raw, const char *name)
{
    struct buf *scratch = &pipeline->name_scratch;
    if (encoding_is_utf8(pipeline->encoding))
        return strcmp(raw, name) == 0;
    buf_reset(scratch);
    return encoding_append_utf8(pipeline->encoding, (const uint8_t *)raw, strlen(raw), scratch) &&
           strcmp(buf_text(scratch), name) == 0;
}

static bool is_key(const struct table *table, uint16_t index)
{
    return table->identity == IDENTITY_KEY && table->columns[index].key_position >= 0;
}

// What rows are told apart by: with FULL every column is named as part of it.
static bool identity_matches(const struct table *table, const struct pgoutput_message *message)
{
    bool is_full = message->relation.replica_identity == 'f';
    if (is_full != (table->identity == IDENTITY_FULL))
        return false;
    for (uint16_t i = 0; i < table->column_count && !is_full; i++)
        if (message->relation.columns[i].is_key != is_key(table, i))
            return false;
    return true;
}

static bool relation_matches(struct pipeline *pipeline, const struct table *table,
                             const struct pgoutput_message *message, char *out_why, size_t why_size)
{
    const char *schema = message->relation.schema_name[0] != '\0' ? message->relation.schema_name : "pg_catalog";
    if (!is_name(pipeline, schema, table->schema_name) ||
        !is_name(pipeline, message->relation.table_name, table->table_name)) {
        (void)snprintf(out_why, why_size, "the table was renamed");
        return false;
    }
    if (message->relation.column_count != table->column_count) {
        (void)snprintf(out_why, why_size, "it has %u published columns instead of %u", message->relation.column_count,
                       table->column_count);
        return false;
    }
    if (!identity_matches(table, message)) {
        (void)snprintf(out_why, why_size, "its replica identity changed");
        return false;
    }
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct pgoutput_relation_column *column = &message->relation.columns[i];
        if (!is_name(pipeline, column->name, table->columns[i].name) ||
            column->type_oid != table->columns[i].type_oid ||
            column->type_modifier != table->columns[i].type_modifier) {
            (void)snprintf(out_why, why_size, "column \"%s\" changed", table->columns[i].name);
            return false;
        }
    }
    return true;
}

bool stream_describes_alike(const struct table *a, const struct table *b)
{
    if (strcmp(a->schema_name, b->schema_name) != 0 || strcmp(a->table_name, b->table_name) != 0 ||
        a->column_count != b->column_count || (a->identity == IDENTITY_FULL) != (b->identity == IDENTITY_FULL))
        return false;
    for (uint16_t i = 0; i < a->column_count; i++) {
        const struct column *x = &a->columns[i], *y = &b->columns[i];
        if (strcmp(x->name, y->name) != 0 || x->type_oid != y->type_oid || x->type_modifier != y->type_modifier ||
            is_key(a, i) != is_key(b, i))
            return false;
    }
    return true;
}

// The server describes a relation once a connection, and again when it changes. A description that no table of ours takes
// is kept: a table may join, or get another definition, later on.
struct stream_relation {
    uint32_t oid;
    uint8_t *data;
    size_t size;
};

// Among those that are kept, or NULL.
static struct stream_relation *relation_find(const struct pipeline *pipeline, uint32_t oid)
{
    for (uint32_t i = 0; i < pipeline->relation_count; i++)
        if (pipeline->relations[i].oid == oid)
            return &pipeline->relations[i];
    return NULL;
}

static void relation_forget(struct pipeline *pipeline, uint32_t oid)
{
    struct stream_relation *relation = relation_find(pipeline, oid);
    if (relation == NULL)
        return;
    free(relation->data);
    *relation = pipeline->relations[--pipeline->relation_count];
}

static void relation_keep(struct pipeline *pipeline, uint32_t oid, const uint8_t *data, size_t size)
{
    relation_forget(pipeline, oid);
    pipeline->relations = reallocarray(pipeline->relations, pipeline->relation_count + 1, sizeof *pipeline->relations);
    CHECK(pipeline->relations != NULL);
    struct stream_relation *relation = &pipeline->relations[pipeline->relation_count++];
    *relation = (struct stream_relation){.oid = oid, .data = malloc(size), .size = size};
    CHECK(relation->data != NULL);
    memcpy(relation->data, data, size);
}

static void relations_clear(struct pipeline *pipeline)
{
    while (pipeline->relation_count > 0)
        free(pipeline->relations[--pipeline->relation_count].data);
}

void stream_deinit(struct pipeline *pipeline)
{
    relations_clear(pipeline);
    free(pipeline->relations);
}

bool stream_relation_fits(struct pipeline_table *table, const struct table *definition)
{
    struct pipeline *pipeline = table->pipeline;
    struct pgoutput_message message;
    struct err ignored = {0};
    char why[160];
    const struct stream_relation *relation = relation_find(pipeline, definition->oid);
    if (relation == NULL)
        return false;
    CHECK(pgoutput_decode(relation->data, relation->size, pipeline->scratch, &message, &ignored));
    return relation_matches(pipeline, definition, &message, why, sizeof why);
}

void stream_relation_recall(struct pipeline_table *table)
{
    if (relation_find(table->pipeline, table->table->oid) == NULL)
        return;
    table->is_relation_checked = stream_relation_fits(table, table->table);
    if (table->is_relation_checked)
        relation_forget(table->pipeline, table->table->oid);
}

// Its copy's snapshot, taken or still to come, holds what is read now: the stream may bring it under an older definition. Of a table
// that is live it is read again after a connection was lost.
static bool is_before_copy(const struct pipeline_table *table, lsn_t commit_lsn)
{
    switch (table->record.state) {
    case CATALOG_TABLE_NEW: return true;
    case CATALOG_TABLE_COPYING:
    case CATALOG_TABLE_COPIED:
    case CATALOG_TABLE_LIVE: return commit_lsn < table->record.copy_lsn;
    default: return false;
    }
}

// It is not followed any more, though its last merge may be to come: what is not chosen is sent all the same.
static bool has_left(const struct pipeline_table *table, lsn_t commit_lsn)
{
    return table->left_lsn != LSN_NONE && commit_lsn >= table->left_lsn;
}

static void on_relation(struct pipeline *pipeline, const struct pgoutput_message *message, const uint8_t *data,
                        size_t size)
{
    struct pipeline_table *table = pipeline_find_table(pipeline, message->relation_oid);
    char why[160];
    struct err error = {0};
    bool is_ours = table != NULL && table->is_joined;
    if (is_ours && relation_matches(pipeline, table->table, message, why, sizeof why)) {
        table->is_relation_checked = true;
        metric_add(pipeline->meter.relation_hits, 1);
        relation_forget(pipeline, message->relation_oid);
        return;
    }
    metric_add(pipeline->meter.relation_misses, 1);
    relation_keep(pipeline, message->relation_oid, data, size);
    if (table != NULL)
        table->is_relation_checked = false;
    if (!is_ours || is_before_copy(table, pipeline->transaction.commit_lsn) || evolve_told(table))
        return;
    err_set(&error, ERR_LOST, "schema_changed", "its definition changed at the source: %s", why);
    pipeline_resync_table(table, &error);
}

// --- rows --------------------------------------------------------------------------------------------------------

static bool append(struct pipeline *pipeline, struct pipeline_table *table, const struct row_change *change)
{
    const struct row_encoder *encoder = pipeline->sink->operations->table_encoder(table->sink_table);
    uint64_t unchanged_rows = encoder->unchanged_rows, moved_rows = encoder->moved_rows;
    struct err error = {0};
    table->row_lsn = change->seq.commit_lsn;
    switch (pipeline->sink->operations->append(table->sink_table, change, &error)) {
    case SINK_APPENDED: break;
    case SINK_ALREADY: return true;
    case SINK_FAILED:
        if (!is_before_copy(table, change->seq.commit_lsn))
            join_refused(table, &error);
        return true;
    }
    if (encoder->unchanged_rows != unchanged_rows && table->unchanged_lsn != UINT64_MAX)
        table->unchanged_lsn = change->seq.commit_lsn;
    if (encoder->moved_rows != moved_rows && table->moved_lsn != UINT64_MAX)
        table->moved_lsn = change->seq.commit_lsn;
    table->rows_streamed++;
    pipeline->rows_streamed++;
    pipeline->row_lsn = change->seq.commit_lsn;
    return true;
}

// The next sequence of the open transaction. Every change message counts, ours or not: the number is the same whenever it is read.
static bool next_seq(struct pipeline *pipeline, struct seq *out_seq)
{
    struct pipeline_transaction *transaction = &pipeline->transaction;
    if (!transaction->is_open)
        return stop_with(pipeline, ERR_DATA, "protocol", "the server sent a change outside of a transaction");
    if (transaction->message_number == MESSAGES_PER_TRANSACTION_MAX)
        return stop_with(pipeline, ERR_DATA, "transaction_too_large",
                         "a transaction of more than 2147483647 changes cannot be numbered");
    transaction->message_number++;
    *out_seq = (struct seq){.commit_lsn = transaction->commit_lsn,
                            .ordinal = 2 * transaction->message_number,
                            .epoch = pipeline->record.epoch};
    return true;
}

static bool on_change(struct pipeline *pipeline, const struct pgoutput_message *message)
{
    struct row_change change = {0};
    if (!next_seq(pipeline, &change.seq))
        return false;
    struct pipeline_table *table = pipeline_find_table(pipeline, message->relation_oid);
    if (table == NULL || !table->is_joined) {
        if (trap_is_set("ordinal_counts_every_change"))
            pipeline->transaction.message_number--;
        return true;
    }
    if (has_left(table, change.seq.commit_lsn))
        return true;
    if (!table->is_relation_checked && is_before_copy(table, change.seq.commit_lsn))
        return true;
    if (!table->is_relation_checked && relation_find(pipeline, table->table->oid) != NULL) {
        // It changed after its definition was read, and its copy, which does not hold this row, was begun with the old one.
        struct err error = {0};
        err_set(&error, ERR_LOST, "schema_changed", "its definition changed at the source while it was copied");
        pipeline_resync_table(table, &error);
        return true;
    }
    if (!table->is_relation_checked)
        return stop_with(pipeline, ERR_DATA, "protocol", "the server sent a change of a table before describing it");
    change.op = message->kind == PGOUTPUT_INSERT ? 'I' : message->kind == PGOUTPUT_UPDATE ? 'U' : 'D';
    change.new_row = message->change.new_row;
    change.old_row = message->change.old_row;
    change.commit_time_us = pipeline->transaction.commit_time_us;
    if (ndjson_splits(pipeline->sink->operations->table_encoder(table->sink_table), &change)) {
        struct row_change removed, added;
        ndjson_split(&change, &removed, &added);
        return append(pipeline, table, &removed) && (table->sink_table == NULL || append(pipeline, table, &added));
    }
    return append(pipeline, table, &change);
}

static bool on_truncate(struct pipeline *pipeline, const struct pgoutput_message *message)
{
    struct row_change change = {.op = 'T', .commit_time_us = pipeline->transaction.commit_time_us};
    if (!next_seq(pipeline, &change.seq))
        return false;
    for (uint32_t i = 0; i < message->truncate.relation_count; i++) {
        struct pipeline_table *table = pipeline_find_table(pipeline, pgoutput_truncated(message, i));
        if (table != NULL && table->is_joined && !has_left(table, change.seq.commit_lsn) &&
            !append(pipeline, table, &change))
            return false;
    }
    return true;
}

// --- the stream's events -----------------------------------------------------------------------------------------

static bool on_begin(struct pipeline *pipeline, const struct pgoutput_message *message)
{
    if (pipeline->transaction.is_open)
        return stop_with(pipeline, ERR_DATA, "protocol", "the server began a transaction within another");
    pipeline->transaction = (struct pipeline_transaction){.is_open = true,
                                                          .commit_lsn = message->begin.commit_lsn,
                                                          .commit_time_us = message->begin.commit_time_us,
                                                          .xid = message->begin.xid};
    int64_t commit_wall_us = message->begin.commit_time_us + POSTGRES_EPOCH_US;
    if (message->begin.commit_lsn >= pipeline->committed_lsn)  // else it is read again
        lag_note(&pipeline->lag, message->begin.commit_lsn, commit_wall_us);
    if (message->begin.commit_lsn >= pipeline->merged_lsn)
        lag_note(&pipeline->unmerged, message->begin.commit_lsn, commit_wall_us);
    received_raise(pipeline, message->begin.commit_lsn);
    return true;
}

static bool on_commit(struct pipeline *pipeline, const struct pgoutput_message *message)
{
    if (!pipeline->transaction.is_open || message->commit.commit_lsn != pipeline->transaction.commit_lsn)
        return stop_with(pipeline, ERR_DATA, "protocol", "the server ended a transaction that it had not begun");
    pipeline->transaction.is_open = false;
    received_raise(pipeline, message->commit.end_lsn);
    return true;
}

// Of a transaction of which nothing was sent: what is sent is committed, and sent from its beginning to its end.
static bool on_abort(struct pipeline *pipeline)
{
    if (pipeline->transaction.is_open)
        return stop_with(pipeline, ERR_DATA, "protocol", "the server told of an aborted transaction within another");
    return true;
}

static bool on_message(void *context, const uint8_t *data, size_t size, lsn_t wal_start)
{
    struct pipeline *pipeline = context;
    struct pgoutput_message message;
    (void)wal_start;
    bool goes_on = true;
    if (!pgoutput_decode(data, size, pipeline->scratch, &message, &pipeline->stop_reason)) {
        pipeline_fail(pipeline, &pipeline->stop_reason);
        return false;
    }
    if (size > GIANT_MESSAGE_BYTES)
        pipeline->giant_lsn = pipeline->transaction.commit_lsn;
    if (meter_message(&pipeline->meter, message.kind, size))
        pipeline->meter.turn_began_us = loop_fresh_us(pipeline->loop);
    switch (message.kind) {
    case PGOUTPUT_BEGIN: goes_on = on_begin(pipeline, &message); break;
    case PGOUTPUT_COMMIT: goes_on = on_commit(pipeline, &message); break;
    case PGOUTPUT_RELATION: on_relation(pipeline, &message, data, size); break;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE: goes_on = on_change(pipeline, &message); break;
    case PGOUTPUT_TRUNCATE: goes_on = on_truncate(pipeline, &message); break;
    case PGOUTPUT_ABORT: goes_on = on_abort(pipeline); break;
    case PGOUTPUT_ORIGIN:
    case PGOUTPUT_TYPE:
    case PGOUTPUT_MESSAGE: break;
    }
    if (goes_on && !pipeline->is_stream_paused && pipeline->sink->operations->is_full(pipeline->sink)) {
        pipeline->is_stream_paused = true;
        pg_stream_pause(pipeline->stream);
    }
    if (!goes_on)  // the stream stops without on_ended
        pipeline_fail(pipeline, &pipeline->stop_reason);
    return goes_on;
}

static void on_keepalive(void *context, lsn_t lsn)
{
    // Everything below lsn was sent; the next commit may lie right at it.
    received_raise(context,
                   trap_is_set("positions_are_exclusive") ? lsn + 1 : lsn);  // what follows from it: on_turn_end
}

static void on_turn_end(void *context)
{
    struct pipeline *pipeline = context;
    pipeline->sink->operations->flush(pipeline->sink);
    meter_turn_end(pipeline);
    progress_update(pipeline);
}

static void on_started(void *context)
{
    struct pipeline *pipeline = context;
    pipeline->is_stream_started = true;
    if (pipeline->undecoded_lsn == LSN_NONE)
        runs_well(pipeline);
    log_line(LOG_INFO, &pipeline->scope, "streaming", "reading slot %s from " LSN_FORMAT " as %s",
             pipeline->options.slot, LSN_ARGUMENTS(pipeline->saved_lsn), pipeline->is_text ? "text" : "binary");
}

// The classes of errors that asking for binary may have caused (a type without binary output, one whose output fails); pg_stream.c has
// made them transient: the next stream is in text, which has to show whether it was that.
static bool is_perhaps_of_binary(const struct err *error)
{
    static const char *const classes[] = {"22", "42", "0A", "XX"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strncmp(error->code, classes[i], 2) == 0)
            return true;
    return false;
}

static void on_ended(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct err reason = err_is_set(&pipeline->stop_reason) ? pipeline->stop_reason : *error;
    if (!pipeline->is_text && reason.kind == ERR_TRANSIENT && is_perhaps_of_binary(&reason))
        pipeline->was_binary_refused = true;
    if (strcmp(reason.code, "decoding_failed") == 0)
        pipeline->undecoded_lsn = pipeline->received_lsn;
    pipeline_fail(pipeline, &reason);
}

static void on_warning(void *context, const char *sqlstate, const char *text)
{
    struct pipeline *pipeline = context;
    log_line(LOG_WARNING, &pipeline->scope, "server_warning", "%s: %s", sqlstate, text);
    // From 18 on a publication that is missing in the WAL it still has to decode is skipped with no more than this warning: changes would be missing without a word.
    if (strcmp(sqlstate, "55000") == 0 && strstr(text, "publication") != NULL) {
        struct err error = {0};
        err_set(&error, ERR_LOST, "publication_lost",
                "publication \"%s\" does not exist in the WAL that still has to be read (%s): changes are lost; to "
                "copy all tables anew, start with "
                "--on-slot-lost=resync",
                pipeline->options.publication, text);
        pipeline_fail(pipeline, &error);
    }
}

void stream_continue(struct pipeline *pipeline)
{
    if (pipeline->stream != NULL && !pipeline->is_stream_paused && !pipeline->is_stream_barred &&
        pipeline->state != PIPELINE_STOPPING)
        pg_stream_continue(pipeline->stream);
}

void stream_begin(struct pipeline *pipeline)
{
    struct pg_stream_events events = {.on_started = on_started,
                                      .on_message = on_message,
                                      .on_keepalive = on_keepalive,
                                      .on_turn_end = on_turn_end,
                                      .on_ended = on_ended,
                                      .on_warning = on_warning,
                                      .context = pipeline};
    struct err error = {0};
    CHECK(pipeline->stream == NULL);
    pipeline->is_text = pipeline->was_binary_refused;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        table->is_relation_checked = false;
        table->row_lsn = LSN_NONE;
        pipeline->is_text |= join_wants_text(table);
    }
    relations_clear(pipeline);
    pipeline->transaction.is_open = false;
    pipeline->is_stream_paused = pipeline->is_stream_barred = pipeline->is_stream_started = false;
    pipeline->received_lsn = pipeline->saved_lsn;
    // Nothing of an old reading is left, whenever channels asked for a rewind: during it, or while we waited.
    pipeline->sink->operations->rewound(pipeline->sink);
    err_clear(&pipeline->stop_reason);
    pipeline->stream = pg_stream_new(pipeline->loop, pipeline->resolver);
    CHECK(pipeline->stream != NULL);
    struct pg_stream_options options = {.slot = pipeline->options.slot,
                                        .publication = pipeline->options.publication,
                                        .start_lsn =
                                            trap_is_set("slot_starts_at_our_floor") ? LSN_NONE : pipeline->saved_lsn,
                                        .is_binary = !pipeline->is_text,
                                        .client_encoding = pipeline->facts.encoding,
                                        .decoding_work_mem_kb = pipeline->options.decoding_work_mem_kb};
    if (!pg_stream_start(pipeline->stream, pipeline->options.source, &options, &events, &error))
        pipeline_fail(pipeline, &error);
}

// libpq's buffer grows to the largest message and never shrinks. When the giant's commit is durable it is not sent again, so a new
// connection does without that memory.
void stream_renew_after_giant(struct pipeline *pipeline)
{
    struct err why = {0};
    if (pipeline->giant_lsn == LSN_NONE || pipeline->saved_lsn <= pipeline->giant_lsn ||
        pipeline->state != PIPELINE_RUNNING)
        return;
    pipeline->giant_lsn = LSN_NONE;
    err_set(&why, ERR_TRANSIENT, "giant_row", "a row of more than %u MB was read; reconnecting gives its memory back",
            GIANT_MESSAGE_BYTES >> 20);
    log_line(LOG_INFO, &pipeline->scope, "giant_row", "%s", why.text);
    pipeline_restart(pipeline, &why);
}

void stream_end(struct pipeline *pipeline)
{
    if (pipeline->stream == NULL)
        return;
    pg_stream_free(pipeline->stream);
    pipeline->stream = NULL;
    pipeline->giant_lsn = LSN_NONE;
    pipeline->transaction.is_open = false;
}
