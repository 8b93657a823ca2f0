// Values that are not made of others: the function that writes each kind as JSON, and PostgreSQL's text of its binary form.
#ifndef ETL_ENCODE_SCALAR_H
#define ETL_ENCODE_SCALAR_H

#include <stdbool.h>

#include "encode/typemap.h"

#define SCALAR_SIZE_TEXT_MAX 28  // of what scalar_append_size appends

// The kinds up to KIND_JSONB. A numeric is written as its target asks for: NUMBER, VARCHAR or FLOAT.
value_encode scalar_encode_of(enum value_kind kind, enum target_kind target);
// Text in the database's encoding as a JSON string; the value may be of any kind whose text this is.
enum value_outcome scalar_encode_text(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced);
// Appends what PostgreSQL would print for it, in the database's encoding, with the settings that our connections pin (ISO dates, UTC,
// hex bytea, shortest floats). False if the bytes are not of the kind.
bool scalar_append_text(enum value_kind kind, const struct value *value, struct buf *out);

// Appends the original's text to coerced as a JSON string; bytes that are not text in the database's encoding as hex, "\x6162ff". Where that is
// more than the encoder's target, or _ETL_COERCED with what it has already, can hold: the text's size.
void scalar_append_original(const struct value_encoder *encoder, const uint8_t *text, size_t size, struct buf *coerced);
// In place of an original that is too large: "123 bytes".
void scalar_append_size(size_t size, struct buf *coerced);
// Of one whose size is not known: "more than 123 bytes".
void scalar_append_size_above(size_t size, struct buf *coerced);

#endif
