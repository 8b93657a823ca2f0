// The catalog, in an SQLite file; with CONFIG_DB_… variables in that PostgreSQL database, of which everything in the schema
// public is deleted before each test (test_catalog_postgres.py runs it so).
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
#define WAIT_TURNS_MAX 1500
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

static void on_reply(void *context, void *message)
{
    struct fixture *fixture = context;
    assert_null(fixture->reply);
    fixture->reply = message;
}

static void on_news(void *context, void *message)
{
    struct fixture *fixture = context;
    assert_true(fixture->told_count < 16);
    fixture->told[fixture->told_count++] = message;
}

static void discard(void *message)
{
    catalog_save_free(message);
}

static void discard_request(void *message)
{
    catalog_request_free(message);
}

static struct db *open_raw(const struct fixture *fixture)
{
    struct err error = {0};
    struct db *db = fixture->location.is_postgres ? db_postgres_open(&fixture->location, NULL, &error)
                                                  : db_sqlite_open(&fixture->location, false, &error);
    assert_string_equal(error.text, "");
    assert_non_null(db);
    return db;
}

// As somebody else with plain SQL.
static void run_sql(const struct fixture *fixture, const char *sql)
{
    struct err error = {0};
    struct db *db = open_raw(fixture);
    db_script(db, sql, &error);
    assert_string_equal(error.text, "");
    db_close(db);
}

static bool keep_text(void *context, const char *const *values)
{
    (void)snprintf(context, 256, "%s", values[0] != NULL ? values[0] : "(null)");
    return true;
}

static const char *ask_sql(const struct fixture *fixture, const char *sql)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static struct catalog *open_as(const struct fixture *fixture, enum catalog_role role)
{
    struct err error = {0};
    struct catalog *catalog = catalog_open(&fixture->location, role, &error);
    assert_string_equal(error.text, "");
    assert_non_null(catalog);
    return catalog;
}

static struct catalog *open_service(const struct fixture *fixture)
{
    return open_as(fixture, CATALOG_SERVICE);
}

static struct catalog *start_service(const struct fixture *fixture)
{
    struct err error = {0};
    struct catalog *catalog = open_service(fixture);
    catalog_listen(catalog, fixture->news);
    catalog_start(catalog, &error);
    assert_string_equal(error.text, "");
    return catalog;
}

static void save_and_wait(struct fixture *fixture, struct catalog *catalog, struct catalog_save *save)
{
    save->reply_to = fixture->replies;
    assert_true(catalog_send(catalog, save));
    for (int i = 0; i < WAIT_TURNS_MAX && fixture->reply == NULL; i++)
        loop_turn(fixture->loop, WAIT_TURN_US);
    assert_ptr_equal(fixture->reply, save);
    fixture->reply = NULL;
}

static struct catalog_save *sample_save(void)
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
                                             .reason = "why"};
    assert_true(spread_parse(SPREAD, &save->tables[0].spread));
    save->channels[0] = (struct catalog_channel){
        .name = "ETL_X_S0", .table_oid = UINT32_MAX, .token = "01", .created_on_ms = 123456789012, .error_count = 4};
    save->channels[1] = (struct catalog_channel){.name = "ETL_X_S1", .table_oid = UINT32_MAX};
    save->status_json = strdup("{\"state\":\"running\"}");
    return save;
}

static void load(const struct fixture *fixture, const char *name, struct catalog_known *out_known)
{
    struct err error = {0};
    struct catalog *catalog = open_service(fixture);
    assert_true(catalog_load(catalog, name, out_known, &error));
    catalog_close(catalog);
}

static void assert_same_table(const struct catalog_table *a, const struct catalog_table *b)
{
    char spread_a[SPREAD_TEXT_SIZE], spread_b[SPREAD_TEXT_SIZE];
    spread_format(&a->spread, spread_a);
    spread_format(&b->spread, spread_b);
    assert_string_equal(spread_a, spread_b);
    assert_memory_equal(a, b, offsetof(struct catalog_table, spread));
}

