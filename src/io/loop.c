#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "io/lock.h"

enum { EVENTS_A_TURN_MAX = 256 };

// What an event of epoll is looked up in, by descriptor. An event carries the generation its watch had when it was
// registered: one that was stopped in the same turn, or whose descriptor's number is in use again, no longer matches,
// so a stopped watch's memory is never read.
struct slot {
    struct loop_watch *watch;  // NULL: not watched
    uint32_t generation;
};

// Timers are a binary heap in timers[1 .. timer_count] by (due_us, order); timers[i]->heap_index == i.
struct loop {
    const struct clock *clock;
    int epoll_fd;
    bool has_fine_wait;  // epoll_pwait2: Linux 5.11 on
    bool is_stopping;
    uint32_t last_generation;
    uint64_t now_us;

    struct slot *slots;
    size_t slot_count;
    size_t watch_count;

    struct loop_timer **timers;
    uint32_t timer_count;
    uint32_t timer_capacity;
    uint64_t last_order;

    struct loop_deferred *deferred_first;
    struct loop_deferred *deferred_last;
    size_t deferred_count;
};

struct loop *loop_new(const struct clock *clock, struct err *out_error)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        err_set(out_error, ERR_INTERNAL, "", "out of memory for an event loop");
        return NULL;
    }
    loop->clock = clock;
    loop->has_fine_wait = true;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        err_set(out_error, ERR_INTERNAL, "", "cannot make an epoll descriptor: %s", strerror(errno));
        free(loop);
        return NULL;
    }
    loop->now_us = clock->monotonic_us(clock->context);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    CHECK(loop->watch_count == 0);
    CHECK(loop->timer_count == 0);
    CHECK(loop->deferred_count == 0);
    close(loop->epoll_fd);
    free(loop->slots);
    free(loop->timers);
    free(loop);
}

static void take_time(struct loop *loop)
{
    loop->now_us = loop->clock->monotonic_us(loop->clock->context);
}

uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

uint64_t loop_fresh_us(const struct loop *loop)
{
    return loop->clock->monotonic_us(loop->clock->context);
}

int64_t loop_wall_us(const struct loop *loop)
{
    return loop->clock->wall_us(loop->clock->context);
}

// ---- descriptors

static bool reserve_slot(struct loop *loop, size_t index)
{
    if (index < loop->slot_count)
        return true;
    size_t count = loop->slot_count == 0 ? 64 : loop->slot_count;
    while (count <= index)
        count *= 2;
    struct slot *slots = realloc(loop->slots, count * sizeof *slots);
    if (slots == NULL)
        return false;
    memset(slots + loop->slot_count, 0, (count - loop->slot_count) * sizeof *slots);
    loop->slots = slots;
    loop->slot_count = count;
    return true;
}

