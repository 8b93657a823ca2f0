// Who runs which pipeline, where a PostgreSQL catalog is shared: session-level advisory locks on a connection of its own, which a
// heartbeat keeps from its short idle_session_timeout. A process that was frozen answers TCP's keepalives still, for the
// kernel does that; only the server's time-out ends its session.
//
//   t = 0        newest heartbeat that was answered
//   t + 2 s      the next one
//   t + 10 s     without one the server ends the session, and another process may claim
//   t + 30 s     without another connection the claims are given up: CATALOG_TOLD_CLAIM_LOST
//
// A connection that broke is opened again at once. A claim goes on under its number if the lock is free (or our own old
// session, which the server has not missed yet, gives it up in time) and nobody has claimed the pipeline in between. Between
// 10 and 30 seconds two processes may both believe that a pipeline is theirs: the slot lets only one of them read, saves of
// the older claim fail, and the destination's writer fences its merges.
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/process.h"
#include "base/trap.h"
#include "catalog/catalog_private.h"

#define ASKED_MAX 4096
#define HEARTBEAT_US 2000000
#define GIVE_UP_US 30000000
// From the beginning of a heartbeat that was answered: less than the server's time-out, which begins anew after it.
#define SURE_US 8000000
#define NUMBER_SIZE 24
#define HOLDER_SIZE PROCESS_TEXT_SIZE
#define SERVICE_KEY "7308332045218406402"
// The heartbeat itself must not take longer than the time-out it keeps away.
#define SESSION_OPTIONS \
    "-c statement_timeout=5s -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
// Known from PostgreSQL 14 on; before, only a process that is dead or cut off loses its claims.
#define SET_IDLE_TIMEOUT                                       \
    "SELECT set_config('idle_session_timeout', '10s', false) " \
    "WHERE current_setting('server_version_num')::integer >= 140000"
#define LOCK_SERVICE "SELECT pg_advisory_lock_shared(" SERVICE_KEY ")"

struct claim {
    struct claim *next;
    uint64_t number;
    bool is_locked;  // by the present session
    char pipeline[CATALOG_NAME_SIZE];
};

struct claims {
    struct catalog_location location;
    struct db *db;  // NULL: away
    struct mailbox *news;
    struct loop *loop;
    struct mailbox *asked;
    struct loop_timer heartbeat;
    pthread_t thread;
    bool is_started;
    struct claim *list;
    uint64_t heard_us;
    uint64_t
        sure_us;  // when the newest heartbeat was begun that was answered: what is locked cannot be anyone else's for SURE_US
    char holder[HOLDER_SIZE];
};

static char stop_message;

// A test cannot wait for so long.
static uint64_t give_up_us(void)
{
    return trap_is_set("claims_are_patient") ? GIVE_UP_US / 3 : GIVE_UP_US;
}

// Advisory locks have numbers: FNV-1a of the name. Two names of one number would only never run in two processes.
static void key_of(const char *pipeline, char out[NUMBER_SIZE])
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *at = pipeline; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    (void)snprintf(out, NUMBER_SIZE, "%" PRId64, (int64_t)hash);
}

static bool set_flag(void *context, const char *const *values)
{
    *(bool *)context = values[0] != NULL && values[0][0] == 't';
    return true;
}

static bool set_number(void *context, const char *const *values)
{
    *(uint64_t *)context = strtoull(values[0], NULL, 10);
    return true;
}

static bool set_holder(void *context, const char *const *values)
{
    (void)snprintf(context, HOLDER_SIZE, "%s", values[0]);
    return true;
}

static bool ask(struct db *db, const char *sql, uint32_t count, const char *const *parameters, db_on_row on_row,
                void *context, struct err *out_error)
{
    struct db_query query = {
        .sql = sql, .parameter_count = count, .parameters = parameters, .on_row = on_row, .context = context};
    return db_query(db, &query, out_error);
}

// --- for those who only look -----------------------------------------------------------------------------------------

// An advisory lock on a bigint shows as its two halves and objsubid 1. Source: PostgreSQL's documentation of pg_locks.
static const char is_held_sql[] =
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint = ((CAST($1 AS bigint) >> 32) & 4294967295) "
    "AND objid::bigint = (CAST($1 AS bigint) & 4294967295))";

bool claims_is_service_there(struct db *db, bool *out_is_there, struct err *out_error)
{
    const char *parameters[] = {SERVICE_KEY};
    return ask(db, is_held_sql, 1, parameters, set_flag, out_is_there, out_error);
}

bool claims_is_claimed(struct db *db, const char *pipeline, bool *out_is_claimed, struct err *out_error)
{
    char key[NUMBER_SIZE];
    const char *parameters[] = {key};
    key_of(pipeline, key);
    return ask(db, is_held_sql, 1, parameters, set_flag, out_is_claimed, out_error);
}

// --- the connection --------------------------------------------------------------------------------------------------

