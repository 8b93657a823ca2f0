// What the kernel tells, as metrics: which number of which file is which series, by files of the test's own that change, and the
// share of a processor by clocks that are numbers. That the kernel's own files are read is in test_metric.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/metric_process.h"
#include "io/metric_registry.h"

#define SECOND_US UINT64_C(1000000)

static const char *const files[] = {"loadavg", "uptime", "meminfo", "self/status"};

struct proc {
    char folder[64];
};

static int set_up(void **state)
{
    char path[96];
    struct proc *proc = calloc(1, sizeof *proc);
    assert_non_null(proc);
    (void)snprintf(proc->folder, sizeof proc->folder, "/tmp/etl-proc-XXXXXX");
    assert_non_null(mkdtemp(proc->folder));
    (void)snprintf(path, sizeof path, "%s/self", proc->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    metric_reset();
    *state = proc;
    return 0;
}

static void remove_files(const struct proc *proc)
{
    char path[96];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", proc->folder, files[i]);
        (void)unlink(path);
    }
}

static int tear_down(void **state)
{
    struct proc *proc = *state;
    char path[96];
    remove_files(proc);
    (void)snprintf(path, sizeof path, "%s/self", proc->folder);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(proc->folder), 0);
    free(proc);
    metric_reset();
    return 0;
}

static void put(const struct proc *proc, const char *name, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/%s", proc->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static double value_of(enum metric_id id)
{
    struct metric *metric = metric_get(id);
    double value = metric_value(metric);
    metric_put(metric);
    return value;
}

static void assert_values(double load_1m, double load_5m, double load_15m, double uptime, double total_kb,
                          double used_kb, double rss_kb, double virtual_kb, double threads)
{
    assert_true(value_of(METRIC_SYSTEM_LOAD_1M) == load_1m);
    assert_true(value_of(METRIC_SYSTEM_LOAD_5M) == load_5m);
    assert_true(value_of(METRIC_SYSTEM_LOAD_15M) == load_15m);
    assert_true(value_of(METRIC_SYSTEM_UPTIME) == uptime);
    assert_true(value_of(METRIC_SYSTEM_MEMORY_TOTAL) == total_kb * 1024);
    assert_true(value_of(METRIC_SYSTEM_MEMORY_USED) == used_kb * 1024);
    assert_true(value_of(METRIC_PROCESS_MEMORY) == rss_kb * 1024);
    assert_true(value_of(METRIC_PROCESS_VIRTUAL_MEMORY) == virtual_kb * 1024);
    assert_true(value_of(METRIC_PROCESS_THREADS) == threads);
}

static void test_each_series_follows_its_number(void **state)
{
    const struct proc *proc = *state;
    put(proc, "loadavg", "0.61 1.25 2.50 3/512 12345\n");
    put(proc, "uptime", "3600.50 7000.25\n");
    put(proc, "meminfo",
        "MemTotal:        1000 kB\nMemFree:          300 kB\nMemAvailable:     400 kB\nBuffers:  5 kB\n");
    put(proc, "self/status",
        "Name:\tVmRSS:\nVmPeak:\t 9000 kB\nVmSize:\t    2000 kB\nVmHWM:\t 8000 kB\nVmRSS:\t     150 kB\n"
        "Threads:\t7\n");
    metric_process_measure_in(proc->folder);
    assert_values(0.61, 1.25, 2.5, 3600.5, 1000, 600, 150, 2000, 7);
    put(proc, "loadavg", "128.00 64.02 0.00 1/9 1\n");
    put(proc, "uptime", "3601.75 7000.25\n");
    put(proc, "meminfo", "MemTotal:        2000 kB\nMemFree:          300 kB\nMemAvailable:    1999 kB\n");
    put(proc, "self/status", "VmSize:\t    2100 kB\nVmRSS:\t     151 kB\nThreads:\t8\n");
    metric_process_measure_in(proc->folder);
    assert_values(128, 64.02, 0, 3601.75, 2000, 1, 151, 2100, 8);
    remove_files(proc);
    metric_process_measure_in(proc->folder);  // what cannot be read stays
    assert_values(128, 64.02, 0, 3601.75, 2000, 1, 151, 2100, 8);
}

static void test_the_share_of_a_processor_follows_the_work(void **state)
{
    (void)state;
    struct cpu_share share = {0};
    // At first since the start: half a second's work in ten.
    assert_true(cpu_share_measure(&share, SECOND_US / 2, 110 * SECOND_US, 100 * SECOND_US) == 5);
    // Another one right after, which would see a processor and a half, sees the same.
    assert_true(cpu_share_measure(&share, SECOND_US * 2, 111 * SECOND_US - 1, 100 * SECOND_US) == 5);
    // Nothing is lost by that: two and a half processors for two seconds, what was done in the first of them counted too.
    assert_true(cpu_share_measure(&share, SECOND_US * 11 / 2, 112 * SECOND_US, 100 * SECOND_US) == 250);
    assert_true(cpu_share_measure(&share, SECOND_US * 11 / 2, 113 * SECOND_US, 100 * SECOND_US) == 0);  // at rest
    assert_true(cpu_share_measure(&share, SECOND_US * 23 / 4, 114 * SECOND_US, 100 * SECOND_US) == 25);
    // Clocks that cannot be read are zero: nothing is said that is not known.
    assert_true(cpu_share_measure(&share, 0, 0, 0) == 25);
    assert_true(cpu_share_measure(&share, 0, 120 * SECOND_US, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_series_follows_its_number, set_up, tear_down),
        cmocka_unit_test(test_the_share_of_a_processor_follows_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
