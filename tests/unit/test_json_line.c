#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/json_line.h"

static struct buf keys;

static void check(const char *json, enum json_line_fit fit, const char *expected)
{
    size_t size = strlen(json);
    uint8_t *text = malloc(size > 0 ? size : 1);  // exactly its size: a sanitizer sees a read past the end
    assert_non_null(text);
    memcpy(text, json, size);
    assert_int_equal(json_line_make(text, size, &keys), fit);
    assert_false(keys.failed);
    if (expected != NULL)
        assert_memory_equal(text, expected, size);
    free(text);
}

static void line_breaks_between_tokens_become_blanks(void **state)
{
    (void)state;
    check("{\n\t\"a\":\r\n[1,\n2]\n}", JSON_LINE_FITS, "{  \"a\":  [1, 2] }");
    check("\"\\n\\u000a\"", JSON_LINE_FITS, "\"\\n\\u000a\"");
    check("\n1\n", JSON_LINE_FITS, " 1 ");
}

static void numbers_must_survive_a_variant(void **state)
{
    (void)state;
    static const char *const exact[] = {"0",
                                        "-0.0",
                                        "12345678901234567890123456789012345678",
                                        "0.1234567890123456789012345678901234567",
                                        "1e37",
                                        "1E+10",
                                        "-5e-37",
                                        "1.7976931348623157e308",
                                        "5e-324",
                                        "0.0000000000000000000000000000000000000000000",
                                        "100000000000000000000000000000000000000000000000",
                                        "2.5e-100",
                                        "0e999999999999",
                                        "1.50e2"};
    static const char *const inexact[] = {"123456789012345678901234567890123456789",
                                          "0.12345678901234567890123456789012345678",
                                          "1e309",
                                          "1e-330",
                                          "1.2345678901234567890e100",
                                          "12345678901234567e100",
                                          "1e99999999999999999999",
                                          "123456789012345678901234567890123456789.5"};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        check(exact[i], JSON_LINE_FITS, exact[i]);
    for (size_t i = 0; i < sizeof inexact / sizeof inexact[0]; i++)
        check(inexact[i], JSON_LINE_INEXACT, NULL);
    check("{\"a\": [1, 123456789012345678901234567890123456789]}", JSON_LINE_INEXACT, NULL);
    check("\"123456789012345678901234567890123456789\"", JSON_LINE_FITS, NULL);  // a string is no number
}

static void half_a_surrogate_pair_is_replaced(void **state)
{
    (void)state;
    check("\"\\ud834\\udd1e\"", JSON_LINE_FITS, "\"\\ud834\\udd1e\"");
    check("\"\\ud834\"", JSON_LINE_REPAIRED, "\"\\ufffd\"");
    check("\"\\uDD1Ex\"", JSON_LINE_REPAIRED, "\"\\ufffdx\"");
    check("\"\\ud834\\ud834\\udd1e\"", JSON_LINE_REPAIRED, "\"\\ufffd\\ud834\\udd1e\"");
    check("\"\\\\ud834\"", JSON_LINE_FITS, "\"\\\\ud834\"");  // an escaped backslash, then letters
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "\"", "\"a",  "\"\\", "\"\\u12", "\"\\u12g4\"", "\"\\x\"", "{",
                                      "]",   "1.", "-",    "1e",   "01",      "tru",         "nul",     "\"\n\"",
                                      "'a'", "[1", "\x01", "+1",   ".5",      "1e+"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check(bad[i], JSON_LINE_MALFORMED, NULL);
}

static void an_object_with_a_key_twice_is_inexact(void **state)
{
    (void)state;
    static const char *const twice[] = {"{\"a\":1,\"a\":1}",
                                        "[{\"b\":{\"x\":{},\"y\":[],\"x\":2}}]",
                                        "{\"a\":1,\"\\u0061\":2}",
                                        "{\"\":1,\"\":2}",
                                        "{\"\\n\":1,\"\\u000A\":2}",
                                        "{\"\xC3\xA4\":1,\"\\u00e4\":2}",
                                        "{\"\xE2\x82\xAC\":1,\"\\u20AC\":2}",
                                        "{\"\xF0\x9D\x84\x9E\":1,\"\\ud834\\uDD1E\":2}",
                                        "{\"\\/\":1,\"/\":2}",
                                        "{\"a\":{\"b\":1},\"c\":[{\"d\":1}],\"a\":2}"};
    static const char *const once[] = {"{\"a\":{\"a\":{\"a\":\"a\"}}}", "[{\"a\":1},{\"a\":1}]",
                                       "{\"a\":\"b\",\"b\":\"a\"}", "{\"a\":1,\"A\":2,\"\\\\u0061\":3,\"\":4}", "{}"};
    for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++)
        check(twice[i], JSON_LINE_INEXACT, NULL);
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        check(once[i], JSON_LINE_FITS, NULL);
    uint8_t jsonb[] = "{\"a\":1,\"a\":1}";  // cannot be; nobody looks
    assert_int_equal(json_line_make(jsonb, sizeof jsonb - 1, NULL), JSON_LINE_FITS);
}

// Of a thousand keys each is found again, wherever it stands.
static void one_key_among_many(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (unsigned again = 0; again <= 1000; again += 50) {
        buf_reset(&text);
        for (unsigned i = 0; i < 1000; i++)
            buf_appendf(&text, "%s\"key%u\":{\"key%u\":1}", i == 0 ? "{" : ",", i, i);
        buf_appendf(&text, ",\"key%u\":0}", again);
        check(buf_text(&text), again < 1000 ? JSON_LINE_INEXACT : JSON_LINE_FITS, NULL);
    }
    buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_breaks_between_tokens_become_blanks), cmocka_unit_test(numbers_must_survive_a_variant),
        cmocka_unit_test(half_a_surrogate_pair_is_replaced),        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(an_object_with_a_key_twice_is_inexact),    cmocka_unit_test(one_key_among_many),
    };
    buf_init(&keys, 1 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&keys);
    return failed;
}
