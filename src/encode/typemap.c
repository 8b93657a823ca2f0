#include "encode/typemap.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "encode/array.h"
#include "encode/composite.h"
#include "encode/encoding.h"
#include "encode/hstore.h"
#include "encode/printed.h"
#include "encode/scalar.h"
#include "encode/server_text.h"
#include "encode/vector.h"

// Snowflake's sizes on older accounts (16 MB and 8 MB); every account holds these.
#define VARCHAR_LENGTH_DEFAULT 16777216
#define BINARY_LENGTH_DEFAULT 8388608
#define NUMBER_PRECISION_MAX 38
#define NUMBER_SCALE_MAX 37
#define UNBOUNDED_SCALE 9
#define HEIGHT_MAX 32  // of types in types; what is above is the server's text
#define OID_XML 142
#define MODIFIER_OFFSET 4  // VARHDRSZ, which numeric's type modifier includes

// Oids of built-in types never change: src/include/catalog/pg_type.dat.
static const struct {
    uint32_t oid;
    enum value_kind kind;
    enum target_kind target;
} builtins[] = {
    {16, KIND_BOOL, TARGET_BOOLEAN},
    {17, KIND_BYTEA, TARGET_BINARY},
    {18, KIND_CHAR, TARGET_VARCHAR},
    {19, KIND_TEXT, TARGET_VARCHAR},  // name
    {20, KIND_INT8, TARGET_NUMBER},
    {21, KIND_INT2, TARGET_NUMBER},
    {23, KIND_INT4, TARGET_NUMBER},
    {25, KIND_TEXT, TARGET_VARCHAR},  // text
    {26, KIND_OID, TARGET_NUMBER},
    {27, KIND_TID, TARGET_VARCHAR},
    {28, KIND_XID, TARGET_VARCHAR},
    {29, KIND_XID, TARGET_VARCHAR},  // cid
    {114, KIND_JSON, TARGET_VARIANT},
    {OID_XML, KIND_TEXT, TARGET_VARCHAR},
    {600, KIND_POINT, TARGET_VARCHAR},
    {601, KIND_LSEG, TARGET_VARCHAR},
    {602, KIND_PATH, TARGET_VARCHAR},
    {603, KIND_BOX, TARGET_VARCHAR},
    {604, KIND_POLYGON, TARGET_VARCHAR},
    {628, KIND_LINE, TARGET_VARCHAR},
    {650, KIND_INET, TARGET_VARCHAR},  // cidr
    {700, KIND_FLOAT4, TARGET_FLOAT},
    {701, KIND_FLOAT8, TARGET_FLOAT},
    {718, KIND_CIRCLE, TARGET_VARCHAR},
    {774, KIND_MACADDR8, TARGET_VARCHAR},
    {790, KIND_MONEY, TARGET_VARCHAR},
    {829, KIND_MACADDR, TARGET_VARCHAR},
    {869, KIND_INET, TARGET_VARCHAR},
    {1042, KIND_TEXT, TARGET_VARCHAR},  // bpchar
    {1043, KIND_TEXT, TARGET_VARCHAR},  // varchar
    {1082, KIND_DATE, TARGET_DATE},
    {1083, KIND_TIME, TARGET_TIME},
    {1114, KIND_TIMESTAMP, TARGET_TIMESTAMP_NTZ},
    {1184, KIND_TIMESTAMPTZ, TARGET_TIMESTAMP_TZ},
    {1186, KIND_INTERVAL, TARGET_VARCHAR},
    {1266, KIND_TIMETZ, TARGET_VARCHAR},
    {1560, KIND_BIT, TARGET_VARCHAR},
    {1562, KIND_BIT, TARGET_VARCHAR},  // varbit
    {1700, KIND_NUMERIC, TARGET_NUMBER},
    {1790, KIND_TEXT, TARGET_VARCHAR},  // refcursor
    {2950, KIND_UUID, TARGET_VARCHAR},
    {3220, KIND_LSN, TARGET_VARCHAR},
    {3614, KIND_TSVECTOR, TARGET_VARCHAR},
    {3802, KIND_JSONB, TARGET_VARIANT},
    {4072, KIND_VERSIONED_TEXT, TARGET_VARCHAR},  // jsonpath
    {5069, KIND_XID8, TARGET_NUMBER},
};

