#include "base/rate.h"

#include <string.h>

#include "base/check.h"

#define SAVED_FRACTION 20  // of a second
#define MICROSECONDS 1000000

void rate_limit_init(struct rate_limit *limit, uint64_t bytes_per_second, uint64_t now_us)
{
    CHECK(bytes_per_second <= INT64_MAX / MICROSECONDS);
    *limit = (struct rate_limit){.bytes_per_second = bytes_per_second, .at_us = now_us};
}

static void refill(struct rate_limit *limit, uint64_t now_us)
{
    int64_t saved_max = (int64_t)(limit->bytes_per_second / SAVED_FRACTION) + 1;
    uint64_t passed_us = now_us - limit->at_us;
    limit->at_us = now_us;
    if (passed_us > MICROSECONDS) {  // a second is more than can be saved; the debt may be larger
        uint64_t seconds = passed_us / MICROSECONDS;
        uint64_t debt = limit->credit_bytes < 0 ? (uint64_t)-limit->credit_bytes : 0;
        if (debt / limit->bytes_per_second < seconds)
            limit->credit_bytes = saved_max;
        else
            limit->credit_bytes += (int64_t)(seconds * limit->bytes_per_second);
        passed_us %= MICROSECONDS;
    }
    uint64_t millionths = passed_us * limit->bytes_per_second + limit->remainder;
    limit->credit_bytes += (int64_t)(millionths / MICROSECONDS);
    limit->remainder = millionths % MICROSECONDS;
    if (limit->credit_bytes > saved_max)
        limit->credit_bytes = saved_max;
}

uint64_t rate_limit_available(struct rate_limit *limit, uint64_t now_us, uint64_t *out_wait_us)
{
    *out_wait_us = 0;
    if (limit->bytes_per_second == 0)
        return UINT64_MAX;
    refill(limit, now_us);
    if (limit->credit_bytes > 0)
        return (uint64_t)limit->credit_bytes;
    // Until a hundredth of a second's bytes are there: waking up for single bytes is not worth it.
    uint64_t wanted = (uint64_t)-limit->credit_bytes + limit->bytes_per_second / 100 + 1;
    *out_wait_us = wanted / limit->bytes_per_second * MICROSECONDS +
                   wanted % limit->bytes_per_second * MICROSECONDS / limit->bytes_per_second + 1;
    return 0;
}

void rate_limit_take(struct rate_limit *limit, uint64_t bytes)
{
    if (limit->bytes_per_second > 0)
        limit->credit_bytes -= (int64_t)bytes;
}

// ---- the window

static const struct rate_sample *sample_at(const struct rate_window *window, uint32_t age)
{
    return &window->samples[(window->next + RATE_WINDOW_SAMPLES - 1 - age) % RATE_WINDOW_SAMPLES];
}

void rate_window_note(struct rate_window *window, uint64_t now_us, uint64_t rows, uint64_t bytes)
{
    if (window->count > 0) {
        const struct rate_sample *newest = sample_at(window, 0);
        if (rows < newest->rows || bytes < newest->bytes)
            memset(window, 0, sizeof *window);
        else if (now_us - newest->at_us < RATE_WINDOW_STEP_US)
            return;
    }
    window->samples[window->next] = (struct rate_sample){.at_us = now_us, .rows = rows, .bytes = bytes};
    window->next = (window->next + 1) % RATE_WINDOW_SAMPLES;
    if (window->count < RATE_WINDOW_SAMPLES)
        window->count++;
}

void rate_window_get(const struct rate_window *window, uint64_t now_us, uint64_t rows, uint64_t bytes,
                     double *out_rows_per_second, double *out_bytes_per_second)
{
    const uint64_t length_us = (uint64_t)(RATE_WINDOW_SAMPLES - 1) * RATE_WINDOW_STEP_US;
    *out_rows_per_second = *out_bytes_per_second = 0;
    // The oldest that is young enough; where nothing was noted for long, the newest before that.
    for (uint32_t age = window->count; age-- > 0;) {
        const struct rate_sample *sample = sample_at(window, age);
        if (now_us - sample->at_us > length_us && age > 0)
            continue;
        double seconds = (double)(now_us - sample->at_us) / MICROSECONDS;
        if (seconds < 0.1 || rows < sample->rows || bytes < sample->bytes)
            return;
        *out_rows_per_second = (double)(rows - sample->rows) / seconds;
        *out_bytes_per_second = (double)(bytes - sample->bytes) / seconds;
        return;
    }
}
