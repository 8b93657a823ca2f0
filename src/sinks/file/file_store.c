#include "sinks/file/file_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "io/lock.h"

#define MARKER "etl-stream.json"
#define MARKER_NEW ".etl-stream.json.new"
#define RECORD_PREFIX "file_"
#define OPEN_SUFFIX ".ndjson.open"
#define DONE_SUFFIX ".ndjson"
#define COPY_PREFIX "copy-"
#define COPY_OPEN_PREFIX ".copy-"
#define NAME_SIZE 80  // of our files
#define PATH_BYTES_MAX 8192
#define MODE_DIRECTORY 0777
#define MODE_FILE 0666
#define LINE_HEAD "{\"_ETL_OP\":\"?\",\"_ETL_SEQ\":\""  // how encode/ndjson.c begins every line
#define LINE_HEAD_SIZE (sizeof LINE_HEAD - 1)

struct file_store {
    const struct file_config *config;
    const char *pipeline, *identity;
    int directory_fd;  // locked; -1: not claimed
    uint8_t epoch;     // in the marker
};

// A file that was ended; renamed when everything in it is saved.
struct ended_file {
    struct seq file, last;
    struct ended_file *next;
};

struct file_lane {
    struct file_store *store;
    char *schema, *table;  // as directories' names
    char *path;            // for messages
    bool is_copy;
    int table_fd;   // the table's directory; a copy's own; -1: not open
    int fd;         // the current file; -1: none
    bool has_tail;  // a write failed: behind position.offset there may be bytes of it
    int64_t made_s;
    struct file_position position;
    struct ended_file *ended;  // oldest first
    struct seq copy_seq;
    uint16_t range;
    uint32_t copy_files;
};

// --- helpers -----------------------------------------------------------------------------------------------------

static bool fail(enum err_kind kind, const char *doing, const char *where, const char *name, struct err *out_error)
{
    return err_set(out_error, kind, "file", "%s %s%s%s: %s", doing, where, *name != '\0' ? "/" : "", name,
                   strerror(errno));
}

static bool lane_fail(const struct file_lane *lane, const char *doing, const char *name, struct err *out_error)
{
    return fail(ERR_TRANSIENT, doing, lane->path, name, out_error);
}

static void seq_name(const struct seq *seq, const char *suffix, char out[NAME_SIZE])
{
    char text[SEQ_TEXT_SIZE + 1] = {0};
    seq_format(seq, text);
    (void)snprintf(out, NAME_SIZE, "%s%s", text, suffix);
}

// Whether name is <seq> with the suffix.
static bool seq_of_name(const char *name, const char *suffix, struct seq *out_seq)
{
    size_t size = strlen(name);
    return size == SEQ_TEXT_SIZE + strlen(suffix) && strcmp(name + SEQ_TEXT_SIZE, suffix) == 0 &&
           seq_parse(name, SEQ_TEXT_SIZE, out_seq);
}

// A schema's or table's name as that of a directory: bytes that could mean something there as %XX.
static char *directory_name(const char *name)
{
    struct buf text;
    buf_init(&text, PATH_BYTES_MAX);
    for (const char *c = name; *c != '\0'; c++) {
        uint8_t byte = (uint8_t)*c;
        if (byte < ' ' || byte == 127 || strchr("/%.\\", *c) != NULL)
            buf_appendf(&text, "%%%02X", byte);
        else
            buf_append_byte(&text, byte);
    }
    char *copy = strdup(buf_text(&text));
    CHECK(copy != NULL && !text.failed);
    buf_deinit(&text);
    return copy;
}

static int open_directory(int parent_fd, const char *name)
{
    return openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

// Opens it, made if missing; the new entry is durable.
static int make_directory(int parent_fd, const char *name)
{
    if (mkdirat(parent_fd, name, MODE_DIRECTORY) == 0) {
        if (fsync(parent_fd) != 0)
            return -1;
    } else if (errno != EEXIST) {
        return -1;
    }
    return open_directory(parent_fd, name);
}

static bool write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(fd, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            errno = written == 0 ? EIO : errno;
            return false;
        }
        data += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return true;
}

// --- the directory -----------------------------------------------------------------------------------------------

