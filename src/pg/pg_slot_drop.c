#include "pg/pg_slot_drop.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "embedded_sql.h"

#define CONNECT_TIMEOUT_MS 15000
#define QUERY_TIMEOUT_MS 60000
#define LOOK_AGAIN_US 200000

struct pg_slot_drop {
    struct loop *loop;
    struct pg_conn *conn;
    struct pg_slot_drop_events events;
    char *slot;
    uint64_t until_us;
    struct loop_timer timer;
    struct loop_deferred done;
    bool was_there;
    struct err error;
};

static void look(struct pg_slot_drop *drop);

static void end(struct pg_slot_drop *drop, const struct err *error)
{
    if (error != NULL)
        drop->error = *error;
    loop_defer(drop->loop, &drop->done);
}

static void on_end(struct loop_deferred *deferred)
{
    struct pg_slot_drop *drop = deferred->context;
    drop->events.on_done(drop->events.context, drop->was_there, err_is_set(&drop->error) ? &drop->error : NULL);
}

static void on_dropped(void *context, const PGresult *result, const struct err *error)
{
    (void)result;
    end(context, error);
}

static void on_look(void *context, const PGresult *result, const struct err *error)
{
    struct pg_slot_drop *drop = context;
    struct err problem = {0};
    if (error != NULL) {
        end(drop, error);
        return;
    }
    if (PQntuples(result) == 0) {
        end(drop, NULL);
        return;
    }
    drop->was_there = true;
    if (strcmp(PQgetvalue(result, 0, 1), "t") != 0) {
        err_set(&problem, ERR_CONFIG, "slot_of_others",
                "slot %s is no pgoutput slot of this database and is left alone", drop->slot);
        end(drop, &problem);
        return;
    }
    if (!PQgetisnull(result, 0, 0)) {
        if (loop_now_us(drop->loop) < drop->until_us) {
            loop_timer_set(drop->loop, &drop->timer, LOOK_AGAIN_US);
            return;
        }
        err_set(&problem, ERR_CONFIG, "slot_in_use",
                "slot %s is being read by process %s (%s) of the server; stop that etl-stream, or end it with: SELECT "
                "pg_terminate_backend(%s)",
                drop->slot, PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 2), PQgetvalue(result, 0, 0));
        end(drop, &problem);
        return;
    }
    const char *parameters[] = {drop->slot};
    if (!pg_conn_query(drop->conn, "SELECT pg_drop_replication_slot($1)", 1, parameters, QUERY_TIMEOUT_MS, on_dropped,
                       drop, &problem))
        end(drop, &problem);
}

static void look(struct pg_slot_drop *drop)
{
    struct err error = {0};
    const char *parameters[] = {drop->slot};
    if (!pg_conn_query(drop->conn, sql_pg_slot_state, 1, parameters, QUERY_TIMEOUT_MS, on_look, drop, &error))
        end(drop, &error);
}

static void on_due(struct loop_timer *timer)
{
    look(timer->context);
}

static void on_open(void *context, const struct err *error)
{
    if (error != NULL)
        end(context, error);
    else
        look(context);
}

static void on_broken(void *context, const struct err *error)
{
    end(context, error);
}

struct pg_slot_drop *pg_slot_drop_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_slot_drop *drop = calloc(1, sizeof *drop);
    CHECK(drop != NULL);
    drop->loop = loop;
    drop->conn = pg_conn_new(loop, resolver);
    CHECK(drop->conn != NULL);
    drop->timer = (struct loop_timer){.on_due = on_due, .context = drop};
    drop->done = (struct loop_deferred){.call = on_end, .context = drop};
    return drop;
}

void pg_slot_drop_start(struct pg_slot_drop *drop, const struct pg_target *target, const char *slot,
                        uint32_t patience_ms, const struct pg_slot_drop_events *events)
{
    struct pg_conn_events conn_events = {.on_open = on_open, .on_broken = on_broken, .context = drop};
    struct err error = {0};
    drop->events = *events;
    drop->slot = strdup(slot);
    CHECK(drop->slot != NULL);
    drop->until_us = loop_now_us(drop->loop) + (uint64_t)patience_ms * 1000;
    if (!pg_conn_open(drop->conn, target, false, NULL, NULL, CONNECT_TIMEOUT_MS, &conn_events, &error))
        end(drop, &error);
}

void pg_slot_drop_free(struct pg_slot_drop *drop)
{
    if (drop == NULL)
        return;
    loop_timer_stop(drop->loop, &drop->timer);
    loop_defer_stop(drop->loop, &drop->done);
    pg_conn_free(drop->conn);
    free(drop->slot);
    free(drop);
}
