// Signing in: the requests as they go over the wire, forms of answers, renewal ahead of time, refusals, moves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_snowflake.h"
#include "sinks/snowflake/sf_auth.h"

struct waiting {
    struct sf_auth_waiter waiter;
    uint32_t ready, failed;
    struct err error;
};

static void on_ready(struct sf_auth_waiter *waiter, const struct err *error)
{
    struct waiting *waiting = waiter->context;
    if (error == NULL) {
        waiting->ready++;
    } else {
        waiting->failed++;
        waiting->error = *error;
    }
}

static void wait_init(struct waiting *waiting)
{
    *waiting = (struct waiting){.waiter = {.on_ready = on_ready, .context = waiting}};
}

static void test_requests_of_a_sign_in(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    struct waiting two;
    fake_snowflake_init(&fake, "?role=loader");
    wait_init(&one);
    wait_init(&two);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    sf_auth_wait_ingest(fake.auth, &two.waiter);
    struct fake_request *request = expect(&fake, "GET", "/v2/streaming/hostname?requestId=");
    assert_non_null(strstr(request->headers, "Authorization: Bearer ey"));
    assert_non_null(strstr(request->headers, "X-Snowflake-Authorization-Token-Type: KEYPAIR_JWT\n"));
    assert_non_null(strstr(request->headers, "Accept: application/json\n"));
    assert_non_null(strstr(request->headers, "User-Agent: etl-stream/"));
    assert_string_equal(parameter_of(request, "retryCount"), "0");
    assert_int_equal(strlen(parameter_of(request, "requestId")), 36);
    assert_int_equal(parameter_of(request, "requestId")[14], '4');
    fake_answer(fake.http, 200, "{\"hostname\":\"ingest_1.example.com\"}");
    request = expect(&fake, "POST", "/oauth/token?");
    static const char form[] =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&scope=ingest-1.example.com"
        "%20session%3Arole%3ALOADER&assertion=ey";
    assert_memory_equal(request->body, form, sizeof form - 1);
    assert_non_null(strstr(request->headers, "Content-Type: application/x-www-form-urlencoded\n"));
    // The assertion is the JWT of the header, which names the role as a claim.
    const char *assertion = strstr((const char *)request->body, "assertion=") + strlen("assertion=");
    const char *header = strstr(request->headers, "Authorization: Bearer ") + strlen("Authorization: Bearer ");
    assert_memory_equal(assertion, header, strlen(assertion));
    assert_null(sf_auth_ingest_bearer(fake.auth));
    fake_answer(fake.http, 200, fake_token("a", 600));
    assert_int_equal(one.ready, 0);  // never inside the answer
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 1);
    assert_int_equal(two.ready, 1);
    assert_true(sf_auth_has_ingest(fake.auth));
    assert_string_equal(sf_auth_ingest_base(fake.auth), "https://ingest-1.example.com");
    assert_string_equal(sf_auth_account_base(fake.auth), "https://org-acc.snowflakecomputing.com");
    assert_memory_equal(sf_auth_ingest_bearer(fake.auth), "Bearer ey", 9);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    expect_nothing(&fake);
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 2);
    fake_snowflake_deinit(&fake);
}

static void test_token_as_json_and_without_a_lifetime(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_answer(fake.http, 200, "\"ingest.example.com\"");
    fake_answer(fake.http, 200, "{\"token\":\"opaque\"}");
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 1);
    assert_string_equal(sf_auth_ingest_bearer(fake.auth), "Bearer opaque");
    fake_advance_ms(fake.loop, 479000);  // ten minutes are assumed
    expect_nothing(&fake);
    fake_advance_ms(fake.loop, 1000);
    expect(&fake, "POST", "/oauth/token?");
    fake_snowflake_deinit(&fake);
}

