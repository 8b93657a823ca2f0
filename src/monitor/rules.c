#include "monitor/rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

// Below that a paused pipeline's slot costs nothing worth a message: a few segments.
#define PAUSED_BYTES_MIN (64 * (int64_t)MONITOR_MB)
// A slot that stands while this much was written behind it gets no further.
#define STUCK_BYTES_MIN (64 * (int64_t)MONITOR_MB)

// One pass of rules_see.
struct pass {
    struct alert_book *book;
    const struct monitor_settings *settings;
    const struct rules_source *source;
    char message[1024], remedy[ERR_TEXT_SIZE];
    struct alert_condition condition;
};

static uint64_t minutes_us(const struct pass *pass, uint32_t minutes)
{
    return (uint64_t)minutes * 60 * pass->settings->second_us;
}

static void begin(struct pass *pass, enum alert_type type, enum alert_level level, const char *pipeline)
{
    pass->condition = (struct alert_condition){.type = type,
                                               .level = level,
                                               .source = pass->source->name,
                                               .pipeline = pipeline,
                                               .message = pass->message,
                                               .remedy = pass->remedy};
    pass->message[0] = pass->remedy[0] = '\0';
}

static void see(struct pass *pass, json_t *take_details)
{
    pass->condition.details = take_details;
    alert_book_see(pass->book, &pass->condition);
    json_decref(take_details);
}

// --- the source --------------------------------------------------------------------------------------------------

enum alert_level rules_wal_level(const struct monitor_settings *settings, int64_t wal_bytes)
{
    if (wal_bytes >= (int64_t)settings->wal_danger_mb * MONITOR_MB)
        return ALERT_DANGER;
    return wal_bytes >= (int64_t)settings->wal_warning_mb * MONITOR_MB ? ALERT_WARNING : ALERT_NORMAL;
}

static void set_bytes(json_t *object, const char *key, int64_t bytes)
{
    json_object_set_new(object, key, bytes == WAL_UNKNOWN ? json_null() : json_integer(bytes));
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text[0] != '\0' ? json_string(text) : json_null());
}

json_t *rules_slot_json(const struct watched_pipeline *pipeline, uint64_t now_us)
{
    const struct wal_slot *slot = &pipeline->slot;
    json_t *object = json_object();
    CHECK(object != NULL);
    set_text(object, "slot", pipeline->slot_name);
    set_text(object, "pipeline_name", pipeline->name);
    json_object_set_new(object, "exists", json_boolean(slot->is_found));
    if (!slot->is_found)
        return object;
    json_object_set_new(object, "active", json_boolean(slot->is_active));
    set_text(object, "restart_lsn", slot->restart_lsn);
    set_text(object, "confirmed_flush_lsn", slot->confirmed_lsn);
    set_bytes(object, "held_back_bytes", slot->held_bytes);
    set_text(object, "wal_status", slot->wal_status);
    set_bytes(object, "safe_wal_size_bytes", slot->safe_bytes);
    json_object_set_new(object, "inactive_seconds",
                        json_integer((json_int_t)(watched_pipeline_inactive_us(pipeline, now_us) / 1000000)));
    set_text(object, "invalidation_reason", slot->invalidation_reason);
    json_object_set_new(object, "conflicting", json_boolean(slot->is_conflicting));
    return object;
}

static void see_wal(struct pass *pass)
{
    const struct rules_source *source = pass->source;
    const struct monitor_settings *settings = pass->settings;
    enum alert_level level = rules_wal_level(settings, source->facts->wal_bytes);
    if (level == ALERT_NORMAL)
        return;
    begin(pass, ALERT_WAL, level, NULL);
    pass->condition.hold_us = minutes_us(pass, settings->notify_after_min);
    pass->condition.is_stale = !source->is_up;
    uint32_t threshold_mb = level == ALERT_DANGER ? settings->wal_danger_mb : settings->wal_warning_mb;
    char size[32];
    wal_format_bytes(source->facts->wal_bytes, size, sizeof size);
    (void)snprintf(pass->message, sizeof pass->message, "pg_wal of source %s holds %s; the threshold is %" PRIu32 " MB",
                   source->name, size, threshold_mb);
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   "see which slot keeps it: SELECT slot_name, active, restart_lsn FROM pg_replication_slots ORDER BY "
                   "restart_lsn; one of ours moves when its pipeline runs");
    json_t *slots = json_array();
    CHECK(slots != NULL);
    for (const struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next)
        json_array_append_new(slots, rules_slot_json(pipeline, pass->book->now_us));
    // With three digits: 1.5, not 1.5000000012.
    double size_mb = (double)(source->facts->wal_bytes * 1000 / MONITOR_MB) / 1000;
    see(pass,
        json_pack("{s:f, s:I, s:o}", "wal_size_mb", size_mb, "threshold_mb", (json_int_t)threshold_mb, "slots", slots));
}

