// What the WAL monitor keeps (monitor/keep.h), and what it wants to know of pipelines that other processes run.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/process.h"
#include "catalog/catalog_private.h"
#include "embedded_sql.h"

#define NUMBER_SIZE 24

static bool on_row(void *context, const char *const *values)
{
    catalog_request_add_row(context, values[0], values[1], values[2], values[3], strtoll(values[4], NULL, 10));
    return true;
}

bool watch_load(struct db *db, struct catalog_request *request)
{
    const char *parameters[] = {request->pipeline};
    struct db_query query = {.sql = "SELECT kind, name, json, process, seen_ms FROM etl_watch WHERE scope = $1",
                             .parameter_count = 1,
                             .parameters = parameters,
                             .on_row = on_row,
                             .context = request};
    return db_query(db, &query, &request->error);
}

static bool save_row(struct db *db, const char *scope, const struct catalog_watch_row *row, const char *process,
                     const char *now, struct err *out_error)
{
    const char *parameters[] = {scope, row->kind, row->name, row->json, process, now};
    if (row->json == NULL)
        return db_run(db, "DELETE FROM etl_watch WHERE scope = $1 AND kind = $2 AND name = $3", 3, parameters, NULL,
                      out_error);
    return db_run(db, sql_catalog_save_watch, 6, parameters, NULL, out_error);
}

bool watch_save(struct db *db, const struct catalog_request *request, struct err *out_error)
{
    char process[PROCESS_TEXT_SIZE], now[NUMBER_SIZE];
    process_describe(process);
    (void)snprintf(now, sizeof now, "%" PRId64, clock_system.wall_us(clock_system.context) / 1000);
    bool is_done = db_begin(db, out_error) && state_check_claim(db, request->pipeline, request->claim, out_error);
    for (uint32_t i = 0; is_done && i < request->row_count; i++)
        is_done = save_row(db, request->pipeline, &request->rows[i], process, now, out_error);
    is_done = is_done && db_commit(db, out_error);
    db_rollback(db);
    return is_done;
}

static bool on_status(void *context, const char *const *values)
{
    catalog_request_add_row(context, "status", values[0], values[1], NULL, strtoll(values[2], NULL, 10));
    return true;
}

bool watch_statuses(struct db *db, struct catalog_request *request)
{
    char process[PROCESS_TEXT_SIZE];
    process_describe(process);
    const char *parameters[] = {process, request->arguments != NULL ? request->arguments : "{}"};
    struct db_query query = {.sql = sql_catalog_statuses_elsewhere,
                             .parameter_count = 2,
                             .parameters = parameters,
                             .on_row = on_status,
                             .context = request};
    return !db->location->is_postgres || db_query(db, &query, &request->error);
}

// --- for those who only look -------------------------------------------------------------------------------------

struct each_watched {
    void (*on_row)(void *context, const char *scope, const struct catalog_watch_row *row);
    void *context;
};

static char *text_of(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

static bool on_each(void *context, const char *const *values)
{
    const struct each_watched *each = context;
    struct catalog_watch_row row = {.kind = text_of(values[1]),
                                    .name = text_of(values[2]),
                                    .json = text_of(values[3]),
                                    .process = text_of(values[4]),
                                    .seen_ms = strtoll(values[5], NULL, 10)};
    each->on_row(each->context, values[0], &row);
    free(row.kind);
    free(row.name);
    free(row.json);
    free(row.process);
    return true;
}

bool catalog_each_watched(struct catalog *catalog,
                          void (*on_watched)(void *context, const char *scope, const struct catalog_watch_row *row),
                          void *context, struct err *out_error)
{
    struct each_watched each = {.on_row = on_watched, .context = context};
    struct db_query query = {.sql = "SELECT scope, kind, name, json, process, seen_ms FROM etl_watch "
                                    "ORDER BY scope, kind, name",
                             .on_row = on_each,
                             .context = &each};
    CHECK(!catalog->is_started);
    return db_query(catalog->db, &query, out_error);
}
