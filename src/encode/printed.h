// Types that Snowflake gets as the server's text: the text of their binary form, so that a table with such a column can be
// sent in binary. Each layout is drawn above its reader in printed.c, with the function of PostgreSQL that writes it.
#ifndef ETL_ENCODE_PRINTED_H
#define ETL_ENCODE_PRINTED_H

#include <stdbool.h>

#include "encode/typemap.h"

bool printed_has(enum value_kind kind);
// Appends what PostgreSQL would print with the settings that our connections pin (IntervalStyle iso_8601, lc_monetary C). False if
// the bytes are not of the kind.
bool printed_append(enum value_kind kind, const struct value *value, struct buf *out);

#endif
