#include "model/source_type.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPES_MAX 4096
#define DOMAINS_MAX 1000  // one above the other

// Cursor over the text. A reader that fails sets `failed`, and all later ones fail too.
struct reader {
    const char *at;
    bool failed;
};

// A type as its line tells it, parts not yet found.
struct line_part {
    uint32_t oid;
    int32_t modifier;
};

struct line {
    bool is_domain;
    struct line_part *parts;
};

static int64_t read_number(struct reader *reader, int64_t minimum, int64_t maximum)
{
    char *end;
    if (reader->failed)
        return 0;
    long long number = strtoll(reader->at, &end, 10);
    reader->failed = end == reader->at || number < minimum || number > maximum;
    reader->at = end;
    return number;
}

static void read_byte(struct reader *reader, char wanted)
{
    if (!reader->failed && *reader->at == wanted)
        reader->at++;
    else
        reader->failed = true;
}

static char read_any(struct reader *reader)
{
    if (reader->failed || *reader->at == '\0') {
        reader->failed = true;
        return '\0';
    }
    return *reader->at++;
}

// "NAME" with quotes doubled → a new string. NULL after a failure.
static char *read_name(struct reader *reader)
{
    read_byte(reader, '"');
    if (reader->failed)
        return NULL;
    const char *start = reader->at;
    size_t size = 0;
    for (const char *at = start; *at != '\0' && (*at != '"' || at[1] == '"'); at++, size++)
        at += *at == '"';
    char *name = malloc(size + 1);
    if (name == NULL) {
        reader->failed = true;
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        reader->at += *reader->at == '"';
        name[i] = *reader->at++;
    }
    name[size] = '\0';
    read_byte(reader, '"');
    return name;
}

static void read_kind(struct reader *reader, struct source_type *type, struct line *line)
{
    switch (read_any(reader)) {
    case 'b': type->kind = SOURCE_BASE; return;
    case 'e': type->kind = SOURCE_ENUM; return;
    case 'a': type->kind = SOURCE_ARRAY; return;
    case 'c': type->kind = SOURCE_COMPOSITE; return;
    case 'r': type->kind = SOURCE_RANGE; return;
    case 'm': type->kind = SOURCE_MULTIRANGE; return;
    case 'd': line->is_domain = true; return;
    default: reader->failed = true; return;
    }
}

static void read_parts(struct reader *reader, struct source_type *type, struct line *line)
{
    uint16_t capacity = 0;
    while (!reader->failed && *reader->at == ' ') {
        if (type->part_count == capacity) {
            capacity = (uint16_t)(2 * capacity + 4);
            struct source_part *parts = realloc(type->parts, capacity * sizeof *parts);
            if (parts != NULL)
                type->parts = parts;
            struct line_part *line_parts = realloc(line->parts, capacity * sizeof *line_parts);
            if (line_parts != NULL)
                line->parts = line_parts;
            if (parts == NULL || line_parts == NULL || capacity > TYPES_MAX) {
                reader->failed = true;
                return;
            }
        }
        reader->at++;
        struct line_part *part = &line->parts[type->part_count];
        part->oid = (uint32_t)read_number(reader, 1, UINT32_MAX);
        read_byte(reader, ' ');
        part->modifier = (int32_t)read_number(reader, INT32_MIN, INT32_MAX);
        read_byte(reader, ' ');
        char *name = read_name(reader);
        if (name != NULL)
            type->parts[type->part_count++] = (struct source_part){.name = name, .oid = part->oid};
    }
}

static void read_line(struct reader *reader, struct source_type *type, struct line *line)
{
    type->oid = (uint32_t)read_number(reader, 1, UINT32_MAX);
    read_byte(reader, ' ');
    type->modifier = (int32_t)read_number(reader, INT32_MIN, INT32_MAX);
    read_byte(reader, ' ');
    read_kind(reader, type, line);
    read_byte(reader, ' ');
    type->delimiter = read_any(reader);
    read_byte(reader, ' ');
    type->has_binary_send = read_number(reader, 0, 1) != 0;
    read_byte(reader, ' ');
    type->name = read_name(reader);
    read_byte(reader, ' ');
    type->extension = read_name(reader);
    read_parts(reader, type, line);
    bool wants_one = line->is_domain || (type->kind != SOURCE_COMPOSITE && type->kind > SOURCE_ENUM);
    bool wants_none = !line->is_domain && (type->kind == SOURCE_BASE || type->kind == SOURCE_ENUM);
    if ((wants_one && type->part_count != 1) || (wants_none && type->part_count != 0))
        reader->failed = true;
}

