#include "supervisor/destination.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "catalog/settings.h"
#include "sinks/file/file_sink.h"
#include "sinks/http/http_sink.h"
#include "sinks/snowflake/sf_sink.h"

static bool has_scheme(const char *url, const char *scheme)
{
    return strncmp(url, scheme, strlen(scheme)) == 0;
}

static bool parse_snowflake(const char *url, struct destination *destination, struct err *out_error)
{
    destination->kind = DESTINATION_SNOWFLAKE;
    if (!sf_config_parse(url, &destination->snowflake, out_error))
        return false;
    sf_config_describe(&destination->snowflake, destination->text, sizeof destination->text);
    return true;
}

static bool parse_http(const char *url, struct destination *destination, struct err *out_error)
{
    destination->kind = DESTINATION_HTTP;
    if (!http_sink_config_parse(url, &destination->http, out_error))
        return false;
    (void)snprintf(destination->text, sizeof destination->text, "%s", destination->http.text);
    return true;
}

static bool parse_file(const char *url, struct destination *destination, struct err *out_error)
{
    destination->kind = DESTINATION_FILE;
    if (!file_config_parse(url, &destination->file, out_error))
        return false;
    file_config_describe(&destination->file, destination->text, sizeof destination->text);
    return true;
}

bool destination_is_snowflake(const char *text)
{
    return has_scheme(text, "snowflake://");
}

bool destination_parse(const char *url, struct destination *out_destination, struct err *out_error)
{
    memset(out_destination, 0, sizeof *out_destination);
    if (destination_is_snowflake(url))
        return parse_snowflake(url, out_destination, out_error);
    if (has_scheme(url, "http://") || has_scheme(url, "https://"))
        return parse_http(url, out_destination, out_error);
    if (has_scheme(url, "file:"))
        return parse_file(url, out_destination, out_error);
    return err_set(out_error, ERR_CONFIG, "to",
                   "the destination is no URL of a kind that is known; allowed are "
                   "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&key_file=PATH, https://HOST/PATH, "
                   "http://HOST/PATH and file:DIRECTORY");
}

void destination_deinit(struct destination *destination)
{
    sf_config_deinit(&destination->snowflake);
    http_sink_config_deinit(&destination->http);
    file_config_deinit(&destination->file);
    memset(destination, 0, sizeof *destination);
}

bool destination_copy(const struct destination *from, struct destination *out_copy)
{
    memset(out_copy, 0, sizeof *out_copy);
    out_copy->kind = from->kind;
    memcpy(out_copy->text, from->text, sizeof out_copy->text);
    switch (from->kind) {
    case DESTINATION_SNOWFLAKE: return sf_config_copy(&from->snowflake, &out_copy->snowflake);
    case DESTINATION_HTTP: http_sink_config_copy(&from->http, &out_copy->http); return true;
    case DESTINATION_FILE: file_config_copy(&from->file, &out_copy->file); return true;
    }
    check_failed("a known destination", __FILE__, __LINE__);
}

bool destination_wants_key(const struct destination *destination)
{
    return destination->kind == DESTINATION_SNOWFLAKE;
}

_Static_assert((int)SF_NAMING_TABLE == (int)TARGET_NAMING_TABLE &&
                   (int)SF_NAMING_SCHEMA_TABLE == (int)TARGET_NAMING_SCHEMA_TABLE &&
                   (int)SF_NAMING_SCHEMA == (int)TARGET_NAMING_SCHEMA,
               "the setting's choices are the sink's");

static struct sink *snowflake_new(const struct destination *destination, const struct destination_tools *tools,
                                  const struct destination_sink_options *options, const struct sink_events *events)
{
    const struct sf_sink_options snowflake = {
        .loop = tools->loop,
        .http = tools->http,
        .zstd = tools->zstd,
        .auth = tools->auth,
        .config = &destination->snowflake,
        .pipeline = options->pipeline,
        .identity = options->identity,
        .budget_bytes = options->budget_bytes,
        .batch_rows_max = options->batch_rows_max,
        .batch_fill_ms_max = options->batch_fill_ms_max,
        .channels_per_table = options->channels_per_table,
        .naming = {.target = (enum sf_target_naming)options->target_naming,
                   .preserves_case = options->identifier_case == IDENTIFIER_CASE_PRESERVE},
        .replaces_existing = options->existing_tables == EXISTING_TABLES_REPLACE,
        .merge_timeout_s = options->merge_timeout_s,
        .landing_retention_s = options->landing_retention_s,
        .soft_deletes = options->soft_deletes,
        .landing_commit_time = options->landing_commit_time,
        .lock_timeout_s = options->merge_lock_timeout_s};
    return sf_sink_new(&snowflake, events);
}

struct sink *destination_sink_new(const struct destination *destination, const struct destination_tools *tools,
                                  const struct destination_sink_options *options, const struct sink_events *events,
                                  struct err *out_error)
{
    const struct http_sink_options http = {.loop = tools->loop,
                                           .http = tools->http,
                                           .zstd = tools->zstd,
                                           .config = &destination->http,
                                           .breaker = tools->breaker,
                                           .pipeline = options->pipeline,
                                           .budget_bytes = options->budget_bytes,
                                           .preserves_case = options->identifier_case == IDENTIFIER_CASE_PRESERVE,
                                           .has_commit_at = options->landing_commit_time};
    const struct file_sink_options file = {.loop = tools->loop,
                                           .config = &destination->file,
                                           .pipeline = options->pipeline,
                                           .identity = options->identity,
                                           .budget_bytes = options->budget_bytes,
                                           .preserves_case = options->identifier_case == IDENTIFIER_CASE_PRESERVE,
                                           .has_commit_at = options->landing_commit_time};
    if (destination->kind != DESTINATION_SNOWFLAKE && options->soft_deletes) {
        err_set(out_error, ERR_CONFIG, "soft_deletes",
                "%s has no targets in which deleted rows could be kept; leave out soft_deletes", destination->text);
        return NULL;
    }
    switch (destination->kind) {
    case DESTINATION_SNOWFLAKE: return snowflake_new(destination, tools, options, events);
    case DESTINATION_HTTP: return http_sink_new(&http, events, out_error);
    case DESTINATION_FILE: return file_sink_new(&file, events, out_error);
    }
    check_failed("a known destination", __FILE__, __LINE__);
}
