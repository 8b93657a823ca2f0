#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mask.h"

// One line: control characters become blanks. When the text was cut, it ends in "..." behind a whole UTF-8 character.
static void text_tidy(char *text, bool was_cut)
{
    for (char *at = text; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte < 0x20 || byte == 0x7F)
            *at = ' ';
    }
    if (!was_cut)
        return;
    size_t end = ERR_TEXT_SIZE - 1 - 3;
    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    memcpy(text + end, "...", 4);
}

void err_clear(struct err *error)
{
    error->kind = ERR_NONE;
    error->code[0] = '\0';
    error->text[0] = '\0';
}

bool err_is_set(const struct err *error)
{
    return error->kind != ERR_NONE;
}

bool err_set_va(struct err *error, enum err_kind kind, const char *code, const char *format, va_list arguments)
{
    CHECK(kind != ERR_NONE);
    // Built aside: an argument may point into this very error.
    struct err built = {.kind = kind};
    (void)snprintf(built.code, sizeof built.code, "%s", code != NULL ? code : "");
    int length = vsnprintf(built.text, sizeof built.text, format, arguments);
    if (length < 0)
        (void)snprintf(built.text, sizeof built.text, "%s", format);
    text_tidy(built.text, length >= (int)sizeof built.text);
    mask_passwords(built.text);
    *error = built;
    return false;
}

bool err_set(struct err *error, enum err_kind kind, const char *code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)err_set_va(error, kind, code, format, arguments);
    va_end(arguments);
    return false;
}

void err_prefix(struct err *error, const char *format, ...)
{
    char built[ERR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int prefix = vsnprintf(built, sizeof built, format, arguments);
    va_end(arguments);
    if (prefix < 0)
        return;

    size_t used = (size_t)prefix < sizeof built ? (size_t)prefix : sizeof built - 1;
    int rest = snprintf(built + used, sizeof built - used, ": %s", error->text);
    text_tidy(built, rest < 0 || (size_t)rest >= sizeof built - used || (size_t)prefix >= sizeof built);
    mask_passwords(built);
    memcpy(error->text, built, sizeof built);
}

const char *err_kind_name(enum err_kind kind)
{
    switch (kind) {
    case ERR_NONE: return "none";
    case ERR_TRANSIENT: return "transient";
    case ERR_CONFIG: return "config";
    case ERR_LOST: return "lost";
    case ERR_FENCED: return "fenced";
    case ERR_DATA: return "data";
    case ERR_INTERNAL: return "internal";
    }
    check_failed("a known kind of error", __FILE__, __LINE__);
}
