#include "monitor/keep.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "catalog/requests.h"
#include "io/mailbox.h"

#define ANSWERS_MAX 16
#define TICK_US 2000000
#define SHOW_TICKS 3    // OTHERS: what they keep is looked at every so many
#define STATUS_TICKS 2  // MINE: so are statuses of pipelines that run elsewhere
#define FRESH_TICKS 15  // what has not changed is saved again beside what has, so that it shows its age
#define AWAY_TICKS 5    // so often in a row the catalog was away: nobody else can claim either
#define FIRST_TICK_US 1

enum keep_state { KEEP_OTHERS, KEEP_LOADING, KEEP_MINE };

struct kept_row {
    char *kind, *name;  // owned
    char *json;         // owned; NULL: gone, and forgotten once that was saved
    bool is_dirty;
    uint32_t age_ticks;  // since it was sent
    struct kept_row *next;
};

struct keep {
    struct loop *loop;
    struct catalog *catalog;
    char scope[CATALOG_NAME_SIZE];
    struct keep_events events;
    struct mailbox *answers;
    struct loop_timer timer;
    enum keep_state state;
    uint64_t claim, sure_until_us;
    uint64_t lost_claim;  // a save found a later one, which whoever grants claims may not have noticed yet; 0: none
    uint64_t load_claim;  // under which what was kept was asked for: before a claim it may be history
    uint32_t away_ticks;
    uint64_t ticks;
    bool is_claim_asked, is_load_asked, is_saving, is_status_asked;
    struct kept_row *rows;
};

// --- rows --------------------------------------------------------------------------------------------------------

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

static struct kept_row *row_of(struct keep *keep, const char *kind, const char *name)
{
    struct kept_row *row = keep->rows;
    while (row != NULL && (strcmp(row->kind, kind) != 0 || strcmp(row->name, name) != 0))
        row = row->next;
    if (row != NULL)
        return row;
    row = calloc(1, sizeof *row);
    CHECK(row != NULL);
    *row = (struct kept_row){.kind = copy_text(kind), .name = copy_text(name), .next = keep->rows};
    keep->rows = row;
    return row;
}

static void row_free(struct kept_row *row)
{
    free(row->kind);
    free(row->name);
    free(row->json);
    free(row);
}

static void forget_gone(struct keep *keep)
{
    for (struct kept_row **link = &keep->rows; *link != NULL;) {
        struct kept_row *row = *link;
        if (row->json == NULL && !row->is_dirty) {
            *link = row->next;
            row_free(row);
        } else {
            link = &row->next;
        }
    }
}

void keep_put(struct keep *keep, const char *kind, const char *name, char *take_json)
{
    struct kept_row *row = row_of(keep, kind, name);
    bool is_same = take_json != NULL ? row->json != NULL && strcmp(row->json, take_json) == 0
                                     : row->json == NULL && !row->is_dirty;
    free(row->json);
    row->json = take_json;
    row->is_dirty |= !is_same;
}

void keep_forget(struct keep *keep, bool (*is_known)(void *context, const char *name), void *context)
{
    for (struct kept_row *row = keep->rows; row != NULL; row = row->next) {
        if (strcmp(row->kind, KEEP_SOURCE) != 0 || row->json == NULL || is_known(context, row->name))
            continue;
        free(row->json);
        row->json = NULL;
        row->is_dirty = true;
    }
}

// --- requests ----------------------------------------------------------------------------------------------------

static bool ask(struct keep *keep, struct catalog_request *take_request)
{
    take_request->reply_to = keep->answers;
    if (catalog_ask(keep->catalog, take_request))
        return true;
    catalog_request_free(take_request);  // too many are under way: the next tick asks again
    return false;
}

static void ask_simply(struct keep *keep, enum catalog_request_kind kind, bool *is_asked)
{
    if (!*is_asked)
        *is_asked = ask(keep, catalog_request_new(kind, keep->scope));
}

static void ask_load(struct keep *keep)
{
    if (!keep->is_load_asked)
        keep->load_claim = keep->claim;
    ask_simply(keep, CATALOG_ASK_WATCH_LOAD, &keep->is_load_asked);
}

