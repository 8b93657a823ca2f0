// Compresses the front of a batch into one zstd frame that stays below a limit on the wire. The context belongs to
// the worker thread and is used by one batch at a time.
#ifndef ETL_ENCODE_ZSTD_FRAME_H
#define ETL_ENCODE_ZSTD_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct zstd_worker;  // a ZSTD_CCtx with its settings

struct zstd_worker *zstd_worker_new(int level);  // NULL: out of memory
void zstd_worker_free(struct zstd_worker *worker);

// Compresses data[0 .. cut_offsets[k]) for the largest k < cut_count that surely fits wire_bytes_max, where cut_offsets are rising
// ends of lines (the last one = all of the data). At least the first cut is tried whole: if even that is over the limit, false with ERR_DATA
// "too large" and *out_cut_index = 0. out is overwritten; *out_cut_index tells which cut was reached.
bool zstd_compress_front(struct zstd_worker *worker, const uint8_t *data, const size_t *cut_offsets, size_t cut_count,
                         size_t wire_bytes_max, struct buf *out, size_t *out_cut_index, struct err *out_error);

#endif
