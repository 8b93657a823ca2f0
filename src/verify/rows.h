// Rows of one table from both sides, each in the order of their places, compared place by place. In memory are the rows of one
// place: one of each side where there is a key, all that are equal but for what the place does not cover otherwise.
#ifndef ETL_VERIFY_ROWS_H
#define ETL_VERIFY_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "encode/ndjson.h"
#include "verify/form.h"
#include "verify/source.h"
#include "verify/target.h"

enum rows_difference { ROWS_MISSING, ROWS_EXTRA, ROWS_CHANGED };

// Borrowed for the call. A value is NULL (SQL NULL) or text in the form of value.h.
struct rows_value {
    const char *text;  // not NUL-terminated; NULL: SQL NULL
    size_t size;
};

struct rows_found {
    enum rows_difference kind;
    const char *place;  // 32 hex digits: what tells a row without a key
    uint64_t count;     // of equal rows that are missing or extra
    // A value a column, and behind them that of _ETL_COERCED (as JSON; NULL: none). Of the side where the row is; CHANGED: both.
    const struct rows_value *source, *target;
};

struct rows_options {
    const struct form *form;
    const struct form_ranges *ranges;  // NULL: all rows
    bool is_partial;                   // others differ as well, and are not read
    // The columns, limited to SF_ROW_VALUE_BYTES_LAST; NULL: no row of the target was shortened.
    const struct row_encoder *limited;
    const char *client_encoding;  // the source's; "": UTF8
    struct wait *wait;
    void (*on_found)(void *context, const struct rows_found *found);
    void (*on_rows)(void *context, uint64_t source_rows);  // now and then
    void *context;
};

struct rows_counts {
    uint64_t source_rows, target_rows;
    uint64_t missing, extra, changed;
};

// False: it could not be done, and says nothing of the rows. A row that a source and a target hold for the same key but with
// other values is CHANGED; several of one key are compared as a multiset.
bool rows_compare(struct source *source, struct target *target, const struct rows_options *options,
                  struct rows_counts *out_counts, struct err *out_error);

#endif
