#include "pipeline/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/table_choice.h"
#include "pg/pg_catalog.h"

#define CONNECT_TIMEOUT_MS 15000
#define QUERY_TIMEOUT_MS 60000

struct inspected_table {
    struct inspect *inspect;
    struct table *table;
    struct sink_table *sink_table;
};

struct inspect {
    struct loop *loop;
    struct resolver *resolver;
    struct inspect_options options;
    struct inspect_events events;
    struct pg_conn *conn;
    struct pg_source_facts facts;
    const struct encoding *encoding;
    struct sink *sink;
    struct err sink_error;  // why there is none
    struct inspected_table *tables;
    uint32_t table_count, pending_count;
    uint32_t error_count;
    struct loop_deferred next;  // a step that must not run inside a connection's callback
    void (*step)(struct inspect *inspect);
    uint64_t began_us;
};

static void finding(void *context, enum judge_severity severity, const struct err *error)
{
    struct inspect *inspect = context;
    inspect->error_count += severity == JUDGE_ERROR;
    inspect->events.on_finding(inspect->events.context, severity, error);
}

static void good(struct inspect *inspect, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void good(struct inspect *inspect, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    inspect->events.on_good(inspect->events.context, text);
}

static void on_next(struct loop_deferred *deferred)
{
    struct inspect *inspect = deferred->context;
    inspect->step(inspect);
}

static void go(struct inspect *inspect, void (*step)(struct inspect *inspect))
{
    inspect->step = step;
    loop_defer(inspect->loop, &inspect->next);
}

static void done(struct inspect *inspect)
{
    inspect->events.on_done(inspect->events.context);
}

// --- the destination ---------------------------------------------------------------------------------------------

static void on_prepared(void *context, void *table_context, const struct err *error)
{
    struct inspect *inspect = context;
    const struct inspected_table *table = table_context;
    char name[160];
    table_format_name(table->table, name, sizeof name);
    if (error != NULL)
        finding(inspect, JUDGE_ERROR, error);
    else
        good(inspect, "table %s -> \"%s\"", name, inspect->sink->operations->table_target(table->sink_table));
    if (--inspect->pending_count == 0)
        go(inspect, done);
}

static void on_table_failed(void *context, void *table_context, const struct err *error)
{
    (void)table_context;
    finding(context, JUDGE_ERROR, error);
}

static void tables_look(struct inspect *inspect)
{
    for (uint32_t i = 0; i < inspect->table_count; i++) {
        struct inspected_table *table = &inspect->tables[i];
        struct sink_table_options options = {.table = table->table, .encoding = inspect->encoding, .context = table};
        struct err error = {0};
        table->sink_table = inspect->sink->operations->table_add(inspect->sink, &options, &error);
        if (table->sink_table == NULL) {
            finding(inspect, JUDGE_ERROR, &error);
            continue;
        }
        for (uint32_t j = 0; inspect->sink->operations->tables_collide != NULL && j < i; j++)
            if (inspect->tables[j].sink_table != NULL &&
                inspect->sink->operations->tables_collide(inspect->tables[j].sink_table, table->sink_table, &error))
                finding(inspect, JUDGE_ERROR, &error);
        inspect->pending_count++;
        inspect->sink->operations->table_prepare(table->sink_table, SINK_PREPARE_CHECK);
    }
    if (inspect->pending_count == 0)
        go(inspect, done);
}

static void on_sink_opened(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    if (error != NULL) {
        finding(inspect, JUDGE_ERROR, error);
        go(inspect, done);
        return;
    }
    good(inspect, "destination: %s (%" PRIu64 " ms)", inspect->sink->operations->opened_text(inspect->sink),
         (loop_now_us(inspect->loop) - inspect->began_us) / 1000);
    go(inspect, tables_look);
}

static void sink_open(struct inspect *inspect)
{
    inspect->began_us = loop_now_us(inspect->loop);
    if (err_is_set(&inspect->sink_error))
        finding(inspect, JUDGE_ERROR, &inspect->sink_error);
    if (inspect->sink == NULL)
        done(inspect);
    else
        inspect->sink->operations->open(inspect->sink);
}

// --- the source --------------------------------------------------------------------------------------------------

static void tables_choose(struct inspect *inspect, struct table_choice *choice, struct table **tables,
                          uint32_t *in_out_count)
{
    struct err problem = {0};
    uint32_t count = *in_out_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (table_choice_includes(choice, tables[i]->schema_name, tables[i]->table_name))
            tables[kept++] = tables[i];
        else
            table_free(tables[i]);
    }
    for (size_t i = 0; i < choice->count; i++) {
        if (choice->patterns[i].has_matched)
            continue;
        err_set(&problem, ERR_CONFIG, "tables_pattern",
                "pattern \"%s\" of the tables to follow matches no table of publication \"%s\"",
                choice->patterns[i].text, inspect->options.publication);
        finding(inspect, JUDGE_WARNING, &problem);
    }
    if (kept == 0 && count > 0) {
        err_set(&problem, ERR_CONFIG, "tables_none",
                "the patterns \"%s\" choose none of the %u table%s of publication \"%s\"", inspect->options.tables,
                count, count == 1 ? "" : "s", inspect->options.publication);
        finding(inspect, JUDGE_ERROR, &problem);
    } else if (choice->count > 0) {
        good(inspect, "tables: %u of %u are chosen", kept, count);
    }
    *in_out_count = kept;
}

