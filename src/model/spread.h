// Which of a table's channels a stream row takes: a pure function of its sequence and of the steps. From a step's
// sequence on its number of channels is in force, until the next step's:
//
//   01…0000000000:1  01…16B374D848…00003001:2  01…16C0000000…:4
//   ├── channel 0 ──┤├── channels 0 and 1 ────┤├── channels 0 to 3 …
//
// A row that is read again takes the same channel again as long as the step in force at its sequence is known; so steps
// are kept until the floor, below which nothing is read again, has reached the next one.
// Invariant: steps rise strictly by sequence and by number, and all have one epoch (other epochs have other channels).
// With no step everything takes channel 0.
#ifndef ETL_MODEL_SPREAD_H
#define ETL_MODEL_SPREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/seq.h"

#define SPREAD_CHANNELS_MAX 16
#define SPREAD_STEPS_MAX 8
// A step is "<sequence>:<number>", steps are separated by a blank.
#define SPREAD_TEXT_SIZE (SPREAD_STEPS_MAX * (SEQ_TEXT_SIZE + sizeof ":16 "))

struct spread_step {
    struct seq from;
    uint32_t channel_count;
};

struct spread {
    uint32_t step_count;
    struct spread_step steps[SPREAD_STEPS_MAX];
};

// The channel's number: ((commit_lsn >> 16) + (ordinal >> 12)) mod the number in force. Neighbours stay together (64 kB of
// WAL, 2,048 rows of one transaction), so that batches stay whole.
uint32_t spread_channel(const struct spread *spread, const struct seq *seq);
uint32_t spread_channel_count(const struct spread *spread);  // in force for new rows; 1 at least
// False, with nothing changed: no room for another step, or it is not above the last one in sequence and number (up to
// SPREAD_CHANNELS_MAX).
bool spread_add(struct spread *spread, const struct seq *from, uint32_t channel_count);
bool spread_is_same(const struct spread *a, const struct spread *b);
void spread_trim(struct spread *spread, const struct seq *floor);  // forgets steps that no row from floor on needs
void spread_format(const struct spread *spread, char out_text[SPREAD_TEXT_SIZE]);  // with a NUL; "" without steps
bool spread_parse(const char *text, struct spread *out_spread);  // strict; false also where the invariant is broken

#endif
