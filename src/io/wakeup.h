// One thread wakes the loop of another: an eventfd that the loop watches. Any thread may signal, and as often as it likes;
// the loop's side drains before it looks at what it was woken for, or a wake-up sent in between would be lost.
#ifndef ETL_IO_WAKEUP_H
#define ETL_IO_WAKEUP_H

#include <stdbool.h>

#include "base/err.h"

// Opens a descriptor (eventfd(2), non-blocking and closed on exec) that the caller closes with close(2).
// owner: who it is for, in the text of the error. False: *out_error says why, and *out_fd is -1.
bool wakeup_open(const char *owner, int *out_fd, struct err *out_error);
// Makes the descriptor readable. The caller holds no lock. Never blocks.
void wakeup_signal(int fd);
// Makes the descriptor not readable; harmless when it is not.
void wakeup_drain(int fd);

#endif
