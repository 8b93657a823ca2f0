#include "sinks/snowflake/sf_ddl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "sinks/snowflake/sf_names.h"

#define ASIDE_INFIX "_BEFORE_"
#define SHADOW_PREFIX SF_OUR_COLUMN_PREFIX "NEW_"
#define COMMIT_AT_COLUMN "\"_ETL_COMMIT_AT\" TIMESTAMP_TZ(6)"
#define DELETED_AT_COLUMN "\"_ETL_DELETED_AT\" TIMESTAMP_TZ(6)"
#define COERCED_COLUMN "\"" SF_COERCED_COLUMN "\" VARIANT"
// Whatever account, database or schema say: with a collation texts that differ may be equal, as keys too.
#define WITHOUT_COLLATION " DEFAULT_DDL_COLLATION = ''"

// Snowflake counts characters, not bytes.
static size_t character_count(const char *name)
{
    size_t count = 0;
    for (const char *c = name; *c != '\0'; c++)
        count += ((uint8_t)*c & 0xC0) != 0x80;
    return count;
}

static bool check_name(const struct table *table, const char *what, const char *name, struct err *out_error)
{
    if (*name != '\0' && character_count(name) <= SF_NAME_SIZE_MAX)
        return true;
    return err_set(out_error, ERR_CONFIG, "name_size",
                   "table %s.%s: the name of its %s in Snowflake would have %zu characters (1 to %d are allowed)",
                   table->schema_name, table->table_name, what, character_count(name), SF_NAME_SIZE_MAX);
}

static bool check_columns(const struct sf_table_layout *layout, struct err *out_error)
{
    const struct table *table = layout->table;
    if (table->column_count == 0)
        return err_set(out_error, ERR_CONFIG, "no_columns",
                       "table %s.%s has no published column, nothing can be copied", table->schema_name,
                       table->table_name);
    for (uint16_t i = 0; i < table->column_count; i++) {
        const char *name = layout->column_names[i];
        if (!check_name(table, "column", name, out_error))
            return false;
        if (strncasecmp(name, SF_OUR_COLUMN_PREFIX, sizeof SF_OUR_COLUMN_PREFIX - 1) == 0)
            return err_set(out_error, ERR_CONFIG, "column_reserved",
                           "table %s.%s: column %s cannot be copied, names that begin with " SF_OUR_COLUMN_PREFIX
                           " are kept for etl-stream's own columns; rename it or leave it out of the publication",
                           table->schema_name, table->table_name, table->columns[i].name);
        for (uint16_t j = 0; j < i; j++)
            if (strcmp(name, layout->column_names[j]) == 0)
                return err_set(out_error, ERR_CONFIG, "column_collision",
                               "table %s.%s: columns %s and %s would both be \"%s\" in Snowflake; identifier_case = "
                               "preserve keeps them apart, or rename one, or leave it out of the publication",
                               table->schema_name, table->table_name, table->columns[j].name, table->columns[i].name,
                               name);
    }
    return true;
}

// Of a name that is too long to have something before it: a hash.
static void make_shadow_name(struct sf_table_layout *layout)
{
    struct buf name;
    buf_init(&name, SIZE_MAX);
    buf_append_text(&name, SHADOW_PREFIX);
    if (strlen(SHADOW_PREFIX) + character_count(layout->target_name) <= SF_NAME_SIZE_MAX)
        buf_append_text(&name, layout->target_name);
    else
        sf_append_name_hash(&name, layout->target_name);
    layout->shadow_name = strdup(buf_text(&name));
    CHECK(layout->shadow_name != NULL);
    buf_deinit(&name);
}

const char *sf_layout_merge_name(const struct sf_table_layout *layout)
{
    return layout->is_reshaping ? layout->shadow_name : layout->target_name;
}

bool sf_layout_init(struct sf_table_layout *layout, const struct table *table, const struct column_encoder *encoders,
                    const char *database, const char *schema, const char *landing_schema,
                    const struct sf_naming *naming, struct err *out_error)
{
    *layout = (struct sf_table_layout){
        .table = table, .encoders = encoders, .database = database, .schema = schema, .landing_schema = landing_schema};
    sf_naming_tables(naming, table, &layout->names);
    layout->target_name = layout->names.target;
    layout->landing_name = layout->names.landing;
    if (layout->names.schema != NULL)
        layout->schema = layout->names.schema;
    layout->column_names = calloc((size_t)table->column_count + 1, sizeof *layout->column_names);
    CHECK(layout->column_names != NULL);
    for (uint16_t i = 0; i < table->column_count; i++)
        layout->column_names[i] = sf_naming_column(naming, table->columns[i].name);
    if (check_name(table, "schema", layout->schema, out_error) &&
        check_name(table, "target", layout->target_name, out_error) &&
        check_name(table, "landing table", layout->landing_name, out_error) && check_columns(layout, out_error)) {
        make_shadow_name(layout);
        return true;
    }
    sf_layout_deinit(layout);
    return false;
}

