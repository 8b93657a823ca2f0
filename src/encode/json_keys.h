// Objects of a json document that name a key twice: json keeps both, a VARIANT's object cannot.
#ifndef ETL_ENCODE_JSON_KEYS_H
#define ETL_ENCODE_JSON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

// A stack of the keys of the objects that are open, innermost last, in a buffer of the caller's. Keys are the inside of
// strings in `text`, told by offset. When there is no memory, buf->failed is set.
struct json_keys {
    const uint8_t *text;
    struct buf *buf;
    size_t open_start;  // of the innermost object's entry in buf; SIZE_MAX: none is open
};

void json_keys_init(struct json_keys *keys, const uint8_t *text, struct buf *scratch);
void json_keys_open(struct json_keys *keys);
void json_keys_add(struct json_keys *keys, size_t offset, size_t size);
// Closes the innermost object, if one is open. True if two of its keys are the same, however they are escaped.
bool json_keys_close(struct json_keys *keys);

#endif
