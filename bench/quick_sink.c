// A destination that costs as little as possible, for benchmarks only: it speaks just as much of Snowflake's streaming and SQL
// interfaces as the program needs, over TLS on 127.0.0.1, throws rows away unread, and calls everything committed at once.
// It checks nothing but, when told, the limits on a channel; the stand-in of tools/sandbox is what tests run against.
//
//   quick_sink CERTIFICATE KEY       prints its port, then obeys commands on standard input, each answered by one line:
//     save | restore                 keeps the channels' offset tokens; puts them back and forgets later channels
//     forget                         forgets the tables that were made: the next pipeline is another one
//     delay MS                       every append is answered so much later
//     limit 0|1                      more than 10 appends or 20 MB uncompressed of one channel in any second are refused (429)
//     count 0|1                      decompresses appends and counts their lines (not while something is measured)
//     note 0|1                       notes when each append was complete
//     report                         counters and, per channel, the last offset token and when its append was complete
//     notes                          pipe, first and last offset token, and time of each append that was noted
//
// One thread a connection. Times are nanoseconds since 1970.
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum {
    NAME_SIZE = 160,
    TOKEN_SIZE = 64,
    CHANNELS_MAX = 256,
    NOTES_MAX = 100000,
    TABLES_MAX = 64,
    COMMENT_SIZE = 512,
    HEAD_SIZE = 16384,
    BODY_SIZE = 1 << 20,
    APPENDS_PER_SECOND_MAX = 10,
    RAW_BYTES_PER_SECOND_MAX = 20 * 1000 * 1000
};
static const uint64_t SECOND_NS = 1000000000;

struct channel {
    char name[NAME_SIZE], pipe[NAME_SIZE];
    char token[TOKEN_SIZE];  // "": none
    uint64_t at_ns, appends, raw_bytes;
    // The newest appends that were taken: a ring, `next` being the oldest.
    uint64_t taken_ns[APPENDS_PER_SECOND_MAX];
    size_t taken_bytes[APPENDS_PER_SECOND_MAX], next;
};

struct note {
    char pipe[NAME_SIZE], first[TOKEN_SIZE], last[TOKEN_SIZE];
    uint64_t at_ns;
};

