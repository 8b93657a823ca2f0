// The text of the merge: which statements it has for which tables, quoting, limits, and what its failures say. Whether the
// statements do what they should is shown by tests/integration/test_merge_cases.py.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/snowflake/sf_merge.h"
#include "unit/encode_tables.h"

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

struct fixture {
    struct column columns[4];
    struct column_encoder encoders[4];
    uint16_t key_columns[2];
    struct table table;
    struct sf_table_layout layout;
    struct sf_merge_table merge;
    struct sf_merge_window window;
    struct buf out;
    struct err error;
};

static void fixture_init(struct fixture *fixture, enum table_identity identity)
{
    memset(fixture, 0, sizeof *fixture);
    struct column *columns = fixture->columns;
    columns[0] =
        (struct column){.name = text_of("body"), .type = base_type(25, -1), .attribute_number = 2, .key_position = -1};
    columns[1] =
        (struct column){.name = text_of("id"), .type = base_type(23, -1), .attribute_number = 3, .key_position = 0};
    columns[2] =
        (struct column){.name = text_of("raw"), .type = base_type(17, -1), .attribute_number = 5, .key_position = -1};
    columns[3] =
        (struct column){.name = text_of("n"), .type = base_type(23, -1), .attribute_number = 6, .key_position = -1};
    if (identity == IDENTITY_NOTHING)
        columns[1].key_position = -1;
    fixture->encoders[0].target = (struct target_type){.kind = TARGET_VARCHAR, .length = 100};
    fixture->encoders[1].target = (struct target_type){.kind = TARGET_NUMBER, .precision = 38};
    fixture->encoders[2].target = (struct target_type){.kind = TARGET_BINARY, .length = 100};
    fixture->encoders[3].target = (struct target_type){.kind = TARGET_NUMBER, .precision = 38};
    fixture->table = (struct table){.schema_name = text_of("public"),
                                    .table_name = text_of("docs"),
                                    .identity = identity,
                                    .columns = columns,
                                    .column_count = 4,
                                    .key_count = identity == IDENTITY_NOTHING ? 0 : 1,
                                    .key_columns = fixture->key_columns};
    fixture->key_columns[0] = 1;
    assert_true(sf_layout_init(&fixture->layout, &fixture->table, fixture->encoders, "D", "S", "L",
                               &(struct sf_naming){0}, &fixture->error));
    fixture->merge.layout = &fixture->layout;
    fixture->window = (struct sf_merge_window){.database = "D",
                                               .landing_schema = "L",
                                               .pipeline = "p",
                                               .epoch = 1,
                                               .state_from = "010000000000000100",
                                               .writer = "00000000000000AA",
                                               .from = 0x100,
                                               .below = 0x200,
                                               .lock_timeout_s = 60,
                                               .landing_retention_s = UINT32_MAX};
    buf_init(&fixture->out, 4 * SF_MERGE_TEXT_SIZE_MAX);
}

static void fixture_deinit(struct fixture *fixture)
{
    sf_layout_deinit(&fixture->layout);
    buf_deinit(&fixture->out);
}

static const char *built(struct fixture *fixture)
{
    struct sf_merge_parts parts;
    buf_reset(&fixture->out);
    assert_true(sf_merge_build(&fixture->window, &fixture->merge, 1, NULL, &parts, &fixture->error));
    assert_int_equal(parts.procedure_count, 0);
    buf_append(&fixture->out, parts.block.data, parts.block.size);
    sf_merge_parts_deinit(&parts);
    return buf_text(&fixture->out);
}

static void check_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("lacks: %s\nin: %s", part, text);
}

static void check_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("has: %s\nin: %s", part, text);
}

