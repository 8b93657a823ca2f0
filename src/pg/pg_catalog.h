// What we ask a source about itself: settings, publication, tables and columns, slots. SQL in src/pg/sql/*.sql.
#ifndef ETL_PG_PG_CATALOG_H
#define ETL_PG_PG_CATALOG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/lsn.h"
#include "model/table.h"
#include "model/table_choice.h"

// source_facts.sql: one row. Parameters: $1 publication, $2 slot.
struct pg_source_facts {
    char database[64];
    char user[64];
    char encoding[32];  // pg_encoding_to_char
    char wal_level[16];
    char system_identifier[24];
    uint32_t timeline;
    int server_version;  // 150018
    int max_replication_slots, replication_slots_used, max_wal_senders, wal_senders_used;
    int wal_sender_timeout_ms;
    int64_t max_slot_wal_keep_size_mb;  // -1: no limit
    bool may_replicate;                 // rolreplication or superuser (or rds_replication member …)
    bool in_recovery;
    bool publication_exists, publication_inserts, publication_updates, publication_deletes, publication_truncates,
        publication_via_root;
    bool slot_exists, slot_is_active, slot_is_logical_here;  // here: this database, plugin pgoutput
    char slot_plugin[64];
    char slot_wal_status[16];  // reserved extended unreserved lost
    lsn_t slot_confirmed_lsn;
    lsn_t current_lsn;
    char service[16];  // whose managed service it is: "rds", "cloudsql", "azure", "supabase"; "" for a plain server
    int prepared_transactions;  // open ones in this database: they hold back the making of a slot
};

const char *pg_catalog_facts_sql(void);
bool pg_catalog_read_facts(const PGresult *result, struct pg_source_facts *out_facts, struct err *out_error);

// source_evict.sql: one row with what was ended. $1 application_name with claim 0, $2 with ours, $3 slot.
const char *pg_catalog_evict_sql(void);

// publication_tables.sql: a row per column, ordered by table and attribute number. $1 publication.
const char *pg_catalog_tables_sql(void);
// Allocates *out_tables (array of pointers; each by table_free, the array by free).
bool pg_catalog_read_tables_as_they_are(const PGresult *result, struct table ***out_tables, uint32_t *out_count,
                                        struct err *out_error);
// The same, but false with ERR_CONFIG that names the tables when some may not be read, or would be read without the rows
// that row level security hides. Tables that choice (NULL: all) leaves out are read as they are.
bool pg_catalog_read_tables(const PGresult *result, struct table_choice *choice, struct table ***out_tables,
                            uint32_t *out_count, struct err *out_error);

// publication_look.sql: what may change of a publication's tables while we read it; a row per table, at least one. $1 publication.
struct pg_publication_look {
    lsn_t lsn;          // every change that shows here was committed below it
    char *in_progress;  // its snapshot, as pg_current_snapshot() prints it
    bool publication_exists;
    char leaves_out[40];  // operations that it does not publish, "UPDATE, DELETE"; "": none
    uint32_t table_count;
    struct pg_published_table {
        uint32_t oid;
        char *marks;  // what is watched of it, as words (pipeline/marks.h)
    } * tables;       // by oid
};
const char *pg_catalog_look_sql(void);
bool pg_catalog_read_look(const PGresult *result, struct pg_publication_look *out_look, struct err *out_error);
const struct pg_published_table *pg_publication_look_find(const struct pg_publication_look *look, uint32_t oid);
// Whether it saw what that transaction did, which has ended or is about to.
bool pg_publication_look_shows(const struct pg_publication_look *look, uint32_t xid);
void pg_publication_look_deinit(struct pg_publication_look *look);  // one of zeros is fine

// publication_tables.sql or publication_look.sql for tables that the publication does not hold any more. $1 publication, $2 JSON: an
// array of {"oid": 1, "attrs": [1, 2]}, where attrs are the numbers of the columns that it sent. Heap.
char *pg_catalog_left_sql(const char *sql);

// logical_slots.sql: the pgoutput slots of this database, a row each: its name, the process that reads it (or NULL), that
// process's application and address, whether it holds back WAL, and how much, for people.
const char *pg_catalog_slots_sql(void);

// Quoting for statements that take no parameters (COPY, LOCK, CREATE_REPLICATION_SLOT). Appends "a""b" or 'a''b'.
struct buf;
void pg_append_identifier(struct buf *out, const char *name);
void pg_append_literal(struct buf *out, const char *text);
// A statement with its parameters $1 to $9 written in as literals (NULL: the word), for connections that take none. Its
// comments are left out. The server must read '…' as standard strings, which pg_conn pins.
void pg_append_statement(struct buf *out, const char *sql, int parameter_count, const char *const *parameters);

#endif
