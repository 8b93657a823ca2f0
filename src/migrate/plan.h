// What a takeover from the first etl-stream needs, as a plan made of facts alone. Pure.
//
// The plan follows from what is there now and from nothing that was remembered: whoever is killed in the middle looks
// again and gets the rest. So the order of the steps matters: what shows that a target is the first etl-stream's (its
// landing table, its task) is moved after the target itself.
//
//   now      suspend tasks, move targets aside, move landing tables aside
//   later    once every table of our pipeline is live: the readers' grants, then the slots
//
// Nothing is dropped but slots, and nothing with our marker is touched.
#ifndef ETL_MIGRATE_PLAN_H
#define ETL_MIGRATE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/facts.h"

enum migrate_action {
    MIGRATE_SUSPEND_TASK,
    MIGRATE_MOVE_TARGET,
    MIGRATE_MOVE_LANDING,
    MIGRATE_GRANT,
    MIGRATE_DROP_SLOT
};

struct migrate_step {
    enum migrate_action action;
    char *what;       // for a person
    char *statement;  // exactly what is sent; a slot's to the source, the others to Snowflake
    char *remedy;     // what mends it where the role may not do it; NULL: the answer says
    bool is_waiting;  // until the pipeline is live
};

struct migrate_texts {
    char **texts;
    uint32_t count;
};

struct migrate_plan {
    bool is_live;                // every table is, but those that are parked
    struct migrate_step *steps;  // in order; those that wait are the last
    uint32_t step_count;
    char *waits_for;                // what the last steps wait for; NULL: for nothing
    struct migrate_texts refusals;  // why nothing may be done now
    struct migrate_texts notes;     // what a person should know or look at
};

const char *migrate_action_name(enum migrate_action action);  // "suspend_task"
void migrate_plan_make(const struct facts *facts, struct migrate_plan *out_plan);
void migrate_plan_deinit(struct migrate_plan *plan);         // one of zeros is fine
uint32_t migrate_plan_due(const struct migrate_plan *plan);  // how many steps need not wait
// What the catalog knows alone: each table that was ever followed is live, parked or has left the publication.
bool migrate_is_live(const struct catalog_known *known);

#endif