// Without hints, later merge: the whole text, as an example.
static const char plain_merge[] =
    "EXECUTE IMMEDIATE $$\n"
    "DECLARE\n"
    "  etl_fenced EXCEPTION (-20001, 'etl_fenced: pipeline p: another merge was faster, or another program merges it; "
    "the "
    "state table does not hold 010000000000000100');\n"
    "  etl_behind_0 EXCEPTION (-20010, 'etl_behind_0: table public.docs: rows that are committed are not in the "
    "landing "
    "table');\n"
    "  etl_hint_0 EXCEPTION (-20011, 'etl_hint_0: table public.docs: the landing table holds kinds of rows that were "
    "ruled out');\n"
    "  etl_coerced_0 EXCEPTION (-20012, 'etl_coerced_0: table public.docs: values do not fit their types, and the "
    "target "
    "has no _ETL_COERCED yet');\n"
    "  etl_seen VARCHAR;\n"
    "  etl_from VARCHAR;\n"
    "  etl_count INTEGER;\n"
    "  etl_odd INTEGER;\n"
    "  etl_coerced INTEGER;\n"
    "BEGIN\n"
    "  ALTER SESSION SET LOCK_TIMEOUT = 60, ERROR_ON_NONDETERMINISTIC_MERGE = TRUE;\n"
    "  BEGIN TRANSACTION;\n"
    "  UPDATE \"D\".\"L\".\"_ETL_STATE_p\" SET \"POSITION\" = '010000000000000200', \"COMMIT_AT\" = NULL, "
    "\"MERGED_AT\" "
    "= "
    "CURRENT_TIMESTAMP()\n"
    "   WHERE \"PIPELINE\" = 'p' AND \"POSITION\" = '010000000000000100' AND \"WRITER\" = '00000000000000AA';\n"
    "  IF (SQLROWCOUNT <> 1) THEN\n"
    "    RAISE etl_fenced;\n"
    "  END IF;\n"
    "  SELECT MAX(\"_ETL_SEQ\"),\n"
    "         COALESCE(MAX(IFF(\"_ETL_OP\" = 'T' AND \"_ETL_SEQ\" < '010000000000000200', \"_ETL_SEQ\", NULL)), ''),\n"
    "         COUNT_IF(\"_ETL_OP\" = 'C' AND \"_ETL_SEQ\" = ''),\n"
    "         COUNT_IF(\"_ETL_SEQ\" < '010000000000000200' AND (\"_ETL_UNCHANGED\" IS NOT NULL OR \"_ETL_OLD_KEY\" IS "
    "NOT "
    "NULL)),\n"
    "         COUNT_IF(\"_ETL_COERCED\" IS NOT NULL)\n"
    "    INTO :etl_seen, :etl_from, :etl_count, :etl_odd, :etl_coerced\n"
    "    FROM \"D\".\"L\".\"LANDING_DOCS\"\n"
    "   WHERE \"_ETL_SEQ\" >= '010000000000000100';\n"
    "  IF (etl_seen IS NULL OR etl_seen < '01000000000000018000000002') THEN\n"
    "    RAISE etl_behind_0;\n"
    "  END IF;\n"
    "  IF (etl_odd > 0) THEN\n"
    "    RAISE etl_hint_0;\n"
    "  END IF;\n"
    "  IF (etl_coerced > 0) THEN\n"
    "    RAISE etl_coerced_0;\n"
    "  END IF;\n"
    "  IF (etl_from <> '') THEN\n"
    "    DELETE FROM \"D\".\"S\".\"DOCS\";\n"
    "  END IF;\n"
    "  MERGE INTO \"D\".\"S\".\"DOCS\" AS t USING (\n"
    "    WITH e AS (\n"
    "      SELECT \"BODY\", \"ID\", BASE64_DECODE_BINARY(\"RAW\") AS \"RAW\", \"N\", \"_ETL_SEQ\", IFF(\"_ETL_OP\" = "
    "'D', "
    "'D', 'P') AS \"_ETL_DO\"\n"
    "        FROM \"D\".\"L\".\"LANDING_DOCS\"\n"
    "       WHERE \"_ETL_SEQ\" >= '010000000000000100' AND \"_ETL_SEQ\" < '010000000000000200' AND \"_ETL_OP\" IN "
    "('I', "
    "'U', 'D') AND \"_ETL_SEQ\" > :etl_from\n"
    "    )\n"
    "    SELECT \"BODY\", \"ID\", \"RAW\", \"N\", \"_ETL_DO\"\n"
    "      FROM e\n"
    "    QUALIFY ROW_NUMBER() OVER (PARTITION BY \"ID\" ORDER BY \"_ETL_SEQ\" DESC, \"_ETL_DO\" DESC) = 1\n"
    "  ) AS s ON t.\"ID\" = s.\"ID\"\n"
    "  WHEN MATCHED AND s.\"_ETL_DO\" = 'D' THEN DELETE\n"
    "  WHEN MATCHED THEN UPDATE SET \"BODY\" = s.\"BODY\", \"RAW\" = s.\"RAW\", \"N\" = s.\"N\"\n"
    "  WHEN NOT MATCHED AND s.\"_ETL_DO\" = 'P' THEN INSERT (\"BODY\", \"ID\", \"RAW\", \"N\") VALUES (s.\"BODY\", "
    "s.\"ID\", s.\"RAW\", s.\"N\");\n"
    "  COMMIT;\n"
    "  RETURN 'merged';\n"
    "EXCEPTION\n"
    "  WHEN OTHER THEN\n"
    "    ROLLBACK;\n"
    "    RAISE;\n"
    "END;\n"
    "$$";

