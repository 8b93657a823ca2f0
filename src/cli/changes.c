#include "cli/changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/endpoints.h"
#include "pg/pg_url.h"
#include "supervisor/configure.h"
#include "supervisor/destination.h"

#define WORD_SIZE 64
#define NUMBER_SIZE 24

static void release(struct catalog_change *change)
{
    char *text = (char *)(uintptr_t)change->text;
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void changes_deinit(struct changes *changes)
{
    for (uint32_t i = 0; i < changes->count; i++)
        release(&changes->list[i]);
    changes->count = 0;
}

void changes_set(struct changes *changes, const char *name, const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    uint32_t i = 0;
    CHECK(text == NULL || copy != NULL);
    while (i < changes->count && strcmp(changes->list[i].name, name) != 0)
        i++;
    CHECK(i < CHANGES_MAX);
    if (i < changes->count)
        release(&changes->list[i]);
    else
        changes->count++;
    changes->list[i] = (struct catalog_change){.name = name, .text = copy};
}

const char *changes_get(const struct changes *changes, const char *name)
{
    for (uint32_t i = 0; i < changes->count; i++)
        if (strcmp(changes->list[i].name, name) == 0)
            return changes->list[i].text;
    return NULL;
}

void changes_add_options(struct changes *changes, enum catalog_kind kind, const struct option_value *values)
{
    const struct setting *setting;
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++) {
        if (!values[i].is_given)
            continue;
        if (setting->option.kind == OPTION_FLAG)
            changes_set(changes, setting->name, values[i].flag ? "true" : "false");
        else
            changes_set(changes, setting->name, values[i].text);
        if (setting->is_secret)
            fprintf(stderr,
                    "etl-stream: warning: --%s on the command line can be seen by every user of this machine "
                    "while the command runs, and stays in the shell's history; give it by %s\n",
                    setting->option.name,
                    kind == CATALOG_SOURCE ? "--password-env VARIABLE or --ask-password"
                                           : "--passphrase-env VARIABLE or --ask-passphrase");
    }
}

// --- words -----------------------------------------------------------------------------------------------------------

void setting_word(const struct setting *setting, bool is_option, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s", setting->option.name);
    for (char *at = out; !is_option && *at != '\0'; at++)
        if (*at == '-')
            *at = '_';
}

const struct setting *setting_find_word(enum catalog_kind kind, const char *word)
{
    const struct setting *setting;
    char name[WORD_SIZE];
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++) {
        setting_word(setting, false, name, sizeof name);
        if (strcmp(word, setting->option.name) == 0 || strcmp(word, name) == 0 || strcmp(word, setting->name) == 0)
            return setting;
    }
    return NULL;
}

const char *setting_nearest_word(enum catalog_kind kind, const char *word)
{
    struct option_spec options[SETTINGS_OPTIONS_MAX];
    const char *names[SETTINGS_OPTIONS_MAX];
    static char words[SETTINGS_OPTIONS_MAX][WORD_SIZE];
    size_t count = settings_options(kind, options);
    for (size_t i = 0; i < count; i++) {
        setting_word(settings_nth(kind, i), false, words[i], WORD_SIZE);
        names[i] = words[i];
    }
    return options_nearest(word, names, count);
}

bool changes_unset(struct changes *changes, enum catalog_kind kind, const char *names, struct err *out_error)
{
    char word[WORD_SIZE];
    while (*names != '\0') {
        size_t size = strcspn(names, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)size, names);
        const struct setting *setting = setting_find_word(kind, word);
        const char *nearest = setting_nearest_word(kind, word);
        if (setting == NULL)
            return err_set(out_error, ERR_CONFIG, "unset", "--unset: a %s has no setting \"%s\"%s%s%s",
                           catalog_kind_name(kind), word, nearest != NULL ? "; did you mean " : "",
                           nearest != NULL ? nearest : "; --help lists them", nearest != NULL ? "?" : "");
        changes_set(changes, setting->name, NULL);
        names += size + (names[size] == ',');
    }
    return true;
}

// --- URLs ------------------------------------------------------------------------------------------------------------

static void set_if_given(struct changes *changes, const char *name, const char *text)
{
    if (text != NULL)
        changes_set(changes, name, text);
}

