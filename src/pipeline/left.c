// Tables that left the publication, or are not chosen from it any more, while nothing ran.
//
// What was committed before they left is merged, as a running pipeline does, where the source has them still as they were: they are
// asked for by their oids, and live until their last merge. Of others nothing more can be merged, and their landing rows stay.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/marks.h"
#include "pipeline/pipeline_private.h"

void left_tell(struct pipeline_table *table, bool is_unmerged)
{
    static const char unmerged[] =
        "; what was committed and not merged before it left is not in its target: its landing rows stay";
    const struct pipeline *pipeline = table->pipeline;
    struct log_scope scope = {pipeline->options.name, table->table->table_name};
    const char *place = start_is_excluded(pipeline, table->table->oid) ? "chosen from" : "in";
    log_line(LOG_WARNING, &scope, "table_left",
             "%s.%s is no longer %s publication \"%s\" and is not followed any more; its target stays as it is%s",
             table->table->schema_name, table->table->table_name, place, pipeline->options.publication,
             is_unmerged ? unmerged : "");
    table->record.state = CATALOG_TABLE_UNPUBLISHED;
    (void)snprintf(table->record.reason, sizeof table->record.reason,
                   "no longer %s publication \"%s\"; its target stays as it is%s", place, pipeline->options.publication,
                   is_unmerged ? unmerged : "");
    (void)snprintf(table->record.reason_code, sizeof table->record.reason_code, "%s", is_unmerged ? LEFT_UNMERGED : "");
}

// Whether the catalog knows of landed rows that no merge took.
static bool has_unmerged(const struct pipeline *pipeline, const struct catalog_table *known)
{
    struct seq seq;
    if (!pipeline->sink->operations->has_merge || known->state != CATALOG_TABLE_LIVE)
        return pipeline->sink->operations->has_merge && known->state == CATALOG_TABLE_COPIED;
    for (uint32_t i = 0; i < pipeline->options.known->channel_count; i++) {
        const struct catalog_channel *channel = &pipeline->options.known->channels[i];
        if (channel->table_oid == known->oid && seq_parse(channel->token, strlen(channel->token), &seq) &&
            seq.commit_lsn >= pipeline->merged_lsn)
            return true;
    }
    return false;
}

static bool is_name_there(const struct pipeline *pipeline, const struct catalog_table *known)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (strcmp(pipeline->tables[i]->table->schema_name, known->schema_name) == 0 &&
            strcmp(pipeline->tables[i]->table->table_name, known->table_name) == 0)
            return true;
    return false;
}

static void note_missing(struct pipeline *pipeline, const struct catalog_table *known)
{
    struct table *definition = calloc(1, sizeof *definition);
    CHECK(definition != NULL);
    definition->schema_name = strdup(known->schema_name);
    definition->table_name = strdup(known->table_name);
    CHECK(definition->schema_name != NULL && definition->table_name != NULL);
    definition->oid = known->oid;
    definition->rows_estimate = -1;
    struct pipeline_table *table = start_table_add(pipeline, definition);
    progress_channels_forget(table);
    table->is_record_dirty = true;
    if (known->state != CATALOG_TABLE_UNPUBLISHED)
        left_tell(table, has_unmerged(pipeline, known));
    table->record.state = CATALOG_TABLE_UNPUBLISHED;
}

// Known from an earlier life and no longer in the publication: shown, and copied anew if they come back.
void left_note_missing(struct pipeline *pipeline)
{
    for (uint32_t i = 0;
         !pipeline->has_run && pipeline->options.known != NULL && i < pipeline->options.known->table_count; i++) {
        const struct catalog_table *known = &pipeline->options.known->tables[i];
        if (is_name_there(pipeline, known))
            continue;
        struct pipeline_table *renamed = pipeline_find_table(pipeline, known->oid);
        if (renamed != NULL)
            definition_tell_renamed(pipeline, known, renamed->table, false);
        else
            note_missing(pipeline, known);
    }
}

static bool is_left_to_merge(struct pipeline *pipeline, const struct catalog_table *known)
{
    return (known->state == CATALOG_TABLE_LIVE || known->state == CATALOG_TABLE_COPIED) &&
           !is_name_there(pipeline, known) && pipeline_find_table(pipeline, known->oid) == NULL;
}