struct file_store *file_store_new(const struct file_config *config, const char *pipeline, const char *identity)
{
    struct file_store *store = calloc(1, sizeof *store);
    CHECK(store != NULL);
    *store = (struct file_store){.config = config, .pipeline = pipeline, .identity = identity, .directory_fd = -1};
    return store;
}

void file_store_free(struct file_store *store)
{
    if (store->directory_fd >= 0)
        close(store->directory_fd);
    free(store);
}

static bool parent_is_writable(const char *directory)
{
    char *parent = strdup(directory);
    CHECK(parent != NULL);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/')
        parent[--size] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent ? 1 : 0] = '\0';
    bool is_writable = access(slash != NULL ? parent : ".", W_OK | X_OK) == 0;
    free(parent);
    return is_writable;
}

bool file_store_check(struct file_store *store, struct err *out_error)
{
    const char *directory = store->config->directory;
    struct stat status;
    lock_check_none();
    if (stat(directory, &status) != 0) {
        if (errno == ENOENT && parent_is_writable(directory))
            return true;
        return fail(ERR_CONFIG, "the destination's directory cannot be made or read:", directory, "", out_error);
    }
    if (!S_ISDIR(status.st_mode))
        return err_set(out_error, ERR_CONFIG, "file", "the destination %s is a file, not a directory", directory);
    if (access(directory, R_OK | W_OK | X_OK) != 0)
        return fail(ERR_CONFIG, "the destination's directory cannot be written to:", directory, "", out_error);
    return true;
}

struct marker {
    bool exists;
    char identity[32];
    uint8_t epoch;
};

static bool marker_read(const struct file_store *store, struct marker *out_marker, struct err *out_error)
{
    const char *directory = store->config->directory;
    *out_marker = (struct marker){0};
    int fd = openat(store->directory_fd, MARKER, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || fail(ERR_TRANSIENT, "cannot read", directory, MARKER, out_error);
    json_t *json = json_loadfd(fd, 0, NULL);
    close(fd);
    const char *pipeline = json_string_value(json_object_get(json, "pipeline"));
    const char *identity = json_string_value(json_object_get(json, "identity"));
    json_int_t epoch = json_integer_value(json_object_get(json, "epoch"));
    bool is_read = true;
    if (pipeline == NULL || identity == NULL || epoch < 0 || epoch > UINT8_MAX)
        is_read = err_set(out_error, ERR_CONFIG, "file",
                          "%s/" MARKER " is not what etl-stream wrote; move the directory's content aside", directory);
    else if (strcmp(pipeline, store->pipeline) != 0)
        is_read = err_set(out_error, ERR_CONFIG, "file",
                          "directory %s holds the files of pipeline %s; give pipeline %s a directory of its own",
                          directory, pipeline, store->pipeline);
    if (is_read) {
        out_marker->exists = true;
        (void)snprintf(out_marker->identity, sizeof out_marker->identity, "%s", identity);
        out_marker->epoch = (uint8_t)epoch;
    }
    json_decref(json);
    return is_read;
}

static bool marker_write(struct file_store *store, uint8_t epoch, struct err *out_error)
{
    const char *directory = store->config->directory;
    json_t *json =
        json_pack("{s:s, s:s, s:i}", "pipeline", store->pipeline, "identity", store->identity, "epoch", (int)epoch);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    CHECK(text != NULL);
    json_decref(json);
    int fd = openat(store->directory_fd, MARKER_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, MODE_FILE);
    bool is_written = fd >= 0 && write_all(fd, (const uint8_t *)text, strlen(text), 0) &&
                      write_all(fd, (const uint8_t *)"\n", 1, strlen(text)) && fsync(fd) == 0 &&
                      renameat(store->directory_fd, MARKER_NEW, store->directory_fd, MARKER) == 0 &&
                      fsync(store->directory_fd) == 0;
    if (!is_written)
        fail(ERR_TRANSIENT, "cannot write", directory, MARKER, out_error);
    else
        store->epoch = epoch;
    if (fd >= 0)
        close(fd);
    free(text);
    return is_written;
}

// The lock goes with the descriptor, so also with a process that is killed.
static bool directory_take(struct file_store *store, struct err *out_error)
{
    const char *directory = store->config->directory;
    if (store->directory_fd >= 0)
        return true;
    // Its parent is not synced: a directory that a power failure takes away is noticed as one without marker.
    if (mkdir(directory, MODE_DIRECTORY) != 0 && errno != EEXIST)
        return fail(ERR_TRANSIENT, "cannot make directory", directory, "", out_error);
    int fd = open_directory(AT_FDCWD, directory);
    if (fd < 0)
        return fail(ERR_TRANSIENT, "cannot open directory", directory, "", out_error);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool is_locked = errno == EWOULDBLOCK;
        close(fd);
        if (!is_locked)
            return fail(ERR_TRANSIENT, "cannot lock directory", directory, "", out_error);
        return err_set(out_error, ERR_FENCED, "fenced",
                       "directory %s is in use by another etl-stream; stop that one, or name another directory",
                       directory);
    }
    store->directory_fd = fd;
    return true;
}

