// What the commands on sources, destinations and pipelines have in common.
#ifndef ETL_CLI_OBJECTS_H
#define ETL_CLI_OBJECTS_H

#include <jansson.h>

#include "catalog/config.h"
#include "cli/changes.h"
#include "cli/command.h"
#include "cli/common.h"

// A command's hold on the catalog. It is made only when something is written: a command that is refused leaves no file.
struct objects {
    const struct option_value *state;  // borrowed
    struct catalog *catalog;           // NULL: there is none yet
    struct catalog_config *config;     // then what the first etl-stream has configured there, if anything
    bool is_editor;
};

// is_editing: an older catalog is upgraded. False: told, and nothing is left to close; *out_exit_code is the command's.
bool objects_open(struct objects *objects, const struct option_value *state, bool is_editing, int *out_exit_code);
void objects_close(struct objects *objects);
// The catalog to write to. NULL: out_error.
struct catalog *objects_editor(struct objects *objects, struct err *out_error);
// Checks the object as it will be, then writes it. Exit code; the error is told, success is not.
int objects_write(struct objects *objects, enum catalog_edit_action action, enum catalog_kind kind, const char *name,
                  const struct changes *changes);
// objects_write for an edit, from opening to the word that it is done.
int objects_edit(enum catalog_kind kind, const char *name, const struct changes *changes,
                 const struct option_value *state, const struct option_value *is_json);
bool objects_is_new(const struct objects *objects, enum catalog_kind kind, const char *name, struct err *out_error);
// Asks for a secret (prompt_secret_or_line) and sets it.
bool objects_ask_secret(const char *question, const char *setting_name, struct changes *changes, struct err *out_error);
// Somebody tries to change a name: false, and why that cannot be.
bool objects_keeps_name(const struct option_value *name, struct err *out_error);
#define OBJECTS_NAME_OPTION                                                                                     \
    {                                                                                                           \
        "name", NULL, OPTION_TEXT, "NAME", NULL, 0, 0, NULL,                                                    \
            "refused: a name cannot be changed, because everything that is known of it is kept under that name" \
    }
// Where an object leads: "postgres etl@db/shop", for people.
void object_describe(const struct catalog_object *object, char *out, size_t out_size);
// All that is set; of secrets only which ("secrets"). is_plain: without name and secrets, the settings stand beside source,
// destination and status, as in an export.
json_t *object_json(const struct catalog_object *object, bool is_plain);

// The run functions of list, show and remove.
int objects_list(enum catalog_kind kind, const struct command *command, int count, char *const *arguments);
int objects_show(enum catalog_kind kind, const struct command *command, int count, char *const *arguments);

enum { LIST_STATE, LIST_JSON, LIST_OPTION_COUNT };
extern const struct option_spec objects_list_options[LIST_OPTION_COUNT];
enum { REMOVE_STATE, REMOVE_YES, REMOVE_JSON, REMOVE_OPTION_COUNT };
extern const struct option_spec objects_remove_options[REMOVE_OPTION_COUNT];
int objects_remove(enum catalog_kind kind, const struct command *command, int count, char *const *arguments);
// Asks "remove …?" on a terminal. False: not to be done, told why.
bool objects_may_remove(const char *question, bool is_yes, int *out_exit_code);
// The one operand, NAME. False: told.
bool objects_name(const struct command *command, size_t operand_count, int *out_exit_code);

#endif
