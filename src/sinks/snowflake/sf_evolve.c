#include "sinks/snowflake/sf_evolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/check.h"
#include "encode/encoding.h"
#include "sinks/snowflake/sf_names.h"

#define STATEMENT_BYTES_MAX (1U << 20)
#define ASIDE_PREFIX SF_OUR_COLUMN_PREFIX "WAS_"

struct planner {
    const struct sf_table_layout *layout;
    const struct sf_naming *naming;
    enum sf_evolve_role role;
    enum sf_evolve_purpose purpose;
    struct sf_described_column *columns;  // as they will be; names of renamed ones are the layout's
    size_t count;
    const char *when;
    struct buf asked;  // the condition of the question
    struct sf_evolution *plan;
};

static struct sf_described_column *find(struct planner *planner, const char *name)
{
    for (size_t i = 0; i < planner->count; i++)
        if (strcmp(planner->columns[i].name, name) == 0)
            return &planner->columns[i];
    return NULL;
}

static bool is_wanted(const struct planner *planner, const char *name)
{
    for (uint16_t i = 0; i < planner->layout->table->column_count; i++)
        if (strcmp(planner->layout->column_names[i], name) == 0)
            return true;
    return false;
}

// --- statements --------------------------------------------------------------------------------------------------

static void begin(const struct planner *planner, struct buf *out)
{
    const struct sf_table_layout *layout = planner->layout;
    buf_init(out, STATEMENT_BYTES_MAX);
    buf_append_text(out, "ALTER TABLE ");
    sf_append_qualified(out, layout->database,
                        planner->role == SF_EVOLVE_LANDING ? layout->landing_schema : layout->schema,
                        planner->role == SF_EVOLVE_LANDING  ? layout->landing_name
                        : planner->role == SF_EVOLVE_SHADOW ? layout->shadow_name
                                                            : layout->target_name);
}

static void end(struct planner *planner, struct buf *take_text)
{
    struct sf_evolution *plan = planner->plan;
    plan->statements = reallocarray(plan->statements, plan->count + 1, sizeof *plan->statements);
    CHECK(plan->statements != NULL && !take_text->failed);
    plan->statements[plan->count] = strdup(buf_text(take_text));
    CHECK(plan->statements[plan->count] != NULL);
    plan->count++;
    buf_deinit(take_text);
}

static void append_type(const struct planner *planner, uint16_t column, struct buf *out)
{
    typemap_format_sql(&planner->layout->encoders[column].target, planner->role == SF_EVOLVE_LANDING, out);
}

static bool has_collation(const char *type)
{
    return strstr(type, " COLLATE ") != NULL;
}

// Of a column that is added: CREATE TABLE … LIKE may not have taken the table's default over. type: as DESCRIBE and CREATE spell it.
static void append_no_collation(const char *type, struct buf *out)
{
    if (strncmp(type, "VARCHAR", strlen("VARCHAR")) == 0 && !has_collation(type))
        buf_append_text(out, " COLLATE ''");
}

static void obstacle(struct planner *planner, const char *name, const char *what)
{
    struct sf_evolution *plan = planner->plan;
    if (plan->obstacle[0] == '\0')
        (void)snprintf(plan->obstacle, sizeof plan->obstacle, "column %.60s of the %s %s", name,
                       planner->role == SF_EVOLVE_LANDING ? "landing table" : "target", what);
}

// A number may be written as a string (one that a double does not hold): its digits are the literal.
static bool append_number(const char *json, struct buf *out)
{
    size_t size = strlen(json), skip = json[0] == '"' && size > 2 && json[size - 1] == '"';
    size_t digits = strspn(json + skip, "+-.0123456789eE");
    buf_append(out, json + skip, digits);
    return digits > 0 && digits + 2 * skip == size;
}

static bool append_text(const char *json, struct buf *out)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    bool is_text = json_is_string(value);
    if (is_text)
        sf_append_literal(out, json_string_value(value));
    json_decref(value);
    return is_text;
}

