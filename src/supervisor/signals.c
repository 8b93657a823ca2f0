#include "supervisor/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"

static void signals_of_interest(sigset_t *out_signals)
{
    sigemptyset(out_signals);
    sigaddset(out_signals, SIGTERM);
    sigaddset(out_signals, SIGINT);
}

void signals_block(void)
{
    sigset_t signals;
    signals_of_interest(&signals);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct signals *signals = watch->context;
    struct signalfd_siginfo info;
    (void)events;
    while (signals->loop != NULL && read(signals->fd, &info, sizeof info) == (ssize_t)sizeof info)
        signals->on_signal(signals->context, ++signals->count);
}

bool signals_open(struct signals *signals, struct loop *loop, void (*on_signal)(void *context, unsigned count),
                  void *context, struct err *out_error)
{
    sigset_t set;
    signals_of_interest(&set);
    *signals = (struct signals){.on_signal = on_signal, .context = context};
    signals->watch = (struct loop_watch){.on_ready = on_ready, .context = signals, .fd = -1};
    signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals->fd < 0)
        return err_set(out_error, ERR_INTERNAL, "signalfd", "signals cannot be received: %s", strerror(errno));
    if (!loop_watch_set(loop, &signals->watch, signals->fd, LOOP_READ, out_error)) {
        close(signals->fd);
        return false;
    }
    signals->loop = loop;
    return true;
}

void signals_close(struct signals *signals)
{
    if (signals->loop == NULL)
        return;
    loop_watch_stop(signals->loop, &signals->watch);
    close(signals->fd);
    signals->loop = NULL;
}
