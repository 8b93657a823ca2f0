#include "sinks/http/http_sink.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/check.h"
#include "io/metric_registry.h"
#include "sinks/line_sink.h"

#define BATCH_BYTES_MAX ((size_t)4 << 20)
#define BATCH_BYTES_MAX_GZIP ((size_t)1 << 20)  // gzip is slow, and compressing is part of the loop's turn
#define INFLIGHT_MAX 8
#define ANSWER_BYTES_MAX ((size_t)1 << 20)
#define ANSWER_SHOWN_MAX 200
#define HEADERS_MAX 16
#define HEADER_SIZE 40
#define NAME_HEADER_SIZE 1200  // two names of 63 bytes, each byte as %XX, and more
#define GZIP_LEVEL 1
#define GZIP_WINDOW_BITS (15 + 16)  // zlib: 16 more asks for gzip's header
#define ATTEMPTS_AT_OPEN 2

static const struct backoff_policy retry_policy = {
    .delay_first_ms = 250, .delay_min_ms = 100, .delay_max_ms = 30000, .tries_max = 0};

struct http_sink {
    struct line_sink lines;  // first
    struct http_sink_options options;
    char *pipeline;       // percent-encoded: a header holds ASCII without line breaks only
    char *authorization;  // "Bearer …", or NULL; wiped
    uint64_t url_hash;    // names the destination in the catalog
    struct http_request hello;
    struct loop_timer hello_timer;
    uint32_t hello_tries;
};

struct carried {
    struct http_request request;
    struct buf body;  // compressed; empty: the batch's own bytes are sent
    size_t wire_bytes;
};

static struct http_sink *http_sink_of(struct line_sink *sink)
{
    return (struct http_sink *)sink;
}

// --- requests ----------------------------------------------------------------------------------------------------

struct header_list {
    struct http_header items[HEADERS_MAX];
    size_t count;
};

static void add_header(struct header_list *headers, const char *name, const char *value)
{
    CHECK(headers->count < HEADERS_MAX);
    headers->items[headers->count++] = (struct http_header){.name = name, .value = value};
}

static void add_common(const struct http_sink *sink, struct header_list *headers, const char *kind)
{
    add_header(headers, "User-Agent", "etl-stream/" ETL_VERSION);
    add_header(headers, "Content-Type", "application/x-ndjson");
    add_header(headers, "X-ETL-Pipeline", sink->pipeline);
    add_header(headers, "X-ETL-Kind", kind);
    if (sink->authorization == NULL)
        return;
    add_header(headers, "Authorization", sink->authorization);
    headers->items[headers->count - 1].is_secret = true;
}

// schema.table, percent-encoded each: headers hold ASCII only, and names may hold dots.
static void format_table(const struct line_table *table, char *out, size_t out_size)
{
    struct buf text;
    buf_init(&text, NAME_HEADER_SIZE);
    http_append_segment(&text, table->table->schema_name);
    buf_append_byte(&text, '.');
    http_append_segment(&text, table->table->table_name);
    (void)snprintf(out, out_size, "%s", buf_text(&text));
    buf_deinit(&text);
}

static bool start(struct http_sink *sink, struct http_request *request, struct header_list *headers,
                  struct err *out_error)
{
    const struct http_sink_config *config = sink->options.config;
    request->method = "POST";
    request->url = config->url;
    request->headers = headers->items;
    request->header_count = headers->count;
    request->timeout_ms = config->timeout_ms;
    request->ca_file = config->ca_file;
    request->answer_bytes_max = ANSWER_BYTES_MAX;
    request->meter = HTTP_METER_HTTP;
    request->breaker = sink->options.breaker;
    return http_client_start(sink->options.http, request, out_error);
}

// The beginning of what the receiver said, in one line.
static void describe_answer(const struct http_request *request, char out[ANSWER_SHOWN_MAX + 8])
{
    size_t size = request->answer.size < ANSWER_SHOWN_MAX ? request->answer.size : ANSWER_SHOWN_MAX;
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = request->answer.data[i];
        out[length++] = (char)(byte < ' ' || byte >= 127 ? ' ' : byte);
    }
    while (length > 0 && out[length - 1] == ' ')
        length--;
    out[length] = '\0';
}

