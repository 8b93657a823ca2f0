// The canonical form's SQL, and the commands by which a merge is held.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "encode/encoding.h"
#include "encode/ndjson.h"
#include "supervisor/hold_command.h"
#include "unit/encode_tables.h"
#include "verify/form.h"

enum { COLUMNS = 4 };

struct fixture {
    struct column columns[COLUMNS];
    uint16_t key[1];
    struct table table;
    struct row_encoder encoder;
    char *names[COLUMNS];
    struct form form;
};

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void fixture_init(struct fixture *fixture)
{
    static const char *const names[COLUMNS] = {"ID", "N", "J", "D"};
    const struct typemap_options types = {0};
    struct err error = {0};
    memset(fixture, 0, sizeof *fixture);
    fixture->columns[0] = make_column("id", OID_INT8, 1, 0);
    fixture->columns[1] = make_column("n\"x", OID_TEXT, 2, -1);
    fixture->columns[2] = make_column("j", OID_JSONB, 3, -1);
    fixture->columns[3] = make_column("d", OID_DATE, 4, -1);
    fixture->table = (struct table){.schema_name = text_of("s"),
                                    .table_name = text_of("t"),
                                    .identity = IDENTITY_KEY,
                                    .columns = fixture->columns,
                                    .column_count = COLUMNS,
                                    .key_count = 1,
                                    .key_columns = fixture->key};
    assert_true(row_encoder_init(&fixture->encoder, &fixture->table, encoding_find("UTF8"), &types, &error));
    for (int i = 0; i < COLUMNS; i++)
        fixture->names[i] = text_of(names[i]);
    fixture->form = (struct form){.table = &fixture->table,
                                  .encoders = fixture->encoder.columns,
                                  .target_columns = fixture->names,
                                  .source = "ONLY \"s\".\"t\"",
                                  .target = "\"D\".\"S\".\"T\""};
}

static void check_text(void (*write)(const struct form *, struct buf *), const struct form *form, const char *expected)
{
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    write(form, &sql);
    assert_string_equal(buf_text(&sql), expected);
    buf_deinit(&sql);
}

static void source_digest(const struct form *form, struct buf *out)
{
    form_source_digest(form, 2, out);
}

static void target_digest(const struct form *form, struct buf *out)
{
    form_target_digest(form, 2, out);
}

static void target_digest_whole(const struct form *form, struct buf *out)
{
    form_target_digest(form, 0, out);
}

static void source_rows(const struct form *form, struct buf *out)
{
    char names[2][FORM_DIGITS_MAX + 1] = {"0a", "ff"};
    const struct form_ranges ranges = {.digits = 2, .count = 2, .names = names};
    form_source_rows(form, &ranges, out);
}

static void target_rows(const struct form *form, struct buf *out)
{
    form_target_rows(form, NULL, out);
}

#define SOURCE_KEY "md5(array_to_string(ARRAY[coalesce(\"id\"::text, '-')]::text[], ','))"
#define TARGET_KEY "MD5(CONCAT('', COALESCE(TO_CHAR(\"ID\"), '-')))"

