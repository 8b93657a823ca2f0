// The pure parts of the HTTP side: who may do what, which path is which, whether the service is well.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/guard.h"
#include "http/health.h"
#include "http/routes.h"

#define TOKEN "correct-horse-battery-staple"
#define BEARER "Bearer " TOKEN
#define PASSWORD "Basic bWU6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ=="  // me:correct-horse-battery-staple

static struct http_token token_of(const char *text)
{
    struct http_token token = {0};
    struct err error = {0};
    assert_true(http_token_set(&token, "ETL_API_TOKEN", text, strlen(text), &error));
    return token;
}

static void test_guard_token(void **state)
{
    (void)state;
    struct http_token token = {0};
    struct err error = {0};
    assert_false(http_token_set(&token, "ETL_API_TOKEN", "short", 5, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_string_equal(
        error.text, "ETL_API_TOKEN has 5 characters; allowed are 16 to 512 (openssl rand -hex 32 makes a good one)");
    assert_null(strstr(error.text, "short"));
    assert_false(http_token_set(&token, "ETL_API_TOKEN", "has a blank inside it", 21, &error));
    assert_false(http_token_set(&token, "ETL_API_TOKEN", "0123456789abcd\xc3\xa4\xc3\xb6", 18, &error));
    assert_false(token.is_set);
    // A line end in a file does not count.
    struct http_token other = token_of(" \t" TOKEN "\r\n"), same = token_of(TOKEN);
    assert_memory_equal(other.digest, same.digest, sizeof same.digest);
}

struct guard_case {
    const char *what;
    enum http_access access;
    bool has_token;
    struct guard_request request;
    unsigned status;
};

static const struct guard_case guard_cases[] = {
    {"anybody probes", HTTP_OPEN, false, {.host = "x"}, 200},
    {"a person on the machine reads", HTTP_READ, false, {.is_loopback = true, .host = "localhost:8080"}, 200},
    {"by address", HTTP_READ, true, {.is_loopback = true, .host = "127.0.0.1:8080"}, 200},
    {"by IPv6", HTTP_READ, true, {.is_loopback = true, .host = "[::1]:8080"}, 200},
    {"no browser", HTTP_READ, true, {.is_loopback = true}, 200},
    {"a rebound name", HTTP_READ, false, {.is_loopback = true, .host = "evil.example:8080"}, 403},
    {"with a token set", HTTP_READ, true, {.is_loopback = true, .host = "evil.example:8080"}, 401},
    {"a name that begins right", HTTP_READ, true, {.is_loopback = true, .host = "127.0.0.1.evil.example"}, 401},
    {"another one", HTTP_READ, true, {.is_loopback = true, .host = "localhost.evil.example"}, 401},
    {"through a proxy", HTTP_READ, true, {.is_loopback = true, .is_forwarded = true, .host = "localhost"}, 401},
    {"a proxy with the token",
     HTTP_READ,
     true,
     {.is_loopback = true, .is_forwarded = true, .authorization = BEARER},
     200},
    {"from elsewhere", HTTP_READ, true, {.host = "db1:8080"}, 401},
    {"no token to give", HTTP_READ, false, {.host = "db1:8080"}, 403},
    {"what is given means nothing then", HTTP_READ, false, {.host = "db1", .authorization = BEARER}, 403},
    {"with the token", HTTP_READ, true, {.host = "db1:8080", .authorization = BEARER}, 200},
    {"the scheme in other letters", HTTP_READ, true, {.host = "db1:8080", .authorization = "bearer " TOKEN}, 200},
    {"as a password", HTTP_READ, true, {.host = "db1:8080", .authorization = PASSWORD}, 200},
    {"a wrong one", HTTP_READ, true, {.host = "db1:8080", .authorization = BEARER "x"}, 401},
    {"a part of it", HTTP_READ, true, {.host = "db1", .authorization = "Bearer correct-horse-battery"}, 401},
    {"nothing", HTTP_READ, true, {.host = "db1", .authorization = "Bearer "}, 401},
    {"no base64", HTTP_READ, true, {.host = "db1", .authorization = "Basic ????"}, 401},
    {"no colon", HTTP_READ, true, {.host = "db1", .authorization = "Basic YWJj"}, 401},
    {"only padding", HTTP_READ, true, {.host = "db1", .authorization = "Basic ===="}, 401},
    {"no token is set", HTTP_CHANGE, false, {.is_loopback = true, .host = "localhost"}, 403},
    {"a change without it", HTTP_CHANGE, true, {.is_loopback = true, .content_type = "application/json"}, 401},
    {"with it", HTTP_CHANGE, true, {.authorization = BEARER, .content_type = "application/json"}, 200},
    {"a charset", HTTP_CHANGE, true, {.authorization = BEARER, .content_type = "application/json; charset=utf-8"}, 200},
    {"a password is what browsers add",
     HTTP_CHANGE,
     true,
     {.authorization = PASSWORD, .content_type = "application/json"},
     401},
    {"a form", HTTP_CHANGE, true, {.authorization = BEARER, .content_type = "application/x-www-form-urlencoded"}, 415},
    {"no type", HTTP_CHANGE, true, {.authorization = BEARER}, 415},
    {"nearly", HTTP_CHANGE, true, {.authorization = BEARER, .content_type = "application/jsonp"}, 415},
    {"our page",
     HTTP_CHANGE,
     true,
     {.host = "db1:8080",
      .origin = "http://db1:8080",
      .fetch_site = "same-origin",
      .authorization = BEARER,
      .content_type = "application/json"},
     200},
    {"another's page",
     HTTP_CHANGE,
     true,
     {.host = "db1:8080", .origin = "http://evil.example", .authorization = BEARER, .content_type = "application/json"},
     403},
    {"another port's page",
     HTTP_CHANGE,
     true,
     {.host = "db1:8080", .origin = "http://db1:9090", .authorization = BEARER, .content_type = "application/json"},
     403},
    {"a page without an origin",
     HTTP_CHANGE,
     true,
     {.host = "db1:8080", .origin = "null", .authorization = BEARER, .content_type = "application/json"},
     403},
    {"the browser says cross-site",
     HTTP_CHANGE,
     true,
     {.host = "db1:8080", .fetch_site = "cross-site", .authorization = BEARER, .content_type = "application/json"},
     403},
};

static void test_guard_judges(void **state)
{
    (void)state;
    struct http_token token = token_of(TOKEN), none = {0};
    for (size_t i = 0; i < sizeof guard_cases / sizeof guard_cases[0]; i++) {
        const struct guard_case *one = &guard_cases[i];
        struct guard_verdict verdict = guard_judge(&one->request, one->has_token ? &token : &none, one->access);
        if (verdict.status != one->status)
            fail_msg("%s: %u, expected %u", one->what, verdict.status, one->status);
        assert_true((verdict.status == 200) == (verdict.error == NULL));
        assert_true((verdict.status == 200) == (verdict.allowed == NULL));
        assert_true((verdict.status == 401) == (verdict.authenticate != NULL));
    }
}

static void test_guard_knows_local_hosts(void **state)
{
    (void)state;
    static const char *const local[] = {"localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:8080", "[::1]", "[::1]:1"};
    static const char *const others[] = {"",          "localhost:", "localhost:x",      "localhost.",
                                         "128.0.0.1", "::1",        "[::2]:1",          "[",
                                         "[]",        "]",          "127.0.0.1:8080:1", "localhost@evil.example"};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (!guard_is_local_host(local[i]))
            fail_msg("%s is local", local[i]);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (guard_is_local_host(others[i]))
            fail_msg("%s is not local", others[i]);
}

static void expect_route(const char *path, bool is_post, const char *pattern, const char *name)
{
    char found_name[HTTP_NAME_SIZE];
    bool is_known = false;
    const struct http_route *route = http_route_find(path, is_post, false, found_name, &is_known);
    if (route == NULL || strcmp(route->path, pattern) != 0)
        fail_msg("%s is %s, not %s", path, route != NULL ? route->path : "no path", pattern);
    assert_string_equal(found_name, name);
}

static void test_routes(void **state)
{
    (void)state;
    char name[HTTP_NAME_SIZE], long_path[600];
    bool is_known = false;
    expect_route("/health", false, "/health", "");
    expect_route("/api/v1/status", false, "/api/v1/status", "");
    expect_route("/api/v1/pipelines/shop", false, "/api/v1/pipelines/{name}", "shop");
    expect_route("/api/v1/pipelines/shop/start", true, "/api/v1/pipelines/{name}/start", "shop");
    expect_route("/api/v1/pipelines/shop/resync", true, "/api/v1/pipelines/{name}/resync", "shop");
    expect_route("/api/v1/pipelines/a/b/pause", true, "/api/v1/pipelines/{name}/pause", "a/b");
    expect_route("/api/v1/pipelines/start", false, "/api/v1/pipelines/{name}", "start");
    assert_null(http_route_find("/nothing", false, false, name, &is_known));
    assert_false(is_known);
    assert_null(http_route_find("/api/v1/pipelines/", false, false, name, &is_known));
    assert_false(is_known);
    assert_null(http_route_find("/health", true, false, name, &is_known));
    assert_true(is_known);
    assert_null(http_route_find("/api/v1/pipelines/shop/start", false, false, name, &is_known));
    assert_true(is_known);
    // At METRICS_ADDR there is nothing else.
    assert_non_null(http_route_find("/metrics", false, true, name, &is_known));
    assert_null(http_route_find("/health", false, true, name, &is_known));
    assert_false(is_known);
    // A name has its bound.
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    memcpy(long_path, "/api/v1/pipelines/", strlen("/api/v1/pipelines/"));
    assert_null(http_route_find(long_path, false, false, name, &is_known));
    assert_false(is_known);
}

static void test_health(void **state)
{
    (void)state;
    static const char well[] = "{\"is_ready\":true,\"catalog\":{\"healthy\":true},\"pipelines\":{\"active\":3}}";
    static const char away[] =
        "{\"is_ready\":true,\"catalog\":{\"healthy\":false,\"error\":\"password of bob is wrong\","
        "\"failing_since\":\"2026-11-25T20:00:00.000Z\"},\"pipelines\":{\"active\":3}}";
    static const char frozen[] = "{\"is_ready\":true,\"catalog\":{\"healthy\":false},\"pipelines\":{\"active\":3}}";
    static const char starting[] = "{\"is_ready\":false,\"catalog\":{\"healthy\":true},\"pipelines\":{\"active\":0}}";
    struct health health = health_read(well, 1000000, 2000000);
    assert_true(health.is_ready && health.is_fresh && health.is_database_healthy);
    assert_int_equal(health.active, 3);
    assert_string_equal(health.database_message, "the catalog answers");
    // The main thread stands still.
    health = health_read(well, 1000000, 1000000 + HEALTH_FRESH_US);
    assert_true(health.is_fresh);
    health = health_read(well, 1000000, 1000000 + HEALTH_FRESH_US + 1);
    assert_false(health.is_fresh || health.is_ready);
    // A probe is open to everybody: it does not say what the database said.
    health = health_read(away, 1000000, 2000000);
    assert_false(health.is_database_healthy);
    assert_string_equal(health.database_message, "the catalog fails since 2026-11-25T20:00:00.000Z");
    health = health_read(frozen, 1000000, 2000000);
    assert_string_equal(health.database_message, "the catalog fails: it does not answer");
    health = health_read(starting, 1000000, 2000000);
    assert_true(!health.is_ready && health.is_fresh && health.is_database_healthy);
    // Nothing was published yet.
    health = health_read(NULL, 1000000, 2000000);
    assert_true(!health.is_ready && health.is_fresh && health.is_database_healthy);
    health = health_read(NULL, 1000000, 1000001 + HEALTH_FRESH_US);
    assert_false(health.is_fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_token),
        cmocka_unit_test(test_guard_judges),
        cmocka_unit_test(test_guard_knows_local_hosts),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_health),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
