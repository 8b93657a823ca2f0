// The counter of held locks, and that a check under a lock ends the process.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/lock.h"
#include "io/loop.h"

// Runs the call in a child and tells whether it ended by a failed CHECK.
static bool ends_by_check(void (*call)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(nowhere, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);  // cmocka's own handler would report a failure
        call();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_lock_counts(void **state)
{
    (void)state;
    struct lock one;
    struct lock other;
    lock_init(&one);
    lock_init(&other);
    assert_int_equal(lock_held_count(), 0);
    lock_check_none();
    lock_acquire(&one);
    lock_acquire(&other);
    assert_int_equal(lock_held_count(), 2);
    lock_release(&one);
    lock_release(&other);
    assert_int_equal(lock_held_count(), 0);
    lock_check_none();
    lock_deinit(&one);
    lock_deinit(&other);
}

static void test_lock_wait_gives_up(void **state)
{
    (void)state;
    struct lock lock;
    pthread_cond_t condition;
    lock_init(&lock);
    lock_condition_init(&condition);
    lock_acquire(&lock);
    assert_false(lock_wait(&lock, &condition, 5));
    assert_int_equal(lock_held_count(), 1);
    lock_release(&lock);
    pthread_cond_destroy(&condition);
    lock_deinit(&lock);
}

static void check_under_lock(void)
{
    struct lock lock;
    lock_init(&lock);
    lock_acquire(&lock);
    lock_check_none();
}

static void turn_under_lock(void)
{
    struct err error;
    struct loop *loop = loop_new(&clock_system, &error);
    struct lock lock;
    lock_init(&lock);
    lock_acquire(&lock);
    loop_turn(loop, 0);
}

static void release_free_lock(void)
{
    struct lock lock;
    lock_init(&lock);
    lock_release(&lock);
}

static void acquire_twice(void)
{
    struct lock lock;
    lock_init(&lock);
    lock_acquire(&lock);
    lock_acquire(&lock);
}

static void check_without_lock(void)
{
    lock_check_none();
}

static void test_lock_io_under_lock_ends_the_process(void **state)
{
    (void)state;
    assert_false(ends_by_check(check_without_lock));
    assert_true(ends_by_check(check_under_lock));
    assert_true(ends_by_check(turn_under_lock));
    assert_true(ends_by_check(release_free_lock));
    assert_true(ends_by_check(acquire_twice));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_counts),
        cmocka_unit_test(test_lock_wait_gives_up),
        cmocka_unit_test(test_lock_io_under_lock_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
