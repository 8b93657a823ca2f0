// Changes: start, pause, resync. They take the same way as from a command line, through the catalog, so that whichever process
// runs the pipeline does it:
//
//   POST ── asked ──► catalog: what is wanted, and a command ──► WATCHING (start, pause): the board, until the pipeline says
//                     what it does │                                 so; FOLLOWING (resync): the command, until it is answered
//                                  └ refused: the error              └ at the deadline: it goes on by itself
//
// The connection is suspended meanwhile. 202 {"done": true, "pipeline": …, "state": …, "message": …}, done false when it was
// not seen to be done in time, or failed (then with error and remedy of the pipeline).
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "catalog/requests.h"
#include "http/http_private.h"
#include "http/routes.h"
#include "io/json_put.h"

#define DEADLINE_US 10000000
#define LOOK_INTERVAL_US 100000
#define ASK_INTERVAL_US 250000

enum control_step {
    CONTROL_ASKED,     // ended by the catalog's answer
    CONTROL_WATCHING,  // ended by what the pipeline publishes, or the deadline
    CONTROL_FOLLOWING  // ended by the command's answer, or the deadline
};

struct control {
    struct control *next, *previous;
    struct http *http;
    struct http_request *request;  // NULL: answered, but the catalog has still something to say to us
    enum control_step step;
    const char *word;  // static
    char pipeline[HTTP_NAME_SIZE];
    bool is_asking;  // a request of ours is with the catalog
    bool was_so;     // nothing had to change
    int64_t command_id;
    uint64_t version;  // what is older on the board was said before
    uint64_t deadline_us;
    struct loop_timer timer;
};

static void control_free(struct control *control)
{
    loop_timer_stop(control->http->loop, &control->timer);
    if (control->previous != NULL)
        control->previous->next = control->next;
    else
        control->http->controls = control->next;
    if (control->next != NULL)
        control->next->previous = control->previous;
    free(control);
}

// --- the pipeline's word -----------------------------------------------------------------------------------------

