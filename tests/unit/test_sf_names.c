// Quoting, folding, channel names, and the marker in a table's comment.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sinks/snowflake/sf_names.h"

static void check_appended(void (*append)(struct buf *, const char *), const char *name, const char *expected)
{
    struct buf out;
    buf_init(&out, 1000);
    append(&out, name);
    assert_string_equal(buf_text(&out), expected);
    buf_deinit(&out);
}

static void test_sf_append_identifier(void **state)
{
    (void)state;
    check_appended(sf_append_identifier, "ORDERS", "\"ORDERS\"");
    check_appended(sf_append_identifier, "a\"b", "\"a\"\"b\"");
    check_appended(sf_append_identifier, "\"; DROP TABLE x; --", "\"\"\"; DROP TABLE x; --\"");
    check_appended(sf_append_identifier, "back\\slash'quote", "\"back\\slash'quote\"");
    check_appended(sf_append_identifier, "straße", "\"straße\"");
}

static void test_sf_append_literal(void **state)
{
    (void)state;
    check_appended(sf_append_literal, "", "''");
    check_appended(sf_append_literal, "it's", "'it''s'");
    check_appended(sf_append_literal, "a\\", "'a\\\\'");
    check_appended(sf_append_literal, "\\' OR 1=1 --", "'\\\\'' OR 1=1 --'");
    check_appended(sf_append_literal, "\"quoted\"", "'\"quoted\"'");
}

static void test_sf_append_qualified(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    sf_append_qualified(&out, "D", "S.T", "x\"y");
    assert_string_equal(buf_text(&out), "\"D\".\"S.T\".\"x\"\"y\"");
    buf_deinit(&out);
}

static void test_sf_append_folded_is_ascii_only(void **state)
{
    (void)state;
    check_appended(sf_append_folded, "order_Lines2$", "ORDER_LINES2$");
    check_appended(sf_append_folded, "straße", "STRAßE");
    check_appended(sf_append_folded, "über", "üBER");
}

static void test_sf_channel_name_depends_on_all_parts(void **state)
{
    (void)state;
    char first[SF_CHANNEL_NAME_SIZE_MAX];
    char other[SF_CHANNEL_NAME_SIZE_MAX];
    sf_channel_name_format("p", "public", "t", 1, 'S', 0, first);
    assert_int_equal(strlen(first), 4 + 16 + 3 + 3);
    assert_int_equal(strncmp(first, "ETL_", 4), 0);
    assert_string_equal(first + 20, "_E1_S0");
    assert_int_equal(strspn(first, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), strlen(first));
    sf_channel_name_format("p", "public", "t", 1, 'S', 0, other);
    assert_string_equal(first, other);
    const char *parts[][3] = {{"q", "public", "t"}, {"p", "publi", "ct"}, {"pp", "ublic", "t"}, {"p", "public", "u"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        sf_channel_name_format(parts[i][0], parts[i][1], parts[i][2], 1, 'S', 0, other);
        assert_string_not_equal(first, other);
    }
    sf_channel_name_format("p", "public", "t", 255, 'C', UINT32_MAX, other);
    assert_string_equal(other + 20, "_E255_C4294967295");
    assert_memory_equal(first, other, 20);
}

static void test_sf_channel_name_parse_knows_its_own_only(void **state)
{
    (void)state;
    char name[SF_CHANNEL_NAME_SIZE_MAX];
    uint8_t epoch = 0;
    char kind = 0;
    uint32_t n = 0;
    sf_channel_name_format("p", "public", "t", 7, 'C', 65534, name);
    assert_true(sf_channel_name_parse(name, "p", "public", "t", &epoch, &kind, &n));
    assert_int_equal(epoch, 7);
    assert_int_equal(kind, 'C');
    assert_int_equal(n, 65534);
    assert_false(sf_channel_name_parse(name, "q", "public", "t", &epoch, &kind, &n));
    assert_false(sf_channel_name_parse(name, "p", "public", "u", &epoch, &kind, &n));
    static const char *const tails[] = {"_E7_C65534x", "_E07_C65534", "_E7_C", "_E300_C1", "_E7C65534", "",
                                        "_E7_C+1",     "_E7_C 1"};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        (void)snprintf(name + 20, sizeof name - 20, "%s", tails[i]);
        assert_false(sf_channel_name_parse(name, "p", "public", "t", &epoch, &kind, &n));
    }
    assert_false(sf_channel_name_parse("SOMEBODYS", "p", "public", "t", &epoch, &kind, &n));
}