// Types of extensions have no fixed oid: known by their names and the extension that they belong to.
static const struct {
    const char *extension;
    const char *name;
    enum value_kind kind;
    enum target_kind target;
} extension_types[] = {
    {"citext", "citext", KIND_TEXT, TARGET_VARCHAR},  // citextsend is textsend
    {"hstore", "hstore", KIND_HSTORE, TARGET_VARIANT},
    {"ltree", "ltree", KIND_VERSIONED_TEXT, TARGET_VARCHAR},
    {"ltree", "lquery", KIND_VERSIONED_TEXT, TARGET_VARCHAR},
    {"ltree", "ltxtquery", KIND_VERSIONED_TEXT, TARGET_VARCHAR},
    {"vector", "vector", KIND_VECTOR, TARGET_ARRAY},
    {"vector", "halfvec", KIND_HALFVEC, TARGET_ARRAY},
};

struct chooser {
    const struct encoding *encoding;
    const struct typemap_options *options;
    struct value_encoder **encoders;  // those chosen so far
    uint16_t count;
    uint16_t capacity;
};

// numeric(p,s)'s modifier is ((p << 16) | (s & 0x7FF)) + 4, s a signed number of 11 bits (servers before 15: 0 … 1000, the same bits).
static void choose_numeric(const struct chooser *chooser, int32_t modifier, struct target_type *target)
{
    int32_t precision = NUMBER_PRECISION_MAX;
    int32_t scale = UNBOUNDED_SCALE;
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
    } else if (chooser->options->numeric_unbounded != NUMERIC_UNBOUNDED_NUMBER) {
        bool is_float = chooser->options->numeric_unbounded == NUMERIC_UNBOUNDED_FLOAT;
        target->kind = is_float ? TARGET_FLOAT : TARGET_VARCHAR;
        return;
    }
    if (precision > NUMBER_PRECISION_MAX || scale > NUMBER_SCALE_MAX) {
        target->kind = TARGET_VARCHAR;
        return;
    }
    target->precision = (uint8_t)precision;
    target->scale = (uint8_t)scale;
}

static void choose_base(const struct source_type *type, struct value_encoder *encoder)
{
    encoder->kind = KIND_SERVER_TEXT;
    encoder->target.kind = TARGET_VARCHAR;
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        if (builtins[i].oid == type->oid) {
            encoder->kind = builtins[i].kind;
            encoder->target.kind = builtins[i].target;
        }
    }
    if (encoder->kind == KIND_INTERVAL && strcmp(type->name, "finite interval") == 0)
        encoder->kind = KIND_FINITE_INTERVAL;
    for (size_t i = 0; i < sizeof extension_types / sizeof extension_types[0]; i++) {
        if (strcmp(extension_types[i].extension, type->extension) == 0 &&
            strcmp(extension_types[i].name, type->name) == 0) {
            encoder->kind = extension_types[i].kind;
            encoder->target.kind = extension_types[i].target;
        }
    }
}

static void choose_kind(const struct source_type *type, struct value_encoder *encoder)
{
    encoder->target.kind = TARGET_VARCHAR;
    switch (type->kind) {
    case SOURCE_BASE: choose_base(type, encoder); return;
    case SOURCE_ENUM: encoder->kind = KIND_TEXT; return;
    case SOURCE_ARRAY:
        encoder->kind = KIND_ARRAY;
        encoder->target.kind = TARGET_ARRAY;
        return;
    case SOURCE_COMPOSITE:
        encoder->kind = KIND_COMPOSITE;
        encoder->target.kind = TARGET_VARIANT;
        return;
    case SOURCE_RANGE: encoder->kind = KIND_RANGE; return;
    case SOURCE_MULTIRANGE: encoder->kind = KIND_MULTIRANGE; return;
    }
}

