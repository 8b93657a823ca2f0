// Who tells of what is wrong, and what is kept of it in the catalog, so that a restart tells nothing twice, another process takes over,
// and `etl-stream status` shows it.
//
// Of several processes on one catalog one tells: it has claimed the scope, by the same advisory lock as pipelines are claimed with
// (catalog/requests.h), and writes under the claim's number. A claim is asked for again every two seconds:
//
//   OTHERS ─ granted ─► LOADING ─ what was kept is here ─► MINE ─ refused, or a save found a later claim ─► OTHERS
//
// keep_may_tell is the fence: only while nobody else can have the claim, by a clock that goes on while the process is frozen. When the
// catalog is away nobody can be asked: then whoever told last goes on, and saves when it is back. An SQLite file is one process's own.
#ifndef ETL_MONITOR_KEEP_H
#define ETL_MONITOR_KEEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "io/loop.h"

#define KEEP_SOURCE "source"  // kinds of rows: what was found at a source, by its name
#define KEEP_ALERTS "alerts"  // {"shown": as on the board, "book": alert_book_kept}; its name is ""

struct keep;

struct keep_events {
    // MINE: the book as it was kept, JSON of a KEEP_ALERTS row; NULL: nothing was. Whatever the book holds is older.
    void (*on_mine)(void *context, const char *alerts_json);
    void (*on_lost)(void *context);  // OTHERS
    // OTHERS: what the process that tells has kept, each time it was looked at; NULL: nothing.
    void (*on_shown)(void *context, const char *alerts_json, const char *process);
    // MINE: a newer status of a pipeline that another process runs; and what is known of them, to be put into
    // known: {"pipeline": "saved_ms", …}. on_known false: none runs elsewhere.
    bool (*on_known)(void *context, json_t *known);
    void (*on_status)(void *context, const char *pipeline, const char *status_json, int64_t saved_ms);
    void *context;
};

// scope: copied; CATALOG_WATCH_SCOPE, or a pipeline's name that this process has claimed. catalog: started, used until keep_stop; it
// answers to a mailbox here.
struct keep *keep_new(struct loop *loop, struct catalog *catalog, const char *scope, const struct keep_events *events,
                      struct err *out_error);
// What is not saved yet is sent to the catalog, whose answer nobody waits for; nothing happens any more. The loop does not run.
void keep_stop(struct keep *keep);
void keep_free(struct keep *keep);  // stopped, and the catalog is closed: it may have been answering. NULL is harmless
bool keep_is_mine(const struct keep *keep);
bool keep_may_tell(const struct keep *keep);
// What is to be kept; saved when MINE, at most every two seconds, and again at least every thirty while anything is saved at all.
// take_json: heap; NULL: it is gone.
void keep_put(struct keep *keep, const char *kind, const char *name, char *take_json);
// Rows of sources that is_known answers false for go, those that an earlier process has left too.
void keep_forget(struct keep *keep, bool (*is_known)(void *context, const char *name), void *context);

#endif
