// What a takeover from the first etl-stream needs, by what was found.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/plan.h"

#define OURS "etl-stream: pipeline=shop table=public.orders role=target"

struct world {
    struct facts facts;
    struct migrate_plan plan;
    struct catalog_known known;
    struct catalog_table known_tables[2];
};

static char *copy(const char *text)
{
    char *out = strdup(text);
    assert_non_null(out);
    return out;
}

// A table of one column, as facts own it.
static void publish(struct world *world, const char *name)
{
    struct table *table = calloc(1, sizeof *table);
    assert_non_null(table);
    table->schema_name = copy("public");
    table->table_name = copy(name);
    world->facts.tables = reallocarray(world->facts.tables, world->facts.table_count + 1, sizeof *world->facts.tables);
    assert_non_null(world->facts.tables);
    world->facts.tables[world->facts.table_count++] = table;
}

static struct world *world_new(void)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->facts = (struct facts){.pipeline = "shop",
                                  .id_pipeline = 7,
                                  .is_snowflake = true,
                                  .database = "DB",
                                  .schema = "S",
                                  .landing_schema = "L",
                                  .old_schema = "S",
                                  .old_landing_schema = "L",
                                  .known = &world->known,
                                  .is_wanted = true};
    world->known.tables = world->known_tables;
    return world;
}

static void world_free(struct world *world)
{
    migrate_plan_deinit(&world->plan);
    facts_clear(&world->facts);
    free(world);
}

// What the first etl-stream has left of "orders".
static void leave(struct world *world)
{
    publish(world, "orders");
    facts_add_table(&world->facts, "S", "ORDERS", "", "3");
    facts_add_table(&world->facts, "L", "LANDING_ORDERS", "", "1");
    facts_add_task(&world->facts, "L", "ETL_MERGE_ORDERS_TASK", "started", "60 MINUTES",
                   "MERGE INTO \"DB\".\"S\".\"ORDERS\" USING \"DB\".\"L\".\"LANDING_ORDERS\"");
    facts_add_slot(&world->facts, "supabase_etl_apply_7", NULL, "1 MB", false);
}

static void know(struct world *world, const char *name, enum catalog_table_state state)
{
    struct catalog_table *table = &world->known_tables[world->known.table_count++];
    world->known.is_found = true;
    strcpy(table->schema_name, "public");
    strcpy(table->table_name, name);
    table->state = state;
}

static void plan(struct world *world)
{
    migrate_plan_deinit(&world->plan);
    migrate_plan_make(&world->facts, &world->plan);
}

// One line a step: '+' due, '~' waiting, then its statement.
static void assert_steps(struct world *world, const char *const *expected)
{
    uint32_t i = 0;
    plan(world);
    for (; expected[i] != NULL; i++) {
        assert_true(i < world->plan.step_count);
        assert_int_equal(world->plan.steps[i].is_waiting, expected[i][0] == '~');
        assert_string_equal(world->plan.steps[i].statement, expected[i] + 1);
    }
    assert_int_equal(world->plan.step_count, i);
    assert_true((world->plan.waits_for != NULL) == (migrate_plan_due(&world->plan) < world->plan.step_count));
}
#define STEPS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static bool says(const struct migrate_texts *list, const char *words)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strstr(list->texts[i], words) != NULL)
            return true;
    return false;
}

#define SUSPEND "ALTER TASK \"DB\".\"L\".\"ETL_MERGE_ORDERS_TASK\" SUSPEND"
#define MOVE_TARGET "ALTER TABLE \"DB\".\"S\".\"ORDERS\" RENAME TO \"DB\".\"S\".\"ORDERS_BEFORE_ETL_STREAM\""
#define MOVE_LANDING \
    "ALTER TABLE \"DB\".\"L\".\"LANDING_ORDERS\" RENAME TO \"DB\".\"L\".\"LANDING_ORDERS_BEFORE_ETL_STREAM\""
#define DROP_SLOT "SELECT pg_drop_replication_slot('supabase_etl_apply_7')"

static void test_plan_in_order(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    assert_steps(world, STEPS("+" SUSPEND, "+" MOVE_TARGET, "+" MOVE_LANDING, "~" DROP_SLOT));
    assert_true(says(&world->plan.notes, "readers are without"));
    world_free(world);
}

