#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/copy_binary.h"

#define HEADER "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
#define HEADER_SIZE 19
#define TUPLE "\0\2\0\0\0\3abc\377\377\377\377"
#define TUPLE_SIZE 13

static struct value values[2];
static struct err error;

static enum copy_binary_outcome next(struct copy_binary *decoder, const char *data, size_t size, size_t *offset)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, data, size);
    enum copy_binary_outcome outcome = copy_binary_next(decoder, exact, size, offset, values, &error);
    if (outcome == COPY_BINARY_ROW) {
        assert_int_equal(values[0].state, VALUE_BINARY);
        assert_int_equal(values[0].size, 3);
        assert_memory_equal(values[0].data, "abc", 3);
        assert_int_equal(values[1].state, VALUE_NULL);
    }
    free(exact);
    return outcome;
}

static void messages_may_hold_header_and_tuples_together(void **state)
{
    (void)state;
    static const char all[] = HEADER TUPLE TUPLE "\377\377";
    struct copy_binary decoder;
    size_t offset = 0;
    copy_binary_init(&decoder, 2);
    assert_int_equal(next(&decoder, all, sizeof all - 1, &offset), COPY_BINARY_ROW);
    assert_int_equal(offset, HEADER_SIZE + TUPLE_SIZE);
    assert_int_equal(next(&decoder, all, sizeof all - 1, &offset), COPY_BINARY_ROW);
    assert_false(decoder.has_trailer);
    assert_int_equal(next(&decoder, all, sizeof all - 1, &offset), COPY_BINARY_MORE);
    assert_true(decoder.has_trailer);
    assert_int_equal(offset, sizeof all - 1);
}

static void messages_may_hold_one_thing_each(void **state)
{
    (void)state;
    struct copy_binary decoder;
    size_t offset = 0;
    copy_binary_init(&decoder, 2);
    assert_int_equal(next(&decoder, "", 0, &offset), COPY_BINARY_MORE);
    assert_int_equal(next(&decoder, HEADER, HEADER_SIZE, &offset), COPY_BINARY_MORE);
    assert_true(decoder.has_header);
    offset = 0;
    assert_int_equal(next(&decoder, TUPLE, TUPLE_SIZE, &offset), COPY_BINARY_ROW);
    assert_int_equal(next(&decoder, TUPLE, TUPLE_SIZE, &offset), COPY_BINARY_MORE);
    offset = 0;
    assert_int_equal(next(&decoder, "\377\377", 2, &offset), COPY_BINARY_MORE);
    offset = 0;
    assert_int_equal(next(&decoder, TUPLE, TUPLE_SIZE, &offset), COPY_BINARY_ERROR);
    assert_non_null(strstr(error.text, "nothing after the trailer"));
}

static void whatever_is_cut_is_refused(void **state)
{
    (void)state;
    static const char all[] = HEADER TUPLE;
    for (size_t size = 1; size < sizeof all - 1; size++) {
        if (size == HEADER_SIZE)
            continue;
        struct copy_binary decoder;
        size_t offset = 0;
        copy_binary_init(&decoder, 2);
        assert_int_equal(next(&decoder, all, size, &offset), COPY_BINARY_ERROR);
        assert_int_equal(error.kind, ERR_DATA);
    }
}

static void an_extension_is_skipped_and_critical_flags_are_not(void **state)
{
    (void)state;
    static const char extended[] = "PGCOPY\n\377\r\n\0\0\0\0\1\0\0\0\3xyz" TUPLE;
    static const char with_oids[] = "PGCOPY\n\377\r\n\0\0\1\0\0\0\0\0\0" TUPLE;
    static const char endless[] = "PGCOPY\n\377\r\n\0\0\0\0\0\377\377\377\377" TUPLE;
    struct copy_binary decoder;
    size_t offset = 0;
    copy_binary_init(&decoder, 2);
    assert_int_equal(next(&decoder, extended, sizeof extended - 1, &offset), COPY_BINARY_ROW);
    offset = 0;
    copy_binary_init(&decoder, 2);
    assert_int_equal(next(&decoder, with_oids, sizeof with_oids - 1, &offset), COPY_BINARY_ERROR);
    offset = 0;
    copy_binary_init(&decoder, 2);
    assert_int_equal(next(&decoder, endless, sizeof endless - 1, &offset), COPY_BINARY_ERROR);
}

static void a_tuple_of_another_width_is_refused(void **state)
{
    (void)state;
    static const char all[] = HEADER TUPLE;
    struct copy_binary decoder;
    size_t offset = 0;
    copy_binary_init(&decoder, 1);
    assert_int_equal(next(&decoder, all, sizeof all - 1, &offset), COPY_BINARY_ERROR);
    assert_non_null(strstr(error.text, "as many fields as the query has columns"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_may_hold_header_and_tuples_together),
        cmocka_unit_test(messages_may_hold_one_thing_each),
        cmocka_unit_test(whatever_is_cut_is_refused),
        cmocka_unit_test(an_extension_is_skipped_and_critical_flags_are_not),
        cmocka_unit_test(a_tuple_of_another_width_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
