// What is looked at before anything runs: the source's settings, the publication and its tables, and whether the source's history is
// still the one that our positions belong to.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/pg_conn.h"
#include "pipeline/judge.h"
#include "pipeline/marks.h"
#include "pipeline/pipeline_private.h"

#define CONNECT_TIMEOUT_MS 15000
#define QUERY_TIMEOUT_MS 60000
#define STATEMENT_BYTES_MAX (PIPELINE_LEFT_BYTES_MAX + 65536)

static void tables_ask(struct pipeline *pipeline);
static void history_ask(struct pipeline *pipeline);

void start_failed(struct pipeline *pipeline, const struct err *error)
{
    pipeline->is_reap_check = true;
    loop_defer(pipeline->loop, &pipeline->reap);
    pipeline_fail(pipeline, error);
}

static void on_broken(void *context, const struct err *error)
{
    start_failed(context, error);
}

// With the parameters written in as literals: a replication connection, which the history needs, takes none.
bool start_query(struct pipeline *pipeline, const char *sql, int count, const char *const *parameters,
                 pg_on_result on_result)
{
    struct err error = {0};
    struct buf text;
    buf_init(&text, STATEMENT_BYTES_MAX);
    pg_append_statement(&text, sql, count, parameters);
    bool is_sent =
        pg_conn_query(pipeline->check_conn, buf_text(&text), 0, NULL, QUERY_TIMEOUT_MS, on_result, pipeline, &error);
    buf_deinit(&text);
    if (!is_sent)
        start_failed(pipeline, &error);
    return is_sent;
}

// --- the source's facts ------------------------------------------------------------------------------------------

static void keep_first_error(void *context, const struct finding *finding)
{
    struct err *first = context;
    if (finding->severity == FINDING_ERROR && !err_is_set(first))
        *first = *finding->error;
}

static void facts_judge(const struct pipeline *pipeline, struct err *out_problem)
{
    bool is_same_system = strcmp(pipeline->record.system_identifier, pipeline->facts.system_identifier) == 0;
    struct judge_subject subject = {
        .facts = &pipeline->facts,
        .source_text = pipeline->options.source_text,
        .publication = pipeline->options.publication,
        .slot = pipeline->options.slot,
        .is_slot_made = pipeline->record.is_slot_made && is_same_system,
        // Known to the catalog, or a later try of this process: the intent was saved before.
        .may_own_slot = pipeline->options.known != NULL || pipeline->backoff.tries > 0,
        .floor_lsn = pipeline->saved_lsn};
    judge_source(&subject, keep_first_error, out_problem);
}

static void epoch_begin(struct pipeline *pipeline, const char *why)
{
    struct catalog_pipeline *record = &pipeline->record;
    pipeline->is_history_lost = false;
    pipeline->branch_lsn = LSN_NONE;
    log_line(LOG_WARNING, &pipeline->scope, "new_epoch", "all tables are copied anew: %s", why);
    record->is_slot_made = false;
    record->merge_intent_lsn = LSN_NONE;
    pipeline->is_merge_resolving = false;
    err_clear(&pipeline->merge_state_error);
    pipeline->is_merging = false;  // the answer to one that is under way says nothing any more
    merge_search_end(&pipeline->search);
    pipeline->is_search_wanted = false;
    if (record->epoch == UINT8_MAX) {
        struct err full = {0};
        err_set(&full, ERR_CONFIG, "epochs_used_up",
                "pipeline %s has used up its 255 epochs; give it another name (--name)", pipeline->options.name);
        pipeline_end(pipeline, &full);
        return;
    }
    record->epoch++;
    pipeline->is_first_start = false;
    pipeline->is_record_dirty = true;
    copy_end(pipeline);
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        meter_table_leaves(table);
        if (table->sink_table != NULL)
            pipeline->sink->operations->table_stop(table->sink_table);  // its channels belong to the old epoch
        table->sink_table = NULL;
        table->is_prepared = table->is_stream_open = table->is_joined = false;
        copy_table_gone(table);
        table->record.copy_lsn = LSN_NONE;  // as start_table_add does
        table->record.is_in_merge = false;
        table->is_record_dirty = true;
        if (table->record.state != CATALOG_TABLE_UNPUBLISHED)
            table->record.state = CATALOG_TABLE_NEW;
    }
}

