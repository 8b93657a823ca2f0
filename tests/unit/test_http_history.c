// The points of lag over the last hour, with times of the test's own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/history.h"

#define ROUND_US (HISTORY_INTERVAL_S * INT64_C(1000000))
#define BEGAN_US INT64_C(1790000000000000)

// What pipelines publish has all kinds of text around the lag, of which some look like it.
static const char status[] = "{\"pipeline\":\"shop\",\"error\":\"no \\\"lag\\\":{\\\"seconds\\\":9}\","
                             "\"lag\":{\"bytes\":%d,\"seconds\":%d.5},\"tables\":[]}";
static const char unknown[] = "{\"pipeline\":\"shop\",\"lag\":{\"bytes\":7,\"seconds\":null}}";

static void see(struct history *history, const char *name, int bytes, int seconds)
{
    char text[256];
    (void)snprintf(text, sizeof text, status, bytes, seconds);
    history_see(history, name, text);
}

static json_t *points_of(const struct history *history, const char *name, int64_t wall_us, json_t **out_document)
{
    char *text = history_json(history, name, wall_us);
    assert_non_null(text);
    *out_document = json_loads(text, 0, NULL);
    free(text);
    assert_int_equal(json_integer_value(json_object_get(*out_document, "interval_seconds")), HISTORY_INTERVAL_S);
    return json_object_get(*out_document, "points");
}

static void assert_count(const struct history *history, const char *name, int64_t wall_us, size_t expected)
{
    json_t *document;
    assert_int_equal(json_array_size(points_of(history, name, wall_us, &document)), expected);
    json_decref(document);
}

static void test_an_hour_is_kept_and_no_more(void **state)
{
    (void)state;
    struct history *history = history_new();
    int64_t wall_us = BEGAN_US;
    for (int round = 0; round < 1000; round++) {
        wall_us = BEGAN_US + round * ROUND_US;
        history_begin(history, wall_us);
        see(history, "shop", round, 2 * round);
        history_end(history);
    }
    json_t *document, *points = points_of(history, "shop", wall_us, &document);
    char when[32];
    assert_int_equal(json_array_size(points), HISTORY_POINTS_MAX);
    for (int i = 0; i < HISTORY_POINTS_MAX; i++) {
        const json_t *point = json_array_get(points, (size_t)i);
        int round = 1000 - HISTORY_POINTS_MAX + i;
        clock_format(BEGAN_US + round * ROUND_US, when, sizeof when);
        assert_string_equal(json_string_value(json_object_get(point, "at")), when);
        assert_int_equal(json_integer_value(json_object_get(point, "lag_bytes")), round);
        assert_true(json_real_value(json_object_get(point, "lag_seconds")) == 2 * round + 0.5);
    }
    json_decref(document);
    // What is older than an hour is not told, though it is still there.
    assert_count(history, "shop", wall_us + 1800 * INT64_C(1000000), 181);
    assert_count(history, "shop", wall_us + 3601 * INT64_C(1000000), 0);
    history_free(history);
}

static void test_what_is_not_known_is_a_gap(void **state)
{
    (void)state;
    struct history *history = history_new();
    for (int round = 0; round < 4; round++) {
        history_begin(history, BEGAN_US + round * ROUND_US);
        if (round == 1)
            history_see(history, "shop", unknown);
        else if (round == 2)
            history_see(history, "shop", "{\"state\":\"paused\"}");
        else
            see(history, "shop", 1, 1);
        history_see(history, "silent", "");
        history_see(history, "torn", "{\"lag\":{\"bytes\":1,\"sec");
        history_end(history);
    }
    assert_count(history, "shop", BEGAN_US + 3 * ROUND_US, 2);
    assert_count(history, "silent", BEGAN_US, 0);
    assert_count(history, "torn", BEGAN_US, 0);
    assert_count(history, "nobody", BEGAN_US, 0);
    history_free(history);
}

static void test_a_lag_without_bytes(void **state)
{
    (void)state;
    struct history *history = history_new();
    json_t *document;
    history_begin(history, BEGAN_US);
    history_see(history, "shop", "{\"lag\":{\"bytes\":null,\"seconds\":3}}");
    history_end(history);
    const json_t *point = json_array_get(points_of(history, "shop", BEGAN_US, &document), 0);
    assert_true(json_is_null(json_object_get(point, "lag_bytes")));
    assert_true(json_real_value(json_object_get(point, "lag_seconds")) == 3);
    json_decref(document);
    history_free(history);
}

// Pipelines come and go between rounds, at each end of the list and in the middle; who stays keeps its points.
static void test_it_is_forgotten_with_its_pipeline(void **state)
{
    (void)state;
    static const char *const rounds[][5] = {
        {"b", "d"}, {"a", "b", "c", "d"}, {"a", "b", "c", "d", "e"}, {"b", "c", "e"}, {"e"}, {"c", "e"}, {NULL}, {"e"}};
    static const unsigned kept[] = {2, 4, 5, 3, 1, 2, 0, 1}, points_of_e[] = {0, 0, 1, 2, 3, 4, 0, 1};
    struct history *history = history_new();
    for (size_t round = 0; round < sizeof rounds / sizeof rounds[0]; round++) {
        int64_t wall_us = BEGAN_US + (int64_t)round * ROUND_US;
        history_begin(history, wall_us);
        for (size_t i = 0; i < 5 && rounds[round][i] != NULL; i++)
            see(history, rounds[round][i], 1, 1);
        history_end(history);
        assert_int_equal(history_series_count(history), kept[round]);
        assert_count(history, "e", wall_us, points_of_e[round]);
    }
    history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_hour_is_kept_and_no_more),
        cmocka_unit_test(test_what_is_not_known_is_a_gap),
        cmocka_unit_test(test_a_lag_without_bytes),
        cmocka_unit_test(test_it_is_forgotten_with_its_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
