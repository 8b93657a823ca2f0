// Tables that come and go while the pipeline runs: added to the publication or taken out of it, copied anew because somebody
// asked or their history was lost, tried again after a failure of their own. The stream is not restarted for any of it.
//
// A connection of our own looks at the publication now and then. A table that is to be followed is in state NEW without a
// sink table, and goes this way:
//
//   due ── definition read ──► attached ── prepared ──► channel open ── in the catalog ──► joined: takes rows, is copied
//
// Why nothing is missing: the snapshot of its copy is taken after it joined, so a commit that the snapshot does not hold is
// read from the stream after that. What the stream brings of earlier commits is below the snapshot's LSN, and the merge
// leaves it out, whether it was appended or not.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/finding.h"
#include "pipeline/judge.h"
#include "pipeline/pipeline_private.h"

#define LOOK_CONNECT_TIMEOUT_MS 15000
#define LOOK_QUERY_TIMEOUT_MS 60000
#define NAME_AWAITED "name_awaited"
#define SOON_US 1000
#define MISFITS_MAX 2           // under one definition
#define LOOK_BARRED_US 1000000  // the stream waits for what a look tells

static void on_look_due(struct loop_timer *timer);

static struct log_scope scope_of(const struct pipeline_table *table)
{
    return (struct log_scope){table->pipeline->options.name, table->table->table_name};
}

static bool wants_to_join(const struct pipeline_table *table)
{
    return table->record.state == CATALOG_TABLE_NEW && table->sink_table == NULL;
}

// --- leaving the sink ---------------------------------------------------------------------------------------------

void join_stop(struct pipeline_table *table)
{
    meter_table_leaves(table);
    if (table->sink_table != NULL)
        table->pipeline->sink->operations->table_stop(table->sink_table);
    table->sink_table = NULL;
    table->is_prepared = table->is_preparing = table->is_stream_open = table->is_stream_opening = false;
    table->is_joined = false;
}

void join_detach(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    evolve_forget(table);
    bool was_awaited = (pipeline->state == PIPELINE_CHANNELS && table->is_stream_opening) ||
                       (pipeline->state == PIPELINE_PREPARING && table->is_preparing);
    join_stop(table);
    copy_table_gone(table);
    if (was_awaited)
        pipeline_answer_missed(pipeline);
}

static void become_new(struct pipeline_table *table)
{
    join_detach(table);
    table->record.state = CATALOG_TABLE_NEW;
    table->record.is_in_merge = false;
    table->record.reason[0] = table->record.reason_code[0] = '\0';
    table->is_marked = false;
    table->awaited_oid = 0;
    progress_channels_forget(table);
    table->is_record_dirty = true;
}

// --- troubles of one table ------------------------------------------------------------------------------------------

// Worth trying again by itself: the network, or what somebody may mend meanwhile (a grant, a name in the way). A value or a
// definition that cannot be handled stays what it is.
static bool is_worth_a_retry(const struct err *error)
{
    return error->kind == ERR_TRANSIENT || error->kind == ERR_CONFIG;
}

void join_trouble(struct pipeline_table *table, const struct err *error)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = scope_of(table);
    // An outage is nobody's fault: it is waited for without end. Only what is the table's own counts.
    bool counts = error->kind != ERR_TRANSIENT;
    if (!is_worth_a_retry(error) || (counts && table->try_count >= pipeline->options.table_retry_max)) {
        pipeline_park(table, error);
        return;
    }
    if (!err_is_set(&table->trouble))
        table->trouble_since_us = loop_wall_us(pipeline->loop);
    table->trouble = *error;
    meter_error(pipeline, error);
    table->try_count += counts;
    table->retry_us = loop_now_us(pipeline->loop) + (uint64_t)pipeline->options.table_retry_delay_ms * 1000;
    log_line(LOG_WARNING, &scope, "table_retry", "%s.%s is tried again in %u ms (failure %u, parked after %u): %s",
             table->table->schema_name, table->table->table_name, pipeline->options.table_retry_delay_ms,
             table->try_count, pipeline->options.table_retry_max + 1, error->text);
    become_new(table);
    progress_save_soon(pipeline);
    progress_update(pipeline);
    join_look_soon(pipeline);
}