static void slot_drop_done(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    (void)result;
    if (error != NULL) {
        start_failed(pipeline, error);
        return;
    }
    pipeline->facts.slot_exists = false;
    tables_ask(pipeline);
}

// Ours from an interrupted start, or of an epoch that is over: its position means nothing any more.
static void slot_drop(struct pipeline *pipeline)
{
    const char *parameters[] = {pipeline->options.slot};
    log_line(LOG_INFO, &pipeline->scope, "slot_dropped", "dropping slot %s, which no copy belongs to",
             pipeline->options.slot);
    start_query(pipeline, "SELECT pg_drop_replication_slot($1)", 1, parameters, slot_drop_done);
}

static void facts_accepted(struct pipeline *pipeline)
{
    if (!pipeline->record.is_slot_made && pipeline->facts.slot_exists)
        slot_drop(pipeline);
    else
        tables_ask(pipeline);
}

static void facts_compare_history(struct pipeline *pipeline)
{
    struct catalog_pipeline *record = &pipeline->record;
    const struct pg_source_facts *facts = &pipeline->facts;
    pipeline->branch_lsn = LSN_NONE;
    if (pipeline->is_destination_changed) {
        pipeline->is_destination_changed = false;
        epoch_begin(pipeline, "the destination is of another kind than before");
    }
    if (record->is_slot_made && strcmp(record->system_identifier, facts->system_identifier) != 0) {
        epoch_begin(pipeline, "the source is another database cluster (its system identifier differs)");
    } else if (record->is_slot_made && record->timeline != facts->timeline) {
        history_ask(pipeline);
        return;
    }
    (void)snprintf(record->system_identifier, sizeof record->system_identifier, "%s", facts->system_identifier);
    record->timeline = facts->timeline;
    facts_accepted(pipeline);
}

static void on_facts(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct err problem = {0};
    if (error != NULL) {
        start_failed(pipeline, error);
        return;
    }
    if (!pg_catalog_read_facts(result, &pipeline->facts, &problem)) {
        start_failed(pipeline, &problem);
        return;
    }
    facts_judge(pipeline, &problem);
    if (problem.kind == ERR_LOST && pipeline->options.resync_on_slot_lost) {
        epoch_begin(pipeline, problem.text);
    } else if (!err_is_set(&problem) && pipeline->is_history_lost && pipeline->record.is_slot_made) {
        epoch_begin(pipeline, pipeline->last_error.text);
    } else if (err_is_set(&problem)) {
        start_failed(pipeline, &problem);
        return;
    }
    pipeline->encoding = encoding_find(pipeline->facts.encoding);
    facts_compare_history(pipeline);
}

// --- timelines ---------------------------------------------------------------------------------------------------

// A history file has a line per ancestor: its timeline, where it ended, why. Source: PostgreSQL, timeline.c.
static bool history_find_end(const char *history, uint32_t timeline, lsn_t *out_end)
{
    for (const char *line = history; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        unsigned ancestor = 0, high = 0, low = 0;
        if (*line == '\n')
            line++;
        if (sscanf(line, "%u %X/%X", &ancestor, &high, &low) == 3 && ancestor == timeline) {
            *out_end = (lsn_t)high << 32 | low;
            return true;
        }
    }
    return false;
}

