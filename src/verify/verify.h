// Source and target of a pipeline compared at one position while writes go on (docs/verify.md).
//
//   the running pipeline begins no merge        lease, through the catalog
//   a snapshot of the source, with its LSN L    source
//   … merges exactly the commits below L        lease
//   digests of each table, range by range       form; where they differ, rows
//   the state table still stands where it did   target: else all of it is void
#ifndef ETL_VERIFY_VERIFY_H
#define ETL_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "pg/pg_conn.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_key.h"
#include "sinks/snowflake/sf_naming.h"
#include "verify/rows.h"

enum verify_table_state { VERIFY_EQUAL, VERIFY_DIFFERENT, VERIFY_NOT_COMPARED };

struct verify_table {
    const char *schema_name, *table_name;
    enum verify_table_state state;
    bool is_full;                  // every value was compared
    uint32_t ranges_different;     // whose digests differ; their rows decide
    bool is_at_least;              // counts of differences are of a part of the ranges that differ
    char method[16];               // "key", "multiset"
    struct rows_counts counts;     // source_rows and target_rows: of the whole table
    const char *const *null_only;  // columns of which only NULLs were compared
    uint32_t null_only_count;
    struct err reason;  // NOT_COMPARED
    bool has_failed;    // NOT_COMPARED: it should have been; else it is in a state in which it cannot be
};

// A row that differs, of the table that is being compared.
struct verify_row {
    const struct table *table;
    const struct rows_found *found;
};

struct verify_options {
    const struct pg_target *source;
    const char *source_text, *publication;
    const char *tables;  // the pipeline's choice of tables; NULL: all
    const struct sf_config *snowflake;
    struct sf_key *take_key;
    struct sf_naming naming;
    const char *pipeline;
    struct catalog *catalog;
    const char *const *names;  // to compare; none: all
    size_t name_count;
    bool is_full, may_wake;
    uint32_t lease_ms, patience_ms;
};

struct verify_events {
    void (*on_waiting)(void *context, const char *why);  // a line
    void (*on_position)(void *context, lsn_t lsn, uint32_t table_count);
    void (*on_table_begin)(void *context, const struct table *table, uint32_t number, uint32_t count,
                           uint64_t bytes_before, uint64_t bytes_all);
    void (*on_rows)(void *context, uint64_t source_rows);
    void (*on_row)(void *context, const struct verify_row *row);
    void (*on_table)(void *context, const struct verify_table *table);
    void *context;
};

// False: the comparison could not be made, or is void (code "void"): what was told of tables counts for nothing.
bool verify_run(const struct verify_options *options, const struct verify_events *events, struct err *out_error);

#endif
