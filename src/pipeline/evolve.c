// A definition that changes while its table goes on: the rows that are there are kept (change_plan.h says when).
//
// A change shows twice: in the catalog, when somebody looks, and in the stream, as a description before the first row under the new
// definition. Rows above that description are of the old definition, rows behind it of the new one. In between, nothing may be on
// its way: the stream is barred there, as a whole, and goes on when the table has its new form.
//
//   noticed ── by a look: the stream has passed the look, between two transactions ──┐
//           └─ by a description: at once, and a look tells what it is about ─────────┴─► barred
//   barred  ── all that was read is committed, and merged where older rows show a default, and the floor is durable ──► switching
//   switching ── landing and target altered, channels open under the new definition, all of it in the catalog ──► over
//
// Why it is exact:
// - ALTER TABLE waits for every transaction that wrote to the table. So all rows of the old definition were committed before it,
//   and come before the description. A transaction that changes a definition amid its own rows is the exception: its table is
//   copied anew.
// - The description names columns and types, the catalog has their numbers and defaults. Nothing is done unless both say the same.
// - The marks that the catalog of ours keeps are the old ones until the tables are altered. So whatever ends before (a crash, a
//   failure) finds them different at the next start, and the table is copied anew or the change followed again from here.
// - The floor is at the barrier before anything is altered: rows of the old definition are never read again afterwards.
// - The default of a new column gets into the target by the same statement as the column (ADD COLUMN … DEFAULT), when everything
//   below the barrier is merged: readers see the targets at the barrier without the column, then with it.
// - Rows that are landed under a column's former name, or with an original of a column that leaves, are merged before it goes: the
//   merge never looks for that name again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/change_plan.h"
#include "pipeline/marks.h"
#include "pipeline/pipeline_private.h"

#define PREPARE_TRIES_MAX 20
#define UNSEEN_LOOKS_MAX 20  // a second apart, as the stream waits

enum change_phase {
    CHANGE_NOTICED,   // ended by the stream's passing seen_lsn, or by a description in it
    CHANGE_BARRED,    // ended when all is committed, merged and saved that comes before
    CHANGE_SWITCHING  // ended by join_channels_saved
};

struct pipeline_change {
    enum change_phase phase;
    struct table
        *definition;  // owned; NULL: the look's answer is awaited, or it is the table's own already (SWITCHING)
    char *marks;      // of the look that definition belongs to; NULL: no look yet
    lsn_t seen_lsn;   // of that look
    struct change_plan plan;
    unsigned prepare_tries;
    bool is_prepare_due;    // it failed for a reason that may pass
    bool is_told;           // a description in the stream brought it …
    uint64_t told_look;     // … when this was the newest look, which may be older
    uint32_t told_xid;      // the transaction that it belongs to
    unsigned unseen_looks;  // later looks that did not see that one yet
};

static struct log_scope scope_of(const struct pipeline_table *table)
{
    return (struct log_scope){table->pipeline->options.name, table->table->table_name};
}

static void copy_instead(struct pipeline_table *table, const struct err *why)
{
    pipeline_resync_table(table, why);  // forgets the change
}

void evolve_give_up(struct pipeline_table *table, const char *text)
{
    struct err why = {0};
    if (table->change == NULL)
        return;
    err_set(&why, ERR_LOST, "schema_changed", "its definition changed, and cannot be followed in place: %s", text);
    copy_instead(table, &why);
}

static bool may_follow(const struct pipeline_table *table)
{
    return table->record.state == CATALOG_TABLE_LIVE && table->pipeline->sink->operations->has_merge &&
           table->left_lsn == LSN_NONE && !table->is_publishing;
}

// --- the stream waits --------------------------------------------------------------------------------------------

static bool is_any_in(const struct pipeline *pipeline, enum change_phase phase)
{
    for (uint32_t i = 0; pipeline->change_count > 0 && i < pipeline->table_count; i++)
        if (pipeline->tables[i]->change != NULL && pipeline->tables[i]->change->phase == phase)
            return true;
    return false;
}

bool evolve_is_switching(const struct pipeline *pipeline)
{
    return is_any_in(pipeline, CHANGE_SWITCHING);
}

bool evolve_is_barred(const struct pipeline *pipeline)
{
    return is_any_in(pipeline, CHANGE_BARRED) || is_any_in(pipeline, CHANGE_SWITCHING);
}

static void bar(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    table->change->phase = CHANGE_BARRED;
    hold_break(pipeline, HOLD_FOLLOWING "; start the comparison again");
    if (!pipeline->is_stream_barred) {
        pipeline->barred_since_us = loop_wall_us(pipeline->loop);
        if (pipeline->stream != NULL)
            pg_stream_pause(pipeline->stream);
    }
    pipeline->is_stream_barred = true;
    loop_timer_set(pipeline->loop, &pipeline->tick, 1);
}

