// Which facts make which alert, and after what time; statuses are texts as pipelines publish them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "monitor/rules.h"

#define MINUTE UINT64_C(60000000)
#define GB (INT64_C(1024) * MONITOR_MB)

struct bench {
    struct monitor_settings settings;
    struct alert_book book;
    struct wal_facts facts;
    struct watched_pipeline *pipeline;
    struct rules_source source;
    uint64_t now_us;
};

static void on_event(void *context, const struct alert *alert)
{
    (void)context;
    (void)alert;
}

static void bench_open(struct bench *bench)
{
    const struct alert_book_events events = {on_event, on_event, NULL};
    *bench = (struct bench){.settings = {.second_us = 1000000,
                                         .wal_warning_mb = 3000,
                                         .wal_danger_mb = 6000,
                                         .notify_after_min = 10,
                                         .slot_warning_mb = 3000,
                                         .slot_danger_mb = 6000,
                                         .slot_safe_mb = 1024,
                                         .slot_inactive_min = 60,
                                         .stuck_min = 15},
                            .facts = {.position = "1/0", .wal_bytes = WAL_UNKNOWN, .wal_keep_bytes = -1},
                            .now_us = 1000 * MINUTE};
    alert_book_init(&bench->book, true, MINUTE, MINUTE, &events);
    bench->pipeline = watched_pipeline_new("p", "etl_p", bench->now_us);
    bench->pipeline->is_wanted = true;
    bench->source = (struct rules_source){
        .name = "shop", .was_checked = true, .is_up = true, .facts = &bench->facts, .pipelines = bench->pipeline};
}

static void bench_close(struct bench *bench)
{
    watched_pipeline_free(bench->pipeline);
    alert_book_deinit(&bench->book);
}

static void go(struct bench *bench, uint64_t minutes)
{
    bench->now_us += minutes * MINUTE;
    alert_book_begin(&bench->book, bench->now_us, (int64_t)bench->now_us);
    rules_see(&bench->book, &bench->settings, &bench->source);
    alert_book_end(&bench->book);
}

static const struct alert *raised(const struct bench *bench, enum alert_type type)
{
    for (const struct alert *alert = bench->book.alerts; alert != NULL; alert = alert->next)
        if (alert->type == type && alert_is_raised(alert))
            return alert;
    return NULL;
}

static uint32_t raised_count(const struct bench *bench)
{
    uint32_t count = 0;
    for (const struct alert *alert = bench->book.alerts; alert != NULL; alert = alert->next)
        count += alert_is_raised(alert);
    return count;
}

static struct wal_slot slot(void)
{
    return (struct wal_slot){.name = "etl_p",
                             .is_found = true,
                             .is_active = true,
                             .restart_lsn = "0/1",
                             .confirmed_lsn = "0/2",
                             .wal_status = "reserved",
                             .held_bytes = 100,
                             .safe_bytes = WAL_UNKNOWN,
                             .inactive_s = WAL_UNKNOWN};
}

static void take_slot(struct bench *bench, const struct wal_slot *taken)
{
    watched_pipeline_take_slot(bench->pipeline, taken, bench->now_us);
}

static void take_status(struct bench *bench, const char *json)
{
    watched_pipeline_take_status(bench->pipeline, json, bench->now_us);
}

