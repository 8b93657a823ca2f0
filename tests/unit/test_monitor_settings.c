#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "monitor/settings.h"

static struct monitor_settings good(void)
{
    return (struct monitor_settings){.wal_warning_mb = 3000,
                                     .wal_danger_mb = 6000,
                                     .slot_warning_mb = 3000,
                                     .slot_danger_mb = 6000,
                                     .alert_url = "https://alerts.example.com/etl"};
}

static void refused(const struct monitor_settings *settings, const char *part, const char *other_part)
{
    struct err error = {0};
    assert_false(monitor_settings_check(settings, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, part));
    assert_non_null(strstr(error.text, other_part));
}

static void test_monitor_settings_check(void **state)
{
    (void)state;
    struct err error = {0};
    struct monitor_settings settings = good();
    assert_true(monitor_settings_check(&settings, &error));
    settings.alert_url = NULL;
    assert_true(monitor_settings_check(&settings, &error));
    settings.wal_danger_mb = 3000;
    refused(&settings, "DANGER_WAL is 3000", "WARNING_WAL is 3000");
    settings = good();
    settings.slot_danger_mb = 2999;
    refused(&settings, "ETL_SLOT_DANGER_MB is 2999", "ETL_SLOT_WARNING_MB is 3000");
    settings.slot_danger_mb = 0;
    assert_true(monitor_settings_check(&settings, &error));
}

static void test_monitor_settings_check_of_the_url_shows_no_password(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"ftp://user:secret@host/x", "ftp://"}, {"user:secret@host", "no URL"},
        {"https://user:secret@/x", "no host"},  {"http://", "no host"},
        {"https://host/a b", "blank"},          {"https://host/\001", "blank"},
    };
    struct err error = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct monitor_settings settings = good();
        settings.alert_url = bad[i][0];
        refused(&settings, bad[i][1], "ALERT_WAL_URL");
        assert_false(monitor_settings_check(&settings, &error));
        assert_null(strstr(error.text, "secret"));
        assert_non_null(strstr(error.text, "http"));
    }
}

static void test_monitor_url_describe(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://user:secret@host:8443/hook/secret?token=secret", "https://host:8443/…"},
        {"http://host", "http://host"},
        {"HTTPS://a@b@host/", "HTTPS://host/…"},
        {"https://host?secret", "https://host/…"},
        {"mailto:secret", "(not an http or https URL)"},
    };
    char text[128];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        monitor_url_describe(cases[i][0], text, sizeof text);
        assert_string_equal(text, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitor_settings_check),
        cmocka_unit_test(test_monitor_settings_check_of_the_url_shows_no_password),
        cmocka_unit_test(test_monitor_url_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
