#include "migrate/plan.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/check.h"
#include "migrate/first_names.h"
#include "pg/pg_catalog.h"
#include "sinks/snowflake/sf_names.h"

#define ASIDE_NUMBER_MAX 1000  // then Snowflake's own error tells
#define NAMED_TABLES_MAX 5     // in a note; more are counted

struct planning {
    const struct facts *facts;
    struct migrate_plan *plan;
    bool moves_target;
    int64_t bytes;  // of the tables whose targets are moved, at the source
};

const char *migrate_action_name(enum migrate_action action)
{
    static const char *const names[] = {"suspend_task", "move_target", "move_landing", "grant", "drop_slot"};
    CHECK((unsigned)action < sizeof names / sizeof names[0]);
    return names[action];
}

// --- making a plan's parts -------------------------------------------------------------------------------------------

static char *taken(struct buf *text)
{
    buf_append_byte(text, 0);
    CHECK(!text->failed);
    return (char *)text->data;
}

static void add_text(struct migrate_texts *list, struct buf *text)
{
    list->texts = reallocarray(list->texts, (size_t)list->count + 1, sizeof *list->texts);
    CHECK(list->texts != NULL);
    list->texts[list->count++] = taken(text);
}

static bool has_statement(const struct migrate_plan *plan, const char *statement)
{
    for (uint32_t i = 0; i < plan->step_count; i++)
        if (strcmp(plan->steps[i].statement, statement) == 0)
            return true;
    return false;
}

// Two tables of the source may have shared what the first etl-stream made: it is one step.
// remedy: NULL or taken.
static void add_step(struct planning *planning, enum migrate_action action, bool is_waiting, struct buf *what,
                     struct buf *statement, struct buf *remedy)
{
    struct migrate_plan *plan = planning->plan;
    char *text = taken(statement), *words = taken(what), *mends = remedy != NULL ? taken(remedy) : NULL;
    if (has_statement(plan, text)) {
        free(text);
        free(words);
        free(mends);
        return;
    }
    plan->steps = reallocarray(plan->steps, (size_t)plan->step_count + 1, sizeof *plan->steps);
    CHECK(plan->steps != NULL);
    plan->steps[plan->step_count++] = (struct migrate_step){
        .action = action, .what = words, .statement = text, .remedy = mends, .is_waiting = is_waiting};
}

static bool is_started(const struct facts_task *task)
{
    return strcasecmp(task->state, "started") == 0;
}

// --- what is whose ---------------------------------------------------------------------------------------------------

// What the first etl-stream made of one table, in either spelling of a schema. NULL: not there, or ours by now.
static const struct facts_table *find_old(const struct facts *facts, const char *schema, const char *other_schema,
                                          const char *name)
{
    const struct facts_table *table = facts_find_table(facts, schema, name);
    if (table == NULL || facts_is_ours(table))
        table = facts_find_table(facts, other_schema, name);
    return table != NULL && !facts_is_ours(table) ? table : NULL;
}

// The newest that was moved aside; NULL: none was. *out_free: the first number that is free.
static const struct facts_table *find_aside(const struct facts *facts, const char *schema, const char *name,
                                            unsigned *out_free)
{
    const struct facts_table *newest = NULL;
    for (*out_free = 1; *out_free < ASIDE_NUMBER_MAX; (*out_free)++) {
        char *aside = first_aside_name(name, *out_free);
        const struct facts_table *table = facts_find_table(facts, schema, aside);
        free(aside);
        if (table == NULL)
            break;
        newest = table;
    }
    return newest;
}

static bool is_named_by_a_task(const struct facts *facts, const char *landing, const char *task_name)
{
    for (uint32_t i = 0; i < facts->task_count; i++)
        if (strcmp(facts->tasks[i].name, task_name) == 0 && first_sql_names(facts->tasks[i].definition, landing))
            return true;
    return false;
}

// --- tasks -----------------------------------------------------------------------------------------------------------