static void test_token_is_renewed_ahead_of_its_end(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_sign_in(&fake, "first", 1000);
    uint32_t generation = sf_auth_generation(fake.auth, true);
    fake_advance_ms(fake.loop, 799000);
    expect_nothing(&fake);
    fake_advance_ms(fake.loop, 1000);
    expect(&fake, "POST", "/oauth/token?");
    assert_true(sf_auth_has_ingest(fake.auth));  // the old one goes on being used
    fake_answer(fake.http, 503, "");
    assert_true(sf_auth_has_ingest(fake.auth));
    fake_advance_ms(fake.loop, 2000);
    struct fake_request *request = expect(&fake, "POST", "/oauth/token?");
    assert_string_equal(parameter_of(request, "retryCount"), "1");
    fake_answer(fake.http, 200, fake_token("second", 1000));
    assert_int_equal(sf_auth_generation(fake.auth, true), generation + 1);
    // An outage that outlasts the token: it is not used beyond its end, and who asks then waits.
    fake_advance_ms(fake.loop, 800000);
    fake_fail(fake.http, ERR_CONFIG, "no such host");  // reached before, so this passes
    fake_advance_ms(fake.loop, 150000);
    assert_false(sf_auth_has_ingest(fake.auth));
    assert_null(sf_auth_ingest_bearer(fake.auth));
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 1);
    fake_answer(fake.http, 200, fake_token("third", 1000));
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 2);
    fake_snowflake_deinit(&fake);
}

static void test_refused_token_is_renewed_once(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_sign_in(&fake, "first", 1000);
    uint32_t first = sf_auth_generation(fake.auth, true);
    assert_true(sf_auth_refused(fake.auth, true, first));
    assert_true(sf_auth_refused(fake.auth, true, first));  // of another request with the same token
    assert_false(sf_auth_has_ingest(fake.auth));
    fake_answer(fake.http, 200, fake_token("second", 1000));
    expect_nothing(&fake);
    assert_true(sf_auth_refused(fake.auth, true, first));  // a late answer says nothing of the new one
    uint32_t second = sf_auth_generation(fake.auth, true);
    assert_int_not_equal(first, second);
    assert_false(sf_auth_refused(fake.auth, true, second));
    // Had it been taken once, it would be renewed again.
    sf_auth_accepted(fake.auth, true, second);
    assert_true(sf_auth_refused(fake.auth, true, second));
    expect(&fake, "POST", "/oauth/token?");
    fake_snowflake_deinit(&fake);
}

static void test_refused_jwt_is_signed_again_once(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct err error = {0};
    fake_snowflake_init(&fake, "");
    char first[4096];
    snprintf(first, sizeof first, "%s", sf_auth_jwt_bearer(fake.auth, &error));
    fake_advance_ms(fake.loop, 3000000);
    assert_string_equal(sf_auth_jwt_bearer(fake.auth, &error), first);  // signed once, reused
    fake_advance_ms(fake.loop, 250000);
    assert_string_not_equal(sf_auth_jwt_bearer(fake.auth, &error), first);  // before it ends
    uint32_t generation = sf_auth_generation(fake.auth, false);
    assert_true(sf_auth_refused(fake.auth, false, generation));
    assert_non_null(sf_auth_jwt_bearer(fake.auth, &error));
    assert_true(sf_auth_refused(fake.auth, false, generation));
    assert_false(sf_auth_refused(fake.auth, false, generation + 1));
    sf_auth_refusal_error(fake.auth, false, "JWT token is invalid", &error);
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "ME"));
    assert_non_null(strstr(error.text, "ORG-ACC"));
    assert_non_null(strstr(error.text, "SHA256:"));
    assert_non_null(strstr(error.text, "JWT token is invalid"));
    fake_snowflake_deinit(&fake);
}

