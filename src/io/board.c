#include "io/board.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/lock.h"

#define BUCKET_COUNT 1024

struct note {
    struct board_text seen;  // first: what readers hold points here
    atomic_uint reference_count;
    char *owned_text;
    char key[];
};

// A key's place stays for the board's life, so that a key that comes and goes allocates once.
struct place {
    struct place *next;  // in the bucket
    struct note *note;   // the board's own reference; NULL: nothing is published
    char key[];
};

struct board {
    const struct clock *clock;
    struct lock lock;  // guards what follows
    uint64_t version;
    uint32_t place_count;
    struct place *buckets[BUCKET_COUNT];
};

// FNV-1a.
static uint32_t bucket_of(const char *key)
{
    uint32_t hash = 2166136261U;
    for (const char *at = key; *at != '\0'; at++)
        hash = (hash ^ (uint8_t)*at) * 16777619U;
    return hash % BUCKET_COUNT;
}

// Under the lock.
static struct place *find(const struct board *board, uint32_t bucket, const char *key)
{
    struct place *place = board->buckets[bucket];
    while (place != NULL && strcmp(place->key, key) != 0)
        place = place->next;
    return place;
}

static const struct board_text *hold(struct note *note)
{
    if (note == NULL)
        return NULL;
    atomic_fetch_add_explicit(&note->reference_count, 1, memory_order_relaxed);
    return &note->seen;
}

void board_text_release(const struct board_text *text)
{
    struct note *note = (struct note *)(uintptr_t)text;
    // Whoever gives the last reference back must see all that the others did with the text before it frees it.
    if (note == NULL || atomic_fetch_sub_explicit(&note->reference_count, 1, memory_order_acq_rel) != 1)
        return;
    free(note->owned_text);
    free(note);
}

static struct note *note_new(const struct board *board, const char *key, char *take_text)
{
    size_t key_size = strlen(key) + 1;
    struct note *note = malloc(sizeof *note + key_size);
    CHECK(note != NULL);
    memcpy(note->key, key, key_size);
    atomic_init(&note->reference_count, 1);
    note->owned_text = take_text;
    note->seen = (struct board_text){.key = note->key,
                                     .text = take_text,
                                     .size = strlen(take_text),
                                     .published_us = board->clock->wall_us(board->clock->context)};
    return note;
}

static struct place *place_new(const char *key)
{
    size_t key_size = strlen(key) + 1;
    struct place *place = calloc(1, sizeof *place + key_size);
    CHECK(place != NULL);
    memcpy(place->key, key, key_size);
    return place;
}

void board_put(struct board *board, const char *key, char *take_text)
{
    uint32_t bucket = bucket_of(key);
    struct note *note = take_text != NULL ? note_new(board, key, take_text) : NULL;
    struct note *former = NULL;
    struct place *spare = NULL;
    for (bool is_done = false; !is_done;) {
        lock_acquire(&board->lock);
        struct place *place = find(board, bucket, key);
        if (place == NULL && spare != NULL) {
            place = spare;
            spare = NULL;
            place->next = board->buckets[bucket];
            board->buckets[bucket] = place;
            board->place_count++;
        }
        is_done = place != NULL || note == NULL;
        if (is_done) {
            board->version++;
            if (note != NULL)
                note->seen.version = board->version;
            if (place != NULL) {
                former = place->note;
                place->note = note;
            }
        }
        lock_release(&board->lock);
        if (!is_done)
            spare = place_new(key);  // not under the lock: another round
    }
    free(spare);  // another thread made the same place meanwhile
    if (former != NULL)
        board_text_release(&former->seen);
}

const struct board_text *board_get(struct board *board, const char *key)
{
    uint32_t bucket = bucket_of(key);
    lock_acquire(&board->lock);
    const struct place *place = find(board, bucket, key);
    const struct board_text *text = place != NULL ? hold(place->note) : NULL;
    lock_release(&board->lock);
    return text;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const struct board_text *const *)a)->key, (*(const struct board_text *const *)b)->key);
}

// Under the lock. False: there are more than capacity places.
static bool collect(const struct board *board, const char *prefix, size_t prefix_size, const struct board_text **texts,
                    uint32_t capacity, uint32_t *out_count)
{
    *out_count = 0;
    if (board->place_count > capacity)
        return false;
    for (uint32_t i = 0; i < BUCKET_COUNT; i++)
        for (const struct place *place = board->buckets[i]; place != NULL; place = place->next)
            if (place->note != NULL && strncmp(place->key, prefix, prefix_size) == 0)
                texts[(*out_count)++] = hold(place->note);
    return true;
}

void board_each(struct board *board, const char *prefix, void (*on_text)(void *context, const struct board_text *text),
                void *context)
{
    size_t prefix_size = strlen(prefix);
    const struct board_text **texts = NULL;
    uint32_t count = 0, capacity = 64;
    for (bool is_collected = false; !is_collected;) {
        texts = reallocarray(texts, capacity, sizeof *texts);
        CHECK(texts != NULL);
        lock_acquire(&board->lock);
        is_collected = collect(board, prefix, prefix_size, texts, capacity, &count);
        if (!is_collected)
            capacity = board->place_count * 2;
        lock_release(&board->lock);
    }
    qsort(texts, count, sizeof *texts, compare_keys);
    for (uint32_t i = 0; i < count; i++) {
        on_text(context, texts[i]);
        board_text_release(texts[i]);
    }
    free(texts);
}

uint64_t board_version(struct board *board)
{
    lock_acquire(&board->lock);
    uint64_t version = board->version;
    lock_release(&board->lock);
    return version;
}

struct board *board_new(const struct clock *clock)
{
    struct board *board = calloc(1, sizeof *board);
    CHECK(board != NULL);
    board->clock = clock;
    lock_init(&board->lock);
    return board;
}

void board_free(struct board *board)
{
    if (board == NULL)
        return;
    for (uint32_t i = 0; i < BUCKET_COUNT; i++) {
        for (struct place *place = board->buckets[i], *next; place != NULL; place = next) {
            next = place->next;
            if (place->note != NULL)
                board_text_release(&place->note->seen);
            free(place);
        }
    }
    lock_deinit(&board->lock);
    free(board);
}
