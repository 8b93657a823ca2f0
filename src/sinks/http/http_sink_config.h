// Where rows are posted to: parsed from --to 'https://HOST[:PORT]/PATH?…'. The query's parameters compression, token_env, ca_file,
// http_timeout_ms and http_retry_attempts are ours and not sent; all others stay in the URL as they are.
#ifndef ETL_SINKS_HTTP_HTTP_SINK_CONFIG_H
#define ETL_SINKS_HTTP_HTTP_SINK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum http_compression { HTTP_COMPRESSION_NONE, HTTP_COMPRESSION_GZIP, HTTP_COMPRESSION_ZSTD };

struct http_sink_config {
    char *url;        // without what is ours
    char *text;       // for people: without query
    char *token_env;  // name of an environment variable that holds a bearer token; NULL: none is sent
    char *ca_file;    // NULL: the system's
    enum http_compression compression;
    uint32_t timeout_ms;
    uint32_t retry_attempts;  // further tries of a batch before the table shows its error
};

// False (ERR_CONFIG): the text says which part is wrong and what is allowed, and repeats neither user part nor query;
// nothing is left to free.
bool http_sink_config_parse(const char *url, struct http_sink_config *out_config, struct err *out_error);
void http_sink_config_deinit(struct http_sink_config *config);
void http_sink_config_copy(const struct http_sink_config *from, struct http_sink_config *out_copy);

#endif
