#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trap.h"
#include "sinks/snowflake/sf_channel_private.h"

// Opening a channel bumps its sequencer: every continuation token of an earlier opening is stale from then on. The answer
// tells the committed token, from which everything follows (see sf_channel.h).

enum { MISSING_COUNT_MAX = 6, UNHEALTHY_COUNT_MAX = 5 };
static const uint64_t UNCOMMITTED_WAIT_US = UINT64_C(120) * 1000000;
static const uint64_t STALE_AGAIN_US = UINT64_C(60) * 1000000;

static void begin(struct sf_channel *channel, enum sf_channel_state state)
{
    channel->state = state;
    channel->is_forced = false;
    channel->uncommitted_from_us = 0;
    channel->is_reopen_wanted = false;
    sf_request_id_new(&channel->request_id);
}

void sf_channel_open(struct sf_channel *channel)
{
    CHECK(channel->state == SF_CHANNEL_CLOSED);
    begin(channel, SF_CHANNEL_OPENING);
    // A channel that is there already must not be opened with a token of ours: what that does to its own is not documented.
    channel->is_first_look = !channel->record.is_known && channel->initial.text[0] != '\0';
    channel->is_new = false;
    sf_channel_send(channel);
}

void sf_channel_reopen(struct sf_channel *channel, const char *why, bool is_at_once)
{
    const struct log_scope scope = {.table = channel->pipe_name};
    log_line(LOG_WARNING, &scope, "channel_reopened", "opening channel %s again: %s", channel->name, why);
    if (why != channel->reopen_reason)
        (void)snprintf(channel->reopen_reason, sizeof channel->reopen_reason, "%s", why);
    loop_timer_stop(channel->shared.loop, &channel->retry_timer);
    loop_timer_stop(channel->shared.loop, &channel->rate_timer);
    begin(channel, SF_CHANNEL_REOPENING);
    channel->stats.reopens++;
    if (is_at_once)
        sf_channel_send(channel);
    else
        sf_channel_send_later(channel, 0);
}

// Another client has opened the channel. Once, that may be a predecessor of ours at its end; twice, it lives.
void sf_channel_on_stale(struct sf_channel *channel, const char *why)
{
    uint64_t now_us = loop_now_us(channel->shared.loop);
    if (channel->stale_us != 0 && now_us - channel->stale_us < STALE_AGAIN_US) {
        struct err error;
        err_set(&error, ERR_FENCED, "stale_token",
                "another program writes to channel %s (its continuation token was stale twice within a minute); stop "
                "it, or "
                "this pipeline: %s",
                channel->name, why);
        sf_channel_fail(channel, &error);
        return;
    }
    channel->stale_us = now_us;
    channel->is_stall_probe = false;
    sf_channel_reopen(channel, why, true);
}

// ---- requests

static void append_json_text(struct buf *out, const char *text)
{
    buf_append_byte(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, '"');
}

static void send_look(struct sf_channel *channel, struct sf_headers *headers)
{
    sf_channel_append_path(channel, "/v2/streaming");
    buf_append_text(&channel->url, ":bulk-channel-status?");
    sf_append_request_id(&channel->url, &channel->request_id);
    buf_append_text(&channel->body, "{\"channel_names\":[");
    append_json_text(&channel->body, channel->name);
    buf_append_text(&channel->body, "]}");
    // 404: it does not exist, which is a good answer.
    sf_channel_start(channel, NULL, "POST", headers, &channel->body);
}

void sf_channel_send_open(struct sf_channel *channel)
{
    struct buf *body = &channel->body;
    struct sf_headers headers;
    sf_headers_begin(&headers, sf_auth_ingest_bearer(channel->shared.auth), true);
    sf_headers_add(&headers, "Content-Type", "application/json");
    buf_reset(body);
    if (channel->is_first_look) {
        send_look(channel, &headers);
        return;
    }
    sf_channel_append_path(channel, "/v2/streaming");
    buf_append_text(&channel->url, "/channels/");
    http_append_segment(&channel->url, channel->name);
    buf_append_byte(&channel->url, '?');
    sf_append_request_id(&channel->url, &channel->request_id);
    buf_appendf(body, "{\"fail_on_uncommitted_rows\":%s", channel->is_forced ? "false" : "true");
    if (channel->is_new) {
        buf_append_text(body, ",\"offset_token\":");
        append_json_text(body, channel->initial.text);
    }
    buf_append_byte(body, '}');
    // 409 tells a probe that rows are still on their way.
    sf_channel_start(channel, channel->is_stall_probe ? NULL : "open", "PUT", &headers, body);
}

