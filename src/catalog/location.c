#include "catalog/location.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/options.h"

enum { HOST, PORT, DATABASE, USERNAME, PASSWORD, COUNT };

// The contract's names and defaults.
static const struct option_spec specs[COUNT] = {
    [HOST] = {"CONFIG_DB_HOST", NULL, OPTION_TEXT, "HOST", "localhost", 0, 0, NULL,
              "any CONFIG_DB_… variable: the catalog is this PostgreSQL database, not the state file"},
    [PORT] = {"CONFIG_DB_PORT", NULL, OPTION_NUMBER, "PORT", "5432", 1, 65535, NULL, "its port"},
    [DATABASE] = {"CONFIG_DB_DATABASE", NULL, OPTION_TEXT, "NAME", "etl_config", 0, 0, NULL, "its database"},
    [USERNAME] = {"CONFIG_DB_USERNAME", NULL, OPTION_TEXT, "NAME", "postgres", 0, 0, NULL, "who signs in"},
    [PASSWORD] = {"CONFIG_DB_PASSWORD", NULL, OPTION_TEXT, "PASSWORD", NULL, 0, 0, NULL, "and the password"},
};

static char *copy(const char *text)
{
    char *out = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || out != NULL);
    return out;
}

static const char *given(unsigned which)
{
    const char *value = getenv(specs[which].name);
    return value != NULL && *value != '\0' ? value : NULL;
}

const struct option_spec *catalog_location_variables(size_t *out_count)
{
    *out_count = COUNT;
    return specs;
}

bool catalog_location_read(const char *path, bool is_path_given, struct catalog_location *out_location,
                           struct err *out_error)
{
    struct option_value port;
    *out_location = (struct catalog_location){0};
    for (unsigned i = 0; i < COUNT; i++)
        out_location->is_postgres |= given(i) != NULL && !is_path_given;
    if (!out_location->is_postgres) {
        out_location->path = copy(path);
        (void)snprintf(out_location->text, sizeof out_location->text, "state file %s", path);
        return true;
    }
    const char *port_text = given(PORT) != NULL ? given(PORT) : specs[PORT].default_value;
    if (!options_read_value(&specs[PORT], specs[PORT].name, port_text, &port, out_error))
        return false;
    out_location->host = copy(given(HOST) != NULL ? given(HOST) : specs[HOST].default_value);
    out_location->port = copy(port_text);
    out_location->database = copy(given(DATABASE) != NULL ? given(DATABASE) : specs[DATABASE].default_value);
    out_location->username = copy(given(USERNAME) != NULL ? given(USERNAME) : specs[USERNAME].default_value);
    out_location->password = copy(given(PASSWORD));
    (void)snprintf(out_location->text, sizeof out_location->text, "catalog %s@%s:%s/%s", out_location->username,
                   out_location->host, out_location->port, out_location->database);
    return true;
}

void catalog_location_copy(const struct catalog_location *location, struct catalog_location *out_copy)
{
    *out_copy = *location;
    out_copy->path = copy(location->path);
    out_copy->host = copy(location->host);
    out_copy->port = copy(location->port);
    out_copy->database = copy(location->database);
    out_copy->username = copy(location->username);
    out_copy->password = copy(location->password);
}

void catalog_location_deinit(struct catalog_location *location)
{
    free(location->path);
    free(location->host);
    free(location->port);
    free(location->database);
    free(location->username);
    if (location->password != NULL)
        explicit_bzero(location->password, strlen(location->password));
    free(location->password);
    *location = (struct catalog_location){0};
}
