// Which tables of a publication are followed: patterns, separated by commas.
//
//   sales.*,*.log_????,!sales.tmp_*      all of sales and every log_ of four characters, but nothing that begins with tmp_
//
// A pattern is SCHEMA.TABLE, or TABLE for any schema; * stands for any characters, ? for one. '!' or '-' before it excludes. A
// table is chosen if an including pattern matches it (or there is none) and no excluding one does, in whatever order they stand.
// Case matters, as it does in PostgreSQL's catalog.
#ifndef ETL_MODEL_TABLE_CHOICE_H
#define ETL_MODEL_TABLE_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct table_choice_pattern {
    char *text;    // as given, without blanks around it; owned
    char *schema;  // NULL: any
    char *table;
    bool excludes;
    bool has_matched;  // some table since the choice was made
};

// All zero: everything is chosen.
struct table_choice {
    struct table_choice_pattern *patterns;
    size_t count;
};

// text NULL or "": everything. False (ERR_CONFIG): names the pattern; nothing is left to free.
bool table_choice_parse(const char *text, struct table_choice *out_choice, struct err *out_error);
void table_choice_deinit(struct table_choice *choice);
// Notes which patterns match.
bool table_choice_includes(struct table_choice *choice, const char *schema_name, const char *table_name);
// '*' and '?' (one character of UTF-8) against a whole name.
bool table_choice_matches(const char *pattern, const char *name);

#endif
