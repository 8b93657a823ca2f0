// pgvector's vector and halfvec as JSON arrays of numbers.
#ifndef ETL_ENCODE_VECTOR_H
#define ETL_ENCODE_VECTOR_H

#include "encode/typemap.h"

enum value_outcome vector_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                 struct buf *coerced);
// What vector_out and halfvec_out print for the binary form.
bool vector_append_text(enum value_kind kind, const struct value *value, struct buf *out);

#endif