static bool open_db(struct claims *claims, struct err *out_error)
{
    uint64_t began_us = clock_system.monotonic_us(clock_system.context);
    claims->db = db_postgres_open(&claims->location, SESSION_OPTIONS, out_error);
    if (claims->db != NULL && db_script(claims->db, SET_IDLE_TIMEOUT, out_error) &&
        db_script(claims->db, LOCK_SERVICE, out_error)) {
        claims->heard_us = clock_system.monotonic_us(clock_system.context);
        claims->sure_us = began_us;
        return true;
    }
    db_close(claims->db);
    claims->db = NULL;
    return false;
}

static void close_db(struct claims *claims)
{
    db_close(claims->db);
    claims->db = NULL;
    for (struct claim *claim = claims->list; claim != NULL; claim = claim->next)
        claim->is_locked = false;
}

static void lose(struct claims *claims, struct claim **link, const char *why)
{
    struct claim *claim = *link;
    *link = claim->next;
    log_line(LOG_ERROR, NULL, "claim_lost", "the claim on \"%s\" is lost: %s", claim->pipeline, why);
    catalog_tell(claims->news, CATALOG_TOLD_CLAIM_LOST, claim->pipeline);
    free(claim);
}

static bool try_lock(struct claims *claims, const char *pipeline, bool *out_is_locked, struct err *out_error)
{
    char key[NUMBER_SIZE];
    const char *parameters[] = {key};
    key_of(pipeline, key);
    *out_is_locked = false;
    return ask(claims->db, "SELECT pg_try_advisory_lock($1)", 1, parameters, set_flag, out_is_locked, out_error);
}

static void unlock(struct claims *claims, const char *pipeline)
{
    char key[NUMBER_SIZE];
    const char *parameters[] = {key};
    bool ignored_flag;
    struct err ignored = {0};
    key_of(pipeline, key);
    if (claims->db != NULL)
        ask(claims->db, "SELECT pg_advisory_unlock($1)", 1, parameters, set_flag, &ignored_flag, &ignored);
}

// On a new connection. False: the connection broke.
static bool renew(struct claims *claims, struct claim **link, bool *out_is_lost, struct err *out_error)
{
    struct claim *claim = *link;
    const char *parameters[] = {claim->pipeline};
    uint64_t number = 0;
    *out_is_lost = false;
    if (claim->is_locked)
        return true;
    if (!try_lock(claims, claim->pipeline, &claim->is_locked, out_error) ||
        !ask(claims->db, "SELECT claim FROM etl_claims WHERE pipeline = $1", 1, parameters, set_number, &number,
             out_error))
        return false;
    if (number == claim->number)
        return true;  // ours still, or nobody's: our old session may hold the lock
    if (claim->is_locked)
        unlock(claims, claim->pipeline);
    *out_is_lost = true;
    lose(claims, link, "another process has claimed it meanwhile");
    return true;
}

static void on_heartbeat(struct loop_timer *timer)
{
    struct claims *claims = timer->context;
    struct err error = {0};
    uint64_t began_us = clock_system.monotonic_us(clock_system.context);
    bool is_well = claims->db != NULL ? db_script(claims->db, "SELECT 1", &error) : open_db(claims, &error);
    for (struct claim **link = &claims->list; is_well && *link != NULL;) {
        bool is_lost = false;
        is_well = renew(claims, link, &is_lost, &error);
        if (is_well && !is_lost)
            link = &(*link)->next;
    }
    uint64_t now_us = clock_system.monotonic_us(clock_system.context);
    if (is_well) {
        claims->heard_us = now_us;
        claims->sure_us = began_us;
    } else {
        if (claims->db != NULL)
            log_line(LOG_WARNING, NULL, "claims_away", "%s", error.text);
        close_db(claims);
    }
    bool is_late = now_us - claims->heard_us > give_up_us();
    for (struct claim **link = &claims->list; *link != NULL;) {
        if (is_late && !(*link)->is_locked)
            lose(claims, link, "the catalog was away for too long");
        else
            link = &(*link)->next;
    }
    loop_timer_set(claims->loop, &claims->heartbeat, is_well ? HEARTBEAT_US : HEARTBEAT_US / 2);
}

// --- what is asked ---------------------------------------------------------------------------------------------------

static struct claim **find(struct claims *claims, const char *pipeline)
{
    struct claim **link = &claims->list;
    while (*link != NULL && strcmp((*link)->pipeline, pipeline) != 0)
        link = &(*link)->next;
    return link;
}

static bool take_number(struct claims *claims, const char *pipeline, uint64_t *out_number, struct err *out_error)
{
    char now[NUMBER_SIZE];
    const char *parameters[] = {pipeline, claims->holder, now};
    (void)snprintf(now, sizeof now, "%" PRId64, clock_system.wall_us(clock_system.context) / 1000);
    return ask(claims->db,
               "INSERT INTO etl_claims (pipeline, claim, holder, since_ms, saved_ms) VALUES ($1, 1, $2, $3, 0) "
               "ON CONFLICT (pipeline) DO UPDATE SET claim = etl_claims.claim + 1, holder = excluded.holder, "
               "since_ms = excluded.since_ms RETURNING claim",
               3, parameters, set_number, out_number, out_error);
}

