// What the main thread tells of itself, and when the catalog counts as healthy.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/metric_registry.h"
#include "supervisor/report.h"

#define SECOND_US 1000000ULL

static json_t *published(struct board *board, const char *key)
{
    const struct board_text *text = board_get(board, key);
    assert_non_null(text);
    json_t *object = json_loads(text->text, 0, NULL);
    assert_non_null(object);
    board_text_release(text);
    return object;
}

static void test_report_catalog_health(void **state)
{
    (void)state;
    struct report report;
    struct err none = {0}, away = {0};
    err_set(&away, ERR_TRANSIENT, "08006", "the server is gone");
    report_init(&report, NULL, "state file x.db", 2, 0);
    assert_true(report_is_catalog_healthy(&report, 1));
    // An answer that is late, but not too late.
    report_asked(&report, 10 * SECOND_US);
    report_asked(&report, 12 * SECOND_US);  // the first one counts
    assert_true(report_is_catalog_healthy(&report, 16 * SECOND_US));
    assert_false(report_is_catalog_healthy(&report, 16 * SECOND_US + 1));
    report_answered(&report, &none, 17 * SECOND_US, 1);
    assert_true(report_is_catalog_healthy(&report, 17 * SECOND_US));
    // Failing for more than three polls.
    report_answered(&report, &away, 20 * SECOND_US, 2);
    assert_true(report_is_catalog_healthy(&report, 26 * SECOND_US));
    report_answered(&report, &away, 26 * SECOND_US, 3);
    assert_false(report_is_catalog_healthy(&report, 26 * SECOND_US + 1));
    assert_int_equal(report.failures, 2);
    assert_int_equal(report.failing_wall_us, 2);
    report_answered(&report, &none, 27 * SECOND_US, 4);
    assert_true(report_is_catalog_healthy(&report, 27 * SECOND_US));
    // Polls an hour apart do not make it blind for hours.
    report_init(&report, NULL, "state file x.db", 3600, 0);
    report_answered(&report, &away, 1 * SECOND_US, 1);
    assert_false(report_is_catalog_healthy(&report, 17 * SECOND_US));
}

static bool shows_state(const char *state)
{
    char line[100];
    struct buf text;
    buf_init(&text, SIZE_MAX);
    metric_render(&text);
    (void)snprintf(line, sizeof line, "etl_pipeline_state{pipeline_name=\"shop\",state=\"%s\"} 1\n", state);
    bool is_shown = strstr(buf_text(&text), line) != NULL;
    bool is_alone = strstr(buf_text(&text), "etl_pipeline_state{") == NULL;
    buf_deinit(&text);
    return *state == '\0' ? is_alone : is_shown;
}

// One state at a time, and none of ours while a worker shows its own.
static void test_job_meter(void **state)
{
    (void)state;
    struct job *job = job_new("shop", 1);
    assert_true(shows_state(""));
    job_meter(job);
    assert_true(shows_state("paused"));
    job->is_wanted = true;
    job_meter(job);
    job_meter(job);
    assert_true(shows_state("starting") && !shows_state("paused"));
    job->state = JOB_RUNNING;
    job_meter(job);
    assert_true(shows_state(""));
    job->state = JOB_WAITING;
    job_meter(job);
    assert_true(shows_state("failed"));
    job->state = JOB_IDLE;
    job->is_elsewhere = true;
    job_meter(job);
    assert_true(shows_state(""));
    job->is_elsewhere = false;
    job_meter(job);
    job_free(job);
    assert_true(shows_state(""));
}

