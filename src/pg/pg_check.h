// What etl-stream check asks a source beyond what a pipeline needs to know at its start: limits, what blocks slots, what may hurt later.
// SQL in src/pg/sql/check_*.sql.
#ifndef ETL_PG_PG_CHECK_H
#define ETL_PG_PG_CHECK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PG_CHECK_UNKNOWN (-1)  // a number that the source does not tell

// Texts are borrowed from the result, NULL where there is none.
struct pg_check_source {
    int64_t backend_pid;
    bool are_timeouts_off;  // as pg_conn asked for: a pooler in between may have dropped it
    bool is_superuser, is_encrypted, is_local, may_see_others;
    int64_t connection_limit;  // of the role; -1: none
    int64_t password_days;     // until the role's password is no longer taken; UNKNOWN: it stays
    int64_t role_connections, connections_max, connections_used;
    int64_t transaction_pid, transaction_seconds;  // the oldest that has written; UNKNOWN: none, or not to be seen
    const char *transaction_user, *transaction_application;
    const char *prepared_name, *prepared_database, *prepared_owner;
    int64_t prepared_seconds;
    const char *physical_slots;    // names, by commas
    int64_t senders_without_slot;  // standbys and backups
    const char *synchronized_standby_slots, *idle_slot_timeout;
    int64_t idle_slot_timeout_number, max_wal_size_mb, decoding_memory_kb;
    int64_t slot_kept_bytes, slot_safe_bytes, slot_spilled_bytes;
    const char *slot_wal_status;
    bool slot_is_failover;
    const char *publications;       // names, by commas
    const char *catalogs;           // schemas whose catalog of an etl-stream the publication holds, by commas
    const char *tables_to_publish;  // quoted, by commas; only where the publication is missing or empty
};

struct pg_check_table {
    const char *schema_name, *table_name;
    char replica_identity;  // d, i, f, n
    bool is_partitioned, has_updates, may_use_schema, may_select, may_select_a_column, has_primary_key,
        has_immediate_key;
    const char *partition_root;  // it is published by itself, and this is the table that it is a part of
    const char *row_filter, *unreadable_parts, *columns_left_out, *generated_left_out;
    int64_t main_bytes, toast_bytes, updates, deletes;
};

const char *pg_check_source_sql(void);  // $1 publication, $2 slot: one row
bool pg_check_read_source(const PGresult *result, struct pg_check_source *out_source, struct err *out_error);
const char *pg_check_tables_sql(void);  // $1 publication: a row a table
bool pg_check_read_table(const PGresult *result, int row, struct pg_check_table *out_table, struct err *out_error);

#endif
