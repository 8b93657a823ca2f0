#include "cli/endpoints.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mask.h"
#include "cli/prompt.h"
#include "pg/pg_url.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/configure.h"

#define SLOT_SIZE_MAX 63  // PostgreSQL: NAMEDATALEN - 1
#define NAME_SIZE_MAX 100

static bool source_read(const char *from, struct endpoints *endpoints, struct err *out_error)
{
    if (!pg_url_is(from))
        return err_set(out_error, ERR_CONFIG, "from",
                       "--from is no postgres:// URL; allowed is postgres://USER@HOST:PORT/DATABASE?publication=NAME");
    if (!pg_url_parse(from, &endpoints->source, &endpoints->publication, &endpoints->slot, out_error)) {
        err_prefix(out_error, "--from");
        return false;
    }
    if (endpoints->publication == NULL)
        return err_set(out_error, ERR_CONFIG, "from", "--from names no publication; add ?publication=NAME");
    pg_target_describe(&endpoints->source, endpoints->source_text, sizeof endpoints->source_text);
    endpoints->has_password_in_url = endpoints->source.password != NULL;
    return true;
}

static bool destination_read(const char *to, struct endpoints *endpoints, struct err *out_error)
{
    if (!destination_parse(to, &endpoints->destination, out_error)) {
        err_prefix(out_error, "--to");
        return false;
    }
    endpoints->has_destination = true;
    return true;
}

static bool name_read(const char *name, struct endpoints *endpoints, struct err *out_error)
{
    char made[NAME_SIZE_MAX + 1];
    if (name != NULL) {
        if (*name == '\0' || strlen(name) > NAME_SIZE_MAX ||
            strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(name))
            return err_set(out_error, ERR_CONFIG, "name", "--name is \"%s\"; allowed are up to %d of A-Z a-z 0-9 _ -",
                           name, NAME_SIZE_MAX);
        (void)snprintf(made, sizeof made, "%s", name);
    } else {
        (void)snprintf(made, sizeof made, "%s_%s", endpoints->source.database, endpoints->publication);
        for (char *at = made; *at != '\0'; at++)
            if (!isalnum((unsigned char)*at) && *at != '-')
                *at = '_';
    }
    endpoints->name = strdup(made);
    CHECK(endpoints->name != NULL);
    return true;
}

// A slot's name: lower case letters, digits and underscores. Source: PostgreSQL, ReplicationSlotValidateName.
bool endpoints_check_slot(const char *slot, struct err *out_error)
{
    size_t size = strlen(slot);
    if (size == 0 || size > SLOT_SIZE_MAX || strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != size)
        return err_set(out_error, ERR_CONFIG, "slot", "slot is \"%s\"; allowed are up to %d of a-z 0-9 _", slot,
                       SLOT_SIZE_MAX);
    return true;
}

bool endpoints_set_slot(struct endpoints *endpoints, const char *slot, struct err *out_error)
{
    if (!endpoints_check_slot(slot, out_error))
        return false;
    free(endpoints->slot);
    endpoints->slot = strdup(slot);
    CHECK(endpoints->slot != NULL);
    return true;
}

static bool slot_read(struct endpoints *endpoints, struct err *out_error)
{
    char made[SLOT_SIZE_MAX + 1];
    if (endpoints->slot != NULL)
        return endpoints_check_slot(endpoints->slot, out_error);
    (void)snprintf(made, sizeof made, "etl_%s", endpoints->name);
    for (char *at = made; *at != '\0'; at++)
        *at = (char)(isalnum((unsigned char)*at) ? tolower((unsigned char)*at) : '_');
    endpoints->slot = strdup(made);
    CHECK(endpoints->slot != NULL);
    return true;
}

bool endpoints_read(const char *from, const char *to, const char *name, struct endpoints *out_endpoints,
                    struct err *out_error)
{
    memset(out_endpoints, 0, sizeof *out_endpoints);
    if (source_read(from, out_endpoints, out_error) && (to == NULL || destination_read(to, out_endpoints, out_error)) &&
        name_read(name, out_endpoints, out_error) && slot_read(out_endpoints, out_error))
        return true;
    endpoints_deinit(out_endpoints);
    return false;
}

bool endpoints_from_catalog(const struct catalog_config *config, const struct catalog_object *pipeline,
                            struct endpoints *out_endpoints, struct pipeline_settings *out_settings,
                            struct err *out_error)
{
    const struct catalog_object *source = catalog_config_find(config, CATALOG_SOURCE, pipeline->source);
    const struct catalog_object *destination = catalog_config_find(config, CATALOG_DESTINATION, pipeline->destination);
    char slot[CONFIGURE_SLOT_SIZE];
    memset(out_endpoints, 0, sizeof *out_endpoints);
    memset(out_settings, 0, sizeof *out_settings);
    CHECK(source != NULL && destination != NULL);  // the catalog joins them
    bool is_good = catalog_pipeline_settings(config, pipeline, out_settings, out_error) &&
                   configure_source(source, &out_endpoints->source, &out_endpoints->publication, out_error);
    out_endpoints->has_destination =
        is_good && configure_destination(destination, &out_endpoints->destination, out_error);
    if (out_endpoints->has_destination) {
        pg_target_describe(&out_endpoints->source, out_endpoints->source_text, sizeof out_endpoints->source_text);
        out_endpoints->name = strdup(pipeline->name);
        CHECK(out_endpoints->name != NULL);
        configure_slot_name(pipeline->name, slot);
        if (endpoints_set_slot(out_endpoints, out_settings->slot != NULL ? out_settings->slot : slot, out_error))
            return true;
    }
    pipeline_settings_deinit(out_settings);
    endpoints_deinit(out_endpoints);
    return false;
}

void endpoints_warn(const struct endpoints *endpoints)
{
    if (endpoints->has_password_in_url)
        fprintf(stderr, "etl-stream: warning: " ENDPOINTS_PASSWORD_WARNING "\n");
}

bool endpoints_ask_password(const struct option_value *is_asking, struct endpoints *endpoints, struct err *out_error)
{
    char question[300];
    struct sf_secret secret;
    if (!is_asking->flag)
        return true;
    (void)snprintf(question, sizeof question, "password of %s: ", endpoints->source_text);
    if (!sf_key_process_init(out_error) || !prompt_secret(question, &secret, out_error))
        return false;
    if (endpoints->source.password != NULL)
        explicit_bzero(endpoints->source.password, strlen(endpoints->source.password));
    free(endpoints->source.password);
    endpoints->source.password = strdup(secret.text);
    CHECK(endpoints->source.password != NULL);
    sf_secret_deinit(&secret);
    return true;
}

void endpoints_hide_passwords(int count, char *const *arguments)
{
    for (int i = 0; i < count; i++)
        mask_passwords_whole(arguments[i]);
}

void endpoints_deinit(struct endpoints *endpoints)
{
    pg_target_deinit(&endpoints->source);
    free(endpoints->publication);
    free(endpoints->slot);
    free(endpoints->name);
    if (endpoints->has_destination)
        destination_deinit(&endpoints->destination);
    memset(endpoints, 0, sizeof *endpoints);
}
