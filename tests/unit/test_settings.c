#include "catalog/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct stored {
    const char *name, *text;
};

static const char *get(void *context, const struct setting *setting)
{
    const struct stored *stored = context;
    return strcmp(stored->name, setting->name) == 0 ? stored->text : NULL;
}

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++) {
        struct option_spec options[SETTINGS_OPTIONS_MAX];
        size_t count = settings_options(kind, options);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            const struct setting *setting = settings_nth(kind, i);
            struct option_value value;
            struct err error = {0};
            assert_string_equal(options[i].name, setting->option.name);
            assert_ptr_equal(setting, setting_find(kind, setting->name));
            assert_true(strspn(setting->name, "abcdefghijklmnopqrstuvwxyz_") == strlen(setting->name));
            assert_true(strlen(setting->option.help) > 0);
            assert_int_equal(setting->field == SETTING_NO_FIELD, kind != CATALOG_PIPELINE);
            if (setting->option.kind == OPTION_NUMBER)
                assert_true(setting->option.minimum >= 0 && setting->option.maximum <= UINT32_MAX);
            if (setting->option.default_value != NULL)
                assert_true(
                    options_read_value(&setting->option, "default", setting->option.default_value, &value, &error));
            for (size_t k = 0; k < i; k++)
                assert_string_not_equal(options[k].name, options[i].name);
        }
        assert_null(settings_nth(kind, count));
        assert_null(setting_find(kind, "nothing"));
    }
}

static void test_defaults_are_the_contract_s(void **state)
{
    (void)state;
    struct stored none = {"", NULL};
    struct pipeline_settings settings;
    struct err error = {0};
    assert_true(pipeline_settings_read(get, &none, "pipeline \"p\"", &settings, &error));
    assert_null(settings.slot);
    assert_int_equal(settings.batch_max_size, 1000);
    assert_int_equal(settings.batch_max_fill_ms, 5000);
    assert_int_equal(settings.table_error_retry_delay_ms, 10000);
    assert_int_equal(settings.table_error_retry_max_attempts, 5);
    assert_int_equal(settings.max_table_sync_workers, 4);
    assert_int_equal(settings.merge_interval_seconds, 3600);
    assert_int_equal(settings.on_slot_lost, ON_SLOT_LOST_STOP);
    pipeline_settings_deinit(&settings);
}

static void test_stored_values_win_over_the_environment(void **state)
{
    (void)state;
    struct stored interval = {"merge_interval_seconds", "5"}, none = {"", NULL};
    struct pipeline_settings settings;
    struct err error = {0};
    setenv("ETL_MERGE_INTERVAL_SECONDS", "7", 1);
    assert_true(pipeline_settings_read(get, &none, "pipeline \"p\"", &settings, &error));
    assert_int_equal(settings.merge_interval_seconds, 7);
    pipeline_settings_deinit(&settings);
    assert_true(pipeline_settings_read(get, &interval, "pipeline \"p\"", &settings, &error));
    assert_int_equal(settings.merge_interval_seconds, 5);
    pipeline_settings_deinit(&settings);
    setenv("ETL_MERGE_INTERVAL_SECONDS", "never", 1);
    assert_false(pipeline_settings_read(get, &none, "pipeline \"p\"", &settings, &error));
    assert_string_equal(
        error.text,
        "pipeline \"p\": ETL_MERGE_INTERVAL_SECONDS is \"never\"; allowed is a whole number from 0 to 691200");
    unsetenv("ETL_MERGE_INTERVAL_SECONDS");
}

static void test_texts_and_choices_are_taken(void **state)
{
    (void)state;
    struct stored slot = {"slot", "mine"}, lost = {"on_slot_lost", "resync"}, bad = {"on_slot_lost", "sync"};
    struct pipeline_settings settings;
    struct err error = {0};
    assert_true(pipeline_settings_read(get, &slot, "p", &settings, &error));
    assert_string_equal(settings.slot, "mine");
    pipeline_settings_deinit(&settings);
    assert_null(settings.slot);
    assert_true(pipeline_settings_read(get, &lost, "p", &settings, &error));
    assert_int_equal(settings.on_slot_lost, ON_SLOT_LOST_RESYNC);
    pipeline_settings_deinit(&settings);
    assert_false(pipeline_settings_read(get, &bad, "p", &settings, &error));
    assert_string_equal(error.text, "p: on_slot_lost is \"sync\"; allowed is one of stop|resync");
}

static void test_options_fill_them_too(void **state)
{
    (void)state;
    struct option_spec options[SETTINGS_OPTIONS_MAX];
    struct option_value values[SETTINGS_OPTIONS_MAX];
    size_t count = settings_options(CATALOG_PIPELINE, options), operand_count = 0;
    char given[] = "--batch_max_size=7", other[] = "--on-slot-lost=resync";
    char *const arguments[] = {given, other};
    struct pipeline_settings settings;
    struct err error = {0};
    assert_true(options_parse(options, count, 2, arguments, values, NULL, 0, &operand_count, &error));
    pipeline_settings_from_options(values, &settings);
    assert_int_equal(settings.batch_max_size, 7);
    assert_int_equal(settings.on_slot_lost, ON_SLOT_LOST_RESYNC);
    assert_int_equal(settings.merge_timeout_seconds, 3600);
    assert_int_equal(settings.channels_per_table, 4);
    pipeline_settings_deinit(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_defaults_are_the_contract_s),
        cmocka_unit_test(test_stored_values_win_over_the_environment),
        cmocka_unit_test(test_texts_and_choices_are_taken),
        cmocka_unit_test(test_options_fill_them_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
