// Stands in for libFuzzer where the compiler has none: replays every file of the corpus folders named as
// arguments, then feeds seeded mutations of them, and of nothing, to the same entry point.
//
// FUZZ_RUNS (default 20000) and FUZZ_SEED (default 1) come from the environment. A finding is a crash, so the seed
// and the run are printed before the inputs begin and, where a signal ends the program, after it.
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES_MAX 65536
#define CORPUS_FILES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct corpus_file {
    uint8_t *data;
    size_t size;
};

static struct corpus_file corpus[CORPUS_FILES_MAX];
static size_t corpus_count;
static uint64_t random_state;
static char crash_line[128];
static size_t crash_line_size;

static uint64_t random_next(void)
{
    // splitmix64: https://prng.di.unimi.it/splitmix64.c
    uint64_t z = (random_state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static size_t random_below(size_t bound)
{
    return bound == 0 ? 0 : (size_t)(random_next() % bound);
}

static void on_crash(int number)
{
    ssize_t written = write(STDERR_FILENO, crash_line, crash_line_size);
    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

static void read_file(const char *path)
{
    if (corpus_count == CORPUS_FILES_MAX)
        return;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return;
    struct corpus_file *entry = &corpus[corpus_count];
    entry->data = malloc(INPUT_BYTES_MAX);
    if (entry->data != NULL) {
        entry->size = fread(entry->data, 1, INPUT_BYTES_MAX, file);
        corpus_count++;
    }
    fclose(file);
}

static void read_folder(const char *folder)
{
    struct dirent **names = NULL;
    int count = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_type != DT_DIR && length > 0 && (size_t)length < sizeof path)
            read_file(path);
        free(names[i]);
    }
    free(names);
}

// Inputs are handed over in a block of exactly their size, so that a sanitizer sees a read past the end.
static void run_input(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t mutate_once(uint8_t *data, size_t size)
{
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', 'n', 'u', 't', 'b'};
    size_t at = random_below(size);
    switch (random_below(6)) {
    case 0:  // a bit
        if (size > 0)
            data[at] = (uint8_t)(data[at] ^ (1U << random_below(8)));
        return size;
    case 1:  // a byte of some meaning
        if (size > 0)
            data[at] = edges[random_below(sizeof edges)];
        return size;
    case 2:  // shorter
        return random_below(size + 1);
    case 3:  // a byte more
        if (size < INPUT_BYTES_MAX) {
            memmove(data + at + 1, data + at, size - at);
            data[at] = (uint8_t)random_next();
            return size + 1;
        }
        return size;
    case 4:  // a byte less
        if (size > 0) {
            memmove(data + at, data + at + 1, size - at - 1);
            return size - 1;
        }
        return size;
    default:  // a piece of another file over this one
        if (corpus_count > 0 && size > 0) {
            const struct corpus_file *other = &corpus[random_below(corpus_count)];
            size_t from = random_below(other->size);
            size_t length = random_below(other->size - from + 1);
            if (length > size - at)
                length = size - at;
            memcpy(data + at, other->data + from, length);
        }
        return size;
    }
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_BYTES_MAX];
    uint64_t runs = number_from_environment("FUZZ_RUNS", 20000);
    uint64_t seed = number_from_environment("FUZZ_SEED", 1);

    for (int i = 1; i < argc; i++)
        read_folder(argv[i]);
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGFPE, on_crash);
    printf("%zu corpus files, %llu mutations, FUZZ_SEED=%llu\n", corpus_count, (unsigned long long)runs,
           (unsigned long long)seed);
    fflush(stdout);
    for (size_t i = 0; i < corpus_count; i++) {
        int length = snprintf(crash_line, sizeof crash_line, "crashed at corpus file %zu\n", i);
        crash_line_size = (size_t)length;
        run_input(corpus[i].data, corpus[i].size);
    }
    for (uint64_t run = 0; run < runs; run++) {
        // Each run has a seed of its own, so that one can be had again without those before it.
        random_state = seed * 1000003U + run;
        int length = snprintf(crash_line, sizeof crash_line, "crashed at run %llu, FUZZ_SEED=%llu\n",
                              (unsigned long long)run, (unsigned long long)seed);
        crash_line_size = (size_t)length;
        size_t size = 0;
        if (corpus_count > 0 && random_below(16) > 0) {
            const struct corpus_file *entry = &corpus[random_below(corpus_count)];
            size = entry->size;
            memcpy(data, entry->data, size);
        } else {
            size = random_below(256);
            for (size_t i = 0; i < size; i++)
                data[i] = (uint8_t)random_next();
        }
        for (size_t left = 1 + random_below(8); left > 0; left--)
            size = mutate_once(data, size);
        run_input(data, size);
    }
    for (size_t i = 0; i < corpus_count; i++)
        free(corpus[i].data);
    return 0;
}
