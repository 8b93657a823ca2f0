// Cursor over a type's binary form: integers are big-endian. Invariant: position <= size. A reader that would pass the end
// reads nothing and returns false.
#ifndef ETL_ENCODE_WIRE_H
#define ETL_ENCODE_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/row.h"

struct wire {
    const uint8_t *data;
    size_t size;
    size_t position;
};

static inline struct wire wire_of(const struct value *value)
{
    return (struct wire){.data = value->data, .size = value->size};
}

static inline bool wire_is_at_end(const struct wire *wire)
{
    return wire->position == wire->size;
}

static inline bool wire_take(struct wire *wire, size_t size, const uint8_t **out_bytes)
{
    if (size > wire->size - wire->position)
        return false;
    *out_bytes = wire->data + wire->position;
    wire->position += size;
    return true;
}

static inline bool wire_read_u8(struct wire *wire, uint8_t *out)
{
    const uint8_t *bytes;
    if (!wire_take(wire, 1, &bytes))
        return false;
    *out = *bytes;
    return true;
}

static inline bool wire_read_u16(struct wire *wire, uint16_t *out)
{
    const uint8_t *bytes;
    if (!wire_take(wire, 2, &bytes))
        return false;
    *out = (uint16_t)(bytes[0] << 8 | bytes[1]);
    return true;
}

static inline bool wire_read_u32(struct wire *wire, uint32_t *out)
{
    const uint8_t *bytes;
    if (!wire_take(wire, 4, &bytes))
        return false;
    memcpy(out, bytes, 4);
    *out = be32toh(*out);
    return true;
}

static inline bool wire_read_u64(struct wire *wire, uint64_t *out)
{
    const uint8_t *bytes;
    if (!wire_take(wire, 8, &bytes))
        return false;
    memcpy(out, bytes, 8);
    *out = be64toh(*out);
    return true;
}

// Int32 length (-1: NULL), bytes: how values stand inside of others.
static inline bool wire_read_value(struct wire *wire, struct value *out_value)
{
    uint32_t size;
    const uint8_t *bytes;
    if (!wire_read_u32(wire, &size))
        return false;
    if (size == UINT32_MAX) {
        *out_value = (struct value){.state = VALUE_NULL};
        return true;
    }
    if (!wire_take(wire, size, &bytes))
        return false;
    *out_value = (struct value){.data = bytes, .size = size, .state = VALUE_BINARY};
    return true;
}

#endif
