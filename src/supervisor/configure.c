#include "supervisor/configure.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "io/http_client.h"

#define URL_BYTES_MAX (64U << 10)

static char *copy_text(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

static const char *value_of(const struct catalog_object *object, const char *name)
{
    const char *text = catalog_object_get(object, name);
    return text != NULL && *text != '\0' ? text : NULL;
}

static bool is_true(const char *text)
{
    return text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "t") == 0 || strcmp(text, "1") == 0);
}

static bool missing(const struct catalog_object *object, const char *what, struct err *out_error)
{
    return err_set(out_error, ERR_CONFIG, "incomplete", "%s %s has no %s; mend it with: etl-stream %s edit %s --%s …",
                   catalog_kind_name(object->kind), object->name, what, catalog_kind_name(object->kind), object->name,
                   what);
}

// --- sources -----------------------------------------------------------------------------------------------------

static const char *password_of(const struct catalog_object *source, struct err *out_error)
{
    const char *variable = value_of(source, "password_env");
    if (variable == NULL)
        return value_of(source, "pg_password");
    const char *password = getenv(variable);
    if (password == NULL)
        err_set(out_error, ERR_CONFIG, "password_env",
                "source %s names the environment variable %s for its password, which is not set for this process",
                source->name, variable);
    return password;
}

bool configure_source(const struct catalog_object *source, struct pg_target *out_target, char **out_publication,
                      struct err *out_error)
{
    struct err problem = {0};
    const char *host = value_of(source, "pg_host"), *port = value_of(source, "pg_port");
    const char *database = value_of(source, "pg_database"), *user = value_of(source, "pg_username");
    const char *publication = value_of(source, "publication_name"), *tls_mode = value_of(source, "sslmode");
    *out_target = (struct pg_target){0};
    if (host == NULL)
        return missing(source, "host", out_error);
    if (database == NULL)
        return missing(source, "database", out_error);
    if (user == NULL)
        return missing(source, "username", out_error);
    if (publication == NULL)
        return missing(source, "publication", out_error);
    const char *password = password_of(source, &problem);
    if (err_is_set(&problem)) {
        *out_error = problem;
        return false;
    }
    if (tls_mode == NULL && is_true(value_of(source, "pg_tls_enabled")))
        tls_mode = "require";
    out_target->host = copy_text(host);
    out_target->port = copy_text(port != NULL ? port : "5432");
    out_target->database = copy_text(database);
    out_target->user = copy_text(user);
    out_target->password = copy_text(password);
    out_target->tls_mode = copy_text(tls_mode);
    out_target->tls_root_cert = copy_text(value_of(source, "sslrootcert"));
    *out_publication = copy_text(publication);
    return true;
}

// --- destinations ------------------------------------------------------------------------------------------------

static void append_part(struct buf *url, const char *name, const char *text)
{
    if (text == NULL)
        return;
    buf_append_text(url, memchr(url->data, '?', url->size) == NULL ? "?" : "&");
    buf_append_text(url, name);
    buf_append_byte(url, '=');
    http_append_segment(url, text);
}

// As --to takes it: one reader checks both.
static bool snowflake_url(const struct catalog_object *object, struct buf *url, struct err *out_error)
{
    static const char *const needed[][2] = {{"snowflake_user", "user"},
                                            {"snowflake_account", "account"},
                                            {"snowflake_database", "database"},
                                            {"snowflake_schema", "schema"}};
    static const char *const separators[] = {"", "@", "/", "/"};
    buf_append_text(url, "snowflake://");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const char *text = value_of(object, needed[i][0]);
        if (text == NULL)
            return missing(object, needed[i][1], out_error);
        buf_append_text(url, separators[i]);
        http_append_segment(url, text);
    }
    append_part(url, "warehouse", value_of(object, "snowflake_warehouse"));
    append_part(url, "role", value_of(object, "snowflake_role"));
    append_part(url, "landing_schema", value_of(object, "snowflake_landing_schema"));
    append_part(url, "key_file", value_of(object, "snowflake_private_key_path"));
    append_part(url, "key_env", value_of(object, "key_env"));
    append_part(url, "passphrase_env", value_of(object, "passphrase_env"));
    append_part(url, "host", value_of(object, "snowflake_host"));
    append_part(url, "ca_file", value_of(object, "ca_file"));
    return true;
}

static bool http_url(const struct catalog_object *object, struct buf *url, struct err *out_error)
{
    const char *text = value_of(object, "http_url");
    if (text == NULL)
        return missing(object, "http-url", out_error);
    buf_append_text(url, text);
    append_part(url, "http_timeout_ms", value_of(object, "http_timeout_ms"));
    append_part(url, "http_retry_attempts", value_of(object, "http_retry_attempts"));
    append_part(url, "compression", value_of(object, "compression"));
    append_part(url, "token_env", value_of(object, "token_env"));
    append_part(url, "ca_file", value_of(object, "ca_file"));
    return true;
}

static bool file_url(const struct catalog_object *object, struct buf *url, struct err *out_error)
{
    const char *text = value_of(object, "directory");
    if (text == NULL)
        return missing(object, "directory", out_error);
    buf_append_text(url, "file:");
    for (const char *at = text; *at != '\0'; at++)
        if (strchr("?%&#", *at) != NULL)
            buf_appendf(url, "%%%02X", (unsigned)(unsigned char)*at);
        else
            buf_append_byte(url, (uint8_t)*at);
    append_part(url, "rotate_mb", value_of(object, "rotate_mb"));
    append_part(url, "rotate_seconds", value_of(object, "rotate_seconds"));
    return true;
}