bool changes_add_source_url(struct changes *changes, const char *url, struct err *out_error)
{
    struct pg_target target = {0};
    char *publication = NULL, *slot = NULL;
    if (!pg_url_is(url))
        return err_set(out_error, ERR_CONFIG, "url",
                       "--url is no postgres:// URL; allowed is postgres://USER@HOST:PORT/DATABASE?publication=NAME");
    if (!pg_url_parse(url, &target, &publication, &slot, out_error)) {
        err_prefix(out_error, "--url");
        return false;
    }
    if (target.password != NULL)
        fprintf(stderr,
                "etl-stream: warning: a password in a URL on the command line can be seen by every user of this "
                "machine while the command runs, and stays in the shell's history; give it by --password-env VARIABLE "
                "or --ask-password\n");
    set_if_given(changes, "pg_host", target.host);
    set_if_given(changes, "pg_port", target.port);
    set_if_given(changes, "pg_database", target.database);
    set_if_given(changes, "pg_username", target.user);
    set_if_given(changes, "pg_password", target.password);
    set_if_given(changes, "sslmode", target.tls_mode);
    set_if_given(changes, "sslrootcert", target.tls_root_cert);
    set_if_given(changes, "publication_name", publication);
    bool has_slot = slot != NULL;
    pg_target_deinit(&target);
    free(publication);
    free(slot);
    return !has_slot || err_set(out_error, ERR_CONFIG, "url",
                                "--url names a slot, which belongs to a pipeline: leave it out here and give it to "
                                "etl-stream pipeline add --slot");
}

// As the destination reads it again: a name that is not all upper case stands in quotes.
static void set_identifier(struct changes *changes, const char *name, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$";
    char quoted[600];
    size_t used = 0;
    if (text == NULL)
        return;
    if (strspn(text, plain) == strlen(text) && strchr("0123456789$", text[0]) == NULL) {
        changes_set(changes, name, text);
        return;
    }
    quoted[used++] = '"';
    for (const char *at = text; *at != '\0' && used + 3 < sizeof quoted; at++) {
        if (*at == '"')
            quoted[used++] = '"';
        quoted[used++] = *at;
    }
    quoted[used++] = '"';
    quoted[used] = '\0';
    changes_set(changes, name, quoted);
}

static void set_snowflake(struct changes *changes, const struct sf_config *config)
{
    changes_set(changes, "destination_type", "snowflake");
    set_if_given(changes, "snowflake_account", config->account);
    set_if_given(changes, "snowflake_user", config->user);
    set_identifier(changes, "snowflake_database", config->database);
    set_identifier(changes, "snowflake_schema", config->schema);
    set_identifier(changes, "snowflake_landing_schema", config->landing_schema);
    set_identifier(changes, "snowflake_warehouse", config->warehouse);
    set_identifier(changes, "snowflake_role", config->role);
    set_if_given(changes, "snowflake_host", config->host);
    set_if_given(changes, "snowflake_private_key_path", config->key_file);
    set_if_given(changes, "key_env", config->key_env);
    set_if_given(changes, "passphrase_env", config->passphrase_env);
    set_if_given(changes, "ca_file", config->ca_file);
}

static void set_number(struct changes *changes, const char *name, uint64_t number)
{
    char text[NUMBER_SIZE];
    (void)snprintf(text, sizeof text, "%" PRIu64, number);
    changes_set(changes, name, text);
}

static void set_http(struct changes *changes, const struct http_sink_config *config)
{
    static const char *const compressions[] = {"none", "gzip", "zstd"};
    changes_set(changes, "destination_type", "http");
    changes_set(changes, "http_url", config->url);
    set_number(changes, "http_timeout_ms", config->timeout_ms);
    set_number(changes, "http_retry_attempts", config->retry_attempts);
    if (config->compression != HTTP_COMPRESSION_NONE)
        changes_set(changes, "compression", compressions[config->compression]);
    set_if_given(changes, "token_env", config->token_env);
    set_if_given(changes, "ca_file", config->ca_file);
}

static void set_file(struct changes *changes, const struct file_config *config)
{
    changes_set(changes, "destination_type", "file");
    changes_set(changes, "directory", config->directory);
    set_number(changes, "rotate_mb", config->rotate_bytes >> 20);
    set_number(changes, "rotate_seconds", config->rotate_s);
}

bool changes_add_destination_url(struct changes *changes, const char *url, struct err *out_error)
{
    struct destination destination;
    if (!destination_parse(url, &destination, out_error)) {
        err_prefix(out_error, "--to");
        return false;
    }
    switch (destination.kind) {
    case DESTINATION_SNOWFLAKE: set_snowflake(changes, &destination.snowflake); break;
    case DESTINATION_HTTP: set_http(changes, &destination.http); break;
    case DESTINATION_FILE: set_file(changes, &destination.file); break;
    }
    destination_deinit(&destination);
    return true;
}