static value_encode encode_of(const struct value_encoder *encoder)
{
    switch (encoder->kind) {
    case KIND_ARRAY: return array_encode;
    case KIND_COMPOSITE: return composite_encode;
    case KIND_HSTORE: return hstore_encode;
    case KIND_VECTOR:
    case KIND_HALFVEC: return vector_encode;
    case KIND_RANGE:
    case KIND_MULTIRANGE: return server_text_encode;
    default:
        return printed_has(encoder->kind) ? server_text_encode : scalar_encode_of(encoder->kind, encoder->target.kind);
    }
}

// A VARIANT's size grew with that of VARCHAR.
uint32_t typemap_variant_size_max(const struct typemap_options *options)
{
    return options->varchar_length_max != 0 ? options->varchar_length_max : VARCHAR_LENGTH_DEFAULT;
}

static void choose_lengths(const struct chooser *chooser, struct value_encoder *encoder)
{
    const struct typemap_options *options = chooser->options;
    uint32_t varchar_length = typemap_variant_size_max(options);
    encoder->coerced_size_max = varchar_length;
    switch (encoder->target.kind) {
    case TARGET_VARCHAR:
        encoder->target.length = encoder->kind == KIND_UUID ? 36 : varchar_length;
        encoder->size_max = encoder->target.length;
        encoder->truncates_oversized = options->oversized == OVERSIZED_TRUNCATE;
        break;
    case TARGET_BINARY:
        encoder->target.length = options->binary_length_max != 0 ? options->binary_length_max : BINARY_LENGTH_DEFAULT;
        encoder->size_max = encoder->target.length;
        break;
    case TARGET_VARIANT:
    case TARGET_ARRAY: encoder->size_max = varchar_length; break;
    default: break;
    }
    encoder->fails_oversized = options->oversized == OVERSIZED_FAIL;
}

static const struct value_encoder *choose_encoder(struct chooser *chooser, const struct source_type *type);

// `"NAME":` as JSON. NULL: out of memory.
static char *make_key(const char *name, uint32_t *out_size)
{
    struct buf key;
    buf_init(&key, UINT32_MAX);
    buf_append_byte(&key, '"');
    (void)utf8_append_json((const uint8_t *)name, strlen(name), &key);
    buf_append(&key, "\":", 2);
    if (key.failed) {
        buf_deinit(&key);
        return NULL;
    }
    *out_size = (uint32_t)key.size;
    return (char *)key.data;
}

// The landing column's name: the source's, in upper case of ASCII as an unquoted name would fold, or as it is.
static char *make_column_key(const char *name, bool preserves_case, uint32_t *out_size)
{
    char *folded = strdup(name);
    if (folded == NULL)
        return NULL;
    for (char *at = folded; *at != '\0' && !preserves_case; at++) {
        if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
    }
    char *key = make_key(folded, out_size);
    free(folded);
    return key;
}

// Sets parts, has_binary and height. False: out of memory.
static bool choose_parts(struct chooser *chooser, struct value_encoder *encoder)
{
    const struct source_type *type = encoder->type;
    // xml_send names the client's encoding in the declaration unless it is UTF-8; the text output does not.
    encoder->has_binary = encoder->kind != KIND_SERVER_TEXT && type->has_binary_send &&
                          (type->oid != OID_XML || encoding_is_utf8(chooser->encoding));
    encoder->parts = calloc((size_t)type->part_count + 1, sizeof *encoder->parts);
    if (encoder->parts == NULL)
        return false;
    for (; encoder->part_count < type->part_count; encoder->part_count++) {
        struct part_encoder *part = &encoder->parts[encoder->part_count];
        part->value = choose_encoder(chooser, type->parts[encoder->part_count].type);
        part->key = make_key(type->parts[encoder->part_count].name, &part->key_size);
        if (part->value == NULL || part->key == NULL) {
            free(part->key);
            return false;
        }
        encoder->has_binary = encoder->has_binary && part->value->has_binary;
        if (part->value->height + 1 > encoder->height)
            encoder->height = (uint8_t)(part->value->height + 1);
    }
    if (encoder->height > HEIGHT_MAX) {
        encoder->height = 0;
        encoder->has_binary = false;
        encoder->kind = KIND_SERVER_TEXT;
        encoder->target = (struct target_type){.kind = TARGET_VARCHAR};
    }
    return true;
}

