// What /api/v1 tells: the board's documents, put together. They are JSON already and are not read again; what a reader of one
// snapshot wants beside it (how old it is, what is wanted of it) is written in front of its members.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/routes.h"

#define STATUS_BYTES_MAX (256U << 20)

struct listing {
    struct buf out;
    int64_t now_us;
    json_t *wanted;  // pipeline → whether it is
    uint32_t count;
};

static bool is_object(const struct board_text *text)
{
    return text->size >= 2 && text->text[0] == '{' && text->text[text->size - 1] == '}';
}

// is_running: the process that publishes it runs; so `status --json` has it.
static void append_pipeline(struct listing *listing, const struct board_text *text)
{
    const json_t *wanted = json_object_get(listing->wanted, text->key + strlen("pipeline/"));
    int64_t age_us = listing->now_us > text->published_us ? listing->now_us - text->published_us : 0;
    if (!is_object(text))
        return;
    buf_appendf(&listing->out, "%s{\"is_running\":true,\"age_seconds\":%" PRId64 ".%03" PRId64,
                listing->count++ > 0 ? "," : "", age_us / 1000000, age_us / 1000 % 1000);
    if (wanted != NULL)
        buf_appendf(&listing->out, ",\"wanted\":\"%s\"", json_is_true(wanted) ? "START" : "PAUSE");
    if (text->text[1] != '}')
        buf_append_text(&listing->out, ",");
    buf_append(&listing->out, text->text + 1, text->size - 1);
}

static void on_pipeline(void *context, const struct board_text *text)
{
    append_pipeline(context, text);
}

static void on_document(void *context, const struct board_text *text)
{
    struct listing *listing = context;
    if (!is_object(text))
        return;
    buf_append_text(&listing->out, listing->count++ > 0 ? "," : "");
    buf_append(&listing->out, text->text, text->size);
}

static void listing_init(struct http_request *request, struct listing *listing, const struct board_text *jobs)
{
    size_t index;
    json_t *job, *array = jobs != NULL ? json_loads(jobs->text, 0, NULL) : NULL;
    *listing = (struct listing){.now_us = loop_wall_us(http_loop(request->http)), .wanted = json_object()};
    CHECK(listing->wanted != NULL);
    buf_init(&listing->out, STATUS_BYTES_MAX);
    json_array_foreach(array, index, job)
    {
        const char *name = json_string_value(json_object_get(job, "pipeline"));
        if (name != NULL)
            json_object_set(listing->wanted, name, json_object_get(job, "wanted"));
    }
    json_decref(array);
}

static void answer(struct http_request *request, struct listing *listing)
{
    json_decref(listing->wanted);
    buf_append_byte(&listing->out, '\0');
    if (!listing->out.failed) {
        http_answer_json_text(request, 200, (char *)listing->out.data);
        return;
    }
    buf_deinit(&listing->out);
    http_answer_error(request, 500, NULL, "out of memory for the answer");
}

// The service's own document, with its jobs.
static void append_service(struct listing *listing, const struct board_text *service, const struct board_text *jobs)
{
    bool is_there = service != NULL && is_object(service) && service->size > 2;
    buf_append_text(&listing->out, "{");
    if (is_there)
        buf_append(&listing->out, service->text + 1, service->size - 2);
    if (jobs != NULL && jobs->text[0] == '[')
        buf_appendf(&listing->out, "%s\"jobs\":", is_there ? "," : "");
    if (jobs != NULL && jobs->text[0] == '[')
        buf_append(&listing->out, jobs->text, jobs->size);
    buf_append_text(&listing->out, "}");
}

void api_status(struct http_request *request)
{
    struct board *board = http_board(request->http);
    const struct board_text *service = board_get(board, "service"), *jobs = board_get(board, "jobs");
    const struct board_text *alerts = board_get(board, "alerts");
    struct listing listing;
    listing_init(request, &listing, jobs);
    buf_appendf(&listing.out,
                "{\"takes_changes\":%s,\"service\":", http_takes_changes(request->http) ? "true" : "false");
    append_service(&listing, service, jobs);
    buf_append_text(&listing.out, ",\"pipelines\":[");
    board_each(board, "pipeline/", on_pipeline, &listing);
    buf_append_text(&listing.out, "],\"sources\":[");
    listing.count = 0;
    board_each(board, "wal/", on_document, &listing);
    buf_append_text(&listing.out, "],\"alerts\":");
    buf_append_text(&listing.out, alerts != NULL && alerts->text[0] == '[' ? alerts->text : "[]");
    buf_append_text(&listing.out, "}");
    board_text_release(service);
    board_text_release(jobs);
    board_text_release(alerts);
    answer(request, &listing);
}

void api_pipeline(struct http_request *request)
{
    char key[16 + HTTP_NAME_SIZE];
    struct board *board = http_board(request->http);
    (void)snprintf(key, sizeof key, "pipeline/%s", request->name);
    const struct board_text *text = board_get(board, key);
    if (text == NULL) {
        http_answer_error(request, 404, "/api/v1/status lists them", "there is no pipeline \"%s\"", request->name);
        return;
    }
    const struct board_text *jobs = board_get(board, "jobs");
    struct listing listing;
    listing_init(request, &listing, jobs);
    append_pipeline(&listing, text);
    board_text_release(jobs);
    board_text_release(text);
    answer(request, &listing);
}

void api_history(struct http_request *request)
{
    char key[16 + HTTP_NAME_SIZE];
    (void)snprintf(key, sizeof key, "pipeline/%s", request->name);
    // One that has just come has no point yet, and is known all the same.
    const struct board_text *text = board_get(http_board(request->http), key);
    if (text == NULL) {
        http_answer_error(request, 404, "/api/v1/status lists them", "there is no pipeline \"%s\"", request->name);
        return;
    }
    board_text_release(text);
    char *json = history_json(http_history(request->http), request->name, loop_wall_us(http_loop(request->http)));
    if (json == NULL)
        http_answer_error(request, 500, NULL, "out of memory for the answer");
    else
        http_answer_json_text(request, 200, json);
}
