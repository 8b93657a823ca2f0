// Rows posted to a URL as NDJSON; a 2xx is the acknowledgement. At least once: what was acknowledged and not yet in the catalog
// when the program ended comes again, under the same sequences. Formats and headers: docs/destinations.md.
#ifndef ETL_SINKS_HTTP_HTTP_SINK_H
#define ETL_SINKS_HTTP_HTTP_SINK_H

#include <stddef.h>

#include "base/err.h"
#include "encode/zstd_frame.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/http/http_sink_config.h"
#include "sinks/sink.h"

struct http_sink_options {
    struct loop *loop;
    struct http_client *http;
    struct zstd_worker *zstd;
    const struct http_sink_config *config;  // borrowed
    struct breaker *breaker;                // the receiver's, borrowed; NULL: none
    const char *pipeline;                   // name, borrowed
    size_t budget_bytes;
    bool preserves_case;  // of column names
    bool has_commit_at;   // rows carry their commit's time
};

// NULL (ERR_CONFIG): the token's environment variable is not set.
struct sink *http_sink_new(const struct http_sink_options *options, const struct sink_events *events,
                           struct err *out_error);

#endif