static struct pipeline_change *change_of(struct pipeline_table *table)
{
    if (table->change != NULL)
        return table->change;
    table->change = calloc(1, sizeof *table->change);
    CHECK(table->change != NULL);
    table->pipeline->change_count++;
    return table->change;
}

static void unbar_if_none(struct pipeline *pipeline)
{
    if (!pipeline->is_stream_barred || evolve_is_barred(pipeline))
        return;
    pipeline->is_stream_barred = false;
    stream_continue(pipeline);
}

void evolve_forget(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    if (table->change == NULL)
        return;
    table_free(table->change->definition);
    free(table->change->marks);
    free(table->change);
    table->change = NULL;
    pipeline->change_count--;
    unbar_if_none(pipeline);
}

// --- noticed -----------------------------------------------------------------------------------------------------

bool evolve_told(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    // Rows of this transaction were read under the old definition.
    if (!may_follow(table) || (table->change != NULL && table->change->phase != CHANGE_NOTICED) ||
        table->row_lsn == pipeline->transaction.commit_lsn)
        return false;
    struct pipeline_change *change = change_of(table);
    table_free(change->definition);  // of a look that is older
    free(change->marks);
    change->definition = NULL;
    change->marks = NULL;
    change->is_told = true;
    change->told_look = pipeline->look_count;
    change->told_xid = pipeline->transaction.xid;
    change->unseen_looks = 0;
    bar(table);
    join_look_soon(pipeline);
    return true;
}

static enum marks_change compare_marks(const struct pipeline_table *table, const char *marks, const char **out_why)
{
    enum marks_change found = marks_compare(table->record.marks != NULL ? table->record.marks : "", marks, out_why);
    const char *since = "";
    if (table->change == NULL || table->change->marks == NULL)
        return found;
    enum marks_change newly = marks_compare(table->change->marks, marks, &since);
    if (newly == MARKS_SAME || newly == MARKS_SHAPE)
        return found;
    *out_why = since;
    return newly;
}

static bool is_file_of(const char *marks, const struct table *definition)
{
    char known[16], now[16];
    (void)snprintf(now, sizeof now, "%u", definition->relfilenode);
    return marks_value(marks, "f=", known, sizeof known) && strcmp(known, now) == 0;
}

// The server sends a transaction when its commit is in the WAL, and shows it to others only when that is over: with a synchronous standby
// when that has it, too (PostgreSQL, RecordTransactionCommit). Only the transaction that changed the table can be that early with rows of it:
// others wait for its lock.
static bool is_unseen(const struct pipeline_table *table)
{
    return table->change != NULL && table->change->is_told && table->change->marks == NULL &&
           !pg_publication_look_shows(&table->pipeline->look, table->change->told_xid);
}

bool evolve_sees(struct pipeline_table *table, const char *marks, lsn_t look_lsn)
{
    const char *text = "";
    struct pipeline_change *change = table->change;
    if (!may_follow(table) || (!table->is_joined && change == NULL))
        return false;
    if (change != NULL && change->is_told && table->pipeline->look_count <= change->told_look)
        return true;  // it may have been before the change
    if (is_unseen(table) && ++change->unseen_looks < UNSEEN_LOOKS_MAX)
        return true;
    enum marks_change found = compare_marks(table, marks, &text);
    bool is_same_look = change != NULL && change->marks != NULL && strcmp(change->marks, marks) == 0;
    if (change == NULL && found != MARKS_SHAPE)
        return false;  // nothing, or what is copied anew
    if (change != NULL && change->phase == CHANGE_SWITCHING) {
        if (is_same_look)
            return true;
        evolve_give_up(table, "it changed again while it was followed");
        return false;
    }
    if (found != MARKS_SHAPE && (found != MARKS_SAME || change->phase != CHANGE_NOTICED)) {
        evolve_give_up(table, found != MARKS_SAME ? text
                              : is_unseen(table)  ? "the source does not show it"
                                                  : "it changed back");
        return false;
    }
    if (found == MARKS_SAME) {  // taken back before any row came
        evolve_forget(table);
        return false;
    }
    change = change_of(table);
    if (is_same_look && change->definition != NULL)
        return true;
    table_free(change->definition);
    change->definition = NULL;
    free(change->marks);
    change->marks = strdup(marks);
    CHECK(change->marks != NULL);
    change->seen_lsn = look_lsn;
    if (change->phase == CHANGE_BARRED && !change->is_told) {
        change->phase = CHANGE_NOTICED;  // the stream has not passed this look yet
        unbar_if_none(table->pipeline);
    }
    return true;
}

