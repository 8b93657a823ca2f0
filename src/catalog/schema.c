// The catalog's tables, by version. Each version has a script for either database; an older catalog goes through all that
// follow its own, in one transaction.
#include "catalog/catalog_private.h"

#include "embedded_sql.h"

#define VERSION 5

static const char *const scripts[2][VERSION] = {
    {sql_catalog_schema_1, sql_catalog_schema_2, sql_catalog_schema_3, sql_catalog_schema_4, sql_catalog_schema_5},
    {sql_catalog_schema_1_postgres, sql_catalog_schema_2_postgres, sql_catalog_schema_3_postgres,
     sql_catalog_schema_4_postgres, sql_catalog_schema_5_postgres},
};
// Taken by whoever makes or upgrades the tables; a number of ours. Advisory locks know no names.
static const char lock_schema[] = "SELECT pg_advisory_xact_lock(7308332045218406401)";

static bool check(const struct db *db, int version, enum catalog_role role, bool is_served, struct err *out_error)
{
    const char *where = db->location->text;
    if (version > VERSION)
        return err_set(out_error, ERR_CONFIG, CATALOG_ERROR_VERSION,
                       "%s has version %d, made by a newer etl-stream; this one knows up to %d", where, version,
                       VERSION);
    if (version < VERSION && role == CATALOG_READER && version == 0)
        return err_set(out_error, ERR_CONFIG, CATALOG_ERROR_NONE, "%s holds no catalog yet", where);
    if (version < VERSION && role == CATALOG_READER)
        return err_set(
            out_error, ERR_CONFIG, CATALOG_ERROR_VERSION,
            "%s has version %d, made by an older etl-stream; a start of this one, or any command that changes "
            "something, upgrades it",
            where, version);
    if (version < VERSION && version > 0 && role == CATALOG_EDITOR && is_served)
        return err_set(out_error, ERR_CONFIG, CATALOG_ERROR_VERSION,
                       "%s has version %d and an older etl-stream is running with it; stop that one first", where,
                       version);
    return true;
}

static bool upgrade(struct db *db, enum catalog_role role, bool is_served, struct err *out_error)
{
    bool is_postgres = db->location->is_postgres;
    int version = 0;
    bool is_done = db_begin(db, out_error) && (!is_postgres || db_script(db, lock_schema, out_error)) &&
                   db->operations->version(db, &version, out_error) && check(db, version, role, is_served, out_error);
    for (; is_done && version < VERSION; version++)
        is_done = db_script(db, scripts[is_postgres][version], out_error);
    is_done = is_done && db_commit(db, out_error);
    db_rollback(db);
    return is_done;
}

bool schema_prepare(struct db *db, enum catalog_role role, bool is_served, struct err *out_error)
{
    int version = 0;
    if (!db->operations->version(db, &version, out_error) || !check(db, version, role, is_served, out_error))
        return false;
    // FULL: a commit is on disk when it returns; the floor is confirmed to the source only after that. Not before the
    // version is known: it writes to the file.
    if (!db->location->is_postgres && role != CATALOG_READER &&
        !db_script(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", out_error))
        return false;
    return version == VERSION || upgrade(db, role, is_served, out_error);
}

bool schema_foresee(struct db *db, struct catalog_config **out_config, struct err *out_error)
{
    int version = 0;
    *out_config = NULL;
    bool is_done = db_begin(db, out_error) && db_script(db, lock_schema, out_error) &&
                   db->operations->version(db, &version, out_error) &&
                   check(db, version, CATALOG_EDITOR, false, out_error);
    for (; is_done && version < VERSION; version++)
        is_done = db_script(db, scripts[true][version], out_error);
    is_done = is_done && config_read_within(db, out_config, out_error);
    db_rollback(db);
    return is_done;
}
