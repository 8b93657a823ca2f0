// Rates: a limit that bytes are taken from (token bucket), and what flowed lately (sliding window). Pure; the caller tells the time.
#ifndef ETL_BASE_RATE_H
#define ETL_BASE_RATE_H

#include <stdint.h>

// Bytes a second. What was not taken is saved up for a twentieth of a second, no longer; more may be taken than is there, and
// is paid back first. Over any second no more passes than the limit, a twentieth of it and the last piece.
struct rate_limit {
    uint64_t bytes_per_second;  // 0: no limit
    int64_t credit_bytes;       // below 0: a debt
    uint64_t remainder;         // of bytes, in millionths
    uint64_t at_us;
};

void rate_limit_init(struct rate_limit *limit, uint64_t bytes_per_second, uint64_t now_us);
// How many bytes may be taken now; 0: none, ask again after *out_wait_us. UINT64_MAX without a limit.
uint64_t rate_limit_available(struct rate_limit *limit, uint64_t now_us, uint64_t *out_wait_us);
void rate_limit_take(struct rate_limit *limit, uint64_t bytes);

#define RATE_WINDOW_SAMPLES 21
#define RATE_WINDOW_STEP_US 500000

// The newest ten seconds of two counters that only grow, by samples half a second apart.
struct rate_window {
    struct rate_sample {
        uint64_t at_us, rows, bytes;
    } samples[RATE_WINDOW_SAMPLES];
    uint32_t count, next;
};

// Notes where the counters stand; call it as often as you like. Counters that went back begin a new window.
void rate_window_note(struct rate_window *window, uint64_t now_us, uint64_t rows, uint64_t bytes);
// Per second, between the window's oldest sample and now; 0 before a tenth of a second has passed.
void rate_window_get(const struct rate_window *window, uint64_t now_us, uint64_t rows, uint64_t bytes,
                     double *out_rows_per_second, double *out_bytes_per_second);

#endif
