// The http destination's URL: which parameters are ours, what stays in the URL, and each way of getting it wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "sinks/http/http_sink_config.h"

static struct http_sink_config parse(const char *url)
{
    struct http_sink_config config, copy;
    struct err error = {0};
    if (!http_sink_config_parse(url, &config, &error))
        fail_msg("%s: %s", url, error.text);
    http_sink_config_copy(&config, &copy);
    http_sink_config_deinit(&config);
    return copy;
}

static void assert_refused(const char *url, const char *part)
{
    struct http_sink_config config;
    struct err error = {0};
    if (http_sink_config_parse(url, &config, &error))
        fail_msg("%s is taken", url);
    assert_int_equal(error.kind, ERR_CONFIG);
    if (strstr(error.text, part) == NULL)
        fail_msg("%s: '%s' lacks '%s'", url, error.text, part);
    assert_null(strstr(error.text, "hunter2"));
    assert_null(config.url);
}

static void assert_url(const char *url, const char *sent, const char *shown)
{
    struct http_sink_config config = parse(url);
    assert_string_equal(config.url, sent);
    assert_string_equal(config.text, shown);
    http_sink_config_deinit(&config);
}

static void test_what_is_sent(void **state)
{
    (void)state;
    assert_url("https://h", "https://h", "https://h");
    assert_url("https://h:8/p/q?x=1&y=%20&z", "https://h:8/p/q?x=1&y=%20&z", "https://h:8/p/q");
    assert_url("https://h/p?compression=gzip&x=1&http_timeout_ms=500&y", "https://h/p?x=1&y", "https://h/p");
    assert_url("https://h/p?token_env=T", "https://h/p", "https://h/p");
    assert_url("https://h/p?compressions=gzip&token=hunter2", "https://h/p?compressions=gzip&token=hunter2",
               "https://h/p");
    assert_url("https://h?x", "https://h?x", "https://h");
}

static void test_ours(void **state)
{
    (void)state;
    struct http_sink_config config = parse("https://h/p");
    assert_int_equal(config.compression, HTTP_COMPRESSION_NONE);
    assert_int_equal(config.timeout_ms, 30000);
    assert_int_equal(config.retry_attempts, 3);
    assert_null(config.token_env);
    assert_null(config.ca_file);
    http_sink_config_deinit(&config);
    config = parse("https://h/p?compression=zstd&token_env=TOK&ca_file=%2Fetc%2Fca.pem&http_timeout_ms=500&"
                   "http_retry_attempts=1");
    assert_int_equal(config.compression, HTTP_COMPRESSION_ZSTD);
    assert_int_equal(config.timeout_ms, 500);
    assert_int_equal(config.retry_attempts, 1);
    assert_string_equal(config.token_env, "TOK");
    assert_string_equal(config.ca_file, "/etc/ca.pem");
    http_sink_config_deinit(&config);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused("https://", "names no host");
    assert_refused("https:///p", "names no host");
    assert_refused("https://:80/p", "names no host");
    assert_refused("https://me:hunter2@h/p", "before an @");
    assert_refused("https://h/p#hunter2", "fragment");
    assert_refused("https://h/a b", "a blank");
    assert_refused("https://h?compression=lz4", "allowed are none, gzip and zstd");
    assert_refused("https://h?http_timeout_ms=0", "from 100 to 3600000");
    assert_refused("https://h?http_retry_attempts=x", "http_retry_attempts is \"x\"");
    assert_refused("https://h?http_retry_attempts", "http_retry_attempts is \"\"");
}

static void test_a_token_in_the_clear_goes_to_this_machine_only(void **state)
{
    (void)state;
    static const char *const here[] = {"http://localhost/?token_env=T",  "http://127.0.0.1:80/?token_env=T",
                                       "http://127.1.2.3?token_env=T",   "http://[::1]:80/?token_env=T",
                                       "https://elsewhere/?token_env=T", "http://elsewhere/"};
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        struct http_sink_config config = parse(here[i]);
        http_sink_config_deinit(&config);
    }
    assert_refused("http://elsewhere/?token_env=T", "in the clear");
    assert_refused("http://127.0.0.1.evil.example/?token_env=T", "in the clear");
    assert_refused("http://localhost.evil.example/?token_env=T", "in the clear");
    assert_refused("http://[::2]/?token_env=T", "in the clear");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_token_in_the_clear_goes_to_this_machine_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