// ---- the answer

// Rows that were accepted or are on their way are not in the table, and no channel of Snowflake's holds them any more.
static void rewind_rows(struct sf_channel *channel)
{
    struct err why;
    err_set(&why, ERR_TRANSIENT, "rewind",
            "rows of channel %s after offset token %s were accepted by Snowflake but not committed (%s); they are read "
            "again",
            channel->name, channel->committed.text[0] == '\0' ? "(none)" : channel->committed.text,
            channel->reopen_reason);
    sf_channel_drop_rows(channel);
    channel->high = channel->committed;
    channel->is_rewinding = true;
    channel->events.on_rewind(channel->events.context, &why);
}

// False: the channel has failed. record is what the catalog kept, or what Snowflake told last.
static bool check_identity(struct sf_channel *channel, const struct sf_status *status)
{
    const struct sf_channel_record *record = &channel->record;
    struct err error;
    if (!record->is_known)
        return true;
    if (status->created_on_ms != 0 && record->created_on_ms != 0 && status->created_on_ms != record->created_on_ms)
        err_set(
            &error, ERR_LOST, "channel_recreated",
            "channel %s of \"%s\" is another one than before (created at %lld ms, not %lld ms): rows may be gone from "
            "the landing table",
            channel->name, channel->pipe_name, (long long)status->created_on_ms, (long long)record->created_on_ms);
    else if (strcmp(status->committed, record->committed.text) < 0)
        err_set(&error, ERR_LOST, "token_went_back",
                "channel %s of \"%s\" had committed offset token %s and now has %s: rows may be gone from the landing "
                "table",
                channel->name, channel->pipe_name, record->committed.text,
                status->committed[0] == '\0' ? "none" : status->committed);
    else if (channel->state == SF_CHANNEL_OPENING && trap_is_set("errors_count_since_kept"))
        return true;
    else
        return !sf_channel_has_new_errors(channel, status);
    sf_channel_fail(channel, &error);
    return false;
}

static void on_first_open(struct sf_channel *channel)
{
    sf_channel_commit_to(channel, channel->initial.text);
    channel->high = channel->committed;
    channel->events.on_opened(channel->events.context);
}

static void on_reopened(struct sf_channel *channel, bool is_moved)
{
    struct sf_append *append = &channel->append;
    if (channel->accepted.count > 0) {
        rewind_rows(channel);
        return;
    }
    if (append->is_kept && sf_token_compare(&append->first, &channel->committed) <= 0) {
        if (sf_token_compare(&append->last, &channel->committed) > 0) {
            rewind_rows(channel);  // in part committed: only its rows' own tokens can tell which
            return;
        }
        channel->stats.appends++;
        channel->stats.raw_bytes += append->raw_bytes;
        channel->stats.wire_bytes += append->wire.size;
        append_meter_note(channel->meter, append->rows, append->raw_bytes, 0);
        sf_append_drop(channel);
        sf_channel_note_room(channel);
        sf_channel_recovered(channel);
    }
    if (channel->batch.cut_count > 0 && sf_token_compare(&channel->batch.cuts[0].first, &channel->committed) <= 0) {
        rewind_rows(channel);  // somebody else has written what is in the batch
        return;
    }
    sf_channel_pump(channel);
    if (is_moved)
        channel->events.on_committed(channel->events.context);
}

static void on_opened(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    const json_t *json = outcome->answer.json;
    const char *continuation = json_string_value(json_object_get(json, "next_continuation_token"));
    struct sf_status status;
    if (continuation == NULL || !sf_status_parse(json_object_get(json, "channel_status"), &status)) {
        const struct log_scope scope = {.table = channel->pipe_name};
        err_set(&channel->trouble, ERR_TRANSIENT, "", "the answer to opening channel %s cannot be read", channel->name);
        log_line(LOG_WARNING, &scope, "channel_answer", "%s", channel->trouble.text);
        sf_channel_send_later(channel, 0);
        return;
    }
    if (!check_identity(channel, &status))
        return;
    if (!sf_status_is_healthy(&status)) {
        err_set(&channel->trouble, ERR_CONFIG, status.code, "channel %s opens in status %s", channel->name,
                status.code);
        if (++channel->unhealthy_count <= UNHEALTHY_COUNT_MAX)
            sf_channel_send_later(channel, 0);
        else
            sf_channel_fail(channel, &channel->trouble);
        return;
    }
    bool was_opening = channel->state == SF_CHANNEL_OPENING;
    buf_reset(&channel->continuation);
    buf_append_text(&channel->continuation, continuation);
    channel->open_generation++;
    channel->state = SF_CHANNEL_READY;
    channel->is_stall_probe = false;
    if (!channel->append.is_kept && sf_batch_ready(&channel->batch) == 0) {  // else an append will tell
        channel->forbidden_from_us = 0;
        err_clear(&channel->trouble);
    }
    sf_channel_take_status(channel, &status);
    bool is_moved = sf_channel_commit_to(channel, status.committed);
    if (was_opening)
        on_first_open(channel);
    else
        on_reopened(channel, is_moved);
}

