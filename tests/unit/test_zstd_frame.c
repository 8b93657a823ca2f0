#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <zstd.h>

#include "encode/zstd_frame.h"

#define DATA_SIZE ((size_t)24 << 20)
#define WIRE_MAX ((size_t)4 << 20)

static struct zstd_worker *worker;
static struct buf out;
static struct err error;
static uint8_t *data;
static size_t *cuts;
static size_t cut_count;
static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545F4914F6CDD1D);
}

static void fill_random(uint8_t *to, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)random_next();
}

// Lines of `line_size` bytes, of which `noise` do not compress.
static void make_lines(size_t size, size_t line_size, size_t noise)
{
    cut_count = 0;
    for (size_t at = 0; at + line_size <= size; at += line_size) {
        memset(data + at, 'a', line_size);
        fill_random(data + at, noise);
        cuts[cut_count++] = at + line_size;
    }
}

// What came out must be one whole frame of exactly the front, and below the limit.
static void check_front(size_t wire_max, size_t cut_index)
{
    static uint8_t *back;
    if (back == NULL)
        back = malloc(DATA_SIZE);
    assert_non_null(back);
    assert_true(out.size <= wire_max);
    size_t frame_size = ZSTD_findFrameCompressedSize(out.data, out.size);
    assert_int_equal(frame_size, out.size);
    size_t size = ZSTD_decompress(back, DATA_SIZE, out.data, out.size);
    assert_false(ZSTD_isError(size));
    assert_int_equal(size, cuts[cut_index]);
    assert_memory_equal(back, data, size);
}

static size_t compress(size_t wire_max)
{
    size_t cut_index = SIZE_MAX;
    if (!zstd_compress_front(worker, data, cuts, cut_count, wire_max, &out, &cut_index, &error))
        fail_msg("%s", error.text);
    check_front(wire_max, cut_index);
    return cut_index;
}

static void small_batches_go_whole(void **state)
{
    (void)state;
    for (size_t lines = 1; lines < 300; lines += 7) {
        make_lines(lines * 200, 200, 30);
        assert_int_equal(compress(WIRE_MAX), lines - 1);
    }
    make_lines(1, 1, 1);
    assert_int_equal(compress(WIRE_MAX), 0);
}

static void a_backlog_fills_the_wire_limit(void **state)
{
    (void)state;
    static const size_t noise[] = {0, 20, 60, 150, 200};
    for (size_t i = 0; i < 5; i++) {
        make_lines(DATA_SIZE, 200, noise[i]);
        size_t cut = compress(WIRE_MAX);
        if (cut + 1 < cut_count)
            assert_true(out.size > WIRE_MAX - WIRE_MAX / 16);  // not much of the limit is left unused
    }
    // With few cuts the front ends at the last one that surely fits.
    make_lines(DATA_SIZE, (size_t)1 << 20, (size_t)1 << 20);
    assert_int_equal(compress(WIRE_MAX), 2);
}

static void a_row_is_tried_even_when_it_may_not_fit(void **state)
{
    (void)state;
    make_lines(DATA_SIZE, (size_t)8 << 20, (size_t)1 << 20);  // eight megabytes that become one
    assert_int_equal(compress(WIRE_MAX), 0);
    make_lines(DATA_SIZE, (size_t)8 << 20, (size_t)5 << 20);
    size_t cut_index = 7;
    assert_false(zstd_compress_front(worker, data, cuts, cut_count, WIRE_MAX, &out, &cut_index, &error));
    assert_int_equal(error.kind, ERR_DATA);
    assert_string_equal(error.code, "too_large");
    assert_int_equal(cut_index, 0);
    make_lines(1000, 100, 50);  // and the context is usable after it
    assert_int_equal(compress(WIRE_MAX), 9);
}

static void any_limit_holds(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        size_t size = 1000 + random_next() % (1 << 20);
        size_t line_size = 1 + random_next() % 3000;
        if (line_size > size)
            line_size = size;
        make_lines(size, line_size, random_next() % (line_size + 1));
        size_t wire_max = 4096 + random_next() % (1 << 19);
        (void)compress(wire_max);
    }
}

static void failing_memory_is_said(void **state)
{
    (void)state;
    struct buf tiny;
    size_t cut_index;
    buf_init(&tiny, 100);
    make_lines(100000, 200, 200);
    assert_false(zstd_compress_front(worker, data, cuts, cut_count, WIRE_MAX, &tiny, &cut_index, &error));
    assert_int_equal(error.kind, ERR_INTERNAL);
    buf_deinit(&tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_batches_go_whole),
        cmocka_unit_test(a_backlog_fills_the_wire_limit),
        cmocka_unit_test(a_row_is_tried_even_when_it_may_not_fit),
        cmocka_unit_test(any_limit_holds),
        cmocka_unit_test(failing_memory_is_said),
    };
    const char *seed = getenv("ZSTD_SEED");
    random_state = seed != NULL           ? strtoull(seed, NULL, 10)
                   : getenv("CI") != NULL ? 1795707355
                                          : (uint64_t)time(NULL) | 1;
    printf("ZSTD_SEED=%llu\n", (unsigned long long)random_state);
    worker = zstd_worker_new(1);
    data = malloc(DATA_SIZE);
    cuts = malloc(DATA_SIZE * sizeof *cuts / 4);
    buf_init(&out, (size_t)64 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    zstd_worker_free(worker);
    free(data);
    free(cuts);
    buf_deinit(&out);
    return failed;
}
