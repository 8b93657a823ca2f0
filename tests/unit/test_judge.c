// What a source's facts mean, for those that a server of the integration tests cannot be brought to.
#include "pipeline/judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FOUND_MAX 16

struct found {
    struct {
        enum finding_severity severity;
        char code[ERR_CODE_SIZE];
        char what[1024];
        char statement[1024];
    } list[FOUND_MAX];
    size_t count;
};

static void on_finding(void *context, const struct finding *finding)
{
    struct found *found = context;
    assert_true(found->count < FOUND_MAX);
    found->list[found->count].severity = finding->severity;
    (void)snprintf(found->list[found->count].code, ERR_CODE_SIZE, "%s", finding->error->code);
    (void)snprintf(found->list[found->count].what, sizeof found->list[0].what, "%s", finding->what);
    (void)snprintf(found->list[found->count].statement, sizeof found->list[0].statement, "%s",
                   finding->statement != NULL ? finding->statement : "");
    found->count++;
}

// A source where all is well.
static struct pg_source_facts facts;
static struct pg_check_source details;
static struct judge_subject subject;

static int make_good(void **state)
{
    (void)state;
    facts = (struct pg_source_facts){.database = "shop",
                                     .user = "e\"tl",
                                     .encoding = "UTF8",
                                     .wal_level = "logical",
                                     .server_version = 180005,
                                     .max_replication_slots = 10,
                                     .max_wal_senders = 10,
                                     .wal_sender_timeout_ms = 60000,
                                     .max_slot_wal_keep_size_mb = 100000,
                                     .may_replicate = true,
                                     .publication_exists = true,
                                     .publication_inserts = true,
                                     .publication_updates = true,
                                     .publication_deletes = true,
                                     .publication_truncates = true};
    details = (struct pg_check_source){.backend_pid = 7,
                                       .are_timeouts_off = true,
                                       .is_encrypted = true,
                                       .may_see_others = true,
                                       .connection_limit = -1,
                                       .password_days = PG_CHECK_UNKNOWN,
                                       .connections_max = 100,
                                       .connections_used = 10,
                                       .transaction_seconds = PG_CHECK_UNKNOWN,
                                       .max_wal_size_mb = 1024,
                                       .decoding_memory_kb = 65536,
                                       .slot_safe_bytes = PG_CHECK_UNKNOWN};
    subject = (struct judge_subject){.facts = &facts,
                                     .details = &details,
                                     .source_text = "db/shop",
                                     .publication = "etl",
                                     .slot = "etl_slot",
                                     .workers = 4,
                                     .backend_pid = 7};
    return 0;
}

static struct found judge(void)
{
    struct found found = {.count = 0};
    judge_source(&subject, on_finding, &found);
    judge_source_details(&subject, on_finding, &found);
    return found;
}

static void expect_all(enum finding_severity severity, const char *code, const char *what, const char *statement)
{
    const struct found found = judge();
    assert_int_equal(found.count, 1);
    assert_string_equal(found.list[0].code, code);
    assert_int_equal(found.list[0].severity, severity);
    if (strstr(found.list[0].what, what) == NULL)
        fail_msg("\"%s\" is not in: %s", what, found.list[0].what);
    assert_string_equal(found.list[0].statement, statement);
    make_good(NULL);
}

static void test_judge_nothing_where_all_is_well(void **state)
{
    (void)state;
    assert_int_equal(judge().count, 0);
}

static void test_judge_server(void **state)
{
    (void)state;
    facts.server_version = 130010;
    expect_all(FINDING_ERROR, "server_version", "runs PostgreSQL 13", "");
    facts.in_recovery = true;
    expect_all(FINDING_ERROR, "in_recovery", "name the primary", "");
    (void)snprintf(facts.encoding, sizeof facts.encoding, "MULE_INTERNAL");
    expect_all(FINDING_ERROR, "encoding", "MULE_INTERNAL", "");
    facts.server_version = 180004;
    expect_all(FINDING_WARNING, "old_minor", "runs 18.4", "");
    facts.may_replicate = false;
    expect_all(FINDING_ERROR, "no_replication", "may not replicate", "ALTER ROLE \"e\"\"tl\" REPLICATION");
}