void sf_layout_deinit(struct sf_table_layout *layout)
{
    if (layout->column_names != NULL)
        for (uint16_t i = 0; i < layout->table->column_count; i++)
            free(layout->column_names[i]);
    free(layout->column_names);
    free(layout->shadow_name);
    sf_table_names_deinit(&layout->names);
    *layout = (struct sf_table_layout){0};
}

static void append_columns(const struct sf_table_layout *layout, bool in_landing, struct buf *out)
{
    for (uint16_t i = 0; i < layout->table->column_count; i++) {
        buf_append_text(out, i == 0 ? "" : ", ");
        sf_append_identifier(out, layout->column_names[i]);
        buf_append_byte(out, ' ');
        typemap_format_sql(&layout->encoders[i].target, in_landing, out);
    }
}

// also: what else it tells of, or NULL.
static void append_comment(const struct sf_table_layout *layout, const char *pipeline, const char *role,
                           const char *also, struct buf *out)
{
    struct buf marker;
    buf_init(&marker, SF_MARKER_SIZE_MAX);
    sf_marker_append(&marker, pipeline, layout->table, role);
    if (strcmp(role, "landing") == 0 && layout->has_commit_at)
        sf_marker_append_has(&marker, SF_MARKER_COMMIT_AT);
    if (strcmp(role, "target") == 0 && layout->has_deleted_at)
        sf_marker_append_has(&marker, SF_MARKER_DELETED_AT);
    if (strcmp(role, "target") == 0 && layout->has_coerced)
        sf_marker_append_has(&marker, SF_MARKER_COERCED);
    if (also != NULL)
        sf_marker_append_has(&marker, also);
    CHECK(!marker.failed);
    buf_append_text(out, " COMMENT = ");
    sf_append_literal(out, buf_text(&marker));
    buf_deinit(&marker);
}

// All columns nullable and without defaults (the streaming pipe applies none). Unmerged rows are the only copy in
// Snowflake, hence the day of retention; refused rows are kept in the error table.
void sf_ddl_create_landing(const struct sf_table_layout *layout, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "CREATE TRANSIENT TABLE ");
    sf_append_qualified(out, layout->database, layout->landing_schema, layout->landing_name);
    buf_append_text(out, " (");
    append_columns(layout, true, out);
    buf_append_text(out, ", \"_ETL_OP\" VARCHAR(1), \"_ETL_SEQ\" VARCHAR(26), \"_ETL_OLD_KEY\" ARRAY, "
                         "\"_ETL_UNCHANGED\" ARRAY, " COERCED_COLUMN);
    buf_append_text(out, layout->has_commit_at ? ", " COMMIT_AT_COLUMN : "");
    buf_append_text(out, ") DATA_RETENTION_TIME_IN_DAYS = 1 "
                         "ENABLE_SCHEMA_EVOLUTION = TRUE ERROR_LOGGING = TRUE" WITHOUT_COLLATION);
    append_comment(layout, pipeline, "landing", NULL, out);
}

// ERROR_LOGGING stays off here: with it a merge would skip a row that does not fit instead of failing.
void sf_ddl_create_target(const struct sf_table_layout *layout, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "CREATE TABLE ");
    sf_append_qualified(out, layout->database, layout->schema, layout->target_name);
    buf_append_text(out, " (");
    append_columns(layout, false, out);
    buf_append_text(out, layout->has_coerced ? ", " COERCED_COLUMN : "");
    buf_append_text(out, layout->has_deleted_at ? ", " DELETED_AT_COLUMN ")" : ")");
    buf_append_text(out, WITHOUT_COLLATION);
    append_comment(layout, pipeline, "target", NULL, out);
}

static void begin_alter(const struct sf_table_layout *layout, bool is_landing, struct buf *out)
{
    buf_append_text(out, "ALTER TABLE ");
    sf_append_qualified(out, layout->database, is_landing ? layout->landing_schema : layout->schema,
                        is_landing ? layout->landing_name : sf_layout_merge_name(layout));
}

