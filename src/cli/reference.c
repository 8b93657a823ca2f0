#include "cli/reference.h"

#include <inttypes.h>
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

static void print_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buf_append_text(out, "\\|");
        else if (*text == '\n')
            buf_append_byte(out, ' ');
        else
            buf_append_byte(out, (uint8_t)*text);
    }
}

static void print_allowed(struct buf *out, const struct option_spec *spec)
{
    switch (spec->kind) {
    case OPTION_NUMBER: buf_appendf(out, "%" PRId64 " to %" PRId64, spec->minimum, spec->maximum); return;
    case OPTION_FLAG: buf_appendf(out, "true, false"); return;
    case OPTION_CHOICE:
        for (const char *at = spec->choices; *at != '\0'; at++)
            if (*at == '|')
                buf_appendf(out, ", ");
            else
                buf_append_byte(out, (uint8_t)*at);
        return;
    case OPTION_TEXT: return;
    }
}

static void print_default(struct buf *out, const struct option_spec *spec)
{
    if (spec->default_value != NULL)
        buf_appendf(out, "`%s`", spec->default_value);
}

static void print_settings(struct buf *out, enum catalog_kind kind, const char *title)
{
    const struct setting *setting;
    buf_appendf(out, "\n## %s\n\n| option | in the catalog | default | allowed | |\n|---|---|---|---|---|\n", title);
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++) {
        buf_appendf(out, "| `--%s` | `%s`%s | ", setting->option.name, setting->name,
                    setting->is_column ? "" : " (setting)");
        print_default(out, &setting->option);
        buf_appendf(out, " | ");
        print_allowed(out, &setting->option);
        buf_appendf(out, " | ");
        print_escaped(out, setting->option.help);
        if (setting->only_of != NULL)
            buf_appendf(out, " (%s)", setting->only_of);
        if (setting->option.variable != NULL)
            buf_appendf(out, " — variable `%s`", setting->option.variable);
        buf_appendf(out, " |\n");
    }
}

// Each variable once, though several commands may know it.
static void print_variables(struct buf *out)
{
    size_t count = 0;
    const struct option_spec *specs = catalog_location_variables(&count);
    buf_appendf(out, "\n## Variables\n\n| variable | default | allowed | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        buf_appendf(out, "| `%s` | ", specs[i].name);
        print_default(out, &specs[i]);
        buf_appendf(out, " | ");
        print_allowed(out, &specs[i]);
        buf_appendf(out, " | ");
        print_escaped(out, specs[i].help);
        buf_appendf(out, " |\n");
    }
    for (size_t i = 0; i < command_run.option_count; i++) {
        const struct option_spec *spec = &command_run.options[i];
        if (spec->variable == NULL)
            continue;
        buf_appendf(out, "| `%s` | ", spec->variable);
        print_default(out, spec);
        buf_appendf(out, " | ");
        print_allowed(out, spec);
        buf_appendf(out, " | ");
        print_escaped(out, spec->help);
        buf_appendf(out, " (`run --%s`) |\n", spec->name);
    }
    buf_appendf(
        out,
        "| `ETL_API_TOKEN` |  | 16 to 512 printable ASCII characters | the token itself; wiped from the environment "
        "once it is read |\n");
    buf_appendf(out, "| `LOG_FORMAT` | lines on a terminal, else json | text, json | how log lines look |\n"
                     "| `LOG_LEVEL` | `info` | debug, info, warning, error | which log lines are written |\n");
}

void reference_write(struct buf *out)
{
    buf_append_text(out, head);
    print_variables(out);
    print_settings(out, CATALOG_SOURCE, "Sources");
    print_settings(out, CATALOG_DESTINATION, "Destinations");
    print_settings(out, CATALOG_PIPELINE, "Pipelines");
    buf_appendf(out, "\n`run --from --to` takes a pipeline's options as well.\n");
}
