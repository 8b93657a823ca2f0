// Changes of a publication to standard output, one JSON object a line, from now on. Uses a temporary slot, which is gone with the connection.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/endpoints.h"
#include "encode/encoding.h"
#include "encode/ndjson.h"
#include "io/resolver.h"
#include "pg/pg_catalog.h"
#include "pg/pg_stream.h"
#include "pg/pgoutput.h"

#define CONNECT_TIMEOUT_MS 15000
#define QUERY_TIMEOUT_MS 60000
#define LINE_BYTES_MAX (1U << 30)
#define TAIL_EPOCH 1

enum { TAIL_COUNT, TAIL_HELP, TAIL_ASK_PASSWORD, TAIL_OPTION_COUNT };

static const struct option_spec options[TAIL_OPTION_COUNT] = {
    [TAIL_COUNT] = {"count", NULL, OPTION_NUMBER, "N", "0", 0, INT64_MAX, NULL,
                    "end after so many changes; 0: go on until Ctrl-C"},
    [TAIL_HELP] = {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
    [TAIL_ASK_PASSWORD] = ENDPOINTS_ASK_PASSWORD_OPTION,
};

struct tail_table {
    struct table *table;
    struct row_encoder encoder;
    char *prefix;  // {"_ETL_TABLE":"schema.table",
    bool is_usable;
};

struct tail {
    struct loop *loop;
    struct resolver *resolver;
    struct endpoints *endpoints;
    struct pg_conn *conn;
    struct pg_stream *stream;
    struct pg_source_facts facts;
    const struct encoding *encoding;
    struct tail_table *tables;
    uint32_t table_count;
    struct pgoutput_scratch *scratch;
    struct loop_deferred begin_stream;
    struct loop_watch signals;
    struct buf line;
    lsn_t commit_lsn;
    uint32_t message_number;
    uint64_t changes, changes_max;
    char slot[64];
    struct err error;
};

static void stop_with(struct tail *tail, const struct err *error)
{
    if (error != NULL && !err_is_set(&tail->error))
        tail->error = *error;
    loop_stop(tail->loop);
}

// --- the stream --------------------------------------------------------------------------------------------------

static struct tail_table *find_table(struct tail *tail, uint32_t oid)
{
    for (uint32_t i = 0; i < tail->table_count; i++)
        if (tail->tables[i].table->oid == oid && tail->tables[i].is_usable)
            return &tail->tables[i];
    return NULL;
}

static bool write_line(struct tail *tail, struct tail_table *table, const struct row_change *change)
{
    buf_reset(&tail->line);
    if (!ndjson_append_change(&table->encoder, change, &tail->line, &tail->error))
        return false;
    // The line is an object: the table's name goes in front of its first member.
    if (fputs(table->prefix, stdout) < 0 ||
        fwrite(tail->line.data + 1, 1, tail->line.size - 1, stdout) != tail->line.size - 1)
        return err_set(&tail->error, ERR_INTERNAL, "output", "standard output cannot be written: %s", strerror(errno));
    tail->changes++;
    return tail->changes_max == 0 || tail->changes < tail->changes_max;
}

static bool on_change(struct tail *tail, const struct pgoutput_message *message)
{
    struct row_change change = {
        .seq = {.commit_lsn = tail->commit_lsn, .ordinal = 2 * ++tail->message_number, .epoch = TAIL_EPOCH}};
    if (message->kind == PGOUTPUT_TRUNCATE) {
        change.op = 'T';
        for (uint32_t i = 0; i < message->truncate.relation_count; i++) {
            struct tail_table *table = find_table(tail, pgoutput_truncated(message, i));
            if (table != NULL && !write_line(tail, table, &change))
                return false;
        }
        return true;
    }
    struct tail_table *table = find_table(tail, message->relation_oid);
    change.op = message->kind == PGOUTPUT_INSERT ? 'I' : message->kind == PGOUTPUT_UPDATE ? 'U' : 'D';
    change.new_row = message->change.new_row;
    change.old_row = message->change.old_row;
    if (table != NULL && ndjson_splits(&table->encoder, &change)) {
        struct row_change removed, added;
        ndjson_split(&change, &removed, &added);
        return write_line(tail, table, &removed) && write_line(tail, table, &added);
    }
    return table == NULL || write_line(tail, table, &change);
}

// A relation whose columns are not those that were asked for cannot be read by its table's encoders.
static void on_relation(struct tail *tail, const struct pgoutput_message *message)
{
    struct tail_table *table = find_table(tail, message->relation_oid);
    if (table == NULL || message->relation.column_count == table->table->column_count)
        return;
    table->is_usable = false;
    fprintf(stderr, "etl-stream: %s.%s changed its columns; its changes are left out from here on\n",
            table->table->schema_name, table->table->table_name);
}

static bool on_message(void *context, const uint8_t *data, size_t size, lsn_t wal_start)
{
    struct tail *tail = context;
    struct pgoutput_message message;
    bool goes_on = true;
    (void)wal_start;
    if (!pgoutput_decode(data, size, tail->scratch, &message, &tail->error)) {
        loop_stop(tail->loop);
        return false;
    }
    if (message.kind == PGOUTPUT_BEGIN) {
        tail->commit_lsn = message.begin.commit_lsn;
        tail->message_number = 0;
    } else if (message.kind == PGOUTPUT_RELATION) {
        on_relation(tail, &message);
    } else if (message.kind == PGOUTPUT_COMMIT) {
        pg_stream_confirm(tail->stream, message.commit.end_lsn);
    } else if (message.kind == PGOUTPUT_INSERT || message.kind == PGOUTPUT_UPDATE || message.kind == PGOUTPUT_DELETE ||
               message.kind == PGOUTPUT_TRUNCATE) {
        goes_on = on_change(tail, &message);
    }
    if (!goes_on)
        loop_stop(tail->loop);
    return goes_on;
}

static void on_turn_end(void *context)
{
    struct tail *tail = context;
    if (fflush(stdout) != 0) {
        err_set(&tail->error, ERR_INTERNAL, "output", "standard output cannot be written: %s", strerror(errno));
        loop_stop(tail->loop);
    }
}

static void on_started(void *context)
{
    struct tail *tail = context;
    fprintf(stderr, "etl-stream: reading changes of publication %s on %s\n", tail->endpoints->publication,
            tail->endpoints->source_text);
}

static void on_keepalive(void *context, lsn_t lsn)
{
    struct tail *tail = context;
    pg_stream_confirm(tail->stream, lsn);
}

static void on_ended(void *context, const struct err *error)
{
    stop_with(context, error);
}

static void on_warning(void *context, const char *sqlstate, const char *text)
{
    (void)context;
    fprintf(stderr, "etl-stream: the server warns: %s (%s)\n", text, sqlstate);
}

static void on_begin_stream(struct loop_deferred *deferred)
{
    struct tail *tail = deferred->context;
    struct err error = {0};
    bool wants_text = false;
    struct pg_stream_events events = {.on_started = on_started,
                                      .on_message = on_message,
                                      .on_keepalive = on_keepalive,
                                      .on_turn_end = on_turn_end,
                                      .on_ended = on_ended,
                                      .on_warning = on_warning,
                                      .context = tail};
    for (uint32_t i = 0; i < tail->table_count; i++)
        wants_text |= tail->tables[i].is_usable && row_encoder_wants_text(&tail->tables[i].encoder);
    pg_conn_free(tail->conn);
    tail->conn = NULL;
    (void)snprintf(tail->slot, sizeof tail->slot, "etl_tail_%ld", (long)getpid());
    struct pg_stream_options stream_options = {.slot = tail->slot,
                                               .makes_temporary_slot = true,
                                               .publication = tail->endpoints->publication,
                                               .is_binary = !wants_text,
                                               .client_encoding = tail->facts.encoding};
    tail->stream = pg_stream_new(tail->loop, tail->resolver);
    if (!pg_stream_start(tail->stream, &tail->endpoints->source, &stream_options, &events, &error))
        stop_with(tail, &error);
}

// --- the source --------------------------------------------------------------------------------------------------

static bool table_take(struct tail *tail, struct table *take_table, struct tail_table *out, struct err *out_error)
{
    const struct typemap_options types = {0};
    char name[160];
    table_format_name(take_table, name, sizeof name);
    out->table = take_table;
    out->is_usable = row_encoder_init(&out->encoder, take_table, tail->encoding, &types, out_error);
    buf_reset(&tail->line);
    buf_append_text(&tail->line, "{\"_ETL_TABLE\":\"");
    encoding_append_json(encoding_find("UTF8"), (const uint8_t *)name, strlen(name), &tail->line);
    buf_append_text(&tail->line, "\",");
    out->prefix = strdup(buf_text(&tail->line));
    CHECK(out->prefix != NULL);
    return out->is_usable;
}

static void on_tables(void *context, const PGresult *result, const struct err *error)
{
    struct tail *tail = context;
    struct table **tables = NULL;
    struct err problem = {0};
    if (error != NULL || !pg_catalog_read_tables(result, NULL, &tables, &tail->table_count, &problem)) {
        stop_with(tail, error != NULL ? error : &problem);
        return;
    }
    tail->tables = calloc((size_t)tail->table_count + 1, sizeof *tail->tables);
    CHECK(tail->tables != NULL);
    for (uint32_t i = 0; i < tail->table_count; i++)
        if (!table_take(tail, tables[i], &tail->tables[i], &problem))
            fprintf(stderr, "etl-stream: %s\n", problem.text);
    free(tables);
    loop_defer(tail->loop, &tail->begin_stream);
}

static void on_facts(void *context, const PGresult *result, const struct err *error)
{
    struct tail *tail = context;
    struct err problem = {0};
    const char *parameters[] = {tail->endpoints->publication};
    if (error != NULL || !pg_catalog_read_facts(result, &tail->facts, &problem)) {
        stop_with(tail, error != NULL ? error : &problem);
        return;
    }
    tail->encoding = encoding_find(tail->facts.encoding);
    if (!tail->facts.publication_exists)
        err_set(&problem, ERR_CONFIG, "publication_missing", "publication \"%s\" does not exist on %s",
                tail->endpoints->publication, tail->endpoints->source_text);
    else if (tail->encoding == NULL)
        err_set(&problem, ERR_CONFIG, "encoding", "%s is encoded in %s, which this machine's iconv does not know",
                tail->endpoints->source_text, tail->facts.encoding);
    else if (pg_conn_query(tail->conn, pg_catalog_tables_sql(), 1, parameters, QUERY_TIMEOUT_MS, on_tables, tail,
                           &problem))
        return;
    stop_with(tail, &problem);
}

static void on_open(void *context, const struct err *error)
{
    struct tail *tail = context;
    struct err problem = {0};
    const char *parameters[] = {tail->endpoints->publication, tail->slot};
    if (error != NULL)
        stop_with(tail, error);
    else if (!pg_conn_query(tail->conn, pg_catalog_facts_sql(), 2, parameters, QUERY_TIMEOUT_MS, on_facts, tail,
                            &problem))
        stop_with(tail, &problem);
}

static void on_signal(struct loop_watch *watch, unsigned events)
{
    (void)events;
    stop_with(watch->context, NULL);
}

static bool watch_signals(struct tail *tail, struct err *out_error)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    tail->signals = (struct loop_watch){.on_ready = on_signal, .context = tail, .fd = -1};
    if (fd < 0)
        return err_set(out_error, ERR_INTERNAL, "signalfd", "signals cannot be received: %s", strerror(errno));
    return loop_watch_set(tail->loop, &tail->signals, fd, LOOP_READ, out_error);
}

