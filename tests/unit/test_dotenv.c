#include "base/dotenv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void read_text(const char *text)
{
    struct err error = {0};
    char *copy = strdup(text);
    assert_non_null(copy);
    dotenv_read(copy, ".env", &error);
    assert_string_equal(error.text, "");
    free(copy);
}

static void expect(const char *name, const char *value)
{
    const char *found = getenv(name);
    assert_non_null(found);
    assert_string_equal(found, value);
    unsetenv(name);
}

static void refuse(const char *text, const char *message)
{
    struct err error = {0};
    char *copy = strdup(text);
    assert_non_null(copy);
    assert_false(dotenv_read(copy, ".env", &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(error.text, message);
    free(copy);
}

static void test_lines_become_variables(void **state)
{
    (void)state;
    read_text("# a comment\n\nT_A=1\n  T_B = two words  # comment\nexport T_C=a#b\r\nT_D=\nT_E=#nothing\nT_F=last");
    expect("T_A", "1");
    expect("T_B", "two words");
    expect("T_C", "a#b");
    expect("T_D", "");
    expect("T_E", "");
    expect("T_F", "last");
}

static void test_quotes_keep_what_is_inside(void **state)
{
    (void)state;
    read_text("T_A=\"a b\\n\\t\\\"\\\\\\$x\" # comment\nT_B='\\n # $HOME'\nT_C=\"two\nlines\"\nT_D=$HOME\nT_E='x'\n");
    expect("T_A", "a b\n\t\"\\$x");
    expect("T_B", "\\n # $HOME");
    expect("T_C", "two\nlines");
    expect("T_D", "$HOME");
    expect("T_E", "x");
}

static void test_the_environment_wins(void **state)
{
    (void)state;
    setenv("T_A", "first", 1);
    read_text("T_A=second\n");
    expect("T_A", "first");
}

static void test_what_is_wrong_is_told_without_what_stands_there(void **state)
{
    (void)state;
    refuse("T_A=1\nsecret", ".env, line 2: this is no assignment; allowed is NAME=value");
    refuse("1A=secret", ".env, line 1: this is no assignment; allowed is NAME=value");
    refuse("=secret", ".env, line 1: this is no assignment; allowed is NAME=value");
    refuse("\nT_B=\"secret\n\n", ".env, line 4: a quote is not closed; allowed is NAME=value");
    refuse("T_B='secret' more", ".env, line 1: something follows the closing quote; allowed is NAME=value");
    refuse("T_B=\"\\secret\"",
           ".env, line 1: an unknown escape (allowed are \\n \\r \\t \\\\ \\\" \\$); allowed is NAME=value");
    unsetenv("T_A");
}

static void test_files(void **state)
{
    (void)state;
    struct err error = {0};
    char path[] = "/tmp/etl-dotenv-XXXXXX";
    assert_true(dotenv_load("/nonexistent/.env", &error));
    assert_false(dotenv_load("/tmp", &error));
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "T_A=7\n", 6), 6);
    assert_true(dotenv_load(path, &error));
    expect("T_A", "7");
    assert_int_equal(write(fd, "\0", 1), 1);
    assert_false(dotenv_load(path, &error));
    assert_non_null(strstr(error.text, "holds a NUL"));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_become_variables),
        cmocka_unit_test(test_quotes_keep_what_is_inside),
        cmocka_unit_test(test_the_environment_wins),
        cmocka_unit_test(test_what_is_wrong_is_told_without_what_stands_there),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
