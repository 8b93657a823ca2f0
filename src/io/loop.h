// The event loop of one thread: descriptors, timers, and work deferred to the end of a turn (epoll, timerfd-less: the
// timeout comes from the nearest timer). Level-triggered. A turn: wait, run callbacks of ready descriptors, run due timers, run deferred calls.
//
// Nothing is freed inside a callback: loop_defer runs a call after the turn's callbacks. A watch or timer may be
// removed inside any callback, also another's or its own; it is then not called again in that turn.
// Watches and timers are embedded in the caller's structs; the loop never owns them, and does not look at one that was
// stopped. All three start as zeros, but for their callback and context.
#ifndef ETL_IO_LOOP_H
#define ETL_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

struct loop;

// HANGUP is only reported, never asked for: an error, or both directions are closed. What was asked for is then reported
// with it, so that reading or writing finds the cause.
enum loop_events { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

struct loop_watch {
    void (*on_ready)(struct loop_watch *watch, unsigned events);
    void *context;
    int fd;  // -1: not watched (0 too, in a watch that was never set)
    unsigned events;
    uint32_t generation;  // the loop's own; 0: not watched
};

struct loop_timer {
    void (*on_due)(struct loop_timer *timer);
    void *context;
    uint64_t due_us;  // monotonic
    uint64_t order;   // the loop's own: counts up with every arming, so that equal times run in the order they were set
    uint32_t heap_index;  // the loop's own; 0: not armed
};

struct loop_deferred {
    void (*call)(struct loop_deferred *deferred);
    void *context;
    struct loop_deferred *next;
    struct loop_deferred *previous;
    bool is_pending;
};

struct loop *loop_new(const struct clock *clock, struct err *out_error);
void loop_free(struct loop *loop);  // CHECKs that nothing is watched, armed or pending
uint64_t loop_now_us(
    const struct loop *loop);  // monotonic, taken after the turn's wait and once more before its timers
uint64_t loop_fresh_us(const struct loop *loop);  // monotonic, read now: for measuring inside a turn
int64_t loop_wall_us(const struct loop *loop);

// (Re)watches fd for events; events 0 keeps it registered for errors only, which are then told once. Same watch, other fd: stop first.
bool loop_watch_set(struct loop *loop, struct loop_watch *watch, int fd, unsigned events, struct err *out_error);
void loop_watch_stop(struct loop *loop, struct loop_watch *watch);  // harmless when not watched; before close(fd)
void loop_timer_set(struct loop *loop, struct loop_timer *timer,
                    uint64_t delay_us);                             // (re)arms, counting from this instant; never early
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);  // harmless when not armed
void loop_defer(struct loop *loop,
                struct loop_deferred *deferred);  // once, after this turn's callbacks; harmless when pending
void loop_defer_stop(struct loop *loop, struct loop_deferred *deferred);  // harmless when not pending
void loop_run(struct loop *loop);                                         // until loop_stop
void loop_turn(struct loop *loop,
               int64_t wait_us_max);  // one turn; tests and command lines. Below 0: waits without a limit of its own
void loop_stop(
    struct loop *loop);  // ends loop_run after this turn (or its first, when called before); same thread only

#endif
