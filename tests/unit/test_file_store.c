// The files of a file destination: what is on disk after writes that fail, rotations, restarts and copies. fsync and pwrite
// are this program's own here, so that a disk can be full or broken at any call.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sinks/file/file_store.h"

#define LINE_SIZE 60

static int fsyncs_until_failure = -1;  // -1: none fails
static long room = -1;                 // bytes that can still be written; -1: as many as wanted

int fsync(int fd)
{
    if (fsyncs_until_failure == 0) {
        errno = EIO;
        return -1;
    }
    if (fsyncs_until_failure > 0)
        fsyncs_until_failure--;
    return (int)syscall(SYS_fsync, fd);
}

// Libraries may write by it too: nothing here but the store does while room is limited.
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    if (room == 0) {
        errno = ENOSPC;
        return -1;
    }
    if (room > 0 && (long)size > room)
        size = (size_t)room;
    if (room > 0)
        room -= (long)size;
    return (ssize_t)syscall(SYS_pwrite64, fd, data, size, offset);
}

struct fixture {
    char directory[64];
    struct file_config config;
    struct file_store *store;
    struct file_lane *lane;
};

static const struct seq floor_seq = {.commit_lsn = 100, .ordinal = 0, .epoch = 1};

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void store_open(struct fixture *fixture, const char *pipeline, const char *identity)
{
    fixture->store = file_store_new(&fixture->config, pipeline, identity);
    fixture->lane = file_lane_new(fixture->store, "public", "items");
}

static void store_close(struct fixture *fixture)
{
    if (fixture->lane != NULL)
        file_lane_free(fixture->lane);
    if (fixture->store != NULL)
        file_store_free(fixture->store);
    fixture->lane = NULL;
    fixture->store = NULL;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    (void)snprintf(fixture->directory, sizeof fixture->directory, "/tmp/test_file_store.XXXXXX");
    if (mkdtemp(fixture->directory) == NULL)
        return 1;
    fixture->config = (struct file_config){.directory = fixture->directory, .rotate_bytes = 1000, .rotate_s = 10};
    store_open(fixture, "p", "0011223344556677");
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    fsyncs_until_failure = -1;
    room = -1;
    store_close(fixture);
    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

static struct seq row_seq(uint64_t lsn, uint32_t ordinal)
{
    return (struct seq){.commit_lsn = lsn, .ordinal = ordinal, .epoch = 1};
}

// A line as the encoder begins it, of LINE_SIZE bytes.
static void line_of(const struct seq *seq, char op, char out[LINE_SIZE + 1])
{
    char text[SEQ_TEXT_SIZE + 1] = {0};
    seq_format(seq, text);
    (void)snprintf(out, LINE_SIZE + 1, "{\"_ETL_OP\":\"%c\",\"_ETL_SEQ\":\"%s\"%*s}\n", op, text, LINE_SIZE - 56, "");
    assert_int_equal(strlen(out), LINE_SIZE);
}

static bool write_rows(struct fixture *fixture, uint64_t first_lsn, uint32_t count, int64_t now_s,
                       struct file_position *out_position)
{
    char *data = calloc(count, LINE_SIZE + 1);
    struct seq first = row_seq(first_lsn, 2), last = row_seq(first_lsn + count - 1, 2);
    struct err error = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct seq seq = row_seq(first_lsn + i, 2);
        line_of(&seq, 'I', data + (size_t)i * LINE_SIZE);
    }
    bool is_written =
        file_lane_write(fixture->lane, data, (size_t)count * LINE_SIZE, &first, &last, now_s, out_position, &error);
    free(data);
    if (!is_written)
        assert_int_equal(error.kind, ERR_TRANSIENT);
    return is_written;
}

static void open_stream(struct fixture *fixture, const struct sink_channel_record *kept, struct file_position *out)
{
    struct sink_channel_record nothing = {0};
    struct err error = {0};
    if (!file_lane_open_stream(fixture->lane, kept != NULL ? kept : &nothing, &floor_seq, out, &error))
        fail_msg("%s", error.text);
}

