#include "pg/pg_catalog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "embedded_sql.h"

#define NAMED_TABLES_MAX 5  // in an error; more are counted

const char *pg_catalog_evict_sql(void)
{
    return sql_pg_source_evict;
}

const char *pg_catalog_facts_sql(void)
{
    return sql_pg_source_facts;
}

const char *pg_catalog_slots_sql(void)
{
    return sql_pg_logical_slots;
}

const char *pg_catalog_tables_sql(void)
{
    return sql_pg_publication_tables;
}

// ---- reading fields by name, with a sticky failure

struct reader {
    const PGresult *result;
    int row;
    const char *bad_field;  // the first that is missing, or not of its type; NULL: none
};

// NULL for a NULL, and after a failure.
static const char *read_field(struct reader *reader, const char *name)
{
    int column = PQfnumber(reader->result, name);
    if (column < 0 && reader->bad_field == NULL)
        reader->bad_field = name;
    if (column < 0 || PQgetisnull(reader->result, reader->row, column))
        return NULL;
    return PQgetvalue(reader->result, reader->row, column);
}

static bool read_bool(struct reader *reader, const char *name)
{
    const char *text = read_field(reader, name);
    return text != NULL && text[0] == 't';
}

static int64_t read_number(struct reader *reader, const char *name, int64_t minimum, int64_t maximum)
{
    const char *text = read_field(reader, name);
    if (text == NULL)
        return 0;
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || number < minimum || number > maximum) {
        if (reader->bad_field == NULL)
            reader->bad_field = name;
        return 0;
    }
    return number;
}

static int read_int(struct reader *reader, const char *name)
{
    return (int)read_number(reader, name, INT32_MIN, INT32_MAX);
}

static uint32_t read_oid(struct reader *reader, const char *name)
{
    return (uint32_t)read_number(reader, name, 0, UINT32_MAX);
}

static void read_text(struct reader *reader, const char *name, char *out, size_t out_size)
{
    const char *text = read_field(reader, name);
    (void)snprintf(out, out_size, "%s", text != NULL ? text : "");
}

static lsn_t read_lsn(struct reader *reader, const char *name)
{
    const char *text = read_field(reader, name);
    lsn_t lsn = LSN_NONE;
    if (text != NULL && !lsn_parse(text, &lsn) && reader->bad_field == NULL)
        reader->bad_field = name;
    return lsn;
}

static bool reader_failed(const struct reader *reader, const char *query, struct err *out_error)
{
    if (reader->bad_field == NULL)
        return false;
    err_set(out_error, ERR_INTERNAL, "catalog", "the source's answer to %s has no usable %s", query, reader->bad_field);
    return true;
}

// ---- facts

