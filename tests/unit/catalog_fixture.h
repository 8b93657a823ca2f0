// A catalog for a test: an SQLite file; with CONFIG_DB_… variables that PostgreSQL database, of which everything in the schema
// public is deleted before each test (test_catalog_postgres.py runs the tests so).
#ifndef ETL_TESTS_CATALOG_FIXTURE_H
#define ETL_TESTS_CATALOG_FIXTURE_H

#include "catalog/catalog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "catalog/config.h"
#include "catalog/db.h"
#include "catalog/requests.h"
#include "embedded_sql.h"

#define SPREAD "01000000000000000000000000:1 01000000000005000000001001:2"
#define WAIT_TURNS_MAX 6000
#define WAIT_TURN_US 20000

struct fixture {
    struct catalog_location location;
    char folder[64];
    char path[96];
    struct loop *loop;
    struct mailbox *replies, *news;
    struct catalog_save *reply;
    struct catalog_request *told[16];
    uint32_t told_count;
};

static inline void on_reply(void *context, void *message)
{
    struct fixture *fixture = context;
    assert_null(fixture->reply);
    fixture->reply = message;
}

static inline void on_news(void *context, void *message)
{
    struct fixture *fixture = context;
    assert_true(fixture->told_count < 16);
    fixture->told[fixture->told_count++] = message;
}

static inline void discard(void *message)
{
    catalog_save_free(message);
}

static inline void discard_request(void *message)
{
    catalog_request_free(message);
}

static inline struct db *open_raw(const struct fixture *fixture)
{
    struct err error = {0};
    struct db *db = fixture->location.is_postgres ? db_postgres_open(&fixture->location, NULL, &error)
                                                  : db_sqlite_open(&fixture->location, false, &error);
    assert_string_equal(error.text, "");
    assert_non_null(db);
    return db;
}

// As somebody else with plain SQL.
static inline void run_sql(const struct fixture *fixture, const char *sql)
{
    struct err error = {0};
    struct db *db = open_raw(fixture);
    db_script(db, sql, &error);
    assert_string_equal(error.text, "");
    db_close(db);
}

static inline bool keep_text(void *context, const char *const *values)
{
    (void)snprintf(context, 256, "%s", values[0] != NULL ? values[0] : "(null)");
    return true;
}

static inline const char *ask_sql(const struct fixture *fixture, const char *sql)
{
    static char text[256];
    struct err error = {0};
    struct db *db = open_raw(fixture);
    struct db_query query = {.sql = sql, .on_row = keep_text, .context = text};
    text[0] = '\0';
    db_query(db, &query, &error);
    assert_string_equal(error.text, "");
    db_close(db);
    return text;
}

static inline int set_up(void **state)
{
    struct err error = {0};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/etl-catalog-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/state.db", fixture->folder);
    assert_true(catalog_location_read(fixture->path, false, &fixture->location, &error));
    if (fixture->location.is_postgres)
        run_sql(fixture, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    fixture->loop = loop_new(&clock_system, &error);
    fixture->replies = mailbox_new(fixture->loop, 8, on_reply, fixture, &error);
    fixture->news = mailbox_new(fixture->loop, 16, on_news, fixture, &error);
    assert_non_null(fixture->replies);
    assert_non_null(fixture->news);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    static const char *const endings[] = {"", "-wal", "-shm"};
    mailbox_free(fixture->replies, discard);
    mailbox_free(fixture->news, discard_request);
    for (uint32_t i = 0; i < fixture->told_count; i++)
        catalog_request_free(fixture->told[i]);
    loop_free(fixture->loop);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s%s", fixture->path, endings[i]);
        unlink(path);
    }
    rmdir(fixture->folder);
    catalog_location_deinit(&fixture->location);
    free(fixture);
    return 0;
}

static inline struct catalog *open_as(const struct fixture *fixture, enum catalog_role role)
{
    struct err error = {0};
    struct catalog *catalog = catalog_open(&fixture->location, role, &error);
    assert_string_equal(error.text, "");
    assert_non_null(catalog);
    return catalog;
}

