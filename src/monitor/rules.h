// From what is known of a source and its pipelines to what is wrong with them. Pure: facts, settings and the time in,
// conditions into the book.
#ifndef ETL_MONITOR_RULES_H
#define ETL_MONITOR_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/alert_book.h"
#include "monitor/settings.h"
#include "monitor/watched.h"

struct rules_source {
    const char *name;
    bool was_checked;               // a look has ended, well or not
    bool is_up;                     // the newest one ended well
    const char *error;              // why not
    const struct wal_facts *facts;  // of the newest that ended well; position "": none yet
    const struct watched_pipeline *pipelines;
};

// The contract's level of the size of pg_wal.
enum alert_level rules_wal_level(const struct monitor_settings *settings, int64_t wal_bytes);
// Everything that is wrong with the source and its pipelines, between alert_book_begin and _end.
void rules_see(struct alert_book *book, const struct monitor_settings *settings, const struct rules_source *source);
// What the service's main thread says of itself (supervisor/report.h): whether its catalog answers.
void rules_see_service(struct alert_book *book, const struct monitor_settings *settings, const char *service_json);
// What is shown of a slot, beside a pipeline's name: of the payload, of the board.
json_t *rules_slot_json(const struct watched_pipeline *pipeline, uint64_t now_us);

#endif
