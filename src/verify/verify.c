#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "encode/encoding.h"
#include "io/http_client.h"
#include "io/resolver.h"
#include "model/table_choice.h"
#include "pipeline/marks.h"
#include "sinks/snowflake/sf_auth.h"
#include "supervisor/signals.h"
#include "verify/lease.h"
#include "verify/source.h"
#include "verify/table.h"
#include "verify/target.h"

#define TRY_AGAIN_MS 500
#define COPY_PATIENCE_MS 60000

struct verify {
    const struct verify_options *options;
    const struct verify_events *events;
    struct wait wait;
    struct signals signals;
    struct resolver *resolver;
    struct http_client *http;
    struct sf_auth *auth;
    struct source *source;
    struct target *target;
    struct lease *lease;
    struct pg_source_facts facts;
    struct catalog_known known;
    struct table **tables;  // of the publication; then those to be compared, the others behind them
    uint32_t table_count, chosen_count;
    struct err *reasons;     // per table, why it is not compared; of those that were not asked for none
    uint32_t *changed_oids;  // tables whose definition was found to change
    uint32_t changed_count;
    char position[19];       // where the state table stands
    lsn_t lsn;               // of the snapshot
    uint64_t copy_until_us;  // for so long it is waited for tables that were being copied already
};

static void on_signal(void *context, unsigned count)
{
    struct verify *verify = context;
    (void)count;
    if (!err_is_set(&verify->wait.stopped))
        err_set(&verify->wait.stopped, ERR_TRANSIENT, "interrupted", "interrupted; merging goes on");
}

static void on_waiting(void *context, const char *why)
{
    const struct verify *verify = context;
    verify->events->on_waiting(verify->events->context, why);
}

// ---- which tables

static bool is_named(const struct verify *verify, const char *schema, const char *table)
{
    char full[2 * CATALOG_NAME_SIZE];
    (void)snprintf(full, sizeof full, "%s.%s", schema, table);
    for (size_t i = 0; i < verify->options->name_count; i++)
        if (strcmp(verify->options->names[i], table) == 0 || strcmp(verify->options->names[i], full) == 0)
            return true;
    return verify->options->name_count == 0;
}

static const struct catalog_table *record_of(const struct verify *verify, const struct table *table)
{
    for (uint32_t i = 0; i < verify->known.table_count; i++)
        if (verify->known.tables[i].oid == table->oid)
            return &verify->known.tables[i];
    return NULL;
}

static bool load_known(struct verify *verify, struct err *out_error)
{
    catalog_known_deinit(&verify->known);
    if (!catalog_load(verify->options->catalog, verify->options->pipeline, &verify->known, out_error))
        return false;
    return verify->known.is_found ||
           err_set(out_error, ERR_CONFIG, "unknown", "pipeline %s has not been started yet: nothing is copied",
                   verify->options->pipeline);
}

static void not_compared(const struct verify *verify, const char *schema, const char *name, const struct err *reason,
                         bool has_failed)
{
    struct verify_table told = {.schema_name = schema,
                                .table_name = name,
                                .state = VERIFY_NOT_COMPARED,
                                .reason = *reason,
                                .has_failed = has_failed};
    verify->events->on_table(verify->events->context, &told);
}

// Why a table is not compared by what the catalog says of it; false: it can be.
static bool is_unfit(const struct catalog_table *record, const char *pipeline, struct err *out_reason)
{
    err_clear(out_reason);
    if (record == NULL) {
        err_set(out_reason, ERR_CONFIG, "new", "the pipeline does not follow it yet");
        return true;
    }
    switch (record->state) {
    case CATALOG_TABLE_LIVE: return false;
    case CATALOG_TABLE_NEW: err_set(out_reason, ERR_TRANSIENT, "new", "its copy has not begun yet"); break;
    case CATALOG_TABLE_COPYING: err_set(out_reason, ERR_TRANSIENT, "copying", "it is being copied"); break;
    case CATALOG_TABLE_COPIED:
        err_set(out_reason, ERR_TRANSIENT, "copied", "it is copied and has not been merged yet");
        break;
    case CATALOG_TABLE_PARKED:
        err_set(out_reason, ERR_CONFIG, "parked", "it is parked: %.500s; etl-stream pipeline resync %s %s.%s",
                record->reason, pipeline, record->schema_name, record->table_name);
        break;
    case CATALOG_TABLE_UNPUBLISHED:
        err_set(out_reason, ERR_CONFIG, "unpublished", "it is in the publication no more");
        break;
    }
    return true;
}

