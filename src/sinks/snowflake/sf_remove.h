// What a removed pipeline leaves in Snowflake, taken away: its channels, its state table, and, if asked, its landing tables.
// Targets are never touched. No statement needs a warehouse. One at a time; may be called again after a failure: what is
// gone already counts as removed.
#ifndef ETL_SINKS_SNOWFLAKE_SF_REMOVE_H
#define ETL_SINKS_SNOWFLAKE_SF_REMOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sinks/snowflake/sf_auth.h"
#include "sinks/snowflake/sf_config.h"

struct sf_remove;

struct sf_remove_channel {
    const char *schema_name, *table_name;  // of the source's table
    const char *channel;
};

struct sf_remove_table {
    const char *schema_name, *table_name;
};

struct sf_remove_options {
    struct loop *loop;
    struct http_client *http;
    struct sf_auth *auth;
    const struct sf_config *config;
    const char *pipeline;
    bool drops_landing;
    const char *identity;                      // of the channels' names
    const struct sf_remove_channel *channels;  // that the catalog knows; all borrowed until sf_remove_free
    uint32_t channel_count;
    // Of which other channels may be there: of copies that were given up, of earlier epochs. They are asked for.
    const struct sf_remove_table *tables;
    uint32_t table_count;
};

struct sf_remove_events {
    void (*on_step)(void *context, const char *text);         // what was removed or stays, for a person
    void (*on_done)(void *context, const struct err *error);  // NULL: all of it
    void *context;
};

struct sf_remove *sf_remove_new(const struct sf_remove_options *options, const struct sf_remove_events *events);
void sf_remove_start(struct sf_remove *remove);
void sf_remove_free(struct sf_remove *remove);  // not inside its events

#endif
