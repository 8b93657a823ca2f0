// Metrics: the table of families, Prometheus' text, and the registry with threads (run under ThreadSanitizer as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/metric_registry.h"

// reference: the names that dashboards of the first etl-stream use, each with its labels and type (g, c, h).
static const char *const contract[] = {
    "g etl_pipeline_active",
    "g etl_pg_source_status source_name",
    "g etl_pg_source_wal_size_mb source_name",
    "g etl_connection_pool_size pool",
    "g etl_circuit_breaker_state breaker",
    "g etl_process_cpu_usage_percent",
    "g etl_process_memory_used_bytes",
    "g etl_process_virtual_memory_bytes",
    "g etl_system_uptime_seconds",
    "g etl_system_memory_used_bytes",
    "g etl_system_memory_total_bytes",
    "g etl_system_load_avg_1m",
    "g etl_system_load_avg_5m",
    "g etl_system_load_avg_15m",
    "c etl_pipeline_starts_total pipeline_name",
    "c etl_pipeline_stops_total pipeline_name",
    "c etl_pipeline_errors_total pipeline_name error_type",
    "c etl_events_processed_total event_type",
    "c etl_events_bytes_processed_total event_type",
    "c etl_http_requests_total status",
    "c etl_http_retries_total",
    "c etl_snowflake_requests_total status",
    "c etl_snowflake_rows_inserted_total table",
    "c etl_snowflake_bytes_processed_total",
    "c etl_snowflake_tables_initialized_total table",
    "c etl_snowflake_errors_total operation",
    "c etl_circuit_breaker_state_changes_total breaker state",
    "c etl_circuit_breaker_rejected_total breaker",
    "c etl_connection_pool_cleanup_total pool",
    "c etl_schema_cache_hits_total type",
    "c etl_schema_cache_misses_total type",
    "c etl_process_disk_read_bytes_total",
    "c etl_process_disk_written_bytes_total",
    "h etl_events_batch_size",
    "h etl_events_processing_duration_seconds",
    "h etl_http_request_duration_seconds",
    "h etl_snowflake_request_duration_seconds",
};

static int reset(void **state)
{
    (void)state;
    metric_reset();
    return 0;
}

static char *render(void)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    metric_render(&text);
    char *copy = strdup(buf_text(&text));
    assert_non_null(copy);
    assert_false(text.failed);
    buf_deinit(&text);
    return copy;
}

static void assert_has(const char *text, const char *line)
{
    if (strstr(text, line) == NULL)
        fail_msg("no %s in\n%s", line, text);
}

static void assert_has_not(const char *text, const char *line)
{
    if (strstr(text, line) != NULL)
        fail_msg("%s in\n%s", line, text);
}

static const char *of_label(const char *name)
{
    for (const char *at = name; *at != '\0'; at++) {
        if ((*at < 'a' || *at > 'z') && *at != '_')
            fail_msg("%s: a letter that a label may not have", name);
    }
    return name;
}

static void families_are_well_formed(void **state)
{
    (void)state;
    for (size_t i = 0; i < METRIC_ID_COUNT; i++) {
        const struct metric_family *family = &metric_families[i];
        if (family->name == NULL)
            fail_msg("family %zu is not declared", i);
        if (strncmp(family->name, "etl_", 4) != 0 ||
            family->name[strspn(family->name, "abcdefghijklmnopqrstuvwxyz_150m")] != '\0')
            fail_msg("%s: begins with etl_ and goes on with small letters", family->name);
        const char *total = strstr(family->name, "_total");
        bool ends_in_total = total != NULL && total[6] == '\0';
        if (ends_in_total != (family->type == METRIC_COUNTER))
            fail_msg("%s: counters end in _total, nothing else does", family->name);
        for (size_t j = 0; family->labels[j] != NULL; j++)
            assert_string_not_equal(of_label(family->labels[j]), "le");
        if ((family->type == METRIC_HISTOGRAM) != (family->buckets != NULL))
            fail_msg("%s: histograms have buckets, nothing else does", family->name);
        for (size_t j = 1; j < metric_bucket_count(family); j++) {
            if (!(family->buckets[j] > family->buckets[j - 1]))
                fail_msg("%s: buckets must ascend", family->name);
        }
        if (family->help[0] == '\0' || family->help[strlen(family->help) - 1] == '.' ||
            family->detail[strlen(family->detail) - 1] == '.' || strpbrk(family->help, "|\n") != NULL ||
            strpbrk(family->detail, "|\n") != NULL)
            fail_msg("%s: help and detail are sentences without the full stop, for a cell of a table", family->name);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(family->name, metric_families[j].name);
    }
}

