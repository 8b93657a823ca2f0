#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void character_sizes_follow_the_standard(void **state)
{
    (void)state;
    // Every code point, written by the rules and by nothing else.
    for (uint32_t code = 1; code <= 0x110000; code++) {
        uint8_t text[4];
        size_t size;
        if (code < 0x80) {
            text[0] = (uint8_t)code;
            size = 1;
        } else if (code < 0x800) {
            text[0] = (uint8_t)(0xC0 | code >> 6);
            text[1] = (uint8_t)(0x80 | (code & 0x3F));
            size = 2;
        } else if (code < 0x10000) {
            text[0] = (uint8_t)(0xE0 | code >> 12);
            text[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
            text[2] = (uint8_t)(0x80 | (code & 0x3F));
            size = 3;
        } else {
            text[0] = (uint8_t)(0xF0 | code >> 18);
            text[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
            text[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
            text[3] = (uint8_t)(0x80 | (code & 0x3F));
            size = 4;
        }
        bool is_bad = (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF;
        assert_int_equal(utf8_character_size(text, size), is_bad ? 0 : size);
        assert_int_equal(utf8_character_size(text, size - 1), 0);
    }
    static const char *const bad[] = {"\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",
                                      "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xF5\x80\x80\x80", "\xFF",
                                      "\xE2\x28\xA1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(utf8_character_size((const uint8_t *)bad[i], strlen(bad[i])), 0);
}

static void check_json(const char *text, size_t size, const char *expected, bool is_valid)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(utf8_append_json((const uint8_t *)text, size, &out), is_valid);
    assert_string_equal(buf_text(&out), expected);
    buf_deinit(&out);
}

static void json_escapes_what_it_must(void **state)
{
    (void)state;
    check_json("", 0, "", true);
    check_json("plain text, all of it", 21, "plain text, all of it", true);
    check_json("a\"b\\c\n\r\t\b\f", 10, "a\\\"b\\\\c\\n\\r\\t\\b\\f", true);
    check_json("\0\x01\x1F\x7F", 4, "\\u0000\\u0001\\u001f\x7F", true);
    check_json("äö€𝄞", strlen("äö€𝄞"), "äö€𝄞", true);
    check_json("a\xFF"
               "b\xC3",
               4,
               "a\xEF\xBF\xBD"
               "b\xEF\xBF\xBD",
               false);
    check_json("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", false);
}

// The fast run must stop at each byte that the slow rule stops at, wherever it stands in a word.
static void plain_run_stops_at_every_special_byte(void **state)
{
    (void)state;
    uint8_t text[40];
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, 'a', sizeof text);
            text[at] = (uint8_t)byte;
            bool is_plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
            assert_int_equal(utf8_plain_run(text, sizeof text), is_plain ? sizeof text : at);
            assert_int_equal(utf8_ascii_run(text, sizeof text), byte < 0x80 ? sizeof text : at);
            assert_int_equal(utf8_plain_run(text, at), at);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(character_sizes_follow_the_standard),
        cmocka_unit_test(json_escapes_what_it_must),
        cmocka_unit_test(plain_run_stops_at_every_special_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
