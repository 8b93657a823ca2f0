#include "supervisor/watching.h"

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
                   struct err *out_error)
{
    *watching = (struct watching){0};
    if (settings == NULL)
        return true;
    watching->monitor = monitor_new(settings, board, out_error);
    return watching->monitor != NULL;
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
