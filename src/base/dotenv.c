#include "base/dotenv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX 65536

struct reader {
    char *at;
    unsigned line;
    const char *path;
    struct err *error;
};

static bool fail(const struct reader *reader, const char *what)
{
    return err_set(reader->error, ERR_CONFIG, "dotenv", "%s, line %u: %s; allowed is NAME=value", reader->path,
                   reader->line, what);
}

static void skip_blanks(struct reader *reader)
{
    while (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r')
        reader->at++;
}

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '.';
}

// Decodes in place, from the byte behind the quote; the value ends at the closing quote or before.
static bool read_quoted(struct reader *reader, char quote, char **out_value, char **out_end)
{
    char *out = reader->at;
    *out_value = out;
    for (; *reader->at != quote; reader->at++) {
        if (*reader->at == '\0')
            return fail(reader, "a quote is not closed");
        reader->line += *reader->at == '\n';
        if (*reader->at != '\\' || quote == '\'') {
            *out++ = *reader->at;
            continue;
        }
        char next = *++reader->at;
        const char *found = strchr("n\nr\rt\t", next);
        if (next == '\0' || strchr("nrt\\\"$", next) == NULL)
            return fail(reader, "an unknown escape (allowed are \\n \\r \\t \\\\ \\\" \\$)");
        *out++ = found != NULL && next >= 'a' ? found[1] : next;
    }
    reader->at++;
    skip_blanks(reader);
    *out_end = out;
    bool is_ended = *reader->at == '\0' || *reader->at == '\n' || *reader->at == '#';
    return is_ended || fail(reader, "something follows the closing quote");
}

// Up to the line's end, which is not passed. *out_end: behind the last byte of the value.
static void read_plain(struct reader *reader, char **out_value, char **out_end)
{
    *out_value = *out_end = reader->at;
    for (; *reader->at != '\0' && *reader->at != '\n'; reader->at++) {
        bool is_blank = *reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r';
        if (*reader->at == '#' && (reader->at == *out_value || reader->at[-1] == ' ' || reader->at[-1] == '\t'))
            return;
        if (!is_blank)
            *out_end = reader->at + 1;
    }
}

// The ends are in the text, where something follows that is still to be read.
static bool set(char *name, char *name_end, char *value, char *value_end)
{
    char kept = *value_end;
    *name_end = *value_end = '\0';
    bool is_set = setenv(name, value, 0) == 0;
    *value_end = kept;
    return is_set;
}

static bool read_line(struct reader *reader)
{
    skip_blanks(reader);
    if (*reader->at == '#' || *reader->at == '\n' || *reader->at == '\0')
        return true;
    if (strncmp(reader->at, "export", 6) == 0 && (reader->at[6] == ' ' || reader->at[6] == '\t')) {
        reader->at += 6;
        skip_blanks(reader);
    }
    char *name = reader->at, *value = NULL, *value_end = NULL;
    while (is_name_byte(*reader->at))
        reader->at++;
    char *name_end = reader->at;
    skip_blanks(reader);
    if (*reader->at != '=' || name == name_end || (*name >= '0' && *name <= '9'))
        return fail(reader, "this is no assignment");
    reader->at++;
    skip_blanks(reader);
    char quote = *reader->at;
    if (quote == '"' || quote == '\'') {
        reader->at++;
        if (!read_quoted(reader, quote, &value, &value_end))
            return false;
    } else {
        read_plain(reader, &value, &value_end);
    }
    return set(name, name_end, value, value_end) || fail(reader, strerror(errno));
}

bool dotenv_read(char *text, const char *path, struct err *out_error)
{
    struct reader reader = {.at = text, .line = 1, .path = path, .error = out_error};
    while (*reader.at != '\0') {
        if (!read_line(&reader))
            return false;
        reader.at += strcspn(reader.at, "\n");
        if (*reader.at == '\n') {
            reader.at++;
            reader.line++;
        }
    }
    return true;
}

bool dotenv_load(const char *path, struct err *out_error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return true;
    if (file == NULL)
        return err_set(out_error, ERR_CONFIG, "dotenv", "%s cannot be read: %s", path, strerror(errno));
    char *text = malloc(FILE_BYTES_MAX + 1);
    setvbuf(file, NULL, _IONBF, 0);  // no stream's buffer keeps a copy of what may be secret
    size_t size = text != NULL ? fread(text, 1, FILE_BYTES_MAX, file) : 0;
    bool is_whole = text != NULL && !ferror(file) && size < FILE_BYTES_MAX;
    fclose(file);
    bool is_read = false;
    if (!is_whole)
        err_set(out_error, ERR_CONFIG, "dotenv", "%s cannot be read, or is larger than %d bytes", path, FILE_BYTES_MAX);
    else if (memchr(text, '\0', size) != NULL)
        err_set(out_error, ERR_CONFIG, "dotenv", "%s is no text: it holds a NUL", path);
    else {
        text[size] = '\0';
        is_read = dotenv_read(text, path, out_error);
    }
    if (text != NULL)
        explicit_bzero(text, FILE_BYTES_MAX + 1);
    free(text);
    return is_read;
}