static void test_what_was_saved_is_loaded(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog_known known;
    struct catalog *catalog = open_service(fixture);
    struct catalog_save *save = sample_save();
    assert_true(catalog_start(catalog, &error));
    save_and_wait(fixture, catalog, save);
    assert_string_equal(save->error.text, "");
    catalog_close(catalog);

    load(fixture, "p", &known);
    assert_true(known.is_found);
    assert_memory_equal(&known.pipeline, &save->pipeline, sizeof known.pipeline);
    assert_int_equal(known.table_count, 1);
    assert_same_table(&known.tables[0], &save->tables[0]);
    assert_int_equal(known.channel_count, 2);
    assert_memory_equal(known.channels, save->channels, 2 * sizeof known.channels[0]);
    catalog_known_deinit(&known);
    load(fixture, "q", &known);
    assert_false(known.is_found);
    assert_int_equal(known.table_count, 0);
    assert_int_equal(known.channel_count, 0);
    catalog_known_deinit(&known);
    catalog_save_free(save);
}

static void test_channels_change_and_go_by_their_names(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog_known known;
    struct catalog *catalog = open_service(fixture);
    assert_true(catalog_start(catalog, &error));
    struct catalog_save *save = sample_save();
    save_and_wait(fixture, catalog, save);
    catalog_save_free(save);
    save = sample_save();
    save->table_count = 0;
    save->channels[0].is_gone = true;
    save->channels[1].table_oid = 7;
    (void)snprintf(save->channels[1].token, sizeof save->channels[1].token, "02");
    save_and_wait(fixture, catalog, save);
    assert_string_equal(save->error.text, "");
    catalog_save_free(save);
    catalog_close(catalog);
    load(fixture, "p", &known);
    assert_int_equal(known.table_count, 1);
    assert_int_equal(known.channel_count, 1);
    assert_string_equal(known.channels[0].name, "ETL_X_S1");
    assert_string_equal(known.channels[0].token, "02");
    assert_int_equal(known.channels[0].table_oid, 7);
    catalog_known_deinit(&known);
}

// What version 1 wrote: its schema, and the rows of a pipeline with a table that has a channel and one that has none.
static void make_version_1(const struct fixture *fixture)
{
    static const char rows[] =
        "INSERT INTO etl_pipelines VALUES ('p', '00FF00FF00FF00FF', 'etl_p', 's', 'd', '75', 1, 2, 1, "
        "'0000000000000009',"
        " '0000000000000008', '0000000000000007', 2, '0000000000000007', 'W', '0000000000000000');"
        "INSERT INTO etl_tables VALUES ('p', 'public', 'a', 16385, 3, '0000000000000005', 12, 0, '', 'ETL_A_E02_S0',"
        " '02000000000000000500000002', 123456789012, 4);"
        "INSERT INTO etl_tables VALUES ('p', 'public', 'b', 16390, 0, '0000000000000000', 0, 0, '', '', '', 0, 0);"
        "INSERT INTO etl_status VALUES ('p', '{}', 1);";
    run_sql(fixture, fixture->location.is_postgres ? sql_catalog_schema_1_postgres : "PRAGMA journal_mode = WAL");
    if (!fixture->location.is_postgres)
        run_sql(fixture, sql_catalog_schema_1);
    run_sql(fixture, rows);
}

static void test_an_older_version_is_upgraded_by_a_service(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog_known known;
    make_version_1(fixture);
    assert_null(catalog_open(&fixture->location, CATALOG_READER, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "version 1, made by an older etl-stream"));

    load(fixture, "p", &known);
    assert_true(known.is_found);
    assert_int_equal(known.pipeline.floor_lsn, 8);
    assert_int_equal(known.table_count, 2);
    assert_string_equal(known.tables[0].table_name, "a");
    assert_int_equal(known.tables[0].copied_rows, 12);
    assert_int_equal(known.tables[0].spread.step_count, 0);
    assert_int_equal(known.channel_count, 1);
    assert_string_equal(known.channels[0].name, "ETL_A_E02_S0");
    assert_string_equal(known.channels[0].token, "02000000000000000500000002");
    assert_int_equal(known.channels[0].table_oid, 16385);
    assert_int_equal(known.channels[0].created_on_ms, 123456789012);
    assert_int_equal(known.channels[0].error_count, 4);
    catalog_known_deinit(&known);
}