static void test_sf_merge_plain(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    (void)snprintf(fixture.merge.highest_committed, sizeof fixture.merge.highest_committed,
                   "01000000000000018000000002");
    assert_string_equal(built(&fixture), plain_merge);
    fixture_deinit(&fixture);
}

static void test_sf_merge_hints_choose_the_form(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.merge.may_have_moved = true;
    const char *text = built(&fixture);
    check_has(text, "SELECT NULL, \"_ETL_OLD_KEY\"[0]::NUMBER(38,0), NULL, NULL, \"_ETL_SEQ\", 'D'\n");
    check_has(text, "COUNT_IF(\"_ETL_SEQ\" < '010000000000000200' AND \"_ETL_UNCHANGED\" IS NOT NULL)");
    check_lacks(text, "RECURSIVE");
    check_lacks(text, "etl_unresolved");

    fixture.merge.may_have_unchanged = true;
    text = built(&fixture);
    check_has(text, "WITH RECURSIVE");
    check_has(text, "RAISE etl_unresolved_0");
    check_has(text, "ARRAY_CONTAINS(2::VARIANT, \"_ETL_UNCHANGED\")");
    check_has(text, "ARRAY_CONTAINS(5::VARIANT, \"_ETL_UNCHANGED\")");
    check_lacks(text, "ARRAY_CONTAINS(3::VARIANT");  // the key
    check_lacks(text, "ARRAY_CONTAINS(6::VARIANT");  // an int4 is always sent
    check_lacks(text, "etl_hint");

    fixture.merge.may_have_moved = false;
    text = built(&fixture);
    check_lacks(text, "RECURSIVE");
    check_lacks(text, "_ETL_OLD_KEY\"[");
    check_has(text, "COUNT_IF(\"_ETL_SEQ\" < '010000000000000200' AND \"_ETL_OLD_KEY\" IS NOT NULL)");
    check_has(text, "\"_ETL_FOUND\"");
    fixture_deinit(&fixture);
}

static void test_sf_merge_first_replaces(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.merge.is_first = true;
    fixture.merge.copy_lsn = 0x180;
    fixture.merge.copied_rows = 7;
    fixture.merge.may_have_unchanged = true;
    const char *text = built(&fixture);
    check_has(text, "END IF;\n  DELETE FROM \"D\".\"S\".\"DOCS\";\n");
    check_has(text, "INSERT INTO \"D\".\"S\".\"DOCS\"");
    check_has(text, "IF (etl_count <> 7) THEN\n    RAISE etl_behind_0;");
    check_has(text, "COUNT_IF(\"_ETL_OP\" = 'C' AND \"_ETL_SEQ\" = '01000000000000018000000000')");
    check_has(text,
              "WHERE \"_ETL_SEQ\" >= '010000000000000180' AND (\"_ETL_SEQ\" < '010000000000000200' AND \"_ETL_OP\" "
              "IN ('I', 'U', 'D') OR \"_ETL_SEQ\" = '01000000000000018000000000' AND \"_ETL_OP\" = 'C') AND ");
    check_lacks(text, "MERGE INTO");
    check_lacks(text, "\"_ETL_FOUND\"");  // nothing was in the target before
    fixture_deinit(&fixture);
}