static struct catalog_request *save_request(struct keep *keep)
{
    struct catalog_request *request = NULL;
    bool is_any_dirty = false;
    for (struct kept_row *row = keep->rows; row != NULL; row = row->next)
        is_any_dirty |= row->is_dirty;
    for (struct kept_row *row = keep->rows; is_any_dirty && row != NULL; row = row->next) {
        if (!row->is_dirty && row->age_ticks < FRESH_TICKS)
            continue;
        if (request == NULL)
            request = catalog_request_new(CATALOG_ASK_WATCH_SAVE, keep->scope);
        catalog_request_add_row(request, row->kind, row->name, row->json, NULL, 0);
        row->is_dirty = false;
        row->age_ticks = 0;
    }
    if (request != NULL)
        request->claim = keep->claim;
    return request;
}

static void mark_all(struct keep *keep)
{
    for (struct kept_row *row = keep->rows; row != NULL; row = row->next)
        row->is_dirty = true;
}

static void save(struct keep *keep)
{
    if (keep->state != KEEP_MINE || keep->is_saving)
        return;
    struct catalog_request *request = save_request(keep);
    if (request == NULL)
        return;
    keep->is_saving = ask(keep, request);
    if (!keep->is_saving)
        mark_all(keep);
}

static void ask_statuses(struct keep *keep)
{
    if (keep->is_status_asked || !catalog_is_postgres(keep->catalog))
        return;
    json_t *known = json_object();
    CHECK(known != NULL);
    if (keep->events.on_known(keep->events.context, known)) {
        struct catalog_request *request = catalog_request_new(CATALOG_ASK_STATUSES, keep->scope);
        request->arguments = json_dumps(known, JSON_COMPACT);
        CHECK(request->arguments != NULL);
        keep->is_status_asked = ask(keep, request);
    }
    json_decref(known);
}

// --- answers -----------------------------------------------------------------------------------------------------

static void lose(struct keep *keep)
{
    bool was_mine = keep->state == KEEP_MINE;
    keep->state = KEEP_OTHERS;
    keep->sure_until_us = 0;
    mark_all(keep);
    if (!was_mine)
        return;
    log_line(LOG_INFO, NULL, "alerts_elsewhere", "another process tells of what is wrong from here on");
    keep->events.on_lost(keep->events.context);
}

static void claim_granted(struct keep *keep, const struct catalog_request *request)
{
    if (request->claim != 0 && request->claim == keep->lost_claim)
        return;
    // Numbers are given once: the next one means that nobody else had it in between, and what is here is the newest.
    bool is_ours_still = request->claim == keep->claim || request->claim == keep->claim + 1;
    keep->sure_until_us = request->sure_until_us;
    keep->away_ticks = 0;
    if (keep->state == KEEP_MINE && is_ours_still) {
        keep->claim = request->claim;
        return;
    }
    if (keep->state == KEEP_MINE)
        lose(keep);
    keep->claim = request->claim;
    keep->state = KEEP_LOADING;
    ask_load(keep);
}

static void claim_answered(struct keep *keep, const struct catalog_request *request)
{
    keep->is_claim_asked = false;
    if (!err_is_set(&request->error)) {
        claim_granted(keep, request);
    } else if (request->error.kind == ERR_FENCED) {
        keep->away_ticks = 0;
        lose(keep);
        if (keep->ticks % SHOW_TICKS == 0)
            ask_load(keep);
    } else {
        keep->sure_until_us = 0;
        keep->away_ticks++;
    }
}

static const struct catalog_watch_row *find_alerts(const struct catalog_request *request)
{
    for (uint32_t i = 0; i < request->row_count; i++)
        if (strcmp(request->rows[i].kind, KEEP_ALERTS) == 0)
            return &request->rows[i];
    return NULL;
}

// Rows of sources that an earlier process has left: replaced by what is found now, or forgotten with their source.
static void take_left(struct keep *keep, const struct catalog_request *request)
{
    for (uint32_t i = 0; i < request->row_count; i++) {
        if (strcmp(request->rows[i].kind, KEEP_SOURCE) != 0)
            continue;
        struct kept_row *row = row_of(keep, KEEP_SOURCE, request->rows[i].name);
        if (row->json == NULL && !row->is_dirty)
            row->json = copy_text(request->rows[i].json);
    }
}