static void on_history(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct catalog_pipeline *record = &pipeline->record;
    // The record's is as old as the newest save; in this process more may have been read since.
    lsn_t end = LSN_NONE, read_lsn = record->received_lsn;
    if (pipeline->received_lsn > read_lsn)
        read_lsn = pipeline->received_lsn;
    if (pipeline->committed_lsn > read_lsn)
        read_lsn = pipeline->committed_lsn;
    if (error != NULL) {
        start_failed(pipeline, error);
        return;
    }
    const char *history = PQntuples(result) == 1 && PQnfields(result) == 2 ? PQgetvalue(result, 0, 1) : "";
    if (!history_find_end(history, record->timeline, &end) || end < read_lsn) {
        char why[256];
        (void)snprintf(why, sizeof why,
                       "the source's timeline %" PRIu32 " left ours (%" PRIu32 ") at " LSN_FORMAT
                       ", below what was read from it (" LSN_FORMAT ")",
                       pipeline->facts.timeline, record->timeline, LSN_ARGUMENTS(end), LSN_ARGUMENTS(read_lsn));
        epoch_begin(pipeline, why);
        record->timeline = pipeline->facts.timeline;
    } else {
        pipeline->branch_lsn = end;  // our timeline stays the old one until start_branch_fits
    }
    pipeline->is_record_dirty = true;
    facts_accepted(pipeline);
}

// What the catalog knows to have been read may be older than what is at the destination: rows are there within a millisecond, and the
// position is saved later. A commit at or above the branch point is not on the new timeline.
static bool is_beyond_branch(const struct pipeline_table *table, lsn_t branch_lsn)
{
    const struct sink_operations *operations = table->pipeline->sink->operations;
    bool is_copied = table->record.state == CATALOG_TABLE_COPYING || table->record.state == CATALOG_TABLE_COPIED ||
                     table->record.state == CATALOG_TABLE_LIVE;
    return table->sink_table != NULL && ((is_copied && table->record.copy_lsn > branch_lsn) ||
                                         operations->committed_row_lsn(table->sink_table) >= branch_lsn);
}

bool start_branch_fits(struct pipeline *pipeline, struct err *out_why)
{
    lsn_t branch_lsn = pipeline->branch_lsn;
    if (branch_lsn == LSN_NONE)
        return true;
    bool is_beyond = pipeline->row_lsn >= branch_lsn;
    for (uint32_t i = 0; i < pipeline->table_count && !is_beyond; i++)
        is_beyond = is_beyond_branch(pipeline->tables[i], branch_lsn);
    if (is_beyond)
        return err_set(out_why, ERR_LOST, "timeline_left",
                       "the source's timeline %" PRIu32 " left ours (%" PRIu32 ") at " LSN_FORMAT
                       ", and the destination holds rows of commits behind that",
                       pipeline->facts.timeline, pipeline->record.timeline, LSN_ARGUMENTS(branch_lsn));
    log_line(LOG_INFO, &pipeline->scope, "new_timeline",
             "the source went on to timeline %" PRIu32 "; nothing that was read is missing there",
             pipeline->facts.timeline);
    pipeline->branch_lsn = LSN_NONE;
    pipeline->record.timeline = pipeline->facts.timeline;
    pipeline->is_record_dirty = true;
    return true;
}

static void on_history_conn_open(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    char command[48];
    if (error != NULL) {
        start_failed(pipeline, error);
        return;
    }
    (void)snprintf(command, sizeof command, "TIMELINE_HISTORY %" PRIu32, pipeline->facts.timeline);
    start_query(pipeline, command, 0, NULL, on_history);
}

static void on_history_turn(struct loop_timer *timer)
{
    struct pipeline *pipeline = timer->context;
    struct pg_conn_events events = {.on_open = on_history_conn_open, .on_broken = on_broken, .context = pipeline};
    struct err error = {0};
    timer->on_due = NULL;
    pg_conn_close(pipeline->check_conn);
    // A replication connection to a database answers the history and plain queries alike.
    if (!pg_conn_open(pipeline->check_conn, pipeline->options.source, true, NULL, NULL, CONNECT_TIMEOUT_MS, &events,
                      &error))
        start_failed(pipeline, &error);
}

