// The event loop with real descriptors and with a clock that the test turns.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/loop.h"

struct fixture {
    struct loop *loop;
    uint64_t now_us;
    int calls;
    char order[64];
};

static uint64_t fake_monotonic(void *context)
{
    return ((struct fixture *)context)->now_us;
}

static int64_t fake_wall(void *context)
{
    return (int64_t)((struct fixture *)context)->now_us + 1000000;
}

static void make_pair(int out_pair[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out_pair) == 0);
}

static struct loop *new_loop(const struct clock *clock)
{
    struct err error;
    struct loop *loop = loop_new(clock, &error);
    assert_non_null(loop);
    return loop;
}

static void set_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned events)
{
    struct err error;
    assert_true(loop_watch_set(loop, watch, fd, events, &error));
}

// ---- descriptors

struct counted_watch {
    struct loop_watch watch;
    struct loop *loop;
    struct counted_watch *stop_other;
    unsigned events;
    int calls;
    bool must_free;
};

static void on_counted(struct loop_watch *watch, unsigned events)
{
    struct counted_watch *counted = watch->context;
    counted->events = events;
    counted->calls++;
    if (counted->stop_other != NULL) {
        loop_watch_stop(counted->loop, &counted->stop_other->watch);
        if (counted->stop_other->must_free)
            free(counted->stop_other);
    }
}

static void counted_init(struct counted_watch *counted, struct loop *loop)
{
    *counted = (struct counted_watch){.watch = {.on_ready = on_counted, .context = counted, .fd = -1}, .loop = loop};
}

