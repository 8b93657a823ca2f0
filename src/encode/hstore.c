#include "encode/hstore.h"

#include "encode/encoding.h"
#include "encode/json_line.h"
#include "encode/quoted.h"
#include "encode/server_text.h"
#include "encode/wire.h"

static void append_string(const struct value_encoder *encoder, const struct value *text, struct buf *out,
                          struct parts_found *found)
{
    buf_append_byte(out, '"');
    if (!encoding_append_json(encoder->encoding, text->data, text->size, out))
        found->is_coerced = true;
    buf_append_byte(out, '"');
}

static void append_pair(const struct value_encoder *encoder, const struct value *key, struct buf *out,
                        struct parts_found *found, bool is_first)
{
    buf_append_byte(out, is_first ? '{' : ',');
    append_string(encoder, key, out, found);
    buf_append_byte(out, ':');
}

static void append_item(const struct value_encoder *encoder, const struct value *item, struct buf *out,
                        struct parts_found *found)
{
    if (item->state == VALUE_NULL)
        buf_append(out, "null", 4);
    else
        append_string(encoder, item, out, found);
}

// hstore_send (PostgreSQL, contrib/hstore/hstore_io.c):
//   Int32 pairs | for each Int32 length, key | Int32 length (-1: NULL), value
static bool read_pair(struct wire *wire, struct value *out_key, struct value *out_item)
{
    return wire_read_value(wire, out_key) && out_key->state != VALUE_NULL && wire_read_value(wire, out_item);
}

static bool append_binary(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                          struct parts_found *found)
{
    struct wire wire = wire_of(value);
    uint32_t count;
    if (!wire_read_u32(&wire, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct value key;
        struct value item;
        if (!read_pair(&wire, &key, &item))
            return false;
        append_pair(encoder, &key, out, found, i == 0);
        append_item(encoder, &item, out, found);
    }
    buf_append_text(out, count > 0 ? "}" : "{}");
    return wire_is_at_end(&wire);
}

static bool skip(const uint8_t **at, const uint8_t *end, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*at == end || **at != (uint8_t)*text)
            return false;
        ++*at;
    }
    return true;
}

// hstore_out: "key"=>"value", "key"=>NULL
static bool append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                        struct parts_found *found)
{
    const uint8_t *at = value->data;
    const uint8_t *end = value->data + value->size;
    struct value item;
    bool is_quoted;
    for (bool is_first = true; at < end; is_first = false) {
        if (!is_first && !skip(&at, end, ", "))
            return false;
        if (!quoted_read(&at, end, "=", false, encoder->scratch, &item, &is_quoted) || !is_quoted)
            return false;
        append_pair(encoder, &item, out, found, is_first);
        if (!skip(&at, end, "=>"))
            return false;
        if (at < end && *at == 'N') {
            if (!skip(&at, end, "NULL"))
                return false;
            item = (struct value){.state = VALUE_NULL};
        } else if (!quoted_read(&at, end, ",", false, encoder->scratch, &item, &is_quoted) || !is_quoted) {
            return false;
        }
        append_item(encoder, &item, out, found);
    }
    buf_append_text(out, value->size > 0 ? "}" : "{}");
    return true;
}

// An hstore's keys differ, but not for certain any more when they are converted (see encode_json).
static bool has_key_twice(const struct value_encoder *encoder, struct buf *out, size_t start)
{
    if (out->failed)
        return false;
    enum json_line_fit fit = json_line_make(out->data + start, out->size - start, encoder->scratch);
    out->failed = encoder->scratch->failed;
    return fit == JSON_LINE_INEXACT;
}

enum value_outcome hstore_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                 struct buf *coerced)
{
    size_t start = out->size;
    struct parts_found found = {.is_coerced = false};
    buf_reset(encoder->scratch);
    bool is_hstore = value->state == VALUE_BINARY ? append_binary(encoder, value, out, &found)
                                                  : append_text(encoder, value, out, &found);
    bool may_repeat_keys = found.is_coerced || !encoding_is_utf8(encoder->encoding);
    if (is_hstore && may_repeat_keys && has_key_twice(encoder, out, start)) {
        out->size = start;
        found.is_coerced = true;
    }
    return is_hstore ? server_text_finish_parts(encoder, value, out, start, &found, coerced)
                     : server_text_unread(encoder, out, start, coerced);
}

static void append_quoted(const struct value *text, struct buf *out)
{
    buf_append_byte(out, '"');
    for (uint32_t i = 0; i < text->size; i++) {
        if (text->data[i] == '"' || text->data[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, text->data[i]);
    }
    buf_append_byte(out, '"');
}

bool hstore_append_text(const struct value *value, struct buf *out)
{
    struct wire wire = wire_of(value);
    uint32_t count;
    if (!wire_read_u32(&wire, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct value key;
        struct value item;
        if (!read_pair(&wire, &key, &item))
            return false;
        if (i > 0)
            buf_append_text(out, ", ");
        append_quoted(&key, out);
        buf_append_text(out, "=>");
        if (item.state == VALUE_NULL)
            buf_append_text(out, "NULL");
        else
            append_quoted(&item, out);
    }
    return wire_is_at_end(&wire);
}
