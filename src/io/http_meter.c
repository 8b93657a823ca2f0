#include "io/http_meter.h"

#include <stdio.h>

#include "base/check.h"
#include "io/metric_registry.h"

static const enum metric_id request_ids[] = {METRIC_ID_COUNT, METRIC_HTTP_REQUESTS, METRIC_SNOWFLAKE_REQUESTS};
static const enum metric_id duration_ids[] = {METRIC_ID_COUNT, METRIC_HTTP_DURATION, METRIC_SNOWFLAKE_DURATION};

void http_meter_init(struct http_meter *meter)
{
    *meter = (struct http_meter){0};
    for (int kind = HTTP_METER_HTTP; kind <= HTTP_METER_SNOWFLAKE; kind++)
        meter->durations[kind] = metric_get(duration_ids[kind]);
}

void http_meter_deinit(struct http_meter *meter)
{
    for (int kind = HTTP_METER_HTTP; kind <= HTTP_METER_SNOWFLAKE; kind++) {
        metric_put(meter->durations[kind]);
        for (int i = 0; i < HTTP_METER_STATUSES; i++)
            metric_put(meter->requests[kind][i]);
    }
}

void http_meter_note(struct http_meter *meter, enum http_meter_kind kind, const char *operation, uint32_t status,
                     uint64_t took_us)
{
    if (kind == HTTP_METER_NONE)
        return;
    CHECK((unsigned)kind < HTTP_METER_KINDS);
    struct metric **requests = &meter->requests[kind][status < HTTP_METER_STATUSES ? status : HTTP_METER_STATUSES - 1];
    if (*requests == NULL) {
        char text[16] = "error";
        if (status != 0)
            (void)snprintf(text, sizeof text, "%u", status);
        *requests = metric_get(request_ids[kind], text);
    }
    metric_add(*requests, 1);
    if (took_us > 0)
        metric_observe(meter->durations[kind], (double)took_us / 1e6);
    if (kind == HTTP_METER_SNOWFLAKE && operation != NULL && (status == 0 || status >= 400))
        metric_add_to(METRIC_SNOWFLAKE_ERRORS, 1, operation);
}