// What the source's user may not read would be read without some of its rows, or not at all.
static bool is_hidden(const struct table *table, struct err *out_reason)
{
    if (table->is_unreadable)
        err_set(out_reason, ERR_CONFIG, "privilege",
                "the source's user may not read it; GRANT SELECT ON it, and USAGE on its schema");
    else if (table->has_hidden_rows)
        err_set(out_reason, ERR_CONFIG, "row_security",
                "row level security hides rows from the source's user; give it BYPASSRLS");
    return err_is_set(out_reason);
}

// Sorts the tables into those to be compared, at the front, and the others, of which those that were wanted are told.
static bool choose(struct verify *verify, struct err *out_error)
{
    struct table_choice choice = {0};
    if (!table_choice_parse(verify->options->tables, &choice, out_error))
        return false;
    verify->reasons = calloc((size_t)verify->table_count + 1, sizeof *verify->reasons);
    CHECK(verify->reasons != NULL);
    for (uint32_t i = 0; i < verify->table_count; i++) {
        struct table *table = verify->tables[i];
        struct err reason = {0};
        bool is_wanted = table_choice_includes(&choice, table->schema_name, table->table_name) &&
                         is_named(verify, table->schema_name, table->table_name);
        if (!is_wanted)
            continue;
        const struct catalog_table *record = record_of(verify, table);
        // One that is copied may be live when the merge has reached the position.
        bool is_chosen = !is_hidden(table, &reason) && ((record != NULL && record->state == CATALOG_TABLE_COPIED) ||
                                                        !is_unfit(record, verify->options->pipeline, &reason));
        if (!is_chosen) {
            verify->reasons[i] = reason;
            continue;
        }
        verify->tables[i] = verify->tables[verify->chosen_count];
        verify->reasons[i] = verify->reasons[verify->chosen_count];
        err_clear(&verify->reasons[verify->chosen_count]);
        verify->tables[verify->chosen_count++] = table;
    }
    table_choice_deinit(&choice);
    return true;
}

static void tell_unfit(const struct verify *verify)
{
    for (uint32_t i = verify->chosen_count; i < verify->table_count; i++) {
        const struct table *table = verify->tables[i];
        struct err ignored = {0};
        if (err_is_set(&verify->reasons[i]))
            not_compared(verify, table->schema_name, table->table_name, &verify->reasons[i],
                         is_hidden(table, &ignored));
    }
}

// Tables that the pipeline knows and the publication has no more.
static void tell_left(const struct verify *verify)
{
    for (uint32_t i = 0; i < verify->known.table_count; i++) {
        const struct catalog_table *record = &verify->known.tables[i];
        struct err reason = {0};
        bool is_there = !is_named(verify, record->schema_name, record->table_name);
        for (uint32_t k = 0; k < verify->table_count && !is_there; k++)
            is_there = verify->tables[k]->oid == record->oid ||
                       (strcmp(verify->tables[k]->schema_name, record->schema_name) == 0 &&
                        strcmp(verify->tables[k]->table_name, record->table_name) == 0);
        if (is_there)
            continue;
        err_set(&reason, ERR_CONFIG, "unpublished", "it is in the publication no more");
        not_compared(verify, record->schema_name, record->table_name, &reason, false);
    }
}

// ---- the position

// 2 hex digits of epoch, 16 of LSN.
static lsn_t position_lsn(const char *position)
{
    return strlen(position) == 18 ? strtoull(position + 2, NULL, 16) : LSN_NONE;
}

