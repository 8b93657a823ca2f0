// What pipelines save: positions, tables, channels, status. A save is one transaction.
#include "catalog/catalog_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "embedded_sql.h"

#define INSERT_ROWS_MAX 50
#define INSERT_PARAMETERS_MAX (INSERT_ROWS_MAX * 13)
#define INSERT_SCRATCH_SIZE 32768
#define INSERT_ROW_SCRATCH_MAX (SPREAD_TEXT_SIZE + 10 * NUMBER_SIZE)
#define SQL_BYTES_MAX 65536
#define NUMBER_SIZE 24
#define ROWS_MARK "$ROWS"

// --- reading -----------------------------------------------------------------------------------------------------

static void copy_text(const char *text, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s", text != NULL ? text : "");
}

static uint64_t number_of(const char *text)
{
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static lsn_t lsn_of(const char *text)
{
    return text != NULL ? strtoull(text, NULL, 16) : LSN_NONE;
}

static bool on_pipeline(void *context, const char *const *values)
{
    struct catalog_known *known = context;
    struct catalog_pipeline *out = &known->pipeline;
    known->is_found = true;
    copy_text(values[0], out->identity, sizeof out->identity);
    copy_text(values[1], out->slot, sizeof out->slot);
    copy_text(values[2], out->source, sizeof out->source);
    copy_text(values[3], out->destination, sizeof out->destination);
    copy_text(values[4], out->system_identifier, sizeof out->system_identifier);
    out->timeline = (uint32_t)number_of(values[5]);
    out->epoch = (uint8_t)number_of(values[6]);
    out->is_slot_made = number_of(values[7]) != 0;
    out->received_lsn = lsn_of(values[8]);
    out->floor_lsn = lsn_of(values[9]);
    out->merged_lsn = lsn_of(values[10]);
    out->state_epoch = (uint8_t)number_of(values[11]);
    out->state_lsn = lsn_of(values[12]);
    out->merge_intent_lsn = lsn_of(values[13]);
    copy_text(values[14], out->writer, sizeof out->writer);
    return true;
}

struct loading {
    struct catalog_known *known;
    uint32_t capacity;
    bool
        is_bad;  // the newest table's spread is none of ours: every row that is read again could take the wrong channel
};

static bool on_table(void *context, const char *const *values)
{
    struct loading *loading = context;
    struct catalog_known *known = loading->known;
    if (known->table_count == loading->capacity) {
        loading->capacity = loading->capacity == 0 ? 16 : 2 * loading->capacity;
        known->tables = reallocarray(known->tables, loading->capacity, sizeof *known->tables);
        CHECK(known->tables != NULL);
    }
    struct catalog_table *out = &known->tables[known->table_count++];
    memset(out, 0, sizeof *out);
    copy_text(values[0], out->schema_name, sizeof out->schema_name);
    copy_text(values[1], out->table_name, sizeof out->table_name);
    out->oid = (uint32_t)number_of(values[2]);
    out->state = (enum catalog_table_state)number_of(values[3]);
    out->copy_lsn = lsn_of(values[4]);
    out->copied_rows = number_of(values[5]);
    out->is_in_merge = number_of(values[6]) != 0;
    copy_text(values[7], out->reason, sizeof out->reason);
    out->marks = strdup(values[9] != NULL ? values[9] : "");
    out->columns = strdup(values[10] != NULL ? values[10] : "");
    CHECK(out->marks != NULL && out->columns != NULL);
    copy_text(values[11], out->reason_code, sizeof out->reason_code);
    loading->is_bad = values[8] == NULL || !spread_parse(values[8], &out->spread);
    return !loading->is_bad;
}

static bool on_channel(void *context, const char *const *values)
{
    struct loading *loading = context;
    struct catalog_known *known = loading->known;
    if (known->channel_count == loading->capacity) {
        loading->capacity = loading->capacity == 0 ? 16 : 2 * loading->capacity;
        known->channels = reallocarray(known->channels, loading->capacity, sizeof *known->channels);
        CHECK(known->channels != NULL);
    }
    struct catalog_channel *out = &known->channels[known->channel_count++];
    memset(out, 0, sizeof *out);
    copy_text(values[0], out->name, sizeof out->name);
    out->table_oid = (uint32_t)number_of(values[1]);
    copy_text(values[2], out->token, sizeof out->token);
    out->created_on_ms = (int64_t)number_of(values[3]);
    out->error_count = number_of(values[4]);
    return true;
}

static bool select_of(struct db *db, const char *sql, const char *pipeline, db_on_row on_row, void *context,
                      struct err *out_error)
{
    const char *parameters[] = {pipeline};
    struct db_query query = {
        .sql = sql, .parameter_count = 1, .parameters = parameters, .on_row = on_row, .context = context};
    return db_query(db, &query, out_error);
}

bool state_load(struct db *db, const char *pipeline, struct catalog_known *out_known, struct err *out_error)
{
    struct loading tables = {.known = out_known}, channels = {.known = out_known};
    memset(out_known, 0, sizeof *out_known);
    if (!select_of(db, sql_catalog_load_pipeline, pipeline, on_pipeline, out_known, out_error) ||
        !select_of(db, sql_catalog_load_tables, pipeline, on_table, &tables, out_error))
        return false;
    if (out_known->is_found)
        copy_text(pipeline, out_known->pipeline.name, sizeof out_known->pipeline.name);
    if (tables.is_bad) {
        const struct catalog_table *table = &out_known->tables[out_known->table_count - 1];
        return err_set(out_error, ERR_INTERNAL, "catalog",
                       "%s: the channels of %s.%s cannot be read; put a copy from before back, or delete what it holds "
                       "to copy everything anew",
                       db->location->text, table->schema_name, table->table_name);
    }
    return select_of(db, sql_catalog_load_channels, pipeline, on_channel, &channels, out_error);
}

bool state_forget(struct db *db, const char *pipeline, struct err *out_error)
{
    static const char *const statements[] = {
        "DELETE FROM etl_channels WHERE pipeline = $1", "DELETE FROM etl_tables WHERE pipeline = $1",
        "DELETE FROM etl_pipelines WHERE name = $1",    "DELETE FROM etl_status WHERE pipeline = $1",
        "DELETE FROM etl_commands WHERE pipeline = $1", "DELETE FROM etl_watch WHERE scope = $1",
    };
    const char *parameters[] = {pipeline};
    bool is_done = db_begin(db, out_error);
    for (size_t i = 0; is_done && i < sizeof statements / sizeof statements[0]; i++)
        is_done = db_run(db, statements[i], 1, parameters, NULL, out_error);
    is_done = is_done && db_commit(db, out_error);
    db_rollback(db);
    return is_done;
}

// --- pipelines whose rows were deleted ---------------------------------------------------------------------------------

// Status documents are compact JSON, in whose texts a quote has a backslash before it: this is a member of theirs and nothing else.
// What run --from --to runs is in no table of pipelines, and has false there.
#define RUN_BY_A_SERVICE "\"takes_commands\":true"

static bool on_left(void *context, const char *const *values)
{
    if (strstr(values[1], RUN_BY_A_SERVICE) != NULL)
        catalog_request_add_row(context, "status", values[0], NULL, NULL, 0);
    return true;
}

bool state_take_left(struct db *db, struct catalog_request *request)
{
    struct db_query query = {.sql = sql_catalog_statuses_left, .on_row = on_left, .context = request};
    request->pipeline[0] = '\0';
    request->was_so = false;
    bool is_good = db_query(db, &query, &request->error);
    for (uint32_t i = 0; is_good && i < request->row_count && request->pipeline[0] == '\0'; i++) {
        const char *name = request->rows[i].name;
        bool is_run = false;
        uint64_t forgotten = 0;
        is_good = !db->location->is_postgres || claims_is_claimed(db, name, &is_run, &request->error);
        if (!is_good || is_run)
            continue;  // whoever runs it asks when it has ended
        catalog_known_deinit(&request->known);
        is_good = state_load(db, name, &request->known, &request->error) &&
                  db_run(db, sql_catalog_forget_status, 1, &name, &forgotten, &request->error);
        if (!is_good || forgotten == 0)
            continue;  // configured again meanwhile, or another process tells of it
        (void)snprintf(request->pipeline, sizeof request->pipeline, "%s", name);
        request->was_so = i + 1 < request->row_count;
    }
    return is_good;
}

// --- writing: many rows a statement, as each statement is a round trip -----------------------------------------------

struct insert {
    struct db *db;
    const char *sql;  // with ROWS_MARK where the rows stand
    uint32_t column_count, parameter_count;
    const char *parameters[INSERT_PARAMETERS_MAX];
    char scratch[INSERT_SCRATCH_SIZE];
    size_t scratch_size;
};

static void put_text(struct insert *insert, const char *text)  // borrowed until insert_flush
{
    CHECK(insert->parameter_count < INSERT_PARAMETERS_MAX);
    insert->parameters[insert->parameter_count++] = text;
}

static char *put_scratch(struct insert *insert, size_t size)
{
    char *out = insert->scratch + insert->scratch_size;
    CHECK(size <= INSERT_SCRATCH_SIZE - insert->scratch_size);
    insert->scratch_size += size;
    put_text(insert, out);
    return out;
}

static void put_number(struct insert *insert, uint64_t number)
{
    (void)snprintf(put_scratch(insert, NUMBER_SIZE), NUMBER_SIZE, "%" PRIu64, number);
}

static void put_lsn(struct insert *insert, lsn_t lsn)
{
    (void)snprintf(put_scratch(insert, NUMBER_SIZE), NUMBER_SIZE, "%016" PRIX64, lsn);
}

static bool insert_flush(struct insert *insert, struct err *out_error)
{
    struct buf sql;
    if (insert->parameter_count == 0)
        return true;
    const char *mark = strstr(insert->sql, ROWS_MARK);
    CHECK(mark != NULL && insert->parameter_count % insert->column_count == 0);
    buf_init(&sql, SQL_BYTES_MAX);
    buf_append(&sql, insert->sql, (size_t)(mark - insert->sql));
    for (uint32_t i = 0; i < insert->parameter_count; i++)
        buf_appendf(&sql, "%s$%u%s", i % insert->column_count > 0 ? ", " : (i > 0 ? ", (" : "("), i + 1,
                    (i + 1) % insert->column_count == 0 ? ")" : "");
    buf_append_text(&sql, mark + strlen(ROWS_MARK));
    CHECK(!sql.failed);
    bool is_done = db_run(insert->db, buf_text(&sql), insert->parameter_count, insert->parameters, NULL, out_error);
    buf_deinit(&sql);
    insert->parameter_count = 0;
    insert->scratch_size = 0;
    return is_done;
}

static bool insert_next(struct insert *insert, struct err *out_error)  // room for another row
{
    bool is_full = INSERT_PARAMETERS_MAX - insert->parameter_count < insert->column_count ||
                   INSERT_SCRATCH_SIZE - insert->scratch_size < INSERT_ROW_SCRATCH_MAX;
    return !is_full || insert_flush(insert, out_error);
}

static bool write_pipeline(struct db *db, const struct catalog_pipeline *pipeline, struct err *out_error)
{
    struct insert row = {.db = db};
    put_text(&row, pipeline->name);
    put_text(&row, pipeline->identity);
    put_text(&row, pipeline->slot);
    put_text(&row, pipeline->source);
    put_text(&row, pipeline->destination);
    put_text(&row, pipeline->system_identifier);
    put_number(&row, pipeline->timeline);
    put_number(&row, pipeline->epoch);
    put_number(&row, pipeline->is_slot_made);
    put_lsn(&row, pipeline->received_lsn);
    put_lsn(&row, pipeline->floor_lsn);
    put_lsn(&row, pipeline->merged_lsn);
    put_number(&row, pipeline->state_epoch);
    put_lsn(&row, pipeline->state_lsn);
    put_lsn(&row, pipeline->merge_intent_lsn);
    put_text(&row, pipeline->writer);
    return db_run(db, sql_catalog_save_pipeline, row.parameter_count, row.parameters, NULL, out_error);
}

static bool write_tables(struct db *db, const struct catalog_save *save, struct err *out_error)
{
    struct insert insert = {.db = db, .sql = sql_catalog_save_table, .column_count = 13};
    for (uint32_t i = 0; i < save->table_count; i++) {
        const struct catalog_table *table = &save->tables[i];
        const char *key[] = {save->pipeline.name, table->schema_name, table->table_name};
        if (table->is_gone) {
            if (!insert_flush(&insert, out_error) || !db_run(db, sql_catalog_delete_table, 3, key, NULL, out_error))
                return false;
            continue;
        }
        if (!insert_next(&insert, out_error))
            return false;
        put_text(&insert, save->pipeline.name);
        put_text(&insert, table->schema_name);
        put_text(&insert, table->table_name);
        put_number(&insert, table->oid);
        put_number(&insert, table->state);
        put_lsn(&insert, table->copy_lsn);
        put_number(&insert, table->copied_rows);
        put_number(&insert, table->is_in_merge);
        put_text(&insert, table->reason);
        spread_format(&table->spread, put_scratch(&insert, SPREAD_TEXT_SIZE));
        put_text(&insert, table->marks != NULL ? table->marks : "");
        put_text(&insert, table->columns != NULL ? table->columns : "");
        put_text(&insert, table->reason_code);
    }
    return insert_flush(&insert, out_error);
}

static bool write_channels(struct db *db, const struct catalog_save *save, struct err *out_error)
{
    struct insert insert = {.db = db, .sql = sql_catalog_save_channel, .column_count = 6};
    for (uint32_t i = 0; i < save->channel_count; i++) {
        const struct catalog_channel *channel = &save->channels[i];
        const char *key[] = {save->pipeline.name, channel->name};
        if (channel->is_gone) {
            if (!insert_flush(&insert, out_error) || !db_run(db, sql_catalog_delete_channel, 2, key, NULL, out_error))
                return false;
            continue;
        }
        if (!insert_next(&insert, out_error))
            return false;
        put_text(&insert, save->pipeline.name);
        put_text(&insert, channel->name);
        put_number(&insert, channel->table_oid);
        put_text(&insert, channel->token);
        put_number(&insert, (uint64_t)channel->created_on_ms);
        put_number(&insert, channel->error_count);
    }
    return insert_flush(&insert, out_error);
}

static bool write_status(struct db *db, const struct catalog_save *save, struct err *out_error)
{
    char now[NUMBER_SIZE];
    (void)snprintf(now, sizeof now, "%" PRId64, clock_system.wall_us(clock_system.context) / 1000);
    const char *parameters[] = {save->pipeline.name, save->status_json, now};
    return db_run(db, sql_catalog_save_status, 3, parameters, NULL, out_error);
}

// What is said of a pipeline without having claimed it (that it is paused) must not stand over what its process says.
static bool is_spoken_for(struct db *db, const struct catalog_save *save, bool *out_is_so, struct err *out_error)
{
    *out_is_so = false;
    return save->claim != 0 || save->has_pipeline || !db->location->is_postgres ||
           claims_is_claimed(db, save->pipeline.name, out_is_so, out_error);
}

// The update locks the row: who claims the pipeline meanwhile waits until this save is over, and loads what it wrote.
bool state_check_claim(struct db *db, const char *pipeline, uint64_t claim, struct err *out_error)
{
    char number[NUMBER_SIZE], now[NUMBER_SIZE];
    uint64_t count = 0;
    (void)snprintf(number, sizeof number, "%" PRIu64, claim);
    (void)snprintf(now, sizeof now, "%" PRId64, clock_system.wall_us(clock_system.context) / 1000);
    const char *parameters[] = {pipeline, number, now};
    if (claim == 0)
        return true;
    if (!db_run(db, sql_catalog_claim_check, 3, parameters, &count, out_error))
        return false;
    return count > 0 || err_set(out_error, ERR_FENCED, "claim",
                                "pipeline \"%s\" was claimed by another process, which runs it now", pipeline);
}

// Within a transaction.
static bool write_save(struct db *db, const struct catalog_save *save, struct err *out_error)
{
    return state_check_claim(db, save->pipeline.name, save->claim, out_error) &&
           (!save->has_pipeline || write_pipeline(db, &save->pipeline, out_error)) &&
           write_tables(db, save, out_error) && write_channels(db, save, out_error) &&
           (save->status_json == NULL || write_status(db, save, out_error));
}

static bool save_alone(struct db *db, const struct catalog_save *save, struct err *out_error)
{
    bool is_spoken = false;
    if (!is_spoken_for(db, save, &is_spoken, out_error))
        return false;
    if (is_spoken)
        return true;
    bool is_written = db_begin(db, out_error) && write_save(db, save, out_error) && db_commit(db, out_error);
    db_rollback(db);
    return is_written;
}

static bool save_together(struct db *db, struct catalog_save *const *saves, uint32_t count, struct err *out_error)
{
    bool is_written = db_begin(db, out_error);
    for (uint32_t i = 0; is_written && i < count; i++) {
        bool is_spoken = false;
        is_written =
            is_spoken_for(db, saves[i], &is_spoken, out_error) && (is_spoken || write_save(db, saves[i], out_error));
    }
    is_written = is_written && db_commit(db, out_error);
    db_rollback(db);
    return is_written;
}

void state_save(struct db *db, struct catalog_save *const *saves, uint32_t count)
{
    struct err away = {0};
    bool is_away = false;
    if (count > 1) {
        if (save_together(db, saves, count, &away))
            return;
        is_away = !db->operations->is_open(db);
    }
    // One that fails is nobody else's trouble. What may have been written already is written again, which changes nothing.
    for (uint32_t i = 0; i < count; i++) {
        if (is_away) {
            saves[i]->error = away;
            continue;
        }
        save_alone(db, saves[i], &saves[i]->error);
        is_away = !db->operations->is_open(db);
        away = saves[i]->error;
    }
}
