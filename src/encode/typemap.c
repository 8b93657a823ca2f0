#include "encode/typemap.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "encode/array.h"
#include "encode/encoding.h"
#include "encode/scalar.h"

// Snowflake's sizes on older accounts (16 MB and 8 MB); every account holds these.
#define VARCHAR_LENGTH_DEFAULT 16777216
#define BINARY_LENGTH_DEFAULT 8388608
#define NUMBER_PRECISION_MAX 38
#define NUMBER_SCALE_MAX 37
#define UNBOUNDED_SCALE 9
#define ORIGINAL_BYTES_MAX (64U << 20)
#define FIRST_USER_OID 16384  // PostgreSQL: FirstNormalObjectId; below are built-in types
#define OID_INT2VECTOR 22
#define OID_OIDVECTOR 30
#define OID_BOX 603
#define OID_XML 142
#define MODIFIER_NONE (-1)
#define MODIFIER_OFFSET 4  // VARHDRSZ, which numeric's type modifier includes

// Oids of built-in types never change: src/include/catalog/pg_type.dat.
static const struct {
    uint32_t oid;
    enum scalar_kind kind;
    enum target_kind target;
} builtins[] = {
    {16, SCALAR_BOOL, TARGET_BOOLEAN},
    {17, SCALAR_BYTEA, TARGET_BINARY},
    {18, SCALAR_CHAR, TARGET_VARCHAR},
    {19, SCALAR_TEXT, TARGET_VARCHAR},  // name
    {20, SCALAR_INT8, TARGET_NUMBER},
    {21, SCALAR_INT2, TARGET_NUMBER},
    {23, SCALAR_INT4, TARGET_NUMBER},
    {25, SCALAR_TEXT, TARGET_VARCHAR},  // text
    {26, SCALAR_OID, TARGET_NUMBER},
    {114, SCALAR_JSON, TARGET_VARIANT},
    {OID_XML, SCALAR_TEXT, TARGET_VARCHAR},
    {700, SCALAR_FLOAT4, TARGET_FLOAT},
    {701, SCALAR_FLOAT8, TARGET_FLOAT},
    {1042, SCALAR_TEXT, TARGET_VARCHAR},  // bpchar
    {1043, SCALAR_TEXT, TARGET_VARCHAR},  // varchar
    {1082, SCALAR_DATE, TARGET_DATE},
    {1083, SCALAR_TIME, TARGET_TIME},
    {1114, SCALAR_TIMESTAMP, TARGET_TIMESTAMP_NTZ},
    {1184, SCALAR_TIMESTAMPTZ, TARGET_TIMESTAMP_TZ},
    {1700, SCALAR_NUMERIC, TARGET_NUMBER},
    {2950, SCALAR_UUID, TARGET_VARCHAR},
    {3802, SCALAR_JSONB, TARGET_VARIANT},
    {5069, SCALAR_XID8, TARGET_NUMBER},
};

struct limits {
    uint32_t varchar_length;
    uint32_t binary_length;
};

// numeric(p,s)'s modifier is ((p << 16) | (s & 0x7FF)) + 4, s a signed number of 11 bits (servers before 15: 0 … 1000, the same bits).
static void numeric_target(int32_t modifier, struct target_type *target, bool *out_is_wide)
{
    int32_t precision = NUMBER_PRECISION_MAX;
    int32_t scale = UNBOUNDED_SCALE;
    *out_is_wide = false;
    if (modifier >= MODIFIER_OFFSET) {
        int32_t packed = modifier - MODIFIER_OFFSET;
        precision = packed >> 16 & 0xFFFF;
        scale = ((packed & 0x7FF) ^ 1024) - 1024;
        if (scale < 0) {  // digits before the point are rounded away, so there are more places than digits
            precision -= scale;
            scale = 0;
        }
        if (scale > precision)  // numeric(2,5): Snowflake's scale may not pass the precision
            precision = scale;
        *out_is_wide = precision > NUMBER_PRECISION_MAX || scale > NUMBER_SCALE_MAX;
    }
    if (*out_is_wide) {
        target->kind = TARGET_VARCHAR;
        return;
    }
    target->precision = (uint8_t)precision;
    target->scale = (uint8_t)scale;
}