static void test_verify_form_of_a_keyed_table(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    assert_true(form_is_keyed(&fixture.form));
    check_text(
        source_digest, &fixture.form,
        "SELECT left(k, 2) AS name, count(*) AS rows, coalesce(sum(upper), 0) + 18446744073709551616 * count(*) "
        "FILTER (WHERE upper < 0) AS sum_upper, coalesce(sum(lower), 0) + 18446744073709551616 * count(*) FILTER "
        "(WHERE lower < 0) AS sum_lower FROM (SELECT k, ('x' || left(r, 16))::bit(64)::bigint AS upper, ('x' || "
        "right(r, 16))::bit(64)::bigint AS lower FROM (SELECT " SOURCE_KEY
        " AS k, md5(array_to_string(ARRAY[coalesce(\"id\"::text, '-'), coalesce(CASE WHEN \"n\"\"x\" IS DISTINCT FROM "
        "NULL THEN md5(concat(\"n\"\"x\")) END, '-'), coalesce(CASE WHEN \"j\" IS DISTINCT FROM NULL THEN '+' END, "
        "'-'), coalesce(CASE WHEN \"d\" BETWEEN '0001-01-01' AND '9999-12-31' THEN to_char(\"d\", 'YYYY-MM-DD') END, "
        "'-')]::text[], ',')) AS r FROM ONLY \"s\".\"t\" OFFSET 0) AS rows) AS numbers GROUP BY 1");
    check_text(
        target_digest, &fixture.form,
        "SELECT SUBSTR(\"_ETL_K\", 1, 2) AS \"_ETL_NAME\", COUNT(*) AS \"_ETL_ROWS\", "
        "SUM(MD5_NUMBER_UPPER64(\"_ETL_R\")) AS \"_ETL_UPPER\", SUM(MD5_NUMBER_LOWER64(\"_ETL_R\")) AS \"_ETL_LOWER\" "
        "FROM (SELECT " TARGET_KEY
        " AS \"_ETL_K\", CONCAT('', COALESCE(TO_CHAR(\"ID\"), '-'), ',', COALESCE(MD5(\"N\"), '-'), ',', "
        "COALESCE(CASE WHEN \"J\" IS NOT NULL THEN '+' END, '-'), ',', COALESCE(TO_CHAR(\"D\", 'YYYY-MM-DD'), '-')) "
        "AS \"_ETL_R\" FROM \"D\".\"S\".\"T\") GROUP BY SUBSTR(\"_ETL_K\", 1, 2)");
    fixture.form.source_filter = "id > 1";
    check_text(
        source_rows, &fixture.form,
        "COPY (SELECT " SOURCE_KEY
        " COLLATE \"C\", \"id\", \"n\"\"x\", \"j\", \"d\" FROM ONLY \"s\".\"t\" WHERE (id > 1) AND left(" SOURCE_KEY
        ", 2) IN ('0a', 'ff') ORDER BY 1) TO STDOUT (FORMAT binary)");
    fixture.form.target_filter = "\"_ETL_DELETED_AT\" IS NULL";
    fixture.form.has_coerced = true;
    check_text(target_rows, &fixture.form,
               "SELECT " TARGET_KEY
               " AS \"_ETL_K\", \"ID\", \"N\", \"J\", \"D\", \"_ETL_COERCED\" FROM \"D\".\"S\".\"T\" WHERE "
               "\"_ETL_DELETED_AT\" IS NULL ORDER BY \"_ETL_K\"");
    row_encoder_deinit(&fixture.encoder);
}

static void test_verify_form_reads_bytes_as_hex(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.encoder.columns[1].target = (struct target_type){.kind = TARGET_BINARY, .length = 9};
    fixture.table.column_count = 2;
    check_text(target_rows, &fixture.form,
               "SELECT " TARGET_KEY
               " AS \"_ETL_K\", \"ID\", HEX_ENCODE(\"N\") FROM \"D\".\"S\".\"T\" ORDER BY \"_ETL_K\"");
    fixture.table.column_count = COLUMNS;
    row_encoder_deinit(&fixture.encoder);
}

