#include "pipeline/judge.h"

#include <string.h>

#include "encode/encoding.h"

struct judge {
    const struct judge_subject *subject;
    judge_on_finding on_finding;
    void *context;
};

static void find(const struct judge *judge, enum judge_severity severity, enum err_kind kind, const char *code,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

static void find(const struct judge *judge, enum judge_severity severity, enum err_kind kind, const char *code,
                 const char *format, ...)
{
    struct err finding;
    va_list arguments;
    va_start(arguments, format);
    err_set_va(&finding, kind, code, format, arguments);
    va_end(arguments);
    judge->on_finding(judge->context, severity, &finding);
}

static void judge_server(const struct judge *judge)
{
    const struct pg_source_facts *facts = judge->subject->facts;
    const char *where = judge->subject->source_text;
    if (facts->server_version < 140000)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "server_version", "%s runs PostgreSQL %d; etl-stream needs 14 or later",
             where, facts->server_version / 10000);
    if (facts->in_recovery)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "in_recovery", "%s is a standby in recovery; name the primary", where);
    if (strcmp(facts->wal_level, "logical") != 0)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "wal_level",
             "%s has wal_level = %s, logical is needed; mend it with: ALTER SYSTEM SET wal_level = 'logical'; and "
             "restart the server",
             where, facts->wal_level);
    if (!facts->may_replicate)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "no_replication",
             "role %s on %s may not replicate; mend it with: ALTER ROLE \"%s\" REPLICATION", facts->user, where,
             facts->user);
    if (encoding_find(facts->encoding) == NULL)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "encoding",
             "%s is encoded in %s, which this machine's iconv does not know", where, facts->encoding);
    // Seen by experiment: 14.23, 15.18, 16.14, 17.10 and 18.4 make slots whose snapshot counts a commit before it is marked; 15.20 does
    // not. We wait it out, others may not.
    static const int last_early_minors[] = {140023, 150019, 160014, 170010, 180004};
    bool is_early = false;
    for (size_t i = 0; i < sizeof last_early_minors / sizeof last_early_minors[0]; i++)
        is_early |= facts->server_version / 10000 == last_early_minors[i] / 10000 &&
                    facts->server_version <= last_early_minors[i];
    if (is_early)
        find(judge, JUDGE_WARNING, ERR_CONFIG, "old_minor",
             "%s runs %d.%d, whose replication slots can export a snapshot too early; etl-stream waits until it is "
             "safe, but update the server",
             where, facts->server_version / 10000, facts->server_version % 10000);
}

static void judge_publication(const struct judge *judge)
{
    const struct pg_source_facts *facts = judge->subject->facts;
    const char *publication = judge->subject->publication;
    if (!facts->publication_exists) {
        find(judge, JUDGE_ERROR, ERR_CONFIG, "publication_missing",
             "publication \"%s\" does not exist on %s; mend it with: CREATE PUBLICATION \"%s\" FOR TABLE …",
             publication, judge->subject->source_text, publication);
        return;
    }
    if (!facts->publication_inserts || !facts->publication_updates || !facts->publication_deletes ||
        !facts->publication_truncates)
        find(judge, JUDGE_WARNING, ERR_CONFIG, "publication_partial",
             "publication \"%s\" leaves out some operations, the targets will not be full copies; mend it with: ALTER "
             "PUBLICATION \"%s\" SET (publish = "
             "'insert, update, delete, truncate')",
             publication, publication);
}

static void judge_slot_lost(const struct judge *judge)
{
    const struct judge_subject *subject = judge->subject;
    if (!subject->facts->slot_exists)
        find(judge, JUDGE_ERROR, ERR_LOST, "slot_lost",
             "slot %s is gone from %s: changes since " LSN_FORMAT
             " are lost; to copy all tables anew, start with --on-slot-lost=resync",
             subject->slot, subject->source_text, LSN_ARGUMENTS(subject->floor_lsn));
    else if (strcmp(subject->facts->slot_wal_status, "lost") == 0)
        find(judge, JUDGE_ERROR, ERR_LOST, "slot_lost",
             "the server has removed WAL that slot %s still needed (max_slot_wal_keep_size): changes since " LSN_FORMAT
             " are lost; to copy all tables anew, start with --on-slot-lost=resync",
             subject->slot, LSN_ARGUMENTS(subject->floor_lsn));
}

