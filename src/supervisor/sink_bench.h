// What the sinks of one loop share: HTTP connections, compression, and one login (tokens) per account, user, role and key.
// A pipeline takes a seat, by which its sink is made.
#ifndef ETL_SUPERVISOR_SINK_BENCH_H
#define ETL_SUPERVISOR_SINK_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "sinks/sink.h"
#include "sinks/snowflake/sf_key.h"
#include "supervisor/destination.h"

struct sink_bench;
struct sink_seat;

struct sink_bench *sink_bench_new(struct loop *loop, struct err *out_error);
void sink_bench_free(struct sink_bench *bench);  // after every seat was given back

// destination, key (NULL where none is wanted) and the strings of options are borrowed for the seat's life; identity is
// told later. Give the seat back after its sink was freed.
struct sink_seat *sink_seat_take(struct sink_bench *bench, const struct destination *destination, struct sf_key *key,
                                 const struct destination_sink_options *options);
void sink_seat_give_back(struct sink_seat *seat);
// pipeline_options.sink_new, with the seat as its context.
struct sink *sink_seat_sink_new(void *context, const char *identity, const struct sink_events *events,
                                struct err *out_error);

#endif
