// The yardstick of the benchmarks: a reader that takes CopyData messages from libpq, looks at two bytes of each, and acknowledges.
//
//   reader stream CONNINFO SLOT PUBLICATION ROWS   until the commit of the first transaction with so many inserted rows
//   reader copy CONNINFO STATEMENT                 a COPY … TO STDOUT to its end
//
// Prints one line of JSON. Times are seconds since 1970, taken before the command is sent and after the last message.
#include <endian.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATUS_INTERVAL_S 1.0
#define POSTGRES_EPOCH_S 946684800.0

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(PGconn *conn, const char *what)
{
    fprintf(stderr, "reader: %s: %s", what, PQerrorMessage(conn));
    exit(1);
}

static uint64_t read_u64(const char *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return be64toh(value);
}

static void put_u64(char *out, uint64_t value)
{
    value = htobe64(value);
    memcpy(out, &value, sizeof value);
}

// Standby status update: 'r', written, flushed, applied, time since 2000, reply wanted.
static void acknowledge(PGconn *conn, uint64_t lsn)
{
    char message[34] = {'r'};
    put_u64(message + 1, lsn);
    put_u64(message + 9, lsn);
    put_u64(message + 17, lsn);
    put_u64(message + 25, (uint64_t)((now_s() - POSTGRES_EPOCH_S) * 1e6));
    if (PQputCopyData(conn, message, sizeof message) != 1 || PQflush(conn) != 0)
        fail(conn, "acknowledging");
}

static int stream(PGconn *conn, const char *slot, const char *publication, uint64_t rows_wanted)
{
    char command[512];
    uint64_t messages = 0, bytes = 0, rows = 0, received_lsn = 0, commit_lsn = 0, end_lsn = 0;
    (void)snprintf(
        command, sizeof command,
        "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (proto_version '1', publication_names '\"%s\"', binary 'true')",
        slot, publication);
    double began_s = now_s(), told_s = began_s;
    PGresult *result = PQexec(conn, command);
    if (PQresultStatus(result) != PGRES_COPY_BOTH)
        fail(conn, "START_REPLICATION");
    PQclear(result);
    while (end_lsn == 0) {
        char *data = NULL;
        int size = PQgetCopyData(conn, &data, 0);
        if (size <= 0)
            fail(conn, "reading");
        if (data[0] == 'k') {
            if (data[17] != 0)
                acknowledge(conn, received_lsn);
        } else {
            messages++;
            bytes += (uint64_t)size;
            received_lsn = read_u64(data + 1);
            switch (data[25]) {
            case 'B': rows = 0; break;
            case 'I': rows++; break;
            case 'C':
                if (rows >= rows_wanted) {
                    commit_lsn = read_u64(data + 27);
                    end_lsn = read_u64(data + 35);
                }
                break;
            default: break;
            }
        }
        PQfreemem(data);
        // The clock is read once in a while only: this is the yardstick.
        if ((messages & 1023) == 0 && now_s() - told_s >= STATUS_INTERVAL_S) {
            acknowledge(conn, received_lsn);
            told_s = now_s();
        }
    }
    double ended_s = now_s();
    acknowledge(conn, end_lsn);
    printf("{\"began\":%.6f,\"ended\":%.6f,\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rows\":%" PRIu64
           ",\"commit_lsn\":%" PRIu64 ",\"end_lsn\":%" PRIu64 "}\n",
           began_s, ended_s, messages, bytes, rows, commit_lsn, end_lsn);
    return 0;
}

static int copy(PGconn *conn, const char *statement)
{
    uint64_t messages = 0, bytes = 0;
    double began_s = now_s();
    PGresult *result = PQexec(conn, statement);
    if (PQresultStatus(result) != PGRES_COPY_OUT)
        fail(conn, "COPY");
    PQclear(result);
    for (;;) {
        char *data = NULL;
        int size = PQgetCopyData(conn, &data, 0);
        if (size == -2)
            fail(conn, "reading");
        if (size == -1)
            break;
        messages++;
        bytes += (uint64_t)size;
        PQfreemem(data);
    }
    double ended_s = now_s();
    result = PQgetResult(conn);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail(conn, "COPY");
    printf("{\"began\":%.6f,\"ended\":%.6f,\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rows\":%s}\n", began_s,
           ended_s, messages, bytes, PQcmdTuples(result));
    PQclear(result);
    return 0;
}

int main(int count, char **arguments)
{
    bool is_stream = count == 6 && strcmp(arguments[1], "stream") == 0;
    bool is_copy = count == 4 && strcmp(arguments[1], "copy") == 0;
    if (!is_stream && !is_copy) {
        fprintf(stderr, "usage: reader stream CONNINFO SLOT PUBLICATION ROWS | reader copy CONNINFO STATEMENT\n");
        return 2;
    }
    PGconn *conn = PQconnectdb(arguments[2]);
    if (PQstatus(conn) != CONNECTION_OK)
        fail(conn, "connecting");
    int status = is_stream ? stream(conn, arguments[3], arguments[4], strtoull(arguments[5], NULL, 10))
                           : copy(conn, arguments[3]);
    PQfinish(conn);
    return status;
}