// As a literal of the column's type: numbers, text and booleans; for others it is not known how Snowflake reads a literal of theirs as
// a default. False: it cannot be told so.
static bool append_default(const struct planner *planner, uint16_t column, struct buf *out)
{
    const struct column_encoder *encoder = &planner->layout->encoders[column];
    const char *text = planner->layout->table->columns[column].missing_text;
    struct value value = {.data = (const uint8_t *)text, .size = (uint32_t)strlen(text), .state = VALUE_TEXT};
    struct buf json, coerced;
    bool is_known = true;
    for (const char *c = text; *c != '\0'; c++)
        is_known &= (uint8_t)*c < 0x80 || encoding_is_utf8(encoder->value->encoding);  // it is in UTF-8 here
    buf_init(&json, STATEMENT_BYTES_MAX);
    buf_init(&coerced, STATEMENT_BYTES_MAX);
    is_known = is_known && column_encode(encoder, &value, &json, &coerced) == VALUE_WRITTEN && !json.failed;
    const char *written = is_known ? buf_text(&json) : "";
    buf_append_text(out, " DEFAULT ");
    switch (is_known ? encoder->target.kind : TARGET_VARIANT) {
    case TARGET_BOOLEAN: buf_append_text(out, strcmp(written, "true") == 0 ? "TRUE" : "FALSE"); break;
    case TARGET_NUMBER:
    case TARGET_FLOAT: is_known = append_number(written, out); break;
    case TARGET_VARCHAR: is_known = append_text(written, out); break;
    default: is_known = false; break;
    }
    buf_deinit(&json);
    buf_deinit(&coerced);
    return is_known;
}

static void add(struct planner *planner, uint16_t column)
{
    struct buf text, type;
    begin(planner, &text);
    buf_init(&type, STATEMENT_BYTES_MAX);
    append_type(planner, column, &type);
    buf_append_text(&text, " ADD COLUMN ");
    sf_append_identifier(&text, planner->layout->column_names[column]);
    buf_append_byte(&text, ' ');
    buf_append_text(&text, buf_text(&type));
    if (planner->purpose != SF_EVOLVE_REPLACE && planner->role == SF_EVOLVE_TARGET &&
        planner->layout->table->columns[column].has_missing && !append_default(planner, column, &text))
        obstacle(planner, planner->layout->column_names[column],
                 "would need a default of a type that is not known to be possible");
    append_no_collation(buf_text(&type), &text);
    buf_deinit(&type);
    end(planner, &text);
}

static void widen(struct planner *planner, uint16_t column)
{
    struct buf text;
    begin(planner, &text);
    buf_append_text(&text, " ALTER COLUMN ");
    sf_append_identifier(&text, planner->layout->column_names[column]);
    buf_append_text(&text, " SET DATA TYPE ");
    append_type(planner, column, &text);
    end(planner, &text);
}

static void drop(struct planner *planner, const char *name)
{
    struct buf text;
    begin(planner, &text);
    buf_append_text(&text, " DROP COLUMN ");
    sf_append_identifier(&text, name);
    end(planner, &text);
}

static void rename_to(struct planner *planner, const char *from, const char *to)
{
    struct buf text;
    begin(planner, &text);
    buf_append_text(&text, " RENAME COLUMN ");
    sf_append_identifier(&text, from);
    buf_append_text(&text, " TO ");
    sf_append_identifier(&text, to);
    end(planner, &text);
}

// _ETL_WAS_<when>_<name>, cut at the end: no column of the source may begin so.
static void rename_aside(struct planner *planner, const char *name, struct buf *out_aside)
{
    size_t room = SF_NAME_SIZE_MAX - strlen(ASIDE_PREFIX) - strlen(planner->when) - 1;
    const char *cut = name;
    while (*cut != '\0' && room > 0) {
        do
            cut++;
        while (((uint8_t)*cut & 0xC0) == 0x80);
        room--;
    }
    buf_init(out_aside, STATEMENT_BYTES_MAX);
    buf_appendf(out_aside, ASIDE_PREFIX "%s_", planner->when);
    buf_append(out_aside, name, (size_t)(cut - name));
    rename_to(planner, name, buf_text(out_aside));
}

// The one there steps aside. In a shadow, which has no rows, it goes, but not first: it may be the only column, which no table can lose.
static void replace(struct planner *planner, uint16_t column)
{
    struct buf aside;
    rename_aside(planner, planner->layout->column_names[column], &aside);
    add(planner, column);
    if (planner->role == SF_EVOLVE_SHADOW)
        drop(planner, buf_text(&aside));
    buf_deinit(&aside);
}

