#include "sinks/append_meter.h"

#include "io/metric_registry.h"

#define TABLE_NAME_SIZE 512

void append_meter_init(struct append_meter *meter, const char *pipeline, const struct table *table, bool is_snowflake)
{
    char name[TABLE_NAME_SIZE];
    table_format_name(table, name, sizeof name);
    *meter = (struct append_meter){
        .rows = metric_get(METRIC_APPEND_ROWS, pipeline),
        .bytes = metric_get(METRIC_APPEND_BYTES, pipeline),
        .duration = metric_get(METRIC_APPEND_DURATION, pipeline),
        .table_rows = metric_get(METRIC_TABLE_ROWS, pipeline, name),
        .table_bytes = metric_get(METRIC_TABLE_BYTES, pipeline, name),
        .snowflake_rows = is_snowflake ? metric_get(METRIC_SNOWFLAKE_ROWS, name) : NULL,
        .snowflake_bytes = is_snowflake ? metric_get(METRIC_SNOWFLAKE_BYTES) : NULL,
    };
}

void append_meter_deinit(struct append_meter *meter)
{
    metric_put(meter->rows);
    metric_put(meter->bytes);
    metric_put(meter->duration);
    metric_put(meter->table_rows);
    metric_put(meter->table_bytes);
    metric_put(meter->snowflake_rows);
    metric_put(meter->snowflake_bytes);
    *meter = (struct append_meter){0};
}

void append_meter_note(const struct append_meter *meter, uint64_t rows, uint64_t bytes, uint64_t took_us)
{
    if (meter == NULL)
        return;
    metric_observe(meter->rows, (double)rows);
    metric_observe(meter->bytes, (double)bytes);
    if (took_us > 0)
        metric_observe(meter->duration, (double)took_us / 1e6);
    metric_add(meter->table_rows, rows);
    metric_add(meter->table_bytes, bytes);
    metric_add(meter->snowflake_rows, rows);
    metric_add(meter->snowflake_bytes, bytes);
}
