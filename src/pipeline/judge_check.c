// What etl-stream check says of a source beyond what a start would refuse.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "pipeline/judge_private.h"

enum {
    OLD_TRANSACTION_S = 600,
    PASSWORD_DAYS_MIN = 30,
    SENDER_TIMEOUT_MS_MIN = 10000,
    KEEP_SIZE_MB_MIN = 1024,
    CONNECTIONS_BESIDE_WORKERS = 3,  // stream, snapshot, looks at the catalog
    LIST_BYTES_MAX = 16384,
    NUMERIC_DIGITS_MAX = 38,
    NUMERIC_SCALE_MAX = 37
};
static const int64_t MIB = 1 << 20;
static const int64_t SLOT_KEPT_BYTES_MANY = 10LL << 30;
static const int64_t TOAST_BYTES_MANY = 8 << 20;

// --- the connection --------------------------------------------------------------------------------------------------

void judge_connection(const struct err *error, const char *user, const char *database, const char *source_text,
                      finding_on on_finding, void *context)
{
    const struct finding_teller teller = {on_finding, context, source_text};
    char role[JUDGE_NAME_SIZE], quoted[JUDGE_NAME_SIZE];
    const char *code = error->code;
    judge_quote(user, role);
    if (strcmp(code, "42501") == 0 && strstr(error->text, "for database") != NULL)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "no_connect",
                     "role %s may not connect to database %s" FINDING_MEND "GRANT CONNECT ON DATABASE %s TO %s", user,
                     database, judge_quote(database, quoted), role);
    else if (strcmp(code, "28000") == 0 && strstr(error->text, "not permitted to log in") != NULL)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "no_login",
                     "role %s is not permitted to log in" FINDING_MEND "ALTER ROLE %s LOGIN", user, role);
    else if (strcmp(code, "53300") == 0 && strstr(error->text, "for role") != NULL)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "connection_limit",
                     "role %s has used up its connections" FINDING_MEND "ALTER ROLE %s CONNECTION LIMIT -1", user,
                     role);
    else
        finding_tell(&teller, FINDING_ERROR, error->kind,
                     strncmp(code, "28", 2) == 0  ? "login"
                     : strcmp(code, "3D000") == 0 ? "no_database"
                     : strcmp(code, "08P01") == 0 ? "pooler"
                     : error->kind == ERR_CONFIG  ? "source_connection"
                                                  : "source_unreachable",
                     "%s", error->text);
}

static void judge_way(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    if (details->backend_pid != subject->backend_pid)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "pooler",
                     "a connection pooler stands before %s (process %" PRId64 " was promised, %" PRId64
                     " answers): replication does not pass it; connect to PostgreSQL itself",
                     subject->source_text, subject->backend_pid, details->backend_pid);
    if (!details->are_timeouts_off)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "timeouts",
                     "the settings that etl-stream asks for at connecting do not arrive at %s: time-outs of the role "
                     "or the database hold, and may end a copy; something in between drops them",
                     subject->source_text);
    if (!details->is_encrypted && !details->is_local)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "no_tls",
                     "the connection to %s is not encrypted: turn TLS on at the server, and say sslmode=verify-full "
                     "and sslrootcert=FILE",
                     subject->source_text);
}

// --- the role --------------------------------------------------------------------------------------------------------

static void judge_role(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    const char *user = subject->facts->user;
    int64_t needed = CONNECTIONS_BESIDE_WORKERS + subject->workers;
    char role[JUDGE_NAME_SIZE], mend[JUDGE_MEND_SIZE], value[24];
    judge_quote(user, role);
    if (details->connection_limit >= 0 && details->connection_limit < details->role_connections + needed)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "connection_limit",
                     "role %s may have %" PRId64 " connections, %" PRId64
                     " others are open, and a pipeline uses up to %" PRId64 " while it copies" FINDING_MEND
                     "ALTER ROLE %s CONNECTION LIMIT -1",
                     user, details->connection_limit, details->role_connections, needed, role);
    if (details->connections_used - 1 + needed > details->connections_max) {
        (void)snprintf(value, sizeof value, "%" PRId64, details->connections_max + 50);
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "connections",
                     "%s has %" PRId64 " of %" PRId64 " connections in use, and a pipeline uses up to %" PRId64
                     " while it copies%s",
                     subject->source_text, details->connections_used, details->connections_max, needed,
                     judge_setting(subject->facts, "max_connections", value, true, mend));
    }
    if (details->password_days != PG_CHECK_UNKNOWN && details->password_days < PASSWORD_DAYS_MIN)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "password_expires",
                     "the password of role %s is valid for %" PRId64 " more days" FINDING_MEND
                     "ALTER ROLE %s VALID UNTIL 'infinity'",
                     user, details->password_days, role);
    if (details->is_superuser)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "superuser",
                     "role %s is a superuser; a role with REPLICATION and SELECT on the tables is enough", user);
    if (!details->may_see_others)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "stats_hidden",
                     "role %s does not see what other sessions do: long transactions that hold up a slot cannot be "
                     "named" FINDING_MEND "GRANT pg_read_all_stats TO %s",
                     user, role);
}

