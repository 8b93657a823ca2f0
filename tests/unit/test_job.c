// What is said of a pipeline that does not run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/job.h"

#define HOUR_US UINT64_C(3600000000)
#define WALL_US INT64_C(1764072000000000)  // 2025-11-25T12:00:00Z

static struct job *job;
static char text[512];

static int setup(void **state)
{
    (void)state;
    job = job_new("shop", 1);
    job->last_status = strdup("{\"slot\":\"etl_shop\",\"positions\":{\"confirmed\":\"0/1A2B\"}}");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    job_free(job);
    return 0;
}

static bool note(uint64_t hours)
{
    uint64_t since_us = hours * HOUR_US;
    return job_pause_note(job, 1 + since_us, WALL_US + (int64_t)since_us) &&
           job_pause_tell(job, 1 + since_us, hours > 1 ? 1500000 : -1, text, sizeof text);
}

static void a_long_pause_is_said_after_an_hour_and_then_every_day(void **state)
{
    (void)state;
    uint32_t said = 0;
    assert_false(note(0));
    assert_true(note(1));
    assert_string_equal(
        text, "it has been paused for 1 hour: slot etl_shop is kept: the source keeps its WAL from 0/1A2B on, "
              "which grows until the pipeline is started or removed");
    assert_false(note(2));
    assert_false(note(24));
    assert_true(note(25));
    assert_non_null(strstr(text, "paused for 25 hours: slot etl_shop is kept"));
    assert_non_null(strstr(text, "removed; now it is 1.5 MB"));
    assert_false(note(26));
    for (uint64_t hour = 27; hour <= 25 + 24 * 10; hour++)
        said += note(hour);
    assert_int_equal(said, 10);
    // Started, and paused once more: the clock starts anew.
    job->is_wanted = true;
    assert_false(note(300));
    job->is_wanted = false;
    assert_false(note(301));
    assert_false(note(301));
    assert_true(note(302));
}

static void of_one_that_was_never_started_nothing_is_held_back(void **state)
{
    (void)state;
    free(job->last_status);
    job->last_status = NULL;
    assert_false(note(0));
    assert_false(note(48));
    // Another process runs it: that one is not paused.
    job->last_status = strdup("{\"slot\":\"etl_shop\",\"positions\":{\"confirmed\":\"0/1A2B\"}}");
    job->is_elsewhere = true;
    assert_false(note(49));
}

static void the_status_says_since_when(void **state)
{
    (void)state;
    assert_false(note(0));
    char *status = job_status(job, 2, WALL_US + 60000000);
    json_t *object = json_loads(status, 0, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "state")), "paused");
    assert_string_equal(json_string_value(json_object_get(object, "paused_since")), "2025-11-25T12:00:00.000Z");
    assert_non_null(strstr(json_string_value(json_object_get(object, "held_back")), "etl_shop"));
    json_decref(object);
    free(status);
}

static void a_failure_has_a_reason_also_where_its_error_has_no_word_of_its_own(void **state)
{
    (void)state;
    static const char *const codes[][2] = {{"", "config"}, {"tls", "tls"}};
    job->state = JOB_WAITING;
    for (size_t i = 0; i < 2; i++) {
        err_clear(&job->error);
        err_set(&job->error, ERR_CONFIG, codes[i][0], "it is wrong");
        char *status = job_status(job, 2, WALL_US);
        json_t *object = json_loads(status, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(object, "error")), "it is wrong");
        assert_string_equal(json_string_value(json_object_get(object, "reason")), codes[i][1]);
        json_decref(object);
        free(status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_long_pause_is_said_after_an_hour_and_then_every_day, setup, teardown),
        cmocka_unit_test_setup_teardown(of_one_that_was_never_started_nothing_is_held_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_status_says_since_when, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_has_a_reason_also_where_its_error_has_no_word_of_its_own, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
