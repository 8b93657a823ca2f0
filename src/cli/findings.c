#include "cli/findings.h"

#include <string.h>

#define SUPERUSER "a superuser, or the managed service's administrator"
#define TABLE_OWNER "the table's owner"
#define PUBLICATION_OWNER "the publication's owner; FOR ALL TABLES takes a superuser"
#define GRANTER "the database's owner or a superuser"
#define SECURITYADMIN "the owner of the object, or a role with MANAGE GRANTS (SECURITYADMIN)"
#define USERADMIN "the owner of the user, or USERADMIN"

struct section {
    const char *title;
    const struct finding_kind *kinds;
    size_t count;
};

static const struct finding_kind connection_kinds[] = {
    {"source_unreachable", "error", "the source cannot be reached", "nothing can be read",
     "Check host, port, firewall, and that the server runs.", NULL},
    {"source_connection", "error", "the connection to the source is refused", "nothing can be read",
     "The message says what the server or libpq did not like: a certificate, a setting of the URL.", NULL},
    {"login", "error", "the source refuses the role or its password", "nothing can be read",
     "Give the right password (PGPASSWORD, a password file, the prompt), or let the role in by pg_hba.conf.", NULL},
    {"no_login", "error", "the role may not log in", "nothing can be read", "Give it LOGIN.", SUPERUSER},
    {"no_database", "error", "there is no such database", "nothing can be read", "Name an existing one.", NULL},
    {"no_connect", "error", "the role may not connect to the database", "nothing can be read", "Grant it CONNECT.",
     GRANTER},
    {"pooler", "error", "a connection pooler stands before the server",
     "a pooler passes neither replication nor the settings of a session", "Name the server itself, host and port.",
     NULL},
    {"replication_connection", "error", "a replication connection is refused",
     "changes arrive over a replication connection",
     "An ordinary connection works, so it is pg_hba.conf (it wants the database's name, not \"replication\"), a "
     "pooler, "
     "or max_wal_senders.",
     NULL},
    {"no_tls", "warning", "the connection to the source is not encrypted",
     "data and, depending on the method, the password can be read on the way",
     "Turn TLS on at the server; then sslmode=verify-full and sslrootcert=FILE in the URL.", NULL},
    {"timeouts", "warning", "settings of the session do not arrive", "a statement_timeout of the role would end a copy",
     "Find what is in between, and name the server itself.", NULL},
    {"connection_limit", "error, warning", "the role may not open enough connections",
     "a copy reads over several connections beside the stream's", "Raise the role's limit.", SUPERUSER},
    {"connections", "warning", "the server is nearly full", "a pipeline that finds no connection waits and tries again",
     "Raise max_connections, or close what is idle.", SUPERUSER},
    {"password_expires", "warning", "the role's password ends soon", "the pipeline stops on that day",
     "Extend it, or change it in time.", SUPERUSER},
    {"superuser", "note", "the role is a superuser", "who gets hold of its password gets the server",
     "Make a role with REPLICATION and SELECT on the tables (postgresql.md).", NULL},
    {"stats_hidden", "note", "other sessions cannot be seen",
     "what holds up a slot cannot be named, here and in alerts", "Grant pg_read_all_stats.", SUPERUSER},
};

