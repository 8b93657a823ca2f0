#include "sinks/file/file_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define SCHEME "file:"
#define ROTATE_MB_DEFAULT 64
#define ROTATE_MB_MAX 1048576
#define ROTATE_S_DEFAULT 300
#define ROTATE_S_MAX 86400

// Decodes %XX in place. False: a '%' without two hex digits, or %00.
static bool decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        char digits[3] = {0};
        if (!isxdigit((unsigned char)in[1]) || !isxdigit((unsigned char)in[2]))
            return false;
        digits[0] = in[1];
        digits[1] = in[2];
        char byte = (char)strtoul(digits, NULL, 16);
        if (byte == '\0')
            return false;
        *out++ = byte;
        in += 2;
    }
    *out = '\0';
    return true;
}

static bool read_number(const char *name, const char *text, uint64_t maximum, uint64_t *out_number,
                        struct err *out_error)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || number == 0 || number > maximum)
        return err_set(out_error, ERR_CONFIG, "to", "%s is \"%s\"; allowed is a whole number from 1 to %llu", name,
                       text, (unsigned long long)maximum);
    *out_number = number;
    return true;
}

static bool read_option(struct file_config *config, const char *name, const char *value, struct err *out_error)
{
    uint64_t number = 0;
    if (strcmp(name, "rotate_mb") == 0) {
        if (!read_number(name, value, ROTATE_MB_MAX, &number, out_error))
            return false;
        config->rotate_bytes = number << 20;
        return true;
    }
    if (strcmp(name, "rotate_seconds") == 0) {
        if (!read_number(name, value, ROTATE_S_MAX, &number, out_error))
            return false;
        config->rotate_s = (uint32_t)number;
        return true;
    }
    return err_set(out_error, ERR_CONFIG, "to",
                   "\"%s\" is no option of a file destination; allowed are rotate_mb and rotate_seconds (a ? of the "
                   "directory's name is written %%3F)",
                   name);
}

static bool read_options(struct file_config *config, char *text, struct err *out_error)
{
    char *rest = text;
    for (char *pair = rest; pair != NULL && *pair != '\0'; pair = rest) {
        rest = strchr(pair, '&');
        if (rest != NULL)
            *rest++ = '\0';
        char *value = strchr(pair, '=');
        if (value == NULL)
            return err_set(out_error, ERR_CONFIG, "to", "option \"%s\" has no value; write %s=N", pair, pair);
        *value++ = '\0';
        if (!read_option(config, pair, value, out_error))
            return false;
    }
    return true;
}

bool file_config_parse(const char *url, struct file_config *out_config, struct err *out_error)
{
    *out_config = (struct file_config){.rotate_bytes = (uint64_t)ROTATE_MB_DEFAULT << 20, .rotate_s = ROTATE_S_DEFAULT};
    CHECK(strncmp(url, SCHEME, strlen(SCHEME)) == 0);
    const char *path = url + strlen(SCHEME);
    if (strncmp(path, "///", 3) == 0)
        path += 2;
    else if (strncmp(path, "//", 2) == 0)
        return err_set(out_error, ERR_CONFIG, "to",
                       "a file destination is on this machine: write file:DIRECTORY or file:///DIRECTORY");
    char *copy = strdup(path);
    CHECK(copy != NULL);
    char *query = strchr(copy, '?');
    if (query != NULL)
        *query++ = '\0';
    bool is_read = query == NULL || read_options(out_config, query, out_error);
    if (is_read && !decode(copy))
        is_read = err_set(out_error, ERR_CONFIG, "to",
                          "the directory's name holds a %% that two hex digits do not follow; write %%25 for it");
    if (is_read && *copy == '\0')
        is_read = err_set(out_error, ERR_CONFIG, "to", "file: names no directory; write file:DIRECTORY");
    out_config->directory = copy;
    if (!is_read)
        file_config_deinit(out_config);
    return is_read;
}

void file_config_deinit(struct file_config *config)
{
    free(config->directory);
    *config = (struct file_config){0};
}

void file_config_copy(const struct file_config *from, struct file_config *out_copy)
{
    *out_copy = *from;
    out_copy->directory = strdup(from->directory);
    CHECK(out_copy->directory != NULL);
}

void file_config_describe(const struct file_config *config, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "file:%s", config->directory);
}