bool file_store_claim(struct file_store *store, uint8_t *out_epoch, struct err *out_error)
{
    struct marker marker;
    lock_check_none();
    if (!directory_take(store, out_error) || !marker_read(store, &marker, out_error))
        return false;
    *out_epoch = marker.epoch;
    store->epoch = marker.epoch;
    return (marker.exists && strcmp(marker.identity, store->identity) == 0) ||
           marker_write(store, marker.epoch, out_error);
}

// Before files are touched: they are still this pipeline's.
static bool store_enter(struct file_store *store, uint8_t epoch, bool is_known, struct err *out_error)
{
    struct marker marker;
    if (store->directory_fd < 0) {
        if (!directory_take(store, out_error) || !marker_read(store, &marker, out_error))
            return false;
        if (!marker.exists && is_known)
            return err_set(out_error, ERR_LOST, "files_lost",
                           "directory %s holds no " MARKER " any more, so what was written there is gone",
                           store->config->directory);
        if (marker.exists && strcmp(marker.identity, store->identity) != 0)
            return err_set(out_error, ERR_FENCED, "fenced",
                           "directory %s was taken by another etl-stream with a state file of its own; name another "
                           "directory, or remove the state file of this one to begin anew",
                           store->config->directory);
        store->epoch = marker.epoch;
        if (!marker.exists && !marker_write(store, epoch, out_error))
            return false;
    }
    return epoch <= store->epoch || marker_write(store, epoch, out_error);
}

// --- lanes -------------------------------------------------------------------------------------------------------

struct file_lane *file_lane_new(struct file_store *store, const char *schema, const char *table)
{
    struct file_lane *lane = calloc(1, sizeof *lane);
    CHECK(lane != NULL);
    *lane = (struct file_lane){.store = store, .table_fd = -1, .fd = -1};
    lane->schema = directory_name(schema);
    lane->table = directory_name(table);
    size_t size = strlen(store->config->directory) + strlen(lane->schema) + strlen(lane->table) + 3;
    lane->path = malloc(size);
    CHECK(lane->path != NULL);
    (void)snprintf(lane->path, size, "%s/%s/%s", store->config->directory, lane->schema, lane->table);
    return lane;
}

static void lane_close(struct file_lane *lane)
{
    if (lane->fd >= 0)
        close(lane->fd);
    if (lane->table_fd >= 0)
        close(lane->table_fd);
    lane->fd = lane->table_fd = -1;
    lane->has_tail = false;
    while (lane->ended != NULL) {
        struct ended_file *file = lane->ended;
        lane->ended = file->next;
        free(file);
    }
}

void file_lane_free(struct file_lane *lane)
{
    lane_close(lane);
    free(lane->schema);
    free(lane->table);
    free(lane->path);
    free(lane);
}

static int open_table(struct file_lane *lane, struct err *out_error)
{
    int schema_fd = make_directory(lane->store->directory_fd, lane->schema);
    int table_fd = schema_fd >= 0 ? make_directory(schema_fd, lane->table) : -1;
    if (table_fd < 0)
        lane_fail(lane, "cannot make directory", "", out_error);
    if (schema_fd >= 0)
        close(schema_fd);
    return table_fd;
}

// --- recovery ----------------------------------------------------------------------------------------------------

