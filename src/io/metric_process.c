#include "io/metric_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "io/lock.h"
#include "io/metric_registry.h"

#define CPU_WINDOW_MIN_US 1000000
#define PATH_SIZE 256

static struct {
    struct lock lock;
    struct cpu_share share;
} cpu = {.lock = LOCK_INITIALIZER};

// Reads a file of /proc whole; they are made when read, so that several small reads could mix two states.
static bool read_file(const char *proc, const char *name, char *out, size_t size)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", proc, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t got = read(file, out, size - 1);
    close(file);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

// The number behind "name:" at the start of a line, as in /proc/meminfo. proc(5).
static bool read_member(const char *text, const char *name, uint64_t *out_value)
{
    size_t size = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ':') {
            char *end;
            *out_value = strtoull(line + size + 1, &end, 10);
            return end != line + size + 1;
        }
    }
    return false;
}

static void raise_total(enum metric_id id, uint64_t total)
{
    struct metric *metric = metric_get(id);
    metric_raise(metric, total);
    metric_put(metric);
}

static uint64_t clock_us(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

// The process' start on the clock of CLOCK_BOOTTIME: the 22nd member of /proc/self/stat, behind the name in brackets.
static uint64_t started_us(const char *proc)
{
    char text[1024];
    if (!read_file(proc, "self/stat", text, sizeof text))
        return 0;
    const char *at = strrchr(text, ')');
    for (int member = 2; at != NULL && member < 22; member++)
        at = strchr(at + 1, ' ');
    long ticks = sysconf(_SC_CLK_TCK);
    return at == NULL || ticks <= 0 ? 0 : strtoull(at, NULL, 10) * 1000000 / (uint64_t)ticks;
}

double cpu_share_measure(struct cpu_share *share, uint64_t cpu_us, uint64_t now_us, uint64_t started_us)
{
    uint64_t since_us = share->at_us > 0 ? share->at_us : started_us;
    if (now_us > since_us && (now_us - since_us >= CPU_WINDOW_MIN_US || share->at_us == 0)) {
        share->percent =
            cpu_us < share->cpu_us ? 0 : 100.0 * (double)(cpu_us - share->cpu_us) / (double)(now_us - since_us);
        share->cpu_us = cpu_us;
        share->at_us = now_us;
    }
    return share->percent;
}

static void measure_cpu(const char *proc)
{
    uint64_t cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t now_us = clock_us(CLOCK_BOOTTIME);
    uint64_t start_us = started_us(proc);
    lock_acquire(&cpu.lock);
    double percent = cpu_share_measure(&cpu.share, cpu_us, now_us, start_us);
    lock_release(&cpu.lock);
    metric_set_to(METRIC_PROCESS_CPU, percent);
}

static void measure_process(const char *proc)
{
    char text[4096];
    uint64_t value;
    if (read_file(proc, "self/status", text, sizeof text)) {
        if (read_member(text, "VmRSS", &value))
            metric_set_to(METRIC_PROCESS_MEMORY, (double)value * 1024);
        if (read_member(text, "VmSize", &value))
            metric_set_to(METRIC_PROCESS_VIRTUAL_MEMORY, (double)value * 1024);
        if (read_member(text, "Threads", &value))
            metric_set_to(METRIC_PROCESS_THREADS, (double)value);
    }
    // The same counters as in /proc/self/io, which a process that is not dumpable may not read; in blocks of 512 bytes whatever the
    // disk's (Linux, kernel/exit.c and include/linux/task_io_accounting_ops.h).
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        raise_total(METRIC_PROCESS_DISK_READ, (uint64_t)usage.ru_inblock * 512);
        raise_total(METRIC_PROCESS_DISK_WRITTEN, (uint64_t)usage.ru_oublock * 512);
    }
    (void)snprintf(text, sizeof text, "%s/self/fd", proc);
    DIR *folder = opendir(text);
    if (folder != NULL) {
        int count = 0;
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
            count += entry->d_name[0] != '.';
        closedir(folder);
        metric_set_to(METRIC_PROCESS_OPEN_FDS, count - 1);  // without the folder's own
    }
}

static void measure_system(const char *proc)
{
    char text[4096];
    uint64_t total, available;
    if (read_file(proc, "meminfo", text, sizeof text) && read_member(text, "MemTotal", &total) &&
        read_member(text, "MemAvailable", &available)) {
        metric_set_to(METRIC_SYSTEM_MEMORY_TOTAL, (double)total * 1024);
        metric_set_to(METRIC_SYSTEM_MEMORY_USED, available > total ? 0 : (double)(total - available) * 1024);
    }
    if (read_file(proc, "uptime", text, sizeof text))
        metric_set_to(METRIC_SYSTEM_UPTIME, strtod(text, NULL));
    if (read_file(proc, "loadavg", text, sizeof text)) {
        char *at = text;
        metric_set_to(METRIC_SYSTEM_LOAD_1M, strtod(at, &at));
        metric_set_to(METRIC_SYSTEM_LOAD_5M, strtod(at, &at));
        metric_set_to(METRIC_SYSTEM_LOAD_15M, strtod(at, &at));
    }
}

void metric_process_measure_in(const char *proc)
{
    measure_cpu(proc);
    measure_process(proc);
    measure_system(proc);
}

void metric_process_measure(void)
{
    metric_process_measure_in("/proc");
}
