#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FROM, INTERVAL, LOST, LOUD, COUNT };

static const struct option_spec specs[COUNT] = {
    [FROM] = {"from", NULL, OPTION_TEXT, "URL", NULL, 0, 0, NULL, "where from"},
    [INTERVAL] = {"interval", "ETL_TEST_INTERVAL", OPTION_NUMBER, "N", "60", 1, 3600, NULL, "how often"},
    [LOST] = {"lost", NULL, OPTION_CHOICE, "WHAT", "stop", 0, 0, "stop|resync", "what then"},
    [LOUD] = {"loud", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "say more"},
};

struct parsed {
    struct option_value values[COUNT];
    const char *operands[2];
    size_t operand_count;
    struct err error;
    bool is_parsed;
};

static struct parsed parse(const char *const *words)
{
    struct parsed parsed = {0};
    char *arguments[8];
    int count = 0;
    for (; words[count] != NULL; count++)
        arguments[count] = (char *)(uintptr_t)words[count];
    parsed.is_parsed = options_parse(specs, COUNT, count, arguments, parsed.values, parsed.operands, 2,
                                     &parsed.operand_count, &parsed.error);
    return parsed;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void test_defaults_hold_where_nothing_is_given(void **state)
{
    (void)state;
    struct parsed parsed = parse((const char *const[]){NULL});
    assert_true(parsed.is_parsed);
    assert_null(parsed.values[FROM].text);
    assert_int_equal(parsed.values[INTERVAL].number, 60);
    assert_string_equal(parsed.values[LOST].text, "stop");
    assert_false(parsed.values[LOUD].flag);
    assert_false(parsed.values[INTERVAL].is_given);
}

static void test_values_come_as_word_or_after_equals(void **state)
{
    (void)state;
    struct parsed parsed = PARSE("--from", "a", "--interval=5", "--loud", "x", "--", "--y");
    assert_true(parsed.is_parsed);
    assert_string_equal(parsed.values[FROM].text, "a");
    assert_int_equal(parsed.values[INTERVAL].number, 5);
    assert_true(parsed.values[LOUD].flag);
    assert_int_equal(parsed.operand_count, 2);
    assert_string_equal(parsed.operands[1], "--y");
}

static void test_the_command_line_wins_over_the_environment(void **state)
{
    (void)state;
    setenv("ETL_TEST_INTERVAL", "7", 1);
    assert_int_equal(parse((const char *const[]){NULL}).values[INTERVAL].number, 7);
    assert_int_equal(PARSE("--interval", "8").values[INTERVAL].number, 8);
    setenv("ETL_TEST_INTERVAL", "many", 1);
    struct parsed parsed = parse((const char *const[]){NULL});
    assert_false(parsed.is_parsed);
    assert_string_equal(parsed.error.text, "ETL_TEST_INTERVAL is \"many\"; allowed is a whole number from 1 to 3600");
    unsetenv("ETL_TEST_INTERVAL");
}

static void test_bad_values_name_option_value_and_what_is_allowed(void **state)
{
    (void)state;
    assert_string_equal(PARSE("--interval", "0").error.text,
                        "--interval is \"0\"; allowed is a whole number from 1 to 3600");
    assert_string_equal(PARSE("--interval", "3601").error.text,
                        "--interval is \"3601\"; allowed is a whole number from 1 to 3600");
    assert_string_equal(PARSE("--interval", "5s").error.text,
                        "--interval is \"5s\"; allowed is a whole number from 1 to 3600");
    assert_string_equal(PARSE("--interval", "99999999999999999999").error.text,
                        "--interval is \"99999999999999999999\"; allowed is a whole number from 1 to 3600");
    assert_string_equal(PARSE("--lost", "stopp").error.text, "--lost is \"stopp\"; allowed is one of stop|resync");
    assert_string_equal(PARSE("--lost", "").error.text, "--lost is \"\"; allowed is one of stop|resync");
    assert_string_equal(PARSE("--from").error.text, "--from needs a value (URL)");
    assert_string_equal(PARSE("--intervall", "1").error.text,
                        "there is no option --intervall; did you mean --interval?");
    assert_string_equal(PARSE("--zzzzzz").error.text, "there is no option --zzzzzz; --help lists the options");
    assert_string_equal(PARSE("-x").error.text, "there is no option -x; --help lists the options");
    assert_string_equal(PARSE("a", "b", "c").error.text, "\"c\" is one word too many; --help shows what is allowed");
}

static void test_nearest_word_is_at_most_two_edits_away(void **state)
{
    (void)state;
    const char *const words[] = {"run", "status", "check"};
    assert_string_equal(options_nearest("statsu", words, 3), "status");
    assert_string_equal(options_nearest("chek", words, 3), "check");
    assert_null(options_nearest("banana", words, 3));
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 4096);
    options_help(specs, COUNT, &text);
    assert_non_null(strstr(buf_text(&text), "--interval N\n      how often (1 to 3600) [60] {ETL_TEST_INTERVAL}\n"));
    assert_non_null(strstr(buf_text(&text), "--loud\n"));
    buf_deinit(&text);
}

static void test_underscores_are_dashes_and_choices_have_places(void **state)
{
    (void)state;
    static const struct option_spec wide = {"a-b-c", NULL, OPTION_CHOICE, "X", NULL, 0, 0, "table|schema_table|schema",
                                            "x"};
    char word[] = "--a_b-c=schema";
    char *const arguments[] = {word};
    struct option_value value;
    size_t operand_count = 0;
    struct err error = {0};
    assert_true(options_parse(&wide, 1, 1, arguments, &value, NULL, 0, &operand_count, &error));
    assert_int_equal(options_choice_index(&wide, value.text), 2);
    assert_int_equal(options_choice_index(&wide, "schema_table"), 1);
    assert_int_equal(options_choice_index(&wide, "table"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_hold_where_nothing_is_given),
        cmocka_unit_test(test_values_come_as_word_or_after_equals),
        cmocka_unit_test(test_the_command_line_wins_over_the_environment),
        cmocka_unit_test(test_bad_values_name_option_value_and_what_is_allowed),
        cmocka_unit_test(test_nearest_word_is_at_most_two_edits_away),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_underscores_are_dashes_and_choices_have_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
