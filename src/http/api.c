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
    const json_t *jobs;  // of the service's document
    uint32_t count;
};

static const char *wanted_of(const json_t *jobs, const char *name)
{
    size_t index;
    json_t *job;
    json_array_foreach(jobs, index, job)
    {
        const char *pipeline = json_string_value(json_object_get(job, "pipeline"));
        if (pipeline != NULL && strcmp(pipeline, name) == 0)
            return json_is_true(json_object_get(job, "wanted")) ? "START" : "PAUSE";
    }
    return NULL;
}

static bool is_object(const struct board_text *text)
{
    return text->size >= 2 && text->text[0] == '{' && text->text[text->size - 1] == '}';
}

// is_running: the process that publishes it runs; so `status --json` has it.
static void append_pipeline(struct listing *listing, const struct board_text *text)
{
    const char *wanted = wanted_of(listing->jobs, text->key + strlen("pipeline/"));
    int64_t age_us = listing->now_us > text->published_us ? listing->now_us - text->published_us : 0;
    if (!is_object(text))
        return;
    buf_appendf(&listing->out, "%s{\"is_running\":true,\"age_seconds\":%" PRId64 ".%03" PRId64,
                listing->count++ > 0 ? "," : "", age_us / 1000000, age_us / 1000 % 1000);
    if (wanted != NULL)
        buf_appendf(&listing->out, ",\"wanted\":\"%s\"", wanted);
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

static void answer(struct http_request *request, struct listing *listing)
{
    buf_append_byte(&listing->out, '\0');
    if (!listing->out.failed) {
        http_answer_json_text(request, 200, (char *)listing->out.data);
        return;
    }
    buf_deinit(&listing->out);
    http_answer_error(request, 500, NULL, "out of memory for the answer");
}

static json_t *listing_init(struct http_request *request, struct listing *listing, const struct board_text *service)
{
    json_t *object = service != NULL ? json_loads(service->text, 0, NULL) : NULL;
    *listing =
        (struct listing){.now_us = loop_wall_us(http_loop(request->http)), .jobs = json_object_get(object, "jobs")};
    buf_init(&listing->out, STATUS_BYTES_MAX);
    return object;
}

void api_status(struct http_request *request)
{
    struct board *board = http_board(request->http);
    const struct board_text *service = board_get(board, "service"), *alerts = board_get(board, "alerts");
    struct listing listing;
    json_t *object = listing_init(request, &listing, service);
    buf_append_text(&listing.out, "{\"service\":");
    buf_append_text(&listing.out, service != NULL ? service->text : "{}");
    buf_append_text(&listing.out, ",\"pipelines\":[");
    board_each(board, "pipeline/", on_pipeline, &listing);
    buf_append_text(&listing.out, "],\"sources\":[");
    listing.count = 0;
    board_each(board, "wal/", on_document, &listing);
    buf_append_text(&listing.out, "],\"alerts\":");
    buf_append_text(&listing.out, alerts != NULL && alerts->text[0] == '[' ? alerts->text : "[]");
    buf_append_text(&listing.out, "}");
    json_decref(object);
    board_text_release(service);
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
    const struct board_text *service = board_get(board, "service");
    struct listing listing;
    json_t *object = listing_init(request, &listing, service);
    append_pipeline(&listing, text);
    json_decref(object);
    board_text_release(service);
    board_text_release(text);
    answer(request, &listing);
}