bool pg_catalog_read_facts(const PGresult *result, struct pg_source_facts *out_facts, struct err *out_error)
{
    *out_facts = (struct pg_source_facts){0};
    if (PQntuples(result) != 1)
        return err_set(out_error, ERR_INTERNAL, "catalog", "the source answered with %d rows about itself",
                       PQntuples(result));
    struct reader reader = {.result = result};
    struct pg_source_facts *facts = out_facts;
    read_text(&reader, "database", facts->database, sizeof facts->database);
    read_text(&reader, "user", facts->user, sizeof facts->user);
    read_text(&reader, "encoding", facts->encoding, sizeof facts->encoding);
    read_text(&reader, "wal_level", facts->wal_level, sizeof facts->wal_level);
    read_text(&reader, "system_identifier", facts->system_identifier, sizeof facts->system_identifier);
    facts->timeline = read_oid(&reader, "timeline");
    facts->server_version = read_int(&reader, "server_version");
    facts->max_replication_slots = read_int(&reader, "max_replication_slots");
    facts->replication_slots_used = read_int(&reader, "replication_slots_used");
    facts->max_wal_senders = read_int(&reader, "max_wal_senders");
    facts->wal_senders_used = read_int(&reader, "wal_senders_used");
    facts->wal_sender_timeout_ms = read_int(&reader, "wal_sender_timeout_ms");
    facts->max_slot_wal_keep_size_mb = read_number(&reader, "max_slot_wal_keep_size_mb", -1, INT64_MAX);
    facts->may_replicate = read_bool(&reader, "may_replicate");
    facts->in_recovery = read_bool(&reader, "in_recovery");
    facts->publication_exists = read_bool(&reader, "publication_exists");
    facts->publication_inserts = read_bool(&reader, "publication_inserts");
    facts->publication_updates = read_bool(&reader, "publication_updates");
    facts->publication_deletes = read_bool(&reader, "publication_deletes");
    facts->publication_truncates = read_bool(&reader, "publication_truncates");
    facts->publication_via_root = read_bool(&reader, "publication_via_root");
    facts->slot_exists = read_bool(&reader, "slot_exists");
    facts->slot_is_active = read_bool(&reader, "slot_is_active");
    facts->slot_is_logical_here = read_bool(&reader, "slot_is_logical_here");
    read_text(&reader, "slot_plugin", facts->slot_plugin, sizeof facts->slot_plugin);
    read_text(&reader, "slot_wal_status", facts->slot_wal_status, sizeof facts->slot_wal_status);
    facts->slot_confirmed_lsn = read_lsn(&reader, "slot_confirmed_lsn");
    facts->current_lsn = read_lsn(&reader, "current_lsn");
    read_text(&reader, "service", facts->service, sizeof facts->service);
    facts->prepared_transactions = read_int(&reader, "prepared_transactions");
    return !reader_failed(&reader, "source_facts.sql", out_error);
}

// ---- tables

// Sticky: *out_failed is set when there is no memory.
static char *copy_text(const char *text, bool *out_failed)
{
    char *copy = strdup(text != NULL ? text : "");
    if (copy == NULL)
        *out_failed = true;
    return copy;
}

// NULL where the field is.
static char *copy_text_if_any(struct reader *reader, const char *name, bool *out_failed)
{
    const char *text = read_field(reader, name);
    return text != NULL ? copy_text(text, out_failed) : NULL;
}

// False with bad_field set if what the types are made of cannot be read, or without memory.
static bool read_column(struct reader *reader, struct column *column)
{
    bool failed = false;
    struct err error;
    column->name = copy_text(read_field(reader, "column_name"), &failed);
    column->type_name = copy_text(read_field(reader, "type_name"), &failed);
    column->type_oid = read_oid(reader, "type_oid");
    column->type_modifier = read_int(reader, "type_modifier");
    const char *nodes = read_field(reader, "type_nodes");
    if (nodes != NULL &&
        !source_types_read(nodes, column->type_oid, column->type_modifier, &column->types, &column->type, &error))
        nodes = NULL;
    if (nodes == NULL && reader->bad_field == NULL)
        reader->bad_field = "type_nodes";
    column->is_toastable = read_bool(reader, "is_toastable");
    column->is_not_null = read_bool(reader, "is_not_null");
    column->has_missing = read_bool(reader, "has_missing");
    column->missing_text = copy_text_if_any(reader, "missing_text", &failed);
    column->attribute_number = (int16_t)read_number(reader, "attribute_number", 1, INT16_MAX);
    column->key_position = (int16_t)read_number(reader, "key_position", -1, INT16_MAX);
    return !failed;
}

