// What destinations of lines share, under a carrier that does nothing but note what it is asked: order, what is had and
// committed, retries, the budget, ranges of copies, and the end of tables with something under way.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/encoding.h"
#include "sinks/line_sink.h"
#include "unit/encode_tables.h"

#define TABLES 3
#define ASKED_MAX 64
#define BUDGET_BYTES 4000
#define BATCH_BYTES 1000

static const struct backoff_policy policy = {.delay_first_ms = 1, .delay_min_ms = 1, .delay_max_ms = 1, .tries_max = 0};

enum asked_kind { ASKED_OPEN, ASKED_SEND, ASKED_FINISH };

struct asked {
    enum asked_kind kind;
    struct line_lane *lane;
    uint32_t rows;
    struct seq first, last;
};

// What the carrier was asked, and what the pipeline was told.
static struct {
    struct loop *loop;
    struct line_sink *lines;
    const struct sink_operations *operations;
    struct sink *sink;
    struct asked asked[ASKED_MAX];
    uint32_t asked_count;
    uint32_t closed_count, saved_count;
    bool is_serial, may_cancel;
    struct table tables[TABLES];
    struct column columns[TABLES];
    char names[TABLES][8];
    struct sink_table *sink_tables[TABLES];
    char kept_name[SINK_CHANNEL_NAME_SIZE];  // what lane_open was told last
    uint32_t streams_opened, copies_opened, copies_committed, published, failed, committed, rooms;
    uint64_t copied_rows;
    struct err failure;
} t;

// --- the carrier -------------------------------------------------------------------------------------------------

static void note(enum asked_kind kind, struct line_lane *lane, const struct line_batch *batch)
{
    assert_true(t.asked_count < ASKED_MAX);
    t.asked[t.asked_count++] = (struct asked){.kind = kind,
                                              .lane = lane,
                                              .rows = batch != NULL ? batch->rows : 0,
                                              .first = batch != NULL ? batch->first : (struct seq){0},
                                              .last = batch != NULL ? batch->last : (struct seq){0}};
}

static void carrier_open(struct line_sink *sink)
{
    line_sink_opened(sink, NULL);
}

static void carrier_table_add(struct line_table *table)
{
    table->target = strdup(table->table->table_name);
    assert_non_null(table->target);
}

static void carrier_lane_open(struct line_lane *lane, const struct sink_channel_record *kept)
{
    (void)snprintf(t.kept_name, sizeof t.kept_name, "%s", kept->name);
    note(ASKED_OPEN, lane, NULL);
    line_lane_opened(lane, NULL, NULL);
}

static void carrier_lane_send(struct line_lane *lane, const struct line_batch *batch)
{
    note(ASKED_SEND, lane, batch);
}

static void carrier_lane_finish(struct line_lane *lane)
{
    note(ASKED_FINISH, lane, NULL);
}

static bool carrier_lane_cancel(struct line_lane *lane)
{
    (void)lane;
    return t.may_cancel;
}

static void carrier_lane_close(struct line_lane *lane)
{
    (void)lane;
    t.closed_count++;
}

static void carrier_lane_record(const struct line_lane *lane, struct sink_channel_record *out_record)
{
    (void)lane;
    (void)snprintf(out_record->name, sizeof out_record->name, "lane");
}

static void carrier_lane_saved(struct line_lane *lane)
{
    (void)lane;
    t.saved_count++;
}

static void carrier_free(struct line_sink *sink)
{
    line_sink_deinit(sink);
    free(sink);
}

static struct line_carrier carrier = {.opened_text = "it is there",
                                      .open = carrier_open,
                                      .table_add = carrier_table_add,
                                      .lane_open = carrier_lane_open,
                                      .lane_send = carrier_lane_send,
                                      .lane_finish = carrier_lane_finish,
                                      .lane_cancel = carrier_lane_cancel,
                                      .lane_close = carrier_lane_close,
                                      .lane_record = carrier_lane_record,
                                      .lane_saved = carrier_lane_saved,
                                      .free = carrier_free};

// --- the pipeline ------------------------------------------------------------------------------------------------

static void on_stream_opened(void *context, void *table_context)
{
    (void)context;
    (void)table_context;
    t.streams_opened++;
}