bool configure_destination(const struct catalog_object *destination, struct destination *out_destination,
                           struct err *out_error)
{
    struct buf url;
    const char *type = value_of(destination, "destination_type");
    buf_init(&url, URL_BYTES_MAX);
    bool is_good;
    if (type == NULL || strcmp(type, "snowflake") == 0)
        is_good = snowflake_url(destination, &url, out_error);
    else if (strcmp(type, "http") == 0)
        is_good = http_url(destination, &url, out_error);
    else if (strcmp(type, "file") == 0)
        is_good = file_url(destination, &url, out_error);
    else
        is_good =
            err_set(out_error, ERR_CONFIG, "destination_type",
                    "destination %s is of type \"%s\"; allowed are snowflake, http and file", destination->name, type);
    if (is_good && !destination_parse(buf_text(&url), out_destination, out_error)) {
        err_prefix(out_error, "destination %s", destination->name);
        is_good = false;
    }
    buf_deinit(&url);
    return is_good;
}

// --- keys --------------------------------------------------------------------------------------------------------

struct key_entry {
    char *origin;  // file and variables that it was read by
    struct stat file;
    struct sf_key *key;
    struct key_entry *next;
};

struct key_ring {
    struct key_entry *entries;
};

struct key_ring *key_ring_new(void)
{
    struct key_ring *ring = calloc(1, sizeof *ring);
    CHECK(ring != NULL);
    return ring;
}

void key_ring_free(struct key_ring *ring)
{
    while (ring != NULL && ring->entries != NULL) {
        struct key_entry *entry = ring->entries;
        ring->entries = entry->next;
        sf_key_free(entry->key);
        free(entry->origin);
        free(entry);
    }
    free(ring);
}

static struct key_entry *entry_of(struct key_ring *ring, const struct sf_config *config)
{
    char origin[1024];
    (void)snprintf(origin, sizeof origin, "%s|%s|%s", config->key_file != NULL ? config->key_file : "",
                   config->key_env != NULL ? config->key_env : "",
                   config->passphrase_env != NULL ? config->passphrase_env : "");
    for (struct key_entry *entry = ring->entries; entry != NULL; entry = entry->next)
        if (strcmp(entry->origin, origin) == 0)
            return entry;
    struct key_entry *entry = calloc(1, sizeof *entry);
    CHECK(entry != NULL);
    entry->origin = copy_text(origin);
    entry->next = ring->entries;
    ring->entries = entry;
    return entry;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool configure_key(struct key_ring *ring, const struct catalog_object *object, const struct destination *destination,
                   struct sf_key **out_key, struct err *out_error)
{
    struct stat now = {0};
    *out_key = NULL;
    if (!destination_wants_key(destination))
        return true;
    const struct sf_config *config = &destination->snowflake;
    struct key_entry *entry = entry_of(ring, config);
    if (config->key_file != NULL)
        (void)stat(config->key_file, &now);  // that it is not there is said by whoever reads it
    if (entry->key == NULL || !is_same_file(&entry->file, &now)) {
        struct sf_key *key = sf_key_load_with_passphrase(
            config, object != NULL ? value_of(object, "snowflake_private_key_passphrase") : NULL, out_error);
        if (key == NULL) {
            if (object != NULL)
                err_prefix(out_error, "destination %s", object->name);
            return false;
        }
        sf_key_free(entry->key);
        entry->key = key;
        entry->file = now;
    }
    *out_key = sf_key_share(entry->key);
    return true;
}

// --- pipelines ---------------------------------------------------------------------------------------------------

void configure_slot_name(const char *pipeline, char out[CONFIGURE_SLOT_SIZE])
{
    (void)snprintf(out, CONFIGURE_SLOT_SIZE, "etl_%s", pipeline);
    for (char *at = out; *at != '\0'; at++)
        *at = (char)(isalnum((unsigned char)*at) && (unsigned char)*at < 0x80 ? tolower((unsigned char)*at) : '_');
}

static bool plan_fill(struct plan *plan, const struct catalog_config *config, const struct catalog_object *pipeline,
                      struct key_ring *ring, struct err *out_error)
{
    struct pipeline_settings settings = {0};
    char slot[CONFIGURE_SLOT_SIZE];
    const struct catalog_object *source = catalog_config_find(config, CATALOG_SOURCE, pipeline->source);
    const struct catalog_object *destination = catalog_config_find(config, CATALOG_DESTINATION, pipeline->destination);
    if (source == NULL || destination == NULL)
        return err_set(out_error, ERR_CONFIG, "incomplete", "pipeline %s names a %s that is not there", pipeline->name,
                       source == NULL ? "source" : "destination");
    plan->name = copy_text(pipeline->name);
    if (!configure_source(source, &plan->source, &plan->publication, out_error) ||
        !configure_destination(destination, &plan->destination, out_error) ||
        !configure_key(ring, destination, &plan->destination, &plan->key, out_error) ||
        !catalog_pipeline_settings(config, pipeline, &settings, out_error))
        return false;
    pg_target_describe(&plan->source, plan->source_text, sizeof plan->source_text);
    configure_slot_name(pipeline->name, slot);
    plan->slot = copy_text(settings.slot != NULL ? settings.slot : slot);
    plan_set_settings(plan, &settings);
    pipeline_settings_deinit(&settings);
    return true;
}

struct plan *configure_plan(const struct catalog_config *config, const struct catalog_object *pipeline,
                            struct key_ring *ring, struct err *out_error)
{
    struct plan *plan = plan_new();
    if (plan_fill(plan, config, pipeline, ring, out_error))
        return plan;
    plan_free(plan);
    return NULL;
}
