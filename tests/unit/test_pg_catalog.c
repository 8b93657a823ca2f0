// What the catalog's answers are turned into, quoting, and what errors of the server mean. The SQL itself is tested
// against servers in tests/integration/test_pg_room.py.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "pg/pg_catalog.h"
#include "pg/pg_error.h"

// ---- made-up results

static PGresult *new_result(const char *const *names, int count)
{
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc columns[64] = {0};
    assert_non_null(result);
    assert_in_range(count, 1, 64);
    for (int i = 0; i < count; i++)
        columns[i].name = (char *)(uintptr_t)names[i];
    assert_int_equal(PQsetResultAttrs(result, count, columns), 1);
    return result;
}

static void set(PGresult *result, int row, const char *name, const char *text)
{
    char value[256];
    (void)snprintf(value, sizeof value, "%s", text != NULL ? text : "");
    assert_int_equal(PQsetvalue(result, row, PQfnumber(result, name), text != NULL ? value : NULL,
                                text != NULL ? (int)strlen(text) : -1),
                     1);
}

// ---- facts

static const char *const fact_names[] = {"database",
                                         "user",
                                         "encoding",
                                         "wal_level",
                                         "system_identifier",
                                         "timeline",
                                         "server_version",
                                         "max_replication_slots",
                                         "replication_slots_used",
                                         "max_wal_senders",
                                         "wal_senders_used",
                                         "wal_sender_timeout_ms",
                                         "max_slot_wal_keep_size_mb",
                                         "may_replicate",
                                         "in_recovery",
                                         "publication_exists",
                                         "publication_inserts",
                                         "publication_updates",
                                         "publication_deletes",
                                         "publication_truncates",
                                         "publication_via_root",
                                         "slot_exists",
                                         "slot_is_active",
                                         "slot_is_logical_here",
                                         "slot_plugin",
                                         "slot_wal_status",
                                         "slot_confirmed_lsn",
                                         "current_lsn",
                                         "prepared_transactions",
                                         "service"};
#define FACT_COUNT ((int)(sizeof fact_names / sizeof *fact_names))

static PGresult *new_facts(void)
{
    PGresult *result = new_result(fact_names, FACT_COUNT);
    for (int i = 0; i < FACT_COUNT; i++)
        set(result, 0, fact_names[i], NULL);
    set(result, 0, "database", "shop");
    set(result, 0, "server_version", "150018");
    set(result, 0, "system_identifier", "7711507691623633613");
    set(result, 0, "timeline", "4294967295");
    set(result, 0, "max_slot_wal_keep_size_mb", "-1");
    set(result, 0, "may_replicate", "t");
    set(result, 0, "in_recovery", "f");
    set(result, 0, "current_lsn", "16/B374D848");
    return result;
}

static void test_pg_catalog_read_facts(void **state)
{
    (void)state;
    struct pg_source_facts facts;
    struct err error;
    PGresult *result = new_facts();
    assert_true(pg_catalog_read_facts(result, &facts, &error));
    assert_string_equal(facts.database, "shop");
    assert_string_equal(facts.system_identifier, "7711507691623633613");
    assert_int_equal(facts.server_version, 150018);
    assert_int_equal(facts.timeline, UINT32_MAX);
    assert_int_equal(facts.max_slot_wal_keep_size_mb, -1);
    assert_int_equal(facts.current_lsn, UINT64_C(0x16B374D848));
    assert_int_equal(facts.slot_confirmed_lsn, LSN_NONE);
    assert_true(facts.may_replicate);
    assert_false(facts.in_recovery || facts.slot_exists || facts.publication_exists);
    assert_string_equal(facts.slot_plugin, "");
    PQclear(result);
}

