// Ranges and multiranges: the server's text, printed from their binary form.
#ifndef ETL_ENCODE_RANGE_H
#define ETL_ENCODE_RANGE_H

#include "encode/typemap.h"

bool range_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out);
bool multirange_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out);

#endif
