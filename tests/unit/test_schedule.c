// The order of checks and the bound on connections, by cases and by a seeded simulation of sources that come, go, hang, refuse
// and lose their connections.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "monitor/schedule.h"

#define SECOND UINT64_C(1000000)
#define MINUTE (60 * SECOND)

static struct schedule_entry *begin(struct schedule *schedule, uint64_t now_us)
{
    struct schedule_entry *closed = NULL;
    return schedule_begin(schedule, now_us, &closed);
}

static void test_schedule_checks_at_its_interval_and_does_not_make_up_for_what_was_missed(void **state)
{
    (void)state;
    struct schedule schedule;
    struct schedule_entry entry = {0};
    schedule_init(&schedule, MINUTE, 4, 4);
    assert_true(schedule_next_us(&schedule, 0) == UINT64_MAX);
    schedule_add(&schedule, &entry, 5 * SECOND);
    assert_ptr_equal(begin(&schedule, 5 * SECOND), &entry);
    assert_null(begin(&schedule, 5 * SECOND));
    schedule_end(&schedule, &entry, true, true);
    assert_int_equal(schedule_next_us(&schedule, 6 * SECOND), 65 * SECOND);
    assert_null(begin(&schedule, 65 * SECOND - 1));
    assert_ptr_equal(begin(&schedule, 65 * SECOND), &entry);
    schedule_end(&schedule, &entry, true, true);
    // Ten intervals late, and then one interval after that.
    assert_ptr_equal(begin(&schedule, 700 * SECOND), &entry);
    schedule_end(&schedule, &entry, true, true);
    assert_int_equal(schedule_next_us(&schedule, 700 * SECOND), 760 * SECOND);
    schedule_remove(&schedule, &entry);
    assert_int_equal(schedule.connection_count, 0);
}

static void test_schedule_closes_the_connection_that_was_used_longest_ago(void **state)
{
    (void)state;
    struct schedule schedule;
    struct schedule_entry entries[4] = {{0}}, *closed = NULL;
    schedule_init(&schedule, MINUTE, 4, 2);
    for (uint64_t i = 0; i < 2; i++) {
        schedule_add(&schedule, &entries[i], i);
        assert_ptr_equal(begin(&schedule, i), &entries[i]);
    }
    // Both are busy: a third waits its turn, though four checks are allowed.
    schedule_add(&schedule, &entries[2], 2);
    assert_null(begin(&schedule, 2));
    schedule_end(&schedule, &entries[1], true, true);
    assert_ptr_equal(schedule_begin(&schedule, 3, &closed), &entries[2]);
    assert_ptr_equal(closed, &entries[1]);  // the only idle one, though it was used later than the busy one
    assert_false(entries[1].has_connection);
    schedule_end(&schedule, &entries[0], true, true);
    schedule_end(&schedule, &entries[2], true, true);
    schedule_add(&schedule, &entries[3], 4);
    assert_ptr_equal(schedule_begin(&schedule, 4, &closed), &entries[3]);
    assert_ptr_equal(closed, &entries[0]);
    schedule_end(&schedule, &entries[3], true, true);
    // The next that is due has a connection: nobody loses one.
    schedule_remove(&schedule, &entries[0]);
    schedule_remove(&schedule, &entries[1]);
    assert_ptr_equal(schedule_begin(&schedule, 2 * MINUTE, &closed), &entries[2]);
    assert_null(closed);
    assert_int_equal(schedule.connection_count, 2);
    schedule_connection_lost(&schedule, &entries[3]);
    assert_int_equal(schedule.connection_count, 1);
}

static void test_schedule_sources_that_fail_take_half_of_the_places_and_come_last(void **state)
{
    (void)state;
    struct schedule schedule;
    struct schedule_entry bad[4] = {{0}}, good[4] = {{0}};
    schedule_init(&schedule, MINUTE, 4, 8);
    for (int i = 0; i < 4; i++) {
        schedule_add(&schedule, &bad[i], 0);
        assert_non_null(begin(&schedule, 0));
    }
    for (int i = 0; i < 4; i++)
        schedule_end(&schedule, &bad[i], false, false);
    for (int i = 0; i < 4; i++)
        schedule_add(&schedule, &good[i], MINUTE + 1);
    // Due a little later than the bad ones, and first nevertheless; then only two of the bad ones.
    for (int i = 0; i < 2; i++)
        assert_false(begin(&schedule, MINUTE + 1)->is_suspect);
    for (int i = 0; i < 2; i++)
        assert_false(begin(&schedule, MINUTE + 1)->is_suspect);
    for (int i = 0; i < 4; i++)
        schedule_end(&schedule, &good[i], true, true);
    assert_true(begin(&schedule, MINUTE + 2)->is_suspect);
    assert_true(begin(&schedule, MINUTE + 2)->is_suspect);
    assert_null(begin(&schedule, MINUTE + 2));
    // Whoever has waited a whole interval is not passed over any more.
    struct schedule_entry late = {0};
    schedule_add(&schedule, &late, 2 * MINUTE);
    for (int i = 0; i < 4; i++)
        if (bad[i].is_checking)
            schedule_end(&schedule, &bad[i], false, false);
    struct schedule_entry *next = begin(&schedule, 2 * MINUTE + 1);
    assert_true(next->is_suspect);
}

// --- the simulation ----------------------------------------------------------------------------------------------

enum kind { WELL, HANGS, REFUSES, KIND_COUNT };