void join_recovered(struct pipeline_table *table)
{
    table->try_count = 0;
    table->retry_us = 0;
    err_clear(&table->trouble);
}

void pipeline_park(struct pipeline_table *table, const struct err *error)
{
    struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = scope_of(table);
    if (table->record.state == CATALOG_TABLE_PARKED)
        return;
    log_line(LOG_ERROR, &scope, "parked", "%s.%s is parked, the other tables run on: %s", table->table->schema_name,
             table->table->table_name, error->text);
    meter_error(pipeline, error);
    table->record.state = CATALOG_TABLE_PARKED;
    (void)snprintf(table->record.reason, sizeof table->record.reason, "%s", error->text);
    (void)snprintf(table->record.reason_code, sizeof table->record.reason_code, "%s", error->code);
    table->record.is_in_merge = false;
    table->is_record_dirty = true;
    join_recovered(table);
    join_detach(table);
    progress_save_soon(pipeline);
    progress_update(pipeline);
}

// Attributes of a composite come and go without a word in the stream: its rows have the new form at once, those of before that are
// still to be read have the old one, and the next look may come later than either. So a value that does not fit makes the table be copied
// with what the catalog tells now. That may still be the definition of before once, while the change waits for a synchronous
// standby; from then on another copy would not help.
void join_refused(struct pipeline_table *table, const struct err *error)
{
    struct err why = {0};
    if (strcmp(error->code, "malformed_value") != 0 || !definition_has_composite(table->table) ||
        table->misfit_count == MISFITS_MAX) {
        pipeline_park(table, error);
        return;
    }
    table->misfit_count++;
    err_set(&why, ERR_LOST, "schema_changed", "a type that it uses seems to have changed: %s", error->text);
    pipeline_resync_table(table, &why);
}

// --- copying anew ----------------------------------------------------------------------------------------------------

void pipeline_resync_table(struct pipeline_table *table, const struct err *why)
{
    struct log_scope scope = scope_of(table);
    log_line(LOG_WARNING, &scope, "resync", "%s.%s is copied anew: %s", table->table->schema_name,
             table->table->table_name, why->text);
    join_recovered(table);
    become_new(table);
    progress_save_soon(table->pipeline);
    progress_update(table->pipeline);
    join_look_soon(table->pipeline);
}

static bool is_named(const struct pipeline_table *table, const char *const *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *dot = strchr(names[i], '.');
        size_t schema_size = dot != NULL ? (size_t)(dot - names[i]) : 0;
        if (strcmp(names[i], table->table->table_name) == 0 ||
            (dot != NULL && strcmp(dot + 1, table->table->table_name) == 0 &&
             strlen(table->table->schema_name) == schema_size &&
             memcmp(names[i], table->table->schema_name, schema_size) == 0))
            return true;
    }
    return count == 0;
}

static void resync_apply(struct pipeline *pipeline, struct pipeline_resync_request *request)
{
    struct err why = {0};
    err_set(&why, ERR_CONFIG, "resync", "asked for");
    request->is_applied = true;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->record.state == CATALOG_TABLE_UNPUBLISHED ||
            !is_named(table, (const char *const *)request->names, request->name_count))
            continue;
        request->table_count++;
        table->misfit_count = 0;
        pipeline_resync_table(table, &why);
    }
    pipeline->is_resync_dirty = true;
    progress_save_soon(pipeline);
}

static void resync_remove_first(struct pipeline *pipeline)
{
    struct pipeline_resync_request *request = pipeline->resyncs;
    pipeline->resyncs = request->next;
    for (uint32_t i = 0; i < request->name_count; i++)
        free(request->names[i]);
    free(request->names);
    free(request);
}

void pipeline_resync(struct pipeline *pipeline, char **take_names, uint32_t name_count)
{
    struct pipeline_resync_request **link = &pipeline->resyncs;
    struct pipeline_resync_request *request = calloc(1, sizeof *request);
    CHECK(request != NULL);
    request->names = take_names;
    request->name_count = name_count;
    while (*link != NULL)
        link = &(*link)->next;
    *link = request;
    if (pipeline->state == PIPELINE_RUNNING)
        resync_apply(pipeline, request);  // else when it runs: its tables may not be known yet
}

