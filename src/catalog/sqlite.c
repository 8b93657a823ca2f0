#include "catalog/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "embedded_sql.h"
#include "io/lock.h"
#include "io/loop.h"

#define CATALOG_VERSION 2
#define CATALOG_QUEUE_MAX 256
#define CATALOG_BUSY_TIMEOUT_MS 5000

struct catalog {
    char *path;
    sqlite3 *database;  // the writer thread's once catalog_start was called
    int lock_fd;
    bool is_service;
    bool is_started;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *mailbox;
    sqlite3_stmt *save_pipeline, *save_table, *save_channel, *delete_channel, *save_status;
};

// Tells the writer's thread to end; an address, never looked into.
static char stop_message;

const char *catalog_table_state_name(enum catalog_table_state state)
{
    static const char *const names[] = {"new", "copying", "copied", "live", "parked", "unpublished"};
    CHECK((unsigned)state < sizeof names / sizeof names[0]);
    return names[state];
}

static bool fail(const struct catalog *catalog, const char *doing, struct err *out_error)
{
    if (sqlite3_errcode(catalog->database) == SQLITE_NOTADB)
        return err_set(
            out_error, ERR_CONFIG, "state_file",
            "state file %s is a file of another kind (not an SQLite database); set ETL_STATE to another path",
            catalog->path);
    return err_set(out_error, ERR_INTERNAL, "catalog", "state file %s: %s: %s", catalog->path, doing,
                   sqlite3_errmsg(catalog->database));
}

