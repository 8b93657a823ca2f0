#include "pg/pg_error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

#define CODE_SIZE 5

struct meaning {
    const char *prefix;  // of the SQLSTATE
    enum err_kind kind;
    const char *advice;  // or NULL
};

// The first that fits holds.
static const struct meaning meanings[] = {
    // A pooler refuses settings in the startup message, or replication, with a protocol error.
    {"08P01", ERR_CONFIG, "connect to PostgreSQL itself, not to a connection pooler"},
    {"08", ERR_TRANSIENT, NULL},
    {"28P01", ERR_CONFIG, "give the right password (in the URL, PGPASSWORD or the password file)"},
    {"28", ERR_CONFIG, "pg_hba.conf must let this user in from here, also for replication, and the role needs LOGIN"},
    {"3D000", ERR_CONFIG, "name an existing database in the URL"},
    {"3F000", ERR_CONFIG, NULL},
    {"42501", ERR_CONFIG, "the role needs CONNECT on the database, REPLICATION, and SELECT on the published tables"},
    {"42601", ERR_INTERNAL, NULL},
    {"42", ERR_CONFIG, NULL},
    {"53400", ERR_CONFIG, "raise that setting on the source (max_replication_slots, max_wal_senders)"},
    {"53", ERR_TRANSIENT, NULL},
    {"55000", ERR_CONFIG, NULL},
    {"55", ERR_TRANSIENT, NULL},  // in use, lock not available, cannot change now
    {"57", ERR_TRANSIENT, NULL},  // shut down, restarting, cancelled, idle time-out
    {"58", ERR_TRANSIENT, NULL},
    {"25P", ERR_TRANSIENT, NULL},  // idle in transaction, transaction time-out
    {"40", ERR_TRANSIENT, NULL},
    {"0A000", ERR_CONFIG, NULL},
    {"22", ERR_DATA, NULL},
    {"XX001", ERR_DATA, NULL},
    {"XX002", ERR_DATA, NULL},
};

static const struct meaning *meaning_of(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (strncmp(sqlstate, meanings[i].prefix, strlen(meanings[i].prefix)) == 0)
            return &meanings[i];
    return NULL;
}

enum err_kind pg_error_kind(const char *sqlstate)
{
    const struct meaning *meaning = meaning_of(sqlstate);
    return meaning != NULL ? meaning->kind : ERR_TRANSIENT;
}

// What stands for a line break: libpq indents the lines that go on with a sentence.
static char mark_of(const char *line_break)
{
    const char *next = line_break + strspn(line_break, " \t\r\n");
    return isupper((unsigned char)*next) ? '.' : *next != '\0' && next == line_break + 1 ? ';' : '\0';
}

void pg_error_tidy_text(const char *text, char *out, size_t out_size)
{
    struct buf line;
    buf_init(&line, ERR_TEXT_SIZE * 8);
    (void)utf8_append_checked((const uint8_t *)text, strlen(text), &line);
    size_t used = 0;
    const char *from = buf_text(&line);
    for (; *from != '\0' && used + 1 < out_size; from++) {
        bool is_blank = (unsigned char)*from <= ' ';
        if (!is_blank) {
            out[used++] = *from;
        } else if (*from == '\n' && used > 0 && used + 2 < out_size && strchr(" .:;,!?(", out[used - 1]) == NULL &&
                   mark_of(from) != '\0') {
            out[used++] = mark_of(from);
            out[used++] = ' ';
        } else if (used > 0 && out[used - 1] != ' ') {
            out[used++] = ' ';
        }
    }
    if (((unsigned char)*from & 0xC0) == 0x80) {  // cut in the middle of a character
        while (used > 0 && ((unsigned char)out[used - 1] & 0xC0) == 0x80)
            used--;
        if (used > 0)
            used--;
    }
    while (used > 0 && out[used - 1] == ' ')
        used--;
    out[used] = '\0';
    buf_deinit(&line);
}