void join_resyncs_saved(struct pipeline *pipeline)
{
    while (pipeline->resyncs != NULL && pipeline->resyncs->is_applied) {
        uint32_t table_count = pipeline->resyncs->table_count;
        resync_remove_first(pipeline);
        if (pipeline->events.on_resync_taken != NULL)
            pipeline->events.on_resync_taken(pipeline->events.context, table_count);
    }
}

// --- a table on its way in -----------------------------------------------------------------------------------------

static void open_stream(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    struct sink_stream_record kept;
    progress_stream_kept(table, &kept);
    table->is_stream_opening = true;
    pipeline->sink->operations->stream_open(table->sink_table, pipeline->record.epoch, pipeline->saved_lsn, &kept);
}

static void attach(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    if (!start_attach(table))
        return;
    table->is_preparing = true;
    pipeline->sink->operations->table_prepare(table->sink_table, SINK_PREPARE_MAKE);
}

void join_prepared(struct pipeline_table *table, const struct err *error)
{
    if (table->pipeline->state != PIPELINE_RUNNING)
        return;  // it ends
    if (evolve_prepared(table, error))
        return;
    if (error != NULL) {
        join_trouble(table, error);
        return;
    }
    table->is_prepared = true;
    definition_keep(table);
    open_stream(table);
}

void join_stream_opened(struct pipeline_table *table)
{
    // As at a start: a channel is in the catalog before its first row.
    table->is_record_dirty = true;
    table->pipeline->is_channels_dirty = true;
    progress_save_soon(table->pipeline);
}

bool join_wants_text(const struct pipeline_table *table)
{
    const bool *column_as_text = NULL;
    return table->sink_table != NULL &&
           table->pipeline->sink->operations->table_wants_text(table->sink_table, &column_as_text);
}

// A stream is in one format, and this one began without the table.
static void read_as_text(struct pipeline_table *table)
{
    struct err why = {0};
    err_set(&why, ERR_TRANSIENT, "text_wanted", "%s.%s has a column of a type that is read as text only",
            table->table->schema_name, table->table->table_name);
    pipeline_rewind(table->pipeline, &why);
}

void join_channels_saved(struct pipeline *pipeline)
{
    bool has_joined = false;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->sink_table == NULL || !table->is_stream_open || table->is_joined)
            continue;
        if (!pipeline->is_text && join_wants_text(table)) {
            read_as_text(table);
            return;
        }
        table->is_joined = has_joined = true;
        stream_relation_recall(table);
        evolve_joined(table);
    }
    if (has_joined)
        copy_retry_if_needed(pipeline);
}

// --- the look --------------------------------------------------------------------------------------------------------

static void look_close(struct pipeline *pipeline)
{
    if (pipeline->look_conn != NULL)
        pg_conn_free(pipeline->look_conn);
    pipeline->look_conn = NULL;
    pipeline->is_looking = false;
}

static void look_later(struct pipeline *pipeline)
{
    uint64_t now_us = loop_now_us(pipeline->loop), next_us = (uint64_t)pipeline->options.look_interval_ms * 1000;
    pipeline->is_looking = false;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_table *table = pipeline->tables[i];
        if (wants_to_join(table) && table->retry_us > now_us && table->retry_us - now_us < next_us)
            next_us = table->retry_us - now_us;
    }
    if (pipeline->is_stream_barred && next_us > LOOK_BARRED_US)
        next_us = LOOK_BARRED_US;
    loop_timer_set(pipeline->loop, &pipeline->look_timer, next_us);
}

void join_look_soon(struct pipeline *pipeline)
{
    if (pipeline->state != PIPELINE_RUNNING || pipeline->is_end_wanted || pipeline->is_restart_wanted)
        return;
    if (pipeline->is_looking)
        pipeline->is_look_wanted = true;
    else
        loop_timer_set(pipeline->loop, &pipeline->look_timer, SOON_US);
}

// What a table waited for may be in the catalog now. While that is away nobody asks the source again and again.
void join_saved(struct pipeline *pipeline)
{
    if (pipeline->is_look_after_save)
        join_look_soon(pipeline);
    pipeline->is_look_after_save = false;
}