static bool position_check(struct verify *verify, const char *when, struct err *out_error)
{
    char found[19] = "";
    if (!target_position(verify->target, verify->options->pipeline, found, out_error))
        return false;
    return strcmp(found, verify->position) == 0 ||
           err_set(out_error, ERR_LOST, "void",
                   "the comparison is void, as the targets did not stand still: %s the state table stood at %s instead "
                   "of %s; give the command again",
                   when, found, verify->position);
}

static bool try_position(struct verify *verify, struct err *out_error)
{
    const struct verify_options *options = verify->options;
    char standing[19];
    lsn_t lsn = LSN_NONE;
    verify->events->on_waiting(verify->events->context, "asking the running pipeline to hold its merge");
    if (!lease_ask(verify->lease, LSN_NONE, out_error) || !lease_await(verify->lease, standing, out_error))
        return false;
    verify->events->on_waiting(verify->events->context, "making a snapshot of the source");
    if (!source_look(verify->source, options->publication, &verify->facts, &verify->tables, &verify->table_count,
                     out_error) ||
        !load_known(verify, out_error) || !choose(verify, out_error))
        return false;
    if (verify->chosen_count == 0)
        return true;
    if (!source_snapshot(verify->source, options->publication, verify->tables, verify->chosen_count, &lsn, out_error) ||
        !lease_ask(verify->lease, lsn, out_error) || !source_enter(verify->source, out_error))
        return false;
    verify->events->on_waiting(verify->events->context, "waiting until the targets hold what the snapshot holds");
    if (!lease_await(verify->lease, verify->position, out_error))
        return false;
    if (position_lsn(verify->position) == LSN_NONE || position_lsn(verify->position) > lsn)
        return err_set(out_error, ERR_LOST, "void",
                       "the comparison is void: the targets stand at %s, beyond the snapshot's " LSN_FORMAT
                       "; give the command again",
                       verify->position, LSN_ARGUMENTS(lsn));
    verify->lsn = lsn;
    return load_known(verify, out_error);
}

// ---- definitions that change meanwhile

static bool has_changed_before(const struct verify *verify, uint32_t oid)
{
    for (uint32_t i = 0; i < verify->changed_count; i++)
        if (verify->changed_oids[i] == oid)
            return true;
    return false;
}

static void note_change(struct verify *verify, uint32_t oid)
{
    if (has_changed_before(verify, oid))
        return;
    verify->changed_oids = reallocarray(verify->changed_oids, verify->changed_count + 1, sizeof *verify->changed_oids);
    CHECK(verify->changed_oids != NULL);
    verify->changed_oids[verify->changed_count++] = oid;
}

static bool is_made_anew(const struct verify *verify, const struct table *table)
{
    for (uint32_t i = 0; i < verify->known.table_count; i++)
        if (strcmp(verify->known.tables[i].schema_name, table->schema_name) == 0 &&
            strcmp(verify->known.tables[i].table_name, table->table_name) == 0)
            return true;
    return false;
}

// It changed since it was looked at, or the pipeline has not noticed what the snapshot shows of it, or copies it anew since this
// comparison was asked for. One that was on its way to its first merge then may be so for a change just before, and may take hours.
static bool is_changing(const struct verify *verify, uint32_t index, const struct pg_publication_look *look,
                        struct err *out_why)
{
    const struct table *table = verify->tables[index];
    const struct catalog_table *record = record_of(verify, table);
    const struct pg_published_table *published = pg_publication_look_find(look, table->oid);
    const struct err *failed = index < verify->chosen_count ? source_table_error(verify->source, index) : NULL;
    const char *why = "";
    if (failed != NULL) {
        *out_why = *failed;
        return strcmp(failed->code, "schema_changed") == 0 || strcmp(failed->code, "again") == 0;
    }
    if (record == NULL)
        return is_made_anew(verify, table) && is_unfit(record, verify->options->pipeline, out_why);
    if (record->state == CATALOG_TABLE_PARKED || record->state == CATALOG_TABLE_UNPUBLISHED)
        return false;
    if (record->state != CATALOG_TABLE_LIVE)
        return (index < verify->chosen_count || has_changed_before(verify, table->oid) ||
                loop_fresh_us(verify->wait.loop) < verify->copy_until_us) &&
               is_unfit(record, verify->options->pipeline, out_why);
    if (index >= verify->chosen_count)  // it became live after it was passed over
        return !is_hidden(table, out_why) && !err_set(out_why, ERR_TRANSIENT, "copied", "it has been copied meanwhile");
    if (published == NULL || record->marks == NULL ||
        marks_compare(record->marks, published->marks, &why) == MARKS_SAME)
        return false;
    return !err_set(out_why, ERR_TRANSIENT, "schema_changed",
                    "its definition changed, and the running pipeline has not noticed yet: %s", why);
}

