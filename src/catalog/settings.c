#include "catalog/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/spread.h"
#include "model/table_choice.h"
#include "base/day_windows.h"
#include "base/duration.h"

// The parts of a row; clang-format sets calls better than nested braces.
#define TEXT(name, value_name, help)                                \
    {                                                               \
        name, NULL, OPTION_TEXT, value_name, NULL, 0, 0, NULL, help \
    }
#define TEXT_OR(name, value_name, default_value, help)                       \
    {                                                                        \
        name, NULL, OPTION_TEXT, value_name, default_value, 0, 0, NULL, help \
    }
#define NUMBER(name, variable, value_name, default_value, minimum, maximum, help)              \
    {                                                                                          \
        name, variable, OPTION_NUMBER, value_name, default_value, minimum, maximum, NULL, help \
    }
#define CHOICE(name, value_name, default_value, choices, help)                    \
    {                                                                             \
        name, NULL, OPTION_CHOICE, value_name, default_value, 0, 0, choices, help \
    }
#define FLAG(name, help)                                         \
    {                                                            \
        name, NULL, OPTION_FLAG, NULL, "false", 0, 0, NULL, help \
    }

// A column is one of the contract's tables, a setting a row of etl_settings.
#define SOURCE_COLUMN(name, option)                                       \
    {                                                                     \
        option, name, CATALOG_SOURCE, true, false, SETTING_NO_FIELD, NULL \
    }
#define SOURCE_SECRET(name, option)                                      \
    {                                                                    \
        option, name, CATALOG_SOURCE, true, true, SETTING_NO_FIELD, NULL \
    }
#define SOURCE_SETTING(name, option)                                       \
    {                                                                      \
        option, name, CATALOG_SOURCE, false, false, SETTING_NO_FIELD, NULL \
    }
#define DESTINATION_COLUMN(type, name, option)                                 \
    {                                                                          \
        option, name, CATALOG_DESTINATION, true, false, SETTING_NO_FIELD, type \
    }
#define DESTINATION_SECRET(type, name, option)                                \
    {                                                                         \
        option, name, CATALOG_DESTINATION, true, true, SETTING_NO_FIELD, type \
    }
#define DESTINATION_SETTING(type, name, option)                                 \
    {                                                                           \
        option, name, CATALOG_DESTINATION, false, false, SETTING_NO_FIELD, type \
    }
#define PIPELINE_COLUMN(field, option)                                                                 \
    {                                                                                                  \
        option, #field, CATALOG_PIPELINE, true, false, offsetof(struct pipeline_settings, field), NULL \
    }
#define PIPELINE_SETTING(field, option)                                                                 \
    {                                                                                                   \
        option, #field, CATALOG_PIPELINE, false, false, offsetof(struct pipeline_settings, field), NULL \
    }

