// What the monitor and its alerts are told to do. The names, ranges and defaults are options of `etl-stream run`; here is
// what they mean and what the options table cannot check.
#ifndef ETL_MONITOR_SETTINGS_H
#define ETL_MONITOR_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MONITOR_MB 1048576  // as PostgreSQL counts them

// Texts are borrowed by whoever holds it, for as long as the monitor lives.
struct monitor_settings {
    // How long a second is: 1,000,000 but in tests, which cannot wait for minutes. Time-outs are real time.
    uint64_t second_us;
    uint32_t check_timeout_ms;  // of one look at a source, connecting included
    uint32_t poll_interval_s;   // of each source
    uint32_t checks_max;        // at a time
    uint32_t connections_max;   // kept open at a time, those that are being opened counted
    uint32_t wal_warning_mb, wal_danger_mb;
    uint32_t notify_after_min;  // how long a level lasts before it is told
    const char *alert_url;      // NULL: nothing is posted
    const char *alert_ca_file;  // NULL: the system's certificates
    // Of our slots. 0: not watched.
    uint32_t slot_warning_mb, slot_danger_mb;
    uint32_t
        slot_safe_mb;  // left before the server gives a slot up; a fifth of max_slot_wal_keep_size where that is less
    uint32_t slot_inactive_min;
    uint32_t stuck_min;  // how long a pipeline fails, or gets no further, before it is told
};

// False: ERR_CONFIG naming the variables, their values and what is allowed.
bool monitor_settings_check(const struct monitor_settings *settings, struct err *out_error);
// "https://host:port/…": without user, password, path and query, each of which may be a secret.
void monitor_url_describe(const char *url, char *out, size_t out_size);

#endif
