#include "cli/reference.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/location.h"
#include "catalog/settings.h"
#include "cli/command.h"

static const char head[] =
    "# Configuration\n\n"
    "<!-- made by: etl-stream help configuration > docs/configuration.md -->\n\n"
    "What is configured is in the **catalog**: sources, destinations, pipelines, and how far each pipeline is. It is "
    "an SQLite\n"
    "file, or a PostgreSQL database that several processes may share.\n\n"
    "- Without any `CONFIG_DB_…` variable it is the file that `--state` or `ETL_STATE` names (default "
    "`etl-stream.db`), mode 0600.\n"
    "  One service at a time uses it; commands work beside it.\n"
    "- With any of them it is that database. The tables are made at the first use; the user needs CREATE on the schema "
    "for that.\n"
    "  Connect to PostgreSQL itself: a pooler that shares sessions loses the locks by which a pipeline is claimed. TLS "
    "as libpq\n"
    "  does it (`PGSSLMODE`, `PGSSLROOTCERT`).\n"
    "- `--state` on the command line wins over both.\n\n"
    "The tables `sources`, `destinations` and `pipelines` are those of the first etl-stream and may be changed with "
    "plain SQL; what\n"
    "they have no column for is in `etl_settings` (owner, owner_id, name, value). Everything else that begins with "
    "`etl_` is the\n"
    "program's own. A change takes effect by itself: a pipeline whose configuration changed starts again with it.\n\n"
    "Variables are also read from a file `.env` in the working directory; the environment wins. A value that is not "
    "allowed is\n"
    "refused with its name, the value, and what is allowed. A setting that a pipeline does not have comes from its "
    "variable,\n"
    "then from the default. Secrets that are kept in the catalog are never shown; `export` leaves them out.\n";

static void print_escaped(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            printf("\\|");
        else if (*text == '\n')
            printf(" ");
        else
            printf("%c", *text);
    }
}

static void print_allowed(const struct option_spec *spec)
{
    switch (spec->kind) {
    case OPTION_NUMBER: printf("%" PRId64 " to %" PRId64, spec->minimum, spec->maximum); return;
    case OPTION_FLAG: printf("true, false"); return;
    case OPTION_CHOICE:
        for (const char *at = spec->choices; *at != '\0'; at++)
            if (*at == '|')
                printf(", ");
            else
                printf("%c", *at);
        return;
    case OPTION_TEXT: return;
    }
}

static void print_default(const struct option_spec *spec)
{
    if (spec->default_value != NULL)
        printf("`%s`", spec->default_value);
}

static void print_settings(enum catalog_kind kind, const char *title)
{
    const struct setting *setting;
    printf("\n## %s\n\n| option | in the catalog | default | allowed | |\n|---|---|---|---|---|\n", title);
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++) {
        printf("| `--%s` | `%s`%s | ", setting->option.name, setting->name, setting->is_column ? "" : " (setting)");
        print_default(&setting->option);
        printf(" | ");
        print_allowed(&setting->option);
        printf(" | ");
        print_escaped(setting->option.help);
        if (setting->only_of != NULL)
            printf(" (%s)", setting->only_of);
        if (setting->option.variable != NULL)
            printf(" — variable `%s`", setting->option.variable);
        printf(" |\n");
    }
}

// Each variable once, though several commands may know it.
static void print_variables(void)
{
    size_t count = 0;
    const struct option_spec *specs = catalog_location_variables(&count);
    printf("\n## Variables\n\n| variable | default | allowed | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        printf("| `%s` | ", specs[i].name);
        print_default(&specs[i]);
        printf(" | ");
        print_allowed(&specs[i]);
        printf(" | ");
        print_escaped(specs[i].help);
        printf(" |\n");
    }
    for (size_t i = 0; i < command_run.option_count; i++) {
        const struct option_spec *spec = &command_run.options[i];
        if (spec->variable == NULL)
            continue;
        printf("| `%s` | ", spec->variable);
        print_default(spec);
        printf(" | ");
        print_allowed(spec);
        printf(" | ");
        print_escaped(spec->help);
        printf(" (`run --%s`) |\n", spec->name);
    }
    printf("| `LOG_FORMAT` | lines on a terminal, else json | text, json | how log lines look |\n"
           "| `LOG_LEVEL` | `info` | debug, info, warning, error | which log lines are written |\n");
}

void reference_print(void)
{
    fputs(head, stdout);
    print_variables();
    print_settings(CATALOG_SOURCE, "Sources");
    print_settings(CATALOG_DESTINATION, "Destinations");
    print_settings(CATALOG_PIPELINE, "Pipelines");
    printf("\n`run --from --to` takes a pipeline's options as well.\n");
}
