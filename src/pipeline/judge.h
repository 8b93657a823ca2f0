// What a source must have, and what will hurt later: each finding says what is wrong and the statement that mends it. Pure.
#ifndef ETL_PIPELINE_JUDGE_H
#define ETL_PIPELINE_JUDGE_H

#include <stdbool.h>

#include "base/err.h"
#include "model/table.h"
#include "pg/pg_catalog.h"

enum judge_severity { JUDGE_ERROR, JUDGE_WARNING };

struct judge_subject {
    const struct pg_source_facts *facts;
    const char *source_text;  // without secrets
    const char *publication;
    const char *slot;
    bool is_slot_made;  // the catalog says that the slot is ours and in use
    bool may_own_slot;  // the catalog says that we were about to make it
    lsn_t floor_lsn;    // is_slot_made
};

typedef void (*judge_on_finding)(void *context, enum judge_severity severity, const struct err *finding);

void judge_source(const struct judge_subject *subject, judge_on_finding on_finding, void *context);
void judge_table(const struct table *table, judge_on_finding on_finding, void *context);

#endif
