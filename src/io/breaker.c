#include "io/breaker.h"

#include "base/check.h"
#include "base/trap.h"

const char *breaker_state_name(enum breaker_state state)
{
    static const char *const names[] = {"closed", "half_open", "open"};
    CHECK((unsigned)state < sizeof names / sizeof names[0]);
    return names[state];
}

static void trip(struct breaker *breaker, uint64_t now_us)
{
    breaker->state = BREAKER_OPEN;
    // Tests that break a destination again and again cannot wait half a minute each time.
    breaker->open_until_us = now_us + (trap_is_set("circuit_tenths") ? BREAKER_PAUSE_US / 10 : BREAKER_PAUSE_US);
    breaker->opened_count++;
    breaker->failure_count = breaker->success_count = 0;
    breaker->is_trial_out = false;
}

bool breaker_may_send(struct breaker *breaker, uint64_t now_us)
{
    if (breaker->state == BREAKER_OPEN && now_us >= breaker->open_until_us)
        breaker->state = BREAKER_HALF_OPEN;
    if (breaker->state == BREAKER_OPEN || (breaker->state == BREAKER_HALF_OPEN && breaker->is_trial_out)) {
        breaker->rejected_count++;
        return false;
    }
    breaker->is_trial_out = breaker->state == BREAKER_HALF_OPEN;
    return true;
}

void breaker_succeeded(struct breaker *breaker)
{
    breaker->is_trial_out = false;
    breaker->failure_count = 0;
    if (breaker->state == BREAKER_HALF_OPEN && ++breaker->success_count >= BREAKER_SUCCESSES) {
        breaker->state = BREAKER_CLOSED;
        breaker->success_count = 0;
    }
}

void breaker_failed(struct breaker *breaker, uint64_t now_us)
{
    if (breaker->state == BREAKER_OPEN)
        return;  // sent before it opened
    if (breaker->state == BREAKER_HALF_OPEN) {
        trip(breaker, now_us);
        return;
    }
    // The oldest of five is the one that the next overwrites.
    breaker->failures_us[breaker->next_failure] = now_us;
    breaker->next_failure = (breaker->next_failure + 1) % BREAKER_FAILURES;
    if (breaker->failure_count < BREAKER_FAILURES)
        breaker->failure_count++;
    if (breaker->failure_count == BREAKER_FAILURES &&
        now_us - breaker->failures_us[breaker->next_failure] <= BREAKER_WINDOW_US)
        trip(breaker, now_us);
}

void breaker_abandoned(struct breaker *breaker)
{
    breaker->is_trial_out = false;
}

uint64_t breaker_open_us(const struct breaker *breaker, uint64_t now_us)
{
    bool is_open = breaker->state == BREAKER_OPEN && breaker->open_until_us > now_us;
    return is_open ? breaker->open_until_us - now_us : 0;
}
