// Preloaded into the program (LD_PRELOAD), notes when a change came from PostgreSQL's socket and when the append that carries
// it was handed to the kernel, and writes the notes out when the program ends:
//
//   R <commit LSN> <ordinal> <relation> <commit time> <received>                    one inserted row
//   S <pipe> <first offset token> <last offset token> <before> <after>   one append: around the SSL_write that holds its head
//
// Times are nanoseconds since 1970. It looks at recv on sockets to the port WIRE_TIMES_PORT (plain text) and at SSL_write, whose
// bytes are not encrypted yet. The head of an append and a small body leave in one SSL_write. Costs two clock readings a call.
#include <dlfcn.h>
#include <endian.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { FDS_MAX = 1024, HEAD_SIZE = 64, NOTES_MAX = 200000, TEXT_SIZE = 80 };
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

struct received {
    uint64_t commit_lsn, at_ns;
    int64_t commit_us;
    uint32_t ordinal, relation;
};

struct sent {
    char pipe[TEXT_SIZE], first[TEXT_SIZE], last[TEXT_SIZE];
    uint64_t before_ns, after_ns;
};

// One connection's messages: type (1), length (4), content. head holds the beginning of the one that is arriving.
struct parser {
    bool is_known, is_postgres, is_in_copy;
    uint8_t head[HEAD_SIZE];
    size_t have;  // bytes of this message so far
    uint64_t commit_lsn;
    int64_t commit_us;
    uint32_t changes;
};

static struct parser parsers[FDS_MAX];
static struct received *received;
static struct sent *sent;
static size_t received_count, sent_count;
static ssize_t (*real_recv)(int, void *, size_t, int);
static int (*real_ssl_write)(SSL *, const void *, int);
static uint16_t postgres_port;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
    const char *port = getenv("WIRE_TIMES_PORT");
    *(void **)&real_recv = dlsym(RTLD_NEXT, "recv");
    *(void **)&real_ssl_write = dlsym(RTLD_NEXT, "SSL_write");
    postgres_port = (uint16_t)(port == NULL ? 0 : atoi(port));
    received = calloc(NOTES_MAX, sizeof *received);
    sent = calloc(NOTES_MAX, sizeof *sent);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("WIRE_TIMES_FILE");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL)
        return;
    for (size_t i = 0; i < received_count; i++)
        fprintf(file, "R %016" PRIX64 " %u %u %" PRId64 " %" PRIu64 "\n", received[i].commit_lsn, received[i].ordinal,
                received[i].relation, received[i].commit_us * 1000, received[i].at_ns);
    for (size_t i = 0; i < sent_count; i++)
        fprintf(file, "S %s %s %s %" PRIu64 " %" PRIu64 "\n", sent[i].pipe, sent[i].first, sent[i].last,
                sent[i].before_ns, sent[i].after_ns);
    fclose(file);
}

static bool is_postgres(int fd)
{
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET &&
           ntohs(peer.sin_port) == postgres_port;
}

static uint64_t big_u64(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return be64toh(value);
}

static uint32_t big_u32(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return be32toh(value);
}

// CopyData ('d', length), XLogData ('w', three Int64), then pgoutput: at byte 30 of the message.
static void on_message(struct parser *parser, size_t size, uint64_t at_ns)
{
    const uint8_t *change = parser->head + 30;
    if (parser->head[0] != 'd' || size < 31 || parser->head[5] != 'w')
        return;
    if (change[0] == 'B') {
        parser->commit_lsn = big_u64(change + 1);
        parser->commit_us = (int64_t)big_u64(change + 9) + POSTGRES_EPOCH_US;
        parser->changes = 0;
    } else if (change[0] == 'I') {
        parser->changes++;
        if (received_count < NOTES_MAX)
            received[received_count++] = (struct received){.commit_lsn = parser->commit_lsn,
                                                           .at_ns = at_ns,
                                                           .commit_us = parser->commit_us,
                                                           .ordinal = 2 * parser->changes,
                                                           .relation = big_u32(change + 1)};
    }
}

static void parse(struct parser *parser, const uint8_t *data, size_t size, uint64_t at_ns)
{
    while (size > 0) {
        size_t total = parser->have < 5 ? 5 : (size_t)big_u32(parser->head + 1) + 1;
        size_t part = total - parser->have < size ? total - parser->have : size;
        if (parser->have < HEAD_SIZE)
            memcpy(parser->head + parser->have, data,
                   part < HEAD_SIZE - parser->have ? part : HEAD_SIZE - parser->have);
        bool had_length = parser->have >= 5;
        parser->have += part;
        data += part;
        size -= part;
        if (parser->have == total && (had_length || big_u32(parser->head + 1) == 4)) {
            on_message(parser, total, at_ns);
            parser->have = 0;
        }
    }
}

static ssize_t note_recv(int fd, void *data, ssize_t got)
{
    if (got <= 0 || fd < 0 || fd >= FDS_MAX)
        return got;
    struct parser *parser = &parsers[fd];
    if (!parser->is_known) {
        parser->is_known = true;
        parser->is_postgres = is_postgres(fd);
        parser->have = 0;
    }
    if (!parser->is_postgres)
        return got;
    uint64_t at_ns = now_ns();
    const uint8_t *bytes = data;
    // A refusal of TLS is one byte without a length.
    if (parser->have == 0 && got == 1 && (bytes[0] == 'N' || bytes[0] == 'S'))
        return got;
    parse(parser, bytes, (size_t)got, at_ns);
    return got;
}

int close(int fd)
{
    static int (*real_close)(int);
    if (real_close == NULL)
        *(void **)&real_close = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < FDS_MAX)
        parsers[fd].is_known = false;
    return real_close(fd);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    return note_recv(fd, data, real_recv(fd, data, size, flags));
}

ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
    (void)room;
    return note_recv(fd, data, real_recv(fd, data, size, flags));
}

static void part(const char *text, size_t size, const char *before, char *out)
{
    const char *from = memmem(text, size, before, strlen(before));
    size_t used = 0;
    if (from != NULL)
        for (from += strlen(before); from < text + size && strchr("&/ ?", *from) == NULL && used + 1 < TEXT_SIZE;
             from++)
            out[used++] = *from;
    out[used] = '\0';
}

int SSL_write(SSL *tls, const void *data, int size)
{
    bool is_append = size > 64 && memcmp(data, "POST ", 5) == 0 &&
                     memmem(data, 512 < size ? 512 : (size_t)size, "/rows?", 6) != NULL;
    uint64_t before_ns = is_append ? now_ns() : 0;
    int done = real_ssl_write(tls, data, size);
    if (is_append && done == size && sent_count < NOTES_MAX) {
        struct sent *note = &sent[sent_count++];
        size_t head = size < 1024 ? (size_t)size : 1024;
        note->after_ns = now_ns();
        note->before_ns = before_ns;
        part(data, head, "/pipes/", note->pipe);
        part(data, head, "startOffsetToken=", note->first);
        part(data, head, "endOffsetToken=", note->last);
    }
    return done;
}
