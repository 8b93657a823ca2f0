// Decoder of COPY ... TO STDOUT (FORMAT binary), a CopyData message at a time. The server sends the header and each
// tuple as messages of their own, but the protocol does not promise it: a message may hold several tuples or the
// header and a tuple; a tuple is never cut (PQgetCopyData returns what the server sent as one CopyData). Pure.
// Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
#ifndef ETL_PG_COPY_BINARY_H
#define ETL_PG_COPY_BINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/row.h"

struct copy_binary {
    bool has_header;        // the signature and flags were read
    bool has_trailer;       // the -1 was read: nothing may follow
    uint16_t column_count;  // what every tuple must have
};

enum copy_binary_outcome { COPY_BINARY_ROW, COPY_BINARY_MORE, COPY_BINARY_ERROR };

void copy_binary_init(struct copy_binary *decoder, uint16_t column_count);
// Takes the next tuple from data[*offset .. size). ROW: values[0 .. column_count) are set (VALUE_BINARY or VALUE_NULL) and
// *offset has moved; MORE: the message is used up.
enum copy_binary_outcome copy_binary_next(struct copy_binary *decoder, const uint8_t *data, size_t size, size_t *offset,
                                          struct value *values, struct err *out_error);

#endif
