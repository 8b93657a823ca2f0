// Quoting as PostgreSQL's output functions of arrays, composites and ranges do it, and how it is read back.
#ifndef ETL_ENCODE_QUOTED_H
#define ETL_ENCODE_QUOTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/row.h"

struct quoted_style {
    const char *special;  // what forces quotes, besides blanks, quotes, backslashes and being empty
    bool is_doubled;      // quotes and backslashes inside are doubled; else a backslash stands before them
    bool quotes_null;     // the word null, in any case, is quoted: without quotes it stands for NULL
};

// Quotes out->data[start ..) in place if it has to be.
void quoted_finish(struct buf *out, size_t start, const struct quoted_style *style);
// Reads an item from *at: quoted, or everything up to one of `ends`. The bytes stay where they are unless an escape forces a copy into
// scratch. *at moves behind it. is_doubled: "" is a quote as well. False: no closing quote, or a quote or backslash in the
// middle of an item that is not quoted (none of these output functions writes that).
bool quoted_read(const uint8_t **at, const uint8_t *end, const char *ends, bool is_doubled, struct buf *scratch,
                 struct value *out_item, bool *out_is_quoted);

#endif
