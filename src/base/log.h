// Log lines to standard error: readable on a terminal, JSON lines otherwise (LOG_FORMAT=text|json, LOG_LEVEL).
// A call carries its object; the scope's prefix adds pipeline, table, LSN. Lines of one kind are limited in rate
// (log_limit.h), with a count of what was held back: in the next line of the kind, or in one of its own.
#ifndef ETL_BASE_LOG_H
#define ETL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

// Who speaks. Borrowed strings; NULL where it does not apply.
struct log_scope {
    const char *pipeline;
    const char *table;
};

void log_init(void);  // reads LOG_FORMAT, LOG_LEVEL, NO_COLOR and whether standard error is a terminal
bool log_enabled(enum log_level level);
// `event` is a short stable word_with_underscores for machines. Threads may call it at the same time: a line is one write().
void log_line(enum log_level level, const struct log_scope *scope, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Tells what was held back of kinds that have fallen silent; every line written does so too. From time to time.
void log_held_back_tell(void);
void log_end(void);  // tells all of it; at the program's end
// While a person watches a progress line, log lines erase and redraw it. Text "" removes it. Terminal only; no-op otherwise.
void log_status_line(const char *text);

#endif
