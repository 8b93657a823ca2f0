// Encodes one value a line, for test_types_binary_text.py: what the program itself would write into a row.
//
// Input, one line a value:  OID MODIFIER ELEMENT_OID IS_ENUM ELEMENT_IS_ENUM ENCODING B|T HEX
// Output:                   W|C|M <tab> JSON <tab> original
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "encode/encoding.h"
#include "encode/typemap.h"

#define LINE_SIZE (1U << 22)

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
    struct column column = {.name = (char[]){"v"}, .type_name = (char[]){"v"}, .has_binary_send = true};
    char encoding[32];
    char form;
    int is_enum;
    int element_is_enum;
    int used = 0;
    int fields = sscanf(line, "%u %d %u %d %d %31s %c %n", &column.base_oid, &column.base_modifier, &column.element_oid,
                        &is_enum, &element_is_enum, encoding, &form, &used);
    CHECK(fields == 7);
    column.type_oid = column.base_oid;
    column.element_modifier = column.base_modifier;
    column.is_enum = is_enum != 0;
    column.element_is_enum = element_is_enum != 0;

    struct value value = {.state = form == 'B' ? VALUE_BINARY : VALUE_TEXT};
    value.size = unhex(line + used);
    value.data = (const uint8_t *)line + used;
    struct column_encoder encoder;
    struct typemap_options options = {0};
    struct err error;
    CHECK(typemap_choose(&column, encoding_find(encoding), &options, &encoder, &error));
    buf_reset(out);
    buf_reset(coerced);
    if (form == 'B' && encoder.wants_text) {
        printf("-\t\t\n");
    } else {
        enum value_outcome outcome = encoder.encode(&encoder, &value, out, coerced);
        printf("%c\t%s\t", "WCM"[outcome], buf_text(out));
        printf("%s\n", buf_text(coerced));
    }
    typemap_encoder_deinit(&encoder);
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