// The connection is changed outside of its own callback: by a timer of no delay.
static void history_ask(struct pipeline *pipeline)
{
    pipeline->turn_timer = (struct loop_timer){.on_due = on_history_turn, .context = pipeline};
    loop_timer_set(pipeline->loop, &pipeline->turn_timer, 0);
}

// --- tables ------------------------------------------------------------------------------------------------------

static bool is_same_name(const struct table *a, const struct table *b)
{
    return strcmp(a->schema_name, b->schema_name) == 0 && strcmp(a->table_name, b->table_name) == 0;
}

static bool is_same_shape(const struct table *a, const struct table *b)
{
    if (!is_same_name(a, b) || a->column_count != b->column_count || a->key_count != b->key_count ||
        a->identity != b->identity || a->is_partitioned != b->is_partitioned)
        return false;
    for (uint16_t i = 0; i < a->column_count; i++) {
        const struct column *x = &a->columns[i], *y = &b->columns[i];
        if (strcmp(x->name, y->name) != 0 || x->type_oid != y->type_oid || x->type_modifier != y->type_modifier ||
            x->attribute_number != y->attribute_number || x->key_position != y->key_position ||
            !source_types_are_same(&x->types, &y->types))
            return false;
    }
    return true;
}

static void swap_text(char **a, char **b)
{
    char *text = *a;
    *a = *b;
    *b = text;
}

void start_redefine(struct pipeline_table *table, struct table *take_definition)
{
    CHECK(table->sink_table == NULL);
    definition_rename(table, take_definition);
    if (is_same_shape(table->table, take_definition)) {
        table->table->relfilenode = take_definition->relfilenode;
        table->table->attribute_count = take_definition->attribute_count;
        table->table->bytes_estimate = take_definition->bytes_estimate;
        table->table->rows_estimate = take_definition->rows_estimate;
        table->table->is_unreadable = take_definition->is_unreadable;
        table->table->has_hidden_rows = take_definition->has_hidden_rows;
        swap_text(&table->table->odd_partition, &take_definition->odd_partition);
        swap_text(&table->table->unsent_partitions, &take_definition->unsent_partitions);
        table_free(take_definition);
        return;
    }
    // The server describes the table again only if what it tells of it has changed.
    if (!stream_describes_alike(table->table, take_definition))
        table->is_relation_checked = false;
    table->misfit_count = 0;
    pipeline_retire_definition(table->pipeline, table->table);
    table->table = take_definition;
}

static const struct catalog_table *find_known(const struct pipeline *pipeline, const struct table *table)
{
    for (uint32_t i = 0;
         !pipeline->has_run && pipeline->options.known != NULL && i < pipeline->options.known->table_count; i++) {
        const struct catalog_table *known = &pipeline->options.known->tables[i];
        if (strcmp(known->schema_name, table->schema_name) == 0 && strcmp(known->table_name, table->table_name) == 0)
            return known;
    }
    return NULL;
}

static const struct catalog_table *find_known_oid(const struct pipeline *pipeline, uint32_t oid)
{
    for (uint32_t i = 0;
         !pipeline->has_run && pipeline->options.known != NULL && i < pipeline->options.known->table_count; i++)
        if (pipeline->options.known->tables[i].oid == oid)
            return &pipeline->options.known->tables[i];
    return NULL;
}

// Two source tables that would share a target: the second one is parked.
static bool name_is_free(const struct pipeline *pipeline, const struct pipeline_table *table, struct err *out_error)
{
    const struct sink_operations *operations = pipeline->sink->operations;
    for (uint32_t i = 0; operations->tables_collide != NULL && i < pipeline->table_count; i++) {
        const struct pipeline_table *other = pipeline->tables[i];
        if (other != table && other->sink_table != NULL &&
            operations->tables_collide(other->sink_table, table->sink_table, out_error))
            return false;
    }
    return true;
}

struct attach_findings {
    struct log_scope scope;
    struct err *first_error;
};