void pg_error_from_result(const PGresult *result, struct err *out_error)
{
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (code == NULL) {  // libpq's own: the connection broke
        pg_error_from_message(PQresultErrorMessage(result), out_error);
        return;
    }
    static const struct {
        int field;
        const char *before;
    } parts[] = {{PG_DIAG_MESSAGE_PRIMARY, ""}, {PG_DIAG_MESSAGE_DETAIL, "; "}, {PG_DIAG_MESSAGE_HINT, "; "}};
    char text[ERR_TEXT_SIZE] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *part = PQresultErrorField(result, parts[i].field);
        if (part == NULL || used + 8 >= sizeof text)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", parts[i].before);
        pg_error_tidy_text(part, text + used, sizeof text - used);
        used += strlen(text + used);
    }
    const struct meaning *meaning = meaning_of(code);
    const char *advice = meaning != NULL ? meaning->advice : NULL;
    err_set(out_error, pg_error_kind(code), code, "%s%s%s%s", text, advice != NULL ? " (" : "",
            advice != NULL ? advice : "", advice != NULL ? ")" : "");
}

// "FATAL:  28P01: password authentication failed": the last of them, where it begins.
static const char *find_code(const char *message, size_t message_size)
{
    const char *found = NULL;
    for (const char *at = message; (at = strstr(at, ":  ")) != NULL && at < message + message_size; at += 3) {
        const char *code = at + 3;
        size_t size = 0;
        while (isdigit((unsigned char)code[size]) || isupper((unsigned char)code[size]))
            size++;
        if (size == CODE_SIZE && code[size] == ':' && code[size + 1] == ' ')
            found = code;
    }
    return found;
}

// A try with TLS and one without often fail alike: the second line says nothing new.
static bool is_said_already(const char *message, const char *line, size_t size)
{
    for (const char *earlier = message; earlier < line; earlier += strcspn(earlier, "\n") + 1)
        if (strcspn(earlier, "\n") == size && strncmp(earlier, line, size) == 0)
            return true;
    return false;
}

// libpq has no codes for what happens before the server speaks; its texts are not translated, as we set no locale.
static const struct meaning texts[] = {
    {"certificate", ERR_CONFIG, "name the authority's certificate with sslrootcert, or choose another sslmode"},
    {"does not support SSL", ERR_CONFIG, "turn TLS on at the server, or choose another sslmode"},
    {"no password supplied", ERR_CONFIG, "give one in the URL, PGPASSWORD or the password file"},
    {"invalid sslmode", ERR_CONFIG, NULL},
    {"authentication method", ERR_CONFIG, NULL},
};

void pg_error_from_message(const char *message, struct err *out_error)
{
    // Without what only says where in the server's source the error was raised.
    char text[ERR_TEXT_SIZE * 2];
    size_t used = 0;
    const char *code_at = find_code(message, strlen(message));
    char code[CODE_SIZE + 1] = "";
    if (code_at != NULL)
        memcpy(code, code_at, CODE_SIZE);
    for (const char *line = message; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        if (strncmp(line, "LOCATION:", 9) != 0 && !is_said_already(message, line, size) && used + 1 < sizeof text) {
            const char *own_code = find_code(line, size);
            int head = own_code != NULL ? (int)(own_code - line) : (int)size;
            const char *tail = own_code != NULL ? own_code + CODE_SIZE + 2 : line + size;
            int written = snprintf(text + used, sizeof text - used, "%s%.*s%.*s", used > 0 ? "\n" : "", head, line,
                                   (int)(line + size - tail), tail);
            used = written < (int)(sizeof text - used) ? used + (size_t)written : sizeof text - 1;
        }
        line += size;
        if (*line == '\n')
            line++;
    }
    text[used] = '\0';

    const struct meaning *meaning = code_at != NULL ? meaning_of(code) : NULL;
    for (size_t i = 0; code_at == NULL && meaning == NULL && i < sizeof texts / sizeof *texts; i++)
        if (strstr(text, texts[i].prefix) != NULL)
            meaning = &texts[i];
    char line[ERR_TEXT_SIZE];
    pg_error_tidy_text(used > 0 ? text : "the connection broke", line, sizeof line);
    const char *advice = meaning != NULL ? meaning->advice : NULL;
    err_set(out_error, meaning != NULL ? meaning->kind : ERR_TRANSIENT, code, "%s%s%s%s", line,
            advice != NULL ? " (" : "", advice != NULL ? advice : "", advice != NULL ? ")" : "");
}
