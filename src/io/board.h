// Published snapshots: under each key the newest text that somebody published, for any thread to read. This is how status
// leaves its owner: the owner hands over a finished copy, readers (the HTTP side, the monitor) hold a reference for as long
// as they like, and nobody waits for anybody. The lock inside is held for a pointer swap or to count references, never
// over I/O, allocation or freeing.
//
//   a worker      board_put("pipeline/shop", {…}) ──►  board  ──►  board_get … board_text_release   http thread
//   main thread   board_put("service", {…})       ──►         ──►  board_each("pipeline/", …)       monitor
//
// Keys in use: "service" and "jobs" (supervisor/report.h), "pipeline/NAME" (the pipeline while it runs, the service otherwise).
#ifndef ETL_IO_BOARD_H
#define ETL_IO_BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct board;

// Immutable; valid while the reference is held.
struct board_text {
    const char *key;
    const char *text;  // size bytes and a zero
    size_t size;
    int64_t published_us;  // wall clock
    uint64_t version;      // grows with every put on the board, whatever the key
};

struct board *board_new(const struct clock *clock);
void board_free(struct board *board);  // no thread uses it any more; references that are still held stay good

// Any thread. Publishes under the key in place of what was there. take_text: heap; NULL: the key is removed.
void board_put(struct board *board, const char *key, char *take_text);
// Any thread. A reference to the newest text, to give back by board_text_release; NULL: nothing is published there.
const struct board_text *board_get(struct board *board, const char *key);
void board_text_release(const struct board_text *text);  // any thread; NULL is harmless
// Any thread. Calls on_text for every key that begins with prefix ("": all), in the order of their bytes, without the
// lock: it may use the board. All texts are of one instant. Each is valid in the call only.
void board_each(struct board *board, const char *prefix, void (*on_text)(void *context, const struct board_text *text),
                void *context);
uint64_t board_version(struct board *board);  // of the newest put; 0: nothing was ever put

#endif