static void test_sf_merge_append_only(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_NOTHING);
    fixture.merge.may_have_unchanged = true;
    fixture.merge.may_have_moved = true;
    const char *text = built(&fixture);
    check_has(text, "INSERT INTO \"D\".\"S\".\"DOCS\" (\"BODY\", \"ID\", \"RAW\", \"N\")\n"
                    "  SELECT \"BODY\", \"ID\", BASE64_DECODE_BINARY(\"RAW\") AS \"RAW\", \"N\"\n");
    check_has(text, "AND \"_ETL_OP\" = 'I' AND");
    check_has(text, "COUNT_IF(\"_ETL_SEQ\" < '010000000000000200' AND \"_ETL_OP\" IN ('U', 'D'))");
    check_has(text, "RAISE etl_unresolved_0;");
    check_lacks(text, "MERGE INTO");
    fixture_deinit(&fixture);
}

static void check_guard(struct fixture *fixture, const char *highest, bool is_expected)
{
    (void)snprintf(fixture->merge.highest_committed, sizeof fixture->merge.highest_committed, "%s", highest);
    const char *text = built(fixture);
    if (is_expected)
        check_has(text, "etl_seen IS NULL OR");
    else
        check_lacks(text, "etl_seen IS NULL OR");
}

static void test_sf_merge_guard(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    check_guard(&fixture, "", false);
    check_guard(&fixture, "01000000000000010000000001", true);   // the first row of the window
    check_guard(&fixture, "0100000000000000FF00000009", false);  // merged already
    check_guard(&fixture, "01000000000000010000000000", false);  // stands for no row
    check_guard(&fixture, "01000000000000090000000002", true);   // beyond the bound
    (void)snprintf(fixture.merge.also_committed[0], sizeof fixture.merge.also_committed[0], "%s",
                   "01000000000000018000000004");
    (void)snprintf(fixture.merge.also_committed[1], sizeof fixture.merge.also_committed[1], "%s",
                   "01000000000000010000000002");
    fixture.merge.also_committed_count = 2;
    check_has(built(&fixture), "SELECT IFF(COUNT(DISTINCT IFF(\"_ETL_SEQ\" IN ('01000000000000018000000004', "
                               "'01000000000000010000000002'), \"_ETL_SEQ\", NULL)) = 2, MAX(\"_ETL_SEQ\"), NULL),");
    fixture.merge.also_committed_count = 0;
    fixture.merge.is_first = true;
    fixture.merge.copy_lsn = 0x180;
    check_guard(&fixture, "01000000000000017000000002", false);  // below the copy
    check_guard(&fixture, "01000000000000018000000002", true);
    fixture_deinit(&fixture);
}

static void test_sf_merge_commit_time(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.window.commit_wall_us = 1709251199000042;
    check_has(built(&fixture), "\"COMMIT_AT\" = '2024-02-29 23:59:59.000042 +00:00'::VARIANT::TIMESTAMP_TZ(6), ");
    fixture_deinit(&fixture);
}

static void test_sf_merge_quotes_any_name(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    sf_layout_deinit(&fixture.layout);
    fixture.columns[0].name = text_of("a$$b\"'\\");
    fixture.table.schema_name = text_of("it's\n");
    fixture.table.table_name = text_of("\"x\"");
    fixture.window.pipeline = "p'\\";
    assert_true(sf_layout_init(&fixture.layout, &fixture.table, fixture.encoders, "D", "S", "L", &(struct sf_naming){0},
                               &fixture.error));
    const char *text = built(&fixture);
    // In a single-quoted text every quote is doubled and every backslash as well, on top of the statements' own quoting.
    assert_int_equal(strncmp(text, "EXECUTE IMMEDIATE 'DECLARE\n", 27), 0);
    check_has(text, "\"A$$B\"\"''\\\\\"");
    check_has(text, "WHERE \"PIPELINE\" = ''p''''\\\\\\\\''");
    check_has(text, "table it''''s .''''x'''':");  // no double quotes and no line breaks in messages
    check_has(text, "\"D\".\"S\".\"\"\"X\"\"\"");
    assert_string_equal(text + strlen(text) - 6, "END;\n'");
    fixture_deinit(&fixture);
}

// An update that changes 0 to -0 has an old key; whether Snowflake puts the two into one group is not known.
static void test_sf_merge_keys_of_floats(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.encoders[1].target = (struct target_type){.kind = TARGET_FLOAT};
    fixture.merge.may_have_moved = true;
    const char *text = built(&fixture);
    check_has(text, "PARTITION BY IFF(\"ID\" = 0, 0, \"ID\")");
    check_has(text, "AS s ON IFF(t.\"ID\" = 0, 0, t.\"ID\") = IFF(s.\"ID\" = 0, 0, s.\"ID\")");
    fixture_deinit(&fixture);
}

