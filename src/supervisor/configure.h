// From what is configured in the catalog to what a pipeline runs by. Everything that is wrong says which source,
// destination or pipeline it belongs to.
#ifndef ETL_SUPERVISOR_CONFIGURE_H
#define ETL_SUPERVISOR_CONFIGURE_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/config.h"
#include "pg/pg_conn.h"
#include "supervisor/destination.h"
#include "supervisor/plan.h"

#define CONFIGURE_SLOT_SIZE 64

// Private keys by where they come from: read once, shared by all who use them, read again when the file has changed.
struct key_ring;
struct key_ring *key_ring_new(void);
void key_ring_free(struct key_ring *ring);

// *out_publication by free(), *out_target by pg_target_deinit. False: ERR_CONFIG; nothing is left to free.
bool configure_source(const struct catalog_object *source, struct pg_target *out_target, char **out_publication,
                      struct err *out_error);
bool configure_destination(const struct catalog_object *destination, struct destination *out_destination,
                           struct err *out_error);
// Reads the key's file (blocking). *out_key NULL: the destination wants none. Another owner of a key that the ring keeps.
bool configure_key(struct key_ring *ring, const struct catalog_object *object, const struct destination *destination,
                   struct sf_key **out_key, struct err *out_error);
// The slot of a pipeline that names none: etl_<name>, in the characters that a slot may have.
void configure_slot_name(const char *pipeline, char out[CONFIGURE_SLOT_SIZE]);
// The plan but for what the catalog knows (plan->known), the catalog and plan_finish. NULL: ERR_CONFIG, or what went wrong.
struct plan *configure_plan(const struct catalog_config *config, const struct catalog_object *pipeline,
                            struct key_ring *ring, struct err *out_error);

#endif
