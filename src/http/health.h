// Whether the service is well, from what its main thread publishes of itself (supervisor/report.h). Pure.
#ifndef ETL_HTTP_HEALTH_H
#define ETL_HTTP_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

// How old the main thread's word may be: it publishes four times a second.
#define HEALTH_FRESH_US 10000000

struct health {
    bool is_ready;
    bool is_fresh;  // the main thread turns
    bool is_database_healthy;
    int64_t active;  // pipelines that run in this process
    char database_message[64];
};

// service: the document; NULL: nothing was published yet, and published_us is when that began. now_us: wall clock.
struct health health_read(const char *service, int64_t published_us, int64_t now_us);

#endif