static void look_failed(struct pipeline *pipeline, const struct err *error)
{
    log_line(LOG_WARNING, &pipeline->scope, "look_failed", "the publication could not be looked at: %s", error->text);
    pipeline->is_look_broken = true;  // its connection ends outside of its own callbacks
    look_later(pipeline);
}

static void on_look_broken(void *context, const struct err *error)
{
    look_failed(context, error);
}

static bool look_query(struct pipeline *pipeline, const char *sql, pg_on_result on_result)
{
    struct err error = {0};
    const char *parameters[] = {pipeline->options.publication};
    if (pg_conn_query(pipeline->look_conn, sql, 1, parameters, LOOK_QUERY_TIMEOUT_MS, on_result, pipeline, &error))
        return true;
    look_failed(pipeline, &error);
    return false;
}

static void look_done(struct pipeline *pipeline)
{
    look_later(pipeline);
    if (pipeline->is_look_wanted)
        loop_timer_set(pipeline->loop, &pipeline->look_timer, SOON_US);
    pipeline->is_look_wanted = false;
}

// Until the catalog knows that it begins anew nothing is made for it: after a crash, new and empty tables would be taken for
// those that it was copied into.
static bool may_be_redefined(const struct pipeline_table *table)
{
    const struct pipeline *pipeline = table->pipeline;
    return wants_to_join(table) && table->is_marked && table->retry_us <= loop_now_us(pipeline->loop) &&
           !table->is_record_dirty && pipeline->save_inflight == NULL;
}

// What a look found of tables that we know: a definition is taken when its table is copied anew, or is parked and called otherwise.
struct redefinition {
    struct pipeline *pipeline;
    struct table **definitions;
    bool *is_taken;
    uint32_t count;
};

static bool is_parked_elsewhere(const struct pipeline_table *table, const struct table *definition)
{
    return table->record.state == CATALOG_TABLE_PARKED &&
           (strcmp(table->record.schema_name, definition->schema_name) != 0 ||
            strcmp(table->record.table_name, definition->table_name) != 0);
}

// Another name is in its definition: two tables cannot share one at the source.
static bool gives_its_name(const struct redefinition *all, const struct pipeline_table *holder)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (all->is_taken[i] && all->definitions[i]->oid == holder->table->oid)
            return true;
    return false;
}

static void await_name(struct pipeline_table *table, const struct pipeline_table *holder,
                       const struct table *definition)
{
    struct log_scope scope = scope_of(table);
    bool is_told = table->awaited_oid == holder->table->oid && strcmp(table->trouble.code, NAME_AWAITED) == 0;
    if (!wants_to_join(table))
        return;
    table->awaited_oid = holder->table->oid;
    // One that is copied anew gives its name with the next look.
    if (is_told || wants_to_join(holder))
        return;
    if (!err_is_set(&table->trouble))
        table->trouble_since_us = loop_wall_us(table->pipeline->loop);
    err_set(&table->trouble, ERR_TRANSIENT, NAME_AWAITED,
            "%s.%s is %s.%s now and is copied when the table that was called so before has left (it is %s)",
            table->table->schema_name, table->table->table_name, definition->schema_name, definition->table_name,
            catalog_table_state_name(holder->record.state));
    log_line(LOG_WARNING, &scope, table->trouble.code, "%s", table->trouble.text);
}

static void name_came(struct pipeline_table *table)
{
    if (table->awaited_oid != 0 && strcmp(table->trouble.code, NAME_AWAITED) == 0)
        err_clear(&table->trouble);
    table->awaited_oid = 0;
}

// Whether the definition may be taken as far as its name goes.
static bool is_name_free(const struct redefinition *all, struct pipeline_table *table, const struct table *definition)
{
    struct pipeline_table *holder = definition_holder(all->pipeline, definition);
    if (holder == NULL || gives_its_name(all, holder))
        return true;
    bool has_left = holder->record.state == CATALOG_TABLE_UNPUBLISHED;
    // Its own record, and that its channels are gone, are in the catalog first.
    if (has_left && !holder->is_record_dirty && start_may_forget(holder))
        return true;
    all->pipeline->is_look_wanted |= has_left && holder->is_record_dirty;
    await_name(table, holder, definition);
    return false;
}

