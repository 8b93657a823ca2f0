// Where Snowflake is and as whom: parsed from --to 'snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=&role=&landing_schema=&key_file=&key_env=&passphrase_env=&host=&ca_file='.
// Always https. Passphrases never appear in a URL: they come from the environment (default SNOWFLAKE_PRIVATE_KEY_PASSPHRASE) or a systemd credential.
#ifndef ETL_SINKS_SNOWFLAKE_SF_CONFIG_H
#define ETL_SINKS_SNOWFLAKE_SF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct sf_config {
    char *account;         // as given; sf_config_account_claim() gives the upper-case identifier for the JWT
    char *user;
    char *database;        // folded to upper case unless quoted in the URL ("%22name%22")
    char *schema;
    char *landing_schema;  // default ETL_SCHEMA
    char *warehouse;
    char *role;            // NULL: the user's default
    char *host;            // host[:port]; NULL: <account with _ as ->.snowflakecomputing.com
    char *ca_file;         // NULL: the system's
    char *key_file;        // PEM file, or
    char *key_env;         // name of an environment variable that holds the PEM
    char *passphrase_env;
};

bool sf_config_parse(const char *url, struct sf_config *out_config, struct err *out_error);
void sf_config_deinit(struct sf_config *config);
// "snowflake://USER@ACCOUNT/DATABASE/SCHEMA", for messages.
void sf_config_describe(const struct sf_config *config, char *out, size_t out_size);

#endif