static void contract_names_have_their_labels_and_types(void **state)
{
    (void)state;
    size_t found = 0;
    for (size_t i = 0; i < METRIC_ID_COUNT; i++) {
        const struct metric_family *family = &metric_families[i];
        char line[200];
        int size = snprintf(line, sizeof line, "%c %s", "cgh"[family->type], family -> name);
        for (size_t j = 0; family->labels[j] != NULL; j++)
            size += snprintf(line + size, sizeof line - (size_t)size, " %s", family->labels[j]);
        bool is_contract = false;
        for (size_t j = 0; j < sizeof contract / sizeof contract[0]; j++)
            is_contract = is_contract || strcmp(contract[j], line) == 0;
        if (is_contract != family->is_contract)
            fail_msg("\"%s\" %s", line, is_contract ? "is of the contract" : "is not of the contract");
        found += is_contract;
    }
    assert_int_equal(found, sizeof contract / sizeof contract[0]);
}

static void numbers_read_back_as_the_same(void **state)
{
    (void)state;
    static const double numbers[] = {0,
                                     -0.0,
                                     1e14,
                                     999999999999999,
                                     1e15 - 0.5,
                                     -3,
                                     1,
                                     0.1,
                                     1.0 / 3,
                                     2.5e-7,
                                     1e15,
                                     123456789012345680,
                                     DBL_MAX,
                                     DBL_MIN,
                                     4.9e-324,
                                     -7.25,
                                     0.30000000000000004,
                                     9007199254740993.0,
                                     1e300};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct buf text;
        buf_init(&text, 100);
        metric_append_number(&text, numbers[i]);
        double back = strtod(buf_text(&text), NULL);
        assert_memory_equal(&back, &numbers[i], sizeof back);
        buf_deinit(&text);
    }
    struct buf text;
    buf_init(&text, 100);
    metric_append_number(&text, 0.1);
    metric_append_number(&text, (double)INFINITY);
    metric_append_number(&text, (double)-INFINITY);
    metric_append_number(&text, (double)NAN);
    assert_string_equal(buf_text(&text), "0.1+Inf-InfNaN");
    buf_deinit(&text);
}

static void text_is_as_prometheus_defines_it(void **state)
{
    (void)state;
    metric_add_to(METRIC_PIPELINE_ERRORS, 2, "a \"b\"\\\n\xFFä", "lost");
    metric_set_to(METRIC_PIPELINE_LAG_SECONDS, 0.25, "p");
    metric_set_to(METRIC_PIPELINE_LAG_SECONDS, -1, "o");
    char *text = render();
    assert_has(text,
               "# HELP etl_pipeline_errors_total Errors of a pipeline\n# TYPE etl_pipeline_errors_total counter\n"
               "etl_pipeline_errors_total{pipeline_name=\"a \\\"b\\\"\\\\\\n\xEF\xBF\xBDä\",error_type=\"lost\"} 2\n");
    assert_has(text, "# TYPE etl_pipeline_lag_seconds gauge\netl_pipeline_lag_seconds{pipeline_name=\"o\"} -1\n"
                     "etl_pipeline_lag_seconds{pipeline_name=\"p\"} 0.25\n");
    assert_has(text, "\netl_pipeline_active 0\n");
    assert_has(text, "\netl_build_info{version=\"" ETL_VERSION "\"} 1\n");
    assert_has_not(text, "etl_pipeline_starts_total");  // nothing of it yet
    free(text);
}