static void test_login_that_is_refused_is_for_the_operator(void **state)
{
    (void)state;
    struct {
        uint32_t status;
        bool is_token;
        const char *body;
        const char *part;
    } cases[] = {{403, false, "{\"code\":\"390100\",\"message\":\"no\"}", "account identifier"},
                 {404, false, "<html>", "account identifier"},
                 {403, true, "{\"code\":\"390189\",\"message\":\"Role 'X' is not granted\"}", "GRANT ROLE"},
                 {400, true, "{\"code\":\"390400\",\"message\":\"bad scope\"}", "bad scope"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_snowflake fake;
        struct waiting one;
        fake_snowflake_init(&fake, "?role=x");
        wait_init(&one);
        sf_auth_wait_ingest(fake.auth, &one.waiter);
        if (cases[i].is_token)
            fake_answer(fake.http, 200, "ingest.example.com");
        fake_answer(fake.http, cases[i].status, cases[i].body);
        fake_settle(fake.loop);
        assert_int_equal(one.failed, 1);
        assert_int_equal(one.error.kind, ERR_CONFIG);
        if (strstr(one.error.text, cases[i].part) == NULL)
            fail_msg("'%s' lacks '%s'", one.error.text, cases[i].part);
        // Whoever asks again later is tried for again.
        sf_auth_wait_ingest(fake.auth, &one.waiter);
        assert_non_null(fake_oldest(fake.http));
        sf_auth_cancel(fake.auth, &one.waiter);
        fake_snowflake_deinit(&fake);
    }
}

static void test_401_at_sign_in_is_tried_once_more_with_a_new_jwt(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_answer(fake.http, 401, "{\"code\":\"390144\",\"message\":\"JWT token is invalid.\"}");
    expect(&fake, "GET", "/v2/streaming/hostname");
    fake_answer(fake.http, 401, "{\"code\":\"390144\",\"message\":\"JWT token is invalid.\"}");
    expect_nothing(&fake);
    fake_settle(fake.loop);
    assert_int_equal(one.failed, 1);
    assert_non_null(strstr(one.error.text, "RSA_PUBLIC_KEY_FP"));
    fake_snowflake_deinit(&fake);
}

static void test_what_passes_is_tried_again(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(fake.http), "requestId"));
    for (int i = 0; i < 8; i++) {
        static const uint32_t statuses[] = {429, 500, 502, 503, 504, 408};
        if (i < 6)
            fake_answer(fake.http, statuses[i], "busy");
        else if (i == 6)
            fake_fail(fake.http, ERR_TRANSIENT, "connection reset");
        else
            fake_answer(fake.http, 200, "not a host!");
        expect_nothing(&fake);
        fake_advance_ms(fake.loop, 61000);
        struct fake_request *request = expect(&fake, "GET", "/v2/streaming/hostname");
        assert_string_equal(parameter_of(request, "requestId"), id);
        assert_int_equal(atoi(parameter_of(request, "retryCount")), i + 1);
    }
    fake_sign_in(&fake, "a", 1000);
    assert_int_equal(one.ready, 1);
    assert_int_equal(one.failed, 0);
    fake_snowflake_deinit(&fake);
}

static void test_tries_have_a_limit_where_a_waiter_sets_one(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    one.waiter.tries_max = 2;
    for (int round = 1; round <= 2; round++) {
        sf_auth_wait_ingest(fake.auth, &one.waiter);
        fake_answer(fake.http, 503, "busy");
        assert_int_equal(one.failed, round - 1);
        fake_advance_ms(fake.loop, 61000);
        fake_fail(fake.http, ERR_TRANSIENT, "connection refused");
        fake_settle(fake.loop);
        assert_int_equal(one.failed, round);
        assert_int_equal(one.error.kind, ERR_TRANSIENT);
        fake_advance_ms(fake.loop, 61000);
        expect_nothing(&fake);
    }
    fake_snowflake_deinit(&fake);
}

// What one of them does not wait for any longer is not told to the others.
static void test_each_waiter_has_its_own_patience(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting patient;
    struct waiting hasty;
    fake_snowflake_init(&fake, "");
    wait_init(&patient);
    wait_init(&hasty);
    hasty.waiter.tries_max = 2;
    sf_auth_wait_ingest(fake.auth, &patient.waiter);
    for (int i = 0; i < 4; i++) {
        fake_answer(fake.http, 503, "busy");
        fake_advance_ms(fake.loop, 61000);
    }
    sf_auth_wait_ingest(fake.auth, &hasty.waiter);
    fake_answer(fake.http, 503, "busy");
    fake_settle(fake.loop);
    assert_int_equal(hasty.failed, 0);  // what failed before it came does not count
    fake_advance_ms(fake.loop, 61000);
    fake_answer(fake.http, 503, "busy");
    fake_settle(fake.loop);
    assert_int_equal(hasty.failed, 1);
    assert_int_equal(hasty.error.kind, ERR_TRANSIENT);
    assert_int_equal(patient.failed, 0);
    assert_non_null(strstr(sf_auth_trouble(fake.auth)->text, "busy"));
    fake_advance_ms(fake.loop, 61000);
    fake_sign_in(&fake, "a", 1000);
    assert_int_equal(patient.ready, 1);
    assert_int_equal(hasty.ready, 0);
    assert_null(sf_auth_trouble(fake.auth));
    fake_snowflake_deinit(&fake);
}

