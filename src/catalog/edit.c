// Changes what is configured.
#include "catalog/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "catalog/catalog_private.h"
#include "embedded_sql.h"

#define PARAMETERS_MAX 64
#define SQL_BYTES_MAX 8192
#define NAME_SIZE_MAX 100
#define ID_SIZE 24

// One statement that is put together: columns and their values.
struct row {
    const char *columns[PARAMETERS_MAX];
    const char *values[PARAMETERS_MAX];
    uint32_t count;
    char ids[2][ID_SIZE];
};

struct editing {
    struct db *db;
    const struct catalog_edit *edit;
    char id[ID_SIZE];  // "": not there
};

bool catalog_name_check(enum catalog_kind kind, const char *name, struct err *out_error)
{
    size_t size = strlen(name);
    if (size > 0 && size <= NAME_SIZE_MAX &&
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == size)
        return true;
    return err_set(out_error, ERR_CONFIG, "name", "the %s's name is \"%s\"; allowed are up to %d of A-Z a-z 0-9 _ -",
                   catalog_kind_name(kind), name, NAME_SIZE_MAX);
}

static bool on_id(void *context, const char *const *values)
{
    (void)snprintf(context, ID_SIZE, "%s", values[0]);
    return true;
}

static bool find_id(struct db *db, enum catalog_kind kind, const char *name, char out_id[ID_SIZE],
                    struct err *out_error)
{
    char sql[96];
    const char *parameters[] = {name};
    struct db_query query = {
        .sql = sql, .parameter_count = 1, .parameters = parameters, .on_row = on_id, .context = out_id};
    (void)snprintf(sql, sizeof sql, "SELECT id FROM %s WHERE name = $1", config_table(kind));
    out_id[0] = '\0';
    return db_query(db, &query, out_error);
}

static bool fail_missing(struct db *db, enum catalog_kind kind, const char *name, struct err *out_error)
{
    struct catalog_config *config = NULL;
    db_rollback(db);
    if (config_read(db, &config, out_error))
        catalog_config_fail_missing(config, kind, name, out_error);
    catalog_config_free(config);
    return false;
}

static void add_value(struct row *row, const char *column, const char *value)
{
    CHECK(row->count < PARAMETERS_MAX);
    row->columns[row->count] = column;
    row->values[row->count++] = value;
}

// source, destination and status of a pipeline.
static bool collect_own(struct editing *editing, const struct catalog_change *change, struct row *row, bool *out_is_own,
                        struct err *out_error)
{
    bool is_pipeline = editing->edit->kind == CATALOG_PIPELINE;
    bool is_source = strcmp(change->name, "source") == 0, is_destination = strcmp(change->name, "destination") == 0;
    *out_is_own = is_pipeline && (is_source || is_destination || strcmp(change->name, "status") == 0);
    if (!*out_is_own)
        return true;
    if (!is_source && !is_destination) {
        add_value(row, "status", change->text);
        return true;
    }
    enum catalog_kind kind = is_source ? CATALOG_SOURCE : CATALOG_DESTINATION;
    if (!find_id(editing->db, kind, change->text, row->ids[is_source], out_error))
        return false;
    if (row->ids[is_source][0] == '\0')
        return fail_missing(editing->db, kind, change->text, out_error);
    add_value(row, is_source ? "source_id" : "destination_id", row->ids[is_source]);
    return true;
}

// The changes that are columns of the contract's table.
static bool collect(struct editing *editing, struct row *row, struct err *out_error)
{
    const struct catalog_edit *edit = editing->edit;
    for (uint32_t i = 0; i < edit->change_count; i++) {
        const struct catalog_change *change = &edit->changes[i];
        bool is_own = false;
        if (!collect_own(editing, change, row, &is_own, out_error))
            return false;
        const struct setting *setting = is_own ? NULL : setting_find(edit->kind, change->name);
        CHECK(is_own || setting != NULL);
        if (is_own || !setting->is_column)
            continue;
        const char *text = change->text != NULL ? change->text : setting->option.default_value;
        if (text != NULL && setting->option.kind == OPTION_FLAG)
            text = strcmp(text, "true") == 0 ? "1" : "0";  // which both databases take for a boolean
        add_value(row, setting->name, text);
    }
    return true;
}

static bool insert_row(struct editing *editing, struct row *row, struct err *out_error)
{
    struct buf sql;
    const struct catalog_edit *edit = editing->edit;
    add_value(row, "name", edit->name);
    buf_init(&sql, SQL_BYTES_MAX);
    buf_appendf(&sql, "INSERT INTO %s (", config_table(edit->kind));
    for (uint32_t i = 0; i < row->count; i++)
        buf_appendf(&sql, "%s%s", i > 0 ? ", " : "", row->columns[i]);
    buf_append_text(&sql, ") VALUES (");
    for (uint32_t i = 0; i < row->count; i++)
        buf_appendf(&sql, "%s$%u", i > 0 ? ", " : "", i + 1);
    buf_append_text(&sql, ") RETURNING id");
    CHECK(!sql.failed);
    struct db_query query = {.sql = buf_text(&sql),
                             .parameter_count = row->count,
                             .parameters = row->values,
                             .on_row = on_id,
                             .context = editing->id};
    bool is_done = db_query(editing->db, &query, out_error);
    buf_deinit(&sql);
    return is_done;
}

