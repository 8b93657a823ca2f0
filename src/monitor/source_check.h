// One look at a source: connect if there is no connection, ask for position and slots, then for the size of pg_wal where the
// user may. Nothing blocks, and the whole of it has a deadline.
//
// The connection lives in this struct: it stays open between looks, is closed by source_check_close, by a look that fails or
// runs out of time, when the server ends it, and by source_check_free.
#ifndef ETL_MONITOR_SOURCE_CHECK_H
#define ETL_MONITOR_SOURCE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "io/resolver.h"
#include "monitor/wal_facts.h"
#include "pg/pg_conn.h"

struct source_check;

struct source_check_events {
    // Once a look, by the loop, never inside source_check_start. error NULL: the facts are new. Else the connection is closed, and
    // the facts are as they were.
    void (*on_done)(void *context, const struct err *error);
    void (*on_lost)(void *context);  // the connection ended while nothing was asked
    void *context;
};

struct source_check *source_check_new(struct loop *loop, struct resolver *resolver,
                                      const struct source_check_events *events);
void source_check_free(struct source_check *check);  // in whatever state; not inside its callbacks
// For the looks from now on. slots: their names, copied; what was known of one that stays is kept. Also while a look is under
// way, which then counts for what it has asked.
void source_check_set_slots(struct source_check *check, const char *const *slots, uint32_t slot_count);
// target: borrowed until the look is done. Not while one is under way.
void source_check_start(struct source_check *check, const struct pg_target *target, uint32_t timeout_ms);
void source_check_close(struct source_check *check);  // the connection; a look under way is given up without on_done
bool source_check_is_open(const struct source_check *check);
const struct wal_facts *source_check_facts(const struct source_check *check);  // of the newest look that went well

#endif