// What a partitioned table lacks, or may come to lack, is said whenever it begins: check is not asked every time.
static void on_table_finding(void *context, const struct finding *finding)
{
    struct attach_findings *findings = context;
    keep_first_error(findings->first_error, finding);
    if (finding->severity == FINDING_WARNING && strncmp(finding->error->code, "partition_", strlen("partition_")) == 0)
        log_line(LOG_WARNING, &findings->scope, finding->error->code, "%s", finding->error->text);
}

bool start_attach(struct pipeline_table *table)
{
    struct err error = {0};
    struct pipeline *pipeline = table->pipeline;
    struct attach_findings findings = {{pipeline->options.name, table->table->table_name}, &error};
    struct sink_table_options options = {.table = table->table, .encoding = pipeline->encoding, .context = table};
    if (table->record.state == CATALOG_TABLE_PARKED || table->record.state == CATALOG_TABLE_UNPUBLISHED)
        return false;
    judge_table(table->table, pipeline->facts.user, on_table_finding, &findings);
    definition_recall_names(table);
    if (!err_is_set(&error))
        table->sink_table = pipeline->sink->operations->table_add(pipeline->sink, &options, &error);
    table->is_publishing = false;
    if (table->sink_table != NULL && name_is_free(pipeline, table, &error))
        return true;
    // A privilege may be granted any time; a name or a definition stays as it is.
    if (table->table->is_unreadable || table->table->has_hidden_rows)
        join_trouble(table, &error);
    else
        pipeline_park(table, &error);
    return false;
}

static void free_text(char **text)
{
    free(*text);
    *text = NULL;
}

// What changed while nothing ran.
static void compare_with_known(struct pipeline_table *table, const char *marks)
{
    struct log_scope scope = {table->pipeline->options.name, table->table->table_name};
    struct err why = {0};
    if (evolve_go_back(table, marks))
        return;
    bool was_copied = table->record.state == CATALOG_TABLE_COPIED || table->record.state == CATALOG_TABLE_LIVE;
    if (!was_copied || !definition_has_changed(table, marks, &why)) {
        definition_mark(table, marks);
        return;
    }
    log_line(LOG_WARNING, &scope, "resync", "%s.%s is copied anew: %s", table->table->schema_name,
             table->table->table_name, why.text);
    table->record.state = CATALOG_TABLE_NEW;
    table->record.is_in_merge = false;
    progress_channels_forget(table);
    table->is_record_dirty = true;
}

static struct pipeline_table *table_new(struct pipeline *pipeline, struct table *take_table)
{
    struct pipeline_table *table = calloc(1, sizeof *table);
    CHECK(table != NULL);
    table->pipeline = pipeline;
    table->table = take_table;
    const struct catalog_table *known = find_known(pipeline, take_table);
    const struct pg_published_table *published = pg_publication_look_find(&pipeline->look, take_table->oid);
    if (known != NULL) {
        catalog_table_copy(known, &table->record);
        progress_channels_know(table, pipeline->options.known, take_table->oid);
        table->unchanged_lsn = table->moved_lsn = UINT64_MAX;  // what the window holds is not known any more
    } else {
        (void)snprintf(table->record.schema_name, sizeof table->record.schema_name, "%s", take_table->schema_name);
        (void)snprintf(table->record.table_name, sizeof table->record.table_name, "%s", take_table->table_name);
        table->is_record_dirty = true;
    }
    const struct catalog_table *former = known == NULL ? find_known_oid(pipeline, take_table->oid) : NULL;
    if (former != NULL)
        definition_was_named(table, former);
    // Made again under the same name, gone from the publication in between, or a new epoch: what was copied is history.
    if (known != NULL && (known->oid != take_table->oid || known->state == CATALOG_TABLE_UNPUBLISHED ||
                          !pipeline->record.is_slot_made)) {
        table->record.state = CATALOG_TABLE_NEW;
        table->record.is_in_merge = false;
        if (!pipeline->record.is_slot_made)
            table->record.copy_lsn = LSN_NONE;  // no later copy has to be above one of another epoch
        table->is_record_dirty = true;
    }
    if (known != NULL && known->oid != take_table->oid)
        free_text(&table->record.columns);
    table->record.oid = take_table->oid;
    if (published != NULL)
        compare_with_known(table, published->marks);
    return table;
}

