#include "base/utf8.h"

#include <string.h>

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static uint64_t load8(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

// Non-zero if a byte of the word equals `byte`. Exact as a yes or no; which byte it was is not told.
static uint64_t has_byte(uint64_t word, uint8_t byte)
{
    uint64_t zeroed = word ^ (ONES * byte);
    return (zeroed - ONES) & ~zeroed & HIGHS;
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

size_t utf8_plain_run(const uint8_t *text, size_t size)
{
    size_t run = 0;
    while (size - run >= 8) {
        uint64_t word = load8(text + run);
        uint64_t below_blank = (word - ONES * 0x20) & ~word & HIGHS;
        if (((word & HIGHS) | below_blank | has_byte(word, '"') | has_byte(word, '\\')) != 0)
            break;
        run += 8;
    }
    while (run < size && is_plain(text[run]))
        run++;
    return run;
}

size_t utf8_ascii_run(const uint8_t *text, size_t size)
{
    size_t run = 0;
    while (size - run >= 8 && (load8(text + run) & HIGHS) == 0)
        run += 8;
    while (run < size && text[run] < 0x80)
        run++;
    return run;
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

// The table of well-formed byte sequences: The Unicode Standard, table 3-7.
size_t utf8_character_size(const uint8_t *text, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t first = text[0];
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    if (first < 0xE0)
        return size >= 2 && is_continuation(text[1]) ? 2 : 0;

    // The second byte's range shuts out overlong forms, surrogates and what is above U+10FFFF.
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (size < 3 || text[1] < low || text[1] > high || !is_continuation(text[2]))
        return 0;
    if (first < 0xF0)
        return 3;
    return size >= 4 && is_continuation(text[3]) ? 4 : 0;
}

// Whole characters above ASCII from text[0]; stops at ASCII or at a bad byte.
static size_t wide_run(const uint8_t *text, size_t size)
{
    size_t run = 0;
    while (run < size && text[run] >= 0x80) {
        size_t character = utf8_character_size(text + run, size - run);
        if (character == 0)
            break;
        run += character;
    }
    return run;
}

static void append_escape(uint8_t byte, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    switch (byte) {
    case '"':
    case '\\': escape[1] = (char)byte; break;
    case '\b': escape[1] = 'b'; break;
    case '\f': escape[1] = 'f'; break;
    case '\n': escape[1] = 'n'; break;
    case '\r': escape[1] = 'r'; break;
    case '\t': escape[1] = 't'; break;
    default: buf_append(out, escape, 6); return;
    }
    buf_append(out, escape, 2);
}

bool utf8_append_json(const uint8_t *text, size_t size, struct buf *out)
{
    bool is_valid = true;
    size_t position = 0;
    (void)buf_reserve(out, size);
    while (position < size) {
        size_t run = utf8_plain_run(text + position, size - position);
        run += wide_run(text + position + run, size - position - run);
        if (run > 0) {
            buf_append(out, text + position, run);
            position += run;
        } else if (text[position] < 0x80) {
            append_escape(text[position++], out);
        } else {
            buf_append(out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_SIZE);
            is_valid = false;
            position++;
        }
    }
    return is_valid;
}

bool utf8_append_checked(const uint8_t *text, size_t size, struct buf *out)
{
    bool is_valid = true;
    size_t position = 0;
    (void)buf_reserve(out, size);
    while (position < size) {
        size_t run = utf8_ascii_run(text + position, size - position);
        run += wide_run(text + position + run, size - position - run);
        if (run > 0) {
            buf_append(out, text + position, run);
            position += run;
        } else {
            buf_append(out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_SIZE);
            is_valid = false;
            position++;
        }
    }
    return is_valid;
}

// We escape ASCII alone.
size_t utf8_json_character(const uint8_t *json, size_t *out_json_size)
{
    if (*json == '\\') {
        *out_json_size = json[1] == 'u' ? 6 : 2;
        return 1;
    }
    size_t size = *json < 0xC0 ? 1 : *json < 0xE0 ? 2 : *json < 0xF0 ? 3 : 4;
    *out_json_size = size;
    return size;
}

size_t utf8_json_text_size(const uint8_t *json, size_t size)
{
    size_t bytes = 0;
    for (size_t i = 0; i < size;) {
        size_t json_size;
        bytes += utf8_json_character(json + i, &json_size);
        i += json_size;
    }
    return bytes;
}
