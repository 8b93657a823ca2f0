#include "encode/array.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

#include "encode/decimal.h"
#include "encode/scalar.h"

#define DIMENSIONS_MAX 6  // PostgreSQL: MAXDIM

// Cursor over a binary array. array_send (PostgreSQL, src/backend/utils/adt/arrayfuncs.c):
//   Int32 dimensions | Int32 has NULLs | Int32 element type | for each dimension Int32 size, Int32 lower bound |
//   elements in row-major order: Int32 length (-1: NULL), bytes
struct binary_array {
    const uint8_t *data;
    size_t size;
    size_t position;
    uint32_t dimensions;
    uint32_t sizes[DIMENSIONS_MAX];
    uint32_t strides[DIMENSIONS_MAX];  // elements in one item of the dimension above
    int32_t lower_bounds[DIMENSIONS_MAX];
    uint32_t element_count;
    bool has_lower_bounds;  // other than 1
};

static bool read_u32(struct binary_array *array, uint32_t *out)
{
    uint32_t big_endian;
    if (array->size - array->position < sizeof big_endian)
        return false;
    memcpy(&big_endian, array->data + array->position, sizeof big_endian);
    array->position += sizeof big_endian;
    *out = be32toh(big_endian);
    return true;
}

static bool read_header(const struct value *value, struct binary_array *array)
{
    uint32_t has_nulls;
    uint32_t element_oid;
    *array = (struct binary_array){.data = value->data, .size = value->size};
    if (!read_u32(array, &array->dimensions) || !read_u32(array, &has_nulls) || !read_u32(array, &element_oid) ||
        array->dimensions > DIMENSIONS_MAX)
        return false;
    for (uint32_t i = 0; i < array->dimensions; i++) {
        uint32_t lower_bound;
        if (!read_u32(array, &array->sizes[i]) || !read_u32(array, &lower_bound) || array->sizes[i] == 0)
            return false;
        array->lower_bounds[i] = (int32_t)lower_bound;
        array->has_lower_bounds = array->has_lower_bounds || lower_bound != 1;
    }

    // Every element has a length of four bytes: no product of sizes may pass what is left, which also rules out an overflow.
    size_t elements_max = (array->size - array->position) / 4;
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

static bool read_element(struct binary_array *array, struct value *out_element)
{
    uint32_t size;
    if (!read_u32(array, &size))
        return false;
    if (size == UINT32_MAX) {
        *out_element = (struct value){.state = VALUE_NULL};
        return true;
    }
    if (size > array->size - array->position)
        return false;
    *out_element = (struct value){.data = array->data + array->position, .size = size, .state = VALUE_BINARY};
    array->position += size;
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

// An element that does not fit becomes null, or its nearest value. True unless it is malformed.
static bool append_element(const struct column_encoder *encoder, const struct value *element, struct buf *out,
                           bool *is_coerced)
{
    if (element->state == VALUE_NULL) {
        buf_append(out, "null", 4);
        return true;
    }
    size_t start = out->size;
    enum value_outcome outcome = encoder->encode_element(encoder, element, out, NULL);
    if (outcome == VALUE_COERCED) {
        *is_coerced = true;
        if (out->size == start)
            buf_append(out, "null", 4);
    }
    return outcome != VALUE_MALFORMED;
}

static bool append_binary(const struct column_encoder *encoder, const struct value *value, struct buf *out,
                          bool *is_coerced)
{
    struct binary_array array;
    if (!read_header(value, &array))
        return false;
    *is_coerced = array.has_lower_bounds;
    if (array.element_count == 0)
        buf_append(out, "[]", 2);
    for (uint32_t i = 0; i < array.element_count; i++) {
        struct value element;
        if (!read_element(&array, &element))
            return false;
        if (i > 0)
            buf_append_byte(out, ',');
        open_brackets(&array, i, '[', out);
        if (!append_element(encoder, &element, out, is_coerced))
            return false;
        close_brackets(&array, i, ']', out);
    }
    return array.position == array.size;
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

// Behind the opening quote. The bytes stay where they are unless a backslash forces a copy into scratch.
static bool read_quoted(struct text_array *array, struct buf *scratch, struct value *out_element)
{
    const uint8_t *start = array->at;
    while (array->at < array->end && *array->at != '"' && *array->at != '\\')
        array->at++;
    if (array->at < array->end && *array->at == '"') {
        *out_element = (struct value){.data = start, .size = (uint32_t)(array->at - start), .state = VALUE_TEXT};
        array->at++;
        return true;
    }
    buf_reset(scratch);
    buf_append(scratch, start, (size_t)(array->at - start));
    while (array->at < array->end && *array->at != '"') {
        if (*array->at == '\\' && ++array->at == array->end)
            return false;
        buf_append_byte(scratch, *array->at++);
    }
    if (array->at == array->end || scratch->failed)
        return false;
    array->at++;
    *out_element = (struct value){
        .data = scratch->size > 0 ? scratch->data : array->at, .size = (uint32_t)scratch->size, .state = VALUE_TEXT};
    return true;
}

static bool read_unquoted(struct text_array *array, struct value *out_element)
{
    const uint8_t *start = array->at;
    while (array->at < array->end && memchr(",{}\"\\", *array->at, 5) == NULL)
        array->at++;
    size_t size = (size_t)(array->at - start);
    if (size == 4 && strncasecmp((const char *)start, "null", 4) == 0)
        *out_element = (struct value){.state = VALUE_NULL};
    else
        *out_element = (struct value){.data = start, .size = (uint32_t)size, .state = VALUE_TEXT};
    return size > 0;
}

// An item: an element, or a '{' that opens a deeper level. `*has_item` tells whether a comma or a closing brace may follow.
static bool append_text_item(const struct column_encoder *encoder, struct text_array *array, struct buf *out,
                             bool *is_coerced, bool *has_item)
{
    struct value element;
    if (*array->at == '{') {
        array->at++;
        buf_append_byte(out, '[');
        *has_item = false;
        return ++array->depth <= DIMENSIONS_MAX;
    }
    *has_item = true;
    if (array->depth == 0)
        return false;
    if (*array->at == '"') {
        array->at++;
        return read_quoted(array, encoder->scratch, &element) && append_element(encoder, &element, out, is_coerced);
    }
    return read_unquoted(array, &element) && append_element(encoder, &element, out, is_coerced);
}

static bool append_text(const struct column_encoder *encoder, const struct value *value, struct buf *out,
                        bool *is_coerced)
{
    struct text_array array = {.at = value->data, .end = value->data + value->size};
    if (value->size > 0 && value->data[0] == '[') {
        if (!skip_bounds(&array))
            return false;
        *is_coerced = true;
    }
    bool has_item = false;   // something stands behind the last '{' or ','
    bool wants_item = true;  // behind a ',' an item must come; "{}" is empty
    while (array.at < array.end) {
        uint8_t byte = *array.at;
        if (byte == '}' && array.depth > 0 && !wants_item) {
            buf_append_byte(out, ']');
            array.at++;
            array.depth--;
            has_item = true;
        } else if (byte == ',' && has_item && array.depth > 0) {
            buf_append_byte(out, ',');
            array.at++;
            has_item = false;
            wants_item = true;
        } else {
            if (has_item || !append_text_item(encoder, &array, out, is_coerced, &has_item))
                return false;
            wants_item = false;
        }
        if (array.depth == 0)
            break;
    }
    return array.depth == 0 && has_item && array.at == array.end;
}

static bool needs_quotes(const uint8_t *text, size_t size)
{
    if (size == 0 || (size == 4 && strncasecmp((const char *)text, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < size; i++) {
        if (memchr("\"\\{},", text[i], 5) != NULL || text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))
            return true;
    }
    return false;
}

// scratch->data[start ..) is an element's text: quotes and escapes it in place, as array_out does.
static void quote_element(struct buf *scratch, size_t start)
{
    size_t size = scratch->size - start;
    if (scratch->failed || !needs_quotes(scratch->data + start, size))
        return;
    size_t escapes = 0;
    for (size_t i = start; i < scratch->size; i++)
        escapes += scratch->data[i] == '"' || scratch->data[i] == '\\';
    if (!buf_reserve(scratch, escapes + 2))
        return;
    uint8_t *to = scratch->data + scratch->size + escapes + 2;
    *--to = '"';
    for (size_t i = scratch->size; i > start; i--) {
        *--to = scratch->data[i - 1];
        if (*to == '"' || *to == '\\')
            *--to = '\\';
    }
    *--to = '"';
    scratch->size += escapes + 2;
}

static void append_bound(struct buf *out, int64_t bound)
{
    char digits[20];
    if (bound < 0)
        buf_append_byte(out, '-');
    buf_append(out, digits, decimal_format_u64((uint64_t)(bound < 0 ? -bound : bound), digits));
}

// What array_out prints for a binary array; off the hot path.
static bool append_original_text(const struct column_encoder *encoder, const struct value *value, struct buf *out)
{
    struct binary_array array;
    if (!read_header(value, &array))
        return false;
    for (uint32_t i = 0; array.has_lower_bounds && i < array.dimensions; i++) {
        buf_append_byte(out, '[');
        append_bound(out, array.lower_bounds[i]);
        buf_append_byte(out, ':');
        append_bound(out, (int64_t)array.lower_bounds[i] + array.sizes[i] - 1);
        buf_append_text(out, i + 1 < array.dimensions ? "]" : "]=");
    }
    for (uint32_t i = 0; i < array.element_count; i++) {
        struct value element;
        if (!read_element(&array, &element))
            return false;
        if (i > 0)
            buf_append_byte(out, ',');
        open_brackets(&array, i, '{', out);
        size_t start = out->size;
        if (element.state == VALUE_NULL)
            buf_append_text(out, "NULL");
        else if (!scalar_append_text(encoder->kind, &element, out))
            return false;
        else
            quote_element(out, start);
        close_brackets(&array, i, '}', out);
    }
    return true;
}

static enum value_outcome coerce(const struct column_encoder *encoder, const struct value *value, struct buf *coerced)
{
    if (value->state == VALUE_TEXT) {
        scalar_append_original(encoder, value->data, value->size, coerced);
        return VALUE_COERCED;
    }
    struct buf *scratch = encoder->scratch;
    buf_reset(scratch);
    if (!append_original_text(encoder, value, scratch))
        return VALUE_MALFORMED;
    if (scratch->failed)
        scalar_append_size(value->size, coerced);
    else
        scalar_append_original(encoder, scratch->data, scratch->size, coerced);
    return VALUE_COERCED;
}

enum value_outcome array_encode(const struct column_encoder *encoder, const struct value *value, struct buf *out,
                                struct buf *coerced)
{
    size_t start = out->size;
    bool is_coerced = false;
    bool is_array = value->state == VALUE_BINARY ? append_binary(encoder, value, out, &is_coerced)
                                                 : append_text(encoder, value, out, &is_coerced);
    if (!is_array)
        return VALUE_MALFORMED;
    if (encoder->size_max != 0 && !out->failed && out->size - start > encoder->size_max) {
        out->size = start;
        scalar_append_size(value->size, coerced);
        return VALUE_COERCED;
    }
    return is_coerced ? coerce(encoder, value, coerced) : VALUE_WRITTEN;
}
