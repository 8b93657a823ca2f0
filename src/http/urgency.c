#include "http/urgency.h"

#include "base/process.h"

bool urgency_wants_first(struct urgency *urgency, uint64_t now_us, uint64_t cpu_us)
{
    if (now_us - urgency->window_us >= URGENCY_WINDOW_US) {
        urgency->window_us = now_us;
        urgency->window_cpu_us = cpu_us;
        urgency->is_spent = false;
    }
    urgency->is_spent |= cpu_us - urgency->window_cpu_us > URGENCY_BUDGET_US;
    return !urgency->is_spent;
}

void urgency_begin(struct urgency *urgency, uint64_t now_us)
{
    *urgency = (struct urgency){.window_us = now_us, .window_cpu_us = process_thread_cpu_us()};
    urgency->is_ours = process_thread_is_ordinary();
    if (!urgency->is_ours)
        return;
    (void)process_thread_prompt();  // as long as it is not first, and where it may not be
    urgency->is_ours = urgency->is_first = process_thread_first();
}

void urgency_look(struct urgency *urgency, uint64_t now_us)
{
    if (!urgency->is_ours)
        return;
    bool is_first_wanted = urgency_wants_first(urgency, now_us, process_thread_cpu_us());
    if (is_first_wanted != urgency->is_first && (is_first_wanted ? process_thread_first() : process_thread_prompt()))
        urgency->is_first = is_first_wanted;
}