static const struct finding_kind server_kinds[] = {
    {"server_version", "error", "PostgreSQL is too old", "logical decoding in this form came with 14", "Upgrade.",
     NULL},
    {"old_minor", "warning", "a minor version with a known fault",
     "a slot of it may show a commit that is not over; etl-stream waits it out, others may not",
     "Update to the newest minor version.", NULL},
    {"in_recovery", "error", "the source is a standby", "slots for pgoutput are made on the primary",
     "Name the primary.", NULL},
    {"wal_level", "error", "wal_level is not logical", "without it the WAL does not hold what decoding needs",
     "Set it; that takes a restart.", SUPERUSER},
    {"no_replication", "error", "the role may not replicate", "a slot is made and read with that right",
     "Give it REPLICATION (RDS: membership in rds_replication).", SUPERUSER},
    {"encoding", "error", "the database's encoding is not known here", "text could not be converted",
     "A machine whose iconv knows it; MULE_INTERNAL is not supported.", NULL},
    {"no_free_slot", "error", "too few replication slots are free",
     "each pipeline has one, and takes two while it makes it",
     "Raise max_replication_slots, or drop slots that nobody reads.", SUPERUSER},
    {"slots_few", "warning", "no replication slot to spare", "a table that is copied later takes a temporary one",
     "Raise max_replication_slots.", SUPERUSER},
    {"wal_senders", "warning", "few WAL senders are free", "the stream takes one, a copy another",
     "Raise max_wal_senders.", SUPERUSER},
    {"sender_timeout", "warning, note", "wal_sender_timeout is unusual",
     "too short ends healthy connections, 0 leaves dead ones holding the slot", "A minute is PostgreSQL's default.",
     SUPERUSER},
    {"slot_without_limit", "warning", "a slot may keep WAL without limit",
     "while etl-stream is down the disk can fill, and the server stops",
     "Set max_slot_wal_keep_size to what the disk can spare.", SUPERUSER},
    {"slot_limit_small", "warning", "a slot is given up soon", "a short outage means copying all tables anew",
     "Raise max_slot_wal_keep_size.", SUPERUSER},
    {"idle_slot_timeout", "warning", "a slot that rests is given up", "a paused pipeline copies all tables anew",
     "Set idle_replication_slot_timeout to 0, or longer than any pause.", SUPERUSER},
    {"slot_lost", "error", "the slot is lost", "changes since then cannot be had any more",
     "`--on-slot-lost=resync` copies all tables anew.", NULL},
    {"slot_near_limit", "warning", "the slot is about to be lost", "then all tables have to be copied anew",
     "Start the pipeline; see what holds it up.", SUPERUSER},
    {"slot_keeps_wal", "warning", "the slot holds back much WAL", "it takes disk on the source",
     "Start the pipeline, or remove it.", NULL},
    {"slot_exists", "error", "a slot of that name is there already",
     "it may be another catalog's pipeline, whose changes would be taken from it",
     "Use the catalog that made it, another slot name, or drop it.", "a role with REPLICATION"},
    {"slot_of_others", "error", "the slot is of another kind", "only pgoutput slots of this database can be read",
     "Choose another name with slot=NAME.", NULL},
    {"long_transaction", "warning", "an old transaction is open",
     "slots and snapshots wait for it, and VACUUM removes nothing", "End it.", "its role, or pg_signal_backend"},
    {"prepared_transaction", "warning", "a prepared transaction is open",
     "slots and snapshots wait for it, for ever if nobody ends it", "Ask its owner which: commit or roll back.",
     "its owner or a superuser, in its database"},
    {"decoding_spills", "note", "decoding writes to disk", "large transactions are decoded more slowly",
     "`--decoding-work-mem-kb` raises the memory of our own connection.", NULL},
    {"decoding_memory", "note", "decoding takes memory of the source", "it is the server's memory",
     "Nothing, if the server has it to spare.", NULL},
    {"standby_slots", "warning", "standbys may fall behind what was read",
     "after a failover the tables are copied anew, where the new primary lacked commits",
     "Set synchronized_standby_slots; on the standby sync_replication_slots and hot_standby_feedback.", SUPERUSER},
    {"standby_without_slot", "note", "a standby has no slot of its own", "our slot is not synchronized to it",
     "See the message for the standby's settings.", NULL},
    {"failover_copies", "note", "slots do not survive a failover", "after one all tables are copied anew",
     "PostgreSQL 17 or later.", NULL},
};