static void test_sf_merge_multiset(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_FULL);
    fixture.table.key_count = 0;
    fixture.columns[1].key_position = -1;
    fixture.encoders[3].target = (struct target_type){.kind = TARGET_FLOAT};
    fixture.merge.may_have_unchanged = fixture.merge.may_have_moved = true;  // of no account here
    const char *text = built(&fixture);
    check_has(text, "MERGE INTO \"D\".\"S\".\"DOCS\" AS t USING (\n    WITH w AS (");
    check_has(text, "PARTITION BY \"BODY\", \"ID\", \"RAW\", IFF(\"N\" = 0, 0, \"N\")) AS \"_ETL_NET\"");
    check_has(text, "HASH(t.\"BODY\", t.\"ID\", t.\"RAW\", IFF(t.\"N\" = 0, 0, t.\"N\")) = s.\"_ETL_HASH\" AND "
                    "EQUAL_NULL(t.\"BODY\", s.\"BODY\")");
    check_has(text, "(\"_ETL_OP\" = 'U' OR \"_ETL_UNCHANGED\" IS NOT NULL)");
    check_has(text, "HAVING COUNT(x.\"_ETL_FOUND\") < d.\"_ETL_SURPLUS\"\n  );\n  IF (etl_count > 0) THEN\n    RAISE "
                    "etl_unresolved_0;");
    check_lacks(text, "etl_hint");
    check_lacks(text, "RECURSIVE");

    fixture.merge.is_first = true;
    fixture.merge.copy_lsn = 0x180;
    text = built(&fixture);
    check_has(text, "  DELETE FROM \"D\".\"S\".\"DOCS\";\n");
    check_has(text, "INSERT INTO \"D\".\"S\".\"DOCS\"");
    check_lacks(text, "MERGE INTO");
    check_lacks(text, "_ETL_FOUND");
    fixture_deinit(&fixture);
}

static void test_sf_merge_marks_deletes(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.layout.has_deleted_at = true;
    const char *text = built(&fixture);  // deletes are done, but a mark of earlier is taken away
    check_has(text, "\"N\" = s.\"N\", \"_ETL_DELETED_AT\" = NULL\n");
    check_has(text, "WHEN MATCHED AND s.\"_ETL_DO\" = 'D' THEN DELETE\n");
    check_lacks(text, "etl_at");

    fixture.layout.marks_deletes = true;
    text = built(&fixture);
    check_has(text, "  etl_at TIMESTAMP_TZ(6);\nBEGIN\n");
    check_has(text,
              "  SELECT CURRENT_TIMESTAMP()::TIMESTAMP_TZ(6) INTO :etl_at;\n  IF (etl_from <> '') THEN\n    UPDATE "
              "\"D\".\"S\".\"DOCS\" SET \"_ETL_DELETED_AT\" = :etl_at WHERE \"_ETL_DELETED_AT\" IS NULL;\n  END IF;\n");
    check_has(text, "THEN UPDATE SET \"_ETL_DELETED_AT\" = s.\"_ETL_DELETED_AT\"\n");
    check_lacks(text, "DELETE FROM");
    check_lacks(text, "THEN DELETE");
    check_lacks(text, "> :etl_from");

    fixture.layout.has_commit_at = true;
    fixture.merge.is_first = true;
    text = built(&fixture);
    check_has(text, "COALESCE(\"_ETL_COMMIT_AT\", CURRENT_TIMESTAMP()::TIMESTAMP_TZ(6)) AS \"_ETL_AT\"");
    check_has(text, "GROUP BY \"ID\" HAVING COUNT(*) > 1");
    check_has(text, "MERGE INTO");
    fixture_deinit(&fixture);
}

static void test_sf_merge_without_tables(void **state)
{
    (void)state;
    struct fixture fixture;
    struct sf_merge_parts parts;
    fixture_init(&fixture, IDENTITY_KEY);
    assert_true(sf_merge_build(&fixture.window, NULL, 0, NULL, &parts, &fixture.error));
    check_has(buf_text(&parts.block), "END IF;\n  COMMIT;\n");  // there is still a position to move on
    sf_merge_parts_deinit(&parts);
    fixture_deinit(&fixture);
}