static void test_rules_wal_level(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    assert_int_equal(rules_wal_level(&bench.settings, WAL_UNKNOWN), ALERT_NORMAL);
    assert_int_equal(rules_wal_level(&bench.settings, 3000 * (int64_t)MONITOR_MB - 1), ALERT_NORMAL);
    assert_int_equal(rules_wal_level(&bench.settings, 3000 * (int64_t)MONITOR_MB), ALERT_WARNING);
    assert_int_equal(rules_wal_level(&bench.settings, 6000 * (int64_t)MONITOR_MB - 1), ALERT_WARNING);
    assert_int_equal(rules_wal_level(&bench.settings, 6000 * (int64_t)MONITOR_MB), ALERT_DANGER);
    const struct wal_slot taken = slot();
    take_slot(&bench, &taken);
    bench.facts.wal_bytes = 3000 * (int64_t)MONITOR_MB + MONITOR_MB / 2;
    go(&bench, 0);
    go(&bench, 9);
    assert_int_equal(raised_count(&bench), 0);
    go(&bench, 1);
    const struct alert *alert = raised(&bench, ALERT_WAL);
    assert_int_equal(alert->level, ALERT_WARNING);
    assert_true(json_real_value(json_object_get(alert->details, "wal_size_mb")) == 3000.5);
    assert_int_equal(json_integer_value(json_object_get(alert->details, "threshold_mb")), 3000);
    const json_t *shown = json_array_get(json_object_get(alert->details, "slots"), 0);
    assert_string_equal(json_string_value(json_object_get(shown, "slot")), "etl_p");
    assert_int_equal(json_integer_value(json_object_get(shown, "held_back_bytes")), 100);
    assert_true(json_is_null(json_object_get(shown, "safe_wal_size_bytes")));
    bench.facts.wal_bytes = 7000 * (int64_t)MONITOR_MB;
    go(&bench, 1);
    go(&bench, 10);
    alert = raised(&bench, ALERT_WAL);
    assert_int_equal(alert->told, ALERT_DANGER);
    assert_int_equal(json_integer_value(json_object_get(alert->details, "threshold_mb")), 6000);
    bench.facts.wal_bytes = WAL_UNKNOWN;
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_a_source_that_does_not_answer(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot();
    taken.held_bytes = 4 * GB;
    take_slot(&bench, &taken);
    go(&bench, 0);
    go(&bench, 10);
    assert_non_null(raised(&bench, ALERT_SLOT_HELD_BACK));
    bench.source.is_up = false;
    bench.source.error = "connection refused";
    go(&bench, 1);
    go(&bench, 9);
    assert_null(raised(&bench, ALERT_SOURCE_DOWN));
    go(&bench, 1);
    assert_non_null(strstr(raised(&bench, ALERT_SOURCE_DOWN)->message, "connection refused"));
    assert_non_null(raised(&bench, ALERT_SLOT_HELD_BACK));  // nobody knows better
    bench.source.is_up = true;
    go(&bench, 1);
    assert_null(raised(&bench, ALERT_SOURCE_DOWN));
    bench_close(&bench);
}

static void test_rules_slot_held_back(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot();
    taken.held_bytes = 3000 * (int64_t)MONITOR_MB;
    take_slot(&bench, &taken);
    go(&bench, 0);
    go(&bench, 9);
    assert_int_equal(raised_count(&bench), 0);
    go(&bench, 1);
    assert_int_equal(raised(&bench, ALERT_SLOT_HELD_BACK)->told, ALERT_WARNING);
    taken.held_bytes = 6000 * (int64_t)MONITOR_MB;
    take_slot(&bench, &taken);
    go(&bench, 1);
    go(&bench, 10);
    assert_int_equal(raised(&bench, ALERT_SLOT_HELD_BACK)->told, ALERT_DANGER);
    bench.settings.slot_danger_mb = bench.settings.slot_warning_mb = 0;
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_slot_at_risk(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot();
    bench.facts.wal_keep_bytes = 100 * GB;
    taken.safe_bytes = GB;
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    taken.safe_bytes = GB - 1;
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised(&bench, ALERT_SLOT_AT_RISK)->told, ALERT_DANGER);  // at once
    // A small limit: a fifth of it.
    bench.facts.wal_keep_bytes = GB;
    taken.safe_bytes = GB / 5;
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    taken.safe_bytes = GB;
    memcpy(taken.wal_status, "unreserved", sizeof "unreserved");
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_non_null(raised(&bench, ALERT_SLOT_AT_RISK));
    bench.settings.slot_safe_mb = 0;
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_slot_lost(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot well = slot(), lost = slot(), gone = {.name = "etl_p"};
    // Not there yet is not lost.
    take_slot(&bench, &gone);
    go(&bench, 5);
    assert_int_equal(raised_count(&bench), 0);
    memcpy(lost.wal_status, "lost", sizeof "lost");
    lost.restart_lsn[0] = '\0';
    lost.held_bytes = WAL_UNKNOWN;
    take_slot(&bench, &lost);
    go(&bench, 0);
    assert_non_null(raised(&bench, ALERT_SLOT_LOST));
    assert_int_equal(raised_count(&bench), 1);
    take_slot(&bench, &well);
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    memcpy(lost.invalidation_reason, "idle_timeout", sizeof "idle_timeout");
    take_slot(&bench, &lost);
    go(&bench, 0);
    assert_non_null(strstr(raised(&bench, ALERT_SLOT_LOST)->message, "idle_timeout"));
    take_slot(&bench, &well);
    go(&bench, 1);
    // Dropped: perhaps only to be made anew.
    take_slot(&bench, &gone);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    go(&bench, 1);
    assert_non_null(raised(&bench, ALERT_SLOT_LOST));
    take_slot(&bench, &well);
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    // The pipeline's own word.
    take_status(&bench, "{\"state\":\"failed\",\"error\":\"the slot is lost\",\"reason\":\"slot_lost\"}");
    go(&bench, 0);
    assert_non_null(strstr(raised(&bench, ALERT_SLOT_LOST)->message, "the slot is lost"));
    bench_close(&bench);
}

static void test_rules_inactive_and_paused(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot();
    taken.is_active = false;
    take_slot(&bench, &taken);  // by our own clock from here on
    go(&bench, 59);
    take_slot(&bench, &taken);
    assert_int_equal(raised_count(&bench), 0);
    go(&bench, 1);
    assert_non_null(strstr(raised(&bench, ALERT_SLOT_INACTIVE)->message, "for 60 minutes, though"));
    taken.is_active = true;
    take_slot(&bench, &taken);
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    // By the server's, which knows it for longer; paused, and it costs nothing worth a word.
    bench.pipeline->is_wanted = false;
    taken.is_active = false;
    taken.inactive_s = 3600;
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    taken.held_bytes = GB;
    take_slot(&bench, &taken);
    go(&bench, 0);
    const struct alert *alert = raised(&bench, ALERT_PIPELINE_PAUSED);
    assert_non_null(strstr(alert->message, "1.0 GB"));
    assert_int_equal(json_integer_value(json_object_get(alert->details, "inactive_seconds")), 3600);
    assert_int_equal(raised_count(&bench), 1);
    // Another slot for the same pipeline.
    watched_pipeline_set_slot_name(bench.pipeline, "other");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_a_pipeline_that_fails_again_and_again(void **state)
{
    (void)state;
    static const char *const waiting =
        "{\"state\":\"waiting\",\"error\":\"no route\",\"reason\":\"08006\",\"remedy\":\"x\"}";
    struct bench bench;
    bench_open(&bench);
    // Started anew in between, which shows no error for a while.
    for (int i = 0; i < 15; i++) {
        take_status(&bench, i % 2 == 0 ? waiting : "{\"state\":\"checking\"}");
        go(&bench, i == 0 ? 0 : 1);
        assert_int_equal(raised_count(&bench), 0);
    }
    take_status(&bench, "{\"state\":\"checking\"}");
    go(&bench, 1);
    const struct alert *alert = raised(&bench, ALERT_PIPELINE_FAILING);
    assert_int_equal(alert->told, ALERT_WARNING);
    assert_non_null(strstr(alert->message, "no route"));
    assert_string_equal(json_string_value(json_object_get(alert->details, "reason")), "08006");
    take_status(&bench, "{\"state\":\"running\"}");
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    // Nobody tries a fenced one again.
    take_status(&bench, "{\"state\":\"fenced\",\"error\":\"another one\"}");
    go(&bench, 0);
    assert_int_equal(raised(&bench, ALERT_PIPELINE_FAILING)->told, ALERT_DANGER);
    // It runs in another process now.
    take_status(&bench, NULL);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static const char *running(const char *received, const char *committed, int rows_sent)
{
    static char text[256];
    snprintf(text, sizeof text,
             "{\"state\":\"running\",\"rows_sent\":%d,\"positions\":{\"received\":\"%s\",\"committed\":\"%s\","
             "\"confirmed\":\"%s\",\"merged\":\"0/1\"},\"tables\":[]}",
             rows_sent, received, committed, committed);
    return text;
}

static void test_rules_a_pipeline_that_gets_no_further(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    // Idle for hours is well.
    take_status(&bench, running("0/10", "0/10", 0));
    go(&bench, 300);
    assert_int_equal(raised_count(&bench), 0);
    // It reads on, and nothing is committed: more lag, no progress.
    take_status(&bench, running("0/20", "0/18", 1));
    for (int i = 0; i < 14; i++) {
        char received[16];
        snprintf(received, sizeof received, "0/%d", 30 + i);
        take_status(&bench, running(received, "0/18", 2 + i));
        go(&bench, 1);
        assert_int_equal(raised_count(&bench), 0);
    }
    go(&bench, 1);
    assert_non_null(raised(&bench, ALERT_PIPELINE_STUCK));
    take_status(&bench, running("0/44", "0/19", 20));
    go(&bench, 1);
    assert_int_equal(raised_count(&bench), 0);
    // A transaction of hours: nothing is committed, and its rows go out.
    for (int i = 0; i < 60; i++) {
        take_status(&bench, running("0/44", "0/19", 21 + i));
        go(&bench, 1);
    }
    assert_int_equal(raised_count(&bench), 0);
    // Its start takes for ever.
    take_status(&bench, "{\"state\":\"snapshot\"}");
    go(&bench, 14);
    assert_int_equal(raised_count(&bench), 0);
    take_status(&bench, "{\"state\":\"snapshot\"}");
    go(&bench, 1);
    assert_non_null(strstr(raised(&bench, ALERT_PIPELINE_STUCK)->message, "snapshot"));
    // A slot that stands while WAL is written, of a pipeline that says it is well.
    take_status(&bench, running("0/44", "0/44", 99));
    struct wal_slot taken = slot();
    taken.held_bytes = 70 * (int64_t)MONITOR_MB;
    take_slot(&bench, &taken);
    go(&bench, 14);
    assert_int_equal(raised_count(&bench), 0);
    take_slot(&bench, &taken);
    go(&bench, 1);
    assert_non_null(raised(&bench, ALERT_PIPELINE_STUCK));
    memcpy(taken.confirmed_lsn, "0/3", sizeof "0/3");
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    // All that was read is committed, and nothing is read: a merge comes first, and takes long.
    static const char following[] =
        "{\"state\":\"running\",\"positions\":{\"received\":\"0/44\",\"committed\":\"0/44\"},"
        "\"following\":{\"tables\":[\"public.t\"],\"waits_for\":\"a merge\"}}";
    take_status(&bench, following);
    go(&bench, 14);
    assert_int_equal(raised_count(&bench), 0);
    take_status(&bench, following);
    go(&bench, 1);
    assert_non_null(strstr(raised(&bench, ALERT_PIPELINE_STUCK)->message, "the stream waits for a merge"));
    bench_close(&bench);
}

static void test_rules_parked_tables_and_refused_rows(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    take_status(
        &bench,
        "{\"state\":\"running\",\"tables\":["
        "{\"schema\":\"public\",\"table\":\"a\",\"state\":\"live\"},"
        "{\"schema\":\"public\",\"table\":\"b\",\"state\":\"parked\",\"reason\":\"in the way\",\"remedy\":\"move it\"},"
        // The code tells, whatever the words are.
        "{\"schema\":\"public\",\"table\":\"c\",\"state\":\"parked\",\"reason\":\"three rows\","
        "\"reason_code\":\"rows_refused\"},"
        "{\"schema\":\"public\",\"table\":\"d\",\"state\":\"live\",\"reason\":\"Snowflake refused 3 row(s)\"}]}");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 2);
    const struct alert *parked = raised(&bench, ALERT_TABLE_PARKED), *refused = raised(&bench, ALERT_ROWS_REFUSED);
    assert_string_equal(parked->table, "public.b");
    assert_string_equal(parked->remedy, "move it");
    assert_int_equal(parked->told, ALERT_WARNING);
    assert_string_equal(refused->table, "public.c");
    assert_int_equal(refused->told, ALERT_DANGER);
    assert_non_null(strstr(refused->remedy, "pipeline resync p public.c"));
    take_status(&bench, "{\"state\":\"running\",\"tables\":[]}");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    take_status(&bench, "nonsense");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_the_catalog_is_away(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    static const char *const words[] = {
        "{\"process\":\"process 7 on db1\",\"catalog\":{\"healthy\":false,\"error\":\"refused\"}}",
        "{\"catalog\":{\"healthy\":true}}"};
    for (int i = 0; i < 3; i++) {
        static const uint64_t minutes[] = {0, 10, 1};
        bench.now_us += minutes[i] * MINUTE;
        alert_book_begin(&bench.book, bench.now_us, 0);
        rules_see_service(&bench.book, &bench.settings, words[i == 2]);
        alert_book_end(&bench.book);
        const struct alert *alert = raised(&bench, ALERT_CATALOG_DOWN);
        assert_int_equal(alert != NULL, i == 1);
        if (alert != NULL)  // each process tells for itself: the message has which
            assert_memory_equal(alert->message, "process 7 on db1 cannot reach",
                                strlen("process 7 on db1 cannot reach"));
    }
    bench_close(&bench);
}

// The book as another process takes it up; nothing is known of the pipeline or its slot there.
static void take_over(struct bench *bench)
{
    json_t *kept = alert_book_kept(&bench->book);
    const struct alert_book_events events = {on_event, on_event, NULL};
    alert_book_deinit(&bench->book);
    alert_book_init(&bench->book, true, MINUTE, MINUTE, &events);
    alert_book_restore(&bench->book, kept, bench->now_us, (int64_t)bench->now_us);
    json_decref(kept);
    watched_pipeline_free(bench->pipeline);
    bench->pipeline = watched_pipeline_new("p", "etl_p", bench->now_us);
    bench->pipeline->is_wanted = true;
    bench->source.pipelines = bench->pipeline;
}

static void test_rules_what_was_told_stands_until_its_facts_are_known(void **state)
{
    (void)state;
    static const char parked_running[] =
        "{\"state\":\"running\",\"error\":\"it fails\",\"reason\":\"x\",\"tables\":["
        "{\"schema\":\"public\",\"table\":\"b\",\"state\":\"parked\",\"reason\":\"in the way\"}]}";
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot();
    taken.held_bytes = 4 * GB;
    take_slot(&bench, &taken);
    take_status(&bench, parked_running);
    bench.facts.wal_bytes = 4 * GB;
    go(&bench, 0);
    go(&bench, 15);
    assert_int_equal(raised_count(&bench), 4);
    // Neither looked at nor heard of.
    take_over(&bench);
    struct wal_facts facts = bench.facts;
    bench.facts = (struct wal_facts){.wal_bytes = WAL_UNKNOWN};
    bench.source.was_checked = bench.source.is_up = false;
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 4);
    take_status(&bench, "{\"state\":\"starting\",\"tables\":[]}");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 4);
    // Each is over when its own facts say so.
    bench.facts = facts;
    bench.facts.wal_bytes = 0;
    bench.source.was_checked = bench.source.is_up = true;
    go(&bench, 0);
    assert_null(raised(&bench, ALERT_WAL));
    assert_int_equal(raised_count(&bench), 3);
    take_status(&bench, parked_running);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 3);
    taken.held_bytes = 1;
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_null(raised(&bench, ALERT_SLOT_HELD_BACK));
    take_status(&bench, "{\"state\":\"running\",\"tables\":[]}");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_what_only_the_first_process_saw_is_believed(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    struct wal_slot taken = slot(), gone = {.name = "etl_p"};
    // Not read for an hour by our own clock, as an older server does not say.
    taken.is_active = false;
    take_slot(&bench, &taken);
    go(&bench, 60);
    assert_non_null(raised(&bench, ALERT_SLOT_INACTIVE));
    take_over(&bench);
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_non_null(raised(&bench, ALERT_SLOT_INACTIVE));
    // It is gone, which only whoever has seen it can know.
    take_slot(&bench, &gone);
    go(&bench, 0);
    go(&bench, 1);
    assert_non_null(raised(&bench, ALERT_SLOT_LOST));
    take_over(&bench);
    take_slot(&bench, &gone);
    take_status(&bench, "{\"state\":\"running\",\"positions\":{\"received\":\"0/9\",\"committed\":\"0/5\"}}");
    go(&bench, 0);
    go(&bench, 1);
    assert_non_null(raised(&bench, ALERT_SLOT_LOST));
    // It got no further, and does not now.
    go(&bench, 15);
    assert_non_null(raised(&bench, ALERT_PIPELINE_STUCK));
    take_over(&bench);
    take_slot(&bench, &gone);
    take_status(&bench, "{\"state\":\"running\",\"positions\":{\"received\":\"0/9\",\"committed\":\"0/5\"}}");
    go(&bench, 0);
    assert_non_null(raised(&bench, ALERT_PIPELINE_STUCK));
    take_status(&bench, "{\"state\":\"running\",\"positions\":{\"received\":\"0/9\",\"committed\":\"0/6\"}}");
    go(&bench, 0);
    assert_null(raised(&bench, ALERT_PIPELINE_STUCK));
    take_slot(&bench, &taken);
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    bench_close(&bench);
}

static void test_rules_a_pipeline_that_another_process_runs(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    watched_pipeline_take_published(bench.pipeline, "{\"state\":\"failed\",\"error\":\"of before\"}", bench.now_us);
    go(&bench, 15);
    go(&bench, 15);
    assert_non_null(raised(&bench, ALERT_PIPELINE_FAILING));
    watched_pipeline_take_published(bench.pipeline, "{\"state\":\"claimed_elsewhere\"}", bench.now_us);
    assert_true(bench.pipeline->is_elsewhere);
    go(&bench, 0);
    assert_non_null(raised(&bench, ALERT_PIPELINE_FAILING));  // what that process says is not known yet
    take_status(&bench, "{\"state\":\"running\"}");
    go(&bench, 0);
    assert_int_equal(raised_count(&bench), 0);
    // What this process publishes of it, again and again, says nothing new.
    watched_pipeline_take_published(bench.pipeline, "{\"state\":\"claimed_elsewhere\",\"at\":\"later\"}", bench.now_us);
    assert_true(pipeline_facts_is_running(&bench.pipeline->facts));
    watched_pipeline_take_published(bench.pipeline, "{\"state\":\"paused\"}", bench.now_us);
    assert_false(bench.pipeline->is_elsewhere);
    assert_true(pipeline_facts_is_paused(&bench.pipeline->facts));
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_wal_level),
        cmocka_unit_test(test_rules_a_source_that_does_not_answer),
        cmocka_unit_test(test_rules_slot_held_back),
        cmocka_unit_test(test_rules_slot_at_risk),
        cmocka_unit_test(test_rules_slot_lost),
        cmocka_unit_test(test_rules_inactive_and_paused),
        cmocka_unit_test(test_rules_a_pipeline_that_fails_again_and_again),
        cmocka_unit_test(test_rules_a_pipeline_that_gets_no_further),
        cmocka_unit_test(test_rules_parked_tables_and_refused_rows),
        cmocka_unit_test(test_rules_the_catalog_is_away),
        cmocka_unit_test(test_rules_what_was_told_stands_until_its_facts_are_known),
        cmocka_unit_test(test_rules_what_only_the_first_process_saw_is_believed),
        cmocka_unit_test(test_rules_a_pipeline_that_another_process_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