static const struct finding_kind publication_kinds[] = {
    {"publication_missing", "error", "the publication does not exist", "it says which tables are followed",
     "Make it, or name another.", PUBLICATION_OWNER},
    {"publication_empty", "error", "the publication holds no table", "nothing would be copied", "Add tables.",
     PUBLICATION_OWNER},
    {"publication_partial", "warning", "the publication leaves operations out",
     "targets would keep rows that were deleted, or old values", "Publish all four.", PUBLICATION_OWNER},
    {"own_catalog", "note", "the publication holds the configuration of etl-stream",
     "it has passwords in it and changes with what is copied, so these tables are left out",
     "Nothing; a database of its own for the configuration is tidier.", NULL},
    {"tables_none", "error", "the patterns choose no table", "nothing would be copied",
     "Correct --tables, or the pipeline's tables.", NULL},
    {"tables_pattern", "warning", "a pattern chooses no table", "it may be misspelt",
     "Correct --tables, or the pipeline's tables.", NULL},
    {"row_filter", "note", "the publication filters rows", "the target holds only part of the table",
     "As it was meant?", NULL},
    {"column_list", "note", "the publication leaves columns out", "the target lacks them", "As it was meant?", NULL},
    {"generated_columns", "note", "generated columns are not published", "the target lacks them",
     "From PostgreSQL 18 on they can be published.", PUBLICATION_OWNER},
    {"partition_alone", "note", "partitions become tables of their own", "one would look for them in the root's table",
     "Publish through the root, which makes one table (all are copied anew).", PUBLICATION_OWNER},
};

static const struct finding_kind table_kinds[] = {
    {"no_usage", "error", "the role may not use a schema", "its tables cannot be copied", "Grant USAGE.",
     "the schema's owner or a superuser"},
    {"no_select", "error", "the role may not read a table", "it cannot be copied",
     "Grant SELECT on the table; on columns alone does not do, as the copy locks the table.", TABLE_OWNER},
    {"no_select_parts", "error", "the role may not read partitions", "they are copied one by one",
     "Grant SELECT on them.", TABLE_OWNER},
    {"42501", "error", "the role may not read a table", "it cannot be copied", "Grant USAGE and SELECT.", TABLE_OWNER},
    {"row_security", "error", "row level security hides rows", "the copy would lack them", "Give the role BYPASSRLS.",
     SUPERUSER},
    {"no_columns", "error", "a table has no published column", "there is nothing to copy",
     "Take it out of the publication.", NULL},
    {"partition_identity", "error or warning",
     "a partition has another replica identity than its table, which is published as a whole",
     "old rows come by the partition's, and would not be found by the table's: the table is parked, or, where it is "
     "append-only, parked when a partition sends an update or a delete",
     "REPLICA IDENTITY FULL of the partition, or the table's own identity, as ALTER TABLE of the table does not reach "
     "its partitions; then etl-stream pipeline resync, where it is parked.",
     TABLE_OWNER},
    {"partition_unsent", "warning", "partitions of a table that is published as a whole are unlogged or foreign tables",
     "PostgreSQL sends nothing of them: their rows are copied with the others, and then stay as they are in the target",
     "ALTER TABLE … SET LOGGED of the partition, which copies the table anew; publish the partitions one by one, which "
     "leaves these out; or resync the table when they have changed.",
     TABLE_OWNER},
    {"no_identity", "warning", "a table that is updated has no replica identity",
     "PostgreSQL refuses its UPDATE and DELETE once it is published: applications fail",
     "A primary key is best; REPLICA IDENTITY FULL works without.", TABLE_OWNER},
    {"append_only", "warning", "a table has no replica identity",
     "it is append-only: PostgreSQL refuses UPDATE and DELETE on it", "A primary key, or REPLICA IDENTITY FULL.",
     TABLE_OWNER},
    {"multiset", "warning", "REPLICA IDENTITY FULL without a primary key",
     "equal rows are counted, which compares whole rows at each merge", "A primary key.", TABLE_OWNER},
    {"numeric_unbounded", "warning", "numeric without precision",
     "a value that NUMBER(38,9) cannot hold becomes NULL or is rounded, the original kept beside it",
     "Declare precision and scale (it rewrites the table), or numeric_unbounded=varchar for the destination.",
     TABLE_OWNER},
    {"numeric_wide", "note", "numeric with more digits than Snowflake has", "it becomes VARCHAR",
     "Nothing, if readers know.", NULL},
    {"types_as_text", "note", "types that Snowflake does not have", "they become VARCHAR (types.md)",
     "Nothing, if readers know.", NULL},
    {"toast", "note", "large values that updates leave alone",
     "PostgreSQL does not send them, and each merge looks them up in the target",
     "REPLICA IDENTITY FULL sends them at the price of more WAL; most tables are better off without.", NULL},
};