// Of the published table whose landing table it names; NULL: of none.
static const struct table *table_of_task(const struct facts *facts, const struct facts_task *task)
{
    const struct table *found = NULL;
    for (uint32_t i = 0; found == NULL && i < facts->table_count; i++) {
        char *landing = first_landing_name(facts->tables[i]->table_name);
        if (first_sql_names(task->definition, landing))
            found = facts->tables[i];
        free(landing);
    }
    return found;
}

static void append_role(const struct facts *facts, struct buf *out)
{
    buf_append_text(out, " TO ROLE ");
    if (facts->role != NULL)
        sf_append_identifier(out, facts->role);
    else
        buf_append_text(out, "… (the user's default)");
}

static void suspend_task(struct planning *planning, const struct facts_task *task, bool is_theirs)
{
    struct buf what, statement, remedy;
    buf_init(&what, SIZE_MAX);
    buf_init(&statement, SIZE_MAX);
    buf_appendf(&what, "suspend task %s.%s, which runs every %s%s", task->schema, task->name, task->schedule,
                is_theirs ? ""
                          : "; it is not one of the first etl-stream's own, but its statement names a landing table");
    buf_append_text(&statement, "ALTER TASK ");
    sf_append_qualified(&statement, planning->facts->database, task->schema, task->name);
    buf_append_text(&statement, " SUSPEND");
    buf_init(&remedy, SIZE_MAX);
    buf_append_text(&remedy, "have the task's owner run: GRANT OPERATE ON TASK ");
    sf_append_qualified(&remedy, planning->facts->database, task->schema, task->name);
    append_role(planning->facts, &remedy);
    add_step(planning, MIGRATE_SUSPEND_TASK, false, &what, &statement, &remedy);
}

static void plan_tasks(struct planning *planning)
{
    const struct facts *facts = planning->facts;
    for (uint32_t i = 0; i < facts->task_count; i++) {
        const struct facts_task *task = &facts->tasks[i];
        const struct table *table = table_of_task(facts, task);
        bool is_theirs = first_is_task_name(task->name);
        if (!is_started(task))
            continue;
        if (table == NULL && is_theirs) {
            struct buf note;
            buf_init(&note, SIZE_MAX);
            buf_appendf(&note,
                        "task %s.%s is started and looks like one of the first etl-stream's, but of no table that "
                        "pipeline %s follows; if no other pipeline needs it: ALTER TASK ",
                        task->schema, task->name, facts->pipeline);
            sf_append_qualified(&note, facts->database, task->schema, task->name);
            buf_append_text(&note, " SUSPEND");
            add_text(&planning->plan->notes, &note);
        }
        if (table == NULL)
            continue;
        // Somebody else's task may well read our landing table; theirs may not.
        char *landing = first_landing_name(table->table_name);
        if (is_theirs || find_old(facts, facts->landing_schema, facts->old_landing_schema, landing) != NULL)
            suspend_task(planning, task, is_theirs);
        free(landing);
    }
}

// --- tables ----------------------------------------------------------------------------------------------------------

static void move_aside(struct planning *planning, enum migrate_action action, const struct facts_table *table)
{
    struct buf what, statement, remedy;
    unsigned number = 0;
    const char *database = planning->facts->database;
    (void)find_aside(planning->facts, table->schema, table->name, &number);
    char *aside = first_aside_name(table->name, number);
    buf_init(&what, SIZE_MAX);
    buf_init(&statement, SIZE_MAX);
    buf_appendf(&what, "move the old %s %s.%s aside, with its %s rows",
                action == MIGRATE_MOVE_TARGET ? "target" : "landing table", table->schema, table->name, table->rows);
    if (action == MIGRATE_MOVE_TARGET)
        buf_append_text(&what, ": from here on readers do without it, until our first copy is merged");
    buf_append_text(&statement, "ALTER TABLE ");
    sf_append_qualified(&statement, database, table->schema, table->name);
    buf_append_text(&statement, " RENAME TO ");
    sf_append_qualified(&statement, database, table->schema, aside);
    buf_init(&remedy, SIZE_MAX);
    buf_append_text(&remedy, "have the table's owner rename it by this statement, or run: GRANT OWNERSHIP ON TABLE ");
    sf_append_qualified(&remedy, database, table->schema, table->name);
    append_role(planning->facts, &remedy);
    buf_append_text(&remedy, " COPY CURRENT GRANTS");
    add_step(planning, action, false, &what, &statement, &remedy);
    free(aside);
}

