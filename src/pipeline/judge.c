#include "pipeline/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "encode/encoding.h"
#include "pipeline/judge_private.h"

#define SLOTS_AT_START 2  // pg_copy.h: its own, and that of its snapshot

const char *judge_quote(const char *name, char out[JUDGE_NAME_SIZE])
{
    struct buf text;
    buf_init(&text, JUDGE_NAME_SIZE);
    pg_append_identifier(&text, name);
    (void)snprintf(out, JUDGE_NAME_SIZE, "%s", buf_text(&text));
    buf_deinit(&text);
    return out;
}

const char *judge_quote_table(const char *schema_name, const char *table_name, char out[JUDGE_TABLE_SIZE])
{
    char schema[JUDGE_NAME_SIZE], table[JUDGE_NAME_SIZE];
    (void)snprintf(out, JUDGE_TABLE_SIZE, "%s.%s", judge_quote(schema_name, schema), judge_quote(table_name, table));
    return out;
}

const char *judge_setting(const struct pg_source_facts *facts, const char *name, const char *value, bool needs_restart,
                          char out[JUDGE_MEND_SIZE])
{
    bool is_level = strcmp(name, "wal_level") == 0;
    if (strcmp(facts->service, "rds") == 0)
        (void)snprintf(out, JUDGE_MEND_SIZE, "; set %s = %s in the instance's parameter group%s",
                       is_level ? "rds.logical_replication" : name, is_level ? "1" : value,
                       needs_restart ? " and reboot it" : "");
    else if (strcmp(facts->service, "cloudsql") == 0)
        (void)snprintf(out, JUDGE_MEND_SIZE, "; set the instance's flag %s = %s%s",
                       is_level ? "cloudsql.logical_decoding" : name, is_level ? "on" : value,
                       needs_restart ? " and restart it" : "");
    else if (strcmp(facts->service, "azure") == 0)
        (void)snprintf(out, JUDGE_MEND_SIZE, "; set the server parameter %s = %s%s", name, value,
                       needs_restart ? " and restart the server" : "");
    else
        (void)snprintf(out, JUDGE_MEND_SIZE, FINDING_MEND "ALTER SYSTEM SET %s = '%s'; -- and %s", name, value,
                       needs_restart ? "restart the server" : "SELECT pg_reload_conf()");
    return out;
}

static void judge_server(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_source_facts *facts = subject->facts;
    const char *where = subject->source_text;
    char mend[JUDGE_MEND_SIZE], role[JUDGE_NAME_SIZE];
    if (facts->server_version < 140000)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "server_version",
                     "%s runs PostgreSQL %d; etl-stream needs 14 or later", where, facts->server_version / 10000);
    if (facts->in_recovery)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "in_recovery", "%s is a standby in recovery; name the primary",
                     where);
    if (strcmp(facts->wal_level, "logical") != 0)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "wal_level", "%s has wal_level = %s, logical is needed%s",
                     where, facts->wal_level, judge_setting(facts, "wal_level", "logical", true, mend));
    if (!facts->may_replicate && strcmp(facts->service, "rds") == 0)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "no_replication",
                     "role %s on %s may not replicate" FINDING_MEND "GRANT rds_replication TO %s", facts->user, where,
                     judge_quote(facts->user, role));
    else if (!facts->may_replicate)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "no_replication",
                     "role %s on %s may not replicate" FINDING_MEND "ALTER ROLE %s REPLICATION", facts->user, where,
                     judge_quote(facts->user, role));
    if (encoding_find(facts->encoding) == NULL)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "encoding",
                     "%s is encoded in %s, which this machine's iconv does not know", where, facts->encoding);
    // Seen by experiment: 14.23, 15.18, 16.14, 17.10 and 18.4 make slots whose snapshot counts a commit before it is marked; 15.20 does
    // not. We wait it out, others may not.
    static const int last_early_minors[] = {140023, 150019, 160014, 170010, 180004};
    bool is_early = false;
    for (size_t i = 0; i < sizeof last_early_minors / sizeof last_early_minors[0]; i++)
        is_early |= facts->server_version / 10000 == last_early_minors[i] / 10000 &&
                    facts->server_version <= last_early_minors[i];
    if (is_early)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "old_minor",
                     "%s runs %d.%d, whose replication slots can export a snapshot too early; etl-stream waits until "
                     "it is safe, but update the server",
                     where, facts->server_version / 10000, facts->server_version % 10000);
}

#define TABLES_NAMED_MAX 30

const char *judge_tables_to_publish(const char *tables)
{
    unsigned count = 1;
    for (const char *at = tables; at != NULL && (at = strstr(at, ", ")) != NULL; at += 2)
        count++;
    return count > TABLES_NAMED_MAX ? NULL : tables;
}

