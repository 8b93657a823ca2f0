// docs/configuration.md, docs/etl-stream.1 and docs/metrics.md are made from the tables of options, settings and metrics; whoever
// changes these makes them anew: build/etl-stream help metrics > docs/metrics.md; build/etl-stream help configuration > docs/configuration.md; build/etl-stream help manual > docs/etl-stream.1
#include "cli/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/metric.h"
#include "cli/findings.h"
#include "cli/manual.h"

#define BYTES_MAX (1 << 20)

static void check_page(const char *page, const char *name, void (*write)(struct buf *out))
{
    static const char own_path[] = "tests/unit/test_reference.c";
    static char kept[BYTES_MAX];
    char path[4096];
    struct buf made;
    size_t root_size = strlen(__FILE__) - strlen(own_path);
    (void)snprintf(path, sizeof path, "%.*sdocs/%s", (int)root_size, __FILE__, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(kept, 1, sizeof kept - 1, file);
    fclose(file);
    buf_init(&made, BYTES_MAX);
    write(&made);
    assert_false(made.failed);
    if (made.size != size || memcmp(made.data, kept, size) != 0)
        fail_msg("build/etl-stream help %s > docs/%s", page, name);
    buf_deinit(&made);
}

static void test_the_reference_is_up_to_date(void **state)
{
    (void)state;
    check_page("configuration", "configuration.md", reference_write);
}

static void test_the_manual_is_up_to_date(void **state)
{
    (void)state;
    check_page("manual", "etl-stream.1", manual_write);
}

static void test_the_metrics_are_up_to_date(void **state)
{
    (void)state;
    check_page("metrics", "metrics.md", metric_append_reference);
}

static void test_the_findings_are_up_to_date(void **state)
{
    (void)state;
    check_page("findings", "check.md", findings_write);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_reference_is_up_to_date), cmocka_unit_test(test_the_manual_is_up_to_date),
        cmocka_unit_test(test_the_metrics_are_up_to_date), cmocka_unit_test(test_the_findings_are_up_to_date)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