static void note_table(struct planning *planning, const struct facts_table *table, const char *why)
{
    struct buf note;
    buf_init(&note, SIZE_MAX);
    buf_appendf(&note, "table %s.%s %s", table->schema, table->name, why);
    add_text(&planning->plan->notes, &note);
}

static void plan_target(struct planning *planning, const struct table *table, bool is_shown,
                        const struct sf_table_names *ours)
{
    const struct facts *facts = planning->facts;
    char *name = first_target_name(table->table_name);
    const struct facts_table *old = find_old(facts, facts->schema, facts->old_schema, name);
    const char *our_schema = ours->schema != NULL ? ours->schema : facts->schema;
    bool is_in_our_way = old != NULL && strcmp(old->schema, our_schema) == 0 && strcmp(old->name, ours->target) == 0;
    if (is_in_our_way && is_shown) {
        move_aside(planning, MIGRATE_MOVE_TARGET, old);
        planning->moves_target = true;
        planning->bytes += table->bytes_estimate > 0 ? table->bytes_estimate : 0;
    } else if (is_in_our_way) {
        note_table(planning, old,
                   "is in the way of a target of ours, but no landing table and no task shows that it is the first "
                   "etl-stream's; it is left alone, and its table will be parked until you have moved it");
    } else if (old != NULL && is_shown) {
        note_table(planning, old,
                   "is the first etl-stream's and not in our way, so it stays; nothing writes to it any more");
    }
    free(name);
}

// Whether a table was the first etl-stream's: by its landing table, also one that was moved aside, or by its task.
static bool is_shown_as_theirs(const struct facts *facts, const struct table *table, const char *landing)
{
    unsigned number;
    char *task = first_task_name(table->table_name);
    bool is_shown = find_old(facts, facts->landing_schema, facts->old_landing_schema, landing) != NULL ||
                    find_aside(facts, facts->landing_schema, landing, &number) != NULL ||
                    is_named_by_a_task(facts, landing, task);
    free(task);
    return is_shown;
}

// Targets first: while one is there, what shows whose it is is there too.
static void plan_tables(struct planning *planning, enum migrate_action action)
{
    const struct facts *facts = planning->facts;
    for (uint32_t i = 0; i < facts->table_count; i++) {
        const struct table *table = facts->tables[i];
        struct sf_table_names ours;
        char *landing = first_landing_name(table->table_name);
        sf_naming_tables(&facts->naming, table, &ours);
        const struct facts_table *old = find_old(facts, facts->landing_schema, facts->old_landing_schema, landing);
        if (action == MIGRATE_MOVE_TARGET)
            plan_target(planning, table, is_shown_as_theirs(facts, table, landing), &ours);
        else if (old != NULL && strcmp(old->schema, facts->landing_schema) == 0 && strcmp(old->name, ours.landing) == 0)
            move_aside(planning, MIGRATE_MOVE_LANDING, old);
        sf_table_names_deinit(&ours);
        free(landing);
    }
}

// --- grants ----------------------------------------------------------------------------------------------------------

static bool has_grant(const struct facts *facts, const struct facts_table *table, const struct facts_grant *wanted)
{
    for (uint32_t i = 0; table != NULL && i < facts->grant_count; i++) {
        const struct facts_grant *grant = &facts->grants[i];
        if (strcmp(grant->schema, table->schema) == 0 && strcmp(grant->table, table->name) == 0 &&
            strcmp(grant->privilege, wanted->privilege) == 0 && strcmp(grant->granted_to, wanted->granted_to) == 0 &&
            strcmp(grant->grantee, wanted->grantee) == 0 && grant->has_option >= wanted->has_option)
            return true;
    }
    return false;
}

// A word of Snowflake's answer goes into a statement only if it is one.
static bool is_privilege(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c != ' ' && (*c < 'A' || *c > 'Z'))
            return false;
    return *text != '\0';
}

