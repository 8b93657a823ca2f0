#include "sinks/snowflake/sf_naming.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_names.h"

#define LANDING_PREFIX "LANDING_"

static void append_name(const struct sf_naming *naming, const char *name, struct buf *out)
{
    if (naming->preserves_case)
        buf_append_text(out, name);
    else
        sf_append_folded(out, name);
}

// prefix, then schema_ (where it is part of the name), then the table.
static char *name_of(const struct sf_naming *naming, const char *prefix, const char *schema, const char *name)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, prefix);
    if (schema != NULL) {
        append_name(naming, schema, &text);
        buf_append_byte(&text, '_');
    }
    append_name(naming, name, &text);
    buf_append_byte(&text, 0);
    CHECK(!text.failed);
    return (char *)text.data;
}

void sf_naming_tables(const struct sf_naming *naming, const struct table *table, struct sf_table_names *out_names)
{
    const char *schema = naming->target == SF_NAMING_TABLE ? NULL : table->schema_name;
    *out_names = (struct sf_table_names){
        .schema = naming->target == SF_NAMING_SCHEMA ? name_of(naming, "", NULL, table->schema_name) : NULL,
        .target = name_of(naming, "", naming->target == SF_NAMING_SCHEMA_TABLE ? schema : NULL, table->table_name),
        .landing = name_of(naming, LANDING_PREFIX, schema, table->table_name)};
}

void sf_table_names_deinit(struct sf_table_names *names)
{
    free(names->schema);
    free(names->target);
    free(names->landing);
    *names = (struct sf_table_names){0};
}

char *sf_naming_column(const struct sf_naming *naming, const char *name)
{
    return name_of(naming, "", NULL, name);
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool sf_naming_collide(const struct sf_naming *naming, const struct table *a, const struct table *b)
{
    struct sf_table_names of_a, of_b;
    sf_naming_tables(naming, a, &of_a);
    sf_naming_tables(naming, b, &of_b);
    bool is_shared =
        (is_same(of_a.schema, of_b.schema) && is_same(of_a.target, of_b.target)) || is_same(of_a.landing, of_b.landing);
    sf_table_names_deinit(&of_a);
    sf_table_names_deinit(&of_b);
    return is_shared;
}

bool sf_naming_advise(const struct sf_naming *naming, const struct table *a, const struct table *b, struct buf *out)
{
    static const char *const names[] = {"table", "schema_table", "schema"};
    // One setting changed before two.
    for (unsigned changes = 1; changes <= 2; changes++) {
        for (unsigned i = 0; i < 6; i++) {
            const struct sf_naming other = {.target = (enum sf_target_naming)(i / 2), .preserves_case = i % 2 == 1};
            bool is_named_anew = other.target != naming->target;
            bool is_cased_anew = other.preserves_case != naming->preserves_case;
            if ((unsigned)is_named_anew + (unsigned)is_cased_anew != changes || sf_naming_collide(&other, a, b))
                continue;
            if (is_named_anew)
                buf_appendf(out, "target_naming = %s%s", names[other.target], is_cased_anew ? " with " : "");
            if (is_cased_anew)
                buf_appendf(out, "identifier_case = %s", other.preserves_case ? "preserve" : "upper");
            return true;
        }
    }
    return false;
}