static void see_source_down(struct pass *pass)
{
    if (!pass->source->was_checked || pass->source->is_up)
        return;
    begin(pass, ALERT_SOURCE_DOWN, ALERT_DANGER, NULL);
    pass->condition.hold_us = minutes_us(pass, pass->settings->notify_after_min);
    (void)snprintf(pass->message, sizeof pass->message, "source %s cannot be asked: %s", pass->source->name,
                   pass->source->error != NULL ? pass->source->error : "");
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   "etl-stream check says what is missing, for each of its pipelines");
    see(pass, NULL);
}

// --- slots -------------------------------------------------------------------------------------------------------

static void begin_slot(struct pass *pass, enum alert_type type, enum alert_level level,
                       const struct watched_pipeline *pipeline)
{
    begin(pass, type, level, pipeline->name);
    pass->condition.is_stale = !pass->source->is_up;
}

static void see_held_back(struct pass *pass, const struct watched_pipeline *pipeline)
{
    const struct monitor_settings *settings = pass->settings;
    int64_t held_mb = pipeline->slot.held_bytes / MONITOR_MB;
    enum alert_level level = ALERT_NORMAL;
    if (settings->slot_danger_mb != 0 && held_mb >= settings->slot_danger_mb)
        level = ALERT_DANGER;
    else if (settings->slot_warning_mb != 0 && held_mb >= settings->slot_warning_mb)
        level = ALERT_WARNING;
    if (level == ALERT_NORMAL || pipeline->slot.held_bytes == WAL_UNKNOWN)
        return;
    char held[32];
    wal_format_bytes(pipeline->slot.held_bytes, held, sizeof held);
    begin_slot(pass, ALERT_SLOT_HELD_BACK, level, pipeline);
    pass->condition.hold_us = minutes_us(pass, settings->notify_after_min);
    (void)snprintf(pass->message, sizeof pass->message, "slot %s of pipeline %s keeps %s of WAL at source %s",
                   pipeline->slot_name, pipeline->name, held, pass->source->name);
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   pipeline->is_wanted
                       ? "etl-stream status %s says what it waits for; an old transaction that is still "
                         "open on the source keeps WAL too"
                       : "etl-stream pipeline start %s, or remove it if it is not needed any more",
                   pipeline->name);
    see(pass, rules_slot_json(pipeline, pass->book->now_us));
}

static void see_at_risk(struct pass *pass, const struct watched_pipeline *pipeline)
{
    const struct wal_slot *slot = &pipeline->slot;
    int64_t safe_min = (int64_t)pass->settings->slot_safe_mb * MONITOR_MB;
    int64_t keep_bytes = pass->source->facts->wal_keep_bytes;
    char left[32];
    if (safe_min == 0 || slot->safe_bytes == WAL_UNKNOWN)
        return;
    if (keep_bytes >= 0 && keep_bytes / 5 < safe_min)
        safe_min = keep_bytes / 5;
    if (slot->safe_bytes >= safe_min && strcmp(slot->wal_status, "unreserved") != 0)
        return;
    wal_format_bytes(slot->safe_bytes, left, sizeof left);
    begin_slot(pass, ALERT_SLOT_AT_RISK, ALERT_DANGER, pipeline);
    (void)snprintf(pass->message, sizeof pass->message,
                   "slot %s of pipeline %s is about to be lost: source %s may write %s more of WAL before it gives the "
                   "slot up (max_slot_wal_keep_size)",
                   pipeline->slot_name, pipeline->name, pass->source->name, left);
    (void)snprintf(
        pass->remedy, sizeof pass->remedy,
        "raise max_slot_wal_keep_size while the disk allows it (ALTER SYSTEM, then SELECT pg_reload_conf()), "
        "and see what holds the pipeline up: etl-stream status %s",
        pipeline->name);
    see(pass, rules_slot_json(pipeline, pass->book->now_us));
}

// What stands from before this process began, which has seen less of it than those that began it.
static const struct alert *kept_of(const struct pass *pass, enum alert_type type,
                                   const struct watched_pipeline *pipeline)
{
    return alert_book_find_kept(pass->book, type, pass->source->name, pipeline->name);
}

static bool is_looked_at(const struct watched_pipeline *pipeline)
{
    return pipeline->slot.name[0] != '\0';
}

