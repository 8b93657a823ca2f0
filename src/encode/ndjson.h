// One change → one NDJSON line, straight into the channel's open batch. No allocation per row.
#ifndef ETL_ENCODE_NDJSON_H
#define ETL_ENCODE_NDJSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "encode/datetime.h"
#include "encode/typemap.h"
#include "model/row.h"
#include "model/seq.h"
#include "model/table.h"

// How a table's rows are written; built when the table is learnt.
struct row_encoder {
    const struct table *table;       // borrowed
    struct column_encoder *columns;  // table->column_count
    const char *pipeline;         // borrowed; whose log says it when a column's first value is coerced. NULL: nobody's
    struct buf coerced;           // scratch: the inside of _ETL_COERCED
    struct buf key_old, key_new;  // scratch: JSON of keys, to see whether an update changed it
    bool has_commit_at;           // stream rows carry their commit's time; false after init
    int64_t commit_time_us;       // of the text that commit_at holds
    char commit_at[DATETIME_TEXT_SIZE_MAX];
    uint8_t commit_at_size;   // 0: none yet
    bool is_limited;          // row_encoder_limit_values
    uint64_t coerced_values;  // counted over its life
    uint64_t unchanged_rows;  // rows written with _ETL_UNCHANGED, over its life: the caller looks for growth
    uint64_t moved_rows;      // rows written with _ETL_OLD_KEY
};

struct row_change {
    char op;  // I U D T C
    struct seq seq;
    struct row_view new_row;  // I U C; count 0 otherwise
    struct row_view old_row;  // D, and U when the server sent one (key or full row); count 0 otherwise
    int64_t commit_time_us;   // since 2000-01-01; of stream rows
};

bool row_encoder_init(struct row_encoder *encoder, const struct table *table, const struct encoding *encoding,
                      const struct typemap_options *options, struct err *out_error);
void row_encoder_deinit(struct row_encoder *encoder);
// Any column that binary cannot serve (then the stream asks for text).
bool row_encoder_wants_text(const struct row_encoder *encoder);
bool row_encoder_fails_oversized(const struct row_encoder *encoder);  // a value that is too large is an error
// From now on values of columns outside of the key, of types without a size of their own, have at most so many bytes of text, JSON
// or BINARY; larger ones are coerced, as those that their type cannot hold. 0: as much as the type holds.
void row_encoder_limit_values(struct row_encoder *encoder, uint32_t bytes_max);

// An update of a multiset table has to be written as two changes: the old row's removal (D) at the update's sequence, and
// the new row (I, unchanged values taken from the old one) one ordinal later. The views are the update's.
bool ndjson_splits(const struct row_encoder *encoder, const struct row_change *change);
void ndjson_split(const struct row_change *update, struct row_change *out_removed, struct row_change *out_added);

// Appends the line of a change, "\n" included. What it does besides the columns:
// - a DELETE's line holds the key columns of the old row only, in a multiset table all of them;
// - an UPDATE whose old key differs from the new one gets _ETL_OLD_KEY (JSON array in key order); a key column that the new row
//   calls unchanged takes the old row's value; with a full old row every unchanged column does;
// - columns still unchanged are left out and their attribute numbers listed in _ETL_UNCHANGED;
// - with has_commit_at all but copied rows get _ETL_COMMIT_AT;
// - a NULL is left out;
// - a value that does not fit goes to _ETL_COERCED as {"column": "original"}.
// False with ERR_DATA if a value is malformed, a key value had to be coerced, an update is one that has to be split, or out failed (ERR_INTERNAL); out->size is then as
// it was before.
bool ndjson_append_change(struct row_encoder *encoder, const struct row_change *change, struct buf *out,
                          struct err *out_error);

// An encoder appended the original's text to coerced from `start` on: puts the column's key before it, and a comma behind the original of
// another column.
void ndjson_insert_coerced_key(struct buf *coerced, size_t start, const struct column_encoder *column);

#endif
