// What is known of one pipeline before its takeover from the first etl-stream is planned: what both ends and the catalog
// answered, without any conclusion.
#ifndef ETL_MIGRATE_FACTS_H
#define ETL_MIGRATE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "catalog/catalog.h"
#include "model/table.h"
#include "sinks/snowflake/sf_naming.h"

struct facts_table {
    char *schema, *name, *comment;  // in Snowflake
    char *rows;                     // as SHOW TABLES counts them
};

struct facts_task {
    char *schema, *name, *state, *schedule, *definition;
};

struct facts_grant {
    char *schema, *table;  // on which
    char *privilege, *granted_to, *grantee;
    bool has_option;
};

struct facts_slot {
    char *name;
    char *reader;  // who reads it: "process 17 of the server (application, address)"; NULL: nobody
    char *held;    // WAL that it holds back, for people
    bool is_ours;  // some pipeline of the catalog has this slot
};

struct facts {
    // Given; borrowed.
    const char *pipeline;
    int64_t id_pipeline;
    bool is_snowflake;
    const char *database, *schema, *landing_schema;  // ours, as Snowflake stores them
    const char *old_schema, *old_landing_schema;  // as they are spelt in the configuration, which the first one quoted
    const char *role;                             // that we have there; NULL: the user's default
    struct sf_naming naming;
    const struct catalog_known *known;
    bool is_wanted;             // its status is START
    bool is_running;            // some process of ours runs it now
    const char *other_of_slot;  // another pipeline that had the same slot and is not live; NULL: none
    // Found; owned.
    struct table **tables;  // of the publication that the pipeline follows
    uint32_t table_count;
    struct facts_table *seen_tables;
    uint32_t seen_table_count;
    struct facts_task *tasks;
    uint32_t task_count;
    struct facts_grant *grants;
    uint32_t grant_count;
    struct facts_slot *slots;
    uint32_t slot_count;
};

void facts_clear(struct facts *facts);  // what was found; what was given stays
// Each copies the texts.
void facts_add_table(struct facts *facts, const char *schema, const char *name, const char *comment, const char *rows);
void facts_add_task(struct facts *facts, const char *schema, const char *name, const char *state, const char *schedule,
                    const char *definition);
void facts_add_grant(struct facts *facts, const char *schema, const char *table, const char *privilege,
                     const char *granted_to, const char *grantee, bool has_option);
// reader NULL: nobody reads it.
void facts_add_slot(struct facts *facts, const char *name, const char *reader, const char *held, bool is_ours);
// NULL: there is none.
const struct facts_table *facts_find_table(const struct facts *facts, const char *schema, const char *name);
bool facts_is_ours(const struct facts_table *table);  // its comment carries our marker, of whichever pipeline

#endif
