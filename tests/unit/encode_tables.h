// Tables and values made by hand, for the tests of the encoder.
#ifndef ETL_TESTS_UNIT_ENCODE_TABLES_H
#define ETL_TESTS_UNIT_ENCODE_TABLES_H

#include <stdint.h>
#include <string.h>

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

// A column as the catalog would describe it. Names are literals here: such tables are never freed.
static inline struct column make_column(const char *name, uint32_t oid, int16_t attribute_number, int16_t key_position)
{
    struct column column = {
        .type_oid = oid,
        .type_modifier = -1,
        .base_oid = oid,
        .base_modifier = -1,
        .element_oid = oid == OID_INT4_ARRAY ? OID_INT4 : 0,
        .element_modifier = -1,
        .has_binary_send = true,
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
