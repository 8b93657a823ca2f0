#include "base/backoff.h"

#include "base/check.h"

// xorshift64*: no cryptography is needed to spread retries, only that two clients differ.
static uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

void backoff_init(struct backoff *backoff, const struct backoff_policy *policy, uint64_t seed)
{
    CHECK(policy->delay_first_ms > 0 && policy->delay_min_ms <= policy->delay_max_ms);
    *backoff = (struct backoff){.policy = policy, .random_state = seed != 0 ? seed : 1};
}

void backoff_reset(struct backoff *backoff)
{
    backoff->tries = 0;
}

bool backoff_next(struct backoff *backoff, uint32_t *out_delay_ms)
{
    const struct backoff_policy *policy = backoff->policy;
    if (policy->tries_max != 0 && backoff->tries >= policy->tries_max)
        return false;

    // 64 bits hold any 32-bit delay shifted by up to 32: no overflow before the ceiling is applied.
    uint32_t doublings = backoff->tries < 32 ? backoff->tries : 32;
    uint64_t ceiling_ms = (uint64_t)policy->delay_first_ms << doublings;
    if (ceiling_ms > policy->delay_max_ms)
        ceiling_ms = policy->delay_max_ms;

    // The high bits times the range: uniform enough without a division's bias.
    uint64_t random = random_next(&backoff->random_state) >> 32;
    uint64_t delay_ms = (random * (ceiling_ms + 1)) >> 32;
    if (delay_ms < policy->delay_min_ms)
        delay_ms = policy->delay_min_ms;

    if (backoff->tries < UINT32_MAX)
        backoff->tries++;
    *out_delay_ms = (uint32_t)delay_ms;
    return true;
}
