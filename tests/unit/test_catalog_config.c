// What is configured, in both catalogs.
#include "catalog/catalog.h"
#include "catalog_fixture.h"

// --- what is configured ----------------------------------------------------------------------------------------------

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_configured_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_edits_change_what_they_name_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_edits_are_refused_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removed_is_gone_with_its_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain_sql_is_as_good_as_a_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contract_tables_that_are_there_are_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
