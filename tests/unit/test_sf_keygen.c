// Unit tests of sinks/snowflake/sf_keygen: what it makes is what sf_key loads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/snowflake/sf_key.h"
#include "sinks/snowflake/sf_keygen.h"

static void test_sf_keygen_makes_what_sf_key_loads(void **state)
{
    (void)state;
    static char passphrase[] = "correct horse battery";
    const struct sf_secret secret = {.text = passphrase, .size = sizeof passphrase - 1};
    for (int is_encrypted = 0; is_encrypted < 2; is_encrypted++) {
        struct sf_secret pem;
        struct buf public_key;
        struct err error = {0};
        char fingerprint[80];
        buf_init(&public_key, 100000);
        assert_true(sf_keygen(2048, is_encrypted ? &secret : NULL, &pem, &public_key, fingerprint, &error));
        assert_int_equal(strlen(buf_text(&public_key)), 392);  // 294 bytes of DER
        struct sf_key *key = sf_key_load(pem.text, pem.size, is_encrypted ? passphrase : NULL, "a test", &error);
        assert_non_null(key);
        assert_string_equal(sf_key_fingerprint(key), fingerprint);
        sf_key_free(key);
        if (is_encrypted)
            assert_null(sf_key_load(pem.text, pem.size, "wrong", "a test", &error));
        sf_secret_deinit(&pem);
        buf_deinit(&public_key);
    }
}

int main(void)
{
    struct err error = {0};
    if (!sf_key_process_init(&error))
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sf_keygen_makes_what_sf_key_loads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
