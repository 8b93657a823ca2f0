#include "http/health.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct health health_read(const char *service, int64_t published_us, int64_t now_us)
{
    json_t *object = service != NULL ? json_loads(service, 0, NULL) : NULL;
    const json_t *catalog = json_object_get(object, "catalog"), *pipelines = json_object_get(object, "pipelines");
    const char *since = json_string_value(json_object_get(catalog, "failing_since"));
    struct health health = {.is_fresh = now_us - published_us <= HEALTH_FRESH_US,
                            .active = json_integer_value(json_object_get(pipelines, "active"))};
    health.is_ready = health.is_fresh && json_is_true(json_object_get(object, "is_ready"));
    // Until the first word the catalog counts as healthy: it was opened before.
    health.is_database_healthy = service == NULL || json_is_true(json_object_get(catalog, "healthy"));
    // Probes are open to everybody: what exactly is wrong is for /api and the log.
    if (health.is_database_healthy)
        (void)snprintf(health.database_message, sizeof health.database_message, "%s",
                       since == NULL ? "the catalog answers" : "the catalog has just failed, and is asked again");
    else
        (void)snprintf(health.database_message, sizeof health.database_message, "the catalog fails%s%s",
                       since != NULL ? " since " : "", since != NULL ? since : ": it does not answer");
    json_decref(object);
    return health;
}
