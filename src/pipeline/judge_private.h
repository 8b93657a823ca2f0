// What the two halves of judge.h share.
#ifndef ETL_PIPELINE_JUDGE_PRIVATE_H
#define ETL_PIPELINE_JUDGE_PRIVATE_H

#include "pipeline/judge.h"

#define JUDGE_MEND_SIZE 320
#define JUDGE_NAME_SIZE 132   // an identifier of 63 bytes in quotes, each of its own doubled
#define JUDGE_TABLE_SIZE 264  // … with its schema's

// "name" in quotes.
const char *judge_quote(const char *name, char out[JUDGE_NAME_SIZE]);
// "schema"."table"
const char *judge_quote_table(const char *schema_name, const char *table_name, char out[JUDGE_TABLE_SIZE]);
// "; mend it with: …" for a setting of the server; managed services have no ALTER SYSTEM.
const char *judge_setting(const struct pg_source_facts *facts, const char *name, const char *value, bool needs_restart,
                          char out[JUDGE_MEND_SIZE]);

#endif
