// What has to survive a restart: pipelines, their positions, tables and channels, and what is configured (config.h). In an
// SQLite file or a PostgreSQL database (location.h). Threads of its own write it, because SQL and fsync block. A save is one
// transaction: floor, tokens and error counts belong together.
//
//   pipeline's thread                       catalog's thread
//   catalog_save_new … fill …
//   catalog_send ────── ownership ───────►  one transaction, durable
//   reply mailbox ◄──── ownership ────────  error set or clear
//
// A running service holds a SQLite file for itself (a lock); readers and editors work beside it. PostgreSQL may be shared by
// several services, which claim pipelines (requests.h). While it is away saves fail with ERR_TRANSIENT, and it is opened
// again with back-off.
#ifndef ETL_CATALOG_CATALOG_H
#define ETL_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/location.h"
#include "io/mailbox.h"
#include "model/lsn.h"
#include "model/spread.h"

#define CATALOG_NAME_SIZE 256
#define CATALOG_CHANNEL_SIZE 64
#define CATALOG_TOKEN_SIZE 41

enum catalog_table_state {
    CATALOG_TABLE_NEW,         // ended by the start of its copy
    CATALOG_TABLE_COPYING,     // ended by the commit of its last copied row; after a restart it begins anew
    CATALOG_TABLE_COPIED,      // ended by the first merge
    CATALOG_TABLE_LIVE,        // ended by parking or a resynchronisation
    CATALOG_TABLE_PARKED,      // ended by a resynchronisation
    CATALOG_TABLE_UNPUBLISHED  // left the publication; ended by its return, which copies it anew
};

struct catalog_pipeline {
    char name[CATALOG_NAME_SIZE];
    char identity[17];  // random, 16 hex digits; part of the channels' names
    char slot[64];
    char source[CATALOG_NAME_SIZE];  // for people, without secrets
    char destination[CATALOG_NAME_SIZE];
    char system_identifier[24];
    uint32_t timeline;
    uint8_t epoch;
    bool is_slot_made;    // false with a row present: its making may have been interrupted
    lsn_t received_lsn;   // highest position that was received
    lsn_t floor_lsn;      // everything below it is committed at the destination
    lsn_t merged_lsn;     // everything below it is merged
    uint8_t state_epoch;  // what the destination's state table holds
    lsn_t state_lsn;
    char writer[17];         // our name there; merges under another one fail
    lsn_t merge_intent_lsn;  // a merge up to it was begun and its end is not known; 0: none
};

struct catalog_table {
    uint32_t oid;
    char schema_name[CATALOG_NAME_SIZE];
    char table_name[CATALOG_NAME_SIZE];
    enum catalog_table_state state;
    lsn_t copy_lsn;
    uint64_t copied_rows;
    bool is_in_merge;                 // its first merge is part of the merge that merge_intent_lsn names
    char reason[ERR_TEXT_SIZE];       // parked: why
    char reason_code[ERR_CODE_SIZE];  // likewise, the error's code; "": none
    struct spread spread;             // over which channels its stream goes, from which sequence on
    char *marks;                      // what was watched of it at the source (pipeline/marks.h); NULL or "": not known
    char *
        columns;  // a line "number name" for each of its columns at the destination (0, -1: its schema's, its own former
                  // name, until the destination has followed); NULL or "": not known
    bool is_gone;  // in a save: its record is deleted
};

// What was last known of one of a table's channels; the name is the key.
struct catalog_channel {
    char name[CATALOG_CHANNEL_SIZE];
    uint32_t table_oid;
    char token[CATALOG_TOKEN_SIZE];  // committed
    int64_t created_on_ms;
    uint64_t error_count;
    bool is_gone;  // in a save: its record is deleted
};

// A pipeline as it was saved last.
struct catalog_known {
    bool is_found;
    struct catalog_pipeline pipeline;
    struct catalog_table *tables;  // by schema and name
    uint32_t table_count;
    struct catalog_channel *channels;  // by table and name
    uint32_t channel_count;
};

struct catalog_save {
    struct catalog_pipeline pipeline;
    char *status_json;  // owned; NULL: unchanged
    bool has_pipeline;  // false: the status only
    uint64_t claim;     // the claim's number (requests.h); 0: none, which only one process at a time may do
    struct err error;   // the answer
    struct mailbox *reply_to;
    struct catalog_channel *channels;  // those that changed; in the save's own block
    uint32_t channel_count;
    uint32_t table_count;
    struct catalog_table tables[];  // those that changed; marks and columns are its own
};

struct catalog;
struct catalog_watch_row;

const char *catalog_table_state_name(enum catalog_table_state state);

enum catalog_role {
    CATALOG_READER,  // looks only; what it looks at must be there
    CATALOG_EDITOR,  // changes what is configured, also beside a running service
    CATALOG_SERVICE  // runs pipelines
};

// Blocking, before any loop runs. Editors and services create file (mode 0600) and tables if missing and upgrade older ones;
// newer ones are refused, untouched. A service holds a SQLite file for itself: ERR_CONFIG naming it when another process
// does. location is copied.
struct catalog *catalog_open(const struct catalog_location *location, enum catalog_role role, struct err *out_error);
void catalog_close(struct catalog *catalog);  // waits until what was sent is written, and gives all claims back
const char *catalog_text(const struct catalog *catalog);  // where it is, for people: "state file etl-stream.db"
bool catalog_is_postgres(const struct catalog *catalog);
bool catalog_is_served(struct catalog *catalog);  // some process runs it as a service (blocking)
// Whether some process runs the pipeline: has claimed it, or holds the SQLite file. Likewise.
bool catalog_is_claimed(struct catalog *catalog, const char *pipeline);
// Blocking. is_found false: never seen. catalog_known_deinit frees what it found, also after an error.
bool catalog_load(struct catalog *catalog, const char *pipeline, struct catalog_known *out_known,
                  struct err *out_error);
void catalog_known_deinit(struct catalog_known *known);
// Blocking. Calls on_status with each pipeline's newest status; json may be NULL.
bool catalog_each_status(struct catalog *catalog,
                         void (*on_status)(void *context, const char *pipeline, const char *json, int64_t updated_ms),
                         void *context, struct err *out_error);

// Blocking. Calls on_row with all that the WAL monitors of all processes have kept (requests.h), by scope, kind and name.
bool catalog_each_watched(struct catalog *catalog,
                          void (*on_row)(void *context, const char *scope, const struct catalog_watch_row *row),
                          void *context, struct err *out_error);

void catalog_table_copy(const struct catalog_table *from, struct catalog_table *out);  // with texts of its own
void catalog_table_deinit(struct catalog_table *table);

bool catalog_start(struct catalog *catalog, struct err *out_error);  // its threads; for a service
struct catalog_save *catalog_save_new(uint32_t table_count, uint32_t channel_count);
void catalog_save_free(struct catalog_save *save);
// Any thread; never waits. False: the writer is too far behind, and save is still the caller's.
bool catalog_send(struct catalog *catalog, struct catalog_save *take_save);

#endif
