// What somebody who looks finds wrong: how grave it is, where, what, and the statement that mends it. Whoever tells it writes one
// text, "what is wrong; mend it with: STATEMENT", which goes into a log as it is and is taken apart for people and machines.
#ifndef ETL_BASE_FINDING_H
#define ETL_BASE_FINDING_H

#include <stdarg.h>

#include "base/err.h"

#define FINDING_MEND "; mend it with: "

enum finding_severity {
    FINDING_ERROR,    // nothing runs with it
    FINDING_WARNING,  // it will hurt later
    FINDING_NOTE      // good to know
};

// Borrowed for the call that tells it.
struct finding {
    enum finding_severity severity;
    const char *where;        // the source, the destination or an object there; without secrets
    const struct err *error;  // kind, code and the whole text (cut where it is too long)
    const char *what;         // without the statement
    const char *statement;    // never cut; NULL: there is nothing to type
};

typedef void (*finding_on)(void *context, const struct finding *finding);

struct finding_teller {
    finding_on on_finding;
    void *context;
    const char *where;
};

void finding_tell(const struct finding_teller *teller, enum finding_severity severity, enum err_kind kind,
                  const char *code, const char *format, ...) __attribute__((format(printf, 5, 6)));
void finding_tell_error(const struct finding_teller *teller, enum finding_severity severity, const struct err *error);
const char *finding_severity_name(enum finding_severity severity);  // "error", "warning", "note"

#endif
