#include "http/routes.h"

#include <string.h>

static const struct http_route routes[] = {
    {"/metrics", HTTP_OPEN, false, true, probe_metrics},
    {"/health", HTTP_OPEN, false, false, probe_health},
    {"/ready", HTTP_OPEN, false, false, probe_ready},
    {"/liveness", HTTP_OPEN, false, false, probe_liveness},
    {"/", HTTP_READ, false, false, page_index},
    {"/page/{name}", HTTP_READ, false, false, page_file},
    {"/api/v1/status", HTTP_READ, false, false, api_status},
    {"/api/v1/pipelines/{name}", HTTP_READ, false, false, api_pipeline},
    {"/api/v1/pipelines/{name}/history", HTTP_READ, false, false, api_history},
    {"/api/v1/pipelines/{name}/start", HTTP_CHANGE, true, false, api_start},
    {"/api/v1/pipelines/{name}/pause", HTTP_CHANGE, true, false, api_pause},
    {"/api/v1/pipelines/{name}/resync", HTTP_CHANGE, true, false, api_resync},
};

static bool is_match(const char *pattern, const char *path, char out_name[HTTP_NAME_SIZE])
{
    const char *open = strchr(pattern, '{');
    out_name[0] = '\0';
    if (open == NULL)
        return strcmp(pattern, path) == 0;
    const char *rest = strchr(open, '}') + 1;
    size_t before = (size_t)(open - pattern), after = strlen(rest), size = strlen(path);
    if (size <= before + after || size - before - after >= HTTP_NAME_SIZE || strncmp(path, pattern, before) != 0 ||
        strcmp(path + size - after, rest) != 0)
        return false;
    memcpy(out_name, path + before, size - before - after);
    out_name[size - before - after] = '\0';
    return true;
}

const struct http_route *http_route_find(const char *path, bool is_post, bool is_metrics_only,
                                         char out_name[HTTP_NAME_SIZE], bool *out_is_known)
{
    *out_is_known = false;
    // The last that fits is the longest: behind {name} alone everything would fit.
    for (size_t i = sizeof routes / sizeof routes[0]; i-- > 0;) {
        const struct http_route *route = &routes[i];
        if ((is_metrics_only && !route->is_on_metrics) || !is_match(route->path, path, out_name))
            continue;
        *out_is_known = true;
        if (route->is_post == is_post)
            return route;
        break;
    }
    return NULL;
}
