#include "model/table_choice.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static const char *next_character(const char *at)
{
    do
        at++;
    while (((uint8_t)*at & 0xC0) == 0x80);
    return at;
}

bool table_choice_matches(const char *pattern, const char *name)
{
    const char *star = NULL, *star_name = NULL;  // the newest '*', and the name from where it goes on after it
    while (*name != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            star_name = name;
        } else if (*pattern == '?') {
            pattern++;
            name = next_character(name);
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star;
            name = ++star_name;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static char *copy_of(const char *text, size_t size)
{
    char *copy = strndup(text, size);
    CHECK(copy != NULL);
    return copy;
}

static size_t characters_before(const char *text, const char *end)
{
    size_t count = 0;
    for (; text < end; text = next_character(text))
        count++;
    return count;
}

// text[0 .. size) without blanks around it, at a position that counts from 1.
static bool parse_pattern(const char *text, size_t size, size_t position, struct table_choice *choice,
                          struct err *out_error)
{
    choice->patterns = reallocarray(choice->patterns, choice->count + 1, sizeof *choice->patterns);
    CHECK(choice->patterns != NULL);
    struct table_choice_pattern *pattern = &choice->patterns[choice->count++];
    *pattern = (struct table_choice_pattern){.text = copy_of(text, size)};
    const char *name = pattern->text;
    if (*name == '!' || *name == '-') {
        pattern->excludes = true;
        name++;
    }
    const char *dot = strchr(name, '.');
    if (dot != NULL)
        pattern->schema = copy_of(name, (size_t)(dot - name));
    pattern->table = copy_of(dot != NULL ? dot + 1 : name, strlen(dot != NULL ? dot + 1 : name));
    if (*pattern->table != '\0' && (pattern->schema == NULL || *pattern->schema != '\0'))
        return true;
    return err_set(out_error, ERR_CONFIG, "tables",
                   "pattern %zu (\"%s\", at character %zu) chooses no table; allowed are SCHEMA.TABLE or TABLE with * "
                   "and ?, separated by commas, a leading ! or - excludes",
                   choice->count, pattern->text, position);
}

bool table_choice_parse(const char *text, struct table_choice *out_choice, struct err *out_error)
{
    bool is_parsed = true;
    *out_choice = (struct table_choice){0};
    for (const char *at = text; at != NULL && *text != '\0' && is_parsed;) {
        const char *comma = strchr(at, ',');
        const char *end = comma != NULL ? comma : at + strlen(at);
        while (at < end && isspace((unsigned char)*at))
            at++;
        while (end > at && isspace((unsigned char)end[-1]))
            end--;
        is_parsed = parse_pattern(at, (size_t)(end - at), characters_before(text, at) + 1, out_choice, out_error);
        at = comma != NULL ? comma + 1 : NULL;
    }
    if (!is_parsed)
        table_choice_deinit(out_choice);
    return is_parsed;
}

void table_choice_deinit(struct table_choice *choice)
{
    for (size_t i = 0; i < choice->count; i++) {
        free(choice->patterns[i].text);
        free(choice->patterns[i].schema);
        free(choice->patterns[i].table);
    }
    free(choice->patterns);
    *choice = (struct table_choice){0};
}

bool table_choice_includes(struct table_choice *choice, const char *schema_name, const char *table_name)
{
    bool has_includes = false, is_included = false, is_excluded = false;
    for (size_t i = 0; i < choice->count; i++) {
        struct table_choice_pattern *pattern = &choice->patterns[i];
        bool is_match = (pattern->schema == NULL || table_choice_matches(pattern->schema, schema_name)) &&
                        table_choice_matches(pattern->table, table_name);
        pattern->has_matched |= is_match;
        has_includes |= !pattern->excludes;
        is_included |= is_match && !pattern->excludes;
        is_excluded |= is_match && pattern->excludes;
    }
    return (is_included || !has_includes) && !is_excluded;
}