// --- what holds up a slot --------------------------------------------------------------------------------------------

static void judge_transactions(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    struct buf name;
    if (details->transaction_seconds > OLD_TRANSACTION_S)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "long_transaction",
                     "process %" PRId64 " of %s (%s) has had a transaction open for %" PRId64
                     " s: a slot, and each copy's snapshot, waits for its end, and so does VACUUM" FINDING_MEND
                     "SELECT pg_terminate_backend(%" PRId64 ")",
                     details->transaction_pid, details->transaction_user != NULL ? details->transaction_user : "?",
                     details->transaction_application != NULL ? details->transaction_application : "",
                     details->transaction_seconds, details->transaction_pid);
    if (details->prepared_name == NULL ||
        (subject->facts->slot_exists && details->prepared_seconds <= OLD_TRANSACTION_S))
        return;
    buf_init(&name, LIST_BYTES_MAX);
    pg_append_literal(&name, details->prepared_name);
    finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "prepared_transaction",
                 "prepared transaction \"%s\" of %s in database %s has been open for %" PRId64
                 " s: a slot, and each copy's snapshot, waits for its end" FINDING_MEND
                 "ROLLBACK PREPARED %s; -- or COMMIT PREPARED, in that database",
                 details->prepared_name, details->prepared_owner, details->prepared_database, details->prepared_seconds,
                 buf_text(&name));
    buf_deinit(&name);
}

// --- slots -----------------------------------------------------------------------------------------------------------

static void judge_our_slot(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    const struct pg_source_facts *facts = subject->facts;
    char mend[JUDGE_MEND_SIZE];
    if (!facts->slot_exists || !facts->slot_is_logical_here)
        return;
    int64_t limit_bytes = facts->max_slot_wal_keep_size_mb * MIB;
    bool is_near = details->slot_wal_status != NULL && strcmp(details->slot_wal_status, "unreserved") == 0;
    is_near |=
        limit_bytes > 0 && details->slot_safe_bytes != PG_CHECK_UNKNOWN && details->slot_safe_bytes < limit_bytes / 5;
    if (is_near)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "slot_near_limit",
                     "slot %s holds back %" PRId64 " MB of WAL (%s) and is given up soon, after which all tables have "
                     "to be copied anew; start the pipeline, or give it more room%s",
                     subject->slot, details->slot_kept_bytes / MIB, details->slot_wal_status,
                     judge_setting(facts, "max_slot_wal_keep_size", "-1", false, mend));
    else if (details->slot_kept_bytes > SLOT_KEPT_BYTES_MANY)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "slot_keeps_wal",
                     "slot %s holds back %" PRId64 " MB of WAL: is the pipeline paused, or behind?", subject->slot,
                     details->slot_kept_bytes / MIB);
    if (details->slot_spilled_bytes > 0 && subject->decoding_work_mem_kb == 0)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "decoding_spills",
                     "decoding for slot %s has written %" PRId64
                     " MB to disk, because transactions did not fit in logical_decoding_work_mem (%" PRId64
                     " MB): the pipeline's --decoding-work-mem-kb raises it for its own connection",
                     subject->slot, details->slot_spilled_bytes / MIB, details->decoding_memory_kb / 1024);
}

