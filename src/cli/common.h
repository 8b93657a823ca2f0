// What several commands need: the catalog that --state or the environment names.
#ifndef ETL_CLI_COMMON_H
#define ETL_CLI_COMMON_H

#include <jansson.h>

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
// The option of every command that changes something, and says so.
#define COMMAND_JSON_OPTION                                                                                      \
    {                                                                                                            \
        "json", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,                                                       \
            "one JSON document for machines: done, message, what it is of; what fails is told on standard error" \
    }

// What a command has done, or what it has made sure will be.
struct command_answer {
    bool is_json;
    bool is_done;             // it is so now; else it will be
    const char *kind, *name;  // "pipeline", "shop"
    const char *state;        // the pipeline's; NULL or empty: left out
    json_t *steps;            // what was done on the way, texts; borrowed; NULL: left out
};
// Tells it on standard output: a line, or one JSON document as the API answers. EXIT_DONE.
__attribute__((format(printf, 2, 3))) int command_tell(const struct command_answer *answer, const char *format, ...);
// What is done on the way to it, a line for a person. steps: the answer's, which takes it instead; NULL: it is printed.
__attribute__((format(printf, 2, 3))) void command_step(json_t *steps, const char *format, ...);
// EXIT_USAGE where something has to be set right, EXIT_FAILED otherwise; tells the error.
int command_fail_kind(const struct err *error);

#endif
