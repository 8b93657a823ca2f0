// What etl-stream check asks Snowflake before it opens the sink: who we are there, which privileges the role lacks, what of the
// warehouse will cost or fail later. One statement after the other, none of which needs a warehouse.
//
// Whether a privilege is there is asked by SHOW … WITH PRIVILEGES, which lists what the active role has been granted it on (for
// CREATE … the primary role alone counts, as it does when something is created), and then for OWNERSHIP, which includes all.
// Source: docs.snowflake.com/en/sql-reference/sql/show-schemas.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "sinks/snowflake/sf_sink_private.h"

enum {
    LOOK_TRIES_MAX = 2,
    NAME_SIZE = 2 * SF_NAME_SIZE_MAX + 3,
    CLOCK_AHEAD_S_MAX = 25,   // the token is dated back by 30 s
    CLOCK_BEHIND_S_MAX = 25,  // and lives an hour; Snowflake wants it to be of the last 60 s
    SUSPEND_S_MANY = 600,
    PROCEDURE_TABLES = 100,  // where a merge may be longer than a statement
    OWNED_MAX = 16,          // tables of others' roles that are looked at
    STATEMENT_SIZE_MAX = 16384
};

enum look_step {
    LOOK_LOGIN,
    LOOK_DEFAULT_ROLE,
    LOOK_SCHEMA,
    LOOK_LANDING,
    LOOK_CREATE_SCHEMA,     // on the database
    LOOK_CREATE_TARGETS,    // CREATE TABLE in the schema
    LOOK_CREATE_LANDING,    // … in the landing schema
    LOOK_CREATE_PROCEDURE,  // … there
    LOOK_WAREHOUSE,
    LOOK_USE_WAREHOUSE,
    LOOK_TARGET_OWNERS,
    LOOK_LANDING_OWNERS,
    LOOK_ROLES,  // one after the other
    LOOK_INGEST,
    LOOK_DONE
};

// A table of ours that another role owns.
struct owned {
    char *schema, *name, *owner;
};

struct sf_look {
    struct sf_sink *sink;
    struct sink_look call;
    struct sf_sql *sql;
    struct sf_auth_waiter ingest_waiter;
    struct loop_deferred next;
    struct buf text;
    enum look_step step;
    bool is_owner_asked;  // the privilege itself is not there
    bool may_open;
    bool has_schema, has_landing;
    char *role, *warehouse;
    char where[300];
    uint64_t began_us;
    struct owned owned[OWNED_MAX];
    size_t owned_count, owned_next;
};

static void run_step(struct sf_look *look);

// --- telling -----------------------------------------------------------------------------------------------------------

static struct finding_teller teller_of(const struct sf_look *look)
{
    return (struct finding_teller){look->call.on_finding, look->call.context, look->where};
}