static void histograms_cumulate(void **state)
{
    (void)state;
    struct metric *sizes = metric_get(METRIC_APPEND_ROWS, "p");
    metric_observe(sizes, 1);
    metric_observe(sizes, 2);
    metric_observe_times(sizes, 30, 3);
    metric_observe(sizes, 1e9);
    metric_observe_times(sizes, 7, 0);
    assert_true(metric_value(sizes) == 6);
    struct metric *plain = metric_get(METRIC_EVENTS_DURATION);
    metric_observe(plain, 0.0005);
    char *text = render();
    assert_has(text, "# TYPE etl_append_rows histogram\n"
                     "etl_append_rows_bucket{pipeline_name=\"p\",le=\"1\"} 1\n"
                     "etl_append_rows_bucket{pipeline_name=\"p\",le=\"3\"} 2\n"
                     "etl_append_rows_bucket{pipeline_name=\"p\",le=\"10\"} 2\n"
                     "etl_append_rows_bucket{pipeline_name=\"p\",le=\"30\"} 5\n");
    assert_has(text, "etl_append_rows_bucket{pipeline_name=\"p\",le=\"100000\"} 5\n"
                     "etl_append_rows_bucket{pipeline_name=\"p\",le=\"+Inf\"} 6\n"
                     "etl_append_rows_sum{pipeline_name=\"p\"} 1000000093\n"
                     "etl_append_rows_count{pipeline_name=\"p\"} 6\n");
    assert_has(text, "etl_events_processing_duration_seconds_bucket{le=\"0.001\"} 1\n");
    assert_has(text,
               "etl_events_processing_duration_seconds_sum 0.0005\netl_events_processing_duration_seconds_count 1\n");
    free(text);
    metric_put(sizes);
    metric_put(plain);
}

static void series_end_when_their_thing_ends(void **state)
{
    (void)state;
    struct metric *one = metric_get(METRIC_TABLE_ROWS, "p", "t");
    struct metric *same = metric_get(METRIC_TABLE_ROWS, "p", "t");
    struct metric *other = metric_get(METRIC_TABLE_ROWS, "t", "p");
    assert_ptr_equal(one, same);
    assert_ptr_not_equal(one, other);
    metric_add(one, 3);
    metric_put(one);
    metric_put(same);
    one = metric_get(METRIC_TABLE_ROWS, "p", "t");
    assert_true(metric_value(one) == 3);  // it outlives its handles

    same = metric_get(METRIC_TABLE_ROWS, "p", "t");
    metric_drop(same);  // another has it still
    char *text = render();
    assert_has(text, "etl_table_rows_total{pipeline_name=\"p\",table=\"t\"} 3\n");
    free(text);
    metric_drop(one);
    text = render();
    assert_has_not(text, "pipeline_name=\"p\"");
    free(text);

    metric_add(other, 1);
    metric_forget("pipeline_name", "t");
    metric_add(other, 1);  // into nothing, but not into what is freed
    struct metric *again = metric_get(METRIC_TABLE_ROWS, "t", "p");
    assert_ptr_not_equal(again, other);
    assert_true(metric_value(again) == 0);
    metric_put(other);
    metric_put(again);
}

static void forgetting_looks_at_whole_labels(void **state)
{
    (void)state;
    metric_add_to(METRIC_TABLE_ROWS, 1, "p", "t");
    metric_add_to(METRIC_TABLE_ROWS, 1, "p", "tt");
    metric_add_to(METRIC_TABLE_ROWS, 1, "p\",table=\"t", "other");
    metric_add_to(METRIC_TABLE_ROWS, 1, "q", "t");
    metric_add_to(METRIC_PIPELINE_STARTS, 1, "p");
    metric_add_to(METRIC_SNOWFLAKE_ROWS, 1, "p");
    metric_forget_both("pipeline_name", "p", "table", "t");
    char *text = render();
    assert_has_not(text, "{pipeline_name=\"p\",table=\"t\"}");
    assert_has(text, "{pipeline_name=\"p\",table=\"tt\"}");
    assert_has(text, "{pipeline_name=\"q\",table=\"t\"}");
    free(text);
    metric_forget("pipeline_name", "p");
    text = render();
    assert_has_not(text, "{pipeline_name=\"p\"");
    assert_has(text, "{pipeline_name=\"p\\\",table=\\\"t\",table=\"other\"}");
    assert_has(text, "etl_snowflake_rows_inserted_total{table=\"p\"} 1\n");
    free(text);
}

static void totals_never_fall(void **state)
{
    (void)state;
    struct metric *metric = metric_get(METRIC_BREAKER_REJECTED, "b");
    metric_raise(metric, 5);
    metric_raise(metric, 4);
    assert_true(metric_value(metric) == 5);
    metric_put(metric);
    struct metric *gauge = metric_get(METRIC_PIPELINE_ACTIVE);
    metric_adjust(gauge, 2);
    metric_adjust(gauge, -1);
    assert_true(metric_value(gauge) == 1);
    metric_put(gauge);
}