// The order is that of help, exports and documents. Columns and their defaults are the first etl-stream's.
static const struct setting settings[] = {
    SOURCE_COLUMN("pg_host", TEXT("host", "HOST", "PostgreSQL's host: a name, an address, or a socket's directory")),
    SOURCE_COLUMN("pg_port", NUMBER("port", NULL, "PORT", "5432", 1, 65535, "PostgreSQL's port")),
    SOURCE_COLUMN("pg_database", TEXT("database", "NAME", "the database")),
    SOURCE_COLUMN("pg_username",
                  TEXT("username", "NAME", "who signs in: LOGIN, REPLICATION, and SELECT on the tables")),
    SOURCE_SECRET("pg_password",
                  TEXT("password", "PASSWORD",
                       "kept in the catalog. Every user of this machine can read it in the argument list while the "
                       "command runs:\n--ask-password, --password-env, PGPASSWORD and the password file are better")),
    SOURCE_COLUMN("pg_tls_enabled", FLAG("tls-enabled", "refuse a connection without TLS, as --sslmode require")),
    SOURCE_COLUMN("publication_name", TEXT("publication", "NAME", "the publication whose tables are copied")),
    SOURCE_SETTING("password_env", TEXT("password-env", "VARIABLE",
                                        "the environment variable in which the service finds the password")),
    SOURCE_SETTING("sslmode", CHOICE("sslmode", "MODE", NULL, "disable|allow|prefer|require|verify-ca|verify-full",
                                     "how TLS is used, as libpq's sslmode; wins over --tls-enabled")),
    SOURCE_SETTING("sslrootcert",
                   TEXT("sslrootcert", "FILE", "certificates that sign the server's, as libpq's sslrootcert")),

    DESTINATION_COLUMN(NULL, "destination_type",
                       CHOICE("type", "TYPE", "snowflake", "snowflake|http|file", "what kind of destination it is")),
    DESTINATION_COLUMN("snowflake", "snowflake_account",
                       TEXT("account", "ACCOUNT", "Snowflake's account identifier, ORGANIZATION-ACCOUNT")),
    DESTINATION_COLUMN("snowflake", "snowflake_user", TEXT("user", "NAME", "Snowflake's user, who has the public key")),
    DESTINATION_COLUMN("snowflake", "snowflake_database", TEXT("database", "NAME", "the database of the targets")),
    DESTINATION_COLUMN("snowflake", "snowflake_schema", TEXT("schema", "NAME", "the schema of the targets")),
    DESTINATION_COLUMN("snowflake", "snowflake_warehouse",
                       TEXT("warehouse", "NAME", "the warehouse of the merges; not given: the user's default")),
    DESTINATION_COLUMN("snowflake", "snowflake_role", TEXT("role", "NAME", "the role; not given: the user's default")),
    DESTINATION_COLUMN("snowflake", "snowflake_private_key_path",
                       TEXT("key-file", "FILE", "the private key (PEM); see also --key-env")),
    DESTINATION_SECRET("snowflake", "snowflake_private_key_passphrase",
                       TEXT("passphrase", "PASSPHRASE",
                            "of the private key, kept in the catalog. Every user of this machine can read it in the "
                            "argument list while the\ncommand runs: --ask-passphrase, --passphrase-env and "
                            "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE are better")),
    DESTINATION_COLUMN(
        "snowflake", "snowflake_landing_schema",
        TEXT_OR("landing-schema", "NAME", "ETL_SCHEMA", "the schema of the landing tables; made if missing")),
    DESTINATION_COLUMN("snowflake", "snowflake_task_schedule_minutes",
                       NUMBER("task-schedule-minutes", NULL, "N", "60", 1, 11520,
                              "how often landing rows are merged into the targets; each merge wakes the warehouse.\nA "
                              "pipeline's --merge-interval-seconds wins")),
    DESTINATION_COLUMN("snowflake", "snowflake_host",
                       TEXT("host", "HOST[:PORT]", "Snowflake's host, where it is not ACCOUNT.snowflakecomputing.com")),
    DESTINATION_SETTING(
        "snowflake", "key_env",
        TEXT("key-env", "VARIABLE", "the environment variable in which the service finds the private key (PEM)")),
    DESTINATION_SETTING(
        "snowflake", "passphrase_env",
        TEXT("passphrase-env", "VARIABLE", "the environment variable in which the service finds the passphrase")),
    DESTINATION_SETTING("snowflake|http", "ca_file",
                        TEXT("ca-file", "FILE", "certificates that sign the other side's; not given: the system's")),
    DESTINATION_COLUMN("http", "http_url", TEXT("http-url", "URL", "where rows are posted to")),
    DESTINATION_COLUMN("http", "http_timeout_ms",
                       NUMBER("http-timeout-ms", NULL, "MS", "30000", 100, 3600000, "how long a request may take")),
    DESTINATION_COLUMN("http", "http_retry_attempts",
                       NUMBER("http-retry-attempts", NULL, "N", "3", 0, 1000,
                              "further tries of a request before it counts as failed")),
    DESTINATION_SETTING("http", "compression",
                        CHOICE("compression", "HOW", "none", "none|gzip|zstd", "how what is posted is compressed")),
    DESTINATION_SETTING("http", "token_env",
                        TEXT("token-env", "VARIABLE",
                             "the environment variable in which the service finds a bearer token for the receiver")),
    DESTINATION_SETTING("file", "directory", TEXT("directory", "DIRECTORY", "where files of NDJSON are written")),
    DESTINATION_SETTING("file", "rotate_mb",
                        NUMBER("rotate-mb", NULL, "MB", "64", 1, 1048576, "size at which the next file is begun")),
    DESTINATION_SETTING("file", "rotate_seconds",
                        NUMBER("rotate-seconds", NULL, "N", "300", 1, 86400, "age at which the next file is begun")),

    PIPELINE_SETTING(slot, TEXT("slot", "NAME", "the replication slot; not given: made from the pipeline's name")),
    PIPELINE_COLUMN(batch_max_size, NUMBER("batch-max-size", NULL, "ROWS", "1000", 1, 1000000,
                                           "rows at which a batch is sent at the latest")),
    PIPELINE_COLUMN(batch_max_fill_ms, NUMBER("batch-max-fill-ms", NULL, "MS", "5000", 1, 600000,
                                              "age at which a batch is sent at the latest")),
    PIPELINE_SETTING(
        channels_per_table,
        NUMBER("channels-per-table", NULL, "N", "4", 1, SPREAD_CHANNELS_MAX,
               "channels that a table's changes may be spread over; it begins with one and gets more when\nSnowflake's "
               "limits on a channel hold it back")),
    PIPELINE_COLUMN(table_error_retry_delay_ms,
                    NUMBER("table-error-retry-delay-ms", NULL, "MS", "10000", 1, 86400000,
                           "how long a table that failed for a reason of its own waits before it is tried again")),
    PIPELINE_COLUMN(table_error_retry_max_attempts,
                    NUMBER("table-error-retry-max-attempts", NULL, "N", "5", 0, 1000000,
                           "how often such a table is tried again before it is parked")),
    PIPELINE_COLUMN(max_table_sync_workers, NUMBER("max-table-sync-workers", NULL, "N", "4", 1, 64,
                                                   "most connections to the source that copy tables at a time")),
    PIPELINE_SETTING(copy_rate_limit,
                     NUMBER("copy-rate-limit", NULL, "MB", "0", 0, 1000000,
                            "how much copies read from the source in a second, over all connections; 0: as much as it "
                            "gives")),
    PIPELINE_SETTING(copy_range_mb,
                     NUMBER("copy-range-mb", NULL, "MB", "128", 1, 65536,
                            "larger tables are copied in ranges of about this size, several at a time; a range whose\n"
                            "connection is lost is read again")),
    PIPELINE_SETTING(merge_interval_seconds,
                     NUMBER("merge-interval-seconds", "ETL_MERGE_INTERVAL_SECONDS", "N", "3600", 0, 691200,
                            "how often landing rows are merged into the targets; each merge wakes the warehouse;\n0 "
                            "merges one after the other")),
    PIPELINE_SETTING(merge_timeout_seconds,
                     NUMBER("merge-timeout-seconds", "ETL_MERGE_TIMEOUT_SECONDS", "N", "3600", 10, 172800,
                            "after how long Snowflake ends a merge, which is then tried again")),
    PIPELINE_SETTING(tables, TEXT("tables", "PATTERN,…",
                                  "which tables of the publication: SCHEMA.TABLE or TABLE with * and ?, separated by "
                                  "commas; a leading ! or - excludes;\nnot given: all")),
    PIPELINE_SETTING(
        target_naming,
        CHOICE(
            "target-naming", "HOW", "table", "table|schema_table|schema",
            "what a target is called: TABLE, or SCHEMA_TABLE, both in the destination's schema; or TABLE in a schema\n"
            "of its source schema's name, made if missing. A change makes new tables, copied anew; old ones stay")),
    PIPELINE_SETTING(identifier_case, CHOICE("identifier-case", "CASE", "upper", "upper|preserve",
                                             "names of tables and columns: in upper case, or as the source has them. A "
                                             "change makes new\ntables, copied anew; old ones stay")),
    PIPELINE_SETTING(existing_tables, CHOICE("existing-tables", "WHAT", "keep", "keep|replace",
                                             "a table that is in the way and not ours: keep parks the source's table, "
                                             "replace renames the one in\nthe way to NAME_BEFORE_<time>")),
    PIPELINE_SETTING(
        merge_windows,
        TEXT("merge-windows", "TIMES",
             "times of day at which merges may wake the warehouse, such as 08:00-20:00 or\n"
             "22:00-02:00,12:00-12:30 +02:00; UTC without a zone, \"local\" is this machine's; not given: always")),
    PIPELINE_SETTING(
        landing_retention,
        TEXT_OR("landing-retention", "TIME", "1d",
                "how long merged landing rows are kept at least: 90s, 15m, 24h, 7d, or forever for a log of all "
                "changes")),
    PIPELINE_SETTING(soft_deletes,
                     FLAG("soft-deletes",
                          "rows deleted at the source stay in the targets, with the time in _ETL_DELETED_AT; tables "
                          "without a key are not taken then")),
    PIPELINE_SETTING(
        landing_commit_time,
        FLAG("landing-commit-time",
             "each landing row holds its commit's time in _ETL_COMMIT_AT; Snowflake bills it on every row")),
    PIPELINE_SETTING(on_slot_lost,
                     CHOICE("on-slot-lost", "WHAT", "stop", "stop|resync",
                            "when the replication slot or its WAL is gone: stop and say so, or copy all tables anew")),
    PIPELINE_SETTING(
        decoding_work_mem_kb,
        NUMBER("decoding-work-mem-kb", NULL, "KB", "0", 0, 1048576,
               "logical_decoding_work_mem on our connection; the source's memory; 0 leaves the server's own")),
};
static const size_t setting_count = sizeof settings / sizeof settings[0];