static inline struct catalog *open_service(const struct fixture *fixture)
{
    return open_as(fixture, CATALOG_SERVICE);
}

static inline struct catalog *start_service(const struct fixture *fixture)
{
    struct err error = {0};
    struct catalog *catalog = open_service(fixture);
    catalog_listen(catalog, fixture->news);
    catalog_start(catalog, &error);
    assert_string_equal(error.text, "");
    return catalog;
}

static inline void save_and_wait(struct fixture *fixture, struct catalog *catalog, struct catalog_save *save)
{
    save->reply_to = fixture->replies;
    assert_true(catalog_send(catalog, save));
    for (int i = 0; i < WAIT_TURNS_MAX && fixture->reply == NULL; i++)
        loop_turn(fixture->loop, WAIT_TURN_US);
    assert_ptr_equal(fixture->reply, save);
    fixture->reply = NULL;
}

static inline struct catalog_save *sample_save(void)
{
    struct catalog_save *save = catalog_save_new(1, 2);
    save->has_pipeline = true;
    save->pipeline = (struct catalog_pipeline){.name = "p",
                                               .identity = "00FF00FF00FF00FF",
                                               .slot = "etl_p",
                                               .source = "source",
                                               .destination = "destination",
                                               .system_identifier = "7500000000000000001",
                                               .timeline = 3,
                                               .epoch = 255,
                                               .is_slot_made = true,
                                               .received_lsn = UINT64_MAX,
                                               .floor_lsn = UINT64_MAX - 1,
                                               .merged_lsn = 0x16B374D848,
                                               .state_epoch = 254,
                                               .state_lsn = 7,
                                               .writer = "0123456789ABCDEF",
                                               .merge_intent_lsn = 8};
    save->tables[0] = (struct catalog_table){.oid = UINT32_MAX,
                                             .schema_name = "it's",
                                             .table_name = "orders",
                                             .state = CATALOG_TABLE_COPIED,
                                             .copy_lsn = 9,
                                             .copied_rows = 1ULL << 40,
                                             .is_in_merge = true,
                                             .reason = "why",
                                             .reason_code = "rows_refused"};
    assert_true(spread_parse(SPREAD, &save->tables[0].spread));
    save->channels[0] = (struct catalog_channel){
        .name = "ETL_X_S0", .table_oid = UINT32_MAX, .token = "01", .created_on_ms = 123456789012, .error_count = 4};
    save->channels[1] = (struct catalog_channel){.name = "ETL_X_S1", .table_oid = UINT32_MAX};
    save->status_json = strdup("{\"state\":\"running\"}");
    return save;
}

static inline void edit(struct catalog *catalog, const struct catalog_edit *edits, uint32_t count)
{
    struct err error = {0};
    catalog_edit(catalog, edits, count, &error);
    assert_string_equal(error.text, "");
}

static const struct catalog_change source_changes[] = {{"pg_host", "db.example.com"}, {"pg_database", "shop"},
                                                       {"pg_username", "etl"},        {"pg_password", "it's secret"},
                                                       {"pg_tls_enabled", "true"},    {"publication_name", "etl"},
                                                       {"sslrootcert", "/ca.pem"}};
static const struct catalog_change destination_changes[] = {
    {"destination_type", "snowflake"}, {"snowflake_account", "MYORG-A"}, {"snowflake_task_schedule_minutes", "5"}};
static const struct catalog_change pipeline_changes[] = {
    {"source", "shop"}, {"destination", "sf"}, {"batch_max_size", "7"}, {"on_slot_lost", "resync"}};

static const struct catalog_edit all_three[] = {
    {CATALOG_ADD, CATALOG_SOURCE, "shop", source_changes, 7},
    {CATALOG_ADD, CATALOG_DESTINATION, "sf", destination_changes, 3},
    {CATALOG_ADD, CATALOG_PIPELINE, "shop-sf", pipeline_changes, 4},
};

#endif
