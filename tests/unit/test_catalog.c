// What pipelines save, in both catalogs; versions, and who may open what.
#include "catalog/catalog.h"
#include "catalog_fixture.h"

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
        cmocka_unit_test(test_an_unwritable_place_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
