// The destination's URL: what is read from it, and the one line for each way of getting it wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "sinks/snowflake/sf_config.h"

static struct sf_config parse(const char *url)
{
    struct sf_config config;
    struct err error = {0};
    if (!sf_config_parse(url, &config, &error))
        fail_msg("%s: %s", url, error.text);
    return config;
}

static void assert_refused(const char *url, const char *part)
{
    struct sf_config config;
    struct err error = {0};
    if (sf_config_parse(url, &config, &error))
        fail_msg("%s is taken", url);
    assert_int_equal(error.kind, ERR_CONFIG);
    if (strstr(error.text, part) == NULL)
        fail_msg("%s: '%s' lacks '%s'", url, error.text, part);
    assert_null(config.account);
}

static void test_whole_url(void **state)
{
    (void)state;
    struct sf_config config =
        parse("snowflake://me%40x@org-acc/db/Sch_1?warehouse=wh&role=%22my%20role%22&landing_schema=raw&"
              "key_file=%2Fetc%2Fkey.p8&passphrase_env=PASS&host=127.0.0.1:8443&ca_file=/tmp/ca.pem");
    assert_string_equal(config.user, "me@x");
    assert_string_equal(config.account, "org-acc");
    assert_string_equal(config.database, "DB");
    assert_string_equal(config.schema, "SCH_1");
    assert_string_equal(config.warehouse, "WH");
    assert_string_equal(config.role, "my role");
    assert_string_equal(config.landing_schema, "RAW");
    assert_string_equal(config.key_file, "/etc/key.p8");
    assert_null(config.key_env);
    assert_string_equal(config.passphrase_env, "PASS");
    assert_string_equal(config.host, "127.0.0.1:8443");
    assert_string_equal(config.ca_file, "/tmp/ca.pem");
    char text[256];
    sf_config_describe(&config, text, sizeof text);
    assert_string_equal(text, "snowflake://me@x@org-acc/DB/SCH_1");
    sf_config_account_host(&config, text, sizeof text);
    assert_string_equal(text, "127.0.0.1:8443");
    sf_config_account_claim(&config, text, sizeof text);
    assert_string_equal(text, "ORG-ACC");
    sf_config_user_claim(&config, text, sizeof text);
    assert_string_equal(text, "ME@X");
    sf_config_deinit(&config);
}

static void test_defaults(void **state)
{
    (void)state;
    struct sf_config config = parse("snowflake://u@xy_12345.eu-west-1.aws/D/%22a%22%22b%22/");
    assert_string_equal(config.schema, "a\"b");
    assert_string_equal(config.landing_schema, "ETL_SCHEMA");
    assert_null(config.warehouse);
    assert_null(config.role);
    assert_null(config.host);
    char text[256];
    sf_config_account_claim(&config, text, sizeof text);
    assert_string_equal(text, "XY_12345");
    sf_config_account_host(&config, text, sizeof text);
    assert_string_equal(text, "xy-12345.eu-west-1.aws.snowflakecomputing.com");
    sf_config_deinit(&config);
    config = parse("snowflake://u@a/d/s?numeric_unbounded=float&oversized=truncate");
    assert_int_equal(sf_config_types(&config).numeric_unbounded, NUMERIC_UNBOUNDED_FLOAT);
    assert_int_equal(sf_config_types(&config).oversized, OVERSIZED_TRUNCATE);
    sf_config_deinit(&config);
    config = parse("snowflake://u@a/d/s?host=[::1]:443&key_env=MY_KEY");
    assert_string_equal(config.key_env, "MY_KEY");
    sf_config_deinit(&config);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused("postgres://u@a/d/s", "snowflake://");
    assert_refused("snowflake://a/d/s", "the user is missing");
    assert_refused("snowflake://@a/d/s", "the user is missing");
    assert_refused("snowflake://u@/d/s", "the account is missing");
    assert_refused("snowflake://u@a", "the database is missing");
    assert_refused("snowflake://u@a/d", "the schema is missing");
    assert_refused("snowflake://u@a/d/s/t", "something follows");
    assert_refused("snowflake://u@a/d/my-schema", "quoted");
    assert_refused("snowflake://u@a/1d/s", "quoted");
    assert_refused("snowflake://u@a/%22d/s", "quoted");
    assert_refused("snowflake://u@a/%22%22/s", "quoted");
    assert_refused("snowflake://u@a/%22d%22x/s", "quoted");
    assert_refused("snowflake://u@a/d%zz/s", "%25");
    assert_refused("snowflake://u@a/d%0a/s", "the database");
    assert_refused("snowflake://u@a/d/s#x", "%23");
    assert_refused("snowflake://u@a!b/d/s", "account identifier");
    assert_refused("snowflake://u@acc.snowflakecomputing.com/d/s", "host name");
    assert_refused("snowflake://u@a/d/s?rolle=x", "known options");
    assert_refused("snowflake://u@a/d/s?role=", "no value");
    assert_refused("snowflake://u@a/d/s?role", "no value");
    assert_refused("snowflake://u@a/d/s?role=a&role=b", "twice");
    assert_refused("snowflake://u@a/d/s?key_file=a&key_env=B", "one of them");
    assert_refused("snowflake://u@a/d/s?key_env=-----BEGIN", "never the secret");
    assert_refused("snowflake://u@a/d/s?host=https://x", "host");
    assert_refused("snowflake://u@a/d/s?host=x:0", "host");
    assert_refused("snowflake://u@a/d/s?host=x:65536", "host");
    assert_refused("snowflake://u@a/d/s?host=x/y", "host");
    assert_refused("snowflake://u@a/d/s?oversized=drop", "null|truncate|fail");
    assert_refused("snowflake://u@a/d/s?oversized=null|fail", "null|truncate|fail");
    assert_refused("snowflake://u@a/d/s?numeric_unbounded=NUMBER", "number|varchar|float");
}

// What may be a secret is not repeated.
static void test_secrets_are_not_repeated(void **state)
{
    (void)state;
    static const char *const urls[] = {"snowflake://u:hunter2@a/d/s", "snowflake://u@a/d/s?passphrase=hunter2",
                                       "snowflake://u@a/d/s?password=hunter2",
                                       "snowflake://u@a/d/s?key_env=hunter2%20x", "snowflake://u@a/d/s?token=hunter2"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct sf_config config;
        struct err error = {0};
        assert_false(sf_config_parse(urls[i], &config, &error));
        assert_null(strstr(error.text, "hunter2"));
    }
    assert_refused("snowflake://u@a/d/s?passphrase=hunter2", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE");
    assert_refused("snowflake://u:hunter2@a/d/s", "private key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_url),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_secrets_are_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
