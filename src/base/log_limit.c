#include "base/log_limit.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define WAYS 4  // places that a kind may take; the one whose window began first makes room
#define HASH_START UINT64_C(0xCBF29CE484222325)

void log_limit_init(struct log_limit *limit)
{
    memset(limit, 0, sizeof *limit);
    limit->next_over_us = UINT64_MAX;
}

static uint64_t hash_byte(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001B3);  // FNV-1a
}

// The terminating NUL is hashed too, so that "ab"+"c" and "a"+"bc" differ.
static uint64_t hash_text(uint64_t hash, const char *text)
{
    const char *at = text != NULL ? text : "";
    do
        hash = hash_byte(hash, (unsigned char)*at);
    while (*at++ != '\0');
    return hash;
}

static bool is_of_number(char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'F');
}

// Positions, counts, durations and names of channels differ from line to line: runs of digits and capital hex digits are one.
static uint64_t hash_skeleton(uint64_t hash, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (!is_of_number(*at))
            hash = hash_byte(hash, (unsigned char)*at);
        else if (at == text || !is_of_number(at[-1]))
            hash = hash_byte(hash, '0');
    }
    return hash;
}

static void over_by(struct log_limit *limit, uint64_t over_us)
{
    if (over_us < limit->next_over_us)
        limit->next_over_us = over_us;
}

static struct log_limit_kind *find(struct log_limit_kind *kinds, uint64_t hash)
{
    struct log_limit_kind *oldest = NULL;
    for (uint32_t i = 0; i < WAYS; i++) {
        struct log_limit_kind *kind = &kinds[(hash + i) % LOG_LIMIT_KINDS];
        if (kind->hash == hash || kind->hash == 0)
            return kind;
        if (oldest == NULL || kind->window_start_us < oldest->window_start_us)
            oldest = kind;
    }
    return oldest;
}

static void begin(struct log_limit_kind *kind, uint64_t hash, const struct log_limit_line *line, uint64_t now_us)
{
    struct log_limit_told *told = &kind->told;
    kind->hash = hash;
    kind->window_start_us = now_us;
    kind->lines = 1;
    told->level = line->level;
    told->held_back = 0;
    (void)snprintf(told->event, sizeof told->event, "%s", line->event);
    (void)snprintf(told->pipeline, sizeof told->pipeline, "%s", line->pipeline != NULL ? line->pipeline : "");
    (void)snprintf(told->table, sizeof told->table, "%s", line->table != NULL ? line->table : "");
}

static bool admit(struct log_limit *limit, bool is_event, uint64_t hash, uint32_t lines_max,
                  const struct log_limit_line *line, uint64_t now_us, uint32_t *in_out_held_back,
                  struct log_limit_told *out_displaced)
{
    struct log_limit_kind *kind = find(limit->kinds + (is_event ? LOG_LIMIT_KINDS : 0), hash);
    bool is_other = kind->hash != hash;
    if (is_other || now_us - kind->window_start_us >= LOG_LIMIT_WINDOW_US) {
        if (is_other)
            *out_displaced = kind->told;
        else
            *in_out_held_back += kind->told.held_back;
        begin(kind, hash, line, now_us);
        return true;
    }
    if (kind->lines < lines_max) {
        kind->lines++;
        return true;
    }
    if (line->level > kind->told.level)
        kind->told.level = line->level;
    kind->told.held_back++;
    over_by(limit, kind->window_start_us + LOG_LIMIT_WINDOW_US);
    return false;
}

bool log_limit_admit(struct log_limit *limit, const struct log_limit_line *line, uint64_t now_us,
                     uint32_t *out_held_back, struct log_limit_told out_displaced[2])
{
    uint64_t event_hash = hash_text(hash_text(hash_text(HASH_START, line->event), line->pipeline), line->table) | 1;
    *out_held_back = 0;
    out_displaced[0].held_back = out_displaced[1].held_back = 0;
    if (line->text == NULL)
        return admit(limit, true, event_hash, LOG_LIMIT_LINES, line, now_us, out_held_back, out_displaced);
    uint64_t text_hash = hash_skeleton(hash_byte(event_hash, 't'), line->text) | 1;
    return admit(limit, false, text_hash, LOG_LIMIT_LINES, line, now_us, out_held_back, out_displaced) &&
           admit(limit, true, event_hash, LOG_LIMIT_LINES * LOG_LIMIT_EVENT_FACTOR, line, now_us, out_held_back,
                 &out_displaced[1]);
}

bool log_limit_over(struct log_limit *limit, uint64_t now_us, bool is_end, struct log_limit_told *out_told)
{
    if (now_us < limit->next_over_us && !is_end)
        return false;
    limit->next_over_us = UINT64_MAX;
    for (uint32_t i = 0; i < 2 * LOG_LIMIT_KINDS; i++) {
        struct log_limit_kind *kind = &limit->kinds[i];
        uint64_t over_us = kind->window_start_us + LOG_LIMIT_WINDOW_US;
        if (kind->hash == 0 || kind->told.held_back == 0)
            continue;
        if (over_us > now_us && !is_end) {
            over_by(limit, over_us);
            continue;
        }
        *out_told = kind->told;
        kind->told.held_back = 0;
        over_by(limit, now_us);  // there may be more
        return true;
    }
    return false;
}
