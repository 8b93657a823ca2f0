// Opening, closing, and the thread that does what a service asks for.
#include "catalog/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/process.h"
#include "catalog/catalog_private.h"
#include "embedded_sql.h"
#include "io/lock.h"

#define SAVES_MAX 4096  // one a pipeline in flight, and statuses, which may be dropped
#define REQUESTS_MAX 4096
#define WATCH_INTERVAL_US 500000
#define LISTEN_SQL "LISTEN " DB_NOTIFY_CHANNEL

static const struct backoff_policy reopen_policy = {.delay_first_ms = 250, .delay_min_ms = 100, .delay_max_ms = 10000};
// Tells the thread to end; an address, never looked into.
static char stop_message;

const char *catalog_table_state_name(enum catalog_table_state state)
{
    static const char *const names[] = {"new", "copying", "copied", "live", "parked", "unpublished"};
    CHECK((unsigned)state < sizeof names / sizeof names[0]);
    return names[state];
}

const char *catalog_text(const struct catalog *catalog)
{
    return catalog->location->text;
}

bool catalog_is_postgres(const struct catalog *catalog)
{
    return catalog->location->is_postgres;
}

// --- opening ---------------------------------------------------------------------------------------------------------

// The service's lock: an open-file-description lock on a byte beyond those that SQLite locks (at 1 GiB), which can be asked for without taking it.
static struct flock service_lock(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)1 << 40, .l_len = 1};
}

