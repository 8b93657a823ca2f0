// Arrays of any dimension as nested JSON arrays.
#ifndef ETL_ENCODE_ARRAY_H
#define ETL_ENCODE_ARRAY_H

#include "encode/typemap.h"

enum value_outcome array_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                struct buf *coerced);
// What array_out prints for a binary array.
bool array_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out);

#endif
