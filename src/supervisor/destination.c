#include "supervisor/destination.h"

#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_sink.h"

static bool has_scheme(const char *url, const char *scheme)
{
    return strncmp(url, scheme, strlen(scheme)) == 0;
}

bool destination_parse(const char *url, struct destination *out_destination, struct err *out_error)
{
    memset(out_destination, 0, sizeof *out_destination);
    if (!has_scheme(url, "snowflake://"))
        return err_set(out_error, ERR_CONFIG, "to",
                       "the destination is no snowflake:// URL; allowed is "
                       "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&key_file=PATH");
    out_destination->kind = DESTINATION_SNOWFLAKE;
    if (!sf_config_parse(url, &out_destination->snowflake, out_error))
        return false;
    sf_config_describe(&out_destination->snowflake, out_destination->text, sizeof out_destination->text);
    return true;
}

void destination_deinit(struct destination *destination)
{
    sf_config_deinit(&destination->snowflake);
    memset(destination, 0, sizeof *destination);
}

bool destination_copy(const struct destination *from, struct destination *out_copy)
{
    memset(out_copy, 0, sizeof *out_copy);
    out_copy->kind = from->kind;
    memcpy(out_copy->text, from->text, sizeof out_copy->text);
    return from->kind != DESTINATION_SNOWFLAKE || sf_config_copy(&from->snowflake, &out_copy->snowflake);
}

bool destination_wants_key(const struct destination *destination)
{
    return destination->kind == DESTINATION_SNOWFLAKE;
}

struct sink *destination_sink_new(const struct destination *destination, const struct destination_tools *tools,
                                  const struct destination_sink_options *options, const struct sink_events *events)
{
    CHECK(destination->kind == DESTINATION_SNOWFLAKE);
    struct sf_sink_options snowflake = {.loop = tools->loop,
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
                                        .merge_timeout_s = options->merge_timeout_s,
                                        .soft_deletes = options->soft_deletes,
                                        .landing_commit_time = options->landing_commit_time,
                                        .lock_timeout_s = options->merge_lock_timeout_s};
    return sf_sink_new(&snowflake, events);
}
