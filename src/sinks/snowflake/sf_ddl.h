// Text of the DDL for landing, target and state tables. Pure.
#ifndef ETL_SINKS_SNOWFLAKE_SF_DDL_H
#define ETL_SINKS_SNOWFLAKE_SF_DDL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "encode/typemap.h"
#include "model/table.h"
#include "sinks/snowflake/sf_naming.h"

#define SF_STATE_TABLE_PREFIX "_ETL_STATE_"  // and the pipeline's name

// How one table is laid out in Snowflake; built once, borrowed by DDL and merge.
struct sf_table_layout {
    const struct table *table;
    const struct column_encoder *encoders;  // table->column_count: types
    const char *database, *schema, *landing_schema;
    const char *target_name, *landing_name;
    struct sf_table_names names;  // owns them, and schema where it is the table's own
    char **column_names;          // in Snowflake, per column (target); landing uses the same
    // Of the merge, none by default; a key is needed for the first.
    bool marks_deletes;   // a deleted row stays in the target with _ETL_DELETED_AT, which has_deleted_at must allow
    bool has_deleted_at;  // the target has that column
    bool has_coerced;     // the target has _ETL_COERCED: some value did not fit
    bool has_commit_at;   // the landing table has _ETL_COMMIT_AT, and the encoder writes it
    // The target cannot get the columns' types as it is: shadow_name, in the same schema, takes its place after the first
    // merge. Until then what is written here of a target (merge, ALTER) goes there.
    bool is_reshaping;
    char *shadow_name;  // owned
};

// False (ERR_CONFIG) when two columns would share a name, one collides with ours (_ETL_…), or a name
// is too long for Snowflake; the layout is then empty (deinit is allowed). Everything passed in is borrowed.
bool sf_layout_init(struct sf_table_layout *layout, const struct table *table, const struct column_encoder *encoders,
                    const char *database, const char *schema, const char *landing_schema,
                    const struct sf_naming *naming, struct err *out_error);
void sf_layout_deinit(struct sf_table_layout *layout);

void sf_ddl_show_schema(const char *database, const char *schema, struct buf *out);
void sf_ddl_create_schema(const char *database, const char *schema, const char *pipeline, struct buf *out);
// Moves a table that is not ours out of the way: NAME_BEFORE_<when>, cut to what a name may hold. when: digits, "T", "Z".
void sf_ddl_rename_aside(const char *database, const char *schema, const char *name, const char *when, struct buf *out);
void sf_ddl_create_landing(const struct sf_table_layout *layout, const char *pipeline, struct buf *out);
// Columns that an option asked for after the table was made; the comment tells that they are there (sf_marker_has).
void sf_ddl_add_commit_at(const struct sf_table_layout *layout, struct buf *out);
void sf_ddl_add_deleted_at(const struct sf_table_layout *layout, struct buf *out);
// The target gets _ETL_COERCED when the first value did not fit. The comment is set before: a target whose comment tells of
// it may not have it yet.
void sf_ddl_add_coerced(const struct sf_table_layout *layout, struct buf *out);
void sf_ddl_comment_landing(const struct sf_table_layout *layout, const char *pipeline, struct buf *out);
// A shadow's comment tells that there is another table beside it, as it will be of the target: it has both names when they are swapped.
void sf_ddl_comment_target(const struct sf_table_layout *layout, const char *pipeline, struct buf *out);
// The shadow of a target: its columns, without rows. The target's comment tells that there is one.
void sf_ddl_comment_shadowed(const struct sf_table_layout *layout, const char *pipeline, struct buf *out);
void sf_ddl_create_shadow(const struct sf_table_layout *layout, struct buf *out);
void sf_ddl_swap_shadow(const struct sf_table_layout *layout, struct buf *out);  // both names in one transaction
void sf_ddl_drop_shadow(const struct sf_table_layout *layout, struct buf *out);
void sf_ddl_describe(const struct sf_table_layout *layout, bool is_landing, struct buf *out);
// Where the rows of merges go.
const char *sf_layout_merge_name(const struct sf_table_layout *layout);
void sf_ddl_create_target(const struct sf_table_layout *layout, const char *pipeline, struct buf *out);
// The state table of a pipeline, one row:
//   PIPELINE   its name
//   POSITION   everything below it is merged: epoch (2 hex digits) and LSN (16)
//   COMMIT_AT  the source's commit time of the newest commit below it, or of one shortly before; NULL if it is not known
//   MERGED_AT  when that merge ran
//   CLEAN_POSITION  landing rows below it were merged longer ago than they are kept; NULL: none were
//   MARK_POSITION, MARKED_AT  what will be the next one, and since when it is merged
void sf_ddl_append_state(const char *database, const char *landing_schema, const char *pipeline,
                         struct buf *out);  // its qualified name
void sf_ddl_create_state(const char *database, const char *landing_schema, const char *pipeline,
                         struct buf *out);  // IF NOT EXISTS
// Gives a pipeline that was never here its row; does nothing otherwise.
void sf_ddl_init_state(const char *database, const char *landing_schema, const char *pipeline,
                       const char *position_text, struct buf *out);
// Names the writer whose merges count from now on. It waits for a merge that is under way, and fails one that comes later.
void sf_ddl_fence_state(const char *database, const char *landing_schema, const char *pipeline, const char *writer,
                        struct buf *out);
void sf_ddl_read_state(const char *database, const char *landing_schema, const char *pipeline, struct buf *out);
// The answer may hold tables of similar names (SHOW … LIKE ignores case and knows wildcards): compare "name".
void sf_ddl_show_table(const char *database, const char *schema, const char *name, struct buf *out);

#endif