// The tables that could be in it, where check has asked for them; a long list is better left to ALL TABLES.
static void tell_publication_missing(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const char *tables = subject->details != NULL ? judge_tables_to_publish(subject->details->tables_to_publish) : NULL;
    char name[JUDGE_NAME_SIZE];
    judge_quote(subject->publication, name);
    if (subject->details == NULL)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "publication_missing",
                     "publication \"%s\" does not exist on %s" FINDING_MEND "CREATE PUBLICATION %s FOR TABLE …",
                     subject->publication, subject->source_text, name);
    else if (tables == NULL)
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "publication_missing",
                     "publication \"%s\" does not exist on %s%s%s" FINDING_MEND "CREATE PUBLICATION %s FOR ALL TABLES",
                     subject->publication, subject->source_text,
                     subject->details->publications != NULL ? "; there are " : "",
                     subject->details->publications != NULL ? subject->details->publications : "", name);
    else
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "publication_missing",
                     "publication \"%s\" does not exist on %s%s%s" FINDING_MEND "CREATE PUBLICATION %s FOR TABLE %s",
                     subject->publication, subject->source_text,
                     subject->details->publications != NULL ? "; there are " : "",
                     subject->details->publications != NULL ? subject->details->publications : "", name, tables);
}

static void judge_publication(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_source_facts *facts = subject->facts;
    char name[JUDGE_NAME_SIZE];
    if (!facts->publication_exists) {
        tell_publication_missing(subject, teller);
        return;
    }
    if (subject->details != NULL && subject->details->catalogs != NULL)
        finding_tell(
            teller, FINDING_NOTE, ERR_CONFIG, "own_catalog",
            "publication \"%s\" holds etl-stream's own configuration (schema %s), which has passwords in it and "
            "changes with what is copied: these tables are left out",
            subject->publication, subject->details->catalogs);
    if (!facts->publication_inserts || !facts->publication_updates || !facts->publication_deletes ||
        !facts->publication_truncates)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "publication_partial",
                     "publication \"%s\" leaves out %s%s%s%s, the targets will not be full copies" FINDING_MEND
                     "ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')",
                     subject->publication, facts->publication_inserts ? "" : "INSERT ",
                     facts->publication_updates ? "" : "UPDATE ", facts->publication_deletes ? "" : "DELETE ",
                     facts->publication_truncates ? "" : "TRUNCATE ", judge_quote(subject->publication, name));
}

static void judge_slot_lost(const struct judge_subject *subject, const struct finding_teller *teller)
{
    if (!subject->facts->slot_exists)
        finding_tell(teller, FINDING_ERROR, ERR_LOST, "slot_lost",
                     "slot %s is gone from %s: changes since " LSN_FORMAT
                     " are lost; to copy all tables anew, start with --on-slot-lost=resync",
                     subject->slot, subject->source_text, LSN_ARGUMENTS(subject->floor_lsn));
    else if (strcmp(subject->facts->slot_wal_status, "lost") == 0)
        finding_tell(teller, FINDING_ERROR, ERR_LOST, "slot_lost",
                     "the server has removed WAL that slot %s still needed (max_slot_wal_keep_size): changes "
                     "since " LSN_FORMAT " are lost; to copy all tables anew, start with --on-slot-lost=resync",
                     subject->slot, LSN_ARGUMENTS(subject->floor_lsn));
    // Nothing is confirmed that is not kept first, so it was not us. The server would go on from there without a word.
    else if (subject->floor_lsn != LSN_NONE && subject->facts->slot_confirmed_lsn > subject->floor_lsn)
        finding_tell(
            teller, FINDING_ERROR, ERR_LOST, "slot_lost",
            "slot %s is at " LSN_FORMAT " and was read to " LSN_FORMAT
            " only: somebody made it anew or moved it, and the changes in between are lost; to copy all tables "
            "anew, start with --on-slot-lost=resync",
            subject->slot, LSN_ARGUMENTS(subject->facts->slot_confirmed_lsn), LSN_ARGUMENTS(subject->floor_lsn));
}

static void judge_limits(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_source_facts *facts = subject->facts;
    char mend[JUDGE_MEND_SIZE], value[24];
    if (facts->wal_senders_used + 2 > facts->max_wal_senders) {
        (void)snprintf(value, sizeof value, "%d", facts->max_wal_senders + 10);
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "wal_senders",
                     "%s has %d of %d WAL senders in use and the stream needs one, a copy another%s",
                     subject->source_text, facts->wal_senders_used, facts->max_wal_senders,
                     judge_setting(facts, "max_wal_senders", value, true, mend));
    }
    if (facts->max_slot_wal_keep_size_mb < 0)
        finding_tell(teller, FINDING_WARNING, ERR_CONFIG, "slot_without_limit",
                     "%s lets a slot keep WAL without limit (max_slot_wal_keep_size = -1): when etl-stream is down for "
                     "long the disk can fill%s",
                     subject->source_text, judge_setting(facts, "max_slot_wal_keep_size", "100GB", false, mend));
}