static void on_tables(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    struct err problem = {0};
    struct table **tables = NULL;
    uint32_t count = 0;
    struct table_choice choice = {0};
    if (error != NULL || !table_choice_parse(inspect->options.tables, &choice, &problem) ||
        !pg_catalog_read_tables(result, &choice, &tables, &count, &problem)) {
        finding(inspect, JUDGE_ERROR, error != NULL ? error : &problem);
    } else if (count == 0) {
        err_set(&problem, ERR_CONFIG, "publication_empty",
                "publication \"%s\" holds no table; mend it with: ALTER PUBLICATION \"%s\" ADD TABLE …",
                inspect->options.publication, inspect->options.publication);
        finding(inspect, JUDGE_ERROR, &problem);
    } else {
        good(inspect, "publication %s: %u table%s", inspect->options.publication, count, count == 1 ? "" : "s");
    }
    tables_choose(inspect, &choice, tables, &count);
    table_choice_deinit(&choice);
    inspect->tables = calloc((size_t)count + 1, sizeof *inspect->tables);
    CHECK(inspect->tables != NULL);
    inspect->table_count = count;
    for (uint32_t i = 0; i < count; i++) {
        inspect->tables[i] = (struct inspected_table){.inspect = inspect, .table = tables[i]};
        judge_table(tables[i], finding, inspect);
    }
    free(tables);
    go(inspect, sink_open);
}

static void on_facts(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    struct err problem = {0};
    const struct catalog_pipeline *known = inspect->options.known;
    if (error != NULL || !pg_catalog_read_facts(result, &inspect->facts, &problem)) {
        finding(inspect, JUDGE_ERROR, error != NULL ? error : &problem);
        go(inspect, sink_open);
        return;
    }
    good(inspect, "source %s: PostgreSQL %d.%d, signed in as %s (%" PRIu64 " ms)", inspect->options.source_text,
         inspect->facts.server_version / 10000, inspect->facts.server_version % 10000, inspect->facts.user,
         (loop_now_us(inspect->loop) - inspect->began_us) / 1000);
    struct judge_subject subject = {.facts = &inspect->facts,
                                    .source_text = inspect->options.source_text,
                                    .publication = inspect->options.publication,
                                    .slot = inspect->options.slot,
                                    .is_slot_made = known != NULL && known->is_slot_made,
                                    .may_own_slot = known != NULL,
                                    .floor_lsn = known != NULL ? known->floor_lsn : LSN_NONE};
    judge_source(&subject, finding, inspect);
    inspect->encoding = encoding_find(inspect->facts.encoding);
    const char *parameters[] = {inspect->options.publication};
    if (!inspect->facts.publication_exists || inspect->encoding == NULL)
        go(inspect, sink_open);
    else if (!pg_conn_query(inspect->conn, pg_catalog_tables_sql(), 1, parameters, QUERY_TIMEOUT_MS, on_tables, inspect,
                            &problem)) {
        finding(inspect, JUDGE_ERROR, &problem);
        go(inspect, sink_open);
    }
}

static void on_open(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    struct err problem = {0};
    const char *parameters[] = {inspect->options.publication, inspect->options.slot};
    if (error == NULL && pg_conn_query(inspect->conn, pg_catalog_facts_sql(), 2, parameters, QUERY_TIMEOUT_MS, on_facts,
                                       inspect, &problem))
        return;
    finding(inspect, JUDGE_ERROR, error != NULL ? error : &problem);
    go(inspect, sink_open);
}

static void on_broken(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    if (inspect->step != NULL)
        return;  // the source was looked at already
    finding(inspect, JUDGE_ERROR, error);
    go(inspect, sink_open);
}

struct inspect *inspect_new(struct loop *loop, struct resolver *resolver, const struct inspect_options *options,
                            const struct inspect_events *events)
{
    struct inspect *inspect = calloc(1, sizeof *inspect);
    CHECK(inspect != NULL);
    inspect->loop = loop;
    inspect->resolver = resolver;
    inspect->options = *options;
    inspect->events = *events;
    inspect->next = (struct loop_deferred){.call = on_next, .context = inspect};
    inspect->conn = pg_conn_new(loop, resolver);
    CHECK(inspect->conn != NULL);
    struct sink_events sink_events = {.on_opened = on_sink_opened,
                                      .on_prepared = on_prepared,
                                      .on_table_failed = on_table_failed,
                                      .context = inspect};
    if (options->sink_new != NULL)
        inspect->sink =
            options->sink_new(options->sink_context, "0000000000000000", &sink_events, &inspect->sink_error);
    return inspect;
}

void inspect_start(struct inspect *inspect)
{
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = inspect};
    struct err error = {0};
    inspect->began_us = loop_now_us(inspect->loop);
    if (pg_conn_open(inspect->conn, inspect->options.source, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events, &error))
        return;
    finding(inspect, JUDGE_ERROR, &error);
    go(inspect, sink_open);
}

void inspect_free(struct inspect *inspect)
{
    loop_defer_stop(inspect->loop, &inspect->next);
    pg_conn_free(inspect->conn);
    if (inspect->sink != NULL)
        inspect->sink->operations->free(inspect->sink);
    for (uint32_t i = 0; i < inspect->table_count; i++)
        table_free(inspect->tables[i].table);
    free(inspect->tables);
    free(inspect);
}