static bool execute(struct catalog *catalog, const char *sql, struct err *out_error)
{
    lock_check_none();
    if (sqlite3_exec(catalog->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail(catalog, "cannot write", out_error);
    return true;
}

static bool read_version(struct catalog *catalog, int *out_version, struct err *out_error)
{
    sqlite3_stmt *statement = NULL;
    bool is_read = sqlite3_prepare_v2(catalog->database, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
                   sqlite3_step(statement) == SQLITE_ROW;
    if (is_read)
        *out_version = sqlite3_column_int(statement, 0);
    else
        fail(catalog, "cannot be read as a catalog", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

static bool migrate(struct catalog *catalog, struct err *out_error)
{
    int version = 0;
    if (!read_version(catalog, &version, out_error))
        return false;
    if (version > CATALOG_VERSION)
        return err_set(out_error, ERR_CONFIG, "catalog_version",
                       "state file %s has version %d, made by a newer etl-stream; this one reads up to %d",
                       catalog->path, version, CATALOG_VERSION);
    // FULL: a commit is on disk when it returns; the floor is confirmed to the source only after that. Not before the
    // version is known: it writes to the file.
    if (catalog->is_service &&
        !execute(catalog, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", out_error))
        return false;
    if (version == CATALOG_VERSION)
        return true;
    if (!catalog->is_service && version == 0)
        return err_set(out_error, ERR_CONFIG, "catalog_version", "state file %s holds no catalog yet", catalog->path);
    if (!catalog->is_service)
        return err_set(out_error, ERR_CONFIG, "catalog_version",
                       "state file %s has version %d, made by an older etl-stream; the next etl-stream run on it makes "
                       "it version %d",
                       catalog->path, version, CATALOG_VERSION);
    // All steps at once or none; each ends by writing its number.
    static const char *const steps[CATALOG_VERSION] = {sql_catalog_schema_1, sql_catalog_schema_2};
    if (!execute(catalog, "BEGIN IMMEDIATE", out_error))
        return false;
    for (int i = version; i < CATALOG_VERSION; i++)
        if (!execute(catalog, steps[i], out_error))
            return false;
    return execute(catalog, "COMMIT", out_error);
}

// The service's lock: an open-file-description lock on a byte beyond those that SQLite locks (at 1 GiB), which can be asked for without taking it.
static struct flock service_lock(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)1 << 40, .l_len = 1};
}

static bool open_file(struct catalog *catalog, struct err *out_error)
{
    int flags = catalog->is_service ? O_RDWR | O_CREAT : O_RDONLY;
    catalog->lock_fd = open(catalog->path, flags | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (catalog->lock_fd < 0)
        return err_set(
            out_error, ERR_CONFIG, "state_file",
            "state file %s cannot be opened%s: %s (set ETL_STATE to another path, or mend the directory's permissions)",
            catalog->path, catalog->is_service ? " for writing" : "", strerror(errno));
    struct flock lock = service_lock();
    if (catalog->is_service && fcntl(catalog->lock_fd, F_OFD_SETLK, &lock) != 0)
        return err_set(out_error, ERR_CONFIG, "state_file_in_use",
                       "state file %s is in use by another etl-stream; stop that one, or set ETL_STATE to another path",
                       catalog->path);
    int open_flags = catalog->is_service ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (sqlite3_open_v2(catalog->path, &catalog->database, open_flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return fail(catalog, "cannot be opened", out_error);
    sqlite3_busy_timeout(catalog->database, CATALOG_BUSY_TIMEOUT_MS);
    return true;
}

struct catalog *catalog_open(const char *path, bool is_service, struct err *out_error)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    CHECK(catalog != NULL);
    catalog->path = strdup(path);
    CHECK(catalog->path != NULL);
    catalog->is_service = is_service;
    catalog->lock_fd = -1;
    if (open_file(catalog, out_error) && migrate(catalog, out_error))
        return catalog;
    catalog_close(catalog);
    return NULL;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    if (catalog->is_started) {
        // The mailbox has room for one more than senders may use up only by luck: try until it takes the last word.
        while (!mailbox_send(catalog->mailbox, &stop_message))
            sched_yield();
        pthread_join(catalog->thread, NULL);
        loop_free(catalog->loop);
    }
    sqlite3_finalize(catalog->save_pipeline);
    sqlite3_finalize(catalog->save_table);
    sqlite3_finalize(catalog->save_channel);
    sqlite3_finalize(catalog->delete_channel);
    sqlite3_finalize(catalog->save_status);
    sqlite3_close(catalog->database);
    if (catalog->lock_fd >= 0)
        close(catalog->lock_fd);
    free(catalog->path);
    free(catalog);
}

bool catalog_is_served(const struct catalog *catalog)
{
    if (catalog->is_service)
        return true;
    struct flock lock = service_lock();
    return fcntl(catalog->lock_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// --- reading -----------------------------------------------------------------------------------------------------

static void column_text(sqlite3_stmt *statement, int column, char *out, size_t out_size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    (void)snprintf(out, out_size, "%s", text != NULL ? (const char *)text : "");
}

static lsn_t column_lsn(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text != NULL ? strtoull((const char *)text, NULL, 16) : LSN_NONE;
}

static sqlite3_stmt *prepare(struct catalog *catalog, const char *sql, struct err *out_error)
{
    sqlite3_stmt *statement = NULL;
    lock_check_none();
    if (sqlite3_prepare_v2(catalog->database, sql, -1, &statement, NULL) != SQLITE_OK)
        fail(catalog, "cannot be read", out_error);
    return statement;
}

static bool load_pipeline(struct catalog *catalog, const char *name, struct catalog_known *out_known,
                          struct err *out_error)
{
    struct catalog_pipeline *out = &out_known->pipeline;
    sqlite3_stmt *statement = prepare(catalog, sql_catalog_load_pipeline, out_error);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    int outcome = sqlite3_step(statement);
    out_known->is_found = outcome == SQLITE_ROW;
    if (out_known->is_found) {
        (void)snprintf(out->name, sizeof out->name, "%s", name);
        column_text(statement, 0, out->identity, sizeof out->identity);
        column_text(statement, 1, out->slot, sizeof out->slot);
        column_text(statement, 2, out->source, sizeof out->source);
        column_text(statement, 3, out->destination, sizeof out->destination);
        column_text(statement, 4, out->system_identifier, sizeof out->system_identifier);
        out->timeline = (uint32_t)sqlite3_column_int64(statement, 5);
        out->epoch = (uint8_t)sqlite3_column_int(statement, 6);
        out->is_slot_made = sqlite3_column_int(statement, 7) != 0;
        out->received_lsn = column_lsn(statement, 8);
        out->floor_lsn = column_lsn(statement, 9);
        out->merged_lsn = column_lsn(statement, 10);
        out->state_epoch = (uint8_t)sqlite3_column_int(statement, 11);
        out->state_lsn = column_lsn(statement, 12);
        out->merge_intent_lsn = column_lsn(statement, 13);
        column_text(statement, 14, out->writer, sizeof out->writer);
    }
    bool is_read = outcome == SQLITE_ROW || outcome == SQLITE_DONE || fail(catalog, "cannot be read", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

// False: its spread is none of ours, and every row that is read again could take the wrong channel.
static bool read_table(sqlite3_stmt *statement, struct catalog_table *out)
{
    memset(out, 0, sizeof *out);
    column_text(statement, 0, out->schema_name, sizeof out->schema_name);
    column_text(statement, 1, out->table_name, sizeof out->table_name);
    out->oid = (uint32_t)sqlite3_column_int64(statement, 2);
    out->state = (enum catalog_table_state)sqlite3_column_int(statement, 3);
    out->copy_lsn = column_lsn(statement, 4);
    out->copied_rows = (uint64_t)sqlite3_column_int64(statement, 5);
    out->is_in_merge = sqlite3_column_int(statement, 6) != 0;
    column_text(statement, 7, out->reason, sizeof out->reason);
    const unsigned char *spread = sqlite3_column_text(statement, 8);
    return spread != NULL && spread_parse((const char *)spread, &out->spread);
}

static void read_channel(sqlite3_stmt *statement, struct catalog_channel *out)
{
    memset(out, 0, sizeof *out);
    column_text(statement, 0, out->name, sizeof out->name);
    out->table_oid = (uint32_t)sqlite3_column_int64(statement, 1);
    column_text(statement, 2, out->token, sizeof out->token);
    out->created_on_ms = sqlite3_column_int64(statement, 3);
    out->error_count = (uint64_t)sqlite3_column_int64(statement, 4);
}

static bool load_tables(struct catalog *catalog, const char *pipeline, struct catalog_known *out_known,
                        struct err *out_error)
{
    sqlite3_stmt *statement = prepare(catalog, sql_catalog_load_tables, out_error);
    uint32_t capacity = 0;
    bool is_read = true;
    int outcome = SQLITE_DONE;
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, pipeline, -1, SQLITE_STATIC);
    while (is_read && (outcome = sqlite3_step(statement)) == SQLITE_ROW) {
        if (out_known->table_count == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            out_known->tables = reallocarray(out_known->tables, capacity, sizeof *out_known->tables);
            CHECK(out_known->tables != NULL);
        }
        struct catalog_table *table = &out_known->tables[out_known->table_count++];
        if (!read_table(statement, table))
            is_read = err_set(out_error, ERR_INTERNAL, "catalog",
                              "state file %s: the channels of %s.%s cannot be read; put a copy of the file from before "
                              "back, or delete it to copy everything anew",
                              catalog->path, table->schema_name, table->table_name);
    }
    if (is_read && outcome != SQLITE_DONE)
        is_read = fail(catalog, "cannot be read", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

static bool load_channels(struct catalog *catalog, const char *pipeline, struct catalog_known *out_known,
                          struct err *out_error)
{
    sqlite3_stmt *statement = prepare(catalog, sql_catalog_load_channels, out_error);
    uint32_t capacity = 0;
    int outcome;
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, pipeline, -1, SQLITE_STATIC);
    while ((outcome = sqlite3_step(statement)) == SQLITE_ROW) {
        if (out_known->channel_count == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            out_known->channels = reallocarray(out_known->channels, capacity, sizeof *out_known->channels);
            CHECK(out_known->channels != NULL);
        }
        read_channel(statement, &out_known->channels[out_known->channel_count++]);
    }
    bool is_read = outcome == SQLITE_DONE || fail(catalog, "cannot be read", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

bool catalog_load(struct catalog *catalog, const char *pipeline, struct catalog_known *out_known, struct err *out_error)
{
    CHECK(!catalog->is_started);
    memset(out_known, 0, sizeof *out_known);
    return load_pipeline(catalog, pipeline, out_known, out_error) &&
           load_tables(catalog, pipeline, out_known, out_error) &&
           load_channels(catalog, pipeline, out_known, out_error);
}

void catalog_known_deinit(struct catalog_known *known)
{
    free(known->tables);
    free(known->channels);
    memset(known, 0, sizeof *known);
}

bool catalog_each_status(struct catalog *catalog,
                         void (*on_status)(void *context, const char *pipeline, const char *json, int64_t updated_ms),
                         void *context, struct err *out_error)
{
    int outcome;
    sqlite3_stmt *statement = prepare(catalog, sql_catalog_each_status, out_error);
    if (statement == NULL)
        return false;
    while ((outcome = sqlite3_step(statement)) == SQLITE_ROW)
        on_status(context, (const char *)sqlite3_column_text(statement, 0),
                  (const char *)sqlite3_column_text(statement, 1), sqlite3_column_int64(statement, 2));
    bool is_read = outcome == SQLITE_DONE || fail(catalog, "cannot be read", out_error);
    sqlite3_finalize(statement);
    return is_read;
}

// --- writing -----------------------------------------------------------------------------------------------------

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text, -1, SQLITE_TRANSIENT);
}

static void bind_lsn(sqlite3_stmt *statement, int index, lsn_t lsn)
{
    char text[17];
    (void)snprintf(text, sizeof text, "%016" PRIX64, lsn);
    bind_text(statement, index, text);
}

static bool run(struct catalog *catalog, sqlite3_stmt *statement, struct err *out_error)
{
    bool is_done = sqlite3_step(statement) == SQLITE_DONE || fail(catalog, "cannot be written", out_error);
    sqlite3_reset(statement);
    return is_done;
}

static bool write_pipeline(struct catalog *catalog, const struct catalog_pipeline *pipeline, struct err *out_error)
{
    sqlite3_stmt *statement = catalog->save_pipeline;
    bind_text(statement, 1, pipeline->name);
    bind_text(statement, 2, pipeline->identity);
    bind_text(statement, 3, pipeline->slot);
    bind_text(statement, 4, pipeline->source);
    bind_text(statement, 5, pipeline->destination);
    bind_text(statement, 6, pipeline->system_identifier);
    sqlite3_bind_int64(statement, 7, pipeline->timeline);
    sqlite3_bind_int(statement, 8, pipeline->epoch);
    sqlite3_bind_int(statement, 9, pipeline->is_slot_made);
    bind_lsn(statement, 10, pipeline->received_lsn);
    bind_lsn(statement, 11, pipeline->floor_lsn);
    bind_lsn(statement, 12, pipeline->merged_lsn);
    sqlite3_bind_int(statement, 13, pipeline->state_epoch);
    bind_lsn(statement, 14, pipeline->state_lsn);
    bind_lsn(statement, 15, pipeline->merge_intent_lsn);
    bind_text(statement, 16, pipeline->writer);
    return run(catalog, statement, out_error);
}

static bool write_table(struct catalog *catalog, const char *pipeline, const struct catalog_table *table,
                        struct err *out_error)
{
    sqlite3_stmt *statement = catalog->save_table;
    bind_text(statement, 1, pipeline);
    bind_text(statement, 2, table->schema_name);
    bind_text(statement, 3, table->table_name);
    sqlite3_bind_int64(statement, 4, table->oid);
    sqlite3_bind_int(statement, 5, (int)table->state);
    bind_lsn(statement, 6, table->copy_lsn);
    sqlite3_bind_int64(statement, 7, (int64_t)table->copied_rows);
    sqlite3_bind_int(statement, 8, table->is_in_merge);
    bind_text(statement, 9, table->reason);
    char spread[SPREAD_TEXT_SIZE];
    spread_format(&table->spread, spread);
    bind_text(statement, 10, spread);
    return run(catalog, statement, out_error);
}

static bool write_channel(struct catalog *catalog, const char *pipeline, const struct catalog_channel *channel,
                          struct err *out_error)
{
    sqlite3_stmt *statement = channel->is_gone ? catalog->delete_channel : catalog->save_channel;
    bind_text(statement, 1, pipeline);
    bind_text(statement, 2, channel->name);
    if (!channel->is_gone) {
        sqlite3_bind_int64(statement, 3, channel->table_oid);
        bind_text(statement, 4, channel->token);
        sqlite3_bind_int64(statement, 5, channel->created_on_ms);
        sqlite3_bind_int64(statement, 6, (int64_t)channel->error_count);
    }
    return run(catalog, statement, out_error);
}

static bool write_status(struct catalog *catalog, const struct catalog_save *save, struct err *out_error)
{
    bind_text(catalog->save_status, 1, save->pipeline.name);
    bind_text(catalog->save_status, 2, save->status_json);
    sqlite3_bind_int64(catalog->save_status, 3, clock_system.wall_us(clock_system.context) / 1000);
    return run(catalog, catalog->save_status, out_error);
}

static void write_save(struct catalog *catalog, struct catalog_save *save)
{
    struct err *error = &save->error;
    err_clear(error);
    if (!execute(catalog, "BEGIN IMMEDIATE", error))
        return;
    bool is_written = !save->has_pipeline || write_pipeline(catalog, &save->pipeline, error);
    for (uint32_t i = 0; is_written && i < save->table_count; i++)
        is_written = write_table(catalog, save->pipeline.name, &save->tables[i], error);
    for (uint32_t i = 0; is_written && i < save->channel_count; i++)
        is_written = write_channel(catalog, save->pipeline.name, &save->channels[i], error);
    if (is_written && save->status_json != NULL)
        is_written = write_status(catalog, save, error);
    if (is_written && execute(catalog, "COMMIT", error))
        return;
    struct err ignored = {0};
    execute(catalog, "ROLLBACK", &ignored);
}

static void on_message(void *context, void *message)
{
    struct catalog *catalog = context;
    if (message == &stop_message) {
        loop_stop(catalog->loop);
        return;
    }
    struct catalog_save *save = message;
    write_save(catalog, save);
    // Nobody waits for it, or the pipeline has gone meanwhile: the save ends here.
    if (save->reply_to == NULL || !mailbox_send(save->reply_to, save))
        catalog_save_free(save);
}

static void discard(void *message)
{
    if (message != &stop_message)
        catalog_save_free(message);
}

static void *writer(void *context)
{
    struct catalog *catalog = context;
    loop_run(catalog->loop);
    mailbox_free(catalog->mailbox, discard);
    return NULL;
}

bool catalog_start(struct catalog *catalog, struct err *out_error)
{
    CHECK(catalog->is_service && !catalog->is_started);
    catalog->save_pipeline = prepare(catalog, sql_catalog_save_pipeline, out_error);
    catalog->save_table = prepare(catalog, sql_catalog_save_table, out_error);
    catalog->save_channel = prepare(catalog, sql_catalog_save_channel, out_error);
    catalog->delete_channel = prepare(catalog, sql_catalog_delete_channel, out_error);
    catalog->save_status = prepare(catalog, sql_catalog_save_status, out_error);
    if (catalog->save_pipeline == NULL || catalog->save_table == NULL || catalog->save_channel == NULL ||
        catalog->delete_channel == NULL || catalog->save_status == NULL)
        return false;
    catalog->loop = loop_new(&clock_system, out_error);
    if (catalog->loop == NULL)
        return false;
    catalog->mailbox = mailbox_new(catalog->loop, CATALOG_QUEUE_MAX, on_message, catalog, out_error);
    // Signals belong to the main thread's loop: one that this thread took would end the process unsaved.
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    bool is_started = catalog->mailbox != NULL && pthread_create(&catalog->thread, NULL, writer, catalog) == 0;
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (!is_started) {
        if (catalog->mailbox != NULL)
            mailbox_free(catalog->mailbox, discard);
        loop_free(catalog->loop);
        return err_set(out_error, ERR_INTERNAL, "thread", "the catalog's thread cannot be started");
    }
    catalog->is_started = true;
    return true;
}

struct catalog_save *catalog_save_new(uint32_t table_count, uint32_t channel_count)
{
    struct catalog_save *save = calloc(1, sizeof *save + (size_t)table_count * sizeof save->tables[0] +
                                              (size_t)channel_count * sizeof save->channels[0]);
    CHECK(save != NULL);
    save->table_count = table_count;
    save->channel_count = channel_count;
    save->channels = (struct catalog_channel *)(void *)(save->tables + table_count);
    return save;
}

void catalog_save_free(struct catalog_save *save)
{
    if (save == NULL)
        return;
    free(save->status_json);
    free(save);
}

bool catalog_send(struct catalog *catalog, struct catalog_save *take_save)
{
    return mailbox_send(catalog->mailbox, take_save);
}