// A process opens one catalog at a time: closing this descriptor drops the locks that its SQLite has on the file (POSIX).
static bool lock_file(struct catalog *catalog, struct err *out_error)
{
    struct flock lock = service_lock();
    bool is_service = catalog->role == CATALOG_SERVICE;
    catalog->lock_fd = open(catalog->location->path, (is_service ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (catalog->lock_fd < 0)
        return err_set(out_error, ERR_CONFIG, "state_file", "%s cannot be opened: %s", catalog->location->text,
                       strerror(errno));
    if (is_service && fcntl(catalog->lock_fd, F_OFD_SETLK, &lock) != 0)
        return err_set(out_error, ERR_CONFIG, "state_file_in_use",
                       "%s is in use by another etl-stream; stop that one, or set ETL_STATE to another path",
                       catalog->location->text);
    return true;
}

static bool db_open(struct catalog *catalog, struct err *out_error)
{
    const struct catalog_location *location = catalog->location;
    catalog->db = location->is_postgres ? db_postgres_open(location, NULL, out_error)
                                        : db_sqlite_open(location, catalog->role == CATALOG_READER, out_error);
    return catalog->db != NULL;
}

struct catalog *catalog_open(const struct catalog_location *location, enum catalog_role role, struct err *out_error)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    CHECK(catalog != NULL);
    catalog_location_copy(location, &catalog->owned_location);
    catalog->location = &catalog->owned_location;
    catalog->role = role;
    catalog->lock_fd = -1;
    if (db_open(catalog, out_error) && (location->is_postgres || lock_file(catalog, out_error)) &&
        schema_prepare(catalog->db, role, role == CATALOG_EDITOR && catalog_is_served(catalog), out_error))
        return catalog;
    catalog_close(catalog);
    return NULL;
}

bool catalog_is_served(struct catalog *catalog)
{
    struct flock lock = service_lock();
    struct err ignored = {0};
    bool is_there = false;
    CHECK(!catalog->is_started);
    if (catalog->location->is_postgres)
        return claims_is_service_there(catalog->db, &is_there, &ignored) && is_there;
    return catalog->role == CATALOG_SERVICE ||
           (fcntl(catalog->lock_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK);
}

bool catalog_is_claimed(struct catalog *catalog, const char *pipeline)
{
    struct err ignored = {0};
    bool is_claimed = false;
    CHECK(!catalog->is_started);
    if (!catalog->location->is_postgres)
        return catalog_is_served(catalog);
    return claims_is_claimed(catalog->db, pipeline, &is_claimed, &ignored) && is_claimed;
}

// --- blocking calls --------------------------------------------------------------------------------------------------

bool catalog_load(struct catalog *catalog, const char *pipeline, struct catalog_known *out_known, struct err *out_error)
{
    CHECK(!catalog->is_started);
    return state_load(catalog->db, pipeline, out_known, out_error);
}

static char *copy_of(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

void catalog_table_copy(const struct catalog_table *from, struct catalog_table *out)
{
    *out = *from;
    out->marks = copy_of(from->marks);
    out->columns = copy_of(from->columns);
}

void catalog_table_deinit(struct catalog_table *table)
{
    free(table->marks);
    free(table->columns);
    table->marks = table->columns = NULL;
}

void catalog_known_deinit(struct catalog_known *known)
{
    for (uint32_t i = 0; i < known->table_count; i++)
        catalog_table_deinit(&known->tables[i]);
    free(known->tables);
    free(known->channels);
    memset(known, 0, sizeof *known);
}

struct each_status {
    void (*on_status)(void *context, const char *pipeline, const char *json, int64_t updated_ms);
    void *context;
};

static bool on_status_row(void *context, const char *const *values)
{
    const struct each_status *each = context;
    each->on_status(each->context, values[0], values[1], strtoll(values[2], NULL, 10));
    return true;
}

bool catalog_each_status(struct catalog *catalog,
                         void (*on_status)(void *context, const char *pipeline, const char *json, int64_t updated_ms),
                         void *context, struct err *out_error)
{
    CHECK(!catalog->is_started);
    struct each_status each = {.on_status = on_status, .context = context};
    struct db_query query = {.sql = sql_catalog_each_status, .on_row = on_status_row, .context = &each};
    return db_query(catalog->db, &query, out_error);
}

bool catalog_config_read(struct catalog *catalog, struct catalog_config **out_config, struct err *out_error)
{
    CHECK(!catalog->is_started);
    *out_config = NULL;
    return config_read(catalog->db, out_config, out_error);
}

bool catalog_config_foresee(const struct catalog_location *location, struct catalog_config **out_config,
                            struct err *out_error)
{
    CHECK(location->is_postgres);
    struct db *db = db_postgres_open(location, NULL, out_error);
    bool is_read = db != NULL && schema_foresee(db, out_config, out_error);
    db_close(db);
    return is_read;
}

bool catalog_forget(struct catalog *catalog, const char *pipeline, struct err *out_error)
{
    CHECK(!catalog->is_started && catalog->role != CATALOG_READER);
    return state_forget(catalog->db, pipeline, out_error);
}

// --- messages --------------------------------------------------------------------------------------------------------

struct catalog_save *catalog_save_new(uint32_t table_count, uint32_t channel_count)
{
    size_t tables_size = sizeof(struct catalog_save) + (size_t)table_count * sizeof(struct catalog_table);
    _Static_assert(_Alignof(struct catalog_channel) <= _Alignof(struct catalog_table), "channels stand behind tables");
    struct catalog_save *save = calloc(1, tables_size + (size_t)channel_count * sizeof(struct catalog_channel));
    CHECK(save != NULL);
    save->table_count = table_count;
    save->channel_count = channel_count;
    save->channels = (struct catalog_channel *)(void *)((char *)save + tables_size);
    return save;
}

void catalog_save_free(struct catalog_save *save)
{
    if (save == NULL)
        return;
    for (uint32_t i = 0; i < save->table_count; i++)
        catalog_table_deinit(&save->tables[i]);
    free(save->status_json);
    free(save);
}

struct catalog_request *catalog_request_new(enum catalog_request_kind kind, const char *pipeline)
{
    struct catalog_request *request = calloc(1, sizeof *request);
    CHECK(request != NULL);
    request->kind = kind;
    (void)snprintf(request->pipeline, sizeof request->pipeline, "%s", pipeline != NULL ? pipeline : "");
    return request;
}

void catalog_request_free(struct catalog_request *request)
{
    if (request == NULL)
        return;
    catalog_config_free(request->config);
    catalog_known_deinit(&request->known);
    for (uint32_t i = 0; i < request->command_count; i++)
        free(request->commands[i].arguments);
    for (uint32_t i = 0; i < request->row_count; i++) {
        free(request->rows[i].kind);
        free(request->rows[i].name);
        free(request->rows[i].json);
        free(request->rows[i].process);
    }
    free(request->rows);
    free(request->commands);
    free(request->arguments);
    free(request);
}

void catalog_request_add_row(struct catalog_request *request, const char *kind, const char *name, const char *json,
                             const char *process, int64_t seen_ms)
{
    request->rows = reallocarray(request->rows, (size_t)request->row_count + 1, sizeof *request->rows);
    CHECK(request->rows != NULL);
    request->rows[request->row_count++] = (struct catalog_watch_row){.kind = copy_of(kind),
                                                                     .name = copy_of(name),
                                                                     .json = copy_of(json),
                                                                     .process = copy_of(process),
                                                                     .seen_ms = seen_ms};
}

void catalog_request_discard(void *request)
{
    catalog_request_free(request);
}

void catalog_answer(struct catalog_request *take_request)
{
    // Nobody waits for it, or the asker has gone meanwhile: the request ends here.
    if (take_request->reply_to == NULL || !mailbox_send(take_request->reply_to, take_request))
        catalog_request_free(take_request);
}

void catalog_tell(struct mailbox *news, enum catalog_request_kind kind, const char *pipeline)
{
    if (news == NULL)
        return;
    struct catalog_request *told = catalog_request_new(kind, pipeline);
    if (!mailbox_send(news, told))
        catalog_request_free(told);
}

void catalog_listen(struct catalog *catalog, struct mailbox *mailbox)
{
    CHECK(!catalog->is_started);
    catalog->news = mailbox;
}

bool catalog_send(struct catalog *catalog, struct catalog_save *take_save)
{
    return mailbox_send(catalog->saves, take_save);
}

bool catalog_ask(struct catalog *catalog, struct catalog_request *take_request)
{
    if (catalog->claims != NULL &&
        (take_request->kind == CATALOG_ASK_CLAIM || take_request->kind == CATALOG_ASK_RELEASE))
        return claims_ask(catalog->claims, take_request);
    return mailbox_send(catalog->requests, take_request);
}

void catalog_command_answer(struct catalog *catalog, int64_t command_id, bool has_failed, const char *text)
{
    struct catalog_request *request = catalog_request_new(CATALOG_ASK_ANSWER, "");
    request->command_id = command_id;
    request->has_failed = has_failed;
    (void)snprintf(request->text, sizeof request->text, "%s", text);
    if (!catalog_ask(catalog, request)) {
        log_line(LOG_WARNING, NULL, "command_unanswered", "the catalog is too far behind to be told: %s", text);
        catalog_request_free(request);
    }
}

static void on_answer(void *context, void *message)
{
    struct catalog *catalog = context;
    (void)message;
    catalog->is_answered = true;
}

static void discard_nothing(void *message)
{
    (void)message;
}

bool catalog_ask_and_wait(struct catalog *catalog, struct catalog_request *request, struct err *out_error)
{
    if (catalog->wait_loop == NULL)
        catalog->wait_loop = loop_new(&clock_system, out_error);
    if (catalog->wait_loop != NULL && catalog->wait_mailbox == NULL)
        catalog->wait_mailbox = mailbox_new(catalog->wait_loop, 1, on_answer, catalog, out_error);
    if (catalog->wait_mailbox == NULL)
        return false;
    request->reply_to = catalog->wait_mailbox;
    catalog->is_answered = false;
    if (!catalog_ask(catalog, request))
        return err_set(out_error, ERR_INTERNAL, "catalog", "%s: too many requests are under way",
                       catalog_text(catalog));
    while (!catalog->is_answered)
        loop_turn(catalog->wait_loop, -1);
    if (err_is_set(&request->error))
        *out_error = request->error;
    return !err_is_set(&request->error);
}

// --- the thread: PostgreSQL may go away ------------------------------------------------------------------------------

static void watch_again(struct catalog *catalog);

static void on_notification(struct loop_watch *watch, unsigned events)
{
    struct catalog *catalog = watch->context;
    (void)events;
    if (catalog->db->operations->is_changed(catalog->db))
        catalog_tell(catalog->news, CATALOG_TOLD_CHANGED, NULL);
    watch_again(catalog);
}

// After whatever may have broken the connection.
static void watch_again(struct catalog *catalog)
{
    struct err ignored = {0};
    if (!catalog->location->is_postgres) {
        loop_timer_set(catalog->loop, &catalog->watch_timer, WATCH_INTERVAL_US);
        return;
    }
    if (catalog->db != NULL && catalog->db->operations->is_open(catalog->db)) {
        if (catalog->watch.generation == 0)
            loop_watch_set(catalog->loop, &catalog->watch, catalog->db->operations->descriptor(catalog->db), LOOP_READ,
                           &ignored);
        return;
    }
    uint32_t delay_ms = 0;
    loop_watch_stop(catalog->loop, &catalog->watch);
    db_close(catalog->db);
    catalog->db = NULL;
    if (!err_is_set(&catalog->away))
        err_set(&catalog->away, ERR_TRANSIENT, "catalog_away", "%s: the connection broke", catalog->location->text);
    backoff_next(&catalog->backoff, &delay_ms);
    loop_timer_set(catalog->loop, &catalog->watch_timer, (uint64_t)delay_ms * 1000);
}

static void reopen(struct catalog *catalog)
{
    struct err error = {0};
    if (!db_open(catalog, &error) || !db_script(catalog->db, LISTEN_SQL, &error)) {
        error.kind = ERR_TRANSIENT;  // it was there before: whatever is wrong now may be right again
        if (strcmp(error.text, catalog->away.text) != 0)
            log_line(LOG_ERROR, NULL, "catalog_away", "%s", error.text);
        catalog->away = error;
        db_close(catalog->db);
        catalog->db = NULL;
    } else {
        log_line(LOG_INFO, NULL, "catalog_back", "%s answers again", catalog->location->text);
        backoff_reset(&catalog->backoff);
        err_clear(&catalog->away);
        catalog_tell(catalog->news, CATALOG_TOLD_CHANGED, NULL);
    }
    watch_again(catalog);
}

static void on_watch_due(struct loop_timer *timer)
{
    struct catalog *catalog = timer->context;
    if (catalog->location->is_postgres) {
        reopen(catalog);
        return;
    }
    if (catalog->db->operations->is_changed(catalog->db))
        catalog_tell(catalog->news, CATALOG_TOLD_CHANGED, NULL);
    watch_again(catalog);
}

// False: it is away; the error says so, and no statement was tried.
static bool is_there(struct catalog *catalog, struct err *out_error)
{
    if (catalog->db != NULL)
        return true;
    *out_error = catalog->away;
    return false;
}

// After a call that used the connection.
static void used(struct catalog *catalog, const struct err *error)
{
    if (catalog->db == NULL || !catalog->location->is_postgres)
        return;
    if (!catalog->db->operations->is_open(catalog->db)) {
        catalog->away = *error;
        if (err_is_set(error))
            log_line(LOG_ERROR, NULL, "catalog_away", "%s", error->text);
        watch_again(catalog);
    } else if (catalog->db->operations->is_changed(catalog->db)) {
        catalog_tell(catalog->news, CATALOG_TOLD_CHANGED, NULL);
    }
}

// Once in each mailbox: what was sent before is done first.
static void stop_said(struct catalog *catalog)
{
    if (++catalog->stop_count == 2)
        loop_stop(catalog->loop);
}

static void saves_write(struct catalog *catalog)
{
    uint32_t count = catalog->gathered_count;
    loop_defer_stop(catalog->loop, &catalog->save_turn);
    if (count == 0)
        return;
    catalog->gathered_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        err_clear(&catalog->gathered[i]->error);
        is_there(catalog, &catalog->gathered[i]->error);
    }
    if (catalog->db != NULL)
        state_save(catalog->db, catalog->gathered, count);
    used(catalog, &catalog->gathered[count - 1]->error);
    for (uint32_t i = 0; i < count; i++) {
        struct catalog_save *save = catalog->gathered[i];
        if (save->reply_to == NULL || !mailbox_send(save->reply_to, save))
            catalog_save_free(save);
    }
}

static void on_save_turn(struct loop_deferred *deferred)
{
    saves_write(deferred->context);
}

static void on_save(void *context, void *message)
{
    struct catalog *catalog = context;
    if (message == &stop_message) {
        saves_write(catalog);
        stop_said(catalog);
        return;
    }
    catalog->gathered[catalog->gathered_count++] = message;
    if (catalog->gathered_count == CATALOG_SAVES_TOGETHER_MAX)
        saves_write(catalog);
    else
        loop_defer(catalog->loop, &catalog->save_turn);
}

static void on_request(void *context, void *message)
{
    struct catalog *catalog = context;
    saves_write(catalog);  // what was sent before is done first
    if (message == &stop_message) {
        stop_said(catalog);
        return;
    }
    struct catalog_request *request = message;
    struct err *error = &request->error;
    err_clear(error);
    if (is_there(catalog, error)) {
        switch (request->kind) {
        case CATALOG_ASK_CONFIG: config_read(catalog->db, &request->config, error); break;
        case CATALOG_ASK_KNOWN: state_load(catalog->db, request->pipeline, &request->known, error); break;
        case CATALOG_ASK_COMMANDS: commands_take(catalog->db, request); break;
        case CATALOG_ASK_WAITING: commands_waiting(catalog->db, request); break;
        case CATALOG_ASK_ANSWER: commands_answer(catalog->db, request, error); break;
        case CATALOG_ASK_FORGET: state_forget(catalog->db, request->pipeline, error); break;
        case CATALOG_ASK_CONTROL:
            // SQLite does not tell a connection of its own changes.
            if (commands_control(catalog->db, request))
                catalog_tell(catalog->news, CATALOG_TOLD_CHANGED, NULL);
            break;
        case CATALOG_ASK_COMMAND: commands_look(catalog->db, request); break;
        case CATALOG_ASK_WATCH_LOAD: watch_load(catalog->db, request); break;
        case CATALOG_ASK_WATCH_SAVE: watch_save(catalog->db, request, error); break;
        case CATALOG_ASK_STATUSES: watch_statuses(catalog->db, request); break;
        case CATALOG_ASK_LEFT: state_take_left(catalog->db, request); break;
        case CATALOG_ASK_CLAIM: request->sure_until_us = UINT64_MAX; break;  // SQLite: all of it is ours
        case CATALOG_ASK_RELEASE: break;
        case CATALOG_TOLD_CHANGED:
        case CATALOG_TOLD_CLAIM_LOST: CHECK(false);
        }
    }
    used(catalog, error);
    catalog_answer(request);
}

static void discard_save(void *message)
{
    if (message != &stop_message)
        catalog_save_free(message);
}

static void discard_request(void *message)
{
    if (message != &stop_message)
        catalog_request_free(message);
}

static void *run_thread(void *context)
{
    struct catalog *catalog = context;
    process_name_thread("catalog");
    watch_again(catalog);
    loop_run(catalog->loop);
    loop_timer_stop(catalog->loop, &catalog->watch_timer);
    loop_watch_stop(catalog->loop, &catalog->watch);
    mailbox_free(catalog->saves, discard_save);
    mailbox_free(catalog->requests, discard_request);
    return NULL;
}

// Signals belong to the main thread's loop: one that this thread took would end the process unsaved.
static bool start_thread(struct catalog *catalog)
{
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    bool is_started = pthread_create(&catalog->thread, NULL, run_thread, catalog) == 0;
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return is_started;
}

static bool start_parts(struct catalog *catalog, struct err *out_error)
{
    const struct catalog_location *location = catalog->location;
    catalog->loop = loop_new(&clock_system, out_error);
    if (catalog->loop == NULL)
        return false;
    catalog->saves = mailbox_new(catalog->loop, SAVES_MAX, on_save, catalog, out_error);
    catalog->requests = mailbox_new(catalog->loop, REQUESTS_MAX, on_request, catalog, out_error);
    if (catalog->saves == NULL || catalog->requests == NULL)
        return false;
    if (location->is_postgres) {
        catalog->claims = claims_new(location, catalog->news, out_error);
        if (catalog->claims == NULL || !db_script(catalog->db, LISTEN_SQL, out_error))
            return false;
    }
    return start_thread(catalog) ||
           err_set(out_error, ERR_INTERNAL, "thread", "the catalog's thread cannot be started");
}

bool catalog_start(struct catalog *catalog, struct err *out_error)
{
    uint64_t seed = 1;
    CHECK(catalog->role == CATALOG_SERVICE && !catalog->is_started);
    CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
    backoff_init(&catalog->backoff, &reopen_policy, seed | 1);
    catalog->watch_timer = (struct loop_timer){.on_due = on_watch_due, .context = catalog};
    catalog->watch = (struct loop_watch){.on_ready = on_notification, .context = catalog, .fd = -1};
    catalog->save_turn = (struct loop_deferred){.call = on_save_turn, .context = catalog};
    catalog->is_started = start_parts(catalog, out_error);
    if (catalog->is_started)
        return true;
    claims_free(catalog->claims);
    if (catalog->saves != NULL)
        mailbox_free(catalog->saves, discard_save);
    if (catalog->requests != NULL)
        mailbox_free(catalog->requests, discard_request);
    if (catalog->loop != NULL)
        loop_free(catalog->loop);
    catalog->claims = NULL;
    catalog->loop = NULL;
    return false;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    if (catalog->is_started) {
        // There is room for one more only by luck: try until the last word is taken.
        while (!mailbox_send(catalog->saves, &stop_message))
            sched_yield();
        while (!mailbox_send(catalog->requests, &stop_message))
            sched_yield();
        pthread_join(catalog->thread, NULL);
        loop_free(catalog->loop);
        claims_free(catalog->claims);  // after the last save: who takes over finds it
    }
    if (catalog->wait_mailbox != NULL)
        mailbox_free(catalog->wait_mailbox, discard_nothing);
    if (catalog->wait_loop != NULL)
        loop_free(catalog->wait_loop);
    db_close(catalog->db);
    if (catalog->lock_fd >= 0)
        close(catalog->lock_fd);
    catalog_location_deinit(&catalog->owned_location);
    free(catalog);
}
