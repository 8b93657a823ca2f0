#include "pg/copy_binary.h"

#include <endian.h>
#include <string.h>

#define SIGNATURE_SIZE 11
#define FLAGS_CRITICAL \
    UINT32_C(          \
        0xFFFF0000)  // an unknown one means: do not go on; bit 16 is "with oids", which no server has sent since 12

void copy_binary_init(struct copy_binary *decoder, uint16_t column_count)
{
    *decoder = (struct copy_binary){.column_count = column_count};
}

static bool read_u32(const uint8_t *data, size_t size, size_t *position, uint32_t *out)
{
    if (size - *position < 4)
        return false;
    uint32_t big_endian;
    memcpy(&big_endian, data + *position, 4);
    *out = be32toh(big_endian);
    *position += 4;
    return true;
}

static enum copy_binary_outcome fail(struct err *out_error, size_t position, const char *wanted)
{
    (void)err_set(out_error, ERR_DATA, "copy_binary", "COPY data: expected %s at byte %zu of a message", wanted,
                  position);
    return COPY_BINARY_ERROR;
}

// Header: 11 bytes "PGCOPY\n\377\r\n\0" | Int32 flags | Int32 size of the extension | extension
static bool read_header(const uint8_t *data, size_t size, size_t *position, const char **out_wanted)
{
    static const uint8_t signature[SIGNATURE_SIZE] = "PGCOPY\n\377\r\n";
    uint32_t flags;
    uint32_t extension_size;
    *out_wanted = "the signature of binary COPY";
    if (size - *position < SIGNATURE_SIZE || memcmp(data + *position, signature, SIGNATURE_SIZE) != 0)
        return false;
    *position += SIGNATURE_SIZE;

    *out_wanted = "flags without critical bits";
    if (!read_u32(data, size, position, &flags) || (flags & FLAGS_CRITICAL) != 0)
        return false;
    *out_wanted = "the header's extension";
    if (!read_u32(data, size, position, &extension_size) || extension_size > size - *position)
        return false;
    *position += extension_size;
    return true;
}

// Tuple: Int16 count of fields, then for each Int32 length (-1: NULL) and bytes. A count of -1 is the trailer.
enum copy_binary_outcome copy_binary_next(struct copy_binary *decoder, const uint8_t *data, size_t size, size_t *offset,
                                          struct value *values, struct err *out_error)
{
    size_t position = *offset;
    if (!decoder->has_header) {
        const char *wanted;
        if (position == size)
            return COPY_BINARY_MORE;
        if (!read_header(data, size, &position, &wanted))
            return fail(out_error, position, wanted);
        decoder->has_header = true;
        *offset = position;
    }
    if (position == size)
        return COPY_BINARY_MORE;
    if (decoder->has_trailer)
        return fail(out_error, position, "nothing after the trailer");
    if (size - position < 2)
        return fail(out_error, position, "a tuple's count of fields");

    uint16_t count = (uint16_t)(data[position] << 8 | data[position + 1]);
    if (count == UINT16_MAX) {
        decoder->has_trailer = true;
        *offset = position + 2;
        return *offset == size ? COPY_BINARY_MORE : fail(out_error, *offset, "nothing after the trailer");
    }
    if (count != decoder->column_count)
        return fail(out_error, position, "as many fields as the query has columns");
    position += 2;

    for (uint16_t i = 0; i < count; i++) {
        uint32_t field_size;
        if (!read_u32(data, size, &position, &field_size))
            return fail(out_error, position, "a field's length");
        if (field_size == UINT32_MAX) {
            values[i] = (struct value){.state = VALUE_NULL};
            continue;
        }
        if (field_size > size - position)
            return fail(out_error, position, "a field's bytes");
        values[i] = (struct value){.data = data + position, .size = field_size, .state = VALUE_BINARY};
        position += field_size;
    }
    *offset = position;
    return COPY_BINARY_ROW;
}
