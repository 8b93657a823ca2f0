// A destination as a person names it (--to), and the sink that serves it: the one place that knows all kinds of them.
#ifndef ETL_SUPERVISOR_DESTINATION_H
#define ETL_SUPERVISOR_DESTINATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "encode/zstd_frame.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/file/file_config.h"
#include "sinks/http/http_sink_config.h"
#include "sinks/sink.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_config.h"

enum destination_kind { DESTINATION_SNOWFLAKE, DESTINATION_HTTP, DESTINATION_FILE };

struct destination {
    enum destination_kind kind;
    struct sf_config snowflake;  // the one of its kind is set
    struct http_sink_config http;
    struct file_config file;
    char text[256];  // for people, without secrets
};

// What a worker lends to the sinks on its loop; all borrowed.
struct destination_tools {
    struct loop *loop;
    struct http_client *http;
    struct zstd_worker *zstd;
    struct sf_auth *auth;     // Snowflake: of the destination's account and user
    struct breaker *breaker;  // http: of the destination's URL; NULL: none
};

struct destination_sink_options {
    const char *pipeline;  // name, borrowed
    const char *identity;  // see sink_new in pipeline.h
    size_t budget_bytes;   // what rows on their way may hold
    uint32_t batch_rows_max, batch_fill_ms_max;
    uint32_t channels_per_table;
    unsigned target_naming, identifier_case, existing_tables;  // enums of catalog/settings.h
    uint32_t merge_timeout_s, merge_lock_timeout_s;
    uint32_t landing_retention_s;
    bool soft_deletes;  // of destinations that merge; refused by others
    bool landing_commit_time;
};

// Touches neither network nor disk. False (ERR_CONFIG): the text says which part is wrong and what is allowed; nothing is
// left to free.
bool destination_parse(const char *url, struct destination *out_destination, struct err *out_error);
void destination_deinit(struct destination *destination);
bool destination_is_snowflake(const char *text);  // by what begins it, also where it is a text for people
bool destination_copy(const struct destination *from, struct destination *out_copy);  // false: no memory
// It signs in with a private key, which has to be loaded (sf_key_load_configured) for destination_tools.auth.
bool destination_wants_key(const struct destination *destination);
// The destination is borrowed for the sink's life. NULL: out_error says what this machine lacks (a token's variable, …).
struct sink *destination_sink_new(const struct destination *destination, const struct destination_tools *tools,
                                  const struct destination_sink_options *options, const struct sink_events *events,
                                  struct err *out_error);

#endif
