#include "encode/array.h"

#include <string.h>
#include <strings.h>

#include "encode/decimal.h"
#include "encode/quoted.h"
#include "encode/server_text.h"
#include "encode/wire.h"

#define DIMENSIONS_MAX 6  // PostgreSQL: MAXDIM

// Cursor over a binary array. array_send (PostgreSQL, src/backend/utils/adt/arrayfuncs.c):
//   Int32 dimensions | Int32 has NULLs | Int32 element type | for each dimension Int32 size, Int32 lower bound |
//   elements in row-major order: Int32 length (-1: NULL), bytes
struct binary_array {
    struct wire wire;
    uint32_t dimensions;
    uint32_t sizes[DIMENSIONS_MAX];
    uint32_t strides[DIMENSIONS_MAX];  // elements in one item of the dimension above
    int32_t lower_bounds[DIMENSIONS_MAX];
    uint32_t element_count;
    bool has_lower_bounds;  // other than 1
};

static bool read_header(const struct value *value, struct binary_array *array)
{
    uint32_t has_nulls;
    uint32_t element_oid;
    *array = (struct binary_array){.wire = wire_of(value)};
    struct wire *wire = &array->wire;
    if (!wire_read_u32(wire, &array->dimensions) || !wire_read_u32(wire, &has_nulls) ||
        !wire_read_u32(wire, &element_oid) || array->dimensions > DIMENSIONS_MAX)
        return false;
    for (uint32_t i = 0; i < array->dimensions; i++) {
        uint32_t lower_bound;
        if (!wire_read_u32(wire, &array->sizes[i]) || !wire_read_u32(wire, &lower_bound) || array->sizes[i] == 0)
            return false;
        array->lower_bounds[i] = (int32_t)lower_bound;
        array->has_lower_bounds = array->has_lower_bounds || lower_bound != 1;
    }

    // Every element has a length of four bytes: no product of sizes may pass what is left, which also rules out an overflow.
    size_t elements_max = (wire->size - wire->position) / 4;
    uint32_t count = array->dimensions > 0 ? 1 : 0;
    for (uint32_t i = array->dimensions; i > 0; i--) {
        if (array->sizes[i - 1] > elements_max / count)
            return false;
        count *= array->sizes[i - 1];
        array->strides[i - 1] = count;
    }
    array->element_count = count;
    return true;
}

// Brackets that open before, and close behind, the element `index`.
static void open_brackets(const struct binary_array *array, uint32_t index, uint8_t bracket, struct buf *out)
{
    for (uint32_t i = 0; i < array->dimensions; i++) {
        if (index % array->strides[i] == 0)
            buf_append_byte(out, bracket);
    }
}

static void close_brackets(const struct binary_array *array, uint32_t index, uint8_t bracket, struct buf *out)
{
    for (uint32_t i = 0; i < array->dimensions; i++) {
        if ((index + 1) % array->strides[i] == 0)
            buf_append_byte(out, bracket);
    }
}

static bool append_binary(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                          struct parts_found *found)
{
    struct binary_array array;
    if (!read_header(value, &array))
        return false;
    found->is_coerced = array.has_lower_bounds;
    if (array.element_count == 0)
        buf_append(out, "[]", 2);
    for (uint32_t i = 0; i < array.element_count; i++) {
        struct value element;
        if (!wire_read_value(&array.wire, &element))
            return false;
        if (i > 0)
            buf_append_byte(out, ',');
        open_brackets(&array, i, '[', out);
        if (!server_text_append_part(encoder->parts[0].value, &element, out, found))
            return false;
        close_brackets(&array, i, ']', out);
    }
    return wire_is_at_end(&array.wire);
}

// Cursor over array_out's text: [l:u][l:u]={{1,2},{"a b",NULL}}
struct text_array {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t depth;
};

static bool skip_bounds(struct text_array *array)
{
    const uint8_t *equals = memchr(array->at, '=', (size_t)(array->end - array->at));
    if (equals == NULL)
        return false;
    for (const uint8_t *at = array->at; at < equals; at++) {
        if ((*at < '0' || *at > '9') && memchr("[]:-", *at, 4) == NULL)
            return false;
    }
    array->at = equals + 1;
    return true;
}