// The key holds only when all of its columns are published; with REPLICA IDENTITY FULL the table does without.
static bool read_key(struct table *table, char replica_identity, int64_t key_count)
{
    table->identity = replica_identity == 'f' ? IDENTITY_FULL : IDENTITY_NOTHING;
    int64_t found = 0;
    for (uint16_t i = 0; i < table->column_count; i++)
        found += table->columns[i].key_position >= 0;
    if (key_count == 0 || found != key_count) {
        for (uint16_t i = 0; i < table->column_count; i++)
            table->columns[i].key_position = -1;
        return true;
    }
    table->key_columns = calloc((size_t)key_count, sizeof *table->key_columns);
    if (table->key_columns == NULL)
        return false;
    table->key_count = (uint16_t)key_count;
    for (uint16_t i = 0; i < table->column_count; i++) {
        int16_t position = table->columns[i].key_position;
        if (position >= 0 && position < key_count)
            table->key_columns[position] = i;
    }
    if (table->identity == IDENTITY_NOTHING)
        table->identity = IDENTITY_KEY;
    return true;
}

// The table of rows reader->row .. row_end.
static struct table *read_table(struct reader *reader, int row_end)
{
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    bool failed = false;
    table->schema_name = copy_text(read_field(reader, "schema_name"), &failed);
    table->table_name = copy_text(read_field(reader, "table_name"), &failed);
    table->oid = read_oid(reader, "table_oid");
    table->relfilenode = read_oid(reader, "relfilenode");
    table->attribute_count = (uint16_t)read_number(reader, "attribute_count", 0, UINT16_MAX);
    table->is_unreadable = !read_bool(reader, "may_use_schema") || !read_bool(reader, "may_select");
    table->has_hidden_rows = read_bool(reader, "has_row_security");
    table->bytes_estimate = read_number(reader, "bytes_estimate", 0, INT64_MAX);
    const char *rows = read_field(reader, "rows_estimate");
    table->rows_estimate = rows != NULL ? strtod(rows, NULL) : -1;
    const char *identity = read_field(reader, "replica_identity");
    int64_t key_count = read_number(reader, "key_count", 0, INT16_MAX);
    table->is_partitioned = read_bool(reader, "is_partitioned");
    table->odd_partition = copy_text_if_any(reader, "odd_partition", &failed);
    table->unsent_partitions = copy_text_if_any(reader, "unsent_partitions", &failed);

    if (read_field(reader, "attribute_number") != NULL) {
        table->columns = calloc((size_t)(row_end - reader->row), sizeof *table->columns);
        failed = failed || table->columns == NULL;
        for (; !failed && reader->row < row_end; reader->row++)
            failed = !read_column(reader, &table->columns[table->column_count++]);
    }
    reader->row = row_end;
    if (failed || !read_key(table, identity != NULL ? identity[0] : 'n', key_count)) {
        table_free(table);
        return NULL;
    }
    return table;
}

// Tables that have the same trouble, for one line: "a.b, c.d and 3 more".
struct named_tables {
    struct buf names;
    int count;
};

static void name_table(struct named_tables *named, const char *schema_name, const char *table_name)
{
    if (named->count++ < NAMED_TABLES_MAX) {
        if (named->count > 1)
            buf_append_text(&named->names, ", ");
        pg_append_identifier(&named->names, schema_name);
        buf_append_text(&named->names, ".");
        pg_append_identifier(&named->names, table_name);
    }
}

static const char *list_tables(struct named_tables *named)
{
    if (named->count > NAMED_TABLES_MAX)
        buf_appendf(&named->names, " and %d more", named->count - NAMED_TABLES_MAX);
    return buf_text(&named->names);
}

