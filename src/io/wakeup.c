#include "io/wakeup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "io/lock.h"

bool wakeup_open(const char *owner, int *out_fd, struct err *out_error)
{
    *out_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (*out_fd < 0)
        err_set(out_error, ERR_INTERNAL, "", "cannot make an eventfd for a %s: %s", owner, strerror(errno));
    return *out_fd >= 0;
}

void wakeup_signal(int fd)
{
    lock_check_none();
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    // EAGAIN would be a counter near 2^64: it is drained at every wake-up.
    CHECK(written == (ssize_t)sizeof one);
}

void wakeup_drain(int fd)
{
    uint64_t count;
    ssize_t got;
    do
        got = read(fd, &count, sizeof count);
    while (got < 0 && errno == EINTR);
    CHECK(got == (ssize_t)sizeof count || (got < 0 && errno == EAGAIN));
}
