// Every finding of etl-stream check, by its code: what it means, why it matters, who mends it. docs/check.md is made from this table.
#ifndef ETL_CLI_FINDINGS_H
#define ETL_CLI_FINDINGS_H

#include "base/buf.h"

struct finding_kind {
    const char *code;
    const char *gravity;  // "error", "warning", "note", or two of them
    const char *title;
    const char *why;     // it matters
    const char *remedy;  // beside the statement that check prints
    const char *run_as;  // who runs the statement; NULL: no statement
};

// Never NULL: a code that is not in the table is another failure of the side that is named.
const struct finding_kind *finding_kind_find(const char *code);
// docs/check.md: etl-stream help findings prints it.
void findings_write(struct buf *out);

#endif
