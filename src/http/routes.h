// Every path that is served: one table.
#ifndef ETL_HTTP_ROUTES_H
#define ETL_HTTP_ROUTES_H

#include <stdbool.h>

#include "http/guard.h"
#include "http/request.h"

struct http_route {
    const char *path;  // "/api/v1/pipelines/{name}/start": {name} is one or more bytes
    enum http_access access;
    bool is_post;        // else GET and HEAD
    bool is_on_metrics;  // at METRICS_ADDR as well; all are at HEALTH_ADDR
    void (*answer)(struct http_request *request);
};

// NULL: there is no such path, or (*out_is_known) none with this method. out_name: what stood for {name}.
const struct http_route *http_route_find(const char *path, bool is_post, bool is_metrics_only,
                                         char out_name[HTTP_NAME_SIZE], bool *out_is_known);

// probes.c
void probe_health(struct http_request *request);
void probe_ready(struct http_request *request);
void probe_liveness(struct http_request *request);
void probe_metrics(struct http_request *request);
// api.c
void api_status(struct http_request *request);
void api_pipeline(struct http_request *request);
void api_history(struct http_request *request);
// page.c
void page_index(struct http_request *request);
void page_file(struct http_request *request);
// control.c
void api_start(struct http_request *request);
void api_pause(struct http_request *request);
void api_resync(struct http_request *request);

#endif