static void test_an_unreadable_spread_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog_known known;
    make_version_1(fixture);
    catalog_close(open_service(fixture));
    run_sql(fixture, "UPDATE etl_tables SET spread = 'x' WHERE table_name = 'b'");
    struct catalog *catalog = open_service(fixture);
    assert_false(catalog_load(catalog, "p", &known, &error));
    assert_non_null(strstr(error.text, "the channels of public.b cannot be read"));
    catalog_known_deinit(&known);
    catalog_close(catalog);
}

static void count_status(void *context, const char *pipeline, const char *json, int64_t updated_ms)
{
    int *count = context;
    assert_string_equal(pipeline, "p");
    assert_string_equal(json, "{\"state\":\"running\"}");
    assert_true(updated_ms > 0);
    (*count)++;
}

static void test_a_reader_sees_status_and_whether_the_service_runs(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog *service = start_service(fixture);
    struct catalog_save *save = sample_save();
    int count = 0;
    save_and_wait(fixture, service, save);
    catalog_save_free(save);
    struct catalog *reader = open_as(fixture, CATALOG_READER);
    assert_true(catalog_each_status(reader, count_status, &count, &error));
    assert_int_equal(count, 1);
    assert_true(catalog_is_served(reader));
    catalog_close(service);
    for (int i = 0; i < WAIT_TURNS_MAX && catalog_is_served(reader); i++)
        loop_turn(fixture->loop, WAIT_TURN_US);  // PostgreSQL notices the end of a session by and by
    assert_false(catalog_is_served(reader));
    catalog_close(reader);
}

static void test_a_second_service_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    if (fixture->location.is_postgres)
        return;  // services share it
    struct catalog *catalog = open_service(fixture);
    assert_null(catalog_open(&fixture->location, CATALOG_SERVICE, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "in use by another etl-stream"));
    catalog_close(catalog);
}

static void test_an_unwritable_place_is_named(void **state)
{
    (void)state;
    struct err error = {0};
    struct catalog_location location;
    assert_true(catalog_location_read("/nonexistent/folder/state.db", true, &location, &error));
    assert_null(catalog_open(&location, CATALOG_SERVICE, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "/nonexistent/folder/state.db"));
    catalog_location_deinit(&location);
}

static void test_a_newer_version_is_refused_and_untouched(void **state)
{
    struct fixture *fixture = *state;
    bool is_postgres = fixture->location.is_postgres;
    catalog_close(open_service(fixture));
    run_sql(fixture, is_postgres ? "UPDATE etl_catalog SET version = 99" : "PRAGMA user_version = 99");
    for (enum catalog_role role = CATALOG_READER; role <= CATALOG_SERVICE; role++) {
        struct err error = {0};
        assert_null(catalog_open(&fixture->location, role, &error));
        assert_int_equal(error.kind, ERR_CONFIG);
        assert_non_null(strstr(error.text, "version 99, made by a newer etl-stream"));
    }
    assert_string_equal(ask_sql(fixture, is_postgres ? "SELECT version FROM etl_catalog" : "PRAGMA user_version"),
                        "99");
}

static void test_a_file_of_another_kind_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    if (fixture->location.is_postgres)
        return;
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database", file);
    fclose(file);
    assert_null(catalog_open(&fixture->location, CATALOG_SERVICE, &error));
    assert_non_null(strstr(error.text, fixture->path));
}

static void test_a_reader_finds_nothing_where_nothing_was_made(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    assert_null(catalog_open(&fixture->location, CATALOG_READER, &error));
    assert_string_equal(error.code, CATALOG_ERROR_NONE);
    assert_true(fixture->location.is_postgres || access(fixture->path, F_OK) != 0);
}