// A key that is replaced, a user who is locked: it passes, and who has something to lose waits for that.
static void test_login_that_was_good_is_waited_for(void **state)
{
    (void)state;
    static const struct {
        uint32_t status;
        const char *body, *part;
    } refusals[] = {{401, "{\"code\":\"390144\",\"message\":\"JWT token is invalid.\"}", "RSA_PUBLIC_KEY_FP"},
                    {400, "{\"error\":\"invalid_grant\"}", "HTTP 400"},
                    {403, "{\"message\":\"network policy\"}", "network policy"}};
    struct fake_snowflake fake;
    struct waiting patient;
    struct waiting hasty;
    fake_snowflake_init(&fake, "");
    wait_init(&patient);
    wait_init(&hasty);
    hasty.waiter.tries_max = 2;
    sf_auth_wait_ingest(fake.auth, &patient.waiter);
    fake_sign_in(&fake, "first", 1000);
    assert_true(sf_auth_refused(fake.auth, true, sf_auth_generation(fake.auth, true)));
    sf_auth_wait_ingest(fake.auth, &patient.waiter);
    sf_auth_wait_ingest(fake.auth, &hasty.waiter);
    for (uint32_t i = 0; i < 12; i++) {
        expect(&fake, "POST", "/oauth/token?");
        fake_answer(fake.http, refusals[i % 3].status, refusals[i % 3].body);
        if (i == 0) {
            expect(&fake, "POST", "/oauth/token?");  // once more at once, by a new JWT
            fake_answer(fake.http, 401, refusals[0].body);
        }
        expect_nothing(&fake);
        fake_settle(fake.loop);
        assert_non_null(strstr(sf_auth_trouble(fake.auth)->text, refusals[i % 3].part));
        assert_int_equal(hasty.failed, 1);
        assert_int_equal(hasty.error.kind, ERR_CONFIG);
        fake_advance_ms(fake.loop, 61000);
    }
    assert_int_equal(patient.failed, 0);
    fake_answer(fake.http, 200, fake_token("second", 1000));
    fake_settle(fake.loop);
    assert_int_equal(patient.ready, 2);
    sf_auth_accepted(fake.auth, true, sf_auth_generation(fake.auth, true));  // the one before was refused
    assert_null(sf_auth_trouble(fake.auth));
    fake_snowflake_deinit(&fake);
}

// Tokens are given, and refused where they are used: they are asked for more and more rarely, once for all who are refused.
static void test_tokens_that_are_refused_again_and_again(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_sign_in(&fake, "first", 80000);
    assert_false(sf_auth_was_accepted(fake.auth));
    sf_auth_accepted(fake.auth, true, sf_auth_generation(fake.auth, true));
    assert_true(sf_auth_was_accepted(fake.auth));
    assert_true(sf_auth_refused(fake.auth, true, sf_auth_generation(fake.auth, true)));
    fake_answer(fake.http, 200, fake_token("second", 80000));
    uint64_t began_us = fake_now_us;
    for (int i = 0; i < 12; i++) {
        uint32_t generation = sf_auth_generation(fake.auth, true);
        assert_false(sf_auth_refused(fake.auth, true, generation));
        sf_auth_renew_later(fake.auth, generation, "locked");
        assert_true(sf_auth_refused(fake.auth, true, generation));
        sf_auth_renew_later(fake.auth, generation, "locked");
        sf_auth_wait_ingest(fake.auth, &one.waiter);
        expect_nothing(&fake);
        assert_non_null(strstr(sf_auth_trouble(fake.auth)->text, "locked"));
        while (fake_oldest(fake.http) == NULL)
            fake_advance_ms(fake.loop, 100);
        fake_answer(fake.http, 200, fake_token("next", 80000));
        fake_settle(fake.loop);
        assert_int_equal(one.ready, i + 2);
        expect_nothing(&fake);
    }
    assert_true(fake_now_us - began_us > 60000000);
    assert_non_null(sf_auth_trouble(fake.auth));
    sf_auth_accepted(fake.auth, true, sf_auth_generation(fake.auth, true));
    assert_null(sf_auth_trouble(fake.auth));
    fake_snowflake_deinit(&fake);
}

