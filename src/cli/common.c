#include "cli/common.h"

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

int command_fail_kind(const struct err *error)
{
    return command_fail(error, error->kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
}
