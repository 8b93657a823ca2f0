// What sf_merge.c (the block, the templates) and sf_merge_source.c (where a table's rows come from) share.
#ifndef ETL_SINKS_SNOWFLAKE_SF_MERGE_PRIVATE_H
#define ETL_SINKS_SNOWFLAKE_SF_MERGE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "sinks/snowflake/sf_merge.h"

#define MERGE_PLACEHOLDER_SIZE_MAX 32

// What the templates are filled with. One table at a time; the block itself has none.
struct merge_text {
    struct buf *out;
    const struct sf_merge_window *window;
    const struct sf_merge_table *tables;
    const struct sf_merge_table *table;
    uint32_t table_count;
    uint32_t index;  // of the table
    int exception_last;
    uint32_t first, end;       // the tables that are written
    uint32_t procedure_count;  // of a block that calls instead of merging; 0: it merges
    uint32_t *out_lines;       // or NULL
    uint32_t lines;            // counted in the first lines_size bytes
    size_t lines_size;
    bool is_check;  // {source} yields the rows that cannot be resolved, with nothing but what finding them takes
    char below[SEQ_POSITION_TEXT_SIZE + 1];
    char from[SEQ_POSITION_TEXT_SIZE + 1];  // of the table's window
    char copied[SEQ_TEXT_SIZE + 1];         // the sequence of its copied rows
};

// {name} or {name:argument} in a template; argument is "" without one.
struct merge_placeholder {
    const char *name;
    void (*write)(struct merge_text *text, const char *argument);
};

extern const struct merge_placeholder sf_merge_source_placeholders[];
extern const size_t sf_merge_source_placeholder_count;

// Appends a template, line by line, without its comments.
void sf_merge_append_expanded(struct merge_text *text, const char *template);

void sf_merge_write_commit_at(struct merge_text *text, const char *argument);

static inline bool merge_is_append_only(const struct sf_merge_table *table)
{
    return table->layout->table->identity == IDENTITY_NOTHING;
}

static inline bool merge_is_multiset(const struct sf_merge_table *table)
{
    return table_is_multiset(table->layout->table);
}

static inline bool merge_is_keyed(const struct sf_merge_table *table)
{
    return table->layout->table->key_count > 0 && !merge_is_append_only(table);
}

static inline bool merge_marks(const struct sf_merge_table *table)
{
    return table->layout->marks_deletes && merge_is_keyed(table);
}

static inline bool merge_is_moving(const struct sf_merge_table *table)
{
    return table->may_have_moved && merge_is_keyed(table);
}

static inline bool merge_is_lacking(const struct sf_merge_table *table)
{
    return table->may_have_unchanged && merge_is_keyed(table);
}

#endif
