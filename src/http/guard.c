#include "http/guard.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define CREDENTIALS_SIZE_MAX 1024
#define TOKEN_ADVICE "set ETL_API_TOKEN (at least 16 characters) for the service"

static void digest(const char *text, size_t size, uint8_t out[32])
{
    size_t out_size = 0;
    CHECK(EVP_Q_digest(NULL, "SHA256", NULL, text, size, out, &out_size) == 1 && out_size == 32);
}

static bool is_blank(char letter)
{
    return letter == ' ' || letter == '\t' || letter == '\r' || letter == '\n';
}

bool http_token_set(struct http_token *token, const char *origin, const char *text, size_t size, struct err *out_error)
{
    while (size > 0 && is_blank(*text)) {
        text++;
        size--;
    }
    while (size > 0 && is_blank(text[size - 1]))
        size--;
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return err_set(out_error, ERR_CONFIG, "token",
                           "%s holds a blank or a letter outside of ASCII; allowed are at least %d printable ASCII "
                           "characters without blanks",
                           origin, HTTP_TOKEN_SIZE_MIN);
    if (size < HTTP_TOKEN_SIZE_MIN || size > CREDENTIALS_SIZE_MAX / 2)
        return err_set(out_error, ERR_CONFIG, "token",
                       "%s has %zu characters; allowed are %d to %d (openssl rand -hex 32 makes a good one)", origin,
                       size, HTTP_TOKEN_SIZE_MIN, CREDENTIALS_SIZE_MAX / 2);
    digest(text, size, token->digest);
    token->is_set = true;
    return true;
}

// Digests of the same size are compared, in constant time: neither content nor length shows in how long it takes.
static bool is_token(const struct http_token *token, const char *text, size_t size)
{
    uint8_t given[32];
    digest(text, size, given);
    bool is_same = token->is_set && CRYPTO_memcmp(given, token->digest, sizeof given) == 0;
    OPENSSL_cleanse(given, sizeof given);
    return is_same;
}

static const char *after_scheme(const char *authorization, const char *scheme)
{
    size_t size = strlen(scheme);
    if (authorization == NULL || strncasecmp(authorization, scheme, size) != 0 || authorization[size] != ' ')
        return NULL;
    authorization += size;
    while (*authorization == ' ')
        authorization++;
    return authorization;
}

static bool has_bearer(const struct guard_request *request, const struct http_token *token)
{
    const char *given = after_scheme(request->authorization, "Bearer");
    return given != NULL && is_token(token, given, strlen(given));
}

// Basic (RFC 7617): base64 of NAME:PASSWORD; the password is the token, the name does not matter.
static bool has_password(const struct guard_request *request, const struct http_token *token)
{
    const char *given = after_scheme(request->authorization, "Basic");
    size_t size = given != NULL ? strlen(given) : 0;
    unsigned char text[CREDENTIALS_SIZE_MAX * 3 / 4 + 1];
    if (size == 0 || size > CREDENTIALS_SIZE_MAX || size % 4 != 0)
        return false;
    int decoded = EVP_DecodeBlock(text, (const unsigned char *)given, (int)size);
    decoded -= decoded > 0 ? (given[size - 1] == '=') + (given[size - 2] == '=') : 0;
    const unsigned char *colon = decoded > 0 ? memchr(text, ':', (size_t)decoded) : NULL;
    bool is_good = colon != NULL && is_token(token, (const char *)colon + 1, (size_t)(text + decoded - colon) - 1);
    OPENSSL_cleanse(text, sizeof text);
    return is_good;
}

