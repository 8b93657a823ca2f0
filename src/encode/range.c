#include "encode/range.h"

#include "encode/quoted.h"
#include "encode/server_text.h"
#include "encode/wire.h"

// PostgreSQL, src/include/utils/rangetypes.h
#define RANGE_EMPTY 0x01
#define RANGE_LOWER_INCLUDED 0x02
#define RANGE_UPPER_INCLUDED 0x04
#define RANGE_LOWER_INFINITE 0x08
#define RANGE_UPPER_INFINITE 0x10

static bool append_bound(const struct value_encoder *bound, struct wire *wire, struct buf *out)
{
    static const struct quoted_style style = {.special = "()[],", .is_doubled = true};
    struct value value;
    size_t start = out->size;
    if (!wire_read_value(wire, &value) || value.state == VALUE_NULL || !server_text_append(bound, &value, out))
        return false;
    quoted_finish(out, start, &style);
    return true;
}

// range_send (PostgreSQL, src/backend/utils/adt/rangetypes.c):
//   Int8 flags | unless empty or infinite, lower bound: Int32 length, bytes | the same for the upper bound
bool range_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    struct wire wire = wire_of(value);
    uint8_t flags;
    if (!wire_read_u8(&wire, &flags))
        return false;
    if ((flags & RANGE_EMPTY) != 0) {
        buf_append_text(out, "empty");
        return wire_is_at_end(&wire);
    }
    buf_append_byte(out, (flags & RANGE_LOWER_INCLUDED) != 0 ? '[' : '(');
    if ((flags & RANGE_LOWER_INFINITE) == 0 && !append_bound(encoder->parts[0].value, &wire, out))
        return false;
    buf_append_byte(out, ',');
    if ((flags & RANGE_UPPER_INFINITE) == 0 && !append_bound(encoder->parts[0].value, &wire, out))
        return false;
    buf_append_byte(out, (flags & RANGE_UPPER_INCLUDED) != 0 ? ']' : ')');
    return wire_is_at_end(&wire);
}

// multirange_send (PostgreSQL, src/backend/utils/adt/multirangetypes.c): Int32 ranges | for each Int32 length, a range
bool multirange_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    struct wire wire = wire_of(value);
    uint32_t count;
    if (!wire_read_u32(&wire, &count))
        return false;
    buf_append_byte(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        struct value range;
        if (i > 0)
            buf_append_byte(out, ',');
        if (!wire_read_value(&wire, &range) || range.state == VALUE_NULL ||
            !range_append_text(encoder->parts[0].value, &range, out))
            return false;
    }
    buf_append_byte(out, '}');
    return wire_is_at_end(&wire);
}
