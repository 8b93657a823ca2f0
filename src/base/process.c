#include "base/process.h"

#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PROMPT_SLICE_NS 100000  // the shortest that the kernel takes

// The first version of the kernel's struct sched_attr (sched_setattr(2)), which the C library does not know.
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns;  // of SCHED_OTHER: the slice, 0 for the default (Linux 6.12: kernel/sched/syscalls.c)
    uint64_t deadline_ns;
    uint64_t period_ns;
};

void process_describe(char out_text[PROCESS_TEXT_SIZE])
{
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        (void)snprintf(host, sizeof host, "an unknown host");
    (void)snprintf(out_text, PROCESS_TEXT_SIZE, "process %d on %s", getpid(), host);
}

void process_name_thread(const char *name)
{
    (void)prctl(PR_SET_NAME, name);  // a longer one is cut
}

uint64_t process_thread_cpu_us(void)
{
    struct timespec used = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static bool read_attributes(struct attributes *out_attributes)
{
    return syscall(SYS_sched_getattr, 0, out_attributes, sizeof *out_attributes, 0) == 0;
}

bool process_thread_is_ordinary(void)
{
    struct attributes now = {0};
    return read_attributes(&now) && now.policy == SCHED_OTHER && now.nice == 0;
}

static bool set(uint32_t policy, uint32_t priority, uint64_t runtime_ns)
{
    struct attributes wanted = {
        .size = sizeof wanted, .policy = policy, .priority = priority, .runtime_ns = runtime_ns};
    return syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
}

bool process_thread_prompt(void)
{
    return set(SCHED_OTHER, 0, PROMPT_SLICE_NS);
}

bool process_thread_first(void)
{
    return set(SCHED_RR, (uint32_t)sched_get_priority_min(SCHED_RR), 0);
}
