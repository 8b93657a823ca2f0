// Tables and values made by hand, for the tests of the encoder.
#ifndef ETL_TESTS_UNIT_ENCODE_TABLES_H
#define ETL_TESTS_UNIT_ENCODE_TABLES_H

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "model/row.h"
#include "model/table.h"

enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_FLOAT8 = 701,
    OID_DATE = 1082,
    OID_TIMESTAMPTZ = 1184,
    OID_NUMERIC = 1700,
    OID_UUID = 2950,
    OID_JSONB = 3802,
    OID_INT4_ARRAY = 1007
};

#define TEST_TYPES_MAX 512
#define TEST_PARTS_MAX 4

// Types made by hand live as long as the program.
static inline struct source_type *new_type(enum source_kind kind, uint32_t oid, int32_t modifier)
{
    static struct source_type types[TEST_TYPES_MAX];
    static struct source_part parts[TEST_TYPES_MAX][TEST_PARTS_MAX];
    static size_t count;
    static char none[] = "";
    CHECK(count < TEST_TYPES_MAX);
    struct source_type *type = &types[count];
    *type = (struct source_type){.kind = kind,
                                 .oid = oid,
                                 .modifier = modifier,
                                 .name = none,
                                 .extension = none,
                                 .delimiter = ',',
                                 .has_binary_send = true,
                                 .parts = parts[count]};
    count++;
    return type;
}

static inline void add_part(struct source_type *type, const char *name, const struct source_type *part)
{
    CHECK(type->part_count < TEST_PARTS_MAX);
    memcpy(&type->parts[type->part_count].name, &name, sizeof name);
    type->parts[type->part_count].oid = part->oid;
    type->parts[type->part_count++].type = part;
    type->has_binary_send = type->has_binary_send && part->has_binary_send;
}

// One type for the same oid and modifier.
static inline const struct source_type *base_type(uint32_t oid, int32_t modifier)
{
    static const struct source_type *known[TEST_TYPES_MAX];
    static size_t count;
    for (size_t i = 0; i < count; i++)
        if (known[i]->oid == oid && known[i]->modifier == modifier)
            return known[i];
    struct source_type *type = new_type(oid == OID_INT4_ARRAY ? SOURCE_ARRAY : SOURCE_BASE, oid, modifier);
    if (oid == OID_INT4_ARRAY)
        add_part(type, "", base_type(OID_INT4, modifier));
    known[count++] = type;
    return type;
}

static inline const struct source_type *array_type(const struct source_type *element)
{
    struct source_type *type = new_type(SOURCE_ARRAY, 1, element->modifier);
    add_part(type, "", element);
    return type;
}

// A column as the catalog would describe it. Names are literals here: such tables are never freed.
static inline struct column make_column(const char *name, uint32_t oid, int16_t attribute_number, int16_t key_position)
{
    struct column column = {
        .type_oid = oid,
        .type_modifier = -1,
        .type = base_type(oid, -1),
        .attribute_number = attribute_number,
        .key_position = key_position,
    };
    memcpy(&column.name, &name, sizeof name);
    memcpy(&column.type_name, &(const char *){"type"}, sizeof(char *));
    return column;
}

static inline struct value null_value(void)
{
    return (struct value){.state = VALUE_NULL};
}

static inline struct value unchanged_value(void)
{
    return (struct value){.state = VALUE_UNCHANGED};
}

static inline struct value text_value(const char *text)
{
    return (struct value){.data = (const uint8_t *)text, .size = (uint32_t)strlen(text), .state = VALUE_TEXT};
}

static inline struct value binary_value(const void *bytes, size_t size)
{
    return (struct value){.data = bytes, .size = (uint32_t)size, .state = VALUE_BINARY};
}

#endif
