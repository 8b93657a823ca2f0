// Verify is a command of one thread: it works from top to bottom, and waits by letting its loop turn until something has
// happened. What ends it from the side (a signal, a lease that was lost) ends every wait.
#ifndef ETL_VERIFY_WAIT_H
#define ETL_VERIFY_WAIT_H

#include <stdbool.h>

#include "base/err.h"
#include "io/loop.h"

struct wait {
    struct loop *loop;
    struct err stopped;  // set: why nothing is waited for any more
};

// Lets the loop turn until *is_done. False: wait->stopped, which out_error gets.
static inline bool wait_until(struct wait *wait, const bool *is_done, struct err *out_error)
{
    while (!*is_done && !err_is_set(&wait->stopped))
        loop_turn(wait->loop, -1);
    if (err_is_set(&wait->stopped))
        *out_error = wait->stopped;
    return !err_is_set(&wait->stopped);
}

#endif