const char *catalog_kind_name(enum catalog_kind kind)
{
    static const char *const names[] = {"source", "destination", "pipeline"};
    CHECK((unsigned)kind < CATALOG_KIND_COUNT);
    return names[kind];
}

const struct setting *setting_find(enum catalog_kind kind, const char *name)
{
    for (size_t i = 0; i < setting_count; i++)
        if (settings[i].kind == kind && strcmp(settings[i].name, name) == 0)
            return &settings[i];
    return NULL;
}

bool setting_is_of(const struct setting *setting, const char *destination_type)
{
    size_t size = strlen(destination_type);
    for (const char *at = setting->only_of; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, destination_type, size) == 0 && (at[size] == '|' || at[size] == '\0'))
            return true;
    }
    return setting->only_of == NULL;
}

const struct setting *settings_nth(enum catalog_kind kind, size_t option_index)
{
    for (size_t i = 0; i < setting_count; i++)
        if (settings[i].kind == kind && option_index-- == 0)
            return &settings[i];
    return NULL;
}

size_t settings_options(enum catalog_kind kind, struct option_spec *out_options)
{
    size_t count = 0;
    for (size_t i = 0; i < setting_count; i++) {
        if (settings[i].kind != kind)
            continue;
        CHECK(count < SETTINGS_OPTIONS_MAX);
        out_options[count++] = settings[i].option;
    }
    return count;
}

