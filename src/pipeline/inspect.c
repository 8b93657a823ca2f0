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
    struct pg_conn *replication;  // is opened and asked who it is
    struct pg_source_facts facts;
    const struct encoding *encoding;
    struct sink *sink;
    struct err sink_error;  // why there is none
    struct inspected_table *tables;
    uint32_t table_count, pending_count;
    struct loop_deferred next;  // a step that must not run inside a connection's callback
    void (*step)(struct inspect *inspect);
    bool is_source_done;
    char *tables_to_publish;  // quoted, by commas, where the publication holds none
    uint64_t began_us;
};

static void tell(void *context, const struct finding *finding)
{
    const struct inspect *inspect = context;
    inspect->events.on_finding(inspect->events.context, finding);
}

static void tell_error(struct inspect *inspect, enum finding_severity severity, const char *where,
                       const struct err *error)
{
    const struct finding_teller teller = {tell, inspect, where};
    finding_tell_error(&teller, severity, error);
}

static void tell_source_error(struct inspect *inspect, const struct err *error)
{
    tell_error(inspect, FINDING_ERROR, inspect->options.source_text, error);
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

// Of what began last.
static void timed(struct inspect *inspect, const char *name)
{
    uint64_t now_us = loop_now_us(inspect->loop);
    if (inspect->events.on_timing != NULL)
        inspect->events.on_timing(inspect->events.context, name, now_us - inspect->began_us);
    inspect->began_us = now_us;
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

static const char *destination_where(const struct inspect *inspect)
{
    return inspect->options.destination_text != NULL ? inspect->options.destination_text : "the destination";
}

static void on_prepared(void *context, void *table_context, const struct err *error)
{
    struct inspect *inspect = context;
    const struct inspected_table *table = table_context;
    char name[160];
    table_format_name(table->table, name, sizeof name);
    if (error != NULL)
        tell_error(inspect, FINDING_ERROR, name, error);
    else
        good(inspect, "table %s -> \"%s\"", name, inspect->sink->operations->table_target(table->sink_table));
    if (--inspect->pending_count == 0)
        go(inspect, done);
}

static void on_table_failed(void *context, void *table_context, const struct err *error)
{
    const struct inspected_table *table = table_context;
    char name[160];
    table_format_name(table->table, name, sizeof name);
    tell_error(context, FINDING_ERROR, name, error);
}

static void tables_look(struct inspect *inspect)
{
    for (uint32_t i = 0; i < inspect->table_count; i++) {
        struct inspected_table *table = &inspect->tables[i];
        struct sink_table_options options = {.table = table->table, .encoding = inspect->encoding, .context = table};
        struct err error = {0};
        char name[160];
        table_format_name(table->table, name, sizeof name);
        table->sink_table = inspect->sink->operations->table_add(inspect->sink, &options, &error);
        if (table->sink_table == NULL) {
            tell_error(inspect, FINDING_ERROR, name, &error);
            continue;
        }
        for (uint32_t j = 0; inspect->sink->operations->tables_collide != NULL && j < i; j++)
            if (inspect->tables[j].sink_table != NULL &&
                inspect->sink->operations->tables_collide(inspect->tables[j].sink_table, table->sink_table, &error))
                tell_error(inspect, FINDING_ERROR, name, &error);
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
        tell_error(inspect, FINDING_ERROR, destination_where(inspect), error);
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
    inspect->sink->operations->open(inspect->sink);
}

static void on_sink_timing(void *context, const char *name, uint64_t us)
{
    const struct inspect *inspect = context;
    if (inspect->events.on_timing != NULL)
        inspect->events.on_timing(inspect->events.context, name, us);
}

static void on_sink_looked(void *context, bool may_open)
{
    go(context, may_open ? sink_open : done);
}

static void sink_look(struct inspect *inspect)
{
    inspect->is_source_done = true;
    if (err_is_set(&inspect->sink_error))
        tell_error(inspect, FINDING_ERROR, destination_where(inspect), &inspect->sink_error);
    if (inspect->sink == NULL) {
        done(inspect);
    } else if (inspect->sink->operations->look != NULL) {
        const struct sink_look look = {.on_finding = tell,
                                       .on_timing = on_sink_timing,
                                       .on_done = on_sink_looked,
                                       .context = inspect,
                                       .table_count = inspect->table_count};
        inspect->sink->operations->look(inspect->sink, &look);
    } else {
        sink_open(inspect);
    }
}

// --- a replication connection ----------------------------------------------------------------------------------------

static void on_identified(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    (void)result;
    if (error != NULL)
        tell_source_error(inspect, error);
    else
        timed(inspect, "source_replication");
    go(inspect, sink_look);
}

static void on_replication_open(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    struct err problem = {0};
    if (error == NULL && pg_conn_query(inspect->replication, "IDENTIFY_SYSTEM", 0, NULL, QUERY_TIMEOUT_MS,
                                       on_identified, inspect, &problem))
        return;
    const struct finding_teller teller = {tell, inspect, inspect->options.source_text};
    finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "replication_connection",
                 "a replication connection to %s is refused where an ordinary one is not: %s",
                 inspect->options.source_text, error != NULL ? error->text : problem.text);
    go(inspect, sink_look);
}

static void on_replication_broken(void *context, const struct err *error)
{
    (void)context;
    (void)error;  // what was asked of it is answered
}

static void replication_look(struct inspect *inspect)
{
    struct pg_conn_events events = {
        .on_open = on_replication_open, .on_broken = on_replication_broken, .context = inspect};
    struct err error = {0};
    inspect->began_us = loop_now_us(inspect->loop);
    if (!inspect->facts.may_replicate || strcmp(inspect->facts.wal_level, "logical") != 0 ||
        inspect->facts.wal_senders_used >= inspect->facts.max_wal_senders) {
        sink_look(inspect);  // that was told
        return;
    }
    if (pg_conn_open(inspect->replication, inspect->options.source, true, NULL, NULL, CONNECT_TIMEOUT_MS, &events,
                     &error))
        return;
    tell_source_error(inspect, &error);
    sink_look(inspect);
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
        tell_error(inspect, FINDING_WARNING, inspect->options.publication, &problem);
    }
    if (kept == 0 && count > 0) {
        err_set(&problem, ERR_CONFIG, "tables_none",
                "the patterns \"%s\" choose none of the %u table%s of publication \"%s\"", inspect->options.tables,
                count, count == 1 ? "" : "s", inspect->options.publication);
        tell_error(inspect, FINDING_ERROR, inspect->options.publication, &problem);
    } else if (choice->count > 0) {
        good(inspect, "tables: %u of %u are chosen", kept, count);
    }
    *in_out_count = kept;
}

static struct judge_subject subject_of(const struct inspect *inspect)
{
    const struct catalog_pipeline *known = inspect->options.known;
    return (struct judge_subject){.facts = &inspect->facts,
                                  .source_text = inspect->options.source_text,
                                  .publication = inspect->options.publication,
                                  .slot = inspect->options.slot,
                                  .is_slot_made = known != NULL && known->is_slot_made,
                                  .may_own_slot = known != NULL,
                                  .floor_lsn = known != NULL ? known->floor_lsn : LSN_NONE,
                                  .decoding_work_mem_kb = inspect->options.decoding_work_mem_kb,
                                  .workers = inspect->options.workers,
                                  .backend_pid = pg_conn_backend_pid(inspect->conn)};
}

static bool is_inspected(const struct inspect *inspect, const struct pg_check_table *table)
{
    for (uint32_t i = 0; i < inspect->table_count; i++)
        if (strcmp(inspect->tables[i].table->schema_name, table->schema_name) == 0 &&
            strcmp(inspect->tables[i].table->table_name, table->table_name) == 0)
            return true;
    return false;
}

static void on_table_details(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    const struct judge_subject subject = subject_of(inspect);
    struct pg_check_table table;
    struct err problem = {0};
    if (error != NULL)
        tell_source_error(inspect, error);
    for (int row = 0; error == NULL && row < PQntuples(result); row++) {
        if (!pg_check_read_table(result, row, &table, &problem)) {
            tell_source_error(inspect, &problem);
            break;
        }
        if (is_inspected(inspect, &table))
            judge_table_details(&table, &subject, tell, inspect);
    }
    go(inspect, replication_look);
}

static void tables_judge(struct inspect *inspect)
{
    const char *parameters[] = {inspect->options.publication};
    struct err error = {0};
    for (uint32_t i = 0; i < inspect->table_count; i++) {
        const struct table *table = inspect->tables[i].table;
        if (!table->is_unreadable)  // that is told with the privilege that is missing
            judge_table(table, inspect->facts.user, tell, inspect);
        judge_table_types(table, tell, inspect);
    }
    if (pg_conn_query(inspect->conn, pg_check_tables_sql(), 1, parameters, QUERY_TIMEOUT_MS, on_table_details, inspect,
                      &error))
        return;
    tell_source_error(inspect, &error);
    replication_look(inspect);
}

static void on_tables(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    const char *publication = inspect->options.publication;
    struct err problem = {0};
    struct table **tables = NULL;
    uint32_t count = 0;
    struct table_choice choice = {0};
    if (error != NULL || !table_choice_parse(inspect->options.tables, &choice, &problem) ||
        !pg_catalog_read_tables_as_they_are(result, &tables, &count, &problem)) {
        tell_source_error(inspect, error != NULL ? error : &problem);
    } else if (count == 0) {
        err_set(&problem, ERR_CONFIG, "publication_empty",
                "publication \"%s\" holds no table" FINDING_MEND "ALTER PUBLICATION \"%s\" ADD TABLE %s", publication,
                publication, inspect->tables_to_publish != NULL ? inspect->tables_to_publish : "…");
        tell_source_error(inspect, &problem);
    } else {
        good(inspect, "publication %s: %u table%s", publication, count, count == 1 ? "" : "s");
    }
    tables_choose(inspect, &choice, tables, &count);
    table_choice_deinit(&choice);
    inspect->tables = calloc((size_t)count + 1, sizeof *inspect->tables);
    CHECK(inspect->tables != NULL);
    inspect->table_count = count;
    for (uint32_t i = 0; i < count; i++)
        inspect->tables[i] = (struct inspected_table){.inspect = inspect, .table = tables[i]};
    free(tables);
    go(inspect, count > 0 ? tables_judge : replication_look);
}

static void on_details(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    struct judge_subject subject = subject_of(inspect);
    struct pg_check_source details;
    struct err problem = {0};
    const char *parameters[] = {inspect->options.publication};
    if (error == NULL && pg_check_read_source(result, &details, &problem))
        subject.details = &details;
    else
        tell_source_error(inspect, error != NULL ? error : &problem);
    judge_source(&subject, tell, inspect);
    if (subject.details != NULL) {
        const char *tables = judge_tables_to_publish(details.tables_to_publish);
        inspect->tables_to_publish = tables != NULL ? strdup(tables) : NULL;
        judge_source_details(&subject, tell, inspect);
    }
    inspect->encoding = encoding_find(inspect->facts.encoding);
    if (!inspect->facts.publication_exists || inspect->encoding == NULL) {
        go(inspect, replication_look);
    } else if (!pg_conn_query(inspect->conn, pg_catalog_tables_sql(), 1, parameters, QUERY_TIMEOUT_MS, on_tables,
                              inspect, &problem)) {
        tell_source_error(inspect, &problem);
        go(inspect, sink_look);
    }
}

static void on_facts(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    struct err problem = {0};
    const char *parameters[] = {inspect->options.publication, inspect->options.slot};
    if (error != NULL || !pg_catalog_read_facts(result, &inspect->facts, &problem)) {
        tell_source_error(inspect, error != NULL ? error : &problem);
        go(inspect, sink_look);
        return;
    }
    good(inspect, "source %s: PostgreSQL %d.%d, signed in as %s", inspect->options.source_text,
         inspect->facts.server_version / 10000, inspect->facts.server_version % 10000, inspect->facts.user);
    if (pg_conn_query(inspect->conn, pg_check_source_sql(), 2, parameters, QUERY_TIMEOUT_MS, on_details, inspect,
                      &problem))
        return;
    tell_source_error(inspect, &problem);
    go(inspect, sink_look);
}

static void on_round_trip(void *context, const PGresult *result, const struct err *error)
{
    struct inspect *inspect = context;
    const char *parameters[] = {inspect->options.publication, inspect->options.slot};
    struct err problem = {0};
    (void)result;
    timed(inspect, "source_query");
    if (error == NULL && pg_conn_query(inspect->conn, pg_catalog_facts_sql(), 2, parameters, QUERY_TIMEOUT_MS, on_facts,
                                       inspect, &problem))
        return;
    tell_source_error(inspect, error != NULL ? error : &problem);
    go(inspect, sink_look);
}

static void on_open(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    const struct pg_target *source = inspect->options.source;
    struct err problem = {0};
    timed(inspect, "source_connect");
    if (error == NULL &&
        pg_conn_query(inspect->conn, "SELECT 1", 0, NULL, QUERY_TIMEOUT_MS, on_round_trip, inspect, &problem))
        return;
    judge_connection(error != NULL ? error : &problem, source->user, source->database, inspect->options.source_text,
                     tell, inspect);
    go(inspect, sink_look);
}

static void on_broken(void *context, const struct err *error)
{
    struct inspect *inspect = context;
    if (inspect->is_source_done)
        return;
    tell_source_error(inspect, error);
    go(inspect, sink_look);
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
    inspect->replication = pg_conn_new(loop, resolver);
    CHECK(inspect->conn != NULL && inspect->replication != NULL);
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
    tell_source_error(inspect, &error);
    go(inspect, sink_look);
}

void inspect_free(struct inspect *inspect)
{
    loop_defer_stop(inspect->loop, &inspect->next);
    pg_conn_free(inspect->conn);
    pg_conn_free(inspect->replication);
    if (inspect->sink != NULL)
        inspect->sink->operations->free(inspect->sink);
    for (uint32_t i = 0; i < inspect->table_count; i++)
        table_free(inspect->tables[i].table);
    free(inspect->tables);
    free(inspect->tables_to_publish);
    free(inspect);
}