static void test_token_is_renewed_while_it_is_used(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_sign_in(&fake, "first", 80000);
    uint32_t first = sf_auth_generation(fake.auth, true);
    sf_auth_renew(fake.auth, first);
    sf_auth_renew(fake.auth, first);
    assert_true(sf_auth_has_ingest(fake.auth));
    fake_answer(fake.http, 401, "");
    fake_answer(fake.http, 401, "");
    assert_true(sf_auth_has_ingest(fake.auth));  // it is as good as before
    fake_advance_ms(fake.loop, 2000);
    fake_answer(fake.http, 200, fake_token("second", 1000));
    expect_nothing(&fake);
    assert_int_equal(sf_auth_generation(fake.auth, true), first + 1);
    sf_auth_renew(fake.auth, first);
    expect_nothing(&fake);
    fake_snowflake_deinit(&fake);
}

static void test_host_that_is_not_trusted_is_for_the_operator(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_fail(fake.http, ERR_CONFIG, "the certificate is not trusted");
    fake_settle(fake.loop);
    assert_int_equal(one.failed, 1);
    assert_non_null(strstr(one.error.text, "not trusted"));
    fake_snowflake_deinit(&fake);
}

static void test_moved_host_is_asked_for_again(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_sign_in(&fake, "a", 1000);
    sf_auth_host_moved(fake.auth);
    sf_auth_host_moved(fake.auth);
    assert_false(sf_auth_has_ingest(fake.auth));
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    fake_answer(fake.http, 200, "elsewhere.example.com");
    fake_answer(fake.http, 200, fake_token("b", 1000));
    expect_nothing(&fake);
    fake_settle(fake.loop);
    assert_int_equal(one.ready, 2);
    assert_string_equal(sf_auth_ingest_base(fake.auth), "https://elsewhere.example.com");
    fake_snowflake_deinit(&fake);
}

static void test_cancelled_waiter_is_not_called(void **state)
{
    (void)state;
    struct fake_snowflake fake;
    struct waiting one;
    struct waiting two;
    fake_snowflake_init(&fake, "");
    wait_init(&one);
    wait_init(&two);
    sf_auth_wait_ingest(fake.auth, &one.waiter);
    sf_auth_wait_ingest(fake.auth, &two.waiter);
    sf_auth_cancel(fake.auth, &one.waiter);
    sf_auth_cancel(fake.auth, &one.waiter);
    fake_sign_in(&fake, "a", 1000);
    assert_int_equal(one.ready + one.failed, 0);
    assert_int_equal(two.ready, 1);
    fake_snowflake_deinit(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_of_a_sign_in),
        cmocka_unit_test(test_token_as_json_and_without_a_lifetime),
        cmocka_unit_test(test_token_is_renewed_ahead_of_its_end),
        cmocka_unit_test(test_refused_token_is_renewed_once),
        cmocka_unit_test(test_refused_jwt_is_signed_again_once),
        cmocka_unit_test(test_login_that_is_refused_is_for_the_operator),
        cmocka_unit_test(test_401_at_sign_in_is_tried_once_more_with_a_new_jwt),
        cmocka_unit_test(test_what_passes_is_tried_again),
        cmocka_unit_test(test_tries_have_a_limit_where_a_waiter_sets_one),
        cmocka_unit_test(test_each_waiter_has_its_own_patience),
        cmocka_unit_test(test_login_that_was_good_is_waited_for),
        cmocka_unit_test(test_tokens_that_are_refused_again_and_again),
        cmocka_unit_test(test_token_is_renewed_while_it_is_used),
        cmocka_unit_test(test_host_that_is_not_trusted_is_for_the_operator),
        cmocka_unit_test(test_moved_host_is_asked_for_again),
        cmocka_unit_test(test_cancelled_waiter_is_not_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