static void test_pg_catalog_refuses_answers_that_it_cannot_read(void **state)
{
    (void)state;
    struct pg_source_facts facts;
    struct err error;
    static const char *const bad[][2] = {{"server_version", "fifteen"},
                                         {"timeline", "-1"},
                                         {"timeline", "4294967296"},
                                         {"max_wal_senders", "10x"},
                                         {"current_lsn", "16-B374D848"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        PGresult *result = new_facts();
        set(result, 0, bad[i][0], bad[i][1]);
        assert_false(pg_catalog_read_facts(result, &facts, &error));
        assert_int_equal(error.kind, ERR_INTERNAL);
        assert_non_null(strstr(error.text, bad[i][0]));
        PQclear(result);
    }
    PGresult *result = new_result(fact_names, 3);
    assert_false(pg_catalog_read_facts(result, &facts, &error));  // no row
    set(result, 0, "database", "shop");
    assert_false(pg_catalog_read_facts(result, &facts, &error));  // columns are missing
    assert_non_null(strstr(error.text, "wal_level"));
    PQclear(result);
}

// ---- tables

static const char *const table_names[] = {
    "schema_name",      "table_name",       "table_oid",       "relfilenode",   "bytes_estimate",   "rows_estimate",
    "replica_identity", "key_count",        "may_use_schema",  "may_select",    "has_row_security", "attribute_number",
    "column_name",      "type_name",        "type_oid",        "type_modifier", "type_nodes",       "is_toastable",
    "is_not_null",      "key_position",     "attribute_count", "has_missing",   "missing_text",     "odd_partition",
    "is_partitioned",   "unsent_partitions"};
#define TABLE_COLUMN_COUNT ((int)(sizeof table_names / sizeof *table_names))

// attribute_number NULL: a table without columns.
static void add_row(PGresult *result, const char *oid, const char *table, const char *identity, const char *key_count,
                    const char *attribute_number, const char *column, const char *key_position)
{
    int row = PQntuples(result);
    for (int i = 0; i < TABLE_COLUMN_COUNT; i++)
        set(result, row, table_names[i], NULL);
    set(result, row, "schema_name", "public");
    set(result, row, "table_name", table);
    set(result, row, "table_oid", oid);
    set(result, row, "relfilenode", "16400");
    set(result, row, "attribute_count", "5");
    set(result, row, "has_missing", "f");
    set(result, row, "bytes_estimate", "8192");
    set(result, row, "rows_estimate", "1e+06");
    set(result, row, "replica_identity", identity);
    set(result, row, "key_count", key_count);
    set(result, row, "is_partitioned", "f");
    set(result, row, "may_use_schema", "t");
    set(result, row, "may_select", "t");
    set(result, row, "has_row_security", "f");
    set(result, row, "attribute_number", attribute_number);
    set(result, row, "column_name", column);
    set(result, row, "type_name", "integer");
    set(result, row, "type_oid", "23");
    set(result, row, "type_modifier", "-1");
    set(result, row, "type_nodes", attribute_number != NULL ? "23 -1 b , 1 \"int4\" \"\"" : NULL);
    set(result, row, "key_position", key_position);
}

static void free_tables(struct table **tables, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        table_free(tables[i]);
    free(tables);
}

static void test_pg_catalog_read_tables(void **state)
{
    (void)state;
    PGresult *result = new_result(table_names, TABLE_COLUMN_COUNT);
    add_row(result, "1", "keyed", "d", "2", "1", "b", "1");
    add_row(result, "1", "keyed", "d", "2", "3", "v", "-1");
    set(result, 1, "has_missing", "t");
    set(result, 1, "missing_text", "42");
    add_row(result, "1", "keyed", "d", "2", "4", "a", "0");
    add_row(result, "2", "empty", "d", NULL, NULL, NULL, "-1");
    add_row(result, "3", "whole", "f", "1", "1", "id", "0");
    set(result, PQntuples(result) - 1, "odd_partition", "public.part_1");
    set(result, PQntuples(result) - 1, "is_partitioned", "t");
    set(result, PQntuples(result) - 1, "unsent_partitions", "public.part_2 and 1 more");
    add_row(result, "4", "multiset", "f", NULL, "1", "v", "-1");
    // Of the key's two columns one is not published: it tells nothing apart.
    add_row(result, "5", "half", "i", "2", "1", "a", "0");
    add_row(result, "6", "half_whole", "f", "2", "1", "a", "0");
    struct table **tables;
    uint32_t count;
    struct err error;
    assert_true(pg_catalog_read_tables(result, NULL, &tables, &count, &error));
    PQclear(result);
    assert_int_equal(count, 6);

    assert_string_equal(tables[0]->table_name, "keyed");
    assert_int_equal(tables[0]->identity, IDENTITY_KEY);
    assert_int_equal(tables[0]->column_count, 3);
    assert_int_equal(tables[0]->key_count, 2);
    assert_int_equal(tables[0]->key_columns[0], 2);
    assert_int_equal(tables[0]->key_columns[1], 0);
    assert_int_equal(tables[0]->columns[1].attribute_number, 3);
    assert_int_equal(tables[0]->columns[1].key_position, -1);
    assert_int_equal(tables[0]->attribute_count, 5);
    assert_true(tables[0]->columns[1].has_missing);
    assert_string_equal(tables[0]->columns[1].missing_text, "42");
    assert_null(tables[0]->columns[0].missing_text);
    assert_true(tables[0]->rows_estimate == 1e6);
    assert_int_equal(tables[0]->bytes_estimate, 8192);

    assert_int_equal(tables[1]->column_count, 0);
    assert_int_equal(tables[1]->identity, IDENTITY_NOTHING);
    assert_int_equal(tables[2]->identity, IDENTITY_FULL);
    assert_int_equal(tables[2]->key_count, 1);
    assert_string_equal(tables[2]->odd_partition, "public.part_1");
    assert_null(tables[0]->odd_partition);
    assert_string_equal(tables[2]->unsent_partitions, "public.part_2 and 1 more");
    assert_null(tables[0]->unsent_partitions);
    assert_true(tables[2]->is_partitioned);
    assert_false(tables[0]->is_partitioned);
    assert_int_equal(tables[3]->identity, IDENTITY_FULL);
    assert_int_equal(tables[3]->key_count, 0);
    assert_int_equal(tables[4]->identity, IDENTITY_NOTHING);
    assert_int_equal(tables[4]->columns[0].key_position, -1);
    assert_int_equal(tables[5]->identity, IDENTITY_FULL);
    assert_int_equal(tables[5]->key_count, 0);
    free_tables(tables, count);
}

static void test_pg_catalog_names_tables_that_may_not_be_read(void **state)
{
    (void)state;
    struct table **tables;
    uint32_t count;
    struct err error;
    PGresult *result = new_result(table_names, TABLE_COLUMN_COUNT);
    for (int i = 0; i < 8; i++) {
        char oid[16], name[16];
        (void)snprintf(oid, sizeof oid, "%d", i + 1);
        (void)snprintf(name, sizeof name, "t%d", i);
        add_row(result, oid, name, "d", "1", "1", "id", "0");
        add_row(result, oid, name, "d", "1", "2", "v", "-1");
        if (i > 0) {
            set(result, 2 * i, "may_select", "f");
            set(result, 2 * i + 1, "may_select", "f");
        }
    }
    assert_false(pg_catalog_read_tables(result, NULL, &tables, &count, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(error.code, "42501");
    assert_non_null(strstr(error.text, "\"public\".\"t1\", \"public\".\"t2\""));
    assert_non_null(strstr(error.text, " and 2 more"));
    assert_null(strstr(error.text, "\"t0\""));
    PQclear(result);

    result = new_result(table_names, TABLE_COLUMN_COUNT);
    add_row(result, "1", "secret", "d", "1", "1", "id", "0");
    set(result, 0, "has_row_security", "t");
    assert_false(pg_catalog_read_tables(result, NULL, &tables, &count, &error));
    assert_string_equal(error.code, "row_security");
    assert_non_null(strstr(error.text, "\"public\".\"secret\""));
    PQclear(result);
}

static void test_pg_catalog_read_tables_of_nothing(void **state)
{
    (void)state;
    struct table **tables;
    uint32_t count = 7;
    struct err error;
    PGresult *result = new_result(table_names, TABLE_COLUMN_COUNT);
    assert_true(pg_catalog_read_tables(result, NULL, &tables, &count, &error));
    assert_int_equal(count, 0);
    free(tables);
    add_row(result, "1", "t", "d", "1", "99999", "id", "0");
    assert_false(pg_catalog_read_tables(result, NULL, &tables, &count, &error));
    assert_non_null(strstr(error.text, "attribute_number"));
    PQclear(result);
}

// ---- quoting

static void test_pg_append_quoted(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    pg_append_identifier(&out, "a\"b'c");
    buf_append_text(&out, " ");
    pg_append_literal(&out, "a\"b'c\\");
    assert_string_equal(buf_text(&out), "\"a\"\"b'c\" 'a\"b''c\\'");
    buf_deinit(&out);
}

static void test_pg_append_statement(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    const char *parameters[] = {"it's\n-- $2", NULL};
    pg_append_statement(&out, "-- of $1 and $2\nselect $1, $2 -- $1", 2, parameters);
    assert_string_equal(buf_text(&out), "\nselect 'it''s\n-- $2', NULL ");
    buf_deinit(&out);
}

// ---- errors

static void test_pg_error_kind(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum err_kind kind;
    } cases[] = {{"08006", ERR_TRANSIENT}, {"57P01", ERR_TRANSIENT}, {"57P03", ERR_TRANSIENT}, {"53300", ERR_TRANSIENT},
                 {"55006", ERR_TRANSIENT}, {"40001", ERR_TRANSIENT}, {"25P03", ERR_TRANSIENT}, {"58P01", ERR_TRANSIENT},
                 {"XX000", ERR_TRANSIENT}, {"28P01", ERR_CONFIG},    {"28000", ERR_CONFIG},    {"3D000", ERR_CONFIG},
                 {"42501", ERR_CONFIG},    {"42P01", ERR_CONFIG},    {"53400", ERR_CONFIG},    {"55000", ERR_CONFIG},
                 {"08P01", ERR_CONFIG},    {"22P05", ERR_DATA},      {"XX001", ERR_DATA},      {"42601", ERR_INTERNAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pg_error_kind(cases[i].sqlstate), cases[i].kind);
}

static void test_pg_error_from_message(void **state)
{
    (void)state;
    struct err error;
    pg_error_from_message("connection to server at \"::1\", port 5432 failed: Connection refused\n"
                          "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  28P01: password "
                          "authentication failed for user \"ann\"\nLOCATION:  auth_failed, auth.c:335\n",
                          &error);
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(error.code, "28P01");
    assert_non_null(strstr(error.text, "failed: FATAL: password authentication failed for user \"ann\" (give"));
    assert_null(strstr(error.text, "auth.c"));
    assert_null(strstr(error.text, "28P01"));

    pg_error_from_message(
        "failed: FATAL:  28P01: no\nLOCATION:  auth.c:1\nfailed: FATAL:  28P01: no\nLOCATION:  auth.c:1\n", &error);
    assert_non_null(strstr(error.text, "failed: FATAL: no (give"));

    pg_error_from_message("server closed the connection unexpectedly\n\tThis probably means\n", &error);
    assert_int_equal(error.kind, ERR_TRANSIENT);
    assert_string_equal(error.code, "");
    assert_string_equal(error.text, "server closed the connection unexpectedly. This probably means");

    pg_error_from_message("SSL error: certificate verify failed\n", &error);
    assert_int_equal(error.kind, ERR_CONFIG);
    pg_error_from_message("", &error);
    assert_int_equal(error.kind, ERR_TRANSIENT);
    assert_true(error.text[0] != '\0');

    char text[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pg_error_from_message(text, &error);
    memcpy(text, ":  ABCDE: ", 10);
    pg_error_from_message(text, &error);
    assert_string_equal(error.code, "ABCDE");
    memcpy(text + sizeof text - 9, ":  ABCDE", 9);
    pg_error_from_message(text, &error);
}

static void test_pg_error_tidy_text(void **state)
{
    (void)state;
    char text[16];
    pg_error_tidy_text("  o\n\tt,\nf\nu\n\tI\n  ", text, sizeof text);
    assert_string_equal(text, "o t, f; u. I");
    pg_error_tidy_text("a\xE4z", text, sizeof text);
    assert_string_equal(text, "a\xEF\xBF\xBDz");
    // Not cut in the middle of a character.
    pg_error_tidy_text("1234567890123\xC3\xA4\xC3\xA4", text, sizeof text);
    assert_string_equal(text, "1234567890123\xC3\xA4");
    pg_error_tidy_text("12345678901234\xC3\xA4", text, sizeof text);
    assert_string_equal(text, "12345678901234");
}

// ---- what a look saw

static bool shows(const char *snapshot, uint32_t xid)
{
    struct pg_publication_look look = {.in_progress = strdup(snapshot)};
    assert_non_null(look.in_progress);
    bool is_seen = pg_publication_look_shows(&look, xid);
    pg_publication_look_deinit(&look);
    assert_null(look.in_progress);
    return is_seen;
}

static void test_a_look_shows_what_was_over(void **state)
{
    static const char snapshot[] =
        "4294968000:4294968010:4294968002,4294968005";  // the second epoch begins at 4294967296
    const struct pg_publication_look none = {0};
    (void)state;
    assert_true(shows(snapshot, 700) && shows(snapshot, 705) && shows(snapshot, 713));
    assert_false(shows(snapshot, 706) || shows(snapshot, 709) || shows(snapshot, 714) || shows(snapshot, 715));
    assert_true(shows("10:10:", 9));
    assert_false(shows("10:10:", 10));
    assert_true(shows("4294967298:4294967298:", UINT32_MAX));  // of the first epoch
    assert_true(pg_publication_look_shows(&none, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_look_shows_what_was_over),
        cmocka_unit_test(test_pg_catalog_read_facts),
        cmocka_unit_test(test_pg_catalog_refuses_answers_that_it_cannot_read),
        cmocka_unit_test(test_pg_catalog_read_tables),
        cmocka_unit_test(test_pg_catalog_names_tables_that_may_not_be_read),
        cmocka_unit_test(test_pg_catalog_read_tables_of_nothing),
        cmocka_unit_test(test_pg_append_quoted),
        cmocka_unit_test(test_pg_append_statement),
        cmocka_unit_test(test_pg_error_kind),
        cmocka_unit_test(test_pg_error_from_message),
        cmocka_unit_test(test_pg_error_tidy_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
