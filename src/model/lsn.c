#include "model/lsn.h"

#include <stddef.h>

// One to eight hex digits; returns how many were read, 0 if there is none or too many.
static size_t half_parse(const char *text, uint32_t *out_half)
{
    uint32_t half = 0;
    size_t digits = 0;
    for (;; digits++) {
        char c = text[digits];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else
            break;
        if (digits == 8)
            return 0;
        half = half << 4 | digit;
    }
    *out_half = half;
    return digits;
}

bool lsn_parse(const char *text, lsn_t *out_lsn)
{
    uint32_t high;
    uint32_t low;
    size_t digits = half_parse(text, &high);
    if (digits == 0 || text[digits] != '/')
        return false;
    text += digits + 1;
    digits = half_parse(text, &low);
    if (digits == 0 || text[digits] != '\0')
        return false;
    *out_lsn = (lsn_t)high << 32 | low;
    return true;
}
