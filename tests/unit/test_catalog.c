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
    struct catalog_save *save = catalog_save_new(1);
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
                                             .channel = "ETL_X",
                                             .token = "01",
                                             .created_on_ms = 123456789012,
                                             .error_count = 4};
    save->status_json = strdup("{\"state\":\"running\"}");
    return save;
}

static void test_what_was_saved_is_loaded(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct catalog *catalog = open_service(fixture);
    struct catalog_save *save = sample_save();
    assert_true(catalog_start(catalog, &error));
    save_and_wait(fixture, catalog, save);
    assert_string_equal(save->error.text, "");
    catalog_close(catalog);

    struct catalog_pipeline pipeline;
    struct catalog_table *tables = NULL;
    uint32_t count = 0;
    bool is_found = false;
    catalog = open_service(fixture);
    assert_true(catalog_load(catalog, "p", &pipeline, &is_found, &tables, &count, &error));
    assert_true(is_found);
    assert_memory_equal(&pipeline, &save->pipeline, sizeof pipeline);
    assert_int_equal(count, 1);
    assert_memory_equal(&tables[0], &save->tables[0], sizeof tables[0]);
    free(tables);
    assert_true(catalog_load(catalog, "q", &pipeline, &is_found, &tables, &count, &error));
    assert_false(is_found);
    assert_int_equal(count, 0);
    free(tables);
    catalog_close(catalog);
    catalog_save_free(save);
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
        cmocka_unit_test_setup_teardown(test_a_reader_sees_status_and_whether_the_service_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_second_service_is_refused, set_up, tear_down),
        cmocka_unit_test(test_an_unwritable_place_is_named),
        cmocka_unit_test_setup_teardown(test_a_newer_version_is_refused_and_a_foreign_file_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_its_owner_may_read_the_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
