#include "pg/pg_check.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "embedded_sql.h"

enum field_kind { FIELD_BOOL, FIELD_NUMBER, FIELD_TEXT };

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
};

#define SOURCE_FIELD(name, kind)                            \
    {                                                       \
#name, kind, offsetof(struct pg_check_source, name) \
    }
#define TABLE_FIELD(name, kind)                            \
    {                                                      \
#name, kind, offsetof(struct pg_check_table, name) \
    }

static const struct field source_fields[] = {
    SOURCE_FIELD(backend_pid, FIELD_NUMBER),
    SOURCE_FIELD(are_timeouts_off, FIELD_BOOL),
    SOURCE_FIELD(is_superuser, FIELD_BOOL),
    SOURCE_FIELD(is_encrypted, FIELD_BOOL),
    SOURCE_FIELD(is_local, FIELD_BOOL),
    SOURCE_FIELD(may_see_others, FIELD_BOOL),
    SOURCE_FIELD(connection_limit, FIELD_NUMBER),
    SOURCE_FIELD(password_days, FIELD_NUMBER),
    SOURCE_FIELD(role_connections, FIELD_NUMBER),
    SOURCE_FIELD(connections_max, FIELD_NUMBER),
    SOURCE_FIELD(connections_used, FIELD_NUMBER),
    SOURCE_FIELD(transaction_pid, FIELD_NUMBER),
    SOURCE_FIELD(transaction_seconds, FIELD_NUMBER),
    SOURCE_FIELD(transaction_user, FIELD_TEXT),
    SOURCE_FIELD(transaction_application, FIELD_TEXT),
    SOURCE_FIELD(prepared_name, FIELD_TEXT),
    SOURCE_FIELD(prepared_database, FIELD_TEXT),
    SOURCE_FIELD(prepared_owner, FIELD_TEXT),
    SOURCE_FIELD(prepared_seconds, FIELD_NUMBER),
    SOURCE_FIELD(physical_slots, FIELD_TEXT),
    SOURCE_FIELD(senders_without_slot, FIELD_NUMBER),
    SOURCE_FIELD(synchronized_standby_slots, FIELD_TEXT),
    SOURCE_FIELD(idle_slot_timeout, FIELD_TEXT),
    SOURCE_FIELD(idle_slot_timeout_number, FIELD_NUMBER),
    SOURCE_FIELD(max_wal_size_mb, FIELD_NUMBER),
    SOURCE_FIELD(decoding_memory_kb, FIELD_NUMBER),
    SOURCE_FIELD(slot_kept_bytes, FIELD_NUMBER),
    SOURCE_FIELD(slot_safe_bytes, FIELD_NUMBER),
    SOURCE_FIELD(slot_spilled_bytes, FIELD_NUMBER),
    SOURCE_FIELD(slot_wal_status, FIELD_TEXT),
    SOURCE_FIELD(slot_is_failover, FIELD_BOOL),
    SOURCE_FIELD(publications, FIELD_TEXT),
    SOURCE_FIELD(catalogs, FIELD_TEXT),
    SOURCE_FIELD(tables_to_publish, FIELD_TEXT),
};

static const struct field table_fields[] = {
    TABLE_FIELD(schema_name, FIELD_TEXT),         TABLE_FIELD(table_name, FIELD_TEXT),
    TABLE_FIELD(is_partitioned, FIELD_BOOL),      TABLE_FIELD(has_updates, FIELD_BOOL),
    TABLE_FIELD(may_use_schema, FIELD_BOOL),      TABLE_FIELD(may_select, FIELD_BOOL),
    TABLE_FIELD(may_select_a_column, FIELD_BOOL), TABLE_FIELD(has_primary_key, FIELD_BOOL),
    TABLE_FIELD(has_immediate_key, FIELD_BOOL),   TABLE_FIELD(partition_root, FIELD_TEXT),
    TABLE_FIELD(row_filter, FIELD_TEXT),          TABLE_FIELD(unreadable_parts, FIELD_TEXT),
    TABLE_FIELD(columns_left_out, FIELD_TEXT),    TABLE_FIELD(generated_left_out, FIELD_TEXT),
    TABLE_FIELD(main_bytes, FIELD_NUMBER),        TABLE_FIELD(toast_bytes, FIELD_NUMBER),
    TABLE_FIELD(updates, FIELD_NUMBER),           TABLE_FIELD(deletes, FIELD_NUMBER),
};

static bool read_fields(const PGresult *result, int row, const struct field *fields, size_t count, void *out,
                        const char *query, struct err *out_error)
{
    for (size_t i = 0; i < count; i++) {
        char *place = (char *)out + fields[i].offset;
        int column = PQfnumber(result, fields[i].name);
        if (column < 0)
            return err_set(out_error, ERR_INTERNAL, "catalog", "the source's answer to %s has no %s", query,
                           fields[i].name);
        const char *text = PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
        switch (fields[i].kind) {
        case FIELD_BOOL: *(bool *)place = text != NULL && text[0] == 't'; break;
        case FIELD_NUMBER: *(int64_t *)(void *)place = text != NULL ? strtoll(text, NULL, 10) : PG_CHECK_UNKNOWN; break;
        case FIELD_TEXT: *(const char **)(void *)place = text; break;
        }
    }
    return true;
}

const char *pg_check_source_sql(void)
{
    return sql_pg_check_source;
}

bool pg_check_read_source(const PGresult *result, struct pg_check_source *out_source, struct err *out_error)
{
    memset(out_source, 0, sizeof *out_source);
    if (PQntuples(result) != 1)
        return err_set(out_error, ERR_INTERNAL, "catalog", "the source answered with %d rows about itself",
                       PQntuples(result));
    return read_fields(result, 0, source_fields, sizeof source_fields / sizeof source_fields[0], out_source,
                       "check_source.sql", out_error);
}

const char *pg_check_tables_sql(void)
{
    return sql_pg_check_tables;
}

bool pg_check_read_table(const PGresult *result, int row, struct pg_check_table *out_table, struct err *out_error)
{
    memset(out_table, 0, sizeof *out_table);
    int identity = PQfnumber(result, "replica_identity");
    if (!read_fields(result, row, table_fields, sizeof table_fields / sizeof table_fields[0], out_table,
                     "check_tables.sql", out_error) ||
        identity < 0)
        return false;
    out_table->replica_identity = PQgetvalue(result, row, identity)[0];
    return out_table->schema_name != NULL && out_table->table_name != NULL;
}
