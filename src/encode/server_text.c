#include "encode/server_text.h"

#include "encode/array.h"
#include "encode/composite.h"
#include "encode/hstore.h"
#include "encode/printed.h"
#include "encode/range.h"
#include "encode/scalar.h"
#include "encode/vector.h"

bool server_text_append(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    switch (encoder->kind) {
    case KIND_ARRAY: return array_append_text(encoder, value, out);
    case KIND_COMPOSITE: return composite_append_text(encoder, value, out);
    case KIND_RANGE: return range_append_text(encoder, value, out);
    case KIND_MULTIRANGE: return multirange_append_text(encoder, value, out);
    case KIND_HSTORE: return hstore_append_text(value, out);
    case KIND_VECTOR:
    case KIND_HALFVEC: return vector_append_text(encoder->kind, value, out);
    default:
        return printed_has(encoder->kind) ? printed_append(encoder->kind, value, out)
                                          : scalar_append_text(encoder->kind, value, out);
    }
}

enum value_outcome server_text_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    if (value->state == VALUE_TEXT)
        return scalar_encode_text(encoder, value, out, coerced);
    struct buf *scratch = encoder->scratch;
    buf_reset(scratch);
    if (!server_text_append(encoder, value, scratch))
        return VALUE_MALFORMED;
    if (scratch->failed) {
        out->failed = true;
        return VALUE_WRITTEN;  // the row's writer sees the failure
    }
    struct value text = {.data = scratch->size > 0 ? scratch->data : (const uint8_t *)"",
                         .size = (uint32_t)scratch->size,
                         .state = VALUE_TEXT};
    return scalar_encode_text(encoder, &text, out, coerced);
}

// _ETL_COERCED is a VARIANT: an original that is larger than one holds is told of by its size.
static void append_original(const struct value_encoder *encoder, const uint8_t *text, size_t size, struct buf *coerced)
{
    if (encoder->size_max != 0 && size > encoder->size_max)
        scalar_append_size(size, coerced);
    else
        scalar_append_original(encoder, text, size, coerced);
}

enum value_outcome server_text_coerce(const struct value_encoder *encoder, const struct value *value,
                                      struct buf *coerced)
{
    if (coerced == NULL)
        return VALUE_COERCED;
    if (value->state == VALUE_TEXT) {
        append_original(encoder, value->data, value->size, coerced);
        return VALUE_COERCED;
    }
    struct buf *scratch = encoder->scratch;
    buf_reset(scratch);
    if (!server_text_append(encoder, value, scratch))
        return VALUE_MALFORMED;
    if (scratch->failed)
        scalar_append_size(value->size, coerced);
    else
        append_original(encoder, scratch->data, scratch->size, coerced);
    return VALUE_COERCED;
}

enum value_outcome server_text_coerce_oversized(const struct value_encoder *encoder, size_t size, struct buf *coerced)
{
    if (encoder->fails_oversized)
        return VALUE_OVERSIZED;
    scalar_append_size(size, coerced);
    return VALUE_COERCED;
}

bool server_text_append_part(const struct value_encoder *part, const struct value *value, struct buf *out,
                             struct parts_found *found)
{
    if (value->state == VALUE_NULL) {
        buf_append(out, "null", 4);
        return true;
    }
    size_t start = out->size;
    enum value_outcome outcome = part->encode(part, value, out, NULL);
    found->is_coerced = found->is_coerced || outcome == VALUE_COERCED;
    found->is_oversized = found->is_oversized || outcome == VALUE_OVERSIZED;
    if (outcome != VALUE_WRITTEN && out->size == start)
        buf_append(out, "null", 4);
    return outcome != VALUE_MALFORMED;
}

enum value_outcome server_text_finish_parts(const struct value_encoder *encoder, const struct value *value,
                                            struct buf *out, size_t start, const struct parts_found *found,
                                            struct buf *coerced)
{
    if (found->is_oversized)
        return VALUE_OVERSIZED;
    if (encoder->size_max != 0 && !out->failed && out->size - start > encoder->size_max) {
        out->size = start;
        return server_text_coerce_oversized(encoder, value->size, coerced);
    }
    return found->is_coerced ? server_text_coerce(encoder, value, coerced) : VALUE_WRITTEN;
}

enum value_outcome server_text_unread(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      size_t start, struct buf *coerced)
{
    if (!encoder->scratch->failed)
        return VALUE_MALFORMED;
    out->size = start;
    return server_text_coerce_oversized(encoder, value->size, coerced);
}
