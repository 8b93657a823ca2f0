// A circuit breaker: after several failures in a row nothing is sent for a while, then one trial at a time, until it is well
// again. Pure: time comes in, decisions go out. The numbers are the contract's (compatibility).
//
//   CLOSED ─ 5 failures within 60 s, no success between ─► OPEN ─ 30 s ─► HALF_OPEN ─ 2 successes ─► CLOSED
//                                                            ◄─ a failure ─┘
#ifndef ETL_IO_BREAKER_H
#define ETL_IO_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_FAILURES 5
#define BREAKER_WINDOW_US 60000000
#define BREAKER_PAUSE_US 30000000
#define BREAKER_SUCCESSES 2

struct breaker_meter;

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

struct breaker {
    enum breaker_state state;
    uint64_t failures_us[BREAKER_FAILURES];  // the newest, without a success since; a ring
    uint32_t failure_count, next_failure;
    uint32_t success_count;  // HALF_OPEN
    bool is_trial_out;       // HALF_OPEN: one request at a time
    uint64_t open_until_us;  // OPEN
    uint64_t opened_count, rejected_count;
    char reason[768];  // what the newest failure was; whoever reports it writes it
    // io/breaker_meter.h: where it is shown, and what was shown last.
    struct breaker_meter *meter;
    enum breaker_state shown_state;
    uint64_t shown_rejected;
};

// Starts as zeros: closed. All times monotonic, in microseconds.
bool breaker_may_send(struct breaker *breaker, uint64_t now_us);  // false: counted as rejected, do not send
void breaker_succeeded(struct breaker *breaker);
void breaker_failed(struct breaker *breaker, uint64_t now_us);
void breaker_abandoned(struct breaker *breaker);  // a request was given up before its outcome was known
uint64_t breaker_open_us(const struct breaker *breaker, uint64_t now_us);  // how long it stays open still; 0: it is not
const char *breaker_state_name(enum breaker_state state);

#endif
