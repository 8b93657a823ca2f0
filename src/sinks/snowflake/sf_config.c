#include "sinks/snowflake/sf_config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char scheme[] = "snowflake://";
static const char allowed_form[] = "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=…&role=…&key_file=…";

enum { PART_SIZE_MAX = 4096, IDENTIFIER_SIZE_MAX = 255 };

static bool refuse(struct err *out_error, const char *what, const char *mend)
{
    return err_set(out_error, ERR_CONFIG, "", "destination URL: %s; %s", what, mend);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool is_letter(char c)
{
    return upper(c) >= 'A' && upper(c) <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Percent-decodes text[0 .. size) into a new string. NULL with out_error: a bad escape, a control character, too long.
static char *decode(const char *text, size_t size, const char *part, struct err *out_error)
{
    char what[64];
    snprintf(what, sizeof what, "%s is not readable", part);
    char *out = size <= PART_SIZE_MAX ? malloc(size + 1) : NULL;
    if (out == NULL) {
        refuse(out_error, what, "it is too long");
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = size - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            c = low >= 0 ? high * 16 + low : -1;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f) {
            free(out);
            refuse(out_error, what, "'%' starts an escape of two hex digits, a percent sign itself is %25");
            return NULL;
        }
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return out;
}

// Folds an unquoted identifier, or strips the quotes of a quoted one; in place.
static bool fold_identifier(char *name, const char *part, struct err *out_error)
{
    char what[64];
    size_t size = strlen(name);
    if (size == 0) {
        snprintf(what, sizeof what, "%s is missing", part);
        return refuse(out_error, what, allowed_form);
    }
    snprintf(what, sizeof what, "%s is not a name of Snowflake's", part);
    if (name[0] == '"') {
        size_t used = 0;
        size_t i = 1;
        for (; i < size && (name[i] != '"' || name[i + 1] == '"'); i++) {
            if (name[i] == '"')
                i++;
            name[used++] = name[i];
        }
        if (used == 0 || used > IDENTIFIER_SIZE_MAX || i != size - 1)
            return refuse(out_error, what, "a quoted name is %22name%22, 1 to 255 characters, \" inside doubled");
        name[used] = '\0';
        return true;
    }
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (!is_letter(c) && c != '_' && (i == 0 || (!is_digit(c) && c != '$')))
            return refuse(out_error, what, "letters, digits, _ and $ only, or quoted: %22name%22");
        name[i] = upper(c);
    }
    return size <= IDENTIFIER_SIZE_MAX || refuse(out_error, what, "at most 255 characters");
}

static bool check_characters(const char *text, const char *extra)
{
    for (; *text != '\0'; text++)
        if (!is_letter(*text) && !is_digit(*text) && strchr(extra, *text) == NULL)
            return false;
    return true;
}

static bool check_account(const char *account, struct err *out_error)
{
    static const char domain[] = ".snowflakecomputing.com";
    size_t size = strlen(account);
    if (size == 0)
        return refuse(out_error, "the account is missing", allowed_form);
    if (size >= sizeof domain && strcmp(account + size - (sizeof domain - 1), domain) == 0)
        return refuse(out_error, "the account holds a host name",
                      "leave .snowflakecomputing.com away, or name the host with host=");
    if (size > 255 || !check_characters(account, "-_.") || account[0] == '.' || account[0] == '-')
        return refuse(out_error, "the account is not an account identifier",
                      "organization-account or a legacy locator: letters, digits, -, _ and . only");
    return true;
}

// host or host:port, the host a name, an IPv4 address or an IPv6 address in brackets.
static bool check_host(const char *host, struct err *out_error)
{
    const char *mend = "host=NAME or host=NAME:PORT, without https:// and without a path";
    size_t name_size = strcspn(host, ":");
    if (host[0] == '[') {
        const char *end = strchr(host, ']');
        name_size = end == NULL ? 0 : (size_t)(end + 1 - host);
    }
    const char *port = host + name_size;
    bool is_good = name_size > 0 && strlen(host) <= 255 && check_characters(host, host[0] == '[' ? "[]:." : "-_.:");
    if (*port == ':') {
        size_t digits = strspn(port + 1, "0123456789");
        is_good = is_good && digits >= 1 && digits <= 5 && port[1 + digits] == '\0';
        long number = strtol(port + 1, NULL, 10);
        is_good = is_good && number >= 1 && number <= 65535;
    } else {
        is_good = is_good && *port == '\0';
    }
    return is_good || refuse(out_error, "host is not a host", mend);
}

static bool check_variable(const char *name, const char *part, struct err *out_error)
{
    char what[128];
    snprintf(what, sizeof what, "%s is not the name of an environment variable", part);
    if (name[0] == '\0' || is_digit(name[0]) || !check_characters(name, "_"))
        return refuse(out_error, what, "it takes a name, never the secret itself");
    return true;
}

static const char numeric_choices[] = "number|varchar|float";  // as enum numeric_unbounded
static const char oversized_choices[] = "null|truncate|fail";  // as enum oversized_rule

// One option of the query part.
struct option {
    const char *name;
    size_t offset;
    enum { OPTION_IDENTIFIER, OPTION_HOST, OPTION_FILE, OPTION_VARIABLE, OPTION_CHOICE } kind;
    const char *choices;  // OPTION_CHOICE: "a|b|c"
};

#define OPTION(member, kind)                                    \
    {                                                           \
#member, offsetof(struct sf_config, member), kind, NULL \
    }
static const struct option options[] = {
    OPTION(warehouse, OPTION_IDENTIFIER),
    OPTION(role, OPTION_IDENTIFIER),
    OPTION(landing_schema, OPTION_IDENTIFIER),
    OPTION(key_file, OPTION_FILE),
    OPTION(key_env, OPTION_VARIABLE),
    OPTION(passphrase_env, OPTION_VARIABLE),
    OPTION(host, OPTION_HOST),
    OPTION(ca_file, OPTION_FILE),
    {"numeric_unbounded", offsetof(struct sf_config, numeric_unbounded), OPTION_CHOICE, numeric_choices},
    {"oversized", offsetof(struct sf_config, oversized), OPTION_CHOICE, oversized_choices},
};
#undef OPTION
static const char option_names[] = "known options are warehouse, role, landing_schema, key_file, key_env, "
                                   "passphrase_env, host, ca_file, numeric_unbounded, oversized";

// The place of `text` in "a|b|c", -1 if it is none of them.
static int choice_index(const char *choices, const char *text)
{
    size_t text_size = strlen(text);
    for (int index = 0;; index++) {
        size_t size = strcspn(choices, "|");
        if (size == text_size && memcmp(choices, text, size) == 0)
            return index;
        if (choices[size] == '\0')
            return -1;
        choices += size + 1;
    }
}

static bool check_choice(const struct option *option, const char *text, struct err *out_error)
{
    char what[64];
    char mend[64];
    snprintf(what, sizeof what, "%s has another value than it may", option->name);
    snprintf(mend, sizeof mend, "it is one of %s", option->choices);
    return choice_index(option->choices, text) >= 0 || refuse(out_error, what, mend);
}

struct typemap_options sf_config_types(const struct sf_config *config)
{
    struct typemap_options types = {0};
    if (config->numeric_unbounded != NULL)
        types.numeric_unbounded = (enum numeric_unbounded)choice_index(numeric_choices, config->numeric_unbounded);
    if (config->oversized != NULL)
        types.oversized = (enum oversized_rule)choice_index(oversized_choices, config->oversized);
    return types;
}

static bool parse_option(struct sf_config *config, const char *text, size_t size, struct err *out_error)
{
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals == NULL ? size : (size_t)(equals - text);
    const struct option *option = NULL;
    for (size_t i = 0; i < sizeof options / sizeof options[0] && option == NULL; i++)
        if (strlen(options[i].name) == name_size && memcmp(options[i].name, text, name_size) == 0)
            option = &options[i];
    if (option == NULL && name_size >= 4 && memcmp(text, "pass", 4) == 0)
        return refuse(out_error, "it holds a passphrase",
                      "put it into the environment variable SNOWFLAKE_PRIVATE_KEY_PASSPHRASE");
    if (option == NULL)
        return refuse(out_error, "it holds an option that does not exist", option_names);
    char part[64];
    snprintf(part, sizeof part, "option %s", option->name);
    char **value = (char **)((char *)config + option->offset);
    if (*value != NULL)
        return err_set(out_error, ERR_CONFIG, "", "destination URL: %s stands there twice", part);
    if (equals == NULL || name_size + 1 == size)
        return err_set(out_error, ERR_CONFIG, "", "destination URL: %s has no value; leave it away or give one", part);
    *value = decode(equals + 1, size - name_size - 1, part, out_error);
    if (*value == NULL)
        return false;
    switch (option->kind) {
    case OPTION_IDENTIFIER: return fold_identifier(*value, part, out_error);
    case OPTION_HOST: return check_host(*value, out_error);
    case OPTION_VARIABLE: return check_variable(*value, part, out_error);
    case OPTION_FILE: return true;
    case OPTION_CHOICE: return check_choice(option, *value, out_error);
    }
    return false;
}

static bool parse_query(struct sf_config *config, const char *query, struct err *out_error)
{
    while (*query != '\0') {
        size_t size = strcspn(query, "&");
        if (size > 0 && !parse_option(config, query, size, out_error))
            return false;
        query += size;
        query += *query == '&' ? 1 : 0;
    }
    if (config->key_file != NULL && config->key_env != NULL)
        return refuse(out_error, "it holds key_file and key_env", "name one of them");
    if (config->landing_schema == NULL)
        config->landing_schema = strdup(SF_LANDING_SCHEMA_DEFAULT);
    if (config->landing_schema == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory reading the destination URL");
    return true;
}

static bool parse(const char *url, struct sf_config *config, struct err *out_error)
{
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return refuse(out_error, "it does not begin with snowflake://", allowed_form);
    const char *user = url + sizeof scheme - 1;
    size_t authority_size = strcspn(user, "/?#");
    const char *at = memchr(user, '@', authority_size);
    if (at == NULL || at == user)
        return refuse(out_error, "the user is missing", allowed_form);
    if (memchr(user, ':', (size_t)(at - user)) != NULL)
        return refuse(out_error, "it holds a password",
                      "Snowflake is reached with a private key: key_file= or key_env=");
    const char *account = at + 1;
    const char *path = user + authority_size;
    if ((config->user = decode(user, (size_t)(at - user), "the user", out_error)) == NULL ||
        (config->account = decode(account, (size_t)(path - account), "the account", out_error)) == NULL ||
        !check_account(config->account, out_error))
        return false;
    if (strlen(config->user) > 255)
        return refuse(out_error, "the user is not a name of Snowflake's", "at most 255 characters");

    const char *database = path + (*path == '/' ? 1 : 0);
    size_t database_size = strcspn(database, "/?#");
    const char *schema = database + database_size;
    schema += *schema == '/' ? 1 : 0;
    size_t schema_size = strcspn(schema, "/?#");
    const char *query = schema + schema_size;
    if ((config->database = decode(database, database_size, "the database", out_error)) == NULL ||
        !fold_identifier(config->database, "the database", out_error) ||
        (config->schema = decode(schema, schema_size, "the schema", out_error)) == NULL ||
        !fold_identifier(config->schema, "the schema", out_error))
        return false;
    if (*query == '/' && query[1] != '\0' && query[1] != '?')
        return refuse(out_error, "something follows the schema", allowed_form);
    query += *query == '/' ? 1 : 0;
    if (strchr(query, '#') != NULL)
        return refuse(out_error, "it holds a '#'", "write it as %23");
    return parse_query(config, query + (*query == '?' ? 1 : 0), out_error);
}

bool sf_config_parse(const char *url, struct sf_config *out_config, struct err *out_error)
{
    *out_config = (struct sf_config){0};
    if (parse(url, out_config, out_error))
        return true;
    sf_config_deinit(out_config);
    return false;
}

void sf_config_deinit(struct sf_config *config)
{
    free(config->account);
    free(config->user);
    free(config->database);
    free(config->schema);
    free(config->landing_schema);
    free(config->warehouse);
    free(config->role);
    free(config->host);
    free(config->ca_file);
    free(config->key_file);
    free(config->key_env);
    free(config->passphrase_env);
    free(config->numeric_unbounded);
    free(config->oversized);
    *config = (struct sf_config){0};
}

bool sf_config_copy(const struct sf_config *config, struct sf_config *out_copy)
{
    *out_copy = (struct sf_config){0};
    const struct {
        const char *from;
        char **to;
    } parts[] = {{config->account, &out_copy->account},
                 {config->user, &out_copy->user},
                 {config->database, &out_copy->database},
                 {config->schema, &out_copy->schema},
                 {config->landing_schema, &out_copy->landing_schema},
                 {config->warehouse, &out_copy->warehouse},
                 {config->role, &out_copy->role},
                 {config->host, &out_copy->host},
                 {config->ca_file, &out_copy->ca_file},
                 {config->key_file, &out_copy->key_file},
                 {config->key_env, &out_copy->key_env},
                 {config->passphrase_env, &out_copy->passphrase_env},
                 {config->numeric_unbounded, &out_copy->numeric_unbounded},
                 {config->oversized, &out_copy->oversized}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].from != NULL && (*parts[i].to = strdup(parts[i].from)) == NULL) {
            sf_config_deinit(out_copy);
            return false;
        }
    }
    return true;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool sf_config_is_same_login(const struct sf_config *a, const struct sf_config *b)
{
    return is_same_text(a->account, b->account) && is_same_text(a->user, b->user) && is_same_text(a->role, b->role) &&
           is_same_text(a->host, b->host) && is_same_text(a->ca_file, b->ca_file);
}

void sf_config_describe(const struct sf_config *config, char *out, size_t out_size)
{
    snprintf(out, out_size, "snowflake://%s@%s/%s/%s", config->user, config->account, config->database, config->schema);
}

static void copy_upper(const char *text, size_t size, char *out, size_t out_size)
{
    size_t count = size < out_size - 1 ? size : out_size - 1;
    for (size_t i = 0; i < count; i++)
        out[i] = upper(text[i]);
    out[count] = '\0';
}

void sf_config_account_claim(const struct sf_config *config, char *out, size_t out_size)
{
    copy_upper(config->account, strcspn(config->account, "."), out, out_size);
}

void sf_config_user_claim(const struct sf_config *config, char *out, size_t out_size)
{
    copy_upper(config->user, strlen(config->user), out, out_size);
}

void sf_config_account_host(const struct sf_config *config, char *out, size_t out_size)
{
    if (config->host != NULL) {
        snprintf(out, out_size, "%s", config->host);
        return;
    }
    // A name with '_' is no host name for TLS; Snowflake answers under the name with '-' too.
    snprintf(out, out_size, "%s.snowflakecomputing.com", config->account);
    for (char *c = out; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
}
