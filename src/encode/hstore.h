// hstore as a JSON object of strings and nulls.
#ifndef ETL_ENCODE_HSTORE_H
#define ETL_ENCODE_HSTORE_H

#include "encode/typemap.h"

enum value_outcome hstore_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                 struct buf *coerced);
// What hstore_out prints for a binary hstore.
bool hstore_append_text(const struct value *value, struct buf *out);

#endif