static void on_copy_opened(void *context, void *table_context, uint16_t range)
{
    (void)context;
    (void)table_context;
    (void)range;
    t.copies_opened++;
}

static void on_copy_committed(void *context, void *table_context, uint16_t range, uint64_t row_count)
{
    (void)context;
    (void)table_context;
    (void)range;
    t.copies_committed++;
    t.copied_rows += row_count;
}

static void on_published(void *context, void *table_context)
{
    (void)context;
    (void)table_context;
    t.published++;
}

static void on_committed(void *context)
{
    (void)context;
    t.committed++;
}

static void on_room(void *context)
{
    (void)context;
    t.rooms++;
}

static void on_table_failed(void *context, void *table_context, const struct err *error)
{
    (void)context;
    (void)table_context;
    t.failed++;
    t.failure = *error;
}

static const struct sink_events events = {.on_stream_opened = on_stream_opened,
                                          .on_copy_opened = on_copy_opened,
                                          .on_copy_committed = on_copy_committed,
                                          .on_published = on_published,
                                          .on_committed = on_committed,
                                          .on_room = on_room,
                                          .on_table_failed = on_table_failed};

static void turn(void)
{
    loop_turn(t.loop, 0);
}

static void set_up_with(uint32_t inflight_max, uint32_t quiet_tries)
{
    struct err error = {0};
    carrier.is_table_serial = t.is_serial;
    t.loop = loop_new(&clock_system, &error);
    t.lines = calloc(1, sizeof *t.lines);
    assert_non_null(t.lines);
    const struct line_sink_options options = {.loop = t.loop,
                                              .carrier = &carrier,
                                              .pipeline = "p",
                                              .budget_bytes = BUDGET_BYTES,
                                              .batch_bytes_max = BATCH_BYTES,
                                              .inflight_max = inflight_max,
                                              .retry_policy = &policy,
                                              .quiet_tries = quiet_tries};
    line_sink_init(t.lines, &options, &events);
    t.sink = &t.lines->sink;
    t.operations = t.sink->operations;
    for (uint32_t i = 0; i < TABLES; i++) {
        static char schema[] = "public";
        (void)snprintf(t.names[i], sizeof t.names[i], "t%u", i);
        t.columns[i] = make_column("body", OID_TEXT, 1, -1);
        t.tables[i] = (struct table){.oid = 16384 + i,
                                     .schema_name = schema,
                                     .table_name = t.names[i],
                                     .identity = IDENTITY_NOTHING,
                                     .columns = &t.columns[i],
                                     .column_count = 1};
        const struct sink_table_options added = {
            .table = &t.tables[i], .encoding = encoding_find("UTF8"), .context = &t};
        t.sink_tables[i] = t.operations->table_add(t.sink, &added, &error);
        assert_non_null(t.sink_tables[i]);
    }
}

static int tear_down(void **state)
{
    (void)state;
    t.operations->free(t.sink);
    loop_free(t.loop);
    memset(&t, 0, sizeof t);
    return 0;
}

static void open_stream(uint32_t table, lsn_t floor_lsn)
{
    const struct sink_stream_record nothing = {.channel_count = 0};
    t.operations->stream_open(t.sink_tables[table], 1, floor_lsn, &nothing);
    turn();
    t.asked_count = 0;
}

static enum sink_append_outcome append(uint32_t table, lsn_t lsn, const char *text)
{
    const struct value value = text_value(text);
    const struct row_change change = {
        .op = 'I', .seq = {.commit_lsn = lsn, .ordinal = 2, .epoch = 1}, .new_row = {.values = &value, .count = 1}};
    struct err error = {0};
    return t.operations->append(t.sink_tables[table], &change, &error);
}

static enum sink_append_outcome copy_row(uint32_t table, uint16_t range, uint64_t row_number, const char *text)
{
    const struct value value = text_value(text);
    const struct row_view row = {.values = &value, .count = 1};
    struct err error = {0};
    return t.operations->copy_append(t.sink_tables[table], range, row_number, &row, &error);
}

static void flush(void)
{
    t.operations->flush(t.sink);
}

static void answer(uint32_t index, const struct err *error)
{
    line_lane_sent(t.asked[index].lane, 0, 0, error);
    turn();
}

