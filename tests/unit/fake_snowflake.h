// What the tests of sign-in, statements and channels share: a key, a destination, and the answers of a sign-in.
#ifndef ETL_TESTS_FAKE_SNOWFLAKE_H
#define ETL_TESTS_FAKE_SNOWFLAKE_H

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "fake_http.h"
#include "sinks/snowflake/sf_auth.h"

struct fake_snowflake {
    struct loop *loop;
    struct http_client *http;
    struct sf_config config;
    struct sf_auth *auth;
};

static struct sf_key *fake_key(void)
{
    static char *pem;
    struct err error;
    if (pem == NULL) {
        assert_true(sf_key_process_init(&error));
        EVP_PKEY *pkey = EVP_RSA_gen(2048);
        BIO *bio = BIO_new(BIO_s_mem());
        char *data = NULL;
        assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
        long size = BIO_get_mem_data(bio, &data);
        pem = strndup(data, (size_t)size);
        BIO_free(bio);
        EVP_PKEY_free(pkey);
    }
    struct sf_key *key = sf_key_load(pem, strlen(pem), NULL, "test", &error);
    assert_non_null(key);
    return key;
}

static void fake_snowflake_init(struct fake_snowflake *fake, const char *query)
{
    char url[256];
    struct err error;
    struct sf_key *key = fake_key();
    snprintf(url, sizeof url, "snowflake://me@org-acc/db/sch%s", query);
    assert_true(sf_config_parse(url, &fake->config, &error));
    fake->loop = loop_new(&fake_clock, &error);
    fake->http = http_client_new(fake->loop, &error);
    fake->auth = sf_auth_new(fake->loop, fake->http, &fake->config, key);
    assert_non_null(fake->auth);
}

static void fake_snowflake_deinit(struct fake_snowflake *fake)
{
    sf_auth_free(fake->auth);
    http_client_free(fake->http);
    loop_free(fake->loop);
    sf_config_deinit(&fake->config);
}

// The oldest request must be this one.
static __attribute__((unused)) struct fake_request *expect(struct fake_snowflake *fake, const char *method,
                                                           const char *url_part)
{
    struct fake_request *request = fake_oldest(fake->http);
    if (request == NULL)
        fail_msg("no request; wanted %s %s", method, url_part);
    else if (strcmp(request->method, method) != 0 || strstr(request->url, url_part) == NULL)
        fail_msg("%s %s; wanted %s %s", request->method, request->url, method, url_part);
    return request;
}

static __attribute__((unused)) void expect_nothing(struct fake_snowflake *fake)
{
    struct fake_request *request = fake_oldest(fake->http);
    if (request != NULL)
        fail_msg("unexpected %s %s", request->method, request->url);
}

// A scoped token that lives for so long from now on; told apart by its subject.
static __attribute__((unused)) const char *fake_token(const char *subject, int64_t lifetime_s)
{
    static char token[640];
    char claims[256];
    unsigned char base64[512];
    int64_t now_s = fake_wall_us / 1000000;
    int size = snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"iat\":%lld,\"exp\":%lld}", subject, (long long)now_s,
                        (long long)(now_s + lifetime_s));
    EVP_EncodeBlock(base64, (const unsigned char *)claims, size);
    base64[strcspn((char *)base64, "=")] = '\0';
    snprintf(token, sizeof token, "eyJhbGciOiJIUzI1NiJ9.%s.c2ln", (char *)base64);
    return token;
}

static __attribute__((unused)) void fake_sign_in(struct fake_snowflake *fake, const char *subject, int64_t lifetime_s)
{
    expect(fake, "GET", "https://org-acc.snowflakecomputing.com/v2/streaming/hostname?requestId=");
    fake_answer(fake->http, 200, "ingest_1.example.com\n");
    expect(fake, "POST", "https://org-acc.snowflakecomputing.com/oauth/token?requestId=");
    fake_answer(fake->http, 200, fake_token(subject, lifetime_s));
    fake_settle(fake->loop);
}

// The value of a query parameter in a URL, as it stands there.
static __attribute__((unused)) const char *parameter_of(const struct fake_request *request, const char *name)
{
    static char values[4][256];
    static unsigned next;
    char *value = values[next++ % 4];
    char pattern[64];
    snprintf(pattern, sizeof pattern, "%s=", name);
    const char *at = strchr(request->url, '?');
    value[0] = '\0';
    while (at != NULL && strncmp(at + 1, pattern, strlen(pattern)) != 0)
        at = strchr(at + 1, '&');
    if (at != NULL) {
        const char *begin = at + 1 + strlen(pattern);
        snprintf(value, 256, "%.*s", (int)strcspn(begin, "&"), begin);
    }
    return value;
}

#endif