// The size of a file of the table, or -1.
static long size_of(const struct fixture *fixture, const char *name)
{
    char path[256];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/public/items/%s", fixture->directory, name);
    return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static long size_of_rows(const struct fixture *fixture, uint64_t first_lsn, const char *suffix)
{
    char text[SEQ_TEXT_SIZE + 1] = {0}, name[64];
    struct seq first = row_seq(first_lsn, 2);
    seq_format(&first, text);
    (void)snprintf(name, sizeof name, "%s%s", text, suffix);
    return size_of(fixture, name);
}

static void settle(struct fixture *fixture, uint64_t saved_lsn, int64_t now_s)
{
    struct seq saved = row_seq(saved_lsn, 2);
    struct err error = {0};
    if (!file_lane_settle(fixture->lane, &saved, now_s, &error))
        fail_msg("%s", error.text);
}

static void test_rows_are_cut_at_the_kept_position(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position, again;
    struct sink_channel_record kept = {0};
    fixture->config.rotate_s = 86400;  // whoever stands still meanwhile
    open_stream(fixture, NULL, &position);
    assert_int_equal(seq_compare(&position.last, &floor_seq), 0);
    assert_true(write_rows(fixture, 200, 3, 0, &position));
    file_position_format(&position, &kept);
    assert_true(write_rows(fixture, 210, 2, 0, &again));
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson.open"), 5 * LINE_SIZE);
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    open_stream(fixture, &kept, &again);
    assert_int_equal(seq_compare(&again.last, &position.last), 0);
    assert_int_equal(again.offset, 3 * LINE_SIZE);
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson.open"), 3 * LINE_SIZE);
    assert_true(write_rows(fixture, 210, 2, time(NULL) + 1, &again));
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson.open"), 5 * LINE_SIZE);
}

static void test_files_behind_the_kept_position_are_removed_and_those_before_completed(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position;
    struct sink_channel_record kept = {0};
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 200, 20, 0, &position));  // 1200 bytes: the next rows begin another file
    assert_true(write_rows(fixture, 300, 20, 0, &position));
    file_position_format(&position, &kept);
    assert_true(write_rows(fixture, 400, 20, 0, &position));
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    open_stream(fixture, &kept, &position);
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson"), 20 * LINE_SIZE);
    assert_int_equal(size_of_rows(fixture, 300, ".ndjson.open"), 20 * LINE_SIZE);
    assert_int_equal(size_of_rows(fixture, 400, ".ndjson.open"), -1);
}

static void test_a_file_is_complete_only_when_its_rows_are_saved(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position;
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 200, 20, 0, &position));
    assert_true(write_rows(fixture, 300, 2, 0, &position));
    settle(fixture, 218, 1);
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson"), -1);
    settle(fixture, 219, 1);
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson"), 20 * LINE_SIZE);
    assert_int_equal(size_of_rows(fixture, 300, ".ndjson.open"), 2 * LINE_SIZE);
    settle(fixture, 301, 9);
    assert_int_equal(size_of_rows(fixture, 300, ".ndjson"), -1);
    settle(fixture, 301, 10);  // by its age
    assert_int_equal(size_of_rows(fixture, 300, ".ndjson"), 2 * LINE_SIZE);
}

static void test_a_full_disk_leaves_no_half_line(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position;
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 200, 3, 0, &position));
    room = LINE_SIZE + 7;
    assert_false(write_rows(fixture, 210, 3, 0, &position));
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson.open"), 3 * LINE_SIZE);
    assert_false(write_rows(fixture, 210, 3, 0, &position));
    settle(fixture, 202, 20);  // old enough: it ends without the rows that failed
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson"), 3 * LINE_SIZE);
    room = -1;
    assert_true(write_rows(fixture, 210, 3, 20, &position));
    assert_int_equal(size_of_rows(fixture, 210, ".ndjson.open"), 3 * LINE_SIZE);
    assert_int_equal(position.offset, 3 * LINE_SIZE);
}

