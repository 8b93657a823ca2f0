// Where Snowflake is and as whom: parsed from --to
// 'snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=&role=&landing_schema=&key_file=&key_env=&passphrase_env=&host=&ca_file=
// &numeric_unbounded=&oversized='.
// Always https. Passphrases never appear in a URL: they come from the environment or a systemd credential (sf_key.h).
#ifndef ETL_SINKS_SNOWFLAKE_SF_CONFIG_H
#define ETL_SINKS_SNOWFLAKE_SF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "encode/typemap.h"

#define SF_LANDING_SCHEMA_DEFAULT "ETL_SCHEMA"

// Names of database, schemas, warehouse and role are as Snowflake stores them: folded to upper case unless they stood
// in double quotes in the URL ("%22name%22").
struct sf_config {
    char *account;  // as given; sf_config_account_claim() gives the upper-case identifier for the JWT
    char *user;     // as given; likewise sf_config_user_claim()
    char *database;
    char *schema;
    char *landing_schema;  // default ETL_SCHEMA
    char *warehouse;       // NULL: the user's default
    char *role;            // NULL: the user's default
    char *host;            // host[:port]; NULL: <account with _ as ->.snowflakecomputing.com
    char *ca_file;         // NULL: the system's
    char *key_file;        // PEM file, or
    char *key_env;         // name of an environment variable that holds the PEM; both NULL: see sf_key_load_configured
    char *passphrase_env;  // NULL: see sf_key_load_configured
    char *numeric_unbounded;  // number, varchar or float; NULL: number
    char *oversized;          // null, truncate or fail; NULL: null
};

// What they say of types.
struct typemap_options sf_config_types(const struct sf_config *config);
// False (ERR_CONFIG): the text says which part is wrong and what is allowed, and never repeats what may be a secret.
bool sf_config_parse(const char *url, struct sf_config *out_config, struct err *out_error);
void sf_config_deinit(struct sf_config *config);
bool sf_config_copy(const struct sf_config *config, struct sf_config *out_copy);  // false: no memory
// Same account, user, role and way there: one login serves both.
bool sf_config_is_same_login(const struct sf_config *a, const struct sf_config *b);
// "snowflake://USER@ACCOUNT/DATABASE/SCHEMA", for messages.
void sf_config_describe(const struct sf_config *config, char *out, size_t out_size);
// ACCOUNT of the JWT's iss and sub: upper case, without the region that follows the first '.' of a legacy locator.
void sf_config_account_claim(const struct sf_config *config, char *out, size_t out_size);
void sf_config_user_claim(const struct sf_config *config, char *out, size_t out_size);
// host[:port] that SQL API and token requests go to.
void sf_config_account_host(const struct sf_config *config, char *out, size_t out_size);

#endif
