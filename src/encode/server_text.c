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

// The text is larger than the scratch, and so than any target; how large is not known where it was to be made of the binary form.
static bool is_beyond_scratch(const struct value_encoder *encoder, const struct value *value)
{
    return value->state == VALUE_TEXT ? value->size > VALUE_SCRATCH_BYTES_MAX : encoder->scratch->is_over;
}

static enum value_outcome coerce_beyond_scratch(const struct value_encoder *encoder, struct buf *coerced)
{
    if (encoder->fails_oversized)
        return VALUE_OVERSIZED;
    scalar_append_size_above(VALUE_SCRATCH_BYTES_MAX, coerced);
    return VALUE_COERCED;
}

// The text of a binary value into the scratch; a text is its own. False: malformed. Without memory out fails, which the row's writer sees.
static bool print_original(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    struct buf *scratch = encoder->scratch;
    buf_reset(scratch);
    if (value->state == VALUE_BINARY && !server_text_append(encoder, value, scratch))
        return false;
    out->failed = out->failed || (scratch->failed && !scratch->is_over);
    return true;
}

enum value_outcome server_text_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                      struct buf *coerced)
{
    if (!print_original(encoder, value, out))
        return VALUE_MALFORMED;
    if (is_beyond_scratch(encoder, value))
        return coerce_beyond_scratch(encoder, coerced);
    if (value->state == VALUE_TEXT)
        return scalar_encode_text(encoder, value, out, coerced);
    const struct buf *scratch = encoder->scratch;
    struct value text = {.data = scratch->size > 0 ? scratch->data : (const uint8_t *)"",
                         .size = (uint32_t)scratch->size,
                         .state = VALUE_TEXT};
    return scalar_encode_text(encoder, &text, out, coerced);
}

// Behind print_original, which had the memory for it, or has met its limit.
static void append_original(const struct value_encoder *encoder, const struct value *value, struct buf *coerced)
{
    const struct buf *scratch = encoder->scratch;
    if (is_beyond_scratch(encoder, value))
        scalar_append_size_above(VALUE_SCRATCH_BYTES_MAX, coerced);
    else if (value->state == VALUE_TEXT)
        scalar_append_original(encoder, value->data, value->size, coerced);
    else
        scalar_append_original(encoder, scratch->data, scratch->size, coerced);
}

enum value_outcome server_text_coerce(const struct value_encoder *encoder, const struct value *value,
                                      struct buf *coerced)
{
    if (coerced == NULL)
        return VALUE_COERCED;
    if (!print_original(encoder, value, coerced))
        return VALUE_MALFORMED;
    append_original(encoder, value, coerced);
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
    size_t size = out->size - start;
    bool is_large = encoder->size_max != 0 && !out->failed && size > encoder->size_max;
    if (found->is_oversized)
        return VALUE_OVERSIZED;
    if (!is_large && !found->is_coerced)
        return VALUE_WRITTEN;
    if (coerced != NULL && !print_original(encoder, value, out))
        return VALUE_MALFORMED;
    // As server_text_unread has it: the text of such a value may be one that cannot be read.
    bool is_beyond = coerced != NULL && is_beyond_scratch(encoder, value);
    if (is_large || is_beyond)
        out->size = start;
    if (is_beyond)
        return coerce_beyond_scratch(encoder, coerced);
    if (is_large)
        return server_text_coerce_oversized(encoder, size, coerced);
    if (coerced != NULL)
        append_original(encoder, value, coerced);
    return VALUE_COERCED;
}

enum value_outcome server_text_unread(const struct value_encoder *encoder, struct buf *out, size_t start,
                                      struct buf *coerced)
{
    if (!encoder->scratch->failed)
        return VALUE_MALFORMED;
    if (!encoder->scratch->is_over) {
        out->failed = true;
        return VALUE_WRITTEN;
    }
    out->size = start;
    return coerce_beyond_scratch(encoder, coerced);
}
