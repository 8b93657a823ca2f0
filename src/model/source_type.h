// The type of a source's column, taken apart: what an array, a composite, a range is made of, at any depth. Domains are
// resolved: none is seen here. Types form a graph without cycles (PostgreSQL: a type cannot contain itself); each is described once and may be
// a part of several others.
#ifndef ETL_MODEL_SOURCE_TYPE_H
#define ETL_MODEL_SOURCE_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum source_kind {
    SOURCE_BASE,  // all others
    SOURCE_ENUM,
    SOURCE_ARRAY,      // parts[0]: the element
    SOURCE_COMPOSITE,  // parts: the attributes in their order, dropped ones left out
    SOURCE_RANGE,      // parts[0]: the bounds' type
    SOURCE_MULTIRANGE  // parts[0]: the range
};

struct source_part {
    char *name;    // an attribute's, in UTF-8; "" otherwise
    uint32_t oid;  // as declared: a domain's where it is one
    const struct source_type *type;
};

struct source_type {
    enum source_kind kind;
    uint32_t oid;
    int32_t modifier;
    char *name;       // pg_type.typname, in UTF-8
    char *extension;  // the extension that it belongs to, "" for none
    char delimiter;   // arrays: between elements
    bool
        has_binary_send;  // it and all that it is made of have a send function: an array of a type without one fails in the server
    uint16_t part_count;
    struct source_part *parts;
};

// Owner of the types that one column is made of.
struct source_types {
    struct source_type *types;
    uint16_t count;
};

// Reads publication_tables.sql's text of a column's types: a line each,
//   OID MODIFIER KIND DELIMITER SEND "NAME" "EXTENSION"[ OID MODIFIER "NAME"]…
// and finds the one that oid and modifier name, through domains. False: ERR_INTERNAL with what is wrong; *out_types is
// then empty.
bool source_types_read(const char *text, uint32_t oid, int32_t modifier, struct source_types *out_types,
                       const struct source_type **out_type, struct err *out_error);
void source_types_deinit(struct source_types *types);
// What two columns' types are made of: a composite's attributes may change under the same oid.
bool source_types_are_same(const struct source_types *a, const struct source_types *b);

#endif