static void judge_slot_limits(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    const struct pg_source_facts *facts = subject->facts;
    char mend[JUDGE_MEND_SIZE], value[24];
    int64_t keep_mb_min = details->max_wal_size_mb > KEEP_SIZE_MB_MIN ? details->max_wal_size_mb : KEEP_SIZE_MB_MIN;
    if (facts->max_slot_wal_keep_size_mb >= 0 && facts->max_slot_wal_keep_size_mb < keep_mb_min)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "slot_limit_small",
                     "%s gives a slot up once it holds back %" PRId64 " MB of WAL (max_slot_wal_keep_size), which a "
                     "short outage or one checkpoint may reach%s",
                     subject->source_text, facts->max_slot_wal_keep_size_mb,
                     judge_setting(facts, "max_slot_wal_keep_size", "100GB", false, mend));
    if (facts->slot_exists && facts->replication_slots_used >= facts->max_replication_slots) {
        (void)snprintf(value, sizeof value, "%d", facts->max_replication_slots + 10);
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "slots_few",
                     "%s has no replication slot to spare (%d in all), and a table that is copied later takes one "
                     "more for a while%s",
                     subject->source_text, facts->max_replication_slots,
                     judge_setting(facts, "max_replication_slots", value, true, mend));
    }
    if (details->idle_slot_timeout_number > 0)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "idle_slot_timeout",
                     "%s gives a slot up that nobody has read for %s (idle_replication_slot_timeout): a pipeline that "
                     "is paused so long copies all tables anew%s",
                     subject->source_text, details->idle_slot_timeout,
                     judge_setting(facts, "idle_replication_slot_timeout", "0", false, mend));
    if (facts->wal_sender_timeout_ms == 0)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "sender_timeout",
                     "%s never ends a replication connection by itself (wal_sender_timeout = 0): one that was cut off "
                     "keeps the slot busy until TCP notices%s",
                     subject->source_text, judge_setting(facts, "wal_sender_timeout", "60s", false, mend));
    else if (facts->wal_sender_timeout_ms < SENDER_TIMEOUT_MS_MIN)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "sender_timeout",
                     "%s ends a replication connection that was silent for %d ms (wal_sender_timeout), which a busy "
                     "network may be%s",
                     subject->source_text, facts->wal_sender_timeout_ms,
                     judge_setting(facts, "wal_sender_timeout", "60s", false, mend));
    if (subject->decoding_work_mem_kb > 0)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "decoding_memory",
                     "decoding for this pipeline may take %" PRId64
                     " MB of the source's memory (decoding_work_mem_kb); "
                     "the server's own setting is %" PRId64 " MB",
                     subject->decoding_work_mem_kb / 1024, details->decoding_memory_kb / 1024);
}

static void judge_failover(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_check_source *details = subject->details;
    const struct pg_source_facts *facts = subject->facts;
    bool has_standby = details->physical_slots != NULL || details->senders_without_slot > 0;
    char mend[JUDGE_MEND_SIZE];
    if (!has_standby)
        return;
    if (facts->server_version < 170000)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "failover_copies",
                     "%s has a standby; before PostgreSQL 17 slots do not survive its promotion, after which all "
                     "tables are copied anew",
                     subject->source_text);
    else if (details->physical_slots == NULL)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "standby_without_slot",
                     "%s has a standby without a replication slot of its own: slots are synchronized only to one that "
                     "has (primary_slot_name, sync_replication_slots = on, hot_standby_feedback = on, and a dbname in "
                     "primary_conninfo)",
                     subject->source_text);
    else if (details->synchronized_standby_slots == NULL || *details->synchronized_standby_slots == '\0')
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "standby_slots",
                     "%s has standbys (%s) that etl-stream may read ahead of: after a failover what they lacked would "
                     "be copied anew%s",
                     subject->source_text, details->physical_slots,
                     judge_setting(facts, "synchronized_standby_slots", details->physical_slots, false, mend));
}

void judge_source_details(const struct judge_subject *subject, finding_on on_finding, void *context)
{
    const struct finding_teller teller = {on_finding, context, subject->source_text};
    judge_way(subject, &teller);
    judge_role(subject, &teller);
    judge_transactions(subject, &teller);
    judge_our_slot(subject, &teller);
    judge_slot_limits(subject, &teller);
    judge_failover(subject, &teller);
}

// --- types -----------------------------------------------------------------------------------------------------------

// Base types that have a counterpart at the destination; what is not here is carried as the server's text (docs/types.md).
static bool has_counterpart(const struct source_type *type)
{
    static const char *const names[] = {"bool",   "int2",   "int4",  "int8",    "oid",    "xid8",      "numeric",
                                        "float4", "float8", "text",  "varchar", "bpchar", "name",      "citext",
                                        "xml",    "char",   "bytea", "date",    "time",   "timestamp", "timestamptz",
                                        "uuid",   "json",   "jsonb", "hstore",  "vector", "halfvec"};
    if (type->kind == SOURCE_RANGE || type->kind == SOURCE_MULTIRANGE)
        return false;
    if (type->kind != SOURCE_BASE)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], type->name) == 0)
            return true;
    return false;
}

