// Commands to a running service: rows that wait, are taken once, and are answered.
#include "catalog/requests.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/catalog_private.h"

#define KEPT_MS (24 * 60 * 60 * 1000LL)
#define NUMBER_SIZE 24

static void now_text(int64_t minus_ms, char out[NUMBER_SIZE])
{
    (void)snprintf(out, NUMBER_SIZE, "%" PRId64, clock_system.wall_us(clock_system.context) / 1000 - minus_ms);
}

// --- the service's side ----------------------------------------------------------------------------------------------

static struct catalog_command *command_append(struct catalog_request *request)
{
    request->commands = reallocarray(request->commands, request->command_count + 1, sizeof *request->commands);
    CHECK(request->commands != NULL);
    return &request->commands[request->command_count++];
}

static bool on_command(void *context, const char *const *values)
{
    struct catalog_command *command = command_append(context);
    *command = (struct catalog_command){.id = strtoll(values[0], NULL, 10), .arguments = strdup(values[3])};
    (void)snprintf(command->pipeline, sizeof command->pipeline, "%s", values[1]);
    (void)snprintf(command->word, sizeof command->word, "%s", values[2]);
    CHECK(command->arguments != NULL);
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = ((const struct catalog_command *)a)->id, right = ((const struct catalog_command *)b)->id;
    return (left > right) - (left < right);
}

// An UPDATE that finds its row changed meanwhile looks at the condition again: two services never get the same.
bool commands_take(struct db *db, struct catalog_request *request)
{
    const char *parameters[] = {request->pipeline};
    struct db_query query = {.sql = "UPDATE etl_commands SET state = 'taken' WHERE state = 'waiting' "
                                    "AND ($1 = '' OR pipeline = $1) RETURNING id, pipeline, word, arguments",
                             .parameter_count = 1,
                             .parameters = parameters,
                             .on_row = on_command,
                             .context = request};
    bool is_taken =
        db_begin(db, &request->error) && db_query(db, &query, &request->error) && db_commit(db, &request->error);
    db_rollback(db);
    if (request->command_count > 1)
        qsort(request->commands, request->command_count, sizeof *request->commands, compare_ids);
    return is_taken;
}

static bool on_waiting(void *context, const char *const *values)
{
    struct catalog_command *command = command_append(context);
    *command = (struct catalog_command){0};
    (void)snprintf(command->pipeline, sizeof command->pipeline, "%s", values[0]);
    return true;
}

bool commands_waiting(struct db *db, struct catalog_request *request)
{
    struct db_query query = {.sql = "SELECT DISTINCT pipeline FROM etl_commands WHERE state = 'waiting'",
                             .on_row = on_waiting,
                             .context = request};
    return db_query(db, &query, &request->error);
}

bool commands_answer(struct db *db, const struct catalog_request *request, struct err *out_error)
{
    char id[NUMBER_SIZE];
    const char *parameters[] = {id, request->has_failed ? "failed" : "done", request->text};
    (void)snprintf(id, sizeof id, "%" PRId64, request->command_id);
    return db_run(db, "UPDATE etl_commands SET state = $2, answer = $3 WHERE id = $1", 3, parameters, NULL, out_error);
}

// --- from a command line, or within the service ----------------------------------------------------------------------

static bool on_new_id(void *context, const char *const *values)
{
    *(int64_t *)context = strtoll(values[0], NULL, 10);
    return true;
}

// In a transaction. Those that nobody took within a day are removed.
static bool insert(struct db *db, const char *pipeline, const char *word, const char *arguments, int64_t *out_id,
                   struct err *out_error)
{
    char now[NUMBER_SIZE], old[NUMBER_SIZE];
    now_text(0, now);
    now_text(KEPT_MS, old);
    const char *too_old[] = {old}, *parameters[] = {pipeline, word, arguments, now};
    struct db_query query = {.sql = "INSERT INTO etl_commands (pipeline, word, arguments, state, answer, made_ms) "
                                    "VALUES ($1, $2, $3, 'waiting', '', $4) RETURNING id",
                             .parameter_count = 4,
                             .parameters = parameters,
                             .on_row = on_new_id,
                             .context = out_id};
    return db_run(db, "DELETE FROM etl_commands WHERE made_ms < $1", 1, too_old, NULL, out_error) &&
           db_query(db, &query, out_error) && db->operations->notify(db, out_error);
}