// Statuses that say something of the destination, not of these rows: wrong address, no access.
static bool is_of_destination(uint32_t status)
{
    return (status >= 300 && status < 400) || status == 401 || status == 403 || status == 404 || status == 405 ||
           status == 407 || status == 410;
}

// What became of a request; false: out_error says. ERR_TRANSIENT: worth another try with the same rows; ERR_CONFIG: the
// address or the access is wrong; ERR_DATA: these rows are refused.
static bool judge(const struct http_sink *sink, const struct http_request *request, const struct err *error,
                  struct err *out_error)
{
    char answer[ANSWER_SHOWN_MAX + 8], code[16];
    const char *where = sink->options.config->text;
    uint32_t status = request->status;
    if (error != NULL) {
        *out_error = *error;
        return false;
    }
    if (status >= 200 && status < 300)
        return true;
    describe_answer(request, answer);
    (void)snprintf(code, sizeof code, "%u", status);
    const char *quoted = *answer != '\0' ? ": " : "";
    if (status >= 500 || status == 408 || status == 429) {
        err_set(out_error, ERR_TRANSIENT, code, "%s answers with status %u%s%s", where, status, quoted, answer);
        // Said of the requests that it holds back from now on.
        if (status >= 500 && sink->options.breaker != NULL)
            (void)snprintf(sink->options.breaker->reason, sizeof sink->options.breaker->reason, "%s", out_error->text);
        return false;
    }
    if (status >= 300 && status < 400)
        return err_set(out_error, ERR_CONFIG, code,
                       "%s answers with a redirect (status %u), which is not followed; name the final URL", where,
                       status);
    if (status == 401 || status == 403)
        return err_set(out_error, ERR_CONFIG, code, "%s refuses access (status %u%s%s); %s", where, status, quoted,
                       answer,
                       sink->authorization != NULL ? "check the token that token_env names"
                                                   : "it may want a token: token_env=VARIABLE");
    return err_set(out_error, is_of_destination(status) ? ERR_CONFIG : ERR_DATA, code,
                   "%s refuses the request with status %u%s%s", where, status, quoted, answer);
}

// How long the circuit stays open still; 0: it is not.
static uint64_t circuit_open_us(const struct http_sink *sink)
{
    const struct breaker *breaker = sink->options.breaker;
    return breaker != NULL ? breaker_open_us(breaker, loop_now_us(sink->options.loop)) : 0;
}

static void add_stats(const struct line_sink *lines, struct sink_stats *stats)
{
    const struct http_sink *sink = (const struct http_sink *)lines;
    if (sink->options.breaker == NULL)
        return;
    stats->circuit = breaker_state_name(sink->options.breaker->state);
    stats->circuit_open_us = circuit_open_us(sink);
}

// --- opening -----------------------------------------------------------------------------------------------------

static void hello_send(struct http_sink *sink)
{
    struct header_list headers = {.count = 0};
    struct err error = {0};
    add_common(sink, &headers, "hello");
    if (!start(sink, &sink->hello, &headers, &error))
        line_sink_opened(&sink->lines, &error);
}

static void on_hello_due(struct loop_timer *timer)
{
    hello_send(timer->context);
}

static void on_hello_done(struct http_request *request, const struct err *error)
{
    struct http_sink *sink = request->context;
    struct err problem = {0};
    if (judge(sink, request, error, &problem)) {
        line_sink_opened(&sink->lines, NULL);
    } else if (problem.kind == ERR_TRANSIENT && ++sink->hello_tries < ATTEMPTS_AT_OPEN) {
        metric_add_to(METRIC_HTTP_RETRIES, 1);
        uint64_t delay_ms = request->retry_after_s > 0 ? (uint64_t)request->retry_after_s * 1000 : 500;
        loop_timer_set(sink->options.loop, &sink->hello_timer, delay_ms * 1000);
    } else {
        if (problem.kind == ERR_DATA)
            problem.kind = ERR_CONFIG;  // there are no rows in it
        line_sink_opened(&sink->lines, &problem);
    }
}

