#include "sinks/snowflake/sf_http.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"

#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#else
#define ARCHITECTURE "unknown"
#endif

static const char user_agent[] = "etl-stream/" ETL_VERSION " (Linux " ARCHITECTURE ")";

static void fill_random(void *out, size_t size)
{
    // Up to 256 bytes come whole and without waiting once the kernel's generator is seeded (getrandom(2)).
    CHECK(getrandom(out, size, 0) == (ssize_t)size);
}

uint64_t sf_random(void)
{
    uint64_t value = 0;
    while (value == 0)
        fill_random(&value, sizeof value);
    return value;
}

void sf_request_id_new(struct sf_request_id *id)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[16];
    fill_random(bytes, sizeof bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;  // RFC 9562: version 4, variant 10
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    char *out = id->uuid;
    for (size_t i = 0; i < sizeof bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
    id->retry_count = 0;
}

void sf_append_request_id(struct buf *url, const struct sf_request_id *id)
{
    buf_appendf(url, "requestId=%s&retryCount=%u", id->uuid, id->retry_count);
}

void sf_append_url_identifier(struct buf *url, const char *name)
{
    buf_append_text(url, "%22");
    for (; *name != '\0'; name++) {
        const char text[2] = {*name, '\0'};
        http_append_segment(url, text);
        if (*name == '"')
            http_append_segment(url, text);
    }
    buf_append_text(url, "%22");
}

void sf_append_pipe_path(struct buf *url, const char *database, const char *schema, const char *pipe)
{
    buf_append_text(url, "/databases/");
    sf_append_url_identifier(url, database);
    buf_append_text(url, "/schemas/");
    sf_append_url_identifier(url, schema);
    buf_append_text(url, "/pipes/");
    sf_append_url_identifier(url, pipe);
}

void sf_headers_begin(struct sf_headers *headers, const char *bearer, bool is_scoped)
{
    headers->count = 0;
    sf_headers_add(headers, "User-Agent", user_agent);
    sf_headers_add(headers, "Accept", "application/json");
    sf_headers_add(headers, "Authorization", bearer);
    headers->items[headers->count - 1].is_secret = true;
    sf_headers_add(headers, "X-Snowflake-Authorization-Token-Type", is_scoped ? "OAUTH" : "KEYPAIR_JWT");
}

void sf_headers_add(struct sf_headers *headers, const char *name, const char *value)
{
    CHECK(headers->count < SF_HEADERS_MAX);
    headers->items[headers->count++] = (struct http_header){.name = name, .value = value};
}

// ---- answers

static void copy_printable(char *out, size_t out_size, const char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size && used + 1 < out_size; i++) {
        unsigned char c = (unsigned char)text[i];
        out[used++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    // Not in the middle of a UTF-8 sequence.
    while (used > 0 && used + 1 == out_size && ((unsigned char)out[used - 1] & 0xc0) == 0x80)
        used--;
    out[used] = '\0';
}

static void copy_member(char *out, size_t out_size, const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    if (json_is_string(value))
        copy_printable(out, out_size, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        (void)snprintf(out, out_size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

static void read_code(struct sf_answer *answer, const struct http_request *request)
{
    if (json_is_string(answer->json)) {
        copy_printable(answer->code, sizeof answer->code, json_string_value(answer->json),
                       json_string_length(answer->json));
        return;
    }
    if (!json_is_object(answer->json)) {
        copy_printable(answer->message, sizeof answer->message, (const char *)request->answer.data,
                       request->answer.size < 200 ? request->answer.size : 200);
        return;
    }
    static const char *const names[] = {"code", "error_code", "status_code"};
    for (size_t i = 0; i < sizeof names / sizeof names[0] && answer->code[0] == '\0'; i++)
        copy_member(answer->code, sizeof answer->code, answer->json, names[i]);
    copy_member(answer->message, sizeof answer->message, answer->json, "message");
}

static bool is_pressure(const char *code)
{
    static const char *const codes[] = {"ReceiverSaturated", "MemoryThresholdExceeded",
                                        "MemoryThresholdExceededInContainer", "HttpRetryableClientError",
                                        "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(codes[i], code) == 0)
            return true;
    return false;
}

static enum sf_signal signal_of(const struct sf_answer *answer, uint32_t status)
{
    if (status >= 200 && status < 300)
        return SF_SIGNAL_DONE;
    if (status == 401)
        return SF_SIGNAL_UNAUTHORIZED;
    if (status == 429)
        return SF_SIGNAL_THROTTLED;
    if (status == 408 || status >= 500 || is_pressure(answer->code))
        return SF_SIGNAL_TRANSIENT;
    if (strstr(answer->code, "STALE_CONTINUATION_TOKEN") != NULL ||
        strstr(answer->code, "INVALID_CLIENT_SEQUENCER") != NULL)
        return SF_SIGNAL_STALE;
    switch (status) {
    case 403: return SF_SIGNAL_FORBIDDEN;
    case 404: return SF_SIGNAL_MISSING;
    case 409: return strstr(answer->code, "UNCOMMITTED") != NULL ? SF_SIGNAL_UNCOMMITTED : SF_SIGNAL_CONFLICT;
    case 410: return SF_SIGNAL_MOVED;
    default: return SF_SIGNAL_REFUSED;
    }
}

void sf_answer_init(struct sf_answer *answer, const struct http_request *request)
{
    *answer = (struct sf_answer){0};
    if (request->answer.size > 0)
        answer->json = json_loadb((const char *)request->answer.data, request->answer.size, JSON_DECODE_ANY, NULL);
    // 422 and 4xx answers may be long; a 200's result is not searched for what it does not hold.
    if (request->status < 200 || request->status >= 300)
        read_code(answer, request);
    answer->signal = signal_of(answer, request->status);
}

void sf_answer_deinit(struct sf_answer *answer)
{
    json_decref(answer->json);
    answer->json = NULL;
}

void sf_answer_err(const struct sf_answer *answer, const struct http_request *request, enum err_kind kind,
                   const char *what, struct err *out_error)
{
    const char *gap = answer->code[0] == '\0' ? "" : " ";
    const char *colon = answer->message[0] == '\0' ? "" : ": ";
    err_set(out_error, kind, answer->code, "%s: HTTP %u%s%s%s%s", what, request->status, gap, answer->code, colon,
            answer->message);
}

bool sf_answer_text(const struct sf_answer *answer, const struct http_request *request, const char *name,
                    struct buf *out)
{
    const char *text = (const char *)request->answer.data;
    size_t size = request->answer.size;
    const json_t *value = json_is_object(answer->json) ? json_object_get(answer->json, name) : answer->json;
    if (json_is_object(answer->json) || json_is_string(answer->json)) {
        text = json_string_value(value);
        size = text == NULL ? 0 : json_string_length(value);
    }
    while (size > 0 && (unsigned char)text[0] <= ' ') {
        text++;
        size--;
    }
    while (size > 0 && (unsigned char)text[size - 1] <= ' ')
        size--;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f)
            return false;
    buf_append(out, text, size);
    return size > 0 && !out->failed;
}