static void test_sf_merge_of_many_tables_is_procedures(void **state)
{
    (void)state;
    struct fixture fixture;
    struct sf_merge_parts parts;
    const uint32_t many = 700;
    uint32_t found = 0, *lines = calloc(many, sizeof *lines);
    struct sf_merge_table *tables = calloc(many, sizeof *tables);
    assert_true(tables != NULL && lines != NULL);
    fixture_init(&fixture, IDENTITY_KEY);
    for (uint32_t i = 0; i < many; i++)
        tables[i] = fixture.merge;
    assert_true(sf_merge_build(&fixture.window, tables, 300, lines, &parts, &fixture.error));
    assert_int_equal(parts.procedure_count, 0);
    check_has(buf_text(&parts.block), "etl_hint_299 EXCEPTION (-20608, ");
    sf_merge_parts_deinit(&parts);

    assert_true(sf_merge_build(&fixture.window, tables, many, lines, &parts, &fixture.error));
    assert_in_range(parts.procedure_count, 2, 4);
    assert_int_equal(lines[0], UINT32_MAX);
    const char *block = buf_text(&parts.block);
    check_has(block, "  CALL \"D\".\"L\".\"_ETL_MERGE_0_p\"('00000000000000AA 010000000000000100 010000000000000200 "
                     "merge');\n  CALL ");
    check_lacks(block, "MERGE INTO");
    for (uint32_t i = 0; i < parts.procedure_count; i++) {
        const char *procedure = buf_text(&parts.procedures[i]);
        assert_in_range(strlen(procedure), 1, SF_MERGE_TEXT_SIZE_MAX);
        assert_ptr_equal(strstr(procedure, "CREATE OR REPLACE PROCEDURE \"D\".\"L\".\"_ETL_MERGE_"), procedure);
        check_has(procedure, "IF (etl_token <> '00000000000000AA 010000000000000100 010000000000000200 merge') THEN\n  "
                             "  RAISE etl_fenced;");
        check_lacks(procedure, "COMMIT");
        for (const char *c = procedure; (c = strstr(c, "MERGE INTO")) != NULL; c++)
            found++;
    }
    assert_int_equal(found, many);
    check_has(buf_text(&parts.procedures[1]), "EXCEPTION (-20010, ");  // numbered anew in each
    buf_reset(&fixture.out);
    sf_merge_build_drop(&fixture.window, 1, &fixture.out);
    assert_string_equal(buf_text(&fixture.out), "DROP PROCEDURE IF EXISTS \"D\".\"L\".\"_ETL_MERGE_1_p\"(VARCHAR)");
    sf_merge_parts_deinit(&parts);

    fixture.window.text_size_max = 1500;  // not even one fits
    assert_false(sf_merge_build(&fixture.window, tables, 3, lines, &parts, &fixture.error));
    assert_string_equal(fixture.error.code, "merge_text_size");
    assert_int_equal(fixture.error.kind, ERR_DATA);
    free(tables);
    free(lines);
    fixture_deinit(&fixture);
}

static void test_sf_merge_failure_of(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        enum sf_merge_failure failure;
        uint32_t table;
    } cases[] = {
        {"Uncaught exception of type 'ETL_FENCED' on line 12 at position 4 : etl_fenced: pipeline etl_behind_1",
         SF_MERGE_FAILURE_FENCED, UINT32_MAX},
        {"Uncaught exception of type 'ETL_BEHIND_12' on line 3 at position 4 : etl_behind_12: table etl_hint_3.x",
         SF_MERGE_FAILURE_BEHIND, 12},
        {"etl_unresolved_0: table a.b: a value", SF_MERGE_FAILURE_UNRESOLVED, 0},
        {"etl_hint_4294967294", SF_MERGE_FAILURE_HINT, 4294967294U},
        {"100189 (22000): Recursion exceeded max iteration count (100).", SF_MERGE_FAILURE_UNRESOLVED, UINT32_MAX},
        {"Numeric value 'x' is not recognized", SF_MERGE_FAILURE_OTHER, UINT32_MAX},
        {"", SF_MERGE_FAILURE_OTHER, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t table = 1;
        assert_int_equal(sf_merge_failure_of(cases[i].message, &table), cases[i].failure);
        assert_int_equal(table, cases[i].table);
    }
}

