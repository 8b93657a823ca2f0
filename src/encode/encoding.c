#include "encode/encoding.h"

#include <iconv.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "base/check.h"
#include "base/utf8.h"

enum encoding_form {
    FORM_UTF8,
    FORM_ONE_BYTE,  // a table of 256 characters, made once from iconv: no state, any thread
    // iconv, whose handle has state, so each thread has its own. They differ in how long a character is (character_size)
    FORM_EUC,
    FORM_EUC_JP,
    FORM_EUC_JIS_2004,
    FORM_EUC_TW
};

// Server encodings of PostgreSQL 15 (src/common/encnames.c). All hold ASCII as itself, and none but MULE_INTERNAL, which iconv does not
// know, uses a byte below 0x80 inside a longer character. iconv's EUC-JP is another one: it has other characters than PostgreSQL for "～" and
// six more, and lacks the vendors' ("①").
static const struct {
    const char *postgres_name;
    const char *iconv_name;
    enum encoding_form form;
} names[] = {
    {"UTF8", "UTF-8", FORM_UTF8},
    {"SQL_ASCII", "UTF-8", FORM_UTF8},
    {"EUC_JP", "EUC-JP-MS", FORM_EUC_JP},
    {"EUC_CN", "EUC-CN", FORM_EUC},
    {"EUC_KR", "EUC-KR", FORM_EUC},
    {"EUC_TW", "EUC-TW", FORM_EUC_TW},
    {"EUC_JIS_2004", "EUC-JISX0213", FORM_EUC_JIS_2004},
    {"LATIN1", "ISO-8859-1", FORM_ONE_BYTE},
    {"LATIN2", "ISO-8859-2", FORM_ONE_BYTE},
    {"LATIN3", "ISO-8859-3", FORM_ONE_BYTE},
    {"LATIN4", "ISO-8859-4", FORM_ONE_BYTE},
    {"LATIN5", "ISO-8859-9", FORM_ONE_BYTE},
    {"LATIN6", "ISO-8859-10", FORM_ONE_BYTE},
    {"LATIN7", "ISO-8859-13", FORM_ONE_BYTE},
    {"LATIN8", "ISO-8859-14", FORM_ONE_BYTE},
    {"LATIN9", "ISO-8859-15", FORM_ONE_BYTE},
    {"LATIN10", "ISO-8859-16", FORM_ONE_BYTE},
    {"ISO_8859_5", "ISO-8859-5", FORM_ONE_BYTE},
    {"ISO_8859_6", "ISO-8859-6", FORM_ONE_BYTE},
    {"ISO_8859_7", "ISO-8859-7", FORM_ONE_BYTE},
    {"ISO_8859_8", "ISO-8859-8", FORM_ONE_BYTE},
    {"WIN866", "CP866", FORM_ONE_BYTE},
    {"WIN874", "CP874", FORM_ONE_BYTE},
    {"WIN1250", "CP1250", FORM_ONE_BYTE},
    {"WIN1251", "CP1251", FORM_ONE_BYTE},
    {"WIN1252", "CP1252", FORM_ONE_BYTE},
    {"WIN1253", "CP1253", FORM_ONE_BYTE},
    {"WIN1254", "CP1254", FORM_ONE_BYTE},
    {"WIN1255", "CP1255", FORM_ONE_BYTE},
    {"WIN1256", "CP1256", FORM_ONE_BYTE},
    {"WIN1257", "CP1257", FORM_ONE_BYTE},
    {"WIN1258", "CP1258", FORM_ONE_BYTE},
    {"KOI8R", "KOI8-R", FORM_ONE_BYTE},
    {"KOI8U", "KOI8-U", FORM_ONE_BYTE},
};
#define NAME_COUNT (sizeof names / sizeof names[0])
#define PIECE_SIZE 256
#define ICONV_NONE ((iconv_t)-1)

struct character {
    uint8_t size;  // 0: no such character
    uint8_t bytes[3];
};

struct encoding {
    enum encoding_form form;
    size_t index;                      // in names
    struct character characters[256];  // FORM_ONE_BYTE
};

static _Atomic(struct encoding *) encodings[NAME_COUNT];

static iconv_t open_converter(size_t index)
{
    return iconv_open("UTF-8", names[index].iconv_name);
}

