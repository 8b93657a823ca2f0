// The source's URL: what is taken, what is refused and how that is told; targets and their descriptions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "pg/pg_url.h"

struct parsed {
    struct pg_target target;
    char *publication;
    char *slot;
    struct err error;
    bool is_good;
};

static struct parsed parse(const char *url)
{
    struct parsed parsed = {0};
    parsed.is_good = pg_url_parse(url, &parsed.target, &parsed.publication, &parsed.slot, &parsed.error);
    return parsed;
}

static void release(struct parsed *parsed)
{
    pg_target_deinit(&parsed->target);
    free(parsed->publication);
    free(parsed->slot);
}

static void assert_text(const char *found, const char *expected)
{
    if (expected == NULL)
        assert_null(found);
    else
        assert_string_equal(found, expected);
}

static void test_pg_url_parse(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *port, *user, *password, *database, *publication, *slot, *mode, *cert;
    } cases[] = {
        {"postgres://ann@db.example.com/shop", "db.example.com", "5432", "ann", NULL, "shop", NULL, NULL, NULL, NULL},
        {"postgresql://ann:pw@db:6000/shop?publication=p&slot=s&sslmode=verify-full&sslrootcert=%2Fa%2Fb.pem", "db",
         "6000", "ann", "pw", "shop", "p", "s", "verify-full", "/a/b.pem"},
        {"postgres://an%40n:%2F%3F%23%3A%40%25@db/a%2Fb?publication=my%20%22pub%22", "db", "5432", "an@n", "/?#:@%",
         "a/b", "my \"pub\"", NULL, NULL, NULL},
        {"postgres://a:x@y@db/d", "db", "5432", "a", "x@y", "d", NULL, NULL, NULL, NULL},
        {"postgres://a:b:c@db/d", "db", "5432", "a", "b:c", "d", NULL, NULL, NULL, NULL},
        {"postgres://a:@db/d", "db", "5432", "a", "", "d", NULL, NULL, NULL, NULL},
        {"postgres://a@[2001:db8::1]:5433/d", "2001:db8::1", "5433", "a", NULL, "d", NULL, NULL, NULL, NULL},
        {"postgres://a@[::1]/d?", "::1", "5432", "a", NULL, "d", NULL, NULL, NULL, NULL},
        {"postgres://a@%2Fvar%2Frun%2Fpostgresql:5433/d", "/var/run/postgresql", "5433", "a", NULL, "d", NULL, NULL,
         NULL, NULL},
        {"postgres://a@db/d?publication=f%C3%BCr&&slot=a_1&", "db", "5432", "a", NULL, "d", "f\xC3\xBCr", "a_1", NULL,
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed parsed = parse(cases[i].url);
        if (!parsed.is_good)
            fail_msg("%s: %s", cases[i].url, parsed.error.text);
        assert_text(parsed.target.host, cases[i].host);
        assert_text(parsed.target.port, cases[i].port);
        assert_text(parsed.target.user, cases[i].user);
        assert_text(parsed.target.password, cases[i].password);
        assert_text(parsed.target.database, cases[i].database);
        assert_text(parsed.publication, cases[i].publication);
        assert_text(parsed.slot, cases[i].slot);
        assert_text(parsed.target.tls_mode, cases[i].mode);
        assert_text(parsed.target.tls_root_cert, cases[i].cert);
        release(&parsed);
    }
}

static void test_pg_url_errors_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        const char *said[3];
    } cases[] = {
        {"mysql://a@db/d", {"must begin with postgres://"}},
        {"", {"must begin with postgres://"}},
        {"postgres://", {"user is missing", "host is missing", "database is missing"}},
        {"postgres://db/d", {"user is missing"}},
        {"postgres://:x@db/d", {"user is missing"}},
        {"postgres://a@/d", {"host is missing", "%2F"}},
        {"postgres://a@db", {"database is missing"}},
        {"postgres://a@db/", {"database is missing"}},
        {"postgres://a@db/d/e", {"%2F in place of a slash"}},
        {"postgres://a@db:0/d", {"port must be a number from 1 to 65535"}},
        {"postgres://a@db:65536/d", {"port must be a number from 1 to 65535"}},
        {"postgres://a@db:/d", {"port must be"}},
        {"postgres://a@db:99999999999999999999/d", {"port must be"}},
        {"postgres://a@::1/d", {"port must be", "brackets"}},
        {"postgres://a@[::1/d", {"closing bracket"}},
        {"postgres://a@[::1]x/d", {"brackets"}},
        {"postgres://a@db,db2/d", {"one host only"}},
        {"postgres://a@db/d?user=b", {"unknown parameter \"user\"", "sslrootcert"}},
        {"postgres://a@db/d?slot", {"slot has no value"}},
        {"postgres://a@db/d?slot=a&slot=b", {"slot is given twice"}},
        {"postgres://a@db/d?slot=Big", {"slot's name", "a-z"}},
        {"postgres://a@db/d?slot=", {"slot's name"}},
        {"postgres://a@db/d?publication=", {"publication's name must have 1 to 63"}},
        {"postgres://a@db/d?sslmode=on", {"sslmode must be disable", "verify-full"}},
        {"postgres://a@db/d?sslrootcert=", {"sslrootcert must name a file"}},
        {"postgres://a@db/d%zz", {"the database has a % without two"}},
        {"postgres://a@db/d%2", {"the database has a % without two"}},
        {"postgres://a%00@db/d", {"the user has a NUL"}},
        {"postgres://a@db:x/d?sslmode=on&what=1", {"port must be", "sslmode must be", "unknown parameter \"what\""}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed parsed = parse(cases[i].url);
        assert_false(parsed.is_good);
        assert_int_equal(parsed.error.kind, ERR_CONFIG);
        assert_null(parsed.target.host);
        assert_null(parsed.publication);
        assert_null(parsed.slot);
        assert_null(strchr(parsed.error.text, '\n'));
        assert_non_null(strstr(parsed.error.text, "the source's URL is wrong: "));
        for (size_t j = 0; j < 3 && cases[i].said[j] != NULL; j++)
            if (strstr(parsed.error.text, cases[i].said[j]) == NULL)
                fail_msg("%s: no \"%s\" in: %s", cases[i].url, cases[i].said[j], parsed.error.text);
        release(&parsed);
    }
}