static void test_judge_managed_services(void **state)
{
    static const struct {
        const char *service, *level, *slots;
    } services[] = {
        {"rds", "set rds.logical_replication = 1 in the instance's parameter group and reboot it",
         "set max_replication_slots = 20 in the instance's parameter group and reboot it"},
        {"cloudsql", "set the instance's flag cloudsql.logical_decoding = on and restart it",
         "set the instance's flag max_replication_slots = 20 and restart it"},
        {"azure", "set the server parameter wal_level = logical and restart the server",
         "set the server parameter max_replication_slots = 20 and restart the server"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        (void)snprintf(facts.service, sizeof facts.service, "%s", services[i].service);
        (void)snprintf(facts.wal_level, sizeof facts.wal_level, "replica");
        expect_all(FINDING_ERROR, "wal_level", services[i].level, "");
        (void)snprintf(facts.service, sizeof facts.service, "%s", services[i].service);
        facts.replication_slots_used = 10;
        const struct found found = judge();
        assert_string_equal(found.list[0].code, "no_free_slot");
        assert_non_null(strstr(found.list[0].what, services[i].slots));
        make_good(NULL);
    }
    (void)snprintf(facts.service, sizeof facts.service, "supabase");
    (void)snprintf(facts.wal_level, sizeof facts.wal_level, "replica");
    expect_all(FINDING_ERROR, "wal_level", "logical is needed",
               "ALTER SYSTEM SET wal_level = 'logical'; -- and restart the server");
}

static void test_judge_the_way_there(void **state)
{
    (void)state;
    details.is_encrypted = false;
    expect_all(FINDING_WARNING, "no_tls", "not encrypted", "");
    details.is_encrypted = false;
    details.is_local = true;
    assert_int_equal(judge().count, 0);
    make_good(NULL);
    details.connections_used = 94;
    assert_int_equal(judge().count, 0);
    details.connections_used = 95;
    expect_all(FINDING_WARNING, "connections", "95 of 100",
               "ALTER SYSTEM SET max_connections = '150'; -- and restart the server");
}

static void test_judge_transactions(void **state)
{
    (void)state;
    details.transaction_pid = 4711;
    details.transaction_user = "report";
    details.transaction_application = "psql";
    details.transaction_seconds = 600;
    assert_int_equal(judge().count, 0);
    details.transaction_seconds = 601;
    expect_all(FINDING_WARNING, "long_transaction", "process 4711 of report (psql)",
               "SELECT pg_terminate_backend(4711)");
    // Once the slot is there a short one does not matter.
    details.prepared_name = "x'y";
    details.prepared_owner = "app";
    details.prepared_database = "other";
    details.prepared_seconds = 5;
    facts.slot_exists = facts.slot_is_logical_here = subject.may_own_slot = true;
    assert_int_equal(judge().count, 0);
    facts.slot_exists = facts.slot_is_logical_here = false;
    expect_all(FINDING_WARNING, "prepared_transaction", "\"x'y\" of app in database other",
               "ROLLBACK PREPARED 'x''y'; -- or COMMIT PREPARED, in that database");
}

static void has_slot(void)
{
    facts.slot_exists = facts.slot_is_logical_here = subject.is_slot_made = true;
    facts.replication_slots_used = 1;
    details.slot_wal_status = "reserved";
}

static void test_judge_our_slot(void **state)
{
    (void)state;
    has_slot();
    assert_int_equal(judge().count, 0);
    details.slot_kept_bytes = 11LL << 30;
    expect_all(FINDING_WARNING, "slot_keeps_wal", "11264 MB", "");
    has_slot();
    details.slot_kept_bytes = 90LL << 30;
    details.slot_safe_bytes = 10LL << 30;
    expect_all(FINDING_WARNING, "slot_near_limit", "given up soon",
               "ALTER SYSTEM SET max_slot_wal_keep_size = '-1'; -- and SELECT pg_reload_conf()");
    has_slot();
    details.slot_wal_status = "unreserved";
    expect_all(FINDING_WARNING, "slot_near_limit", "unreserved",
               "ALTER SYSTEM SET max_slot_wal_keep_size = '-1'; -- and SELECT pg_reload_conf()");
    has_slot();
    facts.slot_exists = false;
    expect_all(FINDING_ERROR, "slot_lost", "is gone", "");
    has_slot();
    subject.floor_lsn = facts.slot_confirmed_lsn = 0x500;
    assert_int_equal(judge().count, 0);
    facts.slot_confirmed_lsn++;
    expect_all(FINDING_ERROR, "slot_lost", "is at 0/501 and was read to 0/500 only", "");
    has_slot();
    details.slot_spilled_bytes = 300LL << 20;
    expect_all(FINDING_NOTE, "decoding_spills", "300 MB to disk", "");
    has_slot();
    details.slot_spilled_bytes = 300LL << 20;
    subject.decoding_work_mem_kb = 1 << 20;
    expect_all(FINDING_NOTE, "decoding_memory", "1024 MB", "");
}

static void test_judge_what_ends_a_slot(void **state)
{
    (void)state;
    details.idle_slot_timeout_number = 86400;
    details.idle_slot_timeout = "1d";
    expect_all(FINDING_WARNING, "idle_slot_timeout", "for 1d",
               "ALTER SYSTEM SET idle_replication_slot_timeout = '0'; -- and SELECT pg_reload_conf()");
    facts.max_slot_wal_keep_size_mb = 4000;
    details.max_wal_size_mb = 8192;
    expect_all(FINDING_WARNING, "slot_limit_small", "4000 MB",
               "ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; -- and SELECT pg_reload_conf()");
    facts.replication_slots_used = 9;
    expect_all(FINDING_ERROR, "no_free_slot", "9 of 10 in use",
               "ALTER SYSTEM SET max_replication_slots = '20'; -- and restart the server");
    has_slot();
    facts.replication_slots_used = 10;
    expect_all(FINDING_WARNING, "slots_few", "10 in all",
               "ALTER SYSTEM SET max_replication_slots = '20'; -- and restart the server");
}

static void test_judge_standbys(void **state)
{
    (void)state;
    details.physical_slots = "one,two";
    expect_all(FINDING_WARNING, "standby_slots", "(one,two)",
               "ALTER SYSTEM SET synchronized_standby_slots = 'one,two'; -- and SELECT pg_reload_conf()");
    details.physical_slots = "one";
    details.synchronized_standby_slots = "one";
    assert_int_equal(judge().count, 0);
    make_good(NULL);
    details.senders_without_slot = 1;
    expect_all(FINDING_NOTE, "standby_without_slot", "without a replication slot", "");
    details.senders_without_slot = 1;
    facts.server_version = 160015;
    expect_all(FINDING_NOTE, "failover_copies", "before PostgreSQL 17", "");
}

static void test_judge_a_publication_of_many_tables(void **state)
{
    static char tables[1024];
    (void)state;
    facts.publication_exists = false;
    details.tables_to_publish = "public.a, public.\"B c\"";
    expect_all(FINDING_ERROR, "publication_missing", "does not exist",
               "CREATE PUBLICATION \"etl\" FOR TABLE public.a, public.\"B c\"");
    for (int i = 0; i < 31; i++)
        (void)strncat(tables, i == 0 ? "s.t" : ", s.t", sizeof tables - strlen(tables) - 1);
    facts.publication_exists = false;
    details.tables_to_publish = tables;
    details.publications = "a,b";
    expect_all(FINDING_ERROR, "publication_missing", "there are a,b", "CREATE PUBLICATION \"etl\" FOR ALL TABLES");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_judge_nothing_where_all_is_well, make_good),
        cmocka_unit_test_setup(test_judge_server, make_good),
        cmocka_unit_test_setup(test_judge_managed_services, make_good),
        cmocka_unit_test_setup(test_judge_the_way_there, make_good),
        cmocka_unit_test_setup(test_judge_transactions, make_good),
        cmocka_unit_test_setup(test_judge_our_slot, make_good),
        cmocka_unit_test_setup(test_judge_what_ends_a_slot, make_good),
        cmocka_unit_test_setup(test_judge_standbys, make_good),
        cmocka_unit_test_setup(test_judge_a_publication_of_many_tables, make_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
