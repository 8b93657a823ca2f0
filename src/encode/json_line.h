// JSON that PostgreSQL has checked, made fit for one line of NDJSON and for a VARIANT.
#ifndef ETL_ENCODE_JSON_LINE_H
#define ETL_ENCODE_JSON_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum json_line_fit {
    JSON_LINE_FITS,
    JSON_LINE_REPAIRED,  // half a surrogate pair (json allows it, UTF-8 has none) became U+FFFD
    JSON_LINE_INEXACT,   // a number that a VARIANT cannot hold as it is, or an object with a key twice
    JSON_LINE_MALFORMED
};

// In place, the size stays: line breaks between tokens become blanks. text is UTF-8. keys: scratch, for documents that may
// name a key twice (json, not jsonb), else NULL; when it has failed, the answer says nothing of keys.
enum json_line_fit json_line_make(uint8_t *text, size_t size, struct buf *keys);
// Whether a number in JSON's form is a double that prints the same digits again (zeros at the ends do not count).
bool json_number_is_double(const uint8_t *text, size_t size);

#endif