static void test_only_its_owner_may_read_the_file(void **state)
{
    struct fixture *fixture = *state;
    struct stat facts;
    if (fixture->location.is_postgres)
        return;
    catalog_close(open_service(fixture));
    assert_int_equal(stat(fixture->path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
}

// --- what is configured ----------------------------------------------------------------------------------------------

static void edit(struct catalog *catalog, const struct catalog_edit *edits, uint32_t count)
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

static struct catalog_config *read_config(struct catalog *catalog)
{
    struct err error = {0};
    struct catalog_config *config = NULL;
    catalog_config_read(catalog, &config, &error);
    assert_string_equal(error.text, "");
    return config;
}

static void test_what_is_configured_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct pipeline_settings settings;
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    edit(catalog, all_three, 3);
    struct catalog_config *config = read_config(catalog);
    assert_int_equal(config->counts[CATALOG_SOURCE], 1);
    assert_int_equal(config->counts[CATALOG_DESTINATION], 1);
    assert_int_equal(config->counts[CATALOG_PIPELINE], 1);
    const struct catalog_object *source = catalog_config_find(config, CATALOG_SOURCE, "shop");
    assert_string_equal(catalog_object_get(source, "pg_host"), "db.example.com");
    assert_string_equal(catalog_object_get(source, "pg_port"), "5432");
    assert_string_equal(catalog_object_get(source, "pg_password"), "it's secret");
    assert_string_equal(catalog_object_get(source, "pg_tls_enabled"), "true");
    assert_string_equal(catalog_object_get(source, "sslrootcert"), "/ca.pem");
    assert_null(catalog_object_get(source, "sslmode"));
    const struct catalog_object *pipeline = catalog_config_find(config, CATALOG_PIPELINE, "shop-sf");
    assert_string_equal(pipeline->source, "shop");
    assert_string_equal(pipeline->destination, "sf");
    assert_false(pipeline->is_wanted);
    assert_true(catalog_pipeline_settings(config, pipeline, &settings, &error));
    assert_int_equal(settings.batch_max_size, 7);
    assert_int_equal(settings.batch_max_fill_ms, 5000);
    assert_int_equal(settings.on_slot_lost, ON_SLOT_LOST_RESYNC);
    assert_int_equal(settings.merge_interval_seconds, 300);
    pipeline_settings_deinit(&settings);
    assert_string_equal(catalog_config_nearest(config, CATALOG_PIPELINE, "shop-fs"), "shop-sf");
    catalog_config_free(config);
    catalog_close(catalog);
}

static void test_edits_change_what_they_name_only(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    edit(catalog, all_three, 3);
    struct catalog_config *before = read_config(catalog);
    const struct catalog_change changes[] = {
        {"status", "START"}, {"batch_max_size", NULL}, {"on_slot_lost", NULL}, {"merge_interval_seconds", "9"}};
    const struct catalog_edit start = {CATALOG_EDIT, CATALOG_PIPELINE, "shop-sf", changes, 1};
    edit(catalog, &start, 1);
    struct catalog_config *after = read_config(catalog);
    assert_true(after->objects[CATALOG_PIPELINE][0].is_wanted);
    assert_true(catalog_object_is_same(&before->objects[CATALOG_PIPELINE][0], &after->objects[CATALOG_PIPELINE][0]));
    catalog_config_free(after);
    const struct catalog_edit more = {CATALOG_EDIT, CATALOG_PIPELINE, "shop-sf", changes, 4};
    edit(catalog, &more, 1);
    after = read_config(catalog);
    const struct catalog_object *pipeline = &after->objects[CATALOG_PIPELINE][0];
    assert_false(catalog_object_is_same(&before->objects[CATALOG_PIPELINE][0], pipeline));
    assert_string_equal(catalog_object_get(pipeline, "batch_max_size"), "1000");
    assert_null(catalog_object_get(pipeline, "on_slot_lost"));
    assert_string_equal(catalog_object_get(pipeline, "merge_interval_seconds"), "9");
    assert_true(catalog_object_is_same(&before->objects[CATALOG_SOURCE][0], &after->objects[CATALOG_SOURCE][0]));
    catalog_config_free(before);
    catalog_config_free(after);
    catalog_close(catalog);
}

static void refuse(struct catalog *catalog, const struct catalog_edit *edits, uint32_t count, const char *text)
{
    struct err error = {0};
    assert_false(catalog_edit(catalog, edits, count, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(error.text, text);
}

static void test_wrong_edits_are_refused_whole(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    const struct catalog_change lost[] = {{"source", "shpo"}, {"destination", "sf"}};
    const struct catalog_edit wrong[] = {{CATALOG_ADD, CATALOG_SOURCE, "other", source_changes, 7},
                                         {CATALOG_ADD, CATALOG_PIPELINE, "p", lost, 2}};
    const struct catalog_edit again = {CATALOG_ADD, CATALOG_SOURCE, "shop", source_changes, 7};
    const struct catalog_edit bad_name = {CATALOG_ADD, CATALOG_SOURCE, "two words", source_changes, 7};
    const struct catalog_edit used = {CATALOG_REMOVE, CATALOG_SOURCE, "shop", NULL, 0};
    const struct catalog_edit used_too = {CATALOG_REMOVE, CATALOG_DESTINATION, "sf", NULL, 0};
    const struct catalog_edit gone = {CATALOG_REMOVE, CATALOG_PIPELINE, "nothing", NULL, 0};
    edit(catalog, all_three, 3);
    refuse(catalog, wrong, 2, "there is no source \"shpo\"; did you mean \"shop\"?");
    refuse(catalog, &again, 1,
           "there is a source \"shop\" already; etl-stream source edit changes it, another name adds another one");
    refuse(catalog, &bad_name, 1, "the source's name is \"two words\"; allowed are up to 100 of A-Z a-z 0-9 _ -");
    refuse(catalog, &used, 1, "source \"shop\" is used by \"shop-sf\"; remove that first");
    refuse(catalog, &used_too, 1, "destination \"sf\" is used by \"shop-sf\"; remove that first");
    refuse(catalog, &gone, 1, "there is no pipeline \"nothing\"; etl-stream pipeline list shows those that there are");
    struct catalog_config *config = read_config(catalog);
    assert_int_equal(config->counts[CATALOG_SOURCE], 1);
    catalog_config_free(config);
    catalog_close(catalog);
}

static void test_removed_is_gone_with_its_settings(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    const struct catalog_edit removals[] = {{CATALOG_REMOVE, CATALOG_PIPELINE, "shop-sf", NULL, 0},
                                            {CATALOG_REMOVE, CATALOG_SOURCE, "shop", NULL, 0},
                                            {CATALOG_REMOVE, CATALOG_DESTINATION, "sf", NULL, 0}};
    edit(catalog, all_three, 3);
    edit(catalog, removals, 3);
    struct catalog_config *config = read_config(catalog);
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++)
        assert_int_equal(config->counts[kind], 0);
    catalog_config_free(config);
    catalog_close(catalog);
    assert_string_equal(ask_sql(fixture, "SELECT count(*) FROM etl_settings"), "0");
}

// What operators of the first etl-stream do.
static void test_plain_sql_is_as_good_as_a_command(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    run_sql(fixture,
            "INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name) VALUES "
            "('old one', 'h', 'd', 'u', 'p');"
            "INSERT INTO destinations (name, destination_type) VALUES ('http', 'http');"
            "INSERT INTO pipelines (name, source_id, destination_id, status) SELECT 'a b', s.id, d.id, 'START' "
            "FROM sources s, destinations d");
    struct catalog_config *config = read_config(catalog);
    const struct catalog_object *pipeline = catalog_config_find(config, CATALOG_PIPELINE, "a b");
    assert_true(pipeline->is_wanted);
    assert_string_equal(pipeline->source, "old one");
    assert_string_equal(catalog_object_get(&config->objects[CATALOG_SOURCE][0], "pg_tls_enabled"), "false");
    assert_string_equal(catalog_object_get(&config->objects[CATALOG_DESTINATION][0], "http_timeout_ms"), "30000");
    catalog_config_free(config);
    catalog_close(catalog);
}

static void test_contract_tables_that_are_there_are_kept(void **state)
{
    struct fixture *fixture = *state;
    run_sql(fixture,
            "CREATE TABLE sources (id integer PRIMARY KEY, name varchar(255) UNIQUE, pg_host text, pg_port int "
            "DEFAULT 5432, pg_database text, pg_username text, pg_password text, pg_tls_enabled boolean "
            "DEFAULT false, publication_name text, of_theirs text, created_at timestamp, updated_at timestamp);"
            "INSERT INTO sources (id, name, pg_host, of_theirs) VALUES (7, 's', 'h', 'kept')");
    struct catalog *catalog = open_as(fixture, CATALOG_EDITOR);
    struct catalog_config *config = read_config(catalog);
    assert_int_equal(config->objects[CATALOG_SOURCE][0].id, 7);
    assert_string_equal(catalog_object_get(&config->objects[CATALOG_SOURCE][0], "pg_host"), "h");
    catalog_config_free(config);
    catalog_close(catalog);
    assert_string_equal(ask_sql(fixture, "SELECT of_theirs FROM sources"), "kept");
}

// --- a service's requests --------------------------------------------------------------------------------------------

static struct catalog_request *ask(struct catalog *catalog, enum catalog_request_kind kind, const char *pipeline)
{
    struct err ignored = {0};
    struct catalog_request *request = catalog_request_new(kind, pipeline);
    catalog_ask_and_wait(catalog, request, &ignored);
    return request;
}

static void wait_for_news(struct fixture *fixture, enum catalog_request_kind kind)
{
    for (int i = 0; i < WAIT_TURNS_MAX; i++) {
        for (uint32_t k = 0; k < fixture->told_count; k++)
            if (fixture->told[k]->kind == kind)
                return;
        loop_turn(fixture->loop, WAIT_TURN_US);
    }
    fail_msg("the news did not come");
}

static void forget_news(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->told_count; i++)
        catalog_request_free(fixture->told[i]);
    fixture->told_count = 0;
}

static void test_a_service_is_told_of_changes_and_asks(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    struct catalog_request *request = ask(service, CATALOG_ASK_CONFIG, NULL);
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->config->counts[CATALOG_SOURCE], 0);
    catalog_request_free(request);
    forget_news(fixture);
    edit(editor, all_three, 3);
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    request = ask(service, CATALOG_ASK_CONFIG, NULL);
    assert_int_equal(request->config->counts[CATALOG_SOURCE], 1);
    catalog_request_free(request);
    catalog_close(editor);
    catalog_close(service);
}

