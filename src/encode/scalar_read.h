// The bytes of a value, binary or text, read as what they stand for. Each is strict: false (or 0) if the bytes are not of the kind.
#ifndef ETL_ENCODE_SCALAR_READ_H
#define ETL_ENCODE_SCALAR_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "encode/float_text.h"
#include "encode/typemap.h"
#include "model/row.h"

#define SCALAR_UUID_TEXT_SIZE 36

bool scalar_read_integer(enum value_kind kind, const struct value *value, int64_t *out_number);    // int2, int4, int8
bool scalar_read_unsigned(enum value_kind kind, const struct value *value, uint64_t *out_number);  // oid, xid8
bool scalar_read_date(const struct value *value, int32_t *out_days);
bool scalar_read_time(const struct value *value, int64_t *out_us);
bool scalar_read_timestamp(enum value_kind kind, const struct value *value, int64_t *out_us);
bool scalar_read_json(enum value_kind kind, const struct value *value,
                      struct value *out_text);                           // without jsonb's version byte
bool scalar_append_numeric(const struct value *value, struct buf *out);  // text of a text value is not checked
size_t scalar_format_float(enum value_kind kind, const struct value *value, char out_text[FLOAT_TEXT_SIZE_MAX]);
bool scalar_format_uuid(const struct value *value, char out_text[SCALAR_UUID_TEXT_SIZE]);
int scalar_hex_digit(uint8_t byte);  // -1: none

#endif
