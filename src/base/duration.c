#include "base/duration.h"

#include <stdlib.h>
#include <string.h>

bool duration_parse(const char *text, const char *name, uint32_t *out_seconds, struct err *out_error)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    if (strcmp(text, "forever") == 0) {
        *out_seconds = DURATION_FOREVER;
        return true;
    }
    size_t digits = strspn(text, "0123456789");
    uint64_t number = digits > 0 && digits < 10 ? strtoull(text, NULL, 10) : UINT64_MAX;
    for (size_t i = 0; i < sizeof units / sizeof units[0] && number != UINT64_MAX; i++) {
        if (text[digits] != units[i].letter || text[digits + 1] != '\0' ||
            number > DURATION_SECONDS_MAX / units[i].seconds)
            continue;
        *out_seconds = (uint32_t)number * units[i].seconds;
        return true;
    }
    return err_set(
        out_error, ERR_CONFIG, "usage",
        "%s is \"%s\"; a number with s, m, h or d behind it (90s, 15m, 24h, 7d; up to 3650d), or forever, is "
        "allowed",
        name, text);
}
