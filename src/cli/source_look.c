#include "cli/source_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "io/loop.h"
#include "io/resolver.h"
#include "pg/pg_conn.h"
#include "pipeline/inspect.h"
#include "supervisor/configure.h"

#define TIMEOUT_MS 15000
#define SQL_BYTES_MAX 65536
// No slot is looked for: pipelines have theirs.
#define NO_SLOT "etl_stream_no_slot"

struct look {
    struct loop *loop;
    struct resolver *resolver;
    struct pg_conn *conn;
    struct err error;
};

static bool look_open(struct look *look, struct err *out_error)
{
    look->loop = loop_new(&clock_system, out_error);
    look->resolver = look->loop != NULL ? resolver_new(look->loop, out_error) : NULL;
    return look->resolver != NULL;
}

static void look_close(struct look *look)
{
    if (look->conn != NULL)
        pg_conn_free(look->conn);
    if (look->resolver != NULL)
        resolver_free(look->resolver);
    if (look->loop != NULL)
        loop_free(look->loop);
}

// --- looking ---------------------------------------------------------------------------------------------------------

// Notes are for etl-stream check.
static void on_finding(void *context, const struct finding *finding)
{
    (void)context;
    if (finding->severity != FINDING_NOTE)
        fprintf(stderr, "etl-stream: warning: %s%s%s\n", finding->what, finding->statement != NULL ? FINDING_MEND : "",
                finding->statement != NULL ? finding->statement : "");
}

static void on_good(void *context, const char *text)
{
    (void)context;
    (void)text;
}

static void on_looked(void *context)
{
    const struct look *look = context;
    loop_stop(look->loop);
}

void source_warn(const struct catalog_object *source)
{
    struct look look = {.loop = NULL};
    struct err error = {0};
    struct pg_target target = {0};
    char *publication = NULL, text[256];
    if (configure_source(source, &target, &publication, &error) && look_open(&look, &error)) {
        pg_target_describe(&target, text, sizeof text);
        struct inspect_options options = {
            .slot = NO_SLOT, .publication = publication, .source = &target, .source_text = text};
        struct inspect_events events = {
            .on_finding = on_finding, .on_good = on_good, .on_done = on_looked, .context = &look};
        struct inspect *inspect = inspect_new(look.loop, look.resolver, &options, &events);
        inspect_start(inspect);
        loop_run(look.loop);
        inspect_free(inspect);
    }
    if (err_is_set(&error))
        fprintf(stderr, "etl-stream: warning: %s; the source was not looked at\n", error.text);
    look_close(&look);
    pg_target_deinit(&target);
    free(publication);
}

// --- a publication ---------------------------------------------------------------------------------------------------

static void on_open(void *context, const struct err *error)
{
    struct look *look = context;
    if (error != NULL)
        look->error = *error;
    loop_stop(look->loop);
}

static void on_broken(void *context, const struct err *error)
{
    on_open(context, error);
}

static void on_result(void *context, const PGresult *result, const struct err *error)
{
    (void)result;
    on_open(context, error);
}

static bool append_identifier(struct buf *sql, const char *text, size_t size, struct err *out_error)
{
    if (size == 0)
        return err_set(out_error, ERR_CONFIG, "tables", "--tables holds an empty name; allowed is SCHEMA.TABLE,…");
    buf_append_byte(sql, '"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            buf_append_byte(sql, '"');
        buf_append_byte(sql, (uint8_t)text[i]);
    }
    buf_append_byte(sql, '"');
    return true;
}

static bool publication_sql(const char *publication, const char *tables, struct buf *sql, struct err *out_error)
{
    buf_append_text(sql, "CREATE PUBLICATION ");
    if (!append_identifier(sql, publication, strlen(publication), out_error))
        return false;
    if (tables == NULL) {
        buf_append_text(sql, " FOR ALL TABLES");
        return true;
    }
    buf_append_text(sql, " FOR TABLE ");
    for (const char *at = tables; *at != '\0' || at == tables;) {
        size_t size = strcspn(at, ",");
        const char *dot = memchr(at, '.', size);
        const char *schema = dot != NULL ? at : "public", *table = dot != NULL ? dot + 1 : at;
        if (at != tables)
            buf_append_text(sql, ", ");
        if (!append_identifier(sql, schema, dot != NULL ? (size_t)(dot - at) : strlen(schema), out_error))
            return false;
        buf_append_byte(sql, '.');
        if (!append_identifier(sql, table, (size_t)(at + size - table), out_error))
            return false;
        at += size + (at[size] == ',');
    }
    return true;
}

static bool run_sql(const struct pg_target *target, const char *sql, struct err *out_error)
{
    struct look look = {.loop = NULL};
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = &look};
    bool is_done = look_open(&look, out_error);
    if (is_done) {
        look.conn = pg_conn_new(look.loop, look.resolver);
        CHECK(look.conn != NULL);
        is_done = pg_conn_open(look.conn, target, false, NULL, NULL, TIMEOUT_MS, &events, out_error);
    }
    if (is_done) {
        loop_run(look.loop);
        is_done =
            !err_is_set(&look.error) && pg_conn_query(look.conn, sql, 0, NULL, TIMEOUT_MS, on_result, &look, out_error);
        if (is_done)
            loop_run(look.loop);
        if (err_is_set(&look.error))
            *out_error = look.error;
        is_done = is_done && !err_is_set(&look.error);
    }
    look_close(&look);
    return is_done;
}

bool source_create_publication(const struct catalog_object *source, const char *tables, struct buf *out_sql,
                               struct err *out_error)
{
    struct pg_target target = {0};
    char *publication = NULL;
    buf_init(out_sql, SQL_BYTES_MAX);
    bool is_done = configure_source(source, &target, &publication, out_error) &&
                   publication_sql(publication, tables, out_sql, out_error) &&
                   (!out_sql->failed || err_set(out_error, ERR_CONFIG, "tables", "--tables is too long")) &&
                   run_sql(&target, buf_text(out_sql), out_error);
    if (!is_done && strcmp(out_error->code, "42710") == 0)
        err_set(out_error, ERR_CONFIG, "42710",
                "publication \"%s\" is there already; leave --create-publication out to use it as it is", publication);
    else if (!is_done && strcmp(out_error->code, "42501") == 0)
        err_set(out_error, ERR_CONFIG, "42501",
                tables == NULL
                    ? "%s may not make a publication of all tables, which only a superuser may; name those of "
                      "its own with --tables, or have a superuser make it"
                    : "%s may not make this publication: it needs CREATE on the database and must own the tables",
                target.user);
    pg_target_deinit(&target);
    free(publication);
    return is_done;
}
