// Typed views of a row: pointers into the message that libpq returned. Nothing is owned here; a view
// lives as long as the message.
#ifndef ETL_MODEL_ROW_H
#define ETL_MODEL_ROW_H

#include <stdint.h>

#define ROW_COLUMNS_MAX 1664  // PostgreSQL: MaxTupleAttributeNumber (a table has at most 1600)

enum value_state {
    VALUE_NULL = 0,
    VALUE_UNCHANGED,  // the server did not send it (TOASTed and left alone)
    VALUE_TEXT,       // the server's text output, in the database's encoding; not NUL-terminated
    VALUE_BINARY      // the type's binary send format
};

struct value {
    const uint8_t *data;
    uint32_t size;
    enum value_state state;
};

struct row_view {
    const struct value *values;
    uint16_t count;
};

#endif