static bool has_lost_reason(const struct watched_pipeline *pipeline)
{
    return pipeline->is_failing && pipeline->reason != NULL &&
           (strcmp(pipeline->reason, "slot_lost") == 0 || strcmp(pipeline->reason, "publication_lost") == 0);
}

static void see_lost(struct pass *pass, const struct watched_pipeline *pipeline)
{
    const struct wal_slot *slot = &pipeline->slot;
    bool was_found = pipeline->was_slot_found || kept_of(pass, ALERT_SLOT_LOST, pipeline) != NULL;
    bool is_gone = was_found && is_looked_at(pipeline) && !slot->is_found;
    bool is_told = has_lost_reason(pipeline);
    if (!is_gone && !wal_slot_is_lost(slot) && !is_told)
        return;
    const char *why = slot->invalidation_reason[0] != '\0' ? slot->invalidation_reason
                      : slot->is_conflicting               ? "it conflicts with recovery"
                      : is_gone                            ? "it is not there any more"
                                                           : "the WAL it needs was removed";
    begin_slot(pass, ALERT_SLOT_LOST, ALERT_DANGER, pipeline);
    pass->condition.is_stale = !pass->source->is_up && !is_told;
    // One that is being made anew is gone for a moment.
    if (is_gone && !is_told)
        pass->condition.hold_us = minutes_us(pass, 1);
    (void)snprintf(pass->message, sizeof pass->message, "slot %s of pipeline %s at source %s is lost: %s",
                   pipeline->slot_name, pipeline->name, pass->source->name, is_told ? pipeline->error : why);
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   "etl-stream pipeline edit %s --on-slot-lost resync, and start it: all its tables are copied anew",
                   pipeline->name);
    see(pass, rules_slot_json(pipeline, pass->book->now_us));
}

// An older server does not say since when; what was told of it before says that it was long enough then.
static uint64_t inactive_us_of(const struct pass *pass, enum alert_type type, const struct watched_pipeline *pipeline)
{
    uint64_t inactive_us = watched_pipeline_inactive_us(pipeline, pass->book->now_us);
    uint64_t patience_us = minutes_us(pass, pass->settings->slot_inactive_min);
    const struct alert *kept = kept_of(pass, type, pipeline);
    if (kept == NULL || inactive_us >= patience_us || pipeline->inactive_since_us == 0 ||
        pipeline->slot.inactive_s != WAL_UNKNOWN)
        return inactive_us;
    return patience_us + (pass->book->now_us - kept->since_us);
}

// Nobody reads the slot: of a started pipeline that is a fault, of a paused one it is what pausing costs.
static void see_inactive(struct pass *pass, const struct watched_pipeline *pipeline)
{
    enum alert_type type = pipeline->is_wanted ? ALERT_SLOT_INACTIVE : ALERT_PIPELINE_PAUSED;
    uint64_t inactive_us = inactive_us_of(pass, type, pipeline);
    const struct wal_slot *slot = &pipeline->slot;
    char held[32];
    if (pass->settings->slot_inactive_min == 0 || wal_slot_is_lost(slot) ||
        inactive_us < minutes_us(pass, pass->settings->slot_inactive_min) ||
        (!pipeline->is_wanted && slot->held_bytes < PAUSED_BYTES_MIN))
        return;
    wal_format_bytes(slot->held_bytes, held, sizeof held);
    begin_slot(pass, type, ALERT_WARNING, pipeline);
    (void)snprintf(
        pass->message, sizeof pass->message,
        pipeline->is_wanted
            ? "slot %s of pipeline %s was read by nobody for %" PRIu64 " minutes, though the pipeline is "
              "started; it keeps %s of WAL at source %s"
            : "slot %s of pipeline %s, which is paused, was read by nobody for %" PRIu64 " minutes; it keeps "
              "%s of WAL at source %s",
        pipeline->slot_name, pipeline->name, inactive_us / (60 * pass->settings->second_us), held, pass->source->name);
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   pipeline->is_wanted ? "etl-stream status %s says why it does not run"
                                       : "etl-stream pipeline start %s, or remove it if it is not needed any more",
                   pipeline->name);
    see(pass, rules_slot_json(pipeline, pass->book->now_us));
}

static void see_slot(struct pass *pass, const struct watched_pipeline *pipeline)
{
    see_lost(pass, pipeline);
    if (!pipeline->slot.is_found)
        return;
    see_held_back(pass, pipeline);
    see_at_risk(pass, pipeline);
    see_inactive(pass, pipeline);
}

// --- pipelines ---------------------------------------------------------------------------------------------------

