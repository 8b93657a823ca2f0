#include "verify/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "catalog/requests.h"
#include "supervisor/hold_command.h"

#define LOOK_INTERVAL_US 200000

struct lease {
    struct wait *wait;
    struct lease_options options;
    char holder[HOLD_HOLDER_SIZE];
    bool is_asked;
    lsn_t lsn;
    int64_t command_id;  // the newest; 0: it is answered
    bool is_answered, is_refused, is_definition_followed;
    char answer[ERR_TEXT_SIZE];
    uint64_t asked_us, held_us;  // when the newest was sent; when the newest that was granted was
    uint64_t since_us;           // when this lsn was asked for
    struct loop_timer timer;
};

static bool send(struct lease *lease, bool is_release, struct err *out_error)
{
    struct pipeline_hold_order order = {.lease_ms = lease->options.lease_ms,
                                        .lsn = is_release ? LSN_NONE : lease->lsn,
                                        .may_wake = lease->options.may_wake,
                                        .is_release = is_release};
    const char *word = NULL;
    int64_t id = 0;
    (void)snprintf(order.holder, sizeof order.holder, "%s", lease->holder);
    char *arguments = hold_command_write(&order, &word);
    bool is_sent =
        catalog_command_add(lease->options.catalog, lease->options.pipeline, word, arguments, &id, out_error);
    free(arguments);
    if (is_sent && !is_release) {
        lease->command_id = id;
        lease->asked_us = loop_fresh_us(lease->wait->loop);
    }
    return is_sent;
}

static void lost(struct lease *lease, const char *why)
{
    if (err_is_set(&lease->wait->stopped))
        return;
    err_set(&lease->wait->stopped, ERR_LOST, "void",
            "the comparison is void, as the targets did not stand still: %s; give the command again", why);
}

static void look(struct lease *lease)
{
    enum catalog_command_state state = CATALOG_COMMAND_WAITING;
    char answer[ERR_TEXT_SIZE];
    struct err ignored;
    // A catalog that is away for a moment is asked again; what counts is the lease's time.
    if (lease->command_id == 0 ||
        !catalog_command_look(lease->options.catalog, lease->command_id, &state, answer, &ignored))
        return;
    if (state != CATALOG_COMMAND_DONE && state != CATALOG_COMMAND_FAILED)
        return;
    lease->command_id = 0;
    if (state == CATALOG_COMMAND_DONE)
        lease->held_us = lease->asked_us;
    lease->is_definition_followed =
        state == CATALOG_COMMAND_FAILED && strncmp(answer, HOLD_FOLLOWING, strlen(HOLD_FOLLOWING)) == 0;
    if (lease->is_answered && state == CATALOG_COMMAND_FAILED)
        lost(lease, answer);
    if (lease->is_answered)
        return;
    lease->is_refused = state == CATALOG_COMMAND_FAILED;
    lease->is_answered = true;
    (void)snprintf(lease->answer, sizeof lease->answer, "%s", answer);
}

static void on_due(struct loop_timer *timer)
{
    struct lease *lease = timer->context;
    uint64_t now_us = loop_fresh_us(lease->wait->loop), lease_us = (uint64_t)lease->options.lease_ms * 1000;
    struct err ignored;
    look(lease);
    if (lease->is_answered && !lease->is_refused && now_us - lease->held_us > lease_us)
        lost(lease, "the running pipeline did not answer in time");
    if (!lease->is_answered && now_us - lease->since_us > (uint64_t)lease->options.patience_ms * 1000) {
        lease->is_answered = lease->is_refused = true;
        (void)snprintf(lease->answer, sizeof lease->answer,
                       "the running pipeline has not stopped its merge within %u s (--timeout); etl-stream status %s "
                       "tells what it does",
                       lease->options.patience_ms / 1000, lease->options.pipeline);
    }
    // One that is under way is waited for a while: another would take its place, and it would never be answered.
    uint64_t pause_us = lease->command_id == 0 ? lease_us / 3 : lease_us * 2 / 3;
    if (!lease->is_refused && now_us - lease->asked_us > pause_us)
        (void)send(lease, false, &ignored);
    loop_timer_set(lease->wait->loop, timer, LOOK_INTERVAL_US);
}

struct lease *lease_new(struct wait *wait, const struct lease_options *options)
{
    struct lease *lease = calloc(1, sizeof *lease);
    uint64_t random[2];
    CHECK(lease != NULL && getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    lease->wait = wait;
    lease->options = *options;
    (void)snprintf(lease->holder, sizeof lease->holder, "%016llx%016llx", (unsigned long long)random[0],
                   (unsigned long long)random[1]);
    lease->timer = (struct loop_timer){.on_due = on_due, .context = lease};
    return lease;
}

void lease_release(struct lease *lease)
{
    struct err ignored;
    loop_timer_stop(lease->wait->loop, &lease->timer);
    if (lease->is_asked)
        (void)send(lease, true, &ignored);  // if that fails the lease ends by itself
    lease->is_asked = lease->is_answered = lease->is_refused = lease->is_definition_followed = false;
    lease->command_id = 0;
}

void lease_free(struct lease *lease)
{
    if (lease == NULL)
        return;
    lease_release(lease);
    free(lease);
}

bool lease_is_definition_followed(const struct lease *lease)
{
    return lease->is_definition_followed;
}

bool lease_ask(struct lease *lease, lsn_t lsn, struct err *out_error)
{
    lease->lsn = lsn;
    lease->is_answered = lease->is_refused = false;
    lease->since_us = loop_fresh_us(lease->wait->loop);
    if (!send(lease, false, out_error))
        return false;
    lease->is_asked = true;
    loop_timer_set(lease->wait->loop, &lease->timer, LOOK_INTERVAL_US);
    return true;
}

bool lease_await(struct lease *lease, char out_position[19], struct err *out_error)
{
    if (!wait_until(lease->wait, &lease->is_answered, out_error))
        return false;
    if (lease->is_refused)
        return err_set(out_error, ERR_CONFIG, "hold", "pipeline %s: %s", lease->options.pipeline, lease->answer);
    (void)snprintf(out_position, 19, "%.18s", lease->answer);
    return true;
}
