// Decoder of pgoutput messages (logical replication protocol version 1, no streaming of open transactions).
// Pure: bytes in, views out, no I/O, no clock, no allocation. Each message's layout is drawn above its reader in
// pgoutput.c; source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
#ifndef ETL_PG_PGOUTPUT_H
#define ETL_PG_PGOUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/lsn.h"
#include "model/row.h"

enum pgoutput_kind {
    PGOUTPUT_BEGIN,
    PGOUTPUT_COMMIT,
    PGOUTPUT_ORIGIN,
    PGOUTPUT_RELATION,
    PGOUTPUT_TYPE,
    PGOUTPUT_INSERT,
    PGOUTPUT_UPDATE,
    PGOUTPUT_DELETE,
    PGOUTPUT_TRUNCATE,
    PGOUTPUT_ABORT,   // of a transaction of which nothing came: not of protocol 1, but 18.4 was seen to send it
    PGOUTPUT_MESSAGE  // pg_logical_emit_message; only when asked for
};

enum pgoutput_old { PGOUTPUT_OLD_NONE, PGOUTPUT_OLD_KEY, PGOUTPUT_OLD_ROW };

struct pgoutput_relation_column {
    const char *name;  // NUL-terminated inside the message, database encoding
    uint32_t type_oid;
    int32_t type_modifier;
    bool is_key;
};

// Room for one message's views; reused for every message. About 110 kB: lives in the actor, not on the stack.
struct pgoutput_scratch {
    struct value new_values[ROW_COLUMNS_MAX];
    struct value old_values[ROW_COLUMNS_MAX];
    struct pgoutput_relation_column columns[ROW_COLUMNS_MAX];
};

struct pgoutput_message {
    enum pgoutput_kind kind;
    uint32_t relation_oid;  // RELATION, INSERT, UPDATE, DELETE
    union {
        struct {
            lsn_t commit_lsn;        // where the commit record begins
            int64_t commit_time_us;  // since 2000-01-01 UTC
            uint32_t xid;
        } begin;
        struct {
            lsn_t commit_lsn;
            lsn_t end_lsn;  // where the commit record ends
            int64_t commit_time_us;
        } commit;
        struct {
            const char *schema_name;  // "" stands for pg_catalog
            const char *table_name;
            const struct pgoutput_relation_column *columns;
            uint16_t column_count;
            char replica_identity;  // d, n, f, i
        } relation;
        struct {
            struct row_view new_row;  // INSERT, UPDATE
            struct row_view old_row;  // UPDATE, DELETE: as `old` says; key tuples have NULL outside the key
            enum pgoutput_old old;
        } change;
        struct {
            const uint8_t *relation_oids;  // inside the message, big-endian: see pgoutput_truncated
            uint32_t
                relation_count;  // as many as the server truncates at once: a root may have any number of partitions
            bool is_cascade;
            bool restarts_identity;
        } truncate;
    };
};

// Decodes one message (the payload of an XLogData message, without its header). Every byte must be used.
// False: ERR_DATA with the offset and what was expected; *out_message is then undefined.
bool pgoutput_decode(const uint8_t *data, size_t size, struct pgoutput_scratch *scratch,
                     struct pgoutput_message *out_message, struct err *out_error);

// The oid of a TRUNCATE message's relation number index, below relation_count.
uint32_t pgoutput_truncated(const struct pgoutput_message *message, uint32_t index);

#endif