// Refuses tables that this user cannot read in full.
static bool check_privileges(struct reader *reader, int row_count, struct table_choice *choice, struct err *out_error)
{
    struct named_tables refused = {.count = 0};
    struct named_tables hidden = {.count = 0};
    buf_init(&refused.names, 4096);
    buf_init(&hidden.names, 4096);
    const char *last_refused = NULL;
    const char *last_hidden = NULL;
    for (reader->row = 0; reader->row < row_count; reader->row++) {
        const char *oid = read_field(reader, "table_oid");
        const char *schema_name = read_field(reader, "schema_name");
        const char *table_name = read_field(reader, "table_name");
        if (oid == NULL || schema_name == NULL || table_name == NULL)
            break;
        if (choice != NULL && !table_choice_includes(choice, schema_name, table_name))
            continue;
        bool may_read = read_bool(reader, "may_use_schema") && read_bool(reader, "may_select");
        if (!may_read && (last_refused == NULL || strcmp(last_refused, oid) != 0)) {
            name_table(&refused, schema_name, table_name);
            last_refused = oid;
        }
        if (read_bool(reader, "has_row_security") && (last_hidden == NULL || strcmp(last_hidden, oid) != 0)) {
            name_table(&hidden, schema_name, table_name);
            last_hidden = oid;
        }
    }
    bool is_good = true;
    if (refused.count > 0)
        is_good = err_set(out_error, ERR_CONFIG, "42501",
                          "the source's user may not read %s; grant it: GRANT SELECT ON the table, and USAGE on its "
                          "schema, TO the user",
                          list_tables(&refused));
    else if (hidden.count > 0)
        is_good = err_set(out_error, ERR_CONFIG, "row_security",
                          "row level security would hide rows of %s from the copy; give the source's user BYPASSRLS, "
                          "or make it the tables' owner without FORCE ROW LEVEL SECURITY",
                          list_tables(&hidden));
    buf_deinit(&refused.names);
    buf_deinit(&hidden.names);
    return is_good;
}

static void free_tables(struct table **tables, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        table_free(tables[i]);
    free(tables);
}

bool pg_catalog_read_tables(const PGresult *result, struct table_choice *choice, struct table ***out_tables,
                            uint32_t *out_count, struct err *out_error)
{
    struct reader reader = {.result = result};
    *out_tables = NULL;
    *out_count = 0;
    return check_privileges(&reader, PQntuples(result), choice, out_error) &&
           pg_catalog_read_tables_as_they_are(result, out_tables, out_count, out_error);
}

bool pg_catalog_read_tables_as_they_are(const PGresult *result, struct table ***out_tables, uint32_t *out_count,
                                        struct err *out_error)
{
    *out_tables = NULL;
    *out_count = 0;
    int row_count = PQntuples(result);
    struct reader reader = {.result = result};
    struct table **tables = calloc((size_t)row_count + 1, sizeof(struct table *));
    uint32_t count = 0;
    bool has_memory = tables != NULL;
    for (reader.row = 0; has_memory && reader.bad_field == NULL && reader.row < row_count;) {
        uint32_t oid = read_oid(&reader, "table_oid");
        int first = reader.row;
        int end = first + 1;
        for (reader.row = end; end < row_count && read_oid(&reader, "table_oid") == oid; reader.row = end)
            end++;
        reader.row = first;
        tables[count] = read_table(&reader, end);
        has_memory = tables[count] != NULL;
        count += has_memory;
    }
    if (!has_memory)
        err_set(out_error, ERR_INTERNAL, "", "out of memory for %d columns of the source", row_count);
    if (!has_memory || reader_failed(&reader, "publication_tables.sql", out_error)) {
        free_tables(tables, count);
        return false;
    }
    *out_tables = tables;
    *out_count = count;
    return true;
}

// ---- a look at the publication

const char *pg_catalog_look_sql(void)
{
    return sql_pg_publication_look;
}

char *pg_catalog_left_sql(const char *sql)
{
    static const char published[] = "pg_get_publication_tables(p.pubname)";
    static const char left[] = "(select (o ->> 'oid')::oid as relid, o -> 'attrs' as attrs "
                               "from jsonb_array_elements($2::jsonb) as o)";
    const char *place = strstr(sql, published);
    CHECK(place != NULL && strstr(place + 1, published) == NULL);
    size_t size = strlen(sql) + sizeof left;
    char *text = malloc(size);
    CHECK(text != NULL);
    (void)snprintf(text, size, "%.*s%s%s", (int)(place - sql), sql, left, place + strlen(published));
    return text;
}

