// The source database's text encoding → UTF-8, by us: client_encoding is the database's own, because a byte that the
// server cannot convert would end the walsender at the same row for ever. Invalid bytes become U+FFFD and are reported.
#ifndef ETL_ENCODE_ENCODING_H
#define ETL_ENCODE_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct encoding;

// By PostgreSQL's name (pg_encoding_to_char): UTF8 is checked and passed through, SQL_ASCII counts as UTF8, others go through
// iconv. NULL if this machine's iconv does not know it. Never freed: there is one per name.
const struct encoding *encoding_find(const char *postgres_name);
bool encoding_is_utf8(const struct encoding *encoding);
// Appends text as the inside of a JSON string (escaped, without quotes). False if bytes were invalid (U+FFFD was
// written for each, or for each whole character that is not known).
bool encoding_append_json(const struct encoding *encoding, const uint8_t *text, size_t size, struct buf *out);
// The same without JSON escaping.
bool encoding_append_utf8(const struct encoding *encoding, const uint8_t *text, size_t size, struct buf *out);

#endif
