// The board, alone and with threads that publish, read and list at the same time (run under ThreadSanitizer as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/board.h"
#include "io/lock.h"

enum { WRITERS = 3, READERS = 3, KEYS = 7, PUTS_EACH = 8000 };

static uint64_t fake_monotonic_us(void *context)
{
    (void)context;
    return 0;
}

static int64_t fake_wall_us(void *context)
{
    return *(int64_t *)context;
}

static void put(struct board *board, const char *key, const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    board_put(board, key, copy);
}

static void test_board_holds_the_newest_text(void **state)
{
    (void)state;
    int64_t now_us = 1000;
    struct clock clock = {.monotonic_us = fake_monotonic_us, .wall_us = fake_wall_us, .context = &now_us};
    struct board *board = board_new(&clock);
    assert_null(board_get(board, "service"));
    assert_int_equal(board_version(board), 0);
    put(board, "service", "first");
    now_us = 2000;
    const struct board_text *first = board_get(board, "service");
    put(board, "service", "second");
    const struct board_text *second = board_get(board, "service");
    assert_string_equal(first->text, "first");
    assert_string_equal(first->key, "service");
    assert_int_equal(first->size, 5);
    assert_int_equal(first->published_us, 1000);
    assert_string_equal(second->text, "second");
    assert_int_equal(second->published_us, 2000);
    assert_true(second->version > first->version);
    assert_int_equal(board_version(board), second->version);
    board_put(board, "service", NULL);
    assert_null(board_get(board, "service"));
    assert_true(board_version(board) > second->version);
    board_put(board, "never there", NULL);
    board_free(board);
    assert_string_equal(first->text, "first");  // whoever holds one keeps it
    board_text_release(first);
    board_text_release(second);
    board_text_release(NULL);
}

struct listing {
    struct board *board;
    char keys[256];
    uint32_t count;
};

static void on_text(void *context, const struct board_text *text)
{
    struct listing *listing = context;
    assert_int_equal(lock_held_count(), 0);
    strncat(listing->keys, text->key, sizeof listing->keys - strlen(listing->keys) - 1);
    strncat(listing->keys, " ", sizeof listing->keys - strlen(listing->keys) - 1);
    listing->count++;
    if (listing->count == 1)
        board_put(listing->board, "pipeline/b", NULL);  // what is listed is of one instant
}

static void test_board_lists_by_prefix_in_order(void **state)
{
    (void)state;
    struct board *board = board_new(&clock_system);
    struct listing listing = {.board = board};
    put(board, "pipeline/c", "{}");
    put(board, "wal/x", "{}");
    put(board, "pipeline/a", "{}");
    put(board, "pipeline/gone", "{}");
    put(board, "pipeline/b", "{}");
    put(board, "pipelines", "{}");
    board_put(board, "pipeline/gone", NULL);
    board_each(board, "pipeline/", on_text, &listing);
    assert_string_equal(listing.keys, "pipeline/a pipeline/b pipeline/c ");
    listing = (struct listing){.board = board};
    board_each(board, "", on_text, &listing);
    assert_string_equal(listing.keys, "pipeline/a pipeline/c pipelines wal/x ");
    listing = (struct listing){.board = board};
    board_each(board, "nothing", on_text, &listing);
    assert_int_equal(listing.count, 0);
    board_free(board);
}

static void count_text(void *context, const struct board_text *text)
{
    char key[32];
    uint32_t *count = context;
    (void)snprintf(key, sizeof key, "pipeline/%05u", *count);
    assert_string_equal(text->key, key);
    ++*count;
}

static void test_board_lists_thousands(void **state)
{
    (void)state;
    struct board *board = board_new(&clock_system);
    char key[32];
    uint32_t count = 0;
    for (unsigned i = 5000; i-- > 0;) {
        (void)snprintf(key, sizeof key, "pipeline/%05u", i);
        put(board, key, "{}");
    }
    board_each(board, "pipeline/", count_text, &count);
    assert_int_equal(count, 5000);
    board_free(board);
}

// --- threads -----------------------------------------------------------------------------------------------------

struct play {
    struct board *board;
    unsigned number;
    atomic_bool *is_over;
    uint64_t seen;
};

// A text is "KEY WRITER NUMBER": whatever a reader gets must be whole.
static void *write_many(void *context)
{
    const struct play *play = context;
    for (unsigned i = 0; i < PUTS_EACH; i++) {
        char key[32], *text = malloc(64);
        (void)snprintf(key, sizeof key, "key/%u", i % KEYS);
        if (text != NULL)
            (void)snprintf(text, 64, "%s %u %u", key, play->number, i);
        if (i % 11 == 10) {
            free(text);
            text = NULL;
        }
        board_put(play->board, key, text);
    }
    return NULL;
}

static bool is_whole(const struct board_text *text)
{
    size_t key_size = strlen(text->key);
    return text->size == strlen(text->text) && strncmp(text->text, text->key, key_size) == 0 &&
           text->text[key_size] == ' ' && text->version > 0;
}

static void look(void *context, const struct board_text *text)
{
    struct play *play = context;
    if (!is_whole(text))
        abort();
    play->seen++;
}

static void *read_many(void *context)
{
    struct play *play = context;
    uint64_t versions[KEYS] = {0};
    for (unsigned i = 0; !atomic_load(play->is_over); i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key/%u", i % KEYS);
        const struct board_text *text = board_get(play->board, key);
        if (text != NULL) {
            // What is newer never makes way for what is older.
            if (!is_whole(text) || text->version < versions[i % KEYS])
                abort();
            versions[i % KEYS] = text->version;
            play->seen++;
        }
        board_text_release(text);
        if (i % 64 == 0)
            board_each(play->board, "key/", look, play);
    }
    return NULL;
}

static void test_board_with_threads(void **state)
{
    (void)state;
    struct board *board = board_new(&clock_system);
    pthread_t writers[WRITERS], readers[READERS];
    struct play writing[WRITERS], reading[READERS];
    atomic_bool is_over = false;
    for (unsigned i = 0; i < READERS; i++) {
        reading[i] = (struct play){.board = board, .number = i, .is_over = &is_over};
        assert_int_equal(pthread_create(&readers[i], NULL, read_many, &reading[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writing[i] = (struct play){.board = board, .number = i};
        assert_int_equal(pthread_create(&writers[i], NULL, write_many, &writing[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(board_version(board), WRITERS * PUTS_EACH);
    board_free(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_board_holds_the_newest_text),
        cmocka_unit_test(test_board_lists_by_prefix_in_order),
        cmocka_unit_test(test_board_lists_thousands),
        cmocka_unit_test(test_board_with_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
