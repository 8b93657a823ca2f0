// What the server or libpq says went wrong, as an error of ours: kind, SQLSTATE, and one line in UTF-8.
#ifndef ETL_PG_PG_ERROR_H
#define ETL_PG_PG_ERROR_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

// What a SQLSTATE means for us. Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
enum err_kind pg_error_kind(const char *sqlstate);
// A failed statement: the server's message, detail and hint, and what would mend it where we know.
void pg_error_from_result(const PGresult *result, struct err *out_error);
// A connection that did not come about or broke: PQerrorMessage. With PQERRORS_VERBOSE, which is the only way that
// libpq 15 tells the SQLSTATE of a refused connection, the code is found in it.
void pg_error_from_message(const char *message, struct err *out_error);
// Text of the server, which may be in any encoding and over several lines, as one line of UTF-8: where a line ends without a mark, one is put.
void pg_error_tidy_text(const char *text, char *out, size_t out_size);

#endif
