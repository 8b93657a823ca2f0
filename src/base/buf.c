#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

#define CAPACITY_FIRST 256

void buf_init(struct buf *buf, size_t capacity_max)
{
    *buf = (struct buf){.capacity_max = capacity_max};
}

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->capacity_max);
}

void buf_wipe(struct buf *buf)
{
    if (buf->data != NULL)
        explicit_bzero(buf->data, buf->capacity);
    buf_deinit(buf);
}

void buf_reset(struct buf *buf)
{
    buf->size = 0;
    buf->failed = false;
    buf->is_over = false;
}

void buf_check(const struct buf *buf)
{
    CHECK(buf->size <= buf->capacity);
    CHECK((buf->data == NULL) == (buf->capacity == 0));
    CHECK(buf->capacity <= buf->capacity_max);
}

bool buf_reserve(struct buf *buf, size_t more)
{
    if (buf->failed)
        return false;
    if (more <= buf->capacity - buf->size)
        return true;
    if (buf->size > buf->capacity_max || more > buf->capacity_max - buf->size) {
        buf->failed = true;
        buf->is_over = true;
        return false;
    }

    size_t needed = buf->size + more;
    size_t capacity = buf->capacity < CAPACITY_FIRST ? CAPACITY_FIRST : buf->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    if (capacity > buf->capacity_max)
        capacity = buf->capacity_max;

    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void buf_append_slow(struct buf *buf, const void *bytes, size_t size)
{
    if (!buf_reserve(buf, size))
        return;
    memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_appendf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    // One byte more for the NUL that vsnprintf insists on; it is not counted.
    if (length < 0 || !buf_reserve(buf, (size_t)length + 1)) {
        buf->failed = true;
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buf->size += (size_t)length;
}

void buf_consume(struct buf *buf, size_t size)
{
    CHECK(size <= buf->size);
    if (size == 0)
        return;
    buf->size -= size;
    memmove(buf->data, buf->data + size, buf->size);
}

void buf_trim(struct buf *buf, size_t spare)
{
    if (spare >= buf->capacity - buf->size || buf->size + spare == 0)
        return;
    uint8_t *data = realloc(buf->data, buf->size + spare);
    if (data == NULL)
        return;  // it stays as large as it is
    buf->data = data;
    buf->capacity = buf->size + spare;
}

const char *buf_text(struct buf *buf)
{
    if (!buf_reserve(buf, 1))
        return "";
    buf->data[buf->size] = '\0';
    return (const char *)buf->data;
}
