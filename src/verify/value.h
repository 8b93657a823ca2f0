// One value of a source row and the same value of the target, brought to one text: equal texts are equal values. Pure.
//
// The source's comes from our own encoder, as it went to Snowflake; the target's from the SQL API, whose forms are those of
// https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses: a DATE is a number of days, a TIME or TIMESTAMP a
// number of seconds, a BINARY its hex digits, VARIANT and ARRAY are JSON.
//   NUMBER    digits without zeros that say nothing: 1.50 is 1.5, -0 is 0
//   FLOAT     the shortest decimal that reads back as the same double; -0 is 0, NaN is NaN
//   VARIANT   JSON with sorted keys and without blanks; numbers as digits if NUMBER(38, 37) holds them, else as doubles to 15
//             significant digits, as Snowflake keeps those as doubles and prints no more
#ifndef ETL_VERIFY_VALUE_H
#define ETL_VERIFY_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "encode/typemap.h"

// json: what the encoder appended. False: it is not of the type, which is a mistake of ours.
bool value_of_source(const struct target_type *type, const uint8_t *json, size_t size, struct buf *out);
// text: what the SQL API gave. False: it is not of the type: somebody gave the column another one.
bool value_of_target(const struct target_type *type, const char *text, size_t size, struct buf *out);
// Any JSON text in the form above. False: it is none.
bool value_append_json(const uint8_t *json, size_t size, struct buf *out);

#endif
