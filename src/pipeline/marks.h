// What publication_look.sql tells of a table, as words "key=value", and what it means that they changed. The catalog keeps them, so
// that a change is noticed whether it came while the pipeline ran or not. Pure.
//
//   m=   the table's place in the publication: taken out and put in again, or another row filter or column list
//   o=   what the publication sends: i, u, d and t (its `publish`), then its other options and its owner, then the transaction that
//        wrote its entry, each behind a dot
//   s=   schema, name, and the published columns: attribute numbers, names, types, what composites are made of
//   n=   the highest number that a column ever got
//   d=   where schemas are published: the transaction that put the table into the schema that it is in
//   h=   of a partition that its root brings: the transactions that made it, and what it is a part of, a partition
//   i=   replica identity, the index that is it, the primary key, and partitions (as of p) that have another identity
//   f= a=  its file, and the transactions that wrote its columns' entries: both are new when a rewrite changed its rows (VACUUM
//        FULL, CLUSTER and TRUNCATE change the first, SET STATISTICS and the like the second)
//   u=   of a table that may be made UNLOGGED: its TOAST table, which is another one, as its file is, after SET UNLOGGED and SET LOGGED
//   p<oid>=  a partition (of a table that is published as a whole): its file, and behind dots the transactions that put it, and what
//        it is a part of, there; "+" at the end: made as an empty partition of it
//   e<oid>=  an enum's label; "+" at the end: its coming changes no value
#ifndef ETL_PIPELINE_MARKS_H
#define ETL_PIPELINE_MARKS_H

#include <stdbool.h>
#include <stddef.h>

enum marks_change {
    MARKS_SAME,        // nothing that a row could depend on
    MARKS_MEMBERSHIP,  // what the publication sends of it
    MARKS_LEFT_OUT,    // the publication sends more than before, or may have sent less in between
    MARKS_SHAPE,       // name or columns
    MARKS_IDENTITY,
    MARKS_REWRITTEN,
    MARKS_PARTITIONS,
    MARKS_LABELS
};

// The most telling difference; out_why says it in words. An empty text (nothing is known) is like any other.
enum marks_change marks_compare(const char *known, const char *now, const char **out_why);

// Name, columns and identity are the same, as far as both tell; what is not known is not.
bool marks_have_same_form(const char *known, const char *now);

// What stands behind "key=" into out; false: it is not there, or too long.
bool marks_value(const char *marks, const char *key, char *out, size_t out_size);

#endif
