// The sequence of a row: epoch (2 hex digits), commit LSN (16), ordinal (8), upper case, no separators:
// 26 characters that sort as the source's commit order. It is the stream channels' offset token as well.
// The ordinal is 2 x the message's number in its transaction (from 1), + 1 for the second half of a split
// update; copied rows have 0. A position P as text is the first 18 characters ("below P" is seq < that text).
#ifndef ETL_MODEL_SEQ_H
#define ETL_MODEL_SEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/lsn.h"

#define SEQ_TEXT_SIZE 26
#define SEQ_POSITION_TEXT_SIZE 18
#define SEQ_ORDINAL_MAX UINT32_MAX

struct seq {
    lsn_t commit_lsn;
    uint32_t ordinal;
    uint8_t epoch;  // from 1
};

void seq_format(const struct seq *seq, char out_text[SEQ_TEXT_SIZE]);                            // no NUL
void seq_format_position(uint8_t epoch, lsn_t position, char out_text[SEQ_POSITION_TEXT_SIZE]);  // no NUL
bool seq_parse(const char *text, size_t size, struct seq *out_seq);                              // strict
int seq_compare(const struct seq *a, const struct seq *b);                                       // <0, 0, >0

#endif
