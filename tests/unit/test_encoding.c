#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/encoding.h"

static void check(const char *name, const char *bytes, const char *json, bool is_valid)
{
    struct buf out;
    const struct encoding *encoding = encoding_find(name);
    assert_non_null(encoding);
    buf_init(&out, 1 << 20);
    assert_int_equal(encoding_append_json(encoding, (const uint8_t *)bytes, strlen(bytes), &out), is_valid);
    assert_string_equal(buf_text(&out), json);
    buf_deinit(&out);
}

static void names_are_postgresqls(void **state)
{
    (void)state;
    assert_ptr_equal(encoding_find("LATIN1"), encoding_find("LATIN1"));
    assert_true(encoding_is_utf8(encoding_find("UTF8")));
    assert_true(encoding_is_utf8(encoding_find("SQL_ASCII")));
    assert_false(encoding_is_utf8(encoding_find("WIN1252")));
    assert_null(encoding_find("MULE_INTERNAL"));
    assert_null(encoding_find("utf-8"));
}

static void one_byte_encodings(void **state)
{
    (void)state;
    check("LATIN1",
          "stra\xDF"
          "e \"\n",
          "straße \\\"\\n", true);
    check("LATIN9", "\xA4", "€", true);
    check("WIN1252", "\x80 a \x81", "€ a \xEF\xBF\xBD", false);
    check("WIN1251", "\xEF\xF0\xE8\xE2\xE5\xF2", "привет", true);
    check("KOI8R", "\xD0\xD2\xC9\xD7\xC5\xD4", "привет", true);
    check("WIN1258", "a\xCC", "a\xCC\x80", true);  // two characters, not composed: as the server does
}

static void wider_encodings(void **state)
{
    (void)state;
    check("EUC_JP", "a\xC6\xFC\xCB\xDC\xB8\xEC\"", "a日本語\\\"", true);
    check("EUC_KR", "\xC7\xD1\xB1\xDB", "한글", true);
    check("EUC_CN", "\xD6\xD0\xCE\xC4", "中文", true);
    check("EUC_JP", "x\xC6", "x\xEF\xBF\xBD", false);          // cut
    check("EUC_JP", "\xFF\xC6\xFC", "\xEF\xBF\xBD日", false);  // a byte that begins nothing
    check("EUC_JIS_2004", "\xA4\xAB\xA4\xAB", "かか", true);
    check("EUC_JIS_2004", "\xA4\xF7\xA4\xAB", "か\xE3\x82\x9Aか", true);  // one character of two code points
}

// As the server converts them; iconv has others under the encodings' usual names.
static void characters_are_postgresqls(void **state)
{
    (void)state;
    check("EUC_JP", "\xA1\xC1\xA1\xC2\xA1\xDD\xA1\xF1\xA1\xF2\xA2\xCC\x8F\xA2\xC3", "～∥－￠￡￢￤", true);
    check("EUC_JP", "\xAD\xA1\xAD\xB5", "①Ⅰ", true);
    check("EUC_JIS_2004", "\xA1\xB1\xA1\xEF\xA4\xA2\xA1\xF0", "\xE2\x80\xBE\xC2\xA5あ＄", true);
}

// A character that Unicode has not, or that is cut, does not shift the ones behind it. The server stores those of EUC_TW's plane 14, which it
// makes of UTF-8, and does not read them back itself.
static void unknown_characters_are_left_whole(void **state)
{
    (void)state;
    check("EUC_JP", "\xA4\xA2\xA9\xA1\xA4\xA2\xA4\xA2", "あ\xEF\xBF\xBDああ", false);
    check("EUC_JP", "\xA4\xA2\x8F\xA1\xA1\xA4\xA2\xA4\xA2", "あ\xEF\xBF\xBDああ", false);
    check("EUC_JP", "\xA4\xA2\x8F\xA1 \xA4\xA2", "あ\xEF\xBF\xBD\xEF\xBF\xBD あ", false);
    check("EUC_JIS_2004", "\x8F\xA2\xA1\xA4\xA2", "\xEF\xBF\xBDあ", false);
    check("EUC_KR", "\xB0\xA1\xC9\xA1\xB0\xA1\xB0\xA1", "가\xEF\xBF\xBD가가", false);
    check("EUC_KR", "\xB0\xA1\xFF\xB0\xA1", "가\xEF\xBF\xBD가", false);
    check("EUC_CN", "\xAA\xA1\xB0\xA1", "\xEF\xBF\xBD啊", false);
    check("EUC_TW", "\xC4\xE3\x8E\xAE\xA1\xA6\xC4\xE3", "中\xEF\xBF\xBD中", false);
}

// Longer than any piece that is converted at once, at every alignment of characters to pieces.
static void long_texts_have_no_seams(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        char bytes[6000];
        char expected[9001];
        size_t size = 0;
        size_t expected_size = 0;
        if (shift > 0) {  // katakana of two bytes, 0x8E and one more; and a character of three
            memcpy(bytes, shift == 1 ? "\x8E\xB1" : "\x8F\xB0\xA1", shift + 1);
            memcpy(expected, shift == 1 ? "\xEF\xBD\xB1" : "\xE4\xB8\x82", 3);
            size = shift + 1;
            expected_size = 3;
        }
        while (size + 2 < sizeof bytes) {
            memcpy(bytes + size, "\xC6\xFC", 2);
            memcpy(expected + expected_size, "日", 3);
            size += 2;
            expected_size += 3;
        }
        bytes[size] = '\0';
        expected[expected_size] = '\0';
        check("EUC_JP", bytes, expected, true);
    }
}

static void *convert_in_thread(void *argument)
{
    for (int i = 0; i < 200; i++) {
        check("EUC_KR", "\xC7\xD1\xB1\xDB", "한글", true);
        check("LATIN2", "\xB1", "ą", true);
    }
    return argument;
}

static void threads_have_converters_of_their_own(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, convert_in_thread, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void plain_text_is_not_escaped(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    assert_true(encoding_append_utf8(encoding_find("LATIN1"), (const uint8_t *)"\"\n\xE4", 3, &out));
    assert_false(encoding_append_utf8(encoding_find("UTF8"), (const uint8_t *)"\"\xE4", 2, &out));
    assert_string_equal(buf_text(&out), "\"\nä\"\xEF\xBF\xBD");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_postgresqls),
        cmocka_unit_test(one_byte_encodings),
        cmocka_unit_test(wider_encodings),
        cmocka_unit_test(characters_are_postgresqls),
        cmocka_unit_test(unknown_characters_are_left_whole),
        cmocka_unit_test(long_texts_have_no_seams),
        cmocka_unit_test(plain_text_is_not_escaped),
        cmocka_unit_test(threads_have_converters_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