// The stream's files that are not complete, by name.
struct listing {
    struct seq *files;
    size_t count;
};

static int compare_files(const void *a, const void *b)
{
    return seq_compare(a, b);
}

static bool list_open(struct file_lane *lane, struct listing *out, struct err *out_error)
{
    *out = (struct listing){0};
    int fd = open_directory(lane->table_fd, ".");
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return lane_fail(lane, "cannot read directory", "", out_error);
    }
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        struct seq seq;
        if (!seq_of_name(entry->d_name, OPEN_SUFFIX, &seq))
            continue;
        out->files = reallocarray(out->files, out->count + 1, sizeof *out->files);
        CHECK(out->files != NULL);
        out->files[out->count++] = seq;
    }
    closedir(directory);
    if (out->count > 1)
        qsort(out->files, out->count, sizeof *out->files, compare_files);
    return true;
}

static bool complete(struct file_lane *lane, const struct seq *file, struct err *out_error)
{
    char from[NAME_SIZE], to[NAME_SIZE];
    seq_name(file, OPEN_SUFFIX, from);
    seq_name(file, DONE_SUFFIX, to);
    if (renameat(lane->table_fd, from, lane->table_fd, to) != 0 && errno != ENOENT)
        return lane_fail(lane, "cannot rename", from, out_error);
    return fsync(lane->table_fd) == 0 || lane_fail(lane, "cannot sync directory", "", out_error);
}

static bool drop(struct file_lane *lane, const struct seq *file, struct err *out_error)
{
    char name[NAME_SIZE];
    seq_name(file, OPEN_SUFFIX, name);
    if (unlinkat(lane->table_fd, name, 0) != 0 && errno != ENOENT)
        return lane_fail(lane, "cannot remove", name, out_error);
    return fsync(lane->table_fd) == 0 || lane_fail(lane, "cannot sync directory", "", out_error);
}

// Where the first line begins whose row is at or above the floor, or that is no whole line of ours.
static bool find_cut(FILE *stream, const struct seq *floor, uint64_t *out_offset)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    *out_offset = 0;
    while ((size = getline(&line, &capacity, stream)) > 0) {
        struct seq seq;
        if (line[size - 1] != '\n' || (size_t)size < LINE_HEAD_SIZE + SEQ_TEXT_SIZE ||
            !seq_parse(line + LINE_HEAD_SIZE, SEQ_TEXT_SIZE, &seq) || seq_compare(&seq, floor) >= 0)
            break;
        *out_offset += (uint64_t)size;
    }
    free(line);
    return ferror(stream) == 0;
}

// Without a kept position: rows below the floor are confirmed, the others come again.
static bool cut_at_floor(struct file_lane *lane, const struct seq *file, const struct seq *floor, struct err *out_error)
{
    char name[NAME_SIZE];
    uint64_t offset = 0;
    seq_name(file, OPEN_SUFFIX, name);
    int fd = openat(lane->table_fd, name, O_RDWR | O_CLOEXEC);
    FILE *stream = fd >= 0 ? fdopen(fd, "r") : NULL;
    bool is_cut =
        stream != NULL && find_cut(stream, floor, &offset) && ftruncate(fd, (off_t)offset) == 0 && fsync(fd) == 0;
    if (!is_cut)
        lane_fail(lane, "cannot recover", name, out_error);
    if (stream != NULL)
        fclose(stream);
    else if (fd >= 0)
        close(fd);
    return is_cut && (offset == 0 ? drop(lane, file, out_error) : complete(lane, file, out_error));
}