// One input byte at a time, each flushed: glibc would otherwise hold a letter back to compose it with the accent that may follow (CP1258).
static void fill_characters(iconv_t converter, struct encoding *encoding)
{
    for (size_t byte = 0; byte < 256; byte++) {
        char input = (char)byte;
        char output[8];
        char *from = &input;
        char *to = output;
        size_t from_left = 1;
        size_t to_left = sizeof output;
        bool is_known = iconv(converter, &from, &from_left, &to, &to_left) != (size_t)-1 &&
                        iconv(converter, NULL, NULL, &to, &to_left) != (size_t)-1;
        size_t size = sizeof output - to_left;
        (void)iconv(converter, NULL, NULL, NULL, NULL);
        if (!is_known || size == 0 || size > 3)
            continue;
        encoding->characters[byte].size = (uint8_t)size;
        memcpy(encoding->characters[byte].bytes, output, size);
    }
}

static struct encoding *encoding_new(size_t index)
{
    struct encoding *encoding = calloc(1, sizeof *encoding);
    if (encoding == NULL)
        return NULL;
    encoding->form = names[index].form;
    encoding->index = index;
    if (encoding->form == FORM_UTF8)
        return encoding;

    iconv_t converter = open_converter(index);
    if (converter == ICONV_NONE) {
        free(encoding);
        return NULL;
    }
    if (encoding->form == FORM_ONE_BYTE)
        fill_characters(converter, encoding);
    (void)iconv_close(converter);
    return encoding;
}

const struct encoding *encoding_find(const char *postgres_name)
{
    for (size_t i = 0; i < NAME_COUNT; i++) {
        if (strcmp(names[i].postgres_name, postgres_name) != 0)
            continue;
        struct encoding *found = atomic_load(&encodings[i]);
        if (found != NULL)
            return found;
        // Two threads may both make one; the first to publish wins. No lock: iconv_open reads files.
        struct encoding *made = encoding_new(i);
        if (made == NULL || atomic_compare_exchange_strong(&encodings[i], &found, made))
            return made;
        free(made);
        return found;
    }
    return NULL;
}

bool encoding_is_utf8(const struct encoding *encoding)
{
    return encoding->form == FORM_UTF8;
}

// A thread's converters, closed when it ends.
struct converters {
    iconv_t opened[NAME_COUNT];
};

static tss_t converters_key;
static once_flag converters_once = ONCE_FLAG_INIT;

static void converters_free(void *taken)
{
    struct converters *converters = taken;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        if (converters->opened[i] != ICONV_NONE)
            (void)iconv_close(converters->opened[i]);
    }
    free(converters);
}

static void converters_prepare(void)
{
    CHECK(tss_create(&converters_key, converters_free) == thrd_success);
}

static iconv_t thread_converter(const struct encoding *encoding)
{
    call_once(&converters_once, converters_prepare);
    struct converters *converters = tss_get(converters_key);
    if (converters == NULL) {
        converters = malloc(sizeof *converters);
        if (converters == NULL)
            return ICONV_NONE;
        for (size_t i = 0; i < NAME_COUNT; i++)
            converters->opened[i] = ICONV_NONE;
        if (tss_set(converters_key, converters) != thrd_success) {
            free(converters);
            return ICONV_NONE;
        }
    }
    iconv_t *converter = &converters->opened[encoding->index];
    if (*converter == ICONV_NONE)
        *converter = open_converter(encoding->index);
    return *converter;
}

typedef bool (*append_utf8)(const uint8_t *text, size_t size, struct buf *out);

static bool append_one_byte(const struct encoding *encoding, const uint8_t *text, size_t size, append_utf8 append,
                            struct buf *out)
{
    bool is_valid = true;
    size_t position = 0;
    while (position < size) {
        size_t run = utf8_ascii_run(text + position, size - position);
        (void)append(text + position, run, out);
        for (position += run; position < size && text[position] >= 0x80; position++) {
            const struct character *character = &encoding->characters[text[position]];
            if (character->size > 0) {
                buf_append(out, character->bytes, character->size);
            } else {
                buf_append(out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_SIZE);
                is_valid = false;
            }
        }
    }
    return is_valid;
}

// A letter that the converter holds back, to compose it with an accent that may follow (EUC_JIS_2004), comes out now.
static void flush_converter(iconv_t converter, append_utf8 append, struct buf *out)
{
    char output[16];
    char *to = output;
    size_t to_left = sizeof output;
    (void)iconv(converter, NULL, NULL, &to, &to_left);
    (void)append((const uint8_t *)output, sizeof output - to_left, out);
}

static bool is_euc_byte(uint8_t byte)
{
    return byte >= 0xA1 && byte <= 0xFE;
}

