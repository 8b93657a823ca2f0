// What a running service asks its catalog for, and what it is told unasked. All of it can block (SQL, fsync), so the
// catalog's threads do it and answer by mailbox:
//
//   supervisor                                   catalog's threads
//   catalog_request_new … fill …
//   catalog_ask ─────────── ownership ────────►  does it
//   its mailbox ◄────────── ownership ─────────  the same request, with error or answer
//   its mailbox ◄────────── ownership ─────────  CATALOG_TOLD_…, unasked, to the mailbox of catalog_listen
//
// Claims. Several processes may share a PostgreSQL catalog; a pipeline runs in the one that has claimed it: a session-level
// advisory lock on a connection with a heartbeat and a short idle_session_timeout, so that a dead or frozen process loses it
// within seconds. Each claim has a number; saves carry it and fail with ERR_FENCED once a later claim was granted. A SQLite
// file belongs to one service as a whole, and every claim is granted.
#ifndef ETL_CATALOG_REQUESTS_H
#define ETL_CATALOG_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "catalog/config.h"
#include "io/mailbox.h"

#define CATALOG_COMMAND_SIZE 32
// The claim to telling of what is wrong with the sources and pipelines of the service, and the scope of what is kept of it. No
// pipeline has such a name.
#define CATALOG_WATCH_SCOPE "/alerts"

enum catalog_request_kind {
    CATALOG_ASK_CONFIG,    // → config
    CATALOG_ASK_KNOWN,     // pipeline → known
    CATALOG_ASK_COMMANDS,  // pipeline ("": of every pipeline) → commands: those that wait, each given out exactly once
    CATALOG_ASK_WAITING,  // → commands: a command (only its pipeline is told) for each pipeline for which some wait; none is taken
    CATALOG_ASK_ANSWER,   // command_id, has_failed, text
    CATALOG_ASK_CLAIM,    // pipeline → claim, sure_until_us; ERR_FENCED: another process has it, the text says which
    CATALOG_ASK_RELEASE,  // pipeline
    CATALOG_ASK_FORGET,   // pipeline: as catalog_forget
    // pipeline, word "start", "pause" or "resync", arguments → was_so, command_id: sets what is wanted of it, and adds the
    // command that the service still needs. ERR_CONFIG: there is none to start or pause.
    CATALOG_ASK_CONTROL,
    CATALOG_ASK_COMMAND,  // command_id → command_state, text: how far it is
    // What the WAL monitor keeps. pipeline: the scope.
    CATALOG_ASK_WATCH_LOAD,  // → rows
    CATALOG_ASK_WATCH_SAVE,  // claim, rows: put in place of those of their kind and name, in one transaction
    // arguments: {"pipeline": "updated_ms", …}, what is known already → rows: newer statuses of pipelines that other processes run;
    // seen_ms is their updated_ms. None in SQLite.
    CATALOG_ASK_STATUSES,
    // → pipeline, known: one that a service ran (its status says so), that nobody runs now and that is configured no more, as its
    // row was deleted. Its status is forgotten with that, so each is given out once; was_so: there are others. pipeline "": none.
    CATALOG_ASK_LEFT,
    CATALOG_TOLD_CHANGED,    // what is configured may have changed, or a command waits: ask
    CATALOG_TOLD_CLAIM_LOST  // pipeline: it must end at once; its saves fail from now on
};

enum catalog_command_state {
    CATALOG_COMMAND_WAITING,
    CATALOG_COMMAND_TAKEN,
    CATALOG_COMMAND_DONE,
    CATALOG_COMMAND_FAILED
};

struct catalog_command {
    int64_t id;
    char pipeline[CATALOG_NAME_SIZE];
    char word[CATALOG_COMMAND_SIZE];  // "resync"
    char *arguments;                  // JSON; the asker's and the doer's business
};

struct catalog_watch_row {
    char *kind;       // owned: "source", "alerts"
    char *name;       // owned
    char *json;       // owned; in a save NULL: the row is deleted
    char *process;    // owned; of a load
    int64_t seen_ms;  // of a load
};

struct catalog_request {
    enum catalog_request_kind kind;
    char pipeline[CATALOG_NAME_SIZE];
    int64_t command_id;
    bool has_failed;
    char text[ERR_TEXT_SIZE];
    char word[CATALOG_COMMAND_SIZE];
    char *arguments;           // owned; JSON, NULL: {}
    struct mailbox *reply_to;  // NULL: nobody waits
    void *context;             // the asker's
    // The answer. error is clear when it was done.
    struct err error;
    struct catalog_config *config;  // free with the request, or take it and set NULL
    struct catalog_known known;
    struct catalog_command *commands;
    uint32_t command_count;
    struct catalog_watch_row *rows;  // owned
    uint32_t row_count;
    uint64_t claim;  // for catalog_save
    // Monotonic: until then nobody else can have been granted the claim, whatever happens to this process; it may end in the past.
    uint64_t sure_until_us;
    bool was_so;  // CONTROL: it was started (paused) already; command_id 0: no command was needed
    enum catalog_command_state command_state;
};

struct catalog_request *catalog_request_new(enum catalog_request_kind kind, const char *pipeline);
void catalog_request_free(struct catalog_request *request);
// Appends one with copies of the texts; json and process may be NULL.
void catalog_request_add_row(struct catalog_request *request, const char *kind, const char *name, const char *json,
                             const char *process, int64_t seen_ms);
void catalog_request_discard(void *request);  // the same, for mailbox_free
// Any thread; never waits. False: too many are under way, and the request is still the caller's.
bool catalog_ask(struct catalog *catalog, struct catalog_request *take_request);
// Answers a command, without waiting; a catalog that is too far behind to be told is logged. text: one line, cut to fit.
void catalog_command_answer(struct catalog *catalog, int64_t command_id, bool has_failed, const char *text);
// The same for a thread that has no loop yet and waits. The request stays the caller's, with its answer. False: its error.
bool catalog_ask_and_wait(struct catalog *catalog, struct catalog_request *request, struct err *out_error);
// Before catalog_start: where CATALOG_TOLD_… go. The mailbox must live until catalog_close has come back.
void catalog_listen(struct catalog *catalog, struct mailbox *mailbox);

// --- commands to a running service, from a command line (blocking) ---------------------------------------------------

// Adds one for the service that runs the pipeline, and tells it. Those that nobody took within a day are removed.
bool catalog_command_add(struct catalog *catalog, const char *pipeline, const char *word, const char *arguments,
                         int64_t *out_id, struct err *out_error);
// out_text: what the service answered (ERR_TEXT_SIZE bytes), or "".
bool catalog_command_look(struct catalog *catalog, int64_t id, enum catalog_command_state *out_state, char *out_text,
                          struct err *out_error);
// Takes back one that nobody has taken: *out_taken_back false: a service has it already.
bool catalog_command_withdraw(struct catalog *catalog, int64_t id, bool *out_taken_back, struct err *out_error);

#endif
