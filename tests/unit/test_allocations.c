// No allocation on the way of a row: message → decoded → NDJSON → compressed, once buffers have their size.
//
// Every malloc, calloc, realloc and free of the process is counted, the libraries' too. Without a sanitizer this file's own
// functions stand before the C library's; with one its hooks tell.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/encoding.h"
#include "encode/ndjson.h"
#include "encode/zstd_frame.h"
#include "io/metric_registry.h"
#include "pg/copy_binary.h"
#include "pg/pgoutput.h"
#include "unit/encode_tables.h"

// volatile: compilers know malloc and believe that it changes nothing of ours.
static volatile bool is_counting;
static volatile size_t allocations;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#ifdef HAS_SANITIZER
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *block, size_t size)
{
    (void)block;
    (void)size;
    allocations = allocations + is_counting;
}

static void on_free(const volatile void *block)
{
    (void)block;
}

static void install_counter(void)
{
    assert_true(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
}
#else
// glibc's own names for them: https://sourceware.org/glibc/manual/latest/html_node/Replacing-malloc.html
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

void *malloc(size_t size)
{
    allocations = allocations + is_counting;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations = allocations + is_counting;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    allocations = allocations + is_counting;
    return __libc_realloc(block, size);
}

static void install_counter(void)
{
}
#endif

#define COLUMNS 19
#define ROWS_PER_BATCH 500
#define BATCHES 40

static struct column columns[COLUMNS];
static uint16_t key_columns[1];
static struct table table;
static struct pgoutput_scratch scratch;
static struct row_encoder encoder;
static struct buf message;
static struct buf batch;
static struct buf compressed;
static struct zstd_worker *worker;
static size_t cuts[ROWS_PER_BATCH];
static struct err error;

static void describe_table(void)
{
    static const uint32_t oids[COLUMNS] = {
        OID_INT8, OID_TEXT,  OID_NUMERIC, OID_FLOAT8, OID_TIMESTAMPTZ, OID_DATE,
        OID_UUID, OID_JSONB, OID_BYTEA,   OID_BOOL,   OID_INT4_ARRAY,  OID_NUMERIC,
        OID_TEXT, 1186,      869,         114};  // interval, inet, json; composite, hstore and range follow
    static char names[COLUMNS][8];
    static char schema_name[] = "public";
    static char table_name[] = "rows";
    for (int16_t i = 0; i < COLUMNS; i++) {
        snprintf(names[i], sizeof names[i], "c%d", i);
        columns[i] = make_column(names[i], oids[i] != 0 ? oids[i] : OID_TEXT, (int16_t)(i + 1), i == 0 ? 0 : -1);
    }
    struct source_type *composite = new_type(SOURCE_COMPOSITE, 99990, -1);
    add_part(composite, "a", base_type(OID_INT4, -1));
    add_part(composite, "b", base_type(OID_TEXT, -1));
    struct source_type *hstore = new_type(SOURCE_BASE, 99991, -1);
    memcpy(&hstore->extension, &(const char *){"hstore"}, sizeof(char *));
    memcpy(&hstore->name, &(const char *){"hstore"}, sizeof(char *));
    struct source_type *range = new_type(SOURCE_RANGE, 99992, -1);
    add_part(range, "", base_type(OID_TEXT, -1));
    columns[COLUMNS - 3].type = array_type(composite);
    columns[COLUMNS - 2].type = hstore;
    columns[COLUMNS - 1].type = range;
    table = (struct table){.schema_name = schema_name,
                           .table_name = table_name,
                           .columns = columns,
                           .column_count = COLUMNS,
                           .key_count = 1,
                           .key_columns = key_columns};
}

static void put_u32(uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_append_byte(&message, (uint8_t)(number >> shift));
}

static void put_value(char kind, const void *bytes, size_t size)
{
    buf_append_byte(&message, (uint8_t)kind);
    put_u32((uint32_t)size);
    buf_append(&message, bytes, size);
}
#define PUT_BYTES(literal) put_value('b', literal, sizeof(literal) - 1)

static void put_binary_tuple(uint32_t number)
{
    uint8_t id[8] = {
        0, 0, 0, 0, (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    buf_append(&message, "\0\23", 2);
    put_value('b', id, 8);
    PUT_BYTES("some \"text\" with \303\244 and\nlines");
    PUT_BYTES("\0\3\0\1\0\0\0\4\0\14\15\200\36\170");  // 123456.7800
    PUT_BYTES("\77\363\300\312\102\214\131\373");      // 1.2345678…
    PUT_BYTES("\0\3\7\211\33\157\100\0");
    PUT_BYTES("\0\0\46\0");
    PUT_BYTES("0123456789abcdef");
    PUT_BYTES("\1{\"a\": [1, 2.50, null], \"b\": \"x\"}");
    PUT_BYTES("bytes of no size to speak of");
    PUT_BYTES("\1");
    PUT_BYTES("\0\0\0\1\0\0\0\1\0\0\0\27\0\0\0\2\0\0\0\1\0\0\0\4\0\0\0\7\377\377\377\377");
    PUT_BYTES("\0\0\0\0\300\0\0\0");  // NaN: coerced
    PUT_BYTES("bad \377 byte");       // coerced
    PUT_BYTES("\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\15");
    PUT_BYTES("\2\10\0\4\12\0\0\1");
    PUT_BYTES("{\"a\": {\"b\": 1, \"c\": 2}, \"d\": 3}");
    PUT_BYTES("\0\0\0\1\0\0\0\0\0\1\206\226\0\0\0\1\0\0\0\1\0\0\0\37\0\0\0\2\0\0\0\27\0\0\0\4\0\0\0\7\0\0\0\31\0\0\0\7x"
              " \"y\" z");
    PUT_BYTES("\0\0\0\1\0\0\0\1k\0\0\0\1v");
    PUT_BYTES("\2\0\0\0\3a b\0\0\0\1c");
}

static void put_text_tuple(uint32_t number)
{
    static const char *const texts[COLUMNS - 1] = {"some \"text\" with \303\244 and\nlines",
                                                   "123456.7800",
                                                   "1.2345678",
                                                   "2026-11-23 22:30:00.5+00",
                                                   "2026-11-23",
                                                   "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                                                   "{\"a\": [1, 2.50, null]}",
                                                   "\\x0001020304",
                                                   "t",
                                                   "{1,NULL,\"3\"}",
                                                   "NaN",
                                                   "bad \377 byte",
                                                   "P1Y1M1DT0.000001S",
                                                   "10.0.0.1/8",
                                                   "{\"a\": {\"b\": 1, \"c\": 2}, \"d\": 3}",
                                                   "{\"(7,\\\"x \\\"\\\"y\\\"\\\" z\\\")\",NULL}",
                                                   "\"k\\\"\"=>\"v\"",
                                                   "[\"a b\",c)"};
    char id[16];
    int size = snprintf(id, sizeof id, "%u", number);
    buf_append(&message, "\0\23", 2);
    put_value('t', id, (size_t)size);
    for (size_t i = 0; i < COLUMNS - 1; i++)
        put_value('t', texts[i], strlen(texts[i]));
}

static void put_update(uint32_t number, bool is_text)
{
    buf_reset(&message);
    buf_append_byte(&message, 'U');
    put_u32(16385);
    buf_append_byte(&message, 'K');
    buf_append(&message, "\0\23", 2);
    put_value('t', "12", 2);
    for (size_t i = 0; i < COLUMNS - 1; i++)
        buf_append_byte(&message, 'n');
    buf_append_byte(&message, 'N');
    if (is_text)
        put_text_tuple(number);
    else
        put_binary_tuple(number);
}

static void run_batch(uint32_t first, bool is_text)
{
    struct pgoutput_message decoded;
    size_t cut_index;
    buf_reset(&batch);
    for (uint32_t i = 0; i < ROWS_PER_BATCH; i++) {
        put_update(first + i, is_text);
        assert_true(pgoutput_decode(message.data, message.size, &scratch, &decoded, &error));
        struct row_change change = {
            .op = 'U',
            .seq = {.epoch = 1, .commit_lsn = 0x1000, .ordinal = 2 * (i + 1)},
            .new_row = decoded.change.new_row,
            .old_row = decoded.change.old_row,
        };
        if (!ndjson_append_change(&encoder, &change, &batch, &error))
            fail_msg("%s", error.text);
        cuts[i] = batch.size;
    }
    if (!zstd_compress_front(worker, batch.data, cuts, ROWS_PER_BATCH, (size_t)4 << 20, &compressed, &cut_index,
                             &error))
        fail_msg("%s", error.text);
    assert_int_equal(cut_index, ROWS_PER_BATCH - 1);
}

static size_t allocations_of(const char *encoding, bool is_text)
{
    struct typemap_options options = {0};
    assert_true(row_encoder_init(&encoder, &table, encoding_find(encoding), &options, &error));
    run_batch(0, is_text);  // buffers take their size here
    run_batch(1, is_text);
    allocations = 0;
    is_counting = true;
    for (uint32_t i = 0; i < BATCHES; i++)
        run_batch(i * ROWS_PER_BATCH, is_text);
    is_counting = false;
    assert_true(encoder.moved_rows >= BATCHES * ROWS_PER_BATCH);
    assert_true(encoder.coerced_values >= encoder.moved_rows);
    row_encoder_deinit(&encoder);
    return allocations;
}

static void the_counter_counts(void **state)
{
    (void)state;
    allocations = 0;
    is_counting = true;
    void *volatile block = malloc(100);
    block = realloc(block, 100000);
    is_counting = false;
    free(block);
    assert_int_equal(allocations, 2);
}

static void a_row_in_binary_allocates_nothing(void **state)
{
    (void)state;
    assert_int_equal(allocations_of("UTF8", false), 0);
}

static void a_row_in_text_allocates_nothing(void **state)
{
    (void)state;
    assert_int_equal(allocations_of("UTF8", true), 0);
}

static void a_row_in_another_encoding_allocates_nothing(void **state)
{
    (void)state;
    assert_int_equal(allocations_of("LATIN1", false), 0);
    assert_int_equal(allocations_of("EUC_JP", true), 0);
}

static void a_copied_row_allocates_nothing(void **state)
{
    (void)state;
    struct typemap_options options = {0};
    struct copy_binary decoder;
    struct value values[COLUMNS];
    assert_true(row_encoder_init(&encoder, &table, encoding_find("UTF8"), &options, &error));
    // A COPY tuple is a pgoutput tuple without the byte of kind.
    buf_reset(&message);
    put_binary_tuple(7);
    static uint8_t tuple[4096];
    size_t size = 2;
    memcpy(tuple, message.data, 2);
    for (size_t at = 2; at < message.size;) {
        const uint8_t *field = message.data + at + 1;
        size_t field_size = 4 + ((size_t)field[2] << 8 | field[3]);
        memcpy(tuple + size, field, field_size);
        size += field_size;
        at += 1 + field_size;
    }
    copy_binary_init(&decoder, COLUMNS);
    decoder.has_header = true;
    for (int round = 0; round < 2; round++) {
        buf_reset(&batch);
        allocations = 0;
        is_counting = round == 1;
        for (uint32_t i = 0; i < ROWS_PER_BATCH; i++) {
            size_t offset = 0;
            assert_int_equal(copy_binary_next(&decoder, tuple, size, &offset, values, &error), COPY_BINARY_ROW);
            struct row_change change = {
                .op = 'C', .seq = {.epoch = 1}, .new_row = {.values = values, .count = COLUMNS}};
            if (!ndjson_append_change(&encoder, &change, &batch, &error))
                fail_msg("%s", error.text);
        }
        is_counting = false;
    }
    assert_int_equal(allocations, 0);
    row_encoder_deinit(&encoder);
}

static void counting_for_metrics_allocates_nothing(void **state)
{
    (void)state;
    struct metric *counter = metric_get(METRIC_TABLE_ROWS, "p", "t");
    struct metric *gauge = metric_get(METRIC_PIPELINE_LAG_SECONDS, "p");
    struct metric *histogram = metric_get(METRIC_APPEND_ROWS, "p");
    allocations = 0;
    is_counting = true;
    for (int i = 0; i < 1000; i++) {
        metric_add(counter, 2);
        metric_set(gauge, i);
        metric_adjust(gauge, 1);
        metric_observe(histogram, i);
    }
    is_counting = false;
    assert_true(metric_value(counter) == 2000 && metric_value(gauge) == 1000 && metric_value(histogram) == 1000);
    metric_put(counter);
    metric_put(gauge);
    metric_put(histogram);
    assert_int_equal(allocations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_counts),
        cmocka_unit_test(a_row_in_binary_allocates_nothing),
        cmocka_unit_test(a_row_in_text_allocates_nothing),
        cmocka_unit_test(a_row_in_another_encoding_allocates_nothing),
        cmocka_unit_test(a_copied_row_allocates_nothing),
        cmocka_unit_test(counting_for_metrics_allocates_nothing),
    };
    install_counter();
    describe_table();
    buf_init(&message, 1 << 20);
    buf_init(&batch, 64 << 20);
    buf_init(&compressed, 64 << 20);
    worker = zstd_worker_new(1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    zstd_worker_free(worker);
    buf_deinit(&message);
    buf_deinit(&batch);
    buf_deinit(&compressed);
    return failed;
}
