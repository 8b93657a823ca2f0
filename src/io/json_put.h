// Members of a JSON object that others read, in the forms that every document here has.
#ifndef ETL_IO_JSON_PUT_H
#define ETL_IO_JSON_PUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

// Never fails for what the text holds: one that is no UTF-8 becomes "(not UTF-8)". text is copied. NULL: no memory.
json_t *json_text(const char *text);
json_t *json_text_sized(const char *text, size_t size);
void json_put_text(json_t *object, const char *key, const char *text);
// The document as one line, heap, for whoever reads it by machine; take_json is released. Never NULL.
char *json_take_line(json_t *take_json);
// Microseconds of the wall clock, as clock_format writes them (RFC 3339).
void json_put_time(json_t *object, const char *key, int64_t wall_us);

#endif
