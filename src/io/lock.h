// A mutex that knows how many locks its thread holds, so that I/O under a lock fails an assertion instead of
// stalling whoever waits. lock_check_none() stands before every call that may block or reaches a network, a
// disk or a database: epoll_wait, curl_multi_socket_action, libpq, SQLite.
#ifndef ETL_IO_LOCK_H
#define ETL_IO_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
    pthread_mutex_t mutex;
};

// For a lock of the whole program; otherwise lock_init.
#define LOCK_INITIALIZER                                 \
    {                                                    \
        .mutex = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP \
    }

void lock_init(struct lock *lock);
void lock_deinit(struct lock *lock);  // must be free
void lock_acquire(struct lock *lock);
void lock_release(struct lock *lock);  // CHECKs that this thread holds it
// Waits for the condition with the lock given up meanwhile; it must be the only one the thread holds.
// False when wait_ms went by. The condition was made by lock_condition_init.
void lock_condition_init(pthread_cond_t *condition);
bool lock_wait(struct lock *lock, pthread_cond_t *condition, uint32_t wait_ms);

uint32_t lock_held_count(void);  // by the calling thread
void lock_check_none(void);      // CHECKs that it is 0

#endif