static bool is_citext(const char *type_name)
{
    // The extension's type has no fixed oid; format_type() names it, with its schema where that is not in the search path. Its binary form
    // is its text (citextsend).
    size_t size = strlen(type_name);
    if (size >= 2 && strcmp(type_name + size - 2, "[]") == 0)
        size -= 2;
    if (size < 6 || memcmp(type_name + size - 6, "citext", 6) != 0)
        return false;
    return size == 6 || type_name[size - 7] == '.';
}

static bool find_builtin(uint32_t oid, enum scalar_kind *out_kind, enum target_kind *out_target)
{
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        if (builtins[i].oid == oid) {
            *out_kind = builtins[i].kind;
            *out_target = builtins[i].target;
            return true;
        }
    }
    return false;
}

// The scalar that `oid` names. False if it is a type that we do not decode: VARCHAR of the server's text then.
static bool choose_scalar(uint32_t oid, int32_t modifier, bool is_text, const struct encoding *encoding,
                          struct column_encoder *encoder)
{
    bool is_wide_numeric = false;
    bool is_known = true;
    if (!find_builtin(oid, &encoder->kind, &encoder->target.kind)) {
        is_known = is_text;
        encoder->kind = is_text ? SCALAR_TEXT : SCALAR_SERVER_TEXT;
        encoder->target.kind = TARGET_VARCHAR;
    }
    if (encoder->kind == SCALAR_NUMERIC) {
        numeric_target(modifier, &encoder->target, &is_wide_numeric);
        encoder->numeric_precision = encoder->target.precision;
        encoder->numeric_scale = encoder->target.scale;
    } else if (encoder->target.kind == TARGET_NUMBER) {
        encoder->target.precision = NUMBER_PRECISION_MAX;
    }
    // xml_send names the client's encoding in the declaration unless it is UTF-8; the text output does not.
    encoder->wants_text = !is_known || (oid == OID_XML && !encoding_is_utf8(encoding));
    encoder->encode = scalar_encode_of(encoder->kind, is_wide_numeric);
    return is_known;
}

static void choose_array(const struct column *column, bool is_text, const struct encoding *encoding,
                         struct column_encoder *encoder)
{
    bool is_known = choose_scalar(column->element_oid, column->element_modifier, is_text, encoding, encoder);
    // Of the built-in types all but box write arrays with commas. What separates those of other types that we do not decode is not known
    // here, so the array's text stays one string.
    if (!is_known && (column->element_oid >= FIRST_USER_OID || column->element_oid == OID_BOX))
        return;
    encoder->encode_element = encoder->encode;
    encoder->encode = array_encode;
    encoder->target = (struct target_type){.kind = TARGET_ARRAY};
}

static void set_lengths(const struct limits *limits, struct column_encoder *encoder)
{
    switch (encoder->target.kind) {
    case TARGET_VARCHAR:
        encoder->target.length = encoder->kind == SCALAR_UUID ? 36 : limits->varchar_length;
        encoder->size_max = encoder->target.length;
        break;
    case TARGET_BINARY:
        encoder->target.length = limits->binary_length;
        encoder->size_max = limits->binary_length;
        break;
    case TARGET_VARIANT:
    case TARGET_ARRAY: encoder->size_max = limits->varchar_length; break;
    default: break;
    }
}