static bool update_row(struct editing *editing, struct row *row, struct err *out_error)
{
    struct buf sql;
    uint32_t column_count = row->count;
    add_value(row, "id", editing->id);
    buf_init(&sql, SQL_BYTES_MAX);
    buf_appendf(&sql, "UPDATE %s SET updated_at = CURRENT_TIMESTAMP", config_table(editing->edit->kind));
    for (uint32_t i = 0; i < column_count; i++)
        buf_appendf(&sql, ", %s = $%u", row->columns[i], i + 1);
    buf_appendf(&sql, " WHERE id = $%u", row->count);
    CHECK(!sql.failed);
    bool is_done = db_run(editing->db, buf_text(&sql), row->count, row->values, NULL, out_error);
    buf_deinit(&sql);
    return is_done;
}

static bool write_settings(struct editing *editing, struct err *out_error)
{
    const struct catalog_edit *edit = editing->edit;
    for (uint32_t i = 0; i < edit->change_count; i++) {
        const struct setting *setting = setting_find(edit->kind, edit->changes[i].name);
        if (setting == NULL || setting->is_column)
            continue;
        const char *parameters[] = {catalog_kind_name(edit->kind), editing->id, setting->name, edit->changes[i].text};
        bool is_done =
            parameters[3] == NULL
                ? db_run(editing->db, "DELETE FROM etl_settings WHERE owner = $1 AND owner_id = $2 AND name = $3", 3,
                         parameters, NULL, out_error)
                : db_run(editing->db,
                         "INSERT INTO etl_settings (owner, owner_id, name, value) VALUES ($1, $2, $3, $4) "
                         "ON CONFLICT (owner, owner_id, name) DO UPDATE SET value = excluded.value",
                         4, parameters, NULL, out_error);
        if (!is_done)
            return false;
    }
    return true;
}

// --- removing --------------------------------------------------------------------------------------------------------

static bool on_dependent(void *context, const char *const *values)
{
    struct buf *names = context;
    buf_appendf(names, "%s\"%s\"", names->size > 0 ? ", " : "", values[0]);
    return true;
}

// Of the contract's ON DELETE CASCADE nobody shall be surprised.
static bool check_unused(struct editing *editing, struct err *out_error)
{
    enum catalog_kind kind = editing->edit->kind;
    const char *parameters[] = {editing->id};
    struct buf names;
    if (kind == CATALOG_PIPELINE)
        return true;
    buf_init(&names, SQL_BYTES_MAX);
    struct db_query query = {.sql = kind == CATALOG_SOURCE
                                        ? "SELECT name FROM pipelines WHERE source_id = $1 ORDER BY name"
                                        : "SELECT name FROM pipelines WHERE destination_id = $1 ORDER BY name",
                             .parameter_count = 1,
                             .parameters = parameters,
                             .on_row = on_dependent,
                             .context = &names};
    bool is_done = db_query(editing->db, &query, out_error);
    if (is_done && names.size > 0)
        is_done = err_set(out_error, ERR_CONFIG, "in_use", "%s \"%s\" is used by %s; remove that first",
                          catalog_kind_name(kind), editing->edit->name, buf_text(&names));
    buf_deinit(&names);
    return is_done;
}

static bool remove_row(struct editing *editing, struct err *out_error)
{
    char sql[64];
    const char *id[] = {editing->id}, *owner[] = {catalog_kind_name(editing->edit->kind), editing->id};
    (void)snprintf(sql, sizeof sql, "DELETE FROM %s WHERE id = $1", config_table(editing->edit->kind));
    return check_unused(editing, out_error) && db_run(editing->db, sql, 1, id, NULL, out_error) &&
           db_run(editing->db, "DELETE FROM etl_settings WHERE owner = $1 AND owner_id = $2", 2, owner, NULL,
                  out_error);
}

// --- all together ------------------------------------------------------------------------------------------------

static bool edit_one(struct db *db, const struct catalog_edit *edit, struct err *out_error)
{
    struct editing editing = {.db = db, .edit = edit};
    struct row row = {.count = 0};
    if ((edit->action == CATALOG_ADD && !catalog_name_check(edit->kind, edit->name, out_error)) ||
        !find_id(db, edit->kind, edit->name, editing.id, out_error))
        return false;
    bool is_there = editing.id[0] != '\0';
    if (edit->action == CATALOG_ADD && is_there)
        return err_set(out_error, ERR_CONFIG, "exists",
                       "there is a %s \"%s\" already; etl-stream %s edit changes it, another name adds another one",
                       catalog_kind_name(edit->kind), edit->name, catalog_kind_name(edit->kind));
    if (edit->action != CATALOG_ADD && !is_there)
        return fail_missing(db, edit->kind, edit->name, out_error);
    switch (edit->action) {
    case CATALOG_ADD:
        return collect(&editing, &row, out_error) && insert_row(&editing, &row, out_error) &&
               write_settings(&editing, out_error);
    case CATALOG_EDIT:
        return collect(&editing, &row, out_error) && update_row(&editing, &row, out_error) &&
               write_settings(&editing, out_error);
    case CATALOG_REMOVE: return remove_row(&editing, out_error);
    }
    CHECK(false);
}

bool catalog_edit(struct catalog *catalog, const struct catalog_edit *edits, uint32_t edit_count, struct err *out_error)
{
    CHECK(!catalog->is_started && catalog->role != CATALOG_READER);
    bool is_done = db_begin(catalog->db, out_error);
    // A row that is no pipeline any more must not be in the way of one of its name.
    if (is_done && !catalog_is_postgres(catalog))
        is_done = db_run(catalog->db, sql_catalog_cascade, 0, NULL, NULL, out_error);
    for (uint32_t i = 0; is_done && i < edit_count; i++)
        is_done = edit_one(catalog->db, &edits[i], out_error);
    is_done = is_done && catalog->db->operations->notify(catalog->db, out_error) && db_commit(catalog->db, out_error);
    db_rollback(catalog->db);
    return is_done;
}