bool guard_is_local_host(const char *host)
{
    char name[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    const char *colon = strrchr(host, ':'), *bracket = strchr(host, ']');
    size_t size = strlen(host);
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        if (colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
            return false;
        size = (size_t)(colon - host);
    }
    bool has_brackets = size > 2 && host[0] == '[' && host[size - 1] == ']';
    if (has_brackets) {
        host++;
        size -= 2;
    }
    if (size >= sizeof name)
        return false;
    memcpy(name, host, size);
    name[size] = '\0';
    if (has_brackets)
        return inet_pton(AF_INET6, name, &ipv6) == 1 && IN6_IS_ADDR_LOOPBACK(&ipv6);
    return strcasecmp(name, "localhost") == 0 ||
           (inet_pton(AF_INET, name, &ipv4) == 1 && (ntohl(ipv4.s_addr) >> 24) == 127);
}

static struct guard_verdict may(void)
{
    return (struct guard_verdict){.status = 200};
}

static struct guard_verdict judge_read(const struct guard_request *request, const struct http_token *token)
{
    if (has_bearer(request, token) || has_password(request, token))
        return may();
    bool is_local = request->is_loopback && !request->is_forwarded;
    // A browser always says which host it means; what says none is no browser.
    if (is_local && (request->host == NULL || guard_is_local_host(request->host)))
        return may();
    if (!token->is_set)
        return (struct guard_verdict){
            .status = 403,
            .error = is_local ? "the Host header names another machine, and no token is set that would allow it"
                              : "reading from other addresses than loopback needs a token, and none is set",
            .allowed = is_local ? "ask for localhost, 127.0.0.1 or [::1]; or " TOKEN_ADVICE
                                : "ask from the machine itself; or " TOKEN_ADVICE};
    return (struct guard_verdict){
        .status = 401,
        .error = request->authorization != NULL ? "the token is wrong" : "reading from here needs the token",
        .allowed = "Authorization: Bearer TOKEN with the service's ETL_API_TOKEN, or the token as password",
        .authenticate = "Basic realm=\"etl-stream: the token as password\", charset=\"UTF-8\""};
}

// "https://host:port" and "host:port" name the same.
static bool is_own_origin(const struct guard_request *request)
{
    const char *host = request->origin;
    if (strncasecmp(host, "https://", 8) == 0)
        host += 8;
    else if (strncasecmp(host, "http://", 7) == 0)
        host += 7;
    else
        return false;
    return request->host != NULL && strcasecmp(host, request->host) == 0;
}

static bool is_json(const char *content_type)
{
    static const char json[] = "application/json";
    size_t size = sizeof json - 1;
    return content_type != NULL && strncasecmp(content_type, json, size) == 0 &&
           (content_type[size] == '\0' || content_type[size] == ';' || content_type[size] == ' ');
}

static struct guard_verdict judge_change(const struct guard_request *request, const struct http_token *token)
{
    if (!token->is_set)
        return (struct guard_verdict){.status = 403,
                                      .error = "changes need a token, and none is set",
                                      .allowed = TOKEN_ADVICE ", or use etl-stream pipeline on its machine"};
    bool is_cross = request->fetch_site != NULL && strcasecmp(request->fetch_site, "same-origin") != 0 &&
                    strcasecmp(request->fetch_site, "none") != 0;
    if (is_cross || (request->origin != NULL && !is_own_origin(request)))
        return (struct guard_verdict){.status = 403,
                                      .error = "a page of another origin may change nothing",
                                      .allowed =
                                          "the page that this service serves, or a program that sends no Origin"};
    if (!has_bearer(request, token))
        return (struct guard_verdict){.status = 401,
                                      .error = request->authorization != NULL ? "the token is wrong"
                                                                              : "changes need the token",
                                      .allowed = "Authorization: Bearer TOKEN with the service's ETL_API_TOKEN",
                                      .authenticate = "Bearer realm=\"etl-stream\""};
    if (!is_json(request->content_type))
        return (struct guard_verdict){.status = 415,
                                      .error = "the content must be application/json",
                                      .allowed =
                                          "Content-Type: application/json, with {} where there is nothing to say"};
    return may();
}

struct guard_verdict guard_judge(const struct guard_request *request, const struct http_token *token,
                                 enum http_access access)
{
    switch (access) {
    case HTTP_OPEN: return may();
    case HTTP_READ: return judge_read(request, token);
    case HTTP_CHANGE: return judge_change(request, token);
    }
    CHECK(false);
}