bool catalog_command_add(struct catalog *catalog, const char *pipeline, const char *word, const char *arguments,
                         int64_t *out_id, struct err *out_error)
{
    struct db *db = catalog->db;
    CHECK(!catalog->is_started && catalog->role != CATALOG_READER && strlen(word) < CATALOG_COMMAND_SIZE);
    bool is_added =
        db_begin(db, out_error) && insert(db, pipeline, word, arguments, out_id, out_error) && db_commit(db, out_error);
    db_rollback(db);
    return is_added;
}

struct wanted {
    bool is_found, is_started;
};

static bool on_status(void *context, const char *const *values)
{
    struct wanted *wanted = context;
    *wanted = (struct wanted){.is_found = true, .is_started = values[0] != NULL && strcasecmp(values[0], "START") == 0};
    return true;
}

static bool control(struct db *db, struct catalog_request *request, struct err *out_error)
{
    const char *arguments = request->arguments != NULL ? request->arguments : "{}";
    bool is_start = strcmp(request->word, "start") == 0, is_pause = strcmp(request->word, "pause") == 0;
    const char *parameters[] = {request->pipeline, is_start ? "START" : "PAUSE"};
    struct wanted wanted = {0};
    struct db_query query = {.sql = "SELECT status FROM pipelines WHERE name = $1",
                             .parameter_count = 1,
                             .parameters = parameters,
                             .on_row = on_status,
                             .context = &wanted};
    if (!db_query(db, &query, out_error))
        return false;
    // What runs by run --from --to is in no table of pipelines; copying anew is all that can be asked of it.
    if (!wanted.is_found && (is_start || is_pause))
        return err_set(out_error, ERR_CONFIG, "missing", "there is no pipeline \"%s\" in %s", request->pipeline,
                       db->location->text);
    request->was_so = (is_start || is_pause) && wanted.is_started == is_start;
    if ((is_start || is_pause) && !request->was_so)
        return db_run(db, "UPDATE pipelines SET status = $2, updated_at = CURRENT_TIMESTAMP WHERE name = $1", 2,
                      parameters, NULL, out_error) &&
               db->operations->notify(db, out_error);
    // One that waits after a failure is tried at once; a pause of what is paused asks for nothing.
    return is_pause || insert(db, request->pipeline, request->word, arguments, &request->command_id, out_error);
}

bool commands_control(struct db *db, struct catalog_request *request)
{
    request->command_id = 0;
    bool is_done =
        db_begin(db, &request->error) && control(db, request, &request->error) && db_commit(db, &request->error);
    db_rollback(db);
    return is_done;
}

struct looking {
    bool is_found;
    enum catalog_command_state state;
    char *text;
};

static bool on_state(void *context, const char *const *values)
{
    static const char *const names[] = {"waiting", "taken", "done", "failed"};
    struct looking *looking = context;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(values[0], names[i]) == 0) {
            looking->state = (enum catalog_command_state)i;
            looking->is_found = true;
        }
    }
    (void)snprintf(looking->text, ERR_TEXT_SIZE, "%s", values[1]);
    return true;
}

static bool look(struct db *db, int64_t id, enum catalog_command_state *out_state, char *out_text,
                 struct err *out_error)
{
    char text[NUMBER_SIZE];
    const char *parameters[] = {text};
    struct looking looking = {.text = out_text};
    struct db_query query = {.sql = "SELECT state, answer FROM etl_commands WHERE id = $1",
                             .parameter_count = 1,
                             .parameters = parameters,
                             .on_row = on_state,
                             .context = &looking};
    (void)snprintf(text, sizeof text, "%" PRId64, id);
    if (!db_query(db, &query, out_error))
        return false;
    *out_state = looking.state;
    return looking.is_found || err_set(out_error, ERR_LOST, "command", "the command was removed from the catalog");
}

bool catalog_command_look(struct catalog *catalog, int64_t id, enum catalog_command_state *out_state, char *out_text,
                          struct err *out_error)
{
    CHECK(!catalog->is_started);
    return look(catalog->db, id, out_state, out_text, out_error);
}

bool commands_look(struct db *db, struct catalog_request *request)
{
    return look(db, request->command_id, &request->command_state, request->text, &request->error);
}

bool catalog_command_withdraw(struct catalog *catalog, int64_t id, bool *out_taken_back, struct err *out_error)
{
    char text[NUMBER_SIZE];
    const char *parameters[] = {text};
    uint64_t count = 0;
    CHECK(!catalog->is_started);
    (void)snprintf(text, sizeof text, "%" PRId64, id);
    bool is_done = db_run(catalog->db, "DELETE FROM etl_commands WHERE id = $1 AND state = 'waiting'", 1, parameters,
                          &count, out_error);
    *out_taken_back = count > 0;
    return is_done;
}
