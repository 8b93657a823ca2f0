// SIGTERM and SIGINT as events of the main loop.
#ifndef ETL_SUPERVISOR_SIGNALS_H
#define ETL_SUPERVISOR_SIGNALS_H

#include <stdbool.h>

#include "base/err.h"
#include "io/loop.h"

struct signals {
    struct loop *loop;
    struct loop_watch watch;
    int fd;
    unsigned count;                                    // so far
    void (*on_signal)(void *context, unsigned count);  // 1: end cleanly; 2: end at once
    void *context;
};

// Before any thread is started: a signal that another thread could take would end the process.
void signals_block(void);
bool signals_open(struct signals *signals, struct loop *loop, void (*on_signal)(void *context, unsigned count),
                  void *context, struct err *out_error);
void signals_close(struct signals *signals);  // harmless when it is not open; starts as zeros

#endif