static uint32_t epoll_events_of(unsigned events)
{
    // Errors and hang-ups are reported whether asked for or not. A watch that asks for nothing is one whose owner is
    // not reading just now: level-triggered, a hang-up would wake it in every turn, so it is told of it once.
    if (events == 0)
        return EPOLLET;
    return ((events & LOOP_READ) != 0 ? (uint32_t)EPOLLIN : 0) | ((events & LOOP_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0);
}

bool loop_watch_set(struct loop *loop, struct loop_watch *watch, int fd, unsigned events, struct err *out_error)
{
    CHECK(fd >= 0);
    CHECK((events & ~(unsigned)(LOOP_READ | LOOP_WRITE)) == 0);
    bool is_new = watch->generation == 0;
    CHECK(is_new || watch->fd == fd);
    if (!is_new && watch->events == events)
        return true;
    size_t index = (size_t)fd;
    if (!reserve_slot(loop, index))
        return err_set(out_error, ERR_INTERNAL, "", "out of memory watching a descriptor");
    struct slot *slot = &loop->slots[index];
    // Another watch still there means that its descriptor was closed before loop_watch_stop.
    CHECK(slot->watch == (is_new ? NULL : watch));

    uint32_t generation = watch->generation;
    if (is_new) {
        generation = loop->last_generation + 1;
        if (generation == 0)
            generation = 1;
    }
    struct epoll_event event = {.events = epoll_events_of(events),
                                .data.u64 = ((uint64_t)generation << 32) | (uint32_t)fd};
    if (epoll_ctl(loop->epoll_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0)
        return err_set(out_error, ERR_INTERNAL, "", "cannot watch descriptor %d: %s", fd, strerror(errno));
    if (is_new) {
        loop->last_generation = generation;
        loop->watch_count++;
    }
    watch->fd = fd;
    watch->events = events;
    watch->generation = generation;
    slot->watch = watch;
    slot->generation = generation;
    return true;
}

void loop_watch_stop(struct loop *loop, struct loop_watch *watch)
{
    if (watch->generation == 0)
        return;
    struct slot *slot = &loop->slots[watch->fd];
    CHECK(slot->watch == watch);
    // Fails only where the descriptor was closed already, and then the kernel has removed it.
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    *slot = (struct slot){0};
    loop->watch_count--;
    watch->fd = -1;
    watch->events = 0;
    watch->generation = 0;
}

static void run_ready(struct loop *loop, const struct epoll_event *ready, int ready_count)
{
    for (int i = 0; i < ready_count; i++) {
        size_t index = (uint32_t)ready[i].data.u64;
        uint32_t generation = (uint32_t)(ready[i].data.u64 >> 32);
        // Looked up anew each time: a callback may have stopped this watch or made the table move.
        const struct slot *slot = &loop->slots[index];
        if (slot->watch == NULL || slot->generation != generation)
            continue;
        struct loop_watch *watch = slot->watch;
        unsigned events = 0;
        if ((ready[i].events & EPOLLIN) != 0)
            events |= LOOP_READ;
        if ((ready[i].events & EPOLLOUT) != 0)
            events |= LOOP_WRITE;
        if ((ready[i].events & (EPOLLERR | EPOLLHUP)) != 0)
            events |= LOOP_HANGUP | watch->events;
        else
            events &= watch->events;  // it may have been set to less by an earlier callback of this turn
        if (events != 0)
            watch->on_ready(watch, events);
    }
}

// ---- timers

static bool is_earlier(const struct loop_timer *one, const struct loop_timer *other)
{
    return one->due_us != other->due_us ? one->due_us < other->due_us : one->order < other->order;
}

static void heap_put(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
    loop->timers[index] = timer;
    timer->heap_index = index;
}

static void heap_rise(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
    while (index > 1 && is_earlier(timer, loop->timers[index / 2])) {
        heap_put(loop, index, loop->timers[index / 2]);
        index /= 2;
    }
    heap_put(loop, index, timer);
}

static void heap_sink(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
    for (;;) {
        uint32_t child = index * 2;
        if (child > loop->timer_count)
            break;
        if (child < loop->timer_count && is_earlier(loop->timers[child + 1], loop->timers[child]))
            child++;
        if (!is_earlier(loop->timers[child], timer))
            break;
        heap_put(loop, index, loop->timers[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    uint32_t index = timer->heap_index;
    if (index == 0)
        return;
    CHECK(index <= loop->timer_count && loop->timers[index] == timer);
    struct loop_timer *last = loop->timers[loop->timer_count--];
    timer->heap_index = 0;
    if (last == timer)
        return;
    if (index > 1 && is_earlier(last, loop->timers[index / 2]))
        heap_rise(loop, index, last);
    else
        heap_sink(loop, index, last);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_us)
{
    loop_timer_stop(loop, timer);
    if (loop->timer_count + 1 >= loop->timer_capacity) {
        uint32_t capacity = loop->timer_capacity == 0 ? 64 : loop->timer_capacity * 2;
        CHECK(capacity > loop->timer_capacity);
        struct loop_timer **timers = realloc(loop->timers, capacity * sizeof *timers);
        // A timer that cannot be armed would be a wait without end; eight bytes that cannot be had end the process.
        CHECK(timers != NULL);
        loop->timers = timers;
        loop->timer_capacity = capacity;
    }
    // Not from the turn's time: that is older than this call by what the turn has done so far, and the timer would be early.
    uint64_t from_us = loop_fresh_us(loop);
    timer->due_us = delay_us > UINT64_MAX - from_us ? UINT64_MAX : from_us + delay_us;
    timer->order = ++loop->last_order;
    loop->timer_count++;
    heap_rise(loop, loop->timer_count, timer);
}

static void run_timers(struct loop *loop)
{
    // Those armed from here on wait for the next turn, also with a delay of 0; being set later, they sort behind all that are due.
    uint64_t order_max = loop->last_order;
    take_time(loop);
    while (loop->timer_count > 0) {
        struct loop_timer *timer = loop->timers[1];
        if (timer->due_us > loop->now_us || timer->order > order_max)
            break;
        loop_timer_stop(loop, timer);
        timer->on_due(timer);
    }
}

// ---- deferred calls

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
    if (deferred->is_pending)
        return;
    deferred->is_pending = true;
    deferred->next = NULL;
    deferred->previous = loop->deferred_last;
    if (loop->deferred_last != NULL)
        loop->deferred_last->next = deferred;
    else
        loop->deferred_first = deferred;
    loop->deferred_last = deferred;
    loop->deferred_count++;
}

void loop_defer_stop(struct loop *loop, struct loop_deferred *deferred)
{
    if (!deferred->is_pending)
        return;
    CHECK(loop->deferred_count > 0);
    if (deferred->previous != NULL)
        deferred->previous->next = deferred->next;
    else
        loop->deferred_first = deferred->next;
    if (deferred->next != NULL)
        deferred->next->previous = deferred->previous;
    else
        loop->deferred_last = deferred->previous;
    deferred->next = NULL;
    deferred->previous = NULL;
    deferred->is_pending = false;
    loop->deferred_count--;
}

static void run_deferred(struct loop *loop)
{
    // Counted first: what these calls defer runs in the next turn, so that one that defers itself does not hold the loop.
    for (size_t left = loop->deferred_count; left > 0 && loop->deferred_first != NULL; left--) {
        struct loop_deferred *deferred = loop->deferred_first;
        loop_defer_stop(loop, deferred);
        deferred->call(deferred);  // may free it
    }
}

// ---- turns

static int64_t wait_us_of(const struct loop *loop, int64_t wait_us_max)
{
    if (loop->deferred_count > 0)
        return 0;
    if (loop->timer_count == 0)
        return wait_us_max;
    uint64_t now_us = loop_fresh_us(loop);
    uint64_t due_us = loop->timers[1]->due_us;
    uint64_t until_us = due_us > now_us ? due_us - now_us : 0;
    if (wait_us_max >= 0 && until_us > (uint64_t)wait_us_max)
        return wait_us_max;
    return until_us > INT64_MAX ? INT64_MAX : (int64_t)until_us;
}

static int wait_ready(struct loop *loop, struct epoll_event *ready, int64_t wait_us)
{
    lock_check_none();
    if (loop->has_fine_wait) {
        struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = (wait_us % 1000000) * 1000};
        int count = epoll_pwait2(loop->epoll_fd, ready, EVENTS_A_TURN_MAX, wait_us < 0 ? NULL : &wait, NULL);
        if (count >= 0 || errno != ENOSYS)
            return count;
        loop->has_fine_wait = false;
    }
    // Rounded up: a wait that is too short would make the loop turn idly until the timer is due.
    int wait_ms = -1;
    if (wait_us >= 0)
        wait_ms = wait_us > 3600 * INT64_C(1000000) ? 3600000 : (int)((wait_us + 999) / 1000);
    return epoll_wait(loop->epoll_fd, ready, EVENTS_A_TURN_MAX, wait_ms);
}

void loop_turn(struct loop *loop, int64_t wait_us_max)
{
    struct epoll_event ready[EVENTS_A_TURN_MAX];
    int count = wait_ready(loop, ready, wait_us_of(loop, wait_us_max));
    if (count < 0) {
        CHECK(errno == EINTR);
        count = 0;
    }
    take_time(loop);
    run_ready(loop, ready, count);
    run_timers(loop);
    run_deferred(loop);
}

void loop_run(struct loop *loop)
{
    do {
        loop_turn(loop, -1);
    } while (!loop->is_stopping);
    loop->is_stopping = false;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}
