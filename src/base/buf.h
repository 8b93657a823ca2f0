// A growable byte buffer with a sticky failed flag: writers append without checking each call and
// look at `failed` once at the end.
//
//   data                 data + size          data + capacity
//    |  written bytes ...  |  free ...           |
//
// Invariant (buf_check): size <= capacity; data is NULL only when capacity is 0; capacity never
// passes capacity_max. After a failure nothing more is written and size stays as it was.
#ifndef ETL_BASE_BUF_H
#define ETL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t capacity_max;  // growth beyond it fails instead
    bool failed;          // out of memory or over capacity_max; cleared by buf_reset
    bool is_over;         // failed because of capacity_max
};

void buf_init(struct buf *buf, size_t capacity_max);
void buf_deinit(struct buf *buf);  // frees
void buf_wipe(struct buf *buf);    // OPENSSL_cleanse-like clearing, then frees; for secrets
void buf_reset(struct buf *buf);   // size = 0, failed = false; keeps the memory
void buf_check(const struct buf *buf);
bool buf_reserve(struct buf *buf, size_t more);  // room for `more` bytes; false (and failed) if it cannot be had
void buf_append_slow(struct buf *buf, const void *bytes, size_t size);  // behind buf_append: grows first
void buf_append_text(struct buf *buf, const char *text);                // without its NUL
void buf_appendf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *buf, size_t size);  // drops bytes from the front (memmove)
void buf_trim(struct buf *buf, size_t spare);    // gives back what is beyond size + spare
// NUL-terminates without counting the NUL; returns the text, or "" after a failure.
const char *buf_text(struct buf *buf);

static inline void buf_append(struct buf *buf, const void *bytes, size_t size)
{
    if (size != 0 && size <= buf->capacity - buf->size && !buf->failed) {
        memcpy(buf->data + buf->size, bytes, size);
        buf->size += size;
    } else if (size != 0) {
        buf_append_slow(buf, bytes, size);
    }
}

static inline void buf_append_byte(struct buf *buf, uint8_t byte)
{
    if (buf->size < buf->capacity && !buf->failed)
        buf->data[buf->size++] = byte;
    else
        buf_append(buf, &byte, 1);
}

#endif
