// Both ends of a pipeline, asked one thing after the other: a takeover is a command of one thread that works from top to
// bottom, and waits by letting its loop turn until the answer is there.
#ifndef ETL_MIGRATE_ENDS_H
#define ETL_MIGRATE_ENDS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pg/pg_conn.h"
#include "sinks/snowflake/sf_config.h"
#include "sinks/snowflake/sf_key.h"

struct ends;

// A result of Snowflake's, whole. Owned.
struct ends_answer {
    uint32_t row_count, column_count;
    char **names;  // column_count
    char **texts;  // row by row; NULL: SQL NULL
};

// NULL: what the machine lacks.
struct ends *ends_new(struct err *out_error);
void ends_free(struct ends *ends);
bool ends_open_source(struct ends *ends, const struct pg_target *target, struct err *out_error);
// config is borrowed for the life of ends, the key taken.
void ends_open_snowflake(struct ends *ends, const struct sf_config *config, struct sf_key *take_key);

// read (NULL: the rows are not wanted) borrows the result; its false, with an error, is ours too.
bool ends_ask_source(struct ends *ends, const char *sql, int parameter_count, const char *const *parameters,
                     bool (*read)(void *context, const PGresult *result, struct err *out_error), void *context,
                     struct err *out_error);
// Needs no warehouse. out_answer NULL: the rows are not wanted; else by ends_answer_deinit, also after an error.
bool ends_ask_snowflake(struct ends *ends, const char *sql, struct ends_answer *out_answer, struct err *out_error);
void ends_answer_deinit(struct ends_answer *answer);
// "" for SQL NULL and for a column that is not there; borrowed.
const char *ends_answer_text(const struct ends_answer *answer, uint32_t row, const char *column);

#endif
