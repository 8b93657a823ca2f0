// Names in Snowflake: quoting, target and landing names, channel names, the marker in a table's comment.
#ifndef ETL_SINKS_SNOWFLAKE_SF_NAMES_H
#define ETL_SINKS_SNOWFLAKE_SF_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/table.h"

#define SF_NAME_SIZE_MAX 255         // Snowflake: identifiers of at most 255 characters
#define SF_CHANNEL_NAME_SIZE_MAX 64  // with its NUL
#define SF_MARKER_SIZE_MAX (1U << 16)
#define SF_OUR_COLUMN_PREFIX "_ETL_"  // columns of the source may not begin so, in any case
#define SF_COERCED_COLUMN SF_OUR_COLUMN_PREFIX "COERCED"

// Appends "a""b".
void sf_append_identifier(struct buf *out, const char *name);
// Appends 'a''b' with backslashes doubled (Snowflake reads escapes in single-quoted strings).
void sf_append_literal(struct buf *out, const char *text);
void sf_append_qualified(struct buf *out, const char *database, const char *schema, const char *name);
// Upper case of ASCII letters; all other bytes stay: they need quotes in Snowflake anyway, and what their upper case is
// depends on who is asked.
void sf_append_folded(struct buf *out, const char *name);
// 16 hex digits of a hash of the name: for names that would be too long.
void sf_append_name_hash(struct buf *out, const char *name);
// ETL_<16 hex of a hash of pipeline and table>_E<epoch>_<kind><n>, kind 'S' (stream) or 'C' (copy).
void sf_channel_name_format(const char *pipeline, const char *schema, const char *table, uint8_t epoch, char kind,
                            uint32_t n, char out[SF_CHANNEL_NAME_SIZE_MAX]);
// Whether it is a channel of this table, in whichever epoch; and which.
bool sf_channel_name_parse(const char *name, const char *pipeline, const char *schema, const char *table,
                           uint8_t *out_epoch, char *out_kind, uint32_t *out_n);
// SHOW CHANNELS of a schema, as many of ours as there may be in it; needs no warehouse. Rows have a column "name".
void sf_append_show_channels(struct buf *out, const char *database, const char *schema);
// Comment of our tables: "etl-stream: pipeline=NAME table=SCHEMA.TABLE role=ROLE", awkward characters as %XX; and
// who a comment says a table is of: this pipeline and table, another table of the pipeline, another pipeline. role is "landing" or "target".
void sf_marker_append(struct buf *out, const char *pipeline, const struct table *table, const char *role);
// Behind it: columns of ours that the table has besides its usual ones.
#define SF_MARKER_COMMIT_AT "commit_at"
#define SF_MARKER_DELETED_AT "deleted_at"
#define SF_MARKER_COERCED "coerced"
#define SF_MARKER_SHADOW \
    "shadow"  // of a target: not a column, but that there is another table that will take its place
#define SF_MARKER_SWAPPED \
    "swapped"  // of a target: that it took another table's place, which may be there under the shadow's name still
void sf_marker_append_has(struct buf *out, const char *what);
bool sf_marker_has(const char *comment, const char *what);
enum sf_owner { SF_OWNER_NOBODY, SF_OWNER_US, SF_OWNER_OTHER_TABLE, SF_OWNER_OTHER_PIPELINE };
enum sf_owner sf_marker_owner(const char *comment, const char *pipeline, const struct table *table);

#endif