static void test_plan_after_a_crash(void **state)
{
    (void)state;
    struct world *world = world_new();
    publish(world, "orders");
    // The target was moved, and then nothing more.
    facts_add_table(&world->facts, "S", "ORDERS_BEFORE_ETL_STREAM", "", "3");
    facts_add_table(&world->facts, "L", "LANDING_ORDERS", "", "1");
    facts_add_task(&world->facts, "L", "ETL_MERGE_ORDERS_TASK", "suspended", "60 MINUTES", "LANDING_ORDERS");
    assert_steps(world, STEPS("+" MOVE_LANDING));
    facts_clear(&world->facts);
    // It was made again meanwhile, and the names are taken.
    publish(world, "orders");
    facts_add_table(&world->facts, "S", "ORDERS", "", "3");
    facts_add_table(&world->facts, "S", "ORDERS_BEFORE_ETL_STREAM", "", "3");
    facts_add_table(&world->facts, "L", "LANDING_ORDERS_BEFORE_ETL_STREAM", "", "3");
    assert_steps(world,
                 STEPS("+ALTER TABLE \"DB\".\"S\".\"ORDERS\" RENAME TO \"DB\".\"S\".\"ORDERS_BEFORE_ETL_STREAM_2\""));
    world_free(world);
}

static void test_plan_touches_nothing_of_ours_or_of_others(void **state)
{
    (void)state;
    struct world *world = world_new();
    publish(world, "orders");
    facts_add_table(&world->facts, "S", "ORDERS", OURS, "3");
    facts_add_table(&world->facts, "L", "LANDING_ORDERS", "etl-stream: pipeline=other table=public.orders role=landing",
                    "3");
    facts_add_task(&world->facts, "L", "MY_REPORT", "started", "60 MINUTES", "select * from LANDING_ORDERS");
    facts_add_slot(&world->facts, "etl_shop", NULL, "1 MB", true);
    facts_add_slot(&world->facts, "mine", NULL, "1 MB", false);
    facts_add_slot(&world->facts, "busy", "process 5", "1 MB", false);
    assert_steps(world, STEPS());
    assert_true(says(&world->plan.notes, "slot mine is read by nobody"));
    assert_false(says(&world->plan.notes, "slot busy"));
    facts_clear(&world->facts);
    // In the way, but nothing tells that the first etl-stream made it.
    publish(world, "orders");
    facts_add_table(&world->facts, "S", "ORDERS", "", "3");
    assert_steps(world, STEPS());
    assert_true(says(&world->plan.notes, "is left alone"));
    world_free(world);
}

static void test_plan_leaves_what_is_not_in_our_way(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    world->facts.naming.target = SF_NAMING_SCHEMA_TABLE;  // ours is PUBLIC_ORDERS
    assert_steps(world, STEPS("+" SUSPEND, "~" DROP_SLOT));
    assert_true(says(&world->plan.notes, "not in our way"));
    world->facts.naming.target = SF_NAMING_TABLE;
    world->facts.schema = "S_NEW";
    assert_steps(world, STEPS("+" SUSPEND, "+" MOVE_LANDING, "~" DROP_SLOT));
    // A schema that the first one took as it is written, and we fold.
    world->facts.schema = "S";
    world->facts.landing_schema = "OTHER";
    assert_steps(world, STEPS("+" SUSPEND, "+" MOVE_TARGET, "~" DROP_SLOT));
    world_free(world);
}

static void test_plan_when_live(void **state)
{
    (void)state;
    struct world *world = world_new();
    publish(world, "orders");
    publish(world, "customers");
    facts_add_table(&world->facts, "S", "ORDERS", OURS, "3");
    facts_add_table(&world->facts, "S", "ORDERS_BEFORE_ETL_STREAM", "", "3");
    facts_add_slot(&world->facts, "supabase_etl_apply_7", NULL, "1 MB", false);
    assert_steps(world, STEPS("~" DROP_SLOT));
    know(world, "orders", CATALOG_TABLE_LIVE);
    assert_steps(world, STEPS("~" DROP_SLOT));  // customers is not known yet
    know(world, "customers", CATALOG_TABLE_COPIED);
    assert_steps(world, STEPS("~" DROP_SLOT));
    world->known_tables[1].state = CATALOG_TABLE_PARKED;
    world->facts.other_of_slot = "other";
    assert_steps(world, STEPS("~" DROP_SLOT));
    assert_non_null(strstr(world->plan.waits_for, "pipeline other"));
    world->facts.other_of_slot = NULL;
    assert_steps(world, STEPS("+" DROP_SLOT));
    assert_true(says(&world->plan.notes, "public.customers cannot be copied"));
    facts_add_table(&world->facts, "S", "CUSTOMERS", "", "3");
    facts_add_table(&world->facts, "L", "LANDING_CUSTOMERS", "", "3");
    plan(world);
    assert_int_equal(migrate_plan_due(&world->plan), 2);  // its tables; the slot waits again
    world_free(world);
}