static void check_marker(const char *pipeline, const char *schema, const char *name, const char *expected)
{
    struct table table = {.schema_name = (char *)(uintptr_t)schema, .table_name = (char *)(uintptr_t)name};
    struct table other = {.schema_name = table.schema_name, .table_name = (char[]){"another"}};
    struct buf out;
    buf_init(&out, 1000);
    sf_marker_append(&out, pipeline, &table, "landing");
    assert_string_equal(buf_text(&out), expected);
    assert_int_equal(sf_marker_owner(buf_text(&out), pipeline, &table), SF_OWNER_US);
    assert_int_equal(sf_marker_owner(buf_text(&out), pipeline, &other), SF_OWNER_OTHER_TABLE);
    assert_int_equal(sf_marker_owner(buf_text(&out), "another", &table), SF_OWNER_OTHER_PIPELINE);
    buf_deinit(&out);
}

static void test_sf_marker_has(void **state)
{
    (void)state;
    struct table table = {.schema_name = (char[]){"s has=commit_at"}, .table_name = (char[]){"has=deleted_at"}};
    struct buf out;
    buf_init(&out, 10000);
    sf_marker_append(&out, "p has=commit_at", &table, "target");
    assert_false(sf_marker_has(buf_text(&out), SF_MARKER_COMMIT_AT));  // names that look like it
    assert_false(sf_marker_has(buf_text(&out), SF_MARKER_DELETED_AT));
    sf_marker_append_has(&out, SF_MARKER_DELETED_AT);
    assert_true(sf_marker_has(buf_text(&out), SF_MARKER_DELETED_AT));
    assert_false(sf_marker_has(buf_text(&out), "deleted"));
    assert_int_equal(sf_marker_owner(buf_text(&out), "p has=commit_at", &table), SF_OWNER_US);
    buf_deinit(&out);
}

static void test_sf_marker(void **state)
{
    (void)state;
    const struct table table = {.schema_name = (char[]){"a"}, .table_name = (char[]){"b"}};
    static const struct {
        const char *comment;
        enum sf_owner owner;
    } comments[] = {
        // A name that is the beginning of another one, and comments of others.
        {"etl-stream: pipeline=shop2 table=a.b role=target", SF_OWNER_OTHER_PIPELINE},
        {"etl-stream: pipeline=sho table=a.b role=target", SF_OWNER_OTHER_PIPELINE},
        {"etl-stream: pipeline=shop table=a.b role=target", SF_OWNER_US},
        {"etl-stream: pipeline=shop table=a.bc role=target", SF_OWNER_OTHER_TABLE},
        {"etl-stream: pipeline=shop table=a. role=target", SF_OWNER_OTHER_TABLE},
        {"etl-stream: pipeline=shop table=a", SF_OWNER_OTHER_TABLE},
        {"", SF_OWNER_NOBODY},
        {"orders of the shop", SF_OWNER_NOBODY},
        {"see etl-stream: pipeline=shop table=", SF_OWNER_NOBODY},
    };
    check_marker("shop", "public", "orders", "etl-stream: pipeline=shop table=public.orders role=landing");
    check_marker("my shop", "a b", "c=d%", "etl-stream: pipeline=my%20shop table=a%20b.c%3Dd%25 role=landing");
    check_marker("it's \"x\"\\", "s", "ö\n", "etl-stream: pipeline=it%27s%20%22x%22%5C table=s.ö%0A role=landing");
    check_marker("", "s", "t", "etl-stream: pipeline= table=s.t role=landing");
    for (size_t i = 0; i < sizeof comments / sizeof comments[0]; i++)
        if (sf_marker_owner(comments[i].comment, "shop", &table) != comments[i].owner)
            fail_msg("%s", comments[i].comment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sf_append_identifier),
        cmocka_unit_test(test_sf_append_literal),
        cmocka_unit_test(test_sf_append_qualified),
        cmocka_unit_test(test_sf_append_folded_is_ascii_only),
        cmocka_unit_test(test_sf_channel_name_depends_on_all_parts),
        cmocka_unit_test(test_sf_channel_name_parse_knows_its_own_only),
        cmocka_unit_test(test_sf_marker),
        cmocka_unit_test(test_sf_marker_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
