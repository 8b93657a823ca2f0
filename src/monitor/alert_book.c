#include "monitor/alert_book.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/json_put.h"

const char *alert_type_name(enum alert_type type)
{
    static const char *const names[ALERT_TYPE_COUNT] = {
        [ALERT_WAL] = "wal_alert",
        [ALERT_SOURCE_DOWN] = "source_down",
        [ALERT_SLOT_HELD_BACK] = "slot_held_back",
        [ALERT_SLOT_AT_RISK] = "slot_at_risk",
        [ALERT_SLOT_LOST] = "slot_lost",
        [ALERT_SLOT_INACTIVE] = "slot_inactive",
        [ALERT_PIPELINE_PAUSED] = "pipeline_paused",
        [ALERT_PIPELINE_FAILING] = "pipeline_failing",
        [ALERT_PIPELINE_STUCK] = "pipeline_stuck",
        [ALERT_TABLE_PARKED] = "table_parked",
        [ALERT_CATALOG_DOWN] = "catalog_down",
        [ALERT_ROWS_REFUSED] = "rows_refused",
    };
    return names[type];
}

const char *alert_level_name(enum alert_level level)
{
    static const char *const names[] = {
        [ALERT_NORMAL] = "normal", [ALERT_WARNING] = "warning", [ALERT_DANGER] = "danger"};
    return names[level];
}

bool alert_is_raised(const struct alert *alert)
{
    return !alert->is_over && alert->told != ALERT_NORMAL;
}

// --- messages ----------------------------------------------------------------------------------------------------

static uint64_t minutes(const struct alert_book *book, const struct alert *alert)
{
    return (book->now_us - alert->since_us) / book->minute_us;
}

static void set_subject(json_t *object, const struct alert *alert)
{
    if (alert->source != NULL)
        json_put_text(object, "source_name", alert->source);
    if (alert->pipeline != NULL)
        json_put_text(object, "pipeline_name", alert->pipeline);
    if (alert->table != NULL)
        json_put_text(object, "table", alert->table);
}

// The contract's members first, in its order; what is ours comes behind.
static void fill_wal_alert(json_t *object, const struct alert_book *book, const struct alert *alert)
{
    static const char *const figures[] = {"wal_size_mb", "threshold_mb"};
    set_subject(object, alert);
    json_put_text(object, "status", alert_level_name(alert->level));
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        json_object_set(object, figures[i], json_object_get(alert->details, figures[i]));
    json_object_set_new(object, "duration_mins", json_integer((json_int_t)minutes(book, alert)));
    json_put_time(object, "timestamp", book->wall_us);
    json_object_update_missing(object, alert->details);
}

static void fill_own_alert(json_t *object, const struct alert_book *book, const struct alert *alert)
{
    json_put_text(object, "status", alert->is_over ? "resolved" : alert_level_name(alert->level));
    set_subject(object, alert);
    json_put_text(object, "message", alert->message);
    if (!alert->is_over)
        json_put_text(object, "remedy", alert->remedy);
    json_put_time(object, "since", alert->since_wall_us);
    json_object_set_new(object, "duration_mins", json_integer((json_int_t)minutes(book, alert)));
    json_put_time(object, "timestamp", book->wall_us);
    json_object_update_missing(object, alert->details);
}

// Heap.
static char *compose(const struct alert_book *book, const struct alert *alert)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    json_put_text(object, "type", alert_type_name(alert->type));
    if (alert->type == ALERT_WAL)
        fill_wal_alert(object, book, alert);
    else
        fill_own_alert(object, book, alert);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

static void tell(struct alert_book *book, struct alert *alert)
{
    book->is_changed = true;
    if (!book->has_receiver)
        return;
    // Of two messages that wait the newer one counts.
    free(alert->body);
    alert->body = compose(book, alert);
    alert->failed_rounds = 0;
    if (alert->delivery != ALERT_SENDING)
        alert->delivery = ALERT_QUEUED;
}

// --- alerts ------------------------------------------------------------------------------------------------------

