// Composite types as JSON objects: attribute name → value, NULL as null.
#ifndef ETL_ENCODE_COMPOSITE_H
#define ETL_ENCODE_COMPOSITE_H

#include "encode/typemap.h"

enum value_outcome composite_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                    struct buf *coerced);
// What record_out prints for a binary composite.
bool composite_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out);

#endif
