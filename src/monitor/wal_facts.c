#include "monitor/wal_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

// The columns of look.sql.
enum {
    LOOK_IS_STANDBY,
    LOOK_POSITION,
    LOOK_MAY_LIST_WAL,
    LOOK_WAL_KEEP_BYTES,
    LOOK_USER,
    LOOK_SLOT,
    LOOK_ACTIVE,
    LOOK_RESTART_LSN,
    LOOK_CONFIRMED_LSN,
    LOOK_HELD_BYTES,
    LOOK_WAL_STATUS,
    LOOK_SAFE_BYTES,
    LOOK_INACTIVE_SECONDS,
    LOOK_INVALIDATION_REASON,
    LOOK_CONFLICTING,
    LOOK_COLUMN_COUNT
};

static void take_text(const PGresult *result, int row, int column, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s", PQgetisnull(result, row, column) ? "" : PQgetvalue(result, row, column));
}

static int64_t take_number(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? WAL_UNKNOWN : strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static bool take_bool(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

static void take_slot(struct wal_slot *slot, const PGresult *result, int row)
{
    slot->is_found = true;
    slot->is_active = take_bool(result, row, LOOK_ACTIVE);
    slot->is_conflicting = take_bool(result, row, LOOK_CONFLICTING);
    take_text(result, row, LOOK_RESTART_LSN, slot->restart_lsn, sizeof slot->restart_lsn);
    take_text(result, row, LOOK_CONFIRMED_LSN, slot->confirmed_lsn, sizeof slot->confirmed_lsn);
    slot->held_bytes = take_number(result, row, LOOK_HELD_BYTES);
    if (slot->restart_lsn[0] != '\0' && slot->held_bytes < 0)
        slot->held_bytes = 0;  // a standby that has not replayed as far as the slot stands
    take_text(result, row, LOOK_WAL_STATUS, slot->wal_status, sizeof slot->wal_status);
    // Below 0 when the limit is passed already: the next checkpoint takes the WAL away.
    slot->safe_bytes = take_number(result, row, LOOK_SAFE_BYTES);
    if (!PQgetisnull(result, row, LOOK_SAFE_BYTES) && slot->safe_bytes < 0)
        slot->safe_bytes = 0;
    slot->inactive_s = take_number(result, row, LOOK_INACTIVE_SECONDS);
    if (slot->inactive_s < 0)
        slot->inactive_s = WAL_UNKNOWN;
    take_text(result, row, LOOK_INVALIDATION_REASON, slot->invalidation_reason, sizeof slot->invalidation_reason);
}

void wal_facts_take_look(struct wal_facts *facts, const PGresult *result, bool *out_may_list_wal)
{
    CHECK(PQntuples(result) > 0 && PQnfields(result) == LOOK_COLUMN_COUNT);
    facts->is_standby = take_bool(result, 0, LOOK_IS_STANDBY);
    take_text(result, 0, LOOK_POSITION, facts->position, sizeof facts->position);
    facts->wal_keep_bytes = take_number(result, 0, LOOK_WAL_KEEP_BYTES);
    facts->wal_bytes = WAL_UNKNOWN;
    facts->hint[0] = '\0';
    *out_may_list_wal = take_bool(result, 0, LOOK_MAY_LIST_WAL);
    if (!*out_may_list_wal)
        (void)snprintf(facts->hint, sizeof facts->hint,
                       "the size of pg_wal is not known: user %s may not call pg_ls_waldir(); mend it with: GRANT "
                       "pg_monitor TO \"%s\"",
                       PQgetvalue(result, 0, LOOK_USER), PQgetvalue(result, 0, LOOK_USER));
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        struct wal_slot *slot = &facts->slots[i];
        char name[WAL_NAME_SIZE];
        memcpy(name, slot->name, sizeof name);
        *slot = (struct wal_slot){.held_bytes = WAL_UNKNOWN, .safe_bytes = WAL_UNKNOWN, .inactive_s = WAL_UNKNOWN};
        memcpy(slot->name, name, sizeof name);
        for (int row = 0; row < PQntuples(result); row++)
            if (!PQgetisnull(result, row, LOOK_SLOT) && strcmp(PQgetvalue(result, row, LOOK_SLOT), name) == 0)
                take_slot(slot, result, row);
    }
}

void wal_facts_take_size(struct wal_facts *facts, const PGresult *result)
{
    CHECK(PQntuples(result) == 1);
    facts->wal_bytes = take_number(result, 0, 0);
}

void wal_facts_size_failed(struct wal_facts *facts, const struct err *error)
{
    (void)snprintf(facts->hint, sizeof facts->hint, "the size of pg_wal is not known: %.600s", error->text);
}

bool wal_slot_is_lost(const struct wal_slot *slot)
{
    return slot->is_found &&
           (strcmp(slot->wal_status, "lost") == 0 || slot->invalidation_reason[0] != '\0' || slot->is_conflicting);
}

void wal_format_bytes(int64_t bytes, char *out, size_t out_size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1024;
        unit++;
    }
    (void)snprintf(out, out_size, unit == 0 ? "%.0f %s" : "%.1f %s", number, units[unit]);
}