// --- types -------------------------------------------------------------------------------------------------------

enum fit { FIT_SAME, FIT_WIDER_THERE, FIT_WIDEN, FIT_OTHER };

// TYPE(a) or TYPE(a,b); the rest has no numbers.
static bool parse(const char *type, char out_kind[32], unsigned *out_first, unsigned *out_second)
{
    *out_first = *out_second = 0;
    return sscanf(type, "%31[A-Z_](%u,%u)", out_kind, out_first, out_second) >= 1;
}

static enum fit fit_of(const char *there, const char *wanted)
{
    char kind_there[32], kind_wanted[32];
    unsigned first_there, second_there, first_wanted, second_wanted;
    if (strcmp(there, wanted) == 0)
        return FIT_SAME;
    if (has_collation(there))
        return FIT_OTHER;
    if (!parse(there, kind_there, &first_there, &second_there) ||
        !parse(wanted, kind_wanted, &first_wanted, &second_wanted) || strcmp(kind_there, kind_wanted) != 0)
        return FIT_OTHER;
    bool is_sized = strcmp(kind_there, "VARCHAR") == 0 || strcmp(kind_there, "BINARY") == 0 ||
                    (strcmp(kind_there, "NUMBER") == 0 && second_there == second_wanted);
    return !is_sized ? FIT_OTHER : first_there < first_wanted ? FIT_WIDEN : FIT_WIDER_THERE;
}

// The column's former name there, if that is another one; heap, or NULL.
static char *former_name(const struct planner *planner, uint16_t column)
{
    const char *former = planner->layout->table->columns[column].former_name;
    char *there = former != NULL ? sf_naming_column(planner->naming, former) : NULL;
    if (there == NULL || strcmp(there, planner->layout->column_names[column]) != 0)
        return there;
    free(there);
    return NULL;
}

// A landing table gets a column for the new name.
static bool is_new(const struct planner *planner, uint16_t column)
{
    char *former = planner->role == SF_EVOLVE_LANDING ? former_name(planner, column) : NULL;
    bool is = planner->layout->table->columns[column].is_added || former != NULL;
    free(former);
    return is;
}

static void fit_column(struct planner *planner, uint16_t column)
{
    const char *name = planner->layout->column_names[column];
    const struct sf_described_column *there = find(planner, name);
    struct buf wanted;
    const bool is_followed = planner->purpose != SF_EVOLVE_REPLACE;
    if (there == NULL) {
        if (is_followed && !is_new(planner, column))
            obstacle(planner, name, "is missing");
        add(planner, column);
        return;
    }
    if (planner->purpose == SF_EVOLVE_FOLLOW && is_new(planner, column)) {
        obstacle(planner, name, "is there already and is another one");
        return;
    }
    buf_init(&wanted, STATEMENT_BYTES_MAX);
    append_type(planner, column, &wanted);
    enum fit fit = fit_of(there->type, buf_text(&wanted));
    buf_deinit(&wanted);
    // A landing column may hold more than it has to; what readers see is exactly the type.
    if (fit == FIT_SAME || (fit == FIT_WIDER_THERE && planner->role == SF_EVOLVE_LANDING))
        return;
    if (fit == FIT_WIDEN) {
        widen(planner, column);
        return;
    }
    if (is_followed) {
        obstacle(planner, name,
                 has_collation(there->type) ? "has a collation, by which texts that differ may be equal"
                                            : "cannot get its new type in place");
        return;
    }
    if (planner->role == SF_EVOLVE_TARGET)
        planner->plan->needs_shadow = true;
    else
        replace(planner, column);
}

// What _ETL_COERCED tells of a column of that name must be nothing.
static void ask(struct planner *planner, const char *name)
{
    if (planner->purpose == SF_EVOLVE_REPLACE || planner->role != SF_EVOLVE_TARGET ||
        find(planner, SF_COERCED_COLUMN) == NULL)
        return;
    buf_append_text(&planner->asked, planner->asked.size == 0 ? " WHERE GET(" : " OR GET(");
    sf_append_identifier(&planner->asked, SF_COERCED_COLUMN);
    buf_append_text(&planner->asked, ", ");
    sf_append_literal(&planner->asked, name);
    buf_append_text(&planner->asked, ") IS NOT NULL");
}