// The names that are asked for depend on each other: until no table more has to wait.
static void names_settle(const struct redefinition *all)
{
    bool has_changed = true;
    while (has_changed) {
        has_changed = false;
        for (uint32_t i = 0; i < all->count; i++) {
            struct pipeline_table *table =
                all->is_taken[i] ? pipeline_find_table(all->pipeline, all->definitions[i]->oid) : NULL;
            if (table == NULL || is_name_free(all, table, all->definitions[i]))
                continue;
            all->is_taken[i] = false;
            has_changed = true;
        }
    }
}

static void take_name(const struct redefinition *all, const struct table *definition)
{
    struct pipeline_table *holder = definition_holder(all->pipeline, definition);
    if (holder != NULL && holder->record.state == CATALOG_TABLE_UNPUBLISHED)
        start_forget(holder);
    struct pipeline_table *table = pipeline_find_table(all->pipeline, definition->oid);
    name_came(table);
    definition_rename(table, definition);
}

// Those that are to be copied anew get the definition that they have now. All of them before any goes on: tables may have taken
// each other's names. A parked one gives up the name that it has no more, and stays parked.
static void redefine(struct pipeline *pipeline, struct table **definitions, uint32_t count)
{
    uint64_t now_us = loop_now_us(pipeline->loop);
    struct redefinition all = {.pipeline = pipeline, .definitions = definitions, .count = count};
    all.is_taken = calloc((size_t)count + 1, sizeof *all.is_taken);
    CHECK(all.is_taken != NULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct pipeline_table *table = pipeline_find_table(pipeline, definitions[i]->oid);
        bool is_wanted = table != NULL && wants_to_join(table) && table->retry_us <= now_us;
        bool is_due = is_wanted && may_be_redefined(table);
        pipeline->is_look_after_save |= is_wanted && !is_due;
        all.is_taken[i] = is_due || (table != NULL && is_parked_elsewhere(table, definitions[i]));
    }
    names_settle(&all);
    for (uint32_t i = 0; i < count; i++)
        if (all.is_taken[i])
            take_name(&all, definitions[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (!all.is_taken[i])
            continue;
        struct pipeline_table *table = pipeline_find_table(pipeline, definitions[i]->oid);
        start_redefine(table, definitions[i]);
        definitions[i] = NULL;
        if (table->record.state != CATALOG_TABLE_PARKED)
            attach(table);
    }
    free(all.is_taken);
}

static void add(struct pipeline *pipeline, struct table *take_definition)
{
    struct log_scope scope = {pipeline->options.name, take_definition->table_name};
    log_line(LOG_INFO, &scope, "table_added", "%s.%s is new in publication \"%s\" and is copied",
             take_definition->schema_name, take_definition->table_name, pipeline->options.publication);
    attach(start_table_add(pipeline, take_definition));
}

// Those whose change is followed in place.
static void describe(struct pipeline *pipeline, struct table **definitions, uint32_t *in_out_count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *in_out_count; i++) {
        struct pipeline_table *table = pipeline_find_table(pipeline, definitions[i]->oid);
        if (table != NULL && evolve_wants_definition(table))
            evolve_describe(table, definitions[i]);
        else
            definitions[kept++] = definitions[i];
    }
    *in_out_count = kept;
}

static void on_look_tables(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct table **tables = NULL;
    uint32_t count = 0;
    struct err problem = {0};
    if (error != NULL || !pg_catalog_read_tables_as_they_are(result, &tables, &count, &problem)) {
        look_failed(pipeline, error != NULL ? error : &problem);
        return;
    }
    start_choose(pipeline, tables, &count);
    if (pipeline->state == PIPELINE_RUNNING) {
        describe(pipeline, tables, &count);
        redefine(pipeline, tables, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        // One that has left under another oid goes first; this one follows at the next look.
        if (tables[i] != NULL && pipeline->state == PIPELINE_RUNNING &&
            pipeline_find_table(pipeline, tables[i]->oid) == NULL && !start_name_is_leaving(pipeline, tables[i]))
            add(pipeline, tables[i]);
        else
            table_free(tables[i]);
    }
    free(tables);
    look_done(pipeline);
}

// The first merge of an epoch waits for all tables, and one of them for this one's name: it leaves as one does that is not copied yet.
static bool is_in_the_way(const struct pipeline_table *table)
{
    const struct pipeline *pipeline = table->pipeline;
    if (table->record.state != CATALOG_TABLE_COPIED || pipeline->record.state_epoch == pipeline->record.epoch)
        return false;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->awaited_oid == table->table->oid)
            return true;
    return false;
}