static void plan_grant(struct planning *planning, const struct facts_grant *grant, const char *schema, const char *name,
                       bool is_waiting)
{
    const char *database = planning->facts->database, *grantee = grant->grantee;
    bool is_role = strcmp(grant->granted_to, "ROLE") == 0,
         is_database_role = strcmp(grant->granted_to, "DATABASE_ROLE") == 0;
    struct buf what, statement, remedy;
    buf_init(&what, SIZE_MAX);
    buf_init(&statement, SIZE_MAX);
    if ((!is_role && !is_database_role) || !is_privilege(grant->privilege)) {
        buf_appendf(&what, "%s on the old %s.%s is granted to %s %s, which you would have to grant anew",
                    grant->privilege, schema, name, grant->granted_to, grantee);
        add_text(&planning->plan->notes, &what);
        buf_deinit(&statement);
        return;
    }
    buf_appendf(&what, "grant %s on the new %s.%s to %s, as on the old one", grant->privilege, schema, name, grantee);
    buf_appendf(&statement, "GRANT %s ON TABLE ", grant->privilege);
    sf_append_qualified(&statement, database, schema, name);
    buf_append_text(&statement, is_role ? " TO ROLE " : " TO DATABASE ROLE ");
    if (is_database_role) {
        // The name comes with its database or without, by the account's release (behaviour change 2371 of 2026_06).
        size_t size = strlen(database);
        if (strncmp(grantee, database, size) == 0 && grantee[size] == '.')
            grantee += size + 1;
        sf_append_identifier(&statement, database);
        buf_append_byte(&statement, '.');
    }
    sf_append_identifier(&statement, grantee);
    if (grant->has_option)
        buf_append_text(&statement, " WITH GRANT OPTION");
    buf_init(&remedy, SIZE_MAX);
    buf_append_text(&remedy,
                    "have a role run this statement that may grant there (in a schema with managed access: its owner)");
    add_step(planning, MIGRATE_GRANT, is_waiting, &what, &statement, &remedy);
}

static void plan_grants(struct planning *planning)
{
    const struct facts *facts = planning->facts;
    for (uint32_t i = 0; i < facts->table_count; i++) {
        struct sf_table_names ours;
        unsigned number;
        sf_naming_tables(&facts->naming, facts->tables[i], &ours);
        const char *schema = ours.schema != NULL ? ours.schema : facts->schema;
        const struct facts_table *there = facts_find_table(facts, schema, ours.target);
        const struct facts_table *mine = there != NULL && facts_is_ours(there) ? there : NULL;
        const struct facts_table *old =
            there != NULL && mine == NULL ? there : find_aside(facts, schema, ours.target, &number);
        for (uint32_t j = 0; old != NULL && j < facts->grant_count; j++) {
            const struct facts_grant *grant = &facts->grants[j];
            if (strcmp(grant->schema, old->schema) == 0 && strcmp(grant->table, old->name) == 0 &&
                strcmp(grant->privilege, "OWNERSHIP") != 0 && !has_grant(facts, mine, grant))
                plan_grant(planning, grant, schema, ours.target, mine == NULL || !planning->plan->is_live);
        }
        sf_table_names_deinit(&ours);
    }
}

// --- slots -----------------------------------------------------------------------------------------------------------

static void plan_slots(struct planning *planning)
{
    const struct facts *facts = planning->facts;
    struct migrate_plan *plan = planning->plan;
    bool has_steps = false;
    for (uint32_t i = 0; i < plan->step_count; i++)
        has_steps |= plan->steps[i].action != MIGRATE_GRANT;
    bool is_waiting = !plan->is_live || has_steps || facts->other_of_slot != NULL;
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        const struct facts_slot *slot = &facts->slots[i];
        struct buf text, statement;
        bool is_theirs = first_is_slot(slot->name, facts->id_pipeline);
        if (slot->is_ours || (!is_theirs && slot->reader != NULL))
            continue;
        buf_init(&text, SIZE_MAX);
        if (!is_theirs) {
            buf_appendf(&text,
                        "slot %s is read by nobody, holds back %s of WAL and is none that is known here; look whose it "
                        "is: SELECT * FROM pg_replication_slots WHERE slot_name = ",
                        slot->name, slot->held);
            pg_append_literal(&text, slot->name);
            add_text(&plan->notes, &text);
        } else if (slot->reader != NULL) {
            buf_appendf(
                &text,
                "the first etl-stream still runs: its slot %s is being read by %s; stop it, so that it does not "
                "start again by itself, then give this command again",
                slot->name, slot->reader);
            add_text(&plan->refusals, &text);
        } else {
            buf_init(&statement, SIZE_MAX);
            buf_appendf(&text,
                        "drop the first etl-stream's slot %s, which holds back %s of WAL: after this there is no "
                        "way back to it",
                        slot->name, slot->held);
            buf_append_text(&statement, "SELECT pg_drop_replication_slot(");
            pg_append_literal(&statement, slot->name);
            buf_append_byte(&statement, ')');
            add_step(planning, MIGRATE_DROP_SLOT, is_waiting, &text, &statement, NULL);
        }
    }
}

