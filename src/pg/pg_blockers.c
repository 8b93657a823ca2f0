#include "pg/pg_blockers.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/trap.h"
#include "embedded_sql.h"

#define FIRST_LOOK_US 5000000
#define NEXT_LOOK_US 30000000
#define CONNECT_TIMEOUT_MS 10000
#define QUERY_TIMEOUT_MS 10000

struct pg_blockers {
    struct loop *loop;
    struct pg_conn *conn;
    struct loop_timer timer;
    const struct pg_target *target;
    int pid;
    char what[160];
    uint64_t since_us;
    void (*on_waiting)(void *context, const char *why);
    void *context;
};

static void on_look(struct loop_timer *timer);

struct pg_blockers *pg_blockers_new(struct loop *loop, struct resolver *resolver)
{
    struct pg_blockers *blockers = calloc(1, sizeof *blockers);
    CHECK(blockers != NULL);
    blockers->loop = loop;
    blockers->conn = pg_conn_new(loop, resolver);
    blockers->timer = (struct loop_timer){.on_due = on_look, .context = blockers};
    return blockers;
}

void pg_blockers_stop(struct pg_blockers *blockers)
{
    loop_timer_stop(blockers->loop, &blockers->timer);
    pg_conn_close(blockers->conn);
}

void pg_blockers_free(struct pg_blockers *blockers)
{
    if (blockers == NULL)
        return;
    pg_blockers_stop(blockers);
    pg_conn_free(blockers->conn);
    free(blockers);
}

void pg_blockers_watch(struct pg_blockers *blockers, const struct pg_target *target, int pid, const char *what,
                       void (*on_waiting)(void *context, const char *why), void *context)
{
    pg_blockers_stop(blockers);
    blockers->target = target;
    blockers->pid = pid;
    (void)snprintf(blockers->what, sizeof blockers->what, "%s", what);
    blockers->on_waiting = on_waiting;
    blockers->context = context;
    blockers->since_us = loop_fresh_us(blockers->loop);
    if (!trap_is_set("prepared_named"))
        loop_timer_set(blockers->loop, &blockers->timer, FIRST_LOOK_US);
}

static void append_age(struct buf *out, const char *seconds_text)
{
    long long seconds = strtoll(seconds_text, NULL, 10);
    if (seconds < 120)
        buf_appendf(out, "%lld s", seconds);
    else if (seconds < 7200)
        buf_appendf(out, "%lld min", seconds / 60);
    else if (seconds < 172800)
        buf_appendf(out, "%lld h", seconds / 3600);
    else
        buf_appendf(out, "%lld days", seconds / 86400);
}

static void append_blocker(struct buf *out, const PGresult *result, int row)
{
    const char *name = PQgetvalue(result, row, 1);
    const char *place = PQgetvalue(result, row, 2);
    if (PQgetvalue(result, row, 0)[0] == '0') {
        buf_appendf(out, "prepared transaction '%s' of database %s, prepared ", name, place);
        append_age(out, PQgetvalue(result, row, 3));
        buf_append_text(out, " ago (end it with COMMIT PREPARED or ROLLBACK PREPARED there)");
    } else {
        buf_appendf(out, "the open transaction of process %s (user %s, application %s), begun ",
                    PQgetvalue(result, row, 0), name, place);
        append_age(out, PQgetvalue(result, row, 3));
        buf_append_text(out, " ago");
    }
}

static void on_answer(void *context, const PGresult *result, const struct err *error)
{
    struct pg_blockers *blockers = context;
    struct buf why;
    buf_init(&why, 4096);
    uint64_t waited_s = (loop_fresh_us(blockers->loop) - blockers->since_us) / 1000000;
    buf_appendf(&why, "%s has waited for %llu s", blockers->what, (unsigned long long)waited_s);
    int count = error == NULL ? PQntuples(result) : 0;
    for (int row = 0; row < count; row++) {
        buf_append_text(&why, row == 0 ? ": for " : "; for ");
        append_blocker(&why, result, row);
    }
    pg_conn_close(blockers->conn);
    loop_timer_set(blockers->loop, &blockers->timer, NEXT_LOOK_US);
    blockers->on_waiting(blockers->context, buf_text(&why));
    buf_deinit(&why);
}

static void look_again_later(struct pg_blockers *blockers)
{
    pg_conn_close(blockers->conn);
    loop_timer_set(blockers->loop, &blockers->timer, NEXT_LOOK_US);
}

static void on_open(void *context, const struct err *error)
{
    struct pg_blockers *blockers = context;
    char pid[16];
    (void)snprintf(pid, sizeof pid, "%d", blockers->pid);
    const char *parameters[] = {pid};
    struct err ignored;
    if (error != NULL ||
        !pg_conn_query(blockers->conn, sql_pg_blockers, 1, parameters, QUERY_TIMEOUT_MS, on_answer, blockers, &ignored))
        look_again_later(blockers);
}

static void on_broken(void *context, const struct err *error)
{
    (void)error;
    look_again_later(context);
}

static void on_look(struct loop_timer *timer)
{
    struct pg_blockers *blockers = timer->context;
    struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = blockers};
    struct err ignored;
    if (!pg_conn_open(blockers->conn, blockers->target, false, NULL, NULL, CONNECT_TIMEOUT_MS, &events, &ignored))
        look_again_later(blockers);
}
