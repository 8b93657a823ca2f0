// What one look at a source has found, in raw bytes. Values, no pointers into anything.
#ifndef ETL_MONITOR_WAL_FACTS_H
#define ETL_MONITOR_WAL_FACTS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define WAL_NAME_SIZE 64  // NAMEDATALEN
#define WAL_LSN_SIZE 20
#define WAL_UNKNOWN (-1)

struct wal_slot {
    char name[WAL_NAME_SIZE];
    bool is_found;
    // Everything below only when it was found.
    bool is_active, is_conflicting;
    char restart_lsn[WAL_LSN_SIZE], confirmed_lsn[WAL_LSN_SIZE];  // "": none
    int64_t held_bytes;                                           // from restart_lsn to the position; WAL_UNKNOWN: lost
    char wal_status[16];                                          // reserved, extended, unreserved, lost
    int64_t safe_bytes;                                           // safe_wal_size; WAL_UNKNOWN: without limit, or lost
    int64_t inactive_s;                                           // the server's word (17 on), else WAL_UNKNOWN
    char invalidation_reason[WAL_NAME_SIZE];                      // 17 on; "": valid
};

struct wal_facts {
    int server_version;
    bool is_standby;
    char position[WAL_LSN_SIZE];  // written, or on a standby replayed, up to here
    int64_t wal_bytes;            // of pg_wal; WAL_UNKNOWN: may not be asked, see hint
    int64_t wal_keep_bytes;       // max_slot_wal_keep_size; below 0: without limit
    char hint[ERR_TEXT_SIZE];     // the statement that makes the size known; "": none
    struct wal_slot *slots;       // one for each that was asked for, in that order
    uint32_t slot_count;
};

// What look.sql has answered, for the slots that facts->slots names. may_list_wal: whether the size may be asked for; if not
// the hint is set.
void wal_facts_take_look(struct wal_facts *facts, const PGresult *result, bool *out_may_list_wal);
void wal_facts_take_size(struct wal_facts *facts, const PGresult *result);
// Why the size could not be had, beside a look that went well.
void wal_facts_size_failed(struct wal_facts *facts, const struct err *error);
bool wal_slot_is_lost(const struct wal_slot *slot);
// "4.2 GB", for messages.
void wal_format_bytes(int64_t bytes, char *out, size_t out_size);

#endif