// --- as a whole ------------------------------------------------------------------------------------------------------

bool migrate_is_live(const struct catalog_known *known)
{
    bool is_live = known->is_found && known->table_count > 0;
    for (uint32_t i = 0; i < known->table_count; i++) {
        enum catalog_table_state state = known->tables[i].state;
        is_live = is_live &&
                  (state == CATALOG_TABLE_LIVE || state == CATALOG_TABLE_PARKED || state == CATALOG_TABLE_UNPUBLISHED);
    }
    return is_live;
}

static const struct catalog_table *known_table(const struct facts *facts, const struct table *table)
{
    for (uint32_t i = 0; i < facts->known->table_count; i++) {
        const struct catalog_table *known = &facts->known->tables[i];
        if (strcmp(known->schema_name, table->schema_name) == 0 && strcmp(known->table_name, table->table_name) == 0)
            return known;
    }
    return NULL;
}

static bool is_live(const struct facts *facts)
{
    bool is_whole = migrate_is_live(facts->known);
    for (uint32_t i = 0; is_whole && i < facts->table_count; i++)
        is_whole = known_table(facts, facts->tables[i]) != NULL;
    return is_whole;
}

static void note_parked(struct planning *planning)
{
    const struct catalog_known *known = planning->facts->known;
    uint32_t count = 0;
    struct buf note;
    buf_init(&note, SIZE_MAX);
    for (uint32_t i = 0; i < known->table_count; i++) {
        if (known->tables[i].state != CATALOG_TABLE_PARKED)
            continue;
        if (count++ < NAMED_TABLES_MAX)
            buf_appendf(&note, "%s%s.%s", count > 1 ? ", " : "", known->tables[i].schema_name,
                        known->tables[i].table_name);
    }
    if (count > NAMED_TABLES_MAX)
        buf_appendf(&note, " and %" PRIu32 " more", count - NAMED_TABLES_MAX);
    buf_appendf(&note,
                " cannot be copied as it is (parked): etl-stream status %s says why, and etl-stream pipeline resync %s "
                "tries again",
                planning->facts->pipeline, planning->facts->pipeline);
    if (count > 0)
        add_text(&planning->plan->notes, &note);
    else
        buf_deinit(&note);
}

static void format_bytes(int64_t bytes, char *out, size_t out_size)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double size = (double)bytes / 1024;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(out, out_size, size < 10 ? "%.1f %s" : "%.0f %s", size, units[unit]);
}

static bool is_lower_cased(const struct facts *facts)
{
    for (uint32_t i = 0; i < facts->table_count; i++)
        for (uint16_t j = 0; j < facts->tables[i]->column_count; j++)
            for (const char *c = facts->tables[i]->columns[j].name; *c != '\0'; c++)
                if (islower((unsigned char)*c))
                    return true;
    return false;
}

