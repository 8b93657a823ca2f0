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

bool alert_is_own(const struct alert *alert)
{
    return alert->type == ALERT_CATALOG_DOWN;
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
    return json_take_line(object);
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
           !(!alert->is_dropped && alert->type == condition->type && is_same_text(alert->source, condition->source) &&
             is_same_text(alert->pipeline, condition->pipeline) && is_same_text(alert->table, condition->table)))
        alert = alert->next;
    return alert;
}

static struct alert *add(struct alert_book *book, enum alert_type type, const char *source, const char *pipeline,
                         const char *table)
{
    struct alert *alert = calloc(1, sizeof *alert);
    CHECK(alert != NULL);
    alert->type = type;
    alert->source = copy_text(source);
    alert->pipeline = copy_text(pipeline);
    alert->table = copy_text(table);
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
        alert = add(book, condition->type, condition->source, condition->pipeline, condition->table);
    }
    // It is back before the receiver was told that it was over: another alert, of which it is told again.
    if (alert->is_over) {
        alert->is_over = false;
        alert->is_kept = false;
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
        book->is_changed = true;
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
    book->is_changed = true;
    if (!was_raised)
        return;
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
    if (alert->is_dropped)
        return alert->delivery != ALERT_SENDING;
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
        if (!alert->is_seen && !alert->is_over && !alert->is_dropped)
            end_one(book, alert);
    sweep(book);
}

// --- delivery ----------------------------------------------------------------------------------------------------

void alert_book_set_gate(struct alert_book *book, bool (*may_send)(void *context, const struct alert *alert),
                         void *context)
{
    book->may_send = may_send;
    book->may_send_context = context;
}

bool alert_book_may_send(const struct alert_book *book, const struct alert *alert)
{
    return !alert->is_dropped && (book->may_send == NULL || book->may_send(book->may_send_context, alert));
}

