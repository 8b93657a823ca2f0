// A database as the catalog needs it: statements with text parameters, rows by callback, transactions. Two of them: an
// SQLite file and PostgreSQL. Every call blocks; a handle belongs to one thread at a time. SQL is written for both: $1
// parameters, which take the type of the column they meet.
#ifndef ETL_CATALOG_DB_H
#define ETL_CATALOG_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/location.h"

#define DB_NOTIFY_CHANNEL "etl_stream"

struct db;

// values has one entry a column, borrowed for the call; NULL: SQL NULL. False: enough; no more rows are handed out.
typedef bool (*db_on_row)(void *context, const char *const *values);

struct db_query {
    const char *sql;
    uint32_t parameter_count;
    const char *const *parameters;  // NULL entries: SQL NULL
    db_on_row on_row;               // NULL: no rows are expected
    void *context;
    uint64_t changed_count;  // the answer: rows that were inserted, updated or deleted
};

struct db_operations {
    bool (*query)(struct db *db, struct db_query *query, struct err *out_error);
    bool (*script)(struct db *db, const char *sql, struct err *out_error);  // several statements, no parameters
    bool (*begin)(struct db *db, bool is_read_only, struct err *out_error);
    bool (*notify)(struct db *db,
                   struct err *out_error);  // within a transaction: wakes those who listen, once it commits
    bool (*version)(struct db *db, int *out_version, struct err *out_error);  // 0: there is no catalog in it
    bool (*is_open)(const struct db *db);                                     // false: the connection broke; close it
    bool (*is_changed)(struct db *db);       // others may have changed it since the last call; does not wait
    int (*descriptor)(const struct db *db);  // readable when is_changed may have news; -1: ask from time to time
    void (*close)(struct db *db);
};

// The first member of both kinds.
struct db {
    const struct db_operations *operations;
    const struct catalog_location *location;  // borrowed
    bool is_in_transaction;
};

// *out_db NULL after a failure. is_read_only: SQLite only; the file must exist. Otherwise it is made with mode 0600.
struct db *db_sqlite_open(const struct catalog_location *location, bool is_read_only, struct err *out_error);
// session_options: "-c name=value …" beside those that every connection of the catalog has.
struct db *db_postgres_open(const struct catalog_location *location, const char *session_options,
                            struct err *out_error);

// On any failure within a transaction: db_rollback. A failed commit has rolled back, or it is not known.
bool db_query(struct db *db, struct db_query *query, struct err *out_error);
// Up to 16 parameters, no rows.
bool db_run(struct db *db, const char *sql, uint32_t parameter_count, const char *const *parameters,
            uint64_t *out_changed_count, struct err *out_error);
bool db_script(struct db *db, const char *sql, struct err *out_error);
bool db_begin(struct db *db, struct err *out_error);  // to write; in SQLite writers wait for each other from here on
bool db_begin_read(struct db *db, struct err *out_error);  // reads from here on see one state; ended by db_rollback
bool db_commit(struct db *db, struct err *out_error);
void db_rollback(struct db *db);  // harmless without a transaction
void db_close(struct db *db);     // NULL is allowed

#endif