static struct err transient(void)
{
    struct err error = {0};
    err_set(&error, ERR_TRANSIENT, "500", "not now");
    return error;
}

// --- tests -------------------------------------------------------------------------------------------------------

static void test_one_batch_is_under_way_and_the_next_fills(void **state)
{
    (void)state;
    set_up_with(8, 0);
    open_stream(0, 100);
    assert_int_equal(t.streams_opened, 1);
    assert_int_equal(append(0, 99, "x"), SINK_ALREADY);  // below the floor
    assert_int_equal(append(0, 101, "x"), SINK_APPENDED);
    assert_int_equal(append(0, 102, "x"), SINK_APPENDED);
    assert_int_equal(append(0, 102, "x"), SINK_ALREADY);
    flush();
    assert_int_equal(t.asked_count, 1);
    assert_int_equal(t.asked[0].rows, 2);
    assert_int_equal(append(0, 103, "x"), SINK_APPENDED);
    flush();
    assert_int_equal(t.asked_count, 1);
    assert_int_equal(t.operations->uncommitted_lsn(t.sink_tables[0]), 101);
    assert_int_equal(t.operations->committed_row_lsn(t.sink_tables[0]), LSN_NONE);
    answer(0, NULL);
    assert_int_equal(t.asked_count, 2);
    assert_int_equal(t.asked[1].first.commit_lsn, 103);
    assert_int_equal(t.operations->committed_row_lsn(t.sink_tables[0]), 102);
    assert_int_equal(t.operations->uncommitted_lsn(t.sink_tables[0]), 103);
    assert_true(t.operations->has_inflight(t.sink));
    answer(1, NULL);
    assert_int_equal(t.operations->uncommitted_lsn(t.sink_tables[0]), SINK_POSITION_NONE);
    assert_false(t.operations->has_inflight(t.sink));
    assert_int_equal(t.committed, 2);
}

static void test_tables_are_side_by_side_up_to_the_limit(void **state)
{
    (void)state;
    set_up_with(2, 0);
    for (uint32_t i = 0; i < TABLES; i++)
        open_stream(i, 100);
    for (uint32_t i = 0; i < TABLES; i++)
        append(i, 101, "x");
    flush();
    assert_int_equal(t.asked_count, 2);
    answer(0, NULL);
    assert_int_equal(t.asked_count, 3);
    assert_ptr_equal(t.asked[2].lane->table, t.sink_tables[2]);
}

static void test_a_serial_table_takes_turns(void **state)
{
    (void)state;
    t.is_serial = true;
    set_up_with(8, 0);
    open_stream(0, 100);
    t.operations->copy_open(t.sink_tables[0], 1, 100, 0);
    turn();
    t.asked_count = 0;
    append(0, 101, "x");
    copy_row(0, 0, 1, "x");
    flush();
    assert_int_equal(t.asked_count, 1);
    answer(0, NULL);
    assert_int_equal(t.asked_count, 2);
    assert_ptr_not_equal(t.asked[1].lane, t.asked[0].lane);
}

static void wait_for_asked(uint32_t count)
{
    for (int i = 0; t.asked_count < count && i < 1000; i++)
        loop_turn(t.loop, 10000);
    assert_int_equal(t.asked_count, count);
}

static void test_what_failed_comes_again_unchanged(void **state)
{
    (void)state;
    const struct err error = transient();
    set_up_with(8, 1);
    open_stream(0, 100);
    append(0, 101, "x");
    flush();
    answer(0, &error);
    assert_null(t.operations->table_trouble(t.sink_tables[0]));  // the first failure is not shown
    append(0, 102, "x");
    flush();
    wait_for_asked(2);
    assert_int_equal(t.asked[1].rows, 1);
    assert_int_equal(t.asked[1].last.commit_lsn, 101);
    answer(1, &error);
    assert_string_equal(t.operations->table_trouble(t.sink_tables[0])->text, "not now");
    assert_int_equal(t.operations->uncommitted_lsn(t.sink_tables[0]), 101);
    wait_for_asked(3);
    answer(2, NULL);
    assert_null(t.operations->table_trouble(t.sink_tables[0]));
    assert_int_equal(t.asked[3].first.commit_lsn, 102);
    assert_int_equal(t.failed, 0);
}