static void test_report_document(void **state)
{
    (void)state;
    struct report report;
    struct err away = {0};
    err_set(&away, ERR_TRANSIENT, "08006", "the server is gone");
    struct board *board = board_new(&clock_system);
    struct job *running = job_new("shop", 1), *failed = job_new("ledger", 2), *elsewhere = job_new("stock", 3);
    running->state = JOB_RUNNING;
    failed->state = JOB_WAITING;
    failed->is_wanted = running->is_wanted = elsewhere->is_wanted = elsewhere->is_elsewhere = true;
    running->next = failed;
    failed->next = elsewhere;
    report_init(&report, board, "state file x.db", 5, 1000000);
    report_answered(&report, &away, 5 * SECOND_US, 1764100000000000);
    report_jobs(&report, running);
    report.is_ready = true;
    report_publish(&report, 21 * SECOND_US, 1764100016000000);
    json_t *object = published(board, "service");
    const json_t *catalog = json_object_get(object, "catalog"), *counts = json_object_get(object, "pipelines");
    assert_true(json_object_get(object, "jobs") == NULL);  // apart: what every probe reads stays small
    assert_string_equal(json_string_value(json_object_get(object, "state")), "running");
    assert_string_equal(json_string_value(json_object_get(object, "at")), "2025-11-25T19:46:56.000Z");
    assert_true(json_is_true(json_object_get(object, "is_ready")));
    assert_true(json_is_false(json_object_get(catalog, "healthy")));
    assert_string_equal(json_string_value(json_object_get(catalog, "error")), "the server is gone");
    assert_string_equal(json_string_value(json_object_get(catalog, "failing_since")), "2025-11-25T19:46:40.000Z");
    assert_int_equal(json_integer_value(json_object_get(counts, "configured")), 3);
    assert_int_equal(json_integer_value(json_object_get(counts, "active")), 1);
    assert_int_equal(json_integer_value(json_object_get(counts, "failed")), 1);
    assert_int_equal(json_integer_value(json_object_get(counts, "elsewhere")), 1);
    json_t *jobs = published(board, "jobs");
    assert_int_equal(json_array_size(jobs), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(jobs, 1), "pipeline")), "ledger");
    assert_string_equal(json_string_value(json_object_get(json_array_get(jobs, 1), "state")), "failed");
    json_decref(object);
    json_decref(jobs);
    // Nothing changed: nothing is published anew.
    const struct board_text *before = board_get(board, "jobs");
    report_jobs(&report, running);
    const struct board_text *after = board_get(board, "jobs");
    assert_ptr_equal(before, after);
    board_text_release(before);
    board_text_release(after);
    // A state that changes shows with the next turn; a service that ends is not ready.
    failed->state = JOB_FENCED;
    report.is_stopping = true;
    report_jobs(&report, running);
    report_publish(&report, 22 * SECOND_US, 1764100017000000);
    object = published(board, "service");
    jobs = published(board, "jobs");
    assert_string_equal(json_string_value(json_object_get(json_array_get(jobs, 1), "state")), "fenced");
    assert_string_equal(json_string_value(json_object_get(object, "state")), "stopping");
    assert_true(json_is_false(json_object_get(object, "is_ready")));
    json_decref(object);
    json_decref(jobs);
    job_free(running);
    job_free(failed);
    job_free(elsewhere);
    board_free(board);
}

static void test_job_shows_itself_while_it_does_not_run(void **state)
{
    (void)state;
    struct board *board = board_new(&clock_system);
    struct job *job = job_new("shop", 1);
    job->last_status = strdup("{\"lag\":{\"bytes\":17,\"seconds\":2.5},\"copy\":{}}");
    job_show(job, board, 0, 0);
    json_t *object = published(board, "pipeline/shop");
    assert_string_equal(json_string_value(json_object_get(object, "state")), "paused");
    const json_t *lag = json_object_get(object, "lag");
    assert_int_equal(json_integer_value(json_object_get(lag, "bytes")), 17);
    assert_true(json_is_null(json_object_get(lag, "seconds")));  // grows unseen
    json_decref(object);
    board_put(board, "pipeline/shop", strdup("{\"state\":\"running\"}"));
    job->state = JOB_RUNNING;  // the pipeline speaks for itself
    job_show(job, board, 0, 0);
    object = published(board, "pipeline/shop");
    assert_string_equal(json_string_value(json_object_get(object, "state")), "running");
    json_decref(object);
    job->state = JOB_IDLE;
    job->is_gone = true;
    job_show(job, board, 0, 0);
    assert_null(board_get(board, "pipeline/shop"));
    job_free(job);
    board_free(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report_catalog_health),
        cmocka_unit_test(test_report_document),
        cmocka_unit_test(test_job_meter),
        cmocka_unit_test(test_job_shows_itself_while_it_does_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