static void encoder_free(struct value_encoder *encoder)
{
    if (encoder->scratch != NULL)
        buf_deinit(encoder->scratch);
    free(encoder->scratch);
    for (uint16_t i = 0; i < encoder->part_count; i++)
        free(encoder->parts[i].key);
    free(encoder->parts);
    free(encoder);
}

// Gives chooser->encoders the new encoder. False: out of memory.
static bool keep_encoder(struct chooser *chooser, struct value_encoder *encoder)
{
    if (chooser->count == chooser->capacity) {
        uint16_t capacity = (uint16_t)(2 * chooser->capacity + 4);
        struct value_encoder **encoders = realloc(chooser->encoders, capacity * sizeof *encoders);
        if (encoders == NULL)
            return false;
        chooser->encoders = encoders;
        chooser->capacity = capacity;
    }
    chooser->encoders[chooser->count++] = encoder;
    return true;
}

// The encoder of a type; made once, also where the type is a part of several others. NULL: out of memory.
static const struct value_encoder *choose_encoder(struct chooser *chooser, const struct source_type *type)
{
    for (uint16_t i = 0; i < chooser->count; i++)
        if (chooser->encoders[i]->type == type)
            return chooser->encoders[i];
    struct value_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder == NULL)
        return NULL;
    encoder->type = type;
    encoder->encoding = chooser->encoding;
    encoder->scratch = malloc(sizeof *encoder->scratch);
    choose_kind(type, encoder);
    if (encoder->scratch != NULL)
        buf_init(encoder->scratch, VALUE_SCRATCH_BYTES_MAX);
    if (encoder->scratch == NULL || !choose_parts(chooser, encoder) || !keep_encoder(chooser, encoder)) {
        encoder_free(encoder);
        return NULL;
    }
    if (encoder->kind == KIND_NUMERIC)
        choose_numeric(chooser, type->modifier, &encoder->target);
    else if (encoder->target.kind == TARGET_NUMBER)
        encoder->target.precision = NUMBER_PRECISION_MAX;
    choose_lengths(chooser, encoder);
    encoder->encode = encode_of(encoder);
    return encoder;
}

bool typemap_choose(const struct column *column, const struct encoding *encoding, const struct typemap_options *options,
                    struct column_encoder *out_encoder, struct err *out_error)
{
    struct chooser chooser = {.encoding = encoding, .options = options};
    struct column_encoder encoder = {.value = choose_encoder(&chooser, column->type)};
    encoder.types = chooser.encoders;
    encoder.type_count = chooser.count;
    encoder.key = make_column_key(column->name, options->preserves_case, &encoder.key_size);
    if (encoder.value == NULL || encoder.key == NULL) {
        typemap_encoder_deinit(&encoder);
        return err_set(out_error, ERR_INTERNAL, "out_of_memory", "out of memory for column %s", column->name);
    }
    encoder.target = encoder.value->target;
    encoder.wants_text = !encoder.value->has_binary;
    encoder.size_max = encoder.value->size_max;
    *out_encoder = encoder;
    return true;
}

// No type contains itself: as the column's own it is the part of none.
void typemap_encoder_limit(struct column_encoder *column, uint32_t bytes_max)
{
    bool is_less = bytes_max > 0 && bytes_max < column->size_max;
    for (uint16_t i = 0; i < column->type_count; i++)
        if (column->types[i] == column->value)
            column->types[i]->size_max = is_less ? bytes_max : column->size_max;
}

void typemap_encoder_limit_coerced(struct column_encoder *column, uint32_t bytes_max)
{
    for (uint16_t i = 0; i < column->type_count; i++)
        column->types[i]->coerced_size_max = bytes_max;
}

void typemap_encoder_deinit(struct column_encoder *encoder)
{
    for (uint16_t i = 0; i < encoder->type_count; i++)
        encoder_free(encoder->types[i]);
    free(encoder->types);
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
