// What the catalog's files share: opening and threads (catalog.c), versions (schema.c), what pipelines save (state.c), what is
// configured (config.c, edit.c), commands (commands.c), claims (claims.c).
#ifndef ETL_CATALOG_CATALOG_PRIVATE_H
#define ETL_CATALOG_CATALOG_PRIVATE_H

#include <pthread.h>

#include "base/backoff.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "catalog/db.h"
#include "catalog/requests.h"
#include "io/loop.h"
#include "io/mailbox.h"

#define CATALOG_SAVES_TOGETHER_MAX 64

struct claims;

struct catalog {
    const struct catalog_location *location;  // a copy of ours
    struct catalog_location owned_location;
    enum catalog_role role;
    struct db *db;  // the catalog's thread's once catalog_start was called; NULL while PostgreSQL is away
    int lock_fd;    // SQLite: the service's lock
    // From here on: a started service.
    bool is_started;
    unsigned stop_count;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *saves, *requests, *news;
    struct catalog_save *gathered[CATALOG_SAVES_TOGETHER_MAX];  // of this turn, in the order they came
    uint32_t gathered_count;
    struct loop_deferred save_turn;  // writes them
    struct loop_timer watch_timer;   // SQLite: asks whether it changed; PostgreSQL: opens it again
    struct loop_watch watch;         // PostgreSQL: notifications
    struct backoff backoff;
    struct err away;  // why it is away
    struct claims *claims;
    // catalog_ask_and_wait: kept until the threads have ended, which may still be inside mailbox_send.
    struct loop *wait_loop;
    struct mailbox *wait_mailbox;
    bool is_answered;
};

// schema.c
// Creates, upgrades (under a lock against others who do) or only looks, by role.
bool schema_prepare(struct db *db, enum catalog_role role, bool is_served, struct err *out_error);

// Makes what is lacking of the catalog's tables, reads the configuration, and rolls everything back. PostgreSQL only.
bool schema_foresee(struct db *db, struct catalog_config **out_config, struct err *out_error);

// state.c
// Each save's error tells how it went. Together in one transaction, which is one wait for the disk (and, where the catalog is on the
// source's server, one piece of WAL that every walsender looks at); each by itself where that fails.
void state_save(struct db *db, struct catalog_save *const *saves, uint32_t count);
bool state_load(struct db *db, const char *pipeline, struct catalog_known *out_known, struct err *out_error);
// In a transaction that saves: ERR_FENCED once a later claim was granted. claim 0: not asked.
bool state_check_claim(struct db *db, const char *pipeline, uint64_t claim, struct err *out_error);
bool state_forget(struct db *db, const char *pipeline, struct err *out_error);
bool state_take_left(struct db *db, struct catalog_request *request);

// config.c
bool config_read(struct db *db, struct catalog_config **out_config, struct err *out_error);
bool config_read_within(struct db *db, struct catalog_config **out_config, struct err *out_error);  // a transaction
// "source", "destination", "pipeline" → sources, destinations, pipelines
const char *config_table(enum catalog_kind kind);

// commands.c
bool commands_take(struct db *db, struct catalog_request *request);
bool commands_waiting(struct db *db, struct catalog_request *request);
bool commands_answer(struct db *db, const struct catalog_request *request, struct err *out_error);
bool commands_control(struct db *db, struct catalog_request *request);
bool commands_look(struct db *db, struct catalog_request *request);

// watch.c
bool watch_load(struct db *db, struct catalog_request *request);
bool watch_save(struct db *db, const struct catalog_request *request, struct err *out_error);
bool watch_statuses(struct db *db, struct catalog_request *request);

// claims.c: PostgreSQL only. A thread with a connection of its own.
struct claims *claims_new(const struct catalog_location *location, struct mailbox *news, struct err *out_error);
void claims_free(struct claims *claims);                                       // gives all claims back
bool claims_ask(struct claims *claims, struct catalog_request *take_request);  // CLAIM and RELEASE
bool claims_is_service_there(struct db *db, bool *out_is_there, struct err *out_error);
bool claims_is_claimed(struct db *db, const char *pipeline, bool *out_is_claimed, struct err *out_error);

// catalog.c
void catalog_tell(struct mailbox *news, enum catalog_request_kind kind, const char *pipeline);
void catalog_answer(struct catalog_request *take_request);

#endif
