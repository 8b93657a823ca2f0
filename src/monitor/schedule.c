#include "monitor/schedule.h"

#include <stddef.h>

#include "base/check.h"

void schedule_init(struct schedule *schedule, uint64_t interval_us, uint32_t checks_max, uint32_t connections_max)
{
    CHECK(interval_us > 0 && checks_max > 0 && connections_max > 0);
    *schedule =
        (struct schedule){.interval_us = interval_us, .checks_max = checks_max, .connections_max = connections_max};
}

static uint32_t places(const struct schedule *schedule)
{
    return schedule->checks_max < schedule->connections_max ? schedule->checks_max : schedule->connections_max;
}

static uint32_t suspect_places(const struct schedule *schedule)
{
    uint32_t half = places(schedule) / 2;
    return half > 0 ? half : 1;
}

static void connection_set(struct schedule *schedule, struct schedule_entry *entry, bool has_connection)
{
    if (entry->has_connection && !has_connection)
        schedule->connection_count--;
    else if (!entry->has_connection && has_connection)
        schedule->connection_count++;
    entry->has_connection = has_connection;
}

void schedule_add(struct schedule *schedule, struct schedule_entry *entry, uint64_t now_us)
{
    entry->due_us = now_us;
    entry->is_suspect = false;
    entry->next = schedule->entries;
    schedule->entries = entry;
}

static void checking_end(struct schedule *schedule, struct schedule_entry *entry)
{
    if (!entry->is_checking)
        return;
    entry->is_checking = false;
    schedule->checking_count--;
    schedule->suspect_count -= entry->is_suspect;
}

void schedule_remove(struct schedule *schedule, struct schedule_entry *entry)
{
    struct schedule_entry **link = &schedule->entries;
    while (*link != NULL && *link != entry)
        link = &(*link)->next;
    CHECK(*link == entry);
    *link = entry->next;
    checking_end(schedule, entry);
    connection_set(schedule, entry, false);
    schedule_assert(schedule);
}

// Of two that are due, which goes first.
static bool goes_before(const struct schedule *schedule, const struct schedule_entry *a, const struct schedule_entry *b,
                        uint64_t now_us)
{
    bool is_a_behind = a->is_suspect && now_us - a->due_us < schedule->interval_us;
    bool is_b_behind = b->is_suspect && now_us - b->due_us < schedule->interval_us;
    if (is_a_behind != is_b_behind)
        return is_b_behind;
    return a->due_us < b->due_us;
}

static struct schedule_entry *first_due(const struct schedule *schedule, uint64_t now_us)
{
    bool may_be_suspect = schedule->suspect_count < suspect_places(schedule);
    struct schedule_entry *first = NULL;
    for (struct schedule_entry *entry = schedule->entries; entry != NULL; entry = entry->next)
        if (!entry->is_checking && entry->due_us <= now_us && (may_be_suspect || !entry->is_suspect) &&
            (first == NULL || goes_before(schedule, entry, first, now_us)))
            first = entry;
    return first;
}

static struct schedule_entry *least_recently_used(const struct schedule *schedule)
{
    struct schedule_entry *least = NULL;
    for (struct schedule_entry *entry = schedule->entries; entry != NULL; entry = entry->next)
        if (entry->has_connection && !entry->is_checking && (least == NULL || entry->used_us < least->used_us))
            least = entry;
    return least;
}

struct schedule_entry *schedule_begin(struct schedule *schedule, uint64_t now_us, struct schedule_entry **out_closed)
{
    *out_closed = NULL;
    struct schedule_entry *entry = schedule->checking_count < places(schedule) ? first_due(schedule, now_us) : NULL;
    if (entry == NULL)
        return NULL;
    if (!entry->has_connection && schedule->connection_count == schedule->connections_max) {
        // Each check holds one connection and there are fewer checks than connections, so one is idle.
        *out_closed = least_recently_used(schedule);
        CHECK(*out_closed != NULL);
        connection_set(schedule, *out_closed, false);
    }
    connection_set(schedule, entry, true);
    entry->is_checking = true;
    entry->used_us = now_us;
    schedule->checking_count++;
    schedule->suspect_count += entry->is_suspect;
    // A check that came late does not make the next one follow at its heels.
    entry->due_us += schedule->interval_us;
    if (entry->due_us <= now_us)
        entry->due_us = now_us + schedule->interval_us;
    schedule_assert(schedule);
    return entry;
}

void schedule_end(struct schedule *schedule, struct schedule_entry *entry, bool is_well, bool keeps_connection)
{
    CHECK(entry->is_checking);
    checking_end(schedule, entry);
    entry->is_suspect = !is_well;
    connection_set(schedule, entry, keeps_connection);
    schedule_assert(schedule);
}

void schedule_connection_lost(struct schedule *schedule, struct schedule_entry *entry)
{
    CHECK(!entry->is_checking);
    connection_set(schedule, entry, false);
}

void schedule_hurry(struct schedule *schedule, struct schedule_entry *entry, uint64_t now_us)
{
    CHECK(!entry->is_checking);
    (void)schedule;
    entry->is_suspect = false;
    if (entry->due_us > now_us)
        entry->due_us = now_us;
}

uint64_t schedule_next_us(const struct schedule *schedule, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (const struct schedule_entry *entry = schedule->entries; entry != NULL; entry = entry->next)
        if (!entry->is_checking && entry->due_us > now_us && entry->due_us < next_us)
            next_us = entry->due_us;
    return next_us;
}

void schedule_assert(const struct schedule *schedule)
{
    uint32_t checking_count = 0, suspect_count = 0, connection_count = 0;
    for (const struct schedule_entry *entry = schedule->entries; entry != NULL; entry = entry->next) {
        CHECK(!entry->is_checking || entry->has_connection);
        checking_count += entry->is_checking;
        suspect_count += entry->is_checking && entry->is_suspect;
        connection_count += entry->has_connection;
    }
    CHECK(checking_count == schedule->checking_count && suspect_count == schedule->suspect_count &&
          connection_count == schedule->connection_count);
    CHECK(checking_count <= schedule->checks_max && connection_count <= schedule->connections_max &&
          suspect_count <= suspect_places(schedule));
}
