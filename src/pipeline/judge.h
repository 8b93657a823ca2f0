// What a source must have, and what will hurt later: each finding says what is wrong and the statement that mends it. Pure.
#ifndef ETL_PIPELINE_JUDGE_H
#define ETL_PIPELINE_JUDGE_H

#include <stdbool.h>

#include "base/finding.h"
#include "model/table.h"
#include "pg/pg_catalog.h"
#include "pg/pg_check.h"

struct judge_subject {
    const struct pg_source_facts *facts;
    const struct pg_check_source *details;  // of etl-stream check; NULL: a start, which looks at what it needs
    const char *source_text;                // without secrets
    const char *publication;
    const char *slot;
    bool is_slot_made;             // the catalog says that the slot is ours and in use
    bool may_own_slot;             // the catalog says that we were about to make it
    lsn_t floor_lsn;               // is_slot_made
    int64_t decoding_work_mem_kb;  // of the pipeline, 0: the server's own; for check
    int64_t workers;               // that read tables side by side; for check
    int64_t backend_pid;           // as the connection was told; for check
};

void judge_source(const struct judge_subject *subject, finding_on on_finding, void *context);
// user: the source's role, for statements.
void judge_table(const struct table *table, const char *user, finding_on on_finding, void *context);
// "a"."b", … that a publication could hold: tables itself, or NULL where they are too many to be named.
const char *judge_tables_to_publish(const char *tables);
// What only check looks at.
void judge_source_details(const struct judge_subject *subject, finding_on on_finding, void *context);
void judge_table_types(const struct table *table, finding_on on_finding, void *context);
void judge_table_details(const struct pg_check_table *table, const struct judge_subject *subject, finding_on on_finding,
                         void *context);
// Why a connection was refused, with the statement where there is one.
void judge_connection(const struct err *error, const char *user, const char *database, const char *source_text,
                      finding_on on_finding, void *context);

#endif
