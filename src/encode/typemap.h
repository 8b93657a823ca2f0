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
enum value_kind {
    KIND_SERVER_TEXT,  // a type that is not decoded: the server's text only
    KIND_BOOL,
    KIND_INT2,
    KIND_INT4,
    KIND_INT8,
    KIND_OID,
    KIND_XID8,
    KIND_NUMERIC,
    KIND_FLOAT4,
    KIND_FLOAT8,
    KIND_TEXT,  // any type whose binary form is its text
    KIND_CHAR,  // "char", one byte
    KIND_BYTEA,
    KIND_DATE,
    KIND_TIME,
    KIND_TIMESTAMP,
    KIND_TIMESTAMPTZ,
    KIND_UUID,
    KIND_JSON,
    KIND_JSONB,
    // The server's text, printed from the binary form (printed.h)
    KIND_INTERVAL,
    KIND_FINITE_INTERVAL,  // of a server before 17: publication_tables.sql names the type so
    KIND_MONEY,
    KIND_TIMETZ,
    KIND_INET,  // cidr too
    KIND_MACADDR,
    KIND_MACADDR8,
    KIND_BIT,  // varbit too
    KIND_LSN,
    KIND_XID,  // cid too
    KIND_TID,
    KIND_POINT,
    KIND_LINE,
    KIND_LSEG,
    KIND_BOX,
    KIND_PATH,
    KIND_POLYGON,
    KIND_CIRCLE,
    KIND_TSVECTOR,
    KIND_VERSIONED_TEXT,  // a byte of version (1), then the text: jsonpath, ltree and its queries
    // Made of others
    KIND_RANGE,
    KIND_MULTIRANGE,
    KIND_ARRAY,
    KIND_COMPOSITE,
    KIND_HSTORE,
    KIND_VECTOR,
    KIND_HALFVEC
};

enum value_outcome {
    VALUE_WRITTEN,  // a JSON value was appended
    VALUE_COERCED,  // nothing, or the nearest value, was appended (see bytes_written); the original text belongs in _ETL_COERCED
    VALUE_OVERSIZED,  // too large for the target, and the options say that this is an error
    VALUE_MALFORMED   // the bytes are not of the type: a bug or a foreign server; the stream must stop, named
};

struct value_encoder;
struct encoding;
#define VALUE_SCRATCH_BYTES_MAX (64U << 20)
// Appends the JSON of a VALUE_BINARY or VALUE_TEXT value to out (never called for NULL or UNCHANGED). On VALUE_COERCED the text of the
// original (as PostgreSQL prints it) is appended to coerced as a JSON string, and out gets nothing, or the nearest value. coerced is NULL for
// the parts of a value (elements, fields): the whole tells for all of them.
typedef enum value_outcome (*value_encode)(const struct value_encoder *encoder, const struct value *value,
                                           struct buf *out, struct buf *coerced);

struct part_encoder {
    char *key;  // a composite's field: `"name":` as JSON bytes; owned
    uint32_t key_size;
    const struct value_encoder *value;
};

// How the values of one type are written. A type that is a part of several others has one encoder: as no type contains
// itself, it is never at work twice at once, and its scratch is its own.
struct value_encoder {
    value_encode encode;
    const struct source_type *type;
    enum value_kind kind;
    struct target_type target;
    uint32_t size_max;          // bytes of text, JSON or BINARY that the target holds; 0: no limit applies
    uint32_t coerced_size_max;  // bytes that _ETL_COERCED holds, those of other columns before it among them
    bool has_binary;            // its binary form, and that of all its parts, is decoded here and sent by the server
    bool fails_oversized;
    bool truncates_oversized;
    uint8_t height;  // parts below parts
    uint16_t part_count;
    struct part_encoder *parts;       // as type->parts; owned
    const struct encoding *encoding;  // the source database's
    struct buf *scratch;              // owned; for what needs more than one pass
};

struct column_encoder {
    const struct value_encoder *value;  // the column's type; one of `types`
    struct value_encoder **types;       // owned; all that the column's type is made of
    uint16_t type_count;
    uint16_t index;  // in the table's columns
    struct target_type target;
    bool
        wants_text;  // binary of this type is not decoded: ask the server for its text (copy: by its output function; stream: text)
    char *key;  // `"name":` as JSON bytes, ready to append; owned
    uint32_t key_size;
    uint32_t size_max;  // its type's own
    bool was_coerced;   // some value of it was, and it was said
};

static inline enum value_outcome column_encode(const struct column_encoder *column, const struct value *value,
                                               struct buf *out, struct buf *coerced)
{
    return column->value->encode(column->value, value, out, coerced);
}

// Values of the column have at most so many bytes from now on (fewer than its type holds, or it changes nothing); 0: as its type
// says. Types without a limit (numbers, times) stay as they are.
void typemap_encoder_limit(struct column_encoder *column, uint32_t bytes_max);

enum numeric_unbounded { NUMERIC_UNBOUNDED_NUMBER, NUMERIC_UNBOUNDED_VARCHAR, NUMERIC_UNBOUNDED_FLOAT };
enum oversized_rule { OVERSIZED_NULL, OVERSIZED_TRUNCATE, OVERSIZED_FAIL };

// _ETL_COERCED may have at most so many bytes with an original of the column's.
void typemap_encoder_limit_coerced(struct column_encoder *column, uint32_t bytes_max);

// Options of the destination that decide types. All zero is the default.
struct typemap_options {
    uint32_t varchar_length_max;  // 0: 16,777,216 (older accounts hold that; 134,217,728 where the account allows)
    uint32_t binary_length_max;   // 0: 8,388,608
    enum numeric_unbounded numeric_unbounded;  // what numeric without precision becomes
    enum oversized_rule
        oversized;  // NULL and the value's size in _ETL_COERCED; or the longest beginning (VARCHAR only); or an error
    bool preserves_case;  // column names stay as they are; else upper case of ASCII
};

// Bytes of text, JSON or keys and values that a VARIANT holds.
uint32_t typemap_variant_size_max(const struct typemap_options *options);
// Fills *out_encoder for the column. Never fails for a type it does not know: that is VARCHAR with the server's text.
bool typemap_choose(const struct column *column, const struct encoding *encoding, const struct typemap_options *options,
                    struct column_encoder *out_encoder, struct err *out_error);
void typemap_encoder_deinit(struct column_encoder *encoder);
// "NUMBER(38,0)", "VARCHAR(16777216)", … for CREATE TABLE; `in_landing` for the landing table's form of it.
void typemap_format_sql(const struct target_type *type, bool in_landing, struct buf *out);

#endif
