// The canonical form: a text of each row that PostgreSQL and Snowflake compute alike, as SQL for both. Pure. docs/verify.md
// says why it is what it is.
//
//   token of a column   what the target holds of it, as text that both write the same way; "-" for NULL
//   row                 tokens of all columns, in the source's order, joined by commas
//   place               MD5 of the key's tokens, of those of all exact columns where there is no key: what rows are put in order
//                       by, and its first digits are the range that a row belongs to
//
// A token never holds a comma: text is there as its MD5. Where both cannot write a value alike (is_exact is false), the
// token says only whether it is NULL.
#ifndef ETL_VERIFY_FORM_H
#define ETL_VERIFY_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "encode/typemap.h"
#include "model/table.h"

#define FORM_PLACE_SIZE 32  // hex digits of an MD5
#define FORM_DIGITS_MAX 4   // of a range: 65536 of them

struct form {
    const struct table *table;
    const struct column_encoder *encoders;  // table->column_count
    char *const *target_columns;            // names in Snowflake
    bool converts;                          // the source's encoding is neither UTF8 nor SQL_ASCII
    const char *source;                     // what FROM names: `ONLY "s"."t"`
    const char *source_filter;              // SQL, or NULL
    const char *target;                     // qualified
    const char *target_filter;              // or NULL
    bool has_coerced;                       // the target has _ETL_COERCED, which rows bring along
};

// Some of the ranges: their names of `digits` hex digits. digits 0: one range that holds all.
struct form_ranges {
    unsigned digits;
    uint32_t count;
    char (*names)[FORM_DIGITS_MAX + 1];
};

// Whether the digest covers the column's values, not only whether they are NULL.
bool form_is_exact(const struct column_encoder *encoder);
// Whether rows are told apart by their key; else the table is a multiset.
bool form_is_keyed(const struct form *form);
// SELECT of a row a range: its name, the number of rows, and the sums of the upper and of the lower 64 bits of the rows' MD5.
void form_source_digest(const struct form *form, unsigned digits, struct buf *out);
void form_target_digest(const struct form *form, unsigned digits, struct buf *out);
// The rows of ranges (NULL: all), by place: the place, then the columns. The source's is a COPY in binary, with the columns that
// binary does not serve as text; the target's has _ETL_COERCED behind them if it has that column.
void form_source_rows(const struct form *form, const struct form_ranges *ranges, struct buf *out);
void form_target_rows(const struct form *form, const struct form_ranges *ranges, struct buf *out);

#endif
