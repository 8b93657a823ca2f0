// UTF-8 as bytes: how long a good character is, and text as the inside of a JSON string.
#ifndef ETL_BASE_UTF8_H
#define ETL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define UTF8_REPLACEMENT "\xEF\xBF\xBD"  // U+FFFD
#define UTF8_REPLACEMENT_SIZE 3

// Bytes of the well-formed character at text[0 .. size), 0 if there is none (overlong forms, surrogates, above U+10FFFF, cut).
size_t utf8_character_size(const uint8_t *text, size_t size);
// Length of the run from text[0] that JSON takes as it is: ASCII but control characters, quote and backslash.
size_t utf8_plain_run(const uint8_t *text, size_t size);
// Length of the run of ASCII bytes from text[0].
size_t utf8_ascii_run(const uint8_t *text, size_t size);
// Appends text as the inside of a JSON string. False if bytes were not UTF-8: each was written as U+FFFD.
bool utf8_append_json(const uint8_t *text, size_t size, struct buf *out);
// The same without escaping.
bool utf8_append_checked(const uint8_t *text, size_t size, struct buf *out);
// The character at json, the inside of a JSON string that utf8_append_json wrote: the bytes of text that it stands for, and its own.
size_t utf8_json_character(const uint8_t *json, size_t *out_json_size);
// Bytes of the text behind such an inside of a string; or of several strings and what is between them.
size_t utf8_json_text_size(const uint8_t *json, size_t size);

#endif
