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
#include "unit/encode_tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS 6

// What a column can be: base types by oid and modifier; behind them the types that are made of others.
static const struct {
    uint32_t oid;
    int32_t modifier;
} bases[] = {
    {16, -1},       {17, -1},        {18, -1},   {20, -1},   {21, -1},   {23, -1},   {25, -1},   {26, -1},   {114, -1},
    {700, -1},      {701, -1},       {1082, -1}, {1083, -1}, {1114, -1}, {1184, -1}, {1700, -1}, {2950, -1}, {3802, -1},
    {1700, 655366}, {1700, 2621444}, {1186, -1}, {790, -1},  {1266, -1}, {869, -1},  {829, -1},  {774, -1},  {1560, -1},
    {3220, -1},     {28, -1},        {27, -1},   {600, -1},  {628, -1},  {601, -1},  {603, -1},  {602, -1},  {604, -1},
    {718, -1},      {3614, -1},      {4072, -1}, {3615, -1}, {142, -1},  {5069, -1},
};
#define BASE_COUNT (sizeof bases / sizeof bases[0])
enum {
    HSTORE,
    VECTOR,
    HALFVEC,
    RANGE,
    MULTIRANGE,
    COMPOSITE,
    NESTED,
    COMPOSITE_ARRAY,
    HSTORE_ARRAY,
    BOX_ARRAY,
    MADE_COUNT
};

static const struct source_type *made[MADE_COUNT];
static const struct source_type *types[2 * BASE_COUNT + MADE_COUNT];
#define TYPE_COUNT (sizeof types / sizeof types[0])

static struct source_type *extension_type(const char *extension, const char *name)
{
    struct source_type *type = new_type(SOURCE_BASE, 99999, -1);
    memcpy(&type->extension, &extension, sizeof extension);
    memcpy(&type->name, &name, sizeof name);
    return type;
}

static void make_types(void)
{
    for (size_t i = 0; i < BASE_COUNT; i++) {
        types[i] = base_type(bases[i].oid, bases[i].modifier);
        types[BASE_COUNT + i] = array_type(types[i]);
    }
    made[HSTORE] = extension_type("hstore", "hstore");
    made[VECTOR] = extension_type("vector", "vector");
    made[HALFVEC] = extension_type("vector", "halfvec");
    struct source_type *range = new_type(SOURCE_RANGE, 99990, -1);
    add_part(range, "", base_type(25, -1));
    struct source_type *multirange = new_type(SOURCE_MULTIRANGE, 99991, -1);
    add_part(multirange, "", range);
    struct source_type *composite = new_type(SOURCE_COMPOSITE, 99992, -1);
    add_part(composite, "a", base_type(23, -1));
    add_part(composite, "b \"x", base_type(25, -1));
    add_part(composite, "c", array_type(base_type(1082, -1)));
    struct source_type *nested = new_type(SOURCE_COMPOSITE, 99993, -1);
    add_part(nested, "i", composite);
    add_part(nested, "l", array_type(composite));
    add_part(nested, "j", base_type(3802, -1));
    add_part(nested, "r", range);
    struct source_type *boxes = new_type(SOURCE_ARRAY, 1020, -1);
    add_part(boxes, "", base_type(603, -1));
    boxes->delimiter = ';';
    made[RANGE] = range;
    made[MULTIRANGE] = multirange;
    made[COMPOSITE] = composite;
    made[NESTED] = nested;
    made[COMPOSITE_ARRAY] = array_type(nested);
    made[HSTORE_ARRAY] = array_type(made[HSTORE]);
    made[BOX_ARRAY] = boxes;
    for (size_t i = 0; i < MADE_COUNT; i++)
        types[2 * BASE_COUNT + i] = made[i];
}

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
            .type_oid = types[type]->oid,
            .type = types[type],
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
    if (types[0] == NULL)
        make_types();
    uint8_t choice = data[0];
    size_t count = take_columns(data + 1, size - 1, columns, values);
    struct table table = {.schema_name = word,
                          .table_name = word,
                          .columns = columns,
                          .column_count = (uint16_t)count,
                          .identity = IDENTITY_NOTHING};
    struct typemap_options options = {.varchar_length_max = (choice & 16) != 0 ? 20 : 0,
                                      .numeric_unbounded = (enum numeric_unbounded)((choice >> 6) % 3),
                                      .oversized = (enum oversized_rule)((choice >> 6) % 3)};
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