// --- checks ----------------------------------------------------------------------------------------------------------

static bool check_source(const struct catalog_object *source, struct err *out_error)
{
    struct pg_target target = {0};
    struct err error = {0};
    char *publication = NULL;
    // The variable is the service's, not ours.
    bool is_good = configure_source(source, &target, &publication, &error) || strcmp(error.code, "password_env") == 0;
    pg_target_deinit(&target);
    free(publication);
    if (!is_good)
        *out_error = error;
    return is_good;
}

// Settings of another kind of destination would be kept and never used.
static bool check_only_its_own(const struct catalog_object *object, struct err *out_error)
{
    const char *type = catalog_object_get(object, "destination_type");
    for (uint32_t i = 0; i < object->value_count; i++) {
        const struct setting *setting = object->values[i].setting;
        if (object->values[i].text != NULL && setting->option.default_value == NULL &&
            !setting_is_of(setting, type != NULL ? type : "snowflake"))
            return err_set(out_error, ERR_CONFIG, "type", "--%s is for destinations of type %s; this one is of type %s",
                           setting->option.name, setting->only_of, type != NULL ? type : "snowflake");
    }
    return true;
}

static bool check_destination(const struct catalog_object *object, struct err *out_error)
{
    struct destination destination;
    if (!check_only_its_own(object, out_error) || !configure_destination(object, &destination, out_error))
        return false;
    destination_deinit(&destination);
    return true;
}

static bool check_pipeline(const struct catalog_object *pipeline, struct err *out_error)
{
    const char *slot = catalog_object_get(pipeline, "slot");
    if (pipeline->source == NULL || pipeline->destination == NULL)
        return err_set(out_error, ERR_CONFIG, "incomplete",
                       "pipeline \"%s\" has no %s; a pipeline needs --source NAME and --destination NAME",
                       pipeline->name, pipeline->source == NULL ? "source" : "destination");
    if (slot != NULL && !endpoints_check_slot(slot, out_error))
        return false;
    struct pipeline_settings settings = {0};
    char **texts[] = {&settings.tables, &settings.merge_windows, &settings.landing_retention};
    static const char *const names[] = {"tables", "merge_windows", "landing_retention"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = (char *)(uintptr_t)catalog_object_get(pipeline, names[i]);  // looked at only
    if (pipeline_settings_check(&settings, out_error))
        return true;
    err_prefix(out_error, "pipeline \"%s\"", pipeline->name);
    return false;
}

// Every text by the table: a file or plain SQL may have brought it.
static bool check_values(const struct catalog_object *object, struct err *out_error)
{
    struct option_value ignored;
    for (uint32_t i = 0; i < object->value_count; i++) {
        const struct setting *setting = object->values[i].setting;
        if (object->values[i].text == NULL || setting->is_secret ||
            options_read_value(&setting->option, setting->option.name, object->values[i].text, &ignored, out_error))
            continue;
        err_prefix(out_error, "%s \"%s\"", catalog_kind_name(object->kind), object->name);
        return false;
    }
    return true;
}

bool object_check(const struct catalog_object *object, struct err *out_error)
{
    if (!check_values(object, out_error))
        return false;
    bool is_good = object->kind == CATALOG_SOURCE        ? check_source(object, out_error)
                   : object->kind == CATALOG_DESTINATION ? check_destination(object, out_error)
                                                         : check_pipeline(object, out_error);
    // One that is not there yet is not mended by an edit.
    char *advice = !is_good && object->id == 0 ? strstr(out_error->text, "; mend it with:") : NULL;
    if (advice != NULL)
        (void)snprintf(advice, sizeof out_error->text - (size_t)(advice - out_error->text),
                       "; etl-stream help %s add shows what it needs", catalog_kind_name(object->kind));
    return is_good;
}

void hide_secrets(int count, char *const *arguments)
{
    static const char *const options[] = {"--password", "--passphrase"};
    endpoints_hide_passwords(count, arguments);
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
            size_t size = strlen(options[k]);
            char *secret = NULL;
            if (strcmp(arguments[i], options[k]) == 0 && i + 1 < count)
                secret = arguments[i + 1];
            else if (strncmp(arguments[i], options[k], size) == 0 && arguments[i][size] == '=')
                secret = arguments[i] + size + 1;
            if (secret != NULL)
                memset(secret, '*', strlen(secret));
        }
    }
}
