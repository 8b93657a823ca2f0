// Exponential back-off with full jitter: the n-th delay is uniform in [0, min(delay_max, delay_first * 2^n)],
// but never below delay_min. A policy is data; the state counts tries.
#ifndef ETL_BASE_BACKOFF_H
#define ETL_BASE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

struct backoff_policy {
    uint32_t delay_first_ms;
    uint32_t delay_min_ms;
    uint32_t delay_max_ms;
    uint32_t tries_max;  // 0: without end
};

struct backoff {
    const struct backoff_policy *policy;
    uint64_t random_state;  // seeded by the caller, never 0
    uint32_t tries;
};

void backoff_init(struct backoff *backoff, const struct backoff_policy *policy, uint64_t seed);
void backoff_reset(struct backoff *backoff);  // after a success
// Counts a try; *out_delay_ms is how long to wait before the next. False when the tries are used up.
bool backoff_next(struct backoff *backoff, uint32_t *out_delay_ms);

#endif
