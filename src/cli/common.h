// What several commands need: the catalog that --state or the environment names.
#ifndef ETL_CLI_COMMON_H
#define ETL_CLI_COMMON_H

#include "base/err.h"
#include "base/options.h"
#include "catalog/catalog.h"

// The option of every command that uses the catalog.
#define COMMAND_STATE_OPTION                                                                 \
    {                                                                                        \
        "state", "ETL_STATE", OPTION_TEXT, "FILE", "etl-stream.db", 0, 0, NULL,              \
            "the catalog, an SQLite file; with a CONFIG_DB_… variable it is that database" \
    }

// NULL: ERR_CONFIG or what went wrong. state: the value of COMMAND_STATE_OPTION.
struct catalog *command_catalog_open(const struct option_value *state, enum catalog_role role, struct err *out_error);
// What is configured in a database that holds no catalog of ours yet: the first etl-stream's, before our first start. False:
// what went wrong, or no error: there is nothing, or it would be an SQLite file.
struct catalog_config;
bool command_config_foresee(const struct option_value *state, struct catalog_config **out_config,
                            struct err *out_error);
// EXIT_USAGE where something has to be set right, EXIT_FAILED otherwise; tells the error.
int command_fail_kind(const struct err *error);

#endif
