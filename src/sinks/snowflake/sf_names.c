#include "sinks/snowflake/sf_names.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define MARKER_PREFIX "etl-stream: pipeline="
#define HASH_BYTES 8

static void append_doubled(struct buf *out, const char *text, char quote, bool with_backslash)
{
    buf_append_byte(out, (uint8_t)quote);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == quote || (with_backslash && *c == '\\'))
            buf_append_byte(out, (uint8_t)*c);
        buf_append_byte(out, (uint8_t)*c);
    }
    buf_append_byte(out, (uint8_t)quote);
}

void sf_append_identifier(struct buf *out, const char *name)
{
    append_doubled(out, name, '"', false);
}

void sf_append_literal(struct buf *out, const char *text)
{
    append_doubled(out, text, '\'', true);
}

void sf_append_qualified(struct buf *out, const char *database, const char *schema, const char *name)
{
    sf_append_identifier(out, database);
    buf_append_byte(out, '.');
    sf_append_identifier(out, schema);
    buf_append_byte(out, '.');
    sf_append_identifier(out, name);
}

void sf_append_folded(struct buf *out, const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        buf_append_byte(out, (uint8_t)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
}

// Each part with its NUL: "a" + "bc" is not "ab" + "c".
static void hash_format(const char *const *parts, size_t part_count, char out[2 * HASH_BYTES + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < part_count; i++)
        CHECK(EVP_DigestUpdate(context, parts[i], strlen(parts[i]) + 1) == 1);
    CHECK(EVP_DigestFinal_ex(context, digest, NULL) == 1);
    EVP_MD_CTX_free(context);
    for (size_t i = 0; i < HASH_BYTES; i++)
        (void)snprintf(out + 2 * i, 3, "%02X", digest[i]);
}

void sf_append_name_hash(struct buf *out, const char *name)
{
    char hash[2 * HASH_BYTES + 1];
    hash_format(&name, 1, hash);
    buf_append_text(out, hash);
}

void sf_channel_name_format(const char *pipeline, const char *schema, const char *table, uint8_t epoch, char kind,
                            uint32_t n, char out[SF_CHANNEL_NAME_SIZE_MAX])
{
    const char *parts[] = {pipeline, schema, table};
    char hash[2 * HASH_BYTES + 1];
    hash_format(parts, sizeof parts / sizeof parts[0], hash);
    (void)snprintf(out, SF_CHANNEL_NAME_SIZE_MAX, "ETL_%s_E%u_%c%u", hash, (unsigned)epoch, kind, (unsigned)n);
}

bool sf_channel_name_parse(const char *name, const char *pipeline, const char *schema, const char *table,
                           uint8_t *out_epoch, char *out_kind, uint32_t *out_n)
{
    char own[SF_CHANNEL_NAME_SIZE_MAX];
    unsigned epoch = 0, n = 0;
    char kind = 0;
    if (sscanf(name, "ETL_%*16[0-9A-F]_E%3u_%c%9u", &epoch, &kind, &n) != 3 || epoch > UINT8_MAX)
        return false;
    sf_channel_name_format(pipeline, schema, table, (uint8_t)epoch, kind, n, own);
    *out_epoch = (uint8_t)epoch;
    *out_kind = kind;
    *out_n = n;
    return strcmp(own, name) == 0;
}

void sf_append_show_channels(struct buf *out, const char *database, const char *schema)
{
    buf_append_text(out, "SHOW CHANNELS LIKE 'ETL%' IN SCHEMA ");
    sf_append_identifier(out, database);
    buf_append_byte(out, '.');
    sf_append_identifier(out, schema);
}

// A word of the marker: blanks, quotes, '=', '%', backslashes and control characters as %XX, so that words end at blanks
// and no name can look like another word.
static void append_word(struct buf *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        uint8_t byte = (uint8_t)*c;
        if (byte <= ' ' || byte == 127 || strchr("%=\"'\\", *c) != NULL)
            buf_appendf(out, "%%%02X", byte);
        else
            buf_append_byte(out, byte);
    }
}

void sf_marker_append(struct buf *out, const char *pipeline, const struct table *table, const char *role)
{
    buf_append_text(out, MARKER_PREFIX);
    append_word(out, pipeline);
    buf_append_text(out, " table=");
    append_word(out, table->schema_name);
    buf_append_byte(out, '.');
    append_word(out, table->table_name);
    buf_append_text(out, " role=");
    append_word(out, role);
}

void sf_marker_append_has(struct buf *out, const char *what)
{
    buf_appendf(out, " has=%s", what);
}

// No name can look like such a word: blanks and '=' are written as %XX.
bool sf_marker_has(const char *comment, const char *what)
{
    char word[32];
    (void)snprintf(word, sizeof word, " has=%s", what);
    for (const char *found = strstr(comment, word); found != NULL; found = strstr(found + 1, word)) {
        char after = found[strlen(word)];
        if (after == '\0' || after == ' ')
            return true;
    }
    return false;
}

enum sf_owner sf_marker_owner(const char *comment, const char *pipeline, const struct table *table)
{
    struct buf word;
    if (strncmp(comment, MARKER_PREFIX, sizeof MARKER_PREFIX - 1) != 0)
        return SF_OWNER_NOBODY;
    buf_init(&word, SF_MARKER_SIZE_MAX);
    buf_append_text(&word, MARKER_PREFIX);
    append_word(&word, pipeline);
    buf_append_byte(&word, ' ');
    enum sf_owner owner = SF_OWNER_OTHER_PIPELINE;
    if (!word.failed && strncmp(comment, buf_text(&word), word.size) == 0) {
        buf_reset(&word);
        sf_marker_append(&word, pipeline, table, "");
        owner = !word.failed && strncmp(comment, buf_text(&word), word.size) == 0 ? SF_OWNER_US : SF_OWNER_OTHER_TABLE;
    }
    buf_deinit(&word);
    return owner;
}
