#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log_limit.h"
#include "base/mask.h"
#include "base/utf8.h"

// A line fits PIPE_BUF (4096), so that lines of several threads never mix in a pipe either.
#define LINE_SIZE 4096
#define MESSAGE_SIZE 2048
#define STATUS_SIZE 512

static struct {
    enum log_level level;
    bool is_json;
    bool is_terminal;
    bool has_colour;
    // Held for some hundred instructions and never while anything is written.
    atomic_flag limit_lock;
    struct log_limit limit;
    // The status line as it should stand. Byte by byte and without a lock: a mixture of two texts, should one thread log while another
    // sets it, stands until the next redraw.
    atomic_uchar status[STATUS_SIZE];
} logger = {.level = LOG_INFO, .limit_lock = ATOMIC_FLAG_INIT, .limit = {.next_over_us = UINT64_MAX}};

struct line {
    char bytes[LINE_SIZE];
    size_t size;
};

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG: return "debug";
    case LOG_INFO: return "info";
    case LOG_WARNING: return "warning";
    case LOG_ERROR: return "error";
    }
    check_failed("a known log level", __FILE__, __LINE__);
}

static bool name_is(const char *text, const char *name)
{
    return strcasecmp(text, name) == 0;
}

static enum log_level level_from(const char *text)
{
    if (text == NULL)
        return LOG_INFO;
    for (enum log_level level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        if (name_is(text, level_name(level)))
            return level;
    }
    return name_is(text, "warn") ? LOG_WARNING : LOG_INFO;
}

void log_init(void)
{
    const char *format = getenv("LOG_FORMAT");
    const char *no_colour = getenv("NO_COLOR");
    logger.level = level_from(getenv("LOG_LEVEL"));
    logger.is_terminal = isatty(STDERR_FILENO) == 1;
    logger.is_json = format != NULL && name_is(format, "json")   ? true
                     : format != NULL && name_is(format, "text") ? false
                                                                 : !logger.is_terminal;
    logger.has_colour = logger.is_terminal && (no_colour == NULL || no_colour[0] == '\0');
}

bool log_enabled(enum log_level level)
{
    return level >= logger.level;
}

static void line_append(struct line *line, const char *bytes, size_t size)
{
    size_t room = sizeof line->bytes - line->size;
    if (size > room)
        size = room;
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
}

static void line_text(struct line *line, const char *text)
{
    line_append(line, text, strlen(text));
}

// What may stand in a line of either form: whole UTF-8 characters, no control characters (a table's name could move the cursor), for JSON
// quote and backslash escaped. Stops `keep` bytes before the end, so that the line can always be closed.
static void line_escaped(struct line *line, const char *text, bool is_json, size_t keep)
{
    size_t size = strlen(text);
    size_t position = 0;
    while (position < size && sizeof line->bytes - line->size >= keep + 4) {
        const uint8_t *at = (const uint8_t *)text + position;
        size_t character = utf8_character_size(at, size - position);
        if (character == 0) {
            line_text(line, UTF8_REPLACEMENT);
            character = 1;
        } else if (*at < 0x20 || *at == 0x7F) {
            line_text(line, " ");
        } else {
            if (is_json && (*at == '"' || *at == '\\'))
                line_text(line, "\\");
            line_append(line, (const char *)at, character);
        }
        position += character;
    }
}

static void line_write(const struct line *line)
{
    size_t position = 0;
    while (position < line->size) {
        ssize_t written = write(STDERR_FILENO, line->bytes + position, line->size - position);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;  // nobody to tell
        position += (size_t)written;
    }
}

static void json_member(struct line *line, const char *name, const char *value)
{
    line_text(line, ",\"");
    line_text(line, name);
    line_text(line, "\":\"");
    line_escaped(line, value, true, 64);
    line_text(line, "\"");
}

static void line_json(struct line *line, enum log_level level, const struct log_scope *scope, const char *event,
                      const char *when, const char *message, uint32_t held_back)
{
    line_text(line, "{\"time\":\"");
    line_text(line, when);
    line_text(line, "\"");
    json_member(line, "level", level_name(level));
    json_member(line, "event", event);
    if (scope != NULL && scope->pipeline != NULL)
        json_member(line, "pipeline", scope->pipeline);
    if (scope != NULL && scope->table != NULL)
        json_member(line, "table", scope->table);
    if (held_back > 0) {
        char count[40];
        (void)snprintf(count, sizeof count, ",\"held_back\":%u", held_back);
        line_text(line, count);
    }
    json_member(line, "message", message);
    line_text(line, "}\n");
}