static int compare_by_oid(const void *a, const void *b)
{
    const struct pipeline_table *x = *(struct pipeline_table *const *)a, *y = *(struct pipeline_table *const *)b;
    return x->table->oid < y->table->oid ? -1 : x->table->oid > y->table->oid;
}

struct pipeline_table *start_table_add(struct pipeline *pipeline, struct table *take_definition)
{
    pipeline->tables = reallocarray(pipeline->tables, pipeline->table_count + 1, sizeof *pipeline->tables);
    CHECK(pipeline->tables != NULL);
    struct pipeline_table *table = table_new(pipeline, take_definition);
    pipeline->tables[pipeline->table_count++] = table;
    qsort(pipeline->tables, pipeline->table_count, sizeof(struct pipeline_table *), compare_by_oid);
    return table;
}

// A merge, or a search for the table that makes one fail, may speak of it; a copy as well.
bool start_may_forget(const struct pipeline_table *table)
{
    const struct pipeline *pipeline = table->pipeline;
    bool is_merge_over = !pipeline->is_merging && !pipeline->is_trying && !pipeline->is_search_wanted &&
                         pipeline->search.phase == MERGE_SEARCH_OFF;
    return table->record.state == CATALOG_TABLE_UNPUBLISHED && table->sink_table == NULL && is_merge_over &&
           copy_may_forget(table);
}

void start_forget(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    uint32_t index = 0;
    CHECK(start_may_forget(table));
    while (pipeline->tables[index] != table)
        index++;
    if (pipeline->merge_accused == table)
        pipeline->merge_accused = NULL;
    pipeline_retire_definition(pipeline, table->table);
    catalog_table_deinit(&table->record);
    free(table->channels);
    meter_table_end(&table->meter);
    free(table);
    pipeline->last_table = NULL;
    memmove(&pipeline->tables[index], &pipeline->tables[index + 1],
            (--pipeline->table_count - index) * sizeof(struct pipeline_table *));
}

bool start_name_is_leaving(struct pipeline *pipeline, const struct table *definition)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->table->oid == definition->oid || !is_same_name(table->table, definition))
            continue;
        if (!start_may_forget(table))
            return true;
        start_forget(table);
        return false;
    }
    return false;
}

static void table_meet(struct pipeline *pipeline, struct table *take_table)
{
    struct pipeline_table *present = pipeline_find_table(pipeline, take_table->oid);
    const struct pg_published_table *published = pg_publication_look_find(&pipeline->look, take_table->oid);
    struct err error = {0};
    if (present == NULL && !start_name_is_leaving(pipeline, take_table)) {
        start_attach(start_table_add(pipeline, take_table));
        return;
    }
    if (present == NULL) {
        table_free(take_table);  // made again under its name: it joins when the old one has left
        return;
    }
    // What is followed in place stays as it is until the stream has passed the change.
    bool is_followed =
        present->sink_table != NULL && published != NULL && evolve_may_follow(present, published->marks, take_table);
    if (present->sink_table != NULL && !is_followed) {
        bool has_changed = published != NULL && definition_has_changed(present, published->marks, &error);
        if (!has_changed && !is_same_shape(present->table, take_table))
            has_changed = !err_set(&error, ERR_LOST, "schema_changed", "its columns or its name changed");
        if (has_changed)
            pipeline_resync_table(present, &error);  // the first look while it runs reads its definition
    } else if (present->record.state == CATALOG_TABLE_NEW) {
        if (published != NULL)
            definition_mark(present, published->marks);
        // Under the name of another one it has to wait until that one has given it up.
        bool is_renamed = !is_same_name(present->table, take_table);
        if (!is_renamed || definition_holder(pipeline, take_table) == NULL) {
            start_redefine(present, take_table);
            start_attach(present);
            return;
        }
    } else if (!is_followed) {
        start_attach(present);
    }
    table_free(take_table);
}

