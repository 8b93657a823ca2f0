// Which source is checked when, and whose connection is kept. Pure: no I/O, and the time comes from the caller, so that a
// seeded simulation can own it.
//
//   RESTING ── due, and a place is free ──► CHECKING ── answered, failed or timed out ──► RESTING
//
// Invariants (schedule_assert):
//   checks at a time <= checks_max; a check counts as a connection, so they are <= connections_max too
//   connections (open, or being opened) <= connections_max: before another is opened the idle one that was used longest
//     ago is closed, and while none is idle the check waits its turn
// A source whose last check failed may hang until its time is out. Those take at most half of the places, and come after the
// others unless they have waited a whole interval, so that they delay nobody else and are still looked at.
#ifndef ETL_MONITOR_SCHEDULE_H
#define ETL_MONITOR_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule_entry {
    void *context;  // the owner's
    // The schedule's own; to be read by the owner.
    bool is_checking;
    bool has_connection;
    bool is_suspect;   // its last check failed
    uint64_t due_us;   // RESTING: the next check
    uint64_t used_us;  // when its connection was last given a check
    struct schedule_entry *next;
};

struct schedule {
    uint64_t interval_us;
    uint32_t checks_max, connections_max;
    struct schedule_entry *entries;
    uint32_t checking_count, suspect_count;  // suspect_count: of those that are being checked
    uint32_t connection_count;
};

void schedule_init(struct schedule *schedule, uint64_t interval_us, uint32_t checks_max, uint32_t connections_max);
// entry: zeros but for its context, or one that was removed; the caller's storage. Its first check is due at once.
void schedule_add(struct schedule *schedule, struct schedule_entry *entry, uint64_t now_us);
// In whatever state; the owner closes its connection.
void schedule_remove(struct schedule *schedule, struct schedule_entry *entry);
// The entry whose check begins now, or NULL: none is due, or no place is free. To be asked until it is NULL. *out_closed:
// whose connection the owner has to close before (counted as closed already), or NULL.
struct schedule_entry *schedule_begin(struct schedule *schedule, uint64_t now_us, struct schedule_entry **out_closed);
// keeps_connection: it is open still.
void schedule_end(struct schedule *schedule, struct schedule_entry *entry, bool is_well, bool keeps_connection);
void schedule_connection_lost(struct schedule *schedule, struct schedule_entry *entry);  // of one that rests
// Checks it as soon as a place is free: it was configured otherwise. Not while it is being checked.
void schedule_hurry(struct schedule *schedule, struct schedule_entry *entry, uint64_t now_us);
// When schedule_begin has to be asked next if nothing ends before; UINT64_MAX: not by time.
uint64_t schedule_next_us(const struct schedule *schedule, uint64_t now_us);
void schedule_assert(const struct schedule *schedule);

#endif
