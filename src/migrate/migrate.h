// The takeover of one pipeline from the first etl-stream: looks at both ends, plans (plan.h), and does what need not wait.
// Everything blocks; a command's.
#ifndef ETL_MIGRATE_MIGRATE_H
#define ETL_MIGRATE_MIGRATE_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "migrate/plan.h"
#include "supervisor/configure.h"

struct migrate;

// What the catalog says of the pipeline; it may have changed at each look. Borrowed for the call.
struct migrate_state {
    const struct catalog_known *known;
    bool is_running;
    const char *other_of_slot;  // see facts.h
};

// config and pipeline are borrowed for the life of it. Touches no network. NULL: ERR_CONFIG, or what the machine lacks.
struct migrate *migrate_new(const struct catalog_config *config, const struct catalog_object *pipeline,
                            struct key_ring *ring, struct err *out_error);
void migrate_free(struct migrate *migrate);
// Looks at both ends and plans anew. False: an end that cannot be reached, or does not answer.
bool migrate_look(struct migrate *migrate, const struct migrate_state *state, struct err *out_error);
const struct migrate_plan *migrate_plan(const struct migrate *migrate);  // of the newest look; borrowed until the next
// One step of the plan. It may have happened although the answer was lost: look again.
bool migrate_do(struct migrate *migrate, const struct migrate_step *step, struct err *out_error);
const char *migrate_source_text(const struct migrate *migrate);  // for people, without secrets
const char *migrate_destination_text(const struct migrate *migrate);

#endif
