// Which Snowflake type a PostgreSQL column becomes, and the function that writes its values as JSON.
// Chosen once per column when the table is learnt. Rules: docs/types.md.
#ifndef ETL_ENCODE_TYPEMAP_H
#define ETL_ENCODE_TYPEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/row.h"
#include "model/table.h"

enum target_kind {
    TARGET_BOOLEAN,
    TARGET_NUMBER,  // precision, scale
    TARGET_FLOAT,
    TARGET_VARCHAR,
    TARGET_BINARY,  // target BINARY, landing VARCHAR of base64
    TARGET_DATE,
    TARGET_TIME,
    TARGET_TIMESTAMP_NTZ,
    TARGET_TIMESTAMP_TZ,
    TARGET_VARIANT,
    TARGET_ARRAY
};

struct target_type {
    enum target_kind kind;
    uint8_t precision;
    uint8_t scale;
    uint32_t length;  // VARCHAR, BINARY; typemap_choose always sets it
};

// What the bytes of a value are.
enum scalar_kind {
    SCALAR_SERVER_TEXT,  // a type that is not decoded: the server's text only
    SCALAR_BOOL,
    SCALAR_INT2,
    SCALAR_INT4,
    SCALAR_INT8,
    SCALAR_OID,
    SCALAR_XID8,
    SCALAR_NUMERIC,
    SCALAR_FLOAT4,
    SCALAR_FLOAT8,
    SCALAR_TEXT,  // any type whose binary form is its text
    SCALAR_CHAR,  // "char", one byte
    SCALAR_BYTEA,
    SCALAR_DATE,
    SCALAR_TIME,
    SCALAR_TIMESTAMP,
    SCALAR_TIMESTAMPTZ,
    SCALAR_UUID,
    SCALAR_JSON,
    SCALAR_JSONB
};

enum value_outcome {
    VALUE_WRITTEN,  // a JSON value was appended
    VALUE_COERCED,  // nothing, or the nearest value, was appended (see bytes_written); the original text belongs in _ETL_COERCED
    VALUE_MALFORMED  // the bytes are not of the type: a bug or a foreign server; the stream must stop, named
};

struct column_encoder;
struct encoding;
// Appends the JSON of a VALUE_BINARY or VALUE_TEXT value to out (never called for NULL or UNCHANGED). On VALUE_COERCED the text of the
// original (as PostgreSQL prints it) is appended to coerced as a JSON string, and out gets nothing, or the nearest value. coerced is NULL for
// the elements of an array: the array tells for all of them.
typedef enum value_outcome (*column_encode)(const struct column_encoder *encoder, const struct value *value,
                                            struct buf *out, struct buf *coerced);

struct column_encoder {
    column_encode encode;
    column_encode encode_element;  // arrays: how an element is written
    struct target_type target;
    enum scalar_kind kind;  // of the value; of an array's elements
    uint16_t index;         // in the table's columns
    uint8_t numeric_scale;  // NUMBER: digits after the point that the target holds
    uint8_t numeric_precision;
    bool wants_text;  // binary of this type is not decoded: ask the server for its text (copy: cast; stream: text)
    char *key;        // `"name":` as JSON bytes, ready to append; owned
    uint32_t key_size;
    uint32_t size_max;                // bytes of text, JSON or BINARY that the target holds; 0: no limit applies
    const struct encoding *encoding;  // the source database's
    struct buf *scratch;  // owned; for what needs more than one pass (escaped array elements, original text of arrays)
};

// Options of the destination that decide types. All zero is the default.
struct typemap_options {
    uint32_t varchar_length_max;  // 0: 16,777,216 (older accounts hold that; 134,217,728 where the account allows)
    uint32_t binary_length_max;   // 0: 8,388,608
};

// Fills *out_encoder for the column. Never fails for a type it does not know: that is VARCHAR with the server's text.
bool typemap_choose(const struct column *column, const struct encoding *encoding, const struct typemap_options *options,
                    struct column_encoder *out_encoder, struct err *out_error);
void typemap_encoder_deinit(struct column_encoder *encoder);
// "NUMBER(38,0)", "VARCHAR(16777216)", … for CREATE TABLE; `in_landing` for the landing table's form of it.
void typemap_format_sql(const struct target_type *type, bool in_landing, struct buf *out);

#endif