static void open_sink(struct line_sink *lines)
{
    struct http_sink *sink = http_sink_of(lines);
    sink->hello_tries = 0;
    hello_send(sink);
}

// --- lanes -------------------------------------------------------------------------------------------------------

static void table_add(struct line_table *table)
{
    char name[NAME_HEADER_SIZE];
    format_table(table, name, sizeof name);
    table->target = strdup(name);
    CHECK(table->target != NULL);
}

// "http_<hash of the URL>_E<epoch>": acknowledgements of another receiver mean nothing here.
static void record_name(const struct line_lane *lane, char out[SINK_CHANNEL_NAME_SIZE])
{
    const struct http_sink *sink = http_sink_of(lane->table->sink);
    (void)snprintf(out, SINK_CHANNEL_NAME_SIZE, "http_%016" PRIX64 "_E%u", sink->url_hash, (unsigned)lane->epoch);
}

static void lane_record(const struct line_lane *lane, struct sink_channel_record *out_record)
{
    char token[SEQ_TEXT_SIZE + 1] = {0};
    record_name(lane, out_record->name);
    seq_format(&lane->committed, token);
    (void)snprintf(out_record->token, sizeof out_record->token, "%s", token);
}

static void on_done(struct http_request *request, const struct err *error);

static void carried_make(struct line_lane *lane)
{
    if (lane->carried != NULL)
        return;
    struct carried *carried = calloc(1, sizeof *carried);
    CHECK(carried != NULL);
    http_request_init(&carried->request);
    carried->request.on_done = on_done;
    carried->request.context = lane;
    buf_init(&carried->body, SIZE_MAX / 2);
    lane->carried = carried;
}

static void lane_open(struct line_lane *lane, const struct sink_channel_record *kept)
{
    char name[SINK_CHANNEL_NAME_SIZE];
    struct seq had;
    struct err error = {0};
    carried_make(lane);
    record_name(lane, name);
    const char *epoch = strrchr(kept->name, 'E');
    bool is_of_epoch = epoch != NULL && strcmp(epoch, strrchr(name, 'E')) == 0;
    if (kept->name[0] == '\0' || (strncmp(kept->name, "http_", 5) == 0 && !is_of_epoch)) {
        line_lane_opened(lane, NULL, NULL);
    } else if (strcmp(kept->name, name) != 0 || !seq_parse(kept->token, strlen(kept->token), &had)) {
        err_set(&error, ERR_LOST, "destination_changed", "the catalog knows what another destination has of it, not %s",
                http_sink_of(lane->table->sink)->options.config->text);
        line_lane_opened(lane, NULL, &error);
    } else {
        line_lane_opened(lane, &had, NULL);
    }
}