struct simulated {
    struct schedule_entry entry;
    enum kind kind;
    bool is_there;
    uint64_t ends_us;  // of the check
    uint64_t due_us;   // when the check under way had been due
};

#define SOURCES 120
#define CHECKS_MAX 8
#define CONNECTIONS_MAX 20
#define TIMEOUT_US (10 * SECOND)
#define WELL_US (SECOND / 50)

struct world {
    struct schedule schedule;
    struct simulated sources[SOURCES];
    uint64_t now_us, polls, worst_delay_us;
    uint32_t connections_most, checks_most;
    unsigned short random[3];
};

static uint32_t draw(struct world *world, uint32_t below)
{
    return (uint32_t)(nrand48(world->random) % (long)below);
}

static uint64_t end_of(struct world *world, enum kind kind)
{
    if (kind == HANGS)
        return world->now_us + TIMEOUT_US;
    return world->now_us + (kind == REFUSES ? SECOND / 1000 : WELL_US / 2 + draw(world, WELL_US));
}

static void world_begin(struct world *world)
{
    struct schedule_entry *entry = NULL, *closed = NULL;
    while ((entry = schedule_begin(&world->schedule, world->now_us, &closed)) != NULL) {
        struct simulated *source = (struct simulated *)entry;
        assert_true(closed == NULL || (!closed->has_connection && !closed->is_checking));
        source->ends_us = end_of(world, source->kind);
        world->polls++;
        // Of one that has always been well: nobody else's trouble holds it up.
        if (source->kind == WELL && world->now_us - source->due_us > world->worst_delay_us)
            world->worst_delay_us = world->now_us - source->due_us;
        source->due_us = entry->due_us;
        if (world->schedule.connection_count > world->connections_most)
            world->connections_most = world->schedule.connection_count;
        if (world->schedule.checking_count > world->checks_most)
            world->checks_most = world->schedule.checking_count;
    }
}

static void world_end(struct world *world)
{
    for (int i = 0; i < SOURCES; i++) {
        struct simulated *source = &world->sources[i];
        if (source->is_there && source->entry.is_checking && source->ends_us <= world->now_us)
            schedule_end(&world->schedule, &source->entry, source->kind == WELL, source->kind == WELL);
    }
}

static void world_change(struct world *world)
{
    struct simulated *source = &world->sources[draw(world, SOURCES)];
    if (source->is_there && draw(world, 3) == 0 && source->entry.has_connection && !source->entry.is_checking) {
        schedule_connection_lost(&world->schedule, &source->entry);
    } else if (source->is_there) {
        schedule_remove(&world->schedule, &source->entry);  // also while it is checked
        source->is_there = false;
    } else {
        *source = (struct simulated){.kind = (enum kind)draw(world, KIND_COUNT), .is_there = true};
        source->due_us = world->now_us;
        schedule_add(&world->schedule, &source->entry, world->now_us);
    }
}

static void world_step(struct world *world)
{
    uint64_t next_us = schedule_next_us(&world->schedule, world->now_us);
    for (int i = 0; i < SOURCES; i++)
        if (world->sources[i].is_there && world->sources[i].entry.is_checking && world->sources[i].ends_us < next_us)
            next_us = world->sources[i].ends_us;
    world->now_us = next_us == UINT64_MAX || next_us < world->now_us ? world->now_us + SECOND : next_us;
}

static void test_schedule_ten_thousand_polls_of_sources_that_come_go_hang_and_refuse(void **state)
{
    (void)state;
    const char *given = getenv("SCHEDULE_SEED");
    long seed = given != NULL ? strtol(given, NULL, 10) : getenv("CI") != NULL ? 1795707348 : (long)time(NULL);
    struct world *world = calloc(1, sizeof *world);
    print_message("SCHEDULE_SEED=%ld\n", seed);
    world->random[0] = (unsigned short)seed;
    world->random[1] = (unsigned short)(seed >> 16);
    world->now_us = SECOND;
    schedule_init(&world->schedule, MINUTE, CHECKS_MAX, CONNECTIONS_MAX);
    while (world->polls < 20000) {
        if (draw(world, 20) == 0)
            world_change(world);
        world_end(world);
        world_begin(world);
        schedule_assert(&world->schedule);
        world_step(world);
    }
    assert_int_equal(world->connections_most, CONNECTIONS_MAX);
    assert_int_equal(world->checks_most, CHECKS_MAX);
    // At most all the places are taken by new sources, which nobody knows yet, until their time is out.
    print_message("worst delay of a source that is well: %.3f s\n", (double)world->worst_delay_us / SECOND);
    assert_true(world->worst_delay_us <= 2 * TIMEOUT_US);
    for (int i = 0; i < SOURCES; i++)
        if (world->sources[i].is_there)
            schedule_remove(&world->schedule, &world->sources[i].entry);
    assert_int_equal(world->schedule.connection_count, 0);
    assert_int_equal(world->schedule.checking_count, 0);
    assert_null(world->schedule.entries);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_checks_at_its_interval_and_does_not_make_up_for_what_was_missed),
        cmocka_unit_test(test_schedule_closes_the_connection_that_was_used_longest_ago),
        cmocka_unit_test(test_schedule_sources_that_fail_take_half_of_the_places_and_come_last),
        cmocka_unit_test(test_schedule_ten_thousand_polls_of_sources_that_come_go_hang_and_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