static bool is_numeric(const struct source_type *type)
{
    return type->kind == SOURCE_BASE && strcmp(type->name, "numeric") == 0;
}

// PostgreSQL, numeric.c: the precision in the upper half of the modifier without 4, the scale in 11 bits below.
static bool is_numeric_wide(const struct source_type *type)
{
    if (!is_numeric(type) || type->modifier < 4)
        return false;
    int precision = ((type->modifier - 4) >> 16) & 0xFFFF;
    int scale = (((type->modifier - 4) & 0x7FF) ^ 1024) - 1024;
    return precision > NUMERIC_DIGITS_MAX || scale > NUMERIC_SCALE_MAX || precision - scale > NUMERIC_DIGITS_MAX;
}

static void list_column(struct buf *list, const struct column *column, const char *with)
{
    char name[JUDGE_NAME_SIZE];
    buf_appendf(list, "%s%s%s", list->size > 0 ? ", " : "", judge_quote(column->name, name), with);
}

void judge_table_types(const struct table *table, finding_on on_finding, void *context)
{
    char name[160], quoted[JUDGE_TABLE_SIZE], column_name[JUDGE_NAME_SIZE];
    const struct finding_teller teller = {on_finding, context, name};
    struct buf unbounded, wide, texts, changes;
    struct buf *const lists[] = {&unbounded, &wide, &texts, &changes};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        buf_init(lists[i], LIST_BYTES_MAX);
    table_format_name(table, name, sizeof name);
    judge_quote_table(table->schema_name, table->table_name, quoted);
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        char with[80];
        (void)snprintf(with, sizeof with, " (%.60s)", column->type_name);
        if (is_numeric(column->type) && column->type->modifier < 4) {
            list_column(&unbounded, column, "");
            buf_appendf(&changes, "%sALTER COLUMN %s TYPE numeric(38, 9)", changes.size > 0 ? ", " : "",
                        judge_quote(column->name, column_name));
        } else if (is_numeric_wide(column->type)) {
            list_column(&wide, column, with);
        } else if (!has_counterpart(column->type)) {
            list_column(&texts, column, with);
        }
    }
    if (unbounded.size > 0)
        finding_tell(&teller, FINDING_WARNING, ERR_CONFIG, "numeric_unbounded",
                     "%s: numeric without precision in %s: becomes NUMBER(38,9), and a value with more digits is "
                     "rounded or NULL, the original kept in _ETL_COERCED (or numeric_unbounded=varchar for the "
                     "destination)" FINDING_MEND "ALTER TABLE %s %s",
                     quoted, buf_text(&unbounded), quoted, buf_text(&changes));
    if (wide.size > 0)
        finding_tell(&teller, FINDING_NOTE, ERR_CONFIG, "numeric_wide",
                     "%s: more digits than Snowflake's NUMBER has in %s: becomes VARCHAR", quoted, buf_text(&wide));
    if (texts.size > 0)
        finding_tell(&teller, FINDING_NOTE, ERR_CONFIG, "types_as_text",
                     "%s: no counterpart at Snowflake for the types of %s: they become VARCHAR, as PostgreSQL prints "
                     "them",
                     quoted, buf_text(&texts));
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        buf_deinit(lists[i]);
}

// --- tables ----------------------------------------------------------------------------------------------------------

static void judge_privileges(const struct pg_check_table *table, const char *quoted, const char *role,
                             const struct finding_teller *teller)
{
    char schema[JUDGE_NAME_SIZE];
    judge_quote(table->schema_name, schema);
    if (!table->may_use_schema)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "no_usage",
                     "role %s may not use schema %s of %s" FINDING_MEND "GRANT USAGE ON SCHEMA %s TO %s", role, schema,
                     quoted, schema, role);
    if (!table->may_select)
        finding_tell(
            teller, FINDING_ERROR, ERR_CONFIG, "no_select",
            "role %s may not read %s%s" FINDING_MEND "GRANT SELECT ON TABLE %s TO %s", role, quoted,
            table->may_select_a_column ? " as a whole (some of its columns it may, but the copy locks the table)" : "",
            quoted, role);
    if (table->unreadable_parts != NULL)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "no_select_parts",
                     "role %s may not read partitions of %s, which are copied one by one" FINDING_MEND
                     "GRANT SELECT ON TABLE %s TO %s",
                     role, quoted, table->unreadable_parts, role);
}

