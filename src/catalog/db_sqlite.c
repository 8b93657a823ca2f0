// The catalog in an SQLite file.
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "catalog/db.h"

#define BUSY_TIMEOUT_MS 30000
#define COLUMNS_MAX 64

struct db_sqlite {
    struct db db;
    sqlite3 *sqlite;
    int64_t data_version;
};

static struct db_sqlite *sqlite_of(struct db *db)
{
    return (struct db_sqlite *)db;
}

static bool fail(struct db_sqlite *file, const char *doing, struct err *out_error)
{
    int code = sqlite3_extended_errcode(file->sqlite);
    const char *path = file->db.location->path;
    if ((code & 0xff) == SQLITE_NOTADB)
        return err_set(
            out_error, ERR_CONFIG, "state_file",
            "state file %s is a file of another kind (not an SQLite database); set ETL_STATE to another path", path);
    if ((code & 0xff) == SQLITE_READONLY || (code & 0xff) == SQLITE_CANTOPEN)
        return err_set(out_error, ERR_CONFIG, "state_file",
                       "state file %s cannot be opened: %s (set ETL_STATE to another path, or mend the permissions of "
                       "the file and its directory)",
                       path, sqlite3_errmsg(file->sqlite));
    const char *sqlstate = code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY ? "23505"
                           : (code & 0xff) == SQLITE_CONSTRAINT                                     ? "23503"
                                                                                                    : "catalog";
    return err_set(out_error, (code & 0xff) == SQLITE_BUSY ? ERR_TRANSIENT : ERR_INTERNAL, sqlstate,
                   "state file %s: %s: %s", path, doing, sqlite3_errmsg(file->sqlite));
}

static void bind(sqlite3_stmt *statement, const struct db_query *query)
{
    char name[16];
    for (uint32_t i = 0; i < query->parameter_count; i++) {
        (void)snprintf(name, sizeof name, "$%u", i + 1);  // a name for SQLite, which numbers by first appearance
        int index = sqlite3_bind_parameter_index(statement, name);
        if (index > 0 && query->parameters[i] != NULL)
            sqlite3_bind_text(statement, index, query->parameters[i], -1, SQLITE_STATIC);
    }
}

static bool sqlite_query(struct db *db, struct db_query *query, struct err *out_error)
{
    struct db_sqlite *file = sqlite_of(db);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(file->sqlite, query->sql, -1, &statement, NULL) != SQLITE_OK)
        return fail(file, "cannot be read", out_error);
    bind(statement, query);
    const char *values[COLUMNS_MAX];
    int outcome, column_count = sqlite3_column_count(statement);
    bool is_wanted = true;
    CHECK(column_count <= COLUMNS_MAX);
    while ((outcome = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < column_count; i++)
            values[i] = (const char *)sqlite3_column_text(statement, i);
        if (is_wanted && query->on_row != NULL)
            is_wanted = query->on_row(query->context, values);
    }
    bool is_done = outcome == SQLITE_DONE ||
                   fail(file, sqlite3_stmt_readonly(statement) ? "cannot be read" : "cannot be written", out_error);
    query->changed_count = is_done && !sqlite3_stmt_readonly(statement) ? (uint64_t)sqlite3_changes64(file->sqlite) : 0;
    sqlite3_finalize(statement);
    return is_done;
}

static bool sqlite_script(struct db *db, const char *sql, struct err *out_error)
{
    struct db_sqlite *file = sqlite_of(db);
    return sqlite3_exec(file->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK || fail(file, "cannot be written", out_error);
}

static bool sqlite_begin(struct db *db, bool is_read_only, struct err *out_error)
{
    return sqlite_script(db, is_read_only ? "BEGIN" : "BEGIN IMMEDIATE", out_error);
}

static bool read_pragma(struct db_sqlite *file, const char *sql, int64_t *out_value, struct err *out_error)
{
    sqlite3_stmt *statement = NULL;
    bool is_read = sqlite3_prepare_v2(file->sqlite, sql, -1, &statement, NULL) == SQLITE_OK &&
                   sqlite3_step(statement) == SQLITE_ROW;
    if (is_read)
        *out_value = sqlite3_column_int64(statement, 0);
    else
        fail(file, "cannot be read as a catalog", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

static bool sqlite_version(struct db *db, int *out_version, struct err *out_error)
{
    int64_t version = 0;
    if (!read_pragma(sqlite_of(db), "PRAGMA user_version", &version, out_error))
        return false;
    *out_version = (int)version;
    return true;
}

// Whoever listens finds the commit itself.
static bool sqlite_notify(struct db *db, struct err *out_error)
{
    (void)db;
    (void)out_error;
    return true;
}

static bool sqlite_is_open(const struct db *db)
{
    (void)db;
    return true;
}

// Counts commits of other connections. Source: https://www.sqlite.org/pragma.html#pragma_data_version
static bool sqlite_is_changed(struct db *db)
{
    struct db_sqlite *file = sqlite_of(db);
    struct err ignored = {0};
    int64_t before = file->data_version;
    return read_pragma(file, "PRAGMA data_version", &file->data_version, &ignored) && before != file->data_version;
}

static int sqlite_descriptor(const struct db *db)
{
    (void)db;
    return -1;
}

static void sqlite_close(struct db *db)
{
    sqlite3_close(sqlite_of(db)->sqlite);
    free(db);
}

static const struct db_operations operations = {.query = sqlite_query,
                                                .script = sqlite_script,
                                                .begin = sqlite_begin,
                                                .notify = sqlite_notify,
                                                .version = sqlite_version,
                                                .is_open = sqlite_is_open,
                                                .is_changed = sqlite_is_changed,
                                                .descriptor = sqlite_descriptor,
                                                .close = sqlite_close};

// The file is made here, for its mode: SQLite would leave it to the umask. One that is there is not opened: closing it
// would drop the locks that this process's SQLite may have on it (POSIX).
static bool make_file(const struct catalog_location *location, bool is_read_only, struct err *out_error)
{
    const char *path = location->path;
    errno = 0;
    int fd = is_read_only ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    struct stat facts;
    if ((is_read_only || errno == EEXIST) && access(path, is_read_only ? R_OK : R_OK | W_OK) == 0 &&
        stat(path, &facts) == 0 && !S_ISDIR(facts.st_mode))
        return true;
    if (errno == EEXIST || errno == 0)
        errno = EISDIR;
    if (is_read_only && errno == ENOENT)
        return err_set(
            out_error, ERR_CONFIG, CATALOG_ERROR_NONE,
            "there is no state file %s: etl-stream run makes it, and so does source add (--state or ETL_STATE "
            "names another; a CONFIG_DB_… variable a database)",
            path);
    return err_set(out_error, ERR_CONFIG, "state_file",
                   "state file %s cannot be opened%s: %s (set ETL_STATE to another path, or mend the directory's "
                   "permissions)",
                   path, is_read_only ? "" : " for writing", strerror(errno));
}

struct db *db_sqlite_open(const struct catalog_location *location, bool is_read_only, struct err *out_error)
{
    if (!make_file(location, is_read_only, out_error))
        return NULL;
    struct db_sqlite *file = calloc(1, sizeof *file);
    CHECK(file != NULL);
    file->db = (struct db){.operations = &operations, .location = location};
    int flags = is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (sqlite3_open_v2(location->path, &file->sqlite, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(file->sqlite, BUSY_TIMEOUT_MS);
        return &file->db;
    }
    fail(file, "cannot be opened", out_error);
    sqlite_close(&file->db);
    return NULL;
}
