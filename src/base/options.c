#include "base/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define NEAREST_DISTANCE_MAX 2
#define PART_SIZE_MIN 4
#define WORD_SIZE_MAX 63

// Levenshtein's distance by one row of the matrix.
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[WORD_SIZE_MAX + 1];
    size_t b_size = strlen(b);
    if (b_size > WORD_SIZE_MAX || strlen(a) > WORD_SIZE_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_size; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[b_size];
}

const char *options_nearest(const char *word, const char *const *words, size_t word_count)
{
    const char *nearest = NULL;
    size_t distance = NEAREST_DISTANCE_MAX + 1;
    for (size_t i = 0; i < word_count; i++) {
        size_t found = edit_distance(word, words[i]);
        if (found < distance) {
            distance = found;
            nearest = words[i];
        }
    }
    // One is the other with something before or behind it: "pg-password", "json-output", "merge-interval".
    size_t size = strlen(word);
    for (size_t i = 0; i < word_count && nearest == NULL && size >= PART_SIZE_MIN; i++) {
        size_t other = strlen(words[i]);
        bool is_longer = other > size && strncmp(words[i], word, size) == 0;
        bool is_shorter = other >= PART_SIZE_MIN && other < size &&
                          (strncmp(word, words[i], other) == 0 || strcmp(word + size - other, words[i]) == 0);
        if (is_longer || is_shorter)
            nearest = words[i];
    }
    return nearest;
}

static bool read_number(const struct option_spec *spec, const char *origin, const char *text, struct option_value *out,
                        struct err *out_error)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || number < spec->minimum || number > spec->maximum)
        return err_set(out_error, ERR_CONFIG, "option",
                       "%s is \"%s\"; allowed is a whole number from %" PRId64 " to %" PRId64, origin, text,
                       spec->minimum, spec->maximum);
    out->number = number;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t size = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, text, size) == 0 && (at[size] == '|' || at[size] == '\0'))
            return size > 0;
    }
    return false;
}

unsigned options_choice_index(const struct option_spec *spec, const char *text)
{
    unsigned index = 0;
    const char *found = strstr(spec->choices, text);
    size_t size = strlen(text);
    while (found != NULL &&
           ((found != spec->choices && found[-1] != '|') || (found[size] != '|' && found[size] != '\0')))
        found = strstr(found + 1, text);
    CHECK(found != NULL && size > 0);
    for (const char *at = spec->choices; at < found; at++)
        index += *at == '|';
    return index;
}

bool options_read_value(const struct option_spec *spec, const char *origin, const char *text, struct option_value *out,
                        struct err *out_error)
{
    out->text = text;
    switch (spec->kind) {
    case OPTION_NUMBER: return read_number(spec, origin, text, out, out_error);
    case OPTION_CHOICE:
        if (!is_choice(spec->choices, text))
            return err_set(out_error, ERR_CONFIG, "option", "%s is \"%s\"; allowed is one of %s", origin, text,
                           spec->choices);
        return true;
    case OPTION_FLAG:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return err_set(out_error, ERR_CONFIG, "option", "%s is \"%s\"; allowed is true or false", origin, text);
        out->flag = strcmp(text, "true") == 0;
        return true;
    case OPTION_TEXT: return true;
    }
    CHECK(false);
}

static bool read_defaults(const struct option_spec *specs, size_t spec_count, struct option_value *values,
                          struct err *out_error)
{
    memset(values, 0, spec_count * sizeof *values);
    for (size_t i = 0; i < spec_count; i++) {
        const char *given = specs[i].variable != NULL ? getenv(specs[i].variable) : NULL;
        const char *text = given != NULL && *given != '\0' ? given : specs[i].default_value;
        if (text != NULL && !options_read_value(&specs[i], text == given ? specs[i].variable : specs[i].name, text,
                                                &values[i], out_error))
            return false;
    }
    return true;
}