static json_t *status_of(const struct control *control, uint64_t *out_version)
{
    char key[16 + HTTP_NAME_SIZE];
    (void)snprintf(key, sizeof key, "pipeline/%s", control->pipeline);
    const struct board_text *text = board_get(control->http->board, key);
    json_t *object = text != NULL ? json_loads(text->text, 0, NULL) : NULL;
    *out_version = text != NULL ? text->version : 0;
    board_text_release(text);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void copy_text(json_t *to, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (json_is_string(value))
        json_object_set(to, key, value);
}

// Answers, and frees the control once the catalog has nothing more to say to it.
static void finish(struct control *control, bool is_done, const json_t *status, const char *message)
{
    struct http_request *request = control->request;
    json_t *body = json_object();
    CHECK(body != NULL);
    json_object_set_new(body, "done", json_boolean(is_done));
    json_object_set_new(body, "pipeline", json_string(control->pipeline));
    copy_text(body, status, "state");
    json_put_text(body, "message", message);
    if (!is_done) {
        copy_text(body, status, "error");
        copy_text(body, status, "remedy");
    }
    control->request = NULL;
    loop_timer_stop(control->http->loop, &control->timer);
    http_answer_json(request, 202, body);
    if (!control->is_asking)
        control_free(control);
}

static void refuse(struct control *control, unsigned status, const char *allowed, const char *error)
{
    struct http_request *request = control->request;
    control->request = NULL;
    loop_timer_stop(control->http->loop, &control->timer);
    http_answer_error(request, status, allowed, "%s", error);
    if (!control->is_asking)
        control_free(control);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static const char *const running_states[] = {"running", NULL};
static const char *const paused_states[] = {"paused", NULL};
static const char *const failed_states[] = {"failed", "fenced", "waiting", NULL};

static void watch(struct control *control)
{
    uint64_t version = 0;
    bool is_start = strcmp(control->word, "start") == 0;
    json_t *status = status_of(control, &version);
    const char *state = text_of(status, "state");
    bool is_new = version > control->version, is_late = loop_now_us(control->http->loop) >= control->deadline_us;
    if (status == NULL)
        refuse(control, 404, NULL, "the pipeline was removed meanwhile");
    else if (strcmp(state, "claimed_elsewhere") == 0)
        finish(control, false, status, "another process runs the pipeline, and does it; its status says when");
    // After a change only what it says from now on counts; when nothing had to change, what it said before as well.
    else if ((is_new || control->was_so) && is_one_of(state, is_start ? running_states : paused_states))
        finish(control, true, status, is_start ? "it runs" : "it is paused");
    else if (is_new && is_start && is_one_of(state, failed_states) && *text_of(status, "error") != '\0')
        finish(control, false, status, "it does not run, and is tried again");
    else if (is_late)
        finish(control, false, status, "it was not seen to be done yet, and goes on by itself");
    else
        loop_timer_set(control->http->loop, &control->timer, LOOK_INTERVAL_US);
    json_decref(status);
}

// --- the catalog -------------------------------------------------------------------------------------------------

static bool ask(struct control *control, struct catalog_request *take_request)
{
    take_request->reply_to = control->http->answers;
    take_request->context = control;
    control->is_asking = control->http->catalog != NULL && catalog_ask(control->http->catalog, take_request);
    if (!control->is_asking)
        catalog_request_free(take_request);
    return control->is_asking;
}

static void follow(struct control *control)
{
    struct catalog_request *request = catalog_request_new(CATALOG_ASK_COMMAND, control->pipeline);
    request->command_id = control->command_id;
    (void)ask(control, request);  // too many are under way: the timer tries again
    loop_timer_set(control->http->loop, &control->timer, ASK_INTERVAL_US);
}

static void on_timer(struct loop_timer *timer)
{
    struct control *control = timer->context;
    uint64_t version = 0;
    bool is_late = loop_now_us(control->http->loop) >= control->deadline_us;
    if (control->step == CONTROL_WATCHING) {
        watch(control);
    } else if (control->step == CONTROL_ASKED || is_late) {
        // The timer of CONTROL_ASKED is the deadline itself.
        json_t *status = status_of(control, &version);
        if (control->step == CONTROL_ASKED)
            refuse(control, 503, "try again when /health says that the database is healthy",
                   "the catalog did not answer in time; whether the command was taken is not known");
        else
            finish(control, false, status, "it was not seen to be done yet; it will be when the pipeline runs");
        json_decref(status);
    } else if (control->is_asking) {
        loop_timer_set(control->http->loop, &control->timer, ASK_INTERVAL_US);
    } else {
        follow(control);
    }
}

static void asked(struct control *control, const struct catalog_request *answer)
{
    if (err_is_set(&answer->error)) {
        bool is_missing = answer->error.kind == ERR_CONFIG;
        refuse(control, is_missing ? 404 : 503, is_missing ? "/api/v1/status lists the pipelines" : "try again later",
               answer->error.text);
        return;
    }
    control->command_id = answer->command_id;
    loop_timer_stop(control->http->loop, &control->timer);
    if (strcmp(control->word, "resync") == 0) {
        control->step = CONTROL_FOLLOWING;
        follow(control);
        return;
    }
    control->was_so = answer->was_so;
    control->step = CONTROL_WATCHING;
    watch(control);
}

static void followed(struct control *control, const struct catalog_request *answer)
{
    uint64_t version = 0;
    json_t *status = status_of(control, &version);
    if (err_is_set(&answer->error) && answer->error.kind != ERR_TRANSIENT)
        refuse(control, 503, NULL, answer->error.text);
    else if (!err_is_set(&answer->error) && answer->command_state == CATALOG_COMMAND_DONE)
        finish(control, true, status, answer->text);
    else if (!err_is_set(&answer->error) && answer->command_state == CATALOG_COMMAND_FAILED)
        refuse(control, 409, "see the pipeline's status", answer->text);
    json_decref(status);
}

void control_answered(struct http *http, void *take_message)
{
    struct catalog_request *answer = take_message;
    struct control *control = answer->context;
    CHECK(control->http == http && control->is_asking);
    control->is_asking = false;
    if (control->request == NULL)
        control_free(control);  // it was answered before
    else if (answer->kind == CATALOG_ASK_CONTROL)
        asked(control, answer);
    else
        followed(control, answer);
    catalog_request_free(answer);
}

static void on_cancel(struct http_request *request)
{
    refuse(request->context, 503, NULL, "the service ends; whether the command was taken is not known");
}

void control_cancel_all(struct http *http)
{
    while (http->controls != NULL) {
        struct control *control = http->controls;
        control->is_asking = false;  // what the catalog still says is discarded
        if (control->request != NULL)
            control->request->on_cancel(control->request);
        else
            control_free(control);
    }
}

// --- requests ----------------------------------------------------------------------------------------------------

static bool has_table(const json_t *status, const char *name)
{
    size_t index;
    json_t *table;
    json_array_foreach(json_object_get(status, "tables"), index, table)
    {
        char full[2 * CATALOG_NAME_SIZE];
        const char *schema = text_of(table, "schema"), *short_name = text_of(table, "table");
        (void)snprintf(full, sizeof full, "%s.%s", schema, short_name);
        if (strcmp(name, full) == 0 || strcmp(name, short_name) == 0)
            return true;
    }
    return false;
}

// The body: {} or nothing, and for a resync {"tables": [NAME, …]}. NULL: it was answered.
static char *arguments_read(struct http_request *request, const json_t *status, bool takes_tables)
{
    static const char allowed[] = "{\"tables\": [\"SCHEMA.TABLE\", …]}, or {} for all";
    json_error_t where;
    size_t index;
    json_t *name;
    json_t *body = request->body.size > 0 ? json_loadb((const char *)request->body.data, request->body.size, 0, &where)
                                          : json_object();
    json_t *tables = json_object_get(body, "tables");
    size_t known_count = takes_tables && tables != NULL ? 1 : 0;
    if (!json_is_object(body) || json_object_size(body) != known_count || (tables != NULL && !json_is_array(tables))) {
        json_decref(body);
        http_answer_error(request, 400, takes_tables ? allowed : "{}", "the content is not what is allowed");
        return NULL;
    }
    json_array_foreach(tables, index, name)
    {
        if (json_is_string(name) && has_table(status, json_string_value(name)))
            continue;
        http_answer_error(request, 400, allowed, "the pipeline has no table %s%s%s", json_is_string(name) ? "\"" : "",
                          json_is_string(name) ? json_string_value(name) : "of that kind of name",
                          json_is_string(name) ? "\"" : "");
        json_decref(body);
        return NULL;
    }
    char *text = json_dumps(body, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(body);
    return text;
}

static struct control *control_new(struct http_request *request, const char *word, uint64_t version)
{
    struct control *control = calloc(1, sizeof *control);
    CHECK(control != NULL);
    control->http = request->http;
    control->request = request;
    control->word = word;
    control->version = version;
    (void)snprintf(control->pipeline, sizeof control->pipeline, "%s", request->name);
    control->timer = (struct loop_timer){.on_due = on_timer, .context = control};
    control->deadline_us = loop_now_us(request->http->loop) + DEADLINE_US;
    control->next = request->http->controls;
    if (control->next != NULL)
        control->next->previous = control;
    request->http->controls = control;
    return control;
}

static void change(struct http_request *request, const char *word)
{
    char key[16 + HTTP_NAME_SIZE];
    (void)snprintf(key, sizeof key, "pipeline/%s", request->name);
    const struct board_text *text = board_get(request->http->board, key);
    json_t *status = text != NULL ? json_loads(text->text, 0, NULL) : NULL;
    bool is_there = text != NULL, is_alone = json_is_false(json_object_get(status, "takes_commands"));
    board_text_release(text);
    uint64_t version = board_version(request->http->board);
    char *arguments = NULL;
    if (request->http->is_ending)
        http_answer_error(request, 503, NULL, "the service ends");
    else if (!is_there)
        http_answer_error(request, 404, "/api/v1/status lists them", "there is no pipeline \"%s\"", request->name);
    else if (is_alone && strcmp(word, "resync") != 0)
        http_answer_error(request, 409, "end its process, or run it by a service (etl-stream pipeline add)",
                          "what runs by run --from --to ends with its process: there is nothing to start or pause");
    else
        arguments = arguments_read(request, status, strcmp(word, "resync") == 0);
    json_decref(status);
    if (arguments == NULL)
        return;
    struct control *control = control_new(request, word, version);
    struct catalog_request *asked_for = catalog_request_new(CATALOG_ASK_CONTROL, request->name);
    (void)snprintf(asked_for->word, sizeof asked_for->word, "%s", word);
    asked_for->arguments = arguments;
    if (!ask(control, asked_for)) {
        refuse(control, 503, "try again later", "too many requests to the catalog are under way");
        return;
    }
    request->context = control;
    request->on_cancel = on_cancel;
    loop_timer_set(request->http->loop, &control->timer, DEADLINE_US);
    http_wait(request);
}

void api_start(struct http_request *request)
{
    change(request, "start");
}

void api_pause(struct http_request *request)
{
    change(request, "pause");
}

void api_resync(struct http_request *request)
{
    change(request, "resync");
}
