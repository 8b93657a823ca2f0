// Log lines as they leave the process: a pipe stands in for standard error, a pseudo-terminal for a terminal.
#include <fcntl.h>
#include <pty.h>
#include <pthread.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/log.h"

static int saved_stderr;
static int reading_end;

static void redirect(int writing_end)
{
    saved_stderr = dup(STDERR_FILENO);
    dup2(writing_end, STDERR_FILENO);
    close(writing_end);
}

static void capture_pipe(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    reading_end = ends[0];
    redirect(ends[1]);
    log_init();
}

// What was written since the capture began. The caller frees it.
static char *captured(void)
{
    size_t size = 0;
    size_t capacity = 1 << 20;
    char *text = malloc(capacity);
    assert_non_null(text);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t got;
    while (size < capacity - 1 && (got = read(reading_end, text + size, capacity - 1 - size)) > 0)
        size += (size_t)got;
    close(reading_end);
    text[size] = '\0';
    return text;
}

static json_t *next_line(char **text)
{
    char *end = strchr(*text, '\n');
    if (end == NULL)
        return NULL;
    *end = '\0';
    json_t *line = json_loads(*text, 0, NULL);
    assert_non_null(line);
    *text = end + 1;
    return line;
}

static const char *member(const json_t *line, const char *name)
{
    return json_string_value(json_object_get(line, name));
}

static void json_lines_are_json_whatever_is_said(void **state)
{
    (void)state;
    setenv("LOG_FORMAT", "json", 1);
    capture_pipe();
    struct log_scope scope = {.pipeline = "p\"\\1", .table = "public.t\xFF"};
    log_line(LOG_WARNING, &scope, "odd_event", "line\nbreak \"quoted\" \\ äöü\xC3 %d", 7);
    log_line(LOG_INFO, NULL, "plain_event", "%s", "hello");
    char *huge = calloc(1, 10000);
    memset(huge, '"', 9999);
    struct log_scope wide = {.pipeline = huge, .table = huge};
    log_line(LOG_ERROR, &wide, "huge_event", "%s", huge);
    log_line(LOG_DEBUG, NULL, "debug_event", "not at this level");
    char *text = captured();
    char *rest = text;

    json_t *line = next_line(&rest);
    assert_string_equal(member(line, "message"), "line break \"quoted\" \\ äöü\xEF\xBF\xBD 7");
    assert_string_equal(member(line, "pipeline"), "p\"\\1");
    assert_string_equal(member(line, "table"), "public.t\xEF\xBF\xBD");
    assert_string_equal(member(line, "level"), "warning");
    assert_int_equal(strlen(member(line, "time")), 24);
    json_decref(line);
    line = next_line(&rest);
    assert_string_equal(member(line, "event"), "plain_event");
    assert_null(json_object_get(line, "table"));
    json_decref(line);
    line = next_line(&rest);
    assert_string_equal(member(line, "event"), "huge_event");
    json_decref(line);
    assert_null(next_line(&rest));
    free(huge);
    free(text);
}

static void lines_of_one_kind_are_limited(void **state)
{
    (void)state;
    setenv("LOG_FORMAT", "text", 1);
    capture_pipe();
    struct log_scope one = {.table = "one"};
    struct log_scope two = {.table = "two"};
    for (int i = 0; i < 500; i++)
        log_line(LOG_INFO, &one, "storm", "x");
    log_line(LOG_INFO, &two, "storm", "other table");
    char *text = captured();
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_in_range(lines, 2, 100);
    assert_non_null(strstr(text, "two: other table\n"));
    free(text);
}

static void *chatter(void *argument)
{
    struct log_scope scope = {.pipeline = argument};
    for (int i = 0; i < 15; i++)
        log_line(LOG_INFO, &scope, "chatter", "%0500d", i);
    return NULL;
}

static void threads_never_mix_lines(void **state)
{
    (void)state;
    setenv("LOG_FORMAT", "json", 1);
    capture_pipe();
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, names[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *text = captured();
    char *rest = text;
    size_t count = 0;
    for (json_t *line; (line = next_line(&rest)) != NULL; count++) {
        assert_int_equal(strlen(member(line, "message")), 500);
        json_decref(line);
    }
    assert_int_equal(count, 60);
    free(text);
}

static void terminal_redraws_the_status_line(void **state)
{
    (void)state;
    int terminal;
    unsetenv("LOG_FORMAT");
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(openpty(&reading_end, &terminal, NULL, NULL, NULL), 0);
    redirect(terminal);
    log_init();
    log_status_line("50 %\x1b[2J done");
    log_line(LOG_INFO, NULL, "redraw", "message");
    log_status_line("");
    log_line(LOG_INFO, NULL, "redraw", "last");
    char *text = captured();
    assert_non_null(strstr(text, "\r\033[K50 % [2J done\r\033[K"));
    assert_non_null(strstr(text, "INFO  message\r\n50 % [2J done\r\033[K"));
    assert_non_null(strstr(text, "INFO  last\r\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_are_json_whatever_is_said),
        cmocka_unit_test(lines_of_one_kind_are_limited),
        cmocka_unit_test(threads_never_mix_lines),
        cmocka_unit_test(terminal_redraws_the_status_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
