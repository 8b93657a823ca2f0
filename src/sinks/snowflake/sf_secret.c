#include "sinks/snowflake/sf_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "io/lock.h"

// ThreadSanitizer keeps close to a megabyte of its own on every thread's stack.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEAP_FACTOR 4
#endif
#elif defined(__SANITIZE_THREAD__)
#define HEAP_FACTOR 4
#endif
#ifndef HEAP_FACTOR
#define HEAP_FACTOR 1
#endif

// What OpenSSL keeps for good of its first decoding and signing (fetched algorithms, about 350 kB), the work on one key of
// 8192 bits and the stack fit into the smaller.
static const size_t heap_sizes[] = {(size_t)HEAP_FACTOR << 21, (size_t)HEAP_FACTOR << 20};
enum { HEAP_BLOCK_MIN = 32, STACK_SIZE = HEAP_FACTOR * 256 * 1024 };

// Set once by sf_secret_process_init, before there are threads.
static uintptr_t heap_start, heap_end;
static void *stack;  // STACK_SIZE bytes in the heap; whoever holds stack_lock uses it
static struct lock stack_lock;
static _Thread_local bool is_routed;

// ---- the allocator behind OpenSSL

static bool is_in_heap(const void *block)
{
    return (uintptr_t)block >= heap_start && (uintptr_t)block < heap_end;
}

static void *route_malloc(size_t size, const char *file, int line)
{
    void *block = is_routed ? CRYPTO_secure_malloc(size, file, line) : NULL;
    return block != NULL ? block : malloc(size);
}

static void route_free(void *block, const char *file, int line)
{
    if (block == NULL)
        return;
    if (is_in_heap(block)) {
        CRYPTO_secure_clear_free(block, CRYPTO_secure_actual_size(block), file, line);
        return;
    }
    // Only when the secure heap was full: then it is ordinary memory that has to be wiped.
    if (is_routed)
        OPENSSL_cleanse(block, malloc_usable_size(block));
    free(block);
}

static void *route_realloc(void *block, size_t size, const char *file, int line)
{
    if (block == NULL)
        return route_malloc(size, file, line);
    bool is_secure = is_in_heap(block);
    if (!is_secure && !is_routed)
        return realloc(block, size);
    size_t old_size = is_secure ? CRYPTO_secure_actual_size(block) : malloc_usable_size(block);
    void *moved = route_malloc(size, file, line);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, old_size < size ? old_size : size);
    route_free(block, file, line);
    return moved;
}

static bool refuse_locked_memory(struct err *out_error)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    return err_set(out_error, ERR_CONFIG, "",
                   "the machine refuses to lock %zu kB of memory for the private key (the limit is %llu kB); raise it: "
                   "ulimit -l, LimitMEMLOCK= in a systemd unit, --ulimit memlock= of a container",
                   heap_sizes[1] / 1024, (unsigned long long)limit.rlim_cur / 1024);
}

static struct lock variables_lock;

bool sf_secret_process_init(struct err *out_error)
{
    if (heap_end != 0)
        return true;
    if (CRYPTO_set_mem_functions(route_malloc, route_realloc, route_free) != 1)
        return err_set(out_error, ERR_INTERNAL, "", "OpenSSL was used before its memory for secrets was set up");
    size_t size = 0;
    for (size_t i = 0; i < sizeof heap_sizes / sizeof heap_sizes[0] && size == 0; i++) {
        int outcome = CRYPTO_secure_malloc_init(heap_sizes[i], HEAP_BLOCK_MIN);
        if (outcome == 1)
            size = heap_sizes[i];
        else if (outcome == 2)  // there, but not locked or not guarded
            CRYPTO_secure_malloc_done();
    }
    if (size == 0)
        return refuse_locked_memory(out_error);
    // A block of the heap's whole size can only be the heap: so its bounds are learnt.
    void *all = OPENSSL_secure_malloc(size);
    CHECK(all != NULL);
    heap_start = (uintptr_t)all;
    heap_end = heap_start + size;
    CRYPTO_secure_free(all, __FILE__, __LINE__);
    stack = OPENSSL_secure_malloc(STACK_SIZE);  // of a power of two, so it begins at a page
    CHECK(stack != NULL);
    lock_init(&stack_lock);
    lock_init(&variables_lock);
    return true;
}

struct call {
    void (*work)(void *context);
    void *context;
};

static void *run_call(void *context)
{
    const struct call *call = context;
    is_routed = true;
    call->work(call->context);
    return NULL;
}

// The stack holds the thread's own data as well, and OpenSSL's copies in dead frames (exponents; the passphrase, in the
// wrapper of our callback: crypto/ui).
bool sf_secret_call(void (*work)(void *context), void *context, struct err *out_error)
{
    struct call call = {.work = work, .context = context};
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    CHECK(stack != NULL && !is_routed);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK_SIZE) == 0);
    lock_acquire(&stack_lock);
    // No signal's frame, with all registers in it, on any thread of ours but the main one.
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    bool is_run = pthread_create(&thread, &attributes, run_call, &call) == 0;
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (is_run)
        pthread_join(thread, NULL);
    OPENSSL_cleanse(stack, STACK_SIZE);
    lock_release(&stack_lock);
    pthread_attr_destroy(&attributes);
    return is_run || err_set(out_error, ERR_INTERNAL, "thread", "no thread can be started to work on the private key");
}

