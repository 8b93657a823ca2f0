// The HTTP thread over a board that others write meanwhile (run under ThreadSanitizer as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http.h"

#define TOKEN "a-token-of-more-than-16-letters"

struct served {
    struct board *board;
    struct http *http;
    uint16_t port;
};

// A port that was free a moment ago; another one if somebody took it meanwhile.
static void open_somewhere(struct served *served, const struct http_token *token)
{
    for (int tries = 0; served->http == NULL; tries++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t size = sizeof address;
        struct err error = {0};
        char text[32];
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 0 && tries < 20);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        close(fd);
        served->port = ntohs(address.sin_port);
        (void)snprintf(text, sizeof text, "127.0.0.1:%u", served->port);
        const struct http_options options = {.metrics_address = "off",
                                             .health_address = text,
                                             .metrics_origin = "METRICS_ADDR",
                                             .health_origin = "HEALTH_ADDR",
                                             .token = token};
        served->http = http_open(&options, &error);
    }
}

static int set_up(void **state)
{
    struct served *served = calloc(1, sizeof *served);
    struct http_token token = {0};
    struct err error = {0};
    assert_non_null(served);
    assert_true(http_token_set(&token, "ETL_API_TOKEN", TOKEN, strlen(TOKEN), &error));
    served->board = board_new(&clock_system);
    open_somewhere(served, &token);
    assert_true(http_start(served->http, served->board, NULL, &error));
    *state = served;
    return 0;
}

static int tear_down(void **state)
{
    struct served *served = *state;
    http_stop(served->http);
    http_free(served->http);
    board_free(served->board);
    free(served);
    return 0;
}

static int dial(const struct served *served)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(served->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

// One request on a connection of its own; the whole answer, heap.
static char *ask(const struct served *served, const char *request)
{
    size_t size = 0, capacity = 1 << 20;
    char *answer = malloc(capacity);
    int fd = dial(served);
    assert_non_null(answer);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    for (ssize_t got = 1; got > 0 && size + 1 < capacity;) {
        got = recv(fd, answer + size, capacity - size - 1, 0);
        assert_true(got >= 0);
        size += (size_t)got;
    }
    answer[size] = '\0';
    close(fd);
    return answer;
}

static char *get(const struct served *served, const char *path)
{
    char request[256];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    return ask(served, request);
}

static void expect(char *take_answer, const char *status, const char *end)
{
    size_t size = strlen(take_answer), end_size = strlen(end);
    if (strncmp(take_answer + 9, status, 3) != 0 || size < end_size || strcmp(take_answer + size - end_size, end) != 0)
        fail_msg("expected %s … %s, got %s", status, end, take_answer);
    free(take_answer);
}

static void put(struct board *board, const char *key, const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    board_put(board, key, copy);
}

static void test_http_answers_from_the_board(void **state)
{
    const struct served *served = *state;
    // Nothing was published yet.
    expect(get(served, "/ready"), "503", "not ready");
    expect(get(served, "/liveness"), "200", "alive");
    expect(get(served, "/api/v1/status"), "200",
           "{\"takes_changes\":true,\"service\":{},\"pipelines\":[],\"sources\":[],\"alerts\":[]}");
    put(served->board, "service", "{\"is_ready\":true,\"catalog\":{\"healthy\":true},\"pipelines\":{\"active\":2}}");
    put(served->board, "jobs", "[{\"pipeline\":\"a\",\"wanted\":true}]");
    put(served->board, "pipeline/a", "{\"state\":\"running\"}");
    put(served->board, "pipeline/b", "not JSON: nobody is to read half a document");
    put(served->board, "wal/one", "{\"source\":\"one\"}");
    put(served->board, "alerts", "[{\"type\":\"wal_alert\"}]");
    expect(get(served, "/ready"), "200", "ready");
    expect(get(served, "/health"), "200", "\"pipelines\":{\"active\":2,\"healthy\":true}}}");
    expect(get(served, "/api/v1/status"), "200",
           ",\"wanted\":\"START\",\"state\":\"running\"}],\"sources\":[{\"source\":\"one\"}],"
           "\"alerts\":[{\"type\":\"wal_alert\"}]}");
    put(served->board, "service", "{\"is_ready\":true,\"catalog\":{\"healthy\":false},\"pipelines\":{\"active\":2}}");
    expect(get(served, "/health"), "503", "\"pipelines\":{\"active\":2,\"healthy\":true}}}");
    // The page, and what it asks for of a pipeline that has no point yet.
    expect(get(served, "/"), "200", "</html>\n");
    expect(get(served, "/page/icon.svg"), "200", "</svg>\n");
    expect(get(served, "/page/nothing.js"), "404", "\"allowed\":\"/ is the page\"}");
    expect(get(served, "/api/v1/pipelines/a/history"), "200", "{\"interval_seconds\":10,\"points\":[]}");
    expect(get(served, "/api/v1/pipelines/c/history"), "404", "\"allowed\":\"/api/v1/status lists them\"}");
    // A change is answered even where there is no catalog to ask.
    expect(ask(served,
               "POST /api/v1/pipelines/a/pause HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
               "Authorization: Bearer " TOKEN "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
           "503", "\"allowed\":\"try again later\"}");
}

struct writer {
    struct board *board;
    atomic_bool is_over;
};

// As workers and the main thread do; what it holds while it stands still holds up nobody, as there is nothing to hold.
static void *write_much(void *context)
{
    struct writer *writer = context;
    for (unsigned i = 0; !atomic_load(&writer->is_over); i++) {
        char key[32], text[256];
        (void)snprintf(key, sizeof key, "pipeline/p%u", i % 50);
        (void)snprintf(text, sizeof text, "{\"state\":\"running\",\"rows\":%u,\"pad\":\"%0100u\"}", i, i);
        board_put(writer->board, key, i % 97 == 0 ? NULL : strdup(text));
        board_put(writer->board, "service",
                  strdup("{\"is_ready\":true,\"catalog\":{\"healthy\":true},\"pipelines\":{\"active\":50}}"));
    }
    return NULL;
}

static void test_http_while_others_publish(void **state)
{
    const struct served *served = *state;
    struct writer writer = {.board = served->board, .is_over = false};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_much, &writer), 0);
    char *answer = get(served, "/ready");
    while (strstr(answer, "not ready") != NULL) {
        free(answer);
        answer = get(served, "/ready");
    }
    free(answer);
    for (int i = 0; i < 40; i++) {
        expect(get(served, "/health"), "200", "\"pipelines\":{\"active\":50,\"healthy\":true}}}");
        expect(get(served, "/api/v1/status"), "200", "],\"sources\":[],\"alerts\":[]}");
        free(get(served, "/api/v1/pipelines/p7"));
        answer = get(served, "/metrics");
        assert_non_null(strstr(answer, "\n# TYPE "));
        free(answer);
    }
    atomic_store(&writer.is_over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

// Open connections, silent or with half a request, are closed with it.
static void test_http_ends_with_connections_open(void **state)
{
    const struct served *served = *state;
    int silent = dial(served), half = dial(served);
    assert_int_equal(send(half, "GET /heal", 9, MSG_NOSIGNAL), 9);
    expect(get(served, "/liveness"), "200", "alive");
    http_stop(served->http);
    char byte;
    assert_true(recv(silent, &byte, 1, 0) <= 0);
    assert_true(recv(half, &byte, 1, 0) <= 0);
    close(silent);
    close(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http_answers_from_the_board, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_http_while_others_publish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_http_ends_with_connections_open, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
