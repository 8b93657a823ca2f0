#include "base/finding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

// text is cut in two at the statement.
static void tell(const struct finding_teller *teller, enum finding_severity severity, const struct err *error,
                 char *text)
{
    struct finding finding = {.severity = severity, .where = teller->where, .error = error, .what = text};
    char *mend = strstr(text, FINDING_MEND);
    if (mend != NULL) {
        *mend = '\0';
        finding.statement = mend + strlen(FINDING_MEND);
    }
    teller->on_finding(teller->context, &finding);
}

void finding_tell(const struct finding_teller *teller, enum finding_severity severity, enum err_kind kind,
                  const char *code, const char *format, ...)
{
    struct err error;
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    CHECK(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    err_set(&error, kind, code, "%s", text);
    tell(teller, severity, &error, text);
    free(text);
}

void finding_tell_error(const struct finding_teller *teller, enum finding_severity severity, const struct err *error)
{
    char text[ERR_TEXT_SIZE];
    (void)snprintf(text, sizeof text, "%s", error->text);
    tell(teller, severity, error, text);
}

const char *finding_severity_name(enum finding_severity severity)
{
    static const char *const names[] = {"error", "warning", "note"};
    return names[severity];
}