static bool fail_held(struct claims *claims, const char *pipeline, struct err *out_error)
{
    const char *parameters[] = {pipeline};
    char holder[HOLDER_SIZE] = "another process";
    struct err ignored = {0};
    ask(claims->db, "SELECT holder FROM etl_claims WHERE pipeline = $1", 1, parameters, set_holder, holder, &ignored);
    return err_set(out_error, ERR_FENCED, "claimed", "pipeline \"%s\" runs in another process: %s", pipeline, holder);
}

static void take(struct claims *claims, struct catalog_request *request)
{
    struct claim *claim = *find(claims, request->pipeline);
    struct err *error = &request->error;
    bool is_locked = false;
    uint64_t number = 0;
    if (claim != NULL) {
        request->claim = claim->number;
        request->sure_until_us = claim->is_locked ? claims->sure_us + SURE_US : 0;
        return;
    }
    if (claims->db == NULL) {
        err_set(error, ERR_TRANSIENT, "catalog_away", "%s is away; the pipeline cannot be claimed",
                claims->location.text);
        return;
    }
    if (!try_lock(claims, request->pipeline, &is_locked, error))
        return;
    if (!is_locked) {
        fail_held(claims, request->pipeline, error);
        return;
    }
    if (!take_number(claims, request->pipeline, &number, error)) {
        unlock(claims, request->pipeline);
        return;
    }
    claim = calloc(1, sizeof *claim);
    CHECK(claim != NULL);
    *claim = (struct claim){.next = claims->list, .number = number, .is_locked = true};
    (void)snprintf(claim->pipeline, sizeof claim->pipeline, "%s", request->pipeline);
    claims->list = claim;
    request->claim = number;
    request->sure_until_us = claims->sure_us + SURE_US;
}

static void give_back(struct claims *claims, const char *pipeline)
{
    struct claim **link = find(claims, pipeline), *claim = *link;
    if (claim == NULL)
        return;
    *link = claim->next;
    if (claim->is_locked)
        unlock(claims, pipeline);
    free(claim);
}

static void on_asked(void *context, void *message)
{
    struct claims *claims = context;
    struct catalog_request *request = message;
    if (message == &stop_message) {
        loop_stop(claims->loop);
        return;
    }
    err_clear(&request->error);
    if (request->kind == CATALOG_ASK_CLAIM)
        take(claims, request);
    else
        give_back(claims, request->pipeline);
    catalog_answer(request);
}

bool claims_ask(struct claims *claims, struct catalog_request *take_request)
{
    return mailbox_send(claims->asked, take_request);
}

// --- the thread ------------------------------------------------------------------------------------------------------

static void discard(void *message)
{
    if (message != &stop_message)
        catalog_request_free(message);
}

static void *run_thread(void *context)
{
    struct claims *claims = context;
    process_name_thread("claims");
    loop_timer_set(claims->loop, &claims->heartbeat, HEARTBEAT_US);
    loop_run(claims->loop);
    loop_timer_stop(claims->loop, &claims->heartbeat);
    return NULL;
}

static bool start(struct claims *claims, struct err *out_error)
{
    sigset_t all, before;
    if (!open_db(claims, out_error))
        return false;
    claims->loop = loop_new(&clock_system, out_error);
    claims->asked = claims->loop != NULL ? mailbox_new(claims->loop, ASKED_MAX, on_asked, claims, out_error) : NULL;
    if (claims->asked == NULL)
        return false;
    // As in catalog.c: signals belong to the main thread.
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    claims->is_started = pthread_create(&claims->thread, NULL, run_thread, claims) == 0;
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return claims->is_started ||
           err_set(out_error, ERR_INTERNAL, "thread", "the thread of the claims cannot be started");
}

struct claims *claims_new(const struct catalog_location *location, struct mailbox *news, struct err *out_error)
{
    struct claims *claims = calloc(1, sizeof *claims);
    CHECK(claims != NULL);
    catalog_location_copy(location, &claims->location);
    claims->news = news;
    claims->heartbeat = (struct loop_timer){.on_due = on_heartbeat, .context = claims};
    process_describe(claims->holder);
    if (start(claims, out_error))
        return claims;
    claims_free(claims);
    return NULL;
}

void claims_free(struct claims *claims)
{
    if (claims == NULL)
        return;
    if (claims->is_started) {
        while (!mailbox_send(claims->asked, &stop_message))
            sched_yield();
        pthread_join(claims->thread, NULL);
    }
    if (claims->asked != NULL)
        mailbox_free(claims->asked, discard);
    if (claims->loop != NULL)
        loop_free(claims->loop);
    db_close(claims->db);  // which gives the locks back
    while (claims->list != NULL) {
        struct claim *claim = claims->list;
        claims->list = claim->next;
        free(claim);
    }
    catalog_location_deinit(&claims->location);
    free(claims);
}
