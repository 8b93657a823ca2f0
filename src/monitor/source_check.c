#include "monitor/source_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "embedded_sql.h"

#define SLOTS_TEXT_MAX (1U << 20)
// Nobody sees it half: what a look finds is the newest facts' from its end on.
#define SESSION_OPTIONS "-c default_transaction_read_only=on"

struct source_check {
    struct loop *loop;
    struct pg_conn *conn;
    struct source_check_events events;
    struct loop_deferred failed;  // tells of an error that came inside source_check_start
    struct err error;
    struct wal_facts facts, found;  // found: of the look under way
    char (*slots)[WAL_NAME_SIZE];   // to be asked for
    uint32_t slot_count;
    uint64_t deadline_us;
    bool is_looking;
};

static void look(struct source_check *check);

static void found_reset(struct source_check *check)
{
    free(check->found.slots);
    check->found = (struct wal_facts){.wal_bytes = WAL_UNKNOWN};
}

static void fail(struct source_check *check, const struct err *error)
{
    check->is_looking = false;
    found_reset(check);
    pg_conn_close(check->conn);
    check->events.on_done(check->events.context, error);
}

static void on_failed(struct loop_deferred *deferred)
{
    struct source_check *check = deferred->context;
    struct err error = check->error;
    fail(check, &error);
}

static void fail_soon(struct source_check *check, const struct err *error)
{
    check->error = *error;
    loop_defer(check->loop, &check->failed);
}

// 0 means to pg_conn that there is no limit.
static uint32_t left_ms(const struct source_check *check)
{
    uint64_t now_us = loop_now_us(check->loop);
    return now_us + 1000 < check->deadline_us ? (uint32_t)((check->deadline_us - now_us) / 1000) : 1;
}

static void succeed(struct source_check *check)
{
    check->is_looking = false;
    free(check->facts.slots);
    check->facts = check->found;
    check->found = (struct wal_facts){.wal_bytes = WAL_UNKNOWN};
    check->events.on_done(check->events.context, NULL);
}

static void on_size(void *context, const PGresult *result, const struct err *error)
{
    struct source_check *check = context;
    if (error != NULL && pg_conn_state(check->conn) != PG_CONN_IDLE) {
        fail(check, error);
        return;
    }
    // An error of the server's own: there are services that have the function and do not let it be used.
    if (error != NULL)
        wal_facts_size_failed(&check->found, error);
    else
        wal_facts_take_size(&check->found, result);
    succeed(check);
}

static void on_look(void *context, const PGresult *result, const struct err *error)
{
    struct source_check *check = context;
    struct err problem = {0};
    bool may_list_wal = false;
    if (error != NULL) {
        fail(check, error);
        return;
    }
    wal_facts_take_look(&check->found, result, &may_list_wal);
    if (!may_list_wal)
        succeed(check);
    else if (!pg_conn_query(check->conn, sql_monitor_wal_size, 0, NULL, left_ms(check), on_size, check, &problem))
        fail(check, &problem);
}

static void look(struct source_check *check)
{
    struct err error = {0};
    struct buf names;
    found_reset(check);
    check->found.server_version = pg_conn_server_version(check->conn);
    check->found.slot_count = check->slot_count;
    check->found.slots = calloc(check->slot_count + 1, sizeof check->found.slots[0]);
    CHECK(check->found.slots != NULL);
    buf_init(&names, SLOTS_TEXT_MAX);
    buf_append_byte(&names, '{');
    for (uint32_t i = 0; i < check->slot_count; i++) {
        memcpy(check->found.slots[i].name, check->slots[i], WAL_NAME_SIZE);
        buf_appendf(&names, "%s\"", i > 0 ? "," : "");
        for (const char *at = check->slots[i]; *at != '\0'; at++) {
            if (*at == '"' || *at == '\\')
                buf_append_byte(&names, '\\');
            buf_append_byte(&names, (uint8_t)*at);
        }
        buf_append_byte(&names, '"');
    }
    buf_append_byte(&names, '}');
    CHECK(!names.failed);
    const char *parameters[] = {buf_text(&names)};
    if (!pg_conn_query(check->conn, sql_monitor_look, 1, parameters, left_ms(check), on_look, check, &error))
        fail_soon(check, &error);
    buf_deinit(&names);
}

static void on_open(void *context, const struct err *error)
{
    if (error != NULL)
        fail(context, error);
    else
        look(context);
}

static void on_broken(void *context, const struct err *error)
{
    struct source_check *check = context;
    (void)error;  // the next look says what is wrong, if it still is
    pg_conn_close(check->conn);
    // A look that is not yet sent, or has failed and not yet told it, tells by itself.
    if (!check->is_looking)
        check->events.on_lost(check->events.context);
}

void source_check_start(struct source_check *check, const struct pg_target *target, uint32_t timeout_ms)
{
    const struct pg_conn_events events = {.on_open = on_open, .on_broken = on_broken, .context = check};
    struct err error = {0};
    CHECK(!check->is_looking);
    check->is_looking = true;
    check->deadline_us = loop_now_us(check->loop) + (uint64_t)timeout_ms * 1000;
    if (pg_conn_state(check->conn) == PG_CONN_IDLE)
        look(check);
    else if (!pg_conn_open(check->conn, target, false, NULL, SESSION_OPTIONS, timeout_ms, &events, &error))
        fail_soon(check, &error);
}

void source_check_set_slots(struct source_check *check, const char *const *slots, uint32_t slot_count)
{
    free(check->slots);
    check->slots = calloc((size_t)slot_count + 1, sizeof check->slots[0]);
    CHECK(check->slots != NULL);
    for (uint32_t i = 0; i < slot_count; i++)
        (void)snprintf(check->slots[i], sizeof check->slots[i], "%s", slots[i]);
    check->slot_count = slot_count;
}

void source_check_close(struct source_check *check)
{
    loop_defer_stop(check->loop, &check->failed);
    check->is_looking = false;
    found_reset(check);
    pg_conn_close(check->conn);
}

bool source_check_is_open(const struct source_check *check)
{
    return pg_conn_state(check->conn) == PG_CONN_IDLE;
}

const struct wal_facts *source_check_facts(const struct source_check *check)
{
    return &check->facts;
}

struct source_check *source_check_new(struct loop *loop, struct resolver *resolver,
                                      const struct source_check_events *events)
{
    struct source_check *check = calloc(1, sizeof *check);
    CHECK(check != NULL);
    check->loop = loop;
    check->conn = pg_conn_new(loop, resolver);
    check->events = *events;
    check->failed = (struct loop_deferred){.call = on_failed, .context = check};
    check->facts.wal_bytes = check->found.wal_bytes = WAL_UNKNOWN;
    return check;
}

void source_check_free(struct source_check *check)
{
    if (check == NULL)
        return;
    source_check_close(check);
    pg_conn_free(check->conn);
    free(check->facts.slots);
    free(check->slots);
    free(check);
}