bool evolve_wants_definition(const struct pipeline_table *table)
{
    return table->change != NULL && table->change->definition == NULL && table->change->marks != NULL &&
           table->change->phase != CHANGE_SWITCHING;
}

bool evolve_may_follow(const struct pipeline_table *table, const char *marks, struct table *definition)
{
    const char *text = "";
    struct change_plan plan;
    struct err why = {0};
    return may_follow(table) && compare_marks(table, marks, &text) == MARKS_SHAPE && is_file_of(marks, definition) &&
           change_plan(table->table, definition, &plan, &why);
}

bool evolve_go_back(struct pipeline_table *table, const char *marks)
{
    struct log_scope scope = scope_of(table);
    const char *known = table->record.marks != NULL ? table->record.marks : "", *text = "";
    char highest[8];
    if (!may_follow(table) || marks_compare(known, marks, &text) != MARKS_SHAPE || !is_file_of(marks, table->table) ||
        !marks_value(known, "n=", highest, sizeof highest) ||
        !definition_go_back(table, (uint16_t)strtol(highest, NULL, 10)))
        return false;
    log_line(LOG_INFO, &scope, "schema_change", "%s.%s got another definition while nothing ran, which is followed",
             table->table->schema_name, table->table->table_name);
    return true;
}

void evolve_describe(struct pipeline_table *table, struct table *take_definition)
{
    struct log_scope scope = scope_of(table);
    struct pipeline_change *change = table->change;
    struct err why = {0};
    char text[96];
    CHECK(evolve_wants_definition(table));
    change->definition = take_definition;
    bool may = change_plan(table->table, take_definition, &change->plan, &why);
    if (may && !is_file_of(change->marks, take_definition))
        may = err_set(&why, ERR_LOST, "schema_changed", "its definition changed while it was read");
    if (may && change->is_told && !stream_relation_fits(table, take_definition))
        may = err_set(&why, ERR_LOST, "schema_changed",
                      "its definition changed, and again before the first change could be followed");
    if (!may) {
        copy_instead(table, &why);
        return;
    }
    change_plan_format(&change->plan, text, sizeof text);
    log_line(LOG_INFO, &scope, "schema_change", "%s.%s has another definition (%s), which is followed in place",
             table->table->schema_name, table->table->table_name, text);
    loop_timer_set(table->pipeline->loop, &table->pipeline->tick, 1);
}

// --- barred ------------------------------------------------------------------------------------------------------

// Between two transactions, when everything was read that the look may have seen.
static void bar_those_passed(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->change != NULL && table->change->phase == CHANGE_NOTICED && table->change->definition != NULL &&
            !pipeline->transaction.is_open && pipeline->received_lsn >= table->change->seen_lsn)
            bar(table);
    }
}

static bool is_any_undescribed(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_change *change = pipeline->tables[i]->change;
        if (change != NULL && change->phase == CHANGE_BARRED && change->definition == NULL)
            return true;
    }
    return false;
}

static void give_up_those_that_need_a_merge(struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->change != NULL && table->change->phase == CHANGE_BARRED && table->change->plan.needs_merge)
            evolve_give_up(table, "the merge that has to come first would be outside of the merge windows");
    }
}

static bool needs_any_merge(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        const struct pipeline_change *change = pipeline->tables[i]->change;
        if (change != NULL && change->phase == CHANGE_BARRED && change->plan.needs_merge)
            return true;
    }
    return false;
}

enum stillness { STILL, STILL_LACKS_COMMITS, STILL_LACKS_MERGE, STILL_IN_MERGE, STILL_LACKS_SAVE };

// Still: everything that was read is committed, in the targets where need be, and will not be read again.
static enum stillness stillness(const struct pipeline *pipeline)
{
    if (pipeline->committed_lsn < pipeline->received_lsn)
        return STILL_LACKS_COMMITS;
    if (needs_any_merge(pipeline) && pipeline->merged_lsn < pipeline->received_lsn && merge_has_rows(pipeline))
        return STILL_LACKS_MERGE;
    if (pipeline->is_merging || pipeline->is_merge_resolving || pipeline->is_trying || pipeline->is_search_wanted ||
        pipeline->search.phase != MERGE_SEARCH_OFF)
        return STILL_IN_MERGE;
    return pipeline->saved_lsn < pipeline->received_lsn ? STILL_LACKS_SAVE : STILL;
}