static bool unknown(const struct option_spec *specs, size_t spec_count, const char *name, size_t name_size,
                    struct err *out_error)
{
    const char *names[64];
    char word[WORD_SIZE_MAX + 1] = {0};
    CHECK(spec_count <= sizeof names / sizeof names[0]);
    for (size_t i = 0; i < spec_count; i++)
        names[i] = specs[i].name;
    memcpy(word, name, name_size < WORD_SIZE_MAX ? name_size : WORD_SIZE_MAX);
    const char *nearest = options_nearest(word, names, spec_count);
    if (nearest != NULL)
        return err_set(out_error, ERR_CONFIG, "option", "there is no option --%s; did you mean --%s?", word, nearest);
    return err_set(out_error, ERR_CONFIG, "option", "there is no option --%s; --help lists the options", word);
}

// The catalog and its documents write names with '_': both are taken.
static bool is_name(const char *name, const char *given, size_t given_size)
{
    if (strlen(name) != given_size)
        return false;
    for (size_t i = 0; i < given_size; i++)
        if (name[i] != given[i] && !(name[i] == '-' && given[i] == '_'))
            return false;
    return true;
}

static bool read_option(const struct option_spec *specs, size_t spec_count, int count, char *const *arguments,
                        int *index, struct option_value *values, struct err *out_error)
{
    const char *name = arguments[*index] + 2;
    size_t name_size = strcspn(name, "=");
    char origin[WORD_SIZE_MAX + 3] = "--";
    for (size_t i = 0; i < spec_count; i++) {
        const struct option_spec *spec = &specs[i];
        if (!is_name(spec->name, name, name_size))
            continue;
        const char *text = name[name_size] == '=' ? name + name_size + 1 : NULL;
        strncat(origin, spec->name, WORD_SIZE_MAX);
        values[i].is_given = true;
        if (spec->kind == OPTION_FLAG && text == NULL) {
            values[i].flag = true;
            return true;
        }
        if (text == NULL && *index + 1 < count)
            text = arguments[++*index];
        if (text == NULL)
            return err_set(out_error, ERR_CONFIG, "option", "%s needs a value (%s)", origin, spec->value_name);
        return options_read_value(spec, origin, text, &values[i], out_error);
    }
    return unknown(specs, spec_count, name, name_size, out_error);
}

bool options_parse(const struct option_spec *specs, size_t spec_count, int count, char *const *arguments,
                   struct option_value *values, const char **operands, size_t operand_max, size_t *out_operand_count,
                   struct err *out_error)
{
    bool only_operands = false;
    *out_operand_count = 0;
    if (!read_defaults(specs, spec_count, values, out_error))
        return false;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        if (!only_operands && strcmp(argument, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && strncmp(argument, "--", 2) == 0) {
            if (!read_option(specs, spec_count, count, arguments, &i, values, out_error))
                return false;
        } else if (!only_operands && argument[0] == '-' && argument[1] != '\0') {
            return err_set(out_error, ERR_CONFIG, "option", "there is no option %s; --help lists the options",
                           argument);
        } else if (*out_operand_count == operand_max) {
            return err_set(out_error, ERR_CONFIG, "option", "\"%s\" is one word too many; --help shows what is allowed",
                           argument);
        } else {
            operands[(*out_operand_count)++] = argument;
        }
    }
    return true;
}

void options_help(const struct option_spec *specs, size_t spec_count, struct buf *out)
{
    for (size_t i = 0; i < spec_count; i++) {
        const struct option_spec *spec = &specs[i];
        buf_appendf(out, "  --%s%s%s\n      ", spec->name, spec->kind == OPTION_FLAG ? "" : " ",
                    spec->kind == OPTION_FLAG ? "" : spec->value_name);
        for (const char *at = spec->help; *at != '\0'; at++) {
            buf_append_byte(out, (uint8_t)*at);
            if (*at == '\n')
                buf_append_text(out, "      ");
        }
        if (spec->kind == OPTION_NUMBER)
            buf_appendf(out, " (%" PRId64 " to %" PRId64 ")", spec->minimum, spec->maximum);
        if (spec->kind == OPTION_CHOICE)
            buf_appendf(out, " (%s)", spec->choices);
        if (spec->default_value != NULL)
            buf_appendf(out, " [%s]", spec->default_value);
        if (spec->variable != NULL)
            buf_appendf(out, " {%s}", spec->variable);
        buf_append_byte(out, '\n');
    }
}
