// Passwords in URLs, in whatever text they stand.
#include "base/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void test_mask_passwords(void **state)
{
    static const struct {
        const char *text, *masked;
    } cases[] = {
        {"", ""},
        {"no URL: a@b", "no URL: a@b"},
        {"postgres://etl:secret@db/shop", "postgres://etl:***@db/shop"},
        {"see postgresql://etl:secret@db:5432/shop?x=1, or", "see postgresql://etl:***@db:5432/shop?x=1, or"},
        {"postgres://etl:x@db/shop", "postgres://etl:*@db/shop"},
        {"postgres://etl:@db/shop", "postgres://etl:@db/shop"},
        {"postgres://etl@db:5432/shop", "postgres://etl@db:5432/shop"},
        {"postgres://etl:se/c?r#e@t@db/shop", "postgres://etl:***@db/shop"},
        {"\"postgres://a:b1b1b1@c/d\" 'postgres://e:f1f1f1@g/h'", "\"postgres://a:***@c/d\" 'postgres://e:***@g/h'"},
        {"postgres://etl@db/shop?password=secret&publication=p", "postgres://etl@db/shop?password=***&publication=p"},
        {"postgres://etl@db/shop?a=b&password=secret", "postgres://etl@db/shop?a=b&password=***"},
        {"https://u:pw-pw@host:8080/path?mail=a@b", "https://u:***@host:8080/path?mail=a@b"},
        {"https://host:8080/path?mail=a@b", "https://host:8080/path?mail=a@b"},
        {"snowflake://ETL@ACC/DB/S?host=127.0.0.1:1&ca_file=x", "snowflake://ETL@ACC/DB/S?host=127.0.0.1:1&ca_file=x"},
        {"allowed: postgres://user[:password]@host[:port]/database",
         "allowed: postgres://user[:password]@host[:port]/database"},
        {"postgres://USER@HOST:PORT/DATABASE?publication=NAME", "postgres://USER@HOST:PORT/DATABASE?publication=NAME"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        struct err error;
        (void)snprintf(text, sizeof text, "%s", cases[i].text);
        mask_passwords(text);
        assert_string_equal(text, cases[i].masked);
        mask_passwords(text);
        assert_string_equal(text, cases[i].masked);
        err_set(&error, ERR_CONFIG, "x", "%s", cases[i].text);
        assert_string_equal(error.text, cases[i].masked);
        err_prefix(&error, "%s", cases[i].text);
        assert_memory_equal(error.text, cases[i].masked, strlen(cases[i].masked));
        (void)snprintf(text, sizeof text, "%s", cases[i].text);
        mask_passwords_whole(text);
        assert_int_equal(strlen(text), strlen(cases[i].text));
        assert_null(strstr(text, "secret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mask_passwords)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