static void judge_slot(const struct judge_subject *subject, const struct finding_teller *teller)
{
    const struct pg_source_facts *facts = subject->facts;
    char mend[JUDGE_MEND_SIZE], value[24];
    if (facts->slot_exists && !facts->slot_is_logical_here) {
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "slot_of_others",
                     "slot %s on %s is not a pgoutput slot of this database; choose another name with slot=NAME",
                     subject->slot, subject->source_text);
    } else if (subject->is_slot_made) {
        judge_slot_lost(subject, teller);
    } else if (facts->slot_exists && !subject->may_own_slot) {
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "slot_exists",
                     "slot %s exists on %s, but the state file knows nothing of it (is ETL_STATE the right file?); if "
                     "nobody needs it" FINDING_MEND "SELECT pg_drop_replication_slot('%s')",
                     subject->slot, subject->source_text, subject->slot);
    } else if (!facts->slot_exists && facts->replication_slots_used + SLOTS_AT_START > facts->max_replication_slots) {
        (void)snprintf(value, sizeof value, "%d", facts->max_replication_slots + 10);
        finding_tell(teller, FINDING_ERROR, ERR_CONFIG, "no_free_slot",
                     "%s has too few free replication slots (%d of %d in use, and a pipeline takes %d while it makes "
                     "its own)%s",
                     subject->source_text, facts->replication_slots_used, facts->max_replication_slots, SLOTS_AT_START,
                     judge_setting(facts, "max_replication_slots", value, true, mend));
    }
    judge_limits(subject, teller);
}

void judge_source(const struct judge_subject *subject, finding_on on_finding, void *context)
{
    const struct finding_teller teller = {on_finding, context, subject->source_text};
    judge_server(subject, &teller);
    judge_publication(subject, &teller);
    judge_slot(subject, &teller);
}

void judge_table(const struct table *table, const char *user, finding_on on_finding, void *context)
{
    char name[160], quoted[JUDGE_TABLE_SIZE], role[JUDGE_NAME_SIZE], schema[JUDGE_NAME_SIZE];
    const struct finding_teller teller = {on_finding, context, name};
    table_format_name(table, name, sizeof name);
    judge_quote_table(table->schema_name, table->table_name, quoted);
    judge_quote(user, role);
    if (table->is_unreadable)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "42501",
                     "the source's user may not read %s" FINDING_MEND
                     "GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON TABLE %s TO %s",
                     quoted, judge_quote(table->schema_name, schema), role, quoted, role);
    else if (table->has_hidden_rows)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "row_security",
                     "row level security would hide rows of %s from the copy; give the source's user BYPASSRLS, or "
                     "make it the table's owner without FORCE ROW LEVEL SECURITY" FINDING_MEND
                     "ALTER ROLE %s BYPASSRLS",
                     quoted, role);
    else if (table->column_count == 0)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "no_columns", "%s has no published column", quoted);
    else if (table->odd_partition != NULL && table->identity == IDENTITY_NOTHING)
        finding_tell(
            &teller, FINDING_WARNING, ERR_CONFIG, "partition_identity",
            "%s has no replica identity and is append-only, but its partition %s has one, and sends updates and "
            "deletes: the first of them parks the table" FINDING_MEND
            "ALTER TABLE %s REPLICA IDENTITY FULL; ALTER TABLE %s REPLICA IDENTITY FULL",
            quoted, table->odd_partition, quoted, table->odd_partition);
    else if (table->odd_partition != NULL)
        finding_tell(&teller, FINDING_ERROR, ERR_CONFIG, "partition_identity",
                     "%s is published as a whole, and its partition %s has another replica identity than it: rows that "
                     "are changed there could not be found" FINDING_MEND "ALTER TABLE %s REPLICA IDENTITY FULL",
                     quoted, table->odd_partition, table->odd_partition);
    else if (table->identity == IDENTITY_FULL && table->key_count == 0)
        finding_tell(&teller, FINDING_WARNING, ERR_CONFIG, "multiset",
                     "%s has REPLICA IDENTITY FULL and no immediate primary key: equal rows are counted, which "
                     "compares whole rows at each merge; a primary key would be quicker",
                     quoted);
    if (table->unsent_partitions != NULL)
        finding_tell(&teller, FINDING_WARNING, ERR_CONFIG, "partition_unsent",
                     "%s is published as a whole, and PostgreSQL sends nothing of its partitions that are unlogged or "
                     "foreign tables (%s): what they hold when the table is copied stays as it is",
                     quoted, table->unsent_partitions);
}