static char *copy_text(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

static void alert_free(struct alert *alert)
{
    CHECK(alert->delivery != ALERT_SENDING);
    free(alert->source);
    free(alert->pipeline);
    free(alert->table);
    free(alert->message);
    free(alert->remedy);
    json_decref(alert->details);
    free(alert->body);
    free(alert);
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct alert *find(const struct alert_book *book, const struct alert_condition *condition)
{
    struct alert *alert = book->alerts;
    while (alert != NULL &&
           !(alert->type == condition->type && is_same_text(alert->source, condition->source) &&
             is_same_text(alert->pipeline, condition->pipeline) && is_same_text(alert->table, condition->table)))
        alert = alert->next;
    return alert;
}

static struct alert *add(struct alert_book *book, const struct alert_condition *condition)
{
    struct alert *alert = calloc(1, sizeof *alert);
    CHECK(alert != NULL);
    alert->type = condition->type;
    alert->source = copy_text(condition->source);
    alert->pipeline = copy_text(condition->pipeline);
    alert->table = copy_text(condition->table);
    alert->since_wall_us = book->wall_us;
    *book->end = alert;
    book->end = &alert->next;
    book->count++;
    return alert;
}

static void describe(struct alert *alert, const struct alert_condition *condition)
{
    if (!is_same_text(alert->message, condition->message)) {
        free(alert->message);
        alert->message = copy_text(condition->message != NULL ? condition->message : "");
    }
    if (!is_same_text(alert->remedy, condition->remedy)) {
        free(alert->remedy);
        alert->remedy = copy_text(condition->remedy != NULL ? condition->remedy : "");
    }
    json_decref(alert->details);
    alert->details = condition->details != NULL ? json_deep_copy(condition->details) : json_object();
    CHECK(alert->details != NULL);
}

void alert_book_see(struct alert_book *book, const struct alert_condition *condition)
{
    CHECK(condition->level != ALERT_NORMAL);
    struct alert *alert = find(book, condition);
    if (condition->is_stale) {
        if (alert != NULL && !alert->is_over)
            alert->is_seen = true;
        return;
    }
    if (alert == NULL) {
        if (book->count == ALERTS_MAX) {
            book->left_out++;
            return;
        }
        alert = add(book, condition);
    }
    // It is back before the receiver was told that it was over: another alert, of which it is told again.
    if (alert->is_over) {
        alert->is_over = false;
        alert->told = ALERT_NORMAL;
        alert->since_wall_us = book->wall_us;
        alert->level = ALERT_NORMAL;
    }
    alert->is_seen = true;
    alert->hold_us = condition->hold_us;
    describe(alert, condition);
    if (alert->level != condition->level) {
        alert->level = condition->level;
        alert->since_us = book->now_us;
    }
    if (alert->told == alert->level || book->now_us - alert->since_us < alert->hold_us)
        return;
    alert->told = alert->level;
    tell(book, alert);
    book->events.on_raised(book->events.context, alert);
}

static void end_one(struct alert_book *book, struct alert *alert)
{
    bool was_raised = alert_is_raised(alert);
    alert->is_over = true;
    if (!was_raised)
        return;
    book->is_changed = true;
    book->events.on_resolved(book->events.context, alert);
    free(alert->body);
    alert->body = NULL;
    if (alert->type != ALERT_WAL && (alert->was_posted || alert->delivery == ALERT_SENDING))
        tell(book, alert);
    else if (alert->delivery != ALERT_SENDING)
        alert->delivery = ALERT_UNSENT;
}

// Over, and nobody is to be told of it any more.
static bool is_done(const struct alert *alert)
{
    return alert->is_over && (alert->delivery == ALERT_UNSENT || alert->delivery == ALERT_DELIVERED ||
                              alert->failed_rounds >= ALERT_RESOLVED_ROUNDS_MAX);
}

static void sweep(struct alert_book *book)
{
    for (struct alert **link = &book->alerts; *link != NULL;) {
        struct alert *alert = *link;
        if (is_done(alert)) {
            *link = alert->next;
            book->count--;
            alert_free(alert);
        } else {
            link = &alert->next;
        }
        book->end = link;
    }
    if (book->alerts == NULL)
        book->end = &book->alerts;
}

void alert_book_begin(struct alert_book *book, uint64_t now_us, int64_t wall_us)
{
    book->now_us = now_us;
    book->wall_us = wall_us;
    for (struct alert *alert = book->alerts; alert != NULL; alert = alert->next)
        alert->is_seen = false;
}

void alert_book_end(struct alert_book *book)
{
    for (struct alert *alert = book->alerts; alert != NULL; alert = alert->next)
        if (!alert->is_seen && !alert->is_over)
            end_one(book, alert);
    sweep(book);
}

// --- delivery ----------------------------------------------------------------------------------------------------

struct alert *alert_book_next(struct alert_book *book, uint64_t now_us)
{
    for (struct alert *alert = book->alerts; alert != NULL; alert = alert->next) {
        if (alert->delivery != ALERT_QUEUED && (alert->delivery != ALERT_FAILED || now_us < alert->retry_at_us))
            continue;
        CHECK(alert->body != NULL && alert->sending_body == NULL);
        alert->sending_body = alert->body;
        alert->body = NULL;
        alert->delivery = ALERT_SENDING;
        alert->was_posted = true;
        return alert;
    }
    return NULL;
}

void alert_book_posted(struct alert_book *book, struct alert *alert, bool is_taken, uint64_t now_us)
{
    CHECK(alert->delivery == ALERT_SENDING);
    book->is_changed = true;
    if (alert->body != NULL) {
        alert->delivery = ALERT_QUEUED;  // what came meanwhile
    } else if (is_taken) {
        alert->delivery = ALERT_DELIVERED;
    } else if (alert->is_over && alert->type == ALERT_WAL) {
        alert->delivery = ALERT_UNSENT;  // it went back to normal meanwhile
    } else {
        alert->delivery = ALERT_FAILED;
        alert->body = alert->sending_body;
        alert->sending_body = NULL;
        alert->retry_at_us = now_us + book->retry_us;
        alert->failed_rounds++;
    }
    free(alert->sending_body);
    alert->sending_body = NULL;
    sweep(book);
}

// --- showing -----------------------------------------------------------------------------------------------------

static const char *delivery_word(const struct alert_book *book, const struct alert *alert)
{
    if (!book->has_receiver)
        return "no receiver";
    switch (alert->delivery) {
    case ALERT_UNSENT:
    case ALERT_QUEUED:
    case ALERT_SENDING: return "sending";
    case ALERT_DELIVERED: return "delivered";
    case ALERT_FAILED: return "undelivered";
    }
    CHECK(false);
    return "";
}

char *alert_book_json(const struct alert_book *book)
{
    json_t *array = json_array();
    CHECK(array != NULL);
    for (const struct alert *alert = book->alerts; alert != NULL; alert = alert->next) {
        if (!alert_is_raised(alert))
            continue;
        json_t *object = json_object();
        CHECK(object != NULL);
        json_put_text(object, "type", alert_type_name(alert->type));
        json_put_text(object, "status", alert_level_name(alert->told));
        set_subject(object, alert);
        json_put_text(object, "message", alert->message);
        json_put_text(object, "remedy", alert->remedy);
        json_put_time(object, "since", alert->since_wall_us);
        json_put_text(object, "delivery", delivery_word(book, alert));
        json_object_update_missing(object, alert->details);
        json_array_append_new(array, object);
    }
    char *text = json_dumps(array, JSON_COMPACT | JSON_REAL_PRECISION(15));
    CHECK(text != NULL);
    json_decref(array);
    return text;
}

// --- life --------------------------------------------------------------------------------------------------------

void alert_book_init(struct alert_book *book, bool has_receiver, uint64_t minute_us, uint64_t retry_us,
                     const struct alert_book_events *events)
{
    CHECK(minute_us > 0);
    *book = (struct alert_book){
        .has_receiver = has_receiver, .minute_us = minute_us, .retry_us = retry_us, .events = *events};
    book->end = &book->alerts;
}

void alert_book_deinit(struct alert_book *book)
{
    while (book->alerts != NULL) {
        struct alert *alert = book->alerts;
        book->alerts = alert->next;
        alert_free(alert);
    }
}
