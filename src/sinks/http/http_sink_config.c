#include "sinks/http/http_sink_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/check.h"

#define URL_BYTES_MAX 8192
#define TIMEOUT_MS_DEFAULT 30000
#define TIMEOUT_MS_MIN 100
#define TIMEOUT_MS_MAX 3600000
#define ATTEMPTS_DEFAULT 3
#define ATTEMPTS_MAX 1000

static char *decoded(const char *text, size_t size)
{
    char *copy = malloc(size + 1);
    size_t length = 0;
    CHECK(copy != NULL);
    for (size_t i = 0; i < size; i++) {
        char digits[3] = {0};
        if (text[i] == '%' && i + 2 < size && isxdigit((unsigned char)text[i + 1]) &&
            isxdigit((unsigned char)text[i + 2])) {
            memcpy(digits, text + i + 1, 2);
            copy[length++] = (char)strtoul(digits, NULL, 16);
            i += 2;
        } else {
            copy[length++] = text[i];
        }
    }
    copy[length] = '\0';
    return copy;
}

static bool read_number(const char *name, const char *text, uint32_t minimum, uint32_t maximum, uint32_t *out_number,
                        struct err *out_error)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || number < minimum || number > maximum)
        return err_set(out_error, ERR_CONFIG, "to", "%s is \"%s\"; allowed is a whole number from %u to %u", name, text,
                       minimum, maximum);
    *out_number = (uint32_t)number;
    return true;
}

static bool read_compression(const char *text, enum http_compression *out_compression, struct err *out_error)
{
    static const char *const names[] = {"none", "gzip", "zstd"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out_compression = (enum http_compression)i;
            return true;
        }
    }
    return err_set(out_error, ERR_CONFIG, "to", "compression is \"%s\"; allowed are none, gzip and zstd", text);
}

static void replace(char **target, const char *text)
{
    free(*target);
    *target = strdup(text);
    CHECK(*target != NULL);
}

// *out_is_ours false: a parameter of the receiver.
static bool read_parameter(struct http_sink_config *config, const char *name, size_t name_size, const char *value,
                           bool *out_is_ours, struct err *out_error)
{
    static const char *const names[] = {"compression", "token_env", "ca_file", "http_timeout_ms",
                                        "http_retry_attempts"};
    size_t index = 0;
    while (index < sizeof names / sizeof names[0] &&
           (strlen(names[index]) != name_size || memcmp(names[index], name, name_size) != 0))
        index++;
    *out_is_ours = index < sizeof names / sizeof names[0];
    switch (index) {
    case 0: return read_compression(value, &config->compression, out_error);
    case 1: replace(&config->token_env, value); return true;
    case 2: replace(&config->ca_file, value); return true;
    case 3: return read_number(names[3], value, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX, &config->timeout_ms, out_error);
    case 4: return read_number(names[4], value, 0, ATTEMPTS_MAX, &config->retry_attempts, out_error);
    default: return true;
    }
}

// Takes our parameters out of the query; the others go to url.
static bool read_query(struct http_sink_config *config, const char *query, struct buf *url, struct err *out_error)
{
    char separator = '?';
    for (const char *pair = query; pair != NULL;) {
        const char *end = strchr(pair, '&');
        size_t size = end != NULL ? (size_t)(end - pair) : strlen(pair);
        const char *equals = memchr(pair, '=', size);
        size_t name_size = equals != NULL ? (size_t)(equals - pair) : size;
        char *value = equals != NULL ? decoded(equals + 1, size - name_size - 1) : decoded("", 0);
        bool is_ours = false;
        bool is_read = read_parameter(config, pair, name_size, value, &is_ours, out_error);
        free(value);
        if (!is_read)
            return false;
        if (!is_ours) {
            buf_append_byte(url, (uint8_t)separator);
            buf_append(url, pair, size);
            separator = '&';
        }
        pair = end != NULL ? end + 1 : NULL;
    }
    return true;
}

static bool is_loopback(const char *host, size_t size)
{
    static const char *const names[] = {"localhost", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (size == strlen(names[i]) && strncasecmp(host, names[i], size) == 0)
            return true;
    return size > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= size;
}

static bool check_authority(const char *authority, size_t size, struct err *out_error)
{
    if (memchr(authority, '@', size) != NULL)
        return err_set(out_error, ERR_CONFIG, "to",
                       "the URL holds a user or password before an @; put a bearer token into an environment variable "
                       "and name it with token_env=NAME");
    if (size == 0 || *authority == ':')
        return err_set(out_error, ERR_CONFIG, "to", "the URL names no host; write https://HOST/PATH");
    return true;
}

// Without its port; brackets stay.
static size_t host_size(const char *authority, size_t size)
{
    if (*authority == '[') {
        const char *end = memchr(authority, ']', size);
        return end != NULL ? (size_t)(end - authority) + 1 : size;
    }
    const char *colon = memchr(authority, ':', size);
    return colon != NULL ? (size_t)(colon - authority) : size;
}

static bool parse(struct http_sink_config *config, const char *url, struct buf *own_url, struct err *out_error)
{
    const char *authority = strstr(url, "://");
    CHECK(authority != NULL);
    authority += strlen("://");
    size_t authority_size = strcspn(authority, "/?#");
    size_t path_size = strcspn(url, "?#");
    if (!check_authority(authority, authority_size, out_error))
        return false;
    if (strchr(url, '#') != NULL)
        return err_set(out_error, ERR_CONFIG, "to", "the URL holds a fragment (#…), which is never sent; leave it out");
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c == 127)
            return err_set(out_error, ERR_CONFIG, "to", "the URL holds a blank or a control character; write %%20");
    config->text = strndup(url, path_size);
    CHECK(config->text != NULL);
    buf_append(own_url, url, path_size);
    if (url[path_size] == '?' && !read_query(config, url + path_size + 1, own_url, out_error))
        return false;
    bool is_plain = strncmp(url, "http://", 7) == 0;
    if (is_plain && config->token_env != NULL && !is_loopback(authority, host_size(authority, authority_size)))
        return err_set(out_error, ERR_CONFIG, "to",
                       "a token is not sent to another machine in the clear; write https://, or leave out token_env");
    return true;
}

bool http_sink_config_parse(const char *url, struct http_sink_config *out_config, struct err *out_error)
{
    struct buf own_url;
    *out_config = (struct http_sink_config){.timeout_ms = TIMEOUT_MS_DEFAULT, .retry_attempts = ATTEMPTS_DEFAULT};
    buf_init(&own_url, URL_BYTES_MAX);
    bool is_parsed = parse(out_config, url, &own_url, out_error);
    if (is_parsed && own_url.failed)
        is_parsed = err_set(out_error, ERR_CONFIG, "to", "the URL is longer than %u bytes", URL_BYTES_MAX);
    if (is_parsed) {
        out_config->url = strdup(buf_text(&own_url));
        CHECK(out_config->url != NULL);
    } else {
        http_sink_config_deinit(out_config);
    }
    buf_deinit(&own_url);
    return is_parsed;
}

static char *copied(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK((copy != NULL) == (text != NULL));
    return copy;
}

void http_sink_config_copy(const struct http_sink_config *from, struct http_sink_config *out_copy)
{
    *out_copy = *from;
    out_copy->url = copied(from->url);
    out_copy->text = copied(from->text);
    out_copy->token_env = copied(from->token_env);
    out_copy->ca_file = copied(from->ca_file);
}

void http_sink_config_deinit(struct http_sink_config *config)
{
    free(config->url);
    free(config->text);
    free(config->token_env);
    free(config->ca_file);
    *config = (struct http_sink_config){0};
}