// The file that the kept position lies in: cut there, and written on. A complete one may have been taken away by its reader.
static bool resume(struct file_lane *lane, const struct file_position *kept, struct err *out_error)
{
    char name[NAME_SIZE];
    struct stat status;
    lane->position = *kept;
    seq_name(&kept->file, OPEN_SUFFIX, name);
    int fd = openat(lane->table_fd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || lane_fail(lane, "cannot open", name, out_error);
    if (fstat(fd, &status) != 0 || (uint64_t)status.st_size < kept->offset) {
        close(fd);
        return err_set(out_error, ERR_LOST, "files_lost",
                       "%s/%s is shorter than the %" PRIu64 " bytes that were written and synced", lane->path, name,
                       kept->offset);
    }
    if (ftruncate(fd, (off_t)kept->offset) != 0 || fsync(fd) != 0) {
        lane_fail(lane, "cannot cut", name, out_error);
        close(fd);
        return false;
    }
    lane->fd = fd;
    lane->made_s = status.st_mtime;
    return true;
}

static bool recover(struct file_lane *lane, const struct file_position *kept, const struct seq *floor,
                    struct err *out_error)
{
    struct listing listing;
    if (!list_open(lane, &listing, out_error))
        return false;
    bool is_done = true;
    for (size_t i = 0; i < listing.count && is_done; i++) {
        const struct seq *file = &listing.files[i];
        int order = kept != NULL ? seq_compare(file, &kept->file) : 0;
        if (kept == NULL)
            is_done = cut_at_floor(lane, file, floor, out_error);
        else if (order < 0)
            is_done = complete(lane, file, out_error);
        else if (order > 0)
            is_done = drop(lane, file, out_error);
    }
    free(listing.files);
    return is_done && (kept == NULL || kept->offset == 0 || resume(lane, kept, out_error));
}

bool file_lane_open_stream(struct file_lane *lane, const struct sink_channel_record *kept_record,
                           const struct seq *floor, struct file_position *out_position, struct err *out_error)
{
    struct file_position kept;
    bool is_ours = kept_record->name[0] != '\0' && file_position_parse(kept_record, &kept);
    lock_check_none();
    if (kept_record->name[0] != '\0' && !is_ours)
        return err_set(out_error, ERR_LOST, "destination_changed",
                       "the catalog knows %s of another kind of destination, nothing was written to %s yet",
                       lane->table, lane->path);
    bool is_known = is_ours && kept.file.epoch == floor->epoch;
    lane_close(lane);
    lane->position = (struct file_position){.file = *floor, .last = *floor};
    if (!store_enter(lane->store, floor->epoch, is_known, out_error))
        return false;
    lane->table_fd = open_table(lane, out_error);
    if (lane->table_fd < 0 || !recover(lane, is_known ? &kept : NULL, floor, out_error))
        return false;
    *out_position = lane->position;
    return true;
}

// --- copies ------------------------------------------------------------------------------------------------------

static bool remove_copy(struct file_lane *lane, const char *name, struct err *out_error)
{
    int fd = open_directory(lane->table_fd, name);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL)
        return lane_fail(lane, "cannot read directory", name, out_error);
    bool is_removed = true;
    for (const struct dirent *entry = readdir(directory); entry != NULL && is_removed; entry = readdir(directory))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            is_removed = unlinkat(dirfd(directory), entry->d_name, 0) == 0;
    is_removed = is_removed && unlinkat(lane->table_fd, name, AT_REMOVEDIR) == 0;
    if (!is_removed)
        lane_fail(lane, "cannot remove", name, out_error);
    closedir(directory);
    return is_removed;
}

static bool remove_others(struct file_lane *lane, const char *kept_name, struct err *out_error)
{
    int fd = open_directory(lane->table_fd, ".");
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL)
        return lane_fail(lane, "cannot read directory", "", out_error);
    bool is_removed = true;
    for (const struct dirent *entry = readdir(directory); entry != NULL && is_removed; entry = readdir(directory))
        if (strncmp(entry->d_name, COPY_OPEN_PREFIX, strlen(COPY_OPEN_PREFIX)) == 0 &&
            strcmp(entry->d_name, kept_name) != 0)
            is_removed = remove_copy(lane, entry->d_name, out_error);
    closedir(directory);
    return is_removed;
}

static void copy_name(const struct file_lane *lane, const char *prefix, char out[NAME_SIZE])
{
    char text[SEQ_TEXT_SIZE + 1] = {0};
    seq_format(&lane->copy_seq, text);
    (void)snprintf(out, NAME_SIZE, "%s%s", prefix, text);
}