static void test_a_failed_sync_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position, before;
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 200, 3, 0, &position));
    before = position;
    fsyncs_until_failure = 0;
    assert_false(write_rows(fixture, 210, 3, 0, &position));
    assert_int_equal(position.offset, before.offset);
    // Old enough to end, but what is in it cannot be cut to what is durable: it stays open.
    struct seq saved = row_seq(202, 2);
    struct err error = {0};
    assert_false(file_lane_settle(fixture->lane, &saved, 20, &error));
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson"), -1);
    fsyncs_until_failure = -1;
    assert_true(write_rows(fixture, 210, 3, 0, &position));
    assert_int_equal(position.offset, 6 * LINE_SIZE);
    assert_int_equal(size_of_rows(fixture, 200, ".ndjson.open"), 6 * LINE_SIZE);
}

static void test_without_a_record_rows_below_the_floor_stay(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position;
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 95, 10, 0, &position));  // 95 to 104; the floor is 100
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    open_stream(fixture, NULL, &position);
    assert_int_equal(size_of_rows(fixture, 95, ".ndjson"), 5 * LINE_SIZE);
    assert_int_equal(position.offset, 0);
    assert_true(write_rows(fixture, 100, 5, 0, &position));
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    open_stream(fixture, NULL, &position);
    assert_int_equal(size_of_rows(fixture, 100, ".ndjson"), -1);  // all of it comes again
    assert_int_equal(size_of_rows(fixture, 100, ".ndjson.open"), -1);
}

static void assert_open_fails(struct fixture *fixture, const struct sink_channel_record *kept, enum err_kind kind,
                              const char *part)
{
    struct file_position position;
    struct err error = {0};
    assert_false(file_lane_open_stream(fixture->lane, kept, &floor_seq, &position, &error));
    assert_int_equal(error.kind, kind);
    if (strstr(error.text, part) == NULL)
        fail_msg("'%s' lacks '%s'", error.text, part);
}

static void test_lost_files_are_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct file_position position;
    struct sink_channel_record kept = {0}, foreign = {.name = "ETL_0011223344556677_E1_S0", .token = "x"};
    open_stream(fixture, NULL, &position);
    assert_true(write_rows(fixture, 200, 3, 0, &position));
    position.offset++;
    file_position_format(&position, &kept);
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    assert_open_fails(fixture, &kept, ERR_LOST, "is shorter than the 181 bytes");
    assert_open_fails(fixture, &foreign, ERR_LOST, "another kind of destination");
    store_close(fixture);
    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    store_open(fixture, "p", "0011223344556677");
    assert_open_fails(fixture, &kept, ERR_LOST, "holds no etl-stream.json any more");
}

static void test_a_directory_has_one_owner(void **state)
{
    struct fixture *fixture = *state;
    struct sink_channel_record nothing = {0};
    struct file_position position;
    struct err error = {0};
    uint8_t epoch = 9;
    open_stream(fixture, NULL, &position);
    struct file_store *second = file_store_new(&fixture->config, "p", "0011223344556677");
    assert_false(file_store_claim(second, &epoch, &error));
    assert_int_equal(error.kind, ERR_FENCED);
    file_store_free(second);
    store_close(fixture);
    store_open(fixture, "q", "0011223344556677");
    assert_open_fails(fixture, &nothing, ERR_CONFIG, "holds the files of pipeline p");
    store_close(fixture);
    store_open(fixture, "p", "8899AABBCCDDEEFF");
    assert_open_fails(fixture, &nothing, ERR_FENCED, "a state file of its own");
    store_close(fixture);
    store_open(fixture, "p", "8899AABBCCDDEEFF");
    assert_true(file_store_claim(fixture->store, &epoch, &error));
    assert_int_equal(epoch, 1);
    store_close(fixture);
    store_open(fixture, "p", "0011223344556677");
    assert_open_fails(fixture, &nothing, ERR_FENCED, "was taken by another");
}

