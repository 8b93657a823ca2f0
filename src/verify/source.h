// The source in one snapshot with a known LSN: which tables there are, their digests and their rows. The snapshot, and the locks
// that keep it readable, are those of a copy (pg/pg_copy.h) that never reads; a connection of ours reads beside it.
#ifndef ETL_VERIFY_SOURCE_H
#define ETL_VERIFY_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/resolver.h"
#include "model/lsn.h"
#include "model/row.h"
#include "model/table.h"
#include "pg/pg_catalog.h"
#include "pg/pg_conn.h"
#include "verify/wait.h"

struct source;

struct source_range {
    char name[8];
    uint64_t rows;
    char upper[48], lower[48];  // sums, as decimal digits
};

// on_waiting: a line that says what it waits for.
struct source *source_new(struct wait *wait, struct resolver *resolver, const struct pg_target *target,
                          void (*on_waiting)(void *context, const char *why), void *context);
void source_free(struct source *source);
// Facts and the tables of the publication as they are now. *out_tables: array and tables are the caller's.
bool source_look(struct source *source, const char *publication, struct pg_source_facts *out_facts,
                 struct table ***out_tables, uint32_t *out_count, struct err *out_error);
// Makes the snapshot. tables are borrowed until source_free.
bool source_snapshot(struct source *source, const char *publication, struct table *const *tables, uint32_t count,
                     lsn_t *out_lsn, struct err *out_error);
// Locks and checks the tables, and enters the snapshot. A table may fail by itself: source_table_error.
bool source_enter(struct source *source, struct err *out_error);
// What is watched of the publication's tables (pipeline/marks.h), as the snapshot shows it; by pg_publication_look_deinit.
bool source_marks(struct source *source, const char *publication, struct pg_publication_look *out_look,
                  struct err *out_error);
const struct err *source_table_error(const struct source *source, uint32_t index);  // NULL: it can be read
// What FROM names, and the publication's row filter (NULL: none), borrowed.
void source_from(const struct source *source, uint32_t index, struct buf *out, const char **out_filter);
// Locks the table on the reading connection. Not to be had at once, for some time: ERR_TRANSIENT "locked".
bool source_lock(struct source *source, uint32_t index, struct err *out_error);

// A digest, begun and awaited apart: Snowflake computes the other one meanwhile. An error with source_is_alive leaves the
// snapshot as it was. *out_ranges: heap.
void source_digest_begin(struct source *source, const char *sql);
bool source_digest_end(struct source *source, struct source_range **out_ranges, uint32_t *out_count,
                       struct err *out_error);
bool source_is_alive(const struct source *source);  // the snapshot can still be read

// Rows of a COPY in binary; column_count of them. encoding: client_encoding for it ("": UTF8).
bool source_rows_begin(struct source *source, const char *sql, const char *encoding, uint16_t column_count,
                       struct err *out_error);
// values are borrowed until the next call. *out_end: there is none. After an error or the end the rows are over.
bool source_rows_are_open(const struct source *source);  // begun, and neither over nor failed
bool source_rows_next(struct source *source, const struct value **out_values, bool *out_end, struct err *out_error);

#endif
