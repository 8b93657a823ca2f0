#include "io/breaker_meter.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/lock.h"
#include "io/metric_registry.h"

#define STATES 3

// Invariant: counts says how many breakers of the name are in each state; they are `users` together.
struct breaker_meter {
    struct breaker_meter *next;
    char *name;
    uint32_t users, counts[STATES];
    struct metric *state, *rejected, *changes[STATES];
};

static struct {
    struct lock lock;
    struct breaker_meter *meters;
} all = {.lock = LOCK_INITIALIZER};

// Under the lock, so that of two threads the later one's view stays.
static void show(const struct breaker_meter *meter)
{
    metric_set(meter->state, meter->counts[BREAKER_OPEN] > 0 ? 1 : meter->counts[BREAKER_HALF_OPEN] > 0 ? 0.5 : 0);
}

static struct breaker_meter *meter_new(const char *name)
{
    struct breaker_meter *meter = calloc(1, sizeof *meter);
    CHECK(meter != NULL);
    meter->name = strdup(name);
    CHECK(meter->name != NULL);
    meter->state = metric_get(METRIC_BREAKER_STATE, name);
    meter->rejected = metric_get(METRIC_BREAKER_REJECTED, name);
    for (int i = 0; i < STATES; i++)
        meter->changes[i] = metric_get(METRIC_BREAKER_CHANGES, name, breaker_state_name((enum breaker_state)i));
    return meter;
}

static void meter_free(struct breaker_meter *meter)
{
    if (meter == NULL)
        return;
    metric_drop(meter->state);
    metric_put(meter->rejected);
    for (int i = 0; i < STATES; i++)
        metric_put(meter->changes[i]);
    free(meter->name);
    free(meter);
}

void breaker_meter_open(struct breaker *breaker, const char *name)
{
    CHECK(breaker->meter == NULL && breaker->state == BREAKER_CLOSED);
    struct breaker_meter *fresh = meter_new(name);
    lock_acquire(&all.lock);
    struct breaker_meter *meter = all.meters;
    while (meter != NULL && strcmp(meter->name, name) != 0)
        meter = meter->next;
    if (meter == NULL) {
        meter = fresh;
        fresh = NULL;
        meter->next = all.meters;
        all.meters = meter;
    }
    meter->users++;
    meter->counts[BREAKER_CLOSED]++;
    show(meter);
    lock_release(&all.lock);
    meter_free(fresh);
    breaker->meter = meter;
    breaker->shown_state = BREAKER_CLOSED;
}

void breaker_meter_close(struct breaker *breaker)
{
    struct breaker_meter *meter = breaker->meter;
    if (meter == NULL)
        return;
    breaker->meter = NULL;
    lock_acquire(&all.lock);
    meter->counts[breaker->shown_state]--;
    bool is_last = --meter->users == 0;
    if (is_last) {
        struct breaker_meter **link = &all.meters;
        while (*link != meter)
            link = &(*link)->next;
        *link = meter->next;
    } else {
        show(meter);
    }
    lock_release(&all.lock);
    meter_free(is_last ? meter : NULL);
}

void breaker_meter_note(struct breaker *breaker)
{
    struct breaker_meter *meter = breaker->meter;
    if (meter == NULL)
        return;
    metric_add(meter->rejected, breaker->rejected_count - breaker->shown_rejected);
    breaker->shown_rejected = breaker->rejected_count;
    if (breaker->state == breaker->shown_state)
        return;
    metric_add(meter->changes[breaker->state], 1);
    lock_acquire(&all.lock);
    meter->counts[breaker->shown_state]--;
    meter->counts[breaker->state]++;
    show(meter);
    lock_release(&all.lock);
    breaker->shown_state = breaker->state;
}