static void test_loop_is_level_triggered(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    int pair[2];
    make_pair(pair);
    struct counted_watch counted;
    counted_init(&counted, loop);
    set_watch(loop, &counted.watch, pair[0], LOOP_READ);
    loop_turn(loop, 0);
    assert_int_equal(counted.calls, 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(counted.calls, 2);  // nobody read: told again
    assert_int_equal(counted.events, LOOP_READ);
    set_watch(loop, &counted.watch, pair[0], LOOP_READ | LOOP_WRITE);
    loop_turn(loop, 0);
    assert_int_equal(counted.events, LOOP_READ | LOOP_WRITE);
    set_watch(loop, &counted.watch, pair[0], 0);
    loop_turn(loop, 0);
    assert_int_equal(counted.calls, 3);
    loop_watch_stop(loop, &counted.watch);
    loop_watch_stop(loop, &counted.watch);
    assert_int_equal(counted.watch.fd, -1);
    close(pair[0]);
    close(pair[1]);
    loop_free(loop);
}

static void test_loop_tells_hangup(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    int pair[2];
    make_pair(pair);
    struct counted_watch counted;
    counted_init(&counted, loop);
    set_watch(loop, &counted.watch, pair[0], 0);
    close(pair[1]);
    loop_turn(loop, 0);
    assert_int_equal(counted.events, LOOP_HANGUP);
    loop_turn(loop, 0);
    assert_int_equal(counted.calls, 1);  // once, or a paused reader would keep the loop turning
    set_watch(loop, &counted.watch, pair[0], LOOP_READ);
    loop_turn(loop, 0);
    assert_int_equal(counted.events, LOOP_HANGUP | LOOP_READ);
    loop_watch_stop(loop, &counted.watch);
    close(pair[0]);
    loop_free(loop);
}

// Of two descriptors that are ready in one turn the first to be called stops and frees the other.
static void test_loop_stop_of_another_in_callback(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    int pairs[2][2];
    struct counted_watch *counted[2];
    for (int i = 0; i < 2; i++) {
        make_pair(pairs[i]);
        counted[i] = calloc(1, sizeof *counted[i]);
        assert_non_null(counted[i]);
        counted_init(counted[i], loop);
        set_watch(loop, &counted[i]->watch, pairs[i][0], LOOP_READ);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
    counted[0]->stop_other = counted[1];
    counted[1]->stop_other = counted[0];
    counted[0]->must_free = counted[1]->must_free = true;
    loop_turn(loop, 0);
    // epoll tells in the order of readiness, so it is 0 that lives.
    assert_int_equal(counted[0]->calls, 1);
    loop_watch_stop(loop, &counted[0]->watch);
    free(counted[0]);
    for (int i = 0; i < 2; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    loop_free(loop);
}

struct reuse {
    struct loop_watch first;
    struct loop_watch second;
    struct loop *loop;
    int *second_pair;
    int fd_of_third;
    struct counted_watch third;
    int second_calls;
};

// Closes the second descriptor, opens another that gets its number, and watches that.
static void on_reuse_first(struct loop_watch *watch, unsigned events)
{
    (void)events;
    struct reuse *reuse = watch->context;
    if (reuse->fd_of_third >= 0)
        return;
    int fd = reuse->second.fd;
    loop_watch_stop(reuse->loop, &reuse->second);
    close(fd);
    reuse->fd_of_third = dup(reuse->second_pair[1]);
    CHECK(reuse->fd_of_third == fd);
    struct err error;
    CHECK(loop_watch_set(reuse->loop, &reuse->third.watch, fd, LOOP_READ, &error));
}

static void on_reuse_second(struct loop_watch *watch, unsigned events)
{
    (void)events;
    ((struct reuse *)watch->context)->second_calls++;
}

static void test_loop_stale_event_of_a_reused_descriptor(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    int first_pair[2];
    int second_pair[2];
    make_pair(first_pair);
    make_pair(second_pair);
    struct reuse reuse = {.loop = loop, .second_pair = second_pair, .fd_of_third = -1};
    reuse.first = (struct loop_watch){.on_ready = on_reuse_first, .context = &reuse, .fd = -1};
    reuse.second = (struct loop_watch){.on_ready = on_reuse_second, .context = &reuse, .fd = -1};
    counted_init(&reuse.third, loop);
    set_watch(loop, &reuse.first, first_pair[0], LOOP_READ);
    set_watch(loop, &reuse.second, second_pair[0], LOOP_READ);
    assert_int_equal(write(first_pair[1], "x", 1), 1);
    assert_int_equal(write(second_pair[1], "x", 1), 1);
    loop_turn(loop, 0);
    assert_true(reuse.fd_of_third >= 0);
    assert_int_equal(reuse.second_calls, 0);
    assert_int_equal(reuse.third.calls, 0);  // the event was the closed descriptor's
    loop_watch_stop(loop, &reuse.first);
    loop_watch_stop(loop, &reuse.third.watch);
    close(first_pair[0]);
    close(first_pair[1]);
    close(second_pair[1]);
    close(reuse.fd_of_third);
    loop_free(loop);
}

static void test_loop_watch_of_a_file_is_refused(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    struct counted_watch counted;
    counted_init(&counted, loop);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct err error;
    assert_false(loop_watch_set(loop, &counted.watch, fd, LOOP_READ, &error));
    assert_int_equal(error.kind, ERR_INTERNAL);
    loop_watch_stop(loop, &counted.watch);
    close(fd);
    loop_free(loop);
}

// ---- timers

struct named_timer {
    struct loop_timer timer;
    struct fixture *fixture;
    struct named_timer *stop_other;
    uint64_t again_us;
    bool is_repeating;
    char name;
};

static void on_named(struct loop_timer *timer)
{
    struct named_timer *named = timer->context;
    struct fixture *fixture = named->fixture;
    if ((size_t)fixture->calls < sizeof fixture->order - 1)
        fixture->order[fixture->calls] = named->name;
    fixture->calls++;
    if (named->stop_other != NULL)
        loop_timer_stop(fixture->loop, &named->stop_other->timer);
    if (named->is_repeating)
        loop_timer_set(fixture->loop, timer, named->again_us);
}

static void named_init(struct named_timer *named, struct fixture *fixture, char name)
{
    *named = (struct named_timer){.timer = {.on_due = on_named, .context = named}, .fixture = fixture, .name = name};
}

static void test_loop_timers_run_in_order(void **state)
{
    (void)state;
    struct fixture fixture = {.now_us = 5};
    struct clock clock = {.monotonic_us = fake_monotonic, .wall_us = fake_wall, .context = &fixture};
    fixture.loop = new_loop(&clock);
    struct named_timer timers[6];
    const uint64_t delays_us[6] = {300, 100, 200, 100, 0, 400};
    for (int i = 0; i < 6; i++) {
        named_init(&timers[i], &fixture, (char)('a' + i));
        loop_timer_set(fixture.loop, &timers[i].timer, delays_us[i]);
    }
    timers[1].stop_other = &timers[2];
    loop_turn(fixture.loop, 0);
    assert_string_equal(fixture.order, "e");
    fixture.now_us = 5 + 99;
    loop_turn(fixture.loop, 0);
    assert_string_equal(fixture.order, "e");
    fixture.now_us = 5 + 350;
    loop_turn(fixture.loop, 0);
    assert_string_equal(fixture.order, "ebda");  // equal times in the order they were set; c was stopped by b
    assert_true(loop_now_us(fixture.loop) == 355);
    assert_true(loop_wall_us(fixture.loop) == 1000355);
    loop_timer_set(fixture.loop, &timers[5].timer, 1000);  // later than it was
    fixture.now_us = 5 + 500;
    loop_turn(fixture.loop, 0);
    assert_int_equal(fixture.calls, 4);
    loop_timer_stop(fixture.loop, &timers[5].timer);
    loop_timer_stop(fixture.loop, &timers[5].timer);
    loop_free(fixture.loop);
}

static void test_loop_timer_that_rearms_does_not_hold_the_loop(void **state)
{
    (void)state;
    struct fixture fixture = {.now_us = 1};
    struct clock clock = {.monotonic_us = fake_monotonic, .wall_us = fake_wall, .context = &fixture};
    fixture.loop = new_loop(&clock);
    struct named_timer again;
    struct named_timer once;
    named_init(&again, &fixture, 'r');
    named_init(&once, &fixture, 'o');
    again.is_repeating = true;
    loop_timer_set(fixture.loop, &again.timer, 0);
    loop_timer_set(fixture.loop, &once.timer, 0);
    loop_turn(fixture.loop, 0);
    assert_string_equal(fixture.order, "ro");
    loop_turn(fixture.loop, -1);  // due at once: does not wait
    assert_string_equal(fixture.order, "ror");
    loop_timer_stop(fixture.loop, &again.timer);
    loop_free(fixture.loop);
}

// Random timers, armed, moved and stopped, against a plain list.
static void test_loop_heap_agrees_with_a_list(void **state)
{
    (void)state;
    enum { COUNT = 200, STEPS = 20000 };
    struct fixture fixture = {.now_us = 1};
    struct clock clock = {.monotonic_us = fake_monotonic, .wall_us = fake_wall, .context = &fixture};
    fixture.loop = new_loop(&clock);
    static struct named_timer timers[COUNT];
    static uint64_t due_us[COUNT];  // 0: not armed
    unsigned seed = 20261123;
    print_message("seed %u\n", seed);
    for (int i = 0; i < COUNT; i++) {
        named_init(&timers[i], &fixture, 'x');
        due_us[i] = 0;
    }
    for (int step = 0; step < STEPS; step++) {
        int i = rand_r(&seed) % COUNT;
        int what = rand_r(&seed) % 10;
        if (what < 6) {
            uint64_t delay_us = (uint64_t)(rand_r(&seed) % 1000);
            loop_timer_set(fixture.loop, &timers[i].timer, delay_us);
            due_us[i] = fixture.now_us + delay_us;
        } else if (what < 8) {
            loop_timer_stop(fixture.loop, &timers[i].timer);
            due_us[i] = 0;
        } else {
            fixture.now_us += (uint64_t)(rand_r(&seed) % 100);
            int expected = 0;
            for (int j = 0; j < COUNT; j++) {
                if (due_us[j] != 0 && due_us[j] <= fixture.now_us) {
                    expected++;
                    due_us[j] = 0;
                }
            }
            fixture.calls = 0;
            loop_turn(fixture.loop, 0);
            assert_int_equal(fixture.calls, expected);
            for (int j = 0; j < COUNT; j++)
                assert_true((timers[j].timer.heap_index != 0) == (due_us[j] != 0));
        }
    }
    for (int i = 0; i < COUNT; i++)
        loop_timer_stop(fixture.loop, &timers[i].timer);
    loop_free(fixture.loop);
}

static void on_measured(struct loop_timer *timer)
{
    *(uint64_t *)timer->context = clock_system.monotonic_us(clock_system.context);
}

static void test_loop_timer_is_never_early_and_fine(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    uint64_t least_late_us = UINT64_MAX;
    // On a busy machine most wake-ups are late, for ever none is.
    for (int i = 0; i < 20 || (least_late_us >= 700 && i < 5000); i++) {
        uint64_t ran_us = 0;
        struct loop_timer timer = {.on_due = on_measured, .context = &ran_us};
        uint64_t begin_us = clock_system.monotonic_us(clock_system.context);
        loop_timer_set(loop, &timer, 300);
        while (ran_us == 0)
            loop_turn(loop, -1);
        assert_true(ran_us >= begin_us + 300);
        uint64_t late_us = ran_us - begin_us - 300;
        least_late_us = late_us < least_late_us ? late_us : least_late_us;
    }
    print_message("a timer of 300 us is late by %llu us at best\n", (unsigned long long)least_late_us);
    assert_true(least_late_us < 700);  // whole milliseconds would be later
    loop_free(loop);
}

// ---- deferred calls and running

struct chained {
    struct loop_deferred deferred;
    struct fixture *fixture;
    struct chained *defer_other;
    char name;
    bool must_free;
};

static void on_chained(struct loop_deferred *deferred)
{
    struct chained *chained = deferred->context;
    struct fixture *fixture = chained->fixture;
    fixture->order[fixture->calls++] = chained->name;
    if (chained->defer_other != NULL)
        loop_defer(fixture->loop, &chained->defer_other->deferred);
    if (chained->must_free)
        free(chained);
}

static void chained_init(struct chained *chained, struct fixture *fixture, char name)
{
    *chained = (struct chained){.deferred = {.call = on_chained, .context = chained}, .fixture = fixture, .name = name};
}

static void test_loop_defer(void **state)
{
    (void)state;
    struct fixture fixture = {.loop = new_loop(&clock_system)};
    struct chained calls[3];
    for (int i = 0; i < 3; i++) {
        chained_init(&calls[i], &fixture, (char)('a' + i));
        loop_defer(fixture.loop, &calls[i].deferred);
        loop_defer(fixture.loop, &calls[i].deferred);  // harmless
    }
    calls[0].defer_other = &calls[0];
    loop_defer_stop(fixture.loop, &calls[1].deferred);
    loop_defer_stop(fixture.loop, &calls[1].deferred);
    struct chained *own = calloc(1, sizeof *own);
    assert_non_null(own);
    chained_init(own, &fixture, 'o');
    own->must_free = true;
    loop_defer(fixture.loop, &own->deferred);
    loop_turn(fixture.loop, -1);
    assert_string_equal(fixture.order, "aco");  // a's next call is another turn's
    loop_turn(fixture.loop, -1);
    assert_string_equal(fixture.order, "acoa");
    loop_defer_stop(fixture.loop, &calls[0].deferred);
    loop_free(fixture.loop);
}

static void on_stop(struct loop_timer *timer)
{
    loop_stop(timer->context);
}

static void test_loop_run_until_stop(void **state)
{
    (void)state;
    struct loop *loop = new_loop(&clock_system);
    struct loop_timer timer = {.on_due = on_stop, .context = loop};
    for (int i = 0; i < 3; i++) {
        loop_timer_set(loop, &timer, 1000);
        loop_run(loop);
    }
    loop_free(loop);
}

// The lengths of turns and the table of descriptors: many at once, some beyond one turn's events.
static void test_loop_many_descriptors(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    struct loop *loop = new_loop(&clock_system);
    static int pairs[COUNT][2];
    static struct counted_watch counted[COUNT];
    for (int i = 0; i < COUNT; i++) {
        make_pair(pairs[i]);
        counted_init(&counted[i], loop);
        set_watch(loop, &counted[i].watch, pairs[i][0], LOOP_READ);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
    for (int turn = 0; turn < 4; turn++)
        loop_turn(loop, 0);
    for (int i = 0; i < COUNT; i++) {
        assert_true(counted[i].calls >= 1);  // none starves behind the first 256
        loop_watch_stop(loop, &counted[i].watch);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_is_level_triggered),
        cmocka_unit_test(test_loop_tells_hangup),
        cmocka_unit_test(test_loop_stop_of_another_in_callback),
        cmocka_unit_test(test_loop_stale_event_of_a_reused_descriptor),
        cmocka_unit_test(test_loop_watch_of_a_file_is_refused),
        cmocka_unit_test(test_loop_timers_run_in_order),
        cmocka_unit_test(test_loop_timer_that_rearms_does_not_hold_the_loop),
        cmocka_unit_test(test_loop_heap_agrees_with_a_list),
        cmocka_unit_test(test_loop_timer_is_never_early_and_fine),
        cmocka_unit_test(test_loop_defer),
        cmocka_unit_test(test_loop_run_until_stop),
        cmocka_unit_test(test_loop_many_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
