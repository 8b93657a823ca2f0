#include "encode/vector.h"

#include <math.h>

#include "encode/float_text.h"
#include "encode/scalar_read.h"
#include "encode/server_text.h"
#include "encode/wire.h"

#define HALF_MANTISSA_BITS 10

// IEEE 754 binary16, which every float holds.
static float half_to_float(uint16_t bits)
{
    int exponent = bits >> HALF_MANTISSA_BITS & 31;
    int mantissa = bits & 1023;
    float magnitude;
    if (exponent == 31)
        magnitude = mantissa != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = ldexpf((float)mantissa, -24);
    else
        magnitude = ldexpf((float)(mantissa + 1024), exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

static bool read_number(enum value_kind kind, struct wire *wire, float *out_number)
{
    uint32_t bits;
    uint16_t half;
    if (kind == KIND_HALFVEC) {
        if (!wire_read_u16(wire, &half))
            return false;
        *out_number = half_to_float(half);
        return true;
    }
    if (!wire_read_u32(wire, &bits))
        return false;
    memcpy(out_number, &bits, sizeof bits);
    return true;
}

// vector_send (pgvector, src/vector.c): Int16 dimensions | Int16 unused | for each a float4
// halfvec_send (pgvector, src/halfvec.c): the same with a half-precision number of 16 bits for each
bool vector_append_text(enum value_kind kind, const struct value *value, struct buf *out)
{
    struct wire wire = wire_of(value);
    uint16_t dimensions;
    uint16_t unused;
    if (!wire_read_u16(&wire, &dimensions) || !wire_read_u16(&wire, &unused))
        return false;
    buf_append_byte(out, '[');
    for (uint16_t i = 0; i < dimensions; i++) {
        char text[FLOAT_TEXT_SIZE_MAX];
        float number;
        // Neither type takes NaN or an infinity.
        if (!read_number(kind, &wire, &number) || !isfinite((double)number))
            return false;
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append(out, text, float4_format(number, text));
    }
    buf_append_byte(out, ']');
    return wire_is_at_end(&wire);
}

// [1,2.5,-3]
static bool append_text(const struct value *value, struct buf *out)
{
    const uint8_t *at = value->data;
    const uint8_t *end = value->data + value->size;
    if (value->size < 2 || *at++ != '[' || *--end != ']')
        return false;
    buf_append_byte(out, '[');
    while (at < end) {
        char text[FLOAT_TEXT_SIZE_MAX];
        const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
        struct value number = {.data = at, .size = (uint32_t)((comma != NULL ? comma : end) - at), .state = VALUE_TEXT};
        size_t size = scalar_format_float(KIND_FLOAT4, &number, text);
        if (size == 0 || text[size - 1] > '9' || (comma != NULL && comma + 1 == end))
            return false;
        buf_append(out, text, size);
        at = comma != NULL ? comma + 1 : end;
        if (comma != NULL)
            buf_append_byte(out, ',');
    }
    buf_append_byte(out, ']');
    return true;
}

enum value_outcome vector_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                 struct buf *coerced)
{
    size_t start = out->size;
    static const struct parts_found none;
    bool is_vector =
        value->state == VALUE_BINARY ? vector_append_text(encoder->kind, value, out) : append_text(value, out);
    return is_vector ? server_text_finish_parts(encoder, value, out, start, &none, coerced) : VALUE_MALFORMED;
}
