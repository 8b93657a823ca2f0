// The lease on a running pipeline's merge, as seen from outside: asked for and renewed through the catalog.
#ifndef ETL_VERIFY_LEASE_H
#define ETL_VERIFY_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "catalog/catalog.h"
#include "model/lsn.h"
#include "verify/wait.h"

struct lease;

struct lease_options {
    struct catalog *catalog;  // an editor's; borrowed, as the rest is
    const char *pipeline;
    uint32_t lease_ms;
    uint32_t patience_ms;  // how long an answer may take
    bool may_wake;         // merges may run outside of the merge windows
};

// A lease that is lost ends every wait (wait->stopped).
struct lease *lease_new(struct wait *wait, const struct lease_options *options);
void lease_free(struct lease *lease);  // gives it back, if it was ever asked for
// Asks for it and renews it from then on. lsn NONE: no merge begins any more; else: merge exactly the commits below lsn.
// False: it is refused (ERR_CONFIG), or the catalog cannot be written.
bool lease_ask(struct lease *lease, lsn_t lsn, struct err *out_error);
// Until the targets stand still as asked. out_position: the state table's POSITION.
bool lease_await(struct lease *lease, char out_position[19], struct err *out_error);
// It was refused, or ended, because a changed definition is being followed.
bool lease_is_definition_followed(const struct lease *lease);
// Gives it back; it may be asked for again. What it has stopped meanwhile stays stopped.
void lease_release(struct lease *lease);

#endif