struct alert *alert_book_next(struct alert_book *book, uint64_t now_us)
{
    for (struct alert *alert = book->alerts; alert != NULL; alert = alert->next) {
        if (alert->delivery != ALERT_QUEUED && (alert->delivery != ALERT_FAILED || now_us < alert->retry_at_us))
            continue;
        if (!alert_book_may_send(book, alert))
            continue;
        CHECK(alert->body != NULL && alert->sending_body == NULL);
        alert->sending_body = alert->body;
        alert->body = NULL;
        alert->delivery = ALERT_SENDING;
        alert->was_posted = true;
        book->is_changed = true;
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

void alert_book_withdrawn(struct alert_book *book, struct alert *alert)
{
    CHECK(alert->delivery == ALERT_SENDING);
    alert->delivery = ALERT_QUEUED;
    if (alert->body == NULL) {
        alert->body = alert->sending_body;
    } else {
        free(alert->sending_body);
    }
    alert->sending_body = NULL;
    book->is_changed = true;
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

json_t *alert_book_shown(const struct alert_book *book)
{
    json_t *array = json_array();
    CHECK(array != NULL);
    for (const struct alert *alert = book->alerts; alert != NULL; alert = alert->next) {
        if (!alert_is_raised(alert) || alert->is_dropped)
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
    return array;
}

// --- keeping -----------------------------------------------------------------------------------------------------

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

json_t *alert_book_kept(const struct alert_book *book)
{
    json_t *array = json_array();
    CHECK(array != NULL);
    for (const struct alert *alert = book->alerts; alert != NULL; alert = alert->next) {
        // Of two messages the newer one counts, as when they are told.
        const char *body = alert->body != NULL ? alert->body : alert->sending_body;
        if (alert_is_own(alert) || alert->is_dropped)
            continue;
        json_t *object = json_pack("{s:s, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:o, s:o, s:O, s:b, s:b, s:b, s:o}",
                                   "type", alert_type_name(alert->type), "source", text_or_null(alert->source),
                                   "pipeline", text_or_null(alert->pipeline), "table", text_or_null(alert->table),
                                   "level", alert_level_name(alert->level), "told", alert_level_name(alert->told),
                                   "since_us", (json_int_t)alert->since_wall_us, "level_since_us",
                                   (json_int_t)(book->wall_us - (int64_t)(book->now_us - alert->since_us)), "message",
                                   text_or_null(alert->message), "remedy", text_or_null(alert->remedy), "details",
                                   alert->details, "was_posted", alert->was_posted, "is_over", alert->is_over,
                                   "is_delivered", alert->delivery == ALERT_DELIVERED, "body", text_or_null(body));
        // Names come from our own catalog and texts are ours; one that is no UTF-8 cannot be kept, and is told anew.
        if (object != NULL)
            json_array_append_new(array, object);
    }
    return array;
}

// The place of the word among count names, or count.
static size_t place_of(const json_t *word, const char *(*name_of)(size_t), size_t count)
{
    size_t place = 0;
    const char *text = json_string_value(word);
    while (place < count && (text == NULL || strcmp(text, name_of(place)) != 0))
        place++;
    return place;
}

static const char *type_at(size_t place)
{
    return alert_type_name((enum alert_type)place);
}

static const char *level_at(size_t place)
{
    return alert_level_name((enum alert_level)place);
}

static char *copy_member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return copy_text(text != NULL ? text : "");
}

static void restore_one(struct alert_book *book, const json_t *kept)
{
    size_t type = place_of(json_object_get(kept, "type"), type_at, ALERT_TYPE_COUNT);
    size_t level = place_of(json_object_get(kept, "level"), level_at, ALERT_DANGER + 1);
    size_t told = place_of(json_object_get(kept, "told"), level_at, ALERT_DANGER + 1);
    const char *body = json_string_value(json_object_get(kept, "body"));
    if (type == ALERT_TYPE_COUNT || level > ALERT_DANGER || told > ALERT_DANGER || book->count == ALERTS_MAX)
        return;
    struct alert *alert =
        add(book, (enum alert_type)type, json_string_value(json_object_get(kept, "source")),
            json_string_value(json_object_get(kept, "pipeline")), json_string_value(json_object_get(kept, "table")));
    int64_t since_us = json_integer_value(json_object_get(kept, "level_since_us"));
    alert->level = (enum alert_level)level;
    alert->told = (enum alert_level)told;
    // The monotonic clock may have begun after that; only differences to it are ever taken.
    alert->since_us = book->now_us - (since_us < book->wall_us ? (uint64_t)(book->wall_us - since_us) : 0);
    alert->since_wall_us = json_integer_value(json_object_get(kept, "since_us"));
    alert->message = copy_member(kept, "message");
    alert->remedy = copy_member(kept, "remedy");
    const json_t *details = json_object_get(kept, "details");
    alert->details = json_is_object(details) ? json_deep_copy(details) : json_object();
    CHECK(alert->details != NULL);
    alert->was_posted = json_is_true(json_object_get(kept, "was_posted"));
    alert->is_over = json_is_true(json_object_get(kept, "is_over"));
    alert->is_kept = true;
    if (!book->has_receiver)
        return;
    if (body != NULL) {
        alert->body = copy_text(body);
        alert->delivery = ALERT_QUEUED;
    } else if (json_is_true(json_object_get(kept, "is_delivered"))) {
        alert->delivery = ALERT_DELIVERED;
    } else if (alert_is_raised(alert)) {
        tell(book, alert);  // there was no receiver then
    }
}

void alert_book_restore(struct alert_book *book, const json_t *kept, uint64_t now_us, int64_t wall_us)
{
    size_t index;
    json_t *object;
    book->now_us = now_us;
    book->wall_us = wall_us;
    json_array_foreach(kept, index, object) restore_one(book, object);
    book->is_changed = true;
    sweep(book);
}

void alert_book_drop(struct alert_book *book)
{
    for (struct alert *alert = book->alerts; alert != NULL; alert = alert->next)
        alert->is_dropped |= !alert_is_own(alert);
    book->is_changed = true;
    sweep(book);
}

const struct alert *alert_book_find_kept(const struct alert_book *book, enum alert_type type, const char *source,
                                         const char *pipeline)
{
    const struct alert *alert = book->alerts;
    while (alert != NULL && !(alert->is_kept && !alert->is_over && !alert->is_dropped && alert->type == type &&
                              is_same_text(alert->source, source) && is_same_text(alert->pipeline, pipeline)))
        alert = alert->next;
    return alert;
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