static const struct pipeline_excluded *find_excluded(const struct pipeline *pipeline, uint32_t oid)
{
    for (uint32_t i = 0; i < pipeline->excluded_count; i++)
        if (pipeline->excluded[i].oid == oid)
            return &pipeline->excluded[i];
    return NULL;
}

bool start_is_excluded(const struct pipeline *pipeline, uint32_t oid)
{
    return find_excluded(pipeline, oid) != NULL;
}

static void shape_of(const char *marks, char out_shape[PIPELINE_SHAPE_SIZE])
{
    if (!marks_value(marks, "s=", out_shape, PIPELINE_SHAPE_SIZE))
        out_shape[0] = '\0';
}

bool start_is_still_excluded(const struct pipeline *pipeline, const struct pg_published_table *published)
{
    char shape[PIPELINE_SHAPE_SIZE];
    const struct pipeline_excluded *excluded = find_excluded(pipeline, published->oid);
    shape_of(published->marks, shape);
    return excluded != NULL && strcmp(excluded->shape, shape) == 0;
}

// The look before the definitions tells the shape: a name that changed in between is read again.
static void exclude(struct pipeline *pipeline, const struct table *definition)
{
    struct pipeline_excluded *excluded = &pipeline->excluded[pipeline->excluded_count++];
    const struct pg_published_table *published = pg_publication_look_find(&pipeline->look, definition->oid);
    *excluded = (struct pipeline_excluded){.oid = definition->oid};
    if (published != NULL)
        shape_of(published->marks, excluded->shape);
}

void start_choose(struct pipeline *pipeline, struct table **definitions, uint32_t *in_out_count)
{
    uint32_t count = *in_out_count, kept = 0;
    pipeline->excluded_count = 0;
    pipeline->excluded = reallocarray(pipeline->excluded, (size_t)count + 1, sizeof *pipeline->excluded);
    CHECK(pipeline->excluded != NULL);
    for (uint32_t i = 0; i < count; i++) {
        if (table_choice_includes(&pipeline->choice, definitions[i]->schema_name, definitions[i]->table_name)) {
            definitions[kept++] = definitions[i];
        } else {
            exclude(pipeline, definitions[i]);
            table_free(definitions[i]);
        }
    }
    *in_out_count = kept;
}

static void choice_warn(const struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->choice.count; i++)
        if (!pipeline->choice.patterns[i].has_matched)
            log_line(LOG_WARNING, &pipeline->scope, "tables_pattern",
                     "pattern \"%s\" of the tables to follow matches no table of publication \"%s\"",
                     pipeline->choice.patterns[i].text, pipeline->options.publication);
}

static void tables_judge_count(const struct pipeline *pipeline, uint32_t published, uint32_t chosen,
                               struct err *out_problem)
{
    if (published == 0)
        err_set(out_problem, ERR_CONFIG, "publication_empty",
                "publication \"%s\" on %s holds no table; mend it with: ALTER PUBLICATION \"%s\" ADD TABLE …",
                pipeline->options.publication, pipeline->options.source_text, pipeline->options.publication);
    else if (chosen == 0)
        err_set(out_problem, ERR_CONFIG, "tables_none",
                "the patterns \"%s\" choose none of the %u table%s of publication \"%s\"", pipeline->options.tables,
                published, published == 1 ? "" : "s", pipeline->options.publication);
}

void start_tables_known(struct pipeline *pipeline)
{
    left_note_missing(pipeline);
    left_deinit(pipeline);
    pg_publication_look_deinit(&pipeline->look);
    pipeline->is_reap_check = true;
    loop_defer(pipeline->loop, &pipeline->reap);
    if (err_is_set(&pipeline->start_error))
        pipeline_fail(pipeline, &pipeline->start_error);
    else
        pipeline_checked(pipeline);
}