static bool gzip(const struct line_batch *batch, struct buf *out)
{
    z_stream stream = {0};
    buf_reset(out);
    if (deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t bound = deflateBound(&stream, (uLong)batch->data.size);
    bool is_done = bound <= UINT32_MAX && batch->data.size <= UINT32_MAX && buf_reserve(out, bound);
    if (is_done) {
        stream.next_in = batch->data.data;
        stream.avail_in = (uInt)batch->data.size;
        stream.next_out = out->data;
        stream.avail_out = (uInt)bound;
        is_done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
        out->size = bound - stream.avail_out;
    }
    deflateEnd(&stream);
    return is_done;
}

static bool compress_body(struct http_sink *sink, const struct line_batch *batch, struct carried *carried,
                          struct err *out_error)
{
    size_t cut = batch->data.size, index = 0;
    switch (sink->options.config->compression) {
    case HTTP_COMPRESSION_NONE: buf_reset(&carried->body); return true;
    case HTTP_COMPRESSION_GZIP:
        return gzip(batch, &carried->body) ||
               err_set(out_error, ERR_INTERNAL, "gzip", "a batch of %zu bytes cannot be compressed", batch->data.size);
    case HTTP_COMPRESSION_ZSTD:
        return zstd_compress_front(sink->options.zstd, batch->data.data, &cut, 1, SIZE_MAX / 4, &carried->body, &index,
                                   out_error);
    }
    check_failed("a known compression", __FILE__, __LINE__);
}

static const char *encoding_name(enum http_compression compression)
{
    return compression == HTTP_COMPRESSION_GZIP ? "gzip" : "zstd";
}

static void post(struct line_lane *lane, const char *kind, uint64_t rows, const struct seq *first,
                 const struct seq *last, const struct buf *body)
{
    struct http_sink *sink = http_sink_of(lane->table->sink);
    struct carried *carried = lane->carried;
    struct header_list headers = {.count = 0};
    struct err error = {0};
    char table[NAME_HEADER_SIZE], row_count[HEADER_SIZE], first_text[HEADER_SIZE] = {0}, last_text[HEADER_SIZE] = {0};
    format_table(lane->table, table, sizeof table);
    (void)snprintf(row_count, sizeof row_count, "%" PRIu64, rows);
    seq_format(first, first_text);
    seq_format(last, last_text);
    add_common(sink, &headers, kind);
    add_header(&headers, "X-ETL-Table", table);
    add_header(&headers, "X-ETL-First-Seq", first_text);
    add_header(&headers, "X-ETL-Last-Seq", last_text);
    add_header(&headers, "X-ETL-Rows", row_count);
    if (body != NULL && carried->body.size > 0)
        add_header(&headers, "Content-Encoding", encoding_name(sink->options.config->compression));
    const struct buf *sent = carried->body.size > 0 ? &carried->body : body;
    carried->request.body = sent != NULL ? sent->data : NULL;
    carried->request.body_size = sent != NULL ? sent->size : 0;
    carried->wire_bytes = carried->request.body_size;
    if (start(sink, &carried->request, &headers, &error))
        return;
    if (lane->is_finishing)
        line_lane_finished(lane, 0, &error);
    else
        line_lane_sent(lane, 0, 0, &error);
}

static void lane_send(struct line_lane *lane, const struct line_batch *batch)
{
    struct err error = {0};
    if (compress_body(http_sink_of(lane->table->sink), batch, lane->carried, &error))
        post(lane, lane->kind == LINE_COPY ? "copy" : "stream", batch->rows, &batch->first, &batch->last, &batch->data);
    else
        line_lane_sent(lane, 0, 0, &error);
}

// When all ranges are there, the receiver is told that the copy is whole, and how many rows it has.
static void lane_finish(struct line_lane *lane)
{
    struct carried *carried = lane->carried;
    if (lane->kind == LINE_COPY) {
        line_lane_finished(lane, 0, NULL);
        return;
    }
    buf_reset(&carried->body);
    post(lane, "copy-complete", lane->rows, &lane->copy_seq, &lane->copy_seq, NULL);
}

static void on_done(struct http_request *request, const struct err *error)
{
    struct line_lane *lane = request->context;
    struct carried *carried = lane->carried;
    struct err problem = {0};
    bool is_done = judge(http_sink_of(lane->table->sink), request, error, &problem);
    // It worked before: what is wrong with the address or the access is mended there, and nothing is dropped until then.
    if (!is_done && problem.kind != ERR_INTERNAL && (error != NULL || is_of_destination(request->status)))
        problem.kind = ERR_TRANSIENT;
    bool was_held_back = error != NULL && strcmp(error->code, "circuit_open") == 0;
    if (!is_done && problem.kind == ERR_TRANSIENT && !was_held_back)
        metric_add_to(METRIC_HTTP_RETRIES, 1);
    uint64_t open_ms = circuit_open_us(http_sink_of(lane->table->sink)) / 1000;
    uint32_t retry_after_ms = request->retry_after_s * 1000;
    if (!is_done && retry_after_ms < open_ms)
        retry_after_ms = (uint32_t)open_ms;  // before that it would only be held back
    const struct err *told = is_done ? NULL : &problem;
    if (lane->is_finishing)
        line_lane_finished(lane, retry_after_ms, told);
    else
        line_lane_sent(lane, carried->wire_bytes, retry_after_ms, told);
}

static bool lane_cancel(struct line_lane *lane)
{
    struct carried *carried = lane->carried;
    http_client_cancel(http_sink_of(lane->table->sink)->options.http, &carried->request);
    return true;
}

static void lane_close(struct line_lane *lane)
{
    struct carried *carried = lane->carried;
    if (carried == NULL)
        return;
    http_request_deinit(&carried->request);
    buf_deinit(&carried->body);
    free(carried);
    lane->carried = NULL;
}

// --- life --------------------------------------------------------------------------------------------------------

static void free_sink(struct line_sink *lines)
{
    struct http_sink *sink = http_sink_of(lines);
    http_client_cancel(sink->options.http, &sink->hello);
    loop_timer_stop(sink->options.loop, &sink->hello_timer);
    line_sink_deinit(lines);
    http_request_deinit(&sink->hello);
    free(sink->pipeline);
    if (sink->authorization != NULL)
        OPENSSL_clear_free(sink->authorization, strlen(sink->authorization) + 1);
    free(sink);
}

static const struct line_carrier carrier = {
    .opened_text = "the receiver answered a request without rows with 2xx",
    .is_table_serial = true,
    .open = open_sink,
    .table_add = table_add,
    .lane_open = lane_open,
    .lane_send = lane_send,
    .lane_finish = lane_finish,
    .lane_cancel = lane_cancel,
    .lane_close = lane_close,
    .lane_record = lane_record,
    .add_stats = add_stats,
    .free = free_sink,
};

static uint64_t hash_of(const char *text)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint64_t hash = 0;
    CHECK(EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < sizeof hash; i++)
        hash = hash << 8 | digest[i];
    return hash;
}

