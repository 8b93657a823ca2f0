// Patterns that choose tables: what matches, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/table_choice.h"

static void test_patterns_match_whole_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool is_match;
    } cases[] = {
        {"a", "a", true},
        {"a", "A", false},
        {"a", "ab", false},
        {"", "", true},
        {"*", "", true},
        {"*", "anything", true},
        {"a*", "a", true},
        {"a*", "ba", false},
        {"*b", "aab", true},
        {"*b", "aabc", false},
        {"a*c*e", "abcde", true},
        {"a*c*e", "abde", false},
        {"?", "a", true},
        {"?", "", false},
        {"??", "a", false},
        {"?", "\xC3\xA4", true},
        {"?b",
         "\xC3\xA4"
         "b",
         true},
        {"??", "\xF0\x9F\x98\x80x", true},
        {"*?", "x", true},
        {"**a**", "bab", true},
        {"a.b", "a.b", true},
        {"a?b", "a.b", true},
        {"*ab", "aaab", true},
        {"*aab", "aaaab", true},
        {"[a]", "a", false},
        {"\\*", "*", false},
        {"*\xC3\xA4", "x\xC3\xA4", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (table_choice_matches(cases[i].pattern, cases[i].name) != cases[i].is_match)
            fail_msg("%s against %s", cases[i].pattern, cases[i].name);
}

static bool includes(const char *text, const char *schema, const char *table)
{
    struct table_choice choice;
    struct err error = {0};
    if (!table_choice_parse(text, &choice, &error))
        fail_msg("%s: %s", text, error.text);
    bool is_included = table_choice_includes(&choice, schema, table);
    table_choice_deinit(&choice);
    return is_included;
}

static void test_choices(void **state)
{
    (void)state;
    assert_true(includes(NULL, "public", "a"));
    assert_true(includes("", "public", "a"));
    assert_true(includes("public.a", "public", "a"));
    assert_false(includes("public.a", "private", "a"));
    assert_true(includes("a", "private", "a"));
    assert_true(includes("b, a ,c", "private", "a"));
    assert_false(includes("!a", "public", "a"));
    assert_true(includes("!a", "public", "b"));
    assert_false(includes("-public.*", "public", "b"));
    assert_true(includes("-public.*", "sales", "b"));
    assert_false(includes("sales.*,!*.tmp_*", "sales", "tmp_1"));
    assert_false(includes("!*.tmp_*,sales.*", "sales", "tmp_1"));
    assert_true(includes("sales.*,!*.tmp_*", "sales", "temp"));
    assert_false(includes("sales.*,!*.tmp_*", "public", "temp"));
    assert_true(includes("public.a.b", "public", "a.b"));
    assert_true(includes("public.-x", "public", "-x"));
}

static void test_patterns_without_a_match_are_known(void **state)
{
    (void)state;
    struct table_choice choice;
    struct err error = {0};
    assert_true(table_choice_parse("a,b.*,!c", &choice, &error));
    assert_true(table_choice_includes(&choice, "public", "a"));
    assert_false(table_choice_includes(&choice, "public", "c"));
    assert_true(choice.patterns[0].has_matched);
    assert_false(choice.patterns[1].has_matched);
    assert_true(choice.patterns[2].has_matched);
    assert_string_equal(choice.patterns[2].text, "!c");
    table_choice_deinit(&choice);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const texts[] = {",", "a,", ",a", "a,,b", "!", "-", ".", "a.", ".a", " ", "!.a"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct table_choice choice;
        struct err error = {0};
        if (table_choice_parse(texts[i], &choice, &error))
            fail_msg("\"%s\" is taken", texts[i]);
        assert_int_equal(error.kind, ERR_CONFIG);
        assert_int_equal(choice.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_match_whole_names),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_patterns_without_a_match_are_known),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
