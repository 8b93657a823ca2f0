// Any bytes as a replication message: decoded or refused, never read beyond; every view lies inside the message.
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pgoutput_scratch scratch;

static void check_row(const struct row_view *row, const uint8_t *data, size_t size)
{
    CHECK(row->count <= ROW_COLUMNS_MAX);
    for (uint16_t i = 0; i < row->count; i++) {
        const struct value *value = &row->values[i];
        if (value->state == VALUE_NULL || value->state == VALUE_UNCHANGED)
            continue;
        CHECK(value->data >= data && value->data <= data + size);
        CHECK(value->size <= (size_t)(data + size - value->data));
    }
}

static void check_text(const char *text, const uint8_t *data, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;
    CHECK(at >= data && at < data + size);
    while (*at != '\0')
        CHECK(++at < data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgoutput_message message;
    struct err error;
    err_clear(&error);
    if (!pgoutput_decode(data, size, &scratch, &message, &error)) {
        CHECK(error.kind == ERR_DATA && error.text[0] != '\0');
        return 0;
    }
    switch (message.kind) {
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        check_row(&message.change.new_row, data, size);
        check_row(&message.change.old_row, data, size);
        break;
    case PGOUTPUT_RELATION:
        check_text(message.relation.schema_name, data, size);
        check_text(message.relation.table_name, data, size);
        for (uint16_t i = 0; i < message.relation.column_count; i++)
            check_text(message.relation.columns[i].name, data, size);
        break;
    default: break;
    }
    return 0;
}
