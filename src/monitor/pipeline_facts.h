// What a pipeline's published status says of its trouble and its progress. Pure but for the JSON reader: the text comes from
// the board, and only a text that is new is read.
#ifndef ETL_MONITOR_PIPELINE_FACTS_H
#define ETL_MONITOR_PIPELINE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "model/lsn.h"

struct pipeline_parked {
    char *name;  // "schema.table"
    char *reason, *remedy;
    bool is_rows_refused;  // the destination dropped rows, which is why
};

struct pipeline_facts {
    bool is_known;                                     // a status was read
    char *state;                                       // "running"
    char *error;                                       // NULL: none
    char *reason;                                      // its code, or NULL
    char *remedy;                                      // or NULL
    lsn_t received_lsn, committed_lsn, confirmed_lsn;  // LSN_NONE: not told
    bool is_copying;
    char *waits_for;  // its stream, until a changed definition is followed; NULL: it does not stand
    uint64_t rows_sent;
    uint64_t progress_mark;  // differs when anything was committed, merged or copied
    bool has_tables;         // it says what its tables are
    struct pipeline_parked *parked;
    uint32_t parked_count;
};

// Reads a status document in place of what *facts held. A text that is none leaves it unknown.
void pipeline_facts_read(struct pipeline_facts *facts, const char *status_json);
void pipeline_facts_deinit(struct pipeline_facts *facts);
bool pipeline_facts_is_running(const struct pipeline_facts *facts);
bool pipeline_facts_is_paused(const struct pipeline_facts *facts);
bool pipeline_facts_is_elsewhere(const struct pipeline_facts *facts);  // all that it says: another process runs it
// It is between its start and running: it waits for both ends.
bool pipeline_facts_is_starting(const struct pipeline_facts *facts);

#endif
