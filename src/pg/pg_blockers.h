// Says what a process of the server waits for, while it waits long: a short query connection of its own, after five
// seconds and then every thirty, because the waiting connection cannot speak.
#ifndef ETL_PG_PG_BLOCKERS_H
#define ETL_PG_PG_BLOCKERS_H

#include "io/loop.h"
#include "io/resolver.h"
#include "pg/pg_conn.h"

struct pg_blockers;

struct pg_blockers *pg_blockers_new(struct loop *loop, struct resolver *resolver);
void pg_blockers_free(struct pg_blockers *blockers);
// target is borrowed until pg_blockers_stop. `what` is done by the process ("making the replication slot"), copied.
void pg_blockers_watch(struct pg_blockers *blockers, const struct pg_target *target, int pid, const char *what,
                       void (*on_waiting)(void *context, const char *why), void *context);
void pg_blockers_stop(struct pg_blockers *blockers);  // harmless when nothing is watched

#endif
