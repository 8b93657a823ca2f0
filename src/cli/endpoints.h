// What --from and --to name, read once and checked without touching a network.
#ifndef ETL_CLI_ENDPOINTS_H
#define ETL_CLI_ENDPOINTS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/options.h"
#include "catalog/config.h"
#include "pg/pg_conn.h"
#include "supervisor/destination.h"

struct endpoints {
    struct pg_target source;
    char *publication;
    char *slot;  // given, or made from the pipeline's name
    char *name;  // the pipeline's
    char source_text[256];
    bool has_password_in_url;
    bool has_destination;
    struct destination destination;
};

// to NULL: the source only. name NULL: made of database and publication. False: ERR_CONFIG; nothing is left to free.
bool endpoints_read(const char *from, const char *to, const char *name, struct endpoints *out_endpoints,
                    struct err *out_error);
// The same from a pipeline of the catalog, with its settings (pipeline_settings_deinit).
bool endpoints_from_catalog(const struct catalog_config *config, const struct catalog_object *pipeline,
                            struct endpoints *out_endpoints, struct pipeline_settings *out_settings,
                            struct err *out_error);
bool endpoints_check_slot(const char *slot, struct err *out_error);  // false: ERR_CONFIG, it is no slot's name
// Another slot than the URL's, or the one made from the name. False: ERR_CONFIG, the name is none; endpoints is as before.
bool endpoints_set_slot(struct endpoints *endpoints, const char *slot, struct err *out_error);
// Warns, on standard error, of a password that stood on the command line.
#define ENDPOINTS_PASSWORD_WARNING                                                                                   \
    "a password in a URL on the command line can be seen by every user of this machine until the program hides it, " \
    "and stays in the shell's history; give it in PGPASSWORD, in a password file (~/.pgpass), or with --ask-password"
void endpoints_warn(const struct endpoints *endpoints);
// The option of every command that takes a source's URL; and what it does: asks at the terminal, without echo. False: there is none.
#define ENDPOINTS_ASK_PASSWORD_OPTION                                                            \
    {                                                                                            \
        "ask-password", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,                               \
            "ask for the source's password at the terminal, without echo; for --from or the URL" \
    }
bool endpoints_ask_password(const struct option_value *is_asking, struct endpoints *endpoints, struct err *out_error);
// Overwrites the passwords of URLs among the arguments, which every user of the machine can read (ps). After
// endpoints_read, which copies what it needs.
void endpoints_hide_passwords(int count, char *const *arguments);
void endpoints_deinit(struct endpoints *endpoints);

#endif
