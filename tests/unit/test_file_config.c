// The file destination's URL: what is read from it, and the one line for each way of getting it wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "sinks/file/file_config.h"

static void assert_read(const char *url, const char *directory, uint64_t rotate_bytes, uint32_t rotate_s)
{
    struct file_config config, copy;
    struct err error = {0};
    char text[128];
    if (!file_config_parse(url, &config, &error))
        fail_msg("%s: %s", url, error.text);
    file_config_copy(&config, &copy);
    file_config_deinit(&config);
    assert_string_equal(copy.directory, directory);
    assert_int_equal(copy.rotate_bytes, rotate_bytes);
    assert_int_equal(copy.rotate_s, rotate_s);
    file_config_describe(&copy, text, sizeof text);
    assert_memory_equal(text, "file:", 5);
    assert_string_equal(text + 5, directory);
    file_config_deinit(&copy);
}

static void assert_refused(const char *url, const char *part)
{
    struct file_config config;
    struct err error = {0};
    if (file_config_parse(url, &config, &error))
        fail_msg("%s is taken", url);
    assert_int_equal(error.kind, ERR_CONFIG);
    if (strstr(error.text, part) == NULL)
        fail_msg("%s: '%s' lacks '%s'", url, error.text, part);
    assert_null(config.directory);
}

static void test_directories(void **state)
{
    (void)state;
    assert_read("file:out", "out", 64U << 20, 300);
    assert_read("file:/var/lib/out/", "/var/lib/out/", 64U << 20, 300);
    assert_read("file:///var/out", "/var/out", 64U << 20, 300);
    assert_read("file:a%20b%3Fc%25", "a b?c%", 64U << 20, 300);
    assert_read("file:out?", "out", 64U << 20, 300);
}

static void test_options(void **state)
{
    (void)state;
    assert_read("file:out?rotate_mb=1", "out", 1U << 20, 300);
    assert_read("file:out?rotate_seconds=7&rotate_mb=2", "out", 2U << 20, 7);
    assert_read("file:out?rotate_mb=1048576", "out", (uint64_t)1 << 40, 300);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused("file:", "names no directory");
    assert_refused("file://host/x", "on this machine");
    assert_refused("file:x?rotate_mb", "has no value");
    assert_refused("file:x?rotate_mb=", "rotate_mb is \"\"; allowed is a whole number from 1 to 1048576");
    assert_refused("file:x?rotate_mb=-1", "rotate_mb is \"-1\"");
    assert_refused("file:x?rotate_mb=99999999999999999999", "rotate_mb");
    assert_refused("file:x?rotate_seconds=86401", "from 1 to 86400");
    assert_refused("file:x?rotate_seconds=5s", "rotate_seconds");
    assert_refused("file:x?size=1", "\"size\" is no option of a file destination");
    assert_refused("file:a%", "two hex digits");
    assert_refused("file:a%0", "two hex digits");
    assert_refused("file:a%00b", "two hex digits");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