// Wherever a badly encoded password puts its pieces, none is shown.
static void test_pg_url_errors_do_not_show_the_password(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "postgres://a:se%cret@db/d",       "postgres://a:sec/ret@db/d",     "postgres://a:sec?ret@db/d",
        "postgres://a:sec?ret=1&x@db/d",   "postgres://a:s@ec/ret@db/d",    "postgres://a:sec%00ret@db/d",
        "postgres://a:s@ec?slot=ret@db/d", "postgres://a:secret@db/d?x=%z", "postgres://a:secret@db:ret/d/e",
        "postgres://a:sec[ret@db/d?x=1",   "postgres://a:secret/d?x=1@db",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct parsed parsed = parse(urls[i]);
        assert_false(parsed.is_good);
        if (strstr(parsed.error.text, "sec") != NULL || strstr(parsed.error.text, "ret") != NULL)
            fail_msg("%s: %s", urls[i], parsed.error.text);
        release(&parsed);
    }
}

static void test_pg_url_every_cut_and_byte_is_handled(void **state)
{
    (void)state;
    static const char whole[] =
        "postgres://us%41er:pa%20ss@[::1]:5432/da%20ta?publication=p%20q&slot=s&sslmode=require";
    char url[sizeof whole];
    for (size_t size = 0; size < sizeof whole; size++) {
        memcpy(url, whole, size);
        url[size] = '\0';
        struct parsed parsed = parse(url);
        release(&parsed);
        static const char bytes[] = "%@:/?&=[],#\x01\xFF";
        for (size_t i = 0; size > 0 && i < sizeof bytes - 1; i++) {
            memcpy(url, whole, sizeof whole);
            url[size - 1] = bytes[i];
            parsed = parse(url);
            if (!parsed.is_good)
                assert_int_equal(parsed.error.kind, ERR_CONFIG);
            release(&parsed);
        }
    }
}

static void test_pg_url_is(void **state)
{
    (void)state;
    assert_true(pg_url_is("postgres://"));
    assert_true(pg_url_is("postgresql://a"));
    assert_false(pg_url_is("postgres:/a"));
    assert_false(pg_url_is("file:/a"));
}

static void test_pg_target_describe(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"postgres://ann:secret@db/shop", "ann@db:5432/shop"},
        {"postgres://ann@[::1]:6000/shop", "ann@[::1]:6000/shop"},
        {"postgres://ann@%2Ftmp/shop", "ann@/tmp:5432/shop"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed parsed = parse(cases[i][0]);
        assert_true(parsed.is_good);
        char text[64];
        pg_target_describe(&parsed.target, text, sizeof text);
        assert_string_equal(text, cases[i][1]);
        pg_target_describe(&parsed.target, text, 5);
        assert_int_equal(strlen(text), 4);

        struct pg_target copy;
        assert_true(pg_target_copy(&parsed.target, &copy));
        assert_text(copy.password, parsed.target.password);
        pg_target_deinit(&copy);
        assert_null(copy.host);
        release(&parsed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pg_url_parse),
        cmocka_unit_test(test_pg_url_errors_name_what_is_wrong),
        cmocka_unit_test(test_pg_url_errors_do_not_show_the_password),
        cmocka_unit_test(test_pg_url_every_cut_and_byte_is_handled),
        cmocka_unit_test(test_pg_url_is),
        cmocka_unit_test(test_pg_target_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