static void on_tables(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct table **tables = NULL;
    uint32_t count = 0;
    struct err problem = {0};
    if (error != NULL) {
        start_failed(pipeline, error);
        return;
    }
    // A person who waits hears of all tables that cannot be read; later on each is in trouble by itself.
    bool must_read_all = pipeline->is_first_start && pipeline->options.is_attended;
    if (!(must_read_all ? pg_catalog_read_tables(result, &pipeline->choice, &tables, &count, &problem)
                        : pg_catalog_read_tables_as_they_are(result, &tables, &count, &problem))) {
        start_failed(pipeline, &problem);
        return;
    }
    uint32_t published_count = count;
    start_choose(pipeline, tables, &count);
    choice_warn(pipeline);
    pipeline->last_table = NULL;
    for (uint32_t i = 0; i < count; i++)
        table_meet(pipeline, tables[i]);
    free(tables);
    err_clear(&pipeline->start_error);
    tables_judge_count(pipeline, published_count, count, &pipeline->start_error);
    if (!left_ask(pipeline))
        start_tables_known(pipeline);
}

// The look before the definitions: what changes in between shows at the next look.
static void on_look(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    const char *parameters[] = {pipeline->options.publication};
    struct err problem = {0};
    pg_publication_look_deinit(&pipeline->look);
    if (error != NULL || !pg_catalog_read_look(result, &pipeline->look, &problem))
        start_failed(pipeline, error != NULL ? error : &problem);
    else
        start_query(pipeline, pg_catalog_tables_sql(), 1, parameters, on_tables);
}

static void tables_ask(struct pipeline *pipeline)
{
    const char *parameters[] = {pipeline->options.publication};
    start_query(pipeline, pg_catalog_look_sql(), 1, parameters, on_look);
}

// --- beginning ---------------------------------------------------------------------------------------------------

static void facts_ask(struct pipeline *pipeline)
{
    const char *parameters[] = {pipeline->options.publication, pipeline->options.slot};
    start_query(pipeline, pg_catalog_facts_sql(), 2, parameters, on_facts);
}

static void on_evicted(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    if (error != NULL && pg_conn_state(pipeline->check_conn) != PG_CONN_IDLE) {
        start_failed(pipeline, error);
        return;
    }
    if (error != NULL)
        log_line(LOG_WARNING, &pipeline->scope, "not_evicted",
                 "connections of an earlier run cannot be ended at the source, which does so itself in time: %s",
                 error->text);
    else if (strcmp(PQgetvalue(result, 0, 0), "0") != 0)
        log_line(LOG_WARNING, &pipeline->scope, "evicted",
                 "%s connections that an earlier run of the pipeline had left open at the source were ended",
                 PQgetvalue(result, 0, 0));
    facts_ask(pipeline);
}

// Our claim is later than theirs: who still reads the slot is frozen, or cut off, or has not noticed yet. The other way round it
// can never be, whoever wakes up when: only earlier claims are ended.
static void evict(struct pipeline *pipeline)
{
    char first[PIPELINE_SOURCE_NAME_SIZE];
    const char *parameters[] = {first, pipeline->source.application_name, pipeline->options.slot};
    pipeline_source_name(pipeline->record.identity, 0, first);
    start_query(pipeline, pg_catalog_evict_sql(), 3, parameters, on_evicted);
}

static void on_open(void *context, const struct err *error)
{
    struct pipeline *pipeline = context;
    if (error != NULL)
        start_failed(pipeline, error);
    else if (pipeline->source.application_name != NULL)
        evict(pipeline);
    else
        facts_ask(pipeline);
}

void start_check(struct pipeline *pipeline)
{
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = pipeline};
    struct err error = {0};
    CHECK(pipeline->check_conn == NULL);
    pipeline_set_state(pipeline, PIPELINE_CHECKING);
    pipeline->check_conn = pg_conn_new(pipeline->loop, pipeline->resolver);
    CHECK(pipeline->check_conn != NULL);
    if (!pg_conn_open(pipeline->check_conn, pipeline->options.source, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events,
                      &error))
        start_failed(pipeline, &error);
}