// Equal rows of a multiset are told apart by nothing, and a key that is not written alike cannot be the place.
static void test_verify_form_without_a_key(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.key[0] = 2;
    assert_false(form_is_keyed(&fixture.form));
    fixture.key[0] = 0;
    fixture.table.key_count = 0;
    assert_false(form_is_keyed(&fixture.form));
    fixture.table.column_count = 1;
    check_text(
        target_digest_whole, &fixture.form,
        "SELECT '' AS \"_ETL_NAME\", COUNT(*) AS \"_ETL_ROWS\", SUM(MD5_NUMBER_UPPER64(\"_ETL_R\")) AS \"_ETL_UPPER\", "
        "SUM(MD5_NUMBER_LOWER64(\"_ETL_R\")) AS \"_ETL_LOWER\" FROM (SELECT " TARGET_KEY
        " AS \"_ETL_K\", CONCAT('', COALESCE(TO_CHAR(\"ID\"), '-')) AS \"_ETL_R\" FROM \"D\".\"S\".\"T\")");
    // JSON may be NULL in the target where it is not at the source: it is in the row's text, and not in its place.
    fixture.table.column_count = 3;
    check_text(
        target_digest, &fixture.form,
        "SELECT SUBSTR(\"_ETL_K\", 1, 2) AS \"_ETL_NAME\", COUNT(*) AS \"_ETL_ROWS\", "
        "SUM(MD5_NUMBER_UPPER64(\"_ETL_R\")) AS \"_ETL_UPPER\", SUM(MD5_NUMBER_LOWER64(\"_ETL_R\")) AS \"_ETL_LOWER\" "
        "FROM (SELECT MD5(CONCAT('', COALESCE(TO_CHAR(\"ID\"), '-'), ',', COALESCE(MD5(\"N\"), '-'))) AS \"_ETL_K\", "
        "CONCAT('', COALESCE(TO_CHAR(\"ID\"), '-'), ',', COALESCE(MD5(\"N\"), '-'), ',', COALESCE(CASE WHEN \"J\" IS "
        "NOT "
        "NULL THEN '+' END, '-')) AS \"_ETL_R\" FROM \"D\".\"S\".\"T\") GROUP BY SUBSTR(\"_ETL_K\", 1, 2)");
    fixture.table.column_count = COLUMNS;
    row_encoder_deinit(&fixture.encoder);
}

static void check_command(const char *word, const char *arguments, bool is_good)
{
    struct catalog_command command = {.id = 7, .arguments = text_of(arguments)};
    struct pipeline_hold_order order;
    struct err error = {0};
    memcpy(command.word, word, strlen(word));
    assert_true(hold_command_is(&command));
    assert_int_equal(hold_command_read(&command, &order, &error), is_good);
    assert_int_equal(error.kind, is_good ? ERR_NONE : ERR_DATA);
}

static void test_hold_command(void **state)
{
    (void)state;
    struct pipeline_hold_order order = {.holder = "0123", .lease_ms = 5000, .lsn = 0x1600B374D8, .may_wake = true},
                               read;
    const char *word = NULL;
    struct err error = {0};
    struct catalog_command command = {.id = 9, .arguments = hold_command_write(&order, &word)};
    memcpy(command.word, word, strlen(word));
    assert_true(hold_command_read(&command, &read, &error));
    assert_string_equal(read.holder, "0123");
    assert_true(read.lease_ms == 5000 && read.lsn == order.lsn && read.may_wake && !read.is_release &&
                read.command_id == 9);
    free(command.arguments);
    check_command("release", "{\"holder\":\"x\"}", true);
    check_command("hold", "{\"holder\":\"x\",\"lease_ms\":1}", true);
    check_command("hold", "{\"holder\":\"x\"}", false);
    check_command("hold", "{\"holder\":\"\",\"lease_ms\":1}", false);
    check_command("hold", "{\"lease_ms\":1}", false);
    check_command("hold", "{\"holder\":\"x\",\"lease_ms\":99999999}", false);
    check_command("hold", "{\"holder\":\"x\",\"lease_ms\":1,\"lsn\":\"y\"}", false);
    check_command("hold", "{\"holder\":\"0123456789012345678901234567890123\",\"lease_ms\":1}", false);
    check_command("release", "nonsense", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_form_of_a_keyed_table), cmocka_unit_test(test_verify_form_reads_bytes_as_hex),
        cmocka_unit_test(test_verify_form_without_a_key), cmocka_unit_test(test_hold_command)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
