// A hold of the merge: no merge begins, or exactly one up to a position, until the lease ends or is given back.
//
//   asked, lsn NONE   → answered once no merge is under way: the targets stand still
//   asked, lsn L      → answered once the targets hold exactly the commits below L, and the catalog says so
//   again, same lsn   → a renewal; answered likewise
// An answer is the destination's position as its state table has it: epoch (2 hex digits) and LSN (16). That may be less
// than L, when nothing was to be merged in between.
#include "pipeline/hold.h"

#include <stdio.h>
#include <string.h>

#include "pipeline/pipeline_private.h"

static void answer(const struct pipeline *pipeline, int64_t command_id, bool has_failed, const char *text)
{
    if (command_id != 0)
        pipeline->events.on_hold_answered(pipeline->events.context, command_id, has_failed, text);
}

static void answer_pending(struct pipeline *pipeline, bool has_failed, const char *text)
{
    int64_t command_id = pipeline->hold.command_id;
    pipeline->hold.command_id = 0;
    pipeline->hold.is_saving = pipeline->hold.is_save_wanted = false;
    answer(pipeline, command_id, has_failed, text);
}

bool hold_is_on(const struct pipeline *pipeline)
{
    return pipeline->hold.until_us != 0;
}

// Also with a position that was never merged up to, because nothing was there to merge: what comes later is of later commits.
bool hold_is_settled(const struct pipeline *pipeline)
{
    return pipeline->hold.is_settled || pipeline->hold.is_saving || pipeline->hold.is_save_wanted;
}

lsn_t hold_bound(const struct pipeline *pipeline)
{
    if (!hold_is_on(pipeline))
        return pipeline->committed_lsn;
    return pipeline->hold.lsn <= pipeline->committed_lsn ? pipeline->hold.lsn : LSN_NONE;
}

static bool is_still(const struct pipeline *pipeline)
{
    return pipeline->state == PIPELINE_RUNNING && !pipeline->is_merging && !pipeline->is_merge_resolving &&
           !pipeline->is_search_wanted && !pipeline->is_trying && pipeline->search.phase == MERGE_SEARCH_OFF;
}

// Where the targets stand, as the destination's state has it.
static void answer_position(struct pipeline *pipeline)
{
    char text[SEQ_POSITION_TEXT_SIZE + 1] = {0};
    seq_format_position(pipeline->record.state_epoch, pipeline->record.state_lsn, text);
    pipeline->hold.is_settled = true;
    answer_pending(pipeline, false, text);
}

static void end(struct pipeline *pipeline, const char *why)
{
    if (!hold_is_on(pipeline))
        return;
    answer_pending(pipeline, true, why);
    pipeline->hold = (struct pipeline_hold){.until_us = 0};
    log_line(LOG_INFO, &pipeline->scope, "merge_released", "merging goes on: %s", why);
}

void hold_break(struct pipeline *pipeline, const char *why)
{
    end(pipeline, why);
}

static bool is_refused(struct pipeline *pipeline, const struct pipeline_hold_order *order, char out[ERR_TEXT_SIZE])
{
    const struct pipeline_hold *hold = &pipeline->hold;
    out[0] = '\0';
    if (!pipeline->sink->operations->has_merge)
        (void)snprintf(out, ERR_TEXT_SIZE, "its destination has no merge that could be held");
    else if (hold_is_on(pipeline) && strcmp(hold->holder, order->holder) != 0)
        (void)snprintf(out, ERR_TEXT_SIZE, "another etl-stream verify holds its merge; try again when that has ended");
    else if (evolve_is_barred(pipeline))
        (void)snprintf(out, ERR_TEXT_SIZE, HOLD_FOLLOWING "; try again");
    else if (pipeline->record.state_epoch != pipeline->record.epoch)
        (void)snprintf(out, ERR_TEXT_SIZE,
                       "its tables have not been merged yet, there is nothing to compare: see its status");
    else if (order->lsn != LSN_NONE && pipeline->merged_lsn > order->lsn)
        (void)snprintf(out, ERR_TEXT_SIZE,
                       "the targets are at " LSN_FORMAT " already, beyond " LSN_FORMAT
                       ": the merge was not held (the pipeline was started again, or the lease ended)",
                       LSN_ARGUMENTS(pipeline->merged_lsn), LSN_ARGUMENTS(order->lsn));
    return out[0] != '\0';
}

void pipeline_hold(struct pipeline *pipeline, const struct pipeline_hold_order *order)
{
    char why[ERR_TEXT_SIZE];
    struct pipeline_hold *hold = &pipeline->hold;
    bool is_ours = hold_is_on(pipeline) && strcmp(hold->holder, order->holder) == 0;
    if (order->is_release) {
        if (is_ours)
            end(pipeline, "what held it has ended");
        answer(pipeline, order->command_id, false, "merging goes on");
        return;
    }
    if (is_refused(pipeline, order, why)) {
        answer(pipeline, order->command_id, true, why);
        return;
    }
    if (!is_ours)
        log_line(LOG_INFO, &pipeline->scope, "merge_held", "no merge begins while source and target are compared");
    answer_pending(pipeline, true, "asked again");
    (void)snprintf(hold->holder, sizeof hold->holder, "%s", order->holder);
    hold->until_us = loop_now_us(pipeline->loop) + (uint64_t)order->lease_ms * 1000;
    hold->is_settled = hold->is_settled && is_ours && hold->lsn == order->lsn;
    hold->lsn = order->lsn;
    hold->may_wake = order->may_wake;
    hold->command_id = order->command_id;
    if (hold->is_settled && is_still(pipeline))
        answer_position(pipeline);  // a renewal
    else if (pipeline->state != PIPELINE_ENDED && !pipeline->is_end_wanted)
        loop_timer_set(pipeline->loop, &pipeline->tick, 1);
}

void hold_tick(struct pipeline *pipeline)
{
    struct pipeline_hold *hold = &pipeline->hold;
    if (!hold_is_on(pipeline))
        return;
    if (loop_now_us(pipeline->loop) >= hold->until_us) {
        end(pipeline, "the lease of what held it was not renewed");
        return;
    }
    if (hold->command_id == 0 || hold->is_saving || hold->is_save_wanted || !is_still(pipeline))
        return;
    if (hold->lsn != LSN_NONE &&
        (hold->lsn > pipeline->committed_lsn || (pipeline->merged_lsn < hold->lsn && merge_has_rows(pipeline))))
        return;
    // What became live by the merge is read from the catalog by whoever compares.
    hold->is_save_wanted = true;
    progress_save_soon(pipeline);
}

void hold_saving(struct pipeline *pipeline)
{
    pipeline->hold.is_saving = pipeline->hold.is_save_wanted;
    pipeline->hold.is_save_wanted = false;
}

void hold_saved(struct pipeline *pipeline, bool has_failed)
{
    if (!pipeline->hold.is_saving)
        return;
    pipeline->hold.is_saving = false;
    if (has_failed || !is_still(pipeline))
        return;  // the next tick tries again
    answer_position(pipeline);
}

void hold_deinit(struct pipeline *pipeline)
{
    answer_pending(pipeline, true, "the pipeline ended");
    pipeline->hold = (struct pipeline_hold){.until_us = 0};
}
