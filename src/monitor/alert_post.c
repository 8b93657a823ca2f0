#include "monitor/alert_post.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define PLACES 4
#define ANSWER_BYTES_MAX 65536

// A message on its way. alert NULL: the place is free.
struct place {
    struct alert_post *post;
    struct alert *alert;
    struct http_request request;
    struct loop_timer timer;  // between tries, and after the last
    uint32_t tries;
    struct err error;  // of the newest try
};

struct alert_post {
    struct loop *loop;
    struct http_client *client;
    struct alert_book *book;
    const struct monitor_settings *settings;
    struct alert_post_events events;
    struct loop_deferred again;  // a place became free
    struct place places[PLACES];
};

uint32_t alert_post_pause_s(uint32_t tries)
{
    CHECK(tries >= 1 && tries <= ALERT_POST_TRIES);
    return 1U << (tries - 1);
}

static void finish(struct place *place, bool is_taken)
{
    struct alert_post *post = place->post;
    struct alert *alert = place->alert;
    place->alert = NULL;
    post->events.on_posted(post->events.context, alert, is_taken ? NULL : &place->error);
    alert_book_posted(post->book, alert, is_taken, loop_now_us(post->loop));
    loop_defer(post->loop, &post->again);
}

static void pause_after_try(struct place *place)
{
    loop_timer_set(place->post->loop, &place->timer,
                   alert_post_pause_s(place->tries) * place->post->settings->second_us);
}

static void on_done(struct http_request *request, const struct err *error)
{
    struct place *place = request->context;
    if (error != NULL) {
        place->error = *error;
    } else if (request->status >= 200 && request->status < 300) {
        finish(place, true);
        return;
    } else {
        err_set(&place->error, ERR_TRANSIENT, "status", "the receiver answered with status %u", request->status);
    }
    pause_after_try(place);
}

static void try_once(struct place *place)
{
    struct alert_post *post = place->post;
    struct alert *alert = place->alert;
    // It has become another process's, or may have: it waits, or goes.
    if (!alert_book_may_send(post->book, alert)) {
        place->alert = NULL;
        alert_book_withdrawn(post->book, alert);
        return;
    }
    static const struct http_header headers[] = {{"Content-Type", "application/json", false},
                                                 {"User-Agent", "etl-stream/" ETL_VERSION, false}};
    place->tries++;
    place->request.method = "POST";
    place->request.url = post->settings->alert_url;
    place->request.headers = headers;
    place->request.header_count = sizeof headers / sizeof headers[0];
    place->request.body = (const uint8_t *)place->alert->sending_body;
    place->request.body_size = strlen(place->alert->sending_body);
    place->request.timeout_ms = ALERT_POST_TIMEOUT_MS;
    place->request.ca_file = post->settings->alert_ca_file;
    place->request.answer_bytes_max = ANSWER_BYTES_MAX;
    place->request.on_done = on_done;
    place->request.context = place;
    if (!http_client_start(post->client, &place->request, &place->error))
        pause_after_try(place);
}

static void on_due(struct loop_timer *timer)
{
    struct place *place = timer->context;
    if (place->tries < ALERT_POST_TRIES)
        try_once(place);
    else
        finish(place, false);
}

void alert_post_pump(struct alert_post *post)
{
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &post->places[i];
        if (place->alert != NULL)
            continue;
        place->alert = alert_book_next(post->book, loop_now_us(post->loop));
        if (place->alert == NULL)
            return;
        place->tries = 0;
        err_clear(&place->error);
        try_once(place);
    }
}

static void on_again(struct loop_deferred *deferred)
{
    alert_post_pump(deferred->context);
}

struct alert_post *alert_post_new(struct loop *loop, struct http_client *client, struct alert_book *book,
                                  const struct monitor_settings *settings, const struct alert_post_events *events)
{
    struct alert_post *post = calloc(1, sizeof *post);
    CHECK(post != NULL);
    post->loop = loop;
    post->client = client;
    post->book = book;
    post->settings = settings;
    post->events = *events;
    post->again = (struct loop_deferred){.call = on_again, .context = post};
    for (size_t i = 0; i < PLACES; i++) {
        post->places[i].post = post;
        post->places[i].timer = (struct loop_timer){.on_due = on_due, .context = &post->places[i]};
        http_request_init(&post->places[i].request);
    }
    return post;
}

void alert_post_free(struct alert_post *post)
{
    if (post == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &post->places[i];
        http_client_cancel(post->client, &place->request);
        loop_timer_stop(post->loop, &place->timer);
        if (place->alert != NULL)
            alert_book_posted(post->book, place->alert, false, loop_now_us(post->loop));
        http_request_deinit(&place->request);
    }
    loop_defer_stop(post->loop, &post->again);
    free(post);
}
