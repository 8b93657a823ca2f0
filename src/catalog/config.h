// Sources, destinations and pipelines as they are configured: the contract's tables (sources, destinations, pipelines) and
// etl_settings beside them, for what the contract has no column for. Whoever may write to these tables may change them at
// any time, with our commands or with plain SQL; a reader gets a finished copy.
#ifndef ETL_CATALOG_CONFIG_H
#define ETL_CATALOG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/settings.h"

struct catalog;

struct catalog_value {
    const struct setting *setting;
    char *text;  // NULL: not set (SQL NULL, or no row)
};

// values holds every setting of its kind, in the order of the settings table. Names that etl_settings holds and the table
// does not know are left out (a newer program's).
struct catalog_object {
    enum catalog_kind kind;
    int64_t id;
    char *name;
    char *source, *destination;  // a pipeline's, by name
    bool is_wanted;              // a pipeline's status is START
    int64_t first_id;            // a pipeline's id_pipeline: nothing of ours, it names the first etl-stream's slots
    struct catalog_value *values;
    uint32_t value_count;
};

struct catalog_config {
    struct catalog_object *objects[CATALOG_KIND_COUNT];  // sorted by name
    uint32_t counts[CATALOG_KIND_COUNT];
};

// Blocking. *out_config by catalog_config_free, which wipes it: it may hold passwords.
bool catalog_config_read(struct catalog *catalog, struct catalog_config **out_config, struct err *out_error);
// The same of a PostgreSQL database that holds no catalog of ours yet (the contract's tables at most): as it will be read once
// a service has made the rest. Nothing is changed there: what is made for it is rolled back.
struct catalog_location;
bool catalog_config_foresee(const struct catalog_location *location, struct catalog_config **out_config,
                            struct err *out_error);
void catalog_config_free(struct catalog_config *config);
const struct catalog_object *catalog_config_find(const struct catalog_config *config, enum catalog_kind kind,
                                                 const char *name);
// The nearest name of that kind for a misspelt one, or NULL; borrowed.
const char *catalog_config_nearest(const struct catalog_config *config, enum catalog_kind kind, const char *name);
// ERR_CONFIG that there is none of that name, and which may be meant. Always false.
bool catalog_config_fail_missing(const struct catalog_config *config, enum catalog_kind kind, const char *name,
                                 struct err *out_error);
const char *catalog_object_get(const struct catalog_object *object, const char *setting_name);  // NULL: not set
// All that can be configured is the same; is_wanted, which says whether it runs, does not count.
bool catalog_object_is_same(const struct catalog_object *a, const struct catalog_object *b);
// Nothing at all differs, also not which pipelines are wanted.
bool catalog_config_is_same(const struct catalog_config *a, const struct catalog_config *b);
// The pipeline's settings; the merge interval, where the pipeline has none of its own, from its destination's schedule.
// False: ERR_CONFIG naming pipeline, setting, value and what is allowed.
bool catalog_pipeline_settings(const struct catalog_config *config, const struct catalog_object *pipeline,
                               struct pipeline_settings *out_settings, struct err *out_error);

// A copy with changes made to it, as it would be after an edit; base NULL: a new one, with the defaults. By
// catalog_object_free.
struct catalog_change;
struct catalog_object *catalog_object_with(const struct catalog_object *base, enum catalog_kind kind, const char *name,
                                           const struct catalog_change *changes, uint32_t change_count);
void catalog_object_free(struct catalog_object *object);  // wipes

// --- changes -----------------------------------------------------------------------------------------------------

enum catalog_edit_action { CATALOG_ADD, CATALOG_EDIT, CATALOG_REMOVE };

struct catalog_change {
    const char *name;  // a setting's, or of a pipeline "source", "destination" (by name) or "status" (START or PAUSE)
    const char *text;  // NULL: back to what holds when nothing is set
};

struct catalog_edit {
    enum catalog_edit_action action;
    enum catalog_kind kind;
    const char *name;
    const struct catalog_change *changes;
    uint32_t change_count;
};

// Whether a new one may be called so. False: ERR_CONFIG.
bool catalog_name_check(enum catalog_kind kind, const char *name, struct err *out_error);
// Blocking; all or nothing, in one transaction that tells running services (NOTIFY). The values were checked by the
// settings table. False: ERR_CONFIG says which object is there already, is missing or is still used and by what.
// CATALOG_REMOVE removes what is configured; what a pipeline's runs have left behind stays until catalog_forget.
bool catalog_edit(struct catalog *catalog, const struct catalog_edit *edits, uint32_t edit_count,
                  struct err *out_error);
// Blocking. Deletes the state of a pipeline that is gone: positions, tables, channels, status, commands.
bool catalog_forget(struct catalog *catalog, const char *pipeline, struct err *out_error);

#endif