// Gives what it waits for a line in *out_why. False: every table stands still.
static bool are_any_changing(struct verify *verify, const struct pg_publication_look *look, struct err *out_why)
{
    bool are_any = false;
    for (uint32_t i = 0; i < verify->table_count; i++) {
        struct err why = {0};
        bool is_wanted = i < verify->chosen_count || err_is_set(&verify->reasons[i]);
        if (!is_wanted || !is_changing(verify, i, look, &why))
            continue;
        note_change(verify, verify->tables[i]->oid);
        verify->reasons[i] = why;
        err_set(out_why, ERR_TRANSIENT, "schema_changed", "%s.%s: %.500s", verify->tables[i]->schema_name,
                verify->tables[i]->table_name, why.text);
        are_any = true;
    }
    return are_any;
}

static void forget_try(struct verify *verify)
{
    for (uint32_t i = 0; i < verify->table_count; i++)
        table_free(verify->tables[i]);
    free(verify->tables);
    free(verify->reasons);
    verify->tables = NULL;
    verify->reasons = NULL;
    verify->table_count = verify->chosen_count = 0;
}

static void on_pause_over(struct loop_timer *timer)
{
    *(bool *)timer->context = true;
}

static bool begin_again(struct verify *verify, const struct err *why, struct err *out_error)
{
    char line[ERR_TEXT_SIZE];
    bool is_over = false;
    struct loop_timer timer = {.on_due = on_pause_over, .context = &is_over};
    (void)snprintf(line, sizeof line, "waiting until a changed definition is followed: %.600s", why->text);
    verify->events->on_waiting(verify->events->context, line);
    if (lease_is_definition_followed(verify->lease))
        err_clear(&verify->wait.stopped);
    lease_release(verify->lease);
    source_free(verify->source);  // its snapshot and its locks as well: whoever changes the definition waits for them
    verify->source = NULL;
    forget_try(verify);
    loop_timer_set(verify->wait.loop, &timer, TRY_AGAIN_MS * 1000);
    bool may_go_on = wait_until(&verify->wait, &is_over, out_error);
    loop_timer_stop(verify->wait.loop, &timer);
    verify->source = source_new(&verify->wait, verify->resolver, verify->options->source, on_waiting, verify);
    return may_go_on;
}

// A position at which no definition is on its way, for as long as there is patience; then those that are say so.
static bool reach_position(struct verify *verify, struct err *out_error)
{
    uint64_t now_us = loop_fresh_us(verify->wait.loop);
    uint64_t until_us = now_us + (uint64_t)verify->options->patience_ms * 1000;
    verify->copy_until_us = now_us + COPY_PATIENCE_MS * 1000;
    for (;;) {
        struct pg_publication_look look = {.lsn = LSN_NONE};
        struct err why = {0};
        bool is_reached = try_position(verify, out_error);
        if (!is_reached && !lease_is_definition_followed(verify->lease))
            return false;
        if (!is_reached)
            why = *out_error;
        else if (!source_marks(verify->source, verify->options->publication, &look, out_error))
            return false;
        bool must_wait = !is_reached || are_any_changing(verify, &look, &why);
        pg_publication_look_deinit(&look);
        if (!must_wait || loop_fresh_us(verify->wait.loop) >= until_us)
            return is_reached;
        if (!begin_again(verify, &why, out_error))
            return false;
    }
}

// ---- the tables