static bool append_text_element(const struct value_encoder *encoder, struct text_array *array, struct buf *out,
                                struct parts_found *found)
{
    const char ends[] = {encoder->type->delimiter, '{', '}', '\0'};
    struct value element;
    bool is_quoted;
    if (!quoted_read(&array->at, array->end, ends, false, encoder->scratch, &element, &is_quoted))
        return false;
    if (!is_quoted && element.size == 0)
        return false;
    if (!is_quoted && element.size == 4 && strncasecmp((const char *)element.data, "null", 4) == 0)
        element = (struct value){.state = VALUE_NULL};
    return server_text_append_part(encoder->parts[0].value, &element, out, found);
}

// An item: an element, or a '{' that opens a deeper level. `*has_item` tells whether a comma or a closing brace may follow.
static bool append_text_item(const struct value_encoder *encoder, struct text_array *array, struct buf *out,
                             struct parts_found *found, bool *has_item)
{
    if (*array->at == '{') {
        array->at++;
        buf_append_byte(out, '[');
        *has_item = false;
        return ++array->depth <= DIMENSIONS_MAX;
    }
    *has_item = true;
    return array->depth > 0 && append_text_element(encoder, array, out, found);
}

static bool append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                        struct parts_found *found)
{
    struct text_array array = {.at = value->data, .end = value->data + value->size};
    const uint8_t delimiter = (uint8_t)encoder->type->delimiter;
    if (value->size > 0 && value->data[0] == '[') {
        if (!skip_bounds(&array))
            return false;
        found->is_coerced = true;
    }
    bool has_item = false;   // something stands behind the last '{' or delimiter
    bool wants_item = true;  // behind a delimiter an item must come; "{}" is empty
    while (array.at < array.end) {
        uint8_t byte = *array.at;
        if (byte == '}' && array.depth > 0 && !wants_item) {
            buf_append_byte(out, ']');
            array.at++;
            array.depth--;
            has_item = true;
        } else if (byte == delimiter && has_item && array.depth > 0) {
            buf_append_byte(out, ',');
            array.at++;
            has_item = false;
            wants_item = true;
        } else {
            if (has_item || !append_text_item(encoder, &array, out, found, &has_item))
                return false;
            wants_item = false;
        }
        if (array.depth == 0)
            break;
    }
    return array.depth == 0 && has_item && array.at == array.end;
}

static void append_bound(struct buf *out, int64_t bound)
{
    char digits[20];
    if (bound < 0)
        buf_append_byte(out, '-');
    buf_append(out, digits, decimal_format_u64((uint64_t)(bound < 0 ? -bound : bound), digits));
}

bool array_append_text(const struct value_encoder *encoder, const struct value *value, struct buf *out)
{
    const struct value_encoder *element_encoder = encoder->parts[0].value;
    const char special[] = {'{', '}', encoder->type->delimiter, '\0'};
    const struct quoted_style style = {.special = special, .quotes_null = true};
    struct binary_array array;
    if (!read_header(value, &array))
        return false;
    if (array.element_count == 0)
        buf_append_text(out, "{}");
    for (uint32_t i = 0; array.has_lower_bounds && i < array.dimensions; i++) {
        buf_append_byte(out, '[');
        append_bound(out, array.lower_bounds[i]);
        buf_append_byte(out, ':');
        append_bound(out, (int64_t)array.lower_bounds[i] + array.sizes[i] - 1);
        buf_append_text(out, i + 1 < array.dimensions ? "]" : "]=");
    }
    for (uint32_t i = 0; i < array.element_count; i++) {
        struct value element;
        if (!wire_read_value(&array.wire, &element))
            return false;
        if (i > 0)
            buf_append_byte(out, (uint8_t)encoder->type->delimiter);
        open_brackets(&array, i, '{', out);
        size_t start = out->size;
        if (element.state == VALUE_NULL)
            buf_append_text(out, "NULL");
        else if (!server_text_append(element_encoder, &element, out))
            return false;
        else
            quoted_finish(out, start, &style);
        close_brackets(&array, i, '}', out);
    }
    return true;
}

enum value_outcome array_encode(const struct value_encoder *encoder, const struct value *value, struct buf *out,
                                struct buf *coerced)
{
    size_t start = out->size;
    struct parts_found found = {.is_coerced = false};
    buf_reset(encoder->scratch);
    bool is_array = value->state == VALUE_BINARY ? append_binary(encoder, value, out, &found)
                                                 : append_text(encoder, value, out, &found);
    return is_array ? server_text_finish_parts(encoder, value, out, start, &found, coerced)
                    : server_text_unread(encoder, out, start, coerced);
}