static void see_failing(struct pass *pass, const struct watched_pipeline *pipeline)
{
    if (!pipeline->is_wanted || !pipeline->is_failing || pass->settings->stuck_min == 0)
        return;
    const char *state = pipeline->facts.state != NULL ? pipeline->facts.state : "";
    // Nobody tries it again but an operator.
    bool is_fenced = strcmp(state, "fenced") == 0;
    begin(pass, ALERT_PIPELINE_FAILING, is_fenced ? ALERT_DANGER : ALERT_WARNING, pipeline->name);
    pass->condition.hold_us = is_fenced ? 0 : minutes_us(pass, pass->settings->stuck_min);
    (void)snprintf(pass->message, sizeof pass->message, "pipeline %s fails: %.800s", pipeline->name, pipeline->error);
    (void)snprintf(pass->remedy, sizeof pass->remedy, "%s", pipeline->remedy != NULL ? pipeline->remedy : "");
    json_t *details = json_object();
    CHECK(details != NULL);
    set_text(details, "state", state);
    set_text(details, "reason", pipeline->reason != NULL ? pipeline->reason : "");
    see(pass, details);
}

static void see_stuck(struct pass *pass, const struct watched_pipeline *pipeline)
{
    const struct pipeline_facts *facts = &pipeline->facts;
    uint64_t now_us = pass->book->now_us, patience_us = minutes_us(pass, pass->settings->stuck_min);
    bool is_starting = pipeline_facts_is_starting(facts);
    if (patience_us == 0 || !pipeline->is_wanted || pipeline->is_failing || !facts->is_known ||
        (!is_starting && !pipeline_facts_is_running(facts)) || now_us - pipeline->progress_us < patience_us)
        return;
    uint64_t behind = facts->received_lsn > facts->committed_lsn ? facts->received_lsn - facts->committed_lsn : 0;
    bool is_slot_standing = pipeline->slot.is_found && pipeline->slot.held_bytes >= STUCK_BYTES_MIN &&
                            now_us - pipeline->slot_moved_us >= patience_us;
    if (!is_starting && behind == 0 && !facts->is_copying && !is_slot_standing && facts->waits_for == NULL)
        return;  // idle
    begin(pass, ALERT_PIPELINE_STUCK, ALERT_WARNING, pipeline->name);
    uint64_t minutes = (now_us - pipeline->progress_us) / (60 * pass->settings->second_us);
    if (is_starting)
        (void)snprintf(pass->message, sizeof pass->message,
                       "pipeline %s has been starting (%s) for %" PRIu64 " minutes and got no further", pipeline->name,
                       facts->state, minutes);
    else if (facts->waits_for != NULL)
        (void)snprintf(pass->message, sizeof pass->message,
                       "pipeline %s has read nothing for %" PRIu64
                       " minutes: a definition changed at its source, and to follow it the stream waits for %s",
                       pipeline->name, minutes, facts->waits_for);
    else
        (void)snprintf(pass->message, sizeof pass->message,
                       "pipeline %s has got no further for %" PRIu64 " minutes: %" PRIu64
                       " bytes of WAL were read and are not committed at the destination",
                       pipeline->name, minutes, behind);
    (void)snprintf(pass->remedy, sizeof pass->remedy,
                   "etl-stream status %s says what it waits for; etl-stream check %s looks at both ends",
                   pipeline->name, pipeline->name);
    json_t *details = json_pack("{s:I}", "behind_bytes", (json_int_t)behind);
    CHECK(details != NULL);
    set_text(details, "state", facts->state);
    see(pass, details);
}

static void see_parked(struct pass *pass, const struct watched_pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->facts.parked_count; i++) {
        const struct pipeline_parked *parked = &pipeline->facts.parked[i];
        begin(pass, parked->is_rows_refused ? ALERT_ROWS_REFUSED : ALERT_TABLE_PARKED,
              parked->is_rows_refused ? ALERT_DANGER : ALERT_WARNING, pipeline->name);
        pass->condition.table = parked->name;
        (void)snprintf(pass->message, sizeof pass->message,
                       "table %s of pipeline %s is parked and does not follow its "
                       "source any more: %.700s",
                       parked->name, pipeline->name, parked->reason != NULL ? parked->reason : "");
        if (parked->remedy != NULL)
            (void)snprintf(pass->remedy, sizeof pass->remedy, "%s", parked->remedy);
        else
            (void)snprintf(pass->remedy, sizeof pass->remedy,
                           "once its cause is mended: etl-stream pipeline resync %s %s", pipeline->name, parked->name);
        see(pass, NULL);
    }
}

// --- what stands though it is not seen now -----------------------------------------------------------------------

static const struct watched_pipeline *find_pipeline(const struct pass *pass, const char *name)
{
    const struct watched_pipeline *pipeline = pass->source->pipelines;
    while (pipeline != NULL && (name == NULL || strcmp(pipeline->name, name) != 0))
        pipeline = pipeline->next;
    return pipeline;
}