static void on_looked(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    const json_t *statuses = json_object_get(outcome->answer.json, "channel_statuses");
    channel->is_first_look = false;
    channel->is_new = json_object_get(statuses, channel->name) == NULL;
    sf_request_id_new(&channel->request_id);
    sf_channel_send(channel);
}

static void on_uncommitted(struct sf_channel *channel)
{
    uint64_t now_us = loop_now_us(channel->shared.loop);
    if (channel->is_stall_probe) {
        // It was not opened, so the continuation token is still good; what was accepted is slow, but there.
        channel->is_stall_probe = false;
        channel->progress_us = now_us;
        channel->state = SF_CHANNEL_READY;
        if (channel->pipe != NULL)
            sf_pipe_wake(channel->pipe);  // it may have found nobody to ask for meanwhile
        sf_channel_pump(channel);
        return;
    }
    if (channel->uncommitted_from_us == 0)
        channel->uncommitted_from_us = now_us;
    if (now_us - channel->uncommitted_from_us >= UNCOMMITTED_WAIT_US && !channel->is_forced) {
        const struct log_scope scope = {.table = channel->pipe_name};
        log_line(
            LOG_WARNING, &scope, "channel_forced",
            "channel %s has had uncommitted rows for two minutes: it is opened without them, and they are sent again",
            channel->name);
        channel->is_forced = true;
    }
    sf_channel_send_later(channel, 0);
}

static void on_open_refused(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    if (channel->is_first_look) {
        // Snowflake makes the default pipe at the first opening; whatever else is wrong, the opening will tell.
        on_looked(channel, outcome);
    } else if (outcome->answer.signal == SF_SIGNAL_FORBIDDEN) {
        sf_channel_forbidden(channel, outcome);
    } else if (outcome->answer.signal == SF_SIGNAL_MISSING) {
        if (++channel->missing_count > MISSING_COUNT_MAX)
            sf_channel_not_there(channel, outcome);
        else
            sf_channel_send_later(channel, 0);
    } else if (channel->is_new && strstr(outcome->answer.code, "OFFSET_TOKEN") != NULL) {
        channel->is_new = false;  // made by somebody between the look and now
        sf_channel_send_later(channel, 0);
    } else {
        struct err error = outcome->error;
        error.kind = ERR_CONFIG;
        sf_channel_fail(channel, &error);
    }
}

void sf_channel_on_open_answer(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    switch (outcome->answer.signal) {
    case SF_SIGNAL_DONE:
        if (channel->is_first_look)
            on_looked(channel, outcome);
        else
            on_opened(channel, outcome);
        return;
    case SF_SIGNAL_UNCOMMITTED: on_uncommitted(channel); return;
    case SF_SIGNAL_CONFLICT:
        // Only that two openings met is known to be something else.
        if (strstr(outcome->answer.code, "IN_PROGRESS") != NULL)
            break;
        on_uncommitted(channel);
        return;
    case SF_SIGNAL_UNAUTHORIZED: sf_channel_renew_token(channel, outcome); return;
    case SF_SIGNAL_FORBIDDEN:
    case SF_SIGNAL_MISSING:
    case SF_SIGNAL_REFUSED: on_open_refused(channel, outcome); return;
    case SF_SIGNAL_MOVED: sf_auth_host_moved(channel->shared.auth); break;
    case SF_SIGNAL_TRANSIENT:
        // A host that cannot be trusted or found is the operator's, unless it was there before.
        if (outcome->transport == ERR_CONFIG && channel->state == SF_CHANNEL_OPENING) {
            struct err error = outcome->error;
            error.kind = ERR_CONFIG;
            sf_channel_fail(channel, &error);
            return;
        }
        break;
    case SF_SIGNAL_THROTTLED:
    case SF_SIGNAL_STALE: break;
    }
    const struct log_scope scope = {.table = channel->pipe_name};
    log_line(LOG_WARNING, &scope, "channel_open", "%s; trying again", outcome->error.text);
    sf_channel_send_later(channel, channel->request.retry_after_s);
}