bool pg_catalog_read_look(const PGresult *result, struct pg_publication_look *out_look, struct err *out_error)
{
    struct reader reader = {.result = result};
    int row_count = PQntuples(result);
    memset(out_look, 0, sizeof *out_look);
    out_look->tables = calloc((size_t)row_count + 1, sizeof *out_look->tables);
    if (out_look->tables == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for %d tables of a publication", row_count);
    out_look->lsn = read_lsn(&reader, "current_lsn");
    out_look->publication_exists = read_bool(&reader, "publication_exists");
    read_text(&reader, "publication_leaves_out", out_look->leaves_out, sizeof out_look->leaves_out);
    const char *in_progress = read_field(&reader, "in_progress");
    out_look->in_progress = strdup(in_progress != NULL ? in_progress : "");
    if (out_look->in_progress == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory for a snapshot");
    for (reader.row = 0; reader.row < row_count; reader.row++) {
        if (read_field(&reader, "table_oid") == NULL)
            continue;
        struct pg_published_table *table = &out_look->tables[out_look->table_count++];
        table->oid = read_oid(&reader, "table_oid");
        const char *marks = read_field(&reader, "marks");
        table->marks = strdup(marks != NULL ? marks : "");
        if (table->marks == NULL)
            return err_set(out_error, ERR_INTERNAL, "", "out of memory for %d tables of a publication", row_count);
    }
    if (!reader_failed(&reader, "publication_look.sql", out_error))
        return true;
    pg_publication_look_deinit(out_look);
    return false;
}

const struct pg_published_table *pg_publication_look_find(const struct pg_publication_look *look, uint32_t oid)
{
    for (uint32_t low = 0, high = look->table_count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (look->tables[middle].oid == oid)
            return &look->tables[middle];
        if (look->tables[middle].oid < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

// "xmin:xmax:xid,xid…": those in progress are named below xmax and all from there on, with their epochs in the upper half.
bool pg_publication_look_shows(const struct pg_publication_look *look, uint32_t xid)
{
    char *end = NULL;
    const char *text = look->in_progress != NULL ? strchr(look->in_progress, ':') : NULL;
    if (text == NULL)
        return true;
    uint64_t xmax = strtoull(text + 1, &end, 10);
    if ((int32_t)(xid - (uint32_t)xmax) >= 0)
        return false;
    while (*end == ':' || *end == ',') {
        text = end + 1;
        if ((uint32_t)strtoull(text, &end, 10) == xid && end != text)
            return false;
    }
    return true;
}

void pg_publication_look_deinit(struct pg_publication_look *look)
{
    free(look->in_progress);
    for (uint32_t i = 0; i < look->table_count; i++)
        free(look->tables[i].marks);
    free(look->tables);
    *look = (struct pg_publication_look){.lsn = LSN_NONE};
}

// ---- quoting

static void append_quoted(struct buf *out, const char *text, char quote)
{
    buf_append_byte(out, (uint8_t)quote);
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buf_append_byte(out, (uint8_t)quote);
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, (uint8_t)quote);
}

void pg_append_identifier(struct buf *out, const char *name)
{
    append_quoted(out, name, '"');
}

void pg_append_literal(struct buf *out, const char *text)
{
    append_quoted(out, text, '\'');
}

void pg_append_statement(struct buf *out, const char *sql, int parameter_count, const char *const *parameters)
{
    for (; *sql != '\0'; sql++) {
        // A line break in a literal would end the comment that it was written into.
        if (sql[0] == '-' && sql[1] == '-')
            sql += strcspn(sql, "\n");
        if (*sql == '\0')
            break;
        int index = sql[0] == '$' && sql[1] >= '1' && sql[1] <= '9' ? sql[1] - '1' : -1;
        if (index < 0) {
            buf_append_byte(out, (uint8_t)*sql);
            continue;
        }
        CHECK(index < parameter_count);
        if (parameters[index] == NULL)
            buf_append_text(out, "NULL");
        else
            pg_append_literal(out, parameters[index]);
        sql++;
    }
}