// Bytes of the character at text[0 .. size), which need not exist; 1 if the bytes are none in form. (PostgreSQL, src/common/wchar.c:
// pg_eucjp_verifychar and the like; UTF-8 can be turned into an EUC_TW that is of another plane than it lets in.)
static size_t character_size(enum encoding_form form, const uint8_t *text, size_t size)
{
    bool is_japanese = form == FORM_EUC_JP || form == FORM_EUC_JIS_2004;
    size_t character = 1;
    if (is_euc_byte(text[0]))
        character = 2;
    else if (text[0] == 0x8E)
        character = is_japanese ? 2 : form == FORM_EUC_TW ? 4 : 1;
    else if (text[0] == 0x8F)
        character = is_japanese ? 3 : 1;
    if (character > size)
        return 1;
    for (size_t i = 1; i < character; i++) {
        if (!is_euc_byte(text[i]))
            return 1;
    }
    return character;
}

// Two characters, in UTF-8, that iconv's EUC-JISX0213 has for those of PostgreSQL: U+FFE3 for U+203E (A1B1), U+FFE5 for U+00A5 (A1EF). It has
// them for nothing else.
static size_t mend_jis_2004(uint8_t *text, size_t size)
{
    uint8_t *to = text;
    for (size_t i = 0; i < size; i++) {
        if (size - i >= 3 && memcmp(text + i, "\xEF\xBF\xA3", 3) == 0) {
            memcpy(to, "\xE2\x80\xBE", 3);
            to += 3;
            i += 2;
        } else if (size - i >= 3 && memcmp(text + i, "\xEF\xBF\xA5", 3) == 0) {
            memcpy(to, "\xC2\xA5", 2);
            to += 2;
            i += 2;
        } else {
            *to++ = text[i];
        }
    }
    return (size_t)(to - text);
}

// A run of bytes above ASCII, so of whole characters. It is fed in pieces whose output surely fits: no character of two bytes becomes more
// than eight of UTF-8, and glibc 2.36 does not come back from a full output buffer (E2BIG for ever) in EUC-JISX0213.
static bool append_converted(enum encoding_form form, iconv_t converter, const uint8_t *text, size_t size,
                             append_utf8 append, struct buf *out)
{
    bool is_valid = true;
    char *from = (char *)(uintptr_t)text;  // iconv does not write to its input, its type is older than const
    size_t from_left = size;
    (void)iconv(converter, NULL, NULL, NULL, NULL);
    while (from_left > 0) {
        char output[4 * PIECE_SIZE + 64];
        char *to = output;
        size_t to_left = sizeof output;
        size_t piece_size = from_left < PIECE_SIZE ? from_left : PIECE_SIZE;
        size_t piece_left = piece_size;
        (void)iconv(converter, &from, &piece_left, &to, &to_left);
        size_t made = sizeof output - to_left;
        if (form == FORM_EUC_JIS_2004)
            made = mend_jis_2004((uint8_t *)output, made);
        (void)append((const uint8_t *)output, made, out);
        from_left -= piece_size - piece_left;
        if (piece_left == piece_size) {  // no step forward: what is left begins with no character that iconv knows
            flush_converter(converter, append, out);
            buf_append(out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_SIZE);
            is_valid = false;
            size_t unknown = character_size(form, (const uint8_t *)from, from_left);
            from += unknown;
            from_left -= unknown;
        }
    }
    flush_converter(converter, append, out);
    return is_valid;
}

static bool append_euc(const struct encoding *encoding, const uint8_t *text, size_t size, append_utf8 append,
                       struct buf *out)
{
    iconv_t converter = thread_converter(encoding);
    if (converter == ICONV_NONE) {
        out->failed = true;  // out of memory
        return true;
    }
    bool is_valid = true;
    size_t position = 0;
    while (position < size) {
        size_t run = utf8_ascii_run(text + position, size - position);
        (void)append(text + position, run, out);
        position += run;
        size_t end = position;
        while (end < size && text[end] >= 0x80)
            end++;
        is_valid =
            append_converted(encoding->form, converter, text + position, end - position, append, out) && is_valid;
        position = end;
    }
    return is_valid;
}

static bool append_by_form(const struct encoding *encoding, const uint8_t *text, size_t size, append_utf8 append,
                           struct buf *out)
{
    switch (encoding->form) {
    case FORM_UTF8: return append(text, size, out);
    case FORM_ONE_BYTE: return append_one_byte(encoding, text, size, append, out);
    case FORM_EUC:
    case FORM_EUC_JP:
    case FORM_EUC_JIS_2004:
    case FORM_EUC_TW: return append_euc(encoding, text, size, append, out);
    }
    check_failed("a known form of encoding", __FILE__, __LINE__);
}

bool encoding_append_json(const struct encoding *encoding, const uint8_t *text, size_t size, struct buf *out)
{
    return append_by_form(encoding, text, size, utf8_append_json, out);
}

bool encoding_append_utf8(const struct encoding *encoding, const uint8_t *text, size_t size, struct buf *out)
{
    return append_by_form(encoding, text, size, utf8_append_checked, out);
}