static void write_copy(struct fixture *fixture, const struct seq *copy, uint16_t range, uint32_t batches)
{
    char line[LINE_SIZE + 1];
    struct file_position position;
    struct err error = {0};
    line_of(copy, 'C', line);
    assert_true(file_lane_open_copy(fixture->lane, copy, range, &error));
    for (uint32_t i = 0; i < batches; i++)
        assert_true(file_lane_write(fixture->lane, line, LINE_SIZE, copy, copy, 0, &position, &error));
    assert_true(file_lane_finish_copy(fixture->lane, &error));
}

static void test_a_copy_appears_at_once_and_whole(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    struct seq first = {.commit_lsn = 0x100, .epoch = 1}, second = {.commit_lsn = 0x200, .epoch = 1};
    write_copy(fixture, &first, 0, 3);
    write_copy(fixture, &second, 0, 18);  // two files: 17 lines pass 1000 bytes
    write_copy(fixture, &second, 1, 0);
    assert_int_equal(size_of(fixture, ".copy-01000000000000010000000000"), -1);  // unfinished, removed by the second
    assert_int_equal(size_of(fixture, "copy-01000000000000020000000000"), -1);
    assert_true(file_lane_publish(fixture->lane, &second, &error));
    const char *folder = "copy-01000000000000020000000000/";
    char name[96];
    (void)snprintf(name, sizeof name, "%s01000000000000020000000000-0000-000001.ndjson", folder);
    assert_int_equal(size_of(fixture, name), 17 * LINE_SIZE);
    (void)snprintf(name, sizeof name, "%s01000000000000020000000000-0000-000002.ndjson", folder);
    assert_int_equal(size_of(fixture, name), LINE_SIZE);
    (void)snprintf(name, sizeof name, "%s01000000000000020000000000-0001-000001.ndjson", folder);
    assert_int_equal(size_of(fixture, name), 0);
    assert_true(file_lane_publish(fixture->lane, &second, &error));  // again is fine
    assert_false(file_lane_publish(fixture->lane, &first, &error));
    assert_int_equal(error.kind, ERR_LOST);
}

static void test_records_are_read_strictly(void **state)
{
    (void)state;
    struct file_position position = {.file = row_seq(1, 2), .last = row_seq(3, 4), .offset = 0xABC}, read;
    struct sink_channel_record record = {0};
    file_position_format(&position, &record);
    assert_string_equal(record.name, "file_01000000000000000100000002");
    assert_string_equal(record.token, "01000000000000000300000004+ABC");
    assert_true(file_position_parse(&record, &read));
    assert_int_equal(read.offset, 0xABC);
    static const char *const tokens[] = {"", "01000000000000000300000004", "01000000000000000300000004+",
                                         "01000000000000000300000004-ABC", "01000000000000000300000004+ABX"};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        (void)snprintf(record.token, sizeof record.token, "%s", tokens[i]);
        assert_false(file_position_parse(&record, &read));
    }
}

static void test_names_cannot_leave_the_directory(void **state)
{
    struct fixture *fixture = *state;
    struct sink_channel_record nothing = {0};
    struct file_position position;
    struct err error = {0};
    char path[256];
    file_lane_free(fixture->lane);
    fixture->lane = file_lane_new(fixture->store, "..", "a/b.c%d\\");
    assert_true(file_lane_open_stream(fixture->lane, &nothing, &floor_seq, &position, &error));
    (void)snprintf(path, sizeof path, "%s/%%2E%%2E/a%%2Fb%%2Ec%%25d%%5C", fixture->directory);
    assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_are_cut_at_the_kept_position, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_behind_the_kept_position_are_removed_and_those_before_completed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_is_complete_only_when_its_rows_are_saved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_leaves_no_half_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_record_rows_below_the_floor_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lost_files_are_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_directory_has_one_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_copy_appears_at_once_and_whole, set_up, tear_down),
        cmocka_unit_test(test_records_are_read_strictly),
        cmocka_unit_test_setup_teardown(test_names_cannot_leave_the_directory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
