// inet, cidr and MAC addresses: PostgreSQL's text of their binary forms.
#ifndef ETL_ENCODE_PRINTED_NETWORK_H
#define ETL_ENCODE_PRINTED_NETWORK_H

#include <stdbool.h>

#include "base/buf.h"
#include "encode/wire.h"

bool printed_append_network(struct wire *wire, struct buf *out);                 // inet, cidr
bool printed_append_hardware(struct wire *wire, size_t bytes, struct buf *out);  // macaddr (6), macaddr8 (8)

#endif