// `"NAME":` with the landing column's name: the source's in upper case of ASCII, as an unquoted name would fold.
static char *make_key(const char *name, uint32_t *out_size)
{
    struct buf key;
    char *folded = strdup(name);
    if (folded == NULL)
        return NULL;
    for (char *at = folded; *at != '\0'; at++) {
        if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
    }
    buf_init(&key, UINT32_MAX);
    buf_append_byte(&key, '"');
    (void)utf8_append_json((const uint8_t *)folded, strlen(folded), &key);
    buf_append(&key, "\":", 2);
    free(folded);
    if (key.failed) {
        buf_deinit(&key);
        return NULL;
    }
    *out_size = (uint32_t)key.size;
    return (char *)key.data;
}

bool typemap_choose(const struct column *column, const struct encoding *encoding, const struct typemap_options *options,
                    struct column_encoder *out_encoder, struct err *out_error)
{
    struct limits limits = {
        .varchar_length = options->varchar_length_max != 0 ? options->varchar_length_max : VARCHAR_LENGTH_DEFAULT,
        .binary_length = options->binary_length_max != 0 ? options->binary_length_max : BINARY_LENGTH_DEFAULT,
    };
    struct column_encoder encoder = {.encoding = encoding};
    bool is_citext_here = column->type_oid == column->base_oid && is_citext(column->type_name);
    // int2vector and oidvector have an element type but print and send themselves in a form of their own.
    bool is_array = column->element_oid != 0 && column->base_oid != OID_INT2VECTOR && column->base_oid != OID_OIDVECTOR;
    enum scalar_kind unused_kind;
    enum target_kind unused_target;
    if (is_array && !find_builtin(column->base_oid, &unused_kind, &unused_target))  // name has an element type too
        choose_array(column, column->element_is_enum || is_citext_here, encoding, &encoder);
    else
        (void)choose_scalar(column->base_oid, column->base_modifier, column->is_enum || is_citext_here, encoding,
                            &encoder);
    encoder.wants_text = encoder.wants_text || !column->has_binary_send;
    set_lengths(&limits, &encoder);

    encoder.key = make_key(column->name, &encoder.key_size);
    encoder.scratch = malloc(sizeof *encoder.scratch);
    if (encoder.key == NULL || encoder.scratch == NULL) {
        free(encoder.key);
        free(encoder.scratch);
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "out of memory for column %s", column->name);
    }
    buf_init(encoder.scratch, ORIGINAL_BYTES_MAX);
    *out_encoder = encoder;
    return true;
}

void typemap_encoder_deinit(struct column_encoder *encoder)
{
    if (encoder->scratch != NULL)
        buf_deinit(encoder->scratch);
    free(encoder->scratch);
    free(encoder->key);
    *encoder = (struct column_encoder){.key = NULL};
}

void typemap_format_sql(const struct target_type *type, bool in_landing, struct buf *out)
{
    switch (type->kind) {
    case TARGET_BOOLEAN: buf_append_text(out, "BOOLEAN"); return;
    case TARGET_NUMBER: buf_appendf(out, "NUMBER(%u,%u)", type->precision, type->scale); return;
    case TARGET_FLOAT: buf_append_text(out, "FLOAT"); return;
    case TARGET_VARCHAR: buf_appendf(out, "VARCHAR(%u)", type->length); return;
    case TARGET_BINARY:
        // In landing it is base64: four characters for three bytes.
        if (in_landing)
            buf_appendf(out, "VARCHAR(%u)", (type->length + 2) / 3 * 4);
        else
            buf_appendf(out, "BINARY(%u)", type->length);
        return;
    case TARGET_DATE: buf_append_text(out, "DATE"); return;
    case TARGET_TIME: buf_append_text(out, "TIME(6)"); return;
    case TARGET_TIMESTAMP_NTZ: buf_append_text(out, "TIMESTAMP_NTZ(6)"); return;
    case TARGET_TIMESTAMP_TZ: buf_append_text(out, "TIMESTAMP_TZ(6)"); return;
    case TARGET_VARIANT: buf_append_text(out, "VARIANT"); return;
    case TARGET_ARRAY: buf_append_text(out, "ARRAY"); return;
    }
}