// The next file of a range; the first is made even if the table is empty.
static bool copy_file_make(struct file_lane *lane, struct err *out_error)
{
    char directory[NAME_SIZE], suffix[40], name[NAME_SIZE], path[2 * NAME_SIZE];
    copy_name(lane, COPY_OPEN_PREFIX, directory);
    (void)snprintf(suffix, sizeof suffix, "-%04" PRIX16 "-%06" PRIu32 "%s", lane->range, lane->copy_files + 1,
                   DONE_SUFFIX);
    seq_name(&lane->copy_seq, suffix, name);
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = openat(lane->table_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, MODE_FILE);
    if (fd < 0)
        return lane_fail(lane, "cannot make", path, out_error);
    if (lane->fd >= 0)
        close(lane->fd);
    lane->fd = fd;
    lane->copy_files++;
    lane->position.offset = 0;
    return true;
}

bool file_lane_open_copy(struct file_lane *lane, const struct seq *copy_seq, uint16_t range, struct err *out_error)
{
    char directory[NAME_SIZE];
    lock_check_none();
    lane_close(lane);
    lane->is_copy = true;
    lane->copy_seq = *copy_seq;
    lane->range = range;
    lane->copy_files = 0;
    if (!store_enter(lane->store, copy_seq->epoch, false, out_error))
        return false;
    copy_name(lane, COPY_OPEN_PREFIX, directory);
    lane->table_fd = open_table(lane, out_error);
    if (lane->table_fd < 0 || !remove_others(lane, directory, out_error))
        return false;
    if (mkdirat(lane->table_fd, directory, MODE_DIRECTORY) != 0 && errno != EEXIST)
        return lane_fail(lane, "cannot make directory", directory, out_error);
    return copy_file_make(lane, out_error);
}

bool file_lane_finish_copy(struct file_lane *lane, struct err *out_error)
{
    char directory[NAME_SIZE];
    lock_check_none();
    copy_name(lane, COPY_OPEN_PREFIX, directory);
    int fd = open_directory(lane->table_fd, directory);
    bool is_synced = fd >= 0 && fsync(lane->fd) == 0 && fsync(fd) == 0 && fsync(lane->table_fd) == 0;
    if (!is_synced)
        lane_fail(lane, "cannot sync", directory, out_error);
    if (fd >= 0)
        close(fd);
    return is_synced;
}

bool file_lane_publish(struct file_lane *lane, const struct seq *copy_seq, struct err *out_error)
{
    char from[NAME_SIZE], to[NAME_SIZE];
    lock_check_none();
    lane_close(lane);
    lane->copy_seq = *copy_seq;
    copy_name(lane, COPY_OPEN_PREFIX, from);
    copy_name(lane, COPY_PREFIX, to);
    if (!store_enter(lane->store, copy_seq->epoch, true, out_error))
        return false;
    lane->table_fd = open_table(lane, out_error);
    if (lane->table_fd < 0)
        return false;
    if (renameat(lane->table_fd, from, lane->table_fd, to) != 0) {
        if (errno != ENOENT)
            return lane_fail(lane, "cannot rename", from, out_error);
        if (faccessat(lane->table_fd, to, F_OK, 0) != 0)
            return err_set(out_error, ERR_LOST, "files_lost", "the copy that was written to %s/%s is gone", lane->path,
                           from);
    }
    return fsync(lane->table_fd) == 0 || lane_fail(lane, "cannot sync directory", "", out_error);
}

// --- the stream --------------------------------------------------------------------------------------------------

static bool cut_tail(struct file_lane *lane)
{
    if (lane->has_tail)
        lane->has_tail = ftruncate(lane->fd, (off_t)lane->position.offset) != 0 || fsync(lane->fd) != 0;
    return !lane->has_tail;
}

static bool end_file(struct file_lane *lane, struct err *out_error)
{
    if (!cut_tail(lane))
        return lane_fail(lane, "cannot cut what a failed write left in", "", out_error);
    struct ended_file *file = calloc(1, sizeof *file);
    struct ended_file **link = &lane->ended;
    CHECK(file != NULL);
    *file = (struct ended_file){.file = lane->position.file, .last = lane->position.last};
    while (*link != NULL)
        link = &(*link)->next;
    *link = file;
    close(lane->fd);
    lane->fd = -1;
    return true;
}

