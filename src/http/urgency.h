// How urgently the HTTP thread wants a processor. A probe must be answered however much the workers, and whoever else is on the
// machine, have to do: the kernel shares processors among processes (sessions, control groups) first, so a process with hundreds of
// pipelines has often had its share when a probe comes, and the thread would wait with the workers for the next. So where the
// process may, the thread comes first. What it answers costs little; whoever asks for more (every page costs something, and /metrics is
// open) must not take the processors from everybody: above URGENCY_BUDGET_US in a second it is a thread as all others until
// the next second.
#ifndef ETL_HTTP_URGENCY_H
#define ETL_HTTP_URGENCY_H

#include <stdbool.h>
#include <stdint.h>

#define URGENCY_WINDOW_US 1000000
#define URGENCY_BUDGET_US 50000

// All zeros: not begun.
struct urgency {
    bool is_ours;   // nobody chose another scheduling for the process
    bool is_first;  // as it is now
    bool is_spent;  // the window's budget
    uint64_t window_us, window_cpu_us;
};

// Pure: whether the thread is to come first now. now_us: monotonic; cpu_us: what it has used in its life.
bool urgency_wants_first(struct urgency *urgency, uint64_t now_us, uint64_t cpu_us);

// By the thread itself: once at its beginning, and after each answer and now and then.
void urgency_begin(struct urgency *urgency, uint64_t now_us);
void urgency_look(struct urgency *urgency, uint64_t now_us);

#endif
