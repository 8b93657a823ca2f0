// Encodes one value a line, for test_types_binary_text.py: what the program itself would write into a row.
//
// Input, one line a value:  OID MODIFIER UNBOUNDED OVERSIZED SIZE_MAX TYPES ENCODING B|T HEX
//                           TYPES is publication_tables.sql's text of the types, in hex; SIZE_MAX 0 is the default
// Output:                   W|C|O|M <tab> JSON <tab> original
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "encode/encoding.h"
#include "encode/typemap.h"

#define LINE_SIZE (1U << 23)

static uint32_t unhex(char *text)
{
    size_t size = strcspn(text, "\n") / 2;
    for (size_t i = 0; i < size; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        text[i] = (char)strtoul(pair, NULL, 16);
    }
    return (uint32_t)size;
}

static void encode_line(char *line, struct buf *out, struct buf *coerced)
{
    struct column column = {.name = (char[]){"v"}, .type_name = (char[]){"v"}};
    struct typemap_options options = {0};
    struct column_encoder encoder;
    struct err error;
    static char types[1 << 20];
    char encoding[32];
    char form;
    int used = 0;
    int fields = sscanf(line, "%u %d %u %u %u %1048575s %31s %c %n", &column.type_oid, &column.type_modifier,
                        &options.numeric_unbounded, &options.oversized, &options.varchar_length_max, types, encoding,
                        &form, &used);
    CHECK(fields == 8);
    types[unhex(types)] = '\0';
    if (!source_types_read(types, column.type_oid, column.type_modifier, &column.types, &column.type, &error))
        check_failed(error.text, __FILE__, __LINE__);

    struct value value = {.state = form == 'B' ? VALUE_BINARY : VALUE_TEXT};
    value.size = unhex(line + used);
    value.data = (const uint8_t *)line + used;
    options.binary_length_max = options.varchar_length_max;
    CHECK(typemap_choose(&column, encoding_find(encoding), &options, &encoder, &error));
    buf_reset(out);
    buf_reset(coerced);
    if (form == 'B' && encoder.wants_text) {
        printf("-\t\t\n");
    } else {
        enum value_outcome outcome = column_encode(&encoder, &value, out, coerced);
        printf("%c\t%s\t", "WCOM"[outcome], buf_text(out));
        printf("%s\n", buf_text(coerced));
    }
    typemap_encoder_deinit(&encoder);
    source_types_deinit(&column.types);
}

int main(void)
{
    struct buf out;
    struct buf coerced;
    char *line = malloc(LINE_SIZE);
    CHECK(line != NULL);
    buf_init(&out, LINE_SIZE);
    buf_init(&coerced, LINE_SIZE);
    while (fgets(line, LINE_SIZE, stdin) != NULL)
        encode_line(line, &out, &coerced);
    free(line);
    buf_deinit(&out);
    buf_deinit(&coerced);
    return 0;
}