static void judge_publishing(const struct pg_check_table *table, const struct judge_subject *subject,
                             const char *quoted, const struct finding_teller *teller)
{
    char publication[JUDGE_NAME_SIZE];
    judge_quote(subject->publication, publication);
    if (table->partition_root != NULL)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "partition_alone",
                     "%s is a partition of %s and becomes a table of its own; published through its root all "
                     "partitions become one" FINDING_MEND
                     "ALTER PUBLICATION %s SET (publish_via_partition_root = true)",
                     quoted, table->partition_root, publication);
    if (table->row_filter != NULL)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "row_filter",
                     "the publication has a row filter for %s: only rows with %s are copied and followed, and one "
                     "that comes to fail it is deleted",
                     quoted, table->row_filter);
    if (table->columns_left_out != NULL)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "column_list", "the publication leaves columns of %s out: %s",
                     quoted, table->columns_left_out);
    if (table->generated_left_out != NULL && subject->facts->server_version >= 180000)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "generated_columns",
                     "generated columns of %s are not published: %s" FINDING_MEND
                     "ALTER PUBLICATION %s SET (publish_generated_columns = stored)",
                     quoted, table->generated_left_out, publication);
    else if (table->generated_left_out != NULL)
        finding_tell(teller, FINDING_NOTE, ERR_CONFIG, "generated_columns",
                     "generated columns of %s are not sent by servers before PostgreSQL 18: %s", quoted,
                     table->generated_left_out);
}

static void judge_identity(const struct pg_check_table *table, const char *quoted, const struct finding_teller *teller)
{
    bool has_identity = table->replica_identity == 'f' || table->replica_identity == 'i' ||
                        (table->replica_identity == 'd' && table->has_immediate_key);
    const char *mend = table->has_immediate_key ? "DEFAULT" : "FULL; -- or ADD PRIMARY KEY (…), which is quicker";
    if (has_identity || !table->has_updates)
        return;
    if (table->updates + table->deletes > 0)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "no_identity",
                     "%s is updated (%" PRId64 " updates, %" PRId64
                     " deletes so far) and has no replica identity%s: PostgreSQL refuses that once it is "
                     "published" FINDING_MEND "ALTER TABLE %s REPLICA IDENTITY %s",
                     quoted, table->updates, table->deletes,
                     table->has_primary_key && !table->has_immediate_key ? " (its primary key is deferrable)" : "",
                     quoted, mend);
    else
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "append_only",
                     "%s has no replica identity%s: it is append-only, and PostgreSQL refuses its updates and "
                     "deletes" FINDING_MEND "ALTER TABLE %s REPLICA IDENTITY %s",
                     quoted,
                     table->has_primary_key && !table->has_immediate_key ? " (its primary key is deferrable)" : "",
                     quoted, mend);
}

void judge_table_details(const struct pg_check_table *table, const struct judge_subject *subject, finding_on on_finding,
                         void *context)
{
    char name[160], quoted[JUDGE_TABLE_SIZE], role[JUDGE_NAME_SIZE];
    const struct finding_teller teller = {on_finding, context, name};
    (void)snprintf(name, sizeof name, "%s.%s", table->schema_name, table->table_name);
    judge_quote_table(table->schema_name, table->table_name, quoted);
    judge_privileges(table, quoted, judge_quote(subject->facts->user, role), &teller);
    judge_publishing(table, subject, quoted, &teller);
    judge_identity(table, quoted, &teller);
    if (table->toast_bytes > TOAST_BYTES_MANY && table->toast_bytes > table->main_bytes && table->updates > 0 &&
        table->replica_identity != 'f')
        finding_tell(&teller, FINDING_NOTE, ERR_CONFIG, "toast",
                     "%s keeps about %" PRId64 " of %" PRId64 " MB in large values (TOAST) and is updated: those that "
                     "an update leaves alone are not sent, and each merge looks them up in the target; REPLICA "
                     "IDENTITY FULL would send them, at the price of more WAL",
                     quoted, table->toast_bytes / MIB, (table->toast_bytes + table->main_bytes) / MIB);
}
