// How many log lines of one kind may go out: at most LOG_LIMIT_LINES in a window of LOG_LIMIT_WINDOW_US, and what was held
// back is counted and told. Pure: no lock, no clock, no output; log.c has those.
//
// A kind is an event of a pipeline and table; of warnings and errors also their text without its numbers, so that an error
// never hides another one that goes by the same event. So that texts that all differ are no way around the limit, an event
// as a whole has one that is LOG_LIMIT_EVENT_FACTOR times as high.
//
//   first line ── up to LOG_LIMIT_LINES go out ── the rest is counted ── the window is over: the next line carries the count,
//                                                                        or log_limit_over tells it when no line comes
#ifndef ETL_BASE_LOG_LIMIT_H
#define ETL_BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_LINES 20
#define LOG_LIMIT_WINDOW_US UINT64_C(10000000)
#define LOG_LIMIT_EVENT_FACTOR 5
#define LOG_LIMIT_KINDS 1024

// What is told of lines that were held back. Texts are cut to fit.
struct log_limit_told {
    unsigned level;
    uint32_t held_back;
    char event[40];
    char pipeline[64];  // "": none
    char table[64];
};

struct log_limit_line {
    unsigned level;
    const char *event;
    const char *pipeline, *table;  // NULL: none
    const char *text;              // NULL: lines of the event are one kind whatever they say
};

struct log_limit_kind {
    uint64_t hash;  // 0: free
    uint64_t window_start_us;
    uint32_t lines;
    struct log_limit_told told;
};

struct log_limit {
    // The first half: kinds by text; the second: events as a whole, so that a flood of texts does not displace what limits it.
    struct log_limit_kind kinds[2 * LOG_LIMIT_KINDS];
    uint64_t next_over_us;  // no window with held-back lines ends before; UINT64_MAX: none is open
};

void log_limit_init(struct log_limit *limit);
// False: it is held back. True: it goes out, and *out_held_back lines like it were held back in the window before.
// out_displaced[i].held_back > 0: that kind was forgotten to make room, and what was held back of it has to be told now.
bool log_limit_admit(struct log_limit *limit, const struct log_limit_line *line, uint64_t now_us,
                     uint32_t *out_held_back, struct log_limit_told out_displaced[2]);
// A kind whose window is over without a line since then that would have told. is_end: windows that are still open, too.
// False: there is none (left). To be called again and again until false.
bool log_limit_over(struct log_limit *limit, uint64_t now_us, bool is_end, struct log_limit_told *out_told);

#endif