static char *encoded(const char *text)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    http_append_segment(&out, text);
    char *copy = strdup(buf_text(&out));
    CHECK(copy != NULL);
    buf_deinit(&out);
    return copy;
}

// A header's value: visible ASCII.
static bool is_token(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 127)
            return false;
    return *text != '\0';
}

static bool read_token(struct http_sink *sink, struct err *out_error)
{
    const char *variable = sink->options.config->token_env;
    if (variable == NULL)
        return true;
    const char *token = getenv(variable);
    if (token == NULL)
        return err_set(out_error, ERR_CONFIG, "token", "environment variable %s, which token_env names, is not set",
                       variable);
    if (!is_token(token))
        return err_set(out_error, ERR_CONFIG, "token",
                       "environment variable %s holds no bearer token (visible ASCII characters without blanks)",
                       variable);
    size_t size = strlen("Bearer ") + strlen(token) + 1;
    sink->authorization = OPENSSL_malloc(size);
    CHECK(sink->authorization != NULL);
    (void)snprintf(sink->authorization, size, "Bearer %s", token);
    return true;
}

struct sink *http_sink_new(const struct http_sink_options *options, const struct sink_events *events,
                           struct err *out_error)
{
    struct http_sink *sink = calloc(1, sizeof *sink);
    CHECK(sink != NULL);
    sink->options = *options;
    bool is_gzip = options->config->compression == HTTP_COMPRESSION_GZIP;
    struct line_sink_options line_options = {.loop = options->loop,
                                             .carrier = &carrier,
                                             .pipeline = options->pipeline,
                                             .preserves_case = options->preserves_case,
                                             .has_commit_at = options->has_commit_at,
                                             .budget_bytes = options->budget_bytes,
                                             .batch_bytes_max = is_gzip ? BATCH_BYTES_MAX_GZIP : BATCH_BYTES_MAX,
                                             .inflight_max = INFLIGHT_MAX,
                                             .retry_policy = &retry_policy,
                                             .quiet_tries = options->config->retry_attempts};
    line_sink_init(&sink->lines, &line_options, events);
    http_request_init(&sink->hello);
    sink->hello.on_done = on_hello_done;
    sink->hello.context = sink;
    sink->hello_timer = (struct loop_timer){.on_due = on_hello_due, .context = sink};
    sink->url_hash = hash_of(options->config->url);
    sink->pipeline = encoded(options->pipeline);
    if (!read_token(sink, out_error)) {
        free_sink(&sink->lines);
        return NULL;
    }
    return &sink->lines.sink;
}
