// Any bytes as COPY data, cut into messages at a place that the input names; every view lies inside its message.
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/copy_binary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS_MAX 64

static bool take_message(struct copy_binary *decoder, const uint8_t *data, size_t size)
{
    struct value values[COLUMNS_MAX];
    struct err error;
    size_t offset = 0;
    for (;;) {
        size_t before = offset;
        switch (copy_binary_next(decoder, data, size, &offset, values, &error)) {
        case COPY_BINARY_MORE: CHECK(offset == size); return true;
        case COPY_BINARY_ERROR: CHECK(error.kind == ERR_DATA); return false;
        case COPY_BINARY_ROW: break;
        }
        CHECK(offset > before && offset <= size);
        for (uint16_t i = 0; i < decoder->column_count; i++) {
            if (values[i].state == VALUE_NULL)
                continue;
            CHECK(values[i].state == VALUE_BINARY && values[i].data >= data);
            CHECK(values[i].size <= (size_t)(data + size - values[i].data));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct copy_binary decoder;
    copy_binary_init(&decoder, data[0] % (COLUMNS_MAX + 1));
    size_t cut = data[1];
    data += 2;
    size -= 2;
    if (cut > size)
        cut = size;
    if (take_message(&decoder, data, cut))
        (void)take_message(&decoder, data + cut, size - cut);
    return 0;
}