// Taken out of the publication: what was committed before is merged, then it is not followed any more.
static bool has_left(const struct pipeline_table *table)
{
    const struct pipeline *pipeline = table->pipeline;
    if (table->sink_table == NULL || table->record.state == CATALOG_TABLE_NEW ||
        table->record.state == CATALOG_TABLE_COPYING || is_in_the_way(table))
        return true;
    if (pipeline->committed_lsn < table->left_lsn || pipeline->is_merging || pipeline->is_merge_resolving)
        return false;
    return !pipeline->sink->operations->has_merge ||
           (table->record.state == CATALOG_TABLE_LIVE &&
            pipeline->sink->operations->committed_row_lsn(table->sink_table) < pipeline->merged_lsn);
}

static bool is_to_be_merged(const struct pipeline_table *table)
{
    return table->pipeline->sink->operations->has_merge &&
           (table->record.state == CATALOG_TABLE_LIVE || table->record.state == CATALOG_TABLE_COPIED);
}

static void leave(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    if (table->record.state == CATALOG_TABLE_UNPUBLISHED)
        return;
    bool is_merged = table->sink_table != NULL && table->record.state == CATALOG_TABLE_LIVE;
    become_new(table);
    join_recovered(table);
    meter_table_forget(pipeline, table->table->schema_name, table->table->table_name);
    left_tell(table, table->is_last_merge_owed && !is_merged);
    table->left_lsn = LSN_NONE;
    table->is_last_merge_owed = false;
    progress_save_soon(pipeline);
    progress_update(pipeline);
}

static void compare(struct pipeline_table *table, const struct pg_publication_look *look)
{
    const struct pg_published_table *published = start_is_excluded(table->pipeline, table->table->oid)
                                                     ? NULL
                                                     : pg_publication_look_find(look, table->table->oid);
    struct err why = {0};
    if (published == NULL) {
        if (table->left_lsn == LSN_NONE) {
            table->left_lsn = look->lsn;
            table->is_last_merge_owed = is_to_be_merged(table);
        }
        evolve_give_up(table, "it left the publication");
        if (has_left(table))
            leave(table);
        return;
    }
    bool is_back = table->record.state == CATALOG_TABLE_UNPUBLISHED || table->left_lsn != LSN_NONE;
    table->left_lsn = LSN_NONE;
    table->is_last_merge_owed = false;
    if (is_back) {
        err_set(&why, ERR_LOST, "published_again",
                "its place in publication \"%s\" is another one: changes may be missing in between",
                table->pipeline->options.publication);
        pipeline_resync_table(table, &why);
    } else if (!wants_to_join(table) && table->record.state != CATALOG_TABLE_PARKED) {
        if (evolve_sees(table, published->marks, look->lsn))
            return;
        if (!wants_to_join(table) && definition_has_changed(table, published->marks, &why))
            pipeline_resync_table(table, &why);
    }
    definition_mark(table, published->marks);
    table->is_marked |= wants_to_join(table);  // what it is copied with is read after this
}

static bool is_description_wanted(const struct pipeline *pipeline, const struct pg_publication_look *look)
{
    uint64_t now_us = loop_now_us(pipeline->loop);
    for (uint32_t i = 0; i < look->table_count; i++) {
        const struct pipeline_table *table =
            pipeline_find_table((struct pipeline *)(uintptr_t)pipeline, look->tables[i].oid);
        if ((table == NULL && !start_is_still_excluded(pipeline, &look->tables[i])) ||
            (table != NULL && wants_to_join(table) && table->retry_us <= now_us) ||
            (table != NULL && evolve_wants_definition(table)))
            return true;
    }
    return false;
}