static bool compare_table(struct verify *verify, uint32_t index, struct err *out_error)
{
    const struct verify_options *options = verify->options;
    const struct table *table = verify->tables[index];
    const struct err *failed = source_table_error(verify->source, index);
    struct err reason = {0};
    if (failed == NULL && err_is_set(&verify->reasons[index]))
        failed = &verify->reasons[index];  // its definition changes
    if (failed != NULL || is_unfit(record_of(verify, table), options->pipeline, &reason)) {
        not_compared(verify, table->schema_name, table->table_name, failed != NULL ? failed : &reason, failed != NULL);
        return true;
    }
    const struct table_compare_options compare = {.wait = &verify->wait,
                                                  .source = verify->source,
                                                  .target = verify->target,
                                                  .table = table,
                                                  .index = index,
                                                  .encoding = encoding_find(verify->facts.encoding),
                                                  .encoding_name = verify->facts.encoding,
                                                  .snowflake = options->snowflake,
                                                  .naming = &options->naming,
                                                  .pipeline = options->pipeline,
                                                  .is_full = options->is_full,
                                                  .events = verify->events};
    return table_compare(&compare, out_error);
}

static bool compare_tables(struct verify *verify, struct err *out_error)
{
    uint64_t all = 0, before = 0;
    for (uint32_t i = 0; i < verify->chosen_count; i++)
        all += (uint64_t)verify->tables[i]->bytes_estimate;
    for (uint32_t i = 0; i < verify->chosen_count; i++) {
        verify->events->on_table_begin(verify->events->context, verify->tables[i], i + 1, verify->chosen_count, before,
                                       all);
        if (!compare_table(verify, i, out_error))
            return false;
        before += (uint64_t)verify->tables[i]->bytes_estimate;
    }
    return true;
}

static bool compare_all(struct verify *verify, struct err *out_error)
{
    if (!reach_position(verify, out_error))
        return false;
    tell_unfit(verify);
    tell_left(verify);
    if (verify->chosen_count == 0)
        return true;
    verify->events->on_position(verify->events->context, verify->lsn, verify->chosen_count);
    return position_check(verify, "before it began", out_error) && compare_tables(verify, out_error) &&
           position_check(verify, "after it ended", out_error);
}

// ---- life

static bool open_all(struct verify *verify, struct err *out_error)
{
    const struct verify_options *options = verify->options;
    signals_block();
    verify->wait.loop = loop_new(&clock_system, out_error);
    if (verify->wait.loop == NULL)
        return false;
    verify->resolver = resolver_new(verify->wait.loop, out_error);
    verify->http = http_client_new(verify->wait.loop, out_error);
    if (verify->resolver == NULL || verify->http == NULL ||
        !signals_open(&verify->signals, verify->wait.loop, on_signal, verify, out_error))
        return false;
    verify->auth = sf_auth_new(verify->wait.loop, verify->http, options->snowflake, options->take_key);
    CHECK(verify->auth != NULL);
    const struct lease_options lease = {.catalog = options->catalog,
                                        .pipeline = options->pipeline,
                                        .lease_ms = options->lease_ms,
                                        .patience_ms = options->patience_ms,
                                        .may_wake = options->may_wake};
    verify->lease = lease_new(&verify->wait, &lease);
    verify->source = source_new(&verify->wait, verify->resolver, options->source, on_waiting, verify);
    verify->target = target_new(&verify->wait, verify->http, verify->auth, options->snowflake);
    return true;
}

static void close_all(struct verify *verify)
{
    lease_free(verify->lease);
    source_free(verify->source);
    target_free(verify->target);
    if (verify->auth != NULL)
        sf_auth_free(verify->auth);
    if (verify->http != NULL)
        http_client_free(verify->http);
    if (verify->resolver != NULL)
        resolver_free(verify->resolver);
    signals_close(&verify->signals);
    if (verify->wait.loop != NULL)
        loop_free(verify->wait.loop);
    forget_try(verify);
    free(verify->changed_oids);
    catalog_known_deinit(&verify->known);
}

bool verify_run(const struct verify_options *options, const struct verify_events *events, struct err *out_error)
{
    struct verify verify = {.options = options, .events = events};
    bool is_done = open_all(&verify, out_error) && compare_all(&verify, out_error);
    close_all(&verify);
    return is_done;
}
