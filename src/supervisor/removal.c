#include "supervisor/removal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/http_client.h"
#include "io/resolver.h"
#include "pg/pg_slot_drop.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_remove.h"
#include "supervisor/configure.h"

#define SLOT_PATIENCE_MS 30000

struct removal {
    const struct removal_options *options;
    struct loop *loop;
    struct err *source_error, *destination_error;
    bool is_source_done, is_destination_done;
    char slot[64];
};

static void end_if_done(const struct removal *removal)
{
    if (removal->is_source_done && removal->is_destination_done)
        loop_stop(removal->loop);
}

static void on_slot_done(void *context, bool was_there, const struct err *error)
{
    struct removal *removal = context;
    char text[160];
    removal->is_source_done = true;
    if (error != NULL) {
        *removal->source_error = *error;
    } else {
        (void)snprintf(text, sizeof text, "slot %s %s", removal->slot, was_there ? "dropped" : "was gone already");
        removal->options->on_step(removal->options->context, text);
    }
    end_if_done(removal);
}

static void on_step(void *context, const char *text)
{
    const struct removal *removal = context;
    removal->options->on_step(removal->options->context, text);
}

static void on_destination_done(void *context, const struct err *error)
{
    struct removal *removal = context;
    removal->is_destination_done = true;
    if (error != NULL)
        *removal->destination_error = *error;
    end_if_done(removal);
}

void removal_slot(const struct removal_options *options, char *out_slot, size_t out_size)
{
    char made[CONFIGURE_SLOT_SIZE];
    const char *named = catalog_object_get(options->pipeline, "slot");
    configure_slot_name(options->pipeline->name, made);
    if (options->known->is_found && options->known->pipeline.slot[0] != '\0')
        named = options->known->pipeline.slot;
    (void)snprintf(out_slot, out_size, "%s", named != NULL ? named : made);
}

// --- the source --------------------------------------------------------------------------------------------------

static void source_run(struct removal *removal, struct resolver *resolver)
{
    const struct removal_options *options = removal->options;
    struct pg_target target = {0};
    char *publication = NULL;
    const struct catalog_object *source =
        catalog_config_find(options->config, CATALOG_SOURCE, options->pipeline->source);
    if (options->keeps_slot || source == NULL ||
        !configure_source(source, &target, &publication, removal->source_error)) {
        removal->is_source_done = true;
        return;
    }
    free(publication);
    struct pg_slot_drop_events events = {.on_done = on_slot_done, .context = removal};
    struct pg_slot_drop *drop = pg_slot_drop_new(removal->loop, resolver);
    pg_slot_drop_start(drop, &target, removal->slot, SLOT_PATIENCE_MS, &events);
    loop_run(removal->loop);
    pg_slot_drop_free(drop);
    pg_target_deinit(&target);
}

// --- the destination -----------------------------------------------------------------------------------------------

static const struct catalog_table *table_of(const struct catalog_known *known, uint32_t oid)
{
    for (uint32_t i = 0; i < known->table_count; i++)
        if (known->tables[i].oid == oid)
            return &known->tables[i];
    return NULL;
}

static struct sf_remove_channel *channels_of(const struct catalog_known *known, uint32_t *out_count)
{
    struct sf_remove_channel *channels = calloc((size_t)known->channel_count + 1, sizeof *channels);
    CHECK(channels != NULL);
    *out_count = 0;
    for (uint32_t i = 0; i < known->channel_count; i++) {
        const struct catalog_table *table = table_of(known, known->channels[i].table_oid);
        if (table != NULL)
            channels[(*out_count)++] = (struct sf_remove_channel){
                .schema_name = table->schema_name, .table_name = table->table_name, .channel = known->channels[i].name};
    }
    return channels;
}

static struct sf_remove_table *tables_of(const struct catalog_known *known)
{
    struct sf_remove_table *tables = calloc((size_t)known->table_count + 1, sizeof *tables);
    CHECK(tables != NULL);
    for (uint32_t i = 0; i < known->table_count; i++)
        tables[i] = (struct sf_remove_table){.schema_name = known->tables[i].schema_name,
                                             .table_name = known->tables[i].table_name};
    return tables;
}

static void snowflake_run(struct removal *removal, struct http_client *http, const struct destination *destination,
                          struct sf_key *take_key)
{
    uint32_t channel_count = 0;
    struct sf_remove_channel *channels = channels_of(removal->options->known, &channel_count);
    struct sf_remove_table *tables = tables_of(removal->options->known);
    struct sf_auth *auth = sf_auth_new(removal->loop, http, &destination->snowflake, take_key);
    CHECK(auth != NULL);
    const struct sf_remove_options options = {.loop = removal->loop,
                                              .http = http,
                                              .auth = auth,
                                              .config = &destination->snowflake,
                                              .pipeline = removal->options->pipeline->name,
                                              .drops_landing = removal->options->drops_landing,
                                              .identity = removal->options->known->pipeline.identity,
                                              .channels = channels,
                                              .channel_count = channel_count,
                                              .tables = tables,
                                              .table_count = removal->options->known->table_count};
    const struct sf_remove_events events = {.on_step = on_step, .on_done = on_destination_done, .context = removal};
    struct sf_remove *remove = sf_remove_new(&options, &events);
    sf_remove_start(remove);
    if (!removal->is_destination_done)
        loop_run(removal->loop);
    sf_remove_free(remove);
    sf_auth_free(auth);
    free(channels);
    free(tables);
}

static void destination_run(struct removal *removal, struct http_client *http)
{
    const struct removal_options *options = removal->options;
    struct destination destination;
    struct sf_key *key = NULL;
    const struct catalog_object *object =
        catalog_config_find(options->config, CATALOG_DESTINATION, options->pipeline->destination);
    if (object == NULL || !configure_destination(object, &destination, removal->destination_error))
        return;
    struct key_ring *ring = key_ring_new();
    // A destination without a key keeps nothing of ours but what was sent to it.
    if (destination_wants_key(&destination) &&
        configure_key(ring, object, &destination, &key, removal->destination_error))
        snowflake_run(removal, http, &destination, key);
    key_ring_free(ring);
    destination_deinit(&destination);
}

void removal_run(const struct removal_options *options, struct err *out_source_error, struct err *out_destination_error)
{
    struct removal removal = {
        .options = options, .source_error = out_source_error, .destination_error = out_destination_error};
    struct resolver *resolver = NULL;
    struct http_client *http = NULL;
    removal_slot(options, removal.slot, sizeof removal.slot);
    removal.loop = loop_new(&clock_system, out_source_error);
    if (removal.loop != NULL)
        resolver = resolver_new(removal.loop, out_source_error);
    if (resolver != NULL)
        http = http_client_new(removal.loop, out_destination_error);
    if (http != NULL) {
        removal.is_destination_done = true;  // one after the other: each ends the loop
        source_run(&removal, resolver);
        removal.is_source_done = true;
        removal.is_destination_done = false;
        destination_run(&removal, http);
        http_client_free(http);
    }
    if (resolver != NULL)
        resolver_free(resolver);
    if (removal.loop != NULL)
        loop_free(removal.loop);
}
