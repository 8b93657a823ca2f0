#include "catalog/db.h"

#include <stddef.h>

#include "base/check.h"
#include "io/lock.h"

bool db_query(struct db *db, struct db_query *query, struct err *out_error)
{
    lock_check_none();
    query->changed_count = 0;
    return db->operations->query(db, query, out_error);
}

bool db_run(struct db *db, const char *sql, uint32_t parameter_count, const char *const *parameters,
            uint64_t *out_changed_count, struct err *out_error)
{
    struct db_query query = {.sql = sql, .parameter_count = parameter_count, .parameters = parameters};
    bool is_done = db_query(db, &query, out_error);
    if (out_changed_count != NULL)
        *out_changed_count = query.changed_count;
    return is_done;
}

bool db_script(struct db *db, const char *sql, struct err *out_error)
{
    lock_check_none();
    return db->operations->script(db, sql, out_error);
}

static bool begin(struct db *db, bool is_read_only, struct err *out_error)
{
    CHECK(!db->is_in_transaction);
    lock_check_none();
    db->is_in_transaction = db->operations->begin(db, is_read_only, out_error);
    return db->is_in_transaction;
}

bool db_begin(struct db *db, struct err *out_error)
{
    return begin(db, false, out_error);
}

bool db_begin_read(struct db *db, struct err *out_error)
{
    return begin(db, true, out_error);
}

bool db_commit(struct db *db, struct err *out_error)
{
    CHECK(db->is_in_transaction);
    if (!db_script(db, "COMMIT", out_error))
        return false;
    db->is_in_transaction = false;
    return true;
}

void db_rollback(struct db *db)
{
    struct err ignored = {0};
    if (db->is_in_transaction && db->operations->is_open(db))
        db_script(db, "ROLLBACK", &ignored);
    db->is_in_transaction = false;
}

void db_close(struct db *db)
{
    if (db != NULL)
        db->operations->close(db);
}