static void test_a_command_is_taken_once_and_answered(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    int64_t first = 0, second = 0, other = 0;
    char text[ERR_TEXT_SIZE];
    enum catalog_command_state command_state = CATALOG_COMMAND_DONE;
    bool is_taken_back = false;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    assert_true(catalog_command_add(editor, "p", "resync", "{\"tables\":[\"it's\"]}", &first, &error));
    assert_true(catalog_command_add(editor, "p", "reload", "{}", &second, &error));
    assert_true(catalog_command_add(editor, "q", "resync", "{}", &other, &error));
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    assert_true(catalog_command_withdraw(editor, second, &is_taken_back, &error));
    assert_true(is_taken_back);
    struct catalog_request *request = ask(service, CATALOG_ASK_COMMANDS, "p");
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->command_count, 1);
    assert_int_equal(request->commands[0].id, first);
    assert_string_equal(request->commands[0].word, "resync");
    assert_string_equal(request->commands[0].arguments, "{\"tables\":[\"it's\"]}");
    catalog_request_free(request);
    request = ask(service, CATALOG_ASK_COMMANDS, "p");
    assert_int_equal(request->command_count, 0);
    catalog_request_free(request);
    assert_true(catalog_command_look(editor, first, &command_state, text, &error));
    assert_int_equal(command_state, CATALOG_COMMAND_TAKEN);
    assert_true(catalog_command_withdraw(editor, first, &is_taken_back, &error));
    assert_false(is_taken_back);
    struct catalog_request *answer = catalog_request_new(CATALOG_ASK_ANSWER, "p");
    answer->command_id = first;
    answer->has_failed = true;
    (void)snprintf(answer->text, sizeof answer->text, "no such table");
    assert_true(catalog_ask_and_wait(service, answer, &error));
    catalog_request_free(answer);
    assert_true(catalog_command_look(editor, first, &command_state, text, &error));
    assert_int_equal(command_state, CATALOG_COMMAND_FAILED);
    assert_string_equal(text, "no such table");
    request = ask(service, CATALOG_ASK_COMMANDS, "");
    assert_int_equal(request->command_count, 1);
    assert_int_equal(request->commands[0].id, other);
    catalog_request_free(request);
    catalog_close(editor);
    catalog_close(service);
}