static void test_a_refusal_fails_the_table_and_holds_positions(void **state)
{
    (void)state;
    struct err error = {0};
    err_set(&error, ERR_DATA, "422", "no such column");
    set_up_with(8, 0);
    open_stream(0, 100);
    append(0, 101, "x");
    flush();
    line_lane_sent(t.asked[0].lane, 0, 0, &error);
    assert_int_equal(t.operations->uncommitted_lsn(t.sink_tables[0]), LSN_NONE);
    turn();
    assert_int_equal(t.failed, 1);
    assert_string_equal(t.failure.code, "422");
}

static void test_a_full_budget_stops_reading_until_there_is_room(void **state)
{
    (void)state;
    char long_text[600];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    set_up_with(8, 0);
    open_stream(0, 100);
    lsn_t lsn = 100;
    while (!t.operations->is_full(t.sink))
        append(0, ++lsn, long_text);
    flush();
    // Batches are full at BATCH_BYTES: two rows each.
    assert_int_equal(t.asked[0].rows, 2);
    assert_true(t.operations->is_full(t.sink));
    for (uint32_t i = 0; t.rooms == 0; i++)
        answer(i, NULL);
    assert_int_equal(t.rooms, 1);
    assert_false(t.operations->is_full(t.sink));
}

static void test_a_stopped_table_ends_with_its_answer(void **state)
{
    (void)state;
    set_up_with(8, 0);
    open_stream(0, 100);
    append(0, 101, "x");
    flush();
    t.operations->table_stop(t.sink_tables[0]);
    turn();
    assert_int_equal(t.closed_count, 0);  // the carrier still has its batch
    answer(0, NULL);
    assert_int_equal(t.closed_count, 1);
    assert_int_equal(t.committed, 0);
    assert_int_equal(t.lines->budget.used_bytes, 0);
    t.may_cancel = true;
    open_stream(1, 100);
    append(1, 101, "x");
    flush();
    t.operations->table_stop(t.sink_tables[1]);
    turn();
    assert_int_equal(t.closed_count, 2);
    assert_int_equal(t.lines->inflight_count, 0);
}

static void test_ranges_of_a_copy_and_its_publishing(void **state)
{
    (void)state;
    set_up_with(8, 0);
    t.operations->copy_open(t.sink_tables[0], 1, 100, 0);
    t.operations->copy_open(t.sink_tables[0], 1, 100, 1);
    turn();
    assert_int_equal(t.copies_opened, 2);
    t.asked_count = 0;
    assert_int_equal(copy_row(0, 0, 1, "a"), SINK_APPENDED);
    assert_int_equal(copy_row(0, 1, 1, "b"), SINK_APPENDED);
    assert_int_equal(copy_row(0, 1, 2, "c"), SINK_APPENDED);
    assert_int_equal(copy_row(0, 1, 1, "b"), SINK_ALREADY);  // read again from its beginning
    assert_int_equal(copy_row(0, 1, 2, "c"), SINK_ALREADY);
    t.operations->copy_finish(t.sink_tables[0], 1);
    flush();
    assert_int_equal(t.asked_count, 2);
    answer(0, NULL);
    answer(1, NULL);
    assert_int_equal(t.copies_committed, 0);
    assert_int_equal(t.asked_count, 3);
    assert_int_equal(t.asked[2].kind, ASKED_FINISH);
    line_lane_finished(t.asked[2].lane, 0, NULL);
    turn();
    assert_int_equal(t.copies_committed, 1);
    assert_int_equal(t.copied_rows, 2);
    t.operations->copy_drop(t.sink_tables[0]);
    turn();
    t.asked_count = 0;
    t.operations->publish(t.sink_tables[0], 1, 100, 3);
    assert_int_equal(t.asked[1].kind, ASKED_FINISH);
    assert_int_equal(t.asked[1].lane->kind, LINE_PUBLISH);
    line_lane_finished(t.asked[1].lane, 0, NULL);
    turn();
    assert_int_equal(t.published, 1);
}