static void test_sf_merge_suspect_of(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, IDENTITY_KEY);
    const struct sf_merge_table tables[] = {fixture.merge, fixture.merge, fixture.merge};
    uint32_t lines[3];
    struct sf_merge_parts parts;
    assert_true(sf_merge_build(&fixture.window, tables, 3, lines, &parts, &fixture.error));
    buf_append(&fixture.out, parts.block.data, parts.block.size);
    sf_merge_parts_deinit(&parts);
    // Each begins where its guard does, counted from the quote behind EXECUTE IMMEDIATE.
    const char *text = strchr(buf_text(&fixture.out), '\n');
    uint32_t line = 1, found = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\n')
            continue;
        line++;
        if (strncmp(c + 1, "  SELECT MAX(", 13) == 0)
            assert_int_equal(lines[found++], line);
    }
    assert_int_equal(found, 3);
    char message[128];
    (void)snprintf(message, sizeof message, "Uncaught exception of type 'STATEMENT_ERROR' on line %u at position 2 : x",
                   (unsigned)lines[1] + 3);
    assert_int_equal(sf_merge_suspect_of(message, lines, 3), 1);
    assert_int_equal(sf_merge_suspect_of("… on line 2 at position 1 : x", lines, 3), UINT32_MAX);
    assert_int_equal(sf_merge_suspect_of("Statement reached its timeout", lines, 3), UINT32_MAX);
    fixture.window.is_trial = true;
    check_has(built(&fixture), "  ROLLBACK;\n  RETURN 'tried';\nEXCEPTION\n");
    check_lacks(built(&fixture), "COMMIT;");
    fixture_deinit(&fixture);
}

static void test_sf_merge_retention(void **state)
{
    (void)state;
    struct fixture fixture;
    char position[SEQ_POSITION_TEXT_SIZE + 1];
    fixture_init(&fixture, IDENTITY_KEY);
    fixture.window.now_wall_us = 1709251199000042;
    fixture.window.landing_retention_s = 86400;
    const char *text = built(&fixture);
    check_has(text,
              "\"CLEAN_POSITION\" = IFF(\"MARKED_AT\" > '2024-02-28 23:59:59.000042 +00:00'::VARIANT::TIMESTAMP_TZ(6), "
              "\"CLEAN_POSITION\", \"MARK_POSITION\")");
    check_has(text, "\"MARK_POSITION\", '010000000000000200')");
    check_has(text, "  COMMIT;\n  RETURN 'merged ' || etl_seen;\n");
    buf_reset(&fixture.out);
    sf_merge_build_clean(&fixture.layout, "010000000000000180", &fixture.out);
    check_has(buf_text(&fixture.out),
              "DELETE FROM \"D\".\"L\".\"LANDING_DOCS\" WHERE \"_ETL_SEQ\" < '010000000000000180' AND ");

    assert_true(sf_merge_read_answer("merged", position));
    assert_string_equal(position, "");
    assert_true(sf_merge_read_answer("merged ", position));
    assert_string_equal(position, "");
    assert_true(sf_merge_read_answer("merged 0100000000000001FF", position));
    assert_string_equal(position, "0100000000000001FF");
    static const char *const bad[] = {"tried", "", "merged 01", "merged 0100000000000001fx",
                                      "merged 0100000000000001FF0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(sf_merge_read_answer(bad[i], position));
        assert_string_equal(position, "");
    }
    assert_false(sf_merge_read_answer(NULL, position));
    fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sf_merge_plain),           cmocka_unit_test(test_sf_merge_hints_choose_the_form),
        cmocka_unit_test(test_sf_merge_first_replaces),  cmocka_unit_test(test_sf_merge_append_only),
        cmocka_unit_test(test_sf_merge_guard),           cmocka_unit_test(test_sf_merge_commit_time),
        cmocka_unit_test(test_sf_merge_quotes_any_name), cmocka_unit_test(test_sf_merge_keys_of_floats),
        cmocka_unit_test(test_sf_merge_multiset),        cmocka_unit_test(test_sf_merge_marks_deletes),
        cmocka_unit_test(test_sf_merge_without_tables),  cmocka_unit_test(test_sf_merge_of_many_tables_is_procedures),
        cmocka_unit_test(test_sf_merge_failure_of),      cmocka_unit_test(test_sf_merge_suspect_of),
        cmocka_unit_test(test_sf_merge_retention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
