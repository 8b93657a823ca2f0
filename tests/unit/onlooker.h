// A thread that does nothing but sleep: it is late only where the whole process stood still.
#ifndef ETL_TEST_UNIT_ONLOOKER_H
#define ETL_TEST_UNIT_ONLOOKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

struct onlooker {
    pthread_t thread;
    atomic_bool is_ended;
    uint64_t late_us_max;  // to be read after the stop
};

static void *onlooker_run(void *context)
{
    struct onlooker *onlooker = context;
    while (!atomic_load(&onlooker->is_ended)) {
        uint64_t begin_us = clock_system.monotonic_us(clock_system.context);
        usleep(2000);
        uint64_t took_us = clock_system.monotonic_us(clock_system.context) - begin_us;
        onlooker->late_us_max = took_us > onlooker->late_us_max + 2000 ? took_us - 2000 : onlooker->late_us_max;
    }
    return NULL;
}

static void onlooker_start(struct onlooker *onlooker)
{
    atomic_init(&onlooker->is_ended, false);
    onlooker->late_us_max = 0;
    CHECK(pthread_create(&onlooker->thread, NULL, onlooker_run, onlooker) == 0);
}

static void onlooker_stop(struct onlooker *onlooker)
{
    atomic_store(&onlooker->is_ended, true);
    pthread_join(onlooker->thread, NULL);
}

#endif
