#include "io/lock.h"

#include <errno.h>
#include <time.h>

#include "base/check.h"

static _Thread_local uint32_t held_count;

void lock_init(struct lock *lock)
{
    // Error-checking: unlocking what another thread holds and locking twice are answered with an error, which CHECK
    // turns into an end at the faulty place.
    pthread_mutexattr_t attributes;
    CHECK(pthread_mutexattr_init(&attributes) == 0);
    CHECK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0);
    CHECK(pthread_mutex_init(&lock->mutex, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

void lock_deinit(struct lock *lock)
{
    CHECK(pthread_mutex_destroy(&lock->mutex) == 0);
}

void lock_acquire(struct lock *lock)
{
    CHECK(pthread_mutex_lock(&lock->mutex) == 0);
    held_count++;
}

void lock_release(struct lock *lock)
{
    CHECK(held_count > 0);
    held_count--;
    CHECK(pthread_mutex_unlock(&lock->mutex) == 0);
}

void lock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(condition, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

bool lock_wait(struct lock *lock, pthread_cond_t *condition, uint32_t wait_ms)
{
    CHECK(held_count == 1);
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    held_count--;
    int outcome = pthread_cond_timedwait(condition, &lock->mutex, &until);
    held_count++;
    CHECK(outcome == 0 || outcome == ETIMEDOUT);
    return outcome == 0;
}

uint32_t lock_held_count(void)
{
    return held_count;
}

void lock_check_none(void)
{
    CHECK(held_count == 0);
}