static bool has_any_to_merge(struct pipeline *pipeline)
{
    bool has_any = false;
    if (pipeline->has_run || pipeline->options.known == NULL || !pipeline->record.is_slot_made ||
        !pipeline->sink->operations->has_merge)
        return false;
    for (uint32_t i = 0; i < pipeline->options.known->table_count; i++)
        has_any |= is_left_to_merge(pipeline, &pipeline->options.known->tables[i]);
    return has_any;
}

// With the columns that were sent, by their numbers.
static void left_query(struct pipeline *pipeline, const char *sql, pg_on_result on_result)
{
    struct buf wanted;
    const char *parameters[] = {pipeline->options.publication, NULL};
    const char *separator = "[";
    buf_init(&wanted, PIPELINE_LEFT_BYTES_MAX);
    for (uint32_t i = 0; i < pipeline->options.known->table_count; i++) {
        const struct catalog_table *known = &pipeline->options.known->tables[i];
        if (!is_left_to_merge(pipeline, known) || known->columns == NULL)
            continue;
        buf_appendf(&wanted, "%s{\"oid\": %" PRIu32 ", \"attrs\": [", separator, known->oid);
        definition_append_numbers(known->columns, &wanted);
        buf_append_text(&wanted, "]}");
        separator = ", ";
    }
    buf_append_text(&wanted, separator[0] == '[' ? "[]" : "]");
    char *text = pg_catalog_left_sql(sql);
    parameters[1] = wanted.failed ? "[]" : buf_text(&wanted);
    (void)start_query(pipeline, text, 2, parameters, on_result);
    free(text);
    buf_deinit(&wanted);
}

void left_deinit(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->left_count; i++)
        table_free(pipeline->left[i]);
    free(pipeline->left);
    pipeline->left = NULL;
    pipeline->left_count = 0;
}

// Live until its last merge, which join.c awaits.
static void left_add(struct pipeline *pipeline, struct table *take_definition)
{
    struct pipeline_table *table = start_table_add(pipeline, take_definition);
    table->left_lsn = pipeline->look.lsn;
    table->is_last_merge_owed = true;
    start_attach(table);
}

static const struct catalog_table *find_known(const struct pipeline *pipeline, uint32_t oid)
{
    for (uint32_t i = 0; i < pipeline->options.known->table_count; i++)
        if (pipeline->options.known->tables[i].oid == oid)
            return &pipeline->options.known->tables[i];
    return NULL;
}

// Those whose names, columns and identity are still the ones under which their rows were landed.
static void on_left_look(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct pg_publication_look look = {0};
    struct err problem = {0};
    if (error != NULL || !pg_catalog_read_look(result, &look, &problem)) {
        start_failed(pipeline, error != NULL ? error : &problem);
        return;
    }
    for (uint32_t i = 0; i < pipeline->left_count; i++) {
        const struct pg_published_table *now = pg_publication_look_find(&look, pipeline->left[i]->oid);
        const struct catalog_table *known = find_known(pipeline, pipeline->left[i]->oid);
        if (now == NULL || known == NULL || !marks_have_same_form(known->marks, now->marks))
            continue;
        left_add(pipeline, pipeline->left[i]);
        pipeline->left[i] = NULL;
    }
    pg_publication_look_deinit(&look);
    start_tables_known(pipeline);
}

static void on_left_tables(void *context, const PGresult *result, const struct err *error)
{
    struct pipeline *pipeline = context;
    struct err problem = {0};
    left_deinit(pipeline);
    if (error != NULL || !pg_catalog_read_tables_as_they_are(result, &pipeline->left, &pipeline->left_count, &problem))
        start_failed(pipeline, error != NULL ? error : &problem);
    else
        left_query(pipeline, pg_catalog_look_sql(), on_left_look);
}

bool left_ask(struct pipeline *pipeline)
{
    if (!has_any_to_merge(pipeline))
        return false;
    left_query(pipeline, pg_catalog_tables_sql(), on_left_tables);
    return true;
}