// A table that was made: SHOW TABLES finds it again, with its comment.
struct made {
    char name[NAME_SIZE], comment[COMMENT_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct channel channels[CHANNELS_MAX], kept[CHANNELS_MAX];
static size_t channel_count, kept_count, note_count, made_count;
static struct made made[TABLES_MAX];
static struct note *notes;
static uint64_t appends, wire_bytes, raw_bytes, lines, statements;
static uint64_t first_append_ns, throttled, throttled_late;  // late: more than a second after the first append
static unsigned delay_ms;
static bool is_counting, is_noting, is_limiting;
static uint16_t port;

struct client {
    SSL *tls;
    char head[HEAD_SIZE + 1];  // what was read: a request's head and the beginning of its body
    size_t head_size, used;    // used: of this request
    char *body;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// ---- channels; the lock is held

static struct channel *find(const char *name)
{
    for (size_t i = 0; i < channel_count; i++)
        if (strcmp(channels[i].name, name) == 0)
            return &channels[i];
    return NULL;
}

static struct channel *find_or_add(const char *name, const char *pipe)
{
    struct channel *channel = find(name);
    if (channel != NULL || channel_count == CHANNELS_MAX)
        return channel;
    channel = &channels[channel_count++];
    *channel = (struct channel){0};
    (void)snprintf(channel->name, sizeof channel->name, "%s", name);
    (void)snprintf(channel->pipe, sizeof channel->pipe, "%s", pipe);
    return channel;
}

// Any second that ends now holds no more than what is allowed, this append included.
static bool is_within_limits(struct channel *channel, uint64_t at_ns, size_t raw_size)
{
    size_t bytes = raw_size;
    for (size_t i = 0; i < APPENDS_PER_SECOND_MAX; i++)
        bytes += channel->taken_ns[i] + SECOND_NS > at_ns ? channel->taken_bytes[i] : 0;
    if (channel->taken_ns[channel->next] + SECOND_NS > at_ns || bytes > RAW_BYTES_PER_SECOND_MAX)
        return false;
    channel->taken_ns[channel->next] = at_ns;
    channel->taken_bytes[channel->next] = raw_size;
    channel->next = (channel->next + 1) % APPENDS_PER_SECOND_MAX;
    return true;
}

static int print_status(char *out, size_t size, const struct channel *channel)
{
    char token[TOKEN_SIZE + 2] = "null";
    if (channel->token[0] != '\0')
        (void)snprintf(token, sizeof token, "\"%s\"", channel->token);
    return snprintf(out, size,
                    "{\"channel_status_code\":\"SUCCESS\",\"last_committed_offset_token\":%s,\"created_on_ms\":1,"
                    "\"rows_error_count\":0}",
                    token);
}

// ---- reading a request

static bool fill(struct client *client)
{
    if (client->head_size == HEAD_SIZE)
        return false;
    int got = SSL_read(client->tls, client->head + client->head_size, (int)(HEAD_SIZE - client->head_size));
    if (got <= 0)
        return false;
    client->head_size += (size_t)got;
    client->head[client->head_size] = '\0';
    return true;
}

static size_t header_number(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10);
}

static uint64_t count_lines(const char *data, size_t size)
{
    uint64_t count = 0;
    for (const char *end = data + size; (data = memchr(data, '\n', (size_t)(end - data))) != NULL; data++)
        count++;
    return count;
}

static uint64_t count_compressed(const char *data, size_t size)
{
    static char out[BODY_SIZE];  // counting is under the lock
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {data, size, 0};
    uint64_t count = 0;
    size_t left = 1;
    while (in.pos < in.size || left > 0) {
        ZSTD_outBuffer to = {out, sizeof out, 0};
        left = ZSTD_decompressStream(context, &to, &in);
        if (ZSTD_isError(left) || (to.pos == 0 && in.pos == in.size))
            break;
        count += count_lines(out, to.pos);
    }
    ZSTD_freeDCtx(context);
    return count;
}

// Takes the body off the connection; `is_kept`: into client->body, as far as it fits, else it is thrown away.
static bool take_body(struct client *client, size_t size, bool is_kept)
{
    char thrown[65536];
    size_t first = client->head_size - client->used < size ? client->head_size - client->used : size;
    if (is_kept) {
        client->body = realloc(client->body, size + 1);
        if (client->body == NULL)
            return false;
        memcpy(client->body, client->head + client->used, first);
        client->body[size] = '\0';
    }
    client->used += first;
    for (size_t done = first; done < size;) {
        size_t room = is_kept || size - done < sizeof thrown ? size - done : sizeof thrown;
        int got = SSL_read(client->tls, is_kept ? client->body + done : thrown, (int)room);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static bool answer_status(struct client *client, const char *status, const char *type, const char *text)
{
    size_t size = strlen(text) + 256;
    char *out = malloc(size);
    int length = snprintf(out, size, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", status, type,
                          strlen(text), text);
    bool is_sent = SSL_write(client->tls, out, length) == length;
    free(out);
    return is_sent;
}

static bool answer(struct client *client, const char *type, const char *text)
{
    return answer_status(client, "200 OK", type, text);
}

// The part of the path after `before`, up to '/', ':' or '?'.
static void path_part(const char *path, const char *before, char *out, size_t size)
{
    const char *from = strstr(path, before);
    size_t length = 0;
    if (from != NULL) {
        from += strlen(before);
        length = strcspn(from, "/:? ");
    }
    (void)snprintf(out, size, "%.*s", (int)length, length > 0 ? from : "");
}

static void query_part(const char *path, const char *before, char *out, size_t size)
{
    const char *from = strstr(path, before);
    size_t length = from == NULL ? 0 : strcspn(from + strlen(before), "& ");
    (void)snprintf(out, size, "%.*s", (int)length, length > 0 ? from + strlen(before) : "");
}

// ---- answers

static bool append(struct client *client, const char *path, size_t body_size, size_t raw_size)
{
    char name[NAME_SIZE], pipe[NAME_SIZE], first[TOKEN_SIZE], last[TOKEN_SIZE], text[64];
    bool is_kept = is_counting;
    if (!take_body(client, body_size, is_kept))
        return false;
    uint64_t at_ns = now_ns();
    path_part(path, "/channels/", name, sizeof name);
    path_part(path, "/pipes/", pipe, sizeof pipe);
    query_part(path, "startOffsetToken=", first, sizeof first);
    query_part(path, "endOffsetToken=", last, sizeof last);
    pthread_mutex_lock(&lock);
    struct channel *channel = find_or_add(name, pipe);
    unsigned wait_ms = delay_ms;
    if (first_append_ns == 0)
        first_append_ns = at_ns;
    if (is_limiting && channel != NULL && !is_within_limits(channel, at_ns, raw_size)) {
        throttled++;
        throttled_late += at_ns > first_append_ns + SECOND_NS;
        pthread_mutex_unlock(&lock);
        return answer_status(client, "429 Too Many Requests", "application/json",
                             "{\"code\":\"ReceiverSaturated\",\"message\":\"more than a channel may take\"}");
    }
    uint64_t number = ++appends;
    wire_bytes += body_size;
    raw_bytes += raw_size;
    if (is_kept)
        lines += count_compressed(client->body, body_size);
    if (channel != NULL) {
        (void)snprintf(channel->token, sizeof channel->token, "%s", last);
        channel->at_ns = at_ns;
        channel->appends++;
        channel->raw_bytes += raw_size;
    }
    if (is_noting && note_count < NOTES_MAX) {
        struct note *note = &notes[note_count++];
        (void)snprintf(note->pipe, sizeof note->pipe, "%s", pipe);
        (void)snprintf(note->first, sizeof note->first, "%s", first);
        (void)snprintf(note->last, sizeof note->last, "%s", last);
        note->at_ns = at_ns;
    }
    pthread_mutex_unlock(&lock);
    if (wait_ms > 0)
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = (long)(wait_ms % 1000) * 1000000}, NULL);
    (void)snprintf(text, sizeof text, "{\"next_continuation_token\":\"%" PRIu64 "\"}", number);
    return answer(client, "application/json", text);
}

static bool open_channel(struct client *client, const char *path)
{
    char name[NAME_SIZE], pipe[NAME_SIZE], status[512], text[640];
    path_part(path, "/channels/", name, sizeof name);
    path_part(path, "/pipes/", pipe, sizeof pipe);
    const char *offset = strstr(client->body, "\"offset_token\":\"");
    pthread_mutex_lock(&lock);
    bool is_new = find(name) == NULL;
    struct channel *channel = find_or_add(name, pipe);
    if (channel != NULL && is_new && offset != NULL) {
        offset += strlen("\"offset_token\":\"");
        (void)snprintf(channel->token, sizeof channel->token, "%.*s", (int)strcspn(offset, "\""), offset);
    }
    if (channel != NULL)
        print_status(status, sizeof status, channel);
    pthread_mutex_unlock(&lock);
    if (channel == NULL)
        return false;
    (void)snprintf(text, sizeof text, "{\"next_continuation_token\":\"0\",\"channel_status\":%s}", status);
    return answer(client, "application/json", text);
}

static bool bulk_status(struct client *client)
{
    static const char begin[] = "{\"channel_statuses\":{";
    char *text = malloc((size_t)CHANNELS_MAX * 512);
    size_t used = sizeof begin - 1;
    memcpy(text, begin, sizeof begin);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < channel_count; i++) {
        char quoted[NAME_SIZE + 2], status[512];
        (void)snprintf(quoted, sizeof quoted, "\"%s\"", channels[i].name);
        if (strstr(client->body, quoted) == NULL)
            continue;
        print_status(status, sizeof status, &channels[i]);
        used += (size_t)sprintf(text + used, "%s%s:%s", used >= sizeof begin ? "," : "", quoted, status);
    }
    pthread_mutex_unlock(&lock);
    memcpy(text + used, "}}", 3);
    bool is_sent = answer(client, "application/json", text);
    free(text);
    return is_sent;
}

static bool drop_channel(struct client *client, const char *path)
{
    char name[NAME_SIZE];
    path_part(path, "/channels/", name, sizeof name);
    pthread_mutex_lock(&lock);
    struct channel *channel = find(name);
    if (channel != NULL)
        channel->name[0] = '\0';  // its last token stays readable in the report, by its pipe
    pthread_mutex_unlock(&lock);
    return answer(client, "application/json", "{}");
}

// CREATE … TABLE … "DATABASE"."SCHEMA"."NAME" (…) … COMMENT = '…', as it stands in JSON. The lock is held.
static void note_made(const char *text)
{
    static const char comment_begins[] = "COMMENT = '";
    const char *name = strstr(text, " TABLE ");
    const char *comment = strstr(text, comment_begins);
    for (int quotes = 0; name != NULL && quotes < 5; quotes++)
        name = (name = strstr(name, "\\\"")) == NULL ? NULL : name + 2;
    if (name == NULL || comment == NULL || made_count == TABLES_MAX)
        return;
    comment += sizeof comment_begins - 1;
    struct made *one = &made[made_count++];
    (void)snprintf(one->name, sizeof one->name, "%.*s", (int)strcspn(name, "\\"), name);
    (void)snprintf(one->comment, sizeof one->comment, "%.*s", (int)strcspn(comment, "'"), comment);
}

// The name begins at `pattern`, as in LIKE '…'. NULL: no such table. The lock is held.
static const struct made *find_made(const char *pattern)
{
    size_t size = strcspn(pattern, "'");
    for (size_t i = 0; i < made_count; i++)
        if (strlen(made[i].name) == size && memcmp(made[i].name, pattern, size) == 0)
            return &made[i];
    return NULL;
}

// SHOW SCHEMAS and SHOW WAREHOUSES find what they look for, SHOW TABLES what was made; the state is that of a pipeline
// that never merged.
static bool statement(struct client *client)
{
    char text[2048], row[1024] = "[\"done\"]";
    const char *columns = "{\"name\":\"result\",\"type\":\"text\"}";
    const char *quote = strchr(client->body, '\'');
    const char *pattern = quote == NULL ? "" : quote + 1;
    pthread_mutex_lock(&lock);
    statements++;
    if (strstr(client->body, "\"SHOW TABLES ") != NULL) {
        const struct made *one = find_made(pattern);
        columns = "{\"name\":\"name\",\"type\":\"text\"},{\"name\":\"comment\",\"type\":\"text\"}";
        row[0] = '\0';
        if (one != NULL)
            (void)snprintf(row, sizeof row, "[\"%s\",\"%s\"]", one->name, one->comment);
    } else if (strstr(client->body, "\"SHOW ") != NULL) {
        columns = "{\"name\":\"name\",\"type\":\"text\"}";
        (void)snprintf(row, sizeof row, "[\"%.*s\"]", (int)strcspn(pattern, "'"), pattern);
    } else if (strstr(client->body, "\"SELECT \\\"POSITION\\\"") != NULL) {
        columns = "{\"name\":\"POSITION\",\"type\":\"text\"}";
        (void)snprintf(row, sizeof row, "[\"000000000000000000\"]");
    } else if (strstr(client->body, "\"CREATE ") != NULL) {
        note_made(client->body);
    }
    pthread_mutex_unlock(&lock);
    (void)snprintf(text, sizeof text,
                   "{\"resultSetMetaData\":{\"numRows\":%d,\"format\":\"jsonv2\",\"rowType\":[%s]},\"data\":[%s],"
                   "\"code\":\"090001\",\"statementHandle\":\"1\",\"sqlState\":\"00000\",\"message\":\"done\"}",
                   row[0] != '\0', columns, row);
    return answer(client, "application/json", text);
}

static bool serve(struct client *client)
{
    char *end;
    while ((end = strstr(client->head, "\r\n\r\n")) == NULL)
        if (!fill(client))
            return false;
    client->used = (size_t)(end + 4 - client->head);
    *end = '\0';
    size_t body_size = header_number(client->head, "\r\nContent-Length:");
    size_t raw_size = header_number(client->head, "\r\nx-snowflake-uncompressed-content-length:");
    char path[2048];
    const char *blank = strchr(client->head, ' ');
    (void)snprintf(path, sizeof path, "%.*s", blank == NULL ? 0 : (int)strcspn(blank + 1, " "),
                   blank == NULL ? "" : blank + 1);
    bool is_put = strncmp(client->head, "PUT ", 4) == 0, is_delete = strncmp(client->head, "DELETE ", 7) == 0;
    bool is_append = strstr(path, "/rows?") != NULL, is_done = false;
    if (!is_append && (body_size > BODY_SIZE || !take_body(client, body_size, true)))
        return false;
    if (is_append) {
        is_done = append(client, path, body_size, raw_size);
    } else if (strncmp(path, "/v2/streaming/hostname", 22) == 0) {
        char host[32];
        (void)snprintf(host, sizeof host, "127.0.0.1:%u", port);
        is_done = answer(client, "text/plain", host);
    } else if (strncmp(path, "/oauth/token", 12) == 0) {
        is_done = answer(client, "text/plain", "quick-sink");
    } else if (strstr(path, ":bulk-channel-status") != NULL) {
        is_done = bulk_status(client);
    } else if (strncmp(path, "/api/v2/statements", 18) == 0) {
        is_done = statement(client);
    } else if (is_put || is_delete) {
        is_done = is_put ? open_channel(client, path) : drop_channel(client, path);
    }
    memmove(client->head, client->head + client->used, client->head_size - client->used + 1);
    client->head_size -= client->used;
    return is_done;
}

static void *run_client(void *tls)
{
    struct client *client = calloc(1, sizeof *client);
    client->tls = tls;
    if (SSL_accept(tls) == 1)
        while (serve(client))
            ;
    close(SSL_get_fd(tls));
    SSL_free(tls);
    free(client->body);
    free(client);
    return NULL;
}

// ---- commands

static void report(void)
{
    printf("{\"appends\":%" PRIu64 ",\"wire_bytes\":%" PRIu64 ",\"raw_bytes\":%" PRIu64 ",\"lines\":%" PRIu64
           ",\"statements\":%" PRIu64 ",\"throttled\":%" PRIu64 ",\"throttled_late\":%" PRIu64 ",\"first_at\":%" PRIu64
           ",\"channels\":[",
           appends, wire_bytes, raw_bytes, lines, statements, throttled, throttled_late, first_append_ns);
    for (size_t i = 0; i < channel_count; i++)
        printf("%s{\"pipe\":\"%s\",\"name\":\"%s\",\"token\":\"%s\",\"at\":%" PRIu64 ",\"appends\":%" PRIu64
               ",\"raw_bytes\":%" PRIu64 "}",
               i == 0 ? "" : ",", channels[i].pipe, channels[i].name, channels[i].token, channels[i].at_ns,
               channels[i].appends, channels[i].raw_bytes);
    printf("]}\n");
}

static void obey(const char *line)
{
    unsigned number = 0;
    if (strncmp(line, "save", 4) == 0) {
        memcpy(kept, channels, sizeof kept);
        kept_count = channel_count;
    } else if (strncmp(line, "restore", 7) == 0) {
        memcpy(channels, kept, sizeof kept);
        channel_count = kept_count;
        appends = wire_bytes = raw_bytes = lines = statements = note_count = 0;
        first_append_ns = throttled = throttled_late = 0;
    } else if (strncmp(line, "forget", 6) == 0) {
        made_count = 0;
    } else if (sscanf(line, "delay %u", &number) == 1) {
        delay_ms = number;
    } else if (sscanf(line, "limit %u", &number) == 1) {
        is_limiting = number != 0;
    } else if (sscanf(line, "count %u", &number) == 1) {
        is_counting = number != 0;
    } else if (sscanf(line, "note %u", &number) == 1) {
        is_noting = number != 0;
        note_count = 0;
    } else if (strncmp(line, "report", 6) == 0) {
        report();
        return;
    } else if (strncmp(line, "notes", 5) == 0) {
        printf("[");
        for (size_t i = 0; i < note_count; i++)
            printf("%s[\"%s\",\"%s\",\"%s\",%" PRIu64 "]", i == 0 ? "" : ",", notes[i].pipe, notes[i].first,
                   notes[i].last, notes[i].at_ns);
        printf("]\n");
        return;
    }
    printf("{}\n");
}

static void *run_commands(void *unused)
{
    char line[256];
    (void)unused;
    while (fgets(line, sizeof line, stdin) != NULL) {
        pthread_mutex_lock(&lock);
        obey(line);
        pthread_mutex_unlock(&lock);
        fflush(stdout);
    }
    exit(0);  // whoever started us has gone
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    notes = calloc(NOTES_MAX, sizeof *notes);
    if (count != 3 || notes == NULL || SSL_CTX_use_certificate_file(context, arguments[1], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1 ||
        bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        fprintf(stderr, "usage: quick_sink CERTIFICATE KEY, both in PEM\n");
        return 2;
    }
    port = ntohs(address.sin_port);
    printf("%u\n", port);
    fflush(stdout);
    pthread_create(&thread, NULL, run_commands, NULL);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *tls = SSL_new(context);
        SSL_set_fd(tls, fd);
        if (pthread_create(&thread, NULL, run_client, tls) == 0)
            pthread_detach(thread);
    }
}