static void test_plan_grants(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    facts_clear(&world->facts);
    publish(world, "orders");
    facts_add_table(&world->facts, "S", "ORDERS_BEFORE_ETL_STREAM", "", "3");
    const char *old = "ORDERS_BEFORE_ETL_STREAM";
    facts_add_grant(&world->facts, "S", old, "OWNERSHIP", "ROLE", "ETL", true);
    facts_add_grant(&world->facts, "S", old, "SELECT", "ROLE", "READER", false);
    facts_add_grant(&world->facts, "S", old, "SELECT", "DATABASE_ROLE", "DB.R", true);
    facts_add_grant(&world->facts, "S", old, "SELECT", "SHARE", "X", false);
    facts_add_grant(&world->facts, "S", old, "SELECT; DROP", "ROLE", "READER", false);
#define GRANT "GRANT SELECT ON TABLE \"DB\".\"S\".\"ORDERS\" TO "
    const char *both[] = {"~" GRANT "DATABASE ROLE \"DB\".\"R\" WITH GRANT OPTION", "~" GRANT "ROLE \"READER\"", NULL};
    assert_steps(world, both);
    assert_true(says(&world->plan.notes, "granted to SHARE X") && says(&world->plan.notes, "SELECT; DROP"));
    facts_add_table(&world->facts, "S", "ORDERS", OURS, "3");
    assert_steps(world, both);  // it is empty yet
    know(world, "orders", CATALOG_TABLE_LIVE);
    facts_add_grant(&world->facts, "S", "ORDERS", "SELECT", "ROLE", "READER", false);
    assert_steps(world, STEPS("+" GRANT "DATABASE ROLE \"DB\".\"R\" WITH GRANT OPTION"));
    world_free(world);
}

static void test_plan_refuses(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    world->facts.is_running = true;
    plan(world);
    assert_true(says(&world->plan.refusals, "run by etl-stream already"));
    world->facts.is_running = false;
    plan(world);
    assert_int_equal(world->plan.refusals.count, 0);
    facts_add_slot(&world->facts, "supabase_etl_table_sync_7_16400", "process 5 of the server", "1 MB", false);
    plan(world);
    assert_true(says(&world->plan.refusals, "still runs") && says(&world->plan.refusals, "process 5"));
    facts_clear(&world->facts);
    // Only the slot is left: ours runs, as it has to.
    publish(world, "orders");
    world->facts.is_running = true;
    know(world, "orders", CATALOG_TABLE_LIVE);
    facts_add_slot(&world->facts, "supabase_etl_apply_7", NULL, "1 MB", false);
    assert_steps(world, STEPS("+" DROP_SLOT));
    assert_int_equal(world->plan.refusals.count, 0);
    world_free(world);
}

static void test_plan_of_other_destinations(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    world->facts.is_snowflake = false;
    assert_steps(world, STEPS("~" DROP_SLOT));
    world_free(world);
}

static void test_plan_names_tasks_of_other_tables(void **state)
{
    (void)state;
    struct world *world = world_new();
    leave(world);
    facts_add_task(&world->facts, "L", "ETL_MERGE_GONE_TASK", "started", "60 MINUTES", "LANDING_GONE");
    facts_add_task(&world->facts, "L", "MINE", "started", "5 MINUTES", "delete from landing_orders");
    assert_steps(world, STEPS("+" SUSPEND, "+ALTER TASK \"DB\".\"L\".\"MINE\" SUSPEND", "+" MOVE_TARGET,
                              "+" MOVE_LANDING, "~" DROP_SLOT));
    assert_true(says(&world->plan.notes, "ETL_MERGE_GONE_TASK is started"));
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_in_order),
        cmocka_unit_test(test_plan_after_a_crash),
        cmocka_unit_test(test_plan_touches_nothing_of_ours_or_of_others),
        cmocka_unit_test(test_plan_leaves_what_is_not_in_our_way),
        cmocka_unit_test(test_plan_when_live),
        cmocka_unit_test(test_plan_grants),
        cmocka_unit_test(test_plan_refuses),
        cmocka_unit_test(test_plan_of_other_destinations),
        cmocka_unit_test(test_plan_names_tasks_of_other_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
