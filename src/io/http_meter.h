// What a client's requests count in metrics: by status, how long they took, and by operation what failed. One a client; its thread's.
#ifndef ETL_IO_HTTP_METER_H
#define ETL_IO_HTTP_METER_H

#include <stdint.h>

enum http_meter_kind {
    HTTP_METER_NONE,      // counted nowhere
    HTTP_METER_HTTP,      // etl_http_…: destinations that are URLs
    HTTP_METER_SNOWFLAKE  // etl_snowflake_…
};

#define HTTP_METER_KINDS 3
#define HTTP_METER_STATUSES 600

struct metric;

struct http_meter {
    struct metric
        *requests[HTTP_METER_KINDS][HTTP_METER_STATUSES];  // by status, 0: no answer; made when it comes first
    struct metric *durations[HTTP_METER_KINDS];
};

void http_meter_init(struct http_meter *meter);
void http_meter_deinit(struct http_meter *meter);
// A request has ended: status 0, no answer; took_us 0: it never left. operation: a word for etl_snowflake_errors_total when it failed (no answer,
// or a status from 400 on), NULL: a failure of it says nothing.
void http_meter_note(struct http_meter *meter, enum http_meter_kind kind, const char *operation, uint32_t status,
                     uint64_t took_us);

#endif