static void tail_close(struct tail *tail)
{
    if (tail->loop == NULL)
        return;
    if (tail->stream != NULL)
        pg_stream_free(tail->stream);
    if (tail->conn != NULL)
        pg_conn_free(tail->conn);
    for (uint32_t i = 0; i < tail->table_count; i++) {
        if (tail->tables[i].is_usable)
            row_encoder_deinit(&tail->tables[i].encoder);
        table_free(tail->tables[i].table);
        free(tail->tables[i].prefix);
    }
    free(tail->tables);
    if (tail->resolver != NULL)
        resolver_free(tail->resolver);
    int fd = tail->signals.fd;
    loop_watch_stop(tail->loop, &tail->signals);
    if (fd >= 0)
        close(fd);
    loop_defer_stop(tail->loop, &tail->begin_stream);
    loop_free(tail->loop);
    buf_deinit(&tail->line);
    free(tail->scratch);
}

static int tail_run(struct tail *tail)
{
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_ended, .context = tail};
    struct err error = {0};
    tail->loop = loop_new(&clock_system, &error);
    buf_init(&tail->line, LINE_BYTES_MAX);
    tail->scratch = malloc(sizeof *tail->scratch);
    CHECK(tail->scratch != NULL);
    tail->begin_stream = (struct loop_deferred){.call = on_begin_stream, .context = tail};
    if (tail->loop != NULL && watch_signals(tail, &error)) {
        tail->resolver = resolver_new(tail->loop, &error);
        tail->conn = tail->resolver != NULL ? pg_conn_new(tail->loop, tail->resolver) : NULL;
        if (tail->conn != NULL &&
            pg_conn_open(tail->conn, &tail->endpoints->source, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events, &error))
            loop_run(tail->loop);
    }
    tail_close(tail);
    if (!err_is_set(&tail->error))
        tail->error = error;
    return err_is_set(&tail->error) ? command_fail(&tail->error, EXIT_FAILED) : EXIT_DONE;
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[TAIL_OPTION_COUNT];
    const char *source = NULL;
    size_t operand_count = 0;
    struct endpoints endpoints;
    struct err error = {0};
    if (!options_parse(options, TAIL_OPTION_COUNT, count, arguments, values, &source, 1, &operand_count, &error))
        return command_fail(&error, EXIT_USAGE);
    if (values[TAIL_HELP].flag) {
        command_print_help(command);
        return EXIT_DONE;
    }
    if (operand_count == 0) {
        err_set(&error, ERR_CONFIG, "usage",
                "tail needs a source: postgres://USER@HOST:PORT/DATABASE?publication=NAME");
        return command_fail(&error, EXIT_USAGE);
    }
    if (!endpoints_read(source, NULL, NULL, &endpoints, &error))
        return command_fail(&error, EXIT_USAGE);
    endpoints_hide_passwords(count, arguments);
    endpoints_warn(&endpoints);
    if (!endpoints_ask_password(&values[TAIL_ASK_PASSWORD], &endpoints, &error)) {
        endpoints_deinit(&endpoints);
        return command_fail(&error, EXIT_USAGE);
    }
    struct tail tail = {
        .endpoints = &endpoints, .changes_max = (uint64_t)values[TAIL_COUNT].number, .signals = {.fd = -1}};
    int exit_code = tail_run(&tail);
    endpoints_deinit(&endpoints);
    return exit_code;
}

const struct command command_tail = {
    .name = "tail",
    .summary = "print the changes of a publication as NDJSON",
    .usage = "tail postgres://USER@HOST:PORT/DATABASE?publication=NAME [OPTION…]",
    .details = "Prints changes from now on, a JSON object a line, as they would be sent to Snowflake, with the table's "
               "name in\n"
               "_ETL_TABLE. It uses a temporary replication slot: nothing is left on the source.\n\n"
               "Example:\n  etl-stream tail 'postgres://etl@db.example.com/shop?publication=etl' --count 10\n",
    .options = options,
    .option_count = TAIL_OPTION_COUNT,
    .run = run,
};
