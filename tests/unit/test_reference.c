// docs/configuration.md is made from the tables of options and settings; whoever changes these makes it anew:
// build/etl-stream help configuration > docs/configuration.md
#include "cli/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BYTES_MAX (1 << 20)

static void test_the_reference_is_up_to_date(void **state)
{
    (void)state;
    static const char own_path[] = "tests/unit/test_reference.c";
    static char kept[BYTES_MAX];
    char path[4096];
    struct buf made;
    size_t root_size = strlen(__FILE__) - strlen(own_path);
    (void)snprintf(path, sizeof path, "%.*sdocs/configuration.md", (int)root_size, __FILE__);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(kept, 1, sizeof kept - 1, file);
    fclose(file);
    buf_init(&made, BYTES_MAX);
    reference_write(&made);
    assert_false(made.failed);
    if (made.size != size || memcmp(made.data, kept, size) != 0)
        fail_msg("build/etl-stream help configuration > docs/configuration.md");
    buf_deinit(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_reference_is_up_to_date)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
