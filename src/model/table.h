// A source table as the catalog describes it: what decoding, encoding, DDL and merge need to know.
// Built once by pg/ (catalog queries), immutable afterwards, owned by the pipeline's actor.
#ifndef ETL_MODEL_TABLE_H
#define ETL_MODEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/source_type.h"

enum table_identity {
    IDENTITY_KEY,     // replica identity default (immediate primary key) or an index: key_columns names it
    IDENTITY_FULL,    // REPLICA IDENTITY FULL; key_columns is the immediate primary key if there is one
    IDENTITY_NOTHING  // no identity: append-only
};

struct column {
    char *name;             // in UTF-8
    char *former_name;      // what it was called when the destination was last made ready; NULL: the same, or not known
    char *type_name;        // format_type(), for messages
    uint32_t type_oid;      // as declared; what the relation message tells
    int32_t type_modifier;  // as declared
    const struct source_type *type;  // domains resolved; one of `types`
    struct source_types types;
    bool is_toastable;  // attstorage is not plain: its value may come "unchanged"
    bool is_not_null;
    bool has_missing;    // rows that are older than the column show a value there that is not in them …
    char *missing_text;  // … this one, as the server prints it, in UTF-8; NULL: it is not known
    bool is_added;       // since the definition that the destination's tables are made by
    int16_t attribute_number;
    int16_t key_position;  // 0-based place in the key, -1: not part of it
};

struct table {
    char *schema_name;  // UTF-8
    char *table_name;   // UTF-8
    char *former_schema_name,
        *former_table_name;  // when the destination was last made ready; NULL: the same, or not known
    char **left_names;       // columns that it had then and has no more
    uint16_t left_count;
    uint32_t oid;
    uint32_t relfilenode;
    uint16_t attribute_count;  // highest attribute number that was ever given to a column, published or not
    int64_t bytes_estimate;    // pg_table_size at the time of the query
    double rows_estimate;      // reltuples, -1 unknown
    bool is_unreadable;        // the source's user lacks SELECT on it, or USAGE on its schema
    bool has_hidden_rows;      // row level security would hide rows from the source's user
    enum table_identity identity;
    bool is_partitioned;      // and published as a whole: its rows come from its partitions
    char *odd_partition;      // one that sends old rows by another identity, as an identifier; NULL: none
    char *unsent_partitions;  // unlogged and foreign ones, of which the server sends nothing, in words; NULL: none
    struct column *columns;   // published columns in attribute order
    uint16_t column_count;
    uint16_t key_count;
    uint16_t *key_columns;  // indexes into columns, in the key's order
};

// REPLICA IDENTITY FULL without an immediate primary key: equal rows are told apart by nothing, so they are counted.
bool table_is_multiset(const struct table *table);
// Forgets the columns from count on, which may not be of the key.
void table_cut(struct table *table, uint16_t count);
void table_forget_left(struct table *table);
void table_free(struct table *table);  // NULL is fine
// "schema.table" into out, cut if need be.
void table_format_name(const struct table *table, char *out, uint32_t out_size);

#endif