static bool become_still(struct pipeline *pipeline)
{
    switch (stillness(pipeline)) {
    case STILL: return true;
    case STILL_LACKS_MERGE:
        if (merge_may_wake(pipeline))
            pipeline->is_merge_now = true;
        else
            give_up_those_that_need_a_merge(pipeline);
        return false;
    case STILL_LACKS_SAVE: progress_save_soon(pipeline); return false;
    case STILL_LACKS_COMMITS:
    case STILL_IN_MERGE: return false;
    }
    return false;
}

const char *evolve_waits_for(const struct pipeline *pipeline)
{
    if (!pipeline->is_stream_barred)
        return NULL;
    if (evolve_is_switching(pipeline))
        return "the destination's tables to be altered";
    if (is_any_undescribed(pipeline))
        return "the source to show the new definition";
    static const char *const words[] = {
        [STILL] = "the destination's tables to be altered",
        [STILL_LACKS_COMMITS] = "the destination to commit what was read before the change",
        [STILL_LACKS_MERGE] = "a merge of what was read before the change",
        [STILL_IN_MERGE] = "the end of a merge that is under way",
        [STILL_LACKS_SAVE] = "the catalog to keep the position of the change",
    };
    return words[stillness(pipeline)];
}

bool evolve_is_waited_for(const struct pipeline_table *table)
{
    return table->change != NULL && table->change->phase != CHANGE_NOTICED;
}

// --- switching ---------------------------------------------------------------------------------------------------

static void switch_table(struct pipeline_table *table)
{
    struct pipeline *pipeline = table->pipeline;
    struct pipeline_change *change = table->change;
    join_stop(table);
    pipeline_retire_definition(pipeline, table->table);
    table->table = change->definition;
    change->definition = NULL;
    change->phase = CHANGE_SWITCHING;
    table->is_relation_checked = false;
    if (!start_attach(table))
        return;
    if (!pipeline->is_text && join_wants_text(table)) {
        evolve_give_up(table, "a column has a type that is read as text only");
        return;
    }
    table->is_preparing = true;
    pipeline->sink->operations->table_prepare(table->sink_table, SINK_PREPARE_FOLLOW);
}

void evolve_tick(struct pipeline *pipeline)
{
    if (pipeline->change_count == 0 || pipeline->state != PIPELINE_RUNNING)
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->change == NULL || !table->change->is_prepare_due)
            continue;
        table->change->is_prepare_due = false;
        table->is_preparing = true;
        pipeline->sink->operations->table_prepare(table->sink_table, SINK_PREPARE_FOLLOW);
    }
    bar_those_passed(pipeline);
    if (!is_any_in(pipeline, CHANGE_BARRED) || evolve_is_switching(pipeline) || is_any_undescribed(pipeline) ||
        !become_still(pipeline))
        return;
    for (uint32_t i = 0; i < pipeline->table_count; i++)
        if (pipeline->tables[i]->change != NULL && pipeline->tables[i]->change->phase == CHANGE_BARRED)
            switch_table(pipeline->tables[i]);
}

bool evolve_prepared(struct pipeline_table *table, const struct err *error)
{
    struct pipeline_change *change = table->change;
    struct log_scope scope = scope_of(table);
    if (change == NULL || change->phase != CHANGE_SWITCHING)
        return false;
    if (error == NULL) {
        definition_mark(table, change->marks);
        return false;
    }
    if (error->kind == ERR_TRANSIENT && ++change->prepare_tries < PREPARE_TRIES_MAX) {
        log_line(LOG_WARNING, &scope, "schema_change_retry", "%s.%s is altered again: %s", table->table->schema_name,
                 table->table->table_name, error->text);
        change->is_prepare_due = true;
        return true;
    }
    if (error->kind != ERR_LOST && error->kind != ERR_TRANSIENT)
        return false;
    copy_instead(table, error);
    return true;
}

void evolve_joined(struct pipeline_table *table)
{
    struct log_scope scope = scope_of(table);
    if (table->change == NULL || table->change->phase != CHANGE_SWITCHING)
        return;
    log_line(LOG_INFO, &scope, "schema_followed", "%s.%s goes on with its new definition; its rows were kept",
             table->table->schema_name, table->table->table_name);
    evolve_forget(table);
}

void evolve_end(struct pipeline *pipeline)
{
    bool is_over = pipeline->is_end_wanted || pipeline->state == PIPELINE_ENDED;
    for (uint32_t i = 0; i < pipeline->table_count; i++) {
        struct pipeline_table *table = pipeline->tables[i];
        if (table->change == NULL)
            continue;
        // Once its tables are altered it goes on from there; before, the definition that it has is the old one.
        if (table->change->phase == CHANGE_SWITCHING && !table->is_prepared && !is_over)
            evolve_give_up(table, "that was cut off");
        evolve_forget(table);
    }
    pipeline->is_stream_barred = false;
}