static void append_target(const struct sf_table_layout *layout, const char *name, struct buf *out)
{
    sf_append_qualified(out, layout->database, layout->schema, name);
}

void sf_ddl_create_shadow(const struct sf_table_layout *layout, struct buf *out)
{
    buf_append_text(out, "CREATE TABLE ");
    append_target(layout, layout->shadow_name, out);
    buf_append_text(out, " LIKE ");
    append_target(layout, layout->target_name, out);
    buf_append_text(out, " COPY GRANTS");
}

void sf_ddl_swap_shadow(const struct sf_table_layout *layout, struct buf *out)
{
    buf_append_text(out, "ALTER TABLE ");
    append_target(layout, layout->target_name, out);
    buf_append_text(out, " SWAP WITH ");
    append_target(layout, layout->shadow_name, out);
}

void sf_ddl_drop_shadow(const struct sf_table_layout *layout, struct buf *out)
{
    buf_append_text(out, "DROP TABLE IF EXISTS ");
    append_target(layout, layout->shadow_name, out);
}

void sf_ddl_describe(const struct sf_table_layout *layout, bool is_landing, struct buf *out)
{
    buf_append_text(out, "DESCRIBE TABLE ");
    if (is_landing)
        sf_append_qualified(out, layout->database, layout->landing_schema, layout->landing_name);
    else
        append_target(layout, layout->target_name, out);
}

void sf_ddl_add_commit_at(const struct sf_table_layout *layout, struct buf *out)
{
    begin_alter(layout, true, out);
    buf_append_text(out, " ADD COLUMN IF NOT EXISTS " COMMIT_AT_COLUMN);
}

void sf_ddl_add_deleted_at(const struct sf_table_layout *layout, struct buf *out)
{
    begin_alter(layout, false, out);
    buf_append_text(out, " ADD COLUMN IF NOT EXISTS " DELETED_AT_COLUMN);
}

void sf_ddl_add_coerced(const struct sf_table_layout *layout, struct buf *out)
{
    begin_alter(layout, false, out);
    buf_append_text(out, " ADD COLUMN IF NOT EXISTS " COERCED_COLUMN);
}

void sf_ddl_comment_shadowed(const struct sf_table_layout *layout, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "ALTER TABLE ");
    append_target(layout, layout->target_name, out);
    buf_append_text(out, " SET");
    append_comment(layout, pipeline, "target", SF_MARKER_SHADOW, out);
}

void sf_ddl_comment_landing(const struct sf_table_layout *layout, const char *pipeline, struct buf *out)
{
    begin_alter(layout, true, out);
    buf_append_text(out, " SET");
    append_comment(layout, pipeline, "landing", NULL, out);
}

void sf_ddl_comment_target(const struct sf_table_layout *layout, const char *pipeline, struct buf *out)
{
    begin_alter(layout, false, out);
    buf_append_text(out, " SET");
    append_comment(layout, pipeline, "target", layout->is_reshaping ? SF_MARKER_SWAPPED : NULL, out);
}

// One table a pipeline: an UPDATE locks a whole table until its transaction ends, and merges of several pipelines must not
// wait for each other.
void sf_ddl_append_state(const char *database, const char *landing_schema, const char *pipeline, struct buf *out)
{
    struct buf name;
    buf_init(&name, SIZE_MAX);
    buf_append_text(&name, SF_STATE_TABLE_PREFIX);
    if (strlen(SF_STATE_TABLE_PREFIX) + strlen(pipeline) <= SF_NAME_SIZE_MAX)
        buf_append_text(&name, pipeline);
    else
        sf_append_name_hash(&name, pipeline);
    sf_append_qualified(out, database, landing_schema, buf_text(&name));
    buf_deinit(&name);
}

void sf_ddl_create_state(const char *database, const char *landing_schema, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "CREATE TABLE IF NOT EXISTS ");
    sf_ddl_append_state(database, landing_schema, pipeline, out);
    buf_append_text(out, " (\"PIPELINE\" VARCHAR(255), \"POSITION\" VARCHAR(18), \"WRITER\" VARCHAR(16), "
                         "\"COMMIT_AT\" TIMESTAMP_TZ(6), "
                         "\"MERGED_AT\" TIMESTAMP_TZ(6), \"MARK_POSITION\" VARCHAR(18), \"MARKED_AT\" "
                         "TIMESTAMP_TZ(6), \"CLEAN_POSITION\" VARCHAR(18))" WITHOUT_COLLATION
                         " COMMENT = 'etl-stream: how far the pipeline is merged'");
}