static void publication_judge(struct pipeline *pipeline, const struct pg_publication_look *look)
{
    struct err finding = {0};
    if (!look->publication_exists)
        err_set(&finding, ERR_CONFIG, "publication_missing",
                "publication \"%s\" does not exist on %s any more; make it again with: CREATE PUBLICATION \"%s\" FOR "
                "TABLE …",
                pipeline->options.publication, pipeline->options.source_text, pipeline->options.publication);
    else if (look->table_count == 0)
        err_set(&finding, ERR_CONFIG, "publication_empty",
                "publication \"%s\" on %s holds no table any more; mend it with: ALTER PUBLICATION \"%s\" ADD TABLE …",
                pipeline->options.publication, pipeline->options.source_text, pipeline->options.publication);
    else if (look->leaves_out[0] != '\0')
        err_set(&finding, ERR_CONFIG, "publication_partial",
                "publication \"%s\" on %s leaves out %s: the targets miss that; its tables are copied anew when it "
                "publishes all" FINDING_MEND
                "ALTER PUBLICATION \"%s\" SET (publish = 'insert, update, delete, truncate')",
                pipeline->options.publication, pipeline->options.source_text, look->leaves_out,
                pipeline->options.publication);
    if (err_is_set(&finding) && strcmp(finding.text, pipeline->publication_error.text) != 0)
        log_line(LOG_ERROR, &pipeline->scope, finding.code, "%s", finding.text);
    pipeline->publication_error = finding;
}

static void on_look(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct pg_publication_look *look = &pipeline->look;
    struct err problem = {0};
    pg_publication_look_deinit(look);
    if (error != NULL || !pg_catalog_read_look(result, look, &problem)) {
        look_failed(pipeline, error != NULL ? error : &problem);
        return;
    }
    if (pipeline->state != PIPELINE_RUNNING)
        return;
    if (look->lsn > pipeline->server_lsn)
        pipeline->server_lsn = look->lsn;
    publication_judge(pipeline, look);
    // Of a publication that is gone nothing can be said: it may be made again.
    for (uint32_t i = 0; look->publication_exists && i < pipeline->table_count; i++)
        compare(pipeline->tables[i], look);
    if (look->publication_exists && is_description_wanted(pipeline, look))
        look_query(pipeline, pg_catalog_tables_sql(), on_look_tables);
    else
        look_done(pipeline);
}

static void on_look_open(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    if (error != NULL)
        look_failed(pipeline, error);
    else
        look_query(pipeline, pg_catalog_look_sql(), on_look);
}

static void on_look_due(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    struct pg_conn_events events = {.on_open = on_look_open, .on_broken = on_look_broken, .context = pipeline};
    struct err error = {0};
    if (pipeline->state != PIPELINE_RUNNING)
        return;
    if (pipeline->is_look_broken)
        look_close(pipeline);
    pipeline->is_look_broken = false;
    pipeline->is_looking = true;
    pipeline->look_count++;
    if (pipeline->look_conn != NULL) {
        look_query(pipeline, pg_catalog_look_sql(), on_look);
        return;
    }
    pipeline->look_conn = pg_conn_new(pipeline->loop, pipeline->resolver);
    CHECK(pipeline->look_conn != NULL);
    if (!pg_conn_open(pipeline->look_conn, pipeline->options.source, false, NULL, NULL, LOOK_CONNECT_TIMEOUT_MS,
                      &events, &error))
        look_failed(pipeline, &error);
}

// --- beginning and end -----------------------------------------------------------------------------------------------

void join_init(struct pipeline *pipeline)
{
    pipeline->look_timer = (struct loop_timer){.on_due = on_look_due, .context = pipeline};
}

void join_begin(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        pipeline->tables[i]->is_joined = pipeline->tables[i]->is_stream_open;
    for (struct pipeline_resync_request *request = pipeline->resyncs; request != NULL; request = request->next)
        if (!request->is_applied)
            resync_apply(pipeline, request);
    join_look_soon(pipeline);
}

void join_deinit(struct pipeline *pipeline)
{
    while (pipeline->resyncs != NULL)
        resync_remove_first(pipeline);
    pg_publication_look_deinit(&pipeline->look);
}

// What was on its way in begins again where the next start looks at it.
void join_end(struct pipeline *pipeline)
{
    loop_timer_stop(pipeline->loop, &pipeline->look_timer);
    look_close(pipeline);
    pipeline->is_look_broken = pipeline->is_look_wanted = pipeline->is_look_after_save = false;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->is_preparing || table->is_stream_opening)
            join_stop(table);
    }
}
