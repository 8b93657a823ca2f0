// An error as it travels upward: what kind it is (which decides what is done), a code of the other
// side's or ours, and one line that says what was wrong, where, and what is allowed or would mend it.
// The text never holds a secret: whoever builds it passes only what may be shown.
#ifndef ETL_BASE_ERR_H
#define ETL_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

enum err_kind {
    ERR_NONE = 0,
    ERR_TRANSIENT,  // worth another try after a back-off: network, time-out, 5xx, server restarting
    ERR_CONFIG,     // the operator has to change something: wrong password, missing publication
    ERR_LOST,       // what we stood on is gone: slot, snapshot, channel token
    ERR_FENCED,     // another writer has taken over; never retried by itself
    ERR_DATA,       // a value or message that cannot be handled; names where
    ERR_INTERNAL    // our own fault or the machine's (out of memory, disk)
};

#define ERR_CODE_SIZE 64
#define ERR_TEXT_SIZE 768

struct err {
    enum err_kind kind;
    char code[ERR_CODE_SIZE];  // SQLSTATE, Snowflake code or a word of ours; "" when there is none
    char text[ERR_TEXT_SIZE];  // one line, no line breaks
};

void err_clear(struct err *error);
bool err_is_set(const struct err *error);
// Fills error. Control characters become blanks, passwords in URLs asterisks (mask.h); a text that is too long is cut with "...". Always returns false, so that `return err_set(…)` reads well.
bool err_set(struct err *error, enum err_kind kind, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool err_set_va(struct err *error, enum err_kind kind, const char *code, const char *format, va_list arguments)
    __attribute__((format(printf, 4, 0)));
// Puts "context: " before the text.
void err_prefix(struct err *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *err_kind_name(enum err_kind kind);

#endif
