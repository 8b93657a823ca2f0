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
#include <sqlite3.h>

#include "embedded_sql.h"

#define SPREAD "01000000000000000000000000:1 01000000000005000000001001:2"
#define WAIT_TURNS_MAX 1000
#define WAIT_TURN_US 20000

struct fixture {
    char folder[64];
    char path[96];
    struct loop *loop;
    struct mailbox *replies;
    struct catalog_save *reply;
};

static void on_reply(void *context, void *message)
{
    struct fixture *fixture = context;
    assert_null(fixture->reply);
    fixture->reply = message;
}

static void discard(void *message)
{
    catalog_save_free(message);
}

static int set_up(void **state)
{
    struct err error = {0};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/etl-catalog-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/state.db", fixture->folder);
    fixture->loop = loop_new(&clock_system, &error);
    fixture->replies = mailbox_new(fixture->loop, 8, on_reply, fixture, &error);
    assert_non_null(fixture->replies);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    static const char *const endings[] = {"", "-wal", "-shm"};
    mailbox_free(fixture->replies, discard);
    loop_free(fixture->loop);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s%s", fixture->path, endings[i]);
        unlink(path);
    }
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static struct catalog *open_service(const struct fixture *fixture)
{
    struct err error = {0};
    struct catalog *catalog = catalog_open(fixture->path, true, &error);
    assert_string_equal(error.text, "");
    assert_non_null(catalog);
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
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(fixture->path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql_catalog_schema_1, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, rows, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void test_an_older_version_is_upgraded_by_a_service(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog_known known;
    make_version_1(fixture);
    assert_null(catalog_open(fixture->path, false, &error));
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
    sqlite3 *database = NULL;
    make_version_1(fixture);
    catalog_close(open_service(fixture));
    assert_int_equal(sqlite3_open(fixture->path, &database), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "UPDATE etl_tables SET spread = 'x' WHERE table_name = 'b'", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(database);
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
    struct catalog *service = open_service(fixture);
    struct catalog_save *save = sample_save();
    int count = 0;
    assert_true(catalog_start(service, &error));
    save_and_wait(fixture, service, save);
    catalog_save_free(save);
    struct catalog *reader = catalog_open(fixture->path, false, &error);
    assert_non_null(reader);
    assert_true(catalog_each_status(reader, count_status, &count, &error));
    assert_int_equal(count, 1);
    assert_true(catalog_is_served(reader));
    catalog_close(service);
    assert_false(catalog_is_served(reader));
    catalog_close(reader);
}

static void test_a_second_service_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog *catalog = open_service(fixture);
    assert_null(catalog_open(fixture->path, true, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "in use by another etl-stream"));
    catalog_close(catalog);
}

static void test_an_unwritable_place_is_named(void **state)
{
    (void)state;
    struct err error = {0};
    assert_null(catalog_open("/nonexistent/folder/state.db", true, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "/nonexistent/folder/state.db"));
}

static void test_a_newer_version_is_refused_and_a_foreign_file_too(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    sqlite3 *database = NULL;
    catalog_close(open_service(fixture));
    assert_int_equal(sqlite3_open(fixture->path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    assert_null(catalog_open(fixture->path, true, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "version 99, made by a newer etl-stream"));

    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database", file);
    fclose(file);
    assert_null(catalog_open(fixture->path, true, &error));
    assert_non_null(strstr(error.text, fixture->path));
}

static void test_only_its_owner_may_read_the_file(void **state)
{
    struct fixture *fixture = *state;
    struct stat facts;
    catalog_close(open_service(fixture));
    assert_int_equal(stat(fixture->path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
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
        cmocka_unit_test(test_an_unwritable_place_is_named),
        cmocka_unit_test_setup_teardown(test_a_newer_version_is_refused_and_a_foreign_file_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_its_owner_may_read_the_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
