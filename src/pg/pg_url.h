// postgres://user[:password]@host[:port]/database?publication=NAME&slot=NAME&sslmode=MODE&sslrootcert=FILE
//
// Percent-encoding as in RFC 3986; an IPv6 address stands in brackets; a socket's directory is a host with its slashes
// encoded (%2Fvar%2Frun%2Fpostgresql). Everything that is wrong is told in one line; the password never is.
#ifndef ETL_PG_PG_URL_H
#define ETL_PG_PG_URL_H

#include <stdbool.h>

#include "base/err.h"
#include "pg/pg_conn.h"

// Whether a text is meant as such a URL (postgres:// or postgresql://).
bool pg_url_is(const char *text);
// True: *out_target is filled (pg_target_deinit), *out_publication and *out_slot are set (free) or NULL when not given.
// False: ERR_CONFIG; nothing is left to free.
bool pg_url_parse(const char *url, struct pg_target *out_target, char **out_publication, char **out_slot,
                  struct err *out_error);

#endif
