// Where the catalog is. Any CONFIG_DB_* variable means the PostgreSQL database that they name (compatibility.md), none
// means the SQLite file that ETL_STATE or --state names.
#ifndef ETL_CATALOG_LOCATION_H
#define ETL_CATALOG_LOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/options.h"

// Codes of errors of catalog_open: a reader finds that nothing was ever made there; the version is another.
#define CATALOG_ERROR_NONE "no_catalog"
#define CATALOG_ERROR_VERSION "catalog_version"

struct catalog_location {
    bool is_postgres;
    char *path;  // SQLite
    char *host, *port, *database, *username;
    char *password;  // NULL: as libpq finds it; wiped by deinit
    char text
        [320];  // for people, without secrets: "state file etl-stream.db", "catalog postgres@localhost:5432/etl_config"
};

// path: the value of --state. is_path_given: it stood on the command line, and then wins over CONFIG_DB_*. False: ERR_CONFIG naming the variable, its
// value and what is allowed; nothing is left to free.
bool catalog_location_read(const char *path, bool is_path_given, struct catalog_location *out_location,
                           struct err *out_error);
void catalog_location_copy(const struct catalog_location *location, struct catalog_location *out_copy);
// The CONFIG_DB_* variables, for help and documents.
const struct option_spec *catalog_location_variables(size_t *out_count);
void catalog_location_deinit(struct catalog_location *location);

#endif
