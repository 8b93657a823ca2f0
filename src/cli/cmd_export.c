#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/objects.h"

static const struct option_spec options[] = {COMMAND_STATE_OPTION};

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    struct objects objects;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    static const char *const sections[] = {"sources", "destinations", "pipelines"};
    if (!command_parse(command, count, arguments, values, NULL, 0, &operand_count, &exit_code) ||
        !objects_open(&objects, &values[0], false, &exit_code))
        return exit_code;
    json_t *document = json_pack("{s:i}", "version", 1);
    CHECK(document != NULL);
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++) {
        json_t *section = json_object();
        for (uint32_t i = 0; i < objects.config->counts[kind]; i++)
            json_object_set_new(section, objects.config->objects[kind][i].name,
                                object_json(&objects.config->objects[kind][i], true));
        json_object_set_new(document, sections[kind], section);
    }
    bool is_written = json_dumpf(document, stdout, JSON_INDENT(2)) == 0 && printf("\n") > 0 && fflush(stdout) == 0;
    json_decref(document);
    objects_close(&objects);
    return is_written ? EXIT_DONE : EXIT_FAILED;
}

const struct command command_export = {
    .name = "export",
    .summary = "print sources, destinations and pipelines as JSON, without secrets",
    .usage = "export",
    .details = "The order is always the same, so that it can be kept in version control. etl-stream apply reads it.\n\n"
               "Example:\n  etl-stream export > etl-stream.json\n",
    .options = options,
    .option_count = 1,
    .run = run,
};
