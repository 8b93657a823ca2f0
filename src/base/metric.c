#include "base/metric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"

static double from_bits(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static uint64_t to_bits(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static uint64_t load(const atomic_uint_fast64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void add_double(atomic_uint_fast64_t *value, double difference)
{
    uint_fast64_t old = atomic_load_explicit(value, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(value, &old, to_bits(from_bits(old) + difference),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void metric_raise(struct metric *metric, uint64_t total)
{
    if (metric == NULL)
        return;
    CHECK(metric->family->type == METRIC_COUNTER);
    uint_fast64_t old = atomic_load_explicit(&metric->value, memory_order_relaxed);
    while (old < total && !atomic_compare_exchange_weak_explicit(&metric->value, &old, total, memory_order_relaxed,
                                                                 memory_order_relaxed)) {
    }
}

void metric_set(struct metric *metric, double value)
{
    if (metric == NULL)
        return;
    CHECK(metric->family->type == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, to_bits(value), memory_order_relaxed);
}

void metric_adjust(struct metric *metric, double difference)
{
    if (metric == NULL)
        return;
    CHECK(metric->family->type == METRIC_GAUGE);
    add_double(&metric->value, difference);
}

void metric_observe_times(struct metric *metric, double value, uint64_t times)
{
    if (metric == NULL || times == 0)
        return;
    CHECK(metric->family->type == METRIC_HISTOGRAM);
    const double *bounds = metric->family->buckets;
    size_t i = 0;
    while (bounds[i] != 0 && !(value <= bounds[i]))  // NaN falls into +Inf
        i++;
    atomic_fetch_add_explicit(&metric->buckets[i], times, memory_order_relaxed);
    add_double(&metric->value, value * (double)times);
}

void metric_observe(struct metric *metric, double value)
{
    metric_observe_times(metric, value, 1);
}

double metric_value(const struct metric *metric)
{
    if (metric == NULL)
        return 0;
    switch (metric->family->type) {
    case METRIC_COUNTER: return (double)load(&metric->value);
    case METRIC_GAUGE: return from_bits(load(&metric->value));
    case METRIC_HISTOGRAM: break;
    }
    uint64_t count = 0;
    for (size_t i = 0; i <= metric_bucket_count(metric->family); i++)
        count += load(&metric->buckets[i]);
    return (double)count;
}

size_t metric_label_count(const struct metric_family *family)
{
    size_t count = 0;
    while (family->labels[count] != NULL)
        count++;
    return count;
}

size_t metric_bucket_count(const struct metric_family *family)
{
    size_t count = 0;
    while (family->buckets != NULL && family->buckets[count] != 0)
        count++;
    CHECK(count <= METRIC_BUCKETS_MAX);
    return count;
}

static void append_label_value(struct buf *out, const char *value)
{
    size_t size = strlen(value);
    for (size_t position = 0; position < size;) {
        const uint8_t *at = (const uint8_t *)value + position;
        size_t character = utf8_character_size(at, size - position);
        if (character == 0) {
            buf_append_text(out, UTF8_REPLACEMENT);
            position++;
            continue;
        }
        if (*at == '\n')
            buf_append_text(out, "\\n");
        else if (*at == '"' || *at == '\\')
            buf_appendf(out, "\\%c", *at);
        else
            buf_append(out, at, character);
        position += character;
    }
}

void metric_append_labels(struct buf *out, const struct metric_family *family, const char *const *values)
{
    for (size_t i = 0; family->labels[i] != NULL; i++) {
        buf_appendf(out, "%s%s=\"", i > 0 ? "," : "", family->labels[i]);
        append_label_value(out, values[i]);
        buf_append_text(out, "\"");
    }
}

static void append_count(struct buf *out, uint64_t count)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + count % 10);
    while ((count /= 10) > 0);
    buf_append(out, digits + at, sizeof digits - at);
}

void metric_append_number(struct buf *out, double number)
{
    if (isnan(number) || isinf(number)) {
        buf_append_text(out, isnan(number) ? "NaN" : number > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (number >= 0 && number < 1e15 && number == (double)(uint64_t)number && !signbit(number)) {
        append_count(out, (uint64_t)number);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {  // 17 always read back as the same
        (void)snprintf(text, sizeof text, "%.*g", digits, number);
        if (to_bits(strtod(text, NULL)) == to_bits(number))
            break;
    }
    buf_append_text(out, text);
}

static const char *type_name(enum metric_type type)
{
    switch (type) {
    case METRIC_COUNTER: return "counter";
    case METRIC_GAUGE: return "gauge";
    case METRIC_HISTOGRAM: return "histogram";
    }
    check_failed("a known metric type", __FILE__, __LINE__);
}

void metric_append_head(struct buf *out, const struct metric_family *family)
{
    buf_appendf(out, "# HELP %s ", family->name);
    for (const char *at = family->help; *at != '\0'; at++) {
        if (*at == '\n' || *at == '\\')
            buf_append_text(out, *at == '\n' ? "\\n" : "\\\\");
        else
            buf_append_byte(out, (uint8_t)*at);
    }
    buf_appendf(out, "\n# TYPE %s %s\n", family->name, type_name(family->type));
}

void metric_bounds_format(const struct metric_family *family, struct metric_bounds *out_bounds)
{
    struct buf text;
    buf_init(&text, sizeof out_bounds->texts[0]);
    out_bounds->count = metric_bucket_count(family);
    for (size_t i = 0; i <= out_bounds->count; i++) {
        buf_reset(&text);
        metric_append_number(&text, i < out_bounds->count ? family->buckets[i] : (double)INFINITY);
        (void)snprintf(out_bounds->texts[i], sizeof out_bounds->texts[i], "%s", buf_text(&text));
    }
    buf_deinit(&text);
}

static void append_sample(struct buf *out, const struct metric *metric, const char *suffix)
{
    buf_append_text(out, metric->family->name);
    buf_append_text(out, suffix);
    if (metric->labels[0] != '\0') {
        buf_append_byte(out, '{');
        buf_append_text(out, metric->labels);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ' ');
}

static void append_bucket(struct buf *out, const struct metric *metric, const char *bound, uint64_t count)
{
    buf_append_text(out, metric->family->name);
    buf_append_text(out, "_bucket{");
    buf_append_text(out, metric->labels);
    buf_append_text(out, metric->labels[0] != '\0' ? ",le=\"" : "le=\"");
    buf_append_text(out, bound);
    buf_append_text(out, "\"} ");
    append_count(out, count);
    buf_append_byte(out, '\n');
}

static void append_histogram(struct buf *out, const struct metric *metric, const struct metric_bounds *bounds)
{
    uint64_t count = 0;
    double sum = from_bits(load(&metric->value));
    for (size_t i = 0; i <= bounds->count; i++) {
        count += load(&metric->buckets[i]);
        append_bucket(out, metric, bounds->texts[i], count);
    }
    append_sample(out, metric, "_sum");
    metric_append_number(out, sum);
    buf_append_byte(out, '\n');
    append_sample(out, metric, "_count");
    append_count(out, count);
    buf_append_byte(out, '\n');
}

void metric_append_series(struct buf *out, const struct metric *metric, const struct metric_bounds *bounds)
{
    if (metric->family->type == METRIC_HISTOGRAM) {
        append_histogram(out, metric, bounds);
        return;
    }
    append_sample(out, metric, "");
    if (metric->family->type == METRIC_COUNTER)
        append_count(out, load(&metric->value));
    else
        metric_append_number(out, from_bits(load(&metric->value)));
    buf_append_byte(out, '\n');
}

static void append_row(struct buf *out, const struct metric_family *family)
{
    buf_appendf(out, "| `%s", family->name);
    for (size_t i = 0; family->labels[i] != NULL; i++)
        buf_appendf(out, "%s%s", i > 0 ? "," : "{", family->labels[i]);
    buf_appendf(out, "%s` | %s | %s. %s |\n", family->labels[0] != NULL ? "}" : "", type_name(family->type),
                family->help, family->detail);
}

void metric_append_reference(struct buf *out)
{
    buf_append_text(
        out, "# Metrics\n\n"
             "<!-- made by: etl-stream help metrics > docs/metrics.md -->\n\n"
             "`/metrics` has them in Prometheus' text format. A family appears with its first series; what has no "
             "labels is there from the start. A series ends when its pipeline, table or source is removed; "
             "a renamed table has new ones. What names a table and no pipeline stays as long as the process.\n");
    for (int ours = 0; ours <= 1; ours++) {
        buf_append_text(out, ours ? "\n## More\n\n"
                                  : "\n## As in the first etl-stream\n\n"
                                    "Names and labels are a contract; dashboards built on them go on.\n\n");
        buf_append_text(out, "| name | type | what |\n|---|---|---|\n");
        for (size_t i = 0; i < METRIC_ID_COUNT; i++) {
            if (metric_families[i].is_contract == (ours == 0))
                append_row(out, &metric_families[i]);
        }
    }
    buf_append_text(out, "\n## Buckets\n\n| name | upper bounds |\n|---|---|\n");
    for (size_t i = 0; i < METRIC_ID_COUNT; i++) {
        if (metric_families[i].type != METRIC_HISTOGRAM)
            continue;
        buf_appendf(out, "| `%s` |", metric_families[i].name);
        for (const double *bound = metric_families[i].buckets; *bound != 0; bound++) {
            buf_append_byte(out, ' ');
            metric_append_number(out, *bound);
        }
        buf_append_text(out, " |\n");
    }
}