// --- a pipeline's ------------------------------------------------------------------------------------------------

static void fill(struct pipeline_settings *out, const struct setting *setting, const struct option_value *value)
{
    char *field = (char *)out + setting->field;
    if (setting->field == SETTING_NO_FIELD || value->text == NULL)
        return;
    switch (setting->option.kind) {
    case OPTION_NUMBER: *(uint32_t *)(void *)field = (uint32_t)value->number; return;
    case OPTION_FLAG: *(bool *)field = value->flag; return;
    case OPTION_CHOICE: *(unsigned *)(void *)field = options_choice_index(&setting->option, value->text); return;
    case OPTION_TEXT:
        *(char **)(void *)field = strdup(value->text);
        CHECK(*(char **)(void *)field != NULL);
        return;
    }
    CHECK(false);
}

void pipeline_settings_from_options(const struct option_value *values, struct pipeline_settings *out_settings)
{
    const struct setting *setting;
    *out_settings = (struct pipeline_settings){0};
    for (size_t i = 0; (setting = settings_nth(CATALOG_PIPELINE, i)) != NULL; i++)
        fill(out_settings, setting, &values[i]);
}

bool pipeline_settings_check(const struct pipeline_settings *settings_of_pipeline, struct err *out_error)
{
    struct day_windows unused;
    uint32_t seconds;
    const char *windows = settings_of_pipeline->merge_windows, *retention = settings_of_pipeline->landing_retention;
    if (retention != NULL && !duration_parse(retention, "landing_retention", &seconds, out_error))
        return false;
    struct table_choice choice;
    if (!table_choice_parse(settings_of_pipeline->tables, &choice, out_error)) {
        err_prefix(out_error, "tables");
        return false;
    }
    table_choice_deinit(&choice);
    return windows == NULL || day_windows_parse(windows, "merge_windows", &unused, out_error);
}

bool pipeline_settings_read(const char *(*get)(void *context, const struct setting *setting), void *context,
                            const char *owner, struct pipeline_settings *out_settings, struct err *out_error)
{
    const struct setting *setting;
    *out_settings = (struct pipeline_settings){0};
    for (size_t i = 0; (setting = settings_nth(CATALOG_PIPELINE, i)) != NULL; i++) {
        struct option_value value = {0};
        const char *variable = setting->option.variable;
        const char *text = get(context, setting), *origin = setting->name;
        if (text == NULL && variable != NULL && getenv(variable) != NULL && *getenv(variable) != '\0') {
            text = getenv(variable);
            origin = variable;
        }
        if (text == NULL)
            text = setting->option.default_value;
        if (text != NULL && !options_read_value(&setting->option, origin, text, &value, out_error)) {
            err_prefix(out_error, "%s", owner);
            pipeline_settings_deinit(out_settings);
            return false;
        }
        fill(out_settings, setting, &value);
    }
    if (pipeline_settings_check(out_settings, out_error))
        return true;
    err_prefix(out_error, "%s", owner);
    pipeline_settings_deinit(out_settings);
    return false;
}

void pipeline_settings_deinit(struct pipeline_settings *settings_of_pipeline)
{
    const struct setting *setting;
    for (size_t i = 0; (setting = settings_nth(CATALOG_PIPELINE, i)) != NULL; i++)
        if (setting->field != SETTING_NO_FIELD && setting->option.kind == OPTION_TEXT)
            free(*(char **)(void *)((char *)settings_of_pipeline + setting->field));
    *settings_of_pipeline = (struct pipeline_settings){0};
}
