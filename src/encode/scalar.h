// Values that are not arrays: the function that writes each kind as JSON, and PostgreSQL's text of its binary form.
#ifndef ETL_ENCODE_SCALAR_H
#define ETL_ENCODE_SCALAR_H

#include <stdbool.h>

#include "encode/typemap.h"

// is_wide_numeric: no NUMBER is wide enough for this numeric, its digits become a string.
column_encode scalar_encode_of(enum scalar_kind kind, bool is_wide_numeric);
// Appends what PostgreSQL would print for it, in the database's encoding, with the settings that our connections pin (ISO dates, UTC,
// hex bytea, shortest floats). False if the bytes are not of the kind.
bool scalar_append_text(enum scalar_kind kind, const struct value *value, struct buf *out);

// Appends the original's text to coerced as a JSON string; bytes that are not text in the database's encoding as hex, "\x6162ff".
void scalar_append_original(const struct column_encoder *encoder, const uint8_t *text, size_t size,
                            struct buf *coerced);
// In place of an original that is too large: "123 bytes".
void scalar_append_size(size_t size, struct buf *coerced);

#endif