// Through domains. NULL: not there.
static const struct source_type *find(const struct source_types *types, const struct line *lines, uint32_t oid,
                                      int32_t modifier)
{
    for (int depth = 0; depth < DOMAINS_MAX; depth++) {
        uint16_t i = 0;
        while (i < types->count && (types->types[i].oid != oid || types->types[i].modifier != modifier))
            i++;
        if (i == types->count)
            return NULL;
        if (!lines[i].is_domain)
            return &types->types[i];
        oid = lines[i].parts[0].oid;
        modifier = lines[i].parts[0].modifier;
    }
    return NULL;
}

static bool link_parts(struct source_types *types, const struct line *lines)
{
    for (uint16_t i = 0; i < types->count; i++) {
        for (uint16_t j = 0; !lines[i].is_domain && j < types->types[i].part_count; j++) {
            const struct line_part *part = &lines[i].parts[j];
            const struct source_type *found = find(types, lines, part->oid, part->modifier);
            types->types[i].parts[j].type = found;
            if (found == NULL)
                return false;
        }
    }
    return true;
}

enum { UNSEEN, OPEN, DONE };  // marks of types while the graph is walked

// Takes to each type what holds for its parts. False if `type` is reached again below itself. Depth is bounded by the number of types, as
// each step goes to another one.
static bool settle(struct source_types *types, const struct source_type *reached, uint8_t *marks)
{
    size_t index = (size_t)(reached - types->types);
    struct source_type *type = &types->types[index];
    if (marks[index] != UNSEEN)
        return marks[index] == DONE;
    marks[index] = OPEN;
    for (uint16_t i = 0; i < type->part_count; i++) {
        if (!settle(types, type->parts[i].type, marks))
            return false;
        type->has_binary_send = type->has_binary_send && type->parts[i].type->has_binary_send;
    }
    marks[index] = DONE;
    return true;
}

static bool read_all(const char *text, struct source_types *types, struct line *lines, uint16_t line_count)
{
    struct reader reader = {.at = text};
    for (uint16_t i = 0; i < line_count && !reader.failed; i++) {
        types->count++;
        if (i > 0)
            read_byte(&reader, '\n');
        read_line(&reader, &types->types[i], &lines[i]);
    }
    return !reader.failed && *reader.at == '\0' && link_parts(types, lines);
}

// Line breaks outside names.
static uint16_t count_lines(const char *text)
{
    uint32_t count = 1;
    bool is_quoted = false;
    for (; *text != '\0' && count <= TYPES_MAX; text++) {
        is_quoted ^= *text == '"';
        count += !is_quoted && *text == '\n';
    }
    return count <= TYPES_MAX ? (uint16_t)count : 0;
}

bool source_types_read(const char *text, uint32_t oid, int32_t modifier, struct source_types *out_types,
                       const struct source_type **out_type, struct err *out_error)
{
    uint16_t line_count = count_lines(text);
    *out_types = (struct source_types){.types = calloc((size_t)line_count + 1, sizeof *out_types->types)};
    struct line *lines = calloc((size_t)line_count + 1, sizeof *lines);
    uint8_t *marks = calloc((size_t)line_count + 1, 1);
    *out_type = NULL;
    bool is_good = out_types->types != NULL && lines != NULL && marks != NULL && line_count > 0 &&
                   read_all(text, out_types, lines, line_count);
    if (is_good) {
        *out_type = find(out_types, lines, oid, modifier);
        is_good = *out_type != NULL && settle(out_types, *out_type, marks);
    }
    for (uint16_t i = 0; lines != NULL && i < line_count; i++)
        free(lines[i].parts);
    free(lines);
    free(marks);
    if (is_good)
        return true;
    source_types_deinit(out_types);
    return err_set(out_error, ERR_INTERNAL, "catalog", "the source's description of type %" PRIu32 " is not usable",
                   oid);
}

void source_types_deinit(struct source_types *types)
{
    for (uint16_t i = 0; i < types->count; i++) {
        struct source_type *type = &types->types[i];
        for (uint16_t j = 0; j < type->part_count; j++)
            free(type->parts[j].name);
        free(type->parts);
        free(type->name);
        free(type->extension);
    }
    free(types->types);
    *types = (struct source_types){.types = NULL};
}

// What a domain stands for has no type here: it never changes.
static bool is_same_part(const struct source_part *a, const struct source_part *b)
{
    if (a->type == NULL || b->type == NULL)
        return a->type == b->type;
    return a->oid == b->oid && a->type->oid == b->type->oid && strcmp(a->name, b->name) == 0;
}

bool source_types_are_same(const struct source_types *a, const struct source_types *b)
{
    if (a->count != b->count)
        return false;
    for (uint16_t i = 0; i < a->count; i++) {
        const struct source_type *x = &a->types[i], *y = &b->types[i];
        if (x->oid != y->oid || x->modifier != y->modifier || x->part_count != y->part_count)
            return false;
        for (uint16_t k = 0; k < x->part_count; k++)
            if (!is_same_part(&x->parts[k], &y->parts[k]))
                return false;
    }
    return true;
}
