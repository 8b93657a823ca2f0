// Drops a replication slot of ours: waits until nobody reads it, and says who does when that lasts.
#ifndef ETL_PG_PG_SLOT_DROP_H
#define ETL_PG_PG_SLOT_DROP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "pg/pg_conn.h"

struct pg_slot_drop;

struct pg_slot_drop_events {
    // NULL: it is gone; was_there: until now. ERR_CONFIG: it is no pgoutput slot of this database, or it stays in use.
    void (*on_done)(void *context, bool was_there, const struct err *error);
    void *context;
};

struct pg_slot_drop *pg_slot_drop_new(struct loop *loop, struct resolver *resolver);
void pg_slot_drop_start(struct pg_slot_drop *drop, const struct pg_target *target, const char *slot,
                        uint32_t patience_ms, const struct pg_slot_drop_events *events);
void pg_slot_drop_free(struct pg_slot_drop *drop);  // not inside its event

#endif
