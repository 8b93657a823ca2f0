#include "base/log.h"
#include "sinks/snowflake/sf_channel_private.h"

// Requests that Snowflake refuses: 401 and 403, and a table that is not there.

static const uint64_t FORBIDDEN_US = UINT64_C(120) * 1000000;  // a 403 may be the table's own when it lasts so long

// Nothing is lost by a refusal, but all of the table's stream is when its channel is given up. The append that was refused
// was not taken; whether it is sent again, or rows that were accepted before are gone, the committed token after the opening
// tells.
static void wait_out(struct sf_channel *channel, const struct err *error)
{
    const struct log_scope scope = {.table = channel->pipe_name};
    channel->trouble = *error;
    if (channel->state == SF_CHANNEL_SENDING) {
        sf_channel_reopen(channel, error->text, false);
        return;
    }
    log_line(LOG_WARNING, &scope, "channel_open", "%s; trying again", error->text);
    sf_channel_send_later(channel, 0);
}

void sf_channel_renew_token(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    struct sf_auth *auth = channel->shared.auth;
    struct err error;
    if (sf_auth_refused(auth, true, channel->generation)) {
        channel->stats.retries++;
        channel->request_id.retry_count++;
        sf_channel_send(channel);
        return;
    }
    sf_auth_refusal_error(auth, true, outcome->answer.message, &error);
    if (channel->state == SF_CHANNEL_DROPPING || !sf_auth_was_accepted(auth)) {
        sf_channel_fail_or_end_drop(channel, &error);
        return;
    }
    sf_auth_renew_later(auth, channel->generation, outcome->answer.message);
    wait_out(channel, &error);
}

static void forbidden_error(const struct sf_channel *channel, const struct sf_outcome *outcome, struct err *out_error)
{
    err_set(
        out_error, ERR_CONFIG, outcome->answer.code,
        "%s; the table of pipe \"%s\" must exist, and the role needs OWNERSHIP of it (or INSERT and SELECT on it) and "
        "USAGE on database \"%s\" and schema \"%s\"",
        outcome->error.text, channel->pipe_name, channel->database, channel->schema);
}

void sf_channel_not_there(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    struct err error;
    forbidden_error(channel, outcome, &error);
    sf_channel_fail(channel, &error);
}

// It may be everybody's: a proxy, a network policy, a user who is locked. It is the table's own, and not to hold the others
// up, when it lasts while appends of others are accepted. A channel that is not open yet holds its owner's start up: for so
// long only when something stands on it.
void sf_channel_forbidden(struct sf_channel *channel, const struct sf_outcome *outcome)
{
    uint64_t now_us = loop_now_us(channel->shared.loop);
    bool was_open = channel->open_generation > 0 || channel->outlasts_refusals;
    bool is_first = channel->forbidden_from_us == 0;
    struct err error;
    if (is_first)
        channel->forbidden_from_us = now_us;
    bool is_own = !was_open || *channel->shared.accepted_us > channel->forbidden_from_us;
    bool is_lasting = now_us - channel->forbidden_from_us >= FORBIDDEN_US;
    forbidden_error(channel, outcome, &error);
    if ((is_own && is_lasting) || (!was_open && !channel->record.is_known)) {
        sf_channel_fail(channel, &error);
        return;
    }
    if (is_first)  // a token holds what was granted when it was made
        sf_auth_renew(channel->shared.auth, channel->generation);
    wait_out(channel, &error);
}