// ---- secrets

// Outside of sf_secret_call a secret is touched a byte at a time, never by memcpy or strlen: what those leave in vector
// registers is stored on the caller's stack by whatever saves registers next (the dynamic linker when it binds a function
// at its first call, a signal). volatile: so that the compiler makes neither of the two of a loop.
static void copy_bytes(char *to, const char *from, size_t size)
{
    const volatile char *source = from;
    volatile char *target = to;
    for (size_t i = 0; i < size; i++)
        target[i] = source[i];
}

static size_t count_bytes(const char *text)
{
    const volatile char *at = text;
    size_t size = 0;
    while (at[size] != '\0')
        size++;
    return size;
}

static bool allocate(size_t size, struct sf_secret *out_secret, struct err *out_error)
{
    CHECK(heap_end != 0);
    *out_secret = (struct sf_secret){0};
    if (size > SF_SECRET_SIZE_MAX || (out_secret->text = OPENSSL_secure_zalloc(size + 1)) == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "no room for a secret of %zu bytes", size);
    out_secret->size = size;
    return true;
}

bool sf_secret_copy(const char *text, size_t size, struct sf_secret *out_secret, struct err *out_error)
{
    if (!allocate(size, out_secret, out_error))
        return false;
    copy_bytes(out_secret->text, text, size);
    return true;
}

void sf_secret_deinit(struct sf_secret *secret)
{
    if (secret->text != NULL)
        OPENSSL_secure_clear_free(secret->text, secret->size + 1);
    *secret = (struct sf_secret){0};
}

static bool read_all(int fd, struct sf_secret *secret)
{
    size_t used = 0;
    for (;;) {
        ssize_t count = read(fd, secret->text + used, secret->size - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        used += (size_t)count;
        if (count == 0 || used == secret->size)
            break;
    }
    if (used == secret->size) {
        errno = EFBIG;
        return false;
    }
    secret->size = used;
    return true;
}

bool sf_secret_read_file(const char *path, const char *what, struct sf_secret *out_secret, struct err *out_error)
{
    *out_secret = (struct sf_secret){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(out_error, ERR_CONFIG, "", "cannot open %s in %s: %s", what, path, strerror(errno));
    struct stat status;
    bool is_read = false;
    // read() goes straight into the secure heap; no stream's buffer keeps a copy.
    if (fstat(fd, &status) != 0 || S_ISDIR(status.st_mode))
        err_set(out_error, ERR_CONFIG, "", "cannot read %s: %s is a directory", what, path);
    else if (allocate(16 * 1024, out_secret, out_error)) {
        is_read = read_all(fd, out_secret);
        int cause = errno;
        if (!is_read) {
            sf_secret_deinit(out_secret);
            if (cause == EFBIG)
                err_set(out_error, ERR_CONFIG, "", "%s is not in %s: the file is larger than any key", what, path);
            else
                err_set(out_error, ERR_CONFIG, "", "cannot read %s from %s: %s", what, path, strerror(cause));
        } else if (S_ISREG(status.st_mode) && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
            log_line(LOG_WARNING, NULL, "key_file_open", "%s is open to others than its owner; chmod 600 closes it",
                     path);
        }
    }
    close(fd);
    return is_read;
}

// Values taken out of the environment, for the second pipeline that names the same variable. Lives as long as the process.
struct variable {
    struct variable *next;
    struct sf_secret value;
    char name[];
};
static struct variable *variables;

static struct variable *variable_find(const char *name)
{
    struct variable *variable = variables;
    while (variable != NULL && strcmp(variable->name, name) != 0)
        variable = variable->next;
    return variable;
}

static bool variable_take(const char *name, char *value, struct err *out_error)
{
    struct variable *variable = variable_find(name);
    if (variable == NULL) {
        size_t name_size = strlen(name) + 1;
        variable = calloc(1, sizeof *variable + name_size);
        if (variable == NULL)
            return err_set(out_error, ERR_INTERNAL, "", "out of memory reading the environment");
        memcpy(variable->name, name, name_size);
        variable->next = variables;
        variables = variable;
    }
    sf_secret_deinit(&variable->value);
    size_t size = count_bytes(value);
    if (!sf_secret_copy(value, size, &variable->value, out_error))
        return false;
    // In place, and not by unsetenv: that moves the array under the feet of other threads that read it.
    OPENSSL_cleanse(value, size);
    return true;
}

bool sf_secret_read_variable(const char *name, struct sf_secret *out_secret, struct err *out_error)
{
    CHECK(heap_end != 0);
    *out_secret = (struct sf_secret){0};
    lock_acquire(&variables_lock);
    char *value = getenv(name);
    bool is_read = value == NULL || value[0] == '\0' || variable_take(name, value, out_error);
    const struct variable *variable = variable_find(name);
    if (is_read && variable != NULL)
        is_read = sf_secret_copy(variable->value.text, variable->value.size, out_secret, out_error);
    lock_release(&variables_lock);
    return is_read;
}

bool sf_secret_read_credential(const char *name, const char *what, struct sf_secret *out_secret, struct err *out_error)
{
    *out_secret = (struct sf_secret){0};
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    if (directory == NULL || directory[0] == '\0')
        return true;
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (size < 0 || (size_t)size >= sizeof path || access(path, F_OK) != 0)
        return true;
    return sf_secret_read_file(path, what, out_secret, out_error);
}