static void judge_slot(const struct judge *judge)
{
    const struct judge_subject *subject = judge->subject;
    const struct pg_source_facts *facts = subject->facts;
    if (facts->slot_exists && !facts->slot_is_logical_here)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "slot_of_others",
             "slot %s on %s is not a pgoutput slot of this database; choose another name with slot=NAME", subject->slot,
             subject->source_text);
    else if (subject->is_slot_made)
        judge_slot_lost(judge);
    else if (facts->slot_exists && !subject->may_own_slot)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "slot_exists",
             "slot %s exists on %s, but the state file knows nothing of it (is ETL_STATE the right file?); if nobody "
             "needs it, mend it with: SELECT "
             "pg_drop_replication_slot('%s')",
             subject->slot, subject->source_text, subject->slot);
    else if (!facts->slot_exists && facts->replication_slots_used >= facts->max_replication_slots)
        find(judge, JUDGE_ERROR, ERR_CONFIG, "no_free_slot",
             "%s has no free replication slot (%d of %d in use); mend it with: ALTER SYSTEM SET max_replication_slots "
             "= %d; and restart the server",
             subject->source_text, facts->replication_slots_used, facts->max_replication_slots,
             facts->max_replication_slots + 10);
    if (facts->wal_senders_used + 2 > facts->max_wal_senders)
        find(judge, JUDGE_WARNING, ERR_CONFIG, "wal_senders",
             "%s has %d of %d WAL senders in use and the stream needs one, a copy another; mend it with: ALTER SYSTEM "
             "SET max_wal_senders = %d; and restart "
             "the server",
             subject->source_text, facts->wal_senders_used, facts->max_wal_senders, facts->max_wal_senders + 10);
    if (facts->max_slot_wal_keep_size_mb < 0)
        find(judge, JUDGE_WARNING, ERR_CONFIG, "slot_without_limit",
             "%s lets a slot keep WAL without limit: when etl-stream is down for long the disk can fill; consider: "
             "ALTER SYSTEM SET max_slot_wal_keep_size = "
             "'100GB'",
             subject->source_text);
}

void judge_source(const struct judge_subject *subject, judge_on_finding on_finding, void *context)
{
    const struct judge judge = {.subject = subject, .on_finding = on_finding, .context = context};
    judge_server(&judge);
    judge_publication(&judge);
    judge_slot(&judge);
}

void judge_table(const struct table *table, judge_on_finding on_finding, void *context)
{
    const struct judge judge = {.on_finding = on_finding, .context = context};
    char name[160];
    table_format_name(table, name, sizeof name);
    if (table->is_unreadable)
        find(&judge, JUDGE_ERROR, ERR_CONFIG, "42501",
             "the source's user may not read %s; mend it with: GRANT USAGE ON SCHEMA \"%s\" TO the user; GRANT SELECT "
             "ON "
             "%s TO the user",
             name, table->schema_name, name);
    else if (table->has_hidden_rows)
        find(&judge, JUDGE_ERROR, ERR_CONFIG, "row_security",
             "row level security would hide rows of %s from the copy; give the source's user BYPASSRLS, or make it the "
             "table's owner without FORCE ROW LEVEL SECURITY",
             name);
    else if (table->column_count == 0)
        find(&judge, JUDGE_ERROR, ERR_CONFIG, "no_columns", "%s has no published column", name);
    else if (table->identity == IDENTITY_FULL && table->key_count == 0)
        find(&judge, JUDGE_WARNING, ERR_CONFIG, "multiset",
             "%s has REPLICA IDENTITY FULL and no immediate primary key: equal rows are counted, which compares whole "
             "rows at each merge; a primary key would be quicker",
             name);
    else if (table->identity == IDENTITY_NOTHING)
        find(&judge, JUDGE_WARNING, ERR_CONFIG, "append_only",
             "%s has no replica identity: it is append-only, and PostgreSQL refuses its updates and deletes; a primary "
             "key would change that",
             name);
}