// Whether what its status says of its tables can be taken for all there is.
static bool are_tables_known(const struct pipeline_facts *facts)
{
    return pipeline_facts_is_running(facts) || (pipeline_facts_is_paused(facts) && facts->has_tables);
}

static bool is_stuck_still(const struct watched_pipeline *pipeline, const struct alert *alert)
{
    const struct pipeline_facts *facts = &pipeline->facts;
    return alert->is_kept && !pipeline->has_progressed && pipeline_facts_is_running(facts) &&
           (facts->is_copying || facts->received_lsn > facts->committed_lsn);
}

// Its status is not there yet: of one that was taken up from before, or that another process runs.
static bool is_unheard(const struct watched_pipeline *pipeline, const struct alert *alert)
{
    return !pipeline->facts.is_known && (alert->is_kept || pipeline->is_elsewhere);
}

// While the facts that it rests on are not known (the process has just begun, or has just taken it over; the pipeline is being
// started), nobody can say that it is over.
static bool stands(const struct pass *pass, const struct alert *alert)
{
    const struct watched_pipeline *pipeline = find_pipeline(pass, alert->pipeline);
    bool is_wanted = pipeline != NULL && pipeline->is_wanted;
    bool is_unseen = pipeline != NULL && alert->is_kept && !is_looked_at(pipeline);
    bool is_unclear = is_wanted && (is_unheard(pipeline, alert) || pipeline_facts_is_starting(&pipeline->facts));
    switch (alert->type) {
    case ALERT_WAL: return pass->source->facts->position[0] == '\0';
    case ALERT_SOURCE_DOWN: return !pass->source->was_checked;
    case ALERT_SLOT_HELD_BACK:
    case ALERT_SLOT_AT_RISK:
    case ALERT_SLOT_INACTIVE:
    case ALERT_PIPELINE_PAUSED: return is_unseen;
    case ALERT_SLOT_LOST: return is_unseen || (alert->is_kept && is_unclear);
    case ALERT_PIPELINE_FAILING: return is_unclear;
    case ALERT_PIPELINE_STUCK: return is_wanted && (is_unclear || is_stuck_still(pipeline, alert));
    case ALERT_TABLE_PARKED:
    case ALERT_ROWS_REFUSED:
        return pipeline != NULL &&
               (is_unheard(pipeline, alert) || (pipeline->facts.is_known && !are_tables_known(&pipeline->facts)));
    case ALERT_CATALOG_DOWN:
    case ALERT_TYPE_COUNT: break;
    }
    return false;
}

static void see_standing(const struct pass *pass)
{
    for (struct alert *alert = pass->book->alerts; alert != NULL; alert = alert->next)
        if (!alert->is_seen && !alert->is_over && alert->source != NULL &&
            strcmp(alert->source, pass->source->name) == 0 && stands(pass, alert))
            alert->is_seen = true;
}

void rules_see(struct alert_book *book, const struct monitor_settings *settings, const struct rules_source *source)
{
    struct pass pass = {.book = book, .settings = settings, .source = source};
    see_source_down(&pass);
    if (source->facts->position[0] != '\0')
        see_wal(&pass);
    for (const struct watched_pipeline *pipeline = source->pipelines; pipeline != NULL; pipeline = pipeline->next) {
        see_slot(&pass, pipeline);
        see_failing(&pass, pipeline);
        see_stuck(&pass, pipeline);
        see_parked(&pass, pipeline);
    }
    see_standing(&pass);
}

void rules_see_service(struct alert_book *book, const struct monitor_settings *settings, const char *service_json)
{
    json_t *service = json_loads(service_json, 0, NULL);
    const json_t *catalog = json_object_get(service, "catalog");
    const char *error = json_string_value(json_object_get(catalog, "error"));
    const char *process = json_string_value(json_object_get(service, "process"));
    char message[1024];
    if (json_is_false(json_object_get(catalog, "healthy"))) {
        (void)snprintf(
            message, sizeof message,
            "%s cannot reach the catalog: its pipelines run on and confirm nothing, so their slots keep WAL: %s",
            process != NULL ? process : "a process", error != NULL ? error : "");
        const struct alert_condition condition = {
            .type = ALERT_CATALOG_DOWN,
            .level = ALERT_DANGER,
            .hold_us = (uint64_t)settings->notify_after_min * 60 * settings->second_us,
            .message = message,
            .remedy = "bring the configuration database back; nothing else has to be done"};
        alert_book_see(book, &condition);
    }
    json_decref(service);
}