static void ask_of_those_that_left(struct planner *planner)
{
    const struct table *table = planner->layout->table;
    for (uint16_t i = 0; i < table->left_count; i++) {
        char *name = sf_naming_column(planner->naming, table->left_names[i]);
        ask(planner, name);
        free(name);
    }
}

static void finish_question(struct planner *planner)
{
    struct buf text;
    if (planner->asked.size == 0)
        return;
    buf_init(&text, STATEMENT_BYTES_MAX);
    buf_append_text(&text, "SELECT COUNT(*) FROM ");
    sf_append_qualified(&text, planner->layout->database, planner->layout->schema, planner->layout->target_name);
    buf_append(&text, planner->asked.data, planner->asked.size);
    CHECK(!planner->asked.failed && !text.failed);
    planner->plan->question = strdup(buf_text(&text));
    CHECK(planner->plan->question != NULL);
    buf_deinit(&text);
}

// The column of a former name, unless that is another column's now or the new name is taken by one that was there before. (Then a
// copy goes into that one.)
static void rename_column(struct planner *planner, uint16_t column)
{
    const char *name = planner->layout->column_names[column];
    char *there = former_name(planner, column);
    if (there == NULL || planner->role == SF_EVOLVE_LANDING) {
        free(there);
        return;
    }
    struct sf_described_column *found = find(planner, there);
    bool is_done = planner->purpose == SF_EVOLVE_RESUME && found == NULL;  // by an earlier try
    ask(planner, there);
    if (found != NULL && !is_wanted(planner, there) && find(planner, name) == NULL) {
        rename_to(planner, there, name);
        found->name = name;
    } else if (planner->purpose != SF_EVOLVE_REPLACE && !is_done) {
        obstacle(planner, name, "cannot get this name in place");
    }
    free(there);
}

// A column that left the source, with a default that later rows would get.
static void lose_default(struct planner *planner, const struct sf_described_column *column)
{
    struct buf text;
    if (planner->role == SF_EVOLVE_LANDING || column->default_text == NULL || is_wanted(planner, column->name) ||
        strncmp(column->name, SF_OUR_COLUMN_PREFIX, strlen(SF_OUR_COLUMN_PREFIX)) == 0)
        return;
    if (planner->purpose != SF_EVOLVE_REPLACE) {
        obstacle(planner, column->name, "left the source and has a default that later rows would get");
        return;
    }
    drop(planner, column->name);
    begin(planner, &text);
    buf_append_text(&text, " ADD COLUMN ");
    sf_append_identifier(&text, column->name);
    buf_append_byte(&text, ' ');
    buf_append_text(&text, column->type);
    append_no_collation(column->type, &text);
    end(planner, &text);
}

void sf_evolve_plan(const struct sf_table_layout *layout, const struct sf_naming *naming, enum sf_evolve_role role,
                    enum sf_evolve_purpose purpose, const struct sf_described_column *columns, size_t count,
                    const char *when, struct sf_evolution *out_plan)
{
    struct planner planner = {.layout = layout,
                              .naming = naming,
                              .role = role,
                              .purpose = purpose,
                              .count = count,
                              .when = when,
                              .plan = out_plan};
    *out_plan = (struct sf_evolution){.statements = NULL};
    planner.columns = calloc(count + 1, sizeof *planner.columns);
    CHECK(planner.columns != NULL);
    buf_init(&planner.asked, STATEMENT_BYTES_MAX);
    for (size_t i = 0; i < count; i++)
        planner.columns[i] = columns[i];
    for (uint16_t i = 0; i < layout->table->column_count; i++)
        rename_column(&planner, i);
    for (uint16_t i = 0; i < layout->table->column_count; i++)
        fit_column(&planner, i);
    for (size_t i = 0; i < count; i++)
        lose_default(&planner, &planner.columns[i]);
    ask_of_those_that_left(&planner);
    finish_question(&planner);
    buf_deinit(&planner.asked);
    free(planner.columns);
}

void sf_evolution_deinit(struct sf_evolution *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        free(plan->statements[i]);
    free(plan->statements);
    free(plan->question);
    *plan = (struct sf_evolution){.statements = NULL};
}