static const struct finding_kind snowflake_kinds[] = {
    {"key", "error", "the private key cannot be used", "Snowflake is signed in to with it",
     "The message names the file or variable, and what is wrong with it.", NULL},
    {"snowflake_unreachable", "error", "Snowflake cannot be reached or asked", "nothing can be written",
     "Check the account's name, host=, ca_file=, proxy and firewall.", NULL},
    {"key_refused", "error", "Snowflake refuses the key",
     "the user's public key is another one, or the user or account is",
     "Compare the fingerprint with RSA_PUBLIC_KEY_FP of DESCRIBE USER, and register the key. An ACCOUNTADMIN may ask "
     "SYSTEM$GET_LOGIN_FAILURE_DETAILS with the id in the message.",
     USERADMIN},
    {"clock", "error, warning", "this machine's clock is wrong", "tokens are refused, or soon will be",
     "Set it, by NTP.", NULL},
    {"network_policy", "error", "a network policy keeps this machine out", "nothing can be written",
     "Admit this machine's address in the account's or the user's network policy.", NULL},
    {"no_role", "error", "the user has not been given the role", "everything is done as that role", "Grant it.",
     SECURITYADMIN},
    {"default_role", "warning", "the user's default role is another one",
     "some of Snowflake's pages say that streaming looks at it", "Make it the default.", USERADMIN},
    {"database_missing", "error", "the database is missing or cannot be seen", "targets live there",
     "Make it, or grant USAGE.", SECURITYADMIN},
    {"schema_missing", "error", "the schema is missing or cannot be seen", "targets live there",
     "Make it, or grant USAGE and CREATE TABLE.", SECURITYADMIN},
    {"no_create_schema", "error", "the role may not make schemas",
     "the landing schema is missing (or each source schema has its own)",
     "Grant CREATE SCHEMA, or make the schema and grant USAGE and CREATE TABLE on it.", SECURITYADMIN},
    {"no_create_table", "error", "the role may not make tables", "targets and landing tables are made by it",
     "Grant CREATE TABLE.", SECURITYADMIN},
    {"no_create_procedure", "warning", "the role may not make procedures",
     "a merge of hundreds of tables is longer than a statement may be", "Grant CREATE PROCEDURE.", SECURITYADMIN},
    {"warehouse_missing", "error", "the warehouse is missing or cannot be seen", "merges run in it",
     "Grant USAGE, or name one with warehouse=.", SECURITYADMIN},
    {"no_warehouse_usage", "error", "the role may not use the warehouse", "merges run in it", "Grant USAGE.",
     SECURITYADMIN},
    {"warehouse_resume", "error, warning", "the warehouse does not wake by itself", "merges fail while it sleeps",
     "AUTO_RESUME = TRUE.", "the warehouse's owner, or a role with MODIFY"},
    {"warehouse_suspend", "warning, note", "the warehouse stays awake", "it is billed while it is awake",
     "AUTO_SUSPEND = 60.", "the warehouse's owner, or a role with MODIFY"},
    {"table_owner", "error", "a table of the pipeline belongs to another role",
     "merging and altering take its ownership", "Give it to the role.", SECURITYADMIN},
    {"table_not_ours", "error", "a table is in the way", "what etl-stream did not make it does not touch",
     "Move it out of the way, or --existing-tables replace.", "the table's owner"},
    {"table_of_other_pipeline", "error", "another pipeline writes to that table", "two cannot write to one table",
     "Another schema, or another --target-naming.", NULL},
    {"collation", "error", "a text column of a landing table or a target has a collation",
     "texts that differ may be equal by it, and of two rows whose keys are one is lost",
     "Copy the table anew (pipeline resync): the columns that it then gets have none.", NULL},
    {"name_collision", "error", "two tables would share a name", "rows would be mixed",
     "--target-naming or --identifier-case keeps them apart.", NULL},
    {"column_collision", "error", "two columns would share a name", "values would be mixed",
     "--identifier-case preserve, or another column name.", NULL},
    {"column_reserved", "error", "a column is called like one of ours", "names that begin with _ETL_ are etl-stream's",
     "Rename it, or leave it out of the publication.", NULL},
    {"not_asked", "note", "something could not be asked", "check does not know about it",
     "The message says what Snowflake answered.", NULL},
};

