#include "encode/json_keys.h"

#include <string.h>

#define FNV_BASIS UINT64_C(14695981039346656037)
#define FNV_PRIME UINT64_C(1099511628211)

// A key; or, for an object that was opened, where the one around it begins in the stack.
struct entry {
    uint64_t hash;
    size_t offset;
    size_t size;
};

// A key's bytes as UTF-8, escapes resolved, one at a time.
struct key_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t pending[4];  // of an escaped character, the next one last
    uint8_t pending_count;
};

void json_keys_init(struct json_keys *keys, const uint8_t *text, struct buf *scratch)
{
    *keys = (struct json_keys){.text = text, .buf = scratch, .open_start = SIZE_MAX};
    buf_reset(scratch);
}

static uint32_t read_hex4(const uint8_t *text)
{
    uint32_t code = 0;
    for (size_t i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)(text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10);
    return code;
}

static void put_pending(struct key_reader *reader, uint32_t byte)
{
    reader->pending[reader->pending_count++] = (uint8_t)byte;
}

// The document was scanned: escapes are whole and surrogates are pairs.
static void read_unicode(struct key_reader *reader)
{
    uint32_t code = read_hex4(reader->at);
    reader->at += 4;
    if (code >= 0xD800 && code <= 0xDBFF && reader->end - reader->at >= 6) {
        code = 0x10000 + ((code - 0xD800) << 10) + (read_hex4(reader->at + 2) - 0xDC00);
        reader->at += 6;
    }
    if (code < 0x80) {
        put_pending(reader, code);
        return;
    }
    put_pending(reader, 0x80 | (code & 0x3F));
    if (code < 0x800) {
        put_pending(reader, 0xC0 | code >> 6);
        return;
    }
    put_pending(reader, 0x80 | (code >> 6 & 0x3F));
    if (code < 0x10000) {
        put_pending(reader, 0xE0 | code >> 12);
        return;
    }
    put_pending(reader, 0x80 | (code >> 12 & 0x3F));
    put_pending(reader, 0xF0 | code >> 18);
}

static bool key_next(struct key_reader *reader, uint8_t *out_byte)
{
    static const char escapes[] = "bfnrt";
    static const char meant[] = "\b\f\n\r\t";
    if (reader->pending_count == 0) {
        if (reader->at == reader->end)
            return false;
        *out_byte = *reader->at++;
        if (*out_byte != '\\')
            return true;
        uint8_t escape = *reader->at++;
        if (escape != 'u') {
            const char *found = strchr(escapes, escape);
            *out_byte = found != NULL ? (uint8_t)meant[found - escapes] : escape;
            return true;
        }
        read_unicode(reader);
    }
    *out_byte = reader->pending[--reader->pending_count];
    return true;
}

static struct key_reader reader_of(const struct json_keys *keys, size_t offset, size_t size)
{
    return (struct key_reader){.at = keys->text + offset, .end = keys->text + offset + size};
}

static uint64_t hash_key(const struct json_keys *keys, size_t offset, size_t size)
{
    struct key_reader reader = reader_of(keys, offset, size);
    uint64_t hash = FNV_BASIS;
    uint8_t byte;
    while (key_next(&reader, &byte))
        hash = (hash ^ byte) * FNV_PRIME;
    return hash;
}

static bool is_same_key(const struct json_keys *keys, const struct entry *a, const struct entry *b)
{
    struct key_reader left = reader_of(keys, a->offset, a->size);
    struct key_reader right = reader_of(keys, b->offset, b->size);
    uint8_t left_byte;
    uint8_t right_byte;
    while (key_next(&left, &left_byte)) {
        if (!key_next(&right, &right_byte) || left_byte != right_byte)
            return false;
    }
    return !key_next(&right, &right_byte);
}

void json_keys_open(struct json_keys *keys)
{
    struct entry around = {.offset = keys->open_start};
    keys->open_start = keys->buf->size;
    buf_append(keys->buf, &around, sizeof around);
}

void json_keys_add(struct json_keys *keys, size_t offset, size_t size)
{
    struct entry key = {.hash = hash_key(keys, offset, size), .offset = offset, .size = size};
    if (keys->open_start != SIZE_MAX)
        buf_append(keys->buf, &key, sizeof key);
}

static void swap(struct entry *a, struct entry *b)
{
    struct entry kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(struct entry *entries, size_t root, size_t count)
{
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && entries[child].hash < entries[child + 1].hash)
            child++;
        if (entries[root].hash >= entries[child].hash)
            return;
        swap(&entries[root], &entries[child]);
        root = child;
    }
}

// In place and without memory of its own, which qsort may want.
static void sort_by_hash(struct entry *entries, size_t count)
{
    for (size_t i = count / 2; i > 0; i--)
        sift_down(entries, i - 1, count);
    for (size_t i = count; i > 1; i--) {
        swap(&entries[0], &entries[i - 1]);
        sift_down(entries, 0, i - 1);
    }
}

bool json_keys_close(struct json_keys *keys)
{
    if (keys->buf->failed || keys->open_start == SIZE_MAX)
        return false;
    // The buffer holds entries only, so they are aligned.
    struct entry *open = (struct entry *)(void *)(keys->buf->data + keys->open_start);
    struct entry *entries = open + 1;
    size_t count = (keys->buf->size - keys->open_start) / sizeof *open - 1;
    keys->buf->size = keys->open_start;
    keys->open_start = open->offset;
    sort_by_hash(entries, count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count && entries[j].hash == entries[i].hash; j++) {
            if (is_same_key(keys, &entries[i], &entries[j]))
                return true;
        }
    }
    return false;
}