void sf_ddl_init_state(const char *database, const char *landing_schema, const char *pipeline,
                       const char *position_text, struct buf *out)
{
    buf_append_text(out, "INSERT INTO ");
    sf_ddl_append_state(database, landing_schema, pipeline, out);
    buf_append_text(out, " (\"PIPELINE\", \"POSITION\") SELECT ");
    sf_append_literal(out, pipeline);
    buf_append_text(out, ", ");
    sf_append_literal(out, position_text);
    buf_append_text(out, " WHERE NOT EXISTS (SELECT 1 FROM ");
    sf_ddl_append_state(database, landing_schema, pipeline, out);
    buf_append_text(out, " WHERE \"PIPELINE\" = ");
    sf_append_literal(out, pipeline);
    buf_append_byte(out, ')');
}

void sf_ddl_fence_state(const char *database, const char *landing_schema, const char *pipeline, const char *writer,
                        struct buf *out)
{
    buf_append_text(out, "UPDATE ");
    sf_ddl_append_state(database, landing_schema, pipeline, out);
    buf_append_text(out, " SET \"WRITER\" = ");
    sf_append_literal(out, writer);
    buf_append_text(out, " WHERE \"PIPELINE\" = ");
    sf_append_literal(out, pipeline);
}

void sf_ddl_read_state(const char *database, const char *landing_schema, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "SELECT \"POSITION\", \"COMMIT_AT\", \"MERGED_AT\" FROM ");
    sf_ddl_append_state(database, landing_schema, pipeline, out);
    buf_append_text(out, " WHERE \"PIPELINE\" = ");
    sf_append_literal(out, pipeline);
}

// In the pattern a backslash would take the next character for itself, so '_' (any character) stands for it. The
// wildcards that a name itself holds match themselves among others.
static void append_pattern(struct buf *out, const char *name)
{
    struct buf pattern;
    buf_init(&pattern, SIZE_MAX);
    for (const char *c = name; *c != '\0'; c++)
        buf_append_byte(&pattern, (uint8_t)(*c == '\\' ? '_' : *c));
    sf_append_literal(out, buf_text(&pattern));
    buf_deinit(&pattern);
}

void sf_ddl_show_table(const char *database, const char *schema, const char *name, struct buf *out)
{
    buf_append_text(out, "SHOW TABLES LIKE ");
    append_pattern(out, name);
    buf_append_text(out, " IN SCHEMA ");
    sf_append_identifier(out, database);
    buf_append_byte(out, '.');
    sf_append_identifier(out, schema);
}

void sf_ddl_show_schema(const char *database, const char *schema, struct buf *out)
{
    buf_append_text(out, "SHOW SCHEMAS LIKE ");
    append_pattern(out, schema);
    buf_append_text(out, " IN DATABASE ");
    sf_append_identifier(out, database);
}

void sf_ddl_create_schema(const char *database, const char *schema, const char *pipeline, struct buf *out)
{
    buf_append_text(out, "CREATE SCHEMA IF NOT EXISTS ");
    sf_append_identifier(out, database);
    buf_append_byte(out, '.');
    sf_append_identifier(out, schema);
    buf_append_text(out, " COMMENT = ");
    struct buf comment;
    buf_init(&comment, SF_MARKER_SIZE_MAX);
    buf_appendf(&comment, "etl-stream: made for pipeline %s", pipeline);
    sf_append_literal(out, buf_text(&comment));
    buf_deinit(&comment);
}

void sf_ddl_rename_aside(const char *database, const char *schema, const char *name, const char *when, struct buf *out)
{
    struct buf aside;
    size_t room = SF_NAME_SIZE_MAX - strlen(ASIDE_INFIX) - strlen(when);
    const char *end = name;
    while (*end != '\0' && room > 0) {
        do
            end++;
        while (((uint8_t)*end & 0xC0) == 0x80);
        room--;
    }
    buf_init(&aside, SIZE_MAX);
    buf_append(&aside, name, (size_t)(end - name));
    buf_append_text(&aside, ASIDE_INFIX);
    buf_append_text(&aside, when);
    buf_append_text(out, "ALTER TABLE ");
    sf_append_qualified(out, database, schema, name);
    buf_append_text(out, " RENAME TO ");
    sf_append_qualified(out, database, schema, buf_text(&aside));
    buf_deinit(&aside);
}