static void load_answered(struct keep *keep, const struct catalog_request *request)
{
    keep->is_load_asked = false;
    const struct catalog_watch_row *alerts = find_alerts(request);
    if (err_is_set(&request->error) || keep->state == KEEP_MINE)
        return;
    if (keep->state == KEEP_OTHERS) {
        keep->events.on_shown(keep->events.context, alerts != NULL ? alerts->json : NULL,
                              alerts != NULL ? alerts->process : NULL);
        return;
    }
    if (keep->load_claim != keep->claim) {
        ask_load(keep);
        return;
    }
    keep->state = KEEP_MINE;
    take_left(keep, request);
    if (catalog_is_postgres(keep->catalog))
        log_line(LOG_INFO, NULL, "alerts_here", "this process tells of what is wrong from here on");
    keep->events.on_mine(keep->events.context, alerts != NULL ? alerts->json : NULL);
}

static void save_answered(struct keep *keep, const struct catalog_request *request)
{
    keep->is_saving = false;
    if (!err_is_set(&request->error)) {
        forget_gone(keep);
        return;
    }
    mark_all(keep);
    if (request->error.kind != ERR_FENCED || request->claim != keep->claim)
        return;
    keep->lost_claim = keep->claim;
    lose(keep);
}

static void statuses_answered(struct keep *keep, const struct catalog_request *request)
{
    keep->is_status_asked = false;
    for (uint32_t i = 0; i < request->row_count && !err_is_set(&request->error); i++)
        keep->events.on_status(keep->events.context, request->rows[i].name, request->rows[i].json,
                               request->rows[i].seen_ms);
}

static void on_answer(void *context, void *message)
{
    struct keep *keep = context;
    struct catalog_request *request = message;
    switch (request->kind) {
    case CATALOG_ASK_CLAIM: claim_answered(keep, request); break;
    case CATALOG_ASK_WATCH_LOAD: load_answered(keep, request); break;
    case CATALOG_ASK_WATCH_SAVE: save_answered(keep, request); break;
    case CATALOG_ASK_STATUSES: statuses_answered(keep, request); break;
    default: CHECK(false);
    }
    catalog_request_free(request);
}

// --- time --------------------------------------------------------------------------------------------------------

static void on_tick(struct loop_timer *timer)
{
    struct keep *keep = timer->context;
    keep->ticks++;
    for (struct kept_row *row = keep->rows; row != NULL; row = row->next)
        row->age_ticks++;
    ask_simply(keep, CATALOG_ASK_CLAIM, &keep->is_claim_asked);
    if (keep->state == KEEP_LOADING)
        ask_load(keep);
    if (keep->state == KEEP_MINE && keep->ticks % STATUS_TICKS == 0)
        ask_statuses(keep);
    save(keep);
    loop_timer_set(keep->loop, timer, TICK_US);
}

bool keep_is_mine(const struct keep *keep)
{
    return keep->state == KEEP_MINE;
}

bool keep_may_tell(const struct keep *keep)
{
    return keep->state == KEEP_MINE &&
           (keep->sure_until_us > loop_fresh_us(keep->loop) || keep->away_ticks >= AWAY_TICKS);
}

// --- life --------------------------------------------------------------------------------------------------------

struct keep *keep_new(struct loop *loop, struct catalog *catalog, const char *scope, const struct keep_events *events,
                      struct err *out_error)
{
    struct keep *keep = calloc(1, sizeof *keep);
    CHECK(keep != NULL);
    keep->loop = loop;
    keep->catalog = catalog;
    (void)snprintf(keep->scope, sizeof keep->scope, "%s", scope);
    keep->events = *events;
    keep->timer = (struct loop_timer){.on_due = on_tick, .context = keep};
    keep->answers = mailbox_new(loop, ANSWERS_MAX, on_answer, keep, out_error);
    if (keep->answers == NULL) {
        free(keep);
        return NULL;
    }
    loop_timer_set(loop, &keep->timer, FIRST_TICK_US);
    return keep;
}

void keep_stop(struct keep *keep)
{
    struct catalog_request *request = keep->state == KEEP_MINE ? save_request(keep) : NULL;
    loop_timer_stop(keep->loop, &keep->timer);
    if (request != NULL && !catalog_ask(keep->catalog, request))
        catalog_request_free(request);
}

void keep_free(struct keep *keep)
{
    if (keep == NULL)
        return;
    mailbox_free(keep->answers, catalog_request_discard);
    while (keep->rows != NULL) {
        struct kept_row *row = keep->rows;
        keep->rows = row->next;
        row_free(row);
    }
    free(keep);
}
