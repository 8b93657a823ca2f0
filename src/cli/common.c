#include "cli/common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "catalog/config.h"
#include "catalog/location.h"
#include "cli/command.h"
#include "io/json_put.h"

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

int command_tell(const struct command_answer *answer, const char *format, ...)
{
    char message[ERR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (!answer->is_json) {
        printf("%s\n", message);
        return EXIT_DONE;
    }
    json_t *object = json_object();
    CHECK(object != NULL);
    json_object_set_new(object, "done", json_boolean(answer->is_done));
    json_put_text(object, answer->kind, answer->name);
    if (answer->state != NULL && *answer->state != '\0')
        json_put_text(object, "state", answer->state);
    if (answer->steps != NULL)
        json_object_set(object, "steps", answer->steps);
    json_put_text(object, "message", message);
    char *text = json_dumps(object, JSON_INDENT(2));
    CHECK(text != NULL);
    printf("%s\n", text);
    free(text);
    json_decref(object);
    return EXIT_DONE;
}

void command_step(json_t *steps, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    CHECK(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    if (steps == NULL) {
        printf("%s\n", text);
        fflush(stdout);
    } else {
        json_array_append_new(steps, json_text(text));
    }
    free(text);
}

int command_fail_kind(const struct err *error)
{
    return command_fail(error, error->kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
}
