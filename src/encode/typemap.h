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
    TARGET_NUMBER,         // precision, scale
    TARGET_FLOAT,
    TARGET_VARCHAR,
    TARGET_BINARY,         // target BINARY, landing VARCHAR of base64
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
    uint32_t length;  // VARCHAR, BINARY: 0 = as long as the account allows
};

enum value_outcome {
    VALUE_WRITTEN,   // a JSON value was appended
    VALUE_COERCED,   // nothing, or the nearest value, was appended (see bytes_written); the original text belongs in _ETL_COERCED
    VALUE_MALFORMED  // the bytes are not of the type: a bug or a foreign server; the stream must stop, named
};

struct column_encoder;
// Appends the JSON of a VALUE_BINARY or VALUE_TEXT value to out (never called for NULL or UNCHANGED). On VALUE_COERCED the text of the
// original (as PostgreSQL prints it) is appended to coerced as a JSON string, and out gets nothing, or the nearest value.
typedef enum value_outcome (*column_encode)(const struct column_encoder *encoder, const struct value *value,
                                            struct buf *out, struct buf *coerced);

struct column_encoder {
    column_encode encode;
    column_encode encode_element;  // arrays: how an element is written
    struct target_type target;
    uint16_t index;          // in the table's columns
    uint8_t numeric_scale;   // NUMBER: digits after the point that the target holds
    uint8_t numeric_precision;
    bool wants_text;         // binary of this type is not decoded: ask the server for its text (copy: cast; stream: text)
    char *key;               // `"name":` as JSON bytes, ready to append; owned
    uint32_t key_size;
    const struct encoding *encoding;  // the source database's
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
