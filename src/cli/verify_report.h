// What etl-stream verify found, as it is told: lines as the tables are done, or one JSON document at the end; and the progress
// line on a terminal.
#ifndef ETL_CLI_VERIFY_REPORT_H
#define ETL_CLI_VERIFY_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "verify/verify.h"

struct verify_report {
    bool is_json, shows_values, shows_progress;
    uint32_t rows_max;  // differing rows that are shown of a table
    const char *pipeline;
    char position[24];   // "" until it is known
    json_t *rows;        // of the table under way
    uint64_t row_count;  // … that were found
    json_t *tables;
    uint32_t equal, different, not_compared;
    uint32_t failed;  // of those not compared: they should have been
    uint64_t began_us, table_began_us;
    uint64_t bytes_before, bytes_all;
    char progress[200];  // how the line begins
};

void verify_report_init(struct verify_report *report, const char *pipeline);
void verify_report_deinit(struct verify_report *report);
// Callbacks of verify_events, with the report as their context.
struct verify_events verify_report_events(struct verify_report *report);
// The sum; error: why it could not be done (NULL: it was).
void verify_report_end(struct verify_report *report, const struct err *error);

#endif