static void test_old_commands_go(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    int64_t id = 0;
    struct catalog *editor = open_as(fixture, CATALOG_EDITOR);
    assert_true(catalog_command_add(editor, "p", "resync", "{}", &id, &error));
    run_sql(fixture, "UPDATE etl_commands SET made_ms = 1");
    assert_true(catalog_command_add(editor, "p", "reload", "{}", &id, &error));
    catalog_close(editor);
    assert_string_equal(ask_sql(fixture, "SELECT count(*) FROM etl_commands"), "1");
}

static void test_forgotten_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture);
    struct catalog_save *save = sample_save();
    save_and_wait(fixture, service, save);
    catalog_save_free(save);
    struct catalog_request *request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_true(request->known.is_found);
    assert_int_equal(request->known.channel_count, 2);
    catalog_request_free(request);
    catalog_request_free(ask(service, CATALOG_ASK_FORGET, "p"));
    request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_false(request->known.is_found);
    assert_int_equal(request->known.table_count, 0);
    catalog_request_free(request);
    catalog_close(service);
}

static void test_a_save_of_many_tables_is_whole(void **state)
{
    struct fixture *fixture = *state;
    enum { TABLES = 333 };
    struct catalog *service = start_service(fixture);
    struct catalog_save *sample = sample_save(), *save = catalog_save_new(TABLES, TABLES);
    save->pipeline = sample->pipeline;
    save->has_pipeline = true;
    for (uint32_t i = 0; i < TABLES; i++) {
        save->tables[i] = sample->tables[0];
        save->channels[i] = sample->channels[0];
        (void)snprintf(save->tables[i].table_name, sizeof save->tables[i].table_name, "t%03u", i);
        (void)snprintf(save->channels[i].name, sizeof save->channels[i].name, "c%03u", i);
        save->tables[i].copied_rows = i;
        save->channels[i].table_oid = i;
    }
    save_and_wait(fixture, service, save);
    assert_string_equal(save->error.text, "");
    struct catalog_request *request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_int_equal(request->known.table_count, TABLES);
    assert_int_equal(request->known.channel_count, TABLES);
    for (uint32_t i = 0; i < TABLES; i++) {
        assert_int_equal(request->known.tables[i].copied_rows, i);
        assert_int_equal(request->known.channels[i].table_oid, i);
    }
    catalog_request_free(request);
    catalog_save_free(sample);
    catalog_save_free(save);
    catalog_close(service);
}

