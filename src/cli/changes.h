// What a command is to change of a source, destination or pipeline, collected from options, URLs and prompts, and checked
// as a whole before anything is written.
#ifndef ETL_CLI_CHANGES_H
#define ETL_CLI_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/options.h"
#include "catalog/config.h"

#define CHANGES_MAX 64

struct changes {
    struct catalog_change list[CHANGES_MAX];  // texts are owned
    uint32_t count;
};

void changes_deinit(struct changes *changes);  // wipes
// The newest value for a name holds. text NULL: back to the default.
void changes_set(struct changes *changes, const char *name, const char *text);
const char *changes_get(const struct changes *changes,
                        const char *name);  // NULL: not among them, or back to the default
// The settings that were given on the command line. Warns of secrets there, on standard error.
void changes_add_options(struct changes *changes, enum catalog_kind kind, const struct option_value *values);
// "name,name": back to what holds when nothing is set. False: ERR_CONFIG, there is no such setting.
bool changes_unset(struct changes *changes, enum catalog_kind kind, const char *names, struct err *out_error);
// postgres://… as --from takes it. False: ERR_CONFIG.
bool changes_add_source_url(struct changes *changes, const char *url, struct err *out_error);
// snowflake://…, http(s)://… or file:… as --to takes it.
bool changes_add_destination_url(struct changes *changes, const char *url, struct err *out_error);
// "batch-max-size" of "batch_max_size": as people type and read it, with '_' (is_option false) or '-'.
void setting_word(const struct setting *setting, bool is_option, char *out, size_t out_size);
const struct setting *setting_find_word(enum catalog_kind kind, const char *word);  // either form; NULL: none
const char *setting_nearest_word(enum catalog_kind kind, const char *word);  // NULL: none is near; a static buffer
// Whether the object is whole and everything in it allowed, as far as that is known without a network. False: ERR_CONFIG.
bool object_check(const struct catalog_object *object, struct err *out_error);
// Overwrites a password in a URL or after --password or --passphrase, which every user of the machine can read (ps).
void hide_secrets(int count, char *const *arguments);

#endif
