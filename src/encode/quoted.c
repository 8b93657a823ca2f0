#include "encode/quoted.h"

#include <string.h>
#include <strings.h>

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool needs_quotes(const uint8_t *text, size_t size, const struct quoted_style *style)
{
    if (size == 0 || (style->quotes_null && size == 4 && strncasecmp((const char *)text, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"' || text[i] == '\\' || is_blank(text[i]) ||
            (text[i] != '\0' && strchr(style->special, text[i]) != NULL))
            return true;
    }
    return false;
}

void quoted_finish(struct buf *out, size_t start, const struct quoted_style *style)
{
    if (out->failed || !needs_quotes(out->data + start, out->size - start, style))
        return;
    size_t escapes = 0;
    for (size_t i = start; i < out->size; i++)
        escapes += out->data[i] == '"' || out->data[i] == '\\';
    if (!buf_reserve(out, escapes + 2))
        return;
    uint8_t *to = out->data + out->size + escapes + 2;
    *--to = '"';
    for (size_t i = out->size; i > start; i--) {
        uint8_t byte = out->data[i - 1];
        *--to = byte;
        if (byte == '"' || byte == '\\')
            *--to = style->is_doubled ? byte : '\\';
    }
    *--to = '"';
    out->size += escapes + 2;
}

// Behind the opening quote; the first escape was met at *at.
static bool read_escaped(const uint8_t **at, const uint8_t *end, const uint8_t *start, bool is_doubled,
                         struct buf *scratch, struct value *out_item)
{
    buf_reset(scratch);
    buf_append(scratch, start, (size_t)(*at - start));
    while (*at < end) {
        if (**at == '\\') {
            if (++*at == end)
                return false;
        } else if (**at == '"') {
            ++*at;
            if (!is_doubled || *at == end || **at != '"') {
                *out_item = (struct value){.data = scratch->data, .size = (uint32_t)scratch->size, .state = VALUE_TEXT};
                return !scratch->failed;
            }
        }
        buf_append_byte(scratch, *(*at)++);
    }
    return false;
}

bool quoted_read(const uint8_t **at, const uint8_t *end, const char *ends, bool is_doubled, struct buf *scratch,
                 struct value *out_item, bool *out_is_quoted)
{
    const uint8_t *start = *at;
    *out_is_quoted = start < end && *start == '"';
    if (!*out_is_quoted) {
        while (*at < end && (**at == '\0' || strchr(ends, **at) == NULL)) {
            if (**at == '"' || **at == '\\')
                return false;
            ++*at;
        }
        *out_item = (struct value){.data = start, .size = (uint32_t)(*at - start), .state = VALUE_TEXT};
        return true;
    }
    ++*at;
    start++;
    while (*at < end && **at != '"' && **at != '\\')
        ++*at;
    if (*at == end)
        return false;
    bool is_escape = **at == '\\' || (is_doubled && end - *at > 1 && (*at)[1] == '"');
    if (is_escape)
        return read_escaped(at, end, start, is_doubled, scratch, out_item);
    *out_item = (struct value){.data = start, .size = (uint32_t)(*at - start), .state = VALUE_TEXT};
    ++*at;
    return true;
}
