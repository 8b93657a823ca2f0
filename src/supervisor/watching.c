#include "supervisor/watching.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "supervisor/configure.h"

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

static void fill_pipeline(struct monitor_pipeline *out, const struct catalog_config *config,
                          const struct catalog_object *pipeline)
{
    struct pipeline_settings settings = {0};
    struct err ignored = {0};
    char slot[CONFIGURE_SLOT_SIZE];
    configure_slot_name(pipeline->name, slot);
    // What is wrong with its settings is its own job's to say.
    bool has_settings = catalog_pipeline_settings(config, pipeline, &settings, &ignored);
    out->name = copy_text(pipeline->name);
    out->slot = copy_text(has_settings && settings.slot != NULL ? settings.slot : slot);
    out->is_wanted = pipeline->is_wanted;
    if (has_settings)
        pipeline_settings_deinit(&settings);
}

static void fill_source(struct monitor_source *out, const struct catalog_config *config,
                        const struct catalog_object *source)
{
    char *publication = NULL;
    uint32_t count = config->counts[CATALOG_PIPELINE];
    out->name = copy_text(source->name);
    if (!configure_source(source, &out->target, &publication, &out->error))
        CHECK(err_is_set(&out->error));
    free(publication);
    out->pipelines = calloc((size_t)count + 1, sizeof out->pipelines[0]);
    CHECK(out->pipelines != NULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct catalog_object *pipeline = &config->objects[CATALOG_PIPELINE][i];
        if (pipeline->source != NULL && strcmp(pipeline->source, source->name) == 0)
            fill_pipeline(&out->pipelines[out->pipeline_count++], config, pipeline);
    }
}

struct monitor_config *watching_config(const struct catalog_config *config)
{
    uint32_t count = config->counts[CATALOG_SOURCE];
    struct monitor_config *out = monitor_config_new(count);
    for (uint32_t i = 0; i < count; i++)
        fill_source(&out->sources[i], config, &config->objects[CATALOG_SOURCE][i]);
    return out;
}

bool watching_open(struct watching *watching, const struct monitor_settings *settings, struct board *board,
                   struct catalog *catalog, const char *scope, struct err *out_error)
{
    *watching = (struct watching){0};
    if (settings == NULL)
        return true;
    watching->monitor = monitor_new(settings, board, catalog, scope, out_error);
    return watching->monitor != NULL;
}

void watching_stop(struct watching *watching)
{
    if (watching->monitor != NULL)
        monitor_stop(watching->monitor);
}

void watching_close(struct watching *watching)
{
    monitor_free(watching->monitor);
    monitor_config_free(watching->unsent);
    *watching = (struct watching){0};
}

void watching_tick(struct watching *watching)
{
    if (watching->unsent != NULL && monitor_send(watching->monitor, watching->unsent))
        watching->unsent = NULL;
}

void watching_apply(struct watching *watching, const struct catalog_config *config)
{
    if (watching->monitor == NULL)
        return;
    monitor_config_free(watching->unsent);
    watching->unsent = watching_config(config);
    watching_tick(watching);
}

void watching_apply_one(struct watching *watching, const char *pipeline, const char *slot,
                        const struct pg_target *target)
{
    if (watching->monitor == NULL)
        return;
    struct monitor_config *config = monitor_config_new(1);
    struct monitor_source *source = &config->sources[0];
    source->name = copy_text(pipeline);
    CHECK(pg_target_copy(target, &source->target));
    source->pipelines = calloc(1, sizeof source->pipelines[0]);
    CHECK(source->pipelines != NULL);
    source->pipelines[0] =
        (struct monitor_pipeline){.name = copy_text(pipeline), .slot = copy_text(slot), .is_wanted = true};
    source->pipeline_count = 1;
    monitor_config_free(watching->unsent);
    watching->unsent = config;
    watching_tick(watching);
}

int64_t watching_held_bytes(struct board *board, const char *source, const char *pipeline)
{
    char key[16 + CATALOG_NAME_SIZE];
    int64_t held_bytes = -1;
    size_t index;
    json_t *slot;
    (void)snprintf(key, sizeof key, "wal/%s", source != NULL ? source : "");
    const struct board_text *text = board_get(board, key);
    json_t *found = text != NULL ? json_loads(text->text, 0, NULL) : NULL;
    json_array_foreach(json_object_get(found, "slots"), index, slot)
    {
        const char *name = json_string_value(json_object_get(slot, "pipeline_name"));
        const json_t *bytes = json_object_get(slot, "held_back_bytes");
        if (name != NULL && strcmp(name, pipeline) == 0 && json_is_integer(bytes))
            held_bytes = json_integer_value(bytes);
    }
    json_decref(found);
    board_text_release(text);
    return held_bytes;
}