static void note_readers(struct planning *planning)
{
    struct buf note;
    char size[32];
    if (!planning->moves_target)
        return;
    format_bytes(planning->bytes, size, sizeof size);
    buf_init(&note, SIZE_MAX);
    buf_appendf(
        &note,
        "readers are without the targets from the moment they are moved until etl-stream was started, has copied "
        "the tables (about %s at the source) and merged them for the first time; meanwhile the old rows are "
        "under the new names. docs/migration.md shows how to keep them readable instead",
        size);
    add_text(&planning->plan->notes, &note);
    if (planning->facts->naming.preserves_case || !is_lower_cased(planning->facts))
        return;
    buf_init(&note, SIZE_MAX);
    buf_append_text(&note,
                    "the first etl-stream's columns were called as at the source and needed quotes (\"id\"); ours "
                    "are upper case and need none (ID): queries that have them in quotes have to be changed");
    add_text(&planning->plan->notes, &note);
}

static void refuse_running(struct planning *planning)
{
    const char *pipeline = planning->facts->pipeline;
    struct buf text;
    if (!planning->facts->is_running || migrate_plan_due(planning->plan) == 0)
        return;
    for (uint32_t i = 0; i < planning->plan->step_count; i++) {
        const struct migrate_step *step = &planning->plan->steps[i];
        if (step->is_waiting || (step->action != MIGRATE_MOVE_TARGET && step->action != MIGRATE_MOVE_LANDING))
            continue;
        buf_init(&text, SIZE_MAX);
        buf_appendf(&text,
                    "pipeline %s is run by etl-stream already, and tables are moved only while it is not: stop the "
                    "service, or etl-stream pipeline pause %s",
                    pipeline, pipeline);
        add_text(&planning->plan->refusals, &text);
        return;
    }
}

static void say_what_is_waited_for(struct planning *planning)
{
    const struct facts *facts = planning->facts;
    struct migrate_plan *plan = planning->plan;
    struct buf text;
    if (migrate_plan_due(plan) == plan->step_count)
        return;
    buf_init(&text, SIZE_MAX);
    if (plan->is_live && facts->other_of_slot != NULL)
        buf_appendf(&text, "pipeline %s, which had the same slot (id_pipeline %" PRId64 "), is live as well",
                    facts->other_of_slot, facts->id_pipeline);
    else
        buf_appendf(&text, "every table of pipeline %s is live (etl-stream status %s)%s", facts->pipeline,
                    facts->pipeline,
                    facts->is_running  ? ""
                    : facts->is_wanted ? "; start the service: etl-stream run"
                                       : "; its status is PAUSE, and etl-stream pipeline start starts it");
    plan->waits_for = taken(&text);
}

static int compare_steps(const void *a, const void *b)
{
    const struct migrate_step *one = a, *other = b;
    if (one->is_waiting != other->is_waiting)
        return one->is_waiting ? 1 : -1;
    if (one->action != other->action)
        return one->action < other->action ? -1 : 1;
    return strcmp(one->statement, other->statement);
}

void migrate_plan_make(const struct facts *facts, struct migrate_plan *out_plan)
{
    *out_plan = (struct migrate_plan){.is_live = is_live(facts)};
    struct planning planning = {.facts = facts, .plan = out_plan};
    if (facts->is_snowflake) {
        plan_tasks(&planning);
        plan_tables(&planning, MIGRATE_MOVE_TARGET);
        plan_tables(&planning, MIGRATE_MOVE_LANDING);
        plan_grants(&planning);
    }
    plan_slots(&planning);
    if (out_plan->step_count > 0)
        qsort(out_plan->steps, out_plan->step_count, sizeof out_plan->steps[0], compare_steps);
    note_readers(&planning);
    note_parked(&planning);
    refuse_running(&planning);
    say_what_is_waited_for(&planning);
}

uint32_t migrate_plan_due(const struct migrate_plan *plan)
{
    uint32_t count = 0;
    while (count < plan->step_count && !plan->steps[count].is_waiting)
        count++;
    return count;
}

static void texts_deinit(struct migrate_texts *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        free(list->texts[i]);
    free(list->texts);
}

void migrate_plan_deinit(struct migrate_plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        free(plan->steps[i].what);
        free(plan->steps[i].statement);
        free(plan->steps[i].remedy);
    }
    free(plan->steps);
    free(plan->waits_for);
    texts_deinit(&plan->refusals);
    texts_deinit(&plan->notes);
    *plan = (struct migrate_plan){0};
}