static void their_number_is_bounded(void **state)
{
    (void)state;
    free(render());  // what is always there
    char name[20];
    int count = 0;
    for (bool is_made = true; is_made; count++) {
        (void)snprintf(name, sizeof name, "t%d", count);
        struct metric *metric = metric_get(METRIC_SNOWFLAKE_ROWS, name);
        is_made = metric != NULL;
        metric_put(metric);
        assert_true(count <= METRIC_SERIES_MAX);
    }
    assert_true(count > METRIC_SERIES_MAX - 100);
    struct metric *refused = metric_get(METRIC_SNOWFLAKE_ROWS, "one more");
    assert_null(refused);
    metric_add(refused, 1);
    metric_observe(refused, 1);
    metric_set(refused, 1);
    metric_adjust(refused, 1);
    metric_raise(refused, 1);
    metric_put(refused);
    metric_drop(refused);
    struct metric *there = metric_get(METRIC_SNOWFLAKE_ROWS, "t77");  // what there is is found as before
    assert_non_null(there);
    metric_drop(there);
    metric_add_to(METRIC_SNOWFLAKE_ROWS, 4, "in its place");
    char *text = render();
    assert_has(text, "{table=\"in its place\"} 4\n");
    assert_has(text, "etl_metrics_series_refused_total 2\n");
    assert_has(text, "etl_process_threads ");
    free(text);
}

enum { THREADS = 4, ROUNDS = 3000 };

static void *count_and_forget(void *context)
{
    const char *own = context;
    struct metric *shared = metric_get(METRIC_SNOWFLAKE_BYTES);
    struct metric *histogram = metric_get(METRIC_EVENTS_BATCH_SIZE);
    struct metric *gauge = metric_get(METRIC_PIPELINE_ACTIVE);
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(shared, 2);
        metric_observe(histogram, 2);
        metric_adjust(gauge, i % 2 == 0 ? 1 : -1);
        struct metric *mine = metric_get(METRIC_TABLE_ROWS, own, "t");
        metric_add(mine, 1);
        if (i % 3 == 0)
            metric_forget("pipeline_name", own);
        if (i % 2 == 0)
            metric_put(mine);
        else
            metric_drop(mine);
        struct metric *common = metric_get(METRIC_TABLE_BYTES, "common", "t");
        metric_add(common, 1);
        metric_drop(common);
    }
    metric_put(shared);
    metric_put(histogram);
    metric_put(gauge);
    return NULL;
}

// A rendering meets series that come and go; nothing counted in what stays is lost.
static void test_metric_with_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_and_forget, names[i]), 0);
    for (int i = 0; i < 50; i++) {
        char *text = render();
        assert_has(text, "etl_events_batch_size_count ");
        free(text);
        sched_yield();
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = render();
    assert_has(text, "etl_snowflake_bytes_processed_total 24000\n");
    assert_has(text, "etl_events_batch_size_sum 24000\netl_events_batch_size_count 12000\n");
    assert_has(text, "etl_events_batch_size_bucket{le=\"3\"} 12000\n");
    assert_has(text, "etl_pipeline_active 0\n");
    free(text);
}

static double value_in(const char *text, const char *name)
{
    char line[100];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    assert_has(text, line);
    return strtod(strstr(text, line) + strlen(line), NULL);
}

static void process_and_system_are_read_from_the_kernel(void **state)
{
    (void)state;
    volatile uint64_t work = 1;
    for (uint64_t i = 0; i < 20000000; i++)
        work = work * 3 + i;
    char *text = render();
    assert_true(value_in(text, "etl_process_cpu_usage_percent") > 0);
    double memory = value_in(text, "etl_process_memory_used_bytes");
    assert_true(memory > 100e3 && memory < value_in(text, "etl_process_virtual_memory_bytes"));
    assert_true(value_in(text, "etl_system_memory_used_bytes") > 0);
    assert_true(value_in(text, "etl_system_memory_total_bytes") > value_in(text, "etl_system_memory_used_bytes"));
    assert_true(value_in(text, "etl_system_uptime_seconds") > 0);
    assert_true(value_in(text, "etl_system_load_avg_1m") >= 0);
    assert_true(value_in(text, "etl_process_open_fds") >= 3);
    assert_true(value_in(text, "etl_process_threads") >= 1);
    (void)value_in(text, "etl_process_disk_read_bytes_total");
    (void)value_in(text, "etl_process_disk_written_bytes_total");
    free(text);
}

struct held_thread {
    pthread_t thread;
    pthread_barrier_t begun, let_go;
};