static void test_a_pipeline_is_claimed_by_one_service(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *first = start_service(fixture);
    struct catalog_request *request = ask(first, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    uint64_t claim = request->claim;
    catalog_request_free(request);
    assert_true(catalog_is_claimed(first, "p"));
    if (!fixture->location.is_postgres) {
        catalog_close(first);
        return;
    }
    assert_false(catalog_is_claimed(first, "q"));
    struct catalog *second = start_service(fixture);
    request = ask(second, CATALOG_ASK_CLAIM, "p");
    assert_int_equal(request->error.kind, ERR_FENCED);
    assert_non_null(strstr(request->error.text, "pipeline \"p\" runs in another process: process "));
    catalog_request_free(request);
    struct catalog_save *save = sample_save();
    save->claim = claim;
    save_and_wait(fixture, first, save);
    assert_string_equal(save->error.text, "");
    catalog_save_free(save);

    catalog_request_free(ask(first, CATALOG_ASK_RELEASE, "p"));
    request = ask(second, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    assert_true(request->claim > claim);
    catalog_request_free(request);
    save = sample_save();
    save->claim = claim;
    save->pipeline.floor_lsn = 1;
    save_and_wait(fixture, first, save);
    assert_int_equal(save->error.kind, ERR_FENCED);
    catalog_save_free(save);
    request = ask(second, CATALOG_ASK_KNOWN, "p");
    assert_int_equal(request->known.pipeline.floor_lsn, UINT64_MAX - 1);
    catalog_request_free(request);
    catalog_close(first);
    catalog_close(second);
}

// The server ends the sessions; as after a restart everything goes on, and the claim with it.
static void test_a_broken_connection_comes_back(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture->location.is_postgres)
        return;
    struct catalog *service = start_service(fixture);
    struct catalog_request *request = ask(service, CATALOG_ASK_CLAIM, "p");
    uint64_t claim = request->claim;
    catalog_request_free(request);
    run_sql(fixture, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
                     "'etl-stream catalog' AND pid <> pg_backend_pid() AND datname = current_database()");
    struct catalog_save *save = NULL;
    for (int i = 0; i < WAIT_TURNS_MAX; i++) {
        save = sample_save();
        save->claim = claim;
        save_and_wait(fixture, service, save);
        if (!err_is_set(&save->error))
            break;
        assert_int_equal(save->error.kind, ERR_TRANSIENT);
        catalog_save_free(save);
        save = NULL;
        loop_turn(fixture->loop, WAIT_TURN_US);
    }
    assert_non_null(save);
    catalog_save_free(save);
    for (int i = 0; i < WAIT_TURNS_MAX &&
                    strcmp(ask_sql(fixture, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "2") != 0;
         i++)
        loop_turn(fixture->loop, WAIT_TURN_US);
    request = ask(service, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->claim, claim);
    catalog_request_free(request);
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    for (uint32_t i = 0; i < fixture->told_count; i++)
        assert_int_equal(fixture->told[i]->kind, CATALOG_TOLD_CHANGED);
    catalog_close(service);
}

// Somebody else was quicker.
static void test_a_claim_that_was_taken_meanwhile_is_lost(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture->location.is_postgres)
        return;
    struct catalog *service = start_service(fixture);
    catalog_request_free(ask(service, CATALOG_ASK_CLAIM, "p"));
    run_sql(fixture, "UPDATE etl_claims SET claim = claim + 1;"
                     "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
                     "'etl-stream catalog' AND pid <> pg_backend_pid() AND datname = current_database()");
    wait_for_news(fixture, CATALOG_TOLD_CLAIM_LOST);
    catalog_close(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_saved_is_loaded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_channels_change_and_go_by_their_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_older_version_is_upgraded_by_a_service, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_unreadable_spread_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reader_sees_status_and_whether_the_service_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_second_service_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_newer_version_is_refused_and_untouched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_of_another_kind_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reader_finds_nothing_where_nothing_was_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_its_owner_may_read_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_configured_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_edits_change_what_they_name_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_edits_are_refused_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removed_is_gone_with_its_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain_sql_is_as_good_as_a_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contract_tables_that_are_there_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_service_is_told_of_changes_and_asks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_command_is_taken_once_and_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_commands_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forgotten_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_save_of_many_tables_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pipeline_is_claimed_by_one_service, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broken_connection_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_claim_that_was_taken_meanwhile_is_lost, set_up, tear_down),
        cmocka_unit_test(test_an_unwritable_place_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