#define tell(look, severity, code, ...)                                            \
    do {                                                                           \
        const struct finding_teller tell_as = teller_of(look);                     \
        finding_tell(&tell_as, FINDING_##severity, ERR_CONFIG, code, __VA_ARGS__); \
    } while (false)

static const char *quote(const char *name, char out[NAME_SIZE])
{
    struct buf text;
    buf_init(&text, NAME_SIZE);
    sf_append_identifier(&text, name);
    (void)snprintf(out, NAME_SIZE, "%s", buf_text(&text));
    buf_deinit(&text);
    return out;
}

static void keep(char **in_out_text, const char *text)
{
    free(*in_out_text);
    *in_out_text = text != NULL && *text != '\0' ? strdup(text) : NULL;
    CHECK(*in_out_text != NULL || text == NULL || *text == '\0');
}

static void timed(struct sf_look *look, const char *name)
{
    uint64_t now_us = loop_now_us(look->sink->options.loop);
    if (look->call.on_timing != NULL)
        look->call.on_timing(look->call.context, name, now_us - look->began_us);
}

static bool is_clock_wrong(const struct sf_look *look)
{
    const struct sf_auth_facts *facts = sf_auth_facts(look->sink->options.auth);
    return facts->has_clock && (facts->clock_ahead_s > CLOCK_AHEAD_S_MAX || facts->clock_ahead_s < -CLOCK_BEHIND_S_MAX);
}

static void tell_clock(struct sf_look *look, enum finding_severity severity)
{
    int64_t ahead_s = sf_auth_facts(look->sink->options.auth)->clock_ahead_s;
    const struct finding_teller teller = teller_of(look);
    finding_tell(&teller, severity, ERR_CONFIG, "clock",
                 "this machine's clock is %lld s %s of Snowflake's, which takes a token only if its times fit: set the "
                 "clock (NTP)",
                 (long long)(ahead_s < 0 ? -ahead_s : ahead_s), ahead_s < 0 ? "behind" : "ahead");
}

static void tell_refused(struct sf_look *look, const struct err *error)
{
    struct buf statement;
    struct err ignored = {0};
    buf_init(&statement, STATEMENT_SIZE_MAX);
    if (is_clock_wrong(look))
        tell_clock(look, FINDING_ERROR);
    else if (sf_auth_append_register(look->sink->options.auth, &statement, &ignored))
        tell(look, ERROR, "key_refused", "%s" FINDING_MEND "%s", error->text, buf_text(&statement));
    else
        tell(look, ERROR, "key_refused", "%s", error->text);
    buf_deinit(&statement);
}

// Nobody can sign in: what of it can be said.
static void tell_login(struct sf_look *look, const struct err *error)
{
    const struct sf_config *config = look->sink->options.config;
    const struct finding_teller teller = teller_of(look);
    char role[NAME_SIZE], user[NAME_SIZE], claim[300];
    struct err problem;
    sf_config_user_claim(config, claim, sizeof claim);
    if (strcmp(error->code, "refused") == 0) {
        tell_refused(look, error);
    } else if (strcmp(error->code, "390422") == 0 ||
               strstr(error->text, "is not allowed to access Snowflake") != NULL) {
        tell(look, ERROR, "network_policy",
             "Snowflake does not let this machine in (%s): a network policy of the account or of user %s has to admit "
             "its address; SHOW PARAMETERS LIKE 'network_policy' IN USER names the policy",
             error->text, claim);
    } else if (strcmp(error->code, "390189") == 0 && config->role != NULL) {
        tell(look, ERROR, "no_role",
             "Snowflake refuses role %s to user %s (%s)" FINDING_MEND "GRANT ROLE %s TO USER %s", config->role, claim,
             error->text, quote(config->role, role), quote(claim, user));
    } else {
        sf_sink_explain_login(config, error, &problem);
        memcpy(problem.code, "snowflake_unreachable", sizeof "snowflake_unreachable");
        finding_tell_error(&teller, FINDING_ERROR, &problem);
    }
}

// --- what was answered -------------------------------------------------------------------------------------------------

static const char *cell(const struct sf_sql_result *result, size_t row, const char *name)
{
    int column = sf_sql_column(result, name);
    return column < 0 ? NULL : sf_sql_value(result, row, (size_t)column);
}

static void take_login(struct sf_look *look, const struct sf_sql_result *result)
{
    const struct sf_config *config = look->sink->options.config;
    timed(look, "snowflake_sign_in");
    keep(&look->role, config->role != NULL ? config->role : cell(result, 0, "ACTIVE_ROLE"));
    keep(&look->warehouse, config->warehouse != NULL ? config->warehouse : cell(result, 0, "DEFAULT_WAREHOUSE"));
    if (is_clock_wrong(look))
        tell_clock(look, FINDING_WARNING);
    if (look->role == NULL)
        keep(&look->role, "PUBLIC");
    if (look->warehouse != NULL)
        return;
    look->may_open = false;
    tell(look, ERROR, "warehouse_missing",
         "the destination names no warehouse, and Snowflake's user %s has no default one; name one with "
         "warehouse=NAME in the destination",
         config->user);
}

static void take_default_role(struct sf_look *look, const struct sf_sql_result *result)
{
    const char *role = cell(result, 0, "ACTIVE_ROLE");
    char user[300], quoted_user[NAME_SIZE], quoted[NAME_SIZE];
    timed(look, "snowflake_query");
    sf_config_user_claim(look->sink->options.config, user, sizeof user);
    if (role == NULL || strcmp(role, look->role) != 0)
        tell(look, WARNING, "default_role",
             "user %s signs in as %s by default, and the destination uses role %s: streaming may look at the default "
             "role" FINDING_MEND "ALTER USER %s SET DEFAULT_ROLE = %s",
             user, role != NULL ? role : "no role", look->role, quote(user, quoted_user), quote(look->role, quoted));
}

static void tell_database_missing(struct sf_look *look)
{
    const char *name = look->sink->options.config->database;
    char database[NAME_SIZE], role[NAME_SIZE];
    quote(name, database);
    look->may_open = false;
    tell(look, ERROR, "database_missing",
         "Snowflake database \"%s\" does not exist, or role %s may not see it" FINDING_MEND
         "CREATE DATABASE IF NOT EXISTS %s; GRANT USAGE ON DATABASE %s TO ROLE %s",
         name, look->role, database, database, quote(look->role, role));
}

static void take_schema(struct sf_look *look, const struct sf_sql_result *result)
{
    const struct sf_config *config = look->sink->options.config;
    char database[NAME_SIZE], schema[NAME_SIZE], role[NAME_SIZE];
    look->has_schema = sf_sink_result_has_name(result, config->schema, NULL);
    if (look->has_schema || look->sink->options.naming.target == SF_NAMING_SCHEMA)
        return;
    look->may_open = false;
    quote(config->database, database);
    quote(config->schema, schema);
    quote(look->role, role);
    tell(look, ERROR, "schema_missing",
         "Snowflake schema \"%s\".\"%s\" does not exist, or role %s may not see it" FINDING_MEND
         "CREATE SCHEMA IF NOT EXISTS %s.%s; GRANT USAGE, CREATE TABLE ON SCHEMA %s.%s TO ROLE %s",
         config->database, config->schema, look->role, database, schema, database, schema, role);
}

static void take_warehouse(struct sf_look *look, const struct sf_sql_result *result)
{
    char name[NAME_SIZE], role[NAME_SIZE];
    size_t row = 0;
    quote(look->warehouse, name);
    if (!sf_sink_result_has_name(result, look->warehouse, &row)) {
        look->may_open = false;
        tell(look, ERROR, "warehouse_missing",
             "Snowflake warehouse \"%s\" does not exist, or role %s may not use it" FINDING_MEND
             "GRANT USAGE ON WAREHOUSE %s TO ROLE %s",
             look->warehouse, look->role, name, quote(look->role, role));
        keep(&look->warehouse, NULL);
        return;
    }
    const char *resumes = cell(result, row, "auto_resume"), *state = cell(result, row, "state");
    const char *suspends = cell(result, row, "auto_suspend");
    long suspend_s = suspends != NULL ? strtol(suspends, NULL, 10) : 0;
    bool is_suspended = state != NULL && strcasecmp(state, "SUSPENDED") == 0;
    const struct finding_teller teller = teller_of(look);
    if (resumes != NULL && strcasecmp(resumes, "false") == 0)
        finding_tell(&teller, is_suspended ? FINDING_ERROR : FINDING_WARNING, ERR_CONFIG, "warehouse_resume",
                     "warehouse \"%s\" %s and does not wake by itself (AUTO_RESUME): merges fail while it "
                     "sleeps" FINDING_MEND "ALTER WAREHOUSE %s SET AUTO_RESUME = TRUE",
                     look->warehouse, is_suspended ? "is suspended" : "runs", name);
    if (suspend_s == 0)
        tell(look, WARNING, "warehouse_suspend",
             "warehouse \"%s\" never goes to sleep by itself (AUTO_SUSPEND) and is billed all day once a merge has "
             "woken it" FINDING_MEND "ALTER WAREHOUSE %s SET AUTO_SUSPEND = 60",
             look->warehouse, name);
    else if (suspend_s > SUSPEND_S_MANY)
        tell(look, NOTE, "warehouse_suspend",
             "warehouse \"%s\" stays awake for %ld s after each merge, which is billed" FINDING_MEND
             "ALTER WAREHOUSE %s SET AUTO_SUSPEND = 60",
             look->warehouse, suspend_s, name);
}

// Tables of this pipeline, by their comments, that are not the role's.
static void take_tables(struct sf_look *look, const struct sf_sql_result *result)
{
    const struct sf_config *config = look->sink->options.config;
    const struct table none = {.schema_name = (char[]){""}, .table_name = (char[]){""}};
    const char *schema = look->step == LOOK_TARGET_OWNERS ? config->schema : config->landing_schema;
    for (size_t row = 0; row < result->row_count && look->owned_count < OWNED_MAX; row++) {
        const char *owner = cell(result, row, "owner"), *comment = cell(result, row, "comment");
        const char *name = cell(result, row, "name");
        if (owner == NULL || name == NULL || comment == NULL || *owner == '\0' || strcmp(owner, look->role) == 0 ||
            sf_marker_owner(comment, look->sink->options.pipeline, &none) != SF_OWNER_OTHER_TABLE)
            continue;
        struct owned *owned = &look->owned[look->owned_count++];
        keep(&owned->schema, schema);
        keep(&owned->name, name);
        keep(&owned->owner, owner);
    }
}

static void take_role(struct sf_look *look, const struct sf_sql_result *result)
{
    const struct owned *owned = &look->owned[look->owned_next++];
    const char *is_ours = cell(result, 0, "IS_OURS");
    char database[NAME_SIZE], schema[NAME_SIZE], name[NAME_SIZE], role[NAME_SIZE];
    if (is_ours != NULL && strcasecmp(is_ours, "false") != 0)
        return;
    quote(look->sink->options.config->database, database);
    quote(owned->schema, schema);
    quote(owned->name, name);
    tell(look, ERROR, "table_owner",
         "table %s.%s.%s of this pipeline belongs to role %s, which role %s has not: it cannot be merged into or "
         "altered" FINDING_MEND "GRANT OWNERSHIP ON TABLE %s.%s.%s TO ROLE %s COPY CURRENT GRANTS",
         database, schema, name, owned->owner, look->role, database, schema, name, quote(look->role, role));
}

// --- privileges --------------------------------------------------------------------------------------------------------

// On what each of them is asked, and what its absence means.
struct privilege {
    const char *name, *kind, *code, *why;
    enum finding_severity severity;
};

static const struct privilege *privilege_of(enum look_step step)
{
    static const struct privilege create_schema = {"CREATE SCHEMA", "DATABASE", "no_create_schema",
                                                   "make the schemas that are missing", FINDING_ERROR};
    static const struct privilege create_targets = {"CREATE TABLE", "SCHEMA", "no_create_table", "make target tables",
                                                    FINDING_ERROR};
    static const struct privilege create_landing = {"CREATE TABLE", "SCHEMA", "no_create_table", "make landing tables",
                                                    FINDING_ERROR};
    static const struct privilege create_procedure = {
        "CREATE PROCEDURE", "SCHEMA", "no_create_procedure",
        "merge as many tables as this pipeline has, which takes procedures", FINDING_WARNING};
    static const struct privilege use_warehouse = {"USAGE", "WAREHOUSE", "no_warehouse_usage",
                                                   "run merges in the warehouse", FINDING_ERROR};
    switch (step) {
    case LOOK_CREATE_SCHEMA: return &create_schema;
    case LOOK_CREATE_TARGETS: return &create_targets;
    case LOOK_CREATE_LANDING: return &create_landing;
    case LOOK_CREATE_PROCEDURE: return &create_procedure;
    case LOOK_USE_WAREHOUSE: return &use_warehouse;
    default: return NULL;
    }
}

static const char *privilege_object(const struct sf_look *look)
{
    const struct sf_config *config = look->sink->options.config;
    switch (look->step) {
    case LOOK_CREATE_SCHEMA: return config->database;
    case LOOK_CREATE_TARGETS: return config->schema;
    case LOOK_USE_WAREHOUSE: return look->warehouse;
    default: return config->landing_schema;
    }
}

// False: the role lacks it as far as this answer tells, and ownership has to be asked for.
static bool take_privilege(struct sf_look *look, const struct sf_sql_result *result)
{
    const struct privilege *privilege = privilege_of(look->step);
    const char *object = privilege_object(look);
    char database[NAME_SIZE], name[NAME_SIZE], role[NAME_SIZE], full[2 * NAME_SIZE + 2];
    if (sf_sink_result_has_name(result, object, NULL))
        return true;
    if (!look->is_owner_asked)
        return false;
    quote(object, name);
    if (strcmp(privilege->kind, "SCHEMA") == 0)
        (void)snprintf(full, sizeof full, "%s.%s", quote(look->sink->options.config->database, database), name);
    else
        (void)snprintf(full, sizeof full, "%s", name);
    const struct finding_teller teller = teller_of(look);
    finding_tell(&teller, privilege->severity, ERR_CONFIG, privilege->code,
                 "role %s lacks %s on %s %s and cannot %s" FINDING_MEND "GRANT %s ON %s %s TO ROLE %s", look->role,
                 privilege->name, privilege->kind, full, privilege->why, privilege->name, privilege->kind, full,
                 quote(look->role, role));
    return true;
}

// --- the steps ---------------------------------------------------------------------------------------------------------

static bool is_skipped(const struct sf_look *look)
{
    bool has_schemas = look->sink->options.naming.target == SF_NAMING_SCHEMA;
    switch (look->step) {
    case LOOK_CREATE_SCHEMA: return look->has_landing && !has_schemas;
    case LOOK_CREATE_TARGETS:
    case LOOK_TARGET_OWNERS: return !look->has_schema || has_schemas;
    case LOOK_CREATE_LANDING:
    case LOOK_LANDING_OWNERS: return !look->has_landing;
    case LOOK_CREATE_PROCEDURE: return !look->has_landing || look->call.table_count < PROCEDURE_TABLES;
    case LOOK_WAREHOUSE:
    case LOOK_USE_WAREHOUSE: return look->warehouse == NULL;
    case LOOK_ROLES: return look->owned_next == look->owned_count;
    default: return false;
    }
}

static void step_text(const struct sf_look *look, struct buf *text)
{
    const struct sf_config *config = look->sink->options.config;
    const struct privilege *privilege = privilege_of(look->step);
    switch (look->step) {
    case LOOK_LOGIN:
        buf_append_text(text, "SELECT CURRENT_ROLE() AS ACTIVE_ROLE, CURRENT_WAREHOUSE() AS DEFAULT_WAREHOUSE");
        return;
    case LOOK_DEFAULT_ROLE: buf_append_text(text, "SELECT CURRENT_ROLE() AS ACTIVE_ROLE"); return;
    case LOOK_SCHEMA: sf_ddl_show_schema(config->database, config->schema, text); return;
    case LOOK_LANDING: sf_ddl_show_schema(config->database, config->landing_schema, text); return;
    case LOOK_CREATE_SCHEMA:
        buf_append_text(text, "SHOW DATABASES LIKE ");
        sf_append_literal(text, config->database);
        break;
    case LOOK_CREATE_TARGETS:
    case LOOK_CREATE_LANDING:
    case LOOK_CREATE_PROCEDURE: sf_ddl_show_schema(config->database, privilege_object(look), text); break;
    case LOOK_WAREHOUSE:
    case LOOK_USE_WAREHOUSE:
        buf_append_text(text, "SHOW WAREHOUSES LIKE ");
        sf_append_literal(text, look->warehouse);
        break;
    case LOOK_TARGET_OWNERS:
    case LOOK_LANDING_OWNERS:
        buf_append_text(text, "SHOW TABLES IN SCHEMA ");
        sf_append_identifier(text, config->database);
        buf_append_byte(text, '.');
        sf_append_identifier(text, look->step == LOOK_TARGET_OWNERS ? config->schema : config->landing_schema);
        return;
    case LOOK_ROLES:
        buf_append_text(text, "SELECT IS_ROLE_IN_SESSION(");
        sf_append_literal(text, look->owned[look->owned_next].owner);
        buf_append_text(text, ") AS IS_OURS");
        return;
    case LOOK_INGEST:
    case LOOK_DONE: return;
    }
    if (privilege != NULL)
        buf_appendf(text, " WITH PRIVILEGES %s", look->is_owner_asked ? "OWNERSHIP" : privilege->name);
}

static void take(struct sf_look *look, const struct sf_sql_result *result)
{
    switch (look->step) {
    case LOOK_LOGIN: take_login(look, result); break;
    case LOOK_DEFAULT_ROLE: take_default_role(look, result); break;
    case LOOK_SCHEMA: take_schema(look, result); break;
    case LOOK_LANDING:
        look->has_landing = sf_sink_result_has_name(result, look->sink->options.config->landing_schema, NULL);
        break;
    case LOOK_WAREHOUSE: take_warehouse(look, result); break;
    case LOOK_TARGET_OWNERS:
    case LOOK_LANDING_OWNERS: take_tables(look, result); break;
    case LOOK_ROLES: take_role(look, result); return;  // and the next one, or it is skipped
    default:
        if (!take_privilege(look, result)) {
            look->is_owner_asked = true;
            return;
        }
        break;
    }
    look->is_owner_asked = false;
    look->step++;
}

// A statement failed. The first two say that nothing can be asked; the others, that this one thing cannot.
static void take_error(struct sf_look *look, const struct err *error)
{
    const struct finding_teller teller = teller_of(look);
    struct err problem = *error;
    if (look->step == LOOK_LOGIN) {
        look->may_open = false;
        tell_login(look, error);
        look->step = LOOK_DONE;
    } else if (look->step == LOOK_SCHEMA && strcmp(error->code, SF_CODE_ABSENT) == 0) {
        tell_database_missing(look);
        look->step = LOOK_WAREHOUSE;
    } else {
        if (look->step != LOOK_DEFAULT_ROLE) {  // no default role at all: some users have none
            memcpy(problem.code, "not_asked", sizeof "not_asked");
            finding_tell_error(&teller, FINDING_NOTE, &problem);
        }
        look->step++;
    }
    look->is_owner_asked = false;
}

static void on_next(struct loop_deferred *deferred)
{
    run_step(deferred->context);
}

static void on_statement(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct sf_look *look = context;
    if (error != NULL)
        take_error(look, error);
    else
        take(look, result);
    loop_defer(look->sink->options.loop, &look->next);
}

static void on_ingest(struct sf_auth_waiter *waiter, const struct err *error)
{
    struct sf_look *look = waiter->context;
    const struct sf_auth_facts *facts = sf_auth_facts(look->sink->options.auth);
    if (error != NULL) {
        look->may_open = false;
        tell_login(look, error);
    } else if (look->call.on_timing != NULL) {
        look->call.on_timing(look->call.context, "snowflake_hostname", facts->host_us);
        look->call.on_timing(look->call.context, "snowflake_token", facts->token_us);
    }
    look->step = LOOK_DONE;
    loop_defer(look->sink->options.loop, &look->next);
}

static void run_step(struct sf_look *look)
{
    struct err error = {0};
    const struct sf_sql_options options = {.timeout_s = SF_SETUP_TIMEOUT_S,
                                           .tries_max = LOOK_TRIES_MAX,
                                           .takes_parts = true,
                                           .omits_role = look->step == LOOK_DEFAULT_ROLE};
    while (is_skipped(look))
        look->step++;
    look->began_us = loop_now_us(look->sink->options.loop);
    if (look->step == LOOK_DONE) {
        look->call.on_done(look->call.context, look->may_open);
        return;
    }
    if (look->step == LOOK_INGEST) {
        sf_auth_wait_ingest(look->sink->options.auth, &look->ingest_waiter);
        return;
    }
    buf_reset(&look->text);
    step_text(look, &look->text);
    if (!sf_sql_run(look->sql, buf_text(&look->text), &options, on_statement, look, &error)) {
        take_error(look, &error);
        loop_defer(look->sink->options.loop, &look->next);
    }
}

void sf_sink_look(struct sink *base, const struct sink_look *call)
{
    struct sf_sink *sink = sf_sink_of(base);
    struct sf_look *look = calloc(1, sizeof *look);
    CHECK(look != NULL && sink->look == NULL);
    sink->look = look;
    look->sink = sink;
    look->call = *call;
    look->may_open = true;
    look->sql = sf_sql_new(sink->options.loop, sink->options.http, sink->options.auth, sink->options.config);
    CHECK(look->sql != NULL);
    look->next = (struct loop_deferred){.call = on_next, .context = look};
    look->ingest_waiter = (struct sf_auth_waiter){.on_ready = on_ingest, .context = look, .tries_max = LOOK_TRIES_MAX};
    buf_init(&look->text, STATEMENT_SIZE_MAX);
    sf_config_describe(sink->options.config, look->where, sizeof look->where);
    run_step(look);
}

void sf_sink_look_deinit(struct sf_sink *sink)
{
    struct sf_look *look = sink->look;
    if (look == NULL)
        return;
    sf_auth_cancel(sink->options.auth, &look->ingest_waiter);
    loop_defer_stop(sink->options.loop, &look->next);
    sf_sql_free(look->sql);
    for (size_t i = 0; i < look->owned_count; i++) {
        free(look->owned[i].schema);
        free(look->owned[i].name);
        free(look->owned[i].owner);
    }
    free(look->role);
    free(look->warehouse);
    buf_deinit(&look->text);
    free(look);
    sink->look = NULL;
}
