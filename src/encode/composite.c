#include "encode/composite.h"

#include "encode/quoted.h"
#include "encode/server_text.h"
#include "encode/wire.h"

// record_send (PostgreSQL, src/backend/utils/adt/rowtypes.c); dropped attributes are left out:
//   Int32 attributes | for each Int32 type, Int32 length (-1: NULL), bytes
static bool read_header(const struct value_encoder *encoder, const struct value *value, struct wire *wire)
{
    uint32_t count;
    *wire = wire_of(value);
    return wire_read_u32(wire, &count) && count == encoder->part_count;
}

// Of another type than the catalog told: the attribute is another one by now.
static bool read_field(const struct value_encoder *encoder, uint16_t index, struct wire *wire, struct value *out_field)
{
    uint32_t type_oid;
    return wire_read_u32(wire, &type_oid) && type_oid == encoder->type->parts[index].oid &&
           wire_read_value(wire, out_field);
}

static void append_key(const struct value_encoder *encoder, uint16_t index, struct buf *out)
{
    buf_append_byte(out, index > 0 ? ',' : '{');
    buf_append(out, encoder->parts[index].key, encoder->parts[index].key_size);
}

static bool append_binary(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                          struct parts_found *found)
{
    struct wire wire;
    if (!read_header(encoder, value, &wire))
        return false;
    for (uint16_t i = 0; i < encoder->part_count; i++) {
        struct value field;
        append_key(encoder, i, out);
        if (!read_field(encoder, i, &wire, &field) ||
            !server_text_append_part(encoder->parts[i].value, &field, out, found))
            return false;
    }
    return wire_is_at_end(&wire);
}

// record_out: (a,"b ""c""",) — nothing at all is NULL.
static bool append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                        struct parts_found *found)
{
    const uint8_t *at = value->data;
    const uint8_t *end = value->data + value->size;
    if (at == end || *at++ != '(')
        return false;
    for (uint16_t i = 0; i < encoder->part_count; i++) {
        struct value field;
        bool is_quoted;
        if (i > 0 && (at == end || *at++ != ','))
            return false;
        append_key(encoder, i, out);
        if (!quoted_read(&at, end, ",()", true, encoder->scratch, &field, &is_quoted))
            return false;
        if (!is_quoted && field.size == 0)
            field = (struct value){.state = VALUE_NULL};
        if (!server_text_append_part(encoder->parts[i].value, &field, out, found))
            return false;
    }
    return end - at == 1 && *at == ')';
}

enum value_outcome composite_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                    struct buf *coerced)
{
    size_t start = out->size;
    struct parts_found found = {.is_coerced = false};
    buf_reset(encoder->scratch);
    bool is_composite = value->state == VALUE_BINARY ? append_binary(encoder, value, out, &found)
                                                     : append_text(encoder, value, out, &found);
    if (!is_composite)
        return server_text_unread(encoder, out, start, coerced);
    buf_append_text(out, encoder->part_count > 0 ? "}" : "{}");
    return server_text_finish_parts(encoder, value, out, start, &found, coerced);
}

bool composite_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    static const struct quoted_style style = {.special = "(),", .is_doubled = true};
    struct wire wire;
    if (!read_header(encoder, value, &wire))
        return false;
    buf_append_byte(out, '(');
    for (uint16_t i = 0; i < encoder->part_count; i++) {
        struct value field;
        if (!read_field(encoder, i, &wire, &field))
            return false;
        if (i > 0)
            buf_append_byte(out, ',');
        size_t start = out->size;
        if (field.state == VALUE_NULL)
            continue;
        if (!server_text_append(encoder->parts[i].value, &field, out))
            return false;
        quoted_finish(out, start, &style);
    }
    buf_append_byte(out, ')');
    return wire_is_at_end(&wire);
}
