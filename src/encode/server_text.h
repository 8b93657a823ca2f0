// PostgreSQL's text of a binary value, of any type that is decoded here: the original of a value that does not fit, and the
// value itself where Snowflake gets the server's text.
#ifndef ETL_ENCODE_SERVER_TEXT_H
#define ETL_ENCODE_SERVER_TEXT_H

#include <stdbool.h>

#include "encode/typemap.h"

// Appends what the type's output function would print, in the database's encoding, with the settings that our connections pin.
// False if the bytes are not of the type.
bool server_text_append(const struct value_encoder *encoder, const struct value *value, struct buf *out);
// Encodes a value whose target is VARCHAR and holds the server's text.
enum value_outcome server_text_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced);

// The value does not fit: appends its original text to coerced (unless that is NULL). COERCED or MALFORMED.
enum value_outcome server_text_coerce(const struct value_encoder *encoder, const struct value *value,
                                      struct buf *coerced);
// The value is too large: appends its size to coerced. COERCED, or OVERSIZED where the options say so.
enum value_outcome server_text_coerce_oversized(const struct value_encoder *encoder, size_t size, struct buf *coerced);

// What was found in the parts of a value; the whole tells for all of them.
struct parts_found {
    bool is_coerced;
    bool is_oversized;
};

// Appends the JSON of an element or a field. One that does not fit becomes null, or its nearest value. False: malformed.
bool server_text_append_part(const struct value_encoder *part, const struct value *value, struct buf *out,
                             struct parts_found *found);
// What a value's encoder returns when all parts are written from `start` on.
enum value_outcome server_text_finish_parts(const struct value_encoder *encoder, const struct value *value,
                                            struct buf *out, size_t start, const struct parts_found *found,
                                            struct buf *coerced);
// What it returns when the text was not read to its end, encoder->scratch having been reset before. A quoted part that the scratch
// cannot take is larger than any target's size: the value does not fit, as one does of whose binary form such a text would be made. All else is
// malformed.
enum value_outcome server_text_unread(const struct value_encoder *encoder, struct buf *out, size_t start,
                                      struct buf *coerced);

#endif
