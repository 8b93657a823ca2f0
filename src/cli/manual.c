#include "cli/manual.h"

#include <inttypes.h>
#include <string.h>

#include "catalog/location.h"
#include "cli/command.h"

static const char head[] =
    ".\\\" made by: etl-stream help manual > docs/etl-stream.1\n"
    ".TH ETL\\-STREAM 1 \"\" \"etl\\-stream " ETL_VERSION "\" \"User Commands\"\n"
    ".SH NAME\n"
    "etl\\-stream \\- copy PostgreSQL tables into Snowflake and keep them current\n"
    ".SH SYNOPSIS\n"
    ".B etl\\-stream\n"
    ".I COMMAND\n"
    ".RI [ OPTION \\&...]\n"
    ".SH DESCRIPTION\n"
    "Reads a publication of PostgreSQL by logical replication, appends every change to landing tables in Snowflake by "
    "Snowpipe\n"
    "Streaming, and merges the landing tables into the targets, all tables of a pipeline in one transaction.\n"
    ".B run \\-\\-from \\-\\-to\n"
    "needs no set\\-up; otherwise the catalog holds sources, destinations and pipelines, and\n"
    ".B run\n"
    "is the service that runs them.\n";

static const char tail[] =
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\ndone\n.TP\n.B 1\nfailed, or something is missing\n"
    ".TP\n.B 2\nwrong usage or configuration; one line on standard error says what, and what is allowed\n"
    ".TP\n.B 130\nended at once by a second signal\n"
    ".SH FILES\n"
    ".TP\n.I etl\\-stream.db\nthe catalog where no other is named; keep it\n"
    ".TP\n.I .env\nvariables, read from the working directory; the environment wins\n"
    ".SH SIGNALS\n"
    "SIGTERM and SIGINT end the service cleanly: it finishes what is in flight. A second one ends it at once; nothing "
    "is lost\n"
    "either way.\n"
    ".SH SEE ALSO\n"
    ".BR psql (1),\n"
    "and the documents in share/doc/etl\\-stream beside it: tutorial, operations, configuration, guarantees.\n";

// Text as it is: no backslash, hyphen, or dot or quote at a line's beginning has a meaning of its own.
static void append_text(struct buf *out, const char *text)
{
    bool is_at_start = true;
    for (; *text != '\0'; text++) {
        if (is_at_start && (*text == '.' || *text == '\''))
            buf_append_text(out, "\\&");
        if (*text == '\\')
            buf_append_text(out, "\\e");
        else if (*text == '-')
            buf_append_text(out, "\\-");
        else
            buf_append_byte(out, (uint8_t)*text);
        is_at_start = *text == '\n';
    }
}

static void append_allowed(struct buf *out, const struct option_spec *spec)
{
    if (spec->kind == OPTION_NUMBER)
        buf_appendf(out, " From %" PRId64 " to %" PRId64 ".", spec->minimum, spec->maximum);
    if (spec->kind == OPTION_CHOICE) {
        buf_append_text(out, " One of ");
        append_text(out, spec->choices);
        buf_append_byte(out, '.');
    }
    if (spec->default_value != NULL && spec->kind != OPTION_FLAG) {
        buf_append_text(out, " Default ");
        append_text(out, spec->default_value);
        buf_append_byte(out, '.');
    }
    if (spec->variable != NULL) {
        buf_append_text(out, " Variable ");
        append_text(out, spec->variable);
        buf_append_byte(out, '.');
    }
}

static void append_option(struct buf *out, const char *prefix, const struct option_spec *spec)
{
    buf_append_text(out, ".TP\n.B ");
    append_text(out, prefix);
    append_text(out, spec->name);
    if (spec->value_name != NULL) {
        buf_append_text(out, " \\fI");
        append_text(out, spec->value_name);
        buf_append_text(out, "\\fR");
    }
    buf_append_byte(out, '\n');
    append_text(out, spec->help);
    buf_append_byte(out, '.');
    append_allowed(out, spec);
    buf_append_byte(out, '\n');
}

static void append_command(struct buf *out, const struct command *command)
{
    struct option_spec options[COMMAND_OPTIONS_MAX];
    size_t option_count = command_all_options(command, options);
    buf_append_text(out, ".SS ");
    append_text(out, command->usage);
    buf_append_byte(out, '\n');
    append_text(out, command->summary);
    buf_append_text(out, ".\n");
    if (command->details != NULL) {
        buf_append_text(out, ".PP\n.nf\n");
        append_text(out, command->details);
        buf_append_text(out, ".fi\n");
    }
    for (size_t i = 0; i < option_count; i++)
        if (strcmp(options[i].name, "help") != 0)
            append_option(out, "--", &options[i]);
}

void manual_write(struct buf *out)
{
    size_t variable_count = 0;
    const struct option_spec *variables = catalog_location_variables(&variable_count);
    buf_append_text(out, head);
    buf_append_text(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < command_count; i++)
        append_command(out, commands[i]);
    buf_append_text(out, ".SH ENVIRONMENT\nWhere the catalog is; options name their own variables above.\n");
    for (size_t i = 0; i < variable_count; i++)
        append_option(out, "", &variables[i]);
    buf_append_text(out, tail);
}