static void *hold(void *context)
{
    struct held_thread *held = context;
    pthread_barrier_wait(&held->begun);
    pthread_barrier_wait(&held->let_go);
    return NULL;
}

// A file of this process' own, on its disk.
static void write_to_disk(void)
{
    static char block[1 << 20];
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(block, 1, sizeof block, file), sizeof block);
    assert_int_equal(fflush(file), 0);
    (void)fsync(fileno(file));
    assert_int_equal(fclose(file), 0);
}

// The first one in a file of /proc, behind its name where it has one.
static double first_number(const char *path)
{
    char text[200];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    assert_int_equal(fclose(file), 0);
    return strtod(text + strcspn(text, "0123456789"), NULL);
}

// Memory, a descriptor and a thread more, a write to the disk: each shows, and what the system tells is what it tells others.
static void process_and_system_follow_what_happens(void **state)
{
    (void)state;
    enum { MORE = 64 << 20 };
    char *before = render();
    struct held_thread held = {0};
    assert_int_equal(pthread_barrier_init(&held.begun, NULL, 2), 0);
    assert_int_equal(pthread_barrier_init(&held.let_go, NULL, 2), 0);
    assert_int_equal(pthread_create(&held.thread, NULL, hold, &held), 0);
    pthread_barrier_wait(&held.begun);
    int descriptor = dup(STDERR_FILENO);
    char *memory = malloc(MORE);
    assert_non_null(memory);
    for (size_t i = 0; i < MORE; i += 4096)
        ((volatile char *)memory)[i] = 1;
    write_to_disk();
    struct rusage spent_before, spent_after;
    assert_int_equal(getrusage(RUSAGE_SELF, &spent_before), 0);
    double up_before = first_number("/proc/uptime");
    char *after = render();
    assert_int_equal(getrusage(RUSAGE_SELF, &spent_after), 0);
    assert_true(value_in(after, "etl_process_memory_used_bytes") >
                value_in(before, "etl_process_memory_used_bytes") + MORE / 2);
    assert_true(value_in(after, "etl_process_virtual_memory_bytes") >=
                value_in(before, "etl_process_virtual_memory_bytes") + MORE / 2);
    assert_true(value_in(after, "etl_process_open_fds") == value_in(before, "etl_process_open_fds") + 1);
    assert_true(value_in(after, "etl_process_threads") == value_in(before, "etl_process_threads") + 1);
    double written = value_in(after, "etl_process_disk_written_bytes_total");
    double read = value_in(after, "etl_process_disk_read_bytes_total");
    assert_true(written >= (double)spent_before.ru_oublock * 512 && written <= (double)spent_after.ru_oublock * 512);
    assert_true(read >= (double)spent_before.ru_inblock * 512 && read <= (double)spent_after.ru_inblock * 512);
    double uptime = value_in(after, "etl_system_uptime_seconds");
    assert_true(uptime >= up_before && uptime <= first_number("/proc/uptime"));
    assert_true(value_in(after, "etl_system_memory_total_bytes") == first_number("/proc/meminfo") * 1024);
    assert_true(value_in(after, "etl_system_memory_used_bytes") != value_in(before, "etl_system_memory_used_bytes"));
    pthread_barrier_wait(&held.let_go);
    pthread_join(held.thread, NULL);
    pthread_barrier_destroy(&held.begun);
    pthread_barrier_destroy(&held.let_go);
    close(descriptor);
    free(memory);
    free(before);
    free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_are_well_formed),
        cmocka_unit_test(contract_names_have_their_labels_and_types),
        cmocka_unit_test(numbers_read_back_as_the_same),
        cmocka_unit_test_setup(text_is_as_prometheus_defines_it, reset),
        cmocka_unit_test_setup(histograms_cumulate, reset),
        cmocka_unit_test_setup(series_end_when_their_thing_ends, reset),
        cmocka_unit_test_setup(forgetting_looks_at_whole_labels, reset),
        cmocka_unit_test_setup(totals_never_fall, reset),
        cmocka_unit_test_setup(their_number_is_bounded, reset),
        cmocka_unit_test_setup(test_metric_with_threads, reset),
        cmocka_unit_test_setup(process_and_system_are_read_from_the_kernel, reset),
        cmocka_unit_test_setup(process_and_system_follow_what_happens, reset),
    };
    return cmocka_run_group_tests(tests, NULL, reset);
}