static const struct finding_kind other_kinds[] = {
    {"catalog", "error", "the catalog cannot be read", "what the pipeline knows of its slot is in it",
     "The message says what is wrong with the file or database.", NULL},
    {"other", "error", "something else failed", "the pipeline would fail there, too", "The message says what.", NULL},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
static const struct section sections[] = {
    {"Reaching the source", connection_kinds, COUNT(connection_kinds)},
    {"The source's server", server_kinds, COUNT(server_kinds)},
    {"The publication", publication_kinds, COUNT(publication_kinds)},
    {"Tables", table_kinds, COUNT(table_kinds)},
    {"Snowflake", snowflake_kinds, COUNT(snowflake_kinds)},
    {"Other", other_kinds, COUNT(other_kinds)},
};

const struct finding_kind *finding_kind_find(const char *code)
{
    for (size_t i = 0; i < COUNT(sections); i++)
        for (size_t k = 0; k < sections[i].count; k++)
            if (strcmp(sections[i].kinds[k].code, code) == 0)
                return &sections[i].kinds[k];
    return &other_kinds[COUNT(other_kinds) - 1];
}

void findings_write(struct buf *out)
{
    buf_append_text(
        out, "# What check finds\n\n"
             "<!-- made by: etl-stream help findings > docs/check.md -->\n\n"
             "`etl-stream check NAME` looks at both ends of a pipeline and changes nothing; without a NAME it looks at "
             "all, and with `--from URL [--to URL]`\n"
             "at what is in no catalog. What it finds comes by gravity: an **error** keeps the pipeline from running "
             "(exit code 1), a **warning** will hurt later,\n"
             "a **note** is good to know. Each has the statement that mends it where there is one, with quoted names, "
             "and says who has to run it; `--json` has the\n"
             "same for machines. Wrong usage is exit code 2.\n\n"
             "It also measures round trips: connecting to the source, a query there, a replication connection; signing "
             "in to Snowflake (connection and TLS\n"
             "included), a query there, the streaming host's name and a token for it.\n\n"
             "At Snowflake only what the role itself and the roles granted to it may do counts: secondary roles do not "
             "help to create tables or to stream.\n");
    for (size_t i = 0; i < COUNT(sections); i++) {
        buf_appendf(out, "\n## %s\n", sections[i].title);
        for (size_t k = 0; k < sections[i].count; k++) {
            const struct finding_kind *kind = &sections[i].kinds[k];
            buf_appendf(out, "\n### %s\n\n%s: %s. Why it matters: %s.\n\n%s", kind->code, kind->gravity, kind->title,
                        kind->why, kind->remedy);
            if (kind->run_as != NULL)
                buf_appendf(out, " Its statement is for %s.", kind->run_as);
            buf_append_byte(out, '\n');
        }
    }
}
