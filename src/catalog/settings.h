// One table of everything that can be set of a source, a destination or a pipeline: options of the commands, values in the
// catalog, help and docs/configuration.md come from it. A new setting is a row in settings.c and, for pipelines, a field here.
#ifndef ETL_CATALOG_SETTINGS_H
#define ETL_CATALOG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/options.h"

enum catalog_kind { CATALOG_SOURCE, CATALOG_DESTINATION, CATALOG_PIPELINE };
#define CATALOG_KIND_COUNT 3

#define SETTINGS_OPTIONS_MAX 48  // of one kind
#define SETTING_NO_FIELD SIZE_MAX

struct setting {
    struct option_spec option;  // its default: what holds when nothing was set; for columns the contract's
    const char *name;           // in the catalog, in exports and documents; a column's own name where it is one
    enum catalog_kind kind;
    bool is_column;       // of the contract's table; else a row of etl_settings
    bool is_secret;       // never shown
    size_t field;         // where it goes in struct pipeline_settings, or SETTING_NO_FIELD
    const char *only_of;  // kind DESTINATION: of these destination_types ("snowflake|http"); NULL: of each
};

// A field's type follows the option's kind: NUMBER uint32_t, FLAG bool, CHOICE unsigned (the choice's index, an enum below
// in the same order), TEXT char * (owned; NULL: not set).
enum target_naming { TARGET_NAMING_TABLE, TARGET_NAMING_SCHEMA_TABLE, TARGET_NAMING_SCHEMA };
enum identifier_case { IDENTIFIER_CASE_UPPER, IDENTIFIER_CASE_PRESERVE };
enum existing_tables { EXISTING_TABLES_KEEP, EXISTING_TABLES_REPLACE };
enum on_slot_lost { ON_SLOT_LOST_STOP, ON_SLOT_LOST_RESYNC };

struct pipeline_settings {
    char *slot;  // NULL: made from the pipeline's name
    uint32_t batch_max_size, batch_max_fill_ms;
    uint32_t channels_per_table;
    uint32_t table_error_retry_delay_ms, table_error_retry_max_attempts;
    uint32_t max_table_sync_workers;
    uint32_t merge_interval_seconds, merge_timeout_seconds;
    unsigned on_slot_lost;
    uint32_t decoding_work_mem_kb;
    uint32_t copy_rate_limit, copy_range_mb;
    bool soft_deletes, landing_commit_time;
    char *tables;  // NULL: all of the publication
    unsigned target_naming, identifier_case, existing_tables;
    char *landing_retention;  // see base/duration.h
    char *merge_windows;      // NULL: always; see base/day_windows.h
};

const char *catalog_kind_name(enum catalog_kind kind);                             // "source"
const struct setting *setting_find(enum catalog_kind kind, const char *name);      // by the catalog's name; NULL: none
size_t settings_options(enum catalog_kind kind, struct option_spec *out_options);  // up to SETTINGS_OPTIONS_MAX; count
bool setting_is_of(const struct setting *setting, const char *destination_type);
const struct setting *settings_nth(enum catalog_kind kind, size_t option_index);  // of settings_options

// values: what options_parse made of settings_options(CATALOG_PIPELINE).
void pipeline_settings_from_options(const struct option_value *values, struct pipeline_settings *out_settings);
// What the options table cannot check. False: ERR_CONFIG naming the setting and what is allowed.
bool pipeline_settings_check(const struct pipeline_settings *settings, struct err *out_error);
// get answers the stored text of a setting, or NULL; then the setting's variable and its default hold. owner: how messages
// call the pipeline. False: ERR_CONFIG naming setting, value and what is allowed; nothing is left to free.
bool pipeline_settings_read(const char *(*get)(void *context, const struct setting *setting), void *context,
                            const char *owner, struct pipeline_settings *out_settings, struct err *out_error);
void pipeline_settings_deinit(struct pipeline_settings *settings);

#endif
