// numeric: PostgreSQL's binary form and its text, and the JSON of it for NUMBER(precision, scale).
#ifndef ETL_ENCODE_DECIMAL_H
#define ETL_ENCODE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define DECIMAL_BARE_DIGITS_MAX 15  // more digits than a double holds for sure go as a string

enum decimal_fit {
    DECIMAL_FITS,
    DECIMAL_ROUNDED,  // the nearest value was written
    DECIMAL_OUTSIDE,  // NaN, infinite or too large: nothing was written
    DECIMAL_MALFORMED
};

// Appends PostgreSQL's text of a binary numeric. False if the bytes are not one; out is then as it was.
bool decimal_append_text(const uint8_t *data, size_t size, struct buf *out);
// out->data[start ..) is a numeric's text: makes the JSON of it in place.
enum decimal_fit decimal_finish_json(struct buf *out, size_t start, uint8_t precision, uint8_t scale);

size_t decimal_format_u64(uint64_t number, char *out);  // up to 20 digits, no NUL
// Appends a JSON number, or the digits as a string where there are more than DECIMAL_BARE_DIGITS_MAX.
void decimal_append_i64_json(int64_t number, struct buf *out);
void decimal_append_u64_json(uint64_t number, struct buf *out);

#endif
