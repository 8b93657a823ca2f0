#include "cli/common.h"

#include "catalog/config.h"
#include "catalog/location.h"
#include "cli/command.h"

struct catalog *command_catalog_open(const struct option_value *state, enum catalog_role role, struct err *out_error)
{
    struct catalog_location location;
    if (!catalog_location_read(state->text, state->is_given, &location, out_error))
        return NULL;
    struct catalog *catalog = catalog_open(&location, role, out_error);
    catalog_location_deinit(&location);
    return catalog;
}

bool command_config_foresee(const struct option_value *state, struct catalog_config **out_config, struct err *out_error)
{
    struct catalog_location location;
    *out_config = NULL;
    if (!catalog_location_read(state->text, state->is_given, &location, out_error))
        return false;
    bool is_read = location.is_postgres && catalog_config_foresee(&location, out_config, out_error);
    catalog_location_deinit(&location);
    return is_read;
}

int command_fail_kind(const struct err *error)
{
    return command_fail(error, error->kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
}
