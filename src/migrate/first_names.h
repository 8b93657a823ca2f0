// How the first etl-stream and the library under it call what they make. Pure. Facts from their own sources:
// github.com/dwickyfp/etl-stream (dd3e3a8): etl-snowflake-py/etl_snowflake/ddl.py (LANDING_<TABLE> in the landing schema, <TABLE>
// in the schema, both upper case; columns as at the source, in quotes), task.py (ETL_MERGE_<TABLE>_TASK in the landing schema),
// client.py (the landing table's own pipe, which Snowflake makes and takes away with the table).
// github.com/supabase/etl: etl-postgres/src/slots.rs (supabase_etl_apply_<id>, supabase_etl_table_sync_<id>_<table's oid>; id is
// the pipelines table's id_pipeline).
#ifndef ETL_MIGRATE_FIRST_NAMES_H
#define ETL_MIGRATE_FIRST_NAMES_H

#include <stdbool.h>
#include <stdint.h>

// Heap, by free.
char *first_target_name(const char *table);
char *first_landing_name(const char *table);
char *first_task_name(const char *table);
// NAME_BEFORE_ETL_STREAM, from number 2 on with _2, … behind it; a long name is cut to what Snowflake allows.
char *first_aside_name(const char *name, unsigned number);

// The stream's slot, or one of a table's copy, of the pipeline with that id_pipeline.
bool first_is_slot(const char *slot, int64_t id_pipeline);
// Whether a task is called as theirs are, whichever table it is of.
bool first_is_task_name(const char *task);
// Whether the SQL text names the object: as a whole identifier, quoted or not, in whatever case.
bool first_sql_names(const char *sql, const char *name);

#endif
