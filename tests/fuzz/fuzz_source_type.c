// Any text as the catalog's description of a type: it is refused, or every part of what was found is there and nothing contains itself.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/source_type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_types(const struct source_types *types)
{
    for (uint16_t i = 0; i < types->count; i++) {
        const struct source_type *type = &types->types[i];
        CHECK(type->name != NULL && type->extension != NULL);
        for (uint16_t j = 0; j < type->part_count; j++)
            CHECK(type->parts[j].name != NULL);
    }
}

// Bounded, as the parts of a graph without cycles may be met very often.
static size_t walk(const struct source_type *type, size_t depth, size_t visits)
{
    CHECK(depth <= 4096);
    for (uint16_t i = 0; i < type->part_count && visits < 10000; i++) {
        CHECK(type->parts[i].type != NULL);
        CHECK(!type->has_binary_send || type->parts[i].type->has_binary_send);
        visits = walk(type->parts[i].type, depth + 1, visits + 1);
    }
    return visits;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source_types types;
    const struct source_type *type;
    struct err error;
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (source_types_read(text, 23, -1, &types, &type, &error)) {
        check_types(&types);
        (void)walk(type, 0, 0);
        source_types_deinit(&types);
    } else {
        CHECK(types.types == NULL && error.kind == ERR_INTERNAL);
    }
    free(text);
    return 0;
}