static void line_readable(struct line *line, enum log_level level, const struct log_scope *scope, const char *when,
                          const char *message, uint32_t held_back)
{
    static const char *const labels[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    line_text(line, when);
    line_text(line, " ");
    line_text(line, logger.has_colour ? colours[level] : "");
    line_text(line, labels[level]);
    line_text(line, logger.has_colour ? "\033[0m " : " ");
    if (scope != NULL && scope->pipeline != NULL) {
        line_escaped(line, scope->pipeline, false, 1024);
        line_text(line, " ");
    }
    if (scope != NULL && scope->table != NULL) {
        line_escaped(line, scope->table, false, 1024);
        line_text(line, ": ");
    }
    line_escaped(line, message, false, STATUS_SIZE + 96);
    if (held_back > 0) {
        char count[64];
        (void)snprintf(count, sizeof count, " (%u more like it were held back)", held_back);
        line_text(line, count);
    }
    line_text(line, "\n");
}

static void limit_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&logger.limit_lock, memory_order_acquire))
        (void)sched_yield();
}

static void limit_unlock(void)
{
    atomic_flag_clear_explicit(&logger.limit_lock, memory_order_release);
}

static void status_load(char out[STATUS_SIZE])
{
    size_t size = 0;
    for (; size < STATUS_SIZE - 1; size++) {
        out[size] = (char)atomic_load_explicit(&logger.status[size], memory_order_relaxed);
        if (out[size] == '\0')
            return;
    }
    out[size] = '\0';
}

static void status_store(const char *text, size_t size)
{
    CHECK(size < STATUS_SIZE);
    for (size_t i = 0; i < size; i++)
        atomic_store_explicit(&logger.status[i], (unsigned char)text[i], memory_order_relaxed);
    atomic_store_explicit(&logger.status[size], 0, memory_order_relaxed);
}

static void emit(enum log_level level, const struct log_scope *scope, const char *event, const char *message,
                 uint32_t held_back)
{
    char when[32];
    clock_format(clock_system.wall_us(clock_system.context), when, sizeof when);
    struct line line;
    line.size = 0;
    if (logger.is_json) {
        line_json(&line, level, scope, event, when, message, held_back);
    } else {
        char status[STATUS_SIZE] = "";
        if (logger.is_terminal)
            status_load(status);
        if (status[0] != '\0')
            line_text(&line, "\r\033[K");
        line_readable(&line, level, scope, when, message, held_back);
        line_text(&line, status);
    }
    line_write(&line);
}

// What was held back of a kind, where no further line of it tells.
static void emit_told(const struct log_limit_told *told)
{
    char message[128];
    const struct log_scope scope = {.pipeline = told->pipeline[0] != '\0' ? told->pipeline : NULL,
                                    .table = told->table[0] != '\0' ? told->table : NULL};
    (void)snprintf(message, sizeof message, "of many such lines (%s) within ten seconds not all were written",
                   told->event);
    emit((enum log_level)told->level, &scope, told->event, message, told->held_back);
}

static void tell_held_back(bool is_end)
{
    struct log_limit_told told;
    bool is_more = true;
    while (is_more) {
        uint64_t now_us = clock_system.monotonic_us(clock_system.context);
        limit_lock();
        is_more = log_limit_over(&logger.limit, now_us, is_end, &told);
        limit_unlock();
        if (is_more)
            emit_told(&told);
    }
}

void log_held_back_tell(void)
{
    tell_held_back(false);
}

void log_end(void)
{
    tell_held_back(true);
}

void log_line(enum log_level level, const struct log_scope *scope, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;  // callers log between a failure and its handling

    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(message, sizeof message, format, arguments) < 0)
        message[0] = '\0';
    mask_passwords(message);
    va_end(arguments);

    const struct log_limit_line limited = {.level = level,
                                           .event = event,
                                           .pipeline = scope != NULL ? scope->pipeline : NULL,
                                           .table = scope != NULL ? scope->table : NULL,
                                           .text = level >= LOG_WARNING ? message : NULL};
    struct log_limit_told displaced[2];
    uint32_t held_back = 0;
    uint64_t now_us = clock_system.monotonic_us(clock_system.context);
    limit_lock();
    bool is_admitted = log_limit_admit(&logger.limit, &limited, now_us, &held_back, displaced);
    limit_unlock();
    for (size_t i = 0; i < sizeof displaced / sizeof displaced[0]; i++)
        if (displaced[i].held_back > 0)
            emit_told(&displaced[i]);
    if (is_admitted)
        emit(level, scope, event, message, held_back);
    tell_held_back(false);
    errno = saved_errno;
}

void log_status_line(const char *text)
{
    if (!logger.is_terminal || logger.is_json)
        return;
    struct line status = {.size = 0};
    line_escaped(&status, text, false, LINE_SIZE - STATUS_SIZE + 8);
    status_store(status.bytes, status.size);

    struct line line = {.size = 0};
    line_text(&line, "\r\033[K");
    line_append(&line, status.bytes, status.size);
    line_write(&line);
}
