// Any bytes as the values of a row, in text and in binary, in several encodings: a line is one line of valid UTF-8 with
// balanced brackets outside strings, or nothing was written; the same input gives the same line again.
//
// Input: a byte that chooses encoding and operation, then for each column a byte (type and state), a byte of length, the bytes.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "encode/encoding.h"
#include "encode/ndjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS 6

// Type, element type and modifier of what a column can be.
static const struct {
    uint32_t oid, element_oid;
    int32_t modifier;
} types[] = {
    {16, 0, -1},      {17, 0, -1},     {18, 0, -1},      {20, 0, -1},      {21, 0, -1},       {23, 0, -1},
    {25, 0, -1},      {26, 0, -1},     {114, 0, -1},     {700, 0, -1},     {701, 0, -1},      {1082, 0, -1},
    {1083, 0, -1},    {1114, 0, -1},   {1184, 0, -1},    {1700, 0, -1},    {1700, 0, 655366}, {1700, 0, 2621444},
    {2950, 0, -1},    {3802, 0, -1},   {1186, 0, -1},    {1000, 16, -1},   {1001, 17, -1},    {1007, 23, -1},
    {1009, 25, -1},   {1016, 20, -1},  {1182, 1082, -1}, {1185, 1184, -1}, {1231, 1700, -1},  {2951, 2950, -1},
    {3807, 3802, -1}, {1022, 701, -1}, {199, 114, -1},   {1002, 18, -1},   {5069, 0, -1},
};
#define TYPE_COUNT (sizeof types / sizeof types[0])

static const char *const encodings[] = {"UTF8", "LATIN1", "EUC_JP", "WIN1252"};

static char word[] = "c";

static void check_line(const uint8_t *line, size_t size)
{
    CHECK(size > 2 && line[0] == '{' && line[size - 2] == '}' && line[size - 1] == '\n');
    bool is_string = false;
    size_t depth = 0;
    for (size_t i = 0; i + 1 < size;) {
        size_t character = utf8_character_size(line + i, size - i);
        CHECK(character > 0 && line[i] >= 0x20);
        if (is_string && line[i] == '\\') {
            i += 2;
            continue;
        }
        if (line[i] == '"')
            is_string = !is_string;
        else if (!is_string && (line[i] == '{' || line[i] == '['))
            depth++;
        else if (!is_string && (line[i] == '}' || line[i] == ']'))
            CHECK(depth-- > 0);
        i += character;
    }
    CHECK(!is_string && depth == 0);
}

static size_t take_columns(const uint8_t *data, size_t size, struct column *columns, struct value *values)
{
    size_t position = 0;
    size_t taken = 0;
    for (; taken < COLUMNS && size - position >= 2; taken++) {
        uint8_t kind = data[position];
        size_t length = data[position + 1];
        position += 2;
        if (length > size - position)
            length = size - position;
        size_t type = (kind >> 1) % TYPE_COUNT;
        columns[taken] = (struct column){
            .name = word,
            .type_name = word,
            .type_oid = types[type].oid,
            .base_oid = types[type].oid,
            .base_modifier = types[type].modifier,
            .element_oid = types[type].element_oid,
            .element_modifier = types[type].modifier,
            .has_binary_send = true,
            .attribute_number = (int16_t)(taken + 1),
            .key_position = -1,
        };
        values[taken] = (struct value){
            .data = data + position, .size = (uint32_t)length, .state = (kind & 1) != 0 ? VALUE_TEXT : VALUE_BINARY};
        if (length == 255)
            values[taken] = (struct value){.state = (kind & 1) != 0 ? VALUE_NULL : VALUE_UNCHANGED};
        position += length;
    }
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct column columns[COLUMNS];
    struct value values[COLUMNS];
    struct err error;
    if (size < 1)
        return 0;
    uint8_t choice = data[0];
    size_t count = take_columns(data + 1, size - 1, columns, values);
    struct table table = {.schema_name = word,
                          .table_name = word,
                          .columns = columns,
                          .column_count = (uint16_t)count,
                          .identity = IDENTITY_NOTHING};
    struct typemap_options options = {.varchar_length_max = (choice & 16) != 0 ? 20 : 0};
    struct row_encoder encoder;
    struct buf out;
    buf_init(&out, (choice & 32) != 0 ? 400 : 1 << 22);
    CHECK(row_encoder_init(&encoder, &table, encoding_find(encodings[choice & 3]), &options, &error));
    struct row_change change = {.op = "IUC"[(choice >> 2) % 3],
                                .seq = {.epoch = 1, .commit_lsn = 7},
                                .new_row = {.values = values, .count = (uint16_t)count}};
    bool is_written = ndjson_append_change(&encoder, &change, &out, &error);
    size_t first_size = out.size;
    if (is_written) {
        check_line(out.data, out.size);
        if (ndjson_append_change(&encoder, &change, &out, &error))
            CHECK(out.size == 2 * first_size && memcmp(out.data, out.data + first_size, first_size) == 0);
        else
            CHECK(error.kind == ERR_INTERNAL && out.size == first_size);
    } else {
        CHECK(first_size == 0 && (error.kind == ERR_DATA || error.kind == ERR_INTERNAL));
    }
    row_encoder_deinit(&encoder);
    buf_deinit(&out);
    return 0;
}
