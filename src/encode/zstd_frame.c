#include "encode/zstd_frame.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/check.h"

// A step of input after which the frame's size is known exactly. zstd cuts blocks of 128 kB by itself, so a flush there costs little.
#define STEP_BYTES ((size_t)128 << 10)
// Steps that would not surely fit are halved, but not below this: small blocks compress badly, and what is left out is little.
#define STEP_BYTES_MIN ((size_t)8 << 10)
// Header of a frame (at most 18 bytes), an empty last block (3), and the header that a flush may add to each block (3).
#define FRAME_OVERHEAD 64

struct zstd_worker {
    ZSTD_CCtx *context;
};

struct zstd_worker *zstd_worker_new(int level)
{
    struct zstd_worker *worker = malloc(sizeof *worker);
    if (worker == NULL)
        return NULL;
    worker->context = ZSTD_createCCtx();
    if (worker->context == NULL ||
        ZSTD_isError(ZSTD_CCtx_setParameter(worker->context, ZSTD_c_compressionLevel, level))) {
        zstd_worker_free(worker);
        return NULL;
    }
    return worker;
}

void zstd_worker_free(struct zstd_worker *worker)
{
    if (worker == NULL)
        return;
    (void)ZSTD_freeCCtx(worker->context);
    free(worker);
}

// The frame as it grows. Invariant: data[0 .. cut_offsets[cuts_done - 1]) is compressed and flushed into out.
struct frame {
    ZSTD_CCtx *context;
    const uint8_t *data;
    const size_t *cut_offsets;
    size_t cut_count;
    size_t cuts_done;
    size_t wire_bytes_max;
    struct buf *out;
};

static size_t frame_position(const struct frame *frame)
{
    return frame->cuts_done == 0 ? 0 : frame->cut_offsets[frame->cuts_done - 1];
}

static bool surely_fits(const struct frame *frame, size_t size)
{
    size_t room = frame->wire_bytes_max - frame->out->size;
    return size < frame->wire_bytes_max && room >= FRAME_OVERHEAD && ZSTD_compressBound(size) <= room - FRAME_OVERHEAD;
}

// The last cut (as a count of cuts) within `size` bytes from here, at least one cut more than now. Cuts rise, so: bisection.
static size_t cuts_within(const struct frame *frame, size_t size)
{
    size_t position = frame_position(frame);
    size_t low = frame->cuts_done + 1;
    size_t high = frame->cut_count;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (frame->cut_offsets[middle - 1] - position <= size)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// How many cuts are done after the next step; as many as now when the frame is full.
static size_t next_step(const struct frame *frame)
{
    size_t position = frame_position(frame);
    for (size_t size = STEP_BYTES;; size /= 2) {
        size_t cuts = cuts_within(frame, size);
        if (surely_fits(frame, frame->cut_offsets[cuts - 1] - position))
            return cuts;
        if (size <= STEP_BYTES_MIN || cuts == frame->cuts_done + 1)
            return frame->cuts_done;
    }
}

// Feeds bytes and takes what comes out, up to the limit on the wire. False: it is reached, or memory is out (out->failed).
static bool feed(struct frame *frame, const uint8_t *bytes, size_t size, ZSTD_EndDirective directive)
{
    ZSTD_inBuffer input = {.src = bytes, .size = size};
    size_t left;
    do {
        size_t room = frame->wire_bytes_max - frame->out->size;
        size_t wanted = ZSTD_compressBound(size - input.pos) + FRAME_OVERHEAD;
        if (room == 0 || !buf_reserve(frame->out, wanted < room ? wanted : room))
            return false;
        size_t free_bytes = frame->out->capacity - frame->out->size;
        ZSTD_outBuffer output = {.dst = frame->out->data + frame->out->size,
                                 .size = free_bytes < room ? free_bytes : room};
        left = ZSTD_compressStream2(frame->context, &output, &input, directive);
        if (ZSTD_isError(left)) {  // memory for the context's tables, asked for at its first use
            frame->out->failed = true;
            return false;
        }
        frame->out->size += output.pos;
    } while (left != 0 || input.pos < input.size);
    return true;
}

static bool frame_fail(const struct frame *frame, struct err *out_error)
{
    if (frame->out->failed)
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "out of memory for %zu compressed bytes",
                       frame->wire_bytes_max);
    return err_set(out_error, ERR_DATA, "too_large", "%zu bytes of rows are more than %zu when compressed",
                   frame->cut_offsets[0], frame->wire_bytes_max);
}

bool zstd_compress_front(struct zstd_worker *worker, const uint8_t *data, const size_t *cut_offsets, size_t cut_count,
                         size_t wire_bytes_max, struct buf *out, size_t *out_cut_index, struct err *out_error)
{
    CHECK(cut_count > 0 && wire_bytes_max > 2 * FRAME_OVERHEAD);
    struct frame frame = {
        .context = worker->context,
        .data = data,
        .cut_offsets = cut_offsets,
        .cut_count = cut_count,
        .wire_bytes_max = wire_bytes_max,
        .out = out,
    };
    buf_reset(out);
    *out_cut_index = 0;
    CHECK(!ZSTD_isError(ZSTD_CCtx_reset(worker->context, ZSTD_reset_session_only)));
    // Begun without an end in sight: a context that knows the size beforehand is laid out anew for every batch, and zstd then allocates.
    ZSTD_inBuffer nothing = {.src = data};
    ZSTD_outBuffer nowhere = {.dst = NULL};
    if (ZSTD_isError(ZSTD_compressStream2(worker->context, &nowhere, &nothing, ZSTD_e_continue)))
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "out of memory for compression");

    while (frame.cuts_done < cut_count) {
        size_t cuts = next_step(&frame);
        bool is_first = frame.cuts_done == 0;
        if (cuts == frame.cuts_done && !is_first)
            break;
        if (cuts == frame.cuts_done)  // not sure to fit, but nothing else can be sent
            cuts = 1;
        size_t position = frame_position(&frame);
        size_t size = cut_offsets[cuts - 1] - position;
        ZSTD_EndDirective directive = cuts == cut_count ? ZSTD_e_end : ZSTD_e_flush;
        if (!feed(&frame, data + position, size, directive))
            return frame_fail(&frame, out_error);
        frame.cuts_done = cuts;
    }
    if (frame.cuts_done < cut_count && !feed(&frame, NULL, 0, ZSTD_e_end))
        return frame_fail(&frame, out_error);
    *out_cut_index = frame.cuts_done - 1;
    return true;
}