static bool is_due(const struct file_lane *lane, int64_t now_s)
{
    const struct file_config *config = lane->store->config;
    return lane->fd >= 0 && lane->position.offset > 0 &&
           (lane->position.offset >= config->rotate_bytes || now_s < lane->made_s ||
            now_s - lane->made_s >= (int64_t)config->rotate_s);
}

static bool stream_file_make(struct file_lane *lane, const struct seq *first, int64_t now_s, struct err *out_error)
{
    char name[NAME_SIZE];
    seq_name(first, OPEN_SUFFIX, name);
    int fd = openat(lane->table_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, MODE_FILE);
    if (fd < 0)
        return lane_fail(lane, "cannot make", name, out_error);
    if (fsync(lane->table_fd) != 0) {
        lane_fail(lane, "cannot sync directory", "", out_error);
        close(fd);
        return false;
    }
    lane->fd = fd;
    lane->made_s = now_s;
    lane->position.file = *first;
    lane->position.offset = 0;
    return true;
}

static bool write_and_sync(struct file_lane *lane, const void *data, size_t size, struct err *out_error)
{
    // After a failed fsync the kernel may hold pages for clean that are not on disk; writing them again makes them dirty again.
    bool is_done = write_all(lane->fd, data, size, lane->position.offset);
    if (!is_done)
        lane_fail(lane, "cannot write to", "", out_error);
    else if (fsync(lane->fd) != 0)
        is_done = lane_fail(lane, "cannot sync", "", out_error);
    lane->has_tail = !is_done;
    if (!is_done)
        (void)cut_tail(lane);  // on a full disk it gives room back; at the latest when the file ends
    return is_done;
}

bool file_lane_write(struct file_lane *lane, const void *data, size_t size, const struct seq *first,
                     const struct seq *last, int64_t now_s, struct file_position *out_position, struct err *out_error)
{
    lock_check_none();
    if (lane->is_copy) {
        if (lane->position.offset >= lane->store->config->rotate_bytes && !copy_file_make(lane, out_error))
            return false;
    } else {
        if (is_due(lane, now_s) && !end_file(lane, out_error))
            return false;
        if (lane->fd < 0 && !stream_file_make(lane, first, now_s, out_error))
            return false;
    }
    if (!write_and_sync(lane, data, size, out_error))
        return false;
    lane->position.offset += size;
    lane->position.last = *last;
    *out_position = lane->position;
    return true;
}

bool file_lane_settle(struct file_lane *lane, const struct seq *saved, int64_t now_s, struct err *out_error)
{
    lock_check_none();
    if (is_due(lane, now_s) && !end_file(lane, out_error))
        return false;
    while (lane->ended != NULL && seq_compare(&lane->ended->last, saved) <= 0) {
        struct ended_file *file = lane->ended;
        if (!complete(lane, &file->file, out_error))
            return false;
        lane->ended = file->next;
        free(file);
    }
    return true;
}

// --- the catalog's record ----------------------------------------------------------------------------------------

// name: "file_" and the file's sequence; token: the last row's, "+" and the offset in hex.
void file_position_format(const struct file_position *position, struct sink_channel_record *out_record)
{
    char file[SEQ_TEXT_SIZE + 1] = {0}, last[SEQ_TEXT_SIZE + 1] = {0};
    seq_format(&position->file, file);
    seq_format(&position->last, last);
    (void)snprintf(out_record->name, sizeof out_record->name, RECORD_PREFIX "%s", file);
    (void)snprintf(out_record->token, sizeof out_record->token, "%s+%" PRIX64, last, position->offset);
}

bool file_position_parse(const struct sink_channel_record *record, struct file_position *out_position)
{
    const char *offset = record->token + SEQ_TEXT_SIZE;
    char *end = NULL;
    if (strncmp(record->name, RECORD_PREFIX, strlen(RECORD_PREFIX)) != 0 ||
        !seq_of_name(record->name + strlen(RECORD_PREFIX), "", &out_position->file) ||
        strlen(record->token) < SEQ_TEXT_SIZE + 2 || !seq_parse(record->token, SEQ_TEXT_SIZE, &out_position->last) ||
        *offset != '+')
        return false;
    out_position->offset = strtoull(offset + 1, &end, 16);
    return *end == '\0';
}
