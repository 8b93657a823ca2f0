#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/source_type.h"

static struct source_types types;
static const struct source_type *type;
static struct err error;

static bool read_types(const char *text, uint32_t oid, int32_t modifier)
{
    return source_types_read(text, oid, modifier, &types, &type, &error);
}

static void a_type_is_taken_apart(void **state)
{
    (void)state;
    assert_true(read_types("9 -1 c , 1 \"t\" \"\" 25 -1 \"a b\" 20 -1 \"q\"\"\nx\"\n"
                           "20 -1 a ; 1 \"_n\" \"\" 21 7 \"\"\n"
                           "25 -1 e , 1 \"mood\" \"ext\"\n"
                           "21 7 b , 1 \"numeric\" \"\"",
                           9, -1));
    assert_int_equal(type->kind, SOURCE_COMPOSITE);
    assert_int_equal(type->part_count, 2);
    assert_string_equal(type->parts[0].name, "a b");
    assert_int_equal(type->parts[0].type->kind, SOURCE_ENUM);
    assert_string_equal(type->parts[0].type->extension, "ext");
    assert_string_equal(type->parts[1].name, "q\"\nx");
    const struct source_type *array = type->parts[1].type;
    assert_int_equal(array->kind, SOURCE_ARRAY);
    assert_int_equal(array->delimiter, ';');
    assert_int_equal(array->parts[0].type->modifier, 7);
    assert_true(type->has_binary_send);
    source_types_deinit(&types);
}

static void domains_are_resolved_at_any_depth(void **state)
{
    (void)state;
    static const char text[] = "1 -1 d , 1 \"outer\" \"\" 2 -1 \"\"\n"
                               "2 -1 d , 1 \"inner\" \"\" 3 9 \"\"\n"
                               "3 9 a , 1 \"_n\" \"\" 4 9 \"\"\n"
                               "4 9 d , 1 \"e\" \"\" 5 8 \"\"\n"
                               "5 8 b , 1 \"numeric\" \"\"";
    assert_true(read_types(text, 1, -1));
    assert_int_equal(type->oid, 3);
    assert_int_equal(type->parts[0].oid, 4);
    assert_int_equal(type->parts[0].type->oid, 5);
    assert_int_equal(type->parts[0].type->modifier, 8);
    source_types_deinit(&types);
}

static bool is_same_composite(const char *parts)
{
    static const char format[] = "1 -1 c , 1 \"c\" \"\"%s\n"
                                 "2 -1 d , 1 \"a\" \"\" 4 -1 \"\"\n"
                                 "3 -1 d , 1 \"b\" \"\" 4 -1 \"\"\n"
                                 "4 -1 b , 1 \"int4\" \"\"";
    char text[256];
    struct source_types known;
    (void)snprintf(text, sizeof text, format, " 2 -1 \"x\" 3 -1 \"y\"");
    assert_true(source_types_read(text, 1, -1, &known, &type, &error));
    (void)snprintf(text, sizeof text, format, parts);
    assert_true(read_types(text, 1, -1));
    bool is_same = source_types_are_same(&known, &types);
    source_types_deinit(&known);
    source_types_deinit(&types);
    return is_same;
}

// Also where it is another domain of the same type: that is what is sent.
static void other_attributes_make_another_type(void **state)
{
    (void)state;
    assert_true(is_same_composite(" 2 -1 \"x\" 3 -1 \"y\""));
    assert_false(is_same_composite(" 2 -1 \"x\" 3 -1 \"z\""));
    assert_false(is_same_composite(" 3 -1 \"x\" 2 -1 \"y\""));
    assert_false(is_same_composite(" 2 -1 \"x\" 3 -1 \"y\" 4 -1 \"z\""));
    assert_false(is_same_composite(" 2 -1 \"x\""));
}

static void a_part_without_a_send_function_taints_the_whole(void **state)
{
    (void)state;
    assert_true(read_types("1 -1 c , 1 \"c\" \"\" 2 -1 \"a\" 4 -1 \"b\"\n"
                           "2 -1 a , 1 \"_aclitem\" \"\" 3 -1 \"\"\n"
                           "3 -1 b , 0 \"aclitem\" \"\"\n"
                           "4 -1 b , 1 \"text\" \"\"",
                           1, -1));
    assert_false(type->has_binary_send);
    assert_false(type->parts[0].type->has_binary_send);
    assert_true(type->parts[1].type->has_binary_send);
    source_types_deinit(&types);
}

static void descriptions_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "1",
        "1 -1 b , 1 \"a\"",
        "1 -1 b , 1 \"a\" \"\" ",
        "1 -1 b , 2 \"a\" \"\"",
        "1 -1 x , 1 \"a\" \"\"",
        "2 -1 b , 1 \"a\" \"\"",
        "1 -1 a , 1 \"a\" \"\"",
        "1 -1 a , 1 \"a\" \"\" 2 -1 \"\"",
        "1 -1 b , 1 \"a\" \"\" 1 -1 \"\"",
        "1 -1 d , 1 \"a\" \"\" 1 -1 \"\"",
        "1 -1 a , 1 \"a\" \"\" 1 -1 \"\"",
        "1 -1 b , 1 \"a\" \"\"\n",
        "1 -1 b , 1 \"a\" \"",
        "4294967296 -1 b , 1 \"a\" \"\"",
        "1 -1 c , 1 \"a\" \"\" 2 -1 \"x\"\n2 -1 a , 1 \"b\" \"\" 1 -1 \"\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(read_types(texts[i], 1, -1));
        assert_int_equal(error.kind, ERR_INTERNAL);
        assert_null(types.types);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_type_is_taken_apart),
        cmocka_unit_test(domains_are_resolved_at_any_depth),
        cmocka_unit_test(other_attributes_make_another_type),
        cmocka_unit_test(a_part_without_a_send_function_taints_the_whole),
        cmocka_unit_test(descriptions_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