static void test_ranges_share_the_budget(void **state)
{
    (void)state;
    char long_text[300];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    set_up_with(8, 0);
    t.operations->copy_open(t.sink_tables[0], 1, 100, 0);
    t.operations->copy_open(t.sink_tables[1], 1, 100, 0);
    turn();
    t.asked_count = 0;
    uint64_t rows = 0;
    while (!t.operations->copy_is_full(t.sink_tables[0], 0))
        copy_row(0, 0, ++rows, long_text);
    assert_true(rows * sizeof long_text < BUDGET_BYTES / 2);
    assert_false(t.operations->copy_is_full(t.sink_tables[1], 0));
    flush();
    while (t.rooms == 0)
        answer(t.asked_count - 1, NULL);
    assert_false(t.operations->copy_is_full(t.sink_tables[0], 0));
}

static void test_columns_that_fold_alike_are_refused(void **state)
{
    (void)state;
    struct column two[2] = {make_column("a", OID_TEXT, 1, -1), make_column("A", OID_TEXT, 2, -1)};
    struct table table = {.schema_name = t.names[0],
                          .table_name = t.names[0],
                          .identity = IDENTITY_NOTHING,
                          .columns = two,
                          .column_count = 2};
    struct err error = {0};
    set_up_with(8, 0);
    const struct sink_table_options added = {.table = &table, .encoding = encoding_find("UTF8"), .context = &t};
    assert_null(t.operations->table_add(t.sink, &added, &error));
    assert_non_null(strstr(error.text, "identifier_case = preserve"));
}

static void test_streams_hear_when_they_are_saved(void **state)
{
    (void)state;
    struct sink_stream_record record;
    set_up_with(8, 0);
    t.operations->stream_record(t.sink_tables[0], &record);
    assert_int_equal(record.channel_count, 0);
    open_stream(0, 100);
    t.operations->stream_record(t.sink_tables[0], &record);
    assert_int_equal(record.channel_count, 1);
    assert_memory_equal(record.channels[0].name, "lane_T", 6);
    t.operations->floor_saved(t.sink, 100);
    assert_int_equal(t.saved_count, 1);
}

// The catalog keeps a pipeline's records by their names: PostgreSQL refuses a save that has one twice.
static void test_tables_have_records_of_their_own(void **state)
{
    (void)state;
    struct sink_stream_record first, second;
    set_up_with(8, 0);
    open_stream(0, 100);
    open_stream(1, 100);
    t.operations->stream_record(t.sink_tables[0], &first);
    t.operations->stream_record(t.sink_tables[1], &second);
    assert_string_not_equal(first.channels[0].name, second.channels[0].name);
    // The carrier reads what it wrote.
    t.operations->stream_open(t.sink_tables[2], 1, 100, &second);
    turn();
    assert_string_equal(t.kept_name, "lane");
}

static void test_records_of_before_tables_had_their_own_are_read(void **state)
{
    (void)state;
    const struct sink_stream_record kept = {.channel_count = 1, .channels = {{.name = "lane"}}};
    set_up_with(8, 0);
    t.operations->stream_open(t.sink_tables[0], 1, 100, &kept);
    turn();
    assert_string_equal(t.kept_name, "lane");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_batch_is_under_way_and_the_next_fills, tear_down),
        cmocka_unit_test_teardown(test_tables_are_side_by_side_up_to_the_limit, tear_down),
        cmocka_unit_test_teardown(test_a_serial_table_takes_turns, tear_down),
        cmocka_unit_test_teardown(test_what_failed_comes_again_unchanged, tear_down),
        cmocka_unit_test_teardown(test_a_refusal_fails_the_table_and_holds_positions, tear_down),
        cmocka_unit_test_teardown(test_a_full_budget_stops_reading_until_there_is_room, tear_down),
        cmocka_unit_test_teardown(test_a_stopped_table_ends_with_its_answer, tear_down),
        cmocka_unit_test_teardown(test_ranges_of_a_copy_and_its_publishing, tear_down),
        cmocka_unit_test_teardown(test_ranges_share_the_budget, tear_down),
        cmocka_unit_test_teardown(test_columns_that_fold_alike_are_refused, tear_down),
        cmocka_unit_test_teardown(test_streams_hear_when_they_are_saved, tear_down),
        cmocka_unit_test_teardown(test_tables_have_records_of_their_own, tear_down),
        cmocka_unit_test_teardown(test_records_of_before_tables_had_their_own_are_read, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
